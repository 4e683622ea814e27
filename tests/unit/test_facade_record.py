"""What a record tells: metrics, bars, quality, gaps; and what the root tells of all of them."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

import openbell as ob
from openbell.errors import (
    ArgumentError,
    IntervalError,
    SchemaError,
    SessionStateError,
    TimeError,
    UnknownSymbolError,
)
from openbell.gaps import GapInfo
from openbell.schema import BAR_DTYPE
from tests.facade_bars import WINDOW, at, bar, minutes, moment


@pytest.fixture
def root() -> ob.SessionData:
    made = ob.SessionData()
    made.begin(WINDOW)
    return made


@pytest.fixture
def rec(root: ob.SessionData) -> ob.SymbolSessionData:
    return root.register_symbol_data(
        ob.SymbolSessionData("AAPL", base_interval="1m", derived_intervals=["15m", "5m"])
    )


def test_record_metrics_are_those_of_the_base_bars(rec: ob.SymbolSessionData) -> None:
    rec.append(at(0), 10.0, 12.5, 9.5, 11.0, 100.0)
    rec.append(at(1), 11.0, 11.5, 8.0, 9.0, 50.5)
    assert rec.session_metrics == ob.SessionMetrics(150.5, 12.5, 8.0, at(2))
    assert (rec.session_volume, rec.session_high, rec.session_low) == (150.5, 12.5, 8.0)
    assert rec.last_update == rec.session_metrics.last_update == moment(2)
    rec.append(at(0), 10.0, 11.0, 9.5, 11.0, 100.0)
    assert rec.session_high == 11.5
    assert (rec.n_corrected, rec.n_duplicate, rec.n_late) == (1, 0, 0)


def test_record_get_methods_follow_the_specification(rec: ob.SymbolSessionData) -> None:
    assert rec.get_latest_bar() is None
    rec.append_block(minutes(0, 1, 2, 3, 4, 6))
    latest = rec.get_latest_bar()
    assert latest is not None
    assert latest == ob.BarData(at(6), 16.0, 17.0, 15.0, 16.0, 100.0, "AAPL", "1m")
    assert rec.get_latest_bar("5m") == ob.BarData(
        moment(0), 10.0, 15.0, 9.0, 14.0, 500.0, symbol="AAPL", interval="5m"
    )
    assert rec.get_last_n_bars(2)["timestamp"].tolist() == [at(4), at(6)]
    assert rec.get_last_n_bars(99, "5m")["timestamp"].tolist() == [at(0)]
    assert rec.get_bars_since(moment(4))["timestamp"].tolist() == [at(4), at(6)]
    assert rec.get_bars_since(at(4) + 1)["timestamp"].tolist() == [at(6)]
    assert rec.get_bars_since(at(7)).shape == (0,)
    assert (rec.get_bar_count(), rec.get_bar_count("5m"), rec.get_bar_count("15m")) == (6, 1, 0)
    with pytest.raises(TimeError):
        rec.get_bars_since(datetime(2025, 7, 2, 13, 34))
    with pytest.raises(IntervalError):
        rec.get_latest_bar("1h")
    with pytest.raises(IntervalError):
        rec.get_bar_count("7x")


def test_record_bars_as_objects_are_those_of_the_series(rec: ob.SymbolSessionData) -> None:
    rec.append_block(minutes(*range(6)))
    assert [b.close for b in rec.bars_base] == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0]
    assert rec.bars_base[-1] == rec.get_latest_bar()
    assert [b.timestamp for b in rec.bars_base[1:3]] == [moment(1), moment(2)]
    assert list(rec.bars_derived) == ["5m", "15m"]
    assert list(rec.bars_derived["5m"]) == [rec.get_latest_bar("5m")]
    with pytest.raises(IndexError):
        rec.bars_base[6]


def test_record_update_flags_are_cleared_by_the_reader_only(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0))
    assert rec.bars_updated
    assert not rec.bars["5m"].updated
    rec.bars_updated = False
    assert not rec.bars["1m"].updated
    root.advance(at(5))
    assert rec.bars["5m"].updated
    assert not rec.bars_updated


def test_record_quality_and_gaps_follow_the_clock(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 1, 4))
    root.advance(at(8))
    assert rec.quality == rec.bar_quality == {"1m": 37.5, "5m": 100.0, "15m": None}
    assert rec.bars["1m"].coverage == 0.375
    assert (rec.bars["1m"].n_expected, rec.bars["1m"].n_missing) == (8, 5)
    assert rec.bar_gaps["1m"] == [
        GapInfo("AAPL", "1m", moment(2), moment(3), at(4), 2),
        GapInfo("AAPL", "1m", moment(5), moment(7), at(8), 3),
    ]
    assert rec.bar_gaps["5m"] == rec.bar_gaps["15m"] == []
    assert rec.bar_gaps["1m"][0].start_ns == at(2)
    assert (rec.bar_gaps["1m"][0].reason, rec.bar_gaps["1m"][0].retry_count) == ("unknown", 0)


def test_set_gaps_attaches_reasons_and_refuses_gaps_that_are_not(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 3, 5))
    known = GapInfo("AAPL", "1m", moment(1), moment(2), at(3), 2, reason="outage", retry_count=3)
    root.set_gaps("AAPL", "1m", [known])
    assert [gap.reason for gap in rec.bar_gaps["1m"]] == ["outage", "unknown"]
    assert rec.bar_gaps["1m"][0] == known
    false = GapInfo("AAPL", "1m", moment(1), moment(1), at(2), 1)
    with pytest.raises(SessionStateError):
        root.set_gaps("AAPL", "1m", [false])
    assert rec.bar_gaps["1m"][0] == known
    # Once it is half filled it is another gap; the note is of no gap that is there.
    rec.append_block(minutes(1))
    assert [(gap.start_time, gap.bar_count) for gap in rec.bar_gaps["1m"]] == [
        (moment(2), 1),
        (moment(4), 1),
    ]


def test_set_gaps_and_quality_of_history_are_kept_apart(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    gap = GapInfo("AAPL", "1d", moment(0), moment(0), at(1), 1)
    root.set_gaps("AAPL", "1d", [gap])
    root.set_quality("AAPL", "1d", 93.4)
    assert rec.historical_gaps == {"1d": [gap]}
    assert rec.historical_quality == {"1d": 93.4}
    assert "1d" not in rec.quality
    with pytest.raises(UnknownSymbolError):
        root.set_quality("MSFT", "1d", 1.0)


@pytest.mark.parametrize("name", ["1m", "5m"])
def test_set_quality_of_a_counted_series_is_refused(
    root: ob.SessionData, rec: ob.SymbolSessionData, name: str
) -> None:
    with pytest.raises(SessionStateError):
        root.set_quality("AAPL", name, 99.0)
    assert rec.quality[name] is None


def test_set_quality_of_a_written_series_holds_until_it_is_counted(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    root.add_bar("AAPL", "90s", bar(at(0)))
    root.set_quality("AAPL", "90s", 12.5)
    assert rec.quality["90s"] == 12.5
    root.add_bar("AAPL", "30s", bar(at(1, 30)))
    assert rec.bars["90s"].derived
    # By the end of the one 30s bar, one slot of 90s has ended, and holds the bar written.
    assert rec.quality["90s"] == 100.0


def test_latest_has_one_value_a_record(root: ob.SessionData, rec: ob.SymbolSessionData) -> None:
    root.register_symbol_data(ob.SymbolSessionData("MSFT", base_interval="1s"))
    rec.append_block(minutes(*range(5)))
    np.testing.assert_array_equal(root.latest("close", "1m"), [14.0, np.nan])
    np.testing.assert_array_equal(root.latest("volume", "5m"), [500.0, np.nan])
    root.add_bar("MSFT", "1m", bar(at(0), 7.0))
    np.testing.assert_array_equal(root.latest("close", "1m"), [14.0, 7.0])
    root.remove_symbol("AAPL")
    np.testing.assert_array_equal(root.latest("close", "1m"), [7.0])
    for field in ("timestamp", "price"):
        with pytest.raises(ArgumentError):
            root.latest(field, "1m")
    with pytest.raises(IntervalError):
        root.latest("close", "7x")


def test_append_block_of_another_dtype_is_refused(rec: ob.SymbolSessionData) -> None:
    swapped = BAR_DTYPE.descr
    swapped[1], swapped[4] = ("close", "<f8"), ("open", "<f8")
    good = minutes(0, 1)
    for wrong in (good.view(np.dtype(swapped)), good["close"], good.tolist()):
        with pytest.raises(SchemaError):
            rec.append_block(wrong)
    with pytest.raises(SchemaError):
        rec.append_block(good.reshape(1, 2))
    assert rec.get_bar_count() == 0
    assert rec.append_block(np.repeat(good, 2)[::2]) == 2


def test_streams_are_noted_for_each_symbol_and_kind(root: ob.SessionData) -> None:
    root.set_stream_active("AAPL", "bars")
    root.set_stream_active("AAPL", "ticks", False)
    held = root.active_streams
    assert held == {("AAPL", "bars"): True, ("AAPL", "ticks"): False}
    assert root.is_stream_active("AAPL", "bars")
    assert not root.is_stream_active("AAPL", "ticks")
    assert not root.is_stream_active("AAPL", "quotes")
    root.set_stream_active("AAPL", "quotes")
    assert len(held) == 2


@pytest.mark.parametrize("value", [float("nan"), -0.5, 100.5])
def test_set_quality_of_what_is_no_percentage_is_refused(
    root: ob.SessionData, value: float
) -> None:
    root.add_bar("TSLA", "1m", bar(at(0)))
    root.add_bar("TSLA", "5m", bar(at(5)))
    with pytest.raises(ArgumentError, match="0 to 100"):
        root.set_quality("TSLA", "1d", value)
    assert root["TSLA"].historical_quality == {}


def test_add_bar_that_says_it_is_of_another_interval_is_refused(root: ob.SessionData) -> None:
    five = ob.BarData(at(0), 10.0, 11.0, 9.0, 10.0, 1.0, symbol="TSLA", interval="5m")
    with pytest.raises(ArgumentError, match="received 'a 5m bar', expected a 1m bar"):
        root.add_bar("TSLA", "1m", five)
    assert "TSLA" not in root
    assert root.add_bar("TSLA", "5m", five).get_bar_count(interval="5m") == 1
