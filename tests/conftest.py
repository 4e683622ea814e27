"""Hypothesis profiles: `dev` by default, `ci` with OPENBELL_HYPOTHESIS=ci; both repeat exactly."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import openbell

_COMMON = {
    "deadline": None,
    "derandomize": True,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}
settings.register_profile("dev", max_examples=40, **_COMMON)
settings.register_profile("ci", max_examples=300, **_COMMON)
settings.load_profile(os.environ.get("OPENBELL_HYPOTHESIS", "dev"))


@pytest.fixture(scope="session")
def warm_kernels() -> None:
    """Kernels are compiled, which takes seconds once: a live day does not wait for that."""
    openbell.warmup()


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same at each run."""
    return np.random.default_rng(20250702)
