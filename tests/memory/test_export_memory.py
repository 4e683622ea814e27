"""What a dump costs in memory while it is written: one symbol's worth, however many there are."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np

from openbell.export import write_session_json
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData
from tests.strategies import SECOND, make_bars, window_of

WINDOW = window_of(("2025-07-02T13:30", "2025-07-02T14:00"))
DERIVED = ["5s", "30s", "1m", "5m"]


def begin(n_symbols: int) -> SessionData:
    root = SessionData()
    root.begin(WINDOW)
    for number in range(n_symbols):
        record = root.register_symbol_data(
            SymbolSessionData(f"S{number:04}", base_interval="1s", derived_intervals=DERIVED)
        )
        rng = np.random.default_rng(number % 5)
        record.append_block(make_bars(WINDOW, "1s", 0.7, rng))
    root.advance(WINDOW.open_ns + 1800 * SECOND)
    return root


def measure(root: SessionData, path: Path) -> tuple[int, int]:
    """Bytes held at most while a dump is written, and bytes that are held after it."""
    # What a record makes when it is first looked at stays with the record.
    write_session_json(root, path)
    gc.collect()
    tracemalloc.start()
    held = tracemalloc.get_traced_memory()[0]
    write_session_json(root, path)
    gc.collect()
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - held, now - held


def test_dump_of_many_symbols_takes_the_memory_of_one(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    write_session_json(begin(1), path)
    n_bytes = path.stat().st_size
    few, many = begin(40), begin(160)
    peak, _ = measure(few, path)
    assert path.stat().st_size > 35 * n_bytes
    peak_of_many, left = measure(many, path)
    assert path.stat().st_size > 140 * n_bytes
    # The bars of a symbol as copied, the text of one of its series, and what surrounds them.
    assert peak < 3 * n_bytes
    assert peak_of_many < 1.1 * peak
    assert left < 64 * 1024
