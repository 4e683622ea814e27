"""The checker of exports: JSON dumps here, CSV session logs in :mod:`.check_csv`."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any, Final

import numpy as np

from openbell.clock.window import SessionWindow
from openbell.errors import DumpError, IntervalError, OpenbellError
from openbell.export.check_csv import check_csv_log
from openbell.export.check_delta import Source, merge_deltas
from openbell.export.check_gaps import check_gap_reasons, read_gaps
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
    check_shape,
    instant_of,
    is_count,
    is_instant,
    is_number,
)
from openbell.export.check_series import check_derived, check_series
from openbell.export.load import (
    DeltaAloneError,
    KnownTimes,
    RowError,
    Tree,
    parse_bars,
    parse_times,
    read_dump,
)
from openbell.intervals import interval
from openbell.provenance import RULES, Provenance
from openbell.schema import NS_PER_DAY, QUOTE_DTYPE, TICK_DTYPE, to_iso, to_ns

__all__ = ["Violation", "validate_session_dump"]

_VOLUME_TOLERANCE: Final = 1e-9
#: Longer than any exchange trading day; the slots of a longer one would not fit into memory.
_MAX_SESSION_NS: Final = 7 * NS_PER_DAY
_TEXT: Final = (str, type(None))


def _is_score(value: Any) -> bool:
    return value is None or is_number(value)


def _is_moment(value: Any) -> bool:
    return value is None or is_instant(value)


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
    "added_at": _is_moment,
    "upgraded_from_adhoc": bool,
}
_SYMBOL_SESSION: Final[Shape] = {
    "volume": _is_score, "high": _is_score, "low": _is_score, "last_update": _is_moment,
    "data": dict, "quotes": dict, "ticks": dict,
}  # fmt: skip
_SERIES: Final[Shape] = {
    "count": is_count, "generated": bool, "base": _TEXT, "quality": _is_score,
    "coverage": _is_score, "gaps": dict,
}  # fmt: skip
#: Keys that not every dump has.
_SERIES_MAY: Final[Shape] = {
    "explained_quality": _is_score, "evicted": is_count, "incomplete": is_count,
}  # fmt: skip


@np.errstate(all="ignore")
def validate_session_dump(dump: Source | Sequence[Source]) -> list[Violation]:
    """Check an export against every rule that a session obeys.

    Parameters
    ----------
    dump : mapping or path, or a sequence of them
        The tree of ``SessionData.to_json()``, a JSON dump, or a CSV session log (told by the
        suffix, or, when it is neither ``.csv`` nor ``.json``, by how the content begins). A
        sequence is a reader's complete dump and its deltas, in order; what they give is judged.

    Returns
    -------
    list of Violation
        Empty when all is well. ``str()`` of each is one line. A file that is no dump at all
        gives one violation of the rule ``schema``. What a dump does not hold (rows left out,
        bars that a ring evicted, scores and reasons of an older openbell) is not judged.

    Raises
    ------
    DumpError
        When the file cannot be read.

    Notes
    -----
    Recomputes from the rows: counts, order, slots, OHLC, gaps, quality, explained quality,
    coverage, the session's volume, high, low and last update, derived series and their
    ``n_base``. Reads the provenance table. Looks whether the reasons of gaps can be, with their
    evidence and with each other, and whether quotes, trades, indicators, errors and history are
    sound and of their time.

    O(rows), one symbol in memory at a time.
    """
    findings = Findings()
    if isinstance(dump, Sequence) and not isinstance(dump, str):
        merged = merge_deltas(dump, findings)
        if merged is None:
            return findings.found
        dump = merged
    if not isinstance(dump, Mapping) and _is_csv(Path(dump)):
        return check_csv_log(dump)
    try:
        session, symbols = read_dump(dump)
    except DeltaAloneError as error:
        findings.add("delta_sequence", "; ".join(error.problems))
        return findings.found
    except DumpError as error:
        findings.add("schema", "; ".join(error.problems))
        return findings.found
    day = _check_session(session, findings)
    for name, tree in _decoded(symbols, findings):
        symbol_findings = Findings(name)
        _check_symbol(name, tree, day, symbol_findings)
        findings.found += symbol_findings.found
    return findings.found


def _decoded(symbols: Iterator[tuple[str, Any]], findings: Findings) -> Iterator[tuple[str, Any]]:
    while True:
        try:
            yield next(symbols)
        except StopIteration:
            return
        except DumpError as error:
            findings.add("schema", "; ".join(error.problems))


def _is_csv(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            head = file.read(64).lstrip()
    except OSError as error:
        raise DumpError(path, [error.strerror or str(error)]) from error
    suffix = path.suffix.lower()
    return suffix == ".csv" or (suffix != ".json" and not head.startswith((b"{", b"[")))


@dataclass(slots=True)
class _Day:
    """What the dump says about the session, for all its symbols.

    Attributes
    ----------
    is_known : bool
        False when it says something of which no session can be made.
    """

    window: SessionWindow | None = None
    now_ns: int | None = None
    is_known: bool = True
    times: KnownTimes = field(default_factory=dict)


def _check_session(session: Tree, findings: Findings) -> _Day:
    day = _Day()
    if not check_shape(session, _SESSION, "session", findings):
        day.is_known = False
        return day
    if session["now"] is not None:
        day.now_ns = instant_of(session["now"])
        if day.now_ns is None:
            findings.add("session", f"now is {session['now']!r}, not an instant")
    if session["date"] is None:
        return day
    try:
        window = day.window = _make_window(session)
    except (OpenbellError, ValueError) as error:
        findings.add("session", f"no session can be made of it: {error}")
        day.is_known = False
        return day
    for key, real in (("open", window.open_ns), ("close", window.close_ns)):
        if session[key] is None or instant_of(session[key]) != real:
            findings.add("session", f"{key} is {session[key]}, not that of its segments")
    # Some sessions open on the evening before.
    since_ns = window.open_ns - to_ns(datetime.combine(window.date, time(), UTC))
    if not -NS_PER_DAY <= since_ns < 3 * NS_PER_DAY // 2:
        findings.add("session", f"date is {window.date}, far from its segments")
    return day


def _make_window(session: Tree) -> SessionWindow:
    spans = []
    for pair in session["segments"]:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{reprlib.repr(pair)} is not an open and a close")
        opened_ns, closed_ns = parse_times(pair).tolist()
        spans.append((opened_ns, closed_ns))
    if spans and spans[-1][1] - spans[0][0] > _MAX_SESSION_NS:
        raise ValueError("it is longer than a week")
    return SessionWindow(
        date.fromisoformat(session["date"]),
        spans,
        calendar=session["calendar"] or "custom",
        timezone=session["timezone"] or "UTC",
        anchor=session["anchor"] or "session",
    )


def _check_symbol(name: str, tree: Any, day: _Day, findings: Findings) -> None:
    window, now_ns = day.window, day.now_ns
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
    if session.get("as_of") is not None and check_shape(
        session, {"as_of": is_instant}, "session", findings
    ):
        now_ns = instant_of(session["as_of"])
    check_errors(tree.get("errors", []), window, now_ns, findings)
    read = [_read_series(k, item, day, findings) for k, item in session["data"].items()]
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
    if base is None:
        return
    derived = [facts for facts in series.values() if facts.generated]
    for facts in derived:
        check_gap_reasons(facts, base, findings)
    if not base.has_rows:
        return
    _check_metrics(session, base, findings)
    ts_ns = base.bars["timestamp"]
    if (ts_ns[1:] > ts_ns[:-1]).all():
        for facts in derived:
            if facts.has_rows:
                check_derived(facts, base, findings)


def _check_base(name: str, series: dict[str, SeriesFacts], findings: Findings) -> None:
    try:
        base = interval(name)
    except IntervalError as error:
        findings.add("base_interval", str(error))
        return
    if base.name != name:
        findings.add("base_interval", f"{name} is spelled {base.name}")
    for facts in series.values():
        above = interval(facts.interval)
        if facts.generated and not base.divides(above):
            findings.add("base_interval", f"derived, but not a multiple of {name}", above.name)
        elif facts.generated and facts.tree["base"] != name:
            findings.add("base_interval", f"derived from {facts.tree['base']}, but the base is "
                         f"{name}", above.name)  # fmt: skip


def _check_provenance(tree: Tree, findings: Findings) -> None:
    flags = {key: tree["metadata"][key] for key in _METADATA}
    provenance = Provenance(is_loaded=tree["is_loaded"], **flags)
    for rule in RULES:
        if not rule.holds(provenance):
            findings.add(f"provenance.{rule.name}", f"broken: {rule.words}")


def _read_series(name: str, tree: Any, day: _Day, findings: Findings) -> SeriesFacts | None:
    where = f"data.{name}"
    if not check_shape(tree, _SERIES, where, findings, name):
        return None
    may = {key: shape for key, shape in _SERIES_MAY.items() if key in tree}
    fine = check_shape(tree, may, where, findings, name)
    gaps = read_gaps(tree["gaps"], f"{where}.gaps", name, findings, day.times)
    try:
        if interval(name).name != name:
            raise ValueError(f"it is spelled {interval(name)}")
        bars, n_base = parse_bars(tree, day.times)
        grid = None if day.window is None else day.window.grid(name)
    except (OpenbellError, ValueError) as error:
        at = error.time_in(tree) if isinstance(error, RowError) else None
        findings.add("schema", f"{where} cannot be read: {error}", name, at)
        return None
    if day.window is None and day.is_known and len(bars):
        findings.add("session", "has bars, but the dump has no session they belong to", name,
                     int(bars["timestamp"][0]))  # fmt: skip
    if gaps is None or not fine:
        return None
    return SeriesFacts(name, tree, bars, n_base, "data" in tree, grid, gaps)


def _elapsed(
    facts: SeriesFacts, base: SeriesFacts | None, window: SessionWindow | None, now_ns: int | None
) -> int | None:
    if window is None or facts.grid is None or now_ns is None:
        return None
    if now_ns >= window.close_ns:
        return now_ns
    # Derived series live on their base's time; a series written directly on its own.
    source = base if facts.generated else facts
    if source is None or not source.has_rows or source.grid is None:
        return None
    if facts.generated and facts.n_incomplete:
        # One that was left out may lie ahead of all the others.
        return None
    known = [now_ns]
    seen = [(source.bars, source.grid)]
    if facts.generated and facts.n_base is not None:
        # A derived bar that was written directly may lie ahead of both.
        seen.append((facts.bars[facts.n_base == 0], facts.grid))
    for bars, grid in seen:
        if len(bars):
            newest = grid.slot_of(int(bars["timestamp"].max()))
            known += [int(grid.ends_ns[newest])] if newest >= 0 else []
    return max(known)


def _check_quality_map(quality: Tree, series: dict[str, SeriesFacts], findings: Findings) -> None:
    check_shape(quality, dict.fromkeys(quality, _is_score), "quality", findings)
    for name, facts in series.items():
        if quality.get(name) != facts.tree["quality"]:
            findings.add("quality_map", f"quality says {reprlib.repr(quality.get(name))}, the "
                         f"series {facts.tree['quality']}", name)  # fmt: skip


def _check_metrics(session: Tree, base: SeriesFacts, findings: Findings) -> None:
    bars = base.bars
    newest_ns = int(bars["timestamp"].max()) if len(bars) else None
    if base.grid is not None:
        slot = -1 if newest_ns is None else base.grid.slot_of(newest_ns)
        end_ns = None if slot < 0 else int(base.grid.ends_ns[slot])
        if instant_of(session["last_update"]) != end_ns:
            ends = "there is no bar" if end_ns is None else f"the newest bar ends {to_iso(end_ns)}"
            findings.add("last_update", f"last_update is {session['last_update']}, {ends}",
                         base.interval, newest_ns)  # fmt: skip
    if base.n_evicted:
        return
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
