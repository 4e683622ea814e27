"""The handle whose ``append`` a strategy calls, and the slice appender of a feed."""

from libc.stdint cimport int64_t

from openbell._native.core cimport Core
from openbell._native.state cimport SymbolState


cdef class SymbolEngine:
    cdef SymbolState* state
    cdef readonly Core core


cdef class SliceAppender:
    cdef SymbolState** states
    cdef int64_t n_engines
    cdef list cores


cdef object refusal(Core core, int code, str interval, const void* bar)
