"""A session's day in dictionaries: what must be there after each call, and who must be told.

Records are dicts of labels to values; everything else is worked out of them when it is asked
for.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import Any, NamedTuple

from openbell.clock.window import SessionWindow
from tests.model import divides, slots_of, step_of

Values = tuple[float, float, float, float, float]
Rows = dict[int, Values]
#: Bars by day, interval and symbol, as a dataset holds them.
Dataset = Mapping[date, Mapping[str, Mapping[str, Rows]]]


class Told(NamedTuple):
    """One call of a subscriber."""

    subscriber: str
    now_ns: int
    symbol: str
    interval: str
    label: int
    values: Values
    is_correction: bool


class Slots:
    """The slots of one interval in a day."""

    def __init__(self, window: SessionWindow, interval: str) -> None:
        slots = slots_of(window.segments, interval, window.anchor, window.timezone)
        self.starts = [start for start, _ in slots]
        self.ends = [end for _, end in slots]
        self.end_of = dict(slots)


@cache
def slots(window: SessionWindow, interval: str) -> Slots:
    return Slots(window, interval)


@dataclass
class Seen:
    """How far a series was told, and what it looked like then."""

    label: int
    rows: Rows


@dataclass
class Average:
    """A simple moving average of closes, and the closes of past sessions that come before."""

    interval: str
    period: int
    past: list[float]


@dataclass
class Book:
    """One record."""

    symbol: str
    base: str
    added_by: str
    added_ns: int | None
    folded: set[str]
    rows: dict[str, Rows]
    is_loaded: bool = False
    meets: bool = False
    is_provisioned: bool = False
    is_upgraded: bool = False
    is_fed: bool = False
    is_streamed: bool = False
    is_known: bool = False
    waiting: Rows = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)
    averages: dict[str, Average] = field(default_factory=dict)
    history: dict[str, list[float]] = field(default_factory=dict)
    seen: dict[str, Seen] = field(default_factory=dict)

    def refuse(self, reason: str) -> str:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1
        return reason

    def become(self, base: str, derived: Iterable[str], clock: int, window: SessionWindow) -> None:
        """Fold from another base; nothing that is held is lost."""
        if base != self.base:
            self.rows = closed_rows(self, clock, window)
        self.rows.setdefault(base, {})
        for name in derived:
            self.rows.setdefault(name, {})
        self.base = base
        self.folded = {name for name in self.rows if divides(base, name)}


class Request(NamedTuple):
    """What waits for the end of the slice."""

    symbol: str
    asked_ns: int
    added_by: str
    average: tuple[str, Average] | None


def elapsed_of(book: Book, clock: int, window: SessionWindow) -> int:
    """The clock, or the end of the newest base bar when that is later."""
    end_of = slots(window, book.base).end_of
    return max([clock, *(end_of[label] for label in book.rows[book.base])])


def folded_rows(
    book: Book, clock: int, window: SessionWindow
) -> dict[str, dict[int, tuple[Values, int]]]:
    """The closed bars of each derived series, and how many base bars are in them."""
    elapsed = elapsed_of(book, clock, window)
    base = sorted(book.rows[book.base].items())
    found: dict[str, dict[int, tuple[Values, int]]] = {}
    for name in book.folded:
        table = slots(window, name)
        parts: dict[int, list[Values]] = {}
        for label, values in base:
            at = bisect_right(table.starts, label) - 1
            if table.ends[at] <= elapsed:
                parts.setdefault(table.starts[at], []).append(values)
        found[name] = {label: (_fold(rows), len(rows)) for label, rows in parts.items()}
    return found


def _fold(rows: Sequence[Values]) -> Values:
    opens, highs, lows, closes, volumes = zip(*rows, strict=True)
    return opens[0], max(highs), min(lows), closes[-1], sum(volumes)


def closed_rows(book: Book, clock: int, window: SessionWindow) -> dict[str, Rows]:
    """What each series shows; a bar written to a derived one is there while no base bar is."""
    folded = folded_rows(book, clock, window)
    return {
        name: {**written, **{label: row for label, (row, _) in folded.get(name, {}).items()}}
        for name, written in book.rows.items()
    }


def why_not(window: SessionWindow, interval: str, label: int, values: Values) -> str | None:
    o, h, low, c, v = values
    if not all(map(math.isfinite, values)):
        return "not_finite"
    if h < low:
        return "high_below_low"
    if max(o, c) > h or min(o, c) < low:
        return "outside_range"
    if v < 0:
        return "negative_volume"
    if not window.open_ns <= label < window.close_ns:
        return "outside_session"
    return None if label in slots(window, interval).end_of else "off_grid"


class DayModel:
    """One day of a session.

    Parameters
    ----------
    window : SessionWindow
    data : Dataset
    streams : sequence of str
        What the config asks for.
    damaged : set of (str, str)
        Interval and symbol of blocks that cannot be read.
    averages : mapping
        Those of the config.
    subscribers : mapping of str to (str, bool)
        By name: the interval, and whether corrections are wanted too.
    """

    def __init__(
        self,
        window: SessionWindow,
        data: Dataset,
        streams: Sequence[str],
        damaged: set[tuple[str, str]],
        averages: Mapping[str, Average],
        subscribers: Mapping[str, tuple[str, bool]],
    ) -> None:
        self.window = window
        self.data = data
        self.streams = streams
        self.damaged = damaged
        self.averages = averages
        self.subscribers = subscribers
        self.clock = self.looked = window.open_ns
        self.books: dict[str, Book] = {}
        self.requests: list[Request] = []
        self.told: list[Told] = []
        self.loaded: list[str] = []

    # What the dataset holds

    def held(self, symbol: str, day: date | None = None) -> list[str]:
        """Intervals with bars of a symbol, on one day or on any."""
        days = self.data.values() if day is None else [self.data[day]]
        names = {name for by_name in days for name, by in by_name.items() if symbol in by}
        return sorted(names, key=step_of)

    def plan(self, symbol: str) -> str | None:
        """The smallest interval of today that gives all the streams."""
        for name in self.held(symbol, self.window.date):
            if all(name == other or divides(name, other) for other in self.streams):
                return name
        return None

    def source_of(self, symbol: str, interval: str) -> str | None:
        """What an adhoc interval is read from: the longest held that gives it, if today has it."""
        names = [n for n in self.held(symbol) if n == interval or divides(n, interval)]
        today = self.held(symbol, self.window.date)
        return names[-1] if names and names[-1] in today else None

    def bars(self, symbol: str, interval: str) -> Rows | None:
        if (interval, symbol) in self.damaged:
            return None
        return self.data[self.window.date][interval][symbol]

    # Asking

    @property
    def pending(self) -> dict[str, int]:
        return {request.symbol: request.asked_ns for request in reversed(self.requests)}

    def add_config(self, symbols: Iterable[str]) -> None:
        for symbol in symbols:
            base = self.plan(symbol)
            if base is not None and self.bars(symbol, base) is not None:
                self._load(symbol, base, "config", None)

    def add_symbol(self, symbol: str, added_by: str) -> bool:
        book = self.books.get(symbol)
        if book is not None and book.meets:
            return True
        if any(r.symbol == symbol and r.average is None for r in self.requests):
            return True
        if self.plan(symbol) is None:
            return False
        self.requests.append(Request(symbol, self.clock, added_by, None))
        return True

    def remove_symbol(self, symbol: str) -> bool:
        left = [request for request in self.requests if request.symbol != symbol]
        was_pending = left != self.requests
        self.requests = left
        return self.books.pop(symbol, None) is not None or was_pending

    def add_average(self, symbol: str, name: str, average: Average) -> bool:
        book = self.books.get(symbol)
        is_had = book is not None and (
            average.interval in book.rows or divides(book.base, average.interval)
        )
        if book is None or not book.is_streamed:
            is_had = is_had or self.source_of(symbol, average.interval) is not None
        if not is_had:
            return False
        if book is not None and name in book.averages:
            held = book.averages[name]
            return (held.interval, held.period) == (average.interval, average.period)
        waiting = [r.average for r in self.requests if r.symbol == symbol and r.average]
        if any(other[0] == name and other[1] != average for other in waiting):
            return False
        if not waiting:
            self.requests.append(Request(symbol, self.clock, "adhoc", (name, average)))
        return True

    def add_bar(
        self, symbol: str, interval: str, label: int, values: Values, *, checked: bool
    ) -> str | None:
        """Store a bar of any interval; why not, when it is refused.

        `checked` is of the session, which asks whether there is such a symbol; the root does not.
        """
        refusal = why_not(self.window, interval, label, values)
        book = self.books.get(symbol)
        if book is None:
            if checked and self.source_of(symbol, interval) is None:
                return "no source"
            if refusal is not None:
                return refusal
            book = Book(symbol, interval, "adhoc", self.clock, set(), {interval: {}})
            book.is_provisioned = True
            self.books[symbol] = book
        kept = deepcopy(book)
        if interval not in book.rows:
            base = book.base
            if step_of(interval) < step_of(base):
                if not divides(interval, base):
                    return "no divisor"
                if book.waiting:
                    return "replayed"
                base = interval
            book.become(base, [interval], self.clock, self.window)
        if refusal is not None:
            if interval not in kept.rows and interval not in book.folded:
                # A series of no bars does not stay, nor what it changed.
                book = self.books[symbol] = kept
            return book.refuse(refusal)
        if interval in book.folded:
            end = slots(self.window, interval).end_of[label]
            if any(label <= ts < end for ts in book.rows[book.base]):
                return book.refuse("derived_slot")
        book.rows[interval][label] = values
        return None

    def append(self, symbol: str, bars: Sequence[tuple[int, Values]]) -> int:
        """Base bars of a record, in the order received; how many were taken."""
        book = self.books[symbol]
        n_taken = 0
        for label, values in bars:
            refusal = why_not(self.window, book.base, label, values)
            if refusal is not None:
                book.refuse(refusal)
            else:
                book.rows[book.base][label] = values
                n_taken += 1
        return n_taken

    # Between two slices

    def turn(self) -> None:
        """Load what waits, then take note of records and series that are there for the first
        time."""
        for request in self.requests:
            if request.average is None:
                self._load_request(request)
            else:
                self._load_average(request, *request.average)
        self.requests = []
        for book in self.books.values():
            for interval in self.watched:
                if interval in book.rows and interval not in book.seen:
                    book.seen[interval] = self._joined(book, interval)
            book.is_known = True

    def _joined(self, book: Book, interval: str) -> Seen:
        """A series that a record has got: bars written to it are told, those folded before not."""
        shown = closed_rows(book, self.clock, self.window)[interval]
        folded: Iterable[int] = ()
        if book.is_known and interval in book.folded:
            folded = folded_rows(book, self.clock, self.window)[interval]
        return Seen(max(self._ended(interval, folded), default=-1), shown)

    @property
    def watched(self) -> set[str]:
        """Intervals that somebody subscribed to."""
        return {interval for interval, _ in self.subscribers.values()}

    def _load_request(self, request: Request) -> None:
        base = self.plan(request.symbol)
        assert base is not None
        if self.bars(request.symbol, base) is not None:
            self._load(request.symbol, base, request.added_by, request.asked_ns)

    def _load(self, symbol: str, base: str, added_by: str, asked_ns: int | None) -> None:
        book = self.books.get(symbol)
        if book is None:
            names = [base, *self.streams]
            book = Book(symbol, base, added_by, asked_ns, set(), {name: {} for name in names})
            self.books[symbol] = book
        else:
            book.is_upgraded = True
            book.added_by = added_by
        book.become(base, self.streams, self.clock, self.window)
        self._feed(book, base)
        book.meets = book.is_loaded = True
        for name, average in self.averages.items():
            # Seeded from the history there is, whatever it was loaded for.
            past = book.history.get(average.interval, [])
            book.averages[name] = Average(average.interval, average.period, past)
        self.loaded.append(symbol)

    def _load_average(self, request: Request, name: str, average: Average) -> None:
        symbol, interval = request.symbol, average.interval
        book = self.books.get(symbol)
        base = self.source_of(symbol, interval)
        if book is None:
            if base is None or self.bars(symbol, base) is None:
                return
            book = Book(symbol, base, "adhoc", request.asked_ns, set(), {base: {}, interval: {}})
            book.is_provisioned = True
            self.books[symbol] = book
        if not book.is_streamed and base is not None:
            # One of adhoc bars alone gets those of the day.
            book.become(base, [interval], self.clock, self.window)
            self._feed(book, base)
        elif interval not in book.rows:
            if not divides(book.base, interval):
                return
            book.become(book.base, [interval], self.clock, self.window)
        book.averages[name] = average
        book.history[interval] = average.past

    def _feed(self, book: Book, base: str) -> None:
        bars = self.bars(book.symbol, base)
        assert bars is not None
        book.waiting = dict(bars)
        book.is_fed = book.is_streamed = True
        self._admit(book)
        # The bars of the morning are not told.
        book.is_known = True
        book.seen = {name: self._seen(book, name) for name in book.rows if name in self.watched}

    def _seen(self, book: Book, interval: str) -> Seen:
        rows = closed_rows(book, self.clock, self.window)[interval]
        return Seen(max(self._ended(interval, rows), default=-1), rows)

    def _ended(self, interval: str, rows: Iterable[int]) -> list[int]:
        end_of = slots(self.window, interval).end_of
        return [label for label in rows if end_of[label] <= self.clock]

    def _admit(self, book: Book) -> None:
        if book.waiting:
            for label in self._ended(book.base, book.waiting):
                book.rows[book.base][label] = book.waiting.pop(label)

    # Time

    @property
    def next_arrival(self) -> int | None:
        """Where the next bar of the data ends; None when none is left."""
        return min((end for end, _ in self._arrivals()), default=None)

    def _arrivals(self) -> list[tuple[int, str]]:
        return [
            (slots(self.window, book.base).end_of[min(book.waiting)], symbol)
            for symbol, book in self.books.items()
            if book.waiting
        ]

    def step(self) -> tuple[int, list[str]] | None:
        """Go to the next instant at which a base bar of the data ends; None at the close."""
        self.turn()
        arrivals = self._arrivals()
        stop = min((end for end, _ in arrivals), default=self.window.close_ns)
        first = min([stop, *self._next_closings()])
        seen_ns = max(self.clock, first)
        self._go_to(first, seen_ns)
        if first < stop:
            # Nobody interferes before the next slice: each bar is told when it ends.
            self._go_to(stop, seen_ns)
        return (stop, sorted(s for end, s in arrivals if end == stop)) if arrivals else None

    def _next_closings(self) -> Iterable[int]:
        for interval in self.watched:
            ends = slots(self.window, interval).ends
            at = bisect_right(ends, self.looked)
            yield from ends[at : at + 1]

    def _go_to(self, now_ns: int, seen_ns: int) -> None:
        """Look at what has ended by an instant; the clock stood at `seen_ns` at the first look."""
        self.looked = now_ns
        self.clock = max(self.clock, now_ns)
        corrected: list[tuple[Any, ...]] = []
        closed: list[tuple[Any, ...]] = []
        for book in self.books.values():
            self._admit(book)
            if not book.seen:
                continue
            shown = closed_rows(book, self.clock, self.window)
            for interval, seen in book.seen.items():
                rows = shown[interval]
                place = step_of(interval), book.symbol, interval
                changed = [
                    label
                    for label, values in rows.items()
                    if label <= seen.label and seen.rows.get(label) != values
                ]
                if changed:
                    at = min(changed)
                    corrected.append((0, *place, seen_ns, at, rows[at], True))
                end_of = slots(self.window, interval).end_of
                fresh = [n for n in sorted(rows) if n > seen.label and end_of[n] <= now_ns]
                for label in fresh:
                    at_ns = max(end_of[label], seen_ns)
                    closed.append((end_of[label], *place, at_ns, label, rows[label], False))
                book.seen[interval] = Seen(max([seen.label, *fresh]), rows)
        for _, _, symbol, interval, at_ns, label, values, is_correction in [
            *sorted(corrected), *sorted(closed)
        ]:  # fmt: skip
            for name, (watched, wants_corrections) in self.subscribers.items():
                if watched == interval and (wants_corrections or not is_correction):
                    self.told.append(
                        Told(name, at_ns, symbol, interval, label, values, is_correction)
                    )
