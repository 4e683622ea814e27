"""Schwab's price history: minutes of the last weeks and months, and days."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date as Date
from datetime import datetime, timedelta
from time import monotonic
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from openbell.clock.live import LiveClock
from openbell.clock.window import SessionWindow
from openbell.errors import DataSourceError, SourceUnavailableError
from openbell.schema import (
    BAR_DTYPE,
    NS_PER_DAY,
    NS_PER_MINUTE,
    QUOTE_DTYPE,
    TICK_DTYPE,
    BarArray,
    to_datetime,
)
from openbell.sources.schwab.candles import empty_bars, read_candles
from openbell.sources.schwab.login import NAME, check_environment, client_from_environment, sdk
from openbell.sources.schwab.rest import Rest
from openbell.sources.schwab.stream import SchwabStream
from openbell.sources.streaming import Extras

__all__ = ["SchwabSource"]

#: How many days back each interval is asked for. Schwab keeps minutes for so long; of days it has
#: decades, of which two years are read.
DAYS_BACK = {"1m": 48, "5m": 270, "10m": 270, "15m": 270, "30m": 270, "1d": 730}

_MINUTES = {"1m": 1, "5m": 5, "10m": 10, "15m": 15, "30m": 30}
_EXCHANGE_ZONE = ZoneInfo("America/New_York")
# Past days are read in one request for the days after them, too: history is asked for day by day.
_READ_AHEAD_NS = 10 * NS_PER_DAY
_N_KEPT = 512
_N_AT_ONCE = 100
_ASK_AGAIN_S = 300.0
_N_IN_VAIN = 2


@dataclass(frozen=True, slots=True)
class _Kept:
    from_ns: int
    until_ns: int
    bars: BarArray


@dataclass(frozen=True, slots=True)
class _Days:
    read_on: Date
    bars: dict[Date, tuple[float, ...]]


class SchwabSource:
    """Bars from Schwab over schwab-py: `pricehistory` and the `CHART_EQUITY` stream.

    Without `client_factory` the library makes its client from its own token file: the environment
    has ``SCHWAB_API_KEY``, ``SCHWAB_APP_SECRET`` and ``SCHWAB_TOKEN_PATH``. It renews and writes
    the token; once a week it must be logged in again. Bars are labelled by their start; a request
    holds one symbol. It knows no trade counts and no volume-weighted prices. Safe from any thread.

    Parameters
    ----------
    client_factory : callable, optional
        Returns a ``schwab.client.Client``; called once, at the first request.
    extended : bool
        Whether bars before the open and after the close are asked for, too.
    retry_wait_s : float
        Before a request is sent again; twice as long before the third and last time.
    timeout_s : float
        Of a request.
    requests_per_minute : int
        More wait for their turn; Schwab allows 120.
    clock : LiveClock, optional
        Tells which bars are over.

    Attributes
    ----------
    name : str
        ``schwab``.
    stream_intervals : tuple of str
        ``1m``: what can be streamed.
    clock : LiveClock
        Replaced by that of :meth:`stream`.
    refused : collections.Counter
        How many candles were left out, by reason; see :func:`read_candles`.

    Raises
    ------
    MissingLibraryError
        When schwab-py is not installed.
    DataSourceError
        When the environment lacks a variable, or there is no token file.
    """

    name = NAME
    stream_intervals = ("1m",)

    def __init__(
        self,
        *,
        client_factory: Callable[[], Any] | None = None,
        extended: bool = False,
        retry_wait_s: float = 1.0,
        timeout_s: float = 20.0,
        requests_per_minute: int = 120,
        clock: LiveClock | None = None,
    ) -> None:
        sdk("schwab.client")
        if client_factory is None:
            check_environment()
        self.clock = clock or LiveClock()
        self.refused: Counter[str] = Counter()
        self.extended = extended
        self._rest = Rest(
            client_factory or client_from_environment,
            timeout_s=timeout_s,
            retry_wait_s=retry_wait_s,
            requests_per_minute=requests_per_minute,
        )
        self._lock = threading.Lock()
        self._days: dict[str, _Days] = {}
        self._known: dict[str, tuple[bool, float]] = {}
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def intervals(self, symbol: str) -> list[str]:
        """``1m``, ``5m``, ``10m``, ``15m``, ``30m``, ``1d`` for every symbol that it knows."""
        return list(DAYS_BACK) if self.has_symbol(symbol) else []

    def has_symbol(self, symbol: str) -> bool:
        """Whether Schwab knows the symbol; it may not have traded yet. Remembered."""
        return self._is_known(symbol) or bool(self._days_of(symbol))

    def prime(self, symbols: Sequence[str]) -> None:
        """Find out which symbols there are, a hundred in one request."""
        kind = sdk("schwab.client").Client.Quote.Fields.QUOTE
        with self._lock:
            now = monotonic()
            left = [s for s in dict.fromkeys(symbols) if not self._is_remembered(s, now)]
        for n in range(0, len(left), _N_AT_ONCE):
            part = left[n : n + _N_AT_ONCE]
            answer = self._rest.ask(
                f"whether it knows {part[0]}" + (f" and {len(part) - 1} more" if part[1:] else ""),
                lambda client, part=part: client.get_quotes(part, fields=[kind]),  # type: ignore[misc]
            )
            until = monotonic() + _ASK_AGAIN_S
            with self._lock:
                for symbol in part:
                    self._known[symbol] = (answer is not None and symbol in answer, until)

    def dates(self, symbol: str, interval: str) -> tuple[Date, Date] | None:
        """First and last date with bars that Schwab still gives, today not among them."""
        first = self._first_date(interval)
        if first is None:
            return None
        days = [day for day in self._days_of(symbol) if first <= day < self._today()]
        return (min(days), max(days)) if days else None

    def has_data(self, symbol: str, interval: str, date: Date) -> bool:
        """Whether there are bars of that date, by the daily ones; of today, asks for a bar."""
        first, today = self._first_date(interval), self._today()
        if first is None or not first <= date <= today:
            return False
        if date < today:
            return date in self._days_of(symbol)
        if interval == "1d":
            return False
        midnight = datetime(date.year, date.month, date.day, tzinfo=_EXCHANGE_ZONE)
        start_ns = int(midnight.timestamp()) * 1_000_000_000
        return len(self._bars(symbol, interval, start_ns, start_ns + NS_PER_DAY)) > 0

    def count(self, symbol: str, interval: str, window: SessionWindow) -> int:
        """How many slots the window has. Asks nobody."""
        return window.grid(interval).n_slots if interval in DAYS_BACK else 0

    def load(self, symbol: str, interval: str, window: SessionWindow) -> BarArray:
        """Bars of one session, ascending, those not over yet left out.

        Blocks for the time of a request; the days after a past one come with it and are kept.

        Raises
        ------
        SourceUnavailableError
            When asking again later may help.
        DataSourceError
            When it does not help: an unknown symbol, a refused token.
        """
        if interval == "1d":
            return self._daily_bar(symbol, window)
        if interval not in _MINUTES:
            return empty_bars()
        now_ns = self.clock.now_ns()
        if to_datetime(window.close_ns).date() < to_datetime(now_ns).date():
            return self._past_bars(symbol, interval, window.open_ns, window.close_ns, now_ns)
        return self._bars(symbol, interval, window.open_ns, window.close_ns)

    def load_many(
        self, symbols: Sequence[str], interval: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray]]:
        """The same for many symbols, one request after the other, in the order asked."""
        for symbol in symbols:
            yield symbol, self.load(symbol, interval, window)

    def load_between(
        self, symbols: Sequence[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        """Load what there is of several symbols by now, for a part of a day.

        Parameters
        ----------
        symbols : sequence of str
        interval : str
            Of minutes.
        start_ns, end_ns : int
            Labels at or after the start and before the end; bars not over yet are left out.

        Yields
        ------
        (str, numpy.ndarray or Exception, dict)
            Every symbol once, in the order asked, with nothing beside its bars;
            ``SourceUnavailableError`` when asking again later may help. When that, or a refused
            token, is the answer for two symbols one after the other, it is that of those left,
            too, which are not asked for.
        """
        in_vain, error = 0, DataSourceError(NAME, "")
        for symbol in dict.fromkeys(symbols):
            if in_vain >= _N_IN_VAIN:
                yield symbol, error, {}
                continue
            try:
                bars = self._bars(symbol, interval, start_ns, end_ns)
            except _UnknownSymbol as unknown:
                in_vain = 0
                yield symbol, unknown, {}
            except DataSourceError as caught:
                in_vain, error = in_vain + 1, caught
                yield symbol, caught, {}
            else:
                in_vain = 0
                yield symbol, bars, {}

    def load_quotes(self, symbol: str, window: SessionWindow) -> BarArray:
        """No past quotes: an empty array."""
        return np.empty(0, QUOTE_DTYPE)

    def load_ticks(self, symbol: str, window: SessionWindow) -> BarArray:
        """No past trades: an empty array."""
        return np.empty(0, TICK_DTYPE)

    def stream(
        self,
        interval: str,
        clock: LiveClock,
        *,
        quotes: bool = False,
        trades: bool = False,
        min_backoff_s: float = 1.0,
        max_backoff_s: float = 30.0,
    ) -> SchwabStream:
        """Return a stream of minute bars, and of quotes when asked for; not started.

        Parameters
        ----------
        interval : str
            ``1m``.
        clock : LiveClock
            From now on, tells which bars are over.
        quotes, trades : bool
        min_backoff_s, max_backoff_s : float
            Seconds on the wall between attempts to connect: first, and at most.

        Raises
        ------
        DataSourceError
            For another interval, and for trades: Schwab streams neither.
        """
        if interval not in self.stream_intervals:
            raise DataSourceError(NAME, f"streams 1m bars only, not {interval}")
        if trades:
            raise DataSourceError(NAME, "streams no trades; set [live] trades = false")
        self.clock = clock
        return SchwabStream(
            self._rest,
            quotes=quotes,
            min_backoff_s=min_backoff_s,
            max_backoff_s=max_backoff_s,
        )

    def close(self) -> None:
        """Close the client's connections; requests that wait for their turn end at once."""
        self._rest.close()

    def _today(self) -> Date:
        now = to_datetime(self.clock.now_ns())
        return now.astimezone(_EXCHANGE_ZONE).date()

    def _first_date(self, interval: str) -> Date | None:
        back = DAYS_BACK.get(interval)
        return None if back is None else self._today() - timedelta(days=back)

    def _bars(self, symbol: str, interval: str, start_ns: int, end_ns: int) -> BarArray:
        if interval not in _MINUTES:
            raise DataSourceError(NAME, f"has no {interval} bars for a part of a day")
        if start_ns >= end_ns:
            return empty_bars()
        over_ns = self.clock.now_ns() - _MINUTES[interval] * NS_PER_MINUTE
        bars = self._history(symbol, "minute", _MINUTES[interval], start_ns, end_ns)
        labels = bars["timestamp"]
        kept = (labels >= start_ns) & (labels < end_ns) & (labels <= over_ns)
        if not len(bars) and not self._is_known(symbol):
            raise _UnknownSymbol(symbol)
        return bars[kept]

    def _past_bars(
        self, symbol: str, interval: str, start_ns: int, end_ns: int, now_ns: int
    ) -> BarArray:
        key = (symbol, interval)
        with self._lock:
            kept = self._kept.get(key)
        if kept is None or start_ns < kept.from_ns or end_ns > kept.until_ns:
            today_ns = now_ns - now_ns % NS_PER_DAY
            until_ns = max(end_ns, min(start_ns + _READ_AHEAD_NS, today_ns))
            kept = _Kept(start_ns, until_ns, self._bars(symbol, interval, start_ns, until_ns))
            with self._lock:
                self._kept[key] = kept
                self._kept.move_to_end(key)
                while len(self._kept) > _N_KEPT:
                    self._kept.popitem(last=False)
        first, last = np.searchsorted(kept.bars["timestamp"], [start_ns, end_ns])
        return kept.bars[first:last].copy()

    def _daily_bar(self, symbol: str, window: SessionWindow) -> BarArray:
        values = self._days_of(symbol).get(window.date)
        if values is None or window.close_ns > self.clock.now_ns():
            return empty_bars()
        return np.array([(window.open_ns, *values)], BAR_DTYPE)

    def _days_of(self, symbol: str) -> dict[Date, tuple[float, ...]]:
        today = self._today()
        with self._lock:
            known = self._days.get(symbol)
        if known is None or known.read_on != today:
            now_ns = self.clock.now_ns()
            start_ns = now_ns - DAYS_BACK["1d"] * NS_PER_DAY
            try:
                bars = self._history(symbol, "daily", 1, start_ns, now_ns)
            except _UnknownSymbol:
                bars = empty_bars()
            # A day's candle is of midnight in Chicago: the date is the same in UTC.
            dates = {to_datetime(row[0]).date(): row[1:] for row in bars.tolist()}
            known = _Days(today, dates)
            if dates:
                with self._lock:
                    self._days[symbol] = known
        return known.bars

    def _is_known(self, symbol: str) -> bool:
        self.prime([symbol])
        with self._lock:
            return self._known[symbol][0]

    def _is_remembered(self, symbol: str, now: float) -> bool:
        is_known, until = self._known.get(symbol, (False, 0.0))
        return is_known or now < until

    def _history(
        self, symbol: str, unit: str, n_units: int, start_ns: int, end_ns: int
    ) -> BarArray:
        kinds = sdk("schwab.client").Client.PriceHistory
        daily = unit == "daily"
        asked = {
            "period_type": kinds.PeriodType.YEAR if daily else kinds.PeriodType.DAY,
            "frequency_type": kinds.FrequencyType(unit),
            "frequency": kinds.Frequency(n_units),
            "start_datetime": to_datetime(start_ns),
            "end_datetime": to_datetime(end_ns),
            "need_extended_hours_data": self.extended,
        }
        what = f"bars of {symbol}"
        answer = self._rest.ask(what, lambda client: client.get_price_history(symbol, **asked))
        if answer is None:
            if self._is_known(symbol):
                raise DataSourceError(NAME, f"{what}: it refuses to give those of these dates")
            raise _UnknownSymbol(symbol)
        refused: Counter[str] = Counter()
        bars = read_candles(answer, refused)
        with self._lock:
            self.refused.update(refused)
        if bars is None:
            raise SourceUnavailableError(NAME, f"{what}: its answer holds no list of candles")
        return bars

    def __repr__(self) -> str:
        return f"<SchwabSource{' of extended hours' if self.extended else ''}>"


class _UnknownSymbol(DataSourceError):
    def __init__(self, symbol: str) -> None:
        super().__init__(NAME, f"knows no symbol {symbol}")
