"""TA-Lib's batch functions judge what a replay shows at each close, over history and session."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.schema import BAR_DTYPE, BarArray
from openbell.sources import import_bars
from tests.golden.test_coinbase_replay import COINBASE, DAYS, fold, vendor_rows
from tests.indicator_bars import CASES, Case, batch
from tests.lifecycle_days import HALF_DAY, WEDNESDAY, window_of, write_days
from tests.model import slots_of
from tests.strategies import make_bars

TUESDAY = date(2025, 7, 1)
PAST = [TUESDAY, WEDNESDAY]
#: What an indicator said at each close of a minute: when, and its value.
Said = dict[tuple[str, str, str], list[tuple[int, Any]]]


def tables(intervals: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"name": f"{case[0]} {name}", "type": case[0], "interval": name, "parameters": case[2]}
        for case in CASES
        for name in intervals
    ]


def listen(session: ob.SessionCoordinator) -> Said:
    said: Said = {}

    def on_minute(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        for name, indicator in rec.indicators.items():
            key = (rec.symbol, name.split()[0], indicator.interval)
            said.setdefault(key, []).append((session.root.now_ns, indicator.value))

    session.on_close("1m", on_minute)
    return said


def is_close(value: Any, expected: Any) -> bool:
    if isinstance(expected, tuple):
        return len(value) == len(expected) and all(map(is_close, value, expected))
    if expected is None or math.isnan(expected):
        return value is None if expected is None else math.isnan(value)
    return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-9)


def assert_like_batch(
    case: Case, said: list[tuple[int, Any]], past: BarArray, today: BarArray, ends: list[int]
) -> None:
    """What was said at each instant is the batch value at the newest bar that had ended."""
    values = batch(case, np.concatenate([past, today]))
    n_values = 0
    for now_ns, value in said:
        n = len(past) + bisect_right(ends, now_ns)
        expected = values[n - 1] if n else None
        assert is_close(value, expected), (case[0], now_ns, value, expected)
        n_values += expected is not None
    assert n_values > 0 or case[3] >= len(past) + len(today)


def five_minutes(window: ob.SessionWindow, bars: BarArray) -> BarArray:
    rows = []
    for start, end in slots_of(window.segments, "5m", "session", "UTC"):
        held = bars[(bars["timestamp"] >= start) & (bars["timestamp"] < end)]
        if len(held):
            rows.append(
                (start, held["open"][0], held["high"].max(), held["low"].min(),
                 held["close"][-1], held["volume"].sum())
            )  # fmt: skip
    return np.array(rows, BAR_DTYPE)


def ends_of(window: ob.SessionWindow, interval: str, bars: BarArray) -> list[int]:
    ends = dict(slots_of(window.segments, interval, "session", "UTC"))
    return [ends[label] for label in bars["timestamp"].tolist()]


@pytest.mark.parametrize("n_past", [0, 1, 2])
def test_talib_over_history_and_session_is_the_batch(
    tmp_path: Path, rng: np.random.Generator, n_past: int
) -> None:
    days = [*PAST, HALF_DAY]
    windows = {day: window_of(day) for day in days}
    bars = {
        day: {
            "AA": make_bars(windows[day], "1m", 0.9, rng),
            "BB": make_bars(windows[day], "1m", 1.0, rng, whole_volumes=False),
        }
        for day in days
    }
    # One of them began to trade on the eve.
    bars[TUESDAY].pop("BB")
    folder = write_days(tmp_path, {day: {"1m": held} for day, held in bars.items()})
    history = [{"trailing_days": n_past, "intervals": ["1m", "5m"]}] if n_past else []
    session = ob.open_session(
        {
            "session": {
                "start_date": HALF_DAY, "symbols": ["AA", "BB"], "streams": ["1m", "5m"],
            },
            "historical": history,
            "indicators": tables(["1m", "5m"]),
            "data": {"parquet": str(folder)},
        }
    )  # fmt: skip
    said = listen(session)
    session.run()
    assert all(rec.errors == [] for rec in session.root)
    assert len(said) == 2 * len(CASES) * 2
    for symbol in ("AA", "BB"):
        for name in ("1m", "5m"):
            series = {
                day: held[symbol] if name == "1m" else five_minutes(windows[day], held[symbol])
                for day, held in bars.items()
                if symbol in held
            }
            today = series.pop(HALF_DAY)
            # The days configured, of those on which it traded.
            wanted = [series[day] for day in PAST[len(PAST) - n_past :] if day in series]
            past = np.concatenate([np.empty(0, BAR_DTYPE), *wanted])
            ends = ends_of(windows[HALF_DAY], name, today)
            for case in CASES:
                told = said[symbol, case[0], name]
                assert len(told) == len(bars[HALF_DAY][symbol])
                assert_like_batch(case, told, past, today, ends)


def test_talib_of_days_takes_today_in_at_the_close(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    days = [*PAST, HALF_DAY]
    bars = {day: {"1m": {"AA": make_bars(window_of(day), "1m", 0.5, rng)}} for day in days}
    closes = [float(bars[day]["1m"]["AA"]["close"][-1]) for day in days]
    session = ob.open_session(
        {
            "session": {"start_date": HALF_DAY, "symbols": ["AA"], "streams": ["1m", "1d"]},
            "historical": [{"trailing_days": 2, "intervals": ["1d"]}],
            "indicators": [
                {"name": "two", "type": "SMA", "interval": "1d", "parameters": {"timeperiod": 2}}
            ],
            "data": {"parquet": str(write_days(tmp_path, bars))},
        }
    )
    said = []
    for name in ("1m", "1d"):
        session.on_close(
            name,
            lambda rec, bar: said.append((session.root.now_ns, rec.indicators["two"].value)),
        )
    session.run()
    evening, close = sum(closes[:2]) / 2, sum(closes[1:]) / 2
    close_ns = window_of(HALF_DAY).close_ns
    assert len(said) == len(bars[HALF_DAY]["1m"]["AA"]) + 1
    assert said[-1][0] == close_ns
    for now_ns, value in said:
        assert is_close(value, close if now_ns == close_ns else evening)


@pytest.mark.skipif(not COINBASE.is_dir(), reason="../shared/data is absent")
def test_talib_of_real_trades_over_history_and_session_is_the_batch(tmp_path: Path) -> None:
    import_bars(COINBASE / "bars_1s.parquet", tmp_path, calendar="24/7", interval="1s")
    session = ob.open_session(
        {
            "session": {
                "exchange": "24/7",
                "start_date": DAYS[1],
                "symbols": ["BTCUSD"],
                "streams": ["1s", "1m", "15m"],
            },
            "historical": [{"trailing_days": 1, "intervals": ["1m", "15m"]}],
            "indicators": tables(["1m", "15m"]),
            "data": {"parquet": str(tmp_path)},
        }
    )
    said = listen(session)
    session.run()
    assert session.root["BTCUSD"].errors == []
    window = window_of(DAYS[1], "24/7")
    # The vendor's own minutes; the dataset has its seconds alone.
    for name, step in (("1m", 60), ("15m", 900)):
        past, today = (np.array(fold(vendor_rows("1m", day), step), BAR_DTYPE) for day in DAYS)
        assert len(past) > 90
        ends = ends_of(window, name, today)
        for case in CASES:
            told = said["BTCUSD", case[0], name]
            assert len(told) == len(vendor_rows("1m", DAYS[1]))
            assert_like_batch(case, told, past, today, ends)
