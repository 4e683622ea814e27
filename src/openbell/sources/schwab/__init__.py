"""Bars from Charles Schwab, past and as they are made, through schwab-py."""

from openbell.sources.schwab.source import SchwabSource
from openbell.sources.schwab.stream import SchwabStream

__all__ = ["SchwabSource", "SchwabStream"]
