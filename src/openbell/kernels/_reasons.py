"""Compiled judgement of gaps: is this silence what the symbol's own trading makes likely?

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
from openbell.schema import GAP_NOTE_DTYPE, GAP_REASONS, Int64Array

__all__ = ["explain"]

Notes = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]
Rates = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

#: A silence is improbable when fewer than this many of its length are expected in a day.
_RARE = 0.012
#: The same for a silence of all symbols: one that is false makes many gaps wrong at once.
_RARE_JOINT = 0.001
#: With fewer bars than this a symbol is not judged, and is nobody's peer.
_MIN_BARS = 20
#: Blocks that a session is cut into, to follow how busy a symbol is.
_N_BLOCKS = 360
# How fast what was seen is forgotten: in slots, but at least in so many bars.
_FAST_SLOTS, _FAST_BARS, _SLOW_TIMES = 150.0, 25.0, 8.0
# A gap counts as silence around others only up to this many mean silences.
_CAP = 25.0
# A side may be this many standard errors quieter than both before it counts alone.
_SIDE_ERRORS = 1.5
# The symbol's own long silences: the longest share, and how many of them count as censored.
_TAIL_SHARE, _TAIL_STEP, _TAIL_CENSORED = 8, 4, 8
_BINS, _BINS_PER_UNIT = 1024, 8
# Silences shorter than so many mean ones are not in the tail; those up to twice as long, as -ln
# of their chance, are surely no fault.
_USUAL, _WORTH = 1.75, 3.0
# The tail was chosen for being long: how much more often than it says silences are expected.
_TAIL_DOUBT = 3.0
# How much longer hushes are than if symbols were independent: when there are too few to
# tell, and at least; and how many of the longest may be outages without raising it.
_JOINT_WEIGHT, _JOINT_LEAST, _JOINT_SPARED = 1.5, 1.25, 16
# Chance that what is left without the loudest peers is silent too, as -ln.
_REST = 4.6
# A peer whose gap goes on for so many mean silences outside the hush is out by itself.
_NATURAL = 8.0

_NO_TRADE = GAP_REASONS.index("no_trade")
_OUTAGE = GAP_REASONS.index("outage")
_LATE_START = GAP_REASONS.index("late_start")
_TRUNCATED = GAP_REASONS.index("truncated")
_GOLDEN = 0.6180339887498949


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
    notes = [np.zeros(len(of), dtype=GAP_NOTE_DTYPE) for of in runs]
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
    hushes = _hushes(runs, rates, present, shift, n_active)
    for k, of in enumerate(runs):
        settle(of, n_slots, present, n_active, hushes, coarser[k], disconnects[k], notes[k])
    return notes


def _hushes(
    runs: Sequence[Int64Array], rates: Rates, present: Int32Array, shift: int, n_active: int
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
            witness(of, rates[k], shift, stretches, alone[k])
        traded = (alone < 0).sum(axis=0)
        alone = -np.sort(-np.maximum(alone, 0.0), axis=0)
        loudest = 1 if n_active < 4 else max(2, n_active // 10)
        chance = alone.sum(axis=0) - traded * math.log(n_active)
        rest = chance - alone[:loudest].sum(axis=0)
        need = weight * math.log(n_slots / _RARE_JOINT)
        sure = (traded <= n_traders) & (chance >= need) & (rest >= weight * _REST)
        found.append(stretches[sure])
    if not found:
        return np.empty((0, 2), dtype=np.int64)
    hushes = np.concatenate(found)
    return np.ascontiguousarray(hushes[np.argsort(hushes[:, 0], kind="stable")])


@jit
def judge(
    runs: Int64Array,
    n_expected: Any,
    n_slots: Any,
    shift: Any,
    present: Int32Array,
    rates: Rates,
    notes: Notes,
) -> Any:
    # Fills `notes` with what the symbol's own trading says, `rates` with how often it trades
    # by block (as -ln of the chance of a silent slot), and adds its slots to `present`, which
    # holds differences. Returns 1, 0 when there is too little to judge by, or -1 - the index of
    # a run that is out of place.
    n = runs.shape[0]
    n_missing = end = 0
    for i in range(n):
        if runs[i, 0] < end or runs[i, 1] <= 0 or runs[i, 0] + runs[i, 1] > n_expected:
            return -1 - i
        end = runs[i, 0] + runs[i, 1]
        notes[i].first_slot = runs[i, 0]
        notes[i].n_slots = runs[i, 1]
        n_missing += runs[i, 1]
    n_bars = n_expected - n_missing
    if n_bars < _MIN_BARS:
        return 0
    present[0] += 1
    present[n_expected] -= 1
    for i in range(n):
        present[runs[i, 0]] -= 1
        present[runs[i, 0] + runs[i, 1]] += 1
    lost = np.zeros(n, dtype=np.bool_)
    for _ in range(3):
        if not _weigh(runs, n_expected, n_slots, shift, n_bars, lost, rates, notes):
            break
    for i in range(n):
        if notes[i].expected_per_day >= _RARE:
            # A series that is full but for this one gap shows no silence to compare it with.
            notes[i].reason = _NO_TRADE if n > 1 else 0
        elif runs[i, 0] == 0:
            notes[i].reason = _LATE_START
        elif runs[i, 0] + runs[i, 1] == n_slots:
            notes[i].reason = _TRUNCATED
        else:
            notes[i].reason = _OUTAGE
    return 1


@jit
def _weigh(
    runs: Int64Array,
    n_expected: Any,
    n_slots: Any,
    shift: Any,
    n_bars: Any,
    lost: Any,
    rates: Rates,
    notes: Notes,
) -> Any:
    # One judgement of all gaps, each by all but itself and those already `lost`; returns
    # whether more are lost than before.
    n = runs.shape[0]
    n_blocks = rates.shape[0]
    block = 1 << shift
    bars = np.zeros(n_blocks)
    slots = np.zeros(n_blocks)
    cap = _survey(runs, n_expected, shift, n_bars, lost, bars, slots)
    n_seen = slots.sum()
    day = n_bars / (n_seen + 0.5)
    fast = max(_FAST_SLOTS, _FAST_BARS / day)
    slow = _SLOW_TIMES * fast

    near_bars, near_slots = bars.copy(), slots.copy()
    _spread(near_bars, near_slots, math.exp(-block / slow))
    base = np.full(n_blocks, day)
    slow_prior = _prior(bars, slots, base, day, max(1, int(slow / block)))
    for b in range(n_blocks):
        base[b] = (near_bars[b] + slow_prior * day) / (near_slots[b] + slow_prior)
    prior = _prior(bars, slots, base, day, max(1, int(fast / block)))
    _spread(bars, slots, math.exp(-block / fast))
    for b in range(n_blocks):
        p = (bars[b] + prior * base[b]) / (slots[b] + prior)
        rates[b] = -math.log1p(-p) if b * block < n_expected else 0.0

    decay = np.empty(min(n_slots, int(8 * fast)) + 2)
    decay[0] = 1.0
    factor = math.exp(-1.0 / fast)
    for k in range(1, decay.shape[0] - 1):
        decay[k] = decay[k - 1] * factor
    decay[-1] = 0.0
    last = decay.shape[0] - 1
    most = min(int(cap), last)
    before_bars = np.empty(n)
    before_slots = np.empty(n)
    unlikely = np.empty(n)
    candidates = np.empty(n, dtype=np.int64)
    n_candidates = 0
    a = t = 0.0
    at = 0
    for k in range(n):
        i = np.uint64(k)
        f = decay[np.uint64(min(runs[i, 0] - at, last))]
        a = a * f + (1.0 - f) * fast
        t = t * f + (1.0 - f) * fast
        before_bars[i] = a
        before_slots[i] = t
        f = 1.0 if lost[i] else decay[np.uint64(min(runs[i, 1], most))]
        a *= f
        t = t * f + (1.0 - f) * fast
        at = runs[i, 0] + runs[i, 1]

    tail = np.zeros(_BINS, dtype=np.int64)
    a = t = 0.0
    at = n_expected
    n_kept = 0
    for k in range(n):
        i = np.uint64(n - 1 - k)
        length = runs[i, 1]
        f = decay[np.uint64(min(at - runs[i, 0] - length, last))]
        a = a * f + (1.0 - f) * fast
        t = t * f + (1.0 - f) * fast
        n_kept += not lost[i]
        b = np.uint64((runs[i, 0] + (length >> 1)) >> shift)
        n_around = before_slots[i] + t + prior
        share = 1.0 / n_around
        # The more the rate is a guess from the bars nearby, the more doubt.
        doubt = 4.0 - 3.0 * prior * share
        p = (before_bars[i] + a + prior * base[b]) * share
        if length * p < _USUAL * (1.0 - p):
            notes[i].fill_rate = p
            # -ln(1 - p) to a few percent: this is surely no fault.
            z = length * p * (6.0 - p) / (6.0 - 4.0 * p)
            notes[i].expected_per_day = n_slots * p * doubt * math.exp(-z)
        else:
            own = 0.0 if lost[i] else min(float(length), cap)
            whole = n_bars / (n_seen - own + 0.5)
            left = max(near_slots[b] - own, near_bars[b])
            trusted = prior * (near_bars[b] + slow_prior * whole) / (left + slow_prior)
            p = (before_bars[i] + a + trusted) * share
            one = 1.0 / (before_slots[i] + prior)
            other = 1.0 / (t + prior)
            spread = _SIDE_ERRORS * _SIDE_ERRORS * p * (1.0 - p)
            p = min(p, (before_bars[i] + trusted) * one + math.sqrt(spread * one))
            p = min(p, (a + trusted) * other + math.sqrt(spread * other))
            z = _unlikely(p, min(n_around, n_seen), float(length))
            notes[i].fill_rate = p
            notes[i].expected_per_day = n_slots * p * doubt * math.exp(-z)
            if not lost[i]:
                # Spread over its last slot as exponentials are, which slots count only whole.
                y = z - z / length - math.log1p(-p * ((k * _GOLDEN) % 1.0))
                tail[min(int(y * _BINS_PER_UNIT), _BINS - 1)] += 1
            if z > _WORTH:
                candidates[n_candidates] = n - 1 - k
                unlikely[n_candidates] = z - math.log(doubt)
                n_candidates += 1
        f = 1.0 if lost[i] else decay[np.uint64(min(length, most))]
        a *= f
        t = t * f + (1.0 - f) * fast
        at = runs[i, 0]

    wide, far, farthest = _tails(tail, n_kept)
    scale = n_slots / n_expected
    more = False
    for k in range(n_candidates):
        i, z = candidates[k], unlikely[k]
        expected = n_slots * float(notes[i].fill_rate) * math.exp(-z)
        for n_tail, start, mean, n_free, trust in (wide, far, farthest):
            if n_tail > 0.0:
                # Exponential, with a mean that so many silences have told.
                beyond = max(0.0, z - start) / (mean * n_free)
                chance = math.exp(-n_free * math.log1p(beyond))
                often = n_tail * (1.0 + _TAIL_DOUBT * trust)
                expected = max(expected, scale * often * chance)
        notes[i].expected_per_day = expected
        if expected < _RARE and not lost[i]:
            lost[i] = more = True
    return more


@jit
def _unlikely(p: Any, known: Any, length: Any) -> Any:
    # -ln of the chance of a silence at least so long, when `p` is what `known` slots have told:
    # the product over its slots j of (silent + j) / (known + j), silent of the known ones.
    silent = (1.0 - p) * known
    if length < 0.25 * silent:
        # Powers of j / silent summed up: beyond the third they no longer matter.
        one = 0.5 * length * (length - 1.0)
        two = one * (2.0 * length - 1.0) / 6.0
        a, b = 1.0 / silent, 1.0 / known
        return max(0.0, -length * math.log1p(-p) - one * (a - b) + two * (a * a - b * b))
    product = 1.0
    j = 0.0
    while j + 1.0 <= length and j < 4.0:
        product *= (silent + j) / (known + j)
        j += 1.0
    # What is left of the sum of logarithms as an integral, from half a slot before.
    low, high = j - 0.5, length - 0.5
    return _integral(known, low, high) - _integral(silent, low, high) - math.log(product)


@jit
def _integral(start: Any, low: Any, high: Any) -> Any:
    top, bottom = start + high, start + low
    return top * math.log(top) - bottom * math.log(bottom) - (high - low)


@jit
def _survey(
    runs: Int64Array,
    n_expected: Any,
    shift: Any,
    n_bars: Any,
    lost: Any,
    bars: Floats,
    slots: Floats,
) -> Any:
    # Bars and slots by block, with no more than a cap's worth of each gap; returns the cap.
    n = runs.shape[0]
    block = 1 << shift
    for b in range(bars.shape[0]):
        bars[b] = max(0, min((b + 1) * block, n_expected) - b * block)
    cap = _CAP / -math.log1p(-n_bars / (n_expected + 0.5))
    n_seen = float(n_bars)
    for i in range(n):
        if not lost[i]:
            n_seen += min(float(runs[i, 1]), cap)
    cap = _CAP / -math.log1p(-n_bars / (n_seen + 0.5))
    for i in range(n):
        at, left = runs[i, 0], runs[i, 1]
        share = 0.0 if lost[i] else 1.0 if left <= cap else cap / left
        b = at >> shift
        while left > 0:
            part = min(left, (b + 1) * block - at)
            bars[b] -= part
            slots[b] += part * share
            at += part
            left -= part
            b += 1
    for b in range(bars.shape[0]):
        slots[b] += bars[b]
    return cap


@jit
def _spread(bars: Floats, slots: Floats, factor: Any) -> None:
    # Each block becomes the sum of all, those further off counting less.
    n = bars.shape[0]
    after_bars = bars.copy()
    after_slots = slots.copy()
    for b in range(n - 2, -1, -1):
        after_bars[b] += after_bars[b + 1] * factor
        after_slots[b] += after_slots[b + 1] * factor
    a = t = 0.0
    for b in range(n):
        own_bars, own_slots = bars[b], slots[b]
        bars[b] = after_bars[b] + a
        slots[b] = after_slots[b] + t
        a = (a + own_bars) * factor
        t = (t + own_slots) * factor


@jit
def _prior(bars: Floats, slots: Floats, base: Floats, day: Any, width: Any) -> Any:
    # How many slots' worth of trust the base rates deserve: few when the counts of `width`
    # blocks scatter around them by more than chance.
    excess = square = error = 0.0
    b = 0
    while b < bars.shape[0]:
        n = mean = chance = 0.0
        for c in range(b, min(b + width, bars.shape[0])):
            n += bars[c]
            mean += slots[c] * base[c]
            chance += slots[c] * base[c] * (1.0 - base[c])
        excess += (n - mean) * (n - mean) - chance
        square += mean * mean
        error += 2.0 * chance * chance
        b += width
    uneven = max((excess - 2.0 * math.sqrt(error)) / square, 1e-9)
    return (1.0 - day) / (day * uneven)


@jit
def _tails(bins: Any, n: Any) -> Any:
    # Silences may be of several kinds, so that the tail is looked at from further and further.
    wide = n // _TAIL_SHARE
    far = wide // _TAIL_STEP
    first = _tail(bins, wide, 1.0, 2.0)
    second = _tail(bins, far, first[2], 2.5)
    return first, second, _tail(bins, far // _TAIL_STEP, second[2], 2.5)


@jit
def _tail(bins: Any, n_wanted: Any, usual: Any, errors: Any) -> Any:
    # Mean excess of the longest silences over where they start, in bins of improbability: 1
    # when silences are as chance makes them, more when they are longer. The very longest
    # count only as "at least so long", so that faults do not hide one another.
    n = above = 0
    excess = 0.0
    top = 0.0
    for k in range(bins.shape[0] - 1, -1, -1):
        n += bins[k]
        start = k / _BINS_PER_UNIT
        if above == 0:
            if n >= _TAIL_CENSORED:
                above = n
                top = start
                excess = 0.0
        else:
            excess += bins[k] * (start + 0.5 / _BINS_PER_UNIT)
        if n >= n_wanted and above > 0:
            break
    n_free = n - above
    if n_free < 2 * _TAIL_CENSORED:
        return 0.0, 0.0, usual, 1.0, 0.0
    over = (excess + above * top - n * start) / (n_free * usual) - 1.0
    chance = errors / math.sqrt(n_free)
    if over <= chance:
        return 0.0, 0.0, usual, 1.0, 0.0
    trust = 1.0 - (chance / over) ** 4
    return float(n), start, usual * (1.0 + over * trust), float(n_free), trust


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
        if z[i] > weight * math.log(n_slots / _RARE_JOINT):
            stretches[k, 0] = stretches[i, 0]
            stretches[k, 1] = stretches[i, 1]
            k += 1
    return k, weight


@jit
def witness(
    runs: Int64Array, rates: Rates, shift: Any, stretches: Int64Array, alone: Floats
) -> None:
    # How improbable each stretch is for this symbol, as -ln of the chance: 0 when it is not
    # expected there or was out by itself, -1 when it traded.
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
        loudest = 0
        for at in range(start, stop):
            loudest = max(loudest, present[at])
        n_peers = n_active - own
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
