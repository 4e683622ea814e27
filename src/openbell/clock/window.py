"""One trading day's open and close, and the grid of slots each interval has in it.

Pure arithmetic over int64 nanoseconds: no calendar, no file, no clock. Every part
that needs to know where a bar begins or ends reads it here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date as Date
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from openbell.errors import CalendarError, IntervalError, TimeError
from openbell.intervals import Interval, interval
from openbell.schema import NS_PER_SECOND, Int64Array, to_datetime, to_iso

__all__ = ["Anchor", "Grid", "SessionWindow"]

Anchor = Literal["session", "clock"]


class Grid:
    """The slots of one interval in one window.

    A slot covers ``[starts_ns[k], ends_ns[k])`` and is labelled by its start. The last slot
    of a segment is cut at the segment's close, and under the ``clock`` anchor the first is cut
    at its open.

    Parameters
    ----------
    interval : Interval
    segments : numpy.ndarray
        int64, shape (n_segments, 4): open, close, origin of the buckets, number of the first
        slot. The native engine and the kernels read this same array.

    Attributes
    ----------
    interval : Interval
    step_ns : int
    n_slots : int
    segments : numpy.ndarray
        Read-only, as given.
    """

    __slots__ = ("__dict__", "interval", "n_slots", "segments", "step_ns")

    def __init__(self, interval: Interval, segments: Int64Array, step_ns: int) -> None:
        self.interval = interval
        self.step_ns = step_ns
        self.segments = segments
        opened, closed, origin, first = (int(v) for v in segments[-1])
        self.n_slots = first + -(-(closed - origin) // step_ns)

    @cached_property
    def starts_ns(self) -> Int64Array:
        """Start of each slot, int64 shape (n_slots,), ascending, read-only."""
        parts = []
        for opened, closed, origin, _ in self.segments.tolist():
            starts = np.arange(origin, closed, self.step_ns, dtype=np.int64)
            starts[0] = opened
            parts.append(starts)
        return _frozen(np.concatenate(parts))

    @cached_property
    def ends_ns(self) -> Int64Array:
        """End (exclusive) of each slot, int64 shape (n_slots,), ascending, read-only."""
        parts = []
        for _, closed, origin, _ in self.segments.tolist():
            ends = np.arange(origin, closed, self.step_ns, dtype=np.int64) + self.step_ns
            ends[-1] = closed
            parts.append(ends)
        return _frozen(np.concatenate(parts))

    def slot_of(self, ts_ns: int) -> int:
        """Number of the slot that covers an instant, -1 when none does. O(segments)."""
        for opened, closed, origin, first in self.segments.tolist():
            if opened <= ts_ns < closed:
                return int(first + (ts_ns - origin) // self.step_ns)
        return -1

    def expected(self, elapsed_ns: int) -> int:
        """How many slots have ended at or before an instant. O(segments)."""
        n = 0
        for opened, closed, origin, first in self.segments.tolist():
            if elapsed_ns >= closed:
                n = first + -(-(closed - origin) // self.step_ns)
            # An origin on the clock may lie before the open, even in the segment before.
            elif elapsed_ns > opened:
                n = first + (elapsed_ns - origin) // self.step_ns
        return int(n)

    def __repr__(self) -> str:
        return f"<Grid {self.interval} of {self.n_slots} slots>"


class SessionWindow:
    """The open and close of one session, as one or more segments.

    Parameters
    ----------
    date : datetime.date
        The session's date.
    segments : sequence of (int, int)
        Opens and closes, nanoseconds UTC, ascending, apart from each other. A lunch break
        makes two.
    calendar : str
        Name of the calendar it comes from.
    timezone : str
        IANA name of the exchange's zone.
    anchor : "session" or "clock"
        Where buckets begin: at each segment's open, or on the exchange's wall clock.
    is_early_close : bool
        Whether the day ends sooner than usual.

    Attributes
    ----------
    open_ns, close_ns : int
        First open and last close, nanoseconds UTC.

    Raises
    ------
    TimeError
        When the segments are empty, out of order, overlap, or are not whole seconds.
    CalendarError
        When the zone is not an IANA name.
    """

    __slots__ = (
        "_grids",
        "anchor",
        "calendar",
        "close_ns",
        "date",
        "is_early_close",
        "open_ns",
        "segments",
        "timezone",
    )

    def __init__(
        self,
        date: Date,
        segments: Sequence[tuple[int, int]],
        *,
        calendar: str = "custom",
        timezone: str = "UTC",
        anchor: Anchor = "session",
        is_early_close: bool = False,
    ) -> None:
        spans = tuple((int(opened), int(closed)) for opened, closed in segments)
        _check_spans(spans)
        if anchor not in ("session", "clock"):
            raise TimeError(anchor, "anchor must be 'session' or 'clock'")
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise CalendarError(calendar, f"{timezone!r} is not an IANA time zone") from None
        self.date = date
        self.segments = spans
        self.calendar = calendar
        self.timezone = timezone
        self.anchor: Anchor = anchor
        self.is_early_close = is_early_close
        self.open_ns = spans[0][0]
        self.close_ns = spans[-1][1]
        self._grids: dict[str, Grid] = {}

    @property
    def open(self) -> datetime:
        """First open, aware UTC."""
        return to_datetime(self.open_ns)

    @property
    def close(self) -> datetime:
        """Last close, aware UTC."""
        return to_datetime(self.close_ns)

    def grid(self, name: str | Interval) -> Grid:
        """Return the slots of an interval in this window; the same object each time.

        Raises
        ------
        IntervalError
            When the interval is unknown or spans several sessions.
        """
        key = str(name)
        found = self._grids.get(key)
        if found is None:
            item = name if isinstance(name, Interval) else interval(key)
            found = self._grids.setdefault(item.name, self._make_grid(item))
        return found

    def contains(self, ts_ns: int) -> bool:
        """Whether an instant lies in a segment; opens count, closes do not."""
        return any(opened <= ts_ns < closed for opened, closed in self.segments)

    def _make_grid(self, item: Interval) -> Grid:
        if item.is_daily:
            if item.name != "1d":
                raise IntervalError(item.name, "spans several sessions; a session holds up to 1d")
            # A day is one slot over all segments, whatever its length.
            step_ns = self.close_ns - self.open_ns
            rows = [(self.open_ns, self.close_ns, self.open_ns, 0)]
        else:
            step_ns = item.step_ns
            rows = []
            first = 0
            for opened, closed in self.segments:
                origin = opened - self._offset_into_bucket(opened, step_ns)
                rows.append((opened, closed, origin, first))
                first += -(-(closed - origin) // step_ns)
        return Grid(item, _frozen(np.array(rows, dtype=np.int64)), step_ns)

    def _offset_into_bucket(self, opened_ns: int, step_ns: int) -> int:
        if self.anchor == "session":
            return 0
        local = to_datetime(opened_ns).astimezone(ZoneInfo(self.timezone))
        since_midnight = timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
        return (since_midnight.days * 86_400 + since_midnight.seconds) * NS_PER_SECOND % step_ns

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SessionWindow):
            return self._key() == other._key()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        return self.date, self.segments, self.calendar, self.timezone, self.anchor

    def __repr__(self) -> str:
        spans = ", ".join(f"{to_iso(o)} to {to_iso(c)}" for o, c in self.segments)
        return f"<SessionWindow {self.calendar} {self.date}: {spans}>"


def _check_spans(spans: tuple[tuple[int, int], ...]) -> None:
    if not spans:
        raise TimeError(spans, "a session window needs at least one segment")
    last_close: int | None = None
    for opened, closed in spans:
        if closed <= opened:
            raise TimeError((opened, closed), "a segment must close after it opens")
        if opened % NS_PER_SECOND or closed % NS_PER_SECOND:
            raise TimeError((opened, closed), "segments begin and end on whole seconds")
        if last_close is not None and opened < last_close:
            raise TimeError((opened, closed), "segments must ascend without overlapping")
        last_close = closed


def _frozen(array: Int64Array) -> Int64Array:
    array.flags.writeable = False
    return array
