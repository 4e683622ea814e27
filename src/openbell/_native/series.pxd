"""Views and readings of one series."""

from libc.stdint cimport int64_t

from openbell._native.core cimport Core
from openbell._native.state cimport SeriesState


cdef class Series:
    cdef readonly Core core
    cdef SeriesState* state
    cdef readonly str interval

    cdef int64_t settled(self) except -1
    cdef int64_t elapsed(self) except? -1
    cdef object field_view(self, int field, int64_t n)
    cdef int64_t recent(self, str field, int64_t n, const double** first) except -1


cdef int64_t slots_ended(const SeriesState* d, int64_t elapsed_ns) noexcept nogil
