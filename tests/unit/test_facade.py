"""The root and its records: registration, provenance, the day, adhoc data."""

from __future__ import annotations

from datetime import date, datetime

import pytest

import openbell as ob
from openbell.errors import (
    ArgumentError,
    BarRefused,
    EventRefused,
    IntervalError,
    ProvenanceError,
    RecordDetached,
    SessionStateError,
    TimeError,
    UnknownSymbolError,
)
from tests.facade_bars import CLOSE, NEXT_WINDOW, OPEN, WINDOW, at, bar, minutes, moment


@pytest.fixture
def root() -> ob.SessionData:
    made = ob.SessionData()
    made.begin(WINDOW)
    return made


@pytest.fixture
def rec(root: ob.SessionData) -> ob.SymbolSessionData:
    return root.register_symbol_data(
        ob.SymbolSessionData("AAPL", base_interval="1m", derived_intervals=["15m", "5m"])
    )


# Registration


def test_record_of_a_symbol_alone_has_the_defaults_of_the_specification() -> None:
    rec = ob.SymbolSessionData("AAPL")
    assert (rec.symbol, rec.base_interval, rec.derived_intervals) == ("AAPL", "1m", [])
    assert (rec.is_loaded, rec.meets_session_config_requirements) == (False, False)
    assert (rec.added_by, rec.auto_provisioned) == ("config", False)
    assert (rec.added_at, rec.upgraded_from_adhoc) == (None, False)
    assert (rec.session_volume, rec.session_high, rec.session_low) == (0.0, None, None)
    assert (rec.last_update, rec.session_metrics.last_update) == (None, None)
    assert (rec.bars_updated, rec.quotes_updated, rec.ticks_updated) == (False, False, False)
    assert (rec.historical_bars, rec.historical_indicators, rec.indicators) == ({}, {}, {})
    assert (rec.quality, rec.rejected) == ({"1m": None}, {})
    assert len(rec.quotes) == len(rec.ticks) == len(rec.bars_base) == 0


def test_record_takes_all_but_its_symbol_by_keyword() -> None:
    with pytest.raises(TypeError):
        ob.SymbolSessionData("AAPL", "1s")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"symbol": ""}, ArgumentError),
        ({"symbol": " AAPL"}, ArgumentError),
        ({"symbol": 7}, ArgumentError),
        ({"added_by": "me"}, ArgumentError),
        ({"capacity": -1}, ArgumentError),
        ({"added_at": datetime(2025, 7, 2, 10)}, TimeError),
        ({"base_interval": "7x"}, IntervalError),
        ({"base_interval": "1Min"}, IntervalError),
        ({"base_interval": "1m", "derived_intervals": ["1s"]}, IntervalError),
        ({"base_interval": "1m", "derived_intervals": ["5s"]}, IntervalError),
        ({"base_interval": "1m", "derived_intervals": ["1m"]}, IntervalError),
        ({"base_interval": "2m", "derived_intervals": ["5m"]}, IntervalError),
        ({"base_interval": "1m", "derived_intervals": ["2d"]}, IntervalError),
    ],
)
def test_record_refuses_arguments_that_cannot_be(
    arguments: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        ob.SymbolSessionData(**{"symbol": "AAPL", **arguments})  # type: ignore[arg-type]


def test_register_symbol_makes_a_record_once(root: ob.SessionData) -> None:
    made = root.register_symbol("AAPL")
    assert root.register_symbol("AAPL") is made
    assert root.get_symbol_data("AAPL") is root["AAPL"] is made
    assert "AAPL" in root
    assert len(root) == 1


def test_register_symbol_with_a_record_returns_that_record(root: ob.SessionData) -> None:
    rec = ob.SymbolSessionData("AAPL", base_interval="1s")
    assert root.register_symbol("AAPL", rec) is rec
    assert root.register_symbol_data(rec) is rec
    assert list(root) == [rec]


def test_register_symbol_of_another_symbol_is_refused(root: ob.SessionData) -> None:
    with pytest.raises(ArgumentError):
        root.register_symbol("AAPL", ob.SymbolSessionData("MSFT"))
    assert root.get_active_symbols() == set()


def test_register_symbol_data_a_second_time_keeps_the_first(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    with pytest.raises(SessionStateError):
        root.register_symbol_data(ob.SymbolSessionData("AAPL"))
    with pytest.raises(SessionStateError):
        root.register_symbol("AAPL", ob.SymbolSessionData("AAPL"))
    assert root["AAPL"] is rec


def test_register_symbol_data_in_a_second_root_is_refused(rec: ob.SymbolSessionData) -> None:
    other = ob.SessionData()
    with pytest.raises(SessionStateError):
        other.register_symbol_data(rec)
    assert len(other) == 0


def test_register_symbol_data_the_window_cannot_hold_leaves_no_record(
    root: ob.SessionData,
) -> None:
    with pytest.raises(IntervalError):
        root.register_symbol_data(ob.SymbolSessionData("AAPL", base_interval="2d"))
    assert root.get_active_symbols() == set()


def test_root_lists_what_its_records_are(root: ob.SessionData) -> None:
    root.register_symbol("RIVN")
    root.register_symbol_data(
        ob.SymbolSessionData(
            "AAPL",
            derived_intervals=["15m", "5m"],
            is_loaded=True,
            meets_session_config_requirements=True,
        )
    )
    assert root.get_active_symbols() == {"RIVN", "AAPL"}
    assert root.get_loaded_symbols() == {"AAPL"}
    assert root.get_symbols_with_derived() == {"AAPL": ["5m", "15m"]}
    assert [rec.symbol for rec in root] == ["RIVN", "AAPL"]
    root.get_active_symbols().clear()
    root.get_symbols_with_derived()["AAPL"].clear()
    assert root["AAPL"].derived_intervals == ["5m", "15m"]
    assert len(root) == 2


def test_root_without_the_symbol_says_what_it_holds(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    assert root.get_symbol_data("MSFT") is None
    with pytest.raises(UnknownSymbolError) as caught:
        root["MSFT"]
    assert (caught.value.symbol, caught.value.known) == ("MSFT", ("AAPL",))
    assert isinstance(caught.value, KeyError)


def test_get_session_data_is_one_and_others_are_apart() -> None:
    assert ob.get_session_data() is ob.get_session_data()
    assert ob.SessionData() is not ob.SessionData()


# Provenance, as document 000 has it


def test_provenance_of_config_symbol_is_bound_when_loaded() -> None:
    rec = ob.SymbolSessionData("AAPL")
    with pytest.raises(ProvenanceError) as caught:
        rec.is_loaded = True
    assert caught.value.symbol == "AAPL"
    assert len(caught.value.rules) == 1
    assert not rec.is_loaded
    rec.meets_session_config_requirements = True
    rec.is_loaded = True
    assert rec.is_loaded


def test_provenance_of_a_record_born_loaded_is_bound() -> None:
    with pytest.raises(ProvenanceError):
        ob.SymbolSessionData("AAPL", is_loaded=True)


def test_provenance_of_upgraded_symbol_keeps_when_it_came(root: ob.SessionData) -> None:
    root.advance(at(5))
    rec = root.add_bar("RIVN", "1m", bar(at(4)))
    rec.meets_session_config_requirements = True
    with pytest.raises(ProvenanceError):
        rec.is_loaded = True
    rec.upgraded_from_adhoc = True
    rec.added_by = "strategy"
    rec.is_loaded = True
    assert rec.added_at == moment(5)
    assert rec.auto_provisioned
    assert root.get_loaded_symbols() == {"RIVN"}


# The day


def test_begin_sets_the_clock_at_the_open(root: ob.SessionData) -> None:
    assert (root.now_ns, root.session_active) == (OPEN, True)
    assert root.current_session_date == date(2025, 7, 2)
    with pytest.raises(SessionStateError):
        root.begin(NEXT_WINDOW)
    assert root.window is WINDOW


def test_begin_gives_earlier_records_their_day() -> None:
    root = ob.SessionData()
    rec = root.register_symbol("AAPL")
    assert (root.window, root.current_session_date, root.now_ns) == (None, None, 0)
    with pytest.raises(SessionStateError):
        rec.append(at(0), 10, 11, 9, 10, 1)
    with pytest.raises(SessionStateError):
        root.add_bar("AAPL", "1m", bar(at(0)))
    with pytest.raises(SessionStateError):
        root.advance(at(1))
    root.begin(WINDOW)
    rec.append(at(0), 10, 11, 9, 10, 1)
    assert rec.get_bar_count() == 1


def test_begin_that_fails_leaves_no_day() -> None:
    root = ob.SessionData()
    root.register_symbol_data(ob.SymbolSessionData("AAPL", base_interval="2d"))
    with pytest.raises(IntervalError):
        root.begin(WINDOW)
    assert (root.window, root.session_active) == (None, False)


def test_advance_takes_instants_and_never_goes_back(root: ob.SessionData) -> None:
    root.advance(moment(3))
    assert root.now_ns == at(3)
    root.advance(at(3))
    with pytest.raises(TimeError):
        root.advance(at(2))
    with pytest.raises(TimeError):
        root.advance(datetime(2025, 7, 2, 15))
    assert root.now_ns == at(3)


def test_end_keeps_the_data_and_the_next_day_forgets_it(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 1, 2))
    root.end()
    assert (root.session_active, root.now_ns) == (False, CLOSE)
    assert rec.get_bar_count("5m") == 1
    assert rec.bars["1m"].n_missing == 387
    root.begin(NEXT_WINDOW)
    assert len(root) == 0
    assert root.current_session_date == date(2025, 7, 3)
    with pytest.raises(RecordDetached):
        rec.append(at(3), 10, 11, 9, 10, 1)


def test_remove_symbol_detaches_the_record_and_keeps_its_views(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    append = rec.append
    rec.append_block(minutes(0, 1, 2))
    view = rec.bars["1m"].data
    held = view.tolist()
    root.set_stream_active("AAPL", "bars")
    assert root.remove_symbol("AAPL") is True
    assert root.remove_symbol("AAPL") is False
    assert "AAPL" not in root
    assert root.active_streams == {}
    with pytest.raises(RecordDetached) as caught:
        append(at(3), 10, 11, 9, 10, 1)
    assert caught.value.symbol == "AAPL"
    for call in (
        lambda: rec.append_block(minutes(3)),
        lambda: rec.add_bar("5m", bar(at(5))),
        lambda: rec.add_quote(ob.QuoteData(moment(0), 1.0, 2.0)),
        lambda: rec.add_tick(ob.TickData(moment(0), 1.0)),
    ):
        with pytest.raises(RecordDetached):
            call()
    again = root.register_symbol("AAPL")
    again.append_block(minutes(7, 8, 9))
    assert view.tolist() == held
    assert rec.bars["1m"].data.tolist() == held


def test_removed_record_stands_still_while_the_day_goes_on(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 2))
    root.remove_symbol("AAPL")
    root.advance(at(300))
    assert rec.bars["1m"].n_expected == 3
    assert rec.get_bar_count("5m") == 0


def test_clear_forgets_everything(root: ob.SessionData, rec: ob.SymbolSessionData) -> None:
    rec.append_block(minutes(0, 1))
    view = rec.bars["1m"].data
    root.set_stream_active("AAPL", "bars")
    root.add_quote("AAPL", ob.QuoteData(moment(1), 1.0, 2.0))
    root.clear()
    assert (len(root), root.active_streams, root.window) == (0, {}, None)
    assert not root.data_arrival_event.is_set()
    assert root.latest("close", "1m").shape == (0,)
    assert view["close"].tolist() == [10.0, 11.0]
    with pytest.raises(RecordDetached):
        rec.append(at(3), 10, 11, 9, 10, 1)


# Adhoc data


def test_add_bar_of_an_unknown_symbol_provisions_it(root: ob.SessionData) -> None:
    root.advance(at(10))
    rec = root.add_bar("TSLA", "1m", bar(at(9)))
    assert root["TSLA"] is rec
    assert (rec.added_by, rec.auto_provisioned, rec.added_at) == ("adhoc", True, moment(10))
    assert not rec.meets_session_config_requirements
    assert not rec.is_loaded
    assert not rec.upgraded_from_adhoc
    assert (rec.base_interval, rec.get_bar_count()) == ("1m", 1)
    assert root.data_arrival_event.is_set()


def test_add_bar_that_is_refused_leaves_no_record(root: ob.SessionData) -> None:
    with pytest.raises(BarRefused) as caught:
        root.add_bar("TSLA", "1m", bar(CLOSE))
    assert (caught.value.symbol, caught.value.reason) == ("TSLA", "outside_session")
    with pytest.raises(IntervalError):
        root.add_bar("TSLA", "7x", bar(at(0)))
    assert len(root) == 0
    assert not root.data_arrival_event.is_set()


def test_add_bar_that_is_refused_is_counted_by_a_known_record(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    root.add_bar("AAPL", "1m", bar(at(0)))
    root.data_arrival_event.clear()
    for wrong in (bar(at(0, 1)), bar(at(1), volume=-1.0), bar(at(2), volume=-1.0)):
        with pytest.raises(BarRefused):
            root.add_bar("AAPL", "1m", wrong)
    assert rec.rejected == {"off_grid": 1, "negative_volume": 2}
    assert rec.get_bar_count() == 1
    assert not root.data_arrival_event.is_set()


def test_add_bar_that_is_refused_changes_no_interval_of_the_record(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 1))
    with pytest.raises(BarRefused):
        root.add_bar("AAPL", "1s", bar(CLOSE))
    with pytest.raises(IntervalError):
        root.add_bar("AAPL", "7s", bar(at(2)))
    assert rec.base_interval == "1m"
    assert rec.derived_intervals == ["5m", "15m"]
    rec.append(at(2), 10, 11, 9, 10, 1)
    assert rec.get_bar_count("1m") == 3


def test_add_bar_written_coarse_then_finer_makes_the_finer_the_base(root: ob.SessionData) -> None:
    root.add_bar("TSLA", "5m", bar(at(0), 50.0))
    root.add_bar("TSLA", "5m", bar(at(5), 60.0))
    rec = root["TSLA"]
    assert (rec.base_interval, rec.derived_intervals) == ("5m", [])
    assert rec.bars["5m"].n_base is None

    for k in range(5, 10):
        root.add_bar("TSLA", "1m", bar(at(k), float(k), 10.0))
    assert (rec.base_interval, rec.derived_intervals) == ("1m", ["5m"])
    five = rec.bars["5m"]
    # The first has no base bars and stays as written; the second is folded anew.
    assert five.data.tolist() == [
        (at(0), 50.0, 51.0, 49.0, 50.0, 100.0),
        (at(5), 5.0, 10.0, 4.0, 9.0, 50.0),
    ]
    assert five.n_base is not None
    assert five.n_base.tolist() == [0, 5]
    assert five.complete.tolist() == [False, True]
    assert five.complete_only()["timestamp"].tolist() == [at(5)]

    root.add_bar("TSLA", "1s", bar(at(9, 59), 90.0, 7.0))
    assert (rec.base_interval, rec.derived_intervals) == ("1s", ["1m", "5m"])
    one = rec.bars["1m"]
    assert one.n_base is not None
    assert one.n_base.tolist() == [0, 0, 0, 0, 1]
    assert one.data["close"].tolist() == [5.0, 6.0, 7.0, 8.0, 90.0]
    assert five.data["close"].tolist() == [50.0, 90.0]
    assert five.n_base.tolist() == [0, 1]
    assert rec.bars["5m"] is five


def test_add_bar_of_a_finer_base_keeps_what_it_does_not_cover(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(*range(12)))
    root.add_bar("AAPL", "1s", bar(at(6), 99.0, 1.0))
    root.advance(at(20))
    one, five = rec.bars["1m"], rec.bars["5m"]
    assert one.data["close"].tolist() == [10.0, 11, 12, 13, 14, 15, 99, 17, 18, 19, 20, 21]
    assert five.data.tolist() == [
        (at(0), 10.0, 15.0, 9.0, 14.0, 500.0),
        (at(5), 99.0, 100.0, 98.0, 99.0, 1.0),
    ]
    assert five.n_base is not None
    assert five.n_base.tolist() == [0, 1]


def test_add_bar_where_base_bars_speak_is_refused(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 1, 2, 3, 4, 5))
    before = rec.bars["5m"].data.tolist()
    for start in (at(0), at(5)):
        with pytest.raises(BarRefused, match="derived_slot"):
            root.add_bar("AAPL", "5m", bar(start, 99.0))
    root.add_bar("AAPL", "5m", bar(at(10), 99.0))
    assert rec.bars["5m"].data.tolist()[:1] == before
    assert rec.bars["5m"].data["close"].tolist()[-1] == 99.0
    assert rec.rejected == {"derived_slot": 2}


def test_add_bar_that_does_not_fold_is_kept_beside(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0, 1))
    root.add_bar("AAPL", "90s", bar(at(0), 42.0))
    series = rec.bars["90s"]
    assert (series.derived, series.base, series.is_base) == (False, None, False)
    assert rec.derived_intervals == ["5m", "15m"]
    assert list(rec.bars) == ["1m", "90s", "5m", "15m"]
    assert series.data["close"].tolist() == [42.0]


def test_add_quote_and_tick_that_cannot_be_stored_leave_no_record(root: ob.SessionData) -> None:
    with pytest.raises((TypeError, ValueError)):
        root.add_quote("TSLA", ob.QuoteData(moment(0), "low", 2.0))
    with pytest.raises((TypeError, ValueError)):
        root.add_tick("TSLA", ob.TickData(moment(0), "low"))
    assert len(root) == 0
    assert not root.data_arrival_event.is_set()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ((float("nan"), 2.0, 1.0, 1.0), "not_finite"),
        ((1.0, float("inf"), 1.0, 1.0), "not_finite"),
        ((1.0, 2.0, 1.0, float("nan")), "not_finite"),
        ((1.0, 2.0, -1.0, 1.0), "negative_size"),
        ((1.0, 2.0, 1.0, -0.5), "negative_size"),
    ],
)
def test_add_quote_that_is_not_sound_is_refused_and_counted(
    root: ob.SessionData, rec: ob.SymbolSessionData, values: tuple[float, ...], reason: str
) -> None:
    with pytest.raises(EventRefused) as caught:
        root.add_quote("AAPL", ob.QuoteData(moment(0), *values))
    error = caught.value
    assert (error.symbol, error.kind, error.reason) == ("AAPL", "quote", reason)
    assert (error.ts_ns, repr(error.values)) == (at(0), repr(values))
    assert error.expected in str(error)
    assert rec.rejected == {f"quote_{reason}": 1}
    assert (len(rec.quotes), rec.quotes_updated, rec.get_latest_quote()) == (0, False, None)
    assert not root.data_arrival_event.is_set()


def test_add_tick_that_is_not_sound_is_refused_and_counted(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    for price, size in ((float("nan"), 1.0), (1.0, float("inf")), (1.0, -1.0)):
        with pytest.raises(EventRefused):
            root.add_tick("AAPL", ob.TickData(moment(0), price, size))
    with pytest.raises(BarRefused):
        root.add_bar("AAPL", "1m", bar(CLOSE))
    assert rec.rejected == {
        "outside_session": 1,
        "tick_not_finite": 2,
        "tick_negative_size": 1,
    }
    assert (len(rec.ticks), rec.ticks_updated) == (0, False)


def test_add_quote_and_tick_of_the_session_are_those_from_open_to_close(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    for ts_ns in (OPEN, CLOSE):
        root.add_quote("AAPL", ob.QuoteData(ts_ns, 1.0, 2.0))
        root.add_tick("AAPL", ob.TickData(ts_ns, 1.0))
    for ts_ns in (OPEN - 1000, CLOSE + 1000):
        with pytest.raises(EventRefused, match=r"quote at .* refused: outside_session; it must"):
            root.add_quote("AAPL", ob.QuoteData(ts_ns, 1.0, 2.0))
        with pytest.raises(EventRefused, match="tick at"):
            root.add_tick("AAPL", ob.TickData(ts_ns, 1.0))
    assert (len(rec.quotes), len(rec.ticks)) == (2, 2)
    assert rec.rejected == {"quote_outside_session": 2, "tick_outside_session": 2}


def test_add_quote_and_tick_of_negative_prices_and_crossed_markets_are_taken(
    root: ob.SessionData,
) -> None:
    rec = root.add_quote("CL", ob.QuoteData(moment(0), -37.0, -38.0))
    root.add_tick("CL", ob.TickData(moment(0), -37.63, 1.0))
    assert (rec.quotes[0].bid, rec.ticks[0].price, rec.rejected) == (-37.0, -37.63, {})


def test_add_quote_and_tick_that_are_refused_leave_no_record(root: ob.SessionData) -> None:
    with pytest.raises(EventRefused):
        root.add_quote("TSLA", ob.QuoteData(CLOSE + 1000, 1.0, 2.0))
    with pytest.raises(EventRefused):
        root.add_tick("TSLA", ob.TickData(moment(0), float("nan")))
    assert len(root) == 0
    assert not root.data_arrival_event.is_set()


def test_add_quote_made_from_a_bar_is_not_stored(
    root: ob.SessionData, rec: ob.SymbolSessionData
) -> None:
    rec.append_block(minutes(0))
    quote = rec.get_latest_quote()
    assert quote is not None
    with pytest.raises(ArgumentError, match="made from a bar"):
        root.add_quote("AAPL", quote)
    assert len(rec.quotes) == 0


def test_add_quote_and_tick_of_unknown_symbols_provision_them(root: ob.SessionData) -> None:
    root.advance(at(1))
    for rec in (
        root.add_quote("TSLA", ob.QuoteData(moment(0), 1.0, 2.0)),
        root.add_tick("RIVN", ob.TickData(moment(0), 1.0)),
    ):
        assert (rec.added_by, rec.auto_provisioned, rec.added_at) == ("adhoc", True, moment(1))
    with pytest.raises(SessionStateError):
        ob.SessionData().add_tick("RIVN", ob.TickData(moment(0), 1.0))
