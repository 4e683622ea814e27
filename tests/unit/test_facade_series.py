"""A series as its reader sees it: views, reductions, single bars; and quotes and trades."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest

import openbell as ob
from openbell.errors import ArgumentError, BarRefused, SchemaError, TimeError
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE
from tests.facade_bars import WINDOW, at, bar, minutes, moment
from tests.strategies import MINUTE, make_bars, utc_ns, window_of

FIELDS = ("open", "high", "low", "close", "volume")


@pytest.fixture
def root() -> ob.SessionData:
    made = ob.SessionData()
    made.begin(WINDOW)
    return made


@pytest.fixture
def rec(root: ob.SessionData) -> ob.SymbolSessionData:
    return root.register_symbol_data(
        ob.SymbolSessionData("AAPL", base_interval="1m", derived_intervals=["5m", "15m", "1h"])
    )


# Views


def test_series_says_what_it_is(rec: ob.SymbolSessionData) -> None:
    base, five, hour = rec.bars["1m"], rec.bars["5m"], rec.bars["1h"]
    assert (base.interval, base.derived, base.is_base, base.base, base.source) == (
        "1m", False, True, None, None,
    )  # fmt: skip
    assert (five.interval, five.derived, five.is_base, five.base, five.source) == (
        "5m", True, False, "1m", "1m",
    )  # fmt: skip
    assert (hour.base, hour.source) == ("1m", "15m")
    assert {series.symbol for series in rec.bars.values()} == {"AAPL"}
    assert base.grid is WINDOW.grid("1m")
    assert ob.SymbolSessionData("AAPL").bars["1m"].grid is None


def test_series_stays_the_same_object_when_intervals_change(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    before = dict(rec.bars)
    root.add_bar("AAPL", "30m", bar(at(0)))
    assert list(rec.bars) == ["1m", "5m", "15m", "30m", "1h"]
    assert all(rec.bars[name] is series for name, series in before.items())


def test_data_is_a_read_only_view_that_ends_at_the_closed_bars(rec: ob.SymbolSessionData) -> None:
    rec.append_block(minutes(0, 1, 2))
    view = rec.bars["1m"].data
    assert (view.dtype, view.shape) == (BAR_DTYPE, (3,))
    assert not view.flags.writeable
    assert not view.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        view["close"][0] = 0.0
    with pytest.raises(ValueError, match="WRITEABLE"):
        view.flags.writeable = True
    assert not isinstance(view.base, np.ndarray)
    with pytest.raises(TypeError):
        memoryview(view.base)  # type: ignore[arg-type]
    rec.append_block(minutes(3))
    assert view.shape == (3,)
    assert rec.bars["5m"].data.shape == (0,)


def test_data_is_the_same_memory_each_time(rec: ob.SymbolSessionData) -> None:
    rec.append_block(minutes(0, 1, 2))
    series = rec.bars["1m"]
    assert np.shares_memory(series.data, series.window(2))
    assert np.shares_memory(series.data, series.close(2))
    assert not np.shares_memory(series.data, series.copy())


def test_view_of_a_grown_series_keeps_its_bars(rec: ob.SymbolSessionData) -> None:
    rec.append_block(minutes(0, 1, 2))
    view = rec.bars["1m"].data
    held = view.tolist()
    rec.append_block(minutes(*range(3, 300)))
    assert view.tolist() == held
    assert rec.bars["1m"].data.tolist() == minutes(*range(300)).tolist()


def test_view_follows_a_correction_and_a_copy_does_not(rec: ob.SymbolSessionData) -> None:
    rec.append_block(minutes(0, 1, 2))
    series = rec.bars["1m"]
    view, copied = series.data, series.copy()
    revision = series.revision
    rec.append(at(1), 10, 20, 10, 15, 100)
    assert view["close"].tolist() == [10.0, 15.0, 12.0]
    assert copied["close"].tolist() == [10.0, 11.0, 12.0]
    assert copied.flags.writeable
    assert series.revision == revision + 1
    assert series.copy(2).tolist() == series.window(2).tolist()


def test_window_and_fields_are_the_newest_rows(rec: ob.SymbolSessionData) -> None:
    bars = minutes(0, 1, 3, 4, 8, 9)
    rec.append_block(bars)
    series = rec.bars["1m"]
    for n in (0, 1, 4, 6, 7, 10_000):
        newest = bars[len(bars) - min(n, len(bars)) :]
        assert series.window(n).tolist() == newest.tolist()
        assert series.timestamp(n).tolist() == newest["timestamp"].tolist()
        for field in FIELDS:
            column = getattr(series, field)(n)
            assert column.tolist() == newest[field].tolist()
            assert not column.flags.writeable
    assert series.timestamp(2).dtype == np.int64
    assert series.close(2).dtype == np.float64
    assert series.window(3).flags.c_contiguous
    with pytest.raises(ArgumentError):
        series.window(-1)
    with pytest.raises(ArgumentError):
        series.close(-1)


def test_reductions_agree_with_numpy(rec: ob.SymbolSessionData, rng: np.random.Generator) -> None:
    rec.append_block(make_bars(WINDOW, "1m", 0.9, rng, whole_volumes=False))
    series = rec.bars["1m"]
    data = series.data
    for n in (1, 2, 3, 4, 5, 20, 97, len(data), len(data) + 50):
        for field in FIELDS:
            column = data[field][-n:]
            assert series.sum(field, n) == pytest.approx(math.fsum(column), rel=1e-12, abs=1e-9)
            assert series.mean(field, n) == pytest.approx(column.mean(), rel=1e-12)
            assert series.std(field, n) == pytest.approx(column.std(), rel=1e-12, abs=1e-12)
            assert series.min(field, n) == column.min()
            assert series.max(field, n) == column.max()


def test_reductions_of_no_bars_are_not_numbers(rec: ob.SymbolSessionData) -> None:
    series = rec.bars["1m"]
    for n in (0, 5):
        assert series.sum("close", n) == 0.0
        for reduce in (series.mean, series.std, series.min, series.max):
            assert math.isnan(reduce("close", n))
    assert math.isnan(series.last_close)
    for field in ("timestamp", "price", ""):
        with pytest.raises(ArgumentError):
            series.mean(field, 1)
    with pytest.raises(ArgumentError):
        series.max("close", -1)


# Single bars


def test_last_is_a_copy_of_the_newest_closed_bar(rec: ob.SymbolSessionData) -> None:
    series = rec.bars["1m"]
    assert series.last is None
    rec.append_block(minutes(0, 1))
    last = series.last
    assert last == ob.BarData(moment(1), 11.0, 12.0, 10.0, 11.0, 100.0, "AAPL", "1m")
    rec.append(at(1), 10, 20, 10, 15, 100)
    assert last is not None
    assert last.close == 11.0
    assert series.last_close == 15.0


def test_open_bar_is_built_from_all_base_bars_so_far(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    assert rec.bars["1h"].open_bar is None
    rec.append_block(minutes(*range(5), 5, 6))
    assert rec.bars["1m"].open_bar is None
    assert rec.bars["5m"].open_bar == ob.BarData(at(5), 15.0, 17.0, 14.0, 16.0, 200.0, "AAPL", "5m")
    for name in ("15m", "1h"):
        assert rec.bars[name].open_bar == ob.BarData(
            at(0), 10.0, 17.0, 9.0, 16.0, 700.0, "AAPL", name
        )
        assert len(rec.bars[name]) == 0
    # The clock closes it also when no more bars come.
    root.advance(at(15))
    assert rec.bars["5m"].open_bar is None
    assert rec.bars["15m"].open_bar is None
    assert rec.bars["15m"].last == ob.BarData(at(0), 10.0, 17.0, 9.0, 16.0, 700.0, "AAPL", "15m")
    assert rec.bars["1h"].open_bar is not None


def test_asof_never_tells_the_future(rec: ob.SymbolSessionData) -> None:
    rec.append_block(minutes(0, 1, 2, 3, 4, 7))
    one, five = rec.bars["1m"], rec.bars["5m"]
    assert one.asof(at(0)) is None
    assert one.asof(at(1) - 1) is None
    instants: list[tuple[int | datetime, int]] = [
        (at(1), at(0)),
        (moment(1, 59), at(0)),
        (at(5), at(4)),
        (at(7, 59), at(4)),
        (at(8), at(7)),
        (at(300), at(7)),
    ]
    for when, label in instants:
        found = one.asof(when)
        assert found is not None
        assert found.ts_ns == label
    assert five.asof(at(5) - 1) is None
    found = five.asof("2025-07-02T09:35:00-04:00")
    assert found is not None
    assert (found.ts_ns, found.close) == (at(0), 14.0)
    with pytest.raises(TimeError):
        one.asof(datetime(2025, 7, 2, 14))


def test_asof_of_every_second_agrees_with_a_search_over_ends(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 1, 4, 5, 6, 59, 60, 61, 389))
    root.end()
    for name in ("1m", "5m", "1h"):
        series = rec.bars[name]
        grid = WINDOW.grid(name)
        ends = dict(zip(grid.starts_ns.tolist(), grid.ends_ns.tolist(), strict=True))
        labels = series.data["timestamp"].tolist()
        for second in range(-60, 390 * 60 + 60, 15):
            now = at(0, second)
            closed = [label for label in labels if ends[label] <= now]
            found = series.asof(now)
            assert (found.ts_ns if found else None) == (closed[-1] if closed else None)


def test_complete_only_leaves_out_bars_that_lack_base_bars(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 1, 2, 3, 4, 5, 6, 8, 9))
    root.advance(at(10))
    five = rec.bars["5m"]
    assert five.n_base is not None
    assert five.n_base.tolist() == [5, 4]
    assert not five.n_base.flags.writeable
    assert five.n_base_full().tolist() == [5, 5]
    assert five.complete.tolist() == [True, False]
    assert five.complete_only().tolist() == five.data[:1].tolist()
    rec.append_block(minutes(7))
    assert five.complete_only().tolist() == five.data.tolist()
    assert rec.n_late == 1
    assert rec.bars["1m"].n_base is None
    assert rec.bars["1m"].complete_only().tolist() == rec.bars["1m"].data.tolist()


def test_complete_counts_what_a_stub_before_the_close_can_have(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(*range(360, 390)))
    hour = rec.bars["1h"]
    assert hour.n_base is not None
    assert hour.n_base.tolist() == [30]
    assert hour.complete.tolist() == [True]
    assert hour.data["timestamp"].tolist() == [at(360)]


def test_ring_smaller_than_the_day_lets_go_of_the_oldest(root: ob.SessionData) -> None:
    rec = root.register_symbol_data(ob.SymbolSessionData("AAPL", capacity=10))
    rec.append_block(minutes(*range(20)))
    series = rec.bars["1m"]
    early = series.window(20)
    assert (len(series), series.n_evicted) == (20, 0)
    rec.append_block(minutes(20))
    assert (len(series), series.n_evicted) == (11, 10)
    assert series.data.tolist() == minutes(*range(10, 21)).tolist()
    assert early.tolist() == minutes(*range(20)).tolist()
    assert (series.n_expected, series.n_missing, series.quality) == (21, 0, 100.0)
    assert (rec.session_volume, rec.session_low, rec.session_high) == (2100.0, 9.0, 31.0)
    with pytest.raises(BarRefused, match="evicted"):
        rec.append(at(3), 1, 1, 1, 1, 1)
    assert rec.rejected == {"evicted": 1}


# One bar, one quote, one trade


def test_ring_over_a_break_counts_its_gaps() -> None:
    morning = utc_ns("2025-07-02T01:30")
    afternoon = utc_ns("2025-07-02T05:00")
    window = window_of(
        ("2025-07-02T01:30", "2025-07-02T01:40"), ("2025-07-02T05:00", "2025-07-02T05:10")
    )
    root = ob.SessionData()
    root.begin(window)
    rec = root.register_symbol_data(ob.SymbolSessionData("A", base_interval="1m", capacity=2))
    # The seventh and the eighth bar each make room: what goes ends with the morning.
    for start in [morning + k * MINUTE for k in (1, 9)] + [
        afternoon + k * MINUTE for k in (0, 1, 2, 4, 5, 7)
    ]:
        rec.append(start, 10.0, 11.0, 9.0, 10.0, 1.0)
    series = rec.bars["1m"]
    assert series.n_evicted >= 2
    assert [(gap.start_ns, gap.bar_count) for gap in series.gaps] == [
        (morning, 1),
        (morning + 2 * MINUTE, 7),
        (afternoon + 3 * MINUTE, 1),
        (afternoon + 6 * MINUTE, 1),
    ]
    assert (series.n_gaps, series.n_missing) == (4, 10)


def test_bar_takes_instants_with_an_offset_only() -> None:
    same = [
        ob.BarData(when, 1, 2, 0.5, 1.5, 3)
        for when in (at(0), moment(0), "2025-07-02T09:30:00-04:00")
    ]
    assert same[0] == same[1] == same[2]
    assert len(set(same)) == 1
    assert (same[0].ts_ns, same[0].timestamp) == (at(0), moment(0))
    with pytest.raises(TimeError):
        ob.BarData(datetime(2025, 7, 2, 13, 30), 1, 2, 0.5, 1.5)
    with pytest.raises(AttributeError):
        same[0].close = 2.0  # type: ignore[misc]


def test_events_take_instants_with_an_offset_only() -> None:
    assert ob.QuoteData(at(0), 1.0, 2.0) == ob.QuoteData(moment(0), 1.0, 2.0)  # type: ignore[arg-type]
    for make in (ob.QuoteData, ob.TickData):
        with pytest.raises(TimeError):
            make(datetime(2025, 7, 2, 13, 30), 1.0, 2.0)


def test_quotes_and_ticks_come_back_as_they_went_in(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    quotes = [
        ob.QuoteData(moment(0, s), 10.0 - s, 10.5 + s, 100.0, 200.0, symbol="AAPL")
        for s in (0, 2, 1)
    ]
    ticks = [ob.TickData(moment(0, s), 10.0 + s, 5.5, symbol="AAPL") for s in range(3)]
    for quote, tick in zip(quotes, ticks, strict=True):
        root.add_quote("AAPL", quote)
        root.add_tick("AAPL", tick)
    assert list(rec.quotes) == quotes
    assert list(rec.ticks) == ticks
    assert (rec.quotes[-1], rec.ticks[0:2]) == (quotes[2], ticks[:2])
    assert (rec.quotes.data.dtype, rec.ticks.data.dtype) == (QUOTE_DTYPE, TICK_DTYPE)
    assert rec.quotes.data["timestamp"].tolist() == [at(0, 0), at(0, 2), at(0, 1)]
    assert rec.ticks.data["price"].tolist() == [10.0, 11.0, 12.0]
    assert not rec.quotes.data.flags.writeable
    assert (rec.quotes_updated, rec.ticks_updated, rec.bars_updated) == (True, True, False)
    with pytest.raises(IndexError):
        rec.ticks[3]


def test_quotes_of_a_record_without_any_are_an_empty_array(rec: ob.SymbolSessionData) -> None:
    assert (rec.quotes.data.dtype, rec.quotes.data.shape) == (QUOTE_DTYPE, (0,))
    assert (rec.ticks.data.dtype, rec.ticks.data.shape) == (TICK_DTYPE, (0,))
    assert (len(rec.quotes), rec.ticks.n_evicted, list(rec.ticks)) == (0, 0, [])


def test_ticks_keep_the_newest_and_count_what_went(
    rec: ob.SymbolSessionData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openbell.symbol.EVENT_CAPACITY", 64)
    for k in range(129):
        rec.add_tick(ob.TickData(moment(0), float(k)))
    assert rec.ticks.n_evicted == 64
    assert [tick.price for tick in rec.ticks] == [float(k) for k in range(64, 129)]


def test_event_ring_slides_and_views_keep_their_rows() -> None:
    from openbell._native.arena import Arena
    from openbell._native.events import EventRing

    ring = EventRing(TICK_DTYPE, 64, Arena())
    rows = np.zeros(129, dtype=TICK_DTYPE)
    rows["price"] = np.arange(129)
    ring.append(rows[:128])
    held = ring.data
    assert ring.append(rows[128:]) == 65
    assert (len(ring), ring.n_evicted) == (65, 64)
    assert ring.data["price"].tolist() == list(range(64, 129))
    assert held["price"].tolist() == list(range(128))
    with pytest.raises(SchemaError):
        ring.append(np.zeros(1, dtype=QUOTE_DTYPE))
