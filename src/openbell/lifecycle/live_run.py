"""What a live session adds to a coordinator: its clock, its feed, its recording."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import date as Date
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from openbell.clock.live import LiveClock
from openbell.config import GapFillConfig, LiveConfig, SessionConfig
from openbell.errors import ArgumentError
from openbell.lifecycle.live_day import LiveCursor, LiveDay
from openbell.live.connections import HealthCallback
from openbell.live.feed import LiveFeed
from openbell.live.health import FeedHealth, SymbolHealth
from openbell.live.intake import BackfillCallback
from openbell.processing import GapRetries, require_callable
from openbell.schema import BarArray, to_datetime
from openbell.sources import DataManager
from openbell.sources.live_manager import LiveDataManager
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.lifecycle.coordinator import SessionCoordinator
    from openbell.lifecycle.session_time import SessionTime
    from openbell.live.recording import Recording

__all__ = ["LiveRun"]

_log = logging.getLogger("openbell.live")


class LiveRun:
    """The live side of a session, through all its days.

    Parameters
    ----------
    config : SessionConfig
    time_manager : SessionTime
    data, clock, record, resume
        As for :func:`openbell.open_session`.

    Attributes
    ----------
    data : LiveDataManager
    retries : GapRetries
        How often what is missing is asked for again, as ``[gap_fill]`` says.
    feed : LiveFeed or None
        Of the running day, and after it until the next begins.
    options : LiveConfig
    """

    def __init__(
        self,
        config: SessionConfig,
        time_manager: SessionTime,
        data: DataManager | None,
        clock: LiveClock | None,
        record: str | PathLike[str] | None,
        resume: bool,
    ) -> None:
        if record is not None and not isinstance(record, str | PathLike):
            raise ArgumentError("record", record, "the path of a folder")
        if clock is not None and not isinstance(clock, LiveClock):
            raise ArgumentError("clock", clock, "a LiveClock, such as an AcceleratedClock")
        if resume is not True and resume is not False:
            raise ArgumentError("resume", resume, "True or False")
        if resume and record is None:
            raise ArgumentError("resume", True, "a recording to go on with: name its folder")
        owns_data = data is None
        if data is None:
            own = clock or LiveClock()
            data = LiveDataManager(DataManager.sources_of(config, time_manager), time_manager, own)
        elif not isinstance(data, LiveDataManager):
            raise ArgumentError("data", data, "a LiveDataManager, as mode is 'live'")
        elif clock is not None and clock is not data.clock:
            raise ArgumentError("clock", clock, "that of the data manager given, or none")
        filling = config.gap_fill or GapFillConfig()
        self.data = data
        self.retries = GapRetries(filling.max_retries, filling.retry_interval_seconds)
        self.feed: LiveFeed | None = None
        self.options = config.live or LiveConfig()
        self._owns_data = owns_data
        self._is_strict = config.session.strict
        self._time_manager = time_manager
        self._folder = None if record is None else Path(record)
        self._resumes = resume
        self._recording: Recording | None = None
        self._recorded_day: Date | None = None
        self._on_change: list[HealthCallback] = []
        self._on_backfilled: list[BackfillCallback] = []
        time_manager.clock = data.clock

    def on_change(self, callback: HealthCallback) -> None:
        """Call ``callback(health)`` when the state of a feed or of a symbol changes."""
        require_callable(callback)
        self._on_change.append(callback)

    def on_backfilled(self, callback: BackfillCallback) -> None:
        """Call ``callback(record, bars, why)`` when history gave bars that were missing."""
        require_callable(callback)
        self._on_backfilled.append(callback)

    def next_day(self) -> Date:
        """The date of the session that is under way, or of the next one."""
        clock = self._time_manager
        today = to_datetime(clock.now_ns).date()
        # The date in New York may be another; sessions of futures begin the evening before.
        for day in clock.trading_days(today - timedelta(days=2), today + timedelta(days=2)):
            if clock.now_ns < clock.session_window(day).close_ns:
                return day
        return clock.next_trading_day(today + timedelta(days=2))

    def recorded(self) -> Recording | None:
        """What is recorded of :meth:`next_day` and will be gone on with; None without `resume`.

        Read once: the day takes what was returned here.

        Raises
        ------
        DatasetError
            When it cannot be read.
        """
        return self._recording_of(self._time_manager.session_window(self.next_day()))

    def _recording_of(self, window: SessionWindow) -> Recording | None:
        # A second run of the day goes on with what the first one recorded.
        if self._folder is None or not (self._resumes or self._recorded_day == window.date):
            return None
        if self._recording is None or self._recording.window.date != window.date:
            from openbell.live.recording import Recording

            self._recording = Recording.load(self._folder, window)
        return self._recording

    def begin(
        self,
        session: SessionCoordinator,
        window: SessionWindow,
        on_refused: Callable[[str, str], object],
    ) -> LiveDay:
        """Begin to feed the day of a session's root.

        Parameters
        ----------
        session : SessionCoordinator
        window : SessionWindow
            That of the root.
        on_refused : callable
            Told each symbol that its source will not send, and why.
        """
        self.data.begin(window.date)
        recording, self._recording = self._recording_of(window), None
        recorder = None
        if self._folder is not None:
            from openbell.live.recorder import Recorder

            resumes = recording is not None
            recorder = Recorder(self._folder, window, resume=resumes, clock=self.data.clock)
            self._recorded_day = window.date
        try:
            feed = LiveFeed(
                session.root,
                window,
                self.data,
                session.quality,
                self.options,
                recorder=recorder,
                recording=recording,
            )
            feed.connections.on_change = self._tell_change
            feed.connections.on_refused = on_refused
            feed.intake.on_backfilled = self._tell_backfilled
            if recording is not None:
                session.quality.note_outages(recording.outages)
            day = LiveDay(session, window, LiveCursor(session.root, feed))
        except BaseException:
            if recorder is not None:
                recorder.close()
            raise
        self.feed = feed
        feed.start()
        return day

    def stop(self) -> None:
        """Disconnect, and end the threads of the day; its health stays readable."""
        if self.feed is not None:
            self.feed.stop()

    def close(self) -> None:
        """Let go of connections to sources that were made for this session."""
        if self._owns_data:
            self.data.close()

    @property
    def recording_error(self) -> str | None:
        """Why the recording is not whole; None when it is, or nothing is recorded."""
        return None if self.feed is None else self.feed.recording_error

    def _tell_change(self, health: FeedHealth | SymbolHealth) -> None:
        for callback in self._on_change:
            self._call(callback, health)

    def _tell_backfilled(self, record: SymbolSessionData, bars: BarArray, why: str) -> None:
        for callback in self._on_backfilled:
            self._call(callback, record, bars, why)

    def _call(self, callback: Callable[..., object], *what: object) -> None:
        try:
            callback(*what)
        except Exception:
            if self._is_strict:
                raise
            _log.exception("a callback of the live session raised; the session goes on")
