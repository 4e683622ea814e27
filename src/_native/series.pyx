"""Views and readings of one series: windows, fields, reductions, gaps, coverage.

Everything handed out is read-only. A view ends at the newest closed bar and keeps the memory
it looks at; a copy is made only where the name says so.
"""

from libc.math cimport NAN, sqrt
from libc.stdint cimport INT64_MIN, int32_t, int64_t
from libc.string cimport memcpy

import numpy as np

cimport numpy as cnp

from openbell._native.core cimport Core
from openbell._native.gap_runs cimport GapScan
from openbell._native.state cimport (
    N_CHANGES_KEPT, Bar, SeriesState, SymbolState, bucket_of, lower_bound, merge_bar,
)
from openbell._native.values cimport make_bar
from openbell._native.views cimport ob_view

from openbell.errors import ArgumentError
from openbell.schema import BAR_DTYPE, BAR_FIELDS, to_ns

cnp.import_array()

cdef cnp.dtype BARS = BAR_DTYPE
cdef cnp.dtype FLOATS = np.dtype("<f8")
cdef cnp.dtype INSTANTS = np.dtype("<i8")
cdef cnp.dtype COUNTS = np.dtype("<i4")
cdef str OPEN = "open"
cdef str HIGH = "high"
cdef str LOW = "low"
cdef str CLOSE = "close"
cdef str VOLUME = "volume"
cdef dict FIELDS = {name: place for place, name in enumerate(BAR_FIELDS) if place}


cdef int place_of(str field) except -1:
    # Names in code are interned: nearly always it is one of these very objects.
    if field is CLOSE:
        return 4
    if field is VOLUME:
        return 5
    if field is HIGH:
        return 2
    if field is LOW:
        return 3
    if field is OPEN:
        return 1
    place = FIELDS.get(field)
    if place is None:
        raise ArgumentError("field", field, "open, high, low, close or volume")
    return place


cdef class Series:
    """The bars of one interval of one record.

    Attributes
    ----------
    interval : str
    """

    def __cinit__(self, Core core, str interval):
        self.core = core
        self.symbol = core.state
        self.interval = interval
        self.state = core.find(interval)

    @property
    def data(self):
        """All closed bars held, oldest first: a read-only view, dtype ``BAR_DTYPE``. O(1)."""
        cdef int64_t n = self.settled()
        return ob_view(BARS, self.state.rows, n, sizeof(Bar), self.core.extents[self.state.index])

    @property
    def n_base(self):
        """Base bars in each derived bar: a read-only int32 view as long as ``data``.

        0 marks a bar that was written directly. None for a series that arrives.
        """
        cdef int64_t n = self.settled()
        if self.state.source == NULL:
            return None
        return ob_view(COUNTS, self.state.n_base, n, sizeof(int32_t),
                       self.core.extents[self.state.index])

    def window(self, int64_t n):
        """The newest `n` closed bars (fewer while there are fewer), oldest first.

        Returns
        -------
        numpy.ndarray
            Read-only contiguous view, dtype ``BAR_DTYPE``. It follows the live buffer: a bar
            that arrives late shifts what lies behind it (``revision`` tells). O(1).

        Raises
        ------
        ArgumentError
            When `n` is negative.
        """
        cdef int64_t held = self.settled()
        n = newest(n, held)
        return ob_view(BARS, self.state.rows + held - n, n, sizeof(Bar),
                       self.core.extents[self.state.index])

    def copy(self, n=None):
        """The newest `n` closed bars (all when None), oldest first, as an array of their own.

        Of one instant, whatever other threads do meanwhile. O(n).

        Raises
        ------
        ArgumentError
            When `n` is negative.
        """
        cdef int64_t held = self.settled()
        cdef int64_t wanted = held if n is None else newest(n, held)
        cdef cnp.ndarray rows
        while True:
            rows = np.empty(wanted, BARS)
            # Making room may have let another thread in; what follows does not.
            held = self.settled()
            if (held if n is None else newest(n, held)) == wanted:
                memcpy(cnp.PyArray_DATA(rows), self.state.rows + held - wanted,
                       wanted * sizeof(Bar))
                return rows
            wanted = held if n is None else newest(n, held)

    cdef object field_view(self, int field, int64_t n):
        cdef int64_t held = self.settled()
        n = newest(n, held)
        return ob_view(FLOATS if field else INSTANTS,
                       <char*>(self.state.rows + held - n) + 8 * field, n, sizeof(Bar),
                       self.core.extents[self.state.index])

    def timestamp(self, int64_t n):
        """Labels of the newest `n` bars: read-only strided int64 view, nanoseconds UTC. O(1)."""
        return self.field_view(0, n)

    def open(self, int64_t n):
        """Opens of the newest `n` bars: read-only strided float64 view. O(1)."""
        return self.field_view(1, n)

    def high(self, int64_t n):
        """Highs of the newest `n` bars: read-only strided float64 view. O(1)."""
        return self.field_view(2, n)

    def low(self, int64_t n):
        """Lows of the newest `n` bars: read-only strided float64 view. O(1)."""
        return self.field_view(3, n)

    def close(self, int64_t n):
        """Closes of the newest `n` bars: read-only strided float64 view. O(1)."""
        return self.field_view(4, n)

    def volume(self, int64_t n):
        """Volumes of the newest `n` bars: read-only strided float64 view. O(1)."""
        return self.field_view(5, n)

    def __len__(self):
        return self.settled()

    @property
    def last(self):
        """The newest closed bar as a ``BarData`` copy, None while there is none. O(1)."""
        cdef int64_t n = self.settled()
        if not n:
            return None
        return make_bar(self.state.rows + n - 1, self.core.symbol, self.interval)

    @property
    def last_close(self):
        """Close of the newest closed bar, NaN while there is none. O(1)."""
        cdef int64_t n = self.settled()
        return self.state.rows[n - 1].close if n else NAN

    @property
    def open_bar(self):
        """The bar being built, from all base bars so far; None where none came, and for the base.

        Labelled by its bucket's start. O(levels): merged from the open buckets below on read.
        """
        cdef const SeriesState* d = self.state
        cdef Bar bar
        cdef int64_t start
        cdef int64_t end
        cdef bint found = False
        self.settled()
        while d.source != NULL:
            if d.acc_n_base:
                if found:
                    merge_bar(&bar, &d.acc)
                else:
                    bar = d.acc
                    found = True
            d = d.source
        if not found:
            return None
        bucket_of(self.state, bar.timestamp, &start, &end)
        bar.timestamp = start
        return make_bar(&bar, self.core.symbol, self.interval)

    def asof(self, ts):
        """The newest bar closed at or before an instant, or None: never one from the future.

        Parameters
        ----------
        ts : aware datetime or int nanoseconds UTC

        Returns
        -------
        BarData or None
            A copy. O(log bars).
        """
        cdef int64_t at = to_ns(ts)
        cdef int64_t pos
        cdef int64_t start
        cdef int64_t end
        self.settled()
        pos = lower_bound(self.state.rows, self.state.n, at)
        if pos:
            bucket_of(self.state, self.state.rows[pos - 1].timestamp, &start, &end)
            pos -= end > at
        if not pos:
            return None
        return make_bar(self.state.rows + pos - 1, self.core.symbol, self.interval)

    def count_before(self, int64_t ts_ns):
        """How many of the bars held have a label before an instant. O(log bars)."""
        return lower_bound(self.state.rows, self.settled(), ts_ns)

    cdef int64_t recent(self, str field, int64_t n, const double** first) except -1:
        cdef int64_t held = self.settled()
        n = newest(n, held)
        first[0] = <const double*>(self.state.rows + held - n) + place_of(field)
        return n

    def sum(self, str field, int64_t n):
        """Sum of a field over the newest `n` bars. O(n), no array made."""
        cdef const double* first
        n = self.recent(field, n, &first)
        return total(first, n)

    def mean(self, str field, int64_t n):
        """Mean of a field over the newest `n` bars; NaN when there are none. O(n)."""
        cdef const double* first
        n = self.recent(field, n, &first)
        return total(first, n) / n if n else NAN

    def min(self, str field, int64_t n):
        """Least value of a field over the newest `n` bars; NaN when there are none. O(n)."""
        cdef const double* first
        cdef double least
        cdef int64_t i
        n = self.recent(field, n, &first)
        if not n:
            return NAN
        least = first[0]
        for i in range(1, n):
            least = first[6 * i] if first[6 * i] < least else least
        return least

    def max(self, str field, int64_t n):
        """Greatest value of a field over the newest `n` bars; NaN when there are none. O(n)."""
        cdef const double* first
        cdef double most
        cdef int64_t i
        n = self.recent(field, n, &first)
        if not n:
            return NAN
        most = first[0]
        for i in range(1, n):
            most = first[6 * i] if first[6 * i] > most else most
        return most

    def std(self, str field, int64_t n):
        """Standard deviation (ddof 0) over the newest `n` bars; NaN when there are none. O(n)."""
        cdef const double* first
        cdef double mean
        cdef double squares = 0.0
        cdef int64_t i
        n = self.recent(field, n, &first)
        if not n:
            return NAN
        mean = total(first, n) / n
        for i in range(n):
            squares += (first[6 * i] - mean) * (first[6 * i] - mean)
        return sqrt(squares / n)

    @property
    def is_base(self):
        """Whether this is the interval that arrives."""
        return self.state == self.core.state.base

    @property
    def source(self):
        """Name of the interval it is folded from, None when it arrives."""
        return None if self.state.source == NULL else self.core.names[self.state.source.index]

    @property
    def has_written(self):
        """Whether it is folded, and yet may hold bars that were written directly."""
        return self.state.source != NULL and self.state.has_written != 0

    @property
    def updated(self):
        """Whether bars changed since somebody set it to False; the engine only sets it."""
        self.settled()
        return self.state.updated != 0

    @updated.setter
    def updated(self, bint value):
        self.state.updated = value

    @property
    def revision(self):
        """How many writes were not appends: late and corrected bars, and what they touched."""
        self.settled()
        return self.state.revision

    def n_unchanged(self, int64_t revision, int64_t newest_ns):
        """How many of the oldest bars held are as they were at an earlier revision. O(log bars).

        Parameters
        ----------
        revision : int
            What ``revision`` was then.
        newest_ns : int
            Label of the newest bar of then, nanoseconds UTC.

        Returns
        -------
        int
            Bars behind these may be as they were, too. Changes that are more than 16 back
            count as if all were made to the earliest bar that any of them touched.
        """
        cdef int64_t n = self.settled()
        cdef const SeriesState* d = self.state
        cdef int64_t first_ns = newest_ns + 1
        if d.revision - revision > N_CHANGES_KEPT:
            first_ns = min(first_ns, d.changed_before)
            revision = d.revision - N_CHANGES_KEPT
        while revision < d.revision:
            first_ns = min(first_ns, d.changed[revision % N_CHANGES_KEPT])
            revision += 1
        return lower_bound(d.rows, n, first_ns)

    def news(self, tuple seen, bint follows_clock):
        """What changed since an earlier look, None when nothing did. O(1).

        Parameters
        ----------
        seen : tuple or None
            The mark that the earlier look gave, None when there was none.
        follows_clock : bool
            Whether it counts as a change that a slot has ended.

        Returns
        -------
        mark : tuple of int
            Of this instant: the revision, bars let go of, bars held, and slots that have ended
            (0 unless `follows_clock`).
        bar : BarData or None
            The newest bar, when it alone came and no other changed.
        """
        cdef const SeriesState* d = self.state
        cdef int64_t n = self.settled()
        cdef int64_t n_ended = self.ended() if follows_clock else 0
        cdef int64_t revision
        cdef int64_t n_evicted
        cdef int64_t n_held
        cdef int64_t n_then
        bar = None
        if seen is not None:
            revision, n_evicted, n_held, n_then = seen
            if revision == d.revision and n_evicted == d.n_evicted and n_held == n:
                if n_then == n_ended:
                    return None
            elif (revision == d.revision and n_evicted + n_held + 1 == d.n_evicted + n
                  and d.n_evicted <= n_evicted + n_held):
                bar = make_bar(d.rows + n - 1, self.core.symbol, self.interval)
        return (d.revision, d.n_evicted, n, n_ended), bar

    @property
    def n_evicted(self):
        """Bars that a ring smaller than the day has let go of."""
        return self.state.n_evicted

    cdef int64_t elapsed(self) except? -1:
        cdef const SeriesState* d = self.state
        cdef const SymbolState* s = self.symbol
        cdef int64_t elapsed_ns
        cdef int64_t start
        cdef int64_t end
        self.settled()
        elapsed_ns = s.now_ns[0]
        if d == s.base or d.source != NULL:
            elapsed_ns = max(elapsed_ns, s.last_end_ns)
            if not d.has_written:
                return elapsed_ns
        if d.n:
            bucket_of(d, d.rows[d.n - 1].timestamp, &start, &end)
            elapsed_ns = max(elapsed_ns, end)
        return elapsed_ns

    cdef int64_t ended(self) except -1:
        return slots_ended(self.state, self.elapsed()) if self.state.segments != NULL else 0

    @property
    def n_expected(self):
        """Slots that have ended: at or before the clock, or the end of the newest bar. O(1)."""
        return self.ended()

    @property
    def n_missing(self):
        """Expected slots that hold no bar. O(1)."""
        cdef int64_t n_ended = self.ended()
        return n_ended - self.state.n - self.state.n_evicted if n_ended else 0

    @property
    def n_gaps(self):
        """Runs of missing slots. O(1)."""
        return self.count_gaps()

    cdef int64_t count_gaps(self) except -1:
        cdef const SeriesState* d = self.state
        cdef int64_t elapsed_ns
        cdef int64_t start
        cdef int64_t end
        if d.segments == NULL:
            return 0
        elapsed_ns = self.elapsed()
        if not d.n:
            return d.n_gaps + (slots_ended(d, elapsed_ns) > 0)
        bucket_of(d, d.rows[d.n - 1].timestamp, &start, &end)
        if elapsed_ns == end:
            return d.n_gaps
        return d.n_gaps + (slots_ended(d, elapsed_ns) > slots_ended(d, end))

    @property
    def coverage(self):
        """Slots that hold a bar, of those expected: 0 to 1, None while none is expected. O(1)."""
        cdef int64_t n_ended = self.ended()
        return (self.state.n + self.state.n_evicted) / <double>n_ended if n_ended else None

    @property
    def quality(self):
        """100 x present / expected; None while nothing is expected. O(1)."""
        cdef int64_t n_ended = self.ended()
        return 100.0 * (self.state.n + self.state.n_evicted) / n_ended if n_ended else None

    def gap_runs(self):
        """The runs of missing slots: int64, shape (n_gaps, 2), first slot and how many. A copy.

        O(gaps); and where some came since the last look, or bars changed, O(bars since, or all).
        """
        cdef const SeriesState* d = self.state
        cdef GapScan found = self.scan
        cdef cnp.npy_intp shape[2]
        cdef cnp.ndarray runs
        cdef int64_t* into
        cdef int64_t n_reached
        cdef int64_t n_ended
        cdef int64_t slot
        cdef int64_t i
        if d.segments == NULL:
            return np.empty((0, 2), dtype=np.int64)
        n_ended = self.ended()
        if found is None:
            found = self.scan = GapScan()
        found.find(d)
        n_reached = d.n + found.n_lost
        shape[0] = d.n_evicted_gaps + found.n + (n_ended > n_reached)
        shape[1] = 2
        runs = cnp.PyArray_EMPTY(2, shape, cnp.NPY_INT64, 0)
        into = <int64_t*>cnp.PyArray_DATA(runs)
        for i in range(d.n_evicted_gaps):
            slot = slot_of(d, d.evicted_gaps[2 * i])
            into[0] = slot
            into[1] = slot_of(d, d.evicted_gaps[2 * i + 1]) - slot
            into += 2
        for i in range(2 * found.n):
            into[i] = found.runs[i]
        if n_ended > n_reached:
            into[2 * found.n] = n_reached
            into[2 * found.n + 1] = n_ended - n_reached
        return runs

    def n_base_full(self):
        """How many base bars each bar held could have: int32 copy, as long as ``data``."""
        cdef const SeriesState* d = self.state
        cdef int64_t n = self.settled()
        cdef cnp.ndarray counts = np.ones(n, dtype=np.int32)
        cdef int32_t* into = <int32_t*>cnp.PyArray_DATA(counts)
        cdef int64_t start
        cdef int64_t end
        cdef int64_t i
        if d.source != NULL:
            for i in range(n):
                bucket_of(d, d.rows[i].timestamp, &start, &end)
                into[i] = <int32_t>(slots_ended(self.core.state.base, end)
                                    - slots_ended(self.core.state.base, start))
        return counts


def glance(Series base):
    """What a display shows of a record, read at once. O(series).

    Parameters
    ----------
    base : Series
        Of the record's base interval.

    Returns
    -------
    close, high, low : float or None
        Of the newest closed base bar, and of the session; None while there is no bar.
    volume : float
    n_expected, n_gaps : int
        Of the base.
    n_bars : int
        Base bars, those a ring has let go of included.
    counts : dict of str to int
        Closed bars held by interval.
    """
    cdef int64_t n = base.settled()
    cdef const SymbolState* s = base.core.state
    cdef bint has_bars = n + base.state.n_evicted > 0
    cdef int i
    if s.metrics_stale:
        base.core.rescan_metrics()
    counts = {base.core.names[i]: s.series[i].n for i in range(s.n_series)}
    return (
        base.state.rows[n - 1].close if n else None,
        s.high if has_bars else None,
        s.low if has_bars else None,
        s.volume,
        base.ended(),
        base.count_gaps(),
        n + base.state.n_evicted,
        counts,
    )


cdef inline int64_t newest(int64_t n, int64_t held) except -1:
    # How many rows the newest `n` are.
    if n < 0:
        raise ArgumentError("n", n, "a count of bars, at least 0")
    return n if n < held else held


cdef inline double total(const double* first, int64_t n) noexcept nogil:
    # Four sums side by side: one alone would wait for each addition.
    cdef double a = 0.0
    cdef double b = 0.0
    cdef double c = 0.0
    cdef double d = 0.0
    cdef int64_t i = 0
    while i + 4 <= n:
        a += first[6 * i]
        b += first[6 * i + 6]
        c += first[6 * i + 12]
        d += first[6 * i + 18]
        i += 4
    while i < n:
        a += first[6 * i]
        i += 1
    return (a + b) + (c + d)
