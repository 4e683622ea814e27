"""The bars of one interval of one record, as the facade shows them.

Views, windows, reductions and counters are native (:class:`openbell._native.series.Series`);
here are the readings that make Python objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from openbell._native.series import Series
from openbell._native.values import BarData
from openbell.errors import ArgumentError, SessionStateError
from openbell.filled import Fill, fill_slots
from openbell.gaps import (
    EXPLAINED,
    Assessor,
    GapInfo,
    GapNotes,
    GapRuns,
    explained_quality,
    n_unexplained,
)
from openbell.schema import GAP_REASONS, BarArray, Int64Array
from openbell.side_columns import FloatColumn, SideColumns

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from openbell.clock.window import Grid

__all__ = ["BarIntervalData", "BarSequence"]


class BarIntervalData(Series):
    """One series: the closed bars of one interval, its gaps and its quality.

    Made by the record; reach it as ``record.bars["5m"]``. What it hands out is read-only and
    ends at the newest closed bar.
    """

    __slots__ = ("_side", "_stored_gaps")

    def __init__(self, *_: Any) -> None:
        self._side: SideColumns | None = None
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
    def trade_count(self) -> FloatColumn | None:
        """How many trades made each of ``data``, as the source says; see :meth:`extras_at`.

        float64, a copy, NaN where it is not known; None where it is not known of any. O(bars).
        """
        return self._side_column("trade_count")

    @property
    def vwap(self) -> FloatColumn | None:
        """Volume-weighted average price of each of ``data``, as the source says.

        float64, a copy, NaN where it is not known; None where it is not known of any. O(bars).
        """
        return self._side_column("vwap")

    def extras_at(self, ts_ns: Int64Array) -> dict[str, FloatColumn]:
        """``trade_count`` and ``vwap`` of the bars with these labels, those that are known.

        They were noted by ``record.note_extras``, of bars that arrived; nothing is folded. A bar
        that is corrected without them keeps those of its slot.

        Parameters
        ----------
        ts_ns : numpy.ndarray
            int64 labels, any order.

        Returns
        -------
        dict of str to numpy.ndarray
            float64 of the same length, NaN where it is not known; what is not known of any of
            them is absent.
        """
        return {} if self._side is None else self._side.at(ts_ns)

    def side_columns(self) -> SideColumns:
        """Where ``record.note_extras`` notes; made when there is none yet.

        Raises
        ------
        SessionStateError
            When the record has no running day.
        """
        self.core.require_attached("note_extras")
        if self._side is None:
            grid = self.grid
            assert grid is not None
            self._side = SideColumns(grid)
        return self._side

    def _side_column(self, name: str) -> FloatColumn | None:
        if self._side is None:
            return None
        while True:
            before = self.revision, self.n_evicted
            labels = self.data["timestamp"].copy()
            if (self.revision, self.n_evicted) == before:
                return self._side.at(labels).get(name)

    @property
    def gaps(self) -> Sequence[GapInfo]:
        """The runs of missing slots, oldest first, with their reasons; scanned when read. O(bars).

        Reasons are those of the day's :class:`~openbell.processing.quality.DataQualityManager`,
        ``unknown`` where there is none. A derived gap has that of the base gap it lies in.
        """
        runs = self._explained_runs()
        if self._stored_gaps is None:
            return runs
        notes = {gap.start_time: gap for gap in self._stored_gaps}
        return tuple(_noted(gap, notes.get(gap.start_time)) for gap in runs)

    @property
    def unexplained_gaps(self) -> list[GapInfo]:
        """The ``gaps`` in which bars are missing, or may be: all that are not ``no_trade``.

        Makes no objects of the others, of which a quiet symbol has thousands. O(bars).
        """
        gaps = self.gaps
        if isinstance(gaps, GapRuns):
            return gaps.unexplained
        return [gap for gap in gaps if gap.reason != EXPLAINED]

    def set_gaps(self, gaps: Sequence[GapInfo]) -> None:
        """Attach reasons and retry counts to gaps, matched by their first label.

        The runs themselves stay those of the bars; nothing can drift. A gap that has grown since
        keeps its retry count alone.

        Raises
        ------
        ArgumentError
            When a reason is none of ``GAP_REASONS``.
        """
        for gap in gaps:
            if gap.reason not in GAP_REASONS:
                raise ArgumentError("reason", gap.reason, f"one of {', '.join(GAP_REASONS)}")
        self._stored_gaps = tuple(gaps)

    @property
    def explained_quality(self) -> float | None:
        """100 x (expected - slots in gaps where something is missing) / expected. O(bars).

        Every gap counts whose reason is not ``no_trade``, also one that nobody looked at. None
        while nothing is expected.
        """
        while True:
            n_expected = self.n_expected
            gaps = self.gaps
            if self.n_expected == n_expected:
                return explained_quality(n_unexplained(gaps), n_expected)

    def _explained_runs(self) -> GapRuns:
        core, grid, name = self.core, self.grid, self.base or self.interval
        assessor = None if core.root is None or core.root.assessor is None else core.root.assessor()
        if assessor is not None:
            judge: Assessor = assessor
            judge.settle(core.symbol, name)
        runs = self.gap_runs()
        noted: GapNotes | None = core.gap_notes.get(name)
        if noted is None or grid is None:
            return GapRuns(self.symbol, self.interval, grid, runs)
        places = runs
        if self.derived and len(runs):
            finer = core.grid_of(name)
            assert finer is not None
            first = np.searchsorted(finer.starts_ns, grid.starts_ns[runs[:, 0]])
            ends_ns = grid.ends_ns[runs.sum(axis=1) - 1]
            stop = np.searchsorted(finer.ends_ns, ends_ns, side="right")
            places = np.column_stack((first, stop - first))
        return GapRuns(self.symbol, self.interval, grid, runs, noted.rows, places)

    @property
    def complete(self) -> npt.NDArray[np.bool_]:
        """Which of ``data`` have every base bar they could have. bool, a copy. O(bars)."""
        return self._bars_and_complete()[1]

    def complete_only(self) -> BarArray:
        """The bars that have every base bar they could have. A copy of one instant. O(bars)."""
        bars, complete = self._bars_and_complete()
        kept: BarArray = bars.view("V48")[complete].view(bars.dtype)
        return kept

    def _bars_and_complete(self) -> tuple[BarArray, npt.NDArray[np.bool_]]:
        while True:
            before = self.revision, self.n_evicted
            bars, counts = self.copy(), self.n_base
            if counts is None:
                return bars, np.ones(len(bars), dtype=np.bool_)
            # A thread that appends between two readings makes the later one longer.
            full = self.n_base_full()
            n_rows = min(len(bars), len(counts), len(full))
            complete: npt.NDArray[np.bool_] = counts[:n_rows] == full[:n_rows]
            if (self.revision, self.n_evicted) == before:
                return bars[:n_rows], complete

    def filled(self, method: Fill = "flat") -> BarArray:
        """A row for each slot that has ended, those without a bar made up and flagged.

        Lunch breaks have no slots, an early close ends the rows, and no row lies ahead of what
        has ended. A ring that let go of bars begins with the oldest one it holds. Nothing is
        stored: the series, its counts and its exports stay as they are.

        Parameters
        ----------
        method : "flat" or "nan"
            ``flat``: prices are the close of the bar before, volume is 0; before the first bar of
            the day prices are NaN, as nothing is known yet. ``nan``: prices and volume are NaN.

        Returns
        -------
        numpy.ndarray
            Of ``FILLED_DTYPE``: the fields of ``BAR_DTYPE`` and ``is_filled``. A copy of one
            instant, whatever other threads do meanwhile. O(slots).

        Raises
        ------
        ArgumentError
            When `method` is another.
        """
        return fill_slots(self, self.grid, method)

    def to_arrow(self, *, complete_only: bool = False) -> pa.Table:
        """The closed bars as an Arrow table, a copy; see ``export.series_to_arrow``. O(bars).

        Parameters
        ----------
        complete_only : bool
            Whether derived bars that lack base bars are left out. Alike in the methods below.
        """
        from openbell.export import series_to_arrow

        return series_to_arrow(self, complete_only=complete_only)

    def to_polars(self, *, complete_only: bool = False) -> pl.DataFrame:
        """The closed bars as a polars frame, with the columns of :meth:`to_arrow`. O(bars).

        Raises
        ------
        MissingLibraryError
            When polars is not installed.
        """
        from openbell.export import to_polars

        return to_polars(self.to_arrow(complete_only=complete_only))

    def to_pandas(self, *, complete_only: bool = False) -> pd.DataFrame:
        """The closed bars as a pandas frame, indexed by ``timestamp`` (start, UTC). O(bars).

        Raises
        ------
        MissingLibraryError
            When pandas is not installed.
        """
        from openbell.export import to_pandas

        return to_pandas(self.to_arrow(complete_only=complete_only))

    def to_csv(self, path: str | PathLike[str], *, complete_only: bool = False) -> None:
        """Write the closed bars as CSV, the symbol first; see ``export.write_bars_csv``."""
        from openbell.export import write_bars_csv

        write_bars_csv([self], path, complete_only=complete_only)

    def to_parquet(self, path: str | PathLike[str], *, complete_only: bool = False) -> None:
        """Write the closed bars as one Parquet file; see ``export.write_bars_parquet``."""
        from openbell.export import write_bars_parquet

        write_bars_parquet([self], path, complete_only=complete_only)

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


def _noted(gap: GapInfo, note: GapInfo | None) -> GapInfo:
    if note is None:
        return gap
    if gap.end_ns > note.end_ns:
        return replace(gap, retry_count=note.retry_count)
    return replace(gap, reason=note.reason, retry_count=note.retry_count, evidence=note.evidence)
