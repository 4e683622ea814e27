"""The rings of one symbol: which series there are, their memory, and putting a row in its place."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.arena cimport Arena
from openbell._native.state cimport Bar, SeriesState, SymbolState

cdef enum:
    N_REFUSALS = 9


cdef class SessionCore:
    cdef int64_t clock_ns
    cdef int64_t fed_ns          # where the replay is: bars that ended by then are visible
    cdef int64_t n_fed           # bars it made visible
    cdef int64_t n_stirred       # bars stored elsewhere than at the end of time
    cdef int64_t n_meddled       # of those, into records that are replayed
    cdef int64_t n_moved         # how often rows came to lie elsewhere
    cdef public int64_t n_changes
    cdef readonly Arena arena
    cdef readonly object window
    cdef public object assessor


cdef class Rings:
    cdef SymbolState* state
    cdef void* state_memory
    cdef readonly SessionCore root
    cdef readonly str symbol
    cdef readonly bint attached
    cdef readonly int64_t capacity
    cdef readonly list names
    cdef readonly dict gap_notes
    cdef list extents
    cdef list grids
    cdef int64_t own_clock_ns
    cdef int64_t refused[N_REFUSALS]
    cdef readonly int64_t n_duplicate
    cdef readonly int64_t n_corrected
    cdef readonly int64_t n_late

    cdef void note_change(self, SeriesState* d, int64_t ts) noexcept
    cdef SeriesState* find(self, str name) except NULL
    cdef SeriesState* make_series(self, str name, object grid) except NULL
    cdef int put_in_order(self, list names) except -1
    cdef int bind_series(self, SeriesState* d, object grid) except -1
    cdef int require_live(self, str call) except -1
    cdef int take_memory(self, SeriesState* d, int64_t room, bint touch) except -1
    cdef int make_room(self, SeriesState* d, int64_t n_more) except -1
    cdef int evict(self, SeriesState* d, int64_t n_drop) except -1
    cdef int insert_row(self, SeriesState* d, int64_t pos, const Bar* bar,
                        int32_t n_base) except -1
    cdef int put_row(self, SeriesState* d, const Bar* bar, int32_t n_base) except -1
    cdef void recount_gaps(self, SeriesState* d) noexcept
    cdef void rescan_metrics(self) noexcept


cdef int64_t most_rows(Rings rings, const SeriesState* d) noexcept
