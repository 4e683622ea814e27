"""What a board tells of a session: a few numbers of each symbol, all read in O(1)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from datetime import date as Date
from time import monotonic_ns
from typing import Any, Final, Protocol

import msgspec

from openbell.errors import ArgumentError
from openbell.gaps import EXPLAINED, GapNotes
from openbell.schema import GAP_REASONS, NS_PER_SECOND
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData

__all__ = ["PublishedSession", "Snapshot", "SnapshotTaker", "SymbolState"]

_EXPLAINED: Final = GAP_REASONS.index(EXPLAINED)
#: Refusals and errors of a record are read anew once in so many snapshots.
_TURNS: Final = 8
#: The rate is over as many snapshots: two seconds of them, when they come as they should.
_N_PACES: Final = 8


class PublishedSession(Protocol):
    """What a session has that its root has not; a ``SessionCoordinator`` does."""

    root: SessionData
    config: Any

    @property
    def phase(self) -> str:
        """Where the session is."""

    @property
    def pending(self) -> Mapping[str, object]:
        """Symbols that wait to be loaded."""


class SymbolState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record, as it was.

    Attributes
    ----------
    close : float or None
        Of the newest closed base bar.
    high, low : float or None
    volume : float
        Of the session.
    quality, n_gaps, n_missing
        Of the base series.
    explained_quality : float or None
        Of the base series, when its gaps were last looked at; None when nobody did.
    n_rejected : int
        Bars, quotes and trades refused.
    n_errors : int
        Different errors noted on the record.
    counts : dict of str to int
        Closed bars held, by interval.
    """

    symbol: str
    base_interval: str
    added_by: str
    close: float | None
    high: float | None
    low: float | None
    volume: float
    quality: float | None
    explained_quality: float | None
    n_gaps: int
    n_missing: int
    n_rejected: int
    n_errors: int
    counts: dict[str, int]


class Snapshot(msgspec.Struct, frozen=True, array_like=True):
    """A session, as it was when a watcher wanted to know.

    Records are read one after the other while the session goes on: each is as it was at some
    instant between this snapshot and the one before. Only what was refused and noted as errors
    may be older, by eight snapshots at most; in the final one nothing is.

    Attributes
    ----------
    pid : int
        The session's process.
    name : str
    is_final : bool
        Whether the session publishes no more.
    phase : str
        As ``SessionCoordinator.phase``; of a root alone ``idle``, ``running`` or ``ended``.
    date : datetime.date or None
        None when there is no day. Alike `open_ns` and `close_ns`, 0 then.
    calendar : str
    open_ns, close_ns, now_ns : int
        The day's bounds and its clock, nanoseconds UTC.
    n_bars : int
        Base bars of all symbols.
    bars_per_s : float or None
        How many came in a second of late; None while that is not known.
    pending : list of str
        Symbols that wait to be loaded.
    symbols : list of SymbolState
        In the root's order.
    taken_ns : int
        When it was taken, by the system's monotonic clock.
    """

    pid: int
    name: str
    is_final: bool
    phase: str
    date: Date | None
    calendar: str
    open_ns: int
    close_ns: int
    now_ns: int
    n_bars: int
    bars_per_s: float | None
    pending: list[str]
    symbols: list[SymbolState]
    taken_ns: int

    @property
    def age_s(self) -> float:
        """Seconds since it was taken."""
        return (monotonic_ns() - self.taken_ns) / NS_PER_SECOND


class SnapshotTaker:
    """Takes snapshots of one root or session.

    Parameters
    ----------
    source : SessionData or PublishedSession
    name : str, optional
        That of the session's configuration when None, else ``session``.
    """

    def __init__(self, source: SessionData | PublishedSession, name: str | None = None) -> None:
        if isinstance(source, SessionData):
            self._root, self._session = source, None
            self._name = name or "session"
        elif not hasattr(source, "root"):
            raise ArgumentError("source", source, "a SessionData or a SessionCoordinator")
        else:
            self._root, self._session = source.root, source
            self._name = name or str(source.config.session.name)
        self._pid = os.getpid()
        self._paces: deque[tuple[int, int]] = deque(maxlen=_N_PACES)
        # By symbol, what of its gaps was looked at and what came out; the notes stay the record's.
        self._explained: dict[str, tuple[int, tuple[int, int], float]] = {}
        # Refusals and errors, which seldom change and are slow to read; of these records.
        self._troubles: dict[str, tuple[int, int]] = {}
        self._n_changes = 0
        self._n_taken = 0

    def take(self, *, is_final: bool = False) -> Snapshot:
        """Read every record. O(symbols); nothing is scanned, no gap is looked at anew."""
        root, session, window = self._root, self._session, self._root.window
        if root.core.n_changes != self._n_changes:
            self._n_changes = root.core.n_changes
            self._troubles, self._explained = {}, {}
        self._n_taken += 1
        states = []
        n_bars = 0
        for turn, record in enumerate(root, self._n_taken):
            state, n = self._read(record, is_due=is_final or turn % _TURNS == 0)
            states.append(state)
            n_bars += n
        taken_ns = monotonic_ns()
        return Snapshot(
            pid=self._pid,
            name=self._name,
            is_final=is_final,
            phase=_phase_of(root) if session is None else session.phase,
            date=None if window is None else window.date,
            calendar="" if window is None else window.calendar,
            open_ns=0 if window is None else window.open_ns,
            close_ns=0 if window is None else window.close_ns,
            now_ns=root.now_ns,
            n_bars=n_bars,
            bars_per_s=self._pace(taken_ns, n_bars),
            pending=[] if session is None else list(session.pending),
            symbols=states,
            taken_ns=taken_ns,
        )

    def forget_pace(self) -> None:
        """Begin anew to measure how many bars come in a second."""
        self._paces.clear()

    def _read(self, record: SymbolSessionData, is_due: bool) -> tuple[SymbolState, int]:
        bars, name, symbol = record.bars, record.base_interval, record.symbol
        # What arrives may change at this moment: its series is then there the next time.
        base = bars.get(name) or next(iter(bars.values()))
        n = len(base)
        notes = record.core.gap_notes.get(name)
        troubles = self._troubles.get(symbol)
        if troubles is None or is_due:
            troubles = sum(record.rejected.values()), len(record.errors)
            self._troubles[symbol] = troubles
        state = SymbolState(
            symbol,
            name,
            record.added_by,
            base.last_close if n else None,
            record.session_high,
            record.session_low,
            record.session_volume,
            base.quality,
            None if notes is None else self._explain(symbol, notes),
            base.n_gaps,
            base.n_missing,
            *troubles,
            {interval: len(series) for interval, series in bars.items()},
        )
        return state, n + base.n_evicted

    def _explain(self, symbol: str, notes: GapNotes) -> float | None:
        held = self._explained.get(symbol)
        if held is None or held[:2] != (notes.n_expected, notes.state):
            if not notes.n_expected:
                return None
            rows = notes.rows
            n_lost = int(rows["n_slots"][rows["reason"] != _EXPLAINED].sum())
            value = 100.0 * (1.0 - n_lost / notes.n_expected)
            held = self._explained[symbol] = (notes.n_expected, notes.state, value)
        return held[2]

    def _pace(self, taken_ns: int, n_bars: int) -> float | None:
        paces = self._paces
        if paces and paces[-1][1] > n_bars:
            # Another day, or symbols were removed.
            paces.clear()
        paces.append((taken_ns, n_bars))
        (first_ns, n_first), (last_ns, n_last) = paces[0], paces[-1]
        return (n_last - n_first) / (last_ns - first_ns) * NS_PER_SECOND if len(paces) > 1 else None


def _phase_of(root: SessionData) -> str:
    if root.window is None:
        return "idle"
    return "running" if root.session_active else "ended"
