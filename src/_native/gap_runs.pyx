"""Where the slots of a series are missing: found once, and from there on bar by bar."""

from libc.stdint cimport INT64_MIN, int32_t, int64_t
from libc.stdlib cimport free, realloc

from openbell._native.slots cimport slots_ended
from openbell._native.state cimport OB_PREFETCH, SEGMENT_COLUMNS, Bar, SeriesState, find_segment

cdef enum:
    AHEAD = 96       # rows: beyond the end of the page, where the processor does not look
    GROUP = 8
    N_AT_ONCE = 512


cdef class GapScan:
    """The runs of missing slots between the bars of one series."""

    def __cinit__(self):
        self.revision = -1

    def __dealloc__(self):
        free(self.runs)

    cdef int find(self, const SeriesState* d) except -1:
        """Look at the rows that were not looked at yet; at all of them when some have changed."""
        if self.revision != d.revision or self.n_evicted != d.n_evicted or self.n_rows > d.n:
            self.begin(d)
        if self.n + d.n_evicted_gaps > d.n_gaps:
            self.begin(d)
        if self.n + d.n_evicted_gaps < d.n_gaps:
            self.scan(d)
        elif self.n_rows < d.n:
            # The engine has counted no gap more: nothing is missing between these rows.
            self.n_rows = d.n
            self.segment = find_segment(d, d.rows[d.n - 1].timestamp)
            self.awaited_ns = d.rows[d.n - 1].timestamp + d.step_ns
        return 0

    cdef void begin(self, const SeriesState* d) noexcept:
        self.revision = d.revision
        self.n_evicted = d.n_evicted
        self.n = self.n_rows = 0
        self.n_lost = slots_ended(d, d.first_start_ns) if d.n_evicted else 0
        self.awaited_ns = self.row_0_ns = INT64_MIN // 2
        self.segment = self.segment_noted = 0

    cdef int scan(self, const SeriesState* d) except -1:
        # Labels ascend on the grid: when the eighth is seven steps on, none is missing. Where
        # one is, rows are noted without a branch: at a few percent of gaps, mispredicted ones
        # would cost more than all else here.
        cdef const Bar* rows = d.rows
        cdef int64_t step = d.step_ns
        cdef int64_t awaited = self.awaited_ns
        cdef int64_t closed = d.segments[SEGMENT_COLUMNS * self.segment + 1]
        cdef int64_t at[2 * N_AT_ONCE]
        cdef int64_t ts
        cdef int64_t i = self.n_rows
        cdef int k = 0
        cdef int q
        while i < d.n:
            if i + GROUP <= d.n:
                OB_PREFETCH(rows + i + AHEAD + 3)
                OB_PREFETCH(rows + i + AHEAD + 7)
                ts = rows[i + GROUP - 1].timestamp
                if ts == awaited + (GROUP - 1) * step and ts < closed:
                    awaited = ts + step
                    i += GROUP
                    continue
                for q in range(GROUP):
                    ts = rows[i + q].timestamp
                    at[2 * k] = i + q
                    at[2 * k + 1] = ts
                    k += (ts != awaited) | (ts >= closed)
                    awaited = ts + step
                i += GROUP
            else:
                ts = rows[i].timestamp
                at[2 * k] = i
                at[2 * k + 1] = ts
                k += (ts != awaited) | (ts >= closed)
                awaited = ts + step
                i += 1
            while ts >= closed:
                self.segment += 1
                closed = d.segments[SEGMENT_COLUMNS * self.segment + 1]
            if k > N_AT_ONCE - GROUP:
                self.note(d, at, k)
                k = 0
        self.note(d, at, k)
        self.awaited_ns = awaited
        self.n_rows = d.n
        return 0

    cdef int note(self, const SeriesState* d, const int64_t* at, int k) except -1:
        cdef const int64_t* row = d.segments + SEGMENT_COLUMNS * self.segment_noted
        cdef int64_t step = d.step_ns
        cdef int64_t room
        cdef int64_t ts
        cdef int64_t n_missing
        cdef int32_t* grown
        cdef int q
        if self.n + k > self.room:
            room = k + max(self.n, d.n_gaps - d.n_evicted_gaps)
            grown = <int32_t*>realloc(self.runs, 2 * room * sizeof(int32_t))
            if grown == NULL:
                raise MemoryError(f"no memory for {room} gaps")
            self.runs = grown
            self.room = room
        for q in range(k):
            ts = at[2 * q + 1]
            # Most gaps are one slot, and a division costs more than all else here.
            if ts - self.row_0_ns - at[2 * q] * step == step and ts < row[1]:
                n_missing = 1
            else:
                while ts >= row[1]:
                    row += SEGMENT_COLUMNS
                    self.segment_noted += 1
                n_missing = row[3] + (ts - row[2]) // step - at[2 * q] - self.n_lost
            self.runs[2 * self.n] = <int32_t>(at[2 * q] + self.n_lost)
            self.runs[2 * self.n + 1] = <int32_t>n_missing
            self.n += n_missing != 0
            self.n_lost += n_missing
            self.row_0_ns = ts - at[2 * q] * step
        return 0
