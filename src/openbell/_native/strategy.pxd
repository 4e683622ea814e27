"""Strategies that run inside the replay, in compiled code: the base class for Cython."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.rings cimport SessionCore
from openbell._native.state cimport Bar, SeriesState, SymbolState


cdef struct BarView:
    const Bar* rows          # closed bars held, oldest first
    int64_t n                # how many there are; what lies behind them is not to be read


cdef class NativeStrategy:
    cdef readonly str on                # the interval whose closes call it
    cdef readonly tuple intervals       # the columns of `views`
    cdef readonly list records          # record k of `ids`; None where one has left
    cdef readonly int64_t n_records     # rows of `views`
    cdef readonly int64_t n_kept        # ids below it were bound before, on this day
    cdef public bint reads_views_only   # it looks at nothing else, and calls nothing that does
    cdef readonly int64_t n_intervals   # columns of `views`
    cdef BarView* views                 # those of record k begin at views + k * n_intervals
    cdef SeriesState** series           # alike; NULL where a record has no such interval
    cdef SymbolState** symbols          # by record; NULL where one has left
    cdef int64_t* told_ns               # label of the newest bar of `on` told, by record
    cdef int32_t* ids
    cdef unsigned char* is_direct       # by column: whether it is the base of all records
    cdef bint skips_incomplete
    cdef SessionCore root
    cdef object window
    cdef int64_t n_moved                # what root.n_moved was when the views were made
    cdef list ends                      # by column: where its slots end
    cdef int64_t* at                    # by column: which of them is next

    # For whoever writes a strategy.
    cdef int bound(self) except -1
    cdef int on_slice(self, int64_t ts_ns, const int32_t* ids, int64_t n) except -1
    # For the replay.
    cdef int bind(self, SessionCore root, list records, bint skips_incomplete) except -1
    cdef int refresh(self, int64_t k) except -1
    cdef int refresh_all(self) except -1
    cdef int64_t next_ns(self) except? -1
    cdef bint closes(self, int64_t k, int64_t ts_ns) except -1
    cdef void relocate(self) noexcept
    cdef void advance(self, int64_t k, int64_t ts_ns) noexcept
    cdef int turn(self, int64_t ts_ns, const int32_t* ids, int64_t n, bint is_plain,
                  bint is_ahead) except -1
