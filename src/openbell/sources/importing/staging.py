"""Good rows on their way to date files: kept by interval and date, on disk when they are many."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from datetime import date as Date
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from openbell.schema import BAR_DTYPE, BAR_FIELDS, BarArray, Int64Array
from openbell.sources.dataset import EXTRA_FIELDS

__all__ = ["STAGED_DTYPE", "DayRows", "Staging", "join_duplicates"]

#: A bar with where it comes from; 80 bytes.
STAGED_DTYPE: Final = np.dtype(
    [
        *((name, BAR_DTYPE[name]) for name in BAR_FIELDS),
        *((name, "<f8") for name in EXTRA_FIELDS),
        ("row", "<i8"),
        ("symbol", "<i4"),
        ("file", "<i4"),
    ]
)
_RAW: Final = np.dtype((np.void, STAGED_DTYPE.itemsize))
_MAX_ROWS: Final = 2_000_000


class Staging:
    """Collects rows by (interval, date), spilling to a folder beside the dataset's files.

    Memory holds `max_rows` rows, and one date when it is taken.
    """

    def __init__(self, root: Path, *, max_rows: int = _MAX_ROWS) -> None:
        self._root = root
        self._max_rows = max_rows
        self._folder: Path | None = None
        self._held: dict[tuple[str, int], list[BarArray]] = {}
        self._spilled: set[tuple[str, int]] = set()
        self._n_held = 0

    def add(self, interval: str, dates: Int64Array, rows: BarArray) -> None:
        """Take rows of one interval; `dates` has the ordinal of each one's session date."""
        if len(rows) == 0:
            return
        if (np.diff(dates) < 0).any():
            order = np.argsort(dates, kind="stable")
            dates, rows = dates[order], rows.view(_RAW)[order].view(STAGED_DTYPE)
        cuts = np.flatnonzero(np.diff(dates)) + 1
        firsts = np.append(0, cuts)
        for first, last in zip(firsts, np.append(cuts, len(rows)), strict=True):
            self._held.setdefault((interval, int(dates[first])), []).append(rows[first:last])
        self._n_held += len(rows)
        if self._n_held > self._max_rows:
            self._spill()

    def days(self) -> list[tuple[str, Date]]:
        """Every (interval, date) with rows, sorted."""
        keys = sorted(self._held.keys() | self._spilled)
        return [(interval, Date.fromordinal(day)) for interval, day in keys]

    def take(self, interval: str, date: Date) -> BarArray:
        """Return the rows of one date, in the order they came, and forget them."""
        key = (interval, date.toordinal())
        parts = []
        if key in self._spilled:
            path = self._path(key)
            parts.append(np.fromfile(path, STAGED_DTYPE))
            path.unlink()
            self._spilled.discard(key)
        parts += self._held.pop(key, [])
        joined = parts[0]
        if len(parts) > 1:
            joined = np.concatenate([part.view(_RAW) for part in parts]).view(STAGED_DTYPE)
        self._n_held -= min(self._n_held, len(joined))
        return joined

    def _spill(self) -> None:
        for key, parts in self._held.items():
            with self._path(key).open("ab") as file:
                for part in parts:
                    np.ascontiguousarray(part.view(_RAW)).tofile(file)
            self._spilled.add(key)
        self._held.clear()
        self._n_held = 0

    def _path(self, key: tuple[str, int]) -> Path:
        if self._folder is None:
            self._root.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=".import-", dir=self._root))
        return self._folder / f"{key[0]}-{key[1]}.rows"

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class DayRows(NamedTuple):
    """Rows of one date without doubles: by symbol number, bars and their other columns."""

    bars: dict[int, BarArray]
    extras: dict[int, dict[str, npt.NDArray[Any]]]
    n_rows: int
    n_duplicate: int


def join_duplicates(rows: BarArray, on_conflict: Callable[[np.void, np.void], None]) -> DayRows:
    """Keep the last row of each symbol and label.

    Parameters
    ----------
    rows : numpy.ndarray
        Of :data:`STAGED_DTYPE`, in the order they came.
    on_conflict : callable
        Told (row given up, row that came after it) for each pair with other values.
    """
    symbol_steps, steps = np.diff(rows["symbol"]), np.diff(rows["timestamp"])
    if ((symbol_steps < 0) | ((symbol_steps == 0) & (steps < 0))).any():
        order = np.lexsort((rows["timestamp"], rows["symbol"]))
        rows = rows.view(_RAW)[order].view(STAGED_DTYPE)
        symbol_steps, steps = np.diff(rows["symbol"]), np.diff(rows["timestamp"])
    same = (symbol_steps == 0) & (steps == 0)
    equal = same.copy()
    for name in BAR_FIELDS:
        equal &= rows[name][1:] == rows[name][:-1]
    for k in np.flatnonzero(same & ~equal):
        on_conflict(rows[k], rows[k + 1])
    kept = rows
    if same.any():
        kept = rows.view(_RAW)[np.append(~same, True)].view(STAGED_DTYPE)
    symbols, firsts = np.unique(kept["symbol"], return_index=True)
    bars: dict[int, BarArray] = {}
    extras: dict[int, dict[str, npt.NDArray[Any]]] = {}
    for symbol, part in zip(symbols.tolist(), np.split(kept, firsts[1:]), strict=True):
        bars[symbol] = np.empty(len(part), BAR_DTYPE)
        for name in BAR_FIELDS:
            bars[symbol][name] = part[name]
        extras[symbol] = {name: part[name] for name in EXTRA_FIELDS}
    return DayRows(bars, extras, len(kept), int(equal.sum()))
