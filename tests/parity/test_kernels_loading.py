"""When numba is loaded, what is compiled, and where nothing can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import openbell.kernels as kernels
from openbell.schema import BAR_DTYPE
from tests.strategies import make_bars, real_windows

PACKAGE = Path(kernels.__file__).parents[1]

WORK = """
import numpy as np
from datetime import date
from openbell import kernels
from openbell.clock.window import SessionWindow
from openbell.schema import BAR_DTYPE

window = SessionWindow(date(2025, 7, 2), [(0, 600 * 10**9)])
bars = np.zeros(600, dtype=BAR_DTYPE)
bars["timestamp"] = np.arange(600) * 10**9
bars["volume"] = 1
made = kernels.derive_many(bars, window, ["1m", "5m"])
assert made["5m"][0]["volume"].tolist() == [300.0, 300.0]
assert kernels.score(bars, window.grid("1s"), window.close_ns) == 100.0
from openbell.kernels._derive import fold
print(fold.stats.cache_path)
"""


def run(code: str, **environment: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**kept, "PYTHONPATH": str(PACKAGE.parent), **environment},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_loading_the_package_loads_no_numba() -> None:
    heavy = "{'numba', 'pandas', 'pyarrow', 'llvmlite'}"
    loaded = run(f"import sys, openbell.kernels; print(sorted({heavy} & set(sys.modules)))")
    assert loaded == "[]"


def test_loading_with_a_cache_directory_compiles_into_it(tmp_path: Path) -> None:
    used = run(WORK, NUMBA_CACHE_DIR=str(tmp_path))
    assert Path(used).is_relative_to(tmp_path)
    assert list(tmp_path.rglob("*.nbi"))


def test_loading_with_nothing_writable_works_without_a_cache(tmp_path: Path) -> None:
    # Files where numba would make directories: even root cannot write there.
    tree = tmp_path / "tree"
    shutil.copytree(
        PACKAGE, tree / "openbell", ignore=shutil.ignore_patterns("__pycache__", "*.nb?")
    )
    (tree / "openbell" / "kernels" / "__pycache__").write_text("")
    blocked = tmp_path / "file"
    blocked.write_text("")
    used = run(
        WORK, PYTHONPATH=str(tree), HOME=str(blocked / "home"),
        NUMBA_CACHE_DIR=str(blocked / "cache"), XDG_CACHE_HOME=str(blocked / "xdg"),
        LOCALAPPDATA=str(blocked / "local"),
    )  # fmt: skip
    assert used == "None"


@pytest.mark.parametrize("kind", ["writable", "read_only", "strided", "recarray", "unaligned"])
def test_warmup_covers_every_kind_of_memory(kind: str, rng: np.random.Generator) -> None:
    from openbell.kernels import _derive, _gaps, _interleave, _quality

    compiled = (
        _derive.fold, _derive.cascade, _gaps.find, _quality.count, _interleave.join,
        _interleave.split,
    )  # fmt: skip
    kernels.warmup()
    before = [set(kernel.signatures) for kernel in compiled]

    window = real_windows()["half_day"]
    bars = make_bars(window, "1m", 0.9, rng)
    if kind == "read_only":
        bars.flags.writeable = False
    elif kind == "strided":
        bars = np.repeat(bars, 2)[::2]
    elif kind == "recarray":
        bars = bars.view(np.recarray)
    elif kind == "unaligned":
        bars = np.frombuffer(b"x" + bars.tobytes(), dtype=BAR_DTYPE, offset=1)

    grid = window.grid("1m")
    made, n_base = kernels.derive(bars, window.grid("5m"), elapsed_ns=window.close_ns)
    kernels.derive(made, window.grid("1h"), n_base=n_base)
    kernels.derive(made[::2], window.grid("1h"), n_base=n_base[::2])
    kernels.derive_many(bars, window, ["5m", "30m", "1d"], base="1m", elapsed_ns=window.open_ns)
    kernels.find_gaps(bars, grid, np.int64(window.close_ns))
    kernels.score(bars, grid, np.int64(window.close_ns))
    columns = kernels.deinterleave(bars)
    kernels.interleave(*columns, out=np.empty(len(bars), dtype=BAR_DTYPE))
    kernels.interleave(*(column[::2] for column in columns))
    assert [set(kernel.signatures) for kernel in compiled] == before
