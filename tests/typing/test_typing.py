"""mypy reads the examples beside this file and must see what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mypy")

FOLDER = Path(__file__).resolve().parent
PROJECT = FOLDER.parents[1]
EXAMPLES = FOLDER / "examples.py"
MESSAGE = re.compile(r"examples\.py:(\d+): (note|error): (.*)")


@pytest.fixture(scope="module")
def seen() -> dict[int, str]:
    """What mypy says of each line: ``type`` or ``error: code``."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--no-error-summary",
         "--hide-error-context", str(EXAMPLES)],
        cwd=PROJECT, env={**os.environ, "MYPYPATH": str(PROJECT / "src")},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    lines: dict[int, str] = {}
    for number, kind, text in MESSAGE.findall(done.stdout):
        if kind == "error":
            lines[int(number)] = f"error: {text[text.rindex('[') + 1 : -1]}"
        elif text.startswith("Revealed type is"):
            shown = text.removeprefix("Revealed type is ").strip("\"'")
            shown = re.sub(r"\b(?:\w+\.)+(?=\w)", "", shown).replace("?", "")
            # A named tuple is shown as what it holds, and its name behind that.
            lines[int(number)] = re.sub(r"tuple\[[^\[\]]*, fallback=(\w+)\]", r"\1", shown)
    return lines


def expected() -> dict[int, str]:
    found = {}
    for number, line in enumerate(EXAMPLES.read_text(encoding="utf-8").splitlines(), 1):
        code, mark, comment = line.rpartition("  # ")
        if mark and not code.startswith("#"):
            found[number] = comment
    return found


@pytest.mark.parametrize("number", expected())
def test_types_of_an_example_are_what_it_says(number: int, seen: dict[int, str]) -> None:
    parts = map(re.escape, expected()[number].split("..."))
    assert number in seen, "mypy says nothing of this line"
    assert re.fullmatch(".*".join(parts), seen[number]), seen[number]


def test_types_of_the_examples_hold_no_other_error(seen: dict[int, str]) -> None:
    assert set(seen) == set(expected())
