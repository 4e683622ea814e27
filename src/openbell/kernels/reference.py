"""What the kernels must compute, in plain Python: one bar after the other, nothing clever.

Used by tests and benchmarks only. Shares no code with the kernels, nor with the window's
arithmetic: it lists its own slots. A bar here is a tuple in the order of the fields.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

__all__ = ["Bar", "Slot", "derive", "find_gaps", "interleave", "list_slots", "score"]

Bar = tuple[int, float, float, float, float, float]
Slot = tuple[int, int]

_SECONDS = {"s": 1, "m": 60, "h": 3600}


def list_slots(
    segments: Sequence[tuple[int, int]],
    interval: str,
    anchor: str = "session",
    timezone: str = "UTC",
) -> list[Slot]:
    """List every slot of an interval as (start, end), nanoseconds UTC, end exclusive."""
    if interval == "1d":
        return [(segments[0][0], segments[-1][1])]
    step = int(interval[:-1]) * _SECONDS[interval[-1]] * 1_000_000_000
    slots = []
    for opened, closed in segments:
        start = opened
        end = opened + step
        if anchor == "clock":
            end -= _since_local_midnight(opened, timezone) % step
        while start < closed:
            slots.append((start, min(end, closed)))
            start, end = end, end + step
    return slots


def derive(
    bars: Iterable[Bar],
    slots: Sequence[Slot],
    n_base: Sequence[int] | None = None,
    elapsed_ns: int | None = None,
) -> tuple[list[Bar], list[int]]:
    """Fold ascending bars into slots; see :func:`openbell.kernels.derive`."""
    starts = [start for start, _ in slots]
    buckets: dict[int, list[tuple[Bar, int]]] = {}
    for index, bar in enumerate(bars):
        slot = bisect_right(starts, bar[0]) - 1
        if slot < 0 or bar[0] >= slots[slot][1]:
            raise ValueError(f"bar {index} at {bar[0]} lies in no slot")
        buckets.setdefault(slot, []).append((bar, 1 if n_base is None else n_base[index]))

    folded = []
    counts = []
    for slot, members in buckets.items():
        start, end = slots[slot]
        if elapsed_ns is not None and end > elapsed_ns:
            continue
        _, opening, high, low, _, volume = members[0][0]
        for bar, _ in members[1:]:
            if bar[2] > high:
                high = bar[2]
            if bar[3] < low:
                low = bar[3]
            volume += bar[5]
        folded.append((start, opening, high, low, members[-1][0][4], volume))
        counts.append(sum(count for _, count in members))
    return folded, counts


def find_gaps(
    bars: Iterable[Bar], slots: Sequence[Slot], elapsed_ns: int | None = None
) -> list[tuple[int, int]]:
    """List the runs of expected slots without a bar as (first slot, how many)."""
    present = {bar[0] for bar in bars}
    gaps: list[tuple[int, int]] = []
    for number, (start, end) in enumerate(slots):
        if elapsed_ns is not None and end > elapsed_ns:
            break
        if start in present:
            continue
        if gaps and sum(gaps[-1]) == number:
            gaps[-1] = (gaps[-1][0], gaps[-1][1] + 1)
        else:
            gaps.append((number, 1))
    return gaps


def score(bars: Iterable[Bar], slots: Sequence[Slot], elapsed_ns: int) -> float | None:
    """Return 100 x present / expected, None while nothing is expected."""
    present = {bar[0] for bar in bars}
    expected = [start for start, end in slots if end <= elapsed_ns]
    if not expected:
        return None
    return 100.0 * sum(start in present for start in expected) / len(expected)


def interleave(
    ts: Sequence[int],
    o: Sequence[float],
    h: Sequence[float],
    l: Sequence[float],  # noqa: E741
    c: Sequence[float],
    v: Sequence[float],
) -> list[Bar]:
    """Return the bars whose columns these are."""
    return [
        (int(ts[i]), float(o[i]), float(h[i]), float(l[i]), float(c[i]), float(v[i]))
        for i in range(len(ts))
    ]


def _since_local_midnight(ts_ns: int, timezone: str) -> int:
    wall = (
        datetime.fromisoformat("1970-01-01T00:00:00+00:00") + timedelta(seconds=ts_ns // 10**9)
    ).astimezone(ZoneInfo(timezone))
    return (wall.hour * 3600 + wall.minute * 60 + wall.second) * 10**9
