"""A native strategy sees what ``on_close`` tells, whatever the bars and whoever comes and goes."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import openbell as ob
from openbell._native.replay import ReplayCursor
from openbell.clock.window import SessionWindow
from openbell.schema import BarArray
from tests.native_probe import load_probe
from tests.strategies import make_bars, short_windows

INTERVALS = ("5s", "15s", "1m", "5m", "1d")

Told = list[tuple[Any, ...]]


class Day:
    """A replayed day in which records come and go at given instants."""

    def __init__(
        self, window: SessionWindow, loaded: list[BarArray], joins: list[int], leaves: list[int]
    ) -> None:
        self.loaded, self.joins, self.leaves = loaded, joins, leaves
        self.root = ob.SessionData()
        self.root.begin(window)
        self.cursor = ReplayCursor(self.root.core)
        self.here: set[int] = set()
        self.meddle()

    def meddle(self) -> None:
        """Let records in and out whose time has come."""
        for k, bars in enumerate(self.loaded):
            symbol, now = f"S{k}", self.root.now_ns
            is_due = self.joins[k] <= now < self.leaves[k]
            if is_due and k not in self.here:
                record = ob.SymbolSessionData(
                    symbol, base_interval="1s", derived_intervals=INTERVALS
                )
                self.root.register_symbol_data(record)
                record.preload(bars)
                self.cursor.add(record)
                self.here.add(k)
            elif not is_due and k in self.here:
                self.root.remove_symbol(symbol)
                self.cursor.drop_detached()
                self.here.remove(k)

    def listen(self, on: str, other: str) -> Told:
        """What ``on_close`` will tell: instant, symbol, bars, close; and the same of `other`."""
        told: Told = []

        def tell(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
            bars = record.bars[other]
            close = bars.close(1)[0] if len(bars) else None
            n = len(record.bars[on])
            told.append((self.root.now_ns, record.symbol, n, bar.close, len(bars), close))

        self.cursor.on_close(on, tell)
        return told

    def attach(self, on: str, other: str) -> Told:
        """The same as a native strategy will see it."""
        strategy = load_probe().Seen(on, [other])
        self.cursor.attach(strategy)
        return strategy.told

    def run(self) -> None:
        while self.cursor.step():
            self.meddle()


@settings(max_examples=30)
@given(st.data())
def test_native_strategy_sees_what_on_close_tells(data: st.DataObject) -> None:
    window = data.draw(short_windows())
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    densities = data.draw(st.lists(st.sampled_from([0.0, 0.01, 0.3, 1.0]), min_size=1, max_size=4))
    loaded = [make_bars(window, "1s", density, rng) for density in densities]
    # Of whom nobody comes or goes, each listens alone: beside another it may be woken by it.
    is_alone = data.draw(st.booleans())
    span = window.close_ns - window.open_ns
    joins, leaves = [], []
    for _ in loaded:
        part = 0 if is_alone else data.draw(st.sampled_from([0, 0, 1, 5, 9]))
        stay = 11 if is_alone else data.draw(st.sampled_from([1, 3, 11]))
        joins.append(window.open_ns + part * span // 10)
        leaves.append(window.open_ns + (part + stay) * span // 10)
    on = data.draw(st.sampled_from(["1s", *INTERVALS]))
    other = data.draw(st.sampled_from([name for name in ("1s", *INTERVALS) if name != on]))
    day = Day(window, loaded, joins, leaves)
    told = day.listen(on, other)
    if is_alone:
        day.run()
        day = Day(window, loaded, joins, leaves)
    seen = day.attach(on, other)
    day.run()
    # Of one instant, on_close tells by name, and a strategy by id.
    assert sorted(seen) == sorted(told)
    assert [instant for instant, *_ in seen] == sorted(instant for instant, *_ in seen)
