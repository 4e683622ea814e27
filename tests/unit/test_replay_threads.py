"""Other threads that read while a day is replayed see whole bars, and disturb nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

import openbell as ob
from openbell.sources import synthetic_symbols, write_sample
from tests.lifecycle_days import HALF_DAY, session_over, tree

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
    assert len(latest) in (0, len(SYMBOLS))


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
