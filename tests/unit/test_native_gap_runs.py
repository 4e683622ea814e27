"""Runs of missing slots, looked for while bars come in whatever order."""

from __future__ import annotations

import numpy as np
import pytest

import openbell as ob
from openbell.clock.window import SessionWindow
from tests.facade_bars import WINDOW, at, minutes
from tests.strategies import make_bars, window_of

LUNCH = window_of(
    ("2025-07-02T09:40", "2025-07-02T11:50"), ("2025-07-02T11:55", "2025-07-02T15:00"),
    anchor="clock",
)  # fmt: skip


Begun = tuple[ob.SessionData, ob.SymbolSessionData]


def begin(window: SessionWindow, base: str, derived: list[str], capacity: int = 0) -> Begun:
    root = ob.SessionData()
    root.begin(window)
    record = root.register_symbol_data(
        ob.SymbolSessionData(
            "AAPL", base_interval=base, derived_intervals=derived, capacity=capacity
        )
    )
    return root, record


def missing(labels: set[int], series: ob.BarIntervalData) -> list[list[int]]:
    """The runs among expected slots that none of `labels` is in, found one by one."""
    assert series.grid is not None
    runs: list[list[int]] = []
    for slot, start in enumerate(series.grid.starts_ns[: series.n_expected].tolist()):
        if start in labels:
            continue
        if runs and sum(runs[-1]) == slot:
            runs[-1][1] += 1
        else:
            runs.append([slot, 1])
    return runs


@pytest.mark.parametrize("window", [WINDOW, LUNCH], ids=["one segment", "cut slots and lunch"])
@pytest.mark.parametrize("fill", [0.2, 0.95, 1.0])
def test_runs_looked_for_again_and_again_are_those_of_the_bars(
    window: SessionWindow, fill: float
) -> None:
    rng = np.random.default_rng(3)
    root, record = begin(window, "1m", ["30m"])
    bars = make_bars(window, "1m", fill, rng)
    late = rng.random(len(bars)) < 0.03
    at_row = 0
    for size in (1, 7, 8, 9, 40, 1, 100, 3, 200, 500):
        block = bars[at_row : at_row + size][~late[at_row : at_row + size]]
        at_row += size
        record.append_block(block)
        for series in record.bars.values():
            held = set(series.data["timestamp"].tolist())
            assert series.gap_runs().tolist() == missing(held, series)
            assert len(series.gap_runs()) == series.n_gaps
    record.append_block(bars[late][::-1].copy())
    root.advance(window.close_ns)
    for series in record.bars.values():
        held = set(series.data["timestamp"].tolist())
        assert series.gap_runs().tolist() == missing(held, series)


def test_runs_of_a_ring_that_let_go_of_bars_are_all_there() -> None:
    root, record = begin(WINDOW, "1m", [], capacity=16)
    present = [k for k in range(300) if k % 7 not in (2, 3) and k % 50 != 49]
    labels = set()
    for k in present:
        record.append_block(minutes(k))
        labels.add(at(k))
        if k % 5 == 0:
            series = record.bars["1m"]
            assert series.gap_runs().tolist() == missing(labels, series)
    assert record.bars["1m"].n_evicted > 0


def test_runs_are_a_copy_of_the_callers_own() -> None:
    _, record = begin(WINDOW, "1m", [])
    record.append_block(minutes(0, 2, 5))
    record.bars["1m"].gap_runs()[:] = 0
    assert record.bars["1m"].gap_runs().tolist() == [[1, 1], [3, 2]]


def test_runs_before_the_day_are_none() -> None:
    assert ob.SymbolSessionData("AAPL").bars["1m"].gap_runs().shape == (0, 2)
