"""Series as Arrow tables: one copy out of the record layout, shared from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from openbell._native.columns import deinterleave
from openbell.errors import SessionStateError
from openbell.schema import BAR_FIELDS

if TYPE_CHECKING:
    import pyarrow as pa

    from openbell.bars import BarIntervalData

__all__ = ["arrow_stream", "series_to_arrow"]

_TRIES: Final = 64


def series_to_arrow(series: BarIntervalData) -> pa.Table:
    """Return the closed bars of a series as a table of one chunk.

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

    columns = _columns(series)
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


def _columns(series: BarIntervalData) -> dict[str, Any]:
    # A late bar, a correction or an eviction by another thread between two columns would make
    # rows that never were.
    for _ in range(_TRIES):
        before = series.revision, series.n_evicted
        bars, n_base = series.data, series.n_base
        columns: dict[str, Any] = dict(zip(BAR_FIELDS, deinterleave(bars), strict=True))
        if n_base is not None:
            n_rows = min(len(bars), len(n_base))
            columns = {name: values[:n_rows] for name, values in columns.items()}
            columns["n_base"] = n_base[:n_rows].copy()
        if (series.revision, series.n_evicted) == before:
            return columns
    raise SessionStateError(
        f"to_arrow({series.symbol!r}, {series.interval!r})",
        "changing bars faster than they can be copied",
        "export from the thread that feeds it, or while that one waits",
    )


def arrow_stream(series: BarIntervalData, requested_schema: object | None = None) -> object:
    """Return the PyCapsule that ``series.__arrow_c_stream__`` hands out.

    Parameters
    ----------
    series : BarIntervalData
    requested_schema : PyCapsule, optional
        An ``ArrowSchema`` the consumer would like; honoured when the columns can be cast to it.
    """
    return series_to_arrow(series).__arrow_c_stream__(requested_schema)
