"""Step 3: make the records of a day and lay their bars behind the visible heads."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date as Date
from typing import TYPE_CHECKING

import numpy as np

from openbell.errors import DataSourceError, OpenbellError, SchemaError
from openbell.intervals import interval
from openbell.lifecycle.streams import plan_streams
from openbell.lifecycle.validation import SymbolValidationResult, leave_out
from openbell.schema import BarArray
from openbell.symbol import SymbolSessionData

if TYPE_CHECKING:
    from openbell.clock.window import SessionWindow
    from openbell.config import SessionConfig
    from openbell.session import SessionData
    from openbell.sources import DataManager

__all__ = ["load_history", "load_records"]

_log = logging.getLogger("openbell.lifecycle")


def load_records(
    root: SessionData,
    results: Mapping[str, SymbolValidationResult],
    config: SessionConfig,
    data: DataManager,
    on_loaded: Callable[[SymbolSessionData], None],
) -> None:
    """Register the records of the symbols that may be loaded, preload and stream their bars.

    A symbol whose bars turn out to be unreadable is taken out of the root again: its result
    then says why, and a warning is logged.

    Parameters
    ----------
    root : SessionData
        Its day has begun.
    results : mapping of str to SymbolValidationResult
    config : SessionConfig
    data : DataManager
    on_loaded : callable
        Told each record when it is loaded.
    """
    window = root.window
    assert window is not None
    by_base: defaultdict[str, list[str]] = defaultdict(list)
    for result in results.values():
        if not result.can_proceed or result.base_interval is None:
            continue
        root.register_symbol_data(
            SymbolSessionData(
                result.symbol,
                base_interval=result.base_interval,
                derived_intervals=result.derived_intervals,
                meets_session_config_requirements=True,
                added_by="config",
                n_reserve=0,
            )
        )
        by_base[result.base_interval].append(result.symbol)
    for base, symbols in by_base.items():
        for symbol, bars in _load_each(symbols, base, window, data):
            rec = root[symbol]
            try:
                if isinstance(bars, Exception):
                    raise bars
                rec.preload(bars)
                load_history(rec, window.date, config, data)
            except (OpenbellError, OSError) as error:
                root.remove_symbol(symbol)
                leave_out(results[symbol], window.date, f"its data cannot be read: {error}")
                continue
            rec.is_loaded = True
            root.set_stream_active(symbol, "bars")
            on_loaded(rec)


def _load_each(
    symbols: Sequence[str], base: str, window: SessionWindow, data: DataManager
) -> Iterator[tuple[str, BarArray | Exception]]:
    left = dict.fromkeys(symbols)
    try:
        for symbol, bars in data.load_session_bars(symbols, base, window):
            del left[symbol]
            yield symbol, bars
    except (OpenbellError, OSError):
        # Which symbol it was, only asking for each of the others by itself can tell.
        for symbol in left:
            try:
                yield from data.load_session_bars([symbol], base, window)
            except (OpenbellError, OSError) as error:
                yield symbol, error


def load_history(
    rec: SymbolSessionData, day: Date, config: SessionConfig, data: DataManager
) -> None:
    """Load the trailing days that the config asks for into ``rec.historical_bars``, by date.

    An interval that the source lacks is folded from the longest one it has that divides it.
    Days that are not there, or cannot be read, are warned of.

    Raises
    ------
    DataSourceError
        When no day of an interval can be had.
    """
    for wanted in config.historical:
        if wanted.symbols is not None and rec.symbol not in wanted.symbols:
            continue
        days = data.time_manager.trailing_days(day, wanted.trailing_days)
        for name in wanted.intervals:
            key = interval(name).name
            loaded = _load_days(rec.symbol, key, days, data)
            rec.historical_bars.setdefault(key, {}).update(loaded)
            rec.historical_quality[key] = _quality(rec.historical_bars[key], days, key, data)


def _load_days(
    symbol: str, name: str, days: Sequence[Date], data: DataManager
) -> dict[Date, BarArray]:
    base = plan_streams([name], data.available_intervals(symbol)).base
    loaded: dict[Date, BarArray] = {}
    missing: dict[Date, str] = {}
    for day in days:
        try:
            found = data.load_historical_bars(symbol, base, [day])
        except (DataSourceError, SchemaError, OSError) as error:
            missing[day] = str(error)
            continue
        loaded.update(found)
        if day not in found:
            missing[day] = f"no {base} bars"
    if missing:
        reasons = "; ".join(f"{day}: {reason}" for day, reason in missing.items())
        if not loaded:
            source = data.source_of(symbol)
            name_of_source = source.name if source is not None else ""
            raise DataSourceError(name_of_source, f"no {name} history of {symbol}: {reasons}")
        _log.warning(
            "%s: %d of %d days of %s history are missing: %s",
            symbol, len(missing), len(days), name, reasons,
        )  # fmt: skip
    return _fold_days(loaded, name, data) if base != name else loaded


def _fold_days(
    loaded: Mapping[Date, BarArray], name: str, data: DataManager
) -> dict[Date, BarArray]:
    from openbell.kernels import derive

    folded = {}
    for date, bars in loaded.items():
        grid = data.time_manager.session_window(date).grid(name)
        folded[date] = np.array(derive(bars, grid)[0])
    return folded


def _quality(
    held: Mapping[Date, BarArray], days: Iterable[Date], name: str, data: DataManager
) -> float | None:
    windows = [data.time_manager.session_window(day) for day in days]
    n_expected = sum(window.grid(name).n_slots for window in windows)
    n_present = sum(len(held.get(window.date, ())) for window in windows)
    return 100.0 * n_present / n_expected if n_expected else None
