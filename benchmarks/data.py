"""The bars that are measured with: seeded, in a session of 23,400 seconds."""

from __future__ import annotations

from datetime import date

import numpy as np

import openbell as ob
from openbell.schema import BAR_DTYPE, NS_PER_SECOND, BarArray

#: What a record derives from its 1s bars.
INTERVALS = ("5s", "10s", "30s", "1m", "5m", "15m", "30m", "1h")
#: Seconds in a regular session.
N_DAY = 23_400
#: 2025-07-02, 09:30 in New York.
OPEN_NS = 1_751_463_000 * NS_PER_SECOND
#: A bar as opaque bytes: numpy copies it with memcpy, where it copies records field by field.
RAW_BAR = np.dtype((np.void, BAR_DTYPE.itemsize))


def make_window() -> ob.SessionWindow:
    return ob.SessionWindow(
        date(2025, 7, 2),
        [(OPEN_NS, OPEN_NS + N_DAY * NS_PER_SECOND)],
        calendar="XNYS",
        timezone="America/New_York",
    )


def make_bars(n: int = N_DAY, *, seed: int = 1, gap_share: float = 0.0) -> BarArray:
    """Bars of consecutive seconds from the open, prices in cents; some seconds left out."""
    rng = np.random.default_rng(seed)
    cents = 10_000 + np.cumsum(rng.integers(-2, 3, n))
    ends = cents + rng.integers(-2, 3, n)
    bars = np.empty(n, dtype=BAR_DTYPE)
    bars["timestamp"] = OPEN_NS + NS_PER_SECOND * np.arange(n)
    bars["open"] = cents / 100
    bars["close"] = ends / 100
    bars["high"] = (np.maximum(cents, ends) + rng.integers(0, 3, n)) / 100
    bars["low"] = (np.minimum(cents, ends) - rng.integers(0, 3, n)) / 100
    bars["volume"] = rng.integers(1, 1000, n) * 1.0
    return bars[rng.random(n) >= gap_share] if gap_share else bars


def make_record(
    symbol: str,
    *,
    capacity: int = 0,
    n_reserve: int | None = None,
    intervals: tuple[str, ...] = INTERVALS,
) -> ob.SymbolSessionData:
    return ob.SymbolSessionData(
        symbol,
        base_interval="1s",
        derived_intervals=intervals,
        capacity=capacity,
        n_reserve=n_reserve,
        meets_session_config_requirements=True,
    )


def make_root(
    n_symbols: int, root: ob.SessionData | None = None, **options: int
) -> tuple[ob.SessionData, list[ob.SymbolSessionData]]:
    """A running day with records that have their memory: the next day of a root, when given."""
    root = ob.SessionData() if root is None else root
    if root.window is not None:
        root.end()
        root.clear()
    records = [
        root.register_symbol_data(make_record(f"S{k:05}", **options)) for k in range(n_symbols)
    ]
    root.begin(make_window())
    return root, records


def as_tuples(bars: BarArray) -> list[tuple[int, float, float, float, float, float]]:
    """Plain Python arguments for append."""
    columns = [bars[name].tolist() for name in bars.dtype.names or ()]
    return list(zip(*columns, strict=True))
