"""Where a live session's data comes from: streams, what they missed, and the days before."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from datetime import date as Date
from typing import cast

import numpy as np

from openbell.clock import SessionWindow, TimeManager
from openbell.clock.live import LiveClock
from openbell.errors import DataSourceError
from openbell.intervals import interval as parse_interval
from openbell.schema import BAR_DTYPE, BarArray
from openbell.sources.manager import DataManager
from openbell.sources.protocol import DataSource
from openbell.sources.streaming import Extras, StreamingSource

__all__ = ["LiveDataManager"]

_log = logging.getLogger("openbell.sources")


class LiveDataManager(DataManager):
    """A manager whose newest day is being made.

    A symbol is streamed by the first source that streams and knows it, which is also asked for
    what the stream has missed of the day. Past days come from the first source that has them:
    local files first, and what these lack from a broker.

    Parameters
    ----------
    sources : sequence of DataSource
        In order of preference; one of them streams.
    time_manager : TimeManager
    clock : LiveClock

    Raises
    ------
    DataSourceError
        When none of the sources streams.
    """

    def __init__(
        self, sources: Sequence[DataSource], time_manager: TimeManager, clock: LiveClock
    ) -> None:
        super().__init__(sources, time_manager)
        self.clock = clock
        self.day: Date | None = None
        self._streamed: dict[str, str] = {}
        self.streaming = [cast(StreamingSource, s) for s in sources if hasattr(s, "stream")]
        if not self.streaming:
            names = ", ".join(source.name for source in sources)
            raise DataSourceError(names, "does not stream; a live session needs a source that does")

    def source_of(self, symbol: str) -> StreamingSource | None:
        """Return the source that streams the symbol, or None. Remembered once found."""
        found = self._source_of.get(symbol)
        if found is None:
            found = next((s for s in self.streaming if s.has_symbol(symbol)), None)
            if found is not None:
                self._source_of[symbol] = found
        return cast("StreamingSource | None", found)

    def prime(self, symbols: Sequence[str]) -> None:
        """Let sources that can find out about many symbols at once do so.

        Raises
        ------
        DataSourceError
            When no source that streams can be asked; one of several that cannot is warned of.
        """
        failed: list[DataSourceError] = []
        for source in self.streaming:
            prime = getattr(source, "prime", None)
            try:
                if prime is not None:
                    prime(symbols)
            except DataSourceError as error:
                failed.append(error)
        if len(failed) == len(self.streaming):
            raise failed[0]
        for one in failed:
            _log.warning("%s", one)

    def stream_intervals(self, symbol: str) -> list[str]:
        """Intervals that the symbol's bars can be streamed in, finest first."""
        source = self.source_of(symbol)
        if source is None:
            return []
        streamed = self._streamed.get(source.name)
        return list(source.stream_intervals) if streamed is None else [streamed]

    def note_streamed(self, source: str, interval: str) -> None:
        """Note that a source streams one interval from now on, and no other, until the day ends."""
        self._streamed = {**self._streamed, source: interval}

    def begin(self, day: Date) -> None:
        """Begin a day: it is the one that is being made."""
        self.day = day
        self._streamed = {}

    def available_intervals(self, symbol: str) -> list[str]:
        """Intervals that some source holds of the symbol, finest first."""
        names = {name for source in self._holding(symbol) for name in source.intervals(symbol)}
        return sorted(names, key=parse_interval)

    def available_dates(self, symbol: str, interval: str) -> tuple[Date, Date] | None:
        """First and last date with bars of the symbol in any source, or None."""
        name = parse_interval(interval).name
        spans = [source.dates(symbol, name) for source in self._holding(symbol)]
        found = [span for span in spans if span is not None]
        return (min(a for a, _ in found), max(b for _, b in found)) if found else None

    def has_data(self, symbol: str, interval: str, date: Date) -> bool:
        """Whether a source has bars of a past day; of the newest, whether they are streamed."""
        name = parse_interval(interval).name
        if date == self.day:
            return name in self.stream_intervals(symbol)
        return any(s.has_data(symbol, name, date) for s in self._holding(symbol))

    def adjustment(self, symbol: str, interval: str, date: Date) -> str | None:
        """How a session's bars are adjusted; None when its source does not say."""
        name = parse_interval(interval).name
        for source in self._holding(symbol):
            if source.has_data(symbol, name, date):
                ask = getattr(source, "adjustment", None)
                return ask(symbol, name, date) if callable(ask) else None
        return None

    def load_historical_bars(
        self, symbol: str, interval: str, dates: Sequence[Date]
    ) -> dict[Date, BarArray]:
        """Load whole sessions of one symbol; see :meth:`DataManager.load_historical_bars`."""
        name = parse_interval(interval).name
        left = {date: self.time_manager.session_window(date) for date in dates}
        found: dict[Date, BarArray] = {}
        for source in self._holding(symbol):
            if name not in source.intervals(symbol):
                continue
            ask = getattr(source, "load_days", None)
            if ask is not None:
                # A broker gives many days in one request.
                days = ask(symbol, name, list(left.values()))
            else:
                days = {date: source.load(symbol, name, window) for date, window in left.items()}
            found.update({date: bars for date, bars in days.items() if len(bars)})
            left = {date: window for date, window in left.items() if date not in found}
        return {date: found[date] for date in dates if date in found}

    def load_session_bars(
        self, symbols: Sequence[str], interval: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray]]:
        """Load one past session of many symbols, each from the first source that has it.

        Yields
        ------
        (str, numpy.ndarray)
            Every symbol once; those that no source has bars of last, with empty arrays.
        """
        name = parse_interval(interval).name
        left = dict.fromkeys(symbols)
        for source in self.sources:
            mine = [s for s in left if name in source.intervals(s)]
            if mine:
                for symbol, bars in source.load_many(mine, name, window):
                    if len(bars) and symbol in left:
                        del left[symbol]
                        yield symbol, bars
        for symbol in left:
            yield symbol, np.empty(0, BAR_DTYPE)

    def load_since(
        self, symbols: Collection[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        """Load what the streaming sources have by now of a part of the day.

        Yields
        ------
        (str, numpy.ndarray or Exception, dict)
            Every symbol once: its bars, or why they cannot be had, and the columns beside them.
        """
        name = parse_interval(interval).name
        by_source: dict[int, list[str]] = {}
        for symbol in symbols:
            try:
                source = self.source_of(symbol)
            except Exception as error:
                yield symbol, error, {}
                continue
            if source is None:
                yield symbol, DataSourceError("", f"no source streams {symbol}"), {}
            else:
                by_source.setdefault(id(source), []).append(symbol)
        for streaming in self.streaming:
            left = dict.fromkeys(by_source.get(id(streaming), []))
            try:
                for symbol, bars, extras in streaming.load_between(
                    list(left), name, start_ns, end_ns
                ):
                    left.pop(symbol, None)
                    yield symbol, bars, extras
            except Exception as error:  # a source may be anybody's code
                for symbol in left:
                    yield symbol, error, {}

    def load_quotes(self, symbol: str, window: SessionWindow) -> BarArray:
        """Quotes of the day before now are not asked for: a broker has too many of them."""
        from openbell.schema import QUOTE_DTYPE

        return np.empty(0, QUOTE_DTYPE)

    def _holding(self, symbol: str) -> list[DataSource]:
        return [source for source in self.sources if source.has_symbol(symbol)]
