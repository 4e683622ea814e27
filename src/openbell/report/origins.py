"""Where a report's symbols come from: a session in memory, a dump's file, a dump's tree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from os import PathLike
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from openbell.clock.window import Grid, SessionWindow
from openbell.errors import ArgumentError, DumpError, OpenbellError, UnknownSymbolError
from openbell.export.json_dump import session_to_dict, symbol_to_dict
from openbell.export.load import parse_bars, parse_times, read_dump
from openbell.gaps import GapRuns
from openbell.schema import GAP_REASONS, BarArray, Int64Array, to_ns
from openbell.session import SessionData

if TYPE_CHECKING:
    from openbell.bars import BarIntervalData
    from openbell.symbol import SymbolSessionData

__all__ = ["BROKEN", "Gaps", "Origin", "SeriesSource", "SymbolSource", "Tree", "problem"]

Tree = dict[str, Any]

#: What a dump that is none, or does not fit together, raises while it is read.
BROKEN: Final = (KeyError, TypeError, ValueError, AttributeError, OpenbellError)


@dataclass(slots=True)
class Gaps:
    """The gaps of one series.

    Attributes
    ----------
    runs : numpy.ndarray
        int64, shape (n, 2): first slot and number of slots.
    reasons : numpy.ndarray
        int8, an index into ``GAP_REASONS`` each.
    evidence : callable
        Gives that of the gap at a place, None where there is none.
    """

    runs: Int64Array
    reasons: npt.NDArray[np.int8]
    evidence: Callable[[int], Tree | None]


@dataclass(slots=True)
class SeriesSource:
    """One series as it comes in; it has a grid, and gaps, where the session has a day.

    Attributes
    ----------
    n_bars, n_expected : int
    is_derived : bool
    quality, explained_quality : float or None
    grid : Grid or None
    gaps : Gaps or None
    rows : callable
        Gives the bars; None when there are no rows of them.
    """

    n_bars: int
    n_expected: int
    is_derived: bool
    quality: float | None
    explained_quality: float | None
    grid: Grid | None
    gaps: Gaps | None
    rows: Callable[[], BarArray | None]


@dataclass(slots=True)
class SymbolSource:
    """One symbol as it comes in.

    Attributes
    ----------
    name : str
    tree : mapping
        Its branch of a dump; the series are not read from it.
    series : callable
        Gives the series by interval.
    """

    name: str
    tree: Mapping[str, Any]
    series: Callable[[], dict[str, SeriesSource]]


class Origin:
    """A source opened: its name for messages, its session, and its symbols one by one.

    Parameters
    ----------
    source : SessionData, path or mapping
    symbols : collection of str, optional
        Which symbols, instead of all.

    Attributes
    ----------
    n_symbols : int
        How many the source has, wanted or not; known when all have been taken.

    Raises
    ------
    ArgumentError
        When the source is something else.
    DumpError
        When the source is no dump, or describes no possible session.
    """

    def __init__(self, source: Any, symbols: Collection[str] | None) -> None:
        self._wanted = symbols
        self.n_symbols = 0
        self._found: Iterator[SymbolSource]
        if isinstance(source, str | PathLike | Mapping):
            self.where: object = "dump" if isinstance(source, Mapping) else source
            self.session, trees = read_dump(source)
            self._found = (self._of_dump(name, tree) for name, tree in trees)
        else:
            root = getattr(source, "root", source)
            if not isinstance(root, SessionData):
                raise ArgumentError("source", source, "a SessionData, a dump or its tree")
            self.where = "session"
            self.session = session_to_dict(root, intervals=(), bars=False)["session"]
            self._found = _of_root(root)
        try:
            self.window = _window_of(self.session)
        except BROKEN as error:
            raise DumpError(self.where, [f"session: {problem(error)}"]) from error

    def symbols(self) -> Iterator[SymbolSource]:
        """Yield those that are wanted; raise at the end when one never came."""
        known = []
        for item in self._found:
            known.append(item.name)
            if self._wanted is None or item.name in self._wanted:
                yield item
        self.n_symbols = len(known)
        for symbol in self._wanted or ():
            if symbol not in known:
                raise UnknownSymbolError(symbol, sorted(known))

    def _of_dump(self, name: str, tree: Any) -> SymbolSource:
        if not isinstance(tree, Mapping):
            said = f"symbols.{name} is not an object; a report needs a whole dump"
            raise DumpError(self.where, [said])

        def series() -> dict[str, SeriesSource]:
            data: Mapping[str, Tree] = tree["session"]["data"]
            return {key: _series_of_dump(self.window, key, one) for key, one in data.items()}

        return SymbolSource(name, tree, series)


def problem(error: Exception) -> str:
    """Return what an error says, as a line of a message."""
    return f"no key {error}" if isinstance(error, KeyError) else str(error)


def _window_of(session: Tree) -> SessionWindow | None:
    if session["date"] is None:
        return None
    return SessionWindow(
        date.fromisoformat(session["date"]),
        [(to_ns(opened), to_ns(closed)) for opened, closed in session["segments"]],
        calendar=session.get("calendar") or "custom",
        timezone=session.get("timezone") or "UTC",
        anchor=session.get("anchor") or "session",
    )


def _series_of_dump(window: SessionWindow | None, name: str, tree: Tree) -> SeriesSource:
    n_absent = tree["gaps"]["missing_bars"] + tree.get("incomplete", 0)
    n_expected = tree["count"] + tree.get("evicted", 0) + n_absent
    grid = None if window is None else window.grid(name)
    return SeriesSource(
        n_bars=tree["count"],
        n_expected=n_expected if grid is None else min(grid.n_slots, n_expected),
        is_derived=tree["generated"],
        quality=tree["quality"],
        explained_quality=tree.get("explained_quality"),
        grid=grid,
        gaps=None if grid is None else _gaps_of_dump(grid, tree["gaps"]["ranges"]),
        rows=lambda: parse_bars(tree)[0] if "data" in tree else None,
    )


def _gaps_of_dump(grid: Grid, ranges: list[Tree]) -> Gaps:
    first = np.searchsorted(grid.starts_ns, parse_times([one["start_time"] for one in ranges]))
    n_slots = np.array([one["bar_count"] for one in ranges], dtype=np.int64)
    fits = (n_slots > 0) & (first + n_slots <= grid.n_slots)
    if not fits.all():
        at = ranges[int(np.argmin(fits))]["start_time"]
        raise ValueError(f"the {grid.interval} gap at {at} does not lie in the session")
    known = {reason: code for code, reason in enumerate(GAP_REASONS)}
    reasons = np.array([known.get(one["reason"], 0) for one in ranges], dtype=np.int8)
    runs = np.stack([first, n_slots], axis=1).astype(np.int64)
    return Gaps(runs, reasons, lambda at: ranges[at].get("evidence"))


def _of_root(root: SessionData) -> Iterator[SymbolSource]:
    skips = root.on_incomplete == "skip"
    for record in root:
        yield _of_record(record, root.window, skips)


def _of_record(
    record: SymbolSessionData, window: SessionWindow | None, skips_incomplete: bool
) -> SymbolSource:
    def series() -> dict[str, SeriesSource]:
        return {
            name: _series_of_record(one, window, skips_incomplete and one.derived)
            for name, one in record.bars.items()
        }

    return SymbolSource(record.symbol, symbol_to_dict(record, intervals=(), bars=False), series)


def _series_of_record(
    series: BarIntervalData, window: SessionWindow | None, skips_incomplete: bool
) -> SeriesSource:
    runs = series.gaps
    gaps = None
    if window is not None and isinstance(runs, GapRuns):
        gaps = Gaps(runs.slots, runs.reasons, lambda at: _evidence_of(runs, at))
    return SeriesSource(
        n_bars=len(series.complete_only()) if skips_incomplete else len(series),
        n_expected=series.n_expected,
        is_derived=series.derived,
        quality=series.quality,
        explained_quality=series.explained_quality,
        grid=None if window is None else window.grid(series.interval),
        gaps=gaps,
        rows=series.complete_only if skips_incomplete else series.copy,
    )


def _evidence_of(runs: GapRuns, at: int) -> Tree | None:
    found = runs.evidence(at)
    return None if found is None else found._asdict()
