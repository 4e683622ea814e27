"""Sessions that are commanded, and clients that say what they like."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import openbell as ob
from openbell.control import ControlClient, serve_control
from tests.lifecycle_days import WEDNESDAY, bars_at, session_over, window_of, write_days
from tests.watching import use_own_runtime

HELD = ("AAPL", "MSFT", "TSLA")
STATUS = b'{"command":"status"}\n'


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # The address of a socket is short.
    with tempfile.TemporaryDirectory(prefix="ob-") as folder:
        yield use_own_runtime(Path(folder), monkeypatch)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    window = window_of(WEDNESDAY)
    bars = {symbol: bars_at(window, "1m", range(30)) for symbol in HELD}
    return write_days(tmp_path_factory.mktemp("data"), {WEDNESDAY: {"1m": bars}})


class Stepped:
    """A session of AAPL and MSFT that goes on when it is told, and its server."""

    def __init__(self, dataset: Path) -> None:
        self.session = session_over(
            dataset, [WEDNESDAY], HELD[:2], ["1m", "5m"], name="stepped", hours=[["09:30", "10:00"]]
        )
        self.server = serve_control(self.session)
        self._days = self.session.days()
        self._slices = next(self._days).slices()

    def step(self, n: int = 1) -> None:
        for _ in range(n):
            next(self._slices)

    def finish(self) -> None:
        for _ in self._slices:
            pass
        assert next(self._days, None) is None


@pytest.fixture
def stepped(dataset: Path) -> Iterator[Stepped]:
    stepped = Stepped(dataset)
    yield stepped
    stepped.server.close()
    stepped.session.close()


@pytest.fixture
def client(stepped: Stepped) -> Iterator[ControlClient]:
    with ControlClient(stepped.server.path) as client:
        yield client


class Raw:
    """A connection that says what it likes."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self._file = self.socket.makefile("rb")

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> Any:
        return json.loads(self._file.readline())

    def ask(self, data: bytes) -> Any:
        self.say(data)
        return self.answer()

    def is_over(self) -> bool:
        try:
            return self._file.readline() == b""
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self._file.close()
        self.socket.close()


@contextmanager
def raw(path: Path) -> Iterator[Raw]:
    found = Raw(path)
    try:
        yield found
    finally:
        found.close()


class Slow:
    """A session whose symbols take as long as one likes."""

    def __init__(self) -> None:
        self.root = ob.SessionData()
        self.config = SimpleNamespace(session=SimpleNamespace(name="slow", end_date=None))
        self.phase = "running"
        self.pending: dict[str, object] = {}
        self.results: dict[str, Any] = {}
        self.asked: list[str] = []
        self.may_go_on = threading.Event()

    def add_symbol(self, symbol: str) -> bool:
        self.asked.append(symbol)
        assert self.may_go_on.wait(60)
        self.root.register_symbol(symbol)
        return True

    def remove_symbol(self, symbol: str) -> bool:
        return self.root.remove_symbol(symbol)

    def pause(self) -> None:
        self.phase = "paused"

    def resume(self) -> None:
        self.phase = "running"

    def stop(self) -> None:
        self.phase = "stopped"

    def trading_days(self) -> list[date]:
        return [WEDNESDAY]


@pytest.fixture
def slow() -> Iterator[Slow]:
    slow = Slow()
    yield slow
    slow.may_go_on.set()


def control_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("openbell control")]
