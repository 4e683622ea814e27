"""The golden session log, and the faults that the checker must find in it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOLDEN_LOG = Path(__file__).parent / "golden" / "session_log_v1.csv"

Rows = list[dict[str, str]]
Plant = Callable[[Rows], Any]


def golden_log() -> Rows:
    with open(GOLDEN_LOG, newline="") as file:
        return list(csv.DictReader(file))


def write_log(path: Path, rows: Rows) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        writer.writerows(row.values() for row in rows)
    return path


def put_cell(row: int, column: str, value: str) -> Plant:
    def plant(rows: Rows) -> None:
        assert column in rows[row]
        rows[row][column] = value

    return plant


def put_all(**cells: str) -> Plant:
    def plant(rows: Rows) -> None:
        for row in rows:
            assert cells.keys() <= row.keys()
            row.update(cells)

    return plant


def rename(column: str, to: str) -> Plant:
    def plant(rows: Rows) -> None:
        for row in rows:
            row[to] = row.pop(column)

    return plant


#: Name of the fault, what it does to the log, and the lines that must be given for it, those of
#: the fault's own rule first.
LOG_FAULTS: list[tuple[str, Plant, list[str]]] = [
    ("time_without_date", put_cell(1, "timestamp", "13:35:00"), ["schema - - -"]),
    ("naive_time", put_cell(1, "timestamp", "2025-07-02T13:35:00"), ["schema - - -"]),
    ("year_beyond_int64", put_cell(1, "timestamp", "9999-07-02T13:35:00+00:00"), ["schema - - -"]),
    ("unknown_column", rename("AAPL_close", "AAPL_mood"), ["schema - - -"]),
    ("lost_cell", lambda rows: rows[1].popitem(), ["schema - - 13:35:00"]),
    ("no_requester", rename("AAPL_added_by", "AAPL_1h_bars"),
     ["schema AAPL - -", "finite AAPL 1h 13:30:00"]),
    ("no_bars", rename("AAPL_1m_bars", "AAPL_1h_bars"), ["schema AAPL 1m -"]),
    ("flag_of_another_word", put_all(AAPL_auto_provisioned="no"), ["schema AAPL - -"]),
    ("added_at_without_date", put_all(TSLA_added_at="14:01"), ["schema TSLA - -"]),
    ("same_time_twice", put_cell(1, "timestamp", "2025-07-02T13:30:00+00:00"),
     ["order - - 13:30:00"]),
    ("other_requester", put_cell(2, "AAPL_added_by", "strategy"), ["metadata AAPL - 14:00:00"]),
    ("high_nan", put_cell(0, "AAPL_high", "nan"), ["finite AAPL - 13:30:00"]),
    ("bars_in_words", put_cell(0, "AAPL_1m_bars", "four"),
     ["finite AAPL 1m 13:30:00", "quality AAPL 1m 13:30:00"]),
    ("bars_beyond_floats", put_cell(0, "AAPL_1m_bars", "1" + "0" * 400),
     ["finite AAPL 1m 13:30:00", "quality AAPL 1m 13:30:00"]),
    ("negative_bars", put_cell(0, "AAPL_1m_bars", "-4"),
     ["count AAPL 1m 13:30:00", "quality AAPL 1m 13:30:00"]),
    ("half_a_bar", put_cell(0, "AAPL_1m_bars", "4.5"),
     ["count AAPL 1m 13:30:00", "quality AAPL 1m 13:30:00"]),
    ("fewer_bars", put_cell(1, "AAPL_1m_bars", "3"),
     ["count AAPL 1m 13:35:00", "quality AAPL 1m 13:35:00"]),
    ("negative_missing", put_cell(0, "AAPL_1m_missing", "-1"),
     ["count AAPL 1m 13:30:00", "quality AAPL 1m 13:30:00"]),
    ("fewer_expected", put_cell(1, "AAPL_1m_missing", "12"),
     ["missing AAPL 1m 14:00:00", "quality AAPL 1m 13:35:00"]),
    ("other_quality", put_cell(1, "AAPL_1m_quality", "60.1"), ["quality AAPL 1m 13:35:00"]),
    ("no_quality", put_cell(1, "AAPL_1m_quality", ""), ["quality AAPL 1m 13:35:00"]),
    ("volume_shrinks", put_cell(2, "AAPL_volume", "2299"), ["session_volume AAPL - 14:00:00"]),
    ("high_falls", put_cell(2, "AAPL_high", "103.0"), ["session_high AAPL - 14:00:00"]),
    ("low_rises", put_cell(1, "AAPL_low", "99.75"), ["session_low AAPL - 13:35:00"]),
    ("close_above_high", put_cell(1, "AAPL_close", "103.5"), ["ohlc AAPL - 13:35:00"]),
    ("broker", put_all(AAPL_added_by="broker"),
     ["provenance.added_by_known AAPL - -", "provenance.added_later_has_time AAPL - -"]),
    ("config_does_not_meet", put_all(AAPL_meets_config_req="False"),
     ["provenance.loaded_config_meets AAPL - -"]),
    ("adhoc_meets", put_all(TSLA_meets_config_req="True"),
     ["provenance.adhoc_not_meets TSLA - -", "provenance.provisioned_meets_by_upgrade TSLA - -"]),
    ("adhoc_not_provisioned", put_all(TSLA_auto_provisioned="False"),
     ["provenance.adhoc_is_provisioned TSLA - -"]),
    ("no_upgrade", put_all(NVDA_upgraded_from_adhoc="False"),
     ["provenance.provisioned_meets_by_upgrade NVDA - -",
      "provenance.provisioned_is_adhoc NVDA - -"]),
    ("provisioned_by_scanner", put_all(TSLA_added_by="scanner"),
     ["provenance.provisioned_is_adhoc TSLA - -"]),
    ("upgraded_does_not_meet", put_all(NVDA_meets_config_req="False"),
     ["provenance.upgraded_meets NVDA - -"]),
    ("upgraded_was_not_provisioned", put_all(NVDA_auto_provisioned="False"),
     ["provenance.upgraded_was_provisioned NVDA - -"]),
    ("upgraded_by_adhoc", put_all(NVDA_added_by="adhoc"),
     ["provenance.upgraded_has_requester NVDA - -", "provenance.adhoc_not_meets NVDA - -"]),
    ("config_at_a_time", put_all(AAPL_added_at="2025-07-02T14:01:00+00:00"),
     ["provenance.config_before_open AAPL - -"]),
    ("strategy_at_no_time", put_all(NVDA_added_at=""),
     ["provenance.added_later_has_time NVDA - -"]),
]  # fmt: skip

#: The same of texts that are no log.
NO_LOGS: list[tuple[str, bytes, list[str]]] = [
    ("empty", b"", ["schema - - -"]),
    ("other_table", b"a,b\n1,2\n", ["schema - - -"]),
    ("lost_cell", b"timestamp,AAPL_1m_bars\n2025-07-02T13:30:00Z\n", ["schema - - 13:30:00"]),
    ("column_twice", b"timestamp,AAPL_low,AAPL_low\n", ["schema - - -", "schema AAPL - -"]),
    ("latin1", b"timestamp,AAPL_\xe9\n", ["schema - - -"]),
    ("cell_beyond_reading", b"timestamp," + b"A" * 200_000, ["schema - - -"]),
]  # fmt: skip
