"""What the report tells of one symbol: its chart, packed apart, and its line in the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from openbell.clock.window import Grid, SessionWindow
from openbell.gaps import EXPLAINED
from openbell.intervals import interval
from openbell.report.coverage import Bins, Floats, make_bins, missing_by_bin
from openbell.report.origins import Gaps, SeriesSource, SymbolSource, Tree
from openbell.schema import BAR_FIELDS, GAP_REASONS, NS_PER_SECOND, BarArray

__all__ = ["Scope", "chart_of"]

_MINUTE: Final = interval("1m")
#: What was lost; the other reasons say that a slot has no bar, and no more.
_FAULTS: Final = ("outage", "late_start", "truncated")
_SILENCES: Final = tuple(reason for reason in GAP_REASONS if reason not in _FAULTS)
#: Of one reason and interval; a page with all silences of each second would be slow and grey.
_MOST_GAPS_DRAWN: Final = 400


@dataclass(slots=True)
class Scope:
    """What a report covers, and what it left out.

    Attributes
    ----------
    window : SessionWindow or None
    intervals : collection of str or None
        Those asked for; None for those of a minute and coarser.
    has_all : bool
        Whether finer intervals come in without being asked for.
    bins : Bins or None
        The columns of the heat map.
    left_out : Counter of str
        Bars by interval that the source has and the page does not.
    seen : set of str
        All intervals that any symbol has.
    """

    window: SessionWindow | None
    intervals: Collection[str] | None
    has_all: bool
    bins: Bins | None = field(init=False)
    left_out: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.bins = None if self.window is None else make_bins(self.window)

    def takes(self, name: str) -> bool:
        """Whether the rows of an interval come into the page."""
        if self.intervals is not None:
            return name in self.intervals
        return self.has_all or not interval(name) < _MINUTE


def chart_of(source: SymbolSource, scope: Scope) -> tuple[Tree, Tree]:
    """Return what a symbol's chart needs, and its line in the tables.

    Raises
    ------
    KeyError, TypeError, ValueError, AttributeError, OpenbellError
        When the symbol does not have the parts a dump must have, or does not fit the session.
    """
    found = source.series()
    names = sorted(found, key=interval)
    scope.seen.update(names)
    wanted = source.tree["base_interval"]
    base = wanted if wanted in found else next(iter(names), None)
    charts = {name: _interval_chart(found[name], scope, name, name == base) for name in names}
    line = _line_of(source, {name: found[name] for name in names}, base)
    if base is not None and scope.window is not None and scope.bins is not None:
        line["heat"] = _heat(scope.window, scope.bins, found[base])
    return charts, line


def _interval_chart(series: SeriesSource, scope: Scope, name: str, is_base: bool) -> Tree:
    chart: Tree = {"in_page": scope.takes(name)}
    if series.grid is None or series.gaps is None or scope.window is None:
        return chart
    open_ns = scope.window.open_ns
    if chart["in_page"]:
        chart["gaps"] = _bands(series.grid, open_ns, series.gaps, _SILENCES)
        bars = series.rows()
        if bars is not None:
            chart["bars"] = _columns(series.grid, open_ns, bars)
    else:
        scope.left_out[name] += series.n_bars
    if is_base:
        chart["faults"] = _bands(series.grid, open_ns, series.gaps, _FAULTS)
    return chart


def _columns(grid: Grid, open_ns: int, bars: BarArray) -> Tree:
    slots = np.searchsorted(grid.starts_ns, bars["timestamp"], side="right") - 1
    if len(bars) and slots.min() < 0:
        raise ValueError(f"{grid.interval} has bars before the session's open")
    # Distances instead of instants: they repeat, and pack into next to nothing.
    starts = (bars["timestamp"] - open_ns) // NS_PER_SECOND
    lengths = (grid.ends_ns[slots] - bars["timestamp"]) // NS_PER_SECOND
    columns: Tree = {name: bars[name].tolist() for name in BAR_FIELDS[1:]}
    return {"start": np.diff(starts, prepend=0).tolist(), "length": lengths.tolist()} | columns


def _bands(grid: Grid, open_ns: int, gaps: Gaps, reasons: Sequence[str]) -> Tree:
    bands: Tree = {}
    for reason in reasons:
        places = np.flatnonzero(gaps.reasons == GAP_REASONS.index(reason))
        if not len(places):
            continue
        longest = np.argsort(-gaps.runs[places, 1], kind="stable")[:_MOST_GAPS_DRAWN]
        drawn = places[np.sort(longest)]
        first, n_slots = gaps.runs[drawn, 0], gaps.runs[drawn, 1]
        starts, ends = grid.starts_ns[first], grid.ends_ns[first + n_slots - 1]
        bands[reason] = {
            "interval": grid.interval.name,
            "n": len(places),
            "start": ((starts - open_ns) // NS_PER_SECOND).tolist(),
            "end": ((ends - open_ns) // NS_PER_SECOND).tolist(),
            "missing": n_slots.tolist(),
            # A dump has none where nothing is missing; nor has the page.
            "evidence": [None if reason == EXPLAINED else gaps.evidence(k) for k in drawn.tolist()],
        }
    return bands


def _line_of(source: SymbolSource, found: Mapping[str, SeriesSource], base: str | None) -> Tree:
    tree = source.tree
    gaps = None if base is None else found[base].gaps
    counts = np.bincount([] if gaps is None else gaps.reasons, minlength=len(GAP_REASONS))
    return {
        "symbol": source.name,
        "base_interval": tree["base_interval"],
        "base": base,
        "is_loaded": tree["is_loaded"],
        **tree["metadata"],
        "series": {name: _scores(series) for name, series in found.items()},
        "gaps": {reason: n for reason, n in zip(GAP_REASONS, counts.tolist(), strict=True) if n},
        **{key: tree["session"][key] for key in ("volume", "high", "low")},
        "rejected": tree["rejected"],
        "revised": tree.get("revised", {}),
        "errors": tree.get("errors", []),
    }


def _scores(series: SeriesSource) -> Tree:
    gaps = series.gaps
    return {
        "count": series.n_bars,
        "derived": series.is_derived,
        "quality": series.quality,
        "explained_quality": series.explained_quality,
        "n_gaps": 0 if gaps is None else len(gaps.runs),
        "n_missing": 0 if gaps is None else int(gaps.runs[:, 1].sum()),
    }


def _heat(window: SessionWindow, bins: Bins, series: SeriesSource) -> Tree | None:
    if series.grid is None or series.gaps is None:
        return None
    runs, reasons = series.gaps.runs, series.gaps.reasons
    open_runs = runs[reasons != GAP_REASONS.index(EXPLAINED)]
    expected, missing = missing_by_bin(window, bins, series.grid, series.n_expected, runs)
    _, unexplained = missing_by_bin(window, bins, series.grid, series.n_expected, open_runs)
    return {
        "covered": _permille(expected - missing, expected),
        "unexplained": _permille(unexplained, expected),
    }


def _permille(part: Floats, whole: Floats) -> list[int | None]:
    # Away from both ends: one missing second must not look like none, nor one bar like no bar.
    known = whole > 0
    share = np.divide(part, whole, out=np.zeros_like(whole), where=known).clip(0, 1)
    counts = np.where(share > 0.5, np.floor(share * 1000 + 1e-6), np.ceil(share * 1000 - 1e-6))
    return [int(n) if ok else None for n, ok in zip(counts.tolist(), known.tolist(), strict=True)]
