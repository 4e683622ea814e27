"""The configuration of a session: read from TOML or JSON, typed, checked."""

from openbell.config.tables import (
    AlpacaConfig,
    DataConfig,
    ExportConfig,
    GapFillConfig,
    HistoricalConfig,
    HistoricalIndicatorConfig,
    IndicatorConfig,
    LiveConfig,
    SessionConfig,
    SessionTable,
    SyntheticConfig,
)

__all__ = [
    "AlpacaConfig",
    "DataConfig",
    "ExportConfig",
    "GapFillConfig",
    "HistoricalConfig",
    "HistoricalIndicatorConfig",
    "IndicatorConfig",
    "LiveConfig",
    "SessionConfig",
    "SessionTable",
    "SyntheticConfig",
]
