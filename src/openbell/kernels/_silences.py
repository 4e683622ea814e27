"""Compiled judgement of one symbol's gaps by its own trading.

How improbable is a silence this long, at the rate at which the symbol trades around it? A
kernel and what it calls stay in this one file: numba's cache looks at no other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from openbell.kernels._jit import jit
from openbell.schema import GAP_REASONS, Int64Array

__all__ = ["judge"]

Notes = npt.NDArray[np.void]
Floats = npt.NDArray[np.float64]
Rates = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Int32Array = npt.NDArray[np.int32]

#: A silence is improbable when fewer than this many of its length are expected in a day: one in
#: 100 days, and a fifth for what is not known exactly.
RARE = 0.012
#: With fewer bars than this a symbol is not judged, and is nobody's peer.
MIN_BARS = 20
# How fast what was seen is forgotten: in slots, but at least in so many bars.
_FAST_SLOTS, _FAST_BARS, _SLOW_TIMES = 150.0, 25.0, 8.0
# A gap counts as silence around others only up to this many mean silences.
_CAP = 25.0
# A side may be this many standard errors quieter than both before it counts alone.
_SIDE_ERRORS = 1.5
# The symbol's own long silences: the longest share, and how many of them count as censored.
_TAIL_SHARE, _TAIL_STEP, _TAIL_CENSORED = 8, 4, 8
_BINS, _BINS_PER_UNIT = 1024, 8
# As -ln of their chance: silences below are not in the tail; silences below are surely no fault.
_USUAL, _WORTH = 1.9, 3.0
_TAIL_START = int(_USUAL * _BINS_PER_UNIT)
# The tail was chosen for being long: how much more often than it says silences are expected.
_TAIL_DOUBT = 3.0

_NO_TRADE = GAP_REASONS.index("no_trade")
_OUTAGE = GAP_REASONS.index("outage")
_LATE_START = GAP_REASONS.index("late_start")
_TRUNCATED = GAP_REASONS.index("truncated")
_GOLDEN = 0.6180339887498949


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
    if n_bars < MIN_BARS:
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
        if notes[i].expected_per_day >= RARE:
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
    lost: Flags,
    rates: Rates,
    notes: Notes,
) -> Any:
    # One judgement of all gaps, each by all but itself and those already `lost`; returns
    # whether more are lost than before.
    bars = np.zeros(rates.shape[0])
    slots = np.zeros(rates.shape[0])
    cap = _survey(runs, n_expected, shift, n_bars, lost, bars, slots)
    n_seen = slots.sum()
    day = n_bars / (n_seen + 0.5)
    fast = max(_FAST_SLOTS, _FAST_BARS / day)
    near_bars, near_slots = bars.copy(), slots.copy()
    base = np.full(rates.shape[0], day)
    trust = _follow(bars, slots, near_bars, near_slots, base, fast, 1 << shift)
    for b in range(rates.shape[0]):
        p = (bars[b] + trust[1] * base[b]) / (slots[b] + trust[1])
        rates[b] = -math.log1p(-p) if b << shift < n_expected else 0.0

    decay = _fading(fast, min(n_slots, int(8 * fast)))
    before_bars = np.empty(runs.shape[0])
    before_slots = np.empty(runs.shape[0])
    _look_back(runs, lost, cap, fast, decay, before_bars, before_slots)
    tail = np.zeros(_BINS, dtype=np.int64)
    doubtful = np.empty(runs.shape[0], dtype=np.int64)
    unlikely = np.empty(runs.shape[0])
    n_doubtful = _judge_each(
        runs, n_expected, n_slots, shift, lost, cap, fast, decay, before_bars, before_slots,
        n_bars, n_seen, near_bars, near_slots, base, trust, tail, doubtful, unlikely, notes,
    )  # fmt: skip

    tails = _tails(tail, runs.shape[0] - lost.sum())
    more = False
    for k in range(n_doubtful):
        i = doubtful[k]
        usual = n_slots * float(notes[i].fill_rate) * math.exp(-unlikely[k])
        expected = max(usual, _in_tails(tails, unlikely[k]) * n_slots / n_expected)
        notes[i].expected_per_day = expected
        if expected < RARE and not lost[i]:
            lost[i] = more = True
    return more


@jit
def _follow(
    bars: Floats,
    slots: Floats,
    near_bars: Floats,
    near_slots: Floats,
    base: Floats,
    fast: Any,
    block: Any,
) -> Any:
    # How busy the symbol is, block by block: `base` becomes the rate over a long while and
    # `near_*` what it was made of, `bars` and `slots` become sums over a short one. Returns how
    # many slots' worth of trust the day deserves beside the long, and the long beside the short.
    slow = _SLOW_TIMES * fast
    day = base[0]
    _spread(near_bars, near_slots, math.exp(-block / slow))
    long = _trust(bars, slots, base, day, max(1, int(slow / block)))
    for b in range(base.shape[0]):
        base[b] = (near_bars[b] + long * day) / (near_slots[b] + long)
    short = _trust(bars, slots, base, day, max(1, int(fast / block)))
    _spread(bars, slots, math.exp(-block / fast))
    return long, short


@jit
def _fading(fast: Any, n: Any) -> Floats:
    # What is left of a slot's weight so many slots later; nothing behind the last.
    decay = np.empty(n + 2)
    decay[0] = 1.0
    factor = math.exp(-1.0 / fast)
    for k in range(1, n + 1):
        decay[k] = decay[k - 1] * factor
    decay[n + 1] = 0.0
    return decay


@jit
def _look_back(
    runs: Int64Array,
    lost: Flags,
    cap: Any,
    fast: Any,
    decay: Floats,
    before_bars: Floats,
    before_slots: Floats,
) -> None:
    # Bars and slots before each gap, those further off counting less.
    last = decay.shape[0] - 1
    most = min(int(cap), last)
    a = t = 0.0
    at = 0
    for k in range(runs.shape[0]):
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


@jit
def _judge_each(
    runs: Int64Array,
    n_expected: Any,
    n_slots: Any,
    shift: Any,
    lost: Flags,
    cap: Any,
    fast: Any,
    decay: Floats,
    before_bars: Floats,
    before_slots: Floats,
    n_bars: Any,
    n_seen: Any,
    near_bars: Floats,
    near_slots: Floats,
    base: Floats,
    trust: Any,
    tail: Int64Array,
    doubtful: Int64Array,
    unlikely: Floats,
    notes: Notes,
) -> Any:
    # Looks from the end, so that what comes behind each gap is known too. Writes the rate
    # around it and how many such silences it makes likely, counts in `tail` how improbable they
    # are, and lists those that are, as -ln of the chance; returns how many.
    last = decay.shape[0] - 1
    most = min(int(cap), last)
    long, short = trust
    a = t = 0.0
    at = n_expected
    n_doubtful = 0
    n = runs.shape[0]
    for k in range(n):
        i = np.uint64(n - 1 - k)
        length = runs[i, 1]
        f = decay[np.uint64(min(at - runs[i, 0] - length, last))]
        a = a * f + (1.0 - f) * fast
        t = t * f + (1.0 - f) * fast
        b = np.uint64((runs[i, 0] + (length >> 1)) >> shift)
        n_around = before_slots[i] + t + short
        share = 1.0 / n_around
        # The more the rate is a guess from the bars nearby, the more doubt.
        doubt = 4.0 - 3.0 * short * share
        p = (before_bars[i] + a + short * base[b]) * share
        # -ln(1 - p) to a few percent is enough where there is surely no fault.
        z = length * p * (6.0 - p) / (6.0 - 4.0 * p)
        if z >= _USUAL:
            own = 0.0 if lost[i] else min(float(length), cap)
            whole = n_bars / (n_seen - own + 0.5)
            left = max(near_slots[b] - own, near_bars[b])
            around = short * (near_bars[b] + long * whole) / (left + long)
            p = (before_bars[i] + a + around) * share
            one = 1.0 / (before_slots[i] + short)
            other = 1.0 / (t + short)
            spread = _SIDE_ERRORS * _SIDE_ERRORS * p * (1.0 - p)
            p = min(p, (before_bars[i] + around) * one + math.sqrt(spread * one))
            p = min(p, (a + around) * other + math.sqrt(spread * other))
            z = _unlikely(p, min(n_around, n_seen), float(length))
            if not lost[i]:
                # Spread over its last slot as exponentials are, since slots count only whole.
                y = z - z / length - math.log1p(-p * ((k * _GOLDEN) % 1.0))
                tail[min(int(y * _BINS_PER_UNIT), _BINS - 1)] += 1
            if z > _WORTH:
                doubtful[n_doubtful] = n - 1 - k
                unlikely[n_doubtful] = z - math.log(doubt)
                n_doubtful += 1
        notes[i].fill_rate = p
        notes[i].expected_per_day = n_slots * p * doubt * math.exp(-z)
        f = 1.0 if lost[i] else decay[np.uint64(min(length, most))]
        a *= f
        t = t * f + (1.0 - f) * fast
        at = runs[i, 0]
    return n_doubtful


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
    lost: Flags,
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
def _trust(bars: Floats, slots: Floats, base: Floats, day: Any, width: Any) -> Any:
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
    for k in range(bins.shape[0] - 1, _TAIL_START, -1):
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
def _in_tails(tails: Any, z: Any) -> Any:
    # How many silences so improbable the symbol's own long ones make likely.
    most = 0.0
    for n, start, mean, n_free, trust in tails:
        if n > 0.0:
            # Exponential, with a mean that so many silences have told.
            beyond = max(0.0, z - start) / (mean * n_free)
            often = n * (1.0 + _TAIL_DOUBT * trust)
            most = max(most, often * math.exp(-n_free * math.log1p(beyond)))
    return most
