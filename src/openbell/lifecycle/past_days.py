"""Bars of past days of many symbols: asked for first, then read together, day by day.

Owns the reading in batches, the refusal of bars that no record would take, and the folding.
What is wanted, and what becomes of a symbol that has nothing, the callers say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date as Date
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from openbell._native.columns import all_fit
from openbell.errors import OpenbellError
from openbell.intervals import interval
from openbell.lifecycle.streams import history_base
from openbell.schema import REFUSALS, BarArray, Int64Array, as_bars

if TYPE_CHECKING:
    from openbell.clock.window import Grid, SessionWindow
    from openbell.sources import DataManager

__all__ = ["PastDays", "described", "fold_days", "named", "read_each", "sift"]

# The checks made here, in their order; the others need a record.
_CHECKED: Final = REFUSALS[: REFUSALS.index("off_grid") + 1]


class PastDays:
    """What is asked for by symbol, interval and day, and what was found.

    Each day of each interval that the source holds is read once, for all symbols that need it
    by itself or to fold another from it.

    Parameters
    ----------
    data : DataManager
    """

    def __init__(self, data: DataManager) -> None:
        self._data = data
        self._available: dict[str, list[str]] = {}
        self._held: dict[str, dict[str, str]] = {}
        self._reads: dict[tuple[Date, str], dict[str, set[str]]] = {}
        self._bars: dict[tuple[str, str], dict[Date, BarArray]] = {}
        self._missing: dict[tuple[str, str], dict[Date, str]] = {}
        self._failed: dict[str, dict[Date, str]] = {}
        self._refused: dict[tuple[str, str], dict[Date, Counter[str]]] = {}

    def ask(self, symbol: str, wanted: Mapping[str, Collection[Date]]) -> None:
        """Ask for days of one symbol by interval; nothing is read yet.

        Raises
        ------
        IntervalError
            When the symbol's source holds nothing that gives one of the intervals; then none of
            them is asked for. What the source itself raises passes through.
        """
        if symbol not in self._available:
            self._available[symbol] = self._data.available_intervals(symbol)
        held = {name: history_base(name, self._available[symbol]) for name in wanted}
        for name, days in wanted.items():
            self._held.setdefault(symbol, {})[name] = held[name]
            for day in days:
                self._reads.setdefault((day, held[name]), {}).setdefault(symbol, set()).add(name)

    def read(self, on_progress: Callable[[int, int], object] | None = None) -> None:
        """Read what was asked for; `on_progress` is told (symbol days done, all) after each.

        No symbol's failure is raised: its day is then missing, and :meth:`missing` says why.
        """
        n_done, n_all = 0, sum(map(len, self._reads.values()))
        for day, held in sorted(self._reads, key=lambda key: (key[0], interval(key[1]))):
            wanted = self._reads[day, held]
            window = self._data.time_manager.session_window(day)
            for symbol, bars in read_each(list(wanted), held, window, self._data):
                self._take(symbol, held, window, wanted[symbol], bars)
                n_done += 1
                if on_progress is not None:
                    on_progress(n_done, n_all)
        self._reads = {}

    def bars(self, symbol: str, interval: str, days: Collection[Date]) -> dict[Date, BarArray]:
        """The bars found of these days, by date in their order; read-only arrays."""
        found = self._bars.get((symbol, interval), {})
        return {day: found[day] for day in days if day in found}

    def missing(self, symbol: str, interval: str, days: Collection[Date]) -> dict[Date, str]:
        """Why there are no bars of these days, by date; days that have some are left out."""
        found = self._missing.get((symbol, self._held[symbol][interval]), {})
        return {day: found[day] for day in days if day in found}

    def unreadable(self, symbol: str) -> dict[Date, str]:
        """Days of the symbol that failed to be read, and how; no bars at all is no failure."""
        return self._failed.get(symbol, {})

    def dates_read(self, symbol: str) -> dict[str, tuple[Date, ...]]:
        """Dates of which bars of the symbol are used, by the interval the source holds."""
        dates: dict[str, set[Date]] = {}
        for wanted, held in self._held.get(symbol, {}).items():
            dates.setdefault(held, set()).update(self._bars.get((symbol, wanted), ()))
        return {held: tuple(sorted(found)) for held, found in dates.items() if found}

    def refused(self) -> dict[tuple[str, str], dict[Date, Counter[str]]]:
        """Bars that were left out, by (symbol, interval read), date and reason."""
        return self._refused

    def _take(
        self,
        symbol: str,
        held: str,
        window: SessionWindow,
        wanted: Collection[str],
        bars: BarArray | Exception,
    ) -> None:
        missing = self._missing.setdefault((symbol, held), {})
        try:
            if isinstance(bars, Exception):
                raise bars
            kept, refused = sift(bars, window.grid(held))
        except Exception as error:  # a source may be anybody's code
            missing[window.date] = described(error)
            self._failed.setdefault(symbol, {})[window.date] = missing[window.date]
            return
        if refused:
            self._refused.setdefault((symbol, held), {})[window.date] = refused
        if not len(kept):
            missing[window.date] = (
                f"all {len(bars)} {held} bars are refused" if len(bars) else f"no {held} bars"
            )
            return
        day = window.date
        for name in wanted:
            found = kept if name == held else fold_days({day: kept}, name, self._data)[day]
            # A view, as the array may be the source's own.
            found = found.view()
            found.flags.writeable = False
            self._bars.setdefault((symbol, name), {})[day] = found


def read_each(
    symbols: Sequence[str], name: str, window: SessionWindow, data: DataManager
) -> Iterator[tuple[str, BarArray | Exception]]:
    """Read one session of many symbols; where that fails, tell whose failure it is.

    Yields
    ------
    (str, numpy.ndarray or Exception)
        Every symbol once: its bars as the source gives them, or what reading them raised.
    """
    left = dict.fromkeys(symbols)
    while left:
        try:
            for symbol, bars in data.load_session_bars(list(left), name, window):
                if symbol in left:
                    del left[symbol]
                    yield symbol, bars
            break
        except Exception:  # a source may be anybody's code
            if not left:
                return
        # Whose it was, only asking for each by itself can tell; the rest goes together again.
        for symbol in list(left):
            del left[symbol]
            try:
                alone = dict(data.load_session_bars([symbol], name, window))[symbol]
            except Exception as error:
                yield symbol, error
                break
            yield symbol, alone
    for symbol in left:
        yield symbol, OpenbellError(f"the source gave no answer for {symbol}")


def fold_days(days: Mapping[Date, BarArray], name: str, data: DataManager) -> dict[Date, BarArray]:
    """Fold whole sessions of a finer interval, each on its own grid.

    Parameters
    ----------
    days : mapping of datetime.date to numpy.ndarray
        ``BAR_DTYPE``, ascending, of an interval that divides `name`.
    name : str
    data : DataManager
        Its clock tells the windows.

    Returns
    -------
    dict of datetime.date to numpy.ndarray
        In the same order. O(bars); the first call loads numba.
    """
    from openbell.kernels import derive

    # Copies, as what the kernel returns may be the beginning of more.
    return {
        day: np.array(derive(bars, data.time_manager.session_window(day).grid(name))[0])
        for day, bars in days.items()
    }


def sift(bars: BarArray, grid: Grid) -> tuple[BarArray, Counter[str]]:
    """Leave out the bars that no record would take.

    Parameters
    ----------
    bars : numpy.ndarray
        ``BAR_DTYPE``, in any order.
    grid : Grid
        Slots of their interval.

    Returns
    -------
    bars : numpy.ndarray
        Those that are sound, strictly ascending; the array given when all of them are. Of one
        slot the last counts.
    refused : collections.Counter
        How many were left out by reason: a name of :data:`~openbell.schema.REFUSALS`, or
        ``duplicate``.

    Raises
    ------
    SchemaError
        When it is no array of bars.

    Notes
    -----
    O(n), one pass over the array when nothing is wrong.
    """
    bars = as_bars(bars)
    if all_fit(bars, grid.segments, grid.step_ns):
        return bars, Counter()
    reasons = _reasons(bars, grid)
    refused = Counter({_CHECKED[code]: n for code, n in Counter(reasons[reasons >= 0]).items()})
    kept = bars[reasons < 0]
    kept = kept[np.argsort(kept["timestamp"], kind="stable")]
    is_last = np.append(np.diff(kept["timestamp"]) > 0, True)[: len(kept)]
    if not is_last.all():
        refused["duplicate"] = int((~is_last).sum())
        kept = kept[is_last]
    return kept, refused


def described(error: Exception) -> str:
    """Return an error's text, with its kind where that says more than the text."""
    text = str(error)
    if text and isinstance(error, OpenbellError | OSError):
        return text
    return named(error)


def named(error: Exception) -> str:
    """Return an error's kind and text."""
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _slots_of(ts: Int64Array, grid: Grid) -> tuple[npt.NDArray[np.bool_], Int64Array]:
    opened, closed, origin, first = grid.segments.T
    row = np.searchsorted(opened[1:], ts, side="right")
    slots = first[row] + (ts - origin[row]) // grid.step_ns
    return (ts >= opened[row]) & (ts < closed[row]), slots


def _reasons(bars: BarArray, grid: Grid) -> Int64Array:
    opens, high, low, closes, volume = (bars[n] for n in ("open", "high", "low", "close", "volume"))
    finite = np.logical_and.reduce([np.isfinite(v) for v in (opens, high, low, closes, volume)])
    inside, slots = _slots_of(bars["timestamp"], grid)
    labels = grid.starts_ns[np.where(inside, slots, 0)]
    checks = [
        ~finite,
        high < low,
        (np.maximum(opens, closes) > high) | (np.minimum(opens, closes) < low),
        volume < 0,
        ~inside,
        labels != bars["timestamp"],
    ]
    return np.select(checks, range(len(_CHECKED)), -1)
