"""A server on the loopback that behaves as Alpaca's market data does, and misbehaves when told.

REST over ``http.server``, the stream over the ``websockets`` library's server: msgpack both ways,
its handshake, its errors. Everything may be changed while it runs, from any thread.
"""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import msgpack

from openbell.clock.live import LiveClock
from openbell.schema import BarArray
from tests.servers.alpaca_rest import RestServer
from tests.servers.streaming import OfRest, StreamServer

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


class AlpacaServer(StreamServer):
    """Use as a context manager; see :class:`StreamServer`.

    Attributes
    ----------
    rest_url, stream_url : str
    environment : dict of str to str
        The two variables that let a client in.
    clock : LiveClock or None
        REST gives only what is over by this clock.
    page_size : int
        Most rows of one REST answer.
    invalid_symbols : set of str
        Symbols that REST answers with 400, each request that names one.
    refuse_key : bool
    refused_symbols : dict of str to (int, str)
        A subscription with one of them is refused as a whole, with that code and text.
    symbol_limit, connection_limit : int or None
        How many symbols a connection may ask for; how many connections there may be.
    channel_limits : dict of str to int
        How many symbols it may ask for on a channel.
    auth_error : (int, str)
        What a refused key is answered.
    hang : {"", "http", "greeting", "auth", "subscribe"}
    ignored_symbols : set of str
        Left out of what is subscribed, without an error.
    asked : deque of (str, dict)
        What was asked of the stream: the action, and the symbols of each channel.
    """

    channels = CHANNELS
    page_size = OfRest()
    invalid_symbols = OfRest()
    refuse_key = OfRest()

    def __init__(self, *, clock: LiveClock | None = None, page_size: int = 10_000) -> None:
        key, secret = f"PK{secrets.token_hex(9).upper()}", secrets.token_urlsafe(30)
        super().__init__(RestServer(key, secret), clock)
        self.environment = {"APCA_API_KEY_ID": key, "APCA_API_SECRET_KEY": secret}
        self.page_size = page_size
        self.refused_symbols: dict[str, tuple[int, str]] = {}
        self.ignored_symbols: set[str] = set()
        self.channel_limits: dict[str, int] = {}
        self.connection_limit: int | None = None
        self.auth_error = (402, "auth failed")
        self.asked: deque[tuple[str, dict[str, list[str]]]] = deque(maxlen=10_000)

    def __enter__(self) -> Self:
        self.rest.start()
        return super().__enter__()

    def __exit__(self, *exc: object) -> None:
        try:
            super().__exit__(*exc)
        finally:
            self.rest.stop()

    @property
    def rest_url(self) -> str:
        return self.rest.url

    @property
    def stream_url(self) -> str:
        return f"ws://127.0.0.1:{self._port}/v2/iex"

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

    def freeze(self, seconds: float) -> None:
        """Have the stream's thread do nothing for a while: not even pings are answered."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    def _frame(self, messages: list[Mapping[str, Any]], channels: dict[str, set[str]]) -> bytes:
        mine = [message for message in messages if _is_for(message, channels)]
        return msgpack.packb(mine) if mine else b""

    async def _talk(self, connection: Any) -> None:
        await self._perhaps_hang("greeting", connection)
        await self._reply(connection, {"T": "success", "msg": "connected"})
        async for frame in connection:
            if not await self._answer(connection, msgpack.unpackb(frame)):
                break

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
