"""The running sessions of this user: which one is meant, and two lines that describe one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from openbell.cli.console import counted, output, rate
from openbell.cli.tables import plain_table
from openbell.errors import ArgumentError

if TYPE_CHECKING:
    from datetime import date as Date

    from rich.console import RenderableType

    from openbell.watch import Snapshot

__all__ = ["RunningSession", "choose", "headlines", "no_such_session", "some", "times"]

_OLD_S: Final = 2.0
#: In a list of sessions: what is longer would push the PID off the screen.
_LONGEST_NAME: Final = 30


@dataclass(frozen=True)
class RunningSession:
    """What a list of running sessions tells of one.

    Attributes
    ----------
    path : pathlib.Path
        Its board or its socket, whose stem begins with its process's number.
    """

    path: Path
    name: str
    date: Date | None
    phase: str
    n_symbols: int

    @property
    def pid(self) -> str:
        """Its process's number, as it is typed."""
        return self.path.stem.partition("-")[0]


def choose(
    option: str,
    which: str | None,
    running: Sequence[RunningSession],
    again: Callable[[RunningSession], RunningSession | None] = lambda one: one,
) -> Path | None:
    """Return where the one session is that is meant, None when there is no such session.

    Parameters
    ----------
    option : str
        Where `which` was typed.
    which : str or None
        A PID, a name, a path's stem; None means the only one.
    running : sequence of RunningSession
    again : callable
        Looks at a session anew, before it is listed.

    Raises
    ------
    ArgumentError
        When several are meant; they have been listed then.
    """
    found = [one for one in running if which in (None, one.pid, one.name, one.path.stem)]
    if len(found) > 1:
        _list([seen for one in found if (seen := again(one)) is not None])
        expected = f"one of {len(found)} such sessions: {_named(found)}"
        raise ArgumentError(option, which, expected)
    return found[0].path if found else None


def no_such_session(
    option: str, which: str | None, running: Sequence[RunningSession]
) -> ArgumentError:
    """Return the error that tells which sessions run instead."""
    return ArgumentError(option, which, f"a running session: {_named(running)}")


def _list(sessions: Sequence[RunningSession]) -> None:
    table = plain_table("PID", "name", "day", "phase", "symbols")
    for label, one in zip(_labels(sessions), sessions, strict=True):
        day = "-" if one.date is None else one.date.isoformat()
        table.add_row(label, _short(one.name), day, one.phase, f"{one.n_symbols:,}")
    output().print(table)


def _named(sessions: Sequence[RunningSession]) -> str:
    pairs = zip(_labels(sessions), sessions, strict=True)
    return some([f"{label} ({_short(one.name)})" for label, one in pairs])


def _labels(sessions: Sequence[RunningSession]) -> list[str]:
    # Sessions of one process are told apart by the whole name.
    pids = [one.pid for one in sessions]
    return [one.pid if pids.count(one.pid) == 1 else one.path.stem for one in sessions]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}\u2026"


def headlines(snapshot: Snapshot) -> tuple[RenderableType, RenderableType]:
    """Return two lines: the session and its day; how far it is, and whose it is."""
    from rich.text import Text

    day = "no day yet" if snapshot.date is None else times(snapshot)
    first = Text(snapshot.name, "bold", no_wrap=True, overflow="ellipsis")
    first.append(f"  {day}", "not bold")
    first.append(f"  {counted(len(snapshot.symbols), 'symbol')}", "not bold")
    second = Text(f"{snapshot.phase}  {counted(snapshot.n_bars, 'bar')}")
    second.no_wrap, second.overflow = True, "ellipsis"
    if snapshot.bars_per_s is not None:
        second.append(f"  {rate(snapshot.bars_per_s)}")
    if snapshot.pending:
        second.append(f"  waiting to be loaded: {some(snapshot.pending)}")
    if snapshot.is_final:
        second.append(f"  process {snapshot.pid} publishes no more", style="dim")
    else:
        age_s = snapshot.age_s
        style = "yellow" if age_s > _OLD_S else "dim"
        second.append(f"  process {snapshot.pid}, {age_s:.1f} s ago", style=style)
    return first, second


def times(snapshot: Snapshot) -> str:
    """Return the day, its calendar, its bounds and its clock."""
    from openbell.schema import to_datetime

    instants = (snapshot.open_ns, snapshot.close_ns, snapshot.now_ns)
    opened, closed, now = (f"{to_datetime(ns):%H:%M:%S}" for ns in instants)
    today = to_datetime(snapshot.now_ns).date()
    if snapshot.now_ns < snapshot.open_ns and today != snapshot.date:
        # As on a Saturday, before Monday's open.
        now = f"{today} {now}"
    return f"{snapshot.date} {snapshot.calendar}  {opened} to {closed} UTC  now {now}"


def some(names: Sequence[str]) -> str:
    """Return the first five names, and how many more there are."""
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + rest
