"""``openbell replay``: run the configured sessions, show and export each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from openbell.cli.console import counted, output, rate, seconds, stages
from openbell.cli.outputs import ConfigFile, CsvPath, JsonPath, Outputs, ReportPath, configured
from openbell.cli.published import published
from openbell.cli.tables import rows_of_root, session_table

if TYPE_CHECKING:
    from datetime import date as Date

    from rich.console import Console

    from openbell.cli.console import Told
    from openbell.lifecycle import SessionCoordinator, TradingDay
    from openbell.session import SessionData

__all__ = [
    "DayRun",
    "count_bars",
    "print_day",
    "print_errors",
    "print_table",
    "replay",
    "run_days",
]


@dataclass
class DayRun:
    """How one day's replay went. Its data is in the session's root until the next day begins.

    Attributes
    ----------
    n_bars : int
        Base bars replayed.
    n_derived : int
        Bars derived from them.
    load_s, replay_s : float
        Wall seconds of loading the day, and of replaying it.
    """

    date: Date
    n_bars: int
    n_derived: int
    load_s: float
    replay_s: float


def replay(
    config: ConfigFile,
    json: JsonPath = None,
    csv: CsvPath = None,
    report: ReportPath = None,
    speed: Annotated[
        float | None,
        typer.Option(min=0, help="Instead of the config's: 0 as fast as possible, 1 real time."),
    ] = None,
) -> None:
    """Run the configured sessions, day after day."""
    from msgspec.structs import replace

    outputs = Outputs(json, csv, report)
    settings = configured(config, "backtest")
    if speed is not None:
        settings = replace(settings, session=replace(settings.session, speed=speed))
    from openbell.lifecycle import open_session
    from openbell.schema import to_datetime

    session = open_session(settings)
    console = output()
    several = settings.session.start_date != settings.session.end_date
    with published(session, config):
        for day in run_days(session):
            print_day(console, session.root, day)
            window = session.root.window
            if session.phase == "stopped" and window is not None:
                closes = f"{to_datetime(window.close_ns):%Y-%m-%d %H:%M:%S}"
                console.print(f"stopped before the close, {closes} UTC", soft_wrap=True)
            outputs.write(session, console, day.date, several)


def run_days(session: SessionCoordinator, *, is_told: bool = True) -> Iterator[DayRun]:
    """Replay day after day, yielding after each while its data is there.

    Parameters
    ----------
    is_told : bool
        Whether a progress bar may be shown; telling it costs a call per slice.
    """
    telling: list[Told] = []

    def on_progress(what: str, done: int, total: int) -> None:
        for told in telling:
            told(f"loading {what}", done, total)

    session.on_progress(on_progress)
    days = session.days()
    while True:
        started = perf_counter()
        with stages() as told:
            telling[:] = [told] if is_told and told is not None else []
            day = next(days, None)
            if day is None:
                return
            loaded = perf_counter()
            day.run(_teller(day, telling[0]) if telling else None)
        done = perf_counter()
        n_bars, n_derived = count_bars(session.root)
        yield DayRun(day.date, n_bars, n_derived, loaded - started, done - loaded)


def _teller(day: TradingDay, told: Told) -> Callable[[int, object], None]:
    name, opened = day.date.isoformat(), day.window.open_ns
    length = day.window.close_ns - opened
    return lambda ts_ns, _: told(name, ts_ns - opened, length)


def count_bars(root: SessionData) -> tuple[int, int]:
    """How many base bars there are, and how many derived from them."""
    series = [one for record in root for one in record.bars.values()]
    n_derived = sum(len(one) for one in series if one.derived)
    return sum(len(one) for one in series) - n_derived, n_derived


def print_day(console: Console, root: SessionData, day: DayRun) -> None:
    """Print a day's table and what it took."""
    print_table(console, root, day.date)
    console.print(
        f"\n{day.n_bars:,} bars replayed and {day.n_derived:,} derived in {seconds(day.replay_s)}"
        f" ({rate(day.n_bars / day.replay_s)}); loaded in {seconds(day.load_s)}",
        soft_wrap=True,
    )
    print_errors(console, root)


def print_table(console: Console, root: SessionData, date: Date) -> None:
    """Print a day's date, and a row for each symbol."""
    rows = rows_of_root(root)
    console.print(date, style="bold", end="")
    console.print(f"  {counted(len(rows), 'symbol')}")
    console.print(session_table(console, rows))


def print_errors(console: Console, root: SessionData) -> None:
    """Print what indicators and callbacks raised."""
    for record in root:
        for error in record.errors:
            times = "once" if error.n == 1 else f"{error.n:,} times"
            console.print(
                f"{record.symbol}: {error.where} failed {times}: {error.error}",
                soft_wrap=True,
            )
