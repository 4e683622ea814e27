"""openbell: the session data engine for trading.

One root, one record per symbol, from opening bell to closing bell. Names are imported when
they are first used, so that ``import openbell`` costs little more than numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from openbell._lazy import lazily
from openbell._version import __version__

if TYPE_CHECKING:
    from openbell._native.values import BarData as BarData
    from openbell.bars import BarIntervalData as BarIntervalData
    from openbell.clock.manager import TimeManager as TimeManager
    from openbell.clock.window import SessionWindow as SessionWindow
    from openbell.config import SessionConfig as SessionConfig
    from openbell.error_log import RecordError as RecordError
    from openbell.errors import ArgumentError as ArgumentError
    from openbell.errors import BarRefused as BarRefused
    from openbell.errors import CalendarError as CalendarError
    from openbell.errors import ConfigError as ConfigError
    from openbell.errors import DatasetError as DatasetError
    from openbell.errors import DataSourceError as DataSourceError
    from openbell.errors import DumpError as DumpError
    from openbell.errors import EventRefused as EventRefused
    from openbell.errors import IndicatorError as IndicatorError
    from openbell.errors import IntervalError as IntervalError
    from openbell.errors import MissingLibraryError as MissingLibraryError
    from openbell.errors import OpenbellError as OpenbellError
    from openbell.errors import ProvenanceError as ProvenanceError
    from openbell.errors import RecordDetached as RecordDetached
    from openbell.errors import SchemaError as SchemaError
    from openbell.errors import SessionStateError as SessionStateError
    from openbell.errors import SessionValidationError as SessionValidationError
    from openbell.errors import SourceUnavailableError as SourceUnavailableError
    from openbell.errors import StrategyError as StrategyError
    from openbell.errors import TimeError as TimeError
    from openbell.errors import UnknownSymbolError as UnknownSymbolError
    from openbell.events import QuoteData as QuoteData
    from openbell.events import TickData as TickData
    from openbell.export import validate_session_dump as validate_session_dump
    from openbell.gaps import GapEvidence as GapEvidence
    from openbell.gaps import GapInfo as GapInfo
    from openbell.intervals import Interval as Interval
    from openbell.kernels import warmup as warmup
    from openbell.lifecycle import SessionCoordinator as SessionCoordinator
    from openbell.lifecycle import SymbolValidationResult as SymbolValidationResult
    from openbell.lifecycle import open_session as open_session
    from openbell.processing import DataProcessor as DataProcessor
    from openbell.processing import DataQualityManager as DataQualityManager
    from openbell.processing import IndicatorData as IndicatorData
    from openbell.schema import BAR_DTYPE as BAR_DTYPE
    from openbell.session import SessionData as SessionData
    from openbell.session import get_session_data as get_session_data
    from openbell.sources import DataManager as DataManager
    from openbell.strategies import CompiledStrategy as CompiledStrategy
    from openbell.strategies import compiled as compiled
    from openbell.symbol import SessionMetrics as SessionMetrics
    from openbell.symbol import SymbolSessionData as SymbolSessionData

_HOMES = {
    "errors": (
        "ArgumentError",
        "BarRefused",
        "CalendarError",
        "ConfigError",
        "DataSourceError",
        "DatasetError",
        "DumpError",
        "EventRefused",
        "IndicatorError",
        "IntervalError",
        "MissingLibraryError",
        "OpenbellError",
        "ProvenanceError",
        "RecordDetached",
        "SchemaError",
        "SessionStateError",
        "SessionValidationError",
        "SourceUnavailableError",
        "StrategyError",
        "TimeError",
        "UnknownSymbolError",
    ),
    "error_log": ("RecordError",),
    "schema": ("BAR_DTYPE",),
    "intervals": ("Interval",),
    "clock.window": ("SessionWindow",),
    "clock.manager": ("TimeManager",),
    "kernels": ("warmup",),
    "_native.values": ("BarData",),
    "events": ("QuoteData", "TickData"),
    "gaps": ("GapEvidence", "GapInfo"),
    "bars": ("BarIntervalData",),
    "symbol": ("SessionMetrics", "SymbolSessionData"),
    "session": ("SessionData", "get_session_data"),
    "config": ("SessionConfig",),
    "strategies": ("CompiledStrategy", "compiled"),
    "sources": ("DataManager",),
    "processing": ("DataProcessor", "DataQualityManager", "IndicatorData"),
    "lifecycle": ("SessionCoordinator", "SymbolValidationResult", "open_session"),
    "export": ("validate_session_dump",),
}
__all__ = ["__version__", *sorted(name for names in _HOMES.values() for name in names)]

__getattr__ = lazily(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
