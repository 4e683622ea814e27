"""One Parquet file of records: its footer, read once, and the rows it gives.

Files written by openbell hold one symbol per row group, which the footer's statistics show;
of any other file the row groups are read and split. No knowledge of folders or sessions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date as Date
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from openbell._native.arena import Arena
from openbell._native.batches import Interleaver, is_judged
from openbell._native.columns import is_ascending
from openbell.errors import DatasetError, IntervalError, OpenbellError, SchemaError
from openbell.intervals import interval as parse_interval
from openbell.schema import BAR_FIELDS, NS_PER_DAY, BarArray, Int64Array
from openbell.sources.columns import (
    columns_to_records,
    fixed_width,
    floats,
    infer_interval,
    instants_ns,
    resolve_columns,
    single_chunk,
)
from openbell.sources.dataset import EXTRA_FIELDS, KINDS, META_PREFIX, Rows

_SCAN_ROWS = 1 << 20
#: Decoded columns of so many bars are still in the cache when they are interleaved.
_BATCH_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class RowGroup:
    """What the footer says of one row group."""

    index: int
    first_row: int
    n_rows: int
    symbol: str | None
    """The only symbol in it, or None when there may be several."""
    symbols_between: tuple[str, str] | None
    """Least and greatest symbol, or None when the footer does not say."""


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turn whatever pyarrow raises of a file it cannot read into a :class:`DatasetError`."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise DatasetError(path, "no such file") from None
    except OpenbellError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DatasetError(path, f"corrupt or truncated Parquet: {reason}") from None


class ParquetTable:
    """One Parquet file. The footer is read here; rows are read when asked for.

    Parameters
    ----------
    path : str or Path
    kind : "bars", "quotes" or "trades"
    filesystem : pyarrow.fs.FileSystem, optional
        Local files when absent.
    symbol : str, optional
        The symbol of all rows of a file without such a column.
    extras : bool
        Whether to take ``trade_count`` and ``vwap`` as well, where they are.

    Raises
    ------
    DatasetError
        When it is not a whole Parquet file.
    SchemaError
        When a column is missing, or timestamps have no zone.
    """

    def __init__(
        self,
        path: str | Path,
        kind: str = "bars",
        *,
        filesystem: Any = None,
        symbol: str | None = None,
        extras: bool = False,
    ) -> None:
        self.path = str(path)
        self.kind = kind
        self._filesystem = filesystem
        self._is_local = filesystem is None or filesystem.type_name == "local"
        with reading(self.path):
            with self._opened() as handle:
                self.metadata = handle.metadata
                schema = handle.schema_arrow
            required = list(KINDS[kind].names or ())
            optional = list(EXTRA_FIELDS) if extras else []
            # A folder's symbol counts only where the file has no column of its own.
            (required if symbol is None else optional).insert(0, "symbol")
            self.columns = resolve_columns(schema.names, required, self.path, optional=optional)
            self._names = schema.names
            self._only_symbol = None if "symbol" in self.columns else symbol
            self._check_timestamp(schema)
            self.meta: dict[str, str] = {
                key.decode().removeprefix(META_PREFIX): value.decode()
                for key, value in (schema.metadata or {}).items()
                if key.startswith(META_PREFIX.encode())
            }

    def _check_timestamp(self, schema: Any) -> None:
        name = self.columns["timestamp"]
        instants_ns(_empty(schema.field(name).type), name, self.path)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        handle = self.open()
        try:
            yield handle
        finally:
            handle.close()

    def open(self) -> Any:
        """Open for reading, with the footer at hand. Not to be shared between threads."""
        import pyarrow.parquet as pq

        symbol_column = getattr(self, "columns", {}).get("symbol")
        return pq.ParquetFile(
            self.path,
            metadata=getattr(self, "metadata", None),
            filesystem=self._filesystem,
            read_dictionary=[symbol_column] if symbol_column else None,
            page_checksum_verification=True,
            # Reading ahead pays over a network; on a disk it is one more copy.
            pre_buffer=not self._is_local,
        )

    @cached_property
    def groups(self) -> list[RowGroup]:
        """The row groups, in the file's order; those without rows left out."""
        with reading(self.path):
            return self._groups()

    def _groups(self) -> list[RowGroup]:
        position = self._position(self.columns["symbol"]) if "symbol" in self.columns else None
        is_text = (
            position is not None
            and self.metadata.schema.column(position).logical_type.type == "STRING"
        )
        found = []
        first_row = 0
        for index in range(self.metadata.num_row_groups):
            group = self.metadata.row_group(index)
            between = None
            if position is None:
                between = (self._only_symbol or "", self._only_symbol or "")
            elif is_text:
                stats = group.column(position).statistics
                if stats is not None and stats.has_min_max:
                    # Fifty times as fast as the decoded ones.
                    between = (stats.min_raw.decode(), stats.max_raw.decode())
            only = between[0] if between is not None and between[0] == between[1] else None
            if group.num_rows:
                found.append(RowGroup(index, first_row, group.num_rows, only, between))
            first_row += group.num_rows
        return found

    def _position(self, name: str) -> int:
        schema = self.metadata.schema
        for k in range(len(schema)):
            if schema.column(k).path == name:
                return k
        raise SchemaError(f"{self.path}: {name}", "a nested column", "a flat one")

    @cached_property
    def is_split(self) -> bool:
        """Whether each row group is known to hold one symbol only."""
        return all(group.symbol is not None for group in self.groups)

    @cached_property
    def by_symbol(self) -> dict[str, list[RowGroup]]:
        """The row groups of each symbol, of those that hold one only."""
        found: dict[str, list[RowGroup]] = {}
        for group in self.groups:
            if group.symbol is not None:
                found.setdefault(group.symbol, []).append(group)
        return found

    @cached_property
    def symbols(self) -> frozenset[str]:
        """Every symbol in the file. Free for split files; else reads the symbol column once."""
        if self.is_split:
            return frozenset(self.by_symbol)
        return frozenset(self.utc_dates)

    @cached_property
    def utc_dates(self) -> dict[str, dict[Date, int]]:
        """By symbol and UTC date, how many rows. Reads two columns of the whole file, once."""
        found: dict[str, dict[Date, int]] = {}
        for names, codes, ts in self._scan():
            days = ts // NS_PER_DAY
            pairs, counts = np.unique(
                np.stack([codes.astype(np.int64), days]), axis=1, return_counts=True
            )
            for code, day, count in zip(*pairs.tolist(), counts.tolist(), strict=True):
                dates = found.setdefault(names[code], {})
                date = Date.fromordinal(_EPOCH_ORDINAL + day)
                dates[date] = dates.get(date, 0) + count
        return found

    @cached_property
    def bounds_ns(self) -> tuple[int, int] | None:
        """Least and greatest timestamp, both inclusive; None for an empty file."""
        position = self._position(self.columns["timestamp"])
        scale = self._stats_scale()
        low: list[int] = []
        high: list[int] = []
        for group in self.groups:
            stats = self.metadata.row_group(group.index).column(position).statistics
            if scale is None or stats is None or not stats.has_min_max:
                spans = [(int(t.min()), int(t.max())) for _, _, t in self._scan()]
                return (min(a for a, _ in spans), max(b for _, b in spans)) if spans else None
            low.append(int(stats.min_raw) * scale)
            high.append(int(stats.max_raw) * scale)
        return (min(low), max(high)) if low else None

    def _stats_scale(self) -> int | None:
        # Only of real timestamps is the unit known without reading them.
        kind = self.metadata.schema.to_arrow_schema().field(self.columns["timestamp"]).type
        unit = getattr(kind, "unit", None)
        return {"s": None, "ms": 1_000_000, "us": 1000, "ns": 1}.get(str(unit))

    def interval(self) -> str:
        """Tell the interval of the bars: the file's own word, or the labels' distances."""
        if "interval" in self.meta:
            try:
                return parse_interval(self.meta["interval"]).name
            except IntervalError as error:
                raise DatasetError(self.path, f"its metadata says so, but: {error}") from None
        for _, codes, ts in self._scan():
            return infer_interval(ts, codes.astype(np.int64), self.path)
        return infer_interval(np.empty(0, np.int64), np.empty(0, np.int64), self.path)

    def _scan(self) -> Iterator[tuple[list[str], Int64Array, Int64Array]]:
        with reading(self.path), self._opened() as handle:
            wanted = [self.columns[r] for r in ("symbol", "timestamp") if r in self.columns]
            row = 0
            for batch in handle.iter_batches(
                batch_size=_SCAN_ROWS, columns=wanted, use_threads=False
            ):
                if batch.num_rows:
                    ts = instants_ns(
                        batch.column(self.columns["timestamp"]), "timestamp", self.path, row
                    )
                    names, codes = self._codes(batch, row)
                    yield names, codes, ts
                row += batch.num_rows

    def _codes(self, table: Any, first_row: int) -> tuple[list[str], Int64Array]:
        if self._only_symbol is not None:
            return [self._only_symbol], np.zeros(table.num_rows, np.int64)
        return symbol_codes(table.column(self.columns["symbol"]), self.path, first_row)

    @cached_property
    def extra_columns(self) -> dict[str, str]:
        """Which of the file's columns hold ``trade_count`` and ``vwap``, where they are."""
        left = [name for name in self._names if name not in self.columns.values()]
        return resolve_columns(left, (), self.path, optional=EXTRA_FIELDS)

    def read_group(
        self,
        handle: Any,
        group: RowGroup,
        *,
        split: bool = False,
        columns: Mapping[str, str] | None = None,
    ) -> dict[str, Rows]:
        """Read one row group with an opened handle.

        Parameters
        ----------
        handle : pyarrow.parquet.ParquetFile
            From :meth:`open`.
        group : RowGroup
        split : bool
            Divide by the rows' own symbols even if the footer names one.
        columns : mapping of str to str, optional
            What to read instead of ``columns``; the timestamp is among them, and the symbol where
            the file has one.

        Returns
        -------
        dict of str to dict of str to numpy.ndarray
            By symbol, its columns in the file's order of rows.

        Raises
        ------
        DatasetError
            When pages are corrupt, or a value is null.
        """
        by_footer = group.symbol is not None and not split
        wanted = self.columns if columns is None else columns
        names = [c for r, c in wanted.items() if not (by_footer and r == "symbol")]
        with reading(self.path):
            table = handle.read_row_group(group.index, columns=names, use_threads=False)
        rows: Rows = {
            "timestamp": instants_ns(
                table.column(self.columns["timestamp"]), "timestamp", self.path, group.first_row
            )
        }
        for role, name in wanted.items():
            if role in EXTRA_FIELDS:
                rows[role] = _nullable_floats(table.column(name), role, self.path)
            elif role not in ("symbol", "timestamp"):
                rows[role] = floats(table.column(name), role, self.path, group.first_row)
        if by_footer:
            assert group.symbol is not None
            return {group.symbol: rows}
        known, codes = self._codes(table, group.first_row)
        order = np.argsort(codes, kind="stable")
        ends = np.searchsorted(codes[order], np.arange(len(known)), side="right")
        parts = np.split(order, ends[:-1])
        return {
            symbol: {role: values[part] for role, values in rows.items()}
            for symbol, part in zip(known, parts, strict=True)
            if len(part)
        }

    def read_bars(
        self, handle: Any, groups: Sequence[RowGroup], step_ns: int, arena: Arena
    ) -> list[BarArray]:
        """Read row groups of one symbol each, in one go, into memory of an arena.

        Parameters
        ----------
        handle : pyarrow.parquet.ParquetFile
            From :meth:`open`.
        groups : sequence of RowGroup
            Of one symbol each, in any order.
        step_ns : int
            Of the bars' interval.
        arena : Arena

        Returns
        -------
        list of numpy.ndarray
            The bars of each, sorted by timestamp; read-only.

        Raises
        ------
        DatasetError
            When pages of any of them are corrupt, or a value is null.
        """
        filled = Interleaver(arena, [group.n_rows for group in groups], step_ns)
        names = [self.columns[field] for field in BAR_FIELDS]
        row = groups[0].first_row if groups else 0
        with reading(self.path):
            batches = handle.iter_batches(
                batch_size=_BATCH_ROWS,
                row_groups=[group.index for group in groups],
                columns=names,
                use_threads=False,
            )
            order: list[int] = []
            for batch in batches:
                order = order or [batch.schema.names.index(name) for name in names]
                if not filled.add_batch(batch, order):
                    labels, *values = (batch.column(k) for k in order)
                    filled.add(
                        instants_ns(labels, "timestamp", self.path, row),
                        *(
                            floats(column, field, self.path, row)
                            for column, field in zip(values, BAR_FIELDS[1:], strict=True)
                        ),
                    )
                row += batch.num_rows
        if filled.n_left:
            raise DatasetError(self.path, f"{filled.n_left} rows that its footer counts are absent")
        return [bars if is_judged(bars) else sort_records(bars) for bars in filled.arrays]

    def extras_of(self, symbol: str) -> Rows:
        """Read the timestamps of one symbol and its extra columns, rows as in `columns_of`."""
        keys = {
            role: name for role, name in self.columns.items() if role in ("symbol", "timestamp")
        }
        return self.columns_of(symbol, columns={**keys, **self.extra_columns})

    def columns_of(
        self, symbol: str, handle: Any = None, *, columns: Mapping[str, str] | None = None
    ) -> Rows:
        """Read all columns of one symbol, in the file's order of rows; empty when it has none."""
        if handle is None:
            with self._opened() as opened:
                return self.columns_of(symbol, opened, columns=columns)
        parts = []
        for group in self.groups_of(symbol):
            part = self.read_group(handle, group, columns=columns).get(symbol)
            if part is not None:
                parts.append(part)
        if len(parts) == 1:
            return parts[0]
        return {
            role: np.concatenate([np.empty(0), *(p[role] for p in parts)])
            if role != "timestamp"
            else np.concatenate([np.empty(0, np.int64), *(p[role] for p in parts)])
            for role in (self.columns if columns is None else columns)
            if role != "symbol"
        }

    def groups_of(self, symbol: str) -> Sequence[RowGroup]:
        """Row groups that hold the symbol, or may."""
        if self.is_split:
            return self.by_symbol.get(symbol, ())
        return [
            g
            for g in self.groups
            if g.symbols_between is None or g.symbols_between[0] <= symbol <= g.symbols_between[1]
        ]

    def records(self, rows: Rows) -> BarArray:
        """Interleave columns into records, sorted by timestamp where they are not."""
        return sort_records(columns_to_records(rows, KINDS[self.kind]))


def sort_records(records: BarArray) -> BarArray:
    """Return them by timestamp, as they are where they do; equal ones stay in order."""
    labels = records["timestamp"]
    return records if is_ascending(labels) else records[np.argsort(labels, kind="stable")]


_EPOCH_ORDINAL = Date(1970, 1, 1).toordinal()


def symbol_codes(column: Any, path: str, first_row: int = 0) -> tuple[list[str], Int64Array]:
    """Return the distinct symbols of a column and the number of each row's.

    Raises
    ------
    SchemaError
        When the column does not hold text.
    DatasetError
        When a symbol is null.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    array = single_chunk(column)
    if not pa.types.is_dictionary(array.type):
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            raise SchemaError(f"{path}: symbol", f"type {array.type}", "text")
        array = array.dictionary_encode()
    if array.null_count:
        raise DatasetError(path, f"symbol is null, in or after row {first_row}")
    codes = fixed_width(pc.cast(array.indices, pa.int64()), np.int64)
    return [str(s) for s in array.dictionary.to_pylist()], codes


def _nullable_floats(column: Any, role: str, path: str) -> np.ndarray[Any, Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = single_chunk(column)
    if array.null_count:
        array = pc.fill_null(pc.cast(array, pa.float64(), safe=False), float("nan"))
    return floats(array, role, path)


def _empty(kind: Any) -> Any:
    import pyarrow as pa

    return pa.nulls(0, kind)
