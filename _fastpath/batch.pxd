"""The face in C of batches: how their answers are counted and said, and what an array is read into."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

from _fastpath.ping cimport Ping
from _fastpath.texts cimport Texts

cdef struct Saying
cdef struct Block

# The texts of `ping` lie in the body, from `begin` to `end`; of an odd one it holds nothing.
cdef struct Element:
    Ping ping
    Py_ssize_t begin
    Py_ssize_t end
    bint is_odd


@cython.final
cdef class BatchAnswers:
    cdef Py_ssize_t _ping_bytes_max
    cdef bint _minimal
    cdef uint64_t[3] _effects
    # Whether an answer stands in the array already; whoever adds one from elsewhere sets it.
    cdef public bint has_said

    cdef int _read_lines(self, const char* begin, Py_ssize_t size, Py_ssize_t* at, Block* out) noexcept nogil
    cdef bint _answer(self, Texts texts, Ping* ping, int64_t at_us, bint in_array, Saying* saying)


@cython.final
cdef class Elements:
    cdef Py_buffer _body
    cdef Py_ssize_t _ping_bytes_max
    cdef Element* _elements
    cdef Py_ssize_t _count
    cdef Py_ssize_t _room

    # The room holds until the next call.
    cdef Element* _new(self) except NULL
