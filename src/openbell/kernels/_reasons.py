"""Why gaps are there: each symbol's own judgement, then all symbols together, then the rest.

A kernel and what it calls stay in this one file: numba's cache looks at no other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openbell.errors import SchemaError
from openbell.kernels._jit import jit
from openbell.kernels._silences import judge
from openbell.schema import GAP_NOTE_DTYPE, GAP_REASONS, Int64Array

__all__ = ["explain"]

Notes = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]
Rates = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

#: A silence of all symbols is improbable when fewer than this many are expected in a day. One
#: that is false makes many gaps wrong at once.
_RARE = 0.001
#: Blocks that a session is cut into, to follow how busy a symbol is.
_N_BLOCKS = 360
# How much longer hushes are than if symbols were independent: when there are too few to
# tell, and at least; and how many of the longest may be outages without raising it.
_JOINT_WEIGHT, _JOINT_LEAST, _JOINT_SPARED = 1.5, 1.25, 16
# Fewer symbols than this may be silent together because silences of their own line up.
_FEW = 8
# Chance that what is left without the loudest peers is silent too, as -ln.
_REST = 4.6
# A peer whose gap goes on for so many mean silences outside the hush is out by itself.
_NATURAL = 8.0

_NO_TRADE = GAP_REASONS.index("no_trade")
_OUTAGE = GAP_REASONS.index("outage")
_LATE_START = GAP_REASONS.index("late_start")
_TRUNCATED = GAP_REASONS.index("truncated")


def explain(
    runs: Sequence[Int64Array],
    n_expected: Sequence[int],
    n_slots: int,
    coarser: Sequence[Int64Array],
    disconnects: Sequence[Int64Array],
) -> list[Notes]:
    """Judge each symbol alone, then all together, then by what else is known."""
    # A power of two: a division for each gap would cost more than all else about it.
    shift = max(0, (n_slots // _N_BLOCKS).bit_length() - 1)
    rates = np.zeros((len(runs), ((n_slots - 1) >> shift) + 1), dtype=np.float32)
    present = np.zeros(n_slots + 1, dtype=np.int32)
    # One allocation: the first touch of many small ones would cost as much as the judgement.
    every = np.zeros(sum([len(of) for of in runs]), dtype=GAP_NOTE_DTYPE)
    notes = np.split(every, np.cumsum([len(of) for of in runs])[:-1]) if runs else []
    n_active = 0
    for k, of in enumerate(runs):
        judged = judge(of, n_expected[k], n_slots, shift, present, rates[k], notes[k])
        if judged < 0:
            first, n = of[-1 - judged].tolist()
            raise SchemaError(
                f"runs[{k}]",
                f"run {-1 - judged} of {n} slots from {first}",
                f"runs of at least one slot, ascending, before slot {n_expected[k]}",
            )
        n_active += judged
    hushes = _hushes(runs, notes, rates, present, shift, n_active)
    for k, of in enumerate(runs):
        settle(of, n_slots, present, n_active, hushes, coarser[k], disconnects[k], notes[k])
    return notes


def _hushes(
    runs: Sequence[Int64Array],
    notes: Sequence[Notes],
    rates: Rates,
    present: Int32Array,
    shift: int,
    n_active: int,
) -> Int64Array:
    # First slot and length of the stretches in which (nearly) all symbols are silent, and
    # which the silence of the loudest of them alone does not explain.
    n_slots = len(present) - 1
    totals = rates.sum(axis=0, dtype=np.float64)
    np.cumsum(present, out=present)
    found = []
    for n_traders in {0, n_active // 10}:
        if n_active < 2:
            break
        stretches = np.empty((n_slots // 2 + 1, 2), dtype=np.int64)
        n, weight = listen(present, n_traders, totals, shift, stretches)
        if n == 0:
            continue
        stretches = stretches[:n]
        alone = np.zeros((len(runs), n), dtype=np.float64)
        for k, of in enumerate(runs):
            by_tail = n_slots if n_active < _FEW else 0
            witness(of, notes[k], rates[k], shift, by_tail, stretches, alone[k])
        traded = (alone < 0).sum(axis=0)
        alone = -np.sort(-np.maximum(alone, 0.0), axis=0)
        loudest = 1 if n_active < 4 else max(2, n_active // 10)
        chance = alone.sum(axis=0) - traded * math.log(n_active)
        rest = chance - alone[:loudest].sum(axis=0)
        need = weight * math.log(n_slots / _RARE)
        sure = (traded <= n_traders) & (chance >= need) & (rest >= weight * _REST)
        found.append(stretches[sure])
    if not found:
        return np.empty((0, 2), dtype=np.int64)
    hushes = np.concatenate(found)
    return np.ascontiguousarray(hushes[np.argsort(hushes[:, 0], kind="stable")])


@jit
def listen(
    present: Int32Array, n_traders: Any, totals: Floats, shift: Any, stretches: Int64Array
) -> Any:
    # Writes the stretches in which no more than so many trade, and which that makes
    # improbable; returns how many, and how much longer hushes are than chance makes them.
    n_slots = present.shape[0] - 1
    end = n_slots
    while end > 0 and totals[(end - 1) >> shift] == 0.0:
        end -= 1
    z = np.empty(stretches.shape[0])
    n = at = 0
    while at < end:
        if present[at] > n_traders:
            at += 1
            continue
        first = at
        loud = 0.0
        while at < end and present[at] <= n_traders:
            loud += totals[at >> shift]
            at += 1
        stretches[n, 0] = first
        stretches[n, 1] = at - first
        z[n] = loud
        n += 1
    # Between two quantiles, so that a few outages do not raise it.
    weight = _JOINT_WEIGHT
    if n >= 8 * _JOINT_SPARED:
        ranked = np.sort(z[:n])
        high = max(n // 32, _JOINT_SPARED)
        times = math.log(n / (4.0 * high))
        weight = max(_JOINT_LEAST, (ranked[n - high] - ranked[n - n // 4]) / times)
    k = 0
    for i in range(n):
        if z[i] > weight * math.log(n_slots / _RARE):
            stretches[k, 0] = stretches[i, 0]
            stretches[k, 1] = stretches[i, 1]
            k += 1
    return k, weight


@jit
def witness(
    runs: Int64Array,
    notes: Notes,
    rates: Rates,
    shift: Any,
    by_tail: Any,
    stretches: Int64Array,
    alone: Floats,
) -> None:
    # How improbable each stretch is for this symbol, as -ln of the chance: 0 when it is not
    # expected there or was out by itself, -1 when it traded. With `by_tail`, the slots of the
    # session, the chance is at least the share of them that silences so long of its own cover.
    for k in range(stretches.shape[0]):
        first, end = stretches[k, 0], stretches[k, 0] + stretches[k, 1]
        rate = rates[(first + end) >> 1 >> shift]
        if rate == 0.0:
            continue
        low, high = 0, runs.shape[0]
        while low < high:
            mid = (low + high) // 2
            if runs[mid, 0] <= first:
                low = mid + 1
            else:
                high = mid
        if low == 0 or runs[low - 1, 0] + runs[low - 1, 1] < end:
            alone[k] = -1.0
        elif rate * (runs[low - 1, 1] - (end - first)) < _NATURAL:
            alone[k] = rate * (end - first)
            if by_tail:
                covered = notes[low - 1].expected_per_day * (end - first) / by_tail
                if covered > 0.0:
                    alone[k] = min(alone[k], max(0.0, -math.log(covered)))


@jit
def settle(
    runs: Int64Array,
    n_slots: Any,
    present: Int32Array,
    n_active: Any,
    hushes: Int64Array,
    coarser: Int64Array,
    disconnects: Int64Array,
    notes: Notes,
) -> None:
    # Adds to `notes` what the other symbols, coarser bars and disconnects say.
    n = runs.shape[0]
    own = 0
    for i in range(n):
        if notes[i].fill_rate > 0.0:
            own = 1
            break
    n_peers = n_active - own
    h = 0
    for i in range(n):
        first, end = runs[i, 0], runs[i, 0] + runs[i, 1]
        start, stop = first, end
        while h < hushes.shape[0] and hushes[h, 0] + hushes[h, 1] <= first:
            h += 1
        for k in range(h, hushes.shape[0]):
            if hushes[k, 0] >= end:
                break
            low, high = max(first, hushes[k, 0]), min(end, hushes[k, 0] + hushes[k, 1])
            if 2 * (high - low) <= hushes[k, 1] or own == 0:
                continue
            start, stop = low, high
            if notes[i].reason <= _NO_TRADE:
                notes[i].reason = _OUTAGE
                if low == 0:
                    notes[i].reason = _LATE_START
                elif high == n_slots:
                    notes[i].reason = _TRUNCATED
        loudest = present[start]
        for at in range(np.uint64(start + 1), np.uint64(stop)):
            loudest = max(loudest, present[at])
        notes[i].n_peers = min(n_peers, 32_767)
        notes[i].n_silent = min(n_peers - loudest, 32_767)
    for k in range(coarser.shape[0]):
        for i in range(_first_reaching(runs, coarser[k, 0]), n):
            if runs[i, 0] >= coarser[k, 0] + coarser[k, 1]:
                break
            notes[i].n_coarser = min(notes[i].n_coarser + 1, 32_767)
            if notes[i].reason <= _NO_TRADE:
                notes[i].reason = _OUTAGE
    for k in range(disconnects.shape[0]):
        for i in range(_first_reaching(runs, disconnects[k, 0]), n):
            if runs[i, 0] >= disconnects[k, 0] + disconnects[k, 1]:
                break
            notes[i].disconnected = True
            if notes[i].reason <= _NO_TRADE:
                notes[i].reason = _OUTAGE


@jit
def _first_reaching(runs: Int64Array, slot: Any) -> Any:
    # Index of the first run that ends behind the slot.
    low, high = 0, runs.shape[0]
    while low < high:
        mid = (low + high) // 2
        if runs[mid, 0] + runs[mid, 1] <= slot:
            low = mid + 1
        else:
            high = mid
    return low
