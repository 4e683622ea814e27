"""What a feed monitor makes of scripted days, told to it with an explicit clock."""

from __future__ import annotations

import logging
import threading

import pytest

from openbell.live.health import FeedHealth, FeedMonitor, SymbolHealth
from openbell.schema import NS_PER_SECOND as S
from tests.feed_rig import MINUTE, OPEN, WINDOW, Rig, names


def test_feed_states_follow_the_connection_and_are_told_once_the_feed_first() -> None:
    monitor = FeedMonitor("feed", 2.0)
    told: list[tuple[str, str]] = []
    monitor.on_change = lambda health: told.append(
        (getattr(health, "symbol", health.source), health.state)
    )
    assert monitor.health.state == "idle"
    monitor.begin(WINDOW)
    monitor.add("A", "1m")
    monitor.add("B", "1m")
    monitor.note_disconnected(OPEN, "refused")
    monitor.note_disconnected(OPEN, "refused again")
    assert monitor.health.reason == "refused again"
    assert monitor.symbols["B"].reason == "refused again"
    monitor.note_connected(OPEN)
    monitor.note_connected(OPEN)
    assert monitor.health.connected
    assert monitor.health.reason == ""
    monitor.note_bar("A", OPEN + MINUTE, OPEN + MINUTE + S)
    monitor.note_failed("forbidden")
    monitor.note_stopped()
    assert told == [
        ("feed", "connecting"),
        ("feed", "down"), ("A", "down"), ("B", "down"),
        ("feed", "live"), ("A", "waiting"), ("B", "waiting"),
        ("A", "live"),
        ("feed", "failed"), ("A", "down"), ("B", "down"),
    ]  # fmt: skip
    assert monitor.health.reason == "forbidden"
    assert not monitor.health.connected


def test_drops_count_losses_of_established_connections_and_by_symbol_those_lived_through() -> None:
    rig = Rig(["A", "B"])
    monitor = rig.monitor
    monitor.note_refused("B", "not entitled")
    monitor.note_disconnected(OPEN, "lost")
    monitor.note_disconnected(OPEN, "cannot be made")
    monitor.note_connected(OPEN)
    monitor.add("C", "1m")
    monitor.note_disconnected(OPEN, "lost")
    monitor.note_connected(OPEN)
    monitor.note_stopped()
    assert monitor.health.n_drops == 2
    drops = {name: health.n_drops for name, health in monitor.symbols.items()}
    assert drops == {"A": 2, "B": 0, "C": 1}


def test_last_symbol_removed_while_not_connected_leaves_the_feed_idle() -> None:
    monitor = FeedMonitor("feed", 2.0)
    monitor.begin(WINDOW)
    monitor.add("A", "1m")
    monitor.remove("A")
    monitor.remove("A")
    assert monitor.health.state == "idle"
    assert monitor.symbols == {}


def test_symbol_added_while_the_source_is_down_is_down_and_waits_when_it_is_back() -> None:
    rig = Rig()
    rig.monitor.note_disconnected(OPEN, "lost")
    rig.monitor.add("B", "1m")
    assert rig.monitor.symbols["B"].state == "down"
    assert rig.monitor.symbols["B"].reason == "lost"
    rig.monitor.note_connected(OPEN)
    assert rig.states() == {"A": "waiting", "B": "waiting"}


# Counts


def test_counts_and_lag_are_of_what_came() -> None:
    rig = Rig(["A", "B"])
    monitor = rig.monitor
    end = OPEN + MINUTE
    monitor.note_bar("A", end, end + 250_000_000)
    monitor.note_bar("A", end, end + 30 * S, True)
    monitor.note_bar("unknown", end, end + 31 * S)
    monitor.note_message(end + 32 * S)
    monitor.note_heartbeat(end + 40 * S)
    monitor.note_overflow(3)
    monitor.note_outside()
    monitor.note_superseded(2)
    monitor.note_backfilled("A", 5)
    monitor.note_backfilled("unknown", 1)
    feed = monitor.health
    assert (feed.n_bars, feed.n_updates, feed.n_messages) == (2, 1, 4)
    assert (feed.n_overflow, feed.n_outside, feed.n_superseded) == (3, 1, 2)
    assert feed.n_backfilled == 6
    assert feed.last_message_ns == end + 32 * S
    assert feed.lag_s == 31.0
    symbol = monitor.symbols["A"]
    assert (symbol.lag_s, symbol.last_message_ns) == (0.25, end + 30 * S)
    assert symbol.n_backfilled == 5
    assert monitor.symbols["B"].lag_s is None


def test_garbage_is_counted_and_the_first_of_a_kind_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    monitor = FeedMonitor("feed", 2.0)
    with caplog.at_level(logging.WARNING, "openbell.live"):
        for k in range(100):
            monitor.note_garbage("no JSON")
            monitor.note_garbage(f"kind {k}")
    assert monitor.health.n_garbage == 200
    assert caplog.messages[:2] == [
        "feed sent what cannot be understood: no JSON",
        "feed sent what cannot be understood: kind 0",
    ]
    assert len(caplog.messages) == 16


# Symbols


def test_symbol_silent_among_others_is_quiet_then_silent_then_live_again() -> None:
    rig = Rig(names(20))
    rig.minutes(60, names(20))
    rig.told.clear()
    rig.minutes(20, names(19), first=60)
    assert [(h.symbol, h.state) for h in rig.told if isinstance(h, SymbolHealth)] == [
        ("S019", "quiet"),
        ("S019", "silent"),
    ]
    assert rig.told[-1].reason.endswith("slots of 1m while others came")
    assert set(rig.states().values()) == {"live", "silent"}
    rig.minutes(1, names(20), first=80)
    assert set(rig.states().values()) == {"live"}
    assert rig.monitor.symbols["S019"].reason == ""
    assert not rig.mute_at


def test_symbol_that_never_came_is_waiting_then_silent() -> None:
    rig = Rig(names(10))
    rig.monitor.add("X", "1m", fill_rate=0.9)
    rig.minutes(3, names(10))
    assert rig.monitor.symbols["X"].state == "waiting"
    rig.minutes(30, names(10), first=3)
    assert rig.monitor.symbols["X"].state == "silent"


def test_refused_symbol_stays_so_until_a_bar_of_it_comes() -> None:
    rig = Rig(["A", "B"])
    rig.monitor.note_refused("B", "one too many")
    rig.monitor.note_refused("nobody", "unknown")
    rig.monitor.note_disconnected(OPEN, "lost")
    assert rig.states() == {"A": "down", "B": "refused"}
    rig.monitor.note_connected(OPEN)
    assert rig.monitor.symbols["B"].reason == "one too many"
    rig.bars("B", OPEN + MINUTE)
    assert rig.states() == {"A": "waiting", "B": "live"}
    assert rig.monitor.symbols["B"].reason == ""


def test_refused_symbols_are_no_evidence() -> None:
    rig = Rig(names(50), fill_rate=0.9)
    for name in names(50)[1:]:
        rig.monitor.note_refused(name, "not entitled")
    rig.to(OPEN + 3 * MINUTE)
    assert not rig.mute_at


def test_check_looks_at_some_symbols_at_a_time_and_at_all_in_the_end() -> None:
    many = names(300)
    rig = Rig(many)
    rig.minutes(60, many)
    last = OPEN + 60 * MINUTE
    monitor = rig.monitor
    for k in range(1, 31):
        monitor.note_bar("S000", last + k * MINUTE, last + k * MINUTE + 1)
    rig.told.clear()
    now = last + 30 * MINUTE + 10 * S
    monitor.check(now)
    assert 0 < len(rig.told) <= 64
    for _ in range(5):
        monitor.check(now)
    assert sum(state == "silent" for state in rig.states().values()) == 299


def test_removed_symbols_are_not_told_of() -> None:
    many = names(300)
    rig = Rig(many)
    rig.minutes(60, many)
    last = OPEN + 60 * MINUTE
    for k in range(1, 31):
        rig.monitor.note_bar("S000", last + k * MINUTE, last + k * MINUTE + 1)
    rig.monitor.check(last + 30 * MINUTE + 10 * S)
    for name in many[1:]:
        rig.monitor.remove(name)
    rig.told.clear()
    for _ in range(6):
        rig.monitor.check(last + 30 * MINUTE + 11 * S)
    assert not rig.told


def test_symbol_among_many_is_given_longer() -> None:
    silent_after = []
    for n in (3, 300):
        rig = Rig(names(n))
        rig.minutes(60, names(n))
        for k in range(60, 90):
            rig.bars(names(n)[1:], OPEN + (k + 1) * MINUTE)
            if rig.monitor.symbols["S000"].state == "silent":
                silent_after.append(k)
                break
    assert silent_after[0] < silent_after[1]


def test_callback_may_take_symbols_out() -> None:
    rig = Rig(names(5))

    def take_out(health: FeedHealth | SymbolHealth) -> None:
        if isinstance(health, SymbolHealth):
            rig.monitor.remove(health.symbol)

    rig.monitor.on_change = take_out
    rig.monitor.note_disconnected(OPEN, "lost")
    assert rig.monitor.symbols == {}


def test_error_of_the_callback_comes_out_and_the_states_stand() -> None:
    rig = Rig(["A"])

    def fail(health: FeedHealth | SymbolHealth) -> None:
        raise RuntimeError(health.state)

    rig.monitor.on_change = fail
    with pytest.raises(RuntimeError, match="down"):
        rig.monitor.note_disconnected(OPEN, "lost")
    assert rig.monitor.health.state == "down"


def test_snapshots_can_be_read_while_symbols_come_and_go() -> None:
    rig = Rig(names(50))
    over = threading.Event()
    seen: list[int] = []
    failed: list[BaseException] = []

    def read() -> None:
        try:
            while not over.is_set():
                seen.append(len(rig.monitor.symbols))
                assert rig.monitor.health.source == "feed"
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        for k in range(300):
            for name in names(20):
                rig.monitor.remove(name)
            for name in names(20):
                rig.monitor.add(name, "1m")
            rig.monitor.note_bar("S030", OPEN + k * MINUTE, OPEN + k * MINUTE)
    finally:
        over.set()
        thread.join()
    assert not failed
    assert seen
    assert min(seen) >= 30
