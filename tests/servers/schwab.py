"""A server on the loopback that behaves as Schwab's market data does, and misbehaves when told.

REST and the stream in one thread: JSON text both ways, the login, the answers to subscriptions.
Everything may be changed while it runs, from any thread.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openbell.clock.live import LiveClock
from openbell.schema import BarArray
from openbell.sources.schwab.login import sdk
from openbell.sources.sdk import import_sdk
from tests.servers.schwab_rest import MS_NS, RestAnswers
from tests.servers.streaming import OfRest, StreamServer

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


class SchwabServer(StreamServer):
    """Use as a context manager; see :class:`StreamServer`.

    Attributes
    ----------
    credentials : dict of str to str
        What must never be seen: key, secret, tokens.
    clock : LiveClock or None
        REST gives what has begun by this clock, also the minute that is being made.
    is_mute : bool
        Connections and pings are answered, nothing else is: what is sent meanwhile is lost.
    refuse_login, refuse_refresh : bool
    refused_symbols : dict of str to int
        A subscription with one of them is refused as a whole, with that code.
    quotes_refused : set of str
        The same for subscriptions of quotes only, with code 22.
    symbol_limit : int or None
        How many symbols may be subscribed; beyond, code 19.
    hang : {"", "http", "login", "subscribe"}
    n_refreshes, n_logins : int
        Renewed tokens; streams let in.
    asked : deque of (str, str, list of str)
        Service, command and symbols of what was asked of the stream.
    """

    channels = SERVICES
    refuse_refresh = OfRest()
    n_refreshes = OfRest()

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
        super().__init__(RestAnswers(self.credentials, self._preferences), clock)
        self.refuse_login = False
        self.refused_symbols: dict[str, int] = {}
        self.quotes_refused: set[str] = set()
        self.n_logins = 0
        self.asked: deque[tuple[str, str, list[str]]] = deque(maxlen=10_000)
        self._clients: list[Any] = []

    def __exit__(self, *exc: object) -> None:
        for client in self._clients:
            client.session.close()
        super().__exit__(*exc)

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

    def heartbeat(self) -> int:
        """Send a heartbeat to every connection that was let in."""
        return self.send_raw(json.dumps({"notify": [{"heartbeat": str(_now_ms())}]}))

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

    def _frame(self, messages: list[Mapping[str, Any]], channels: dict[str, set[str]]) -> str:
        blocks = []
        for service in SERVICES:
            content = [
                {key: value for key, value in message.items() if key != "service"}
                for message in messages
                if message["service"] == service and message["key"] in channels[service]
            ]
            block = {"service": service, "timestamp": _now_ms(), "command": "SUBS"}
            blocks += [{**block, "content": content}] if content else []
        return json.dumps({"data": blocks}) if blocks else ""

    def _broadcast(self, connections: list[Any], frame: bytes | str) -> int:
        return len(connections) if self.is_mute else super()._broadcast(connections, frame)

    async def _serve(self) -> None:
        rest = await asyncio.start_server(self.rest.converse, "127.0.0.1", 0)
        self._rest_port = rest.sockets[0].getsockname()[1]
        try:
            await super()._serve()
        finally:
            rest.close()
            self.rest.abort()

    async def _talk(self, connection: Any) -> None:
        async for frame in connection:
            for request in json.loads(frame)["requests"]:
                await self._answer(connection, request)

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
