"""Tables of an exchange's sessions, taken from exchange_calendars and cached on disk.

exchange_calendars brings pandas, 0.4 s of imports; a table is a few arrays of int64. Each
is computed once per calendar and version of that library, so that a session starts without
either, and kept as lines of text with the arrays' bytes behind them, which are read in a
millisecond. Owns the tables and their cache; knows nothing of hours, anchors or the current time.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import warnings
import zlib
from contextlib import suppress
from datetime import date as Date
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from openbell.errors import CalendarError
from openbell.schema import NS_PER_DAY, Int64Array

__all__ = ["NEVER", "CalendarTable", "cache_dir", "load_table"]

#: Stands for "no break" where a break's start or end would be.
NEVER: Final = int(np.iinfo(np.int64).min)

_FORMAT: Final = "openbell calendar 2"
_FIRST_YEAR: Final = 1990
_EPOCH_ORDINAL: Final = Date(1970, 1, 1).toordinal()
# Instants are int64 nanoseconds, good from 1677 to 2262.
_YEARS: Final = range(1700, 2200)
_INSTALLED: Final = re.compile(r"exchange_calendars-([^-]+)\.dist-info")
_ARRAYS: Final = ("ordinals", "opens", "break_starts", "break_ends", "closes")

_tables: dict[str, CalendarTable] = {}
_lock = threading.Lock()


class CalendarTable(NamedTuple):
    """The regular sessions of one calendar over a range of dates.

    Attributes
    ----------
    name : str
        The calendar's own name (``XNYS`` for the alias ``NYSE``).
    timezone : str
        IANA name of the exchange's zone.
    first, last : datetime.date
        The range of dates covered, both inclusive.
    bound_first, bound_last : datetime.date or None
        The furthest dates the calendar can be had for; None where it sets no limit.
    ordinals : numpy.ndarray
        Proleptic ordinals of the session dates, int64, ascending.
    opens, closes : numpy.ndarray
        int64 nanoseconds UTC.
    break_starts, break_ends : numpy.ndarray
        int64 nanoseconds UTC, :data:`NEVER` on days without a break.
    """

    name: str
    timezone: str
    first: Date
    last: Date
    bound_first: Date | None
    bound_last: Date | None
    ordinals: Int64Array
    opens: Int64Array
    break_starts: Int64Array
    break_ends: Int64Array
    closes: Int64Array

    def covers(self, day: Date) -> bool:
        """Whether the table knows if `day` is a session."""
        return self.first <= day <= self.last

    def index_of(self, day: Date) -> int:
        """Row of a session date, -1 when it is not a trading day. O(log n)."""
        row = int(np.searchsorted(self.ordinals, day.toordinal()))
        if row < len(self.ordinals) and self.ordinals[row] == day.toordinal():
            return row
        return -1

    def date_at(self, row: int) -> Date:
        """Session date of a row."""
        return Date.fromordinal(int(self.ordinals[row]))

    def segments_at(self, row: int) -> tuple[tuple[int, int], ...]:
        """Regular opens and closes of a row, nanoseconds UTC; two pairs when there is a break."""
        opened, closed = int(self.opens[row]), int(self.closes[row])
        pause, resume = int(self.break_starts[row]), int(self.break_ends[row])
        if pause == NEVER:
            return ((opened, closed),)
        return ((opened, pause), (resume, closed))


def load_table(name: str, day: Date | None = None) -> CalendarTable:
    """Return the table of a calendar, wide enough to hold `day`.

    Parameters
    ----------
    name : str
        Any name or alias exchange_calendars knows.
    day : datetime.date, optional
        A date the table has to cover. Without it: 1990 to the end of next year, or what part
        of that the calendar allows.

    Returns
    -------
    CalendarTable
        Shared within the process; its arrays are read-only.

    Raises
    ------
    CalendarError
        When the calendar is unknown, cannot be built, or cannot be had for `day`.
    """
    with _lock:
        table = _tables.get(name) or _read(name)
        if table is None or not (day is None or table.covers(day)):
            table, is_standard = _compute(name, table, day)
            if is_standard:
                _write(name, table)
        _tables[name] = table
    return table


def cache_dir() -> Path:
    """Return the folder openbell caches in; it may not exist.

    ``OPENBELL_CACHE_DIR`` when set, else the platform's place for caches.
    """
    chosen = os.environ.get("OPENBELL_CACHE_DIR")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "openbell"


@cache
def _library_version() -> str:
    # importlib.metadata brings the packages for mail and zip files, which cost more than numpy's
    # share of a start; the version is in the name of a folder.
    for folder in sys.path:
        with suppress(OSError):
            found = [_INSTALLED.fullmatch(name) for name in os.listdir(folder or ".")]
            versions = [match[1] for match in found if match is not None]
            if len(versions) == 1:
                return versions[0]
    from importlib import metadata

    return metadata.version("exchange_calendars")


def _compute(
    name: str, known: CalendarTable | None, day: Date | None
) -> tuple[CalendarTable, bool]:
    if known is not None and day is not None:
        _check_bounds(name, known.bound_first, known.bound_last, day)
    with warnings.catch_warnings():
        # Those of exchange_calendars about pandas are not for our callers to mend.
        warnings.simplefilter("ignore")
        return _build(name, known, day)


def _build(name: str, known: CalendarTable | None, day: Date | None) -> tuple[CalendarTable, bool]:
    library: Any = import_module("exchange_calendars")
    utils: Any = import_module("exchange_calendars.calendar_utils")
    dispatcher = utils.global_calendar_dispatcher
    names = dispatcher.get_calendar_names()
    if name not in names:
        from difflib import get_close_matches

        close = get_close_matches(name.upper(), names, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise CalendarError(name, f"not known to exchange_calendars{hint}")
    own_name = library.resolve_alias(name)
    try:
        # A calendar somebody registered as an instance has a range of its own.
        kind = dispatcher._calendar_factories.get(own_name)
        if kind is None:
            calendar = library.get_calendar(name)
            first, last = calendar.first_session.date(), calendar.last_session.date()
            lower, upper = first, last
        else:
            lower, upper = _date_or_none(kind.bound_min()), _date_or_none(kind.bound_max())
            first, last = _range(name, lower, upper, known, day)
            calendar = library.get_calendar(name, start=first.isoformat(), end=last.isoformat())
    except CalendarError:
        raise
    except Exception as exc:
        # What it raises differs from calendar to calendar, and some list thousands of dates.
        raise CalendarError(
            name,
            f"exchange_calendars {_library_version()} cannot build it: "
            f"{type(exc).__name__}: {str(exc)[:160]}",
        ) from exc
    if day is not None:
        _check_bounds(name, lower, upper, day)
    table = CalendarTable(
        name=own_name,
        timezone=str(calendar.tz),
        first=first,
        last=last,
        bound_first=lower,
        bound_last=upper,
        ordinals=_frozen(calendar.sessions_nanos // NS_PER_DAY + _EPOCH_ORDINAL),
        opens=_frozen(calendar.opens_nanos),
        break_starts=_frozen(calendar.break_starts_nanos),
        break_ends=_frozen(calendar.break_ends_nanos),
        closes=_frozen(calendar.closes_nanos),
    )
    # A newer pandas that counts in other units than nanoseconds must not pass unseen.
    midnights = (table.ordinals - _EPOCH_ORDINAL) * NS_PER_DAY
    if np.any(np.abs(table.opens - midnights) > 2 * NS_PER_DAY) or np.any(
        (table.closes <= table.opens) | (table.closes > table.opens + 2 * NS_PER_DAY)
    ):
        raise CalendarError(name, "exchange_calendars gives opens or closes far from their dates")
    # What a program registered itself is no property of the library's version.
    return table, own_name in utils.default_calendar_names


def _range(
    name: str, lower: Date | None, upper: Date | None, known: CalendarTable | None, day: Date | None
) -> tuple[Date, Date]:
    first, last = Date(_FIRST_YEAR, 1, 1), Date(Date.today().year + 1, 12, 31)
    if known is not None:
        first, last = min(first, known.first), max(last, known.last)
    if day is not None:
        _check_bounds(name, lower, upper, day)
        first, last = min(first, Date(day.year, 1, 1)), max(last, Date(day.year, 12, 31))
    return max(first, lower or first), min(last, upper or last)


def _check_bounds(name: str, lower: Date | None, upper: Date | None, day: Date) -> None:
    if (lower and day < lower) or (upper and day > upper):
        raise CalendarError(name, f"{day} is out of bounds; it is known from {lower} to {upper}")
    if day.year not in _YEARS:
        raise CalendarError(
            name, f"{day} is out of bounds; years {_YEARS[0]} to {_YEARS[-1]} can be had"
        )


def _date_or_none(stamp: Any) -> Date | None:
    return None if stamp is None else Date(stamp.year, stamp.month, stamp.day)


def _frozen(values: Any) -> Int64Array:
    array: Int64Array = np.array(values, dtype=np.int64)
    array.flags.writeable = False
    return array


def _path(name: str) -> Path:
    # Only the file's content says which calendar it is for: "24/7" is no file name.
    plain = re.sub(r"[^A-Za-z0-9.]", "-", f"{name}-{_library_version()}")
    return cache_dir() / "calendars" / f"{plain}.table"


def _write(name: str, table: CalendarTable) -> None:
    import tempfile

    dates = (table.first, table.last, table.bound_first, table.bound_last)
    body = b"".join(getattr(table, key).astype("<i8").tobytes() for key in _ARRAYS)
    lines = [_FORMAT, name, _library_version(), table.name, table.timezone]
    lines += ["-" if date is None else date.isoformat() for date in dates]
    head = "\n".join(lines).encode()
    checksum = zlib.crc32(body, zlib.crc32(head))
    try:
        path = _path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(b"%b\n%d\n\n%b" % (head, checksum, body))
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except (OSError, RuntimeError):
        # The cache saves time; without one (read-only disk, no home) all still works.
        return


def _read(name: str) -> CalendarTable | None:
    # A file that is damaged, or of something else, is computed afresh and replaced.
    try:
        text, found, body = _path(name).read_bytes().partition(b"\n\n")
        head, _, checksum = text.rpartition(b"\n")
        if not found or zlib.crc32(body, zlib.crc32(head)) != int(checksum):
            return None
    except (OSError, RuntimeError, ValueError):
        return None
    form, wanted, version, own_name, timezone, *dates = head.decode().split("\n")
    if (form, wanted, version) != (_FORMAT, name, _library_version()):
        return None
    first, last = (Date.fromisoformat(date) for date in dates[:2])
    lower, upper = (None if date == "-" else Date.fromisoformat(date) for date in dates[2:])
    rows = np.frombuffer(body, "<i8").reshape(len(_ARRAYS), -1)
    return CalendarTable(own_name, timezone, first, last, lower, upper, *rows)
