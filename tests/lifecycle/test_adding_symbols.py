"""Symbols that join a running day."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.errors import ArgumentError
from openbell.sources import ParquetSource, dataset_path
from tests.lifecycle_days import (
    HALF_DAY,
    SECOND,
    WEDNESDAY,
    adhoc_bar,
    damage_pages,
    everything,
    expected_closings,
    instant,
    ns_at,
    play,
    session_over,
    tree,
    truncate,
    warnings_of,
    window_of,
)
from tests.lifecycle_market import OTHERS, STREAMS, over, same_but_provenance


def test_symbol_added_at_eleven_has_the_morning_and_all_that_the_config_asks_for(
    market: Path,
) -> None:
    session = over(market, ["AAPL"], **OTHERS)
    asked = []

    def ask() -> None:
        assert session.add_symbol("NVDA")
        assert "NVDA" not in session.root
        asked.append(session.root.now_ns)

    def look() -> None:
        rec = session.root["NVDA"]
        labels = rec.bars["1s"].data["timestamp"]
        assert labels[0] < ns_at(WEDNESDAY, "09:35")
        assert len(rec.bars["1m"]) > 70
        assert rec.indicators["sma"].ready
        assert rec.indicators["vwap"].ready

    play(session, {"11:00": ask, "11:01": look})
    whole = over(market, ["AAPL", "NVDA"], **OTHERS)
    whole.run()
    assert tree(session.root) == tree(whole.root)
    rec = session.root["NVDA"]
    same_but_provenance(rec, whole.root["NVDA"])
    same_but_provenance(session.root["AAPL"], whole.root["AAPL"])
    assert rec.added_at == datetime.fromtimestamp(asked[0] // SECOND, UTC)
    assert asked[0] - ns_at(WEDNESDAY, "11:00") < 60 * SECOND
    assert session.root.is_stream_active("NVDA", "bars")


def test_added_symbol_joins_the_next_slice_once_and_tells_nothing_of_the_morning(
    market: Path,
) -> None:
    session = over(market, ["AAPL"])
    told: list[tuple[int, str, str, int]] = []
    for name in ("5m", "1s", "1m"):
        session.on_close(
            name,
            lambda rec, bar: told.append(
                (session.root.now_ns, bar.interval, rec.symbol, bar.ts_ns)
            ),
        )
    seen: list[int] = []
    first_ns = joined_ns = 0
    for day in session.days():
        for ts_ns, records in day.slices():
            symbols = [rec.symbol for rec in records]
            assert len(set(symbols)) == len(symbols)
            if "NVDA" in symbols:
                seen.append(ts_ns)
            if not first_ns and ts_ns >= ns_at(WEDNESDAY, "11:00"):
                first_ns = ts_ns
                session.add_symbol("NVDA")
            elif first_ns and not joined_ns:
                joined_ns = ts_ns
                assert "NVDA" in session.root
    bars = ParquetSource(market).load("NVDA", "1s", window_of(WEDNESDAY))
    ends = [label + SECOND for label in bars["timestamp"].tolist() if label + SECOND > first_ns]
    assert seen == ends
    of_it = [t for t in told if t[2] == "NVDA"]
    window = window_of(WEDNESDAY)
    expected = expected_closings(window, ["1s", "1m", "5m"], {"NVDA": ("1s", bars)})
    assert of_it == [t for t in expected if t[0] > first_ns]
    both = {
        symbol: ("1s", ParquetSource(market).load(symbol, "1s", window))
        for symbol in ("AAPL", "NVDA")
    }
    expected = expected_closings(window, ["1s", "1m", "5m"], both)
    assert told == [t for t in expected if t[2] == "AAPL" or t[0] > first_ns]


def test_symbol_of_minutes_joins_between_seconds(market: Path) -> None:
    def over_minutes(symbols: list[str]) -> ob.SessionCoordinator:
        return session_over(market, [WEDNESDAY], symbols, ["1m", "5m"])

    session = over_minutes(["AAPL"])
    play(session, {"11:00": lambda: session.add_symbol("MINCO")})
    whole = over_minutes(["AAPL", "MINCO"])
    whole.run()
    assert session.root["MINCO"].base_interval == "1m"
    assert tree(session.root) == tree(whole.root)


def test_added_at_is_the_clock_of_asking_also_in_a_callback(market: Path) -> None:
    session = over(market, ["AAPL"])
    asked = {}

    def on_minute(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        now = session.time_manager.get_current_time()
        if now >= instant(WEDNESDAY, "10:00") and "NVDA" not in asked:
            asked["NVDA"] = now
            assert session.add_symbol("NVDA")
            assert session.pending == {"NVDA": now}

    def on_slice(ts_ns: int, records: object) -> None:
        now = session.time_manager.get_current_time()
        if now >= instant(WEDNESDAY, "10:30") and "RIVN" not in asked:
            asked["RIVN"] = now
            assert session.add_symbol("RIVN", added_by="scanner")
            assert session.pending == {"RIVN": now}

    session.on_close("1m", on_minute)
    session.run(on_slice)
    assert {s: session.root[s].added_at for s in asked} == asked
    assert session.root["NVDA"].added_by == "strategy"
    assert session.root["RIVN"].added_by == "scanner"
    whole = over(market, ["AAPL", "NVDA", "RIVN"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_symbol_asked_for_before_the_first_slice_has_the_whole_day(market: Path) -> None:
    session = over(market, ["AAPL"])
    told = Counter[str]()
    session.on_close("1m", lambda rec, bar: told.update([rec.symbol]))
    for day in session.days():
        assert session.add_symbol("NVDA")
        day.run()
    assert session.root["NVDA"].added_at == instant(WEDNESDAY, "09:30")
    assert told["NVDA"] == len(session.root["NVDA"].bars["1m"])
    whole = over(market, ["AAPL", "NVDA"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_symbol_asked_for_in_the_last_closing_of_the_day_does_not_wait_for_ever(
    market: Path,
) -> None:
    session = over(market, ["AAPL"])

    def ask(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if session.root.now_ns == window_of(WEDNESDAY).close_ns:
            assert session.add_symbol("NVDA")

    session.on_close("5m", ask)
    session.run()
    assert session.pending == {}
    assert session.root.now_ns == window_of(WEDNESDAY).close_ns
    whole = over(market, ["AAPL", "NVDA"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_symbol_asked_for_between_days_is_refused_or_of_the_day_before(market: Path) -> None:
    session = session_over(market, [WEDNESDAY, HALF_DAY], ["AAPL"], STREAMS)
    assert not session.add_symbol("NVDA")
    days = session.days()
    next(days).run()
    session.add_symbol("NVDA")
    second = next(days)
    assert session.root.get_active_symbols() == {"AAPL"}
    assert session.pending == {}
    second.run()
    assert list(days) == []
    assert not session.add_symbol("NVDA")
    assert not session.add_adhoc_bar(
        "NVDA", "1m", adhoc_bar("NVDA", "1m", instant(HALF_DAY, "10:00"))
    )
    assert session.root.get_active_symbols() == {"AAPL"}
    session.close()
    assert not session.add_symbol("NVDA")
    assert not session.remove_symbol("AAPL")


def test_other_threads_add_and_remove_while_the_day_runs(market: Path) -> None:
    session = over(market, ["AAPL"])
    may_ask, asked = threading.Event(), threading.Event()
    found: list[object] = []

    def scan() -> None:
        may_ask.wait(10)
        found.append(session.add_symbol("NVDA"))
        found.append(session.add_symbol("RIVN"))
        found.append(session.remove_symbol("RIVN"))
        asked.set()

    thread = threading.Thread(target=scan)
    thread.start()

    def hold() -> None:
        may_ask.set()
        assert asked.wait(10)
        assert set(session.pending) == {"NVDA"}

    play(session, {"11:00": hold})
    thread.join()
    assert found == [True, True, True]
    whole = over(market, ["AAPL", "NVDA"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_duplicates_are_true_and_change_nothing(market: Path) -> None:
    session = over(market, ["AAPL"], **OTHERS)

    def ask() -> None:
        assert [session.add_symbol("NVDA"), session.add_symbol("NVDA", "scanner")] == [True, True]
        assert len(session.pending) == 1

    def again() -> None:
        rec = session.root["NVDA"]
        before = everything(rec)
        profile = before["historical_indicators"].pop("profile")
        assert session.add_symbol("NVDA", "scanner")
        assert session.pending == {}
        after = everything(rec)
        assert after["historical_indicators"].pop("profile") is profile
        assert after == before

    play(session, {"11:00": ask, "11:30": again})
    assert session.root["NVDA"].added_by == "strategy"
    assert session.root["NVDA"].n_duplicate == 0


@pytest.mark.parametrize("added_by", ["config", "adhoc", "me", ""])
def test_only_strategies_and_scanners_add(market: Path, added_by: str) -> None:
    session = over(market, ["AAPL"])
    next(session.days())
    with pytest.raises(ArgumentError, match="added_by"):
        session.add_symbol("NVDA", added_by=added_by)  # type: ignore[arg-type]
    assert session.pending == {}


def test_symbols_that_may_not_be_loaded_say_why_and_leave_nothing(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = over(market, ["AAPL"], **OTHERS)

    def ask() -> None:
        for symbol in ("GHOST", "OLDCO", "NEWCO", "MINCO"):
            assert not session.add_symbol(symbol)
        assert session.pending == {}

    play(session, {"11:00": ask})
    assert session.root.get_active_symbols() == {"AAPL"}
    reasons = {s: session.results[s].reason for s in ("GHOST", "OLDCO", "NEWCO", "MINCO")}
    assert "unknown symbol" in reasons["GHOST"]
    assert "no 1s bars of 2025-07-02" in reasons["OLDCO"]
    assert "history" in reasons["NEWCO"]
    assert "interval '1s': cannot be had" in reasons["MINCO"]
    assert len(warnings_of(caplog)) == 4


@pytest.mark.parametrize("symbol", ["aapl", "", " ", "NVDA ", "A/B", "../NVDA", "NV\nDA"])
def test_names_that_nobody_has_are_refused_and_leave_nothing(market: Path, symbol: str) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        before = everything(session.root["AAPL"])
        assert not session.add_symbol(symbol)
        assert not session.remove_symbol(symbol)
        assert not session.add_adhoc_bar(symbol, "1m", adhoc_bar("", "1m", now))
        assert not session.add_adhoc_indicator(symbol, OTHERS["indicators"][0])  # type: ignore[arg-type]
        assert ("did you mean 'AAPL'" in session.results[symbol].reason) == (symbol == "aapl")
        assert session.pending == {}
        assert everything(session.root["AAPL"]) == before

    now = instant(WEDNESDAY, "10:00")
    play(session, {"11:00": ask})
    assert session.root.get_active_symbols() == {"AAPL"}


@pytest.mark.parametrize("harm", ["pages", "file"])
def test_symbol_that_fails_while_it_is_loaded_leaves_nothing(
    own_market: Path, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    session = over(own_market, ["AAPL"])
    told = []
    session.on_close("1m", lambda rec, bar: told.append(rec.symbol))

    def ask() -> None:
        assert session.add_symbol("NVDA")
        path = dataset_path(own_market, "bars", WEDNESDAY, "1s")
        if harm == "pages":
            damage_pages(path, "NVDA")
        else:
            truncate(path)

    play(session, {"11:00": ask})
    assert session.root.get_active_symbols() == {"AAPL"}
    assert session.pending == {}
    assert set(told) == {"AAPL"}
    result = session.results["NVDA"]
    assert not result.can_proceed
    assert "cannot be read" in result.reason
    assert not any(key[0] == "NVDA" for key in session.root.active_streams)
    (warning,) = warnings_of(caplog)
    assert "NVDA" in warning
    assert len(session.root["AAPL"].bars["5m"]) == 78


def test_symbol_that_fails_before_the_day_leaves_the_others(own_market: Path) -> None:
    damage_pages(dataset_path(own_market, "bars", WEDNESDAY, "1s"), "NVDA")
    session = over(own_market, ["AAPL", "NVDA", "RIVN"])
    for day in session.days():
        assert session.root.get_active_symbols() == {"AAPL", "RIVN"}
        assert session.phase == "running"
        day.run()
    assert "cannot be read" in session.results["NVDA"].reason


def test_damaged_symbol_can_be_added_once_its_data_is_whole(own_market: Path, market: Path) -> None:
    path = dataset_path(own_market, "bars", WEDNESDAY, "1s")
    whole = path.read_bytes()
    session = over(own_market, ["AAPL"])

    def ask() -> None:
        damage_pages(path, "NVDA")
        assert session.add_symbol("NVDA")

    def mend() -> None:
        assert not session.results["NVDA"].can_proceed
        path.write_bytes(whole)
        assert session.add_symbol("NVDA")

    play(session, {"11:00": ask, "12:00": mend})
    alone = over(market, ["AAPL", "NVDA"])
    alone.run()
    assert session.results["NVDA"].can_proceed
    assert tree(session.root) == tree(alone.root)


class _Meddling(ParquetSource):
    """Somebody takes the symbol out and in again while it is read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.meddle = lambda: None

    def load(self, symbol: str, interval: str, window: ob.SessionWindow) -> np.ndarray:
        self.meddle()
        return super().load(symbol, interval, window)


def test_symbol_removed_and_asked_for_again_while_it_is_read_is_loaded_once(market: Path) -> None:
    source = _Meddling(market)
    data = ob.DataManager([source], ob.TimeManager("XNYS"))
    config = ob.SessionConfig.from_dict(
        {
            "session": {"start_date": WEDNESDAY, "symbols": ["AAPL"], "streams": STREAMS},
            "data": {"parquet": str(market)},
        }
    )
    session = ob.open_session(config, data=data)
    n_read = 0

    def meddle() -> None:
        nonlocal n_read
        n_read += 1
        if n_read == 1:
            assert session.remove_symbol("NVDA")
            assert session.add_symbol("NVDA")

    def ask() -> None:
        source.meddle = meddle
        session.add_symbol("NVDA")

    play(session, {"11:00": ask})
    assert n_read == 2
    rec = session.root["NVDA"]
    assert not rec.upgraded_from_adhoc
    whole = over(market, ["AAPL", "NVDA"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_on_loaded_tells_symbols_that_join_too(market: Path) -> None:
    session = over(market, ["AAPL"], **OTHERS)
    told: list[tuple[str, bool, bool]] = []
    session.on_loaded(lambda rec: told.append((rec.symbol, rec.is_loaded, "sma" in rec.indicators)))
    play(
        session,
        {
            "11:00": lambda: session.add_symbol("NVDA"),
            "11:30": lambda: session.add_adhoc_bar(
                "TSLA", "1m", adhoc_bar("TSLA", "1m", instant(WEDNESDAY, "10:00"))
            ),
            "12:00": lambda: session.add_symbol("TSLA"),
        },
    )
    assert told == [("AAPL", True, True), ("NVDA", True, True), ("TSLA", True, True)]


def test_symbols_may_be_brought_and_taken_when_another_is_loaded(market: Path) -> None:
    session = over(market, ["AAPL", "RIVN"])
    partners = {"AAPL": "NVDA", "NVDA": "TSLA", "TSLA": "GHOST"}
    answers: dict[str, bool] = {}

    def bring(rec: ob.SymbolSessionData) -> None:
        if rec.symbol == "AAPL":
            # It is of the config, and not loaded yet.
            answers["RIVN"] = session.add_symbol("RIVN")
        if rec.symbol == "NVDA":
            assert session.remove_symbol("RIVN")
        partner = partners[rec.symbol]
        answers[partner] = session.add_symbol(partner)

    partners["RIVN"] = "AAPL"
    session.on_loaded(bring)
    session.run(lambda ts_ns, records: None)
    assert answers == {"RIVN": True, "NVDA": True, "AAPL": True, "TSLA": True, "GHOST": False}
    assert session.root.get_active_symbols() == {"AAPL", "NVDA", "TSLA"}
    whole = over(market, ["AAPL", "NVDA", "TSLA"])
    whole.run()
    assert tree(session.root) == tree(whole.root)
    assert session.root["TSLA"].added_at == instant(WEDNESDAY, "09:30")


def test_record_registered_by_the_user_is_completed_by_add_symbol_or_refused(
    market: Path,
) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        session.root.register_symbol("NVDA")
        if session.add_symbol("NVDA"):
            assert "NVDA" in session.pending
        else:
            assert session.results["NVDA"].reason

    play(session, {"11:00": ask})
    rec = session.root["NVDA"]
    if session.results["NVDA"].can_proceed:
        assert rec.is_loaded
        whole = over(market, ["AAPL", "NVDA"])
        whole.run()
        assert tree(session.root)["NVDA"]["1s"] == tree(whole.root)["NVDA"]["1s"]
    else:
        assert not rec.is_loaded


def test_log_of_a_day_without_trouble_is_silent(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = over(market, ["AAPL"], **OTHERS)
    play(session, {"11:00": lambda: session.add_symbol("NVDA")})
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
