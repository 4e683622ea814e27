"""Sessions of one Wednesday over the market of the lifecycle tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import openbell as ob
from tests.lifecycle_days import WEDNESDAY, everything, session_over

STREAMS = ["1s", "1m", "5m"]
#: History, historical indicators and indicators of a configuration.
OTHERS = {
    "historical": [{"trailing_days": 2, "intervals": ["1m", "5m"]}],
    "historical_indicators": {
        "avg_volume_2d": {"type": "trailing_average", "field": "volume", "period": "2d"},
        "profile": {
            "type": "trailing_average", "field": "volume", "period": "2d", "granularity": "minute",
        },
    },
    "indicators": [
        {"name": "sma", "type": "SMA", "interval": "1m", "parameters": {"timeperiod": 20}},
        {"name": "vwap", "type": "VWAP", "interval": "1s"},
    ],
}  # fmt: skip


def over(folder: Path, symbols: list[str], **others: object) -> ob.SessionCoordinator:
    return session_over(folder, [WEDNESDAY], symbols, STREAMS, **others)


def same_but_provenance(one: ob.SymbolSessionData, two: ob.SymbolSessionData) -> None:
    found, expected = everything(one), everything(two)
    np.testing.assert_array_equal(
        found["historical_indicators"].pop("profile"),
        expected["historical_indicators"].pop("profile"),
    )
    for key in expected:
        if key != "flags":
            assert found[key] == expected[key], key
