"""Compiled moves between six columns and one array of bars."""

from __future__ import annotations

from typing import Any

import numpy as np

from openbell.kernels._jit import jit
from openbell.schema import BarArray

__all__ = ["join", "split"]

_ONE = np.uint64(1)


@jit
def join(ts: Any, o: Any, h: Any, l: Any, c: Any, v: Any, out: BarArray) -> None:  # noqa: E741
    i, n = np.uint64(0), np.uint64(ts.shape[0])
    while i < n:
        bar = out[i]
        bar.timestamp = ts[i]
        bar.open = o[i]
        bar.high = h[i]
        bar.low = l[i]
        bar.close = c[i]
        bar.volume = v[i]
        i += _ONE


@jit
def split(bars: BarArray, ts: Any, o: Any, h: Any, l: Any, c: Any, v: Any) -> None:  # noqa: E741
    i, n = np.uint64(0), np.uint64(bars.shape[0])
    while i < n:
        bar = bars[i]
        ts[i] = bar.timestamp
        o[i] = bar.open
        h[i] = bar.high
        l[i] = bar.low
        c[i] = bar.close
        v[i] = bar.volume
        i += _ONE
