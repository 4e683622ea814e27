"""Whole days at once: what loading pays."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.data import N_DAY, OPEN_NS, RAW_BAR, make_bars, make_record, make_root
from benchmarks.harness import Beside
from openbell.schema import BAR_DTYPE, NS_PER_SECOND

N_SYMBOLS = 500


def bench_block_in_cache(beside: Beside) -> None:
    bars = make_bars()
    raw = bars.view(RAW_BAR)
    copy = np.zeros_like(raw)
    root, fresh = make_root(1)

    def prepare() -> None:
        # The next record of that name gets the memory of this one: warm, as the copy's is.
        root.remove_symbol("S00000")
        fresh[:] = []
        fresh[:] = [root.register_symbol_data(make_record("S00000"))]

    beside.times(
        "append_block, symbol-day in cache",
        "memcpy of the bars",
        lambda: fresh[0].append_block(bars),
        lambda: np.copyto(copy, raw),
        n=N_DAY,
        prepare=prepare,
        goal=4.5,
        rounds=200,
    )
    assert len(fresh[0].bars["1s"]) == N_DAY


def make_days() -> np.ndarray[Any, Any]:
    day = np.empty((N_SYMBOLS, N_DAY), dtype=BAR_DTYPE)
    for k in range(N_SYMBOLS):
        day[k].view(RAW_BAR)[:] = make_bars(seed=k % 8).view(RAW_BAR)
    return day


def bench_block_500_symbols(beside: Beside) -> None:
    days = make_days()
    raw = days.view(RAW_BAR)
    copy = np.zeros_like(raw)
    copy[:] = raw
    fresh: list[Any] = []

    def prepare() -> None:
        fresh[:] = []
        fresh[:] = make_root(N_SYMBOLS)

    def ingest() -> None:
        for record, bars in zip(fresh[1], days, strict=True):
            record.append_block(bars)

    def memcpy() -> None:
        # Each day on its own, as it arrives: one copy of all would bypass the caches.
        for into, bars in zip(copy, raw, strict=True):
            np.copyto(into, bars)

    beside.times(
        f"append_block, {N_SYMBOLS} symbol-days from memory",
        "memcpy of each symbol-day",
        ingest,
        memcpy,
        n=N_SYMBOLS * N_DAY,
        prepare=prepare,
        goal=1.7,
        rounds=7,
        warmup_rounds=1,
        note=lambda t: f"{1e-6 / t:.0f} M bars/s",
    )
    assert fresh[1][-1].bars["1h"].last.ts_ns == OPEN_NS + 6 * 3600 * NS_PER_SECOND
