"""Who watches which series, how far each has been told, and what is about to be."""

from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

cimport numpy as cnp

from openbell._native.engine cimport SymbolEngine
from openbell._native.memory cimport grown
from openbell._native.state cimport Bar, SeriesState, end_of
from openbell._native.values cimport BarData

cnp.import_array()


cdef class Watched:
    """One series of one record, and how far it has been told."""

    cdef const Bar* find_head(self) except? NULL:
        """The one bar of a replayed record that is to be told next; NULL if it may be another."""
        cdef SymbolEngine engine = self.engine
        cdef const SeriesState* d = self.series.state
        cdef const Bar* row
        self.n_seen = -1
        if not engine.core.attached or d != engine.state.base:
            return NULL
        self.series.settled()
        row = d.rows + d.n
        if d.n and (row - 1).timestamp > self.told_ns:
            row -= 1
            if d.n > 1 and (row - 1).timestamp > self.told_ns:
                return NULL
        elif d.n_waiting == 0:
            return NULL
        self.revision = d.revision
        self.head = row
        self.n_seen = n_disturbed(engine.core.root)
        return row


cdef class Closing:
    """One interval that somebody watches: its slots, and each record's series."""

    def __dealloc__(self):
        free(self.ranks)
        free(self.bits)

    cdef int64_t end_ns(self):
        if self.at >= cnp.PyArray_DIM(self.ends, 0):
            return INT64_MAX
        return (<int64_t*>cnp.PyArray_DATA(self.ends))[self.at]

    cdef int rank(self, dict places) except -1:
        """Learn which of the records watched stands in which place of the replay."""
        cdef Watched watched
        cdef int64_t n_words = len(self.watched) // 64 + 1
        cdef int64_t n_places = 0
        cdef int64_t k
        cdef int64_t place
        self.is_ranked = True
        self.is_direct = True
        self.is_eager = False
        for watched in self.watched:
            self.is_eager |= len(watched.eager) > 0
            if not watched.series.is_base or watched.engine not in places:
                self.is_direct = False
                return 0
            self.step_ns = watched.series.state.step_ns
            n_places = max(n_places, <int64_t>places[watched.engine] + 1)
        self.ranks = <int32_t*>grown(self.ranks, n_places * sizeof(int32_t))
        self.bits = <uint64_t*>grown(self.bits, n_words * sizeof(uint64_t))
        memset(self.ranks, 0xff, n_places * sizeof(int32_t))
        memset(self.bits, 0, n_words * sizeof(uint64_t))
        for k, watched in enumerate(self.watched):
            place = places[watched.engine]
            self.ranks[place] = <int32_t>k
        self.n_places = n_places
        self.n_words = n_words
        return 0

    cdef void mark(self, const int32_t* places, int64_t n) noexcept:
        cdef int64_t i
        cdef int32_t rank
        # What raised may have left some.
        memset(self.bits, 0, self.n_words * sizeof(uint64_t))
        for i in range(n):
            rank = self.ranks[places[i]] if places[i] < self.n_places else -1
            if rank >= 0:
                self.bits[rank >> 6] |= <uint64_t>1 << (rank & 63)


cdef class Told:
    """What is to be told, in this order: each bar, and of which series it is."""

    def __cinit__(self):
        self.watched = []
        self.bars = []
        self.is_in_order = True

    cdef int sort(self) except -1:
        # Corrections stay before all others, in the order they were found.
        cdef list pairs = list(zip(self.watched, self.bars))
        pairs[self.n_corrected:] = sorted(pairs[self.n_corrected:], key=place_of)
        self.watched, self.bars = map(list, zip(*pairs))
        return 0


def interval_of(Closing closing):
    return closing.interval


def symbol_of(Watched watched):
    return watched.symbol


def place_of(tuple pair):
    cdef Watched watched = pair[0]
    cdef BarData bar = pair[1]
    return (
        end_of(watched.series.state, bar.bar.timestamp), watched.closing.interval,
        watched.symbol,
    )
