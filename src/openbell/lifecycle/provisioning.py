"""Symbols and indicators that come and go while a day runs.

Whoever asks gets the answer of a check at once; loading is done by the thread that replays,
between two slices. What waits for that is the only thing kept here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from openbell._native.values import BarData
from openbell.config import IndicatorConfig
from openbell.errors import (
    ArgumentError,
    IntervalError,
    OpenbellError,
    RecordDetached,
)
from openbell.intervals import interval as parse_interval
from openbell.lifecycle.history import add_days, load_days
from openbell.lifecycle.loading import Fetched, SymbolLoader
from openbell.lifecycle.past_days import described
from openbell.lifecycle.streams import history_base
from openbell.lifecycle.validation import SymbolValidationResult, SymbolValidator, leave_out
from openbell.processing.indicators import check_indicator, history_days
from openbell.schema import BarArray, to_datetime
from openbell.sources.streaming import Extras
from openbell.symbol import AddedBy, SymbolSessionData

if TYPE_CHECKING:
    from datetime import date as Date

    from openbell._native.replay import ReplayCursor
    from openbell.clock.window import SessionWindow
    from openbell.lifecycle.day import DayCursor
    from openbell.session import SessionData
    from openbell.sources import DataManager

__all__ = ["Provisioning"]

_log = logging.getLogger("openbell.lifecycle")


#: The interval of a day's bars, the bars, and what is beside them.
Stream = tuple[str, BarArray, Extras]

_REQUESTERS = ("strategy", "scanner")


@dataclass(slots=True, eq=False)
class Request:
    """What waits to be loaded: a symbol in full, or one indicator of it."""

    symbol: str
    asked_ns: int
    added_by: AddedBy
    result: SymbolValidationResult | None = None
    indicator: IndicatorConfig | None = None
    is_started: bool = False


class Provisioning:
    """Takes symbols into a running day and out of it.

    Parameters
    ----------
    root : SessionData
    data : DataManager
    validator : SymbolValidator
    loader : SymbolLoader
    on_loaded : callable
        Told each record when it is loaded.

    Attributes
    ----------
    results : dict of str to SymbolValidationResult
        Where the newest check of each symbol is kept.
    """

    def __init__(
        self,
        root: SessionData,
        data: DataManager,
        validator: SymbolValidator,
        loader: SymbolLoader,
        on_loaded: Callable[[SymbolSessionData], None],
    ) -> None:
        self._root = root
        self._data = data
        self._validator = validator
        self._loader = loader
        self.results: dict[str, SymbolValidationResult] = {}
        self._on_loaded = on_loaded
        self._is_strict = validator.config.session.strict
        self._requests: list[Request] = []
        self._lock = threading.RLock()

    @property
    def has_requests(self) -> bool:
        """Whether anything waits to be loaded."""
        return bool(self._requests)

    def pending(self) -> dict[str, datetime]:
        """When each symbol that waits was first asked for, by the session's clock."""
        with self._lock:
            return {r.symbol: to_datetime(r.asked_ns) for r in reversed(self._requests)}

    def clear(self) -> None:
        """Forget all that waits."""
        with self._lock:
            self._requests.clear()

    # Asking

    def add_symbol(self, symbol: str, added_by: AddedBy) -> bool:
        """Validate a symbol and have it loaded in full; False when it may not be."""
        if added_by not in _REQUESTERS:
            raise ArgumentError("added_by", added_by, f"one of {', '.join(_REQUESTERS)}")
        if self._is_full(symbol):
            return True
        day = self._day(symbol, "add_symbol")
        if day is None:
            return False
        result = self._validator.validate(symbol, day)
        self.results[symbol] = result
        if not result.can_proceed:
            leave_out(result, day, result.reason)
            return False
        with self._lock:
            # Another thread may have asked for it meanwhile.
            if not self._is_full(symbol):
                request = Request(symbol, self._root.now_ns, added_by, result=result)
                self._requests.append(request)
                self._root.core.n_changes += 1
        return True

    def remove_symbol(self, symbol: str) -> bool:
        """Take a symbol out, and what waits for it; False when there is neither."""
        with self._lock:
            left = [r for r in self._requests if r.symbol != symbol]
            was_pending = len(left) < len(self._requests)
            self._requests = left
            return self._root.remove_symbol(symbol) or was_pending

    def cancel(self, symbol: str) -> None:
        """Take back what waits for a symbol; what it has stays."""
        with self._lock:
            self._requests = [r for r in self._requests if r.symbol != symbol]

    def is_awaited(self, symbol: str) -> bool:
        """Whether anything waits for a symbol."""
        return any(request.symbol == symbol for request in self._requests)

    def validate_bar(self, symbol: str, interval: str, bar: BarData) -> tuple[bool, str]:
        """Check an adhoc bar: is the symbol there, is the interval held, is there data today."""
        try:
            item = parse_interval(interval)
            if not isinstance(bar, BarData):
                return False, f"it is {type(bar).__name__}, not BarData"
            if bar.symbol and bar.symbol != symbol:
                return False, f"it is a bar of {bar.symbol}"
            if symbol in self._root:
                return True, ""
            return self._validate_interval(symbol, item.name)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"

    def add_bar(self, symbol: str, interval: str, bar: BarData, source: str) -> bool:
        """Store an adhoc bar, provisioning the symbol; False, and a warning, when refused."""
        if self._day(symbol, "add_adhoc_bar") is None:
            return False
        ok, reason = self.validate_bar(symbol, interval, bar)
        if ok:
            try:
                self._root.add_bar(symbol, interval, bar)
            except OpenbellError as error:
                ok, reason = False, str(error)
        if not ok:
            _log.warning("%s: %s bar from %s refused: %s", symbol, interval, source, reason)
        return ok

    def validate_indicator(
        self, symbol: str, config: Mapping[str, Any] | IndicatorConfig
    ) -> tuple[bool, str]:
        """Check an adhoc indicator: is it well-formed, can its interval be had."""
        try:
            self._check_indicator(symbol, as_indicator(config))
        except Exception as error:
            return False, str(error) if isinstance(error, OpenbellError) else repr(error)
        return True, ""

    def add_indicator(
        self, symbol: str, config: Mapping[str, Any] | IndicatorConfig, source: str
    ) -> bool:
        """Have an indicator made, provisioning the symbol; False, and a warning, when refused."""
        if self._day(symbol, "add_adhoc_indicator") is None:
            return False
        ok, reason = self.validate_indicator(symbol, config)
        if not ok:
            _log.warning("%s: indicator from %s refused: %s", symbol, source, reason)
            return False
        item = as_indicator(config)
        with self._lock:
            waiting = [r.indicator for r in self._requests if r.symbol == symbol]
            if any(one and one.name == item.name and one != item for one in waiting):
                _log.warning(
                    "%s: indicator from %s refused: another one of the name %r waits",
                    symbol, source, item.name,
                )  # fmt: skip
                return False
            if not self._has_indicator(symbol, item):
                self._requests.append(Request(symbol, self._root.now_ns, "adhoc", indicator=item))
                self._root.core.n_changes += 1
        return True

    def _is_full(self, symbol: str) -> bool:
        rec = self._root.get_symbol_data(symbol)
        if rec is not None and rec.meets_session_config_requirements:
            return True
        with self._lock:
            return any(r.symbol == symbol and r.result is not None for r in self._requests)

    def _day(self, symbol: str, call: str) -> Date | None:
        day = self._root.current_session_date if self._root.session_active else None
        if day is None:
            _log.warning("%s: %s: no trading day is running", symbol, call)
        return day

    def _validate_interval(self, symbol: str, interval: str) -> tuple[bool, str]:
        day = self._root.current_session_date
        if day is None:
            return False, "no trading day is running"
        source = self._validator.check_data_source(symbol)
        if source is None:
            return False, "no source has this symbol"
        held = self._validator.check_intervals(symbol, source)
        if not self._validator.check_compatibility([interval], held):
            return False, f"{source} holds {', '.join(held)}, which do not give {interval}"
        base = history_base(interval, self._data.stream_intervals(symbol))
        if not self._validator.check_data(symbol, base, day):
            return False, f"{source} has no {base} bars of {day}"
        return True, ""

    def _check_indicator(self, symbol: str, config: IndicatorConfig) -> None:
        check_indicator(config)
        interval = parse_interval(config.interval)
        if interval.is_daily and interval.name != "1d":
            raise IntervalError(
                interval.name, "spans several sessions; an interval of one is needed"
            )
        rec = self._root.get_symbol_data(symbol)
        if rec is None:
            ok, reason = self._validate_interval(symbol, interval.name)
            if not ok:
                raise ArgumentError("symbol", symbol, f"one that can be loaded: {reason}")
            return
        base = parse_interval(rec.base_interval)
        if (
            interval.name not in rec.bars
            and not base.divides(interval)
            and not self._can_stream(rec, interval.name)
        ):
            raise IntervalError(interval.name, f"{symbol} has {base} bars, which do not give it")
        held = rec.indicators.get(config.name)
        if held is not None and not self._has_indicator(symbol, config):
            raise ArgumentError("name", config.name, f"another name; {symbol} has {held!r}")

    def _has_indicator(self, symbol: str, config: IndicatorConfig) -> bool:
        rec = self._root.get_symbol_data(symbol)
        held = rec.indicators.get(config.name) if rec is not None else None
        if held is not None:
            return (held.type, held.interval, held.parameters) == (
                config.type, config.interval, config.parameters,
            )  # fmt: skip
        return any(r.symbol == symbol and r.indicator == config for r in self._requests)

    # Loading, in the thread that replays

    def serve(self, cursor: ReplayCursor, window: SessionWindow) -> None:
        """Load what waits, in the order it was asked for. What fails is that symbol's reason."""
        while self._root.window is window:
            with self._lock:
                if not self._requests:
                    return
                request = self._requests[0]
            self.complete(request, self.fetch(request, window), cursor, window)

    def take_unstarted(self) -> list[Request]:
        """Return what waits and nobody has begun to load, for who loads it by and by."""
        with self._lock:
            found = [request for request in self._requests if not request.is_started]
            for request in found:
                request.is_started = True
            return found

    def fetch(self, request: Request, window: SessionWindow) -> object:
        """Read what a request needs, touching no record; any thread may.

        Returns
        -------
        object
            For :meth:`complete`, which also takes an exception.
        """
        try:
            if request.indicator is not None:
                return self._fetch_indicator(request.symbol, request.indicator, window)
            assert request.result is not None
            # What is streamed while it is loaded is kept, and merged.
            self._loader.subscribe([request.result])
            ((_, fetched),) = self._loader.fetch([request.result], window)
        except Exception as error:
            return error
        return fetched

    def complete(
        self, request: Request, fetched: object, cursor: DayCursor, window: SessionWindow
    ) -> None:
        """Put what was fetched on the symbol's record, in the thread that owns the engine."""
        loaded: SymbolSessionData | None = None
        try:
            # Any thread may take the record out of the root at any moment.
            with suppress(RecordDetached):
                if request.indicator is not None:
                    self._put_indicator(request, request.indicator, fetched, cursor, window)
                else:
                    loaded = self._put_symbol(request, fetched, cursor, window)
        finally:
            with self._lock:
                self._requests = [r for r in self._requests if r is not request]
        if loaded is not None:
            self._on_loaded(loaded)

    def _is_wanted(self, request: Request, window: SessionWindow) -> bool:
        # It may have been taken back, or the day have ended, while it was read.
        return request in self._requests and self._root.window is window

    def _put_symbol(
        self, request: Request, fetched: object, cursor: DayCursor, window: SessionWindow
    ) -> SymbolSessionData | None:
        result = request.result
        assert result is not None
        if not isinstance(fetched, Fetched):
            assert isinstance(fetched, Exception)
            leave_out(result, window.date, f"its data cannot be read: {described(fetched)}")
            return None
        with self._lock, self._root.lock:
            if not self._is_wanted(request, window):
                return None
            rec = self._root.get_symbol_data(request.symbol)
            if rec is None:
                rec = self._load_anew(request, fetched, cursor)
            elif rec.meets_session_config_requirements:
                return None
            elif any(series.n_evicted for series in rec.bars.values()):
                leave_out(result, window.date, "its adhoc record has let go of bars already")
                return None
            else:
                self._upgrade(rec, request, fetched, cursor)
            rec.is_loaded = True
            return rec

    def _load_anew(
        self, request: Request, fetched: Fetched, cursor: DayCursor
    ) -> SymbolSessionData:
        rec = self._loader.make_record(
            request.symbol,
            fetched.base_interval,
            fetched.derived_intervals,
            request.added_by,
            meets_session_config_requirements=True,
            added_at=to_datetime(request.asked_ns),
        )
        self._root.register_symbol_data(rec)
        try:
            self._loader.put(rec, fetched)
        except BaseException:
            self._root.remove_symbol(rec.symbol)
            raise
        cursor.add(rec)
        return rec

    def _upgrade(
        self,
        rec: SymbolSessionData,
        request: Request,
        fetched: Fetched,
        cursor: DayCursor,
    ) -> None:
        self._loader.put(rec, fetched)
        cursor.add(rec)
        rec.added_by = request.added_by
        rec.added_at = rec.added_at or to_datetime(request.asked_ns)
        rec.upgraded_from_adhoc = rec.auto_provisioned
        rec.meets_session_config_requirements = True

    def _fetch_indicator(
        self, symbol: str, config: IndicatorConfig, window: SessionWindow
    ) -> tuple[dict[Date, BarArray], Stream | None]:
        rec = self._root.get_symbol_data(symbol)
        past = self._fetch_past(symbol, rec, config, window)
        return past, self._fetch_stream(symbol, rec, config, window)

    def _put_indicator(
        self,
        request: Request,
        config: IndicatorConfig,
        fetched: object,
        cursor: DayCursor,
        window: SessionWindow,
    ) -> None:
        symbol = request.symbol
        try:
            if not isinstance(fetched, tuple):
                assert isinstance(fetched, Exception)
                raise fetched
            past, stream = fetched
            with self._lock, self._root.lock:
                if not self._is_wanted(request, window):
                    return
                rec = self._root.get_symbol_data(symbol)
                if stream is not None:
                    rec = self._stream(request, rec, config, stream, cursor)
                if rec is None:
                    return
                if config.interval not in rec.bars:
                    derived = [*rec.derived_intervals, config.interval]
                    rec.set_intervals(rec.base_interval, derived)
                if past:
                    add_days(rec, config.interval, past, self._data)
                self._loader.add_indicator(rec, config)
        except RecordDetached:
            raise
        except Exception as error:
            if self._is_strict:
                raise
            _log.warning("%s: indicator %s: %s", symbol, config.name, described(error))

    def _fetch_stream(
        self,
        symbol: str,
        rec: SymbolSessionData | None,
        config: IndicatorConfig,
        window: SessionWindow,
    ) -> Stream | None:
        # None for a record that has its bars already, or that no source has bars of.
        if rec is not None and not self._can_stream(rec, config.interval):
            return None
        base = history_base(config.interval, self._data.stream_intervals(symbol))
        self._loader.subscribe_to(symbol, base)
        ((_, bars, extras),) = self._loader.fetch_day([symbol], base, window)
        if isinstance(bars, Exception):
            raise bars
        return base, bars, extras

    def _can_stream(self, rec: SymbolSessionData, interval: str) -> bool:
        # A record of adhoc bars may get those of its source as well.
        return (
            not self._root.is_stream_active(rec.symbol, "bars")
            and self._validate_interval(rec.symbol, interval)[0]
        )

    def _stream(
        self,
        request: Request,
        rec: SymbolSessionData | None,
        config: IndicatorConfig,
        stream: Stream,
        cursor: DayCursor,
    ) -> SymbolSessionData:
        base, bars, extras = stream
        derived = {config.interval} - {base}
        held = rec
        if rec is None:
            rec = self._root.register_symbol_data(
                self._loader.make_record(
                    request.symbol,
                    base,
                    sorted(derived),
                    "adhoc",
                    auto_provisioned=True,
                    added_at=to_datetime(request.asked_ns),
                )
            )
        elif self._root.is_stream_active(rec.symbol, "bars"):
            return rec
        try:
            self._loader.rebase(rec, base, {*rec.derived_intervals, *derived} - {base})
            self._loader.put_bars(rec, bars, extras)
            cursor.add(rec)
        except BaseException:
            if held is None:
                self._root.remove_symbol(rec.symbol)
            raise
        return rec

    def _fetch_past(
        self,
        symbol: str,
        rec: SymbolSessionData | None,
        config: IndicatorConfig,
        window: SessionWindow,
    ) -> dict[Date, BarArray]:
        n_days = history_days(config, window.grid(config.interval).n_slots)
        days = self._data.time_manager.trailing_days(window.date, n_days)
        held = {} if rec is None else rec.historical_bars.get(config.interval, {})
        missing = [day for day in days if day not in held]
        # A record that is fed by the user may be of a symbol that no source knows.
        if not missing or self._data.source_of(symbol) is None:
            return {}
        return load_days(symbol, config.interval, missing, self._data)


def as_indicator(config: Mapping[str, Any] | IndicatorConfig) -> IndicatorConfig:
    """Return an indicator's configuration from a mapping of the same keys.

    Raises
    ------
    ArgumentError
        When a key is unknown, missing, or of the wrong type.
    """
    if isinstance(config, IndicatorConfig):
        item = config
    else:
        try:
            item = msgspec.convert(dict(config), IndicatorConfig)
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            raise ArgumentError(
                "indicator_config", config, f"an indicator's table: {error}"
            ) from None
    name = parse_interval(item.interval).name
    return item if name == item.interval else msgspec.structs.replace(item, interval=name)
