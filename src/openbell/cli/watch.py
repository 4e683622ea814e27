"""``openbell watch``: a running session on the terminal, from a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Final

import typer

from openbell.cli.console import counted, drawn, output, rate, require_file
from openbell.cli.tables import plain_table, rows_of_snapshot, session_table
from openbell.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from openbell.watch import BoardReader, Snapshot

__all__ = ["watch"]

_REFRESH_S: Final = 0.25
#: A single look waits so long for a snapshot that tells how fast bars come.
_LONGEST_LOOK_S: Final = 2.0
_OLD_S: Final = 2.0
#: In a list of sessions: what is longer would push the PID off the screen.
_LONGEST_NAME: Final = 30
#: Lines that are no symbols: two of the session, an empty one, the heading and its rule, the rest.
_N_OTHER_LINES: Final = 6


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
                console.print(_page(console, snapshot, patterns, n_most=None))
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
        found = [
            (path, seen)
            for path, seen in running
            if which in (None, str(seen.pid), seen.name, path.stem)
        ]
        if len(found) == 1:
            return found[0][0]
        if found:
            _list([path for path, _ in found])
            expected = f"one of {len(found)} such sessions: {_named(found)}"
            raise ArgumentError("PID|NAME", which, expected)
        if not wait:
            break
        sleep(_REFRESH_S)
    if not running:
        hint = "`openbell replay` can be watched, and --wait waits for it"
        raise WatchError("no session is running", hint)
    raise ArgumentError("PID|NAME", which, f"a running session: {_named(running)}")


def _running() -> list[tuple[Path, Snapshot]]:
    from openbell.watch import BoardReader, WatchError, find_boards

    found = []
    for path in find_boards():
        try:
            with BoardReader(path) as reader:
                found.append((path, reader.read()))
        except WatchError:
            # It ended at this moment.
            continue
    return found


def _list(paths: Sequence[Path]) -> None:
    from openbell.watch import WatchError, read_board

    table = plain_table("PID", "name", "day", "phase", "symbols")
    for label, path in zip(_labels(paths), paths, strict=True):
        with suppress(WatchError):
            seen = read_board(path, timeout=_LONGEST_LOOK_S)
            day = "-" if seen.date is None else seen.date.isoformat()
            table.add_row(label, _short(seen.name), day, seen.phase, f"{len(seen.symbols):,}")
    output().print(table)


def _named(sessions: Sequence[tuple[Path, Snapshot]]) -> str:
    labels = _labels([path for path, _ in sessions])
    pairs = zip(labels, sessions, strict=True)
    return _some([f"{label} ({_short(seen.name)})" for label, (_, seen) in pairs])


def _labels(paths: Sequence[Path]) -> list[str]:
    # Sessions of one process are told apart by the whole name.
    pids = [path.stem.partition("-")[0] for path in paths]
    return [
        pid if pids.count(pid) == 1 else path.stem for pid, path in zip(pids, paths, strict=True)
    ]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\u2026"


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
        last = "" if snapshot.date is None else f", last seen {_times(snapshot)}"
        raise WatchError(snapshot.name, f"its process {snapshot.pid} is gone{last}")
    return snapshot


def _follow(reader: BoardReader, patterns: Sequence[str]) -> None:
    from rich.live import Live

    console = output()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            snapshot = _read(reader)
            page = _page(console, snapshot, patterns, n_most=console.height - _N_OTHER_LINES)
            live.update(page, refresh=True)
            if snapshot.is_final:
                break
            sleep(_REFRESH_S)
    console.print(_page(console, snapshot, patterns, n_most=None))


def _page(
    console: Console, snapshot: Snapshot, patterns: Sequence[str], n_most: int | None
) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = rows_of_snapshot(
        state
        for state in snapshot.symbols
        if any(fnmatchcase(state.symbol, pattern) for pattern in patterns)
    )
    n_shown = len(rows) if n_most is None else min(len(rows), max(n_most, 1))
    lines: list[RenderableType] = [*_headlines(snapshot), Text()]
    if rows:
        lines.append(session_table(console, rows[:n_shown]))
    elif snapshot.symbols:
        lines.append(Text("none of the symbols is named so"))
    if n_shown < len(rows):
        more = counted(len(rows) - n_shown, "more symbol")
        lines.append(Text(f"... and {more}; --symbols chooses", style="dim"))
    return Group(*lines)


def _headlines(snapshot: Snapshot) -> tuple[RenderableType, RenderableType]:
    from rich.text import Text

    day = "no day yet" if snapshot.date is None else _times(snapshot)
    first = Text(snapshot.name, "bold", no_wrap=True, overflow="ellipsis")
    first.append(f"  {day}", "not bold")
    first.append(f"  {counted(len(snapshot.symbols), 'symbol')}", "not bold")
    second = Text(f"{snapshot.phase}  {counted(snapshot.n_bars, 'bar')}")
    second.no_wrap, second.overflow = True, "ellipsis"
    if snapshot.bars_per_s is not None:
        second.append(f"  {rate(snapshot.bars_per_s)}")
    if snapshot.pending:
        second.append(f"  waiting to be loaded: {_some(snapshot.pending)}")
    if snapshot.is_final:
        second.append(f"  process {snapshot.pid} publishes no more", style="dim")
    else:
        age_s = snapshot.age_s
        style = "yellow" if age_s > _OLD_S else "dim"
        second.append(f"  process {snapshot.pid}, {age_s:.1f} s ago", style=style)
    return first, second


def _times(snapshot: Snapshot) -> str:
    from openbell.schema import to_datetime

    instants = (snapshot.open_ns, snapshot.close_ns, snapshot.now_ns)
    opened, closed, now = (f"{to_datetime(ns):%H:%M:%S}" for ns in instants)
    return f"{snapshot.date} {snapshot.calendar}  {opened} to {closed} UTC  now {now}"


def _some(names: Sequence[str]) -> str:
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + rest
