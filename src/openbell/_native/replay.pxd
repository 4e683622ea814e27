"""Replay of a loaded day: preloaded bars of many records made visible in time order."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.closings cimport Closings
from openbell._native.rings cimport SessionCore
from openbell._native.slices cimport Slices
from openbell._native.state cimport SymbolState
from openbell._native.strategy cimport NativeStrategy


cdef class ReplayCursor:
    cdef readonly SessionCore root
    cdef object window
    cdef readonly int64_t ts_ns
    cdef readonly Closings closings
    cdef readonly list engines
    cdef dict places                 # where in them each record is
    cdef NativeStrategy strategy
    cdef bint is_turn                # whether a strategy may be served a whole block
    cdef bint is_ahead               # whether the records are at the end of the block
    cdef SymbolState** states
    cdef int64_t n_engines
    cdef int64_t n_room
    cdef int64_t n_irregular         # of the records, whose next bar is not simply the next
    # What was the root's when the block was made.
    cdef int64_t n_changes
    cdef int64_t n_meddled
    # The block under way.
    cdef Slices slices
    cdef int64_t n_ticks_wanted      # of the next one
    cdef int64_t tick                # the next one in it
    cdef bint is_empty               # whether no bar was waiting when the last one was made
    cdef int64_t tick_ns
    cdef int64_t block_ns
    cdef int64_t block_end_ns
    cdef int64_t n_before_block
    cdef int64_t n_in_block
    cdef int64_t stretch             # ticks gone in one piece when nobody watches
    # The running slice.
    cdef const int32_t* first
    cdef const int32_t* last
    cdef int64_t n_slices

    cdef int take_room(self) except -1
    cdef int catch_up_all(self) except -1
    cdef int catch_up_slice(self) except -1
    cdef int fill_block(self) except -1
    cdef bint may_go_ahead(self) noexcept
    cdef int go_ahead(self) except -1
    cdef int go_back(self) except -1
    cdef int64_t next_waiting(self) noexcept
    cdef void start_block_anew(self) noexcept
    cdef void end_slice(self) noexcept
    cdef int64_t next_data(self) except -1
    cdef int64_t next_closing(self) except? -1
    cdef int bind_strategy(self) except -1
    cpdef bint step(self) except -1
    cpdef bint step_block(self) except -1
    cpdef bint run_block(self) except -1


cdef class SliceRecords:
    cdef ReplayCursor cursor
    cdef const int32_t* first
    cdef int64_t n
    cdef int64_t slice

    cdef int require_current(self) except -1


cdef class SliceIterator:
    cdef SliceRecords records
    cdef int64_t at
