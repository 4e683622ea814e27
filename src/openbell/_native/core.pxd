"""One symbol's engine: the fold of base bars into every derived interval.

For Cython strategies: take the ``core`` of a record and read ``core.state`` with the inline
functions of ``state.pxd``. All of it needs the GIL.
"""

from libc.stdint cimport INT64_MIN, int32_t, int64_t

from openbell._native.rings cimport Rings
from openbell._native.state cimport (
    Bar, SeriesState, SymbolState, is_sound, merge_bar, move_next, open_bucket,
)

cdef enum Refusal:
    STORED = 0
    NOT_FINITE = 1
    HIGH_BELOW_LOW = 2
    OUTSIDE_RANGE = 3
    NEGATIVE_VOLUME = 4
    OUTSIDE_SESSION = 5
    OFF_GRID = 6
    EVICTED = 7
    DERIVED_SLOT = 8


cdef class Core(Rings):
    cdef readonly int64_t n_links    # how often it was said what folds from what
    # time
    cdef int64_t elapsed(self) noexcept
    cdef int settle(self) except -1
    cdef int close_due(self, int64_t elapsed_ns) except -1
    cdef void arm(self) noexcept
    # bars
    cdef int check(self, const SeriesState* d, const Bar* bar) noexcept
    cdef int refuse(self, int code) noexcept
    cdef int append_bar(self, const Bar* bar) except -1
    cdef int upsert(self, const Bar* bar) except -1
    cdef int refold_buckets(self, int64_t ts) except -1
    cdef int write_bar(self, SeriesState* d, const Bar* bar) except -1
    cdef bint is_evicted(self, int64_t ts) noexcept
    # whole runs
    cdef int fold_run(self, SeriesState* d, int64_t begin, int64_t end) except -1
    cdef int fold_from(self, int64_t n_base_before) except -1
    cdef int refold_from(self, int64_t ts) except -1


cdef inline int close_bucket(SymbolState* s, SeriesState* d) except -1:
    cdef int64_t n = d.n
    cdef int32_t n_base = d.acc_n_base
    cdef SeriesState* consumer
    d.acc_n_base = 0
    if d.has_written:
        # For this slot or a later one, perhaps.
        (<Core>s.core).put_row(d, &d.acc, n_base)
    else:
        if n == d.room:
            (<Core>s.core).make_room(d, 1)
            n = d.n
        d.rows[n] = d.acc
        d.n_base[n] = n_base
        d.n = n + 1
        d.n_gaps += d.acc.timestamp != d.next_start_ns
        move_next(d, d.open_end_ns)
        d.updated = 1
    consumer = d.first_consumer
    while consumer != NULL:
        fold_bar(s, consumer, &d.acc, d.open_end_ns, n_base)
        consumer = consumer.next_sibling
    return 0


cdef inline int fold_bar(SymbolState* s, SeriesState* d, const Bar* bar, int64_t end_ns,
                         int32_t n_base) except -1:
    if d.acc_n_base and bar.timestamp < d.open_end_ns:
        merge_bar(&d.acc, bar)
        d.acc_n_base += n_base
    else:
        if d.acc_n_base:
            close_bucket(s, d)
        open_bucket(d, bar, n_base)
    if end_ns >= d.open_end_ns:
        close_bucket(s, d)
    return 0


cdef inline int count_base(SymbolState* s, const Bar* row, int64_t end_ns) except -1:
    """Account for the base bar just made visible: metrics, and the fold into what derives."""
    cdef SeriesState* consumer = s.base.first_consumer
    s.base.updated = 1
    s.last_end_ns = end_ns
    s.volume += row.volume
    s.high = row.high if row.high > s.high else s.high
    s.low = row.low if row.low < s.low else s.low
    while consumer != NULL:
        fold_bar(s, consumer, row, end_ns, 1)
        consumer = consumer.next_sibling
    return 0


cdef inline int append_quick(SymbolState* s, int64_t ts_ns, double open, double high,
                             double low, double close, double volume) except -1:
    """Append a sound bar that lies ahead in the running segment: 1 if done, 0 if not that simple."""
    cdef SeriesState* base = s.base
    cdef Bar* row
    cdef int64_t end_ns
    if not is_sound(open, high, low, close, volume):
        return 0
    if ts_ns != s.next_ts:
        if s.next_ts == INT64_MIN or ts_ns < s.next_ts or ts_ns > s.last_quick_ns:
            return 0
        if (ts_ns - s.next_ts) % s.step_ns:
            return 0
        base.n_gaps += 1
        (<Core>s.core).close_due(ts_ns)
    elif ts_ns == INT64_MIN:
        # A NaT, say: it is what `next_ts` holds when nothing may take this path.
        return 0
    row = base.rows + base.n
    row.timestamp = ts_ns
    row.open = open
    row.high = high
    row.low = low
    row.close = close
    row.volume = volume
    base.n += 1
    end_ns = ts_ns + s.step_ns
    s.next_ts = end_ns if end_ns <= s.last_quick_ns and base.n < base.room else INT64_MIN
    count_base(s, row, end_ns)
    return 1
