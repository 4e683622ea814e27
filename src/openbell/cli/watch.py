"""``openbell watch``: a running session on the terminal, from a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Final

import typer

from openbell.cli.console import counted, drawn, output, require_file
from openbell.cli.running import RunningSession, choose, headlines, no_such_session, times
from openbell.cli.tables import rows_of_snapshot, session_table
from openbell.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from openbell.watch import BoardReader, Snapshot

__all__ = ["page", "watch"]

_REFRESH_S: Final = 0.25
#: A single look waits so long for a snapshot that tells how fast bars come.
_LONGEST_LOOK_S: Final = 2.0
#: Lines beside those of symbols: an empty one, the heading and its rule, how many more there are.
_N_OF_TABLE: Final = 4


def watch(
    which: Annotated[
        str | None,
        typer.Argument(metavar="[PID|NAME]", help="Of several running sessions, which."),
    ] = None,
    symbols: Annotated[
        str | None, typer.Option(metavar="LIST", help="Only these: AAPL,TSLA or SYN*.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until such a session runs.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Print one table and end.")] = False,
    svg: Annotated[
        Path | None, typer.Option(dir_okay=False, help="As --once, and draw it into an SVG file.")
    ] = None,
) -> None:
    """Watch a running session."""
    from openbell.watch import BoardReader

    patterns = _patterns(symbols)
    require_file("--svg", svg)
    path = _choose(which, wait)
    with BoardReader(path) as reader:
        if once or svg is not None or not output().is_terminal:
            snapshot = _look(reader)
            with drawn(svg, "openbell watch") as console:
                console.print(page(console, snapshot, patterns))
        else:
            _follow(reader, patterns)


def _patterns(text: str | None) -> list[str]:
    if text is None:
        return ["*"]
    patterns = [pattern.strip() for pattern in text.split(",")]
    if not all(patterns):
        raise ArgumentError("--symbols", text, "names or patterns, as in AAPL,SYN*")
    return patterns


def _choose(which: str | None, wait: bool) -> Path:
    from openbell.watch import WatchError

    while True:
        running = _running()
        path = choose("PID|NAME", which, running, _again)
        if path is not None:
            return path
        if not wait:
            break
        sleep(_REFRESH_S)
    if not running:
        hint = "`openbell replay` and `openbell live` can be watched, and --wait waits for it"
        raise WatchError("no session is running", hint)
    raise no_such_session("PID|NAME", which, running)


def _running() -> list[RunningSession]:
    from openbell.watch import BoardReader, WatchError, find_boards

    found = []
    for path in find_boards():
        try:
            with BoardReader(path) as reader:
                found.append(_seen(path, reader.read()))
        except WatchError:
            # It ended at this moment.
            continue
    return found


def _again(one: RunningSession) -> RunningSession | None:
    from openbell.watch import WatchError, read_board

    try:
        return _seen(one.path, read_board(one.path, timeout=_LONGEST_LOOK_S))
    except WatchError:
        return None


def _seen(path: Path, snapshot: Snapshot) -> RunningSession:
    n_symbols = len(snapshot.symbols)
    return RunningSession(path, snapshot.name, snapshot.date, snapshot.phase, n_symbols)


def _look(reader: BoardReader) -> Snapshot:
    before, until = reader.read(), monotonic() + _LONGEST_LOOK_S
    while True:
        snapshot = _read(reader)
        is_told = snapshot is not before and snapshot.bars_per_s is not None
        if snapshot.is_final or is_told or monotonic() >= until:
            return snapshot
        sleep(_REFRESH_S / 5)


def _read(reader: BoardReader) -> Snapshot:
    from openbell.watch import WatchError

    reader.announce()
    # In this order: whoever ends as it should leaves a final state behind.
    is_alive = reader.is_alive
    snapshot = reader.read()
    if not is_alive and not snapshot.is_final:
        last = "" if snapshot.date is None else f", last seen {times(snapshot)}"
        raise WatchError(snapshot.name, f"its process {snapshot.pid} is gone{last}")
    return snapshot


def _follow(reader: BoardReader, patterns: Sequence[str]) -> None:
    from rich.live import Live

    console = output()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            snapshot = _read(reader)
            live.update(page(console, snapshot, patterns, console.height), refresh=True)
            if snapshot.is_final:
                break
            sleep(_REFRESH_S)
    console.print(page(console, snapshot, patterns))


def page(
    console: Console,
    snapshot: Snapshot,
    patterns: Sequence[str] = ("*",),
    height: int | None = None,
    notes: Sequence[str] = (),
    chooser: str = "--symbols",
) -> RenderableType:
    """Lay a snapshot out.

    Parameters
    ----------
    console : Console
    snapshot : Snapshot
    patterns : sequence of str
        Which symbols are shown.
    height : int or None
        Lines it may take, when not all symbols are shown.
    notes : sequence of str
        Lines between those of the session and its feeds, and the table.
    chooser : str
        What to type for other symbols.
    """
    from rich.console import Group
    from rich.text import Text

    from openbell.cli.live_events import feed_lines

    rows = rows_of_snapshot(
        state
        for state in snapshot.symbols
        if any(fnmatchcase(state.symbol, pattern) for pattern in patterns)
    )
    texts = [*feed_lines(snapshot.feeds, snapshot.symbol_feeds), *notes]
    lines: list[RenderableType] = [*headlines(snapshot)]
    lines += [Text(text, no_wrap=True, overflow="ellipsis") for text in texts]
    n_shown = len(rows)
    if height is not None:
        n_shown = min(n_shown, max(height - len(lines) - _N_OF_TABLE, 1))
    lines.append(Text())
    if rows:
        lines.append(session_table(console, rows[:n_shown]))
    elif snapshot.symbols:
        lines.append(Text("none of the symbols is named so"))
    if n_shown < len(rows):
        more = counted(len(rows) - n_shown, "more symbol")
        lines.append(Text(f"... and {more}; {chooser} chooses", style="dim"))
    return Group(*lines)
