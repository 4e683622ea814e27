"""How often a symbol of a live feed pauses, and so how improbable its silence is."""

from __future__ import annotations

from math import cbrt, log
from typing import Final

from openbell.clock.window import Grid

__all__ = ["UNKNOWN_FILL_RATE", "Pauses", "Slots"]

#: What a symbol of which nothing is known is thought to trade in, of all slots: so little that
#: only many such symbols together, or an hour, are evidence of anything.
UNKNOWN_FILL_RATE: Final = 0.05

# No habit of a morning, or of past days, makes a slot certain to have a bar, or to have none.
_LEAST_FILL_RATE: Final = 0.005
_MOST_FILL_RATE: Final = 0.98

# How many slots of the day what was thought before it counts as much as.
_WEIGHT: Final = 2.0

# Pauses are few in a day: what follows from how often there are any counts as much as these.
_PAUSE_WEIGHT: Final = 6.0

# Noon is not the open: when so many slots are known, they count half from then on.
_MOST_KNOWN: Final = 240


class Slots:
    """The grid of an interval, for counting in plain ints.

    Attributes
    ----------
    step_ns : int
    """

    __slots__ = ("_segments", "step_ns")

    def __init__(self, grid: Grid) -> None:
        self.step_ns = grid.step_ns
        self._segments: list[tuple[int, int, int, int]] = grid.segments.tolist()

    def ended(self, ts_ns: int) -> int:
        """How many slots have ended at or before an instant. O(segments)."""
        n = 0
        for opened, closed, origin, first in self._segments:
            if ts_ns >= closed:
                n = first - (origin - closed) // self.step_ns
            elif ts_ns > opened:
                n = first + (ts_ns - origin) // self.step_ns
        return n

    def begun(self, ts_ns: int) -> int:
        """How many slots have begun before an instant, or at it. O(segments)."""
        n = 0
        for opened, closed, origin, first in self._segments:
            if ts_ns >= opened:
                n = first - (origin - min(ts_ns + 1, closed)) // self.step_ns
        return n


class Pauses:
    """The slots in which a symbol had a bar today, and its pauses between them.

    A slot after one without a bar is likelier to have none either than a slot after one with a
    bar: trading comes in bursts. So the two are counted apart.

    Parameters
    ----------
    fill_rate : float, optional
        The share of slots that had a bar on past days.

    Attributes
    ----------
    next_slot : int
        Number of the first slot of which nothing is known yet.
    """

    __slots__ = (
        "_goes_on",
        "_is_paused",
        "_n_doubted",
        "_n_held",
        "_n_pauses",
        "_n_silent",
        "_usual",
        "next_slot",
    )

    def __init__(self, fill_rate: float | None = None) -> None:
        rate = UNKNOWN_FILL_RATE if fill_rate is None else fill_rate
        self._usual = 1.0 - min(max(rate, _LEAST_FILL_RATE), _MOST_FILL_RATE)
        # What past days say of pauses holds, however busy this one has been so far.
        self._goes_on = 0.0 if fill_rate is None else self._usual
        self.begin()

    def begin(self) -> None:
        """Forget the day."""
        self._n_held = 0.0
        self._n_pauses = 0.0
        self._n_silent = 0.0
        self._n_doubted = 0
        self._is_paused = True
        self.next_slot = 0

    def note(self, slot: int) -> None:
        """Count a slot with a bar, and those before it without. One from before is ignored."""
        n_silent = slot - self.next_slot
        if n_silent < 0:
            return
        if n_silent > 1:
            # It was no better when connected anew: what was doubted was a pause.
            n_silent += self._n_doubted
        self._n_doubted = 0
        if n_silent:
            self._n_silent += n_silent
            self._n_pauses += not self._is_paused
        self._n_held += 1
        self._is_paused = False
        self.next_slot = slot + 1
        if self._n_held + self._n_silent > _MOST_KNOWN:
            self._age()

    def _age(self) -> None:
        self._n_held /= 2
        self._n_silent /= 2
        self._n_pauses /= 2

    def note_next(self) -> None:
        """Count the next slot as one with a bar: :meth:`note` for the usual case."""
        self._n_held += 1
        self._is_paused = False
        self.next_slot += 1
        if self._n_held > _MOST_KNOWN:
            self._age()

    def skip_to(self, slot: int, *, is_doubt: bool = False) -> None:
        """Leave out the slots before this one: nothing could come in them.

        Parameters
        ----------
        slot : int
        is_doubt : bool
            That nothing could come is only thought: they count when the pause goes on.
        """
        n = slot - self.next_slot
        if n > 0:
            self._n_doubted = self._n_doubted + n if is_doubt else 0
            self.next_slot = slot
            self._is_paused = True

    def log_silence(self, n: int, n_before: int = 0) -> float:
        """How probable it is that so many slots in a row have no bar, as a natural logarithm.

        Parameters
        ----------
        n : int
            At least 1.
        n_before : int
            Slots without a bar before them that are part of how the symbol trades.
        """
        n_silent = self._n_silent + n_before
        is_paused = self._is_paused or n_before > 0
        n_pauses = self._n_pauses + (n_before > 0 and not self._is_paused)
        held = self._n_held
        known = _WEIGHT * self._usual
        silent = (n_silent + known) / (held + n_silent + _WEIGHT)
        # Of a symbol that has hardly paused yet, it is not known how long it does.
        going_on = (
            max(0.0, n_silent - n_pauses) + _PAUSE_WEIGHT * max(self._goes_on, cbrt(silent))
        ) / (n_silent + _PAUSE_WEIGHT)
        if is_paused:
            return n * log(going_on)
        begins = (n_pauses + known) / (held + _WEIGHT)
        return log(begins) + (n - 1) * log(going_on)
