"""The commands under one name, and what their failures print and return."""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final, TextIO

import typer

from openbell._version import __version__
from openbell.cli import ctl, data, demo, live, replay, report, show, validate, watch
from openbell.errors import (
    ArgumentError,
    CalendarError,
    ConfigError,
    IntervalError,
    OpenbellError,
    TimeError,
    UnknownSymbolError,
)

__all__ = ["FAILED", "FINE", "INTERRUPTED", "WRONG_CALL", "app", "run"]

FINE: Final = 0
FAILED: Final = 1
WRONG_CALL: Final = 2
INTERRUPTED: Final = 130

#: What only the words of the call or its config can cause.
_CALL_ERRORS: Final = (
    ArgumentError,
    CalendarError,
    ConfigError,
    IntervalError,
    TimeError,
    UnknownSymbolError,
)

app = typer.Typer(
    name="openbell",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@dataclass
class _Call:
    """What the options before the command say."""

    debug: bool = False


@app.callback(invoke_without_command=True)
def _openbell(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="On an error, show the traceback too.")
    ] = False,
) -> None:
    """The session data engine for trading, from opening bell to closing bell."""
    context.ensure_object(_Call).debug = debug
    if version:
        typer.echo(f"openbell {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command("demo")(demo.demo)
app.command("sample")(data.sample)
app.command("import")(data.import_)
app.command("replay")(replay.replay)
app.command("live")(live.live)
app.command("show")(show.show)
app.command("report")(report.report)
app.command("watch")(watch.watch)
app.add_typer(ctl.app, name="ctl")
app.command("validate")(validate.validate)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, print its error as one line on stderr, return its exit code."""
    call = _Call()
    words = None if arguments is None else list(arguments)
    log, warnings = logging.getLogger("openbell"), _Warnings(logging.WARNING)
    log.addHandler(warnings)
    if sys.stdout is None:
        sys.stdout = _unread()
    try:
        code = app(args=words, prog_name="openbell", standalone_mode=False, obj=call)
        sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `| head` does.
        _drop_output()
        return FAILED
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None:
            _drop_output()
        if call.debug:
            traceback.print_exc()
        return _report(error, call)
    finally:
        log.removeHandler(warnings)
    if code == INTERRUPTED:
        # typer makes an exit code of Ctrl-C, in silence.
        _say("interrupted")
    return code if isinstance(code, int) else FINE


def _unread() -> TextIO:
    # Whoever closed the output before it began wants what one gets who closes it later.
    reader, writer = os.pipe()
    os.close(reader)
    return open(writer, "w", encoding="utf-8")


def _drop_output() -> None:
    # What stdout still holds could not be written; Python would complain of it again at exit.
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Warnings(logging.Handler):
    """What the library warns of, such as a symbol left out, as a line on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


def _report(error: Exception, call: _Call) -> int:
    message_of = getattr(error, "format_message", None)
    if message_of is not None:
        # A usage error; typer brings its own classes for these, or click's.
        path = getattr(getattr(error, "ctx", None), "command_path", "openbell")
        _say(f"{str(message_of()).rstrip('.')}{_received(error)}; see {path} --help")
        return WRONG_CALL
    if isinstance(error, OpenbellError):
        _say(str(error))
        return WRONG_CALL if isinstance(error, _CALL_ERRORS) else FAILED
    if isinstance(error, OSError):
        where = error.filename
        if where is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            where = "cannot write"
        _say(f"{'' if where is None else f'{where}: '}{error.strerror or error}")
        return FAILED
    hint = "" if call.debug else "; openbell --debug shows where"
    _say(f"unexpected {type(error).__name__}: {error}{hint}")
    return FAILED


def _received(error: Exception) -> str:
    # A typer that checks numbers with pydantic says what is wanted, but not what came.
    found = getattr(error.__cause__, "errors", None)
    return "" if found is None else f", received {found()[0]['input']!r}"


def _say(message: str) -> None:
    print(f"openbell: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
