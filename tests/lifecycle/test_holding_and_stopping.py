"""A session that is held, goes on, is broken off, or closed; from callbacks and other threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

import openbell as ob
from openbell.errors import SessionStateError
from tests.lifecycle_days import (
    HALF_DAY,
    WEDNESDAY,
    instant,
    ns_at,
    play,
    session_over,
    tree,
    window_of,
)

STREAMS = ["1s", "1m", "5m"]
PATIENCE_S = 20.0
NEXT_MONDAY = date(2025, 7, 7)


def over(folder: Path, symbols: list[str], **others: object) -> ob.SessionCoordinator:
    return session_over(folder, [WEDNESDAY, HALF_DAY], symbols, STREAMS, **others)


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < PATIENCE_S, "it never came to be"
        time.sleep(0.002)


@pytest.fixture
def session(market: Path) -> ob.SessionCoordinator:
    return over(market, ["AAPL", "RIVN"])


def test_phases_follow_the_days(session: ob.SessionCoordinator) -> None:
    assert session.phase == "idle"
    seen = []
    session.on_progress(lambda what, done, total: seen.append(session.phase))
    for day in session.days():
        seen.append(session.phase)
        day.run()
        seen.append(session.phase)
    assert [phase for n, phase in enumerate(seen) if n == 0 or phase != seen[n - 1]] == [
        "loading", "running", "loading", "running",
    ]  # fmt: skip
    assert session.phase == "ended"
    session.close()
    assert session.phase == "closed"


@pytest.mark.parametrize("is_told", [True, False])
def test_session_paused_from_another_thread_holds_and_goes_on(
    session: ob.SessionCoordinator, is_told: bool
) -> None:
    whole: list[dict[str, object]] = []
    for day in session.days():
        day.run()
        whole.append(tree(session.root))
    session.pause()
    days = session.days()
    first = next(days)
    n_slices = [0]

    def count(ts_ns: int, records: object) -> None:
        n_slices[0] += 1

    thread = threading.Thread(target=first.run, args=(count if is_told else None,))
    thread.start()
    until(lambda: session.phase == "paused")
    assert thread.is_alive()
    assert session.root.now_ns == window_of(WEDNESDAY).open_ns
    assert n_slices[0] == 0
    assert session.add_symbol("NVDA")
    assert session.root.get_active_symbols() == {"AAPL", "RIVN"}
    assert session.remove_symbol("NVDA")
    session.resume()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert session.phase == "running"
    assert tree(session.root) == whole[0]
    next(days).run()
    assert tree(session.root) == whole[1]


def test_symbol_asked_for_while_paused_joins_when_it_goes_on(
    market: Path, session: ob.SessionCoordinator
) -> None:
    held: list[int] = []

    def on_minute(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if not held and session.root.now_ns >= ns_at(WEDNESDAY, "11:00"):
            held.append(session.root.now_ns)
            session.pause()

    session.on_close("1m", on_minute)
    days = session.days()
    thread = threading.Thread(target=next(days).run)
    thread.start()
    until(lambda: session.phase == "paused")
    now_ns = session.root.now_ns
    assert now_ns == held[0]
    assert session.add_symbol("NVDA")
    asked = session.pending["NVDA"]
    session.resume()
    thread.join(PATIENCE_S)
    assert session.root["NVDA"].added_at == asked
    assert int(asked.timestamp()) * 10**9 == now_ns
    assert session.n_pauses == 1
    whole = over(market, ["AAPL", "RIVN", "NVDA"])
    next(whole.days()).run()
    assert tree(session.root) == tree(whole.root)


def test_resume_of_a_session_that_runs_changes_nothing(session: ob.SessionCoordinator) -> None:
    session.resume()
    session.pause()
    session.resume()
    session.run(lambda ts_ns, records: session.resume())
    assert session.phase == "ended"
    assert session.n_pauses == 0


@pytest.mark.parametrize("how", ["on_slice", "on_close", "slices", "thread"])
def test_stopped_day_keeps_its_data_and_its_clock(
    market: Path, session: ob.SessionCoordinator, how: str
) -> None:
    stopped: list[int] = []

    def stop(*_: object) -> None:
        now_ns = session.root.now_ns
        if not stopped and now_ns >= ns_at(WEDNESDAY, "11:00"):
            stopped.append(now_ns)
            if how == "thread":
                thread = threading.Thread(target=session.stop)
                thread.start()
                thread.join(PATIENCE_S)
            else:
                session.stop()

    n_days = 0
    if how == "on_close":
        session.on_close("5m", stop)
        session.run()
    elif how == "slices":
        for day in session.days():
            n_days += 1
            for _ in day.slices():
                stop()
        assert n_days == 1
    else:
        session.run(stop)
    assert session.phase == "stopped"
    assert len(stopped) == 1
    assert session.root.now_ns == session.time_manager.now_ns == stopped[0]
    assert session.root.current_session_date == WEDNESDAY
    assert not session.root.session_active
    assert not any(session.root.active_streams.values())
    rec = session.root["AAPL"]
    assert rec.bars["1m"].last.ts_ns < stopped[0]
    assert 70 <= len(rec.bars["1m"]) <= 91
    assert not session.add_symbol("NVDA")
    # The next run starts anew, from the first day.
    session.run()
    assert session.phase == "ended"
    assert session.root.current_session_date == HALF_DAY
    whole = over(market, ["AAPL", "RIVN"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_stopped_day_shows_what_a_day_shows_that_was_left_there(
    market: Path, session: ob.SessionCoordinator
) -> None:
    def stop(ts_ns: int, records: object) -> None:
        if ts_ns >= ns_at(WEDNESDAY, "11:00"):
            session.stop()

    session.run(stop)
    left = over(market, ["AAPL", "RIVN"])
    for ts_ns, _ in next(left.days()).slices():
        if ts_ns >= ns_at(WEDNESDAY, "11:00"):
            break
    assert tree(session.root) == tree(left.root)


def test_stop_while_paused_ends_the_session(session: ob.SessionCoordinator) -> None:
    session.pause()
    thread = threading.Thread(target=session.run)
    thread.start()
    until(lambda: session.phase == "paused")
    session.stop()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert session.phase == "stopped"
    assert session.root.current_session_date == WEDNESDAY
    assert session.root.now_ns == window_of(WEDNESDAY).open_ns
    session.run()
    assert session.phase == "ended"


@pytest.mark.parametrize("how", ["stop", "close"])
def test_untold_run_is_broken_off_by_another_thread(market: Path, how: str) -> None:
    days = [date(2025, 6, 30), NEXT_MONDAY]
    session = session_over(market, days, ["AAPL", "NVDA", "RIVN", "TSLA"], STREAMS)
    went_on = threading.Event()
    session.on_loaded(lambda rec: went_on.set())
    errors: list[BaseException] = []

    def run() -> None:
        try:
            session.run()
        except BaseException as error:
            errors.append(error)

    for _ in range(5):
        went_on.clear()
        thread = threading.Thread(target=run)
        thread.start()
        assert went_on.wait(PATIENCE_S)
        getattr(session, how)()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        assert errors == []
        if how == "close":
            assert session.phase == "closed"
            break
        assert session.phase in ("stopped", "ended")


def test_close_while_paused_ends_the_session(session: ob.SessionCoordinator) -> None:
    session.pause()
    thread = threading.Thread(target=session.run)
    thread.start()
    until(lambda: session.phase == "paused")
    session.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert session.phase == "closed"
    assert len(session.root) == 0


def test_what_waits_when_a_day_is_stopped_is_not_loaded(session: ob.SessionCoordinator) -> None:
    for day in session.days():
        for n, _ in enumerate(day.slices()):
            if n == 5:
                assert session.add_symbol("NVDA")
                session.stop()
    assert session.root.get_active_symbols() == {"AAPL", "RIVN"}
    for _ in session.days():
        assert session.pending == {}
        assert session.root.get_active_symbols() == {"AAPL", "RIVN"}
        break


def test_stop_before_and_after_the_days_does_no_harm(session: ob.SessionCoordinator) -> None:
    session.stop()
    session.run()
    assert session.phase == "ended"
    assert session.root.current_session_date == HALF_DAY
    session.stop()
    assert session.root.now_ns == window_of(HALF_DAY).close_ns
    session.run()
    assert session.phase == "ended"


def test_stop_between_two_days_ends_the_session(session: ob.SessionCoordinator) -> None:
    seen = []
    for day in session.days():
        day.run()
        seen.append(day.date)
        session.stop()
    assert seen == [WEDNESDAY]
    assert session.phase == "stopped"
    assert session.root.now_ns == window_of(WEDNESDAY).close_ns


def test_closed_session_has_let_go_of_everything(session: ob.SessionCoordinator) -> None:
    play(session, {"11:00": lambda: session.add_symbol("NVDA")})
    session.close()
    assert len(session.root) == 0
    assert session.pending == {}
    assert session.results == {}
    assert session.time_manager.get_current_time() == instant(HALF_DAY, "09:30")
    for call in (session.run, lambda: next(session.days())):
        with pytest.raises(SessionStateError, match="closed"):
            call()
    session.close()
    session.stop()
    assert session.phase == "closed"


def test_session_closed_in_a_callback_stops_there(session: ob.SessionCoordinator) -> None:
    n = [0]

    def on_slice(ts_ns: int, records: object) -> None:
        n[0] += 1
        if n[0] == 10:
            session.close()

    session.run(on_slice)
    assert n[0] == 10
    assert session.phase == "closed"
    assert len(session.root) == 0


def test_session_left_by_an_exception_can_be_run_again(
    market: Path, session: ob.SessionCoordinator
) -> None:
    def on_slice(ts_ns: int, records: object) -> None:
        if ts_ns >= ns_at(WEDNESDAY, "11:00"):
            raise LookupError("of the strategy")

    with pytest.raises(LookupError):
        session.run(on_slice)
    assert session.root.current_session_date == WEDNESDAY
    assert len(session.root["AAPL"].bars["1m"]) > 70
    session.run()
    whole = over(market, ["AAPL", "RIVN"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_callback_that_raises_is_noted_and_strict_lets_it_through(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def on_minute(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if rec.symbol == "RIVN":
            raise LookupError("of the strategy")

    others: list[str] = []
    session = over(market, ["AAPL", "RIVN"])
    session.on_close("1m", on_minute)
    session.on_close("1m", lambda rec, bar: others.append(rec.symbol))
    session.run()
    rec = session.root["RIVN"]
    (error,) = rec.errors
    assert error.n == len(rec.bars["1m"])
    assert "LookupError: of the strategy" in error.error
    assert "on_minute" in error.where
    assert session.root["AAPL"].errors == []
    assert set(others) == {"AAPL", "RIVN"}
    strict = over(market, ["AAPL", "RIVN"], strict=True)
    strict.on_close("1m", on_minute)
    with pytest.raises(LookupError):
        strict.run()
