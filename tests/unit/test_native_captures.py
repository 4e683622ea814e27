"""The states of series that an export reads at once are those that the series tell themselves."""

from __future__ import annotations

import numpy as np
import pytest

import openbell as ob
from openbell._native.captures import read_states
from openbell.schema import BAR_DTYPE
from tests.export_session import SECOND, at, make_session, make_window, ns


def check(record: ob.SymbolSessionData) -> None:
    bars = list(record.bars.values())
    least = np.iinfo(np.int64).min
    for state, series in zip(read_states(bars), bars, strict=True):
        labels = series.timestamp(1).tolist() or [least]
        counts = len(series), series.n_evicted, series.revision, labels[0]
        assert state == (series.base, *counts, series.n_expected, series.n_gaps)
        # An export asks for no gaps where there are none.
        assert series.n_gaps == len(series.gaps)


def test_captures_of_records_with_gaps_and_of_an_empty_one() -> None:
    root = make_session()
    for record in root:
        check(record)
    check(ob.SymbolSessionData("X", base_interval="1s", derived_intervals=["5s"]))
    assert read_states([]) == []


@pytest.mark.parametrize("gaps", [0, 3])
def test_captures_of_a_ring_that_lets_go_of_bars_and_of_a_late_one(gaps: int) -> None:
    root = ob.SessionData()
    root.begin(make_window())
    record = root.register_symbol_data(
        ob.SymbolSessionData("X", base_interval="1s", derived_intervals=["5s"], capacity=20)
    )
    bars = np.ones(300, BAR_DTYPE)
    bars["timestamp"] = ns(at(13, 30)) + SECOND * np.arange(300)
    missing = np.isin(np.arange(300), [10, 150, 290][:gaps])
    record.append_block(bars[~missing])
    check(record)
    late = bars[290].item()
    record.append(*late)
    check(record)
    root.advance(ns(at(13, 36)))
    check(record)
    assert record.bars["1s"].n_evicted > 0
