"""The configuration of a session: read from TOML or JSON, typed, checked."""

from openbell.config.tables import (
    DataConfig,
    ExportConfig,
    GapFillConfig,
    HistoricalConfig,
    HistoricalIndicatorConfig,
    IndicatorConfig,
    SessionConfig,
    SessionTable,
    SyntheticConfig,
)

__all__ = [
    "DataConfig",
    "ExportConfig",
    "GapFillConfig",
    "HistoricalConfig",
    "HistoricalIndicatorConfig",
    "IndicatorConfig",
    "SessionConfig",
    "SessionTable",
    "SyntheticConfig",
]
