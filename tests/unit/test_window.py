"""SessionWindow and Grid against slots cut one at a time."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.clock.window import Anchor, SessionWindow
from openbell.errors import CalendarError, IntervalError, TimeError

SECOND = 1_000_000_000
DAY = date(2025, 7, 2)
MIDNIGHT = int(datetime(2025, 7, 2, tzinfo=UTC).timestamp())


def window_at(*spans: tuple[int, int], anchor: Anchor = "session") -> SessionWindow:
    """A window in UTC from seconds of the day."""
    segments = [((MIDNIGHT + a) * SECOND, (MIDNIGHT + b) * SECOND) for a, b in spans]
    return SessionWindow(DAY, segments, anchor=anchor)


def slots_by_hand(spans: list[tuple[int, int]], step: int, anchor: Anchor) -> list[tuple[int, int]]:
    """Walk each segment second by second; a slot ends where its bucket or the segment does."""
    slots: list[tuple[int, int]] = []
    for opened, closed in spans:
        start = opened
        for second in range(opened + 1, closed + 1):
            turned = second if anchor == "clock" else second - opened
            if second == closed or turned % step == 0:
                slots.append((start, second))
                start = second
    return slots


@st.composite
def spans(draw: st.DrawFn) -> list[tuple[int, int]]:
    edges = draw(st.lists(st.integers(0, 2000), min_size=2, max_size=6, unique=True))
    edges.sort()
    pairs = [(edges[i], edges[i + 1]) for i in range(0, len(edges) - 1, 2)]
    if draw(st.booleans()) and len(pairs) > 1:
        pairs[1] = (pairs[0][1], pairs[1][1])  # segments that touch
    return pairs


@given(spans(), st.integers(1, 900), st.sampled_from(["session", "clock"]), st.data())
def test_grid_agrees_with_slots_cut_by_hand(
    pairs: list[tuple[int, int]], step: int, anchor: Anchor, data: st.DataObject
) -> None:
    grid = window_at(*pairs, anchor=anchor).grid(f"{step}s")
    slots = slots_by_hand(pairs, step, anchor)
    starts = [(MIDNIGHT + a) * SECOND for a, _ in slots]
    ends = [(MIDNIGHT + b) * SECOND for _, b in slots]
    assert grid.starts_ns.tolist() == starts
    assert grid.ends_ns.tolist() == ends
    assert grid.n_slots == len(slots)
    moments = st.integers(-5, 2005).map(lambda s: (MIDNIGHT + s) * SECOND)
    for ts_ns in data.draw(st.lists(moments, max_size=20)) + starts + ends:
        for near in (ts_ns - 1, ts_ns, ts_ns + 1):
            holds = [k for k in range(len(slots)) if starts[k] <= near < ends[k]]
            assert grid.slot_of(near) == (holds[0] if holds else -1)
            assert grid.expected(near) == sum(end <= near for end in ends)


@given(spans(), st.sampled_from(["session", "clock"]))
def test_day_grid_is_one_slot_over_all_segments(
    pairs: list[tuple[int, int]], anchor: Anchor
) -> None:
    window = window_at(*pairs, anchor=anchor)
    grid = window.grid("1d")
    assert grid.starts_ns.tolist() == [window.open_ns]
    assert grid.ends_ns.tolist() == [window.close_ns]
    assert grid.slot_of(window.open_ns) == 0
    assert grid.expected(window.close_ns - 1) == 0
    assert grid.expected(window.close_ns) == 1


def test_window_contains_its_opens_not_its_closes() -> None:
    window = window_at((100, 200), (300, 400))
    inside = [100, 199, 300, 399]
    outside = [99, 200, 299, 400]
    assert all(window.contains((MIDNIGHT + s) * SECOND) for s in inside)
    assert not any(window.contains((MIDNIGHT + s) * SECOND) for s in outside)


def test_window_tells_its_edges() -> None:
    window = window_at((100, 200), (300, 400))
    assert (window.open_ns, window.close_ns) == (
        (MIDNIGHT + 100) * SECOND, (MIDNIGHT + 400) * SECOND,
    )  # fmt: skip
    assert window.open == datetime(2025, 7, 2, 0, 1, 40, tzinfo=UTC)
    assert window.close == datetime(2025, 7, 2, 0, 6, 40, tzinfo=UTC)
    assert "2025-07-02T00:01:40+00:00" in repr(window)


def test_window_equality_takes_its_anchor_and_segments() -> None:
    a = window_at((100, 200))
    assert a == window_at((100, 200))
    assert hash(a) == hash(window_at((100, 200)))
    assert a != window_at((100, 200), anchor="clock")
    assert a != window_at((100, 201))
    assert a != "a window"


def test_grid_is_made_once_and_shared_by_spellings() -> None:
    window = window_at((0, 3600))
    assert window.grid("1m") is window.grid("1m")
    assert window.grid("60s") is window.grid("1m")


def test_grid_arrays_are_read_only_int64() -> None:
    grid = window_at((0, 3600), (5000, 6000)).grid("7s")
    for array in (grid.starts_ns, grid.ends_ns, grid.segments):
        assert array.dtype == np.int64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert grid.segments.shape == (2, 4)


def test_grid_longer_than_the_session_is_one_stub() -> None:
    grid = window_at((1000, 1900)).grid("1h")
    assert grid.ends_ns.tolist() == [(MIDNIGHT + 1900) * SECOND]


@pytest.mark.parametrize("name", ["7x", "2d", "1Min", ""])
def test_grid_of_no_interval_of_a_session_is_refused(name: str) -> None:
    with pytest.raises(IntervalError):
        window_at((0, 3600)).grid(name)


def test_clock_anchor_is_the_exchanges_clock_in_a_half_hour_zone() -> None:
    # Mumbai, UTC+5:30: 09:15 to 15:30. Hours turn at half past in UTC.
    zone = ZoneInfo("Asia/Kolkata")
    opened = int(datetime(2025, 7, 2, 9, 15, tzinfo=zone).timestamp())
    closed = int(datetime(2025, 7, 2, 15, 30, tzinfo=zone).timestamp())
    window = SessionWindow(
        DAY, [(opened * SECOND, closed * SECOND)], timezone="Asia/Kolkata", anchor="clock"
    )
    starts = [datetime.fromtimestamp(ns // SECOND, zone) for ns in window.grid("1h").starts_ns]
    assert [t.strftime("%H:%M") for t in starts] == [
        "09:15", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "spans",
    [[], [(5, 5)], [(6, 5)], [(0, 10), (9, 20)], [(10, 20), (0, 5)]],
)
def test_window_of_impossible_segments_is_refused(spans: list[tuple[int, int]]) -> None:
    with pytest.raises(TimeError):
        window_at(*spans)


def test_window_of_split_seconds_is_refused() -> None:
    with pytest.raises(TimeError, match="whole seconds"):
        SessionWindow(DAY, [(1, SECOND)])


def test_window_of_unknown_zone_or_anchor_is_refused() -> None:
    with pytest.raises(CalendarError, match="Mars"):
        SessionWindow(DAY, [(0, SECOND)], timezone="Mars/Olympus")
    with pytest.raises(TimeError, match="anchor"):
        SessionWindow(DAY, [(0, SECOND)], anchor="noon")  # type: ignore[arg-type]
