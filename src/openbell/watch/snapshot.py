"""What a board tells of a session: a few numbers of each symbol, all read in O(1)."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping
from datetime import date as Date
from time import monotonic_ns
from typing import Any, Final, Protocol

import msgspec

from openbell._native.series import glance
from openbell.errors import ArgumentError
from openbell.gaps import GapNotes
from openbell.live.states import FeedHealth, SymbolHealth
from openbell.schema import NS_PER_SECOND
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData

__all__ = ["PublishedSession", "Snapshot", "SnapshotTaker", "SymbolState"]

#: The rate is over as many snapshots: two seconds of them, when they come as they should.
_N_PACES: Final = 8
_BEFORE_THE_OPEN: Final = ("waiting", "paused")
#: What may be wrong with one symbol's stream; when its source is down, that says it.
_OUT_OF_THE_ORDINARY: Final = ("quiet", "silent", "refused")


class PublishedSession(Protocol):
    """What a session has that its root has not; a ``SessionCoordinator`` does.

    One that is live also has `feed_health` and `symbol_health`.
    """

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
        Of the base series, when its gaps were last looked at, and `quality` at least, as bars
        may have come since; None when nobody did.
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
    instant between this snapshot and the one before.

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
        The day's bounds and its clock, nanoseconds UTC; before the open of a live session, the
        time.
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
    feeds : list of FeedHealth
        Of a live session, how each source fares; else empty.
    symbol_feeds : list of SymbolHealth
        Of a live session, the streams of symbols that are ``quiet``, ``silent`` or ``refused``.
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
    feeds: list[FeedHealth] = []
    symbol_feeds: list[SymbolHealth] = []

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

    Attributes
    ----------
    name : str

    Raises
    ------
    ArgumentError
        When `source` is something else, or the name is empty or cannot be printed on a line.
    """

    def __init__(self, source: SessionData | PublishedSession, name: str | None = None) -> None:
        if isinstance(source, SessionData):
            self._root, self._session = source, None
            configured = "session"
        elif not hasattr(source, "root"):
            raise ArgumentError("source", source, "a SessionData or a SessionCoordinator")
        else:
            self._root, self._session = source.root, source
            configured = str(source.config.session.name)
        self.name = configured if name is None else name
        if not isinstance(self.name, str) or not self.name.strip() or not self.name.isprintable():
            raise ArgumentError("name", self.name, "a printable name")
        self._pid = os.getpid()
        self._paces: deque[tuple[int, int]] = deque(maxlen=_N_PACES)

    def take(self, *, is_final: bool = False) -> Snapshot:
        """Read every record. O(symbols); nothing is scanned, no gap is looked at anew."""
        root, session, window = self._root, self._session, self._root.window
        states = []
        n_bars = 0
        for record in root:
            state, n = _read(record)
            states.append(state)
            n_bars += n
        taken_ns = monotonic_ns()
        return Snapshot(
            pid=self._pid,
            name=self.name,
            is_final=is_final,
            phase=_phase_of(root) if session is None else session.phase,
            date=None if window is None else window.date,
            calendar="" if window is None else window.calendar,
            open_ns=0 if window is None else window.open_ns,
            close_ns=0 if window is None else window.close_ns,
            now_ns=root.now_ns if session is None else _now_of(session),
            n_bars=n_bars,
            bars_per_s=self._pace(taken_ns, n_bars),
            pending=[] if session is None else list(session.pending),
            symbols=states,
            taken_ns=taken_ns,
            feeds=list(getattr(session, "feed_health", ())),
            symbol_feeds=[
                one
                for one in getattr(session, "symbol_health", {}).values()
                if one.state in _OUT_OF_THE_ORDINARY
            ],
        )

    def forget_pace(self) -> None:
        """Begin anew to measure how many bars come in a second."""
        self._paces.clear()

    def _pace(self, taken_ns: int, n_bars: int) -> float | None:
        paces = self._paces
        if paces and paces[-1][1] > n_bars:
            # Another day, or symbols were removed.
            paces.clear()
        paces.append((taken_ns, n_bars))
        (first_ns, n_first), (last_ns, n_last) = paces[0], paces[-1]
        return (n_last - n_first) / (last_ns - first_ns) * NS_PER_SECOND if len(paces) > 1 else None


def _read(record: SymbolSessionData) -> tuple[SymbolState, int]:
    # What arrives may change at this moment: its series is then there the next time.
    core, bars = record.core, record.bars
    name = core.names[0]
    base = bars.get(name) or next(iter(bars.values()))
    close, high, low, volume, n_expected, n_gaps, n_bars, counts = glance(base)
    notes: GapNotes | None = core.gap_notes.get(name)
    quality = 100.0 * n_bars / n_expected if n_expected else None
    explained = None if notes is None else notes.explained_quality
    if explained is not None and quality is not None:
        # The note may be older than bars that were filled in.
        explained = max(explained, quality)
    state = SymbolState(
        core.symbol,
        name,
        record.added_by,
        close,
        high,
        low,
        volume,
        quality,
        explained,
        n_gaps,
        n_expected - n_bars,
        record.n_rejected,
        record.n_errors,
        counts,
    )
    return state, n_bars


def _now_of(session: PublishedSession) -> int:
    # The root's clock stands at the open until then.
    now_ns, window = session.root.now_ns, session.root.window
    if window is None or now_ns > window.open_ns or session.phase not in _BEFORE_THE_OPEN:
        return now_ns
    clock = getattr(session, "time_manager", None)
    return now_ns if clock is None else min(now_ns, clock.now_ns)


def _phase_of(root: SessionData) -> str:
    if root.window is None:
        return "idle"
    return "running" if root.session_active else "ended"
