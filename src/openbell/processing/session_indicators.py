"""Indicators that begin with the session: VWAP, opening range, relative volume.

They begin at the open and know nothing of the evening before. One bar at a time or the whole
day at once gives the same values, bit for bit: sums run from the first bar to the last.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from openbell._native.values import BarData
from openbell.clock.window import Grid, SessionWindow
from openbell.errors import IndicatorError, SessionStateError
from openbell.processing.talib_functions import unknown_parameter
from openbell.schema import NS_PER_MINUTE, BarArray

__all__ = [
    "SESSION_TYPES",
    "OpeningRange",
    "PastSessions",
    "RelativeVolume",
    "Vwap",
    "check_parameters",
]

#: Past sessions and their bars, oldest first.
PastSessions: TypeAlias = Sequence[tuple[SessionWindow, BarArray]]

DEFAULTS: Final[dict[str, dict[str, int | float]]] = {
    "VWAP": {},
    "OPENING_RANGE": {"minutes": 30},
    "RELATIVE_VOLUME": {"days": 5},
}


class Vwap:
    """Volume-weighted average price since the open: sum(typical x volume) / sum(volume).

    The typical price is (high + low + close) / 3. None while the volume is 0. (TA-Lib's
    function of this name, which never begins anew, cannot be had.)
    """

    takes_history: ClassVar[bool] = False
    follows_clock: ClassVar[bool] = False

    def __init__(self, grid: Grid, history: PastSessions) -> None:
        self._turnover = self._volume = 0.0

    def value_at(self, n_ended: int) -> float | None:
        """The average, None while nothing was traded."""
        return self._turnover / self._volume if self._volume else None

    def reset(self, bars: BarArray, n_evicted: int = 0) -> None:
        """Start anew from the session's bars."""
        require_all("VWAP", n_evicted)
        typical = (bars["high"] + bars["low"] + bars["close"]) / 3.0
        self._turnover = sum_in_order(typical * bars["volume"])
        self._volume = sum_in_order(bars["volume"])

    def update(self, bar: BarData) -> None:
        """Take one more bar in."""
        volume = bar.volume
        self._turnover += (bar.high + bar.low + bar.close) / 3.0 * volume
        self._volume += volume


class OpeningRange:
    """Highest high and lowest low of the bars that start in the first `minutes` of the session.

    None until all of these bars have ended, by a bar that came or by the session's clock.
    """

    takes_history: ClassVar[bool] = False
    follows_clock: ClassVar[bool] = True

    def __init__(self, grid: Grid, history: PastSessions, minutes: float = 30) -> None:
        self._until_ns = int(grid.segments[0][0]) + int(minutes * NS_PER_MINUTE)
        self._n_slots = int(np.searchsorted(grid.starts_ns, self._until_ns))
        self._high, self._low = -math.inf, math.inf

    def value_at(self, n_ended: int) -> tuple[float, float] | None:
        """High and low, None until the range is complete, or when it holds no bar."""
        if n_ended < self._n_slots or self._high < self._low:
            return None
        return self._high, self._low

    def reset(self, bars: BarArray, n_evicted: int = 0) -> None:
        """Start anew from the session's bars."""
        require_all("OPENING_RANGE", n_evicted)
        self._high, self._low = -math.inf, math.inf
        first = bars[: np.searchsorted(bars["timestamp"], self._until_ns)]
        if len(first):
            self._high, self._low = float(first["high"].max()), float(first["low"].min())

    def update(self, bar: BarData) -> None:
        """Take one more bar in."""
        if bar.ts_ns < self._until_ns:
            self._high = max(self._high, bar.high)
            self._low = min(self._low, bar.low)


class RelativeVolume:
    """Today's volume so far / the average volume of past sessions up to the same slot.

    Slots are counted from the open; how many have ended, the newest bar and the session's clock
    say. A past session that was over by then counts with all it had. None without past
    sessions, and while they had no volume yet.
    """

    takes_history: ClassVar[bool] = False
    follows_clock: ClassVar[bool] = True

    def __init__(self, grid: Grid, history: PastSessions, days: int = 5) -> None:
        self._usual = _usual_volume(history[-days:], str(grid.interval))
        self._volume = 0.0

    def value_at(self, n_ended: int) -> float | None:
        """The ratio, None while nothing is there to compare with."""
        usual = float(self._usual[min(n_ended, len(self._usual) - 1)])
        return self._volume / usual if usual > 0 else None

    def reset(self, bars: BarArray, n_evicted: int = 0) -> None:
        """Start anew from the session's bars."""
        require_all("RELATIVE_VOLUME", n_evicted)
        self._volume = sum_in_order(bars["volume"])

    def update(self, bar: BarData) -> None:
        """Take one more bar in."""
        self._volume += bar.volume


#: The indicators of this module by type.
SESSION_TYPES: Final[dict[str, type[Vwap] | type[OpeningRange] | type[RelativeVolume]]] = {
    "VWAP": Vwap,
    "OPENING_RANGE": OpeningRange,
    "RELATIVE_VOLUME": RelativeVolume,
}


def check_parameters(type: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return all the parameters of a type, those that were not given with their defaults.

    Raises
    ------
    IndicatorError
        When one is unknown, or is not what it must be.
    """
    known = DEFAULTS[type]
    for key, value in parameters.items():
        if key not in known:
            raise unknown_parameter(type, key, list(known))
        accepted, expected = (
            (int, "a whole number of past sessions, at least 1")
            if key == "days"
            else (int | float, "a number of minutes above 0")
        )
        is_number = isinstance(value, accepted) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or value <= 0:
            raise IndicatorError(type, f"parameters.{key}", value, expected)
    return {**known, **parameters}


def sum_in_order(values: npt.NDArray[np.float64]) -> float:
    """Sum from the first to the last, as adding them one by one does."""
    # np.sum adds in pairs. What begins at 0.0 never ends at -0.0.
    return 0.0 + float(np.cumsum(values)[-1]) if len(values) else 0.0


def require_all(type: str, n_evicted: int) -> None:
    """Raise when bars of the session are gone that the indicator must be made from."""
    if n_evicted:
        raise SessionStateError(
            type,
            f"past letting go of its first {n_evicted} bars",
            "a session's indicator is made from all of them; give the record a larger capacity",
        )


def _usual_volume(history: PastSessions, interval: str) -> npt.NDArray[np.float64]:
    # Entry k: the average volume when k slots had ended.
    grids = [window.grid(interval) for window, _ in history]
    n_slots = max((grid.n_slots for grid in grids), default=0)
    total = np.zeros(n_slots + 1)
    for grid, (_, bars) in zip(grids, history, strict=True):
        slots = np.searchsorted(grid.starts_ns, bars["timestamp"], side="right") - 1
        inside = (slots >= 0) & (bars["timestamp"] < grid.ends_ns[slots])
        traded = np.zeros(n_slots)
        np.add.at(traded, slots[inside], bars["volume"][inside])
        total[1:] += np.cumsum(traded)
    return total / max(len(history), 1)
