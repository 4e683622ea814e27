"""One bar at a time, from Python: what a strategy's feed pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

from benchmarks.data import N_DAY, as_tuples, make_bars, make_root
from benchmarks.harness import Beside
from benchmarks.native import load_noop
from openbell import SessionData

Rows = Sequence[tuple[int, float, float, float, float, float]]


def feed(append: Callable[..., object], rows: Rows) -> None:
    for ts, o, h, l, c, v in rows:  # noqa: E741
        append(ts, o, h, l, c, v)


def feed_nothing(rows: Rows) -> None:
    for _ts, _o, _h, _l, _c, _v in rows:
        pass


def feed_all(appends: Sequence[Callable[..., object]], rows: Rows) -> None:
    for ts, o, h, l, c, v in rows:  # noqa: E741
        for append in appends:
            append(ts, o, h, l, c, v)


def feed_all_nothing(appends: Sequence[Callable[..., object]], rows: Rows) -> None:
    for _ts, _o, _h, _l, _c, _v in rows:
        for _append in appends:
            pass


def bench_append_1_symbol(beside: Beside) -> None:
    rows = as_tuples(make_bars())
    noop = load_noop().Noop().append
    fresh: list[Any] = []
    # Day after day in the same memory: what is measured is the engine, not the first touch.
    root = SessionData()

    def prepare() -> None:
        fresh.clear()
        fresh[:] = make_root(1, root)

    beside.times(
        "append, 8 intervals, 1 symbol (net of the loop)",
        "no-op native call",
        lambda: feed(fresh[1][0].append, rows),
        lambda: feed(noop, rows),
        loop=lambda: feed_nothing(rows),
        n=N_DAY,
        prepare=prepare,
        goal=1.5,
        rounds=60,
    )
    assert len(fresh[1][0].bars["1s"]) == N_DAY


def bench_append_100_symbols(beside: Beside) -> None:
    rows = as_tuples(make_bars(600))
    noop = load_noop().Noop
    noops = [noop().append for _ in range(100)]
    fresh: list[Any] = []

    root = SessionData()

    def prepare() -> None:
        fresh.clear()
        records = make_root(100, root, n_reserve=600)[1]
        fresh[:] = [root, [record.append for record in records]]

    beside.times(
        "append, 8 intervals, 100 symbols in turn (net)",
        "no-op native call",
        lambda: feed_all(fresh[1], rows),
        lambda: feed_all(noops, rows),
        loop=lambda: feed_all_nothing(fresh[1], rows),
        n=600 * 100,
        prepare=prepare,
        goal=1.5,
        rounds=40,
    )


def slowest_of_1000(append: Callable[..., object], rows: Rows) -> float:
    taken = []
    note = taken.append
    for ts, o, h, l, c, v in rows:  # noqa: E741
        start = perf_counter_ns()
        append(ts, o, h, l, c, v)
        note(perf_counter_ns() - start)
    taken.sort()
    return float(taken[len(taken) * 999 // 1000])


def bench_append_tail(beside: Beside) -> None:
    rows = as_tuples(make_bars())
    noop = load_noop().Noop().append
    beside.values(
        "append, 99.9th percentile, clock included",
        "no-op native call, clock included",
        lambda: slowest_of_1000(make_root(1)[1][0].append, rows),
        lambda: slowest_of_1000(noop, rows),
        unit="ns",
        goal=3000,
        goal_of="value",
        rounds=15,
    )
