"""What a source may know of a bar beside its prices and volume: trade count and vwap.

Kept by the slots of the day, apart from the bars: most sources know neither, and those that do
pay for a column when its first value comes.
"""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openbell.errors import SchemaError
from openbell.schema import Int64Array

if TYPE_CHECKING:
    from openbell.clock.window import Grid

__all__ = ["FloatColumn", "SideColumns"]

FloatColumn = npt.NDArray[np.float64]


class SideColumns:
    """The side columns of one series, float64 by slot; NaN is unknown.

    Parameters
    ----------
    grid : Grid
        The slots of the series' interval in its day.

    Attributes
    ----------
    trade_count, vwap : numpy.ndarray or None
        One value for each slot; None while no value is known.
    """

    __slots__ = ("_segments", "_step_ns", "grid", "trade_count", "vwap")

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.trade_count: FloatColumn | None = None
        self.vwap: FloatColumn | None = None
        self._segments: list[tuple[int, int, int, int]] = grid.segments.tolist()
        self._step_ns = grid.step_ns

    def put(self, ts_ns: int, trade_count: float, vwap: float) -> None:
        """Note what is known of one bar; what was known of its slot is forgotten. O(segments)."""
        for opened, closed, origin, first in self._segments:
            if opened <= ts_ns < closed:
                slot = first + (ts_ns - origin) // self._step_ns
                break
        else:
            return
        if self.trade_count is not None:
            self.trade_count[slot] = trade_count
        elif not isnan(trade_count):
            self.trade_count = self._filled(slot, trade_count)
        if self.vwap is not None:
            self.vwap[slot] = vwap
        elif not isnan(vwap):
            self.vwap = self._filled(slot, vwap)

    def put_block(
        self, ts_ns: Int64Array, trade_count: FloatColumn | None, vwap: FloatColumn | None
    ) -> None:
        """Note the same of many bars, in any order; of one slot the last. O(values).

        Raises
        ------
        SchemaError
            When a column is of another length than the labels.
        """
        for name, values in (("trade_count", trade_count), ("vwap", vwap)):
            if values is not None and np.shape(values) != np.shape(ts_ns):
                raise SchemaError(
                    name, f"{len(values)} values", f"{len(ts_ns)}, one for each label"
                )
        slots, is_held = self._slots(ts_ns)
        self.trade_count = self._put(self.trade_count, slots, is_held, trade_count)
        self.vwap = self._put(self.vwap, slots, is_held, vwap)

    def at(self, ts_ns: Int64Array) -> dict[str, FloatColumn]:
        """What is known of bars with these labels, by column; a column of NaN alone is absent."""
        slots, is_held = self._slots(ts_ns)
        found = {}
        for name, column in (("trade_count", self.trade_count), ("vwap", self.vwap)):
            if column is not None:
                values = np.where(is_held, column[slots], np.nan)
                if not np.isnan(values).all():
                    found[name] = values
        return found

    def _filled(self, slot: int, value: float) -> FloatColumn:
        column = np.full(self.grid.n_slots, np.nan)
        column[slot] = value
        return column

    def _slots(self, ts_ns: Int64Array) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
        grid = self.grid
        slots = np.maximum(np.searchsorted(grid.starts_ns, ts_ns, side="right") - 1, 0)
        return slots, (ts_ns >= grid.starts_ns[slots]) & (ts_ns < grid.ends_ns[slots])

    def _put(
        self,
        column: FloatColumn | None,
        slots: Int64Array,
        is_held: npt.NDArray[np.bool_],
        values: FloatColumn | None,
    ) -> FloatColumn | None:
        if column is None:
            if values is None or np.isnan(values[is_held]).all():
                return None
            column = np.full(self.grid.n_slots, np.nan)
        column[slots[is_held]] = np.nan if values is None else values[is_held]
        return column
