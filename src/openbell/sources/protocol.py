"""What every source of market data offers, whatever lies behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date as Date
from typing import Protocol, runtime_checkable

from openbell.clock.window import SessionWindow
from openbell.schema import BarArray

__all__ = ["DataSource"]


@runtime_checkable
class DataSource(Protocol):
    """Bars, quotes and trades of past sessions, asked for by symbol.

    Every array returned is the caller's alone, contiguous, and ascends by timestamp; it may be
    read-only. A source does not judge prices; the record that takes the bars does.

    A source that knows how its bars were adjusted may also have
    ``adjustment(symbol, interval, date) -> str | None``.
    """

    name: str

    def intervals(self, symbol: str) -> list[str]:
        """Intervals the source holds (not derives) for a symbol, finest first."""
        ...

    def has_symbol(self, symbol: str) -> bool:
        """Whether the source holds any bar of the symbol."""
        ...

    def dates(self, symbol: str, interval: str) -> tuple[Date, Date] | None:
        """First and last date with bars, both inclusive; None when there are none."""
        ...

    def has_data(self, symbol: str, interval: str, date: Date) -> bool:
        """Whether any bar of that session date is there. Reads no bars."""
        ...

    def count(self, symbol: str, interval: str, window: SessionWindow) -> int:
        """How many bars :meth:`load` would return, or a few more. Meant to size buffers."""
        ...

    def load(self, symbol: str, interval: str, window: SessionWindow) -> BarArray:
        """Bars of dtype ``BAR_DTYPE`` whose label lies in the window; empty when none does."""
        ...

    def load_many(
        self, symbols: Sequence[str], interval: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray]]:
        """The same for many symbols, each yielded once, in the order asked."""
        ...

    def load_quotes(self, symbol: str, window: SessionWindow) -> BarArray:
        """Quotes of dtype ``QUOTE_DTYPE`` made in the window; empty when there are none."""
        ...

    def load_ticks(self, symbol: str, window: SessionWindow) -> BarArray:
        """Trades of dtype ``TICK_DTYPE`` made in the window; empty when there are none."""
        ...
