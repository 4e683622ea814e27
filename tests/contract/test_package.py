"""What the package promises as a whole: light import, documented names, files one can read."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import openbell

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 600
READ_BY_PEOPLE = {".py", ".pyx", ".pxd", ".pyi", ".h", ".md", ".toml"}
HEAVY = ("numba", "pandas", "pyarrow", "exchange_calendars", "polars", "typer", "rich")


def own_files() -> Iterator[Path]:
    for folder in ("src", "tests", "benchmarks", "docs"):
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


def test_package_import_loads_nothing_heavy() -> None:
    code = "import json, sys, openbell; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stdout)}
    assert "openbell" in loaded
    assert not loaded & set(HEAVY)


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
