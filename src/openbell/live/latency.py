"""A histogram of how long things took, cheap enough to add to for every bar."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Final

from openbell.errors import ArgumentError

__all__ = ["LATENCY_BOUNDS_NS", "LatencyHistogram", "LatencySnapshot"]

#: Upper edges of the buckets, inclusive, nanoseconds: 1 us to 1 s, each about twice the last.
LATENCY_BOUNDS_NS: Final = (
    *(digit * 10**power for power in range(3, 9) for digit in (1, 2, 5)),
    10**9,
)

_NS: Final = 1e9


@dataclass(frozen=True, slots=True)
class LatencySnapshot:
    """What a histogram held at one instant.

    Attributes
    ----------
    bounds_s : tuple of float
        Upper edges of the buckets, inclusive, seconds, ascending.
    counts : tuple of int
        How many each bucket holds; one more than the edges: the last is of all beyond.
    n : int
        How many there are.
    sum_s : float
        What they add up to, seconds.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[int, ...]
    n: int
    sum_s: float

    def quantile(self, q: float) -> float | None:
        """The latency that a share of all do not exceed, seconds; None while there is none.

        Within a bucket they are taken as evenly spread, so it is exact to a factor of two or so.
        Of what lies beyond the last edge, that edge is all that is known.

        Raises
        ------
        ArgumentError
            When `q` is not between 0 and 1.
        """
        if not 0 <= q <= 1:
            raise ArgumentError("q", q, "a share of all, from 0 to 1")
        if not self.n:
            return None
        rank = q * self.n
        below = 0
        lower = 0.0
        for count, upper in zip(self.counts, self.bounds_s, strict=False):
            if count and below + count >= rank:
                return lower + (upper - lower) * (rank - below) / count
            below += count
            lower = upper
        return lower


class LatencyHistogram:
    """Counts latencies in the buckets of ``LATENCY_BOUNDS_NS``; one thread adds, any reads."""

    __slots__ = ("_counts", "_sum_ns")

    def __init__(self) -> None:
        self._counts = [0] * (len(LATENCY_BOUNDS_NS) + 1)
        self._sum_ns = 0

    def add(self, ns: int) -> None:
        """Count one latency, nanoseconds. O(log buckets)."""
        self._counts[bisect_left(LATENCY_BOUNDS_NS, ns)] += 1
        self._sum_ns += ns

    def quantile(self, q: float) -> float | None:
        """The latency that a share of all do not exceed, seconds; see the snapshot's."""
        return self.snapshot().quantile(q)

    def snapshot(self) -> LatencySnapshot:
        """What it holds now; a copy."""
        counts = tuple(self._counts)
        bounds_s = tuple(bound / _NS for bound in LATENCY_BOUNDS_NS)
        return LatencySnapshot(bounds_s, counts, sum(counts), self._sum_ns / _NS)

    def __repr__(self) -> str:
        return f"<LatencyHistogram of {sum(self._counts)}>"
