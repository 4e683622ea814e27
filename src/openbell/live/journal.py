"""The journal of a recording: what came, in order, in files that outlive a crash.

``DIR/live/date=2025-07-02.part-1.arrows`` is an Arrow IPC stream without its end mark. Each batch
carries the checksum of its columns, so that what a crash tore, or a disk forgot, is told from
what is whole. A row is a bar and its rank, an outage, or a sign of life.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date as Date
from functools import cache
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from openbell.errors import DatasetError
from openbell.schema import BAR_DTYPE, BAR_FIELDS, BarArray
from openbell.sources.columns import fixed_width
from openbell.sources.dataset import EXTRA_FIELDS
from openbell.sources.outages import Outage
from openbell.sources.parquet_file import symbol_codes

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "HEARTBEAT",
    "ROW_DTYPE",
    "Batch",
    "JournalPart",
    "Row",
    "bar_batch",
    "block_batch",
    "heartbeat_row",
    "journal_folder",
    "outage_row",
    "parts_of",
    "read_part",
    "to_rows",
]

#: Symbol, interval, rank, label, open, high, low, close, volume, trade count, vwap.
Row = tuple[str, str, int, int, float, float, float, float, float, float, float]

#: A bar and what is beside it, 64 bytes; of a row that is none, the instant alone counts.
ROW_DTYPE: Final = np.dtype([*BAR_DTYPE.descr, *((name, "<f8") for name in EXTRA_FIELDS)])

#: In the place of a rank.
HEARTBEAT: Final = -1
OUTAGE: Final = -2

_CHECKSUM: Final = b"crc32"
_ROWS_AT_ONCE: Final = 1 << 20
_NO_BAR: Final = (nan,) * 7


def journal_folder(folder: Path) -> Path:
    """Return where the journals of a recording are."""
    return folder / "live"


def parts_of(folder: Path, date: Date) -> list[Path]:
    """Return the parts of a date's journal, in the order in which they were written."""
    found = journal_folder(folder).glob(f"date={date.isoformat()}.part-*.arrows")
    return sorted((path for path in found if _number(path)), key=_number)


def _number(path: Path) -> int:
    digits = path.name.removesuffix(".arrows").rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


# Batches


def bar_batch(rows: Sequence[Row]) -> pa.RecordBatch:
    """Return bars as a batch."""
    bars = np.array([row[3:] for row in rows], ROW_DTYPE)
    return _batch(
        [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], bars
    )


def block_batch(
    symbol: str, interval: str, rank: int, rows: npt.NDArray[np.void]
) -> pa.RecordBatch:
    """Return a block of rows of one series and one rank, of ``ROW_DTYPE``, as a batch."""
    n = len(rows)
    return _batch([symbol] * n, [interval] * n, [rank] * n, rows)


def heartbeat_row(now_ns: int) -> Row:
    """Return the sign that all that came until an instant is in the journal."""
    return ("", "", HEARTBEAT, now_ns, *_NO_BAR)


def outage_row(outage: Outage) -> Row:
    """Return an outage as a row: its text is where the symbol is else."""
    return (msgspec.json.encode(outage).decode(), "", OUTAGE, outage.start_ns, *_NO_BAR)


def to_rows(bars: BarArray, extras: Mapping[str, npt.NDArray[np.float64]]) -> npt.NDArray[np.void]:
    """Return bars with what is beside them, of ``ROW_DTYPE``; a copy."""
    rows = np.empty(len(bars), ROW_DTYPE)
    for name in BAR_FIELDS:
        rows[name] = bars[name]
    for name in EXTRA_FIELDS:
        rows[name] = extras.get(name, nan)
    return rows


@cache
def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        [
            ("symbol", pa.string()),
            ("interval", pa.string()),
            ("rank", pa.int8()),
            ("bar", pa.binary(ROW_DTYPE.itemsize)),
        ],
        metadata={"openbell.journal": "1", "bar": str(ROW_DTYPE.descr)},
    )


def _batch(
    symbols: Sequence[str],
    intervals: Sequence[str],
    ranks: Sequence[int],
    rows: npt.NDArray[np.void],
) -> pa.RecordBatch:
    import pyarrow as pa

    schema, n = _schema(), len(rows)
    fixed = (np.array(ranks, np.int8), np.ascontiguousarray(rows))
    columns = [
        # Arrow imports pandas to make an array from a list.
        _texts(symbols),
        _texts(intervals),
        *(
            pa.Array.from_buffers(schema.types[k], n, [None, pa.py_buffer(array)])
            for k, array in enumerate(fixed, 2)
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _texts(values: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def _checksum(batch: pa.RecordBatch) -> bytes:
    n, crc = batch.num_rows, 0
    for column in batch.columns:
        _, *buffers = column.buffers()
        if len(buffers) == 2:
            ends = memoryview(buffers[0])[: (n + 1) * 4]
            crc = zlib.crc32(ends, crc)
            crc = zlib.crc32(memoryview(buffers[1])[: int.from_bytes(ends[-4:], "little")], crc)
        else:
            crc = zlib.crc32(memoryview(buffers[0])[: n * column.type.bit_width // 8], crc)
    return str(crc).encode()


# Writing


class JournalPart:
    """One file of a journal, being written.

    Parameters
    ----------
    folder : Path
        The recording's.
    date : datetime.date

    Raises
    ------
    OSError
        When the file cannot be made.
    """

    def __init__(self, folder: Path, date: Date) -> None:
        import pyarrow as pa

        number = max([0, *map(_number, parts_of(folder, date))]) + 1
        self.path = journal_folder(folder) / f"date={date.isoformat()}.part-{number}.arrows"
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
        self._n_whole = 0
        self._is_torn = False
        self._sink = _Sink()
        self._writer = pa.ipc.new_stream(self._sink, _schema())

    def encode(self, batch: pa.RecordBatch) -> bytes:
        """Return what is to be written of a batch; of the first, with the schema before it."""
        self._writer.write_batch(batch, {_CHECKSUM: _checksum(batch)})
        return self._sink.take()

    def write(self, data: bytes) -> None:
        """Append; what is left of an attempt that failed is taken back first.

        Raises
        ------
        OSError
        """
        if self._is_torn:
            os.ftruncate(self._file, self._n_whole)
        self._is_torn = True
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self._n_whole += len(data)
        self._is_torn = False

    def sync(self) -> None:
        """Have the disk keep what was written. Raises OSError."""
        os.fsync(self._file)

    def close(self) -> None:
        """Close the file; it stays."""
        with suppress(OSError):
            os.close(self._file)


class _Sink:
    """Where Arrow writes to, so that what is written to the file is known to be whole."""

    closed = False

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, piece: Any) -> int:
        self._pieces.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def take(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


# Reading


class Batch:
    """The rows that were read of a part, as columns."""

    __slots__ = ("_batch", "path", "ranks", "rows")

    def __init__(self, batch: pa.RecordBatch, path: Path) -> None:
        self._batch = batch
        self.path = path
        self.ranks = fixed_width(batch.column("rank"), np.int8)
        self.rows = fixed_width(batch.column("bar"), ROW_DTYPE)

    def codes(self, name: str) -> tuple[list[str], npt.NDArray[np.int64]]:
        """The distinct texts of ``symbol`` or ``interval``, and the number of each row's."""
        return symbol_codes(self._batch.column(name), str(self.path))

    def outages(self) -> Iterator[Outage]:
        """The outages among the rows."""
        for row in np.flatnonzero(self.ranks == OUTAGE).tolist():
            text = self._batch.column("symbol")[row].as_py()
            yield msgspec.json.decode(text, type=Outage)


def read_part(path: Path, on_damage: Callable[[str], object]) -> Iterator[Batch]:
    """Yield what is whole of a part, in its order, a million rows or so at a time.

    Parameters
    ----------
    path : Path
    on_damage : callable
        Told what of it is lost.

    Raises
    ------
    DatasetError
        When the file cannot be opened.
    """
    import pyarrow as pa

    try:
        size, source = path.stat().st_size, pa.OSFile(str(path))
    except OSError as error:
        raise DatasetError(path, f"cannot be read: {error.strerror}") from None
    with source:
        waiting, n_rows = [], 0
        for batch in _whole_batches(source, size, on_damage):
            waiting.append(batch)
            n_rows += batch.num_rows
            if n_rows >= _ROWS_AT_ONCE:
                yield _joined(waiting, path)
                waiting, n_rows = [], 0
        if waiting:
            yield _joined(waiting, path)


def _joined(batches: list[pa.RecordBatch], path: Path) -> Batch:
    import pyarrow as pa

    (batch,) = pa.Table.from_batches(batches).combine_chunks().to_batches()
    return Batch(batch, path)


def _whole_batches(
    source: Any, size: int, on_damage: Callable[[str], object]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    if not size:
        return
    damage = (pa.ArrowException, OSError, ValueError, EOFError, OverflowError, MemoryError)
    try:
        reader = pa.ipc.open_stream(source)
    except damage as error:
        on_damage(f"its beginning is damaged, nothing of it can be read ({_said(error)})")
        return
    if not reader.schema.equals(_schema(), check_metadata=True):
        on_damage("is no journal of this version, nothing of it can be read")
        return
    n_rows, n_read = 0, source.tell()
    while True:
        try:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
        except StopIteration:
            # Bytes that were never written read as the mark of an end.
            if n_read < size:
                on_damage(f"torn after {n_rows} rows; what follows is lost")
            return
        except damage as error:
            on_damage(f"torn after {n_rows} rows; what follows is lost ({_said(error)})")
            return
        n_read = source.tell()
        if _is_whole(batch, metadata):
            n_rows += batch.num_rows
            yield batch
        else:
            on_damage(f"damaged after {n_rows} rows; {batch.num_rows} are lost")


def _is_whole(batch: pa.RecordBatch, metadata: Any) -> bool:
    try:
        batch.validate()
        is_sound = metadata is not None and metadata.get(_CHECKSUM) == _checksum(batch)
        return is_sound and not any(column.null_count for column in batch.columns)
    except (ValueError, TypeError):
        return False


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
