"""Step 0: may a symbol be loaded for a day, and if not, why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date as Date
from functools import lru_cache
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from openbell.errors import DataSourceError, IntervalError, SchemaError, SessionValidationError
from openbell.intervals import interval
from openbell.lifecycle.past_days import named
from openbell.lifecycle.streams import history_base, plan_streams

if TYPE_CHECKING:
    from openbell.config import SessionConfig
    from openbell.sources import DataManager

__all__ = [
    "SymbolValidationResult",
    "SymbolValidator",
    "leave_out",
    "require_any",
]

DateRange = tuple[Date, Date]

_Args = ParamSpec("_Args")
_Found = TypeVar("_Found")

_log = logging.getLogger("openbell.lifecycle")


@dataclass(slots=True)
class SymbolValidationResult:
    """Whether a symbol may be loaded for a day, and what was found out about it.

    Attributes
    ----------
    symbol : str
    can_proceed : bool
        Whether it may be loaded.
    reason : str
        Why not; empty when it may.
    data_source_available : bool
        Whether a source has the symbol, of any interval and day.
    data_source : str or None
        Name of the first source, by priority, that has it. No other is asked.
    intervals_supported : list of str
        What that source holds of it.
    base_interval : str or None
        What will be streamed.
    derived_intervals : list of str
        What will be folded from it, ascending.
    has_historical_data : bool
        Whether there are bars before the day; see :meth:`SymbolValidator.check_history`.
    historical_date_range : (date, date) or None
        First and last date with bars, inclusive; the day itself and later ones count.
    meets_config_requirements : bool
        Whether all that the config asks of the symbol can be had: its streams, bars of the day,
        and some day of each history. A symbol that does not meet them may not proceed.
    """

    symbol: str
    can_proceed: bool = False
    reason: str = ""
    data_source_available: bool = False
    data_source: str | None = None
    intervals_supported: list[str] = field(default_factory=list)
    base_interval: str | None = None
    derived_intervals: list[str] = field(default_factory=list)
    has_historical_data: bool = False
    historical_date_range: DateRange | None = None
    meets_config_requirements: bool = False


class SymbolValidator:
    """Validates symbols by five checks, each of which can be made by itself.

    Nothing is loaded. A symbol belongs to the first source, by priority, that has it: a source
    that breaks when it is asked fails the symbol instead of leaving it to the next one, whose
    data would be a surprise.

    A check made by itself raises whatever the source raises; :meth:`validate` makes that the
    symbol's reason. It may be used by several threads.

    Parameters
    ----------
    config : SessionConfig
    data : DataManager
    """

    def __init__(self, config: SessionConfig, data: DataManager) -> None:
        self.config = config
        self.data = data
        self._plan = lru_cache(64)(plan_streams)
        self._history_base = lru_cache(64)(history_base)
        self._trailing_days = lru_cache(16)(data.time_manager.trailing_days)

    def check_data_source(self, symbol: str) -> str | None:
        """Return the name of the first source, by priority, that has the symbol, or None."""
        source = self.data.source_of(symbol)
        return source.name if source is not None else None

    def check_intervals(self, symbol: str, source: str) -> list[str]:
        """Return the intervals that a source holds of a symbol, as the source orders them.

        Raises
        ------
        DataSourceError
            When no source has that name.
        IntervalError
            When the source names one that is none.
        """
        own = self.data.source_of(symbol)
        named = [s for s in (own, *self.data.sources) if s is not None and s.name == source]
        if not named:
            raise DataSourceError(source, f"is not one of the sources: {self._source_names()}")
        return [interval(name).name for name in named[0].intervals(symbol)]

    def check_compatibility(self, required: Iterable[str], available: Iterable[str]) -> bool:
        """Whether one of the intervals available is, or divides, every one required."""
        try:
            self._plan(tuple(required), tuple(available))
        except IntervalError:
            return False
        return True

    def check_history(self, symbol: str, day: Date) -> tuple[bool, DateRange | None]:
        """Tell whether there are bars before a day, and the dates with bars.

        Looks at what the configured history is read from, and at every interval that is held
        where the config asks for no history of the symbol.

        Returns
        -------
        (bool, (first, last) or None)
            Both dates inclusive; `day` itself and later ones count in them.
        """
        return self._history(symbol, day, self.data.available_intervals(symbol))

    def check_data(self, symbol: str, interval: str, day: Date) -> bool:
        """Whether the symbol's source holds any bar of an interval on a day."""
        return self.data.has_data(symbol, interval, day)

    def validate(self, symbol: str, day: Date) -> SymbolValidationResult:
        """Make all the checks of one symbol for one day. Nobody is warned.

        To be streamed is the smallest interval that gives all the streams and has bars of the
        day, or the configured base. Of each history that the config asks for, some day must be
        there. What a check raises is the symbol's reason, whatever it is.
        """
        result = SymbolValidationResult(symbol)
        try:
            self._examine(result, day)
        except _CheckBrokeError as broke:
            result.reason = result.reason or str(broke)
        result.can_proceed = result.meets_config_requirements = not result.reason
        return result

    def validate_many(
        self,
        symbols: Iterable[str],
        day: Date,
        into: dict[str, SymbolValidationResult] | None = None,
    ) -> dict[str, SymbolValidationResult]:
        """Validate symbols for a day; each that fails is warned of once.

        Parameters
        ----------
        symbols : iterable of str
        day : datetime.date
        into : dict, optional
            Takes the results as well, also when all fail.

        Returns
        -------
        dict of str to SymbolValidationResult
            Of every symbol, in the order asked.

        Raises
        ------
        SessionValidationError
            When there are symbols and all of them fail: with every reason, and without warnings.
        """
        results = {symbol: self.validate(symbol, day) for symbol in dict.fromkeys(symbols)}
        if into is not None:
            into.update(results)
        if results:
            require_any(results)
        for result in results.values():
            if not result.can_proceed:
                leave_out(result, day, result.reason)
        return results

    def _examine(self, result: SymbolValidationResult, day: Date) -> None:
        symbol = result.symbol
        source = _run("data source", self.check_data_source, symbol)
        if source is None:
            result.reason = self._why_unknown(symbol)
            return
        result.data_source, result.data_source_available = source, True
        result.intervals_supported = _run("intervals", self.check_intervals, symbol, source)
        result.reason = self._choose_streams(result, day)
        result.has_historical_data, result.historical_date_range = _run(
            "history", self._history, symbol, day, result.intervals_supported
        )
        result.reason = result.reason or _run("history", self._why_no_history, result, day)

    def _choose_streams(self, result: SymbolValidationResult, day: Date) -> str:
        session, symbol = self.config.session, result.symbol
        left = list(result.intervals_supported)
        tried: list[str] = []
        while True:
            try:
                plan = self._plan(session.streams, tuple(left), session.base)
            except IntervalError as error:
                if not tried:
                    return f"{result.data_source} has this symbol, but {error}"
                return self._why_no_bars(result, tried, day)
            result.base_interval, result.derived_intervals = plan.base, list(plan.derived)
            if _run("data of the day", self.check_data, symbol, plan.base, day):
                return ""
            # A coarser one may hold a day that the smallest lacks, and serve as well.
            tried.append(plan.base)
            left = [name for name in left if name != plan.base]

    def _why_unknown(self, symbol: str) -> str:
        # Spellings that vendors differ in; asked for only when the symbol fails anyway.
        upper = str(symbol).upper()
        others = dict.fromkeys([upper, upper.replace("-", "."), upper.replace(".", "-")])
        others.pop(symbol, None)
        close = ""
        for other in others:
            with suppress(Exception):
                if self.data.source_of(other) is not None:
                    close = f"; did you mean {other!r}?"
                    break
        return f"unknown symbol: no source has it (asked: {self._source_names()}){close}"

    def _why_no_bars(self, result: SymbolValidationResult, names: Sequence[str], day: Date) -> str:
        result.reason = (
            f"{result.data_source} has this symbol, but no {' or '.join(names)} bars of {day}"
        )
        span = _run("history", self.data.available_dates, result.symbol, names[0])
        if span is None:
            return result.reason
        first, last = span
        if day < first:
            where = f"those it has begin on {first}"
        elif day > last:
            where = f"those it has end on {last}"
        else:
            where = f"it has others, from {first} to {last}"
        return f"{result.reason}; {where}"

    def _history(
        self, symbol: str, day: Date, held: Sequence[str]
    ) -> tuple[bool, DateRange | None]:
        read: set[str] = set()
        for name, _ in self._asked_history(symbol):
            with suppress(IntervalError):
                read.add(self._history_base(name, tuple(held)))
        spans = [self.data.available_dates(symbol, name) for name in sorted(read or held)]
        found = [span for span in spans if span is not None]
        if not found:
            return False, None
        first, last = min(a for a, _ in found), max(b for _, b in found)
        return first < day, (first, last)

    def _why_no_history(self, result: SymbolValidationResult, day: Date) -> str:
        symbol, source = result.symbol, result.data_source
        held = tuple(result.intervals_supported)
        for name, n_days in self._asked_history(symbol):
            try:
                base = self._history_base(name, held)
            except IntervalError as error:
                return f"its history: {error}"
            unreadable: list[Exception] = []
            # The newest first: it is the one most likely to be there.
            for past in reversed(self._trailing_days(day, n_days)):
                try:
                    if self.check_data(symbol, base, past):
                        break
                except (DataSourceError, SchemaError, OSError) as error:
                    # A past day that cannot be read is as good as missing.
                    unreadable.append(error)
            else:
                return (
                    f"{source} has no {base} bars of the {n_days} trading days before {day}, "
                    f"and the config asks for {name} history"
                    + (f" ({named(unreadable[0])})" if unreadable else "")
                )
        return ""

    def _asked_history(self, symbol: str) -> Iterator[tuple[str, int]]:
        for wanted in self.config.historical:
            if wanted.symbols is None or symbol in wanted.symbols:
                for name in wanted.intervals:
                    yield name, wanted.trailing_days

    def _source_names(self) -> str:
        return ", ".join(source.name for source in self.data.sources)


def leave_out(result: SymbolValidationResult, day: Date, reason: str) -> None:
    """Mark a symbol as one that is not loaded, and warn of it."""
    result.reason = reason
    result.can_proceed = result.meets_config_requirements = False
    _log.warning("%s %s: left out: %s", day, result.symbol, reason)


def require_any(results: Mapping[str, SymbolValidationResult]) -> None:
    """Raise SessionValidationError, with every symbol's reason, when none may be loaded."""
    if not any(result.can_proceed for result in results.values()):
        raise SessionValidationError({r.symbol: r.reason for r in results.values()})


class _CheckBrokeError(Exception):
    pass


def _run(
    check: str, call: Callable[_Args, _Found], *args: _Args.args, **others: _Args.kwargs
) -> _Found:
    try:
        return call(*args, **others)
    except _CheckBrokeError:
        raise
    except Exception as error:
        raise _CheckBrokeError(f"the check of its {check} broke: {named(error)}") from error
