"""A live session: from the bytes of a bar to whoever waits for it, by the clock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness import Beside
from benchmarks.live_server import N_SYMBOLS

ROOT = Path(__file__).resolve().parents[1]
N_ROUNDS = 3
#: From the call of our handler to the callback, at the 99th percentile.
MOST_US = 200.0

PARTS = {
    "library": "from its bytes to our handler",
    "ours": "from our handler to the callback",
    "whole": "from its bytes to another thread",
}
LOADS = {
    "even": f"live, {N_SYMBOLS} bars a second",
    "busy": f"live, {N_SYMBOLS} bars a second, one busy thread",
    "burst": f"live, {N_SYMBOLS} bars in one frame",
}
REFERENCES = {
    "even": "a queue between two threads",
    "busy": "the same, one busy thread",
    "burst": "a queue between two threads",
}


@pytest.fixture(scope="module")
def found() -> Any:
    """What a process of its own has measured: nothing else runs Python there."""
    seconds = "2" if os.environ.get("OPENBELL_BENCH_QUICK") == "1" else "4"
    command = [
        sys.executable, "-m", "benchmarks.live_feed",
        "--rounds", str(N_ROUNDS), "--seconds", seconds,
    ]  # fmt: skip
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    return json.loads(done.stdout)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("load", LOADS)
def bench_live(beside: Beside, found: Any, load: str, part: str) -> None:
    rounds = found[load]
    medians = [taken[part][0] for taken in rounds]

    def tails(name: str) -> Iterator[float]:
        return (taken[name][1] for taken in rounds)

    measured, reference = tails(part), tails("queue")
    is_promised = (load, part) == ("even", "ours")
    beside.values(
        f"{LOADS[load]}: {PARTS[part]}, 99th percentile",
        REFERENCES[load],
        lambda: next(measured),
        lambda: next(reference),
        unit="us",
        goal=MOST_US if is_promised else None,
        goal_of="value",
        rounds=N_ROUNDS,
        warmup_rounds=0,
        note=f"median {min(medians):.0f} us",
    )
