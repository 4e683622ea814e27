"""What the package promises as a whole: light import, documented names, files one can read."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

import openbell
import openbell.sources

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 600
READ_BY_PEOPLE = {".py", ".pyx", ".pxd", ".pyi", ".h", ".md", ".toml"}
HEAVY = ("numba", "pandas", "pyarrow", "exchange_calendars", "polars", "typer", "rich")
#: What a replay in a warm installation gets along without, before its first result and after it.
HEAVY_IN_A_REPLAY = (
    "talib", "pydantic", "asyncio", "importlib.metadata", "zipfile", "email", "http",
    "pyarrow.compute", "pyarrow.dataset", "pyarrow.pandas_compat",
    "openbell.control", "openbell.watch", "openbell.live", "openbell.kernels",
    "openbell.sources.importing", "openbell.sources.synthetic",
)  # fmt: skip
CONFIG = """
[session]
start_date = 2025-07-02
symbols = ["SYN001"]
streams = ["1m", "5m"]
[data]
parquet = "data"
"""


def own_files() -> Iterator[Path]:
    for folder in ("src", "tests", "benchmarks", "docs", "examples"):
        for path in sorted((ROOT / folder).rglob("*")):
            hidden = any(p.startswith((".", "__pycache__")) for p in path.relative_to(ROOT).parts)
            if path.is_file() and path.suffix in READ_BY_PEOPLE and not hidden:
                yield path
    yield from (p for p in sorted(ROOT.iterdir()) if p.suffix in READ_BY_PEOPLE and p.is_file())
    yield from (ROOT / name for name in ("Makefile", ".ci/run") if (ROOT / name).exists())


def test_package_files_are_short_enough_to_read() -> None:
    long = {}
    for path in own_files():
        n_lines = len(path.read_text(encoding="utf-8").splitlines())
        if n_lines > MOST_LINES:
            long[str(path.relative_to(ROOT))] = n_lines
    assert not long


def test_package_files_name_no_folder_of_one_machine() -> None:
    folders = "|".join(("home", "root", "Users", "work", "mnt", "tmp"))
    absolute = re.compile(rf"""(?:^|[\s"'`(=;>])/(?:{folders})/\w""", re.MULTILINE)
    found = {}
    for path in (*own_files(), *sorted((ROOT / "docs").glob("*.svg"))):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
        # Tests may make up a home; nothing may name the folder it happens to lie in.
        hits = [] if name.parts[0] == "tests" else absolute.findall(text)
        if hits or str(ROOT) in text:
            found[str(name)] = hits or [str(ROOT)]
    assert not found


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("*.svg")), ids=lambda p: p.name)
def test_package_picture_refers_to_nothing_elsewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\w+://[^\s\"'<)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert ">openbell&#160;show&#160;openbell-demo/session.json<" in text


def test_package_loads_nothing_heavy_before_it_is_needed(tmp_path: Path) -> None:
    # Looking up the window leaves the calendar's table in the cache.
    openbell.sources.write_sample(
        tmp_path / "data", ["SYN001"], [date(2025, 7, 2)], intervals=["1m"]
    )
    (tmp_path / "session.toml").write_text(CONFIG)
    code = (
        "import json, sys, openbell\n"
        "loaded = [sorted(sys.modules)]\n"
        "from openbell import BarData, SessionData, SymbolSessionData\n"
        "loaded.append(sorted(sys.modules))\n"
        "from openbell.cli import main\n"
        "assert main(['replay', sys.argv[1]]) == 0\n"
        "loaded.append(sorted(sys.modules))\n"
        "print(json.dumps(loaded))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "session.toml")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert "SYN001" in done.stdout
    imported, live, replayed = json.loads(done.stdout.splitlines()[-1])
    assert "openbell" in imported
    assert not heavy(imported, *HEAVY)
    assert not heavy(live, *HEAVY, *HEAVY_IN_A_REPLAY, "msgspec", "logging")
    assert "pyarrow.parquet" in replayed
    assert not heavy(replayed, *HEAVY_IN_A_REPLAY, *(set(HEAVY) - {"pyarrow"}))


def heavy(loaded: list[str], *names: str) -> set[str]:
    return {name for name in names if name in loaded}


@pytest.mark.parametrize("name", openbell.__all__)
def test_package_public_name_resolves_and_is_documented(name: str) -> None:
    value = getattr(openbell, name)
    if inspect.isclass(value) or inspect.isroutine(value):
        assert (value.__doc__ or "").strip(), f"openbell.{name} has no docstring"


def test_package_dir_lists_every_public_name() -> None:
    assert set(openbell.__all__) <= set(dir(openbell))


def test_package_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        openbell.no_such_name  # noqa: B018


def test_package_exceptions_share_one_base() -> None:
    from openbell import errors

    for name in errors.__all__:
        assert issubclass(getattr(errors, name), openbell.OpenbellError), name
        assert name in openbell.__all__, f"{name} is not exported"
