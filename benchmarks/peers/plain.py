"""The plain-Python design: dataclass bars in a deque and lists, one lock around everything."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from openbell.schema import BarArray


@dataclass
class PlainBar:
    """A bar; instants in nanoseconds."""

    timestamp: int
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass
class PlainRecord:
    """All that is known of one symbol."""

    symbol: str
    bars_base: deque[PlainBar] = field(default_factory=deque)
    bars_derived: dict[str, list[PlainBar]] = field(default_factory=dict)
    open_bars: dict[str, PlainBar] = field(default_factory=dict)
    session_volume: float = 0.0
    session_high: float | None = None
    session_low: float | None = None
    last_update: int | None = None
    bars_updated: bool = False


Callback = Callable[[PlainRecord, PlainBar], None]


class PlainSession:
    """Records by symbol, and the intervals derived of each.

    Parameters
    ----------
    open_ns, close_ns : int
    base_ns : int
        Length of the bars that arrive.
    steps_ns : dict of str to int
        Lengths of the derived intervals.
    """

    def __init__(self, open_ns: int, close_ns: int, base_ns: int, steps_ns: dict[str, int]) -> None:
        self.open_ns = open_ns
        self.close_ns = close_ns
        self.base_ns = base_ns
        self.steps_ns = steps_ns
        self.callbacks: dict[str, list[Callback]] = {"base": []}
        self.callbacks.update({name: [] for name in steps_ns})
        self._symbols: dict[str, PlainRecord] = {}
        self._lock = threading.RLock()

    def get_symbol_data(self, symbol: str) -> PlainRecord:
        with self._lock:
            record = self._symbols.get(symbol)
            if record is None:
                record = self._symbols[symbol] = PlainRecord(symbol)
                record.bars_derived = {name: [] for name in self.steps_ns}
            return record

    def add_bar(self, symbol: str, bar: PlainBar) -> None:
        with self._lock:
            record = self.get_symbol_data(symbol)
            record.bars_base.append(bar)
            record.session_volume += bar.volume
            if record.session_high is None or bar.high > record.session_high:
                record.session_high = bar.high
            if record.session_low is None or bar.low < record.session_low:
                record.session_low = bar.low
            record.last_update = bar.timestamp
            record.bars_updated = True
            for callback in self.callbacks["base"]:
                callback(record, bar)
            for name, step in self.steps_ns.items():
                self._derive(record, name, step, bar)

    def end(self) -> None:
        """Close what is open: the session is over."""
        with self._lock:
            for record in self._symbols.values():
                for name in list(record.open_bars):
                    self._close(record, name)

    def _derive(self, record: PlainRecord, name: str, step: int, bar: PlainBar) -> None:
        start = bar.timestamp - (bar.timestamp - self.open_ns) % step
        current = record.open_bars.get(name)
        if current is not None and current.timestamp != start:
            self._close(record, name)
            current = None
        if current is None:
            record.open_bars[name] = PlainBar(
                start, bar.open, bar.high, bar.low, bar.close, bar.volume
            )
        else:
            if bar.high > current.high:
                current.high = bar.high
            if bar.low < current.low:
                current.low = bar.low
            current.close = bar.close
            current.volume += bar.volume
        if bar.timestamp + self.base_ns >= min(start + step, self.close_ns):
            self._close(record, name)

    def _close(self, record: PlainRecord, name: str) -> None:
        bar = record.open_bars.pop(name)
        record.bars_derived[name].append(bar)
        for callback in self.callbacks[name]:
            callback(record, bar)


def plain_bars(bars: BarArray) -> list[PlainBar]:
    columns = [bars[name].tolist() for name in bars.dtype.names or ()]
    return [PlainBar(*row) for row in zip(*columns, strict=True)]
