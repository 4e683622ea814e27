"""The REST half of the Alpaca test server: paged answers of what it was given."""

from __future__ import annotations

import socket
import threading
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from openbell.clock.live import LiveClock
from openbell.schema import NS_PER_MINUTE, NS_PER_SECOND, BarArray, to_datetime, to_ns

__all__ = ["RestServer"]

_NEW_YORK = ZoneInfo("America/New_York")
_MINUTES = {"1Min": 1, "5Min": 5, "15Min": 15, "30Min": 30, "1Hour": 60}
_KINDS = ("bars", "trades", "quotes")

_FAR_NS = 2**62


class RestServer:
    """Answers ``/v2/stocks/{bars,trades,quotes}`` and their ``/latest``, in threads of its own."""

    def __init__(self, key: str, secret: str) -> None:
        self.key, self.secret = key, secret
        self.clock: LiveClock | None = None
        self.page_size = 10_000
        self.delay_s = 0.0
        self.refuse_key = False
        self.invalid_symbols: set[str] = set()
        self.n_requests = 0
        #: Path and query of the latest requests, oldest first.
        self.requests: deque[tuple[str, dict[str, str]]] = deque(maxlen=10_000)
        self._bars: dict[str, _Rows] = {}
        self._prints: dict[str, dict[str, _Rows]] = {"trades": {}, "quotes": {}}
        self._planned: deque[tuple[int, bytes, dict[str, str]]] = deque()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._sockets: set[socket.socket] = set()

    def start(self) -> None:
        self._server = _Server(("127.0.0.1", 0), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="alpaca test rest", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._server.shutdown()
        for connection in list(self._sockets):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        # Waits for the threads of the requests, too.
        self._server.server_close()
        self._thread.join(10)

    def put(
        self,
        symbol: str,
        bars: BarArray,
        trade_counts: Iterable[float] | None,
        vwaps: Iterable[float] | None,
    ) -> None:
        counts = [1] * len(bars) if trade_counts is None else list(trade_counts)
        means = bars["close"].tolist() if vwaps is None else list(vwaps)
        with self._lock:
            held = self._bars.setdefault(symbol, _Rows())
            for (ts, o, h, low, c, v), n, vw in zip(bars.tolist(), counts, means, strict=True):
                row = {"t": _rfc3339(ts), "o": o, "h": h, "l": low, "c": c, "v": v, "n": n}
                held.put(ts, {**row, "vw": vw})

    def put_trades(
        self, symbol: str, trades: BarArray, conditions: Sequence[Sequence[str]] | None
    ) -> None:
        shown = conditions or [("@",)] * len(trades)
        with self._lock:
            held = self._prints["trades"].setdefault(symbol, _Rows())
            for (ts, p, s), c in zip(trades.tolist(), shown, strict=True):
                row = {"t": _rfc3339(ts), "x": "V", "p": p, "s": s, "c": list(c), "i": 1, "z": "C"}
                held.add(ts, row)

    def put_quotes(self, symbol: str, quotes: BarArray) -> None:
        with self._lock:
            held = self._prints["quotes"].setdefault(symbol, _Rows())
            for ts, b, a, bs, as_ in quotes.tolist():
                row = {"t": _rfc3339(ts), "bx": "V", "bp": b, "bs": bs, "ax": "V", "ap": a}
                held.add(ts, {**row, "as": as_, "c": ["R"], "z": "C"})

    def answer_next(self, n: int, status: int, body: bytes, headers: dict[str, str]) -> None:
        with self._lock:
            self._planned.extend([(status, body, headers)] * n)

    def answer(
        self, path: str, query: dict[str, str], headers: Any
    ) -> tuple[int, bytes, dict[str, str]]:
        with self._lock:
            self.n_requests += 1
            self.requests.append((path, query))
            planned = self._planned.popleft() if self._planned else None
        if self.delay_s:
            self._stopping.wait(self.delay_s)
        if planned is not None:
            return planned
        given = (headers.get("APCA-API-KEY-ID"), headers.get("APCA-API-SECRET-KEY"))
        if self.refuse_key or given != (self.key, self.secret):
            return _error(401, "unauthorized.")
        symbols = [s for s in query.get("symbols", "").split(",") if s]
        for symbol in symbols:
            if symbol in self.invalid_symbols:
                return _error(400, f"invalid symbol: {symbol}")
        parts = path.removeprefix("/v2/stocks/").split("/")
        if parts[0] not in _KINDS or not path.startswith("/v2/stocks/"):
            return _error(404, "endpoint not found.")
        with self._lock:
            try:
                found = self._find(parts, symbols, query)
            except ValueError as error:
                return _error(400, str(error))
        return 200, msgspec.json.encode(found), {}

    def _find(self, parts: list[str], symbols: list[str], query: dict[str, str]) -> dict[str, Any]:
        kind = parts[0]
        if parts[1:] == ["latest"]:
            latest = {s: self._rows(kind, s, "1Min", 0, _FAR_NS)[-1:] for s in symbols}
            return {kind: {s: rows[0] for s, rows in latest.items() if rows}}
        start_ns = to_ns(query["start"]) if "start" in query else 0
        end_ns = to_ns(query["end"]) if "end" in query else _FAR_NS
        size = min(int(query.get("limit", 1000)), self.page_size)
        after_symbol, _, after = query.get("page_token", "").partition("|")
        page: dict[str, list[Any]] = {}
        n = 0
        for symbol in sorted(set(symbols)):
            if symbol < after_symbol:
                continue
            first = int(after) if symbol == after_symbol else 0
            rows = self._rows(kind, symbol, query.get("timeframe", ""), start_ns, end_ns)
            taken = rows[first : first + size - n]
            if taken:
                page[symbol] = taken
            n += len(taken)
            if first + len(taken) < len(rows):
                return {kind: page, "next_page_token": f"{symbol}|{first + len(taken)}"}
        return {kind: page, "next_page_token": None}

    def _rows(
        self, kind: str, symbol: str, timeframe: str, start_ns: int, end_ns: int
    ) -> list[Any]:
        # Ascending; what is not over yet is not there.
        now_ns = _FAR_NS if self.clock is None else self.clock.now_ns()
        if kind != "bars":
            held = self._prints[kind].get(symbol, _NOTHING)
            return held.between(start_ns, min(end_ns, now_ns))
        minutes = self._bars.get(symbol, _NOTHING)
        over_ns = now_ns - NS_PER_MINUTE
        if timeframe == "1Min":
            return minutes.between(start_ns, min(end_ns, over_ns))
        groups: dict[int, list[dict[str, Any]]] = {}
        for ts_ns in minutes.labels:
            if ts_ns <= over_ns:
                groups.setdefault(_bucket(ts_ns, timeframe), []).append(minutes.rows[ts_ns])
        return [_folded(ts, bars) for ts, bars in groups.items() if start_ns <= ts <= end_ns]


class _Rows:
    """Rows of one symbol, ascending, ready to be sent."""

    def __init__(self) -> None:
        self.labels: list[int] = []
        self.sent: list[msgspec.Raw] = []
        self.rows: dict[int, dict[str, Any]] = {}

    def put(self, ts_ns: int, row: dict[str, Any]) -> None:
        """Put a row in its place, or in that of one with its label."""
        k = bisect_left(self.labels, ts_ns)
        if k == len(self.labels) or self.labels[k] != ts_ns:
            self.labels.insert(k, ts_ns)
            self.sent.insert(k, msgspec.Raw(b"null"))
        self.sent[k] = msgspec.Raw(msgspec.json.encode(row))
        self.rows[ts_ns] = row

    def add(self, ts_ns: int, row: dict[str, Any]) -> None:
        """Add a row after those it has."""
        assert not self.labels or ts_ns >= self.labels[-1]
        self.labels.append(ts_ns)
        self.sent.append(msgspec.Raw(msgspec.json.encode(row)))

    def between(self, first_ns: int, last_ns: int) -> list[msgspec.Raw]:
        """Those from an instant to another, both included."""
        return self.sent[bisect_left(self.labels, first_ns) : bisect_right(self.labels, last_ns)]


_NOTHING = _Rows()


def _bucket(ts_ns: int, timeframe: str) -> int:
    if timeframe == "1Day":
        day = to_datetime(ts_ns).astimezone(_NEW_YORK)
        return to_ns(day.replace(hour=0, minute=0, second=0, microsecond=0))
    if timeframe not in _MINUTES:
        raise ValueError(f"invalid timeframe: {timeframe}")
    return ts_ns - ts_ns % (_MINUTES[timeframe] * NS_PER_MINUTE)


def _folded(ts_ns: int, bars: list[dict[str, Any]]) -> dict[str, Any]:
    volume = sum(bar["v"] for bar in bars)
    weighted = sum(bar["vw"] * bar["v"] for bar in bars)
    return {
        "t": _rfc3339(ts_ns), "o": bars[0]["o"], "h": max(b["h"] for b in bars),
        "l": min(b["l"] for b in bars), "c": bars[-1]["c"], "v": volume,
        "n": sum(b["n"] for b in bars), "vw": weighted / volume if volume else bars[-1]["c"],
    }  # fmt: skip


def _rfc3339(ts_ns: int) -> str:
    seconds, rest = divmod(int(ts_ns), NS_PER_SECOND)
    text = str(np.datetime64(seconds, "s"))
    return f"{text}.{rest:09d}".rstrip("0") + "Z" if rest else f"{text}Z"


def _error(status: int, message: str) -> tuple[int, bytes, dict[str, str]]:
    return status, msgspec.json.encode({"message": message}), {}


class _Server(ThreadingHTTPServer):
    # Not daemons: `server_close` waits for them, so that none outlives a test.
    daemon_threads = False
    request_queue_size = 64


def _handler_of(rest: RestServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else the second of two small writes waits for the first's acknowledgement.
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            rest._sockets.add(self.connection)

        def finish(self) -> None:
            rest._sockets.discard(self.connection)
            with suppress(OSError):
                super().finish()

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            status, body, headers = rest.answer(url.path, dict(parse_qsl(url.query)), self.headers)
            if not status:
                self.close_connection = True
                return
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    return Handler
