"""The state in C of the image builder; nothing of it is called from another module."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

# One list of transitions while it is read: from (hi, lo) on, `leaf` holds; `region` is indexed by leaf.
cdef struct Stream:
    const uint64_t* hi
    const uint64_t* lo
    const uint32_t* leaf
    const uint32_t* region
    Py_ssize_t next
    Py_ssize_t count
    Py_ssize_t leaf_count

cdef struct Bytes:
    uint8_t* at
    uint64_t size
    uint64_t capacity

# A hash table without removal: the upper half of a slot is a hash, the lower the number of what is stored.
cdef struct Table:
    uint64_t* slots
    uint64_t mask
    uint64_t count

# Rows of `width` words, numbered from 0 in the order in which they were first seen, and how often each was.
cdef struct Rows:
    Bytes words
    Bytes uses
    Table table
    int width

cdef struct Builder:
    const uint64_t* hi
    const uint64_t* lo
    const uint32_t* value
    Py_ssize_t next
    Py_ssize_t end
    uint32_t current
    bint is_ipv4
    bint has_failed
    Bytes records
    Bytes below64
    Table table
