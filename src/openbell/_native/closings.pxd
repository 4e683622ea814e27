"""Which bars have closed since the last look, and telling those who asked."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.engine cimport SymbolEngine
from openbell._native.rings cimport SessionCore
from openbell._native.series cimport Series
from openbell._native.watched cimport Closing, Told, Watched


# Which bars that a series has when it is first seen are still to be told.
cdef enum TellFrom:
    OPEN            # all
    SUBSCRIPTION    # those that were written, not folded
    CLOCK           # none that has ended


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
    cdef int64_t n_meddled
    cdef int64_t ahead_ns    # where the last bar ends that others had added by then
    cdef bint reads_slices   # whether the records of a slice are about to be looked at
    cdef int64_t n_read      # slices since that was found out
    cdef dict places         # where in the replay each record is

    cpdef Closing watch(self, str interval)
    cdef int watch_record(self, Closing closing, SymbolEngine engine, bint is_fed,
                          Watched watched=*, TellFrom begin=*) except -1
    cdef int64_t next_ns(self, bint is_replay=*) except? -1
    cdef int find_ahead(self) except -1
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
