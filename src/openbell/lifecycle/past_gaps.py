"""The gaps of past days, looked for when somebody looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from openbell.gaps import GapInfo, GapRuns
from openbell.schema import BarArray, Int64Array, NoteArray

if TYPE_CHECKING:
    from openbell.clock.window import Grid, SessionWindow

__all__ = ["PastGaps"]


class PastGaps(Sequence[GapInfo]):
    """The gaps of one interval over past days, oldest first; looked for at the first look.

    A day without any bar is one gap for each of its segments. Reasons are those that the
    symbol's own trading of the day gives; other symbols are not asked.

    Parameters
    ----------
    symbol, interval : str
    days : sequence of (SessionWindow, numpy.ndarray or None)
        Ascending; the day's sound bars, None where there are none.
    """

    __slots__ = ("__weakref__", "_days", "_found", "_interval", "_symbol")

    def __init__(
        self, symbol: str, interval: str, days: Sequence[tuple[SessionWindow, BarArray | None]]
    ) -> None:
        self._symbol = symbol
        self._interval = interval
        self._days = days
        self._found: list[GapRuns] | None = None

    @property
    def n_expected(self) -> int:
        """Slots of all the days. Looks for no gap."""
        return sum(window.grid(self._interval).n_slots for window, _ in self._days)

    @property
    def n_missing(self) -> int:
        """Bars missing in all of them. Looks for no gap."""
        return self.n_expected - sum(len(bars) for _, bars in self._days if bars is not None)

    @property
    def quality(self) -> float:
        """100 x present / expected slots. Looks for no gap."""
        n_expected = self.n_expected
        return 100.0 * (n_expected - self.n_missing) / n_expected

    @property
    def _runs(self) -> list[GapRuns]:
        if self._found is None:
            self._found = [self._scan(window, bars) for window, bars in self._days]
        return self._found

    def _scan(self, window: SessionWindow, bars: BarArray | None) -> GapRuns:
        grid = window.grid(self._interval)
        if bars is None:
            first = grid.segments[:, 3]
            runs: Int64Array = np.column_stack((first, np.diff(first, append=grid.n_slots)))
        elif len(bars) == grid.n_slots:
            runs = np.empty((0, 2), np.int64)
        else:
            from openbell.kernels import find_gaps

            runs = np.column_stack(find_gaps(bars, grid))
        return GapRuns(self._symbol, self._interval, grid, runs, _judged(runs, grid))

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    @overload
    def __getitem__(self, at: int) -> GapInfo: ...
    @overload
    def __getitem__(self, at: slice) -> list[GapInfo]: ...
    def __getitem__(self, at: int | slice) -> GapInfo | list[GapInfo]:
        if isinstance(at, slice):
            return list(self)[at]
        left = at + len(self) if at < 0 else at
        for runs in self._runs if left >= 0 else ():
            if left < len(runs):
                return runs[left]
            left -= len(runs)
        raise IndexError(f"{at} of {len(self)} gaps")

    def __iter__(self) -> Iterator[GapInfo]:
        for runs in self._runs:
            yield from runs

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, str):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"<gaps of {self._symbol} {self._interval} over {len(self._days)} past days, "
            f"{self.n_missing} bars>"
        )


def _judged(runs: Int64Array, grid: Grid) -> NoteArray | None:
    if not len(runs):
        return None
    from openbell.kernels import explain_gaps

    return explain_gaps([runs], [grid.n_slots], grid)[0]
