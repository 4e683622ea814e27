"""TA-Lib's functions over history and session: what the batch function says, at every bar."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from openbell._native.replay import ReplayCursor
from openbell.schema import BAR_DTYPE, NS_PER_MINUTE, to_datetime
from tests.engine import begin
from tests.facade_bars import OPEN, WINDOW, at, minutes
from tests.indicator_bars import (
    CASES,
    SECOND,
    Case,
    batch,
    joined,
    make,
    past_sessions,
    same,
)
from tests.strategies import make_bars

case_by_name = pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
BY_NAME = {case[0]: case for case in CASES}


def day(rng: np.random.Generator, density: float = 0.9) -> Any:
    return make_bars(WINDOW, "1m", density, rng)


@case_by_name
@pytest.mark.parametrize("n_past", [0, 5, 500])
def test_talib_value_read_at_each_bar_is_that_of_the_batch(
    case: Case, n_past: int, rng: np.random.Generator
) -> None:
    _, record = begin(WINDOW, "1m")
    history = past_sessions(rng, n_past) if n_past else []
    bars = day(rng)
    expected = batch(case, joined(history, bars))[n_past:]
    indicator = make(record, case[0], history=history, **case[2])
    for row, value in zip(bars.tolist(), expected, strict=True):
        record.append(*row)
        assert same(indicator.value, value)
        assert indicator.ready == (value is not None)
    assert indicator.revision == 0


@case_by_name
def test_talib_value_read_now_and_then_is_that_of_the_batch(
    case: Case, rng: np.random.Generator
) -> None:
    _, record = begin(WINDOW, "1m")
    history = past_sessions(rng)
    bars = day(rng)
    expected = batch(case, joined(history, bars))[60:]
    indicator = make(record, case[0], history=history, **case[2])
    taken = 0
    # Steps and building anew, in turn.
    for n in [1, 2, 31, 32, 33, 34, 3, 100, 1]:
        record.append_block(bars[taken : taken + n])
        taken += n
        assert same(indicator.value, expected[taken - 1])
    assert indicator.revision == 0


@case_by_name
def test_talib_value_after_a_replay_that_nobody_watched_is_that_of_the_batch(
    case: Case, rng: np.random.Generator
) -> None:
    root, record = begin(WINDOW, "1m", ["5m"])
    history = past_sessions(rng)
    bars = day(rng)
    record.preload(bars)
    base = make(record, case[0], history=history, **case[2])
    derived = make(record, case[0], "5m", **case[2])
    assert same(base.value, batch(case, joined(history, bars[:0]))[-1])
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    cursor.run()
    assert len(record.bars["1m"]) == len(bars)
    assert same(base.value, batch(case, joined(history, bars))[-1])
    assert same(derived.value, batch(case, record.bars["5m"].data)[-1])


@case_by_name
def test_talib_value_after_late_and_corrected_bars_is_that_of_the_batch(
    case: Case, rng: np.random.Generator
) -> None:
    _, record = begin(WINDOW, "1m")
    history = past_sessions(rng)
    bars = day(rng, 1.0)
    held_back = {40, 41, 90}
    indicator = make(record, case[0], history=history, **case[2])
    for k, row in enumerate(bars[:100].tolist()):
        if k not in held_back:
            record.append(*row)
            indicator.settle()
    assert indicator.revision == 0
    record.append(*bars[40].item())
    record.append(*bars[41].item())
    present = np.delete(bars[:100], 90)
    assert same(indicator.value, batch(case, joined(history, present))[-1])
    assert indicator.revision == 1
    record.append(*bars[99].item())
    assert same(indicator.value, batch(case, joined(history, present))[-1])
    assert indicator.revision == 1, "a duplicate changes nothing"
    present["close"][50] = present["low"][50]
    record.append(*present[50].item())
    assert same(indicator.value, batch(case, joined(history, present))[-1])
    assert indicator.revision == 2


def test_talib_value_at_the_open_is_that_of_the_evening_before(rng: np.random.Generator) -> None:
    _, record = begin(WINDOW, "1m")
    history = past_sessions(rng)
    indicator = make(record, "RSI", history=history)
    assert same(indicator.value, batch(BY_NAME["RSI"], joined(history, history[0][1][:0]))[-1])
    assert indicator.timestamp == SECOND.close
    record.append_block(minutes(0))
    assert indicator.timestamp == to_datetime(OPEN + NS_PER_MINUTE)


def test_talib_value_waits_for_its_lookback() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "SMA", timeperiod=3)
    assert (indicator.value, indicator.ready, indicator.timestamp) == (None, False, None)
    seen = []
    for minute in range(5):
        record.append_block(minutes(minute))
        seen.append((indicator.value, indicator.ready))
    # Minute k closes at 10 + k.
    assert seen == [(None, False), (None, False), (11.0, True), (12.0, True), (13.0, True)]
    assert indicator.timestamp == to_datetime(at(5))
    assert indicator.revision == 0


@pytest.mark.parametrize(("field", "expected"), [("high", 13.0), ("volume", 100.0)])
def test_talib_price_chooses_the_field(field: str, expected: float) -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(0, 1, 2, 3))
    assert make(record, "SMA", timeperiod=3, price=field).value == expected


def test_talib_price_of_a_function_with_a_second_input_keeps_that() -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(0, 1, 2))
    assert make(record, "OBV", price="open").value == 300.0


def test_talib_value_is_nan_where_the_function_has_none() -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(0))
    indicator = make(record, "ACOS")
    assert math.isnan(indicator.value)
    assert indicator.ready
    assert indicator.to_json()["value"] is None


def test_talib_stub_bar_ends_with_its_segment() -> None:
    window = WINDOW
    root, record = begin(window, "1m", ["1h"])
    indicator = make(record, "SMA", "1h", timeperiod=2)
    record.append_block(minutes(*range(390)))
    # Six hours and a half: the last bar covers 30 minutes.
    assert indicator.timestamp == window.close
    assert indicator.value == (10.0 + 359 + 10.0 + 389) / 2


def test_talib_bars_let_go_of_while_read_are_remembered(rng: np.random.Generator) -> None:
    _, record = begin(WINDOW, "1m", capacity=50)
    bars = day(rng, 1.0)
    indicator = make(record, "RSI")
    expected = batch(BY_NAME["RSI"], bars)
    for row, value in zip(bars.tolist(), expected, strict=True):
        record.append(*row)
        assert same(indicator.value, value)
    assert record.bars["1m"].n_evicted > 0
    assert indicator.revision == 0


def test_talib_bars_let_go_of_unseen_leave_what_is_held(rng: np.random.Generator) -> None:
    _, record = begin(WINDOW, "1m", capacity=50)
    bars = day(rng, 1.0)
    indicator = make(record, "RSI", history=past_sessions(rng))
    record.append_block(bars[:20])
    assert indicator.ready
    for row in bars[20:].tolist():
        record.append(*row)
    held = record.bars["1m"].data
    assert record.bars["1m"].n_evicted > 20
    assert same(indicator.value, batch(BY_NAME["RSI"], held)[-1])
    assert indicator.revision == 1


def test_talib_history_that_is_not_finite_is_left_out_and_told(rng: np.random.Generator) -> None:
    _, record = begin(WINDOW, "1m")
    ((window, bars), *_) = past_sessions(rng, 500)
    broken = bars.copy()
    broken["close"][50], broken["volume"][52] = np.nan, np.inf
    indicator = make(record, "RSI", history=[(window, broken)])
    sound = np.delete(bars, [50, 52])
    assert same(indicator.value, batch(BY_NAME["RSI"], sound)[-1])
    (told,) = record.errors
    assert told.where == "indicator x"
    assert "2 bars that are not finite" in told.error


def test_talib_day_without_bars_has_no_value() -> None:
    root, record = begin(WINDOW, "1m")
    indicator = make(record, "RSI", history=[(SECOND, np.empty(0, dtype=BAR_DTYPE))])
    root.advance(WINDOW.close_ns)
    assert (indicator.value, indicator.ready, indicator.timestamp) == (None, False, None)
