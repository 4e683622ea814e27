"""A JSON dump read back into arrays.

Reads one symbol at a time, so that the rows of a big dump are never all Python objects at
once. What a dump must mean is the checker's business; here it only has to be one.
"""

from __future__ import annotations

import mmap
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from os import PathLike
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openbell.errors import DumpError, TimeError
from openbell.export.apply import mark_problem
from openbell.export.json_dump import SCHEMA_VERSION
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE, BarArray, Int64Array, to_ns

__all__ = [
    "DeltaAloneError",
    "KnownTimes",
    "RowError",
    "SessionDump",
    "SymbolDump",
    "load_session_dump",
    "parse_bars",
    "parse_events",
    "parse_times",
    "read_dump",
]

Tree = dict[str, Any]
NBase = npt.NDArray[np.int32]
#: Texts of instants read before, and what they are; all symbols of a session share their labels.
KnownTimes = dict[Any, int]

_OFFSETS: Final = ("+00:00", "Z")
_SECONDS_TEXT: Final = len("2025-07-02T13:30:00")
#: Years that int64 nanoseconds hold whole.
_FIRST_YEAR, _AFTER_YEARS = "1678", "2262"
_MAX_KNOWN: Final = 1 << 18
_MAX_NS: Final = 2**63 - 1
_MAX_FLOAT: Final = float(np.finfo(np.float64).max)


class DeltaAloneError(DumpError):
    """A delta was read where a dump was expected."""


class RowError(ValueError):
    """One row cannot be read.

    Attributes
    ----------
    row : int
        Its position.
    """

    def __init__(self, row: int, reason: str) -> None:
        self.row = row
        super().__init__(f"row {row} {reason}")

    def time_in(self, tree: Tree) -> int | None:
        """Label of the row in the object it was read from, None when that cannot be read."""
        try:
            return int(parse_times(tree["data"][self.row][:1])[0])
        except (LookupError, TimeError, TypeError):
            return None


@dataclass(slots=True)
class SymbolDump:
    """One symbol of a dump.

    Attributes
    ----------
    symbol, base_interval : str
    is_loaded : bool
    metadata : dict
        The provenance flags, as dumped.
    session : dict
        ``volume``, ``high``, ``low``, ``last_update``, as dumped.
    bars : dict of str to numpy.ndarray
        Closed bars of the session by interval, :data:`~openbell.schema.BAR_DTYPE`, owned
        copies. Empty arrays when the dump was written without rows.
    n_base : dict of str to numpy.ndarray
        int32, for derived intervals: how many base bars each row was folded from.
    quality, coverage, explained_quality : dict of str to float or None
        The last is empty when the dump is of an openbell that did not tell it.
    gaps : dict of str to list of dict
        The ranges, as dumped: ``start_time``, ``end_time``, ``bar_count``, ``reason``, and
        ``evidence`` where there is any.
    historical : dict of str to dict of datetime.date to numpy.ndarray
        Bars of trailing days by interval and date (the UTC one when the dump names none).
    historical_quality : dict of str to float or None
    historical_indicators : dict
    quotes, ticks : numpy.ndarray
        Of :data:`~openbell.schema.QUOTE_DTYPE` and :data:`~openbell.schema.TICK_DTYPE`.
    indicators, rejected : dict
        As dumped.
    errors : list of dict
        As dumped: ``where``, ``error``, ``first``, ``n``. Empty when the dump has none.
    """

    symbol: str
    base_interval: str
    is_loaded: bool
    metadata: Tree
    session: Tree
    bars: dict[str, BarArray] = field(default_factory=dict)
    n_base: dict[str, NBase] = field(default_factory=dict)
    quality: dict[str, float | None] = field(default_factory=dict)
    coverage: dict[str, float | None] = field(default_factory=dict)
    explained_quality: dict[str, float | None] = field(default_factory=dict)
    gaps: dict[str, list[Tree]] = field(default_factory=dict)
    historical: dict[str, dict[date, BarArray]] = field(default_factory=dict)
    historical_quality: dict[str, float | None] = field(default_factory=dict)
    historical_indicators: Tree = field(default_factory=dict)
    quotes: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, QUOTE_DTYPE))
    ticks: npt.NDArray[np.void] = field(default_factory=lambda: np.empty(0, TICK_DTYPE))
    indicators: Tree = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    errors: list[Tree] = field(default_factory=list)


@dataclass(slots=True)
class SessionDump:
    """A session read back from a dump.

    Attributes
    ----------
    session : dict
        ``date``, ``open``, ``close``, ``segments``, ``active``, ``now``, ``calendar``,
        ``timezone``, ``anchor``, as dumped.
    symbols : dict of str to SymbolDump
        In the dump's order.
    """

    session: Tree
    symbols: dict[str, SymbolDump]


def load_session_dump(path: str | PathLike[str]) -> SessionDump:
    """Read a JSON dump.

    Parameters
    ----------
    path : str or os.PathLike
        A file written by :func:`~openbell.export.write_session_json`, or any JSON of that
        layout; times may end in ``Z`` or in an offset.

    Raises
    ------
    DumpError
        When the file cannot be read, is not JSON, is of another schema version, or its tree
        does not have the parts a dump must have.
    """
    session, symbols = read_dump(path)
    loaded: dict[str, SymbolDump] = {}
    for name, tree in symbols:
        try:
            loaded[name] = _load_symbol(tree)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise DumpError(path, [f"symbols.{name}: {what}"]) from error
    return SessionDump(session, loaded)


def read_dump(
    source: str | PathLike[str] | Mapping[str, Any],
) -> tuple[Tree, Iterator[tuple[str, Any]]]:
    """Return a dump's ``session`` and an iterator over its symbols, decoded one by one.

    A file is mapped into memory, not read into it: what a symbol needs is gone with the symbol.

    Parameters
    ----------
    source : path, or a mapping such as ``SessionData.to_json`` returns

    Raises
    ------
    DumpError
        When it is not a dump of :data:`~openbell.export.json_dump.SCHEMA_VERSION`; also from
        the iterator, for a symbol that cannot be decoded, and then the next one can be asked for.
    """
    if isinstance(source, Mapping):
        session, symbols = _head(source, "dump")
        return session, iter(symbols.items())
    import msgspec

    broken = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
    raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    try:
        top: dict[str, Any] = dict(raw(_map_file(source)))
        for key in top:
            top[key] = raw(top[key]) if key == "symbols" else msgspec.json.decode(top[key])
    except OSError as error:
        raise DumpError(source, [error.strerror or str(error)]) from error
    except broken as error:
        raise DumpError(source, [f"not a JSON dump: {error}"]) from error
    session, symbols = _head(top, source)

    def decode(item: tuple[str, msgspec.Raw]) -> tuple[str, Any]:
        name, body = item
        try:
            return name, msgspec.json.decode(body)
        except broken as error:
            raise DumpError(source, [f"symbols.{name}: {error}"]) from error

    return session, map(decode, symbols.items())


def _map_file(path: str | PathLike[str]) -> mmap.mmap | bytes:
    with open(path, "rb") as file:
        # What is empty, or a pipe, cannot be mapped.
        try:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except (OSError, ValueError):
            return file.read()


def _head(top: Mapping[str, Any], where: object) -> tuple[Tree, dict[str, Any]]:
    if "schema_version" not in top:
        raise DumpError(where, ["no key 'schema_version'; this is not a session dump"])
    version = top["schema_version"]
    if type(version) is not int or version != SCHEMA_VERSION:
        raise DumpError(
            where, [f"schema_version {version!r}; this openbell reads {SCHEMA_VERSION}"]
        )
    for key in ("session", "symbols"):
        if not isinstance(top.get(key), dict):
            raise DumpError(where, [f"key {key!r} is missing or not an object"])
    if "delta" in top:
        _check_mark(top, where)
    return top["session"], top["symbols"]


def _check_mark(top: Mapping[str, Any], where: object) -> None:
    problem, mark = mark_problem(top), top["delta"]
    if problem is not None:
        raise DumpError(where, [problem])
    if mark["sequence"] and not mark.get("applied"):
        reader, last = mark["reader"], mark["sequence"] - 1
        raise DeltaAloneError(
            where,
            [f"is delta {last + 1} of reader {reader!r}; expected before it the complete dump, "
             f"sequence 0, and the deltas up to {last}"],
        )  # fmt: skip


def _load_symbol(tree: Tree) -> SymbolDump:
    session = tree["session"]
    made = SymbolDump(
        symbol=tree["symbol"],
        base_interval=tree["base_interval"],
        is_loaded=tree["is_loaded"],
        metadata=tree["metadata"],
        session={key: session[key] for key in ("volume", "high", "low", "last_update")},
        indicators=tree["indicators"],
        rejected=tree["rejected"],
        errors=tree.get("errors", []),
        quotes=parse_events(session["quotes"], QUOTE_DTYPE),
        ticks=parse_events(session["ticks"], TICK_DTYPE),
    )
    for name, series in session["data"].items():
        made.bars[name], n_base = parse_bars(series)
        if n_base is not None:
            made.n_base[name] = n_base
        made.quality[name] = series["quality"]
        made.coverage[name] = series["coverage"]
        if "explained_quality" in series:
            made.explained_quality[name] = series["explained_quality"]
        made.gaps[name] = series["gaps"]["ranges"]
    historical = dict(tree["historical"])
    del historical["loaded"]
    for name, series in historical.pop("data").items():
        made.historical[name] = _split_days(series)
        made.historical_quality[name] = series["quality"]
    made.historical_indicators = historical
    return made


def _split_days(series: Tree) -> dict[date, BarArray]:
    bars, _ = parse_bars(series)
    days = series.get("days")
    if days is None:
        days = _days_by_utc(bars)
    elif "data" not in series:
        days = dict.fromkeys(days, 0)
    if sum(days.values()) != len(bars):
        raise ValueError(f"'days' counts {sum(days.values())} rows, 'data' has {len(bars)}")
    parts = np.split(bars, np.cumsum(list(days.values()), dtype=np.int64)[:-1])
    return {date.fromisoformat(day): part.copy() for day, part in zip(days, parts, strict=False)}


def _days_by_utc(bars: BarArray) -> dict[str, int]:
    dates = bars["timestamp"].astype("datetime64[ns]").astype("datetime64[D]")
    days, counts = np.unique(dates, return_counts=True)
    return dict(zip(days.astype(str).tolist(), counts.tolist(), strict=True))


def parse_bars(series: Tree, known: KnownTimes | None = None) -> tuple[BarArray, NBase | None]:
    """Return the rows of a series' object as bars and, when it has the column, ``n_base``.

    Absent numbers (null) become NaN. An object without rows gives an empty array.

    Raises
    ------
    ValueError
        When columns are absent or unknown, a row has another length, or a value is not of its
        column's type; a :class:`RowError` when it is a certain row that cannot be read.
    """
    bars, rest = _parse_rows(series, BAR_DTYPE, ("n_base",), known)
    if not rest:
        return bars, None
    counts, most = rest[0], np.iinfo(np.int32).max
    bad = (k for k, n in enumerate(counts) if type(n) is not int or not 0 <= n <= most)
    for k in bad:
        raise RowError(k, f"has {reprlib.repr(counts[k])} for 'n_base', which is not a count")
    return bars, np.array(counts, dtype=np.int32)


def parse_events(events: Tree, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Return the rows of ``quotes`` or ``ticks`` as an array of their dtype; see `parse_bars`."""
    return _parse_rows(events, dtype)[0]


def _parse_rows(
    tree: Tree,
    dtype: np.dtype[np.void],
    extra: tuple[str, ...] = (),
    known: KnownTimes | None = None,
) -> tuple[npt.NDArray[np.void], list[Sequence[Any]]]:
    if "data" not in tree:
        return np.empty(0, dtype), []
    fields, names, rows = dtype.names or (), tree.get("columns"), tree["data"]
    n_fields = len(fields)
    if not isinstance(names, list) or tuple(names) not in (fields, fields + extra):
        raise ValueError(f"columns {reprlib.repr(names)}, expected {list(fields + extra)}")
    if not isinstance(rows, list):
        raise ValueError("'data' is not a list of rows")
    if set(map(type, rows)) - {list}:
        bad = next(k for k, row in enumerate(rows) if type(row) is not list)
        raise RowError(bad, "is not a list")
    if set(map(len, rows)) - {len(names)}:
        bad = next(k for k, row in enumerate(rows) if len(row) != len(names))
        raise RowError(bad, f"has {len(rows[bad])} values for {len(names)} columns")
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(names)
    made = np.empty(len(rows), dtype)
    try:
        made["timestamp"] = parse_times(columns[0], known)
    except TimeError:
        for k, text in enumerate(columns[0]):
            _check_time(k, text)
        raise
    for name, values in zip(fields[1:], columns[1:n_fields], strict=True):
        made[name] = _numbers(name, values)
    return made, columns[n_fields:]


def _check_time(row: int, text: Any) -> None:
    try:
        parse_times([text])
    except TimeError as error:
        raise RowError(row, f"cannot be placed: {error}") from None


def parse_times(texts: Sequence[Any], known: KnownTimes | None = None) -> Int64Array:
    """Return ISO-8601 texts with offset as int64 nanoseconds UTC.

    Parameters
    ----------
    texts : sequence of str
    known : dict, optional
        Texts read before; asked first, and told what it did not know.

    Raises
    ------
    TimeError
        When one is not a text, not an instant, has no offset, or lies outside 1678 to 2261.
    """
    if known is None:
        return _read_times(texts)
    try:
        found = list(map(known.get, texts))
    except TypeError:
        return _read_times(texts)
    if None in found:
        read = _read_times(texts)
        if len(known) < _MAX_KNOWN:
            known.update(zip(texts, read.tolist(), strict=True))
        return read
    return np.array(found, dtype=np.int64)


def _read_times(texts: Sequence[Any]) -> Int64Array:
    try:
        bare = [_without_utc_offset(text) for text in texts]
        stamps = np.array(bare, dtype="datetime64[ns]")
    except (AttributeError, TypeError, ValueError):
        return np.array([_text_to_ns(text) for text in texts], dtype=np.int64)
    return stamps.astype(np.int64)


def _without_utc_offset(text: Any) -> str:
    for offset in _OFFSETS:
        if text.endswith(offset):
            bare = str(text[: -len(offset)])
            fraction = bare[_SECONDS_TEXT:]
            # This keeps out what numpy alone would take: "now", "NaT", a year, another offset.
            if (
                bare[13:17:3] == "::"
                and (not fraction or (fraction[0] == "." and fraction[1:].isdigit()))
                and _FIRST_YEAR <= bare < _AFTER_YEARS
            ):
                return bare
    raise ValueError(text)


def _text_to_ns(text: Any) -> int:
    if not isinstance(text, str):
        raise TimeError(reprlib.repr(text), "a dump's times are ISO-8601 texts with an offset")
    try:
        ts_ns = to_ns(text, "a dump's time")
    except OverflowError:
        ts_ns = _MAX_NS + 1
    if abs(ts_ns) > _MAX_NS:
        raise TimeError(text, "a dump's times are of the years 1678 to 2261")
    return ts_ns


def _numbers(name: str, values: Sequence[Any]) -> npt.NDArray[np.float64]:
    if set(map(type, values)) <= {int, float, type(None)}:
        try:
            return np.array(values, dtype=np.float64)
        except OverflowError:
            pass
    bad = next(k for k, value in enumerate(values) if not _is_number(value))
    raise RowError(bad, f"has {reprlib.repr(values[bad])} for {name!r}, which is not a number")


def _is_number(value: Any) -> bool:
    # Of an int beyond every float the comparison is exact.
    return value is None or (type(value) in (int, float) and not abs(value) > _MAX_FLOAT)
