"""Finding out why bars are missing: which silence is the market's, and which is the data's."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import numpy as np

from openbell.bars import BarIntervalData
from openbell.clock.window import Grid, SessionWindow
from openbell.errors import ArgumentError, SessionStateError
from openbell.gaps import GapInfo, GapNotes, explained_quality, n_unexplained_of
from openbell.processing.gap_retries import GapRetries
from openbell.schema import GAP_REASONS, NS_PER_SECOND, Int64Array, NoteArray, to_iso, to_ns
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData

__all__ = ["DataQualityManager"]

_THROTTLE_S: Final = 60.0


class KnownOutage(Protocol):
    """What a recording tells: when bars may have been lost, or that history had answered."""

    @property
    def start_ns(self) -> int: ...
    @property
    def end_ns(self) -> int: ...
    @property
    def symbols(self) -> Collection[str] | None: ...
    @property
    def is_answered(self) -> bool: ...


class _Disconnect(NamedTuple):
    start_ns: int
    end_ns: int
    symbols: frozenset[str] | None

    def touches(self, symbol: str) -> bool:
        return self.symbols is None or symbol in self.symbols


class _Arriving(NamedTuple):
    """The gaps of one series that arrives, as they were at one instant, of slots ended by it."""

    record: SymbolSessionData
    series: BarIntervalData
    runs: Int64Array
    n_expected: int
    state: tuple[int, int]


class DataQualityManager:
    """Gives the gaps of a root their reasons, from what all its symbols did.

    Counting gaps, quality and coverage is the engine's, at any instant; this looks at what was
    counted and finds out what it means. It settles when read: reading a series' ``gaps`` or
    ``explained_quality`` makes a pass over the root when the session's clock has come to another
    multiple of `throttle_s` since the open, and looks at what had ended by then; once the
    session is over, whenever anything changed. So what is read does not depend on who else
    reads. No bar is copied, and nothing is done while nobody reads.

    Parameters
    ----------
    root : SessionData
        Refers to this one weakly: keep it.
    throttle_s : float
        Seconds of the session's time between two passes; 0 looks again whenever a slot has ended.
    retries : GapRetries, optional
        How often to ask again for what is missing.
    by_clock : bool
        Judge only what the session's clock has ended, though bars of some symbols go on: for a
        feed whose bars come a little apart, so that one pass judges all symbols alike.

    Raises
    ------
    ArgumentError
        When `root` is something else, or `throttle_s` is negative.
    SessionStateError
        When the root has a manager.

    See Also
    --------
    openbell.kernels.explain_gaps : how a reason follows from the evidence.
    """

    def __init__(
        self,
        root: SessionData,
        *,
        throttle_s: float = _THROTTLE_S,
        retries: GapRetries | None = None,
        by_clock: bool = False,
    ) -> None:
        if not isinstance(root, SessionData):
            raise ArgumentError("root", root, "a SessionData; a session has its manager already")
        if not 0 <= throttle_s < math.inf:
            raise ArgumentError("throttle_s", throttle_s, "seconds, at least 0")
        if root.core.assessor is not None and root.core.assessor() is not None:
            raise SessionStateError(
                "DataQualityManager(root)",
                "judged by another manager",
                "use that one (a session's is session.quality), or let go of it first",
            )
        self._throttle_ns = round(throttle_s * NS_PER_SECOND)
        self.retries = GapRetries() if retries is None else retries
        self._by_clock = by_clock
        self.n_passes = 0
        self._root = root
        self._disconnects: tuple[_Disconnect, ...] = ()
        self._answered: dict[str, tuple[tuple[int, int], ...]] = {}
        self._lock = threading.Lock()
        root.core.assessor = weakref.ref(self)

    def update(self) -> None:
        """Look at every gap of the root up to now. O(bars + gaps); see :func:`explain_gaps`."""
        with self._lock:
            self._look(is_throttled=False)

    def settle(self, symbol: str, interval: str) -> None:
        """Make a pass if one is due for a series that arrives; called when its gaps are read."""
        if not self._is_due(symbol, interval):
            return
        with self._lock:
            # Another thread may have made it meanwhile.
            if self._is_due(symbol, interval):
                self._look(is_throttled=True)

    def note_disconnect(
        self,
        start: datetime | int,
        end: datetime | int,
        symbols: Collection[str] | None = None,
    ) -> None:
        """Note that nothing could arrive for a while: each gap that touches it is an outage.

        It may be noted before, during and after the day.

        Parameters
        ----------
        start, end : aware datetime or int nanoseconds UTC
            From when (inclusive) to when (exclusive).
        symbols : collection of str, optional
            Whose feed it was, also of symbols that are not there yet; all symbols' when None.

        Raises
        ------
        TimeError
            When an instant has no time zone.
        ArgumentError
            When the end is not after the start, or `symbols` is one text.
        """
        if isinstance(symbols, str):
            raise ArgumentError("symbols", symbols, f"several names, such as [{symbols!r}]")
        span = _Disconnect(
            to_ns(start, "start"),
            to_ns(end, "end"),
            None if symbols is None else frozenset(symbols),
        )
        if span.end_ns <= span.start_ns:
            raise ArgumentError("end", to_iso(span.end_ns), f"one after {to_iso(span.start_ns)}")
        with self._lock:
            self._disconnects += (span,)
            self._look(is_throttled=False)

    def note_answer(self, symbols: Collection[str], start_ns: int, end_ns: int) -> None:
        """Note that history has answered for a part of the day, for these symbols.

        What it lacks of a known disconnect is then an outage only where the symbol's own trading
        makes the silence improbable.

        Parameters
        ----------
        symbols : collection of str
        start_ns, end_ns : int
            From when (inclusive) to when (exclusive), nanoseconds UTC.
        """
        with self._lock:
            spans = {s: (*self._answered.get(s, ()), (start_ns, end_ns)) for s in symbols}
            self._answered = {**self._answered, **spans}
            if self._disconnects:
                self._look(is_throttled=False)

    def note_outages(self, outages: Iterable[KnownOutage]) -> None:
        """Note what a recording tells of disconnects, and of what history answered for."""
        for outage in outages:
            if not outage.is_answered:
                self.note_disconnect(outage.start_ns, outage.end_ns, outage.symbols)
            elif outage.symbols is not None:
                self.note_answer(outage.symbols, outage.start_ns, outage.end_ns)

    def missing(self, symbol: str | None = None) -> list[GapInfo]:
        """The gaps in which bars are missing, or may be, now: all that are not ``no_trade``.

        Of series that arrive. Looks at all gaps first, as :meth:`update` does.

        Parameters
        ----------
        symbol : str, optional
            Of this one only; of all of them when None.

        Raises
        ------
        UnknownSymbolError
            When there is no record of the symbol.
        """
        records = list(self._root) if symbol is None else [self._root[symbol]]
        self.update()
        return [
            gap
            for record in records
            for series in _arriving(record)
            for gap in series.unexplained_gaps
            if not self._by_clock or gap.start_ns < self._root.now_ns
        ]

    def due_retries(self, now_ns: int | None = None) -> list[GapInfo]:
        """Those of :meth:`missing` that are to be asked for again; see :class:`GapRetries`.

        Parameters
        ----------
        now_ns : int, optional
            By a clock that goes on after the close, nanoseconds UTC; the session's when None.
        """
        return self.retries.due(self.missing(), self._root.now_ns if now_ns is None else now_ns)

    def _is_due(self, symbol: str, interval: str) -> bool:
        record = self._root.get_symbol_data(symbol)
        series = None if record is None else record.bars.get(interval)
        if record is None or series is None or series.derived or series.grid is None:
            return False
        noted: GapNotes | None = record.core.gap_notes.get(interval)
        n_expected = self._n_to_judge(series, series.grid, is_throttled=True)
        if noted is None:
            return n_expected > 0
        if n_expected == series.grid.n_slots:
            return n_expected != noted.n_expected or _state(series) != noted.state
        return n_expected > noted.n_expected

    def _n_to_judge(self, series: BarIntervalData, grid: Grid, *, is_throttled: bool) -> int:
        n_expected = series.n_expected
        if self._by_clock:
            n_expected = min(n_expected, grid.expected(self._root.now_ns))
        if not is_throttled or n_expected == grid.n_slots:
            return n_expected
        n_between = max(1, self._throttle_ns // grid.step_ns)
        return n_expected - n_expected % n_between

    def _capture(
        self, record: SymbolSessionData, series: BarIntervalData, grid: Grid, is_throttled: bool
    ) -> _Arriving:
        # Another thread may feed it: what was counted before and after must be the same.
        while True:
            before = series.n_expected, _state(series)
            n_judged = self._n_to_judge(series, grid, is_throttled=is_throttled)
            runs = series.gap_runs()
            if (series.n_expected, _state(series)) == before:
                break
        runs = runs[runs[:, 0] < n_judged]
        runs[-1:, 1] = np.minimum(runs[-1:, 1], n_judged - runs[-1:, 0])
        return _Arriving(record, series, runs, n_judged, before[1])

    def _look(self, *, is_throttled: bool) -> None:
        from openbell.kernels import explain_gaps

        window = self._root.window
        if window is None:
            return
        self.n_passes += 1
        # Of the days before nothing is asked any more.
        self._disconnects = tuple(
            span for span in self._disconnects if span.end_ns > window.open_ns
        )
        self._answered = {
            symbol: kept
            for symbol, spans in self._answered.items()
            if (kept := tuple(span for span in spans if span[1] > window.open_ns))
        }
        by_interval: dict[str, list[_Arriving]] = {}
        for record in self._root:
            for series in _arriving(record):
                arriving = self._capture(record, series, window.grid(series.interval), is_throttled)
                by_interval.setdefault(series.interval, []).append(arriving)
        for name, found in by_interval.items():
            grid = window.grid(name)
            notes = explain_gaps(
                [one.runs for one in found],
                [one.n_expected for one in found],
                grid,
                coarser=[_coarser_bars(one, window, grid) for one in found],
                disconnects=[self._disconnected(one.record.symbol, grid) for one in found],
            )
            for one, rows in zip(found, notes, strict=True):
                self._mark_answered(rows, one.record.symbol, grid)
                # What is not due stays: an export that reads one series after the other, of which
                # a later one is due, is then of one pass.
                if is_throttled and not self._is_due(one.record.symbol, name):
                    continue
                score = explained_quality(n_unexplained_of(rows), one.n_expected)
                one.record.core.gap_notes[name] = GapNotes(rows, one.n_expected, one.state, score)

    def _disconnected(
        self, symbol: str, grid: Grid, *, is_answered: bool = False
    ) -> Int64Array | None:
        answered = self._answered.get(symbol, ())
        spans = [
            (span.start_ns, span.end_ns)
            for span in self._disconnects
            if span.touches(symbol)
            and is_answered
            == any(start <= span.start_ns and span.end_ns <= end for start, end in answered)
        ]
        return _slots_within(grid, np.array(spans, np.int64)) if spans else None

    def _mark_answered(self, rows: NoteArray, symbol: str, grid: Grid) -> None:
        # Nothing came while the feed was down, and history has nothing: where the symbol trades
        # like that, nothing was there.
        spans = self._disconnected(symbol, grid, is_answered=True) if len(rows) else None
        if spans is None:
            return
        first = rows["first_slot"][:, None]
        touched = (first < spans.sum(axis=1)) & (spans[:, 0] < first + rows["n_slots"][:, None])
        lost = touched.any(axis=1) & (rows["reason"] != GAP_REASONS.index("no_trade"))
        rows["reason"][lost] = GAP_REASONS.index("outage")
        rows["disconnected"][lost] = True

    def __repr__(self) -> str:
        return f"<DataQualityManager of {self._root!r}, {self.n_passes} passes>"


def _arriving(record: SymbolSessionData) -> Iterator[BarIntervalData]:
    return (series for series in tuple(record.bars.values()) if not series.derived)


def _state(series: BarIntervalData) -> tuple[int, int]:
    return len(series) + series.n_evicted, series.revision


def _coarser_bars(one: _Arriving, window: SessionWindow, grid: Grid) -> Int64Array | None:
    # A bar that was received as such, where none of its base bars came, is trading that is missing.
    found = []
    for series in tuple(one.record.bars.values()):
        if series.has_written:
            bars, n_base = series.copy(), series.n_base
            assert n_base is not None
            # A thread that appends between the two readings makes the second one longer.
            written = bars[(n_base[: len(bars)] == 0) & (bars["volume"] > 0)]
            coarse = window.grid(series.interval)
            starts_ns = written["timestamp"]
            ends_ns = coarse.ends_ns[np.searchsorted(coarse.starts_ns, starts_ns)]
            found.append(_slots_within(grid, np.column_stack((starts_ns, ends_ns))))
    return np.concatenate(found) if found else None


def _slots_within(grid: Grid, spans_ns: Int64Array) -> Int64Array:
    # First slot and length of what each span touches.
    first = np.searchsorted(grid.ends_ns, spans_ns[:, 0], side="right")
    stop = np.searchsorted(grid.starts_ns, spans_ns[:, 1], side="left")
    slots: Int64Array = np.column_stack((first, stop - first))
    return slots[slots[:, 1] > 0]
