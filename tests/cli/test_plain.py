"""A plain `openbell replay` is read without typer: to the same call, or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from openbell.cli import main
from openbell.cli.app import call_app
from openbell.cli.calls import Call
from openbell.cli.plain import plain_replay


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("session.toml")
    path.write_text("")
    return path


@pytest.mark.parametrize(
    "line",
    [
        "replay session.toml",
        "replay ./session.toml --json out.json",
        "replay --csv=out.csv session.toml --report page.html --speed 1.5",
        "replay --speed=0 session.toml",
        "replay --speed 600 --json=a=b.json session.toml",
    ],
)
def test_plain_line_makes_the_call_that_typer_makes(
    line: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr("openbell.cli.days.replay_days", lambda *given: calls.append(given))
    monkeypatch.setattr("openbell.cli.replay.replay_days", lambda *given: calls.append(given))
    monkeypatch.setattr("openbell.report.plotly_script", str)
    assert plain_replay(line.split()) is not None
    assert main(line.split()) == 0
    call_app(line.split(), Call())
    plain, by_typer = calls
    assert plain == by_typer


@pytest.mark.parametrize(
    "line",
    [
        "",
        "replay",
        "show session.toml",
        "--debug replay session.toml",
        "replay --help",
        "replay absent.toml",
        "replay .",
        "replay session.toml session.toml",
        "replay session.toml --json",
        "replay session.toml --json=",
        "replay session.toml --json a --json b",
        "replay session.toml --json -x",
        "replay session.toml --speed -1",
        "replay session.toml --speed fast",
        "replay session.toml --speed 1e3",
        "replay session.toml --speed .",
        "replay session.toml --jso a",
        "replay -- session.toml",
    ],
)
def test_line_that_is_not_plain_is_left_to_typer(line: str, config: Path) -> None:
    assert plain_replay(line.split()) is None
