# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""What a native call costs when it does nothing, with the arguments and results of ours."""

from libc.stdint cimport int64_t

cimport numpy as cnp

import numpy as np

cnp.import_array()

cdef cnp.dtype BYTES_48 = np.dtype("V48")
cdef cnp.dtype FLOATS = np.dtype("<f8")

cdef extern from *:
    """
    #include <numpy/arrayobject.h>
    static char noop_rows[4800];
    static PyObject *noop_view(PyObject *descr, npy_intp n, npy_intp stride, PyObject *owner) {
        PyObject *array;
        Py_INCREF(descr);
        array = PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)descr, 1, &n, &stride,
                                     noop_rows, 0, NULL);
        if (array != NULL) {
            Py_INCREF(owner);
            PyArray_SetBaseObject((PyArrayObject *)array, owner);
        }
        return array;
    }
    """
    object noop_view(object descr, Py_ssize_t n, Py_ssize_t stride, object owner)


cdef class Owner:
    pass


cdef class Noop:
    cdef double kept
    cdef Owner owner

    def __cinit__(self):
        self.kept = 1.5
        self.owner = Owner()

    def append(self, int64_t ts_ns, double open, double high, double low, double close,
               double volume):
        pass

    def window(self, int64_t n):
        return noop_view(BYTES_48, n, 48, self.owner)

    def field(self, int64_t n):
        return noop_view(FLOATS, n, 48, self.owner)

    def reduce(self, str field, int64_t n):
        return self.kept

    @property
    def value(self):
        return self.kept
