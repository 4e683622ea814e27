"""Joining and upgrading on other exchanges, hours and settings; what is exported on the way."""

from __future__ import annotations

import threading
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import openbell as ob
from openbell.sources import write_sample
from tests.lifecycle_days import (
    SECOND,
    WEDNESDAY,
    adhoc_bar,
    check_all,
    instant,
    play,
    session_over,
    tree,
)

STREAMS = ["1s", "1m", "5m", "1h"]
SMA = {"name": "quick", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 3}}


def settings_of(calendar: str, **others: Any) -> dict[str, Any]:
    return {"exchange": calendar, **others}


SETTINGS = [
    pytest.param(settings_of("XNYS"), id="plain"),
    pytest.param(settings_of("XNYS", anchor="clock"), id="clock"),
    pytest.param(settings_of("XNYS", on_incomplete="skip"), id="skip"),
    pytest.param(settings_of("XNYS", base="1s"), id="base"),
    pytest.param(settings_of("XNYS", hours=[["09:30", "10:30"], ["12:00", "13:10"]]), id="hours"),
    pytest.param(settings_of("XNYS", strict=True), id="strict"),
    pytest.param(settings_of("XHKG"), id="lunch"),
    pytest.param(settings_of("24/7", hours=[["00:00", "03:00"]]), id="24/7"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for calendar in ("XNYS", "XHKG", "24/7"):
        folder = tmp_path_factory.mktemp("exchange")
        days = [date(2025, 6, 30), date(2025, 7, 2)]
        write_sample(folder, ["AAA", "BBB", "CCC"], days, calendar=calendar, fill_rate=0.05)
        found[calendar] = folder
    return found


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_symbol_that_joins_shows_in_the_end_what_it_shows_from_the_config(
    folders: dict[str, Path], settings: dict[str, Any], share: float
) -> None:
    folder = folders[settings["exchange"]]
    whole = session_over(folder, [WEDNESDAY], ["AAA", "BBB", "CCC"], STREAMS, **settings)
    instants = [ts_ns for day in whole.days() for ts_ns, _ in day.slices()]
    session = session_over(folder, [WEDNESDAY], ["AAA"], STREAMS, **settings)
    ask_ns = instants[int(share * (len(instants) - 1))]
    is_asked = False
    for day in session.days():
        for ts_ns, _ in day.slices():
            if ts_ns >= ask_ns and not is_asked:
                is_asked = True
                assert session.add_symbol("BBB")
                assert session.add_adhoc_indicator("CCC", SMA)
                asked = session.pending
            elif is_asked and not session.root["CCC"].meets_session_config_requirements:
                assert session.add_symbol("CCC", "scanner")
    check_all(session.root)
    ours, theirs = tree(session.root), tree(whole.root)
    # What the indicator brought came again.
    ours["CCC"].pop("counters"), theirs["CCC"].pop("counters")
    assert ours == theirs
    rec = session.root["CCC"]
    assert rec.upgraded_from_adhoc
    assert rec.added_at == asked["CCC"]
    assert session.root["BBB"].added_at == asked["BBB"]
    closes = rec.bars["1m"].data["close"]
    assert rec.indicators["quick"].value == pytest.approx(closes[-3:].mean(), rel=1e-12)


def test_symbol_that_another_thread_asks_for_joins_an_untold_run(folders: dict[str, Path]) -> None:
    folder = folders["XNYS"]
    whole = session_over(folder, [WEDNESDAY], ["AAA", "BBB"], STREAMS)
    whole.run()
    for pause_s in (0.0, 0.001, 0.002, 0.004):
        session = session_over(folder, [WEDNESDAY], ["AAA"], STREAMS)
        may_ask = threading.Event()
        session.on_loaded(lambda rec, may_ask=may_ask: may_ask.set())
        answers: list[bool] = []

        def ask(
            session: ob.SessionCoordinator = session,
            may_ask: threading.Event = may_ask,
            answers: list[bool] = answers,
            pause_s: float = pause_s,
        ) -> None:
            may_ask.wait(20)
            threading.Event().wait(pause_s)
            answers.append(session.add_symbol("BBB"))

        thread = threading.Thread(target=ask)
        thread.start()
        session.run()
        thread.join(20)
        check_all(session.root)
        ours = tree(session.root)
        assert ours["AAA"] == tree(whole.root)["AAA"]
        if "BBB" in ours:
            assert answers == [True]
            assert ours == tree(whole.root)


def test_dump_and_log_are_sound_at_every_step(market: Path, tmp_path: Path) -> None:
    session = session_over(
        market, [WEDNESDAY], ["AAPL", "RIVN"], ["1s", "1m", "5m"],
        historical=[{"trailing_days": 1, "intervals": ["1m"]}],
        historical_indicators={
            "avg_volume_2d": {"type": "trailing_average", "field": "volume", "period": "2d"}
        },
        indicators=[{"name": "vwap", "type": "VWAP", "interval": "1s"}],
    )  # fmt: skip
    n_checked = 0

    def check() -> None:
        nonlocal n_checked
        n_checked += 1
        for path in (tmp_path / "dump.json", tmp_path / "log.csv"):
            if path.suffix == ".json":
                session.root.write_json(path)
            else:
                session.root.to_csv(path)
            assert [str(found) for found in ob.validate_session_dump(path)] == []

    def bar(interval: str, clock: str) -> None:
        check()
        start = instant(WEDNESDAY, clock)
        assert session.add_adhoc_bar("TSLA", interval, adhoc_bar("TSLA", interval, start))
        check()

    def check_before(act: Any, *values: Any) -> None:
        check()
        assert act(*values)
        check()

    play(
        session,
        {
            "09:40": lambda: bar("5m", "09:35"),
            "10:00": lambda: bar("1m", "09:50"),
            "10:20": lambda: check_before(session.add_symbol, "NVDA"),
            "10:40": lambda: check_before(session.add_adhoc_indicator, "TSLA", SMA),
            "11:00": lambda: check_before(session.add_symbol, "TSLA"),
            "11:20": lambda: check_before(session.remove_symbol, "RIVN"),
            "11:40": lambda: check_before(session.add_symbol, "RIVN", "scanner"),
            "12:00": lambda: check_before(session.remove_symbol, "NVDA"),
            "12:20": lambda: check_before(session.add_adhoc_indicator, "MINCO", SMA),
            "12:40": check,
        },
    )
    check()
    assert n_checked == 20
    assert session.root.get_active_symbols() == {"AAPL", "RIVN", "TSLA", "MINCO"}


def test_paced_session_takes_a_symbol_in(folders: dict[str, Path]) -> None:
    settings = {"hours": [["09:30", "09:34"]], "speed": 1200}
    session = session_over(folders["XNYS"], [WEDNESDAY], ["AAA"], ["1s", "1m"], **settings)
    n = 0
    for day in session.days():
        for _ in day.slices():
            n += 1
            if n == 3:
                assert session.add_symbol("BBB")
    whole = session_over(folders["XNYS"], [WEDNESDAY], ["AAA", "BBB"], ["1s", "1m"], **settings)
    whole.run()
    assert tree(session.root) == tree(whole.root)


def test_every_slice_holds_exactly_the_records_that_had_a_bar(market: Path) -> None:
    session = session_over(market, [WEDNESDAY], ["AAPL"], ["1s", "1m"])
    came: dict[str, list[int]] = {}
    comings: dict[str, int] = {}
    rng = np.random.default_rng(7)
    for day in session.days():
        for n, (ts_ns, records) in enumerate(day.slices()):
            for rec in records:
                came.setdefault(rec.symbol, []).append(ts_ns)
                assert rec.bars["1s"].last.ts_ns + SECOND == ts_ns
            if n % 150 == 100:
                symbol = str(rng.choice(["NVDA", "RIVN", "TSLA"]))
                if session.remove_symbol(symbol):
                    came.pop(symbol, None)
                    comings.pop(symbol)
                else:
                    assert session.add_symbol(symbol)
                    comings[symbol] = ts_ns
    assert set(came) == {"AAPL", *comings} == session.root.get_active_symbols()
    for symbol, instants in came.items():
        labels = session.root[symbol].bars["1s"].data["timestamp"] + SECOND
        joined_ns = comings.get(symbol, 0)
        assert instants == labels[labels > joined_ns].tolist()
