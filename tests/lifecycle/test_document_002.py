"""The eight test cases that document 002 asks for, on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import openbell as ob
from openbell.errors import SessionValidationError
from openbell.provenance import check_provenance
from tests.lifecycle_days import (
    HALF_DAY,
    WEDNESDAY,
    adhoc_bar,
    everything,
    instant,
    play,
    session_over,
    tree,
    warnings_of,
)

STREAMS = ["1s", "1m", "5m"]
HISTORY = [{"trailing_days": 2, "intervals": ["1m"]}]
FLAGS = (
    "meets_session_config_requirements",
    "added_by",
    "auto_provisioned",
    "upgraded_from_adhoc",
)


def flags_of(rec: ob.SymbolSessionData) -> dict[str, object]:
    return {name: getattr(rec, name) for name in FLAGS}


def test_case_1_invalid_symbols_drop_with_a_warning_and_the_session_proceeds(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    symbols = ["AAPL", "GHOST", "NEWCO"]
    session = session_over(market, [WEDNESDAY], symbols, STREAMS, historical=HISTORY)
    session.run()
    assert [rec.symbol for rec in session.root] == ["AAPL"]
    assert session.root["AAPL"].is_loaded
    assert len(session.root["AAPL"].bars["5m"]) == 78
    assert list(session.root["AAPL"].historical_bars["1m"]) != []
    assert {s: r.can_proceed for s, r in session.results.items()} == {
        "AAPL": True, "GHOST": False, "NEWCO": False,
    }  # fmt: skip
    ghost, newco = session.results["GHOST"], session.results["NEWCO"]
    assert not ghost.data_source_available
    assert "unknown symbol" in ghost.reason
    assert newco.data_source == "parquet"
    assert not newco.has_historical_data
    assert "history" in newco.reason
    warnings = warnings_of(caplog)
    assert len(warnings) == 2
    assert "GHOST" in warnings[0]
    assert "NEWCO" in warnings[1]


def test_case_2_session_terminates_when_all_symbols_fail(
    market: Path, caplog: pytest.LogCaptureFixture
) -> None:
    symbols = ["GHOST", "OLDCO", "NEWCO"]
    session = session_over(market, [WEDNESDAY], symbols, STREAMS, historical=HISTORY)
    with pytest.raises(SessionValidationError) as caught:
        session.run()
    reasons = caught.value.reasons
    assert list(reasons) == symbols
    assert "unknown symbol" in reasons["GHOST"]
    assert "no 1s bars of 2025-07-02" in reasons["OLDCO"]
    assert "history" in reasons["NEWCO"]
    assert session.phase == "idle"
    assert len(session.root) == 0
    assert session.root.window is None
    assert warnings_of(caplog) == []


def test_case_3_adhoc_bar_provisions_a_symbol_that_is_not_loaded(market: Path) -> None:
    session = session_over(market, [WEDNESDAY], ["AAPL"], STREAMS)
    start = instant(WEDNESDAY, "10:00")

    def scan() -> None:
        assert session.add_adhoc_bar("TSLA", "1m", adhoc_bar("TSLA", "1m", start))
        rec = session.root["TSLA"]
        assert flags_of(rec) == dict(zip(FLAGS, (False, "adhoc", True, False), strict=True))
        assert not rec.is_loaded
        assert rec.added_at == session.time_manager.get_current_time()

    play(session, {"10:30": scan})
    rec = session.root["TSLA"]
    assert session.root.get_active_symbols() == {"AAPL", "TSLA"}
    assert session.root.get_loaded_symbols() == session.get_loaded_symbols() == {"AAPL"}
    assert list(rec.bars) == ["1m"]
    (bar,) = rec.bars["1m"].data
    assert bar.tolist()[1:] == (50.0, 52.0, 48.0, 51.0, 10.0)
    assert bar["timestamp"] == int(start.timestamp()) * 10**9
    assert rec.historical_bars == rec.historical_indicators == rec.indicators == {}


def test_case_4_adhoc_record_is_upgraded_in_full(market: Path) -> None:
    session = session_over(market, [WEDNESDAY], ["AAPL"], STREAMS, historical=HISTORY)
    held = []

    def scan() -> None:
        assert session.add_adhoc_bar(
            "TSLA", "1m", adhoc_bar("TSLA", "1m", instant(WEDNESDAY, "10:00"))
        )
        held.append((session.root["TSLA"], session.root["TSLA"].added_at))

    def ask() -> None:
        assert session.add_symbol("TSLA")
        assert set(session.pending) == {"TSLA"}
        assert not session.root["TSLA"].meets_session_config_requirements

    play(session, {"10:30": scan, "11:00": ask})
    rec, added_at = held[0]
    assert session.root["TSLA"] is rec
    assert flags_of(rec) == dict(zip(FLAGS, (True, "strategy", True, True), strict=True))
    assert rec.is_loaded
    assert rec.added_at == added_at
    assert session.pending == {}
    assert session.root.get_loaded_symbols() == {"AAPL", "TSLA"}
    assert (rec.base_interval, rec.derived_intervals) == ("1s", ["1m", "5m"])
    alone = session_over(market, [WEDNESDAY], ["TSLA"], STREAMS)
    alone.run()
    assert tree(session.root)["TSLA"]["1s"] == tree(alone.root)["TSLA"]["1s"]
    assert len(rec.historical_bars["1m"]) == 2


def test_case_5_duplicate_add_symbol_skips_loading(market: Path) -> None:
    session = session_over(market, [WEDNESDAY], ["AAPL"], STREAMS, historical=HISTORY)
    loaded = []
    session.on_loaded(lambda rec: loaded.append(rec.symbol))

    def ask() -> None:
        rec = session.root["AAPL"]
        before = everything(rec)
        result = session.results["AAPL"]
        assert session.add_symbol("AAPL")
        assert session.pending == {}
        assert session.root["AAPL"] is rec
        assert session.results["AAPL"] is result
        assert everything(rec) == before

    play(session, {"09:31": ask, "15:00": ask})
    assert loaded == ["AAPL"]
    alone = session_over(market, [WEDNESDAY], ["AAPL"], STREAMS)
    alone.run()
    assert tree(session.root) == tree(alone.root)
    assert flags_of(session.root["AAPL"]) == dict(
        zip(FLAGS, (True, "config", False, False), strict=True)
    )


def test_case_6_nothing_persists_between_sessions(market: Path) -> None:
    symbols = ["AAPL", "RIVN"]
    session = session_over(market, [WEDNESDAY, HALF_DAY], symbols, STREAMS)
    first = play(
        session,
        {
            "10:30": lambda: session.add_adhoc_bar(
                "TSLA", "1m", adhoc_bar("TSLA", "1m", instant(WEDNESDAY, "10:00"))
            ),
            "10:40": lambda: session.add_symbol("NVDA"),
        },
    )
    assert session.root.get_active_symbols() == {"AAPL", "RIVN", "TSLA", "NVDA"}
    yesterday = list(session.root)
    day = next(first)
    assert day.date == HALF_DAY
    assert session.root.get_active_symbols() == set(symbols) == set(session.results)
    for rec in session.root:
        assert rec not in yesterday
        assert len(rec.bars["1s"]) == 0
        assert (rec.added_by, rec.added_at) == ("config", None)
    assert not any(key[0] in ("TSLA", "NVDA") for key in session.root.active_streams)
    assert session.pending == {}
    day.run()
    assert session.root.get_active_symbols() == set(symbols)
    alone = session_over(market, [HALF_DAY], symbols, STREAMS)
    alone.run()
    assert tree(session.root) == tree(alone.root)


def mixed_session(market: Path) -> ob.SessionCoordinator:
    """One symbol of each way in: config, strategy, scanner, adhoc, and one upgraded."""
    session = session_over(market, [WEDNESDAY], ["AAPL"], STREAMS)
    at = instant(WEDNESDAY, "10:00")
    play(
        session,
        {
            "10:30": lambda: session.add_adhoc_bar("TSLA", "1m", adhoc_bar("TSLA", "1m", at)),
            "10:31": lambda: session.add_adhoc_bar("MINCO", "5m", adhoc_bar("MINCO", "5m", at)),
            "11:00": lambda: session.add_symbol("RIVN"),
            "12:00": lambda: session.add_symbol("NVDA", added_by="scanner"),
            "13:00": lambda: session.add_symbol("TSLA", added_by="scanner"),
        },
    )
    return session


EXPECTED = {
    "AAPL": (True, "config", False, False),
    "RIVN": (True, "strategy", False, False),
    "NVDA": (True, "scanner", False, False),
    "TSLA": (True, "scanner", True, True),
    "MINCO": (False, "adhoc", True, False),
}


def test_case_7_json_export_says_where_each_symbol_came_from(market: Path, tmp_path: Path) -> None:
    session = mixed_session(market)
    path = tmp_path / "dump.json"
    session.root.write_json(path)
    dump = json.loads(path.read_text())
    assert set(dump["symbols"]) == set(EXPECTED)
    for symbol, expected in EXPECTED.items():
        metadata = dump["symbols"][symbol]["metadata"]
        assert {name: metadata[name] for name in FLAGS} == dict(zip(FLAGS, expected, strict=True))
        added_at = session.root[symbol].added_at
        assert (metadata["added_at"] is None) == (symbol == "AAPL") == (added_at is None)
        if added_at is not None:
            assert metadata["added_at"] == added_at.isoformat()
        assert dump["symbols"][symbol]["is_loaded"] == expected[0]
        assert check_provenance(session.root[symbol]) == []
    hours = {s: dump["symbols"][s]["metadata"]["added_at"] for s in EXPECTED if s != "AAPL"}
    # New York is four hours behind in July.
    assert {symbol: at[11:15] for symbol, at in hours.items()} == {
        "TSLA": "14:3", "MINCO": "14:3", "RIVN": "15:0", "NVDA": "16:0",
    }  # fmt: skip
    assert list(ob.validate_session_dump(path)) == []


def test_case_8_csv_log_passes_the_checks_of_its_metadata(market: Path, tmp_path: Path) -> None:
    session = mixed_session(market)
    path = tmp_path / "log.csv"
    session.root.to_csv(path)
    header, first, *_ = path.read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    for symbol, (meets, added_by, provisioned, upgraded) in EXPECTED.items():
        assert row[f"{symbol}_meets_config_req"].lower() == str(meets).lower()
        assert row[f"{symbol}_added_by"] == added_by
        assert row[f"{symbol}_auto_provisioned"].lower() == str(provisioned).lower()
        assert row[f"{symbol}_upgraded_from_adhoc"].lower() == str(upgraded).lower()
    assert list(ob.validate_session_dump(path)) == []
    forged = tmp_path / "forged.csv"
    forged.write_text(path.read_text().replace(",strategy,", ",adhoc,"))
    assert [found for found in ob.validate_session_dump(forged) if "adhoc" in str(found)]
