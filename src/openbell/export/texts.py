"""How instants, numbers, rows and gaps stand in an export."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from openbell.gaps import GapRuns
from openbell.schema import BAR_FIELDS, Int64Array, to_iso, to_ns

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.gaps import GapInfo

__all__ = [
    "Labels",
    "float_or_none",
    "gaps_tree",
    "integral",
    "iso_column",
    "iso_or_none",
    "plain",
    "rows_tree",
    "volume_or_none",
]

_UTC_SUFFIX: Final = "+00:00"
_NO_REASON: Final = "unknown"
_EXACT_INTEGERS: Final = float(2**53)
_COUNTED: Final = frozenset(("volume", "size", "bid_size", "ask_size"))


class Labels:
    """ISO texts of slot starts, made once per interval and shared by all symbols of a dump."""

    def __init__(self, window: SessionWindow | None) -> None:
        self._window = window
        self._made: dict[str, tuple[Int64Array, npt.NDArray[np.object_]]] = {}

    def of(self, name: str, ts_ns: Int64Array) -> list[str]:
        """Return the text of each instant."""
        if self._window is None or len(ts_ns) == 0:
            return iso_column(ts_ns)
        starts, texts = self._table(self._window, name)
        slots = np.searchsorted(starts[:-1], ts_ns)
        if not np.array_equal(starts[slots], ts_ns):
            return iso_column(ts_ns)
        labels: list[str] = texts[slots].tolist()
        return labels

    def gaps(self, name: str, gaps: Sequence[GapInfo]) -> dict[str, Any]:
        """Return gaps as the dump shows them, at a fraction of the cost when they are runs."""
        if self._window is None or not isinstance(gaps, GapRuns):
            return gaps_tree(gaps)
        _, texts = self._table(self._window, name)
        first, n_slots = gaps.slots[:, 0], gaps.slots[:, 1]
        edges = zip(texts[first], texts[first + n_slots - 1], n_slots.tolist(), strict=True)
        return _gaps_of([(start, end, n, _NO_REASON) for start, end, n in edges])

    def _table(
        self, window: SessionWindow, name: str
    ) -> tuple[Int64Array, npt.NDArray[np.object_]]:
        found = self._made.get(name)
        if found is None:
            starts = window.grid(name).starts_ns
            found = self._made[name] = starts, np.array(iso_column(starts), dtype=object)
        return found


def gaps_tree(gaps: Iterable[GapInfo]) -> dict[str, Any]:
    """Return gaps as the dump shows them: two sums and the ranges."""
    return _gaps_of(
        [(to_iso(to_ns(g.start_time)), to_iso(to_ns(g.end_time)), g.bar_count, g.reason)
         for g in gaps]
    )  # fmt: skip


def _gaps_of(ranges: list[tuple[str, str, int, str]]) -> dict[str, Any]:
    keys = ("start_time", "end_time", "bar_count", "reason")
    return {
        "gap_count": len(ranges),
        "missing_bars": sum(r[2] for r in ranges),
        "ranges": [dict(zip(keys, r, strict=True)) for r in ranges],
    }


def iso_column(ts_ns: Int64Array) -> list[str]:
    """Return instants as ISO-8601 UTC texts, to the second when all of them are whole seconds."""
    stamps = np.ascontiguousarray(ts_ns).view("datetime64[ns]")
    whole = stamps.astype("datetime64[s]")
    unit = whole if np.array_equal(whole, stamps) else stamps
    return [text + _UTC_SUFFIX for text in np.datetime_as_string(unit).tolist()]


def plain(value: Any) -> Any:
    """Return a value as what JSON can hold: NaN and infinities become None, times ISO texts."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return iso_or_none(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def integral(values: npt.NDArray[np.float64]) -> bool:
    """Whether every value is a whole number that an int holds without loss."""
    return bool(np.all((np.abs(values) < _EXACT_INTEGERS) & (values == np.rint(values))))


def rows_tree(
    rows: npt.NDArray[np.void],
    labels: list[str],
    n_base: npt.NDArray[np.int32] | None = None,
) -> dict[str, Any]:
    """Return the ``columns`` and the ``data`` of an array of records, labels instead of times."""
    names = list(rows.dtype.names or BAR_FIELDS)
    columns: list[list[Any]] = [labels]
    columns += [_column(name, rows[name]) for name in names[1:]]
    if n_base is not None:
        names.append("n_base")
        columns.append(n_base.tolist())
    return {"columns": names, "data": list(map(list, zip(*columns, strict=True)))}


def _column(name: str, values: npt.NDArray[np.float64]) -> list[Any]:
    if name in _COUNTED and integral(values):
        whole: list[Any] = values.astype(np.int64).tolist()
        return whole
    listed: list[Any] = values.tolist()
    if np.isfinite(values).all():
        return listed
    return [value if math.isfinite(value) else None for value in listed]


def float_or_none(value: float | None) -> float | None:
    """Return a number as a float, None when it is absent or not finite."""
    return None if value is None or not math.isfinite(value) else float(value)


def volume_or_none(value: float | None) -> float | int | None:
    """Return a number as an int when it is whole, None when it is absent or not finite."""
    if value is None or not math.isfinite(value):
        return None
    whole = value == int(value) and abs(value) < _EXACT_INTEGERS
    return int(value) if whole else float(value)


def iso_or_none(value: datetime | int | None) -> str | None:
    """Return an instant as ISO-8601 text, None when there is none."""
    return None if value is None else to_iso(to_ns(value))
