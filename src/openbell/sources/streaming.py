"""What a source that sends bars as they are made offers, and whom it tells.

A stream belongs to one source, runs in a thread of its own, reconnects by itself, and knows
nothing of sessions: it tells a receiver what came, in the order in which it came.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from openbell.clock.live import LiveClock
from openbell.schema import BarArray
from openbell.sources.protocol import DataSource

__all__ = ["BarStream", "Extras", "StreamReceiver", "StreamingSource"]

#: Columns beside the bars of an array, one value for each, NaN where unknown.
Extras = dict[str, npt.NDArray[np.float64]]


class StreamReceiver(Protocol):
    """Whom a stream tells. Every call returns at once, raises nothing; any thread may make it.

    Prices are floats, instants int64 nanoseconds UTC; what a source does not know is NaN.
    """

    def on_bar(
        self,
        symbol: str,
        ts_ns: int,
        open: float,
        high: float,
        low: float,
        close: float,
        volume: float,
        trade_count: float,
        vwap: float,
        is_update: bool,
    ) -> None:
        """A whole bar came, labelled by its start; ``is_update`` when the source corrects one."""

    def on_daily_bar(
        self, symbol: str, open: float, high: float, low: float, close: float, volume: float
    ) -> None:
        """The source's own running bar of the day came."""

    def on_quote(
        self, symbol: str, ts_ns: int, bid: float, ask: float, bid_size: float, ask_size: float
    ) -> None:
        """A quote came."""

    def on_trade(self, symbol: str, ts_ns: int, price: float, size: float) -> None:
        """A trade came."""

    def on_heartbeat(self) -> None:
        """The connection told that it lives, without data."""

    def on_connected(self) -> None:
        """It is connected and let in; all symbols asked for are being subscribed (again)."""

    def on_disconnected(self, reason: str) -> None:
        """The connection was lost, or could not be made. It will be tried again."""

    def on_failed(self, reason: str) -> None:
        """It cannot be connected and is not tried again: the credentials are refused."""

    def on_refused(self, symbol: str, reason: str) -> None:
        """One symbol cannot be had: it is unknown, not entitled to, or one too many."""

    def on_garbage(self, what: str) -> None:
        """Something came that cannot be understood, told in a few words without its content."""


class BarStream(Protocol):
    """A connection over which a source sends bars. All calls are safe from any thread.

    Attributes
    ----------
    name : str
        The source's.
    """

    name: str

    def start(self, receiver: StreamReceiver) -> None:
        """Start its thread; returns at once. It connects when symbols are asked for."""

    def subscribe(self, symbols: Collection[str]) -> None:
        """Ask for symbols too, now and after each reconnect. Returns at once."""

    def unsubscribe(self, symbols: Collection[str]) -> None:
        """Ask for symbols no more. Returns at once."""

    def reconnect(self) -> None:
        """Drop the connection and make another: the one there is mute."""

    def stop(self, timeout_s: float = 1.5) -> bool:
        """Disconnect and end the thread; False when it has not ended in time."""


@runtime_checkable
class StreamingSource(DataSource, Protocol):
    """A source of past bars that also sends those that are being made.

    One that can find out about many symbols at once may also have ``prime(symbols)``, and one
    that can give many days at once ``load_days(symbol, interval, windows) -> dict``.

    Attributes
    ----------
    stream_intervals : tuple of str
        Intervals that it streams, finest first.
    """

    stream_intervals: tuple[str, ...]

    def stream(
        self, interval: str, clock: LiveClock, *, quotes: bool = False, trades: bool = False
    ) -> BarStream:
        """Return a stream of bars of an interval, of quotes and of trades; not started.

        Raises
        ------
        DataSourceError
            When the source does not send bars of that interval.
        """
        ...

    def load_between(
        self, symbols: Sequence[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        """Load what the source has of several symbols by now, for a part of a day.

        Parameters
        ----------
        symbols : sequence of str
        interval : str
        start_ns, end_ns : int
            Labels at or after the start and before the end; bars not over yet are left out.

        Yields
        ------
        (str, numpy.ndarray or Exception, dict)
            Every symbol once: its bars, ``BAR_DTYPE``, ascending, or why they cannot be had
            (``SourceUnavailableError`` when asking again later may help); and ``trade_count``
            and ``vwap`` beside them, float64, as far as the source has them.
        """
        ...
