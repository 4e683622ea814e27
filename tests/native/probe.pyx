"""What the tests look through at ``cimport openbell``; the worked example is part of it."""

include "../../examples/ma_cross/cython_cross.pyx"


def append(openbell.SymbolEngine record, int64_t ts_ns, double open, double high, double low,
           double close, double volume):
    return openbell.append(record, ts_ns, open, high, low, close, volume)


def closed(openbell.SymbolEngine record, str interval, int64_t n):
    """How many bars there are, and labels of the newest `n`."""
    cdef openbell.SeriesState* series = openbell.series_of(record, interval)
    cdef openbell.BarView view = openbell.view_of(record, series)
    cdef openbell.BarView part = openbell.window(&view, n)
    cdef const openbell.Bar* last = openbell.newest(&view)
    assert openbell.n_closed(record, series) == view.n
    assert last == NULL or last == part.rows + part.n - 1
    return view.n, [part.rows[i].timestamp for i in range(part.n)]


def open_bar(openbell.SymbolEngine record, str interval):
    cdef openbell.Bar bar
    if not openbell.open_bar(record, openbell.series_of(record, interval), &bar):
        return None
    return bar.timestamp, bar.open, bar.high, bar.low, bar.close, bar.volume


cdef class Seen(openbell.NativeStrategy):
    """Writes down what it is told: (instant, symbol, bars, newest close) by interval."""

    cdef readonly list told
    cdef readonly list n_kept_when_bound

    def __init__(self, on, intervals=()):
        super().__init__(on, intervals)
        self.told = []
        self.n_kept_when_bound = []

    cdef int bound(self) except -1:
        self.n_kept_when_bound.append(self.n_kept)
        return 0

    cdef int on_slice(self, int64_t ts_ns, const int32_t* ids, int64_t n) except -1:
        cdef openbell.BarView* view
        for i in range(n):
            seen = [ts_ns, self.records[ids[i]].symbol]
            for j in range(self.n_intervals):
                view = &self.views[ids[i] * self.n_intervals + j]
                seen += [view.n, openbell.newest(view).close if view.n else None]
            self.told.append(tuple(seen))
        return 0
