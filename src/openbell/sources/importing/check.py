"""Which rows are bars: prices that make sense, labels that lie on a session's grid."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date as Date
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from openbell.clock import TimeManager
from openbell.errors import CalendarError
from openbell.intervals import Interval
from openbell.schema import NS_PER_DAY, Int64Array
from openbell.sources.columns import FloatArray
from openbell.sources.importing.report import REASONS
from openbell.sources.importing.values import Mask, to_utc

Codes = npt.NDArray[np.uint8]

#: Number of each reason; 0 is a good row.
CODE: Final[Mapping[str, int]] = {reason: k for k, reason in enumerate(REASONS, start=1)}
_EPOCH: Final = Date(1970, 1, 1).toordinal()


def mark(codes: Codes, mask: Mask, reason: str) -> None:
    """Give the rows of a mask a reason, unless they have one already."""
    codes[mask & (codes == 0)] = CODE[reason]


def check_values(
    codes: Codes,
    open: FloatArray,
    high: FloatArray,
    low: FloatArray,
    close: FloatArray,
    volume: FloatArray,
) -> None:
    """Mark rows whose prices or volume cannot be a bar's."""
    columns = (open, high, low, close, volume)
    mark(codes, ~np.logical_and.reduce([np.isfinite(c) for c in columns]), "not_finite")
    mark(codes, high < low, "high_below_low")
    outside = (open > high) | (open < low) | (close > high) | (close < low)
    mark(codes, outside, "outside_range")
    mark(codes, volume < 0, "negative_volume")


class Sessions:
    """Puts labels on the grids of a calendar's sessions, whole columns at a time.

    Windows are looked up once, for the dates that come.

    Parameters
    ----------
    clock : TimeManager
    label : "start" or "end"
        Which end of the bar the given labels are.
    """

    def __init__(self, clock: TimeManager, label: Literal["start", "end"]) -> None:
        self._clock = clock
        self._label = label
        self._asked: set[int] = set()
        self._dates: set[int] = set()
        self._rows: dict[str, dict[int, list[list[int]]]] = {}

    def place(
        self, ts_ns: Int64Array, codes: Codes, interval: Interval
    ) -> tuple[Int64Array, Int64Array]:
        """Find the slot that each label names.

        Parameters
        ----------
        ts_ns : numpy.ndarray
            Labels, in any order.
        codes : numpy.ndarray
            Reasons, marked here; rows that have one are left out.
        interval : Interval

        Returns
        -------
        (start_ns, date) : tuple of numpy.ndarray
            Start of each slot, and the ordinal of its session's date; 0 where the row is bad.
        """
        start = np.zeros(len(ts_ns), np.int64)
        date = np.zeros(len(ts_ns), np.int64)
        good = np.flatnonzero(codes == 0)
        if len(good):
            table = self._table(ts_ns[good], interval)
            if interval.is_daily:
                found = self._daily(ts_ns[good], table)
            else:
                found = self._on_grid(ts_ns[good], table, interval.step_ns)
            start[good], date[good], codes[good] = found
        return start, date

    def _on_grid(
        self, ts: Int64Array, table: Int64Array, step: int
    ) -> tuple[Int64Array, Int64Array, Codes]:
        codes = np.zeros(len(ts), np.uint8)
        if len(table) == 0:
            codes[:] = CODE["outside_session"]
            return np.zeros_like(ts), np.zeros_like(ts), codes
        opens, closes, origins, dates = table.T
        ends = self._label == "end"
        row = np.searchsorted(opens, ts, side="left" if ends else "right") - 1
        inside = (row >= 0) & ((ts <= closes[row]) if ends else (ts < closes[row]))
        mark(codes, ~inside, "outside_session")
        offset = ts - origins[row]
        if ends:
            # The last slot of a segment ends at its close, however short it is.
            slot = -(-offset // step) - 1
            exact = (offset % step == 0) | (ts == closes[row])
        else:
            slot = offset // step
            exact = (offset % step == 0) | (ts == opens[row])
        mark(codes, ~exact, "off_grid")
        start = np.maximum(opens[row], origins[row] + slot * step)
        bad = codes != 0
        return np.where(bad, 0, start), np.where(bad, 0, dates[row]), codes

    def _daily(self, ts: Int64Array, table: Int64Array) -> tuple[Int64Array, Int64Array, Codes]:
        codes = np.zeros(len(ts), np.uint8)
        if len(table) == 0:
            codes[:] = CODE["outside_session"]
            return np.zeros_like(ts), np.zeros_like(ts), codes
        opens, closes, _, dates = table.T
        # A daily label is the session's own open (or close), or a midnight that means its date.
        edges = closes if self._label == "end" else opens
        day = np.full(len(ts), -1, np.int64)
        row = np.minimum(np.searchsorted(edges, ts), len(edges) - 1)
        day = np.where(edges[row] == ts, dates[row], day)
        utc_midnight = (day < 0) & (ts % NS_PER_DAY == 0)
        day = np.where(utc_midnight, ts // NS_PER_DAY + _EPOCH, day)
        local = self._local_midnights(ts)
        day = np.where((day < 0) & (local >= 0), local, day)
        row = np.minimum(np.searchsorted(dates, day), len(dates) - 1)
        known = dates[row] == day
        mark(codes, day < 0, "off_grid")
        mark(codes, ~known, "outside_session")
        bad = codes != 0
        return np.where(bad, 0, opens[row]), np.where(bad, 0, dates[row]), codes

    def _local_midnights(self, ts: Int64Array) -> Int64Array:
        """Ordinal of the date whose midnight, at the exchange, a label is; -1 for others."""
        days = np.unique(ts // NS_PER_DAY)
        days = np.unique(np.concatenate([days, days + 1]))
        midnights, _, _ = to_utc(days * NS_PER_DAY, self._clock.timezone)
        at = np.minimum(np.searchsorted(midnights, ts), len(midnights) - 1)
        return np.where(midnights[at] == ts, days[at] + _EPOCH, -1)

    def _table(self, ts: Int64Array, interval: Interval) -> Int64Array:
        """Rows (open, close, origin, date) of every session near the labels, ascending."""
        days = np.unique(ts // NS_PER_DAY) + _EPOCH
        near = np.unique(np.concatenate([days - 1, days, days + 1]))
        fresh = [int(day) for day in near if int(day) not in self._asked]
        self._asked.update(fresh)
        for first, last in _runs(fresh):
            self._look_up(first, last)
        known = self._rows.setdefault(interval.name, {})
        for ordinal in near.tolist():
            if ordinal in self._dates and ordinal not in known:
                grid = self._clock.session_window(Date.fromordinal(ordinal)).grid(interval)
                known[ordinal] = [[o, c, g, ordinal] for o, c, g, _ in grid.segments.tolist()]
        rows = [row for ordinal in near.tolist() for row in known.get(ordinal, ())]
        return np.array(rows, np.int64).reshape(-1, 4)

    def _look_up(self, first: int, last: int) -> None:
        try:
            days = self._clock.trading_days(Date.fromordinal(first), Date.fromordinal(last))
        except (CalendarError, ValueError, OverflowError):
            # Beyond what the calendar knows there is no session; date by date, some may be known.
            if first == last:
                return
            middle = (first + last) // 2
            self._look_up(first, middle)
            self._look_up(middle + 1, last)
            return
        self._dates.update(day.toordinal() for day in days)


def _runs(ordinals: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for day in ordinals:
        if runs and runs[-1][1] == day - 1:
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs
