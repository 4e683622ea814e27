"""Synthetic bars: the same for everyone, lifelike, and on the grid."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from openbell.clock import SessionWindow, TimeManager
from openbell.errors import CalendarError, IntervalError
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE, to_ns
from openbell.sources import (
    DataSource,
    ParquetSource,
    SyntheticSource,
    synthetic_symbols,
    write_sample,
)

DAY = date(2025, 7, 2)
OPEN = to_ns("2025-07-02T13:30:00+00:00")
WINDOW = SessionWindow(DAY, [(OPEN, OPEN + 23_400 * 10**9)])
HALF_DAY = SessionWindow(date(2025, 7, 3), [(OPEN, OPEN + 12_600 * 10**9)])
LUNCH = [(OPEN, OPEN + 9000 * 10**9), (OPEN + 12_600 * 10**9, OPEN + 23_400 * 10**9)]
HONG_KONG = SessionWindow(DAY, LUNCH)

#: Number of bars, and the start of the SHA-256 of their bytes.
FROZEN = (6693, "f79e445f2111eab4")


def test_source_is_a_data_source() -> None:
    assert isinstance(SyntheticSource(), DataSource)


def test_bars_are_frozen() -> None:
    # The format's own fingerprint: users compare runs on it. A change needs another name for it.
    bars = SyntheticSource(seed=7).load("SYN001", "1s", WINDOW)
    digest = hashlib.sha256(bars.tobytes()).hexdigest()
    assert (len(bars), digest[:16]) == FROZEN


def test_bars_do_not_depend_on_the_order_of_asking_or_the_process() -> None:
    source = SyntheticSource(seed=3)
    first = source.load("A", "1s", WINDOW)
    source.load("B", "1s", WINDOW)
    source.load("A", "1s", HALF_DAY)
    assert source.load("A", "1s", WINDOW).tobytes() == first.tobytes()
    code = f"""
import hashlib
from datetime import date
from openbell.clock import SessionWindow
from openbell.sources import SyntheticSource
window = SessionWindow(date(2025, 7, 2), [({WINDOW.open_ns}, {WINDOW.close_ns})])
print(hashlib.sha256(SyntheticSource(seed=3).load("A", "1s", window).tobytes()).hexdigest())
"""
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert out.stdout.strip() == hashlib.sha256(first.tobytes()).hexdigest()


def test_seed_symbol_and_date_each_give_other_bars() -> None:
    def closes(seed: int, symbol: str, window: SessionWindow) -> list[float]:
        return (
            SyntheticSource(seed=seed, fill_rate=1.0)
            .load(symbol, "1s", window)["close"][:100]
            .tolist()
        )

    runs = [closes(0, "A", WINDOW), closes(1, "A", WINDOW), closes(0, "B", WINDOW)]
    runs.append(closes(0, "A", HALF_DAY))
    assert len({tuple(run) for run in runs}) == 4


@pytest.mark.parametrize("window", [WINDOW, HALF_DAY, HONG_KONG])
@pytest.mark.parametrize("symbol", synthetic_symbols(3))
def test_bars_are_sound(window: SessionWindow, symbol: str) -> None:
    bars = SyntheticSource(seed=11).load(symbol, "1s", window)
    assert bars.dtype == BAR_DTYPE
    assert np.isin(bars["timestamp"], window.grid("1s").starts_ns).all()
    assert (np.diff(bars["timestamp"]) > 0).all()
    assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()
    assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()
    assert (bars["low"] > 0).all()
    assert (bars["volume"] >= 1).all()
    assert (bars["volume"] % 1 == 0).all()
    for name in ("open", "high", "low", "close"):
        cents = np.rint(bars[name] * 100)
        assert (bars[name] == cents / 100).all()
    moved = bars["close"][-1] / bars["open"][0] - 1
    assert abs(moved) < 0.12


@pytest.mark.parametrize("rate", [1.0, 0.9, 0.5, 0.2, 0.01])
def test_fill_rate_is_met_in_bursts(rate: float) -> None:
    source = SyntheticSource(fill_rate=rate)
    present = np.zeros(23_400, bool)
    bars = source.load("A", "1s", WINDOW)
    present[(bars["timestamp"] - OPEN) // 10**9] = True
    assert abs(present.mean() - rate) < 0.03 * (rate < 1) + 1e-12
    assert source.count("A", "1s", WINDOW) == len(bars)
    if rate == 0.5:
        # Independent seconds would spread the sums of 30 with a variance of 7.5.
        assert present.reshape(-1, 30).sum(axis=1).var() > 30


def test_fill_rate_by_symbol_and_its_limits() -> None:
    source = SyntheticSource(fill_rate={"A": 1.0, "B": 0.1})
    assert source.count("A", "1s", WINDOW) == 23_400
    assert source.count("B", "1s", WINDOW) < 3500
    for rate in (0.0, 1.1, -1.0, float("nan")):
        with pytest.raises(ValueError, match="fill_rate"):
            SyntheticSource(fill_rate=rate)


def test_minutes_and_days_are_folds_of_the_seconds() -> None:
    source = SyntheticSource(seed=2, fill_rate=0.4)
    seconds = source.load("A", "1s", WINDOW)
    minutes = source.load("A", "1m", WINDOW)
    slots = (seconds["timestamp"] - OPEN) // (60 * 10**9)
    assert minutes["timestamp"].tolist() == [OPEN + s * 60 * 10**9 for s in np.unique(slots)]
    for minute, slot in zip(minutes, np.unique(slots), strict=True):
        part = seconds[slots == slot]
        assert minute.tolist()[1:] == (
            part["open"][0], part["high"].max(), part["low"].min(), part["close"][-1],
            part["volume"].sum(),
        )  # fmt: skip
    [day] = source.load("A", "1d", WINDOW).tolist()
    assert day[0] == OPEN
    assert day[1:5] == (
        seconds["open"][0], seconds["high"].max(), seconds["low"].min(), seconds["close"][-1],
    )  # fmt: skip
    assert day[5] == seconds["volume"].sum()


def test_known_symbols_dates_and_intervals() -> None:
    source = SyntheticSource(symbols=["A"])
    assert source.intervals("A") == ["1s", "1m", "1d"]
    assert source.intervals("B") == []
    assert not source.has_symbol("B")
    assert source.dates("B", "1s") is None
    assert source.has_data("A", "1m", DAY)
    assert not source.has_data("A", "5m", DAY)
    assert source.count("B", "1s", WINDOW) == 0
    assert len(source.load("B", "1s", WINDOW)) == 0
    assert source.load_quotes("A", WINDOW).dtype == QUOTE_DTYPE
    assert source.load_ticks("A", WINDOW).dtype == TICK_DTYPE
    with pytest.raises(IntervalError):
        source.load("A", "7x", WINDOW)


def test_write_sample_writes_what_the_source_gives(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    days = [DAY, date(2025, 7, 3)]
    paths = write_sample(
        tmp_path, ["B", "A"], days, intervals=["1s", "1m"], seed=5, fill_rate=0.3,
        on_progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(paths) == 4
    clock = TimeManager("XNYS")
    source, made = ParquetSource(tmp_path), SyntheticSource(seed=5, fill_rate=0.3)
    for day in days:
        window = clock.session_window(day)
        for interval in ("1s", "1m"):
            for symbol, bars in source.load_many(["A", "B"], interval, window):
                assert bars.tobytes() == made.load(symbol, interval, window).tobytes()
                assert len(bars)
    # 3 July 2025 closes at 13:00 in New York.
    last = source.load("A", "1s", clock.session_window(days[1]))["timestamp"][-1]
    assert last < to_ns("2025-07-03T17:00:00+00:00")
    with pytest.raises(CalendarError):
        write_sample(tmp_path, ["A"], [date(2025, 7, 4)])
