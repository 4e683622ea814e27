"""Bars as the columns of an Arrow record batch, through Arrow's C data interface.

https://arrow.apache.org/docs/format/CDataInterface.html
"""

from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport int32_t, int64_t, uintptr_t
from libc.string cimport memcpy

cimport numpy as cnp

from openbell._native.columns cimport split_rows
from openbell._native.state cimport Bar

from openbell.errors import SchemaError
from openbell.schema import as_bars

cnp.import_array()

cdef extern from *:
    """
    #include <stdint.h>
    #ifndef ARROW_C_DATA_INTERFACE
    #define ARROW_C_DATA_INTERFACE
    struct ArrowArray {
      int64_t length;
      int64_t null_count;
      int64_t offset;
      int64_t n_buffers;
      int64_t n_children;
      const void** buffers;
      struct ArrowArray** children;
      struct ArrowArray* dictionary;
      void (*release)(struct ArrowArray*);
      void* private_data;
    };
    #endif
    #ifdef _MSC_VER
    #include <intrin.h>
    #define OB_DECREMENT(at) _InterlockedDecrement((volatile long*)(at))
    #else
    #define OB_DECREMENT(at) __atomic_sub_fetch((at), 1, __ATOMIC_ACQ_REL)
    #endif
    """
    cdef struct ArrowArray:
        int64_t length
        int64_t null_count
        int64_t offset
        int64_t n_buffers
        int64_t n_children
        const void** buffers
        ArrowArray** children
        ArrowArray* dictionary
        void (*release)(ArrowArray*) noexcept nogil
        void* private_data
    int32_t OB_DECREMENT(int32_t*) noexcept nogil

cdef enum:
    N_FIELDS = 6
    MAX_COLUMNS = 7           # with n_base
    ALIGNMENT = 64            # which Arrow recommends


cdef struct Block:
    # All that a batch consists of, the values behind it: freed with the last that holds it, the
    # batch or a column that was moved out of it.
    int32_t n_held
    const void* no_validity
    ArrowArray* children[MAX_COLUMNS]
    ArrowArray columns[MAX_COLUMNS]
    const void* buffers[2 * MAX_COLUMNS]


cdef void release(ArrowArray* array) noexcept nogil:
    # By any thread, without the interpreter.
    cdef Block* block = <Block*>array.private_data
    cdef int64_t k
    for k in range(array.n_children):
        if array.children[k].release != NULL:
            array.children[k].release(array.children[k])
    array.release = NULL
    if OB_DECREMENT(&block.n_held) == 0:
        PyMem_RawFree(block)


cdef void destroy(object capsule) noexcept:
    cdef ArrowArray* batch = <ArrowArray*>PyCapsule_GetPointer(capsule, "arrow_array")
    # Who has imported the batch has taken it out.
    if batch.release != NULL:
        batch.release(batch)
    PyMem_RawFree(batch)


cdef void fill(ArrowArray* array, Py_ssize_t length, Block* block) noexcept:
    array.length = length
    array.null_count = array.offset = 0
    array.n_children = 0
    array.children = NULL
    array.dictionary = NULL
    array.release = release
    array.private_data = block
    block.n_held += 1


cdef char* make_batch(ArrowArray* batch, Py_ssize_t length, int n_columns, size_t stride) except NULL:
    # Returns where the values of the first column go; those of the next are a stride behind.
    cdef Block* block = <Block*>PyMem_RawMalloc(sizeof(Block) + ALIGNMENT + n_columns * stride)
    cdef char* values
    cdef int k
    if block == NULL:
        raise MemoryError
    values = <char*>((<uintptr_t>(block + 1) + ALIGNMENT - 1) & ~<uintptr_t>(ALIGNMENT - 1))
    block.n_held = 0
    block.no_validity = NULL
    fill(batch, length, block)
    batch.n_buffers = 1
    batch.buffers = &block.no_validity
    batch.n_children = n_columns
    batch.children = block.children
    for k in range(n_columns):
        fill(&block.columns[k], length, block)
        block.buffers[2 * k] = NULL
        block.buffers[2 * k + 1] = values + k * stride
        block.columns[k].n_buffers = 2
        block.columns[k].buffers = &block.buffers[2 * k]
        block.children[k] = &block.columns[k]
    return values


def export_bars(bars, cnp.ndarray n_base=None):
    """Copy bars out into the columns of a record batch, in one pass.

    Parameters
    ----------
    bars : numpy.ndarray
        ``BAR_DTYPE``, one-dimensional.
    n_base : numpy.ndarray, optional
        int32, contiguous, one for each bar: a last column.

    Returns
    -------
    PyCapsule
        Named ``arrow_array``, to be handed over beside a schema: int64, five of float64 and, with
        `n_base`, int32. Whoever imports it owns the copy.

    Raises
    ------
    SchemaError
        When it is not an array of bars, or `n_base` does not fit it.
    """
    cdef cnp.ndarray source = as_bars(bars)
    cdef Py_ssize_t n = len(source)
    cdef size_t stride = (8 * n + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    cdef ArrowArray* batch
    cdef char* at
    if n_base is not None and (
            n_base.ndim != 1 or n_base.size != n or not cnp.PyArray_ISCARRAY_RO(n_base)
            or cnp.PyArray_TYPE(n_base) != cnp.NPY_INT32):
        raise SchemaError("n_base", f"dtype {n_base.dtype}, shape {(<object>n_base).shape}",
                          f"{n} of int32, side by side")
    batch = <ArrowArray*>PyMem_RawMalloc(sizeof(ArrowArray))
    if batch == NULL:
        raise MemoryError
    batch.release = NULL
    capsule = PyCapsule_New(batch, "arrow_array", destroy)
    at = make_batch(batch, n, N_FIELDS + (n_base is not None), stride)
    split_rows(<const Bar*>cnp.PyArray_DATA(source), <int64_t*>at, <double*>(at + stride),
               <double*>(at + 2 * stride), <double*>(at + 3 * stride), <double*>(at + 4 * stride),
               <double*>(at + 5 * stride), n)
    if n_base is not None:
        memcpy(at + N_FIELDS * stride, cnp.PyArray_DATA(n_base), 4 * n)
    return capsule
