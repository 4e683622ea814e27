"""When silence is more than a quiet market, on scripted days."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest

from openbell.clock.window import SessionWindow
from openbell.live.health import FeedHealth, FeedMonitor
from openbell.schema import NS_PER_SECOND as S
from tests.feed_rig import HALF_DAY, LUNCH, MINUTE, OPEN, WINDOW, Rig, names


def test_fifty_busy_symbols_are_mute_after_one_slot_and_its_grace() -> None:
    rig = Rig(names(50))
    last = rig.minutes(10, names(50))
    rig.told.clear()
    rig.to(last + MINUTE + 2 * S)
    assert not rig.mute_at
    rig.to(last + 30 * MINUTE)
    (mute,) = rig.mute_at
    assert mute <= last + MINUTE + 4 * S
    assert rig.monitor.health.state == "mute"
    assert rig.monitor.health.connected
    assert rig.monitor.health.reason.startswith("no bar came since 13:40:00")
    assert isinstance(rig.told[0], FeedHealth)
    assert len(rig.told) == 51
    assert set(rig.states().values()) == {"silent"}


def test_one_symbol_of_every_minute_is_mute_after_a_few() -> None:
    rig = Rig()
    last = rig.minutes(200, "A")
    rig.to(last + 20 * MINUTE)
    assert 2 * MINUTE < rig.mute_at[0] - last < 8 * MINUTE


@pytest.mark.parametrize("fill_rate", [None, 1 / 30])
def test_symbol_that_trades_twice_an_hour_is_never_mute_within_minutes(
    fill_rate: float | None,
) -> None:
    rig = Rig(fill_rate=fill_rate)
    for k in range(29, 240, 30):
        rig.bars("A", OPEN + (k + 1) * MINUTE)
    rig.to(OPEN + 330 * MINUTE)
    assert not rig.mute_at


def test_history_alone_tells_that_a_feed_is_mute_from_the_open() -> None:
    rig = Rig(names(50), fill_rate=0.9)
    rig.to(OPEN + 10 * MINUTE)
    assert OPEN + MINUTE < rig.mute_at[0] < OPEN + 2 * MINUTE
    unknown = Rig(names(5))
    unknown.to(OPEN + 20 * MINUTE)
    assert not unknown.mute_at


def test_fifty_sparse_symbols_are_mute_after_few_slots_and_never_while_they_trade() -> None:
    rng = np.random.default_rng(11)
    rig = Rig(names(50))
    for k in range(200):
        chosen = [name for name, hit in zip(names(50), rng.random(50) < 0.1, strict=True) if hit]
        rig.bars(chosen, OPEN + (k + 1) * MINUTE)
    assert not rig.mute_at
    rig.to(OPEN + 230 * MINUTE)
    assert rig.mute_at[0] <= OPEN + 203 * MINUTE


def test_heartbeats_and_quotes_are_no_bars() -> None:
    rig = Rig(names(20))
    last = rig.minutes(10, names(20))
    for k in range(60, 130):
        rig.to(last + k * S)
        rig.monitor.note_heartbeat(rig.now_ns)
        rig.monitor.note_message(rig.now_ns)
    assert len(rig.mute_at) == 1
    assert rig.monitor.health.connected
    assert "the connection lived at 13:41:" in rig.monitor.health.reason


def test_correction_ends_a_silence_as_a_bar_does() -> None:
    rig = Rig(names(20))
    last = rig.minutes(10, names(20))
    rig.to(last + 2 * MINUTE)
    assert rig.monitor.health.state == "mute"
    rig.monitor.note_bar("S000", last, rig.now_ns, True)
    assert rig.monitor.health.state == "live"
    assert set(rig.states().values()) == {"waiting"}


@pytest.mark.parametrize("lag_s", [5, 20, 45])
def test_slow_feed_is_not_mute(lag_s: int) -> None:
    rig = Rig(names(50))
    for k in range(100):
        rig.bars(names(50), OPEN + (k + 1) * MINUTE, lag_s * S)
    assert not rig.mute_at
    rig.to(OPEN + 105 * MINUTE)
    assert rig.mute_at


def test_bars_without_connection_or_before_the_day_begins_make_nothing_mute() -> None:
    monitor = FeedMonitor("feed", 2.0)
    monitor.add("A", "1m")
    assert not monitor.check(OPEN)
    monitor.begin(WINDOW)
    monitor.note_bar("A", OPEN + MINUTE, OPEN + MINUTE + 1)
    assert monitor.health.state == "connecting"
    assert not monitor.check(OPEN + 300 * MINUTE)


def test_lunch_is_no_silence_and_the_time_after_it_is() -> None:
    rig = Rig(names(30), LUNCH)
    rig.minutes(120, names(30))
    rig.to(LUNCH.segments[1][0] + MINUTE + S)
    assert not rig.mute_at
    assert rig.monitor.health.state == "live"
    assert set(rig.states().values()) == {"live"}
    rig.to(LUNCH.segments[1][0] + 5 * MINUTE)
    assert len(rig.mute_at) == 1


def test_bars_after_lunch_go_on_where_those_before_it_ended() -> None:
    rig = Rig(names(30), LUNCH)
    rig.minutes(120, names(30))
    rig.minutes(60, names(30), first=180)
    assert not rig.mute_at
    assert set(rig.states().values()) == {"live"}


@pytest.mark.parametrize("window", [WINDOW, HALF_DAY, LUNCH])
def test_neither_before_the_open_nor_after_the_close_is_anything_mute(
    window: SessionWindow,
) -> None:
    rig = Rig(names(30), window, fill_rate=0.99)
    rig.to(OPEN + MINUTE)
    assert not rig.mute_at
    for opened, closed in window.segments:
        rig.minutes((closed - opened) // MINUTE, names(30), (opened - OPEN) // MINUTE)
    rig.to(window.close_ns + 60 * MINUTE)
    assert not rig.mute_at
    assert rig.monitor.health.state == "live"


def test_last_slot_before_lunch_or_the_close_is_no_evidence() -> None:
    rig = Rig(names(30), LUNCH)
    rig.minutes(119, names(30))
    rig.to(LUNCH.segments[1][0] + MINUTE)
    assert not rig.mute_at
    rig.minutes(119, names(30), first=180)
    rig.to(LUNCH.close_ns + 60 * MINUTE)
    assert not rig.mute_at


def test_symbol_added_during_a_silence_is_evidence_of_its_own_time_alone() -> None:
    rig = Rig(["A"], fill_rate=0.03)
    rig.minutes(1, "A")
    rig.to(OPEN + 20 * MINUTE + 30 * S)
    for name in names(50):
        rig.monitor.add(name, "1m", fill_rate=0.9)
    rig.to(OPEN + 22 * MINUTE)
    assert not rig.mute_at
    rig.to(OPEN + 23 * MINUTE)
    assert rig.mute_at


def test_session_begun_at_noon_expects_nothing_of_the_morning() -> None:
    rig = Rig([])
    rig.now_ns = OPEN + 120 * MINUTE + 20 * S
    rig.monitor.note_connected(rig.now_ns)
    rig.monitor.add("A", "1m", fill_rate=0.5)
    rig.to(OPEN + 122 * MINUTE)
    assert rig.monitor.health.state == "live"
    assert rig.states() == {"A": "waiting"}


def test_feed_mute_again_when_connected_anew_is_given_twice_as_long_each_time() -> None:
    rig = Rig(names(50))
    last = rig.minutes(30, names(50))
    waits = []
    connected = last
    for _ in range(6):
        n = len(rig.mute_at)
        while len(rig.mute_at) == n:
            rig.to(rig.now_ns + S)
        waits.append(round((rig.now_ns - connected) / MINUTE))
        rig.monitor.note_disconnected(rig.now_ns, "mute")
        connected = rig.now_ns + S
        rig.monitor.note_connected(connected)
    assert waits == [1, 2, 4, 8, 16, 16]
    assert rig.monitor.health.n_drops == 6
    rig.to(rig.now_ns + 15 * MINUTE + 30 * S)
    assert set(rig.states().values()) == {"waiting"}  # no other came either
    last = rig.minutes(5, names(50), first=100)
    rig.mute_at.clear()
    rig.to(last + 2 * MINUTE)
    assert rig.mute_at


def test_pauses_taken_for_a_mute_feed_are_learnt_from() -> None:
    rig = Rig()
    rig.connects_anew = True
    n_told = []
    for k in range(0, 380, 70):
        rig.minutes(20, "A", first=k)
        n_told.append(len(rig.mute_at))
    assert n_told[1] > 0
    assert n_told[-1] == n_told[1]


def test_bar_ends_the_silence_and_its_slots_say_nothing_of_the_symbols() -> None:
    rig, undisturbed = Rig(["A", "B"]), Rig(["A", "B"])
    rig.minutes(60, "AB")
    rig.to(OPEN + 120 * MINUTE)
    assert len(rig.mute_at) == 1
    rig.told.clear()
    last = rig.minutes(60, "AB", first=120)
    told = [(getattr(h, "symbol", h.source), h.state) for h in rig.told]
    assert told == [
        ("feed", "live"), ("A", "waiting"), ("B", "waiting"), ("A", "live"), ("B", "live"),
    ]  # fmt: skip
    same = undisturbed.minutes(120, "AB")
    rig.to(last + 10 * MINUTE)
    undisturbed.to(same + 10 * MINUTE)
    assert rig.mute_at[1] - last == undisturbed.mute_at[0] - same


def test_outage_says_nothing_of_the_symbols() -> None:
    rig, undisturbed = Rig(["A", "B"]), Rig(["A", "B"])
    rig.minutes(60, "AB")
    rig.monitor.note_disconnected(rig.now_ns, "lost")
    rig.to(OPEN + 120 * MINUTE + 10 * S)
    assert not rig.mute_at
    rig.monitor.note_connected(rig.now_ns)
    last = rig.minutes(60, "AB", first=120)
    same = undisturbed.minutes(120, "AB")
    rig.to(last + 10 * MINUTE)
    undisturbed.to(same + 10 * MINUTE)
    assert rig.mute_at[0] - last == undisturbed.mute_at[0] - same


def test_next_day_begins_without_the_last_ones_silence() -> None:
    rig = Rig(names(30))
    rig.minutes(390, names(30))
    shift = 24 * 60 * MINUTE
    rig.to(OPEN + shift - MINUTE)
    tomorrow = [(opened + shift, closed + shift) for opened, closed in WINDOW.segments]
    rig.monitor.begin(SessionWindow(date(2025, 7, 3), tomorrow))
    assert set(rig.states().values()) == {"waiting"}
    assert rig.monitor.health.n_bars == 390 * 30
    rig.to(OPEN + shift + MINUTE)
    assert not rig.mute_at
    rig.bars(names(30), OPEN + shift + MINUTE)
    assert set(rig.states().values()) == {"live"}


def _spread(n: int) -> list[float]:
    return [(0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.97, 1.0)[k % 10] for k in range(n)]


def _lulls(rng: np.random.Generator, rates: np.ndarray, n: int) -> np.ndarray:
    # Each slot is like the one before it half of the time.
    held = rng.random((n, len(rates))) < rates
    stays = rng.random((n, len(rates))) < 0.5
    for k in range(1, n):
        held[k] = np.where(stays[k], held[k - 1], held[k])
    return held


@pytest.mark.parametrize(
    ("rates", "is_bursty"),
    [
        ([1.0], False),
        ([0.9], False),
        ([0.5], False),
        ([0.02], False),
        (_spread(50), False),
        (_spread(50), True),
        ([0.02] * 50, False),
        ([0.2] * 50, True),
    ],
)
def test_healthy_days_raise_no_false_alarm(rates: list[float], is_bursty: bool) -> None:
    symbols = names(len(rates))
    for seed in range(3):
        rng = np.random.default_rng(seed)
        odds = np.array(rates)
        held = _lulls(rng, odds, 390) if is_bursty else rng.random((390, len(rates))) < odds
        rig = Rig(symbols)
        for k, row in enumerate(held):
            end = OPEN + (k + 1) * MINUTE
            # Silence only grows until a bar comes: some looks, and one as it comes, miss nothing.
            rig.now_ns = end - 2 * S
            rig.bars([symbols[n] for n in np.flatnonzero(row)], end)
            for after in range(3, 60, 10):
                assert not rig.monitor.check(end + after * S), f"seed {seed}, slot {k}"
        assert not rig.mute_at


def test_one_second_bars_need_some_seconds_of_silence() -> None:
    rig = Rig(names(20), interval="1s")
    last = rig.minutes(300, names(20))
    rig.to(last + 60 * S)
    assert 5 * S <= rig.mute_at[0] - last <= 10 * S


def test_rehearsal_may_ask_for_a_longer_silence() -> None:
    monitor = FeedMonitor("feed", 2.0, least_silence_s=600)
    monitor.begin(WINDOW)
    for name in names(50):
        monitor.add(name, "1m", fill_rate=0.9)
    monitor.note_connected(OPEN)
    assert not monitor.check(OPEN + 10 * MINUTE)
    assert monitor.check(OPEN + 11 * MINUTE)


def test_shorter_slots_need_more_of_them() -> None:
    held = np.flatnonzero(np.random.default_rng(5).random(200) < 0.5)
    waited = []
    for interval in ("1s", "1m"):
        rig = Rig(interval=interval)
        for k in held:
            rig.bars("A", OPEN + int(k + 1) * rig.step, lag_ns=1000)
        last = rig.now_ns
        rig.to(last + 40 * rig.step)
        waited.append((rig.mute_at[0] - last) // rig.step)
    assert waited[0] >= waited[1] + 4
