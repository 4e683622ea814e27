"""``openbell sample`` and ``openbell import``: bars into a dataset."""

from __future__ import annotations

from datetime import date as Date
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from openbell.cli.console import counted, output, stages, warn
from openbell.cli.tables import plain_table
from openbell.errors import ArgumentError, SchemaError

if TYPE_CHECKING:
    from openbell.sources import ImportReport

__all__ = ["import_", "sample"]


_MOST_BAD_ROWS_SHOWN: Final = 20


class Label(StrEnum):
    """Which side of its interval a bar's timestamp stands for."""

    start = "start"
    end = "end"


class Hours(StrEnum):
    """Which part of the day is the session."""

    regular = "regular"
    extended = "extended"


def sample(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", file_okay=False, help="The dataset's folder.")
    ],
    symbols: Annotated[int, typer.Option(min=1, help="How many.")] = 20,
    start: Annotated[str, typer.Option(metavar="DATE", help="First trading day.")] = "2025-07-02",
    days: Annotated[int, typer.Option(min=1, help="How many trading days.")] = 1,
    interval: Annotated[list[str] | None, typer.Option(help="1s unless given; repeat.")] = None,
    calendar: Annotated[str, typer.Option(help="Any of exchange_calendars.")] = "XNYS",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other bars.")] = 0,
) -> None:
    """Write a synthetic dataset, the same each time."""
    from openbell.clock import TimeManager
    from openbell.sources import synthetic_symbols, write_sample

    clock = TimeManager(calendar)
    dates = [_date(start)]
    while len(dates) < days:
        dates.append(clock.next_trading_day(dates[-1]))
    names = synthetic_symbols(symbols)
    intervals = interval or ["1s"]
    with stages() as told:
        paths = write_sample(
            folder,
            names,
            dates,
            calendar=calendar,
            intervals=intervals,
            seed=seed,
            on_progress=None if told is None else partial(told, "sample"),
        )
    output().print(
        f"wrote {counted(len(paths), 'file')} of {counted(symbols, 'symbol')} to {folder}",
        soft_wrap=True,
    )


def _date(text: str) -> Date:
    try:
        return Date.fromisoformat(text)
    except ValueError:
        raise ArgumentError("--start", text, "a date such as 2025-07-02") from None


def import_(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SRC", exists=True, readable=True, help="Files, or folders to walk."
        ),
    ],
    to: Annotated[Path, typer.Option(metavar="DIR", file_okay=False, help="The dataset's folder.")],
    calendar: Annotated[str, typer.Option(help="What cuts the rows into sessions.")] = "XNYS",
    symbol: Annotated[
        str | None, typer.Option(help="Of files without such a column, else their name's.")
    ] = None,
    interval: Annotated[
        str | None, typer.Option(help="Of the bars, else told by the files.")
    ] = None,
    tz: Annotated[
        str | None, typer.Option(metavar="ZONE", help="IANA zone of timestamps without one.")
    ] = None,
    label: Annotated[
        Label, typer.Option(help="Which end of a bar its timestamp is.")
    ] = Label.start,
    columns: Annotated[
        str | None, typer.Option(metavar="LIST", help="Own names: timestamp=when,close=last.")
    ] = None,
    hours: Annotated[Hours, typer.Option(help="What lies outside is refused.")] = Hours.regular,
    bad_rows: Annotated[
        Path | None, typer.Option(dir_okay=False, help="A CSV file for each row not taken.")
    ] = None,
) -> None:
    """Bring bars of other files into a dataset."""
    from openbell.sources import import_bars

    names = _column_names(columns)
    try:
        with stages() as told:
            report = import_bars(
                sources,
                to,
                calendar=calendar,
                symbol=symbol,
                interval=interval,
                tz=tz,
                label=label.value,
                columns=names,
                hours=hours.value,
                on_progress=told,
                max_bad_rows=_MOST_BAD_ROWS_SHOWN,
                bad_rows_to=bad_rows,
            )
    except SchemaError as error:
        if error.what != "columns":
            raise
        raise typer.BadParameter(f"--{error}") from None
    _print_report(report)
    if report.failed:
        raise typer.Exit(1)


def _column_names(text: str | None) -> dict[str, str] | None:
    if text is None:
        return None
    named = {}
    for pair in text.split(","):
        role, equals, name = (part.strip() for part in pair.partition("="))
        if not (role and equals and name):
            raise typer.BadParameter(f"--columns {pair!r}: expected ROLE=NAME, as in close=last")
        named[role] = name
    return named


def _print_report(report: ImportReport) -> None:
    for row in report.bad_rows:
        where = f"row {row.row}" if row.line is None else f"line {row.line}"
        warn(f"{row.file} {where}: {row.reason}: {row.detail}")
    if report.n_rejected > len(report.bad_rows):
        rest = report.n_rejected - len(report.bad_rows)
        warn(f"... and {rest:,} more rows not taken; --bad-rows FILE has them all")
    for failed in report.failed:
        warn(f"failed: {failed.reason}")
    for skipped in report.skipped:
        warn(f"{skipped}: skipped, of no known format")

    table = plain_table("rows", "")
    for name, n in (
        ("read", report.n_read),
        ("written", report.n_written),
        ("of them replacing others", report.n_replaced),
        ("duplicates", report.n_duplicate),
        *((reason, n) for reason, n in report.n_bad.items()),
    ):
        if n or name in ("read", "written"):
            table.add_row(name, f"{n:,}")
    console = output()
    console.print(table)
    files, symbols = counted(len(report.files), "file"), counted(len(report.symbols), "symbol")
    days = counted(len(report.dates), "date")
    since = f" from {report.dates[0]}" if report.dates else ""
    console.print(
        f"\n{files} read: {symbols}, {' '.join(report.intervals)}, {days}{since}, to {report.to}",
        soft_wrap=True,
    )
