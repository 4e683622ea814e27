"""Where the commands print: results to stdout, progress and warnings to stderr."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol, TextIO

from openbell.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = [
    "Lines",
    "Output",
    "Told",
    "counted",
    "drawn",
    "light_output",
    "output",
    "program",
    "rate",
    "require_file",
    "seconds",
    "stages",
    "warn",
]

#: Tells how far a stage has come: its name, how much is done, how much there is.
Told = Callable[[str, int, int], None]

# What a pipe or a file gets; a terminal says its own width.
_PLAIN_WIDTH: Final = 120
_SECONDS_BEFORE_THE_FIRST: Final = 0.3
_SECONDS_BETWEEN_REDRAWS: Final = 0.1


#: What tells rich of a terminal, whatever the file itself is.
_TOLD_TO_RICH: Final = ("FORCE_COLOR", "TTY_COMPATIBLE", "JUPYTER_COLUMNS")


class Output(Protocol):
    """Where lines are printed: a console of rich, or :class:`Lines`."""

    def print(
        self, what: object, /, *, style: str | None = None, end: str = "\n", soft_wrap: bool = False
    ) -> None:
        """Print one line."""


class Lines:
    """Prints lines on stdout as a console of rich does, without importing it.

    Importing it and laying out a table takes longer than replaying a day of ten symbols.

    Attributes
    ----------
    width : int
        Columns that a line may have.
    """

    def __init__(self, width: int, is_terminal: bool) -> None:
        self.width = width
        self._is_terminal = is_terminal

    def print(
        self, what: object, /, *, style: str | None = None, end: str = "\n", soft_wrap: bool = False
    ) -> None:
        """Print one line, bold when `style` says so; it is never wrapped."""
        del soft_wrap
        text = f"\033[1m{what}\033[0m" if style == "bold" and self._is_terminal else str(what)
        sys.stdout.write(text + end)
        sys.stdout.flush()


def output() -> Console:
    """Console on stdout; wide and plain when that is no terminal."""
    return _console(stderr=False)


def light_output() -> Lines | Console:
    """Where to print lines and one table: without rich, where it would do no more."""
    file = sys.stdout
    is_plain = sys.platform != "win32" and str(file.encoding).lower().startswith("utf")
    if not is_plain or any(name in os.environ for name in _TOLD_TO_RICH):
        return output()
    is_terminal = file.isatty()
    if is_terminal and os.environ.get("TERM", "dumb").lower() in ("dumb", "unknown"):
        return output()
    try:
        if "COLUMNS" in os.environ:
            return Lines(int(os.environ["COLUMNS"]), is_terminal)
        width = os.get_terminal_size(file.fileno()).columns if is_terminal else _PLAIN_WIDTH
        return Lines(width, is_terminal)
    except (OSError, ValueError):
        return output()


@contextmanager
def drawn(path: Path | None, title: str) -> Iterator[Console]:
    """Console on stdout that also draws what is printed into an SVG file, unless path is None.

    Raises
    ------
    ArgumentError
        When the file cannot be there; nothing has been printed then.
    """
    require_file("--svg", path)
    console = output()
    console.record = path is not None
    yield console
    if path is not None:
        picture = console.export_svg(title=title)
        # The picture opens offline: the viewer's own monospace font is used.
        picture = re.sub(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", "", picture, flags=re.DOTALL)
        path.write_text(picture, encoding="utf-8")


def warn(message: str) -> None:
    """Print one line on stderr."""
    _console(stderr=True).print(message, soft_wrap=True)


def program() -> str:
    """Return what to type to run this command again: its path when its name alone does not do."""
    import shutil

    called, found = Path(sys.argv[0]), shutil.which("openbell")
    if called.stem != "openbell" or (
        found is not None and called.resolve() == Path(found).resolve()
    ):
        return "openbell"
    return str(called)


def counted(n: int, noun: str) -> str:
    """Return a count with its noun: ``1 file``, ``1,200 files``."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def seconds(duration: float) -> str:
    """Return a duration as people read it: ``0.4 ms``, ``82 ms``, ``3.1 s``."""
    if duration >= 0.9995:
        return f"{duration:.1f} s"
    return f"{duration * 1e3:.{0 if duration >= 0.00995 else 1}f} ms"


def rate(bars_per_s: float) -> str:
    """Return how fast bars come: ``29,700 bars/s``, ``4.5 M bars/s``."""
    if bars_per_s >= 1e6:
        return f"{bars_per_s / 1e6:.1f} M bars/s"
    return f"{bars_per_s:,.0f} bars/s"


def require_file(option: str, path: Path | None) -> None:
    """Refuse a target that is no file or has no folder, before there is anything to write.

    Raises
    ------
    ArgumentError
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise ArgumentError(option, str(path), "a file in a folder that exists; make it first")
    if path.exists() and not path.is_file():
        # Renaming the finished file over a device would take the device away.
        raise ArgumentError(option, str(path), "a file; this is a folder or a device")


@contextmanager
def stages() -> Iterator[Told | None]:
    """Show a progress bar per stage on stderr while the block runs.

    Yields
    ------
    callable or None
        Takes a stage's name, how much is done and how much there is; cheap enough for each slice.
        None when stderr is no terminal: there is nobody to tell.
    """
    if not _is_terminal(sys.stderr):
        yield None
        return
    bars: Progress | None = None
    tasks: dict[str, TaskID] = {}
    # What is done at once needs no bar.
    redraw_at = monotonic() + _SECONDS_BEFORE_THE_FIRST

    def told(stage: str, done: int, total: int) -> None:
        nonlocal bars, redraw_at
        now = monotonic()
        if now < redraw_at and not (done >= total and stage in tasks):
            return
        redraw_at = now + _SECONDS_BETWEEN_REDRAWS
        if bars is None:
            bars = _progress()
        if stage not in tasks:
            bars.start()
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    try:
        yield told
    finally:
        if bars is not None:
            bars.stop()


def _is_terminal(file: TextIO | None) -> bool:
    if any(name in os.environ for name in _TOLD_TO_RICH):
        return _console(stderr=True).is_terminal
    return file is not None and file.isatty()


def _progress() -> Progress:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()
    console = _console(stderr=True)
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    # Names of symbols, sessions and folders are printed, and may hold brackets and colons.
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _PLAIN_WIDTH
    return console
