"""One day of a live session: loaded, and fed by streams."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from openbell._native.closings import Closings
from openbell.lifecycle.day import Records, TradingDay
from openbell.live.feed import LiveFeed
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.lifecycle.coordinator import SessionCoordinator
    from openbell.lifecycle.provisioning import Provisioning, Request

__all__ = ["LiveCursor", "LiveDay"]


class LiveCursor:
    """Feeds the records of a root from streams, as a replay's cursor feeds them from memory.

    Parameters
    ----------
    root : SessionData
    feed : LiveFeed

    Attributes
    ----------
    closings : Closings
        What the records tell when their bars close.
    held : set of SymbolSessionData
        Those that are fed.
    """

    def __init__(self, root: SessionData, feed: LiveFeed) -> None:
        self.feed = feed
        self.closings = Closings(root.core, root.on_incomplete == "skip")
        # Bars come as they end; the clock follows when the last of them must have come.
        self.closings.by_data = True
        self.held: set[SymbolSessionData] = set()
        self._root = root
        feed.closings = self.closings

    def add(self, record: SymbolSessionData) -> None:
        """Feed a record too; the bars that it has by now go untold."""
        self.feed.adopt(record)
        self.held.add(record)
        self.closings.add(record, True)

    def drop_detached(self) -> None:
        """Let go of records that were removed, and unsubscribe their symbols."""
        gone = {record for record in self.held if not record.is_attached}
        self.held -= gone
        for record in gone:
            if record.symbol not in self._root:
                self.feed.unsubscribe(record.symbol)

    def fetch(self, provisioning: Provisioning, request: Request) -> None:
        """Load what a request needs, in the quality thread; the engine's puts it in place."""
        fetched = provisioning.fetch(request, self.feed.window)
        self.feed.inbox.call(partial(self._complete, provisioning, request, fetched))

    def _complete(self, provisioning: Provisioning, request: Request, fetched: object) -> None:
        try:
            provisioning.complete(request, fetched, self, self.feed.window)
        finally:
            record = self._root.get_symbol_data(request.symbol)
            if record not in self.held and not provisioning.is_awaited(request.symbol):
                self.feed.unsubscribe(request.symbol)


class LiveDay(TradingDay):
    """A day whose bars come as they are made.

    It is over when its close has passed and late corrections have come.

    Attributes
    ----------
    feed : LiveFeed
    """

    def __init__(
        self, session: SessionCoordinator, window: SessionWindow, cursor: LiveCursor
    ) -> None:
        super().__init__(session, window, cursor)
        self.feed = cursor.feed
        self._live_cursor = cursor

    @property
    def n_bars(self) -> int:
        """Base bars stored so far."""
        return self.feed.intake.n_bars

    def slices(self) -> Iterator[tuple[int, Records]]:
        """Wait for bars, and step through them as they come; see :meth:`TradingDay.slices`.

        Bars of one instant that come apart are slices of their own. What comes late, corrects,
        or was missed before makes none: ``on_close(..., corrections=True)`` tells of it. The
        session's clock moves also when nothing comes, the configured grace behind the time.
        """
        session, feed = self._session, self.feed
        self._require_current("slices")
        feed.look_for_gaps()
        while session.take_turn(self) and not feed.is_over:
            session.is_stepping = True
            try:
                slices = feed.turn()
            finally:
                session.is_stepping = False
            yield from slices

    def serve(self, provisioning: Provisioning) -> None:
        """Have what waits loaded in the background; it joins when it is there."""
        for request in provisioning.take_unstarted():
            self.feed.worker.submit(partial(self._live_cursor.fetch, provisioning, request))
