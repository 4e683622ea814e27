"""A server on the loopback that behaves as Schwab's market data does, and misbehaves when told.

REST and the stream in one thread: JSON text both ways, the login, the answers to subscriptions.
Everything may be changed while it runs, from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from openbell.clock.live import LiveClock
from openbell.schema import BarArray
from openbell.sources.schwab.login import sdk
from openbell.sources.sdk import import_sdk
from tests.servers.schwab_rest import MS_NS, RestAnswers

__all__ = ["SchwabServer", "bar_message", "quote_message"]

SERVICES = ("CHART_EQUITY", "LEVELONE_EQUITIES")


def bar_message(
    symbol: str,
    ts_ns: int,
    o: float,
    h: float,
    l: float,  # noqa: E741
    c: float,
    v: float,
    sequence: int = 1,
) -> dict[str, Any]:
    """A minute as the stream sends it."""
    item = {"key": symbol, "seq": sequence, "1": sequence, "2": o, "3": h, "4": l, "5": c, "6": v}
    return {"service": "CHART_EQUITY", **item, "7": int(ts_ns) // MS_NS, "8": 20_000}


def quote_message(symbol: str, ts_ns: int, **changed: float) -> dict[str, Any]:
    """A quote as the stream sends it: what changed of bid, ask, bid_size, ask_size."""
    numbers = {"bid": "1", "ask": "2", "bid_size": "4", "ask_size": "5"}
    item = {numbers[name]: value for name, value in changed.items()}
    return {"service": "LEVELONE_EQUITIES", "key": symbol, **item, "34": int(ts_ns) // MS_NS}


class SchwabServer:
    """Use as a context manager: the thread runs while it is open.

    Attributes
    ----------
    credentials : dict of str to str
        What must never be seen: key, secret, tokens.
    clock : LiveClock or None
        REST gives what has begun by this clock, also the minute that is being made.
    is_mute : bool
        Connections and pings are answered, nothing else is: what is sent meanwhile is lost.
    refuse_connections, refuse_login, refuse_refresh : bool
    refused_symbols : dict of str to int
        A subscription with one of them is refused as a whole, with that code.
    quotes_refused : set of str
        The same for subscriptions of quotes only, with code 22.
    symbol_limit : int or None
        How many symbols may be subscribed; beyond, code 19.
    hang : {"", "http", "login", "subscribe"}
        Where it does not answer.
    rest_delay_s : float
    n_requests, n_refreshes, n_attempts, n_connections, n_logins : int
        REST requests; renewed tokens; streams asked for, made, and let in.
    requests : deque of (str, dict)
        Paths and parameters of REST requests.
    asked : deque of (str, str, list of str)
        Service, command and symbols of what was asked of the stream.
    """

    def __init__(self, *, clock: LiveClock | None = None) -> None:
        names = (
            "api_key",
            "app_secret",
            "access_token",
            "refresh_token",
            "customer",
            "correlation",
        )
        self.credentials = {name: f"{name[:3]}-{secrets.token_urlsafe(24)}" for name in names}
        self.rest = RestAnswers(self.credentials, self._preferences)
        self.rest.clock = clock
        self.is_mute = False
        self.refuse_connections = False
        self.refuse_login = False
        self.refused_symbols: dict[str, int] = {}
        self.quotes_refused: set[str] = set()
        self.symbol_limit: int | None = None
        self.hang = ""
        self.n_attempts = self.n_connections = self.n_logins = 0
        self.asked: deque[tuple[str, str, list[str]]] = deque(maxlen=10_000)
        self._connections: dict[Any, dict[str, set[str]]] = {}
        self._all: set[Any] = set()
        self._clients: list[Any] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="schwab test server", daemon=True)

    def __enter__(self) -> SchwabServer:
        # It imports deprecated parts of itself.
        self._ws = import_sdk("websockets.asyncio.server", "websockets", "a test", "schwab")
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exc: object) -> None:
        for client in self._clients:
            client.session.close()
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def clock(self) -> LiveClock | None:
        return self.rest.clock

    @clock.setter
    def clock(self, clock: LiveClock | None) -> None:
        self.rest.clock = clock

    @property
    def rest_delay_s(self) -> float:
        return self.rest.delay_s

    @rest_delay_s.setter
    def rest_delay_s(self, seconds: float) -> None:
        self.rest.delay_s = seconds

    @property
    def refuse_refresh(self) -> bool:
        return self.rest.refuse_refresh

    @refuse_refresh.setter
    def refuse_refresh(self, refuse: bool) -> None:
        self.rest.refuse_refresh = refuse

    @property
    def n_requests(self) -> int:
        return self.rest.n_requests

    @property
    def n_refreshes(self) -> int:
        return self.rest.n_refreshes

    @property
    def requests(self) -> deque[tuple[str, dict[str, str]]]:
        return self.rest.requests

    @property
    def subscribed(self) -> dict[str, set[str]]:
        """Service to the symbols asked for of it, over all live connections."""
        held: dict[str, set[str]] = {service: set() for service in SERVICES}
        for services in list(self._connections.values()):
            for service, symbols in services.items():
                held[service] |= symbols
        return held

    def client(self) -> Any:
        """A real ``schwab.client.Client`` that is let in; its requests come here."""
        httpx, auth = import_sdk("httpx", "httpx", "a test", "schwab"), sdk("schwab.auth")
        token = self.credentials["access_token"]
        session = httpx.Client(
            transport=self._transport(httpx), headers={"Authorization": f"Bearer {token}"}
        )
        metadata = auth.TokenMetadata({"access_token": token}, 0, lambda *args, **more: None)
        client = sdk("schwab.client").Client(
            self.credentials["api_key"], session, token_metadata=metadata
        )
        self._clients.append(client)
        return client

    def token_file(self, path: Path, expires_in: float = 1800) -> dict[str, str]:
        """Write a token file of the library; return the environment that names it."""
        held = self.credentials
        kept = {"token_type": "Bearer", "expires_at": int(time.time() + expires_in)}
        kept |= {key: held[key] for key in ("access_token", "refresh_token")}
        path.write_text(json.dumps({"creation_timestamp": int(time.time()), "token": kept}))
        return {
            "SCHWAB_API_KEY": held["api_key"],
            "SCHWAB_APP_SECRET": held["app_secret"],
            "SCHWAB_TOKEN_PATH": str(path),
        }

    def reroute(self, client: Any) -> Any:
        """Have the requests of a client of the library's own making come here."""
        # authlib takes httpx2 where it is installed.
        base = type(client.session).__mro__[2].__module__.partition(".")[0]
        client.session._transport = self._transport(sys.modules[base])
        client.session._mounts = {}
        self._clients.append(client)
        return client

    def put(self, symbol: str, bars: BarArray) -> None:
        """Give REST minute bars; one of the same label is replaced. The symbol is known then."""
        self.rest.put(symbol, bars)

    def know(self, *symbols: str) -> None:
        """Let REST know symbols that have no bars."""
        self.rest.known.update(symbols)

    def fail_rest(self, n: int, status: int, retry_after: float | None = None) -> None:
        """Answer the next `n` REST requests with an error."""
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        self.rest.answer_next(n, status, b'{"message": "no"}', headers)

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
        """Send any text as one frame to every connection that was let in."""
        return self._in_loop(self._broadcast, list(self._connections), frame)

    def heartbeat(self) -> int:
        """Send a heartbeat to every connection that was let in."""
        return self.send_raw(json.dumps({"notify": [{"heartbeat": str(_now_ms())}]}))

    def drop(self) -> None:
        """Break all connections of the stream, without a word."""
        self._in_loop(self._abort)

    def _in_loop(self, call: Any, *args: Any) -> Any:
        async def run() -> Any:
            return call(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _transport(self, httpx: Any) -> Any:
        port = self._rest_port

        class Reroute(httpx.HTTPTransport):  # type: ignore[misc, name-defined]
            def handle_request(self, request: Any) -> Any:
                assert request.url.host == "api.schwabapi.com"
                request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=port)
                return super().handle_request(request)

        return Reroute()

    def _preferences(self) -> dict[str, Any]:
        info = {
            "streamerSocketUrl": f"ws://127.0.0.1:{self._port}/ws",
            "schwabClientCustomerId": self.credentials["customer"],
            "schwabClientCorrelId": self.credentials["correlation"],
            "schwabClientChannel": "N9",
            "schwabClientFunctionId": "APIAPP",
        }
        return {"accounts": [], "streamerInfo": [info], "offers": []}

    def _send(self, messages: list[Mapping[str, Any]]) -> int:
        n = 0
        for connection, held in self._connections.items():
            blocks = []
            for service in SERVICES:
                content = [
                    {key: value for key, value in message.items() if key != "service"}
                    for message in messages
                    if message["service"] == service and message["key"] in held[service]
                ]
                block = {"service": service, "timestamp": _now_ms(), "command": "SUBS"}
                blocks += [{**block, "content": content}] if content else []
            if blocks and not self.is_mute:
                n += self._broadcast([connection], json.dumps({"data": blocks}))
        return n

    def _broadcast(self, connections: list[Any], frame: bytes | str) -> int:
        if not self.is_mute:
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
        quiet = logging.Logger("silent", logging.CRITICAL + 1)
        rest = await asyncio.start_server(self.rest.converse, "127.0.0.1", 0)
        async with self._ws.serve(
            self._converse, "127.0.0.1", 0, compression=None, logger=quiet, close_timeout=0.2,
            process_request=self._welcome, ping_interval=None, open_timeout=None,
        ) as stream:  # fmt: skip
            self._rest_port = rest.sockets[0].getsockname()[1]
            self._port = stream.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stopping.wait()
            self._abort()
            rest.close()
            self.rest.abort()

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
        closed = import_sdk("websockets.exceptions", "", "", "").ConnectionClosed
        with contextlib.suppress(closed):
            async for frame in connection:
                for request in json.loads(frame)["requests"]:
                    await self._answer(connection, request)
        self._all.discard(connection)
        self._connections.pop(connection, None)

    async def _answer(self, connection: Any, request: dict[str, Any]) -> None:
        if request["command"] == "LOGIN":
            await self._perhaps_hang("login", connection)
            token = request["parameters"]["Authorization"]
            if self.refuse_login or token != self.credentials["access_token"]:
                await self._reply(connection, request, 3, "login denied")
                await connection.close()
                return
            self.n_logins += 1
            self._connections[connection] = {service: set() for service in SERVICES}
            await self._reply(connection, request, 0, "server=s0166bdv-2;status=PN")
            return
        await self._perhaps_hang("subscribe", connection)
        if connection in self._connections:
            code = self._change(self._connections[connection], request)
            await self._reply(connection, request, code, f"{request['command']} command")

    def _change(self, services: dict[str, set[str]], request: dict[str, Any]) -> int:
        service, command = request["service"], request["command"]
        keys = request["parameters"]["keys"].split(",")
        self.asked.append((service, command, keys))
        held = services[service]
        if command == "UNSUBS":
            held -= set(keys)
            return 0
        for key in keys:
            if key in self.refused_symbols:
                return self.refused_symbols[key]
            if key in self.quotes_refused and service == "LEVELONE_EQUITIES":
                return 22
        new = set(keys) | (held if command == "ADD" else set())
        if self.symbol_limit is not None and len(new) > self.symbol_limit:
            return 19
        services[service] = new
        return 0

    async def _reply(self, connection: Any, request: dict[str, Any], code: int, text: str) -> None:
        answer = {key: request[key] for key in ("service", "command", "requestid")}
        answer |= {"timestamp": _now_ms(), "content": {"code": code, "msg": text}}
        if not self.is_mute:
            await connection.send(json.dumps({"response": [answer]}))


def _now_ms() -> int:
    return time.time_ns() // MS_NS
