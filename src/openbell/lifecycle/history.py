"""History: the trading days before a session, with their quality, gaps and indicators.

Loaded for many symbols at once into plain values, and put onto a record afterwards: a load
that fails leaves nothing behind.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date as Date
from typing import TYPE_CHECKING, Any

from openbell.errors import CalendarError, DataSourceError, OpenbellError
from openbell.gaps import GapInfo
from openbell.intervals import interval as parse_interval
from openbell.lifecycle.historical_indicators import interval_of, period_days, value_of
from openbell.lifecycle.past_days import PastDays, described
from openbell.lifecycle.past_gaps import PastGaps
from openbell.schema import BarArray
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.config import SessionConfig
    from openbell.sources import DataManager

__all__ = [
    "History",
    "add_days",
    "check_adjustments",
    "load_days",
    "load_history",
]

_N_SHOWN = 5

_log = logging.getLogger("openbell.lifecycle")


@dataclass(slots=True)
class History:
    """What one symbol has of the days before a session.

    Attributes
    ----------
    symbol : str
    bars : dict of str to dict of datetime.date to numpy.ndarray
        By interval and date, both ascending by date: read-only ``BAR_DTYPE`` arrays of whole
        sessions. Days that are missing are left out.
    quality : dict of str to float or None
        100 x present / expected slots by interval, over the days asked for.
    gaps : dict of str to sequence of GapInfo
        By interval, over the days asked for, oldest first; looked for when looked at.
    indicators : dict
        By name: a float, an array for the granularity ``minute``, or None when no day is there.
    dates_read : dict of str to tuple of datetime.date
        What all this was made from: the dates of the bars used, by the interval the source holds.
    """

    symbol: str
    bars: dict[str, dict[Date, BarArray]] = field(default_factory=dict)
    quality: dict[str, float | None] = field(default_factory=dict)
    gaps: dict[str, Sequence[GapInfo]] = field(default_factory=dict)
    indicators: dict[str, Any] = field(default_factory=dict)
    dates_read: dict[str, tuple[Date, ...]] = field(default_factory=dict)

    def apply(self, rec: SymbolSessionData) -> None:
        """Put it onto a record, whose other intervals, dates and indicators stay.

        Quality and gaps of an interval that is in both are then those of this history. The
        record's dicts are replaced, not changed: who is reading them reads on undisturbed.
        """
        merged = dict(rec.historical_bars)
        for name, by_date in self.bars.items():
            merged[name] = dict(sorted((merged.get(name, {}) | by_date).items()))
        rec.historical_bars = merged
        rec.historical_quality = rec.historical_quality | self.quality
        rec.historical_gaps = rec.historical_gaps | self.gaps
        rec.historical_indicators = rec.historical_indicators | self.indicators


def load_history(
    symbols: Sequence[str],
    day: Date,
    config: SessionConfig,
    data: DataManager,
    *,
    on_progress: Callable[[int, int], object] | None = None,
) -> dict[str, History | Exception]:
    """Load what a configuration asks for of the days before a session, for many symbols.

    Each day of each interval that a source holds is read once for all symbols; an interval it
    lacks is folded from the longest one it holds that divides it. Days that are missing, or
    cannot be read, and bars that no record would take are warned of on ``openbell.lifecycle``,
    once per symbol and interval. A day of which the session's hours leave nothing, such as an
    afternoon of an early close, is not among the days asked for.

    Parameters
    ----------
    symbols : sequence of str
    day : datetime.date
        The session's; it is not among those loaded.
    config : SessionConfig
        ``[[historical]]`` and ``[historical_indicators]`` count.
    data : DataManager
    on_progress : callable, optional
        Told (symbol days read, symbol days to read) after each.

    Returns
    -------
    dict of str to History or Exception
        Every symbol, in the order asked. An exception is why the symbol has no history though
        ``[[historical]]`` asks for it: a :class:`~openbell.errors.DataSourceError` when no day of
        an interval can be had, an :class:`~openbell.errors.IntervalError` when its source holds
        nothing that gives one, or what the source raised.

    Raises
    ------
    CalendarError
        When the days begin before what the calendar is known for.
    """
    past = PastDays(data)
    found: dict[str, History | Exception] = {}
    asked: dict[str, dict[str, list[Date]]] = {}
    spans = {
        name: _open_days(period_days(item, day, data.time_manager), data)
        for name, item in config.historical_indicators.items()
    }
    unasked: dict[str, dict[str, str]] = {}
    for symbol in dict.fromkeys(symbols):
        asked[symbol] = _days_asked(symbol, day, config, data)
        try:
            past.ask(symbol, asked[symbol])
        except Exception as error:  # a source may be anybody's code
            found[symbol] = _told(error, symbol, data)
            continue
        found[symbol] = History(symbol)
        unasked[symbol] = {}
        for name, item in config.historical_indicators.items():
            try:
                past.ask(symbol, {interval_of(item): spans[name]})
            except Exception as error:
                unasked[symbol][name] = described(error)
    past.read(on_progress)
    _warn_of_refused(past)
    for symbol, history in found.items():
        if isinstance(history, Exception):
            continue
        try:
            _fill_bars(history, asked[symbol], past, data)
        except DataSourceError as error:
            found[symbol] = error
            continue
        for name, item in config.historical_indicators.items():
            if name in unasked[symbol]:
                history.indicators[name] = None
                _warn_of_none(symbol, name, unasked[symbol][name])
                continue
            key, days = interval_of(item), spans[name]
            bars = past.bars(symbol, key, days)
            history.indicators[name] = value_of(item, bars, day, data.time_manager)
            _warn_of_few(symbol, name, days, past.missing(symbol, key, days))
        history.dates_read = past.dates_read(symbol)
    return found


def load_days(
    symbol: str, interval: str, days: Sequence[Date], data: DataManager
) -> dict[Date, BarArray]:
    """Load some days of one symbol, folded where its source lacks the interval.

    Parameters
    ----------
    symbol : str
    interval : str
    days : sequence of datetime.date
        Trading days.
    data : DataManager

    Returns
    -------
    dict of datetime.date to numpy.ndarray
        In the order asked, read-only. Days without bars are left out; so are those that cannot
        be read, with a warning.

    Raises
    ------
    IntervalError
        When the source holds nothing that gives the interval. What the source raises when asked
        what it holds passes through.
    CalendarError
        When a date is not a trading day.
    """
    name = parse_interval(interval).name
    past = PastDays(data)
    past.ask(symbol, {name: days})
    past.read()
    _warn_of_refused(past)
    unreadable = past.unreadable(symbol)
    if unreadable:
        _warn_of_days(symbol, name, len(days), unreadable)
    return past.bars(symbol, name, days)


def add_days(
    rec: SymbolSessionData, interval: str, days: Mapping[Date, BarArray], data: DataManager
) -> None:
    """Put further days of an interval on a record; quality and gaps are then those of all of them.

    Parameters
    ----------
    rec : SymbolSessionData
    interval : str
    days : mapping of datetime.date to numpy.ndarray
        ``BAR_DTYPE``, whole sessions.
    data : DataManager
        Its clock tells the windows.
    """
    bars = dict(sorted({**rec.historical_bars.get(interval, {}), **days}.items()))
    clock = data.time_manager
    gaps = PastGaps(rec.symbol, interval, [(clock.session_window(d), b) for d, b in bars.items()])
    history = History(rec.symbol, {interval: bars}, {interval: gaps.quality}, {interval: gaps})
    history.apply(rec)


def check_adjustments(
    histories: Mapping[str, History | Exception],
    symbols: Iterable[str],
    base: str,
    window: SessionWindow,
    data: DataManager,
) -> None:
    """Warn when bars of the past are adjusted in another way than those of the session.

    One warning for each interval read and pair of adjustments. A source that does not say how
    its bars are adjusted warns of nothing.

    Parameters
    ----------
    histories : mapping of str to History or Exception
        As :func:`load_history` returns them.
    symbols : iterable of str
        Those to look at.
    base : str
        The interval of theirs that the session reads.
    window : SessionWindow
        The session's.
    data : DataManager
    """
    found: dict[tuple[str, str, str], dict[str, list[Date]]] = {}
    for symbol in symbols:
        history = histories[symbol]
        if isinstance(history, Exception) or not history.dates_read:
            continue
        today = _adjustment(data, symbol, base, window.date)
        if today is None:
            continue
        for name, dates in history.dates_read.items():
            for date in dates:
                then = _adjustment(data, symbol, name, date)
                if then is not None and then != today:
                    found.setdefault((name, then, today), {}).setdefault(symbol, []).append(date)
    for (name, then, today), by_symbol in found.items():
        symbols = ", ".join(list(by_symbol)[:_N_SHOWN])
        if len(by_symbol) > _N_SHOWN:
            symbols += f" and {len(by_symbol) - _N_SHOWN} more"
        days = sorted(set().union(*by_symbol.values()))
        _log.warning(
            "%s history of %s is adjusted %r, but the %s bars of %s are %r: %s",
            name, ", ".join(map(str, days)), then, base, window.date, today, symbols,
        )  # fmt: skip


def _days_asked(
    symbol: str, day: Date, config: SessionConfig, data: DataManager
) -> dict[str, list[Date]]:
    wanted: dict[str, set[Date]] = {}
    for entry in config.historical:
        if entry.symbols is None or symbol in entry.symbols:
            days = _open_days(data.time_manager.trailing_days(day, entry.trailing_days), data)
            for name in entry.intervals:
                wanted.setdefault(name, set()).update(days)
    return {name: sorted(days) for name, days in wanted.items()}


def _fill_bars(
    history: History, asked: Mapping[str, list[Date]], past: PastDays, data: DataManager
) -> None:
    symbol = history.symbol
    for name, days in asked.items():
        bars = past.bars(symbol, name, days)
        missing = past.missing(symbol, name, days)
        if not bars:
            reasons = _listed(missing) or "no day asked for has a session in these hours"
            raise DataSourceError(
                _source_name(symbol, data), f"no {name} history of {symbol}: {reasons}"
            )
        if missing:
            _warn_of_days(symbol, name, len(days), missing)
        gaps = PastGaps(
            symbol, name, [(data.time_manager.session_window(d), bars.get(d)) for d in days]
        )
        history.bars[name] = bars
        history.gaps[name] = gaps
        history.quality[name] = gaps.quality


def _open_days(days: Iterable[Date], data: DataManager) -> list[Date]:
    found = []
    for day in days:
        try:
            data.time_manager.session_window(day)
        except CalendarError:
            continue
        found.append(day)
    return found


def _told(error: Exception, symbol: str, data: DataManager) -> Exception:
    # A bare KeyError says nothing to who reads it as a reason.
    if isinstance(error, OpenbellError | OSError):
        return error
    return DataSourceError(_source_name(symbol, data), f"history of {symbol}: {described(error)}")


def _source_name(symbol: str, data: DataManager) -> str:
    try:
        source = data.source_of(symbol)
    except Exception:
        return ""
    return source.name if source is not None else ""


def _adjustment(data: DataManager, symbol: str, interval: str, day: Date) -> str | None:
    # What cannot be read now has been warned of, or was not used.
    try:
        return data.adjustment(symbol, interval, day)
    except Exception:
        return None


def _warn_of_refused(past: PastDays) -> None:
    for (symbol, name), by_date in past.refused().items():
        reasons = sum(by_date.values(), Counter())
        _log.warning(
            "%s: %d bars of %s history are left out: %s (%s)",
            symbol, reasons.total(), name,
            ", ".join(f"{n} {reason}" for reason, n in reasons.items()),
            ", ".join(map(str, sorted(by_date))),
        )  # fmt: skip


def _warn_of_days(symbol: str, name: str, n_days: int, missing: Mapping[Date, str]) -> None:
    _log.warning(
        "%s: %d of %d days of %s history are missing: %s",
        symbol, len(missing), n_days, name, _listed(missing),
    )  # fmt: skip


def _warn_of_few(symbol: str, name: str, days: Sequence[Date], missing: Mapping[Date, str]) -> None:
    if not days:
        _warn_of_none(symbol, name, "its period has no trading day")
    elif len(missing) == len(days):
        _warn_of_none(symbol, name, _listed(missing))
    elif missing:
        _log.warning(
            "%s: historical indicator %s is over %d of %d days: %s",
            symbol, name, len(days) - len(missing), len(days), _listed(missing),
        )  # fmt: skip


def _warn_of_none(symbol: str, name: str, reason: str) -> None:
    _log.warning("%s: historical indicator %s has no value: %s", symbol, name, reason)


def _listed(missing: Mapping[Date, str]) -> str:
    shown = [f"{day}: {reason}" for day, reason in list(missing.items())[:_N_SHOWN]]
    n_more = len(missing) - len(shown)
    return "; ".join(shown) + (f"; and {n_more} more" if n_more else "")
