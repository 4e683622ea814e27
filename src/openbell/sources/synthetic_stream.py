"""The synthetic source as a live feed: each of its bars is sent when it is over."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from heapq import heappop, heappush
from itertools import count
from queue import Empty, SimpleQueue
from threading import Thread
from time import perf_counter
from typing import Final

import numpy as np

from openbell.clock import SessionWindow, TimeManager
from openbell.clock.live import LiveClock
from openbell.errors import OpenbellError, SessionStateError
from openbell.schema import BAR_DTYPE, NS_PER_SECOND, BarArray, Int64Array, to_datetime
from openbell.sources.streaming import StreamReceiver

__all__ = ["SyntheticStream", "windows_from"]

#: How long after its end a bar is sent.
_DELAY_NS: Final = 50_000_000
_HEARTBEAT_NS: Final = 10 * NS_PER_SECOND
#: A day of seconds is a megabyte a symbol: so many bars are held, and the day is made anew for
#: the next. Symbols differ, so that not all of them run out at one time.
_LEAST_ROWS: Final = 1024
_LONGEST_WAIT_S: Final = 1.0
#: After so many bars somebody may ask for something else.
_AT_ONCE: Final = 256
_NAN: Final = float("nan")

_log = logging.getLogger("openbell.sources")

Load = Callable[[str, SessionWindow], BarArray]


class _Feed:
    """The bars of one symbol that are next."""

    __slots__ = ("bars", "due_ns", "ends_ns", "is_wanted", "next", "number", "sent_ns", "symbol")

    def __init__(self, symbol: str, number: int, asked_ns: int) -> None:
        self.symbol = symbol
        self.number = number
        self.sent_ns = asked_ns
        self.is_wanted = True
        self.bars: BarArray = np.empty(0, BAR_DTYPE)
        self.ends_ns: Int64Array = np.empty(0, np.int64)
        self.next = 0
        self.due_ns = 0

    def __lt__(self, other: _Feed) -> bool:
        return (self.due_ns, self.number) < (other.due_ns, other.number)


class SyntheticStream:
    """Sends the bars that a source makes, as time passes. Nothing is ever lost on the way.

    Parameters
    ----------
    name : str
        The source's.
    load : callable
        Given a symbol and a window, its bars of that session; it raises for no known symbol.
    has_symbol : callable
    interval : str
    clock : LiveClock
        A bar is sent when its end, and 50 ms more, have passed by it.
    time_manager : TimeManager
        Whose sessions are streamed, one after the other.
    """

    def __init__(
        self,
        name: str,
        load: Load,
        has_symbol: Callable[[str], bool],
        interval: str,
        clock: LiveClock,
        time_manager: TimeManager,
    ) -> None:
        self.name = name
        self.interval = interval
        self._load = load
        self._has_symbol = has_symbol
        self._clock = clock
        self._time_manager = time_manager
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._feeds: dict[str, _Feed] = {}
        self._heap: list[_Feed] = []
        self._to_load: deque[_Feed] = deque()
        self._load_at = 0.0
        self._numbers = count()
        self._is_connected = False
        self._beat_ns = 0
        self._thread: Thread | None = None

    def start(self, receiver: StreamReceiver) -> None:
        """Start the thread; see :class:`~openbell.sources.streaming.BarStream`.

        Raises
        ------
        SessionStateError
            When it was started before.
        """
        if self._thread is not None:
            raise SessionStateError("start", "streaming already", "make another stream")
        name = "openbell-synthetic-stream"
        self._thread = Thread(target=self._run, args=(receiver,), name=name, daemon=True)
        self._thread.start()

    def subscribe(self, symbols: Collection[str]) -> None:
        """Send bars of these symbols too: those that end from now on."""
        asked, now_ns = list(symbols), self._clock.now_ns()
        self._calls.put(lambda: self._subscribe(asked, now_ns))

    def unsubscribe(self, symbols: Collection[str]) -> None:
        """Send no more bars of these symbols."""
        asked = list(symbols)
        self._calls.put(lambda: self._unsubscribe(asked))

    def reconnect(self) -> None:
        """Tell that the connection was lost, and that it is there again."""
        self._calls.put(self._reconnect)

    def stop(self, timeout_s: float = 1.5) -> bool:
        """End the thread; False when it has not ended in time."""
        self._calls.put(None)
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self, receiver: StreamReceiver) -> None:
        self._receiver = receiver
        while True:
            try:
                call = self._calls.get(timeout=self._send_due())
            except Empty:
                if self._to_load and perf_counter() >= self._load_at:
                    self._load_next()
                continue
            if call is None:
                return
            call()

    def _send_due(self) -> float:
        # Sends what is due, and says how long nothing is.
        heap, receiver, now_ns = self._heap, self._receiver, self._clock.now_ns()
        for _ in range(_AT_ONCE):
            if not heap or heap[0].due_ns > now_ns:
                break
            feed = heappop(heap)
            if not feed.is_wanted:
                continue
            ts_ns, open, high, low, close, volume = feed.bars[feed.next].item()
            receiver.on_bar(feed.symbol, ts_ns, open, high, low, close, volume, _NAN, _NAN, False)
            feed.sent_ns = int(feed.ends_ns[feed.next])
            feed.next += 1
            self._queue(feed)
        if self._is_connected and now_ns >= self._beat_ns:
            receiver.on_heartbeat()
            self._beat_ns = now_ns + _HEARTBEAT_NS
        wait_s = _LONGEST_WAIT_S
        if heap:
            wait_s = min(wait_s, self._clock.wall_seconds_until(heap[0].due_ns))
        if self._is_connected:
            wait_s = min(wait_s, self._clock.wall_seconds_until(self._beat_ns))
        if self._to_load:
            wait_s = min(wait_s, max(0.0, self._load_at - perf_counter()))
        return wait_s

    def _queue(self, feed: _Feed) -> None:
        if feed.next < len(feed.bars):
            feed.due_ns = int(feed.ends_ns[feed.next]) + _DELAY_NS
            heappush(self._heap, feed)
        else:
            self._to_load.append(feed)

    def _load_next(self) -> None:
        feed = self._to_load.popleft()
        if not feed.is_wanted:
            return
        began = perf_counter()
        try:
            window = next(windows_from(self._time_manager, feed.sent_ns))
            bars = self._load(feed.symbol, window)
        except OpenbellError as error:
            self._feeds.pop(feed.symbol, None)
            self._receiver.on_refused(feed.symbol, str(error))
            return
        grid = window.grid(self.interval)
        ends_ns = grid.ends_ns[np.searchsorted(grid.starts_ns, bars["timestamp"])]
        first = int(np.searchsorted(ends_ns, feed.sent_ns, side="right"))
        kept = slice(first, first + _LEAST_ROWS + feed.number * 613 % _LEAST_ROWS)
        feed.bars, feed.ends_ns, feed.next = bars[kept].copy(), ends_ns[kept].copy(), 0
        if not len(feed.bars):
            feed.sent_ns = window.close_ns
        self._queue(feed)
        # Half of the time others have the processor, however many symbols are to be made.
        ended = perf_counter()
        self._load_at = ended + (ended - began)

    def _subscribe(self, symbols: list[str], now_ns: int) -> None:
        if not self._is_connected:
            self._is_connected = True
            self._beat_ns = now_ns + _HEARTBEAT_NS
            self._receiver.on_connected()
        for symbol in symbols:
            if symbol in self._feeds:
                continue
            if not self._has_symbol(symbol):
                self._receiver.on_refused(symbol, "unknown symbol")
                continue
            feed = self._feeds[symbol] = _Feed(symbol, next(self._numbers), now_ns)
            self._to_load.append(feed)

    def _unsubscribe(self, symbols: list[str]) -> None:
        for symbol in symbols:
            feed = self._feeds.pop(symbol, None)
            if feed is not None:
                feed.is_wanted = False

    def _reconnect(self) -> None:
        if self._is_connected:
            _log.info("%s: connects anew, as it was asked to", self.name)
            self._receiver.on_disconnected("asked to connect anew")
            self._receiver.on_connected()

    def __repr__(self) -> str:
        return f"<SyntheticStream of {self.interval} bars, {len(self._feeds)} symbols>"


def windows_from(time_manager: TimeManager, ts_ns: int) -> Iterator[SessionWindow]:
    """Yield the sessions that close after an instant, the one under way first."""
    # A session's date is that of its zone, and some begin on the evening before.
    day = to_datetime(ts_ns).date() - timedelta(days=2)
    while True:
        day = time_manager.next_trading_day(day)
        window = time_manager.session_window(day)
        if window.close_ns > ts_ns:
            yield window
