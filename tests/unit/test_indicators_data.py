"""What an indicator is to those who read it: plain values, threads, records that are gone."""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

from openbell.processing import IndicatorData
from tests.engine import begin
from tests.facade_bars import WINDOW, at, bar, minutes, moment
from tests.indicator_bars import CASES, batch, joined, make, past_sessions, same, vwaps
from tests.strategies import make_bars

BY_NAME = {case[0]: case for case in CASES}


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_data_is_called_as_configured() -> None:
    _, record = begin(WINDOW, "1m", ["5m"])
    indicator = make(record, "SMA", "5m", timeperiod=4, price="high")
    assert (indicator.name, indicator.type, indicator.interval) == ("x", "SMA", "5m")
    assert indicator.parameters == {"timeperiod": 4, "price": "high"}
    own = make(record, "tests.indicator_bars:Streak")
    assert own.type == "tests.indicator_bars:Streak"


def test_data_as_json_is_plain() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "BBANDS", timeperiod=2)
    before = indicator.to_json()
    record.append_block(minutes(0, 1))
    tree = indicator.to_json()
    assert before == {
        "name": "x", "type": "BBANDS", "interval": "1m", "parameters": {"timeperiod": 2},
        "value": None, "timestamp": None, "ready": False, "revision": 0,
    }  # fmt: skip
    # 10 and 11: mean 10.5, deviation 0.5, two of them up and down.
    assert tree | {"value": [11.5, 10.5, 9.5], "ready": True} == tree
    assert tree["timestamp"] == "2025-07-02T13:32:00+00:00"
    assert json.loads(json.dumps(tree, allow_nan=False)) == tree


def test_data_of_a_record_is_in_its_dump() -> None:
    root, record = begin(WINDOW, "1m")
    make(record, "SMA", timeperiod=2)
    record.append_block(minutes(0, 1))
    tree = root.to_json()["symbols"]["AAPL"]["indicators"]
    assert tree["x"]["value"] == 10.5


def test_data_revised_before_it_was_read_counts_no_revision() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "VWAP")
    assert indicator.value is None
    record.append_block(minutes(1, 0))
    record.append(at(1), 20.0, 21.0, 19.0, 20.0, 100.0)
    assert record.bars["1m"].revision > 0
    assert (indicator.value, indicator.revision) == (15.0, 0)


def test_data_revised_many_times_since_the_last_look_counts_one_revision() -> None:
    _, record = begin(WINDOW, "1m")
    indicator = make(record, "VWAP")
    record.append_block(minutes(1, 2, 3))
    indicator.settle()
    for price in (30.0, 40.0, 50.0):
        record.append(at(1), price, price, price, price, 100.0)
    assert (indicator.revision, indicator.value) == (1, (50.0 + 12.0 + 13.0) / 3)
    assert indicator.revision == 1


def test_data_of_a_derived_bar_that_the_clock_closes_is_there_at_its_end() -> None:
    root, record = begin(WINDOW, "1m", ["5m"])
    indicator = make(record, "SMA", "5m", timeperiod=2)
    record.append_block(minutes(0, 7))
    assert indicator.timestamp == moment(5)
    root.advance(at(10))
    assert (indicator.value, indicator.timestamp) == ((10.0 + 17.0) / 2, moment(10))
    record.append_block(minutes(8))
    assert (indicator.value, indicator.revision) == ((10.0 + 18.0) / 2, 1)


def test_data_of_a_series_written_directly_follows_it_into_being_derived() -> None:
    root, _ = begin(WINDOW, "1m")
    root.add_bar("TSLA", "5m", bar(at(0), 20.0))
    other = root["TSLA"]
    indicator = make(other, "SMA", "5m", timeperiod=2)
    other.add_bar("5m", bar(at(5), 30.0))
    assert (indicator.value, indicator.revision) == (25.0, 0)
    other.set_intervals("1m", ["5m"])
    other.append_block(minutes(*range(5, 10)))
    assert indicator.value == (20.0 + 19.0) / 2
    assert indicator.revision >= 1


def test_data_of_a_removed_record_stays_readable(rng: np.random.Generator) -> None:
    root, record = begin(WINDOW, "1m", ["5m"])
    history = past_sessions(rng)
    bars = make_bars(WINDOW, "1m", 1.0, rng)
    read, unread = make(record, "RSI", history=history), make(record, "RSI", history=history)
    range_ = make(record, "OPENING_RANGE")
    record.append_block(bars[:100])
    read.settle()
    record.append_block(bars[100:103])
    root.remove_symbol("AAPL")
    root.advance(WINDOW.close_ns)
    expected = batch(BY_NAME["RSI"], joined(history, bars[:103]))[-1]
    assert same(read.value, expected)
    assert same(unread.value, expected)
    assert read.timestamp == moment(103)
    assert range_.value == (bars["high"][:30].max(), bars["low"][:30].min())
    assert read.to_json()["ready"]


def test_data_outlives_its_record_and_does_not_keep_it() -> None:
    root, record = begin(WINDOW, "1m")
    gc.disable()
    try:
        indicator = make(record, "SMA", timeperiod=2)
        fussy = make(record, "tests.indicator_bars:Fussy")
        fussy.settle()
        record.append_block(minutes(2, 3))
        gone = weakref.ref(record)
        root.remove_symbol("AAPL")
        del record
        assert gone() is None
    finally:
        gc.enable()
    assert indicator.value == 12.5
    assert fussy.value is None


class Race:
    """One that writes and two that read, each in a thread; what one raises is raised at the end."""

    def __init__(self, write: Callable[[Race], None], read: Callable[[], None]) -> None:
        self.n_read = [0, 0]
        self.over = threading.Event()
        self.raised: list[BaseException] = []
        self._write, self._read = write, read

    def run(self) -> None:
        works = [self._run_writer, lambda: self._run_reader(0), lambda: self._run_reader(1)]
        threads = [threading.Thread(target=self._guard, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.raised:
            raise self.raised[0]

    def wait_for_readers(self) -> None:
        """Until both have read once more."""
        # Those under way may have begun before: two more have seen what is there now.
        wanted = [n + 2 for n in self.n_read]
        while any(map(int.__lt__, self.n_read, wanted)) and not self.over.is_set():
            time.sleep(0)

    def _run_writer(self) -> None:
        self._write(self)

    def _run_reader(self, who: int) -> None:
        while not self.over.is_set():
            self._read()
            self.n_read[who] += 1

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self.raised.append(error)
        finally:
            self.over.set()


@pytest.mark.usefixtures("switching")
@pytest.mark.parametrize("name", ["RSI", "MFI", "VWAP"])
def test_data_read_by_threads_while_one_appends_ends_right(
    name: str, rng: np.random.Generator
) -> None:
    _, record = begin(WINDOW, "1s")
    bars = make_bars(WINDOW, "1s", 0.2, rng)[:1500]
    parameters = BY_NAME[name][2] if name in BY_NAME else {}

    def values_of(some: np.ndarray) -> list[object]:
        return list(vwaps(some)) if name == "VWAP" else batch(BY_NAME[name], some)

    indicator = make(record, name, "1s", **parameters)
    valid = {None, *values_of(bars)}

    def write(race: Race) -> None:
        for k, row in enumerate(bars[:1490].tolist()):
            record.append(*row)
            if k % 20 == 0:
                race.wait_for_readers()
        bars["close"][700] = bars["low"][700]
        record.append(*bars[700].item())
        record.append_block(bars[1490:])

    def read() -> None:
        value, tree = indicator.value, indicator.to_json()
        assert tree["ready"] == (tree["value"] is not None)
        if not indicator.revision:
            assert {value, tree["value"]} <= valid

    Race(write, read).run()
    assert same(indicator.value, values_of(bars)[-1])
    assert indicator.revision == 1


class Busy:
    """A series that another thread writes to while it is being read: before, or after."""

    def __init__(self, series: Any, writes: list[Callable[[], object]], after: bool) -> None:
        self._series, self._writes, self._after = series, writes, after

    def __getattr__(self, name: str) -> Any:
        if name != "news":
            return getattr(self._series, name)
        return lambda *seen: self._interrupted(lambda: self._series.news(*seen))

    def copy(self, n: int) -> Any:
        return self._interrupted(lambda: self._series.copy(n))

    def _interrupted(self, read: Callable[[], object]) -> object:
        found = read()
        if self._writes:
            self._writes.pop(0)()
        return found if self._after else read()

    def __len__(self) -> int:
        return len(self._series)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("n_unseen", [1, 2, 40])
def test_data_written_to_while_it_settles_is_read_again(n_unseen: int, after: bool) -> None:
    _, record = begin(WINDOW, "1m", ["5m"])
    record.append_block(minutes(*range(0, 10)))
    for name in ("VWAP", "OBV", "tests.indicator_bars:Streak"):
        indicator, fresh = make(record, name), make(record, name)
        indicator.settle()
        n = len(record.bars["1m"])
        record.append_block(minutes(*range(n, n + n_unseen)))
        first = record.bars["1m"].data[0].item()
        writes = [
            partial(record.append_block, minutes(n + n_unseen)),
            partial(record.append, *first[:5], first[5] + 1),
            partial(record.append_block, minutes(n + n_unseen + 1)),
        ]
        indicator._series = Busy(record.bars["1m"], writes, after)
        while writes:
            indicator.settle()
        assert indicator.timestamp == moment(n + n_unseen + 2)
        assert same(indicator.value, fresh.value)
        assert indicator.revision == 1


@pytest.mark.usefixtures("switching")
def test_data_corrected_while_threads_read_is_never_half_of_each() -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(*range(100)))
    indicator: IndicatorData = make(record, "SUM", timeperiod=100, price="volume")
    seen: set[float] = set()

    def write(race: Race) -> None:
        for k in range(2000):
            # The first and the last bar share their volume anew, in one call.
            swapped = minutes(0, 99)
            swapped["volume"] = [k % 7, 7 - k % 7]
            record.append_block(swapped)
            if k % 20 == 0:
                race.wait_for_readers()

    def read() -> None:
        seen.add(indicator.value)

    Race(write, read).run()
    assert seen <= {98 * 100.0 + 7, 100 * 100.0}
    assert indicator.value == 98 * 100.0 + 7
