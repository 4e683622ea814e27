"""The life of a session: validate each symbol, load it, replay the day, clear at the close."""

from openbell.lifecycle.coordinator import SessionCoordinator, open_session
from openbell.lifecycle.day import TradingDay
from openbell.lifecycle.validation import SymbolValidationResult

__all__ = ["SessionCoordinator", "SymbolValidationResult", "TradingDay", "open_session"]
