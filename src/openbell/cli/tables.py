"""A session as a table: one row per symbol, from a live root or from a dump."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from openbell.cli.console import Lines, output

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from openbell.session import SessionData
    from openbell.watch import SymbolState

__all__ = [
    "SymbolRow",
    "plain_table",
    "price",
    "print_session",
    "rows_of_dump",
    "rows_of_root",
    "rows_of_snapshot",
    "session_table",
]

_NO_CONSOLE_IS_WIDER: Final = 10_000


@dataclass
class SymbolRow:
    """What one line of the table tells of a symbol.

    Attributes
    ----------
    counts : dict of str to int
        Closed bars by interval.
    quality, n_gaps, n_missing
        Of the base interval.
    explained_quality : float or None
        Of the base interval; None where the reasons of its gaps are not known.
    n_errors : int
        Different errors noted.
    """

    symbol: str
    base_interval: str
    added_by: str
    close: float | None
    high: float | None
    low: float | None
    volume: float
    quality: float | None
    n_gaps: int
    n_missing: int
    n_rejected: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    explained_quality: float | None = None
    n_errors: int = 0


def rows_of_root(root: SessionData) -> list[SymbolRow]:
    """One row per record, sorted by symbol."""
    rows = []
    for record in root:
        base = record.bars.get(record.base_interval)
        last = base.last if base is not None else None
        row = SymbolRow(
            symbol=record.symbol,
            base_interval=record.base_interval,
            added_by=record.added_by,
            close=None if last is None else last.close,
            high=record.session_high,
            low=record.session_low,
            volume=record.session_volume,
            quality=None if base is None else base.quality,
            n_gaps=0 if base is None else base.n_gaps,
            n_missing=0 if base is None else base.n_missing,
            n_rejected=sum(record.rejected.values()),
            counts={name: len(series) for name, series in record.bars.items()},
        )
        rows.append(row)
    return sorted(rows, key=lambda row: row.symbol)


def rows_of_dump(symbols: Iterable[tuple[str, Mapping[str, Any]]]) -> list[SymbolRow]:
    """One row per symbol of a dump, in its order.

    Raises
    ------
    KeyError, TypeError
        When a symbol's branch does not have the parts a dump must have.
    """
    rows = []
    for name, tree in symbols:
        session = tree["session"]
        series = session["data"]
        base = series.get(tree["base_interval"], {})
        gaps = base.get("gaps", {})
        row = SymbolRow(
            symbol=name,
            base_interval=tree["base_interval"],
            added_by=tree["metadata"]["added_by"],
            close=_last_close(base),
            high=session["high"],
            low=session["low"],
            volume=session["volume"] or 0,
            quality=base.get("quality"),
            n_gaps=gaps.get("gap_count", 0),
            n_missing=gaps.get("missing_bars", 0),
            n_rejected=sum(tree["rejected"].values()),
            counts={interval_: one["count"] for interval_, one in series.items()},
            explained_quality=base.get("explained_quality"),
        )
        rows.append(row)
    return rows


def rows_of_snapshot(symbols: Iterable[SymbolState]) -> list[SymbolRow]:
    """One row per symbol of a watched session, sorted by symbol."""
    from msgspec.structs import asdict

    rows = [SymbolRow(**asdict(state)) for state in symbols]
    return sorted(rows, key=lambda row: row.symbol)


def _last_close(series: Mapping[str, Any]) -> float | None:
    rows = series.get("data")
    if not rows:
        return None
    close: float = rows[-1][series["columns"].index("close")]
    return close


def print_session(console: Lines | Console, rows: Sequence[SymbolRow]) -> None:
    """Print the rows as :func:`session_table` lays them out; on lines without rich, if it can."""
    if not isinstance(console, Lines):
        console.print(session_table(console, rows))
    elif (lines := _as_text(rows, console.width)) is None:
        console = output()
        console.print(session_table(console, rows))
    else:
        heading, *others = lines
        console.print(heading, style="bold")
        console.print("\n".join(others))


def _as_text(rows: Sequence[SymbolRow], width: int) -> list[str] | None:
    # None where widths are not those of the letters, or numbers would have to be cut.
    for gap, extremes in ((2, True), (1, True), (1, False)):
        table = _cells(rows, extremes)
        if not all(cell.isascii() and cell.isprintable() for cell in chain(*table)):
            return None
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        if sum(widths) + gap * len(widths) - gap <= width:
            lines = [
                (" " * gap).join([
                    cells[0].ljust(widths[0]),
                    *(cell.rjust(w) for cell, w in zip(cells[1:], widths[1:], strict=True)),
                ])
                for cells in table
            ]  # fmt: skip
            return [lines[0], "\u2500" * len(lines[0]), *lines[1:]]
    return None


def session_table(console: Console, rows: Sequence[SymbolRow]) -> Table:
    """Lay the rows out, with a column of counts for each interval any of them has.

    On a narrow console columns stand closer, then high and low are left out.
    """
    unbounded = console.options.update(width=_NO_CONSOLE_IS_WIDER)
    for gap, extremes in ((2, True), (1, True)):
        table = _lay_out(rows, gap, extremes)
        if console.measure(table, options=unbounded).maximum <= console.width:
            return table
    return _lay_out(rows, 1, extremes=False)


def _lay_out(rows: Sequence[SymbolRow], gap: int, extremes: bool) -> Table:
    headings, *cells = _cells(rows, extremes)
    table = plain_table(*headings, gap=gap)
    for row in cells:
        table.add_row(*row)
    return table


def _cells(rows: Sequence[SymbolRow], extremes: bool) -> list[list[str]]:
    # The headings first.
    from openbell.intervals import interval

    names = sorted({name for row in rows for name in row.counts}, key=interval)
    provenance = any(row.added_by != "config" for row in rows)
    rejected = any(row.n_rejected for row in rows)
    explained = any(row.explained_quality is not None for row in rows)
    errors = any(row.n_errors for row in rows)
    headings = ["symbol", *names, "close", *["high", "low"] * extremes, "volume", "quality"]
    headings += ["explained"] * explained + ["gaps"] + ["added by"] * provenance
    headings += ["refused"] * rejected + ["errors"] * errors
    table = [headings]
    for row in rows:
        cells = [row.symbol, *(_count(row.counts.get(name)) for name in names)]
        cells += [price(row.close), *[price(row.high), price(row.low)] * extremes]
        cells += [f"{row.volume:,.10g}", _quality(row.quality)]
        cells += [_quality(row.explained_quality)] * explained + [_count(row.n_gaps)]
        cells += [row.added_by] * provenance + [_count(row.n_rejected)] * rejected
        cells += [_count(row.n_errors)] * errors
        table.append(cells)
    return table


def plain_table(first: str, *headings: str, gap: int = 2) -> Table:
    """Return an empty table: `first` to the left, numbers to the right, no frame."""
    from rich import box
    from rich.table import Table

    # The box puts one space between columns itself.
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, gap - 1, 0, 0), show_edge=False)
    table.add_column(first, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def price(value: float | None) -> str:
    """Return a price with two places at least, and up to eight if it has them."""
    if value is None:
        return "-"
    whole, _, decimals = f"{value:,.8f}".rstrip("0").partition(".")
    return f"{whole}.{decimals:0<2}"


def _count(n: int | None) -> str:
    return "-" if n is None else f"{n:,}"


def _quality(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
