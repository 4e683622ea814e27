"""Fill views: every slot that has ended as a row, made-up ones flagged, nothing stored."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.errors import ArgumentError
from openbell.schema import BAR_DTYPE, BAR_FIELDS, FILLED_DTYPE
from tests.engine import begin, give, give_model, model_of, plans, snapshot
from tests.export_session import at, make_session, ns
from tests.facade_bars import NEXT_WINDOW, WINDOW, bar, minutes
from tests.meddled import MeddledSeries
from tests.model import Row
from tests.strategies import MINUTE, real_windows, streams, utc_ns

NAN = math.nan


def expected_rows(
    slots: Sequence[tuple[int, int]],
    n_ended: int,
    held: Sequence[Row],
    method: str,
    evicted: bool,
) -> list[tuple[float, ...]]:
    """What a fill view shows, told row by row."""
    bars = {row.ts: row for row in held}
    rows: list[tuple[float, ...]] = []
    close = NAN
    for start, _ in slots[:n_ended]:
        if evicted and held and start < held[0].ts:
            continue
        if start in bars:
            rows.append((*bars[start][:6], False))
            close = bars[start].close
        elif method == "flat":
            rows.append((start, close, close, close, close, 0.0, True))
        else:
            rows.append((start, NAN, NAN, NAN, NAN, NAN, True))
    return rows


def same(seen: np.ndarray, wanted: Sequence[tuple[float, ...]]) -> None:
    assert seen.dtype == FILLED_DTYPE
    rows = np.array(wanted, dtype=FILLED_DTYPE)
    for name in FILLED_DTYPE.names or ():
        np.testing.assert_allclose(seen[name], rows[name], rtol=1e-9, atol=1e-9, err_msg=name)


@given(st.data())
def test_filled_is_what_a_plain_reading_of_the_slots_gives(data: st.DataObject) -> None:
    window, base, derived = data.draw(plans())
    capacity = data.draw(st.sampled_from([0, 0, 1, 5, 40]))
    root, record = begin(window, base, derived, capacity=capacity)
    model = model_of(window, base, derived, capacity)
    for call in data.draw(streams(window, base)):
        give(root, record, call)
        give_model(model, call)
        # What a ring lets go of and when follows the reads, once time has passed.
        assert all(len(series) == len(series.data) for series in record.bars.values())
    before = snapshot(record)
    for name, series in record.bars.items():
        for method in ("flat", "nan"):
            wanted = expected_rows(
                model.slots[name], model.n_expected(name), model.held(name), method,
                model.n_evicted(name) > 0,
            )  # fmt: skip
            same(series.filled(method), wanted)
    assert snapshot(record) == before


def test_filled_flat_carries_the_close_and_knows_nothing_before_the_first_bar() -> None:
    root, record = begin(WINDOW, "1m")
    record.append_block(minutes(2, 5))
    root.advance(WINDOW.open_ns + 7 * MINUTE)
    rows = record.bars["1m"].filled()
    assert ((rows["timestamp"] - WINDOW.open_ns) // MINUTE).tolist() == list(range(7))
    assert rows["is_filled"].tolist() == [True, True, False, True, True, False, True]
    np.testing.assert_array_equal(rows["close"], [NAN, NAN, 12, 12, 12, 15, 15])
    np.testing.assert_array_equal(rows["open"], [NAN, NAN, 12, 12, 12, 15, 15])
    np.testing.assert_array_equal(rows["high"], [NAN, NAN, 13, 12, 12, 16, 15])
    np.testing.assert_array_equal(rows["low"], [NAN, NAN, 11, 12, 12, 14, 15])
    assert rows["volume"].tolist() == [0, 0, 100, 0, 0, 100, 0]


def test_filled_nan_makes_up_no_value() -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(1, 3))
    rows = record.bars["1m"].filled("nan")
    assert rows["is_filled"].tolist() == [True, False, True, False]
    for name in BAR_FIELDS[1:]:
        assert np.isnan(rows[name]).tolist() == [True, False, True, False]


def test_filled_ends_at_the_clock_and_at_the_close_of_the_day() -> None:
    root, record = begin(WINDOW, "1m", ["5m", "1h", "1d"])
    record.append_block(minutes(0))
    assert {name: len(series.filled()) for name, series in record.bars.items()} == {
        "1m": 1, "5m": 0, "1h": 0, "1d": 0,
    }  # fmt: skip
    root.advance(WINDOW.open_ns + 5 * MINUTE - 1)
    assert (len(record.bars["1m"].filled()), len(record.bars["5m"].filled())) == (4, 0)
    root.advance(WINDOW.open_ns + 5 * MINUTE)
    assert (len(record.bars["1m"].filled()), len(record.bars["5m"].filled())) == (5, 1)
    root.advance(WINDOW.close_ns + 60 * MINUTE)
    assert {name: len(series.filled()) for name, series in record.bars.items()} == {
        "1m": 390, "5m": 78, "1h": 7, "1d": 1,
    }  # fmt: skip


def test_filled_has_no_rows_in_the_lunch_break() -> None:
    window = real_windows()["lunch"]
    root, record = begin(window, "1m", ["1h"])
    root.advance(window.close_ns)
    rows = record.bars["1m"].filled()
    assert len(rows) == 150 + 180
    steps = np.diff(rows["timestamp"])
    assert np.flatnonzero(steps != MINUTE).tolist() == [149]
    assert rows["timestamp"][150] == utc_ns("2025-07-02T05:00")
    hours = [utc_ns(f"2025-07-02T{hour}") for hour in ("01:30", "02:30", "03:30")]
    assert record.bars["1h"].filled()["timestamp"].tolist()[:3] == hours


def test_filled_has_a_stub_before_an_early_close() -> None:
    root, record = begin(NEXT_WINDOW, "1m", ["1h"])
    root.advance(NEXT_WINDOW.close_ns)
    assert len(record.bars["1m"].filled()) == 210
    assert len(record.bars["1h"].filled()) == 4


def test_filled_ring_begins_with_the_oldest_bar_it_holds() -> None:
    root, record = begin(WINDOW, "1m", capacity=2)
    record.append_block(minutes(1, 3, 5, 7, 9))
    root.advance(WINDOW.open_ns + 11 * MINUTE)
    series = record.bars["1m"]
    assert series.n_evicted > 0
    oldest = int(series.data["timestamp"][0])
    rows = series.filled()
    assert rows["timestamp"][0] == oldest
    assert not rows["is_filled"][0]
    assert not np.isnan(rows["close"]).any()
    assert len(rows) == 11 - (oldest - WINDOW.open_ns) // MINUTE


def test_filled_shows_a_late_bar_in_its_place_and_carries_it_on() -> None:
    _, record = begin(WINDOW, "1m")
    record.append_block(minutes(0, 4))
    series = record.bars["1m"]
    before = series.filled()
    record.append_block(minutes(2))
    np.testing.assert_array_equal(series.filled()["close"], [10, 10, 12, 12, 14])
    np.testing.assert_array_equal(before["close"], [10, 10, 10, 10, 14])


def test_filled_of_a_written_series_covers_the_slots_up_to_its_newest_bar() -> None:
    root = ob.SessionData()
    root.begin(WINDOW)
    record = root.add_bar("TSLA", "1m", bar(WINDOW.open_ns))
    root.add_bar("TSLA", "7m", bar(WINDOW.open_ns + 14 * MINUTE, close=20.0))
    rows = record.bars["7m"].filled()
    assert rows["is_filled"].tolist() == [True, True, False]


def test_filled_without_a_day_is_empty() -> None:
    record = ob.SymbolSessionData("AAPL")
    assert record.bars["1m"].filled().dtype == FILLED_DTYPE
    assert len(record.bars["1m"].filled("nan")) == 0


def test_filled_of_a_removed_record_is_what_it_was() -> None:
    root, record = begin(WINDOW, "1m")
    record.append_block(minutes(0, 2))
    series = record.bars["1m"]
    before = series.filled().tobytes()
    root.remove_symbol("AAPL")
    assert series.filled().tobytes() == before


@pytest.mark.parametrize("method", ["ffill", "", "Flat", None, 0])
def test_filled_by_another_method_is_refused_by_name(method: object) -> None:
    _, record = begin(WINDOW, "1m")
    with pytest.raises(ArgumentError, match="'flat' or 'nan'") as refused:
        record.bars["1m"].filled(method)
    assert refused.value.received == method


def test_filled_is_not_in_the_dump_nor_in_the_counts() -> None:
    root = make_session()
    before = root.to_json()
    for record in root:
        for series in record.bars.values():
            series.filled("flat")["close"] = 1.0
            series.filled("nan")
    assert root.to_json() == before


def test_filled_rows_are_aligned_and_begin_like_bars() -> None:
    assert FILLED_DTYPE.itemsize == 56
    assert (FILLED_DTYPE.names or ())[:6] == BAR_DTYPE.names
    rows = make_session()["AAPL"].bars["1m"].filled()
    for name in FILLED_DTYPE.names or ():
        assert rows[name].flags.aligned
    assert int(rows["timestamp"][3]) == ns(at(13, 33))
    assert bool(rows["is_filled"][3])


@pytest.mark.parametrize("capacity", [0, 1, 7])
def test_filled_is_of_one_instant_whatever_is_appended_meanwhile(capacity: int) -> None:
    _, record = begin(WINDOW, "1m", capacity=capacity)
    minute = itertools.count(step=3)

    def append() -> None:
        k = next(minute)
        record.append(WINDOW.open_ns + k * MINUTE, k, k, k, k, 1)

    append()
    series = MeddledSeries(record, "1m", append)
    while next(minute) < 300:
        rows = series.filled()
        # The newest bar's slot is the last that has ended; a ring begins with its oldest bar.
        assert not rows["is_filled"][[0, -1]].any()
        at_minute = (rows["timestamp"] - WINDOW.open_ns) // MINUTE
        assert np.diff(at_minute).tolist() == [1] * (len(rows) - 1)
        bars = rows[~rows["is_filled"]]
        assert bars["close"].tolist() == ((bars["timestamp"] - WINDOW.open_ns) // MINUTE).tolist()
