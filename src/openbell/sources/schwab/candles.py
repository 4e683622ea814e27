"""Candles of a price history, as bars."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from openbell.schema import BAR_DTYPE, BarArray

__all__ = ["MS_NS", "empty_bars", "read_candles"]

#: Nanoseconds in a millisecond.
MS_NS = 1_000_000

_VALUES = ("open", "high", "low", "close", "volume")
_LAST_MS = (2**63 - 1) // MS_NS


def empty_bars() -> BarArray:
    """No bars."""
    return np.empty(0, BAR_DTYPE)


def read_candles(answer: dict[str, Any], refused: Counter[str]) -> BarArray | None:
    """Return the candles of an answer, ascending; of several of one label the last.

    Parameters
    ----------
    answer : dict
        Of ``pricehistory``. ``datetime`` is the start of a candle in milliseconds UTC.
    refused : collections.Counter
        Counts what is left out, by reason: ``not_a_candle`` (no object, or a value is missing or
        no number), ``bad_time`` (no whole number of milliseconds of this epoch).

    Returns
    -------
    numpy.ndarray or None
        ``BAR_DTYPE``, of prices that nobody judged; None when the answer holds no list of candles.
    """
    candles = answer.get("candles")
    if not isinstance(candles, list):
        return None
    rows: dict[int, tuple[float, ...]] = {}
    for candle in candles:
        if not isinstance(candle, dict):
            refused["not_a_candle"] += 1
            continue
        ms = candle.get("datetime")
        values: tuple[Any, ...] = tuple(candle.get(key) for key in _VALUES)
        if any(type(value) not in (int, float) for value in values):
            refused["not_a_candle"] += 1
        elif type(ms) is not int or not 0 < ms <= _LAST_MS:
            refused["bad_time"] += 1
        else:
            try:
                rows[ms] = tuple(map(float, values))
            except OverflowError:
                refused["not_a_candle"] += 1
    bars = np.empty(len(rows), BAR_DTYPE)
    for n, ms in enumerate(sorted(rows)):
        bars[n] = (ms * MS_NS, *rows[ms])
    return bars
