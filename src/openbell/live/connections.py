"""The connections of a live session: which source serves which symbol, and how each fares."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from openbell.errors import DataSourceError
from openbell.live.connection import Connection, Span
from openbell.live.health import FeedHealth, FeedMonitor, SymbolHealth
from openbell.live.inbox import (
    CONNECTED,
    DISCONNECTED,
    FAILED,
    GARBAGE,
    HEARTBEAT,
    REFUSED,
    Inbox,
    Message,
)

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.config import LiveConfig
    from openbell.sources.live_manager import LiveDataManager

__all__ = ["Connections", "HealthCallback"]

_log = logging.getLogger("openbell.live")

HealthCallback = Callable[[FeedHealth | SymbolHealth], Any]

_STOP_S: Final = 1.2
_MARGIN_S: Final = 0.2


class Connections:
    """One connection for each source that serves a symbol, made when the first one asks for it.

    Parameters
    ----------
    data : LiveDataManager
    window : SessionWindow
    options : LiveConfig
    inbox : Inbox
        Takes what streams tell.
    since_ns : int
        From when on nothing was streamed yet.

    Attributes
    ----------
    on_outage : callable
        ``on_outage(span, symbols)``: bars of these slots may have been lost.
    on_missed : callable
        ``on_missed(interval, symbols, start_ns, end_ns, why)``: to be asked for.
    on_refused : callable or None
        ``on_refused(symbol, reason)``.
    on_change : callable or None
        ``on_change(health)``, when the state of a source or a symbol has changed.
    handlers : dict of int to callable
        What takes each kind of message, in the engine's thread.
    """

    def __init__(
        self,
        data: LiveDataManager,
        window: SessionWindow,
        options: LiveConfig,
        inbox: Inbox,
        since_ns: int,
        *,
        on_outage: Callable[[Span, Collection[str]], object],
        on_missed: Callable[[str, Collection[str], int, int, str], object],
    ) -> None:
        self.on_outage = on_outage
        self.on_missed = on_missed
        self.on_refused: Callable[[str, str], object] | None = None
        self.on_change: HealthCallback | None = None
        self.handlers: dict[int, Callable[[Message], object]] = {
            HEARTBEAT: self._take_heartbeat,
            CONNECTED: self._take_connected,
            DISCONNECTED: self._take_disconnected,
            FAILED: self._take_failed,
            REFUSED: self._take_refused,
            GARBAGE: self._take_garbage,
        }
        self._data = data
        self._window = window
        self._options = options
        self._inbox = inbox
        self._since_ns = since_ns
        self._connections: dict[str, Connection] = {}
        self._source_of: dict[str, str] = {}
        self._fill_rates: dict[str, float] = {}
        self._lock = threading.Lock()

    def subscribe(self, symbols: Mapping[str, str]) -> None:
        """Stream symbols, each in an interval, from their sources; any thread may call it.

        Raises
        ------
        DataSourceError
            When no source streams one of them so.
        """
        with self._lock:
            wanted: dict[str, list[str]] = {}
            for symbol, interval in symbols.items():
                if symbol not in self._source_of:
                    wanted.setdefault(self._connection(symbol, interval).name, []).append(symbol)
            for name, members in wanted.items():
                self._source_of.update(dict.fromkeys(members, name))
                # Who judges silences is the engine's thread alone; it hears of them first.
                self._inbox.call(partial(self._watch, name, members))
                self._connections[name].subscribe(members)

    def _watch(self, name: str, symbols: Collection[str]) -> None:
        connection = self._connections[name]
        for symbol in symbols:
            if self._source_of.get(symbol) == name:
                fill_rate = self._fill_rates.get(symbol)
                connection.monitor.add(symbol, connection.interval, fill_rate=fill_rate)

    def unsubscribe(self, symbol: str) -> None:
        """Stream a symbol no more; the engine's thread alone calls it."""
        self._fill_rates.pop(symbol, None)
        with self._lock:
            name = self._source_of.pop(symbol, None)
            if name is not None:
                self._connections[name].unsubscribe(symbol)

    def __contains__(self, symbol: str) -> bool:
        return symbol in self._source_of

    def monitor(self, source: str) -> FeedMonitor:
        """The monitor of one source."""
        return self._connections[source].monitor

    def monitor_of(self, symbol: str) -> FeedMonitor | None:
        """The monitor of the source that serves a symbol; None when none does."""
        name = self._source_of.get(symbol)
        return None if name is None else self._connections[name].monitor

    def interval(self, source: str) -> str:
        """What one source streams."""
        return self._connections[source].interval

    def learn(self, symbol: str, fill_rate: float) -> None:
        """Tell in what share of slots a symbol had a bar on past days, before its first bar."""
        self._fill_rates[symbol] = fill_rate
        monitor = self.monitor_of(symbol)
        if monitor is not None:
            monitor.learn(symbol, fill_rate)

    def check(self) -> None:
        """Judge every silence; a connection that is mute is made anew.

        Called when nothing waits in the inbox: what waits there is no silence.
        """
        now_ns = self._data.clock.now_ns()
        for connection in self._connections.values():
            if connection.monitor.check(now_ns):
                silent_ns = connection.monitor.silent_since_ns
                connection.note_down(max(self._window.open_ns, silent_ns))
                _log.warning("%s: connected, but mute; connecting anew", connection.name)
                connection.stream.reconnect()

    def stop(self) -> None:
        """Disconnect all at once, and end their threads; a loss that lasts is an outage."""
        now_ns = min(self._data.clock.now_ns(), self._window.close_ns)
        threads = []
        for connection in self._connections.values():
            span = connection.close_outage(now_ns)
            if span is not None:
                self.on_outage(span, connection.symbols)
            threads.append(threading.Thread(target=connection.stop, args=(_STOP_S,), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(_STOP_S + _MARGIN_S)
        for connection in self._connections.values():
            connection.monitor.note_stopped()

    @property
    def feed_health(self) -> list[FeedHealth]:
        """How each source fares."""
        return [connection.monitor.health for connection in self._connections.values()]

    @property
    def symbol_health(self) -> dict[str, SymbolHealth]:
        """How each symbol fares."""
        found: dict[str, SymbolHealth] = {}
        for connection in self._connections.values():
            found.update(connection.monitor.symbols)
        return found

    def _connection(self, symbol: str, interval: str) -> Connection:
        source = self._data.source_of(symbol)
        if source is None:
            raise DataSourceError("", f"no source streams {symbol}")
        found = self._connections.get(source.name)
        if found is None:
            found = Connection(
                source, interval, self._window, self._data.clock, self._inbox,
                grace_s=self._options.grace_seconds,
                quotes=self._options.quotes,
                trades=self._options.trades,
                since_ns=self._since_ns,
            )  # fmt: skip
            found.monitor.on_change = self._tell_change
            # Another dict, so that whoever goes through the old one is undisturbed.
            self._connections = {**self._connections, source.name: found}
            self._data.note_streamed(source.name, interval)
        elif found.interval != interval:
            raise DataSourceError(
                source.name, f"streams {found.interval} bars in this session, not {interval}"
            )
        return found

    def _take_connected(self, message: Message) -> None:
        connection = self._connections[message[1]]
        now_ns = self._data.clock.now_ns()
        connection.monitor.note_connected(now_ns)
        found = connection.note_up(now_ns)
        if found is None:
            return
        (start_ns, end_ns), outage = found
        if outage is not None:
            self.on_outage(outage, connection.symbols)
        if start_ns < end_ns:
            symbols = set(connection.symbols)
            self.on_missed(connection.interval, symbols, start_ns, end_ns, "connected anew")

    def _take_disconnected(self, message: Message) -> None:
        connection = self._connections[message[1]]
        monitor, now_ns = connection.monitor, self._data.clock.now_ns()
        # What came last is known, but not since when nothing could come.
        is_loss = monitor.health.connected
        since_ns = min(now_ns, monitor.silent_since_ns) if is_loss else now_ns
        monitor.note_disconnected(now_ns, message[3])
        connection.note_down(since_ns)

    def _take_failed(self, message: Message) -> None:
        connection = self._connections[message[1]]
        _log.error("%s: %s", connection.name, message[3])
        connection.monitor.note_failed(message[3])
        connection.note_down(self._data.clock.now_ns())

    def _take_refused(self, message: Message) -> None:
        _, source, _, symbol, reason = message
        self._connections[source].monitor.note_refused(symbol, reason)
        if self.on_refused is not None and symbol in self._source_of:
            self.on_refused(symbol, f"{source} refused it: {reason}")

    def _take_heartbeat(self, message: Message) -> None:
        self._connections[message[1]].monitor.note_heartbeat(self._data.clock.now_ns())

    def _take_garbage(self, message: Message) -> None:
        self._connections[message[1]].monitor.note_garbage(message[3])

    def _tell_change(self, health: FeedHealth | SymbolHealth) -> None:
        if self.on_change is not None:
            self.on_change(health)
