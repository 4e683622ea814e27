"""What every benchmark is given."""

from __future__ import annotations

import os

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.harness import Beside


@pytest.fixture
def beside(benchmark: BenchmarkFixture) -> Beside:
    return Beside(benchmark, quick=os.environ.get("OPENBELL_BENCH_QUICK") == "1")
