"""Six columns to an array of bars and back, and whether bars are good, in one pass over memory."""

from libc.stdint cimport int64_t

import numpy as np

cimport numpy as cnp

from openbell._native.state cimport SEGMENT_COLUMNS, Bar, is_sound

from openbell.errors import SchemaError
from openbell.schema import BAR_DTYPE, as_bars

cnp.import_array()


cdef void join_rows(const int64_t* timestamp, const double* open, const double* high,
                    const double* low, const double* close, const double* volume,
                    Bar* out, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        out[i].timestamp = timestamp[i]
        out[i].open = open[i]
        out[i].high = high[i]
        out[i].low = low[i]
        out[i].close = close[i]
        out[i].volume = volume[i]


cdef void split_rows(const Bar* rows, int64_t* timestamp, double* open, double* high,
                     double* low, double* close, double* volume, int64_t n) noexcept nogil:
    cdef int64_t i
    for i in range(n):
        timestamp[i] = rows[i].timestamp
        open[i] = rows[i].open
        high[i] = rows[i].high
        low[i] = rows[i].low
        close[i] = rows[i].close
        volume[i] = rows[i].volume


cdef const void* column(cnp.ndarray values, str name, char kind, Py_ssize_t n) except? NULL:
    if (values.ndim != 1 or values.size != n or not cnp.PyArray_ISCARRAY_RO(values)
            or values.descr.kind != kind or cnp.PyArray_ITEMSIZE(values) != 8):
        raise SchemaError(name, f"dtype {values.dtype}, shape {(<object>values).shape}",
                          f"{n} of {'int64' if kind == c'i' else 'float64'}, side by side")
    return cnp.PyArray_DATA(values)


def interleave(cnp.ndarray timestamp not None, cnp.ndarray open not None,
               cnp.ndarray high not None, cnp.ndarray low not None,
               cnp.ndarray close not None, cnp.ndarray volume not None,
               cnp.ndarray out=None):
    """Write six columns of one length as bars; the GIL is released meanwhile.

    Parameters
    ----------
    timestamp : numpy.ndarray
        int64 nanoseconds UTC, contiguous.
    open, high, low, close, volume : numpy.ndarray
        float64, contiguous.
    out : numpy.ndarray, optional
        ``BAR_DTYPE``, contiguous, writable, of the columns' length, sharing no memory with
        them. Allocated when absent.

    Returns
    -------
    numpy.ndarray
        `out`.

    Raises
    ------
    SchemaError
        When a column has another dtype or length or is not contiguous, or `out` cannot take
        the bars.
    """
    cdef Py_ssize_t n = timestamp.size
    cdef const int64_t* ts = <const int64_t*>column(timestamp, "timestamp", c"i", n)
    cdef const double* o = <const double*>column(open, "open", c"f", n)
    cdef const double* h = <const double*>column(high, "high", c"f", n)
    cdef const double* l = <const double*>column(low, "low", c"f", n)
    cdef const double* c = <const double*>column(close, "close", c"f", n)
    cdef const double* v = <const double*>column(volume, "volume", c"f", n)
    cdef Bar* rows
    if out is None:
        out = np.empty(n, BAR_DTYPE)
    elif as_bars(out, "out") is not out or not out.flags.writeable or len(out) != n:
        kind = "" if out.flags.writeable else "read-only "
        raise SchemaError("out", f"{len(out)} {kind}bars, {out.strides[0]} bytes apart",
                          f"{n} writable bars side by side")
    rows = <Bar*>cnp.PyArray_DATA(out)
    with nogil:
        join_rows(ts, o, h, l, c, v, rows, n)
    return out


def deinterleave(bars):
    """Copy bars out into six contiguous columns; the GIL is released meanwhile.

    Parameters
    ----------
    bars : numpy.ndarray
        ``BAR_DTYPE``, one-dimensional.

    Returns
    -------
    tuple of numpy.ndarray
        In the order of the fields: the timestamps as int64, the others as float64.

    Raises
    ------
    SchemaError
        When it is not an array of bars.
    """
    cdef cnp.ndarray source = as_bars(bars)
    cdef Py_ssize_t n = len(source)
    cdef const Bar* rows = <const Bar*>cnp.PyArray_DATA(source)
    cdef cnp.ndarray timestamp = np.empty(n, np.int64)
    cdef cnp.ndarray open = np.empty(n, np.float64)
    cdef cnp.ndarray high = np.empty(n, np.float64)
    cdef cnp.ndarray low = np.empty(n, np.float64)
    cdef cnp.ndarray close = np.empty(n, np.float64)
    cdef cnp.ndarray volume = np.empty(n, np.float64)
    cdef int64_t* ts = <int64_t*>cnp.PyArray_DATA(timestamp)
    cdef double* o = <double*>cnp.PyArray_DATA(open)
    cdef double* h = <double*>cnp.PyArray_DATA(high)
    cdef double* l = <double*>cnp.PyArray_DATA(low)
    cdef double* c = <double*>cnp.PyArray_DATA(close)
    cdef double* v = <double*>cnp.PyArray_DATA(volume)
    with nogil:
        split_rows(rows, ts, o, h, l, c, v, n)
    return timestamp, open, high, low, close, volume


def all_fit(bars, cnp.ndarray segments not None, int64_t step_ns):
    """Whether a record would take all of the bars as they come: sound, ascending, on the grid.

    Parameters
    ----------
    bars : numpy.ndarray
        ``BAR_DTYPE``.
    segments : numpy.ndarray
        Of the interval's grid: int64, shape (n, 4).
    step_ns : int
        Of the grid, 1 at least.

    Returns
    -------
    bool
        False also for equal labels.
    """
    cdef cnp.ndarray source = as_bars(bars)
    cdef const Bar* rows = <const Bar*>cnp.PyArray_DATA(source)
    cdef Py_ssize_t n = len(source)
    cdef const int64_t* segment
    cdef int64_t left
    cdef bint fits
    if (segments.ndim != 2 or cnp.PyArray_TYPE(segments) != cnp.NPY_INT64
            or not cnp.PyArray_ISCARRAY_RO(segments) or segments.shape[1] != SEGMENT_COLUMNS
            or step_ns < 1):
        raise SchemaError("segments", f"{segments.dtype}, shape {(<object>segments).shape}",
                          f"int64, shape (n, {SEGMENT_COLUMNS}), and a step of 1 at least")
    segment = <const int64_t*>cnp.PyArray_DATA(segments)
    left = segments.shape[0]
    with nogil:
        fits = fit(rows, n, segment, left, step_ns)
    return fits


cdef bint fit(const Bar* rows, int64_t n, const int64_t* segment, int64_t n_left,
              int64_t step) noexcept nogil:
    cdef int64_t ts
    cdef int64_t i
    for i in range(n):
        ts = rows[i].timestamp
        if i and ts <= rows[i - 1].timestamp:
            return False
        while n_left > 0 and ts >= segment[1]:
            segment += SEGMENT_COLUMNS
            n_left -= 1
        if n_left <= 0 or ts < segment[0] or (ts != segment[0] and (ts - segment[2]) % step):
            return False
        if not is_sound(rows[i].open, rows[i].high, rows[i].low, rows[i].close, rows[i].volume):
            return False
    return True


def is_ascending(cnp.ndarray values not None):
    """Whether no number is less than the one before: int64, of any stride. Reads each once."""
    cdef Py_ssize_t n = values.size
    cdef Py_ssize_t stride
    cdef const char* at = <const char*>cnp.PyArray_DATA(values)
    cdef Py_ssize_t k
    cdef int64_t n_descents = 0
    if (values.ndim != 1 or values.descr.kind != c"i" or cnp.PyArray_ITEMSIZE(values) != 8
            or not cnp.PyArray_ISBEHAVED_RO(values)):
        raise SchemaError("values", f"dtype {values.dtype}, shape {(<object>values).shape}",
                          "a column of int64")
    stride = cnp.PyArray_STRIDE(values, 0)
    with nogil:
        for k in range(1, n):
            n_descents += (<const int64_t*>(at + k * stride))[0] < (
                <const int64_t*>(at + (k - 1) * stride))[0]
    return n_descents == 0
