"""`openbell report` and `openbell replay --report`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openbell.cli import main
from openbell.report import write_report
from tests.report.pages import blocks_of, make_tree, write_dump

Run = Callable[..., tuple[int, str, list[str]]]

CONFIG = """
[session]
start_date = 2025-07-02
end_date = {end}
symbols = ["AAA"]
streams = ["1m", "5m"]
[data]
sources = ["synthetic"]
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process: its exit code, its output, its lines on stderr."""

    def call(*words: object) -> tuple[int, str, list[str]]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        caught = capsys.readouterr()
        return code, caught.out, caught.err.splitlines()

    return call


def test_report_command_writes_beside_the_dump_unless_told_where(run: Run, tmp_path: Path) -> None:
    dump, other = write_dump(make_tree(), tmp_path), tmp_path / "other.html"
    code, out, err = run("report", dump)
    assert (code, err) == (0, [])
    page = tmp_path / "session.html"
    assert out == f"wrote {page} ({page.stat().st_size / 1e6:.1f} MB)\n"
    assert run("report", dump, "-o", other, "--interval", "5m", "--symbol", "AAPL")[0] == 0
    blocks = blocks_of(other)
    assert [line["symbol"] for line in blocks["session"]["symbols"]] == ["AAPL"]
    assert [name for name, chart in blocks["symbol-0"].items() if chart["in_page"]] == ["5m"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--symbol", "NOPE"], "NOPE"),
        (["--interval", "15m"], "15m"),
        (["--interval", "often"], "often"),
        (["-o", "{dump}"], "another file than the dump"),
        (["-o", "{dump}/in/report.html"], "a folder that exists"),
    ],
)
def test_report_command_impossible_wish_returns_2_in_one_line(
    run: Run, tmp_path: Path, words: list[str], said: str
) -> None:
    dump = write_dump(make_tree(), tmp_path)
    code, out, err = run("report", dump, *(word.format(dump=dump) for word in words))
    assert (code, out, len(err)) == (2, "", 1)
    assert said in err[0]
    assert list(tmp_path.iterdir()) == [dump]


def test_report_command_of_no_dump_returns_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    code, _, err = run("report", tmp_path / "other.json")
    assert (code, len(err)) == (1, 1)
    assert "not a session dump" in err[0]


def test_replay_report_writes_a_page_a_day(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "session.toml"
    config.write_text(CONFIG.format(end="2025-07-03"))
    code, out, _ = run("replay", config, "--report", tmp_path / "day.html")
    assert code == 0
    for day in ("2025-07-02", "2025-07-03"):
        page = tmp_path / f"day-{day}.html"
        assert f"wrote {page}" in out
        blocks = blocks_of(page)
        assert blocks["session"]["date"] == day
        # The second one is a half day.
        assert len(blocks["symbol-0"]["1m"]["bars"]["close"]) <= (390 if day[-1] == "2" else 210)


def test_replay_report_and_dump_in_one_file_returns_2(run: Run, tmp_path: Path) -> None:
    config = tmp_path / "session.toml"
    config.write_text(CONFIG.format(end="2025-07-02"))
    target = tmp_path / "out"
    code, _, err = run("replay", config, "--json", target, "--report", target)
    assert code == 2
    assert "--report" in err[0]
    assert "another file than that of --json" in err[0]


def test_report_without_plotly_ends_a_replay_before_it_begins(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "plotly"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "plotly", None)
    config = tmp_path / "session.toml"
    config.write_text(CONFIG.format(end="2025-07-02"))
    code, out, err = run("replay", config, "--report", tmp_path / "day.html")
    assert (code, out) == (1, "")
    assert err == [
        "openbell: the report needs plotly, which is not installed: pip install 'openbell[report]'"
    ]


def test_report_of_a_written_dump_equals_that_of_its_tree(run: Run, tmp_path: Path) -> None:
    tree = make_tree()
    dump = write_dump(tree, tmp_path)
    assert run("report", dump)[0] == 0
    write_report(json.loads(dump.read_text()), tmp_path / "tree.html")
    assert (tmp_path / "tree.html").read_bytes() == (tmp_path / "session.html").read_bytes()
