"""``openbell report``: a dump as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openbell.cli.console import output, require_file
from openbell.errors import ArgumentError

__all__ = ["report"]


def report(
    dump: Annotated[
        Path,
        typer.Argument(
            metavar="DUMP", exists=True, dir_okay=False, readable=True, help="A session's dump."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE",
            dir_okay=False,
            help="DUMP's name with .html if not given.",
        ),
    ] = None,
    interval: Annotated[
        list[str] | None,
        typer.Option(metavar="I", help="Candles of this interval; repeat. 1m and coarser if none."),
    ] = None,
    symbol: Annotated[
        list[str] | None, typer.Option(metavar="S", help="This symbol only; repeat.")
    ] = None,
) -> None:
    """Write a dump as one HTML file that opens offline."""
    target = dump.with_suffix(".html") if out is None else out
    require_file("-o", target)
    if target.exists() and target.samefile(dump):
        raise ArgumentError("-o", str(target), "another file than the dump")
    from openbell.report import write_report

    write_report(dump, target, intervals=interval or None, symbols=symbol or None)
    size = target.stat().st_size / 1e6
    output().print(f"wrote {target} ({size:.1f} MB)", soft_wrap=True)
