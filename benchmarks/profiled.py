"""What the profile_*.py scripts have in common: sessions of made bars, and a table of stages."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from time import process_time
from typing import Any

import numpy as np
from rich.console import Console

import openbell as ob
from benchmarks.data import INTERVALS, make_bars, make_window
from benchmarks.harness import quiet
from openbell.profiling import Profile
from openbell.schema import QUOTE_DTYPE, BarArray

#: Bars that differ from symbol to symbol; more of them would tell nothing else.
N_DIFFERENT = 8


class MemorySource:
    """Bars that are in memory: what is read of it costs a copy."""

    name = "memory"

    def __init__(self, names: Sequence[str], n_bars: int) -> None:
        made = [make_bars(n_bars, seed=k) for k in range(N_DIFFERENT)]
        self._bars = {name: made[k % N_DIFFERENT] for k, name in enumerate(names)}

    def has_symbol(self, symbol: str) -> bool:
        return symbol in self._bars

    def intervals(self, symbol: str) -> list[str]:
        return ["1s"]

    def dates(self, symbol: str, interval: str) -> tuple[date, date]:
        return make_window().date, make_window().date

    def has_data(self, symbol: str, interval: str, day: date) -> bool:
        return True

    def count(self, symbol: str, interval: str, window: ob.SessionWindow) -> int:
        return len(self._bars[symbol])

    def load(self, symbol: str, interval: str, window: ob.SessionWindow) -> BarArray:
        return self._bars[symbol].copy()

    def load_many(
        self, symbols: Sequence[str], interval: str, window: ob.SessionWindow
    ) -> Iterator[tuple[str, BarArray]]:
        return ((symbol, self._bars[symbol].copy()) for symbol in symbols)

    def load_quotes(self, symbol: str, window: ob.SessionWindow) -> Any:
        return np.empty(0, QUOTE_DTYPE)


def names_of(n_symbols: int) -> list[str]:
    return [f"S{k:05}" for k in range(n_symbols)]


def config_of(names: Sequence[str], **tables: Any) -> dict[str, Any]:
    """A session of one day with eight derived intervals."""
    session = {"start_date": make_window().date, "symbols": names, "streams": ["1s", *INTERVALS]}
    return {"session": session, "data": {"parquet": "."}, **tables}


def options_of(text: str | None, **defaults: int) -> argparse.Namespace:
    """Read whole numbers from the command line: ``--symbols 100``."""
    parser = argparse.ArgumentParser(description=text)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{value} if not told")
    return parser.parse_args()


def best_of(
    rounds: int,
    prepare: Callable[[], Any],
    run: Callable[[Any], object],
    profiled: Callable[[Any], AbstractContextManager[Profile]],
) -> tuple[Profile, float]:
    """Run what was prepared, with and without a profile in turn; once before, not counted.

    Returns
    -------
    Profile
        Of the round that took the least processor time.
    float
        The least processor seconds of a round without one.
    """
    found: list[Profile] = []
    plain: list[float] = []
    run(prepare())
    for _ in range(rounds):
        with quiet():
            prepared = prepare()
            start = process_time()
            run(prepared)
            plain.append(process_time() - start)
            prepared = prepare()
            with profiled(prepared) as one:
                run(prepared)
            found.append(one)
    return min(found, key=lambda one: one.whole.cpu_s), min(plain)


def show(
    title: str,
    columns: Mapping[str, tuple[Profile, float]],
    n_bars: int,
    beside: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """Print processor nanoseconds per bar: stages down, runs across.

    Parameters
    ----------
    columns : mapping of str to (Profile, float)
        By name of the run: its profile, and its seconds without one.
    n_bars : int
        Base bars of each.
    beside : mapping of str to sequence of float, optional
        Further rows, seconds for each column: what the machine needs for a part of it.
    """
    rows: dict[str, list[float]] = {}
    for profile, _ in columns.values():
        for name in profile.stages:
            rows[name] = [one.stages[name].cpu_s if name in one.stages else 0.0
                          for one, _ in columns.values()]  # fmt: skip
    rows["whole"] = [one.whole.cpu_s for one, _ in columns.values()]
    rows["without a profile"] = [plain for _, plain in columns.values()]
    rows.update({name: list(values) for name, values in (beside or {}).items()})
    lines = [(f"{title}; ns/bar", *columns)]
    for name, seconds in rows.items():
        if any(seconds):
            lines.append((name, *(f"{s * 1e9 / n_bars:,.2f}" if s else "-" for s in seconds)))
    rates = (n_bars / plain * 1e-6 for _, plain in columns.values())
    lines.append(("M bars/s", *(f"{rate:,.1f}" for rate in rates)))
    print_table(lines)


def print_table(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    console = Console(markup=False, highlight=False, width=max(200, sum(widths)))
    for n, cells in enumerate(lines):
        first, *others = zip(cells, widths, strict=True)
        text = "  ".join([first[0].ljust(first[1]), *(cell.rjust(w) for cell, w in others)])
        console.print(text, style="bold" if not n else None)
