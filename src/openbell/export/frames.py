"""Series side by side as one Arrow table, and tables as frames of other libraries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from openbell.errors import ArgumentError, IntervalError, MissingLibraryError
from openbell.export.arrow import series_to_arrow
from openbell.intervals import interval as parse_interval
from openbell.schema import BAR_FIELDS

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from openbell.bars import BarIntervalData
    from openbell.session import SessionData

__all__ = ["bars_table", "pick_series", "series_tables", "to_pandas", "to_polars"]


def pick_series(
    root: SessionData, interval: str, symbols: Iterable[str] | None = None
) -> list[BarIntervalData]:
    """Return the series of one interval, sorted by symbol.

    Parameters
    ----------
    root : SessionData
    interval : str
    symbols : iterable of str, optional
        Whose; all when None. A record without the series is left out.

    Raises
    ------
    UnknownSymbolError
        When a symbol has no record.
    IntervalError
        When the interval is unknown, or there are records and none has the series.
    """
    name = parse_interval(interval).name
    if isinstance(symbols, str):
        raise ArgumentError("symbols", symbols, f"several names, such as [{symbols!r}]")
    chosen = list(root) if symbols is None else [root[s] for s in dict.fromkeys(symbols)]
    held = {rec.symbol: rec.bars for rec in chosen}
    found = [held[symbol][name] for symbol in sorted(held) if name in held[symbol]]
    if held and not found:
        names = sorted({n for bars in held.values() for n in bars}, key=parse_interval)
        raise IntervalError(name, f"no record has such a series; they have {', '.join(names)}")
    return found


def bars_table(root: SessionData, interval: str, symbols: Iterable[str] | None = None) -> pa.Table:
    """Return the closed bars of one interval over all records as one table.

    Parameters
    ----------
    root : SessionData
        Its ``on_incomplete`` says whether derived bars that lack base bars are in it.
    interval : str
    symbols : iterable of str, optional
        Whose; all when None. A record without the series is left out.

    Returns
    -------
    pyarrow.Table
        ``symbol``, dictionary-encoded, and the columns of :func:`series_to_arrow`, sorted by
        symbol, then time; a chunk per symbol. ``n_base`` is there when a series is derived, and
        null where one is not. Each series is of one instant; where other threads write
        meanwhile, it is not the same instant for all of them. O(bars).

    Raises
    ------
    ArgumentError, UnknownSymbolError, IntervalError
        When `symbols` is one text, or a name or the interval is unknown.
    SessionStateError
        When another thread changes bars faster than they can be copied.
    """
    import pyarrow as pa

    series = pick_series(root, interval, symbols)
    tables = list(series_tables(series, complete_only=root.on_incomplete == "skip"))
    name = parse_interval(interval).name
    return pa.concat_tables(tables).replace_schema_metadata({"interval": name, "label": "start"})


def series_tables(
    series: Sequence[BarIntervalData], *, complete_only: bool = False
) -> Iterator[pa.Table]:
    """Yield an empty table, then one for each series, all of one schema: that of `bars_table`."""
    import pyarrow as pa

    fields = [
        pa.field("symbol", pa.dictionary(pa.int32(), pa.string())),
        pa.field("timestamp", pa.timestamp("ns", tz="UTC")),
        *(pa.field(name, pa.float64()) for name in BAR_FIELDS[1:]),
    ]
    if any(one.derived for one in series):
        fields.append(pa.field("n_base", pa.int32()))
    schema = pa.schema(fields)
    # All of Arrow that makes arrays from Python's values imports pandas where it is installed.
    yield pa.Table.from_batches([], schema=schema)
    symbols = _texts([one.symbol for one in series])
    for place, one in enumerate(series):
        table = series_to_arrow(one, complete_only=complete_only)
        n = table.num_rows
        places = pa.py_buffer(np.full(n, place, dtype=np.int32))
        indices = pa.Array.from_buffers(pa.int32(), n, [None, places])
        columns = [pa.DictionaryArray.from_arrays(indices, symbols), *table.columns]
        # A series that another thread links meanwhile gains n_base, or loses it.
        if len(columns) < len(schema):
            columns.append(pa.nulls(n, pa.int32()))
        yield pa.Table.from_arrays(columns[: len(schema)], schema=schema)


def _texts(values: Sequence[str]) -> pa.Array:
    import pyarrow as pa

    encoded = [value.encode() for value in values]
    ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))]
    return pa.Array.from_buffers(pa.string(), len(encoded), buffers)


def to_polars(table: pa.Table) -> pl.DataFrame:
    """Return a table as a polars frame; ``symbol`` becomes categorical.

    Raises
    ------
    MissingLibraryError
        When polars is not installed.
    """
    polars = _library("polars", "to_polars()")
    frame: pl.DataFrame = polars.DataFrame(table)
    return frame


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return a table as a pandas frame, indexed by ``symbol`` (where it has one) and ``timestamp``.

    Times are what resampling, joining and plotting go by in pandas, and there they are the
    index; ``frame.loc["AAPL"]`` is then the frame of that symbol's series.

    Raises
    ------
    MissingLibraryError
        When pandas is not installed.
    """
    _library("pandas", "to_pandas()")
    frame: pd.DataFrame = table.to_pandas()
    if "symbol" not in frame:
        return frame.set_index("timestamp")
    frame = frame.set_index(["symbol", "timestamp"])
    # Columns made of categories, by unstack(), would refuse any column added to them.
    names = frame.index.levels[0].astype("str")
    frame.index = frame.index.set_levels(names, level="symbol")
    return frame


def _library(name: str, needed_for: str) -> Any:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise MissingLibraryError(name, needed_for) from None
