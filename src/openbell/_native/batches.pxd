"""Arrays of bars, filled from decoded columns that come in batches, and judged on the way."""

from libc.stdint cimport int64_t

from openbell._native.state cimport Bar


cdef class Interleaver:
    cdef readonly list arrays        # BAR_DTYPE, in the order of the sizes
    cdef readonly int64_t n_left     # rows still to come
    cdef int64_t n_arrays
    cdef Bar** rows
    cdef int64_t* sizes
    cdef int64_t at                  # which array is being filled
    cdef int64_t filled              # rows of it
    cdef bint is_bad                 # one of them is not sound, or out of order
    cdef int64_t step_ns
    cdef bint streams                # past the cache, into memory
    cdef list extents

    cdef int put(self, const char** columns, int64_t n) except -1
