"""Edges of a live day: symbols that join, queues that fill, and what comes at the wrong moment."""

from __future__ import annotations

import os
from math import nan
from pathlib import Path

import pytest

import openbell as ob
from openbell.errors import DataSourceError
from openbell.live.inbox import MOST_AT_ONCE
from openbell.live.journal import JournalPart, bar_batch, journal_folder
from openbell.live.ranks import RANK_STREAM, RANK_UPDATE
from openbell.live.recording import Recording
from openbell.schema import to_ns
from openbell.watch import publish, read_board
from tests.live_market import MINUTE
from tests.live_scripted import (
    WINDOW,
    HandClock,
    ScriptedSource,
    labels_of,
    minutes,
    quieten,
    row_of,
    scripted,
    serve,
    take_in,
)
from tests.waiting import wait_until
from tests.watching import use_own_runtime

pytestmark = pytest.mark.usefixtures("warm_kernels")


def sma(interval: str = "1m") -> dict[str, object]:
    return {"name": "sma", "type": "SMA", "interval": interval, "parameters": {"timeperiod": 3}}


def told_of(
    session: ob.SessionCoordinator, symbol: str, interval: str = "1m"
) -> list[tuple[int, float, bool]]:
    """Minute, volume, and whether it corrects, of each bar that is told."""
    told: list[tuple[int, float, bool]] = []

    def tell(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if record.symbol == symbol:
            minute = (to_ns(bar.timestamp) - WINDOW.open_ns) // MINUTE
            told.append((minute, bar.volume, bar.is_correction))

    session.on_close(interval, tell, corrections=True)
    return told


# Indicators of symbols that nobody follows


def test_adhoc_indicator_of_an_unknown_symbol_holds_nothing_later_than_now() -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AX")
    # As of a source that knows the whole day, such as one for rehearsals.
    source.put_slots(*range(30), symbol="X")
    with scripted(source, clock) as session:
        day = next(session.days())
        assert session.add_adhoc_indicator("X", sma())
        serve(session, day, lambda: "X" in session.root and not session.pending)
        assert labels_of(session, "X") == list(range(10))
        clock.stand_at(minutes(11))
        source.made.send_slots(10, symbol="X")
        assert take_in(session) == [(10, ["X"])]
        assert labels_of(session, "X") == list(range(11))
        bars = session.root["X"].bars["1m"]
        indicator = session.root["X"].indicators["sma"]
        assert indicator.value == pytest.approx(bars.data["close"][-3:].mean())


@pytest.mark.parametrize(
    ("streams", "held", "session_streams", "interval", "base"),
    [
        pytest.param(["1s", "1m"], ["1s", "1m"], ["1s", "1m"], "1m", "1s", id="1m of seconds"),
        pytest.param(["1m"], ["1m", "5m", "15m"], ["1m"], "5m", "1m", id="5m held, 1m streamed"),
    ],
)
def test_adhoc_indicator_is_fed_by_the_interval_that_is_streamed(
    streams: list[str], held: list[str], session_streams: list[str], interval: str, base: str
) -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AX", streams, held)
    with scripted(source, clock, session_streams) as session:
        day = next(session.days())
        assert session.add_adhoc_indicator("X", sma(interval))
        serve(session, day, lambda: not session.pending)
        record = session.root["X"]
        assert record.base_interval == base
        assert set(record.indicators) == {"sma"}
        assert "X" in source.made.subscribed
        slot = 10 * MINUTE // (MINUTE if base == "1m" else MINUTE // 60)
        source.made.send(RANK_STREAM, row_of(slot, 1, base), "X")
        clock.stand_at(minutes(20))
        take_in(session)
        assert [len(record.bars[name]) for name in (base, interval)] == [1, 1]


# The close, and the queue


@pytest.mark.parametrize("held_up_by", ["loading", "a pause"])
def test_bars_that_wait_over_the_close_are_taken_in_before_the_day_ends(held_up_by: str) -> None:
    clock, source = HandClock(minutes(389)), ScriptedSource()

    def oversleep() -> None:
        source.before = lambda: None
        source.made.send_slots(388, 389)
        clock.stand_at(minutes(390 + 240))

    with scripted(source, clock, live={"linger_seconds": 300.0}) as session:
        if held_up_by == "loading":
            source.before = oversleep
        day = next(session.days())
        if held_up_by == "a pause":
            oversleep()
        clock.step_ns = MINUTE
        list(day.slices())
        assert labels_of(session) == [388, 389]


def test_queue_holds_no_more_than_its_bound_however_slow_slices_are() -> None:
    capacity, n_sent = 100, 0
    clock, source = HandClock(minutes(0)), ScriptedSource()
    with scripted(source, clock, live={"queue_size": capacity}) as session:
        day = next(session.days())
        take_in(session)
        clock.stand_at(minutes(385))
        for n in range(19):
            # Of twenty slices that come, one is taken in.
            source.made.send_slots(*range(20 * n, 20 * (n + 1)))
            n_sent += 20
            day.feed.turn()
            n_left_out = day.feed.inbox.n_overflow
            assert session.queue_depth <= 2 * capacity
            assert session.queue_depth + n_left_out + day.n_bars >= n_sent
        assert n_left_out > 0
        (health,) = session.feed_health
        assert health.n_overflow == n_left_out


@pytest.mark.parametrize("n_others", [1, MOST_AT_ONCE, 3 * MOST_AT_ONCE])
def test_clock_passes_no_bar_that_waits_behind_other_messages(n_others: int) -> None:
    clock, source = HandClock(minutes(0)), ScriptedSource()
    with scripted(source, clock) as session:
        told = told_of(session, "A", "5m")
        next(session.days())
        clock.stand_at(minutes(4))
        source.made.send_slots(0, 1, 2, 3)
        take_in(session)
        clock.stand_at(minutes(8))
        for _ in range(n_others):
            source.made.receiver.on_trade("A", minutes(4), 10.0, 1.0)
        source.made.send_slots(4)
        take_in(session)
        assert told == [(0, 5.0, False)]


def test_instant_that_is_none_is_garbage_and_the_day_goes_on() -> None:
    clock, source = HandClock(minutes(1)), ScriptedSource()
    with scripted(source, clock) as session:
        next(session.days())
        receiver = source.made.receiver
        receiver.on_quote("A", 9 * 10**19, 1.0, 1.0, 1.0, 1.0)
        receiver.on_trade("A", -(10**19), 1.0, 1.0)
        receiver.on_quote("A", minutes(0), float("nan"), 1.0, 1.0, 1.0)
        receiver.on_daily_bar("A", float("nan"), 1.0, 2.0, 1.0, 1.0)
        source.made.send_slots(0)
        assert take_in(session) == [(0, ["A"])]
        assert session.feed_health[0].n_garbage == 2


# A day gone on with


def test_resumed_day_has_the_morning_of_a_symbol_that_was_not_recorded(tmp_path: Path) -> None:
    clock, source = HandClock(minutes(0)), ScriptedSource()
    with scripted(source, clock, record=tmp_path) as session:
        next(session.days())
        clock.stand_at(minutes(60))
        source.made.send_slots(*range(60))
        take_in(session)
    source = ScriptedSource("ANJ")
    source.put_slots(*range(70), symbol="N")
    source.put_slots(*range(70), symbol="J")
    source.put_slots(*range(60, 70))
    clock.stand_at(minutes(70))
    with scripted(source, clock, symbols="AN", record=tmp_path, resume=True) as session:
        day = next(session.days())
        assert labels_of(session, "A") == labels_of(session, "N") == list(range(70))
        (asked_ns,) = [start_ns for symbols, _, start_ns, _ in source.asked if symbols == ("A",)]
        assert asked_ns > WINDOW.open_ns
        session.add_symbol("J")
        serve(session, day, lambda: not session.pending)
        assert labels_of(session, "J") == list(range(70))


def test_resumed_day_tells_of_a_torn_journal_once_and_reads_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal_folder(tmp_path).mkdir()
    part = JournalPart(tmp_path, WINDOW.date)
    rows = [("A", "1m", RANK_STREAM, *row_of(n)[0].item(), nan, nan) for n in range(3)]
    part.write(part.encode(bar_batch(rows)) + b"torn")
    part.close()
    loaded = []
    load = Recording.load
    monkeypatch.setattr(Recording, "load", lambda *of: loaded.append(of) or load(*of))
    clock, source = HandClock(minutes(3)), ScriptedSource()
    with scripted(source, clock, record=tmp_path, resume=True) as session:
        recording = session.live.recorded()
        assert recording.n_bars == 3
        assert session.live.recorded() is recording
        next(session.days())
        assert labels_of(session) == [0, 1, 2]
    assert len(loaded) == 1
    assert sum("torn after 3 rows" in record.getMessage() for record in caplog.records) == 1
    assert Recording.load(tmp_path, WINDOW).n_bars == 3


def test_resumed_day_of_another_base_has_its_morning(tmp_path: Path) -> None:
    source = ScriptedSource("A", ["1s", "1m"], ["1s", "1m"])
    clock = HandClock(minutes(0))
    with scripted(source, clock, ["1m"], session={"base": "1m"}, record=tmp_path) as session:
        next(session.days())
        clock.stand_at(minutes(10))
        source.made.send_slots(*range(10))
        take_in(session)
    source.put_slots(*range(0, 660, 20), interval="1s")
    clock.stand_at(minutes(11))
    with scripted(
        source, clock, ["1s", "1m"], session={"base": "1s"}, record=tmp_path, resume=True
    ) as session:
        next(session.days())
        assert session.root["A"].base_interval == "1s"
        assert sorted(set(labels_of(session, "A", "1s"))) == list(range(11))


# Order


def test_bars_that_came_while_a_symbol_loaded_make_their_slices_before_newer_ones() -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AX")
    with scripted(source, clock) as session:
        told = told_of(session, "X")
        day = next(session.days())
        quieten(session, day)
        source.may_answer.clear()
        session.add_symbol("X")
        serve(session, day, lambda: source.asked[-1][0] == ("X",))
        clock.stand_at(minutes(13))
        source.made.send_slots(10, symbol="X")
        take_in(session)
        # Behind it in one batch: that X is loaded, and newer bars.
        source.may_answer.set()
        wait_until(lambda: session.queue_depth)
        source.made.send_slots(11, 12, symbol="X")
        assert take_in(session) == [(10, ["X"]), (11, ["X"]), (12, ["X"])]
        assert told == [(10, 1.0, False), (11, 1.0, False), (12, 1.0, False)]


def test_correction_of_what_history_gave_makes_no_slice() -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource()
    source.put_slots(*range(10))
    with scripted(source, clock) as session:
        next(session.days())
        source.made.send(RANK_UPDATE, row_of(3, 7))
        assert take_in(session) == []
        assert session.root["A"].bars["1m"].data["volume"][3] == 7
        clock.stand_at(minutes(11))
        source.made.send_slots(10)
        assert take_in(session) == [(10, ["A"])]


def test_minute_that_history_gave_first_has_its_slice() -> None:
    clock, source = HandClock(minutes(3)), ScriptedSource()
    with scripted(source, clock) as session:
        day = next(session.days())
        source.made.send_slots(0, 1)
        assert take_in(session) == [(0, ["A"]), (1, ["A"])]
        source.put_slots(2)
        source.made.drop()
        serve(session, day, lambda: labels_of(session) == [0, 1, 2])
        source.made.send_slots(2)
        assert take_in(session) == [(2, ["A"])]
        assert session.feed_health[0].n_superseded == 1


def test_bar_that_waits_before_the_upgrade_of_its_record_is_told() -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AX")
    source.put_slots(*range(10), symbol="X")
    with scripted(source, clock) as session:
        told = told_of(session, "X")
        day = next(session.days())
        session.add_adhoc_indicator("X", sma())
        quieten(session, day)
        source.may_answer.clear()
        n_asked = len(source.asked)
        session.add_symbol("X")
        serve(session, day, lambda: len(source.asked) > n_asked)
        clock.stand_at(minutes(11))
        source.made.send_slots(10, symbol="X")
        source.may_answer.set()
        wait_until(lambda: session.queue_depth >= 2)
        serve(session, day, lambda: not session.pending)
        assert session.root["X"].upgraded_from_adhoc
        assert told == [(10, 1.0, False)]


def test_bars_of_a_day_are_counted_without_repeats_and_corrections() -> None:
    clock, source = HandClock(minutes(2)), ScriptedSource()
    with scripted(source, clock) as session:
        day = next(session.days())
        ranks = [RANK_STREAM, RANK_STREAM, RANK_UPDATE, RANK_STREAM]
        for version, rank in enumerate(ranks):
            source.made.send(rank, row_of(0, 1 + version))
        source.made.send_slots(1)
        take_in(session)
        assert labels_of(session) == [0, 1]
        assert day.n_bars == 2


# Who is subscribed


def test_symbol_removed_and_asked_for_again_is_subscribed_while_it_loads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AX")
    with scripted(source, clock, symbols="AX") as session:
        day = next(session.days())
        take_in(session)
        session.remove_symbol("X")
        session.add_symbol("X")
        # The quality thread may be as quick as that.
        monkeypatch.setattr(day.feed.worker, "submit", lambda job: job())
        session.take_turn(day)
        assert source.made.subscribed == {"A", "X"}
        clock.stand_at(minutes(11))
        source.made.send_slots(10, symbol="X")
        serve(session, day, lambda: not session.pending)
        assert labels_of(session, "X") == [10]


@pytest.mark.parametrize("is_held", [False, True])
def test_symbol_that_cannot_be_loaded_is_not_subscribed(is_held: bool) -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AX")
    source.refused["X"] = DataSourceError("scripted", "not for you")
    with scripted(source, clock) as session:
        day = next(session.days())
        if is_held:
            bar = ob.BarData(minutes(0), 1.0, 2.0, 0.5, 1.5, 10.0, "X", "1m")
            assert session.add_adhoc_bar("X", "1m", bar)
        assert session.add_symbol("X")
        serve(session, day, lambda: not session.pending)
        assert "not for you" in str(session.results["X"].reason)
        assert ("X" in session.root) == is_held
        assert source.made.subscribed == {"A"}
        assert set(session.symbol_health) == {"A"}


def test_symbol_that_is_removed_while_it_loads_is_not_subscribed() -> None:
    clock, source = HandClock(minutes(10)), ScriptedSource("AB")
    with scripted(source, clock, symbols="AB") as session:
        removed: list[bool] = []

        def remove(record: ob.SymbolSessionData) -> None:
            if record.symbol == "A":
                removed.append(session.remove_symbol("B"))

        session.on_loaded(remove)
        next(session.days())
        take_in(session)
        assert removed == [True]
        assert source.made.subscribed == {"A"}
        assert set(session.symbol_health) == {"A"}


# Seen from outside


@pytest.mark.skipif(os.name != "posix", reason="boards need a POSIX system")
def test_board_of_a_live_session_tells_of_its_feed_and_of_a_symbol_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_own_runtime(tmp_path, monkeypatch)
    clock, source = HandClock(minutes(0)), ScriptedSource("AB")
    with scripted(source, clock, symbols="AB") as session, publish(session) as board:
        assert read_board(board.path).feeds == []
        next(session.days())
        for slot in range(60):
            clock.stand_at(minutes(slot + 1))
            for symbol in "AB" if slot < 40 else "A":
                source.made.send_slots(slot, symbol=symbol)
            take_in(session)
        clock.stand_at(minutes(61))
        session.live.feed.connections.check()
        found = read_board(board.path)
        assert found.feeds == session.feed_health
        assert [(feed.source, feed.state, feed.lag_s) for feed in found.feeds] == [
            ("scripted", "live", 0.0)
        ]
        assert found.symbol_feeds == [session.symbol_health["B"]]
        assert found.symbol_feeds[0].state == "silent"
        source.made.receiver.on_disconnected("gone")
        session.live.feed.turn()
        down = read_board(board.path)
    assert [(feed.state, feed.reason) for feed in down.feeds] == [("down", "gone")]
    assert down.symbol_feeds == []
