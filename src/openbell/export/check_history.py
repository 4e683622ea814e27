"""The rules that a symbol's trailing days must obey in a dump."""

from __future__ import annotations

import reprlib
from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np

from openbell.errors import OpenbellError
from openbell.export.check_gaps import check_gap_sums, read_gaps
from openbell.export.check_rules import (
    Findings,
    Shape,
    check_rows,
    check_shape,
    is_count,
    is_number,
    is_value,
)
from openbell.export.load import RowError, Tree, parse_bars
from openbell.intervals import interval
from openbell.schema import NS_PER_DAY, BarArray, to_ns

__all__ = ["check_historical"]

_HISTORICAL: Final[Shape] = {"loaded": bool, "data": dict}
_SERIES: Final[Shape] = {
    "count": is_count,
    "quality": lambda value: value is None or is_number(value),
}


def check_historical(tree: Tree, session_date: date | None, findings: Findings) -> None:
    """Check the ``historical`` branch of one symbol.

    Parameters
    ----------
    tree : dict
    session_date : datetime.date or None
        The session's date, which all trailing days precede; None when it is not known.
    findings : Findings
    """
    if not check_shape(tree, _HISTORICAL, "historical", findings):
        return
    if tree["data"] and not tree["loaded"]:
        findings.add("historical_loaded", "not loaded, but there are bars of trailing days")
    for name, value in tree.items():
        if name not in _HISTORICAL and not is_value(value):
            findings.add("historical_indicator", f"{name} is {reprlib.repr(value)}, expected a "
                         f"number, null, or a list of them")  # fmt: skip
    for name, series in tree["data"].items():
        where = f"historical.{name}"
        if not check_shape(series, _SERIES, where, findings, name):
            continue
        try:
            interval(name)
            bars, _ = parse_bars(series)
        except (OpenbellError, ValueError) as error:
            at = error.time_in(series) if isinstance(error, RowError) else None
            findings.add("schema", f"{where} cannot be read: {error}", name, at)
            continue
        count = series["count"]
        if "data" in series and len(bars) != count:
            findings.add("historical_count", f"count is {count}, data has {len(bars)} rows", name)
        check_rows(bars, name, findings, prefix="historical_")
        if "gaps" in series:
            gaps = read_gaps(series["gaps"], f"{where}.gaps", name, findings)
            if gaps is not None:
                check_gap_sums(series["gaps"], gaps, name, findings, prefix="historical_")
        if "days" in series:
            _check_days(name, series, bars, session_date, findings)


def _check_days(
    name: str, series: Tree, bars: BarArray, session_date: date | None, findings: Findings
) -> None:
    days = series["days"]
    if not isinstance(days, dict) or not all(map(_is_date, days)):
        findings.add("schema", f"historical.{name}.days are not dates", name)
        return
    where = f"historical.{name}.days"
    if not check_shape(days, dict.fromkeys(days, is_count), where, findings, name):
        return
    dates = [date.fromisoformat(day) for day in days]
    if dates != sorted(set(dates)) or (session_date and any(day >= session_date for day in dates)):
        findings.add("historical_days", "days do not ascend towards the session", name)
    n_in_days = sum(days.values())
    if n_in_days != series["count"]:
        findings.add("historical_count", f"count is {series['count']}, the days sum to "
                     f"{n_in_days}", name)  # fmt: skip
    if "data" not in series or n_in_days != len(bars):
        return
    midnights = np.repeat([_midnight_ns(day) for day in dates], list(days.values()))
    ts_ns = np.ascontiguousarray(bars["timestamp"])
    # Some sessions open on the evening before; the latest end before the UTC noon after.
    away = (ts_ns < midnights - NS_PER_DAY) | (ts_ns >= midnights + 3 * NS_PER_DAY // 2)
    findings.rows("historical_days", away, ts_ns, name, "far from the day it is counted in")


def _midnight_ns(day: date) -> int:
    return to_ns(datetime(day.year, day.month, day.day, tzinfo=UTC))


def _is_date(value: Any) -> bool:
    try:
        return 1900 <= date.fromisoformat(value).year < 2262
    except (TypeError, ValueError):
        return False
