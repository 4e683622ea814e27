"""Made-up but lifelike bars: the same for everyone, for any day, in any order of asking.

Each (seed, symbol, date) has a stream of random bits of its own. Bits become prices by integer
arithmetic only, and the bit generator's stream is guaranteed by numpy: so the bars are the
same bytes on every machine. They are frozen; a change needs another `_FORMAT`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date as Date
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from openbell.clock import SessionWindow, TimeManager
from openbell.clock.live import LiveClock
from openbell.errors import DataSourceError, IntervalError
from openbell.intervals import interval as parse_interval
from openbell.schema import BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE, BarArray, Int64Array
from openbell.sources.columns import columns_to_bars
from openbell.sources.dataset import DatasetWriter
from openbell.sources.streaming import Extras
from openbell.sources.synthetic_stream import SyntheticStream, windows_from

__all__ = ["SyntheticSource", "synthetic_symbols", "write_sample"]

_log = logging.getLogger("openbell.sources")

_FORMAT: Final = "openbell-synthetic-1"
_ONE: Final = 1 << 16
_BLOCK_SLOTS: Final = 30
# Prices walk in sixteenths of a cent, so that cheap symbols do not jump by whole cents.
_UNITS_PER_CENT: Final = 16
# How much busier or quieter than usual a block is, in 1 / _ONE; the mean is 1.
_ACTIVITY: Final = np.array([0, _ONE // 2, _ONE * 3 // 2, _ONE * 2], np.int64)
_BITS_SET: Final = np.array([int(k).bit_count() for k in range(256)], np.int64)
_BOUNCE: Final = np.array([-1, 0, 0, 1], np.int64)
_WICK: Final = np.array([0, 0, 0, 0, 1, 1, 2, 3], np.int64)


class SyntheticSource:
    """Seeded bars on a one-second grid: a walk of the price, bursts of trading, a U-shaped day.

    Parameters
    ----------
    seed : int
        Another seed, other bars.
    fill_rate : float or mapping of str to float, optional
        Share of the seconds that have a bar, above 0 and up to 1; for all, or by symbol.
        Otherwise each symbol has one of its own between 0.2 and 1.
    symbols : sequence of str, optional
        The only symbols it knows; any name is one when absent.
    time_manager : TimeManager, optional
        Whose sessions it streams, and :meth:`load_between` knows; New York's when absent.

    Raises
    ------
    ValueError
        When a fill rate is outside (0, 1].
    """

    name = "synthetic"
    #: What it streams, finest first.
    stream_intervals = ("1s", "1m")

    def __init__(
        self,
        *,
        seed: int = 0,
        fill_rate: float | Mapping[str, float] | None = None,
        symbols: Sequence[str] | None = None,
        time_manager: TimeManager | None = None,
    ) -> None:
        rates = fill_rate.values() if isinstance(fill_rate, Mapping) else [fill_rate]
        for rate in rates:
            if rate is not None and not 0 < rate <= 1:
                raise ValueError(f"fill_rate {rate!r}: expected a share above 0 and up to 1")
        self.seed = int(seed)
        self.fill_rate = fill_rate
        self.symbols = None if symbols is None else tuple(symbols)
        self._time_manager = time_manager
        self._clock = LiveClock()

    def intervals(self, symbol: str) -> list[str]:
        """``1s``, ``1m`` and ``1d`` for every symbol it knows."""
        return ["1s", "1m", "1d"] if self.has_symbol(symbol) else []

    def has_symbol(self, symbol: str) -> bool:
        """Whether the name is one of `symbols`; always, when none were given."""
        return self.symbols is None or symbol in self.symbols

    def dates(self, symbol: str, interval: str) -> tuple[Date, Date] | None:
        """All the dates there are."""
        return (Date(1970, 1, 1), Date(2199, 12, 31)) if self._gives(symbol, interval) else None

    def has_data(self, symbol: str, interval: str, date: Date) -> bool:
        """Whether the symbol is known; it then has bars on every session date."""
        return self._gives(symbol, interval)

    def count(self, symbol: str, interval: str, window: SessionWindow) -> int:
        """How many bars :meth:`load` returns, exactly for 1s; else how many slots there are."""
        if not self._gives(symbol, interval):
            return 0
        if interval == "1s":
            return int(self._present(self._bits(symbol, window), symbol, window).sum())
        return window.grid(interval).n_slots

    def load(self, symbol: str, interval: str, window: SessionWindow) -> BarArray:
        """Bars of one session, ascending; some milliseconds for a day of seconds.

        Raises
        ------
        IntervalError
            When whole seconds do not give the interval.
        """
        if not self.has_symbol(symbol):
            return np.empty(0, BAR_DTYPE)
        bars = self._seconds(symbol, window)
        item = parse_interval(interval)
        if item.name == "1s":
            return bars
        if not parse_interval("1s").divides(item):
            raise IntervalError(interval, "cannot be made from seconds")
        return _fold(bars, window.grid(item).starts_ns)

    def load_many(
        self, symbols: Sequence[str], interval: str, window: SessionWindow
    ) -> Iterator[tuple[str, BarArray]]:
        """The same for many symbols, in the order asked."""
        for symbol in symbols:
            yield symbol, self.load(symbol, interval, window)

    def load_quotes(self, symbol: str, window: SessionWindow) -> BarArray:
        """No quotes: an empty array."""
        return np.empty(0, QUOTE_DTYPE)

    def load_ticks(self, symbol: str, window: SessionWindow) -> BarArray:
        """No trades: an empty array."""
        return np.empty(0, TICK_DTYPE)

    def stream(
        self, interval: str, clock: LiveClock, *, quotes: bool = False, trades: bool = False
    ) -> SyntheticStream:
        """Return a stream that sends each bar that :meth:`load` gives, when it is over by a clock.

        From then on :meth:`load_between` goes by that clock, too. There are no quotes and no
        trades: they are logged as absent when they are asked for.

        Raises
        ------
        DataSourceError
            When the interval is none of ``stream_intervals``.
        """
        name = parse_interval(interval).name
        if name not in self.stream_intervals:
            known = ", ".join(self.stream_intervals)
            raise DataSourceError(self.name, f"streams {known} bars, not {name}")
        if quotes or trades:
            _log.warning("%s: has neither quotes nor trades; it streams bars alone", self.name)
        self._clock = clock

        def load(symbol: str, window: SessionWindow) -> BarArray:
            return self.load(symbol, name, window)

        return SyntheticStream(self.name, load, self.has_symbol, name, clock, self._sessions)

    def load_between(
        self, symbols: Sequence[str], interval: str, start_ns: int, end_ns: int
    ) -> Iterator[tuple[str, BarArray | Exception, Extras]]:
        """Load what is over by now of a part of a day, or of several; see ``StreamingSource``."""
        windows = []
        for window in windows_from(self._sessions, start_ns):
            if window.open_ns >= end_ns:
                break
            windows.append(window)
        for symbol in symbols:
            if not self.has_symbol(symbol):
                yield symbol, DataSourceError(self.name, f"does not know {symbol}"), {}
                continue
            parts = [np.empty(0, BAR_DTYPE)]
            for window in windows:
                grid = window.grid(interval)
                bars = self.load(symbol, grid.interval.name, window)
                labels = bars["timestamp"]
                n_over = np.searchsorted(grid.ends_ns, self._clock.now_ns(), side="right")
                until_ns = end_ns if n_over == grid.n_slots else grid.starts_ns[n_over]
                first, stop = np.searchsorted(labels, (start_ns, min(end_ns, until_ns)))
                parts.append(bars[first:stop])
            yield symbol, np.concatenate(parts), {}

    @property
    def _sessions(self) -> TimeManager:
        if self._time_manager is None:
            self._time_manager = TimeManager()
        return self._time_manager

    def _gives(self, symbol: str, interval: str) -> bool:
        return interval in self.intervals(symbol)

    def _bits(self, symbol: str, window: SessionWindow) -> npt.NDArray[np.uint64]:
        n_slots = window.grid("1s").n_slots
        n_blocks = -(-n_slots // _BLOCK_SLOTS)
        key = _hash(_FORMAT, self.seed, symbol, window.date.isoformat())
        raw = np.random.PCG64(np.random.SeedSequence(key)).random_raw(n_slots + n_blocks)
        return np.asarray(raw, np.uint64)

    def _present(
        self, bits: npt.NDArray[np.uint64], symbol: str, window: SessionWindow
    ) -> npt.NDArray[np.bool_]:
        n_slots = window.grid("1s").n_slots
        rate = self._rate_of(symbol)
        activity = _ACTIVITY[_field(bits[n_slots:], 0, 2)]
        if 2 * rate >= _ONE:
            chance = _ONE - ((_ONE - rate) * activity >> 16)
        else:
            chance = rate * activity >> 16
        chances = np.repeat(chance, _BLOCK_SLOTS)[:n_slots]
        return _field(bits[:n_slots], 0, 16) < chances

    def _rate_of(self, symbol: str) -> int:
        rate = self.fill_rate
        if isinstance(rate, Mapping):
            rate = rate.get(symbol)
        if rate is None:
            low = _ONE // 5
            return low + _hash(_FORMAT, self.seed, symbol, "rate") % (_ONE - low)
        return max(1, round(rate * _ONE))

    def _seconds(self, symbol: str, window: SessionWindow) -> BarArray:
        bits = self._bits(symbol, window)
        present = self._present(bits, symbol, window)
        starts_ns = window.grid("1s").starts_ns
        n = len(starts_ns)
        bits = bits[:n]
        cents = self._first_price(symbol, window.date)
        step = (_BITS_SET[_field(bits, 16, 8)] - 4) * max(1, cents * 11 // 10_000)
        # At least a cent and a half: what a wick and a bounce may take off.
        walk = np.maximum(cents * _UNITS_PER_CENT + np.cumsum(step), 5 * _UNITS_PER_CENT)
        close = (walk + _UNITS_PER_CENT // 2) // _UNITS_PER_CENT
        open = np.concatenate(([cents], close[:-1])) + _BOUNCE[_field(bits, 24, 2)]
        high = np.maximum(open, close) + _WICK[_field(bits, 26, 3)]
        low = np.minimum(open, close) - _WICK[_field(bits, 29, 3)]
        from_middle = 2 * np.arange(n, dtype=np.int64) + 1 - n
        shape = 16 + 48 * from_middle * from_middle // (n * n)
        size = _field(bits, 32, 8) * _field(bits, 40, 8) * _field(bits, 48, 8) >> 12
        volume = (1 + size) * shape >> 4
        return columns_to_bars(
            starts_ns[present],
            open[present] / 100.0,
            high[present] / 100.0,
            low[present] / 100.0,
            close[present] / 100.0,
            volume[present].astype(np.float64),
        )

    def _first_price(self, symbol: str, date: Date) -> int:
        base = 1500 + _hash(_FORMAT, self.seed, symbol, "price") % 48_500
        drift = _hash(_FORMAT, self.seed, symbol, date.isoformat(), "drift") % 801 - 400
        return base * (10_000 + drift) // 10_000

    def __repr__(self) -> str:
        return f"SyntheticSource(seed={self.seed})"


def synthetic_symbols(n: int) -> list[str]:
    """Return `n` made-up symbols: ``SYN001``, ``SYN002``, ..."""
    width = max(3, len(str(n)))
    return [f"SYN{k:0{width}d}" for k in range(1, n + 1)]


def write_sample(
    root: str | Path,
    symbols: Sequence[str],
    dates: Sequence[Date],
    *,
    calendar: str = "XNYS",
    intervals: Sequence[str] = ("1s",),
    seed: int = 0,
    fill_rate: float | Mapping[str, float] | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Path]:
    """Write synthetic bars as a dataset.

    Parameters
    ----------
    root : str or Path
    symbols : sequence of str
    dates : sequence of datetime.date
        Trading days of `calendar`.
    calendar : str
    intervals : sequence of str
    seed, fill_rate
        As for :class:`SyntheticSource`.
    on_progress : callable, optional
        Told (date files written, date files in all) after each.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    CalendarError
        When the calendar is unknown, or a date is not a trading day.
    """
    clock = TimeManager(calendar)
    source = SyntheticSource(seed=seed, fill_rate=fill_rate)
    writer = DatasetWriter(root, calendar=clock.calendar, timezone=clock.timezone)
    paths: list[Path] = []
    for date in dates:
        window = clock.session_window(date)
        for name in intervals:
            bars = dict(source.load_many(symbols, name, window))
            paths.append(writer.write(date, bars, interval=name).path)
            if on_progress is not None:
                on_progress(len(paths), len(dates) * len(intervals))
    return paths


def _hash(*parts: object) -> int:
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")


def _field(bits: npt.NDArray[np.uint64], shift: int, width: int) -> Int64Array:
    return ((bits >> np.uint64(shift)) & np.uint64((1 << width) - 1)).astype(np.int64)


def _fold(bars: BarArray, starts_ns: Int64Array) -> BarArray:
    slots = np.searchsorted(starts_ns, bars["timestamp"], side="right") - 1
    if len(slots) == 0:
        return np.empty(0, BAR_DTYPE)
    first = np.flatnonzero(np.append(True, np.diff(slots) > 0))
    last = np.append(first[1:], len(bars)) - 1
    return columns_to_bars(
        starts_ns[slots[first]],
        bars["open"][first],
        np.maximum.reduceat(bars["high"], first),
        np.minimum.reduceat(bars["low"], first),
        bars["close"][last],
        np.add.reduceat(bars["volume"], first),
    )
