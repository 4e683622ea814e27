"""Compiled count of the slots that a series has and should have by now."""

from __future__ import annotations

from typing import Any

import numpy as np

from openbell.kernels._jit import jit
from openbell.schema import BarArray, Int64Array

__all__ = ["count"]

_ONE = np.uint64(1)


@jit
def count(bars: BarArray, segments: Int64Array, step: Any, elapsed: Any) -> Any:
    # Returns (present, expected). Bars ascend, so those of expected slots are the ones before
    # the label of the first slot that has not ended.
    expected = np.int64(0)
    bound = np.int64(-(1 << 63))
    for row in range(segments.shape[0]):
        opened, closed, origin, first = segments[row]
        if elapsed >= closed:
            expected = first + (closed - origin + step - 1) // step
            bound = closed
        elif elapsed >= opened:
            ended = (elapsed - origin) // step
            if ended > 0:
                expected = first + ended
                bound = origin + ended * step
    low, high = np.uint64(0), np.uint64(bars.shape[0])
    while low < high:
        middle = (low + high) >> _ONE
        if bars[middle].timestamp < bound:
            low = middle + _ONE
        else:
            high = middle
    return np.int64(low), expected
