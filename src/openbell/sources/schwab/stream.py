"""Schwab's stream of minute bars, kept connected."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection

from openbell.errors import DataSourceError, SessionStateError
from openbell.sources.schwab.connection import Connection, ConnectionLost, run_until
from openbell.sources.schwab.login import NAME
from openbell.sources.schwab.rest import Rest
from openbell.sources.streaming import StreamReceiver

__all__ = ["SchwabStream"]


class SchwabStream:
    """Minute bars of `CHART_EQUITY` and, if asked for, quotes of `LEVELONE_EQUITIES`.

    Schwab corrects no bar in a way that could be told: a minute that comes again is told like
    the first time. All methods are safe from any thread, and return at once but :meth:`stop`.

    Parameters
    ----------
    rest : Rest
        Where the stream is, and the token, are asked of it.
    quotes : bool
    min_backoff_s, max_backoff_s : float
        Seconds between attempts to connect: the first wait, and the longest; each is twice the
        one before, until data came.

    Attributes
    ----------
    name : str
        ``schwab``.
    """

    name = NAME

    def __init__(
        self, rest: Rest, *, quotes: bool, min_backoff_s: float = 1.0, max_backoff_s: float = 30.0
    ) -> None:
        self._rest = rest
        self._quotes = quotes
        self._min_backoff_s = min_backoff_s
        self._max_backoff_s = max_backoff_s
        self._lock = threading.Lock()
        self._symbols: dict[str, None] = {}
        self._stopping = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self, receiver: StreamReceiver) -> None:
        """Start its thread; it connects when symbols are asked for.

        Raises
        ------
        SessionStateError
            When it was started before.
        """
        with self._lock:
            if self._thread is not None:
                raise SessionStateError("stream.start", "started", "take another stream")
            self._receiver = receiver
            self._thread = threading.Thread(
                target=lambda: asyncio.run(self._main()), name="openbell-schwab-stream", daemon=True
            )
            self._thread.start()

    def subscribe(self, symbols: Collection[str]) -> None:
        """Ask for symbols too, now and after each reconnect; a refused one is tried again."""
        with self._lock:
            # A new dict: the connection looks at the one it took.
            self._symbols = {**self._symbols, **dict.fromkeys(symbols)}
            self._signal("_changed")

    def unsubscribe(self, symbols: Collection[str]) -> None:
        """Ask for symbols no more; what is under way may still be told."""
        gone = set(symbols)
        with self._lock:
            self._symbols = {name: None for name in self._symbols if name not in gone}
            self._signal("_changed")

    def reconnect(self) -> None:
        """Drop the connection and make another at once; also ends a wait between attempts."""
        with self._lock:
            self._signal("_renewed")

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Disconnect and end the thread; False when it has not ended in time.

        A request for where the stream is, if it is under way, ends by itself in a thread of its
        own, at the latest after its timeout.
        """
        with self._lock:
            self._stopping = True
            thread = self._thread
            self._signal("_stopped")
        if thread is None or thread is threading.current_thread():
            return thread is None
        thread.join(timeout_s)
        return not thread.is_alive()

    def _signal(self, event: str) -> None:
        # Held by the lock: the loop is there until it is taken away under it.
        if self._loop is not None:
            self._loop.call_soon_threadsafe(getattr(self, event).set)

    def _wanted(self) -> Collection[str]:
        return self._symbols

    def _refuse(self, symbol: str, reason: str) -> None:
        with self._lock:
            self._symbols = {name: None for name in self._symbols if name != symbol}
        self._receiver.on_refused(symbol, reason)

    async def _main(self) -> None:
        self._changed, self._renewed, self._stopped = (asyncio.Event() for _ in range(3))
        with self._lock:
            self._loop = asyncio.get_running_loop()
            if self._stopping:
                self._stopped.set()
        try:
            work = await run_until(self._stopped, self._keep_connected())
        finally:
            with self._lock:
                self._loop = None
        if not work.cancelled() and (error := work.exception()) is not None:
            self._receiver.on_failed(f"{type(error).__name__} in the stream")

    async def _keep_connected(self) -> None:
        backoff_s, is_lost = self._min_backoff_s, False
        while True:
            while not self._symbols:
                self._changed.clear()
                await self._changed.wait()
            self._renewed.clear()
            connection = Connection(
                self._rest, self._receiver, self._wanted, self._refuse, self._changed, self._quotes
            )
            try:
                reason = await self._run(connection)
            except DataSourceError as error:
                self._receiver.on_failed(error.reason)
                return
            if connection.is_in or not is_lost:
                self._receiver.on_disconnected(reason)
            is_lost = True
            if connection.has_heard:
                backoff_s = self._min_backoff_s
            await self._pause(backoff_s)
            backoff_s = min(2 * backoff_s, self._max_backoff_s)

    async def _run(self, connection: Connection) -> str:
        # Why it is there no more.
        running = await run_until(self._renewed, connection.run())
        if running.cancelled():
            return "given up for another connection"
        try:
            running.result()
        except ConnectionLost as lost:
            return lost.reason
        return ""

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._renewed.wait()
        except TimeoutError:
            pass

    def __repr__(self) -> str:
        return f"<SchwabStream of {len(self._symbols):,} symbols>"
