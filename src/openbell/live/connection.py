"""One source's stream, whom it serves, and how it fares."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np

from openbell.clock.live import LiveClock
from openbell.clock.window import SessionWindow
from openbell.live.health import LEAST_SILENCE_S, FeedMonitor
from openbell.live.inbox import Inbox, InboxReceiver
from openbell.schema import NS_PER_MINUTE, NS_PER_SECOND
from openbell.sources.streaming import BarStream, StreamingSource

__all__ = ["REVISIONS_NS", "Connection"]

_log = logging.getLogger("openbell.live")

#: Corrections come so long after their bar: what a drop swallowed of them is asked for, too.
REVISIONS_NS: Final = 3 * NS_PER_MINUTE

# In a rehearsal a thread that has to wait for its turn is no silence of the market.
_LEAST_WALL_SILENCE_S: Final = 0.25

Span = tuple[int, int]


class Connection:
    """A stream of bars of one interval, from the session's side.

    Parameters
    ----------
    source : StreamingSource
    interval : str
    window : SessionWindow
    clock : LiveClock
    inbox : Inbox
    grace_s : float
        How long after its end a bar may come.
    quotes, trades : bool
        Whether these are streamed too.
    since_ns : int
        From when on nothing was streamed yet: when this was made, or until when a session that
        is resumed had come.

    Attributes
    ----------
    symbols : set of str
        Those subscribed.
    monitor : FeedMonitor
    """

    def __init__(
        self,
        source: StreamingSource,
        interval: str,
        window: SessionWindow,
        clock: LiveClock,
        inbox: Inbox,
        *,
        grace_s: float,
        quotes: bool,
        trades: bool,
        since_ns: int,
    ) -> None:
        self.name = source.name
        self.interval = interval
        self.symbols: set[str] = set()
        least_silence_s = max(LEAST_SILENCE_S, _LEAST_WALL_SILENCE_S * clock.speed)
        self.monitor = FeedMonitor(source.name, grace_s, least_silence_s=least_silence_s)
        self.monitor.begin(window)
        self.stream: BarStream = source.stream(interval, clock, quotes=quotes, trades=trades)
        self._receiver = InboxReceiver(inbox, source.name)
        self._window = window
        self._grid = window.grid(interval)
        self._grace_ns = round(grace_s * NS_PER_SECOND)
        self._down_since_ns: int | None = since_ns
        self._has_connected = False
        self._is_started = False

    def subscribe(self, symbols: list[str]) -> None:
        """Stream symbols too; connects when they are the first."""
        wanted = [symbol for symbol in symbols if symbol not in self.symbols]
        self.symbols.update(wanted)
        self.stream.subscribe(wanted)
        if not self._is_started:
            self._is_started = True
            self.stream.start(self._receiver)

    def unsubscribe(self, symbol: str) -> None:
        """Stream a symbol no more."""
        self.symbols.discard(symbol)
        self.monitor.remove(symbol)
        self.stream.unsubscribe([symbol])

    def note_down(self, since_ns: int) -> None:
        """Note that nothing may have come since an instant; the earliest counts."""
        # A feed that lags had sent only what ended so long before.
        since_ns -= max(0, round((self.monitor.health.lag_s or 0.0) * NS_PER_SECOND))
        if self._down_since_ns is None or since_ns < self._down_since_ns:
            self._down_since_ns = since_ns

    def note_up(self, now_ns: int) -> tuple[Span, Span | None] | None:
        """Note that it is connected.

        Returns
        -------
        (to ask for, outage) or None
            Labels that are to be asked for, from (inclusive) and to (exclusive); and the slots
            whose bars may have been lost, None when none ended meanwhile. None when it was up.
        """
        since_ns, self._down_since_ns = self._down_since_ns, None
        is_first, self._has_connected = not self._has_connected, True
        if since_ns is None:
            return None
        # A bar is sent a moment after its end: one that ended just before may be lost, too.
        margin_ns = 0 if is_first else self._grace_ns
        outage = self.outage(since_ns - margin_ns, now_ns)
        start_ns = (
            since_ns - REVISIONS_NS if outage is None else min(since_ns - REVISIONS_NS, outage[0])
        )
        asked = (max(self._window.open_ns, start_ns), min(now_ns, self._window.close_ns))
        return asked, outage

    def close_outage(self, now_ns: int) -> Span | None:
        """The slots that a loss which is not over yet may have cost, up to now."""
        if self._down_since_ns is None or not self.symbols:
            return None
        return self.outage(self._down_since_ns - self._grace_ns, now_ns)

    def outage(self, since_ns: int, until_ns: int) -> Span | None:
        """Start and end of the slots that ended after an instant and up to another."""
        ends = self._grid.ends_ns
        first = int(np.searchsorted(ends, since_ns, "right"))
        last = int(np.searchsorted(ends, until_ns, "right")) - 1
        if last < first:
            return None
        return int(self._grid.starts_ns[first]), int(ends[last])

    def stop(self, timeout_s: float) -> None:
        """Disconnect."""
        if self._is_started and not self.stream.stop(timeout_s):
            _log.warning("%s: its thread has not ended within %g s", self.name, timeout_s)
