"""A replay tells each bar once, at its end, whatever those who are told do meanwhile."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell._native.replay import ReplayCursor
from tests.strategies import make_bars, short_windows

DEEDS = ["read", "look at others", "keep", "correct", "fill in", "remove the next"]


@given(st.data())
def test_each_bar_is_told_once_whatever_the_told_do(data: st.DataObject) -> None:
    window = data.draw(short_windows("1m"))
    grid = window.grid("1m")
    end_of = dict(zip(grid.starts_ns.tolist(), grid.ends_ns.tolist(), strict=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    root = ob.SessionData()
    root.begin(window)
    cursor = ReplayCursor(root.core)
    due: list[tuple[int, str, tuple[float, ...]]] = []
    for symbol in "BCA":
        record = root.register_symbol_data(
            ob.SymbolSessionData(symbol, base_interval="1m", derived_intervals=["2m"])
        )
        bars = make_bars(window, "1m", data.draw(st.sampled_from([0.0, 0.5, 1.0, 1.0])), rng)
        record.preload(bars)
        cursor.add(record)
        due += [(end_of[row[0]], symbol, row) for row in bars.tolist()]
    due.sort()
    # Most of the told do nothing; some read for a while.
    at = st.integers(0, 300)
    deeds = data.draw(st.dictionaries(at, st.sampled_from(DEEDS), max_size=20))
    reads_from, reads_to = data.draw(at), data.draw(at)
    kept: list[tuple[ob.BarData, tuple[float, ...]]] = []
    gone: set[str] = set()
    n_told = 0

    def values(bar: ob.BarData) -> tuple[float, ...]:
        return bar.ts_ns, bar.open, bar.high, bar.low, bar.close, bar.volume

    def hear(record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        nonlocal n_told
        while due[0][1] in gone:
            del due[0]
        found = (root.now_ns, record.symbol, values(bar))
        assert found == due.pop(0)
        assert (bar.symbol, bar.interval, bar.is_correction) == (record.symbol, "1m", False)
        deed = deeds.get(n_told, "read" if reads_from <= n_told < reads_to else "nothing")
        n_told += 1
        series = record.bars["1m"]
        if deed == "read":
            assert series.data[-1].item() == values(bar)
        elif deed == "look at others":
            for other in root:
                ends = [end_of[ts] for ts in other.bars["1m"].data["timestamp"].tolist()]
                assert all(end <= root.now_ns for end in ends)
        elif deed == "keep":
            kept.append((bar, values(bar)))
        elif deed == "correct":
            record.append(*(*values(bar)[:5], bar.volume + 1))
        elif deed == "fill in":
            held = set(series.data["timestamp"].tolist())
            missing = [ts for ts in end_of if ts < bar.ts_ns and ts not in held]
            if missing:
                record.append(missing[-1], 1.0, 1.0, 1.0, 1.0, 1.0)
        elif deed == "remove the next" and record.symbol != "C":
            symbol = "BC"["AB".index(record.symbol)]
            root.remove_symbol(symbol)
            gone.add(symbol)

    cursor.on_close("1m", hear)
    if data.draw(st.booleans()):
        cursor.on_close("2m", lambda _record, _bar: None)
    cursor.run()
    assert {symbol for _, symbol, _ in due} <= gone
    assert [values(bar) for bar, _ in kept] == [told for _, told in kept]
    assert len({id(bar) for bar, _ in kept}) == len(kept)
