"""What views and appends cost in memory: nothing that stays."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from openbell.schema import BAR_DTYPE
from openbell.symbol import SymbolSessionData
from tests.engine import begin
from tests.strategies import SECOND, make_bars, real_windows, window_of

WINDOW = window_of(("2025-07-02T13:30", "2025-07-02T20:00"))
DERIVED = ["5s", "1m", "5m", "1h", "1d"]


def loop(call: Callable[[int], object], n: int) -> None:
    for i in range(n):
        call(i)


@pytest.mark.parametrize("reserved", [True, False])
def test_extents_come_back_with_the_last_view(reserved: bool) -> None:
    root, _ = begin(WINDOW, "1s", DERIVED)
    before = root.core.arena.n_used_bytes
    record = root.register_symbol_data(
        SymbolSessionData("MSFT", base_interval="1s", derived_intervals=DERIVED,
                          meets_session_config_requirements=reserved)
    )  # fmt: skip
    for second in range(5000):
        record.append(WINDOW.open_ns + second * SECOND, 1.0, 1.0, 1.0, 1.0, 1.0)
    base_view, derived_view = record.bars["1s"].data, record.bars["5s"].close(10)
    root.remove_symbol("MSFT")
    assert root.core.arena.n_used_bytes > before + 5000 * 48
    del record
    gc.collect()
    pinned = root.core.arena.n_used_bytes - before
    assert base_view.nbytes <= pinned
    del base_view
    assert 0 < root.core.arena.n_used_bytes - before < pinned
    part = derived_view[3:5]
    del derived_view
    assert root.core.arena.n_used_bytes > before
    del part
    assert root.core.arena.n_used_bytes == before


def test_extents_outgrown_or_slid_come_back_when_nobody_looks() -> None:
    root, record = begin(WINDOW, "1s", DERIVED, capacity=32)
    sizes = set()
    for i in range(2000):
        record.append(WINDOW.open_ns + i * SECOND, 1.0, 1.0, 1.0, 1.0, 1.0)
        view = record.bars["1s"].data
        if i > 1500:
            sizes.add(root.core.arena.n_used_bytes)
    del view
    # The ring and, while the newest view still looks at the one before, that one.
    assert len(sizes) <= 2
    assert max(sizes) < 6 * 2 * 64 * 52


def test_fifty_days_keep_the_arena_flat() -> None:
    root, _ = begin(WINDOW, "1s", DERIVED)
    root.clear()
    bars = make_bars(WINDOW, "1s", 0.5, np.random.default_rng(1))
    reserved = set()
    for day in range(50):
        root.begin(WINDOW)
        for number in range(4):
            record = root.register_symbol_data(
                SymbolSessionData(f"S{number}", base_interval="1s", derived_intervals=DERIVED,
                                  meets_session_config_requirements=number < 2)
            )  # fmt: skip
            record.append_block(bars)
        del record
        root.end()
        root.clear()
        gc.collect()
        assert root.core.arena.n_used_bytes == 0
        if day > 0:
            reserved.add(root.core.arena.n_reserved_bytes)
    assert len(reserved) == 1


def test_extents_waste_little_and_serve_shorter_days() -> None:
    root, _ = begin(WINDOW, "1s", [])
    root.clear()
    bars = make_bars(WINDOW, "1s", 1.0, np.random.default_rng(1))
    reserved = set()
    for n in (23_400, 22_900, 21_000, 23_399):
        root.begin(WINDOW)
        record = root.register_symbol_data(
            SymbolSessionData("AAPL", base_interval="1s", n_reserve=0)
        )
        record.append_block(bars[:n])
        used = root.core.arena.n_used_bytes
        assert n * 48 <= used <= 1.13 * n * 48
        # The first day's is fresh memory, cut to its size.
        assert reserved or used <= 1.016 * n * 48
        reserved.add(root.core.arena.n_reserved_bytes)
        del record
        root.end()
        root.clear()
        gc.collect()
    assert len(reserved) == 1


def test_dropped_roots_leave_nothing_behind() -> None:
    gc.collect()
    for _ in range(5):
        root, record = begin(WINDOW, "1s", DERIVED, meets_session_config_requirements=True)
        record.append(WINDOW.open_ns, 1.0, 1.0, 1.0, 1.0, 1.0)
        view = record.bars["1s"].data
        del root, record
        # Whatever the collector clears first, no extent may find its arena gone.
        gc.collect()
        assert view.tolist() == [(WINDOW.open_ns, 1.0, 1.0, 1.0, 1.0, 1.0)]
        del view
        gc.collect()


def test_dropped_roots_give_their_memory_back_to_the_system() -> None:
    # Many roots, each with 4 MB touched: kept, they would make 400 MB.
    program = """
import gc, resource
from datetime import date
from openbell import SessionData, SessionWindow, SymbolSessionData
window = SessionWindow(date(2025, 7, 2), [(0, 86_400_000_000_000)])
def day():
    root = SessionData()
    root.begin(window)
    for symbol in "ABCDEFGH":
        root.register_symbol_data(SymbolSessionData(symbol, base_interval="1s", n_reserve=10_000))
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
day(); gc.collect()
before = peak()
for _ in range(100):
    day()
    gc.collect()
print(peak() - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert int(done.stdout) < 60


def test_views_leak_no_reference() -> None:
    _, record = begin(WINDOW, "1s", DERIVED)
    loop(lambda i: record.append(WINDOW.open_ns + i * SECOND, 1.0, 1.0, 1.0, 1.0, 1.0), 200)
    base, derived = record.bars["1s"], record.bars["5s"]
    owner = base.data.base
    looks = (
        lambda i: base.window(20), lambda i: base.data, lambda i: base.close(i % 300),
        lambda i: derived.n_base, lambda i: derived.window(0), lambda i: base.timestamp(5),
        lambda i: record.bars["1d"].data, lambda i: base.last, lambda i: derived.open_bar,
        lambda i: base.asof(WINDOW.open_ns + i * SECOND), lambda i: derived.gap_runs(),
    )  # fmt: skip
    for look in looks:
        loop(look, 100)
    dtypes = (BAR_DTYPE, base.close(1).dtype, base.timestamp(1).dtype, derived.n_base.dtype)
    counts = [sys.getrefcount(item) for item in (*dtypes, owner, record, record.core)]
    blocks = sys.getallocatedblocks()
    tracemalloc.start()
    held = tracemalloc.get_traced_memory()[0]
    for look in looks:
        loop(look, 10_000)
    grown = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    assert [sys.getrefcount(item) for item in (*dtypes, owner, record, record.core)] == counts
    assert grown < 4096
    assert abs(sys.getallocatedblocks() - blocks) < 100


@pytest.mark.parametrize("capacity", [0, 256])
def test_append_allocates_nothing(capacity: int) -> None:
    options = {"capacity": capacity} if capacity else {"meets_session_config_requirements": True}
    _, record = begin(WINDOW, "1s", DERIVED, **options)
    labels = (WINDOW.open_ns + np.arange(23_400) * SECOND).tolist()
    prices = [float(price) for price in range(1, 3)]
    append = record.append
    for ts in labels[:1000]:
        append(ts, prices[0], prices[0], prices[0], prices[0], prices[1])
    rest = labels[1000:11_000]
    gc.collect()
    tracemalloc.start()
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    blocks = sys.getallocatedblocks()
    for ts in rest:
        append(ts, prices[0], prices[0], prices[0], prices[0], prices[1])
    n_blocks = sys.getallocatedblocks() - blocks
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert abs(n_blocks) < 20
    assert now - held < 1024
    # Six boxed arguments at most live at a time, however many bars come.
    assert peak - held < 4096
    assert len(record.bars["1s"]) + record.bars["1s"].n_evicted == 11_000


def test_block_leaves_no_memory_behind(rng: np.random.Generator) -> None:
    window = real_windows()["half_day"]
    _, record = begin(window, "1s", DERIVED, meets_session_config_requirements=True)
    bars = make_bars(window, "1s", 0.9, rng)
    shuffled = bars[rng.permutation(len(bars))]
    record.append_block(shuffled)
    gc.collect()
    tracemalloc.start()
    held = tracemalloc.get_traced_memory()[0]
    for _ in range(20):
        record.append_block(shuffled)
    grown = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    assert grown < 4096
    assert record.n_duplicate == 20 * len(bars)
