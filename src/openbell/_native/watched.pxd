"""Who watches which series, how far each has been told, and what is about to be."""

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint64_t

from openbell._native.engine cimport SymbolEngine
from openbell._native.rings cimport SessionCore
from openbell._native.series cimport Series
from openbell._native.state cimport Bar


cdef class Watched:
    cdef SymbolEngine engine
    cdef readonly str symbol
    cdef const Bar* head     # the next bar of a replayed base, when `n_seen` is up to date
    cdef int64_t n_seen
    cdef int64_t told_ns
    cdef int64_t revision
    cdef Closing closing
    cdef Series series
    cdef tuple eager

    cdef const Bar* find_head(self) except? NULL


cdef class Closing:
    cdef object interval
    cdef tuple callbacks
    cdef list watched
    cdef cnp.ndarray ends
    cdef int64_t at
    # Of a replay, whose slices name records by their place.
    cdef bint is_ranked
    cdef bint is_direct      # whether all that is watched comes by its slices
    cdef bint is_eager       # whether indicators must see each bar before it is told
    cdef int64_t step_ns
    cdef int32_t* ranks      # by place, where in `watched` it is; -1 for nowhere
    cdef uint64_t* bits      # by rank, whether a bar came
    cdef int64_t n_places
    cdef int64_t n_words

    cdef int64_t end_ns(self)
    cdef int rank(self, dict places) except -1
    cdef void mark(self, const int32_t* places, int64_t n) noexcept


cdef class Told:
    cdef list watched
    cdef list bars
    cdef Py_ssize_t n_corrected
    cdef bint is_in_order    # whether it needs no sort

    cdef int sort(self) except -1


cdef inline int64_t n_disturbed(SessionCore root) noexcept:
    # Where the bars of a replay lie, and whose they are, stays while this does.
    return root.n_moved + root.n_stirred + root.n_meddled + root.n_changes
