"""Finding out why bars are missing: which silence is the market's, and which is the data's."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from openbell.bars import BarIntervalData
from openbell.clock.window import Grid, SessionWindow
from openbell.errors import ArgumentError
from openbell.gaps import EXPLAINED, GapInfo, GapNotes
from openbell.processing.gap_retries import GapRetries
from openbell.schema import GAP_REASONS, NS_PER_SECOND, Int64Array, NoteArray, to_iso, to_ns
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData

__all__ = ["DataQualityManager"]

_THROTTLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Disconnect:
    start_ns: int
    end_ns: int
    symbols: frozenset[str] | None


@dataclass(slots=True)
class _Arriving:
    """The gaps of one series that arrives, as they were at one instant."""

    record: SymbolSessionData
    series: BarIntervalData
    runs: Int64Array
    n_expected: int
    state: tuple[int, int]


class DataQualityManager:
    """Gives the gaps of a root their reasons, from what all its symbols did.

    Counting gaps, quality and coverage is the engine's, at any instant; this looks at what was
    counted and finds out what it means. It settles when read: reading a series' ``gaps`` or
    ``explained_quality`` makes a pass over the root when the session's clock has moved on by
    `throttle_s` since the last one, and when anything changed once the session is over. No bar
    is copied, and nothing is done while nobody reads.

    Parameters
    ----------
    root : SessionData
        Refers to this one weakly: keep it.
    throttle_s : float
        Seconds of the session's time between two passes, at least.
    retries : GapRetries, optional
        How often to ask again for what is missing.

    Raises
    ------
    ArgumentError
        When `throttle_s` is negative.

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
    ) -> None:
        if not throttle_s >= 0:
            raise ArgumentError("throttle_s", throttle_s, "seconds, at least 0")
        self.throttle_s = throttle_s
        self.retries = retries or GapRetries()
        self.n_passes = 0
        self._root = root
        self._disconnects: tuple[_Disconnect, ...] = ()
        self._lock = threading.Lock()
        root.core.assessor = weakref.ref(self)

    def update(self) -> None:
        """Look at every gap of the root now. O(bars + gaps); see :func:`explain_gaps`."""
        with self._lock:
            self._look()

    def settle(self, symbol: str, interval: str) -> None:
        """Make a pass if one is due for a series that arrives; called when its gaps are read."""
        if not self._is_due(symbol, interval):
            return
        with self._lock:
            # Another thread may have made it meanwhile.
            if self._is_due(symbol, interval):
                self._look()

    def note_disconnect(
        self,
        start: datetime | int,
        end: datetime | int,
        symbols: Collection[str] | None = None,
    ) -> None:
        """Note that nothing could arrive for a while: gaps in it are outages.

        Parameters
        ----------
        start, end : aware datetime or int nanoseconds UTC
            From when (inclusive) to when (exclusive).
        symbols : collection of str, optional
            Whose feed it was; all symbols' when None.

        Raises
        ------
        TimeError
            When an instant has no time zone.
        ArgumentError
            When the end is not after the start.
        """
        span = _Disconnect(
            to_ns(start, "start"),
            to_ns(end, "end"),
            None if symbols is None else frozenset(symbols),
        )
        if span.end_ns <= span.start_ns:
            raise ArgumentError("end", to_iso(span.end_ns), f"one after {to_iso(span.start_ns)}")
        with self._lock:
            self._disconnects += (span,)
            if self._root.window is not None:
                self._look()

    def missing(self, symbol: str | None = None) -> list[GapInfo]:
        """The gaps in which bars are missing: those of series that arrive, not ``no_trade``.

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
        return [
            gap
            for record in records
            for series in _arriving(record)
            for gap in series.unexplained_gaps
        ]

    def due_retries(self) -> list[GapInfo]:
        """Those of :meth:`missing` that are to be asked for again now; see :class:`GapRetries`."""
        return self.retries.due(self.missing(), self._root.now_ns)

    def _is_due(self, symbol: str, interval: str) -> bool:
        record = self._root.get_symbol_data(symbol)
        series = None if record is None else record.bars.get(interval)
        if record is None or series is None or series.derived or series.grid is None:
            return False
        noted: GapNotes | None = record.core.gap_notes.get(interval)
        n_expected = series.n_expected
        if noted is None:
            return n_expected > 0
        if n_expected == series.grid.n_slots:
            return n_expected != noted.n_expected or _state(series) != noted.state
        moved_ns = (n_expected - noted.n_expected) * series.grid.step_ns
        return moved_ns > 0 and moved_ns >= self.throttle_s * NS_PER_SECOND

    def _look(self) -> None:
        from openbell.kernels import explain_gaps

        window = self._root.window
        if window is None:
            return
        self.n_passes += 1
        by_interval: dict[str, list[_Arriving]] = {}
        for record in self._root:
            for series in _arriving(record):
                by_interval.setdefault(series.interval, []).append(_capture(record, series))
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
                score = _explained_quality(rows, one.n_expected)
                one.record.core.gap_notes[name] = GapNotes(rows, one.n_expected, one.state, score)

    def _disconnected(self, symbol: str, grid: Grid) -> Int64Array | None:
        spans = [
            (span.start_ns, span.end_ns)
            for span in self._disconnects
            if span.symbols is None or symbol in span.symbols
        ]
        return _slots_within(grid, np.array(spans, np.int64)) if spans else None

    def __repr__(self) -> str:
        return f"<DataQualityManager of {self._root!r}, {self.n_passes} passes>"


def _arriving(record: SymbolSessionData) -> Iterator[BarIntervalData]:
    return (series for series in tuple(record.bars.values()) if not series.derived)


def _state(series: BarIntervalData) -> tuple[int, int]:
    return len(series) + series.n_evicted, series.revision


def _capture(record: SymbolSessionData, series: BarIntervalData) -> _Arriving:
    # Another thread may feed it: what was counted before and after must be the same.
    while True:
        before = series.n_expected, _state(series)
        runs = series.gap_runs()
        if (series.n_expected, _state(series)) == before:
            return _Arriving(record, series, runs, *before)


def _explained_quality(rows: NoteArray, n_expected: int) -> float | None:
    is_explained = rows["reason"] == GAP_REASONS.index(EXPLAINED)
    n_lost = int(rows["n_slots"][~is_explained].sum())
    return 100.0 * (n_expected - n_lost) / n_expected if n_expected else None


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
