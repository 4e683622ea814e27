"""What leaves a session: the JSON dump, the CSV log, Arrow tables; and their loader and checker."""

from openbell.export.arrow import series_to_arrow
from openbell.export.check import Violation, validate_session_dump
from openbell.export.csv_log import write_session_csv
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
    "load_session_dump",
    "series_to_arrow",
    "session_to_dict",
    "symbol_to_dict",
    "validate_session_dump",
    "write_session_csv",
    "write_session_json",
]
