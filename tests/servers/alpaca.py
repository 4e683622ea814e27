"""A server on the loopback that behaves as Alpaca's market data does, and misbehaves when told.

REST over ``http.server``, the stream over the ``websockets`` library's server: msgpack both ways,
its handshake, its errors. Everything may be changed while it runs, from any thread.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgpack

from openbell.clock.live import LiveClock
from openbell.schema import BarArray
from openbell.sources.sdk import import_sdk
from tests.servers.alpaca_rest import RestServer

__all__ = ["AlpacaServer", "bar_message", "quote_message", "trade_message"]

CHANNEL_OF = {"b": "bars", "u": "updatedBars", "d": "dailyBars", "t": "trades", "q": "quotes"}
CHANNELS = tuple(CHANNEL_OF.values())


def bar_message(
    symbol: str,
    ts_ns: int,
    o: float,
    h: float,
    l: float,  # noqa: E741
    c: float,
    v: float,
    n: int = 1,
    vw: float | None = None,
    kind: str = "b",
) -> dict[str, Any]:
    """A bar as the stream sends it; `kind` is ``b``, ``u`` (corrected) or ``d`` (running day)."""
    return {
        "T": kind, "S": symbol, "o": o, "h": h, "l": l, "c": c, "v": v,
        "t": msgpack.Timestamp.from_unix_nano(int(ts_ns)), "n": n, "vw": c if vw is None else vw,
    }  # fmt: skip


def trade_message(
    symbol: str, ts_ns: int, price: float, size: float, conditions: Sequence[str] = ("@",)
) -> dict[str, Any]:
    """A trade as the stream sends it."""
    return {
        "T": "t", "S": symbol, "i": 1, "x": "V", "p": price, "s": size, "c": list(conditions),
        "t": msgpack.Timestamp.from_unix_nano(int(ts_ns)), "z": "C",
    }  # fmt: skip


def quote_message(
    symbol: str, ts_ns: int, bid: float, ask: float, bid_size: float = 1, ask_size: float = 1
) -> dict[str, Any]:
    """A quote as the stream sends it."""
    return {
        "T": "q", "S": symbol, "bx": "V", "bp": bid, "bs": bid_size, "ax": "V", "ap": ask,
        "as": ask_size, "c": ["R"], "t": msgpack.Timestamp.from_unix_nano(int(ts_ns)), "z": "C",
    }  # fmt: skip


class AlpacaServer:
    """Use as a context manager: the threads run while it is open.

    Attributes
    ----------
    rest_url, stream_url : str
    environment : dict of str to str
        The two variables that let a client in.
    clock : LiveClock or None
        REST gives only what is over by this clock.
    page_size : int
        Most rows of one REST answer.
    is_mute : bool
        Connections and pings are answered, no data is sent: what is sent meanwhile is lost.
    refuse_connections, refuse_key : bool
    refused_symbols : dict of str to (int, str)
        A subscription with one of them is refused as a whole, with that code and text.
    symbol_limit, connection_limit : int or None
        How many symbols a connection may ask for; how many connections there may be.
    channel_limits : dict of str to int
        How many symbols it may ask for on a channel.
    auth_error : (int, str)
        What a refused key is answered.
    hang : {"", "http", "greeting", "auth", "subscribe"}
        Where it stops answering for ever.
    ignored_symbols : set of str
        Left out of what is subscribed, without an error.
    n_requests, n_connections : int
        REST requests answered; connections made since the start, also those refused a key.
    """

    def __init__(self, *, clock: LiveClock | None = None, page_size: int = 10_000) -> None:
        key, secret = f"PK{secrets.token_hex(9).upper()}", secrets.token_urlsafe(30)
        self.environment = {"APCA_API_KEY_ID": key, "APCA_API_SECRET_KEY": secret}
        self.rest = RestServer(key, secret)
        self.clock, self.page_size = clock, page_size
        self.is_mute = False
        self.refuse_connections = False
        self.refused_symbols: dict[str, tuple[int, str]] = {}
        self.ignored_symbols: set[str] = set()
        self.symbol_limit: int | None = None
        self.channel_limits: dict[str, int] = {}
        self.connection_limit: int | None = None
        self.auth_error = (402, "auth failed")
        self.hang = ""
        self.n_connections = 0
        self.n_attempts = 0
        self.asked: deque[tuple[str, dict[str, list[str]]]] = deque(maxlen=10_000)
        self._refuse_key = False
        self._connections: dict[Any, dict[str, set[str]]] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alpaca test stream", daemon=True)

    def __enter__(self) -> AlpacaServer:
        # It imports deprecated parts of itself.
        self._ws = import_sdk("websockets.asyncio.server", "websockets", "a test", "alpaca")
        self.rest.start()
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        self.rest.stop()
        assert not self._thread.is_alive()

    @property
    def rest_url(self) -> str:
        return self.rest.url

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/v2/iex"

    @property
    def n_requests(self) -> int:
        return self.rest.n_requests

    @property
    def clock(self) -> LiveClock | None:
        return self.rest.clock

    @clock.setter
    def clock(self, clock: LiveClock | None) -> None:
        self.rest.clock = clock

    @property
    def page_size(self) -> int:
        return self.rest.page_size

    @page_size.setter
    def page_size(self, n: int) -> None:
        self.rest.page_size = n

    @property
    def rest_delay_s(self) -> float:
        return self.rest.delay_s

    @rest_delay_s.setter
    def rest_delay_s(self, seconds: float) -> None:
        self.rest.delay_s = seconds

    @property
    def invalid_symbols(self) -> set[str]:
        """Symbols that REST answers with 400, each request that names one."""
        return self.rest.invalid_symbols

    @property
    def refuse_key(self) -> bool:
        return self._refuse_key

    @refuse_key.setter
    def refuse_key(self, refuse: bool) -> None:
        self._refuse_key = self.rest.refuse_key = refuse

    @property
    def subscribed(self) -> dict[str, set[str]]:
        """Channel to the symbols asked for on it, over all live connections."""
        held: dict[str, set[str]] = {channel: set() for channel in CHANNELS}
        for channels in list(self._connections.values()):
            for channel, symbols in channels.items():
                held[channel] |= symbols
        return held

    def put(
        self,
        symbol: str,
        bars: BarArray,
        trade_counts: Iterable[float] | None = None,
        vwaps: Iterable[float] | None = None,
    ) -> None:
        """Give REST minute bars; one of the same label is replaced."""
        self.rest.put(symbol, bars, trade_counts, vwaps)

    def put_trades(
        self, symbol: str, trades: BarArray, conditions: Sequence[Sequence[str]] | None = None
    ) -> None:
        """Give REST trades, ``TICK_DTYPE``, ascending, after those it has."""
        self.rest.put_trades(symbol, trades, conditions)

    def put_quotes(self, symbol: str, quotes: BarArray) -> None:
        """Give REST quotes, ``QUOTE_DTYPE``, ascending, after those it has."""
        self.rest.put_quotes(symbol, quotes)

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
        return self._in_loop(self._send, list(messages), self.is_mute)

    def send_raw(self, frame: bytes | str) -> int:
        """Send any bytes as one frame to every connection that was let in."""
        return self._in_loop(self._broadcast, list(self._connections), frame)

    def drop(self) -> None:
        """Break all connections, without a word."""
        self._in_loop(self._abort)

    def freeze(self, seconds: float) -> None:
        """Have the stream's thread do nothing for a while: not even pings are answered."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def _in_loop(self, call: Any, *args: Any) -> Any:
        async def run() -> Any:
            return call(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _send(self, messages: list[Mapping[str, Any]], is_mute: bool) -> int:
        n = 0
        for connection, channels in self._connections.items():
            mine = [m for m in messages if _is_for(m, channels)]
            if mine and not is_mute:
                n += self._broadcast([connection], msgpack.packb(mine))
        return n

    def _broadcast(self, connections: list[Any], frame: bytes | str) -> int:
        self._ws.broadcast(connections, frame)
        return len(connections)

    def _abort(self) -> None:
        for connection in list(self._all):
            connection.transport.abort()
        self._connections.clear()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._all: set[Any] = set()
        quiet = logging.getLogger("tests.servers.alpaca")
        quiet.setLevel(logging.CRITICAL + 1)
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
            await self._perhaps_hang("greeting", connection)
            await self._reply(connection, {"T": "success", "msg": "connected"})
            async for frame in connection:
                if not await self._answer(connection, msgpack.unpackb(frame)):
                    break
        except self._closed_errors():
            pass
        finally:
            self._all.discard(connection)
            self._connections.pop(connection, None)

    def _closed_errors(self) -> tuple[type[BaseException], ...]:
        return (import_sdk("websockets.exceptions", "", "", "").ConnectionClosed,)

    async def _reply(self, connection: Any, message: Mapping[str, Any]) -> None:
        await connection.send(msgpack.packb([message]))

    async def _fail(self, connection: Any, code: int, text: str) -> None:
        await self._reply(connection, {"T": "error", "code": code, "msg": text})

    async def _answer(self, connection: Any, message: dict[str, Any]) -> bool:
        action = message.pop("action", None)
        if action == "auth":
            return await self._let_in(connection, message)
        if connection not in self._connections:
            await self._fail(connection, 401, "not authenticated")
        elif action in ("subscribe", "unsubscribe"):
            self.asked.append((action, message))
            await self._perhaps_hang("subscribe", connection)
            await self._change(connection, action, message)
        else:
            await self._fail(connection, 400, "invalid syntax")
        return True

    async def _let_in(self, connection: Any, message: Mapping[str, Any]) -> bool:
        await self._perhaps_hang("auth", connection)
        if connection in self._connections:
            await self._fail(connection, 403, "already authenticated")
            return True
        if self.refuse_key or [message.get("key"), message.get("secret")] != list(
            self.environment.values()
        ):
            await self._fail(connection, *self.auth_error)
            return False
        limit = self.connection_limit
        if limit is not None and len(self._connections) >= limit:
            await self._fail(connection, 406, "connection limit exceeded")
            return False
        self._connections[connection] = {channel: set() for channel in CHANNELS}
        await self._reply(connection, {"T": "success", "msg": "authenticated"})
        return True

    async def _change(
        self, connection: Any, action: str, asked: Mapping[str, Sequence[str]]
    ) -> None:
        channels = self._connections.get(connection)
        if channels is None:
            return
        symbols = {symbol for names in asked.values() for symbol in names}
        if action == "subscribe":
            refused = [self.refused_symbols[s] for s in symbols if s in self.refused_symbols]
            held = set().union(*channels.values()) | symbols
            if not refused and self.symbol_limit is not None and len(held) > self.symbol_limit:
                refused = [(405, "symbol limit exceeded")]
            for channel, most in self.channel_limits.items():
                if len(channels[channel] | set(asked.get(channel, ()))) > most:
                    refused = refused or [(405, "symbol limit exceeded")]
            if refused:
                await self._fail(connection, *refused[0])
                return
        for channel, names in asked.items():
            if channel not in channels:
                await self._fail(connection, 410, "invalid subscribe action for this feed")
                return
            if action == "subscribe":
                channels[channel] |= set(names) - self.ignored_symbols
            else:
                channels[channel] -= set(names)
        held_now = {channel: sorted(names) for channel, names in channels.items()}
        await self._reply(connection, {"T": "subscription", **held_now})


def _is_for(message: Mapping[str, Any], channels: Mapping[str, set[str]]) -> bool:
    channel = CHANNEL_OF.get(str(message.get("T")))
    if channel is None:
        return True
    return message.get("S") in channels[channel] or "*" in channels[channel]
