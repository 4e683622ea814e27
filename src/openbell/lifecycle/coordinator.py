"""The coordinator: day after day, validate, load, replay, clear."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date as Date
from os import PathLike
from typing import TYPE_CHECKING, Any, Protocol

from openbell._native.replay import ReplayCursor
from openbell._native.values import BarData
from openbell.clock.manager import TimeManager
from openbell.config import SessionConfig, SessionTable
from openbell.errors import CalendarError, ConfigError, SessionStateError
from openbell.intervals import interval as parse_interval
from openbell.lifecycle.loading import load_records
from openbell.lifecycle.validation import (
    SymbolValidationResult,
    leave_out,
    require_any,
    validate_symbol,
)
from openbell.schema import NS_PER_SECOND
from openbell.session import SessionData
from openbell.sources import DataManager
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow

__all__ = ["SessionCoordinator", "TradingDay", "open_session"]


class Records(Protocol):
    """The records of a slice: a light sequence, copying nothing. ``list(records)`` keeps them."""

    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> SymbolSessionData: ...
    def __iter__(self) -> Iterator[SymbolSessionData]: ...


SliceCallback = Callable[[int, Records], Any]
CloseCallback = Callable[[SymbolSessionData, BarData], Any]
LoadCallback = Callable[[SymbolSessionData], Any]

# A paced replay sleeps this long at most, so that it can be interrupted.
_LONGEST_SLEEP_S = 0.2


class _SessionTime(TimeManager):
    """Tells the time of a root while that has a day."""

    def __init__(self, root: SessionData, session: SessionTable) -> None:
        super().__init__(session.exchange, hours=session.hours, anchor=session.anchor)
        self._root = root

    @property
    def now_ns(self) -> int:
        return self._root.now_ns if self._root.window is not None else super().now_ns


def open_session(
    config: SessionConfig | str | PathLike[str] | Mapping[str, Any],
    *,
    data: DataManager | None = None,
) -> SessionCoordinator:
    """Open the session that a configuration describes; nothing is loaded yet.

    Parameters
    ----------
    config : SessionConfig, path of a TOML or JSON file, or mapping of the same shape
    data : DataManager, optional
        Where the bars come from, instead of what ``[data]`` names.

    Raises
    ------
    ConfigError, CalendarError, DataSourceError
        When the configuration cannot be honoured.
    """
    if isinstance(config, Mapping):
        config = SessionConfig.from_dict(config)
    elif not isinstance(config, SessionConfig):
        config = SessionConfig.load(config)
    return SessionCoordinator(config, data=data)


class SessionCoordinator:
    """Runs the configured days through one root, in order of time.

    Parameters
    ----------
    config : SessionConfig
    data : DataManager, optional
        Where the bars come from, instead of what ``[data]`` names.

    Attributes
    ----------
    config : SessionConfig
    root : SessionData
        The running day's data; readable until the next day begins or :meth:`close`.
    time_manager : TimeManager
        Tells the time: while a day runs, that of the root.
    data_manager : DataManager
    results : dict of str to SymbolValidationResult
        Step 0 of the newest day, by symbol.
    """

    def __init__(self, config: SessionConfig, *, data: DataManager | None = None) -> None:
        session = config.session
        if session.mode == "live":
            raise ConfigError("session.mode", "live", "'backtest'; live sessions are not available")
        for key, asked in (
            ("historical_indicators", config.historical_indicators),
            ("indicators", config.indicators),
        ):
            if asked:
                raise ConfigError(key, f"{len(asked)} of them", "none; they are not available yet")
        self.config = config
        self.root = SessionData()
        self.root.on_incomplete = session.on_incomplete
        self.time_manager: TimeManager = _SessionTime(self.root, session)
        if data is None:
            data = DataManager.from_config(config, self.time_manager)
        elif data.time_manager.calendar != self.time_manager.calendar:
            raise ConfigError(
                "session.exchange",
                session.exchange,
                f"{data.time_manager.calendar!r}, the calendar of the data manager given",
            )
        self.data_manager = data
        self.results: dict[str, SymbolValidationResult] = {}
        self._on_close: list[tuple[str, CloseCallback]] = []
        self._on_loaded: list[LoadCallback] = []
        self._day: TradingDay | None = None
        self._is_closed = False

    def on_close(self, interval: str, callback: CloseCallback) -> None:
        """Call ``callback(record, bar)`` for each bar of an interval when it closes.

        By data or by clock, as a copy (:class:`BarData`). Of one instant, shorter intervals
        come first, then symbols in their order; ``on_slice`` comes after. Bars that arrive late
        are not told again, and with ``on_incomplete = "skip"`` neither are derived bars that
        lack base bars. Takes effect from the next day on when a day is running.

        Raises
        ------
        IntervalError
            When the interval is unknown.
        """
        self._on_close.append((parse_interval(interval).name, callback))

    def on_loaded(self, callback: LoadCallback) -> None:
        """Call ``callback(record)`` for each record when it is loaded: progress of a long load."""
        self._on_loaded.append(callback)

    def validate_symbol(self, symbol: str, day: Date | None = None) -> SymbolValidationResult:
        """Check whether a symbol may be loaded for a day (the running one when None)."""
        day = day or self.root.current_session_date
        if day is None:
            raise SessionStateError("validate_symbol", "not running a day", "name the day")
        return validate_symbol(symbol, day, self.config, self.data_manager)

    def trading_days(self) -> list[Date]:
        """The days configured, in order.

        Raises
        ------
        CalendarError
            When there is none between the dates.
        """
        session = self.config.session
        assert session.start_date is not None
        assert session.end_date is not None
        days = self.time_manager.trading_days(session.start_date, session.end_date)
        if not days:
            raise CalendarError(
                session.exchange,
                f"no trading day from {session.start_date} to {session.end_date}",
            )
        return days

    def days(self) -> Iterator[TradingDay]:
        """Go through the configured days: each is loaded when it is yielded.

        Yields
        ------
        TradingDay
            Its data is in ``root`` until the next one is asked for.

        Raises
        ------
        SessionValidationError
            When no symbol of a day can be loaded.
        """
        if self._is_closed:
            raise SessionStateError("days", "closed", "open the session again")
        for date in self.trading_days():
            day = self._begin_day(date)
            yield day
            if self._day is not day:
                return
            self.root.end()

    def run(self, on_slice: SliceCallback | None = None) -> None:
        """Run every configured day: validate, load, replay, tear down.

        Parameters
        ----------
        on_slice : callable, optional
            ``on_slice(ts_ns, records)`` at each instant at which base bars ended: the records
            they belong to, as a light sequence that is valid during the call.
        """
        for day in self.days():
            day.run(on_slice)

    def close(self) -> None:
        """Forget the day's data. The session runs no more."""
        self._day = None
        self.root.clear()
        self._is_closed = True

    def __enter__(self) -> SessionCoordinator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin_day(self, date: Date) -> TradingDay:
        window = self.time_manager.session_window(date)
        self.results = {
            symbol: validate_symbol(symbol, date, self.config, self.data_manager)
            for symbol in self.config.session.symbols
        }
        require_any(self.results)
        for result in self.results.values():
            if not result.can_proceed:
                leave_out(result, date, result.reason)
        self.root.clear()
        self.root.begin(window)
        load_records(self.root, self.results, self.config, self.data_manager, self._tell_loaded)
        require_any(self.results)
        skip = self.config.session.on_incomplete == "skip"
        cursor = ReplayCursor(self.root.core, skip)
        for rec in self.root:
            cursor.add(rec)
        self._day = TradingDay(self, window, cursor, self._on_close)
        return self._day

    def _tell_loaded(self, rec: SymbolSessionData) -> None:
        for callback in self._on_loaded:
            callback(rec)

    def __repr__(self) -> str:
        session = self.config.session
        return (
            f"<SessionCoordinator {session.name} on {session.exchange}, "
            f"{session.start_date} to {session.end_date}, {len(session.symbols)} symbols>"
        )


class TradingDay:
    """One day of a session, loaded and ready to be replayed.

    It is over when the next one begins or the session is closed.

    Attributes
    ----------
    window : SessionWindow
    date : datetime.date
    """

    def __init__(
        self,
        session: SessionCoordinator,
        window: SessionWindow,
        cursor: ReplayCursor,
        on_close: Sequence[tuple[str, CloseCallback]],
    ) -> None:
        self._session = session
        self._cursor = cursor
        self._speed = session.config.session.speed
        self._is_watched = bool(on_close) or self._speed > 0
        self._began = 0.0
        self.window = window
        for name, callback in on_close:
            cursor.on_close(name, callback)

    @property
    def date(self) -> Date:
        """The day's date."""
        return self.window.date

    @property
    def n_bars(self) -> int:
        """Base bars made visible so far."""
        return self._cursor.n_bars

    def slices(self) -> Iterator[tuple[int, Records]]:
        """Step through the day in order of time. Asked for again, it goes on from there.

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
        session, cursor = self._session, self._cursor
        self._require_current("slices")
        arrived = session.root.data_arrival_event.set
        self._began = time.monotonic() - self._seconds_of(session.root.now_ns)
        while True:
            if self._speed:
                self._wait()
            if not self._is_current() or not cursor.step():
                return
            if cursor.n_records:
                arrived()
                yield cursor.ts_ns, cursor.records

    def run(self, on_slice: SliceCallback | None = None) -> None:
        """Replay to the close, calling ``on_slice(ts_ns, records)`` after each slice.

        Raises
        ------
        SessionStateError
            When the day is over.
        """
        if on_slice is None and not self._is_watched:
            self._require_current("run")
            self._cursor.run()
            self._session.root.data_arrival_event.set()
            return
        for ts_ns, records in self.slices():
            if on_slice is not None:
                on_slice(ts_ns, records)

    def _is_current(self) -> bool:
        return self._session._day is self

    def _require_current(self, call: str) -> None:
        if not self._is_current() or self._session.root.window is not self.window:
            raise SessionStateError(
                f"{self.date}: {call}",
                "past this day",
                "replay each day of session.days() before asking for the next",
            )

    def _seconds_of(self, ts_ns: int) -> float:
        speed = self._speed or 1.0
        return (ts_ns - self.window.open_ns) / NS_PER_SECOND / speed

    def _wait(self) -> None:
        next_ns = self._cursor.next_ns
        if next_ns is None:
            return
        due = self._began + self._seconds_of(next_ns)
        while (left := due - time.monotonic()) > 0:
            time.sleep(min(left, _LONGEST_SLEEP_S))

    def __repr__(self) -> str:
        return f"<TradingDay {self.window!r}>"
