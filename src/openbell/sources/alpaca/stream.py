"""Alpaca's stream: a thread with an event loop, in which the connection lives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, Final

from openbell.clock.live import LiveClock
from openbell.errors import SessionStateError
from openbell.sources.alpaca.keys import NAME, Keys
from openbell.sources.sdk import import_sdk
from openbell.sources.streaming import StreamReceiver

__all__ = ["THREAD_NAME", "AlpacaStream"]

THREAD_NAME: Final = "openbell alpaca stream"

#: How long cancelled tasks may take to end, in seconds.
_ENDING_S: Final = 0.4


class AlpacaStream:
    """Bars as Alpaca makes them; see :class:`~openbell.sources.streaming.BarStream`.

    Made by :meth:`AlpacaSource.stream`.

    Parameters
    ----------
    keys : Keys
    clock : LiveClock
        Tells when a second made of trades is over.
    interval : "1m" or "1s"
    feed : str
    url : str or None
    quotes, trades : bool
        Whether these are told too.
    min_backoff_s, max_backoff_s : float
        How long to wait before connecting anew: doubled with each failure, half of it random.
    ping_interval_s, ping_timeout_s : float
        How often the connection is asked whether it lives, and for how long it may not answer.
    answer_timeout_s : float
        How long connecting, and each answer to what is asked, may take.

    Raises
    ------
    MissingLibraryError
        When alpaca-py is not installed.
    """

    name = NAME

    def __init__(
        self,
        keys: Keys,
        clock: LiveClock,
        *,
        interval: str = "1m",
        feed: str = "iex",
        url: str | None = None,
        quotes: bool = False,
        trades: bool = False,
        min_backoff_s: float = 1.0,
        max_backoff_s: float = 30.0,
        ping_interval_s: float = 10.0,
        ping_timeout_s: float = 20.0,
        answer_timeout_s: float = 10.0,
    ) -> None:
        import_sdk("alpaca.data.live", "alpaca-py", "the Alpaca stream", NAME)
        from openbell.sources.alpaca.connection import Connection

        self.interval = interval
        self._connection = Connection(
            keys,
            clock,
            interval=interval,
            feed=feed,
            url=url,
            quotes=quotes,
            trades=trades,
            backoff_s=(min_backoff_s, max_backoff_s),
            ping_s=(ping_interval_s, ping_timeout_s),
            answer_timeout_s=answer_timeout_s,
        )
        self._lock = threading.Lock()
        self._wanted: set[str] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    def start(self, receiver: StreamReceiver) -> None:
        """Start its thread; returns at once. It connects when symbols are asked for.

        Raises
        ------
        SessionStateError
            When it was started before.
        """
        with self._lock:
            if self._thread is not None:
                raise SessionStateError("AlpacaStream.start", "streaming", "make another stream")
            loop = self._loop = asyncio.new_event_loop()
            task = self._task = loop.create_task(self._connection.live(receiver))
            loop.call_soon(self._connection.want, frozenset(self._wanted), ())
            self._thread = threading.Thread(
                target=_run, args=(loop, task), name=THREAD_NAME, daemon=True
            )
            self._thread.start()

    def subscribe(self, symbols: Collection[str]) -> None:
        """Ask for symbols too, now and after each reconnect. One refused before is tried anew."""
        with self._lock:
            self._wanted |= set(symbols)
            self._tell(self._connection.want, frozenset(self._wanted), tuple(symbols))

    def unsubscribe(self, symbols: Collection[str]) -> None:
        """Ask for symbols no more. Returns at once."""
        with self._lock:
            self._wanted -= set(symbols)
            self._tell(self._connection.want, frozenset(self._wanted), ())

    def reconnect(self) -> None:
        """Drop the connection and make another, without waiting."""
        self._tell(self._connection.reconnect)

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Disconnect and end the thread; False when it has not ended in time. May be repeated."""
        with self._lock:
            thread, task = self._thread, self._task
        if thread is None or task is None:
            return True
        self._tell(task.cancel)
        if thread is threading.current_thread():
            return False
        thread.join(timeout_s)
        return not thread.is_alive()

    def _tell(self, call: Callable[..., Any], *args: Any) -> None:
        if self._loop is not None:
            # Its loop is closed when it has failed or was stopped.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call, *args)

    def __repr__(self) -> str:
        return f"<AlpacaStream of {self.interval}, {len(self._wanted)} symbols>"


def _run(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    # Not `asyncio.run`, which would wait for a name that is being resolved, however long.
    try:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        left = asyncio.all_tasks(loop)
        for other in left:
            other.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=_ENDING_S))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()
