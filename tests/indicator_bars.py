"""Indicators to test, past sessions to seed them from, and what they must be by other means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import talib

from openbell.clock.window import SessionWindow
from openbell.config import IndicatorConfig
from openbell.processing import IndicatorData, make_indicator
from openbell.schema import BAR_DTYPE, BarArray
from openbell.symbol import SymbolSessionData
from tests.strategies import make_bars, window_of

Past = Sequence[tuple[SessionWindow, BarArray]]

FIRST = window_of(("2025-06-30T13:30", "2025-06-30T20:00"), calendar="XNYS")
SECOND = window_of(("2025-07-01T13:30", "2025-07-01T20:00"), calendar="XNYS")

#: Function, its inputs in TA-Lib's order, parameters, and how many bars come before a value.
Case = tuple[str, tuple[str, ...], dict[str, Any], int]
CASES: list[Case] = [
    ("SMA", ("close",), {"timeperiod": 10}, 9),
    ("EMA", ("close",), {"timeperiod": 12}, 11),
    ("WMA", ("close",), {"timeperiod": 9}, 8),
    ("RSI", ("close",), {}, 14),
    ("MACD", ("close",), {}, 33),
    ("BBANDS", ("close",), {"timeperiod": 20, "nbdevup": 2.5}, 19),
    ("ATR", ("high", "low", "close"), {"timeperiod": 14}, 14),
    ("ADX", ("high", "low", "close"), {"timeperiod": 14}, 27),
    ("STOCH", ("high", "low", "close"), {}, 8),
    ("OBV", ("close", "volume"), {}, 0),
    ("AD", ("high", "low", "close", "volume"), {}, 0),
    ("MFI", ("high", "low", "close", "volume"), {"timeperiod": 5}, 5),
    ("CDLENGULFING", ("open", "high", "low", "close"), {}, 2),
    ("KAMA", ("close",), {"timeperiod": 6}, 6),
    ("SAR", ("high", "low"), {"acceleration": 0.03}, 1),
    ("LINEARREG", ("close",), {}, 13),
    ("SUM", ("close",), {"timeperiod": 7}, 6),
    ("STDDEV", ("close",), {"timeperiod": 5, "nbdev": 2}, 4),
    ("HT_TRENDLINE", ("close",), {}, 63),
    ("MAX", ("close",), {"timeperiod": 30}, 29),
    ("MINMAXINDEX", ("close",), {"timeperiod": 8}, 7),
    ("AVGPRICE", ("open", "high", "low", "close"), {}, 0),
]


class Streak:
    """How many bars in a row rose, once there are `least` of them; keeps what it was given."""

    n_history = 3

    def __init__(self, least: int = 1) -> None:
        self.least = least
        self.bars: list[tuple[int, float]] = []
        self.seeds: list[BarArray] = []

    def reset(self, bars: BarArray) -> None:
        self.seeds.append(bars)
        self.bars = list(zip(bars["timestamp"].tolist(), bars["close"].tolist(), strict=True))

    def update(self, bar: Any) -> None:
        self.bars.append((bar.ts_ns, bar.close))

    @property
    def value(self) -> int | None:
        closes = [close for _, close in self.bars]
        n_up = 0
        for before, after in pairwise(closes):
            n_up = n_up + 1 if after > before else 0
        return n_up if n_up >= self.least else None


class Fussy(Streak):
    """Breaks on a bar that closes at 13."""

    def update(self, bar: Any) -> None:
        if bar.close == 13.0:
            raise ZeroDivisionError("thirteen")
        super().update(bar)

    def reset(self, bars: BarArray) -> None:
        if (bars["close"] == 13.0).any():
            raise ZeroDivisionError("thirteen")
        super().reset(bars)


class Unfinished:
    """Lacks `update`."""

    value = None

    def reset(self, bars: BarArray) -> None:
        pass


class Greedy(Streak):
    """Wants a history that is no count."""

    n_history = -1  # type: ignore[assignment]


NOT_CALLABLE = 7


def config_of(type: str, interval: str = "1m", name: str = "x", **parameters: Any) -> Any:
    return IndicatorConfig(name=name, type=type, interval=interval, parameters=parameters)


def make(
    record: SymbolSessionData,
    type: str,
    interval: str = "1m",
    history: Past = (),
    strict: bool = False,
    **parameters: Any,
) -> IndicatorData:
    made = make_indicator(record, config_of(type, interval, **parameters), history, strict=strict)
    record.indicators[made.name] = made
    return made


def past_sessions(rng: np.random.Generator, n_bars: int = 60, interval: str = "1m") -> Past:
    """Two sessions, of which the newest `n_bars` bars together."""
    both = [make_bars(window, interval, 1.0, rng) for window in (FIRST, SECOND)]
    second = both[1][-n_bars:]
    first = both[0][max(0, len(both[0]) + len(both[1]) - n_bars) :]
    return [(FIRST, first), (SECOND, second)]


def joined(history: Past, bars: BarArray) -> BarArray:
    rows = [row for _, past in history for row in past.tolist()]
    return np.array([*rows, *bars.tolist()], dtype=BAR_DTYPE)


def batch(case: Case, bars: BarArray) -> list[Any]:
    """The value at each bar by the batch function: None, a number, or a tuple."""
    name, inputs, parameters, n_lookback = case
    if not len(bars):
        return []
    arrays = getattr(talib, name)(*(bars[field].copy() for field in inputs), **parameters)
    if isinstance(arrays, np.ndarray):
        values: list[Any] = arrays.tolist()
    else:
        values = list(zip(*(array.tolist() for array in arrays), strict=True))
    return [None if k < n_lookback else value for k, value in enumerate(values)]


def vwaps(bars: BarArray) -> list[float | None]:
    """The value at each bar, sum by sum, in plain Python."""
    turnover = volume = 0.0
    values: list[float | None] = []
    for _, _, high, low, close, traded in bars.tolist():
        turnover += (high + low + close) / 3.0 * traded
        volume += traded
        values.append(turnover / volume if volume else None)
    return values


def vwap(bars: BarArray) -> float | None:
    """The value at the last bar."""
    return vwaps(bars)[-1] if len(bars) else None


def same(a: Any, b: Any) -> bool:
    """Bit for bit, NaN being NaN."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    return type(a) is type(b) and a == b
