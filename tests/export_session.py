"""The session that the golden exports describe, made with the real engine."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import numpy as np

import openbell as ob
from openbell.schema import BAR_DTYPE

SECOND = 10**9
MINUTE = 60 * SECOND


def at(hour: int, minute: int, second: int = 0, microsecond: int = 0) -> datetime:
    """An instant of 2025-07-02, UTC."""
    return datetime(2025, 7, 2, hour, minute, second, microsecond, tzinfo=UTC)


def ns(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND + moment.microsecond * 1000


#: Ten minutes, a break, ten minutes.
SEGMENTS = [(ns(at(13, 30)), ns(at(13, 40))), (ns(at(14, 0)), ns(at(14, 10)))]

AAPL_BARS = [
    (at(13, 30), 100.0, 101.0, 99.5, 100.5, 1000),
    (at(13, 31), 100.5, 100.75, 100.25, 100.5, 200),
    (at(13, 32), 100.5, 102.0, 100.5, 101.75, 300),
    (at(13, 34), 101.75, 101.75, 101.0, 101.25, 150),
    (at(13, 36), 101.25, 101.5, 101.0, 101.5, 400),
    (at(13, 39), 101.5, 103.25, 101.5, 103.0, 250),
    (at(14, 0), 103.0, 103.0, 102.0, 102.5, 500),
    (at(14, 1), 102.5, 102.75, 102.25, 102.25, 100),
    (at(14, 2), 102.25, 102.5, 98.75, 99.0, 600),
    (at(14, 3), 99.0, 99.5, 99.0, 99.25, 50),
    (at(14, 4), 99.25, 100.0, 99.25, 99.75, 75),
    (at(14, 5), 99.75, 100.25, 99.75, 100.0, 25),
]


def daily_bar(day: date, *values: float) -> Any:
    opened = ns(datetime(day.year, day.month, day.day, 13, 30, tzinfo=UTC))
    return np.array([(opened, *values)], dtype=BAR_DTYPE)


def make_window() -> ob.SessionWindow:
    return ob.SessionWindow(
        date(2025, 7, 2), SEGMENTS, calendar="custom", timezone="America/New_York"
    )


def make_session() -> ob.SessionData:
    """AAPL from config, TSLA adhoc, NVDA upgraded from adhoc, at 14:06."""
    root = ob.SessionData()
    root.begin(make_window())
    _add_aapl(root)
    root.advance(ns(at(14, 1)))
    for _ in range(2):
        root["AAPL"].note_error("indicator rsi", ZeroDivisionError("division by zero"))
    tsla = ob.BarData(at(14, 0), 250.0, 251.0, 249.0, 250.5, 12.5, symbol="TSLA", interval="1m")
    root.add_bar("TSLA", "1m", tsla)
    root.register_symbol_data(
        ob.SymbolSessionData(
            "NVDA",
            base_interval="1m",
            is_loaded=True,
            meets_session_config_requirements=True,
            added_by="strategy",
            auto_provisioned=True,
            added_at=at(14, 1),
            upgraded_from_adhoc=True,
        )
    )
    root.advance(ns(at(14, 6)))
    return root


def _add_aapl(root: ob.SessionData) -> None:
    rec = root.register_symbol_data(
        ob.SymbolSessionData(
            "AAPL",
            base_interval="1m",
            derived_intervals=["5m"],
            is_loaded=True,
            meets_session_config_requirements=True,
        )
    )
    for moment, *values in AAPL_BARS:
        rec.append(ns(moment), *values)
    rec.append(ns(AAPL_BARS[-1][0]), *AAPL_BARS[-1][1:])
    for _ in range(2):
        refuse(rec)
    root.add_quote("AAPL", ob.QuoteData(at(14, 5, 30, 250_000), 99.99, 100.01, 3, 5))
    root.add_tick("AAPL", ob.TickData(at(14, 5, 10), 99.9, 10))
    root.add_tick("AAPL", ob.TickData(at(14, 5, 40), 100.0, 15))
    rec.historical_bars["1d"] = {
        date(2025, 6, 30): daily_bar(date(2025, 6, 30), 97.0, 99.0, 96.5, 98.0, 3000),
        date(2025, 7, 1): daily_bar(date(2025, 7, 1), 98.0, 100.5, 97.75, 100.0, 3200),
    }
    rec.historical_quality["1d"] = 100.0
    rec.historical_indicators["avg_volume_2d"] = 3100.0


def refuse(rec: ob.SymbolSessionData) -> None:
    """Offer a bar whose high is below its low, and see it refused."""
    try:
        rec.append(ns(at(14, 6)), 100.0, 99.0, 101.0, 100.0, 1)
    except ob.BarRefused:
        return
    raise AssertionError("a bar with high below low was taken")
