"""``openbell validate``: the dump checker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["validate"]


def validate(
    dumps: Annotated[
        list[Path],
        typer.Argument(
            metavar="DUMP [DELTA...]",
            exists=True,
            dir_okay=False,
            readable=True,
            help="A session's dump, and the deltas that follow it, in order.",
        ),
    ],
) -> None:
    """Check a dump against its rules; with deltas, what they give.

    One line per broken rule, and exit code 1 when there is any.
    """
    from openbell.export import validate_session_dump

    violations = validate_session_dump(dumps)
    for violation in violations:
        typer.echo(str(violation))
    if violations:
        raise typer.Exit(1)
    typer.echo(f"{', '.join(map(str, dumps))}: all rules kept")
