"""A day from Parquet to records, in memory, and out again as a dump."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import openbell as ob
from benchmarks.bench_load import decode, write_day
from benchmarks.data import INTERVALS, N_DAY, RAW_BAR, make_window
from benchmarks.harness import Beside
from openbell._native.json_rows import encode_rows
from openbell.export.files import replacing, write_in_pieces
from openbell.export.texts import COUNTED
from openbell.schema import BAR_DTYPE, to_ns
from openbell.sources import dataset_path

ROOT = Path(__file__).resolve().parents[1]
NAMES = [f"S{k:05}" for k in range(500)]
N_THREADS = min(4, os.cpu_count() or 1)

MEMORY_OF_BARS = """
import sys
from pathlib import Path
import openbell as ob
from benchmarks.bench_day import NAMES, config_of

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

def run(names):
    session = ob.open_session(config_of(sys.argv[1], names))
    session.run()
    return session

run(NAMES[:2]).close()
before = resident()
session = run(NAMES)
after = resident()
n = sum(len(series) for record in session.root for series in record.bars.values())
print(n, (after - before) / n)
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A day of 500 symbols, every second traded."""
    folder = tmp_path_factory.mktemp("day")
    write_day(folder, make_window(), NAMES, "1s")
    return folder


def config_of(folder: str | Path, names: list[str]) -> dict[str, Any]:
    return {
        "session": {
            "start_date": make_window().date,
            "symbols": names,
            "streams": ["1s", *INTERVALS],
        },
        "data": {"parquet": str(folder)},
    }


def run_python(*arguments: str | Path) -> list[float]:
    """The numbers that a fresh Python prints."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return [float(word) for word in done.stdout.split()]


def beside_polars(folder: Path, n_threads: int, rounds: int, which: str = "") -> list[float]:
    script = "benchmarks.parquet_beside_polars"
    return run_python("-m", script, folder, str(n_threads), str(rounds), *filter(None, [which]))


@pytest.mark.parametrize("n_threads", [1, N_THREADS], ids=["one", "all"])
def bench_parquet_beside_polars(beside: Beside, dataset: Path, n_threads: int) -> None:
    pytest.importorskip("polars", reason="polars is not installed; see [test]")
    found: list[float] = []

    def polars() -> float:
        found[:] = beside_polars(dataset, n_threads, 3 if beside.quick else 9)
        return found[1]

    how = "1 thread" if n_threads == 1 else f"{n_threads} threads, by the clock"
    beside.values(
        f"Parquet day of {len(NAMES)} symbols to usable records, {how}",
        "polars.read_parquet of its columns of bars, on as many",
        lambda: found[0],
        polars,
        unit="ms",
        goal=1.0,
        rounds=3,
        warmup_rounds=0,
    )


def bench_first_parquet_day(beside: Beside, dataset: Path) -> None:
    pytest.importorskip("polars", reason="polars is not installed; see [test]")
    beside.values(
        f"the same, the first day of a process: {len(NAMES)} symbols, 1 thread",
        "polars.read_parquet in a fresh process",
        lambda: beside_polars(dataset, 1, 0, "openbell")[0],
        lambda: beside_polars(dataset, 1, 0, "polars")[0],
        unit="ms",
        rounds=3,
        warmup_rounds=0,
        note="what the system takes to give memory counts in both",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def bench_memory_of_a_bar(beside: Beside, dataset: Path) -> None:
    grids = [make_window().grid(name) for name in ("1s", *INTERVALS)]
    n_bars = len(NAMES) * sum(grid.n_slots for grid in grids)
    found: list[float] = []

    def of_each() -> float:
        found[:] = run_python("-c", MEMORY_OF_BARS, dataset)
        assert found[0] == n_bars
        return found[1]

    beside.values(
        f"memory of a stored bar, base or derived, of a day of {len(NAMES)} symbols, above imports",
        "its six numbers",
        of_each,
        lambda: float(BAR_DTYPE.itemsize),
        unit="B",
        goal=52,
        goal_of="value",
        rounds=1,
        warmup_rounds=0,
    )


def bench_parquet_day_to_dump(beside: Beside, dataset: Path, tmp_path: Path) -> None:
    path = dataset_path(dataset, "bars", make_window().date, "1s")
    footer = pq.read_metadata(path)
    dump, beside_path = tmp_path / "dump.json", tmp_path / "beside.json"
    session = ob.open_session(config_of(dataset, NAMES))

    def whole() -> None:
        for day in session.days():
            day.run()
            session.root.write_json(dump)

    whole()
    stored = [series for record in session.root for series in record.bars.values()]
    n_rows = sum(map(len, stored))
    assert n_rows > N_DAY * len(NAMES)
    memory, buffer = np.zeros(n_rows, RAW_BAR), bytearray()

    def parts() -> None:
        decode(path, footer, list(range(footer.num_row_groups)))
        at = 0
        with replacing(beside_path) as file:
            for record in session.root:
                for series in record.bars.values():
                    rows = series.data
                    memory[at : at + len(rows)] = rows.view(RAW_BAR)
                    at += len(rows)
                    n_bytes = encode_rows(buffer, rows, COUNTED, series.n_base)
                    with memoryview(buffer) as text:
                        write_in_pieces(file, text[:n_bytes])
        assert at == n_rows

    parts()
    assert_holds(dump, session.root)
    n_bytes, n_beside = dump.stat().st_size, beside_path.stat().st_size
    assert n_beside <= n_bytes <= 1.02 * n_beside
    beside.times(
        f"a day of {len(NAMES)} symbols from Parquet to a JSON dump of 9 intervals",
        "its parts alone: decode the file, copy the bars once, write their rows as JSON",
        whole,
        parts,
        rounds=5,
        warmup_rounds=0,
        unit="ms",
        goal=1.5,
        note=lambda _: f"{n_rows:,} rows, {n_bytes / 1e6:.0f} MB",
    )


def assert_holds(dump: Path, root: ob.SessionData) -> None:
    """Compare the last symbol's line of a dump with its record."""
    with dump.open("rb") as file:
        *_, line, _ = deque(file, maxlen=2)
    ((symbol, tree),) = json.loads(b"{%b}" % line).items()
    assert symbol == NAMES[-1]
    for name, series in root[symbol].bars.items():
        found = tree["session"]["data"][name]["data"]
        assert [row[4] for row in found] == series.data["close"].tolist()
        assert [to_ns(row[0]) for row in found] == series.data["timestamp"].tolist()
