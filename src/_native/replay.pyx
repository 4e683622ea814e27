"""Replay of a loaded day: preloaded bars of many records made visible in time order.

The bars lie in their rings already; replaying moves the clock over them. A record follows when
it is read: its bars that have ended by then become visible, and are folded. Those that nobody
reads follow at the end of each block of ticks, symbol by symbol.

What each slice of a block holds is found beforehand: see ``slices.pyx``.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport INT64_MAX, int64_t
from libc.stdlib cimport free

cimport numpy as cnp

from openbell._native.closings cimport Closings
from openbell._native.core cimport Core, count_base
from openbell._native.engine cimport SymbolEngine
from openbell._native.memory cimport grown
from openbell._native.rings cimport SessionCore
from openbell._native.slices cimport MOST_TICKS, Slices
from openbell._native.state cimport (
    OB_PREFETCH, SEGMENT_COLUMNS, Bar, SeriesState, SymbolState, bucket_of, end_of, lower_bound,
)
from openbell._native.strategy cimport NativeStrategy

from math import gcd

from openbell.errors import SessionStateError

cnp.import_array()

cdef enum:
    LEAST_TICKS = 64           # of a block, after others have changed something
    MOST_ENTRIES = 1 << 19     # bars of a block: the lists of its slices stay in the cache
    BARS_A_SYMBOL = 512        # so many that its own lines, fetched once a block, cost little
    SLICES_A_TURN = 1024       # after so many, whoever steps through blocks gets a turn


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
    engines : list of SymbolSessionData or None
        The records by their place; None where one has left.
    """

    def __cinit__(self, SessionCore root, bint skip_incomplete=False):
        if root.window is None:
            raise SessionStateError("replay", "not begun", "call root.begin(window) first")
        self.root = root
        self.window = root.window
        self.engines = []
        self.places = {}
        self.closings = Closings(root, skip_incomplete)
        self.closings.places = self.places
        self.ts_ns = root.fed_ns = root.clock_ns
        self.n_changes = root.n_changes
        self.block_end_ns = root.clock_ns
        self.slices = Slices()
        self.stretch = SLICES_A_TURN

    def __dealloc__(self):
        free(self.states)

    def add(self, SymbolEngine engine):
        """Replay a record too. Bars that have ended by now become visible at once, untold.

        Again when the base of one that is replayed has changed.
        """
        cdef SeriesState* base = engine.state.base
        cdef int64_t tick_ns = self.tick_ns
        cdef int seg
        cdef int64_t n_admitted = engine.core.admit_until(self.root.clock_ns)
        self.root.n_fed += n_admitted
        self.n_before_block += n_admitted
        tick_ns = gcd(tick_ns, base.step_ns)
        for seg in range(base.n_segments * SEGMENT_COLUMNS):
            if seg % SEGMENT_COLUMNS != 3:
                tick_ns = gcd(tick_ns, base.segments[seg] - self.window.open_ns)
        self.tick_ns = tick_ns
        # One that is known may have got another base.
        if engine not in self.places:
            if self.n_engines == self.n_room:
                self.take_room()
            self.places[engine] = self.n_engines
            self.states[self.n_engines] = engine.state
            self.engines.append(engine)
            self.n_engines += 1
        self.start_block_anew()
        self.closings.add(engine, True)
        engine.state.is_fed = 1
        engine.core.arm()

    cdef int take_room(self) except -1:
        cdef int64_t room = max(64, 2 * self.n_room)
        self.states = <SymbolState**>grown(self.states, room * sizeof(SymbolState*))
        self.n_room = room
        return 0

    def on_close(self, str interval, callback, bint corrections=False):
        """Call ``callback(record, bar)`` for each bar of an interval when it closes.

        See :meth:`Closings.on_close`.
        """
        self.closings.on_close(interval, callback, corrections)

    @property
    def held(self):
        """The records that are replayed."""
        return set(self.places)

    def drop_detached(self):
        """Let go of records that were removed. The others keep their places."""
        cdef SymbolEngine engine
        for engine in list(self.places):
            if not engine.core.attached:
                place = self.places.pop(engine)
                self.engines[place] = None
                self.states[<int64_t>place] = NULL
                self.end_slice()
                self.start_block_anew()
                self.bind_strategy()

    cdef void start_block_anew(self) noexcept:
        # The block under way knows nothing of who came, and too much of who left.
        self.tick = self.slices.n_ticks = 0
        self.n_ticks_wanted = LEAST_TICKS
        self.is_empty = False
        self.block_end_ns = self.root.clock_ns

    cdef void end_slice(self) noexcept:
        self.first = self.last = NULL
        self.n_slices += 1

    @property
    def records(self):
        """The records whose base bar closed in the running slice; valid until the next one."""
        cdef SliceRecords records = SliceRecords.__new__(SliceRecords)
        records.cursor = self
        records.first = self.first
        records.n = self.last - self.first
        records.slice = self.n_slices
        return records

    @property
    def n_waiting(self):
        """Base bars not visible yet."""
        cdef int64_t n = 0
        cdef SymbolEngine engine
        for engine in self.places:
            engine.core.catch_up()
            n += engine.state.base.n_waiting
        return n

    @property
    def n_bars(self):
        """Base bars made visible so far."""
        return self.n_before_block + self.n_in_block

    cdef int catch_up_all(self) except -1:
        cdef int64_t i
        for i in range(self.n_engines):
            if i + 2 < self.n_engines and self.states[i + 2] != NULL:
                OB_PREFETCH(self.states[i + 2].base)
            if self.states[i] != NULL:
                (<Core>self.states[i].core).catch_up()
        self.n_before_block = self.root.n_fed
        self.n_in_block = 0
        return 0

    cdef int catch_up_slice(self) except -1:
        # Of records that are all about to be read: each step fetches what the next one follows.
        cdef int64_t n = self.last - self.first
        cdef int64_t i
        cdef int64_t fed_ns = self.root.fed_ns
        cdef SymbolState* s
        cdef SeriesState* base
        cdef Bar* row
        for i in range(n):
            if i + 12 < n:
                OB_PREFETCH(self.states[self.first[i + 12]])
                OB_PREFETCH(&self.states[self.first[i + 12]].settled_ns)
            if i + 8 < n:
                base = self.states[self.first[i + 8]].base
                OB_PREFETCH(base)
                OB_PREFETCH(&base.n_waiting)
            if i + 4 < n:
                base = self.states[self.first[i + 4]].base
                OB_PREFETCH(base.rows + base.n)
                OB_PREFETCH(&(base.rows + base.n).volume)
                OB_PREFETCH(base.first_consumer)
                if base.first_consumer != NULL:
                    OB_PREFETCH(&base.first_consumer.acc)
            s = self.states[self.first[i]]
            base = s.base
            row = base.rows + base.n
            if (base.n_waiting > 1 and row.timestamp == s.last_end_ns
                    and s.floor_ns <= row.timestamp <= s.last_quick_ns
                    and row.timestamp + s.step_ns == fed_ns):
                base.n += 1
                base.n_waiting -= 1
                self.root.n_fed += 1
                count_base(s, row, fed_ns)
                s.settled_ns = fed_ns
            else:
                (<Core>s.core).settle()
        return 0

    cdef int64_t next_waiting(self) noexcept:
        # Where the earliest waiting bar begins.
        cdef int64_t earliest = INT64_MAX
        cdef const SeriesState* base
        cdef int64_t i
        for i in range(self.n_engines):
            if self.states[i] == NULL:
                continue
            base = self.states[i].base
            if base.n_waiting and base.rows[base.n].timestamp < earliest:
                earliest = base.rows[base.n].timestamp
        return earliest

    cdef int fill_block(self) except -1:
        """List the bars that end in the block's ticks, by tick; 0 when none is waiting."""
        cdef int64_t open_ns = self.window.open_ns
        cdef int64_t earliest
        cdef int64_t n_bars
        cdef bint is_ahead
        cdef const SymbolState* s
        cdef int64_t i
        # Between blocks others get a turn: signals, and threads that wait for the GIL.
        PyErr_CheckSignals()
        with nogil:
            pass
        self.end_slice()
        self.catch_up_all()
        earliest = self.next_waiting()
        if earliest == INT64_MAX:
            self.is_empty = True
            return 0
        self.block_ns = max(self.block_end_ns, earliest)
        self.block_ns = open_ns + (self.block_ns - open_ns) // self.tick_ns * self.tick_ns
        self.block_end_ns = self.block_ns + self.n_ticks_wanted * self.tick_ns
        self.slices.begin(self.block_ns, self.tick_ns, self.n_ticks_wanted, self.n_engines)
        self.n_irregular = 0
        for i in range(self.n_engines):
            if self.states[i] != NULL and self.states[i].base.n_waiting:
                s = self.states[i]
                self.n_irregular += (
                    s.base.rows[s.base.n].timestamp < max(s.last_end_ns, s.floor_ns))
        self.tick = 0
        if self.strategy is not None:
            self.strategy.refresh_all()
        is_ahead = self.may_go_ahead()
        if is_ahead and not self.strategy.is_direct[0]:
            # It is called by the clock: what its slices hold is nobody's question.
            self.go_ahead()
            self.n_in_block = n_bars = self.root.n_fed - self.n_before_block
        else:
            for i in range(self.n_engines):
                if self.states[i] != NULL and self.states[i].base.n_waiting:
                    self.slices.add(i, self.states[i].base)
            n_bars = self.slices.sort()
            if is_ahead:
                self.go_ahead()
        # The next one holds about as many bars as it should.
        if (self.n_ticks_wanted < MOST_TICKS and 2 * n_bars <= MOST_ENTRIES
                and n_bars < 2 * BARS_A_SYMBOL * self.n_engines):
            self.n_ticks_wanted *= 2
        elif n_bars > 2 * MOST_ENTRIES and self.n_ticks_wanted > LEAST_TICKS:
            self.n_ticks_wanted //= 2
        return 1

    cdef bint may_go_ahead(self) noexcept:
        # Nobody but the strategy looks before the block is over, and it at its views alone.
        cdef int64_t i
        if (self.strategy is None or not self.strategy.reads_views_only
                or self.closings.is_watching or self.n_irregular or not self.is_turn):
            return False
        for i in range(self.n_engines):
            if self.states[i] != NULL and not (<Core>self.states[i].core).is_plain():
                return False
        return True

    cdef int go_ahead(self) except -1:
        cdef int64_t i
        cdef Core core
        self.is_ahead = True
        self.root.fed_ns = self.block_end_ns
        for i in range(self.n_engines):
            if self.states[i] != NULL:
                core = <Core>self.states[i].core
                core.catch_up()
                core.close_due(self.block_end_ns)
        self.strategy.relocate()
        return 0

    cdef int go_back(self) except -1:
        # What the strategy raised leaves the day where it is: nothing of the future stays.
        cdef SymbolState* s
        cdef SeriesState* d
        cdef int64_t n_visible
        cdef int64_t i
        cdef int k
        cdef bint is_beyond
        self.is_ahead = False
        self.root.fed_ns = self.ts_ns
        for i in range(self.n_engines):
            s = self.states[i]
            if s == NULL:
                continue
            is_beyond = False
            for k in range(s.n_series):
                d = s.series[k]
                is_beyond |= d.n > 0 and end_of(d, d.rows[d.n - 1].timestamp) > self.ts_ns
            if not is_beyond:
                continue
            d = s.base
            n_visible = lower_bound(d.rows, d.n, self.ts_ns)
            n_visible -= n_visible > 0 and end_of(d, d.rows[n_visible - 1].timestamp) > self.ts_ns
            d.n_waiting += d.n - n_visible
            self.root.n_fed -= d.n - n_visible
            d.n = n_visible
            (<Core>s.core).recount_gaps(d)
            (<Core>s.core).rebuild()
        self.n_in_block = self.root.n_fed - self.n_before_block
        self.start_block_anew()
        return 0

    cdef int64_t next_data(self) except -1:
        if not self.is_ahead and (
                self.root.n_changes != self.n_changes or self.root.n_meddled != self.n_meddled):
            self.n_changes = self.root.n_changes
            self.n_meddled = self.root.n_meddled
            self.start_block_anew()
            self.bind_strategy()
        while self.root.window is self.window:
            self.tick = self.slices.next_tick(self.tick)
            if self.tick < self.slices.n_ticks:
                return self.block_ns + (self.tick + 1) * self.tick_ns
            if self.is_ahead or self.is_empty or not self.fill_block():
                break
            # Bars that came late may have been merged, which starts no other block.
            self.n_meddled = self.root.n_meddled
        return INT64_MAX

    cdef int bind_strategy(self) except -1:
        if self.strategy is not None:
            self.strategy.bind(self.root, self.engines, self.closings.skip_incomplete)
        return 0

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
        # The lists of the block under way belong to the running slice.
        for i in range(self.n_engines):
            if self.states[i] != NULL:
                (<Core>self.states[i].core).catch_up()
                base = self.states[i].base
                if base.n_waiting:
                    bucket_of(base, base.rows[base.n].timestamp, &start, &end)
                    now = min(now, end)
        # A bar that waits may be late, and comes with the next tick.
        now = max(min(now, self.next_closing()), self.root.clock_ns)
        return None if now == INT64_MAX else now

    cdef int64_t next_closing(self) except? -1:
        cdef int64_t now = self.closings.next_ns(True)
        if self.strategy is not None:
            now = min(now, self.strategy.next_ns())
        return now

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
        cdef int64_t i
        cdef bint is_plain
        self.end_slice()
        data_ns = self.next_data()
        closing_ns = self.next_closing()
        now = min(data_ns, closing_ns)
        if self.root.window is not self.window:
            return False
        if self.is_ahead and now > self.block_end_ns:
            # Nothing more until where the records are.
            self.is_ahead = False
            self.root.clock_ns = max(
                self.root.clock_ns, min(self.block_end_ns, <int64_t>self.window.close_ns))
            return True
        if now == INT64_MAX:
            self.root.clock_ns = max(self.root.clock_ns, <int64_t>self.window.close_ns)
            if self.closings.is_due():
                self.closings.tell(self.root.clock_ns)
            return False
        # Readers look whether the clock has moved; where it stands ahead, nobody would look.
        is_plain = now > self.root.clock_ns and self.n_irregular == 0
        self.ts_ns = now
        if not self.is_ahead:
            self.root.fed_ns = now
        self.root.clock_ns = max(self.root.clock_ns, now)
        if data_ns == now:
            self.first = self.slices.first(self.tick)
            self.last = self.slices.last(self.tick)
            self.n_in_block += self.last - self.first
            self.tick += 1
            if not is_plain:
                for i in range(self.last - self.first):
                    (<Core>self.states[self.first[i]].core).catch_up()
        if is_plain:
            if self.closings.reads_slices:
                self.catch_up_slice()
            self.closings.tell_slice(now, self.first, self.last - self.first)
        elif closing_ns == now or self.closings.is_due():
            self.closings.tell(now)
        if self.strategy is not None and self.root.window is self.window:
            # A callback may have added bars or removed records.
            is_plain &= (self.root.n_changes == self.n_changes
                         and self.root.n_meddled == self.n_meddled)
            self.strategy.turn(now, self.first, self.last - self.first, is_plain, self.is_ahead)
        if self.is_ahead and now == self.block_end_ns:
            self.is_ahead = False
        return True

    @property
    def n_records(self):
        """How many records have a base bar closed in the running slice."""
        return self.last - self.first

    def run(self, on_slice=None):
        """Step to the end of the day.

        Parameters
        ----------
        on_slice : callable or NativeStrategy, optional
            ``on_slice(ts_ns, records)`` after each instant at which base bars ended.

        Notes
        -----
        With nobody to tell anything in between, the bars are made visible symbol by symbol
        in stretches of time; the result is the same.
        """
        if isinstance(on_slice, NativeStrategy):
            self.attach(on_slice)
            while self.step_block():
                pass
        elif on_slice is None and not self.closings.is_watching:
            while self.run_block():
                pass
        elif on_slice is None:
            while self.step_block():
                pass
        else:
            while self.step():
                if self.last > self.first:
                    on_slice(self.ts_ns, self.records)

    def attach(self, NativeStrategy strategy):
        """Have a strategy called in each step from now on; None for none."""
        self.strategy = strategy
        self.start_block_anew()
        self.bind_strategy()

    cpdef bint step_block(self) except -1:
        """Step through some slices; False when the day is over."""
        cdef int64_t n = 0
        cdef bint goes_on = True
        cdef bint was_ahead
        self.is_turn = True
        try:
            while goes_on and (n < SLICES_A_TURN or self.is_ahead):
                was_ahead = self.is_ahead
                goes_on = self.step()
                n += 1
                # Whoever asks to join, or for a pause, is let in before the next slice; where the
                # records have gone ahead, when the slices have come to where they are.
                if was_ahead and not self.is_ahead:
                    break
                if self.root.n_changes != self.n_changes and not self.is_ahead:
                    break
        finally:
            self.is_turn = False
            if self.is_ahead:
                self.go_back()
        return goes_on

    cpdef bint run_block(self) except -1:
        """Go on for some time with nobody to tell; False when the day is over."""
        cdef int64_t close_ns = self.window.close_ns
        cdef int64_t now = self.root.clock_ns
        cdef int64_t n_before
        PyErr_CheckSignals()
        with nogil:
            pass
        if self.root.window is not self.window or now >= close_ns:
            return False
        now = min(now + self.stretch * max(self.tick_ns, 1), close_ns)
        self.root.clock_ns = self.root.fed_ns = now
        self.ts_ns = now
        self.start_block_anew()
        n_before = self.n_before_block
        self.catch_up_all()
        if self.n_before_block - n_before < BARS_A_SYMBOL * self.n_engines:
            self.stretch *= 2
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
        return self.n

    def __getitem__(self, int64_t at):
        self.require_current()
        if at < 0:
            at += self.n
        if at < 0 or at >= self.n:
            raise IndexError(f"record {at} of {self.n}")
        return self.cursor.engines[self.first[at]]

    def __iter__(self):
        cdef SliceIterator iterator = SliceIterator.__new__(SliceIterator)
        iterator.records = self
        return iterator


cdef class SliceIterator:
    """Goes through the records of a slice."""

    def __iter__(self):
        return self

    def __next__(self):
        cdef SliceRecords records = self.records
        if self.at >= records.n:
            raise StopIteration
        records.require_current()
        self.at += 1
        return records.cursor.engines[records.first[self.at - 1]]
