"""Six columns to bars and back, as the native module moves them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell._native.columns import all_fit, deinterleave, interleave, is_ascending
from openbell.errors import SchemaError
from openbell.schema import BAR_DTYPE, BAR_FIELDS

Column = np.ndarray

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)
ROWS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), *[NUMBERS] * 5), max_size=40)


def columns_of(n: int) -> list[Column]:
    return [np.arange(n, dtype=np.int64), *(np.arange(n) + k / 8 for k in range(1, 6))]


@given(ROWS)
def test_columns_are_laid_out_as_the_fields_say(rows: list[tuple[float, ...]]) -> None:
    columns = [np.array([row[0] for row in rows], np.int64)]
    columns += [np.array([row[k] for row in rows], np.float64) for k in range(1, 6)]
    bars = interleave(*columns)
    assert bars.dtype == BAR_DTYPE
    assert bars.tobytes() == b"".join(struct.pack("<q5d", *row) for row in rows)
    again = deinterleave(bars)
    assert [column.dtype for column in again] == [column.dtype for column in columns]
    assert [column.tobytes() for column in again] == [column.tobytes() for column in columns]


def test_interleave_out_is_filled_and_returned() -> None:
    out = np.zeros(3, BAR_DTYPE)
    assert interleave(*columns_of(3), out) is out
    assert out[2].tolist() == (2, 2.125, 2.25, 2.375, 2.5, 2.625)


def test_interleave_reads_columns_that_are_read_only_and_leaves_them_alone() -> None:
    columns = columns_of(5)
    for column in columns:
        column.flags.writeable = False
    bars = interleave(*columns)
    bars["close"] = -1.0
    assert [c.tolist() for c in columns] == [c.tolist() for c in columns_of(5)]


def test_deinterleave_of_every_other_bar_and_of_a_view_that_cannot_be_written() -> None:
    bars = interleave(*columns_of(7))
    bars.flags.writeable = False
    half = bars[::2]
    assert [c.tolist() for c in deinterleave(half)] == [half[f].tolist() for f in BAR_FIELDS]
    for column in deinterleave(bars):
        assert column.flags.owndata
        assert column.flags.writeable


@pytest.mark.parametrize("k", range(6))
def test_interleave_column_of_another_kind_is_refused_by_name(k: int) -> None:
    good = columns_of(4)[k]
    for bad in (
        good.astype(np.float64 if k == 0 else np.int64),
        good.astype("f4"),
        good.astype("M8[ns]"),
        good.astype(good.dtype.newbyteorder()),
        np.repeat(good, 2)[::2],
        np.zeros(33, np.uint8)[1:].view(good.dtype),  # not aligned
        good.reshape(2, 2),
        np.array(1, good.dtype),
    ):
        columns = columns_of(4)
        columns[k] = bad
        with pytest.raises(SchemaError) as caught:
            interleave(*columns)
        assert caught.value.what == BAR_FIELDS[k]


@pytest.mark.parametrize("k", range(1, 6))
@pytest.mark.parametrize("n", [0, 3, 5])
def test_interleave_column_of_another_length_is_refused_by_name(k: int, n: int) -> None:
    columns = columns_of(4)
    columns[k] = np.zeros(n)
    with pytest.raises(SchemaError) as caught:
        interleave(*columns)
    assert caught.value.what == BAR_FIELDS[k]


def test_interleave_out_that_cannot_take_the_bars_is_refused() -> None:
    frozen = np.zeros(4, BAR_DTYPE)
    frozen.flags.writeable = False
    renamed = BAR_DTYPE.descr[:1] + [(f"{name}_", kind) for name, kind in BAR_DTYPE.descr[1:]]
    for out in (
        np.zeros(3, BAR_DTYPE), np.zeros(8, BAR_DTYPE)[::2], frozen, np.zeros((2, 2), BAR_DTYPE),
        np.zeros((4, 6)), np.zeros(4, renamed),
    ):  # fmt: skip
        before = out.tobytes()
        with pytest.raises(SchemaError, match="out"):
            interleave(*columns_of(4), out)
        assert out.tobytes() == before


@pytest.mark.parametrize("bars", [None, [1, 2], np.zeros((4, 6)), np.zeros((2, 2), BAR_DTYPE)])
def test_deinterleave_of_what_is_not_bars_is_refused(bars: object) -> None:
    with pytest.raises(SchemaError):
        deinterleave(bars)  # type: ignore[arg-type]


def test_all_fit_says_whether_a_record_would_take_each() -> None:
    # Two segments of ten slots; the second one's first slot is cut short by its origin.
    segments = np.array([[100, 200, 100, 0], [305, 400, 300, 10]], np.int64)
    bars = np.zeros(4, BAR_DTYPE)
    bars["timestamp"] = [100, 190, 305, 310]
    assert all_fit(bars, segments, 10)
    assert all_fit(bars[:0], segments, 10)
    for at, label in ((0, 90), (1, 100), (1, 195), (1, 200), (2, 304), (3, 315), (3, 400)):
        wrong = bars.copy()
        wrong["timestamp"][at] = label
        assert not all_fit(wrong, segments, 10), (at, label)
    for field, value in (("high", np.nan), ("low", 1.0), ("volume", -1.0), ("open", 0.5)):
        wrong = bars.copy()
        wrong[field][2] = value
        assert not all_fit(wrong, segments, 10), field
    with pytest.raises(SchemaError, match="segments"):
        all_fit(bars, segments.astype(np.int32), 10)
    with pytest.raises(SchemaError, match="step"):
        all_fit(bars, segments, 0)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6))
def test_ascending_is_what_sorting_leaves_alone(values: list[int]) -> None:
    column = np.array(values, np.int64)
    assert is_ascending(column) == (sorted(values) == values)
    assert is_ascending(np.repeat(column, 2)[::2]) == (sorted(values) == values)
