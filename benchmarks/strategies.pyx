# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Strategies in Cython: the worked example, and one that looks at every bar."""

include "../examples/ma_cross/cython_cross.pyx"


cdef class EveryBar(openbell.NativeStrategy):
    """Adds up volumes and closes of all bars, as they close."""

    cdef readonly int64_t n_bars
    cdef readonly double volume
    cdef readonly double closes

    def __init__(self):
        super().__init__(on="1s")
        self.reads_views_only = True

    def clear(self):
        self.n_bars = 0
        self.volume = self.closes = 0.0

    cdef int on_slice(self, int64_t ts_ns, const int32_t* ids, int64_t n) except -1:
        cdef const openbell.Bar* bar
        cdef int64_t i
        for i in range(n):
            bar = openbell.newest(&self.views[ids[i] * self.n_intervals])
            self.volume += bar.volume
            self.closes += bar.close
        self.n_bars += n
        return 0
