"""How the command answers: exit codes, one-line errors, quick help."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from openbell._version import __version__

COMMANDS = (
    "demo",
    "sample",
    "import",
    "replay",
    "profile",
    "live",
    "show",
    "report",
    "watch",
    "ctl",
    "validate",
)


def test_call_version_prints_the_version(run: Any) -> None:
    assert run("--version") == (0, f"openbell {__version__}\n", [])


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_call_help_names_every_command(run: Any, words: tuple[str, ...]) -> None:
    code, out, err = run(*words)
    assert (code, err) == (0, [])
    listed = {line.split()[0] for line in out.partition("Commands:")[2].splitlines() if line}
    assert listed == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_call_help_of_each_command_is_there(run: Any, command: str) -> None:
    code, out, _ = run(command, "--help")
    assert code == 0
    assert out.startswith(f"Usage: openbell {command}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["--nope"], "--nope"),
        (["show"], "Missing argument"),
        (["show", "absent.json"], "absent.json"),
        (["validate", "absent.json"], "absent.json"),
        (["replay", "absent.toml"], "absent.toml"),
        (["import", "absent.csv", "--to", "out"], "absent.csv"),
        (["sample"], "Missing argument"),
        (["show", ".", "--bars", "x"], "'x'"),
        (["show", ".", "--gaps", "-1"], "-1"),
        (["validate", "."], "is a directory"),
    ],
)
def test_call_wrong_words_return_2_and_one_line(run: Any, words: list[str], said: str) -> None:
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert len(err) == 1
    assert err[0].startswith("openbell: ")
    assert said in err[0]


def test_call_config_with_unknown_key_returns_2_and_names_it(run: Any, tmp_path: Path) -> None:
    config = tmp_path / "session.toml"
    config.write_text('[session]\nstart_date = 2025-07-02\nsymbols = ["A"]\nstream = ["1s"]\n')
    code, _, err = run("replay", config)
    assert code == 2
    assert len(err) == 1
    assert "session.stream" in err[0]


def test_call_file_that_is_no_dump_returns_1_and_says_so(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"a": 1}')
    code, _, err = run("show", path)
    assert code == 1
    assert len(err) == 1
    assert "not a session dump" in err[0]


def test_call_error_with_debug_prints_the_traceback_too(run: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("[]")
    code, _, err = run("--debug", "show", path)
    assert code == 1
    assert err[0].startswith("Traceback")
    assert err[-1].startswith("openbell: ")


def test_call_help_loads_nothing_heavy() -> None:
    code = (
        "import json, sys; from openbell.cli import main; main(['--help']);"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    assert not loaded & {"numpy", "numba", "pandas", "pyarrow", "msgspec", "rich"}


def test_call_as_a_module_runs_and_returns_its_code() -> None:
    words = [sys.executable, "-m", "openbell", "validate", "absent.json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "absent.json" in done.stderr


PACED = """
[session]
start_date = 2025-07-02
symbols = ["SYN001"]
streams = ["1s"]
speed = 0.001
[data]
parquet = "data"
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent otherwise elsewhere")
def test_call_interrupted_in_a_paced_replay_returns_130_in_one_line(
    run: Any, tmp_path: Path
) -> None:
    assert run("sample", tmp_path / "data", "--symbols", 1)[0] == 0
    config = tmp_path / "session.toml"
    config.write_text(PACED)
    # The replay says over its pipe that it runs: the interrupt lands in the waiting itself.
    code = (
        "import signal, sys\n"
        "from openbell.cli import main\n"
        "from openbell.lifecycle import TradingDay\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "run = TradingDay.run\n"
        "def told(*args):\n"
        "    print('running', flush=True)\n"
        "    return run(*args)\n"
        "TradingDay.run = told\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    words = [sys.executable, "-c", code, "replay", str(config)]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "openbell: interrupted\n")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device that is full")
def test_call_output_to_a_full_disk_returns_1_and_one_line(dump: Any, dump_file: Any) -> None:
    words = [sys.executable, "-m", "openbell", "show", str(dump_file(dump))]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert done.returncode == 1
    assert done.stderr == f"openbell: cannot write: {os.strerror(errno.ENOSPC)}\n"


@pytest.mark.skipif(os.name != "posix", reason="pipes close otherwise elsewhere")
def test_call_reader_that_leaves_early_sees_no_complaint(dump: Any, dump_file: Any) -> None:
    words = [sys.executable, "-m", "openbell", "show", str(dump_file(dump))]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == b""
