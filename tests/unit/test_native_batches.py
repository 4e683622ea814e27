"""Arrays of bars filled from batches: where each row lands, what is judged, what is refused."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pytest

from openbell._native.arena import Arena
from openbell._native.batches import Interleaver, is_judged
from openbell.errors import SchemaError
from openbell.schema import BAR_DTYPE, BAR_FIELDS, BarArray

SECOND = 10**9
ORDER = range(6)


def bars_of(n: int, step: int = 1) -> BarArray:
    bars = np.zeros(n, BAR_DTYPE)
    bars["timestamp"] = SECOND * step * np.arange(n)
    for k, name in enumerate(("low", "open", "close", "high", "volume")):
        bars[name] = np.arange(n) + k / 8
    return bars


def batch_of(bars: BarArray, **types: pa.DataType) -> pa.RecordBatch:
    columns = {}
    for name in BAR_FIELDS:
        kind = pa.timestamp("ns", "UTC") if name == "timestamp" else pa.float64()
        columns[name] = pa.array(bars[name].tolist(), kind).cast(types.get(name, kind), safe=False)
    return pa.RecordBatch.from_pydict(columns)


@pytest.mark.parametrize("n_batch", [1, 3, 7, 20])
@pytest.mark.parametrize("sizes", [[20], [1, 19], [5, 5, 10], [3, 4, 0, 13]])
def test_rows_fill_the_arrays_in_turn(sizes: list[int], n_batch: int) -> None:
    bars = bars_of(20)
    filled = Interleaver(Arena(), sizes, SECOND)
    table = batch_of(bars)
    for k in range(0, 20, n_batch):
        assert filled.add_batch(table.slice(k, n_batch), ORDER)
    assert filled.n_left == 0
    assert [len(array) for array in filled.arrays] == sizes
    assert b"".join(array.tobytes() for array in filled.arrays) == bars.tobytes()
    assert all(is_judged(array) for array in filled.arrays if len(array))


def test_columns_are_found_by_their_order() -> None:
    bars = bars_of(4)
    backwards = batch_of(bars).select(list(BAR_FIELDS[::-1]))
    filled = Interleaver(Arena(), [4], SECOND)
    assert filled.add_batch(backwards, range(5, -1, -1))
    assert filled.arrays[0].tobytes() == bars.tobytes()


@pytest.mark.parametrize(
    "types",
    [{"volume": pa.int64()}, {"close": pa.float32()}, {"timestamp": pa.timestamp("us", "UTC")}],
)
def test_batch_of_other_types_is_left_to_the_caller(types: dict[str, pa.DataType]) -> None:
    filled = Interleaver(Arena(), [4], SECOND)
    assert not filled.add_batch(batch_of(bars_of(4), **types), ORDER)
    assert filled.n_left == 4


def test_batch_with_a_null_or_too_few_columns_is_left_to_the_caller() -> None:
    table = batch_of(bars_of(4))
    filled = Interleaver(Arena(), [4], SECOND)
    holed = table.set_column(1, "open", pa.array([1.0, None, 2.0, 3.0]))
    assert not filled.add_batch(holed, ORDER)
    assert not filled.add_batch(table.select(["timestamp", "open"]), ORDER)
    assert filled.n_left == 4


def test_more_rows_than_there_is_room_for_are_refused_whole() -> None:
    filled = Interleaver(Arena(), [3], SECOND)
    with pytest.raises(SchemaError, match="4 rows"):
        filled.add_batch(batch_of(bars_of(4)), ORDER)
    assert filled.n_left == 3
    with pytest.raises(SchemaError, match="step_ns"):
        Interleaver(Arena(), [3], 0)


BAD_VALUES = [
    ("close", np.nan),
    ("high", np.inf),
    ("volume", -1.0),
    ("low", 1e9),
    ("timestamp", 5 * SECOND),
    ("timestamp", 6 * SECOND + 1),
    ("timestamp", 0),
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
@pytest.mark.parametrize("cut", [0, 5, 6, 7, 12])
def test_one_bad_row_leaves_its_array_unjudged(field: str, value: float, cut: int) -> None:
    bars = bars_of(12)
    bars[6][field] = value
    columns = [np.ascontiguousarray(bars[name]) for name in BAR_FIELDS]
    filled = Interleaver(Arena(), [12, 12], SECOND)
    filled.add(*(column[:cut] for column in columns))
    filled.add(*(column[cut:] for column in columns))
    filled.add_batch(batch_of(bars_of(12, step=3)), ORDER)
    assert [is_judged(array) for array in filled.arrays] == [False, True]
    assert filled.arrays[0].tobytes() == bars.tobytes()


@pytest.mark.parametrize("n_batch", [1000, 8192, 9973])
def test_many_rows_are_laid_and_judged_as_few_are(n_batch: int) -> None:
    # So many go past the cache, where the processor can.
    n, n_arrays = 1001, 70
    parts = []
    for k in range(n_arrays):
        bars = bars_of(n, step=1 + k % 3)
        if k % 2:
            # From the second row on, so that each has one before it to go on from.
            field, value = BAD_VALUES[k % len(BAD_VALUES)]
            row = 1 + 29 * k % (n - 1)
            if field == "timestamp":
                value = bars[row - 1][field] + (value - 5 * SECOND)
            bars[row][field] = value
        parts.append(bars)
    rows = np.concatenate(parts)
    columns = [np.ascontiguousarray(rows[name]) for name in BAR_FIELDS]
    filled = Interleaver(Arena(), [n] * n_arrays, SECOND)
    for k in range(0, len(rows), n_batch):
        filled.add(*(column[k : k + n_batch] for column in columns))
    assert filled.n_left == 0
    for k, (array, bars) in enumerate(zip(filled.arrays, parts, strict=True)):
        assert array.tobytes() == bars.tobytes()
        assert is_judged(array) == (k % 2 == 0), k


@pytest.mark.skipif(os.environ.get("OPENBELL_PLAIN_MALLOC") == "1", reason="no arena then")
def test_short_array_fills_what_a_long_one_left_of_the_memory() -> None:
    sizes = [40_000, 30_000, 3_000, 3_000]
    rows = bars_of(sum(sizes))
    filled = Interleaver(Arena(), sizes, SECOND)
    filled.add(*(np.ascontiguousarray(rows[name]) for name in BAR_FIELDS))
    assert b"".join(array.tobytes() for array in filled.arrays) == rows.tobytes()
    at = [array.__array_interface__["data"][0] for array in filled.arrays]
    # Memory is asked for in pieces of 2 MiB first: the second does not fit behind the first.
    assert 0 < at[2] - at[0] < 2 << 20
    assert not 0 < at[1] - at[0] < 2 << 20


def test_arrays_cannot_be_written_once_they_are_judged() -> None:
    filled = Interleaver(Arena(), [4], SECOND)
    filled.add_batch(batch_of(bars_of(4)), ORDER)
    bars = filled.arrays[0]
    with pytest.raises(ValueError, match="read-only"):
        bars["close"] = 0.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        bars.flags.writeable = True
    assert not is_judged(bars.copy())
    assert is_judged(bars[1:][1:])
