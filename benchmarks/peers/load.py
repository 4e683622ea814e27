"""A Parquet day, in the file format of openbell's datasets, to something to work with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import openbell as ob
from benchmarks.data import N_DAY, make_root, make_window
from benchmarks.peers.disk import dataset, day_file
from benchmarks.peers.work import ALL, Digest, Job, System, Work, days, hashed, symbols
from openbell.schema import BAR_FIELDS
from openbell.sources import ParquetSource

N_SYMBOLS = 100


def folder_of(n_symbols: int) -> Path:
    return dataset("load", lambda: days(n_symbols))


def make_manager(n_symbols: int, n_threads: int) -> ob.DataManager:
    source = ParquetSource(folder_of(n_symbols), n_threads=n_threads)
    return ob.DataManager([source], ob.TimeManager("XNYS"))


def openbell_session(n_symbols: int, n_threads: int) -> Work:
    config = {
        "session": {
            "start_date": make_window().date,
            "symbols": symbols(n_symbols),
            "streams": ["1s"],
        },
        "data": {"parquet": str(folder_of(n_symbols))},
    }
    manager = make_manager(n_symbols, n_threads)
    held: list[Any] = []

    def run() -> Any:
        session = ob.open_session(config, data=manager)
        opened = session.days()
        day = next(opened)
        held[:] = [opened, session]
        return day, session.root

    def digest(found: dict[str, Any]) -> Digest:
        day, root = found[""]
        day.run()
        return digest_of([record.bars["1s"].data for record in root])

    return Work(n_symbols * N_DAY, {"": run}, digest, held.clear)


def openbell_records(n_symbols: int, n_threads: int) -> Work:
    window, names = make_window(), symbols(n_symbols)
    manager = make_manager(n_symbols, n_threads)
    fresh: list[Any] = [ob.SessionData()]

    def prepare() -> None:
        fresh[:] = make_root(n_symbols, fresh[0], n_reserve=N_DAY, intervals=())

    def run() -> Any:
        root = fresh[0]
        for symbol, bars in manager.load_session_bars(names, "1s", window):
            root[symbol].append_block(bars)
        return root

    return Work(
        n_symbols * N_DAY,
        {"": run},
        lambda found: digest_of([record.bars["1s"].data for record in found[""]]),
        prepare,
    )


def openbell_arrays(n_symbols: int, n_threads: int) -> Work:
    window, names = make_window(), symbols(n_symbols)
    manager = make_manager(n_symbols, n_threads)

    def run() -> dict[str, Any]:
        return dict(manager.load_session_bars(names, "1s", window))

    return Work(
        n_symbols * N_DAY, {"": run}, lambda found: digest_of([found[""][name] for name in names])
    )


def polars(n_symbols: int, _n_threads: int) -> Work:
    import polars as pl

    path = day_file(folder_of(n_symbols))

    def digest(found: dict[str, Any]) -> Digest:
        frame = found[""].with_columns(pl.col("timestamp").cast(pl.Int64))
        return digest_of([frame], n_symbols)

    return Work(n_symbols * N_DAY, {"": lambda: pl.read_parquet(path)}, digest)


def duckdb(n_symbols: int, n_threads: int) -> Work:
    import duckdb as db

    path = day_file(folder_of(n_symbols))
    connection = db.connect(config={"threads": n_threads})

    def run() -> None:
        connection.execute(f"CREATE OR REPLACE TABLE bars AS SELECT * FROM read_parquet('{path}')")

    def digest(_found: dict[str, Any]) -> Digest:
        frame = connection.sql(
            "SELECT epoch_ns(timestamp) AS timestamp, * EXCLUDE timestamp FROM bars "
            "ORDER BY symbol, timestamp"
        ).fetchnumpy()
        return digest_of([frame], n_symbols)

    return Work(n_symbols * N_DAY, {"": run}, digest)


def pandas(n_symbols: int, n_threads: int) -> Work:
    import pandas as pd

    path = day_file(folder_of(n_symbols))

    def run() -> Any:
        return pd.read_parquet(path, engine="pyarrow", use_threads=n_threads > 1)

    def digest(found: dict[str, Any]) -> Digest:
        frame = found[""]
        stamps = frame["timestamp"].dt.tz_convert(None).astype("M8[ns]").astype("i8")
        return digest_of([frame.assign(timestamp=stamps)], n_symbols)

    return Work(n_symbols * N_DAY, {"": run}, digest)


def digest_of(parts: list[Any], n_symbols: int | None = None) -> Digest:
    """Of arrays by symbol, or of one frame of all, sorted."""
    columns = [np.concatenate([np.asarray(part[name]) for part in parts]) for name in BAR_FIELDS]
    return {
        "symbols": n_symbols or len(parts),
        "bars": len(columns[0]),
        "values": hashed(*columns),
    }


JOB = Job(
    "load",
    f"a Parquet day of {N_SYMBOLS} symbols, 1s, loaded",
    (
        System(
            "openbell session",
            openbell_session,
            threads=(1, ALL),
            n_symbols=N_SYMBOLS,
            note="`next(session.days())`: validated, records ready to be replayed",
        ),
        System(
            "openbell records",
            openbell_records,
            threads=(1, ALL),
            n_symbols=N_SYMBOLS,
            note="`DataManager.load_session_bars`, then `append_block`: all bars visible",
        ),
        System(
            "openbell arrays",
            openbell_arrays,
            threads=(1, ALL),
            n_symbols=N_SYMBOLS,
            note="`DataManager.load_session_bars`: an array for each symbol",
        ),
        System(
            "polars",
            polars,
            ("polars",),
            (1, ALL),
            N_SYMBOLS,
            {"": 1},
            note="`read_parquet`",
        ),
        System("DuckDB", duckdb, ("duckdb",), (1, ALL), N_SYMBOLS, note="into a table of its own"),
        System("pandas", pandas, ("pandas", "pyarrow"), (1, ALL), N_SYMBOLS, note="`read_parquet`"),
    ),
)
