"""The face in C of API keys: who may ask, and how often."""

cimport cython
from libc.stdint cimport int64_t, uint64_t

# A key's expiry, and its bucket: `tokens` requests may be asked at once, `rate_per_us` of them come back in a microsecond.
cdef struct KeyRow:
    int64_t expires_us
    int64_t filled_us
    double rate_per_us      # 0: as often as it likes
    double burst
    double tokens


@cython.final
cdef class KeyRing:
    cdef KeyRow* _rows
    cdef readonly Py_ssize_t count
    cdef readonly uint64_t epoch
    cdef object _row_of
    # Whether a row may ask at an instant, without taking a token for it.
    cdef bint may_ask(self, Py_ssize_t row, int64_t at_us) noexcept nogil
    cdef void spend(self, Py_ssize_t row) noexcept nogil
    cdef _check(self, Py_ssize_t row)
    cdef Py_ssize_t look_up(self, bytes value)

# In a time that does not depend on where they differ.
cdef bint are_equal(const char* one, const char* other, Py_ssize_t size) noexcept nogil
