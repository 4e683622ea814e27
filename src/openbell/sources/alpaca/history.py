"""Alpaca as a source: what it holds of past and running sessions, and its stream.

Its bars of 5, 15 and 30 minutes begin on the clock, and so at every usual open; those of an
hour begin at 09:00 and would mix the half hour before the open with the one after it. They are
not offered: openbell derives its own from minutes.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import date as Date
from datetime import datetime, timedelta
from typing import Final, Literal, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from openbell.clock.live import LiveClock
from openbell.clock.window import SessionWindow
from openbell.errors import ArgumentError, DataSourceError, IntervalError
from openbell.intervals import interval as parse_interval
from openbell.schema import BAR_DTYPE, BarArray, to_datetime, to_ns
from openbell.sources.alpaca.keys import NAME, Keys
from openbell.sources.alpaca.pages import (
    Page,
    Rows,
    bars_of,
    joined,
    quotes_of,
    seconds_of,
    taken,
    ticks_of,
)
from openbell.sources.alpaca.rest import BadRequestError, RestClient
from openbell.sources.alpaca.stream import AlpacaStream
from openbell.sources.streaming import Extras

__all__ = ["AlpacaSource"]

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Alpaca's data begins there.
_FIRST_DATE: Final = Date(2016, 1, 1)
#: Where the days begin by which its daily bars are labelled.
_ZONE: Final = ZoneInfo("America/New_York")
_FEEDS: Final = ("iex", "sip")
_ADJUSTMENTS: Final = ("raw", "split", "dividend", "all")
_INTERVALS: Final = ("1m", "5m", "15m", "30m", "1d")
#: Symbols in one request: of an address as long as servers take, and of trades, which are many.
_CHUNK, _CHUNK_OF_TRADES = 100, 8


class AlpacaSource:
    """US stocks from Alpaca.

    Parameters
    ----------
    feed : "iex" or "sip"
        One exchange's trades, or those of all; the second needs a subscription.
    adjustment : "raw", "split", "dividend" or "all"
        Of bars over REST; the stream's are raw.
    url, stream_url : str, optional
        Where it answers and streams, when not at its own place.
    seconds : bool
        Whether to offer ``1s`` too, made from trades.
    retry_wait_s : float
        How long to wait before a failed request is made again; doubled each time.
    timeout_s : float
        How long an answer may take to begin.

    Attributes
    ----------
    stream_intervals : tuple of str
        What can be streamed.
    clock : LiveClock
        By which bars are over; that of the latest stream.
    n_garbage : int
        Rows of answers left out as they could not be understood.

    Raises
    ------
    ArgumentError
        When the feed or the adjustment is another.
    DataSourceError
        When ``APCA_API_KEY_ID`` or ``APCA_API_SECRET_KEY`` is not in the environment.
    MissingLibraryError
        When alpaca-py is not installed.
    """

    name = NAME

    def __init__(
        self,
        *,
        feed: Literal["iex", "sip"] = "iex",
        adjustment: Literal["raw", "split", "dividend", "all"] = "raw",
        url: str | None = None,
        stream_url: str | None = None,
        seconds: bool = False,
        retry_wait_s: float = 1.0,
        timeout_s: float = 20.0,
    ) -> None:
        for name, given, known in (
            ("feed", feed, _FEEDS), ("adjustment", adjustment, _ADJUSTMENTS),
        ):  # fmt: skip
            if given not in known:
                raise ArgumentError(name, given, f"one of {', '.join(known)}")
        self._keys = Keys.from_environment()
        self._rest = RestClient(
            self._keys,
            feed=feed,
            adjustment=adjustment,
            url=url,
            timeout_s=timeout_s,
            retry_wait_s=retry_wait_s,
            on_garbage=self._note_garbage,
        )
        self._feed, self._adjustment, self._stream_url = feed, adjustment, stream_url
        self._seconds = seconds
        self.clock = LiveClock()
        self.n_garbage = 0
        self.stream_intervals = ("1s", "1m") if seconds else ("1m",)
        self._lock = threading.Lock()
        self._known: set[str] = set()
        #: Of each past date: which symbols were asked about, and which of them have bars.
        self._asked_of: dict[Date, set[str]] = {}
        self._held_on: dict[Date, set[str]] = {}

    def intervals(self, symbol: str) -> list[str]:
        """``1m``, ``5m``, ``15m``, ``30m`` and ``1d``, before them ``1s`` when it is offered."""
        if not self.has_symbol(symbol):
            return []
        return [*(("1s",) if self._seconds else ()), *_INTERVALS]

    def has_symbol(self, symbol: str) -> bool:
        """Whether Alpaca's feed ever had a bar or a trade of it: one request, then remembered."""
        if symbol not in self._known:
            self.prime([symbol])
        return symbol in self._known

    def prime(self, symbols: Sequence[str]) -> None:
        """Find out which symbols there are, a hundred in one request."""
        for ask in (self._rest.with_latest_bar, self._rest.with_latest_trade):
            left = [s for s in dict.fromkeys(symbols) if s not in self._known]
            for group, answer in _by_chunk(left, _CHUNK, ask):
                if isinstance(answer, BadRequestError):
                    continue
                if isinstance(answer, Exception):
                    raise answer
                with self._lock:
                    self._known.update(answer.intersection(group))

    def dates(self, symbol: str, interval: str) -> tuple[Date, Date] | None:
        """From where Alpaca's data begins to today; not asked for each symbol."""
        if interval not in self.intervals(symbol):
            return None
        return _FIRST_DATE, self._today()

    def has_data(self, symbol: str, interval: str, date: Date) -> bool:
        """Whether the symbol was traded on a date.

        Of a past date one request tells it of all symbols known so far, and is remembered; today
        is asked about anew, as the symbol may be traded yet.
        """
        if interval not in self.intervals(symbol):
            return False
        is_past = date < self._today()
        with self._lock:
            asked = self._asked_of.setdefault(date, set()) if is_past else set()
            held = self._held_on.setdefault(date, set()) if is_past else set()
            if symbol in asked:
                return symbol in held
            left = {symbol, *(self._known - asked)} if is_past else {symbol}
        start_ns, end_ns = _day(date)

        def ask(symbols: Sequence[str]) -> set[str]:
            pages = self._rest.bars(symbols, "1d", start_ns, end_ns)
            return {s for s, page in pages.items() if len(page.ts_ns)}

        for group, answer in _by_chunk(sorted(left), _CHUNK, ask):
            if isinstance(answer, BadRequestError):
                continue
            if isinstance(answer, Exception):
                raise answer
            with self._lock:
                asked.update(group)
                held.update(answer.intersection(group))
        return symbol in held

    def count(self, symbol: str, interval: str, window: SessionWindow) -> int:
        """How many slots the window has: no more bars than that."""
        return window.grid(interval).n_slots if interval in self.intervals(symbol) else 0

    def adjustment(self, symbol: str, interval: str, date: Date) -> str | None:
        """How its bars are adjusted: as it was told."""
        return "raw" if interval == "1s" else self._adjustment

    def load(self, symbol: str, interval: str, window: SessionWindow) -> BarArray:
        """Bars of one session that are over by now, ascending.

        Raises
        ------
        SourceUnavailableError
            When Alpaca does not answer.
        DataSourceError
            When it refuses, or its bars of that interval do not begin at the window's open.
        """
        _, found = next(self._load_session([symbol], interval, window))
        if isinstance(found, Exception):
            raise found
        return found

    def load_many(
        self, symbols: Sequence[str], interval: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray]]:
        """The same for many symbols, in the order asked, as few requests as their pages allow.

        A symbol that Alpaca refuses is warned of, and has no bars.
        """
        for symbol, found in self._load_session(symbols, interval, window):
            if isinstance(found, BadRequestError):
                log.warning("no bars of %s: %s", symbol, found)
                yield symbol, np.empty(0, BAR_DTYPE)
            elif isinstance(found, Exception):
                raise found
            else:
                yield symbol, found

    def load_days(
        self, symbol: str, interval: str, windows: Sequence[SessionWindow]
    ) -> dict[Date, BarArray]:
        """Bars of several sessions of one symbol, by one request and its pages.

        Parameters
        ----------
        windows : sequence of SessionWindow
            What lies between them is asked for too: they should be days in a row.

        Returns
        -------
        dict of datetime.date to numpy.ndarray
            In the order of the windows; a session without bars is left out. Raises as
            :meth:`load` does.
        """
        if not windows:
            return {}
        self._check_held(interval)
        spans = [self._span(interval, window) for window in windows]
        first, last = min(start for start, _ in spans), max(end for _, end in spans)
        [(_, found, _)] = self._load([symbol], interval, first, last)
        if isinstance(found, Exception):
            raise found
        days: dict[Date, BarArray] = {}
        for window, (start_ns, end_ns) in zip(windows, spans, strict=True):
            low, high = np.searchsorted(found["timestamp"], (start_ns, end_ns))
            bars = self._of_session(found[low:high].copy(), interval, window)
            if len(bars):
                days[window.date] = bars
        return days

    def load_between(
        self, symbols: Sequence[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        """Load what there is by now for a part of a day; see :class:`StreamingSource`.

        Yields
        ------
        (str, numpy.ndarray or Exception, dict)
            Every symbol once; the dict has ``trade_count`` and ``vwap``, float64, as long as the
            bars, and is empty beside an exception.
        """
        if interval == "1d":
            reason = "has a day's bar by its session only; load it with the session's window"
            yield from ((s, DataSourceError(NAME, reason), {}) for s in dict.fromkeys(symbols))
            return
        yield from self._load(symbols, interval, start_ns, end_ns)

    def load_quotes(self, symbol: str, window: SessionWindow) -> BarArray:
        """Quotes made in the window, ``QUOTE_DTYPE``; tens of thousands to millions of them."""
        found = self._rest.quotes([symbol], window.open_ns, window.close_ns)
        return _inside(quotes_of(found.get(symbol) or joined("quotes", [])), window)

    def load_ticks(self, symbol: str, window: SessionWindow) -> BarArray:
        """Trades made in the window, ``TICK_DTYPE``, whatever their conditions."""
        found = self._rest.trades([symbol], window.open_ns, window.close_ns)
        return _inside(ticks_of(found.get(symbol) or joined("trades", [])), window)

    def stream(
        self,
        interval: str,
        clock: LiveClock,
        *,
        quotes: bool = False,
        trades: bool = False,
        min_backoff_s: float = 1.0,
        max_backoff_s: float = 30.0,
    ) -> AlpacaStream:
        """Return a stream of bars, not started. From now on bars are over by its clock.

        Parameters
        ----------
        interval : "1m" or "1s"
        clock : LiveClock
        quotes, trades : bool
            Whether these are sent too.
        min_backoff_s, max_backoff_s : float
            How long to wait before connecting anew, in seconds of the wall; doubled each time.

        Raises
        ------
        DataSourceError
            When the interval is another, or ``1s`` and the source was not made with seconds.
        """
        if interval not in self.stream_intervals:
            streamed = " and ".join(self.stream_intervals)
            raise DataSourceError(NAME, f"does not stream {interval}; it streams {streamed}")
        self.clock = clock
        return AlpacaStream(
            self._keys,
            interval=interval,
            clock=clock,
            feed=self._feed,
            url=self._stream_url,
            quotes=quotes,
            trades=trades,
            min_backoff_s=min_backoff_s,
            max_backoff_s=max_backoff_s,
        )

    def close(self) -> None:
        """Close its connections. What is being waited for gives up."""
        self._rest.close()

    def _load_session(
        self, symbols: Sequence[str], interval: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray | Exception]]:
        self._check_held(interval)
        for symbol, found, _ in self._load(symbols, interval, *self._span(interval, window)):
            if isinstance(found, Exception):
                yield symbol, found
            else:
                yield symbol, self._of_session(found, interval, window)

    def _span(self, interval: str, window: SessionWindow) -> tuple[int, int]:
        if interval == "1d":
            return _day(window.date)
        _check_aligned(interval, window)
        return window.open_ns, window.close_ns

    def _of_session(self, bars: BarArray, interval: str, window: SessionWindow) -> BarArray:
        if interval != "1d":
            return _inside(bars, window)
        if self.clock.now_ns() < window.close_ns:
            return bars[:0]
        # Theirs is labelled by the day's midnight.
        bars["timestamp"] = window.open_ns
        return bars[-1:]

    def _load(
        self, symbols: Sequence[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        self._check_held(interval)
        is_trades = interval == "1s"

        def ask(names: Sequence[str]) -> dict[str, Page]:
            if start_ns >= end_ns:
                return {}
            if is_trades:
                return self._rest.trades(names, start_ns, end_ns)
            return self._rest.bars(names, interval, start_ns, end_ns)

        size = _CHUNK_OF_TRADES if is_trades else _CHUNK
        for group, answer in _by_chunk(list(dict.fromkeys(symbols)), size, ask):
            for symbol in group:
                if isinstance(answer, Exception):
                    yield symbol, answer, {}
                    continue
                page = answer.get(symbol) or joined("trades" if is_trades else "bars", [])
                page = taken(page, (page.ts_ns >= start_ns) & (page.ts_ns < end_ns))
                made = seconds_of(page) if is_trades else bars_of(page)
                yield symbol, *self._over(made, interval)

    def _check_held(self, interval: str) -> None:
        if interval not in _INTERVALS and not (interval == "1s" and self._seconds):
            raise IntervalError(interval, f"Alpaca holds {', '.join(_INTERVALS)}")

    def _over(self, made: Rows, interval: str) -> Rows:
        # Those that are over. Whether a day is over, its session tells.
        bars, extras = made
        if interval == "1d":
            return made
        is_over = bars["timestamp"] + parse_interval(interval).step_ns <= self.clock.now_ns()
        if is_over.all():
            return made
        return bars[is_over], {name: column[is_over] for name, column in extras.items()}

    def _note_garbage(self, n: int, what: str) -> None:
        with self._lock:
            is_first = self.n_garbage == 0
            self.n_garbage += n
        if is_first:
            log.warning("alpaca: %d %s make no sense and are left out, as others will be", n, what)

    def _today(self) -> Date:
        return to_datetime(self.clock.now_ns()).astimezone(_ZONE).date()

    def __repr__(self) -> str:
        return f"<AlpacaSource of {self._feed}, {self._adjustment}>"


def _by_chunk(
    symbols: Sequence[str], size: int, ask: Callable[[Sequence[str]], T]
) -> Iterator[tuple[Sequence[str], T | DataSourceError]]:
    # One symbol that is refused takes all of its request with it, without being named: halves
    # are asked for until it is alone. What breaks one request would break the others too.
    left = [symbols[k : k + size] for k in range(0, len(symbols), size)]
    broken: DataSourceError | None = None
    while left:
        group = left.pop(0)
        answer: T | DataSourceError = _asked(ask, group) if broken is None else broken
        if isinstance(answer, BadRequestError):
            if len(group) > 1:
                middle = len(group) // 2
                left[:0] = [group[:middle], group[middle:]]
                continue
        elif isinstance(answer, DataSourceError):
            broken = answer
        yield group, answer


def _asked(ask: Callable[[Sequence[str]], T], group: Sequence[str]) -> T | DataSourceError:
    for symbol in group:
        # In a request it would be two symbols, or none.
        if not symbol or "," in symbol or any(c.isspace() for c in symbol):
            return BadRequestError(NAME, f"{symbol!r} is no symbol")
    try:
        return ask(group)
    except BadRequestError as error:
        reason = error.reason
    except DataSourceError as error:
        return error
    return BadRequestError(NAME, f"{group[0]}: {reason}" if len(group) == 1 else reason)


def _day(date: Date) -> tuple[int, int]:
    starts = (datetime(d.year, d.month, d.day, tzinfo=_ZONE) for d in (date, date + timedelta(1)))
    start, end = starts
    return to_ns(start), to_ns(end)


def _check_aligned(interval: str, window: SessionWindow) -> None:
    # Its buckets begin on the clock, in whole halves of an hour at the most.
    step_ns = parse_interval(interval).step_ns
    if any(opened % step_ns for opened, _ in window.segments):
        reason = f"its {interval} bars do not begin at {window.open:%H:%M} UTC, the open; use 1m"
        raise DataSourceError(NAME, reason)


def _inside(rows: BarArray, window: SessionWindow) -> BarArray:
    ts_ns = rows["timestamp"]
    is_inside = np.zeros(len(rows), bool)
    for opened, closed in window.segments:
        is_inside |= (ts_ns >= opened) & (ts_ns < closed)
    return rows if is_inside.all() else rows[is_inside]
