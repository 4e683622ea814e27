"""The checks of a coordinator under the names that the specification gives them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date as Date
from typing import Any

from openbell._native.values import BarData
from openbell.lifecycle.provisioning import Provisioning
from openbell.lifecycle.validation import SymbolValidationResult, SymbolValidator

__all__ = ["NamedChecks"]


class NamedChecks:
    """Hands each check over to who makes it: Step 0, or the provisioning of a running day."""

    _validator: SymbolValidator
    _provisioning: Provisioning
    results: dict[str, SymbolValidationResult]

    def _some_day(self) -> Date:
        raise NotImplementedError

    def _check_data_source_for_symbol(self, symbol: str) -> str | None:
        return self._validator.check_data_source(symbol)

    def _check_available_intervals(self, symbol: str, source: str) -> list[str]:
        return self._validator.check_intervals(symbol, source)

    def _check_historical_data_availability(self, symbol: str) -> bool:
        return self._validator.check_history(symbol, self._some_day())[0]

    def _check_parquet_data(self, symbol: str, interval: str, date: Date) -> bool:
        return self._validator.check_data(symbol, interval, date)

    def _validate_interval_compatibility(self, required: list[str], available: list[str]) -> bool:
        return self._validator.check_compatibility(required, available)

    def _validate_symbol_for_loading(self, symbol: str) -> SymbolValidationResult:
        return self._validator.validate(symbol, self._some_day())

    def _validate_symbols_for_loading(self, symbols: list[str]) -> list[str]:
        self._validator.validate_many(symbols, self._some_day(), self.results)
        return [symbol for symbol in symbols if self.results[symbol].can_proceed]

    def _validate_adhoc_bar(self, symbol: str, interval: str, bar: BarData) -> tuple[bool, str]:
        return self._provisioning.validate_bar(symbol, interval, bar)

    def _validate_adhoc_indicator(
        self, symbol: str, indicator_config: Mapping[str, Any]
    ) -> tuple[bool, str]:
        return self._provisioning.validate_indicator(symbol, indicator_config)
