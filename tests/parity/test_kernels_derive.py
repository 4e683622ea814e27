"""Folding: the kernels against the plain reference, byte for byte."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell import kernels
from openbell.clock.window import SessionWindow
from openbell.errors import IntervalError, SchemaError, TimeError
from openbell.intervals import fold_sources
from openbell.kernels import reference
from openbell.schema import BAR_DTYPE, BarArray
from tests.strategies import (
    DAY_1M,
    DAY_1S,
    MINUTE,
    SECOND,
    SHORT_1M,
    SHORT_1S,
    bar_arrays,
    day_windows,
    make_bars,
    real_windows,
    short_windows,
    utc_ns,
    window_of,
)


def slots_of(window: SessionWindow, interval: str) -> list[reference.Slot]:
    return reference.list_slots(window.segments, interval, window.anchor, window.timezone)


def assert_same(got: kernels.Derived, expected: tuple[list[reference.Bar], list[int]]) -> None:
    bars, n_base = got
    assert bars.dtype == BAR_DTYPE
    assert n_base.dtype == np.int32
    assert bars.tobytes() == np.array(expected[0], dtype=BAR_DTYPE).tobytes()
    assert n_base.tolist() == expected[1]


def assert_tree_same(
    bars: BarArray, window: SessionWindow, base: str, intervals: tuple[str, ...],
    elapsed: int | None,
) -> None:  # fmt: skip
    got = kernels.derive_many(bars, window, intervals, base=base, elapsed_ns=elapsed)
    rows = bars.tolist()
    made: dict[str, tuple[list[reference.Bar], list[int]]] = {base: (rows, [1] * len(rows))}
    for name, source in fold_sources(base, intervals).items():
        children, counts = made[source]
        slots = slots_of(window, name)
        made[name] = reference.derive(children, slots, counts, elapsed)
        assert_same(got[name], made[name])
        # Not through the tree: volumes may then be added in other groups.
        straight, straight_n = reference.derive(rows, slots, None, elapsed)
        assert [bar[:5] for bar in made[name][0]] == [bar[:5] for bar in straight]
        assert made[name][1] == straight_n
        for through_tree, direct in zip(made[name][0], straight, strict=True):
            assert math.isclose(through_tree[5], direct[5], rel_tol=1e-9)
            if all(row[5].is_integer() for row in rows):
                assert through_tree[5] == direct[5]
    assert list(got) == [name for name in made if name != base]


def elapsed_in(data: st.DataObject, window: SessionWindow) -> int | None:
    at = st.integers(window.open_ns - MINUTE, window.close_ns + MINUTE)
    edges = st.sampled_from([edge for segment in window.segments for edge in segment])
    return data.draw(st.none() | at | edges)


@given(st.data())
def test_derive_short_windows_equal_the_reference(data: st.DataObject) -> None:
    base, intervals = data.draw(st.sampled_from([("1s", SHORT_1S), ("1m", SHORT_1M)]))
    window = data.draw(short_windows(base))
    bars = data.draw(bar_arrays(window, base))
    name = data.draw(st.sampled_from(intervals))
    elapsed = elapsed_in(data, window)
    got = kernels.derive(bars, window.grid(name), elapsed_ns=elapsed)
    assert_same(got, reference.derive(bars.tolist(), slots_of(window, name), None, elapsed))


@given(st.data())
def test_derive_many_short_windows_equal_the_reference(data: st.DataObject) -> None:
    base, intervals = data.draw(st.sampled_from([("1s", SHORT_1S), ("1m", SHORT_1M)]))
    window = data.draw(short_windows(base))
    bars = data.draw(bar_arrays(window, base))
    chosen = tuple(data.draw(st.lists(st.sampled_from(intervals), unique=True)))
    assert_tree_same(bars, window, base, chosen, elapsed_in(data, window))


@given(st.data())
def test_derive_many_whole_days_of_minutes_equal_the_reference(data: st.DataObject) -> None:
    window = data.draw(day_windows())
    bars = data.draw(bar_arrays(window, "1m"))
    assert_tree_same(bars, window, "1m", DAY_1M, elapsed_in(data, window))


@pytest.mark.parametrize("anchor", ["session", "clock"])
@pytest.mark.parametrize("density", [0.02, 0.95])
@pytest.mark.parametrize("day", ["regular", "half_day", "lunch"])
def test_derive_many_days_of_seconds_equal_the_reference(
    day: str, density: float, anchor: str, rng: np.random.Generator
) -> None:
    window = real_windows(anchor)[day]
    bars = make_bars(window, "1s", density, rng, whole_volumes=False)
    assert_tree_same(bars, window, "1s", DAY_1S, None)


def test_derive_many_around_the_clock_sparse_equals_the_reference(
    rng: np.random.Generator,
) -> None:
    window = real_windows()["around_the_clock"]
    bars = make_bars(window, "1s", 0.01, rng, ties=True)
    assert_tree_same(bars, window, "1s", DAY_1S, None)


def test_derive_new_york_hours_begin_at_the_open_and_end_in_a_stub() -> None:
    window = real_windows()["regular"]
    bars = make_bars(window, "1m", 1.0, np.random.default_rng(1))
    hours, n_base = kernels.derive(bars, window.grid("1h"))
    labels = [utc_ns(f"2025-07-02T{hour}:30") for hour in range(13, 20)]
    assert hours["timestamp"].tolist() == labels
    assert n_base.tolist() == [60] * 6 + [30]


def test_derive_new_york_clock_anchor_begins_with_a_stub() -> None:
    window = real_windows("clock")["regular"]
    bars = make_bars(window, "1m", 1.0, np.random.default_rng(1))
    hours, n_base = kernels.derive(bars, window.grid("1h"))
    texts = ["13:30", "14:00", "15:00", "16:00", "17:00", "18:00", "19:00"]
    assert hours["timestamp"].tolist() == [utc_ns(f"2025-07-02T{text}") for text in texts]
    assert n_base.tolist() == [30] + [60] * 6


def test_derive_hong_kong_hours_are_cut_by_lunch_and_the_day_is_not() -> None:
    window = real_windows()["lunch"]
    bars = make_bars(window, "1m", 1.0, np.random.default_rng(1))
    made = kernels.derive_many(bars, window, ["1h", "1d"], base="1m")
    texts = ["01:30", "02:30", "03:30", "05:00", "06:00", "07:00"]
    assert made["1h"][0]["timestamp"].tolist() == [utc_ns(f"2025-07-02T{t}") for t in texts]
    assert made["1h"][1].tolist() == [60, 60, 30, 60, 60, 60]
    assert made["1d"][0]["timestamp"].tolist() == [utc_ns("2025-07-02T01:30")]
    assert made["1d"][1].tolist() == [330]


def test_derive_by_hand_gives_open_high_low_close_volume() -> None:
    window = window_of(("2025-07-02T13:30", "2025-07-02T13:32"))
    at = window.open_ns
    bars = np.array(
        [
            (at + 3 * SECOND, 10.0, 12.0, 9.5, 11.0, 0.1),
            (at + 4 * SECOND, 11.0, 11.5, 9.0, 9.25, 0.2),
            (at + 59 * SECOND, 9.25, 12.5, 9.25, 12.0, 0.3),
            (at + 60 * SECOND, 13.0, 13.0, 13.0, 13.0, 7.0),
        ],
        dtype=BAR_DTYPE,
    )
    made, n_base = kernels.derive(bars, window.grid("1m"))
    assert made.tolist() == [
        (at, 10.0, 12.5, 9.0, 12.0, 0.1 + 0.2 + 0.3),
        (at + 60 * SECOND, 13.0, 13.0, 13.0, 13.0, 7.0),
    ]
    assert n_base.tolist() == [3, 1]


@pytest.mark.parametrize("missing", [0, 1])
def test_derive_elapsed_at_the_end_of_a_slot_closes_it(missing: int) -> None:
    window = window_of(("2025-07-02T13:30", "2025-07-02T13:40"))
    bars = make_bars(window, "1s", 1.0, np.random.default_rng(2))
    made, _ = kernels.derive(
        bars, window.grid("1m"), elapsed_ns=window.open_ns + 3 * MINUTE - missing
    )
    assert len(made) == 3 - missing


def test_derive_no_bars_gives_none() -> None:
    window = real_windows()["regular"]
    bars, n_base = kernels.derive(np.empty(0, dtype=BAR_DTYPE), window.grid("5m"))
    assert (len(bars), len(n_base)) == (0, 0)
    assert kernels.derive_many(np.empty(0, dtype=BAR_DTYPE), window, []) == {}


def test_derive_volume_is_added_from_the_left() -> None:
    window = window_of(("2025-07-02T13:30", "2025-07-02T13:31"))
    volumes = [1e16, 1.0, 1.0, 1.0, 1.0]
    bars = np.zeros(5, dtype=BAR_DTYPE)
    bars["timestamp"] = window.open_ns + np.arange(5) * SECOND
    bars["volume"] = volumes
    made, _ = kernels.derive(bars, window.grid("5s"))
    # Each 1.0 is lost to rounding on its own; added among themselves first they would not be.
    assert made["volume"][0] == list(itertools.accumulate(volumes))[-1] == 1e16


def test_derive_input_of_any_memory_gives_the_same_and_is_left_alone(
    rng: np.random.Generator,
) -> None:
    window = real_windows()["half_day"]
    bars = make_bars(window, "1s", 0.9, rng)
    before = bars.tobytes()
    expected = kernels.derive(bars, window.grid("5m"))[0].tobytes()
    strided = np.repeat(bars, 2)[::2]
    read_only = bars.view()
    read_only.flags.writeable = False
    for given_bars in (bars, strided, read_only, bars.view(np.recarray)):
        made, _ = kernels.derive(given_bars, window.grid("5m"))
        assert made.tobytes() == expected
        assert given_bars.tobytes() == before
    assert not np.shares_memory(made, bars)


def test_derive_children_are_left_alone(rng: np.random.Generator) -> None:
    window = real_windows()["half_day"]
    children, n_base = kernels.derive(make_bars(window, "1s", 0.5, rng), window.grid("1m"))
    before = children.tobytes(), n_base.tobytes()
    made = kernels.derive(children, window.grid("1h"), n_base=n_base)
    assert (children.tobytes(), n_base.tobytes()) == before
    expected = reference.derive(children.tolist(), slots_of(window, "1h"), n_base.tolist())
    assert_same(made, expected)


def test_derive_out_is_written_and_returned_as_views(rng: np.random.Generator) -> None:
    window = real_windows()["half_day"]
    bars = make_bars(window, "1m", 1.0, rng)
    out = np.empty(300, dtype=BAR_DTYPE), np.empty(300, dtype=np.int32)
    made, n_base = kernels.derive(bars, window.grid("5m"), out)
    assert np.shares_memory(made, out[0])
    assert np.shares_memory(n_base, out[1])
    assert len(made) == 42
    many = kernels.derive_many(bars, window, ["30m", "5m"], base="1m", out=out)
    assert np.shares_memory(many["30m"][0], out[0])
    assert [len(many[name][0]) for name in many] == [42, 7]


def test_derive_each_is_derive_many_of_each(rng: np.random.Generator) -> None:
    window = real_windows()["lunch"]
    intervals, elapsed = ("1h", "5m", "15m"), window.close_ns - 20 * MINUTE
    each = [make_bars(window, "1m", fill, rng) for fill in (1.0, 0.4, 0.0, 0.02)]
    room = sum(len(bars) for bars in each) * len(intervals)
    out = np.empty(room, dtype=BAR_DTYPE), np.empty(room, dtype=np.int32)
    for into in (None, out, out):
        got = kernels.derive_each(each, window, intervals, base="1m", elapsed_ns=elapsed, out=into)
        assert list(got) == ["5m", "15m", "1h"]
        for k, bars in enumerate(each):
            alone = kernels.derive_many(bars, window, intervals, base="1m", elapsed_ns=elapsed)
            for name, (made, n_base, edges) in got.items():
                rows = slice(edges[k], edges[k + 1])
                assert made[rows].tobytes() == alone[name][0].tobytes()
                assert n_base[rows].tolist() == alone[name][1].tolist()
                assert edges[0] == 0
                assert edges[-1] == len(made) == len(n_base)
    none = kernels.derive_each([], window, ["5m"], base="1m")["5m"]
    assert (len(none.bars), none.edges.tolist()) == (0, [0])


def test_derive_each_says_whose_bar_it_refuses(rng: np.random.Generator) -> None:
    window = real_windows()["half_day"]
    each = [make_bars(window, "1m", 1.0, rng) for _ in range(3)]
    each[2]["timestamp"][5] = each[2]["timestamp"][4]
    with pytest.raises(TimeError, match="array 2: bar 5 "):
        kernels.derive_each(each, window, ["5m"], base="1m")
    with pytest.raises(SchemaError, match="out"):
        kernels.derive_each(
            each[:2], window, ["5m"], base="1m", out=(each[1], np.empty(210, dtype=np.int32))
        )


def test_derive_out_that_cannot_hold_it_is_refused(rng: np.random.Generator) -> None:
    window = real_windows()["half_day"]
    bars = make_bars(window, "1m", 1.0, rng)
    small = np.empty(41, dtype=BAR_DTYPE), np.empty(42, dtype=np.int32)
    frozen = np.empty(42, dtype=BAR_DTYPE), np.empty(42, dtype=np.int32)
    frozen[0].flags.writeable = False
    strided = np.empty(84, dtype=BAR_DTYPE)[::2], np.empty(42, dtype=np.int32)
    wide = np.empty(42, dtype=BAR_DTYPE), np.empty(42, dtype=np.int64)
    shared = bars, np.empty(210, dtype=np.int32)
    for out in (small, frozen, strided, wide, shared):
        with pytest.raises(SchemaError, match="out"):
            kernels.derive(bars, window.grid("5m"), out)


@pytest.mark.parametrize(
    "fold",
    [
        lambda bars, window: kernels.derive(bars, window.grid("5m")),
        lambda bars, window: kernels.derive_many(bars, window, ["5m", "1h"], base="1m"),
    ],
    ids=["derive", "derive_many"],
)
@pytest.mark.parametrize(
    ("change", "at"),
    [("repeat", 7), ("swap", 8), ("early", 0), ("lunch", 150), ("late", -1)],
)
def test_derive_bars_out_of_place_are_refused(
    change: str, at: int, fold: Callable[[BarArray, SessionWindow], object]
) -> None:
    window = real_windows()["lunch"]
    bars = make_bars(window, "1m", 1.0, np.random.default_rng(3))
    stamps = bars["timestamp"]
    if change == "repeat":
        stamps[7] = stamps[6]
    elif change == "swap":
        stamps[7], stamps[8] = stamps[8], stamps[7]
    elif change == "early":
        stamps[0] -= MINUTE
    elif change == "lunch":
        stamps[149:151] = utc_ns("2025-07-02T03:59"), utc_ns("2025-07-02T04:30")
    else:
        stamps[-1] = window.close_ns
    with pytest.raises(TimeError, match="ascend") as caught:
        fold(bars, window)
    assert caught.value.value == stamps[at]


def test_derive_foreign_arrays_are_refused() -> None:
    window = real_windows()["regular"]
    swapped = np.dtype([(n, BAR_DTYPE[n]) for n in ("timestamp", "close", "high", "low", "open",
                                                    "volume")])  # fmt: skip
    for value in (np.zeros(3, dtype=swapped), np.zeros((2, 2), dtype=BAR_DTYPE), [1, 2]):
        with pytest.raises(SchemaError):
            kernels.derive(value, window.grid("5m"))
    bars = np.zeros(3, dtype=BAR_DTYPE)
    for counts in (np.ones(2, dtype=np.int32), np.ones(3, dtype=np.int64)):
        with pytest.raises(SchemaError, match="n_base"):
            kernels.derive(bars, window.grid("5m"), n_base=counts)


@pytest.mark.parametrize(("base", "name"), [("1m", "5s"), ("1m", "1m"), ("1s", "2d"), ("2s", "5s")])
def test_derive_many_interval_the_base_cannot_give_is_refused(base: str, name: str) -> None:
    with pytest.raises(IntervalError):
        kernels.derive_many(
            np.empty(0, dtype=BAR_DTYPE), real_windows()["regular"], [name], base=base
        )
