"""The checker of CSV session logs passes what is right."""

from __future__ import annotations

from pathlib import Path

from openbell.export import validate_session_dump
from tests.golden_log import GOLDEN_LOG, golden_log, write_log


def test_check_csv_golden_log_breaks_no_rule() -> None:
    assert validate_session_dump(GOLDEN_LOG) == []


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
        {key.replace("TSLA_", "BRK_B_1m_"): cell for key, cell in row.items()}
        for row in golden_log()
    ]
    rows[2]["BRK_B_1m_1m_bars"] = "-1"
    found = validate_session_dump(write_log(tmp_path / "log.csv", rows))
    assert {(v.symbol, v.interval) for v in found} == {("BRK_B_1m", "1m")}
