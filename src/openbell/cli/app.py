"""The commands under one name, each imported when it is the one that is called."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final

import typer

from openbell._version import __version__

if TYPE_CHECKING:
    from openbell.cli.calls import Call

__all__ = ["app_for", "call_app"]

#: Each command, and where its function is, or the app of its own commands: below openbell.cli.
_COMMANDS: Final = {
    "demo": "demo:demo",
    "sample": "data:sample",
    "import": "data:import_",
    "replay": "replay:replay",
    "profile": "profile:profile",
    "live": "live:live",
    "show": "show:show",
    "report": "report:report",
    "watch": "watch:watch",
    "ctl": "ctl:app",
    "validate": "validate:validate",
}


def call_app(words: list[str] | None, call: Call) -> object:
    """Read a command line (that of this process when None) and run its command.

    Raises
    ------
    KeyboardInterrupt
        When it was broken off.
    """
    app = app_for(sys.argv[1:] if words is None else words)
    try:
        return app(args=words, prog_name="openbell", standalone_mode=False, obj=call)
    except typer.Abort:
        raise KeyboardInterrupt from None


def app_for(words: Sequence[str]) -> typer.Typer:
    """Return the app with the one command that a line calls; with all when it calls none."""
    app = typer.Typer(
        name="openbell",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_openbell)
    called = next((word for word in words if not word.startswith("-")), None)
    for name in [called] if called in _COMMANDS else _COMMANDS:
        module, _, inside = _COMMANDS[name].partition(":")
        found = getattr(import_module(f"openbell.cli.{module}"), inside)
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=name)
        else:
            app.command(name)(found)
    return app


def _openbell(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="On an error, show the traceback too.")
    ] = False,
) -> None:
    """The session data engine for trading, from opening bell to closing bell."""
    from openbell.cli.calls import Call

    context.ensure_object(Call).debug = debug
    if version:
        typer.echo(f"openbell {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
