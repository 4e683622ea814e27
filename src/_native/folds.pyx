"""The fold of one symbol's closed bars into every derived interval: whole runs, and anew.

The fold of a single bar is inline in ``folds.pxd``.
"""

from libc.stdint cimport INT64_MIN, int32_t, int64_t

from openbell._native.rings cimport Rings, most_rows
from openbell._native.state cimport (
    SEGMENT_COLUMNS, Bar, SeriesState, SymbolState, bucket_of, find_segment, lower_bound,
    merge_bar, same_values, slot_after,
)


cdef class Folds(Rings):
    """The rings of one symbol, and what folds from what."""

    cdef int64_t elapsed(self) noexcept:
        return max(self.state.last_end_ns, self.state.settled_ns)

    cdef int close_due(self, int64_t elapsed_ns) except -1:
        cdef SymbolState* s = self.state
        cdef SeriesState* d
        cdef int i
        for i in range(s.n_series):
            d = s.series[i]
            if d.acc_n_base and d.open_end_ns <= elapsed_ns:
                close_bucket(s, d)
        return 0

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
        if d.n + end - begin + 1 > d.room:
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

    cdef int fold_from(self, int64_t n_base_before, bint has_gaps) except -1:
        """Fold the base rows from `n_base_before` on into every level.

        Where none is missing, the bars themselves close what they end.
        """
        self.fold_consumers(self.state.base, n_base_before)
        if has_gaps or self.state.settled_ns > self.state.last_end_ns:
            self.close_due(self.elapsed())
        return 0

    cdef int fold_consumers(self, SeriesState* source, int64_t begin) except -1:
        # Levels that get no row are not looked at: their lines may not be in the cache.
        cdef SeriesState* d = source.first_consumer
        cdef int64_t n_before
        while d != NULL:
            n_before = d.n
            self.fold_run(d, begin, source.n)
            if d.n > n_before:
                self.fold_consumers(d, n_before)
            d = d.next_sibling
        return 0

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


cdef int restore_rows(Folds folds, SeriesState* d, list rows) except -1:
    cdef Bar bar
    cdef int64_t pos
    for row in rows:
        bar = row
        pos = lower_bound(d.rows, d.n, bar.timestamp)
        if pos < d.n and d.rows[pos].timestamp == bar.timestamp:
            continue
        folds.insert_row(d, pos, &bar, 0)
    return 0
