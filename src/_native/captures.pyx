"""What an export reads of all series of a record, at once."""

from libc.stdint cimport INT64_MIN, int64_t

from openbell._native.series cimport Series


def read_states(list bars not None):
    """Read the state of series, in one go: no other thread runs meanwhile. O(series).

    Parameters
    ----------
    bars : list of Series

    Returns
    -------
    list of tuple
        Of each series, in their order: its record's base interval (None where it is not derived),
        closed bars held, bars its ring has let go of, revision, label of the newest bar (the
        least int64 where there is none), slots that have ended, runs of missing slots. While
        these stay equal no bar has changed.
    """
    cdef Series one
    cdef int64_t n
    cdef list found = []
    for one in bars:
        # First: it closes what has ended.
        n = one.settled()
        found.append((
            one.core.names[0] if one.state.source != NULL else None,
            n,
            one.state.n_evicted,
            one.state.revision,
            one.state.rows[n - 1].timestamp if n else INT64_MIN,
            one.ended(),
            one.count_gaps(),
        ))
    return found
