"""A loaded day of many symbols, replayed bar by bar in time order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

from benchmarks.data import OPEN_NS, RAW_BAR, make_bars, make_root
from benchmarks.harness import Beside
from openbell._native.replay import ReplayCursor
from openbell.schema import BAR_DTYPE, NS_PER_SECOND

N_SYMBOLS = 500
#: A quarter of a day: its bars are far more than fit a cache, and the rounds stay short.
N_BARS = 5850
N_ALL = N_SYMBOLS * N_BARS


def on_slice(ts_ns: int, records: object) -> None:
    pass


def on_bar(record: object, bar: object) -> None:
    pass


class Day:
    """A day that is loaded anew before each round."""

    def __init__(self) -> None:
        self.bars = [make_bars(N_BARS, seed=k) for k in range(8)]
        self.cursor: Any = None
        self.held: Any = None
        self.raw = np.zeros((N_SYMBOLS, N_BARS), dtype=BAR_DTYPE).view(RAW_BAR)
        self.copy = np.zeros_like(self.raw)

    def load(self, watch: Callable[[Any], None] | None = None) -> None:
        self.cursor = self.held = None
        root, records = make_root(N_SYMBOLS, n_reserve=N_BARS)
        self.cursor = ReplayCursor(root.core)
        for k, record in enumerate(records):
            record.preload(self.bars[k % 8])
            self.cursor.add(record)
        if watch is not None:
            watch(self.cursor)
        self.held = root, records

    def memcpy(self) -> None:
        np.copyto(self.copy, self.raw)

    def check(self) -> None:
        assert self.cursor.n_bars == N_ALL
        assert all(r.last_update_ns == OPEN_NS + N_BARS * NS_PER_SECOND for r in self.held[1])


def bars_per_second(seconds: float) -> str:
    return f"{1e-6 / seconds:.0f} M bars/s"


def bench_replay_no_callback(beside: Beside) -> None:
    day = Day()
    beside.times(
        f"replay of {N_SYMBOLS} symbols, no callback",
        "memcpy of the bars",
        lambda: day.cursor.run(),
        day.memcpy,
        prepare=day.load,
        n=N_ALL,
        goal=1e3 / 50,
        goal_of="value",
        rounds=9,
        warmup_rounds=1,
        note=bars_per_second,
    )
    day.check()


def bench_replay_by_timestamp(beside: Beside) -> None:
    day = Day()
    beside.times(
        f"replay of {N_SYMBOLS} symbols, callback per timestamp",
        "memcpy of the bars",
        lambda: day.cursor.run(on_slice),
        day.memcpy,
        prepare=day.load,
        n=N_ALL,
        goal=1e3 / 30,
        goal_of="value",
        rounds=9,
        warmup_rounds=1,
        note=bars_per_second,
    )
    day.check()


def bench_replay_by_bar(beside: Beside) -> None:
    day = Day()

    def call_each() -> None:
        for _ in repeat(None, N_ALL):
            on_bar(day, None)

    beside.times(
        f"replay of {N_SYMBOLS} symbols, callback per bar",
        "call of an empty Python function",
        lambda: day.cursor.run(),
        call_each,
        n=N_ALL,
        prepare=lambda: day.load(lambda cursor: cursor.on_close("1s", on_bar)),
        goal=1e3 / 10,
        goal_of="value",
        rounds=5,
        warmup_rounds=1,
        note=bars_per_second,
    )
    day.check()
