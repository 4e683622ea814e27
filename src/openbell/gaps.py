"""A run of missing bars, and the lazy sequence of them that a series offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, overload

from openbell.schema import Int64Array, to_datetime, to_ns

if TYPE_CHECKING:
    from openbell.clock.window import Grid

__all__ = ["GapInfo", "GapRuns"]


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
    """

    symbol: str
    interval: str
    start_time: datetime
    end_time: datetime
    end_ns: int
    bar_count: int
    reason: str = "unknown"
    retry_count: int = 0

    @property
    def start_ns(self) -> int:
        """Label of the first missing bar, nanoseconds UTC."""
        return to_ns(self.start_time)


class GapRuns(Sequence[GapInfo]):
    """Gaps as a sequence made from two integers a run; each :class:`GapInfo` when looked at.

    Parameters
    ----------
    symbol, interval : str
    grid : Grid
    runs : numpy.ndarray
        int64, shape (n, 2): first missing slot, how many.
    """

    __slots__ = ("_grid", "_interval", "_runs", "_symbol")

    def __init__(self, symbol: str, interval: str, grid: Grid | None, runs: Int64Array) -> None:
        self._symbol = symbol
        self._interval = interval
        self._grid = grid
        self._runs = runs

    @property
    def n_missing(self) -> int:
        """Bars missing in all of them."""
        return int(self._runs[:, 1].sum())

    @property
    def slots(self) -> Int64Array:
        """First slot and length of each run, int64 shape (n, 2)."""
        return self._runs

    def __len__(self) -> int:
        return len(self._runs)

    @overload
    def __getitem__(self, at: int) -> GapInfo: ...
    @overload
    def __getitem__(self, at: slice) -> list[GapInfo]: ...
    def __getitem__(self, at: int | slice) -> GapInfo | list[GapInfo]:
        if isinstance(at, slice):
            return [self._make(int(first), int(n)) for first, n in self._runs[at]]
        first, n = self._runs[at]
        return self._make(int(first), int(n))

    def __iter__(self) -> Iterator[GapInfo]:
        for first, n in self._runs.tolist():
            yield self._make(first, n)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sequence) and not isinstance(other, str):
            return list(self) == list(other)
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} gaps of {self._symbol} {self._interval}, {self.n_missing} bars>"

    def _make(self, first: int, n: int) -> GapInfo:
        assert self._grid is not None
        starts, last = self._grid.starts_ns, first + n - 1
        return GapInfo(
            symbol=self._symbol,
            interval=self._interval,
            start_time=to_datetime(int(starts[first])),
            end_time=to_datetime(int(starts[last])),
            end_ns=int(self._grid.ends_ns[last]),
            bar_count=n,
        )
