"""Other threads that read while a day is replayed see whole bars, and disturb nothing."""

from __future__ import annotations

import logging
import operator
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.errors import SessionStateError
from openbell.export import validate_session_dump
from openbell.lifecycle.day import Records
from openbell.sources import SyntheticSource, synthetic_symbols, write_sample
from tests.lifecycle_days import HALF_DAY, SECOND, config_of, session_over, tree, write_days

SYMBOLS = synthetic_symbols(20)
STREAMS = ["1s", "5s", "1m", "5m", "1h"]


def assert_whole(bars: np.ndarray) -> None:
    assert (np.diff(bars["timestamp"]) > 0).all()
    assert (bars["high"] >= bars["low"]).all()
    assert (bars["high"] >= np.maximum(bars["open"], bars["close"])).all()
    assert (bars["low"] <= np.minimum(bars["open"], bars["close"])).all()
    assert (bars["low"] > 0).all()


def read_windows(root: ob.SessionData) -> None:
    for rec in root:
        for series in rec.bars.values():
            assert_whole(series.window(50))
            assert_whole(series.copy())
            bar, last = series.open_bar, series.last
            assert bar is None or bar.high >= max(bar.open, bar.close) >= bar.low > 0
            assert last is None or last.high >= last.low > 0
            assert series.n_missing >= 0
            assert 0 <= (series.quality or 0.0) <= 100
            assert series.gap_runs().ndim == 2
        assert rec.session_high is None or rec.session_high >= (rec.session_low or 0.0)
    latest = root.latest("close", "1m")
    # Records come one after the other while the day is loaded.
    assert len(latest) <= len(SYMBOLS)


def read_dump(root: ob.SessionData) -> None:
    dump = root.to_json()
    for symbol in dump["symbols"].values():
        for series in symbol["session"]["data"].values():
            rows = series["data"]
            labels = [row[0] for row in rows]
            assert labels == sorted(set(labels))
            assert series["count"] == len(rows)


def test_readers_see_whole_bars_and_change_nothing(tmp_path: Path) -> None:
    write_sample(tmp_path, SYMBOLS, [HALF_DAY], seed=3, fill_rate=0.15)
    quiet = session_over(tmp_path, [HALF_DAY], SYMBOLS, STREAMS)
    quiet.run()
    session = session_over(tmp_path, [HALF_DAY], SYMBOLS, STREAMS)
    session.on_close("1m", lambda rec, bar: None)
    done = threading.Event()
    failures: list[BaseException] = []
    n_reads = {"windows": 0, "dumps": 0}

    def reader(name: str, read: Callable[[ob.SessionData], None]) -> None:
        try:
            while not done.is_set():
                if session.root.session_active:
                    read(session.root)
                    n_reads[name] += 1
        except BaseException as error:
            failures.append(error)

    threads = [
        threading.Thread(target=reader, args=("windows", read_windows)),
        threading.Thread(target=reader, args=("dumps", read_dump)),
    ]
    for thread in threads:
        thread.start()
    try:
        session.run(lambda ts_ns, records: [rec.session_volume for rec in records])
        # A replay may be over before a slow reader got a turn.
        while min(n_reads.values()) == 0 and not failures:
            session.run(lambda ts_ns, records: None)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    assert n_reads["windows"] > 0
    assert tree(session.root) == tree(quiet.root)


def test_symbols_removed_and_added_by_a_thread_leave_the_others_alone(tmp_path: Path) -> None:
    write_sample(tmp_path, SYMBOLS, [HALF_DAY], seed=4, fill_rate=0.1)
    kept = SYMBOLS[::2]
    quiet = session_over(tmp_path, [HALF_DAY], kept, STREAMS)
    quiet.run()
    session = session_over(tmp_path, [HALF_DAY], SYMBOLS, STREAMS)
    begun = threading.Event()
    failures: list[BaseException] = []

    def meddle() -> None:
        try:
            begun.wait()
            root = session.root
            for n, symbol in enumerate(SYMBOLS[1::2]):
                assert root.remove_symbol(symbol)
                root.add_bar(f"NEW{n}", "1m", ob.BarData(root.window.open_ns, 1, 2, 1, 2, 3))
                assert symbol not in root
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=meddle)
    thread.start()
    session.run(lambda ts_ns, records: begun.set())
    thread.join()
    if failures:
        raise failures[0]
    held = tree(session.root)
    assert {symbol: held[symbol] for symbol in kept} == tree(quiet.root)
    assert set(held) == {*kept, *(f"NEW{n}" for n in range(10))}


# Four threads at once

MANY = synthetic_symbols(108)
CONFIGURED, JOINING, CHURNED = MANY[:100], MANY[100:103], MANY[103:]
DAYS = [date(2025, 7, 2), HALF_DAY]
INDICATORS = [
    {"name": "rsi", "type": "RSI", "interval": "1m", "parameters": {"timeperiod": 3}},
    {"name": "sma", "type": "SMA", "interval": "5s", "parameters": {"timeperiod": 5}},
    {"name": "vwap", "type": "VWAP", "interval": "1s"},
]
COMPARED = {*CONFIGURED, *JOINING}


def session_of_many(folder: Path, symbols: list[str]) -> ob.SessionCoordinator:
    config = config_of(folder, DAYS, symbols, ["1s", "5s", "1m", "5m"], hours=[["09:30", "10:10"]])
    return ob.open_session({**config, "indicators": INDICATORS})


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 108 symbols; each has some 60 bars in the minutes replayed."""
    folder = tmp_path_factory.mktemp("many")
    windows = [ob.TimeManager("XNYS").session_window(day) for day in DAYS]
    source = SyntheticSource(seed=5, fill_rate=0.025)
    days = {}
    for window in windows:
        until = window.open_ns + 40 * 60 * SECOND
        loaded = dict(source.load_many(MANY, "1s", window))
        days[window.date] = {
            "1s": {symbol: bars[bars["timestamp"] < until] for symbol, bars in loaded.items()}
        }
    return write_days(folder, days)


@pytest.fixture(scope="module")
def quiet_root(many: Path) -> ob.SessionData:
    """What nobody disturbed: the last day of a session of all that are compared."""
    session = session_of_many(many, [*CONFIGURED, *JOINING])
    session.run()
    return session.root


@pytest.fixture
def _switching_often() -> Iterator[None]:
    held = sys.getswitchinterval()
    sys.setswitchinterval(2e-4)
    yield
    sys.setswitchinterval(held)


class Crowd:
    """Threads that do something to a session over and over, until they are sent home."""

    def __init__(self, *works: Callable[[random.Random], object]) -> None:
        self.failures: list[BaseException] = []
        self.n_rounds = [0] * len(works)
        self._done = threading.Event()
        self._start = threading.Barrier(len(works) + 1)
        self._threads = [
            threading.Thread(target=self._work, args=(n, work)) for n, work in enumerate(works)
        ]

    def _work(self, n: int, work: Callable[[random.Random], object]) -> None:
        rng = random.Random(n)
        try:
            self._start.wait()
            while not self._done.is_set():
                work(rng)
                self.n_rounds[n] += 1
                # The others get their turns, at no instant that could be foreseen.
                time.sleep(rng.random() / 50)
        except BaseException as error:
            self.failures.append(error)

    def wait_for_all(self) -> None:
        """Until each of them has done what it does once more."""
        before = list(self.n_rounds)
        while not self.failures and any(map(operator.le, self.n_rounds, before)):
            time.sleep(0.001)

    def __enter__(self) -> Crowd:
        for thread in self._threads:
            thread.start()
        self._start.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()
        if self.failures:
            raise self.failures[0]


def add_and_remove(session: ob.SessionCoordinator) -> Callable[[random.Random], object]:
    def work(rng: random.Random) -> None:
        symbol = rng.choice(CHURNED)
        for call in rng.sample((session.add_symbol, session.remove_symbol), 2):
            assert call(symbol) in (True, False)
        assert set(session.pending) <= {*CHURNED, *JOINING}

    return work


def add_adhoc(session: ob.SessionCoordinator) -> Callable[[random.Random], object]:
    def work(rng: random.Random) -> None:
        symbol = rng.choice(CHURNED)
        window = session.root.window
        if window is None:
            return
        name, step = rng.choice([("1s", SECOND), ("1m", 60 * SECOND), ("5m", 300 * SECOND)])
        n_ended = (session.root.now_ns - window.open_ns) // step
        if n_ended <= 0:
            return
        start = window.open_ns + rng.randrange(n_ended) * step
        close = rng.uniform(10.0, 12.0)
        bar = ob.BarData(start, close, close + 1, close - 1, close, 3.0)
        assert session.add_adhoc_bar(symbol, name, bar) in (True, False)
        config = rng.choice(INDICATORS)
        assert session.add_adhoc_indicator(symbol, config) in (True, False)
        if rng.random() < 0.3:
            session.remove_symbol(symbol)

    return work


def read_all(session: ob.SessionCoordinator) -> Callable[[random.Random], object]:
    def read_values(rec: ob.SymbolSessionData) -> None:
        values = {name: item.value for name, item in list(rec.indicators.items())}
        assert all(value is None or value >= 0 for value in values.values())
        assert (values.get("rsi") or 0.0) <= 100.0
        for item in list(rec.indicators.values()):
            tree = item.to_json()
            assert tree["ready"] == (tree["value"] is not None)
        if rec.symbol in COMPARED and values.get("vwap") is not None:
            # What was traded since can only have widened the range.
            assert rec.session_low - 1e-9 <= values["vwap"] <= rec.session_high + 1e-9

    def work(rng: random.Random) -> None:
        for rec in rng.sample(records := list(session.root), min(len(records), 40)):
            for series in list(rec.bars.values()):
                assert_whole(series.copy())
                assert_whole(series.copy(20))
                last = series.last
                assert last is None or last.high >= max(last.open, last.close) >= last.low > 0
            read_values(rec)
            quote = rec.get_latest_quote()
            assert quote is None or quote.bid == quote.ask > 0
        assert len(session.root.latest("close", "1m")) <= len(MANY)

    return work


def export_all(session: ob.SessionCoordinator, folder: Path) -> Callable[[random.Random], object]:
    def work(rng: random.Random) -> None:
        root = session.root
        kind = rng.choice(["tree", "json", "csv"])
        if kind == "tree":
            assert validate_session_dump(root.to_json()) == []
        elif kind == "json":
            names = rng.choice([None, ["1m"], ["5s", "5m"]])
            root.write_json(folder / "dump.json", intervals=names)
            assert validate_session_dump(folder / "dump.json") == []
        elif (window := root.window) is not None:
            try:
                root.to_csv(folder / "log.csv", interval=rng.choice(["1m", "5m"]))
            except SessionStateError:
                # The day was cleared meanwhile.
                assert root.window is not window
                return
            assert validate_session_dump(folder / "log.csv") == []

    return work


def values_of(root: ob.SessionData) -> dict[str, dict[str, dict[str, object]]]:
    return {
        rec.symbol: {name: item.to_json() for name, item in rec.indicators.items()} for rec in root
    }


class Leader(threading.Thread):
    """Holds a day up at its open and half way, so that each of a crowd meets it, and adds symbols.

    A replay that tells is paused half way by whom it tells; one that does not goes 1024 seconds
    at a time, and is paused after the first of them.
    """

    def __init__(self, session: ob.SessionCoordinator, crowd: Crowd, told: str) -> None:
        super().__init__()
        self.is_over = False
        self.failures: list[BaseException] = []
        self._session = session
        self._crowd = crowd
        self._told = told
        assert session.root.window is not None
        self._open_ns = session.root.window.open_ns
        self.half_ns = self._open_ns + 1000 * SECOND
        session.pause()

    def pause_half_way(self, ts_ns: int) -> None:
        if self.half_ns and ts_ns >= self.half_ns:
            self.half_ns = 0
            self._session.pause()

    def run(self) -> None:
        half_ns = self.half_ns
        try:
            self._wait_paused(self._open_ns)
            if self._told == "untold":
                held = sys.getswitchinterval()
                # Who waits looks up now and then, and misses what happens at that moment.
                while self._session.root.now_ns < half_ns and not self.is_over:
                    # No other thread runs between the two.
                    sys.setswitchinterval(60.0)
                    self._session.resume()
                    self._session.pause()
                    sys.setswitchinterval(held)
                    time.sleep(0.05)
            else:
                self._session.resume()
            self._wait_paused(half_ns)
            for symbol in JOINING:
                assert self._session.add_symbol(symbol)
        except BaseException as error:
            self.failures.append(error)
        finally:
            self._session.resume()

    def _wait_paused(self, since_ns: int) -> None:
        while self._session.phase != "paused" or self._session.root.now_ns < since_ns:
            assert not self.is_over, "the day went by"
            assert not self._crowd.failures
            time.sleep(0.001)
        self._crowd.wait_for_all()


@pytest.mark.usefixtures("_switching_often")
@pytest.mark.parametrize("told", ["untold", "on_slice", "on_close"])
@pytest.mark.parametrize("time_no", range(2))
def test_threads_that_add_remove_read_and_export_leave_the_rest_as_it_is(
    tmp_path: Path,
    many: Path,
    quiet_root: ob.SessionData,
    told: str,
    time_no: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, logger="openbell")
    session = session_of_many(many, CONFIGURED)
    leaders: list[Leader] = []
    bars: list[tuple[str, str, int]] = []

    def on_close(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        bars.append((bar.interval, rec.symbol, bar.ts_ns))
        for leader in leaders:
            leader.pause_half_way(session.root.now_ns)

    def on_slice(ts_ns: int, records: Records) -> None:
        for rec in list(records):
            assert len(rec.bars["1s"].window(5))
        for leader in leaders:
            leader.pause_half_way(ts_ns)

    if told == "on_close":
        for name in ("1s", "1m"):
            session.on_close(name, on_close)

    crowd = Crowd(
        add_and_remove(session),
        add_adhoc(session),
        read_all(session),
        export_all(session, tmp_path),
    )
    with crowd:
        for day in session.days():
            if day.date == DAYS[-1]:
                bars.clear()
                leader = Leader(session, crowd, told)
                leaders.append(leader)
                leader.start()
            try:
                day.run(on_slice if told == "on_slice" else None)
            finally:
                for leader in leaders:
                    leader.is_over = True
                    leader.join()
                    crowd.failures += leader.failures
    assert len(leaders) == 1
    for symbol in CHURNED:
        session.remove_symbol(symbol)
    assert session.pending == {}
    assert session.root.get_loaded_symbols() == COMPARED
    assert tree(session.root) == tree(quiet_root)
    assert values_of(session.root) == values_of(quiet_root)
    assert all(rec.errors == [] for rec in session.root)
    assert validate_session_dump(session.root.to_json()) == []
    if told == "on_close":
        for symbol in CONFIGURED:
            for name in ("1s", "1m"):
                held = session.root[symbol].bars[name].data["timestamp"].tolist()
                assert [ts for *key, ts in bars if key == [name, symbol]] == held
