"""A Parquet day into records and into a polars frame, turn by turn, in a process of its own.

``python -m benchmarks.parquet_beside_polars DATASET THREADS ROUNDS [openbell|polars]`` prints the
median milliseconds of both, or those of the one that is named. Without rounds it is the first
time of the process, all memory new to it; with some, what was used before serves again. One
thread is timed by the processor, more by the clock.
"""

from __future__ import annotations

import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from benchmarks.data import N_DAY, make_root, make_window
from benchmarks.harness import quiet
from openbell.schema import BAR_FIELDS
from openbell.sources import ParquetSource, dataset_path


class ToRecords:
    """Registers a record for each symbol and gives it its bars, day after day."""

    def __init__(self, folder: Path, n_threads: int) -> None:
        self._source = ParquetSource(folder, n_threads=n_threads)
        self._names = self._source.symbols("1s")
        self.root, self.records = make_root(0)

    def clear(self) -> None:
        self.root, self.records = make_root(0, self.root)

    def __call__(self) -> None:
        self.root, self.records = make_root(len(self._names), self.root, n_reserve=0)
        loaded = self._source.load_many(self._names, "1s", make_window())
        for record, (_, bars) in zip(self.records, loaded, strict=True):
            record.preload(bars, adopt=True)

    def check(self, frame: Any) -> None:
        """Compare what was loaded with polars' frame, all in the file's order."""
        assert frame.height == sum(record.n_waiting for record in self.records)
        for k, (_, bars) in enumerate(self._source.load_many(self._names, "1s", make_window())):
            theirs = frame["close"][k * N_DAY : (k + 1) * N_DAY].to_numpy()
            assert (bars["close"] == theirs).all()


def main(folder: str, threads: str, rounds: str, which: str = "") -> None:
    # Read by polars when it is imported.
    os.environ["POLARS_MAX_THREADS"] = threads
    import polars as pl
    import pyarrow.parquet as pq

    path = dataset_path(folder, "bars", make_window().date, "1s")
    to_records = ToRecords(Path(folder), int(threads))
    kept: list[Any] = []
    clock: Callable[[], float] = process_time if threads == "1" else perf_counter

    def to_frame() -> None:
        # Without the symbols: we read none of theirs either.
        kept[:] = [pl.read_parquet(path, columns=list(BAR_FIELDS))]

    def timed(call: Callable[[], None]) -> float:
        start = clock()
        call()
        return clock() - start

    calls = {"openbell": to_records, "polars": to_frame}
    pq.read_metadata(path)
    pl.read_parquet(path, n_rows=1)
    found: dict[str, list[float]] = {name: [] for name in calls if which in ("", name)}
    for k in range(int(rounds) + 1):
        for name, times in found.items():
            kept.clear()
            to_records.clear()
            with quiet():
                took = timed(calls[name])
            if k or not int(rounds):
                times.append(1e3 * took)
    if not which:
        to_records()
        to_records.check(kept[0])
    print(*(statistics.median(times) for times in found.values()))


if __name__ == "__main__":
    main(*sys.argv[1:])
