"""The rings of one symbol: which series there are, their memory, and putting a row in its place.

Knows slots and rows. What a bar means to the others is decided in ``core.pyx``.
"""

from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uintptr_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memmove, memset

cimport numpy as cnp
from cpython.ref cimport PyObject

from openbell._native.arena cimport Arena, Extent, Py_REFCNT
from openbell._native.state cimport (
    N_CHANGES_KEPT, SEGMENT_COLUMNS, Bar, SeriesState, SymbolState, bucket_of, find_segment,
    lower_bound, move_next, slot_after,
)

from openbell.errors import RecordDetached, SessionStateError

cnp.import_array()

cdef int64_t SMALLEST_ROOM = 64
cdef enum:
    LINE = 64        # of the cache: what every append reads lies in as few as possible


cdef inline void* at_line(void* memory) noexcept:
    return <void*>((<uintptr_t>memory + LINE - 1) & ~<uintptr_t>(LINE - 1))


cdef class SessionCore:
    """The session's clock and memory, shared by the records of one root.

    Attributes
    ----------
    window : SessionWindow or None
        The day, from ``begin`` on.
    arena : Arena
        Where the rings live; kept from day to day.
    n_changes : int
        Goes up whenever records, their series or their indicators come or go.
    assessor : weakref.ref or None
        To whoever finds reasons for gaps; asked when they are read.
    """

    def __cinit__(self):
        self.arena = Arena()

    @property
    def now_ns(self):
        """The session's clock, int64 nanoseconds UTC; 0 while there is no day."""
        return self.clock_ns

    def set_clock(self, int64_t now_ns):
        """Store the session's clock. O(1): records settle when they are read."""
        self.clock_ns = now_ns

    def set_window(self, window):
        """Take the day, its clock at the open; or with None drop it."""
        self.window = window
        self.clock_ns = 0 if window is None else window.open_ns
        self.fed_ns = INT64_MIN
        self.n_fed = 0


cdef class Rings:
    """The series of one symbol and the memory they lie in.

    Parameters
    ----------
    symbol : str
    capacity : int
        Rows that each series keeps at least (and twice as many at most); 0 keeps all.

    Attributes
    ----------
    gap_notes : dict of str to GapNotes
        What was found out about the gaps of each series that arrives.
    """

    def __cinit__(self, str symbol, int64_t capacity=0):
        cdef SymbolState* s
        self.state_memory = calloc(1, sizeof(SymbolState) + LINE)
        if self.state_memory == NULL:
            raise MemoryError(f"{symbol}: no memory for its state")
        self.state = s = <SymbolState*>at_line(self.state_memory)
        self.symbol = symbol
        self.capacity = capacity
        self.names = []
        self.gap_notes = {}
        self.extents = []
        self.grids = []
        s.core = <void*>self
        s.now_ns = &self.own_clock_ns
        s.next_ts = INT64_MIN
        s.last_end_ns = INT64_MIN
        s.settled_ns = INT64_MIN
        s.floor_ns = INT64_MIN
        s.high = s.evicted_high = -INFINITY
        s.low = s.evicted_low = INFINITY

    def __dealloc__(self):
        cdef int i
        if self.state == NULL:
            return
        for i in range(self.state.n_series):
            free(self.state.series[i].evicted_gaps)
            free(self.state.series[i].memory)
        free(self.state.series)
        free(self.state_memory)

    cdef void note_change(self, SeriesState* d, int64_t ts) noexcept:
        """Count a write that was not an append, and the first label it touched."""
        cdef int64_t* place = d.changed + d.revision % N_CHANGES_KEPT
        if d.revision >= N_CHANGES_KEPT:
            d.changed_before = min(d.changed_before, place[0])
        place[0] = ts
        d.revision += 1
        self.root.n_stirred += 1

    cdef int put_in_order(self, list names) except -1:
        cdef SymbolState* s = self.state
        cdef list wanted = names + [name for name in self.names if name not in names]
        cdef list places = [self.names.index(name) for name in wanted]
        cdef list held = [<uintptr_t>s.series[i] for i in range(s.n_series)]
        cdef int i
        self.names[:] = wanted
        self.extents = [self.extents[place] for place in places]
        self.grids = [self.grids[place] for place in places]
        for i in range(s.n_series):
            s.series[i] = <SeriesState*><uintptr_t>held[places[i]]
            s.series[i].index = i
        return 0

    cdef SeriesState* find(self, str name) except NULL:
        return self.state.series[self.names.index(name)]

    cdef SeriesState* make_series(self, str name, object grid) except NULL:
        cdef SymbolState* s = self.state
        cdef void* memory = calloc(1, sizeof(SeriesState) + LINE)
        cdef SeriesState** grown = <SeriesState**>realloc(
            s.series, (s.n_series + 1) * sizeof(SeriesState*))
        cdef SeriesState* d
        if grown != NULL:
            s.series = grown
        if memory == NULL or grown == NULL:
            free(memory)
            raise MemoryError(f"{self.symbol} {name}: no memory for the series")
        d = <SeriesState*>at_line(memory)
        d.memory = memory
        d.index = s.n_series
        d.open_end_ns = INT64_MIN
        d.changed_before = INT64_MAX
        d.max_rows = self.capacity
        s.series[s.n_series] = d
        s.n_series += 1
        self.names.append(name)
        self.extents.append(None)
        self.grids.append(None)
        if grid is not None:
            self.bind_series(d, grid)
        return d

    def bind(self, SessionCore root, int64_t n_reserve, bint touch):
        """Take the day's grids, and memory for `n_reserve` base bars (0: when needed)."""
        cdef SymbolState* s = self.state
        cdef list grids = [root.window.grid(name) for name in self.names]
        cdef int i
        self.root = root
        for i in range(s.n_series):
            self.bind_series(s.series[i], grids[i])
        s.step_ns = s.base.step_ns
        s.now_ns = &root.clock_ns
        self.attached = True
        if n_reserve:
            self.reserve(n_reserve, touch)

    def reserve(self, int64_t n_base_bars, bint touch=True):
        """Take memory for that many base bars and what is folded from them.

        Parameters
        ----------
        n_base_bars : int
            More than the day has slots are not reserved.
        touch : bool
            Whether to touch each page now, so that no append has to.
        """
        cdef SymbolState* s = self.state
        cdef SeriesState* d
        cdef int64_t room
        cdef int i
        for i in range(s.n_series):
            d = s.series[i]
            room = min(n_base_bars, most_rows(self, d))
            if room > d.room and (d == s.base or d.source != NULL):
                self.take_memory(d, room, touch)

    cdef int bind_series(self, SeriesState* d, object grid) except -1:
        cdef cnp.ndarray table = grid.segments
        self.grids[d.index] = grid
        d.segments = <const int64_t*>cnp.PyArray_DATA(table)
        d.n_segments = <int32_t>cnp.PyArray_DIM(table, 0)
        d.step_ns = grid.step_ns
        d.first_start_ns = d.segments[0]
        bucket_of(d, d.first_start_ns, &d.next_start_ns, &d.next_end_ns)
        return 0

    @property
    def now_ns(self):
        """The clock it lives by: the session's, and once detached the instant of that."""
        return self.state.now_ns[0]

    cdef int require_live(self, str call) except -1:
        if self.attached:
            return 0
        if self.root is not None:
            raise RecordDetached(self.symbol, call)
        raise SessionStateError(
            f"{self.symbol}.{call}", "not begun",
            "register the record and call root.begin(window) before adding bars",
        )

    def require_attached(self, str call):
        """Raise unless the record is part of a running day."""
        self.require_live(call)

    def grid_of(self, str name):
        """The slots of a series in its day, None before it has one."""
        return self.grids[self.names.index(name)]

    cdef int take_memory(self, SeriesState* d, int64_t room, bint touch) except -1:
        # Views of the memory it had keep that, as it was.
        cdef bint folded = d.source != NULL
        cdef Extent extent = self.root.arena.take(
            room * (sizeof(Bar) + folded * sizeof(int32_t)), touch)
        cdef Bar* rows = <Bar*>extent.data
        cdef int32_t* n_base = <int32_t*>(rows + room) if folded else NULL
        if d.n + d.n_waiting:
            memcpy(rows, d.rows, (d.n + d.n_waiting) * sizeof(Bar))
        if folded and d.n:
            if d.n_base != NULL:
                memcpy(n_base, d.n_base, d.n * sizeof(int32_t))
            else:
                memset(n_base, 0, d.n * sizeof(int32_t))
        d.rows = rows
        d.n_base = n_base
        d.room = room
        self.root.n_moved += 1
        self.extents[d.index] = extent
        return 0

    cdef int make_room(self, SeriesState* d, int64_t n_more) except -1:
        cdef int64_t needed = d.n + d.n_waiting + n_more
        cdef int64_t room
        if needed <= d.room:
            return 0
        if d.max_rows and d.n >= 2 * d.max_rows:
            self.evict(d, d.n - d.max_rows)
            needed = d.n + d.n_waiting + n_more
            if needed <= d.room:
                return 0
        room = max(needed, 2 * d.room, SMALLEST_ROOM)
        return self.take_memory(d, max(needed, min(room, most_rows(self, d))), False)

    cdef int evict(self, SeriesState* d, int64_t n_drop) except -1:
        cdef SymbolState* s = self.state
        cdef int64_t i
        cdef int64_t start
        cdef int64_t end
        cdef int64_t* grown
        cdef Extent extent = self.extents[d.index]
        for i in range(n_drop):
            if d.rows[i].timestamp != d.first_start_ns:
                if d.n_evicted_gaps & (d.n_evicted_gaps - 1) == 0:
                    grown = <int64_t*>realloc(d.evicted_gaps, max(
                        1, 2 * d.n_evicted_gaps) * 2 * sizeof(int64_t))
                    if grown == NULL:
                        raise MemoryError(f"{self.symbol}: no memory for the evicted gaps")
                    d.evicted_gaps = grown
                d.evicted_gaps[2 * d.n_evicted_gaps] = d.first_start_ns
                d.evicted_gaps[2 * d.n_evicted_gaps + 1] = d.rows[i].timestamp
                d.n_evicted_gaps += 1
            end = d.rows[i].timestamp + d.step_ns
            if end >= d.segments[1] or d.rows[i].timestamp == d.segments[0]:
                bucket_of(d, d.rows[i].timestamp, &start, &end)
                slot_after(d, end, &end, &start)
            d.first_start_ns = end
            if d == s.base:
                s.evicted_volume += d.rows[i].volume
                s.evicted_high = max(s.evicted_high, d.rows[i].high)
                s.evicted_low = min(s.evicted_low, d.rows[i].low)
        d.n_evicted += n_drop
        d.n -= n_drop
        self.root.n_moved += 1
        # The list and this function hold the extent; anyone else is looking through a view,
        # and must go on seeing the bars it was made for.
        if Py_REFCNT(<PyObject*>extent) > 2:
            d.rows += n_drop
            if d.n_base != NULL:
                d.n_base += n_drop
            return self.take_memory(d, d.room, False)
        memmove(d.rows, d.rows + n_drop, (d.n + d.n_waiting) * sizeof(Bar))
        if d.n_base != NULL:
            memmove(d.n_base, d.n_base + n_drop, d.n * sizeof(int32_t))
        return 0

    cdef int insert_row(self, SeriesState* d, int64_t pos, const Bar* bar,
                        int32_t n_base) except -1:
        cdef int64_t before = d.n
        cdef int64_t expected
        cdef int64_t start
        cdef int64_t end
        cdef int64_t after
        cdef int64_t after_end
        self.make_room(d, 1)
        pos -= before - d.n
        expected = d.first_start_ns
        if pos:
            bucket_of(d, d.rows[pos - 1].timestamp, &start, &end)
            slot_after(d, end, &expected, &end)
        bucket_of(d, bar.timestamp, &start, &end)
        slot_after(d, end, &after, &after_end)
        if pos == d.n:
            d.n_gaps += expected != bar.timestamp
            d.segment = find_segment(d, start)
            d.next_start_ns = after
            d.next_end_ns = after_end
        else:
            d.n_gaps += 1 - (expected == bar.timestamp) - (after == d.rows[pos].timestamp)
        memmove(d.rows + pos + 1, d.rows + pos, (d.n + d.n_waiting - pos) * sizeof(Bar))
        d.rows[pos] = bar[0]
        if d.n_base != NULL:
            memmove(d.n_base + pos + 1, d.n_base + pos, (d.n - pos) * sizeof(int32_t))
            d.n_base[pos] = n_base
        d.n += 1
        return 0

    cdef int put_row(self, SeriesState* d, const Bar* bar, int32_t n_base) except -1:
        """Put a closed bar into its slot, replacing what is there."""
        cdef int64_t pos
        self.make_room(d, 1)
        if d.n_evicted and bar.timestamp < d.first_start_ns:
            return 0
        pos = lower_bound(d.rows, d.n, bar.timestamp)
        d.updated = 1
        if pos < d.n:
            self.note_change(d, bar.timestamp)
        if pos < d.n and d.rows[pos].timestamp == bar.timestamp:
            d.rows[pos] = bar[0]
            if d.n_base != NULL:
                d.n_base[pos] = n_base
            return 0
        return self.insert_row(d, pos, bar, n_base)

    cdef void recount_gaps(self, SeriesState* d) noexcept:
        cdef int64_t start
        cdef int64_t end
        cdef int64_t i
        d.n_gaps = d.n_evicted_gaps
        d.segment = 0
        if d.first_start_ns == INT64_MAX:
            d.next_start_ns = d.next_end_ns = INT64_MAX
        else:
            bucket_of(d, d.first_start_ns, &d.next_start_ns, &d.next_end_ns)
        for i in range(d.n):
            end = d.next_end_ns
            if d.rows[i].timestamp != d.next_start_ns:
                d.n_gaps += 1
                bucket_of(d, d.rows[i].timestamp, &start, &end)
            d.segment = find_segment(d, d.rows[i].timestamp)
            move_next(d, end)

    cdef void rescan_metrics(self) noexcept:
        cdef SymbolState* s = self.state
        cdef const Bar* rows = s.base.rows
        cdef int64_t i
        s.volume = s.evicted_volume
        s.high = s.evicted_high
        s.low = s.evicted_low
        for i in range(s.base.n):
            s.volume += rows[i].volume
            s.high = rows[i].high if rows[i].high > s.high else s.high
            s.low = rows[i].low if rows[i].low < s.low else s.low
        s.metrics_stale = 0


cdef int64_t most_rows(Rings rings, const SeriesState* d) noexcept:
    # A row for each slot of the day, unless the ring slides before that.
    cdef const int64_t* row = d.segments + SEGMENT_COLUMNS * (d.n_segments - 1)
    cdef int64_t n_slots = row[3] + (row[1] - row[2] + d.step_ns - 1) // d.step_ns
    return min(n_slots, 2 * d.max_rows) if d.max_rows else n_slots
