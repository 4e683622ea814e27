"""Rings of quotes and trades."""

from libc.stdint cimport int64_t

cimport numpy as cnp

from openbell._native.arena cimport Arena, Extent


cdef class EventRing:
    cdef readonly cnp.dtype dtype
    cdef readonly int64_t capacity
    cdef readonly int64_t n_evicted
    cdef Arena arena
    cdef Extent extent
    cdef int64_t n
    cdef int64_t room
    cdef int64_t itemsize

    cdef int make_room(self, int64_t n_more) except -1
