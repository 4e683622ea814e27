"""The CSV session log of a real session."""

from __future__ import annotations

import csv
import os
from datetime import date
from pathlib import Path

import numpy as np
import pytest

import openbell as ob
from openbell.errors import IntervalError, SessionStateError
from openbell.export import validate_session_dump, write_session_csv
from openbell.schema import BAR_DTYPE
from tests.export_session import MINUTE, at, make_session, make_window, ns

GOLDEN = Path(__file__).parents[1] / "golden" / "session_log_v1.csv"


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_export_csv_equals_the_log_written_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    write_session_csv(make_session(), path, interval="5m")
    assert path.read_text().splitlines() == GOLDEN.read_text().splitlines()
    assert os.listdir(tmp_path) == ["log.csv"]


def test_export_csv_has_the_columns_and_cells_of_the_specification(tmp_path: Path) -> None:
    """The example of the specification's document on metadata, and what stands beside it."""
    root = ob.SessionData()
    root.begin(make_window())
    aapl = root.register_symbol_data(
        ob.SymbolSessionData("AAPL", is_loaded=True, meets_session_config_requirements=True)
    )
    for minute in (30, 31):
        aapl.append(ns(at(13, minute)), 10.0, 10.0, 10.0, 10.0, 1)
    root.add_bar("TSLA", "1m", ob.BarData(at(13, 31), 20.0, 20.0, 20.0, 20.0, 1))
    root.to_csv(tmp_path / "log.csv")
    specified = [
        "AAPL_1m_bars", "AAPL_meets_config_req", "AAPL_added_by",
        "TSLA_1m_bars", "TSLA_meets_config_req", "TSLA_added_by",
    ]  # fmt: skip
    rows = read(tmp_path / "log.csv")
    assert [(row["timestamp"][11:19], *(row[name] for name in specified)) for row in rows] == [
        ("13:30:00", "1", "True", "config", "0", "False", "adhoc"),
        ("13:31:00", "2", "True", "config", "1", "False", "adhoc"),
    ]
    assert [row["TSLA_auto_provisioned"] for row in rows] == ["True", "True"]
    assert [row["AAPL_auto_provisioned"] for row in rows] == ["False", "False"]
    assert [(row["TSLA_1m_quality"], row["TSLA_1m_missing"]) for row in rows] == [
        ("0.0", "1"), ("50.0", "1"),
    ]  # fmt: skip


def test_export_csv_has_a_row_per_elapsed_slot_and_breaks_no_rule(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    write_session_csv(make_session(), path)
    rows = read(path)
    assert [row["timestamp"][11:16] for row in rows] == [
        *(f"13:{minute}" for minute in range(30, 40)),
        *(f"14:{minute:02}" for minute in range(6)),
    ]
    assert [int(row["AAPL_1m_bars"]) for row in rows] == [
        1, 2, 3, 3, 4, 4, 5, 5, 5, 6, 7, 8, 9, 10, 11, 12,
    ]  # fmt: skip
    assert [row["AAPL_5m_quality"] for row in rows[3:6]] == ["", "100.0", "100.0"]
    assert rows[-1]["AAPL_volume"] == "3650"
    assert validate_session_dump(path) == []


def test_export_csv_of_a_full_new_york_day_has_390_rows(tmp_path: Path) -> None:
    opened, closed = ns(at(13, 30)), ns(at(20, 0))
    root = ob.SessionData()
    root.begin(
        ob.SessionWindow(
            date(2025, 7, 2), [(opened, closed)], calendar="XNYS", timezone="America/New_York"
        )
    )
    rec = root.register_symbol_data(
        ob.SymbolSessionData("AAPL", base_interval="1m", derived_intervals=["1h", "1d"])
    )
    bars = np.zeros(390, dtype=BAR_DTYPE)
    bars["timestamp"] = opened + np.arange(390) * MINUTE
    for field in ("open", "high", "low", "close"):
        bars[field] = 100.0 + np.arange(390)
    bars["volume"] = 2
    rec.append_block(bars)
    root.advance(closed)
    path = tmp_path / "log.csv"
    write_session_csv(root, path)
    rows = read(path)
    assert len(rows) == 390
    assert (rows[0]["timestamp"], rows[-1]["timestamp"]) == (
        "2025-07-02T13:30:00+00:00", "2025-07-02T19:59:00+00:00",
    )  # fmt: skip
    last = rows[-1]
    assert (last["AAPL_1m_bars"], last["AAPL_1h_bars"], last["AAPL_1d_bars"]) == ("390", "7", "1")
    assert (last["AAPL_volume"], last["AAPL_high"], last["AAPL_low"]) == ("780", "489.0", "100.0")
    assert rows[59]["AAPL_1h_bars"] == "1"
    assert rows[58]["AAPL_1h_bars"] == "0"
    assert rows[388]["AAPL_1d_bars"] == "0"
    assert validate_session_dump(path) == []


def test_export_csv_of_a_session_without_symbols_has_only_times(tmp_path: Path) -> None:
    root = make_session()
    for symbol in ("AAPL", "TSLA", "NVDA"):
        root.remove_symbol(symbol)
    path = tmp_path / "log.csv"
    write_session_csv(root, path, interval="5m")
    assert read(path) == [
        {"timestamp": f"2025-07-02T{time}:00+00:00"} for time in ("13:30", "13:35", "14:00")
    ]


def test_export_csv_of_a_ring_leaves_cells_it_forgot_empty(tmp_path: Path) -> None:
    window = make_window()
    root = ob.SessionData()
    root.begin(window)
    rec = root.register_symbol_data(ob.SymbolSessionData("X", base_interval="1m", capacity=3))
    for ts_ns in window.grid("1m").starts_ns.tolist():
        rec.append(ts_ns, 100.0, 101.0, 99.0, 100.5, 2)
    path = tmp_path / "log.csv"
    write_session_csv(root, path)
    rows = read(path)
    assert (rows[0]["X_1m_bars"], rows[0]["X_1m_quality"], rows[0]["X_volume"]) == ("", "", "")
    assert (rows[-1]["X_1m_bars"], rows[-1]["X_1m_quality"], rows[-1]["X_close"]) == (
        "20", "100.0", "100.5",
    )  # fmt: skip
    assert validate_session_dump(path) == []


def test_export_csv_before_begin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SessionStateError, match="not begun"):
        write_session_csv(ob.SessionData(), tmp_path / "log.csv")
    assert os.listdir(tmp_path) == []


def test_export_csv_of_an_unknown_interval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IntervalError, match="7x"):
        write_session_csv(make_session(), tmp_path / "log.csv", interval="7x")
    assert os.listdir(tmp_path) == []
