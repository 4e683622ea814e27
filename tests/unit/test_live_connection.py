"""What a loss may have cost: which slots, and what history is asked for."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import pytest

import openbell as ob
from openbell.clock.live import LiveClock
from openbell.live.connection import Connection
from openbell.live.inbox import Inbox
from openbell.sources import SyntheticSource
from openbell.sources.streaming import StreamReceiver

SECOND = 10**9
MINUTE = 60 * SECOND
WINDOW = ob.TimeManager("XNYS").session_window(date(2025, 7, 2))
OPEN, CLOSE = WINDOW.open_ns, WINDOW.close_ns


class Silent:
    """A stream that notes what it is asked for."""

    name = "silent"

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    def start(self, receiver: StreamReceiver) -> None:
        self.calls.append(("start", ()))

    def subscribe(self, symbols: Collection[str]) -> None:
        self.calls.append(("subscribe", tuple(symbols)))

    def unsubscribe(self, symbols: Collection[str]) -> None:
        self.calls.append(("unsubscribe", tuple(symbols)))

    def reconnect(self) -> None:
        self.calls.append(("reconnect", ()))

    def stop(self, timeout_s: float = 1.5) -> bool:
        self.calls.append(("stop", ()))
        return True


class SilentSource(SyntheticSource):
    name = "silent"

    def stream(self, interval: str, clock: LiveClock, **options: bool) -> Silent:  # type: ignore[override]
        return Silent()


def connection(since_ns: int) -> Connection:
    return Connection(
        SilentSource(), "1m", WINDOW, LiveClock(), Inbox(16),
        grace_s=2.0, quotes=False, trades=False, since_ns=since_ns,
    )  # fmt: skip


def at(minute: float, second: float = 0.0) -> int:
    return OPEN + int(minute * MINUTE + second * SECOND)


def test_first_connection_before_the_open_asks_for_nothing() -> None:
    one = connection(at(-30))
    assert one.note_up(at(-29)) == ((OPEN, at(-29)), None)


def test_first_connection_in_the_day_asks_for_what_ended_just_before() -> None:
    one = connection(at(90, 10))
    asked, outage = one.note_up(at(90, 11)) or ((0, 0), None)
    assert asked == (at(87, 10), at(90, 11))
    assert outage is None


def test_first_connection_that_takes_long_counts_from_when_it_was_tried() -> None:
    one = connection(at(0, -30))
    assert one.note_up(at(2, 30)) == ((OPEN, at(2, 30)), (at(0), at(2)))


@pytest.mark.parametrize(
    ("down", "up", "outage"),
    [
        ((10, 30), (10, 50), None),
        ((10, 30), (11, 1), (at(10), at(11))),
        ((10, 1), (10, 50), (at(9), at(10))),
        ((10, 3), (14, 59), (at(10), at(14))),
        ((389, 59), (395, 0), (at(389), CLOSE)),
    ],
)
def test_loss_costs_the_slots_that_ended_in_it_or_just_before(
    down: tuple[int, int], up: tuple[int, int], outage: tuple[int, int] | None
) -> None:
    one = connection(at(-5))
    one.note_up(at(-5))
    one.note_down(at(*down))
    found = one.note_up(at(*up))
    assert found is not None
    assert found[0] == (max(OPEN, at(*down) - 3 * MINUTE), min(at(*up), CLOSE))
    assert found[1] == outage


def test_loss_of_a_feed_that_lags_reaches_back_by_its_lag() -> None:
    one = connection(at(-5))
    one.subscribe(["A"])
    one.note_up(at(-5))
    one.monitor.note_connected(at(-5))
    one.monitor.note_bar("A", at(10), at(11, 40))
    one.note_down(at(11, 45))
    found = one.note_up(at(11, 50))
    assert found is not None
    assert found[1] == (at(10), at(11))


def test_loss_that_is_noted_twice_counts_from_the_earlier() -> None:
    one = connection(at(-5))
    one.note_up(at(-5))
    one.note_down(at(20, 30))
    one.note_down(at(12, 30))
    one.note_down(at(15, 30))
    found = one.note_up(at(20, 50))
    assert found is not None
    assert found[1] == (at(12), at(20))


def test_connected_again_without_a_loss_asks_for_nothing() -> None:
    one = connection(at(-5))
    one.note_up(at(-5))
    assert one.note_up(at(10)) is None


def test_loss_that_lasts_to_the_end_is_an_outage_of_those_subscribed() -> None:
    one = connection(at(-5))
    one.note_up(at(-5))
    one.note_down(at(380, 30))
    assert one.close_outage(CLOSE) is None
    one.subscribe(["A"])
    assert one.close_outage(CLOSE) == (at(380), CLOSE)


def test_symbols_are_subscribed_once_and_the_stream_started_with_the_first() -> None:
    one = connection(at(-5))
    one.subscribe(["A", "B"])
    one.subscribe(["B", "C"])
    one.unsubscribe("A")
    one.stop(1.0)
    assert isinstance(one.stream, Silent)
    assert one.stream.calls == [
        ("subscribe", ("A", "B")),
        ("start", ()),
        ("subscribe", ("C",)),
        ("unsubscribe", ("A",)),
        ("stop", ()),
    ]
    assert one.symbols == {"B", "C"}
