"""What the tests of Alpaca's source and stream share: a day's bars, clocks, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from openbell.clock import TimeManager
from openbell.clock.live import LiveClock
from openbell.errors import DataSourceError
from openbell.schema import BAR_DTYPE, NS_PER_MINUTE, BarArray
from openbell.sources.alpaca import AlpacaSource, AlpacaStream
from tests.servers.alpaca import bar_message

DAY = date(2025, 7, 2)
WINDOW = TimeManager("XNYS").session_window(DAY)
OPEN_NS = WINDOW.open_ns

Make = Callable[..., AlpacaSource]
Open = Callable[..., tuple[AlpacaStream, "Receiver"]]


class SetClock(LiveClock):
    """Stands where it is set; what is waited for by it takes a hundredth."""

    def __init__(self, ts_ns: int) -> None:
        self.ts_ns = ts_ns

    def now_ns(self) -> int:
        return self.ts_ns

    def wall_seconds(self, session_seconds: float) -> float:
        return session_seconds / 100


class Receiver:
    """Keeps what a stream tells it, in order."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *args: self.calls.append((name.removeprefix("on_"), *args))

    def of(self, *names: str) -> list[tuple[Any, ...]]:
        return [call[1:] for call in list(self.calls) if call[0] in names]

    def n(self, *names: str) -> int:
        return len(self.of(*names))


def minutes(n: int = 390, first: int = 0, price: float = 100.0) -> BarArray:
    bars = np.zeros(n, BAR_DTYPE)
    bars["timestamp"] = OPEN_NS + (first + np.arange(n)) * NS_PER_MINUTE
    bars["open"] = price + np.arange(n) * 0.01
    bars["high"] = bars["open"] + 0.05
    bars["low"] = bars["open"] - 0.05
    bars["close"] = bars["open"] + 0.02
    bars["volume"] = 100 + np.arange(n)
    return bars


def bar(symbol: str, k: int = 0, kind: str = "b") -> dict[str, Any]:
    """The message of a symbol's minute `k`."""
    ts_ns = OPEN_NS + k * NS_PER_MINUTE
    return bar_message(symbol, ts_ns, 10.5, 11.5, 9.5, 10.75, 1200.0, 34, 10.6, kind)


def told(symbol: str, k: int = 0, is_update: bool = False) -> tuple[Any, ...]:
    """What a receiver is told of it."""
    ts_ns = OPEN_NS + k * NS_PER_MINUTE
    return (symbol, ts_ns, 10.5, 11.5, 9.5, 10.75, 1200.0, 34.0, 10.6, is_update)


def failure(call: Callable[[], object]) -> DataSourceError:
    with pytest.raises(DataSourceError) as caught:
        call()
    return caught.value
