"""How much of each stretch of the session a symbol's bars cover: the heat map's numbers.

Works on gaps alone, so that a dump without rows gives the same numbers as one with them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from openbell.clock.window import Grid, SessionWindow
from openbell.schema import NS_PER_SECOND, Int64Array

__all__ = ["Bins", "Floats", "make_bins", "missing_by_bin"]

_STEPS_S: Final = (60, 300, 600, 900, 1800, 3600)
_MOST_BINS: Final = 100

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bins:
    """Equal stretches of a session, anew from each segment's open, cut at its close.

    Attributes
    ----------
    step_s : int
        Length of a whole one.
    starts_ns, ends_ns : numpy.ndarray
        int64, UTC.
    """

    step_s: int
    starts_ns: Int64Array
    ends_ns: Int64Array


def make_bins(window: SessionWindow) -> Bins:
    """Cut a session into stretches: 5 minutes of a regular day, at most about a hundred."""
    length_s = sum(closed - opened for opened, closed in window.segments) // NS_PER_SECOND
    step_s = next((s for s in _STEPS_S if length_s <= s * _MOST_BINS), _STEPS_S[-1])
    parts = [np.arange(o, c, step_s * NS_PER_SECOND) for o, c in window.segments]
    ends = [
        np.minimum(part + step_s * NS_PER_SECOND, closed)
        for part, (_, closed) in zip(parts, window.segments, strict=True)
    ]
    return Bins(step_s, np.concatenate(parts), np.concatenate(ends))


def missing_by_bin(
    window: SessionWindow, bins: Bins, grid: Grid, n_expected: int, runs: Int64Array
) -> tuple[Floats, Floats]:
    """Return the seconds that were expected, and those that are missing, in each bin.

    Parameters
    ----------
    n_expected : int
        How many slots of the grid have ended.
    runs : numpy.ndarray
        int64, shape (n, 2): first slot and number of slots of each gap.

    Returns
    -------
    tuple of numpy.ndarray
        float64, one number per bin each. A slot that is longer than a bin counts in each bin
        it lies in, by the part that does.
    """
    spans = np.array(window.segments, dtype=np.int64)
    opened = np.concatenate([[0], np.cumsum(spans[:, 1] - spans[:, 0])])
    # Time that passes only while the session is open: breaks have no length.
    passed = np.repeat(opened, 2)[1:-1] / NS_PER_SECOND

    def session_s(ts_ns: Int64Array) -> Floats:
        return np.interp(ts_ns, spans.ravel(), passed)

    edges = np.append(session_s(grid.starts_ns), session_s(grid.ends_ns[-1:]))
    changes = np.zeros(grid.n_slots + 1)
    np.add.at(changes, runs[:, 0], 1)
    np.add.at(changes, runs[:, 0] + runs[:, 1], -1)
    missing = np.concatenate([[0.0], np.cumsum(np.cumsum(changes[:-1]) * np.diff(edges))])
    expected = np.minimum(edges, edges[n_expected])
    starts, ends = session_s(bins.starts_ns), session_s(bins.ends_ns)

    def within(total: Floats) -> Floats:
        return np.interp(ends, edges, total) - np.interp(starts, edges, total)

    return within(expected), within(missing)
