"""Step 0 and Step 3: which symbols are loaded, and why the others are not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.clock.live import LiveClock
from openbell.errors import ArgumentError, CalendarError, ConfigError, DataSourceError
from openbell.sources import SyntheticSource, dataset_path
from tests.lifecycle_days import (
    HALF_DAY,
    WEDNESDAY,
    bars_at,
    config_of,
    damage_pages,
    session_over,
    tree,
    truncate,
    warnings_of,
    window_of,
    write_days,
)

SYMBOLS = ["AA", "BB", "CC"]
STREAMS = ["1s", "1m"]
DAYS = [WEDNESDAY, HALF_DAY]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_days(
        tmp_path,
        {
            day: {
                "1s": {
                    symbol: bars_at(window_of(day), "1s", range(n, 3000, n + 2), 20.0 * (n + 1))
                    for n, symbol in enumerate(SYMBOLS)
                }
            }
            for day in DAYS
        },
    )


def file_of(folder: Path, day: date, interval: str = "1s") -> Path:
    return dataset_path(folder, "bars", day, interval)


def test_validation_of_a_good_symbol_tells_what_was_found(folder: Path) -> None:
    session = session_over(folder, DAYS, SYMBOLS, STREAMS)
    for day in session.days():
        result = session.results["BB"]
        assert (result.symbol, result.can_proceed, result.reason) == ("BB", True, "")
        assert (result.data_source_available, result.data_source) == (True, "parquet")
        assert result.intervals_supported == ["1s"]
        assert (result.base_interval, result.derived_intervals) == ("1s", ["1m"])
        assert result.historical_date_range == (WEDNESDAY, HALF_DAY)
        assert result.has_historical_data is (day.date == HALF_DAY)
        assert result.meets_config_requirements


def test_unknown_symbol_is_left_out_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = session_over(folder, [WEDNESDAY], ["AA", "NONE", "CC"], STREAMS)
    session.run()
    assert [rec.symbol for rec in session.root] == ["AA", "CC"]
    assert warnings_of(caplog) == [
        "2025-07-02 NONE: left out: unknown symbol: no source has it (asked: parquet)"
    ]
    result = session.results["NONE"]
    assert not result.can_proceed
    assert not result.meets_config_requirements
    assert not result.data_source_available
    assert list(session.results) == ["AA", "NONE", "CC"]


def test_all_symbols_failing_raises_with_every_reason(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_days(folder, {HALF_DAY: {"1m": {"DD": bars_at(window_of(HALF_DAY), "1m", [0])}}})
    session = session_over(folder, [HALF_DAY], ["X1", "DD"], STREAMS)
    with pytest.raises(ob.SessionValidationError) as caught:
        session.run()
    assert list(caught.value.reasons) == ["X1", "DD"]
    assert "unknown symbol: no source has it" in caught.value.reasons["X1"]
    assert "the source holds 1m" in caught.value.reasons["DD"]
    assert {symbol: r.reason for symbol, r in session.results.items()} == caught.value.reasons
    assert len(session.root) == 0
    assert warnings_of(caplog) == []


def test_symbol_without_bars_of_the_day_fails_naming_what_there_is(tmp_path: Path) -> None:
    bars = {"1s": {"AA": bars_at(window_of(WEDNESDAY), "1s", [0])}}
    session = session_over(write_days(tmp_path, {WEDNESDAY: bars}), DAYS, ["AA"], STREAMS)
    days = session.days()
    next(days).run()
    with pytest.raises(ob.SessionValidationError, match="no 1s bars of 2025-07-03") as caught:
        next(days)
    assert "those it has end on 2025-07-02" in caught.value.reasons["AA"]


def test_truncated_file_fails_its_day_by_name(folder: Path) -> None:
    truncate(file_of(folder, WEDNESDAY))
    session = session_over(folder, [WEDNESDAY], SYMBOLS, STREAMS)
    with pytest.raises(ob.SessionValidationError) as caught:
        session.run()
    for symbol in SYMBOLS:
        assert "date=2025-07-02.parquet" in caught.value.reasons[symbol]
        assert "corrupt or truncated" in caught.value.reasons[symbol]


def test_smallest_interval_or_the_configured_base_is_streamed(tmp_path: Path) -> None:
    # The minutes say something else than the seconds, so that one can tell which came.
    window = window_of(WEDNESDAY)
    bars = {
        "1s": {"AA": bars_at(window, "1s", range(600), 20.0)},
        "1m": {"AA": bars_at(window, "1m", range(7), 90.0)},
    }
    folder = write_days(tmp_path, {WEDNESDAY: bars})
    for others, base, derived, n in (
        ({}, "1s", ["1m", "5m"], 10),
        ({"base": "1m"}, "1m", ["5m"], 7),
    ):
        session = session_over(folder, [WEDNESDAY], ["AA"], ["1m", "5m"], **others)
        session.run()
        rec, result = session.root["AA"], session.results["AA"]
        assert (result.base_interval, result.derived_intervals) == (base, derived)
        assert (rec.base_interval, rec.derived_intervals) == (base, derived)
        assert len(rec.bars["1m"]) == n


def alone(folder: Path, symbols: list[str]) -> dict[str, object]:
    session = session_over(folder, [WEDNESDAY], symbols, STREAMS)
    session.run()
    return tree(session.root)


@pytest.mark.parametrize("damaged", [["AA"], ["CC"], ["AA", "BB"]])
def test_damaged_block_leaves_out_its_symbols_and_loads_the_others(
    folder: Path, caplog: pytest.LogCaptureFixture, damaged: list[str]
) -> None:
    good = [symbol for symbol in SYMBOLS if symbol not in damaged]
    expected = alone(folder, good)
    for symbol in damaged:
        damage_pages(file_of(folder, WEDNESDAY), symbol)
    session = session_over(folder, [WEDNESDAY], SYMBOLS, STREAMS)
    loaded = []
    session.on_loaded(lambda rec: loaded.append(rec.symbol))
    session.run()
    assert sorted(loaded) == good
    assert session.root.get_active_symbols() == session.root.get_loaded_symbols() == set(good)
    assert tree(session.root) == expected
    messages = warnings_of(caplog)
    assert len(messages) == len(damaged)
    for symbol, message in zip(damaged, messages, strict=True):
        result = session.results[symbol]
        assert not result.can_proceed
        assert not result.meets_config_requirements
        assert "date=2025-07-02.parquet" in result.reason
        assert message == f"2025-07-02 {symbol}: left out: {result.reason}"


def test_damaged_blocks_of_all_symbols_raise_with_every_reason(folder: Path) -> None:
    for symbol in SYMBOLS:
        damage_pages(file_of(folder, WEDNESDAY), symbol)
    session = session_over(folder, [WEDNESDAY], SYMBOLS, STREAMS)
    with pytest.raises(ob.SessionValidationError) as caught:
        next(session.days())
    assert list(caught.value.reasons) == SYMBOLS
    assert len(session.root) == 0


def test_rows_that_cannot_be_taken_are_counted_on_their_record(tmp_path: Path) -> None:
    window = window_of(WEDNESDAY)
    bars = bars_at(window, "1s", range(10))
    bars["close"][3] = np.nan
    bars["high"][5] = bars["low"][5] - 1
    bars["timestamp"][7] += 1
    folder = write_days(tmp_path, {WEDNESDAY: {"1s": {"AA": bars}}})
    session = session_over(folder, [WEDNESDAY], ["AA"], STREAMS)
    for day in session.days():
        rec = session.root["AA"]
        assert rec.rejected == {"not_finite": 1, "high_below_low": 1, "off_grid": 1}
        day.run()
        assert len(rec.bars["1s"]) == 7
        assert day.n_bars == 7


def test_no_trading_day_between_the_dates_is_refused(folder: Path) -> None:
    session = session_over(folder, [date(2025, 7, 4), date(2025, 7, 6)], SYMBOLS, STREAMS)
    with pytest.raises(CalendarError, match="no trading day from 2025-07-04 to 2025-07-06"):
        session.run()


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"session": {"exchange": "NOWHERE"}}, ConfigError, "session.exchange.*NOWHERE"),
        ({"session": {"streams": ["1s", "7x"]}}, ConfigError, r"session\.streams\[1\]"),
        ({"session": {"base": "1m"}}, ConfigError, r"session\.base"),
        ({"session": {"symbols": []}}, ConfigError, r"session\.symbols"),
        ({"session": {"end_date": date(2025, 7, 1)}}, ConfigError, r"session\.end_date"),
        ({"session": {"speed": -1}}, ConfigError, r"session\.speed"),
        ({"session": {"sped": 1}}, ConfigError, r"session\.sped"),
        ({"data": {"sources": ["alpaca"]}}, DataSourceError, "alpaca"),
    ],
)
def test_open_session_refuses_a_configuration_by_its_key(
    folder: Path, change: dict[str, dict[str, object]], error: type[Exception], named: str
) -> None:
    config = config_of(folder, [WEDNESDAY], SYMBOLS, STREAMS)
    for table, keys in change.items():
        config[table] = {**config[table], **keys}
    with pytest.raises(error, match=named):
        ob.open_session(config)


def test_open_session_of_a_missing_dataset_says_so_of_every_symbol(tmp_path: Path) -> None:
    session = session_over(tmp_path / "nowhere", [WEDNESDAY], SYMBOLS, STREAMS)
    with pytest.raises(ob.SessionValidationError, match="no such file or folder"):
        session.run()


@pytest.mark.parametrize("given", [{"clock": LiveClock()}, {"record": "x"}, {"resume": True}])
def test_open_session_of_a_backtest_refuses_what_is_live_only(
    folder: Path, given: dict[str, Any]
) -> None:
    with pytest.raises(ArgumentError, match="none unless mode is 'live'"):
        ob.open_session(config_of(folder, DAYS, SYMBOLS, STREAMS), **given)


def test_open_session_live_refuses_what_cannot_stream() -> None:
    config = {
        "session": {"mode": "live", "symbols": ["AA"], "streams": STREAMS},
        "data": {"sources": ["synthetic"]},
    }
    plain = ob.DataManager([SyntheticSource()], ob.TimeManager("XNYS"))
    with pytest.raises(ArgumentError, match="a LiveDataManager"):
        ob.open_session(config, data=plain)
    with pytest.raises(ArgumentError, match="name its folder"):
        ob.open_session(config, resume=True)


def test_open_session_refuses_a_data_manager_of_another_calendar(folder: Path) -> None:
    data = ob.DataManager([SyntheticSource()], ob.TimeManager("24/7"))
    with pytest.raises(ConfigError, match=r"session\.exchange.*24/7"):
        ob.open_session(config_of(folder, DAYS, SYMBOLS, STREAMS), data=data)


def test_open_session_takes_a_file_a_mapping_or_a_config(folder: Path) -> None:
    file = folder / "session.toml"
    file.write_text(
        f"""
        [session]
        start_date = 2025-07-02
        symbols = {SYMBOLS}
        streams = {STREAMS}
        [data]
        parquet = "."
        """
    )
    mapping = config_of(folder, [WEDNESDAY], SYMBOLS, STREAMS)
    opened: list[Callable[[], ob.SessionCoordinator]] = [
        lambda: ob.open_session(file),
        lambda: ob.open_session(str(file)),
        lambda: ob.open_session(mapping),
        lambda: ob.open_session(ob.SessionConfig.from_dict(mapping)),
    ]
    trees = []
    for make in opened:
        session = make()
        session.run()
        trees.append(tree(session.root))
    assert all(one == trees[0] for one in trees)
