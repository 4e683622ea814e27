"""Where history meets the stream: whatever comes first, a live session ends with the same tree."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.live.ranks import RANK_HISTORY, RANK_STREAM, RANK_UPDATE, RankedBars
from openbell.schema import to_ns
from tests.lifecycle_days import bars_at, window_of
from tests.live_faults import plain_script, playing, script_of
from tests.live_market import EVE, MINUTE, Market, dump_of, replayed
from tests.live_scripted import (
    WINDOW,
    HandClock,
    ScriptedSource,
    minutes,
    row_of,
    scripted,
    take_in,
    threads_of_session,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("warm_kernels")

pytest.importorskip("alpaca")

SMALL = {"live": {"linger_seconds": 1800.0}}


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(7, n_symbols=6)


@pytest.fixture(scope="module")
def wanted(market: Market, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The tree of the day, from a replay."""
    return dump_of(replayed(tmp_path_factory.mktemp("day"), market.bars()))


# The start


@pytest.mark.parametrize(("starts", "rest_s"), [(-1, 0.0), (90, 0.0), (90, 0.15), (389, 0.05)])
def test_session_started_late_has_the_tree_of_the_whole_day(
    market: Market,
    wanted: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    starts: int,
    rest_s: float,
) -> None:
    script = plain_script(market)
    with playing(script, monkeypatch.setenv, speed=8000.0, starts_ns=minutes(starts)) as (
        player,
        session,
    ):
        player.server.rest_delay_s = rest_s
        session.run()
        assert player.error is None
        assert dump_of(session) == wanted
        assert [r.errors for r in session.root] == [[]] * 6


# The order of arrival

EVENT = st.tuples(
    st.sampled_from([RANK_STREAM, RANK_HISTORY, RANK_UPDATE]),
    st.integers(0, 7),
    st.integers(1, 5),
)


@given(st.lists(EVENT, max_size=40), st.lists(st.integers(0, 40), max_size=6))
def test_of_each_slot_the_best_stands_in_whatever_order_bars_come(
    events: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    root = ob.SessionData()
    root.begin(WINDOW)
    record = root.register_symbol_data(
        ob.SymbolSessionData("A", base_interval="1m", derived_intervals=["5m"])
    )
    ranked = RankedBars(record, WINDOW)
    best: dict[int, tuple[int, int]] = {}
    for n, (rank, slot, version) in enumerate(events):
        row = row_of(slot, version)
        if rank == RANK_HISTORY and n in cuts:
            # An answer holds all that history has by now, in one block.
            rows = np.concatenate([row_of(s, version) for s in range(8)])
            ranked.put_block(RANK_HISTORY, rows)
            for s in range(8):
                if best.get(s, (0, 0))[0] <= rank:
                    best[s] = rank, version
            continue
        if rank == RANK_HISTORY:
            ranked.put_block(rank, row)
        else:
            ts_ns, *values = row[0].item()
            stands = ranked.put(rank, ranked.slot_of(ts_ns), ts_ns, *values)
            assert bool(stands) == (best.get(slot, (0, 0))[0] <= rank)
            assert (stands == 2) == (slot not in best)
        if best.get(slot, (0, 0))[0] <= rank:
            best[slot] = rank, version
    expected = np.concatenate([row_of(s, best[s][1]) for s in sorted(best)] or [row_of(0, 1)[:0]])
    assert record.bars["1m"].copy().tobytes() == expected.tobytes()
    root.advance(minutes(10))
    sums = {s // 5: 0.0 for s in best}
    for s, (_, version) in best.items():
        sums[s // 5] += version
    assert record.bars["5m"].copy()["volume"].tolist() == [sums[k] for k in sorted(sums)]


STREAMED = st.tuples(
    st.sampled_from([RANK_STREAM, RANK_UPDATE]), st.integers(0, 7), st.integers(1, 5)
)
HELD = st.tuples(st.just(RANK_HISTORY), st.integers(0, 7), st.integers(1, 5))
EVENTS = st.lists(STREAMED | HELD, max_size=8)


@given(st.lists(st.tuples(EVENTS, EVENTS, EVENTS), min_size=1, max_size=4), st.data())
def test_no_bar_is_lost_however_stream_and_history_overlap(
    parts: list[tuple[list[tuple[int, int, int]], ...]], data: st.DataObject
) -> None:
    # Of each part, something happens before history is asked, while it looks, and while its
    # answer is on the way; the first is asked by the loading of the day, the others by drops.
    clock, source = HandClock(minutes(8)), ScriptedSource()
    first: dict[int, np.ndarray] = {}
    updates: dict[int, np.ndarray] = {}

    def happen(events: list[tuple[int, int, int]]) -> None:
        for rank, slot, version in events:
            row = row_of(slot, version)
            if rank == RANK_HISTORY:
                source.put(row)
                continue
            (first if rank == RANK_STREAM else updates)[minutes(slot)] = row
            source.made.send(rank, row)

    with scripted(source, clock) as session:
        day = None
        for before, during, after in parts:
            source.before = lambda events=before: happen(events)
            source.after = lambda events=during: happen(events)
            if day is None:
                day = next(session.days())
                n_asked = 1
                # Connecting asks once more, of what happened meanwhile, too.
                source.before = source.after = lambda: None
            else:
                source.made.drop()
            take_in(session)
            n_asked += 1
            wait_until(lambda n=n_asked: source.n_answered == n)
            happen(after)
            if data.draw(st.booleans()):
                take_in(session)
        take_in(session)
        found = session.root["A"].bars["1m"].copy()
    wanted = {**first, **source.answered, **updates}
    expected = np.concatenate([row_of(0, 1)[:0], *(wanted[ts] for ts in sorted(wanted))])
    assert found.tobytes() == expected.tobytes()


# What closes, and what is told


def test_backfill_tells_of_the_derived_bar_that_it_changed() -> None:
    clock, source = HandClock(minutes(0)), ScriptedSource()
    told: list[tuple[int, float, bool]] = []
    backfilled: list[tuple[str, int]] = []
    with scripted(source, clock) as session:
        session.on_close(
            "5m",
            lambda record, bar: told.append((to_ns(bar.timestamp), bar.volume, bar.is_correction)),
            corrections=True,
        )
        session.on_backfilled(lambda record, bars, why: backfilled.append((why, len(bars))))
        next(session.days())
        for slot in (0, 1, 3, 4):
            clock.stand_at(minutes(slot + 1))
            source.made.send(RANK_STREAM, row_of(slot, 1))
            take_in(session)
        assert told == [(minutes(0), 4.0, False)]
        source.put(row_of(2, 3))
        source.made.drop()

        def is_told() -> bool:
            # A request from before the drop may be answered first, without that bar.
            take_in(session)
            return len(told) > 1

        wait_until(is_told)
        assert told[1:] == [(minutes(0), 7.0, True)]
        assert [n for _, n in backfilled] == [1]
        assert session.feed_health[0].n_backfilled == 1


def test_missing_bar_is_asked_for_again_until_history_has_it() -> None:
    clock, source = HandClock(minutes(0)), ScriptedSource()
    with scripted(source, clock) as session:
        session.live.retries.retry_interval_s = 0.01
        day = next(session.days())
        for slot in (0, 1, 3):
            clock.stand_at(minutes(slot + 1))
            source.made.send(RANK_STREAM, row_of(slot, 1))
            take_in(session)
        day.feed.look_for_gaps()
        series = session.root["A"].bars["1m"]

        def goes_on(holds: Callable[[], bool]) -> bool:
            # An answer may be one to what was asked before: only time brings another.
            clock.stand_at(clock.now_ns() + MINUTE // 100)
            take_in(session)
            return holds()

        for _ in range(3):
            n_answered = source.n_answered
            wait_until(lambda n=n_answered: goes_on(lambda: source.n_answered > n))
        assert len(series) == 3
        source.put(row_of(2, 1))
        wait_until(lambda: goes_on(lambda: len(series) == 4))
        assert [gap.start_ns for gap in series.gaps if gap.start_ns < minutes(4)] == []
        assert session.feed_health[0].n_backfilled == 1


def test_bars_close_by_the_clock_when_nothing_trades() -> None:
    clock, source = HandClock(minutes(0)), ScriptedSource()
    told: list[tuple[int, int, float]] = []
    with scripted(source, clock) as session:
        session.on_close(
            "5m",
            lambda record, bar: told.append(
                (session.root.now_ns, to_ns(bar.timestamp), bar.volume)
            ),
        )
        day = next(session.days())
        clock.stand_at(minutes(4))
        source.made.send(RANK_STREAM, row_of(3, 2))
        take_in(session)
        # The grace is half a minute.
        clock.stand_at(minutes(5) + 29 * MINUTE // 60)
        day.feed.turn()
        assert told == []
        clock.stand_at(minutes(5) + 31 * MINUTE // 60)
        day.feed.turn()
        assert told == [(minutes(5) + MINUTE // 60, minutes(0), 2.0)]
        assert session.root["A"].bars["5m"].quality == 100.0
        assert session.root["A"].bars["1m"].quality == 20.0


@pytest.mark.parametrize("n_first", [1, 1100])
def test_bars_that_waited_close_their_bars_whole(n_first: int) -> None:
    # As after a pause: all of them had come when the clock is looked at again, even when they
    # are more than are taken in at once.
    clock, source = HandClock(minutes(0)), ScriptedSource()
    told: list[tuple[int, float]] = []
    with scripted(source, clock) as session:
        session.on_close(
            "5m", lambda record, bar: told.append((to_ns(bar.timestamp), bar.volume)),
            corrections=True,
        )  # fmt: skip
        day = next(session.days())
        take_in(session)
        clock.stand_at(minutes(11))
        for slot in [0] * n_first + list(range(1, 11)):
            source.made.send(RANK_STREAM, row_of(slot, 1))
        take_in(session)
        day.feed.turn()
        assert told == [(minutes(0), 5.0), (minutes(5), 5.0)]


# Symbols


def test_symbol_that_comes_and_goes_is_subscribed_for_real_and_has_its_whole_day(
    market: Market, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    guest, *others = market.symbols
    held: list[set[str]] = []
    asked: list[bool] = []

    with playing(
        plain_script(market), monkeypatch.setenv, speed=5000.0, symbols=others, config=SMALL
    ) as (player, session):

        def streamed() -> set[str]:
            return set(player.server.subscribed["bars"])

        def on_slice(ts_ns: int, records: object) -> None:
            # Each step when the one before is done, all in the afternoon.
            n = len(held)
            if ts_ns < minutes(180) or (guest in session.root) != (n % 2 == 1):
                return
            if n and (guest in streamed()) != (n % 2 == 1):
                return
            held.append(streamed())
            if n < 3:
                act = session.remove_symbol if n % 2 else session.add_symbol
                asked.append(act(guest))

        session.run(on_slice)
        assert player.error is None
        assert asked == [True] * 3
        assert [guest in symbols for symbols in held[:4]] == [False, True, False, True]
        assert all(set(others) <= symbols for symbols in held)
        found = dump_of(session)
    metadata = found["symbols"][guest].pop("metadata")
    assert metadata["added_by"] == "strategy"
    tree = {**wanted, "symbols": {k: dict(v) for k, v in wanted["symbols"].items()}}
    del tree["symbols"][guest]["metadata"]
    assert found == tree


def test_symbol_that_is_refused_or_unknown_fails_alone(
    market: Market, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, *others = market.symbols
    symbols = [refused, "NOSUCH", *others]
    with playing(
        plain_script(market), monkeypatch.setenv, speed=8000.0, symbols=symbols, config=SMALL
    ) as (player, session):
        player.server.refused_symbols[refused] = (409, "insufficient subscription")
        session.run()
        assert "insufficient subscription (409)" in str(session.results[refused].reason)
        assert session.results["NOSUCH"].reason
        assert not session.results[refused].can_proceed
        assert all(session.results[symbol].can_proceed for symbol in others)
        assert session.symbol_health.keys() == set(others)
        found = dump_of(session)
    assert found["symbols"] == {symbol: wanted["symbols"][symbol] for symbol in others}


# Indicators


def test_indicators_after_a_filled_gap_are_those_of_an_undisturbed_day(
    market: Market, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eve = window_of(EVE)
    past = {
        symbol: bars_at(eve, "1m", range(390), price=60.0 + n)
        for n, symbol in enumerate(market.symbols)
    }
    tables: dict[str, Any] = {
        "historical": [{"trailing_days": 1, "intervals": ["1m"]}],
        "indicators": [
            {"name": "sma", "type": "SMA", "interval": "5m", "parameters": {"timeperiod": 60}},
            {"name": "ema", "type": "EMA", "interval": "5m", "parameters": {"timeperiod": 20}},
            {"name": "vwap", "type": "VWAP", "interval": "1m"},
        ],
    }
    faults = [("rest_500", 8), ("drops", 40), ("delay", 70), ("lose", 100), ("rest_503", 340)]
    script = script_of(market, [*faults, ("swap", 360), ("correct", 370)], seed=3)
    with playing(
        script, monkeypatch.setenv, speed=4000.0, config={**SMALL, **tables}, past=past
    ) as (player, session):
        session.run()
        assert player.error is None
        assert session.feed_health[0].n_drops >= 3
        found = dump_of(session)
    reference = replayed(tmp_path, market.bars(), past={EVE: past}, **tables)
    expected = dump_of(reference)
    for symbol in market.symbols:
        indicators = expected["symbols"][symbol]["indicators"]
        assert set(indicators) == {"sma", "ema", "vwap"}
        assert found["symbols"][symbol] == expected["symbols"][symbol]


# Pausing and stopping


@contextmanager
def running(session: ob.SessionCoordinator) -> Iterator[threading.Thread]:
    """The session run by another thread."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            session.run()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        session.stop()
        thread.join(10)
        assert not thread.is_alive()
    assert failed == []


def test_session_that_is_paused_takes_in_afterwards_what_came_meanwhile() -> None:
    clock, source = HandClock(minutes(-1)), ScriptedSource()
    with scripted(source, clock) as session, running(session) as thread:
        wait_until(lambda: session.phase == "waiting")
        clock.stand_at(minutes(3))
        wait_until(lambda: session.phase == "running")
        record = session.root["A"]
        source.made.send(RANK_STREAM, row_of(0, 1))
        wait_until(lambda: len(record.bars["1m"]) == 1)
        session.pause()
        wait_until(lambda: session.phase == "paused")
        for slot in (1, 2):
            source.made.send(RANK_STREAM, row_of(slot, 1))
        assert session.queue_depth >= 2
        assert len(record.bars["1m"]) == 1
        session.resume()
        wait_until(lambda: len(record.bars["1m"]) == 3)
        session.stop()
        thread.join(10)
        assert session.phase == "stopped"
        assert len(record.bars["1m"]) == 3
    assert threads_of_session() == []


@pytest.mark.parametrize("phase", ["loading", "waiting", "running", "paused", "asking"])
def test_stop_ends_the_run_within_two_seconds_in_every_phase(
    market: Market, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    starts = {"waiting": -30, "loading": 60}.get(phase, 10)
    with playing(
        plain_script(market), monkeypatch.setenv, speed=60.0, starts_ns=minutes(starts)
    ) as (player, session):
        if phase == "loading":
            # From its first question about the day on, it waits for answers.
            load_since = session.live.data.load_since

            def load_slowly(*asked: Any) -> Iterator[Any]:
                player.server.rest_delay_s = 3.0
                return load_since(*asked)

            monkeypatch.setattr(session.live.data, "load_since", load_slowly)
        with running(session) as thread:
            if phase == "loading":
                wait_until(lambda: player.server.rest_delay_s)
                assert session.phase == "loading"
            else:
                wait_until(lambda: session.phase == ("waiting" if starts < 0 else "running"))
            if phase == "paused":
                session.pause()
                wait_until(lambda: session.phase == "paused")
            if phase == "asking":
                player.server.rest_delay_s = 3.0
                n = player.server.n_requests
                player.server.drop()
                wait_until(lambda: player.server.n_requests > n)
            began = monotonic()
            session.stop()
            thread.join(10)
            took = monotonic() - began
            assert session.phase == "stopped"
            player.server.rest_delay_s = 0.0
    assert took < 2.0
    wait_until(lambda: threads_of_session() == [])
