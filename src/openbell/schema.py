"""The record layouts every part of openbell shares, and the gates that check them.

Owns dtypes, unit constants and the names of refusals. Knows nothing of sessions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openbell.errors import SchemaError, TimeError

#: Nanoseconds in a second.
NS_PER_SECOND: Final = 1_000_000_000
#: Nanoseconds in a minute.
NS_PER_MINUTE: Final = 60 * NS_PER_SECOND
#: Nanoseconds in a (24 hour) day.
NS_PER_DAY: Final = 86_400 * NS_PER_SECOND

#: One bar, 48 bytes. ``timestamp`` is the START of the bar, int64 nanoseconds UTC.
BAR_DTYPE: Final = np.dtype(
    [
        ("timestamp", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("volume", "<f8"),
    ]
)

#: One slot of a fill view, 56 bytes: a bar, and whether it stands where none is. Not packed, so
#: that every field is aligned.
FILLED_DTYPE: Final = np.dtype(
    {
        "names": [*(BAR_DTYPE.names or ()), "is_filled"],
        "formats": ["<i8", *["<f8"] * 5, "?"],
        "offsets": [0, 8, 16, 24, 32, 40, 48],
        "itemsize": 56,
    }
)

#: One quote, 40 bytes. ``timestamp`` is when it was made, int64 nanoseconds UTC.
QUOTE_DTYPE: Final = np.dtype(
    [
        ("timestamp", "<i8"),
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("bid_size", "<f8"),
        ("ask_size", "<f8"),
    ]
)

#: One trade, 24 bytes. ``timestamp`` is when it was made, int64 nanoseconds UTC.
TICK_DTYPE: Final = np.dtype([("timestamp", "<i8"), ("price", "<f8"), ("size", "<f8")])

#: Names of the bar columns, in their order.
BAR_FIELDS: Final = ("timestamp", "open", "high", "low", "close", "volume")

#: Why a bar can be refused, in the order in which the checks are made.
REFUSALS: Final = (
    "not_finite",
    "high_below_low",
    "outside_range",
    "negative_volume",
    "outside_session",
    "off_grid",
    "evicted",
    "derived_slot",
)

#: Why bars are missing; the first is that of a gap nobody has looked at, or could judge.
GAP_REASONS: Final = ("unknown", "no_trade", "outage", "late_start", "truncated")

#: What was found out about one gap, 24 bytes: its slots, its reason (an index into
#: :data:`GAP_REASONS`), and the evidence, as :class:`~openbell.gaps.GapEvidence` describes it.
GAP_NOTE_DTYPE: Final = np.dtype(
    [
        ("first_slot", "<i4"),
        ("n_slots", "<i4"),
        ("reason", "i1"),
        ("disconnected", "?"),
        ("n_coarser", "<i2"),
        ("fill_rate", "<f4"),
        ("expected_per_day", "<f4"),
        ("n_peers", "<i2"),
        ("n_silent", "<i2"),
    ]
)

#: Who may have brought a symbol.
ADDED_BY: Final = ("config", "strategy", "scanner", "adhoc")
#: Keys of a dump's `historical` that no historical indicator may be named after.
HISTORICAL_KEYS: Final = ("loaded", "data")

BarArray = npt.NDArray[np.void]
NoteArray = npt.NDArray[np.void]
Int64Array = npt.NDArray[np.int64]


def as_bars(value: Any, what: str = "bars") -> BarArray:
    """Return `value` as a C-contiguous array of :data:`BAR_DTYPE`, or refuse it.

    Parameters
    ----------
    value : array_like
        A structured array whose dtype equals :data:`BAR_DTYPE`, names included.
        A dtype of the same types under other names is refused: two swapped
        names would turn opens into closes without a word.
    what : str
        How the error message calls it.

    Returns
    -------
    numpy.ndarray
        One-dimensional. The same object when it is already contiguous, else a copy.

    Raises
    ------
    SchemaError
        When it is not an array, not one-dimensional, or of another dtype.
    """
    if not isinstance(value, np.ndarray):
        raise SchemaError(
            what,
            type(value).__name__,
            f"a numpy array of dtype {BAR_DTYPE}",
            "build one with numpy.array(rows, dtype=openbell.BAR_DTYPE)",
        )
    if value.dtype is not BAR_DTYPE and value.dtype != BAR_DTYPE:
        raise SchemaError(what, f"dtype {value.dtype}", f"dtype {BAR_DTYPE}")
    if value.ndim != 1:
        raise SchemaError(what, f"{value.ndim} dimensions", "1 dimension")
    if value.flags.c_contiguous:
        return value
    return np.ascontiguousarray(value)


def to_ns(value: datetime | int | np.datetime64 | str, what: str = "instant") -> int:
    """Return an instant as int64 nanoseconds UTC.

    Parameters
    ----------
    value : aware datetime, int (already nanoseconds), numpy.datetime64 (UTC) or ISO-8601 text
        with an offset
    what : str
        How the error message calls it.

    Raises
    ------
    TimeError
        When a datetime or a text has no offset, or is not an instant at all.
    """
    if isinstance(value, bool):
        raise TimeError(value, f"{what} must be an aware datetime or int nanoseconds")
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[ns]").astype(np.int64))
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise TimeError(value, f"{what} is not an ISO-8601 instant") from None
    if not isinstance(value, datetime):
        raise TimeError(value, f"{what} must be an aware datetime or int nanoseconds")
    if value.utcoffset() is None:
        raise TimeError(value, f"{what} has no time zone; naive datetimes are refused")
    delta = value - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * NS_PER_SECOND + delta.microseconds * 1000


def to_datetime(ts_ns: int) -> datetime:
    """Return int64 nanoseconds UTC as an aware UTC datetime (truncated to microseconds)."""
    seconds, rest = divmod(int(ts_ns), NS_PER_SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)


def to_iso(ts_ns: int) -> str:
    """Return int64 nanoseconds UTC as ISO-8601 with offset, to the second (or finer if it is)."""
    return to_datetime(ts_ns).isoformat()
