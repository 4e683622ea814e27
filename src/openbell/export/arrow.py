"""Series as Arrow tables: one copy out of the record layout, shared from then on."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from openbell._native.arrow_batch import export_bars
from openbell.errors import SessionStateError
from openbell.schema import BAR_DTYPE, BAR_FIELDS

if TYPE_CHECKING:
    import pyarrow as pa

    from openbell.bars import BarIntervalData

__all__ = ["series_to_arrow"]

_TRIES: Final = 64
#: A bar as opaque bytes: numpy copies it whole, where it copies records field by field.
_RAW_BAR: Final = np.dtype((np.void, BAR_DTYPE.itemsize))


def series_to_arrow(series: BarIntervalData, *, complete_only: bool = False) -> pa.Table:
    """Return the closed bars of a series as a table of one chunk.

    Parameters
    ----------
    series : BarIntervalData
    complete_only : bool
        Whether derived bars that lack base bars are left out.

    Returns
    -------
    pyarrow.Table
        ``timestamp`` (the bar's start) as ``timestamp[ns, UTC]``, prices and volume as
        ``double``, and for a derived series ``n_base`` as ``int32``. A snapshot: the columns are
        copied out of the bars in one pass, and bars that come later do not show in it. The
        schema's metadata names the interval.

    Raises
    ------
    SessionStateError
        When another thread changes bars faster than they can be copied.
    """
    import pyarrow as pa

    return pa.Table.from_batches([pa.record_batch(_copy(series, complete_only))])


class _Batch:
    """Columns and their names, as ``pyarrow.record_batch`` takes them over."""

    def __init__(self, schema: pa.Schema, columns: object) -> None:
        self._schema = schema
        self._columns = columns

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self._schema.__arrow_c_schema__(), self._columns


@cache
def _schema(interval: str, has_n_base: bool) -> pa.Schema:
    import pyarrow as pa

    types = [pa.timestamp("ns", tz="UTC"), *[pa.float64()] * 5, *[pa.int32()] * has_n_base]
    names = [*BAR_FIELDS, "n_base"][: len(types)]
    metadata = {"interval": interval, "label": "start"}
    return pa.schema(list(zip(names, types, strict=True)), metadata=metadata)


def _copy(series: BarIntervalData, complete_only: bool) -> _Batch:
    # A late bar, a correction or an eviction by another thread between two readings would make
    # rows that never were.
    for _ in range(_TRIES):
        before = series.revision, series.n_evicted
        bars, n_base = series.data, series.n_base
        if n_base is not None:
            # A thread that appends between two readings makes the later one longer.
            full = series.n_base_full() if complete_only else n_base
            n_rows = min(len(bars), len(n_base), len(full))
            bars, n_base = bars[:n_rows], n_base[:n_rows]
            if complete_only:
                kept = n_base == full[:n_rows]
                bars, n_base = bars.view(_RAW_BAR)[kept].view(BAR_DTYPE), n_base[kept]
        batch = _Batch(_schema(series.interval, n_base is not None), export_bars(bars, n_base))
        if (series.revision, series.n_evicted) == before:
            return batch
    raise SessionStateError(
        f"to_arrow({series.symbol!r}, {series.interval!r})",
        "changing bars faster than they can be copied",
        "export from the thread that feeds it, or while that one waits",
    )
