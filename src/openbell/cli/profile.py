"""``openbell profile``: run the configured sessions, and say where the time went."""

from __future__ import annotations

import json as json_format
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbell.cli.console import output, require_file
from openbell.cli.days import print_errors
from openbell.cli.options import ConfigFile, CsvPath, JsonPath, ReportPath
from openbell.cli.outputs import Outputs, configured
from openbell.cli.tables import plain_table
from openbell.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import Console

    from openbell.profiling import Profile

__all__ = ["profile"]

FiguresPath = Annotated[
    Path | None, typer.Option("--json", help="Write the table's figures, for scripts.")
]


def profile(
    context: typer.Context,
    config: ConfigFile,
    json: FiguresPath = None,
    dump: JsonPath = None,
    csv: CsvPath = None,
    report: ReportPath = None,
) -> None:
    """Run the configured sessions, and say where the time goes."""
    from msgspec.structs import replace

    outputs = Outputs(dump, csv, report, json_option="--dump")
    require_file("--json", json)
    if json is not None and json in (dump, csv, report):
        raise ArgumentError("--json", str(json), "another file than those of the day")
    settings = configured(config, "backtest")
    settings = replace(settings, session=replace(settings.session, speed=0.0))
    from openbell import profiling
    from openbell.lifecycle import open_session

    session = open_session(settings)
    console = output()
    several = settings.session.start_date != settings.session.end_date
    # In a process that does other things too, its age says nothing of this command.
    is_alone = getattr(context.obj, "is_alone", False)
    with profiling.profile(session, whole_process=is_alone) as found:
        for day in session.days():
            day.run()
            if dump or csv or report:
                with found.stage("export"):
                    outputs.write(session, console, day.date, several)
            print_errors(console, session.root)
    _print(console, found)
    if json is not None:
        json.write_text(json_format.dumps(found.to_json(), indent=2) + "\n", encoding="utf-8")
        console.print(f"wrote {json}", soft_wrap=True)


def _print(console: Console, found: Profile) -> None:
    from openbell.profiling.result import HEADINGS

    table = plain_table(*HEADINGS)
    *stages, whole = found.cells()
    for cells in stages:
        table.add_row(*cells)
    table.add_row(*whole)
    console.print(table)
    console.print(f"\n{found.summary()}", soft_wrap=True)
