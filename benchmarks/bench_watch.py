"""What it costs a session that somebody watches it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import numpy as np

from benchmarks.bench_replay import N_ALL, N_BARS, N_SYMBOLS
from benchmarks.data import make_bars, make_root
from benchmarks.harness import Beside, timed
from openbell._native.replay import ReplayCursor
from openbell.watch import publish
from openbell.watch.places import REFRESH_S
from openbell.watch.snapshot import SnapshotTaker

#: Replays for one number: a second or two, so that several snapshots are taken meanwhile.
N_REPLAYS = 6
#: 1 % of a second, and of the time between two refreshes.
MOST_US_A_SECOND = 1e6 / 100
MOST_MS = 1e3 * REFRESH_S / 100

WATCHER = f"""
import sys, time
from openbell.watch import BoardReader
with BoardReader(sys.argv[1]) as reader:
    while not reader.read().is_final:
        reader.announce()
        print(end=".", flush=True)
        time.sleep({REFRESH_S})
"""


class Replays:
    """A published root that replays a day again and again, with nobody told."""

    def __init__(self) -> None:
        self.bars = [make_bars(N_BARS, seed=k) for k in range(8)]
        self.root, _ = make_root(N_SYMBOLS, n_reserve=0)
        self.board = publish(self.root, "benchmark")
        # Of the thread that posts, by its own clock.
        self.clock = time.pthread_getcpuclockid(self.board._thread.ident)

    def ns_per_bar(self) -> float:
        seconds = 0.0
        for _ in range(N_REPLAYS):
            _, records = make_root(N_SYMBOLS, self.root, n_reserve=N_BARS)
            cursor = ReplayCursor(self.root.core)
            for k, record in enumerate(records):
                record.preload(self.bars[k % 8])
                cursor.add(record)
            seconds += timed(cursor.run)
            assert cursor.n_bars == N_ALL
        return 1e9 * seconds / N_REPLAYS / N_ALL

    def us_a_second(self) -> float:
        began, taken = time.monotonic(), time.clock_gettime(self.clock)
        self.ns_per_bar()
        spent = time.clock_gettime(self.clock) - taken
        return 1e6 * spent / (time.monotonic() - began)


@contextmanager
def watched_and_not() -> Iterator[tuple[Replays, Replays]]:
    watched, alone = Replays(), Replays()
    with watched.board, alone.board:
        command = [sys.executable, "-c", WATCHER, str(watched.board.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as watcher:
            assert watcher.stdout is not None
            assert watcher.stdout.read(1) == b"."
            yield watched, alone
            assert alone.board.n_posted == 1
            assert watched.board.n_posted > N_REPLAYS
            watched.board.close()
            watcher.communicate()
    assert watcher.returncode == 0


def bench_watch_replay(beside: Beside) -> None:
    with watched_and_not() as (watched, alone):
        beside.values(
            f"replay of {N_SYMBOLS} symbols, no callback, watched",
            "the same, not watched",
            watched.ns_per_bar,
            alone.ns_per_bar,
            unit="ns",
            goal=1.01,
            rounds=15,
        )


def bench_watch_thread(beside: Beside) -> None:
    with watched_and_not() as (watched, alone):
        beside.values(
            f"of each second that {N_SYMBOLS} symbols replay, for a watcher",
            "the same, not watched",
            watched.us_a_second,
            alone.us_a_second,
            unit="us",
            goal=MOST_US_A_SECOND,
            goal_of="value",
            rounds=5,
        )


def bench_watch_snapshot(beside: Beside) -> None:
    root, records = make_root(N_SYMBOLS, n_reserve=600)
    for k, record in enumerate(records):
        record.append_block(make_bars(600, seed=k))
    taker, encoder = SnapshotTaker(root), msgspec.msgpack.Encoder()
    raw = np.frombuffer(encoder.encode(taker.take()), np.uint8)
    copy = np.zeros_like(raw)
    beside.times(
        f"a snapshot of {N_SYMBOLS} symbols and 9 intervals for a watcher",
        "memcpy of its bytes",
        lambda: encoder.encode(taker.take()),
        lambda: np.copyto(copy, raw),
        unit="ms",
        goal=MOST_MS,
        goal_of="value",
        rounds=50,
    )
