"""Where a live session's data comes from: the day from a stream's source, the past from any."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbell.clock import TimeManager
from openbell.clock.live import AcceleratedClock
from openbell.errors import DataSourceError, SourceUnavailableError
from openbell.sources import DatasetWriter, ParquetSource, SyntheticSource
from openbell.sources.live_manager import LiveDataManager

TODAY = date(2025, 7, 2)
MONDAY = date(2025, 6, 30)
TUESDAY = date(2025, 7, 1)


@pytest.fixture
def clock() -> TimeManager:
    return TimeManager("XNYS")


def dataset(folder: Path, clock: TimeManager, days: Sequence[date]) -> ParquetSource:
    writer = DatasetWriter(folder, calendar="XNYS")
    local = SyntheticSource(seed=9)
    for day in days:
        bars = local.load("A", "1m", clock.session_window(day))
        writer.write(day, {"A": bars}, interval="1m")
    return ParquetSource(folder)


def manager_at(clock: TimeManager, minute: int, *sources: Any) -> LiveDataManager:
    opened = clock.session_window(TODAY).open_ns
    data = LiveDataManager(sources, clock, AcceleratedClock(opened + minute * 60 * 10**9, 1e-6))
    data.day = TODAY
    return data


def test_manager_without_a_source_that_streams_is_refused(
    tmp_path: Path, clock: TimeManager
) -> None:
    with pytest.raises(DataSourceError, match="a source that does"):
        manager_at(clock, 0, ParquetSource(tmp_path))


def test_past_days_come_from_the_first_source_that_has_them(
    tmp_path: Path, clock: TimeManager
) -> None:
    broker = SyntheticSource(seed=2, time_manager=clock)
    data = manager_at(clock, 0, dataset(tmp_path, clock, [MONDAY]), broker)
    found = data.load_historical_bars("A", "1m", [MONDAY, TUESDAY])
    local = SyntheticSource(seed=9).load("A", "1m", clock.session_window(MONDAY))
    assert found[MONDAY].tobytes() == local.tobytes()
    remote = broker.load("A", "1m", clock.session_window(TUESDAY))
    assert found[TUESDAY].tobytes() == remote.tobytes()


def test_symbol_belongs_to_the_source_that_streams_it(tmp_path: Path, clock: TimeManager) -> None:
    broker = SyntheticSource(seed=2, symbols=["A", "B"], time_manager=clock)
    data = manager_at(clock, 0, dataset(tmp_path, clock, [MONDAY]), broker)
    assert data.source_of("A") is broker
    assert data.source_of("B") is broker
    assert data.source_of("C") is None
    assert data.stream_intervals("A") == ["1s", "1m"]
    assert data.stream_intervals("C") == []
    assert data.available_intervals("A") == ["1s", "1m", "1d"]
    assert data.has_data("A", "1m", TODAY)
    assert not data.has_data("A", "5m", TODAY)
    assert not data.has_data("C", "1m", TODAY)
    assert data.has_data("A", "1m", MONDAY)


def test_day_so_far_holds_what_is_over(clock: TimeManager) -> None:
    broker = SyntheticSource(seed=2, fill_rate=1.0, symbols=["A"], time_manager=clock)
    data = manager_at(clock, 10, broker)
    broker.stream("1m", data.clock)
    window = clock.session_window(TODAY)
    found = {
        s: bars for s, bars, _ in data.load_since(["A", "C"], "1m", window.open_ns, window.close_ns)
    }
    assert found["A"]["timestamp"].tolist() == [window.open_ns + n * 60 * 10**9 for n in range(10)]
    assert isinstance(found["C"], DataSourceError)


class Breaking(SyntheticSource):
    """Answers for one symbol, then breaks."""

    name = "breaking"

    def load_between(
        self, symbols: Sequence[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[Any]:
        for n, symbol in enumerate(symbols):
            if n:
                raise SourceUnavailableError(self.name, "is out of order")
            yield symbol, np.zeros(0, "i8"), {}


def test_source_that_breaks_fails_those_it_did_not_answer_for(clock: TimeManager) -> None:
    broken = Breaking(seed=1, symbols=["A", "B", "C"], time_manager=clock)
    whole = SyntheticSource(seed=1, symbols=["D"], time_manager=clock)
    data = manager_at(clock, 1, broken, whole)
    found = {s: bars for s, bars, _ in data.load_since("ABCD", "1m", 0, 1)}
    assert set(found) == set("ABCD")
    assert len(found["A"]) == 0
    assert isinstance(found["B"], SourceUnavailableError)
    assert isinstance(found["C"], SourceUnavailableError)
    assert not isinstance(found["D"], Exception)
