"""The rules that a symbol's trailing days must obey in a dump."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, Final

import numpy as np

from openbell.export.check_rules import Findings, Shape, check_rows, check_shape, is_count, is_value
from openbell.export.load import Tree, parse_bars
from openbell.schema import NS_PER_DAY, BarArray, to_ns

__all__ = ["check_historical"]

_HISTORICAL: Final[Shape] = {"loaded": bool, "data": dict}
_SERIES: Final[Shape] = {
    "count": is_count,
    "quality": (int, float, type(None)),
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
            findings.add("historical_indicator", f"{name} is {value!r:.60}, expected a number, "
                         f"null, or a list of them")  # fmt: skip
    for name, series in tree["data"].items():
        where = f"historical.{name}"
        if not check_shape(series, _SERIES, where, findings):
            continue
        try:
            bars, _ = parse_bars(series)
        except (KeyError, ValueError) as error:
            findings.add("schema", f"{where} cannot be read: {error}", name)
            continue
        count = series["count"]
        if "data" in series and len(bars) != count:
            findings.add("historical_count", f"count is {count}, data has {len(bars)} rows", name)
        check_rows(bars, name, findings, prefix="historical_")
        if "days" in series:
            _check_days(name, series, bars, session_date, findings)


def _check_days(
    name: str, series: Tree, bars: BarArray, session_date: date | None, findings: Findings
) -> None:
    days = series["days"]
    if not isinstance(days, dict) or not all(map(_is_date, days)):
        findings.add("schema", f"historical.{name}.days are not dates", name)
        return
    if not check_shape(days, dict.fromkeys(days, is_count), f"historical.{name}.days", findings):
        return
    dates = [date.fromisoformat(day) for day in days]
    if dates != sorted(dates) or (session_date and any(day >= session_date for day in dates)):
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
        return date.fromisoformat(value).year >= 1900
    except ValueError:
        return False
