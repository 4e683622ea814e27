"""`openbell watch`, attached to roots of this process, to a real replay, and on a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import openbell as ob
from openbell.schema import to_ns
from openbell.watch import BoardReader, Snapshot, find_boards, publish
from tests.facade_bars import WINDOW, minutes
from tests.watching import use_own_runtime

if os.name != "posix":
    pytest.skip("boards need a POSIX system", allow_module_level=True)

import pty
import termios

CONFIG = """
[session]
name = "paced"
start_date = 2025-07-02
symbols = ["SYN001", "SYN002", "SYN003"]
streams = ["1m", "5m"]
hours = [["09:30", "10:10"]]
speed = {speed}
[data]
parquet = "data"
"""


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_own_runtime(tmp_path, monkeypatch)


def make_root(*symbols: str) -> ob.SessionData:
    root = ob.SessionData()
    root.begin(WINDOW)
    for symbol in symbols:
        root.register_symbol(symbol).append_block(minutes(0, 1, 3))
    return root


def words_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


# Which session


def test_watch_with_nothing_running_returns_1_and_says_so(run: Any) -> None:
    code, out, err = run("watch")
    assert (code, out) == (1, "")
    assert err == [
        "openbell: no session is running: `openbell replay` and `openbell live` can be watched, "
        "and --wait waits for it"
    ]


def test_watch_the_only_session_prints_one_table_where_there_is_no_terminal(run: Any) -> None:
    with publish(make_root("TSLA", "AAPL"), "mine"):
        code, out, err = run("watch")
    assert (code, err) == (0, [])
    lines = words_of(out)
    assert lines[0][:9] == "mine 2025-07-02 XNYS 13:30:00 to 20:00:00 UTC now 13:30:00".split()
    assert lines[0][9:] == ["2", "symbols"]
    assert lines[1][:5] == ["running", "6", "bars", "0", "bars/s"]
    assert lines[1][5:7] == ["process", f"{os.getpid()},"]
    assert lines[3] == "symbol 1m close high low volume quality gaps".split()
    # Minutes 0, 1 and 3 of four: closes 10, 11, 13.
    assert lines[5] == "AAPL 3 13.00 14.00 9.00 300 75.00 1".split()
    assert lines[6] == "TSLA 3 13.00 14.00 9.00 300 75.00 1".split()


def test_watch_of_several_sessions_lists_them_and_takes_a_name_or_pid(run: Any) -> None:
    one, two = make_root("AAPL"), make_root("MSFT")
    with publish(one, "one") as first, publish(two, "two") as second:
        code, out, err = run("watch")
        assert code == 2
        assert len(err) == 1
        known = f"{first.path.stem} (one), {second.path.stem} (two)"
        assert (
            err[0] == f"openbell: PID|NAME: received None, expected one of 2 such sessions: {known}"
        )
        # They share the process, so its number does not tell which.
        for board, name in ((first, "one"), (second, "two")):
            assert [board.path.stem, name, "2025-07-02", "running", "1"] in words_of(out)
        assert run("watch", os.getpid())[0] == 2
        for word in ("two", second.path.stem):
            code, out, err = run("watch", word, "--once")
            assert (code, err) == (0, [])
            assert words_of(out)[5][0] == "MSFT"
        code, _, err = run("watch", "three")
        assert code == 2
        assert "'three'" in err[0]
        assert f"expected a running session: {known}" in err[0]


def test_watch_list_cuts_long_names_and_keeps_every_column(run: Any) -> None:
    with publish(make_root("AAPL"), "n" * 500) as first, publish(make_root("MSFT"), "two"):
        code, out, err = run("watch")
    assert code == 2
    shown = "n" * 29 + "\u2026"
    assert [first.path.stem, shown, "2025-07-02", "running", "1"] in words_of(out)
    assert f"{first.path.stem} ({shown})," in err[0]


def test_watch_svg_into_no_folder_returns_2_before_it_looks(run: Any, tmp_path: Path) -> None:
    code, out, err = run("watch", "--svg", tmp_path / "none" / "watch.svg")
    assert (code, out, len(err)) == (2, "", 1)
    assert "--svg" in err[0]
    assert "make it first" in err[0]


def test_watch_a_pid_attaches_to_its_session(run: Any) -> None:
    with publish(make_root("AAPL"), "one"):
        assert run("watch", os.getpid(), "--once")[0] == 0


def test_watch_in_a_folder_that_is_not_ours_returns_1_and_names_it(run: Any, runtime: Path) -> None:
    (runtime / "openbell").symlink_to(runtime)
    code, _, err = run("watch")
    assert code == 1
    assert len(err) == 1
    assert f"{runtime / 'openbell'}: is a symbolic link" in err[0]


# What is shown


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [("SYN*", {"SYN1", "SYN2"}), ("AAPL,SYN2", {"AAPL", "SYN2"}), ("[A]APL", {"AAPL"})],
)
def test_watch_symbols_chooses_by_pattern(run: Any, wanted: str, shown: set[str]) -> None:
    with publish(make_root("SYN1", "SYN2", "AAPL")):
        code, out, _ = run("watch", "--symbols", wanted)
    assert code == 0
    assert {line[0] for line in words_of(out)[5:]} == shown


def test_watch_symbols_that_nobody_has_says_so(run: Any) -> None:
    with publish(make_root("AAPL")):
        code, out, _ = run("watch", "--symbols", "NOPE")
    assert code == 0
    assert "none of the symbols is named so" in out


def test_watch_symbols_empty_returns_2(run: Any) -> None:
    code, _, err = run("watch", "--symbols", "AAPL,,TSLA")
    assert code == 2
    assert "--symbols" in err[0]


def test_watch_svg_draws_what_it_prints(run: Any, tmp_path: Path) -> None:
    picture = tmp_path / "watch.svg"
    with publish(make_root("AAPL"), "mine"):
        code, out, _ = run("watch", "--svg", picture)
    assert code == 0
    assert "AAPL" in out
    assert "AAPL" in picture.read_text(encoding="utf-8")


def test_watch_tells_errors_and_refusals(run: Any) -> None:
    root = make_root("AAPL")
    root["AAPL"].note_error("rule", ValueError("no"))
    with pytest.raises(ob.BarRefused):
        root["AAPL"].append(1, 1.0, 1.0, 1.0, 1.0, 1.0)
    with publish(root):
        lines = words_of(run("watch")[1])
    assert lines[3][-2:] == ["refused", "errors"]
    assert lines[5][-2:] == ["1", "1"]


# A real replay


@contextmanager
def started(*words: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process; killed when the block ends before it does."""
    command = [sys.executable, *map(str, words)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@contextmanager
def replaying(folder: Path, speed: float, *words: object) -> Iterator[subprocess.Popen[str]]:
    path = folder / "session.toml"
    path.write_text(CONFIG.format(speed=speed))
    with started("-m", "openbell", "replay", path, *words) as running:
        yield running


@pytest.fixture
def dataset(run: Any, tmp_path: Path) -> Path:
    words = ("--symbols", 3, "--interval", "1m")
    assert run("sample", tmp_path / "data", *words)[0] == 0
    return tmp_path


def board_of(running: subprocess.Popen[str]) -> Path:
    while not (found := find_boards()):
        assert running.poll() is None
        time.sleep(0.01)
    return found[0]


def test_watch_of_a_paced_replay_agrees_with_its_dump(dataset: Path) -> None:
    dump = dataset / "dump.json"
    seen: list[Snapshot] = []
    with replaying(dataset, 1200, "--json", dump) as running:
        with BoardReader(board_of(running)) as watcher:
            while not seen or not seen[-1].is_final:
                watcher.announce()
                found = watcher.read()
                if not seen or found is not seen[-1]:
                    seen.append(found)
                time.sleep(0.02)
        running.communicate()
        assert running.returncode == 0
    symbols = json.loads(dump.read_text())["symbols"]
    final = seen[-1]
    assert (final.name, final.phase, final.pid) == ("paced", "ended", running.pid)
    assert {state.symbol for state in final.symbols} == set(symbols)
    for state in final.symbols:
        session = symbols[state.symbol]["session"]
        base = session["data"]["1m"]
        assert (state.high, state.low, state.volume) == tuple(
            session[key] for key in ("high", "low", "volume")
        )
        assert state.close == base["data"][-1][4]
        assert state.quality == pytest.approx(base["quality"])
        assert (state.n_gaps, state.n_missing) == (
            base["gaps"]["gap_count"],
            base["gaps"]["missing_bars"],
        )
        assert state.counts == {name: one["count"] for name, one in session["data"].items()}
    assert final.n_bars == sum(state.counts["1m"] for state in final.symbols)

    # While it ran: of each symbol the bars that had ended, between this look and the one before.
    minute = 60 * 10**9
    ends = {
        symbol: [to_ns(row[0]) + minute for row in tree["session"]["data"]["1m"]["data"]]
        for symbol, tree in symbols.items()
    }
    running_looks = [found for found in seen if found.phase == "running"]
    assert len({found.now_ns for found in running_looks}) > 2
    for before, found in pairwise(running_looks):
        for state in found.symbols:
            least, most = (bisect_right(ends[state.symbol], s.now_ns) for s in (before, found))
            assert least <= state.counts["1m"] <= most


def test_watch_wait_attaches_to_a_replay_that_begins_later(dataset: Path) -> None:
    with started("-m", "openbell", "watch", "paced", "--wait", "--once") as watching:
        with replaying(dataset, 60):
            out = watching.communicate(timeout=120)[0]
        assert watching.returncode == 0
    assert out.startswith("paced")


# On a terminal

PUBLISHES = """
    import sys
    from datetime import date
    import openbell as ob
    from openbell.watch import publish
    root = ob.SessionData()
    root.begin(ob.TimeManager("XNYS").session_window(date(2025, 7, 2)))
    for k in range(100):
        root.register_symbol(f"SYN{k:03}")
    with publish(root, "theirs"):
        print("ready", flush=True)
        sys.stdin.read()
        root.end()
"""


class Terminal:
    """`openbell watch` on a terminal of 20 lines and 100 columns."""

    def __init__(self) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (20, 100))
        # Wider and higher than it is, if they were set here.
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "openbell", "watch"],
            stdin=theirs,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment, "TERM": "xterm"},
        )
        os.close(theirs)
        self.shown = ""

    def read_until(self, text: str) -> None:
        while text not in self.shown:
            self._read()

    def end(self) -> tuple[int, list[str]]:
        """Its exit code and its lines on stderr."""
        try:
            while True:
                self._read()
        except OSError:
            # The other side is closed.
            pass
        os.close(self._ours)
        assert self.process.stderr is not None
        err = self.process.stderr.read().splitlines()
        return self.process.wait(), err

    def _read(self) -> None:
        text = os.read(self._ours, 65_536)
        if not text:
            raise OSError("closed")
        self.shown += text.decode()


@pytest.fixture
def theirs() -> Iterator[subprocess.Popen[str]]:
    with started("-c", textwrap.dedent(PUBLISHES)) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield running


@pytest.fixture
def terminal(theirs: Any) -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.process.kill()
    terminal.process.communicate()


def test_watch_on_a_terminal_fits_it_and_ends_with_the_session(
    theirs: Any, terminal: Terminal
) -> None:
    terminal.read_until("more symbols")
    page = terminal.shown
    # Six of its 20 lines are no symbols.
    assert "SYN013" in page
    assert "SYN014" not in page
    assert "... and 86 more symbols" in page
    theirs.communicate()
    assert terminal.end() == (0, [])
    rest = terminal.shown[len(page) :]
    assert "SYN099" in rest
    assert "publishes no more" in rest
    assert "ended" in rest


def test_watch_of_a_session_that_is_killed_returns_1_and_says_so(
    theirs: Any, terminal: Terminal
) -> None:
    terminal.read_until("more symbols")
    theirs.kill()
    theirs.wait()
    code, err = terminal.end()
    assert code == 1
    assert len(err) == 1
    assert f"theirs: its process {theirs.pid} is gone" in err[0]


def test_watch_interrupted_returns_130(terminal: Terminal) -> None:
    terminal.read_until("more symbols")
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == (130, ["openbell: interrupted"])


def test_replay_in_a_folder_that_is_not_ours_runs_and_warns(
    run: Any, dataset: Path, runtime: Path
) -> None:
    (runtime / "openbell").symlink_to(runtime)
    path = dataset / "session.toml"
    path.write_text(CONFIG.format(speed=1e9))
    code, out, err = run("replay", path)
    assert code == 0
    assert "SYN001" in out
    (line,) = err
    assert line.startswith("this run cannot be watched")
    assert "symbolic link" in line
