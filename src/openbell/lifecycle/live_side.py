"""How a session's feeds fare, as its coordinator tells it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date as Date
from typing import TYPE_CHECKING, TypeVar

from openbell.errors import SessionStateError
from openbell.lifecycle.validation import leave_out

if TYPE_CHECKING:
    from openbell.lifecycle.live_run import LiveRun
    from openbell.lifecycle.provisioning import Provisioning
    from openbell.lifecycle.validation import SymbolValidationResult
    from openbell.live.connections import HealthCallback
    from openbell.live.feed import LiveFeed
    from openbell.live.health import FeedHealth, SymbolHealth
    from openbell.live.intake import BackfillCallback
    from openbell.live.latency import LatencyHistogram
    from openbell.session import SessionData

_T = TypeVar("_T")

__all__ = ["LiveSide"]


class LiveSide:
    """What a coordinator tells of the live side of its session; a backtest has none."""

    live: LiveRun | None
    root: SessionData
    results: dict[str, SymbolValidationResult]
    _provisioning: Provisioning
    _is_stopping: bool
    _is_closed: bool

    def _some_day(self) -> Date:
        raise NotImplementedError

    def on_feed_change(self, callback: HealthCallback) -> None:
        """Call ``callback(health)`` when the state of a source or of a symbol has changed.

        With a :class:`FeedHealth` or a :class:`SymbolHealth`, the source's before its symbols', in
        the thread that runs the session. What it raises is logged; a strict session ends.

        Raises
        ------
        SessionStateError
            When the session is a backtest.
        """
        self._require_live("on_feed_change").on_change(callback)

    def on_backfilled(self, callback: BackfillCallback) -> None:
        """Call ``callback(record, bars, why)`` when history gave bars that were missing or wrong.

        ``bars`` is a ``BAR_DTYPE`` array of those that were stored; derived bars, quality and
        indicators have them already. ``why`` says what they were asked for after: ``joined``,
        ``connected anew``, ``queue overflow``, ``missing bars``, ``the day is over``, or several of
        these, with commas between them, that were asked for as one. Called as
        :meth:`on_feed_change` calls.

        Raises
        ------
        SessionStateError
            When the session is a backtest.
        """
        self._require_live("on_backfilled").on_backfilled(callback)

    @property
    def feed_health(self) -> list[FeedHealth]:
        """How each source fares, also after the day; empty in a backtest."""
        feed = self._feed
        return [] if feed is None else feed.connections.feed_health

    @property
    def symbol_health(self) -> dict[str, SymbolHealth]:
        """How each streamed symbol fares; empty in a backtest."""
        feed = self._feed
        return {} if feed is None else feed.connections.symbol_health

    @property
    def queue_depth(self) -> int:
        """Messages that came from feeds and wait to be taken in."""
        feed = self._feed
        return 0 if feed is None else feed.n_waiting

    @property
    def queue_capacity(self) -> int:
        """How many may wait; 0 in a backtest."""
        return 0 if self.live is None else self.live.options.queue_size

    @property
    def latency(self) -> LatencyHistogram | None:
        """From when a bar came from its source's library until callbacks had been told of it.

        Of the running day; None before it, and in a backtest.
        """
        feed = self._feed
        return None if feed is None else feed.latency

    @property
    def _feed(self) -> LiveFeed | None:
        return None if self.live is None else self.live.feed

    def _interruptible(self, items: Iterable[_T]) -> Iterable[_T]:
        # A broker's answer may take longer than who stops the session would wait.
        if self.live is None:
            return items
        from openbell.live.interruptible import interruptible

        return interruptible(items, lambda: self._is_stopping or self._is_closed)

    def _refuse(self, symbol: str, reason: str) -> None:
        # What a stream will not send is no part of the session; the others are.
        result = self.results.get(symbol)
        if result is not None:
            leave_out(result, self._some_day(), reason)
        rec = self.root.get_symbol_data(symbol)
        if rec is None or rec.meets_session_config_requirements:
            self._provisioning.remove_symbol(symbol)
        else:
            # Bars that somebody brought by hand are not the stream's to take away.
            self._provisioning.cancel(symbol)

    def _require_live(self, call: str) -> LiveRun:
        if self.live is None:
            raise SessionStateError(call, "a backtest", "set [session] mode = 'live'")
        return self.live
