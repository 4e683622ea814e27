"""`openbell ctl`, from this process, at a real replay in another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import openbell as ob
from openbell.control import ControlClient, find_controls, serve_control
from tests.controlling import Slow, runtime
from tests.healths import feed, symbol
from tests.waiting import wait_until

if os.name != "posix":
    pytest.skip("sockets need a POSIX system", allow_module_level=True)

__all__ = ["runtime"]

# A minute in half a second; nothing here waits for the close.
CONFIG = """
[session]
name = "{name}"
start_date = 2025-07-02
symbols = ["SYN001", "SYN002", "NONE"]
streams = ["1m", "5m"]
speed = 120
[data]
parquet = "data"
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from openbell.cli import main

    folder = tmp_path_factory.mktemp("ctl")
    assert main(["sample", str(folder / "data"), "--symbols", "3", "--interval", "1m"]) == 0
    return folder


@contextmanager
def replaying(
    dataset: Path, *words: object, name: str = "paced"
) -> Iterator[subprocess.Popen[str]]:
    path = dataset / f"{name}.toml"
    path.write_text(CONFIG.format(name=name))
    command = [sys.executable, "-m", "openbell", "replay", path, *words]
    with subprocess.Popen(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as running:
        try:
            wait_until(lambda: is_on(running), 60, "the replay runs")
            yield running
        finally:
            running.kill()


def is_on(running: subprocess.Popen[str]) -> bool:
    assert running.poll() is None
    for path in find_controls():
        if path.stem.startswith(f"{running.pid}-"):
            with ControlClient(path) as client:
                found = client.ask("look")
                return found["phase"] == "running" and found["n_symbols"] == 2
    return False


@contextmanager
def served(name: str) -> Iterator[Slow]:
    slow = Slow()
    with serve_control(slow, name):
        yield slow
        slow.may_go_on.set()


class Waiting(dict[str, object]):
    """Who is pending, until that was looked at so often; then something happens."""

    def __init__(self, symbol: str, n_looks: int, then: Callable[[], object]) -> None:
        super().__init__({symbol: None})
        self._n_looks, self._then = n_looks, then

    def __contains__(self, symbol: object) -> bool:
        is_pending = super().__contains__(symbol)
        self._n_looks -= 1
        if not self._n_looks:
            self._then()
        return is_pending


def words_of(out: str) -> list[list[str]]:
    return [line.split() for line in out.splitlines()]


# A real replay


def test_ctl_commands_a_paced_replay_from_its_first_bar_to_its_end(
    run: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = tmp_path / "final.json"
    with replaying(dataset, "--json", final) as running:
        # Another folder than that of the session's process.
        monkeypatch.chdir(tmp_path)
        label = f"paced (process {running.pid})"

        code, out, err = run("ctl", "add", "SYN003", "--wait")
        assert (code, out, err) == (0, "SYN003: loaded\n", [])
        code, out, err = run("ctl", "add", "OTHER", "SYN001")
        assert (code, out) == (1, "SYN001: loaded\n")
        assert len(err) == 1
        assert f"{label}: add: OTHER: unknown symbol: no source has it" in err[0]
        code, out, err = run("ctl", "remove", "SYN001", "OTHER")
        assert (code, out, len(err)) == (1, "SYN001: removed\n", 1)
        assert err == [f"openbell: {label}: remove: OTHER: not in the session"]

        # While it goes on.
        for name in ("now.json", "now.csv"):
            code, out, err = run("ctl", "export", name)
            size = (tmp_path / name).stat().st_size
            assert (code, out, err) == (0, f"wrote {tmp_path / name} ({size:,} bytes)\n", [])
            assert ob.validate_session_dump(tmp_path / name) == []
        held = json.loads((tmp_path / "now.json").read_text())
        assert set(held["symbols"]) == {"SYN002", "SYN003"}
        assert held["session"]["active"] is True
        code, out, err = run("ctl", "export", "now.json")
        assert (code, out, len(err)) == (1, "", 1)
        assert "is there already; --force replaces it" in err[0]

        assert run("ctl", "pause") == (0, f"{label}: paused\n", [])
        first, second = (json.loads(run("ctl", "status", "--json")[1]) for _ in range(2))
        assert first == second
        assert (first["pid"], first["phase"]) == (running.pid, "paused")
        assert first["config"] == str(dataset / "paced.toml")
        assert set(first["left_out"]) == {"NONE", "OTHER"}
        assert run("ctl", "resume") == (0, f"{label}: running\n", [])

        assert run("ctl", "stop", "--wait") == (0, f"{label}: stopped\n", [])
        out = running.communicate()[0]
        assert running.returncode == 0
    assert "SYN003" in out
    assert "stopped before the close, 2025-07-02 20:00:00 UTC" in out.splitlines()
    assert ob.validate_session_dump(final) == []
    ended = json.loads(final.read_text())["session"]
    assert ended["active"] is False
    assert first["clock"] <= ended["now"] < first["close"]
    assert find_controls() == []


def test_ctl_status_shows_the_session_and_its_symbols(run: Any, dataset: Path) -> None:
    with replaying(dataset) as running:
        run("ctl", "pause")
        code, out, err = run("ctl", "status", "--session", running.pid)
        held = json.loads(run("ctl", "status", "--json")[1])
    assert (code, err) == (0, [])
    lines = words_of(out)
    assert lines[0][:8] == "paced 2025-07-02 XNYS 13:30:00 to 20:00:00 UTC now".split()
    assert lines[0][9:] == ["2", "symbols"]
    assert lines[1][:5] == ["paused", str(held["n_bars"]), "bars", "process", f"{running.pid},"]
    assert lines[2] == [str(dataset / "paced.toml")]
    assert lines[4] == "symbol 1m 5m close high low volume quality gaps".split()
    for line, one in zip(lines[6:8], held["symbols"], strict=True):
        assert line[0] == one["symbol"]
        assert line[1] == str(one["counts"]["1m"])
    assert lines[9][:4] == ["NONE", "is", "left", "out:"]


def test_ctl_of_several_replays_lists_them_and_takes_a_name_or_pid(run: Any, dataset: Path) -> None:
    with replaying(dataset, name="one") as one, replaying(dataset, name="two") as two:
        code, out, err = run("ctl", "status")
        assert (code, len(err)) == (2, 1)
        listed = words_of(out)[2:]
        assert sorted(listed) == sorted(
            [
                [str(one.pid), "one", "2025-07-02", "running", "2"],
                [str(two.pid), "two", "2025-07-02", "running", "2"],
            ]
        )
        assert "--session: received None, expected one of 2 such sessions: " in err[0]
        code, out, _ = run("ctl", "pause", "--session", "two")
        assert (code, out) == (0, f"two (process {two.pid}): paused\n")
        found = json.loads(run("ctl", "status", "--session", one.pid, "--json")[1])
        assert (found["name"], found["phase"]) == ("one", "running")
        code, _, err = run("ctl", "status", "--session", "three")
        assert (code, len(err)) == (2, 1)
        assert "'three', expected a running session: " in err[0]


def test_ctl_of_a_session_that_hangs_says_so_and_reaches_the_others(
    run: Any, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reaches(name: str) -> bool:
        # On a busy machine one that lives may need longer for an answer, too.
        return bool(run("ctl", "pause", "--session", name)[0] == 0)

    monkeypatch.setattr("openbell.cli.ctl._LONGEST_LOOK_S", 0.1)
    with replaying(dataset) as running, served("mine"):
        running.send_signal(signal.SIGSTOP)
        code, out, _ = run("ctl", "status")
        assert code == 2
        assert [str(running.pid), "-", "-", "no", "answer", "0"] in words_of(out)
        wait_until(lambda: reaches("mine"))
        running.send_signal(signal.SIGCONT)
        wait_until(lambda: reaches("paced"))


def test_ctl_of_a_replay_that_is_killed_says_that_it_ended(
    run: Any, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with replaying(dataset) as running:
        real = ControlClient.ask

        def ask(client: ControlClient, command: str, *rest: Any, **others: Any) -> Any:
            if command == "status":
                running.kill()
                running.wait()
            return real(client, command, *rest, **others)

        monkeypatch.setattr(ControlClient, "ask", ask)
        code, out, err = run("ctl", "status")
    assert (code, out) == (1, "")
    assert err == [f"openbell: paced (process {running.pid}): status: the session ended meanwhile"]


# What goes wrong


@pytest.mark.parametrize(
    "words",
    [
        ("status",),
        ("add", "AAPL"),
        ("remove", "AAPL"),
        ("export", "a.json"),
        ("pause",),
        ("resume",),
        ("stop", "--wait"),
        ("status", "--session", "7"),
    ],
)
def test_ctl_with_nothing_running_returns_1_and_says_so(run: Any, words: tuple[str, ...]) -> None:
    assert run("ctl", *words) == (
        1,
        "",
        [
            "openbell: no session is running: `openbell replay` and `openbell live` take commands "
            "while they run"
        ],
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nope",), "No such command 'nope'"),
        (("add",), "Missing argument 'SYMBOL"),
        (("export",), "Missing argument 'PATH'"),
        (("export", "a.xyz"), "PATH: received 'a.xyz', expected a name that ends in one of .json"),
        (("export", "a", "--format", "xml"), "--format: received 'xml', expected one of json, csv"),
        (("status", "--nope"), "--nope"),
    ],
)
def test_ctl_called_wrongly_returns_2(run: Any, words: tuple[str, ...], said: str) -> None:
    code, out, err = run("ctl", *words)
    assert (code, out, len(err)) == (2, "", 1)
    assert said in err[0]


@pytest.mark.parametrize("words", [(), ("--help",)])
def test_ctl_help_names_the_commands_and_what_they_stand_for(
    run: Any, words: tuple[str, ...]
) -> None:
    code, out, err = run("ctl", *words)
    assert (code, err) == (0, [])
    for word in ("status", "add", "remove", "export", "pause", "resume", "stop"):
        assert f"\n  {word} " in out
    text = " ".join(out.split())
    assert "`system start` and `data session`" in text


def test_ctl_adding_when_no_day_is_running_returns_1(run: Any) -> None:
    with served("mine") as slow:
        slow.phase = "ended"
        code, out, err = run("ctl", "add", "AAPL")
        assert (code, out, len(err)) == (1, "", 1)
        assert err[0].endswith("add: no trading day is running: the session is ended")


def test_ctl_adding_prints_json_and_fails_all_the_same(run: Any) -> None:
    with served("mine") as slow:
        slow.add_symbol = lambda symbol: False  # type: ignore[method-assign]
        code, out, err = run("ctl", "add", "AAPL", "--json")
        assert (code, len(err)) == (1, 1)
        reason = "no trading day is running"
        assert json.loads(out)["symbols"] == {"AAPL": {"state": "refused", "reason": reason}}


def test_ctl_waiting_for_a_symbol_of_a_paused_session_says_why(run: Any) -> None:
    with served("mine") as slow:
        slow.may_go_on.set()

        def load() -> None:
            slow.pending = {}

        slow.pending, slow.phase = Waiting("AAPL", 3, load), "paused"
        loaded = ob.SymbolSessionData("AAPL", meets_session_config_requirements=True)
        loaded.is_loaded = True
        slow.root.register_symbol_data(loaded)
        code, out, err = run("ctl", "add", "AAPL", "--wait")
    assert (code, out) == (0, "AAPL: loaded\n")
    assert err == ["the session is paused: symbols are loaded when it goes on"]


@pytest.mark.parametrize(
    ("phase", "said"),
    [("running", "it was removed meanwhile"), ("ended", "the day ended before that")],
)
def test_ctl_waiting_for_a_symbol_that_never_comes_returns_1(
    run: Any, phase: str, said: str
) -> None:
    with served("mine") as slow:

        def forget() -> None:
            slow.phase, slow.pending = phase, {}

        slow.pending = Waiting("AAPL", 3, forget)
        slow.add_symbol = lambda symbol: True  # type: ignore[method-assign]
        code, out, err = run("ctl", "add", "AAPL", "--wait")
    assert (code, out, len(err)) == (1, "", 1)
    assert err[0].endswith(f"add: AAPL: {said}")


def test_ctl_status_shows_feeds_and_symbols_whose_streams_are_not_well(run: Any) -> None:
    with served("mine") as slow:
        slow.feed_health = [  # type: ignore[attr-defined]
            feed("alpaca", "down", "lost", n_bars=1200, n_updates=3, n_garbage=2),
            feed("schwab", "live", lag_s=0.25, n_bars=7),
        ]
        slow.symbol_health = {  # type: ignore[attr-defined]
            health.symbol: health
            for health in (
                symbol("AAPL", "silent", "no trade since 10:00", source="schwab"),
                symbol("MSFT", "quiet", source="schwab"),
                symbol("TSLA", "down", "lost"),
            )
        }
        lines = words_of(run("ctl", "status")[1])
    assert lines[0][:4] == ["mine", "no", "day", "yet"]
    assert lines[3] == "feed state lag bars corrections".split()
    assert lines[5:7] == [
        ["alpaca", "down", "-", "1,200", "3"],
        ["schwab", "live", "0.2", "s", "7", "0"],
    ]
    assert lines[8] == "alpaca: down: lost".split()
    assert lines[9] == "alpaca: 2 not understood".split()
    assert lines[10] == "AAPL: its stream is silent: no trade since 10:00".split()
    assert len(lines) == 11


def test_ctl_pause_before_the_open_waits_until_it_is_paused(run: Any) -> None:
    with served("mine") as slow:
        slow.phase = "waiting"
        slow.pause = lambda: None  # type: ignore[method-assign]

        def hold() -> None:
            slow.phase = "paused"

        holding = threading.Timer(0.2, hold)
        holding.start()
        code, out, err = run("ctl", "pause")
        holding.join()
    assert (code, out, err) == (0, f"mine (process {os.getpid()}): paused\n", [])


# A replay without


def test_replay_whose_socket_cannot_be_runs_and_warns(run: Any, dataset: Path) -> None:
    path = dataset / "fast.toml"
    path.write_text(CONFIG.format(name="fast").replace("120", "1e9"))
    # What a session that died left, and what nobody can replace.
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / "openbell"
    folder.mkdir(0o700)
    number = next_number()
    (folder / f"{os.getpid()}-{number}.sock").mkdir()
    code, out, err = run("replay", path)
    assert code == 0
    assert "SYN001" in out
    assert err[0].startswith("this run takes no commands: ")


def next_number() -> int:
    from openbell.watch.places import make_stem

    return int(make_stem().partition("-")[2]) + 1
