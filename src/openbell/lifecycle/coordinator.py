"""The coordinator: day after day, validate, load, replay, clear."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import date as Date
from datetime import datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

from openbell._native.values import BarData
from openbell.config import IndicatorConfig, SessionConfig
from openbell.errors import (
    ArgumentError,
    CalendarError,
    ConfigError,
    IndicatorError,
    SessionStateError,
)
from openbell.lifecycle.day import ReplayedDay, SliceCallback, TradingDay
from openbell.lifecycle.day_loading import DayLoading
from openbell.lifecycle.live_side import LiveSide
from openbell.lifecycle.loading import SymbolLoader
from openbell.lifecycle.named_checks import NamedChecks
from openbell.lifecycle.provisioning import Provisioning
from openbell.lifecycle.session_time import SessionTime
from openbell.lifecycle.validation import (
    SymbolValidationResult,
    SymbolValidator,
)
from openbell.processing import (
    CloseCallback,
    DataProcessor,
    DataQualityManager,
)
from openbell.processing.indicators import check_indicator
from openbell.session import SessionData
from openbell.sources import DataManager
from openbell.symbol import AddedBy

__all__ = ["SessionCoordinator", "open_session"]

if TYPE_CHECKING:
    from openbell.clock.live import LiveClock
    from openbell.clock.window import SessionWindow
    from openbell.lifecycle.live_run import LiveRun

_log = logging.getLogger("openbell.lifecycle")

Phase = Literal[
    "idle", "validating", "loading", "waiting", "running", "paused", "ended", "stopped", "closed"
]  # fmt: skip

# A paused session looks this often whether it was interrupted.
_PAUSE_S = 0.2


def open_session(
    config: SessionConfig | str | PathLike[str] | Mapping[str, Any],
    *,
    data: DataManager | None = None,
    clock: LiveClock | None = None,
    record: str | PathLike[str] | None = None,
    resume: bool = False,
) -> SessionCoordinator:
    """Open the session that a configuration describes; nothing is loaded yet.

    Parameters
    ----------
    config : SessionConfig, path of a TOML or JSON file, or mapping of the same shape
    data : DataManager, optional
        Where the bars come from, instead of what ``[data]`` names; a live session's is a
        ``LiveDataManager``.
    clock : LiveClock, optional
        Live only: the time it runs by, such as an ``AcceleratedClock`` for a rehearsal; the
        wall clock when None, or that of `data`.
    record : path-like, optional
        Live only: the folder of a dataset that takes what is received, to replay the day from.
    resume : bool
        Live only: go on with what `record` holds of the day, after a crash.

    Raises
    ------
    ConfigError, CalendarError, DataSourceError
        When the configuration cannot be honoured.
    ArgumentError
        When what is live only is given to a backtest.
    """
    if isinstance(config, Mapping):
        config = SessionConfig.from_dict(config)
    elif isinstance(config, str | PathLike):
        config = SessionConfig.load(config)
    elif not isinstance(config, SessionConfig):
        raise ArgumentError("config", config, "a SessionConfig, a path, or a mapping")
    return SessionCoordinator(config, data=data, clock=clock, record=record, resume=resume)


class SessionCoordinator(NamedChecks, LiveSide, DayLoading):
    """Runs the configured days through one root, in order of time.

    Each day goes through the same phases: every symbol is validated, what passed is loaded,
    the day is replayed, and all of it is cleared before the next one begins. A live session
    has one day, the running or the next one, and takes its bars from streams.

    Parameters
    ----------
    config : SessionConfig
    data, clock, record, resume
        As for :func:`open_session`.

    Attributes
    ----------
    config : SessionConfig
    root : SessionData
        The running day's data; readable until the next day begins or :meth:`close`.
    time_manager : TimeManager
        Tells the time: while a day runs, that of the root; between days, where the next opens.
    data_manager : DataManager
    processor : DataProcessor
    quality : DataQualityManager
        Finds the reasons of gaps, when these are read.
    results : dict of str to SymbolValidationResult
        Step 0 of the newest day, by symbol; those asked for while it ran too.
    phase : str
        ``idle`` before the first day; ``validating``, ``loading``, ``waiting`` (live, for the
        open), ``running`` or ``paused`` during one; ``ended`` when its close was reached;
        ``stopped``; ``closed``.
    live : LiveRun or None
        The live side of the session; None in a backtest.
    """

    def __init__(
        self,
        config: SessionConfig,
        *,
        data: DataManager | None = None,
        clock: LiveClock | None = None,
        record: str | PathLike[str] | None = None,
        resume: bool = False,
    ) -> None:
        session = config.session
        for n, indicator in enumerate(config.indicators):
            try:
                check_indicator(indicator)
            except IndicatorError as error:
                key = f"indicators[{n}].{error.key}"
                raise ConfigError(key, error.received, error.expected) from None
            if indicator.type == "RELATIVE_VOLUME" and not config.historical:
                _log.warning(
                    "indicators[%d]: %s has no value without past sessions, which [[historical]] "
                    "does not ask for", n, indicator.name,
                )  # fmt: skip
        self.config = config
        self.root = SessionData()
        self.root.on_incomplete = session.on_incomplete
        try:
            self.time_manager = SessionTime(self.root, session)
        except CalendarError as error:
            expected = f"a calendar that is known ({error.reason})"
            raise ConfigError("session.exchange", session.exchange, expected) from None
        self.live: LiveRun | None = None
        if session.mode == "live":
            from openbell.lifecycle.live_run import LiveRun

            self.live = LiveRun(config, self.time_manager, data, clock, record, resume)
            data = self.live.data
        elif clock is not None or record is not None or resume:
            raise ArgumentError("clock, record, resume", "given", "none unless mode is 'live'")
        elif data is None:
            data = DataManager.from_config(config, self.time_manager)
        if data.time_manager.calendar != self.time_manager.calendar:
            raise ConfigError(
                "session.exchange",
                session.exchange,
                f"{data.time_manager.calendar!r}, the calendar of the data manager given",
            )
        self.data_manager = data
        self.processor = DataProcessor(self.root, strict=session.strict)
        if self.live is None:
            self.quality = DataQualityManager(self.root)
        else:
            self.quality = DataQualityManager(self.root, retries=self.live.retries, by_clock=True)
        self.results: dict[str, SymbolValidationResult] = {}
        self._phase: Phase = "idle"
        self._is_closed = False
        self.n_pauses = 0
        self._validator = SymbolValidator(config, data)
        self._loader = SymbolLoader(self.root, config, data, self.processor)
        self._provisioning = Provisioning(
            self.root, data, self._validator, self._loader, self._tell_loaded
        )
        self._provisioning.results = self.results
        self._on_loaded = []
        self._on_progress = []
        self._may_run = threading.Event()
        self._may_run.set()
        self._is_stopping = False
        self._day: TradingDay | None = None
        #: Whether a slice is under way: its callbacks cannot begin another day.
        self.is_stepping = False
        self._is_running = False

    @property
    def phase(self) -> Phase:
        """Where the session is: ``idle``, ``validating``, ``loading``, ``running``, ..."""
        return "closed" if self._is_closed else self._phase

    # Being told

    def on_close(
        self, interval: str, callback: CloseCallback, *, corrections: bool = False
    ) -> None:
        """Call ``callback(record, bar)`` for each bar of an interval when it closes.

        By data or by clock, as a copy (:class:`BarData`). Of one instant, shorter intervals
        come first, then symbols by name; indicators are up to date, and ``on_slice`` comes
        after. With ``on_incomplete = "skip"`` derived bars that lack base bars are not told.
        An exception is recorded in the record's ``errors`` and the day goes on, unless the
        session is ``strict``.

        Parameters
        ----------
        interval : str
        callback : callable
        corrections : bool
            Whether it is called again when bars it was told have changed: once a slice and
            record, with the earliest of them, whose ``is_correction`` is True.

        Raises
        ------
        IntervalError
            When the interval is unknown.
        """
        self.processor.on_close(interval, callback, corrections=corrections)

    # Symbols

    def validate_symbol(self, symbol: str, day: Date | None = None) -> SymbolValidationResult:
        """Check whether a symbol may be loaded for a day (the running one when None).

        Raises
        ------
        SessionStateError
            When no day is named and none is running.
        """
        day = day or self.root.current_session_date
        if day is None:
            raise SessionStateError("validate_symbol", "not running a day", "name the day")
        if not isinstance(day, Date):
            raise ArgumentError("day", day, "a datetime.date")
        return self._validator.validate(symbol, day)

    def add_symbol(self, symbol: str, added_by: AddedBy = "strategy") -> bool:
        """Bring a symbol into the running day, with all that the config asks for.

        It is validated at once, loaded when the running slice is over, and joins the next one.
        It then has the morning too, whose bars are not told. A record that was provisioned for
        adhoc bars is upgraded: its bars stay where the source has none. Any thread may call it.

        Parameters
        ----------
        symbol : str
        added_by : "strategy" or "scanner"

        Returns
        -------
        bool
            True also when it is there, or waits, already. False when it may not be loaded:
            ``results[symbol].reason`` says why; or when no day is running.

        Raises
        ------
        ArgumentError
            When `added_by` is another.
        """
        return self._provisioning.add_symbol(symbol, added_by)

    def remove_symbol(self, symbol: str) -> bool:
        """Take a symbol out of the running day, and all that belongs to it; any thread may.

        Returns
        -------
        bool
            False when it was neither there nor waiting.
        """
        return self._provisioning.remove_symbol(symbol)

    def add_adhoc_bar(
        self, symbol: str, interval: str, bar: BarData, source: str = "scanner"
    ) -> bool:
        """Store one bar of any interval, provisioning a minimal record for an unknown symbol.

        Parameters
        ----------
        symbol : str
        interval : str
        bar : BarData
        source : str
            Who brings it, for the log.

        Returns
        -------
        bool
            False when it was refused; the log says why.
        """
        return self._provisioning.add_bar(symbol, interval, bar, source)

    def add_adhoc_indicator(
        self,
        symbol: str,
        indicator_config: Mapping[str, Any] | IndicatorConfig,
        source: str = "scanner",
    ) -> bool:
        """Give a symbol one indicator, provisioning a minimal record for an unknown one.

        It is checked at once and made when the running slice is over: with the bars of its
        interval today and as many past sessions as it wants, and nothing else.

        Parameters
        ----------
        symbol : str
        indicator_config : mapping or IndicatorConfig
            ``name``, ``type``, ``interval`` and ``parameters``, as in ``[[indicators]]``.
        source : str
            Who asks, for the log.

        Returns
        -------
        bool
            True also when the symbol has the same one already. False when it was refused; the
            log says why.
        """
        return self._provisioning.add_indicator(symbol, indicator_config, source)

    @property
    def pending(self) -> dict[str, datetime]:
        """When each symbol that waits to be loaded was asked for, by the session's clock."""
        return self._provisioning.pending()

    def get_loaded_symbols(self) -> set[str]:
        """Symbols whose loading has finished."""
        return self.root.get_loaded_symbols()

    # Days

    def trading_days(self) -> list[Date]:
        """The days configured, in order; of a live session the running or the next one.

        Raises
        ------
        CalendarError
            When there is none between the dates.
        """
        session = self.config.session
        if self.live is not None:
            return [self.live.next_day()]
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
        SessionStateError
            When the session is closed, or a slice of it is under way.
        CalendarError
            When there is no trading day between the dates.
        SessionValidationError
            When no symbol of a day can be loaded.
        """
        if self.phase == "closed":
            raise SessionStateError("days", "closed", "open the session again")
        self._is_stopping = False
        for date in self.trading_days():
            day = self._begin_day(date)
            if day is None or not self.is_current(day):
                return
            yield day
            if not self.is_current(day):
                return
            self._end_day("ended", at_close=True)

    def run(self, on_slice: SliceCallback | None = None) -> None:
        """Run every configured day: validate, load, replay, tear down.

        Parameters
        ----------
        on_slice : callable, optional
            ``on_slice(ts_ns, records)`` at each instant at which base bars ended: the records
            they belong to, as a light sequence that is valid during the call. What it raises
            breaks the day off, and passes through.

        Raises
        ------
        SessionStateError
            When the session is running already, or closed.
        SessionValidationError
            When no symbol of a day can be loaded.
        """
        if self._is_running:
            raise SessionStateError("run", "running already", "stop() ends it before its time")
        self._is_running = True
        try:
            for day in self.days():
                day.run(on_slice)
        except BaseException:
            if self._day is not None and self.phase in ("waiting", "running", "paused"):
                self._end_day("stopped", at_close=False)
            raise
        finally:
            self._is_running = False

    def pause(self) -> None:
        """Hold the replay before its next slice, until :meth:`resume` or :meth:`stop`.

        The thread that replays then waits; call it from another one, or from a callback when
        another one will resume. What is asked for meanwhile is loaded afterwards.
        """
        self._may_run.clear()
        self._ask_for_turn()

    def resume(self) -> None:
        """Let a paused session go on."""
        self._may_run.set()

    def stop(self) -> None:
        """End the running day and the session before the next slice.

        The day's data stays readable, its clock where it was.
        """
        self._is_stopping = True
        self._may_run.set()
        self._ask_for_turn()

    def close(self) -> None:
        """Forget the day's data. The session runs no more."""
        self._is_closed = True
        self._teardown_and_cleanup()
        if self.live is not None:
            self.live.close()
        self._may_run.set()

    def __enter__(self) -> SessionCoordinator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Between the day and its session

    def is_current(self, day: TradingDay) -> bool:
        """Whether a day is the one under way."""
        if self._day is day and self._is_stopping and self.phase != "stopped":
            self._end_day("stopped", at_close=False)
        return self._day is day and self.phase not in ("stopped", "closed")

    def _ask_for_turn(self) -> None:
        # A replay that goes through many slices in one piece comes back at the next one.
        self.root.core.n_changes += 1

    def take_turn(self, day: TradingDay) -> bool:
        """Do what is due between two slices of a day; False when it is over."""
        if not self._may_run.is_set():
            self._wait_paused()
        if not self.is_current(day) or self.root.window is not day.window:
            return False
        if self._provisioning.has_requests:
            # Who left is let go of before somebody of that name joins again.
            self.processor.sync()
            day.serve(self._provisioning)
        if self._phase == "waiting" and self.time_manager.now_ns >= day.window.open_ns:
            self._phase = "running"
        self.processor.sync()
        return True

    def _end_day(self, phase: Phase, *, at_close: bool) -> None:
        if self.live is not None:
            self.live.stop()
        self.root.end(at_close=at_close)
        self._provisioning.clear()
        self._phase = phase

    def _wait_paused(self) -> None:
        before = self._phase
        if self.phase in ("waiting", "running"):
            self._phase = "paused"
        while not self._may_run.wait(_PAUSE_S):
            pass
        self.n_pauses += 1
        if self.phase == "paused":
            self._phase = before

    def _begin_day(self, date: Date) -> TradingDay | None:
        # None when another thread closes the session meanwhile.
        if self.is_stepping:
            raise SessionStateError(
                "days", f"running {self.root.current_session_date}",
                "run the days one after the other; stop() ends the running one",
            )  # fmt: skip
        self._teardown_and_cleanup()
        window = self.time_manager.session_window(date)
        self.root.begin(window)
        try:
            day = self._make_day(window)
            self._load_session_data()
        except BaseException as error:
            if self.live is not None:
                self.live.stop()
            self.root.clear()
            is_stopped = self._is_stopping and isinstance(error, SessionStateError)
            self._phase = "stopped" if is_stopped else "idle"
            if self._is_closed or is_stopped:
                return None
            raise
        if self._is_closed:
            # By another thread, before there was anything that it could have stopped.
            self._teardown_and_cleanup()
            return None
        for rec in self.root:
            day.cursor.add(rec)
        self.processor.begin(day.cursor)
        self.processor.sync()
        self._phase = "running" if self.live is None else "waiting"
        self.quality.note_outages(self.data_manager.outages(date))
        self._day = day
        return day

    def _make_day(self, window: SessionWindow) -> TradingDay:
        if self.live is None:
            return ReplayedDay(self, window)
        day = self.live.begin(self, window, self._refuse)
        self._loader.feed = day.feed
        return day

    def _teardown_and_cleanup(self) -> None:
        """Forget the day: records, queues, what waits; the clock goes to the next day's open."""
        day = self.root.current_session_date
        if self.live is not None:
            self.live.stop()
        self._provisioning.clear()
        self.results = self._provisioning.results = {}
        self.root.clear()
        # Whoever still holds the day does not hold its bars.
        self.processor.sync()
        self.processor.end()
        self._day = None
        if day is not None and self.live is None:
            self.time_manager.stand_at(self.time_manager.next_trading_day(day))

    def _load_session_data(self) -> None:
        """Validate the configured symbols, and load those that passed."""
        self._phase = "validating"
        (symbols,) = self._interruptible(map(self._validated, [self.config.session.symbols]))
        self._phase = "loading"
        self._load_symbols_full(symbols)

    def _validated(self, symbols: Sequence[str]) -> list[str]:
        if self.live is not None:
            self.live.data.prime(symbols)
        return self._validate_symbols_for_loading(list(symbols))

    def _some_day(self) -> Date:
        return self.root.current_session_date or self.trading_days()[0]

    def __repr__(self) -> str:
        session = self.config.session
        return (
            f"<SessionCoordinator {session.name} on {session.exchange}, {session.start_date} to "
            f"{session.end_date}, {len(session.symbols)} symbols: {self.phase}>"
        )
