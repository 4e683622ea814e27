"""Symbols that join a running day, and leave it."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.errors import ArgumentError, RecordDetached
from openbell.sources import ParquetSource, dataset_path
from tests.lifecycle_days import (
    HALF_DAY,
    SECOND,
    WEDNESDAY,
    adhoc_bar,
    check_all,
    damage_pages,
    ends_of,
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

STREAMS = ["1s", "1m", "5m"]
OTHERS = {
    "historical": [{"trailing_days": 2, "intervals": ["1m", "5m"]}],
    "historical_indicators": {
        "avg_volume_2d": {"type": "trailing_average", "field": "volume", "period": "2d"},
        "profile": {
            "type": "trailing_average", "field": "volume", "period": "2d", "granularity": "minute",
        },
    },
    "indicators": [
        {"name": "sma", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 20}},
        {"name": "vwap", "type": "VWAP", "interval": "1s"},
    ],
}  # fmt: skip


def over(folder: Path, symbols: list[str], **others: object) -> ob.SessionCoordinator:
    return session_over(folder, [WEDNESDAY], symbols, STREAMS, **others)


def same_but_provenance(one: ob.SymbolSessionData, two: ob.SymbolSessionData) -> None:
    found, expected = everything(one), everything(two)
    for key in ("profile",):
        a = found["historical_indicators"].pop(key, None)
        b = expected["historical_indicators"].pop(key, None)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)
    for bars in (found["bars"], expected["bars"]):
        # The revision tells that buckets closed by the clock got their bars later.
        for name, (*others, revision, quality, gaps) in bars.items():
            bars[name] = (*others, quality, gaps)
    for key in expected:
        if key != "flags":
            assert found[key] == expected[key], key


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
    assert not session.add_adhoc_bar("NVDA", "1m", adhoc_bar("NVDA", "1m", instant(HALF_DAY, "10:00")))
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


# Leaving


def test_symbol_removed_in_a_slice_is_in_no_later_one(market: Path) -> None:
    session = over(market, ["AAPL", "NVDA", "RIVN"])
    told: list[tuple[int, str]] = []
    session.on_close("1s", lambda rec, bar: told.append((bar.ts_ns, rec.symbol)))
    removed_ns = 0
    for day in session.days():
        for ts_ns, records in day.slices():
            symbols = [rec.symbol for rec in records]
            if removed_ns:
                assert "NVDA" not in symbols
            elif ts_ns >= ns_at(WEDNESDAY, "11:00") and len(symbols) > 1 and "NVDA" in symbols:
                assert session.remove_symbol("NVDA")
                assert not session.remove_symbol("NVDA")
                assert "NVDA" not in session.root
                removed_ns = ts_ns
                list(records)
    assert removed_ns
    assert max(ts for ts, symbol in told if symbol == "NVDA") < removed_ns
    assert session.root.get_active_symbols() == {"AAPL", "RIVN"}
    alone = over(market, ["AAPL", "RIVN"])
    alone.run()
    assert tree(session.root) == tree(alone.root)


def test_symbol_removed_in_its_own_callback_is_told_no_more(market: Path) -> None:
    session = over(market, ["AAPL", "NVDA", "RIVN"])
    told: list[tuple[int, str, str]] = []
    removed: list[int] = []

    def tell(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        now_ns = session.root.now_ns
        told.append((now_ns, bar.interval, rec.symbol))
        if rec.symbol == "NVDA" and now_ns >= ns_at(WEDNESDAY, "11:00"):
            assert session.remove_symbol("NVDA")
            removed.append(now_ns)

    for name in ("1s", "1m", "5m"):
        session.on_close(name, tell)
    session.run()
    assert len(removed) == 1
    assert [t for t in told if t[2] == "NVDA" and t[0] >= removed[0]] == [
        next(t for t in told if t[2] == "NVDA" and t[0] == removed[0])
    ]
    alone = over(market, ["AAPL", "RIVN"])
    others: list[tuple[int, str, str]] = []
    for name in ("1s", "1m", "5m"):
        alone.on_close(
            name,
            lambda rec, bar: others.append((alone.root.now_ns, bar.interval, rec.symbol)),
        )
    alone.run()
    assert [t for t in told if t[2] != "NVDA"] == others
    assert tree(session.root) == tree(alone.root)


def test_symbol_removed_while_it_waits_never_comes(market: Path) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        assert session.add_symbol("NVDA")
        assert session.remove_symbol("NVDA")
        assert session.pending == {}
        assert not session.remove_symbol("NVDA")

    play(session, {"11:00": ask})
    assert session.root.get_active_symbols() == {"AAPL"}


def test_removed_record_is_freed_as_soon_as_nobody_holds_it(market: Path) -> None:
    session = over(market, ["AAPL", "NVDA"], **OTHERS)
    session.on_close("1m", lambda rec, bar: None)
    freed: list[weakref.ref[ob.SymbolSessionData]] = []

    def remove(symbol: str) -> None:
        rec = session.root[symbol]
        for indicator in rec.indicators.values():
            indicator.settle()
        session.root.latest("close", "1m")
        list(rec.bars["1s"].gaps[:3])
        freed.append(weakref.ref(rec))
        assert session.remove_symbol(symbol)

    def look() -> None:
        assert freed[-1]() is None
        assert not any(key[0] in ("NVDA", "RIVN") for key in session.root.active_streams)
        left = [
            held for held in gc.get_objects()
            if isinstance(held, ob.BarIntervalData | ob.IndicatorData)
            and getattr(held, "symbol", "") in ("NVDA", "RIVN")
        ]  # fmt: skip
        assert left == []

    gc.collect()
    gc.disable()
    try:
        play(
            session,
            {
                "11:00": lambda: remove("NVDA"),
                "11:05": look,
                "12:00": lambda: session.add_symbol("RIVN"),
                "12:30": lambda: remove("RIVN"),
                "12:35": look,
            },
        )
    finally:
        gc.enable()


def test_removed_record_held_by_somebody_stays_as_it_was(market: Path) -> None:
    session = over(market, ["AAPL", "NVDA"], **OTHERS)
    held: list[tuple[ob.SymbolSessionData, np.ndarray, dict[str, object]]] = []

    def remove() -> None:
        rec = session.root["NVDA"]
        session.remove_symbol("NVDA")
        before = everything(rec)
        before.pop("historical_indicators")
        held.append((rec, rec.bars["1s"].data, before))

    play(session, {"11:00": remove})
    ((rec, view, before),) = held
    after = everything(rec)
    after.pop("historical_indicators")
    assert after == before
    assert view.tobytes() == rec.bars["1s"].data.tobytes()
    with pytest.raises(RecordDetached):
        rec.append(ns_at(WEDNESDAY, "15:00"), 1.0, 1.0, 1.0, 1.0, 1.0)


def test_add_remove_add_in_one_session_starts_clean(market: Path) -> None:
    session = over(market, ["AAPL"], **OTHERS)
    records: list[ob.SymbolSessionData] = []

    def remove() -> None:
        rec = session.root["NVDA"]
        records.append(rec)
        rec.append(ns_at(WEDNESDAY, "11:00"), 1.0, 1.0, 1.0, 1.0, 1.0)
        with pytest.raises(ob.errors.BarRefused):
            rec.append(ns_at(WEDNESDAY, "11:00") + 1, 1.0, 1.0, 1.0, 1.0, 1.0)
        rec.note_error("test", ValueError("of the first life"))
        assert session.remove_symbol("NVDA")

    play(
        session,
        {
            "11:00": lambda: session.add_symbol("NVDA"),
            "11:30": remove,
            "12:00": lambda: session.add_symbol("NVDA", "scanner"),
        },
    )
    rec = session.root["NVDA"]
    assert rec is not records[0]
    assert rec.added_by == "scanner"
    assert ns_at(WEDNESDAY, "12:00") <= int(rec.added_at.timestamp()) * SECOND  # type: ignore[union-attr]
    whole = over(market, ["AAPL", "NVDA"], **OTHERS)
    whole.run()
    assert tree(session.root) == tree(whole.root)
    same_but_provenance(rec, whole.root["NVDA"])


def test_add_remove_add_within_one_slice_loads_once(market: Path) -> None:
    session = over(market, ["AAPL"])
    loaded = []
    session.on_loaded(lambda rec: loaded.append(rec.symbol))

    def ask() -> None:
        for _ in range(3):
            assert session.add_symbol("NVDA")
            assert session.remove_symbol("NVDA")
        assert session.add_symbol("NVDA")
        assert session.remove_symbol("AAPL")
        assert session.add_symbol("AAPL")
        assert set(session.pending) == {"AAPL", "NVDA"}

    play(session, {"11:00": ask})
    assert loaded == ["AAPL", "NVDA", "AAPL"]
    assert session.root["AAPL"].added_by == "strategy"
    whole = over(market, ["NVDA", "AAPL"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


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


def test_every_symbol_may_go_and_another_come(market: Path) -> None:
    session = over(market, ["AAPL"])
    n_slices = 0
    for day in session.days():
        for _ in day.slices():
            n_slices += 1
            if n_slices == 100:
                session.remove_symbol("AAPL")
                session.add_symbol("NVDA")
    assert session.root.get_active_symbols() == {"NVDA"}
    whole = over(market, ["NVDA"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_last_symbol_gone_ends_the_slices_and_the_day_goes_to_its_close(market: Path) -> None:
    session = over(market, ["AAPL"])
    for day in session.days():
        for n, _ in enumerate(day.slices()):
            assert n == 0
            session.remove_symbol("AAPL")
    assert len(session.root) == 0
    assert session.root.now_ns == window_of(WEDNESDAY).close_ns
    assert session.phase == "ended"


def test_on_loaded_tells_symbols_that_join_too(market: Path) -> None:
    session = over(market, ["AAPL"], **OTHERS)
    told: list[tuple[str, bool, bool]] = []
    session.on_loaded(
        lambda rec: told.append((rec.symbol, rec.is_loaded, "sma" in rec.indicators))
    )
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
    check_all(session.root)
    assert ends_of(window_of(WEDNESDAY), "1m")
