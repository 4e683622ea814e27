"""Strategies that run inside the replay, in compiled code: the base class for Cython.

The replay keeps a table of views, one row a record, one column an interval, up to date at each
instant, and calls the strategy without a Python frame in between.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t
from libc.stdlib cimport calloc, free

cimport numpy as cnp

from openbell._native.core cimport Core
from openbell._native.engine cimport SymbolEngine
from openbell._native.memory cimport grown
from openbell._native.rings cimport SessionCore
from openbell._native.series cimport slots_ended
from openbell._native.state cimport (
    OB_PREFETCH, SeriesState, SymbolState, bucket_of, end_of, fetch_rows, fetch_series,
    fetch_symbol,
)

from openbell.errors import ArgumentError
from openbell.intervals import interval as parse_interval

cnp.import_array()

cdef enum:
    STRIDE = 16        # bars of a finer interval that a view passes at once


cdef class NativeStrategy:
    """What a replay calls at each instant at which bars of an interval close.

    Subclass it in Cython and override ``on_slice``; ``strategy.pxd`` says what it can read. Give
    it to ``session.run``, ``day.run`` or ``ReplayCursor.run``.

    Parameters
    ----------
    on : str
        The interval whose closes call it.
    intervals : sequence of str
        Further intervals whose bars it reads. Those of `on` are the first column of its views.

    Attributes
    ----------
    records : list of SymbolSessionData or None
        By id. A record keeps its id for the day; None stands where one has left.
    reads_views_only : bool
        Set it where ``on_slice`` looks at its views alone, and calls nothing that looks at a
        record. The replay may then fold the bars of many slices at once, symbol by symbol, and
        move the views over them; what else could be read would lie in the future.

    Raises
    ------
    IntervalError
        When an interval is unknown.
    """

    def __cinit__(self, *args, **kwargs):
        self.records = []
        self.ends = []

    def __init__(self, on, intervals=()):
        if isinstance(intervals, str):
            raise ArgumentError("intervals", intervals, "a sequence of intervals")
        self.on = parse_interval(on).name
        names = dict.fromkeys([self.on, *[parse_interval(name).name for name in intervals]])
        self.intervals = tuple(names)
        self.n_intervals = len(self.intervals)
        free(self.at)
        free(self.is_direct)
        self.at = <int64_t*>calloc(self.n_intervals, sizeof(int64_t))
        self.is_direct = <unsigned char*>calloc(self.n_intervals, 1)
        if self.at == NULL or self.is_direct == NULL:
            raise MemoryError("no memory for a strategy")

    def __dealloc__(self):
        free(self.views)
        free(self.symbols)
        free(self.series)
        free(self.told_ns)
        free(self.ids)
        free(self.at)
        free(self.is_direct)

    cdef int bound(self) except -1:
        """Called when the views were made anew: a day began, records joined or left."""
        return 0

    cdef int on_slice(self, int64_t ts_ns, const int32_t* ids, int64_t n) except -1:
        """Called at each instant at which bars of ``on`` closed, with the GIL held.

        `ids` name the records of these bars, ascending; each is the last of its view. What is
        raised breaks the day off, and passes through.
        """
        return 0

    cdef int bind(self, SessionCore root, list records, bint skips_incomplete) except -1:
        """Make the views of these records; the ids of those known before stay."""
        cdef int64_t n = len(records)
        cdef bint is_same_day = self.window is root.window and self.root is root
        cdef int64_t k
        cdef int j
        cdef Core core
        if self.n_intervals == 0:
            raise ArgumentError(type(self).__name__, "no interval",
                                "super().__init__(on, intervals) in its own __init__")
        self.views = <BarView*>grown(self.views, n * self.n_intervals * sizeof(BarView))
        self.series = <SeriesState**>grown(
            self.series, n * self.n_intervals * sizeof(SeriesState*))
        self.symbols = <SymbolState**>grown(self.symbols, n * sizeof(SymbolState*))
        self.told_ns = <int64_t*>grown(self.told_ns, n * sizeof(int64_t))
        self.ids = <int32_t*>grown(self.ids, n * sizeof(int32_t))
        self.n_kept = min(self.n_records, n) if is_same_day else 0
        if not is_same_day:
            self.ends = [root.window.grid(name).ends_ns for name in self.intervals]
            for j in range(self.n_intervals):
                self.at[j] = root.window.grid(self.intervals[j]).expected(root.clock_ns)
        self.root = root
        self.window = root.window
        self.n_moved = root.n_moved
        self.records = records
        self.n_records = n
        self.skips_incomplete = skips_incomplete
        for j in range(self.n_intervals):
            self.is_direct[j] = True
        for k in range(n):
            core = None if records[k] is None else (<SymbolEngine?>records[k]).core
            self.symbols[k] = NULL if core is None else core.state
            for j in range(self.n_intervals):
                if core is None or self.intervals[j] not in core.names:
                    self.series[k * self.n_intervals + j] = NULL
                    continue
                self.series[k * self.n_intervals + j] = core.find(self.intervals[j])
                self.is_direct[j] &= core.names[0] == self.intervals[j]
            self.refresh(k)
            if k >= self.n_kept:
                # Bars that were there when it came are not told.
                self.told_ns[k] = newest_label(self.views + k * self.n_intervals)
        return self.bound()

    cdef int refresh(self, int64_t k) except -1:
        """Bring the views of a record up to date."""
        cdef BarView* view = self.views + k * self.n_intervals
        cdef SeriesState** series = self.series + k * self.n_intervals
        cdef int j
        cdef SymbolState* s = self.symbols[k]
        if s != NULL and s.now_ns[0] > s.settled_ns:
            (<Core>s.core).settle()
        for j in range(self.n_intervals):
            view[j].rows = NULL if series[j] == NULL else series[j].rows
            view[j].n = 0 if series[j] == NULL else series[j].n
        return 0

    cdef int refresh_all(self) except -1:
        cdef int64_t k
        for k in range(self.n_records):
            if k + 12 < self.n_records and self.symbols[k + 12] != NULL:
                fetch_symbol(self.symbols[k + 12])
            if k + 8 < self.n_records and self.symbols[k + 8] != NULL:
                OB_PREFETCH(self.symbols[k + 8].series)
            if k + 4 < self.n_records and self.symbols[k + 4] != NULL:
                fetch_series(self.symbols[k + 4])
            if k + 2 < self.n_records and self.symbols[k + 2] != NULL:
                fetch_rows(self.symbols[k + 2])
            self.refresh(k)
        self.n_moved = self.root.n_moved
        return 0

    cdef void relocate(self) noexcept:
        # The rows may lie elsewhere; how many of them are visible stays.
        cdef int64_t at
        for at in range(self.n_records * self.n_intervals):
            if self.series[at] != NULL:
                self.views[at].rows = self.series[at].rows
        self.n_moved = self.root.n_moved

    cdef void advance(self, int64_t k, int64_t ts_ns) noexcept:
        # Over rows that are there already, to those that have ended by an instant.
        cdef BarView* view = self.views + k * self.n_intervals
        cdef SeriesState** series = self.series + k * self.n_intervals
        cdef int j
        for j in range(self.n_intervals):
            if series[j] == NULL:
                continue
            while (view[j].n + STRIDE <= series[j].n
                   and end_of(series[j], view[j].rows[view[j].n + STRIDE - 1].timestamp) <= ts_ns):
                view[j].n += STRIDE
            while (view[j].n < series[j].n
                   and end_of(series[j], view[j].rows[view[j].n].timestamp) <= ts_ns):
                view[j].n += 1

    cdef int64_t next_ns(self) except? -1:
        """Where the next slot ends of an interval that is not told of by the bars that come."""
        cdef int64_t earliest = INT64_MAX
        cdef int j
        for j in range(self.n_intervals):
            if not self.is_direct[j]:
                earliest = min(earliest, end_at(self.ends[j], self.at[j]))
        return earliest

    cdef bint closes(self, int64_t k, int64_t ts_ns) except -1:
        # Whether a bar of `on` closed that was not told.
        cdef const SeriesState* d = self.series[k * self.n_intervals]
        cdef const SeriesState* base
        cdef BarView* view = self.views + k * self.n_intervals
        cdef int64_t label = newest_label(view)
        cdef int64_t start
        cdef int64_t end
        if (view.n == 0 or label <= self.told_ns[k]
                or not (<SymbolEngine>self.records[k]).core.attached):
            return False
        end = end_of(d, label)
        if end > ts_ns or (self.is_direct[0] and end < ts_ns):
            return False
        self.told_ns[k] = label
        if not self.skips_incomplete or d.source == NULL:
            return True
        base = (<SymbolEngine>self.records[k]).core.state.base
        bucket_of(d, label, &start, &end)
        return d.n_base[view.n - 1] >= slots_ended(base, end) - slots_ended(base, start)

    cdef int turn(self, int64_t ts_ns, const int32_t* ids, int64_t n, bint is_plain,
                  bint is_ahead) except -1:
        """Bring the views to an instant, and call the strategy if bars of `on` closed."""
        cdef bint is_due = not is_plain or self.n_moved != self.root.n_moved
        cdef bint is_on_due = False
        cdef BarView* view
        cdef int64_t n_told = 0
        cdef int64_t i
        cdef int64_t k
        cdef int j
        for j in range(self.n_intervals):
            if not self.is_direct[j]:
                while end_at(self.ends[j], self.at[j]) <= ts_ns:
                    self.at[j] += 1
                    is_due = True
                    is_on_due |= j == 0
        if is_due and is_ahead:
            for k in range(self.n_records):
                self.advance(k, ts_ns)
        elif is_due:
            self.refresh_all()
        else:
            for j in range(self.n_intervals):
                if self.is_direct[j]:
                    for i in range(n):
                        view = self.views + ids[i] * self.n_intervals + j
                        view.n += 1
                        if j == 0:
                            # The bar that it reads in the next slice.
                            OB_PREFETCH(view.rows + view.n)
                            OB_PREFETCH(&(view.rows + view.n).volume)
        if self.is_direct[0] and is_plain:
            return self.on_slice(ts_ns, ids, n) if n else 0
        if self.is_direct[0]:
            for i in range(n):
                k = ids[i]
                self.ids[n_told] = <int32_t>k
                n_told += self.closes(k, ts_ns)
        elif is_on_due:
            for k in range(self.n_records):
                self.ids[n_told] = <int32_t>k
                n_told += self.closes(k, ts_ns)
        return self.on_slice(ts_ns, self.ids, n_told) if n_told else 0


cdef inline int64_t newest_label(const BarView* view) noexcept:
    return view.rows[view.n - 1].timestamp if view.n else INT64_MIN


cdef inline int64_t end_at(cnp.ndarray ends, int64_t at) noexcept:
    if at >= cnp.PyArray_DIM(ends, 0):
        return INT64_MAX
    return (<int64_t*>cnp.PyArray_DATA(ends))[at]
