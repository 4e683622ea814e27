"""The model that judges the engine, judged itself: by hand, and against the kernels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbell import kernels
from openbell.clock.window import SessionWindow
from openbell.schema import BAR_DTYPE
from tests.model import RecordModel
from tests.strategies import (
    DAY_1M,
    MINUTE,
    SECOND,
    SHORT_1M,
    SHORT_1S,
    make_stream,
    real_windows,
    short_windows,
    splits,
    streams,
    window_of,
)

OPEN = window_of(("2025-07-02T13:30", "2025-07-02T13:42")).open_ns


def model_of(*, capacity: int | None = None) -> RecordModel:
    return RecordModel([(OPEN, OPEN + 12 * MINUTE)], "1m", ["2m", "5m"], capacity=capacity)


def put(model: RecordModel, minute: int, price: float = 10.0, volume: float = 1.0) -> str:
    return model.append(OPEN + minute * MINUTE, price, price + 1, price - 1, price + 0.5, volume)


def test_model_by_hand_answers_each_kind_of_bar() -> None:
    model = model_of()
    assert [put(model, 1), put(model, 4), put(model, 2)] == ["appended", "appended", "late"]
    assert [put(model, 2), put(model, 2, 20.0), put(model, 4, 5.0)] == [
        "duplicate", "corrected", "corrected",
    ]  # fmt: skip
    assert (model.n_late, model.n_duplicate, model.n_corrected, model.revision) == (1, 1, 2, 3)
    assert [row.open for row in model.base_rows()] == [10.0, 20.0, 5.0]
    assert (model.session_high, model.session_low, model.session_volume) == (21.0, 4.0, 3.0)


def test_model_by_hand_derives_scores_and_finds_gaps() -> None:
    model = model_of()
    for minute, price in ((1, 10.0), (2, 20.0), (4, 5.0)):
        put(model, minute, price, 2.0)
    assert model.elapsed == OPEN + 5 * MINUTE
    assert model.rows("2m") == [
        (OPEN, 10.0, 11.0, 9.0, 10.5, 2.0, 1),
        (OPEN + 2 * MINUTE, 20.0, 21.0, 19.0, 20.5, 2.0, 1),
    ]
    assert model.open_bar("2m") == (OPEN + 4 * MINUTE, 5.0, 6.0, 4.0, 5.5, 2.0, 1)
    assert model.rows("5m") == [(OPEN, 10.0, 21.0, 4.0, 5.5, 6.0, 3)]
    assert model.open_bar("5m") is None
    assert (model.quality("1m"), model.coverage("2m"), model.quality("5m")) == (60.0, 1.0, 100.0)
    assert model.gaps("1m") == [(OPEN, OPEN), (OPEN + 3 * MINUTE, OPEN + 3 * MINUTE)]

    model.advance(OPEN + 12 * MINUTE)
    model.advance(OPEN + MINUTE)
    assert model.elapsed == OPEN + 12 * MINUTE
    assert model.gaps("1m")[-1] == (OPEN + 5 * MINUTE, OPEN + 11 * MINUTE)
    assert model.gaps("5m") == [(OPEN + 5 * MINUTE, OPEN + 10 * MINUTE)]
    assert (model.n_missing("1m"), model.n_gaps("1m"), model.quality("1m")) == (9, 3, 25.0)
    assert model.open_bar("2m") is None


def test_model_by_hand_says_nothing_while_nothing_is_expected() -> None:
    model = model_of()
    assert (model.quality("1m"), model.coverage("5m"), model.gaps("1m")) == (None, None, [])
    assert (model.session_high, model.session_low, model.session_volume) == (None, None, 0.0)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ((OPEN, math.nan, 1.0, 1.0, 1.0, 1.0), "not_finite"),
        ((OPEN - 1, 1.0, 1.0, 1.0, 1.0, math.inf), "not_finite"),
        ((OPEN, 9.0, 1.0, 2.0, 1.0, 1.0), "high_below_low"),
        ((OPEN, 3.0, 2.0, 1.0, 1.0, -1.0), "outside_range"),
        ((OPEN - 1, 1.0, 2.0, 1.0, 1.0, -1.0), "negative_volume"),
        ((OPEN - 1, 1.0, 2.0, 1.0, 1.0, 1.0), "outside_session"),
        ((OPEN + 12 * MINUTE, 1.0, 2.0, 1.0, 1.0, 1.0), "outside_session"),
        ((OPEN + 1, 1.0, 2.0, 1.0, 1.0, 1.0), "off_grid"),
    ],
)
def test_model_by_hand_refuses_for_the_first_reason(
    row: tuple[int, float, float, float, float, float], reason: str
) -> None:
    model = model_of()
    assert model.append(*row) == reason
    assert model.rejected == {reason: 1}
    assert model.base_rows() == []


def test_model_by_hand_evicts_the_oldest_and_refuses_what_it_needs() -> None:
    model = model_of(capacity=3)
    for minute in (0, 1, 2, 3, 4, 5):
        assert put(model, minute) == "appended"
    assert (len(model.held("1m")), model.n_evicted("1m")) == (6, 0)
    assert put(model, 7) == "appended"
    assert [row.ts for row in model.held("1m")] == [OPEN + m * MINUTE for m in (3, 4, 5, 7)]
    assert (model.n_evicted("1m"), model.n_evicted("2m"), len(model.held("2m"))) == (3, 0, 4)
    assert put(model, 2) == put(model, 0) == "evicted"
    assert put(model, 3, 11.0) == "evicted"  # 2m from minute 2, which is gone
    assert put(model, 4, 11.0) == "evicted"  # 5m from minute 0, which is gone
    assert put(model, 4) == "duplicate"
    assert put(model, 5, 11.0) == "corrected"  # 2m from minute 4 and 5m from 5: all still held
    assert put(model, 6) == "late"
    assert put(model, 8) == "appended"
    assert [row.ts for row in model.base_rows()] == [OPEN + m * MINUTE for m in range(3, 9)]
    assert put(model, 8) == "duplicate"  # room is made before its place is sought
    assert [row.ts for row in model.base_rows()] == [OPEN + m * MINUTE for m in (6, 7, 8)]
    assert put(model, 9) == "appended"
    assert put(model, 7, 11.0) == "evicted"  # 5m from minute 5, which is gone
    assert model.rejected == {"evicted": 5}
    assert model.session_volume == 10.0
    assert [row.n_base for row in model.rows("2m")] == [2, 2, 2, 2, 2]


@given(st.data())
def test_model_streams_agree_with_the_kernels(data: st.DataObject) -> None:
    base, intervals = data.draw(st.sampled_from([("1s", SHORT_1S), ("1m", SHORT_1M)]))
    window = data.draw(short_windows(base))
    model = RecordModel(window.segments, base, intervals, window.anchor, window.timezone)
    for call in data.draw(streams(window, base)):
        if call.is_bar:
            model.append(call.ts_ns, *call.values)
        else:
            model.advance(call.ts_ns)
    assert_agrees(model, window, base, intervals)


@pytest.mark.parametrize("day", ["half_day", "lunch", "spring_forward", "fall_back"])
@pytest.mark.parametrize("anchor", ["session", "clock"])
def test_model_days_agree_with_the_kernels(day: str, anchor: str) -> None:
    window = real_windows(anchor)[day]
    model = RecordModel(window.segments, "1m", DAY_1M, window.anchor, window.timezone)
    for call in make_stream(window, "1m", 0.9, 11, disorder=0.1):
        model.append(call.ts_ns, *call.values)
    assert model.n_late > 0
    assert model.n_corrected > 0
    assert_agrees(model, window, "1m", DAY_1M)


def assert_agrees(
    model: RecordModel, window: SessionWindow, base: str, intervals: tuple[str, ...]
) -> None:
    bars = np.array([row[:6] for row in model.base_rows()], dtype=BAR_DTYPE)
    made = kernels.derive_many(bars, window, intervals, base=base, elapsed_ns=model.elapsed)
    made[base] = bars, np.ones(len(bars), dtype=np.int32)
    for name, (rows, n_base) in made.items():
        expected = model.rows(name)
        assert [row[:6] for row in expected] == rows.tolist()
        assert [row.n_base for row in expected] == n_base.tolist()
        grid = window.grid(name)
        first, count = kernels.find_gaps(rows, grid, model.elapsed)
        starts = grid.starts_ns
        last = starts[first + count - 1]
        assert model.gaps(name) == list(zip(starts[first].tolist(), last.tolist(), strict=True))
        assert model.n_missing(name) == count.sum()
        assert model.quality(name) == kernels.score(rows, grid, model.elapsed)


@given(st.data())
def test_splits_cover_every_row_once(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 50))
    blocks = data.draw(splits(n))
    assert [row for start, stop in blocks for row in range(start, stop)] == list(range(n))


def test_streams_reach_every_outcome() -> None:
    seen: set[str] = set()

    @settings(max_examples=500)
    @given(st.data())
    def collect(data: st.DataObject) -> None:
        window = data.draw(short_windows("1s"))
        model = RecordModel(window.segments, "1s", ["5s", "1m"], capacity=20)
        for call in data.draw(streams(window, "1s")):
            if call.is_bar:
                seen.add(model.append(call.ts_ns, *call.values))
            else:
                model.advance(call.ts_ns + SECOND)

    collect()
    assert seen == {
        "appended", "late", "corrected", "duplicate", "not_finite", "high_below_low",
        "outside_range", "negative_volume", "outside_session", "off_grid", "evicted",
    }  # fmt: skip
