"""Whole processes: imports, the first bulk call, and the memory of a day."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Beside
from openbell.schema import BAR_DTYPE

ROOT = Path(__file__).resolve().parents[1]

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
