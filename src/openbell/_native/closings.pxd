"""Which bars have closed since the last look, and telling those who asked."""

cimport numpy as cnp
from libc.stdint cimport int64_t

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

    cdef int64_t end_ns(self)


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
    cdef bint is_in_order    # whether what was collected needs no sort

    cpdef Closing watch(self, str interval)
    cdef int watch_record(self, Closing closing, SymbolEngine engine, bint is_fed,
                          Watched watched=*, TellFrom begin=*) except -1
    cdef int64_t next_ns(self) except? -1
    cdef bint is_due(self) noexcept
    cpdef int tell(self, int64_t now_ns, bint everything=*) except -1
    cpdef int tell_of(self, records) except -1
    cdef int collect(self, Closing closing, Watched watched, int64_t now_ns, list into) except -1
    cdef bint shows(self, Series series, int64_t row)
    cdef int collect_correction(self, Closing closing, Watched watched, list into) except -1
    cdef int dispatch(self, list told) except -1
