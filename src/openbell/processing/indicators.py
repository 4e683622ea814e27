"""Indicators of a record's series: made from a configuration, settled when they are read.

Nothing is worked out while nobody looks. On reading, what the series took in since is taken
in too: one bar by one step, many by building anew. Whatever the way, the value is that of the
bars there are.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from datetime import datetime
from math import ceil, isfinite
from typing import Any, ClassVar, Final, Protocol

import numpy as np

from openbell._native.values import BarData
from openbell.bars import BarIntervalData
from openbell.clock.window import Grid
from openbell.config import IndicatorConfig
from openbell.errors import IndicatorError, IntervalError, SessionStateError
from openbell.intervals import interval
from openbell.processing.custom import CustomIndicator, make_custom, n_history_of
from openbell.processing.session_indicators import SESSION_TYPES, PastSessions, check_parameters
from openbell.processing.talib_functions import TalibIndicator, find_function
from openbell.schema import BAR_FIELDS, BarArray, as_bars, to_datetime
from openbell.symbol import SymbolSessionData

__all__ = [
    "IndicatorData",
    "check_indicator",
    "history_days",
    "make_indicator",
    "n_history",
]

#: So many bars since the last look are taken in one by one, and one more for so many of all its
#: bars. Beyond that, building anew is quicker.
MOST_STEPS: Final = 32
BARS_PER_STEP: Final = 256

# Of a series at one instant: its revision, bars let go of, bars held, slots ended.
_Mark = tuple[int, int, int, int]


class Calculation(Protocol):
    """What an indicator's arithmetic is, whoever wrote it."""

    #: Whether bars of past sessions are taken in as if they were today's first.
    takes_history: ClassVar[bool]
    #: Whether the value changes by time alone.
    follows_clock: ClassVar[bool]

    def value_at(self, n_ended: int) -> Any:
        """The value when so many slots of the session have ended; None while there is none."""

    def reset(self, bars: BarArray, n_evicted: int) -> None:
        """Start anew from the bars of the session that are held."""

    def update(self, bar: BarData) -> None:
        """Take one more bar in."""


class IndicatorData:
    """One indicator of one series: its value now.

    Made by :func:`make_indicator`; reach it as ``record.indicators[name]``. Every property
    first takes in what the series has taken in since (:meth:`settle`). Threads may read it
    while another one appends.

    Attributes
    ----------
    name, type, interval : str
        As configured.
    parameters : dict
        As configured.
    is_eager : bool
        Whether it wants to be settled at each close of its interval: a user's own.
    """

    __slots__ = (
        "_calculation",
        "_follows_clock",
        "_grid",
        "_history_end_ns",
        "_is_broken",
        "_is_strict",
        "_lock",
        "_mark",
        "_n_past",
        "_newest_ns",
        "_record",
        "_revision",
        "_series",
        "_value",
        "interval",
        "is_eager",
        "name",
        "parameters",
        "type",
    )

    def __init__(
        self,
        record: SymbolSessionData,
        series: BarIntervalData,
        grid: Grid,
        config: IndicatorConfig,
        calculation: Calculation,
        history: PastSessions,
        *,
        strict: bool,
    ) -> None:
        self.name = config.name
        self.type = config.type
        self.interval = series.interval
        self.parameters: dict[str, Any] = dict(config.parameters)
        self.is_eager = isinstance(calculation, CustomIndicator)
        # The record holds this: two that hold each other would keep the day's memory.
        self._record = weakref.ref(record)
        self._series = series
        self._grid = grid
        self._calculation = calculation
        self._follows_clock = calculation.follows_clock
        self._is_strict = strict
        # A user's own may read the indicator it is.
        self._lock = threading.RLock()
        self._mark: _Mark | None = None
        self._is_broken = False
        self._revision = 0
        self._value: Any = None
        self._newest_ns: int | None = None
        past = history if calculation.takes_history else ()
        self._n_past = sum(len(bars) for _, bars in past)
        self._history_end_ns = _end_of_history(past, series.interval)

    @property
    def value(self) -> Any:
        """The value at the newest closed bar; None until ready.

        A number, or a tuple for functions of several outputs. NaN where a TA-Lib function gives
        NaN. With history, the first value may be that of the last bar of the session before.
        """
        with self._lock:
            if news := self._series.news(self._mark, self._follows_clock):
                self._catch_up(*news)
            return self._value

    @property
    def ready(self) -> bool:
        """Whether there is a value."""
        return self.value is not None

    @property
    def timestamp(self) -> datetime | None:
        """End of the newest bar taken in, aware UTC; None before there is one."""
        with self._lock:
            self.settle()
            end_ns = self._end_ns()
            return None if end_ns is None else to_datetime(end_ns)

    @property
    def revision(self) -> int:
        """How often it was built anew because bars of its series had changed."""
        with self._lock:
            self.settle()
            return self._revision

    def settle(self) -> None:
        """Take in the bars that closed since the last look. One bar: O(1).

        Raises
        ------
        Exception
            What the indicator raises, when it is strict; otherwise that is noted on the record.
            Either way there is no value then until bars change and it is built anew.
        """
        with self._lock:
            if news := self._series.news(self._mark, self._follows_clock):
                self._catch_up(*news)

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values, of one instant: numbers, lists, texts, None. A copy."""
        with self._lock:
            self.settle()
            end_ns = self._end_ns()
            return {
                "name": self.name,
                "type": self.type,
                "interval": self.interval,
                "parameters": dict(self.parameters),
                "value": _plain(self._value),
                "timestamp": None if end_ns is None else to_datetime(end_ns).isoformat(),
                "ready": self._value is not None,
                "revision": self._revision,
            }

    def __repr__(self) -> str:
        return f"<IndicatorData {self.name} ({self.type} of {self.interval}): {self.value!r}>"

    def _catch_up(self, mark: _Mark, bar: BarData | None) -> None:
        is_anew = is_changed = False
        rows = None
        # Another thread may write while this one reads: what was read counts only when nothing
        # has changed after it. A bar alone is of the instant of its mark.
        while bar is None:
            seen = self._mark
            n_seen = 0 if seen is None else seen[1] + seen[2]
            n = mark[1] + mark[2]
            n_unseen = n - n_seen
            # Bars taken in have changed, or others were let go of before they were seen.
            is_changed = seen is not None and (mark[0] != seen[0] or mark[1] > n_seen)
            n_steps = MOST_STEPS + (self._n_past + n) // BARS_PER_STEP
            is_anew = seen is None or is_changed or n_unseen > n_steps
            rows = self._series.copy(mark[2] if is_anew else n_unseen)
            again = self._series.news(mark, self._follows_clock)
            if again is None:
                self._revision += is_changed and n_seen > 0
                break
            mark = again[0]
        self._mark = mark
        if not self._is_broken or is_changed:
            self._take(mark, is_anew, bar, rows)

    def _take(self, mark: _Mark, is_anew: bool, bar: BarData | None, rows: BarArray | None) -> None:
        calculation = self._calculation
        try:
            if bar is not None:
                calculation.update(bar)
                self._newest_ns = bar.ts_ns
            elif rows is not None:
                if is_anew:
                    calculation.reset(rows, mark[1])
                else:
                    for row in rows.tolist():
                        calculation.update(
                            BarData(*(*row, self._series.symbol, self._series.interval))
                        )
                if is_anew or len(rows):
                    self._newest_ns = int(rows["timestamp"][-1]) if len(rows) else None
            self._value = calculation.value_at(mark[3])
            self._is_broken = False
        except Exception as error:
            self._value = None
            self._is_broken = True
            record = self._record()
            if record is not None:
                record.note_error(f"indicator {self.name}", error)
            if self._is_strict:
                raise
        except BaseException:
            # Interrupted half way: as if nobody had looked yet.
            self._value = self._mark = None
            self._is_broken = False
            raise

    def _end_ns(self) -> int | None:
        if self._newest_ns is None:
            return self._history_end_ns
        return _end_of(self._grid, self._newest_ns)


def make_indicator(
    record: SymbolSessionData,
    config: IndicatorConfig,
    history: PastSessions = (),
    *,
    strict: bool = False,
) -> IndicatorData:
    """Make an indicator of one of a record's series. It is the caller's to keep.

    Parameters
    ----------
    record : SymbolSessionData
        One of a day that has begun, with the series ``config.interval``. What the indicator
        raises is noted on it.
    config : IndicatorConfig
    history : sequence of (SessionWindow, numpy.ndarray)
        Past sessions and their bars of that interval, oldest first. Bars that are not finite
        are left out, and that is noted on the record.
    strict : bool
        Whether what the indicator raises goes on to the reader.

    Raises
    ------
    IndicatorError
        When type and parameters are not sound, as :func:`check_indicator` says.
    IntervalError
        When the record has no such series.
    SessionStateError
        When the record has no day yet.
    SchemaError
        When bars of the history are not an array of ``BAR_DTYPE``.
    """
    name = interval(config.interval).name
    series = record.bars.get(name)
    if series is None:
        raise IntervalError(
            name, f"{record.symbol} has no such series; it has {', '.join(record.bars)}"
        )
    grid = series.grid
    if grid is None:
        raise SessionStateError(
            f"{record.symbol} indicator {config.name}",
            "not begun",
            "register the record and call root.begin(window) first",
        )
    sound = [(window, _finite(record, config, bars)) for window, bars in history]
    calculation = _make_calculation(config, grid, sound)
    return IndicatorData(record, series, grid, config, calculation, sound, strict=strict)


def check_indicator(config: IndicatorConfig) -> None:
    """Refuse a type or parameters that no indicator can be made from.

    A TA-Lib function is tried out, a user's own imported and made once.

    Raises
    ------
    IndicatorError
        Its ``key`` says which part of `config` is wrong.
    """
    n_history(config)
    if config.type in SESSION_TYPES:
        check_parameters(config.type, config.parameters)


def n_history(config: IndicatorConfig) -> int:
    """How many bars of past sessions it takes for a value at the first bar of today.

    Raises
    ------
    IndicatorError
        As :func:`check_indicator`.
    """
    if config.type in SESSION_TYPES:
        return 0
    if ":" in config.type:
        return n_history_of(config.type, make_custom(config.type, config.parameters))
    return find_function(config.type, config.parameters, list(SESSION_TYPES)).n_lookback


def history_days(config: IndicatorConfig, n_slots: int) -> int:
    """How many past sessions the indicator wants.

    Parameters
    ----------
    config : IndicatorConfig
    n_slots : int
        Slots of the interval in a session.

    Raises
    ------
    IndicatorError
        As :func:`check_indicator`.
    """
    if config.type == "RELATIVE_VOLUME":
        return int(check_parameters(config.type, config.parameters)["days"])
    return ceil(n_history(config) / n_slots)


def _make_calculation(config: IndicatorConfig, grid: Grid, history: PastSessions) -> Calculation:
    if config.type in SESSION_TYPES:
        parameters = check_parameters(config.type, config.parameters)
        return SESSION_TYPES[config.type](grid, history, **parameters)
    past = [bars for _, bars in history]
    if ":" in config.type:
        return CustomIndicator(make_custom(config.type, config.parameters), past)
    function = find_function(config.type, config.parameters, list(SESSION_TYPES))
    return TalibIndicator(function, past)


def _finite(record: SymbolSessionData, config: IndicatorConfig, bars: BarArray) -> BarArray:
    checked = as_bars(bars, "history")
    values = checked.view(np.float64).reshape(-1, len(BAR_FIELDS))[:, 1:]
    is_finite = np.isfinite(values).all(axis=1)
    n_left_out = len(checked) - int(is_finite.sum())
    if not n_left_out:
        return checked
    error = IndicatorError(
        config.type, "history", f"{n_left_out} bars that are not finite", "finite prices and volume"
    )
    record.note_error(f"indicator {config.name}", error)
    return checked[is_finite]


def _end_of(grid: Grid, start_ns: int) -> int:
    slot = grid.slot_of(start_ns)
    return int(grid.ends_ns[slot]) if slot >= 0 else start_ns + grid.step_ns


def _end_of_history(history: PastSessions, name: str) -> int | None:
    for window, bars in reversed(history):
        if len(bars):
            return _end_of(window.grid(name), int(bars["timestamp"][-1]))
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    return str(value)
