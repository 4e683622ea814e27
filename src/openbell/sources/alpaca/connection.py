"""The connection itself, on the library's stream client. Imported when a stream is made.

The library connects, keeps the wire format and comes back after a loss. Taken over from it are
the login (it forgets the error's code), the subscriptions (it asks for all in one message, of
which one bad symbol has all refused) and the reading (one bad message costs it a whole frame).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import suppress
from math import nan
from typing import Any, Final

import msgpack
from alpaca.data.enums import DataFeed
from alpaca.data.live import StockDataStream
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.legacy.client import WebSocketClientProtocol

from openbell.clock.live import LiveClock
from openbell.sources.alpaca.keys import PLACEHOLDER, Keys
from openbell.sources.alpaca.stream import THREAD_NAME
from openbell.sources.seconds import SecondsBuilder
from openbell.sources.streaming import StreamReceiver

__all__ = ["Connection"]

log = logging.getLogger(__name__)
# The library writes a line of its own for each loss, which the receiver is told of anyway.
logging.getLogger("alpaca.data.live.websocket").addFilter(
    lambda record: record.levelno >= logging.ERROR or record.threadName != THREAD_NAME
)

#: Not authenticated, failed, insufficient subscription: asking again gives the same answer. That
#: the login took too long (404) or another connection is there (406) passes.
_NOT_LET_IN: Final = frozenset((401, 402, 409))
#: A subscription is refused: invalid syntax, too many symbols, insufficient, not on this feed.
_NOT_SUBSCRIBED: Final = frozenset((400, 405, 409, 410))
#: 1973 and 2262; what lies outside is no time in nanoseconds.
_FIRST_NS, _LAST_NS = 100_000_000_000_000_000, (1 << 63) - 1
#: A minute of every symbol may come as one frame.
_LARGEST_FRAME: Final = 1 << 26
_CLOSE_TIMEOUT_S: Final = 0.2
_FLUSH_S: Final = 0.25
_BAD: Final = (KeyError, TypeError, ValueError, AttributeError, IndexError)
#: Corrected and cancelled trades, halts, price bands, and the greetings: of no use here.
_IDLE: Final = frozenset(("c", "x", "s", "l", "success"))


class LostError(WebSocketException):
    """The connection is lost or could not be made; as the library expects to be told."""


class _RefusedError(Exception):
    """The credentials are refused."""


class _Wire(WebSocketClientProtocol):
    """Hands each frame on where it is read: the library's queue costs two turns of the loop."""

    take: Callable[[Any], None] | None = None

    async def read_message(self) -> Any:
        while True:
            frame = await super().read_message()
            if frame is None or self.take is None:
                return frame
            self.take(frame)


class _Group:
    """Channels that are asked for together, and for which symbols Alpaca has said yes."""

    def __init__(self, channels: tuple[str, ...], is_main: bool) -> None:
        self.channels = channels
        self.is_main = is_main
        self.held: set[str] = set()
        self.refused: set[str] = set()


class Connection(StockDataStream):
    """Connects, asks for what is wanted, tells what comes. All but its making in its own loop."""

    _ws: Any

    def __init__(
        self,
        keys: Keys,
        clock: LiveClock,
        *,
        interval: str,
        feed: str,
        url: str | None,
        quotes: bool,
        trades: bool,
        backoff_s: tuple[float, float],
        ping_s: tuple[float, float],
        answer_timeout_s: float,
    ) -> None:
        # Their record of frames at level DEBUG would show the login.
        wire_log = logging.getLogger(f"{__name__}.wire")
        wire_log.setLevel(logging.INFO)
        super().__init__(
            PLACEHOLDER,
            PLACEHOLDER,
            raw_data=True,
            feed=DataFeed(feed),
            url_override=url,
            websocket_params={
                "create_protocol": _Wire,
                "ping_interval": None,
                "close_timeout": _CLOSE_TIMEOUT_S,
                "open_timeout": answer_timeout_s,
                "max_queue": 1024,
                "max_size": _LARGEST_FRAME,
                "logger": wire_log,
            },
        )
        # The library waits, at full speed, until something is subscribed with it.
        self._handlers["bars"]["*"] = None
        self._keys = keys
        self._clock = clock
        self._reconnect_min_backoff, self._reconnect_max_backoff = backoff_s
        self._ping_interval_s, self._ping_timeout_s = ping_s
        self._answer_timeout_s = answer_timeout_s
        self._builder = SecondsBuilder() if interval == "1s" else None
        self._tells_trades = trades
        main = ("trades",) if self._builder else ("bars", "updatedBars", "dailyBars")
        # Of quotes and trades fewer may be had than of bars: asked for apart, they cost no bars.
        others = (
            ("quotes",) if quotes else (),
            ("trades",) if trades and not self._builder else (),
        )
        self._groups = [_Group(main, True), *(_Group(names, False) for names in others if names)]
        self._wanted: frozenset[str] = frozenset()
        self._changed = asyncio.Event()
        self._hurry = asyncio.Event()
        self._answer: asyncio.Future[dict[str, Any]] | None = None
        self._reason = ""
        self._n_lost = 0
        self._lasted_s = 0.0

    async def live(self, receiver: StreamReceiver) -> None:
        """Connect when something is wanted, and stay so until cancelled or refused."""
        self._receiver = receiver
        try:
            while not self._wanted:
                self._changed.clear()
                await self._changed.wait()
            ticking = asyncio.ensure_future(self._tell_seconds())
            try:
                await self._run_forever()
            finally:
                ticking.cancel()
        except Exception as error:
            log.exception("the Alpaca stream broke")
            receiver.on_failed(f"it broke: {type(error).__name__}")
        finally:
            await self.close()

    def want(self, symbols: frozenset[str], anew: Collection[str]) -> None:
        """Make these the symbols that are asked for; of them, forget that some were refused."""
        self._wanted = symbols
        for group in self._groups:
            group.refused &= symbols
            group.refused.difference_update(anew)
        self._changed.set()

    def reconnect(self) -> None:
        """Drop the connection if there is one, and do not wait before making another."""
        self._hurry.set()
        self._drop("it was told to reconnect")

    async def close(self) -> None:
        """Close the connection, politely but not for long."""
        ws, self._ws = self._ws, None
        self._running = False
        if ws is not None:
            with suppress(Exception):
                await ws.close()

    async def _start_ws(self) -> None:
        reason = ""
        is_refused = False
        try:
            async with asyncio.timeout(self._answer_timeout_s):
                await super()._start_ws()
        except Exception as error:
            reason, is_refused = self._why(error), isinstance(error, _RefusedError)
        # Raised here, where no exception of the library's is being handled, so none hangs on it.
        if is_refused:
            self._should_run = False
            self._receiver.on_failed(reason)
            raise LostError(reason)
        if reason:
            self._receiver.on_disconnected(reason)
            raise LostError(reason)
        self._hurry.clear()

    async def _auth(self) -> None:
        await self._ws.send(msgpack.packb(self._keys.stream_login()))
        answer = msgpack.unpackb(await self._ws.recv())[0]
        if answer["T"] == "success" and answer["msg"] == "authenticated":
            return
        code = answer.get("code")
        said = f"{self._keys.without(str(answer.get('msg')))} ({code})"
        if code in _NOT_LET_IN:
            raise _RefusedError(f"the credentials are refused: {said}")
        raise LostError(f"not let in: {said}")

    async def _send_subscribe_msg(self) -> None:
        # Called by the library once it is let in; `_settle` asks, and reads the answers.
        return None

    async def _wait_before_reconnect(self, retries: int) -> None:
        if not self._should_run:
            return
        # Being let in proves little: a server may close at once. Having lasted does.
        lasted_s, self._lasted_s = self._lasted_s, 0.0
        self._n_lost = 1 if lasted_s > self._reconnect_max_backoff else self._n_lost + 1
        with suppress(TimeoutError):
            async with asyncio.timeout(self._reconnect_delay(self._n_lost)):
                await self._hurry.wait()
        self._hurry.clear()

    async def _consume(self) -> bool:
        ws, self._reason = self._ws, ""
        now = asyncio.get_running_loop().time
        since = now()
        helpers = [
            asyncio.ensure_future(self._guarded(work))
            for work in (self._settle(ws), self._keep_alive(ws))
        ]
        # What came before is in the library's queue; behind it only the end comes there.
        ws.take = self._take
        try:
            while True:
                self._take(await ws.recv())
        except Exception as error:
            reason = self._reason or self._why(error)
        finally:
            for helper in helpers:
                helper.cancel()
        self._lasted_s = now() - since
        self._receiver.on_disconnected(reason)
        raise LostError(reason)

    def _drop(self, reason: str) -> None:
        # What waits to receive is told that the connection is closed.
        if self._ws is not None:
            self._reason = self._reason or reason
            self._ws.transport.abort()

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            self._drop(self._why(error))

    def _why(self, error: BaseException) -> str:
        # In words of ours: those of a library may hold more than they should.
        if isinstance(error, LostError | _RefusedError):
            return str(error)
        if isinstance(error, TimeoutError):
            return f"no answer within {self._answer_timeout_s:g} s"
        if hasattr(error, "status_code"):
            return f"connecting was answered with HTTP {error.status_code}"
        if isinstance(error, ConnectionClosed):
            code = "" if error.rcvd is None else f" with code {error.rcvd.code}"
            return f"the connection was closed{code}"
        if isinstance(error, OSError):
            return f"cannot connect: {error.strerror or type(error).__name__}"
        return f"something came that cannot be understood ({type(error).__name__})"

    async def _keep_alive(self, ws: Any) -> None:
        while True:
            await asyncio.sleep(self._ping_interval_s)
            try:
                async with asyncio.timeout(self._ping_timeout_s):
                    await (await ws.ping())
            except TimeoutError:
                self._drop(f"no sign of life for {self._ping_timeout_s:g} s")
                return
            self._receiver.on_heartbeat()

    async def _tell_seconds(self) -> None:
        while self._builder is not None:
            await asyncio.sleep(max(self._clock.wall_seconds(_FLUSH_S), 0.005))
            for bar in self._builder.flush(self._clock.now_ns()):
                self._receiver.on_bar(*bar)

    # What is subscribed is made what is wanted, one question at a time.

    async def _settle(self, ws: Any) -> None:
        for group in self._groups:
            group.held.clear()
        is_told = False
        while True:
            self._changed.clear()
            for group in self._groups:
                gone = group.held - self._wanted
                if gone:
                    await self._exchange(ws, "unsubscribe", group, sorted(gone))
                    group.held -= gone
                await self._ask(ws, group, sorted(self._wanted - group.held - group.refused))
                if not is_told:
                    is_told = True
                    self._receiver.on_connected()
            await self._changed.wait()

    async def _ask(self, ws: Any, group: _Group, symbols: Sequence[str]) -> None:
        symbols = [symbol for symbol in symbols if symbol in self._wanted]
        if not symbols:
            return
        answer = await self._exchange(ws, "subscribe", group, symbols)
        if answer["T"] == "error":
            # It names no symbol: halves are asked for until the bad one is alone.
            if len(symbols) == 1:
                self._refuse(group, symbols[0], f"{answer.get('msg')} ({answer.get('code')})")
                return
            middle = len(symbols) // 2
            await self._ask(ws, group, symbols[:middle])
            await self._ask(ws, group, symbols[middle:])
            return
        given = set.intersection(*(set(answer.get(name) or ()) for name in group.channels))
        for symbol in symbols:
            if symbol not in given:
                self._refuse(group, symbol, "it is left out of what is subscribed")
                continue
            group.held.add(symbol)
            if group.is_main and self._builder is not None:
                self._builder.begin(symbol, self._clock.now_ns())

    def _refuse(self, group: _Group, symbol: str, reason: str) -> None:
        group.refused.add(symbol)
        reason = self._keys.without(reason)
        if group.is_main:
            self._receiver.on_refused(symbol, reason)
        else:
            log.warning("alpaca sends no %s of %s: %s", group.channels[0], symbol, reason)

    async def _exchange(
        self, ws: Any, action: str, group: _Group, symbols: list[str]
    ) -> dict[str, Any]:
        self._answer = asyncio.get_running_loop().create_future()
        message = {"action": action, **dict.fromkeys(group.channels, symbols)}
        await ws.send(self._fragments(msgpack.packb(message)))
        async with asyncio.timeout(self._answer_timeout_s):
            return await self._answer

    def _fragments(self, message: bytes) -> Iterator[bytes]:
        size = self._max_frame_size
        return (message[k : k + size] for k in range(0, len(message), size))

    # What comes.

    def _take(self, frame: Any) -> None:
        receiver = self._receiver
        try:
            # Instants as int nanoseconds, without an object for each.
            messages = msgpack.unpackb(frame, timestamp=2)
        except Exception:  # it raises what it likes
            receiver.on_garbage("a frame that is not msgpack")
            return
        is_data = False
        for message in messages if type(messages) is list else [messages]:
            try:
                kind = message["T"]
                tell, values = self._read(kind, message)
            except _BAD:
                receiver.on_garbage("a message that cannot be understood")
                continue
            if tell is not None:
                is_data = True
                tell(*values)
        if not is_data:
            receiver.on_heartbeat()

    def _read(self, kind: str, message: dict[str, Any]) -> tuple[Callable[..., None] | None, Any]:
        # Adding 0.0 makes integers floats, and refuses what is no number.
        if kind == "b" or kind == "u":
            n, vwap = message.get("n"), message.get("vw")
            return self._receiver.on_bar, (
                *_whose(message),
                message["o"] + 0.0,
                message["h"] + 0.0,
                message["l"] + 0.0,
                message["c"] + 0.0,
                message["v"] + 0.0,
                nan if n is None else n + 0.0,
                nan if vwap is None else vwap + 0.0,
                kind == "u",
            )
        if kind == "q":
            sizes = message["bs"] + 0.0, message["as"] + 0.0
            return self._receiver.on_quote, (
                *_whose(message), message["bp"] + 0.0, message["ap"] + 0.0, *sizes,
            )  # fmt: skip
        if kind == "t":
            conditions = message.get("c") or ()
            if not isinstance(conditions, list | tuple):
                raise TypeError
            return self._on_trade, (
                *_whose(message), message["p"] + 0.0, message["s"] + 0.0,
                tuple(map(str, conditions)), str(message.get("z", "")),
            )  # fmt: skip
        if kind == "d":
            symbol, _ = _whose(message)
            return self._receiver.on_daily_bar, (
                symbol, *(message[name] + 0.0 for name in ("o", "h", "l", "c", "v"))
            )  # fmt: skip
        if kind == "subscription":
            self._on_answer(message)
        elif kind == "error":
            self._on_error(message, message["code"])
        elif kind not in _IDLE:
            raise ValueError
        return None, ()

    def _on_trade(
        self,
        symbol: str,
        ts_ns: int,
        price: float,
        size: float,
        conditions: tuple[str, ...],
        tape: str,
    ) -> None:
        if self._tells_trades:
            self._receiver.on_trade(symbol, ts_ns, price, size)
        if self._builder is not None and symbol in self._wanted:
            for bar in self._builder.add(symbol, ts_ns, price, size, conditions, tape):
                self._receiver.on_bar(*bar)

    def _on_answer(self, message: dict[str, Any]) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(message)

    def _on_error(self, message: dict[str, Any], code: int) -> None:
        if code not in _NOT_SUBSCRIBED:
            self._drop(self._keys.without(f"it said: {message.get('msg')} ({code})"))
        elif self._answer is None or self._answer.done():
            raise ValueError
        else:
            self._answer.set_result(message)


def _whose(message: dict[str, Any]) -> tuple[str, int]:
    symbol, ts_ns = message["S"], message["t"]
    if type(symbol) is not str or type(ts_ns) is not int or not _FIRST_NS <= ts_ns <= _LAST_NS:
        raise ValueError
    return symbol, ts_ns
