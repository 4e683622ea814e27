"""The REST half of the test server: tokens, preferences, quotes and price history."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from openbell.clock.live import LiveClock
from openbell.schema import NS_PER_DAY, NS_PER_MINUTE, BarArray, to_datetime

__all__ = ["RestAnswers"]

ZONE = ZoneInfo("America/New_York")
MS_NS = 1_000_000

Row = tuple[float, float, float, float, float]
Answer = tuple[int, Any, dict[str, str]]


class RestAnswers:
    """Answers HTTP requests of one event loop. See :class:`SchwabServer` for its attributes."""

    def __init__(self, credentials: dict[str, str], preferences: Callable[[], Any]) -> None:
        self.credentials = credentials
        self.clock: LiveClock | None = None
        self.delay_s = 0.0
        self.refuse_refresh = False
        self.bars: dict[str, dict[int, Row]] = {}
        self.known: set[str] = set()
        self.requests: deque[tuple[str, dict[str, str]]] = deque(maxlen=10_000)
        self.n_requests = 0
        self.n_refreshes = 0
        self._preferences = preferences
        self._next: deque[tuple[int, bytes, dict[str, str]]] = deque()
        self._writers: set[asyncio.StreamWriter] = set()

    def put(self, symbol: str, bars: BarArray) -> None:
        rows = self.bars.setdefault(symbol, {})
        self.known.add(symbol)
        for ts_ns, *values in bars.tolist():
            rows[ts_ns] = tuple(values)

    def answer_next(self, n: int, status: int, body: bytes, headers: dict[str, str]) -> None:
        self._next.extend([(status, body, headers)] * n)

    def abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split(" ", 2)
                headers = {}
                while (line := await reader.readline()).strip():
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.n_requests += 1
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                status, answer, more = self._answer(method, target, headers, body)
                if not status:
                    return
                text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                lines = [f"HTTP/1.1 {status} -", f"Content-Length: {len(text)}"]
                lines += [f"{name}: {value}" for name, value in more.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + text)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    def _answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        if self._next:
            return self._next.popleft()
        parts = urlsplit(target)
        asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if (method, parts.path) == ("POST", "/v1/oauth/token"):
            return self._refresh(headers, body)
        self.requests.append((parts.path, asked))
        if headers.get("authorization") != f"Bearer {self.credentials['access_token']}":
            return 401, {"errors": [{"status": 401, "title": "Unauthorized"}]}, {}
        if parts.path == "/trader/v1/userPreference":
            return 200, self._preferences(), {}
        if parts.path == "/marketdata/v1/quotes":
            return 200, self._quotes(asked["symbols"].split(",")), {}
        if parts.path == "/marketdata/v1/pricehistory":
            return 200, self._history(asked), {}
        return 404, {}, {}

    def _refresh(self, headers: dict[str, str], body: bytes) -> Answer:
        held = self.credentials
        basic = base64.b64encode(f"{held['api_key']}:{held['app_secret']}".encode()).decode()
        asked = parse_qs(body.decode())
        is_right = headers.get("authorization") == f"Basic {basic}" and asked.get(
            "refresh_token"
        ) == [held["refresh_token"]]
        if self.refuse_refresh or not is_right:
            told = f"Exception while authenticating refresh token {held['refresh_token']}"
            return 400, {"error": "unsupported_token_type", "error_description": told}, {}
        self.n_refreshes += 1
        held["access_token"] += "+"
        kept = ("access_token", "refresh_token")
        return 200, {"token_type": "Bearer", "expires_in": 1800} | {k: held[k] for k in kept}, {}

    def _quotes(self, symbols: list[str]) -> dict[str, Any]:
        found: dict[str, Any] = {s: {"symbol": s, "quote": {}} for s in symbols if s in self.known}
        unknown = [symbol for symbol in symbols if symbol not in self.known]
        return found | ({"errors": {"invalidSymbols": unknown}} if unknown else {})

    def _history(self, asked: dict[str, str]) -> dict[str, Any]:
        symbol = asked["symbol"]
        start_ns, end_ns = (int(asked[key]) * MS_NS for key in ("startDate", "endDate"))
        if self.clock is not None:
            end_ns = min(end_ns, self.clock.now_ns())
        extended = asked.get("needExtendedHoursData", "true") == "true"
        is_daily = asked["frequencyType"] == "daily"
        step_ns = NS_PER_DAY if is_daily else int(asked["frequency"]) * NS_PER_MINUTE
        buckets: dict[int, list[Row]] = {}
        for ts_ns, row in sorted(self.bars.get(symbol, {}).items()):
            at = to_datetime(ts_ns).astimezone(ZONE)
            is_regular = 570 <= 60 * at.hour + at.minute < 960
            label = ts_ns - ts_ns % step_ns
            # Days are labelled by midnight in Chicago; 05:00 UTC in summer.
            label += 5 * 60 * NS_PER_MINUTE if is_daily else 0
            if start_ns <= label <= end_ns and (is_regular or (extended and not is_daily)):
                buckets.setdefault(label, []).append(row)
        candles = [
            {
                "open": rows[0][0],
                "high": max(row[1] for row in rows),
                "low": min(row[2] for row in rows),
                "close": rows[-1][3],
                "volume": sum(row[4] for row in rows),
                "datetime": label // MS_NS,
            }
            for label, rows in buckets.items()
        ]
        return {"symbol": symbol, "empty": not candles, "candles": candles}
