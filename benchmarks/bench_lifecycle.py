"""Step 0, symbols asked for while a day runs, and indicators beside TA-Lib alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

import openbell as ob
from benchmarks.data import N_DAY, make_bars, make_window
from benchmarks.harness import Beside
from openbell.config import IndicatorConfig
from openbell.schema import NS_PER_SECOND
from openbell.sources import DatasetWriter

N_SYMBOLS = 500
N_PAST = 10
MINUTE_NS = 60 * NS_PER_SECOND
#: Of one input and output, and of several.
INDICATORS: tuple[tuple[str, str, dict[str, int | float | bool | str]], ...] = (
    ("sma", "SMA", {"timeperiod": 20}),
    ("ema", "EMA", {"timeperiod": 20}),
    ("rsi", "RSI", {"timeperiod": 14}),
    ("macd", "MACD", {}),
    ("atr", "ATR", {"timeperiod": 14}),
)


def minutes_of(window: ob.SessionWindow, seed: int) -> Any:
    bars = make_bars(window.grid("1m").n_slots, seed=seed)
    bars["timestamp"] = window.open_ns + MINUTE_NS * np.arange(len(bars))
    return bars


def write_dataset(
    folder: Path, n_symbols: int, n_seconds: int, *, n_past: int = N_PAST
) -> list[str]:
    """Seconds of one day, and minutes of it and the days before."""
    clock, today = ob.TimeManager("XNYS"), make_window().date
    names = [f"S{k:05}" for k in range(n_symbols)]
    writer = DatasetWriter(folder, calendar="XNYS", timezone=clock.timezone)
    seconds = make_bars(n_seconds)
    writer.write(today, dict.fromkeys(names, seconds), interval="1s")
    for k, day in enumerate([*clock.trailing_days(today, n_past), today]):
        bars = minutes_of(clock.session_window(day), k)
        writer.write(day, dict.fromkeys(names, bars), interval="1m")
    return names


def open_over(folder: Path, symbols: list[str], **tables: Any) -> ob.SessionCoordinator:
    return ob.open_session(
        {
            "session": {
                "start_date": make_window().date,
                "symbols": symbols,
                "streams": ["1s", "1m", "5m"],
            },
            "data": {"parquet": str(folder)},
            **tables,
        }
    )


def bench_step_0(beside: Beside, tmp_path: Path) -> None:
    names = write_dataset(tmp_path, N_SYMBOLS, 60)
    history = [{"trailing_days": N_PAST, "intervals": ["1m"]}]
    files = sorted(tmp_path.rglob("*.parquet"))
    held: list[ob.SessionCoordinator] = []

    def prepare() -> None:
        held[:] = [open_over(tmp_path, names, historical=history)]

    def validate() -> None:
        for name in names:
            assert held[0].validate_symbol(name, make_window().date).can_proceed

    beside.times(
        f"Step 0 of {N_SYMBOLS} symbols, {N_PAST} days of history, nothing read before",
        f"reading the {len(files)} footers",
        validate,
        lambda: [pq.read_metadata(path) for path in files],
        prepare=prepare,
        unit="ms",
        goal=100.0,
        goal_of="value",
        rounds=7,
    )


def bench_joining_symbol(beside: Beside, tmp_path: Path) -> None:
    names = write_dataset(tmp_path, 80, N_DAY, n_past=20)
    session = open_over(
        tmp_path, names[:20], historical=[{"trailing_days": 20, "intervals": ["1m"]}]
    )
    day = next(iter(session.days()))
    slices = day.slices()
    for _ in range(5400):
        next(slices)
    left = iter(names[20:])

    def join() -> None:
        session.add_symbol(next(left))
        next(slices)

    beside.times(
        "a symbol joins at 11:00: 20 days of 1m, the day's 1s, 5,400 of them caught up with",
        "a slice that nobody joins",
        join,
        lambda: next(slices),
        unit="ms",
        goal=15.0,
        goal_of="value",
        rounds=51,
    )
    joined = [record for record in session.root if record.added_by == "strategy"]
    assert len(joined) >= 10
    assert all(len(record.bars["1m"]) >= 90 for record in joined)
    assert all(len(record.historical_bars["1m"]) == 20 for record in joined)


def bench_add_symbol(beside: Beside, tmp_path: Path) -> None:
    names = write_dataset(tmp_path, 100, 600)
    history = [{"trailing_days": N_PAST, "intervals": ["1m"]}]
    session = open_over(tmp_path, names[:10], historical=history)
    day = next(iter(session.days()))
    slices = day.slices()
    next(slices)
    path = next(tmp_path.rglob("interval=1s/*.parquet"))
    left = iter(names[10:])

    beside.times(
        "add_symbol while a day runs, until it returns",
        "reading one footer",
        lambda: session.add_symbol(next(left)),
        lambda: pq.read_metadata(path),
        unit="ms",
        goal=2.0,
        goal_of="value",
        rounds=51,
    )
    next(slices)
    assert not session.pending


def bench_indicators(beside: Beside) -> None:
    import talib

    window = make_window()
    past = minutes_of(window, 1)
    bars = past.tolist()
    sma = talib.stream.SMA(past["close"], 20)
    values: list[Any] = []
    records: list[ob.SymbolSessionData] = []
    roots: list[ob.SessionData] = []

    def prepare() -> None:
        root = ob.SessionData()
        root.begin(window)
        processor = ob.DataProcessor(root)
        values.clear()
        records.clear()
        roots[:] = [root]
        for k in range(20):
            record = root.register_symbol_data(ob.SymbolSessionData(f"S{k}"))
            records.append(record)
            for name, kind, parameters in INDICATORS:
                config = IndicatorConfig(name=name, type=kind, interval="1m", parameters=parameters)
                assert processor.add_indicator(record, config, [(window, past)]).ready

    def append_and_read() -> None:
        for bar in bars:
            for record in records:
                record.append(*bar)
                values.extend(one.value for one in record.indicators.values())

    def update() -> None:
        for _ in range(10_000):
            sma.update(3.0)

    beside.times(
        "value of an indicator, read after each bar (append included)",
        "TA-Lib's own update of an average",
        append_and_read,
        update,
        prepare=prepare,
        n=len(bars) * 20 * len(INDICATORS),
        n_reference=10_000,
        rounds=7,
    )
    assert len(values) == len(bars) * 20 * len(INDICATORS)
