"""What a live session is given is checked when it is given, and what it is told of is said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

import openbell as ob
from openbell.clock.live import AcceleratedClock, LiveClock
from openbell.errors import ArgumentError, SessionStateError

LIVE: dict[str, Any] = {
    "session": {"mode": "live", "symbols": ["A"], "streams": ["1m"], "base": "1m"},
    "data": {"sources": ["synthetic"]},
}
BACKTEST: dict[str, Any] = {
    "session": {"start_date": "2025-07-02", "symbols": ["A"], "streams": ["1m"]},
    "data": {"sources": ["synthetic"]},
}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"clock": "now"}, "clock"),
        ({"record": 3}, "record"),
        ({"resume": "yes"}, "resume"),
        ({"resume": True}, "resume"),
    ],
)
def test_arguments_of_a_live_session_are_checked(given: dict[str, Any], name: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        ob.open_session(LIVE, **given)
    assert caught.value.name == name


def test_callbacks_that_cannot_be_called_are_refused() -> None:
    session = ob.open_session(LIVE)
    for tell in (session.on_feed_change, session.on_backfilled):
        with pytest.raises(ArgumentError, match="a function"):
            tell(3)  # type: ignore[arg-type]


def test_backtest_has_no_live_side() -> None:
    session = ob.open_session(BACKTEST)
    assert (session.live, session.feed_health, session.symbol_health) == (None, [], {})
    assert (session.queue_depth, session.queue_capacity, session.latency) == (0, 0, None)
    for tell in (session.on_feed_change, session.on_backfilled):
        with pytest.raises(SessionStateError, match="a backtest"):
            tell(print)


@pytest.mark.parametrize("speed", [0.0, -1.0, float("inf"), float("nan")])
def test_accelerated_clock_refuses_a_speed_that_is_none(speed: float) -> None:
    with pytest.raises(ArgumentError, match="above 0"):
        AcceleratedClock(0, speed)


def test_accelerated_clock_refuses_a_start_that_is_no_instant() -> None:
    with pytest.raises(ArgumentError, match="nanoseconds"):
        AcceleratedClock(datetime(2025, 7, 2), 2.0)  # type: ignore[arg-type]


def test_accelerated_clock_runs_as_many_times_as_fast() -> None:
    clock, wall = AcceleratedClock(10**18, 1000.0), LiveClock()
    before, wall_before = clock.now_ns(), wall.now_ns()
    while wall.now_ns() - wall_before < 20_000_000:
        pass
    passed_s = (clock.now_ns() - before) / 1e9
    assert 20.0 <= passed_s < 2000.0
    assert clock.wall_seconds(60.0) == 0.06
    assert clock.wall_seconds_until(before) == 0.0
    assert 0.0 < clock.wall_seconds_until(clock.now_ns() + 3600 * 10**9) <= 3.6
