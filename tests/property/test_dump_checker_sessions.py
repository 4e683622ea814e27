"""The checker accuses no session that the engine made, whatever happened in it."""

from __future__ import annotations

from contextlib import suppress
from datetime import date

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.export import session_to_dict, validate_session_dump
from openbell.schema import BAR_DTYPE, BarArray, Int64Array

SECOND = 10**9
#: 2025-07-02T13:30:00Z, by `date -u -d 2025-07-02T13:30:00Z +%s`.
OPEN = 1_751_463_000 * SECOND

Presence = npt.NDArray[np.bool_]


def make_window(rng: np.random.Generator) -> ob.SessionWindow:
    first, pause, second = (int(n) * SECOND for n in rng.integers(300, 2000, 3))
    segments = [(OPEN, OPEN + first), (OPEN + first + pause, OPEN + first + pause + second)]
    anchor = "clock" if rng.random() < 0.3 else "session"
    return ob.SessionWindow(date(2025, 7, 2), segments[: int(rng.integers(1, 3))], anchor=anchor)


def draw_presence(rng: np.random.Generator, n_seconds: int) -> Presence:
    """In which seconds a symbol trades, with silences, a late start and an early end at times."""
    present = rng.random(n_seconds) < rng.choice([0.02, 0.1, 0.3, 0.6, 0.95])
    for first in rng.integers(0, n_seconds, 2):
        present[first : first + int(rng.integers(1, 900))] = False
    if rng.random() < 0.3:
        present[: int(rng.integers(1, n_seconds))] = False
    if rng.random() < 0.3:
        present[int(rng.integers(1, n_seconds)) :] = False
    return present


def draw_bars(rng: np.random.Generator, ts_ns: Int64Array) -> BarArray:
    bars = np.zeros(len(ts_ns), BAR_DTYPE)
    bars["timestamp"] = ts_ns
    bars["open"] = bars["close"] = np.round(rng.normal(100, 1, len(ts_ns)), 2)
    bars["high"], bars["low"] = bars["open"] + 1, bars["open"] - 1
    bars["volume"] = rng.integers(0, 9, len(ts_ns))
    return bars


@given(seed=st.integers(0, 2**32 - 1))
def test_check_session_with_reasons_breaks_no_rule_at_any_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    window = make_window(rng)
    seconds = np.concatenate([np.arange(o, c, SECOND) for o, c in window.segments])
    root = ob.SessionData()
    root.on_incomplete = "skip" if rng.random() < 0.4 else "keep"
    root.begin(window)
    manager = ob.DataQualityManager(root, throttle_s=float(rng.choice([0, 60, 600])))
    capacity = int(rng.integers(64, 2000)) if rng.random() < 0.3 else 0
    traded = {}
    for k in range(int(rng.integers(1, 6))):
        record = ob.SymbolSessionData(
            f"S{k}",
            base_interval="1s",
            derived_intervals=["5s", "1m", "5m"],
            capacity=capacity,
        )
        root.register_symbol_data(record)
        traded[f"S{k}"] = seconds[draw_presence(rng, len(seconds))]
    before = window.open_ns
    for now in [*np.sort(rng.choice(seconds, 3)).tolist(), window.close_ns]:
        for symbol, ts_ns in traded.items():
            bars = draw_bars(rng, ts_ns[(ts_ns >= before) & (ts_ns < now)])
            is_late = rng.random(len(bars)) < 0.05
            root[symbol].append_block(bars[~is_late])
            if rng.random() < 0.5:
                assert len(root[symbol].bars["1s"].gaps) >= 0
            root[symbol].append_block(bars[is_late])
        root.advance(now)
        before = now
        if rng.random() < 0.3:
            manager.note_disconnect(now - 100 * SECOND, now - 20 * SECOND)
        if rng.random() < 0.5:
            starts = window.grid("5m").starts_ns
            five = ob.BarData(int(rng.choice(starts)), 5.0, 6.0, 4.0, 5.0, 10.0)
            # Where base bars cover it, or a ring let go of it, it is refused.
            with suppress(ob.BarRefused):
                root.add_bar(str(rng.choice(["S0", "ADHOC"])), "5m", five)
        shown = ["1s", "5m"] if rng.random() < 0.3 else None
        dump = session_to_dict(root, bars=bool(rng.random() < 0.8), intervals=shown)
        assert [str(one) for one in validate_session_dump(dump)] == []


def test_check_bar_left_out_ahead_of_the_clock_breaks_no_rule() -> None:
    root = ob.SessionData()
    root.on_incomplete = "skip"
    root.begin(ob.SessionWindow(date(2025, 7, 2), [(OPEN, OPEN + 3600 * SECOND)]))
    record = root.register_symbol_data(
        ob.SymbolSessionData("AAA", base_interval="1s", derived_intervals=["5m"])
    )
    record.append(OPEN, 5.0, 6.0, 4.0, 5.0, 10.0)
    root.add_bar("AAA", "5m", ob.BarData(OPEN + 1200 * SECOND, 5.0, 6.0, 4.0, 5.0, 10.0))
    root.advance(OPEN + 30 * SECOND)
    dump = session_to_dict(root)
    five = dump["symbols"]["AAA"]["session"]["data"]["5m"]
    assert (five["count"], five["incomplete"], five["gaps"]["missing_bars"]) == (0, 1, 4)
    assert [str(one) for one in validate_session_dump(dump)] == []
