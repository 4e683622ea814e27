"""Days of a session in random hands, against dictionaries: symbols, bars, flags, who is told."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

import openbell as ob
from openbell.errors import BarRefused, IntervalError, RecordDetached, SessionStateError
from openbell.provenance import RULES, check_provenance
from openbell.schema import BAR_DTYPE, to_datetime
from tests.lifecycle_days import bars_at, config_of, damage_pages, tree, write_days
from tests.lifecycle_model import (
    Average,
    Book,
    Dataset,
    DayModel,
    Told,
    Values,
    closed_rows,
    elapsed_of,
    folded_rows,
    slots,
)
from tests.model import SECOND, step_of

EVE = date(2025, 6, 30)
DAYS = [date(2025, 7, 1), date(2025, 7, 2), date(2025, 7, 3)]
HOURS = [["09:30", "09:50"]]
CLOCK = ob.TimeManager("XNYS", hours=HOURS)
WINDOWS = {day: CLOCK.session_window(day) for day in [EVE, *DAYS]}
STREAMS = ["1m", "5m"]
#: SEC and MIN are configured; GAP too, but has no bars of the second day, and BAD, whose seconds
#: cannot be read. XTR and MNX come by request. Nobody knows NOPE.
CONFIGURED = ["SEC", "MIN", "GAP", "BAD"]
SYMBOLS = [*CONFIGURED, "XTR", "MNX", "NOPE"]
MINUTELY = ["MIN", "MNX"]
DAMAGED = {("1s", "BAD")}
TREND = Average("1m", 3, [])
INTERVALS = ["1s", "30s", "1m", "2m", "5m"]

symbols = st.sampled_from(SYMBOLS)
intervals = st.sampled_from(INTERVALS)
#: Minutes before now (after it when negative), and how to spoil a bar.
places = st.one_of(st.integers(-1, 2), st.integers(-6, 19))
defects = st.one_of(
    st.none(),
    st.none(),
    st.sampled_from(["not_finite", "high_below_low", "outside_range", "negative_volume",
                     "off_grid", "outside_session"]),
)  # fmt: skip


def make_bars(day: date) -> dict[str, dict[str, np.ndarray]]:
    """Sparse seconds, and minutes that are not what the seconds add up to."""
    rng = np.random.default_rng(day.toordinal())
    window = WINDOWS[day]
    found: dict[str, dict[str, np.ndarray]] = {"1s": {}, "1m": {}}
    for n, symbol in enumerate(SYMBOLS[:-1]):
        if symbol == "GAP" and day == DAYS[1]:
            continue
        if symbol not in MINUTELY:
            seconds = [*range(85, 95), *rng.integers(0, 1200, 30).tolist()]
            found["1s"][symbol] = bars_at(window, "1s", seconds, 100.0 * (n + 1))
        minutes = rng.permutation(20)[:14].tolist()
        found["1m"][symbol] = bars_at(window, "1m", minutes, 100.0 * (n + 1) + 50)
    return found


ARRAYS = {day: make_bars(day) for day in WINDOWS}
DATA: Dataset = {
    day: {
        interval: {
            symbol: {row[0]: row[1:] for row in bars.tolist()} for symbol, bars in records.items()
        }
        for interval, records in found.items()
    }
    for day, found in ARRAYS.items()
}


def past_closes(symbol: str, interval: str, day: date) -> list[float]:
    """Closes of the trading day before, folded from minutes."""
    before = max(other for other in WINDOWS if other < day)
    rows = {interval: {}} | {"1m": DATA[before]["1m"].get(symbol, {})}
    book = Book(symbol, "1m", "adhoc", None, {interval} - {"1m"}, rows)
    shown = closed_rows(book, WINDOWS[before].close_ns, WINDOWS[before])[interval]
    return [shown[label][3] for label in sorted(shown)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_days(tmp_path_factory.mktemp("dataset"), ARRAYS)
    for day in DAYS:
        damage_pages(made / f"bars/interval=1s/date={day}.parquet", "BAD")
    return made


def open_session(folder: Path) -> ob.SessionCoordinator:
    config = config_of(folder, DAYS, CONFIGURED, STREAMS, hours=HOURS)
    trend = {"name": "trend", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 3}}
    return ob.open_session(config | {"indicators": [trend]})


class Life(RuleBasedStateMachine):
    folder: Path

    @initialize(
        watched=st.lists(st.tuples(st.sampled_from(["1s", "1m", "5m"]), st.booleans()),
                         unique=True, max_size=4)
    )  # fmt: skip
    def open(self, watched: list[tuple[str, bool]]) -> None:
        self.session = open_session(self.folder)
        self.root = self.session.root
        self.told: list[Told] = []
        self.loaded: list[str] = []
        self.subscribers = {f"{name} {corrections}": (name, corrections)
                            for name, corrections in watched}  # fmt: skip
        for name, (interval, corrections) in self.subscribers.items():
            self.session.on_close(interval, self.hear(name), corrections=corrections)
        self.session.on_loaded(self.hear_loaded)
        self.days = self.session.days()
        self.gone: list[tuple[ob.SymbolSessionData, dict[str, list[int]]]] = []
        self.n_written = 0
        self.touched: set[str] = set()
        self.go_to_next_day()

    def hear(self, name: str) -> Any:
        def on_close(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
            values = (bar.open, bar.high, bar.low, bar.close, bar.volume)
            assert rec.symbol == bar.symbol
            self.told.append(
                Told(name, self.root.now_ns, bar.symbol, bar.interval, bar.ts_ns, values,
                     bar.is_correction)
            )  # fmt: skip

        return on_close

    def hear_loaded(self, rec: ob.SymbolSessionData) -> None:
        assert rec.is_loaded
        assert rec.meets_session_config_requirements
        assert check_provenance(rec) == []
        self.loaded.append(rec.symbol)

    def go_to_next_day(self) -> None:
        self.loaded.clear()
        day = next(self.days, None)
        if day is None:
            self.check_ended()
            self.days = self.session.days()
            day = next(self.days)
        self.day = day
        self.slices: Iterator[Any] = iter(())
        self.model = DayModel(
            WINDOWS[day.date], DATA, STREAMS, DAMAGED, {"trend": TREND}, self.subscribers
        )
        self.model.add_config(CONFIGURED)
        self.told.clear()
        self.touched = set(self.model.books)
        assert day.window.open_ns == self.model.clock == self.root.now_ns
        assert not self.session.pending
        assert {n for n, r in self.session.results.items() if r.can_proceed} == set(
            self.model.books
        )
        for rec in self.root:
            assert {n: len(s) for n, s in rec.bars.items()} == dict.fromkeys(rec.bars, 0)
            assert not rec.historical_bars
            assert list(rec.indicators) == ["trend"]

    @property
    def window(self) -> ob.SessionWindow:
        return self.model.window

    # Time

    def step(self) -> bool:
        found = next(self.slices, None)
        if found is None:
            # Asked for again, a day goes on from where it is.
            self.slices = self.day.slices()
            found = next(self.slices, None)
        expected = self.model.step()
        self.touched = set(self.model.books)
        if found is None:
            assert expected is None
            return False
        assert expected == (found[0], sorted(rec.symbol for rec in found[1]))
        assert self.root.now_ns == found[0]
        return True

    @rule(n=st.sampled_from([1, 1, 2, 5, 20]))
    def go_on(self, n: int) -> None:
        for _ in range(n):
            if not self.step():
                break

    @rule(seconds=st.integers(0, 90))
    def move_the_clock(self, seconds: int) -> None:
        """Time passes although nothing trades; not beyond what the data brings next."""
        end = self.model.next_arrival or self.window.close_ns
        self.model.clock = max(self.model.clock, min(self.model.clock + seconds * SECOND, end - 1))
        self.root.advance(self.model.clock)
        self.touched = set(self.model.books)

    @rule(minutes=st.integers(1, 12))
    def advance(self, minutes: int) -> None:
        until = self.model.clock + minutes * 60 * SECOND
        while self.model.clock < until and self.step():
            pass

    @rule()
    def run_to_the_close(self) -> None:
        self.day.run()
        while self.model.step() is not None:
            pass
        self.touched = set(self.model.books)

    @rule()
    def go_to_another_day(self) -> None:
        for rec in list(self.root)[:2]:
            # The day ends at its close, whether or not it was replayed till then.
            self.keep(rec, self.window.close_ns)
        left = self.slices
        self.go_to_next_day()
        assert next(left, None) is None

    def check_ended(self) -> None:
        """The last day is over: readable to its close, and closed to what is new."""
        assert self.session.phase == "ended"
        assert self.root.now_ns == self.window.close_ns
        assert not self.session.pending
        assert not any(self.root.active_streams.values())
        assert self.root.get_active_symbols() == set(self.model.books)
        bar, _, _ = self.bar("1m", 0)
        for symbol in SYMBOLS:
            book = self.model.books.get(symbol)
            assert self.session.add_symbol(symbol) is (book is not None and book.meets)
            assert not self.session.add_adhoc_bar(symbol, "1m", bar)
        assert not self.session.pending

    # Symbols

    @rule(symbol=symbols, added_by=st.sampled_from(["strategy", "scanner"]))
    def add_symbol(self, symbol: str, added_by: Any) -> None:
        was_asked = symbol in self.model.books or symbol in self.model.pending
        expected = self.model.add_symbol(symbol, added_by)
        assert self.session.add_symbol(symbol, added_by) is expected
        self.touched = {symbol}
        if not was_asked:
            assert self.session.results[symbol].can_proceed is expected
            assert (self.session.results[symbol].reason == "") is expected

    @rule(symbol=symbols)
    def remove_symbol(self, symbol: str) -> None:
        rec = self.root.get_symbol_data(symbol)
        if rec is not None:
            self.keep(rec, self.model.clock)
        assert self.session.remove_symbol(symbol) is self.model.remove_symbol(symbol)
        assert symbol not in self.root
        assert symbol not in self.session.pending
        assert not self.root.is_stream_active(symbol, "bars")

    @rule(symbol=symbols, interval=st.sampled_from(["1m", "5m"]))
    def add_adhoc_indicator(self, symbol: str, interval: str) -> None:
        average = Average(interval, 2, past_closes(symbol, interval, self.window.date))
        config = {"name": "fast", "type": "SMA", "interval": interval,
                  "parameters": {"timeperiod": 2}}  # fmt: skip
        expected = self.model.add_average(symbol, "fast", average)
        assert self.session.add_adhoc_indicator(symbol, config) is expected
        self.touched = {symbol}

    # Bars

    def bar(self, interval: str, place: int, defect: str | None = None) -> tuple[Any, int, Values]:
        """A bar of values never seen before; its slot is so many minutes ago."""
        self.n_written += 1
        price = 10.0 + self.n_written / 8
        values = [price, price + 0.5, price - 0.5, price + 0.25, 1000.0 + self.n_written**2]
        starts = slots(self.window, interval).starts
        wanted = self.model.clock - place * 60 * SECOND
        label = max([start for start in starts if start <= wanted], default=starts[0])
        if defect == "not_finite":
            values[self.n_written % 5] = [np.nan, np.inf, -np.inf][self.n_written % 3]
        elif defect == "high_below_low":
            values[1] = price - 1.0
        elif defect == "outside_range":
            values[3] = price + 0.75
        elif defect == "negative_volume":
            values[4] = -1.0
        elif defect == "off_grid":
            label += SECOND // 2
        elif defect == "outside_session":
            label = self.window.close_ns
        kept = tuple(values)
        return ob.BarData(label, *kept), label, kept  # type: ignore[return-value]

    @rule(symbol=symbols, interval=intervals, place=places, defect=defects)
    def add_adhoc_bar(self, symbol: str, interval: str, place: int, defect: str | None) -> None:
        bar, label, values = self.bar(interval, place, defect)
        refusal = self.model.add_bar(symbol, interval, label, values, checked=True)
        assert self.session.add_adhoc_bar(symbol, interval, bar) is (refusal is None)
        self.touched = {symbol}

    @rule(symbol=symbols, interval=intervals, place=places, defect=defects)
    def add_bar_to_root(self, symbol: str, interval: str, place: int, defect: str | None) -> None:
        bar, label, values = self.bar(interval, place, defect)
        refusal = self.model.add_bar(symbol, interval, label, values, checked=False)
        self.touched = {symbol}
        if refusal is None:
            assert self.root.add_bar(symbol, interval, bar) is self.root[symbol]
            return
        kind = {"no divisor": IntervalError, "replayed": SessionStateError}.get(refusal, BarRefused)
        with pytest.raises(kind) as refused:
            self.root.add_bar(symbol, interval, bar)
        assert getattr(refused.value, "reason", refusal) == refusal or kind is not BarRefused

    @precondition(lambda self: self.model.books)
    @rule(data=st.data(), place=places, n=st.integers(1, 4), defect=defects)
    def append(self, data: Any, place: int, n: int, defect: str | None) -> None:
        symbol = data.draw(st.sampled_from(sorted(self.model.books)))
        base = self.root[symbol].base_interval
        made = [self.bar(base, place - i, defect if i == 0 else None)[1:] for i in range(n)]
        if data.draw(st.booleans()):
            bars = np.array([(label, *values) for label, values in made], BAR_DTYPE)
            assert self.root[symbol].append_block(bars) == self.model.append(symbol, made)
        else:
            for label, values in made:
                if self.model.append(symbol, [(label, values)]):
                    self.root[symbol].append(label, *values)
                else:
                    with pytest.raises(BarRefused):
                        self.root[symbol].append(label, *values)
        self.touched = {symbol}

    @precondition(lambda self: self.model.books)
    @rule(data=st.data(), interval=intervals)
    def add_bar_again(self, data: Any, interval: str) -> None:
        """The same bar, received twice."""
        symbol = data.draw(st.sampled_from(sorted(self.model.books)))
        rec = self.root[symbol]
        last = rec.bars[rec.base_interval].last
        if last is not None:
            n_before = rec.n_duplicate
            assert self.session.add_adhoc_bar(symbol, rec.base_interval, last)
            assert rec.n_duplicate == n_before + 1
        self.touched = {symbol}

    def keep(self, rec: ob.SymbolSessionData, clock: int) -> None:
        shown = closed_rows(self.model.books[rec.symbol], clock, self.window)
        self.gone.append((rec, {name: sorted(rows) for name, rows in shown.items()}))

    # What must be so

    @invariant()
    def symbols_are_those_of_the_model(self) -> None:
        model, session = self.model, self.session
        assert self.root.get_active_symbols() == set(model.books)
        assert session.get_loaded_symbols() == {s for s, b in model.books.items() if b.is_loaded}
        assert session.pending == {s: to_datetime(at) for s, at in model.pending.items()}
        assert self.root.now_ns == model.clock
        assert session.time_manager.now_ns == model.clock
        assert {symbol for symbol, _ in self.root.active_streams} == {
            symbol for symbol, book in model.books.items() if book.is_streamed
        }
        for told, expected in zip(self.told, model.told, strict=False):
            assert told == expected
        assert len(self.told) == len(model.told)
        assert sorted(self.loaded) == sorted(model.loaded)
        for symbol in self.touched & set(model.books):
            self.check(self.root[symbol], model.books[symbol])
        self.touched = set()

    @invariant()
    def provenance_obeys_the_rules(self) -> None:
        for rec in self.root:
            assert [rule.name for rule in RULES if not rule.holds(rec)] == []
            book = self.model.books[rec.symbol]
            added_at = None if book.added_ns is None else to_datetime(book.added_ns)
            assert (rec.is_loaded, rec.meets_session_config_requirements, rec.added_by,
                    rec.auto_provisioned, rec.added_at, rec.upgraded_from_adhoc) == (
                book.is_loaded, book.meets, book.added_by, book.is_provisioned, added_at,
                book.is_upgraded,
            )  # fmt: skip

    @invariant()
    def what_is_gone_stays_as_it_was(self) -> None:
        for rec, was in self.gone[-3:]:
            if self.root.get_symbol_data(rec.symbol) is rec:
                continue
            assert not rec.is_attached
            assert {n: s.timestamp(len(s)).tolist() for n, s in rec.bars.items()} == was
            with pytest.raises(RecordDetached):
                rec.append(self.window.open_ns, 1.0, 1.0, 1.0, 1.0, 1.0)

    def check(self, rec: ob.SymbolSessionData, book: Book) -> None:
        assert rec.base_interval == book.base
        assert list(rec.bars) == sorted(book.rows, key=step_of)
        assert set(rec.derived_intervals) == book.folded
        assert rec.rejected == book.rejected
        assert rec.n_waiting == len(book.waiting)
        assert rec.errors == []
        folded = folded_rows(book, self.model.clock, self.window)
        shown = closed_rows(book, self.model.clock, self.window)
        for name, rows in shown.items():
            series = rec.bars[name]
            labels = sorted(rows)
            assert series.data["timestamp"].tolist() == labels
            wanted = np.array([(label, *rows[label]) for label in labels], BAR_DTYPE)
            for price in ("open", "high", "low", "close"):
                assert series.data[price].tobytes() == wanted[price].tobytes()
            np.testing.assert_allclose(series.data["volume"], wanted["volume"], rtol=1e-9)
            if series.derived:
                counts = {label: n for label, (_, n) in folded[name].items()}
                assert series.n_base.tolist() == [counts.get(label, 0) for label in labels]
            else:
                assert series.n_base is None
            self.check_gaps(series, set(labels), elapsed_of(book, self.model.clock, self.window))
        assert set(rec.indicators) == set(book.averages)
        for name, average in book.averages.items():
            rows = shown[average.interval]
            closes = [*average.past, *(rows[label][3] for label in sorted(rows))]
            value = rec.indicators[name].value
            if len(closes) < average.period:
                assert value is None
            else:
                assert value == pytest.approx(np.mean(closes[-average.period :]), rel=1e-9)

    def check_gaps(self, series: Any, present: set[int], elapsed: int) -> None:
        table = slots(self.window, series.interval)
        if not series.derived and not series.is_base:
            elapsed = self.model.clock
        elapsed = max([elapsed, *(table.end_of[label] for label in present)])
        expected = [start for start, end in table.end_of.items() if end <= elapsed]
        missing = [start for start in expected if start not in present]
        runs = [
            start for i, start in enumerate(expected)
            if start not in present and (i == 0 or expected[i - 1] in present)
        ]  # fmt: skip
        assert (series.n_expected, series.n_missing) == (len(expected), len(missing))
        assert [gap.start_ns for gap in series.gaps] == runs
        assert sum(gap.bar_count for gap in series.gaps) == len(missing)
        assert series.n_gaps == len(runs)
        assert series.quality == (
            100.0 * (len(expected) - len(missing)) / len(expected) if expected else None
        )

    def teardown(self) -> None:
        if hasattr(self, "session"):
            self.session.close()
            assert len(self.root) == 0
            assert self.session.pending == {}


TestLife = Life.TestCase
TestLife.settings = settings(stateful_step_count=25)


@pytest.fixture(scope="module", autouse=True)
def over_a_dataset(folder: Path) -> Iterator[None]:
    Life.folder = folder
    logging.getLogger("openbell.lifecycle").setLevel(logging.ERROR)
    yield
    logging.getLogger("openbell.lifecycle").setLevel(logging.NOTSET)


#: What is done at a time: one of the session's calls, a symbol, and minutes before then.
scripts = st.lists(
    st.tuples(
        st.integers(0, 19 * 60),
        st.sampled_from(["add", "add", "remove", "indicator", "adhoc", "append"]),
        st.sampled_from(["SEC", "MIN", "GAP", "BAD", "XTR", "MNX"]),
        st.sampled_from(["1s", "1m", "5m"]),
        st.integers(-4, 6),
    ),
    min_size=1,
    max_size=8,
).map(sorted)


def act(
    session: ob.SessionCoordinator, call: str, symbol: str, interval: str, place: int, n: int
) -> None:
    """One line of a script; its `n`-th bar."""
    rec = session.root.get_symbol_data(symbol)
    window = session.root.window
    assert window is not None
    if call == "append" and rec is not None:
        interval = rec.base_interval
    starts = slots(window, interval).starts
    wanted = session.root.now_ns - place * 60 * SECOND
    label = max([start for start in starts if start <= wanted], default=starts[0])
    bar = ob.BarData(label, 50.0 + n, 52.0 + n, 49.0 + n, 51.0 + n, 10.0 + n)
    if call == "add":
        session.add_symbol(symbol)
    elif call == "remove":
        session.remove_symbol(symbol)
    elif call == "indicator":
        session.add_adhoc_indicator(
            symbol, {"name": "fast", "type": "SMA", "interval": "5m",
                     "parameters": {"timeperiod": 2}}
        )  # fmt: skip
    elif call == "adhoc":
        session.add_adhoc_bar(symbol, interval, bar)
    elif rec is not None:
        rec.append_block(np.array([bar_row(bar)], BAR_DTYPE))


def bar_row(bar: ob.BarData) -> tuple[float, ...]:
    return bar.ts_ns, bar.open, bar.high, bar.low, bar.close, bar.volume


def play(session: ob.SessionCoordinator, script: list[Any], *, how: str) -> list[Any]:
    """All that each day's tree shows at its close; the script is acted out every day."""
    found: list[Any] = []
    if how == "watched":
        for interval in ("1s", "5m"):
            session.on_close(interval, lambda rec, bar: None, corrections=True)
    for day in session.days():
        left = list(enumerate(deepcopy(script)))

        def act_when_due(ts_ns: int, _: object = None, day: Any = day, left: Any = left) -> None:
            while left and day.window.open_ns + left[0][1][0] * SECOND <= ts_ns:
                n, (_, *line) = left.pop(0)
                act(session, *line, n)

        act_when_due(day.window.open_ns)
        if how == "untold":
            # Stepped while there is something to do, and then run with nobody to tell.
            if left:
                for ts_ns, _ in day.slices():
                    act_when_due(ts_ns)
                    if not left:
                        break
            day.run()
        elif how == "told":
            day.run(act_when_due)
        else:
            for ts_ns, _ in day.slices():
                act_when_due(ts_ns)
        found.append((seen_of(session), session.root.now_ns))
    session.close()
    return found


def seen_of(session: ob.SessionCoordinator) -> dict[str, Any]:
    flags = {
        rec.symbol: (
            rec.is_loaded, rec.meets_session_config_requirements, rec.added_by,
            rec.auto_provisioned, rec.added_at, rec.upgraded_from_adhoc, rec.n_waiting,
            {name: indicator.value for name, indicator in rec.indicators.items()},
        )
        for rec in session.root
    }  # fmt: skip
    return {"flags": flags, "tree": tree(session.root)}


@given(script=scripts)
@example(script=[(0, "append", "SEC", "1s", -4), (0, "add", "XTR", "1m", 0)])
@example(script=[(0, "append", "MIN", "1m", -3), (200, "remove", "MIN", "1m", 0),
                 (201, "add", "MIN", "1m", 0)])  # fmt: skip
def test_untold_run_of_a_script_equals_the_stepped_one(
    over_a_dataset: None, script: list[Any]
) -> None:
    stepped = play(open_session(Life.folder), script, how="stepped")
    for how in ("untold", "told", "watched"):
        found = play(open_session(Life.folder), script, how=how)
        for day, expected in zip(found, stepped, strict=True):
            assert day == expected, how
