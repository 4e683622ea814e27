"""A seeded market that trades for one day, and what a live session over it needs.

What it ends as is told by the replay of a dataset of what holds in the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import date
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np

import openbell as ob
from openbell.clock.live import AcceleratedClock
from openbell.sources import DatasetWriter
from openbell.sources.alpaca import AlpacaSource, AlpacaStream
from tests.lifecycle_days import WEDNESDAY, window_of

SECOND = 10**9
MINUTE = 60 * SECOND
EVE = date(2025, 7, 1)
STREAMS = ["1m", "5m", "15m", "1h"]
#: A held clock goes no further than so much time of the wall from one look at it to the next.
LONGEST_STEP_NS = 10_000_000

Row = tuple[int, float, float, float, float, float]
#: A symbol and a minute of the day.
Spot = tuple[str, int]


class Market:
    """One day of minutes: what is sent of each at first, and what holds in the end.

    Attributes
    ----------
    first, last : dict of (str, int) to tuple
        By symbol and minute: label and values as they are sent, and as they are corrected.
    full : list of str
        The symbols that trade in every minute.
    """

    def __init__(self, seed: int, n_symbols: int = 50, day: date = WEDNESDAY) -> None:
        rng = np.random.default_rng(seed)
        self.window = window_of(day)
        self.n_minutes = self.window.grid("1m").n_slots
        self.symbols = [f"SYM{n:02d}" for n in range(n_symbols)]
        n_full = -(-7 * n_symbols // 10)
        self.full = self.symbols[:n_full]
        rates = [1.0] * n_full + np.linspace(0.9, 0.1, n_symbols - n_full).tolist()
        self.first: dict[Spot, Row] = {}
        self.last: dict[Spot, Row] = {}
        self.eve: dict[str, Row] = {}
        for symbol, rate in zip(self.symbols, rates, strict=True):
            price = 50.0 + rng.integers(0, 10_000) / 64
            self.eve[symbol] = (window_of(EVE).open_ns, *_values(rng, price))
            for minute in np.flatnonzero(rng.random(self.n_minutes) < rate).tolist():
                price += int(rng.integers(-8, 9)) / 64
                spot = symbol, minute
                self.first[spot] = self.last[spot] = (self.label(minute), *_values(rng, price))
                if rng.random() < 0.05:
                    self.correct(rng, spot)

    def correct(self, rng: np.random.Generator, spot: Spot) -> Row:
        """Let a bar have other values in the end than it was sent with."""
        label, _, high, *_ = self.first[spot]
        self.last[spot] = (label, *_values(rng, high))
        return self.last[spot]

    def label(self, minute: int) -> int:
        return self.window.open_ns + minute * MINUTE

    def end(self, minute: int) -> int:
        return self.label(minute + 1)

    def bars(self, lacking: Collection[Spot] = ()) -> dict[str, np.ndarray]:
        """What holds in the end, by symbol."""
        rows: dict[str, list[Row]] = {symbol: [] for symbol in self.symbols}
        for (symbol, minute), row in self.last.items():
            if (symbol, minute) not in lacking:
                rows[symbol].append(row)
        return {symbol: np.array(held, ob.BAR_DTYPE) for symbol, held in rows.items()}


def _values(rng: np.random.Generator, price: float) -> tuple[float, float, float, float, float]:
    low, high = (int(n) / 64 for n in rng.integers(0, 32, 2))
    close = price - low + int(rng.integers(0, 64 * (low + high) + 1)) / 64
    return price, price + high, price - low, close, float(rng.integers(1, 100_000))


class HeldClock(AcceleratedClock):
    """Stands until it is let go, and goes on no faster than who lives by it.

    What has to be imported and compiled takes no session time, nor does a moment in which the
    whole process waits for a processor. From an instant on it is slow while something is under
    way: what is asked for after the close has the time of the wall that it needs.

    Attributes
    ----------
    stands_at_ns : int or None
        It goes no further: what the market does before is not done yet.
    """

    def __init__(self, start_ns: int, speed: float, slow_from_ns: int) -> None:
        super().__init__(start_ns, speed)
        self._full_speed, self._slow_from_ns = speed, slow_from_ns
        self._is_held = True
        self._turning = threading.Lock()
        self.stands_at_ns: int | None = None
        self.is_busy: Callable[[], bool] = lambda: False

    def now_ns(self) -> int:
        with self._turning:
            if self._is_held:
                return self._start_ns
            wall_ns = monotonic_ns()
            passed_ns = min(wall_ns - self._began_ns, LONGEST_STEP_NS)
            is_slow = self._start_ns > self._slow_from_ns and self.is_busy()
            self.speed = self._full_speed / 6 if is_slow else self._full_speed
            now_ns = self._start_ns + int(passed_ns * self.speed)
            if self.stands_at_ns is not None:
                now_ns = max(self._start_ns, min(now_ns, self.stands_at_ns))
            self._start_ns, self._began_ns = now_ns, wall_ns
            return now_ns

    def go(self) -> None:
        self._began_ns = monotonic_ns()
        self._is_held = False


class QuickSource(AlpacaSource):
    """Connects anew after milliseconds: its waits are the wall's, the day is accelerated."""

    def stream(self, interval: str, clock: Any, **options: Any) -> AlpacaStream:
        return super().stream(interval, clock, **options, min_backoff_s=0.005, max_backoff_s=0.02)


def live_config(symbols: Sequence[str], **tables: Any) -> dict[str, Any]:
    """A live session of these symbols; what is given by name is merged into its tables."""
    config: dict[str, Any] = {
        "session": {"mode": "live", "symbols": list(symbols), "streams": STREAMS},
        "data": {"sources": ["alpaca"]},
        "live": {"grace_seconds": 30.0, "linger_seconds": 3600.0},
        "gap_fill": {"max_retries": 8, "retry_interval_seconds": 900.0},
    }
    for name, table in tables.items():
        config[name] = {**config.get(name, {}), **table} if isinstance(table, dict) else table
    return config


def replayed(
    folder: Path,
    bars: Mapping[str, np.ndarray],
    day: date = WEDNESDAY,
    past: Mapping[date, Mapping[str, np.ndarray]] | None = None,
    **tables: Any,
) -> ob.SessionCoordinator:
    """The replay of a dataset of these bars, at its end."""
    writer = DatasetWriter(folder, calendar="XNYS", timezone="America/New_York")
    for date_, held in {day: bars, **(past or {})}.items():
        writer.write(date_, held, interval="1m")
    session = {
        "symbols": list(bars), "streams": STREAMS, "start_date": day, "end_date": day,
        **tables.pop("session", {}),
    }  # fmt: skip
    config = {"session": session, "data": {"parquet": str(folder)}, **tables}
    made = ob.open_session(config)
    made.run()
    return made


def dump_of(session: ob.SessionCoordinator) -> dict[str, Any]:
    """A session's tree without the counts of how its bars came, and without reasons of gaps."""
    tree = session.root.to_json()
    for record in tree["symbols"].values():
        del record["rejected"], record["revised"]
        for series in record["session"]["data"].values():
            del series["explained_quality"]
            for gap in series["gaps"]["ranges"]:
                del gap["reason"]
                gap.pop("evidence", None)
    return tree
