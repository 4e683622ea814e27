"""A run of missing bars, what is known of it, and the lazy sequence of them a series offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol, overload

import numpy as np
import numpy.typing as npt

from openbell._native.gap_notes import match_notes
from openbell.schema import (
    GAP_NOTE_DTYPE,
    GAP_REASONS,
    Int64Array,
    NoteArray,
    to_datetime,
    to_ns,
)

if TYPE_CHECKING:
    from openbell.clock.window import Grid

__all__ = [
    "EXPLAINED",
    "EXPLAINED_CODE",
    "Assessor",
    "GapEvidence",
    "GapInfo",
    "GapNotes",
    "GapRuns",
    "explained_quality",
    "n_unexplained",
    "n_unexplained_of",
]

#: The reason of gaps in which nothing is missing.
EXPLAINED = "no_trade"

#: The same as an index into ``GAP_REASONS``.
EXPLAINED_CODE = GAP_REASONS.index(EXPLAINED)


class GapEvidence(NamedTuple):
    """What a gap's reason follows from.

    Attributes
    ----------
    fill_rate : float or None
        Share of the slots around the gap that hold a bar, 0 to 1: how busily the symbol traded.
        None, as the next, where there are too few bars to judge by.
    expected_per_day : float or None
        How many silences as long as this are to be expected of the symbol in a session, at most.
    n_peers : int
        Other symbols that could have traded in it.
    n_silent : int
        How many of them were silent in the slot of it, or of the silence of all, in which most
        of them traded.
    n_coarser : int
        Coarser bars, received as such, that traded in it.
    disconnected : bool
        Whether the feed is known to have been disconnected in it.
    """

    fill_rate: float | None
    expected_per_day: float | None
    n_peers: int = 0
    n_silent: int = 0
    n_coarser: int = 0
    disconnected: bool = False


@dataclass(frozen=True, slots=True)
class GapInfo:
    """A run of slots that have ended and hold no bar.

    Attributes
    ----------
    symbol, interval : str
    start_time : datetime
        Label of the first missing bar, aware UTC.
    end_time : datetime
        Label of the last missing bar, aware UTC.
    end_ns : int
        End (exclusive) of the last missing bar, nanoseconds UTC.
    bar_count : int
        How many bars are missing.
    reason : str
        ``no_trade``, ``outage``, ``late_start``, ``truncated`` or ``unknown``.
    retry_count : int
        How often it was asked for again.
    evidence : GapEvidence or None
        What the reason follows from; None while nobody looked.
    """

    symbol: str
    interval: str
    start_time: datetime
    end_time: datetime
    end_ns: int
    bar_count: int
    reason: str = "unknown"
    retry_count: int = 0
    evidence: GapEvidence | None = None

    @property
    def start_ns(self) -> int:
        """Label of the first missing bar, nanoseconds UTC."""
        return to_ns(self.start_time)


class GapNotes(NamedTuple):
    """What was found out about the gaps of one series, at one time.

    Attributes
    ----------
    rows : numpy.ndarray
        ``GAP_NOTE_DTYPE``, one for each gap there was, ascending.
    n_expected : int
        Slots that had ended, of those looked at.
    state : tuple of int
        How many bars there were, and the series' revision.
    explained_quality : float or None
        Of the series then.
    """

    rows: NoteArray
    n_expected: int
    state: tuple[int, int]
    explained_quality: float | None


class Assessor(Protocol):
    """Whoever finds reasons for gaps."""

    def settle(self, symbol: str, interval: str) -> None:
        """Look at the gaps again if that is due; a series' are about to be read."""


class GapRuns(Sequence[GapInfo]):
    """Gaps as a sequence made from two integers a run; each :class:`GapInfo` when looked at.

    Parameters
    ----------
    symbol, interval : str
    grid : Grid
    runs : numpy.ndarray
        int64, shape (n, 2): first missing slot, how many.
    notes : numpy.ndarray, optional
        ``GAP_NOTE_DTYPE``, ascending. A run has the reason of the note whose slots contain it:
        one that late bars have split keeps its reason, one that has grown keeps only
        ``outage`` and ``late_start``.
    places : numpy.ndarray, optional
        The same runs in the slots of `notes`, where those are of a finer interval.
    """

    __slots__ = ("_grid", "_interval", "_matched", "_notes", "_places", "_runs", "_symbol")

    def __init__(
        self,
        symbol: str,
        interval: str,
        grid: Grid | None,
        runs: Int64Array,
        notes: NoteArray | None = None,
        places: Int64Array | None = None,
    ) -> None:
        self._symbol = symbol
        self._interval = interval
        self._grid = grid
        self._runs = runs
        self._notes = notes
        self._places = runs if places is None else places
        self._matched: tuple[Int64Array, npt.NDArray[np.int8]] | None = None

    @property
    def n_missing(self) -> int:
        """Bars missing in all of them."""
        return int(self._runs[:, 1].sum())

    @property
    def n_explained(self) -> int:
        """Bars missing in those where nothing was traded."""
        return int(self._runs[self._match()[1] == EXPLAINED_CODE, 1].sum())

    @property
    def unexplained(self) -> list[GapInfo]:
        """Those in which bars are missing, or may be: all that are not ``no_trade``."""
        where = np.flatnonzero(self._match()[1] != EXPLAINED_CODE)
        return [self[k] for k in where.tolist()]

    @property
    def slots(self) -> Int64Array:
        """First slot and length of each run, int64 shape (n, 2)."""
        return self._runs

    @property
    def noted(self) -> tuple[NoteArray, Int64Array]:
        """The notes, and for each run the place of the one it has its reason from, else -1."""
        notes = np.empty(0, GAP_NOTE_DTYPE) if self._notes is None else self._notes
        return notes, self._match()[0]

    @property
    def reasons(self) -> npt.NDArray[np.int8]:
        """Reason of each run, int8: an index into ``GAP_REASONS``. A copy."""
        return self._match()[1].copy()

    def evidence(self, at: int) -> GapEvidence | None:
        """What is known of one run, None when nothing is."""
        notes, places = self.noted
        place = int(places[at])
        if place < 0:
            return None
        row = dict(zip(notes.dtype.names or (), notes[place].item(), strict=True))
        if row["fill_rate"] == 0.0:
            row["fill_rate"] = row["expected_per_day"] = None
        return GapEvidence(**{name: row[name] for name in GapEvidence._fields})

    def _match(self) -> tuple[Int64Array, npt.NDArray[np.int8]]:
        if self._matched is None:
            if self._notes is None:
                n = len(self._runs)
                self._matched = np.full(n, -1, np.int64), np.zeros(n, np.int8)
            else:
                self._matched = match_notes(
                    np.ascontiguousarray(self._places), np.ascontiguousarray(self._notes)
                )
        return self._matched

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, at: int) -> GapInfo: ...
    @overload
    def __getitem__(self, at: slice) -> list[GapInfo]: ...
    def __getitem__(self, at: int | slice) -> GapInfo | list[GapInfo]:
        where = range(len(self._runs))[at]
        return self._make(where) if isinstance(where, int) else list(map(self._make, where))

    def __iter__(self) -> Iterator[GapInfo]:
        return map(self._make, range(len(self._runs)))

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, str):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} gaps of {self._symbol} {self._interval}, {self.n_missing} bars>"

    def _make(self, at: int) -> GapInfo:
        assert self._grid is not None
        first, n = self._runs[at].tolist()
        starts, last = self._grid.starts_ns, first + n - 1
        return GapInfo(
            symbol=self._symbol,
            interval=self._interval,
            start_time=to_datetime(int(starts[first])),
            end_time=to_datetime(int(starts[last])),
            end_ns=int(self._grid.ends_ns[last]),
            bar_count=n,
            reason=GAP_REASONS[self._match()[1][at]],
            evidence=self.evidence(at),
        )


def n_unexplained(gaps: Sequence[GapInfo]) -> int:
    """How many bars are missing in gaps whose reason is not that nothing was traded."""
    if isinstance(gaps, GapRuns):
        return gaps.n_missing - gaps.n_explained
    return sum(gap.bar_count for gap in gaps if gap.reason != EXPLAINED)


def n_unexplained_of(notes: NoteArray) -> int:
    """The same of an array of ``GAP_NOTE_DTYPE``."""
    return int(notes["n_slots"][notes["reason"] != EXPLAINED_CODE].sum())


def explained_quality(n_missing: int, n_expected: int) -> float | None:
    """100 x the share of the expected bars that are not missing; None while none is expected.

    Parameters
    ----------
    n_missing : int
        Bars missing in gaps that are not explained.
    n_expected : int
    """
    return 100.0 * (n_expected - n_missing) / n_expected if n_expected else None
