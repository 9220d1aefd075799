"""The face in C of the counts of decisions: two additions a decision, no lock, no clock."""

cimport cython
from libc.stdint cimport uint64_t

# Growing totals; whoever wants a window takes differences. One process adds to them, others may read.
cdef struct Counts:
    uint64_t decided
    uint64_t denied


@cython.final
cdef class Tally:
    cdef Counts* _counts
    cdef Counts _own
    cdef Py_buffer _page


cdef inline void count(Tally tally, bint is_denial) noexcept nogil:
    """Add one decision."""
    tally._counts.decided += 1
    tally._counts.denied += is_denial
