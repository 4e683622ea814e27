"""The bars of one interval of one record, as the facade shows them.

Views, windows, reductions and counters are native (:class:`openbell._native.series.Series`);
here are the readings that make Python objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from openbell._native.series import Series
from openbell._native.values import BarData
from openbell.errors import SessionStateError
from openbell.gaps import GapInfo, GapRuns
from openbell.schema import BarArray

if TYPE_CHECKING:
    from openbell.clock.window import Grid

__all__ = ["BarIntervalData", "BarSequence"]


class BarIntervalData(Series):
    """One series: the closed bars of one interval, its gaps and its quality.

    Made by the record; reach it as ``record.bars["5m"]``. What it hands out is read-only and
    ends at the newest closed bar.
    """

    __slots__ = ("_stored_gaps",)

    def __init__(self, *_: Any) -> None:
        self._stored_gaps: tuple[GapInfo, ...] | None = None

    @property
    def symbol(self) -> str:
        """Name of the record's symbol."""
        return self.core.symbol

    @property
    def derived(self) -> bool:
        """Whether the engine folds it from a finer interval."""
        return self.source is not None

    @property
    def base(self) -> str | None:
        """The record's base interval when this is derived from it, else None."""
        return self.core.names[0] if self.source is not None else None

    @property
    def grid(self) -> Grid | None:
        """The slots of this interval in the record's day, None before it has one."""
        grid: Grid | None = self.core.grid_of(self.interval)
        return grid

    @property
    def gaps(self) -> Sequence[GapInfo]:
        """The runs of missing slots, oldest first; scanned when read. O(bars)."""
        runs = GapRuns(self.symbol, self.interval, self.grid, self.gap_runs())
        if self._stored_gaps is None:
            return runs
        notes = {gap.start_time: gap for gap in self._stored_gaps}
        return tuple(
            replace(gap, reason=note.reason, retry_count=note.retry_count)
            if (note := notes.get(gap.start_time)) is not None
            else gap
            for gap in runs
        )

    def set_gaps(self, gaps: Sequence[GapInfo]) -> None:
        """Attach reasons and retry counts to gaps, matched by their first label.

        The runs themselves stay those of the bars; nothing can drift.
        """
        self._stored_gaps = tuple(gaps)

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Which of ``data`` have every base bar they could have. bool, a copy. O(bars)."""
        counts = self.n_base
        if counts is None:
            return np.ones(len(self), dtype=np.bool_)
        full: npt.NDArray[np.bool_] = counts == self.n_base_full()
        return full

    def complete_only(self) -> BarArray:
        """The bars that have every base bar they could have. A copy. O(bars)."""
        data = self.data
        kept: BarArray = data.view("V48")[self.complete].view(data.dtype)
        return kept

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Arrow PyCapsule interface: columns made by one de-interleave, labels as UTC instants."""
        from openbell.export.arrow import series_to_arrow

        return series_to_arrow(self).__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        kind = f"from {self.source}" if self.derived else "base" if self.is_base else "written"
        return f"<BarIntervalData {self.symbol} {self.interval} ({kind}): {len(self)} bars>"


class BarSequence(Sequence[BarData]):
    """A series as a sequence of :class:`BarData`, each made when looked at."""

    __slots__ = ("_series",)

    def __init__(self, series: Series) -> None:
        self._series = series

    def __len__(self) -> int:
        return len(self._series)

    @overload
    def __getitem__(self, at: int) -> BarData: ...
    @overload
    def __getitem__(self, at: slice) -> list[BarData]: ...
    def __getitem__(self, at: int | slice) -> BarData | list[BarData]:
        rows = self._series.data[at]
        if isinstance(at, slice):
            return [self._make(row) for row in rows.tolist()]
        return self._make(rows.item())

    def _make(self, row: Any) -> BarData:
        return BarData(*(*row, self._series.core.symbol, self._series.interval))

    def __repr__(self) -> str:
        return f"<{len(self)} bars of {self._series.core.symbol} {self._series.interval}>"


def refuse_live(what: str, series: BarIntervalData) -> None:
    """Raise for a value that the engine counts itself."""
    raise SessionStateError(
        f"{what}({series.symbol!r}, {series.interval!r})",
        "counting this series itself",
        "it follows from the bars; set it only for historical or directly written series",
    )
