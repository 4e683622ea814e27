"""Strategies that are one C function: what :mod:`openbell.strategies` makes of a numba function."""

cimport numpy as cnp
from libc.stdint cimport int32_t, int64_t

from openbell._native.strategy cimport BarView, NativeStrategy


cdef struct LogHead:             # rows that the function writes; 32 bytes
    char* rows
    int64_t room                 # row `room` lies behind the last one that is kept, to be spoilt
    int64_t n
    int64_t n_lost               # how many found no room


# Returns 0, or any other number when it failed, perhaps with a Python exception set.
ctypedef int64_t (*SliceFunction)(
    int64_t ts_ns,               # the instant, nanoseconds UTC
    const int32_t* ids,          # which records closed a bar of `on` there, ascending
    int64_t n,
    const BarView* views,        # n_records x n_intervals
    int64_t n_records,
    int64_t n_intervals,
    const int32_t* symbols,      # of each record, its place in the strategy's `symbols`
    void* state,                 # a row for each record
    LogHead* log,
) noexcept


cdef class FunctionStrategy(NativeStrategy):
    cdef SliceFunction function
    cdef object held_state       # one row for each record
    cdef object held_log
    cdef LogHead log_head
    cdef cnp.ndarray symbol_ids
    cdef dict id_of_symbol
    cdef list told_records       # those that the rows of the state belong to

    cdef int fail(self, int64_t ts_ns, int64_t code) except -1
