"""A loaded day of many symbols, replayed bar by bar in time order."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

from benchmarks.data import N_DAY, OPEN_NS, RAW_BAR, make_bars, make_root
from benchmarks.harness import Beside
from openbell._native.replay import ReplayCursor
from openbell.config import IndicatorConfig
from openbell.processing import DataProcessor
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

    def __init__(self, n_bars: int = N_BARS, gap_share: float = 0.0) -> None:
        self.n_slots = n_bars
        self.bars = [make_bars(n_bars, seed=k, gap_share=gap_share) for k in range(8)]
        self.n_all = sum(len(self.bars[k % 8]) for k in range(N_SYMBOLS))
        self.cursor: Any = None
        self.held: Any = None
        self.raw = np.zeros((N_SYMBOLS, N_BARS), dtype=BAR_DTYPE).view(RAW_BAR)
        self.copy = np.zeros_like(self.raw)

    def load(self, watch: Callable[[Any], None] | None = None) -> None:
        self.cursor = self.held = None
        root, records = make_root(N_SYMBOLS, n_reserve=self.n_slots)
        self.cursor = ReplayCursor(root.core)
        for k, record in enumerate(records):
            record.preload(self.bars[k % 8])
            self.cursor.add(record)
        if watch is not None:
            watch(self.cursor)
        self.held = root, records

    def memcpy(self) -> None:
        np.copyto(self.copy, self.raw)

    def replay(self, beside: Beside, row: str, on_slice: Any = None, **how: Any) -> None:
        """Measure a replay of it beside copying its bars; `how` goes to ``beside.times``."""
        beside.times(
            row,
            "memcpy of the bars",
            lambda: self.cursor.run(on_slice),
            self.memcpy,
            n=N_ALL,
            warmup_rounds=1,
            note=bars_per_second,
            **{"prepare": self.load, "goal_of": "value", "rounds": 9, **how},
        )

    def check(self) -> None:
        assert self.cursor.n_bars == self.n_all
        assert all(r.last_update_ns == OPEN_NS + N_BARS * NS_PER_SECOND for r in self.held[1])


def bars_per_second(seconds: float) -> str:
    return f"{1e-6 / seconds:.0f} M bars/s"


def bench_replay_no_callback(beside: Beside) -> None:
    day = Day()
    day.replay(beside, f"replay of {N_SYMBOLS} symbols, no callback", goal=1e3 / 50)
    day.check()


def bench_replay_by_timestamp(beside: Beside) -> None:
    day = Day()
    row = f"replay of {N_SYMBOLS} symbols, callback per timestamp"
    day.replay(beside, row, on_slice, goal=1e3 / 30)
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


def bench_replay_of_a_sparse_day(beside: Beside) -> None:
    # A whole day of which a tenth of the slots has a bar, beside a tenth of a day that has all.
    sparse, dense = Day(N_DAY, gap_share=0.9), Day(N_DAY // 10)

    def load() -> None:
        sparse.load()
        dense.load()

    beside.times(
        f"replay of {N_SYMBOLS} symbols, 90 % of the slots empty, callback per timestamp",
        "the same of as many bars, no slot empty",
        lambda: sparse.cursor.run(on_slice),
        lambda: dense.cursor.run(on_slice),
        prepare=load,
        n=sparse.n_all,
        goal=2.0,
        rounds=5,
        warmup_rounds=1,
        note=bars_per_second,
    )
    assert sparse.cursor.n_bars == sparse.n_all


def bench_replay_with_indicators(beside: Beside) -> None:
    day = Day()
    types = {"SMA": 20, "EMA": 20, "RSI": 14, "ATR": 14, "CCI": 14}

    def read_all(record: Any, _bar: object) -> None:
        for indicator in record.indicators.values():
            indicator.value  # noqa: B018

    def prepare() -> None:
        day.load(lambda cursor: cursor.on_close("1m", read_all))
        processor = DataProcessor(day.held[0])
        for record in day.held[1]:
            for kind, n in types.items():
                config = IndicatorConfig(
                    name=kind, type=kind, interval="1m", parameters={"timeperiod": n}
                )
                processor.add_indicator(record, config)

    row = f"replay of {N_SYMBOLS} symbols, five 1m indicators of each read at each of its bars"
    day.replay(beside, row, on_slice, prepare=prepare, rounds=3)
    assert all(i.ready for i in day.held[1][0].indicators.values())
