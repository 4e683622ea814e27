"""Bars nobody had announced."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.errors import BarRefused
from openbell.sources import ParquetSource
from tests.lifecycle_days import (
    HALF_DAY,
    SECOND,
    WEDNESDAY,
    adhoc_bar,
    instant,
    ns_at,
    play,
    session_over,
    tree,
    warnings_of,
    window_of,
)
from tests.lifecycle_market import STREAMS, over


def test_bars_before_and_after_the_first_make_one_series(market: Path) -> None:
    session = over(market, ["AAPL"])

    def scan() -> None:
        for clock in ("10:00", "09:45", "10:10", "09:31"):
            bar = adhoc_bar("TSLA", "1m", instant(WEDNESDAY, clock))
            assert session.add_adhoc_bar("TSLA", "1m", bar, source="gap scanner")

    play(session, {"10:30": scan})
    rec = session.root["TSLA"]
    assert rec.bars["1m"].data["timestamp"].tolist() == [
        ns_at(WEDNESDAY, clock) for clock in ("09:31", "09:45", "10:00", "10:10")
    ]
    assert rec.session_volume == 40.0
    assert rec.bars["1m"].quality == pytest.approx(100 * 4 / 390)
    whole = over(market, ["AAPL"])
    whole.run()
    assert tree(session.root)["AAPL"] == tree(whole.root)["AAPL"]


def test_record_of_an_adhoc_bar_is_stamped_by_the_session_clock(market: Path) -> None:
    session = over(market, ["AAPL"])
    stamps = []

    def on_minute(rec: ob.SymbolSessionData, bar: ob.BarData) -> None:
        if "TSLA" not in session.root and session.root.now_ns >= ns_at(WEDNESDAY, "12:00"):
            stamps.append(session.time_manager.get_current_time())
            session.add_adhoc_bar(
                "TSLA", "1m", adhoc_bar("TSLA", "1m", instant(WEDNESDAY, "10:00"))
            )

    session.on_close("1m", on_minute)
    session.run()
    assert [session.root["TSLA"].added_at] == stamps


@pytest.mark.parametrize(
    "values",
    [
        {"price": float("nan")},
        {"volume": float("nan")},
        {"volume": -1.0},
        {"start": "10:00:30"},
        {"start": "09:29"},
        {"start": "16:00"},
        {"day": HALF_DAY},
    ],
    ids=str,
)
def test_refused_bar_of_an_unknown_symbol_leaves_nothing(
    market: Path, caplog: pytest.LogCaptureFixture, values: dict[str, Any]
) -> None:
    session = over(market, ["AAPL"])
    start = instant(values.pop("day", WEDNESDAY), values.pop("start", "10:00"))
    bar = adhoc_bar("TSLA", "1m", start, **values)

    def scan() -> None:
        assert not session.add_adhoc_bar("TSLA", "1m", bar, source="gap scanner")
        assert session.root.get_active_symbols() == {"AAPL"}
        with pytest.raises(BarRefused):
            session.root.add_bar("TSLA", "1m", bar)
        assert session.root.get_active_symbols() == {"AAPL"}

    play(session, {"10:30": scan})
    assert session.root.get_active_symbols() == {"AAPL"}
    assert not any(key[0] == "TSLA" for key in session.root.active_streams)
    (warning,) = warnings_of(caplog)
    assert "TSLA" in warning
    assert "gap scanner" in warning
    whole = over(market, ["AAPL"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


@pytest.mark.parametrize(
    ("symbol", "interval", "reason"),
    [
        ("GHOST", "1m", "no source has this symbol"),
        ("MINCO", "1s", "1m"),
        ("OLDCO", "1s", "no 1s bars of 2025-07-02"),
        ("TSLA", "7x", "7x"),
        ("TSLA", "", ""),
    ],
)
def test_bar_that_no_source_could_have_is_refused_by_name(
    market: Path, caplog: pytest.LogCaptureFixture, symbol: str, interval: str, reason: str
) -> None:
    session = over(market, ["AAPL"])
    bar = adhoc_bar(symbol, interval, instant(WEDNESDAY, "10:00"))

    def scan() -> None:
        ok, why = session._validate_adhoc_bar(symbol, interval, bar)
        assert not ok
        assert reason in why
        assert not session.add_adhoc_bar(symbol, interval, bar)

    play(session, {"10:30": scan})
    assert session.root.get_active_symbols() == {"AAPL"}
    assert len(warnings_of(caplog)) == 1


def test_bar_of_another_symbol_or_interval_is_refused(market: Path) -> None:
    session = over(market, ["AAPL"])
    bar = adhoc_bar("TSLA", "1m", instant(WEDNESDAY, "10:00"))

    def scan() -> None:
        assert not session.add_adhoc_bar("NVDA", "1m", bar)
        assert not session.add_adhoc_bar("TSLA", "5m", bar)
        assert session._validate_adhoc_bar("TSLA", "1m", bar) == (True, "")
        assert session.root.get_active_symbols() == {"AAPL"}

    play(session, {"10:30": scan})


def test_adhoc_bar_of_a_replayed_symbol_is_merged_by_slot(market: Path) -> None:
    seconds = ParquetSource(market).load("AAPL", "1s", window_of(WEDNESDAY))
    now_ns = ns_at(WEDNESDAY, "10:30")
    earlier = seconds["timestamp"][seconds["timestamp"] < now_ns - 600 * SECOND].tolist()
    later = seconds["timestamp"][seconds["timestamp"] > now_ns + 600 * SECOND].tolist()
    held = set(seconds["timestamp"].tolist())
    free_before = next(ts for ts in range(earlier[50], later[0], SECOND) if ts not in held)
    free_after = next(ts for ts in range(later[50], later[-1], SECOND) if ts not in held)
    session = over(market, ["AAPL"])

    def scan() -> None:
        for ts_ns in (earlier[10], free_before, later[10], free_after):
            bar = ob.BarData(ts_ns, 50.0, 52.0, 48.0, 51.0, 10.0, "AAPL", "1s")
            assert session.add_adhoc_bar("AAPL", "1s", bar)

    play(session, {"10:30": scan})
    rec = session.root["AAPL"]
    expected = {row[0]: row for row in seconds.tolist()}
    for ts_ns in (earlier[10], free_before, free_after):
        expected[ts_ns] = (ts_ns, 50.0, 52.0, 48.0, 51.0, 10.0)
    # The replay comes later to the slot that lay ahead: the newest received wins.
    assert rec.bars["1s"].data.tolist() == [expected[ts] for ts in sorted(expected)]
    assert rec.session_volume == sum(row[5] for row in expected.values())
    assert rec.n_corrected == 2
    root = ob.SessionData()
    root.begin(window_of(WEDNESDAY))
    alone = root.register_symbol_data(
        ob.SymbolSessionData("AAPL", base_interval="1s", derived_intervals=["1m", "5m"])
    )
    alone.append_block(np.array([expected[ts] for ts in sorted(expected)], ob.BAR_DTYPE))
    root.end()
    for name in STREAMS:
        assert rec.bars[name].data.tobytes() == alone.bars[name].data.tobytes()
    assert (rec.added_by, rec.auto_provisioned) == ("config", False)


def test_adhoc_bars_of_other_intervals_of_a_replayed_symbol_give_way_to_its_own(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = over(market, ["AAPL"])
    whole = session_over(market, [WEDNESDAY], ["AAPL"], [*STREAMS, "15m"])
    whole.run()

    def scan() -> None:
        over_now = adhoc_bar("AAPL", "15m", instant(WEDNESDAY, "09:45"))
        assert not session.add_adhoc_bar("AAPL", "15m", over_now)
        assert session.root["AAPL"].rejected == {"derived_slot": 1}
        ahead = adhoc_bar("AAPL", "15m", instant(WEDNESDAY, "15:00"))
        assert session.add_adhoc_bar("AAPL", "15m", ahead)
        assert session.root["AAPL"].bars["15m"].last.close == 51.0

    play(session, {"10:30": scan})
    (warning,) = warnings_of(caplog)
    assert "derived_slot" in warning
    ours, theirs = tree(session.root)["AAPL"], tree(whole.root)["AAPL"]
    assert ours.pop("rejected") == {"derived_slot": 1}
    del theirs["rejected"]
    assert ours == theirs
    assert session.root["AAPL"].meets_session_config_requirements


def test_adhoc_bar_of_a_symbol_that_waits_is_kept_by_its_upgrade(market: Path) -> None:
    session = over(market, ["AAPL"])

    def scan() -> None:
        assert session.add_symbol("TSLA")
        bar = adhoc_bar("TSLA", "1m", instant(WEDNESDAY, "10:00"))
        assert session.add_adhoc_bar("TSLA", "1m", bar)
        assert session.root["TSLA"].added_by == "adhoc"

    play(session, {"10:30": scan})
    rec = session.root["TSLA"]
    assert rec.upgraded_from_adhoc
    assert (rec.added_by, rec.is_loaded) == ("strategy", True)
    assert ns_at(WEDNESDAY, "10:00") in rec.bars["1m"].data["timestamp"]


def test_adhoc_bars_from_another_thread_all_arrive(market: Path) -> None:
    session = over(market, ["AAPL"])
    days = session.days()
    day = next(days)
    results: list[bool] = []

    def scan() -> None:
        for n in range(30):
            start_ns = ns_at(WEDNESDAY, "09:30") + n * 60 * SECOND
            bar = ob.BarData(start_ns, 50.0, 52.0, 48.0, 51.0, 10.0, "TSLA", "1m")
            results.append(session.add_adhoc_bar("TSLA", "1m", bar))

    thread = threading.Thread(target=scan)
    slices = day.slices()
    next(slices)
    thread.start()
    for _ in slices:
        pass
    # Whatever came after the last slice is of this day still.
    thread.join()
    assert results == [True] * 30
    assert len(session.root["TSLA"].bars["1m"]) == 30
    assert session.root["TSLA"].session_volume == 300.0
