"""Threads of a live session: who calls whom, what may be called from where, and what is left."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from openbell.live.health import SymbolHealth
from openbell.live.recording import Recording
from tests.live_scripted import (
    HandClock,
    ScriptedSource,
    labels_of,
    minutes,
    quieten,
    scripted,
    serve,
    take_in,
    threads_of_session,
)

pytestmark = pytest.mark.usefixtures("warm_kernels")


def test_health_is_told_in_the_thread_of_the_session_and_may_remove_a_symbol() -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AB")
    told: list[tuple[str, str]] = []
    threads: set[int] = set()
    with scripted(source, clock) as session:

        def on_change(health: Any) -> None:
            threads.add(threading.get_ident())
            if isinstance(health, SymbolHealth):
                told.append((health.symbol, health.state))
                if told[-1] == ("B", "down"):
                    session.remove_symbol("B")

        session.on_feed_change(on_change)
        day = next(session.days())
        quieten(session, day)
        source.made.receiver.on_disconnected("a test")
        take_in(session)
        # It joins a feed that is down.
        session.add_symbol("B")
        serve(session, day, lambda: not session.pending)
        quieten(session, day)
        assert ("B", "down") in told
        assert "B" not in session.root
        assert source.made.subscribed == {"A"}
    assert threads == {threading.get_ident()}


def test_callback_that_raises_while_a_symbol_joins_ends_a_strict_run() -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AB")
    source.before = lambda: clock.stand_at(minutes(11))
    source.after = lambda: source.made.send_slots(10)
    with scripted(source, clock, session={"strict": True}) as session:

        def on_change(health: Any) -> None:
            if getattr(health, "symbol", "") == "B":
                raise ValueError("of the user")

        def on_slice(ts_ns: int, records: object) -> None:
            source.made.receiver.on_disconnected("a test")
            session.add_symbol("B")

        session.on_feed_change(on_change)
        # So that it ends also when nobody hears of what the callback raised.
        watchdog = threading.Timer(10, session.stop)
        watchdog.start()
        with pytest.raises(ValueError, match="of the user"):
            session.run(on_slice)
        watchdog.cancel()
        watchdog.join(10)
        assert session.phase == "stopped"


def test_stop_comes_back_though_its_thread_holds_a_lock_that_callbacks_take() -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource()
    lock = threading.RLock()
    told: list[tuple[str, bool]] = []
    with scripted(source, clock) as session:

        def on_change(health: Any) -> None:
            is_mine = lock.acquire(timeout=5)
            if is_mine:
                lock.release()
            told.append((health.state, is_mine))

        session.on_feed_change(on_change)
        with lock:
            day = next(session.days())
            take_in(session)
            session.stop()
            assert not session.take_turn(day)
        assert session.phase == "stopped"
    assert "stopped" in [state for state, _ in told]
    assert all(is_mine for _, is_mine in told)
    assert threads_of_session() == []


def test_close_while_the_day_begins_leaves_no_thread_and_no_locked_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, source = HandClock(minutes(0)), ScriptedSource()
    with scripted(source, clock, record=tmp_path) as session:
        next(session.days())
        clock.stand_at(minutes(3))
        source.made.send_slots(0, 1, 2)
        take_in(session)
    load = Recording.load
    with scripted(source, clock, record=tmp_path, resume=True) as session:

        def close_meanwhile(*of: Any) -> Recording:
            closing = threading.Thread(target=session.close)
            closing.start()
            closing.join(10)
            return load(*of)

        monkeypatch.setattr(Recording, "load", close_meanwhile)
        session.run()
        monkeypatch.setattr(Recording, "load", load)
        assert session.phase == "closed"
    assert threads_of_session() == []
    with scripted(source, clock, record=tmp_path, resume=True) as session:
        next(session.days())
        assert labels_of(session) == [0, 1, 2]
        assert session.live.recording_error is None


@pytest.mark.parametrize("is_recorded", [True, False])
def test_second_run_of_a_day_goes_on_with_what_was_recorded(
    tmp_path: Path, is_recorded: bool
) -> None:
    clock, source = HandClock(minutes(0)), ScriptedSource()
    folder = tmp_path if is_recorded else None
    with scripted(source, clock, record=folder) as session:
        for n in range(2):
            day = next(session.days())
            assert labels_of(session) == list(range(2 * n)) * is_recorded
            clock.stand_at(minutes(2 * n + 2))
            source.made.send_slots(2 * n, 2 * n + 1)
            assert take_in(session) == [(2 * n, ["A"]), (2 * n + 1, ["A"])]
            session.stop()
            assert not session.take_turn(day)
            assert session.phase == "stopped"
        assert labels_of(session) == ([0, 1, 2, 3] if is_recorded else [2, 3])
        assert session.live.recording_error is None
