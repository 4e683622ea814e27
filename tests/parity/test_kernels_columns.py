"""Columns to bars and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell import kernels
from openbell.errors import SchemaError
from openbell.kernels import reference
from openbell.schema import BAR_DTYPE, BAR_FIELDS
from tests.strategies import make_bars, real_windows

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=64)


@given(
    st.lists(
        st.tuples(st.integers(-(2**63), 2**63 - 1), NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
    )
)
def test_columns_any_values_make_the_reference_bars(rows: list[reference.Bar]) -> None:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 6
    arrays = [np.array(columns[0], dtype=np.int64)]
    arrays += [np.array(column, dtype=np.float64) for column in columns[1:]]
    bars = kernels.interleave(*arrays)
    expected = np.array(reference.interleave(*columns), dtype=BAR_DTYPE)
    assert bars.dtype == BAR_DTYPE
    assert bars.tobytes() == expected.tobytes()
    for column, array in zip(kernels.deinterleave(bars), arrays, strict=True):
        assert column.dtype == array.dtype
        assert column.tobytes() == array.tobytes()


def test_columns_of_other_kinds_of_number_are_converted(rng: np.random.Generator) -> None:
    bars = make_bars(real_windows()["half_day"], "1m", 0.9, rng)
    ts, o, h, low, c, v = kernels.deinterleave(bars)
    stamps = ts.astype("datetime64[ns]")
    strided = np.repeat(o, 3)[::3]
    frozen = c.copy()
    frozen.flags.writeable = False
    made = kernels.interleave(stamps, strided, h, low, frozen, v.astype(np.int64))
    assert made.tobytes() == bars.tobytes()


def test_columns_are_left_alone_and_bars_share_no_memory(rng: np.random.Generator) -> None:
    bars = make_bars(real_windows()["half_day"], "1m", 0.9, rng)
    bars.flags.writeable = False
    columns = kernels.deinterleave(bars[::2])
    before = [column.tobytes() for column in columns]
    assert [column.tolist() for column in columns] == [bars[f][::2].tolist() for f in BAR_FIELDS]
    out = np.zeros(len(columns[0]), dtype=BAR_DTYPE)
    assert kernels.interleave(*columns, out=out) is out
    out["close"] = 0
    assert [column.tobytes() for column in columns] == before


@pytest.mark.parametrize(
    ("field", "column"),
    [
        (0, np.zeros(3)),
        (0, np.zeros(3, dtype="M8[s]")),
        (0, np.zeros((3, 1), dtype=np.int64)),
        (1, np.zeros(2)),
        (2, np.array(["1", "2", "3"])),
        (3, np.zeros(3, dtype=complex)),
        (4, np.array([1.0, None, 2.0], dtype=object)),
        (5, np.zeros(3, dtype=bool)),
    ],
)
def test_columns_of_another_type_or_length_are_refused(field: int, column: np.ndarray) -> None:
    columns = [np.zeros(3, dtype=np.int64), *np.zeros((5, 3))]
    columns[field] = column
    with pytest.raises(SchemaError) as caught:
        kernels.interleave(*columns)
    assert caught.value.what == BAR_FIELDS[field]


def test_columns_out_that_does_not_fit_is_refused() -> None:
    columns = [np.zeros(3, dtype=np.int64), *np.zeros((5, 3))]
    frozen = np.zeros(3, dtype=BAR_DTYPE)
    frozen.flags.writeable = False
    outs = (np.zeros(4, dtype=BAR_DTYPE), np.zeros((3, 6)), frozen, np.zeros(6, BAR_DTYPE)[::2])
    for out in outs:
        with pytest.raises(SchemaError, match="out"):
            kernels.interleave(*columns, out=out)
