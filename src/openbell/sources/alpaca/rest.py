"""Asking Alpaca over HTTP: the library pages, this repeats what failed and names what is wrong.

The library's own request has no timeout, waits the same three seconds for two of the errors
that pass, and reads an answer's encoding before its content; so it is taken over here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from openbell.errors import DataSourceError, SourceUnavailableError
from openbell.schema import to_datetime
from openbell.sources.alpaca.keys import NAME, PLACEHOLDER, Keys
from openbell.sources.alpaca.pages import Page, joined, read_page
from openbell.sources.sdk import import_sdk

__all__ = ["BadRequestError", "RestClient"]

Answer = dict[str, Page]

_N_ATTEMPTS: Final = 5
_LONGEST_WAIT_S: Final = 60.0
_PASSING: Final = frozenset((408, 425, 429, 500, 502, 503, 504))
_NOT_LET_IN: Final = frozenset((401, 403))
_LONGEST_TEXT: Final = 200
_MINUTES: Final = {"1m": 1, "5m": 5, "15m": 15, "30m": 30}


class BadRequestError(DataSourceError):
    """Alpaca does not take a request as it is: perhaps for one of its symbols."""


class RestClient:
    """Bars, trades and quotes of several symbols, all pages of them. For any thread.

    Parameters
    ----------
    keys : Keys
    feed, adjustment : str
    url : str or None
        Where Alpaca answers; its own place when None.
    timeout_s : float
        How long one answer may take to begin, and to go on.
    retry_wait_s : float
        How long to wait before a failed request is made again; doubled each time.
    on_garbage : callable
        Told (how many, of what) rows are left out as they cannot be understood.

    Raises
    ------
    MissingLibraryError
        When alpaca-py is not installed.
    """

    def __init__(
        self,
        keys: Keys,
        *,
        feed: str,
        adjustment: str,
        url: str | None,
        timeout_s: float,
        retry_wait_s: float,
        on_garbage: Callable[[int, str], None],
    ) -> None:
        historical = import_sdk("alpaca.data.historical", "alpaca-py", "the Alpaca source", NAME)
        self._requests: Any = import_sdk("alpaca.data.requests", "alpaca-py", "", NAME)
        self._frames: Any = import_sdk("alpaca.data.timeframe", "alpaca-py", "", NAME)
        enums = import_sdk("alpaca.data.enums", "alpaca-py", "", NAME)
        self._http: Any = import_sdk("requests", "requests", "the Alpaca source", NAME)
        self._feed = enums.DataFeed(feed)
        self._adjustment = enums.Adjustment(adjustment)
        self._keys = keys
        self._timeout_s = timeout_s
        self._retry_wait_s = retry_wait_s
        self._on_garbage = on_garbage
        self._closing = threading.Event()
        self._client: Any = historical.StockHistoricalDataClient(
            PLACEHOLDER, PLACEHOLDER, raw_data=True, url_override=url and url.rstrip("/")
        )
        self._client._one_request = self._one_request
        self._session: Any = self._client._session
        self._session.auth = keys
        self._host = urlsplit(self._client._base_url).hostname

    def bars(self, symbols: Sequence[str], interval: str, start_ns: int, end_ns: int) -> Answer:
        """Bars with labels at or after the start and before the end; columns o h l c v n vw."""
        frame, unit = self._frames.TimeFrame, self._frames.TimeFrameUnit
        asked = self._requests.StockBarsRequest(
            symbol_or_symbols=list(symbols),
            timeframe=frame.Day if interval == "1d" else frame(_MINUTES[interval], unit.Minute),
            adjustment=self._adjustment,
            **self._span(start_ns, end_ns - 1),
        )
        return _gathered("bars", self._client.get_stock_bars(asked))

    def trades(self, symbols: Sequence[str], start_ns: int, end_ns: int) -> Answer:
        """Trades made at or after the start and before the end; columns price and size."""
        asked = self._requests.StockTradesRequest(
            symbol_or_symbols=list(symbols), **self._span(start_ns, end_ns)
        )
        return _gathered("trades", self._client.get_stock_trades(asked))

    def quotes(self, symbols: Sequence[str], start_ns: int, end_ns: int) -> Answer:
        """Quotes made in a span of time; columns bid, ask, bid size, ask size."""
        asked = self._requests.StockQuotesRequest(
            symbol_or_symbols=list(symbols), **self._span(start_ns, end_ns)
        )
        return _gathered("quotes", self._client.get_stock_quotes(asked))

    def with_latest_bar(self, symbols: Sequence[str]) -> set[str]:
        """Those of the symbols that ever had a bar."""
        asked = self._requests.StockLatestBarRequest(
            symbol_or_symbols=list(symbols), feed=self._feed
        )
        return set(self._client.get_stock_latest_bar(asked))

    def with_latest_trade(self, symbols: Sequence[str]) -> set[str]:
        """Those of the symbols that were ever traded."""
        asked = self._requests.StockLatestTradeRequest(
            symbol_or_symbols=list(symbols), feed=self._feed
        )
        return set(self._client.get_stock_latest_trade(asked))

    def close(self) -> None:
        """Close the connections; who waits to ask again gives up."""
        self._closing.set()
        self._session.close()

    def _span(self, start_ns: int, end_ns: int) -> dict[str, Any]:
        # Their end is inclusive, and a datetime has microseconds: who asks cuts what is too much.
        return {"start": to_datetime(start_ns), "end": to_datetime(end_ns), "feed": self._feed}

    def _one_request(self, method: str, url: str, options: dict[str, Any], retry: int) -> Any:
        # In place of the library's. Nothing is raised where another exception, which holds the
        # request with its headers, is being handled.
        for n_tried in range(1, _N_ATTEMPTS + 1):
            result, wait_s = self._try(method, url, options)
            if not isinstance(result, SourceUnavailableError):
                break
            wait_s = max(wait_s, self._retry_wait_s * 2 ** (n_tried - 1))
            if n_tried == _N_ATTEMPTS or self._closing.wait(min(wait_s, _LONGEST_WAIT_S)):
                break
        if isinstance(result, DataSourceError):
            raise result
        return result

    def _try(
        self, method: str, url: str, options: dict[str, Any]
    ) -> tuple[dict[str, Any] | DataSourceError, float]:
        if self._closing.is_set():
            return SourceUnavailableError(NAME, "is closed"), 0.0
        errors = self._http.exceptions
        try:
            response = self._session.request(method, url, timeout=self._timeout_s, **options)
        except errors.Timeout:
            return self._unavailable(f"gave no answer within {self._timeout_s:g} s"), 0.0
        except (errors.ConnectionError, errors.ChunkedEncodingError, errors.ContentDecodingError):
            return self._unavailable("cannot be reached"), 0.0
        except errors.RequestException as error:
            return DataSourceError(NAME, f"cannot be asked: {type(error).__name__}"), 0.0
        if response.status_code == 200:
            return self._read(response.content, options.get("params") or {}), 0.0
        return self._refusal(response)

    def _refusal(self, response: Any) -> tuple[DataSourceError, float]:
        status = response.status_code
        if status in _PASSING:
            return self._unavailable(f"answered {status} {response.reason}"), _wait_s(response)
        said = self._said(response.content)
        if status in _NOT_LET_IN:
            return DataSourceError(
                NAME,
                f"refused the credentials, or they are not entitled to this ({said}); check "
                "APCA_API_KEY_ID and APCA_API_SECRET_KEY",
            ), 0.0
        kind = BadRequestError if status in (400, 422) else DataSourceError
        return kind(NAME, f"answered {status}: {said}"), 0.0

    def _unavailable(self, reason: str) -> SourceUnavailableError:
        return SourceUnavailableError(NAME, f"{self._host} {reason}")

    def _said(self, content: bytes) -> str:
        text = content[:10_000].decode("utf-8", "replace")
        with suppress(msgspec.DecodeError, KeyError, TypeError):
            text = str(msgspec.json.decode(content)["message"])
        text = " ".join(self._keys.without(text).split())
        return text[:_LONGEST_TEXT] or "without a reason"

    def _read(
        self, content: bytes, asked: dict[str, Any]
    ) -> dict[str, Any] | SourceUnavailableError:
        try:
            answer = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self._unavailable("answered what is not JSON")
        if not isinstance(answer, dict):
            return self._unavailable("answered JSON of another form")
        token = answer.get("next_page_token")
        if not isinstance(token, str | None) or (token and token == asked.get("page_token")):
            return self._unavailable("answered a page that has no sound successor")
        kinds = [kind for kind in ("bars", "trades", "quotes") if kind in answer]
        if len(kinds) != 1 or not isinstance(answer[kinds[0]], dict | None):
            return self._unavailable("answered without what was asked for")
        kind = kinds[0]
        # Some of its answers say null for none.
        symbols = answer[kind] or {}
        read = {s: self._read_symbol(kind, s, rows) for s, rows in symbols.items()}
        return {kind: read, "next_page_token": token or None}

    def _read_symbol(self, kind: str, symbol: str, rows: Any) -> Any:
        # A list of one page, as the library joins lists; the latest of a symbol is no list.
        if isinstance(rows, dict):
            return rows
        page, n_bad = read_page(kind, rows if isinstance(rows, list) else [rows])
        if n_bad:
            self._on_garbage(n_bad, f"{kind} of {symbol}")
        return [page]


def _wait_s(response: Any) -> float:
    # The standard's header, and Alpaca's own: the second at which more requests are allowed.
    with suppress(KeyError, ValueError):
        return float(response.headers["Retry-After"])
    with suppress(KeyError, ValueError):
        return float(response.headers["X-RateLimit-Reset"]) - time.time()
    return 0.0


def _gathered(kind: str, found: dict[str, list[Page]]) -> Answer:
    return {symbol: joined(kind, pages) for symbol, pages in found.items()}
