"""What a strategy pays to look."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, repeat
from typing import Any

import numpy as np
import pytest

from benchmarks.data import N_DAY, OPEN_NS, make_bars, make_root
from benchmarks.harness import Beside
from benchmarks.native import load_noop
from openbell.schema import NS_PER_SECOND

N_READS = 10_000


def make_series() -> Any:
    root, records = make_root(1)
    records[0].append_block(make_bars())
    root.advance(OPEN_NS + N_DAY * NS_PER_SECOND)
    return records[0].bars["1m"]


def loop_nothing() -> None:
    for _ in repeat(None, N_READS):
        pass


def call_1(call: Callable[[int], object]) -> None:
    for _ in repeat(None, N_READS):
        call(20)


def call_2(call: Callable[[str, int], object]) -> None:
    for _ in repeat(None, N_READS):
        call("close", 20)


def bench_window(beside: Beside) -> None:
    series = make_series()
    # Never a copy: every window looks at the same memory, kept by the same owner.
    newest, held = series.window(20), series.data
    assert newest.base is held.base
    assert np.shares_memory(newest, held)
    assert len(newest) == 20
    noop = load_noop().Noop().window
    beside.times(
        "window(20)",
        "native call giving an empty view",
        lambda: call_1(series.window),
        lambda: call_1(noop),
        loop=loop_nothing,
        n=N_READS,
        goal=70,
        goal_of="value",
    )


def bench_close(beside: Beside) -> None:
    series = make_series()
    assert np.shares_memory(series.close(20), series.data)
    noop = load_noop().Noop().field
    beside.times(
        "close(20)",
        "native call giving an empty view",
        lambda: call_1(series.close),
        lambda: call_1(noop),
        loop=loop_nothing,
        n=N_READS,
        goal=70,
        goal_of="value",
    )


def bench_mean(beside: Beside) -> None:
    series = make_series()
    noop = load_noop().Noop().reduce
    beside.times(
        'mean("close", 20)',
        "no-op native call",
        lambda: call_2(series.mean),
        lambda: call_2(noop),
        loop=loop_nothing,
        n=N_READS,
        goal=45,
        goal_of="value",
    )


def read_last_close(item: Any) -> None:
    for _ in repeat(None, N_READS):
        item.last_close  # noqa: B018


def read_value(item: Any) -> None:
    for _ in repeat(None, N_READS):
        item.value  # noqa: B018


def read_quality(item: Any) -> None:
    for _ in repeat(None, N_READS):
        item.quality  # noqa: B018


def bench_last_close(beside: Beside) -> None:
    series, noop = make_series(), load_noop().Noop()
    beside.times(
        "last_close",
        "no-op native attribute",
        lambda: read_last_close(series),
        lambda: read_value(noop),
        loop=loop_nothing,
        n=N_READS,
        goal=30,
        goal_of="value",
    )


def bench_quality(beside: Beside) -> None:
    series, noop = make_series(), load_noop().Noop()
    beside.times(
        "series.quality",
        "no-op native attribute",
        lambda: read_quality(series),
        lambda: read_value(noop),
        loop=loop_nothing,
        n=N_READS,
        goal=30,
        goal_of="value",
    )


@pytest.mark.parametrize("after", ["", ", just after a step of the clock"])
def bench_latest(beside: Beside, after: str) -> None:
    root, records = make_root(500, n_reserve=600)
    bars = make_bars(600)
    for record in records:
        record.append_block(bars)
    closes = np.arange(500 * 600.0)
    places = np.arange(500) * 600 + 599
    clock = count(OPEN_NS + 601 * NS_PER_SECOND, NS_PER_SECOND)

    def latest() -> None:
        for _ in repeat(None, 100):
            if after:
                root.advance(next(clock))
            root.latest("close", "1m")

    def take() -> None:
        for _ in repeat(None, 100):
            closes.take(places)

    beside.times(
        f'root.latest("close", "1m") of 500 records{after}',
        "numpy take of 500 floats",
        latest,
        take,
        n=100,
        goal=3000 if not after else None,
        goal_of="value",
    )
