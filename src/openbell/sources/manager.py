"""One place to ask for data: several sources, in order of preference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date as Date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openbell.clock import SessionWindow, TimeManager
from openbell.errors import DataSourceError
from openbell.intervals import interval as parse_interval
from openbell.schema import BAR_DTYPE, NS_PER_MINUTE, QUOTE_DTYPE, BarArray
from openbell.sources.protocol import DataSource

if TYPE_CHECKING:
    from openbell.config import SessionConfig
    from openbell.sources.outages import Outage

__all__ = ["DataManager"]


class DataManager:
    """Gives each symbol's bars from the first source that has the symbol.

    Parameters
    ----------
    sources : sequence of DataSource
        In order of preference.
    time_manager : TimeManager
        Tells the window of a date.

    Attributes
    ----------
    sources : tuple of DataSource
    time_manager : TimeManager

    Raises
    ------
    DataSourceError
        When there is no source.
    """

    def __init__(self, sources: Sequence[DataSource], time_manager: TimeManager) -> None:
        if not sources:
            raise DataSourceError("", "no data source is given; name at least one")
        self.sources = tuple(sources)
        self.time_manager = time_manager
        self._source_of: dict[str, DataSource] = {}

    @classmethod
    def from_config(
        cls, config: SessionConfig, time_manager: TimeManager | None = None
    ) -> DataManager:
        """Build the sources that a configuration's ``[data]`` table names, in its order.

        Raises
        ------
        DataSourceError
            When a source is unknown, or lacks its place or its credentials.
        """
        session = config.session
        clock = time_manager or TimeManager(
            session.exchange, hours=session.hours, anchor=session.anchor
        )
        return cls(cls.sources_of(config, clock), clock)

    @staticmethod
    def sources_of(config: SessionConfig, clock: TimeManager) -> list[DataSource]:
        """Make the sources that a configuration names. Raises as :meth:`from_config` does."""
        return [_make_source(name, config, clock) for name in config.data.sources]

    def source_of(self, symbol: str) -> DataSource | None:
        """Return the first source that has the symbol, or None. Remembered once found."""
        found = self._source_of.get(symbol)
        if found is None:
            found = next((s for s in self.sources if s.has_symbol(symbol)), None)
            if found is not None:
                self._source_of[symbol] = found
        return found

    def available_intervals(self, symbol: str) -> list[str]:
        """Intervals that the symbol's source holds, finest first; empty for an unknown symbol."""
        source = self.source_of(symbol)
        return source.intervals(symbol) if source is not None else []

    def stream_intervals(self, symbol: str) -> list[str]:
        """Intervals that the symbol's bars can be streamed in: those that are available."""
        return self.available_intervals(symbol)

    def available_dates(self, symbol: str, interval: str) -> tuple[Date, Date] | None:
        """First and last date with bars of the symbol, both inclusive, or None."""
        source = self.source_of(symbol)
        return source.dates(symbol, _canonical(interval)) if source is not None else None

    def has_data(self, symbol: str, interval: str, date: Date) -> bool:
        """Whether the symbol's source has any bar of the session date."""
        source = self.source_of(symbol)
        return source is not None and source.has_data(symbol, _canonical(interval), date)

    def count(self, symbol: str, interval: str, window: SessionWindow) -> int:
        """How many bars the symbol has in the window, at most a few too many."""
        source = self.source_of(symbol)
        return source.count(symbol, _canonical(interval), window) if source is not None else 0

    def adjustment(self, symbol: str, interval: str, date: Date) -> str | None:
        """How a session's bars are adjusted, such as ``raw``; None when the source does not say."""
        source = self.source_of(symbol)
        ask = getattr(source, "adjustment", None)
        return ask(symbol, _canonical(interval), date) if ask is not None else None

    def load_historical_bars(
        self, symbol: str, interval: str, dates: Sequence[Date]
    ) -> dict[Date, BarArray]:
        """Load whole sessions of one symbol.

        Returns
        -------
        dict of datetime.date to numpy.ndarray
            ``BAR_DTYPE``, ascending; a date without bars is left out.

        Raises
        ------
        CalendarError
            When a date is not a trading day.
        DataSourceError
            When the source cannot read what it has.
        """
        source = self.source_of(symbol)
        name = _canonical(interval)
        found: dict[Date, BarArray] = {}
        if source is None:
            return found
        for date in dates:
            bars = source.load(symbol, name, self.time_manager.session_window(date))
            if len(bars):
                found[date] = bars
        return found

    def load_session_bars(
        self, symbols: Sequence[str], interval: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray]]:
        """Load one session of many symbols, each source in one pass.

        Yields
        ------
        (str, numpy.ndarray)
            Every symbol once: source by source, within one in the order asked; then those that no
            source has, with empty arrays.
        """
        name = _canonical(interval)
        by_source: dict[int, list[str]] = {}
        unknown: list[str] = []
        for symbol in dict.fromkeys(symbols):
            source = self.source_of(symbol)
            if source is None:
                unknown.append(symbol)
            else:
                by_source.setdefault(id(source), []).append(symbol)
        for source in self.sources:
            mine = by_source.pop(id(source), [])
            if len(mine) == 1:
                # Threads for one symbol would cost more than they save.
                yield mine[0], source.load(mine[0], name, window)
            elif mine:
                yield from source.load_many(mine, name, window)
        for symbol in unknown:
            yield symbol, np.empty(0, BAR_DTYPE)

    def load_extras(
        self, symbol: str, interval: str, window: SessionWindow
    ) -> dict[str, npt.NDArray[np.float64]]:
        """What the symbol's source has beside a session's bars: see ``series.trade_count``.

        Returns
        -------
        dict of str to numpy.ndarray
            ``trade_count`` and ``vwap``, float64, one for each bar, NaN where unknown; without
            those that the source does not have.
        """
        source = self.source_of(symbol)
        ask = getattr(source, "load_extras", None)
        return {} if ask is None else ask(symbol, _canonical(interval), window)

    def outages(self, date: Date) -> list[Outage]:
        """When bars may have been lost, of a day that was recorded live; by source and start."""
        found: list[Outage] = []
        for source in self.sources:
            ask = getattr(source, "outages", None)
            found.extend([] if ask is None else ask(date))
        return found

    def load_quotes(self, symbol: str, window: SessionWindow) -> BarArray:
        """Quotes of the symbol made in the window, ``QUOTE_DTYPE``; empty when there are none."""
        source = self.source_of(symbol)
        if source is None:
            return np.empty(0, QUOTE_DTYPE)
        return source.load_quotes(symbol, window)

    def close(self) -> None:
        """Let go of what sources hold open, such as connections to a broker."""
        for source in self.sources:
            close = getattr(source, "close", None)
            if close is not None:
                close()

    def __repr__(self) -> str:
        names = ", ".join(source.name for source in self.sources)
        return f"<DataManager of {names} on {self.time_manager.calendar}>"


def _canonical(interval: str) -> str:
    return parse_interval(interval).name


def _make_source(name: str, config: SessionConfig, clock: TimeManager) -> DataSource:
    data = config.data
    if name == "parquet":
        if not data.parquet:
            raise DataSourceError(name, "has no place; set [data] parquet = 'path or URI'")
        from openbell.sources.parquet import ParquetSource

        return ParquetSource(data.parquet)
    if name == "synthetic":
        from openbell.sources.synthetic import SyntheticSource

        made = data.synthetic
        return SyntheticSource(seed=made.seed, fill_rate=made.fill_rate, time_manager=clock)
    if name == "alpaca":
        from openbell.sources.alpaca import AlpacaSource

        asked = data.alpaca
        return AlpacaSource(
            feed=asked.feed,
            adjustment=asked.adjustment,
            url=asked.url,
            stream_url=asked.stream_url,
            seconds=_asks_seconds(config),
        )
    if name == "schwab":
        from openbell.sources.schwab import SchwabSource

        return SchwabSource(extended=config.session.hours != "regular")
    raise DataSourceError(name, "is unknown; expected one of parquet, synthetic, alpaca, schwab")


def _asks_seconds(config: SessionConfig) -> bool:
    session = config.session
    names = (*session.streams, *((session.base,) if session.base else ()))
    return any(parse_interval(name).step_ns < NS_PER_MINUTE for name in names)
