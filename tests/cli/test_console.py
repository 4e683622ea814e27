"""What the commands tell about themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from openbell.cli.console import program


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "bin" / "openbell"
    path.parent.mkdir()
    path.write_text("")
    path.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(path), "demo"])
    return path


def test_program_on_the_path_is_its_name(command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(command.parent))
    assert program() == "openbell"


def test_program_off_the_path_is_its_path(
    command: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == str(command)


def test_program_run_as_a_module_is_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["openbell/__main__.py", "demo"])
    assert program() == "openbell"
