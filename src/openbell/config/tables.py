"""The configuration of a session: its tables, typed, and the checks they have to pass.

Attribute names are the keys of the file: ``config.session.symbols``, ``config.data.parquet``.
Owns the reading and the checking. Does not ask the calendar or the data whether what is
configured exists: that is validation, and happens when a session is opened.
"""

# Annotations are evaluated here, once: msgspec would compile each of their texts by itself.
import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date as Date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from openbell.clock.manager import parse_hours
from openbell.config.mistakes import NO_SECRETS, listed, refuse_secrets, translate, unique_keys
from openbell.errors import ConfigError, IntervalError, TimeError
from openbell.intervals import Interval, interval
from openbell.schema import HISTORICAL_KEYS

__all__ = [
    "AlpacaConfig",
    "DataConfig",
    "ExportConfig",
    "GapFillConfig",
    "HistoricalConfig",
    "HistoricalIndicatorConfig",
    "IndicatorConfig",
    "LiveConfig",
    "SessionConfig",
    "SessionTable",
    "SyntheticConfig",
]

Text = Annotated[str, Meta(min_length=1)]
Texts = Annotated[tuple[Text, ...], Meta(min_length=1)]
HoursPairs = Annotated[tuple[tuple[str, str], ...], Meta(min_length=1)]
Source = Literal["parquet", "synthetic", "alpaca", "schwab"]
BarField = Literal["open", "high", "low", "close", "volume"]

_LIVE_SOURCES: Final = ("alpaca", "schwab", "synthetic")
_PERIOD: Final = re.compile(r"[1-9][0-9]{0,3}[dw]", re.ASCII)
_SECRET_IN_URI: Final = re.compile(r"://[^/]*@|[?&](access|secret)[^=&]*=", re.IGNORECASE)


class SessionTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[session]``: which symbols, which bars, when.

    Attributes
    ----------
    symbols : tuple of str
    streams : tuple of str
        Intervals wanted. What is streamed is the smallest interval a symbol's source holds that
        gives them all; the others are derived from it.
    base : str or None
        Stream this interval instead of the smallest; it is one of `streams` or divides them all.
    name : str
    exchange : str
        A calendar's name, such as ``XNYS`` or ``24/7``.
    mode : "backtest" or "live"
    start_date, end_date : datetime.date or None
        First and last day, both inclusive. A backtest needs the first; the last is the first
        when it is left out. Live takes neither.
    hours : "regular", "extended" or tuple of (str, str)
        Which part of a day is the session; pairs are opens and closes on the exchange's clock.
    anchor : "session" or "clock"
        Where buckets begin: at each segment's open, or on the exchange's wall clock.
    on_incomplete : "keep" or "skip"
        Whether callbacks and exports show derived bars that miss some of their children.
    speed : float
        0 replays as fast as possible, 1 in real time, 60 a minute in a second.
    strict : bool
        Whether an error in one symbol's indicator or callback ends the session, instead of
        being recorded on the symbol's record.
    """

    symbols: Texts
    streams: Texts
    base: Text | None = None
    name: Text = "session"
    exchange: Text = "XNYS"
    mode: Literal["backtest", "live"] = "backtest"
    start_date: Date | None = None
    end_date: Date | None = None
    hours: Literal["regular", "extended"] | HoursPairs = "regular"
    anchor: Literal["session", "clock"] = "session"
    on_incomplete: Literal["keep", "skip"] = "keep"
    speed: Annotated[float, Meta(ge=0)] = 0.0
    strict: bool = False

    def __post_init__(self) -> None:
        if self.end_date is None and self.mode == "backtest":
            msgspec.structs.force_setattr(self, "end_date", self.start_date)


class HistoricalConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[historical]]``: days before the session to load; all symbols when none are named."""

    trailing_days: Annotated[int, Meta(ge=1)]
    intervals: Texts
    symbols: Texts | None = None


class HistoricalIndicatorConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[historical_indicators.<name>]``: the average, most or least of a field over past days.

    Attributes
    ----------
    type : "trailing_average", "trailing_max" or "trailing_min"
    field : "open", "high", "low", "close" or "volume"
    period : str
        ``<n>d``: the n trading days before the session. ``<n>w``: the trading days among the 7 n
        calendar days before it, fewer in a week with a holiday.
    granularity : "day" or "minute"
        One number over daily bars, or one for each minute of the session over ``1m`` bars.
    """

    type: Literal["trailing_average", "trailing_max", "trailing_min"]
    field: BarField
    period: Text
    granularity: Literal["day", "minute"] = "day"


class IndicatorConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[[indicators]]``: an indicator on one of the session's intervals."""

    name: Text
    type: Text
    interval: Text
    parameters: dict[str, bool | int | float | str] = {}


class SyntheticConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[data.synthetic]``: the synthetic source; `fill_rate` is the share of slots with a bar."""

    seed: Annotated[int, Meta(ge=0)] = 0
    fill_rate: Annotated[float, Meta(gt=0, le=1)] = 1.0


class AlpacaConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[data.alpaca]``: which of Alpaca's feeds, and where it answers when not at its own place.

    Keys are read from the environment: ``APCA_API_KEY_ID`` and ``APCA_API_SECRET_KEY``.
    """

    feed: Literal["iex", "sip"] = "iex"
    adjustment: Literal["raw", "split", "dividend", "all"] = "raw"
    url: Text | None = None
    stream_url: Text | None = None


class DataConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[data]``: sources in order of priority, and where the Parquet one reads.

    `parquet` is a path or a URI; :meth:`SessionConfig.load` takes a relative path from the
    configuration's folder.
    """

    sources: Annotated[tuple[Source, ...], Meta(min_length=1)] = ("parquet",)
    parquet: Text | None = None
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    alpaca: AlpacaConfig = field(default_factory=AlpacaConfig)


class LiveConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[live]``: how a live session takes what comes; live only.

    Attributes
    ----------
    grace_seconds : float
        How long after its end a bar may come before the clock goes on without it.
    linger_seconds : float
        How long after the close corrections are still taken, before the day ends.
    quotes, trades : bool
        Whether these are streamed too.
    queue_size : int
        Messages (bars, quotes, trades) that may wait to be taken in; what comes beyond is counted,
        and its bars are asked for again.
    """

    grace_seconds: Annotated[float, Meta(ge=0, le=60)] = 2.0
    linger_seconds: Annotated[float, Meta(ge=0, le=3600)] = 60.0
    quotes: bool = False
    trades: bool = False
    queue_size: Annotated[int, Meta(ge=16)] = 65_536


class GapFillConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[gap_fill]``: how often missing bars are asked for again; live only."""

    max_retries: Annotated[int, Meta(ge=0)] = 5
    retry_interval_seconds: Annotated[float, Meta(gt=0)] = 60.0


class ExportConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``[export]``: what dumps and logs hold; all intervals when none are named."""

    intervals: Texts | None = None
    bars: bool = True
    csv_interval: Text = "1m"


class SessionConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole configuration, checked when made.

    Raises
    ------
    ConfigError
        On the first thing that is wrong: its key's path, what was received, what is expected.

    Examples
    --------
    >>> config = SessionConfig.from_toml('''
    ... [session]
    ... start_date = 2025-07-02
    ... symbols = ["AAPL"]
    ... streams = ["1s", "1m"]
    ... [data]
    ... sources = ["synthetic"]
    ... ''')
    >>> config.session.streams
    ('1s', '1m')
    """

    session: SessionTable
    historical: tuple[HistoricalConfig, ...] = ()
    historical_indicators: dict[str, HistoricalIndicatorConfig] = {}
    indicators: tuple[IndicatorConfig, ...] = ()
    data: DataConfig = field(default_factory=DataConfig)
    live: LiveConfig | None = None
    gap_fill: GapFillConfig | None = None
    export: ExportConfig = field(default_factory=ExportConfig)

    def __post_init__(self) -> None:
        _check_when(self.session)
        _check_streams(self.session)
        _check_hours(self.session)
        _check_data(self)
        _check_history(self)
        _check_indicators(self)
        _check_export(self)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a ``.toml`` or ``.json`` file.

        A relative ``data.parquet`` is taken from the file's folder and made absolute.

        Raises
        ------
        ConfigError
            When the file cannot be read or is not a valid configuration; it names the file.
        """
        file = str(path)
        read = {".toml": cls.from_toml, ".json": cls.from_json}.get(Path(path).suffix.lower())
        if read is None:
            raise ConfigError("", Path(path).name, "a file that ends in .toml or .json", file)
        try:
            text = Path(path).read_text(encoding="utf-8-sig")
        except OSError as exc:
            raise ConfigError("", exc.strerror, "a readable file", file) from None
        except UnicodeDecodeError as exc:
            raise ConfigError("", str(exc.reason), "text in UTF-8", file) from None
        config = read(text, file=file)
        where = config.data.parquet
        if where is None or "://" in where:
            return config
        absolute = os.path.abspath(os.path.join(Path(path).parent, os.path.expanduser(where)))
        data = msgspec.structs.replace(config.data, parquet=absolute)
        return msgspec.structs.replace(config, data=data)

    @classmethod
    def from_toml(cls, text: str, *, file: str | None = None) -> Self:
        """Read TOML text; `file` is how errors call it. Raises ConfigError."""
        try:
            raw = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise ConfigError("", str(exc), "valid TOML", file) from None
        return cls.from_dict(raw, file=file)

    @classmethod
    def from_json(cls, text: str, *, file: str | None = None) -> Self:
        """Read JSON text of the same shape; `file` is how errors call it. Raises ConfigError."""
        import json

        try:
            raw = json.loads(text, object_pairs_hook=unique_keys)
        except json.JSONDecodeError as exc:
            raise ConfigError("", str(exc), "valid JSON", file) from None
        except ConfigError as exc:
            raise ConfigError(exc.key, exc.received, exc.expected, file) from None
        return cls.from_dict(raw, file=file)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], *, file: str | None = None) -> Self:
        """Build from nested dicts and lists; `file` is how errors call it.

        Dates may be :class:`datetime.date` or ISO text.

        Raises
        ------
        ConfigError
            When a key is unknown, a value is of a wrong type, or a combination is impossible.
        """
        try:
            refuse_secrets(raw, "")
            return msgspec.convert(raw, cls)
        except ConfigError as exc:
            error = exc
        except msgspec.ValidationError as exc:
            # What __post_init__ raises comes wrapped; it knows more than the wrapper.
            cause = exc.__cause__
            error = cause if isinstance(cause, ConfigError) else translate(exc, raw, cls)
        raise ConfigError(error.key, error.received, error.expected, file) from None


def _check_when(session: SessionTable) -> None:
    start, end = session.start_date, session.end_date
    if session.mode == "live":
        for key, day in (("start_date", start), ("end_date", end)):
            if day is not None:
                raise ConfigError(f"session.{key}", str(day), "no dates when mode is 'live'")
        if session.speed != 0:
            raise ConfigError(
                "session.speed", session.speed, "0 or nothing when mode is 'live', the market's own"
            )
    elif start is None:
        raise ConfigError("session.start_date", None, "a date, as mode is 'backtest'")
    elif end is not None and end < start:
        raise ConfigError("session.end_date", str(end), f"a date not before start_date, {start}")
    if not math.isfinite(session.speed):
        raise ConfigError("session.speed", session.speed, "0 (no pacing) or a finite multiplier")


def _check_streams(session: SessionTable) -> None:
    _check_symbols("session.symbols", session.symbols)
    _check_intervals("session.streams", session.streams)
    if session.base is None:
        return
    _check_one_interval("session.base", session.base)
    base = interval(session.base)
    for name in session.streams:
        if name != session.base and not base.divides(interval(name)):
            expected = f"an interval that divides all of session.streams, and so {name!r}"
            raise ConfigError("session.base", session.base, expected)


def _check_hours(session: SessionTable) -> None:
    if isinstance(session.hours, str):
        return
    for n in range(len(session.hours)):
        try:
            parse_hours(session.hours[: n + 1])
        except TimeError as exc:
            raise ConfigError(
                f"session.hours[{n}]",
                list(session.hours[n]),
                f"an open and a later close such as ['09:30', '16:00'], after those before it "
                f"({exc.reason})",
            ) from None


def _check_data(config: SessionConfig) -> None:
    data = config.data
    _check_unique("data.sources", data.sources)
    if "parquet" in data.sources and data.parquet is None:
        raise ConfigError(
            "data.parquet", None, "a path or URI, as data.sources names 'parquet' (its default)"
        )
    if data.parquet is not None and _SECRET_IN_URI.search(data.parquet):
        raise ConfigError("data.parquet", "a URI that holds credentials", NO_SECRETS)
    for key, url in (("url", data.alpaca.url), ("stream_url", data.alpaca.stream_url)):
        if url is not None and not _is_safe(url):
            expected = "an https:// or wss:// address, or one of this machine: keys are sent there"
            raise ConfigError(f"data.alpaca.{key}", url, expected)
    if config.session.mode == "live":
        if not set(data.sources) & set(_LIVE_SOURCES):
            raise ConfigError(
                "data.sources",
                list(data.sources),
                f"one that streams when mode is 'live': {listed(_LIVE_SOURCES)}",
            )
        return
    for key in ("gap_fill", "live"):
        if getattr(config, key) is not None:
            raise ConfigError(key, "a table", "none unless mode is 'live'")


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("https", "wss") or (
        parts.scheme in ("http", "ws") and parts.hostname in ("127.0.0.1", "localhost", "::1")
    )


def _check_history(config: SessionConfig) -> None:
    known = config.session.symbols
    for n, entry in enumerate(config.historical):
        _check_intervals(f"historical[{n}].intervals", entry.intervals)
        if entry.symbols is not None:
            _check_symbols(f"historical[{n}].symbols", entry.symbols)
            _check_among(f"historical[{n}].symbols", entry.symbols, known, "session.symbols")
    for name, item in config.historical_indicators.items():
        if name in HISTORICAL_KEYS:
            key = f"historical_indicators.{name}"
            raise ConfigError(key, name, "another name; the JSON dump uses this one itself")
        if not _PERIOD.fullmatch(item.period):
            key = f"historical_indicators.{name}.period"
            expected = "a number of trading days such as '2d', or of weeks such as '1w'"
            raise ConfigError(key, item.period, expected)


def _check_indicators(config: SessionConfig) -> None:
    names: list[str] = []
    for n, item in enumerate(config.indicators):
        if item.name in names:
            raise ConfigError(f"indicators[{n}].name", item.name, "a name not given before")
        names.append(item.name)
        _check_one_interval(f"indicators[{n}].interval", item.interval)
        if item.interval not in config.session.streams:
            raise ConfigError(
                f"indicators[{n}].interval",
                item.interval,
                f"one of session.streams: {listed(config.session.streams)}",
            )
        for key, value in item.parameters.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise ConfigError(f"indicators[{n}].parameters.{key}", value, "a finite number")


def _check_export(config: SessionConfig) -> None:
    export = config.export
    if export.intervals is not None:
        _check_intervals("export.intervals", export.intervals)
        _check_among(
            "export.intervals", export.intervals, config.session.streams, "session.streams"
        )
    _check_one_interval("export.csv_interval", export.csv_interval)


def _check_symbols(key: str, symbols: Sequence[str]) -> None:
    for n, symbol in enumerate(symbols):
        if any(c.isspace() or not c.isprintable() for c in symbol):
            raise ConfigError(f"{key}[{n}]", symbol, "a symbol without spaces")
    _check_unique(key, symbols)


def _check_intervals(key: str, names: Sequence[str]) -> None:
    for n, name in enumerate(names):
        _check_one_interval(f"{key}[{n}]", name)
    _check_unique(key, names)


def _check_one_interval(key: str, name: str) -> None:
    try:
        item = Interval.from_alias(name)
    except IntervalError:
        expected = "an interval: <n>s, <n>m, <n>h or 1d, such as '1s', '5m'"
        raise ConfigError(key, name, expected) from None
    if item.name != name:
        raise ConfigError(key, name, f"an interval in its canonical spelling, {item.name!r}")
    if item.is_daily and item.name != "1d":
        raise ConfigError(key, name, "an interval of at most '1d', one session")


def _check_unique(key: str, values: Sequence[str]) -> None:
    for n, value in enumerate(values):
        if value in values[:n]:
            raise ConfigError(
                f"{key}[{n}]", value, f"each once; it is already {key}[{values.index(value)}]"
            )


def _check_among(key: str, values: Sequence[str], known: Sequence[str], where: str) -> None:
    for n, value in enumerate(values):
        if value not in known:
            raise ConfigError(f"{key}[{n}]", value, f"one of {where}: {listed(known)}")
