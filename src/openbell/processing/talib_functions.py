"""TA-Lib's functions by name: what they need, and streams that bars extend one by one.

Any function of TA-Lib can be had whose inputs are fields of a bar; all but MAVP are. A value
taken from the stream is what the batch function gives for the same bar, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from openbell._native.values import BarData
from openbell.errors import IndicatorError
from openbell.schema import BAR_FIELDS, BarArray

__all__ = ["TalibFunction", "TalibIndicator", "find_function", "function_names"]

#: The parameter that chooses which field a function's one ``price`` input is.
PRICE: Final = "price"
_FIELDS: Final = BAR_FIELDS[1:]
_N_TRIED: Final = 2


class TalibFunction(NamedTuple):
    """One function with its parameters, checked.

    Attributes
    ----------
    name : str
    fields : tuple of str
        The bar's fields it takes, in the order it takes them.
    parameters : tuple of (str, int or float)
        Those that were given; the others are TA-Lib's own.
    n_lookback : int
        Bars it takes in before the first that has a value.
    """

    name: str
    fields: tuple[str, ...]
    parameters: tuple[tuple[str, int | float], ...]
    n_lookback: int


class TalibIndicator:
    """A TA-Lib function over past sessions and the running one, without a seam between them.

    Parameters
    ----------
    function : TalibFunction
    history : sequence of numpy.ndarray
        Bars of past sessions, oldest first.
    """

    takes_history: ClassVar[bool] = True
    follows_clock: ClassVar[bool] = False

    def __init__(self, function: TalibFunction, history: Sequence[BarArray] = ()) -> None:
        from talib import InsufficientHistory, stream

        self._function = function
        self._parameters = dict(function.parameters)
        self._open: Any = getattr(stream, function.name)
        self._too_short: type[Exception] = InsufficientHistory
        self._past = tuple(history)
        self._inputs_of: Any = attrgetter(*function.fields)
        self._has_one_input = len(function.fields) == 1
        self._stream: Any = None
        self._waiting: list[npt.NDArray[np.float64]] = []
        self._value: Any = None

    def reset(self, bars: BarArray, n_evicted: int = 0) -> None:
        """Start anew from history and these bars of the session.

        Where the session has let go of bars, history does not join what is left: it is left out.
        """
        parts = (bars,) if n_evicted else (*self._past, bars)
        self._start(
            [np.concatenate([one[field] for one in parts]) for field in self._function.fields]
        )

    def update(self, bar: BarData) -> None:
        """Take one more bar in."""
        if self._stream is None:
            more = [getattr(bar, field) for field in self._function.fields]
            self._start([np.append(*both) for both in zip(self._waiting, more, strict=True)])
        elif self._has_one_input:
            self._value = self._stream.update(self._inputs_of(bar))
        else:
            self._value = self._stream.update(*self._inputs_of(bar))

    def value_at(self, n_ended: int) -> Any:
        """The value of the newest bar; None while there are too few."""
        return self._value

    def _start(self, inputs: list[npt.NDArray[np.float64]]) -> None:
        self._stream = self._value = None
        self._waiting = inputs
        if len(inputs[0]) <= self._function.n_lookback:
            return
        try:
            self._stream = self._open(*inputs, **self._parameters)
        except self._too_short:
            return
        self._waiting = []
        self._value = self._stream.value


def function_names() -> list[str]:
    """The names of TA-Lib's functions, sorted."""
    from talib import get_functions

    return sorted(get_functions())


def find_function(
    name: str, parameters: Mapping[str, Any], others: Sequence[str] = ()
) -> TalibFunction:
    """Look a function up and try its parameters out.

    Parameters
    ----------
    name : str
        As TA-Lib spells it, such as ``RSI``.
    parameters : mapping
        TA-Lib's own, and ``price``: the field that a function's one price input is, without it
        the field that TA-Lib takes.
    others : sequence of str
        Types that TA-Lib does not know, for the hint in an error.

    Raises
    ------
    IndicatorError
        When there is no such function, it takes what bars do not have, or TA-Lib refuses the
        parameters.
    """
    inputs, defaults = _describe(name, tuple(others))
    given = dict(parameters)
    fields = _choose_fields(name, inputs, given)
    known = [*defaults, *([PRICE] if PRICE in dict(inputs) else [])]
    checked = []
    for key, value in given.items():
        if key not in defaults:
            raise unknown_parameter(name, key, known)
        checked.append((key, _check_type(name, key, value, type(defaults[key]))))
    return _try_out(name, fields, tuple(sorted(checked)))


def unknown_parameter(type: str, key: str, known: Sequence[str]) -> IndicatorError:
    """Return the error for a parameter that a type does not have."""
    from difflib import get_close_matches

    close = get_close_matches(key, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    listed = f"one of {', '.join(known)}" if known else "no parameters"
    return IndicatorError(type, f"parameters.{key}", "an unknown parameter", listed + hint)


@cache
def _describe(
    name: str, others: tuple[str, ...]
) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], dict[str, int | float]]:
    from talib import abstract

    known = function_names()
    if name not in known:
        from difflib import get_close_matches

        close = get_close_matches(name.upper(), [*known, *others], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        expected = f"a TA-Lib function, {', '.join(others)}, or 'module:object'{hint}"
        raise IndicatorError(name, "type", name, expected)
    info = abstract.Function(name).info
    inputs = tuple(
        (key, (fields,) if isinstance(fields, str) else tuple(fields))
        for key, fields in info["input_names"].items()
    )
    missing = [f for _, fields in inputs for f in fields if f not in _FIELDS]
    if missing:
        expected = f"a function of what bars have; {name} takes {', '.join(missing)} too"
        raise IndicatorError(name, "type", name, expected)
    return inputs, dict(info["parameters"])


def _choose_fields(
    name: str, inputs: tuple[tuple[str, tuple[str, ...]], ...], given: dict[str, Any]
) -> tuple[str, ...]:
    by_input = dict(inputs)
    if PRICE in by_input and PRICE in given:
        field = given.pop(PRICE)
        if field not in _FIELDS:
            raise IndicatorError(name, f"parameters.{PRICE}", field, f"one of {', '.join(_FIELDS)}")
        by_input[PRICE] = (field,)
    return tuple(field for fields in by_input.values() for field in fields)


def _check_type(name: str, key: str, value: Any, kind: type) -> int | float:
    # TA-Lib itself would cut 14.9 to 14.
    accepted = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, accepted) or not math.isfinite(value):
        expected = "an integer" if kind is int else "a finite number"
        raise IndicatorError(name, f"parameters.{key}", value, expected)
    return int(value) if kind is int else float(value)


@cache
def _try_out(
    name: str, fields: tuple[str, ...], parameters: tuple[tuple[str, int | float], ...]
) -> TalibFunction:
    from talib import abstract

    if not _is_accepted(name, fields, dict(parameters)):
        for key, value in parameters:
            if not _is_accepted(name, fields, {key: value}):
                expected = f"a value in the range that TA-Lib's {name} accepts"
                raise IndicatorError(name, f"parameters.{key}", value, expected)
        expected = f"a combination that TA-Lib's {name} accepts"
        raise IndicatorError(name, "parameters", dict(parameters), expected)
    function = abstract.Function(name)
    function.parameters = dict(parameters)
    return TalibFunction(name, fields, parameters, int(function.lookback))


def _is_accepted(name: str, fields: tuple[str, ...], parameters: dict[str, int | float]) -> bool:
    from talib import InsufficientHistory, stream

    try:
        getattr(stream, name)(*(np.ones(_N_TRIED) for _ in fields), **parameters)
    except InsufficientHistory:
        return True
    except Exception:
        # TA-Lib raises bare exceptions for what it refuses.
        return False
    return True
