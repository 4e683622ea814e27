"""How a session's feeds fare, as its coordinator tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openbell.errors import SessionStateError

if TYPE_CHECKING:
    from openbell.lifecycle.live_run import LiveRun
    from openbell.live.connections import HealthCallback
    from openbell.live.health import FeedHealth, SymbolHealth
    from openbell.live.intake import BackfillCallback
    from openbell.live.latency import LatencyHistogram

__all__ = ["LiveSide"]


class LiveSide:
    """What a coordinator tells of the live side of its session; a backtest has none."""

    live: LiveRun | None

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
        indicators have them already. Called as :meth:`on_feed_change` calls.

        Raises
        ------
        SessionStateError
            When the session is a backtest.
        """
        self._require_live("on_backfilled").on_backfilled(callback)

    @property
    def feed_health(self) -> list[FeedHealth]:
        """How each source fares, also after the day; empty in a backtest."""
        return [] if self.live is None else self.live.feed_health

    @property
    def symbol_health(self) -> dict[str, SymbolHealth]:
        """How each streamed symbol fares; empty in a backtest."""
        return {} if self.live is None else self.live.symbol_health

    @property
    def queue_depth(self) -> int:
        """Messages that came from feeds and wait to be taken in."""
        return 0 if self.live is None else self.live.queue_depth

    @property
    def queue_capacity(self) -> int:
        """How many may wait; 0 in a backtest."""
        return 0 if self.live is None else self.live.queue_capacity

    @property
    def latency(self) -> LatencyHistogram | None:
        """From when a bar came from its source's library until callbacks had been told of it.

        Of the running day; None before it, and in a backtest.
        """
        return None if self.live is None else self.live.latency

    def _require_live(self, call: str) -> LiveRun:
        if self.live is None:
            raise SessionStateError(call, "a backtest", "set [session] mode = 'live'")
        return self.live
