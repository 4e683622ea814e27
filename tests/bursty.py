"""Who trades in which second of a made-up day, as unevenly as real symbols do; and faults in it.

A symbol's intensity is a U over the day, times a slow wandering (an hour) and a quick one
(minutes), both log-normal and half of them common to all symbols, times news: sudden bursts
that die away. Given the intensity, seconds are independent; with `cluster`, some trades also
bring others within the next seconds. Only presence is made: that is all a gap's reason depends on.
"""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from openbell.clock.window import Grid, SessionWindow
from openbell.schema import NS_PER_SECOND, Int64Array

__all__ = ["Presence", "dispersion", "draw", "intensities", "make_grid", "runs_of", "silence"]

Presence = npt.NDArray[np.bool_]
Floats = npt.NDArray[Any]

#: Seconds after which each wandering has forgotten itself, and the spread of its logarithm.
WANDERINGS = ((3600, 0.25), (600, 0.2))
#: Share of a wandering's variance that all symbols have in common.
IN_COMMON = 0.5
#: News of a symbol a day; how much they multiply its intensity by, at most; seconds to die away.
NEWS, NEWS_SIZE, NEWS_TIME = 2, 3.0, 240
#: Chance that a trade brings another, one second later, two, ...
ECHOES = (0.10, 0.06, 0.04, 0.03, 0.02)
_KNOT = 30


def make_grid(n_slots: int = 23_400, interval: str = "1s") -> Grid:
    """A session of one segment with so many slots."""
    step = {"1s": 1, "1m": 60}[interval] * NS_PER_SECOND
    return SessionWindow(date(2025, 7, 2), [(0, n_slots * step)]).grid(interval)


def intensities(
    rng: np.random.Generator,
    fills: npt.ArrayLike,
    n_slots: int = 23_400,
    *,
    unrest: float = 1.0,
) -> Floats:
    """Trades a second that each symbol makes likely, float32 (symbols, slots).

    With `unrest` 0 they are the same all day; 1 is as real symbols are, more is worse.
    """
    fills = np.asarray(fills, np.float64)
    n_knots = n_slots // _KNOT + 2
    shape = (len(fills), n_knots)
    x = np.linspace(-1.0, 1.0, n_knots)
    log = min(unrest, 1.0) * np.log(0.7 + 1.3 * x**4) + np.zeros(shape)
    for time, spread in WANDERINGS:
        own, common = _wander(rng, shape, time), _wander(rng, (1, n_knots), time)
        log += unrest * spread * (np.sqrt(1 - IN_COMMON) * own + np.sqrt(IN_COMMON) * common)
    at = np.arange(n_knots) * _KNOT
    for k, n_news in enumerate(rng.poisson(NEWS * unrest, len(fills))):
        for start in rng.integers(0, n_slots, n_news):
            since = at - start
            size = rng.uniform(1.0, NEWS_SIZE) - 1.0
            log[k] += np.log1p(size * np.exp(-since / NEWS_TIME) * (since >= 0))
    base = np.exp(log)
    for _ in range(60):
        p = 1.0 - np.exp(-base)
        slope = (base * (1.0 - p)).mean(1)
        step = (fills - p.mean(1)) / np.maximum(slope, 1e-9)
        base *= np.exp(np.clip(step, -0.7, 0.7))[:, None]
    position = np.arange(n_slots) / _KNOT
    left = position.astype(np.int64)
    part = (position - left).astype(np.float32)
    knots = base.astype(np.float32)
    return knots[:, left] * (1 - part) + knots[:, left + 1] * part


def _wander(rng: np.random.Generator, shape: tuple[int, int], time: float) -> Floats:
    keep = np.exp(-_KNOT / time)
    noise = rng.standard_normal(shape)
    noise[:, 1:] *= np.sqrt(1 - keep**2)
    for k in range(1, shape[1]):
        noise[:, k] += keep * noise[:, k - 1]
    return noise


def draw(rng: np.random.Generator, rates: Floats, *, cluster: bool = False) -> Presence:
    """Seconds with a trade, of symbols of these intensities."""
    if not cluster:
        return rng.random(rates.shape, np.float32) < -np.expm1(-rates)
    first = rng.random(rates.shape, np.float32) < -np.expm1(-rates / (1 + sum(ECHOES)))
    present = first.copy()
    for k, chance in enumerate(ECHOES, 1):
        present[:, k:] |= first[:, :-k] & (
            rng.random((len(rates), rates.shape[1] - k), np.float32) < chance
        )
    return present


def runs_of(present: Presence) -> Int64Array:
    """First slot and length of each run of slots without a trade, as `Series.gap_runs()`."""
    edges = np.diff(np.concatenate(([1], present.astype(np.int8), [1])))
    starts, ends = np.flatnonzero(edges < 0), np.flatnonzero(edges > 0)
    return np.stack([starts, ends - starts], axis=1).astype(np.int64)


def silence(present: Presence, first: int, n: int) -> None:
    """Plant a fault: nothing from slot `first` on, for `n` slots."""
    present[..., first : first + n] = False


def dispersion(present: Presence, seconds: int = 300) -> tuple[float, float]:
    """How uneven: variance of the trades in 5 minutes over what chance gives; p90 / p10."""
    n = present.shape[-1] // seconds
    counts = present[..., : n * seconds].reshape(*present.shape[:-1], n, seconds).sum(-1)
    p = counts.mean(-1) / seconds
    chance = seconds * p * (1 - p)
    low, high = np.percentile(counts, [10, 90], axis=-1)
    return float((counts.var(-1) / chance).mean()), float((high / np.maximum(low, 1)).mean())
