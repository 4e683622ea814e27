"""``cimport openbell``: what a module compiled against the package can do at C speed."""

from __future__ import annotations

from typing import Any

import pytest

import openbell as ob
from openbell.schema import REFUSALS
from tests.facade_bars import OPEN, WINDOW
from tests.native_probe import load_probe
from tests.strategies import MINUTE


@pytest.fixture(scope="module")
def probe() -> Any:
    return load_probe()


@pytest.fixture
def record() -> ob.SymbolSessionData:
    root = ob.SessionData()
    root.begin(WINDOW)
    return root.register_symbol_data(
        ob.SymbolSessionData("AAA", base_interval="1m", derived_intervals=["5m", "15m"])
    )


def put(probe: Any, record: ob.SymbolSessionData, slot: int, price: float = 10.0) -> int:
    return probe.append(record, OPEN + slot * MINUTE, price, price + 1, price - 1, price, 5.0)


def test_cimport_append_stores_late_corrected_and_repeated_bars(
    probe: Any, record: ob.SymbolSessionData
) -> None:
    for slot, price in ((0, 10.0), (1, 11.0), (4, 12.0), (2, 13.0), (1, 14.0), (4, 12.0)):
        assert put(probe, record, slot, price) == 0
    assert record.bars["1m"].data["close"].tolist() == [10.0, 14.0, 13.0, 12.0]
    assert record.bars["5m"].data["close"].tolist() == [12.0]
    assert record.bars["5m"].data["high"].tolist() == [15.0]
    assert (record.n_late, record.n_corrected, record.n_duplicate) == (1, 1, 1)


def test_cimport_append_says_by_number_why_a_bar_is_refused(
    probe: Any, record: ob.SymbolSessionData
) -> None:
    code = probe.append(record, OPEN + 1, 10.0, 11.0, 9.0, 10.0, 1.0)
    assert REFUSALS[code - 1] == "off_grid"
    code = probe.append(record, OPEN, 10.0, 8.0, 9.0, 10.0, 1.0)
    assert REFUSALS[code - 1] == "high_below_low"
    assert record.rejected == {"off_grid": 1, "high_below_low": 1}


def test_cimport_append_to_a_removed_record_raises(
    probe: Any, record: ob.SymbolSessionData
) -> None:
    record.core.detach()
    with pytest.raises(ob.RecordDetached):
        put(probe, record, 0)


def test_cimport_views_hold_what_has_closed_by_data_or_clock(probe: Any) -> None:
    root = ob.SessionData()
    root.begin(WINDOW)
    record = root.register_symbol_data(
        ob.SymbolSessionData("AAA", base_interval="1m", derived_intervals=["5m"])
    )
    assert probe.closed(record, "5m", 3) == (0, [])
    for slot in range(7):
        put(probe, record, slot)
    assert probe.closed(record, "1m", 2) == (7, [OPEN + 5 * MINUTE, OPEN + 6 * MINUTE])
    assert probe.closed(record, "5m", 9) == (1, [OPEN])
    root.advance(OPEN + 10 * MINUTE)
    assert probe.closed(record, "5m", 9) == (2, [OPEN, OPEN + 5 * MINUTE])


def test_cimport_series_of_an_interval_that_is_not_there_raises(
    probe: Any, record: ob.SymbolSessionData
) -> None:
    with pytest.raises(KeyError, match="AAA has no 2m bars"):
        probe.closed(record, "2m", 1)


def test_cimport_open_bar_is_that_of_the_series(probe: Any, record: ob.SymbolSessionData) -> None:
    assert probe.open_bar(record, "15m") is None
    for slot in range(8):
        put(probe, record, slot, 20.0 - slot)
    for interval in ("5m", "15m"):
        bar = record.bars[interval].open_bar
        assert bar is not None
        assert probe.open_bar(record, interval) == (
            bar.ts_ns, bar.open, bar.high, bar.low, bar.close, bar.volume
        )  # fmt: skip
    assert probe.open_bar(record, "15m") == (OPEN, 20.0, 21.0, 12.0, 13.0, 40.0)
    assert probe.open_bar(record, "1m") is None
