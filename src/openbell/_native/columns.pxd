"""Moves between six columns and rows of bars, for whoever holds either as plain memory."""

from libc.stdint cimport int64_t

cimport numpy as cnp

from openbell._native.state cimport Bar


cdef void join_rows(const int64_t* timestamp, const double* open, const double* high,
                    const double* low, const double* close, const double* volume,
                    Bar* out, int64_t n) noexcept nogil
cdef void split_rows(const Bar* rows, int64_t* timestamp, double* open, double* high,
                     double* low, double* close, double* volume, int64_t n) noexcept nogil
cdef const void* column(cnp.ndarray values, str name, char kind, Py_ssize_t n) except? NULL
