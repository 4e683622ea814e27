"""What a strategy in Cython uses of openbell; ``cimport openbell`` gives all of it.

Everything here needs the GIL, and is as fast as the engine itself: the functions are inlined
into the module that uses them, and take no Python object apart.

A *record* is a ``SymbolEngine``; every ``SymbolSessionData`` of Python is one. A *series* is the
bars of one interval of a record, found by name once and kept: ``series_of(record, "1m")``. It
stays where it is for the day, and as long as somebody holds the record. Its memory may move
when a bar is stored, so that pointers into it are good until then, or until the slice is over.

What may be read of the structs, and by nobody written:

    Bar          timestamp (the START, nanoseconds UTC), open, high, low, close, volume
    BarView      rows, n: closed bars, the oldest first; nothing behind `n` rows
    SeriesState  rows, n         closed bars, after ``n_closed`` or ``view_of``
                 n_base          base bars in each row; NULL where the bars arrive
                 acc, acc_n_base the bucket under way, of what the series it folds from has
                                 closed; 0 when there is none. ``open_bar`` merges those below
                 step_ns         the interval
                 n_gaps          runs of missing slots up to the newest closed bar
                 revision        how many writes there were that were not appends
                 n_evicted       bars let go of by a record with a capacity
                 source          what it folds from; NULL where the bars arrive
    SymbolState  base            the series that arrives
                 last_end_ns     end of the newest base bar; INT64_MIN while there is none
                 volume, high, low    of the day, after ``n_closed`` and while `metrics_stale`
                                 is 0; ask ``record.session_high`` otherwise
                 now_ns          the session's clock, a pointer

Modules compiled against one version of openbell are compiled again for the next one; call
``require_same_build()`` where such a module begins, and a stale one says so.
"""

from libc.stdint cimport int64_t

from openbell._native.core cimport Core, append_quick
from openbell._native.engine cimport SymbolEngine
from openbell._native.state cimport Bar, SeriesState, SymbolState, bucket_of, merge_bar
from openbell._native.strategy cimport BarView, NativeStrategy


cdef inline SeriesState* series_of(SymbolEngine record, str interval) except NULL:
    """The series of an interval, by its canonical name; a ``KeyError`` when there is none."""
    if interval not in record.core.names:
        raise KeyError(f"{record.core.symbol} has no {interval} bars")
    return record.core.find(interval)


cdef inline int append(SymbolEngine record, int64_t ts_ns, double open, double high, double low,
                       double close, double volume) except -1:
    """Store a bar of the base interval, as ``record.append`` does.

    Returns 0, or the number of the reason for which it was refused (``schema.REFUSALS[n - 1]``
    names it), and counted in ``record.rejected``. Raises when the record takes no bars at all.
    """
    cdef Bar bar
    if append_quick(record.state, ts_ns, open, high, low, close, volume):
        return 0
    bar.timestamp = ts_ns
    bar.open = open
    bar.high = high
    bar.low = low
    bar.close = close
    bar.volume = volume
    return record.core.append_bar(&bar)


cdef inline int64_t n_closed(SymbolEngine record, const SeriesState* series) except -1:
    """How many closed bars a series holds by now: what is due is settled first."""
    record.core.settle()
    return series.n


cdef inline BarView view_of(SymbolEngine record, const SeriesState* series) except *:
    """All closed bars of a series, by now."""
    cdef BarView view
    view.n = n_closed(record, series)
    view.rows = series.rows
    return view


cdef inline const Bar* newest(const BarView* view) noexcept nogil:
    """The newest closed bar; NULL while there is none."""
    return view.rows + view.n - 1 if view.n else NULL


cdef inline BarView window(const BarView* view, int64_t n) noexcept nogil:
    """The newest `n` closed bars, or all where there are fewer."""
    cdef BarView part
    part.n = n if n < view.n else view.n
    part.rows = view.rows + view.n - part.n
    return part


cdef inline bint open_bar(SymbolEngine record, const SeriesState* series, Bar* bar) except -1:
    """Write down the bar under way, of all base bars so far; False where none came yet.

    Labelled by the start of its slot. Always False for a series that arrives.
    """
    cdef const SeriesState* finer = series
    cdef bint found = False
    cdef int64_t start
    cdef int64_t end
    record.core.settle()
    while finer.source != NULL:
        if finer.acc_n_base:
            if found:
                merge_bar(bar, &finer.acc)
            else:
                bar[0] = finer.acc
                found = True
        finer = finer.source
    if found:
        bucket_of(series, bar.timestamp, &start, &end)
        bar.timestamp = start
    return found


cdef inline int require_same_build() except -1:
    """Raise ``ImportError`` unless this openbell has the structs that were compiled against."""
    from openbell._native.compiled import struct_sizes

    sizes = (sizeof(Bar), sizeof(BarView), sizeof(SeriesState), sizeof(SymbolState))
    if struct_sizes() != sizes:
        raise ImportError(
            f"this module was compiled against another openbell (structs of {sizes} bytes, now "
            f"{struct_sizes()}): compile it again")
    return 0
