"""One bar, quote or trade as a small immutable object."""

from libc.stdint cimport int64_t

from openbell._native.state cimport Bar


cdef class BarData:
    cdef Bar bar
    cdef readonly str symbol
    cdef readonly str interval
    cdef readonly bint is_correction


cdef BarData make_bar(const Bar* bar, str symbol, str interval)


cdef inline void refill_bar(BarData bar, const Bar* row, str symbol):
    # Only one that nobody else has seen, or keeps.
    bar.bar = row[0]
    bar.symbol = symbol
