"""Quotes and trades of the day: one as an object, all of them as a sequence over a ring."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from openbell._native.events import EventRing
from openbell.schema import QUOTE_DTYPE, TICK_DTYPE, to_datetime, to_ns

__all__ = ["EventSequence", "QuoteData", "TickData"]


@dataclass(frozen=True, slots=True)
class QuoteData:
    """One quote.

    Attributes
    ----------
    timestamp : datetime
        When it was made, aware; also accepts int nanoseconds UTC.
    bid, ask, bid_size, ask_size : float
    symbol : str
    """

    timestamp: datetime
    bid: float
    ask: float
    bid_size: float = 0.0
    ask_size: float = 0.0
    symbol: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", to_datetime(to_ns(self.timestamp)))

    def to_row(self) -> npt.NDArray[np.void]:
        """The quote as an array of one row, dtype ``QUOTE_DTYPE``."""
        row = (to_ns(self.timestamp), self.bid, self.ask, self.bid_size, self.ask_size)
        return np.array([row], dtype=QUOTE_DTYPE)


@dataclass(frozen=True, slots=True)
class TickData:
    """One trade.

    Attributes
    ----------
    timestamp : datetime
        When it was made, aware; also accepts int nanoseconds UTC.
    price, size : float
    symbol : str
    """

    timestamp: datetime
    price: float
    size: float = 0.0
    symbol: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", to_datetime(to_ns(self.timestamp)))

    def to_row(self) -> npt.NDArray[np.void]:
        """The trade as an array of one row, dtype ``TICK_DTYPE``."""
        return np.array([(to_ns(self.timestamp), self.price, self.size)], dtype=TICK_DTYPE)


Event = TypeVar("Event", QuoteData, TickData)


class EventSequence(Sequence[Event], Generic[Event]):
    """Quotes or trades in the order received; each object made when looked at.

    Attributes
    ----------
    data : numpy.ndarray
        The rows held, oldest first: a read-only view.
    """

    __slots__ = ("_kind", "_ring", "_symbol")

    def __init__(self, kind: type[Event], symbol: str, ring: EventRing | None) -> None:
        self._kind: type[Event] = kind
        self._symbol = symbol
        self._ring = ring

    @property
    def data(self) -> npt.NDArray[np.void]:
        """The rows held, oldest first: a read-only view, O(1)."""
        if self._ring is None:
            return np.empty(0, dtype=QUOTE_DTYPE if self._kind is QuoteData else TICK_DTYPE)
        return self._ring.data

    @property
    def n_evicted(self) -> int:
        """Rows that the ring has let go of."""
        return 0 if self._ring is None else self._ring.n_evicted

    def __len__(self) -> int:
        return 0 if self._ring is None else len(self._ring)

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> list[Event]: ...
    def __getitem__(self, at: int | slice) -> Event | list[Event]:
        rows = self.data[at]
        if isinstance(at, slice):
            return [self._make(row) for row in rows.tolist()]
        return self._make(rows.item())

    def _make(self, row: Any) -> Event:
        return self._kind(*(*row, self._symbol))

    def __repr__(self) -> str:
        return f"<{len(self)} {self._kind.__name__} of {self._symbol}>"
