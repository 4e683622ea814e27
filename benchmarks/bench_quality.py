"""Gaps and quality of a root; judging gaps: why each of them is there."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from benchmarks.bench_kernels import one_field_scan
from benchmarks.data import N_DAY, make_bars, make_root, make_window
from benchmarks.harness import Beside
from openbell import kernels
from openbell.bars import BarIntervalData
from openbell.schema import GAP_NOTE_DTYPE, Int64Array

N_SYMBOLS = 500
N_RECORDS = 50


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


@pytest.mark.parametrize("looked", ["for the first time", "at before, a bar a symbol since"])
def bench_gaps_and_quality(beside: Beside, looked: str) -> None:
    root, records = make_root(N_RECORDS)
    days = [make_bars(seed=k, gap_share=0.05) for k in range(N_RECORDS)]
    for record, bars in zip(records, days, strict=True):
        record.append_block(bars[: N_DAY * 9 // 10])
    left = iter(zip(*(bars[N_DAY * 9 // 10 :].tolist() for bars in days), strict=False))
    held = [record.bars["1s"] for record in records]
    seen = list(held)
    scan = one_field_scan()
    scan(held[0].data)

    def prepare() -> None:
        if looked == "for the first time":
            seen[:] = [BarIntervalData(record.core, "1s") for record in records]
            return
        for record, bar in zip(records, next(left), strict=True):
            record.append(*bar)

    def look() -> list[tuple[Int64Array, float | None]]:
        return [(series.gap_runs(), series.quality) for series in seen]

    look()
    beside.times(
        f"gaps and quality of {N_RECORDS} records, 5 % missing, looked {looked}",
        "one-field scan of their bars",
        look,
        lambda: [scan(series.data) for series in held],
        prepare=prepare,
        n=N_RECORDS,
        goal=1.4,
        unit="us",
        rounds=60,
    )
    for series in held:
        first, count = kernels.find_gaps(series.data, make_window().grid("1s"), root.now_ns)
        assert np.array_equal(series.gap_runs()[: len(first)], np.stack([first, count], axis=1))
