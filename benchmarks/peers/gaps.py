"""Runs of missing seconds and the quality of symbol-days, of which some bars are missing.

What is found: for each symbol its quality, and of each gap its first missing label and its length.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from benchmarks.data import N_DAY, OPEN_NS, make_root, make_window
from benchmarks.peers.work import ALL, Digest, Job, System, Work, columns, days, hashed
from openbell import kernels
from openbell._native.series import Series
from openbell.schema import NS_PER_SECOND, BarArray

N_SYMBOLS = 50
MISSING = {"5 %": 0.05, "20 %": 0.20}
CLOSE_NS = OPEN_NS + N_DAY * NS_PER_SECOND

#: Columns symbol, start and count of the gaps, by symbol, then time; and each symbol's quality.
Found = tuple[Any, Any, Any, Any]


def make_work(
    n_symbols: int,
    hold: Callable[[list[BarArray]], Any],
    find: Callable[[Any], Any],
    as_found: Callable[[Any], Found],
) -> Work:
    """Work on each share of missing bars, held beforehand as the system wants them."""
    held = {name: hold(days(n_symbols, gap_share=share)) for name, share in MISSING.items()}

    def digest(results: dict[str, Any]) -> Digest:
        made: Digest = {}
        for name, result in results.items():
            symbol, start, count, quality = as_found(result)
            made[f"{name} gaps"] = len(symbol)
            made[f"{name} missing"] = int(np.sum(np.asarray(count)))
            made[f"{name} runs"] = hashed(symbol, start, count)
            made[f"{name} quality"] = float(
                np.sum(np.asarray(quality) * np.arange(1, n_symbols + 1))
            )
        return made

    runs = {name: partial(find, one) for name, one in held.items()}
    return Work(n_symbols * N_DAY, runs, digest)


def openbell_records(n_symbols: int, _n_threads: int) -> Work:
    # A series keeps the gaps it found: each round is the first look of another one.
    return of_records(n_symbols, lambda record: Series(record.core, "1s"))


def openbell_again(n_symbols: int, _n_threads: int) -> Work:
    return of_records(n_symbols, lambda record: record.bars["1s"])


def of_records(n_symbols: int, series_of: Callable[[Any], Any]) -> Work:
    def hold(bars: list[BarArray]) -> Any:
        root, records = make_root(n_symbols)
        for record, day in zip(records, bars, strict=True):
            record.append_block(day)
        root.advance(CLOSE_NS)
        return root, records

    def find(held: Any) -> Any:
        each = [series_of(record) for record in held[1]]
        return [(series.gap_runs(), series.quality) for series in each]

    return make_work(
        n_symbols, hold, find, lambda found: _joined([(r[:, 0], r[:, 1], q) for r, q in found])
    )


def openbell_kernels(n_symbols: int, _n_threads: int) -> Work:
    grid = make_window().grid("1s")

    def find(bars: list[BarArray]) -> Any:
        return [(*kernels.find_gaps(day, grid), kernels.score(day, grid, CLOSE_NS)) for day in bars]

    return make_work(n_symbols, lambda bars: bars, find, _joined)


def numpy(n_symbols: int, _n_threads: int) -> Work:
    def find(held: Any) -> Any:
        found = []
        for stamps in held:
            edges = np.concatenate(([OPEN_NS - NS_PER_SECOND], stamps, [CLOSE_NS]))
            missing = np.diff(edges) // NS_PER_SECOND - 1
            at = np.flatnonzero(missing)
            first = (edges[at] - OPEN_NS) // NS_PER_SECOND + 1
            found.append((first, missing[at], 100.0 * len(stamps) / N_DAY))
        return found

    return make_work(
        n_symbols, lambda bars: [day["timestamp"].copy() for day in bars], find, _joined
    )


def pandas(n_symbols: int, _n_threads: int) -> Work:
    import pandas as pd

    def find(frame: Any) -> Any:
        stamps, grouped = frame["timestamp"], frame.groupby("symbol", sort=False)["timestamp"]
        before = grouped.shift(1, fill_value=OPEN_NS - NS_PER_SECOND)
        count = (stamps - before) // NS_PER_SECOND - 1
        inner = pd.DataFrame(
            {"symbol": frame["symbol"], "start": before + NS_PER_SECOND, "count": count}
        )[count > 0]
        last = grouped.last() + NS_PER_SECOND
        tails = pd.DataFrame(
            {"symbol": last.index, "start": last.values, "count": (CLOSE_NS - last.values)}
        )
        tails["count"] //= NS_PER_SECOND
        gaps = pd.concat([inner, tails[tails["count"] > 0]]).sort_values(["symbol", "start"])
        return gaps, 100.0 * grouped.size() / N_DAY

    return make_work(n_symbols, lambda bars: pd.DataFrame(columns(bars)), find, _of_frames)


def polars(n_symbols: int, _n_threads: int) -> Work:
    import polars as pl

    symbol, stamp = pl.col("symbol"), pl.col("timestamp")
    # The rows are sorted: comparing neighbours takes a fraction of `over("symbol")`.
    before = pl.when(symbol == symbol.shift(1)).then(stamp.shift(1))
    start = before.otherwise(None).fill_null(OPEN_NS - NS_PER_SECOND) + NS_PER_SECOND

    def find(frame: Any) -> Any:
        lazy = frame.lazy()
        inner = lazy.select("symbol", start.alias("start"), stamp.alias("end"))
        ends = lazy.group_by("symbol", maintain_order=True).agg(
            stamp.last() + NS_PER_SECOND, quality=100.0 * pl.len() / N_DAY
        )
        tails = ends.select("symbol", stamp.alias("start"), pl.lit(CLOSE_NS).alias("end"))
        gaps = (
            pl.concat([part.filter(pl.col("end") > pl.col("start")) for part in (inner, tails)])
            .sort("symbol", "start")
            .select("symbol", "start", count=(pl.col("end") - pl.col("start")) // NS_PER_SECOND)
        )
        return pl.collect_all([gaps, ends.select("quality")])

    return make_work(
        n_symbols,
        lambda bars: pl.DataFrame(columns(bars)),
        find,
        lambda found: _of_frames((found[0], found[1]["quality"])),
    )


def duckdb(n_symbols: int, n_threads: int) -> Work:
    import duckdb as db
    import pyarrow as pa

    connection = db.connect(config={"threads": n_threads})

    def hold(bars: list[BarArray]) -> str:
        n_tables = len(connection.sql("SHOW TABLES").fetchall())
        connection.register("given", pa.table(columns(bars)))
        connection.execute(f"CREATE TABLE bars{n_tables} AS SELECT * FROM given")
        connection.unregister("given")
        return f"bars{n_tables}"

    def find(table: str) -> Any:
        gaps = connection.sql(
            "WITH stops AS ("
            f"SELECT symbol, timestamp FROM {table} UNION ALL "
            f"SELECT DISTINCT symbol, {CLOSE_NS} FROM {table}), "
            "runs AS (SELECT symbol, timestamp AS stop, "
            f"lag(timestamp, 1, {OPEN_NS - NS_PER_SECOND}) OVER by_time + {NS_PER_SECOND} AS start "
            "FROM stops WINDOW by_time AS (PARTITION BY symbol ORDER BY timestamp)) "
            f"SELECT symbol, start, (stop - start) // {NS_PER_SECOND} AS count "
            "FROM runs WHERE stop > start ORDER BY symbol, start"
        ).fetchnumpy()
        quality = connection.sql(
            f"SELECT 100.0 * count(*) / {N_DAY} AS quality FROM {table} "
            "GROUP BY symbol ORDER BY symbol"
        ).fetchnumpy()
        return gaps, quality["quality"]

    return make_work(n_symbols, hold, find, _of_frames)


def _joined(found: list[tuple[Any, Any, Any]]) -> Found:
    """Of first slots and counts by symbol."""
    starts = np.concatenate([OPEN_NS + first * NS_PER_SECOND for first, _, _ in found])
    counts = np.concatenate([count for _, count, _ in found])
    symbol = np.repeat(np.arange(len(found)), [len(first) for first, _, _ in found])
    return symbol, starts, counts, np.array([quality for _, _, quality in found])


def _of_frames(found: Any) -> Found:
    gaps, quality = found
    return gaps["symbol"], gaps["start"], gaps["count"], quality


JOB = Job(
    "gaps",
    f"gaps and quality of {N_SYMBOLS} symbol-days of 1s, so much of them missing",
    (
        System(
            "openbell records",
            openbell_records,
            n_symbols=N_SYMBOLS,
            note="`series.gap_runs()` and `.quality` of the bars that records hold: a first look",
        ),
        System(
            "openbell records, again",
            openbell_again,
            n_symbols=N_SYMBOLS,
            note="the same of series that were looked at before",
        ),
        System(
            "openbell kernels",
            openbell_kernels,
            n_symbols=N_SYMBOLS,
            note="`kernels.find_gaps` and `.score` of each symbol's array",
        ),
        System("numpy", numpy, n_symbols=N_SYMBOLS, note="`diff` of each symbol's column"),
        System("pandas", pandas, ("pandas",), n_symbols=N_SYMBOLS, note="`groupby.shift`"),
        System(
            "polars",
            polars,
            ("polars",),
            (1, ALL),
            N_SYMBOLS,
            dict.fromkeys(MISSING, 20),
            note="lazy, neighbours compared",
        ),
        System("DuckDB", duckdb, ("duckdb",), (1, ALL), N_SYMBOLS, note="`lag`, tables of its own"),
    ),
    per="slot",
)
