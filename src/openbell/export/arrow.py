"""Series as Arrow tables: one copy out of the record layout, shared from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from openbell._native.columns import deinterleave
from openbell.errors import SessionStateError
from openbell.schema import BAR_FIELDS

if TYPE_CHECKING:
    import pyarrow as pa

    from openbell.bars import BarIntervalData

__all__ = ["series_to_arrow"]

_TRIES: Final = 64


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

    columns = _columns(series, complete_only)
    types = {"timestamp": pa.timestamp("ns", tz="UTC"), "n_base": pa.int32()}
    schema = pa.schema(
        [(name, types.get(name, pa.float64())) for name in columns],
        metadata={"interval": series.interval, "label": "start"},
    )
    # `pyarrow.array` imports pandas where it is installed.
    arrays = [
        pa.Array.from_buffers(field.type, len(values), [None, pa.py_buffer(values)])
        for field, values in zip(schema, columns.values(), strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _columns(series: BarIntervalData, complete_only: bool) -> dict[str, Any]:
    # A late bar, a correction or an eviction by another thread between two columns would make
    # rows that never were.
    for _ in range(_TRIES):
        before = series.revision, series.n_evicted
        bars, n_base = series.data, series.n_base
        columns: dict[str, Any] = dict(zip(BAR_FIELDS, deinterleave(bars), strict=True))
        if n_base is not None:
            # A thread that appends between two readings makes the later one longer.
            full = series.n_base_full()
            n_rows = min(len(bars), len(n_base), len(full))
            columns["n_base"] = n_base.copy()
            kept = n_base[:n_rows] == full[:n_rows] if complete_only else slice(None)
            columns = {name: values[:n_rows][kept] for name, values in columns.items()}
        if (series.revision, series.n_evicted) == before:
            return columns
    raise SessionStateError(
        f"to_arrow({series.symbol!r}, {series.interval!r})",
        "changing bars faster than they can be copied",
        "export from the thread that feeds it, or while that one waits",
    )
