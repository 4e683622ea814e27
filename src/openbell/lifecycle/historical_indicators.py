"""Historical indicators: numbers over the trading days before a session.

Plain arithmetic over bars of past days, by date. Reads nothing and warns of nothing: the
loading of history does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date as Date
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openbell.schema import BarArray

if TYPE_CHECKING:
    from openbell.clock import TimeManager
    from openbell.config.tables import HistoricalIndicatorConfig

__all__ = ["interval_of", "period_days", "trailing_profile", "trailing_value", "value_of"]

FloatArray = npt.NDArray[np.float64]


def period_days(item: HistoricalIndicatorConfig, day: Date, clock: TimeManager) -> list[Date]:
    """Trading days that an indicator is over, ascending, all before `day`.

    ``<n>d`` are the `n` trading days before it. ``<n>w`` are those among the 7 n calendar days
    before it: a week with a holiday has fewer, and may have none.

    Raises
    ------
    CalendarError
        When they begin before what the calendar is known for.
    """
    n, unit = int(item.period[:-1]), item.period[-1]
    if unit == "d":
        return clock.trailing_days(day, n)
    return clock.trading_days(day - timedelta(days=7 * n), day - timedelta(days=1))


def interval_of(item: HistoricalIndicatorConfig) -> str:
    """The interval of the bars that an indicator is made from."""
    return "1d" if item.granularity == "day" else "1m"


def value_of(
    item: HistoricalIndicatorConfig,
    bars: Mapping[Date, BarArray],
    day: Date,
    clock: TimeManager,
) -> float | FloatArray | None:
    """An indicator's value for the session of `day`; None when there is no past day.

    Parameters
    ----------
    item : HistoricalIndicatorConfig
    bars : mapping of datetime.date to numpy.ndarray
        The past days that exist, of the interval that :func:`interval_of` names.
    day : datetime.date
    clock : TimeManager

    Returns
    -------
    float, numpy.ndarray or None
        As :func:`trailing_value`, or as :func:`trailing_profile` for the granularity
        ``minute``.
    """
    if not bars:
        return None
    if item.granularity == "day":
        return trailing_value(item, bars)
    return trailing_profile(item, bars, day, clock)


def trailing_value(item: HistoricalIndicatorConfig, bars: Mapping[Date, BarArray]) -> float:
    """Average, maximum or minimum of a field of the daily bars, each day counting once.

    Parameters
    ----------
    item : HistoricalIndicatorConfig
    bars : mapping of datetime.date to numpy.ndarray
        One ``1d`` bar a date; at least one date.
    """
    values = [float(rows[item.field][0]) for rows in bars.values()]
    if item.type == "trailing_max":
        return max(values)
    if item.type == "trailing_min":
        return min(values)
    return math.fsum(values) / len(values)


def trailing_profile(
    item: HistoricalIndicatorConfig,
    bars: Mapping[Date, BarArray],
    day: Date,
    clock: TimeManager,
) -> FloatArray:
    """The same for each minute of the day: the k-th value is over the k-th minutes of past days.

    Minutes are counted from the open, through a break. A past day that was shorter has no
    value for the minutes behind its close; one that was longer has more than are asked for. A
    minute of a past day without a bar has the volume 0, and no price.

    Parameters
    ----------
    item : HistoricalIndicatorConfig
    bars : mapping of datetime.date to numpy.ndarray
        ``1m`` bars of the past days, labelled on their grids.
    day : datetime.date
        The session that the profile is for.
    clock : TimeManager

    Returns
    -------
    numpy.ndarray
        float64, one value for each 1m slot of the session; NaN where no day has one.
    """
    n_slots = clock.session_window(day).grid("1m").n_slots
    values = np.full((len(bars), n_slots), np.nan)
    for row, (past, rows) in zip(values, bars.items(), strict=True):
        grid = clock.session_window(past).grid("1m")
        if item.field == "volume":
            row[: grid.n_slots] = 0.0
        slots = np.searchsorted(grid.starts_ns, rows["timestamp"])
        shared = int(np.searchsorted(slots, n_slots))
        row[slots[:shared]] = rows[item.field][:shared]
    # Neither of the two takes a NaN where there is a number.
    if item.type == "trailing_max":
        return np.asarray(np.fmax.reduce(values))
    if item.type == "trailing_min":
        return np.asarray(np.fmin.reduce(values))
    n_values = np.count_nonzero(~np.isnan(values), axis=0)
    sums = np.nansum(values, axis=0)
    averages = np.full(n_slots, np.nan)
    np.divide(sums, n_values, out=averages, where=n_values > 0)
    return averages
