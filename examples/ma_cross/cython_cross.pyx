"""The moving-average cross in Cython: a subclass of ``openbell.NativeStrategy``.

``on_slice`` is called by the replay's own loop, as one C function calls another.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free, realloc

cimport openbell

openbell.require_same_build()

cdef enum:
    FAST = 5
    SLOW = 20


cdef double mean_close(openbell.BarView bars) noexcept:
    cdef double total = 0.0
    cdef int64_t i
    for i in range(bars.n):
        total += bars.rows[i].close
    return total / bars.n


cdef class MaCross(openbell.NativeStrategy):
    """Buys where the fast average of closes goes above the slow one, and sells where below.

    Attributes
    ----------
    trades : list of (minute_ns, symbol, side, price)
        The minute by its start, nanoseconds UTC.
    """

    cdef readonly list trades
    cdef int* is_above            # by id: 1, 0, or -1 while that is not known

    def __init__(self):
        super().__init__(on="1m")
        # It looks at no record: the replay may fold the bars of many slices at once.
        self.reads_views_only = True
        self.trades = []

    def __dealloc__(self):
        free(self.is_above)

    cdef int bound(self) except -1:
        # A day began, or records came or left. Ids below `n_kept` are those of before.
        cdef int64_t k
        cdef int* held = <int*>realloc(self.is_above, (self.n_records + 1) * sizeof(int))
        if held == NULL:
            raise MemoryError()
        self.is_above = held
        for k in range(self.n_kept, self.n_records):
            self.is_above[k] = -1
        return 0

    cdef int on_slice(self, int64_t ts_ns, const int32_t* ids, int64_t n) except -1:
        cdef int64_t i
        cdef int32_t k
        cdef openbell.BarView slow
        cdef const openbell.Bar* bar
        cdef bint is_above
        for i in range(n):
            k = ids[i]
            # Row k of `views`, column 0: the interval given as `on`.
            slow = openbell.window(&self.views[k * self.n_intervals], SLOW)
            if slow.n < SLOW:
                continue
            is_above = mean_close(openbell.window(&slow, FAST)) > mean_close(slow)
            if self.is_above[k] != -1 and self.is_above[k] != is_above:
                # The GIL is held, so Python objects may be used; trades are rare enough.
                bar = openbell.newest(&slow)
                side = 1 if is_above else -1
                self.trades.append((bar.timestamp, self.records[k].symbol, side, bar.close))
            self.is_above[k] = is_above
        return 0
