"""Views and readings of one series."""

from libc.stdint cimport int64_t

from openbell._native.core cimport Core
from openbell._native.gap_runs cimport GapScan
from openbell._native.slots cimport slot_of, slots_ended
from openbell._native.state cimport SeriesState, SymbolState


cdef class Series:
    cdef readonly Core core
    cdef const SymbolState* symbol    # of the core, for as long as that lives
    cdef SeriesState* state
    cdef readonly str interval
    cdef GapScan scan                 # made when gaps are first looked for

    cdef inline int64_t settled(self) except -1:
        if self.symbol.now_ns[0] > self.symbol.settled_ns:
            self.core.settle()
        return self.state.n

    cdef int64_t elapsed(self) except? -1
    cdef int64_t ended(self) except -1
    cdef int64_t count_gaps(self) except -1
    cdef object field_view(self, int field, int64_t n)
    cdef int64_t recent(self, str field, int64_t n, const double** first) except -1


cdef int place_of(str field) except -1
