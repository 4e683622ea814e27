"""Bars one by one, the clock moving and readers reading in between: always what the model says."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell import kernels
from openbell.clock.window import Anchor, SessionWindow
from openbell.errors import BarRefused
from openbell.schema import BAR_DTYPE, REFUSALS
from openbell.symbol import SymbolSessionData
from tests.engine import (
    PLANS,
    assert_like_model,
    begin,
    give,
    give_model,
    model_of,
    plans,
    snapshot,
)
from tests.strategies import DAY_1M, DAY_1S, make_stream, real_windows, streams, window_of


@given(st.data())
def test_stream_one_by_one_is_what_the_model_says(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    root, record = begin(window, base, derived)
    model = model_of(window, base, derived)
    for call in data.draw(streams(window, base)):
        answer = give_model(model, call)
        assert give(root, record, call) == (answer if answer in REFUSALS else None)
        if data.draw(st.integers(0, 9)) == 0:
            assert_like_model(record, model)
    assert_like_model(record, model)
    root.end()
    model.advance(window.close_ns)
    assert_like_model(record, model)


@given(st.data())
def test_stream_reads_in_between_change_nothing(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    root, record = begin(window, base, derived)
    quiet_root, quiet = begin(window, base, derived)
    for call in data.draw(streams(window, base)):
        give(root, record, call)
        give(quiet_root, quiet, call)
        snapshot(record)
    assert snapshot(record) == snapshot(quiet)


@given(st.data())
def test_stream_rewritten_rows_change_the_revision(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    root, record = begin(window, base, derived)
    for call in data.draw(streams(window, base)):
        before = {n: (s.revision, s.data.tobytes()) for n, s in record.bars.items()}
        give(root, record, call)
        for name, (revision, held) in before.items():
            series = record.bars[name]
            if series.revision == revision:
                assert series.data.tobytes().startswith(held)
            else:
                assert call.is_bar


@pytest.mark.parametrize("anchor", ["session", "clock"])
@pytest.mark.parametrize("day", real_windows())
def test_stream_whole_day_is_what_model_and_kernels_say(day: str, anchor: Anchor) -> None:
    window = real_windows(anchor)[day]
    root, record = begin(window, "1m", DAY_1M)
    model = model_of(window, "1m", DAY_1M)
    for call in make_stream(window, "1m", 0.9, 7, disorder=0.1):
        give(root, record, call)
        give_model(model, call)
    assert min(record.n_late, record.n_corrected) > 0
    assert_like_model(record, model)
    root.end()
    assert_like_kernels(record, window)


@pytest.mark.parametrize(
    ("day", "base", "derived"),
    [
        ("half_day", "1s", (*DAY_1S, "15s", "7m")),
        ("after_dst", "5s", ("10s", "15s", "30s", "1m", "1h", "7h", "1d")),
        ("lunch", "5s", ("15s", "20s", "1m", "2h", "1d")),
    ],
)
def test_stream_whole_day_of_seconds_is_what_model_and_kernels_say(
    day: str, base: str, derived: tuple[str, ...]
) -> None:
    window = real_windows("clock")[day]
    root, record = begin(window, base, derived, meets_session_config_requirements=True)
    model = model_of(window, base, derived)
    for call in make_stream(window, base, 0.97, 12, disorder=0.004):
        give(root, record, call)
        give_model(model, call)
    assert min(record.n_late, record.n_corrected) > 0
    root.end()
    model.advance(window.close_ns)
    assert_like_model(record, model)
    assert_like_kernels(record, window)


@pytest.mark.parametrize("base", PLANS)
def test_stream_full_day_has_no_gap_and_everything_complete(base: str) -> None:
    window = real_windows()["half_day"]
    root, record = begin(window, base, ("5m", "1h", "1d"))
    for start in window.grid(base).starts_ns.tolist():
        record.append(start, 10.0, 11.0, 9.0, 10.5, 2.0)
    for series in record.bars.values():
        assert (series.quality, series.n_gaps, series.n_missing) == (100.0, 0, 0)
        assert len(series) == series.n_expected == series.grid.n_slots
        assert series.complete.all()
    assert record.bars["1d"].volume(1)[0] == 2.0 * len(record.bars[base])


@pytest.mark.parametrize("ts_ns", [-(2**63), -(2**63) + 1, -1, 0, 2**63 - 1])
def test_append_far_outside_the_session_is_refused_whatever_the_state(ts_ns: int) -> None:
    window = window_of(("2025-07-02T13:30", "2025-07-02T13:42"))
    root, record = begin(window, "1m", ["5m"])
    for opened in (None, window.open_ns):
        if opened is not None:
            record.append(opened, 1.0, 1.0, 1.0, 1.0, 1.0)
        with pytest.raises(BarRefused, match="outside_session"):
            record.append(ts_ns, 1.0, 1.0, 1.0, 1.0, 1.0)
    assert record.rejected == {"outside_session": 2}
    assert len(record.bars["1m"]) == 1


def assert_like_kernels(record: SymbolSessionData, window: SessionWindow) -> None:
    base = record.bars[record.base_interval]
    bars = np.array(base.data, dtype=BAR_DTYPE)
    made = kernels.derive_many(bars, window, record.derived_intervals, base=base.interval)
    for name, series in record.bars.items():
        if series.derived:
            rows, n_base = made[name]
            assert series.data.tobytes() == rows.tobytes()
            assert series.n_base.tobytes() == n_base.tobytes()
        runs = np.stack(kernels.find_gaps(series.copy(), series.grid), axis=1)
        assert series.gap_runs().tolist() == runs.tolist()
        assert series.quality == kernels.score(series.copy(), series.grid, window.close_ns)


def test_row_written_ahead_leaves_the_bucket_of_the_base_bars_open() -> None:
    # 1m: base bars at 30 and 33 minutes, the latter still open; written directly at 38.
    window = ob.TimeManager("XNYS", hours=[["09:30", "10:30"]]).session_window(date(2025, 7, 2))
    root = ob.SessionData()
    root.begin(window)
    record = root.register_symbol_data(
        ob.SymbolSessionData("A", base_interval="1s", derived_intervals=["1m", "5m"])
    )
    minute = 60 * 10**9
    for at in (30 * minute, 33 * minute):
        record.append(window.open_ns + at, 1.0, 2.0, 0.5, 1.5, 1.0)
    record.add_bar("1m", ob.BarData(window.open_ns + 38 * minute, 1.0, 2.0, 0.5, 1.5, 1.0))
    record.set_intervals("1s", ["1m", "5m", "10m"])
    root.advance(window.close_ns)
    starts = (record.bars["5m"].data["timestamp"] - window.open_ns) // minute
    assert starts.tolist() == [30]
    assert record.bars["5m"].n_base is not None
    assert record.bars["5m"].n_base.tolist() == [2]
