"""Which bars have closed since the last look, and telling those who asked.

Of one call: first corrections of bars told before, then the bars that closed, by their
ends, shorter intervals first, then symbols in their order. Indicators that must see every
bar come before subscribers.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint64_t

from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.ref cimport PyObject

from openbell._native.arena cimport Py_REFCNT
from openbell._native.engine cimport SymbolEngine
from openbell._native.rings cimport SessionCore
from openbell._native.series cimport Series, slots_ended
from openbell._native.state cimport (
    N_CHANGES_KEPT, OB_PREFETCH, Bar, SeriesState, bucket_of, end_of, lower_bound,
)
from openbell._native.values cimport BarData, make_bar, refill_bar
from openbell._native.watched cimport Closing, Told, Watched, n_disturbed

from openbell._native.watched import interval_of, symbol_of

from openbell.errors import SessionStateError

cdef enum:
    SLICES_READ = 32      # so many are caught up with before they are told, when one was read

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define OB_LOWEST_BIT(bits) __builtin_ctzll(bits)
    #else
    static inline int OB_LOWEST_BIT(unsigned long long bits) {
        int at = 0;
        while (!(bits & 1)) { bits >>= 1; at++; }
        return at;
    }
    #endif
    """
    int OB_LOWEST_BIT(uint64_t bits) noexcept nogil


cdef class Closings:
    """What the records of a root tell when their bars close.

    Parameters
    ----------
    root : SessionCore
        A root whose day has begun.
    skip_incomplete : bool
        Whether derived bars that lack base bars go untold.

    Attributes
    ----------
    by_data : bool
        Whether a bar counts as told as soon as it is there, also ahead of the clock.
    on_error : callable or None
        ``on_error(record, interval, callback, exception)`` when a callback raises; the
        exception propagates while it is None.
    """

    def __cinit__(self, SessionCore root, bint skip_incomplete=False):
        if root.window is None:
            raise SessionStateError("closings", "not begun", "call root.begin(window) first")
        self.root = root
        self.skip_incomplete = skip_incomplete
        self.closings = []
        self.engines = {}
        self.loose = []
        self.n_stirred = root.n_stirred
        self.n_meddled = root.n_meddled
        self.ahead_ns = INT64_MIN
        self.places = {}

    @property
    def next_end_ns(self):
        """Where the next watched slot ends, nanoseconds UTC; None when there is none."""
        cdef int64_t earliest = self.next_ns()
        return None if earliest == INT64_MAX else earliest

    @property
    def is_watching(self):
        """Whether there is anybody to tell."""
        return bool(self.closings)

    def on_close(self, str interval, callback, bint corrections=False):
        """Call ``callback(record, bar)`` for each bar of an interval when it closes.

        Parameters
        ----------
        interval : str
        callback : callable
        corrections : bool
            Whether it is also called when bars told before have changed: with the earliest of
            them, whose ``is_correction`` is then set.
        """
        cdef Closing closing = self.watch(interval)
        closing.callbacks += ((callback, corrections),)

    cpdef Closing watch(self, str interval):
        """Look at the bars of an interval from now on."""
        cdef Closing closing
        grid = self.root.window.grid(interval)
        for closing in self.closings:
            if closing.interval == grid.interval:
                return closing
        closing = Closing.__new__(Closing)
        closing.interval = grid.interval
        closing.callbacks = ()
        closing.ends = grid.ends_ns
        closing.at = grid.expected(self.root.clock_ns)
        closing.watched = []
        for engine, is_fed in self.engines.items():
            self.watch_record(closing, engine, is_fed)
        closing.watched.sort(key=symbol_of)
        self.by_engine = None
        self.closings.append(closing)
        self.closings.sort(key=interval_of)
        return closing

    def add(self, SymbolEngine engine, bint is_fed):
        """Take in a record, or take it in anew; the bars it has by now go untold.

        Parameters
        ----------
        engine : SymbolEngine
        is_fed : bool
            Whether its bars come by the replay. Others are looked at in every slice.
        """
        cdef Closing closing
        cdef Watched watched
        self.engines[engine] = is_fed
        self.by_engine = None
        for closing in self.closings:
            closing.is_ranked = self.reads_slices = False
            closing.watched = [w for w in closing.watched if (<Watched>w).engine is not engine]
            self.watch_record(closing, engine, is_fed)
            closing.watched.sort(key=symbol_of)

    def sync(self, records, fed):
        """Follow the root: forget records that left it, take in the others, and what is theirs.

        All bars of a record that is seen for the first time are told. Of a series that one known
        before has got, those that were folded of what it had are not.

        Parameters
        ----------
        records : iterable of SymbolSessionData
        fed : set of SymbolSessionData
            Those whose bars come by the replay.
        """
        cdef Closing closing
        cdef Watched watched
        cdef dict held
        cdef dict known = self.engines
        records = list(records)
        for rec in records:
            for indicator in rec.indicators.values():
                if indicator.is_eager:
                    self.watch(indicator.interval)
        self.engines = {rec: rec in fed for rec in records}
        self.by_engine = None
        self.loose = []
        for closing in self.closings:
            held = {watched.engine: watched for watched in closing.watched}
            closing.is_ranked = self.reads_slices = False
            closing.watched = []
            for rec, is_fed in self.engines.items():
                self.watch_record(closing, rec, is_fed, held.get(rec),
                                  SUBSCRIPTION if rec in known else OPEN)
            closing.watched.sort(key=symbol_of)

    cdef int watch_record(self, Closing closing, SymbolEngine engine, bint is_fed,
                          Watched watched=None, TellFrom begin=CLOCK) except -1:
        cdef str name = closing.interval.name
        cdef SeriesState* d
        cdef int64_t row
        cdef int64_t start
        cdef int64_t end
        if name not in engine.core.names:
            return 0
        if watched is None:
            watched = Watched.__new__(Watched)
            watched.engine = engine
            watched.symbol = engine.core.symbol
            watched.closing = closing
            watched.n_seen = -1
            watched.series = Series(engine.core, name)
            watched.told_ns = INT64_MIN
            d = watched.series.state
            row = watched.series.settled()
            if begin == OPEN or begin == SUBSCRIPTION and d.source == NULL:
                row = 0
            while row:
                row -= 1
                bucket_of(d, d.rows[row].timestamp, &start, &end)
                # Bars written directly came later than those that are folded.
                if ((end <= self.root.clock_ns or self.by_data)
                        and (begin == CLOCK or d.n_base[row])):
                    watched.told_ns = d.rows[row].timestamp
                    break
            watched.revision = d.revision
        indicators = getattr(engine, "indicators", None) or {}
        watched.eager = tuple(
            [i for i in indicators.values() if i.is_eager and i.interval == name])
        closing.watched.append(watched)
        if not is_fed:
            self.loose.append(watched)
        return 0

    cdef int64_t next_ns(self, bint is_replay=False) except? -1:
        """Where the next watched slot ends; of a replay, one that may close without a slice."""
        cdef int64_t earliest = INT64_MAX
        cdef int64_t end_ns
        cdef Closing closing
        if is_replay and self.n_meddled != self.root.n_meddled:
            self.find_ahead()
        for closing in self.closings:
            end_ns = closing.end_ns()
            if not (is_replay and closing.is_ranked and closing.is_direct
                    and end_ns > self.ahead_ns):
                earliest = min(earliest, end_ns)
        return earliest

    cdef int find_ahead(self) except -1:
        # Bars that others have added lie ahead of the clock, perhaps, and in no slice.
        cdef SymbolEngine engine
        self.n_meddled = self.root.n_meddled
        self.ahead_ns = INT64_MIN
        for engine in self.engines:
            self.ahead_ns = max(self.ahead_ns, engine.state.last_end_ns)
        return 0

    cdef bint is_due(self) noexcept:
        # Something may have closed, or changed, although no watched slot has just ended.
        return self.n_stirred != self.root.n_stirred or len(self.loose) > 0

    cpdef int tell(self, int64_t now_ns, bint everything=False) except -1:
        """Tell of the bars that ended by an instant and are not told yet.

        Parameters
        ----------
        now_ns : int
            Bars that end later are left for later.
        everything : bool
            Look at every watched series, not only at those of slots that ended just now.
        """
        cdef bint is_stirred = self.n_stirred != self.root.n_stirred
        cdef Closing closing
        cdef Watched watched
        cdef Told told = Told.__new__(Told)
        cdef Py_ssize_t n_closed
        self.n_stirred = self.root.n_stirred
        if is_stirred:
            # Before anything else is told: what has not been told yet cannot be corrected.
            for closing in self.closings:
                for watched in closing.watched:
                    watched.series.settled()
                    if watched.revision != watched.series.state.revision:
                        self.collect_correction(watched, told)
        told.n_corrected = len(told.bars)
        for closing in self.closings:
            if closing.end_ns() <= now_ns:
                for watched in closing.watched:
                    self.collect(watched, now_ns, told)
                while closing.end_ns() <= now_ns:
                    closing.at += 1
            elif is_stirred or everything:
                for watched in closing.watched:
                    self.collect(watched, now_ns, told)
        if not is_stirred and not everything:
            n_closed = len(told.bars)
            for watched in self.loose:
                self.collect(watched, now_ns, told)
            told.is_in_order &= len(told.bars) == n_closed
        return self.dispatch(told)

    cdef int tell_slice(self, int64_t now_ns, const int32_t* places, int64_t n) except -1:
        """Tell of the bars that ended by an instant; base bars have come at these places only."""
        cdef Closing closing
        cdef Watched watched
        cdef Told told
        cdef uint64_t bits
        cdef int64_t i
        if self.is_due() or self.ahead_ns >= now_ns:
            return self.tell(now_ns)
        closing = self.only_due(now_ns)
        if closing is not None:
            return self.tell_each(closing, now_ns, places, n)
        told = None
        for closing in self.closings:
            if closing.end_ns() > now_ns:
                continue
            if told is None:
                told = Told.__new__(Told)
            if not closing.is_ranked:
                closing.rank(self.places)
            if closing.is_direct:
                self.reads_slices = True
                # In their order, and without a look at the others.
                closing.mark(places, n)
                for i in range(closing.n_words):
                    bits = closing.bits[i]
                    closing.bits[i] = 0
                    while bits:
                        self.collect(
                            <Watched>PyList_GET_ITEM(
                                closing.watched, 64 * i + OB_LOWEST_BIT(bits)),
                            now_ns, told)
                        bits &= bits - 1
            else:
                for watched in closing.watched:
                    self.collect(watched, now_ns, told)
            while closing.end_ns() <= now_ns:
                closing.at += 1
        return 0 if told is None else self.dispatch(told)

    cdef Closing only_due(self, int64_t now_ns):
        # The one interval whose slots have ended, if its bars may be told as they are found.
        cdef Closing closing
        cdef Closing due = None
        for closing in self.closings:
            if closing.end_ns() <= now_ns:
                if due is not None or not closing.is_ranked or not closing.is_direct:
                    return None
                due = closing
        return None if due is None or due.is_eager or len(due.callbacks) != 1 else due

    cdef int tell_each(self, Closing closing, int64_t now_ns, const int32_t* places,
                       int64_t n) except -1:
        # No list, no order to make: each bar of the slice is told where it lies, and its record
        # follows when somebody reads it.
        cdef list all_watched = closing.watched
        cdef Watched watched
        cdef Watched last = None
        cdef const Bar* row
        cdef BarData bar = None
        cdef Told told
        cdef uint64_t bits
        cdef int64_t word
        callback = (<tuple>closing.callbacks[0])[0]
        interval = closing.interval.name
        while closing.end_ns() <= now_ns:
            closing.at += 1
        closing.mark(places, n)
        word = 0
        while word < closing.n_words:
            try:
                while word < closing.n_words:
                    bits = closing.bits[word]
                    if bits == 0:
                        word += 1
                        continue
                    closing.bits[word] = bits & (bits - 1)
                    watched = <Watched>PyList_GET_ITEM(
                        all_watched, 64 * word + OB_LOWEST_BIT(bits))
                    row = watched.head
                    if (watched.n_seen != n_disturbed(self.root)
                            or row.timestamp + closing.step_ns != now_ns):
                        row = watched.find_head()
                        if row == NULL or row.timestamp + closing.step_ns != now_ns:
                            told = Told.__new__(Told)
                            self.collect(watched, now_ns, told)
                            self.dispatch(told)
                            continue
                    else:
                        last = watched
                    watched.told_ns = row.timestamp
                    watched.head = row + 1
                    OB_PREFETCH(row + 1)
                    OB_PREFETCH(&(row + 1).volume)
                    if bar is None:
                        bar = make_bar(row, watched.symbol, interval)
                    else:
                        refill_bar(bar, row, watched.symbol)
                    callback(watched.engine, bar)
                    if Py_REFCNT(<PyObject*>bar) > 1:
                        # Somebody keeps it.
                        bar = None
            except Exception as error:
                bar = None
                if self.on_error is None:
                    raise
                self.on_error(watched.engine, interval, callback, error)
        if not self.reads_slices:
            # Whoever was told looked at its record, which followed then: the next ones will be.
            self.reads_slices = (
                last is not None and last.engine.state.settled_ns >= now_ns)
            self.n_read = 0
        else:
            # Now and then one has to see whether they still are.
            self.n_read += 1
            self.reads_slices = self.n_read < SLICES_READ
        return 0

    cpdef int tell_of(self, records) except -1:
        """Tell of the bars of some records that are not told yet, also ahead of the clock.

        For bars that come one by one: costs as much as these records have watched series.

        Parameters
        ----------
        records : collection of SymbolSessionData
            Those whose bars changed. What was not taken in yet is left out.
        """
        cdef Closing closing
        cdef Watched watched
        cdef Told corrected = Told.__new__(Told)
        cdef Told told = Told.__new__(Told)
        if self.by_engine is None:
            self.by_engine = {}
            for closing in self.closings:
                for watched in closing.watched:
                    self.by_engine.setdefault(watched.engine, []).append(watched)
        for record in records:
            for watched in self.by_engine.get(record, ()):
                watched.series.settled()
                if watched.revision != watched.series.state.revision:
                    self.collect_correction(watched, corrected)
                self.collect(watched, INT64_MAX - 1, told)
        if corrected.bars:
            told.n_corrected = len(corrected.bars)
            told.bars[:0] = corrected.bars
            told.watched[:0] = corrected.watched
        return self.dispatch(told)

    cdef int collect(self, Watched watched, int64_t now_ns, Told told) except -1:
        cdef Series series = watched.series
        cdef SeriesState* d = series.state
        cdef int64_t n = series.settled()
        cdef int64_t row
        cdef int64_t start
        cdef int64_t end
        if not n or d.rows[n - 1].timestamp <= watched.told_ns or not series.core.attached:
            return 0
        row = n - 1
        if row and d.rows[row - 1].timestamp > watched.told_ns:
            row = 0
            if watched.told_ns != INT64_MIN:
                row = lower_bound(d.rows, n, watched.told_ns + 1)
        while row < n:
            end = end_of(d, d.rows[row].timestamp)
            if end > now_ns:
                break
            watched.told_ns = d.rows[row].timestamp
            told.is_in_order &= end == now_ns
            if self.shows(series, row):
                told.watched.append(watched)
                told.bars.append(make_bar(d.rows + row, series.core.symbol, series.interval))
            row += 1
        # Whatever changed until here is told with them.
        watched.revision = d.revision
        return 0

    cdef bint shows(self, Series series, int64_t row):
        cdef const SeriesState* d = series.state
        cdef int64_t start
        cdef int64_t end
        if not self.skip_incomplete or d.source == NULL:
            return True
        bucket_of(d, d.rows[row].timestamp, &start, &end)
        return d.n_base[row] >= (slots_ended(series.core.state.base, end)
                                 - slots_ended(series.core.state.base, start))

    cdef int collect_correction(self, Watched watched, Told told) except -1:
        cdef SeriesState* d = watched.series.state
        cdef int64_t first = d.n
        cdef int64_t change = watched.revision
        cdef int64_t row
        cdef BarData bar
        if d.revision - change > N_CHANGES_KEPT:
            first = lower_bound(d.rows, d.n, d.changed_before)
            while first < d.n and not self.shows(watched.series, first):
                first += 1
            change = d.revision - N_CHANGES_KEPT
        while change < d.revision:
            row = lower_bound(d.rows, d.n, d.changed[change % N_CHANGES_KEPT])
            if row < first and self.shows(watched.series, row):
                first = row
            change += 1
        watched.revision = d.revision
        if first == d.n or d.rows[first].timestamp > watched.told_ns:
            return 0
        bar = make_bar(d.rows + first, watched.series.core.symbol, watched.series.interval)
        bar.is_correction = True
        told.watched.append(watched)
        told.bars.append(bar)
        return 0

    cdef int dispatch(self, Told told) except -1:
        cdef Py_ssize_t n = PyList_GET_SIZE(told.bars)
        cdef Py_ssize_t i = 0
        cdef Py_ssize_t k = 0          # the next callback of the bar at i
        cdef Watched watched
        cdef BarData bar
        cdef tuple callbacks
        if n == 0:
            return 0
        if not told.is_in_order:
            told.sort()
        for i in range(n):
            watched = <Watched>PyList_GET_ITEM(told.watched, i)
            for indicator in watched.eager:
                indicator.settle()
        i = 0
        while i < n:
            # Entered again behind a callback that raised: going into a `try` costs as much as
            # a tenth of calling one.
            try:
                while i < n:
                    watched = <Watched>PyList_GET_ITEM(told.watched, i)
                    bar = <BarData>PyList_GET_ITEM(told.bars, i)
                    if k == 0:
                        callbacks = watched.closing.callbacks
                    # One told before may have removed it.
                    while k < len(callbacks) and watched.engine.core.attached:
                        callback, wants_corrections = <tuple>callbacks[k]
                        k += 1
                        if not bar.is_correction or wants_corrections:
                            callback(watched.engine, bar)
                    k = 0
                    i += 1
            except Exception as error:
                if self.on_error is None:
                    raise
                self.on_error(watched.engine, watched.series.interval, callback, error)
        return 0
