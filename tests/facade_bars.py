"""Bars of one New York day, named by the minute since its open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

import openbell as ob
from openbell.schema import BAR_DTYPE, BarArray
from tests.strategies import MINUTE, SECOND, utc_ns, window_of

OPEN = utc_ns("2025-07-02T13:30")
CLOSE = utc_ns("2025-07-02T20:00")
WINDOW = window_of(
    ("2025-07-02T13:30", "2025-07-02T20:00"), calendar="XNYS", timezone="America/New_York"
)
NEXT_WINDOW = window_of(("2025-07-03T13:30", "2025-07-03T17:00"), calendar="XNYS", early=True)


def at(minute: int, second: int = 0) -> int:
    return OPEN + minute * MINUTE + second * SECOND


def moment(minute: int, second: int = 0) -> datetime:
    return datetime(2025, 7, 2, 13, 30, tzinfo=UTC) + timedelta(minutes=minute, seconds=second)


def bar(ts_ns: int, close: float = 10.0, volume: float = 100.0) -> ob.BarData:
    return ob.BarData(ts_ns, close, close + 1, close - 1, close, volume)


def minutes(*numbers: int, volume: float = 100.0) -> BarArray:
    """Bars of the minutes since the open: minute k opens and closes at 10 + k, within 1 of it."""
    rows = [(at(k), 10.0 + k, 11.0 + k, 9.0 + k, 10.0 + k, volume) for k in numbers]
    return np.array(rows, dtype=BAR_DTYPE)
