"""Days of random work on one root, against a dictionary: records, series, direct writes."""

from __future__ import annotations

from bisect import bisect_right
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openbell.errors import BarRefused, IntervalError, RecordDetached, SessionStateError
from openbell.schema import BAR_DTYPE
from openbell.session import SessionData
from openbell.symbol import BarData, SymbolSessionData
from tests.model import RecordModel, divides, step_of
from tests.strategies import MINUTE, NEW_YORK, SECOND, window_of

Values = tuple[float, float, float, float, float]

DAYS = [
    window_of(("2025-07-02T13:30", "2025-07-02T13:50")),
    window_of(("2025-07-03T01:30", "2025-07-03T01:41"), ("2025-07-03T01:50", "2025-07-03T02:05")),
    window_of(("2025-07-04T13:31", "2025-07-04T13:49"), anchor="clock", timezone=NEW_YORK),
]
SYMBOLS = ["A", "B", "C"]
INTERVALS = ["1s", "30s", "1m", "2m", "3m", "5m", "1d"]
MINUTES = st.integers(0, 40)
PRICES = st.integers(1, 5).map(float)


@cache
def slots_of_day(day: int, name: str) -> tuple[list[int], list[int], dict[int, int]]:
    """Starts and ends of the slots, and their numbers by start."""
    grid = DAYS[day].grid(name)
    starts = grid.starts_ns.tolist()
    return starts, grid.ends_ns.tolist(), {start: i for i, start in enumerate(starts)}


class Book:
    """What one record must hold: the bars of its base, and those written beside it."""

    def __init__(self, base: str, derived: list[str]) -> None:
        self.base = base
        self.folded = set(derived)
        self.rows: dict[str, dict[int, Values]] = {base: {}}
        self.rows.update((name, {}) for name in derived)
        self.rejected: dict[str, int] = {}

    def refuse(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


class Days(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = SessionData()
        self.books: dict[str, Book] = {}
        self.touched: set[str] = set()
        self.day = -1
        self.clock = 0
        self.views: list[tuple[Any, bytes]] = []
        self.gone: list[tuple[SymbolSessionData, dict[str, bytes]]] = []

    @initialize()
    def open_first_day(self) -> None:
        with pytest.raises(SessionStateError):
            self.root.add_bar("A", "1m", bar_of(DAYS[0].open_ns, 1.0))
        self.next_day()

    def next_day(self) -> None:
        self.day = (self.day + 1) % len(DAYS)
        self.root.begin(self.window)
        self.clock = self.window.open_ns
        self.books = {}

    @property
    def window(self) -> Any:
        return DAYS[self.day]

    def slots(self, name: str) -> tuple[list[int], list[int], dict[int, int]]:
        return slots_of_day(self.day, name)

    def label(self, name: str, minute: int) -> int:
        """The slot of an interval `minute` minutes in; often off the end of the day."""
        starts = self.slots(name)[0]
        at = bisect_right(starts, self.window.open_ns + minute * MINUTE) - 1
        return starts[at] if minute < 36 else self.window.close_ns

    @rule(symbol=st.sampled_from(SYMBOLS), base=st.sampled_from(["1s", "1m"]), whole=st.booleans(),
          derived=st.lists(st.sampled_from(INTERVALS[3:]), unique=True))  # fmt: skip
    def register(self, symbol: str, base: str, derived: list[str], whole: bool) -> None:
        record = SymbolSessionData(
            symbol, base_interval=base, derived_intervals=derived,
            meets_session_config_requirements=whole,
        )  # fmt: skip
        if symbol in self.books:
            with pytest.raises(SessionStateError):
                self.root.register_symbol_data(record)
            assert self.root.register_symbol(symbol) is self.root[symbol]
            return
        assert self.root.register_symbol(symbol, record) is record
        self.books[symbol] = Book(base, derived)
        self.touched = {symbol}

    @rule(symbol=st.sampled_from(SYMBOLS), name=st.sampled_from(INTERVALS), minute=MINUTES,
          price=PRICES)  # fmt: skip
    def add_bar(self, symbol: str, name: str, minute: int, price: float) -> None:
        ts = self.label(name, minute)
        wanted = self.expect_bar(symbol, name, ts, price)
        if wanted is None:
            record = self.root.add_bar(symbol, name, bar_of(ts, price))
            assert record is self.root[symbol]
            assert record.bars[name].asof(self.window.close_ns) is not None
        elif wanted == "no divisor":
            with pytest.raises(IntervalError):
                self.root.add_bar(symbol, name, bar_of(ts, price))
        else:
            with pytest.raises(BarRefused, match=wanted):
                self.root.add_bar(symbol, name, bar_of(ts, price))

    def expect_bar(self, symbol: str, name: str, ts: int, price: float) -> str | None:
        outside = ts >= self.window.close_ns
        self.touched = {symbol}
        book = self.books.get(symbol)
        if book is None:
            if outside:
                return "outside_session"
            book = self.books[symbol] = Book(name, [])
        kept = deepcopy(book)
        if name not in book.rows:
            if step_of(name) < step_of(book.base):
                if not divides(name, book.base):
                    return "no divisor"
                # It becomes the base; what was held stays, and is folded from it from now on.
                for other, rows in self.closed_rows(book).items():
                    book.rows[other] = rows
                    if divides(name, other):
                        book.folded.add(other)
                book.base = name
                book.folded |= {book_name for book_name in book.rows if divides(name, book_name)}
            elif divides(book.base, name):
                book.folded.add(name)
            book.rows[name] = {}
        if outside:
            if name not in kept.rows and name not in book.folded:
                # A series of no bars does not stay, nor what it changed.
                book = self.books[symbol] = kept
            book.refuse("outside_session")
            return "outside_session"
        if name in book.folded and self.is_covered(book, name, ts):
            book.refuse("derived_slot")
            return "derived_slot"
        book.rows[name][ts] = values_of(price)
        return None

    def is_covered(self, book: Book, name: str, ts: int) -> bool:
        _, ends, number = self.slots(name)
        end = ends[number[ts]]
        return any(ts <= at < end for at in book.rows[book.base])

    @precondition(lambda self: self.books)
    @rule(data=st.data(), first=MINUTES, count=st.integers(1, 90), price=PRICES,
          how=st.sampled_from(["append", "block", "backwards"]))  # fmt: skip
    def append_base(self, data: Any, first: int, count: int, price: float, how: str) -> None:
        symbol = data.draw(st.sampled_from(sorted(self.books)))
        book, record = self.books[symbol], self.root[symbol]
        self.touched = {symbol}
        starts, _, number = self.slots(book.base)
        at = bisect_right(starts, self.window.open_ns + first * MINUTE) - 1
        labels = [*starts[at : at + count], self.window.close_ns]
        if how == "backwards":
            labels.reverse()
        n_refused = 0
        if how == "append":
            for ts in labels:
                try:
                    record.append(ts, *values_of(price))
                except BarRefused:
                    n_refused += 1
        else:
            bars = np.array([(ts, *values_of(price)) for ts in labels], BAR_DTYPE)
            n_refused = len(bars) - record.append_block(bars)
        assert n_refused == 1
        book.refuse("outside_session")
        book.rows[book.base].update((ts, values_of(price)) for ts in labels if ts in number)

    @rule(seconds=st.sampled_from([0, 1, 30, 61, 300, 700]))
    def advance(self, seconds: int) -> None:
        self.clock = min(self.clock + seconds * SECOND, self.window.close_ns)
        self.root.advance(self.clock)
        self.touched = set(self.books)

    @precondition(lambda self: self.books)
    @rule(data=st.data())
    def remove(self, data: Any) -> None:
        symbol = data.draw(st.sampled_from(sorted(self.books)))
        record = self.root[symbol]
        self.keep(record)
        assert self.root.remove_symbol(symbol)
        assert not self.root.remove_symbol(symbol)
        del self.books[symbol]

    @rule(ended=st.booleans())
    def go_to_next_day(self, ended: bool) -> None:
        if ended:
            self.root.end()
            assert not self.root.session_active
            for record in self.root:
                self.keep(record)
        else:
            with pytest.raises(SessionStateError):
                self.root.begin(self.window)
        self.root.clear()
        assert len(self.root) == 0
        self.next_day()

    @precondition(lambda self: self.books)
    @rule(data=st.data())
    def look(self, data: Any) -> None:
        record = self.root[data.draw(st.sampled_from(sorted(self.books)))]
        for series in record.bars.values():
            self.views.append((series.data, b""))

    def keep(self, record: SymbolSessionData) -> None:
        # Detaching settles by the clock: read first, so that nothing is due.
        self.gone.append((record, {n: s.data.tobytes() for n, s in record.bars.items()}))
        self.views += [(series.data, series.data.tobytes()) for series in record.bars.values()]

    def closed_rows(self, book: Book) -> dict[str, dict[int, Values]]:
        """Every closed bar by interval and label; open buckets that a written bar fills too."""
        model = self.model_of(book)
        held = {}
        for name, written in book.rows.items():
            if name in book.folded:
                rows = {row.ts: row[1:6] for row in model.rows(name)}
                held[name] = {**written, **rows}
            else:
                held[name] = dict(written)
        return held

    def model_of(self, book: Book) -> RecordModel:
        model = RecordModel(
            self.window.segments, book.base, book.folded, self.window.anchor, self.window.timezone
        )
        model.append_block((ts, *book.rows[book.base][ts]) for ts in sorted(book.rows[book.base]))
        model.advance(self.clock)
        return model

    @invariant()
    def records_are_what_was_given(self) -> None:
        if self.day < 0:
            return
        assert self.root.get_active_symbols() == set(self.books)
        assert self.root.now_ns == self.clock
        for symbol in self.touched & set(self.books):
            self.check(self.root[symbol], self.books[symbol])
        self.touched = set()

    def check(self, record: SymbolSessionData, book: Book) -> None:
        assert record.base_interval == book.base
        assert set(record.bars) == set(book.rows)
        assert set(record.derived_intervals) == book.folded
        assert list(record.bars) == sorted(record.bars, key=step_of)
        assert record.rejected == book.rejected
        assert not (record.auto_provisioned and record.meets_session_config_requirements)
        assert record.auto_provisioned == (record.added_by == "adhoc")
        model = self.model_of(book)
        for name, rows in self.closed_rows(book).items():
            series = record.bars[name]
            data = series.data
            labels = data["timestamp"].tolist()
            assert labels == sorted(rows)
            for field, values in zip(BAR_DTYPE.names[1:], zip(*[rows[ts] for ts in labels],
                                     strict=True), strict=bool(labels)):  # fmt: skip
                np.testing.assert_allclose(data[field], values, rtol=1e-9)
            if series.derived:
                folded = {row.ts: row.n_base for row in model.rows(name)}
                assert series.n_base.tolist() == [folded.get(ts, 0) for ts in labels]
            else:
                assert series.n_base is None
            self.check_gaps(series, set(labels), model.elapsed if book.rows[book.base] else 0)

    def check_gaps(self, series: Any, present: set[int], base_elapsed: int) -> None:
        starts, ends, number = self.slots(series.interval)
        elapsed = max([self.clock, *(ends[number[ts]] for ts in present)])
        if series.derived or series.is_base:
            elapsed = max(elapsed, base_elapsed)
        expected = starts[: bisect_right(ends, elapsed)]
        n_missing = len(set(expected) - present)
        gaps = series.gaps
        assert (series.n_expected, series.n_missing) == (len(expected), n_missing)
        assert len(gaps) == series.n_gaps
        assert sum(gap.bar_count for gap in gaps) == n_missing
        for gap in gaps:
            assert gap.start_ns not in present
            first = number[gap.start_ns]
            assert present.isdisjoint(starts[first : first + gap.bar_count])
        assert series.quality == (
            100.0 * (len(expected) - n_missing) / len(expected) if expected else None
        )

    @invariant()
    def what_is_gone_stays_as_it_was(self) -> None:
        for view, was in self.views[-8:]:
            assert not view.flags.writeable
            assert not was or view.tobytes() == was
            labels = view["timestamp"].tolist()
            assert labels == sorted(set(labels))
        for record, was in self.gone[-3:]:
            assert not record.is_attached
            assert {n: s.data.tobytes() for n, s in record.bars.items()} == was
            with pytest.raises(RecordDetached):
                record.append(self.window.open_ns, *values_of(1.0))

    def teardown(self) -> None:
        self.root.clear()


def values_of(price: float) -> Values:
    return price, price + 0.5, price - 0.5, price + 0.25, 2.0 * price


def bar_of(ts_ns: int, price: float) -> BarData:
    return BarData(ts_ns, *values_of(price))


TestDays = Days.TestCase
TestDays.settings = settings(stateful_step_count=40)
