"""What of a live session's health is worth a line, and which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.cli.live_events import LiveEvents, feed_lines, feed_summaries, lasting, queue_line
from openbell.live.latency import LatencyHistogram
from openbell.schema import BAR_DTYPE
from tests.healths import feed, symbol
from tests.waiting import wait_until

SECOND = 10**9
WINDOW = ob.TimeManager("XNYS").session_window(date(2025, 7, 2))


class Root(dict[str, None]):
    """Of two symbols."""

    window = WINDOW

    def __init__(self) -> None:
        super().__init__({"AAPL": None, "TSLA": None})

    def __iter__(self) -> Iterator[Any]:
        return iter([SimpleNamespace(symbol=name) for name in self.keys()])


class Told:
    """A session that tells what a test says, ten minutes after its open."""

    def __init__(self) -> None:
        self.root = Root()
        self.results: dict[str, Any] = {}
        self.phase = "running"
        self.time_manager = SimpleNamespace(now_ns=WINDOW.open_ns + 600 * SECOND)
        self.on_loaded = self.on_feed_change = self.on_backfilled = self._keep
        self._callbacks: list[Callable[..., object]] = []
        self.events = LiveEvents(self)
        self.tell, self._fill, self._load = self._callbacks
        assert self.take() == ["XNYS is open since 13:30:00"]

    def _keep(self, callback: Callable[..., object]) -> None:
        self._callbacks.append(callback)

    def fill(self, name: str, n_bars: int, why: str = "connected anew") -> None:
        self._fill(SimpleNamespace(symbol=name), np.zeros(n_bars, BAR_DTYPE), why)

    def load(self, name: str) -> None:
        self._load(SimpleNamespace(symbol=name))

    def wait(self, seconds: float) -> None:
        self.time_manager.now_ns += round(seconds * SECOND)

    def take(self, *, is_last: bool = False) -> list[str]:
        taken = self.events.take(is_last=is_last)
        assert all(line.startswith("2025-07-02 ") for line in taken)
        return [line[21:] for line in taken]


@pytest.fixture
def session() -> Told:
    return Told()


@pytest.mark.parametrize("why", ["connected anew", "queue overflow, connected anew"])
def test_events_of_a_lost_feed_tell_how_long_it_was_away_and_what_was_filled_in(
    session: Told, why: str
) -> None:
    session.tell(feed("alpaca", "connecting"))
    session.tell(feed("alpaca", "live"))
    assert session.take() == ["alpaca: connected"]
    session.tell(feed("alpaca", "down", "the connection was closed"))
    assert session.take() == ["alpaca: lost: the connection was closed"]
    session.wait(42)
    session.tell(feed("alpaca", "live"))
    session.fill("AAPL", 3, why)
    session.fill("TSLA", 2, why)
    # Bars come symbol by symbol: it is told when no more do.
    assert session.take() == []
    lines: list[str] = []
    wait_until(lambda: lines.extend(session.take()) or lines)
    assert lines == ["alpaca: back after 42 s, 5 bars of AAPL, TSLA filled in"]


def test_events_of_a_feed_that_missed_nothing_tell_of_its_return(session: Told) -> None:
    session.tell(feed("alpaca", "live"))
    session.tell(feed("alpaca", "down", "gone"))
    session.wait(3700)
    session.tell(feed("alpaca", "live"))
    session.tell(feed("alpaca", "down", "gone again"))
    assert session.take() == [
        "alpaca: connected",
        "alpaca: lost: gone",
        "alpaca: back after 1:01:40",
        "alpaca: lost: gone again",
    ]


def test_events_of_a_mute_feed_leave_out_that_it_is_connected_anew(session: Told) -> None:
    session.tell(feed("alpaca", "live"))
    last_ns = session.time_manager.now_ns - 300 * SECOND
    session.tell(feed("alpaca", "mute", "no bar came", last_message_ns=last_ns))
    session.tell(feed("alpaca", "down", "asked to connect anew"))
    session.tell(feed("alpaca", "live"))
    session.fill("AAPL", 5)
    assert session.take(is_last=True) == [
        "alpaca: connected",
        "alpaca: mute: no bar came; connecting anew",
        "alpaca: back after 0:05:00, 5 bars of AAPL filled in",
    ]


def test_events_of_a_feed_that_never_was_there_say_so(session: Told) -> None:
    session.tell(feed("alpaca", "down", "connection refused"))
    session.tell(feed("alpaca", "failed", "auth failed"))
    assert session.take() == [
        "alpaca: not reached: connection refused",
        "alpaca: refused: auth failed; it is not tried again",
    ]


def test_events_of_symbols_are_those_of_their_own(session: Told) -> None:
    session.tell(feed("alpaca", "live"))
    session.tell(symbol("AAPL", "live"))
    session.tell(symbol("BAD", "refused", "unknown symbol"))
    session.tell(symbol("AAPL", "quiet", "no bar in 3 slots"))
    session.tell(symbol("AAPL", "silent", "no bar in 30 slots"))
    session.tell(symbol("AAPL", "live"))
    session.load("NVDA")
    # With the source, all of its symbols are silent.
    session.tell(feed("alpaca", "mute", "no bar came"))
    session.tell(symbol("AAPL", "silent", "no bar came"))
    assert session.take() == [
        "alpaca: connected",
        "BAD: refused by alpaca: unknown symbol",
        "AAPL: silent: no bar in 30 slots",
        "AAPL: its bars come again",
        "NVDA: joined",
        "alpaca: mute: no bar came; connecting anew",
    ]


def test_events_of_filled_gaps_say_why(session: Told) -> None:
    session.fill("AAPL", 1, "missing bars")
    assert session.take() == []
    assert session.take(is_last=True) == ["1 bar of AAPL filled in (missing bars)"]


def test_events_tell_pauses_and_the_end(session: Told) -> None:
    session.phase = "paused"
    assert session.take() == ["paused: bars that come wait"]
    session.phase = "running"
    assert session.take() == ["goes on"]
    session.time_manager.now_ns = WINDOW.close_ns + SECOND
    assert session.take() == []
    assert session.take(is_last=True) == ["2025-07-02 is over"]
    session.phase = "stopped"
    assert session.take() == ["2025-07-02 is over; corrections were not waited for"]


def test_events_of_a_stop_before_the_close_say_when_that_is(session: Told) -> None:
    session.phase = "stopped"
    assert session.take() == ["stopped before the close, 2025-07-02 20:00:00 UTC"]


def test_events_of_a_pause_before_the_open_tell_the_open_once_and_when_it_was() -> None:
    session: Any = Told.__new__(Told)
    session.root, session.results = Root(), {}
    session.time_manager = SimpleNamespace(now_ns=WINDOW.open_ns - 60 * SECOND)
    session.on_loaded = session.on_feed_change = session.on_backfilled = lambda _: None
    session.events = LiveEvents(session)
    told = []
    for phase in ("waiting", "paused", "waiting"):
        session.phase = phase
        told += session.take()
    assert told[1:] == ["paused: bars that come wait", "goes on"]
    session.phase = "running"
    session.wait(75)
    assert session.events.take() == ["2025-07-02 13:30:00  XNYS is open"]
    session.phase = "paused"
    session.take()
    session.phase = "running"
    assert session.take() == ["goes on"]


def test_events_of_a_session_without_a_record_do_not_say_that_it_is_open() -> None:
    session: Any = SimpleNamespace(
        root=Root(), results={}, phase="running",
        time_manager=SimpleNamespace(now_ns=WINDOW.open_ns + SECOND),
        on_loaded=lambda _: None, on_feed_change=lambda _: None, on_backfilled=lambda _: None,
    )  # fmt: skip
    session.root.clear()
    assert LiveEvents(session).take() == []


def test_events_of_removed_symbols_are_not_those_of_refused_ones(session: Told) -> None:
    del session.root["AAPL"], session.root["TSLA"]
    session.results["TSLA"] = SimpleNamespace(can_proceed=False)
    assert session.take() == ["AAPL: removed"]
    assert session.take() == []


def test_lines_of_feeds_tell_what_is_not_as_it_should_be() -> None:
    latency = LatencyHistogram()
    session: Any = SimpleNamespace(
        feed_health=[
            feed("alpaca", "down", "gone", lag_s=0.25, n_bars=1200, n_drops=1, n_garbage=2),
        ],
        queue_depth=3, queue_capacity=1000, latency=latency,
    )  # fmt: skip
    assert feed_lines(session.feed_health, []) == [
        "alpaca  down  lag 250 ms  1 drop  0 backfilled  gone",
    ]
    states = ["silent", *["quiet"] * 7]
    symbols = [symbol(f"S{n}", state) for n, state in enumerate(states)]
    assert feed_lines([], symbols) == ["quiet: S1, S2, S3, S4, S5 and 2 more  silent: S0"]
    assert queue_line(session) == "queue 3 of 1,000"
    latency.add(1_000)
    assert queue_line(session).startswith("queue 3 of 1,000  latency ")
    for _ in range(9):
        latency.add(2 * SECOND)
    assert queue_line(session).endswith("latency over 1 s p50, over 1 s p99")
    assert feed_summaries(session)[0] == (
        "alpaca: 1,200 bars, 0 corrections, 1 drop, 0 backfilled, 2 not understood"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "0:01:00"), (86_399, "23:59:59"), (90_061, "1 day 1:01:01")],
)
def test_lasting_reads_as_people_do(seconds: float, text: str) -> None:
    assert lasting(seconds) == text
