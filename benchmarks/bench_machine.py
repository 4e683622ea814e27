"""How fast the processor is beside the memory, at this hour: what `--check` allows for."""

from __future__ import annotations

import numpy as np

from benchmarks.data import RAW_BAR, make_bars
from benchmarks.harness import Beside

N_STEPS = 20_000
N_DAYS = 8


def bench_machine(beside: Beside) -> None:
    raw = np.tile(make_bars().view(RAW_BAR), N_DAYS)
    copy = np.zeros_like(raw)

    def count() -> None:
        step = 0
        while step < N_STEPS:
            step += 1

    beside.times(
        "the machine: one step of a Python loop",
        "memcpy of a bar",
        count,
        lambda: np.copyto(copy, raw),
        n=N_STEPS,
        n_reference=len(raw),
        rounds=60,
    )
