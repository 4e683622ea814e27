"""From a table's columns to records: which column is which, and how it becomes numpy.

Arrow arrays are read through their buffers. Arrow's own ``to_numpy`` and ``pyarrow.array``
import pandas when it is installed, which costs more than loading a day; ``pyarrow.compute``
costs as much as pyarrow itself, so it is imported where there is something to convert.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openbell._native.columns import interleave
from openbell.errors import DatasetError, IntervalError, SchemaError
from openbell.schema import BAR_DTYPE, NS_PER_DAY, NS_PER_SECOND, BarArray, Int64Array

FloatArray = npt.NDArray[np.float64]

#: Names under which each column is found, best first; compared in lower case.
ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "symbol": ("symbol", "ticker", "sym", "instrument", "s"),
    "timestamp": (
        "timestamp", "ts", "ts_event", "datetime", "date_time", "open_time", "t", "time", "date",
    ),
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "vol", "v"),
    "trade_count": ("trade_count", "trades", "num_trades", "number_of_trades", "n"),
    "vwap": ("vwap", "vw"),
    "bid": ("bid", "bid_price", "bp"),
    "ask": ("ask", "ask_price", "ap"),
    "bid_size": ("bid_size", "bs"),
    "ask_size": ("ask_size", "as"),
    "price": ("price", "p"),
    "size": ("size", "s", "quantity", "qty"),
}  # fmt: skip

_STANDARD_SECONDS: Final = {
    "1d": 86_400, "4h": 14_400, "2h": 7200, "1h": 3600, "30m": 1800, "15m": 900, "10m": 600,
    "5m": 300, "3m": 180, "2m": 120, "1m": 60, "30s": 30, "15s": 15, "10s": 10, "5s": 5, "1s": 1,
}  # fmt: skip


def resolve_columns(
    names: Iterable[str],
    wanted: Iterable[str],
    what: str,
    *,
    explicit: Mapping[str, str] | None = None,
    optional: Iterable[str] = (),
) -> dict[str, str]:
    """Find which of a table's columns holds what.

    Parameters
    ----------
    names : iterable of str
        The table's columns.
    wanted, optional : iterable of str
        Keys of :data:`ALIASES`; those in `optional` may be absent.
    what : str
        The file, for the error.
    explicit : mapping of str to str, optional
        ``{"timestamp": "when"}``: the caller's own word, exact, before any alias.

    Returns
    -------
    dict of str to str
        Wanted name to the table's name.

    Raises
    ------
    SchemaError
        When one is missing, or two columns differ only by case.
    """
    explicit = dict(explicit or {})
    present = list(names)
    by_key: dict[str, list[str]] = {}
    for given in present:
        key = given.strip().strip("<>").lower().replace(" ", "_").replace("-", "_")
        by_key.setdefault(key, []).append(given)
    taken = set(explicit.values())
    found: dict[str, str] = {}
    wanted = list(wanted)
    for role, named in explicit.items():
        if named not in present:
            raise SchemaError(what, f"columns {_listed(present)}", f"a column {named!r} for {role}")
    for role in [*wanted, *optional]:
        name = explicit.get(role) or _by_alias(role, by_key, taken, what)
        if name is not None:
            found[role] = name
            taken.add(name)
        elif role in wanted:
            raise SchemaError(
                what,
                f"columns {_listed(present)}",
                f"a column for {role}",
                f"known names are {', '.join(ALIASES[role])}",
            )
    return found


def _by_alias(role: str, by_key: Mapping[str, list[str]], taken: set[str], what: str) -> str | None:
    for alias in ALIASES[role]:
        candidates = [name for name in by_key.get(alias, ()) if name not in taken]
        if len(candidates) > 1:
            raise SchemaError(what, f"columns {_listed(candidates)}", f"one column for {role}")
        if candidates:
            return candidates[0]
    return None


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(n) for n in names) or "none"


def single_chunk(column: Any) -> Any:
    """Return a chunked Arrow column as one array; no copy when it is one chunk already."""
    if not hasattr(column, "num_chunks"):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    combined = column.combine_chunks()
    return combined.chunk(0) if hasattr(combined, "num_chunks") else combined


def fixed_width(array: Any, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """View an Arrow array of fixed width as numpy: no copy, nulls not looked at."""
    kind = np.dtype(dtype)
    if len(array) == 0:
        return np.empty(0, kind)
    values = array.buffers()[1]
    return np.frombuffer(values, kind, count=len(array), offset=array.offset * kind.itemsize)


def null_mask(array: Any) -> npt.NDArray[np.bool_]:
    """Return where an Arrow array is null."""
    if array.null_count == 0:
        return np.zeros(len(array), bool)
    import pyarrow.compute as pc

    return fixed_width(pc.cast(pc.is_null(array), "uint8"), np.uint8).astype(bool)


def floats(column: Any, name: str, path: str, first_row: int = 0) -> FloatArray:
    """Return an Arrow column of numbers as float64, without a copy where it is float64.

    Raises
    ------
    SchemaError
        When it does not hold numbers.
    DatasetError
        When a value is null; the message has the row, counted from `first_row`.
    """
    import pyarrow as pa

    array = single_chunk(column)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array.null_count:
        row = first_row + int(null_mask(array).argmax())
        raise DatasetError(path, f"{name} is null in row {row}; expected a number")
    if not pa.types.is_float64(array.type):
        if not _is_number(array.type):
            raise SchemaError(f"{path}: {name}", f"type {array.type}", "numbers")
        import pyarrow.compute as pc

        array = pc.cast(array, pa.float64(), safe=False)
    return fixed_width(array, np.float64)


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def instants_ns(column: Any, name: str, path: str, first_row: int = 0) -> Int64Array:
    """Return an Arrow column of instants as int64 nanoseconds UTC.

    Timestamps of any zone and unit are instants; integers are taken as time since the epoch, in
    the unit their size tells.

    Raises
    ------
    SchemaError
        When they have no zone, or are not instants.
    DatasetError
        When one is null, or beyond the years that 64 bits of nanoseconds hold.
    """
    import pyarrow as pa

    array = single_chunk(column)
    if array.null_count:
        row = first_row + int(null_mask(array).argmax())
        raise DatasetError(path, f"{name} is null in row {row}; expected an instant")
    if pa.types.is_integer(array.type):
        import pyarrow.compute as pc

        raw = fixed_width(pc.cast(array, pa.int64()), np.int64)
        return raw * epoch_unit_ns(raw)
    if not pa.types.is_timestamp(array.type):
        raise SchemaError(
            f"{path}: {name}", f"type {array.type}", "timestamp[ns, tz=UTC]",
            "`openbell import` reads other forms",
        )  # fmt: skip
    if array.type.tz is None:
        raise SchemaError(
            f"{path}: {name}", f"{array.type} without a time zone", "timestamp[ns, tz=UTC]",
            "`openbell import --tz ZONE` says which zone it is",
        )  # fmt: skip
    if array.type.unit != "ns":
        import pyarrow.compute as pc

        try:
            array = pc.cast(array, pa.timestamp("ns", array.type.tz))
        except pa.ArrowInvalid as error:
            raise DatasetError(path, f"{name}: {error}") from None
    return fixed_width(array, np.int64)


def epoch_unit_ns(values: npt.NDArray[Any]) -> int:
    """Tell the unit of times since the epoch from their size: nanoseconds in one of it."""
    if len(values) == 0:
        return 1
    size = abs(float(np.median(values)))
    for limit, unit in ((1e11, NS_PER_SECOND), (1e14, 1_000_000), (1e17, 1000)):
        if size < limit:
            return unit
    return 1


def columns_to_records(columns: Mapping[str, npt.NDArray[Any]], dtype: np.dtype[Any]) -> BarArray:
    """Interleave columns into a fresh array of records of `dtype`."""
    if dtype == BAR_DTYPE:
        return columns_to_bars(
            columns["timestamp"], columns["open"], columns["high"], columns["low"],
            columns["close"], columns["volume"],
        )  # fmt: skip
    assert dtype.names is not None
    out = np.empty(len(columns["timestamp"]), dtype)
    for name in dtype.names:
        out[name] = columns[name]
    return out


def columns_to_bars(
    timestamp: Int64Array,
    open: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    volume: FloatArray,
) -> BarArray:
    """Interleave six contiguous columns of one length into a fresh array of :data:`BAR_DTYPE`.

    The one place where bars read from columns become records; other threads run meanwhile.

    Raises
    ------
    SchemaError
        When a column is not int64 or float64 side by side, or of another length.
    """
    return interleave(timestamp, open, high, low, close, volume)


def infer_interval(ts_ns: Int64Array, groups: npt.NDArray[np.int64], what: str) -> str:
    """Tell the interval of bars from the distances between their labels.

    It is the longest usual interval of which 99 % of the distances are multiples: sparse bars
    show it as dense ones do, and a stray label does not hide it.

    Parameters
    ----------
    ts_ns : numpy.ndarray
        Labels, in any order.
    groups : numpy.ndarray
        The symbol's number of each, same length.
    what : str
        The file, for the error.

    Raises
    ------
    IntervalError
        When there are no two labels of one symbol, or none of the intervals fits.
    """
    order = np.lexsort((ts_ns, groups))
    steps = np.diff(ts_ns[order])[np.diff(groups[order]) == 0]
    steps = steps[steps > 0]
    if len(steps) == 0:
        raise IntervalError(None, f"{what}: too few bars to tell their interval; name it")
    # Local midnights are 23 or 25 hours apart when the clocks change.
    days = np.abs((steps + NS_PER_DAY // 2) % NS_PER_DAY - NS_PER_DAY // 2)
    if float(np.mean(days <= 3600 * NS_PER_SECOND)) >= 0.99 and int(steps.min()) > NS_PER_DAY // 2:
        return "1d"
    for name, seconds in _STANDARD_SECONDS.items():
        if name != "1d" and float(np.mean(steps % (seconds * NS_PER_SECOND) == 0)) >= 0.99:
            return name
    raise IntervalError(None, f"{what}: the labels lie on no whole seconds; name the interval")
