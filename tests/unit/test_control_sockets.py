"""Control sockets: who is answered and who is not, and what is left when a session ends or dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import openbell as ob
from openbell.control import (
    ControlClient,
    ControlError,
    ControlServer,
    SessionGone,
    find_controls,
    serve_control,
    server,
)
from openbell.control.messages import LONGEST_REQUEST
from openbell.control.sockets import peer_uid
from openbell.watch import publish
from tests.controlling import (
    STATUS,
    Raw,
    Slow,
    Stepped,
    client,
    control_threads,
    dataset,
    raw,
    runtime,
    slow,
    stepped,
)
from tests.lifecycle_days import WEDNESDAY, session_over
from tests.waiting import wait_until
from tests.watching import use_own_runtime

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sockets need a POSIX system")

__all__ = ["client", "dataset", "runtime", "slow", "stepped"]


# What is said badly


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"nonsense\n", "not a request: "),
        (b"\x00\xff\xfe\x80\n", "not a request: "),
        (b'{"command": "\xff"}\n', "not a request: "),
        (b"\n", "not a request: "),
        (b"[]\n", "not a request: "),
        (b'{"command": 1}\n', "not a request: "),
        (b'{"command": "status", "argument": {}}\n', "not a request: "),
        (b'{"command": "status", "arguments": ' + b"[" * 60_000 + b"\n", "not a request: "),
        (b"x" * (LONGEST_REQUEST + 1), f"a request has at most {LONGEST_REQUEST:,} bytes"),
    ],
)
def test_request_that_is_none_is_answered_once_and_the_connection_closed(
    stepped: Stepped, line: bytes, said: str
) -> None:
    with raw(stepped.server.path) as one:
        one.say(line)
        found = one.answer()
        assert list(found) == ["ok", "error"]
        assert found["ok"] is False
        assert found["error"].startswith(said)
        assert one.is_over()
    with raw(stepped.server.path) as other:
        assert other.ask(STATUS)["ok"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"command": "launch"}\n', "command: received 'launch', expected one of status"),
        (b'{"command": "status", "version": 2}\n', "version: received 2, expected 1"),
        (b'{"command": "status", "arguments": {"x": 1}}\n', "status: arguments: "),
        (b'{"command": "add"}\n', "missing required field `symbols`"),
        (b'{"command": "add", "arguments": {"symbols": []}}\n', "length >= 1"),
        (b'{"command": "add", "arguments": {"symbols": [""]}}\n', "length >= 1"),
        (b'{"command": "add", "arguments": {"symbols": "AAPL"}}\n', "Expected `array`"),
    ],
)
def test_request_that_is_wrong_is_refused_and_the_connection_goes_on(
    stepped: Stepped, line: bytes, said: str
) -> None:
    with raw(stepped.server.path) as one:
        found = one.ask(line)
        assert found["ok"] is False
        assert said in found["error"]
        assert one.ask(STATUS)["ok"]


def test_request_in_pieces_is_answered_when_it_is_whole(stepped: Stepped) -> None:
    with raw(stepped.server.path) as one, raw(stepped.server.path) as other:
        for k in range(len(STATUS)):
            one.say(STATUS[k : k + 1])
            assert other.ask(b'{"command":"look"}\n')["ok"]
        assert one.answer()["ok"]


def test_requests_at_once_are_answered_in_order_after_the_writer_has_closed(
    stepped: Stepped,
) -> None:
    lines = [b'{"command":"%s"}\n' % name for name in (b"look", b"nope", b"pause", b"status")]
    with raw(stepped.server.path) as one:
        one.say(b"".join(lines * 50))
        one.say(b'{"command":"resu')
        one.socket.shutdown(socket.SHUT_WR)
        told = [one.answer() for _ in range(200)]
        assert [found["ok"] for found in told] == [True, False, True, True] * 50
        assert one.is_over()


def test_client_of_a_request_that_is_too_long_is_told_before_it_is_sent(
    stepped: Stepped, client: ControlClient
) -> None:
    with pytest.raises(ControlError, match="at most 65,536 may be; ask in parts"):
        client.ask("add", {"symbols": ["A" * LONGEST_REQUEST]})
    assert client.ask("look")["phase"] == "running"


# Many at once


def test_twenty_clients_beside_silent_and_deaf_ones_are_all_answered(stepped: Stepped) -> None:
    path, n_answered = stepped.server.path, [0] * 20
    rude = [Raw(path) for _ in range(6)]
    try:
        for one in rude[:2]:
            one.say(STATUS[:7])
        for one in rude[2:4]:
            # More answers than a socket takes, and nobody reads them.
            one.socket.settimeout(0.05)
            with suppress(TimeoutError):
                one.say(STATUS * 3000)

        def ask(k: int) -> None:
            with ControlClient(path) as client:
                for _ in range(10):
                    n_answered[k] += client.ask("status")["n_symbols"] == 2

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(20)]
        for thread in threads:
            thread.start()
        stepped.step(20)
        for thread in threads:
            thread.join()
    finally:
        for one in rude:
            one.close()
    assert n_answered == [10] * 20


def test_command_that_takes_long_holds_nobody_up(slow: Slow) -> None:
    words = b'{"command":"add","arguments":{"symbols":["AAPL"]}}\n{"command":"look"}\n'
    with serve_control(slow) as at, raw(at.path) as one, ControlClient(at.path) as other:
        one.say(words)
        wait_until(lambda: slow.asked == ["AAPL"])
        assert other.ask("status")["n_symbols"] == 0
        assert other.ask("pause")["phase"] == "paused"
        slow.may_go_on.set()
        assert one.answer()["result"]["symbols"]["AAPL"]["state"] == "adhoc"
        assert one.answer()["result"]["phase"] == "paused"
    assert not control_threads()


def test_commands_under_way_have_a_most(slow: Slow) -> None:
    with serve_control(slow) as served:
        ones = [Raw(served.path) for _ in range(9)]
        for k, one in enumerate(ones[:8]):
            one.say(b'{"command":"add","arguments":{"symbols":["S%d"]}}\n' % k)
        wait_until(lambda: len(slow.asked) == 8)
        found = ones[8].ask(b'{"command":"remove","arguments":{"symbols":["S"]}}\n')
        assert found["error"] == "remove: 8 commands are under way; ask again"
        slow.may_go_on.set()
        assert all(one.answer()["ok"] for one in ones[:8])
        assert ones[8].ask(b'{"command":"remove","arguments":{"symbols":["S0"]}}\n')["ok"]
        for one in ones:
            one.close()


def test_client_that_goes_away_meanwhile_does_no_harm(slow: Slow) -> None:
    with serve_control(slow) as served:
        with raw(served.path) as one:
            one.say(b'{"command":"add","arguments":{"symbols":["AAPL"]}}\n')
            wait_until(lambda: slow.asked == ["AAPL"])
        slow.may_go_on.set()
        with ControlClient(served.path) as client:
            wait_until(lambda: client.ask("look")["n_symbols"] == 1)


def test_client_that_is_silent_too_long_is_let_go(
    stepped: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    with raw(stepped.server.path) as one:
        one.say(STATUS[:7])
        monkeypatch.setattr(server, "_LONGEST_SILENCE_S", 0.0)
        monkeypatch.setattr(server, "_SWEEP_S", 0.01)
        assert one.is_over()


def test_clients_have_a_most_and_the_longest_silent_makes_room(
    stepped: Stepped, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_MOST_CLIENTS", 2)
    path = stepped.server.path
    with raw(path) as one, raw(path) as two:
        assert two.ask(STATUS)["ok"]
        assert one.ask(STATUS)["ok"]
        with raw(path) as three:
            assert three.ask(STATUS)["ok"]
            assert two.is_over()
            assert one.ask(STATUS)["ok"]


# Its beginning and its end


def test_socket_and_folder_are_the_users_alone_and_beside_the_board(
    dataset: Path, runtime: Path
) -> None:
    session = session_over(dataset, [WEDNESDAY], ["AAPL"], ["1m"])
    before = os.umask(0)
    try:
        with publish(session, "mine") as board, serve_control(session, board=board) as served:
            folder = runtime / "openbell"
            assert served.path == board.path.with_suffix(".sock")
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert stat.S_IMODE(served.path.stat().st_mode) == 0o600
            assert {path.name for path in folder.iterdir()} == {board.path.name, served.path.name}
            with ControlClient(served.path) as client:
                assert client.ask("look")["name"] == "mine"
    finally:
        os.umask(before)
    assert list(folder.iterdir()) == []


def test_server_that_is_closed_leaves_nothing(stepped: Stepped) -> None:
    path = stepped.server.path
    assert control_threads() == ["openbell control"]
    with ControlClient(path) as client:
        stepped.server.close()
        assert not path.exists()
        assert control_threads() == []
        with pytest.raises(SessionGone, match="look: the session ended meanwhile"):
            client.ask("look")
    stepped.server.close()
    with pytest.raises(SessionGone, match="no session runs there any more"):
        ControlClient(path)


def test_server_that_closes_finishes_what_is_under_way_and_answers(slow: Slow) -> None:
    served = serve_control(slow)
    with raw(served.path) as one:
        one.say(b'{"command":"add","arguments":{"symbols":["AAPL"]}}\n{"command":"stop"}\n')
        wait_until(lambda: slow.asked == ["AAPL"])
        closing = threading.Thread(target=served.close)
        closing.start()
        wait_until(lambda: "closed" in repr(served))
        slow.may_go_on.set()
        assert one.answer()["ok"]
        assert one.is_over()
        closing.join()
    assert slow.phase == "running"
    assert not control_threads()


def test_server_that_closes_does_not_wait_for_ever(
    slow: Slow, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dataclasses import replace

    from openbell.control.commands import COMMANDS

    monkeypatch.setitem(COMMANDS, "add", replace(COMMANDS["add"], grace_s=0.05))
    served = serve_control(slow)
    with raw(served.path) as one:
        one.say(b'{"command":"add","arguments":{"symbols":["AAPL"]}}\n')
        wait_until(lambda: slow.asked == ["AAPL"])
        served.close()
        assert one.is_over()
    assert "openbell control add was not waited for" in caplog.text
    slow.may_go_on.set()
    wait_until(lambda: not control_threads())


def test_server_beside_a_board_that_is_served_is_refused(dataset: Path) -> None:
    session = session_over(dataset, [WEDNESDAY], ["AAPL"], ["1m"])
    with publish(session) as board, serve_control(session, board=board) as served:
        with pytest.raises(ControlError, match="another server listens there"):
            serve_control(session, board=board)
        assert find_controls() == [served.path]


def test_server_of_what_is_no_session_is_refused(runtime: Path) -> None:
    with pytest.raises(ob.OpenbellError, match="a SessionCoordinator"):
        serve_control(ob.SessionData())  # type: ignore[arg-type]
    assert not (runtime / "openbell").exists()


def test_server_in_a_folder_that_is_not_ours_is_refused(slow: Slow, runtime: Path) -> None:
    (runtime / "openbell").symlink_to(runtime)
    for call in (lambda: serve_control(slow), find_controls):
        with pytest.raises(ControlError, match="is a symbolic link"):
            call()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an address is just too long")
def test_server_in_a_deep_folder_is_found_and_answers(
    slow: Slow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    use_own_runtime(deep, monkeypatch)
    with serve_control(slow) as served:
        assert find_controls() == [served.path]
        with ControlClient(served.path) as client:
            assert client.ask("look")["name"] == "slow"
    assert list((deep / "openbell").iterdir()) == []


# Dead sessions

SERVES = """
    import os, sys, time
    from datetime import date
    import openbell as ob
    from openbell.control import serve_control
    session = ob.open_session({
        "session": {"start_date": date(2025, 7, 2), "symbols": ["AAPL"], "streams": ["1m"]},
        "data": {"sources": ["synthetic"]},
    })
    served = serve_control(session)
    if sys.argv[1] == "forks" and not os.fork():
        time.sleep(600)
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def serving(how: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(SERVES), how]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


def test_socket_of_a_process_that_ends_is_gone(runtime: Path) -> None:
    with serving("alone") as running:
        (path,) = find_controls()
        assert path.stem == f"{running.pid}-1"
        running.communicate()
    assert running.returncode == 0
    assert list((runtime / "openbell").iterdir()) == []


def test_socket_of_a_killed_process_is_removed(runtime: Path) -> None:
    with serving("alone") as running:
        (path,) = find_controls()
        with ControlClient(path) as client:
            assert client.ask("look")["phase"] == "idle"
            running.kill()
            running.wait()
            with pytest.raises(SessionGone, match="ended meanwhile"):
                client.ask("look")
    with pytest.raises(SessionGone):
        ControlClient(path)
    (runtime / "openbell" / "other.sock").touch()
    assert path.exists()
    assert find_controls() == []
    assert not path.exists()


def test_socket_of_a_killed_process_whose_fork_lives_on_is_removed() -> None:
    with serving("forks") as running:
        (path,) = find_controls()
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        if not children.exists():
            pytest.skip("which processes are children cannot be had here")
        fork = int(children.read_text())
        try:
            running.kill()
            running.wait()
            assert find_controls() == []
            assert not path.exists()
        finally:
            os.kill(fork, signal.SIGKILL)


# Other users


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_peer_of_a_pair_of_sockets_is_the_user() -> None:
    one, two = socket.socketpair()
    with one, two:
        assert peer_uid(one) == peer_uid(two) == os.getuid()


STRANGER = """
    import os, socket, sys
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    one = socket.socket(socket.AF_UNIX)
    try:
        one.connect(sys.argv[1])
    except PermissionError:
        print("not let in")
    else:
        try:
            one.sendall(b'{"command":"stop"}')
        except BrokenPipeError:
            pass
        print(one.makefile().readline().strip())
"""


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only root may become somebody else"
)
def test_another_user_is_not_let_in_nor_listened_to(stepped: Stepped, runtime: Path) -> None:
    def told() -> str:
        words = [sys.executable, "-c", textwrap.dedent(STRANGER), str(stepped.server.path)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    assert told() == "not let in"
    # What keeps them out, taken away.
    for path, mode in ((runtime, 0o755), (runtime / "openbell", 0o755)):
        path.chmod(mode)
    assert told() == "not let in"
    stepped.server.path.chmod(0o666)
    assert json.loads(told()) == {"ok": False, "error": "this session is not one of user 65534"}
    assert stepped.session.phase == "running"


def test_client_of_what_is_no_socket_refuses_it(tmp_path: Path) -> None:
    path = tmp_path / "1-1.sock"
    path.touch()
    with pytest.raises(ControlError, match="is not a socket of your own"):
        ControlClient(path)


def test_client_of_a_session_that_does_not_answer_gives_up(runtime: Path) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(runtime / "deaf.sock"))
        deaf.listen()
        said = r"deaf: look: no answer within 0\.05 s"
        client = ControlClient(runtime / "deaf.sock")
        with client, pytest.raises(ControlError, match=said):
            client.ask("look", timeout=0.05)


def test_server_repr_tells_where_and_how_many(slow: Slow) -> None:
    served: ControlServer = serve_control(slow)
    assert repr(served) == f"<ControlServer {served.path}: 0 clients>"
    served.close()
    assert repr(served) == f"<ControlServer {served.path}: closed>"
