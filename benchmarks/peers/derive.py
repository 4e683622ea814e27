"""Eight intervals, anchored at the session's open, from symbol-days of 1s bars in memory.

Every system holds the bars in the form it likes best and keeps what it makes. Each interval is
folded from the one before it, which is several times faster than from the 1s bars in all of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.data import INTERVALS, OPEN_NS, make_root, make_window
from benchmarks.peers.work import ALL, Digest, Job, System, Work, columns, days, hashed
from openbell import kernels
from openbell.intervals import interval
from openbell.schema import BAR_DTYPE, BAR_FIELDS

N_SYMBOLS = 50
STEPS_NS = {name: interval(name).step_ns for name in INTERVALS}


def openbell_kernel(n_symbols: int, _n_threads: int) -> Work:
    bars, window = days(n_symbols), make_window()
    n_slots = sum(window.grid(name).n_slots for name in INTERVALS)
    out = np.zeros(n_symbols * n_slots, BAR_DTYPE), np.zeros(n_symbols * n_slots, np.int32)

    def run() -> dict[str, Any]:
        return kernels.derive_each(bars, window, INTERVALS, out=out)

    def digest(found: dict[str, Any]) -> Digest:
        return {name: _hash(found[""][name].bars) for name in INTERVALS}

    return Work(sum(map(len, bars)), {"": run}, digest)


def openbell_records(n_symbols: int, _n_threads: int) -> Work:
    bars = days(n_symbols)
    fresh: list[Any] = list(make_root(n_symbols))

    def prepare() -> None:
        fresh[:] = make_root(n_symbols, fresh[0])

    def run() -> list[Any]:
        for record, day in zip(fresh[1], bars, strict=True):
            record.append_block(day)
        records: list[Any] = fresh[1]
        return records

    def digest(found: dict[str, Any]) -> Digest:
        return {
            name: _hash(
                {f: np.concatenate([r.bars[name].data[f] for r in found[""]]) for f in BAR_FIELDS}
            )
            for name in INTERVALS
        }

    return Work(sum(map(len, bars)), {"": run}, digest, prepare)


def numpy_reduceat(n_symbols: int, _n_threads: int) -> Work:
    source = columns(days(n_symbols))

    def run() -> dict[str, Any]:
        made, finer = {}, source
        for name, step in STEPS_NS.items():
            slots = (finer["timestamp"] - OPEN_NS) // step
            is_first = (np.diff(slots) != 0) | (np.diff(finer["symbol"]) != 0)
            starts = np.concatenate(([0], np.flatnonzero(is_first) + 1))
            ends = np.append(starts[1:], len(slots)) - 1
            finer = made[name] = {
                "symbol": finer["symbol"][starts],
                "timestamp": OPEN_NS + slots[starts] * step,
                "open": finer["open"][starts],
                "high": np.maximum.reduceat(finer["high"], starts),
                "low": np.minimum.reduceat(finer["low"], starts),
                "close": finer["close"][ends],
                "volume": np.add.reduceat(finer["volume"], starts),
            }
        return made

    return Work(len(source["symbol"]), {"": run}, _digest_of_columns)


def pandas(n_symbols: int, _n_threads: int) -> Work:
    import pandas as pd

    source = pd.DataFrame(columns(days(n_symbols)))
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}

    def run() -> dict[str, Any]:
        made, finer = {}, source
        for name, step in STEPS_NS.items():
            slots = (finer["timestamp"] - OPEN_NS) // step
            key = finer["symbol"].astype(np.int64) * (1 << 32) + slots
            grouped = finer.groupby(key, sort=False)
            finer = grouped.agg({"symbol": "first", "timestamp": "first", **how})
            made[name] = finer
        return made

    return Work(len(source), {"": run}, _digest_of_columns)


def polars(n_symbols: int, _n_threads: int) -> Work:
    import polars as pl

    source = pl.DataFrame(columns(days(n_symbols)))
    how = [
        pl.col("symbol", "timestamp", "open").first(),
        pl.col("high").max(),
        pl.col("low").min(),
        pl.col("close").last(),
        pl.col("volume").sum(),
    ]

    def run() -> dict[str, Any]:
        made, finer = {}, source
        for name, step in STEPS_NS.items():
            slot = (pl.col("timestamp") - OPEN_NS) // step
            key = pl.col("symbol").cast(pl.Int64) * (1 << 32) + slot
            # Known to ascend: that takes a sorted group_by, without a hash table.
            keyed = finer.with_columns(key.alias("key").set_sorted())
            finer = keyed.group_by("key", maintain_order=True).agg(how).drop("key")
            made[name] = finer
        return made

    return Work(len(source), {"": run}, _digest_of_columns)


def duckdb(n_symbols: int, n_threads: int) -> Work:
    import duckdb as db
    import pyarrow as pa

    connection = db.connect(config={"threads": n_threads})
    connection.register("given", pa.table(columns(days(n_symbols))))
    connection.execute("CREATE TABLE bars AS SELECT * FROM given")
    connection.unregister("given")

    def run() -> dict[str, str]:
        made, finer = {}, "bars"
        for name, step in STEPS_NS.items():
            made[name] = f"bars_{name}"
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {made[name]} AS "
                "SELECT symbol, min(timestamp) AS timestamp, arg_min(open, timestamp) AS open, "
                "max(high) AS high, min(low) AS low, arg_max(close, timestamp) AS close, "
                f"sum(volume) AS volume FROM {finer} "
                f"GROUP BY symbol, (timestamp - {OPEN_NS}) // {step}"
            )
            finer = made[name]
        return made

    def digest(found: dict[str, Any]) -> Digest:
        ordered = {
            name: connection.sql(f"SELECT * FROM {table} ORDER BY symbol, timestamp").fetchnumpy()
            for name, table in found[""].items()
        }
        return _digest_of_columns({"": ordered})

    return Work(connection.sql("FROM bars").shape[0], {"": run}, digest)


def _digest_of_columns(found: dict[str, Any]) -> Digest:
    return {name: _hash(made) for name, made in found[""].items()}


def _hash(made: Any) -> str:
    return hashed(*(made[name] for name in BAR_FIELDS))


JOB = Job(
    "derive",
    f"8 intervals of {N_SYMBOLS} symbol-days of 1s bars",
    (
        System(
            "openbell kernel",
            openbell_kernel,
            n_symbols=N_SYMBOLS,
            note="`kernels.derive_each`, into arrays used again",
        ),
        System(
            "openbell records",
            openbell_records,
            n_symbols=N_SYMBOLS,
            note="`record.append_block`: the bars stored, gaps and metrics too",
        ),
        System("numpy", numpy_reduceat, n_symbols=N_SYMBOLS, note="`reduceat`"),
        System("pandas", pandas, ("pandas",), n_symbols=N_SYMBOLS, note="`groupby`"),
        System(
            "polars",
            polars,
            ("polars",),
            (1, ALL),
            N_SYMBOLS,
            {"": 20},
            note="`group_by` of a sorted key",
        ),
        System(
            "DuckDB",
            duckdb,
            ("duckdb",),
            (1, ALL),
            N_SYMBOLS,
            {"": 20},
            note="`GROUP BY`, tables of its own",
        ),
    ),
)
