"""One symbol's engine: what is stored, what becomes visible, what is counted.

Owns the order of things. The quick path of an append is inline in ``core.pxd`` and
``engine.pyx``; here is everything else.
"""

from libc.math cimport isfinite
from libc.stdint cimport INT64_MIN, int32_t, int64_t
from libc.string cimport memmove, memset

from openbell._native.folds cimport Folds
from openbell._native.state cimport (
    SEGMENT_COLUMNS, Bar, SeriesState, SymbolState, bucket_of, find_segment, is_sound,
    lower_bound, same_values, slot_after,
)

from openbell.errors import SessionStateError


cdef enum:
    FEW_ROWS = 12          # so many are folded one by one, sooner than level by level


cdef class Core(Folds):
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
            self.catch_up()
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
        self.catch_up()
        self.state.base.n_waiting = 0
        self.root.n_meddled += self.state.is_fed
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
            self.catch_up()
            self.settle()
            self.state.base.n_waiting = 0
            self.own_clock_ns = self.state.now_ns[0]
            self.state.now_ns = &self.own_clock_ns
            self.state.next_ts = INT64_MIN
            self.attached = False
            self.root.n_changes += 1

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
        self.catch_up()
        s.settled_ns = now
        if now <= s.last_end_ns:
            # The bars themselves have closed all that ended by now.
            return 0
        self.close_due(now)
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
        self.catch_up()
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
        if s.is_fed:
            self.root.n_stirred += 1
            self.root.n_meddled += 1
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
        self.root.n_meddled += s.is_fed
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
        self.catch_up()
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

    cdef int catch_up(self) except -1:
        """Make the bars visible that have ended where the replay is: readers come here first."""
        cdef SymbolState* s = self.state
        cdef SeriesState* base = s.base
        cdef int64_t fed_ns
        cdef int64_t start
        cdef int64_t end
        cdef Bar* row
        if not base.n_waiting or not s.is_fed:
            return 0
        fed_ns = self.root.fed_ns
        row = base.rows + base.n
        if base.n_waiting > FEW_ROWS and row[FEW_ROWS].timestamp < fed_ns:
            self.root.n_fed += self.admit_until(fed_ns)
            return 0
        while base.n_waiting and row.timestamp < fed_ns:
            end = row.timestamp + s.step_ns
            if (s.last_end_ns <= row.timestamp <= s.last_quick_ns and s.floor_ns <= row.timestamp
                    and end <= fed_ns and s.last_end_ns != INT64_MIN):
                if row.timestamp != s.last_end_ns:
                    base.n_gaps += 1
                    self.close_due(row.timestamp)
                base.n += 1
                base.n_waiting -= 1
                count_base(s, row, end)
            else:
                bucket_of(base, row.timestamp, &start, &end)
                if end > fed_ns:
                    break
                self.admit_next()
            self.root.n_fed += 1
            row = base.rows + base.n
        return 0

    cdef int admit_next(self) except -1:
        """Make the next preloaded bar visible, at its end."""
        cdef SymbolState* s = self.state
        cdef SeriesState* base = s.base
        cdef Bar* row = base.rows + base.n
        cdef Bar bar
        cdef int64_t start
        cdef int64_t end
        cdef int64_t expected = s.last_end_ns
        if row.timestamp < s.last_end_ns or row.timestamp < s.floor_ns:
            bar = row[0]
            base.n_waiting -= 1
            memmove(row, row + 1, base.n_waiting * sizeof(Bar))
            return self.upsert(&bar)
        bucket_of(base, row.timestamp, &start, &end)
        if expected != row.timestamp:
            self.close_due(row.timestamp)
            if expected == INT64_MIN:
                expected = base.first_start_ns
            else:
                slot_after(base, expected, &expected, &start)
            base.n_gaps += row.timestamp != expected
        base.n_waiting -= 1
        base.n += 1
        count_base(s, row, end)
        self.arm()
        return 0

    cdef int64_t admit_until(self, int64_t now_ns) except -1:
        """Make every preloaded bar visible that ends at or before an instant; how many."""
        cdef SymbolState* s = self.state
        cdef SeriesState* base = s.base
        cdef int64_t before = base.n
        # Visible bars may lie further ahead than those that wait.
        cdef int64_t stop = before + lower_bound(base.rows + before, base.n_waiting, now_ns)
        cdef int64_t start
        cdef int64_t end
        cdef int64_t i
        if stop > before:
            bucket_of(base, base.rows[stop - 1].timestamp, &start, &end)
            stop -= end > now_ns
        if stop <= before:
            return 0
        # Where nothing is held yet, no bucket can have been closed without them.
        if not self.is_plain() or before and (
                base.rows[before].timestamp < max(s.last_end_ns, s.floor_ns)):
            for i in range(before, stop):
                self.admit_next()
            return stop - before
        if before == 0:
            # In one piece: what the clock has reached would close the bucket that a chunk ends in.
            self.admit_run(stop)
        while base.n < stop:
            self.admit_run(min(stop - base.n, <int64_t>CHUNK_ROWS))
        return stop - before

    cdef int admit_run(self, int64_t n) except -1:
        cdef SymbolState* s = self.state
        cdef SeriesState* base = s.base
        cdef const Bar* rows = base.rows + base.n
        cdef int64_t before = base.n
        cdef int64_t expected = base.first_start_ns
        cdef int64_t step = s.step_ns
        cdef int64_t last_whole = INT64_MIN     # up to this label the next slot is one step on
        cdef int64_t start
        cdef int64_t end = s.last_end_ns
        cdef int64_t n_gaps = base.n_gaps
        cdef int64_t i
        cdef double volume = s.volume
        cdef double high = s.high
        cdef double low = s.low
        if before:
            slot_after(base, s.last_end_ns, &expected, &end)
        for i in range(n):
            base.n_gaps += rows[i].timestamp != expected
            volume += rows[i].volume
            high = rows[i].high if rows[i].high > high else high
            low = rows[i].low if rows[i].low < low else low
            end = rows[i].timestamp + step
            expected = end
            if rows[i].timestamp > last_whole:
                base.segment = find_segment(base, rows[i].timestamp)
                last_whole = base.segments[SEGMENT_COLUMNS * base.segment + 1] - 2 * step
                bucket_of(base, rows[i].timestamp, &start, &end)
                slot_after(base, end, &expected, &start)
        s.volume = volume
        s.high = high
        s.low = low
        s.last_end_ns = end
        base.n += n
        base.n_waiting -= n
        base.updated = 1
        self.fold_from(before, base.n_gaps != n_gaps)
        self.arm()
        return 0

    cdef bint is_plain(self) noexcept:
        # Rings that slide and rows written directly move what a run has just closed.
        cdef int i
        if self.capacity:
            return False
        for i in range(self.state.n_series):
            if self.state.series[i].has_written:
                return False
        return True
