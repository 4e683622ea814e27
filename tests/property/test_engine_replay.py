"""Replaying preloaded bars gives what appending them gives, whatever happens in between."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell._native.replay import ReplayCursor
from openbell.clock.window import SessionWindow
from openbell.schema import BarArray
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData
from tests.engine import PLANS, begin, give, plans, snapshot
from tests.strategies import (
    DAY_1S,
    MINUTE,
    Call,
    make_bars,
    make_stream,
    real_windows,
    short_windows,
    splits,
    streams,
    to_bars,
)


def ends_of(window: SessionWindow, base: str, bars: BarArray) -> list[int]:
    grid = window.grid(base)
    return grid.ends_ns[np.searchsorted(grid.starts_ns, bars["timestamp"])].tolist()


def sorted_stream(data: st.DataObject, window: SessionWindow, base: str) -> BarArray:
    density = data.draw(st.sampled_from([0.0, 0.02, 0.5, 1.0]))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    return make_bars(window, base, density, rng, whole_volumes=data.draw(st.booleans()))


@given(st.data())
def test_replay_untold_is_the_same_as_appending(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    bars = sorted_stream(data, window, base)
    root, record = begin(window, base, derived)
    for start, stop in data.draw(splits(len(bars), 3)):
        assert record.preload(bars[start:stop]) == stop - start
    assert (record.n_waiting, len(record.bars[base])) == (len(bars), 0)
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    cursor.run()
    assert (cursor.n_bars, record.n_waiting, root.now_ns) == (len(bars), 0, window.close_ns)
    one_root, one = begin(window, base, derived)
    one.append_block(bars)
    one_root.end()
    assert snapshot(record) == snapshot(one)


@given(st.data())
def test_replay_steps_show_each_bar_at_its_end_and_none_before(data: st.DataObject) -> None:
    window = data.draw(short_windows("1m"))
    root = SessionData()
    root.begin(window)
    records: list[SymbolSessionData] = []
    loaded: dict[str, BarArray] = {}
    for symbol in data.draw(st.sampled_from(["A", "AB", "ABCD"])):
        base = data.draw(st.sampled_from(["1m", "5m", "2m"]))
        derived = data.draw(st.sampled_from([[], ["10m"], ["10m", "30m", "1d"]]))
        record = SymbolSessionData(symbol, base_interval=base, derived_intervals=derived)
        records.append(root.register_symbol_data(record))
        loaded[symbol] = sorted_stream(data, window, base)
        record.preload(loaded[symbol])
    cursor = ReplayCursor(root.core)
    for record in records:
        cursor.add(record)
    ends = {r.symbol: ends_of(window, r.base_interval, loaded[r.symbol]) for r in records}
    all_ends = {symbol: set(held) for symbol, held in ends.items()}
    told: list[tuple[int, str]] = []

    def look(ts_ns: int, slice_records: Any) -> None:
        assert root.now_ns == ts_ns
        assert sorted(map(id, slice_records)) == sorted(
            id(r) for r in records if ts_ns in all_ends[r.symbol]
        )
        told.extend((ts_ns, r.symbol) for r in slice_records)
        for record in records:
            n = bisect_right(ends[record.symbol], ts_ns)
            held = record.bars[record.base_interval].data
            assert held.tobytes() == loaded[record.symbol][:n].tobytes()

    cursor.run(look)
    assert sorted(told) == sorted((end, symbol) for symbol in ends for end in ends[symbol])
    assert [ts for ts, _ in told] == sorted(ts for ts, _ in told)
    for record in records:
        one_root, one = begin(window, record.base_interval, record.derived_intervals)
        one.append_block(loaded[record.symbol])
        one_root.end()
        assert_same_but_symbol(record, one)


@given(st.data())
def test_replay_takes_bars_of_others_in_between(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    bars = sorted_stream(data, window, base)
    extra = [call for call in data.draw(streams(window, base, advance=False)) if call.is_bar]
    root, record = begin(window, base, derived)
    one_root, one = begin(window, base, derived)
    record.preload(bars)
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    ends = ends_of(window, base, bars)
    end_by_start = dict(
        zip(window.grid(base).starts_ns.tolist(), window.grid(base).ends_ns.tolist(), strict=True)
    )
    every = max(1, len(bars) // (len(extra) + 1))
    looks = data.draw(st.sets(st.integers(0, 40), max_size=5))
    n_steps = 0
    n_given = 0
    while cursor.step():
        n = bisect_right(ends, root.now_ns)
        for row in bars[n_given:n].tolist():
            give(one_root, one, Call("bar", row[0], row[1:]))
        n_given = n
        give(one_root, one, Call("advance", root.now_ns))
        n_steps += 1
        if n_steps % every == 0 and extra:
            call = extra.pop()
            # A feed sends what has ended; what the replay has not shown yet is not over.
            if end_by_start.get(call.ts_ns, 0) <= root.now_ns:
                assert give(root, record, call) == give(one_root, one, call)
        if n_steps in looks:
            assert snapshot(record) == snapshot(one)
    assert n_given == len(bars)
    one_root.end()
    assert snapshot(record) == snapshot(one)


@given(st.data())
def test_replay_of_what_was_partly_there_is_the_same_as_appending(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    early = data.draw(streams(window, base))
    bars = to_bars(data.draw(streams(window, base, advance=False)))
    root, record = begin(window, base, derived)
    one_root, one = begin(window, base, derived)
    for call in early:
        give(root, record, call)
        give(one_root, one, call)
    record.preload(bars)
    one.append_block(bars)
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    cursor.run()
    one_root.end()
    for name, series in record.bars.items():
        assert series.data.tobytes() == one.bars[name].data.tobytes()
        assert series.gaps == one.bars[name].gaps
        assert series.quality == one.bars[name].quality
    assert record.rejected == one.rejected
    assert record.session_metrics == one.session_metrics


@pytest.mark.parametrize("told", [False, True])
@given(data=st.data())
def test_replay_overtaken_by_others_ends_up_the_same(told: bool, data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    bars = sorted_stream(data, window, base)
    ahead = [call for call in data.draw(streams(window, base, advance=False)) if call.is_bar]
    root, record = begin(window, base, derived)
    one_root, one = begin(window, base, derived)
    record.preload(bars)
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    for _ in range(data.draw(st.integers(0, 5))):
        cursor.step()
    n = bisect_right(ends_of(window, base, bars), root.now_ns)
    one.append_block(bars[:n])
    for call in ahead:
        assert give(root, record, call) == give(one_root, one, call)
    one.append_block(bars[n:])
    if told:
        while cursor.step():
            pass
    else:
        cursor.run()
    one_root.end()
    assert record.n_waiting == 0
    assert snapshot(record) == snapshot(one)


@pytest.mark.parametrize("day", ["half_day", "lunch", "fall_back"])
def test_replay_of_a_whole_day_closes_every_bar_once_in_order(day: str) -> None:
    window = real_windows("clock")[day]
    rng = np.random.default_rng(31)
    bars = make_bars(window, "1s", 0.2, rng)
    root, record = begin(window, "1s", DAY_1S)
    record.preload(bars)
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    told: dict[str, list[tuple[Any, ...]]] = {"1m": [], "1h": [], "1d": []}
    for name, rows in told.items():
        cursor.on_close(name, lambda _, bar, rows=rows: rows.append((root.now_ns, bar)))
    cursor.run()
    for name, rows in told.items():
        grid = window.grid(name)
        slots = [grid.slot_of(bar.ts_ns) for _, bar in rows]
        assert [now for now, _ in rows] == grid.ends_ns[slots].tolist()
        assert [bar for _, bar in rows] == [
            record.bars[name].asof(int(end)) for end in grid.ends_ns[slots]
        ]
        assert len(rows) == len(record.bars[name])


@pytest.mark.parametrize("base", PLANS)
def test_replay_of_a_disordered_load_takes_the_last_of_each_label(base: str) -> None:
    window = real_windows()["half_day"]
    rows = to_bars(make_stream(window, base, 0.8, 44, disorder=0.1))
    root, record = begin(window, base, ["10m"])
    record.preload(rows)
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    cursor.run()
    one_root, one = begin(window, base, ["10m"])
    one.append_block(rows)
    one_root.end()
    for name in (base, "10m"):
        assert record.bars[name].data.tobytes() == one.bars[name].data.tobytes()
        assert record.bars[name].gaps == one.bars[name].gaps


def test_preload_loses_no_good_bar_to_a_bad_one_of_its_label() -> None:
    window = real_windows()["half_day"]
    root, record = begin(window, "1m", ["5m"])
    opened = window.open_ns
    rows = [
        Call("bar", opened + MINUTE, (10.0, 11.0, 9.0, 10.0, 5.0)),
        Call("bar", opened, (10.0, 11.0, 9.0, 10.0, 5.0)),
        Call("bar", opened + MINUTE, (10.0, 9.0, 11.0, 10.0, 5.0)),
    ]
    record.preload(to_bars(rows))
    assert record.rejected == {"high_below_low": 1}
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    cursor.run()
    assert record.bars["1m"].timestamp(9).tolist() == [opened, opened + MINUTE]


def test_preload_behind_a_waiting_bar_is_not_seen_before_its_end() -> None:
    window = real_windows()["half_day"]
    root, record = begin(window, "1m")
    opened = window.open_ns
    values = (10.0, 11.0, 9.0, 10.0, 5.0)
    record.preload(to_bars([Call("bar", opened + 9 * MINUTE, values)]))
    record.preload(to_bars([Call("bar", opened + 5 * MINUTE, values)]))
    assert len(record.bars["1m"]) == 0
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    seen = []
    cursor.run(lambda ts_ns, _: seen.append(ts_ns))
    assert seen == [opened + 6 * MINUTE, opened + 10 * MINUTE]


def assert_same_but_symbol(record: SymbolSessionData, one: SymbolSessionData) -> None:
    theirs, ours = snapshot(one), snapshot(record)
    for name in record.bars:
        theirs[name].pop("open_bar")
        ours[name].pop("open_bar")
    assert ours == theirs


def test_record_that_was_looked_at_before_its_bars_came_catches_up_without_a_seam() -> None:
    # More bars than are folded at a time, of a morning that the clock has ended.
    window = ob.TimeManager("XNYS").session_window(date(2025, 7, 2))
    root = ob.SessionData()
    root.begin(window)
    root.advance(window.open_ns + 3000 * 10**9)
    record = root.register_symbol_data(
        ob.SymbolSessionData("A", base_interval="1s", derived_intervals=["5m"])
    )
    assert record.bars["5m"].quality == 0
    bars = np.zeros(3000, ob.BAR_DTYPE)
    bars["timestamp"] = window.open_ns + 10**9 * np.arange(3000)
    for name in ("open", "high", "low", "close", "volume"):
        bars[name] = 1.0
    record.preload(bars)
    ReplayCursor(root.core).add(record)
    assert record.bars["5m"].n_base is not None
    assert record.bars["5m"].n_base.tolist() == [300] * 10
    assert record.bars["5m"].revision == 0
