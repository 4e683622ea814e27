"""What the test servers of brokers have in common: a stream over websockets, and REST beside it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Self

from openbell.clock.live import LiveClock
from openbell.sources.sdk import import_sdk

__all__ = ["OfRest", "StreamServer"]


class OfRest:
    """An attribute of a server that is one of its REST half, under the same name or another."""

    def __init__(self, name: str = "") -> None:
        self._name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = self._name or name

    def __get__(self, server: StreamServer, owner: type) -> Any:
        return getattr(server.rest, self._name)

    def __set__(self, server: StreamServer, value: Any) -> None:
        setattr(server.rest, self._name, value)


class StreamServer:
    """Use as a context manager: the threads run while it is open.

    Attributes
    ----------
    clock : LiveClock or None
        What REST has not begun or ended by then, it does not have.
    is_mute : bool
        Connections and pings are answered, no data is sent: what is sent meanwhile is lost.
    refuse_connections : bool
    symbol_limit : int or None
        How many symbols may be subscribed.
    hang : str
        Where it stops answering for ever; empty: nowhere.
    rest_delay_s : float
    n_requests, n_attempts, n_connections : int
        REST requests answered; connections asked for, and made, also those that were not let in.
    requests : deque of (str, dict)
        Paths and parameters of REST requests.
    """

    channels: tuple[str, ...]
    clock = OfRest()
    rest_delay_s = OfRest("delay_s")
    n_requests = OfRest()
    requests = OfRest()

    def __init__(self, rest: Any, clock: LiveClock | None) -> None:
        self.rest = rest
        self.clock = clock
        self.is_mute = False
        self.refuse_connections = False
        self.symbol_limit: int | None = None
        self.hang = ""
        self.n_attempts = self.n_connections = 0
        self._connections: dict[Any, dict[str, set[str]]] = {}
        self._all: set[Any] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve()), name="test stream", daemon=True
        )

    def __enter__(self) -> Self:
        # It imports deprecated parts of itself.
        self._ws = import_sdk("websockets.asyncio.server", "websockets", "a test", "alpaca")
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def subscribed(self) -> dict[str, set[str]]:
        """Channel to the symbols asked for on it, over all live connections."""
        held: dict[str, set[str]] = {channel: set() for channel in self.channels}
        for channels in list(self._connections.values()):
            for channel, symbols in channels.items():
                held[channel] |= symbols
        return held

    def fail_rest(self, n: int, status: int, retry_after: float | None = None) -> None:
        """Answer the next `n` REST requests with an error."""
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        text = HTTPStatus(status).phrase.lower()
        self.rest.answer_next(n, status, b'{"message": "%s"}' % text.encode(), headers)

    def rest_garbage(self, n: int, body: bytes = b"<html>not what was asked</html>") -> None:
        """Answer the next `n` REST requests with something else."""
        self.rest.answer_next(n, 200, body, {})

    def drop_rest(self, n: int) -> None:
        """Close the next `n` REST requests' connections without an answer."""
        self.rest.answer_next(n, 0, b"", {})

    def send(self, messages: Sequence[Mapping[str, Any]]) -> int:
        """Send one frame to each connection, of those messages it subscribed to.

        Returns
        -------
        int
            How many connections got one.
        """
        return self._in_loop(self._send, list(messages))

    def send_raw(self, frame: bytes | str) -> int:
        """Send anything as one frame to every connection that was let in."""
        return self._in_loop(self._broadcast, list(self._connections), frame)

    def drop(self) -> None:
        """Break all connections of the stream, without a word."""
        self._in_loop(self._abort)

    def _in_loop(self, call: Any, *args: Any) -> Any:
        async def run() -> Any:
            return call(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _send(self, messages: list[Mapping[str, Any]]) -> int:
        if self.is_mute:
            return 0
        n = 0
        for connection, channels in self._connections.items():
            frame = self._frame(messages, channels)
            if frame:
                n += self._broadcast([connection], frame)
        return n

    def _frame(
        self, messages: list[Mapping[str, Any]], channels: dict[str, set[str]]
    ) -> bytes | str:
        # Empty when none of the messages is of these channels.
        raise NotImplementedError

    def _broadcast(self, connections: list[Any], frame: bytes | str) -> int:
        self._ws.broadcast(connections, frame)
        return len(connections)

    def _abort(self) -> None:
        for connection in list(self._all):
            connection.transport.abort()
        self._connections.clear()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        quiet = logging.Logger("silent", logging.CRITICAL + 1)
        async with self._ws.serve(
            self._converse, "127.0.0.1", 0, compression=None, logger=quiet, close_timeout=0.2,
            process_request=self._welcome, ping_interval=None, open_timeout=None,
        ) as server:  # fmt: skip
            self._port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stopping.wait()
            self._abort()

    async def _welcome(self, connection: Any, request: Any) -> Any:
        self.n_attempts += 1
        if self.refuse_connections:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not now\n")
        self._all.add(connection)
        await self._perhaps_hang("http", connection)
        return None

    async def _perhaps_hang(self, where: str, connection: Any) -> None:
        while self.hang == where and not connection.transport.is_closing():
            await asyncio.sleep(0.01)

    async def _converse(self, connection: Any) -> None:
        self.n_connections += 1
        try:
            with suppress(import_sdk("websockets.exceptions", "", "", "").ConnectionClosed):
                await self._talk(connection)
        finally:
            self._all.discard(connection)
            self._connections.pop(connection, None)

    async def _talk(self, connection: Any) -> None:
        raise NotImplementedError
