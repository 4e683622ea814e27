"""The newest value over all records, as records, their series and the clock change."""

from __future__ import annotations

import numpy as np

import openbell as ob
from tests.facade_bars import WINDOW, at, bar, minutes
from tests.strategies import window_of


def test_latest_just_after_a_step_of_the_clock_has_the_bars_it_closed() -> None:
    root = ob.SessionData()
    root.begin(WINDOW)
    record = root.register_symbol_data(ob.SymbolSessionData("AAPL", derived_intervals=["5m"]))
    other = root.register_symbol_data(ob.SymbolSessionData("MSFT", derived_intervals=["5m"]))
    record.append_block(minutes(0, 1, 2))
    np.testing.assert_array_equal(root.latest("close", "5m"), [np.nan, np.nan])
    root.advance(at(5))
    np.testing.assert_array_equal(root.latest("close", "5m"), [12.0, np.nan])
    other.append_block(minutes(0, 1, 2, 3, 4))
    np.testing.assert_array_equal(root.latest("close", "5m"), [12.0, 14.0])
    record.append_block(minutes(3))
    np.testing.assert_array_equal(root.latest("close", "5m"), [13.0, 14.0])


def test_latest_asked_before_the_day_sees_what_records_get_later() -> None:
    root = ob.SessionData()
    record = root.register_symbol_data(ob.SymbolSessionData("AAPL"))
    np.testing.assert_array_equal(root.latest("low", "5m"), [np.nan])
    record.set_intervals("1m", ["5m"])
    root.begin(WINDOW)
    record.append_block(minutes(0, 1, 2, 3, 4))
    np.testing.assert_array_equal(root.latest("low", "5m"), [9.0])
    root.add_bar("MSFT", "5m", bar(at(0), 3.0))
    found = root.latest("low", "5m")
    found[:] = 0.0
    np.testing.assert_array_equal(root.latest("low", "5m"), [9.0, 2.0])


def test_latest_of_the_next_day_begins_anew() -> None:
    root = ob.SessionData()
    root.begin(WINDOW)
    root.register_symbol("AAPL").append_block(minutes(0))
    np.testing.assert_array_equal(root.latest("volume", "1m"), [100.0])
    root.end()
    root.clear()
    assert root.latest("volume", "1m").shape == (0,)
    root.begin(window_of(("2025-07-03T13:30", "2025-07-03T17:00")))
    root.register_symbol("MSFT")
    np.testing.assert_array_equal(root.latest("volume", "1m"), [np.nan])
