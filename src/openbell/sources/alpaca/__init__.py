"""Alpaca's stock data: history over REST, bars over its stream. Needs alpaca-py.

The library is imported when a source is made, never before.
"""

from __future__ import annotations

from openbell.sources.alpaca.history import AlpacaSource
from openbell.sources.alpaca.stream import AlpacaStream

__all__ = ["AlpacaSource", "AlpacaStream"]
