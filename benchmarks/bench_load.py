"""A day from Parquet into the rings, beside decoding the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.data import N_DAY, make_bars, make_root, make_window
from benchmarks.harness import Beside
from openbell.sources.dataset import DatasetWriter, dataset_path
from openbell.sources.parquet import ParquetSource

N_SYMBOLS = 100
COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


def bench_parquet_to_rings(beside: Beside, tmp_path: Path) -> None:
    window = make_window()
    fresh: list[Any] = list(make_root(N_SYMBOLS))
    names = [record.symbol for record in fresh[1]]
    DatasetWriter(tmp_path, calendar="XNYS").write(
        window.date, {name: make_bars(seed=k) for k, name in enumerate(names)}, interval="1s"
    )
    path = dataset_path(tmp_path, "bars", window.date, "1s")
    source = ParquetSource(tmp_path, n_threads=1)

    def prepare() -> None:
        fresh[:] = []
        fresh[:] = make_root(N_SYMBOLS)

    def load() -> None:
        root = fresh[0]
        for symbol, bars in source.load_many(names, "1s", window):
            root[symbol].preload(bars)

    def decode() -> None:
        with pq.ParquetFile(path) as file:
            for k in range(N_SYMBOLS):
                file.read_row_group(k, columns=COLUMNS, use_threads=False)

    beside.times(
        f"Parquet day of {N_SYMBOLS} symbols to the rings, 1 thread",
        "decoding alone",
        load,
        decode,
        n=N_SYMBOLS * N_DAY,
        prepare=prepare,
        goal=1.9,
        rounds=11,
        note=lambda t: f"{1e-6 / t:.0f} M bars/s",
    )
    assert all(record.n_waiting == N_DAY for record in fresh[1])
