"""One symbol's engine: the fold of base bars into every derived interval.

Owns the order of things: what is stored, what is folded, what is counted. The quick path
of an append is inline in ``core.pxd`` and ``engine.pyx``; here is everything else.
"""

from libc.math cimport isfinite
from libc.stdint cimport INT64_MIN, int32_t, int64_t
from libc.string cimport memset

from openbell._native.rings cimport Rings, most_rows
from openbell._native.state cimport (
    SEGMENT_COLUMNS, Bar, SeriesState, SymbolState, bucket_of, find_segment, is_sound,
    lower_bound, merge_bar, same_values, slot_after,
)

from openbell.errors import SessionStateError


cdef class Core(Rings):
    """The native record of one symbol, held by its ``SymbolEngine`` and by each series."""

    def link(self, str base, dict sources):
        """Make `base` the series that arrives, and fold the others along `sources`.

        Parameters
        ----------
        base : str
        sources : dict of str to (str or None)
            What each further series folds from, sources first; None for one that is only
            written directly.

        Notes
        -----
        Bars that are held stay: where the base has bars, derived ones are folded anew;
        elsewhere a derived series keeps its rows with ``n_base`` 0. O(bars).
        """
        cdef SymbolState* s = self.state
        cdef SeriesState* d
        cdef SeriesState** link
        cdef dict grids = {}
        cdef int i
        if self.root is not None:
            self.require_live("set_intervals")
            window = self.root.window
            grids = {name: window.grid(name) for name in (base, *sources)}
        for i in range(s.n_series):
            if s.series[i].n_evicted:
                raise SessionStateError(
                    f"{self.symbol}.set_intervals", "past letting go of bars",
                    "what was evicted cannot be folded anew; give the record a larger capacity",
                )
        if s.base != NULL and s.base.n_waiting and self.names[0] != base:
            raise SessionStateError(
                f"{self.symbol}.set_intervals", f"replaying {self.names[0]} bars",
                f"a record that is replayed keeps its base; add {self.names[0]} bars to it",
            )
        # Nothing below lets other threads run, so that nobody sees a record half linked.
        for name in (base, *sources):
            if name not in self.names:
                self.make_series(name, grids.get(name))
        self.n_links += 1
        self.put_in_order([base, *sources])
        s.base = self.find(base)
        for i in range(s.n_series):
            s.series[i].first_consumer = NULL
            s.series[i].next_sibling = NULL
            s.series[i].source = NULL
        for name, source in sources.items():
            if source is not None:
                d = self.find(name)
                d.source = self.find(source)
                link = &d.source.first_consumer
                while link[0] != NULL:
                    link = &link[0].next_sibling
                link[0] = d
        if self.root is not None:
            self.rebuild()
            self.root.n_changes += 1

    def drop_waiting(self):
        """Forget the bars that wait behind the visible head."""
        self.state.base.n_waiting = 0
        self.arm()

    def rebuild(self):
        cdef SymbolState* s = self.state
        cdef SeriesState* base = s.base
        cdef SeriesState* d
        cdef int64_t start
        cdef bint was_other = False
        cdef int i
        s.step_ns = base.step_ns
        s.last_end_ns = s.settled_ns = s.floor_ns = INT64_MIN
        base.n_base = NULL
        if base.n:
            bucket_of(base, base.rows[base.n - 1].timestamp, &start, &s.last_end_ns)
        for i in range(s.n_series):
            d = s.series[i]
            if d.source != NULL and d.n_base == NULL and d.rows != NULL:
                # It was the base, or written directly: what it and the others hold is kept
                # where no base bar says otherwise.
                self.take_memory(d, d.room, False)
                was_other = True
        for i in range(s.n_series):
            d = s.series[i]
            if d.source == NULL:
                d.acc_n_base = 0
                d.open_end_ns = INT64_MIN
            elif was_other and d.n:
                memset(d.n_base, 0, d.n * sizeof(int32_t))
                d.has_written = True
        s.metrics_stale = 1
        self.refold_from(INT64_MIN)
        self.settle()
        self.arm()

    def detach(self):
        """Let go of the day: no more bars are taken; what is held stays readable."""
        if self.attached:
            self.settle()
            self.state.base.n_waiting = 0
            self.own_clock_ns = self.state.now_ns[0]
            self.state.now_ns = &self.own_clock_ns
            self.state.next_ts = INT64_MIN
            self.attached = False

    cdef int64_t elapsed(self) noexcept:
        return max(self.state.last_end_ns, self.state.settled_ns)

    cdef int settle(self) except -1:
        """Close what the session's clock has ended since the last look."""
        cdef SymbolState* s = self.state
        cdef int64_t now = s.now_ns[0]
        cdef const int64_t* row
        cdef int64_t start
        cdef int64_t end
        cdef SeriesState* d
        if now <= s.settled_ns or not self.attached:
            return 0
        self.close_due(now)
        s.settled_ns = now
        # Longer buckets end where those of the first level do, so these alone set the floor.
        d = s.base.first_consumer
        while d != NULL:
            row = d.segments + SEGMENT_COLUMNS * find_segment(d, now)
            if now >= row[1]:
                s.floor_ns = max(s.floor_ns, row[1])
            elif now > row[0]:
                bucket_of(d, now, &start, &end)
                s.floor_ns = max(s.floor_ns, start)
            d = d.next_sibling
        if s.next_ts < s.floor_ns:
            s.next_ts = INT64_MIN
        return 0

    cdef int close_due(self, int64_t elapsed_ns) except -1:
        cdef SymbolState* s = self.state
        cdef SeriesState* d
        cdef int i
        for i in range(s.n_series):
            d = s.series[i]
            if d.acc_n_base and d.open_end_ns <= elapsed_ns:
                close_bucket(s, d)
        return 0

    cdef void arm(self) noexcept:
        """Say which label, if any, may take the quick path next: a whole slot right behind."""
        cdef SymbolState* s = self.state
        cdef SeriesState* base = s.base
        s.next_ts = INT64_MIN
        if s.last_end_ns == INT64_MIN:
            return
        base.segment = find_segment(base, s.last_end_ns - 1)
        s.last_quick_ns = base.segments[SEGMENT_COLUMNS * base.segment + 1] - base.step_ns
        if (self.attached and not s.is_fed and base.n < base.room
                and s.floor_ns <= s.last_end_ns <= s.last_quick_ns):
            s.next_ts = s.last_end_ns

    cdef int check(self, const SeriesState* d, const Bar* bar) noexcept:
        cdef const int64_t* row
        if not is_sound(bar.open, bar.high, bar.low, bar.close, bar.volume):
            if not (isfinite(bar.open) and isfinite(bar.high) and isfinite(bar.low)
                    and isfinite(bar.close) and isfinite(bar.volume)):
                return NOT_FINITE
            if bar.high < bar.low:
                return HIGH_BELOW_LOW
            if not (bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high):
                return OUTSIDE_RANGE
            return NEGATIVE_VOLUME
        row = d.segments + SEGMENT_COLUMNS * find_segment(d, bar.timestamp)
        if bar.timestamp < row[0] or bar.timestamp >= row[1]:
            return OUTSIDE_SESSION
        if bar.timestamp != row[0] and (bar.timestamp - row[2]) % d.step_ns:
            return OFF_GRID
        return STORED

    cdef int refuse(self, int code) noexcept:
        self.refused[code] += 1
        return code

    cdef int append_bar(self, const Bar* bar) except -1:
        """Store a base bar, whatever its place; the refusal's code, or 0."""
        cdef SymbolState* s = self.state
        cdef SeriesState* base = s.base
        cdef int64_t start
        cdef int64_t end
        cdef int code
        self.require_live("append")
        code = self.check(base, bar)
        if code:
            return self.refuse(code)
        if bar.timestamp < s.last_end_ns or bar.timestamp < s.floor_ns:
            return self.upsert(bar)
        bucket_of(base, bar.timestamp, &start, &end)
        if bar.timestamp != s.last_end_ns:
            self.close_due(bar.timestamp)
        self.insert_row(base, base.n, bar, 0)
        count_base(s, bar, end)
        self.root.n_stirred += s.is_fed
        self.arm()
        return STORED

    cdef int upsert(self, const Bar* bar) except -1:
        """Store a base bar that is not simply the next: late, corrected, duplicate, or
        into a bucket that the clock has closed."""
        cdef SymbolState* s = self.state
        cdef SeriesState* base = s.base
        cdef int64_t pos
        cdef int64_t start
        cdef int i
        if self.capacity:
            # A ring that has to let go of its oldest bars does so before the place is sought.
            for i in range(s.n_series):
                self.make_room(s.series[i], 1)
        pos = lower_bound(base.rows, base.n, bar.timestamp)
        if pos < base.n and base.rows[pos].timestamp == bar.timestamp:
            if same_values(base.rows + pos, bar):
                self.n_duplicate += 1
                return STORED
            if self.is_evicted(bar.timestamp):
                return self.refuse(EVICTED)
            base.rows[pos] = bar[0]
            self.note_change(base, bar.timestamp)
            self.n_corrected += 1
        elif self.is_evicted(bar.timestamp):
            return self.refuse(EVICTED)
        elif pos < base.n:
            self.insert_row(base, pos, bar, 0)
            self.note_change(base, bar.timestamp)
            self.n_late += 1
        else:
            self.close_due(bar.timestamp)
            self.insert_row(base, pos, bar, 0)
            bucket_of(base, bar.timestamp, &start, &s.last_end_ns)
            self.root.n_stirred += 1
        base.updated = 1
        s.metrics_stale = 1
        self.refold_buckets(bar.timestamp)
        self.close_due(self.elapsed())
        self.arm()
        return STORED

    cdef bint is_evicted(self, int64_t ts) noexcept:
        # Also when a bucket it belongs to has lost children: it could not be folded again.
        cdef SymbolState* s = self.state
        cdef SeriesState* d
        cdef int64_t start
        cdef int64_t end
        cdef int i
        if s.base.n_evicted and ts < s.base.first_start_ns:
            return True
        for i in range(s.n_series):
            d = s.series[i]
            if d.source != NULL and (d.n_evicted or d.source.n_evicted):
                bucket_of(d, ts, &start, &end)
                if d.n_evicted and start < d.first_start_ns:
                    return True
                if d.source.n_evicted and start < d.source.first_start_ns:
                    return True
        return False

    cdef int refold_buckets(self, int64_t ts) except -1:
        """Fold anew, finest first, each bucket that covers a base slot just written."""
        cdef SymbolState* s = self.state
        cdef int64_t elapsed = self.elapsed()
        cdef SeriesState* d
        cdef SeriesState* source
        cdef Bar acc
        cdef int32_t n_base
        cdef int32_t count
        cdef int64_t start
        cdef int64_t end
        cdef int64_t row
        cdef int i
        s.base.touched = 1
        for i in range(s.n_series):
            d = s.series[i]
            source = d.source
            if source == NULL:
                continue
            d.touched = 0
            if not source.touched:
                continue
            bucket_of(d, ts, &start, &end)
            n_base = 0
            row = lower_bound(source.rows, source.n, start)
            while row < source.n and source.rows[row].timestamp < end:
                count = source.n_base[row] if source.n_base != NULL else 1
                if count and n_base:
                    merge_bar(&acc, source.rows + row)
                elif count:
                    acc = source.rows[row]
                n_base += count
                row += 1
            if not n_base:
                continue
            acc.timestamp = start
            if end <= elapsed:
                if d.acc_n_base and d.acc.timestamp == start:
                    d.acc_n_base = 0
                self.put_row(d, &acc, n_base)
                d.touched = 1
            else:
                d.acc = acc
                d.acc_n_base = n_base
                d.open_end_ns = end
                d.segment = find_segment(d, start)
        return 0

    cdef int write_bar(self, SeriesState* d, const Bar* bar) except -1:
        """Store a bar of a series other than the base; where base bars speak, they win."""
        cdef const SeriesState* finer
        cdef int64_t pos
        cdef int64_t start
        cdef int64_t end
        cdef int code
        self.require_live("write")
        code = self.check(d, bar)
        if code:
            return self.refuse(code)
        self.settle()
        self.make_room(d, 1)
        if d.n_evicted and bar.timestamp < d.first_start_ns:
            return self.refuse(EVICTED)
        finer = d
        while finer.source != NULL:
            # Base bars of the slot may still be in an open bucket of any level below.
            if finer.acc_n_base and finer.acc.timestamp >= bar.timestamp:
                bucket_of(d, finer.acc.timestamp, &start, &end)
                if start == bar.timestamp:
                    return self.refuse(DERIVED_SLOT)
            finer = finer.source
        pos = lower_bound(d.rows, d.n, bar.timestamp)
        if pos < d.n and d.rows[pos].timestamp == bar.timestamp:
            if d.n_base != NULL and d.n_base[pos]:
                return self.refuse(DERIVED_SLOT)
            if same_values(d.rows + pos, bar):
                self.n_duplicate += 1
                return STORED
            self.n_corrected += 1
        elif pos < d.n:
            self.n_late += 1
        self.put_row(d, bar, 0)
        d.has_written = d.source != NULL
        self.root.n_stirred += 1
        return STORED

    cdef int fold_run(self, SeriesState* d, int64_t begin, int64_t end) except -1:
        """Fold closed rows [begin, end) of the source; all that changes stays in registers."""
        cdef const Bar* rows = d.source.rows
        cdef const int32_t* counts = d.source.n_base
        cdef Bar* into
        cdef int32_t* n_base
        cdef int64_t step = d.step_ns
        cdef int64_t next_start
        cdef int64_t next_end
        cdef int64_t closed                # end of the segment
        cdef int64_t start
        cdef int64_t stop
        cdef int64_t last_end
        cdef int64_t ts
        cdef int64_t n_gaps = 0
        cdef int64_t i = begin
        cdef int64_t first
        cdef int32_t count = d.acc_n_base
        cdef double open
        cdef double high
        cdef double low
        cdef double close
        cdef double volume
        if begin >= end:
            return 0
        # No more rows come of it than went in, but for the bucket that is open.
        self.make_room(d, max(0, min(end - begin + 1, most_rows(self, d) - d.n)))
        into = d.rows + d.n
        n_base = d.n_base + d.n
        next_start = d.next_start_ns
        next_end = d.next_end_ns
        closed = d.segments[SEGMENT_COLUMNS * d.segment + 1]
        start = d.acc.timestamp
        stop = d.open_end_ns if count else INT64_MIN
        open = d.acc.open
        high = d.acc.high
        low = d.acc.low
        close = d.acc.close
        volume = d.acc.volume
        while True:
            if counts == NULL:
                first = i
                while i < end and rows[i].timestamp < stop:
                    high = rows[i].high if rows[i].high > high else high
                    low = rows[i].low if rows[i].low < low else low
                    volume += rows[i].volume
                    i += 1
                if i > first:
                    close = rows[i - 1].close
                    count += <int32_t>(i - first)
            else:
                while i < end and rows[i].timestamp < stop:
                    if counts[i]:
                        high = rows[i].high if rows[i].high > high else high
                        low = rows[i].low if rows[i].low < low else low
                        volume += rows[i].volume
                        close = rows[i].close
                        count += counts[i]
                    i += 1
                while i < end and counts[i] == 0:
                    i += 1
            if i == end:
                if count == 0:
                    break
                # A row written ahead says nothing of the base bars that are still to come.
                first = end - 1
                while counts != NULL and first >= begin and counts[first] == 0:
                    first -= 1
                if first < begin:
                    break
                bucket_of(d.source, rows[first].timestamp, &ts, &last_end)
                if last_end < stop:
                    break
            if count:
                into.timestamp = start
                into.open = open
                into.high = high
                into.low = low
                into.close = close
                into.volume = volume
                n_base[0] = count
                into += 1
                n_base += 1
                count = 0
                n_gaps += start != next_start
                if stop + step <= closed:
                    next_start = stop
                    next_end = stop + step
                else:
                    slot_after(d, stop, &next_start, &next_end)
            if i == end:
                break
            ts = rows[i].timestamp
            start = next_start
            stop = next_end
            if ts < start or ts >= stop:
                bucket_of(d, ts, &start, &stop)
            if stop > closed or start < d.segments[SEGMENT_COLUMNS * d.segment]:
                d.segment = find_segment(d, start)
                closed = d.segments[SEGMENT_COLUMNS * d.segment + 1]
            open = rows[i].open
            high = rows[i].high
            low = rows[i].low
            close = rows[i].close
            volume = rows[i].volume
            count = counts[i] if counts != NULL else 1
            i += 1
        d.updated |= into > d.rows + d.n
        d.n = into - d.rows
        d.n_gaps += n_gaps
        d.next_start_ns = next_start
        d.next_end_ns = next_end
        d.acc.timestamp = start
        d.acc.open = open
        d.acc.high = high
        d.acc.low = low
        d.acc.close = close
        d.acc.volume = volume
        d.acc_n_base = count
        d.open_end_ns = stop
        return 0

    cdef int fold_from(self, int64_t n_base_before) except -1:
        """Fold the base rows from `n_base_before` on into every level, finest first."""
        cdef SymbolState* s = self.state
        cdef SeriesState* d
        cdef int i
        s.base.mark = n_base_before
        for i in range(s.n_series):
            d = s.series[i]
            if d.source != NULL:
                d.mark = d.n
                self.fold_run(d, d.source.mark, d.source.n)
        return self.close_due(self.elapsed())

    cdef int refold_from(self, int64_t ts) except -1:
        """Fold anew every bucket that ends after `ts`; written rows stay where no base bar is."""
        cdef SymbolState* s = self.state
        cdef SeriesState* d
        cdef int64_t keep
        cdef int64_t begin
        cdef int64_t cut
        cdef int64_t end
        cdef int64_t n_before
        cdef int64_t elapsed = max(self.elapsed(), s.now_ns[0])
        cdef int i
        s.base.mark = ts
        for i in range(s.n_series):
            d = s.series[i]
            if d.source == NULL:
                continue
            keep = begin = 0
            cut = INT64_MIN
            d.mark = INT64_MIN
            if d.source.mark != INT64_MIN:
                bucket_of(d, d.source.mark, &cut, &end)
                if d.acc_n_base:
                    # An open bucket is forgotten below, and must be folded again.
                    cut = min(cut, d.acc.timestamp)
                keep = lower_bound(d.rows, d.n, cut)
                begin = lower_bound(d.source.rows, d.source.n, cut)
                d.mark = cut
            n_before = d.n
            before = rows_between(d, keep, n_before)
            written = written_rows(d, keep) if d.has_written else None
            d.n = keep
            d.acc_n_base = 0
            d.open_end_ns = INT64_MIN
            self.recount_gaps(d)
            self.fold_run(d, begin, d.source.n)
            if d.acc_n_base and d.open_end_ns <= elapsed:
                # What folds from it reads it as a row.
                self.make_room(d, 1)
                self.insert_row(d, d.n, &d.acc, d.acc_n_base)
                d.acc_n_base = 0
            if written is not None:
                restore_rows(self, d, written)
            if n_before > keep:
                self.recount_gaps(d)
                if find_change(d, keep, before, &cut):
                    self.note_change(d, cut)
                    d.updated = 1
        return self.close_due(self.elapsed())


cdef tuple rows_between(SeriesState* d, int64_t begin, int64_t end):
    """Rows and their counts of base bars, as bytes of their own."""
    return (
        (<char*>(d.rows + begin))[:(end - begin) * sizeof(Bar)],
        (<char*>(d.n_base + begin))[:(end - begin) * sizeof(int32_t)],
    )


cdef bint find_change(SeriesState* d, int64_t begin, tuple before, int64_t* label):
    """The label of the first row from `begin` on that is not what it was."""
    cdef bytes row_bytes = before[0]
    cdef bytes count_bytes = before[1]
    cdef const Bar* rows = <const Bar*><const char*>row_bytes
    cdef const int32_t* counts = <const int32_t*><const char*>count_bytes
    cdef int64_t n = len(row_bytes) // <int64_t>sizeof(Bar)
    cdef int64_t i
    for i in range(n):
        if begin + i == d.n:
            label[0] = rows[i].timestamp
            return True
        if (d.rows[begin + i].timestamp != rows[i].timestamp
                or d.n_base[begin + i] != counts[i]
                or not same_values(d.rows + begin + i, rows + i)):
            label[0] = min(d.rows[begin + i].timestamp, rows[i].timestamp)
            return True
    return False


cdef list written_rows(SeriesState* d, int64_t keep):
    cdef int64_t i
    return [d.rows[i] for i in range(keep, d.n) if d.n_base[i] == 0]


cdef int restore_rows(Core core, SeriesState* d, list rows) except -1:
    cdef Bar bar
    cdef int64_t pos
    for row in rows:
        bar = row
        pos = lower_bound(d.rows, d.n, bar.timestamp)
        if pos < d.n and d.rows[pos].timestamp == bar.timestamp:
            continue
        core.insert_row(d, pos, &bar, 0)
    return 0
