"""What a record holds beside its bars: the errors of code working on it, and its quotes."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from datetime import date

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.error_log import RecordError
from openbell.errors import EventRefused, RecordDetached, SchemaError, SessionStateError
from openbell.schema import QUOTE_DTYPE, TICK_DTYPE
from tests.facade_bars import CLOSE, NEXT_WINDOW, OPEN, WINDOW, at, bar, minutes, moment


@pytest.fixture
def root() -> ob.SessionData:
    made = ob.SessionData()
    made.begin(WINDOW)
    return made


@pytest.fixture
def rec(root: ob.SessionData) -> ob.SymbolSessionData:
    return root.register_symbol_data(ob.SymbolSessionData("AAPL", derived_intervals=["5m"]))


# Errors


def test_note_error_counts_the_same_and_keeps_when_it_first_was(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    assert rec.errors == []
    root.advance(at(3))
    rec.note_error("indicator rsi", ZeroDivisionError("division by zero"))
    root.advance(at(5))
    rec.note_error("indicator rsi", ZeroDivisionError("division by zero"))
    rec.note_error("indicator rsi", ZeroDivisionError("float division by zero"))
    rec.note_error("on_close 1m strategy.on_minute", KeyError("MSFT"))
    rec.note_error("on_close 1m strategy.on_minute", ValueError())
    assert rec.errors == [
        RecordError("indicator rsi", "ZeroDivisionError: division by zero", at(3), 2),
        RecordError("indicator rsi", "ZeroDivisionError: float division by zero", at(5), 1),
        RecordError("on_close 1m strategy.on_minute", "KeyError: 'MSFT'", at(5), 1),
        RecordError("on_close 1m strategy.on_minute", "ValueError", at(5), 1),
    ]
    rec.errors.clear()
    assert len(rec.errors) == 4


def test_note_error_logs_the_first_of_its_kind(
    rec: ob.SymbolSessionData, caplog: pytest.LogCaptureFixture
) -> None:
    for where in ("indicator rsi", "indicator rsi", "indicator ema"):
        rec.note_error(where, ZeroDivisionError("division by zero"))
    assert [(r.name, r.levelno, r.getMessage(), r.exc_info) for r in caplog.records] == [
        ("openbell.session", logging.ERROR,
         f"AAPL: {where}: ZeroDivisionError: division by zero", None)
        for where in ("indicator rsi", "indicator ema")
    ]  # fmt: skip


def test_note_error_keeps_a_hundred_and_counts_the_others(
    root: ob.SessionData, rec: ob.SymbolSessionData, caplog: pytest.LogCaptureFixture
) -> None:
    for k in range(150):
        root.advance(at(k))
        rec.note_error("callback", ValueError(str(k)))
    rec.note_error("callback", ValueError("7"))
    errors = rec.errors
    assert len(errors) == 101
    assert [item.error for item in errors[:100]] == [f"ValueError: {k}" for k in range(100)]
    assert (errors[7].n, errors[8].n) == (2, 1)
    assert (errors[100].where, errors[100].first_ns, errors[100].n) == (
        "further errors", at(100), 50,
    )  # fmt: skip
    assert len(caplog.records) == 101
    assert caplog.records[-1].getMessage() == "AAPL: callback: ValueError: 100"


def test_note_error_of_an_exception_without_a_text_still_notes_it(
    rec: ob.SymbolSessionData,
) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    rec.note_error("callback", Mute())
    rec.note_error("callback", ValueError("x" * 10_000))
    assert rec.errors[0].error == "Mute: its text cannot be had"
    assert rec.errors[1].error == "ValueError: " + "x" * (500 - len("ValueError: "))


def test_note_error_before_the_day_has_no_time() -> None:
    rec = ob.SymbolSessionData("AAPL")
    rec.note_error("loading", OSError("gone"))
    assert rec.errors == [RecordError("loading", "OSError: gone", 0, 1)]


def at_once(work: Callable[[], None], n_threads: int = 4) -> None:
    """Run the same in several threads that change places often; what one raises is raised."""
    start, raised = threading.Barrier(n_threads), []

    def run() -> None:
        start.wait()
        try:
            work()
        except Exception as error:
            raised.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run) for _ in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if raised:
        raise raised[0]


def test_note_error_in_several_threads_loses_none(
    rec: ob.SymbolSessionData, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        for k in range(2000):
            rec.note_error("callback", ValueError(str(k % 10)))

    at_once(work)
    assert [item.n for item in rec.errors] == [800] * 10
    assert len(caplog.records) == 10


# Quotes


def quotes(*rows: tuple[int, float]) -> npt.NDArray[np.void]:
    """Quotes of an instant and a bid, the ask 1 above, of 2 and 3 shares."""
    made = [(ts_ns, bid, bid + 1.0, 2.0, 3.0) for ts_ns, bid in rows]
    return np.array(made, dtype=QUOTE_DTYPE)


def bids(rec: ob.SymbolSessionData) -> list[float]:
    return rec.quotes.data["bid"].tolist()


def test_latest_quote_of_a_record_without_quotes_is_made_from_its_latest_bar(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    assert rec.get_latest_quote() is None
    rec.append_block(minutes(0, 1, 3))
    made = ob.QuoteData(moment(4), 13.0, 13.0, 0.0, 0.0, "AAPL", "bar")
    assert rec.get_latest_quote() == made
    root.advance(at(30))
    assert rec.get_latest_quote() == made
    rec.append(at(3), 13.0, 14.0, 12.0, 12.5, 100.0)
    latest = rec.get_latest_quote()
    assert latest is not None
    assert (latest.bid, latest.ask) == (12.5, 12.5)
    assert (len(rec.quotes), rec.quotes_updated) == (0, False)


def test_latest_quote_of_a_bar_cut_by_the_close_is_of_the_close() -> None:
    root = ob.SessionData()
    root.begin(ob.SessionWindow(date(2025, 7, 2), [(at(0), at(8))]))
    rec = root.add_bar("AAPL", "5m", bar(at(5), 7.0))
    assert rec.get_latest_quote() == ob.QuoteData(moment(8), 7.0, 7.0, symbol="AAPL", source="bar")


def test_latest_quote_is_a_real_one_once_there_is_any(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0))
    rec.add_quote(ob.QuoteData(moment(0, 30), 9.0, 9.5, 2.0, 3.0))
    real = ob.QuoteData(moment(0, 30), 9.0, 9.5, 2.0, 3.0, "AAPL", "feed")
    assert rec.get_latest_quote() == real
    rec.append_block(minutes(1, 2))
    root.advance(at(10))
    assert rec.get_latest_quote() == real
    # One that comes late is held behind it, and is not the newest.
    rec.add_quote(ob.QuoteData(moment(0, 20), 8.0, 8.5))
    assert rec.get_latest_quote() == real
    assert bids(rec) == [9.0, 8.0]
    rec.add_quote(ob.QuoteData(moment(0, 30), 9.25, 9.5))
    latest = rec.get_latest_quote()
    assert latest is not None
    assert latest.bid == 9.25


def test_preloaded_quotes_are_seen_when_their_time_has_come(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    taken = rec.quotes
    rows = quotes((at(2), 12.0), (at(1), 11.0), (at(0), 10.0), (at(1), 11.5))
    assert rec.preload_quotes(rows) == 4
    rows["bid"] = 0.0
    rec.append_block(minutes(0))
    assert (bids(rec), len(taken), rec.quotes_updated) == ([10.0], 1, True)
    rec.quotes_updated = False
    root.advance(at(1) - 1)
    assert (len(taken), rec.quotes_updated) == (1, False)
    root.advance(at(1))
    assert rec.quotes_updated
    assert [quote.bid for quote in taken] == [10.0, 11.0, 11.5]
    assert rec.get_latest_quote() == ob.QuoteData(moment(1), 11.5, 12.5, 2.0, 3.0, "AAPL")
    root.end()
    assert (bids(rec), rec.quotes.data.flags.writeable) == ([10.0, 11.0, 11.5, 12.0], False)


def test_preloaded_quotes_of_one_instant_keep_their_order(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rows = [(at(1 - k % 2), float(k)) for k in range(100)]
    rec.preload_quotes(quotes(*rows))
    root.advance(at(1))
    assert bids(rec) == [*map(float, range(1, 100, 2)), *map(float, range(0, 100, 2))]


def test_quotes_updated_that_is_cleared_covers_what_nobody_looked_at(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.preload_quotes(quotes((at(1), 11.0), (at(2), 12.0)))
    root.advance(at(1))
    rec.quotes_updated = False
    assert not rec.quotes_updated
    root.advance(at(2))
    assert rec.quotes_updated


def test_latest_quote_is_made_from_a_bar_until_the_first_preloaded_one_is_due(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.preload_quotes(quotes((at(5), 50.0)))
    rec.append_block(minutes(0))
    assert [getattr(rec.get_latest_quote(), "source", None)] == ["bar"]
    root.advance(at(5))
    assert [getattr(rec.get_latest_quote(), "source", None)] == ["feed"]


def test_add_quote_stands_behind_the_preloaded_ones_that_are_due(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.preload_quotes(quotes((at(1), 11.0), (at(2), 12.0), (at(9), 19.0)))
    root.advance(at(3))
    rec.add_quote(ob.QuoteData(moment(3), 13.0, 14.0))
    assert bids(rec) == [11.0, 12.0, 13.0]
    # A second block joins what waits; what of it is due comes behind what was received.
    rec.preload_quotes(quotes((at(8), 18.0), (at(0), 10.0), (at(9), 19.5)))
    assert bids(rec) == [11.0, 12.0, 13.0, 10.0]
    latest = rec.get_latest_quote()
    assert latest is not None
    assert latest.bid == 13.0
    root.advance(CLOSE)
    assert bids(rec) == [11.0, 12.0, 13.0, 10.0, 18.0, 19.0, 19.5]


@pytest.mark.parametrize("looks", [True, False])
def test_preloaded_quotes_stand_in_the_same_order_whoever_looked(
    root: ob.SessionData, rec: ob.SymbolSessionData, looks: bool
) -> None:
    rec.preload_quotes(quotes((at(1), 11.0), (at(2), 12.0)))
    root.advance(at(2))
    assert not looks or len(rec.quotes) == 2
    rec.preload_quotes(quotes((at(1), 21.0), (at(3), 23.0)))
    assert not looks or len(rec.quotes) == 3
    rec.add_quote(ob.QuoteData(moment(2), 30.0, 31.0))
    root.advance(at(3))
    assert bids(rec) == [11.0, 12.0, 21.0, 30.0, 23.0]


def test_preloaded_quotes_that_cannot_be_are_counted_by_name(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rows = quotes(*((at(0), 10.0) for _ in range(9)))
    rows["bid"][1], rows["ask_size"][2] = np.nan, np.inf
    rows["bid_size"][3] = rows["ask_size"][4] = -1.0
    rows["timestamp"][5], rows["timestamp"][6] = OPEN - 1, CLOSE + 1
    rows["timestamp"][7], rows["bid"][7] = CLOSE + 1, -np.inf
    rows["timestamp"][8], rows["bid"][8], rows["ask"][8] = CLOSE, -3.0, -4.0
    assert rec.preload_quotes(rows) == 2
    assert rec.preload_quotes(rows[:0]) == 0
    assert rec.preload_quotes(rows[5:6]) == 0
    assert rec.rejected == {
        "quote_not_finite": 3,
        "quote_negative_size": 2,
        "quote_outside_session": 3,
    }
    root.end()
    assert bids(rec) == [10.0, -3.0]


def test_preload_quotes_of_another_dtype_is_refused(rec: ob.SymbolSessionData) -> None:
    good = quotes((at(0), 1.0), (at(0), 2.0))
    swapped = QUOTE_DTYPE.descr
    swapped[1], swapped[2] = ("ask", "<f8"), ("bid", "<f8")
    for wrong in (
        good.view(np.dtype(swapped)),
        np.zeros(1, TICK_DTYPE),
        good.tolist(),
        good.reshape(1, 2),
    ):
        with pytest.raises(SchemaError, match="quotes: received"):
            rec.preload_quotes(wrong)
    assert rec.preload_quotes(np.repeat(good, 2)[::2]) == 2
    assert bids(rec) == [1.0, 2.0]


def test_preload_quotes_needs_a_running_day(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    with pytest.raises(SessionStateError):
        ob.SymbolSessionData("AAPL").preload_quotes(quotes((at(0), 1.0)))
    root.remove_symbol("AAPL")
    with pytest.raises(RecordDetached):
        rec.preload_quotes(quotes((at(0), 1.0)))
    with pytest.raises(RecordDetached):
        rec.add_quote(ob.QuoteData(moment(0), 1.0, 2.0))


def test_removed_record_sees_no_quotes_of_later(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.preload_quotes(quotes((at(0), 1.0), (at(5), 2.0)))
    assert bids(rec) == [1.0]
    root.remove_symbol("AAPL")
    root.advance(at(10))
    assert bids(rec) == [1.0]
    root.end()
    root.begin(NEXT_WINDOW)
    assert bids(rec) == [1.0]
    assert "AAPL" not in root


def test_preloaded_quotes_keep_the_newest_and_count_what_went(
    root: ob.SessionData, rec: ob.SymbolSessionData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openbell.symbol.EVENT_CAPACITY", 64)
    rec.preload_quotes(quotes(*((at(0, k), float(k)) for k in range(1000))))
    root.advance(at(60))
    held = bids(rec)
    assert 64 <= len(held) <= 128
    assert held == [float(k) for k in range(1000 - len(held), 1000)]
    assert rec.quotes.n_evicted == 1000 - len(held)


def test_preloaded_quotes_are_seen_once_by_several_threads(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    n_due = 300
    rec.preload_quotes(quotes(*((at(0, k), float(k)) for k in range(n_due))))
    lengths: list[list[int]] = []
    clock = iter(range(n_due))
    moving = threading.Lock()

    def work() -> None:
        seen = []
        for k in range(n_due):
            with moving:
                root.advance(at(0, next(clock, n_due)))
            seen.append(len(rec.quotes))
            assert seen[-1] >= k + 1
        lengths.append(seen)

    at_once(work)
    assert all(seen == sorted(seen) for seen in lengths)
    assert bids(rec) == [float(k) for k in range(n_due)]


instants = st.one_of(st.integers(0, 400).map(at), st.sampled_from([OPEN - 1000, CLOSE + 1000]))
values = st.floats(-10, 10) | st.sampled_from([float("nan"), float("inf")])


@given(
    st.lists(st.tuples(instants, values, values, values, values), max_size=12),
    st.lists(st.integers(0, 395), max_size=4).map(sorted),
)
def test_preloaded_quotes_are_refused_and_ordered_as_if_added_in_time(
    rows: list[tuple[int, float, float, float, float]], clocks: list[int]
) -> None:
    root = ob.SessionData()
    root.begin(WINDOW)
    block, one_by_one = root.register_symbol("BLOCK"), root.register_symbol("ONE")
    block.preload_quotes(np.array(rows, dtype=QUOTE_DTYPE))
    for row in sorted(rows, key=lambda row: row[0]):
        try:
            one_by_one.add_quote(ob.QuoteData(*row))
        except EventRefused:
            continue
    wanted = one_by_one.quotes.data
    assert block.rejected == one_by_one.rejected
    for clock in clocks:
        root.advance(at(clock))
        due = wanted[wanted["timestamp"] <= at(clock)]
        assert block.quotes.data.tobytes() == due.tobytes()
    root.advance(at(400))
    assert block.quotes.data.tobytes() == wanted.tobytes()
    assert (block.get_latest_quote() is None) == (len(wanted) == 0)
