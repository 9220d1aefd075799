"""The face in C of lookups from Python: one address or many in, shared objects or value ids out."""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t

from _fastpath.address cimport Address
from _fastpath.arrow_abi cimport ArrowArray
from _fastpath.prefix_trie cimport PrefixTrie
from _fastpath.value_ids cimport Ids

# How an Arrow array holds its addresses.
cdef enum Layout:
    NOTHING = 0
    TEXTS
    LARGE_TEXTS
    TEXT_VIEWS
    PACKED
    LARGE_PACKED
    PACKED_VIEWS
    PACKED_4
    PACKED_16
    NUMBERS


cdef class Lookup:
    cdef readonly tuple values
    cdef PrefixTrie _trie
    cdef PyObject** _items
    cdef object _invalid
    cdef uint32_t _missing
    cdef Ids* _new_ids(self, Py_ssize_t capacity) except NULL
    cdef void _find_block(self, const Address* addresses, uint32_t* values, Py_ssize_t count) noexcept nogil
    cdef int _add_lines(self, const char* text, Py_ssize_t size, Ids* ids) noexcept nogil
    cdef void _add_ipv4(self, const void* packed, Py_ssize_t count, Ids* ids) noexcept nogil
    cdef void _add_ipv6(self, const void* packed, Py_ssize_t count, Ids* ids) noexcept nogil
    cdef int _add_array(self, const ArrowArray* array, Layout layout, Ids* ids) noexcept nogil
    cdef int _read_stream(self, object capsule, Ids* ids) except -2
    cdef list _lookup_sequence(self, object addresses)
