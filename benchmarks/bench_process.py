"""Whole processes: a replay from the command line, imports, the first bulk call, and memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import pytest

from benchmarks.harness import Beside
from openbell.schema import BAR_DTYPE
from openbell.sources import synthetic_symbols, write_sample

ROOT = Path(__file__).resolve().parents[1]
SYMBOLS = synthetic_symbols(10)

#: What the command line stands on, and a user's own script would import.
LIBRARIES = "import numpy, pyarrow, typer, rich"
REPLAY = """
[session]
start_date = 2025-07-02
symbols = {symbols}
streams = ["1s", "1m", "5m"]
[data]
parquet = "data"
"""

#: Heavy packages that a live process does not pay for.
HEAVY = ("numba", "pandas", "pyarrow", "exchange_calendars")

FIRST_BULK_CALL = """
from time import process_time
from benchmarks.data import INTERVALS, make_bars, make_window
from openbell import kernels
bars, window = make_bars(), make_window()
start = process_time()
kernels.derive_many(bars, window, INTERVALS)
print(1e3 * (process_time() - start))
"""

IMPORT_NUMBA = """
import numpy
from time import process_time
start = process_time()
import numba
print(1e3 * (process_time() - start))
"""

MEMORY_OF_A_DAY = """
from pathlib import Path
from benchmarks.data import make_bars, make_root

def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

bars = make_bars()
before = resident()
root, records = make_root(500)
for record in records:
    record.append_block(bars)
after = resident()
print((after - before) / 1e6)
print(sum(series.data.nbytes for record in records for series in record.bars.values()) / 1e6)
"""


def run_python(code: str) -> list[float]:
    """The numbers that a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    )
    return [float(word) for word in done.stdout.split()]


class Took(NamedTuple):
    """What one process took, both in milliseconds, and what it printed."""

    clock: float
    processor: float
    out: str


def run(*words: str, bytecode: Path) -> Took:
    """Run a Python whose byte code is kept, as that of an installation is."""
    environment = {name: value for name, value in os.environ.items() if name != _NO_BYTECODE}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    done = subprocess.run(
        [sys.executable, *words], check=True, capture_output=True, text=True, env=environment
    )
    clock = perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return Took(1e3 * clock, 1e3 * processor, done.stdout)


_NO_BYTECODE = "PYTHONDONTWRITEBYTECODE"


@pytest.mark.parametrize("by", ["clock", "processor"])
def bench_replay_process(beside: Beside, tmp_path: Path, by: str) -> None:
    # The clock is what a user waits by; the processor's time hides nothing on other threads.
    write_sample(tmp_path / "data", SYMBOLS, [date(2025, 7, 2)])
    config = tmp_path / "session.toml"
    config.write_text(REPLAY.format(symbols=SYMBOLS))

    def replay() -> float:
        took = run("-m", "openbell", "replay", str(config), bytecode=tmp_path / "bytecode")
        assert all(symbol in took.out for symbol in SYMBOLS)
        assert "bars replayed" in took.out
        return float(getattr(took, by))

    def import_libraries() -> float:
        return float(getattr(run("-c", LIBRARIES, bytecode=tmp_path / "bytecode"), by))

    beside.values(
        f"`openbell replay` of a 10-symbol day, process start included, by the {by}",
        f'`python -c "{LIBRARIES}"`',
        replay,
        import_libraries,
        unit="ms",
        goal=1.5,
        rounds=21,
        warmup_rounds=2,
    )


@pytest.mark.parametrize("command", ["live", "ctl", "replay"])
def bench_help(beside: Beside, tmp_path: Path, command: str) -> None:
    beside.values(
        f"`openbell {command} --help`, above typer",
        '`python -c "import typer"`',
        lambda: run("-m", "openbell", command, "--help", bytecode=tmp_path).processor,
        lambda: run("-c", "import typer", bytecode=tmp_path).processor,
        unit="ms",
        goal=150,
        goal_of="excess",
        rounds=9,
    )


def process_ms(code: str) -> float:
    """Processor time of a whole process."""
    return run_python(f"{code}\nimport time\nprint(1e3 * time.process_time())")[0]


def assert_light(statement: str) -> None:
    loaded = f"import sys\n{statement}\nprint(*(int(m in sys.modules) for m in {HEAVY}))"
    assert not any(run_python(loaded)), f"{statement!r} loads one of {HEAVY}"


def bench_import(beside: Beside) -> None:
    assert_light("import openbell")
    beside.values(
        "import openbell, above numpy",
        "a process that imports numpy",
        lambda: process_ms("import numpy\nimport openbell"),
        lambda: process_ms("import numpy"),
        unit="ms",
        goal=60,
        goal_of="excess",
        rounds=11,
    )


def bench_import_live_path(beside: Beside) -> None:
    statement = "from openbell import SessionData, SymbolSessionData, BarData"
    assert_light(statement)
    beside.values(
        "import of the live path, above numpy",
        "a process that imports numpy",
        lambda: process_ms(f"import numpy\n{statement}"),
        lambda: process_ms("import numpy"),
        unit="ms",
        goal=15,
        goal_of="excess",
        rounds=11,
    )


def bench_first_bulk_call(beside: Beside) -> None:
    run_python(FIRST_BULK_CALL)
    beside.values(
        "first derive of a process, warm cache",
        "import numba",
        lambda: run_python(FIRST_BULK_CALL)[0],
        lambda: run_python(IMPORT_NUMBA)[0],
        unit="ms",
        goal=350,
        goal_of="value",
        rounds=7,
    )


def bench_memory_of_a_day(beside: Beside) -> None:
    assert BAR_DTYPE.itemsize == 48
    found: list[float] = []

    def held() -> float:
        found[:] = run_python(MEMORY_OF_A_DAY)
        return found[1]

    beside.values(
        "memory of a 500-symbol day, above imports",
        "bytes of its bars, 48 each",
        lambda: found[0],
        held,
        unit="MB",
        goal=1.3,
        rounds=1,
        warmup_rounds=0,
    )
