"""One symbol's engine: what is stored, what becomes visible, what is counted.

For Cython strategies: take the ``core`` of a record and read ``core.state`` with the inline
functions of ``state.pxd``. All of it needs the GIL.
"""

from libc.stdint cimport INT64_MIN, int64_t

from openbell._native.folds cimport Folds, fold_bar
from openbell._native.state cimport Bar, SeriesState, SymbolState, is_sound

cdef enum:
    CHUNK_ROWS = 256     # 12 KiB read and as much written: folded while in the first-level cache

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


cdef class Core(Folds):
    cdef readonly int64_t n_links    # how often it was said what folds from what
    # time
    cdef int settle(self) except -1
    cdef void arm(self) noexcept
    # bars that come
    cdef int check(self, const SeriesState* d, const Bar* bar) noexcept
    cdef int refuse(self, int code) noexcept
    cdef int append_bar(self, const Bar* bar) except -1
    cdef int upsert(self, const Bar* bar) except -1
    cdef int write_bar(self, SeriesState* d, const Bar* bar) except -1
    cdef bint is_evicted(self, int64_t ts) noexcept
    # bars that wait
    cdef int catch_up(self) except -1
    cdef int64_t admit_until(self, int64_t now_ns) except -1
    cdef int admit_next(self) except -1
    cdef int admit_run(self, int64_t n) except -1
    cdef bint is_plain(self) noexcept


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
        (<Folds>s.core).close_due(ts_ns)
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
