"""What the rules of a dump are made of: findings, one series as read, shapes, rows.

Everything is computed anew from the rows, with none of the engine's code: the checker is worth
something only while it can disagree.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from openbell.clock.window import Grid
from openbell.errors import OpenbellError
from openbell.export.load import NBase, Tree, parse_times
from openbell.schema import BarArray, Int64Array, to_iso

__all__ = [
    "BoolArray",
    "Findings",
    "GapTable",
    "SeriesFacts",
    "Shape",
    "Violation",
    "check_rows",
    "check_shape",
    "instant_of",
    "is_count",
    "is_instant",
    "is_number",
    "is_value",
    "slots_of",
]

_PRICES: Final = ("open", "high", "low", "close")
#: More than any session holds; sums of them stay within int64.
_MAX_COUNT: Final = 2**40
_MAX_FLOAT: Final = float(np.finfo(np.float64).max)

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
        ISO-8601 label of the first row or gap concerned, or empty.
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
        line = f"{where}: {self.rule}: {self.message}"
        if line.isprintable():
            return line
        # A name or a text of the dump may hold line breaks, or half a character.
        return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


@dataclass(slots=True)
class Findings:
    """Where the checks of one symbol, or of the session, put what they find."""

    symbol: str = ""
    found: list[Violation] = field(default_factory=list)

    def add(self, rule: str, message: str, interval: str = "", ts_ns: int | None = None) -> None:
        """Add one violation."""
        time = "" if ts_ns is None else to_iso(ts_ns)
        self.found.append(Violation(rule, self.symbol, interval, time, message))

    def rows(
        self,
        rule: str,
        bad: BoolArray,
        ts_ns: Int64Array,
        interval: str,
        what: str,
        noun: str = "row",
    ) -> None:
        """Add one violation for all rows marked bad: how many, and when the first was."""
        n_bad = int(np.count_nonzero(bad))
        if n_bad:
            rows = f"1 {noun}" if n_bad == 1 else f"{n_bad} {noun}s, the first"
            self.add(rule, f"{rows} {what}", interval, int(ts_ns[int(np.argmax(bad))]))


@dataclass(slots=True)
class GapTable:
    """The gap ranges of one series as columns.

    Attributes
    ----------
    starts_ns, ends_ns : numpy.ndarray
        int64, labels of the first and the last missing bar.
    counts : numpy.ndarray
        int64, bars missing.
    reasons : numpy.ndarray
        Texts, as objects.
    slots : tuple of numpy.ndarray, or None
        First and last slot of each; None when they are not known, or not sound.
    """

    starts_ns: Int64Array
    ends_ns: Int64Array
    counts: Int64Array
    reasons: npt.NDArray[np.object_]
    slots: tuple[Int64Array, Int64Array] | None = None


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
    gaps : GapTable
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
    gaps: GapTable
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
    def n_present(self) -> int:
        """How many bars there are, with those left out."""
        n_shown = len(self.bars) if self.has_rows else int(self.tree["count"])
        return n_shown + self.n_evicted + self.n_incomplete

    @property
    def generated(self) -> bool:
        """Whether the dump calls the series derived."""
        return bool(self.tree["generated"])


def check_rows(bars: BarArray, name: str, findings: Findings, prefix: str = "") -> None:
    """Check what holds for any bars: order in time, finite values, prices, volume."""
    ts_ns = np.ascontiguousarray(bars["timestamp"])
    steps = np.concatenate(([True], ts_ns[1:] > ts_ns[:-1])) if len(ts_ns) else np.empty(0, bool)
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


def slots_of(grid: Grid, ts_ns: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Return the slot that begins at or before each instant, and whether it begins right there."""
    found = np.searchsorted(grid.starts_ns, ts_ns, side="right") - 1
    slots = np.maximum(found, 0).astype(np.int64)
    return slots, (found >= 0) & (grid.starts_ns[slots] == ts_ns)


#: Types of the keys a tree must have; a callable returns whether a value will do.
Shape = Mapping[str, type | tuple[type, ...] | Callable[[Any], bool]]


def is_count(value: Any) -> bool:
    """Whether a value is an int that can count rows."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_COUNT


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, as a float can hold it."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    # Of an int beyond every float the comparison is exact; of NaN it is false.
    return abs(value) <= _MAX_FLOAT


def instant_of(value: Any) -> int | None:
    """Return ISO-8601 text with an offset as int64 nanoseconds UTC; None when it is no such."""
    try:
        return int(parse_times([value])[0])
    except OpenbellError:
        return None


def is_instant(value: Any) -> bool:
    """Whether a value is an ISO-8601 text with an offset."""
    return instant_of(value) is not None


def is_value(value: Any) -> bool:
    """Whether a value is what an indicator can have: a number, null, or a list of them."""
    items = value if isinstance(value, list) else [value]
    return all(item is None or is_number(item) for item in items)


def check_shape(
    tree: Any,
    shape: Shape,
    where: str,
    findings: Findings,
    interval: str = "",
    ts_ns: int | None = None,
) -> bool:
    """Check that an object has the keys of a shape with values of their types."""
    if not isinstance(tree, Mapping):
        findings.add(
            "schema", f"{where} is {type(tree).__name__}, expected an object", interval, ts_ns
        )
        return False
    fine = True
    for key, wanted in shape.items():
        if key not in tree:
            findings.add("schema", f"{where} has no key {key!r}", interval, ts_ns)
            fine = False
        elif not _fits(tree[key], wanted):
            found = reprlib.repr(tree[key])
            findings.add("schema", f"{where}.{key} is {found}, not of its type", interval, ts_ns)
            fine = False
    return fine


def _fits(value: Any, wanted: type | tuple[type, ...] | Callable[[Any], bool]) -> bool:
    if not isinstance(wanted, type | tuple):
        return wanted(value)
    options = wanted if isinstance(wanted, tuple) else (wanted,)
    # A bool is an int to isinstance, but true is not a count.
    return isinstance(value, options) and (bool in options or not isinstance(value, bool))
