"""Blocks of any size and order: the same bytes as one by one, counters included."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.clock.window import Anchor, SessionWindow
from openbell.errors import SchemaError
from openbell.schema import BAR_DTYPE, BarArray
from openbell.symbol import SymbolSessionData
from tests.engine import assert_like_model, begin, give, give_model, model_of, plans, snapshot
from tests.model import RecordModel
from tests.strategies import (
    DAY_1M,
    DAY_1S,
    SECOND,
    Call,
    make_stream,
    real_windows,
    splits,
    streams,
    to_bars,
    window_of,
)

WINDOW = window_of(
    ("2025-07-02T13:30", "2025-07-02T13:36"), ("2025-07-02T13:40", "2025-07-02T13:45")
)


@given(st.data())
def test_blocks_of_any_split_are_the_same_as_one_by_one(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    one_root, one = begin(window, base, derived)
    root, record = begin(window, base, derived)
    model = model_of(window, base, derived)
    calls = data.draw(streams(window, base))
    for run in runs_between_clocks(calls):
        n_taken = 0
        if run[0].is_bar:
            bars = to_bars(run)
            for start, stop in data.draw(splits(len(bars), 4)):
                n_taken += record.append_block(bars[start:stop])
        else:
            give(root, record, run[0])
        refused = [give(one_root, one, call) for call in run]
        assert n_taken == refused.count(None) * run[0].is_bar
        for call in run:
            give_model(model, call)
        if data.draw(st.booleans()):
            assert snapshot(record) == snapshot(one)
    assert snapshot(record) == snapshot(one)
    root.end()
    one_root.end()
    model.advance(window.close_ns)
    assert snapshot(record) == snapshot(one)
    assert_like_model(record, model)


@given(st.data())
def test_block_of_a_whole_shuffled_stream_is_the_same_as_one_by_one(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    rows = to_bars(data.draw(streams(window, base, advance=False)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    n_shuffled = data.draw(st.integers(0, len(rows)))
    rows[:n_shuffled] = rows[rng.permutation(n_shuffled)]
    one = given_one_by_one(window, base, derived, rows)
    _, record = begin(window, base, derived)
    record.append_block(rows)
    assert snapshot(record) == snapshot(one)


@given(st.data())
def test_blocks_that_rewrite_closed_rows_change_the_revision(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    rows = to_bars(data.draw(streams(window, base, advance=False)))
    _, record = begin(window, base, derived)
    for start, stop in data.draw(splits(len(rows), 6)):
        before = {n: (s.revision, s.data.tobytes()) for n, s in record.bars.items()}
        record.append_block(rows[start:stop])
        base_changed = record.bars[base].revision != before[base][0]
        for name, (revision, held) in before.items():
            series = record.bars[name]
            if series.revision == revision:
                assert series.data.tobytes().startswith(held)
            else:
                assert base_changed


@pytest.mark.parametrize("anchor", ["session", "clock"])
@pytest.mark.parametrize("day", ["half_day", "lunch", "spring_forward", "fall_back"])
def test_block_of_a_whole_day_is_the_same_as_one_by_one(day: str, anchor: Anchor) -> None:
    window = real_windows(anchor)[day]
    for base, derived, density in (
        ("1s", [*DAY_1S], 0.4), ("5s", [*DAY_1S[1:]], 0.9), ("1m", [*DAY_1M], 1.0)
    ):  # fmt: skip
        rows = to_bars(make_stream(window, base, density, 5, disorder=0.001))
        one = given_one_by_one(window, base, derived, rows)
        for cuts in ([], [1], [900, 901, 2000], [len(rows) // 2]):
            _, record = begin(window, base, derived)
            assert sum(record.append_block(part) for part in np.split(rows, cuts)) == len(rows)
            assert snapshot(record) == snapshot(one)
            if base == "1m":
                assert_like_model(record, modelled(window, base, derived, rows))


@pytest.mark.parametrize(
    "seconds",
    [
        [0, 0, *range(5, 25)],            # goes on behind a bucket that is open
        [0, 1, 0, *range(2, 30)],         # a repeat before a long rest in order
        [3, 2, 1, 0, *range(4, 40)],
        [359, *range(600, 630), 5, 358, 600, 6, *range(300, 359)],   # from one segment to the other
        [*range(300), *range(300)],
        [*range(0, 360, 7), *range(3, 360, 7), *range(600, 900, 2)],
    ],
)  # fmt: skip
def test_block_out_of_order_loses_no_bucket(seconds: list[int]) -> None:
    rows = np.zeros(len(seconds), BAR_DTYPE)
    rows["timestamp"] = WINDOW.open_ns + np.array(seconds) * SECOND
    for field in ("open", "high", "low", "close"):
        rows[field] = 10.0
    rows["volume"] = np.arange(len(seconds)) % 3
    derived = ["5s", "10s", "15s", "1m", "2m", "1d"]
    _, record = begin(WINDOW, "1s", derived)
    assert record.append_block(rows) == len(rows)
    assert snapshot(record) == snapshot(given_one_by_one(WINDOW, "1s", derived, rows))
    assert_like_model(record, modelled(WINDOW, "1s", derived, rows))


def test_block_leaves_its_argument_alone_and_takes_any_layout(rng: np.random.Generator) -> None:
    rows = to_bars(make_stream(WINDOW, "1s", 0.9, 3, disorder=0.2))
    _, plain = begin(WINDOW, "1s", ["1m"])
    plain.append_block(rows)
    sparse = np.zeros(2 * len(rows), BAR_DTYPE)
    sparse[::2] = rows
    before = sparse.tobytes()
    sparse.flags.writeable = False
    for view in (sparse[::2], rows[::-1].copy()[::-1]):
        _, record = begin(WINDOW, "1s", ["1m"])
        record.append_block(view)
        assert snapshot(record) == snapshot(plain)
    assert sparse.tobytes() == before


def test_block_of_other_names_is_refused_whole() -> None:
    _, record = begin(WINDOW, "1s", ["1m"])
    names = ["timestamp", "close", "high", "low", "open", "volume"]
    swapped = np.zeros(3, [(name, BAR_DTYPE[i]) for i, name in enumerate(names)])
    with pytest.raises(SchemaError):
        record.append_block(swapped)
    with pytest.raises(SchemaError):
        record.append_block([(0, 1.0, 1.0, 1.0, 1.0, 1.0)])
    assert (len(record.bars["1s"]), record.rejected) == (0, {})


def runs_between_clocks(calls: list[Call]) -> list[list[Call]]:
    runs: list[list[Call]] = []
    for call in calls:
        if runs and call.is_bar and runs[-1][0].is_bar:
            runs[-1].append(call)
        else:
            runs.append([call])
    return runs


def given_one_by_one(
    window: SessionWindow, base: str, derived: list[str], rows: BarArray
) -> SymbolSessionData:
    root, record = begin(window, base, derived)
    for row in rows.tolist():
        give(root, record, Call("bar", row[0], row[1:]))
    return record


def modelled(window: SessionWindow, base: str, derived: list[str], rows: BarArray) -> RecordModel:
    model = model_of(window, base, derived)
    model.append_block(rows.tolist())
    return model
