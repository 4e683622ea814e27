"""The rules one series of a session must obey, alone and as what its base folds to."""

from __future__ import annotations

from typing import Final

import numpy as np

from openbell.clock.window import Grid
from openbell.errors import IntervalError
from openbell.export.check_gaps import check_gap_places, check_gap_sums
from openbell.export.check_rules import Findings, SeriesFacts, check_rows, slots_of
from openbell.gaps import EXPLAINED
from openbell.intervals import interval
from openbell.schema import BarArray, Int64Array, to_iso

__all__ = ["check_derived", "check_series"]

_PRICES: Final = ("open", "high", "low", "close")
_VOLUME_TOLERANCE: Final = 1e-9
_SCORE_TOLERANCE: Final = 1e-9


def check_series(facts: SeriesFacts, findings: Findings) -> None:
    """Check one series of the session by every rule that needs no other series."""
    _check_origin(facts, findings)
    if facts.has_rows:
        _check_count(facts, findings)
        check_rows(facts.bars, facts.interval, findings)
    check_gap_sums(facts.tree["gaps"], facts.gaps, facts.interval, findings)
    if facts.grid is None:
        return
    if facts.has_rows:
        _check_slots(facts, facts.grid, findings)
    check_gap_places(facts, facts.grid, findings)
    _check_scores(facts, facts.grid, findings)


def _check_origin(facts: SeriesFacts, findings: Findings) -> None:
    base = facts.tree["base"]
    if not facts.generated:
        if base is not None:
            findings.add("generated", f"not generated, but has base {base!r}", facts.interval)
        return
    try:
        divides = base is not None and interval(base).divides(interval(facts.interval))
    except IntervalError:
        divides = False
    if not divides:
        findings.add("generated", f"generated, but not from base {base!r}", facts.interval)


def _check_count(facts: SeriesFacts, findings: Findings) -> None:
    count, n_rows = facts.tree["count"], len(facts.bars)
    if count != n_rows:
        findings.add("count", f"count is {count}, data has {n_rows} rows", facts.interval)
    if facts.generated != (facts.n_base is not None):
        having = "has no" if facts.generated else "has a"
        findings.add("n_base", f"generated is {facts.generated} but it {having} n_base column",
                     facts.interval)  # fmt: skip


def _check_slots(facts: SeriesFacts, grid: Grid, findings: Findings) -> None:
    ts_ns = np.ascontiguousarray(facts.bars["timestamp"])
    inside = np.zeros(len(ts_ns), dtype=bool)
    for opened, closed, _, _ in grid.segments.tolist():
        inside |= (ts_ns >= opened) & (ts_ns < closed)
    findings.rows("in_session", ~inside, ts_ns, facts.interval, "outside the session")
    slots, on_grid = slots_of(grid, ts_ns)
    findings.rows("grid", inside & ~on_grid, ts_ns, facts.interval, "not at the start of a slot")
    if facts.elapsed_ns is not None:
        early = on_grid & (grid.ends_ns[slots] > facts.elapsed_ns)
        findings.rows(
            "closed", early, ts_ns, facts.interval,
            f"not closed yet at {to_iso(facts.elapsed_ns)}",
        )  # fmt: skip


def _check_scores(facts: SeriesFacts, grid: Grid, findings: Findings) -> None:
    n_present, counts = facts.n_present, facts.gaps.counts
    if facts.elapsed_ns is None:
        # Every slot that was expected is either there or in a gap.
        n_expected = n_present + int(counts.sum())
    else:
        n_expected = grid.expected(facts.elapsed_ns)
    n_unexplained = int(counts[facts.gaps.reasons != EXPLAINED].sum())
    shares = {"coverage": n_present, "quality": n_present}
    # The quality of a series that was written directly may be its writer's own.
    if not (facts.is_base or facts.generated):
        del shares["quality"]
    if "explained_quality" in facts.tree:
        shares["explained_quality"] = n_expected - n_unexplained
    for key, n in shares.items():
        scale = 1.0 if key == "coverage" else 100.0
        wanted = scale * n / n_expected if n_expected else None
        received = facts.tree[key]
        if not _same_score(received, wanted):
            findings.add(key, f"{key} is {received}, {n} of {n_expected} slots expected give "
                         f"{wanted}", facts.interval)  # fmt: skip


def _same_score(received: float | None, wanted: float | None) -> bool:
    if received is None or wanted is None:
        return received is wanted
    return abs(received - wanted) <= _SCORE_TOLERANCE * max(1.0, abs(wanted))


def check_derived(derived: SeriesFacts, base: SeriesFacts, findings: Findings) -> None:
    """Fold the base's rows anew and compare a derived series with the result."""
    grid, name = derived.grid, derived.interval
    if grid is None or derived.n_base is None or base.elapsed_ns is None:
        return
    # By the base's time: a row written ahead closes no bucket of base bars.
    folded, counts = _fold(base.bars, grid, base.elapsed_ns)
    rows, n_base = derived.bars, derived.n_base
    # What lies before the oldest held row cannot be told any more; a row that was written
    # directly (n_base 0) has no children to compare with.
    horizon = max(_horizon(base, whole_bucket=grid), _horizon(derived))
    keep = folded["timestamp"] >= horizon
    folded, counts = folded[keep], counts[keep]
    judged = (rows["timestamp"] >= horizon) & (n_base > 0)
    rows, n_base = rows[judged], n_base[judged]
    ts_ns = np.ascontiguousarray(rows["timestamp"])
    wanted_ts = np.ascontiguousarray(folded["timestamp"])
    known = np.isin(ts_ns, wanted_ts)
    findings.rows("derived_slots", ~known, ts_ns, name, "derived from no base bar")
    lacking = ~np.isin(wanted_ts, ts_ns)
    if np.count_nonzero(lacking) > derived.n_incomplete:
        findings.rows("derived_slots", lacking, wanted_ts, name, "missing though the base has bars")
    at = np.searchsorted(wanted_ts, ts_ns[known])
    rows, n_base, ts_ns = rows[known], n_base[known], ts_ns[known]
    folded, counts = folded[at], counts[at]
    for price in _PRICES:
        findings.rows(f"derived_{price}", rows[price] != folded[price], ts_ns, name,
                      f"whose {price} is not the base bars'")  # fmt: skip
    apart = np.abs(rows["volume"] - folded["volume"])
    scale = np.maximum(1.0, np.abs(folded["volume"]))
    findings.rows("derived_volume", ~(apart <= _VOLUME_TOLERANCE * scale), ts_ns, name,
                  "whose volume is not the base bars' sum")  # fmt: skip
    findings.rows("n_base", n_base != counts, ts_ns, name, "with another n_base than base bars")


def _fold(base: BarArray, grid: Grid, elapsed_ns: int) -> tuple[BarArray, Int64Array]:
    ts_ns = np.ascontiguousarray(base["timestamp"])
    heads, tails = np.searchsorted(ts_ns, grid.starts_ns), np.searchsorted(ts_ns, grid.ends_ns)
    filled = np.flatnonzero((heads < tails) & (grid.ends_ns <= elapsed_ns))
    heads, tails = heads[filled], tails[filled]
    folded = np.empty(len(filled), base.dtype)
    folded["timestamp"] = grid.starts_ns[filled]
    folded["open"] = base["open"][heads]
    folded["close"] = base["close"][tails - 1]
    # Every other of these spans is a bucket; a bucket that ends with the rows needs one more.
    spans = np.column_stack((heads, tails)).ravel()
    for name, fold in (("high", np.maximum), ("low", np.minimum), ("volume", np.add)):
        folded[name] = fold.reduceat(np.append(base[name], 0.0), spans)[::2]
    return folded, (tails - heads).astype(np.int64)


def _horizon(facts: SeriesFacts, whole_bucket: Grid | None = None) -> int:
    if not facts.n_evicted:
        return int(np.iinfo(np.int64).min)
    if len(facts.bars) == 0:
        return int(np.iinfo(np.int64).max)
    oldest = int(facts.bars["timestamp"][0])
    if whole_bucket is None:
        return oldest
    # The bucket that the eviction cut in two is judged by nobody.
    slot = max(whole_bucket.slot_of(oldest), 0)
    is_cut = whole_bucket.starts_ns[slot] != oldest
    return int(whole_bucket.ends_ns[slot]) if is_cut else oldest
