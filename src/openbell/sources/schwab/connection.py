"""One connection to Schwab's stream, from the login until it is lost."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from openbell.errors import DataSourceError, SourceUnavailableError
from openbell.sources.schwab.frames import CODES, Frames
from openbell.sources.schwab.login import LOG_IN_AGAIN, NAME, SILENT, sdk
from openbell.sources.schwab.rest import Rest
from openbell.sources.streaming import StreamReceiver

__all__ = ["Connection", "ConnectionLost", "run_until"]

_DENIED = 3
# Answers that say something of the connection, not of the symbols that were asked for.
_BROKEN = (_DENIED, 9, 11, 12, 20, 30)
_BARS, _QUOTES = "CHART_EQUITY", "LEVELONE_EQUITIES"
_QUOTE_FIELDS = ("SYMBOL", "BID_PRICE", "ASK_PRICE", "BID_SIZE", "ASK_SIZE", "QUOTE_TIME_MILLIS")
_N_AT_ONCE = 250
_ANSWER_S = 10.0
_CLOSE_S = 0.3
_LARGEST_FRAME = 2**24


class ConnectionLost(Exception):
    """The connection was lost or could not be made; another attempt may do.

    Attributes
    ----------
    reason : str
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Connection:
    """Logs in, keeps the subscriptions as wanted, and reads; for use within one event loop.

    Parameters
    ----------
    rest : Rest
    receiver : StreamReceiver
    wanted : callable
        Returns the symbols wanted now.
    refuse : callable
        Takes a symbol and a reason: it is wanted no more.
    changed : asyncio.Event
        Set when the symbols wanted have changed.
    quotes : bool
        Whether quotes are wanted, too.

    Attributes
    ----------
    is_in : bool
        Whether it was let in.
    """

    def __init__(
        self,
        rest: Rest,
        receiver: StreamReceiver,
        wanted: Callable[[], Collection[str]],
        refuse: Callable[[str, str], None],
        changed: asyncio.Event,
        quotes: bool,
    ) -> None:
        self._rest = rest
        self._receiver = receiver
        self._wanted = wanted
        self._refuse = refuse
        self._changed = changed
        self._with_quotes = quotes
        self._held: dict[str, None] = {}
        self._has_asked: set[str] = set()
        self._frames = Frames(receiver, self._held)
        self._streaming = sdk("schwab.streaming")
        self._client: Any = self._streaming.StreamClient(_Account(rest))
        self._client.logger = SILENT
        self._client.json_decoder = self._frames
        self._socket: Any = None
        self.is_in = False

    @property
    def has_heard(self) -> bool:
        """Whether anything came but answers."""
        return self._frames.n_news > 0

    async def run(self) -> None:
        """Run until it is lost, or the task is cancelled; leaves no socket behind.

        Raises
        ------
        ConnectionLost
            When another attempt may do.
        DataSourceError
            When none will: the credentials are refused.
        """
        try:
            await self._log_in()
            self.is_in = True
            self._receiver.on_connected()
            await self._follow()
        except Exception as error:
            end = self._told(error)
        finally:
            await self._close()
        raise end

    async def _log_in(self) -> None:
        protocol = sdk("websockets.legacy.client").WebSocketClientProtocol
        options = {
            "create_protocol": functools.partial(self._keep_socket, protocol),
            "logger": SILENT,
            "max_size": _LARGEST_FRAME,
            "open_timeout": _ANSWER_S,
            "close_timeout": _CLOSE_S,
        }
        async with asyncio.timeout(self._rest.timeout_s + 2 * _ANSWER_S):
            await self._client.login(options)

    def _keep_socket(self, protocol: Callable[..., Any], *args: Any, **options: Any) -> Any:
        # The library has no way to close the connection that it opens.
        self._socket = protocol(*args, **options)
        return self._socket

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            await self._subscribe()
            # The library holds a lock while it waits for a message, so that nothing can be asked
            # meanwhile. Reading is therefore ended for a change. No message is lost by that: it
            # waits in one place only, and what is taken from there is told before the next wait.
            reading = await run_until(self._changed, self._read())
            if not reading.cancelled():
                reading.result()

    async def _read(self) -> None:
        while not self._frames.goodbye:
            await self._client.handle_message()
        raise ConnectionLost(self._frames.goodbye)

    async def _subscribe(self) -> None:
        wanted = self._wanted()
        gone = [symbol for symbol in self._held if symbol not in wanted]
        for symbol in gone:
            del self._held[symbol]
        for part in _parts(gone):
            await self._ask(self._request(_BARS, "unsubs")(part))
            if self._with_quotes:
                await self._ask(self._request(_QUOTES, "unsubs")(part))
        missing = [symbol for symbol in wanted if symbol not in self._held]
        # The last is asked for first.
        waiting = [(_BARS, part) for part in reversed(_parts(missing))]
        while waiting:
            service, symbols = waiting.pop()
            # What was given up meanwhile is not asked for.
            symbols = [symbol for symbol in symbols if symbol in self._wanted()]
            if symbols:
                waiting += await self._take_up(service, symbols)

    async def _take_up(self, service: str, symbols: list[str]) -> list[tuple[str, list[str]]]:
        # Returns what is still to be asked for. A bar may come before the answer.
        if service == _BARS:
            self._held.update(dict.fromkeys(symbols))
        code = await self._add(service, symbols)
        if not code:
            return [(_QUOTES, symbols)] if service == _BARS and self._with_quotes else []
        if service == _BARS:
            for symbol in symbols:
                del self._held[symbol]
        if len(symbols) > 1:
            # It does not say which of them it was.
            middle = len(symbols) // 2
            return [(service, symbols[middle:]), (service, symbols[:middle])]
        if service == _BARS:
            self._refuse(symbols[0], _meaning(code))
        else:
            self._receiver.on_garbage(f"no quotes of {symbols[0]}: {_meaning(code)}")
        return []

    async def _add(self, service: str, symbols: list[str]) -> int:
        call = self._request(service, "add" if service in self._has_asked else "subs")
        options = {}
        if service == _QUOTES:
            kind = self._client.LevelOneEquityFields
            options["fields"] = [kind[name] for name in _QUOTE_FIELDS]
        code = await self._ask(call(symbols, **options))
        if not code:
            self._has_asked.add(service)
        return code

    def _request(self, service: str, command: str) -> Callable[..., Awaitable[None]]:
        name = {_BARS: "chart_equity", _QUOTES: "level_one_equity"}[service]
        method: Callable[..., Awaitable[None]] = getattr(self._client, f"{name}_{command}")
        return method

    async def _ask(self, request: Awaitable[None]) -> int:
        # A code, 0 when it is done.
        try:
            async with asyncio.timeout(_ANSWER_S):
                await request
        except self._streaming.UnexpectedResponseCode as error:
            code = _code_of(error)
        except TimeoutError:
            raise ConnectionLost(f"no answer to a request within {_ANSWER_S:g} s") from None
        else:
            return 0
        if code in _BROKEN:
            raise ConnectionLost(_meaning(code))
        return code

    def _told(self, error: Exception) -> Exception:
        # Neither an error of the library, which may hold a request, nor its text goes further.
        if isinstance(error, ConnectionLost | SourceUnavailableError):
            return ConnectionLost(error.reason)
        if isinstance(error, DataSourceError):
            return DataSourceError(NAME, error.reason)
        if self._frames.goodbye:
            return ConnectionLost(self._frames.goodbye)
        name = type(error).__name__
        if isinstance(error, self._streaming.UnexpectedResponseCode):
            code = _code_of(error)
            if code == _DENIED:
                return DataSourceError(NAME, f"{_meaning(code)}; {LOG_IN_AGAIN}")
            return ConnectionLost(_meaning(code))
        if isinstance(error, self._streaming.UnexpectedResponse):
            return ConnectionLost("an answer to something else than was asked")
        if isinstance(error, TimeoutError):
            return ConnectionLost("no answer in time")
        if isinstance(error, OSError):
            return ConnectionLost(f"it cannot be reached ({name})")
        if name.startswith("ConnectionClosed"):
            return ConnectionLost("the connection was closed")
        where = "in its library" if self.is_in else "before it was let in"
        return ConnectionLost(f"{name} {where}")

    async def _close(self) -> None:
        socket = self._socket
        if socket is None or getattr(socket, "transport", None) is None:
            return
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_S):
                await socket.close()
        socket.transport.abort()


class _Account:
    """What the library's stream takes of a client; asks without holding up the event loop."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest

    @property
    def token_metadata(self) -> Any:
        return self._rest.client().token_metadata

    async def get_user_preferences(self) -> _Preferences:
        return _Preferences(await _in_thread(self._rest.preferences))


class _Preferences:
    status_code = 200

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def json(self) -> dict[str, Any]:
        return self._answer


async def _in_thread(call: Callable[[], Any]) -> Any:
    # A thread of its own: the loop's pool would be waited for when the loop is closed, and a
    # request that hangs cannot be interrupted.
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: Exception | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

    def work() -> None:
        result, failure = None, None
        try:
            result = call()
        except Exception as error:
            failure = error
        # When the loop was closed, nobody waits for it.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="openbell-schwab-login", daemon=True).start()
    return await future


async def run_until(over: asyncio.Event, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Do some work until it ends or an event is set; return its task, which has ended.

    What it raised was taken, so that nothing logs it.
    """
    tasks = asyncio.create_task(work), asyncio.create_task(over.wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()
    return tasks[0]


def _parts(symbols: list[str]) -> list[list[str]]:
    return [symbols[n : n + _N_AT_ONCE] for n in range(0, len(symbols), _N_AT_ONCE)]


def _code_of(error: Any) -> int:
    return int(error.response["response"][0]["content"]["code"])


def _meaning(code: int) -> str:
    return f"{CODES[code]} (code {code})" if code in CODES else f"refused with code {code}"
