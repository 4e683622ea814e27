"""A JSON dump read back into arrays.

Reads one symbol at a time, so that the rows of a big dump are never all Python objects at
once. What a dump must mean is the checker's business; here it only has to be one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openbell.errors import DumpError, TimeError
from openbell.export.json_dump import SCHEMA_VERSION
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE, BarArray, Int64Array, to_ns

__all__ = [
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

_OFFSETS: Final = ("+00:00", "Z")
_SECONDS_TEXT: Final = len("2025-07-02T13:30:00")


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
    quality, coverage : dict of str to float or None
    gaps : dict of str to list of dict
        The ranges, as dumped: ``start_time``, ``end_time``, ``bar_count``, ``reason``.
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

    Parameters
    ----------
    source : path, or a mapping such as ``SessionData.to_json`` returns

    Raises
    ------
    DumpError
        When it is not a dump of :data:`~openbell.export.json_dump.SCHEMA_VERSION`; also from
        the iterator, never in practice, since the whole text was validated before.
    """
    if isinstance(source, Mapping):
        session, symbols = _head(source, "dump")
        return session, iter(symbols.items())
    import msgspec

    raw = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
    try:
        text = Path(source).read_bytes()
        top: dict[str, Any] = dict(raw(text))
        for key in top:
            top[key] = raw(top[key]) if key == "symbols" else msgspec.json.decode(top[key])
    except OSError as error:
        raise DumpError(source, [error.strerror or str(error)]) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DumpError(source, [f"not a JSON dump: {error}"]) from error
    session, symbols = _head(top, source)
    return session, ((name, msgspec.json.decode(body)) for name, body in symbols.items())


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
    return top["session"], top["symbols"]


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


def parse_bars(series: Tree) -> tuple[BarArray, NBase | None]:
    """Return the rows of a series' object as bars and, when it has the column, ``n_base``.

    Absent numbers (null) become NaN. An object without rows gives an empty array.

    Raises
    ------
    ValueError
        When columns are missing or unknown, a row has another length, or a value is not of
        its column's type.
    """
    bars, rest = _parse_rows(series, BAR_DTYPE, extra=("n_base",))
    if not rest:
        return bars, None
    counts = np.array(rest[0]) if len(bars) else np.empty(0, np.int32)
    if counts.dtype.kind != "i":
        raise ValueError("column 'n_base' holds something that is not an int")
    return bars, counts.astype(np.int32)


def parse_events(events: Tree, dtype: np.dtype[np.void]) -> npt.NDArray[np.void]:
    """Return the rows of ``quotes`` or ``ticks`` as an array of their dtype; see `parse_bars`."""
    return _parse_rows(events, dtype)[0]


def _parse_rows(
    tree: Tree, dtype: np.dtype[np.void], extra: tuple[str, ...] = ()
) -> tuple[npt.NDArray[np.void], list[Sequence[Any]]]:
    if "data" not in tree:
        return np.empty(0, dtype), []
    fields, names, rows = dtype.names or (), tree["columns"], tree["data"]
    n_fields = len(fields)
    if not isinstance(names, list) or tuple(names) not in (fields, fields + extra):
        raise ValueError(f"columns {names!r}, expected {list(fields + extra)}")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise ValueError("'data' is not a list of rows")
    bad = next((k for k, row in enumerate(rows) if len(row) != len(names)), None)
    if bad is not None:
        raise ValueError(f"row {bad} has {len(rows[bad])} values for {len(names)} columns")
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(names)
    made = np.empty(len(rows), dtype)
    made["timestamp"] = parse_times(columns[0])
    for name, values in zip(fields[1:], columns[1:n_fields], strict=True):
        made[name] = _floats(name, values)
    return made, columns[n_fields:]


def parse_times(texts: Sequence[Any]) -> Int64Array:
    """Return ISO-8601 texts with offset as int64 nanoseconds UTC.

    Raises
    ------
    TimeError
        When one is not a text, not an instant, or has no offset.
    """
    try:
        bare = [_without_utc_offset(text) for text in texts]
        stamps = np.array(bare, dtype="datetime64[ns]")
    except (AttributeError, TypeError, ValueError):
        return np.array([_text_to_ns(text) for text in texts], dtype=np.int64)
    return stamps.astype(np.int64)


def _without_utc_offset(text: Any) -> str:
    for offset in _OFFSETS:
        # The length keeps out what numpy alone would take: "now", "NaT", a year.
        if text.endswith(offset) and len(text) - len(offset) >= _SECONDS_TEXT:
            return str(text[: -len(offset)])
    raise ValueError(text)


def _text_to_ns(text: Any) -> int:
    if not isinstance(text, str):
        raise TimeError(text, "a dump's times are ISO-8601 texts with an offset")
    return to_ns(text, "a dump's time")


def _floats(name: str, values: Sequence[Any]) -> npt.NDArray[np.float64]:
    column = np.array(values)
    if column.dtype.kind in "if" or all(v is None or type(v) in (int, float) for v in values):
        return column.astype(np.float64)
    raise ValueError(f"column {name!r} holds something that is not a number")
