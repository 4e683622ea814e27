"""What was measured of a session, to print and to keep."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from openbell._version import __version__
from openbell.profiling.clock import MEASURING, OTHER, Spent, StageClock

__all__ = ["HEADINGS", "STAGES", "Profile", "StageTime"]

#: The stages of a session, in the order of a table. A user's own stand before the last two.
STAGES: Final = (
    "start",
    "validation",
    "decode",
    "ingest",
    "cascade",
    "indicators",
    "callbacks",
    "quality",
    "export",
    OTHER,
    MEASURING,
)
_LAST: Final = (OTHER, MEASURING)
HEADINGS: Final = ("stage", "wall", "processor", "share", "ns/bar", "bars/s", "memory")


@dataclass(frozen=True, slots=True)
class StageTime:
    """What one stage took; of the whole, what all of them did.

    Attributes
    ----------
    name : str
    wall_s : float
        Seconds by the clock.
    cpu_s : float
        Seconds of all processors: above `wall_s` where threads worked beside each other.
    memory_bytes : int
        By how much it raised the most memory that the process has had resident.
    share : float
        Of the whole's wall time, 0 to 1.
    ns_per_bar : float or None
        Wall nanoseconds for each base bar replayed; None where none was.
    bars_per_s : float or None
        Base bars replayed for each second of it; None where it took no time.
    """

    name: str
    wall_s: float
    cpu_s: float
    memory_bytes: int
    share: float
    ns_per_bar: float | None
    bars_per_s: float | None


class Profile:
    """Where the time of a session went. Made by :func:`~openbell.profiling.profile`.

    ``print`` shows a table, ``profile["decode"]`` is one row of it, :attr:`whole` the sum of all.
    Read it when the block is over; within the block it tells of what has passed.

    Attributes
    ----------
    n_days, n_symbols, n_bars : int
        Days begun; records at the end of the day that had most; base bars replayed.
    """

    def __init__(self, clock: StageClock) -> None:
        self._clock = clock
        self.n_days = self.n_symbols = self.n_bars = 0

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Give what a ``with`` block takes to a stage, one of :data:`STAGES` or your own.

        Stages within it keep their own time. Some 10 us: for blocks, not for each bar.
        """
        return self._clock.during(name)

    @property
    def stages(self) -> dict[str, StageTime]:
        """Every stage by name, also those that took no time, in the order of the table."""
        spent = self._clock.stages
        own = [name for name in spent if name not in STAGES]
        names = [*(name for name in STAGES if name not in _LAST), *own, *_LAST]
        nothing, whole_s = Spent(""), self._clock.wall_s
        return {name: self._row(name, spent.get(name, nothing), whole_s) for name in names}

    @property
    def whole(self) -> StageTime:
        """All of it: what the stages add up to."""
        rows, spent = self.stages.values(), Spent("whole")
        spent.wall_s = sum(row.wall_s for row in rows)
        spent.cpu_s = sum(row.cpu_s for row in rows)
        spent.memory = sum(row.memory_bytes for row in rows)
        return self._row("whole", spent, spent.wall_s)

    @property
    def peak_bytes(self) -> int | None:
        """The most memory the process had resident so far; None where the system is silent."""
        return self._clock.peak or None

    def _row(self, name: str, spent: Spent, whole_s: float) -> StageTime:
        wall_s = spent.so_far_s
        return StageTime(
            name,
            wall_s,
            spent.cpu_s,
            spent.memory,
            wall_s / whole_s if whole_s else 0.0,
            wall_s * 1e9 / self.n_bars if self.n_bars else None,
            self.n_bars / wall_s if wall_s else None,
        )

    def __getitem__(self, name: str) -> StageTime:
        return self.stages[name]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, for ``json.dump``."""
        return {
            "profile_version": 1,
            "openbell": __version__,
            "n_days": self.n_days,
            "n_symbols": self.n_symbols,
            "n_bars": self.n_bars,
            "peak_bytes": self.peak_bytes,
            "whole": _plain(self.whole),
            "stages": {name: _plain(row) for name, row in self.stages.items()},
        }

    def cells(self) -> list[tuple[str, ...]]:
        """The table's rows under :data:`HEADINGS`: stages that took any time, then the whole."""
        rows = [row for row in self.stages.values() if row.wall_s or row.cpu_s]
        return [_cells(row) for row in [*rows, self.whole]]

    def __str__(self) -> str:
        rows = [HEADINGS, *self.cells()]
        widths = [max(len(row[k]) for row in rows) for k in range(len(HEADINGS))]
        lines = [
            "  ".join(
                cell.rjust(width) if k else cell.ljust(width)
                for k, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([*lines, self.summary()])

    def summary(self) -> str:
        """One line: how much was replayed, and the most memory it took."""
        days = "1 day" if self.n_days == 1 else f"{self.n_days:,} days"
        symbols = "1 symbol" if self.n_symbols == 1 else f"{self.n_symbols:,} symbols"
        peak = self.peak_bytes
        memory = "" if peak is None else f"; at most {peak / 1e6:,.0f} MB of memory"
        return f"{self.n_bars:,} bars of {symbols} in {days}{memory}"

    def __repr__(self) -> str:
        return f"<Profile of {self.n_bars:,} bars, {self.whole.wall_s:.3f} s>"


def _plain(row: StageTime) -> Mapping[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__ if name != "name"}


def _cells(row: StageTime) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.wall_s * 1e3:,.1f} ms",
        f"{row.cpu_s * 1e3:,.1f} ms",
        f"{row.share:.1%}",
        "-" if row.ns_per_bar is None else f"{row.ns_per_bar:,.1f}",
        "-" if not row.bars_per_s else _rate(row.bars_per_s),
        f"{row.memory_bytes / 1e6:+,.1f} MB" if row.memory_bytes else "-",
    )


def _rate(per_s: float) -> str:
    return f"{per_s / 1e6:,.1f} M" if per_s >= 1e5 else f"{per_s:,.0f}"
