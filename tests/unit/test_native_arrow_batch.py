"""Bars handed over through Arrow's C data interface: their values, and who frees the copy."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from openbell._native.arrow_batch import export_bars
from openbell.errors import SchemaError
from openbell.schema import BAR_DTYPE, BAR_FIELDS


def make_bars(n: int) -> Any:
    bars = np.zeros(n, BAR_DTYPE)
    for k, name in enumerate(BAR_FIELDS):
        bars[name] = np.arange(n) * 10 + k
    return bars


class Batch:
    def __init__(self, bars: Any, n_base: Any = None) -> None:
        types = [pa.int64(), *[pa.float64()] * 5, *[pa.int32()] * (n_base is not None)]
        names = [*BAR_FIELDS, "n_base"][: len(types)]
        self.schema = pa.schema(list(zip(names, types, strict=True)))
        self.columns = export_bars(bars, n_base)

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self.schema.__arrow_c_schema__(), self.columns


@pytest.mark.parametrize("n", [0, 1, 7, 8, 9, 1000])
def test_arrow_batch_columns_are_those_of_the_bars(n: int) -> None:
    bars, n_base = make_bars(n), np.arange(n, dtype=np.int32) * 3
    for batch in (pa.record_batch(Batch(bars)), pa.record_batch(Batch(bars, n_base))):
        batch.validate(full=True)
        for name in BAR_FIELDS:
            assert batch[name].to_pylist() == bars[name].tolist()
            assert batch[name].null_count == 0
    assert batch["n_base"].to_pylist() == n_base.tolist()


def test_arrow_batch_is_a_copy_of_any_bars() -> None:
    bars = make_bars(10)
    bars.flags.writeable = False
    half = pa.record_batch(Batch(bars[::2]))
    assert half["close"].to_pylist() == bars["close"][::2].tolist()
    bars = make_bars(3)
    batch = pa.record_batch(Batch(bars))
    bars["close"] = -1
    assert batch["close"].to_pylist() == [4.0, 14.0, 24.0]


def test_arrow_batch_column_outlives_the_others() -> None:
    bars = make_bars(1000)
    close = pa.record_batch(Batch(bars, np.zeros(1000, np.int32)))["close"]
    gc.collect()
    for _ in range(20):
        pa.record_batch(Batch(make_bars(1000)))
    assert close.to_pylist() == bars["close"].tolist()


def test_arrow_batch_leaves_no_memory_behind_imported_or_not() -> None:
    bars, n_base = make_bars(5000), np.zeros(5000, np.int32)

    def use() -> None:
        export_bars(bars, n_base)
        pa.record_batch(Batch(bars))
        table = pa.table(pa.record_batch(Batch(bars, n_base)))
        dropped = threading.Thread(target=lambda held: held.clear(), args=([table.columns],))
        del table
        dropped.start()
        dropped.join()

    use()
    gc.collect()
    tracemalloc.start()
    held = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        use()
    gc.collect()
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert now - held < 5000 * 8
    assert peak - held > 5000 * 48


@pytest.mark.parametrize(
    "n_base",
    [
        np.zeros(3, np.int32),
        np.zeros(4, np.int64),
        np.zeros((2, 2), np.int32),
        np.zeros(8, np.int32)[::2],
    ],
)
def test_arrow_batch_n_base_that_does_not_fit_is_refused(n_base: Any) -> None:
    with pytest.raises(SchemaError, match="n_base"):
        export_bars(make_bars(4), n_base)


def test_arrow_batch_of_what_is_not_bars_is_refused() -> None:
    with pytest.raises(SchemaError):
        export_bars(np.zeros((4, 6)))
