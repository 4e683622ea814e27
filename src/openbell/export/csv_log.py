"""The CSV session log: the day again, one row per slot, all symbols side by side."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from openbell.clock.window import Grid, SessionWindow
from openbell.errors import SessionStateError
from openbell.export.files import replacing
from openbell.export.json_dump import metadata_tree
from openbell.export.texts import integral, iso_column
from openbell.schema import BarArray, Int64Array

if TYPE_CHECKING:
    from os import PathLike

    from openbell.bars import BarIntervalData
    from openbell.session import SessionData
    from openbell.symbol import SymbolSessionData

__all__ = ["METADATA_COLUMNS", "write_session_csv"]

#: Suffix of each metadata column and the name of what it shows; document 000 fixes the first.
METADATA_COLUMNS: Final = {
    "meets_config_req": "meets_session_config_requirements",
    "added_by": "added_by",
    "auto_provisioned": "auto_provisioned",
    "added_at": "added_at",
    "upgraded_from_adhoc": "upgraded_from_adhoc",
}

_BLOCK_ROWS: Final = 1024

# One column: values of every row, an array with -1 or NaN for "not known", or one for all rows.
Column = npt.NDArray[Any] | str | bool | None


def write_session_csv(
    root: SessionData, path: str | PathLike[str], *, interval: str = "1m"
) -> None:
    """Write the session log: a row for each slot that has passed, its columns for each symbol.

    A row is labelled by its slot's start (ISO-8601 UTC) and shows what was known at the slot's
    END: per interval ``{symbol}_{interval}_bars`` (closed bars so far), ``_quality``, ``_missing``;
    ``{symbol}_volume``, ``_high``, ``_low`` of the session so far and ``_close`` of the newest base
    bar; and the record's provenance as it is when the log is written. All is computed from the
    bars the record holds now, so late bars and corrections show in the slot they belong to.
    Cells of what is not known, or was evicted from a ring, are empty. Counts are of all closed
    bars, incomplete ones too.

    Parameters
    ----------
    root : SessionData
        Symbols that were removed before are not in it, and so not in the log.
    path : str or os.PathLike
        Written beside it and renamed when whole; its folder must exist.
    interval : str
        Whose slots make the rows. A full XNYS day has 390 of ``1m``.

    Raises
    ------
    SessionStateError
        When no session was begun.
    IntervalError
        When `interval` is unknown or spans several sessions.

    Notes
    -----
    Holds rows x columns in memory, 4 to 8 bytes a cell.
    """
    window = root.window
    if window is None:
        raise SessionStateError("write_session_csv", "not begun", "call begin(window) first")
    grid = window.grid(interval)
    records = list(root)
    ends_ns = grid.ends_ns[: grid.expected(_elapsed(root, records, window))]
    header = ["timestamp"]
    columns: list[Column] = []
    for rec in records:
        for suffix, values in _record_columns(rec, window, ends_ns):
            header.append(f"{rec.symbol}_{suffix}")
            columns.append(values)
    labels = iso_column(grid.starts_ns[: len(ends_ns)])
    with replacing(path) as file:
        # No newline translation: the csv module ends its lines itself.
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(header)
        for first in range(0, len(labels), _BLOCK_ROWS):
            rows = slice(first, first + _BLOCK_ROWS)
            cells = [_cells(column, rows) for column in columns]
            writer.writerows(zip(labels[rows], *cells))  # noqa: B905 (constants repeat for ever)
        text.detach()


def _elapsed(root: SessionData, records: list[SymbolSessionData], window: SessionWindow) -> int:
    newest = [
        int(_ends(window.grid(series.interval), series.data[-1:])[0])
        for rec in records
        for series in rec.bars.values()
        if len(series)
    ]
    return max([window.open_ns if root.now_ns is None else root.now_ns, *newest])


def _ends(grid: Grid, bars: BarArray) -> Int64Array:
    ends: Int64Array = grid.ends_ns[np.searchsorted(grid.starts_ns, bars["timestamp"])]
    return ends


def _record_columns(
    rec: SymbolSessionData, window: SessionWindow, ends_ns: Int64Array
) -> Iterator[tuple[str, Column]]:
    for name, series in rec.bars.items():
        grid = window.grid(name)
        n_closed, held = _closed_at(series, grid, ends_ns)
        n_expected = np.searchsorted(grid.ends_ns, ends_ns, side="right")
        with np.errstate(invalid="ignore"):
            quality = np.where(n_expected == 0, np.nan, 100.0 * n_closed / n_expected)
        yield f"{name}_bars", np.where(held, n_closed, -1).astype(np.int32)
        yield f"{name}_quality", np.where(held, quality, np.nan)
        yield f"{name}_missing", np.where(held, n_expected - n_closed, -1).astype(np.int32)
    yield from _price_columns(rec.bars.get(rec.base_interval), window, ends_ns)
    metadata = metadata_tree(rec)
    for suffix, key in METADATA_COLUMNS.items():
        yield suffix, metadata[key]
    yield "is_loaded", bool(rec.is_loaded)


def _closed_at(
    series: BarIntervalData, grid: Grid, ends_ns: Int64Array
) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    n_in_ring = np.searchsorted(_ends(grid, series.data), ends_ns, side="right")
    # How the evicted bars were spread over the rows before the oldest held one is forgotten.
    held = (n_in_ring > 0) | (series.n_evicted == 0)
    return n_in_ring.astype(np.int64) + series.n_evicted, held


def _price_columns(
    base: BarIntervalData | None, window: SessionWindow, ends_ns: Int64Array
) -> Iterator[tuple[str, Column]]:
    if base is None:
        return
    bars = base.data.copy()
    n_closed = np.searchsorted(_ends(window.grid(base.interval), bars), ends_ns, side="right")
    sums: dict[str, npt.NDArray[np.float64]] = {
        "volume": np.cumsum(bars["volume"]),
        "high": np.maximum.accumulate(bars["high"]),
        "low": np.minimum.accumulate(bars["low"]),
    }
    if base.n_evicted:
        sums = {name: np.full(len(bars), np.nan) for name in sums}
    before = np.nan if base.n_evicted else 0.0
    volume = np.concatenate(([before], sums["volume"]))[n_closed]
    yield "volume", volume.astype(np.int64) if integral(volume) else volume
    for name, values in (("high", sums["high"]), ("low", sums["low"]), ("close", bars["close"])):
        yield name, np.concatenate(([np.nan], values))[n_closed]


def _cells(column: Column, rows: slice) -> Any:
    if not isinstance(column, np.ndarray):
        return repeat(column)
    values = column[rows]
    listed = values.tolist()
    unknown = np.isnan(values) if values.dtype.kind == "f" else values < 0
    if unknown.any():
        return [None if gone else v for v, gone in zip(listed, unknown.tolist(), strict=True)]
    return listed
