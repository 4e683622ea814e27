"""What leaves a session: the JSON dump, the CSV log, tables, frames, files of bars.

And the dump's loader and checker.
"""

from openbell.export.apply import apply_delta
from openbell.export.arrow import series_to_arrow
from openbell.export.bar_files import write_bars_csv, write_bars_parquet, write_dataset
from openbell.export.check import Violation, validate_session_dump
from openbell.export.csv_log import write_session_csv
from openbell.export.delta import export_record, export_session, write_export
from openbell.export.frames import bars_table, pick_series, to_pandas, to_polars
from openbell.export.json_dump import (
    SCHEMA_VERSION,
    session_to_dict,
    symbol_to_dict,
    write_session_json,
)
from openbell.export.load import SessionDump, SymbolDump, load_session_dump

__all__ = [
    "SCHEMA_VERSION",
    "SessionDump",
    "SymbolDump",
    "Violation",
    "apply_delta",
    "bars_table",
    "export_record",
    "export_session",
    "load_session_dump",
    "pick_series",
    "series_to_arrow",
    "session_to_dict",
    "symbol_to_dict",
    "to_pandas",
    "to_polars",
    "validate_session_dump",
    "write_bars_csv",
    "write_bars_parquet",
    "write_dataset",
    "write_export",
    "write_session_csv",
    "write_session_json",
]
