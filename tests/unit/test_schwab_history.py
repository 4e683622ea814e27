"""Schwab's price history: the real library against a server on the loopback."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbell import DataManager, SessionConfig, TimeManager
from openbell.clock.live import LiveClock
from openbell.errors import DataSourceError, MissingLibraryError, SourceUnavailableError
from openbell.schema import BAR_DTYPE, NS_PER_MINUTE, BarArray
from openbell.sources.schwab import SchwabSource
from openbell.sources.schwab.login import client_from_environment
from openbell.sources.streaming import StreamingSource
from tests.servers.schwab import SchwabServer

DAY = date(2025, 7, 2)
DAYS = [date(2025, 6, 30), date(2025, 7, 1), DAY]
CLOCK = TimeManager("XNYS")
OPEN_NS = CLOCK.session_window(DAY).open_ns


class StoppedClock(LiveClock):
    """Says what it is told."""

    def __init__(self, ts_ns: int) -> None:
        self.ts_ns = ts_ns

    def now_ns(self) -> int:
        return self.ts_ns


def minutes(day: date, n: int = 390, first: int = 0) -> BarArray:
    """Minutes of a day; the close of minute k is 100 + k."""
    bars = np.zeros(n, BAR_DTYPE)
    k = np.arange(first, first + n)
    bars["timestamp"] = CLOCK.session_window(day).open_ns + k * NS_PER_MINUTE
    for name, shift in (("open", 0.0), ("high", 0.5), ("low", -0.5), ("close", 0.25)):
        bars[name] = 100.0 + k + shift
    bars["volume"] = 10.0 + k
    return bars


@pytest.fixture
def clock() -> StoppedClock:
    # Half past eleven in New York.
    return StoppedClock(OPEN_NS + 120 * NS_PER_MINUTE)


@pytest.fixture
def server(clock: StoppedClock) -> Iterator[SchwabServer]:
    with SchwabServer(clock=clock) as made:
        yield made


def by_symbol(answers: Iterable[tuple[str, Any, Any]]) -> dict[str, Any]:
    return {symbol: bars for symbol, bars, _ in answers}


def source_of(server: SchwabServer, **options: Any) -> SchwabSource:
    options = {"retry_wait_s": 0.01, "clock": server.clock} | options
    return SchwabSource(client_factory=server.client, **options)


def test_source_is_one_that_streams(server: SchwabServer) -> None:
    source = source_of(server)
    assert isinstance(source, StreamingSource)
    assert source.name == "schwab"
    assert repr(source) == "<SchwabSource>"


def test_load_of_a_past_day_gives_its_minutes(server: SchwabServer) -> None:
    for day in DAYS:
        server.put("AAPL", minutes(day))
    source = source_of(server)
    got = source.load("AAPL", "1m", CLOCK.session_window(DAYS[0]))
    assert got.dtype == BAR_DTYPE
    np.testing.assert_array_equal(got, minutes(DAYS[0]))


def test_load_of_days_one_after_the_other_asks_once(server: SchwabServer) -> None:
    for day in DAYS:
        server.put("AAPL", minutes(day))
    source = source_of(server)
    first = source.load("AAPL", "1m", CLOCK.session_window(DAYS[0]))
    second = source.load("AAPL", "1m", CLOCK.session_window(DAYS[1]))
    assert server.n_requests == 1
    np.testing.assert_array_equal(second, minutes(DAYS[1]))
    first["close"] = 0.0
    again = source.load("AAPL", "1m", CLOCK.session_window(DAYS[0]))
    np.testing.assert_array_equal(again, minutes(DAYS[0]))


def test_load_of_today_leaves_out_the_minute_that_is_being_made(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAY))
    source = source_of(server)
    window = CLOCK.session_window(DAY)
    # The server gives the minute that has just begun, too: 121 candles.
    assert len(source.load("AAPL", "1m", window)) == 120
    assert len(source.load("AAPL", "30m", window)) == 4
    assert dict(source.load_many(["AAPL"], "1m", window))["AAPL"]["close"][-1] == 219.25


def test_load_of_coarser_bars_is_aligned_to_the_open(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAYS[0]))
    window = CLOCK.session_window(DAYS[0])
    source = source_of(server)
    for interval, n in (("5m", 78), ("10m", 39), ("15m", 26), ("30m", 13)):
        bars = source.load("AAPL", interval, window)
        assert bars["timestamp"].tolist() == window.grid(interval).starts_ns.tolist()
        assert len(bars) == n
        step = 390 // n
        assert bars["open"][1] == 100.0 + step
        assert bars["volume"][0] == sum(10.0 + k for k in range(step))


def test_load_of_a_day_is_labelled_by_the_open(server: SchwabServer) -> None:
    for day in DAYS:
        server.put("AAPL", minutes(day))
    source = source_of(server)
    window = CLOCK.session_window(DAYS[1])
    assert source.load("AAPL", "1d", window).tolist() == [
        (window.open_ns, 100.0, 489.5, 99.5, 489.25, sum(10.0 + k for k in range(390)))
    ]
    # The server has a candle of today, too, which is not over.
    assert len(source.load("AAPL", "1d", CLOCK.session_window(DAY))) == 0
    assert server.n_requests == 1


def test_extended_hours_are_asked_for_only_when_wanted(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAY, 30, first=-30))
    span = (OPEN_NS - 60 * NS_PER_MINUTE, OPEN_NS)
    ((_, regular, _),) = source_of(server).load_between(["AAPL"], "1m", *span)
    ((_, extended, _),) = source_of(server, extended=True).load_between(["AAPL"], "1m", *span)
    assert (len(regular), len(extended)) == (0, 30)


def test_what_it_has_is_bounded_by_how_far_back_schwab_goes(server: SchwabServer) -> None:
    long_ago = [DAY - timedelta(days=n) for n in (400, 200, 40, 5)]
    session_days = [CLOCK.session_window(CLOCK.next_trading_day(day)).date for day in long_ago]
    for day in session_days:
        server.put("AAPL", minutes(day, 3))
    source = source_of(server)
    assert source.intervals("AAPL") == ["1m", "5m", "10m", "15m", "30m", "1d"]
    assert source.dates("AAPL", "1d") == (session_days[0], session_days[3])
    assert source.dates("AAPL", "5m") == (session_days[1], session_days[3])
    assert source.dates("AAPL", "1m") == (session_days[2], session_days[3])
    assert source.dates("AAPL", "1s") is None
    assert [source.has_data("AAPL", "1m", day) for day in session_days] == [0, 0, 1, 1]
    assert [source.has_data("AAPL", "30m", day) for day in session_days] == [0, 1, 1, 1]
    assert not source.has_data("AAPL", "1m", session_days[3] + timedelta(days=1))
    assert not source.has_data("AAPL", "1h", session_days[3])
    assert source.count("AAPL", "1m", CLOCK.session_window(DAY)) == 390
    assert server.n_requests == 2


def test_has_data_of_today_is_told_by_a_bar(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAYS[0]))
    source = source_of(server)
    assert not source.has_data("AAPL", "1m", DAY)
    server.put("AAPL", minutes(DAY, 3))
    assert source.has_data("AAPL", "1m", DAY)
    assert not source.has_data("AAPL", "1d", DAY)


def test_unknown_symbol_is_told_from_one_that_did_not_trade(server: SchwabServer) -> None:
    server.know("QUIET")
    source = source_of(server)
    assert source.has_symbol("QUIET")
    assert not source.has_symbol("NOPE")
    assert source.intervals("NOPE") == []
    assert source.dates("QUIET", "1m") is None
    span = (OPEN_NS, OPEN_NS + 10 * NS_PER_MINUTE)
    found = {
        symbol: bars for symbol, bars, _ in source.load_between(["QUIET", "NOPE"], "1m", *span)
    }
    assert len(found["QUIET"]) == 0
    assert type(found["NOPE"]) is not SourceUnavailableError
    assert str(found["NOPE"]) == "source 'schwab': knows no symbol NOPE"
    n = server.n_requests
    list(source.load_between(["QUIET", "NOPE"], "1m", *span))
    assert server.n_requests == n + 2  # who is known is not asked again


def test_many_symbols_are_asked_for_together(server: SchwabServer) -> None:
    symbols = [f"S{n}" for n in range(250)]
    server.know(*symbols[:-1])
    source = source_of(server)
    source.prime(symbols)
    assert server.n_requests == 3
    assert all(source.has_symbol(symbol) for symbol in symbols[:-1])
    source.prime(symbols)
    assert server.n_requests == 3
    assert not source.has_symbol(symbols[-1])


def test_symbol_without_a_quote_is_known_by_its_history(server: SchwabServer) -> None:
    server.put("GONE", minutes(DAYS[0]))
    server.rest.known.clear()
    source = source_of(server)
    assert source.has_symbol("GONE")
    assert source.has_data("GONE", "1m", DAYS[0])


def test_refused_request_is_an_unknown_symbol(server: SchwabServer) -> None:
    source = source_of(server)
    server.fail_rest(1, 404)
    with pytest.raises(DataSourceError, match="knows no symbol NOPE"):
        source.load("NOPE", "1m", CLOCK.session_window(DAY))
    server.know("AAPL")
    server.fail_rest(1, 400)
    with pytest.raises(DataSourceError, match="refuses to give those of these dates"):
        source.load("AAPL", "1m", CLOCK.session_window(DAY))


def test_load_between_gives_labels_from_the_start_to_before_the_end(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAY))
    server.put("MSFT", minutes(DAY, 5, first=20))
    source = source_of(server)
    start_ns, end_ns = OPEN_NS + 10 * NS_PER_MINUTE, OPEN_NS + 25 * NS_PER_MINUTE
    found = {
        symbol: bars
        for symbol, bars, _ in source.load_between(["MSFT", "AAPL", "MSFT"], "1m", start_ns, end_ns)
    }
    assert list(found) == ["MSFT", "AAPL"]
    assert found["AAPL"]["timestamp"].tolist() == list(range(start_ns, end_ns, NS_PER_MINUTE))
    assert len(found["MSFT"]) == 5
    extras = list(source.load_between(["AAPL"], "1m", start_ns, end_ns))
    assert [(symbol, len(bars), more) for symbol, bars, more in extras] == [("AAPL", 15, {})]
    ((_, nothing, _),) = source.load_between(["AAPL"], "1m", start_ns, start_ns)
    assert len(nothing) == 0
    ((_, refused, _),) = source.load_between(["AAPL"], "1d", start_ns, end_ns)
    assert isinstance(refused, DataSourceError)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_server_is_asked_again(server: SchwabServer, status: int) -> None:
    server.put("AAPL", minutes(DAY))
    server.fail_rest(2, status)
    bars = source_of(server).load("AAPL", "1m", CLOCK.session_window(DAY))
    assert len(bars) == 120
    assert server.n_requests == 3


def test_busy_server_is_given_up_after_three_times(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAY))
    server.put("MSFT", minutes(DAY))
    server.fail_rest(3, 503)
    source = source_of(server)
    found = {
        symbol: bars
        for symbol, bars, _ in source.load_between(
            ["AAPL", "MSFT"], "1m", OPEN_NS, OPEN_NS + NS_PER_MINUTE
        )
    }
    assert isinstance(found["AAPL"], SourceUnavailableError)
    assert found["AAPL"].reason == "bars of AAPL: it answered 503"
    assert len(found["MSFT"]) == 1


def test_server_that_is_gone_is_not_asked_for_every_symbol(server: SchwabServer) -> None:
    source = source_of(server)
    server.drop_rest(100)
    symbols = [f"S{n}" for n in range(20)]
    found = {
        symbol: bars
        for symbol, bars, _ in source.load_between(symbols, "1m", OPEN_NS, OPEN_NS + NS_PER_MINUTE)
    }
    assert list(found) == symbols
    assert all(isinstance(error, SourceUnavailableError) for error in found.values())
    assert server.n_requests == 6


def test_retry_after_is_kept_to(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAY))
    source = source_of(server)
    server.fail_rest(1, 429, retry_after=3600)
    with pytest.raises(SourceUnavailableError, match="429"):
        source.load("AAPL", "1m", CLOCK.session_window(DAY))
    assert server.n_requests == 1
    # For a minute at most nobody asks.
    waiting = threading.Thread(target=source.close)
    waiting.start()
    with pytest.raises(SourceUnavailableError, match="closed"):
        source.load("AAPL", "1m", CLOCK.session_window(DAY))
    waiting.join()
    assert server.n_requests == 1


def test_more_requests_than_allowed_wait_for_their_turn(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAY))
    source = source_of(server, requests_per_minute=2)
    for _ in range(2):
        source.load("AAPL", "1m", CLOCK.session_window(DAY))
    threading.Timer(0.05, source.close).start()
    with pytest.raises(SourceUnavailableError, match="closed"):
        source.load("AAPL", "1m", CLOCK.session_window(DAY))
    assert server.n_requests == 2


def test_late_answer_is_unavailable(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAY))
    server.rest_delay_s = 30.0
    source = source_of(server, timeout_s=0.05)
    with pytest.raises(SourceUnavailableError, match=r"no answer within 0\.05 s"):
        source.load("AAPL", "1m", CLOCK.session_window(DAY))


def test_garbage_is_asked_again_and_then_unavailable(server: SchwabServer) -> None:
    server.put("AAPL", minutes(DAY))
    source = source_of(server)
    window = CLOCK.session_window(DAY)
    server.rest_garbage(2)
    assert len(source.load("AAPL", "1m", window)) == 120
    for body in (b"[]", b'{"candles": ', b"\xff\xfe"):
        server.rest_garbage(3, body)
        with pytest.raises(SourceUnavailableError, match="not a JSON object"):
            source.load("AAPL", "1m", window)
    server.rest_garbage(1, b'{"symbol": "AAPL", "candles": {"a": 1}}')
    with pytest.raises(SourceUnavailableError, match="no list of candles"):
        source.load("AAPL", "1m", window)


def test_bad_candle_is_left_out_and_counted(server: SchwabServer) -> None:
    ms = OPEN_NS // 1_000_000
    good = {"open": 1, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 10}
    candles = [
        {**good, "datetime": ms + 60_000},
        {**good, "datetime": ms, "close": 1.25},
        {**good, "datetime": ms},
        {**good, "datetime": "now"},
        {**good, "datetime": 2**63},
        {**good, "datetime": True},
        {**good, "datetime": ms, "open": None},
        {key: value for key, value in good.items() if key != "low"} | {"datetime": ms},
        {**good, "datetime": ms, "volume": "many"},
        {**good, "datetime": ms, "high": 10**400},
        "candle",
        None,
    ]
    candles.append({**good, "datetime": ms + 120_000, "low": math.nan})  # the record's to judge
    server.rest_garbage(1, json.dumps({"candles": candles}).encode())
    source = source_of(server)
    bars = source.load("AAPL", "1m", CLOCK.session_window(DAY))
    assert math.isnan(bars["low"][2])
    bars = bars[:2]
    assert bars.tolist() == [
        (OPEN_NS, 1.0, 2.0, 0.5, 1.5, 10.0),
        (OPEN_NS + NS_PER_MINUTE, 1.0, 2.0, 0.5, 1.5, 10.0),
    ]
    assert source.refused == {"bad_time": 3, "not_a_candle": 6}


@pytest.mark.parametrize(("status", "told"), [(401, "log in again"), (403, "not entitled")])
def test_refused_credentials_are_not_tried_again(
    server: SchwabServer, status: int, told: str
) -> None:
    server.fail_rest(1, status)
    with pytest.raises(DataSourceError, match=told) as caught:
        source_of(server).load("AAPL", "1m", CLOCK.session_window(DAY))
    assert not isinstance(caught.value, SourceUnavailableError)
    assert server.n_requests == 1


def test_environment_that_lacks_something_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SCHWAB_API_KEY", "SCHWAB_APP_SECRET", "SCHWAB_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SCHWAB_API_KEY", "a-key")
    with pytest.raises(DataSourceError, match="SCHWAB_APP_SECRET, SCHWAB_TOKEN_PATH") as caught:
        SchwabSource()
    assert "a-key" not in str(caught.value)
    monkeypatch.setenv("SCHWAB_APP_SECRET", "a-secret")
    path = tmp_path / "token.json"
    monkeypatch.setenv("SCHWAB_TOKEN_PATH", str(path))
    with pytest.raises(DataSourceError, match=r"no token file .*token\.json"):
        SchwabSource()
    path.write_text('{"access_token": "a-token"}')
    with pytest.raises(DataSourceError, match=r"cannot be read \(ValueError\); log in") as caught:
        SchwabSource().has_symbol("AAPL")
    assert "a-token" not in "".join(traceback.format_exception(caught.value))
    assert caught.value.__cause__ is caught.value.__context__ is None


def expired(
    server: SchwabServer, monkeypatch: pytest.MonkeyPatch, path: Path, **options: Any
) -> SchwabSource:
    """A source whose client the library makes from its token file, of an expired token."""
    for name, value in server.token_file(path, expires_in=-60).items():
        monkeypatch.setenv(name, value)
    options = {"retry_wait_s": 0.01, "clock": server.clock} | options
    return SchwabSource(client_factory=lambda: server.reroute(client_from_environment()), **options)


def test_expired_token_is_renewed_once_by_the_library(
    server: SchwabServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.put("AAPL", minutes(DAY))
    source = expired(server, monkeypatch, tmp_path / "token.json")
    server.rest_delay_s = 0.05
    got: list[int] = []
    window = CLOCK.session_window(DAY)
    threads = [
        threading.Thread(target=lambda: got.append(len(source.load("AAPL", "1m", window))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert got == [120] * 4
    assert server.n_refreshes == 1
    written = json.loads((tmp_path / "token.json").read_text())
    assert written["token"]["access_token"] == server.credentials["access_token"]


def test_refused_renewal_asks_for_a_login_and_tells_no_secret(
    server: SchwabServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    source = expired(server, monkeypatch, tmp_path / "token.json")
    server.refuse_refresh = True
    with pytest.raises(DataSourceError, match="log in again") as caught:
        source.has_symbol("AAPL")
    assert not isinstance(caught.value, SourceUnavailableError)
    assert caught.value.__cause__ is caught.value.__context__ is None
    seen = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(source)
    seen += repr(vars(caught.value))
    assert not [name for name, value in server.credentials.items() if value in seen]


def test_token_endpoint_out_of_order_is_unavailable(
    server: SchwabServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.know("AAPL")
    source = expired(server, monkeypatch, tmp_path / "token.json")
    for fail in (lambda: server.fail_rest(3, 503), lambda: server.rest_garbage(3)):
        fail()
        with pytest.raises(SourceUnavailableError):
            source.has_symbol("AAPL")
    assert source.has_symbol("AAPL")


def test_configured_source_is_made_from_the_environment(
    server: SchwabServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in server.token_file(tmp_path / "token.json").items():
        monkeypatch.setenv(name, value)
    table = {"symbols": ["AAPL"], "streams": ["1m"], "start_date": DAY, "hours": "extended"}
    config = SessionConfig.from_dict({"session": table, "data": {"sources": ["schwab"]}})
    (source,) = DataManager.from_config(config).sources
    assert isinstance(source, SchwabSource)
    assert source.extended
    seen = repr(source) + repr(vars(source))
    assert not [name for name, value in server.credentials.items() if value in seen]


def test_missing_library_names_the_pip_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "schwab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_NoSchwab(), *sys.meta_path])
    with pytest.raises(MissingLibraryError) as caught:
        SchwabSource(client_factory=lambda: None)
    assert str(caught.value).endswith("which is not installed: pip install 'openbell[schwab]'")
    assert caught.value.library == "schwab-py"


class _NoSchwab:
    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name.partition(".")[0] == "schwab":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_importing_the_source_imports_no_library() -> None:
    code = (
        "import sys; import openbell.sources.schwab;"
        "print([m for m in ('schwab', 'httpx', 'websockets', 'authlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_loading_the_library_warns_of_nothing() -> None:
    code = (
        "from openbell.sources.schwab.login import sdk;"
        "sdk('schwab.auth'); sdk('schwab.streaming'); sdk('websockets.legacy.client')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
