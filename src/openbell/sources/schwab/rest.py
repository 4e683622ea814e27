"""Requests to Schwab: paced, tried again, and told in openbell's own errors."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from openbell.errors import DataSourceError, OpenbellError, SourceUnavailableError
from openbell.sources.schwab.login import LOG_IN_AGAIN, NAME, SILENT
from openbell.sources.schwab.text import read_object

__all__ = ["Rest"]

_N_ATTEMPTS = 3
_LONGEST_WAIT_S = 60.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_STREAMER_KEYS = (
    "streamerSocketUrl",
    "schwabClientCustomerId",
    "schwabClientCorrelId",
    "schwabClientChannel",
    "schwabClientFunctionId",
)


class Rest:
    """One client of Schwab for all threads. A call blocks for as long as its requests take.

    Parameters
    ----------
    make_client : callable
        Returns a ``schwab.client.Client``; called at the first request.
    timeout_s : float
        Of a request.
    retry_wait_s : float
        Before the second attempt; twice as long before the third.
    requests_per_minute : int
        More wait for their turn.

    Attributes
    ----------
    timeout_s : float
    """

    def __init__(
        self,
        make_client: Callable[[], Any],
        *,
        timeout_s: float,
        retry_wait_s: float,
        requests_per_minute: int,
    ) -> None:
        self._make_client = make_client
        self.timeout_s = timeout_s
        self._retry_wait_s = retry_wait_s
        self._pace = _Pace(requests_per_minute)
        self._client: Any = None
        self._making = threading.Lock()
        self._refreshing = threading.Lock()
        self._closed = threading.Event()

    def ask(self, what: str, request: Callable[[Any], Any]) -> dict[str, Any] | None:
        """Send a request and return its answer.

        Parameters
        ----------
        what : str
            What is asked for, in words, for errors.
        request : callable
            Takes the client, returns its response. Sent up to three times while that may help.

        Returns
        -------
        dict or None
            The JSON object; None when the request itself is refused (400, 404): no such symbol.

        Raises
        ------
        SourceUnavailableError
            No connection, no answer in time, one that cannot be read, 429 and 5xx, at last.
        DataSourceError
            The credentials are refused, or the request is in a way that will not change.
        """
        client = self.client()
        for n in range(1, _N_ATTEMPTS + 1):
            self._wait(self._pace.turn)
            try:
                return self._ask_once(what, request, client)
            except _TryAgain as error:
                reason, wait_s = error.reason, error.wait_s
            if wait_s is None:
                wait_s = self._retry_wait_s * 2 ** (n - 1)
            else:
                self._pace.hold(wait_s)
            if n == _N_ATTEMPTS or wait_s > _LONGEST_WAIT_S:
                break
            until = monotonic() + wait_s
            self._wait(lambda until=until: until - monotonic())  # type: ignore[misc]
        raise SourceUnavailableError(NAME, f"{what}: {reason}")

    def client(self) -> Any:
        """The client, made at the first call."""
        with self._making:
            if self._client is not None:
                return self._client
            try:
                client = self._make_client()
                client.set_timeout(self.timeout_s)
                client.logger = SILENT
            except OpenbellError:
                raise
            except Exception as error:  # a factory may be anybody's code, and knows secrets
                why = type(error).__name__
            else:
                self._client = client
                return client
        raise DataSourceError(NAME, f"its client cannot be made ({why})")

    def preferences(self) -> dict[str, Any]:
        """Return the user's preferences, which hold where and how to stream.

        Asked for once, and without waiting for a turn: a stream that is down comes first.

        Raises
        ------
        SourceUnavailableError, DataSourceError
            As :meth:`ask`.
        """
        what = "the place of its stream"
        try:
            answer = self._ask_once(what, lambda c: c.get_user_preferences(), self.client()) or {}
        except _TryAgain as error:
            reason = error.reason
        else:
            _check_streamer(what, answer)
            return answer
        raise SourceUnavailableError(NAME, f"{what}: {reason}")

    def close(self) -> None:
        """Close the client; what waits for its turn is ended by ``SourceUnavailableError``."""
        self._closed.set()
        with self._making:
            if self._client is not None:
                self._client.session.close()

    def _wait(self, left_s: Callable[[], float]) -> None:
        while (left := left_s()) > 0:
            if self._closed.wait(left):
                raise SourceUnavailableError(NAME, "the source was closed")

    def _ask_once(
        self, what: str, request: Callable[[Any], Any], client: Any
    ) -> dict[str, Any] | None:
        try:
            self._refresh_token(client)
            response = request(client)
        except Exception as error:
            failure = _told(what, error, self.timeout_s)
        else:
            return self._read(what, response)
        # Errors of the library hold requests, and these hold tokens: none is chained to ours.
        raise failure

    def _refresh_token(self, client: Any) -> None:
        # The library asks before each request, too, but two threads would both refresh.
        ensure = getattr(client.session, "ensure_active_token", None)
        if ensure is not None:
            with self._refreshing:
                ensure(client.session.token)

    def _read(self, what: str, response: Any) -> dict[str, Any] | None:
        status = response.status_code
        if status == 200:
            answer = read_object(response.content)
            if answer is not None:
                return answer
            raise _TryAgain("its answer is not a JSON object")
        if status in (400, 404):
            return None
        if status == 429:
            raise _TryAgain("too many requests (429)", _seconds(response.headers))
        if status >= 500:
            raise _TryAgain(f"it answered {status}", _seconds(response.headers))
        if status == 401:
            raise DataSourceError(NAME, f"{what}: it refused the token (401); {LOG_IN_AGAIN}")
        if status == 403:
            raise DataSourceError(
                NAME, f"{what}: the app is not entitled to it (403); add the API product to the app"
            )
        raise DataSourceError(NAME, f"{what}: it answered {status}")


class _TryAgain(Exception):
    """An attempt failed in a way that another may not."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        self.reason = reason
        self.wait_s = wait_s
        super().__init__(reason)


class _Pace:
    """So many turns in any minute, for all threads together."""

    def __init__(self, n_per_minute: int) -> None:
        self._n_per_minute = n_per_minute
        self._taken: deque[float] = deque()
        self._not_before = 0.0
        self._lock = threading.Lock()

    def turn(self) -> float:
        """Take a turn and return 0, or the seconds after which to ask for it again."""
        with self._lock:
            now = monotonic()
            while self._taken and self._taken[0] <= now - 60:
                self._taken.popleft()
            if now < self._not_before:
                return self._not_before - now
            if len(self._taken) >= self._n_per_minute:
                return self._taken[0] + 60 - now
            self._taken.append(now)
            return 0.0

    def hold(self, seconds: float) -> None:
        """Give nobody a turn for a while."""
        with self._lock:
            self._not_before = max(self._not_before, monotonic() + min(seconds, _LONGEST_WAIT_S))


def _check_streamer(what: str, answer: dict[str, Any]) -> None:
    listed = answer.get("streamerInfo")
    first = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, dict) or any(
        not isinstance(first.get(key), str) for key in _STREAMER_KEYS
    ):
        raise SourceUnavailableError(NAME, f"{what}: its answer holds no streamerInfo")
    url = urlsplit(first["streamerSocketUrl"])
    if url.scheme != "wss" and not (url.scheme == "ws" and url.hostname in _LOOPBACK):
        # The token is sent there.
        raise DataSourceError(NAME, f"{what}: expected a wss:// address")


def _told(what: str, error: Exception, timeout_s: float) -> Exception:
    # By name: authlib takes httpx2 where it is installed, whose errors have the same names.
    names = {kind.__name__ for kind in type(error).__mro__}
    name = type(error).__name__
    if "TimeoutException" in names:
        return _TryAgain(f"no answer within {timeout_s:g} s")
    if "TransportError" in names:
        return _TryAgain(f"it cannot be reached ({name})")
    if "HTTPStatusError" in names:
        return _TryAgain("its token endpoint is out of order")
    if "AuthlibBaseError" in names:
        return DataSourceError(
            NAME, f"{what}: it refused to renew the token ({name}); {LOG_IN_AGAIN}"
        )
    if isinstance(error, OSError):
        return DataSourceError(NAME, f"{what}: the renewed token cannot be written ({name})")
    if isinstance(error, ValueError):
        return _TryAgain("its answer cannot be read")
    return DataSourceError(NAME, f"{what}: {name} in schwab-py")


def _seconds(headers: Any) -> float | None:
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else None
