"""What the guard of the instruction counts makes of two counts, and which commit it takes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import guard
from benchmarks.guard_paths import PATHS

#: Two dumps as callgrind 3.19 combines them, costs by line left out; the last is its farewell.
DUMPS = """\
# callgrind format
part: 1
desc: Trigger: Client Request: append
events: Ir
summary: 15956499
fn=(1) run
12 15956499

totals: 15956499

part: 2
desc: Trigger: Client Request: replay, per bar
events: Ir
summary: 2000
totals: 2000

part: 3
desc: Trigger: Program termination
events: Ir
summary: 7
totals: 10
"""


def test_dumps_of_callgrind_give_the_total_of_each_mark():
    assert guard.read_counts(DUMPS) == {"append": 15_956_499, "replay, per bar": 2000}
    assert guard.read_counts("") == {}


def test_verdict_is_three_percent_more_and_not_what_the_base_lacks():
    base = {"append": 1000, "block": 1000, "replay": 1000, "gone": 1000}
    head = {"append": 1030, "block": 1031, "replay": 400, "fresh": 5}
    verdicts = {v.path: v for v in guard.judge(base, head, [*head, "gone"])}
    assert [path for path, v in verdicts.items() if not v.is_fine] == ["block", "gone"]
    for said in ("block", "1,000", "1,031", "1.0310 x", "MORE"):
        assert said in str(verdicts["block"])
    assert "MORE" not in str(verdicts["append"])
    assert "not in the base" in str(verdicts["fresh"])


@pytest.mark.parametrize("name", PATHS)
def test_path_that_is_counted_gives_the_right_bars(name: str):
    run, is_right = PATHS[name]()
    assert not is_right()
    run()
    assert is_right()


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """A repository of two commits on main, which the guard takes for its tree."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", guard.BASE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    tree = tmp_path / "tree"
    tree.mkdir()
    monkeypatch.setattr(guard, "TREE", tree)

    def call(*arguments: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        done = subprocess.run(
            ["git", *who, *arguments], cwd=guard.TREE, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    call("init", "--quiet", "--initial-branch=main")
    (tree / "setup.py").write_text("first")
    call("add", "setup.py")
    for message in ("one", "two"):
        call("commit", "--quiet", "--allow-empty", "--message", message)
    return call


def test_base_of_main_is_the_commit_before(git: Callable[..., str]):
    assert guard.find_base() == git("rev-parse", "HEAD^")


def test_base_of_main_with_sources_not_committed_is_the_newest_commit(git: Callable[..., str]):
    (guard.TREE / "setup.py").write_text("second")
    assert guard.find_base() == git("rev-parse", "HEAD")
    assert guard.changed_since("HEAD") == ["setup.py"]


def test_base_of_a_branch_is_where_it_left_main(git: Callable[..., str]):
    left = git("rev-parse", "HEAD")
    git("checkout", "--quiet", "-b", "branch")
    for _ in range(2):
        git("commit", "--quiet", "--allow-empty", "--message", "more")
    assert guard.find_base() == left


def test_base_is_the_one_that_is_named(git: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(guard.BASE_VARIABLE, "HEAD")
    assert guard.find_base() == git("rev-parse", "HEAD")
    monkeypatch.setenv(guard.BASE_VARIABLE, "no-such")
    with pytest.raises(SystemExit, match="no-such"):
        guard.find_base()


def test_base_of_a_shallow_clone_is_fetched(
    git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    before = git("rev-parse", "HEAD^")
    source = f"file://{guard.TREE}"
    monkeypatch.setattr(guard, "TREE", tmp_path)
    git("clone", "--quiet", "--depth=1", source, "shallow")
    monkeypatch.setattr(guard, "TREE", tmp_path / "shallow")
    git("checkout", "--quiet", "--detach")
    assert guard.find_base() == before


def test_base_that_cannot_be_had_skips_and_says_why(
    git: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    git("checkout", "--quiet", "HEAD^")
    git("branch", "--force", "main", "HEAD")
    with pytest.raises(guard.Skipped, match="history begins"):
        guard.find_base()
    monkeypatch.setattr(guard, "TREE", tmp_path)
    with pytest.raises(guard.Skipped, match="no git checkout"):
        guard.find_base()
