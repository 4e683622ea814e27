"""The one place that tells the time and knows the trading days.

In a backtest the clock is simulated and moves only when it is set; live, it is the
system's. The window of a session follows from the calendar's table and the hours wanted.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import date as Date
from datetime import datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

import numpy as np

from openbell.clock.calendars import CalendarTable, load_table
from openbell.clock.window import Anchor, SessionWindow
from openbell.errors import CalendarError, SessionStateError, TimeError
from openbell.schema import NS_PER_SECOND, to_datetime, to_iso, to_ns

__all__ = ["Hours", "Mode", "TimeManager", "parse_hours"]

Mode = Literal["backtest", "live"]
Hours = Literal["regular", "extended"] | Sequence[Sequence[str]]

#: Trading hours around the regular session, on the exchange's wall clock.
EXTENDED_HOURS: Final = {"XNYS": (("04:00", "20:00"),)}

_WALL_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9]))?")
_SECONDS_PER_DAY: Final = 86_400
# Sessions on each side whose closes tell what is usual.
_NEIGHBOURS: Final = 20


class TimeManager:
    """A clock and the trading days of one exchange.

    Parameters
    ----------
    calendar : str
        Any calendar exchange_calendars knows, by name or alias: ``XNYS``, ``NYSE``, ``24/7``.
    hours : "regular", "extended", or sequence of (str, str)
        Which part of the day is the session. Pairs are opens and closes on the exchange's
        wall clock, ascending, such as ``[["04:00", "20:00"]]``; ``24:00`` may end the last.
        "extended" is 04:00 to 20:00 and known for ``XNYS``. On an early close, what lies
        after the usual close moves forward with it, and what lies between the early and the
        usual close falls away: extended hours then end at 17:00.
    anchor : "session" or "clock"
        Where buckets begin: at each segment's open, or on the exchange's wall clock.
    mode : "backtest" or "live"
        A simulated clock, or the system's.
    start : aware datetime, int nanoseconds, numpy.datetime64 or ISO text, optional
        Where a simulated clock stands at first; without it, it has to be set before it is read.

    Attributes
    ----------
    calendar : str
        The calendar's own name; ``XNYS`` when made as ``NYSE``.
    timezone : str
        IANA name of the exchange's zone.
    hours, anchor, mode
        As given.

    Raises
    ------
    CalendarError
        When the calendar is unknown or has no extended hours.
    TimeError
        When the hours, the anchor, the mode or `start` cannot be read.
    SessionStateError
        When `start` is given for a live clock.

    Examples
    --------
    >>> from datetime import date
    >>> clock = TimeManager("XNYS")
    >>> clock.session_window(date(2025, 7, 3)).close.isoformat()
    '2025-07-03T17:00:00+00:00'
    >>> clock.next_trading_day(date(2025, 7, 3))
    datetime.date(2025, 7, 7)
    """

    def __init__(
        self,
        calendar: str = "XNYS",
        *,
        hours: Hours = "regular",
        anchor: Anchor = "session",
        mode: Mode = "backtest",
        start: datetime | int | np.datetime64 | str | None = None,
    ) -> None:
        if anchor not in ("session", "clock"):
            raise TimeError(anchor, "anchor must be 'session' or 'clock'")
        if mode not in ("backtest", "live"):
            raise TimeError(mode, "mode must be 'backtest' or 'live'")
        self._requested = calendar
        self._table = load_table(calendar)
        self.calendar = self._table.name
        self.timezone = self._table.timezone
        self.hours: Hours = hours if isinstance(hours, str) else tuple(tuple(p) for p in hours)
        self.anchor: Anchor = anchor
        self.mode: Mode = mode
        self._zone = ZoneInfo(self.timezone)
        self._custom = self._custom_hours(self.hours)
        self._windows: dict[Date, SessionWindow] = {}
        self._now_ns: int | None = None
        if start is not None:
            self.set_time(start)

    @property
    def is_simulated(self) -> bool:
        """Whether time stands still until it is set."""
        return self.mode == "backtest"

    @property
    def now_ns(self) -> int:
        """Current time, int64 nanoseconds UTC.

        Raises
        ------
        SessionStateError
            When the clock is simulated and was not set.
        """
        if self.mode == "live":
            return time.time_ns()
        if self._now_ns is None:
            raise SessionStateError(
                "TimeManager.now_ns", "without a time", "set the simulated clock with set_time()"
            )
        return self._now_ns

    def get_current_time(self) -> datetime:
        """Return the current time, aware UTC, to the microsecond.

        Raises
        ------
        SessionStateError
            When the clock is simulated and was not set.
        """
        return to_datetime(self.now_ns)

    def set_time(self, instant: datetime | int | np.datetime64 | str) -> None:
        """Move the simulated clock on.

        Raises
        ------
        SessionStateError
            When the clock is the system's.
        TimeError
            When `instant` is naive, unreadable, or before the current time.
        """
        if self.mode == "live":
            raise SessionStateError(
                "TimeManager.set_time", "live", "only a simulated clock can be set"
            )
        now_ns = to_ns(instant)
        if self._now_ns is not None and now_ns < self._now_ns:
            raise TimeError(instant, f"time does not run backwards; it is {to_iso(self._now_ns)}")
        self._now_ns = now_ns

    def is_trading_day(self, day: Date) -> bool:
        """Whether `day` has a session.

        Raises
        ------
        CalendarError
            When `day` is outside what the calendar is known for; so in every method below.
        """
        return self._covering(day).index_of(day) >= 0

    def next_trading_day(self, day: Date, n: int = 1) -> Date:
        """Return the `n`-th session after `day`, which need not be one itself."""
        _check_count(n, 1)
        table = self._covering(day)
        while True:
            row = int(np.searchsorted(table.ordinals, day.toordinal(), side="right")) + n - 1
            if row < len(table.ordinals):
                return table.date_at(row)
            table = self._covering(table.last + timedelta(days=1))

    def previous_trading_day(self, day: Date, n: int = 1) -> Date:
        """Return the `n`-th session before `day`, which need not be one itself."""
        _check_count(n, 1)
        return self.trailing_days(day, n)[0]

    def trading_days(self, start: Date, end: Date) -> list[Date]:
        """Return the sessions from `start` to `end`, both inclusive, ascending.

        Raises
        ------
        TimeError
            When `end` is before `start`.
        """
        self._covering(start)
        table = self._covering(end)
        if end < start:
            raise TimeError(end, f"the end must not be before the start, {start}")
        first = np.searchsorted(table.ordinals, start.toordinal())
        last = np.searchsorted(table.ordinals, end.toordinal(), side="right")
        return [Date.fromordinal(v) for v in table.ordinals[first:last].tolist()]

    def trailing_days(self, day: Date, n: int) -> list[Date]:
        """Return the `n` sessions before `day`, ascending; `day` itself is not among them."""
        _check_count(n, 0)
        table = self._covering(day)
        while True:
            end = int(np.searchsorted(table.ordinals, day.toordinal()))
            if end >= n:
                return [Date.fromordinal(v) for v in table.ordinals[end - n : end].tolist()]
            table = self._covering(table.first - timedelta(days=1))

    def session_window(self, day: Date) -> SessionWindow:
        """Return the window of a session, in the hours this clock was made for.

        A day is an early close when its close, on the exchange's wall clock, is earlier than
        the most common one of the 20 sessions before it, and earlier than that of the 20
        after. A change of trading hours, for a season or for good, is thus none.

        Raises
        ------
        CalendarError
            When `day` is not a trading day, or the hours leave nothing of it.
        """
        _check_date(day)
        window = self._windows.get(day)
        if window is None:
            if len(self._windows) >= 1024:
                self._windows.clear()
            window = self._windows.setdefault(day, self._make_window(day))
        return window

    def session_of(self, ts_ns: int) -> Date | None:
        """Return the session whose window covers an instant, None when none does.

        An instant counts from a window's first open to before its last close, breaks included.
        """
        day = to_datetime(ts_ns).astimezone(self._zone).date()
        table = self._covering(day)
        if self._custom is None:
            # Sessions of futures open on the evening before their date.
            ahead = day + timedelta(days=1)
            if table.bound_last is None or ahead <= table.bound_last:
                table = self._covering(ahead)
            row = int(np.searchsorted(table.opens, ts_ns, side="right")) - 1
            if row >= 0 and ts_ns < table.closes[row]:
                return table.date_at(row)
            return None
        if table.index_of(day) < 0:
            return None
        window = self.session_window(day)
        return day if window.open_ns <= ts_ns < window.close_ns else None

    def __repr__(self) -> str:
        return (
            f"TimeManager({self.calendar!r}, hours={self.hours!r}, "
            f"anchor={self.anchor!r}, mode={self.mode!r})"
        )

    def _covering(self, day: Date) -> CalendarTable:
        _check_date(day)
        if not self._table.covers(day):
            self._table = load_table(self._requested, day)
        return self._table

    def _custom_hours(self, hours: Hours) -> tuple[tuple[int, int], ...] | None:
        if isinstance(hours, str):
            if hours == "regular":
                return None
            if hours != "extended":
                raise TimeError(hours, "hours must be 'regular', 'extended' or pairs of times")
            if self.calendar not in EXTENDED_HOURS:
                raise CalendarError(
                    self.calendar,
                    "no extended hours are known for it; give them, as in [['04:00', '20:00']]",
                )
            hours = EXTENDED_HOURS[self.calendar]
        return parse_hours(hours)

    def _make_window(self, day: Date) -> SessionWindow:
        table = self._covering(day)
        row = table.index_of(day)
        if row < 0:
            raise CalendarError(
                self.calendar,
                f"{day} is not a trading day; the previous is "
                f"{_known(self.previous_trading_day, day)}, "
                f"the next {_known(self.next_trading_day, day)}",
            )
        close_s, usual_s = self._closes_around(table, row)
        if self._custom is None:
            segments = table.segments_at(row)
        else:
            moved = (
                (_follow_close(a, close_s, usual_s), _follow_close(b, close_s, usual_s))
                for a, b in self._custom
            )
            segments = tuple(
                (self._wall_ns(day, a), self._wall_ns(day, b)) for a, b in moved if a < b
            )
            if not segments:
                raise CalendarError(
                    self.calendar, f"{day} closes early, before the hours {self.hours!r} begin"
                )
        return SessionWindow(
            day,
            segments,
            calendar=self.calendar,
            timezone=self.timezone,
            anchor=self.anchor,
            is_early_close=close_s < usual_s,
        )

    def _closes_around(self, table: CalendarTable, row: int) -> tuple[int, int]:
        close_s = self._close_of_day(table, row)
        before = range(max(0, row - _NEIGHBOURS), row)
        after = range(row + 1, min(len(table.ordinals), row + 1 + _NEIGHBOURS))
        usual = [
            Counter(self._close_of_day(table, i) for i in rows).most_common(1)[0][0]
            for rows in (before, after)
            if rows
        ]
        return close_s, min(usual, default=close_s)

    def _close_of_day(self, table: CalendarTable, row: int) -> int:
        """Seconds from a session date's midnight to its close, both on the wall clock."""
        seconds = int(table.closes[row]) // NS_PER_SECOND
        local = datetime.fromtimestamp(seconds, self._zone)
        days = local.date().toordinal() - int(table.ordinals[row])
        return days * _SECONDS_PER_DAY + local.hour * 3600 + local.minute * 60 + local.second

    def _wall_ns(self, day: Date, second: int) -> int:
        days, second = divmod(second, _SECONDS_PER_DAY)
        midnight = datetime(day.year, day.month, day.day, tzinfo=self._zone)
        # Arithmetic on an aware datetime is arithmetic on its wall clock.
        return to_ns(midnight + timedelta(days=days, seconds=second))


def parse_hours(hours: Sequence[Sequence[str]]) -> tuple[tuple[int, int], ...]:
    """Read trading hours given as pairs of wall-clock times.

    Parameters
    ----------
    hours : sequence of (str, str)
        ``HH:MM`` or ``HH:MM:SS``, ascending, without overlap; ``24:00`` may end the last.

    Returns
    -------
    tuple of (int, int)
        Seconds since midnight of each open and close.

    Raises
    ------
    TimeError
        When a time or a pair cannot be read, or the pairs are out of order. Its ``value`` is
        the offending pair.
    """
    if isinstance(hours, str) or not hours:
        raise TimeError(hours, "hours must be at least one pair of times")
    spans: list[tuple[int, int]] = []
    for pair in hours:
        if isinstance(pair, str) or len(pair) != 2:
            raise TimeError(pair, "a segment of hours is a pair of times, an open and a close")
        opened, closed = _wall_seconds(pair, pair[0]), _wall_seconds(pair, pair[1])
        if closed <= opened:
            raise TimeError(pair, "a segment of hours must close after it opens")
        if spans and opened < spans[-1][1]:
            raise TimeError(pair, "segments of hours must ascend without overlapping")
        spans.append((opened, closed))
    return tuple(spans)


def _wall_seconds(pair: Sequence[str], text: object) -> int:
    if text == "24:00":
        return _SECONDS_PER_DAY
    match = _WALL_TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise TimeError(pair, f"{text!r} is not a time such as '09:30'")
    return int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)


def _follow_close(second: int, close_s: int, usual_s: int) -> int:
    if close_s >= usual_s or second <= close_s:
        return second
    return max(close_s, second - (usual_s - close_s))


def _known(find: Callable[[Date], Date], day: Date) -> Date | str:
    try:
        return find(day)
    except CalendarError:
        return "beyond what the calendar knows"


def _check_date(day: object) -> None:
    if not isinstance(day, Date) or isinstance(day, datetime):
        raise TimeError(day, "a trading day is asked for by a datetime.date, without a time")


def _check_count(n: object, least: int) -> None:
    if not isinstance(n, int) or isinstance(n, bool) or n < least:
        raise TimeError(n, f"a number of trading days is an integer of at least {least}")
