"""Measures a live session in a process of its own: prints, as JSON, how long bars are under way.

From when the bytes of a bar came out of the socket, until the handler is called (the library's
part); from there until a callback is told of the 2m bar that it closes (ours); and from the bytes
until another thread has read that bar. Beside it, how long a queue takes between two threads.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter_ns
from typing import Any

import numpy as np

import openbell as ob
from benchmarks.live_server import N_SYMBOLS, OPEN_NS, STEP_NS, SYMBOLS
from openbell.clock.live import LiveClock
from openbell.schema import BarArray
from openbell.sources import SyntheticSource
from openbell.sources.live_manager import LiveDataManager
from openbell.sources.sdk import import_sdk
from openbell.sources.streaming import Extras

ROOT = Path(__file__).resolve().parents[1]
N_STEPS = 390
N_TRIES = 3
STREAMS = ["1m", "2m", "5m"]
#: Before the bars of a second are sent, the clock is where they have ended.
LEAD_S = 0.005


class SteppedClock(LiveClock):
    """Stands at the end of a minute and goes on from there, until it is put at another."""

    def __init__(self) -> None:
        self._base_ns = OPEN_NS - time.monotonic_ns()

    def now_ns(self) -> int:
        return self._base_ns + time.monotonic_ns()

    def step(self, step: int) -> None:
        self._base_ns = OPEN_NS + (step + 1) * STEP_NS - time.monotonic_ns()


class Times:
    """When each bar was where, by its number; ns, 0 where it has not been."""

    def __init__(self) -> None:
        n = N_STEPS * N_SYMBOLS
        self.handled, self.told, self.seen = (array("q", bytes(8 * n)) for _ in range(3))
        self.chunks: list[tuple[int, int]] = [(0, 0)]

    def note_chunk(self, n_bytes: int) -> None:
        at_ns = perf_counter_ns()
        self.chunks.append((self.chunks[-1][0] + n_bytes, at_ns))


class Stamping:
    """Passes on what a stream tells, and takes the time."""

    def __init__(self, receiver: Any, times: Times) -> None:
        self._receiver = receiver
        self._on_bar = receiver.on_bar
        self._handled = times.handled

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)

    def on_bar(self, *bar: Any) -> None:
        self._handled[int(bar[6])] = perf_counter_ns()
        self._on_bar(*bar)


class Fed(SyntheticSource):
    """Knows the symbols, has no past, and streams from Alpaca."""

    def __init__(self, url: str, times: Times) -> None:
        super().__init__(symbols=SYMBOLS)
        self.url = url
        self.times = times

    def stream(self, interval: str, clock: LiveClock, **options: bool) -> Any:
        from openbell.sources.alpaca.keys import Keys
        from openbell.sources.alpaca.stream import AlpacaStream

        keys = Keys.from_environment()
        # Nothing but bars comes, so that bytes tell which.
        stream = AlpacaStream(
            keys, clock, interval=interval, url=self.url, ping_interval_s=3600.0, **options
        )
        start = stream.start
        stream.start = lambda receiver: start(Stamping(receiver, self.times))  # type: ignore
        return stream

    def load_between(
        self, symbols: Sequence[str], *_: Any
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        for symbol in symbols:
            yield symbol, np.empty(0, ob.BAR_DTYPE), {}


class Bench:
    """A session that is fed by another process, and what it has measured."""

    def __init__(self) -> None:
        self.times = Times()
        self.clock = SteppedClock()
        self.n_steps = 0
        self._closed: SimpleQueue[ob.SymbolSessionData | None] = SimpleQueue()

    @contextmanager
    def open(self) -> Iterator[None]:
        """Start the server, the session, and the thread that looks at its bars."""
        stamp_bytes(self.times)
        command = [sys.executable, "-m", "benchmarks.live_server"]
        with subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            self._stdin = server.stdin
            told = json.loads(server.stdout.readline())
            url = told.pop("url")
            os.environ.update(told)
            with ob.open_session(self._config(), data=self._data(url)) as session:
                session.on_close("2m", self._on_close)
                runner = threading.Thread(target=session.run, name="session")
                looker = threading.Thread(target=self._look, name="looker")
                looker.start()
                runner.start()
                try:
                    wait_until(lambda: session.phase == "running")
                    time.sleep(1.0)
                    yield
                finally:
                    session.stop()
                    runner.join()
                    self._closed.put(None)
                    looker.join()
            server.stdin.close()

    def measure(self, how: str, n_seconds: int) -> dict[str, tuple[float, float]]:
        """Have bars sent for some seconds, an even number; median and 99th percentile, us.

        Once more, and once more, where the machine stood still meanwhile.
        """
        for _ in range(N_TRIES):
            taken = self._measure(how, n_seconds)
            if taken is not None:
                return taken
        raise SystemExit(f"the machine stood still in each of {N_TRIES} tries: {how}")

    def _measure(self, how: str, n_seconds: int) -> dict[str, tuple[float, float]] | None:
        assert n_seconds % 2 == 0
        first, self.n_steps = self.n_steps, self.n_steps + n_seconds
        begin = time.monotonic() + 0.2
        n_before = self.times.chunks[-1][0]
        print(how, first, n_seconds, begin, file=self._stdin, flush=True)
        for second in range(n_seconds):
            time.sleep(max(0.0, begin + second - LEAD_S - time.monotonic()))
            self.clock.step(first + second)
        at = slice(first * N_SYMBOLS, self.n_steps * N_SYMBOLS)
        # Each second of two minutes closes a derived bar.
        closing = np.arange(at.start, at.stop) // N_SYMBOLS % 2 == 1
        wait_until(lambda: all(self.times.handled[at]))
        time.sleep(0.5)
        n_bars = at.stop - at.start
        arrived = self._arrivals(n_before, n_bars, 1 if how == "even" else N_SYMBOLS)
        handled, told, seen = (
            np.asarray(x[at]) for x in (self.times.handled, self.times.told, self.times.seen)
        )
        # One that came too late, as on a machine that stood still, was told by the clock before.
        closing &= seen > 0
        if closing.sum() <= 0.45 * n_bars:
            return None
        parts = {"library": handled - arrived, "ours": told - handled, "whole": seen - arrived}
        return {name: percentiles_us(taken[closing]) for name, taken in parts.items()}

    def _arrivals(self, n_before: int, n_bars: int, n_per_frame: int) -> np.ndarray[Any, Any]:
        # A bar is there when the last byte of its frame is.
        n_frames = n_bars // n_per_frame
        n_bytes, rest = divmod(self.times.chunks[-1][0] - n_before, n_frames)
        assert not rest, "frames of different sizes"
        until = [total for total, _ in self.times.chunks]
        when = [
            self.times.chunks[bisect_left(until, n_before + (k + 1) * n_bytes)][1]
            for k in range(n_frames)
        ]
        return np.repeat(np.array(when), n_per_frame)

    def _config(self) -> dict[str, Any]:
        return {
            "session": {
                "mode": "live", "symbols": list(SYMBOLS), "streams": STREAMS, "base": "1m"
            },
            # A minute is a second here; gaps are looked at as often as on a real day.
            "gap_fill": {"retry_interval_seconds": 3600},
            "data": {"sources": ["synthetic"]},
        }  # fmt: skip

    def _data(self, url: str) -> LiveDataManager:
        source = Fed(url, self.times)
        return LiveDataManager([source], ob.TimeManager("XNYS"), self.clock)

    def _on_close(self, record: ob.SymbolSessionData, bar: ob.BarData) -> None:
        # The first of the two minutes has the volume of its number, too.
        self.times.told[number_of(bar.volume)] = perf_counter_ns()
        self._closed.put(record)

    def _look(self) -> None:
        while (record := self._closed.get()) is not None:
            number = number_of(record.bars["2m"].data["volume"][-1])
            self.times.seen[number] = perf_counter_ns()


def number_of(volume: float) -> int:
    """The number of the second of two bars whose volumes, their numbers, have been added."""
    return (int(volume) + N_SYMBOLS) // 2


def stamp_bytes(times: Times) -> None:
    protocol = import_sdk("websockets.legacy.protocol", "websockets", "a benchmark", "alpaca")
    received = protocol.WebSocketCommonProtocol.data_received

    def data_received(self: Any, data: bytes) -> None:
        times.note_chunk(len(data))
        received(self, data)

    protocol.WebSocketCommonProtocol.data_received = data_received


def hand_over(how: str, n_seconds: float) -> tuple[float, float]:
    """How long a number takes through a queue to another thread, sent as often; us."""
    queue: SimpleQueue[int | None] = SimpleQueue()
    taken: list[int] = []

    def take() -> None:
        while (put_ns := queue.get()) is not None:
            taken.append(perf_counter_ns() - put_ns)

    taker = threading.Thread(target=take)
    taker.start()
    begin = time.monotonic()
    n = round(n_seconds * N_SYMBOLS)
    for k in range(n):
        at = k // N_SYMBOLS if how == "burst" else k / N_SYMBOLS
        time.sleep(max(0.0, begin + at - time.monotonic()))
        queue.put(perf_counter_ns())
    queue.put(None)
    taker.join()
    return percentiles_us(np.array(taken))


@contextmanager
def busy(n: int) -> Iterator[None]:
    """Threads that run Python code all the time."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(100))

    threads = [threading.Thread(target=work) for _ in range(n)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def percentiles_us(taken_ns: np.ndarray[Any, Any]) -> tuple[float, float]:
    low, high = np.percentile(taken_ns, (50, 99))
    return float(low) / 1e3, float(high) / 1e3


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20.0
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of a round")
    options = parser.parse_args()
    bench = Bench()
    found: dict[str, list[dict[str, tuple[float, float]]]] = {}
    with bench.open():
        bench.measure("even", 2)
        for name, how, n_busy in (("even", "even", 0), ("busy", "even", 1), ("burst", "burst", 0)):
            with busy(n_busy):
                for _ in range(options.rounds):
                    taken = bench.measure(how, options.seconds)
                    taken["queue"] = hand_over(how, options.seconds / 2)
                    found.setdefault(name, []).append(taken)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
