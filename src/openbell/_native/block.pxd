"""Whole blocks of base bars: ingest, merge, preload; in order or not."""

from libc.stdint cimport int64_t

cimport numpy as cnp

from openbell._native.core cimport Core
from openbell._native.state cimport Bar


cdef int64_t append_rows(Core core, const Bar* rows, int64_t n) except -1
cdef int64_t preload_rows(Core core, cnp.ndarray bars, bint adopt) except -1
