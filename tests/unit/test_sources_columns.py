"""Columns by their names, intervals by their labels, labels by their sessions."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.clock import TimeManager
from openbell.errors import DatasetError, IntervalError, SchemaError
from openbell.intervals import interval
from openbell.schema import BAR_DTYPE, TICK_DTYPE
from openbell.sources.columns import (
    columns_to_bars,
    columns_to_records,
    epoch_unit_ns,
    floats,
    infer_interval,
    instants_ns,
    resolve_columns,
)
from openbell.sources.importing.check import CODE, Sessions
from openbell.sources.importing.values import parse_numbers, to_utc

SECOND = 10**9
WANTED = ("symbol", "timestamp", "close")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["symbol", "timestamp", "close"], ["symbol", "timestamp", "close"]),
        (["C", "T", "S"], ["S", "T", "C"]),
        (["Ticker", "Date Time", " Close "], ["Ticker", "Date Time", " Close "]),
        (["<SYM>", "<DATE>", "<CLOSE>", "adj close"], ["<SYM>", "<DATE>", "<CLOSE>"]),
        (["date", "ts", "symbol", "close"], ["symbol", "ts", "close"]),
    ],
)
def test_columns_are_found_whatever_their_case(names: list[str], expected: list[str]) -> None:
    found = resolve_columns(names, WANTED, "x")
    assert [found[role] for role in WANTED] == expected


def test_columns_that_differ_by_case_only_are_refused() -> None:
    with pytest.raises(SchemaError, match=r"'close', 'Close'.*one column for close"):
        resolve_columns(["symbol", "t", "close", "Close"], WANTED, "x")
    named = resolve_columns(
        ["symbol", "t", "close", "Close"], WANTED, "x", explicit={"close": "Close"}
    )
    assert named["close"] == "Close"


def test_columns_to_records_interleaves_each_field() -> None:
    columns = [np.arange(3, dtype=np.int64), *(np.arange(3) + k / 8 for k in range(1, 6))]
    bars = columns_to_bars(*columns)
    assert bars.dtype == BAR_DTYPE
    assert bars[2].tolist() == (2, 2.125, 2.25, 2.375, 2.5, 2.625)
    ticks = columns_to_records(dict(zip(TICK_DTYPE.names, columns, strict=False)), TICK_DTYPE)
    assert ticks[1].tolist() == (1, 1.125, 1.25)


def test_floats_are_viewed_where_they_can_be_and_sliced_right() -> None:
    array = pa.array([1.5, 2.5, 3.5, 4.5])
    viewed = floats(array.slice(1, 2), "x", "f")
    assert viewed.tolist() == [2.5, 3.5]
    assert viewed.ctypes.data == array.buffers()[1].address + 8
    chunked = pa.chunked_array([pa.array([1], pa.int32()), pa.array([2, 3], pa.int32())])
    assert floats(chunked, "x", "f").tolist() == [1.0, 2.0, 3.0]
    assert floats(pa.array([1.5, 1.5]).dictionary_encode(), "x", "f").tolist() == [1.5, 1.5]
    with pytest.raises(DatasetError, match="x is null in row 12"):
        floats(pa.array([1.0, 2.0, None]), "x", "f", first_row=10)


def test_instants_out_of_range_are_refused() -> None:
    late = pa.array([2**60], pa.timestamp("s", "UTC"))
    with pytest.raises(DatasetError, match="out of bounds"):
        instants_ns(late, "timestamp", "f")


def test_numbers_that_cannot_be_read_are_masked() -> None:
    values, bad = parse_numbers(pa.array(["1.5", "", "x", "1e2", "-3", None, "NaN", "1,000"]))
    assert bad.tolist() == [False, True, True, False, False, True, False, True]
    assert values[[0, 3, 4]].tolist() == [1.5, 100.0, -3.0]
    assert np.isnan(values[6])


def test_epoch_unit_is_told_by_size() -> None:
    for unit in (1, 10**3, 10**6, 10**9):
        assert epoch_unit_ns(np.array([1_751_463_000 * 10**9 // unit])) == unit


@pytest.mark.parametrize("name", ["1s", "5s", "1m", "5m", "15m", "1h"])
def test_interval_is_told_from_sparse_labels_and_a_stray_one(
    name: str, rng: np.random.Generator
) -> None:
    step = interval(name).step_ns
    ts = np.sort(rng.choice(5000, 800, replace=False)) * step
    assert infer_interval(ts, np.zeros(800, np.int64), "x") == name
    ts[400] += 7
    assert infer_interval(rng.permutation(ts), np.zeros(800, np.int64), "x") == name


def test_interval_of_local_midnights_is_a_day() -> None:
    days = np.arange(20_150, 20_165) * 86_400 * SECOND  # the clocks change on 2025-03-09
    utc, _, _ = to_utc(days, "America/New_York")
    assert len(set(np.diff(utc).tolist())) == 2
    assert infer_interval(utc, np.zeros(len(utc), np.int64), "x") == "1d"


def test_interval_of_interleaved_symbols_looks_at_each_alone() -> None:
    ts = np.repeat(np.arange(50) * 60, 2) * SECOND + np.tile([0, 7], 50) * SECOND
    assert infer_interval(ts, np.tile([0, 1], 50), "x") == "1m"
    with pytest.raises(IntervalError):
        infer_interval(ts[:2], np.array([0, 1]), "x")


@given(
    calendar=st.sampled_from(["XNYS", "XHKG", "24/7", "CMES"]),
    day=st.sampled_from([date(2025, 7, 3), date(2025, 3, 10), date(2025, 11, 3)]),
    name=st.sampled_from(["1s", "7s", "1m", "5m", "7m", "1h", "4h"]),
    anchor=st.sampled_from(["session", "clock"]),
    label=st.sampled_from(["start", "end"]),
    shift=st.sampled_from([0, 1, SECOND, -SECOND, 60 * SECOND]),
)
def test_labels_are_placed_as_the_window_counts_its_slots(
    calendar: str, day: date, name: str, anchor: str, label: str, shift: int
) -> None:
    clock = TimeManager(calendar, anchor=anchor)
    grid = clock.session_window(day).grid(name)
    edges = grid.starts_ns if label == "start" else grid.ends_ns
    picked = np.unique(np.concatenate([edges[:40], edges[-40:]])) + shift
    codes = np.zeros(len(picked), np.uint8)
    starts, dates = Sessions(clock, label).place(picked, codes, interval(name))
    slots = {int(edge): k for k, edge in enumerate(edges)}
    for ts, start, ordinal, code in zip(picked, starts, dates, codes, strict=True):
        slot = slots.get(int(ts))
        if slot is not None:
            assert (start, date.fromordinal(ordinal), code) == (grid.starts_ns[slot], day, 0)
        elif clock.session_of(int(ts - (label == "end"))) == day:
            inside = grid.slot_of(int(ts - (label == "end"))) >= 0
            assert code == CODE["off_grid" if inside else "outside_session"]
