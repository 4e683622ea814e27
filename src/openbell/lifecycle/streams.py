"""Which interval is streamed, which ones are folded from it, and what history is read from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from openbell.errors import IntervalError
from openbell.intervals import Interval, interval

__all__ = ["StreamPlan", "history_base", "plan_streams"]


class StreamPlan(NamedTuple):
    """What to stream and what to derive.

    Attributes
    ----------
    base : str
        The interval that is streamed.
    derived : tuple of str
        What is folded from it, ascending.
    """

    base: str
    derived: tuple[str, ...]


def plan_streams(
    wanted: Iterable[str], available: Iterable[str], base: str | None = None
) -> StreamPlan:
    """Choose the interval to stream for those wanted: the smallest available that gives them all.

    Parameters
    ----------
    wanted : iterable of str
        Intervals to be had, at least one.
    available : iterable of str
        Intervals that a source holds.
    base : str, optional
        Stream this one, instead of the smallest.

    Raises
    ------
    IntervalError
        When no available interval, or not `base`, is or divides every one wanted.

    Examples
    --------
    >>> plan_streams(["1m", "5m"], ["1s", "1m", "1d"])
    StreamPlan(base='1s', derived=('1m', '5m'))
    >>> plan_streams(["1m", "5m"], ["1s", "1m", "1d"], base="1m")
    StreamPlan(base='1m', derived=('5m',))
    """
    asked = sorted({interval(name) for name in wanted})
    held = sorted({interval(name) for name in available})
    chosen = held if base is None else [item for item in held if item == interval(base)]
    if base is not None and not chosen:
        raise IntervalError(base, f"cannot be streamed: {_said(held)}")
    for item in chosen:
        if all(_gives(item, other) for other in asked):
            return StreamPlan(item.name, tuple(other.name for other in asked if other != item))
    if base is not None:
        lost = next(item for item in asked if not _gives(chosen[0], item))
        raise IntervalError(lost.name, f"cannot be derived from the base, {chosen[0].name}")
    for item in asked:
        if not any(_gives(other, item) for other in held):
            raise IntervalError(
                item.name, f"cannot be had: {_said(held)}, and bars of it need that or a divisor"
            )
    names = ", ".join(item.name for item in asked)
    raise IntervalError(names, f"cannot be had together: {_said(held)}, and none divides all")


def history_base(name: str, available: Iterable[str]) -> str:
    """Return the interval that history of another is read as: itself, or its longest divisor.

    Raises
    ------
    IntervalError
        When neither it nor a divisor of it is available.

    Examples
    --------
    >>> history_base("5m", ["1s", "1m", "1d"])
    '1m'
    """
    item = interval(name)
    held = sorted({interval(other) for other in available})
    if item in held:
        return item.name
    for other in reversed(held):
        if other.divides(item):
            return other.name
    raise IntervalError(
        item.name, f"cannot be had: {_said(held)}, and bars of it need that or a divisor"
    )


def _gives(held: Interval, wanted: Interval) -> bool:
    return held == wanted or held.divides(wanted)


def _said(held: Iterable[Interval]) -> str:
    return f"the source holds {', '.join(item.name for item in held) or 'no interval'}"
