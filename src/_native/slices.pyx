"""Which records have a bar in which slice of a block of ticks.

One counting sort: over runs of bars in consecutive slots, so that a symbol that trades all the
time costs a few looks a block, and one that does not trade a single one. Slices of the same
records, one after the other, share their list.
"""

from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free
from libc.string cimport memset

from openbell._native.memory cimport grown
from openbell._native.state cimport (
    SEGMENT_COLUMNS, Bar, SeriesState, bucket_of, find_segment,
)


cdef class Slices:
    """The lists of one block: for each tick, the places of the records with a bar ending there."""

    def __cinit__(self):
        self.ends = <int32_t*>grown(NULL, (MOST_TICKS + 1) * sizeof(int32_t))
        self.lists = <int32_t*>grown(NULL, (MOST_TICKS + 1) * sizeof(int32_t))

    def __dealloc__(self):
        free(self.order)
        free(self.ends)
        free(self.lists)
        free(self.runs)
        free(self.firsts)

    cdef int begin(self, int64_t block_ns, int64_t tick_ns, int64_t n_ticks,
                   int64_t n_places) except -1:
        """Empty lists for so many ticks, at most MOST_TICKS, and places."""
        self.block_ns = block_ns
        self.tick_ns = tick_ns
        self.n_ticks = n_ticks
        self.n_places = self.n_runs = 0
        self.firsts = <int64_t*>grown(self.firsts, (n_places + 1) * sizeof(int64_t))
        memset(self.ends, 0, (n_ticks + 1) * sizeof(int32_t))
        memset(self.lists, 0, (n_ticks + 1) * sizeof(int32_t))
        return 0

    cdef int add(self, int64_t place, const SeriesState* base) except -1:
        """Take in the waiting bars of the record at a place; places come in their order."""
        cdef const Bar* row = base.rows + base.n
        cdef const Bar* stop = row + min(base.n_waiting, <int64_t>self.n_ticks)
        cdef const int64_t* segment = (
            base.segments + SEGMENT_COLUMNS * find_segment(base, row.timestamp))
        cdef double per_tick = 1.0 / self.tick_ns
        cdef bint is_finest = base.step_ns == self.tick_ns
        cdef int64_t start
        cdef int64_t end
        cdef int64_t more
        cdef int64_t tick
        cdef int64_t block_end_ns = self.block_ns + self.n_ticks * self.tick_ns
        cdef Run run = Run(0, 0)
        while self.n_places <= place:
            self.firsts[self.n_places] = self.n_runs
            self.n_places += 1
        while row < stop:
            end = row.timestamp + base.step_ns
            more = 0
            if end > segment[1] or row.timestamp == segment[0]:
                bucket_of(base, row.timestamp, &start, &end)
            elif is_finest:
                # Labels ascend by multiples of the step: where the last one of many is as many
                # steps on, none is missing in between.
                more = 1
                while (row + more < stop
                       and (row + more).timestamp == row.timestamp + more * base.step_ns
                       and (row + more).timestamp + base.step_ns <= segment[1]):
                    more += more
                more = more // 2
            if end > block_end_ns:
                break
            # Ends lie on ticks, so that half a tick more rounds to the right one. What is late
            # comes with the first.
            tick = max(<int64_t>((end - self.block_ns) * per_tick + 0.5) - 1, <int64_t>0)
            more = min(more, self.n_ticks - 1 - tick)
            if run.n and tick == run.tick + run.n:
                run.n += <int32_t>(more + 1)
            elif run.n == 0 or tick > run.tick:
                if run.n:
                    self.add_run(run)
                run = Run(<int32_t>tick, <int32_t>(more + 1))
            row += more + 1
        if run.n:
            self.add_run(run)
        return 0

    cdef int add_run(self, Run run) except -1:
        if self.n_runs == self.room_runs:
            self.room_runs = max(1024, 2 * self.room_runs)
            self.runs = <Run*>grown(self.runs, self.room_runs * sizeof(Run))
        self.runs[self.n_runs] = run
        self.n_runs += 1
        self.ends[run.tick] += 1
        self.ends[run.tick + run.n] -= 1
        self.lists[run.tick] = self.lists[run.tick + run.n] = 1
        return 0

    cdef int64_t sort(self) except -1:
        """Make the lists; how many bars they hold."""
        # From where runs begin and end to how many bars each list has, to where it begins;
        # putting them there moves that to where it ends.
        cdef int64_t n_bars = 0
        cdef int64_t total = 0
        cdef int32_t count = 0
        cdef int32_t n_lists = 0
        cdef int32_t* into
        cdef const Run* run
        cdef const Run* stop
        cdef int64_t tick
        cdef int64_t place
        cdef int32_t k
        self.firsts[self.n_places] = self.n_runs
        for tick in range(self.n_ticks):
            if tick == 0 or self.lists[tick]:
                count += self.ends[tick]
                self.ends[n_lists] = <int32_t>total
                total += count
                n_lists += 1
            self.lists[tick] = n_lists - 1
            n_bars += count
        if total > self.room:
            self.room = total + total // 4
            self.order = <int32_t*>grown(self.order, self.room * sizeof(int32_t))
        for place in range(self.n_places):
            run = self.runs + self.firsts[place]
            stop = self.runs + self.firsts[place + 1]
            while run < stop:
                into = self.ends + self.lists[run.tick]
                for k in range(self.lists[run.tick + run.n - 1] - self.lists[run.tick] + 1):
                    self.order[into[k]] = <int32_t>place
                    into[k] += 1
                run += 1
        return n_bars

    cdef int64_t next_tick(self, int64_t tick) noexcept:
        """The first from `tick` on that has a bar; the number of ticks when there is none."""
        while tick < self.n_ticks and self.first(tick) == self.last(tick):
            tick += 1
        return tick

    cdef const int32_t* first(self, int64_t tick) noexcept:
        """Where the list of a tick begins."""
        return self.order + (self.ends[self.lists[tick] - 1] if self.lists[tick] else 0)

    cdef const int32_t* last(self, int64_t tick) noexcept:
        """Where it ends."""
        return self.order + self.ends[self.lists[tick]]
