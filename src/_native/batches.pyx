"""Arrays of bars, filled from decoded columns that come in batches, and judged on the way."""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport strcmp, strncmp

cimport numpy as cnp

from openbell._native.arena cimport Arena, Extent, extent_of
from openbell._native.columns cimport column
from openbell._native.state cimport OB_PREFETCH, Bar, is_sound
from openbell._native.views cimport ob_view

from openbell.errors import SchemaError
from openbell.schema import BAR_DTYPE

cnp.import_array()

cdef extern from *:
    """
    /* Of the Arrow C data interface: what is read of it. */
    struct ArrowSchema {
        const char *format, *name, *metadata;
        int64_t flags, n_children;
        struct ArrowSchema **children, *dictionary;
        void (*release)(struct ArrowSchema *);
        void *private_data;
    };
    struct ArrowArray {
        int64_t length, null_count, offset, n_buffers, n_children;
        const void **buffers;
        struct ArrowArray **children, *dictionary;
        void (*release)(struct ArrowArray *);
        void *private_data;
    };
    """
    ctypedef struct ArrowSchema "struct ArrowSchema":
        const char* format
        int64_t n_children
        ArrowSchema** children
    ctypedef struct ArrowArray "struct ArrowArray":
        int64_t length
        int64_t offset
        int64_t n_children
        const void** buffers
        ArrowArray** children

cdef extern from *:
    """
    #define OB_UNSOUND 1
    #define OB_JUMPS 2
    #if defined(__x86_64__) && defined(__GNUC__)
    #include <immintrin.h>
    #define OB_ARE(a, relation, b) _mm512_cmp_pd_mask(a, b, _CMP_##relation##_OQ)
    /* A line of four pairs: the i-th of each of the first two, the k-th of each of the others. */
    #define OB_PUT(line, a, b, i, c, d, k) _mm512_stream_pd( \\
        rows + 8 * (line), _mm512_shuffle_f64x2( \\
            _mm512_shuffle_f64x2(a, b, 0x11 * (i)), _mm512_shuffle_f64x2(c, d, 0x11 * (k)), 0x88))

    static int ob_joins_eights(void) { return __builtin_cpu_supports("avx512f"); }

    /* Eight rows are six lines of the cache: written past it, none has to be fetched before. */
    __attribute__((target("avx512f")))
    static int ob_join_eights(const char *const *columns, int64_t first, int64_t n, void *out,
                              int64_t step) {
        const __m512d most = _mm512_set1_pd(__builtin_inf());
        const __m512d least = _mm512_set1_pd(-__builtin_inf());
        const __m512i steps = _mm512_set1_epi64(step);
        __m512i jumps = _mm512_setzero_si512();
        unsigned sound = 0xff;
        double *rows = (double *)out;
        for (int64_t i = first; i < first + n; i += 8, rows += 48) {
            const __m512d t = _mm512_loadu_pd((const double *)columns[0] + i);
            const __m512d before = _mm512_loadu_pd((const double *)columns[0] + i - 1);
            const __m512d o = _mm512_loadu_pd((const double *)columns[1] + i);
            const __m512d h = _mm512_loadu_pd((const double *)columns[2] + i);
            const __m512d l = _mm512_loadu_pd((const double *)columns[3] + i);
            const __m512d c = _mm512_loadu_pd((const double *)columns[4] + i);
            const __m512d v = _mm512_loadu_pd((const double *)columns[5] + i);
            /* Pairs of neighbours: of the rows 0, 2, 4, 6 and of the rows 1, 3, 5, 7. */
            const __m512d to0 = _mm512_unpacklo_pd(t, o), to1 = _mm512_unpackhi_pd(t, o);
            const __m512d hl0 = _mm512_unpacklo_pd(h, l), hl1 = _mm512_unpackhi_pd(h, l);
            const __m512d cv0 = _mm512_unpacklo_pd(c, v), cv1 = _mm512_unpackhi_pd(c, v);
            OB_PUT(0, to0, hl0, 0, cv0, to1, 0);
            OB_PUT(1, hl1, cv1, 0, to0, hl0, 1);
            OB_PUT(2, cv0, to1, 1, hl1, cv1, 1);
            OB_PUT(3, to0, hl0, 2, cv0, to1, 2);
            OB_PUT(4, hl1, cv1, 2, to0, hl0, 3);
            OB_PUT(5, cv0, to1, 3, hl1, cv1, 3);
            sound &= OB_ARE(l, LE, o) & OB_ARE(o, LE, h) & OB_ARE(l, LE, c) & OB_ARE(c, LE, h)
                & OB_ARE(h, LT, most) & OB_ARE(l, GT, least)
                & OB_ARE(v, GE, _mm512_setzero_pd()) & OB_ARE(v, LT, most);
            jumps = _mm512_or_si512(jumps, _mm512_xor_si512(steps, _mm512_sub_epi64(
                _mm512_castpd_si512(t), _mm512_castpd_si512(before))));
        }
        _mm_sfence();
        return (sound == 0xff ? 0 : OB_UNSOUND)
            | (_mm512_test_epi64_mask(jumps, jumps) ? OB_JUMPS : 0);
    }
    #else
    static int ob_joins_eights(void) { return 0; }
    static int ob_join_eights(const char *const *columns, int64_t first, int64_t n, void *out,
                              int64_t step) { return 0; }
    #endif
    """
    int OB_UNSOUND
    int OB_JUMPS
    bint ob_joins_eights() noexcept nogil
    int ob_join_eights(const char** columns, int64_t first, int64_t n, void* out,
                       int64_t step) noexcept nogil

cdef enum:
    N_FIELDS = 6
    N_AHEAD = 64              # rows, 3 KB: how far ahead memory is asked for
    LINE = 64                 # of the cache, in bytes
    # Fewer bars are worth keeping in the cache, for whoever wants them next.
    N_STREAMED = 1 << 16


cdef int join_each(const char** columns, int64_t first, int64_t n, Bar* out, int64_t before,
                   int64_t step) noexcept nogil:
    """Join rows, the label `before` in front of them: what is wrong with them."""
    cdef const int64_t* ts = <const int64_t*>columns[0] + first
    cdef const double* o = <const double*>columns[1] + first
    cdef const double* h = <const double*>columns[2] + first
    cdef const double* l = <const double*>columns[3] + first
    cdef const double* c = <const double*>columns[4] + first
    cdef const double* v = <const double*>columns[5] + first
    cdef int64_t jumps = 0
    cdef bint sound = True
    cdef int64_t i
    # Memory is what this waits for: to look at the rows meanwhile costs next to nothing.
    for i in range(n):
        OB_PREFETCH(out + i + N_AHEAD)
        sound &= is_sound(o[i], h[i], l[i], c[i], v[i])
        jumps |= (ts[i] - before) ^ step
        before = ts[i]
        out[i].timestamp = ts[i]
        out[i].open = o[i]
        out[i].high = h[i]
        out[i].low = l[i]
        out[i].close = c[i]
        out[i].volume = v[i]
    return (0 if sound else OB_UNSOUND) | (OB_JUMPS if jumps else 0)


cdef bint join_judged(const char** columns, int64_t first, int64_t n, Bar* out, int64_t held,
                      int64_t step, bint streams) noexcept nogil:
    """Join rows behind `held` others: whether all are sound and ascend by multiples of the step."""
    cdef const int64_t* ts = <const int64_t*>columns[0] + first
    cdef int64_t before = (out - 1).timestamp if held else ts[0] - step
    cdef int64_t head = n
    cdef int64_t most = 0
    cdef int64_t i
    cdef int wrong
    if streams:
        head = 1
        while head < n and <uintptr_t>(out + head) % LINE:
            head += 1
        most = (n - head) // 8 * 8
    wrong = join_each(columns, first, head, out, before, step)
    if most:
        wrong |= ob_join_eights(columns, first + head, most, out + head, step)
    head += most
    if head < n:
        wrong |= join_each(columns, first + head, n - head, out + head, ts[head - 1], step)
    if wrong == OB_JUMPS:
        for i in range(n):
            if ts[i] - before != step and (ts[i] <= before or (ts[i] - before) % step):
                return False
            before = ts[i]
        return True
    return wrong == 0


cdef class Interleaver:
    """Arrays of bars, filled one behind the other from columns that come in batches.

    Parameters
    ----------
    arena : Arena
        Where the arrays lie; their memory goes back to it when nobody holds them.
    sizes : sequence of int
        Bars in each.
    step_ns : int
        Of the interval. Rows are judged while they are in the cache: a record that adopts an
        array of sound bars, which ascend by multiples of the step, need not look at each again.

    Attributes
    ----------
    arrays : list of numpy.ndarray
        ``BAR_DTYPE``, in the order of the sizes. Read-only: what was judged stays so.
    n_left : int
        Rows still to come.
    """

    def __cinit__(self, Arena arena not None, sizes, int64_t step_ns):
        cdef Extent extent
        cdef int64_t k
        if step_ns < 1:
            raise SchemaError("step_ns", step_ns, "nanoseconds, 1 at least")
        self.n_arrays = len(sizes)
        self.step_ns = step_ns
        self.arrays = []
        self.extents = []
        self.rows = <Bar**>malloc((self.n_arrays + 1) * sizeof(Bar*))
        self.sizes = <int64_t*>malloc((self.n_arrays + 1) * sizeof(int64_t))
        if self.rows == NULL or self.sizes == NULL:
            raise MemoryError(f"no memory for {self.n_arrays} arrays of bars")
        for k in range(self.n_arrays):
            self.sizes[k] = sizes[k]
            extent = arena.take(self.sizes[k] * sizeof(Bar), False)
            self.arrays.append(
                ob_view(BAR_DTYPE, extent.data, self.sizes[k], sizeof(Bar), extent))
            self.extents.append(extent)
            self.rows[k] = <Bar*>extent.data
            self.n_left += self.sizes[k]
        self.streams = self.n_left >= N_STREAMED and ob_joins_eights()

    def __dealloc__(self):
        free(self.rows)
        free(self.sizes)

    def add(self, cnp.ndarray timestamp not None, cnp.ndarray open not None,
            cnp.ndarray high not None, cnp.ndarray low not None, cnp.ndarray close not None,
            cnp.ndarray volume not None):
        """Write columns behind those that came before; the GIL is released meanwhile.

        Raises
        ------
        SchemaError
            When they are not as :func:`interleave` takes them, or more than the arrays hold.
        """
        cdef const char* columns[N_FIELDS]
        cdef Py_ssize_t n = timestamp.size
        columns[0] = <const char*>column(timestamp, "timestamp", c"i", n)
        columns[1] = <const char*>column(open, "open", c"f", n)
        columns[2] = <const char*>column(high, "high", c"f", n)
        columns[3] = <const char*>column(low, "low", c"f", n)
        columns[4] = <const char*>column(close, "close", c"f", n)
        columns[5] = <const char*>column(volume, "volume", c"f", n)
        self.put(columns, n)

    def add_batch(self, batch, order):
        """The same of a record batch, if its columns can be read where they are.

        Parameters
        ----------
        batch : object with ``__arrow_c_array__``
        order : sequence of int
            Which of its columns is which field of a bar.

        Returns
        -------
        bool
            False, and nothing was written: the columns are not timestamps in nanoseconds and
            64-bit floats, or some value is null.
        """
        cdef const char* columns[N_FIELDS]
        cdef int k
        cdef int at
        schema_capsule, array_capsule = batch.__arrow_c_array__()
        cdef const ArrowSchema* schema = <const ArrowSchema*>PyCapsule_GetPointer(
            schema_capsule, "arrow_schema")
        cdef const ArrowArray* array = <const ArrowArray*>PyCapsule_GetPointer(
            array_capsule, "arrow_array")
        cdef const ArrowArray* child
        cdef const char* kind
        if strcmp(schema.format, "+s") or array.buffers[0] != NULL:
            return False
        for k in range(N_FIELDS):
            at = order[k]
            if not 0 <= at < array.n_children:
                return False
            kind = schema.children[at].format
            child = array.children[at]
            if strcmp(kind, "g") if k else strncmp(kind, "tsn:", 4):
                return False
            # No bitmap, no nulls.
            if child.buffers[0] != NULL:
                return False
            columns[k] = <const char*>child.buffers[1] + 8 * (array.offset + child.offset)
        self.put(columns, array.length)
        return True

    cdef int put(self, const char** columns, int64_t n) except -1:
        cdef int64_t row = 0
        cdef int64_t m
        if n > self.n_left:
            raise SchemaError("columns", f"{n} rows", f"{self.n_left} at most")
        self.n_left -= n
        with nogil:
            while row < n:
                while self.sizes[self.at] == self.filled:
                    self.at += 1
                    self.filled = 0
                    self.is_bad = False
                m = min(n - row, self.sizes[self.at] - self.filled)
                self.is_bad |= not join_judged(
                    columns, row, m, self.rows[self.at] + self.filled, self.filled, self.step_ns,
                    self.streams)
                self.filled += m
                row += m
                if self.filled == self.sizes[self.at] and not self.is_bad:
                    with gil:
                        (<Extent>self.extents[self.at]).judged_step_ns = self.step_ns
        return 0


def is_judged(cnp.ndarray bars not None):
    """Whether the array was filled by an :class:`Interleaver` and ascends: O(1)."""
    cdef Extent extent = extent_of(bars)
    return extent is not None and extent.judged_step_ns != 0
