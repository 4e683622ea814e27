"""The fold of one symbol's closed bars into every derived interval."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.rings cimport Rings
from openbell._native.state cimport (
    Bar, SeriesState, SymbolState, merge_bar, move_next, open_bucket,
)


cdef class Folds(Rings):
    cdef int64_t elapsed(self) noexcept
    cdef int close_due(self, int64_t elapsed_ns) except -1
    cdef int fold_run(self, SeriesState* d, int64_t begin, int64_t end) except -1
    cdef int fold_from(self, int64_t n_base_before, bint has_gaps) except -1
    cdef int fold_consumers(self, SeriesState* source, int64_t begin) except -1
    cdef int refold_from(self, int64_t ts) except -1
    cdef int refold_buckets(self, int64_t ts) except -1


cdef inline int close_bucket(SymbolState* s, SeriesState* d) except -1:
    cdef int64_t n = d.n
    cdef int32_t n_base = d.acc_n_base
    cdef SeriesState* consumer
    d.acc_n_base = 0
    if d.has_written:
        # For this slot or a later one, perhaps.
        (<Rings>s.core).put_row(d, &d.acc, n_base)
    else:
        if n == d.room:
            (<Rings>s.core).make_room(d, 1)
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
