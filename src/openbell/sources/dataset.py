"""The dataset format: where its files lie, what they hold, and how they are written.

``DIR/bars/interval=1s/date=2025-07-02.parquet``, ``DIR/quotes/date=...`` and
``DIR/trades/date=...``: one file per session date, one row group per symbol, sorted by symbol.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date as Date
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import numpy as np

from openbell._version import __version__
from openbell.errors import SchemaError
from openbell.intervals import interval as parse_interval
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE, BarArray

if TYPE_CHECKING:
    import pyarrow as pa

    from openbell.sources.parquet_file import ParquetTable

__all__ = ["EXTRA_FIELDS", "KINDS", "DatasetWriter", "WriteResult", "dataset_path"]

#: Folder of each kind of record, and the record's dtype.
KINDS: Final[Mapping[str, np.dtype[Any]]] = {
    "bars": BAR_DTYPE,
    "quotes": QUOTE_DTYPE,
    "trades": TICK_DTYPE,
}
#: Columns that bars may have beside those of the record, float64, null where unknown.
EXTRA_FIELDS: Final = ("trade_count", "vwap")
#: Prefix of the file's own keys in the Parquet metadata.
META_PREFIX: Final = "openbell."


def dataset_path(root: str | Path, kind: str, date: Date, interval: str | None = None) -> Path:
    """Return where the file of one kind and date lies; bars need the interval."""
    folder = Path(root) / kind
    if kind == "bars":
        if interval is None:
            raise SchemaError("interval", None, "the interval of the bars")
        folder = folder / f"interval={parse_interval(interval).name}"
    return folder / f"date={date.isoformat()}.parquet"


class WriteResult(NamedTuple):
    """What one :meth:`DatasetWriter.write` did."""

    path: Path
    n_rows: int
    """Rows handed in, after duplicate labels were joined."""
    n_replaced: int
    """Rows of the old file whose label came again with other values."""


class DatasetWriter:
    """Writes date files, whole: to a temporary name, synced, then renamed.

    A symbol that is already in a date's file is merged row by row; the others stay as they are.
    Two writers of one file at once do not see each other: the later one wins.

    Parameters
    ----------
    root : str or Path
        The dataset's folder; made when absent.
    calendar : str
        The calendar whose sessions the dates are.
    timezone : str
        Its zone; kept as metadata only, timestamps are UTC.
    adjustment : str
        ``raw``, ``split``, ... : how the prices were adjusted, if they were.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        calendar: str,
        timezone: str = "UTC",
        adjustment: str = "raw",
    ) -> None:
        self.root = Path(root)
        self.calendar = calendar
        self.timezone = timezone
        self.adjustment = adjustment

    def write(
        self,
        date: Date,
        records: Mapping[str, BarArray],
        *,
        interval: str | None = None,
        extras: Mapping[str, Mapping[str, np.ndarray[Any, Any]]] | None = None,
        on_existing: Literal["merge", "replace"] = "merge",
    ) -> WriteResult:
        """Write one session date of one or more symbols.

        Parameters
        ----------
        date : datetime.date
        records : mapping of str to numpy.ndarray
            By symbol, arrays of ``BAR_DTYPE``, ``QUOTE_DTYPE`` or ``TICK_DTYPE`` (all of one), in
            any order; of bars with one label the last is kept. Empty ones change nothing.
        interval : str
            Needed for bars.
        extras : mapping, optional
            By symbol, ``trade_count`` and ``vwap`` as float64 columns beside its bars; NaN is
            unknown.
        on_existing : "merge" or "replace"
            What becomes of a symbol's rows that are in the file already: `merge` keeps those whose
            label does not come again (of quotes and trades, those outside the incoming span).

        Raises
        ------
        SchemaError
            When the arrays are of another dtype, or of several.
        DatasetError
            When the existing file cannot be read; it is left as it is.
        """
        kind = _kind_of(records)
        path = dataset_path(self.root, kind, date, interval)
        incoming = {
            symbol: _ordered(kind, array, (extras or {}).get(symbol, {}))
            for symbol, array in records.items()
            if len(array)
        }
        n_rows = sum(len(rows["timestamp"]) for rows in incoming.values())
        if not incoming:
            return WriteResult(path, 0, 0)
        old = _existing(path, kind)
        kept = old.symbols if old is not None else frozenset[str]()
        n_replaced = 0
        with_extras = any(name in rows for rows in incoming.values() for name in EXTRA_FIELDS) or (
            old is not None and any(name in old.columns for name in EXTRA_FIELDS)
        )
        schema = self._schema(kind, interval, with_extras)
        with _replacing(path) as temporary, _writer(temporary, schema) as writer:
            for symbol in sorted(kept | incoming.keys()):
                rows = incoming.get(symbol)
                if old is not None and symbol in kept and not (rows and on_existing == "replace"):
                    before = old.columns_of(symbol)
                    if rows is None:
                        rows = before
                    else:
                        rows, replaced = _merge(kind, before, rows)
                        n_replaced += replaced
                assert rows is not None
                table = _to_table(symbol, rows, schema)
                writer.write_table(table, row_group_size=max(1, table.num_rows))
        return WriteResult(path, n_rows, n_replaced)

    def _schema(self, kind: str, interval: str | None, with_extras: bool) -> pa.Schema:
        import pyarrow as pa

        names = [n for n in KINDS[kind].names or () if n != "timestamp"]
        names += EXTRA_FIELDS if with_extras else ()
        meta = {
            "calendar": self.calendar,
            "timezone": self.timezone,
            "adjustment": self.adjustment,
            "label": "start",
            "version": __version__,
        }
        if interval is not None:
            meta["interval"] = parse_interval(interval).name
        return pa.schema(
            [
                pa.field("symbol", pa.string(), nullable=False),
                pa.field("timestamp", pa.timestamp("ns", "UTC"), nullable=False),
                *(pa.field(n, pa.float64(), nullable=n in EXTRA_FIELDS) for n in names),
            ],
            metadata={f"{META_PREFIX}{key}": value for key, value in meta.items()},
        )


Rows = dict[str, np.ndarray[Any, Any]]


def _kind_of(records: Mapping[str, BarArray]) -> str:
    kinds = {
        next((k for k, dtype in KINDS.items() if getattr(a, "dtype", None) == dtype), None)
        for a in records.values()
    }
    if len(kinds) != 1 or None in kinds:
        received = ", ".join(sorted({str(getattr(a, "dtype", type(a))) for a in records.values()}))
        raise SchemaError(
            "records", received or "nothing", "arrays of one of BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE"
        )
    return str(kinds.pop())


def _ordered(kind: str, array: BarArray, extras: Mapping[str, np.ndarray[Any, Any]]) -> Rows:
    rows: Rows = {name: array[name] for name in array.dtype.names or ()}
    for name in EXTRA_FIELDS:
        if name in extras and not np.isnan(extras[name]).all():
            rows[name] = np.asarray(extras[name], np.float64)
    return _sorted(kind, rows)


def _sorted(kind: str, rows: Rows) -> Rows:
    ts = rows["timestamp"]
    steps = np.diff(ts)
    # Trades and quotes of one instant are different events; bars of one label are one bar.
    if kind == "bars" and not (steps > 0).all():
        order = np.argsort(ts, kind="stable")
        order = order[np.append(np.diff(ts[order]) > 0, True)]
    elif (steps < 0).any():
        order = np.argsort(ts, kind="stable")
    else:
        return rows
    return {name: values[order] for name, values in rows.items()}


def _merge(kind: str, before: Rows, rows: Rows) -> tuple[Rows, int]:
    before = _sorted(kind, before)
    if kind != "bars":
        # Equal trades of one instant are real, so rows cannot be told apart: a span replaces.
        first, last = rows["timestamp"][[0, -1]]
        outside = (before["timestamp"] < first) | (before["timestamp"] > last)
        before = {name: values[outside] for name, values in before.items()}
    n_before, n_after = len(before["timestamp"]), len(rows["timestamp"])
    joined: Rows = {}
    for name in {**before, **rows}:
        joined[name] = np.concatenate(
            [
                before.get(name, np.full(n_before, np.nan)),
                rows.get(name, np.full(n_after, np.nan)),
            ]
        )
    if kind != "bars":
        return _sorted(kind, joined), 0
    _, old, fresh = np.intersect1d(
        before["timestamp"], rows["timestamp"], assume_unique=True, return_indices=True
    )
    differs = np.zeros(len(old), bool)
    for name in BAR_DTYPE.names or ():
        differs |= before[name][old] != rows[name][fresh]
    return _sorted(kind, joined), int(differs.sum())


def _existing(path: Path, kind: str) -> ParquetTable | None:
    from openbell.sources.parquet_file import ParquetTable

    return ParquetTable(path, kind, extras=True) if path.exists() else None


def _to_table(symbol: str, rows: Rows, schema: pa.Schema) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    n = len(rows["timestamp"])
    arrays = []
    for field in schema:
        if field.name == "symbol":
            arrays.append(pa.repeat(pa.scalar(symbol), n))
        elif field.name not in rows:
            arrays.append(pa.nulls(n, field.type))
        else:
            values = np.ascontiguousarray(rows[field.name])
            array = pa.Array.from_buffers(field.type, n, [None, pa.py_buffer(values)])
            if field.nullable and np.isnan(values).any():
                array = pc.if_else(pc.is_nan(array), None, array)
            arrays.append(array)
    return pa.Table.from_arrays(arrays, schema=schema)


def _writer(path: Path, schema: pa.Schema) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetWriter(
        path,
        schema,
        compression="none",
        # Prices move in ticks and visit few levels a day: a dictionary per symbol is the densest.
        use_dictionary=[name for name in schema.names if name != "timestamp"],
        column_encoding={"timestamp": "DELTA_BINARY_PACKED"},
        write_statistics=["symbol", "timestamp"],
        write_page_checksum=True,
    )


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    # Windows cannot open a folder; its rename is durable without this.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
