"""Which slot of its day's grid an instant lies in, and how many have ended."""

from libc.stdint cimport int32_t, int64_t

from openbell._native.state cimport SEGMENT_COLUMNS, SeriesState, find_segment


cdef inline int64_t slot_of(const SeriesState* d, int64_t ts) noexcept nogil:
    """Number of the slot of a label; it must lie in a segment."""
    cdef const int64_t* row = d.segments + SEGMENT_COLUMNS * find_segment(d, ts)
    return row[3] + (ts - row[2]) // d.step_ns


cdef inline int64_t slots_ended(const SeriesState* d, int64_t elapsed_ns) noexcept nogil:
    """How many slots end at or before an instant."""
    cdef int32_t seg = d.n_segments - 1
    cdef const int64_t* row = d.segments + SEGMENT_COLUMNS * seg
    while seg > 0 and elapsed_ns <= row[0]:
        seg -= 1
        row -= SEGMENT_COLUMNS
    if elapsed_ns >= row[1]:
        return row[3] + (row[1] - row[2] + d.step_ns - 1) // d.step_ns
    if elapsed_ns > row[0]:
        return row[3] + (elapsed_ns - row[2]) // d.step_ns
    return 0
