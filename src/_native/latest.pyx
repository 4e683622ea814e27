"""The newest value of one field over all records of a root."""

from libc.math cimport NAN
from libc.stdint cimport INT64_MIN, int64_t
from libc.stdlib cimport free, malloc

cimport numpy as cnp

from openbell._native.core cimport Core
from openbell._native.rings cimport SessionCore
from openbell._native.series cimport place_of
from openbell._native.state cimport OB_PREFETCH, SeriesState, SymbolState

cnp.import_array()

cdef enum:
    AHEAD = 8        # records: far enough for their memory to arrive, near enough to stay


cdef class Latest:
    """Where the series of one interval lie, record after record, as they are now.

    Parameters
    ----------
    root : SessionCore
    cores : list of Core
        Of the root's records, in their order.
    interval : str
    n_changes : int
        What ``root.n_changes`` was before `cores` were listed.
    """

    cdef SessionCore root
    cdef list cores                  # their memory is what `series` points to
    cdef const SymbolState** symbols
    cdef const SeriesState** series  # NULL for a record that has no such series
    cdef Py_ssize_t n
    cdef bint has_all
    cdef int64_t n_changes
    cdef int64_t n_links
    cdef int64_t settled_ns

    def __cinit__(self, SessionCore root, list cores, str interval, int64_t n_changes):
        cdef Core core
        cdef Py_ssize_t i
        self.root = root
        self.cores = cores
        self.n = len(cores)
        self.n_changes = n_changes
        self.settled_ns = INT64_MIN
        self.symbols = <const SymbolState**>malloc((self.n + 1) * sizeof(void*))
        self.series = <const SeriesState**>malloc((self.n + 1) * sizeof(void*))
        if self.symbols == NULL or self.series == NULL:
            raise MemoryError(f"latest {interval}: no memory for {self.n} records")
        self.has_all = True
        self.n_links = self.count_links()
        for i in range(self.n):
            core = cores[i]
            self.symbols[i] = core.state
            self.series[i] = core.find(interval) if interval in core.names else NULL
            self.has_all &= self.series[i] != NULL

    def __dealloc__(self):
        free(self.symbols)
        free(self.series)

    cdef int64_t count_links(self) except -1:
        cdef int64_t n_links = 0
        for core in self.cores:
            n_links += (<Core?>core).n_links
        return n_links

    def read(self, str field):
        """The newest values; None when records or their series have changed since.

        Returns
        -------
        numpy.ndarray or None
            float64, one for each record, NaN where there is no bar. A copy.

        Raises
        ------
        ArgumentError
            When a bar has no such field.
        """
        cdef int place = place_of(field)
        cdef cnp.npy_intp n = self.n
        cdef const SeriesState* d
        cdef cnp.ndarray values
        cdef double* into
        cdef Py_ssize_t i
        # A record that has not had the series may have got it, also before its day began.
        if (self.root.n_changes != self.n_changes
                or not self.has_all and self.count_links() != self.n_links):
            return None
        if self.root.clock_ns != self.settled_ns:
            self.settle()
        values = cnp.PyArray_EMPTY(1, &n, cnp.NPY_FLOAT64, 0)
        into = <double*>cnp.PyArray_DATA(values)
        for i in range(n):
            d = self.series[i]
            into[i] = NAN if d == NULL or not d.n else (<const double*>(d.rows + d.n - 1))[place]
        return values

    cdef int settle(self) except -1:
        # Records settle at most once while the clock stands.
        cdef int64_t now_ns = self.root.clock_ns
        cdef const SymbolState* s
        cdef Py_ssize_t i
        for i in range(self.n):
            if i + AHEAD < self.n:
                OB_PREFETCH(&self.symbols[i + AHEAD].settled_ns)
            s = self.symbols[i]
            if s.now_ns[0] > s.settled_ns:
                (<Core>s.core).settle()
        self.settled_ns = now_ns
        return 0
