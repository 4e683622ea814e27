"""The processor: finds what closed by walking the root, and wakes who asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from openbell._native.closings import Closings
from openbell._native.values import BarData
from openbell.errors import ArgumentError, SessionStateError
from openbell.intervals import interval as parse_interval
from openbell.processing.indicators import IndicatorData, make_indicator
from openbell.schema import BarArray
from openbell.session import SessionData
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.config import IndicatorConfig

__all__ = ["CloseCallback", "DataProcessor"]

CloseCallback = Callable[[SymbolSessionData, BarData], Any]


class Cursor(Protocol):
    """What feeds a root's records, and tells of closings by itself: a replay, or streams."""

    @property
    def closings(self) -> Closings: ...

    @property
    def held(self) -> set[Any]:
        """The records that are fed."""

    def drop_detached(self) -> None:
        """Let go of records that were removed."""


# No bar ends here; one less than what stands for "never".
_END_OF_TIME_NS = (1 << 63) - 2


def require_callable(callback: object) -> None:
    """Raise ArgumentError for what cannot be called."""
    if not callable(callback):
        raise ArgumentError("callback", callback, "a function, or another thing that can be called")


class DataProcessor:
    """Wakes subscribers when bars close, and keeps a user's own indicators up to date.

    It is told of no symbol and no interval: it walks the root, so that a record which joins or
    leaves is followed by itself. A session has one; a program that feeds a root itself makes
    one and calls :meth:`process` after each of its slices.

    Of one call, the order is: corrections of bars told before; then the bars that closed, by
    their end, shorter intervals first, within one the symbols by name. Of each bar, a user's
    own indicators have taken it in before any subscriber is woken; all others settle when they
    are read.

    Parameters
    ----------
    root : SessionData
    strict : bool
        Whether an exception in a callback or an indicator propagates. It is recorded in the
        ``errors`` of the record concerned either way; otherwise the others go on.

    Examples
    --------
    >>> import openbell as ob
    >>> from datetime import date
    >>> root = ob.SessionData()
    >>> root.begin(ob.TimeManager("XNYS").session_window(date(2025, 7, 2)))
    >>> record = root.register_symbol_data(
    ...     ob.SymbolSessionData("AAPL", base_interval="1m", derived_intervals=["5m"])
    ... )
    >>> processor = ob.DataProcessor(root)
    >>> processor.on_close("5m", lambda rec, bar: print(rec.symbol, bar.interval, bar.close))
    >>> for minute in range(5):
    ...     record.append(root.now_ns + minute * 60 * 10**9, 1.0, 2.0, 0.5, 1.5 + minute, 10.0)
    ...     processor.process()
    AAPL 5m 5.5
    """

    def __init__(self, root: SessionData, *, strict: bool = False) -> None:
        self.root = root
        self.strict = strict
        self._on_close: list[tuple[str, CloseCallback, bool]] = []
        self._closings: Closings | None = None
        self._cursor: Cursor | None = None
        self._window: SessionWindow | None = None
        self._n_changes = -1

    def on_close(
        self, interval: str, callback: CloseCallback, *, corrections: bool = False
    ) -> None:
        """Call ``callback(record, bar)`` for each bar of an interval, once, when it closes.

        Parameters
        ----------
        interval : str
        callback : callable
            Its bar is a :class:`BarData`, a copy. Called for every record that has the
            interval, from now on and on every day to come.
        corrections : bool
            Whether it is called again when bars it was told have changed: once a slice and
            record, with the earliest of them, whose ``is_correction`` is True. Those behind it
            may have changed too.

        Raises
        ------
        IntervalError
            When the interval is unknown.
        ArgumentError
            When the callback cannot be called.
        """
        name = parse_interval(interval).name
        require_callable(callback)
        self._on_close.append((name, callback, corrections))
        if self._closings is not None and self._window is self.root.window:
            self._closings.on_close(name, callback, corrections)

    def add_indicator(
        self,
        record: SymbolSessionData,
        config: IndicatorConfig,
        history: Sequence[tuple[SessionWindow, BarArray]] = (),
    ) -> IndicatorData:
        """Give a record an indicator, under its configured name.

        Parameters
        ----------
        record : SymbolSessionData
            One that has a series of the indicator's interval.
        config : IndicatorConfig
        history : sequence of (SessionWindow, numpy.ndarray)
            Past sessions of that interval to seed it from, oldest first.

        Raises
        ------
        IndicatorError
            When the type is unknown or its parameters do not fit.
        """
        indicator = make_indicator(record, config, history, strict=self.strict)
        # Another dict, so that whoever goes through the old one is undisturbed.
        record.indicators = {**record.indicators, config.name: indicator}
        self.root.core.n_changes += 1
        return indicator

    def get_derived_intervals_for_symbol(self, symbol: str) -> list[str]:
        """The intervals derived for a symbol, ascending; empty when it has no record."""
        record = self.root.get_symbol_data(symbol)
        return record.derived_intervals if record is not None else []

    def begin(self, cursor: Cursor | None = None) -> None:
        """Take up the root's day.

        Parameters
        ----------
        cursor : ReplayCursor or LiveCursor, optional
            What feeds it, and then tells of closings by itself. Without one, :meth:`process`
            does.

        Raises
        ------
        SessionStateError
            When the root has no day.
        """
        if self.root.window is None:
            raise SessionStateError("processor", "without a day", "call root.begin(window) first")
        skips = self.root.on_incomplete == "skip"
        self._cursor = cursor
        if cursor is None:
            self._closings = Closings(self.root.core, skips)
            self._closings.by_data = True
        else:
            self._closings = cursor.closings
        self._closings.on_error = self._note_error
        self._window = self.root.window
        self._n_changes = -1
        for name, callback, corrections in self._on_close:
            self._closings.on_close(name, callback, corrections)

    def end(self) -> None:
        """Let go of the day that was taken up: before its root is cleared, or after."""
        self._cursor = self._closings = self._window = None

    def sync(self) -> None:
        """Follow the root, if records, series or indicators came or went. O(records) then."""
        n_changes = self.root.core.n_changes
        if n_changes == self._n_changes or self._closings is None:
            return
        self._n_changes = n_changes
        fed: set[Any] = set()
        if self._cursor is not None:
            self._cursor.drop_detached()
            fed = self._cursor.held
        self._closings.sync(list(self.root), fed)

    def process(self) -> None:
        """Tell of everything that closed since the last call, by data or by the clock.

        For a root that is fed by the caller. O(series watched).

        Raises
        ------
        SessionStateError
            When the root has no day.
        """
        if self._closings is None or self._window is not self.root.window:
            self.begin()
        self.sync()
        assert self._closings is not None
        self._closings.tell(_END_OF_TIME_NS, True)

    def _note_error(
        self, record: SymbolSessionData, interval: str, callback: Any, error: Exception
    ) -> None:
        name = getattr(callback, "__qualname__", type(callback).__qualname__)
        record.note_error(f"on_close {interval} {name}", error)
        if self.strict:
            raise error

    def __repr__(self) -> str:
        return f"<DataProcessor of {self.root!r}: {len(self._on_close)} subscribers>"
