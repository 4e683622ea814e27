"""A live session whose time, streams and history a test moves by hand, one thing at a time."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any

import numpy as np

import openbell as ob
from openbell.clock.live import LiveClock
from openbell.live.ranks import RANK_STREAM, RANK_UPDATE
from openbell.sources.live_manager import LiveDataManager
from openbell.sources.streaming import StreamReceiver
from tests.lifecycle_days import WEDNESDAY, bars_at, window_of
from tests.live_market import EVE, MINUTE, live_config
from tests.waiting import wait_until

WINDOW = window_of(WEDNESDAY)


def minutes(n: int) -> int:
    """An instant of the day, in minutes after the open."""
    return WINDOW.open_ns + n * MINUTE


def row_of(slot: int, version: int = 1, interval: str = "1m") -> np.ndarray:
    row = bars_at(WINDOW, interval, [slot])
    row["volume"] = version
    return row


class HandClock(LiveClock):
    """Stands where it is put.

    Attributes
    ----------
    step_ns : int
        How far it goes on whenever it is looked at.
    """

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self.step_ns = 0

    def now_ns(self) -> int:
        self._now_ns += self.step_ns
        return self._now_ns

    def stand_at(self, now_ns: int) -> None:
        self._now_ns = now_ns


class ScriptedStream:
    """Sends what it is told to, from the thread that tells it."""

    name = "scripted"

    def __init__(self) -> None:
        self._receiver: StreamReceiver | None = None
        self.subscribed: set[str] = set()

    @property
    def receiver(self) -> StreamReceiver:
        assert self._receiver is not None
        return self._receiver

    def start(self, receiver: StreamReceiver) -> None:
        self._receiver = receiver
        receiver.on_connected()

    def subscribe(self, symbols: Collection[str]) -> None:
        self.subscribed |= set(symbols)

    def unsubscribe(self, symbols: Collection[str]) -> None:
        self.subscribed -= set(symbols)

    def reconnect(self) -> None:
        pass

    def stop(self, timeout_s: float = 1.5) -> bool:
        return True

    def drop(self) -> None:
        self.receiver.on_disconnected("a test")
        self.receiver.on_connected()

    def send(self, rank: int, row: np.ndarray, symbol: str = "A") -> None:
        ts_ns, *values = row[0].item()
        self.receiver.on_bar(symbol, ts_ns, *values, np.nan, np.nan, rank == RANK_UPDATE)

    def send_slots(self, *slots: int, symbol: str = "A") -> None:
        for slot in slots:
            self.send(RANK_STREAM, row_of(slot), symbol)


class ScriptedSource:
    """Streams some symbols by a script; history has the bars that it was given.

    Attributes
    ----------
    asked : list of tuple
        Symbols, interval, start and end of each request for a part of the day.
    refused : dict of str to Exception
        What history says of a symbol instead of giving its bars.
    """

    name = "scripted"

    def __init__(
        self,
        symbols: str = "A",
        streams: Sequence[str] = ("1m",),
        intervals: Sequence[str] = ("1m",),
    ) -> None:
        self.symbols = symbols
        self.stream_intervals = tuple(streams)
        self.made = ScriptedStream()
        self.held: defaultdict[tuple[str, str], dict[int, np.ndarray]] = defaultdict(dict)
        self.refused: dict[str, Exception] = {}
        self.asked: list[tuple[tuple[str, ...], str, int, int]] = []
        self.answered: dict[int, np.ndarray] = {}
        self.n_answered = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.before: Callable[[], object] = lambda: None
        self.after: Callable[[], object] = lambda: None
        self._intervals = list(intervals)

    def intervals(self, symbol: str) -> list[str]:
        return self._intervals

    def has_symbol(self, symbol: str) -> bool:
        return symbol in self.symbols

    def dates(self, symbol: str, interval: str) -> tuple[date, date]:
        return EVE, WEDNESDAY

    def has_data(self, symbol: str, interval: str, day: date) -> bool:
        return day == WEDNESDAY

    def count(self, symbol: str, interval: str, window: ob.SessionWindow) -> int:
        return len(self.load(symbol, interval, window))

    def load(self, symbol: str, interval: str, window: ob.SessionWindow) -> np.ndarray:
        return _joined(self._between(symbol, interval, window.open_ns, window.close_ns))

    def load_many(
        self, symbols: Sequence[str], interval: str, window: ob.SessionWindow
    ) -> Iterator[tuple[str, np.ndarray]]:
        return ((symbol, self.load(symbol, interval, window)) for symbol in symbols)

    def stream(self, interval: str, clock: LiveClock, **_: Any) -> ScriptedStream:
        return self.made

    def put(self, row: np.ndarray, symbol: str = "A", interval: str = "1m") -> None:
        self.held[symbol, interval][int(row["timestamp"][0])] = row

    def put_slots(self, *slots: int, symbol: str = "A", interval: str = "1m") -> None:
        for slot in slots:
            self.put(row_of(slot, 1, interval), symbol, interval)

    def load_between(
        self, symbols: Sequence[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, np.ndarray | Exception, dict[str, Any]]]:
        self.asked.append((tuple(symbols), interval, start_ns, end_ns))
        self.may_answer.wait(30)
        self.before()
        found = {symbol: self._between(symbol, interval, start_ns, end_ns) for symbol in symbols}
        self.after()
        for symbol, rows in found.items():
            yield symbol, self.refused.get(symbol, _joined(rows)), {}
        self.answered.update(found.get("A", {}))
        self.n_answered += 1

    def _between(
        self, symbol: str, interval: str, start_ns: int, end_ns: int
    ) -> dict[int, np.ndarray]:
        held = sorted(self.held[symbol, interval].items())
        return {ts_ns: row for ts_ns, row in held if start_ns <= ts_ns < end_ns}


def _joined(rows: dict[int, np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, ob.BAR_DTYPE), *rows.values()])


@contextmanager
def scripted(
    source: ScriptedSource,
    clock: LiveClock,
    streams: Sequence[str] = ("1m", "5m"),
    *,
    symbols: str = "A",
    session: dict[str, Any] | None = None,
    **others: Any,
) -> Iterator[ob.SessionCoordinator]:
    """A session over the source; ``record`` and ``resume``, and tables, are given by name."""
    opened = {key: others.pop(key) for key in ("record", "resume") if key in others}
    tables = {
        "session": {"streams": list(streams), **(session or {})},
        "data": {"sources": ["synthetic"]},
        **others,
    }
    data = LiveDataManager([source], ob.TimeManager("XNYS"), clock)
    with ob.open_session(live_config(list(symbols), **tables), data=data, **opened) as made:
        yield made


def take_in(session: ob.SessionCoordinator) -> list[tuple[int, list[str]]]:
    """Take in all that waits; return the slices: minute, and who has a bar of it."""
    # A turn leaves what belongs to the next slice.
    feed = session.live.feed
    slices = []
    while feed.n_waiting:
        for ts_ns, records in feed.turn():
            minute = (ts_ns - WINDOW.open_ns) // MINUTE - 1
            slices.append((minute, sorted(record.symbol for record in records)))
    return slices


def serve(session: ob.SessionCoordinator, day: Any, is_done: Callable[[], object]) -> None:
    """Go from slice to slice until something is done."""

    def turned() -> object:
        session.take_turn(day)
        take_in(session)
        return is_done()

    wait_until(turned)


def quieten(session: ob.SessionCoordinator, day: Any) -> None:
    """Wait until nothing is loaded, and history is asked for nothing."""
    now_ns = session.live.data.clock.now_ns()
    # What was removed while it was loaded is pending no more, but under way.
    is_loaded = threading.Event()
    session.live.feed.worker.submit(is_loaded.set)
    wait_until(is_loaded.is_set)

    def is_quiet() -> bool:
        owed = session.live.feed.worker._owed
        return not session.pending and all(one.due_ns > now_ns for one in owed)

    serve(session, day, is_quiet)


def threads_of_session() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("openbell")]


def labels_of(session: ob.SessionCoordinator, symbol: str = "A", interval: str = "1m") -> list[int]:
    """The minutes of the bars that a record holds."""
    rows = session.root[symbol].bars[interval].copy()
    return ((rows["timestamp"] - WINDOW.open_ns) // MINUTE).tolist()
