"""Storing what comes on the records it belongs to, in whatever order it comes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from openbell._native.values import BarData
from openbell.errors import BarRefused, EventRefused, SessionStateError
from openbell.events import QuoteData, TickData
from openbell.live.connections import Connections
from openbell.live.inbox import DAILY, QUOTE, TRADE, Message
from openbell.live.ranks import RANK_HISTORY, RANK_STREAM, RANK_UPDATE, RankedBars
from openbell.live.worker import Answer
from openbell.schema import BarArray, to_datetime
from openbell.sources.streaming import Extras
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.live import LiveClock
    from openbell.clock.window import SessionWindow
    from openbell.live.recorder import Recorder
    from openbell.live.recording import Recording

__all__ = ["BackfillCallback", "Intake"]

_log = logging.getLogger("openbell.live")

# What `RankedBars.put` returns of a slot that had no bar.
_ADDED: Final = 2

BackfillCallback = Callable[[SymbolSessionData, BarArray, str], Any]
Slices = dict[int, list[SymbolSessionData]]


class Intake:
    """Puts bars, quotes and trades on the records of a live day; the engine's thread alone does.

    Parameters
    ----------
    window : SessionWindow
    clock : LiveClock
    connections : Connections
        Told how each source fares.
    recorder : Recorder, optional
        Takes down every bar that is stored.
    recording : Recording, optional
        What the day's recording had before a crash.

    Attributes
    ----------
    daily_bars : dict of str to BarData
        The sources' own running bars of the day, by symbol.
    n_bars : int
        Base bars stored.
    changed : set of SymbolSessionData
        Records whose bars changed since somebody emptied it.
    slices : dict of int to list of SymbolSessionData
        Records that have a bar newer than all before, by its end; likewise.
    came_ns : list of int
        When the bars stored since then came, by ``perf_counter_ns``; likewise.
    """

    def __init__(
        self,
        window: SessionWindow,
        clock: LiveClock,
        connections: Connections,
        recorder: Recorder | None,
        recording: Recording | None,
    ) -> None:
        self.daily_bars: dict[str, BarData] = {}
        self.n_bars = 0
        self.changed: set[SymbolSessionData] = set()
        self.slices: Slices = {}
        self.came_ns: list[int] = []
        self.on_backfilled: BackfillCallback | None = None
        self.handlers: dict[int, Callable[[Message], object]] = {
            QUOTE: self._take_quote,
            TRADE: self._take_trade,
            DAILY: self._take_daily,
        }
        self._window = window
        self._clock = clock
        self._connections = connections
        self._recorder = recorder
        self._recording = recording
        self._bars: dict[str, RankedBars] = {}
        self._early: dict[str, list[Message]] = {}
        self._slice_end_ns = 0

    def begin_slice(self) -> None:
        """Let the next bar say which slot the slice is of."""
        self._slice_end_ns = 0

    # Records

    def adopt(self, record: SymbolSessionData) -> list[Message]:
        """Store bars of a record from now on; return those that came while it was loaded."""
        ranked = self._ranked(record)
        # What it has by now makes no slice any more.
        ranked.newest_end_ns = max(ranked.newest_end_ns, record.last_update_ns or 0)
        return self._early.pop(record.symbol, [])

    def forget(self, symbol: str) -> None:
        """Store bars of a symbol no more."""
        self._bars.pop(symbol, None)
        self._early.pop(symbol, None)
        self.daily_bars.pop(symbol, None)

    def intervals(self) -> dict[str, str]:
        """The base interval of each symbol whose bars are stored."""
        return {symbol: ranked.interval for symbol, ranked in self._bars.items()}

    def put_history(self, record: SymbolSessionData, bars: BarArray, extras: Extras) -> None:
        """Put what history has of the day on a record, after what a recording had of it."""
        ranked = self._ranked(record)
        if self._recording is not None:
            rows = self._recording.rows(record.symbol, record.base_interval)
            if rows is not None:
                ranked.put_block(rows.ranks, rows.bars)
                record.note_extras_block(ranked.interval, rows.bars["timestamp"], **rows.extras)
        self._put_block(ranked, bars, extras)

    def _ranked(self, record: SymbolSessionData) -> RankedBars:
        held = self._bars.get(record.symbol)
        if held is None or held.record is not record or held.interval != record.base_interval:
            held = self._bars[record.symbol] = RankedBars(record, self._window)
        return held

    def _put_block(
        self, ranked: RankedBars, bars: BarArray, extras: Extras
    ) -> tuple[BarArray, int]:
        is_taken, n_new = ranked.put_block(RANK_HISTORY, bars)
        taken = bars[is_taken]
        if not len(taken):
            return taken, n_new
        beside = {name: np.asarray(values)[is_taken] for name, values in extras.items()}
        record = ranked.record
        if beside:
            record.note_extras_block(ranked.interval, taken["timestamp"], **beside)
        if self._recorder is not None:
            self._recorder.record_block(record.symbol, ranked.interval, RANK_HISTORY, taken, beside)
        self.n_bars += n_new
        return taken, n_new

    # What comes

    def take_bar(self, message: Message) -> bool:
        """Store one bar; False when it belongs to a later slice than those before it."""
        (_, source, came_ns, symbol, ts_ns, open_, high, low, close, volume,
         trade_count, vwap, is_update) = message  # fmt: skip
        ranked = self._bars.get(symbol)
        monitor = self._connections.monitor(source)
        if ranked is None:
            if symbol in self._connections:
                self._early.setdefault(symbol, []).append(message)
            else:
                # Nobody asks for it (any more).
                monitor.note_message(self._clock.now_ns())
                monitor.note_outside()
            return True
        slot = ranked.slot_of(ts_ns)
        if slot < 0:
            monitor.note_message(self._clock.now_ns())
            monitor.note_outside()
            return True
        end_ns = ranked.end_of(slot)
        is_newest = end_ns > ranked.newest_end_ns
        if is_newest and 0 < self._slice_end_ns < end_ns:
            return False
        record = ranked.record
        rank = RANK_UPDATE if is_update else RANK_STREAM
        # Also of a bar that is not stored: the feed lives.
        monitor.note_bar(symbol, end_ns, self._clock.now_ns(), is_update)
        try:
            stands = ranked.put(rank, slot, ts_ns, open_, high, low, close, volume)
            if stands and (trade_count == trade_count or vwap == vwap):
                record.note_extras(ranked.interval, ts_ns, trade_count, vwap)
        except BarRefused as error:
            # The record has counted it.
            _log.debug("%s: %s", symbol, error)
            return True
        except SessionStateError:
            # Removed, or the day was closed, by another thread.
            self.forget(symbol)
            return True
        if is_newest:
            # Also when history was faster: nobody was told of the slice yet.
            ranked.newest_end_ns = end_ns
            self._slice_end_ns = max(self._slice_end_ns, end_ns)
            self.slices.setdefault(end_ns, []).append(record)
        if not stands:
            monitor.note_superseded()
            return True
        self.n_bars += stands == _ADDED
        if self._recorder is not None:
            self._recorder.record_bar(
                symbol, ranked.interval, rank, ts_ns,
                open_, high, low, close, volume, trade_count, vwap,
            )  # fmt: skip
        self.changed.add(record)
        self.came_ns.append(came_ns)
        return True

    def take_answer(self, answer: Answer) -> None:
        """Store what history gave of a symbol afterwards."""
        ranked = self._bars.get(answer.symbol)
        if ranked is None or ranked.interval != answer.interval:
            return
        try:
            taken, n_new = self._put_block(ranked, answer.bars, answer.extras)
        except SessionStateError:
            return
        if not len(taken):
            return
        _log.info(
            "%s: history gave %d missing %s bars and %d corrections (%s)",
            answer.symbol, n_new, answer.interval, len(taken) - n_new, answer.why,
        )  # fmt: skip
        monitor = self._connections.monitor_of(answer.symbol)
        if monitor is not None and n_new:
            monitor.note_backfilled(answer.symbol, n_new)
        self.changed.add(ranked.record)
        if self.on_backfilled is not None:
            self.on_backfilled(ranked.record, taken, answer.why)

    def _take_quote(self, message: Message) -> None:
        _, source, _, symbol, ts_ns, bid, ask, bid_size, ask_size = message
        with self._event(source):
            ranked = self._bars.get(symbol)
            if ranked is not None:
                quote = QuoteData(to_datetime(ts_ns), bid, ask, bid_size, ask_size)
                ranked.record.add_quote(quote)

    def _take_trade(self, message: Message) -> None:
        _, source, _, symbol, ts_ns, price, size = message
        with self._event(source):
            ranked = self._bars.get(symbol)
            if ranked is not None:
                ranked.record.add_tick(TickData(to_datetime(ts_ns), price, size))

    @contextmanager
    def _event(self, source: str) -> Iterator[None]:
        monitor = self._connections.monitor(source)
        monitor.note_message(self._clock.now_ns())
        try:
            # What is refused is counted by the record.
            with suppress(EventRefused, SessionStateError):
                yield
        except (OverflowError, ValueError):
            monitor.note_garbage("an instant that is none")

    def _take_daily(self, message: Message) -> None:
        _, source, _, symbol, open_, high, low, close, volume = message
        self._connections.monitor(source).note_message(self._clock.now_ns())
        if symbol in self._connections:
            opened = to_datetime(self._window.open_ns)
            self.daily_bars[symbol] = BarData(
                opened, open_, high, low, close, volume, symbol=symbol, interval="1d"
            )
