"""The synthetic source as a live feed: the bars of the replay, when they are over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from typing import Any

import numpy as np
import pytest

from openbell.clock import SessionWindow, TimeManager
from openbell.clock.live import AcceleratedClock
from openbell.errors import DataSourceError, SessionStateError
from openbell.schema import BAR_DTYPE
from openbell.sources import SyntheticSource
from openbell.sources.streaming import BarStream, StreamingSource
from openbell.sources.synthetic_stream import SyntheticStream, windows_from
from tests.waiting import wait_until

DAY = date(2025, 7, 2)
SECOND = 10**9


class Receiver:
    """Notes what a stream tells, in order, and by which clock."""

    def __init__(self, clock: AcceleratedClock) -> None:
        self.clock = clock
        self.bars: dict[str, list[tuple[Any, ...]]] = {}
        self.early: list[tuple[str, int]] = []
        self.events: list[tuple[str, ...]] = []
        self.n_bars = self.n_heartbeats = 0
        self.step_ns = SECOND
        self.thread = ""

    def on_bar(self, symbol: str, ts_ns: int, *values: Any) -> None:
        if self.clock.now_ns() < ts_ns + self.step_ns:
            self.early.append((symbol, ts_ns))
        *prices, trade_count, vwap, is_update = values
        assert np.isnan([trade_count, vwap]).all()
        assert is_update is False
        self.bars.setdefault(symbol, []).append((ts_ns, *prices))
        self.n_bars += 1
        self.thread = threading.current_thread().name

    def on_heartbeat(self) -> None:
        self.n_heartbeats += 1

    def on_connected(self) -> None:
        self.events.append(("connected",))

    def on_disconnected(self, reason: str) -> None:
        self.events.append(("disconnected", reason))

    def on_refused(self, symbol: str, reason: str) -> None:
        self.events.append(("refused", symbol, reason))

    def array(self, symbol: str) -> np.ndarray[Any, Any]:
        return np.array(self.bars.get(symbol, []), BAR_DTYPE)


@pytest.fixture
def opened() -> Iterator[list[SyntheticStream]]:
    streams: list[SyntheticStream] = []
    yield streams
    for stream in streams:
        assert stream.stop(10)


def start(
    opened: list[SyntheticStream], source: SyntheticSource, interval: str, clock: AcceleratedClock
) -> tuple[SyntheticStream, Receiver]:
    stream, receiver = source.stream(interval, clock), Receiver(clock)
    stream.start(receiver)  # type: ignore[arg-type]
    opened.append(stream)
    return stream, receiver


def make(hours: list[list[str]], **kwargs: Any) -> tuple[SyntheticSource, SessionWindow]:
    manager = TimeManager("XNYS", hours=hours)
    source = SyntheticSource(time_manager=manager, **kwargs)
    return source, manager.session_window(DAY)


def test_source_and_stream_are_what_the_protocols_say() -> None:
    source = SyntheticSource()
    assert isinstance(source, StreamingSource)
    stream: BarStream = source.stream("1m", AcceleratedClock(0, 1.0))
    assert stream.name == "synthetic"
    assert stream.stop()


@pytest.mark.parametrize("interval", ["1s", "1m"])
def test_stream_sends_the_bars_of_the_day_each_when_it_is_over(
    opened: list[SyntheticStream], interval: str
) -> None:
    source, window = make([["09:30", "09:40"], ["10:00", "10:10"]], seed=3)
    clock = AcceleratedClock(window.open_ns - 60 * SECOND, 4000.0)
    stream, receiver = start(opened, source, interval, clock)
    receiver.step_ns = window.grid(interval).step_ns
    stream.subscribe(["A", "B", "C"])
    wanted = {s: source.load(s, interval, window) for s in "ABC"}
    wait_until(lambda: receiver.n_bars >= sum(map(len, wanted.values())))
    for symbol, bars in wanted.items():
        assert receiver.array(symbol).tobytes() == bars.tobytes()
    assert receiver.early == []
    assert receiver.events == [("connected",)]
    assert receiver.thread == "openbell-synthetic-stream"


def test_stream_goes_on_with_the_next_day(opened: list[SyntheticStream]) -> None:
    source, window = make([["09:30", "09:31"]])
    next_window = source._sessions.session_window(date(2025, 7, 3))
    clock = AcceleratedClock(window.open_ns - 30_000 * SECOND, 200_000.0)
    stream, receiver = start(opened, source, "1m", clock)
    stream.subscribe(["A"])
    wait_until(lambda: receiver.n_bars >= 2)
    days = [source.load("A", "1m", w) for w in (window, next_window)]
    assert receiver.array("A")[:2].tobytes() == np.concatenate(days).tobytes()


def test_stream_makes_more_bars_when_those_held_run_out(opened: list[SyntheticStream]) -> None:
    source, window = make([["09:30", "10:20"]], fill_rate=1.0)
    clock = AcceleratedClock(window.open_ns - 3000 * SECOND, 20_000.0)
    stream, receiver = start(opened, source, "1s", clock)
    stream.subscribe(["A"])
    wait_until(lambda: receiver.n_bars >= 3000)
    assert receiver.array("A").tobytes() == source.load("A", "1s", window).tobytes()
    assert all(len(feed.bars) < 2048 for feed in stream._feeds.values())


def test_stream_and_load_between_leave_no_hole_in_mid_session(
    opened: list[SyntheticStream],
) -> None:
    source, window = make([["09:30", "09:50"]])
    clock = AcceleratedClock(window.open_ns + 301 * SECOND, 1000.0)
    stream, receiver = start(opened, source, "1s", clock)
    stream.subscribe(["A"])
    wait_until(lambda: receiver.n_bars > 10)
    ((_, past, _),) = source.load_between(["A"], "1s", window.open_ns, window.close_ns)
    assert isinstance(past, np.ndarray)
    bars = source.load("A", "1s", window)
    assert past.tobytes() == bars[: len(past)].tobytes()
    wait_until(lambda: receiver.bars["A"][-1][0] == bars["timestamp"][-1])
    merged = {row[0]: row for row in [*past.tolist(), *receiver.bars["A"]]}
    assert np.array([merged[ts] for ts in sorted(merged)], BAR_DTYPE).tobytes() == bars.tobytes()


def test_unsubscribe_ends_a_symbol_and_subscribe_begins_it_again(
    opened: list[SyntheticStream],
) -> None:
    source, window = make([["09:30", "16:00"]], fill_rate=1.0)
    stream, receiver = start(opened, source, "1s", AcceleratedClock(window.open_ns, 1000.0))
    stream.subscribe(["A", "B"])
    wait_until(lambda: len(receiver.bars) == 2)
    stream.unsubscribe(["A", "never asked for"])
    wait_until(lambda: "A" not in stream._feeds)
    n_then, b_then = len(receiver.bars["A"]), len(receiver.bars["B"])
    wait_until(lambda: len(receiver.bars["B"]) > b_then + 50)
    assert len(receiver.bars["A"]) == n_then
    stream.subscribe(["A", "B"])
    wait_until(lambda: len(receiver.bars["A"]) > n_then + 5)
    labels = [row[0] for row in receiver.bars["B"]]
    assert np.array_equal(np.diff(labels), np.full(len(labels) - 1, SECOND))


def test_unknown_symbol_is_refused_alone(opened: list[SyntheticStream]) -> None:
    source, window = make([["09:30", "16:00"]], symbols=["A"], fill_rate=1.0)
    stream, receiver = start(opened, source, "1s", AcceleratedClock(window.open_ns, 1000.0))
    stream.subscribe(["NOPE", "A"])
    wait_until(lambda: receiver.n_bars > 0)
    assert receiver.events == [("connected",), ("refused", "NOPE", "unknown symbol")]
    ((symbol, error, _), (_, bars, _)) = source.load_between(["NOPE", "A"], "1s", 0, 10)
    assert (symbol, type(error), len(bars)) == ("NOPE", DataSourceError, 0)  # type: ignore[arg-type]


def test_reconnect_is_told_and_loses_nothing(opened: list[SyntheticStream]) -> None:
    source, window = make([["09:30", "16:00"]], fill_rate=1.0)
    stream, receiver = start(opened, source, "1s", AcceleratedClock(window.open_ns, 1000.0))
    stream.reconnect()
    stream.subscribe(["A"])
    wait_until(lambda: receiver.n_bars > 10)
    stream.reconnect()
    wait_until(lambda: len(receiver.events) == 3)
    assert [event[0] for event in receiver.events] == ["connected", "disconnected", "connected"]
    n_then = receiver.n_bars
    wait_until(lambda: receiver.n_bars > n_then + 10)
    assert (np.diff(receiver.array("A")["timestamp"]) == SECOND).all()


def test_stream_tells_that_it_lives_while_the_market_is_closed(
    opened: list[SyntheticStream],
) -> None:
    source, window = make([["09:30", "16:00"]])
    clock = AcceleratedClock(window.open_ns - 3600 * SECOND, 2000.0)
    stream, receiver = start(opened, source, "1s", clock)
    stream.subscribe(["A"])
    wait_until(lambda: receiver.n_heartbeats > 3)
    assert receiver.n_bars == 0


def test_stream_of_another_interval_or_started_twice_is_refused(
    opened: list[SyntheticStream],
) -> None:
    source, window = make([["09:30", "16:00"]])
    clock = AcceleratedClock(window.open_ns, 1.0)
    with pytest.raises(DataSourceError, match="streams 1s, 1m bars, not 5m"):
        source.stream("5m", clock)
    stream, receiver = start(opened, source, "1m", clock)
    with pytest.raises(SessionStateError, match="streaming already"):
        stream.start(receiver)  # type: ignore[arg-type]


def test_quotes_and_trades_are_said_to_be_absent(caplog: pytest.LogCaptureFixture) -> None:
    SyntheticSource().stream("1m", AcceleratedClock(0, 1.0), quotes=True)
    assert "neither quotes nor trades" in caplog.text


def test_load_between_leaves_out_what_is_not_over() -> None:
    source, window = make([["09:30", "09:40"], ["10:00", "10:10"]], fill_rate=1.0)
    minute = 60 * SECOND

    def labels(now_ns: int, start_ns: int = 0, end_ns: int = 2**62) -> list[int]:
        source._clock = AcceleratedClock(now_ns, 1e-9)
        start_ns, end_ns = max(start_ns, window.open_ns - 9), min(end_ns, window.close_ns + 9)
        ((_, bars, _),) = source.load_between(["A"], "1m", start_ns, end_ns)
        assert isinstance(bars, np.ndarray)
        return [(ts - window.open_ns) // minute for ts in bars["timestamp"].tolist()]

    opened_ns = window.open_ns
    assert labels(opened_ns - 1) == []
    assert labels(opened_ns + 3 * minute - 1) == [0, 1]
    assert labels(opened_ns + 3 * minute) == [0, 1, 2]
    assert labels(opened_ns + 15 * minute) == list(range(10))
    assert labels(opened_ns + 31 * minute) == [*range(10), 30]
    assert labels(window.close_ns) == [*range(10), *range(30, 40)]
    assert labels(window.close_ns, opened_ns + minute, opened_ns + 31 * minute) == [
        *range(1, 10),
        30,
    ]


def test_load_between_spans_sessions() -> None:
    source, window = make([["09:30", "09:31"]])
    later = source._sessions.session_window(date(2025, 7, 7))
    ((_, bars, _),) = source.load_between(["A"], "1m", window.open_ns, later.close_ns)
    assert isinstance(bars, np.ndarray)
    assert [window.open_ns, later.open_ns] == bars["timestamp"][[0, -1]].tolist()
    assert len(bars) == 3


def test_windows_from_begins_with_the_session_under_way() -> None:
    manager = TimeManager("XNYS")
    window = manager.session_window(DAY)
    for ts_ns in (window.open_ns - 1, window.open_ns, window.close_ns - 1):
        assert next(windows_from(manager, ts_ns)).date == DAY
    assert next(windows_from(manager, window.close_ns)).date == date(2025, 7, 3)
