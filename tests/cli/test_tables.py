"""The session's table: what it shows, and what it gives up on a narrow console."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from openbell.cli.console import Lines, rate, seconds
from openbell.cli.tables import SymbolRow, price, print_session, session_table

ROW = SymbolRow(
    symbol="AAPL",
    base_interval="1s",
    added_by="config",
    close=210.5,
    high=212.25,
    low=209.0,
    volume=19_106_000.0,
    quality=98.5,
    n_gaps=351,
    n_missing=400,
    counts={"1m": 390, "1s": 23_049, "1h": 7},
)


def printed(row: SymbolRow, width: int) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=width)
    console.print(session_table(console, [row]))
    lines = console.file.getvalue().splitlines()
    assert all(len(line) <= width for line in lines)
    return [line.split() for line in lines]


def test_table_orders_intervals_by_length_and_shows_every_number() -> None:
    heading, _, row = printed(ROW, 120)
    assert heading == "symbol 1s 1m 1h close high low volume quality gaps".split()
    assert row == "AAPL 23,049 390 7 210.50 212.25 209.00 19,106,000 98.50 351".split()


def test_table_on_a_narrow_console_leaves_high_and_low_out_and_cuts_no_number() -> None:
    heading, _, row = printed(ROW, 60)
    assert heading == "symbol 1s 1m 1h close volume quality gaps".split()
    assert row == "AAPL 23,049 390 7 210.50 19,106,000 98.50 351".split()


def test_table_names_who_brought_a_symbol_when_not_the_config() -> None:
    heading, _, row = printed(SymbolRow("X", "1m", "scanner", None, None, None, 0, None, 0, 0), 80)
    assert heading[-2:] == ["added", "by"]
    assert row == ["X", "-", "-", "-", "0", "-", "0", "scanner"]


SHORT = SymbolRow("X", "1m", "scanner", None, None, None, 0, None, 0, 0, 3, {"1m": 1})


@pytest.mark.parametrize("width", [120, 70, 62, 40])
@pytest.mark.parametrize("rows", [[ROW], [ROW, SHORT], [SHORT, ROW], []])
def test_lines_are_those_that_rich_prints(
    rows: list[SymbolRow], width: int, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    # What does not fit is left to rich, which cuts.
    monkeypatch.setenv("COLUMNS", str(width))
    console = Console(file=io.StringIO(), width=width)
    console.print(session_table(console, rows))
    print_session(Lines(width, is_terminal=False), rows)
    assert capsys.readouterr().out == console.file.getvalue()


def test_lines_leave_letters_of_other_widths_to_rich(capsys: pytest.CaptureFixture[str]) -> None:
    wide = SymbolRow("\u65e5\u672c", "1m", "config", 1.0, 1.0, 1.0, 0, None, 0, 0)
    console = Console(file=io.StringIO(), width=120)
    console.print(session_table(console, [wide, ROW]))
    print_session(Lines(120, is_terminal=False), [wide, ROW])
    assert capsys.readouterr().out == console.file.getvalue()


def test_lines_are_bold_on_a_terminal_only(capsys: pytest.CaptureFixture[str]) -> None:
    Lines(80, is_terminal=True).print("heading", style="bold", end="")
    Lines(80, is_terminal=False).print("heading", style="bold")
    assert capsys.readouterr().out == "\033[1mheading\033[0mheading\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (391.0, "391.00"),
        (13.495, "13.495"),
        (1234.5, "1,234.50"),
        (0.00001234, "0.00001234"),
        (-37.63, "-37.63"),
    ],
)
def test_price_keeps_its_digits_and_shows_two_places_at_least(
    value: float | None, shown: str
) -> None:
    assert price(value) == shown


@pytest.mark.parametrize(
    ("duration", "shown"),
    [(0.00041, "0.4 ms"), (0.0321, "32 ms"), (0.9996, "1.0 s"), (3.14, "3.1 s")],
)
def test_seconds_reads_well_at_each_size(duration: float, shown: str) -> None:
    assert seconds(duration) == shown


@pytest.mark.parametrize(
    ("bars_per_s", "shown"),
    [(0.5, "0 bars/s"), (29_700.4, "29,700 bars/s"), (4_512_345.0, "4.5 M bars/s")],
)
def test_rate_reads_well_at_each_size(bars_per_s: float, shown: str) -> None:
    assert rate(bars_per_s) == shown
