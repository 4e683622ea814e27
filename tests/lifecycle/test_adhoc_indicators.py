"""Indicators nobody had announced, of symbols known and unknown."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import talib

import openbell as ob
from openbell.sources import ParquetSource, dataset_path
from tests.lifecycle_days import (
    SECOND,
    WEDNESDAY,
    adhoc_bar,
    damage_pages,
    everything,
    instant,
    ns_at,
    play,
    tree,
    truncate,
    warnings_of,
    window_of,
)
from tests.lifecycle_market import over

TUESDAY = date(2025, 7, 1)


def indicator(type: str = "SMA", interval: str = "1m", **parameters: Any) -> dict[str, Any]:
    return {"name": "quick", "type": type, "interval": interval, "parameters": parameters}


def fold(bars: np.ndarray, minutes: int) -> np.ndarray:
    """Bars of some minutes, by hand."""
    step = minutes * 60 * SECOND
    rows = []
    for label in sorted(set((bars["timestamp"] // step).tolist())):
        part = bars[bars["timestamp"] // step == label]
        rows.append(
            (
                label * step, part["open"][0], part["high"].max(), part["low"].min(),
                part["close"][-1], part["volume"].sum(),
            )
        )  # fmt: skip
    return np.array(rows, ob.BAR_DTYPE)


@pytest.mark.parametrize("interval", ["1m", "5m"])
@pytest.mark.parametrize(
    ("type", "period"), [("SMA", 20), ("EMA", 20), ("RSI", 14), ("LINEARREG", 14)]
)
def test_indicator_of_an_unknown_symbol_equals_the_batch_over_history_and_today(
    market: Path, type: str, period: int, interval: str
) -> None:
    session = over(market, ["AAPL"])
    asked = []

    def ask() -> None:
        wanted = indicator(type, interval, timeperiod=period)
        assert session.add_adhoc_indicator("TSLA", wanted)
        assert "TSLA" not in session.root
        assert set(session.pending) == {"TSLA"}
        asked.append(session.time_manager.get_current_time())

    source = ParquetSource(market)
    past = source.load("TSLA", "1m", window_of(TUESDAY))
    today = source.load("TSLA", "1m", window_of(WEDNESDAY))
    if interval == "5m":
        past, today = fold(past, 5), fold(today, 5)
    closes = np.concatenate((past["close"], today["close"]))
    expected = getattr(talib, type)(closes, timeperiod=period)[len(past) :]

    def look() -> None:
        shown = session.root["TSLA"].indicators["quick"]
        n = len(session.root["TSLA"].bars[interval])
        assert shown.value == pytest.approx(expected[n - 1], rel=1e-9)

    play(session, {"11:00": ask, "11:20": look, "12:00": look, "15:00": look})
    rec = session.root["TSLA"]
    assert list(rec.historical_bars[interval]) == [TUESDAY]
    assert rec.historical_bars[interval][TUESDAY].tobytes() == past.tobytes()
    assert rec.bars[interval].data.tobytes() == today.tobytes()
    shown = rec.indicators["quick"]
    assert shown.ready
    assert shown.value == pytest.approx(expected[-1], rel=1e-9)
    assert shown.timestamp == instant(WEDNESDAY, "16:00")
    assert shown.revision == 0
    assert rec.added_at == asked[0]
    assert (rec.added_by, rec.auto_provisioned) == ("adhoc", True)
    assert not rec.meets_session_config_requirements
    assert not rec.is_loaded
    # The minimum: the one interval, and nothing of the config's.
    assert list(rec.bars) in (["1m"], ["1m", "5m"])
    assert set(rec.historical_bars) == {interval}
    assert rec.historical_indicators == {}
    assert session.root.is_stream_active("TSLA", "bars")


def test_indicator_at_the_open_is_seeded_by_the_day_before(market: Path) -> None:
    session = over(market, ["AAPL"])
    days = session.days()
    day = next(days)
    assert session.add_adhoc_indicator("TSLA", indicator(timeperiod=20))
    for ts_ns, _ in day.slices():
        if ts_ns >= ns_at(WEDNESDAY, "09:33"):
            break
    rec = session.root["TSLA"]
    assert len(rec.bars["1m"]) <= 3
    past = ParquetSource(market).load("TSLA", "1m", window_of(TUESDAY))
    closes = np.concatenate((past["close"], rec.bars["1m"].data["close"]))
    assert rec.indicators["quick"].value == pytest.approx(closes[-20:].mean(), rel=1e-9)


def test_indicator_without_a_past_begins_with_today(market: Path) -> None:
    session = over(market, ["AAPL"])
    play(session, {"11:00": lambda: session.add_adhoc_indicator("NEWCO", indicator(timeperiod=20))})
    rec = session.root["NEWCO"]
    assert rec.base_interval == "1s"
    closes = rec.bars["1m"].data["close"]
    assert rec.indicators["quick"].value == pytest.approx(closes[-20:].mean(), rel=1e-9)
    assert rec.errors == []


@pytest.mark.parametrize("interval", ["1s", "1m", "5m", "10m", "600s"])
def test_indicator_of_a_known_symbol_is_made_at_the_end_of_the_slice(
    market: Path, interval: str
) -> None:
    session = over(market, ["AAPL"])
    wanted = indicator("SMA", interval, timeperiod=5)

    def ask() -> None:
        assert session.add_adhoc_indicator("AAPL", wanted)
        assert "quick" not in session.root["AAPL"].indicators

    def look() -> None:
        assert session.root["AAPL"].indicators["quick"].ready
        assert session.add_adhoc_indicator("AAPL", wanted)
        assert session.pending == {}

    play(session, {"11:00": ask, "11:30": look})
    rec = session.root["AAPL"]
    name = "10m" if interval == "600s" else interval
    closes = rec.bars[name].data["close"][-5:]
    assert rec.indicators["quick"].value == pytest.approx(closes.mean(), rel=1e-9)
    assert rec.indicators["quick"].interval == name
    whole = over(market, ["AAPL"])
    whole.run()
    ours, theirs = tree(session.root)["AAPL"], tree(whole.root)["AAPL"]
    if name == "10m":
        del ours["10m"]
    assert ours == theirs
    assert (rec.added_by, rec.added_at) == ("config", None)


def test_indicator_of_another_interval_is_seeded_from_history_that_is_there(market: Path) -> None:
    session = over(market, ["AAPL"], historical=[{"trailing_days": 2, "intervals": ["1m"]}])
    held: list[object] = []

    def ask() -> None:
        held.append(session.root["AAPL"].historical_bars["1m"])
        assert session.add_adhoc_indicator("AAPL", indicator("SMA", "5m", timeperiod=100))

    play(session, {"11:00": ask})
    rec = session.root["AAPL"]
    source = ParquetSource(market)
    minutes = [source.load("AAPL", "1m", window_of(day)) for day in (date(2025, 6, 30), TUESDAY)]
    fives = [fold(bars, 5) for bars in minutes]
    closes = np.concatenate([*(bars["close"] for bars in fives), rec.bars["5m"].data["close"]])
    assert rec.indicators["quick"].value == pytest.approx(closes[-100:].mean(), rel=1e-9)
    assert rec.historical_bars["1m"] is held[0]


@pytest.mark.parametrize(
    ("symbol", "wanted", "reason"),
    [
        ("GHOST", indicator(timeperiod=5), "no source has this symbol"),
        ("OLDCO", indicator(timeperiod=5), "no 1s bars"),
        ("MINCO", indicator("SMA", "1s", timeperiod=5), "1m"),
        ("TSLA", indicator("NOSUCH"), "NOSUCH"),
        ("TSLA", indicator("SMA", timeperiod=-3), "timeperiod"),
        ("TSLA", indicator("SMA", nonsense=3), "nonsense"),
        ("TSLA", indicator("no.such.module:Thing"), "no.such.module"),
        ("TSLA", indicator("SMA", "7x"), "7x"),
        ("TSLA", {"name": "quick"}, "type"),
        ("TSLA", {**indicator(), "more": 1}, "more"),
        ("TSLA", {**indicator(), "name": ""}, "name"),
        ("AAPL", indicator("NOSUCH"), "NOSUCH"),
        ("AAPL", indicator("SMA", "7x"), "7x"),
    ],
)
def test_indicator_that_cannot_be_is_refused_by_name(
    market: Path,
    caplog: pytest.LogCaptureFixture,
    symbol: str,
    wanted: dict[str, Any],
    reason: str,
) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        before = everything(session.root["AAPL"])
        ok, why = session._validate_adhoc_indicator(symbol, wanted)
        assert not ok
        assert reason in why
        assert not session.add_adhoc_indicator(symbol, wanted, source="gap scanner")
        assert session.pending == {}
        assert everything(session.root["AAPL"]) == before

    play(session, {"11:00": ask})
    assert session.root.get_active_symbols() == {"AAPL"}
    (warning,) = warnings_of(caplog)
    assert symbol in warning
    assert "gap scanner" in warning


def test_other_indicator_of_a_name_that_is_taken_is_refused(market: Path) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        assert session.add_adhoc_indicator("TSLA", indicator(timeperiod=5))
        assert session.add_adhoc_indicator("TSLA", indicator(timeperiod=5))
        assert not session.add_adhoc_indicator("TSLA", indicator(timeperiod=9))
        assert session.add_adhoc_indicator("TSLA", {**indicator(timeperiod=9), "name": "slow"})

    def again() -> None:
        assert not session.add_adhoc_indicator("TSLA", indicator(timeperiod=9))
        assert session.add_adhoc_indicator("TSLA", indicator(timeperiod=5))

    play(session, {"11:00": ask, "11:30": again})
    rec = session.root["TSLA"]
    assert {name: held.parameters for name, held in rec.indicators.items()} == {
        "quick": {"timeperiod": 5}, "slow": {"timeperiod": 9},
    }  # fmt: skip


@pytest.mark.parametrize("harm", ["pages", "file"])
def test_indicator_whose_bars_cannot_be_read_leaves_nothing(
    own_market: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    session = over(own_market, ["AAPL"])

    def ask() -> None:
        assert session.add_adhoc_indicator("TSLA", indicator(timeperiod=5))
        path = dataset_path(own_market, "bars", WEDNESDAY, "1m")
        damage_pages(path, "TSLA") if harm == "pages" else truncate(path)

    play(session, {"11:00": ask})
    assert session.root.get_active_symbols() == {"AAPL"}
    assert session.pending == {}
    assert [line for line in warnings_of(caplog) if "TSLA" in line and "quick" in line]


def test_indicator_whose_past_cannot_be_read_begins_with_today(
    own_market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = over(own_market, ["AAPL"])
    truncate(dataset_path(own_market, "bars", TUESDAY, "1m"))
    play(session, {"11:00": lambda: session.add_adhoc_indicator("TSLA", indicator(timeperiod=5))})
    rec = session.root["TSLA"]
    assert rec.indicators["quick"].ready
    assert TUESDAY not in rec.historical_bars.get("1m", {})
    assert [line for line in warnings_of(caplog) if "2025-07-01" in line]


def test_symbol_removed_while_its_indicator_waits_never_comes(market: Path) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        assert session.add_adhoc_indicator("TSLA", indicator(timeperiod=5))
        assert session.remove_symbol("TSLA")
        assert session.pending == {}

    play(session, {"11:00": ask})
    assert session.root.get_active_symbols() == {"AAPL"}


def test_indicator_of_a_record_of_adhoc_bars_gets_the_bars_of_today(market: Path) -> None:
    session = over(market, ["AAPL"])

    def scan() -> None:
        bar = adhoc_bar("TSLA", "1m", instant(WEDNESDAY, "10:00"))
        assert session.add_adhoc_bar("TSLA", "1m", bar)

    play(
        session,
        {
            "10:30": scan,
            "11:00": lambda: session.add_adhoc_indicator("TSLA", indicator(timeperiod=5)),
        },
    )
    rec = session.root["TSLA"]
    assert rec.added_by == "adhoc"
    today = ParquetSource(market).load("TSLA", "1m", window_of(WEDNESDAY))
    ours = rec.bars["1m"].data
    assert set(today["timestamp"].tolist()) <= set(ours["timestamp"].tolist())
    assert rec.indicators["quick"].value == pytest.approx(today["close"][-5:].mean(), rel=1e-9)


@pytest.mark.parametrize("interval", ["1s", "1m", "5m"])
def test_indicator_finer_than_the_adhoc_bars_is_made(market: Path, interval: str) -> None:
    session = over(market, ["AAPL"])

    def scan() -> None:
        bar = adhoc_bar("TSLA", "15m", instant(WEDNESDAY, "10:00"))
        assert session.add_adhoc_bar("TSLA", "15m", bar)
        assert session.add_adhoc_indicator("TSLA", indicator("SMA", interval, timeperiod=5))

    play(session, {"10:30": scan})
    rec = session.root["TSLA"]
    assert (rec.added_by, rec.is_loaded) == ("adhoc", False)
    closes = rec.bars[interval].data["close"]
    assert len(closes) >= 78
    assert rec.indicators["quick"].value == pytest.approx(closes[-5:].mean(), rel=1e-9)


def test_indicator_of_a_record_that_no_source_knows_is_of_its_own_bars(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = over(market, ["AAPL"])
    closes: list[float] = []

    def register() -> None:
        session.root.register_symbol_data(
            ob.SymbolSessionData("SPREAD", base_interval="1m", derived_intervals=["5m"])
        )

    def on_minute(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if rec.symbol == "AAPL" and "SPREAD" in session.root:
            closes.append(bar.close / 2.0)
            session.root["SPREAD"].append(bar.ts_ns, *[closes[-1]] * 4, 1.0)

    session.on_close("1m", on_minute)
    play(
        session,
        {
            "10:00": register,
            "10:30": lambda: session.add_adhoc_indicator("SPREAD", indicator(timeperiod=5)),
        },
    )
    rec = session.root["SPREAD"]
    assert rec.bars["1m"].data["close"].tolist() == closes
    assert rec.indicators["quick"].value == pytest.approx(np.mean(closes[-5:]), rel=1e-12)
    assert warnings_of(caplog) == []
    assert not session.add_symbol("SPREAD")


class Fussy:
    """Counts bars, and cannot stand the third."""

    def __init__(self) -> None:
        self.value: int | None = None

    def reset(self, bars: np.ndarray) -> None:
        self.value = None
        for bar in bars:
            self.update(bar)

    def update(self, bar: object) -> None:
        self.value = (self.value or 0) + 1
        if self.value > 2:
            raise ArithmeticError("a third bar")


def fussy(**others: object) -> dict[str, Any]:
    return {"name": "fussy", "type": f"{__name__}:Fussy", "interval": "5m", **others}


def test_indicator_that_raises_is_noted_and_the_day_goes_on(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "openbell.session")
    session = over(market, ["AAPL"])
    session.on_close("5m", lambda rec, bar: None)
    days = session.days()
    day = next(days)
    assert session.add_adhoc_indicator("AAPL", fussy())
    assert session.add_adhoc_indicator("TSLA", fussy())
    day.run()
    for symbol in ("AAPL", "TSLA"):
        rec = session.root[symbol]
        assert len(rec.bars["5m"]) == 78
        assert not rec.indicators["fussy"].ready
        (error,) = rec.errors
        assert error.where == "indicator fussy"
        assert "a third bar" in error.error
    assert session.phase == "running"


def test_strict_session_ends_with_what_an_adhoc_indicator_raises(market: Path) -> None:
    session = over(market, ["AAPL"], strict=True)
    session.on_close("5m", lambda rec, bar: None)
    day = next(session.days())
    assert session.add_adhoc_indicator("TSLA", fussy())
    with pytest.raises(ArithmeticError, match="a third bar"):
        day.run()
    assert session.root["TSLA"].bars["5m"].last is not None
    assert session.root.now_ns < window_of(WEDNESDAY).close_ns


def test_configured_indicator_that_cannot_be_made_is_refused_when_opened(market: Path) -> None:
    with pytest.raises(ob.errors.ConfigError, match=r"indicators\[0\]"):
        over(market, ["AAPL"], indicators=[indicator("NOSUCH")])
