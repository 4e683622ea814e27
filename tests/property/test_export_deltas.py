"""Days of random work on one root, and readers who take its exports at moments of their own."""

from __future__ import annotations

import json
from contextlib import suppress
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import openbell as ob
import openbell.symbol
from openbell.errors import BarRefused, EventRefused, IntervalError, SessionStateError
from openbell.export import apply_delta, session_to_dict, symbol_to_dict
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, to_datetime
from tests.strategies import MINUTE, NEW_YORK, SECOND, window_of

DAYS = [
    window_of(("2025-07-02T13:30", "2025-07-02T13:50")),
    window_of(("2025-07-03T01:30", "2025-07-03T01:41"), ("2025-07-03T01:50", "2025-07-03T02:05")),
    window_of(("2025-07-04T13:31", "2025-07-04T13:49"), anchor="clock", timezone=NEW_YORK),
]
SYMBOLS = ["A", "B", "C"]
INTERVALS = ["1s", "30s", "1m", "2m", "3m", "5m", "1d"]
READERS = ["seldom", "text"]
#: Quotes and trades a record keeps in these tests: few, so that rings let go of some.
FEW_EVENTS = 3

symbols = st.sampled_from(SYMBOLS)
minutes = st.integers(0, 38)
prices = st.integers(1, 5).map(float)


class Readings(RuleBasedStateMachine):
    folder: Path

    @initialize(skips=st.booleans())
    def open(self, skips: bool) -> None:
        self.root = ob.SessionData()
        self.root.on_incomplete = "skip" if skips else "keep"
        self.day = -1
        self.held: dict[str, Any] = {name: {} for name in ["always", *READERS]}
        self.of_records: dict[Any, Any] = {}
        self.in_file: dict[bool, Any] = {True: {}, False: {}}
        self.begin_next_day(True)
        for symbol, base, capacity in (("A", "1m", 0), ("B", "1s", 0), ("C", "1s", 3)):
            self.register(symbol, base, ["2m", "5m"], capacity)
            starts = self.window.grid(base).starts_ns[::3]
            rows = [(ts, *values_of(2.0)) for ts in starts[:6].tolist()]
            self.root[symbol].append_block(np.array(rows, BAR_DTYPE))
            self.keep_day(self.root[symbol], 1.0, False)

    @property
    def window(self) -> ob.SessionWindow:
        return DAYS[self.day]

    @precondition(lambda self: self.day < 0 or self.root.now_ns > self.window.open_ns)
    @rule(ended=st.booleans())
    def begin_next_day(self, ended: bool) -> None:
        if ended:
            self.root.end()
        self.root.clear()
        self.day = (self.day + 1) % len(DAYS)
        self.root.begin(self.window)
        self.of_records = {}

    @rule()
    def show_other_bars(self) -> None:
        self.root.on_incomplete = "keep" if self.root.on_incomplete == "skip" else "skip"

    # Records and series

    @precondition(lambda self: len(self.root) < len(SYMBOLS))
    @rule(symbol=symbols, base=st.sampled_from(["1s", "1m"]), capacity=st.sampled_from([0, 0, 3]),
          derived=st.lists(st.sampled_from(INTERVALS[3:]), unique=True))  # fmt: skip
    def register(self, symbol: str, base: str, derived: list[str], capacity: int) -> None:
        self.root.remove_symbol(symbol)
        rec = ob.SymbolSessionData(
            symbol, base_interval=base, derived_intervals=derived, capacity=capacity
        )
        self.root.register_symbol_data(rec)

    @rule(symbol=symbols)
    def remove(self, symbol: str) -> None:
        self.root.remove_symbol(symbol)

    @precondition(lambda self: len(self.root))
    @rule(data=st.data(), base=st.sampled_from(INTERVALS[:3]),
          derived=st.lists(st.sampled_from(INTERVALS[3:]), unique=True))  # fmt: skip
    def link_anew(self, data: Any, base: str, derived: list[str]) -> None:
        rec = self.draw_record(data)
        try:
            rec.set_intervals(base, derived)
        except SessionStateError:
            assert any(series.n_evicted for series in rec.bars.values())

    # Bars

    @precondition(lambda self: len(self.root))
    @rule(data=st.data(), first=minutes, count=st.integers(1, 90), price=prices,
          volume=st.sampled_from([2.0, 2.5]), is_live=st.booleans(),
          how=st.sampled_from(["append", "block", "backwards"]))  # fmt: skip
    def append(
        self, data: Any, first: int, count: int, price: float, volume: float, is_live: bool,
        how: str,
    ) -> None:  # fmt: skip
        rec = self.draw_record(data)
        starts = self.window.grid(rec.base_interval).starts_ns
        at = int(np.searchsorted(starts, self.window.open_ns + first * MINUTE))
        rows = [(ts, *values_of(price, volume)) for ts in starts[at : at + count].tolist()]
        if how == "append":
            for row in rows:
                with suppress(BarRefused):
                    rec.append(*row)
        else:
            rec.append_block(np.array(rows[:: -1 if how == "backwards" else 1], BAR_DTYPE))
        if is_live:
            self.advance(count)

    @precondition(lambda self: len(self.root))
    @rule(data=st.data(), back=st.integers(0, 40), price=prices)
    def correct(self, data: Any, back: int, price: float) -> None:
        rec = self.draw_record(data)
        held = rec.bars[rec.base_interval].data
        if len(held):
            ts = int(held["timestamp"][max(0, len(held) - 1 - back)])
            rec.append_block(np.array([(ts, *values_of(price))], BAR_DTYPE))

    @rule(symbol=symbols, name=st.sampled_from(INTERVALS), minute=minutes, price=prices)
    def add_bar(self, symbol: str, name: str, minute: int, price: float) -> None:
        starts = self.window.grid(name).starts_ns
        at = int(np.searchsorted(starts, self.window.open_ns + minute * MINUTE, side="right")) - 1
        try:
            self.root.add_bar(symbol, name, ob.BarData(int(starts[at]), *values_of(price)))
        except (BarRefused, IntervalError, SessionStateError):
            assert symbol in self.root

    @precondition(lambda self: self.root.now_ns < self.window.close_ns)
    @rule(seconds=st.sampled_from([1, 30, 61, 300]))
    def advance(self, seconds: int) -> None:
        self.root.advance(min(self.root.now_ns + seconds * SECOND, self.window.close_ns))

    # All else that a dump tells

    @rule(symbol=symbols, halves=st.lists(st.integers(0, 60), min_size=1, max_size=5),
          is_quote=st.booleans())  # fmt: skip
    def add_events(self, symbol: str, halves: list[int], is_quote: bool) -> None:
        for half in halves:
            moment = to_datetime(self.window.open_ns + half * SECOND // 2)
            if is_quote:
                self.root.add_quote(symbol, ob.QuoteData(moment, 1.0, 2.0, half, half / 2))
            else:
                self.root.add_tick(symbol, ob.TickData(moment, 1.5, half))

    @precondition(lambda self: len(self.root))
    @rule(data=st.data(), seconds=st.lists(st.integers(-1, 900), max_size=5))
    def preload_quotes(self, data: Any, seconds: list[int]) -> None:
        rows = [(self.window.open_ns + at * SECOND, 1.0, 2.0, 3.0, 4.0) for at in seconds]
        self.draw_record(data).preload_quotes(np.array(rows, QUOTE_DTYPE))

    @precondition(lambda self: len(self.root))
    @rule(data=st.data(), value=prices, what=st.sampled_from(
        ["error", "refused", "indicator", "no indicator", "provenance", "quality", "reason"]
    ))  # fmt: skip
    def note(self, data: Any, value: float, what: str) -> None:
        rec = self.draw_record(data)
        if what == "error":
            rec.note_error("rule", ValueError(str(value)))
        elif what == "refused":
            with pytest.raises(EventRefused):
                rec.add_tick(ob.TickData(to_datetime(self.window.close_ns + MINUTE), value))
        elif what == "indicator":
            rec.indicators["trend"] = {"value": value if value > 2 else float("nan"), "ready": True}
        elif what == "no indicator":
            rec.indicators.pop("trend", None)
        elif what == "provenance":
            rec.added_by = "scanner" if value > 2 else "strategy"
            rec.added_at = to_datetime(self.root.now_ns)
        elif what == "quality":
            written = [s for s in rec.bars.values() if not s.is_base and not s.derived]
            for series in written:
                rec.set_quality(series.interval, value)
        else:
            gaps = rec.bars[rec.base_interval].gaps
            reason = "no_trade" if value > 2 else "outage"
            rec.set_gaps(rec.base_interval, [given_reason(gap, reason) for gap in gaps])

    @precondition(lambda self: len(self.root))
    @rule(data=st.data(), value=prices, is_fixed=st.booleans(), what=st.sampled_from(
        ["day", "quality", "gaps", "indicator", "none"]
    ))  # fmt: skip
    def change_history(self, data: Any, value: float, is_fixed: bool, what: str) -> None:
        rec = self.draw_record(data)
        if what == "day":
            self.keep_day(rec, value, is_fixed)
        elif what == "quality":
            rec.historical_quality["1d"] = value
        elif what == "gaps":
            moment = to_datetime(self.window.open_ns - int(value) * 86_400 * SECOND)
            gap = ob.GapInfo(rec.symbol, "1d", moment, moment, 0, 1)
            rec.historical_gaps["1d"] = [gap] * int(value)
        elif what == "indicator":
            rec.historical_indicators["avg"] = value
        else:
            rec.historical_bars = {}

    @precondition(lambda self: len(self.root))
    @rule(data=st.data(), value=prices)
    def change_history_in_place(self, data: Any, value: float) -> None:
        for rows in self.draw_record(data).historical_bars.get("1d", {}).values():
            if rows.flags.writeable:
                rows["close"] = value

    def keep_day(self, rec: ob.SymbolSessionData, value: float, is_fixed: bool) -> None:
        day = date(2025, 6, int(value))
        ts = int(np.datetime64(day, "ns").astype(np.int64))
        rows = np.array([(ts, *values_of(value))], BAR_DTYPE)
        rows.flags.writeable = not is_fixed
        rec.historical_bars.setdefault("1d", {})[day] = rows

    # Readers

    @rule(name=st.sampled_from(READERS), complete=st.sampled_from([False, False, False, True]))
    def read(self, name: str, complete: bool) -> None:
        delta = self.root.to_json(complete, reader=name)
        if name == "text":
            delta = json.loads(json.dumps(delta, allow_nan=False))
        before = deepcopy(self.held[name])
        tree = apply_delta(self.held[name], delta)
        assert self.held[name] == before
        self.held[name] = tree
        wanted = session_to_dict(self.root)
        assert tree["delta"]["sequence"] == delta["delta"]["sequence"]
        assert {key: item for key, item in tree.items() if key != "delta"} == wanted
        assert list(tree["symbols"]) == list(wanted["symbols"])
        for symbol, branch in wanted["symbols"].items():
            assert list(tree["symbols"][symbol]["session"]["data"]) == list(
                branch["session"]["data"]
            )

    @invariant()
    def read_after_each_step(self) -> None:
        self.read("always", False)
        assert self.root.to_json(False, reader="always")["symbols"] == {}
        self.held["always"]["delta"]["sequence"] += 1

    @precondition(lambda self: len(self.root))
    @rule(data=st.data())
    def read_record(self, data: Any) -> None:
        rec = self.draw_record(data)
        tree = apply_delta(self.of_records.get(rec, {}), rec.to_json(complete=False))
        self.of_records[rec] = tree
        assert {key: item for key, item in tree.items() if key != "delta"} == symbol_to_dict(rec)

    @rule(bars=st.booleans())
    def read_into_file(self, bars: bool) -> None:
        path = self.folder / "delta.json"
        reader, names = f"file {bars}", ["1m", "5m"]
        self.root.write_json(path, complete=False, reader=reader, intervals=names, bars=bars)
        tree = apply_delta(self.in_file[bars], json.loads(path.read_text(encoding="utf-8")))
        self.in_file[bars] = tree
        wanted = session_to_dict(self.root, intervals=names, bars=bars)
        assert {key: item for key, item in tree.items() if key != "delta"} == wanted

    def draw_record(self, data: Any) -> ob.SymbolSessionData:
        return self.root[data.draw(st.sampled_from(sorted(self.root.get_active_symbols())))]


def values_of(price: float, volume: float = 3.0) -> tuple[float, float, float, float, float]:
    return price, price + 0.5, price - 0.5, price + 0.25, volume


def given_reason(gap: ob.GapInfo, reason: str) -> ob.GapInfo:
    return ob.GapInfo(
        gap.symbol, gap.interval, gap.start_time, gap.end_time, gap.end_ns, gap.bar_count, reason
    )


def test_deltas_in_any_hands_give_the_complete_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hypothesis.stateful import run_state_machine_as_test

    monkeypatch.setattr(openbell.symbol, "EVENT_CAPACITY", FEW_EVENTS)

    class InFolder(Readings):
        folder = tmp_path

    run_state_machine_as_test(InFolder, settings=settings(stateful_step_count=30))
