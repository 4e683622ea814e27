"""The data manager: who is asked, in which order, and for what."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from openbell.clock import TimeManager
from openbell.config import SessionConfig
from openbell.errors import CalendarError, DataSourceError, IntervalError
from openbell.sources import DataManager, ParquetSource, SyntheticSource, write_sample

DAYS = [date(2025, 7, 1), date(2025, 7, 2)]


@pytest.fixture
def clock() -> TimeManager:
    return TimeManager("XNYS")


@pytest.fixture
def files(tmp_path: Path) -> ParquetSource:
    write_sample(tmp_path, ["A", "B"], DAYS, seed=1, fill_rate=0.05)
    return ParquetSource(tmp_path)


def test_source_of_is_the_first_that_has_the_symbol(
    files: ParquetSource, clock: TimeManager
) -> None:
    made = SyntheticSource(symbols=["B", "C"])
    manager = DataManager([files, made], clock)
    assert [manager.source_of(s) for s in "ABC"] == [files, files, made]
    assert manager.source_of("D") is None
    assert manager.available_intervals("A") == ["1s"]
    assert manager.available_intervals("C") == ["1s", "1m", "1d"]
    assert manager.available_intervals("D") == []
    assert DataManager([made, files], clock).source_of("B") is made


def test_has_data_and_dates_ask_that_source(files: ParquetSource, clock: TimeManager) -> None:
    manager = DataManager([files], clock)
    assert manager.has_data("A", "1s", DAYS[0])
    assert not manager.has_data("A", "1s", date(2025, 7, 3))
    assert not manager.has_data("A", "1m", DAYS[0])
    assert not manager.has_data("Z", "1s", DAYS[0])
    assert manager.available_dates("A", "1s") == (DAYS[0], DAYS[1])
    assert manager.available_dates("Z", "1s") is None
    with pytest.raises(IntervalError):
        manager.has_data("A", "7x", DAYS[0])


def test_load_historical_bars_gives_days_that_are_there(
    files: ParquetSource, clock: TimeManager
) -> None:
    manager = DataManager([files], clock)
    found = manager.load_historical_bars("A", "1s", [*DAYS, date(2025, 7, 3)])
    assert list(found) == DAYS
    for day, bars in found.items():
        expected = SyntheticSource(seed=1, fill_rate=0.05).load(
            "A", "1s", clock.session_window(day)
        )
        assert bars.tobytes() == expected.tobytes()
    assert manager.load_historical_bars("Z", "1s", DAYS) == {}
    with pytest.raises(CalendarError):
        manager.load_historical_bars("A", "1s", [date(2025, 7, 4)])


def test_load_session_bars_gives_every_symbol_once(
    files: ParquetSource, clock: TimeManager
) -> None:
    manager = DataManager([files, SyntheticSource(symbols=["C"], fill_rate=0.1)], clock)
    window = clock.session_window(DAYS[1])
    found = list(manager.load_session_bars(["Z", "C", "B", "A", "B"], "1s", window))
    assert [symbol for symbol, _ in found] == ["B", "A", "C", "Z"]
    assert [len(bars) > 0 for _, bars in found] == [True, True, True, False]
    assert manager.count("B", "1s", window) == len(found[0][1])
    assert manager.count("Z", "1s", window) == 0
    assert (np.diff(found[0][1]["timestamp"]) > 0).all()


def config(data: str) -> SessionConfig:
    return SessionConfig.from_toml(
        f"""
        [session]
        start_date = 2025-07-02
        symbols = ["A"]
        streams = ["1s", "1m"]
        {data}
        """
    )


def test_from_config_builds_the_named_sources(files: ParquetSource) -> None:
    manager = DataManager.from_config(
        config(f'[data]\nsources = ["parquet", "synthetic"]\nparquet = {files.root!r}\n'
               "[data.synthetic]\nseed = 4\nfill_rate = 0.5")
    )  # fmt: skip
    assert [source.name for source in manager.sources] == ["parquet", "synthetic"]
    assert manager.time_manager.calendar == "XNYS"
    assert manager.source_of("A") is manager.sources[0]
    window = manager.time_manager.session_window(DAYS[1])
    expected = SyntheticSource(seed=4, fill_rate=0.5).load("N", "1s", window)
    [(_, bars)] = manager.load_session_bars(["N"], "1s", window)
    assert bars.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("name", "variable"), [("alpaca", "APCA_API_KEY_ID"), ("schwab", "SCHWAB_API_KEY")]
)
def test_from_config_names_the_variables_that_a_broker_needs(
    name: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(DataSourceError, match=variable) as caught:
        DataManager.from_config(config(f'[data]\nsources = ["{name}"]'))
    assert caught.value.source == name


def test_manager_without_sources_is_refused(clock: TimeManager) -> None:
    with pytest.raises(DataSourceError, match="no data source"):
        DataManager([], clock)
