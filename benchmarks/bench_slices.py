"""One bar of every symbol at once, and how its cost grows with the number of symbols."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.data import N_DAY, RAW_BAR, make_bars, make_root
from benchmarks.harness import Beside
from openbell._native.engine import SliceAppender
from openbell.schema import BAR_DTYPE, NS_PER_SECOND

#: Slices in a round, by number of symbols: whole minutes, so that every round closes as many.
SLICES = {10: 600, 100: 600, 500: 240, 1000: 120, 10_000: 60}
ROUNDS = 15


class Feed:
    """Rounds of slices through one day of many symbols."""

    def __init__(self, n_symbols: int) -> None:
        n_slices = SLICES[n_symbols]
        n_rows = n_slices * (ROUNDS + 2) * (2 if n_symbols == 10 else 1)
        assert n_rows <= N_DAY
        if n_symbols < 10_000:
            self.root, self.records = make_root(n_symbols, n_reserve=n_rows)
        else:
            self.root, self.records = make_root(n_symbols, capacity=64, n_reserve=128)
        self.appender = SliceAppender(self.records)
        self.ids = np.arange(n_symbols, dtype=np.int32)
        self.all_ids = np.tile(self.ids, n_slices)
        self.slices = np.empty((n_slices, n_symbols), dtype=BAR_DTYPE)
        self.slices[:] = make_bars(n_slices)[:, np.newaxis]
        self.n_bars = self.slices.size
        self.copy = np.zeros_like(self.slices.view(RAW_BAR))
        self.step_ns = n_slices * NS_PER_SECOND
        self.n_rounds = 0

    def append(self) -> None:
        append, ids = self.appender.append, self.ids
        for bars in self.slices:
            append(ids, bars)

    def append_at_once(self) -> None:
        self.appender.append(self.all_ids, self.slices.reshape(-1))

    def move_on(self) -> None:
        if self.n_rounds:
            self.slices["timestamp"] += self.step_ns
        self.n_rounds += 1

    def check(self) -> None:
        newest = int(self.slices["timestamp"][-1, 0]) + NS_PER_SECOND
        assert all(record.last_update_ns == newest for record in self.records)
        assert not any(record.rejected or record.n_late for record in self.records)

    def memcpy(self) -> None:
        np.copyto(self.copy, self.slices.view(RAW_BAR))


@pytest.mark.parametrize(("n_symbols", "goal_ns"), [(100, 10), (500, 22), (10_000, 30)])
def bench_slice(beside: Beside, n_symbols: int, goal_ns: float) -> None:
    feed = Feed(n_symbols)
    beside.times(
        f"slices of {n_symbols:,} symbols, one call each",
        "memcpy of the bars",
        feed.append,
        feed.memcpy,
        prepare=feed.move_on,
        n=feed.n_bars,
        goal=goal_ns,
        goal_of="value",
        rounds=ROUNDS,
        note=in_bars_per_second,
    )
    feed.check()


@pytest.mark.parametrize("n_symbols", [100, 1000, 10_000])
def bench_slice_growth(beside: Beside, n_symbols: int) -> None:
    few, many = Feed(10), Feed(n_symbols)

    def move_on() -> None:
        many.move_on()
        # The many have just been through the cache; ten symbols are meant to be in it.
        few.move_on()
        few.append_at_once()
        few.move_on()

    beside.times(
        f"slices, growth from 10 to {n_symbols:,} symbols",
        "slices of 10 symbols",
        many.append_at_once,
        few.append_at_once,
        prepare=move_on,
        n=many.n_bars,
        n_reference=few.n_bars,
        goal=4.5,
        rounds=ROUNDS,
        note=in_bars_per_second,
    )
    many.check()


def in_bars_per_second(seconds: float) -> str:
    return f"{1e-6 / seconds:.0f} M bars/s"
