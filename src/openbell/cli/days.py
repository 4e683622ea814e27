"""The days of a replay: run, shown and exported one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Final

from openbell.cli import collect_garbage
from openbell.cli.console import counted, light_output, rate, seconds, stages
from openbell.cli.outputs import Outputs, configured
from openbell.cli.published import published
from openbell.cli.tables import print_session, rows_of_root

if TYPE_CHECKING:
    from datetime import date as Date
    from pathlib import Path

    from rich.console import Console

    from openbell.cli.console import Lines, Output, Told
    from openbell.lifecycle import SessionCoordinator, TradingDay
    from openbell.session import SessionData

#: A replay that takes longer is published, for others to watch and command.
_LONG_S: Final = 0.5
#: Of all symbols together. Fewer are replayed in a tenth of a second: there is no time to tell it.
_MANY_SECONDS: Final = 4_000_000

__all__ = [
    "DayRun",
    "count_bars",
    "print_day",
    "print_errors",
    "print_table",
    "replay_days",
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


def replay_days(config: Path, outputs: Outputs, speed: float | None = None) -> None:
    """Run the sessions that a file configures, showing and exporting each.

    Parameters
    ----------
    config : pathlib.Path
    outputs : Outputs
    speed : float, optional
        Instead of the config's.
    """
    settings = configured(config, "backtest")
    if speed is not None:
        from msgspec.structs import replace

        settings = replace(settings, session=replace(settings.session, speed=speed))
    from openbell.lifecycle import open_session
    from openbell.schema import to_datetime

    collect_garbage()
    session = open_session(settings)
    console = light_output()
    several = settings.session.start_date != settings.session.end_date
    with published(session, config, after_s=0.0 if settings.session.speed else _LONG_S):
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
            is_long = session.config.session.speed or _n_seconds(session.root, day) > _MANY_SECONDS
            day.run(_teller(day, telling[0]) if telling and is_long else None)
        done = perf_counter()
        n_bars, n_derived = count_bars(session.root)
        yield DayRun(day.date, n_bars, n_derived, loaded - started, done - loaded)


def _n_seconds(root: SessionData, day: TradingDay) -> float:
    return len(root) * (day.window.close_ns - day.window.open_ns) / 1e9


def _teller(day: TradingDay, told: Told) -> Callable[[int, object], None]:
    name, opened = day.date.isoformat(), day.window.open_ns
    length = day.window.close_ns - opened
    return lambda ts_ns, _: told(name, ts_ns - opened, length)


def count_bars(root: SessionData) -> tuple[int, int]:
    """How many base bars there are, and how many derived from them."""
    series = [one for record in root for one in record.bars.values()]
    n_derived = sum(len(one) for one in series if one.derived)
    return sum(len(one) for one in series) - n_derived, n_derived


def print_day(console: Lines | Console, root: SessionData, day: DayRun) -> None:
    """Print a day's table and what it took."""
    print_table(console, root, day.date)
    console.print(
        f"\n{day.n_bars:,} bars replayed and {day.n_derived:,} derived in {seconds(day.replay_s)}"
        f" ({rate(day.n_bars / day.replay_s)}); loaded in {seconds(day.load_s)}",
        soft_wrap=True,
    )
    print_errors(console, root)


def print_table(console: Lines | Console, root: SessionData, date: Date) -> None:
    """Print a day's date, and a row for each symbol."""
    rows = rows_of_root(root)
    console.print(date, style="bold", end="")
    console.print(f"  {counted(len(rows), 'symbol')}")
    print_session(console, rows)


def print_errors(console: Output, root: SessionData) -> None:
    """Print what indicators and callbacks raised."""
    for record in root:
        for error in record.errors:
            times = "once" if error.n == 1 else f"{error.n:,} times"
            console.print(
                f"{record.symbol}: {error.where} failed {times}: {error.error}",
                soft_wrap=True,
            )
