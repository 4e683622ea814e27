"""Step 0: may a symbol be loaded for a day, and if not, why."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date as Date
from typing import TYPE_CHECKING

from openbell.errors import (
    DataSourceError,
    IntervalError,
    OpenbellError,
    SchemaError,
    SessionValidationError,
)
from openbell.lifecycle.streams import plan_streams

if TYPE_CHECKING:
    from openbell.config import SessionConfig
    from openbell.sources import DataManager

__all__ = ["SymbolValidationResult", "leave_out", "require_any", "validate_symbol"]

_log = logging.getLogger("openbell.lifecycle")


@dataclass(slots=True)
class SymbolValidationResult:
    """Whether a symbol may be loaded, and what was found out about it.

    Attributes
    ----------
    symbol : str
    can_proceed : bool
    reason : str
        Why not; empty when it may.
    data_source_available : bool
    data_source : str or None
        Name of the source that has it.
    intervals_supported : list of str
        What that source holds.
    base_interval : str or None
        What will be streamed.
    derived_intervals : list of str
        What will be folded from it.
    has_historical_data : bool
    historical_date_range : (date, date) or None
        First and last date with bars of the base, inclusive.
    meets_config_requirements : bool
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
    historical_date_range: tuple[Date, Date] | None = None
    meets_config_requirements: bool = False


def validate_symbol(
    symbol: str, day: Date, config: SessionConfig, data: DataManager
) -> SymbolValidationResult:
    """Check one symbol for one day. What goes wrong in a check is that symbol's reason.

    Nothing is loaded and nobody is warned.
    """
    result = SymbolValidationResult(symbol)
    try:
        result.reason = _examine(result, day, config, data)
    except (OpenbellError, OSError) as error:
        result.reason = f"its data cannot be read: {error}"
    result.can_proceed = result.meets_config_requirements = not result.reason
    return result


def _examine(
    result: SymbolValidationResult, day: Date, config: SessionConfig, data: DataManager
) -> str:
    symbol = result.symbol
    source = data.source_of(symbol)
    if source is None:
        return f"no source has this symbol (asked: {', '.join(s.name for s in data.sources)})"
    result.data_source_available = True
    result.data_source = source.name
    result.intervals_supported = data.available_intervals(symbol)
    try:
        plan = plan_streams(config.session.streams, result.intervals_supported)
    except IntervalError as error:
        return str(error)
    result.base_interval = plan.base
    result.derived_intervals = list(plan.derived)
    span = data.available_dates(symbol, plan.base)
    result.historical_date_range = span
    if not data.has_data(symbol, plan.base, day):
        return f"{source.name} has no {plan.base} bars of {day}" + (
            f"; it has {span[0]} to {span[1]}" if span else ""
        )
    result.has_historical_data = span is not None and span[0] < day
    return _examine_history(result, day, config, data)


def _examine_history(
    result: SymbolValidationResult, day: Date, config: SessionConfig, data: DataManager
) -> str:
    symbol = result.symbol
    for wanted in config.historical:
        if wanted.symbols is not None and symbol not in wanted.symbols:
            continue
        # The newest first: it is the one most likely to be there.
        days = data.time_manager.trailing_days(day, wanted.trailing_days)[::-1]
        for name in wanted.intervals:
            try:
                base = plan_streams([name], result.intervals_supported).base
            except IntervalError as error:
                return f"its history: {error}"
            if not any(_has_day(data, symbol, base, past) for past in days):
                return (
                    f"{result.data_source} has no {base} bars of the {len(days)} trading days "
                    f"before {day}, and the config asks for {name} history"
                )
    return ""


def _has_day(data: DataManager, symbol: str, interval: str, day: Date) -> bool:
    # A past day that cannot be read is as good as missing; today's would be the symbol's reason.
    try:
        return data.has_data(symbol, interval, day)
    except (DataSourceError, SchemaError, OSError):
        return False


def leave_out(result: SymbolValidationResult, day: Date, reason: str) -> None:
    """Mark a symbol as one that is not loaded, and warn of it."""
    result.reason = reason
    result.can_proceed = result.meets_config_requirements = False
    _log.warning("%s %s: left out: %s", day, result.symbol, reason)


def require_any(results: Mapping[str, SymbolValidationResult]) -> None:
    """Raise SessionValidationError, with every symbol's reason, when none may be loaded."""
    if not any(result.can_proceed for result in results.values()):
        raise SessionValidationError({r.symbol: r.reason for r in results.values()})
