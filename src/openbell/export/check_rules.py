"""The rules one series of a dump must obey, and the line that says it does not.

Everything is computed anew from the rows, with none of the engine's code: the checker is worth
something only while it can disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openbell.clock.window import Grid
from openbell.errors import IntervalError, OpenbellError
from openbell.export.load import NBase, Tree, parse_times
from openbell.intervals import interval
from openbell.schema import BarArray, Int64Array, to_iso, to_ns

__all__ = [
    "Findings",
    "SeriesFacts",
    "Violation",
    "check_derived",
    "check_rows",
    "check_series",
    "check_shape",
    "is_count",
    "is_instant",
    "is_value",
    "slots_of",
]

_PRICES: Final = ("open", "high", "low", "close")
_VOLUME_TOLERANCE: Final = 1e-9
_SCORE_TOLERANCE: Final = 1e-9
_MAX_COUNT: Final = 2**62

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule of one symbol and interval.

    Attributes
    ----------
    rule : str
        Short and stable, such as ``"grid"`` or ``"provenance.loaded_config_meets"``.
    symbol, interval : str
        Where; empty when the rule is about the session, or the record as a whole.
    time : str
        ISO-8601 label of the first row concerned, or empty.
    message : str
        What was found, and what should be.
    """

    rule: str
    symbol: str
    interval: str
    time: str
    message: str

    def __str__(self) -> str:
        where = " ".join(filter(None, (self.symbol or "session", self.interval, self.time)))
        return f"{where}: {self.rule}: {self.message}"


@dataclass(slots=True)
class Findings:
    """Where the checks of one symbol, or of the session, put what they find."""

    symbol: str = ""
    found: list[Violation] = field(default_factory=list)

    def add(self, rule: str, message: str, interval: str = "", ts_ns: int | None = None) -> None:
        """Add one violation."""
        time = "" if ts_ns is None else to_iso(ts_ns)
        self.found.append(Violation(rule, self.symbol, interval, time, message))

    def rows(self, rule: str, bad: BoolArray, ts_ns: Int64Array, interval: str, what: str) -> None:
        """Add one violation for all rows marked bad: how many, and when the first was."""
        n_bad = int(np.count_nonzero(bad))
        if n_bad:
            rows = "1 row" if n_bad == 1 else f"{n_bad} rows, the first"
            self.add(rule, f"{rows} {what}", interval, int(ts_ns[int(np.argmax(bad))]))


@dataclass(slots=True)
class SeriesFacts:
    """One series as read, and what the session says about it.

    Attributes
    ----------
    n_base : numpy.ndarray or None
    has_rows : bool
        False when the dump was written without rows.
    grid : Grid or None
        None when the session's window could not be made.
    is_base : bool
        Whether it is the interval that arrives.
    elapsed_ns : int or None
        Until when slots are expected; None when the dump does not tell.
    """

    interval: str
    tree: Tree
    bars: BarArray
    n_base: NBase | None
    has_rows: bool
    grid: Grid | None
    is_base: bool = False
    elapsed_ns: int | None = None

    @property
    def n_evicted(self) -> int:
        """How many bars a ring let go before the oldest row."""
        return int(self.tree.get("evicted", 0))

    @property
    def n_incomplete(self) -> int:
        """How many bars are left out because they lack base bars."""
        return int(self.tree.get("incomplete", 0))

    @property
    def generated(self) -> bool:
        """Whether the dump calls the series derived."""
        return bool(self.tree["generated"])


def check_rows(bars: BarArray, name: str, findings: Findings, prefix: str = "") -> None:
    """Check what holds for any bars: order in time, finite values, prices, volume."""
    ts_ns = np.ascontiguousarray(bars["timestamp"])
    steps = np.concatenate(([True], np.diff(ts_ns) > 0)) if len(ts_ns) else np.empty(0, bool)
    findings.rows(f"{prefix}order", ~steps, ts_ns, name, "at or before the one above it")
    finite = np.all([np.isfinite(bars[f]) for f in (*_PRICES, "volume")], axis=0)
    findings.rows(f"{prefix}finite", ~finite, ts_ns, name, "without a finite number")
    high, low = bars["high"], bars["low"]
    inside = (high >= low) & (high >= bars["open"]) & (high >= bars["close"])
    inside &= (low <= bars["open"]) & (low <= bars["close"])
    findings.rows(
        f"{prefix}ohlc", finite & ~inside, ts_ns, name,
        "with open or close outside low to high",
    )  # fmt: skip
    findings.rows(f"{prefix}volume", bars["volume"] < 0, ts_ns, name, "with negative volume")


def check_series(facts: SeriesFacts, findings: Findings) -> None:
    """Check one series of the session by every rule that needs no other series."""
    _check_origin(facts, findings)
    if facts.has_rows:
        _check_count(facts, findings)
        check_rows(facts.bars, facts.interval, findings)
    if facts.grid is None:
        return
    if facts.has_rows:
        _check_slots(facts, facts.grid, findings)
    ranges = _read_ranges(facts, facts.grid, findings)
    if facts.elapsed_ns is None:
        return
    n_expected = facts.grid.expected(facts.elapsed_ns)
    _check_scores(facts, n_expected, findings)
    if facts.has_rows and ranges is not None and not facts.n_evicted and not facts.n_incomplete:
        _check_gaps(facts, facts.grid, n_expected, ranges, findings)


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


def slots_of(grid: Grid, ts_ns: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Return the slot that begins at or before each instant, and whether it begins right there."""
    found = np.searchsorted(grid.starts_ns, ts_ns, side="right") - 1
    slots = np.maximum(found, 0).astype(np.int64)
    return slots, (found >= 0) & (grid.starts_ns[slots] == ts_ns)


def _read_ranges(
    facts: SeriesFacts, grid: Grid, findings: Findings
) -> list[tuple[int, int]] | None:
    gaps, name = facts.tree["gaps"], facts.interval
    ranges = gaps["ranges"]
    if gaps["gap_count"] != len(ranges):
        findings.add("gap_count", f"gap_count is {gaps['gap_count']}, "
                     f"there are {len(ranges)} ranges", name)  # fmt: skip
    total = sum(r["bar_count"] for r in ranges)
    if gaps["missing_bars"] != total:
        findings.add("missing_bars", f"missing_bars is {gaps['missing_bars']}, "
                     f"the ranges sum to {total}", name)  # fmt: skip
    starts = parse_times([r["start_time"] for r in ranges])
    ends = parse_times([r["end_time"] for r in ranges])
    first, starts_ok = slots_of(grid, starts)
    last, ends_ok = slots_of(grid, ends)
    on_slots = starts_ok & ends_ok & (first <= last)
    findings.rows("gap_range", ~on_slots, starts, name, "of a gap not from slot to slot")
    if not on_slots.all():
        return None
    counts = np.array([r["bar_count"] for r in ranges], dtype=np.int64)
    wrong = counts != last - first + 1
    findings.rows("gap_range", wrong, starts, name, "of a gap with another bar_count than slots")
    return list(zip(first.tolist(), last.tolist(), strict=True))


def _check_scores(facts: SeriesFacts, n_expected: int, findings: Findings) -> None:
    n_present = len(facts.bars) if facts.has_rows else facts.tree["count"]
    n_present += facts.n_evicted + facts.n_incomplete
    for key, scale in (("quality", 100.0), ("coverage", 1.0)):
        # The quality of a series that was written directly may be its writer's own.
        if key == "quality" and not (facts.is_base or facts.generated):
            continue
        wanted = scale * n_present / n_expected if n_expected else None
        received = facts.tree[key]
        if not _same_score(received, wanted):
            findings.add(key, f"{key} is {received}, {n_present} bars of {n_expected} expected "
                         f"give {wanted}", facts.interval)  # fmt: skip


def _same_score(received: float | None, wanted: float | None) -> bool:
    if received is None or wanted is None:
        return received is wanted
    return abs(received - wanted) <= _SCORE_TOLERANCE * max(1.0, abs(wanted))


def _check_gaps(
    facts: SeriesFacts,
    grid: Grid,
    n_expected: int,
    ranges: list[tuple[int, int]],
    findings: Findings,
) -> None:
    slots, on_grid = slots_of(grid, np.ascontiguousarray(facts.bars["timestamp"]))
    missing = np.ones(n_expected + 2, dtype=np.int8)
    missing[[0, -1]] = 0
    missing[slots[on_grid & (slots < n_expected)] + 1] = 0
    edges = np.flatnonzero(np.diff(missing))
    real = list(zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True))
    if ranges != real:
        odd = sorted(set(ranges) ^ set(real)) or ranges
        findings.add(
            "gaps", f"{len(ranges)} ranges that do not match the rows, which leave "
            f"{len(real)} runs of slots empty", facts.interval, int(grid.starts_ns[odd[0][0]]),
        )  # fmt: skip


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
    known = np.isin(ts_ns, folded["timestamp"])
    findings.rows("derived_slots", ~known, ts_ns, name, "derived from no base bar")
    wanted_ts = np.ascontiguousarray(folded["timestamp"])
    lacking = ~np.isin(wanted_ts, derived.bars["timestamp"][derived.n_base > 0])
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
    slots = np.searchsorted(grid.starts_ns, base["timestamp"], side="right") - 1
    base, slots = base[slots >= 0], slots[slots >= 0]
    closed = grid.ends_ns[slots] <= elapsed_ns
    base, slots = base[closed], slots[closed]
    if len(base) == 0:
        return base, np.empty(0, np.int64)
    heads = np.flatnonzero(np.diff(slots, prepend=-1))
    tails = np.append(heads[1:], len(base))
    folded = np.empty(len(heads), base.dtype)
    folded["timestamp"] = grid.starts_ns[slots[heads]]
    folded["open"] = base["open"][heads]
    folded["high"] = np.maximum.reduceat(base["high"], heads)
    folded["low"] = np.minimum.reduceat(base["low"], heads)
    folded["close"] = base["close"][tails - 1]
    folded["volume"] = np.add.reduceat(base["volume"], heads)
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


#: Types of the keys a tree must have; a callable returns whether a value will do.
Shape = Mapping[str, type | tuple[type, ...] | Callable[[Any], bool]]


def is_count(value: Any) -> bool:
    """Whether a value is an int that can count rows."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT


def is_instant(value: Any) -> bool:
    """Whether a value is an ISO-8601 text with an offset."""
    try:
        return isinstance(value, str) and to_ns(value) is not None
    except OpenbellError:
        return False


def is_value(value: Any) -> bool:
    """Whether a value is what an indicator can have: a number, null, or a list of them."""
    return all(_fits(v, (int, float, type(None))) for v in _items(value))


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def check_shape(tree: Any, shape: Shape, where: str, findings: Findings) -> bool:
    """Check that an object has the keys of a shape with values of their types."""
    if not isinstance(tree, Mapping):
        findings.add("schema", f"{where} is {type(tree).__name__}, expected an object")
        return False
    fine = True
    for key, wanted in shape.items():
        if key not in tree:
            findings.add("schema", f"{where} has no key {key!r}")
            fine = False
        elif not _fits(tree[key], wanted):
            findings.add("schema", f"{where}.{key} is {tree[key]!r:.60}, not of its type")
            fine = False
    return fine


def _fits(value: Any, wanted: type | tuple[type, ...] | Callable[[Any], bool]) -> bool:
    if not isinstance(wanted, type | tuple):
        return wanted(value)
    options = wanted if isinstance(wanted, tuple) else (wanted,)
    # A bool is an int to isinstance, but true is not a count.
    return isinstance(value, options) and (bool in options or not isinstance(value, bool))
