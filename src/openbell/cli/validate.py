"""``openbell validate``: the dump checker."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["validate"]


def validate(
    dump: Annotated[
        Path,
        typer.Argument(
            metavar="DUMP", exists=True, dir_okay=False, readable=True, help="A session's dump."
        ),
    ],
) -> None:
    """Check a dump against its rules.

    One line per broken rule, and exit code 1 when there is any.
    """
    from openbell.export import validate_session_dump

    violations = validate_session_dump(dump)
    for violation in violations:
        typer.echo(str(violation))
    if violations:
        raise typer.Exit(1)
    typer.echo(f"{dump}: all rules kept")
