"""The root of a trading day: every record, the day's clock, and nothing kept elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from openbell._native.latest import Latest
from openbell._native.rings import SessionCore
from openbell._native.values import BarData
from openbell.errors import ArgumentError, SessionStateError, TimeError, UnknownSymbolError
from openbell.gaps import GapInfo
from openbell.intervals import interval as parse_interval
from openbell.schema import to_datetime, to_iso, to_ns
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from openbell.clock.window import SessionWindow
    from openbell.events import QuoteData, TickData

__all__ = ["SessionData", "get_session_data"]


class SessionData:
    """All data of one trading day: one record per symbol, under one root.

    Make as many as there are replays to run side by side; :func:`get_session_data` is the one
    that a process shares. Records are registered, the day begins with :meth:`begin`, bars come,
    and :meth:`clear` leaves nothing for tomorrow.

    Attributes
    ----------
    on_incomplete : "keep" or "skip"
        Whether exports show derived bars that lack base bars. What is stored stays the same.
    data_arrival_event : threading.Event
        Set when a bar, quote or trade came in through the root.
    lock : threading.RLock
        Held while records come and go, or their series change.
    core : SessionCore
        The clock and the memory, native.

    Notes
    -----
    Iteration sees a snapshot: other threads may add and remove symbols meanwhile.
    """

    def __init__(self) -> None:
        # All that a record refers to of its root: no cycle keeps the memory.
        self.core = SessionCore()
        self._symbols: dict[str, SymbolSessionData] = {}
        self.lock = threading.RLock()
        self._active_streams: dict[tuple[str, str], bool] = {}
        self._session_active = False
        self._latest: dict[str, Latest] = {}
        self._readers: dict[str, Any] = {}
        self.on_incomplete: Literal["keep", "skip"] = "keep"
        self.data_arrival_event = threading.Event()

    # The day

    def begin(self, window: SessionWindow) -> None:
        """Begin a day: its clock stands at the open, and records take bars from now on.

        Records registered before get their grids and their memory.

        Raises
        ------
        SessionStateError
            When a day is running.
        """
        with self.lock:
            if self._session_active:
                raise SessionStateError(
                    "begin",
                    f"running {self.current_session_date}",
                    "call end() and clear() before the next day",
                )
            if self.window is not None:
                self.clear()
            self.core.set_window(window)
            try:
                for rec in self._symbols.values():
                    self._bind(rec)
            except BaseException:
                self.core.set_window(None)
                raise
            self._readers = {}
            self._session_active = True

    def advance(self, now: datetime | int) -> None:
        """Move the session's clock: time passes also when nothing trades. O(1).

        Buckets and expectations that the clock has ended are settled when they are read.

        Parameters
        ----------
        now : aware datetime or int
            The instant, as nanoseconds UTC when an int.

        Raises
        ------
        SessionStateError
            When no day has begun.
        TimeError
            When the instant lies before the clock.
        """
        now_ns = now if type(now) is int else to_ns(now)
        if self.window is None:
            raise SessionStateError("advance", "not begun", "call root.begin(window) first")
        if now_ns < self.now_ns:
            raise TimeError(to_iso(now_ns), f"the session's clock is at {to_iso(self.now_ns)}")
        self.core.set_clock(now_ns)

    def end(self, *, at_close: bool = True) -> None:
        """End the day: nothing is streamed any more. Data stays readable until :meth:`clear`.

        Parameters
        ----------
        at_close : bool
            Whether the clock moves to the close; it stays where it is when a day is broken off.
        """
        with self.lock:
            self._active_streams = dict.fromkeys(self._active_streams, False)
            if self.window is not None and at_close:
                self.core.set_clock(max(self.now_ns, self.window.close_ns))
            self._session_active = False

    def clear(self) -> None:
        """Forget the day: records, streams, window. Views held elsewhere stay as they are."""
        with self.lock:
            for rec in self._symbols.values():
                rec.core.detach()
            self._symbols = {}
            self.core.n_changes += 1
            self._latest = {}
            self._readers = {}
            self._active_streams = {}
            self._session_active = False
            self.core.set_window(None)
            self.data_arrival_event.clear()

    @property
    def window(self) -> SessionWindow | None:
        """The day, from :meth:`begin` to :meth:`clear`; None when there is none."""
        window: SessionWindow | None = self.core.window
        return window

    @property
    def now_ns(self) -> int:
        """The session's clock, nanoseconds UTC; 0 when there is no day."""
        return self.core.now_ns

    @property
    def session_active(self) -> bool:
        """Whether a day has begun and not ended."""
        return self._session_active

    @property
    def current_session_date(self) -> date | None:
        """The day's date, None when there is no day."""
        return None if self.window is None else self.window.date

    # Records

    def register_symbol(
        self, symbol: str, data: SymbolSessionData | None = None
    ) -> SymbolSessionData:
        """Register a record under a symbol, making a plain one when none is given.

        Returns
        -------
        SymbolSessionData
            The record; the one already there when it is asked for again without `data`.

        Raises
        ------
        ArgumentError
            When the record is of another symbol.
        SessionStateError
            When another record of that symbol is registered.
        """
        with self.lock:
            if data is None:
                held = self._symbols.get(symbol)
                return held or self.register_symbol_data(SymbolSessionData(symbol))
            if data.symbol != symbol:
                raise ArgumentError("data", data.symbol, f"a record of {symbol}")
            return self.register_symbol_data(data)

    def register_symbol_data(self, data: SymbolSessionData) -> SymbolSessionData:
        """Register a record under its own symbol, and return it.

        Raises
        ------
        SessionStateError
            When another record of that symbol is registered, or this one belongs to a root.
        """
        with self.lock:
            held = self._symbols.get(data.symbol)
            if held is data:
                return data
            if held is not None:
                raise SessionStateError(
                    f"register_symbol_data({data.symbol!r})",
                    "holding a record of that symbol",
                    "remove it first, or change the one that is there",
                )
            if data.core.root is not None:
                raise SessionStateError(
                    f"register_symbol_data({data.symbol!r})",
                    "not the first root of this record",
                    "make a record for each root and day",
                )
            if self.window is not None:
                self._bind(data)
            # A new dict, so that whoever iterates the old one goes on undisturbed.
            self._symbols = {**self._symbols, data.symbol: data}
            self.core.n_changes += 1
            return data

    def _bind(self, rec: SymbolSessionData) -> None:
        assert self.window is not None
        n_reserve = rec.n_reserve
        if n_reserve is None:
            n_slots = self.window.grid(rec.base_interval).n_slots
            n_reserve = n_slots if rec.meets_session_config_requirements else 0
        rec.core.bind(self.core, n_reserve, n_reserve > 0)

    def remove_symbol(self, symbol: str) -> bool:
        """Remove a record and all that belongs to it; False when there is none.

        A cached ``append`` of it raises ``RecordDetached``; views of its bars stay valid.
        """
        with self.lock:
            rec = self._symbols.get(symbol)
            if rec is None:
                return False
            self._symbols = {s: r for s, r in self._symbols.items() if s != symbol}
            self.core.n_changes += 1
            self._latest = {}
            self._active_streams = {
                key: value for key, value in self._active_streams.items() if key[0] != symbol
            }
            rec.core.detach()
            return True

    def get_symbol_data(self, symbol: str) -> SymbolSessionData | None:
        """The record of a symbol, None when there is none."""
        return self._symbols.get(symbol)

    def get_active_symbols(self) -> set[str]:
        """Every symbol that has a record."""
        return set(self._symbols)

    def get_loaded_symbols(self) -> set[str]:
        """Symbols whose loading has finished."""
        return {rec.symbol for rec in self if rec.is_loaded}

    def get_symbols_with_derived(self) -> dict[str, list[str]]:
        """Derived intervals by symbol, of the records that have any."""
        derived = {rec.symbol: rec.derived_intervals for rec in self}
        return {symbol: names for symbol, names in derived.items() if names}

    def __iter__(self) -> Iterator[SymbolSessionData]:
        return iter(tuple(self._symbols.values()))

    def __len__(self) -> int:
        return len(self._symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._symbols

    def __getitem__(self, symbol: str) -> SymbolSessionData:
        rec = self._symbols.get(symbol)
        if rec is None:
            raise UnknownSymbolError(symbol, sorted(self._symbols))
        return rec

    # Data

    def add_bar(self, symbol: str, interval: str, bar: BarData) -> SymbolSessionData:
        """Store one bar of any interval, provisioning an adhoc record for an unknown symbol.

        Returns
        -------
        SymbolSessionData
            The record it went to.

        Raises
        ------
        BarRefused
            When the bar cannot be stored. A record provisioned for it alone is taken back.
        SessionStateError
            Before :meth:`begin`.
        """
        return self._store("add_bar", symbol, interval, SymbolSessionData.add_bar, interval, bar)

    def add_quote(self, symbol: str, quote: QuoteData) -> SymbolSessionData:
        """Store one quote, provisioning an adhoc record for an unknown symbol."""
        return self._store("add_quote", symbol, "1m", SymbolSessionData.add_quote, quote)

    def add_tick(self, symbol: str, tick: TickData) -> SymbolSessionData:
        """Store one trade, provisioning an adhoc record for an unknown symbol."""
        return self._store("add_tick", symbol, "1m", SymbolSessionData.add_tick, tick)

    def _store(
        self, call: str, symbol: str, base_interval: str, store: Callable[..., None], *values: Any
    ) -> SymbolSessionData:
        received = values[-1].symbol
        if received and received != symbol:
            raise ArgumentError(call, f"data of {received}", f"data of {symbol}")
        with self.lock:
            if self.window is None:
                raise SessionStateError(call, "not begun", "call root.begin(window) first")
            held = self._symbols.get(symbol)
            rec = held or self._auto_provision_symbol(symbol, call, base_interval)
            try:
                store(rec, *values)
            except BaseException:
                if held is None:
                    self.remove_symbol(symbol)
                raise
        self.data_arrival_event.set()
        return rec

    def _auto_provision_symbol(
        self, symbol: str, reason: str, base_interval: str = "1m"
    ) -> SymbolSessionData:
        import logging

        logging.getLogger("openbell.session").info("%s: auto-provisioned for %s", symbol, reason)
        return self.register_symbol_data(
            SymbolSessionData(
                symbol,
                base_interval=base_interval,
                added_by="adhoc",
                auto_provisioned=True,
                added_at=to_datetime(self.now_ns),
            )
        )

    def set_quality(self, symbol: str, interval: str, value: float) -> None:
        """Note the quality of a historical or directly written series; see the record."""
        self[symbol].set_quality(interval, value)

    def set_gaps(self, symbol: str, interval: str, gaps: Sequence[GapInfo]) -> None:
        """Store gaps of a historical series, or reasons of a live one's; see the record."""
        self[symbol].set_gaps(interval, gaps)

    def latest(self, field: str, interval: str) -> npt.NDArray[np.float64]:
        """The newest value of a field over all records, in their order; NaN where there is none.

        Parameters
        ----------
        field : str
            ``open``, ``high``, ``low``, ``close`` or ``volume``.
        interval : str

        Returns
        -------
        numpy.ndarray
            float64, shape (len(root),). A copy.
        """
        held = self._latest.get(interval)
        values = None if held is None else held.read(field)
        while values is None:
            n_changes = self.core.n_changes
            cores = [rec.core for rec in self]
            held = Latest(self.core, cores, parse_interval(interval).name, n_changes)
            self._latest[interval] = held
            values = held.read(field)
        return values

    # Streams and arrivals

    @property
    def active_streams(self) -> Mapping[tuple[str, str], bool]:
        """Whether each (symbol, kind of data) is being streamed. A copy."""
        return dict(self._active_streams)

    def set_stream_active(self, symbol: str, kind: str, active: bool = True) -> None:
        """Note that data of a kind (``bars``, ``quotes``, ``ticks``) is streamed, or no more."""
        with self.lock:
            self._active_streams[symbol, kind] = active

    def is_stream_active(self, symbol: str, kind: str) -> bool:
        """Whether data of a kind is being streamed for a symbol."""
        return self._active_streams.get((symbol, kind), False)

    def wait_for_data(self, timeout: float | None = None) -> bool:
        """Wait until data comes in, and reset the event; False when the time ran out.

        Parameters
        ----------
        timeout : float, optional
            Seconds; without end when None.
        """
        arrived = self.data_arrival_event.wait(timeout)
        self.data_arrival_event.clear()
        return arrived

    # Export

    def to_json(self, complete: bool = True, *, reader: str = "default") -> dict[str, Any]:
        """The tree as the JSON dump has it, or what is new in it: plain values, a copy. O(bars).

        Parameters
        ----------
        complete : bool
            Whether to return all of it, from which the reader begins anew. Else what is new since
            its last export, for ``export.apply_delta``; all of it when the day has had none.
        reader : str
            Who reads. Any number of them do not disturb each other; the day's end forgets them.

        Raises
        ------
        ArgumentError
            When the reader is no text, or began with a choice of intervals, or without rows.
        SessionStateError
            When another thread changes a record faster than it can be copied.
        """
        from openbell.export import export_session

        return export_session(self, self._readers, reader, complete=complete)

    def forget_reader(self, reader: str) -> bool:
        """Forget how far somebody has read; False when there is none of that name."""
        return self._readers.pop(reader, None) is not None

    def write_json(
        self,
        path: str | PathLike[str],
        *,
        intervals: Sequence[str] | None = None,
        bars: bool = True,
        complete: bool = True,
        reader: str | None = None,
    ) -> None:
        """Write the JSON dump, symbol by symbol, in bounded memory; the file appears whole.

        Parameters
        ----------
        path : path-like
        intervals : sequence of str, optional
            Series to write; None writes all.
        bars : bool
            Whether to write the bars themselves, or their counts and gaps alone.
        complete, reader
            As for :meth:`to_json`; a complete dump without `reader` begins none.
        """
        from openbell.export import write_export

        write_export(self, self._readers, reader, path, complete, intervals, bars)

    def to_csv(self, path: str | PathLike[str], *, interval: str = "1m") -> None:
        """Write the session log: one row per slot of an interval, columns for each symbol."""
        from openbell.export import write_session_csv

        write_session_csv(self, path, interval=interval)

    def to_arrow(self, symbol: str, interval: str) -> pa.Table:
        """The closed bars of one series as an Arrow table, a copy. O(bars)."""
        return self[symbol]._series(interval).to_arrow(complete_only=self.on_incomplete == "skip")

    def to_table(self, interval: str, symbols: Iterable[str] | None = None) -> pa.Table:
        """The closed bars of an interval over all records; see ``export.bars_table``."""
        from openbell.export import bars_table

        return bars_table(self, interval, symbols)

    def to_polars(self, interval: str, symbols: Iterable[str] | None = None) -> pl.DataFrame:
        """The same as a polars frame."""
        from openbell.export import to_polars

        return to_polars(self.to_table(interval, symbols))

    def to_pandas(self, interval: str, symbols: Iterable[str] | None = None) -> pd.DataFrame:
        """The same as a pandas frame, indexed by symbol and timestamp."""
        from openbell.export import to_pandas

        return to_pandas(self.to_table(interval, symbols))

    def bars_to_csv(
        self, path: str | PathLike[str], interval: str, symbols: Iterable[str] | None = None
    ) -> None:
        """The same as a CSV file, a row for each bar; see ``export.write_bars_csv``."""
        from openbell.export import pick_series, write_bars_csv

        chosen = pick_series(self, interval, symbols)
        write_bars_csv(chosen, path, complete_only=self.on_incomplete == "skip")

    def to_parquet(
        self, folder: str | PathLike[str], intervals: Iterable[str] | None = None
    ) -> list[Path]:
        """Write a dataset to replay from again; see ``export.write_dataset``."""
        from openbell.export import write_dataset

        return write_dataset(self, folder, intervals)

    def __repr__(self) -> str:
        state = "no day" if self.window is None else f"{self.window.calendar} {self.window.date}"
        return f"<SessionData {state}: {len(self)} symbols>"


_default: SessionData | None = None
_default_lock = threading.Lock()


def get_session_data() -> SessionData:
    """Return the root that the process shares; the same one each time."""
    global _default
    with _default_lock:
        if _default is None:
            _default = SessionData()
        return _default
