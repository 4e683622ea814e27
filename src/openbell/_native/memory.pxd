"""Memory that grows."""

from libc.stdlib cimport realloc


cdef inline void* grown(void* memory, size_t n_bytes) except NULL:
    """The same memory with room for so many bytes; MemoryError when there is none."""
    cdef void* held = realloc(memory, n_bytes + 1)
    if held == NULL:
        raise MemoryError(f"no memory for {n_bytes} bytes")
    return held
