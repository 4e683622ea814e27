"""Files to batches of columns: CSV, Parquet and Arrow IPC, each by its suffix.

A reader finds the columns and numbers the rows. It judges no value.
"""

from __future__ import annotations

import codecs
import csv
import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

import numpy as np

from openbell.errors import DatasetError, IntervalError, SchemaError
from openbell.intervals import Interval
from openbell.schema import BAR_FIELDS, Int64Array
from openbell.sources.columns import resolve_columns
from openbell.sources.dataset import EXTRA_FIELDS, META_PREFIX
from openbell.sources.parquet import hive_keys, symbol_of_path
from openbell.sources.parquet_file import reading

__all__ = ["CSV_SUFFIXES", "Batch", "OpenedFile", "csv_batches", "open_arrow", "open_csv"]

CSV_SUFFIXES: Final = (".csv", ".csv.gz", ".tsv", ".txt")
_BATCH_ROWS: Final = 1 << 18
_BLOCK_BYTES: Final = 8 << 20
_ROLES: Final = (*BAR_FIELDS, *EXTRA_FIELDS, "symbol", "time_of_day")


@dataclass(slots=True)
class Batch:
    """Some rows of a file, column by column."""

    columns: dict[str, Any]
    """Arrow arrays by role: ``timestamp``, ``open``, ..., ``symbol``, ``time_of_day``."""
    rows: Int64Array
    """Number of each row among the data rows, from 1."""
    malformed: list[tuple[int, str]] = field(default_factory=list)
    """Rows that have no columns at all: number and text."""
    done: float = 0.0
    """Share of the file read after this batch."""


@dataclass(slots=True)
class OpenedFile:
    """A file whose columns are known, and its batches."""

    name: str
    batches: Iterator[Batch]
    has_symbol: bool = True
    symbol: str | None = None
    """The symbol that the path names."""
    interval: str | None = None
    """The interval that the path or the file's metadata names."""
    zone: str | None = None
    """The zone of its wall clock times, where the format says so."""
    price_divisor: float = 1.0
    line_offset: int | None = None
    """What makes a line number of a row number, in text files."""


def find_columns(
    names: list[str], what: str, explicit: Mapping[str, str] | None, untyped: set[str]
) -> dict[str, str]:
    """Return the column of each role; `untyped` are those that could be a time of day."""
    explicit = dict(explicit or {})
    unknown = sorted(explicit.keys() - set(_ROLES))
    if unknown:
        raise SchemaError("columns", f"key {unknown[0]!r}", f"one of {', '.join(_ROLES)}")
    clock = explicit.pop("time_of_day", None)
    found = resolve_columns(
        names, BAR_FIELDS, what, explicit=explicit, optional=("symbol", *EXTRA_FIELDS)
    )
    lower = {name.strip().strip("<>").lower(): name for name in names}
    if clock is None and "timestamp" not in explicit and {"date", "time"} <= lower.keys():
        date, time = lower["date"], lower["time"]
        if found["timestamp"] in (date, time) and time in untyped:
            found["timestamp"], clock = date, time
    if clock is not None:
        found["time_of_day"] = clock
    return found


def _from_path(path: Path) -> tuple[str | None, str | None]:
    pure = PurePosixPath(path.as_posix())
    name = hive_keys(pure).get("interval")
    try:
        interval = Interval.from_alias(name).name if name else None
    except IntervalError as error:
        raise DatasetError(path, f"its path says so, but: {error}", "import") from None
    return symbol_of_path(pure), interval


def open_csv(path: Path, columns: Mapping[str, str] | None) -> OpenedFile:
    """Open a CSV file with a header; gzip and the usual separators are recognised.

    Raises
    ------
    SchemaError
        When a column is missing.
    DatasetError
        When it has no header line that can be read.
    """
    packed = path.suffix.lower() == ".gz"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            n_blank, header = _first_line(file)
    except (OSError, EOFError) as error:
        raise DatasetError(path, f"cannot be read: {error}", "import") from None
    delimiter = max(",;\t|", key=header.count)
    try:
        names = next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error as error:
        raise DatasetError(path, f"its header line cannot be read: {error}", "import") from None
    if not names:
        raise DatasetError(path, "is empty; expected a header line", "import")
    roles = find_columns(names, str(path), columns, set(names))
    symbol, interval = _from_path(path)
    return OpenedFile(
        str(path),
        _csv_file(path, packed, names, roles, delimiter, n_blank),
        has_symbol="symbol" in roles,
        symbol=symbol,
        interval=interval,
        line_offset=n_blank + 1,
    )


def _first_line(file: Any) -> tuple[int, str]:
    for n_blank, line in enumerate(file):
        text = line.decode("utf-8-sig", errors="replace").strip("\r\n")
        if text.strip():
            return n_blank, text
    return 0, ""


def _csv_file(
    path: Path, packed: bool, names: list[str], roles: dict[str, str], delimiter: str, n_blank: int
) -> Iterator[Batch]:
    import pyarrow as pa

    size = max(1, path.stat().st_size)
    with path.open("rb") as raw:
        source = pa.PythonFile(raw, mode="r")
        stream = pa.CompressedInputStream(source, "gzip") if packed else source
        for batch in csv_batches(stream, str(path), names, roles, delimiter, n_blank + 1):
            batch.done = min(1.0, raw.tell() / size)
            yield batch


def csv_batches(
    stream: BinaryIO | Any,
    what: str,
    names: list[str],
    roles: Mapping[str, str],
    delimiter: str = ",",
    n_header_lines: int = 0,
) -> Iterator[Batch]:
    """Read CSV as text, so that a cell that cannot be parsed costs its row only.

    Raises
    ------
    DatasetError
        When it is not text, or its compression is broken; the batches before stand.
    """
    import pyarrow as pa
    import pyarrow.csv as pacsv

    malformed: list[tuple[int, str]] = []

    def refuse(row: Any) -> str:
        malformed.append((int(row.number) - n_header_lines, str(row.text)))
        return "skip"

    # Positions, not names: two columns of a file may share a name.
    labels = [f"c{k}" for k in range(len(names))]
    wanted = {role: labels[names.index(name)] for role, name in roles.items()}
    try:
        reader = pacsv.open_csv(
            pa.PythonFile(_CleanText(stream), mode="r"),
            read_options=pacsv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK_BYTES,
                column_names=labels,
                skip_rows=n_header_lines,
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter, invalid_row_handler=refuse, ignore_empty_lines=False
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(labels, pa.string()),
                include_columns=sorted(set(wanted.values())),
                strings_can_be_null=False,
            ),
        )
        next_row = 1
        for table in reader:
            taken = np.array([row for row, _ in malformed], np.int64)
            rows = _numbers(next_row, table.num_rows, taken)
            if len(rows):
                next_row = int(rows[-1]) + 1
            part, blank = _without_blank_lines(table)
            bad, malformed[:] = (
                [m for m in malformed if m[0] < next_row],
                [m for m in malformed if m[0] >= next_row],
            )
            yield Batch(
                {role: part.column(label) for role, label in wanted.items()}, rows[~blank], bad
            )
        if malformed:
            yield Batch({}, np.empty(0, np.int64), list(malformed), 1.0)
    except (pa.ArrowException, OSError, ValueError) as error:
        if "Empty CSV file" in str(error):
            return
        raise DatasetError(what, f"cannot be read on: {error}", "import") from None


class _CleanText:
    """A stream with U+FFFD for whatever is not UTF-8, so that a torn cell costs its row only."""

    closed = False

    def __init__(self, stream: BinaryIO | Any) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def read(self, size: int) -> bytes:
        # A byte that is not UTF-8 becomes three, as may those that the decoder holds back.
        while True:
            data = self._stream.read(max(1, size // 3 - 4))
            text = self._decoder.decode(data, final=not data)
            if text or not data:
                return text.encode()

    def close(self) -> None:
        self.closed = True


def _numbers(first: int, n: int, taken: Int64Array) -> Int64Array:
    # Rows that were refused have numbers too.
    rows = np.arange(first, first + n + len(taken), dtype=np.int64)
    return np.setdiff1d(rows, taken, assume_unique=True)[:n]


def _without_blank_lines(table: Any) -> tuple[Any, Any]:
    import pyarrow.compute as pc

    from openbell.sources.importing.values import pa_bools, text_of

    blank = np.ones(table.num_rows, bool)
    for column in table.columns:
        if not blank.any():
            return table, blank
        lengths = pc.cast(pc.binary_length(text_of(column)), "int64")
        blank &= np.frombuffer(lengths.buffers()[1], np.int64, len(lengths)) == 0
    return (table.filter(pa_bools(~blank)) if blank.any() else table), blank


def open_arrow(path: Path, columns: Mapping[str, str] | None) -> OpenedFile:
    """Open a Parquet file, or an Arrow IPC file or stream.

    Raises
    ------
    SchemaError
        When a column is missing.
    DatasetError
        When it is corrupt or truncated.
    """
    import pyarrow as pa

    is_parquet = path.suffix.lower() in (".parquet", ".pq")
    with reading(str(path)):
        schema, batches = _parquet(path) if is_parquet else _ipc(path)
        # A damaged name or zone shows only when it is looked at.
        _ = [(field.name, getattr(field.type, "tz", None)) for field in schema]

    untyped = {f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_time(f.type)}
    roles = find_columns(list(schema.names), str(path), columns, untyped)
    symbol, interval = _from_path(path)
    named = (schema.metadata or {}).get(f"{META_PREFIX}interval".encode())
    return OpenedFile(
        str(path),
        _arrow_batches(str(path), batches, roles),
        has_symbol="symbol" in roles,
        symbol=symbol,
        interval=named.decode() if named else interval,
    )


def _arrow_batches(
    what: str, batches: Iterator[tuple[Any, float]], roles: Mapping[str, str]
) -> Iterator[Batch]:
    first = 1
    with reading(what):
        for table, done in batches:
            rows = np.arange(first, first + table.num_rows, dtype=np.int64)
            first += table.num_rows
            columns = {role: table.column(name) for role, name in roles.items()}
            yield Batch(columns, rows, done=done)


def _parquet(path: Path) -> tuple[Any, Iterator[tuple[Any, float]]]:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path, page_checksum_verification=True)

    def batches() -> Iterator[tuple[Any, float]]:
        n_rows, n = max(1, file.metadata.num_rows), 0
        with file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, use_threads=False):
                n += batch.num_rows
                yield batch, n / n_rows

    return file.schema_arrow, batches()


def _ipc(path: Path) -> tuple[Any, Iterator[tuple[Any, float]]]:
    import pyarrow as pa

    source = pa.memory_map(str(path)) if path.stat().st_size else pa.OSFile(str(path))
    try:
        file = pa.ipc.open_file(source)
    except pa.ArrowInvalid:
        source.seek(0)
        stream = pa.ipc.open_stream(source)
        return stream.schema, ((batch, 0.0) for batch in stream)
    n = file.num_record_batches
    return file.schema, ((file.get_batch(k), (k + 1) / n) for k in range(n))
