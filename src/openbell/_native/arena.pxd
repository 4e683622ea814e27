"""Memory for bars: one arena, handed out as extents that views keep alive."""

cimport numpy as cnp
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* obj)


cdef class Arena:
    cdef readonly size_t n_reserved_bytes    # taken from the system
    cdef readonly size_t n_used_bytes        # in extents somebody holds
    cdef bint _plain
    cdef list _chunks                        # addresses, as ints
    cdef dict _free                          # size -> addresses of extents nobody holds
    cdef char* _next
    cdef size_t _left
    cdef char* _spare                        # what is left of an earlier chunk
    cdef size_t _n_spare
    cdef size_t _skew

    cdef Extent take(self, size_t n_bytes, bint touch)
    cdef char* cut(self, size_t size) except NULL
    cdef void give_back(self, char* data, size_t n_bytes)
    cdef int grow(self, size_t n_bytes) except -1


cdef class Extent:
    cdef Arena arena
    cdef char* data
    cdef readonly size_t n_bytes
    cdef int64_t judged_step_ns              # its rows are sound and ascend by multiples of it


cdef Extent extent_of(cnp.ndarray array)
