"""Gaps and quality: the kernels against the plain reference."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell import kernels
from openbell.clock.window import Grid, SessionWindow
from openbell.errors import TimeError
from openbell.kernels import reference
from openbell.schema import BAR_DTYPE, BarArray
from tests.strategies import (
    MINUTE,
    SHORT_1S,
    bar_arrays,
    day_windows,
    make_bars,
    real_windows,
    short_windows,
    utc_ns,
    window_of,
)


def gaps_of(bars: BarArray, grid: Grid, elapsed: int | None = None) -> list[tuple[int, int]]:
    first, count = kernels.find_gaps(bars, grid, elapsed)
    assert first.dtype == count.dtype == np.int64
    return list(zip(first.tolist(), count.tolist(), strict=True))


def assert_same(bars: BarArray, window: SessionWindow, name: str, elapsed: int | None) -> None:
    before = bars.tobytes()
    slots = reference.list_slots(window.segments, name, window.anchor, window.timezone)
    rows = bars.tolist()
    grid = window.grid(name)
    assert gaps_of(bars, grid, elapsed) == reference.find_gaps(rows, slots, elapsed)
    at = window.close_ns if elapsed is None else elapsed
    assert kernels.score(bars, grid, at) == reference.score(rows, slots, at)
    assert bars.tobytes() == before


def instants(window: SessionWindow) -> st.SearchStrategy[int | None]:
    edges = [edge + d for segment in window.segments for edge in segment for d in (-1, 0, 1)]
    inside = st.integers(window.open_ns - MINUTE, window.close_ns + MINUTE)
    return st.none() | st.sampled_from(edges) | inside


@given(st.data())
def test_gaps_short_windows_equal_the_reference(data: st.DataObject) -> None:
    window = data.draw(short_windows("1s"))
    name = data.draw(st.sampled_from(["1s", *SHORT_1S]))
    bars = data.draw(bar_arrays(window, name))
    assert_same(bars, window, name, data.draw(instants(window)))


@given(st.data())
def test_gaps_whole_days_equal_the_reference(data: st.DataObject) -> None:
    window = data.draw(day_windows())
    name = data.draw(st.sampled_from(["1m", "5m", "1h", "1d"]))
    bars = data.draw(bar_arrays(window, name))
    assert_same(bars, window, name, data.draw(instants(window)))


@pytest.mark.parametrize("density", [0.0, 0.02, 0.5, 0.95, 1.0])
@pytest.mark.parametrize("day", ["regular", "lunch", "around_the_clock"])
def test_gaps_days_of_seconds_equal_the_reference(
    day: str, density: float, rng: np.random.Generator
) -> None:
    window = real_windows()[day]
    assert_same(make_bars(window, "1s", density, rng), window, "1s", None)


def test_gaps_by_hand() -> None:
    window = window_of(("2025-07-02T13:30", "2025-07-02T13:40"))
    bars = np.zeros(4, dtype=BAR_DTYPE)
    bars["timestamp"] = window.open_ns + np.array([1, 2, 4, 7]) * MINUTE
    grid = window.grid("1m")
    assert gaps_of(bars, grid) == [(0, 1), (3, 1), (5, 2), (8, 2)]
    assert gaps_of(bars, grid, window.open_ns + 6 * MINUTE) == [(0, 1), (3, 1), (5, 1)]
    assert gaps_of(bars, grid, window.open_ns) == []
    assert kernels.score(bars, grid, window.close_ns) == 40.0
    assert kernels.score(bars, grid, window.open_ns + 5 * MINUTE) == 60.0
    assert kernels.score(bars, grid, window.open_ns + MINUTE - 1) is None


def test_gaps_run_through_a_lunch_break_is_one() -> None:
    window = real_windows()["lunch"]
    bars = make_bars(window, "1m", 1.0, np.random.default_rng(1))
    around = (bars["timestamp"] < utc_ns("2025-07-02T03:58")) | (
        bars["timestamp"] >= utc_ns("2025-07-02T05:01")
    )
    assert gaps_of(bars[around], window.grid("1m")) == [(148, 3)]


def test_gaps_no_bars_is_one_gap_of_what_is_expected() -> None:
    window = real_windows()["half_day"]
    none = np.empty(0, dtype=BAR_DTYPE)
    assert gaps_of(none, window.grid("1s")) == [(0, 12_600)]
    assert kernels.score(none, window.grid("1s"), window.close_ns) == 0.0


@pytest.mark.parametrize("density", [1.0, 0.5])
@pytest.mark.parametrize("change", ["repeat", "swap", "early", "lunch", "through_lunch", "late"])
def test_gaps_bars_out_of_place_are_refused(change: str, density: float) -> None:
    window = real_windows()["lunch"]
    bars = make_bars(window, "1m", density, np.random.default_rng(4))
    stamps = bars["timestamp"]
    if change == "repeat":
        stamps[8] = stamps[7]
    elif change == "swap":
        stamps[8], stamps[7] = stamps[7], stamps[8]
    elif change == "early":
        stamps[0] = window.open_ns - MINUTE
    elif change == "lunch":
        last = int(np.searchsorted(stamps, utc_ns("2025-07-02T04:00"))) - 1
        stamps[last] = utc_ns("2025-07-02T04:30")
    elif change == "through_lunch":
        bars = np.zeros(200, dtype=BAR_DTYPE)
        bars["timestamp"] = window.open_ns + np.arange(200) * MINUTE
    else:
        stamps[-1] = window.close_ns
    with pytest.raises(TimeError, match="ascend"):
        kernels.find_gaps(bars, window.grid("1m"))


def test_gaps_any_memory_gives_the_same(rng: np.random.Generator) -> None:
    window = real_windows()["half_day"]
    bars = make_bars(window, "1s", 0.9, rng)
    expected = gaps_of(bars, window.grid("1s"))
    frozen = bars.view()
    frozen.flags.writeable = False
    for given_bars in (np.repeat(bars, 2)[::2], frozen):
        assert gaps_of(given_bars, window.grid("1s")) == expected
        assert kernels.score(given_bars, window.grid("1s"), window.close_ns) == (
            100.0 * len(bars) / 12_600
        )
