"""Borrowed references to the items of lists and tuples: an item that is only read is not worth a write to its count."""

from cpython.object cimport PyObject

cdef extern from "Python.h":
    """
    #ifdef Py_GIL_DISABLED
    #  define BORROWED_LISTS_CAN_CHANGE 1
    #else
    #  define BORROWED_LISTS_CAN_CHANGE 0
    #endif
    """
    # Without the GIL another thread may change a list while its items are borrowed: copy it to a tuple first.
    bint LISTS_CAN_CHANGE "BORROWED_LISTS_CAN_CHANGE"
    bint is_text "PyUnicode_Check" (PyObject* item)
    bint is_ascii "PyUnicode_IS_ASCII" (PyObject* text)
    const char* text_start "(const char*)PyUnicode_DATA" (PyObject* text)
    Py_ssize_t text_size "PyUnicode_GET_LENGTH" (PyObject* text)
    PyObject** items_of "PySequence_Fast_ITEMS" (object list_or_tuple)
