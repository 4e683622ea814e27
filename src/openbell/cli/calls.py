"""One call of the command: run it, print its error as one line, return its exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, TextIO

from openbell.cli.plain import plain_replay
from openbell.errors import (
    ArgumentError,
    CalendarError,
    ConfigError,
    IntervalError,
    OpenbellError,
    TimeError,
    UnknownSymbolError,
)

__all__ = ["FAILED", "FINE", "INTERRUPTED", "WRONG_CALL", "Call", "run"]

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


class Call:
    """What the options before the command say, and whether the process is there for it alone."""

    def __init__(self, *, is_alone: bool = False) -> None:
        self.debug = False
        self.is_alone = is_alone


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, print its error as one line on stderr, return its exit code."""
    call = Call(is_alone=arguments is None)
    words = None if arguments is None else list(arguments)
    log, warnings = logging.getLogger("openbell"), _Warnings(logging.WARNING)
    log.addHandler(warnings)
    if sys.stdout is None:
        sys.stdout = _unread()
    try:
        code = _made(words, call)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader went away, as `| head` does.
        _drop_output()
        return FAILED
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None:
            _drop_output()
        if call.debug:
            import traceback

            traceback.print_exc()
        return _report(error, call)
    finally:
        log.removeHandler(warnings)
    if code == INTERRUPTED:
        # typer makes an exit code of Ctrl-C, in silence.
        _say("interrupted")
    return code if isinstance(code, int) else FINE


def _made(words: list[str] | None, call: Call) -> object:
    plain = plain_replay(sys.argv[1:] if words is None else words)
    if plain is not None:
        from openbell.cli.days import replay_days
        from openbell.cli.outputs import Outputs

        replay_days(plain.config, Outputs(plain.json, plain.csv, plain.report), plain.speed)
        return FINE
    from openbell.cli import collect_garbage
    from openbell.cli.app import call_app

    collect_garbage()
    return call_app(words, call)


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


def _report(error: Exception, call: Call) -> int:
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
