"""Judging gaps: why each of them is there."""

from __future__ import annotations

from functools import cache

import numpy as np

from benchmarks.data import N_DAY, make_window
from benchmarks.harness import Beside
from openbell import kernels
from openbell.schema import GAP_NOTE_DTYPE, Int64Array

N_SYMBOLS = 500


@cache
def make_runs() -> list[Int64Array]:
    """Gaps of a day of seconds, of symbols that trade in 10 to 95 % of them, in waves."""
    rng = np.random.default_rng(1)
    wave = 1.0 + 0.5 * np.sin(np.arange(N_DAY, dtype=np.float32) / 900)
    found = []
    for fill in np.linspace(0.1, 0.95, N_SYMBOLS):
        chance = -np.expm1(np.log1p(-fill) * wave)
        present = rng.random(N_DAY, np.float32) < chance
        edges = np.diff(np.concatenate(([1], present.astype(np.int8), [1])))
        starts = np.flatnonzero(edges < 0)
        found.append(np.stack([starts, np.flatnonzero(edges > 0) - starts], axis=1))
    return found


def bench_explain_gaps(beside: Beside) -> None:
    runs, grid = make_runs(), make_window().grid("1s")
    n_gaps = sum(map(len, runs))
    notes = np.zeros(n_gaps, dtype=GAP_NOTE_DTYPE).view(np.uint8)
    copy = np.zeros_like(notes)
    beside.times(
        f"explain_gaps of {N_SYMBOLS} symbols, a day of 1s, a gap",
        "memcpy of the notes",
        lambda: kernels.explain_gaps(runs, [N_DAY] * N_SYMBOLS, grid),
        lambda: np.copyto(copy, notes),
        n=n_gaps,
        rounds=9,
        note=lambda t: f"{1e3 * t * n_gaps:.0f} ms for {n_gaps:,} gaps",
    )


def bench_explain_gaps_of_one(beside: Beside) -> None:
    runs, grid = make_runs(), make_window().grid("1s")
    one = [runs[N_SYMBOLS // 2]]
    copy = np.zeros_like(one[0])
    beside.times(
        "explain_gaps of one symbol, a day of 1s, a gap",
        "memcpy of its runs",
        lambda: kernels.explain_gaps(one, [N_DAY], grid),
        lambda: np.copyto(copy, one[0]),
        n=len(one[0]),
        rounds=60,
    )
