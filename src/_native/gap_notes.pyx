"""Which note says why a run of slots is missing."""

from libc.stdint cimport int8_t, int64_t

import numpy as np

cimport numpy as cnp

from openbell.errors import SchemaError
from openbell.schema import GAP_NOTE_DTYPE, GAP_REASONS

cnp.import_array()

cdef int OUTAGE = GAP_REASONS.index("outage")
cdef int LATE_START = GAP_REASONS.index("late_start")
cdef int TRUNCATED = GAP_REASONS.index("truncated")


def match_notes(cnp.ndarray runs not None, cnp.ndarray notes not None):
    """Find the note that each run has its reason from, in one walk along both.

    It is the one whose slots contain the run. A run that has grown since is still an ``outage``,
    or a ``late_start``, when it was one; what likely was ``no_trade`` may be none by now. What late
    bars have split off is no longer a ``late_start`` unless it begins with its note, nor
    ``truncated`` unless it ends with it.

    Parameters
    ----------
    runs : numpy.ndarray
        int64, shape (n, 2), contiguous: first slot, how many. Quick when they are ascending.
    notes : numpy.ndarray
        ``GAP_NOTE_DTYPE``, contiguous, ascending, apart from each other.

    Returns
    -------
    places : numpy.ndarray
        int64: place of the note, -1 where there is none.
    reasons : numpy.ndarray
        int8: the notes' reasons, 0 where there is none.

    Raises
    ------
    SchemaError
        When an array has another dtype or shape or is not contiguous.
    """
    cdef Py_ssize_t n = runs.shape[0] if runs.ndim == 2 and runs.shape[1] == 2 else -1
    cdef Py_ssize_t n_notes = notes.size
    cdef cnp.ndarray places, reasons
    cdef const int64_t* run
    cdef const Note* note
    cdef int64_t* place
    cdef int8_t* reason
    cdef Py_ssize_t i, k = 0
    cdef int64_t first, stop, begin, end
    cdef int8_t was
    if n < 0 or cnp.PyArray_TYPE(runs) != cnp.NPY_INT64 or not cnp.PyArray_ISCARRAY_RO(runs):
        raise SchemaError("runs", f"dtype {runs.dtype}, shape {(<object>runs).shape}",
                          "int64, shape (n, 2), contiguous")
    if notes.dtype != GAP_NOTE_DTYPE or notes.ndim != 1 or not notes.flags.c_contiguous:
        raise SchemaError("notes", f"dtype {notes.dtype}, shape {(<object>notes).shape}",
                          "GAP_NOTE_DTYPE, one-dimensional, contiguous")
    places, reasons = np.empty(n, np.int64), np.empty(n, np.int8)
    run = <const int64_t*>cnp.PyArray_DATA(runs)
    note = <const Note*>cnp.PyArray_DATA(notes)
    place = <int64_t*>cnp.PyArray_DATA(places)
    reason = <int8_t*>cnp.PyArray_DATA(reasons)
    for i in range(n):
        first, stop = run[2 * i], run[2 * i] + run[2 * i + 1]
        if i and first < run[2 * i - 2]:
            k = 0
        # The last note that begins at or before the run.
        while k < n_notes and note[k].first_slot <= first:
            k += 1
        place[i] = -1
        reason[i] = 0
        if k == 0:
            continue
        begin = note[k - 1].first_slot
        end = begin + note[k - 1].n_slots
        was = note[k - 1].reason
        if ((stop <= end or (first < end and (was == OUTAGE or was == LATE_START)))
                and (was != LATE_START or first == begin) and (was != TRUNCATED or stop == end)):
            place[i] = k - 1
            reason[i] = was
    return places, reasons
