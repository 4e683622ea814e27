"""The native paths whose instructions are counted, on fixed input.

`benchmarks.guard` runs this file under callgrind, once with the package of the head and once
with that of the base: it keeps to names that both have. The callbacks are a builtin, so that
what is counted is ours and not the interpreter's.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Callable, Iterable
from ctypes import CDLL
from itertools import starmap
from operator import is_
from typing import Any

import numpy as np

from benchmarks.data import INTERVALS, N_DAY, as_tuples, make_bars, make_root
from openbell import SymbolSessionData
from openbell.schema import NS_PER_SECOND, BarArray

#: What is counted, and what must be true when it has run.
Path = tuple[Callable[[], None], Callable[[], bool]]


def read(records: Iterable[SymbolSessionData]) -> None:
    # Work that is put off until somebody reads belongs to the path too.
    for record in records:
        record.bars[INTERVALS[-1]].data  # noqa: B018


def holds(record: SymbolSessionData, bars: BarArray) -> bool:
    minutes = np.unique(bars["timestamp"] // (60 * NS_PER_SECOND))
    return np.array_equal(record.bars["1s"].data, bars) and np.array_equal(
        record.bars["1m"].data["timestamp"], minutes * 60 * NS_PER_SECOND
    )


def append() -> Path:
    bars = make_bars()
    _root, (record,) = make_root(1)
    # As the interpreter calls a method: without binding it first.
    calls = [(record, *row) for row in as_tuples(bars)]

    def run() -> None:
        deque(starmap(type(record).append, calls), maxlen=0)
        read([record])

    return run, lambda: holds(record, bars)


def block(n_rows: int) -> Path:
    days = [make_bars(seed=k) for k in range(4)]
    _root, records = make_root(len(days))
    blocks = [
        (record, day[at : at + n_rows])
        for record, day in zip(records, days, strict=True)
        for at in range(0, N_DAY, n_rows)
    ]

    def run() -> None:
        for record, bars in blocks:
            record.append_block(bars)
        read(records)

    return run, lambda: all(map(holds, records, days))


def replay(
    n_bars: int = 3900,
    n_symbols: int = 20,
    on_slice: Callable[[int, Any], object] | None = None,
    on_bar: Callable[[Any, Any], object] | None = None,
    gap_share: float = 0.0,
) -> Path:
    from openbell._native.replay import ReplayCursor

    days = [make_bars(n_bars, seed=k, gap_share=gap_share) for k in range(n_symbols)]
    root, records = make_root(n_symbols, n_reserve=n_bars)
    cursor = ReplayCursor(root.core)
    for record, bars in zip(records, days, strict=True):
        record.preload(bars)
        cursor.add(record)
    if on_bar is not None:
        cursor.on_close("1s", on_bar)

    def run() -> None:
        cursor.run(on_slice)
        read(records)

    return run, lambda: all(map(holds, records, days))


PATHS: dict[str, Callable[[], Path]] = {
    "append": append,
    "append_block, a day": lambda: block(N_DAY),
    "append_block, a minute": lambda: block(60),
    "replay, no callback": replay,
    "replay, per timestamp": lambda: replay(on_slice=is_),
    "replay, per timestamp, 90 % empty": lambda: replay(7800, on_slice=is_, gap_share=0.9),
    # Slots that close without a bar are watched too: here all have one, to the end of the day.
    "replay, per bar": lambda: replay(N_DAY, 2, on_bar=is_),
}


def main(library: str, src: str) -> None:
    """Run each path once to warm it, and once between the marks that callgrind counts by."""
    import openbell

    if not openbell.__file__.startswith(src):
        raise SystemExit(f"imported {openbell.__file__}, not what is in {src}")
    marks = CDLL(library)
    gc.disable()
    for name, make in PATHS.items():
        print(name)
        try:
            make()[0]()
            run, is_right = make()
            marks.count_from_here()
            run()
            marks.count_to_here(name.encode())
        except Exception as error:
            # An older tree may lack the path.
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        if not is_right():
            raise SystemExit(f"{name}: the bars are not what they should be")


if __name__ == "__main__":
    main(*sys.argv[1:])
