"""The rules for what a symbol of a dump holds beside its bars: events, indicators, errors."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from openbell.clock.window import SessionWindow
from openbell.events import EVENT_REFUSALS, QuoteData, TickData
from openbell.export.check_rules import (
    Findings,
    SeriesFacts,
    Shape,
    check_shape,
    instant_of,
    is_count,
    is_instant,
    is_value,
)
from openbell.export.load import RowError, Tree, parse_events
from openbell.schema import REFUSALS, to_iso

__all__ = ["check_counters", "check_errors", "check_events", "check_indicators"]

_REASONS: Final = frozenset(
    [*REFUSALS, *(f"{k.KIND}_{reason}" for k in (QuoteData, TickData) for reason in EVENT_REFUSALS)]
)
_ERROR: Final[Shape] = {
    "where": str,
    "error": str,
    "first": lambda value: value is None or is_instant(value),
    "n": is_count,
}
_INDICATOR: Final[Shape] = {
    "name": str,
    "type": str,
    "interval": str,
    "parameters": dict,
    "value": is_value,
    "timestamp": lambda value: value is None or is_instant(value),
    "ready": bool,
    "revision": is_count,
}


def check_counters(tree: Tree, findings: Findings) -> None:
    """Check that what was refused and revised are counts, and each refusal has a known name."""
    for key in ("rejected", "revised"):
        counters = tree.get(key, {})
        names = counters if isinstance(counters, dict) else ()
        check_shape(counters, dict.fromkeys(names, is_count), key, findings)
    unknown = sorted(set(tree["rejected"]) - _REASONS)
    if unknown:
        findings.add("rejected", f"no reason to refuse anything: {', '.join(unknown)}")


def check_events(
    kind: str,
    tree: Tree,
    dtype: np.dtype[np.void],
    window: SessionWindow | None,
    findings: Findings,
) -> None:
    """Check ``quotes`` or ``ticks``: count, finite values, sizes, and that the session made them.

    Between the open and the close, a lunch break included; both edges count.
    """
    if not check_shape(tree, {"count": is_count}, kind, findings) or "data" not in tree:
        return
    try:
        rows = parse_events(tree, dtype)
    except ValueError as error:
        at = error.time_in(tree) if isinstance(error, RowError) else None
        findings.add("schema", f"{kind} cannot be read: {error}", ts_ns=at)
        return
    if len(rows) != tree["count"]:
        findings.add("count", f"{kind}: count is {tree['count']}, data has {len(rows)} rows")
    ts_ns = np.ascontiguousarray(rows["timestamp"])
    values = {name: rows[name] for name in dtype.names or () if name != "timestamp"}
    finite = np.all([np.isfinite(column) for column in values.values()], axis=0)
    negative = np.any([column < 0 for name, column in values.items() if "size" in name], axis=0)
    findings.rows("events", ~finite, ts_ns, "", f"of {kind} without a finite number")
    findings.rows("events", negative, ts_ns, "", f"of {kind} with a negative size")
    if window is not None:
        outside = (ts_ns < window.open_ns) | (ts_ns > window.close_ns)
        findings.rows("events", outside, ts_ns, "", f"of {kind} outside the session")


def check_errors(
    errors: Any, window: SessionWindow | None, now_ns: int | None, findings: Findings
) -> None:
    """Check the errors noted: each happened at least once, first within the session so far."""
    if not isinstance(errors, list):
        findings.add("schema", f"errors is {type(errors).__name__}, expected a list")
        return
    for k, item in enumerate(errors):
        if not check_shape(item, _ERROR, f"errors.{k}", findings):
            continue
        first_ns = instant_of(item["first"])
        if item["n"] < 1:
            findings.add("errors", f"{item['where']}: n is {item['n']}, expected 1 or more",
                         ts_ns=first_ns)  # fmt: skip
        if first_ns is None or window is None:
            continue
        if first_ns < window.open_ns or (now_ns is not None and first_ns > now_ns):
            findings.add("errors", f"{item['where']}: first at {item['first']}, which is not "
                         f"within the session so far", ts_ns=first_ns)  # fmt: skip


def check_indicators(
    tree: Tree, series: Mapping[str, SeriesFacts], now_ns: int | None, findings: Findings
) -> None:
    """Check each indicator: of a series that is there, of no time to come, with a value if ready.

    An indicator that is a bare value, and no object, has nothing to check.
    """
    for name, item in tree["indicators"].items():
        where = f"indicators.{name}"
        if not isinstance(item, Mapping):
            if not is_value(item):
                findings.add("schema", f"{where} is {reprlib.repr(item)}, not an indicator")
            continue
        # What a user's own indicator says is the user's.
        is_own = ":" in str(item.get("type"))
        shape: Shape = {**_INDICATOR, "value": lambda _: True} if is_own else _INDICATOR
        name_of = item.get("interval")
        interval = name_of if isinstance(name_of, str) else ""
        if not check_shape(item, shape, where, findings, interval):
            continue
        # A dump of some intervals only still tells the quality of all.
        if interval not in tree["quality"]:
            findings.add("indicator_interval", f"{name} is of {interval}, which is no series of "
                         f"the symbol", interval)  # fmt: skip
        at_ns = instant_of(item["timestamp"])
        if item["ready"] and item["value"] is None:
            findings.add("indicator_ready", f"{name} is ready, but has no value", interval, at_ns)
        until_ns = _elapsed(tree, series.get(interval), now_ns)
        if at_ns is not None and until_ns is not None and at_ns > until_ns:
            findings.add("indicator_time", f"{name} is of {item['timestamp']}, after "
                         f"{to_iso(until_ns)}", interval, at_ns)  # fmt: skip


def _elapsed(tree: Tree, facts: SeriesFacts | None, now_ns: int | None) -> int | None:
    # An append does not move the session's clock, and an indicator goes with the bars.
    if now_ns is None:
        return None
    last_update_ns = instant_of(tree["session"]["last_update"])
    known = [now_ns] if last_update_ns is None else [now_ns, last_update_ns]
    if facts is not None and not facts.is_base:
        if facts.elapsed_ns is None:
            return None
        known.append(facts.elapsed_ns)
    return max(known)
