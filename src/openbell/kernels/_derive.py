"""Compiled folding of bars into a coarser grid, once or down the whole tree.

A kernel and what it calls stay in this one file: numba's cache looks at no other.
Indices are uint64 because numba checks signed ones for wraparound at each access; never
add a Python integer to one, the sum would be a float.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openbell.kernels._jit import jit, prefetch
from openbell.schema import BarArray, Int64Array

__all__ = ["cascade", "fold"]

_ONE = np.uint64(1)
# Bars: beyond the end of the page, where the processor itself does not look ahead.
_AHEAD = np.uint64(96)


@jit
def fold(
    bars: BarArray,
    counts: Any,
    i: Any,
    stop: Any,
    segments: Int64Array,
    row: Any,
    row_stop: Any,
    step: Any,
    elapsed: Any,
    out: BarArray,
    n_base: Any,
    k: Any,
) -> Any:
    # Folds bars[i:stop] into out[k:]; returns where it stopped writing, or -1 - the index of
    # a bar that is out of order or in no segment. `counts` is None for bars that count as one.
    opened = closed = origin = end = np.int64(-(1 << 63))
    while i < stop:
        first = bars[i]
        ts = first.timestamp
        if ts >= closed:
            while row < row_stop and segments[row, 1] <= ts:
                row += _ONE
            if row == row_stop or ts < segments[row, 0]:
                return -np.int64(i) - 1
            opened, closed, origin = segments[row, 0], segments[row, 1], segments[row, 2]
            end = origin
        start = end
        end = start + step
        if ts >= end:
            start = origin + np.int64(np.uint64(ts - origin) // np.uint64(step)) * step
            end = start + step
        limit = min(end, closed)
        if limit > elapsed:
            break

        high, low, volume = first.high, first.low, first.volume
        n = np.int64(1) if counts is None else np.int64(counts[i])
        last = ts
        j = i + _ONE
        while j < stop:
            bar = bars[j]
            prefetch(bars, j + _AHEAD)
            ts = bar.timestamp
            if ts >= limit or ts <= last:
                break
            last = ts
            if bar.high > high:
                high = bar.high
            if bar.low < low:
                low = bar.low
            volume += bar.volume
            if counts is not None:
                n += counts[j]
            j += _ONE
        if j < stop and ts <= last:
            return -np.int64(j) - 1
        if counts is None:
            n = np.int64(j - i)

        made = out[k]
        made.timestamp = max(start, opened)
        made.open = first.open
        made.high = high
        made.low = low
        made.close = bars[j - _ONE].close
        made.volume = volume
        n_base[k] = n
        k += _ONE
        i = j
    return np.int64(k)


@jit
def cascade(
    bars: BarArray,
    segments: Int64Array,
    layout: Int64Array,
    elapsed: Any,
    out: BarArray,
    n_base: Any,
    begin: Int64Array,
    end: Int64Array,
) -> Any:
    # Each row of `layout` makes one interval: step, first and last segment row, and the
    # earlier row it folds from (-1: the bars themselves). The m-th is written from begin[m]
    # on, and end[m] then says where it ends; end[m] may lie where begin[m + 1] does.
    for m in range(layout.shape[0]):
        step, source = layout[m, 0], layout[m, 3]
        row, row_stop = np.uint64(layout[m, 1]), np.uint64(layout[m, 2])
        k = np.uint64(begin[m])
        if source < 0:
            n = np.uint64(bars.shape[0])
            made = fold(
                bars, None, np.uint64(0), n, segments, row, row_stop, step, elapsed, out, n_base, k
            )
        else:
            i, n = np.uint64(begin[source]), np.uint64(end[source])
            made = fold(out, n_base, i, n, segments, row, row_stop, step, elapsed, out, n_base, k)
        if made < 0:
            return made
        end[m] = made
    return np.int64(0)
