"""Quotes and trades of the day: one as an object, all of them as a sequence over a ring."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt

from openbell._native.events import EventRing
from openbell.errors import EventRefused, SchemaError
from openbell.schema import QUOTE_DTYPE, TICK_DTYPE, Int64Array, to_datetime, to_ns

if TYPE_CHECKING:
    from openbell._native.core import Core
    from openbell.clock.window import SessionWindow

__all__ = ["EVENT_REFUSALS", "EventSequence", "EventStore", "QuoteData", "TickData", "as_events"]

#: Why a quote or a trade can be refused, in the order of the checks, and what is expected.
#: A record counts each under its kind: ``rejected["quote_not_finite"]``.
EVENT_REFUSALS: Final = {
    "not_finite": "every value must be a finite number",
    "negative_size": "sizes must be zero or more",
    "outside_session": "it must be made from the session's open to its close",
}

_NEVER: Final = int(np.iinfo(np.int64).max)

EventArray = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class QuoteData:
    """One quote.

    Attributes
    ----------
    timestamp : datetime
        When it was made, aware; also accepts int nanoseconds UTC.
    bid, ask, bid_size, ask_size : float
        Negative prices, and a bid above the ask, are possible.
    symbol : str
    source : str
        ``feed`` for one that was received; ``bar`` for one made from the latest bar where there
        is none: bid and ask are its close, the sizes 0.
    """

    KIND: ClassVar[str] = "quote"
    DTYPE: ClassVar[np.dtype[Any]] = QUOTE_DTYPE

    timestamp: datetime
    bid: float
    ask: float
    bid_size: float = 0.0
    ask_size: float = 0.0
    symbol: str = ""
    source: str = "feed"

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", to_datetime(to_ns(self.timestamp)))

    def to_row(self) -> EventArray:
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

    KIND: ClassVar[str] = "tick"
    DTYPE: ClassVar[np.dtype[Any]] = TICK_DTYPE

    timestamp: datetime
    price: float
    size: float = 0.0
    symbol: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "timestamp", to_datetime(to_ns(self.timestamp)))

    def to_row(self) -> EventArray:
        """The trade as an array of one row, dtype ``TICK_DTYPE``."""
        return np.array([(to_ns(self.timestamp), self.price, self.size)], dtype=TICK_DTYPE)


Event = TypeVar("Event", QuoteData, TickData)


class EventStore(Generic[Event]):
    """A record's quotes, or its trades: those received, and those whose time has not come.

    Parameters
    ----------
    kind : type
        :class:`QuoteData` or :class:`TickData`.
    core : Core
        Of the record; tells the session's clock and window.
    capacity : int
        Rows kept at least, twice as many at most.

    Attributes
    ----------
    refused : dict of str to int
        How many were refused, by reason; never changed in place.

    Notes
    -----
    What was preloaded becomes visible when somebody looks: each look first takes what the
    clock has reached since. Safe for several threads.
    """

    __slots__ = (
        "_capacity",
        "_core",
        "_lock",
        "_n_seen",
        "_newest",
        "_next_ns",
        "_ring",
        "_updated",
        "_waiting",
        "_waiting_ns",
        "kind",
        "refused",
    )

    def __init__(self, kind: type[Event], core: Core, capacity: int) -> None:
        self.kind: type[Event] = kind
        self.refused: dict[str, int] = {}
        self._core = core
        self._capacity = capacity
        self._lock = threading.Lock()
        self._ring: EventRing | None = None
        self._newest: tuple[Any, ...] | None = None
        self._updated = False
        self._n_seen = 0
        self._waiting: EventArray = np.empty(0, kind.DTYPE)
        self._waiting_ns: Int64Array = np.empty(0, np.int64)
        self._next_ns = _NEVER

    def add(self, event: Event) -> None:
        """Store one, behind the preloaded ones that are due.

        Raises
        ------
        EventRefused
            When it is not sound, or not of the session; it is counted.
        SessionStateError
            When the record has no running day.
        """
        rows = event.to_row()
        ts_ns, *values = rows[0].item()
        reason = _why_refused(ts_ns, values, self._window(f"add_{self.kind.KIND}"))
        if reason is not None:
            with self._lock:
                self._count({reason: 1})
            raise EventRefused(
                self.symbol,
                self.kind.KIND,
                reason,
                ts_ns,
                tuple(values),
                EVENT_REFUSALS[reason],
            )
        self._settle()
        with self._lock:
            self._take(rows)

    def preload(self, rows: EventArray) -> int:
        """Take rows of any order, to be seen when the clock reaches them; how many are taken.

        Raises
        ------
        SchemaError
            When they are not a one-dimensional array of the kind's dtype.
        SessionStateError
            When the record has no running day.
        """
        rows = as_events(rows, self.kind.DTYPE, f"{self.kind.KIND}s")
        rows, refused = _sort_out(rows, self._window(f"preload_{self.kind.KIND}s"))
        n_taken = len(rows)
        # The order of what is held must not depend on who looked when.
        self._settle()
        with self._lock:
            self._count(refused)
            rows = np.concatenate([self._waiting[self._n_seen :], rows])
            ts_ns = np.ascontiguousarray(rows["timestamp"])
            if (ts_ns[1:] < ts_ns[:-1]).any():
                order = np.argsort(ts_ns, kind="stable")
                rows, ts_ns = rows[order], ts_ns[order]
            self._waiting, self._waiting_ns, self._n_seen = rows, ts_ns, 0
            self._wait()
        return n_taken

    @property
    def symbol(self) -> str:
        """Name of the record's symbol."""
        return self._core.symbol

    @property
    def data(self) -> EventArray:
        """The visible rows that are held, in the order received: a read-only view."""
        self._settle()
        return np.empty(0, self.kind.DTYPE) if self._ring is None else self._ring.data

    @property
    def n_held(self) -> int:
        """How many visible rows are held."""
        self._settle()
        return 0 if self._ring is None else len(self._ring)

    @property
    def n_evicted(self) -> int:
        """Rows that the ring has let go of."""
        self._settle()
        return 0 if self._ring is None else self._ring.n_evicted

    @property
    def newest(self) -> Event | None:
        """The visible one of the latest timestamp, of equals the last received."""
        self._settle()
        return None if self._newest is None else self.make(self._newest)

    @property
    def updated(self) -> bool:
        """Whether any became visible since somebody set this to False."""
        self._settle()
        return self._updated

    @updated.setter
    def updated(self, value: bool) -> None:
        self._settle()
        self._updated = value

    def make(self, row: Any) -> Event:
        """Return one row as an object."""
        return self.kind(*(*row, self.symbol))

    def _settle(self) -> None:
        if self._next_ns == _NEVER:
            return
        now_ns = self._core.now_ns
        if now_ns < self._next_ns:
            return
        with self._lock:
            n_due = int(np.searchsorted(self._waiting_ns, now_ns, side="right"))
            if n_due > self._n_seen:
                self._take(self._waiting[self._n_seen : n_due])
                self._n_seen = n_due
                self._wait()

    def _take(self, rows: EventArray) -> None:
        if self._ring is None:
            assert self._core.root is not None
            self._ring = EventRing(self.kind.DTYPE, self._capacity, self._core.root.arena)
        self._ring.append(rows)
        last: tuple[Any, ...] = rows[-1].item()
        if self._newest is None or last[0] >= self._newest[0]:
            self._newest = last
        self._updated = True

    def _wait(self) -> None:
        if self._n_seen < len(self._waiting_ns):
            self._next_ns = int(self._waiting_ns[self._n_seen])
            return
        self._waiting = np.empty(0, self.kind.DTYPE)
        self._waiting_ns = np.empty(0, np.int64)
        self._n_seen, self._next_ns = 0, _NEVER

    def _window(self, call: str) -> SessionWindow:
        root = self._core.root
        window = None if root is None else root.window
        # In this order: a record that is still attached was so when the window was read.
        self._core.require_attached(call)
        assert window is not None
        return window

    def _count(self, refused: dict[str, int]) -> None:
        self.refused = self.refused | {
            reason: self.refused.get(reason, 0) + n for reason, n in refused.items()
        }


class EventSequence(Sequence[Event], Generic[Event]):
    """Quotes or trades in the order received; each object made when looked at.

    Follows the record: what comes later, or becomes visible later, is in it too.
    """

    __slots__ = ("_store",)

    def __init__(self, store: EventStore[Event]) -> None:
        self._store: EventStore[Event] = store

    @property
    def data(self) -> EventArray:
        """The rows held, oldest first: a read-only view, O(1)."""
        return self._store.data

    @property
    def n_evicted(self) -> int:
        """Rows that the ring has let go of."""
        return self._store.n_evicted

    def __len__(self) -> int:
        return self._store.n_held

    @overload
    def __getitem__(self, at: int) -> Event: ...
    @overload
    def __getitem__(self, at: slice) -> list[Event]: ...
    def __getitem__(self, at: int | slice) -> Event | list[Event]:
        rows = self.data[at]
        if isinstance(at, slice):
            return [self._store.make(row) for row in rows.tolist()]
        return self._store.make(rows.item())

    def __repr__(self) -> str:
        return f"<{len(self)} {self._store.kind.__name__} of {self._store.symbol}>"


def as_events(rows: EventArray, dtype: np.dtype[Any], what: str) -> EventArray:
    """Return the rows, when they are a one-dimensional array of the dtype; else SchemaError."""
    if not isinstance(rows, np.ndarray):
        raise SchemaError(what, type(rows).__name__, f"a numpy array of dtype {dtype}")
    if rows.dtype != dtype:
        raise SchemaError(what, f"dtype {rows.dtype}", f"dtype {dtype}")
    if rows.ndim != 1:
        raise SchemaError(what, f"{rows.ndim} dimensions", "1 dimension")
    return rows


def _why_refused(ts_ns: int, values: Sequence[float], window: SessionWindow) -> str | None:
    if not all(map(math.isfinite, values)):
        return "not_finite"
    # The prices come first, then as many sizes; of a tick one each.
    if min(values[len(values) // 2 :]) < 0:
        return "negative_size"
    if not window.open_ns <= ts_ns <= window.close_ns:
        return "outside_session"
    return None


def _sort_out(rows: EventArray, window: SessionWindow) -> tuple[EventArray, dict[str, int]]:
    names = rows.dtype.names or ()
    faulty = {
        "not_finite": ~np.all([np.isfinite(rows[name]) for name in names[1:]], axis=0),
        "negative_size": np.any([rows[name] < 0 for name in names if "size" in name], axis=0),
        "outside_session": (rows["timestamp"] < window.open_ns)
        | (rows["timestamp"] > window.close_ns),
    }
    fine = np.ones(len(rows), dtype=bool)
    refused = {}
    for reason, bad in faulty.items():
        refused[reason] = int(np.count_nonzero(fine & bad))
        fine &= ~bad
    return rows[fine], {reason: n for reason, n in refused.items() if n}
