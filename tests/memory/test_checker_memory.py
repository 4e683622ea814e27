"""What the checker needs does not grow with the number of symbols."""

from __future__ import annotations

import json
import tracemalloc
from datetime import date
from pathlib import Path

import numpy as np

import openbell as ob
from openbell.export import validate_session_dump
from openbell.schema import BAR_DTYPE

SECOND = 10**9
#: 2025-07-02T13:30:00Z, by `date -u -d 2025-07-02T13:30:00Z +%s`.
OPEN = 1_751_463_000 * SECOND
N_SECONDS = 1800


def write_dump(path: Path, n_symbols: int) -> Path:
    root = ob.SessionData()
    root.begin(ob.SessionWindow(date(2025, 7, 2), [(OPEN, OPEN + N_SECONDS * SECOND)]))
    bars = np.ones(N_SECONDS, BAR_DTYPE)
    bars["timestamp"] = OPEN + np.arange(N_SECONDS) * SECOND
    for k in range(n_symbols):
        record = ob.SymbolSessionData(f"S{k}", base_interval="1s", derived_intervals=["5s", "1m"])
        root.register_symbol_data(record).append_block(bars)
    root.write_json(path)
    return path


def peak_of_check(path: Path) -> int:
    tracemalloc.start()
    try:
        assert validate_session_dump(path) == []
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_check_of_many_symbols_needs_no_more_memory_than_of_few(tmp_path: Path) -> None:
    few, many = write_dump(tmp_path / "2.json", 2), write_dump(tmp_path / "16.json", 16)
    one_symbol = len(json.dumps(json.loads(few.read_bytes())["symbols"]["S0"]))
    peak_of_check(few)
    assert peak_of_check(many) < peak_of_check(few) + 4 * one_symbol
    assert many.stat().st_size > 10 * one_symbol
