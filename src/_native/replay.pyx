"""Replay of a loaded day: preloaded bars of many records made visible in time order.

The bars lie in their rings already; replaying moves the visible heads over them. Blocks of
64 ticks are ordered by one counting sort over the bars that end in them, so that a symbol
without bars costs one look a block, and the rows are in cache when their turn comes.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT64_MAX, int32_t, int64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cimport numpy as cnp

from openbell._native.block cimport admit_next, admit_until
from openbell._native.closings cimport Closings
from openbell._native.core cimport Core, count_base
from openbell._native.engine cimport SymbolEngine
from openbell._native.rings cimport SessionCore
from openbell._native.state cimport (
    OB_PREFETCH, SEGMENT_COLUMNS, SeriesState, SymbolState, bucket_of, find_segment,
)

from math import gcd

from openbell.errors import SessionStateError

cnp.import_array()

cdef int64_t BULK_TICKS = 1024      # how far a replay that nobody watches goes symbol by symbol


cdef class ReplayCursor:
    """Steps through the preloaded bars of a root's records, in order of their ends.

    Parameters
    ----------
    root : SessionCore
        A root whose day has begun.
    skip_incomplete : bool
        Whether closings of derived bars that lack base bars go untold.

    Attributes
    ----------
    ts_ns : int
        When the bars of the running slice became visible: their end, nanoseconds UTC.
    n_bars : int
        Base bars made visible so far.
    """

    def __cinit__(self, SessionCore root, bint skip_incomplete=False):
        if root.window is None:
            raise SessionStateError("replay", "not begun", "call root.begin(window) first")
        self.root = root
        self.window = root.window
        self.engines = []
        self.held = set()
        self.closings = Closings(root, skip_incomplete)
        self.ts_ns = root.clock_ns
        self.tick_ns = 0
        self.tick = BLOCK_TICKS
        self.block_end_ns = root.clock_ns

    def __dealloc__(self):
        free(self.states)
        free(self.ids)
        free(self.order)
        free(self.ticks)

    def add(self, SymbolEngine engine):
        """Replay a record too. Bars that have ended by now become visible at once, untold.

        Again when the base of one that is replayed has changed.
        """
        cdef SeriesState* base = engine.state.base
        cdef int64_t n = self.n_engines + 1
        cdef SymbolState** states = <SymbolState**>realloc(
            self.states, n * sizeof(SymbolState*))
        cdef int32_t* ids = <int32_t*>realloc(self.ids, n * BLOCK_TICKS * sizeof(int32_t))
        cdef int32_t* order = <int32_t*>realloc(self.order, n * BLOCK_TICKS * sizeof(int32_t))
        cdef unsigned char* ticks = <unsigned char*>realloc(self.ticks, n * BLOCK_TICKS)
        cdef int64_t tick_ns = self.tick_ns
        cdef int seg
        self.states = states if states != NULL else self.states
        self.ids = ids if ids != NULL else self.ids
        self.order = order if order != NULL else self.order
        self.ticks = ticks if ticks != NULL else self.ticks
        if states == NULL or ids == NULL or order == NULL or ticks == NULL:
            raise MemoryError(f"{engine.symbol}: no memory to replay it")
        self.n_bars += admit_until(engine.core, self.root.clock_ns)
        tick_ns = gcd(tick_ns, base.step_ns)
        for seg in range(base.n_segments * SEGMENT_COLUMNS):
            if seg % SEGMENT_COLUMNS != 3:
                tick_ns = gcd(tick_ns, base.segments[seg] - self.window.open_ns)
        self.tick_ns = tick_ns
        self.start_block_anew()
        # One that is known may have got another base.
        if engine not in self.held:
            self.held.add(engine)
            self.states[self.n_engines] = engine.state
            self.n_engines = n
            self.engines.append(engine)
        self.closings.add(engine, True)
        engine.state.is_fed = 1
        engine.core.arm()

    def on_close(self, str interval, callback, bint corrections=False):
        """Call ``callback(record, bar)`` for each bar of an interval when it closes.

        See :meth:`Closings.on_close`.
        """
        self.closings.on_close(interval, callback, corrections)

    def drop_detached(self):
        """Let go of records that were removed."""
        cdef list kept = []
        cdef SymbolEngine engine
        for engine in self.engines:
            if engine.core.attached:
                self.states[len(kept)] = engine.state
                kept.append(engine)
        if len(kept) != self.n_engines:
            self.engines = kept
            self.held = set(kept)
            self.n_engines = len(kept)
            self.n_slices += 1
            self.first = self.last = 0
            self.start_block_anew()

    cdef void start_block_anew(self) noexcept:
        # The block under way knows nothing of who came, and too much of who left.
        self.tick = BLOCK_TICKS
        self.block_end_ns = self.root.clock_ns

    @property
    def records(self):
        """The records whose base bar closed in the running slice; valid until the next one."""
        cdef SliceRecords records = SliceRecords.__new__(SliceRecords)
        records.cursor = self
        records.first = self.first
        records.last = self.last
        records.slice = self.n_slices
        return records

    @property
    def n_waiting(self):
        """Base bars not visible yet."""
        cdef int64_t n = 0
        cdef int64_t i
        for i in range(self.n_engines):
            n += self.states[i].base.n_waiting
        return n

    cdef int64_t next_waiting(self) noexcept:
        # Where the earliest waiting bar begins.
        cdef int64_t earliest = INT64_MAX
        cdef const SeriesState* base
        cdef int64_t i
        for i in range(self.n_engines):
            base = self.states[i].base
            if base.n_waiting and base.rows[base.n].timestamp < earliest:
                earliest = base.rows[base.n].timestamp
        return earliest

    cdef int fill_block(self) except -1:
        """Order the bars that end in the next 64 ticks; 0 when none is waiting."""
        cdef int64_t open_ns = self.window.open_ns
        cdef int64_t earliest
        cdef int64_t counts[BLOCK_TICKS]
        cdef int64_t total = 0
        cdef int64_t before
        cdef int64_t i
        cdef int64_t row
        cdef int64_t stop
        cdef int64_t start
        cdef int64_t end
        cdef const int64_t* segment
        cdef int tick
        cdef double per_tick
        cdef const SeriesState* base
        # Between blocks others get a turn: signals, and threads that wait for the GIL.
        PyErr_CheckSignals()
        with nogil:
            pass
        earliest = self.next_waiting()
        if earliest == INT64_MAX:
            return 0
        self.block_ns = max(self.block_end_ns, earliest)
        self.block_ns = open_ns + (self.block_ns - open_ns) // self.tick_ns * self.tick_ns
        self.block_end_ns = self.block_ns + BLOCK_TICKS * self.tick_ns
        per_tick = 1.0 / self.tick_ns
        memset(counts, 0, sizeof(counts))
        for i in range(self.n_engines):
            base = self.states[i].base
            if not base.n_waiting:
                continue
            row = base.n
            stop = row + min(base.n_waiting, <int64_t>BLOCK_TICKS)
            segment = base.segments + (
                SEGMENT_COLUMNS * find_segment(base, base.rows[row].timestamp))
            while row < stop:
                end = base.rows[row].timestamp + base.step_ns
                if end > segment[1] or base.rows[row].timestamp == segment[0]:
                    bucket_of(base, base.rows[row].timestamp, &start, &end)
                if end > self.block_end_ns:
                    break
                # Ends lie on ticks, so that half a tick more rounds to the right one.
                tick = <int>((end - self.block_ns) * per_tick + 0.5) - 1
                if tick < 0:
                    tick = 0
                self.ticks[total] = <unsigned char>tick
                self.ids[total] = <int32_t>i
                counts[tick] += 1
                total += 1
                row += 1
        before = 0
        for tick in range(BLOCK_TICKS):
            self.offsets[tick] = before
            before += counts[tick]
            counts[tick] = self.offsets[tick]
        self.offsets[BLOCK_TICKS] = total
        for i in range(total):
            tick = self.ticks[i]
            self.order[counts[tick]] = self.ids[i]
            counts[tick] += 1
        self.tick = 0
        return 1

    cdef int64_t admit(self, int64_t first, int64_t last) except -1:
        # Where the records end that have a bar closed.
        cdef SymbolState* s
        cdef SeriesState* base
        cdef const SeriesState* ahead
        cdef int64_t kept = first
        cdef int64_t i
        for i in range(first, last):
            if i + 8 < last:
                OB_PREFETCH(self.states[self.order[i + 8]])
            if i + 4 < last:
                ahead = self.states[self.order[i + 4]].base
                OB_PREFETCH(ahead)
                OB_PREFETCH(ahead.first_consumer)
                if ahead.first_consumer != NULL:
                    OB_PREFETCH(&ahead.first_consumer.acc)
            s = self.states[self.order[i]]
            base = s.base
            # A record removed meanwhile has none left.
            if not base.n_waiting:
                continue
            self.order[kept] = self.order[i]
            kept += 1
            if (base.rows[base.n].timestamp == s.last_end_ns
                    and s.floor_ns <= s.last_end_ns <= s.last_quick_ns and base.n_waiting > 1):
                base.n += 1
                base.n_waiting -= 1
                count_base(s, base.rows + base.n - 1, s.last_end_ns + s.step_ns)
            else:
                admit_next(<Core>s.core)
        self.n_bars += kept - first
        return kept

    cdef int64_t next_data(self) except -1:
        while self.root.window is self.window:
            while (self.tick < BLOCK_TICKS
                   and self.offsets[self.tick] == self.offsets[self.tick + 1]):
                self.tick += 1
            if self.tick < BLOCK_TICKS:
                return self.block_ns + (self.tick + 1) * self.tick_ns
            if not self.fill_block():
                break
        return INT64_MAX

    @property
    def next_ns(self):
        """Where the next step goes, nanoseconds UTC; None when the day is over."""
        cdef int64_t now = INT64_MAX
        cdef int64_t start
        cdef int64_t end
        cdef int64_t i
        cdef const SeriesState* base
        if self.root.window is not self.window:
            return None
        for i in range(self.n_engines):
            base = self.states[i].base
            if base.n_waiting:
                bucket_of(base, base.rows[base.n].timestamp, &start, &end)
                now = min(now, end)
        # A bar that waits may be late, and comes with the next tick.
        now = max(min(now, self.closings.next_ns()), self.root.clock_ns)
        return None if now == INT64_MAX else now

    cpdef bint step(self) except -1:
        """Go to the next instant at which bars end or a watched slot closes.

        Returns
        -------
        bool
            False when the day is over; its clock then stands at the close. Also when the root
            was cleared meanwhile.
        """
        cdef int64_t data_ns
        cdef int64_t closing_ns
        cdef int64_t now
        self.n_slices += 1
        self.first = self.last = 0
        data_ns = self.next_data()
        closing_ns = self.closings.next_ns()
        now = min(data_ns, closing_ns)
        if self.root.window is not self.window:
            return False
        if now == INT64_MAX:
            self.root.clock_ns = max(self.root.clock_ns, <int64_t>self.window.close_ns)
            if self.closings.is_due():
                self.closings.tell(self.root.clock_ns)
            return False
        self.ts_ns = now
        self.root.clock_ns = max(self.root.clock_ns, now)
        if data_ns == now:
            self.first = self.offsets[self.tick]
            self.last = self.offsets[self.tick + 1]
            self.tick += 1
            self.last = self.admit(self.first, self.last)
        if closing_ns == now or self.closings.is_due():
            self.closings.tell(now)
        return True

    @property
    def n_records(self):
        """How many records have a base bar closed in the running slice."""
        return self.last - self.first

    def run(self, on_slice=None):
        """Step to the end of the day.

        Parameters
        ----------
        on_slice : callable, optional
            ``on_slice(ts_ns, records)`` after each instant at which base bars ended.

        Notes
        -----
        With nobody to tell anything in between, the bars are made visible symbol by symbol
        in stretches of time; the result is the same.
        """
        if on_slice is None and not self.closings.is_watching:
            while self.run_block():
                pass
        elif on_slice is None:
            while self.step():
                pass
        else:
            while self.step():
                if self.last > self.first:
                    on_slice(self.ts_ns, self.records)

    cpdef bint run_block(self) except -1:
        """Go on for some time with nobody to tell; False when the day is over."""
        cdef int64_t close_ns = self.window.close_ns
        cdef int64_t now = self.root.clock_ns
        cdef int64_t i
        PyErr_CheckSignals()
        with nogil:
            pass
        if self.root.window is not self.window or now >= close_ns:
            return False
        now = min(now + BULK_TICKS * max(self.tick_ns, 1), close_ns)
        self.root.clock_ns = now
        for i in range(self.n_engines):
            if self.states[i].base.n_waiting:
                self.n_bars += admit_until(<Core>self.states[i].core, now)
        self.ts_ns = now
        self.n_slices += 1
        self.first = self.last = 0
        self.start_block_anew()
        return True


cdef class SliceRecords:
    """Records with a bar closed at one instant: a sequence that copies nothing.

    It is valid until the replay goes on; ``list(records)`` keeps them.
    """

    cdef int require_current(self) except -1:
        if self.slice != self.cursor.n_slices:
            raise SessionStateError(
                "records", "past this slice", "use list(records) to keep what it held")
        return 0

    def __len__(self):
        return self.last - self.first

    def __getitem__(self, int64_t at):
        self.require_current()
        if at < 0:
            at += self.last - self.first
        if at < 0 or at >= self.last - self.first:
            raise IndexError(f"record {at} of {self.last - self.first}")
        return self.cursor.engines[self.cursor.order[self.first + at]]

    def __iter__(self):
        cdef int64_t i
        for i in range(self.first, self.last):
            self.require_current()
            yield self.cursor.engines[self.cursor.order[i]]
