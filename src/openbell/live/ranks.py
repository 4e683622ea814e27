"""Merging the bars of one record by slot: of several that come, which one stands.

A correction that a stream sends stands over what history says, and that over the stream's first
bar of the slot; among equals the newest received. So the order of arrival loses nothing.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from openbell.clock.window import SessionWindow
from openbell.schema import BAR_FIELDS, BarArray
from openbell.symbol import SymbolSessionData

__all__ = ["RANK_HISTORY", "RANK_STREAM", "RANK_UPDATE", "RankedBars"]

RANK_STREAM: Final = 0
RANK_HISTORY: Final = 1
RANK_UPDATE: Final = 2


class RankedBars:
    """The base bars of one record, each with the rank of where it came from.

    Parameters
    ----------
    record : SymbolSessionData
        Registered in a root whose day has begun.
    window : SessionWindow

    Attributes
    ----------
    record : SymbolSessionData
    interval : str
        The record's base, when this was made.
    newest_end_ns : int
        End of the newest bar that was told, nanoseconds UTC.
    """

    __slots__ = (
        "_append", "_ends", "_grid", "_ranks", "_segments", "interval", "newest_end_ns", "record",
    )  # fmt: skip

    def __init__(self, record: SymbolSessionData, window: SessionWindow) -> None:
        self.record = record
        self.interval = record.base_interval
        self._grid = window.grid(self.interval)
        self._ends: list[int] = self._grid.ends_ns.tolist()
        self._segments: list[list[int]] = self._grid.segments.tolist()
        self._ranks = bytearray(self._grid.n_slots)
        self._append = record.append
        self.newest_end_ns = record.last_update_ns or 0

    def slot_of(self, ts_ns: int) -> int:
        """Number of the slot that covers an instant, -1 when the session does not."""
        for opened, closed, origin, first in self._segments:
            if opened <= ts_ns < closed:
                return first + (ts_ns - origin) // self._grid.step_ns
        return -1

    def end_of(self, slot: int) -> int:
        """End of a slot, nanoseconds UTC."""
        return self._ends[slot]

    def put(
        self,
        rank: int,
        slot: int,
        ts_ns: int,
        open: float,
        high: float,
        low: float,
        close: float,
        volume: float,
    ) -> int:
        """Store one bar of a slot.

        Returns
        -------
        int
            0 when one of a higher rank stands there, 1 when it replaced one, 2 when there was none.

        Raises
        ------
        BarRefused
            When the engine refuses it; what stands there stays.
        RecordDetached
            When the record was removed.
        """
        # Stored one higher than they are: 0 is a slot of which nothing is known.
        standing = self._ranks[slot]
        if rank + 1 < standing:
            return 0
        self._append(ts_ns, open, high, low, close, volume)
        self._ranks[slot] = rank + 1
        return 1 if standing else 2

    def put_block(
        self, ranks: int | npt.NDArray[np.uint8], bars: BarArray
    ) -> tuple[npt.NDArray[np.bool_], int]:
        """Store many bars, in any order.

        Parameters
        ----------
        ranks : int or numpy.ndarray
            Of all, or of each, uint8.
        bars : numpy.ndarray
            ``BAR_DTYPE``.

        Returns
        -------
        is_taken : numpy.ndarray
            bool, one for each of `bars`: whether it was not there, or with other values, and is
            now what stands.
        n_new : int
            How many slots had no bar before.

        Raises
        ------
        RecordDetached
            When the record was removed.
        """
        starts = self._grid.starts_ns
        slots = np.searchsorted(starts, bars["timestamp"])
        on_grid = slots < len(starts)
        on_grid[on_grid] = starts[slots[on_grid]] == bars["timestamp"][on_grid]
        each = np.broadcast_to(np.asarray(ranks, np.uint8), len(bars)) + np.uint8(1)
        # What is off the grid goes along, to be refused by name and counted.
        stands = ~on_grid
        standing = np.frombuffer(self._ranks, np.uint8)
        stands[on_grid] = each[on_grid] >= standing[slots[on_grid]]
        was_same, was_there = self._compare(bars)
        wanted = stands & ~was_same
        if wanted.any():
            self.record.append_block(bars[wanted])
        is_same, _ = self._compare(bars)
        for slot, rank in zip(slots[stands & is_same], each[stands & is_same], strict=True):
            self._ranks[slot] = max(int(rank), self._ranks[slot])
        is_taken = wanted & is_same
        return is_taken, int((is_taken & ~was_there).sum())

    def _compare(self, bars: BarArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        # Which are there with the same values, and which are there at all.
        rows = self.record.bars[self.interval].data
        if not len(rows) or not len(bars):
            none = np.zeros(len(bars), bool)
            return none, none
        at = np.minimum(np.searchsorted(rows["timestamp"], bars["timestamp"]), len(rows) - 1)
        same = np.ones(len(bars), bool)
        for field in BAR_FIELDS:
            same &= rows[field][at] == bars[field]
        return same, rows["timestamp"][at] == bars["timestamp"]
