"""``openbell replay``: run the configured sessions, show and export each."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from openbell.cli.console import counted, output, rate, require_file, seconds, stages, warn
from openbell.cli.tables import rows_of_root, session_table
from openbell.errors import ArgumentError

if TYPE_CHECKING:
    from datetime import date as Date

    from rich.console import Console

    from openbell.cli.console import Told
    from openbell.lifecycle import SessionCoordinator, TradingDay
    from openbell.session import SessionData

__all__ = ["DayRun", "print_day", "replay", "run_days"]


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
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG", exists=True, dir_okay=False, readable=True, help="TOML or JSON."
        ),
    ],
    json: Annotated[
        Path | None, typer.Option(help="Write each day's dump; {date} in it is the day.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write each day's session log; {date} in it is the day.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write each day's HTML report; {date} in it is the day.")
    ] = None,
    speed: Annotated[
        float | None,
        typer.Option(min=0, help="Instead of the config's: 0 as fast as possible, 1 real time."),
    ] = None,
) -> None:
    """Run the configured sessions, day after day."""
    from msgspec.structs import replace

    from openbell.config import SessionConfig

    # Known before a long replay, not after it.
    _check_targets({"--json": json, "--csv": csv, "--report": report})
    if report is not None:
        from openbell.report import plotly_script

        plotly_script()
    settings = SessionConfig.load(config)
    if any(":" in indicator.type for indicator in settings.indicators):
        # A user's own may lie beside the configuration that names them; nothing else does.
        sys.path.append(str(config.parent.resolve()))
    if speed is not None:
        settings = replace(settings, session=replace(settings.session, speed=speed))
    from openbell.lifecycle import open_session

    session = open_session(settings)
    console = output()
    several = settings.session.start_date != settings.session.end_date
    with _published(session):
        for day in run_days(session):
            print_day(console, session.root, day)
            for path, write in ((json, write_json), (csv, write_csv), (report, write_html)):
                if path is not None:
                    target = dated(path, day.date, several)
                    write(session, target)
                    console.print(f"wrote {target}", soft_wrap=True)


def _published(session: SessionCoordinator) -> AbstractContextManager[object]:
    from openbell.watch import WatchError, publish

    try:
        return publish(session)
    except WatchError as error:
        warn(f"this run cannot be watched: {error}")
        return nullcontext()


def _check_targets(targets: Mapping[str, Path | None]) -> None:
    taken: dict[Path, str] = {}
    for option, path in targets.items():
        if path is None:
            continue
        if path in taken:
            raise ArgumentError(option, str(path), f"another file than that of {taken[path]}")
        taken[path] = option
        require_file(option, path)


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
        n_bars, n_derived = _count_bars(session.root)
        yield DayRun(day.date, n_bars, n_derived, loaded - started, done - loaded)


def _teller(day: TradingDay, told: Told) -> Callable[[int, object], None]:
    name, opened = day.date.isoformat(), day.window.open_ns
    length = day.window.close_ns - opened
    return lambda ts_ns, _: told(name, ts_ns - opened, length)


def _count_bars(root: SessionData) -> tuple[int, int]:
    series = [one for record in root for one in record.bars.values()]
    n_derived = sum(len(one) for one in series if one.derived)
    return sum(len(one) for one in series) - n_derived, n_derived


def print_day(console: Console, root: SessionData, day: DayRun) -> None:
    """Print a day's table and what it took."""
    rows = rows_of_root(root)
    console.print(day.date, style="bold", end="")
    console.print(f"  {counted(len(rows), 'symbol')}")
    console.print(session_table(console, rows))
    console.print(
        f"\n{day.n_bars:,} bars replayed and {day.n_derived:,} derived in {seconds(day.replay_s)}"
        f" ({rate(day.n_bars / day.replay_s)}); loaded in {seconds(day.load_s)}",
        soft_wrap=True,
    )
    for record in root:
        for error in record.errors:
            times = "once" if error.n == 1 else f"{error.n:,} times"
            console.print(
                f"{record.symbol}: {error.where} failed {times}: {error.error}",
                soft_wrap=True,
            )


def write_json(session: SessionCoordinator, path: Path) -> None:
    """Write the day's dump, as the config's ``[export]`` wants it."""
    wanted = session.config.export
    session.root.write_json(path, intervals=wanted.intervals or None, bars=wanted.bars)


def write_csv(session: SessionCoordinator, path: Path) -> None:
    """Write the day's session log, as the config's ``[export]`` wants it."""
    session.root.to_csv(path, interval=session.config.export.csv_interval)


def write_html(session: SessionCoordinator, path: Path) -> None:
    """Write the day's report."""
    from openbell.report import write_report

    write_report(session.root, path)


def dated(path: Path, date: Date, several: bool) -> Path:
    """Return where a day's file goes: its date put in, or added when there are several days."""
    if "{date}" in path.name:
        return path.with_name(path.name.replace("{date}", date.isoformat()))
    return path.with_stem(f"{path.stem}-{date}") if several else path
