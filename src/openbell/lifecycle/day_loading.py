"""Step 3 of a coordinator: loading the symbols of a day that passed Step 0."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from openbell.errors import RecordDetached
from openbell.lifecycle.loading import Fetched, ProgressCallback, SymbolLoader
from openbell.lifecycle.past_days import described
from openbell.lifecycle.validation import SymbolValidationResult, leave_out, require_any
from openbell.processing import require_callable
from openbell.schema import to_datetime
from openbell.session import SessionData
from openbell.symbol import AddedBy, SymbolSessionData

__all__ = ["DayLoading", "LoadCallback"]

_T = TypeVar("_T")
LoadCallback = Callable[[SymbolSessionData], Any]


class DayLoading:
    """Registers and loads the symbols of a day, and tells how far it is."""

    root: SessionData
    results: dict[str, SymbolValidationResult]
    _loader: SymbolLoader
    _on_loaded: list[LoadCallback]
    _on_progress: list[ProgressCallback]

    def _interruptible(self, items: Iterable[_T]) -> Iterable[_T]:
        raise NotImplementedError

    def on_loaded(self, callback: LoadCallback) -> None:
        """Call ``callback(record)`` for each record when it is loaded, before the day and in it."""
        require_callable(callback)
        self._on_loaded.append(callback)

    def on_progress(self, callback: ProgressCallback) -> None:
        """Call ``callback(what, done, total)`` while a day is loaded.

        First of ``history``, counted in symbol days, then of ``bars``, counted in symbols.
        """
        require_callable(callback)
        self._on_progress.append(callback)

    def _load_symbols_full(self, symbols: list[str]) -> None:
        """Step 3 of symbols that passed Step 0: register, load, mark as loaded."""
        results = [self.results[symbol] for symbol in symbols]
        for result in results:
            self._register_single_symbol(result.symbol)
        self._loader.subscribe(results)
        window = self.root.window
        assert window is not None
        fetched_all = self._interruptible(self._loader.fetch(results, window, self._tell_progress))
        for done, (symbol, fetched) in enumerate(fetched_all, 1):
            rec = self.root.get_symbol_data(symbol)
            if isinstance(fetched, Exception):
                self.root.remove_symbol(symbol)
                self._loader.unsubscribe(symbol)
                reason = f"its data cannot be read: {described(fetched)}"
                leave_out(self.results[symbol], window.date, reason)
            elif rec is None or not self._put(rec, fetched):
                # It was removed by another thread, which may be at any moment.
                self._loader.unsubscribe(symbol)
            self._tell_progress("bars", done, len(results))
        require_any(self.results)

    def _put(self, rec: SymbolSessionData, fetched: Fetched) -> bool:
        try:
            with self.root.lock:
                self._loader.put(rec, fetched)
                rec.is_loaded = True
        except RecordDetached:
            return False
        with suppress(RecordDetached):
            self._tell_loaded(rec)
        return True

    def _register_single_symbol(
        self,
        symbol: str,
        meets_session_config_requirements: bool = True,
        added_by: AddedBy = "config",
        auto_provisioned: bool = False,
    ) -> SymbolSessionData:
        result = self.results[symbol]
        assert result.base_interval is not None
        return self.root.register_symbol_data(
            self._loader.make_record(
                symbol,
                result.base_interval,
                result.derived_intervals,
                added_by,
                meets_session_config_requirements=meets_session_config_requirements,
                auto_provisioned=auto_provisioned,
                added_at=None if added_by == "config" else to_datetime(self.root.now_ns),
            )
        )

    def _tell_loaded(self, rec: SymbolSessionData) -> None:
        for callback in self._on_loaded:
            callback(rec)

    def _tell_progress(self, what: str, done: int, total: int) -> None:
        for callback in self._on_progress:
            callback(what, done, total)
