"""The interval value type: parse, order, divide.

Canonical names are ``<n>s``, ``<n>m``, ``<n>h``, ``<n>d``; other spellings are
accepted only through :meth:`Interval.from_alias`, at the edge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache, total_ordering
from typing import Final

from openbell.errors import IntervalError
from openbell.schema import NS_PER_SECOND

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CANONICAL: Final = re.compile(r"([1-9][0-9]{0,4})([smhd])")
_ALIAS: Final = re.compile(r"([0-9]*)[\s_-]*([A-Za-z]+)")
_ALIAS_UNITS: Final = {
    "s": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "m": "m", "t": "m", "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "h": "h", "hr": "h", "hour": "h", "hours": "h",
    "d": "d", "day": "d", "days": "d",
}  # fmt: skip


@total_ordering
class Interval:
    """A bar length, such as ``5m``.

    Two spellings of one length in different units are one interval: ``60s`` is ``1m``,
    ``60m`` is ``1h``. A day is a session, not 24 hours: ``24h`` stays ``24h`` and is not ``1d``.

    Parameters
    ----------
    name : str
        ``<n>s``, ``<n>m``, ``<n>h`` or ``<n>d``, `n` at least 1.

    Attributes
    ----------
    name : str
        The canonical spelling.
    step_ns : int
        Length in nanoseconds; for days, 24 hours each (used to order, not to cut sessions).
    is_daily : bool
        Whether it counts sessions instead of time.

    Raises
    ------
    IntervalError
        When the text is not an interval.
    """

    __slots__ = ("is_daily", "name", "step_ns")

    name: str
    step_ns: int
    is_daily: bool

    def __init__(self, name: str) -> None:
        match = _CANONICAL.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise IntervalError(name, "expected <n>s, <n>m, <n>h or <n>d, such as '1s', '5m', '1d'")
        n, unit = int(match[1]), match[2]
        set_field = object.__setattr__
        set_field(self, "is_daily", unit == "d")
        set_field(self, "step_ns", n * _SECONDS[unit] * NS_PER_SECOND)
        set_field(self, "name", _canonical_name(n, unit))

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"Interval is immutable; cannot set {key}")

    @classmethod
    def from_alias(cls, text: str) -> Interval:
        """Parse a vendor's spelling: ``1Min``, ``5-MINUTE``, ``1T``, ``Day``, or the canonical one.

        Raises
        ------
        IntervalError
            When it is none of them.
        """
        match = _ALIAS.fullmatch(text.strip()) if isinstance(text, str) else None
        # "M" alone means month to some vendors and minute to others: refuse to guess.
        unit = None if match is None or match[2] == "M" else _ALIAS_UNITS.get(match[2].lower())
        if match is None or unit is None:
            raise IntervalError(text, "not a known spelling of an interval; use one like '5m'")
        return cls(f"{match[1] or '1'}{unit}")

    def divides(self, other: Interval) -> bool:
        """Whether bars of `other` can be folded from bars of this interval.

        True when `other` is longer and a multiple of it, or a daily interval above an intraday one.
        """
        if other.is_daily:
            return other.step_ns > self.step_ns and (
                not self.is_daily or other.step_ns % self.step_ns == 0
            )
        return (
            not self.is_daily and other.step_ns > self.step_ns and other.step_ns % self.step_ns == 0
        )

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Interval):
            return self.name == other.name
        return NotImplemented

    def __lt__(self, other: Interval) -> bool:
        if isinstance(other, Interval):
            return (self.is_daily, self.step_ns) < (other.is_daily, other.step_ns)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Interval({self.name!r})"

    def __reduce__(self) -> tuple[type[Interval], tuple[str]]:
        return Interval, (self.name,)


def _canonical_name(n: int, unit: str) -> str:
    if unit == "d":
        return f"{n}d"
    seconds = n * _SECONDS[unit]
    for name in ("h", "m"):
        if seconds % _SECONDS[name] == 0:
            return f"{seconds // _SECONDS[name]}{name}"
    return f"{seconds}s"


@lru_cache(maxsize=512)
def interval(name: str) -> Interval:
    """Return the (shared) :class:`Interval` of a canonical name."""
    return Interval(name)


def fold_sources(base: str, derived: Iterable[str]) -> dict[str, str]:
    """Tell which interval each derived one folds from: its largest divisor present.

    Parameters
    ----------
    base : str
        The interval that arrives.
    derived : iterable of str
        The intervals asked for, in any order.

    Returns
    -------
    dict of str to str
        ``{derived: source}``, ascending; ``10s`` never feeds ``15s``.

    Raises
    ------
    IntervalError
        When one is not a multiple of the base, equals it, is finer, or spans several sessions.

    Examples
    --------
    >>> fold_sources("1s", ["1m", "5s", "10s", "15s"])
    {'5s': '1s', '10s': '5s', '15s': '5s', '1m': '15s'}
    """
    return dict(_fold_sources(base, tuple(derived)))


@lru_cache(maxsize=512)
def _fold_sources(base: str, derived: tuple[str, ...]) -> dict[str, str]:
    # Thousands of records ask for the same; whoever asks gets a copy.
    root = interval(base)
    wanted = sorted({interval(name) for name in derived})
    sources: dict[str, str] = {}
    present = [root]
    for item in wanted:
        if item.is_daily and item.name != "1d":
            raise IntervalError(item.name, "spans several sessions; one session derives up to 1d")
        if not root.divides(item):
            raise IntervalError(
                item.name, f"cannot be derived from {root.name} bars; it must be a multiple of them"
            )
        sources[item.name] = next(p for p in reversed(present) if p.divides(item)).name
        present.append(item)
    return sources
