"""The one writer of a live session's engine, and all that works for it.

Every thread that has something for the engine puts it in the inbox; the thread that runs the
session takes it out here, has it stored, moves the session's clock, and tells who asked.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from time import monotonic, perf_counter_ns
from typing import TYPE_CHECKING, Final

import numpy as np

from openbell.errors import SessionStateError, SourceUnavailableError
from openbell.live.connection import REVISIONS_NS, Span
from openbell.live.connections import Connections
from openbell.live.inbox import BAR, CALL, MOST_AT_ONCE, Inbox, Message
from openbell.live.intake import Intake
from openbell.live.latency import LatencyHistogram
from openbell.live.worker import Answer, QualityWorker, Range
from openbell.processing import DataQualityManager
from openbell.schema import BAR_DTYPE, NS_PER_MINUTE, NS_PER_SECOND, BarArray
from openbell.session import SessionData
from openbell.sources.streaming import Extras
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell._native.closings import Closings
    from openbell.clock.window import SessionWindow
    from openbell.config import LiveConfig
    from openbell.live.recorder import Recorder
    from openbell.live.recording import Recording
    from openbell.sources.live_manager import LiveDataManager

__all__ = ["LiveFeed"]

_log = logging.getLogger("openbell.live")

Slices = list[tuple[int, list[SymbolSessionData]]]

# What waits for nothing but a message looks so often whether anything else is due.
_LONGEST_WAIT_S: Final = 0.1
_CHECK_S: Final = 0.1
_STOP_S: Final = 0.3
#: A series whose recorded bars end so long before the recording does has lost none until then.
_RECENT_NS: Final = 15 * NS_PER_MINUTE


class LiveFeed:
    """Feeds one day of a root from the streams of its symbols' sources.

    Only the thread that runs the session calls :meth:`turn`; :meth:`subscribe` may be called
    by others too.

    Parameters
    ----------
    root : SessionData
        Its day has begun.
    window : SessionWindow
        That of the root.
    data : LiveDataManager
    quality : DataQualityManager
    options : LiveConfig
    recorder : Recorder, optional
        Takes down every bar that is stored.
    recording : Recording, optional
        What the day's recording had before a crash: the session goes on from there.

    Attributes
    ----------
    window : SessionWindow
    inbox : Inbox
    worker : QualityWorker
    connections : Connections
    intake : Intake
    latency : LatencyHistogram
        From when a bar came from its source's library until callbacks had been told of it.
    closings : Closings or None
        What the records tell when their bars close.
    """

    def __init__(
        self,
        root: SessionData,
        window: SessionWindow,
        data: LiveDataManager,
        quality: DataQualityManager,
        options: LiveConfig,
        *,
        recorder: Recorder | None = None,
        recording: Recording | None = None,
    ) -> None:
        since_ns = data.clock.now_ns() if recording is None else recording.last_ns
        self.window = window
        self.inbox = Inbox(options.queue_size)
        self.worker = QualityWorker(data, quality, data.clock, self._on_answer, self._on_covered)
        self.connections = Connections(
            data, window, options, self.inbox, since_ns,
            on_outage=self._note_outage, on_missed=self._ask,
        )  # fmt: skip
        self.intake = Intake(window, data.clock, self.connections, recorder, recording)
        self.latency = LatencyHistogram()
        self.closings: Closings | None = None
        self._root = root
        self._data = data
        self._quality = quality
        self._recorder = recorder
        self._grace_ns = round(options.grace_seconds * NS_PER_SECOND)
        self._linger_ns = round(options.linger_seconds * NS_PER_SECOND)
        self._recording = recording
        self._since_ns = since_ns
        self._left: deque[Message] = deque()
        self._handlers: dict[int, Callable[[Message], object]] = {
            **self.connections.handlers,
            **self.intake.handlers,
            CALL: _call,
        }
        self._n_overflow_seen = 0
        self._taken_ns = 0
        self._checked_at = 0.0
        self._lingers_from_ns: int | None = None
        self._has_turned = False
        self._is_stopped = False

    def start(self) -> None:
        """Start the quality thread, and let the session's clock stand where the time is."""
        self.worker.start()
        self._move_clock()

    # Symbols and records

    def subscribe(self, symbols: Mapping[str, str]) -> None:
        """Stream symbols, each in an interval. What comes before they are loaded is kept.

        Raises
        ------
        DataSourceError
            When no source streams one of them so.
        """
        self.connections.subscribe(symbols)

    def unsubscribe(self, symbol: str) -> None:
        """Stream a symbol no more."""
        self.connections.unsubscribe(symbol)
        self.worker.forget(symbol)
        self.intake.forget(symbol)

    def load_day(
        self, symbols: Collection[str], interval: str
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        """Load what history has by now of the day, for symbols that are subscribed.

        Where it cannot answer for the moment, it is asked again in the background.

        Yields
        ------
        (str, numpy.ndarray or Exception, dict)
            Every symbol once: its bars, maybe none, or why it cannot be had; and the columns
            beside them.
        """
        end_ns = min(self._data.clock.now_ns(), self.window.close_ns)
        for start_ns, members in self._begins(symbols, interval).items():
            if end_ns <= start_ns:
                yield from ((symbol, np.empty(0, BAR_DTYPE), {}) for symbol in members)
                continue
            for symbol, bars, extras in self._data.load_since(members, interval, start_ns, end_ns):
                if isinstance(bars, SourceUnavailableError):
                    _log.warning("%s: the day so far is asked for again: %s", symbol, bars)
                    self._ask(interval, {symbol}, start_ns, end_ns, "joined")
                    yield symbol, np.empty(0, BAR_DTYPE), {}
                else:
                    yield symbol, bars, extras

    def _begins(self, symbols: Collection[str], interval: str) -> dict[int, list[str]]:
        # Where history is asked for begins: where a recording of the series breaks off.
        begins: dict[int, list[str]] = {}
        for symbol in symbols:
            begin_ns = self.window.open_ns
            rows = None if self._recording is None else self._recording.rows(symbol, interval)
            if rows is not None and rows.bars["timestamp"][-1] >= self._since_ns - _RECENT_NS:
                begin_ns = max(begin_ns, self._since_ns - _RECENT_NS - REVISIONS_NS)
            begins.setdefault(begin_ns, []).append(symbol)
        return begins

    def put_history(self, record: SymbolSessionData, bars: BarArray, extras: Extras) -> None:
        """Put what history has of the day on a record, which :meth:`adopt` takes in afterwards."""
        self.intake.put_history(record, bars, extras)

    def adopt(self, record: SymbolSessionData) -> None:
        """Feed a record from now on: first with what came while it was loaded."""
        symbol, interval = record.symbol, record.base_interval
        self.subscribe({symbol: interval})
        quality = record.historical_quality.get(interval)
        if quality is not None:
            self.connections.learn(symbol, quality / 100.0)
        # Before newer ones that wait.
        self._left.extendleft(reversed(self.intake.adopt(record)))
        now_ns = min(self._data.clock.now_ns(), self.window.close_ns)
        back_ns = max(REVISIONS_NS, 2 * self.window.grid(interval).step_ns)
        start_ns = max(self.window.open_ns, now_ns - back_ns)
        if self._has_turned and start_ns < now_ns:
            # History may not have had the last minutes yet when it was asked.
            self._ask(interval, {symbol}, start_ns, now_ns, "joined")

    # The turn

    def turn(self) -> Slices:
        """Take in what came, waiting for it a little; move the clock; tell of what closed.

        Returns
        -------
        list of (int, list of SymbolSessionData)
            When bars that are newer than all before ended, and the records that have them.
        """
        self._has_turned = True
        self._take_messages()
        if self.inbox.n_overflow != self._n_overflow_seen:
            self._ask_for_lost()
        if self.intake.changed:
            self._tell()
        self._move_clock()
        now = monotonic()
        if now - self._checked_at >= _CHECK_S and not self._left and not self.inbox.depth:
            self._checked_at = now
            self.connections.check()
        slices, self.intake.slices = self.intake.slices, {}
        return sorted(slices.items())

    @property
    def is_over(self) -> bool:
        """Whether the day is over, late corrections and what was asked for included."""
        if self._left or self._taken_ns < self.window.close_ns + self._grace_ns:
            return False
        now_ns = self._data.clock.now_ns()
        if self._lingers_from_ns is None:
            self._lingers_from_ns = now_ns
            self._ask_for_day()
            self.worker.look_for_gaps()
        after_ns = now_ns - self._lingers_from_ns
        if after_ns < self._linger_ns:
            return False
        if self.worker.is_idle and not self.inbox.depth:
            return True
        if after_ns < 2 * self._linger_ns:
            return False
        if self.worker.n_owed:
            _log.warning(
                "the day ends before history has answered for %d symbols; "
                "[live] linger_seconds gives it more time", self.worker.n_owed,
            )  # fmt: skip
        return True

    def _take_messages(self) -> None:
        messages, handlers, intake = self._left, self._handlers, self.intake
        if not messages:
            wait_s = self._wait_s()
            now_ns = self._data.clock.now_ns()
            messages.extend(self.inbox.take(wait_s))
            # All that came until then is here, unless there was more than is taken at once.
            if len(messages) <= MOST_AT_ONCE:
                self._taken_ns = now_ns
        intake.begin_slice()
        while messages:
            message = messages.popleft()
            if message[0] != BAR:
                if message[0] == CALL and intake.changed:
                    # It may take a record in anew, with what nobody was told of yet.
                    self._tell()
                handlers[message[0]](message)
            elif not intake.take_bar(message):
                # Bars of the next slot are another slice.
                messages.appendleft(message)
                return

    def _wait_s(self) -> float:
        if self._left:
            return 0.0
        end_ns = None if self.closings is None else self.closings.next_end_ns
        if end_ns is None:
            return _LONGEST_WAIT_S
        return min(self._data.clock.wall_seconds_until(end_ns + self._grace_ns), _LONGEST_WAIT_S)

    def _tell(self) -> None:
        changed, self.intake.changed = self.intake.changed, set()
        came_ns, self.intake.came_ns = self.intake.came_ns, []
        arrived = self._root.data_arrival_event
        # Setting it takes a lock, also when nobody waits.
        if not arrived.is_set():
            arrived.set()
        if self.closings is not None and self.closings.is_watching:
            self.closings.tell_of(changed)
        told_ns, add = perf_counter_ns(), self.latency.add
        for at_ns in came_ns:
            add(told_ns - at_ns)

    def _move_clock(self) -> None:
        # What waits may be of slots that the clock would close: it goes on when that is taken in.
        if self._left:
            return
        time_ns = self._taken_ns if self.inbox.depth else self._data.clock.now_ns()
        now_ns = min(time_ns - self._grace_ns, self.window.close_ns)
        if now_ns <= self._root.now_ns:
            return
        try:
            self._root.advance(now_ns)
        except SessionStateError:
            # Another thread has closed the session at this moment.
            return
        if self.closings is not None:
            end_ns = self.closings.next_end_ns
            if end_ns is not None and end_ns <= now_ns:
                self.closings.tell(now_ns)

    # What is missing

    def look_for_gaps(self) -> None:
        """Begin to ask history for what is missing."""
        self.worker.look_for_gaps()

    def _ask(
        self, interval: str, symbols: Collection[str], start_ns: int, end_ns: int, why: str
    ) -> None:
        self.worker.ask(
            Range(interval, set(symbols), start_ns, end_ns, why, to_confirm=set(symbols))
        )

    def _ask_for_day(self) -> None:
        # A bar or a correction that was lost alone, while others came, is missed by nobody: a
        # silence of one slot is usual. Seconds are made of trades, too many to ask for again.
        by_interval: dict[str, set[str]] = {}
        for symbol, interval in self.intake.intervals().items():
            if self.window.grid(interval).step_ns >= NS_PER_MINUTE:
                by_interval.setdefault(interval, set()).add(symbol)
        for interval, symbols in by_interval.items():
            self._ask(
                interval, symbols, self.window.open_ns, self.window.close_ns, "the day is over"
            )

    def _ask_for_lost(self) -> None:
        self._n_overflow_seen = self.inbox.n_overflow
        n_lost, lost = self.inbox.take_lost()
        for source, n in n_lost.items():
            self.connections.monitor(source).note_overflow(n)
            _log.warning("%s: %d messages left out: more wait than the queue holds", source, n)
        end_ns = min(self._data.clock.now_ns(), self.window.close_ns)
        for source in n_lost:
            labels = {symbol: ts_ns for (name, symbol), ts_ns in lost.items() if name == source}
            start_ns = max(min(labels.values(), default=end_ns), self.window.open_ns)
            if start_ns < end_ns:
                # All in one request: a burst is of many symbols, and of few minutes.
                interval = self.connections.interval(source)
                self._ask(interval, labels, start_ns, end_ns, "queue overflow")

    def _on_answer(self, answer: Answer) -> None:
        self.inbox.call(partial(self.intake.take_answer, answer))

    def _on_covered(self, symbols: Collection[str], start_ns: int, end_ns: int) -> None:
        self._quality.note_answer(symbols, start_ns, end_ns)
        if self._recorder is not None:
            self._recorder.record_outage(start_ns, end_ns, symbols, is_answered=True)

    def _note_outage(self, span: Span, symbols: Collection[str]) -> None:
        # It looks at every gap anew; bars do not wait for that.
        note = partial(self._quality.note_disconnect, *span, frozenset(symbols))
        if self._is_stopped:
            note()
        else:
            self.worker.submit(note)
        if self._recorder is not None:
            self._recorder.record_outage(*span, sorted(symbols))

    # The end

    def stop(self) -> None:
        """Disconnect, and end the threads; within two seconds, whatever they do."""
        if self._is_stopped:
            return
        self._is_stopped = True
        try:
            self.connections.stop()
        finally:
            self.worker.stop(_STOP_S)
            if self._recorder is not None:
                self._recorder.close()

    @property
    def n_waiting(self) -> int:
        """Messages that came and are not taken in yet."""
        return self.inbox.depth + len(self._left)

    @property
    def recording_error(self) -> str | None:
        """Why the recording is not whole; None when it is, or nothing is recorded."""
        return None if self._recorder is None else self._recorder.error


def _call(message: Message) -> None:
    message[3]()
