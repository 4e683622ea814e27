"""A user's own indicators: the protocol, and how ``module:object`` is found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from operator import attrgetter
from typing import Any, ClassVar, Protocol

import numpy as np

from openbell._native.values import BarData
from openbell.errors import IndicatorError
from openbell.schema import BAR_DTYPE, BarArray

__all__ = ["CustomIndicator", "Indicator", "make_custom", "n_history_of"]


class Indicator(Protocol):
    """What a user's own indicator is: made with its parameters, given bars, asked for a value.

    Named ``package.module:Name`` in the configuration, where ``Name`` is called with the
    parameters as keywords and returns an object with the following. One object serves one
    series of one record for one day. It is seeded from the history its record has; where one
    is asked for while a day runs, so many bars of past sessions are loaded for it as its
    attribute ``n_history`` says, without that none.

    Attributes
    ----------
    value : object
        What it says of the newest bar; None while it is not ready. A number, or a tuple of them.

    Notes
    -----
    It is given each bar once, in order, when the bar closes. When a bar was corrected or came
    late, it is reset with all the bars. What it raises is noted on the record.

    Examples
    --------
    >>> class Streak:
    ...     def __init__(self, least: int = 1) -> None:
    ...         self.least = least
    ...         self.n_up = 0
    ...
    ...     def reset(self, bars) -> None:
    ...         self.n_up = 0
    ...         for bar in bars:
    ...             self.n_up = self.n_up + 1 if bar["close"] > bar["open"] else 0
    ...
    ...     def update(self, bar) -> None:
    ...         self.n_up = self.n_up + 1 if bar.close > bar.open else 0
    ...
    ...     @property
    ...     def value(self):
    ...         return self.n_up if self.n_up >= self.least else None
    """

    @property
    def value(self) -> Any: ...  # noqa: D102

    def reset(self, bars: BarArray) -> None:
        """Forget everything, and start from these closed bars.

        Parameters
        ----------
        bars : numpy.ndarray
            dtype ``BAR_DTYPE``, oldest first: those of past sessions, then the session's own.
            May be empty. Read-only, and its own to keep.
        """

    def update(self, bar: BarData) -> None:
        """Take one more closed bar in, newer than all before."""


class CustomIndicator:
    """A user's own object, with the history that it is reset from."""

    takes_history: ClassVar[bool] = True
    follows_clock: ClassVar[bool] = False

    def __init__(self, made: Indicator, history: Sequence[BarArray] = ()) -> None:
        self._made = made
        self._past = tuple(history)
        self.update = made.update

    def value_at(self, n_ended: int) -> Any:
        """What the object says."""
        return self._made.value

    def reset(self, bars: BarArray, n_evicted: int = 0) -> None:
        """Reset the object with history and these bars; without history where bars are gone."""
        parts = (bars,) if n_evicted else (*self._past, bars)
        joined = b"".join(one.tobytes() for one in parts)
        self._made.reset(np.frombuffer(joined, dtype=BAR_DTYPE))


def make_custom(type: str, parameters: Mapping[str, Any]) -> Indicator:
    """Import ``module:object``, call it with the parameters, and check what it returned.

    Raises
    ------
    IndicatorError
        When it cannot be imported or called, or lacks a part of :class:`Indicator`.
    """
    factory = _import_object(type)
    try:
        made = factory(**parameters)
    except Exception as error:
        raise IndicatorError(
            type, "parameters", dict(parameters), f"what {type} can be made with ({_text(error)})"
        ) from error
    lacking = [name for name in ("reset", "update") if not callable(getattr(made, name, None))]
    try:
        lacking += [] if hasattr(made, "value") else ["value"]
    except Exception as error:
        raise IndicatorError(
            type, "type", type, f"a value that is None while it is not ready ({_text(error)})"
        ) from error
    if lacking:
        raise IndicatorError(
            type, "type", type, f"an indicator with reset, update and value; no {lacking[0]} here"
        )
    n_history_of(type, made)
    return made


def n_history_of(type: str, made: Indicator) -> int:
    """How many bars of past sessions a user's own wants: its ``n_history``, 0 without one."""
    n = getattr(made, "n_history", 0)
    if not isinstance(n, int) or isinstance(n, bool) or n < 0:
        raise IndicatorError(type, "type", n, "an n_history that is a count of bars, at least 0")
    return n


def _import_object(type: str) -> Callable[..., Indicator]:
    name, _, path = type.partition(":")
    if not name or not path:
        raise IndicatorError(type, "type", type, "'package.module:Name'")
    try:
        module = import_module(name)
    except Exception as error:
        raise IndicatorError(
            type, "type", type, f"a module that can be imported ({_text(error)})"
        ) from error
    try:
        found = attrgetter(path)(module)
    except AttributeError:
        raise IndicatorError(type, "type", type, f"an object in {name}; no {path} there") from None
    if not callable(found):
        raise IndicatorError(type, "type", type, "a class, or a function that makes an indicator")
    made: Callable[..., Indicator] = found
    return made


def _text(error: Exception) -> str:
    return f"{error.__class__.__name__}: {error}"
