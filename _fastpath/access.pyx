# cython: boundscheck=False, wraparound=False
# Earned by `count`, with which every row is compared where Python names one; in C a row comes from `look_up`.
"""API keys on the hot path: a row for each key, with its expiry and its bucket of tokens.

Which row a key has is found in Python, with a digest; a connection keeps the key that it has shown and its row, so that the
same bytes on the same connection only have to be compared, in constant time. Replaced keys have another `epoch`, and every
connection shows its key again. A ring belongs to one event loop.
"""

cimport cython
from libc.stdint cimport INT64_MAX, int64_t, uint8_t
from libc.stdlib cimport calloc, free

UNKNOWN = -1


cdef bint are_equal(const char* one, const char* other, Py_ssize_t size) noexcept nogil:
    cdef volatile uint8_t different = 0
    cdef Py_ssize_t i
    for i in range(size):
        different |= <uint8_t>one[i] ^ <uint8_t>other[i]
    return different == 0


@cython.final
@cython.auto_pickle(False)
cdef class KeyRing:
    """The keys that may ask.

    `rows` are (expires_us or None, requests a second or None, burst) of each; `row_of(value)` gives the row of the value of an
    Authorization header, UNKNOWN for any other.
    """

    def __cinit__(self, rows, row_of):
        self.replace(rows, row_of)

    def __dealloc__(self):
        free(self._rows)

    def replace(self, rows, row_of):
        """Take other keys; all buckets are full."""
        cdef KeyRow* made = <KeyRow*>calloc(max(len(rows), 1), sizeof(KeyRow))
        cdef Py_ssize_t i
        if made == NULL:
            raise MemoryError
        try:
            for i, (expires_us, rate_per_s, burst) in enumerate(rows):
                made[i].expires_us = INT64_MAX if expires_us is None else expires_us
                made[i].rate_per_us = 0.0 if rate_per_s is None else rate_per_s / 1e6
                made[i].burst = made[i].tokens = burst
        except BaseException:
            free(made)
            raise
        free(self._rows)
        self._rows, self.count, self._row_of = made, len(rows), row_of
        self.epoch += 1

    def row_of(self, bytes value not None):
        """Return the row of a header's value, UNKNOWN for any other."""
        return self.look_up(value)

    def is_expired(self, Py_ssize_t row, int64_t at_us):
        """Tell whether a key holds no more."""
        self._check(row)
        return at_us >= self._rows[row].expires_us

    def take(self, Py_ssize_t row, int64_t at_us):
        """Take a token for a request: 0.0, or the seconds until there is one."""
        self._check(row)
        if self.may_ask(row, at_us):
            self.spend(row)
            return 0.0
        if self._rows[row].rate_per_us == 0.0:
            return 0.0
        return (1.0 - self._rows[row].tokens) / self._rows[row].rate_per_us / 1e6

    cdef _check(self, Py_ssize_t row):
        if not 0 <= row < self.count:
            raise IndexError("there is no such key")

    cdef Py_ssize_t look_up(self, bytes value):
        cdef Py_ssize_t row = self._row_of(value)
        return row if 0 <= row < self.count else -1

    cdef bint may_ask(self, Py_ssize_t row, int64_t at_us) noexcept nogil:
        cdef KeyRow* key = &self._rows[row]
        if at_us >= key.expires_us:
            return False
        if key.rate_per_us == 0.0:
            return True
        if at_us > key.filled_us:
            key.tokens += (at_us - key.filled_us) * key.rate_per_us
            if key.tokens > key.burst or key.filled_us == 0:
                key.tokens = key.burst
            key.filled_us = at_us
        elif key.filled_us - at_us > 1000000:   # the clock was set back
            key.filled_us = at_us
        return key.tokens >= 1.0

    cdef void spend(self, Py_ssize_t row) noexcept nogil:
        if self._rows[row].rate_per_us != 0.0:
            self._rows[row].tokens -= 1.0


def same_secret(bytes one not None, bytes other not None):
    """Compare as the lane does: in a time that depends on the lengths alone."""
    return len(one) == len(other) and are_equal(one, other, len(one))
