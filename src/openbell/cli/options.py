"""What several commands take on their lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = ["ConfigFile", "CsvPath", "JsonPath", "ReportPath"]


def _written(what: str) -> Any:
    return typer.Option(help=f"Write each day's {what}; {{date}} in it is the day.")


ConfigFile = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG", exists=True, dir_okay=False, readable=True, help="TOML or JSON."
    ),
]
JsonPath = Annotated[Path | None, _written("dump")]
CsvPath = Annotated[Path | None, _written("session log")]
ReportPath = Annotated[Path | None, _written("HTML report")]
