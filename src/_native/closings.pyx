"""Which bars have closed since the last look, and telling those who asked.

Of one call: first corrections of bars told before, then the bars that closed, by their
ends, shorter intervals first, then symbols in their order. Indicators that must see every
bar come before subscribers.
"""

from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t

cimport numpy as cnp

from openbell._native.engine cimport SymbolEngine
from openbell._native.rings cimport SessionCore
from openbell._native.series cimport Series, slots_ended
from openbell._native.state cimport N_CHANGES_KEPT, SeriesState, bucket_of, lower_bound
from openbell._native.values cimport BarData, make_bar

from openbell.errors import SessionStateError

cnp.import_array()


cdef class Watched:
    """One series of one record, and how far it has been told."""

    @property
    def symbol(self):
        return self.engine.symbol


cdef class Closing:
    """One interval that somebody watches: its slots, and each record's series."""

    cdef int64_t end_ns(self):
        if self.at >= cnp.PyArray_DIM(self.ends, 0):
            return INT64_MAX
        return (<int64_t*>cnp.PyArray_DATA(self.ends))[self.at]


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
            self.loose.append((closing, watched))
        return 0

    cdef int64_t next_ns(self) except? -1:
        """Where the next watched slot ends."""
        cdef int64_t earliest = INT64_MAX
        cdef Closing closing
        for closing in self.closings:
            earliest = min(earliest, closing.end_ns())
        return earliest

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
        cdef list corrected = []
        cdef list closed = []
        cdef Py_ssize_t n_closed
        self.n_stirred = self.root.n_stirred
        self.is_in_order = True
        if is_stirred:
            # Before anything else is told: what has not been told yet cannot be corrected.
            for closing in self.closings:
                for watched in closing.watched:
                    watched.series.settled()
                    if watched.revision != watched.series.state.revision:
                        self.collect_correction(closing, watched, corrected)
        for closing in self.closings:
            if closing.end_ns() <= now_ns:
                for watched in closing.watched:
                    self.collect(closing, watched, now_ns, closed)
                while closing.end_ns() <= now_ns:
                    closing.at += 1
            elif is_stirred or everything:
                for watched in closing.watched:
                    self.collect(closing, watched, now_ns, closed)
        if not is_stirred and not everything:
            n_closed = len(closed)
            for closing, watched in self.loose:
                self.collect(closing, watched, now_ns, closed)
            self.is_in_order &= len(closed) == n_closed
        if not self.is_in_order:
            closed.sort(key=place_of)
        if corrected or closed:
            self.dispatch(corrected + closed)
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
        cdef list corrected = []
        cdef list closed = []
        if self.by_engine is None:
            self.by_engine = {}
            for closing in self.closings:
                for watched in closing.watched:
                    self.by_engine.setdefault(watched.engine, []).append((closing, watched))
        self.is_in_order = True
        for record in records:
            for closing, watched in self.by_engine.get(record, ()):
                watched.series.settled()
                if watched.revision != watched.series.state.revision:
                    self.collect_correction(closing, watched, corrected)
                self.collect(closing, watched, INT64_MAX - 1, closed)
        if not self.is_in_order:
            closed.sort(key=place_of)
        if corrected or closed:
            self.dispatch(corrected + closed)
        return 0

    cdef int collect(self, Closing closing, Watched watched, int64_t now_ns, list into) except -1:
        cdef Series series = watched.series
        cdef SeriesState* d = series.state
        cdef int64_t n = series.settled()
        cdef int64_t row
        cdef int64_t start
        cdef int64_t end
        if not n or d.rows[n - 1].timestamp <= watched.told_ns or not series.core.attached:
            return 0
        row = 0
        if watched.told_ns != INT64_MIN:
            row = lower_bound(d.rows, n, watched.told_ns + 1)
        while row < n:
            bucket_of(d, d.rows[row].timestamp, &start, &end)
            if end > now_ns:
                break
            watched.told_ns = d.rows[row].timestamp
            self.is_in_order &= end == now_ns
            if self.shows(series, row):
                into.append((
                    end, closing, watched,
                    make_bar(d.rows + row, series.core.symbol, series.interval)))
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

    cdef int collect_correction(self, Closing closing, Watched watched, list into) except -1:
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
        into.append((0, closing, watched, bar))
        return 0

    cdef int dispatch(self, list told) except -1:
        cdef Closing closing
        cdef Watched watched
        cdef BarData bar
        for _, closing, watched, bar in told:
            for indicator in watched.eager:
                indicator.settle()
        for _, closing, watched, bar in told:
            for callback, wants_corrections in closing.callbacks:
                if bar.is_correction and not wants_corrections:
                    continue
                # One told before may have removed it.
                if not watched.engine.core.attached:
                    break
                if self.on_error is None:
                    callback(watched.engine, bar)
                    continue
                try:
                    callback(watched.engine, bar)
                except Exception as error:
                    self.on_error(watched.engine, watched.series.interval, callback, error)
        return 0


def interval_of(Closing closing):
    return closing.interval


def symbol_of(Watched watched):
    return watched.engine.core.symbol


def place_of(tuple told):
    cdef Closing closing = told[1]
    cdef Watched watched = told[2]
    return told[0], closing.interval, watched.engine.core.symbol
