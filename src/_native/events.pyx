"""Rings of quotes and trades: rows of one dtype in the order they were received."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memmove

cimport numpy as cnp
from cpython.ref cimport PyObject

from openbell._native.arena cimport Arena, Extent, Py_REFCNT
from openbell._native.views cimport ob_view

from openbell.errors import SchemaError

cnp.import_array()

cdef int64_t SMALLEST_ROOM = 64


cdef class EventRing:
    """Rows of one dtype, newest last; keeps at least the newest `capacity` of them.

    Parameters
    ----------
    dtype : numpy.dtype
    capacity : int
        Rows kept at least (and twice as many at most); 0 keeps all.
    arena : Arena
        Where the memory comes from.

    Attributes
    ----------
    n_evicted : int
        Rows it has let go of.
    """

    def __cinit__(self, cnp.dtype dtype, int64_t capacity, Arena arena):
        self.dtype = dtype
        self.capacity = capacity
        self.arena = arena
        self.itemsize = dtype.itemsize

    cdef int make_room(self, int64_t n_more) except -1:
        cdef int64_t drop = 0
        cdef int64_t room = self.room
        cdef Extent extent
        cdef char* rows
        if self.n + n_more <= self.room:
            return 0
        if self.capacity and self.n + n_more > 2 * self.capacity:
            drop = self.n - self.capacity
        rows = self.extent.data + drop * self.itemsize if self.extent is not None else NULL
        self.n -= drop
        self.n_evicted += drop
        if self.n + n_more > room:
            room = max(self.n + n_more, 2 * self.room, SMALLEST_ROOM)
            if self.capacity:
                room = min(room, 2 * self.capacity)
        # A view goes on seeing the rows it was made for: it keeps the memory, we move on.
        if room > self.room or Py_REFCNT(<PyObject*>self.extent) > 1:
            extent = self.arena.take(room * self.itemsize, False)
            if self.n:
                memcpy(extent.data, rows, self.n * self.itemsize)
            self.extent = extent
            self.room = room
        elif drop:
            memmove(self.extent.data, rows, self.n * self.itemsize)
        return 0

    def append(self, rows):
        """Append rows: an array of the ring's dtype, shape (n,). Returns how many are held."""
        cdef cnp.ndarray array
        cdef int64_t n
        cdef int64_t part
        cdef int64_t done = 0
        if not isinstance(rows, cnp.ndarray) or (<cnp.ndarray>rows).dtype != self.dtype:
            raise SchemaError("rows", getattr(rows, "dtype", type(rows).__name__), self.dtype)
        array = cnp.PyArray_GETCONTIGUOUS(rows)
        n = cnp.PyArray_SIZE(array)
        while done < n:
            part = min(n - done, self.capacity) if self.capacity else n
            self.make_room(part)
            memcpy(self.extent.data + self.n * self.itemsize,
                   <char*>cnp.PyArray_DATA(array) + done * self.itemsize, part * self.itemsize)
            self.n += part
            done += part
        return self.n

    def __len__(self):
        return self.n

    @property
    def data(self):
        """All rows held, oldest first: a read-only view. O(1)."""
        return ob_view(self.dtype, self.extent.data if self.n else NULL, self.n, self.itemsize,
                       self.extent)
