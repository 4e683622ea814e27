"""The checker of exports: JSON dumps here, CSV session logs in :mod:`.check_csv`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date
from os import PathLike
from pathlib import Path
from typing import Any, Final

import numpy as np

from openbell.clock.window import SessionWindow
from openbell.errors import DumpError, IntervalError, OpenbellError
from openbell.export.check_csv import check_csv_log
from openbell.export.check_history import check_historical
from openbell.export.check_record import (
    check_counters,
    check_errors,
    check_events,
    check_indicators,
)
from openbell.export.check_rules import (
    Findings,
    SeriesFacts,
    Shape,
    Violation,
    check_derived,
    check_series,
    check_shape,
    is_count,
    is_instant,
)
from openbell.export.load import Tree, parse_bars, read_dump
from openbell.intervals import interval
from openbell.provenance import RULES, Provenance
from openbell.schema import QUOTE_DTYPE, TICK_DTYPE, to_ns

__all__ = ["Violation", "validate_session_dump"]

_VOLUME_TOLERANCE: Final = 1e-9


def _optional(kind: type | tuple[type, ...]) -> tuple[type, ...]:
    return (*(kind if isinstance(kind, tuple) else (kind,)), type(None))


def _list_of(shape: Shape) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list) and all(check_shape(item, shape, "", Findings()) for item in value)
    )


_NUMBER: Final = (int, float)
_TEXT: Final = _optional(str)

_SESSION: Final[Shape] = {
    "date": _TEXT, "open": _TEXT, "close": _TEXT, "segments": list, "active": bool,
    "now": _TEXT, "calendar": _TEXT, "timezone": _TEXT, "anchor": _TEXT,
}  # fmt: skip
_SYMBOL: Final[Shape] = {
    "symbol": str, "base_interval": str, "is_loaded": bool, "metadata": dict, "session": dict,
    "indicators": dict, "quality": dict, "historical": dict, "rejected": dict,
}  # fmt: skip
_METADATA: Final[Shape] = {
    "meets_session_config_requirements": bool,
    "added_by": str,
    "auto_provisioned": bool,
    "added_at": lambda value: value is None or is_instant(value),
    "upgraded_from_adhoc": bool,
}
_SYMBOL_SESSION: Final[Shape] = {
    "volume": _optional(_NUMBER), "high": _optional(_NUMBER), "low": _optional(_NUMBER),
    "last_update": lambda value: value is None or is_instant(value),
    "data": dict, "quotes": dict, "ticks": dict,
}  # fmt: skip
_SERIES: Final[Shape] = {
    "count": is_count, "generated": bool, "base": _TEXT, "quality": _optional(_NUMBER),
    "coverage": _optional(_NUMBER), "gaps": dict,
}  # fmt: skip
_GAPS: Final[Shape] = {
    "gap_count": is_count,
    "missing_bars": is_count,
    "ranges": _list_of(
        {"start_time": is_instant, "end_time": is_instant, "bar_count": is_count, "reason": str}
    ),
}


def validate_session_dump(dump: Mapping[str, Any] | str | PathLike[str]) -> list[Violation]:
    """Check an export against every rule that a session obeys.

    Parameters
    ----------
    dump : mapping or path
        The tree of ``SessionData.to_json()``, a JSON dump, or a CSV session log (told by the
        suffix, or, when it is neither ``.csv`` nor ``.json``, by how the content begins).

    Returns
    -------
    list of Violation
        Empty when all is well. ``str()`` of each is one line. A file that is no dump at all
        gives one violation of the rule ``schema``. What a dump does not hold (rows left out,
        bars that a ring evicted, gaps around incomplete bars left out) is not judged.

    Raises
    ------
    DumpError
        When the file cannot be read.

    Notes
    -----
    Recomputes from the rows: counts, order, slots, OHLC, gaps, quality, coverage, session
    volume, high and low, derived series and their ``n_base``; reads the provenance table; and
    looks whether quotes, trades, indicators and errors are sound and of the session.
    """
    if not isinstance(dump, Mapping) and _is_csv(Path(dump)):
        return check_csv_log(dump)
    findings = Findings()
    try:
        session, symbols = read_dump(dump)
    except DumpError as error:
        findings.add("schema", "; ".join(error.problems))
        return findings.found
    window, now_ns = _check_session(session, findings)
    for name, tree in symbols:
        symbol_findings = Findings(name)
        _check_symbol(name, tree, window, now_ns, symbol_findings)
        findings.found += symbol_findings.found
    return findings.found


def _is_csv(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(64).lstrip()
    except OSError as error:
        raise DumpError(path, [error.strerror or str(error)]) from error
    suffix = path.suffix.lower()
    return suffix == ".csv" or (suffix != ".json" and not head.startswith((b"{", b"[")))


def _check_session(session: Tree, findings: Findings) -> tuple[SessionWindow | None, int | None]:
    if not check_shape(session, _SESSION, "session", findings):
        return None, None
    try:
        now_ns = None if session["now"] is None else to_ns(session["now"], "session.now")
        window = _make_window(session)
    except (OpenbellError, OverflowError, TypeError, ValueError) as error:
        findings.add("session", f"no session can be made of it: {error}")
        return None, None
    if window is not None:
        for key, real in (("open", window.open_ns), ("close", window.close_ns)):
            if session[key] is None or to_ns(session[key]) != real:
                findings.add("session", f"{key} is {session[key]}, not that of its segments")
    return window, now_ns


def _make_window(session: Tree) -> SessionWindow | None:
    if session["date"] is None:
        return None
    for key in ("open", "close"):
        if session[key] is not None:
            to_ns(session[key], f"session.{key}")
    spans = [(to_ns(opened), to_ns(closed)) for opened, closed in session["segments"]]
    return SessionWindow(
        date.fromisoformat(session["date"]),
        spans,
        calendar=session["calendar"] or "custom",
        timezone=session["timezone"] or "UTC",
        anchor=session["anchor"] or "session",
    )


def _check_symbol(
    name: str,
    tree: Any,
    window: SessionWindow | None,
    now_ns: int | None,
    findings: Findings,
) -> None:
    if not check_shape(tree, _SYMBOL, "symbol", findings):
        return
    if tree["symbol"] != name:
        findings.add("symbol", f"stands under {name!r} but says symbol {tree['symbol']!r}")
    if check_shape(tree["metadata"], _METADATA, "metadata", findings):
        _check_provenance(tree, findings)
    check_counters(tree, findings)
    check_historical(tree["historical"], None if window is None else window.date, findings)
    session = tree["session"]
    if not check_shape(session, _SYMBOL_SESSION, "session", findings):
        return
    check_events("quotes", session["quotes"], QUOTE_DTYPE, window, findings)
    check_events("ticks", session["ticks"], TICK_DTYPE, window, findings)
    if session.get("as_of") is not None and is_instant(session["as_of"]):
        now_ns = to_ns(session["as_of"])
    check_errors(tree.get("errors", []), window, now_ns, findings)
    read = [_read_series(k, item, window, findings) for k, item in session["data"].items()]
    series = {facts.interval: facts for facts in read if facts is not None}
    base = series.get(tree["base_interval"])
    if base is not None:
        base.is_base = True
    _check_base(tree["base_interval"], series, findings)
    for facts in series.values():
        facts.elapsed_ns = _elapsed(facts, base, window, now_ns)
        check_series(facts, findings)
    check_indicators(tree, series, now_ns, findings)
    _check_quality_map(tree["quality"], series, findings)
    if base is None or not base.has_rows:
        return
    _check_metrics(session, base, findings)
    if (np.diff(base.bars["timestamp"]) > 0).all():
        for facts in series.values():
            if facts.generated and facts.has_rows:
                check_derived(facts, base, findings)


def _check_base(name: str, series: dict[str, SeriesFacts], findings: Findings) -> None:
    try:
        base = interval(name)
    except IntervalError as error:
        findings.add("base_interval", str(error))
        return
    for facts in series.values():
        above = interval(facts.interval)
        if facts.generated and not base.divides(above):
            findings.add("base_interval", f"derived, but not a multiple of {name}", above.name)
        elif not facts.generated and above < base:
            findings.add("base_interval", f"arrives, but is finer than base {name}", above.name)


def _check_provenance(tree: Tree, findings: Findings) -> None:
    flags = {key: tree["metadata"][key] for key in _METADATA}
    provenance = Provenance(is_loaded=tree["is_loaded"], **flags)
    for rule in RULES:
        if not rule.holds(provenance):
            findings.add(f"provenance.{rule.name}", f"broken: {rule.words}")


def _read_series(
    name: str, tree: Any, window: SessionWindow | None, findings: Findings
) -> SeriesFacts | None:
    where = f"data.{name}"
    if not check_shape(tree, _SERIES, where, findings):
        return None
    if not check_shape(tree["gaps"], _GAPS, f"{where}.gaps", findings):
        return None
    for key in ("evicted", "incomplete"):
        if not is_count(tree.get(key, 0)):
            findings.add("schema", f"{where}.{key} is {tree[key]!r}, not a count", name)
            return None
    try:
        bars, n_base = parse_bars(tree)
        grid = None if window is None else window.grid(name)
    except (KeyError, OpenbellError, OverflowError, ValueError) as error:
        findings.add("schema", f"{where} cannot be read: {error}", name)
        return None
    if window is None and len(bars):
        findings.add("session", "has bars, but the dump has no session they belong to", name)
    return SeriesFacts(name, tree, bars, n_base, "data" in tree, grid)


def _elapsed(
    facts: SeriesFacts, base: SeriesFacts | None, window: SessionWindow | None, now_ns: int | None
) -> int | None:
    if window is None or facts.grid is None:
        return None
    if now_ns is not None and now_ns >= window.close_ns:
        return now_ns
    # Derived series live on their base's time; a series written directly on its own.
    source = base if facts.generated else facts
    if source is None or not source.has_rows or source.grid is None:
        return None
    known = [] if now_ns is None else [now_ns]
    seen = [(source.bars, source.grid)]
    if facts.generated and facts.n_base is not None:
        # A derived bar that was written directly may lie ahead of both.
        seen.append((facts.bars[facts.n_base == 0], facts.grid))
    for bars, grid in seen:
        if len(bars):
            newest = grid.slot_of(int(bars["timestamp"].max()))
            known += [int(grid.ends_ns[newest])] if newest >= 0 else []
    return max(known, default=window.open_ns)


def _check_quality_map(quality: Tree, series: dict[str, SeriesFacts], findings: Findings) -> None:
    for name, facts in series.items():
        if quality.get(name) != facts.tree["quality"]:
            findings.add("quality_map", f"quality says {quality.get(name)}, the series "
                         f"{facts.tree['quality']}", name)  # fmt: skip


def _check_metrics(session: Tree, base: SeriesFacts, findings: Findings) -> None:
    if base.n_evicted:
        return
    bars = base.bars
    wanted = {
        "high": float(bars["high"].max()) if len(bars) else None,
        "low": float(bars["low"].min()) if len(bars) else None,
    }
    for key, value in wanted.items():
        if session[key] != value:
            findings.add(f"session_{key}", f"{key} is {session[key]}, the {base.interval} bars "
                         f"give {value}")  # fmt: skip
    total, received = float(bars["volume"].sum()), session["volume"] or 0
    if not abs(received - total) <= _VOLUME_TOLERANCE * max(1.0, abs(total)):
        findings.add("session_volume", f"volume is {received}, the {base.interval} bars sum to "
                     f"{total}")  # fmt: skip
