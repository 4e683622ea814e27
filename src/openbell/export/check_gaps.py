"""The rules for the gaps of a series: their sums, their places, their reasons and evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from openbell.clock.window import Grid
from openbell.errors import OpenbellError
from openbell.export.check_rules import (
    Findings,
    GapTable,
    SeriesFacts,
    Shape,
    check_shape,
    instant_of,
    is_count,
    is_number,
    slots_of,
)
from openbell.export.load import KnownTimes, parse_times
from openbell.schema import GAP_REASONS, Int64Array, to_iso

__all__ = ["check_gap_places", "check_gap_reasons", "check_gap_sums", "read_gaps"]

_UNJUDGED: Final = "unknown"

_GAPS: Final[Shape] = {"gap_count": is_count, "missing_bars": is_count, "ranges": list}
_RANGE: Final[Shape] = {"start_time": str, "end_time": str, "bar_count": is_count, "reason": str}
_EVIDENCE: Final[Shape] = {
    "fill_rate": lambda value: value is None or is_number(value),
    "expected_per_day": lambda value: value is None or is_number(value),
    "n_peers": is_count,
    "n_silent": is_count,
    "n_coarser": is_count,
    "disconnected": bool,
}


def read_gaps(
    tree: Any, where: str, name: str, findings: Findings, known: KnownTimes | None = None
) -> GapTable | None:
    """Return a ``gaps`` object as columns; None, and why among the findings, when it is none."""
    if not check_shape(tree, _GAPS, where, findings, name):
        return None
    ranges, fine = tree["ranges"], True
    for k, item in enumerate(ranges):
        fine &= _is_range(item, f"{where}.ranges.{k}", name, findings)
    if not fine:
        return None
    try:
        starts = parse_times([r["start_time"] for r in ranges], known)
        ends = parse_times([r["end_time"] for r in ranges], known)
    except OpenbellError as error:
        findings.add("schema", f"{where}.ranges cannot be read: {error}", name)
        return None
    counts = np.array([r["bar_count"] for r in ranges], dtype=np.int64)
    reasons = np.array([r["reason"] for r in ranges], dtype=object)
    return GapTable(starts, ends, counts, reasons)


def _is_range(item: Any, where: str, name: str, findings: Findings) -> bool:
    ts_ns = None
    if isinstance(item, Mapping):
        # The line of a range that is not one still says when it begins, if that can be read.
        fine = _RANGE.keys() <= item.keys() and "evidence" not in item
        ts_ns = None if fine else instant_of(item.get("start_time"))
    if not check_shape(item, _RANGE, where, findings, name, ts_ns):
        return False
    if "evidence" not in item:
        return True
    return check_shape(item["evidence"], _EVIDENCE, f"{where}.evidence", findings, name, ts_ns)


def check_gap_sums(
    tree: Mapping[str, Any], gaps: GapTable, name: str, findings: Findings, prefix: str = ""
) -> None:
    """Check what holds for the gaps of any series: sums, order, reasons, and their evidence."""
    starts, ends = gaps.starts_ns, gaps.ends_ns
    n_ranges, total = len(starts), sum(gaps.counts.tolist())
    if tree["gap_count"] != n_ranges:
        findings.add(f"{prefix}gap_count", f"gap_count is {tree['gap_count']}, there are "
                     f"{n_ranges} ranges", name)  # fmt: skip
    if tree["missing_bars"] != total:
        findings.add(f"{prefix}missing_bars", f"missing_bars is {tree['missing_bars']}, the "
                     f"ranges sum to {total}", name)  # fmt: skip
    apart = np.ones(n_ranges, dtype=bool)
    apart[1:] = starts[1:] > ends[:-1]
    findings.rows(f"{prefix}gap_order", ~apart, starts, name,
                  "that does not begin after the one above it", "gap")  # fmt: skip
    odd = ~np.isin(gaps.reasons, GAP_REASONS)
    findings.rows(f"{prefix}gap_reason", odd, starts, name,
                  f"whose reason is none of {', '.join(GAP_REASONS)}", "gap")  # fmt: skip
    told = [r.get("evidence") for r in tree["ranges"]]
    wrong = np.array([e is not None and not _agrees(e) for e in told], dtype=bool)
    findings.rows(f"{prefix}gap_evidence", wrong, starts, name,
                  "whose evidence contradicts itself", "gap")  # fmt: skip


def _agrees(evidence: Mapping[str, Any]) -> bool:
    rate, expected = evidence["fill_rate"], evidence["expected_per_day"]
    possible = (rate is None or 0 <= rate <= 1) and (expected is None or expected >= 0)
    return possible and bool(evidence["n_silent"] <= evidence["n_peers"])


def check_gap_places(facts: SeriesFacts, grid: Grid, findings: Findings) -> None:
    """Check that gaps run from slot to slot, where the rows leave them, and where reasons allow.

    Notes the slots in ``facts.gaps`` when they are sound.
    """
    gaps, name = facts.gaps, facts.interval
    starts = gaps.starts_ns
    first, starts_ok = slots_of(grid, starts)
    last, ends_ok = slots_of(grid, gaps.ends_ns)
    on_slots = starts_ok & ends_ok & (first <= last)
    findings.rows("gap_range", ~on_slots, starts, name, "not from slot to slot", "gap")
    if not on_slots.all():
        return
    wrong = gaps.counts != last - first + 1
    findings.rows("gap_range", wrong, starts, name, "with another bar_count than slots", "gap")
    touching = np.zeros(len(first), dtype=bool)
    touching[1:] = first[1:] == last[:-1] + 1
    findings.rows("gap_order", touching, starts, name, "that goes on from the one above it", "gap")
    elapsed_ns = facts.elapsed_ns
    if elapsed_ns is not None:
        ahead = grid.ends_ns[last] > elapsed_ns
        findings.rows("gap_range", ahead, starts, name,
                      f"not over at {to_iso(elapsed_ns)}", "gap")  # fmt: skip
    if not _may_be_cut_off(facts):
        late = (gaps.reasons == "late_start") & (first != 0)
        findings.rows("gap_reason", late, starts, name,
                      "late_start, but not from the session's first slot", "gap")  # fmt: skip
        cut = (gaps.reasons == "truncated") & (last != grid.n_slots - 1)
        findings.rows("gap_reason", cut, starts, name,
                      "truncated, but not up to the session's last slot", "gap")  # fmt: skip
    gaps.slots = first, last
    if facts.has_rows:
        _check_against_rows(facts, grid, first, last, findings)
    if elapsed_ns is None:
        return
    if not facts.has_rows or facts.n_evicted or facts.n_incomplete:
        n_missing, n_expected = int(gaps.counts.sum()), grid.expected(elapsed_ns)
        if n_missing + facts.n_present != n_expected:
            findings.add("missing_bars", f"the gaps sum to {n_missing}, {facts.n_present} bars of "
                         f"{n_expected} expected leave {n_expected - facts.n_present}",
                         name)  # fmt: skip


def _may_be_cut_off(facts: SeriesFacts) -> bool:
    # A derived gap has the reason of the base's; a bar that was written directly may cut it off
    # from where that begins or ends.
    return facts.generated and (facts.n_base is None or bool((facts.n_base == 0).any()))


def _check_against_rows(
    facts: SeriesFacts,
    grid: Grid,
    first: Int64Array,
    last: Int64Array,
    findings: Findings,
) -> None:
    edges = np.zeros(grid.n_slots + 1, dtype=np.int64)
    np.add.at(edges, first, 1)
    np.add.at(edges, last + 1, -1)
    is_gap = np.cumsum(edges[:-1]) > 0
    slots, on_grid = slots_of(grid, np.ascontiguousarray(facts.bars["timestamp"]))
    is_bar = np.zeros(grid.n_slots, dtype=bool)
    is_bar[slots[on_grid]] = True
    taken = is_bar & is_gap
    lost = np.zeros(grid.n_slots, dtype=bool)
    if facts.elapsed_ns is not None and not facts.n_incomplete:
        # What a ring forgot left slots empty in which nothing is missing.
        oldest = grid.n_slots if len(slots) == 0 else int(slots[0])
        ended = slice(oldest if facts.n_evicted else 0, grid.expected(facts.elapsed_ns))
        lost[ended] = ~is_bar[ended] & ~is_gap[ended]
    bad = lost | taken
    if bad.any():
        findings.add("gaps", f"{np.count_nonzero(lost)} empty slots are in no gap, "
                     f"{np.count_nonzero(taken)} bars are in one", facts.interval,
                     int(grid.starts_ns[int(np.argmax(bad))]))  # fmt: skip


def check_gap_reasons(derived: SeriesFacts, base: SeriesFacts, findings: Findings) -> None:
    """Check that gaps of a derived series have the reason of the base's gap they lie in.

    Where both have one: a gap that has grown since it was looked at has none.
    """
    mine, theirs = derived.gaps, base.gaps
    if mine.slots is None or theirs.slots is None or not len(mine.counts) * len(theirs.counts):
        return
    assert derived.grid is not None
    assert base.grid is not None
    starts, ends = base.grid.starts_ns[theirs.slots[0]], base.grid.ends_ns[theirs.slots[1]]
    at = np.searchsorted(starts, mine.starts_ns, side="right") - 1
    inside = (at >= 0) & (derived.grid.ends_ns[mine.slots[1]] <= ends[at])
    reasons = theirs.reasons[at]
    told = (mine.reasons != _UNJUDGED) & (reasons != _UNJUDGED)
    findings.rows("gap_reason", inside & told & (mine.reasons != reasons), mine.starts_ns,
                  derived.interval, f"with another reason than the {base.interval} gap it lies in",
                  "gap")  # fmt: skip
