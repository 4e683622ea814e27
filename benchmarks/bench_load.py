"""Days from Parquet into the records, beside decoding the files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import openbell as ob
from benchmarks.data import N_DAY, make_bars, make_root, make_window
from benchmarks.harness import Beside
from openbell.lifecycle.loading import SymbolLoader
from openbell.schema import BAR_FIELDS, NS_PER_SECOND
from openbell.sources import DatasetWriter, ParquetSource, dataset_path

COLUMNS = list(BAR_FIELDS)
N_THREADS = min(4, os.cpu_count() or 1)
#: Parts in which a file is decoded.
N_SHARES = 2 * N_THREADS


def write_day(folder: Path, window: ob.SessionWindow, names: list[str], interval: str) -> Path:
    step_ns = 60 * NS_PER_SECOND if interval == "1m" else NS_PER_SECOND
    data = {}
    for k, name in enumerate(names):
        data[name] = make_bars(window.grid(interval).n_slots, seed=k)
        data[name]["timestamp"] = window.open_ns + step_ns * np.arange(len(data[name]))
    DatasetWriter(folder, calendar="XNYS").write(window.date, data, interval=interval)
    return dataset_path(folder, "bars", window.date, interval)


def decode(path: Path, footer: pq.FileMetaData, groups: list[int]) -> None:
    with pq.ParquetFile(path, metadata=footer) as file:
        for _ in file.iter_batches(
            batch_size=1 << 14, row_groups=groups, columns=COLUMNS, use_threads=False
        ):
            pass


def decode_all(footers: dict[Path, pq.FileMetaData]) -> None:
    """Decode files on all threads, each file's row groups shared out among them."""
    with ThreadPoolExecutor(N_THREADS) as pool:
        jobs = [
            pool.submit(decode, path, footer, list(range(footer.num_row_groups))[k::N_SHARES])
            for path, footer in footers.items()
            for k in range(N_SHARES)
        ]
        for job in jobs:
            job.result()


def bench_parquet_to_rings(beside: Beside, tmp_path: Path) -> None:
    window = make_window()
    names = [f"S{k:05}" for k in range(100)]
    path = write_day(tmp_path, window, names, "1s")
    source = ParquetSource(tmp_path, n_threads=1)
    fresh: list[Any] = list(make_root(len(names), n_reserve=0))

    def prepare() -> None:
        fresh[:] = make_root(len(names), fresh[0], n_reserve=0)

    def load() -> None:
        root = fresh[0]
        for symbol, bars in source.load_many(names, "1s", window):
            root[symbol].preload(bars, adopt=True)

    def decode_each() -> None:
        with pq.ParquetFile(path) as file:
            for k in range(len(names)):
                file.read_row_group(k, columns=COLUMNS, use_threads=False)

    beside.times(
        f"Parquet day of {len(names)} symbols to the rings, 1 thread",
        "decoding alone",
        load,
        decode_each,
        n=len(names) * N_DAY,
        prepare=prepare,
        goal=1.9,
        rounds=11,
        note=lambda t: f"{1e-6 / t:.0f} M bars/s",
    )
    assert all(record.n_waiting == N_DAY for record in fresh[1])


def bench_step_3(beside: Beside, tmp_path: Path) -> None:
    window, clock = make_window(), ob.TimeManager("XNYS")
    names = [f"S{k:05}" for k in range(500)]
    past = [clock.session_window(day) for day in clock.trailing_days(window.date, 10)]
    paths = [write_day(tmp_path, one, names, "1m") for one in past]
    paths.append(write_day(tmp_path, window, names, "1s"))
    footers = {path: pq.read_metadata(path) for path in paths}
    session = ob.open_session(
        {
            "session": {
                "start_date": window.date,
                "symbols": names,
                "streams": ["1s", "1m", "5m"],
            },
            "data": {"parquet": str(tmp_path)},
            "historical": [{"trailing_days": len(past), "intervals": ["1m"]}],
        }
    )
    results = [session.validate_symbol(name, window.date) for name in names]
    root = ob.SessionData()

    def prepare() -> None:
        if root.window is not None:
            root.end()
            root.clear()
        root.begin(window)

    def load() -> None:
        for rec in load_each():
            assert len(rec.historical_bars["1m"]) == len(past)
            assert rec.n_waiting == N_DAY

    def load_each() -> Iterator[ob.SymbolSessionData]:
        loader = SymbolLoader(root, session.config, session.data_manager, ob.DataProcessor(root))
        for symbol, fetched in loader.fetch(results, window):
            assert not isinstance(fetched, Exception)
            rec = loader.make_record(symbol, "1s", ["1m", "5m"], "config")
            loader.put(root.register_symbol_data(rec), fetched)
            yield rec

    beside.times(
        f"Step 3 of {len(names)} symbols: a day of 1s, {len(past)} days of 1m",
        "decoding the files alone, on as many threads",
        load,
        lambda: decode_all(footers),
        prepare=prepare,
        n=len(names) * (N_DAY + 390 * len(past)),
        goal=1.9,
        rounds=7,
        note=lambda t: f"{1e-6 / t:.0f} M bars/s",
    )
