"""``openbell ctl``: command a running session from another terminal."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import date as Date
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from openbell.cli.console import counted, output, warn
from openbell.cli.live_events import rare_counts
from openbell.cli.running import RunningSession, choose, headlines, no_such_session
from openbell.cli.tables import plain_table, rows_of_snapshot, session_table
from openbell.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from openbell.control import ControlClient
    from openbell.live.states import FeedHealth
    from openbell.watch import Snapshot

__all__ = ["app"]

_REFRESH_S: Final = 0.1
#: A session that does not answer in time is listed as such.
_LONGEST_LOOK_S: Final = 2.0
#: A session that was told to pause or to go on does so with its next slice.
_LONGEST_TURN_S: Final = 1.0
_RUNNING: Final = ("running", "paused", "waiting")
_TO_PAUSE: Final = ("running", "waiting")
#: Of a symbol's stream, what is worth a line.
_UNWELL: Final = ("silent", "down", "refused")
#: Stands where the name of a session would that does not answer.
_UNKNOWN: Final = "-"
_FORMATS: Final = {".json": "json", ".csv": "csv", ".parquet": "parquet", ".html": "html"}

_WHICH = typer.Option("--session", metavar="PID|NAME", help="Of several running sessions, which.")
_JSON = typer.Option("--json", help="Print the session's answer as JSON.")
_Which = Annotated[str | None, _WHICH]
_Json = Annotated[bool, _JSON]
_Symbols = Annotated[list[str], typer.Argument(metavar="SYMBOL")]

app = typer.Typer(
    help=(
        "Command a running session: what it is, its symbols, its files, pause and end.\n\n"
        "In place of a shell with `system start` and `data session`: `openbell replay` and "
        "`openbell live` start a session, and these commands reach it from any other terminal of "
        "the same user. `openbell ctl status` and `openbell watch` show it."
    ),
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _ctl(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def status(session: _Which = None, json: _Json = False) -> None:
    """Show the session, its symbols, its feeds and its errors."""
    with _open(session) as client:
        result = client.ask("status")
    if json:
        _print_json(result)
    else:
        _print_status(output(), result)


@app.command()
def add(
    symbols: _Symbols,
    session: _Which = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until each is loaded, or cannot be.")
    ] = False,
    json: _Json = False,
) -> None:
    """Bring symbols into the running day."""
    with _open(session) as client:
        result = client.ask("add", {"symbols": symbols}, timeout=None)
        if wait:
            result = _wait_loaded(client, result)
    _print_standings("add", result, json, fine=("pending", "loaded"))


@app.command()
def remove(symbols: _Symbols, session: _Which = None, json: _Json = False) -> None:
    """Take symbols out of the running day."""
    with _open(session) as client:
        result = client.ask("remove", {"symbols": symbols}, timeout=None)
    _print_standings("remove", result, json, fine=("removed",))


@app.command()
def export(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="In a folder that exists.")],
    format: Annotated[
        str | None,
        typer.Option(metavar="json|csv|parquet|html", help="Told by PATH's suffix if not given."),
    ] = None,
    interval: Annotated[
        str | None, typer.Option(metavar="I", help="Bars of this one; [export] says if not given.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    session: _Which = None,
    json: _Json = False,
) -> None:
    """Have the session write its day as it is now into a file.

    A dump, a session log, bars or a report, written by the session's own process.
    """
    chosen = _FORMATS.get(path.suffix) if format is None else format
    if chosen not in _FORMATS.values():
        if format is None:
            expected = f"a name that ends in one of {', '.join(_FORMATS)}, or --format"
            raise ArgumentError("PATH", str(path), expected)
        raise ArgumentError("--format", format, f"one of {', '.join(_FORMATS.values())}")
    wanted = {
        "path": os.path.abspath(path),
        "format": chosen,
        "interval": interval,
        "force": force,
    }
    with _open(session) as client:
        result = client.ask("export", wanted, timeout=None)
    if json:
        _print_json(result)
    else:
        size = counted(result["n_bytes"], "byte")
        output().print(f"wrote {result['path']} ({size})", soft_wrap=True)


@app.command()
def pause(session: _Which = None, json: _Json = False) -> None:
    """Hold the session before its next slice."""
    with _open(session) as client:
        result = client.ask("pause")
        result = _look_until(client, result, lambda seen: seen["phase"] not in _TO_PAUSE)
    _print_phase(result, json, "pauses before its next slice" * (result["phase"] in _TO_PAUSE))


@app.command()
def resume(session: _Which = None, json: _Json = False) -> None:
    """Let a paused session go on."""
    with _open(session) as client:
        result = client.ask("resume")
        result = _look_until(client, result, lambda seen: seen["phase"] != "paused")
    _print_phase(result, json)


@app.command()
def stop(
    session: _Which = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is over.")] = False,
    json: _Json = False,
) -> None:
    """End the running day and the session.

    Before its next slice; files that the run was to write are written.
    """
    from openbell.control import SessionGone

    with _open(session) as client:
        result = client.ask("stop")
        try:
            while wait and not result["is_over"]:
                sleep(_REFRESH_S)
                result = client.ask("look")
        except SessionGone:
            result = {**result, "phase": "stopped", "is_over": True}
    _print_phase(result, json, "ends before its next slice" * (not result["is_over"]))


# Which session


def _open(which: str | None) -> ControlClient:
    from openbell.control import ControlClient, ControlError, find_controls

    running = [seen for path in find_controls() if (seen := _seen(path)) is not None]
    path = choose("--session", which, running)
    if path is not None:
        (name,) = (one.name for one in running if one.path == path)
        return ControlClient(path, None if name == _UNKNOWN else name)
    if not running:
        hint = "`openbell replay` and `openbell live` take commands while they run"
        raise ControlError("no session is running", hint)
    raise no_such_session("--session", which, running)


def _seen(path: Path) -> RunningSession | None:
    from openbell.control import ControlClient, ControlError, SessionGone

    try:
        with ControlClient(path) as client:
            seen = client.ask("look", timeout=_LONGEST_LOOK_S)
    except SessionGone:
        return None
    except ControlError:
        return RunningSession(path, _UNKNOWN, None, "no answer", 0)
    return RunningSession(path, seen["name"], _date(seen), seen["phase"], seen["n_symbols"])


def _date(seen: Mapping[str, Any]) -> Date | None:
    return None if seen["date"] is None else Date.fromisoformat(seen["date"])


# Waiting


def _look_until(
    client: ControlClient, seen: dict[str, Any], holds: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    until = monotonic() + _LONGEST_TURN_S
    while not holds(seen) and monotonic() < until:
        sleep(_REFRESH_S)
        seen = client.ask("look")
    return seen


def _wait_loaded(client: ControlClient, seen: dict[str, Any]) -> dict[str, Any]:
    from openbell.control import SessionGone

    standings: dict[str, dict[str, str]] = seen["symbols"]
    is_warned = False
    while pending := [name for name, one in standings.items() if one["state"] == "pending"]:
        if seen["phase"] == "paused" and not is_warned:
            warn("the session is paused: symbols are loaded when it goes on")
            is_warned = True
        sleep(_REFRESH_S)
        try:
            seen = client.ask("look", {"symbols": pending})
        except SessionGone:
            ended = {"state": "absent", "reason": "the session ended before it was loaded"}
            standings |= dict.fromkeys(pending, ended)
            break
        standings |= seen["symbols"]
        for name in pending:
            if standings[name]["state"] == "absent":
                is_running = seen["phase"] in _RUNNING
                why = "it was removed meanwhile" if is_running else "the day ended before that"
                standings[name] = {"state": "absent", "reason": why}
    return {**seen, "symbols": standings}


# Showing


def _print_json(result: object) -> None:
    import json

    typer.echo(json.dumps(result))


def _print_phase(result: Mapping[str, Any], json: bool, note: str = "") -> None:
    if json:
        _print_json(result)
        return
    rest = f"; it {note}" if note else ""
    line = f"{_label(result)}: {result['phase']}{rest}"
    output().print(line, soft_wrap=True)


def _label(result: Mapping[str, Any]) -> str:
    return f"{result['name']} (process {result['pid']})"


def _print_standings(
    command: str, result: Mapping[str, Any], json: bool, fine: Sequence[str]
) -> None:
    from openbell.control import ControlError

    if json:
        _print_json(result)
    failed = []
    for symbol, one in result["symbols"].items():
        if one["state"] not in fine:
            state = "not in the session" if one["state"] == "absent" else one["state"]
            failed.append(f"{symbol}: {one['reason'] or state}")
        elif not json:
            output().print(f"{symbol}: {one['state']}", soft_wrap=True)
    if failed:
        raise ControlError(_label(result), f"{command}: {'; '.join(failed)}")


def _print_status(console: Console, result: Mapping[str, Any]) -> None:
    snapshot = _snapshot(result)
    for line in headlines(snapshot):
        console.print(line)
    if result["config"] is not None:
        console.print(result["config"], style="dim", soft_wrap=True)
    rows = rows_of_snapshot(snapshot.symbols)
    if rows:
        console.print()
        console.print(session_table(console, rows))
    if snapshot.feeds:
        console.print()
        console.print(_feeds(snapshot.feeds))
    lines = [f"{symbol} is left out: {why}" for symbol, why in result["left_out"].items()]
    explained = [feed.source for feed in snapshot.feeds if feed.reason]
    for feed in snapshot.feeds:
        if feed.reason:
            lines.append(f"{feed.source}: {feed.state}: {feed.reason}")
        if rare := rare_counts(feed):
            lines.append(f"{feed.source}: {', '.join(rare)}")
    for one in snapshot.symbol_feeds:
        # With their source, all of its symbols are down.
        is_told = one.state == "down" and one.source in explained
        if one.state in _UNWELL and not is_told:
            reason = f": {one.reason}" if one.reason else ""
            lines.append(f"{one.symbol}: its stream is {one.state}{reason}")
    for error in result["errors"]:
        times = "once" if error["n"] == 1 else f"{error['n']:,} times"
        lines.append(f"{error['symbol']}: {error['where']} failed {times}: {error['error']}")
    if lines:
        console.print()
    for text in lines:
        console.print(text, soft_wrap=True)


def _snapshot(result: Mapping[str, Any]) -> Snapshot:
    from time import monotonic_ns

    from msgspec import convert

    from openbell.live.states import FeedHealth, SymbolHealth
    from openbell.schema import to_ns
    from openbell.watch import Snapshot, SymbolState

    instants = {key: 0 if result[key] is None else to_ns(result[key]) for key in _INSTANTS}
    return Snapshot(
        pid=result["pid"],
        name=result["name"],
        is_final=False,
        phase=result["phase"],
        date=_date(result),
        calendar=result["calendar"],
        open_ns=instants["open"],
        close_ns=instants["close"],
        now_ns=instants["clock"],
        n_bars=result["n_bars"],
        bars_per_s=None,
        pending=result["pending"],
        symbols=[SymbolState(**state) for state in result["symbols"]],
        taken_ns=monotonic_ns(),
        feeds=convert(result["feeds"], list[FeedHealth]),
        symbol_feeds=convert(result["symbol_feeds"], list[SymbolHealth]),
    )


_INSTANTS: Final = ("open", "close", "clock")


_FEED_COLUMNS: Final = {
    "n_messages": "messages",
    "n_bars": "bars",
    "n_updates": "corrections",
    "n_drops": "drops",
    "n_backfilled": "backfilled",
}


def _feeds(feeds: Sequence[FeedHealth]) -> Table:
    shown = [key for key in _FEED_COLUMNS if any(getattr(feed, key) for feed in feeds)]
    table = plain_table("feed", "state", "lag", *(_FEED_COLUMNS[key] for key in shown))
    for feed in feeds:
        lag = "-" if feed.lag_s is None else f"{feed.lag_s:.1f} s"
        counts = [f"{getattr(feed, key):,}" for key in shown]
        table.add_row(feed.source, feed.state, lag, *counts)
    return table
