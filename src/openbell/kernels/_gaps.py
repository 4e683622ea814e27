"""Compiled search for runs of missing slots.

A kernel and what it calls stay in this one file: numba's cache looks at no other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openbell.kernels._jit import jit
from openbell.schema import BarArray, Int64Array

__all__ = ["find"]

_ONE = np.uint64(1)
_NOWHERE = -1


@jit
def find(
    bars: BarArray,
    segments: Int64Array,
    step: Any,
    n_expected: Any,
    first: Int64Array,
    count: Int64Array,
) -> Any:
    # Writes the first slot and the length of each run; returns how many, or -1 - the index of
    # a bar that is out of order or in no segment. `first` and `count` hold len(bars) + 1.
    n = np.uint64(bars.shape[0])
    heads = _heads_of_runs(bars, step, first)

    # A run gives at most one gap, before it, so writing never overtakes reading `first`.
    k = np.uint64(0)
    awaited = np.int64(0)
    after = closed = np.int64(-(1 << 63))
    row = np.uint64(0)
    for q in range(heads):
        i = np.uint64(first[np.uint64(q)])
        stop = np.uint64(first[np.uint64(q + 1)]) if q + 1 < heads else n
        head, tail = bars[i].timestamp, bars[stop - _ONE].timestamp
        # Most gaps are one slot, and a division costs more than all else here.
        if head - after == step and head < closed:
            slot = awaited + 1
        else:
            while row < segments.shape[0] and segments[row, 1] <= head:
                row += _ONE
            slot = _slot_in(segments, row, head, step)
        last = slot + np.int64(stop - i) - 1
        if slot < awaited:
            return -np.int64(i) - 1
        closed = segments[row, 1]
        if tail >= closed and _slot_after(segments, row, tail, step) != last:
            return -np.int64(i) - 1
        if slot > awaited and awaited < n_expected:
            first[k] = awaited
            count[k] = min(slot, n_expected) - awaited
            k += _ONE
        awaited = last + 1
        after = tail + step
    if awaited < n_expected:
        first[k] = awaited
        count[k] = n_expected - awaited
        k += _ONE
    return np.int64(k)


@jit
def _heads_of_runs(bars: BarArray, step: Any, heads: Int64Array) -> Any:
    # Indices of the bars that do not lie one step behind the bar before them. Written without
    # a branch: at a few percent of gaps, mispredicted ones would cost more than the scan.
    n = np.uint64(bars.shape[0])
    if n == 0:
        return np.int64(0)
    heads[0] = 0
    k = _ONE
    i = _ONE
    awaited = bars[np.uint64(0)].timestamp + step
    while i < n:
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


@jit
def _slot_after(segments: Int64Array, row: Any, ts: Any, step: Any) -> Any:
    while row < segments.shape[0] and segments[row, 1] <= ts:
        row += _ONE
    return _slot_in(segments, row, ts, step)
