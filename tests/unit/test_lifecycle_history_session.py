"""Trailing days as a session's records have them."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.sources import dataset_path
from tests.lifecycle_days import (
    bars_at,
    config_of,
    damage_pages,
    session_over,
    warnings_of,
    window_of,
    write_days,
)

# Sessions before Monday, 7 July: a half day, the fourth closed, and a weekend.
PAST = [date(2025, 6, 30), date(2025, 7, 1), date(2025, 7, 2), date(2025, 7, 3)]
DAY = date(2025, 7, 7)
STREAMS = ["1m", "5m"]
SLOTS = {day: range(n, 200 + n, n + 1) for n, day in enumerate([*PAST, DAY])}


def minutes(day: date) -> np.ndarray:
    return bars_at(window_of(day), "1m", SLOTS[day], 30.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    days = {day: {"1m": dict.fromkeys(("AA", "BB"), minutes(day))} for day in SLOTS}
    return write_days(tmp_path, days)


def loaded(
    folder: Path, *historical: dict[str, Any], symbols: tuple[str, ...] = ("AA",)
) -> ob.SessionCoordinator:
    session = session_over(folder, [DAY], symbols, STREAMS, historical=list(historical))
    next(session.days())
    return session


def test_history_is_on_the_record(folder: Path) -> None:
    rec = loaded(folder, {"trailing_days": 2, "intervals": ["1m"]}).root["AA"]
    assert list(rec.historical_bars) == ["1m"]
    assert {d: b.tobytes() for d, b in rec.historical_bars["1m"].items()} == {
        day: minutes(day).tobytes() for day in PAST[2:]
    }
    n_held = len(SLOTS[PAST[2]]) + len(SLOTS[PAST[3]])
    assert rec.historical_quality == {"1m": pytest.approx(100 * n_held / 600)}
    assert sum(gap.bar_count for gap in rec.historical_gaps["1m"]) == 600 - n_held
    assert len(rec.bars["1m"]) == 0


def test_historical_indicators_are_on_the_record(folder: Path) -> None:
    most = {"type": "trailing_max", "field": "volume", "period": "1d", "granularity": "minute"}
    raw = config_of(folder, [DAY], ["AA"], STREAMS) | {"historical_indicators": {"most": most}}
    session = ob.open_session(raw)
    next(session.days())
    rec = session.root["AA"]
    expected = np.full(390, np.nan)
    expected[:210] = 0
    expected[list(SLOTS[PAST[3]])] = minutes(PAST[3])["volume"]
    np.testing.assert_array_equal(rec.historical_indicators["most"], expected)
    assert rec.historical_bars == {}


def test_history_is_not_part_of_the_session(folder: Path) -> None:
    session = loaded(folder, {"trailing_days": 2, "intervals": ["1m"]})
    plain = loaded(folder)
    for one in (session, plain):
        one.run()
    for name in STREAMS:
        with_history, without = (s.root["AA"].bars[name].data for s in (session, plain))
        assert with_history.tobytes() == without.tobytes()


def test_history_of_each_day_moves_on_with_it(folder: Path) -> None:
    history = [{"trailing_days": 1, "intervals": ["1m"]}]
    session = session_over(folder, [PAST[1], PAST[2]], ["AA"], STREAMS, historical=history)
    held = [list(session.root["AA"].historical_bars["1m"]) for _ in session.days()]
    assert held == [[PAST[0]], [PAST[1]]]


def test_history_none_of_which_can_be_read_leaves_the_symbol_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage_pages(dataset_path(folder, "bars", PAST[3], "1m"), "AA")
    session = loaded(folder, {"trailing_days": 1, "intervals": ["5m"]}, symbols=("AA", "BB"))
    assert session.root.get_active_symbols() == {"BB"}
    assert "no 5m history of AA: 2025-07-03: " in session.results["AA"].reason
    assert not session.results["AA"].can_proceed
    (message,) = warnings_of(caplog)
    assert "left out" in message


def test_history_that_is_asked_for_and_not_there_fails_validation(folder: Path) -> None:
    history = [{"trailing_days": 2, "intervals": ["1m"]}]
    session = session_over(folder, PAST[:1], ["AA"], STREAMS, historical=history)
    with pytest.raises(
        ob.SessionValidationError,
        match="no 1m bars of the 2 trading days before 2025-06-30, and the config asks for 1m",
    ):
        session.run()
    unasked = session_over(folder, PAST[:1], ["AA"], STREAMS)
    unasked.run()
    assert len(unasked.root["AA"].bars["1m"]) == len(SLOTS[PAST[0]])


def test_history_finer_than_the_source_fails_validation(folder: Path) -> None:
    with pytest.raises(ob.SessionValidationError, match=r"its history: interval '1s'.*holds 1m"):
        loaded(folder, {"trailing_days": 1, "intervals": ["1s"]})


def test_history_of_another_interval_than_the_streamed_one_is_enough(folder: Path) -> None:
    write_days(folder, {DAY: {"1s": {"AA": bars_at(window_of(DAY), "1s", range(90))}}})
    history = [{"trailing_days": 2, "intervals": ["1m"]}]
    session = session_over(folder, [DAY], ["AA"], ["1s"], historical=history)
    next(session.days())
    assert list(session.root["AA"].historical_bars["1m"]) == PAST[2:]
