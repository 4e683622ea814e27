"""Whole blocks of base bars: ingest, merge, preload; in order or not.

A block in order is checked and copied in chunks that stay in cache, and each chunk is folded
level by level. What is not in order is sorted and merged once.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

import numpy as np

cimport numpy as cnp
from cpython.ref cimport PyObject

from openbell._native.arena cimport Extent, Py_REFCNT, extent_of
from openbell._native.core cimport CHUNK_ROWS, Core
from openbell._native.rings cimport most_rows
from openbell._native.state cimport (
    SEGMENT_COLUMNS, Bar, SeriesState, SymbolState, bucket_of, find_segment, is_sound, lower_bound,
    same_values,
)

cnp.import_array()

cdef enum:
    FEW_ROWS = 16          # so many out of order are put in one by one


cdef int64_t append_rows(Core core, const Bar* rows, int64_t n) except -1:
    """Append `n` bars of any order; how many were accepted."""
    cdef SymbolState* s = core.state
    cdef SeriesState* base = s.base
    cdef int64_t n_accepted = 0
    cdef int64_t i = 0
    cdef int64_t done
    cdef int code
    core.require_live("append_block")
    core.catch_up()
    core.settle()
    if not core.is_plain():
        return append_each(core, rows, n)
    core.make_room(base, max(0, min(n, most_rows(core, base) - base.n - base.n_waiting)))
    core.arm()
    while i < n:
        done = take_run(core, rows + i, min(n - i, <int64_t>CHUNK_ROWS))
        i += done
        n_accepted += done
        if done == CHUNK_ROWS or i == n:
            continue
        code = core.check(base, rows + i)
        if code:
            core.refuse(code)
            i += 1
        elif rows[i].timestamp >= s.last_end_ns and rows[i].timestamp >= s.floor_ns:
            core.append_bar(rows + i)
            i += 1
            n_accepted += 1
        elif n - i <= FEW_ROWS or base.n_waiting:
            return n_accepted + append_each(core, rows + i, n - i)
        else:
            return n_accepted + merge_rows(core, rows + i, n - i)
    return n_accepted


cdef int64_t append_each(Core core, const Bar* rows, int64_t n) except -1:
    cdef int64_t n_accepted = 0
    cdef int64_t i
    for i in range(n):
        n_accepted += core.append_bar(rows + i) == 0
    return n_accepted


cdef int64_t take_run(Core core, const Bar* rows, int64_t n) except -1:
    """Copy and fold the rows up to the first that is not sound, ahead, and in the segment."""
    cdef SymbolState* s = core.state
    cdef SeriesState* base = s.base
    cdef int64_t before = base.n
    cdef Bar* into = base.rows + before
    cdef int64_t expected = s.next_ts
    cdef int64_t step = s.step_ns
    cdef int64_t last = s.last_quick_ns
    cdef int64_t n_gaps = 0
    cdef double volume = s.volume
    cdef double high = s.high
    cdef double low = s.low
    cdef int64_t i = 0
    if expected == INT64_MIN:
        return 0
    n = min(n, base.room - before)
    while i < n:
        if rows[i].timestamp != expected:
            if (rows[i].timestamp < expected or rows[i].timestamp > last
                    or (rows[i].timestamp - expected) % step):
                break
        elif expected > last:
            break
        if not is_sound(rows[i].open, rows[i].high, rows[i].low, rows[i].close, rows[i].volume):
            break
        n_gaps += rows[i].timestamp != expected
        into[i] = rows[i]
        volume += rows[i].volume
        high = rows[i].high if rows[i].high > high else high
        low = rows[i].low if rows[i].low < low else low
        expected = rows[i].timestamp + step
        i += 1
    if i == 0:
        return 0
    s.volume = volume
    s.high = high
    s.low = low
    s.last_end_ns = expected
    base.n = before + i
    base.n_gaps += n_gaps
    base.updated = 1
    core.fold_from(before, n_gaps > 0)
    core.arm()
    return i


cdef int64_t merge_rows(Core core, const Bar* rows, int64_t n) except -1:
    """Sort the rows, merge them with what is held, and fold anew from the first change."""
    cdef SymbolState* s = core.state
    cdef SeriesState* base = s.base
    cdef cnp.ndarray kept = np.empty(n, dtype=np.int64)
    cdef cnp.ndarray labels = np.empty(n, dtype=np.int64)
    cdef int64_t* at = <int64_t*>cnp.PyArray_DATA(kept)
    cdef int64_t* label = <int64_t*>cnp.PyArray_DATA(labels)
    cdef int64_t n_kept = 0
    cdef int64_t i
    cdef int code
    for i in range(n):
        code = core.check(base, rows + i)
        if code:
            core.refuse(code)
            continue
        at[n_kept] = i
        label[n_kept] = rows[i].timestamp
        n_kept += 1
    if n_kept:
        order = np.argsort(labels[:n_kept], kind="stable")
        merge_sorted(core, rows, kept[:n_kept][order], kept[:n_kept])
    return n_kept


cdef int merge_sorted(Core core, const Bar* rows, cnp.ndarray order, cnp.ndarray received) except -1:
    cdef SymbolState* s = core.state
    cdef SeriesState* base = s.base
    cdef const int64_t* at = <const int64_t*>cnp.PyArray_DATA(order)
    cdef const int64_t* arrival = <const int64_t*>cnp.PyArray_DATA(received)
    cdef int64_t n = cnp.PyArray_DIM(order, 0)
    cdef int64_t first = lower_bound(base.rows, base.n, rows[at[0]].timestamp)
    cdef int64_t n_tail = base.n - first
    cdef int64_t newest = base.rows[base.n - 1].timestamp if base.n else INT64_MIN
    cdef int64_t changed = INT64_MAX
    cdef int64_t t = 0
    cdef int64_t i
    cdef int64_t end
    cdef Bar* tail
    cdef Bar* into
    cdef unsigned char* is_late = NULL
    tail = <Bar*>malloc(n_tail * sizeof(Bar) + arrival[n - 1] + 1)
    if tail == NULL:
        raise MemoryError(f"{core.symbol}: no memory to merge {n} bars")
    is_late = <unsigned char*>(tail + n_tail)
    try:
        # Which of them came behind newer ones is a matter of arrival, before the sort.
        for i in range(n):
            is_late[arrival[i]] = rows[arrival[i]].timestamp < newest
            newest = max(newest, rows[arrival[i]].timestamp)
        memcpy(tail, base.rows + first, n_tail * sizeof(Bar))
        core.make_room(base, n)
        into = base.rows + first
        for i in range(n):
            while t < n_tail and tail[t].timestamp < rows[at[i]].timestamp:
                into[0] = tail[t]
                into += 1
                t += 1
            if t < n_tail and tail[t].timestamp == rows[at[i]].timestamp:
                into[0] = tail[t]
                into += 1
                t += 1
            if into > base.rows and (into - 1).timestamp == rows[at[i]].timestamp:
                if same_values(into - 1, rows + at[i]):
                    core.n_duplicate += 1
                    continue
                core.n_corrected += 1
                core.note_change(base, rows[at[i]].timestamp)
                (into - 1)[0] = rows[at[i]]
            else:
                core.n_late += is_late[at[i]]
                if is_late[at[i]]:
                    core.note_change(base, rows[at[i]].timestamp)
                into[0] = rows[at[i]]
                into += 1
            changed = min(changed, rows[at[i]].timestamp)
        memcpy(into, tail + t, (n_tail - t) * sizeof(Bar))
        base.n = (into - base.rows) + n_tail - t
    finally:
        free(tail)
    if changed == INT64_MAX:
        return 0
    bucket_of(base, base.rows[base.n - 1].timestamp, &i, &end)
    s.last_end_ns = end
    s.metrics_stale = 1
    base.updated = 1
    core.recount_gaps(base)
    core.refold_from(changed)
    core.arm()
    return 0


cdef int64_t preload_rows(Core core, cnp.ndarray bars, bint adopt) except -1:
    """Lay bars behind the visible head; how many were taken."""
    cdef SeriesState* base = core.state.base
    cdef int64_t n = cnp.PyArray_DIM(bars, 0)
    cdef const Bar* rows = <const Bar*>cnp.PyArray_DATA(bars)
    cdef int64_t n_accepted = 0
    cdef int64_t held
    cdef int64_t done
    cdef int64_t i = 0
    cdef int code
    core.require_live("preload")
    core.catch_up()
    core.root.n_meddled += core.state.is_fed
    if adopt and adopt_memory(core, bars):
        core.reserve(n)
        core.arm()
        return n
    if not ascends(rows, n):
        bars = bars[np.argsort(bars["timestamp"], kind="stable")]
        rows = <const Bar*>cnp.PyArray_DATA(bars)
    core.make_room(base, n)
    core.reserve(base.n + base.n_waiting + n)
    while i < n:
        done = lay_run(core, rows + i, n - i)
        i += done
        n_accepted += done
        if i == n:
            break
        code = core.check(base, rows + i)
        if code:
            core.refuse(code)
        else:
            n_accepted += 1
            held = base.n + base.n_waiting
            if held == 0 or rows[i].timestamp > base.rows[held - 1].timestamp:
                base.rows[held] = rows[i]
                base.n_waiting += 1
            else:
                n_accepted -= queue_row(core, rows + i) != 0
        i += 1
    core.arm()
    return n_accepted


cdef bint ascends(const Bar* rows, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(1, n):
        if rows[i].timestamp < rows[i - 1].timestamp:
            return False
    return True


cdef bint adopt_memory(Core core, cnp.ndarray bars) except -1:
    """Let the base lie where the bars do: all good ones, in an extent that nobody else holds."""
    cdef SeriesState* base = core.state.base
    cdef Bar* rows = <Bar*>cnp.PyArray_DATA(bars)
    cdef int64_t n = cnp.PyArray_DIM(bars, 0)
    cdef Extent extent
    if base.room or n == 0:
        return False
    extent = extent_of(bars)
    if extent is None:
        return False
    # An array holds it, and this function. Room that bars were cut from would be wasted.
    if (Py_REFCNT(<PyObject*>extent) > 2 or extent.judged_step_ns != base.step_ns
            or 4 * n * <int64_t>sizeof(Bar) < 3 * <int64_t>extent.n_bytes
            or not lies_in_segments(base, rows, n)):
        return False
    extent.judged_step_ns = 0
    base.rows = rows
    base.room = <int32_t>((extent.data + extent.n_bytes - <char*>rows) // <int64_t>sizeof(Bar))
    base.n_waiting = n
    core.extents[base.index] = extent
    return True


cdef bint lies_in_segments(const SeriesState* d, const Bar* rows, int64_t n) noexcept:
    # The rows ascend by multiples of the step.
    cdef const int64_t* segment
    cdef int64_t first = 0
    cdef int64_t end
    cdef int k
    for k in range(d.n_segments):
        segment = d.segments + SEGMENT_COLUMNS * k
        end = lower_bound(rows, n, segment[1])
        if end > first:
            if (rows[first].timestamp < segment[0]
                    or (rows[first].timestamp - segment[2]) % d.step_ns):
                return False
            first = end
    return first == n


cdef int64_t lay_run(Core core, const Bar* rows, int64_t n) noexcept:
    """Put the first of the rows behind all others: sound ones that ascend on one segment's grid."""
    cdef SeriesState* base = core.state.base
    cdef int64_t held = base.n + base.n_waiting
    cdef Bar* into = base.rows + held
    cdef const int64_t* segment = (
        base.segments + SEGMENT_COLUMNS * find_segment(base, rows[0].timestamp))
    cdef int64_t closed = segment[1]
    cdef int64_t step = base.step_ns
    cdef int64_t expected = rows[0].timestamp
    cdef int64_t i = 0
    if (expected < segment[0] or (expected - segment[2]) % step
            or (held and expected <= (into - 1).timestamp)):
        return 0
    while i < n and rows[i].timestamp < closed:
        if rows[i].timestamp != expected and (
                rows[i].timestamp < expected or (rows[i].timestamp - expected) % step):
            break
        if not is_sound(rows[i].open, rows[i].high, rows[i].low, rows[i].close, rows[i].volume):
            break
        into[i] = rows[i]
        expected = rows[i].timestamp + step
        i += 1
    base.n_waiting += i
    return i


cdef int queue_row(Core core, const Bar* bar) except -1:
    """Put a bar among those that wait; one behind the visible head is merged there."""
    cdef SeriesState* base = core.state.base
    cdef Bar* waiting = base.rows + base.n
    cdef int64_t pos
    cdef int64_t start
    cdef int64_t end
    bucket_of(base, bar.timestamp, &start, &end)
    # One that has not ended waits, also when somebody has added one that lies further ahead.
    if bar.timestamp < core.state.last_end_ns and end <= core.state.now_ns[0]:
        return core.append_bar(bar)
    pos = lower_bound(waiting, base.n_waiting, bar.timestamp)
    if pos < base.n_waiting and waiting[pos].timestamp == bar.timestamp:
        if same_values(waiting + pos, bar):
            core.n_duplicate += 1
        else:
            core.n_corrected += 1
            waiting[pos] = bar[0]
        return 0
    memmove(waiting + pos + 1, waiting + pos, (base.n_waiting - pos) * sizeof(Bar))
    waiting[pos] = bar[0]
    base.n_waiting += 1
    return 0
