"""Read-only numpy views over memory that an owner keeps alive.

A module that uses this calls ``numpy.import_array()`` once.
"""

from libc.stdint cimport int64_t

cdef extern from *:
    """
    #include <numpy/arrayobject.h>
    static double ob_no_rows[8];

    /* The owner is no array and offers no buffer: nobody reaches past the view by `.base`. */
    static PyObject *ob_view(PyObject *descr, void *data, npy_intp n, npy_intp stride,
                             PyObject *owner) {
        PyObject *array;
        Py_INCREF(descr);
        array = PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)descr, 1, &n, &stride,
                                     n ? data : (void *)ob_no_rows, 0, NULL);
        if (array != NULL && n) {
            Py_INCREF(owner);
            if (PyArray_SetBaseObject((PyArrayObject *)array, owner) < 0) {
                Py_DECREF(array);
                return NULL;
            }
        }
        return array;
    }
    """
    object ob_view(object descr, void* data, Py_ssize_t n, Py_ssize_t stride, object owner)
