"""A plain reference of one record: every rule of the engine, none of its cleverness.

Keeps the bars it accepted in a dict and works everything out anew after each change. It
judges the engine, so it shares nothing with it but the names of refusals.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from openbell.schema import REFUSALS

SECOND = 1_000_000_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Row(NamedTuple):
    """One bar, and how many base bars are in it."""

    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    n_base: int


def step_of(interval: str) -> int:
    return int(interval[:-1]) * _UNITS[interval[-1]] * SECOND


def divides(finer: str, coarser: str) -> bool:
    a, b = step_of(finer), step_of(coarser)
    return a < b and (coarser.endswith("d") or b % a == 0)


def slots_of(
    segments: Sequence[tuple[int, int]], interval: str, anchor: str, timezone: str
) -> list[tuple[int, int]]:
    """Every slot as (start, end); the first start of a segment is its open, the last end its
    close, whatever the anchor."""
    if interval.endswith("d"):
        return [(segments[0][0], segments[-1][1])]
    step = step_of(interval)
    slots = []
    for opened, closed in segments:
        edges = [opened]
        edge = opened + step
        if anchor == "clock":
            wall = datetime.fromtimestamp(opened // SECOND, UTC).astimezone(ZoneInfo(timezone))
            clock = (wall.hour * 3600 + wall.minute * 60 + wall.second) * SECOND
            edge = opened + (-clock % step or step)
        while edge < closed:
            edges.append(edge)
            edge += step
        slots += list(zip(edges, [*edges[1:], closed], strict=True))
    return slots


class RecordModel:
    """What a record must hold after the calls it was given.

    Parameters
    ----------
    segments : sequence of (int, int)
        Opens and closes of the session, nanoseconds UTC.
    base_interval : str
    derived : iterable of str
    anchor, timezone : str
        As of the session's window.
    capacity : int, optional
        Bars that each series keeps at least: once it holds twice as many, the next one makes
        it let go of all but the newest `capacity`. What was evicted still counts in derived
        bars, quality, gaps and metrics: only ``held`` shrinks. The clock is taken to be read
        whenever it has moved.
    """

    def __init__(
        self,
        segments: Sequence[tuple[int, int]],
        base_interval: str,
        derived: Iterable[str] = (),
        anchor: str = "session",
        timezone: str = "UTC",
        capacity: int | None = None,
    ) -> None:
        self.base = base_interval
        self.derived = sorted(derived, key=step_of)
        self.intervals = [base_interval, *self.derived]
        self.sources = {
            name: max((other for other in self.intervals if divides(other, name)), key=step_of)
            for name in self.derived
        }
        self.slots = {name: slots_of(segments, name, anchor, timezone) for name in self.intervals}
        self._starts = {name: [s for s, _ in slots] for name, slots in self.slots.items()}
        self.segments = list(segments)
        self.capacity = capacity
        self.clock = segments[0][0]
        self.bars: dict[int, tuple[float, float, float, float, float]] = {}
        self.newest = -1
        self.rejected: dict[str, int] = {}
        self.n_duplicate = 0
        self.n_corrected = 0
        self.n_late = 0
        self._folded: dict[str, dict[int, Row]] = {}
        self._n_held = dict.fromkeys(self.intervals, 0)
        self._n_evicted = dict.fromkeys(self.intervals, 0)

    def append(self, ts: int, o: float, h: float, low: float, c: float, v: float) -> str:
        """Take one bar; return "appended", "late", "corrected", "duplicate" or a refusal."""
        values = (float(o), float(h), float(low), float(c), float(v))
        slot = self._slot("", ts)
        outcome = self._why_not(ts, slot, values)
        if outcome is None:
            assert slot is not None
            outcome = self._take(slot, values)
            self._let_go()
        if outcome in REFUSALS:
            self.rejected[outcome] = self.rejected.get(outcome, 0) + 1
        return outcome

    def append_block(self, rows: Iterable[Sequence[float]]) -> int:
        """Take rows one by one; return how many were not refused."""
        outcomes = [self.append(int(row[0]), *row[1:]) for row in rows]
        return sum(outcome not in REFUSALS for outcome in outcomes)

    def advance(self, now_ns: int) -> None:
        """Move the session's clock, never back."""
        self.clock = max(self.clock, now_ns)
        self._folded = {}
        self._let_go()

    def _why_not(self, ts: int, slot: int | None, values: tuple[float, ...]) -> str | None:
        o, h, low, c, v = values
        if not all(math.isfinite(x) for x in values):
            return "not_finite"
        if h < low:
            return "high_below_low"
        if not (low <= o <= h and low <= c <= h):
            return "outside_range"
        if v < 0:
            return "negative_volume"
        if not any(opened <= ts < closed for opened, closed in self.segments):
            return "outside_session"
        assert slot is not None
        return None if ts == self._starts[self.base][slot] else "off_grid"

    def _take(self, slot: int, values: tuple[float, float, float, float, float]) -> str:
        behind = self._is_behind(slot)
        if self.capacity and behind:
            # Room is made in every series before the place is sought.
            for name in self.intervals:
                self._make_room(name)
        held = self.bars.get(slot)
        if self._is_gone(self.base, self._starts[self.base][slot]):
            return "evicted"
        if held == values:
            self.n_duplicate += 1
            return "duplicate"
        if behind and any(self._is_beyond_repair(name, slot) for name in self.derived):
            return "evicted"
        outcome = "appended"
        if held is not None:
            self.n_corrected += 1
            outcome = "corrected"
        elif slot < self.newest:
            self.n_late += 1
            outcome = "late"
        self.bars[slot] = values
        self.newest = max(self.newest, slot)
        self._folded = {}
        return outcome

    def _is_behind(self, slot: int) -> bool:
        # Not simply the next: at or before the newest bar, or in a bucket the clock has closed.
        if slot <= self.newest:
            return True
        ts = self._starts[self.base][slot]
        return any(
            self.slots[name][self._slot(name, ts) or 0][1] <= self.clock
            for name, source in self.sources.items()
            if source == self.base
        )

    def _is_gone(self, name: str, ts: int) -> bool:
        n = self._n_evicted[name]
        return n > 0 and ts <= list(self._closed(name).values())[n - 1].ts

    def _is_beyond_repair(self, name: str, slot: int) -> bool:
        # Touching a bar rebuilds the buckets above it; they and their children must be there.
        if not any(self._n_evicted.values()):
            return False
        start = self.slots[name][self._slot(name, self._starts[self.base][slot]) or 0][0]
        return self._is_gone(name, start) or self._is_gone(self.sources[name], start)

    def _let_go(self) -> None:
        if self.capacity is None:
            return
        for name in self.intervals:
            n_closed = len(self._closed(name))
            while self._n_held[name] + self._n_evicted[name] < n_closed:
                self._make_room(name)
                self._n_held[name] += 1

    def _make_room(self, name: str) -> None:
        assert self.capacity is not None
        if self._n_held[name] >= 2 * self.capacity:
            self._n_evicted[name] += self._n_held[name] - self.capacity
            self._n_held[name] = self.capacity

    def _slot(self, interval: str, ts: int) -> int | None:
        name = interval or self.base
        at = bisect_right(self._starts[name], ts) - 1
        return at if at >= 0 and ts < self.slots[name][at][1] else None

    def n_evicted(self, interval: str) -> int:
        return self._n_evicted[interval]

    @property
    def revision(self) -> int:
        """Writes that were not an append (duplicates write nothing)."""
        return self.n_late + self.n_corrected

    @property
    def elapsed(self) -> int:
        """The clock, or the end of the newest base bar when that is later."""
        if not self.bars:
            return self.clock
        return max(self.clock, self.slots[self.base][self.newest][1])

    def base_rows(self) -> list[Row]:
        """The base bars still held, ascending."""
        return self.held(self.base)

    def held(self, interval: str) -> list[Row]:
        """Closed bars of an interval still held, ascending."""
        return self.rows(interval)[self._n_evicted[interval] :]

    def rows(self, interval: str) -> list[Row]:
        """Closed bars of an interval, ascending, evicted ones included."""
        return list(self._closed(interval).values())

    def open_bar(self, interval: str) -> Row | None:
        """What is there of the bucket that has not closed; None when nothing is."""
        if interval == self.base:
            return None
        for start, end in self.slots[interval]:
            if end > self.elapsed:
                source = self.sources[interval]
                parts = [row for row in self.rows(source) if start <= row.ts < end]
                pending = self.open_bar(source)
                if pending is not None and start <= pending.ts < end:
                    parts.append(pending)
                return _merge(start, parts) if parts else None
        return None

    def n_expected(self, interval: str) -> int:
        return sum(end <= self.elapsed for _, end in self.slots[interval])

    def coverage(self, interval: str) -> float | None:
        expected = self.n_expected(interval)
        return len(self._closed(interval)) / expected if expected else None

    def quality(self, interval: str) -> float | None:
        expected = self.n_expected(interval)
        return 100.0 * len(self._closed(interval)) / expected if expected else None

    def gaps(self, interval: str) -> list[tuple[int, int]]:
        """Runs of expected slots without a bar: (label of the first, label of the last)."""
        present = self._closed(interval)
        runs: list[list[int]] = []
        whole = False
        for number in range(self.n_expected(interval)):
            if number in present:
                whole = False
            elif whole:
                runs[-1].append(number)
            else:
                runs.append([number])
                whole = True
        starts = self._starts[interval]
        return [(starts[run[0]], starts[run[-1]]) for run in runs]

    def n_gaps(self, interval: str) -> int:
        return len(self.gaps(interval))

    def n_missing(self, interval: str) -> int:
        return self.n_expected(interval) - len(self._closed(interval))

    @property
    def session_volume(self) -> float:
        """Volumes of the base bars, added from the first to the last."""
        total = 0.0
        for slot in sorted(self.bars):
            total += self.bars[slot][4]
        return total

    @property
    def session_high(self) -> float | None:
        return max((values[1] for values in self.bars.values()), default=None)

    @property
    def session_low(self) -> float | None:
        return min((values[2] for values in self.bars.values()), default=None)

    def _base_row(self, slot: int) -> Row:
        return Row(self._starts[self.base][slot], *self.bars[slot], 1)

    def _closed(self, interval: str) -> dict[int, Row]:
        # By slot number, ascending.
        found = self._folded.get(interval)
        if found is None:
            found = self._folded[interval] = self._fold(interval)
        return found

    def _fold(self, interval: str) -> dict[int, Row]:
        if interval == self.base:
            return {slot: self._base_row(slot) for slot in sorted(self.bars)}
        children: dict[int, list[Row]] = {}
        for row in self._closed(self.sources[interval]).values():
            slot = self._slot(interval, row.ts)
            assert slot is not None
            children.setdefault(slot, []).append(row)
        return {
            slot: _merge(self._starts[interval][slot], rows)
            for slot, rows in children.items()
            if self.slots[interval][slot][1] <= self.elapsed
        }


def _merge(ts: int, rows: Sequence[Row]) -> Row:
    volume = rows[0].volume
    for row in rows[1:]:
        volume += row.volume
    return Row(
        ts,
        rows[0].open,
        max(row.high for row in rows),
        min(row.low for row in rows),
        rows[-1].close,
        volume,
        sum(row.n_base for row in rows),
    )
