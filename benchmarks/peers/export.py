"""The day's tree to files: the 1s bars of each symbol and of 8 derived intervals.

As Parquet and as CSV a file for each interval, as JSON one of all. What was written is read back
and compared value by value. openbell's JSON holds the rest of the tree too, and its CSV and Parquet
how many base bars are in each bar.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import INTERVALS, N_DAY, OPEN_NS, make_root
from benchmarks.peers import derive
from benchmarks.peers.disk import FOLDER
from benchmarks.peers.work import ALL, Digest, Job, System, Work, columns, days, hashed, symbols
from openbell.schema import BAR_FIELDS, NS_PER_SECOND

ALL_INTERVALS = ("1s", *INTERVALS)
N_SYMBOLS = 10
FORMATS = ("parquet", "csv", "json")

#: Writes a format into a folder.
Writer = Callable[[Path], object]


def make_work(n_rows: int, writers: dict[str, Writer]) -> Work:
    """Work that writes each format into a folder of its own, emptied before each round."""
    folder = Path(os.environ[FOLDER]) / f"export-{os.getpid()}"

    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for name in FORMATS:
            (folder / name).mkdir(parents=True)

    def digest(_found: dict[str, Any]) -> Digest:
        made: Digest = {}
        for kind, read in (("parquet", read_parquet), ("csv", read_csv), ("json", read_json)):
            for name, values in read(folder / kind).items():
                made[f"{kind} {name}"] = hashed(*values)
                made[f"{kind} {name} rows"] = len(values[0])
        return made

    runs = {name: partial(write, folder / name) for name, write in writers.items()}
    return Work(n_rows, runs, digest, prepare)


def openbell_root(n_symbols: int, _n_threads: int) -> Work:
    root, records = make_root(n_symbols)
    for record, day in zip(records, days(n_symbols), strict=True):
        record.append_block(day)
    root.advance(OPEN_NS + N_DAY * NS_PER_SECOND)
    n_rows = sum(len(record.bars[name]) for record in records for name in ALL_INTERVALS)

    def to_csv(folder: Path) -> None:
        for name in ALL_INTERVALS:
            root.bars_to_csv(folder / f"{name}.csv", name)

    return make_work(
        n_rows,
        {
            "parquet": lambda folder: root.to_parquet(folder, ALL_INTERVALS),
            "csv": to_csv,
            "json": lambda folder: root.write_json(folder / "day.json"),
        },
    )


def columns_of_day(n_symbols: int) -> dict[str, dict[str, Any]]:
    source = columns(days(n_symbols))
    made = {"1s": source, **derive.numpy_reduceat(n_symbols, 1).runs[""]()}
    names = np.array(symbols(n_symbols))
    return {
        interval: {
            **one,
            "symbol": names[one["symbol"]],
            "timestamp": one["timestamp"].astype("M8[ns]"),
            "volume": one["volume"].astype(np.int64),
        }
        for interval, one in made.items()
    }


def pandas(n_symbols: int, _n_threads: int) -> Work:
    import pandas as pd

    frames = {name: pd.DataFrame(made) for name, made in columns_of_day(n_symbols).items()}
    for frame in frames.values():
        frame["timestamp"] = frame["timestamp"].dt.tz_localize("UTC")

    def to_parquet(folder: Path) -> None:
        for name, frame in frames.items():
            frame.to_parquet(folder / f"{name}.parquet", index=False)

    def to_csv(folder: Path) -> None:
        for name, frame in frames.items():
            frame.to_csv(folder / f"{name}.csv", index=False)

    def to_json(folder: Path) -> None:
        for name, frame in frames.items():
            frame.to_json(folder / f"{name}.json", orient="values", date_format="iso")

    return make_work(
        sum(map(len, frames.values())),
        {"parquet": to_parquet, "csv": to_csv, "json": to_json},
    )


def polars(n_symbols: int, _n_threads: int) -> Work:
    import polars as pl

    frames = {
        name: pl.DataFrame(made).with_columns(pl.col("timestamp").dt.replace_time_zone("UTC"))
        for name, made in columns_of_day(n_symbols).items()
    }

    def to_parquet(folder: Path) -> None:
        for name, frame in frames.items():
            frame.write_parquet(folder / f"{name}.parquet")

    def to_csv(folder: Path) -> None:
        for name, frame in frames.items():
            frame.write_csv(folder / f"{name}.csv")

    def to_json(folder: Path) -> None:
        for name, frame in frames.items():
            frame.write_json(folder / f"{name}.json")

    return make_work(
        sum(map(len, frames.values())),
        {"parquet": to_parquet, "csv": to_csv, "json": to_json},
    )


Columns = list[Any]


def read_parquet(folder: Path) -> dict[str, Columns]:
    import pyarrow.parquet as pq

    found = {}
    for path in folder.rglob("*.parquet"):
        name = next(
            (p.partition("=")[2] for p in path.parts if p.startswith("interval=")), path.stem
        )
        found[name] = _columns(pq.ParquetFile(path).read().to_pandas())
    return found


def read_csv(folder: Path) -> dict[str, Columns]:
    import pandas as pd

    return {path.stem: _columns(pd.read_csv(path)) for path in folder.glob("*.csv")}


def read_json(folder: Path) -> dict[str, Columns]:
    import pandas as pd

    fields = ["symbol", *BAR_FIELDS]
    found = {}
    for path in folder.glob("*.json"):
        made = json.loads(path.read_bytes())
        if isinstance(made, list):
            found[path.stem] = _columns(pd.DataFrame(made, columns=fields))
            continue
        for name in ALL_INTERVALS:
            tables = []
            for symbol, tree in made["symbols"].items():
                series = tree["session"]["data"][name]
                table = pd.DataFrame(series["data"], columns=series["columns"])
                tables.append(table.assign(symbol=symbol))
            found[name] = _columns(pd.concat(tables))
    return found


def _columns(frame: Any) -> Columns:
    import pandas as pd

    stamps = pd.to_datetime(frame["timestamp"], utc=True, format="ISO8601")
    number = frame["symbol"].astype(str).str[1:].astype(np.int64)
    values = [frame[name].astype(np.float64) for name in BAR_FIELDS[1:]]
    return [number, stamps.dt.tz_convert(None).astype("M8[ns]").astype(np.int64), *values]


JOB = Job(
    "export",
    f"export of {N_SYMBOLS} symbol-days and 8 intervals",
    (
        System(
            "openbell root",
            openbell_root,
            n_symbols=N_SYMBOLS,
            note="`to_parquet` (a dataset), `bars_to_csv`, `write_json` (with gaps and all)",
        ),
        System("pandas", pandas, ("pandas", "pyarrow"), n_symbols=N_SYMBOLS),
        System("polars", polars, ("polars",), (1, ALL), N_SYMBOLS),
    ),
    per="row",
    rounds=5,
)
