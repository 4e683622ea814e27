"""Rows of records and ranges of gaps as JSON text, each float as ``repr`` shows it.

The functions named ``put_`` write at a place and return the place behind. Who calls them has made
room for the longest text there can be: see the constants.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_GET_SIZE, PyByteArray_Resize
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.mem cimport PyMem_Free
from libc.float cimport DBL_MAX
from libc.math cimport NAN, fabs, signbit
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t
from libc.string cimport memcpy, strlen

cimport numpy as cnp

from openbell._native.gap_notes cimport Note

from openbell.errors import ArgumentError, SchemaError
from openbell.schema import BAR_DTYPE, GAP_NOTE_DTYPE, GAP_REASONS, QUOTE_DTYPE, TICK_DTYPE

cnp.import_array()

cdef extern from "Python.h":
    char* PyOS_double_to_string(double, char, int, int, int*) except NULL
    int Py_DTSF_ADD_DOT_0

cdef extern from *:
    """
    #ifdef __SIZEOF_INT128__
    typedef unsigned __int128 ob_wide;
    #define OB_IS_WIDE 1
    #else
    typedef unsigned long long ob_wide;
    #define OB_IS_WIDE 0
    #endif
    """
    # 128 bits where the compiler has them; Cython needs not know.
    ctypedef unsigned long long wide "ob_wide"
    bint IS_WIDE "OB_IS_WIDE"

cdef enum:
    # repr(-1.7976931348623157e+308). None is longer: a sign, 17 digits, a point, and an exponent
    # of five characters, or from 1e-4 on "0.000" at most.
    FLOAT_ROOM = 24
    INT64_ROOM = 20           # -9223372036854775808
    INT32_ROOM = 11
    INT16_ROOM = 6
    LABEL_ROOM = 37           # "2025-07-02T13:30:00.000000000+00:00"
    COPIED_ROOM = 3           # what may be copied behind a number
    MAX_FIELDS = 6            # of a bar
    # Two brackets or commas in front, one behind, and a comma before each field but the first.
    ROW_ROOM = 3 + LABEL_ROOM + 5 * (1 + FLOAT_ROOM) + 1 + INT32_ROOM + COPIED_ROOM
    # All but a reason: keys and punctuation of 51 characters, and 103 with those of the evidence
    # and its "false".
    RANGE_ROOM = (51 + 2 * LABEL_ROOM + INT64_ROOM + 103 + 2 * FLOAT_ROOM + 3 * INT16_ROOM
                  + COPIED_ROOM)
    NS_A_SECOND = 1000000000
    SECONDS_A_DAY = 86400

cdef double EXACT_INTEGERS = 9007199254740992.0     # 2**53
cdef double FIFTEEN_DIGITS = 1e15

cdef double[20] TENS          # exact, as up to 10**22
cdef uint64_t[20] INT_TENS
cdef int power
TENS[0] = INT_TENS[0] = 1
for power in range(1, 20):
    TENS[power] = 10 * TENS[power - 1]
    INT_TENS[power] = 10 * INT_TENS[power - 1]

# What each number up to 99, and up to 999, looks like: two digits; three, and without zeros in
# front with its length. Four characters each, to be copied at once.
cdef bytes ALL_PAIRS = b"".join(b"%02d" % k for k in range(100))
cdef bytes ALL_TRIPLES = b"".join(b"%03d " % k for k in range(1000))
cdef bytes ALL_SHORT = b"".join(b"%-3d%c" % (k, len(str(k))) for k in range(1000))
cdef const char* PAIRS = PyBytes_AS_STRING(ALL_PAIRS)
cdef const char* TRIPLES = PyBytes_AS_STRING(ALL_TRIPLES)
cdef const char* SHORT = PyBytes_AS_STRING(ALL_SHORT)

cdef tuple RECORDS = (BAR_DTYPE, QUOTE_DTYPE, TICK_DTYPE)
cdef list REASONS = [b'"%s"' % reason.encode() for reason in GAP_REASONS]
cdef Py_ssize_t REASON_ROOM = max(map(len, REASONS))
cdef int EXPLAINED_CODE = GAP_REASONS.index("no_trade")


cdef struct Day:
    int64_t number            # since 1970
    char[11] text             # 2025-07-02T


cdef inline char* put_text(char* at, const char* text, size_t n) noexcept:
    memcpy(at, text, n)
    return at + n


cdef inline char* put_pair(char* at, int value) noexcept:
    memcpy(at, PAIRS + 2 * value, 2)
    return at + 2


cdef inline char* put_digits(char* at, uint64_t value, int n) noexcept:
    # The last n digits, with zeros in front.
    cdef int left = n
    while left > 1:
        left -= 2
        put_pair(at + left, <int>(value % 100))
        value //= 100
    if left:
        at[0] = <char>(c"0" + value % 10)
    return at + n


cdef inline int count_digits(uint64_t value) noexcept:
    cdef int n = 1
    while n < 20 and value >= INT_TENS[n]:
        n += 1
    return n


cdef inline char* put_whole(char* at, uint64_t value) noexcept:
    # Copies up to three characters more than it puts.
    cdef const char* text
    if value < 1000:
        text = SHORT + 4 * value
        memcpy(at, text, 4)
        return at + text[3]
    if value < 1000000:
        text = SHORT + 4 * (value // 1000)
        memcpy(at, text, 4)
        at += text[3]
        memcpy(at, TRIPLES + 4 * (value % 1000), 4)
        return at + 3
    return put_digits(at, value, count_digits(value))


cdef inline char* put_int(char* at, int64_t value) noexcept:
    cdef uint64_t magnitude = value
    if value < 0:
        at[0] = c"-"
        at += 1
        magnitude = -magnitude
    return put_whole(at, magnitude)


cdef char* put_repr(char* at, double value) except NULL:
    cdef char* text = PyOS_double_to_string(value, c"r", 0, Py_DTSF_ADD_DOT_0, NULL)
    at = put_text(at, text, strlen(text))
    PyMem_Free(text)
    return at


cdef inline char* put_decimals(char* at, uint64_t value, int n) noexcept:
    # Not all of them are zeros; those at the end are left out.
    at[0] = c"."
    at = put_pair(at + 1, <int>value) if n == 2 else put_digits(at + 1, value, n)
    while (at - 1)[0] == c"0":
        at -= 1
    return at


cdef inline bint is_near(wide exact, int s, uint64_t digits, uint64_t unit, wide half,
                         uint64_t* found) noexcept:
    # Whether the multiple of the unit that is nearest to exact / 2**s is within the half.
    cdef wide distance = exact - (<wide>(digits // unit * unit) << s)
    cdef wide step = <wide>unit << s
    found[0] = digits // unit
    if 2 * distance > step or (2 * distance == step and found[0] & 1):
        found[0] += 1
        distance = step - distance
    return distance <= half


cdef char* put_shortest_decimals(char* at, double x, int64_t whole, int* n_decimals) noexcept:
    # x is in [1e-4, 2**53), not whole, and m / 2**s with 2**52 <= m < 2**53 and 1 <= s <= 66.
    #
    # A decimal with k digits behind the point reads back as x when its distance from
    # m * 10**k / 2**s is less than half a step of m there, 10**k / 2**(s + 1), or just that and m
    # is even. (Below a power of two a step is half as long; those here have 13 digits at most and
    # are met exactly.) With k such that there are 17 digits the nearest decimal does. With 15 in
    # all at most one does, so that this one without its zeros is the shortest. A whole number
    # never does: it reads back as itself. No product reaches 2**124.
    cdef uint64_t bits, m, digits, found
    cdef wide exact, half
    cdef int s, k
    cdef char* end
    if whole:
        k = 17 - count_digits(whole)
    else:
        k = 17 if x >= 0.1 else 18 if x >= 0.01 else 19 if x >= 0.001 else 20
    memcpy(&bits, &x, 8)
    s = 1075 - <int>(bits >> 52)
    m = (bits & ((<uint64_t>1 << 52) - 1)) | (<uint64_t>1 << 52)
    half = <wide>INT_TENS[k - 1] * 5
    exact = half * 2 * m
    half -= m & 1
    digits = <uint64_t>(exact >> s)
    if is_near(exact, s, digits, 100, half, &found):
        k -= 2
        end = put_decimals(at, found - whole * INT_TENS[k], k)
        n_decimals[0] = <int>(end - at) - 1
        return end
    if is_near(exact, s, digits, 10, half, &found):
        k -= 1
    else:
        is_near(exact, s, digits, 1, half, &found)
    return put_decimals(at, found - whole * INT_TENS[k] if whole else found, k)


cdef char* put_tiny(char* at, double value) except NULL:
    # Below 1e-4, where an exponent is shorter: as in put_float, with 15 decimals.
    cdef double x = fabs(value)
    cdef int64_t found = <int64_t>(x * TENS[15] + 0.5)
    cdef char* end
    cdef int exponent
    if found == 0 or <double>found / TENS[15] != x:
        return put_repr(at, value)
    exponent = 16 - count_digits(found)
    while found % 10 == 0:
        found //= 10
    if value < 0:
        at[0] = c"-"
        at += 1
    end = put_whole(at + 1, found)
    at[0] = at[1]
    at[1] = c"."
    # Of one digit nothing is behind the point.
    at = end if end > at + 2 else at + 1
    return put_pair(put_text(at, b"e-", 2), exponent)


cdef inline char* put_float(char* at, double value, int* n_decimals) except NULL:
    # n_decimals remembers how many there were in the column: most often there are as many again.
    cdef double x = fabs(value)
    cdef double scaled
    cdef int64_t whole, found
    cdef char* start = at
    cdef int k
    if not x <= DBL_MAX:
        return put_text(at, b"null", 4)
    if x >= EXACT_INTEGERS:
        return put_repr(at, value)
    if x < 1e-4 and x != 0.0:
        return put_tiny(at, value)
    if signbit(value):
        at[0] = c"-"
        at += 1
    whole = <int64_t>x
    at = put_whole(at, whole)
    if <double>whole == x:
        return put_text(at, b".0", 2)
    # A decimal of up to 15 digits is m / 10**k, both exact, and the quotient is what it reads back
    # as. Only one such decimal can read back as x; the product is less than 1/4 away from its m.
    k = n_decimals[0]
    scaled = x * TENS[k] + 0.5
    if scaled < FIFTEEN_DIGITS:
        found = <int64_t>scaled
        if <double>found / TENS[k] == x:
            return put_decimals(at, found - whole * INT_TENS[k], k)
    if IS_WIDE:
        return put_shortest_decimals(at, x, whole, n_decimals)
    return put_repr(start, value)


cdef inline int64_t floor_divided(int64_t value, int64_t by) noexcept:
    return value // by - (value % by < 0)


cdef void set_day(Day* day, int64_t number) noexcept:
    # Years that begin with March: howardhinnant.github.io/date_algorithms.html
    cdef int64_t era = floor_divided(number + 719468, 146097)
    cdef int64_t in_era = number + 719468 - era * 146097
    cdef int64_t year = (in_era - in_era // 1460 + in_era // 36524 - in_era // 146096) // 365
    cdef int64_t in_year = in_era - (365 * year + year // 4 - year // 100)
    cdef int64_t month = (5 * in_year + 2) // 153
    cdef int64_t in_month = in_year - (153 * month + 2) // 5
    cdef char* at = day.text
    month += 3 if month < 10 else -9
    year += era * 400 + (month <= 2)
    day.number = number
    at = put_digits(at, year, 4)
    at = put_text(at, b"-", 1)
    at = put_digits(at, month, 2)
    at = put_text(at, b"-", 1)
    at = put_digits(at, in_month + 1, 2)
    put_text(at, b"T", 1)


cdef inline char* put_label(char* at, int64_t ts_ns, Day* day) noexcept:
    cdef int64_t seconds = floor_divided(ts_ns, NS_A_SECOND)
    cdef int64_t number = floor_divided(seconds, SECONDS_A_DAY)
    cdef int64_t fraction = ts_ns - seconds * NS_A_SECOND
    cdef int in_day = <int>(seconds - number * SECONDS_A_DAY)
    if number != day.number:
        set_day(day, number)
    at[0] = c'"'
    at = put_text(at + 1, day.text, 11)
    at = put_pair(at, in_day // 3600)
    at[0] = c":"
    at = put_pair(at + 1, in_day // 60 % 60)
    at[0] = c":"
    at = put_pair(at + 1, in_day % 60)
    if fraction:
        at[0] = c"."
        at = put_digits(at + 1, fraction, 9)
    return put_text(at, b'+00:00"', 7)


cdef bint are_integral(const double* values, Py_ssize_t n, Py_ssize_t step) noexcept:
    cdef Py_ssize_t i
    cdef double value
    for i in range(n):
        value = values[i * step]
        if not fabs(value) < EXACT_INTEGERS or value != <double><int64_t>value:
            return False
    return True


cdef inline char* find_room(bytearray buffer, Py_ssize_t place, Py_ssize_t room, Py_ssize_t begin,
                            Py_ssize_t n_done, Py_ssize_t n_left) except NULL:
    # The place in memory, with room there for one item; when there was none, for all that are
    # left, if they are as long as those from the beginning on.
    if PyByteArray_GET_SIZE(buffer) - place < room:
        PyByteArray_Resize(buffer, place + room + n_left * ((place - begin) // (n_done + 1) + 4))
    return PyByteArray_AS_STRING(buffer) + place


cdef Py_ssize_t write_rows(bytearray buffer, Py_ssize_t begin, const double* cells, Py_ssize_t n,
                           int n_fields, const bint* counted, const int32_t* n_base) except -1:
    cdef bint[MAX_FIELDS] as_int
    cdef int[MAX_FIELDS] n_decimals
    cdef Py_ssize_t i, place = begin
    cdef int k
    cdef char* at
    cdef Day day
    set_day(&day, 0)
    for k in range(n_fields):
        as_int[k] = counted[k] and are_integral(cells + k, n, n_fields)
        n_decimals[k] = 2
    for i in range(n):
        at = find_room(buffer, place, ROW_ROOM, begin, i, n - i)
        at = put_text(at, b",[" if i else b"[[", 2)
        at = put_label(at, (<const int64_t*>cells)[0], &day)
        for k in range(1, n_fields):
            at[0] = c","
            if as_int[k]:
                at = put_int(at + 1, <int64_t>cells[k])
            else:
                at = put_float(at + 1, cells[k], &n_decimals[k])
        if n_base != NULL:
            at[0] = c","
            at = put_int(at + 1, n_base[i])
        at[0] = c"]"
        place = at + 1 - PyByteArray_AS_STRING(buffer)
        cells += n_fields
    return finish_list(buffer, place, not n)


cdef Py_ssize_t finish_list(bytearray buffer, Py_ssize_t place, bint is_empty) except -1:
    cdef char* at = find_room(buffer, place, 2, place, 0, 0)
    at = put_text(at, b"[]", 2) if is_empty else put_text(at, b"]", 1)
    return at - PyByteArray_AS_STRING(buffer)


cdef int check_place(bytearray buffer, Py_ssize_t at) except -1:
    if not 0 <= at <= PyByteArray_GET_SIZE(buffer):
        raise ArgumentError("at", at, f"a place in a buffer of {len(buffer)}")
    return 0


def encode_rows(bytearray buffer not None, cnp.ndarray rows not None, counted=(),
                cnp.ndarray n_base=None, *, Py_ssize_t at=0):
    """Write records as the JSON text of a list of lists, labels instead of times.

    Parameters
    ----------
    buffer : bytearray
        Where to; made longer when it is too short, never shorter. Used again and again, its
        memory need not be found and cleared each time.
    rows : numpy.ndarray
        ``BAR_DTYPE``, ``QUOTE_DTYPE`` or ``TICK_DTYPE``, one-dimensional.
    counted : collection of str
        Fields that stand as integers where all of their values are whole, below 2**53.
    n_base : numpy.ndarray, optional
        int32, contiguous, one for each row: a last column.
    at : int
        Where in the buffer the text begins; what stands before it stays.

    Returns
    -------
    int
        Where it ends. Times are ISO-8601 UTC, with nine digits of the second's fraction where
        there is one. A float is the shortest text that reads back to the same bits, as ``repr``
        shows it; what is not finite is ``null``.

    Raises
    ------
    SchemaError
        When they are other records, or `n_base` does not fit them.
    ArgumentError
        When `at` lies outside the buffer.

    Notes
    -----
    No other thread runs meanwhile: the rows of a view are of one instant.
    """
    cdef Py_ssize_t n = rows.shape[0] if rows.ndim == 1 else 0
    cdef bint[MAX_FIELDS] is_counted
    cdef const int32_t* counts = NULL
    cdef int n_fields, k
    check_place(buffer, at)
    if rows.ndim != 1 or rows.dtype not in RECORDS:
        raise SchemaError("rows", f"dtype {rows.dtype}, shape {(<object>rows).shape}",
                          "bars, quotes or ticks, one-dimensional")
    if not cnp.PyArray_IS_C_CONTIGUOUS(rows) or <size_t>cnp.PyArray_DATA(rows) % 8:
        rows = rows.copy()
    if n_base is not None:
        if (n_base.ndim != 1 or n_base.size != n or not cnp.PyArray_ISCARRAY_RO(n_base)
                or cnp.PyArray_TYPE(n_base) != cnp.NPY_INT32):
            raise SchemaError("n_base", f"dtype {n_base.dtype}, shape {(<object>n_base).shape}",
                              f"{n} of int32, side by side")
        counts = <const int32_t*>cnp.PyArray_DATA(n_base)
    names = rows.dtype.names
    n_fields = len(names)
    for k in range(n_fields):
        is_counted[k] = names[k] in counted
    return write_rows(buffer, at, <const double*>cnp.PyArray_DATA(rows), n, n_fields, is_counted,
                      counts)


cdef inline char* put_evidence(char* at, const Note* note) except NULL:
    cdef int n_decimals = 2
    # Where there were too few bars to judge by, neither is known.
    cdef bint is_judged = note.fill_rate != 0.0
    at = put_text(at, b',"evidence":{"fill_rate":', 25)
    at = put_float(at, note.fill_rate if is_judged else NAN, &n_decimals)
    at = put_text(at, b',"expected_per_day":', 20)
    at = put_float(at, note.expected_per_day if is_judged else NAN, &n_decimals)
    at = put_int(put_text(at, b',"n_peers":', 11), note.n_peers)
    at = put_int(put_text(at, b',"n_silent":', 12), note.n_silent)
    at = put_int(put_text(at, b',"n_coarser":', 13), note.n_coarser)
    at = put_text(at, b',"disconnected":', 16)
    return put_text(at, b"true}", 5) if note.disconnected else put_text(at, b"false}", 6)


cdef Py_ssize_t write_ranges(bytearray buffer, Py_ssize_t begin, const int64_t* runs, Py_ssize_t n,
                             const int64_t* starts_ns, const int8_t* reasons,
                             const Note* notes, const int64_t* places) except -1:
    cdef Py_ssize_t i, place = begin
    cdef char* at
    cdef bytes reason
    cdef Day day
    set_day(&day, 0)
    for i in range(n):
        at = find_room(buffer, place, RANGE_ROOM + REASON_ROOM, begin, i, n - i)
        at[0] = c"," if i else c"["
        at = put_text(at + 1, b'{"start_time":', 14)
        at = put_label(at, starts_ns[runs[0]], &day)
        at = put_text(at, b',"end_time":', 12)
        at = put_label(at, starts_ns[runs[0] + runs[1] - 1], &day)
        at = put_int(put_text(at, b',"bar_count":', 13), runs[1])
        reason = REASONS[reasons[i]]
        at = put_text(put_text(at, b',"reason":', 10), PyBytes_AS_STRING(reason), len(reason))
        if places[i] >= 0 and reasons[i] != EXPLAINED_CODE:
            at = put_evidence(at, &notes[places[i]])
        at[0] = c"}"
        place = at + 1 - PyByteArray_AS_STRING(buffer)
        runs += 2
    return finish_list(buffer, place, not n)


def encode_ranges(bytearray buffer not None, cnp.ndarray runs not None,
                  cnp.ndarray starts_ns not None, cnp.ndarray reasons not None,
                  cnp.ndarray notes not None, cnp.ndarray places not None, *, Py_ssize_t at=0):
    """Write runs of missing slots as the JSON text of the ranges of a dump.

    Parameters
    ----------
    buffer : bytearray
        As in :func:`encode_rows`.
    runs : numpy.ndarray
        int64, shape (n, 2): first missing slot, how many.
    starts_ns : numpy.ndarray
        int64, the label of each slot.
    reasons : numpy.ndarray
        int8, n indices into ``GAP_REASONS``.
    notes : numpy.ndarray
        ``GAP_NOTE_DTYPE``: the evidence.
    places : numpy.ndarray
        int64, n indices into `notes`, negative where there is none.
    at : int
        As in :func:`encode_rows`.

    Returns
    -------
    int
        Where the text ends: a list of objects, with their evidence where there is some and the
        reason is not ``no_trade``.

    Raises
    ------
    SchemaError
        When an array has another shape or dtype or is not contiguous, or points outside another.
    ArgumentError
        When `at` lies outside the buffer.
    """
    cdef Py_ssize_t n = runs.shape[0] if runs.ndim == 2 and runs.shape[1] == 2 else -1
    check_place(buffer, at)
    check("runs", runs, cnp.NPY_INT64, n >= 0)
    check("starts_ns", starts_ns, cnp.NPY_INT64, starts_ns.ndim == 1)
    check("reasons", reasons, cnp.NPY_INT8, reasons.ndim == 1 and reasons.size == n)
    check("places", places, cnp.NPY_INT64, places.ndim == 1 and places.size == n)
    if notes.dtype != GAP_NOTE_DTYPE or notes.ndim != 1 or not notes.flags.c_contiguous:
        raise SchemaError("notes", f"dtype {notes.dtype}", "GAP_NOTE_DTYPE, side by side")
    check_places(<const int64_t*>cnp.PyArray_DATA(runs), n, starts_ns.size,
                 <const int8_t*>cnp.PyArray_DATA(reasons),
                 <const int64_t*>cnp.PyArray_DATA(places), notes.size)
    return write_ranges(buffer, at, <const int64_t*>cnp.PyArray_DATA(runs), n,
                        <const int64_t*>cnp.PyArray_DATA(starts_ns),
                        <const int8_t*>cnp.PyArray_DATA(reasons),
                        <const Note*>cnp.PyArray_DATA(notes),
                        <const int64_t*>cnp.PyArray_DATA(places))


cdef int check(str name, cnp.ndarray values, int kind, bint fits) except -1:
    if not fits or cnp.PyArray_TYPE(values) != kind or not cnp.PyArray_ISCARRAY_RO(values):
        raise SchemaError(name, f"dtype {values.dtype}, shape {(<object>values).shape}",
                          "one entry for each run, side by side, of the type it has in a series")
    return 0


cdef int check_places(const int64_t* runs, Py_ssize_t n, Py_ssize_t n_slots, const int8_t* reasons,
                      const int64_t* places, Py_ssize_t n_notes) except -1:
    cdef Py_ssize_t i
    for i in range(n):
        if (runs[2 * i] < 0 or runs[2 * i + 1] < 1 or runs[2 * i + 1] > n_slots
                or runs[2 * i] > n_slots - runs[2 * i + 1]):
            raise SchemaError("runs", f"{runs[2 * i + 1]} slots from {runs[2 * i]} on",
                              f"one or more of {n_slots}")
        if reasons[i] < 0 or reasons[i] >= len(REASONS) or places[i] >= n_notes:
            raise SchemaError("reasons", f"reason {reasons[i]}, note {places[i]}",
                              f"one of {len(REASONS)} reasons and of {n_notes} notes")
    return 0
