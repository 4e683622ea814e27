"""``openbell show``: a dump or a dataset on the terminal."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from openbell.cli.console import counted, drawn
from openbell.cli.tables import plain_table, price, rows_of_dump, session_table
from openbell.errors import ArgumentError, DatasetError, DumpError, UnknownSymbolError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["show"]

_KINDS: Final = ("bars", "quotes", "trades")
_N_SHOWN: Final = 5
#: What is expected less often than once in so many days is told no more exactly.
_DAYS_OF_NEVER: Final = 1_000_000


def show(
    what: Annotated[
        Path,
        typer.Argument(
            metavar="DUMP|DATASET", exists=True, readable=True, help="A file, or a folder."
        ),
    ],
    symbol: Annotated[
        str | None, typer.Option(help="Show this symbol with its gaps and last bars.")
    ] = None,
    bars: Annotated[
        int | None,
        typer.Option(min=0, help="With --symbol: how many last bars.", show_default="5"),
    ] = None,
    gaps: Annotated[
        int | None,
        typer.Option(min=0, help="With --symbol: how many longest gaps.", show_default="5"),
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Also draw it into an SVG file.")
    ] = None,
) -> None:
    """Show a dump or a dataset."""
    if what.is_file() and what.suffix.lower() == ".csv":
        raise ArgumentError(
            "DUMP", str(what), "a JSON dump or a dataset's folder; `openbell validate` reads logs"
        )
    for option, wanted in (("--bars", bars), ("--gaps", gaps)):
        if wanted is not None and (symbol is None or what.is_dir()):
            expected = "a dump, and --symbol, which shows one symbol's bars and gaps"
            raise ArgumentError(option, wanted, expected)
    with drawn(svg, f"openbell show {what}") as console:
        if what.is_dir():
            _show_dataset(console, what, symbol)
        else:
            n_bars, n_gaps = (_N_SHOWN if n is None else n for n in (bars, gaps))
            _show_dump(console, what, symbol, n_bars, n_gaps)


def _show_dump(console: Console, what: Path, symbol: str | None, n_bars: int, n_gaps: int) -> None:
    from openbell.export.load import read_dump

    # Symbols are decoded one by one: the rows of all of them need not fit into memory.
    session, symbols = read_dump(what)
    tree = None if symbol is None else _find(symbol, symbols)
    try:
        if tree is not None:
            _print_session_line(console, session)
            _show_symbol(console, tree, n_bars, n_gaps)
        else:
            rows = rows_of_dump(symbols)
            _print_session_line(console, session, counted(len(rows), "symbol"))
            console.print(session_table(console, rows))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        problem = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise DumpError(what, [f"{problem}; `openbell validate` tells more"]) from error


def _print_session_line(console: Console, session: Mapping[str, Any], more: str = "") -> None:
    if session["date"] is None:
        console.print(f"no session  {more}")
        return
    opened, closed, now = (_clock(session[key]) for key in ("open", "close", "now"))
    console.print(session["date"], style="bold", end="")
    console.print(
        f" {session.get('calendar') or ''}  {opened} to {closed} UTC  now {now}  {more}".rstrip(),
    )


def _clock(text: str | None) -> str:
    return "-" if text is None else f"{datetime.fromisoformat(text):%H:%M:%S}"


def _find(symbol: str, symbols: Iterator[tuple[str, Any]]) -> Any:
    known = []
    for name, tree in symbols:
        if name == symbol:
            return tree
        known.append(name)
    raise UnknownSymbolError(symbol, sorted(known))


def _show_symbol(console: Console, tree: Mapping[str, Any], n_bars: int, n_gaps: int) -> None:
    console.print(session_table(console, rows_of_dump([(tree["symbol"], tree)])))
    flags = ", ".join(
        f"{name} {value}" for name, value in tree["metadata"].items() if value is not None
    )
    console.print(f"\nprovenance: loaded {tree['is_loaded']}, {flags}")
    if tree["rejected"]:
        refused = ", ".join(f"{reason} {n:,}" for reason, n in tree["rejected"].items())
        console.print(f"refused: {refused}")

    for error in tree.get("errors", ()):
        console.print(
            f"{error['where']} failed, {error['n']:,} in all: {error['error']}",
        )

    indicators = plain_table("indicator", "type", "interval", "value", "as of")
    for name, item in tree["indicators"].items():
        value = _shown(item["value"])
        indicators.add_row(name, item["type"], item["interval"], value, _clock(item["timestamp"]))
    if indicators.row_count:
        console.print("\nindicators (UTC)")
        console.print(indicators)
    from openbell.schema import HISTORICAL_KEYS

    past = {k: v for k, v in tree["historical"].items() if k not in HISTORICAL_KEYS}
    if past:
        shown = ", ".join(f"{name} {_shown(value)}" for name, value in past.items())
        console.print(f"\nbefore the session: {shown}")

    reasons = _reasons_table(tree["session"]["data"])
    if reasons.row_count:
        console.print("\ngaps by reason, and the bars missing in them")
        console.print(reasons)

    longest = _gaps_table(tree["session"]["data"], n_gaps)
    if longest.row_count:
        console.print("\nlongest gaps (first and last missing bar, UTC)")
        console.print(longest)

    bars = plain_table("interval", "start", "open", "high", "low", "close", "volume")
    for name, series in tree["session"]["data"].items():
        for row in series.get("data", [])[-n_bars:] if n_bars else ():
            cells = dict(zip(series["columns"], row, strict=True))
            prices = [price(cells[key]) for key in ("open", "high", "low", "close")]
            volume = "-" if cells["volume"] is None else f"{cells['volume']:,.10g}"
            bars.add_row(name, _clock(cells["timestamp"]), *prices, volume)
    if bars.row_count:
        console.print("\nlast bars (start, UTC)")
        console.print(bars)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        most = [_shown(one) for one in value[:4]]
        return ", ".join([*most, f"... ({len(value):,} values)"] if len(value) > 4 else most)
    return f"{value:,.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _reasons_table(data: Mapping[str, Any]) -> Table:
    # Empty when nobody has looked for reasons.
    from openbell.schema import GAP_REASONS

    found: dict[str, dict[str, list[int]]] = {}
    for name, series in data.items():
        for gap in series["gaps"]["ranges"]:
            missing = found.setdefault(name, {}).setdefault(gap["reason"], [])
            missing.append(gap["bar_count"])
    known = {reason for by_reason in found.values() for reason in by_reason}
    reasons: list[str] = [
        reason for reason in (*GAP_REASONS[1:], GAP_REASONS[0]) if reason in known
    ]
    reasons += sorted(known.difference(GAP_REASONS))
    table = plain_table("interval", *reasons)
    if reasons != [GAP_REASONS[0]]:
        for name, by_reason in found.items():
            held = (by_reason.get(reason, []) for reason in reasons)
            table.add_row(name, *(f"{len(n):,} ({sum(n):,})" if n else "-" for n in held))
    return table


def _gaps_table(data: Mapping[str, Any], n: int) -> Table:
    rows = [
        (
            name,
            _clock(gap["start_time"]),
            _clock(gap["end_time"]),
            f"{gap['bar_count']:,}",
            gap["reason"],
            _in_words(gap.get("evidence") or {}),
        )
        for name, series in data.items()
        for gap in _longest(series["gaps"]["ranges"], n)
    ]
    table = plain_table("interval", "from", "to", "missing", "reason")
    is_told = any(row[-1] for row in rows)
    if is_told:
        # The only column that may be broken into lines.
        table.add_column("evidence", overflow="fold")
    for row in rows:
        table.add_row(*(row if is_told else row[:-1]))
    return table


def _in_words(evidence: Mapping[str, Any]) -> str:
    # The strongest first.
    words = []
    if evidence.get("disconnected"):
        words.append("the feed was disconnected")
    if n := evidence.get("n_coarser"):
        words.append(f"{counted(n, 'longer bar')} traded in it")
    if n := evidence.get("n_peers"):
        words.append(f"{evidence['n_silent']:,} of {n:,} others silent")
    rate, per_day = evidence.get("fill_rate"), evidence.get("expected_per_day")
    if rate is not None:
        words.append(f"{rate:.0%} of the slots around it filled")
    if per_day is not None:
        words.append(f"such a silence {_how_often(per_day)}")
    if evidence and rate is None and per_day is None:
        words.append("too few bars to judge by")
    return "; ".join(words)


def _how_often(per_day: float) -> str:
    if per_day >= 1:
        return f"{per_day:,.0f} times a day"
    if per_day * _DAYS_OF_NEVER < 1:
        return f"less than once in {_DAYS_OF_NEVER:,} days"
    days = float(f"{1 / per_day:.2g}")
    return f"once in {days:,g} days" if days < 100 else f"once in {days:,.0f} days"


def _longest(gaps: list[dict[str, Any]], n: int) -> list[dict[str, Any]]:
    # In their order in the day; of equal length, the earlier ones.
    kept = heapq.nsmallest(n, range(len(gaps)), key=lambda k: (-gaps[k]["bar_count"], k))
    return [gaps[k] for k in sorted(kept)]


def _show_dataset(console: Console, folder: Path, symbol: str | None) -> None:
    table = plain_table("kind", "interval", "first date", "last date", "dates", "symbols", "rows")
    known: set[str] = set()
    for kind, interval, files in _dataset_files(folder):
        held = [(_date_of(path), _rows_by_symbol(path)) for path in files]
        known.update(*(rows for _, rows in held))
        if symbol is not None:
            held = [(date, {symbol: rows[symbol]}) for date, rows in held if symbol in rows]
        if not held:
            continue
        names = set().union(*(rows for _, rows in held))
        n_rows = sum(sum(rows.values()) for _, rows in held)
        dates = [date for date, _ in held]
        numbers = (f"{n:,}" for n in (len(dates), len(names), n_rows))
        table.add_row(kind, interval, dates[0], dates[-1], *numbers)
    if not known and any((folder / "live").glob("*.arrows")):
        raise DatasetError(
            folder,
            "holds a day that was broken off: "
            f"`openbell live CONFIG --record {folder} --resume` goes on with it",
        )
    if not known:
        raise DatasetError(
            folder,
            "no bars/interval=.../date=....parquet in it; not a dataset,"
            " which `openbell import` or `openbell sample` writes",
        )
    if symbol is not None and symbol not in known:
        shown = ", ".join(sorted(known)[:8]) + (", ..." if len(known) > 8 else "")
        raise ArgumentError("--symbol", symbol, f"one that the dataset holds: {shown}")
    console.print(folder, style="bold")
    console.print(table)
    if symbol is None:
        console.print(f"\nsymbols: {', '.join(sorted(known))}")


def _dataset_files(folder: Path) -> Iterator[tuple[str, str, list[Path]]]:
    from openbell.intervals import interval

    for kind in _KINDS:
        below = [p for p in (folder / kind).glob("interval=*") if p.is_dir()]
        if (folder / kind).is_dir() and kind != "bars":
            yield kind, "-", sorted((folder / kind).glob("date=*.parquet"))
        for path in sorted(below, key=lambda p: interval(p.name.partition("=")[2])):
            yield kind, path.name.partition("=")[2], sorted(path.glob("date=*.parquet"))


def _date_of(path: Path) -> str:
    return path.stem.partition("=")[2]


def _rows_by_symbol(path: Path) -> dict[str, int]:
    # A dataset's file holds one row group per symbol, so its footer tells all.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        footer = pq.read_metadata(path)
        column = footer.schema.names.index("symbol")
        rows: dict[str, int] = {}
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            name = str(group.column(column).statistics.min)
            rows[name] = rows.get(name, 0) + group.num_rows
    except (OSError, ValueError, AttributeError, pa.ArrowException) as error:
        raise DatasetError(path, f"not a file of a dataset: {error}") from error
    return rows
