"""Adhoc records that become full ones, and those that stay as they were."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.sources import DatasetWriter, ParquetSource, dataset_path
from tests.lifecycle_days import (
    SECOND,
    WEDNESDAY,
    adhoc_bar,
    bars_at,
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
    write_days,
)

STREAMS = ["1s", "1m", "5m"]
HISTORY = [{"trailing_days": 2, "intervals": ["1m"]}]
SMA = {"name": "quick", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 3}}


def over(folder: Path, symbols: list[str], **others: object) -> ob.SessionCoordinator:
    return session_over(folder, [WEDNESDAY], symbols, STREAMS, **others)


def add_bar(session: ob.SessionCoordinator, symbol: str, interval: str, clock: str) -> None:
    bar = adhoc_bar(symbol, interval, instant(WEDNESDAY, clock))
    assert session.add_adhoc_bar(symbol, interval, bar)


def labels_of(series: ob.BarIntervalData) -> list[int]:
    return series.data["timestamp"].tolist()


def test_minute_bars_become_derived_when_seconds_come(market: Path) -> None:
    session = over(market, ["AAPL"])
    seconds = ParquetSource(market).load("TSLA", "1s", window_of(WEDNESDAY))
    traded = set((seconds["timestamp"] // (60 * SECOND)).tolist())
    first = ns_at(WEDNESDAY, "09:30") // (60 * SECOND)
    quiet = next(m for m in range(first, first + 60) if m not in traded)
    busy = next(m for m in range(first, first + 60) if m in traded)
    held: dict[str, object] = {}

    def scan() -> None:
        for minute in (quiet, busy):
            bar = ob.BarData(minute * 60 * SECOND, 50.0, 52.0, 48.0, 51.0, 10.0, "TSLA", "1m")
            assert session.add_adhoc_bar("TSLA", "1m", bar)
        rec = session.root["TSLA"]
        held.update(rec=rec, series=rec.bars["1m"], added_at=rec.added_at)
        assert rec.base_interval == "1m"
        assert session.add_symbol("TSLA")

    play(session, {"10:40": scan})
    rec = session.root["TSLA"]
    assert rec is held["rec"]
    assert rec.bars["1m"] is held["series"]
    assert (rec.base_interval, rec.derived_intervals) == ("1s", ["1m", "5m"])
    assert (rec.added_at, rec.auto_provisioned, rec.added_by) == (
        held["added_at"], True, "strategy",
    )  # fmt: skip
    minutes = rec.bars["1m"]
    assert minutes.derived
    at = labels_of(minutes).index(quiet * 60 * SECOND)
    assert minutes.data[at].tolist()[1:] == (50.0, 52.0, 48.0, 51.0, 10.0)
    assert minutes.n_base is not None
    assert minutes.n_base[at] == 0
    whole = over(market, ["AAPL", "TSLA"])
    whole.run()
    expected = whole.root["TSLA"].bars["1m"]
    assert np.delete(minutes.data, at).tobytes() == expected.data.tobytes()
    assert busy * 60 * SECOND in labels_of(expected)
    assert tree(session.root)["TSLA"]["1s"] == tree(whole.root)["TSLA"]["1s"]
    assert tree(session.root)["AAPL"] == tree(whole.root)["AAPL"]
    assert rec.session_volume == whole.root["TSLA"].session_volume


def test_five_minute_bars_are_kept_where_there_is_nothing_finer(tmp_path: Path) -> None:
    window = window_of(WEDNESDAY)
    # Bars in the first ten minutes, and from 11:00 on.
    seconds = bars_at(window, "1s", [*range(0, 600, 7), *range(5400, 23400, 50)])
    every = bars_at(window, "1s", range(0, 23400, 20), 20.0)
    write_days(tmp_path, {WEDNESDAY: {"1s": {"AAA": every, "BBB": seconds}}})
    session = over(tmp_path, ["AAA"])

    def scan() -> None:
        for clock in ("09:30", "10:00", "10:05"):
            add_bar(session, "BBB", "5m", clock)
        assert session.root["BBB"].base_interval == "5m"
        assert session.add_symbol("BBB")

    play(session, {"10:30": scan})
    fives = session.root["BBB"].bars["5m"]
    assert fives.n_base is not None
    n_base = dict(zip(labels_of(fives), fives.n_base.tolist(), strict=True))
    kept = [ns_at(WEDNESDAY, "10:00"), ns_at(WEDNESDAY, "10:05")]
    assert [label for label, n in n_base.items() if n == 0] == kept
    for label in kept:
        row = fives.data[labels_of(fives).index(label)]
        assert row.tolist()[1:] == (50.0, 52.0, 48.0, 51.0, 10.0)
    complete = fives.complete_only()["timestamp"].tolist()
    assert not set(kept) & set(complete)
    whole = over(tmp_path, ["AAA", "BBB"])
    whole.run()
    expected = whole.root["BBB"].bars["5m"].data
    assert fives.data[~np.isin(fives.data["timestamp"], kept)].tobytes() == expected.tobytes()
    assert session.root["BBB"].bars["1m"].data.tobytes() == (
        whole.root["BBB"].bars["1m"].data.tobytes()
    )
    # What no base bar says is not in the day's sums.
    assert session.root["BBB"].session_metrics == whole.root["BBB"].session_metrics


def test_second_bars_of_the_same_base_are_merged_by_slot(market: Path) -> None:
    session = over(market, ["AAPL"])
    seconds = ParquetSource(market).load("TSLA", "1s", window_of(WEDNESDAY))
    there = int(seconds["timestamp"][5])
    free = next(
        ts for ts in range(int(seconds["timestamp"][5]), 1 << 62, SECOND)
        if ts not in set(seconds["timestamp"].tolist())
    )  # fmt: skip

    def scan() -> None:
        for ts_ns in (there, free):
            bar = ob.BarData(ts_ns, 50.0, 52.0, 48.0, 51.0, 10.0, "TSLA", "1s")
            assert session.add_adhoc_bar("TSLA", "1s", bar)
        assert session.add_symbol("TSLA")

    play(session, {"10:30": scan})
    rec = session.root["TSLA"]
    held = rec.bars["1s"].data
    at = int(np.searchsorted(held["timestamp"], free))
    assert held["timestamp"][at] == free
    assert held[at].tolist()[1:] == (50.0, 52.0, 48.0, 51.0, 10.0)
    # Of the slot in both, the newest received wins: the one of the file.
    assert np.delete(held, at).tobytes() == seconds.tobytes()
    assert rec.n_corrected == 1
    minute = rec.bars["1m"].asof(free // (60 * SECOND) * 60 * SECOND + 60 * SECOND)
    assert minute.high >= 52.0


def over_minutes(folder: Path, symbols: list[str]) -> ob.SessionCoordinator:
    return session_over(folder, [WEDNESDAY], symbols, ["1m", "5m"], base="1m")


def test_second_bars_are_kept_beside_a_base_of_minutes(market: Path) -> None:
    session = over_minutes(market, ["AAPL"])

    def scan() -> None:
        for clock in ("09:40:01", "09:40:30", "09:41"):
            add_bar(session, "TSLA", "1s", clock)
        assert session.add_symbol("TSLA")

    play(session, {"10:30": scan})
    rec = session.root["TSLA"]
    assert rec.upgraded_from_adhoc
    assert (rec.base_interval, rec.derived_intervals) == ("1m", ["5m"])
    assert labels_of(rec.bars["1s"]) == [
        ns_at(WEDNESDAY, clock) for clock in ("09:40:01", "09:40:30", "09:41")
    ]
    assert not rec.bars["1s"].derived
    whole = over_minutes(market, ["AAPL", "TSLA"])
    whole.run()
    ours, theirs = tree(session.root), tree(whole.root)
    del ours["TSLA"]["1s"]
    assert ours == theirs


def test_series_that_take_no_bars_after_an_upgrade_are_warned_of(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session = over_minutes(market, ["AAPL"])
    fives = {"name": "x", "type": "SMA", "interval": "5s", "parameters": {"timeperiod": 3}}

    def ask() -> None:
        assert session.root["TSLA"].base_interval == "1s"
        assert session.add_symbol("TSLA")

    play(session, {"10:30": lambda: session.add_adhoc_indicator("TSLA", fives), "11:00": ask})
    rec = session.root["TSLA"]
    assert rec.base_interval == "1m"
    assert rec.bars["5s"].last.ts_ns < ns_at(WEDNESDAY, "11:05")
    (warning,) = warnings_of(caplog)
    assert "TSLA: 1m bars arrive from now on" in warning
    assert "1s, 5s" in warning
    whole = over_minutes(market, ["AAPL", "TSLA"])
    whole.run()
    assert rec.bars["1m"].data.tobytes() == whole.root["TSLA"].bars["1m"].data.tobytes()


def harm_pages(folder: Path) -> None:
    damage_pages(dataset_path(folder, "bars", WEDNESDAY, "1s"), "TSLA")


def harm_file(folder: Path) -> None:
    truncate(dataset_path(folder, "bars", WEDNESDAY, "1s"))


def harm_history(folder: Path) -> None:
    for path in (folder / "bars" / "interval=1m").iterdir():
        truncate(path)


@pytest.mark.parametrize("harm", [harm_pages, harm_file, harm_history])
@pytest.mark.parametrize("when", ["before", "after"])
def test_upgrade_whose_load_fails_leaves_the_record_as_it_was(
    own_market: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], when: str
) -> None:
    session = over(own_market, ["AAPL"], historical=HISTORY)
    held: dict[str, object] = {}
    told: list[str] = []
    session.on_close("1m", lambda rec, bar: told.append(rec.symbol))

    def scan() -> None:
        add_bar(session, "TSLA", "1m", "09:40")
        add_bar(session, "TSLA", "5m", "09:50")

    def ask() -> None:
        rec = session.root["TSLA"]
        held.update(rec=rec, before=everything(rec, by_clock=False), view=rec.bars["1m"].data)
        if when == "before":
            harm(own_market)
        is_asked = session.add_symbol("TSLA")
        if when == "after":
            assert is_asked
            harm(own_market)

    def look() -> None:
        rec = session.root["TSLA"]
        assert rec is held["rec"]
        assert everything(rec, by_clock=False) == held["before"]
        assert session.pending == {}
        result = session.results["TSLA"]
        assert not result.can_proceed
        assert result.reason
        # The record takes adhoc bars as ever.
        add_bar(session, "TSLA", "1m", "09:55")

    play(session, {"10:30": scan, "10:40": ask, "11:00": look})
    rec = session.root["TSLA"]
    assert (rec.added_by, rec.meets_session_config_requirements) == ("adhoc", False)
    assert not rec.is_loaded
    assert any("TSLA" in line for line in warnings_of(caplog))
    assert len(session.root["AAPL"].bars["5m"]) == 78


@pytest.mark.parametrize("harm", [harm_pages, harm_history])
def test_record_that_is_streamed_goes_on_after_its_upgrade_failed(
    own_market: Path, harm: Callable[[Path], None]
) -> None:
    shown = []
    for is_asked in (False, True):
        session = over(own_market, ["AAPL"], historical=HISTORY)

        def ask() -> None:
            if is_asked:  # noqa: B023
                assert session.add_symbol("TSLA")  # noqa: B023
                harm(own_market)

        play(
            session,
            {"10:30": lambda: session.add_adhoc_indicator("TSLA", SMA), "11:00": ask},  # noqa: B023
        )
        shown.append(everything(session.root["TSLA"]))
        assert session.root["TSLA"].indicators["quick"].ready
        assert len(session.root["TSLA"].bars["1m"]) > 300
    assert not session.results["TSLA"].can_proceed
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("symbol", "reason"),
    [("GHOST", "unknown"), ("OLDCO", "no 1s bars"), ("NEWCO", "history"), ("MINCO", "1s")],
)
def test_upgrade_that_is_refused_at_once_leaves_the_record_as_it_was(
    market: Path, symbol: str, reason: str
) -> None:
    session = over(market, ["AAPL"], historical=HISTORY)

    def ask() -> None:
        # The root takes bars of symbols that no source knows.
        session.root.add_bar(symbol, "1m", adhoc_bar(symbol, "1m", instant(WEDNESDAY, "09:40")))
        rec = session.root[symbol]
        before = everything(rec)
        assert not session.add_symbol(symbol)
        assert reason in session.results[symbol].reason
        assert session.pending == {}
        assert everything(rec) == before

    play(session, {"10:30": ask})
    assert not session.root[symbol].meets_session_config_requirements


def test_failed_upgrade_may_be_asked_for_again(own_market: Path, market: Path) -> None:
    path = dataset_path(own_market, "bars", WEDNESDAY, "1s")
    whole = path.read_bytes()
    session = over(own_market, ["AAPL"])

    def ask() -> None:
        add_bar(session, "TSLA", "1m", "09:40")
        harm_pages(own_market)
        session.add_symbol("TSLA")

    def again() -> None:
        assert not session.results["TSLA"].can_proceed
        path.write_bytes(whole)
        assert session.add_symbol("TSLA", added_by="scanner")

    play(session, {"10:30": ask, "11:00": again})
    rec = session.root["TSLA"]
    assert rec.upgraded_from_adhoc
    assert rec.added_by == "scanner"
    alone = over(market, ["TSLA"])
    alone.run()
    assert tree(session.root)["TSLA"]["1s"] == tree(alone.root)["TSLA"]["1s"]


def test_upgrade_tells_bars_from_then_on_once(market: Path) -> None:
    session = over(market, ["AAPL"])
    told: list[tuple[int, str, str, int]] = []
    asked: list[int] = []
    for name in ("1s", "1m", "5m"):
        session.on_close(
            name,
            lambda rec, bar: told.append(
                (session.root.now_ns, bar.interval, rec.symbol, bar.ts_ns)
            ),
            corrections=True,
        )

    def ask() -> None:
        add_bar(session, "TSLA", "1m", "09:40")
        assert session.add_symbol("TSLA")
        asked.append(session.root.now_ns)
        told.clear()

    play(session, {"10:30": ask})
    seconds = ParquetSource(market).load("TSLA", "1s", window_of(WEDNESDAY))
    expected = expected_closings(
        window_of(WEDNESDAY), ["1s", "1m", "5m"], {"TSLA": ("1s", seconds)}
    )
    of_it = [t for t in told if t[2] == "TSLA"]
    assert [t for t in of_it if t[0] > asked[0]] == [t for t in expected if t[0] > asked[0]]
    assert {t[0] for t in of_it if t[0] <= asked[0]} <= {asked[0]}


@pytest.mark.parametrize("interval", ["1s", "1m", "5m"])
@pytest.mark.parametrize("clock", ["09:30", "10:30"])
def test_indicator_of_the_adhoc_record_goes_on_after_the_upgrade(
    market: Path, interval: str, clock: str
) -> None:
    wanted = {
        "name": "quick", "type": "SMA", "interval": interval, "parameters": {"timeperiod": 3},
    }  # fmt: skip
    own = {"name": "own", "type": "EMA", "interval": "1m", "parameters": {"timeperiod": 5}}
    session = over(market, ["AAPL"], indicators=[own], historical=HISTORY)
    held: dict[str, object] = {}

    def ask() -> None:
        rec = session.root["TSLA"]
        held.update(rec=rec, added_at=rec.added_at)
        assert (rec.added_by, rec.is_loaded) == ("adhoc", False)
        rec.indicators["quick"].settle()
        assert session.add_symbol("TSLA")

    if clock == "09:30":
        days = session.days()
        day = next(days)
        assert session.add_adhoc_indicator("TSLA", wanted)
        assert session.add_symbol("TSLA")
        day.run()
    else:
        play(
            session,
            {"10:00": lambda: session.add_adhoc_indicator("TSLA", wanted), clock: ask},
        )
        assert session.root["TSLA"] is held["rec"]
        assert session.root["TSLA"].added_at == held["added_at"]
    rec = session.root["TSLA"]
    assert rec.upgraded_from_adhoc
    assert set(rec.indicators) == {"quick", "own"}
    whole = over(market, ["AAPL", "TSLA"], indicators=[own, wanted], historical=HISTORY)
    whole.run()
    ours, theirs = tree(session.root), tree(whole.root)
    for shown in (ours, theirs):
        # What the indicator had brought came again with the upgrade.
        _, n_corrected, n_late = shown["TSLA"].pop("counters")
        assert (n_corrected, n_late) == (0, 0)
    assert ours == theirs
    for name in ("quick", "own"):
        ours, theirs = rec.indicators[name], whole.root["TSLA"].indicators[name]
        assert ours.value == pytest.approx(theirs.value, rel=1e-9)
        assert ours.timestamp == theirs.timestamp
    closes = rec.bars[interval].data["close"][-3:]
    assert rec.indicators["quick"].value == pytest.approx(closes.mean(), rel=1e-12)


def test_symbol_and_indicator_asked_for_in_one_slice_in_either_order(market: Path) -> None:
    trees = []
    for is_symbol_first in (True, False):
        session = over(market, ["AAPL"])

        def ask() -> None:
            acts = [
                lambda: session.add_symbol("TSLA"),  # noqa: B023
                lambda: session.add_adhoc_indicator("TSLA", SMA),  # noqa: B023
            ]
            for act in acts if is_symbol_first else reversed(acts):  # noqa: B023
                assert act()

        play(session, {"10:30": ask})
        rec = session.root["TSLA"]
        assert rec.is_loaded
        assert rec.auto_provisioned == (not is_symbol_first)
        assert rec.indicators["quick"].ready
        trees.append(tree(session.root))
    whole = over(market, ["AAPL", "TSLA"])
    whole.run()
    assert trees == [tree(whole.root)] * 2


def test_upgrade_of_an_adhoc_record_with_bars_ahead_of_the_clock(market: Path) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        add_bar(session, "TSLA", "1m", "15:00")
        assert session.add_symbol("TSLA")

    play(session, {"10:30": ask})
    rec = session.root["TSLA"]
    assert rec.upgraded_from_adhoc
    whole = over(market, ["AAPL", "TSLA"])
    whole.run()
    expected = whole.root["TSLA"]
    assert rec.bars["1s"].data.tobytes() == expected.bars["1s"].data.tobytes()
    ours = rec.bars["1m"].data
    extra = [ns_at(WEDNESDAY, "15:00")] if len(ours) > len(expected.bars["1m"]) else []
    assert ours[~np.isin(ours["timestamp"], extra)].tobytes() == (
        expected.bars["1m"].data.tobytes()
    )


def test_quotes_and_ticks_of_an_adhoc_record_stay(market: Path) -> None:
    session = over(market, ["AAPL"])

    def ask() -> None:
        at = instant(WEDNESDAY, "10:00")
        quote = ob.QuoteData(int(at.timestamp()) * SECOND, 10.0, 10.1, 1.0, 2.0, "TSLA")
        session.root.add_quote("TSLA", quote)
        assert session.root["TSLA"].base_interval == "1m"
        assert session.add_symbol("TSLA")

    play(session, {"10:30": ask})
    rec = session.root["TSLA"]
    assert rec.upgraded_from_adhoc
    assert len(rec.quotes) == 1
    whole = over(market, ["AAPL", "TSLA"])
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_adjusted_history_is_warned_of_when_a_symbol_joins(
    own_market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    past = date(2025, 6, 30)
    window = window_of(past)
    writer = DatasetWriter(
        own_market, calendar="XNYS", timezone=window.timezone, adjustment="split"
    )
    path = dataset_path(own_market, "bars", past, "1m")
    bars = ParquetSource(own_market).load("NVDA", "1m", window)
    path.unlink()
    writer.write(past, {"NVDA": bars}, interval="1m")
    everyday = [{"trailing_days": 3, "intervals": ["1m"]}]
    session = over(own_market, ["AAPL"], historical=everyday)
    play(session, {"10:30": lambda: session.add_symbol("NVDA")})
    assert len(session.root["NVDA"].historical_bars["1m"]) == 3
    assert [line for line in warnings_of(caplog) if "split" in line and "NVDA" in line]
