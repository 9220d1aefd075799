"""The face in C of the constant server: nobody but Python calls it."""

from libc.stdint cimport uint64_t

# A connection of the server's, by its descriptor.
cdef struct Caller:
    char* buffer            # a head that has not ended
    size_t have
    bint is_in_body         # a head has ended
    uint64_t body_left
