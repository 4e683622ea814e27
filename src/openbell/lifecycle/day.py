"""One day of a session: loaded, and stepped through."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import date as Date
from typing import TYPE_CHECKING, Any, Protocol

from openbell._native.replay import ReplayCursor
from openbell._native.strategy import NativeStrategy
from openbell.errors import ArgumentError, SessionStateError
from openbell.processing.processor import Cursor
from openbell.schema import NS_PER_SECOND
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.lifecycle.coordinator import SessionCoordinator
    from openbell.lifecycle.provisioning import Provisioning

__all__ = ["DayCursor", "Records", "ReplayedDay", "SliceCallback", "TradingDay"]


class Records(Protocol):
    """The records of a slice: a light sequence, copying nothing. ``list(records)`` keeps them."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> SymbolSessionData: ...
    def __iter__(self) -> Iterator[SymbolSessionData]: ...


class DayCursor(Cursor, Protocol):
    """What feeds the records of a day, and takes in those that join."""

    def add(self, record: SymbolSessionData, /) -> None:
        """Feed a record too."""


SliceCallback = Callable[[int, Records], Any] | NativeStrategy

# A paced replay sleeps this long at most, so that it can be interrupted.
_LONGEST_SLEEP_S = 0.2


class TradingDay:
    """One day of a session, loaded: ready to be replayed, or fed by streams.

    It is over when the next one begins, or when the session is stopped or closed.

    Attributes
    ----------
    window : SessionWindow
    date : datetime.date
    cursor : DayCursor
        What feeds the records.
    """

    def __init__(
        self, session: SessionCoordinator, window: SessionWindow, cursor: DayCursor
    ) -> None:
        self._session = session
        self.window = window
        self.cursor = cursor

    @property
    def date(self) -> Date:
        """The day's date."""
        return self.window.date

    @property
    def n_bars(self) -> int:
        """Base bars made visible so far."""
        raise NotImplementedError

    def slices(self) -> Iterator[tuple[int, Records]]:
        """Step through the day in order of time. Asked for again, it goes on from there.

        Between two slices, what :meth:`SessionCoordinator.add_symbol` was asked for is loaded,
        and a paused session waits.

        Yields
        ------
        (int, sequence of SymbolSessionData)
            When these bars became visible (their end, nanoseconds UTC), and the records with a
            base bar closed there: a light sequence, valid until the next slice.

        Raises
        ------
        SessionStateError
            When the day is over. One that ends while it is stepped through has no more slices.
        """
        raise NotImplementedError

    def run(self, on_slice: SliceCallback | None = None) -> None:
        """Go on to the close, calling ``on_slice(ts_ns, records)`` after each slice.

        Parameters
        ----------
        on_slice : callable or NativeStrategy, optional
            A compiled strategy runs inside the replay, some slices in one piece. A thread that asks
            for something (a symbol to join, a pause) gets its turn between two such pieces.

        Raises
        ------
        ArgumentError
            When a day that streams feed is given a compiled strategy.
        SessionStateError
            When the day is over.
        """
        self._require_current("run")
        if isinstance(on_slice, NativeStrategy):
            self._run_native(on_slice)
            return
        if on_slice is None and self._run_untold():
            return
        for ts_ns, records in self.slices():
            if on_slice is not None:
                self._session.is_stepping = True
                try:
                    on_slice(ts_ns, records)
                finally:
                    self._session.is_stepping = False

    def serve(self, provisioning: Provisioning) -> None:
        """Load what waits, between two slices."""
        raise NotImplementedError

    def _run_native(self, strategy: NativeStrategy) -> None:
        raise ArgumentError(
            "on_slice", strategy, "a function: compiled strategies run in replays, not on streams"
        )

    def _run_untold(self) -> bool:
        # Whether the day could be brought to its end without stepping through it.
        return False

    def _require_current(self, call: str) -> None:
        root = self._session.root
        is_over = root.window is not self.window or not root.session_active
        if is_over or not self._session.is_current(self):
            raise SessionStateError(
                f"{self.date}: {call}",
                "past this day",
                "go through each day of session.days() before asking for the next",
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.window!r}>"


class ReplayedDay(TradingDay):
    """A day whose bars are there already, replayed as fast as configured."""

    def __init__(self, session: SessionCoordinator, window: SessionWindow) -> None:
        root = session.root
        self._cursor = ReplayCursor(root.core, root.on_incomplete == "skip")
        super().__init__(session, window, self._cursor)
        self._speed = session.config.session.speed

    @property
    def n_bars(self) -> int:
        """Base bars made visible so far."""
        return self._cursor.n_bars

    def slices(self) -> Iterator[tuple[int, Records]]:
        """Step through the day; see :meth:`TradingDay.slices`."""
        session, cursor = self._session, self._cursor
        self._require_current("slices")
        arrival = session.root.data_arrival_event
        pace = _Pace(self) if self._speed else None
        while session.take_turn(self):
            if pace is not None and not pace.wait():
                continue
            session.is_stepping = True
            try:
                goes_on = cursor.step()
            finally:
                session.is_stepping = False
            if not goes_on:
                return
            if cursor.n_records:
                # To look costs a twentieth of waking whoever waits.
                if not arrival.is_set():
                    arrival.set()
                yield cursor.ts_ns, cursor.records

    def serve(self, provisioning: Provisioning) -> None:
        """Load what waits; the replay goes on afterwards."""
        provisioning.serve(self._cursor, self.window)

    def _run_native(self, strategy: NativeStrategy) -> None:
        session, cursor = self._session, self._cursor
        self._require_current("run")
        pace = _Pace(self) if self._speed else None
        cursor.attach(strategy)
        try:
            while session.take_turn(self):
                if pace is not None and not pace.wait():
                    continue
                session.is_stepping = True
                try:
                    goes_on = cursor.step_block() if pace is None else cursor.step()
                finally:
                    session.is_stepping = False
                session.root.data_arrival_event.set()
                if not goes_on:
                    return
        finally:
            cursor.attach(None)

    def _run_untold(self) -> bool:
        # With nobody to tell, symbol by symbol in stretches of time; the result is the same.
        session, cursor = self._session, self._cursor
        if self._speed:
            return False
        while not cursor.closings.is_watching:
            if not session.take_turn(self):
                return True
            if not cursor.run_block():
                session.root.data_arrival_event.set()
                return True
        return False


class _Pace:
    """Holds a slice back until its time has come."""

    def __init__(self, day: ReplayedDay) -> None:
        self._day = day
        self._began = 0.0
        self._n_pauses = -1

    def wait(self) -> bool:
        """Wait for the next slice's time; False when something else is to be looked at first."""
        session, cursor = self._day._session, self._day._cursor
        next_ns = cursor.next_ns
        if next_ns is None:
            return True
        if self._n_pauses != session.n_pauses:
            # What was slept through does not have to be caught up with.
            self._n_pauses = session.n_pauses
            self._began = time.monotonic() - self._seconds_of(session.root.now_ns)
        left = self._began + self._seconds_of(next_ns) - time.monotonic()
        if left <= 0:
            return True
        time.sleep(min(left, _LONGEST_SLEEP_S))
        return left <= _LONGEST_SLEEP_S

    def _seconds_of(self, ts_ns: int) -> float:
        return (ts_ns - self._day.window.open_ns) / NS_PER_SECOND / self._day._speed
