"""Replay of a loaded day: preloaded bars of many records made visible in time order."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.closings cimport Closings
from openbell._native.rings cimport SessionCore
from openbell._native.state cimport SymbolState

cdef enum:
    BLOCK_TICKS = 64


cdef class ReplayCursor:
    cdef readonly SessionCore root
    cdef object window
    cdef readonly int64_t ts_ns
    cdef readonly int64_t n_bars
    cdef readonly Closings closings
    cdef readonly list engines
    cdef readonly set held
    cdef SymbolState** states
    cdef int64_t n_engines
    cdef int64_t tick_ns
    cdef int64_t block_ns
    cdef int64_t block_end_ns
    cdef int tick
    cdef int64_t offsets[BLOCK_TICKS + 1]
    cdef int32_t* ids
    cdef int32_t* order
    cdef unsigned char* ticks
    cdef int64_t first
    cdef int64_t last
    cdef int64_t n_slices

    cdef int fill_block(self) except -1
    cdef int64_t next_waiting(self) noexcept
    cdef int64_t admit(self, int64_t first, int64_t last) except -1
    cdef void start_block_anew(self) noexcept
    cdef int64_t next_data(self) except -1
    cpdef bint step(self) except -1
    cpdef bint run_block(self) except -1


cdef class SliceRecords:
    cdef ReplayCursor cursor
    cdef int64_t first
    cdef int64_t last
    cdef int64_t slice

    cdef int require_current(self) except -1
