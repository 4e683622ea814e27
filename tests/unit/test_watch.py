"""Boards: what a session tells of itself, who may read it, and what is left when it dies."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import openbell as ob
from openbell.watch import (
    BoardReader,
    Snapshot,
    WatchError,
    find_boards,
    places,
    publish,
    read_board,
    reader,
)
from openbell.watch.snapshot import SnapshotTaker
from tests.facade_bars import CLOSE, NEXT_WINDOW, OPEN, WINDOW, at, bar, minutes
from tests.watching import use_own_runtime

pytestmark = pytest.mark.skipif(os.name != "posix", reason="boards need a POSIX system")


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return use_own_runtime(tmp_path, monkeypatch)


def make_root(*symbols: str) -> ob.SessionData:
    root = ob.SessionData()
    for symbol in symbols:
        root.register_symbol_data(ob.SymbolSessionData(symbol, derived_intervals=["5m"]))
    root.begin(WINDOW)
    return root


@contextmanager
def process(script: str, *words: object) -> Iterator[subprocess.Popen[str]]:
    """Run a script that prints a line when it is ready; kill it when the block ends."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, words)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stdout is not None
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


PUBLISHES = """
    import sys
    from datetime import date
    import openbell as ob
    from openbell.watch import publish
    root = ob.SessionData()
    root.begin(ob.TimeManager("XNYS").session_window(date(2025, 7, 2)))
    root.register_symbol("AAPL")
    board = publish(root, "theirs")
    print("ready", flush=True)
    sys.stdin.read()
"""


def eventually(is_so: Callable[[], bool]) -> bool:
    """Whether it comes to be so; a minute is for ever."""
    until = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


# What it tells


def test_snapshot_of_a_record_holds_its_numbers() -> None:
    root = make_root("AAPL", "MSFT")
    record = root["AAPL"]
    # Minutes 0 to 6 without 2, 3 and 5: closes 10, 11, 14, 16, a hundred shares each.
    record.append_block(minutes(0, 1, 4, 6))
    with pytest.raises(ob.BarRefused):
        record.append(at(7, 30), 1.0, 1.0, 1.0, 1.0, 1.0)
    record.note_error("rule", ValueError("no"))
    with publish(root, "mine") as board:
        found = read_board(board.path)
    assert (found.pid, found.name, found.phase) == (os.getpid(), "mine", "running")
    assert (found.date, found.calendar) == (date(2025, 7, 2), "XNYS")
    assert (found.open_ns, found.close_ns, found.now_ns) == (OPEN, CLOSE, OPEN)
    assert (found.n_bars, found.pending, found.is_final) == (4, [], False)
    aapl, msft = found.symbols
    assert (aapl.symbol, aapl.base_interval, aapl.added_by) == ("AAPL", "1m", "config")
    assert (aapl.close, aapl.high, aapl.low, aapl.volume) == (16.0, 17.0, 9.0, 400.0)
    assert aapl.quality == pytest.approx(400 / 7)
    assert (aapl.n_gaps, aapl.n_missing) == (2, 3)
    assert (aapl.n_rejected, aapl.n_errors) == (1, 1)
    assert aapl.counts == {"1m": 4, "5m": 1}
    assert aapl.explained_quality is None
    assert (msft.close, msft.high, msft.low, msft.volume) == (None, None, None, 0.0)
    assert (msft.quality, msft.counts) == (None, {"1m": 0, "5m": 0})


def test_snapshot_of_a_root_without_a_day_is_empty() -> None:
    found = SnapshotTaker(ob.SessionData()).take()
    assert (found.phase, found.date, found.symbols) == ("idle", None, [])


@pytest.mark.parametrize("phase", ["waiting", "paused"])
def test_snapshot_before_the_open_of_a_live_session_tells_the_time(phase: str) -> None:
    clock = SimpleNamespace(now_ns=OPEN - 90)
    config = SimpleNamespace(session=SimpleNamespace(name="live"))
    session: Any = SimpleNamespace(
        root=make_root(), config=config, phase=phase, pending={}, time_manager=clock
    )
    assert SnapshotTaker(session).take().now_ns == OPEN - 90
    # From then on, the session's clock is told.
    clock.now_ns = OPEN + 90
    assert SnapshotTaker(session).take().now_ns == OPEN


def test_snapshot_of_a_session_tells_its_phase_name_and_who_waits() -> None:
    config = {
        "session": {
            "name": "morning",
            "start_date": date(2025, 7, 2),
            "symbols": ["AAA"],
            "streams": ["1m"],
            "base": "1m",
            "hours": [["09:30", "09:40"]],
        },
        "data": {"sources": ["synthetic"]},
    }
    session = ob.open_session(config)
    taker = SnapshotTaker(session)
    found = [taker.take()]

    def on_slice(ts_ns: int, records: object) -> None:
        if ts_ns == at(5):
            assert session.add_symbol("BBB")
        found.append(taker.take())

    session.run(on_slice)
    found.append(taker.take())
    assert {seen.name for seen in found} == {"morning"}
    assert [seen.phase for seen in found] == ["idle", *["running"] * 10, "ended"]
    assert [seen.now_ns for seen in found[1:11]] == [at(k) for k in range(1, 11)]
    assert [seen.pending for seen in found[4:8]] == [[], ["BBB"], [], []]
    # Six minutes of the one that joined, and of the other.
    assert [seen.n_bars for seen in found[1:8]] == [1, 2, 3, 4, 5, 12, 14]


def test_snapshot_explained_quality_is_that_of_the_last_look_and_makes_no_other() -> None:
    root = make_root("AAPL")
    manager = ob.DataQualityManager(root)
    taker = SnapshotTaker(root)
    root["AAPL"].append_block(minutes(*range(100), *range(130, 300)))
    assert taker.take().symbols[0].explained_quality is None
    manager.update()
    # Half an hour of a symbol that trades every minute is missing.
    assert taker.take().symbols[0].explained_quality == pytest.approx(100 * 270 / 300)
    root["AAPL"].append_block(minutes(*range(100, 130)))
    # What was filled in since is not missing, whatever the last look said.
    assert taker.take().symbols[0].explained_quality == 100.0
    assert manager.n_passes == 1


def test_snapshot_refusals_and_errors_of_another_record_are_its_own() -> None:
    root = make_root("AAPL")
    root["AAPL"].note_error("rule", ValueError("no"))
    taker = SnapshotTaker(root)
    assert taker.take().symbols[0].n_errors == 1
    root.remove_symbol("AAPL")
    root.register_symbol("AAPL")
    assert taker.take().symbols[0].n_errors == 0


def test_snapshot_rate_is_known_with_the_second_and_anew_after_a_day() -> None:
    root = make_root("AAPL")
    taker = SnapshotTaker(root)
    first = taker.take()
    assert first.bars_per_s is None
    root["AAPL"].append_block(minutes(*range(10)))
    second = taker.take()
    assert second.bars_per_s == pytest.approx(10e9 / (second.taken_ns - first.taken_ns))
    root.end()
    root.clear()
    assert taker.take().bars_per_s is None


def test_snapshot_while_days_come_and_go_always_succeeds() -> None:
    root = ob.SessionData()
    taker = SnapshotTaker(root)
    is_over = threading.Event()
    n_taken = 0

    def live() -> None:
        for k in range(100_000):
            # It may be through before the other thread has had a turn.
            if k >= 200 and n_taken:
                break
            root.begin(WINDOW if k % 2 else NEXT_WINDOW)
            for symbol in ("AAPL", "MSFT", "TSLA"):
                root.register_symbol(symbol).append_block(minutes(0, 1, 3))
            # A finer base than the record had.
            root.add_bar("TSLA", "1s", bar(root.window.open_ns))
            root.remove_symbol("MSFT")
            root.end()
            root.clear()
        is_over.set()

    days = threading.Thread(target=live)
    days.start()
    while not is_over.is_set():
        n_taken += len(taker.take().symbols) <= 3
    days.join()
    assert n_taken > 0


def test_publish_something_else_is_refused() -> None:
    with pytest.raises(ob.ArgumentError, match="SessionCoordinator"):
        publish("session.toml")


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "bell\a", 3])
def test_publish_under_a_name_that_no_line_holds_is_refused(runtime: Path, name: object) -> None:
    with pytest.raises(ob.ArgumentError, match=r"name: received .* expected a printable name"):
        publish(ob.SessionData(), name)  # type: ignore[arg-type]
    assert not list(runtime.rglob("*.watch"))


# Boards


def test_board_nobody_watches_writes_one_snapshot_only() -> None:
    with publish(make_root("AAPL")) as board:
        time.sleep(3 * places.LOOK_S)
        assert board.n_posted == 1


def test_board_watched_follows_and_rests_when_the_watcher_is_gone() -> None:
    root = make_root("AAPL")
    with publish(root) as board:
        for k in range(5):
            root["AAPL"].append_block(minutes(k))
            assert read_board(board.path, timeout=60).n_bars == k + 1
        time.sleep(places.UNWATCHED_AFTER_S + 2 * places.LOOK_S)
        n_posted = board.n_posted
        time.sleep(3 * places.LOOK_S)
        assert board.n_posted == n_posted >= 6


def test_board_closed_leaves_its_last_state_to_who_watches_and_no_file() -> None:
    root = make_root("AAPL")
    board = publish(root)
    with BoardReader(board.path) as watcher:
        root["AAPL"].append_block(minutes(0, 1))
        root.end()
        assert watcher.is_alive
        board.close()
        board.close()
        assert not watcher.is_alive
        final = watcher.read()
    assert (final.is_final, final.phase, final.n_bars, final.now_ns) == (True, "ended", 2, CLOSE)
    assert not board.path.exists()
    assert find_boards() == []
    with pytest.raises(WatchError, match="No such file"):
        read_board(board.path)


def test_board_grows_with_its_symbols() -> None:
    root = make_root("AAPL")
    with publish(root) as board, BoardReader(board.path) as watcher:
        assert len(watcher.read().symbols) == 1
        for k in range(2000):
            root.register_symbol(f"S{k}")

        def has_grown() -> bool:
            watcher.announce()
            return len(watcher.read().symbols) == 2001

        assert eventually(has_grown)
        root.clear()
        assert eventually(lambda: not watcher.announce() and not watcher.read().symbols)


def test_board_of_each_session_is_found() -> None:
    with publish(make_root("AAPL"), "one") as one, publish(make_root("MSFT"), "two") as two:
        assert set(find_boards()) == {one.path, two.path}
        assert {read_board(path).name for path in find_boards()} == {"one", "two"}


def test_board_of_a_process_that_ends_by_itself_is_taken_down() -> None:
    with process(PUBLISHES) as running:
        (path,) = find_boards()
        with BoardReader(path) as watcher:
            running.communicate()
            assert running.returncode == 0
            assert watcher.read().is_final
    assert not path.exists()


def test_board_of_a_killed_process_is_told_and_removed() -> None:
    with process(PUBLISHES) as running:
        (path,) = find_boards()
        with BoardReader(path) as watcher:
            assert watcher.is_alive
            running.kill()
            running.wait()
            assert not watcher.is_alive
            assert watcher.read().symbols[0].symbol == "AAPL"
    with pytest.raises(WatchError, match=f"process {running.pid} is gone"):
        read_board(path)
    assert path.exists()
    assert find_boards() == []
    assert not path.exists()


FORKS = """
    import os, sys, time
    import openbell as ob
    from openbell.watch import publish
    board = publish(ob.SessionData())
    if not os.fork():
        if sys.argv[1] == "ends":
            sys.exit()
        time.sleep(600)
    if sys.argv[1] == "ends":
        os.wait()
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_board_of_a_forked_process_outlives_the_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    with process(FORKS, "ends"):
        (path,) = find_boards()
        assert not read_board(path).is_final


def test_board_of_a_killed_process_whose_fork_lives_on_is_removed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    with process(FORKS, "stays") as running:
        (path,) = find_boards()
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        if not children.exists():
            pytest.skip("which processes are children cannot be had here")
        fork = int(children.read_text())
        try:
            running.kill()
            running.wait()
            with BoardReader(path) as watcher:
                assert not watcher.is_alive
            assert find_boards() == []
        finally:
            os.kill(fork, signal.SIGKILL)


FULL = """
    import resource, sys
    import openbell as ob
    from openbell.watch import BoardReader, publish
    board = publish(ob.SessionData())
    resource.setrlimit(resource.RLIMIT_FSIZE, (32, 32))
    print("ready", flush=True)
    with BoardReader(board.path) as watcher:
        while board.path.exists():
            watcher.announce()
    print(len(ob.SessionData()))
"""


def test_board_that_cannot_be_written_warns_once_and_lets_the_session_go_on() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "ready\n0\n"
    (line,) = done.stderr.splitlines()
    assert "can no longer be watched: OSError: [Errno 27]" in line


# Torn and foreign files

HAMMERS = """
    import openbell as ob
    from datetime import date
    from openbell.schema import NS_PER_SECOND
    from openbell.watch import publish
    root = ob.SessionData()
    window = ob.TimeManager("XNYS").session_window(date(2025, 7, 2))
    root.begin(window)
    records = [root.register_symbol_data(ob.SymbolSessionData(f"S{k}", base_interval="1s"))
               for k in range(200)]
    board = publish(root)
    print("ready", flush=True)
    for k in range(23_400):
        for record in records:
            record.append(window.open_ns + k * NS_PER_SECOND, 1.0, 1.0, 1.0, 1.0, float(k))
        board._post()
"""


def test_reader_of_a_board_written_without_pause_sees_whole_snapshots_only() -> None:
    with process(HAMMERS):
        (path,) = find_boards()
        seen: list[Snapshot] = []
        with BoardReader(path) as watcher:
            while len(seen) < 100:
                found = watcher.read()
                if not seen or found is not seen[-1]:
                    seen.append(found)
    for snapshot in seen:
        n = snapshot.n_bars // 200
        assert {state.counts["1s"] for state in snapshot.symbols} == {n}
        assert {state.volume for state in snapshot.symbols} == {n * (n - 1) / 2}
    counts = [snapshot.n_bars for snapshot in seen]
    assert counts == sorted(counts)


@pytest.fixture(scope="module")
def two_states(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A board's bytes before and after prices were corrected: as long, and of the same shape."""
    folder = tmp_path_factory.mktemp("runtime")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        root = make_root("AAPL", "MSFT", "TSLA")
        with publish(root) as board:
            states = []
            for volume in (1000.0, 2000.0):
                for record in root:
                    record.append_block(minutes(0, 1, 4, 6, volume=volume))
                board._post()
                states.append(board.path.read_bytes())
    before, after = states
    assert len(before) == len(after)
    return before, after


@given(cut=st.integers(places.MESSAGE_AT, 600))
def test_reader_of_half_a_snapshot_never_takes_it_for_a_whole_one(
    two_states: tuple[bytes, bytes], tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    before, after = two_states
    mixed = after[:cut] + before[cut:]
    path = tmp_path_factory.mktemp("torn") / "1-1.watch"
    path.write_bytes(mixed)
    with pytest.MonkeyPatch.context() as patch, BoardReader(path) as watcher:
        patch.setattr(reader, "_LONGEST_TORN_S", 0.0)
        if mixed in two_states:
            volumes = {state.volume for state in watcher.read().symbols}
            assert volumes == {4000.0 if mixed == before else 8000.0}
        else:
            with pytest.raises(WatchError, match="no whole snapshot"):
                watcher.read()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "not the board"), (b"something else", "not the board"), (b"OBWATCH0", "this version")],
)
def test_reader_of_another_file_refuses_it(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "1-1.watch"
    path.write_bytes(content)
    with pytest.raises(WatchError, match=said):
        BoardReader(path)


def test_reader_of_a_link_refuses_it(tmp_path: Path) -> None:
    with publish(make_root()) as board:
        link = tmp_path / "link.watch"
        link.symlink_to(board.path)
        with pytest.raises(WatchError, match="cannot be watched"):
            BoardReader(link)


# The folder


def test_folder_and_file_are_the_users_alone(runtime: Path) -> None:
    before = os.umask(0)
    try:
        with publish(make_root()) as board:
            folder = runtime / "openbell"
            assert board.path.parent == folder
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            assert stat.S_IMODE(board.path.stat().st_mode) == 0o600
            assert [path.name for path in folder.iterdir()] == [board.path.name]
    finally:
        os.umask(before)


def test_folder_without_a_runtime_place_is_below_the_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with publish(make_root()) as board:
        assert board.path.parent == tmp_path / f"openbell-{os.getuid()}"
        assert find_boards() == [board.path]


def as_link(folder: Path) -> None:
    (folder.parent / "theirs").mkdir(0o700)
    folder.symlink_to(folder.parent / "theirs")


def as_open_folder(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o755)


def as_foreign_folder(folder: Path) -> None:
    if os.getuid():
        pytest.skip("only root may give folders away")
    folder.mkdir(0o700)
    os.chown(folder, 12345, -1)


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (as_link, "is a symbolic link"),
        (as_open_folder, "has mode 0755, expected 0700"),
        (as_foreign_folder, "belongs to user 12345"),
    ],
)
def test_folder_that_others_could_have_made_is_refused_by_name(
    runtime: Path, prepare: Callable[[Path], None], said: str
) -> None:
    folder = runtime / "openbell"
    prepare(folder)
    for call in (lambda: publish(make_root()), find_boards):
        with pytest.raises(WatchError, match=said) as caught:
            call()
        assert caught.value.what == str(folder)
    assert not list(folder.iterdir())


def test_folder_that_is_a_file_is_refused(runtime: Path) -> None:
    (runtime / "openbell").write_text("")
    with pytest.raises(WatchError, match="File exists"):
        publish(make_root())
    with pytest.raises(WatchError, match="is not a folder"):
        find_boards()
