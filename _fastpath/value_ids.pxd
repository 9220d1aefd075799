"""The face in C of value ids: what a batch of lookups writes, block by block, and then hands to Python."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    NARROW_LIMIT = 0x10000  # ids below it are kept in two bytes

# Ids that belong to several: a `ValueIds` and every Arrow array made of it. The last one to let go frees them.
cdef struct Ids:
    int holders
    uint8_t id_bytes        # 2 or 4
    uint32_t missing        # the id of an entry that was no input; above every other
    Py_ssize_t count
    Py_ssize_t capacity
    void* entries

# Empty, with one holder; NULL without memory.
cdef Ids* new_ids(uint32_t missing, Py_ssize_t capacity) noexcept nogil
# Make room for `more` entries behind `count`; -1 without memory.
cdef int reserve(Ids* ids, Py_ssize_t more) noexcept nogil
cdef void drop(Ids* ids) noexcept nogil


cdef inline void put_ids(Ids* ids, const uint32_t* values, Py_ssize_t count) noexcept nogil:
    """Append ids, for which there must be room."""
    cdef Py_ssize_t i
    cdef uint16_t* narrow
    cdef uint32_t* wide
    if ids.id_bytes == 2:
        narrow = <uint16_t*>ids.entries + ids.count
        for i in range(count):
            narrow[i] = <uint16_t>values[i]
    else:
        wide = <uint32_t*>ids.entries + ids.count
        for i in range(count):
            wide[i] = values[i]
    ids.count += count


cdef class ValueIds:
    cdef Ids* _ids
    cdef Py_ssize_t[1] _shape

# Takes the caller's hold over.
cdef ValueIds wrap_ids(Ids* ids)
