"""Arrays of bars, filled from decoded columns that come in batches, and judged on the way."""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.stdint cimport int64_t
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

cdef enum:
    N_FIELDS = 6
    N_AHEAD = 64              # rows, 3 KB: how far ahead memory is asked for


cdef bint join_judged(const char** columns, int64_t first, int64_t n, Bar* out, int64_t held,
                      int64_t step) noexcept nogil:
    """Join rows behind `held` others: whether all are sound and ascend by multiples of the step."""
    cdef const int64_t* ts = <const int64_t*>columns[0] + first
    cdef const double* o = <const double*>columns[1] + first
    cdef const double* h = <const double*>columns[2] + first
    cdef const double* l = <const double*>columns[3] + first
    cdef const double* c = <const double*>columns[4] + first
    cdef const double* v = <const double*>columns[5] + first
    cdef int64_t before = (out - 1).timestamp if held else ts[0] - step
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
    if jumps == 0 or not sound:
        return sound
    for i in range(0 if held else 1, n):
        before = (out + i - 1).timestamp
        if out[i].timestamp <= before or (out[i].timestamp - before) % step:
            return False
    return True


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
                    columns, row, m, self.rows[self.at] + self.filled, self.filled, self.step_ns)
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
