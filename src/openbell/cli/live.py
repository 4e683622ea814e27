"""``openbell live``: the configured session as it is made, or a rehearsal of one."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import date as Date
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import typer

from openbell.cli.console import counted, output
from openbell.cli.days import count_bars, print_errors, print_table
from openbell.cli.live_events import feed_summaries
from openbell.cli.options import ConfigFile, CsvPath, JsonPath, ReportPath
from openbell.cli.outputs import Outputs, configured
from openbell.cli.published import published
from openbell.errors import ArgumentError

if TYPE_CHECKING:
    from rich.console import Console

    from openbell.clock.live import AcceleratedClock
    from openbell.config import SessionConfig
    from openbell.lifecycle import SessionCoordinator
    from openbell.lifecycle.live_run import LiveRun

__all__ = ["live"]

#: A rehearsal begins so many seconds of waiting before the open.
_LEAD_S: Final = 2.0
#: And what comes waits at least so long for the machine.
_GRACE_S: Final = 0.05
_LINGER_S: Final = 0.25
_HURRIED: Final = "synthetic"
#: While these last there is a day to end, and something to write.
_STOPPABLE: Final = ("waiting", "running", "paused")
_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")


def live(
    context: typer.Context,
    config: ConfigFile,
    record: Annotated[
        Path | None,
        typer.Option(metavar="DIR", file_okay=False, help="Write what is received as a dataset."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what --record DIR has of the day.")
    ] = False,
    json: JsonPath = None,
    csv: CsvPath = None,
    report: ReportPath = None,
    metrics: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Serve Prometheus metrics; 0 is any free port."
        ),
    ] = None,
    rehearse: Annotated[
        float | None,
        typer.Option(
            metavar="SPEED", help="On made-up bars, so many times as fast: 600 is a day in 39 s."
        ),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="The day that is rehearsed; the next one if not given."),
    ] = None,
) -> None:
    """Run the configured session live: the day under way, or the next one."""
    outputs = Outputs(json, csv, report)
    settings = configured(config, "live")
    if resume and record is None:
        expected = "it needs --record DIR too, which says what to go on with"
        raise typer.BadParameter(expected, context, param_hint="--resume")
    clock = None
    if rehearse is not None:
        settings = _slowed(settings, rehearse)
        clock = _rehearsal(settings, rehearse, date)
    elif date is not None:
        raise ArgumentError("--date", date, "--rehearse too: a live session has today's")
    from openbell.cli.live_show import LiveShow
    from openbell.lifecycle import open_session

    session = open_session(settings, clock=clock, record=record, resume=resume)
    console = output()
    with session, ExitStack() as held:
        if session.live is not None:
            _go_on(session.live, clock, console)
        held.enter_context(published(session, config))
        interruption = held.enter_context(_stopped_by_signals(session))
        if metrics is not None:
            from openbell.metrics import serve_metrics

            server = held.enter_context(serve_metrics(session, port=metrics))
            console.print(f"metrics at {server.url}", soft_wrap=True)
        days, day = session.days(), None
        unprinted: BaseException | None = None
        try:
            with LiveShow(session, console):
                day = next(days, None)
                if day is not None:
                    day.run()
            if day is not None:
                _print_day(session, console, day.date)
        except (OSError, SystemExit) as error:
            # Whoever read it went away; the files are written all the same.
            unprinted, console.quiet = error, True
        if day is not None:
            outputs.write(session, console, day.date)
            # There is no other: this one ends, and its recording is made whole.
            next(days, None)
        is_whole = session.live is None or session.live.recording_error is None
        if day is not None and record is not None and is_whole:
            from openbell.live.recording import is_recorded

            has_any = is_recorded(record, day.window)
            told = f"recorded in {record}" if has_any else "nothing to record"
            console.print(told, soft_wrap=True)
        if unprinted is not None:
            raise unprinted
        if interruption:
            raise KeyboardInterrupt
        feeds = session.feed_health
        if not is_whole or (feeds and all(feed.state == "failed" for feed in feeds)):
            # Why was told when it happened.
            raise typer.Exit(1)


def _slowed(settings: SessionConfig, speed: float) -> SessionConfig:
    # The market is hurried, the machine is not: what waits for it waits as long.
    from msgspec.structs import replace

    from openbell.config import LiveConfig

    if not (math.isfinite(speed) and speed > 0):
        expected = "a number above 0, such as 600: ten minutes in a second"
        raise ArgumentError("--rehearse", speed, expected)
    others = [name for name in settings.data.sources if name not in (_HURRIED, "parquet")]
    if others:
        expected = f"data.sources of {_HURRIED!r}: the market of {others[0]!r} cannot be hurried"
        raise ArgumentError("--rehearse", speed, expected)
    asked = settings.live or LiveConfig()
    grace_s = max(asked.grace_seconds, min(_GRACE_S * speed, 60.0))
    linger_s = max(asked.linger_seconds, min(_LINGER_S * speed, 3600.0))
    return replace(settings, live=replace(asked, grace_seconds=grace_s, linger_seconds=linger_s))


def _rehearsal(settings: SessionConfig, speed: float, date: str | None) -> AcceleratedClock | None:
    from time import time_ns

    from openbell.clock import TimeManager
    from openbell.clock.live import AcceleratedClock
    from openbell.sources.synthetic_stream import windows_from

    session = settings.session
    try:
        manager = TimeManager(session.exchange, hours=session.hours, anchor=session.anchor)
    except ValueError:
        # The session says what is wrong with it, by its key.
        return None
    window = next(windows_from(manager, time_ns()))
    if date is not None:
        window = manager.session_window(_parsed(date))
    before = manager.session_window(manager.previous_trading_day(window.date))
    start_ns = max(window.open_ns - int(_LEAD_S * speed * 1e9), before.close_ns)
    from openbell.kernels import warmup

    # Compiled once per installation; a hurried day does not wait for that.
    warmup()
    return AcceleratedClock(start_ns, speed)


def _go_on(live: LiveRun, rehearsed: AcceleratedClock | None, console: Console) -> None:
    recording = live.recorded()
    if recording is None:
        return
    if rehearsed is not None:
        # What was rehearsed is not rehearsed again.
        if recording.last_ns >= recording.window.close_ns:
            expected = f"a recording that was broken off; that of {recording.window.date} is whole"
            raise ArgumentError("--resume", str(recording.folder), expected)
        rehearsed.skip_to(recording.last_ns)
    console.print(f"goes on with {counted(recording.n_bars, 'bar')} recorded", soft_wrap=True)


def _parsed(date: str) -> Date:
    try:
        return Date.fromisoformat(date)
    except ValueError:
        raise ArgumentError("--date", date, "a date such as 2025-07-02") from None


@contextmanager
def _stopped_by_signals(session: SessionCoordinator) -> Iterator[list[int]]:
    # A first one ends the day as it should be; where there is none yet, and for a second one,
    # the run is broken off.
    received: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) > 1 or session.phase not in _STOPPABLE:
            raise KeyboardInterrupt
        session.stop()

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    known = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    # Who began it with nohup, or behind a script, does not want it stopped so.
    numbers = [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_day(session: SessionCoordinator, console: Console, day: Date) -> None:
    print_table(console, session.root, day)
    n_bars, n_derived = count_bars(session.root)
    console.print(f"\n{n_bars:,} bars and {n_derived:,} derived", soft_wrap=True)
    for line in feed_summaries(session):
        console.print(line, soft_wrap=True)
    print_errors(console, session.root)
