"""Memory for bars: one arena, handed out as extents that views keep alive.

An extent belongs to one series of one record. A numpy view names the extent as its base,
so the memory stays as it was for as long as anybody looks at it, and is handed out again
only when nobody does.
"""

import os

cimport cython
cimport numpy as cnp
from libc.stdint cimport uintptr_t
from libc.stdlib cimport free, malloc

cnp.import_array()

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    static void ob_ask_for_huge_pages(void *at, size_t n) { madvise(at, n, MADV_HUGEPAGE); }
    #else
    static void ob_ask_for_huge_pages(void *at, size_t n) { (void)at; (void)n; }
    #endif
    """
    void ob_ask_for_huge_pages(void* at, size_t n) noexcept nogil

cdef size_t LINE = 64
cdef size_t PAGE = 4096
cdef size_t HUGE = 2 << 20
cdef size_t FIRST_CHUNK = 2 << 20
cdef size_t LARGEST_CHUNK = 64 << 20
# A session of some ten symbols fits in 30 MB: there clearing whole huge pages, which a virtual
# machine may first have to find, takes longer than the faults they save.
cdef size_t FIRST_HUGE_CHUNK = 32 << 20


cdef inline size_t round_up(size_t n, size_t unit) noexcept:
    return (n + unit - 1) // unit * unit


cdef inline size_t step_of(size_t n) noexcept:
    # Sizes go in steps of 256 to 512 for each doubling: 0.4 % of waste at most.
    cdef size_t unit = LINE
    while (unit << 9) <= n:
        unit <<= 1
    return unit


cdef list find_held(dict free_of, size_t* size):
    # Days of one symbol differ a little in length: an extent up to an eighth longer will do.
    cdef size_t most = size[0] + size[0] // 8
    cdef size_t at = size[0]
    cdef list held
    while at <= most:
        held = free_of.get(at)
        if held:
            size[0] = at
            return held
        at = round_up(at + 1, step_of(at + 1))
    return None


@cython.no_gc
cdef class Arena:
    """Hands out extents of memory, and takes back those that nobody holds.

    Attributes
    ----------
    n_reserved_bytes : int
        Taken from the system; given back when the arena itself goes.
    n_used_bytes : int
        In extents that a record or a view holds.
    """

    def __cinit__(self):
        # For memory checkers: they see one allocation an extent, and so every overrun.
        self._plain = os.environ.get("OPENBELL_PLAIN_MALLOC") == "1"
        self._chunks = []
        self._free = {}
        self._next = self._spare = NULL
        self._left = self._n_spare = 0
        self._skew = 1
        self.n_reserved_bytes = 0
        self.n_used_bytes = 0

    def __dealloc__(self):
        cdef object address
        if self._chunks is not None:
            for address in self._chunks:
                free(<void*><uintptr_t>address)

    cdef Extent take(self, size_t n_bytes, bint touch):
        cdef size_t size = round_up(n_bytes if n_bytes else 1, step_of(n_bytes))
        cdef list held = None if self._plain else find_held(self._free, &size)
        cdef Extent extent = Extent.__new__(Extent)
        cdef size_t at
        cdef bint fresh = not held
        if self._plain:
            extent.data = <char*>malloc(size)
            if extent.data == NULL:
                raise MemoryError(f"no memory for {size} bytes of bars")
        elif not fresh:
            extent.data = <char*><uintptr_t>held.pop()
        else:
            extent.data = self.cut(size)
        extent.arena = self
        extent.n_bytes = size
        self.n_used_bytes += size
        if touch and fresh:
            at = 0
            while at < size:
                (<volatile char*>extent.data)[at] = 0
                at += PAGE
        return extent

    cdef char* cut(self, size_t size) except NULL:
        # Starts at odd multiples of a cache line apart: rings that all begin on a page
        # would fight for the same cache sets when every symbol writes its n-th bar.
        cdef size_t n_bytes = size + self._skew * LINE
        cdef char* data
        if n_bytes <= self._n_spare:
            data = self._spare
            self._spare += n_bytes
            self._n_spare -= n_bytes
        else:
            if self._left < n_bytes:
                self.grow(n_bytes)
            data = self._next
            self._next += n_bytes
            self._left -= n_bytes
        self._skew = (self._skew + 2) % 8 | 1
        return data

    cdef void give_back(self, char* data, size_t n_bytes):
        cdef list held
        self.n_used_bytes -= n_bytes
        if self._plain:
            free(data)
            return
        held = self._free.get(n_bytes)
        if held is None:
            held = []
            self._free[n_bytes] = held
        held.append(<uintptr_t>data)

    cdef int grow(self, size_t n_bytes) except -1:
        cdef size_t size = FIRST_CHUNK << min(len(self._chunks), 5)
        cdef char* chunk
        cdef char* aligned
        if size > LARGEST_CHUNK:
            size = LARGEST_CHUNK
        size = round_up(max(size, n_bytes), HUGE)
        chunk = <char*>malloc(size + HUGE)
        if chunk == NULL:
            raise MemoryError(f"no memory for a {size >> 20} MiB chunk of bars")
        aligned = <char*>round_up(<size_t>chunk, HUGE)
        if size >= FIRST_HUGE_CHUNK:
            ob_ask_for_huge_pages(aligned, size)
        self._chunks.append(<uintptr_t>chunk)
        # What is left of the chunk before is too short for this one, not for each of the next.
        if self._left > self._n_spare:
            self._spare = self._next
            self._n_spare = self._left
        self._next = aligned
        self._left = size
        self.n_reserved_bytes += size
        return 0


@cython.no_gc
cdef class Extent:
    """Memory of one series; the base of every view on it. Not made by callers."""

    # No collector may clear what the memory is given back to: neither class can be in a cycle.

    def __dealloc__(self):
        if self.arena is not None and self.data != NULL:
            self.arena.give_back(self.data, self.n_bytes)


cdef Extent extent_of(cnp.ndarray array):
    """The extent that an array lies in, through whatever views; None when it lies elsewhere."""
    owner = (<object>array).base
    while isinstance(owner, cnp.ndarray):
        owner = (<object>owner).base
    return owner if isinstance(owner, Extent) else None
