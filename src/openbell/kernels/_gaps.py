"""Compiled search for runs of missing slots.

A kernel and what it calls stay in this one file: numba's cache looks at no other.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from openbell.kernels._jit import jit
from openbell.schema import BarArray, Int64Array

__all__ = ["find", "heads_of_runs"]

_ONE = np.uint64(1)
_EIGHT = np.uint64(8)
_NOWHERE = -1


@jit
def find(
    bars: BarArray,
    segments: Int64Array,
    step: Any,
    n_expected: Any,
    runs: Any,
    heads: Any,
    first: Int64Array,
    count: Int64Array,
) -> Any:
    # Writes the first slot and the length of each run of missing slots; returns how many, or
    # -1 - the index of a bar that is out of order or in no segment. `runs` holds the `heads`
    # indices found by :func:`heads_of_runs`; `first` and `count` hold one more than that for
    # each segment.
    n = np.uint64(bars.shape[0])

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
def heads_of_runs(bars: BarArray, step: Any, heads: Any) -> Any:
    # Indices of the bars that do not lie one step behind the bar before them. Eight bars at a
    # time are passed over when none does. Where one does, heads are written without a branch:
    # at a few percent of gaps, mispredicted ones would cost more than the scan.
    n = np.uint64(bars.shape[0])
    if n == 0:
        return np.int64(0)
    heads[0] = 0
    k = _ONE
    i = _ONE
    while i + _EIGHT <= n:
        t0 = bars[i - _ONE].timestamp
        t1 = bars[i].timestamp
        t2 = bars[i + np.uint64(1)].timestamp
        t3 = bars[i + np.uint64(2)].timestamp
        t4 = bars[i + np.uint64(3)].timestamp
        t5 = bars[i + np.uint64(4)].timestamp
        t6 = bars[i + np.uint64(5)].timestamp
        t7 = bars[i + np.uint64(6)].timestamp
        t8 = bars[i + np.uint64(7)].timestamp
        if (
            (t1 - t0 - step) | (t2 - t1 - step) | (t3 - t2 - step) | (t4 - t3 - step)
            | (t5 - t4 - step) | (t6 - t5 - step) | (t7 - t6 - step) | (t8 - t7 - step)
        ):  # fmt: skip
            k = _heads_among(bars, i, i + _EIGHT, step, heads, k)
        i += _EIGHT
    return np.int64(_heads_among(bars, i, n, step, heads, k))


@jit
def _heads_among(bars: BarArray, i: Any, stop: Any, step: Any, heads: Any, k: Any) -> Any:
    awaited = bars[i - _ONE].timestamp + step
    while i < stop:
        ts = bars[i].timestamp
        heads[k] = i
        k += np.uint64(ts != awaited)
        awaited = ts + step
        i += _ONE
    return k


@jit
def _slot_in(segments: Int64Array, row: Any, ts: Any, step: Any) -> Any:
    if row >= segments.shape[0] or ts < segments[row, 0]:
        return np.int64(_NOWHERE)
    return segments[row, 3] + np.int64(np.uint64(ts - segments[row, 2]) // np.uint64(step))
