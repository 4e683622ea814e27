"""Where the slots of a series are missing."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.state cimport SeriesState


cdef class GapScan:
    cdef int32_t* runs           # pairs: first missing slot, how many
    cdef int64_t n
    cdef int64_t room
    cdef int64_t n_rows          # rows looked at
    cdef int64_t n_lost          # slots missing before the next row, evicted rows not counted
    cdef int64_t awaited_ns      # label of the next row if none is missing
    cdef int64_t row_0_ns        # label of the first row if none were missing up to the newest run
    cdef int32_t segment         # of the newest row looked at
    cdef int32_t segment_noted   # of the newest run
    cdef int64_t revision
    cdef int64_t n_evicted

    cdef int find(self, const SeriesState* d) except -1
    cdef void begin(self, const SeriesState* d) noexcept
    cdef int scan(self, const SeriesState* d) except -1
    cdef int note(self, const SeriesState* d, const int64_t* at, int k) except -1
