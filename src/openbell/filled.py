"""Fill views: a row for every slot, those without a bar made up and flagged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from openbell.errors import ArgumentError
from openbell.schema import BAR_FIELDS, FILLED_DTYPE, BarArray

if TYPE_CHECKING:
    from openbell._native.series import Series
    from openbell.clock.window import Grid

__all__ = ["FILLS", "Fill", "fill_slots"]

Fill = Literal["flat", "nan"]

#: What may stand where no bar is.
FILLS: Final = ("flat", "nan")

_PRICES: Final = BAR_FIELDS[1:5]


def fill_slots(series: Series, grid: Grid | None, method: Fill = "flat") -> BarArray:
    """Return a row for each slot that has ended, made now; see ``BarIntervalData.filled``."""
    if method not in FILLS:
        raise ArgumentError("method", method, " or ".join(map(repr, FILLS)))
    # Counted before the copy is made: a bar that another thread appends between is in the copy,
    # and so is its slot below.
    while True:
        is_whole, n_ended = series.n_evicted == 0, series.n_expected
        bars = series.copy()
        # A ring may let go of its first bars just now; after that it is no longer whole.
        if not is_whole or series.n_evicted == 0:
            break
    if grid is None or (n_ended == 0 and len(bars) == 0):
        return np.empty(0, FILLED_DTYPE)
    slots = np.searchsorted(grid.starts_ns, bars["timestamp"])
    if len(bars):
        n_ended = max(n_ended, int(slots[-1]) + 1)
    first = 0 if is_whole or not len(bars) else int(slots[0])
    rows = np.empty(n_ended - first, FILLED_DTYPE)
    rows["timestamp"] = grid.starts_ns[first:n_ended]
    rows["is_filled"] = True
    for name in _PRICES:
        rows[name] = np.nan
    rows["volume"] = 0.0 if method == "flat" else np.nan
    at = slots - first
    rows["is_filled"][at] = False
    for name in BAR_FIELDS[1:]:
        rows[name][at] = bars[name]
    if method == "flat":
        _carry_close(rows, bars)
    return rows


def _carry_close(rows: BarArray, bars: BarArray) -> None:
    # How many bars precede each slot; those before the first one stay unknown.
    n_before = np.cumsum(~rows["is_filled"])
    flat = rows["is_filled"] & (n_before > 0)
    closes = bars["close"][n_before[flat] - 1]
    for name in _PRICES:
        rows[name][flat] = closes
