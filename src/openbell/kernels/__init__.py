"""Whole-array work on bars: deriving, scanning for gaps, scoring, moving columns.

Plain functions over compiled kernels. Importing this package loads no numba; the first
call of a function does, and compiles or loads its kernel (:func:`warmup` does it ahead).
Every function takes bars read-only or writable, contiguous or not, and changes none of
them. Bars must ascend and lie in the session; a bar that does not is refused by name,
before anything is returned.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import date
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from openbell.errors import SchemaError
from openbell.intervals import fold_sources
from openbell.kernels._inputs import (
    Derived,
    DerivedEach,
    Int32Array,
    as_column,
    as_counts,
    as_labels,
    canonical,
    canonical_counts,
    described,
    refuse,
    slot_ranges,
    space,
    writable,
)
from openbell.schema import BAR_DTYPE, NS_PER_MINUTE, BarArray, Int64Array

if TYPE_CHECKING:
    from openbell.clock.window import Grid, SessionWindow

__all__ = [
    "DerivedEach",
    "deinterleave",
    "derive",
    "derive_each",
    "derive_many",
    "explain_gaps",
    "find_gaps",
    "interleave",
    "score",
    "warmup",
]

_END_OF_TIME: Final = (1 << 63) - 1

_kept = threading.local()


def derive(
    bars: BarArray,
    grid: Grid,
    out: Derived | None = None,
    *,
    n_base: Int32Array | None = None,
    elapsed_ns: int | None = None,
) -> Derived:
    """Fold bars into the slots of a coarser interval; slots without a bar are left out.

    Open of the first bar, close of the last, highest high, lowest low; volume added left to
    right, so that every path through openbell gives the same bytes.

    Parameters
    ----------
    bars : numpy.ndarray
        :data:`~openbell.schema.BAR_DTYPE`, strictly ascending, of an interval that divides
        the grid's.
    grid : Grid
        Slots to fold into, from :meth:`SessionWindow.grid`.
    out : (bars, n_base), optional
        Arrays to write into, contiguous, writable, apart from `bars`, at least
        ``min(len(bars), grid.n_slots)`` long. Allocated when absent.
    n_base : numpy.ndarray, optional
        int32, how many base bars each of `bars` stands for; one each when absent.
    elapsed_ns : int, optional
        Leave out slots that end after this instant (one that ends at it is in). Everything
        is folded when absent.

    Returns
    -------
    bars, n_base : numpy.ndarray, numpy.ndarray
        Views of the filled part of `out` (or of what was allocated), labelled by slot start.

    Raises
    ------
    SchemaError
        When an array has another dtype or shape than it must have.
    TimeError
        When a bar is not after the one before it, or lies in no segment of the grid.

    Notes
    -----
    O(len(bars)), without the GIL; about the time of a copy of `bars`.
    """
    from openbell.kernels._derive import fold

    source = canonical(bars)
    counts = None if n_base is None else canonical_counts(n_base, len(source))
    made, made_n = space(out, min(len(source), grid.n_slots), source)
    zero, segments = np.uint64(0), grid.segments
    n = fold(
        source, counts, zero, np.uint64(len(source)), segments, zero, np.uint64(len(segments)),
        grid.step_ns, _elapsed(elapsed_ns), made, made_n, zero,
    )  # fmt: skip
    if n < 0:
        refuse(source, -1 - n, str(grid.interval))
    return made[:n], made_n[:n]


def derive_many(
    bars: BarArray,
    window: SessionWindow,
    intervals: Sequence[str],
    *,
    base: str = "1s",
    elapsed_ns: int | None = None,
    out: Derived | None = None,
) -> dict[str, Derived]:
    """Fold bars into several intervals, each from its largest divisor present.

    Parameters
    ----------
    bars : numpy.ndarray
        :data:`~openbell.schema.BAR_DTYPE`, strictly ascending, of the interval `base`.
    window : SessionWindow
        The session they lie in.
    intervals : sequence of str
        What to derive, in any order.
    base : str
        Interval of `bars`.
    elapsed_ns : int, optional
        Leave out slots that end after this instant; see :func:`derive`.
    out : (bars, n_base), optional
        Arrays to write all results into, one after the other; at least as long as the sum
        over the intervals of ``min(len(bars), n_slots)``. Allocated when absent.

    Returns
    -------
    dict of str to (bars, n_base)
        By canonical name, finest first. All are views of one allocation.

    Raises
    ------
    IntervalError
        When an interval cannot be derived from `base`.
    SchemaError, TimeError
        As :func:`derive`.

    Notes
    -----
    One call of compiled code whatever the number of intervals, without the GIL.
    """
    from openbell.kernels._derive import cascade

    plan = _plan(window, base, tuple(intervals))
    source = canonical(bars)
    n = len(source)
    made, made_n = space(out, sum([min(n, n_slots) for n_slots in plan.n_slots]), source)
    bounds = np.zeros(len(plan.names) + 1, dtype=np.int64)
    failed = cascade(
        source, plan.segments, plan.layout, _elapsed(elapsed_ns), made, made_n,
        bounds[:-1], bounds[1:],
    )  # fmt: skip
    if failed < 0:
        refuse(source, -1 - failed, base)
    edges = bounds.tolist()
    return {
        name: (made[start:stop], made_n[start:stop])
        for name, start, stop in zip(plan.names, edges, edges[1:], strict=False)
    }


def derive_each(
    each: Sequence[BarArray],
    window: SessionWindow,
    intervals: Sequence[str],
    *,
    base: str = "1s",
    elapsed_ns: int | None = None,
    out: Derived | None = None,
) -> dict[str, DerivedEach]:
    """Fold the bars of many symbols into several intervals, as :func:`derive_many` one symbol's.

    Parameters
    ----------
    each : sequence of numpy.ndarray
        Of each symbol, :data:`~openbell.schema.BAR_DTYPE`, strictly ascending, of the interval
        `base`. Such as ``[record.bars["1s"].data for record in root]``.
    window : SessionWindow
        The session they all lie in.
    intervals : sequence of str
        What to derive, in any order.
    base : str
        Interval of the bars.
    elapsed_ns : int, optional
        Leave out slots that end after this instant; see :func:`derive`.
    out : (bars, n_base), optional
        Arrays to write all results into; at least as long as the sum over symbols and intervals
        of ``min(len(bars), n_slots)``. Allocated when absent, which may cost as much as the
        folding: memory that was never used is slow to touch. Give it again for the next day.

    Returns
    -------
    dict of str to DerivedEach
        By canonical name, finest first; of each interval the symbols one after the other, in
        their order. All are views of one allocation.

    Raises
    ------
    IntervalError
        When an interval cannot be derived from `base`.
    SchemaError, TimeError
        As :func:`derive`.

    Notes
    -----
    O(bars), without the GIL; a few microseconds a symbol beside the folding.
    """
    from openbell.kernels._derive import cascade

    plan = _plan(window, base, tuple(intervals))
    sources = [canonical(bars) for bars in each]
    counts = np.array([len(source) for source in sources], dtype=np.int64)
    rooms = [int(np.minimum(counts, n_slots).sum()) for n_slots in plan.n_slots]
    made, made_n = space(out, sum(rooms), *sources)
    # Row k: where the k-th symbol's bars of each interval begin, and the one before's end.
    edges = np.empty((len(sources) + 1, len(plan.names)), dtype=np.int64)
    edges[0] = np.cumsum([0, *rooms])[:-1]
    elapsed = _elapsed(elapsed_ns)
    for k, source in enumerate(sources):
        failed = cascade(
            source, plan.segments, plan.layout, elapsed, made, made_n, edges[k], edges[k + 1]
        )
        if failed < 0:
            refuse(source, -1 - failed, base, of=f"array {k}: ")
    found = {}
    for name, column in zip(plan.names, edges.T, strict=True):
        start, stop = int(column[0]), int(column[-1])
        found[name] = DerivedEach(made[start:stop], made_n[start:stop], column - start)
    return found


def find_gaps(
    bars: BarArray, grid: Grid, elapsed_ns: int | None = None
) -> tuple[Int64Array, Int64Array]:
    """Find the runs of expected slots that hold no bar.

    Parameters
    ----------
    bars : numpy.ndarray
        :data:`~openbell.schema.BAR_DTYPE`, strictly ascending, labelled on the grid.
    grid : Grid
        Slots of the bars' own interval.
    elapsed_ns : int, optional
        Expect only slots that end at or before this instant; the whole session when absent.

    Returns
    -------
    first_slot, n_slots : numpy.ndarray, numpy.ndarray
        int64, one element per gap, ascending: number of its first missing slot, and how many
        are missing. Slots are numbered through a lunch break, so a gap may span it.

    Raises
    ------
    SchemaError, TimeError
        As :func:`derive`.

    Notes
    -----
    O(len(bars)), without the GIL; about the time of reading one field of each bar.
    """
    from openbell.kernels._gaps import find

    source = canonical(bars)
    expected = grid.n_slots if elapsed_ns is None else grid.expected(elapsed_ns)
    runs, first, count = _scratch(len(source) + len(grid.segments) + 1)
    n = find(source, grid.segments, grid.step_ns, expected, runs, first, count)
    if n < 0:
        refuse(source, -1 - n, str(grid.interval))
    return first[:n].copy(), count[:n].copy()


def _scratch(n: int) -> tuple[Int32Array, Int64Array, Int64Array]:
    # Kept per thread: fresh memory would cost more in page faults than the search itself.
    held: tuple[Int32Array, Int64Array, Int64Array] | None = getattr(_kept, "gaps", None)
    if held is None or len(held[0]) < n:
        held = np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int64)
        _kept.gaps = held
    return held


def explain_gaps(
    runs: Sequence[Int64Array],
    n_expected: Sequence[int],
    grid: Grid,
    *,
    coarser: Sequence[Int64Array | None] | None = None,
    disconnects: Sequence[Int64Array | None] | None = None,
) -> list[npt.NDArray[np.void]]:
    """Tell why each gap of one interval's series is there, from all of them together.

    Parameters
    ----------
    runs : sequence of numpy.ndarray
        Of each symbol, int64 shape (n, 2): first missing slot and how many, ascending, as
        :meth:`BarIntervalData.gap_runs` returns them.
    n_expected : sequence of int
        Of each symbol, how many slots have ended; its last gap may end there.
    grid : Grid
        The slots of the interval, through the whole session.
    coarser : sequence, optional
        Of each symbol, None or int64 shape (m, 2): first slot and how many, of the vendor's
        coarser bars that traded where the symbol has none of its own.
    disconnects : sequence, optional
        Likewise, when the feed is known to have been down.

    Returns
    -------
    list of numpy.ndarray
        Of each symbol :data:`~openbell.schema.GAP_NOTE_DTYPE`, one row per run, in order. All
        are views of one allocation.

    Raises
    ------
    SchemaError
        When an array has another dtype or shape, or the sequences differ in length.

    Notes
    -----
    O(gaps + missing slots), without the GIL. ``docs/quality.md`` tells how it is decided.
    """
    from openbell.kernels._reasons import explain

    n = len(runs)
    return explain(
        slot_ranges("runs", runs, n),
        as_counts("n_expected", n_expected, n, grid.n_slots),
        grid.n_slots,
        slot_ranges("coarser", coarser, n),
        slot_ranges("disconnects", disconnects, n),
    )


def score(bars: BarArray, grid: Grid, elapsed_ns: int) -> float | None:
    """Tell how much of what has been expected so far is there, 0 to 100.

    Parameters
    ----------
    bars : numpy.ndarray
        :data:`~openbell.schema.BAR_DTYPE`, strictly ascending, labelled on the grid (trusted,
        not checked).
    grid : Grid
        Slots of the bars' own interval.
    elapsed_ns : int
        Slots that end at or before this instant are expected; later bars do not count.

    Returns
    -------
    float or None
        ``100 * present / expected``; None while nothing is expected. O(log n).
    """
    from openbell.kernels._quality import count

    present, expected = count(canonical(bars), grid.segments, grid.step_ns, int(elapsed_ns))
    return 100.0 * present / expected if expected else None


def interleave(
    ts: npt.ArrayLike,
    o: npt.ArrayLike,
    h: npt.ArrayLike,
    l: npt.ArrayLike,  # noqa: E741
    c: npt.ArrayLike,
    v: npt.ArrayLike,
    out: BarArray | None = None,
) -> BarArray:
    """Build an array of bars from six columns of one length.

    Parameters
    ----------
    ts : array_like
        int64 nanoseconds UTC, or datetime64[ns] (UTC).
    o, h, l, c, v : array_like
        Anything that becomes float64 without loss of kind (integers, float32, float64).
        A column that is not contiguous float64 is copied first.
    out : numpy.ndarray, optional
        :data:`~openbell.schema.BAR_DTYPE` to write into, contiguous, writable, of the
        columns' length. Allocated when absent.

    Returns
    -------
    numpy.ndarray
        `out`.

    Raises
    ------
    SchemaError
        When a column has another type or length.
    """
    from openbell.kernels._interleave import join

    labels = as_labels(ts)
    n = len(labels)
    opens, highs = as_column("open", o, n), as_column("high", h, n)
    lows, closes = as_column("low", l, n), as_column("close", c, n)
    volumes = as_column("volume", v, n)
    if out is None:
        out = np.empty(n, dtype=BAR_DTYPE)
    target: BarArray = writable(out, BAR_DTYPE, "out")
    if len(target) != n:
        raise SchemaError("out", described(out), f"an array of {n} bars")
    join(labels, opens, highs, lows, closes, volumes, target)
    return out


def deinterleave(
    bars: BarArray,
) -> tuple[
    Int64Array,
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
    npt.NDArray[np.float64],
]:
    """Copy bars out into six contiguous columns, in the order of the fields.

    Returns
    -------
    tuple of numpy.ndarray
        Timestamps as int64 nanoseconds UTC; open, high, low, close, volume as float64.
    """
    from openbell.kernels._interleave import split

    source = canonical(bars)
    n = len(source)
    ts = np.empty(n, dtype=np.int64)
    o, h, l, c, v = (np.empty(n, dtype=np.float64) for _ in range(5))  # noqa: E741
    split(source, ts, o, h, l, c, v)
    return ts, o, h, l, c, v


def warmup() -> None:
    """Compile (or load from numba's cache) every kernel, for the arguments they will get.

    A third of a second when the cache is warm, several seconds when it is not.
    """
    from openbell.clock.window import SessionWindow

    minute = NS_PER_MINUTE
    window = SessionWindow(date(1970, 1, 1), [(0, 2 * minute)])
    bars = np.zeros(2, dtype=BAR_DTYPE)
    bars["timestamp"] = 0, minute
    grid = window.grid("1m")
    folded, n_base = derive(bars, grid)
    derive(folded, grid, n_base=n_base)
    derive_many(bars, window, ["2m"], base="1m")
    find_gaps(bars, grid)
    explain_gaps(*_two_hushed_symbols())
    score(bars, grid, minute)
    interleave(*deinterleave(bars))


def _two_hushed_symbols() -> tuple[list[Int64Array], list[int], Grid]:
    # Silent together for long enough that every part of the judgement is needed.
    from openbell.clock.window import SessionWindow

    grid = SessionWindow(date(1970, 1, 1), [(0, 400 * NS_PER_MINUTE)]).grid("1m")
    return [np.array([(200, 100)], dtype=np.int64)] * 2, [400, 400], grid


class _Plan:
    # What derive_many needs to know of a window and its intervals, worked out once.
    __slots__ = ("layout", "n_slots", "names", "segments")

    def __init__(self, window: SessionWindow, base: str, intervals: tuple[str, ...]) -> None:
        sources = fold_sources(base, intervals)
        grids = [window.grid(name) for name in sources]
        self.names = tuple(sources)
        self.n_slots = tuple(grid.n_slots for grid in grids)
        rows = [np.empty((0, 4), dtype=np.int64)]
        layout = []
        at = 0
        for name, grid in zip(self.names, grids, strict=True):
            source = sources[name]
            parent = self.names.index(source) if source in self.names else -1
            layout.append((grid.step_ns, at, at + len(grid.segments), parent))
            rows.append(grid.segments)
            at += len(grid.segments)
        self.segments = np.concatenate(rows)
        self.layout = np.array(layout, dtype=np.int64).reshape(-1, 4)
        self.segments.flags.writeable = False
        self.layout.flags.writeable = False


_plan = lru_cache(maxsize=64)(_Plan)


def _elapsed(elapsed_ns: int | None) -> int:
    return _END_OF_TIME if elapsed_ns is None else int(elapsed_ns)
