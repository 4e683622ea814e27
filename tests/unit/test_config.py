"""The configuration: what is read, and how each mistake is told."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from copy import deepcopy
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from openbell.config import SessionConfig
from openbell.errors import ConfigError

FULL = """
[session]
name = "morning"
exchange = "XNYS"
mode = "backtest"
start_date = 2025-07-01
end_date = 2025-07-03
symbols = ["AAPL", "BRK.B", "BTC-USD"]
streams = ["1s", "1m", "5m", "1d"]
base = "1s"
hours = [["04:00", "09:30"], ["09:30", "24:00"]]
anchor = "clock"
on_incomplete = "skip"
speed = 60
strict = true

[[historical]]
trailing_days = 3
intervals = ["1m", "1d"]
symbols = ["AAPL"]

[[historical]]
trailing_days = 10
intervals = ["1d"]

[historical_indicators.avg_volume_2d]
type = "trailing_average"
field = "volume"
period = "2d"

[[indicators]]
name = "sma_20"
type = "SMA"
interval = "5m"
parameters = { timeperiod = 20, adjusted = true, weight = 0.5, kind = "simple" }

[data]
sources = ["parquet", "synthetic"]
parquet = "data/bars"
synthetic = { seed = 7, fill_rate = 0.25 }

[export]
intervals = ["1m", "5m"]
bars = false
csv_interval = "5m"
"""

SMALL: dict[str, Any] = {
    "session": {"start_date": "2025-07-02", "symbols": ["AAPL", "MSFT"], "streams": ["1s", "1m"]},
    "data": {"sources": ["synthetic"]},
}
LIVE: dict[str, Any] = {
    "session": {"mode": "live", "symbols": ["AAPL"], "streams": ["1m"]},
    "data": {"sources": ["alpaca"]},
}


def changed(raw: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy of `raw` with one value set."""
    copy = deepcopy(raw)
    *tables, last = path.split(".")
    table = copy
    for name in tables:
        table = table.setdefault(name, {})
    table[last] = value
    return copy


def refusal(raw: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_dict(raw)
    return caught.value


def test_full_config_is_read_under_the_names_of_its_keys() -> None:
    config = SessionConfig.from_toml(FULL)
    session = config.session
    assert (session.name, session.exchange, session.mode) == ("morning", "XNYS", "backtest")
    assert (session.start_date, session.end_date) == (date(2025, 7, 1), date(2025, 7, 3))
    assert session.symbols == ("AAPL", "BRK.B", "BTC-USD")
    assert (session.streams, session.base) == (("1s", "1m", "5m", "1d"), "1s")
    assert session.hours == (("04:00", "09:30"), ("09:30", "24:00"))
    assert (session.anchor, session.on_incomplete) == ("clock", "skip")
    assert (session.speed, session.strict) == (60.0, True)
    first, second = config.historical
    assert (first.trailing_days, first.intervals, first.symbols) == (3, ("1m", "1d"), ("AAPL",))
    assert (second.trailing_days, second.intervals, second.symbols) == (10, ("1d",), None)
    average = config.historical_indicators["avg_volume_2d"]
    assert (average.type, average.field, average.period) == ("trailing_average", "volume", "2d")
    (sma,) = config.indicators
    assert (sma.name, sma.type, sma.interval) == ("sma_20", "SMA", "5m")
    assert sma.parameters == {
        "timeperiod": 20, "adjusted": True, "weight": 0.5, "kind": "simple",
    }  # fmt: skip
    assert config.data.sources == ("parquet", "synthetic")
    assert config.data.parquet == "data/bars"
    assert (config.data.synthetic.seed, config.data.synthetic.fill_rate) == (7, 0.25)
    assert config.export.intervals == ("1m", "5m")
    assert (config.export.bars, config.export.csv_interval) == (False, "5m")
    assert config.gap_fill is None


def test_small_config_has_the_documented_defaults() -> None:
    config = SessionConfig.from_dict(SMALL)
    session = config.session
    assert session.end_date == session.start_date == date(2025, 7, 2)
    assert (session.exchange, session.mode, session.hours) == ("XNYS", "backtest", "regular")
    assert (session.anchor, session.on_incomplete) == ("session", "keep")
    assert (session.speed, session.strict, session.base) == (0.0, False, None)
    assert config.historical == config.indicators == ()
    assert config.historical_indicators == {}
    assert config.data.parquet is None
    assert (config.data.synthetic.seed, config.data.synthetic.fill_rate) == (0, 1.0)
    assert config.export.intervals is None
    assert (config.export.bars, config.export.csv_interval) == (True, "1m")


def test_live_config_has_no_dates_and_may_fill_gaps() -> None:
    raw = changed(LIVE, "gap_fill", {"max_retries": 2, "retry_interval_seconds": 1.5})
    config = SessionConfig.from_dict(raw)
    assert config.session.start_date is config.session.end_date is None
    assert config.gap_fill is not None
    assert (config.gap_fill.max_retries, config.gap_fill.retry_interval_seconds) == (2, 1.5)


def test_config_is_frozen() -> None:
    config = SessionConfig.from_dict(SMALL)
    with pytest.raises(AttributeError):
        config.session.symbols = ()  # type: ignore[misc]


def test_json_of_the_same_shape_gives_the_same_config(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    path.write_text(json.dumps(SMALL))
    assert SessionConfig.load(path) == SessionConfig.from_dict(SMALL)


def test_config_made_in_code_is_checked_too() -> None:
    config = SessionConfig.from_dict(SMALL)
    session = msgspec.structs.replace(config.session, streams=("1m", "7x"))
    with pytest.raises(ConfigError, match=r"session\.streams\[1\]"):
        msgspec.structs.replace(config, session=session)


NAN = float("nan")

#: What is set in the small config, the key named, what the message says is expected.
MISTAKES = [
    ("sesion", {}, "sesion", "'session'"),
    ("session.symbol", ["AAPL"], "session.symbol", "did you mean 'symbols'"),
    ("session.hours", "always", "session.hours", "'extended', 'regular'"),
    ("session.start_date", 20250702, "session.start_date", "a date such as"),
    ("session.start_date", "July 2", "session.start_date", "a date such as"),
    ("session.start_date", "2025-02-30", "session.start_date", "a date such as"),
    ("session.start_date", datetime(2025, 7, 2), "session.start_date", "a date such as"),
    ("session.start_date", None, "session.start_date", "mode is 'backtest'"),
    ("session.end_date", "2025-07-01", "session.end_date", "not before start_date, 2025-07-02"),
    ("session.name", "", "session.name", "not empty"),
    ("session.mode", "paper", "session.mode", "'backtest', 'live'"),
    ("session.mode", 3, "session.mode", "'backtest', 'live'"),
    ("session.anchor", "noon", "session.anchor", "'clock', 'session'"),
    ("session.on_incomplete", "drop", "session.on_incomplete", "'keep', 'skip'"),
    ("session.strict", 1, "session.strict", "true or false"),
    ("session.speed", -1, "session.speed", "at least 0"),
    ("session.speed", float("nan"), "session.speed", "at least 0"),
    ("session.speed", float("inf"), "session.speed", "finite"),
    ("session.speed", "fast", "session.speed", "a number at least 0"),
    ("session.symbols", [], "session.symbols", "at least one"),
    ("session.symbols", "AAPL", "session.symbols", "an array"),
    ("session.symbols", ["AAPL", 7], "session.symbols[1]", "text"),
    ("session.symbols", ["AAPL", ""], "session.symbols[1]", "not empty"),
    ("session.symbols", ["AAPL", "BR K"], "session.symbols[1]", "without spaces"),
    ("session.symbols", ["AAPL", "MSFT", "AAPL"], "session.symbols[2]", "session.symbols[0]"),
    ("session.streams", [], "session.streams", "at least one"),
    ("session.streams", ["1s", "1m", "7x"], "session.streams[2]", "<n>s, <n>m, <n>h or 1d"),
    ("session.streams", ["1s", "2d"], "session.streams[1]", "at most '1d'"),
    ("session.streams", ["1s", "1Min"], "session.streams[1]", "'1m'"),
    ("session.streams", ["1s", "60s"], "session.streams[1]", "'1m'"),
    ("session.streams", ["1s", "1m", "1s"], "session.streams[2]", "session.streams[0]"),
    ("session.streams", "1m", "session.streams", "an array"),
    ("session.streams", ["1s", None], "session.streams[1]", "text"),
    ("session.streams", ["0s"], "session.streams[0]", "an interval"),
    ("session.base", "5s", "session.base", "divides all of session.streams, and so '1s'"),
    ("session.base", "1d", "session.base", "'1s'"),
    ("session.base", "1Min", "session.base", "'1m'"),
    ("session.base", "fine", "session.base", "an interval"),
    ("session.base", "", "session.base", "not empty"),
    ("session.base", 1, "session.base", "text"),
    ("session.base", ["1s"], "session.base", "text"),
    ("session.hours", [], "session.hours", "at least one"),
    ("session.hours", [["09:30"]], "session.hours[0]", "a pair"),
    ("session.hours", [["09:30", 16]], "session.hours[0][1]", "text"),
    ("session.hours", [["09:30", "4pm"]], "session.hours[0]", "'09:30', '16:00'"),
    ("session.hours", [["16:00", "09:30"]], "session.hours[0]", "close after it opens"),
    ("session.hours", [["09:00", "12:00"], ["11:00", "16:00"]], "session.hours[1]", "overlapping"),
    ("session.hours", [["09:00", "12:00"]] * 2, "session.hours[1]", "overlapping"),
    ("historical", [{"trailing_days": 0, "intervals": ["1m"]}], "historical[0].trailing_days",
     "an integer at least 1"),
    ("historical", [{"trailing_days": 2}], "historical[0].intervals", "an array"),
    ("historical", {"trailing_days": 2}, "historical", "an array"),
    ("historical", [{"trailing_days": 2, "intervals": ["1m", "3x"]}], "historical[0].intervals[1]",
     "an interval"),
    ("historical", [{"trailing_days": 2, "intervals": ["1m"], "symbols": ["AAPL", "NVDA"]}],
     "historical[0].symbols[1]", "session.symbols"),
    ("historical_indicators", {"good": {"type": "trailing_max", "field": "high", "period": "2d"},
                               "bad": {"type": "median", "field": "high", "period": "2d"}},
     "historical_indicators.bad.type", "'trailing_average'"),
    ("historical_indicators", {"x": {"type": "trailing_max", "field": "high", "period": "2h"}},
     "historical_indicators.x.period", "'2d'"),
    ("historical_indicators", {"x": {"type": "trailing_max", "field": "mid", "period": "2d"}},
     "historical_indicators.x.field", "'open'"),
    ("indicators", [{"name": "a", "type": "SMA", "interval": "5m"}], "indicators[0].interval",
     "session.streams"),
    ("indicators", [{"name": "a", "type": "SMA", "interval": "1m"}] * 2, "indicators[1].name",
     "not given before"),
    ("indicators", [{"name": "a", "type": "SMA", "interval": "1m", "parameters": {"n": [1]}}],
     "indicators[0].parameters.n", "true or false"),
    ("indicators", [{"name": "a", "type": "SMA", "interval": "1m", "parameters": {"n": NAN}}],
     "indicators[0].parameters.n", "a finite number"),
    ("indicators", {"name": "a"}, "indicators", "an array of tables, each headed [[...]]"),
    ("data.sources", [], "data.sources", "at least one"),
    ("data.sources", ["synthetic", "yahoo"], "data.sources[1]", "'schwab', 'synthetic'"),
    ("data.sources", ["synthetic", "synthetic"], "data.sources[1]", "data.sources[0]"),
    ("data.sources", ["synthetic", "parquet"], "data.parquet", "a path or URI"),
    ("data", {}, "data.parquet", "a path or URI"),
    ("data.parquet", 3, "data.parquet", "text that is not empty"),
    ("data.synthetic", {"seed": -1}, "data.synthetic.seed", "at least 0"),
    ("data.synthetic", {"fill_rate": 0}, "data.synthetic.fill_rate", "above 0 and at most 1"),
    ("data.synthetic", {"fill_rate": 1.1}, "data.synthetic.fill_rate", "above 0 and at most 1"),
    ("data.alpaca", {"adjustment": "some"}, "data.alpaca.adjustment", "'raw', 'split'"),
    ("data.alpaca", {"url": "http://example.com"}, "data.alpaca.url", "https://"),
    ("data.alpaca", {"stream_url": "ws://10.0.0.1/v2"}, "data.alpaca.stream_url", "this machine"),
    ("data.alpaca", {"url": "file:///tmp"}, "data.alpaca.url", "https://"),
    ("gap_fill", {}, "gap_fill", "mode is 'live'"),
    ("live", {}, "live", "mode is 'live'"),
    ("export.intervals", ["1m", "5m"], "export.intervals[1]", "session.streams"),
    ("export.csv_interval", "often", "export.csv_interval", "an interval"),
    ("export.bars", "yes", "export.bars", "true or false"),
]  # fmt: skip


LIVE_MISTAKES = [
    ("live", {"grace_seconds": -1}, "live.grace_seconds", "at least 0"),
    ("live", {"grace_seconds": 61}, "live.grace_seconds", "at most 60"),
    ("live", {"linger_seconds": "long"}, "live.linger_seconds", "a number"),
    ("live", {"queue_size": 3}, "live.queue_size", "at least 16"),
    ("live", {"quotes": 1}, "live.quotes", "true or false"),
    ("live", {"grace": 1}, "live.grace", "grace_seconds"),
    ("gap_fill", {"max_retries": -1}, "gap_fill.max_retries", "at least 0"),
    ("gap_fill", {"retry_interval_seconds": 0}, "gap_fill.retry_interval_seconds", "above 0"),
    ("session.speed", 2, "session.speed", "the market's own"),
    ("data.sources", ["parquet"], "data.parquet", "a path or URI"),
]


@pytest.mark.parametrize(("path", "value", "key", "expected"), LIVE_MISTAKES)
def test_mistake_of_a_live_config_names_the_key_and_what_is_expected(
    path: str, value: object, key: str, expected: str
) -> None:
    error = refusal(changed(LIVE, path, value))
    assert error.key == key
    assert expected in error.expected


def test_live_config_has_a_default_for_everything() -> None:
    config = SessionConfig.from_dict(changed(changed(LIVE, "live", {}), "gap_fill", {}))
    assert config.live is not None
    assert config.gap_fill is not None
    assert (config.live.grace_seconds, config.live.linger_seconds) == (2.0, 60.0)
    assert (config.live.quotes, config.live.trades, config.live.queue_size) == (False, False, 65536)
    assert (config.gap_fill.max_retries, config.gap_fill.retry_interval_seconds) == (5, 60.0)
    assert (config.data.alpaca.feed, config.data.alpaca.adjustment) == ("iex", "raw")


@pytest.mark.parametrize(
    "url", ["https://data.example.com", "http://127.0.0.1:8080", "ws://localhost:1", "wss://x.y/v2"]
)
def test_alpaca_url_may_be_encrypted_or_of_this_machine(url: str) -> None:
    config = SessionConfig.from_dict(changed(LIVE, "data.alpaca", {"stream_url": url}))
    assert config.data.alpaca.stream_url == url


@pytest.mark.parametrize(("path", "value", "key", "expected"), MISTAKES)
def test_mistake_names_the_key_and_what_is_expected(
    path: str, value: object, key: str, expected: str
) -> None:
    error = refusal(changed(SMALL, path, value))
    assert error.key == key
    assert expected in error.expected
    assert str(error).startswith(f"{key}: received ")


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        ("session.start_date", "2025-07-02", "session.start_date"),
        ("session.end_date", "2025-07-02", "session.end_date"),
        ("session.speed", 1, "session.speed"),
        ("data", {"sources": ["parquet"], "parquet": "bars"}, "data.sources"),
    ],
)
def test_live_mode_refuses_what_belongs_to_a_backtest(path: str, value: object, key: str) -> None:
    error = refusal(changed(LIVE, path, value))
    assert error.key == key
    assert "live" in error.expected


@pytest.mark.parametrize("key", ["session", "session.symbols", "session.streams"])
def test_missing_key_is_named(key: str) -> None:
    raw = deepcopy(SMALL)
    table = raw
    *tables, last = key.split(".")
    for name in tables:
        table = table[name]
    del table[last]
    error = refusal(raw)
    assert (error.key, error.received) == (key, None)


@pytest.mark.parametrize("raw", [[], "session", None, 3])
def test_config_that_is_no_table_is_refused(raw: object) -> None:
    assert refusal(raw).key == ""


def test_received_value_is_reported() -> None:
    assert refusal(changed(SMALL, "session.speed", -2.5)).received == -2.5
    assert refusal(changed(SMALL, "session.streams", ["1s", "7x"])).received == "7x"
    assert refusal(changed(SMALL, "session.symbols", {"a": 1})).received == "a table"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("api_key", "api_key"),
        ("session.apikey", "session.apikey"),
        ("data.alpaca.secret_key", "data.alpaca.secret_key"),
        ("data.API_SECRET", "data.API_SECRET"),
        ("data.schwab.token", "data.schwab.token"),
        ("data.password", "data.password"),
        ("data.synthetic.access_key_id", "data.synthetic.access_key_id"),
        ("export.key", "export.key"),
    ],
)
def test_secret_is_refused_by_its_key_without_its_value(path: str, key: str) -> None:
    error = refusal(changed(SMALL, path, "hunter2hunter2"))
    assert error.key == key
    assert key in str(error)
    assert "hunter2" not in str(error)
    assert "hunter2" not in f"{error.received}{error.expected}{error.__cause__}"


def test_secret_among_parameters_is_refused_without_its_value() -> None:
    item = {"name": "a", "type": "x:Y", "interval": "1m", "parameters": {"api_key": "hunter2"}}
    error = refusal(changed(SMALL, "indicators", [item]))
    assert error.key == "indicators[0].parameters.api_key"
    assert "hunter2" not in str(error)


@pytest.mark.parametrize("uri", ["s3://id:hunter2@bucket/x", "s3://b/x?secret_key=hunter2"])
def test_secret_in_a_uri_is_refused_without_its_value(uri: str) -> None:
    error = refusal(changed(SMALL, "data.parquet", uri))
    assert error.key == "data.parquet"
    assert "hunter2" not in str(error)


def test_value_that_is_a_table_is_not_shown() -> None:
    error = refusal(changed(SMALL, "data.parquet", {"key": "hunter2"}))
    assert error.received == "a table"
    assert "hunter2" not in str(error)


def write(folder: Path, text: str, name: str = "session.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


SMALL_FILE = """
[session]
start_date = 2025-07-02
symbols = ["AAPL", "MSFT"]
streams = ["1s", "1m"]
{session}
[data]
sources = ["synthetic"]
{tables}
"""
SMA = '[[indicators]]\nname = "sma"\ntype = "SMA"\n'
PAST = "[[historical]]\ntrailing_days = 3\n"
MOST = "[historical_indicators.most]\n"

#: Added to a fine file: to its first table, at its end; the key named, what is said of it.
WRONG_FILES = [
    ("end_dat = 2025-07-03", "", "session.end_dat", "did you mean 'end_date'?"),
    ("end_date = 2025-07-01", "", "session.end_date", "not before start_date"),
    ("end_date = 2025-07-03T09:30:00", "", "session.end_date", "a date such as 2025-07-02"),
    ("end_date = 16:00:00", "", "session.end_date", "a date such as 2025-07-02"),
    ("exchange = 7", "", "session.exchange", "text"),
    ('hours = ["09:30", "16:00"]', "", "session.hours[0]", "a pair of texts"),
    ('hours = [["9:30", "16:00"]]', "", "session.hours[0]", "an open and a later close"),
    ('hours = "Regular"', "", "session.hours", "'regular' or an array"),
    ('base = "5m"', "", "session.base", "divides all of session.streams"),
    ('base = "1S"', "", "session.base", "canonical spelling, '1s'"),
    ('mode = "Live"', "", "session.mode", "'backtest', 'live'"),
    ('mode = "live"', "", "session.start_date", "no dates when mode is 'live'"),
    ("speed = true", "", "session.speed", "a number at least 0"),
    ('strict = "yes"', "", "session.strict", "true or false"),
    ("", '[sesion]\nname = "x"', "sesion", "'session'"),
    ("", '[historical]\nintervals = ["1m"]', "historical", "headed [[...]]"),
    ("", PAST, "historical[0].intervals", "an array"),
    ("", PAST + 'intervals = "1m"', "historical[0].intervals", "an array"),
    ("", PAST + 'intervals = ["1w"]', "historical[0].intervals[0]", "an interval"),
    ("", PAST + 'intervals = ["1m"]\nsymbols = ["TSLA"]', "historical[0].symbols[0]",
     "one of session.symbols"),
    ("", '[[historical]]\ntrailing_days = 1.5\nintervals = ["1m"]', "historical[0].trailing_days",
     "an integer at least 1"),
    ("", MOST + 'type = "max"\nfield = "high"\nperiod = "2d"', "historical_indicators.most.type",
     "'trailing_max'"),
    ("", MOST + 'type = "trailing_max"\nperiod = "2d"', "historical_indicators.most.field",
     "'high'"),
    ("", SMA, "indicators[0].interval", "text"),
    ("", SMA + 'interval = "5m"', "indicators[0].interval", "session.streams: '1s', '1m'"),
    ("", SMA + 'interval = "1m"\nparams = {}', "indicators[0].params", "'parameters'?"),
    ("", SMA + 'interval = "1m"\nparameters = [20]', "indicators[0].parameters", "a table"),
    ("", SMA + 'interval = "1m"\nparameters = { n = [20] }', "indicators[0].parameters.n",
     "an integer or a number or text"),
    ("", SMA + 'interval = "1m"\nparameters = { n = inf }', "indicators[0].parameters.n",
     "a finite number"),
    ("", (SMA + 'interval = "1m"\n') * 2, "indicators[1].name", "not given before"),
    ("", "[data.alpaca]\nfeed = 3", "data.alpaca.feed", "'iex', 'sip'"),
    ("", "[live]\ngrace_seconds = 3", "live", "mode is 'live'"),
    ("", "[data.synthetic]\nfill_rate = 2", "data.synthetic.fill_rate", "at most 1"),
    ("", "[gap_fill]\nmax_retries = 3", "gap_fill", "mode is 'live'"),
    ("", '[export]\nintervals = ["1h"]', "export.intervals[0]", "session.streams"),
    ("", "export = 3", "data.export", "'sources'"),
]  # fmt: skip


@pytest.mark.parametrize(("session", "tables", "key", "expected"), WRONG_FILES)
def test_mistake_in_a_file_is_told_alike_in_toml_and_json(
    session: str, tables: str, key: str, expected: str, tmp_path: Path
) -> None:
    text = SMALL_FILE.format(session=session, tables=tables)
    files = {
        "wrong.toml": text,
        "wrong.json": json.dumps(tomllib.loads(text), default=str),
    }
    for name, content in files.items():
        path = write(tmp_path, content, name)
        with pytest.raises(ConfigError) as caught:
            SessionConfig.load(path)
        assert caught.value.key == key
        assert expected in caught.value.expected
        assert str(caught.value).startswith(f"{path}: {key}: received ")


def test_relative_parquet_path_is_taken_from_the_files_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    path = write(tmp_path / "configs", FULL.replace("data/bars", "../data/bars"))
    wanted = str(tmp_path / "data" / "bars")
    assert SessionConfig.load(path).data.parquet == wanted
    monkeypatch.chdir(tmp_path)
    assert SessionConfig.load("configs/session.toml").data.parquet == wanted


@pytest.mark.parametrize("where", ["s3://bucket/bars", "file:///data/bars"])
def test_parquet_uri_is_left_alone(where: str, tmp_path: Path) -> None:
    path = write(tmp_path, FULL.replace("data/bars", where))
    assert SessionConfig.load(path).data.parquet == where


def test_absolute_parquet_path_is_left_alone(tmp_path: Path) -> None:
    where = (tmp_path / "elsewhere").as_posix()
    path = write(tmp_path, FULL.replace("data/bars", where))
    assert SessionConfig.load(path).data.parquet == str(tmp_path / "elsewhere")


def test_load_accepts_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "session.toml"
    path.write_bytes(b"\xef\xbb\xbf" + FULL.encode())
    assert SessionConfig.load(path).session.name == "morning"


@pytest.mark.parametrize(
    ("name", "content", "key", "expected"),
    [
        ("a.toml", b"[session\n", "", "valid TOML"),
        ("a.toml", b"[session]\nname = 'a'\nname = 'b'\n", "", "valid TOML"),
        ("a.toml", b"\xff\xfe", "", "UTF-8"),
        ("a.json", b"{", "", "valid JSON"),
        ("a.json", b'{"session": {"name": "a", "name": "b"}}', "name", "each key once"),
        ("a.json", b"[]", "", "a table"),
        ("a.yaml", b"session:", "", ".toml or .json"),
        ("a.toml", b"[session]\nsymbols = 3\n", "session.symbols", "an array"),
        ("a.toml", b"[session]\nsymbols = ['A']\nstreams = ['7x']\nstart_date = 2025-07-02\n",
         "session.streams[0]", "an interval"),
    ],
)  # fmt: skip
def test_file_that_cannot_be_used_is_named(
    name: str, content: bytes, key: str, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        SessionConfig.load(path)
    assert caught.value.file == str(path)
    assert str(path) in str(caught.value)
    assert caught.value.key == key
    assert expected in caught.value.expected


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        SessionConfig.load(tmp_path / "none.toml")
    folder = tmp_path / "folder.toml"
    folder.mkdir()
    with pytest.raises(ConfigError, match="readable"):
        SessionConfig.load(folder)


def test_from_toml_takes_the_files_name_for_its_errors() -> None:
    with pytest.raises(ConfigError) as caught:
        SessionConfig.from_toml("[sesion]\n", file="mine.toml")
    assert str(caught.value).startswith("mine.toml: sesion: ")


def test_importing_config_loads_no_heavy_module() -> None:
    code = (
        "import sys, openbell.config\n"
        "heavy = {'pandas', 'exchange_calendars', 'numba', 'pyarrow', 'typer', 'rich'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
