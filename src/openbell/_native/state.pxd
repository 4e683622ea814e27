"""The state of one symbol as plain C structs, and the inline steps of the append path.

Every step keeps one invariant: after it no bucket is open whose end lies at or before
``elapsed`` = max(end of the newest base bar, the session's clock when last settled).
"""

from libc.math cimport INFINITY
from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t

cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define OB_PREFETCH(at) __builtin_prefetch((at), 1)
    #else
    #define OB_PREFETCH(at) ((void)(at))
    #endif
    """
    void OB_PREFETCH(const void* at) noexcept nogil

cdef enum:
    SEGMENT_COLUMNS = 4      # open, close, origin of the buckets, number of the first slot
    N_CHANGES_KEPT = 16      # how many of the newest changes a series remembers the place of


cdef struct Bar:
    int64_t timestamp
    double open
    double high
    double low
    double close
    double volume


cdef struct SeriesState:
    # Line 1: what every append reads.
    Bar* rows                    # closed bars, oldest retained first
    int64_t n                    # visible rows
    int32_t room                 # rows the memory holds
    int32_t updated
    int64_t next_start_ns        # the slot after the newest closed bar (kept for folded series)
    int64_t next_end_ns
    int64_t open_end_ns          # end of the newest bucket; INT64_MIN while there was none
    SeriesState* first_consumer  # what folds from this series, ascending
    SeriesState* next_sibling
    # Line 2: the open bucket.
    Bar acc                      # labelled by the bucket's start
    int32_t acc_n_base           # base bars in it; 0 when no bucket is open
    int32_t has_written          # a folded series with rows of n_base 0, written directly
    int32_t* n_base              # base bars in each row; NULL for a series that arrives
    # The rest: read when a bucket opens, or off the hot path.
    int64_t step_ns
    const int64_t* segments      # the grid's table, shared with everyone
    int32_t n_segments
    int32_t segment              # where the open bucket or the next slot lies
    int64_t n_waiting            # rows behind the visible head, for the replay cursor
    int64_t n_gaps               # runs of missing slots up to the newest closed bar
    int64_t revision
    int64_t max_rows             # 0: grows; else keeps the newest max_rows to 2 x max_rows
    int64_t n_evicted
    int64_t first_start_ns       # the slot after the newest evicted bar, or the first slot
    int64_t* evicted_gaps        # pairs of start and end of the runs among evicted bars
    int64_t n_evicted_gaps
    SeriesState* source          # what it folds from; NULL when it arrives
    int32_t touched              # within one refold: a closed row changed
    int64_t mark                 # within one fold of a block: where it has changed
    int64_t changed[N_CHANGES_KEPT]  # first label that revision k changed, at k modulo its length
    int64_t changed_before       # the earliest of those no longer in there
    int32_t index                # place in the Core's lists
    void* memory                 # what to free


cdef struct SymbolState:
    # Line 1: what every append reads.
    int64_t next_ts              # only a bar with this label takes the quick path
    int64_t step_ns              # of the base
    int64_t last_quick_ns        # the last label of the segment that may take it
    int64_t last_end_ns          # end of the newest base bar; INT64_MIN while there is none
    SeriesState* base
    double volume
    double high
    double low
    # The rest.
    const int64_t* now_ns        # the session's clock
    int64_t settled_ns           # the clock when due buckets were last closed
    int64_t floor_ns             # a bar before it lies in a bucket that the clock has closed
    int32_t metrics_stale        # a stored bar changed: rescan before reading
    int32_t n_series
    int32_t is_fed               # its bars come by a replay; any other is looked at closely
    SeriesState** series         # ascending; what arrives before what folds from it
    double evicted_volume
    double evicted_high
    double evicted_low
    void* core                   # the Core that owns this, borrowed


cdef inline bint is_sound(double open, double high, double low, double close,
                          double volume) noexcept nogil:
    # Branch-free on purpose; NaN fails every comparison, open and close lie between the others.
    return ((low <= open) & (open <= high) & (low <= close) & (close <= high)
            & (high < INFINITY) & (low > -INFINITY) & (volume >= 0.0) & (volume < INFINITY))


cdef inline bint same_values(const Bar* a, const Bar* b) noexcept nogil:
    return (a.open == b.open and a.high == b.high and a.low == b.low
            and a.close == b.close and a.volume == b.volume)


cdef inline void merge_bar(Bar* into, const Bar* bar) noexcept nogil:
    into.high = bar.high if bar.high > into.high else into.high
    into.low = bar.low if bar.low < into.low else into.low
    into.close = bar.close
    into.volume += bar.volume


cdef inline int32_t find_segment(const SeriesState* d, int64_t ts) noexcept nogil:
    cdef int32_t seg = d.segment
    while seg + 1 < d.n_segments and ts >= d.segments[SEGMENT_COLUMNS * (seg + 1)]:
        seg += 1
    while seg > 0 and ts < d.segments[SEGMENT_COLUMNS * seg]:
        seg -= 1
    return seg


cdef inline void bucket_of(const SeriesState* d, int64_t ts, int64_t* start,
                           int64_t* end) noexcept nogil:
    # `ts` must lie in a segment.
    cdef const int64_t* row = d.segments + SEGMENT_COLUMNS * find_segment(d, ts)
    cdef int64_t at = row[2] + (ts - row[2]) // d.step_ns * d.step_ns
    start[0] = at if at > row[0] else row[0]
    end[0] = at + d.step_ns if at + d.step_ns < row[1] else row[1]


cdef inline int64_t end_of(const SeriesState* d, int64_t label) noexcept nogil:
    # The end of the slot a label starts. The first of a segment, and the last, may be cut.
    cdef const int64_t* segment = d.segments + SEGMENT_COLUMNS * d.segment
    cdef int64_t start
    cdef int64_t end = label + d.step_ns
    if not (segment[0] < label and end <= segment[1]):
        bucket_of(d, label, &start, &end)
    return end


cdef inline void slot_after(const SeriesState* d, int64_t end_ns, int64_t* start,
                            int64_t* end) noexcept nogil:
    # The slot that follows one ending at `end_ns`; INT64_MAX twice after the last.
    cdef int32_t seg = 0
    while end_ns > d.segments[SEGMENT_COLUMNS * seg + 1]:
        seg += 1
    if end_ns == d.segments[SEGMENT_COLUMNS * seg + 1]:
        seg += 1
        if seg == d.n_segments:
            start[0] = INT64_MAX
            end[0] = INT64_MAX
            return
        end_ns = d.segments[SEGMENT_COLUMNS * seg]
    bucket_of(d, end_ns, start, end)


cdef inline void move_next(SeriesState* d, int64_t end_ns) noexcept nogil:
    cdef const int64_t* row = d.segments + SEGMENT_COLUMNS * d.segment
    if end_ns > row[0] and end_ns + d.step_ns <= row[1]:
        d.next_start_ns = end_ns
        d.next_end_ns = end_ns + d.step_ns
    else:
        slot_after(d, end_ns, &d.next_start_ns, &d.next_end_ns)
        if d.next_start_ns != INT64_MAX:
            d.segment = find_segment(d, d.next_start_ns)


cdef inline void open_bucket(SeriesState* d, const Bar* bar, int32_t n_base) noexcept nogil:
    cdef int64_t start = d.next_start_ns
    cdef int64_t end = d.next_end_ns
    if bar.timestamp < start or bar.timestamp >= end:
        bucket_of(d, bar.timestamp, &start, &end)
        d.segment = find_segment(d, start)
    d.acc = bar[0]
    d.acc.timestamp = start
    d.open_end_ns = end
    d.acc_n_base = n_base


cdef inline int64_t lower_bound(const Bar* rows, int64_t n, int64_t ts) noexcept nogil:
    # How many rows have a label before `ts`. Late bars are mostly recent: gallop from the end.
    cdef int64_t hi = n
    cdef int64_t lo
    cdef int64_t mid
    cdef int64_t step = 1
    while hi > 0 and rows[hi - 1].timestamp >= ts:
        hi -= step
        step += step
    if hi < 0:
        hi = 0
    lo = hi
    hi = hi + step if hi + step < n else n
    while lo < hi:
        mid = (lo + hi) >> 1
        if rows[mid].timestamp < ts:
            lo = mid + 1
        else:
            hi = mid
    return lo


# Whoever goes through many symbols fetches what the next ones follow on their way, step by step:
# each needs what the one before has brought.

cdef inline void fetch_symbol(const SymbolState* s) noexcept nogil:
    OB_PREFETCH(s)
    OB_PREFETCH(&s.now_ns)
    OB_PREFETCH(&s.core)


cdef inline void fetch_series(const SymbolState* s) noexcept nogil:
    cdef int i
    OB_PREFETCH(s.core)
    for i in range(s.n_series):
        OB_PREFETCH(s.series[i])
        OB_PREFETCH(&s.series[i].acc)
        OB_PREFETCH(&s.series[i].step_ns)


cdef inline void fetch_rows(const SymbolState* s) noexcept nogil:
    cdef const SeriesState* d
    cdef int i
    for i in range(s.n_series):
        d = s.series[i]
        OB_PREFETCH(d.rows + d.n)
        OB_PREFETCH(d.rows + d.n + 2)
        if d.n_base != NULL:
            OB_PREFETCH(d.n_base + d.n)
