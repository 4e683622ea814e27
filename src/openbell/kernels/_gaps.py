"""Compiled search for runs of missing slots.

A kernel and what it calls stay in this one file: numba's cache looks at no other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openbell.kernels._jit import jit, prefetch
from openbell.schema import BarArray, Int64Array

__all__ = ["find"]

_ONE = np.uint64(1)
# Bars: beyond the end of the page, where the processor itself does not look ahead.
_AHEAD = np.uint64(96)
_NOWHERE = -1


@jit
def find(
    bars: BarArray,
    segments: Int64Array,
    step: Any,
    n_expected: Any,
    runs: Any,
    first: Int64Array,
    count: Int64Array,
) -> Any:
    # Writes the first slot and the length of each run of missing slots; returns how many, or
    # -1 - the index of a bar that is out of order or in no segment. There is room for one more
    # than the bars in `runs`, and for one more of each segment in `first` and `count`.
    n = np.uint64(bars.shape[0])
    heads = _heads_of_runs(bars, step, runs)

    # A run of bars within one segment gives at most one gap, before it.
    k = np.uint64(0)
    awaited = np.int64(0)
    after = closed = np.int64(-(1 << 63))
    row = np.uint64(0)
    for q in range(heads):
        i = np.uint64(runs[np.uint64(q)])
        stop = np.uint64(runs[np.uint64(q + 1)]) if q + 1 < heads else n
        while i < stop:
            head = bars[i].timestamp
            # Most gaps are one slot, and a division costs more than all else here.
            if head - after == step and head < closed:
                slot = awaited + 1
            else:
                while row < segments.shape[0] and segments[row, 1] <= head:
                    row += _ONE
                slot = _slot_in(segments, row, head, step)
            if slot < awaited:
                return -np.int64(i) - 1
            closed = segments[row, 1]
            # A step on may be another slot, or none, where a segment ends.
            part = stop
            if bars[stop - _ONE].timestamp >= closed:
                part = i + np.uint64((closed - head + step - 1) // step)
            if slot > awaited and awaited < n_expected:
                first[k] = awaited
                count[k] = min(slot, n_expected) - awaited
                k += _ONE
            awaited = slot + np.int64(part - i)
            after = bars[part - _ONE].timestamp + step
            i = part
    if awaited < n_expected:
        first[k] = awaited
        count[k] = n_expected - awaited
        k += _ONE
    return np.int64(k)


@jit
def _heads_of_runs(bars: BarArray, step: Any, heads: Any) -> Any:
    # Indices of the bars that do not lie one step behind the bar before them. Each is written,
    # and kept without a branch: at a few percent of gaps, mispredicted ones would cost more than
    # the scan.
    n = np.uint64(bars.shape[0])
    if n == 0:
        return np.int64(0)
    heads[0] = 0
    k = _ONE
    i = _ONE
    awaited = bars[0].timestamp + step
    while i < n:
        prefetch(bars, i + _AHEAD)
        ts = bars[i].timestamp
        heads[k] = i
        k += np.uint64(ts != awaited)
        awaited = ts + step
        i += _ONE
    return np.int64(k)


@jit
def _slot_in(segments: Int64Array, row: Any, ts: Any, step: Any) -> Any:
    if row >= segments.shape[0] or ts < segments[row, 0]:
        return np.int64(_NOWHERE)
    return segments[row, 3] + np.int64(np.uint64(ts - segments[row, 2]) // np.uint64(step))
