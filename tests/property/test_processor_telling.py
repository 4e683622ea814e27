"""What is told, when and in which order, against a plain model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.schema import BAR_DTYPE
from tests.engine import PLANS, model_of
from tests.model import RecordModel, step_of
from tests.strategies import short_windows
from tests.telling import record_of


class Telling:
    """What must be told of one record: worked out anew from all its bars after each write."""

    def __init__(self, symbol: str, model: RecordModel) -> None:
        self.symbol = symbol
        self.model = model
        self.told = dict.fromkeys(model.intervals, -1)
        self.changed: dict[str, set[int]] = {name: set() for name in model.intervals}

    def rows(self) -> dict[str, dict[int, tuple[float, ...]]]:
        return {
            name: {row.ts: tuple(row) for row in self.model.rows(name)}
            for name in self.model.intervals
        }

    def write(self, change: Callable[[RecordModel], object]) -> None:
        before = self.rows()
        change(self.model)
        for name, rows in self.rows().items():
            self.changed[name] |= {ts for ts in rows if rows[ts] != before[name].get(ts)}

    def due(self) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
        corrected, closed = [], []
        for name in self.model.intervals:
            place = (step_of(name), self.symbol)
            ends = dict(self.model.slots[name])
            told = self.told[name]
            if touched := {ts for ts in self.changed[name] if ts <= told}:
                corrected.append((0, *place, min(touched), True))
            for row in self.model.rows(name):
                if row.ts > told:
                    closed.append((ends[row.ts], *place, row.ts, False))
                    self.told[name] = row.ts
            self.changed[name] = set()
        return corrected, closed


@given(data=st.data())
def test_processor_tells_what_a_plain_model_says(data: st.DataObject) -> None:
    window = data.draw(short_windows("1m"))
    plans = data.draw(st.lists(st.lists(st.sampled_from(PLANS["1m"]), unique=True), min_size=1,
                               max_size=2))  # fmt: skip
    root = ob.SessionData()
    root.begin(window)
    processor = ob.DataProcessor(root)
    tellings = []
    for symbol, derived in zip("BA", plans, strict=False):
        root.register_symbol_data(record_of(symbol, "1m", *derived))
        tellings.append(Telling(symbol, model_of(window, "1m", derived)))
    told: list[tuple[Any, ...]] = []

    def hear(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        (telling,) = (t for t in tellings if t.symbol == rec.symbol)
        ends = dict(telling.model.slots[bar.interval])
        end = 0 if bar.is_correction else ends[bar.ts_ns]
        place = (step_of(bar.interval), rec.symbol)
        told.append((end, *place, bar.ts_ns, bar.is_correction))
        (row,) = (r for r in telling.model.rows(bar.interval) if r.ts == bar.ts_ns)
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == row[1:6]

    for name in {"1m", *(name for plan in plans for name in plan)}:
        processor.on_close(name, hear, corrections=True)
    processor.process()
    starts = window.grid("1m").starts_ns.tolist()
    at_slot = st.integers(0, len(starts) - 1)
    newest, volume = 0, 1.0
    for _ in range(data.draw(st.integers(1, 12))):
        telling = data.draw(st.sampled_from(tellings))
        what = data.draw(st.sampled_from(["next", "any", "block", "clock", "process", "process"]))
        slots: list[int] = []
        if what == "next":
            newest = min(newest + data.draw(st.integers(0, 3)), len(starts) - 1)
            slots = [newest]
        elif what == "any":
            slots = [data.draw(at_slot)]
        elif what == "block":
            slots = data.draw(st.lists(at_slot, max_size=10))
        elif what == "clock":
            now = max(root.now_ns, starts[data.draw(at_slot)])
            root.advance(now)
            for each in tellings:
                each.write(lambda model: model.advance(now))  # noqa: B023
        if slots:
            # Each bar trades more than all before, so that none undoes what another changed.
            rows = []
            for slot in slots:
                volume *= 2
                rows.append((starts[slot], 10.0, 11.0, 9.0, 10.0 + slot % 2, volume))
            root[telling.symbol].append_block(np.array(rows, BAR_DTYPE))
            telling.write(lambda model: model.append_block(rows))  # noqa: B023
        if what == "process":
            told.clear()
            processor.process()
            both = [each.due() for each in tellings]
            corrected = sorted(row for rows, _ in both for row in rows)
            assert told == corrected + sorted(row for _, rows in both for row in rows)
    root.end()
    for each in tellings:
        each.write(lambda model: model.advance(window.close_ns))
    told.clear()
    processor.process()
    assert len(told) == sum(len(rows) for each in tellings for rows in each.due())
    for each in tellings:
        held = {name: s.data["timestamp"].tolist() for name, s in root[each.symbol].bars.items()}
        assert held == {name: list(rows) for name, rows in each.rows().items()}
