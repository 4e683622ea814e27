"""What a job is: the same work in several systems, and how their results are compared."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.data import make_bars
from openbell.schema import BarArray

#: What a system found, by name: numbers are compared within 1e-9, the rest exactly.
Digest = dict[str, str | int | float]

ALL = "all"


@dataclass
class Work:
    """The work of one system, prepared.

    Attributes
    ----------
    n : int
        Operations (bars, rows) that one run of each of `runs` goes through.
    runs : dict
        What is timed, by the name of its figure; ``""`` when there is but one.
    digest : callable
        Given what the runs returned, by name: what they found.
    prepare : callable, optional
        Called before each round, untimed.
    figures : callable, optional
        Given what the runs returned: figures that the system measured itself, in place of the
        time that an operation took.
    """

    n: int
    runs: Mapping[str, Callable[[], Any]]
    digest: Callable[[dict[str, Any]], Digest]
    prepare: Callable[[], object] | None = None
    figures: Callable[[dict[str, Any]], dict[str, float]] | None = None


@dataclass(frozen=True)
class System:
    """How one system does a job.

    Attributes
    ----------
    name : str
        As the table shows it.
    make : callable
        ``make(n_symbols, n_threads)`` prepares the work. Imports the system; nobody else does.
    packages : tuple of str
        Distributions whose versions are shown.
    threads : tuple of (1 or "all")
    n_symbols : int
    goals : dict
        Of a peer: how many times openbell's each figure shall be, on the most threads (on each
        setting, where openbell has them, too). Of openbell: what each figure shall not exceed.
    without : tuple of str
        Patterns of the digest's keys that the system, by design, does not produce.
    note : str
        How it is used; what differs by design.
    """

    name: str
    make: Callable[[int, int], Work]
    packages: tuple[str, ...] = ()
    threads: tuple[int | str, ...] = (1,)
    n_symbols: int = 1
    goals: Mapping[str, float] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Job:
    """One group of the table. The first of `systems` is openbell, which others stand beside.

    Attributes
    ----------
    name, title : str
    systems : tuple of System
    per : str
        What an operation is.
    unit : "time" or "bytes"
    rounds : int
    fresh : bool
        Whether each round takes a process of its own, without a warm-up.
    """

    name: str
    title: str
    systems: tuple[System, ...]
    per: str = "bar"
    unit: str = "time"
    rounds: int = 7
    fresh: bool = False


def symbols(n: int) -> list[str]:
    return [f"S{k:05}" for k in range(n)]


def days(n: int, *, gap_share: float = 0.0) -> list[BarArray]:
    """A symbol-day of 1s bars for each of n symbols."""
    return [make_bars(seed=k, gap_share=gap_share) for k in range(n)]


def columns(bars: list[BarArray]) -> dict[str, np.ndarray[Any, Any]]:
    """All symbols' bars as plain columns, with the number of the symbol in front."""
    counts = [len(one) for one in bars]
    found: dict[str, np.ndarray[Any, Any]] = {
        "symbol": np.repeat(np.arange(len(bars), dtype=np.int32), counts)
    }
    for name in bars[0].dtype.names or ():
        found[name] = np.concatenate([one[name] for one in bars])
    return found


def hashed(*arrays: Any) -> str:
    """Of int64 and float64 values in the order given; the bytes decide."""
    digest = hashlib.sha256()
    for array in arrays:
        plain = np.asarray(array)
        kind = np.int64 if plain.dtype.kind in "iu" else np.float64
        digest.update(np.ascontiguousarray(plain, dtype=kind).tobytes())
    return digest.hexdigest()[:16]


def differences(ours: Digest, theirs: Digest, system: System) -> list[str]:
    """Keys in which a system disagrees, or which it should have produced and did not."""
    found = []
    for key, expected in ours.items():
        symbol = re.match(r"S(\d{5}) ", key)
        if symbol and int(symbol[1]) >= system.n_symbols:
            continue
        if key not in theirs:
            if not any(re.fullmatch(pattern, key) for pattern in system.without):
                found.append(f"{key}: missing")
        elif not _equal(expected, theirs[key]):
            found.append(f"{key}: {theirs[key]} instead of {expected}")
    return found + [f"{key}: unexpected" for key in theirs if key not in ours]


def _equal(one: str | int | float, other: str | int | float) -> bool:
    if isinstance(one, float) and isinstance(other, float | int):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other
