"""What is worked out from a session's bars while they come."""

from openbell.processing.custom import Indicator
from openbell.processing.gap_retries import GapRetries
from openbell.processing.indicators import (
    IndicatorData,
    check_indicator,
    history_days,
    make_indicator,
    n_history,
)
from openbell.processing.processor import CloseCallback, DataProcessor, require_callable
from openbell.processing.quality import DataQualityManager

__all__ = [
    "CloseCallback",
    "DataProcessor",
    "DataQualityManager",
    "GapRetries",
    "Indicator",
    "IndicatorData",
    "check_indicator",
    "history_days",
    "make_indicator",
    "n_history",
    "require_callable",
]
