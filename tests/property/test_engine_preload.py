"""Preloaded bars are judged as appended ones are, whether the record copies or adopts them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell._native.arena import Arena
from openbell._native.batches import Interleaver, is_judged
from openbell._native.columns import all_fit
from openbell.clock.window import SessionWindow
from openbell.schema import BAR_DTYPE, BAR_FIELDS, BarArray
from openbell.symbol import SymbolSessionData
from tests.engine import begin, give, plans, snapshot
from tests.strategies import SECOND, Call, real_windows, splits, streams, to_bars

BAD_VALUES = st.sampled_from([np.nan, np.inf, -np.inf, -1e300, 1e300])


def read(arena: Arena, bars: BarArray, step_ns: int, cuts: list[tuple[int, int]]) -> BarArray:
    """The bars as a source that decodes them in batches gives them."""
    filled = Interleaver(arena, [len(bars)], step_ns)
    for start, stop in cuts:
        filled.add(*(np.ascontiguousarray(bars[start:stop][name]) for name in BAR_FIELDS))
    assert filled.n_left == 0
    return filled.arrays[0]


def replayed(
    window: SessionWindow, base: str, derived: list[str], bars: BarArray, *, adopt: bool
) -> tuple[SymbolSessionData, int]:
    from openbell._native.replay import ReplayCursor

    root, record = begin(window, base, derived, n_reserve=0)
    n_taken = record.preload(bars, adopt=adopt)
    cursor = ReplayCursor(root.core)
    cursor.add(record)
    cursor.run()
    return record, n_taken


@given(st.data())
def test_preload_of_any_bars_is_the_same_as_appending_them_in_order(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    rows = to_bars(data.draw(streams(window, base, advance=False)))
    if data.draw(st.booleans()):
        rows = np.sort(rows, order="timestamp", kind="stable")
        rows = rows[np.append(np.diff(rows["timestamp"]) > 0, True)[: len(rows)]]
    for _ in range(data.draw(st.integers(0, 2)) if len(rows) else 0):
        at = data.draw(st.integers(0, len(rows) - 1))
        rows[at][data.draw(st.sampled_from(BAR_FIELDS[1:]))] = data.draw(BAD_VALUES)
    root, one = begin(window, base, derived)
    in_order = rows[np.argsort(rows["timestamp"], kind="stable")]
    refused = [give(root, one, Call("bar", row[0], row[1:])) for row in in_order.tolist()]
    root.end()
    step_ns = window.grid(base).step_ns
    decoded = read(Arena(), rows, step_ns, data.draw(splits(len(rows), 3)))
    for bars, adopt in ((rows, False), (rows.copy(), True), (decoded, True)):
        record, n_taken = replayed(window, base, derived, bars, adopt=adopt)
        # Nobody has seen a bar that is corrected while it waits.
        unseen = {"revision": one.bars[base].revision}
        assert snapshot(record) | unseen == snapshot(one)
        assert n_taken == refused.count(None)
        assert bars.tobytes() == rows.tobytes() or adopt
    fits = all(r is None for r in refused) and bool((np.diff(rows["timestamp"]) > 0).all())
    grid = window.grid(base)
    assert all_fit(rows, grid.segments, grid.step_ns) == fits


@pytest.mark.parametrize("day", ["half_day", "lunch", "spring_forward"])
def test_preload_adopts_good_bars_without_a_copy(day: str, rng: np.random.Generator) -> None:
    window = real_windows()[day]
    labels = window.grid("1m").starts_ns[rng.random(window.grid("1m").n_slots) < 0.8]
    bars = np.zeros(len(labels), BAR_DTYPE)
    bars["timestamp"] = labels
    arena = Arena()
    given_away = read(arena, bars, 60 * SECOND, [(0, 50), (50, len(bars))])
    assert is_judged(given_away)
    record, n_taken = replayed(window, "1m", ["5m"], given_away, adopt=True)
    assert n_taken == len(bars)
    assert np.shares_memory(record.bars["1m"].data, given_away)
    assert record.bars["1m"].data.tobytes() == bars.tobytes()
    # What a record has adopted, another one copies.
    other, n_taken = replayed(window, "1m", ["5m"], given_away, adopt=True)
    assert n_taken == len(bars)
    assert not np.shares_memory(other.bars["1m"].data, given_away)
    assert snapshot(other) == snapshot(record)


def test_preload_copies_what_it_is_not_given() -> None:
    window = real_windows()["half_day"]
    bars = np.zeros(30, BAR_DTYPE)
    bars["timestamp"] = window.grid("1m").starts_ns[:30]
    decoded = read(Arena(), bars, 60 * SECOND, [(0, 30)])
    record, _ = replayed(window, "1m", [], decoded, adopt=False)
    assert not np.shares_memory(record.bars["1m"].data, decoded)
    # Nor where the record has memory, or most of the array's would lie idle.
    root, reserved = begin(window, "1m", [], n_reserve=40)
    for bars_given, taker in ((decoded, reserved), (decoded[20:], begin(window, "1m")[1])):
        taker.preload(bars_given, adopt=True)
        root.end()
        assert taker.n_waiting == len(bars_given)
    record, _ = replayed(window, "1m", [], decoded, adopt=True)
    assert np.shares_memory(record.bars["1m"].data, decoded)


def test_adopted_memory_goes_back_when_record_and_views_are_gone() -> None:
    window = real_windows()["half_day"]
    bars = np.zeros(200, BAR_DTYPE)
    bars["timestamp"] = window.grid("1m").starts_ns[:200]
    arena = Arena()
    record, _ = replayed(window, "1m", [], read(arena, bars, 60 * SECOND, [(0, 200)]), adopt=True)
    view = record.bars["1m"].data
    record.append(window.grid("1m").starts_ns[205], 1.0, 1.0, 1.0, 1.0, 0.0)
    assert len(record.bars["1m"]) == 201
    assert view.tobytes() == bars.tobytes()
    assert arena.n_used_bytes > 0
    del record, view
    assert arena.n_used_bytes == 0
