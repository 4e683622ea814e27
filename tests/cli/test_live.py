"""`openbell live`: rehearsed days, and real time against a server on the loopback."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from openbell.schema import BAR_DTYPE, NS_PER_DAY, NS_PER_MINUTE
from openbell.watch import find_boards
from tests.servers.alpaca import AlpacaServer
from tests.waiting import wait_until
from tests.watching import use_own_runtime

if os.name != "posix":
    pytest.skip("sessions are watched and commanded on POSIX systems", allow_module_level=True)

import pty
import termios

pytestmark = pytest.mark.usefixtures("warm_kernels")

CONFIG = """
[session]
name = "rehearsal"
{when}
symbols = ["AAA", "BBB", "CCC"]
streams = ["1m", "5m"]
base = "1m"
hours = [["09:30", "10:30"]]
[data]
{data}
"""
SYNTHETIC = 'sources = ["synthetic"]\nsynthetic = { seed = 7, fill_rate = 1.0 }'
DAY = "2025-07-03"
REHEARSED = ("--date", DAY, "--rehearse")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_own_runtime(tmp_path, monkeypatch)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path / "live.toml")


def write_config(path: Path, when: str = 'mode = "live"', data: str = SYNTHETIC) -> Path:
    path.write_text(CONFIG.format(when=when, data=data))
    return path


class Running:
    """`openbell live`, its output line by line."""

    def __init__(self, words: Sequence[object], environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "openbell", "live", *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        self.lines: list[str] = []

    def read_until(self, text: str) -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return self.lines[-1]
        pytest.fail(f"it ended without {text!r}: {self.lines} {self.process.stderr.read()}")  # type: ignore[union-attr]

    def end(self) -> tuple[int, list[str]]:
        """Its exit code and its lines on stderr."""
        out, err = self.process.communicate(timeout=60)
        self.lines += out.splitlines()
        return self.process.returncode, err.splitlines()

    @property
    def events(self) -> list[str]:
        """What happened, without the instants."""
        found = (re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (.*)", one) for one in self.lines)
        return [one[1] for one in found if one is not None]


@contextmanager
def running(*words: object, **environment: str) -> Iterator[Running]:
    run = Running(words, environment)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.communicate()


def tree_of(path: Path) -> Any:
    return json.loads(path.read_text())


# A rehearsed day


def test_live_rehearsal_is_the_backtest_of_the_day_and_its_recording_replays_the_same(
    run: Any, config: Path, tmp_path: Path
) -> None:
    live, log = tmp_path / "live-{date}.json", tmp_path / "live.csv"
    recorded, dump = tmp_path / "recorded", tmp_path / f"live-{DAY}.json"
    words = ("--json", live, "--csv", log, "--record", recorded)
    with running(config, *REHEARSED, 1800, *words) as session:
        code, err = session.end()
    assert code == 0, err
    assert session.events[0] == "synthetic: connected"
    assert session.events[-1] == f"{DAY} is over"
    table = [line.split() for line in session.lines if line[:3] in ("AAA", "BBB", "CCC")]
    assert [row[:3] for row in table] == [[name, "60", "12"] for name in ("AAA", "BBB", "CCC")]
    assert "180 bars and 36 derived" in session.lines
    (feed,) = (line for line in session.lines if line.startswith("synthetic: "))
    assert re.fullmatch(r"synthetic: \d+ bars, 0 corrections, \d+ drops?, .*", feed)
    assert any(re.fullmatch(r"latency .* p50, .* p99, .*", line) for line in session.lines)
    wrote = [line.partition(" ")[2] for line in session.lines if line.startswith("wrote ")]
    assert wrote == [str(dump), str(log)]
    assert session.lines[-1] == f"recorded in {recorded}"
    assert len(log.read_text().splitlines()) == 61

    when = f"start_date = {DAY}"
    again, backtest = tmp_path / "again.json", tmp_path / "backtest.json"
    of_record = write_config(tmp_path / "again.toml", when, f'parquet = "{recorded}"')
    assert run("replay", of_record, "--json", again)[0] == 0
    assert tree_of(again) == tree_of(dump)
    of_source = write_config(tmp_path / "backtest.toml", when)
    assert run("replay", of_source, "--json", backtest)[0] == 0
    for name, symbol in tree_of(backtest)["symbols"].items():
        streamed = tree_of(dump)["symbols"][name]
        assert streamed["session"] == symbol["session"]


def test_live_interrupted_writes_what_there_is_and_is_resumed(
    run: Any, config: Path, tmp_path: Path
) -> None:
    dump, recorded = tmp_path / "part.json", tmp_path / "recorded"
    words = ("--json", dump, "--record", recorded)
    # Its hour is long: a busy machine needs seconds to see the first minutes and to interrupt it.
    with running(config, *REHEARSED, 100, *words) as session:
        session.read_until("XNYS is open")
        wait_until(lambda: json.loads(run("ctl", "status", "--json")[1])["n_bars"] >= 9)
        session.process.send_signal(signal.SIGINT)
        assert session.end() == (130, ["openbell: interrupted"])
    assert session.events[-1].startswith(f"stopped before the close, {DAY} 14:30:00 UTC")
    assert session.lines[-2:] == [f"wrote {dump}", f"recorded in {recorded}"]
    part = tree_of(dump)
    n_bars = part["symbols"]["AAA"]["session"]["data"]["1m"]["count"]
    assert part["session"]["now"] < part["session"]["close"]
    assert 0 < n_bars < 60

    code, _, err = run("live", config, *REHEARSED, 600, *words)
    assert (code, len(err)) == (1, 1)
    assert "resume (--resume) goes on with one that was broken off" in err[0]

    with running(config, *REHEARSED, 1800, *words, "--resume") as session:
        code, err = session.end()
    assert code == 0, err
    (n_recorded,) = (line.split()[3] for line in session.lines if line.startswith("goes on with "))
    assert int(n_recorded) == sum(
        one["session"]["data"]["1m"]["count"] for one in part["symbols"].values()
    )
    whole = tree_of(dump)["symbols"]
    for name, before in part["symbols"].items():
        rows = whole[name]["session"]["data"]["1m"]["data"]
        assert len(rows) == 60
        assert (
            rows[: len(before["session"]["data"]["1m"]["data"]) - 1]
            == (before["session"]["data"]["1m"]["data"][:-1])
        )

    code, _, err = run("live", config, *REHEARSED, 600, *words, "--resume")
    assert (code, len(err)) == (2, 1)
    assert f"that of {DAY} is whole" in err[0]


def test_live_serves_metrics_and_ends_when_ctl_stops_it(run: Any, config: Path) -> None:
    with running(config, *REHEARSED, 60, "--metrics", 0) as session:
        url = session.read_until("metrics at ").removeprefix("metrics at ")
        session.read_until("XNYS is open")
        with urllib.request.urlopen(url, timeout=30) as answer:
            text = answer.read().decode()
        assert 'openbell_feed_state{source="synthetic",state="live"} 1.0' in text
        code, out, err = run("ctl", "status", "--json")
        assert (code, err) == (0, [])
        (feed,) = json.loads(out)["feeds"]
        assert (feed["source"], feed["state"]) == ("synthetic", "live")
        wait_until(find_boards, what="a board")
        code, out, err = run("watch", "rehearsal", "--once")
        assert (code, err) == (0, [])
        assert out.startswith(f"rehearsal  {DAY} XNYS")
        assert out.splitlines()[2].startswith("synthetic  live  ")
        assert run("ctl", "stop")[0] == 0
        assert session.end() == (0, [])
    assert session.events[-1].startswith("stopped before the close")
    assert find_boards() == []


def test_live_reader_that_leaves_early_ends_it_and_has_its_files(
    config: Path, tmp_path: Path
) -> None:
    dump = tmp_path / "dump.json"
    # That nobody reads is found out by the next line: at the latest when the day is over.
    with running(config, *REHEARSED, 300, "--json", dump) as session:
        session.read_until("connected")
        assert session.process.stdout is not None
        session.process.stdout.close()
        assert session.process.wait(60) == 1
        assert session.process.stderr is not None
        assert session.process.stderr.read() == ""
    assert set(tree_of(dump)["symbols"]) == {"AAA", "BBB", "CCC"}


def test_live_and_replay_without_an_output_do_as_when_the_reader_left(
    config: Path, tmp_path: Path
) -> None:
    dump = tmp_path / "dump.json"
    past = write_config(tmp_path / "past.toml", f"start_date = {DAY}")
    live = ("live", config, *REHEARSED, 1800, "--json", dump)
    for words in (live, ("replay", past)):
        # As `>&-` does.
        command = [sys.executable, "-m", "openbell", *map(str, words)]
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", *command],
            stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (1, "")
    assert set(tree_of(dump)["symbols"]) == {"AAA", "BBB", "CCC"}


def test_live_on_a_terminal_counts_down_shows_feeds_and_keeps_the_table(config: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (14, 100))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
    words = [sys.executable, "-m", "openbell", "live", str(config), *REHEARSED, "900"]
    process = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, env={**environment, "TERM": "xterm"}
    )
    os.close(theirs)
    shown = ""
    try:
        while text := os.read(ours, 65_536).decode(errors="replace"):
            shown += text
    except OSError:
        # The other side is closed.
        pass
    finally:
        os.close(ours)
        process.kill()
        code = process.wait()
    assert code == 0
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown)
    page = plain.partition("is over")[0]
    assert re.search(r"running  [\d,]+ bars?", page)
    assert re.search(r"synthetic  live  lag [\d.]+ m?s  \d+ drops?  \d+ backfilled", page)
    assert re.search(r"queue [\d,]+ of 65,536  latency .* p50, .* p99", page)
    # It leaves nothing of the page behind, and the day's table once.
    rest = plain.partition("is over")[2]
    assert "queue" not in rest
    assert rest.count("AAA") == 1
    assert shown.rindex("\x1b[?25h") > shown.index("\x1b[?25l")


# In real time


def closed_hours() -> str:
    """Hours of a session that is hours away, of a calendar that has one each day."""
    is_early = datetime.now(UTC).hour < 12
    return '["20:00", "21:00"]' if is_early else '["04:00", "05:00"]'


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_live_before_the_open_says_when_it_is_and_waits(
    tmp_path: Path, number: signal.Signals
) -> None:
    path = tmp_path / "live.toml"
    text = CONFIG.format(when='mode = "live"\nexchange = "24/7"', data=SYNTHETIC)
    path.write_text(text.replace('["09:30", "10:30"]', closed_hours()))
    dump = tmp_path / "dump.json"
    with running(path, "--json", dump, "--record", tmp_path / "recorded") as session:
        line = session.read_until("opens at")
        assert re.search(
            r"24/7 opens at \d{4}-\d\d-\d\d (20|04):00:00 UTC, in \d+:\d\d:\d\d$", line
        )
        session.process.send_signal(number)
        assert session.end() == (130, ["openbell: interrupted"])
    assert session.lines[-1] == "nothing to record"
    assert tree_of(dump)["symbols"]["AAA"]["session"]["data"]["1m"]["count"] == 0


@pytest.fixture
def alpaca(tmp_path: Path) -> Iterator[tuple[AlpacaServer, Path]]:
    """Alpaca with the bars of a day that goes on around the clock, and a session of it."""
    with AlpacaServer() as server:
        now_ns = time.time_ns()
        # From before midnight on, so that there are some just after it.
        first_ns = now_ns - now_ns % NS_PER_DAY - 60 * NS_PER_MINUTE
        day = np.ones(int((now_ns - first_ns) // NS_PER_MINUTE), BAR_DTYPE)
        day["timestamp"] = first_ns + np.arange(len(day)) * NS_PER_MINUTE
        for symbol in ("AAA", "BBB"):
            server.put(symbol, day)
        path = tmp_path / "alpaca.toml"
        path.write_text(
            f"""
            [session]
            mode = "live"
            exchange = "24/7"
            symbols = ["AAA", "BBB"]
            streams = ["1m", "5m"]
            [data]
            sources = ["alpaca"]
            [data.alpaca]
            url = "{server.rest_url}"
            stream_url = "{server.stream_url}"
            """
        )
        yield server, path


def test_live_of_a_broker_tells_refusals_losses_and_returns(
    alpaca: tuple[AlpacaServer, Path],
) -> None:
    server, path = alpaca
    server.refused_symbols["BBB"] = (405, "symbol limit exceeded")
    with running(path, **server.environment) as session:
        session.read_until("24/7 is open")
        wait_until(lambda: server.subscribed["bars"] == {"AAA"}, what="AAA alone")
        # It has heard of that: what is not connected is not lost.
        if "alpaca: connected" not in session.events:
            session.read_until("alpaca: connected")
        server.drop()
        session.read_until("back after")
        session.process.send_signal(signal.SIGINT)
        code, err = session.end()
    assert code == 130
    events = "\n".join(session.events)
    assert "BBB: refused by alpaca: symbol limit exceeded (405)" in events
    assert re.search(r"alpaca: connected[^$]*alpaca: lost: .*\nalpaca: back after \d+ s", events)
    assert [line.split()[0] for line in session.lines if line[:3] in ("AAA", "BBB")] == ["AAA"]
    assert any(line.startswith("alpaca: 0 bars, 0 corrections, 1 drop") for line in session.lines)
    said = "\n".join([*session.lines, *err])
    assert not any(secret in said for secret in server.environment.values())


def test_live_of_a_key_that_is_refused_meanwhile_says_so_at_the_end_and_returns_1(
    run: Any, alpaca: tuple[AlpacaServer, Path]
) -> None:
    server, path = alpaca
    with running(path, **server.environment) as session:
        session.read_until("24/7 is open")
        wait_until(lambda: server.subscribed["bars"] == {"AAA", "BBB"}, what="both")
        server.refuse_key = True
        server.drop()
        session.read_until("it is not tried again")
        assert run("ctl", "stop")[0] == 0
        code, err = session.end()
    assert code == 1, err
    assert any(re.fullmatch(r"alpaca: .*, failed: .*", line) for line in session.lines)


def test_live_of_which_every_symbol_is_refused_returns_1_with_the_reasons(
    alpaca: tuple[AlpacaServer, Path],
) -> None:
    server, path = alpaca
    server.refused_symbols |= dict.fromkeys(["AAA", "BBB"], (405, "symbol limit exceeded"))
    with running(path, **server.environment) as session:
        code, err = session.end()
    assert code == 1
    assert err[-1] == (
        "openbell: no symbol can be loaded: AAA, BBB: "
        "alpaca refused it: symbol limit exceeded (405)"
    )


# Wrong calls


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--resume"], "--resume: it needs --record DIR too"),
        (["--date", DAY], "--rehearse too"),
        (["--rehearse", "0"], "a number above 0"),
        (["--rehearse", "nan"], "a number above 0"),
        (["--rehearse", "60", "--date", "nope"], "a date such as 2025-07-02"),
        (["--rehearse", "60", "--date", "2025-07-04"], "not a trading day"),
        (["--metrics", "70000"], "70000"),
        (["--json", "none/dump.json"], "make it first"),
        (["--json", "one", "--csv", "one"], "another file than that of --json"),
        (["--record", __file__], "is a file"),
    ],
)
def test_live_wrong_options_return_2_and_one_line(
    run: Any, config: Path, words: list[str], said: str
) -> None:
    code, out, err = run("live", config, *words)
    assert (code, out, len(err)) == (2, "", 1)
    assert said in err[0]


@pytest.mark.parametrize("source", ["alpaca", "schwab"])
def test_live_rehearsal_of_a_broker_returns_2_and_names_it(
    run: Any, tmp_path: Path, source: str
) -> None:
    path = write_config(tmp_path / "live.toml", data=f'sources = ["{source}"]')
    code, _, err = run("live", path, "--rehearse", 60)
    assert (code, len(err)) == (2, 1)
    assert f"the market of '{source}' cannot be hurried" in err[0]


@pytest.mark.parametrize(
    ("source", "variables"),
    [
        ("alpaca", ("APCA_API_KEY_ID", "APCA_API_SECRET_KEY")),
        ("schwab", ("SCHWAB_API_KEY", "SCHWAB_APP_SECRET", "SCHWAB_TOKEN_PATH")),
    ],
)
def test_live_without_keys_returns_1_and_names_the_variables(
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    variables: tuple[str, ...],
) -> None:
    for name in variables:
        monkeypatch.delenv(name, raising=False)
    path = write_config(tmp_path / "live.toml", data=f'sources = ["{source}"]')
    code, _, err = run("live", path)
    assert (code, len(err)) == (1, 1)
    assert all(name in err[0] for name in variables)


@pytest.mark.parametrize(("module", "source"), [("alpaca", "alpaca"), ("schwab", "schwab")])
def test_live_without_the_library_returns_1_and_says_what_to_install(
    tmp_path: Path, module: str, source: str
) -> None:
    path = write_config(tmp_path / "live.toml", data=f'sources = ["{source}"]')
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from openbell.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "live", str(path)],
        capture_output=True, text=True, timeout=60, check=False,
        env=os.environ | {"APCA_API_KEY_ID": "k", "APCA_API_SECRET_KEY": "s"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert f"pip install 'openbell[{source}]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_live_and_replay_send_each_other_the_configurations_that_are_not_theirs(
    run: Any, config: Path, tmp_path: Path
) -> None:
    code, _, err = run("replay", config)
    assert (code, len(err)) == (2, 1)
    assert f"{config}: session.mode: received 'live'" in err[0]
    assert "openbell live runs this one" in err[0]
    code, _, err = run("live", write_config(tmp_path / "past.toml", f"start_date = {DAY}"))
    assert (code, len(err)) == (2, 1)
    assert "session.mode: received 'backtest'" in err[0]
    assert "openbell replay runs this one" in err[0]


def test_live_of_an_unknown_calendar_returns_2_and_names_the_key(run: Any, tmp_path: Path) -> None:
    path = write_config(tmp_path / "live.toml", 'mode = "live"\nexchange = "NOPE"')
    for words in ((), ("--rehearse", 60)):
        code, _, err = run("live", path, *words)
        assert (code, len(err)) == (2, 1)
        assert "NOPE" in err[0]
