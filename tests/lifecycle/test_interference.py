"""What others do to a record, or ask of it, at the moments when it is least expected."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

import openbell as ob
from openbell._native.replay import ReplayCursor
from openbell.errors import RecordDetached
from openbell.sources import SyntheticSource
from tests.lifecycle_days import HALF_DAY, WEDNESDAY, bars_at, config_of, window_of, write_days

MINUTE = 60 * 10**9


def minutes_of(folder: Path, *symbols: str) -> Path:
    window = window_of(WEDNESDAY)
    bars = bars_at(window, "1m", range(390))
    return write_days(folder, {WEDNESDAY: {"1m": dict.fromkeys(symbols, bars)}})


def test_record_of_yesterday_is_not_linked_anew() -> None:
    root = ob.SessionData()
    root.begin(window_of(WEDNESDAY))
    rec = root.register_symbol_data(ob.SymbolSessionData("A", base_interval="1s"))
    rec.append_block(bars_at(window_of(WEDNESDAY), "1s", range(3700)))
    before = rec.bars["1s"].data.tobytes()
    root.end()
    root.clear()
    for window in (None, window_of(HALF_DAY)):
        if window is not None:
            root.begin(window)
        with pytest.raises(RecordDetached):
            rec.set_intervals("1s", ["1m"])
    assert rec.bars["1s"].data.tobytes() == before


def test_asking_when_the_next_slice_is_leaves_the_running_one_alone() -> None:
    window = window_of(WEDNESDAY)
    root = ob.SessionData()
    root.begin(window)
    cursor = ReplayCursor(root.core)
    # So sparse that each next slice lies in another block of ticks.
    for k, symbol in enumerate("ABCDE"):
        rec = root.register_symbol_data(ob.SymbolSessionData(symbol, base_interval="1s"))
        rec.preload(bars_at(window, "1s", range(100 * k, 23_400, 311 + k)))
        cursor.add(rec)
    n_slices = 0
    while cursor.step():
        held = [rec.symbol for rec in cursor.records]
        next_ns = cursor.next_ns
        assert [rec.symbol for rec in cursor.records] == held
        assert next_ns is None or next_ns > cursor.ts_ns
        n_slices += 1
    assert n_slices > 300


def test_finer_adhoc_bar_while_the_day_loads_leaves_the_configured_base(tmp_path: Path) -> None:
    session = ob.open_session(config_of(minutes_of(tmp_path, "A", "B"), [WEDNESDAY], "AB", ["1m"]))

    def bring(rec: ob.SymbolSessionData) -> None:
        if rec.symbol == "A":
            start = session.root.now_ns
            session.root.add_bar("B", "1s", ob.BarData(start, 1.0, 2.0, 0.5, 1.5, 1.0))

    session.on_loaded(bring)
    session.run()
    assert session.root["B"].base_interval == "1m"
    for series in (session.root["A"].bars["1m"], session.root["B"].bars["1m"]):
        assert len(series) == 390
    assert len(session.root["B"].bars["1s"]) == 1


def test_on_loaded_of_a_joining_symbol_holds_no_lock(tmp_path: Path) -> None:
    session = ob.open_session(config_of(minutes_of(tmp_path, "A", "B"), [WEDNESDAY], ["A"], ["1m"]))
    done: list[bool] = []

    def touch(rec: ob.SymbolSessionData) -> None:
        if rec.symbol == "B":
            other = threading.Thread(target=lambda: done.append(session.remove_symbol("A")))
            other.start()
            other.join(10)
            assert not other.is_alive()

    session.on_loaded(touch)
    (day,) = (next(session.days()),)
    slices = day.slices()
    next(slices)
    assert session.add_symbol("B")
    next(slices)
    assert done == [True]
    assert session.root.get_active_symbols() == {"B"}


class OddQuotes(SyntheticSource):
    """A source whose quotes are not what they should be."""

    def load_quotes(self, symbol: str, window: ob.SessionWindow) -> npt.NDArray[np.void]:
        return np.zeros(3)


def test_quotes_of_another_dtype_are_noted_and_the_symbol_runs() -> None:
    clock = ob.TimeManager("XNYS")
    config = {
        "session": {"start_date": WEDNESDAY, "symbols": ["A"], "streams": ["1m"], "base": "1m"},
        "data": {"sources": ["synthetic"]},
    }
    session = ob.open_session(config, data=ob.DataManager([OddQuotes()], clock))
    session.run()
    (error,) = session.root["A"].errors
    assert error.where == "quotes"
    assert "float64" in error.error
    assert len(session.root["A"].bars["1m"]) > 300


def test_quality_of_history_counts_the_days_an_adhoc_indicator_adds(tmp_path: Path) -> None:
    monday, tuesday = date(2025, 6, 30), date(2025, 7, 1)
    whole, half = range(390), range(0, 390, 2)
    folder = write_days(
        tmp_path,
        {
            day: {"1m": {"A": bars_at(window_of(day), "1m", slots)}}
            for day, slots in ((monday, half), (tuesday, whole), (WEDNESDAY, whole))
        },
    )
    historical = [{"trailing_days": 1, "intervals": ["1m"]}]
    session = ob.open_session(config_of(folder, [WEDNESDAY], ["A"], ["1m"], historical=historical))
    slices = next(session.days()).slices()
    next(slices)
    rec = session.root["A"]
    assert rec.historical_quality["1m"] == 100
    sma = {"name": "x", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 500}}
    assert session.add_adhoc_indicator("A", sma)
    next(slices)
    assert list(rec.historical_bars["1m"]) == [monday, tuesday]
    assert rec.historical_quality["1m"] == 75
    assert sum(gap.bar_count for gap in rec.historical_gaps["1m"]) == 195
