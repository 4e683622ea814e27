"""Which interval is streamed, and which ones are folded from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from openbell.errors import IntervalError
from openbell.intervals import interval

__all__ = ["StreamPlan", "plan_streams"]


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


def plan_streams(wanted: Iterable[str], available: Iterable[str]) -> StreamPlan:
    """Choose the base for the intervals wanted, from those that a source has.

    The finest interval wanted is the base when the source has it; else the longest available
    one that all wanted ones are multiples of.

    Raises
    ------
    IntervalError
        When no available interval serves.

    Examples
    --------
    >>> plan_streams(["5s", "1m"], ["1s", "1m"])
    StreamPlan(base='1s', derived=('5s', '1m'))
    """
    asked = sorted({interval(name) for name in wanted})
    held = sorted({interval(name) for name in available})
    for base in reversed(held):
        others = [item for item in asked if item != base]
        if all(base.divides(item) for item in others):
            return StreamPlan(base.name, tuple(item.name for item in others))
    names = ", ".join(item.name for item in held) or "no interval"
    raise IntervalError(
        asked[0].name, f"cannot be had: the source holds {names}, and none divides all wanted"
    )
