"""What a run found: the rows, their verdicts, and how they stand to a kept run."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

#: A ratio may grow by this much before it counts as worse.
TOLERANCE = 1.25
#: The row that tells how fast the processor is beside the memory.
MACHINE_ROW = "machine"


@dataclass(frozen=True)
class Row:
    """One row of the table; numbers by round, in `unit`.

    Attributes
    ----------
    name : str
        The benchmark that measures it.
    title, reference_name, unit, note : str
    goal : float or None
    goal_of : str
        ``ratio``, ``value`` or ``excess``.
    measured, reference : list of float
    best_ratio : float
        Of the fastest round of each: what a busy machine spoils least.
    """

    name: str
    title: str
    reference_name: str
    unit: str
    note: str
    goal: float | None
    goal_of: str
    measured: list[float]
    reference: list[float]
    best_ratio: float

    @property
    def ratios(self) -> list[float]:
        return [m / r for m, r in zip(self.measured, self.reference, strict=True)]

    @property
    def ratio(self) -> float:
        """Median over the rounds: both sides of a round were measured at the same moment."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """Lower and upper quartile of the rounds' ratios."""
        if len(self.ratios) < 4:
            return min(self.ratios), max(self.ratios)
        low, _, high = statistics.quantiles(self.ratios, n=4)
        return low, high

    @property
    def judged(self) -> float:
        """The number that the goal is about."""
        if self.goal_of == "ratio":
            return self.ratio
        if self.goal_of == "value":
            return statistics.median(self.measured)
        return statistics.median(
            [m - r for m, r in zip(self.measured, self.reference, strict=True)]
        )

    @property
    def verdict(self) -> str:
        if self.goal is None:
            return ""
        return "reached" if self.judged <= self.goal else "not reached"

    def is_worse_than(self, kept: Row, tolerance: float = TOLERANCE) -> bool:
        """Whether it is slower beyond the tolerance, at best too, and beyond the spread of both."""
        return (
            self.ratio > tolerance * kept.ratio
            and self.best_ratio > tolerance * kept.best_ratio
            and self.spread[0] > kept.spread[1]
        )


def tolerance_between(now: Mapping[str, Row], kept: Mapping[str, Row]) -> float:
    """How much a ratio may grow: the tolerance, and as much as the machine's own balance moved.

    A neighbour slows the processor down without slowing the memory, or the other way round, and
    moves every ratio of the one to the other.
    """
    if MACHINE_ROW not in now or MACHINE_ROW not in kept:
        return TOLERANCE
    moved = now[MACHINE_ROW].ratio / kept[MACHINE_ROW].ratio
    return TOLERANCE * max(moved, 1 / moved)


def read_run(path: Path) -> tuple[dict[str, Any], list[Row]]:
    """The machine and the rows in a file written by pytest-benchmark."""
    run = json.loads(path.read_text(encoding="utf-8"))
    rows = []
    for found in run["benchmarks"]:
        noted = dict(found["extra_info"])
        title = noted.pop("row")
        rows.append(Row(found["name"].removeprefix("bench_"), title, **noted))
    return run["machine_info"], rows


def read_kept(path: Path) -> tuple[dict[str, str], dict[str, Row]]:
    """A run kept by :func:`keep`: what it ran on, and its rows by name."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept["machine"], {row["name"]: Row(**row) for row in kept["rows"]}


def keep(path: Path, machine: dict[str, str], rows: Iterable[Row]) -> None:
    """Write a run; rows kept before and not measured now stay."""
    held = read_kept(path)[1] if path.exists() else {}
    held.update({row.name: row for row in rows})
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine, "rows": [asdict(r) for r in held.values()]}, indent=1)
    path.write_text(text, encoding="utf-8")


def show(console: Console, machine: dict[str, str], rows: Iterable[Row]) -> None:
    """Print what it ran on, and the table."""
    for key, value in machine.items():
        console.print(f"{key:>10}  {value}", highlight=False)
    table = Table(title_justify="left", pad_edge=False)
    table.add_column("row", ratio=3)
    table.add_column("goal", justify="right", no_wrap=True)
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("beside", ratio=2)
    table.add_column("reference", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("quartiles", justify="right", no_wrap=True)
    table.add_column("best", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        style = {"reached": "green", "not reached": "red"}.get(row.verdict, "")
        note = f" [dim]({row.note})[/dim]" if row.note else ""
        low, high = row.spread
        table.add_row(
            row.title + note,
            describe_goal(row),
            in_unit(statistics.median(row.measured), row),
            row.reference_name,
            in_unit(statistics.median(row.reference), row),
            f"{row.ratio:.2f}",
            f"{low:.2f}-{high:.2f}",
            f"{row.best_ratio:.2f}",
            f"[{style}]{row.verdict}[/{style}]" if style else "",
        )
    console.print(table)


def to_markdown(machine: dict[str, str], rows: Iterable[Row]) -> str:
    """The table as the README holds it: every row that has a goal, and what it ran on."""
    lines = ["| what | goal | measured | beside | ratio | |", "|---|---|---|---|---|---|"]
    for row in rows:
        if row.goal is not None:
            note = f" ({row.note})" if row.note else ""
            measured = in_unit(statistics.median(row.measured), row)
            beside = f"{in_unit(statistics.median(row.reference), row)}: {row.reference_name}"
            cells = (row.title + note, describe_goal(row), measured, beside)
            verdict = row.verdict if row.verdict == "reached" else f"**{row.verdict}**"
            lines.append(f"| {' | '.join(cells)} | {row.ratio:.2f} | {verdict} |")
    return "\n".join([*lines, "", "; ".join(machine.values()) + "."])


def describe_goal(row: Row) -> str:
    if row.goal is None:
        return ""
    if row.goal_of == "ratio":
        return f"<= {row.goal:g} x"
    sign = "+" if row.goal_of == "excess" else ""
    return f"<= {sign}{round(row.goal, 1):g} {row.unit}"


def in_unit(value: float, row: Row) -> str:
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f} {row.unit}"
