"""The compiled kernels, beside a copy of the bars or a scan of one field."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchmarks.bench_block import N_SYMBOLS, make_days
from benchmarks.data import INTERVALS, N_DAY, OPEN_NS, RAW_BAR, make_bars, make_root, make_window
from benchmarks.harness import Beside
from openbell import kernels
from openbell.bars import BarIntervalData
from openbell.schema import BAR_DTYPE, NS_PER_SECOND

N_EACH = 50


@cache
def one_field_scan() -> Callable[..., Any]:
    import numba

    one, two, three, four = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def scan(bars: Any) -> Any:
        # Four at a time by hand: left to itself LLVM gathers, three times as slow.
        a = b = c = d = np.int64(0)
        i, n = np.uint64(0), np.uint64(bars.shape[0])
        while i + three < n:
            a ^= bars[i].timestamp
            b ^= bars[i + one].timestamp
            c ^= bars[i + two].timestamp
            d ^= bars[i + three].timestamp
            i += four
        while i < n:
            a ^= bars[i].timestamp
            i += one
        return a ^ b ^ c ^ d

    scan(make_bars(2))
    return scan


def room_for_derived() -> tuple[Any, Any]:
    n = sum(make_window().grid(name).n_slots for name in INTERVALS)
    return np.zeros(n, dtype=BAR_DTYPE), np.zeros(n, dtype=np.int32)


def bench_derive_in_cache(beside: Beside) -> None:
    bars, window, out = make_bars(), make_window(), room_for_derived()
    raw = bars.view(RAW_BAR)
    copy = np.zeros_like(raw)
    beside.times(
        "derive 8 intervals of a symbol-day (kernel)",
        "memcpy of the bars",
        lambda: kernels.derive_many(bars, window, INTERVALS, out=out),
        lambda: np.copyto(copy, raw),
        n=N_DAY,
        goal=1.5,
        rounds=300,
    )


def bench_derive_500_symbols(beside: Beside) -> None:
    days, window, out = make_days(), make_window(), room_for_derived()
    scan = one_field_scan()

    def derive() -> None:
        for bars in days:
            kernels.derive_many(bars, window, INTERVALS, out=out)

    beside.times(
        f"derive 8 intervals of {N_SYMBOLS} symbol-days (kernel)",
        "one-field scan",
        derive,
        lambda: [scan(bars) for bars in days],
        n=N_SYMBOLS * N_DAY,
        goal=2.0,
        rounds=9,
        note=lambda t: f"{1e-6 / t:.0f} M bars/s",
    )


def bench_derive_each(beside: Beside) -> None:
    days, window = list(make_days()[:N_EACH]), make_window()
    raw = [bars.view(RAW_BAR) for bars in days]
    copy = [np.zeros_like(bars) for bars in raw]

    def memcpy() -> None:
        for into, bars in zip(copy, raw, strict=True):
            np.copyto(into, bars)

    beside.times(
        f"derive_each: 8 intervals of {N_EACH} symbol-days, results allocated",
        "memcpy of each symbol-day",
        lambda: kernels.derive_each(days, window, INTERVALS),
        memcpy,
        n=N_EACH * N_DAY,
        goal=1.5,
        rounds=30,
        note=lambda t: f"{1e-6 / t:.0f} M bars/s",
    )
    made = kernels.derive_each(days, window, INTERVALS)["5s"]
    alone = kernels.derive_many(days[-1], window, INTERVALS)["5s"]
    assert made.bars[made.edges[-2] :].tobytes() == alone[0].tobytes()


def bench_gaps_kernel(beside: Beside) -> None:
    bars, grid = make_bars(gap_share=0.05), make_window().grid("1s")
    scan = one_field_scan()
    beside.times(
        "find_gaps, 5 % missing (kernel)",
        "one-field scan",
        lambda: kernels.find_gaps(bars, grid),
        lambda: scan(bars),
        n=len(bars),
        goal=1.4,
        rounds=300,
    )


def bench_gaps_series(beside: Beside) -> None:
    bars = make_bars(gap_share=0.05)
    root, records = make_root(1)
    records[0].append_block(bars)
    root.advance(OPEN_NS + N_DAY * NS_PER_SECOND)
    held = records[0].bars["1s"].data
    scan = one_field_scan()
    scan(held)
    beside.times(
        "series.gap_runs(), 5 % missing, looked for the first time (native)",
        "one-field scan",
        lambda: BarIntervalData(records[0].core, "1s").gap_runs(),
        lambda: scan(held),
        n=len(bars),
        goal=1.4,
        rounds=300,
    )


def bench_interleave(beside: Beside) -> None:
    bars = make_bars()
    columns = kernels.deinterleave(bars)
    raw = bars.view(RAW_BAR)
    copy = np.zeros_like(raw)
    out = np.zeros_like(bars)
    beside.times(
        "interleave six columns of a symbol-day (kernel)",
        "memcpy of the bars",
        lambda: kernels.interleave(*columns, out=out),
        lambda: np.copyto(copy, raw),
        n=N_DAY,
        rounds=300,
    )
