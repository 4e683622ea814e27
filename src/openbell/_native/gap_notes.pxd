"""One row of what was found out about gaps."""

from libc.stdint cimport int8_t, int16_t, int32_t


cdef packed struct Note:      # GAP_NOTE_DTYPE
    int32_t first_slot
    int32_t n_slots
    int8_t reason
    int8_t disconnected
    int16_t n_coarser
    float fill_rate
    float expected_per_day
    int16_t n_peers
    int16_t n_silent
