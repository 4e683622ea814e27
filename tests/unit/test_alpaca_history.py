"""Alpaca over REST: the library's own client against a server on the loopback."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from datetime import date

import numpy as np
import pytest

from openbell.clock import SessionWindow, TimeManager
from openbell.config import SessionConfig
from openbell.errors import ArgumentError, DataSourceError, IntervalError, SourceUnavailableError
from openbell.schema import (
    BAR_DTYPE,
    NS_PER_MINUTE,
    NS_PER_SECOND,
    QUOTE_DTYPE,
    TICK_DTYPE,
    BarArray,
)
from openbell.sources import DataManager
from openbell.sources.alpaca import AlpacaSource
from openbell.sources.protocol import DataSource
from openbell.sources.streaming import StreamingSource
from tests.alpaca_feed import DAY, OPEN_NS, WINDOW, Make, SetClock, failure, minutes
from tests.servers.alpaca import AlpacaServer


@pytest.fixture
def source(make_alpaca: Make) -> AlpacaSource:
    return make_alpaca()


def test_source_is_a_streaming_source(source: AlpacaSource) -> None:
    assert isinstance(source, DataSource)
    assert isinstance(source, StreamingSource)
    assert source.name == "alpaca"


@pytest.mark.parametrize("name", ["APCA_API_KEY_ID", "APCA_API_SECRET_KEY"])
@pytest.mark.parametrize("value", [None, "", "  "])
def test_credentials_absent_are_asked_for_by_both_names(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None
) -> None:
    monkeypatch.setenv("APCA_API_KEY_ID", "K")
    monkeypatch.setenv("APCA_API_SECRET_KEY", "S")
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    error = failure(AlpacaSource)
    assert "APCA_API_KEY_ID and APCA_API_SECRET_KEY in the environment" in str(error)


def test_credentials_with_odd_characters_are_refused_without_showing_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APCA_API_KEY_ID", "K")
    monkeypatch.setenv("APCA_API_SECRET_KEY", "se\ncret")
    error = failure(AlpacaSource)
    assert "APCA_API_SECRET_KEY holds what is no key" in str(error)
    assert "cret" not in str(error)


def test_credentials_with_a_newline_at_the_end_are_taken(
    alpaca: AlpacaServer, make_alpaca: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in alpaca.environment.items():
        monkeypatch.setenv(name, f"{value}\n")
    alpaca.put("AAPL", minutes(3))
    assert make_alpaca().has_symbol("AAPL")


@pytest.mark.parametrize("settings", [{"feed": "otc"}, {"adjustment": "none"}])
def test_unknown_settings_are_refused_by_name(make_alpaca: Make, settings: dict[str, str]) -> None:
    [(name, value)] = settings.items()
    with pytest.raises(ArgumentError, match=f"{name}: received '{value}', expected one of"):
        make_alpaca(**settings)


def test_url_may_end_in_a_slash(alpaca: AlpacaServer, make_alpaca: Make) -> None:
    alpaca.put("A", minutes(3))
    assert make_alpaca(url=f"{alpaca.rest_url}/").has_symbol("A")


def test_intervals_are_those_that_begin_at_the_open(
    alpaca: AlpacaServer, make_alpaca: Make
) -> None:
    alpaca.put("AAPL", minutes(3))
    assert make_alpaca().intervals("AAPL") == ["1m", "5m", "15m", "30m", "1d"]
    with_seconds = make_alpaca(seconds=True)
    assert with_seconds.intervals("AAPL") == ["1s", "1m", "5m", "15m", "30m", "1d"]
    assert with_seconds.intervals("NOPE") == []
    assert (make_alpaca().stream_intervals, with_seconds.stream_intervals) == (
        ("1m",),
        ("1s", "1m"),
    )


def test_has_symbol_tells_unknown_from_quiet_and_remembers(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    alpaca.put("OLD", minutes(1))
    alpaca.put_trades("ODD", np.array([(OPEN_NS, 3.5, 2.0)], TICK_DTYPE))
    alpaca.invalid_symbols.add("B@D")
    assert source.has_symbol("OLD")
    assert source.has_symbol("ODD")
    n = alpaca.n_requests
    assert source.has_symbol("OLD")
    assert source.has_symbol("ODD")
    assert alpaca.n_requests == n
    assert not source.has_symbol("NOPE")
    assert not source.has_symbol("B@D")
    assert not source.has_symbol("old")
    alpaca.put("NOPE", minutes(1))
    assert source.has_symbol("NOPE")


@pytest.mark.parametrize("symbol", ["", "OLD,NEW", "OLD ", "O\tLD"])
def test_has_symbol_of_what_is_no_symbol_is_false_unasked(
    alpaca: AlpacaServer, source: AlpacaSource, symbol: str
) -> None:
    alpaca.put("OLD", minutes(1))
    assert not source.has_symbol(symbol)
    assert alpaca.n_requests == 0


def test_prime_asks_for_a_hundred_symbols_in_one_request(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    symbols = [f"S{k}" for k in range(250)]
    for symbol in symbols:
        alpaca.put(symbol, minutes(1))
    source.prime(symbols)
    assert alpaca.n_requests == 3
    assert all(source.has_symbol(symbol) for symbol in symbols)
    assert alpaca.n_requests == 3


def test_dates_and_count_bound_what_there_is(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.put("A", minutes())
    source.clock = SetClock(WINDOW.close_ns)
    assert source.dates("A", "1m") == (date(2016, 1, 1), DAY)
    assert source.dates("A", "1h") is None
    assert source.dates("NOPE", "1m") is None
    assert source.count("A", "1m", WINDOW) == 390 == len(source.load("A", "1m", WINDOW))
    assert source.count("NOPE", "1m", WINDOW) == 0
    assert source.adjustment("A", "1m", DAY) == "raw"


def test_has_data_of_many_symbols_is_one_request_a_day(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    symbols = [f"S{k}" for k in range(60)]
    for symbol in symbols:
        alpaca.put(symbol, minutes(2))
    source.prime(symbols)
    n = alpaca.n_requests
    assert all(source.has_data(symbol, "1m", DAY) for symbol in symbols)
    assert not any(source.has_data(symbol, "5m", date(2025, 7, 3)) for symbol in symbols)
    assert alpaca.n_requests == n + 2
    assert not source.has_data("S1", "1h", DAY)
    assert not source.has_data("NOPE", "1m", DAY)


def test_has_data_of_today_is_asked_anew(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.put_trades("A", np.array([(OPEN_NS, 3.5, 2.0)], TICK_DTYPE))
    source.clock = SetClock(OPEN_NS)
    assert not source.has_data("A", "1m", DAY)
    alpaca.put("A", minutes(1))
    assert source.has_data("A", "1m", DAY)
    # What was not there that morning is no answer for the day after.
    alpaca.put_trades("B", np.array([(OPEN_NS, 3.5, 2.0)], TICK_DTYPE))
    alpaca.put("B", minutes(1, first=1))
    alpaca.clock = SetClock(OPEN_NS + NS_PER_MINUTE)
    assert source.has_symbol("B")
    assert not source.has_data("B", "1m", DAY)
    alpaca.clock = None
    source.clock = SetClock(OPEN_NS + 24 * 60 * NS_PER_MINUTE)
    assert source.has_data("B", "1m", DAY)


def test_load_follows_small_pages_to_the_end(alpaca: AlpacaServer, make_alpaca: Make) -> None:
    alpaca.put("A", minutes())
    alpaca.page_size = 37
    source = make_alpaca()
    bars = source.load("A", "1m", WINDOW)
    assert bars.dtype == BAR_DTYPE
    assert bars.tobytes() == minutes().tobytes()
    assert alpaca.n_requests == 11
    path, query = alpaca.rest.requests[-1]
    assert path == "/v2/stocks/bars"
    assert query["page_token"] == "A|370"
    assert (query["feed"], query["adjustment"], query["timeframe"]) == ("iex", "raw", "1Min")


def test_load_asks_for_the_feed_and_adjustment_configured(
    alpaca: AlpacaServer, make_alpaca: Make
) -> None:
    make_alpaca(feed="sip", adjustment="split").load("A", "1m", WINDOW)
    query = alpaca.rest.requests[-1][1]
    assert (query["feed"], query["adjustment"]) == ("sip", "split")


def test_load_keeps_to_the_window(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.put("A", minutes(500, first=-60))
    bars = source.load("A", "1m", WINDOW)
    assert len(bars) == 390
    assert bars["timestamp"][0] == OPEN_NS
    noon = SessionWindow(DAY, [(OPEN_NS, OPEN_NS + 60 * NS_PER_MINUTE),
                               (OPEN_NS + 90 * NS_PER_MINUTE, WINDOW.close_ns)])  # fmt: skip
    assert len(source.load("A", "1m", noon)) == 360


def test_load_leaves_out_what_is_not_over(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.put("A", minutes())
    source.clock = SetClock(OPEN_NS + 10 * NS_PER_MINUTE - 1)
    assert len(source.load("A", "1m", WINDOW)) == 9
    source.clock = SetClock(OPEN_NS + 10 * NS_PER_MINUTE)
    assert len(source.load("A", "1m", WINDOW)) == 10
    assert len(source.load("A", "5m", WINDOW)) == 2
    assert len(source.load("A", "1d", WINDOW)) == 0
    source.clock = SetClock(WINDOW.close_ns)
    assert len(source.load("A", "1d", WINDOW)) == 1


def test_load_of_coarser_bars_is_alpacas_own(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.put("A", minutes())
    half_hours = source.load("A", "30m", WINDOW)
    assert half_hours["timestamp"].tolist() == WINDOW.grid("30m").starts_ns.tolist()
    [day] = source.load("A", "1d", WINDOW)
    assert day["timestamp"] == OPEN_NS
    assert (day["open"], day["close"]) == (100.0, minutes()["close"][-1])
    assert day["volume"] == minutes()["volume"].sum()


def test_load_refuses_what_does_not_begin_at_the_open(source: AlpacaSource) -> None:
    odd = SessionWindow(DAY, [(OPEN_NS + 7 * NS_PER_MINUTE, WINDOW.close_ns)])
    assert "5m bars do not begin at 13:37" in str(failure(lambda: source.load("A", "5m", odd)))
    assert len(source.load("A", "1m", odd)) == 0
    with pytest.raises(IntervalError, match="1h"):
        source.load("A", "1h", WINDOW)
    with pytest.raises(IntervalError, match="1s"):
        source.load("A", "1s", WINDOW)


def test_load_days_is_one_request_for_several_sessions(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    calendar = TimeManager("XNYS")
    days = [date(2025, 7, 2), date(2025, 7, 3), date(2025, 7, 7), date(2025, 7, 8)]
    windows = [calendar.session_window(day) for day in days]
    for window in (windows[0], windows[1], windows[3]):
        bars = minutes(800, first=-60)
        bars["timestamp"] += window.open_ns - OPEN_NS
        alpaca.put("A", bars)
    for interval in ("1m", "30m", "1d"):
        n = alpaca.n_requests
        found = source.load_days("A", interval, windows)
        assert alpaca.n_requests == n + 1
        assert list(found) == [days[0], days[1], days[3]]
        for window in windows:
            alone = source.load("A", interval, window)
            assert found.get(window.date, alone[:0]).tobytes() == alone.tobytes()
    # The third of July ends at 13:00.
    assert len(source.load_days("A", "1m", windows)[days[1]]) == 210
    assert source.load_days("A", "1m", []) == {}
    alpaca.invalid_symbols.add("B")
    assert "invalid symbol: B" in str(failure(lambda: source.load_days("B", "1m", windows)))


def test_load_many_gives_every_symbol_once_in_order(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    alpaca.page_size = 400
    symbols = [f"S{k}" for k in range(120)]
    for k, symbol in enumerate(symbols):
        alpaca.put(symbol, minutes(10, price=50 + k))
    asked = [*reversed(symbols), "NOPE", "S3"]
    found = list(source.load_many(asked, "1m", WINDOW))
    assert [symbol for symbol, _ in found] == asked[:-1]
    by_symbol = dict(found)
    assert len(by_symbol.pop("NOPE")) == 0
    for k, symbol in enumerate(symbols):
        assert by_symbol[symbol].tobytes() == minutes(10, price=50 + k).tobytes()
    assert alpaca.n_requests == 4


def test_load_many_with_a_refused_symbol_gives_the_others(
    alpaca: AlpacaServer, source: AlpacaSource, caplog: pytest.LogCaptureFixture
) -> None:
    symbols = [f"S{k}" for k in range(30)]
    for symbol in symbols:
        alpaca.put(symbol, minutes(4))
    alpaca.invalid_symbols.add("S11")
    found = dict(source.load_many(symbols, "1m", WINDOW))
    assert [symbol for symbol, bars in found.items() if len(bars) != 4] == ["S11"]
    assert [r.message for r in caplog.records if r.levelno >= logging.WARNING] == [
        "no bars of S11: source 'alpaca': S11: answered 400: invalid symbol: S11"
    ]


def test_load_between_names_the_refused_symbol_alone(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    for symbol in ("A", "B", "C"):
        alpaca.put(symbol, minutes(4))
    alpaca.invalid_symbols.add("B")
    asked = source.load_between(["A", "B", "x y", "C"], "1m", OPEN_NS, WINDOW.close_ns)
    found = {symbol: bars for symbol, bars, _ in asked}
    assert list(found) == ["A", "B", "x y", "C"]
    assert len(found["A"]) == len(found["C"]) == 4  # type: ignore[arg-type]
    for symbol in ("B", "x y"):
        assert isinstance(found[symbol], DataSourceError)
        assert not isinstance(found[symbol], SourceUnavailableError)
        assert symbol in str(found[symbol])


def test_load_between_takes_labels_from_start_to_before_end(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    alpaca.put("A", minutes())
    start_ns, end_ns = OPEN_NS + 5 * NS_PER_MINUTE, OPEN_NS + 8 * NS_PER_MINUTE
    [(_, bars, _)] = source.load_between(["A"], "1m", start_ns, end_ns)
    assert isinstance(bars, np.ndarray)
    assert bars.tobytes() == minutes()[5:8].tobytes()
    n = alpaca.n_requests
    [(_, none, _)] = source.load_between(["A"], "1m", end_ns, end_ns)
    assert len(none) == 0  # type: ignore[arg-type]
    assert alpaca.n_requests == n
    [(_, day, _)] = source.load_between(["A"], "1d", start_ns, end_ns)
    assert isinstance(day, DataSourceError)


def test_load_between_aligns_them_with_what_is_over(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    alpaca.put("A", minutes(5), trade_counts=[7, 8, 9, 10, 11], vwaps=[1.5, 2.5, 3.5, 4.5, 5.5])
    source.clock = SetClock(OPEN_NS + 3 * NS_PER_MINUTE)
    alpaca.invalid_symbols.add("B")
    found = list(source.load_between(["A", "B"], "1m", OPEN_NS, WINDOW.close_ns))
    symbol, bars, extras = found[0]
    assert symbol == "A"
    assert len(bars) == 3  # type: ignore[arg-type]
    assert extras["trade_count"].tolist() == [7, 8, 9]
    assert extras["vwap"].tolist() == [1.5, 2.5, 3.5]
    assert extras["vwap"].dtype == np.float64
    assert found[1][2] == {}


def test_seconds_are_made_of_trades(alpaca: AlpacaServer, make_alpaca: Make) -> None:
    at = [
        OPEN_NS + 100,
        OPEN_NS + 500_000_001,
        OPEN_NS + NS_PER_SECOND,
        OPEN_NS + 3 * NS_PER_SECOND,
    ]
    trades = np.array(
        [(at[0], 10.0, 5.0), (at[1], 11.0, 5.0), (at[2], 99.0, 3.0), (at[3], 12.0, 7.0)], TICK_DTYPE
    )
    # An odd lot sets no price: its second has no bar.
    alpaca.put_trades("A", trades, [["@"], ["@"], ["@", "I"], ["@"]])
    alpaca.page_size = 3
    source = make_alpaca(seconds=True)
    [(_, bars, extras)] = source.load_between(["A"], "1s", OPEN_NS, WINDOW.close_ns)
    assert isinstance(bars, np.ndarray)
    assert bars.tolist() == [
        (OPEN_NS, 10.0, 11.0, 10.0, 11.0, 10.0),
        (OPEN_NS + 3 * NS_PER_SECOND, 12.0, 12.0, 12.0, 12.0, 7.0),
    ]
    assert extras["trade_count"].tolist() == [2, 1]
    assert extras["vwap"].tolist() == [10.5, 12.0]
    assert source.load("A", "1s", WINDOW).tobytes() == bars.tobytes()
    [(_, nothing, _)] = source.load_between(["NOPE"], "1s", OPEN_NS, WINDOW.close_ns)
    assert len(nothing) == 0  # type: ignore[arg-type]


def test_ticks_and_quotes_keep_their_nanoseconds(
    alpaca: AlpacaServer, source: AlpacaSource
) -> None:
    trades = np.array([(OPEN_NS + 123_456_789, 3.5, 2.0), (OPEN_NS + 123_456_789, 3.6, 1.0),
                       (WINDOW.close_ns, 9.0, 9.0)], TICK_DTYPE)  # fmt: skip
    quotes = np.array([(OPEN_NS + 1, 3.5, 3.6, 2.0, 4.0), (OPEN_NS + 2, 3.4, 3.7, 1.0, 9.0)],
                      QUOTE_DTYPE)  # fmt: skip
    alpaca.put_trades("A", trades)
    alpaca.put_quotes("A", quotes)
    alpaca.page_size = 1
    assert source.load_ticks("A", WINDOW).tobytes() == trades[:2].tobytes()
    assert source.load_quotes("A", WINDOW).tobytes() == quotes.tobytes()
    assert len(source.load_ticks("NOPE", WINDOW)) == len(source.load_quotes("NOPE", WINDOW)) == 0


def test_threads_may_ask_at_once(alpaca: AlpacaServer, source: AlpacaSource) -> None:
    alpaca.page_size = 50
    symbols = [f"S{k}" for k in range(8)]
    for k, symbol in enumerate(symbols):
        alpaca.put(symbol, minutes(100, price=10 + k))
    found: dict[str, BarArray] = {}

    def load(symbol: str) -> None:
        assert source.has_data(symbol, "1m", DAY)
        found[symbol] = source.load(symbol, "1m", WINDOW)

    threads = [threading.Thread(target=load, args=(symbol,)) for symbol in symbols]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    for k, symbol in enumerate(symbols):
        assert found[symbol].tobytes() == minutes(100, price=10 + k).tobytes()


def test_missing_library_names_the_pip_line_and_nothing_is_imported_before() -> None:
    code = """
import sys
import openbell.sources.alpaca
loaded = [name for name in ("alpaca", "requests", "websockets", "msgpack") if name in sys.modules]
assert not loaded, loaded
sys.modules["alpaca"] = None
from openbell.errors import MissingLibraryError
try:
    openbell.sources.alpaca.AlpacaSource()
except MissingLibraryError as error:
    print(error)
"""
    environment = {"APCA_API_KEY_ID": "K", "APCA_API_SECRET_KEY": "S", "PATH": ""}
    environment["PYTHONPATH"] = ":".join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == (
        "the Alpaca source needs alpaca-py, which is not installed: pip install 'openbell[alpaca]'"
    )


@pytest.mark.parametrize(("streams", "seconds"), [(["1m", "5m"], False), (["1s", "1m"], True)])
def test_configuration_makes_the_source(
    alpaca: AlpacaServer, streams: list[str], seconds: bool
) -> None:
    config = SessionConfig.from_dict(
        {
            "session": {"start_date": DAY, "symbols": ["A"], "streams": streams},
            "data": {
                "sources": ["alpaca"],
                "alpaca": {"url": alpaca.rest_url, "feed": "sip", "adjustment": "all"},
            },
        }
    )
    alpaca.put("A", minutes(5))
    manager = DataManager.from_config(config)
    [source] = manager.sources
    assert isinstance(source, AlpacaSource)
    assert source.adjustment("A", "1m", DAY) == "all"
    assert ("1s" in manager.available_intervals("A")) is seconds
    assert len(manager.load_historical_bars("A", "1m", [DAY])[DAY]) == 5
    source.close()
