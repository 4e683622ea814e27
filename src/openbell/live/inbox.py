"""The one queue between the threads of feeds and the thread that owns the engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import perf_counter_ns
from typing import Any, Final

__all__ = [
    "BAR",
    "CALL",
    "CONNECTED",
    "DAILY",
    "DISCONNECTED",
    "FAILED",
    "GARBAGE",
    "HEARTBEAT",
    "MOST_AT_ONCE",
    "QUOTE",
    "REFUSED",
    "TRADE",
    "Inbox",
    "InboxReceiver",
    "Message",
]

BAR: Final = 0
QUOTE: Final = 1
TRADE: Final = 2
DAILY: Final = 3
HEARTBEAT: Final = 4
CONNECTED: Final = 5
DISCONNECTED: Final = 6
FAILED: Final = 7
REFUSED: Final = 8
GARBAGE: Final = 9
CALL: Final = 10

#: A message: its kind, the source's name, when it came (``perf_counter_ns``), and what came.
Message = tuple[Any, ...]

#: What is taken at once, beside the first: the clock is looked at in between.
MOST_AT_ONCE: Final = 1024


class Inbox:
    """Holds what came until the engine's thread takes it.

    Market data is bounded: what comes while `capacity` messages wait is counted and left out,
    and of bars it is remembered what is to be asked for again. What happened to a connection,
    and calls, are few and always taken.

    Parameters
    ----------
    capacity : int
        Messages that may wait.

    Attributes
    ----------
    n_overflow : int
        Messages left out.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.n_overflow = 0
        self._queue: SimpleQueue[Message] = SimpleQueue()
        self._lost: dict[tuple[str, str], int] = {}
        self._n_lost: dict[str, int] = {}
        self._lock = threading.Lock()

    @property
    def depth(self) -> int:
        """Messages that wait."""
        return self._queue.qsize()

    def call(self, function: Callable[[], object]) -> None:
        """Have a function called by the engine's thread, after what waits before it."""
        self._queue.put((CALL, "", perf_counter_ns(), function))

    def put(self, message: Message) -> None:
        """Add a message, whatever waits."""
        self._queue.put(message)

    def put_data(self, message: Message) -> None:
        """Add market data, unless too much waits."""
        if self._queue.qsize() < self.capacity:
            self._queue.put(message)
        else:
            self._leave_out(message)

    def take(self, timeout_s: float) -> list[Message]:
        """Take what waits, in the order it came; wait for it up to a time."""
        queue = self._queue
        try:
            taken = [queue.get(timeout=timeout_s) if timeout_s > 0 else queue.get_nowait()]
            n_more = queue.qsize()
            if n_more:
                taken.extend([queue.get_nowait() for _ in range(min(n_more, MOST_AT_ONCE))])
        except Empty:
            # One thread takes, so that only the first may be absent.
            return []
        return taken

    def take_lost(self) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
        """Return how many messages of each source were left out since the last call.

        And the label of the earliest bar among them, by source and symbol.
        """
        with self._lock:
            n_lost, self._n_lost = self._n_lost, {}
            lost, self._lost = self._lost, {}
        return n_lost, lost

    def _leave_out(self, message: Message) -> None:
        kind, source = message[0], message[1]
        with self._lock:
            self.n_overflow += 1
            self._n_lost[source] = self._n_lost.get(source, 0) + 1
            if kind == BAR:
                key = source, message[3]
                self._lost[key] = min(message[4], self._lost.get(key, message[4]))


class InboxReceiver:
    """Puts what one source's stream tells into an inbox; any thread may call it.

    Its methods are those of :class:`openbell.sources.streaming.StreamReceiver`.

    Parameters
    ----------
    inbox : Inbox
    source : str
    """

    def __init__(self, inbox: Inbox, source: str) -> None:
        self._put = inbox.put
        self._put_data = inbox.put_data
        self._source = source

    def on_bar(
        self,
        symbol: str,
        ts_ns: int,
        open: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        trade_count: float,
        vwap: float,
        is_update: bool,
    ) -> None:
        """Put a bar."""
        self._put_data((
            BAR, self._source, perf_counter_ns(), symbol, ts_ns,
            open, high, low, close, volume, trade_count, vwap, is_update,
        ))  # fmt: skip

    def on_daily_bar(
        self, symbol: str, open: float, high: float, low: float, close: float, volume: float
    ) -> None:
        """Put the source's own running bar of the day."""
        self._put_data(
            (DAILY, self._source, perf_counter_ns(), symbol, open, high, low, close, volume)
        )

    def on_quote(
        self, symbol: str, ts_ns: int, bid: float, ask: float, bid_size: float, ask_size: float
    ) -> None:
        """Put a quote."""
        self._put_data(
            (QUOTE, self._source, perf_counter_ns(), symbol, ts_ns, bid, ask, bid_size, ask_size)
        )

    def on_trade(self, symbol: str, ts_ns: int, price: float, size: float) -> None:
        """Put a trade."""
        self._put_data((TRADE, self._source, perf_counter_ns(), symbol, ts_ns, price, size))

    def on_heartbeat(self) -> None:
        """Tell that the connection lives."""
        self._tell(HEARTBEAT)

    def on_connected(self) -> None:
        """Tell that it is connected."""
        self._tell(CONNECTED)

    def on_disconnected(self, reason: str) -> None:
        """Tell that the connection was lost."""
        self._tell(DISCONNECTED, reason)

    def on_failed(self, reason: str) -> None:
        """Tell that it cannot be connected."""
        self._tell(FAILED, reason)

    def on_refused(self, symbol: str, reason: str) -> None:
        """Tell that a symbol cannot be had."""
        self._tell(REFUSED, symbol, reason)

    def on_garbage(self, what: str) -> None:
        """Tell of something that cannot be understood."""
        self._put_data((GARBAGE, self._source, perf_counter_ns(), what))

    def _tell(self, kind: int, *what: str) -> None:
        self._put((kind, self._source, perf_counter_ns(), *what))
