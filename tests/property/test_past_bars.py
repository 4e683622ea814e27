"""The check of past bars against the engine: they take and refuse the same ones."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.lifecycle.past_days import sift
from tests.lifecycle_days import bars_at, window_of

DAY = date(2025, 7, 3)
WINDOWS = {
    "one segment": window_of(DAY),
    "two segments": window_of(DAY, "XHKG"),
    "buckets on the clock": ob.TimeManager("XNYS", anchor="clock").session_window(DAY),
    "stubs": ob.SessionWindow(DAY, [(7 * 10**9, 1000 * 10**9), (1060 * 10**9, 5003 * 10**9)]),
}
FIELDS = ("open", "high", "low", "close", "volume")
ODD = (np.nan, np.inf, -np.inf, -1.0, 0.0, -0.0, 1e308, -1e308, 100.0)
HOUR = 3600 * 10**9

edits = st.one_of(
    st.tuples(st.sampled_from(FIELDS), st.sampled_from(ODD)),
    st.tuples(st.just("timestamp"), st.sampled_from([1, -1, HOUR, -HOUR, 30 * HOUR, 10**9, 0])),
    st.tuples(st.just("again"), st.just(0)),
    st.tuples(st.just("swap"), st.just(0)),
)


@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
@pytest.mark.parametrize("where", WINDOWS)
@given(
    slots=st.lists(st.integers(0, 60), max_size=30),
    changes=st.lists(st.tuples(st.integers(0, 29), edits), max_size=6),
)
def test_past_bars_are_those_that_the_engine_takes(
    where: str, interval: str, slots: list[int], changes: list[tuple[int, tuple[str, float]]]
) -> None:
    window = WINDOWS[where]
    starts = window.grid(interval).starts_ns
    bars = np.zeros(0, ob.BAR_DTYPE)
    wanted = sorted({slot % len(starts) for slot in slots})
    if wanted:
        bars = bars_at(window_of(DAY), "1m", range(len(wanted)))
        bars["timestamp"] = starts[wanted]
    for at, (what, value) in changes:
        if at >= len(bars):
            continue
        if what == "again":
            bars = np.append(bars, bars[at : at + 1])
            bars["volume"][-1] += at % 2
        elif what == "swap":
            bars[[at, -1]] = bars[[-1, at]]
        elif what == "timestamp":
            bars["timestamp"][at] += int(value)
        else:
            bars[what][at] = value
    compare(window, interval, bars)


@pytest.mark.parametrize("interval", ["1m", "1h"])
@pytest.mark.parametrize("where", WINDOWS)
def test_past_bar_with_one_odd_value_is_judged_as_the_engine_does(
    where: str, interval: str
) -> None:
    window = WINDOWS[where]
    starts = window.grid(interval).starts_ns
    sound = bars_at(window_of(DAY), "1m", range(2))
    sound["timestamp"] = starts[:2]
    for at in range(2):
        for name in FIELDS:
            for value in ODD:
                bars = sound.copy()
                bars[name][at] = value
                compare(window, interval, bars)
        for opened, closed in window.segments:
            for label in (opened - 300 * HOUR, opened - HOUR, opened - 1, opened, opened + 1,
                          closed - 1, closed, closed + 300 * HOUR):  # fmt: skip
                bars = sound.copy()
                bars["timestamp"][at] = label
                compare(window, interval, bars)


def compare(window: ob.SessionWindow, interval: str, bars: np.ndarray) -> None:
    before = bars.tobytes()

    root = ob.SessionData()
    root.begin(window)
    rec = root.register_symbol_data(ob.SymbolSessionData("AA", base_interval=interval))
    rec.append_block(bars)
    kept, refused = sift(bars, window.grid(interval))
    assert bars.tobytes() == before
    root.advance(window.close_ns)
    assert kept.tobytes() == rec.bars[interval].data.tobytes()
    n_twice = refused.pop("duplicate", 0)
    assert refused == rec.rejected
    assert n_twice == rec.n_duplicate + rec.n_corrected
    assert (kept is bars) == (not refused and not n_twice and _ascends(bars))


def _ascends(bars: np.ndarray) -> bool:
    return bool((np.diff(bars["timestamp"]) > 0).all())
