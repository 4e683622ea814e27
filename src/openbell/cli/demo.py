"""``openbell demo``: the whole way of a session, on synthetic data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Final

import typer

from openbell.cli.console import output, program, seconds
from openbell.cli.days import print_day, run_days
from openbell.cli.outputs import write_csv, write_html, write_json
from openbell.errors import MissingLibraryError

if TYPE_CHECKING:
    from openbell.lifecycle import SessionCoordinator

__all__ = ["demo"]

_DATE: Final = date(2025, 7, 2)
_PAST: Final = (date(2025, 6, 30), date(2025, 7, 1))
_N_SYMBOLS: Final = 20
#: What the feed of the day loses: whose bars (everybody's when None), in which minutes of it.
_LOST: Final = (
    (None, 110, 114),
    ("SYN003", 215, 225),
    ("SYN008", 0, 10),
    ("SYN013", 360, 390),
)
_CONFIG: Final = """\
# Written by `openbell demo`. Change it, then: openbell replay session.toml
[session]
name = "demo"
exchange = "XNYS"
mode = "backtest"
start_date = {date}
end_date = {date}
symbols = {symbols}
streams = ["1s", "5s", "1m", "5m", "15m", "1h"]

[[historical]]
trailing_days = 2
intervals = ["1m"]

[historical_indicators.avg_volume_2d]
type = "trailing_average"
field = "volume"
period = "2d"

[[indicators]]
name = "vwap"
type = "VWAP"
interval = "1m"

[[indicators]]
name = "rsi_14"
type = "RSI"
interval = "1m"
parameters = {{ timeperiod = 14 }}

[data]
sources = ["parquet"]
parquet = "data"

[export]
csv_interval = "1m"
"""


def demo(
    folder: Annotated[
        Path,
        typer.Argument(metavar="DIR", file_okay=False, help="Where to write; made when absent."),
    ] = Path("openbell-demo"),
) -> None:
    """Replay a synthetic session, show and export it."""
    from openbell.export import validate_session_dump
    from openbell.lifecycle import open_session
    from openbell.sources import synthetic_symbols, write_sample

    console = output()
    folder.mkdir(parents=True, exist_ok=True)
    config, dump, log, page = (
        folder / name for name in ("session.toml", "session.json", "session.csv", "session.html")
    )

    started = perf_counter()
    symbols = synthetic_symbols(_N_SYMBOLS)
    write_sample(folder / "data", symbols, _PAST, intervals=["1m"])
    _write_day(folder / "data", symbols)
    listed = ", ".join(f'"{symbol}"' for symbol in symbols)
    config.write_text(_CONFIG.format(date=_DATE, symbols=f"[{listed}]"), encoding="utf-8")
    console.print(
        f"synthetic bars of {len(symbols)} symbols, some of them lost, written in"
        f" {seconds(perf_counter() - started)}\n",
    )

    session = open_session(config)
    for day in run_days(session, is_told=False):
        print_day(console, session.root, day)
        started = perf_counter()
        write_json(session, dump)
        write_csv(session, log)
        took = seconds(perf_counter() - started)
        no_report = _try_report(session, page)
    violations = validate_session_dump(dump)
    for violation in violations:
        console.print(str(violation), soft_wrap=True)
    verdict = f"{len(violations)} rules broken" if violations else "the dump keeps every rule"
    console.print(f"exported in {took}; {verdict}\n")

    places = {
        "dataset": folder / "data", "config": config, "whole session": dump, "session log": log,
        "report": no_report or page,
    }  # fmt: skip
    for what, path in places.items():
        console.print(f"{what:>14}  {path}", soft_wrap=True)
    again = f"{program()} show {dump} --symbol {symbols[0]}"
    console.print("\nNext: ", end="")
    console.print(again, style="bold", soft_wrap=True)
    if violations:
        raise typer.Exit(1)


def _write_day(folder: Path, symbols: Sequence[str]) -> None:
    from openbell.clock import TimeManager
    from openbell.schema import NS_PER_SECOND
    from openbell.sources import DatasetWriter, SyntheticSource

    clock = TimeManager("XNYS")
    window = clock.session_window(_DATE)
    bars = dict(SyntheticSource().load_many(symbols, "1s", window))
    for name, first, end in _LOST:
        for symbol in symbols if name is None else [name]:
            minutes = (bars[symbol]["timestamp"] - window.open_ns) // (60 * NS_PER_SECOND)
            bars[symbol] = bars[symbol][(minutes < first) | (minutes >= end)]
    writer = DatasetWriter(folder, calendar=clock.calendar, timezone=clock.timezone)
    writer.write(_DATE, bars, interval="1s", on_existing="replace")


def _try_report(session: SessionCoordinator, page: Path) -> str | None:
    # The demo needs nothing that a plain installation does not bring.
    try:
        write_html(session, page)
    except MissingLibraryError as error:
        return f"not written: {error}"
    return None
