"""Bars as files for other programs: flat CSV, flat Parquet, and a dataset to replay again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date as Date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openbell.errors import SessionStateError
from openbell.export.files import replacing
from openbell.export.frames import pick_series, series_tables
from openbell.export.texts import integral
from openbell.intervals import interval as parse_interval
from openbell.schema import BarArray, Int64Array
from openbell.side_columns import FloatColumn

if TYPE_CHECKING:
    from os import PathLike

    import pyarrow as pa

    from openbell.bars import BarIntervalData
    from openbell.session import SessionData

__all__ = ["write_bars_csv", "write_bars_parquet", "write_dataset"]

_QUOTED: Final = frozenset('",\r\n')
_BATCH_ROWS: Final = 1 << 14


def write_bars_csv(
    series: Sequence[BarIntervalData],
    path: str | PathLike[str],
    *,
    complete_only: bool = False,
) -> None:
    """Write the closed bars of series as CSV, one row a bar, series after series.

    Columns are ``symbol,timestamp,open,high,low,close,volume``, and ``n_base`` when a series is
    derived (empty in the rows of one that is not). Timestamps are the bar's start, ISO-8601 UTC;
    numbers are the shortest texts that read back as the same values, whole volumes integers.

    Parameters
    ----------
    series : sequence of BarIntervalData
        All of one interval, which the file does not name.
    path : str or os.PathLike
        Written beside it and renamed when whole; its folder must exist.
    complete_only : bool
        Whether derived bars that lack base bars are left out.

    Notes
    -----
    Holds one series at a time in memory.
    """
    import pyarrow.csv as pacsv

    # Arrow quotes every text or none, and refuses one that needs it.
    needed = any(_QUOTED & set(one.symbol) for one in series)
    options = pacsv.WriteOptions(
        include_header=False,
        batch_size=_BATCH_ROWS,
        quoting_style="needed" if needed else "none",
    )
    tables = series_tables(series, complete_only=complete_only)
    with replacing(path) as file:
        file.write((",".join(next(tables).column_names) + "\n").encode())
        for table in tables:
            pacsv.write_csv(_as_text(table), file, options)


def _as_text(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    table = _plain_symbols(table)
    texts = _iso_texts(_values(table, "timestamp", np.int64))
    table = table.set_column(table.column_names.index("timestamp"), "timestamp", texts)
    volume = _values(table, "volume", np.float64)
    if integral(volume):
        whole = table["volume"].cast(pa.int64())
        table = table.set_column(table.column_names.index("volume"), "volume", whole)
    return table


def _values(table: pa.Table, name: str, dtype: Any) -> Any:
    if table.num_rows == 0:
        return np.empty(0, dtype)
    (chunk,) = table[name].chunks
    return np.frombuffer(chunk.buffers()[1], dtype, len(chunk))


def _iso_texts(ts_ns: Int64Array) -> pa.Array:
    # Bars begin on whole seconds. Texts of one length lie in memory as an Arrow array has them.
    import pyarrow as pa

    stamps = ts_ns.view("datetime64[ns]").astype("datetime64[s]")
    data = np.strings.add(np.datetime_as_string(stamps).astype("S19"), b"+00:00")
    offsets = np.arange(len(data) + 1, dtype=np.int32) * data.dtype.itemsize
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.string(), len(data), buffers)


def _plain_symbols(table: pa.Table) -> pa.Table:
    import pyarrow as pa

    return table.set_column(0, "symbol", table["symbol"].cast(pa.string()))


def write_bars_parquet(
    series: Sequence[BarIntervalData],
    path: str | PathLike[str],
    *,
    complete_only: bool = False,
) -> None:
    """Write the closed bars of series as one Parquet file, a row group for each.

    The columns are those of :func:`write_bars_csv`: ``symbol`` as text, ``timestamp`` as
    ``timestamp[ns, UTC]``. The file's metadata name the interval; ``openbell import`` and the
    Parquet source read them.

    Parameters
    ----------
    series : sequence of BarIntervalData
        All of one interval.
    path : str or os.PathLike
        Written beside it and renamed when whole; its folder must exist.
    complete_only : bool
        Whether derived bars that lack base bars are left out.
    """
    import pyarrow.parquet as pq

    from openbell.sources.dataset import META_PREFIX

    tables = series_tables(series, complete_only=complete_only)
    meta = {f"{META_PREFIX}label": "start"}
    meta |= {f"{META_PREFIX}interval": one.interval for one in series}
    schema = _plain_symbols(next(tables)).schema.with_metadata(meta)
    with replacing(path) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            whole = max(1, table.num_rows)
            writer.write_table(_plain_symbols(table).cast(schema), row_group_size=whole)


def write_dataset(
    root: SessionData,
    folder: str | PathLike[str],
    intervals: Iterable[str] | None = None,
    *,
    adjustment: str = "raw",
) -> list[Path]:
    """Write what a session holds as a dataset, which a session can be replayed from again.

    The day's bars that arrived, with their ``trade_count`` and ``vwap`` where these are known,
    bars of past days, quotes and trades, as the Parquet source reads them. Derived bars follow
    from these, and are written only when they are asked for. A dataset that is there already is
    added to: what it has of the same symbol and label is replaced, all else kept.

    Parameters
    ----------
    root : SessionData
        Its ``on_incomplete`` says whether derived bars that are asked for are written where they
        lack base bars.
    folder : str or os.PathLike
        Made when absent.
    intervals : iterable of str, optional
        Which series of the day, derived or not, and which of past days. None: all of past days,
        and of the day those that arrive, or hold bars written directly.
    adjustment : str
        How the prices were adjusted, if they were; a note in the files.

    Returns
    -------
    list of pathlib.Path
        The files written. Each appears whole or not at all.

    Raises
    ------
    SessionStateError
        When no day has begun.
    IntervalError
        When an interval is unknown, or no record has it.
    DatasetError
        When a file that is there cannot be read; it is left as it is.

    Notes
    -----
    Holds one interval of the day at a time in memory.
    """
    from openbell.sources.dataset import DatasetWriter

    window = root.window
    if window is None:
        raise SessionStateError("to_parquet", "not begun", "call root.begin(window) first")
    records = list(root)
    held = {name for rec in records for name in (*rec.bars, *rec.historical_bars)}
    names = held if intervals is None else {parse_interval(name).name for name in intervals}
    for missing in sorted(names - held):
        pick_series(root, missing)
    ordered = sorted(names, key=parse_interval)
    writer = DatasetWriter(
        Path(folder), calendar=window.calendar, timezone=window.timezone, adjustment=adjustment
    )
    return [
        writer.write(day, rows, interval=name, extras=extras).path
        for day, rows, name, extras in _holdings(root, window.date, ordered, intervals is not None)
        if any(map(len, rows.values()))
    ]


def _holdings(
    root: SessionData, today: Date, names: Iterable[str], with_derived: bool
) -> Iterator[tuple[Date, dict[str, BarArray], str | None, dict[str, dict[str, FloatColumn]]]]:
    records, skips = list(root), root.on_incomplete == "skip"
    for name in names:
        past: dict[Date, dict[str, BarArray]] = {}
        for rec in records:
            for day, bars in rec.historical_bars.get(name, {}).items():
                past.setdefault(day, {})[rec.symbol] = bars
        for day in sorted(past):
            yield day, past[day], name, {}
        # A dataset that has an interval of this day alone would lose the past days to whoever
        # derives from the longest interval there is.
        series = [
            one
            for rec in records
            if (one := rec.bars.get(name)) is not None
            and (with_derived or not one.derived or one.has_written)
        ]
        # Of a derived series nobody asked for it is the bars written directly that count.
        only_whole = skips and with_derived
        rows = {s.symbol: s.complete_only() if only_whole else s.copy() for s in series}
        extras = {s.symbol: s.extras_at(rows[s.symbol]["timestamp"]) for s in series}
        yield today, rows, name, extras
    yield today, {rec.symbol: rec.quotes.data.copy() for rec in records}, None, {}
    yield today, {rec.symbol: rec.ticks.data.copy() for rec in records}, None, {}
