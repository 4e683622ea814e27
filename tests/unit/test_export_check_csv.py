"""The checker of CSV session logs: each rule catches the fault planted for it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.export import validate_session_dump

GOLDEN = Path(__file__).parents[1] / "golden" / "session_log_v1.csv"

Rows = list[dict[str, str]]


def golden() -> Rows:
    with open(GOLDEN, newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, rows: Rows) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def put(row: int, column: str, value: str) -> Callable[[Rows], None]:
    def plant(rows: Rows) -> None:
        assert column in rows[row]
        rows[row][column] = value

    return plant


def put_all(**cells: str) -> Callable[[Rows], None]:
    def plant(rows: Rows) -> None:
        for row in rows:
            assert cells.keys() <= row.keys()
            row.update(cells)

    return plant


def rename(column: str, to: str) -> Callable[[Rows], None]:
    def plant(rows: Rows) -> None:
        for row in rows:
            row[to] = row.pop(column)

    return plant


FAULTS: list[tuple[str, Callable[[Rows], None], str, str]] = [
    ("schema", put(1, "timestamp", "13:35:00"), "", ""),
    ("schema", put(1, "timestamp", "2025-07-02T13:35:00"), "", ""),
    ("schema", rename("AAPL_close", "AAPL_mood"), "", ""),
    ("schema", rename("AAPL_added_by", "AAPL_1h_bars"), "AAPL", ""),
    ("schema", rename("AAPL_1m_bars", "AAPL_1h_bars"), "AAPL", "1m"),
    ("schema", put_all(AAPL_auto_provisioned="no"), "AAPL", ""),
    ("schema", put_all(TSLA_added_at="14:01"), "TSLA", ""),
    ("order", put(1, "timestamp", "2025-07-02T13:30:00+00:00"), "", ""),
    ("metadata", put(2, "AAPL_added_by", "strategy"), "AAPL", ""),
    ("finite", put(0, "AAPL_high", "nan"), "AAPL", ""),
    ("finite", put(0, "AAPL_1m_bars", "four"), "AAPL", "1m"),
    ("count", put(0, "AAPL_1m_bars", "-4"), "AAPL", "1m"),
    ("count", put(0, "AAPL_1m_bars", "4.5"), "AAPL", "1m"),
    ("count", put(1, "AAPL_1m_bars", "3"), "AAPL", "1m"),
    ("count", put(0, "AAPL_1m_missing", "-1"), "AAPL", "1m"),
    ("missing", put(2, "AAPL_1m_missing", "-2"), "AAPL", "1m"),
    ("quality", put(1, "AAPL_1m_quality", "60.1"), "AAPL", "1m"),
    ("quality", put(1, "AAPL_1m_quality", ""), "AAPL", "1m"),
    ("session_volume", put(2, "AAPL_volume", "2299"), "AAPL", ""),
    ("session_high", put(2, "AAPL_high", "103.0"), "AAPL", ""),
    ("session_low", put(1, "AAPL_low", "99.75"), "AAPL", ""),
    ("ohlc", put(1, "AAPL_close", "103.5"), "AAPL", ""),
    ("provenance.added_by_known", put_all(AAPL_added_by="broker"), "AAPL", ""),
    ("provenance.loaded_config_meets", put_all(AAPL_meets_config_req="False"), "AAPL", ""),
    ("provenance.adhoc_not_meets", put_all(TSLA_meets_config_req="True"), "TSLA", ""),
    ("provenance.adhoc_is_provisioned", put_all(TSLA_auto_provisioned="False"), "TSLA", ""),
    ("provenance.provisioned_meets_by_upgrade", put_all(NVDA_upgraded_from_adhoc="False"),
     "NVDA", ""),
    ("provenance.config_before_open", put_all(AAPL_added_at="2025-07-02T14:01:00+00:00"),
     "AAPL", ""),
    ("provenance.added_later_has_time", put_all(NVDA_added_at=""), "NVDA", ""),
]  # fmt: skip


def test_check_csv_golden_log_breaks_no_rule() -> None:
    assert validate_session_dump(GOLDEN) == []


@pytest.mark.parametrize(("rule", "plant", "symbol", "interval"), FAULTS)
def test_check_csv_planted_fault_is_found_where_it_is(
    tmp_path: Path, rule: str, plant: Callable[[Rows], None], symbol: str, interval: str
) -> None:
    rows = golden()
    plant(rows)
    found = validate_session_dump(write(tmp_path / "log.csv", rows))
    assert (rule, symbol, interval) in {(v.rule, v.symbol, v.interval) for v in found}


def test_check_csv_with_only_the_columns_of_the_specification_passes(tmp_path: Path) -> None:
    path = tmp_path / "session.log"
    path.write_text(
        "timestamp,AAPL_1m_bars,AAPL_meets_config_req,AAPL_added_by,AAPL_auto_provisioned,"
        "TSLA_1m_bars,TSLA_meets_config_req,TSLA_added_by,TSLA_auto_provisioned\n"
        "2025-07-02T13:30:00Z,1,True,config,False,0,True,strategy,True\n"
        "2025-07-02T13:31:00Z,2,True,config,False,1,True,strategy,True\n"
    )
    assert validate_session_dump(path) == []


def test_check_csv_symbol_with_underscores_is_read_whole(tmp_path: Path) -> None:
    rows = [
        {key.replace("TSLA_", "BRK_B_1m_"): cell for key, cell in row.items()} for row in golden()
    ]
    rows[2]["BRK_B_1m_1m_bars"] = "-1"
    found = validate_session_dump(write(tmp_path / "log.csv", rows))
    assert {(v.symbol, v.interval) for v in found} == {("BRK_B_1m", "1m")}


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "timestamp,AAPL_1m_bars\n2025-07-02\n"])
def test_check_csv_that_is_no_session_log_gives_one_schema_violation(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    assert [v.rule for v in validate_session_dump(path)] == ["schema"]
