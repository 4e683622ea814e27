"""``openbell replay``: the configured sessions, day after day."""

from __future__ import annotations

from typing import Annotated

import typer

from openbell.cli.days import replay_days
from openbell.cli.options import ConfigFile, CsvPath, JsonPath, ReportPath
from openbell.cli.outputs import Outputs

__all__ = ["replay"]


def replay(
    config: ConfigFile,
    json: JsonPath = None,
    csv: CsvPath = None,
    report: ReportPath = None,
    speed: Annotated[
        float | None,
        typer.Option(min=0, help="Instead of the config's: 0 as fast as possible, 1 real time."),
    ] = None,
) -> None:
    """Run the configured sessions, day after day."""
    replay_days(config, Outputs(json, csv, report), speed)
