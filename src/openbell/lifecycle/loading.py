"""Step 3: everything of a symbol is fetched first, and only then put on its record.

What can fail is reading. It is over before a record is touched, so that a symbol which
cannot be loaded leaves nothing behind, and one that was there stays as it was.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openbell.errors import DataSourceError, IntervalError, SchemaError
from openbell.events import as_events
from openbell.intervals import interval as parse_interval
from openbell.lifecycle.history import History, check_adjustments, load_history
from openbell.lifecycle.past_days import fold_days, read_each
from openbell.lifecycle.streams import history_base
from openbell.lifecycle.validation import SymbolValidationResult
from openbell.processing.session_indicators import PastSessions
from openbell.schema import QUOTE_DTYPE, BarArray, as_bars
from openbell.sources.streaming import Extras
from openbell.symbol import AddedBy, SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.config import IndicatorConfig, SessionConfig
    from openbell.live.feed import LiveFeed
    from openbell.processing import DataProcessor
    from openbell.session import SessionData
    from openbell.sources import DataManager

__all__ = ["Fetched", "SymbolLoader"]

_log = logging.getLogger("openbell.lifecycle")

ProgressCallback = Callable[[str, int, int], object]


@dataclass(slots=True)
class Fetched:
    """All that was read for one symbol. Nothing of it is on a record yet.

    Attributes
    ----------
    symbol : str
    base_interval : str
    derived_intervals : sequence of str
    bars : numpy.ndarray
        The day's base bars, dtype ``BAR_DTYPE``.
    history : History
    extras : dict of str to numpy.ndarray
        ``trade_count`` and ``vwap`` of the bars, as far as they are known.
    quotes : numpy.ndarray or Exception
        The day's quotes, dtype ``QUOTE_DTYPE``, empty where the source has none; or why they
        cannot be read.
    """

    symbol: str
    base_interval: str
    derived_intervals: Sequence[str]
    bars: BarArray
    history: History
    extras: Extras = field(default_factory=dict)
    quotes: npt.NDArray[np.void] | Exception = field(
        default_factory=lambda: np.empty(0, QUOTE_DTYPE)
    )


class SymbolLoader:
    """Loads symbols into the records of a root, before the day's first slice and during it.

    Parameters
    ----------
    root : SessionData
    config : SessionConfig
    data : DataManager
    processor : DataProcessor
        Gives the records their indicators.
    """

    def __init__(
        self,
        root: SessionData,
        config: SessionConfig,
        data: DataManager,
        processor: DataProcessor,
    ) -> None:
        self._root = root
        self._config = config
        self._data = data
        self._processor = processor
        #: What feeds the records of a live day; None in a replay.
        self.feed: LiveFeed | None = None

    def subscribe(self, results: Iterable[SymbolValidationResult]) -> None:
        """Have symbols streamed, if the session is live: before they are loaded."""
        if self.feed is not None:
            self.feed.subscribe({r.symbol: str(r.base_interval) for r in results})

    def subscribe_to(self, symbol: str, interval: str) -> None:
        """Have one symbol streamed in an interval, if the session is live."""
        if self.feed is not None:
            self.feed.subscribe({symbol: interval})

    def unsubscribe(self, symbol: str) -> None:
        """Have a symbol streamed no more, if the session is live."""
        if self.feed is not None:
            self.feed.unsubscribe(symbol)

    def fetch(
        self,
        results: Sequence[SymbolValidationResult],
        window: SessionWindow,
        on_progress: ProgressCallback | None = None,
    ) -> Iterator[tuple[str, Fetched | Exception]]:
        """Read all that the config asks for of symbols that passed Step 0.

        Every source is read in one pass over each of its files, many symbols at a time.

        Parameters
        ----------
        results : sequence of SymbolValidationResult
        window : SessionWindow
            The day's.
        on_progress : callable, optional
            ``on_progress(what, done, total)`` while history is read.

        Yields
        ------
        (str, Fetched or Exception)
            Each symbol once; the exception says why it cannot be loaded.
        """
        symbols = [result.symbol for result in results]
        told = None if on_progress is None else partial(on_progress, "history")
        histories = load_history(symbols, window.date, self._config, self._data, on_progress=told)
        by_base: defaultdict[str, dict[str, SymbolValidationResult]] = defaultdict(dict)
        for result in results:
            assert result.base_interval is not None
            by_base[result.base_interval][result.symbol] = result
        for base, members in by_base.items():
            check_adjustments(histories, list(members), base, window, self._data)
            for symbol, bars, extras in self.fetch_day(list(members), base, window):
                history = histories[symbol]
                if isinstance(history, Exception):
                    yield symbol, history
                    continue
                if isinstance(bars, Exception):
                    yield symbol, bars
                    continue
                if not len(bars) and self.feed is None:
                    name = members[symbol].data_source or ""
                    reason = f"no {base} bars of {symbol} within the session's hours"
                    yield symbol, DataSourceError(name, reason)
                    continue
                derived = members[symbol].derived_intervals
                fetched = Fetched(symbol, base, derived, bars, history, extras)
                try:
                    quotes = self._data.load_quotes(symbol, window)
                    fetched.quotes = as_events(quotes, QUOTE_DTYPE, "quotes")
                except Exception as error:
                    # They are not what the config asks for; the record tells of it.
                    fetched.quotes = error
                yield symbol, fetched

    def fetch_day(
        self, symbols: Sequence[str], base: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        """Read a day's bars of many symbols, of a live one those so far; and what is beside them.

        Of one that cannot be read, why.
        """
        if self.feed is not None:
            yield from self.feed.load_day(symbols, base)
            return
        for symbol, bars in self._fetch_bars(symbols, base, window):
            if isinstance(bars, Exception):
                yield symbol, bars, {}
            else:
                yield symbol, bars, self._data.load_extras(symbol, base, window)

    def _fetch_bars(
        self, symbols: Sequence[str], base: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray | Exception]]:
        for symbol, bars in read_each(symbols, base, window, self._data):
            try:
                yield symbol, bars if isinstance(bars, Exception) else as_bars(bars)
            except SchemaError as error:
                yield symbol, error

    def make_record(
        self, symbol: str, base: str, derived: Sequence[str], added_by: AddedBy, **flags: object
    ) -> SymbolSessionData:
        """Return a record that :meth:`put` fills; memory is taken as its bars come."""
        return SymbolSessionData(
            symbol,
            base_interval=base,
            derived_intervals=derived,
            added_by=added_by,
            n_reserve=0,
            **flags,  # type: ignore[arg-type]
        )

    def put(self, rec: SymbolSessionData, fetched: Fetched) -> None:
        """Put what was fetched on a record that is registered, and give it its indicators.

        Bars that have ended by now are merged with those that are there, the newest received
        winning; the others wait for the replay.
        """
        self.rebase(rec, fetched.base_interval, fetched.derived_intervals)
        fetched.history.apply(rec)
        self.put_bars(rec, fetched.bars, fetched.extras)
        if isinstance(fetched.quotes, Exception):
            rec.note_error("quotes", fetched.quotes)
        elif len(fetched.quotes):
            rec.preload_quotes(fetched.quotes)
        # Of one interval, all indicators look at the same arrays.
        past: dict[str, PastSessions] = {}
        for indicator in self._config.indicators:
            self.add_indicator(rec, indicator, past)

    def rebase(self, rec: SymbolSessionData, base: str, derived: Iterable[str]) -> None:
        """Make what arrives, and what is folded from it, what was asked for; bars held stay."""
        wanted = set(derived)
        if rec.base_interval == base and wanted <= set(rec.derived_intervals):
            return
        if rec.base_interval != base:
            rec.core.drop_waiting()
        before = {*rec.derived_intervals, rec.base_interval}
        rec.set_intervals(base, wanted)
        left = [name for name in before - {base} if not rec.bars[name].derived]
        if left:
            _log.warning(
                "%s: %s bars arrive from now on; its series of %s takes none but adhoc ones",
                rec.symbol, base, ", ".join(sorted(left, key=parse_interval)),
            )  # fmt: skip

    def put_bars(
        self, rec: SymbolSessionData, bars: BarArray, extras: Extras | None = None
    ) -> None:
        """Put the day's base bars on a record, and what is known beside them."""
        if self.feed is not None:
            self.feed.put_history(rec, bars, extras or {})
            self._root.set_stream_active(rec.symbol, "bars")
            return
        if extras:
            rec.note_extras_block(rec.base_interval, bars["timestamp"], **extras)
        if rec.last_update_ns is None:
            n_taken = rec.preload(bars, adopt=True)
        else:
            n_ended = int(np.searchsorted(self._ends_of(rec, bars), self._root.now_ns, "right"))
            n_taken = rec.append_block(bars[:n_ended]) + rec.preload(bars[n_ended:])
        if n_taken < len(bars):
            reasons = ", ".join(f"{n} {reason}" for reason, n in rec.rejected.items())
            _log.warning(
                "%s: %d of %d %s bars are refused: %s",
                rec.symbol, len(bars) - n_taken, len(bars), rec.base_interval, reasons,
            )  # fmt: skip
        self._root.set_stream_active(rec.symbol, "bars")

    def add_indicator(
        self,
        rec: SymbolSessionData,
        config: IndicatorConfig,
        past: dict[str, PastSessions] | None = None,
    ) -> None:
        """Give a record an indicator, seeded from the history it has, or from that of `past`.

        One that cannot be made is noted in the record's ``errors``; a strict session ends.
        """
        try:
            past = {} if past is None else past
            if config.interval not in past:
                past[config.interval] = self.past_sessions(rec, config.interval)
            self._processor.add_indicator(rec, config, past[config.interval])
        except Exception as error:
            rec.note_error(f"indicator {config.name}", error)
            if self._config.session.strict:
                raise

    def past_sessions(self, rec: SymbolSessionData, interval: str) -> PastSessions:
        """The past sessions of an interval that a record has history of, oldest first.

        Folded from the longest interval it has that divides it, when it lacks the interval.
        """
        try:
            name = history_base(interval, rec.historical_bars)
        except IntervalError:
            return []
        days = rec.historical_bars[name]
        if name != interval:
            days = fold_days(days, interval, self._data)
        clock = self._data.time_manager
        return [(clock.session_window(day), days[day]) for day in sorted(days)]

    def _ends_of(self, rec: SymbolSessionData, bars: BarArray) -> npt.NDArray[np.int64]:
        grid = rec.bars[rec.base_interval].grid
        assert grid is not None
        labels = bars["timestamp"]
        slots = np.searchsorted(grid.starts_ns, labels, "right") - 1
        ends: npt.NDArray[np.int64] = grid.ends_ns[np.maximum(slots, 0)]
        return ends
