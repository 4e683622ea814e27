"""The quality thread: what is owed is asked for until it is answered, and nothing ends it."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from datetime import date, timedelta
from functools import partial
from queue import SimpleQueue
from time import sleep
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.clock.live import AcceleratedClock
from openbell.errors import DataSourceError, SourceUnavailableError
from openbell.gaps import GapInfo
from openbell.live.worker import Answer, QualityWorker, Range, clusters
from openbell.processing import GapRetries
from openbell.schema import BAR_DTYPE, to_datetime
from tests.waiting import wait_until

pytestmark = pytest.mark.usefixtures("warm_kernels")

MINUTE = 60 * 10**9
WINDOW = ob.TimeManager("XNYS").session_window(date(2025, 7, 2))
NOON = WINDOW.open_ns + 150 * MINUTE


class Past:
    """History that answers as it is told: per symbol, what to give at each attempt."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[tuple[str, ...], int, int]] = []
        self.hangs = threading.Event()
        self.hangs.set()

    def load_since(
        self, symbols: Collection[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, Any, dict[str, Any]]]:
        self.asked.append((tuple(symbols), start_ns, end_ns))
        self.hangs.wait(20)
        for symbol in symbols:
            left = self.answers.get(symbol, [])
            yield symbol, left.pop(0) if left else np.empty(0, BAR_DTYPE), {}


class Scene:
    """A worker over a root of two symbols, at noon, a thousand times as fast as the wall."""

    def __init__(self, past: Past, *, max_retries: int = 3) -> None:
        self.root = ob.SessionData()
        self.root.begin(WINDOW)
        for symbol in "AB":
            self.root.register_symbol_data(ob.SymbolSessionData(symbol, base_interval="1m"))
        self.root.advance(NOON)
        self.quality = ob.DataQualityManager(
            self.root, retries=GapRetries(max_retries=max_retries, retry_interval_s=60.0)
        )
        self.answers: list[Answer] = []
        clock = AcceleratedClock(NOON, 1000.0)
        self.covered: list[tuple[set[str], int, int]] = []
        self.worker = QualityWorker(
            past, self.quality, clock, self.answers.append,
            lambda symbols, start_ns, end_ns: self.covered.append(
                (set(symbols), start_ns, end_ns)
            ),
        )  # fmt: skip

    def __enter__(self) -> Scene:
        self.worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.worker.stop(5.0)


def wanted(*symbols: str, confirm: bool = False) -> Range:
    span = Range("1m", set(symbols), WINDOW.open_ns, WINDOW.open_ns + 10 * MINUTE, "a test")
    if confirm:
        span.to_confirm = set(symbols)
    return span


def bars(*slots: int) -> np.ndarray:
    rows = np.zeros(len(slots), BAR_DTYPE)
    rows["timestamp"] = [WINDOW.open_ns + slot * MINUTE for slot in slots]
    return rows


def unavailable() -> SourceUnavailableError:
    return SourceUnavailableError("past", "is busy")


def test_range_is_asked_for_until_history_can_answer() -> None:
    past = Past(A=[bars(1)], B=[unavailable(), unavailable(), bars(2)])
    with Scene(past) as scene:
        scene.worker.ask(wanted("A", "B"))
        wait_until(lambda: scene.worker.is_idle)
    assert [symbols for symbols, _, _ in past.asked] == [("A", "B"), ("B",), ("B",)]
    assert [answer.symbol for answer in scene.answers] == ["A", "B"]
    assert scene.answers[1].bars["timestamp"].tolist() == [WINDOW.open_ns + 2 * MINUTE]


def test_range_that_is_never_answered_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    past = Past(A=[unavailable() for _ in range(20)])
    with Scene(past, max_retries=2) as scene:
        scene.worker.ask(wanted("A"))
        wait_until(lambda: scene.worker.is_idle)
    assert len(past.asked) == 3
    assert "cannot be had after 3 attempts" in caplog.text


def test_range_that_history_refuses_is_not_asked_for_again() -> None:
    past = Past(A=[DataSourceError("past", "not entitled")])
    with Scene(past) as scene:
        scene.worker.ask(wanted("A"))
        wait_until(lambda: scene.worker.is_idle)
    assert len(past.asked) == 1
    assert scene.answers == []


def test_range_to_be_confirmed_is_answered_twice_before_it_counts() -> None:
    past = Past(A=[bars(1), bars(1, 2)])
    with Scene(past) as scene:
        scene.worker.ask(wanted("A", confirm=True))
        wait_until(lambda: scene.worker.is_idle)
    assert [len(answer.bars) for answer in scene.answers] == [1, 2]
    assert scene.covered == [({"A"}, WINDOW.open_ns, WINDOW.open_ns + 10 * MINUTE)]


@pytest.mark.parametrize("second", [bars(1), unavailable()], ids=["confirmed", "unavailable"])
def test_range_answered_once_is_covered_though_nothing_is_retried(second: Any) -> None:
    past = Past(A=[bars(1), second])
    with Scene(past, max_retries=0) as scene:
        scene.worker.ask(wanted("A", confirm=True))
        wait_until(lambda: scene.worker.is_idle)
    assert len(past.asked) == 2
    assert scene.covered == [({"A"}, WINDOW.open_ns, WINDOW.open_ns + 10 * MINUTE)]


def test_ranges_that_overlap_are_asked_for_as_one() -> None:
    past = Past()
    with Scene(past) as scene:
        past.hangs.clear()
        scene.worker.ask(wanted("A"))
        wait_until(lambda: past.asked)
        for n in range(20):
            span = wanted("AB"[n % 2])
            span.start_ns, span.end_ns = span.start_ns + n * MINUTE, span.end_ns + n * MINUTE
            span.why = ("connected anew", "queue overflow")[n % 2]
            scene.worker.ask(span)
        # Of another interval, and far from the others.
        apart = [wanted("A"), wanted("A")]
        apart[0].interval = "1s"
        apart[1].start_ns, apart[1].end_ns = WINDOW.open_ns + 60 * MINUTE, NOON
        for span in apart:
            scene.worker.ask(span)
        past.hangs.set()
        wait_until(lambda: scene.worker.is_idle)
    first, end_ns = WINDOW.open_ns, WINDOW.open_ns + 10 * MINUTE
    assert past.asked == [
        (("A",), first, end_ns),
        (("A", "B"), first, end_ns + 19 * MINUTE),
        (("A",), first, end_ns),
        (("A",), WINDOW.open_ns + 60 * MINUTE, NOON),
    ]
    both = "connected anew, queue overflow"
    assert [answer.why for answer in scene.answers] == ["a test", both, both, "a test", "a test"]


def test_symbol_that_left_is_asked_for_no_more() -> None:
    past = Past(A=[unavailable() for _ in range(20)], B=[unavailable(), bars(1)])
    with Scene(past, max_retries=10) as scene:
        past.hangs.clear()
        scene.worker.ask(wanted("A", "B"))
        wait_until(lambda: past.asked)
        scene.worker.forget("A")
        past.hangs.set()
        wait_until(lambda: scene.worker.is_idle)
    assert [symbols for symbols, _, _ in past.asked] == [("A", "B"), ("B",)]


def test_job_that_raises_is_logged_and_the_next_one_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    done = threading.Event()
    with Scene(Past()) as scene:
        scene.worker.submit(lambda: 1 / 0)
        scene.worker.submit(done.set)
        assert done.wait(10)
        assert scene.worker.is_alive
    assert "ZeroDivisionError" in caplog.text


def test_gaps_are_asked_for_as_often_as_configured() -> None:
    past = Past()
    with Scene(past, max_retries=2) as scene:
        scene.worker.look_for_gaps()
        wait_until(lambda: len(past.asked) >= 2)
        # Two attempts in all: a third would come 60 of the session's seconds, 0.06 s, later.
        threading.Event().wait(0.3)
    assert [symbols for symbols, _, _ in past.asked] == [("A", "B"), ("A", "B")]
    assert {(start_ns, end_ns) for _, start_ns, end_ns in past.asked} == {(WINDOW.open_ns, NOON)}


def test_stop_does_not_wait_for_a_request_that_hangs() -> None:
    past = Past()
    past.hangs.clear()
    scene = Scene(past)
    scene.worker.start()
    scene.worker.ask(wanted("A"))
    wait_until(lambda: past.asked)
    assert not scene.worker.stop(0.05)
    past.hangs.set()
    wait_until(lambda: not scene.worker.is_alive)
    assert scene.answers == []


def gap(symbol: str, first: int, n: int, interval: str = "1m") -> GapInfo:
    start = to_datetime(WINDOW.open_ns + first * MINUTE)
    last = start + timedelta(minutes=n - 1)
    return GapInfo(symbol, interval, start, last, WINDOW.open_ns + (first + n) * MINUTE, n)


def test_clusters_put_gaps_near_each_other_together() -> None:
    gaps = [gap("A", 200, 1), gap("B", 5, 3), gap("A", 4, 1), gap("C", 17, 2), gap("A", 60, 1)]
    found = [
        (sorted(c.symbols), (c.start_ns - WINDOW.open_ns) // MINUTE,
         (c.end_ns - WINDOW.open_ns) // MINUTE, len(c.gaps))
        for c in clusters(gaps)
    ]  # fmt: skip
    assert found == [(["A", "B", "C"], 4, 19, 3), (["A"], 60, 61, 1), (["A"], 200, 201, 1)]
    assert list(clusters([])) == []


def test_clusters_keep_intervals_apart() -> None:
    found = list(clusters([gap("A", 4, 1), gap("A", 4, 1, "1s")]))
    assert sorted(c.interval for c in found) == ["1m", "1s"]


class SlowQueue(SimpleQueue):  # type: ignore[type-arg]
    """What is taken from it is in nobody's hands for a moment."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        job = super().get(*args, **kwargs)
        sleep(0.05)
        return job


def test_worker_is_not_idle_before_what_was_submitted_is_done() -> None:
    done: list[int] = []
    scene = Scene(Past())
    scene.worker._jobs = SlowQueue()
    with scene:
        for n in range(3):
            scene.worker.submit(partial(done.append, n))
            wait_until(lambda: scene.worker.is_idle)
            assert len(done) == n + 1
