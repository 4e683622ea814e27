"""Which records have a bar in which slice of a block of ticks."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.state cimport SeriesState

cdef enum:
    MOST_TICKS = 16384


# Bars of one record in consecutive slots of a block.
cdef struct Run:
    int32_t tick
    int32_t n


cdef class Slices:
    cdef int64_t n_ticks
    cdef int32_t* order      # places, list by list
    cdef int32_t* ends       # by list, where in them its own end
    cdef int32_t* lists      # by tick, which list it has
    cdef int64_t block_ns
    cdef int64_t tick_ns
    cdef int64_t room
    cdef Run* runs
    cdef int64_t n_runs
    cdef int64_t room_runs
    cdef int64_t* firsts     # by place, the first of its runs
    cdef int64_t n_places

    cdef int begin(self, int64_t block_ns, int64_t tick_ns, int64_t n_ticks,
                   int64_t n_places) except -1
    cdef int add(self, int64_t place, const SeriesState* base) except -1
    cdef int add_run(self, Run run) except -1
    cdef int64_t sort(self) except -1
    cdef int64_t next_tick(self, int64_t tick) noexcept
    cdef const int32_t* first(self, int64_t tick) noexcept
    cdef const int32_t* last(self, int64_t tick) noexcept
