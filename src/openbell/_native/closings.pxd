"""Which bars have closed since the last look, and telling those who asked."""

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t, uint64_t

from openbell._native.engine cimport SymbolEngine
from openbell._native.rings cimport SessionCore
from openbell._native.series cimport Series


# Which bars that a series has when it is first seen are still to be told.
cdef enum TellFrom:
    OPEN            # all
    SUBSCRIPTION    # those that were written, not folded
    CLOCK           # none that has ended


cdef class Watched:
    cdef SymbolEngine engine
    cdef Closing closing
    cdef Series series
    cdef int64_t told_ns
    cdef int64_t revision
    cdef tuple eager


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


cdef class Closings:
    cdef readonly SessionCore root
    cdef readonly bint skip_incomplete
    cdef public object on_error
    cdef public bint by_data
    cdef list closings
    cdef dict engines
    cdef dict by_engine      # what is watched of each, made when first needed
    cdef list loose
    cdef int64_t n_stirred
    cdef bint reads_slices   # whether each record of a slice is looked at
    cdef dict places         # where in the replay each record is

    cpdef Closing watch(self, str interval)
    cdef int watch_record(self, Closing closing, SymbolEngine engine, bint is_fed,
                          Watched watched=*, TellFrom begin=*) except -1
    cdef int64_t next_ns(self, bint is_replay=*) except? -1
    cdef bint is_due(self) noexcept
    cpdef int tell(self, int64_t now_ns, bint everything=*) except -1
    cpdef int tell_of(self, records) except -1
    cdef int tell_slice(self, int64_t now_ns, const int32_t* places, int64_t n) except -1
    cdef Closing only_due(self, int64_t now_ns)
    cdef int tell_each(self, Closing closing, int64_t now_ns, const int32_t* places,
                       int64_t n) except -1
    cdef int collect(self, Watched watched, int64_t now_ns, Told told) except -1
    cdef bint shows(self, Series series, int64_t row)
    cdef int collect_correction(self, Watched watched, Told told) except -1
    cdef int dispatch(self, Told told) except -1
