"""Threads that race over one root, and end in one known state."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import openbell as ob
from tests.facade_bars import WINDOW, at, bar, minutes, moment

SECONDS = 0.8


@pytest.fixture
def root() -> Iterator[ob.SessionData]:
    made = ob.SessionData()
    made.begin(WINDOW)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield made
    sys.setswitchinterval(interval)


def race(
    *works: Callable[[Callable[[], bool]], None], is_enough: Callable[[], bool] = lambda: True
) -> None:
    """Run each in a thread of its own, from one start, until time is up and it is enough.

    What one raises is raised here.
    """
    start = threading.Barrier(len(works))
    raised: list[BaseException] = []

    def run(work: Callable[[Callable[[], bool]], None]) -> None:
        start.wait()
        until = time.monotonic() + SECONDS
        try:
            work(lambda: not raised and (time.monotonic() < until or not is_enough()))
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def test_root_is_iterated_while_symbols_come_and_go(root: ob.SessionData) -> None:
    steady = root.register_symbol_data(ob.SymbolSessionData("STEADY", derived_intervals=["5m"]))
    rounds = {"a": 0, "b": 0, "read": 0, "feed": 0}

    def come_and_go(prefix: str) -> Callable[[Callable[[], bool]], None]:
        names = [f"{prefix}{k}" for k in range(8)]

        def work(running: Callable[[], bool]) -> None:
            while running():
                for name in names:
                    root.add_bar(name, "1m", bar(at(rounds[prefix] % 390)))
                    root.set_stream_active(name, "bars")
                for name in names:
                    assert root.remove_symbol(name)
                rounds[prefix] += 1
            for name in names[:3]:
                root.add_bar(name, "1m", bar(at(0)))

        return work

    def read(running: Callable[[], bool]) -> None:
        while running():
            seen = [rec.symbol for rec in root]
            assert len(seen) == len(set(seen))
            assert "STEADY" in seen
            for rec in root:
                data = rec.bars[rec.base_interval].data
                assert len(data) in (0, 1) or rec is steady
                assert all(label >= at(0) for label in data["timestamp"][-3:].tolist())
            assert root.get_active_symbols() >= {"STEADY"}
            assert len(root.latest("close", "1m")) >= 1
            rounds["read"] += 1

    def feed(running: Callable[[], bool]) -> None:
        for k in range(390):
            if not running():
                break
            steady.append_block(minutes(k))
            rounds["feed"] += 1
            time.sleep(0.0005)

    works = come_and_go("a"), come_and_go("b"), read, feed
    race(*works, is_enough=lambda: min(rounds.values()) > 5)
    assert min(rounds.values()) > 5
    assert root.get_active_symbols() == {"STEADY", *(f"{p}{k}" for p in "ab" for k in range(3))}
    assert root.active_streams == {}
    assert steady.bars["1m"].data.tolist() == minutes(*range(rounds["feed"])).tolist()
    assert len(steady.bars["5m"]) == rounds["feed"] // 5
    for rec in root:
        assert rec is steady or rec.bars["1m"].data["timestamp"].tolist() == [at(0)]


def test_records_fed_by_threads_of_their_own_hold_every_bar(root: ob.SessionData) -> None:
    names = [f"S{k}" for k in range(4)]
    for name in names:
        root.register_symbol_data(ob.SymbolSessionData(name, derived_intervals=["5m", "1d"]))

    def feed(name: str) -> Callable[[Callable[[], bool]], None]:
        def work(running: Callable[[], bool]) -> None:
            for k in range(390):
                root.add_bar(name, "1m", bar(at(k), 10.0 + k))

        return work

    race(*map(feed, names))
    for rec in root:
        assert rec.get_bar_count() == 390
        assert rec.quality == {"1m": 100.0, "5m": 100.0, "1d": 100.0}
        assert rec.session_volume == 39_000.0


def test_one_symbol_provisioned_by_many_threads_is_one_record(root: ob.SessionData) -> None:
    got: list[ob.SymbolSessionData] = []

    def add(first: int) -> Callable[[Callable[[], bool]], None]:
        def work(running: Callable[[], bool]) -> None:
            got.extend(root.add_bar("TSLA", "1m", bar(at(k))) for k in range(first, 388, 4))

        return work

    race(*map(add, range(4)))
    assert {id(rec) for rec in got} == {id(root["TSLA"])}
    assert root["TSLA"].get_bar_count() == 388


def test_wait_for_data_wakes_when_another_thread_adds(root: ob.SessionData) -> None:
    assert root.wait_for_data(timeout=0.01) is False
    for add in (
        lambda: root.add_bar("AAPL", "1m", bar(at(0))),
        lambda: root.add_quote("AAPL", ob.QuoteData(moment(0), 1.0, 2.0)),
        lambda: root.add_tick("AAPL", ob.TickData(moment(0), 1.0)),
    ):
        later = threading.Timer(0.05, add)
        later.start()
        assert root.wait_for_data(timeout=10) is True
        later.join()
        assert not root.data_arrival_event.is_set()


def test_get_session_data_is_one_for_all_threads() -> None:
    made: list[ob.SessionData] = []
    race(*[lambda running: made.append(ob.get_session_data())] * 4)
    assert len({id(root) for root in made}) == 1
