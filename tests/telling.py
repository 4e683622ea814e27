"""A root that is fed by hand, and writing down what its processor tells."""

from __future__ import annotations

from typing import Any

import openbell as ob
from tests.facade_bars import OPEN, WINDOW
from tests.strategies import MINUTE


def record_of(symbol: str, base: str = "1m", *derived: str, **options: Any) -> Any:
    return ob.SymbolSessionData(symbol, base_interval=base, derived_intervals=derived, **options)


def fed(
    *symbols: str, derived: tuple[str, ...] = ("5m",), strict: bool = False
) -> tuple[ob.SessionData, ob.DataProcessor]:
    """A day that has begun, its records of minutes, and a processor."""
    root = ob.SessionData()
    root.begin(WINDOW)
    for symbol in symbols:
        root.register_symbol_data(record_of(symbol, "1m", *derived))
    return root, ob.DataProcessor(root, strict=strict)


def text_of(rec: ob.SymbolSessionData, told: ob.BarData) -> str:
    assert told.symbol == rec.symbol
    assert told.interval in rec.bars
    again = " again" if told.is_correction else ""
    return f"{told.interval} {rec.symbol} {(told.ts_ns - OPEN) // MINUTE}{again}"


def listen(
    processor: ob.DataProcessor, *intervals: str, corrections: bool = True, into: Any = None
) -> list[str]:
    """Write down what is told: ``1m AAPL 3``, and ``again`` behind it when it is a correction."""
    told: list[str] = [] if into is None else into
    for name in intervals:
        processor.on_close(
            name, lambda rec, bar: told.append(text_of(rec, bar)), corrections=corrections
        )
    return told


def process(processor: ob.DataProcessor, told: list[str]) -> list[str]:
    """What one call tells."""
    told.clear()
    processor.process()
    return list(told)
