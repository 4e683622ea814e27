"""How instants, numbers, rows and gaps stand in an export."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from openbell.gaps import EXPLAINED, EXPLAINED_CODE, GapRuns
from openbell.schema import BAR_FIELDS, GAP_REASONS, Int64Array, to_iso, to_ns

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.gaps import GapEvidence, GapInfo

__all__ = [
    "COUNTED",
    "Labels",
    "columns_of",
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
_REASONS: Final = np.array(GAP_REASONS, dtype=object)
_EXACT_INTEGERS: Final = float(2**53)
#: Fields that stand as integers where all of their values are whole.
COUNTED: Final = frozenset(("volume", "size", "bid_size", "ask_size"))


class Labels:
    """ISO texts of slot starts, made once per interval and shared by all symbols of a dump."""

    def __init__(self, window: SessionWindow | None) -> None:
        self._window = window
        self._made: dict[str, tuple[Int64Array, npt.NDArray[np.object_]]] = {}

    def rows(
        self,
        rows: npt.NDArray[np.void],
        name: str | None = None,
        n_base: npt.NDArray[np.int32] | None = None,
    ) -> dict[str, Any]:
        """Return records as the dump shows them; faster when they are bars of a known interval."""
        return rows_tree(rows, self.of(name, rows["timestamp"]), n_base)

    def of(self, name: str | None, ts_ns: Int64Array) -> list[str]:
        """Return the text of each instant."""
        if self._window is None or name is None or len(ts_ns) == 0:
            return iso_column(ts_ns)
        starts, texts = self._table(self._window, name)
        slots = np.searchsorted(starts[:-1], ts_ns)
        if not np.array_equal(starts[slots], ts_ns):
            return iso_column(ts_ns)
        labels: list[str] = texts[slots].tolist()
        return labels

    def gaps(self, name: str, gaps: Sequence[GapInfo]) -> dict[str, Any]:
        """Return gaps as the dump shows them, at a fraction of the cost when they are runs."""
        if not gaps or self._window is None or not isinstance(gaps, GapRuns):
            return gaps_tree(gaps)
        _, texts = self._table(self._window, name)
        first, n_slots, reasons = gaps.slots[:, 0], gaps.slots[:, 1], gaps.reasons
        edges = texts[first], texts[first + n_slots - 1], n_slots.tolist(), _REASONS[reasons]
        ranges: list[dict[str, Any]] = [
            {"start_time": start, "end_time": end, "bar_count": n, "reason": reason}
            for start, end, n, reason in zip(*edges, strict=True)
        ]
        for at in np.flatnonzero(reasons != EXPLAINED_CODE).tolist():
            _add_evidence(ranges[at], gaps.evidence(at))
        return _gaps_of(ranges)

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
    ranges = []
    for gap in gaps:
        start, end = to_iso(to_ns(gap.start_time)), to_iso(to_ns(gap.end_time))
        ranges.append(
            {"start_time": start, "end_time": end, "bar_count": gap.bar_count, "reason": gap.reason}
        )
        if gap.reason != EXPLAINED:
            _add_evidence(ranges[-1], gap.evidence)
    return _gaps_of(ranges)


def _add_evidence(found: dict[str, Any], evidence: GapEvidence | None) -> None:
    # That of the thousands in which nothing was traded would be most of the dump.
    if evidence is not None:
        found["evidence"] = plain(evidence._asdict())


def _gaps_of(ranges: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "gap_count": len(ranges),
        "missing_bars": sum(one["bar_count"] for one in ranges),
        "ranges": ranges,
    }


def iso_column(ts_ns: Int64Array) -> list[str]:
    """Return instants as ISO-8601 UTC texts: whole seconds to the second, others to the ns."""
    stamps = np.ascontiguousarray(ts_ns).view("datetime64[ns]")
    whole = stamps.astype("datetime64[s]")
    is_whole = whole == stamps
    texts = np.datetime_as_string(whole)
    # Each by itself: a text must not depend on what stands beside it, or deltas would not fit.
    if not is_whole.all():
        texts = np.where(is_whole, texts, np.datetime_as_string(stamps))
    return [text + _UTC_SUFFIX for text in texts.tolist()]


def plain(value: Any) -> Any:
    """Return a value as what JSON can hold: NaN and infinities become None, times ISO texts."""
    if isinstance(value, np.datetime64):
        # numpy's are UTC by their definition; some are days.
        text = str(value)
        return None if np.isnat(value) else text + _UTC_SUFFIX if "T" in text else text
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        # A file's name may hold what is no character, and no export could be written of it.
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return iso_or_none(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {plain(str(key)): plain(item) for key, item in value.items()}
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
    columns: list[list[Any]] = [labels]
    columns += [_column(name, rows[name]) for name in (rows.dtype.names or BAR_FIELDS)[1:]]
    if n_base is not None:
        columns.append(n_base.tolist())
    data = list(map(list, zip(*columns, strict=True)))
    return {"columns": columns_of(rows, n_base), "data": data}


def columns_of(rows: npt.NDArray[np.void], n_base: npt.NDArray[np.int32] | None) -> list[str]:
    """Return the ``columns`` of an array of records."""
    return [*(rows.dtype.names or BAR_FIELDS), *(() if n_base is None else ("n_base",))]


def _column(name: str, values: npt.NDArray[np.float64]) -> list[Any]:
    if name in COUNTED and integral(values):
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
