# cython: autotestdict=False, freethreading_compatible=True
"""An operator's overrides: which one speaks for an address or for a PLMN at an instant, and how often it did.

In: two small tries, of the overridden networks and of the overridden PLMN prefixes, whose values number the overrides
from 1 on, each kind for itself; and a row for each with its end and the next wider override. Out: the number of the
most specific override that has not expired at the instant that the caller names. No clock is read here.

A trie is built once and knows nothing of time. So a search ends at the most specific override and goes on to its parent
while the one at hand has expired; rows stand behind their parents, so that way ends.

The hits lie in a `HitCounters`: 64-bit additions in whatever writable memory it was given, each a load and a store of its
own. Several threads at once may lose a hit of each other's, and nothing worse. All else never changes once it is made.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free

from _fastpath.address cimport Address, Canonical
from _fastpath.digit_trie cimport ParsedPlmn

cdef extern from * nogil:
    """
    #define hits_of(count) __atomic_load_n((count), __ATOMIC_RELAXED)
    #define set_hits(count, hits) __atomic_store_n((count), (hits), __ATOMIC_RELAXED)
    """
    uint64_t hits_of(uint64_t* count)
    void set_hits(uint64_t* count, uint64_t hits)

cdef enum:
    TWO_DIGIT_PREFIX = 5    # an MCC and an MNC of two digits


cdef inline void add_hit(uint64_t* count) noexcept nogil:
    set_hits(count, hits_of(count) + 1)


@cython.final
@cython.auto_pickle(False)
cdef class HitCounters:
    """64-bit counters in writable memory, one for each whole eight bytes of it; the buffer is held as long as this is.

    Raises BufferError for memory that cannot be written, ValueError for memory that is not aligned to eight bytes.
    """

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self._view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._is_held = True
        if <uintptr_t>self._view.buf % sizeof(uint64_t):
            raise ValueError("counters must lie at a multiple of eight bytes")
        self._counts = <uint64_t*>self._view.buf
        self.count = self._view.len // <Py_ssize_t>sizeof(uint64_t)

    def __dealloc__(self):
        if self._is_held:
            PyBuffer_Release(&self._view)

    def read(self):
        """Return every count, as a list."""
        cdef Py_ssize_t i
        return [hits_of(&self._counts[i]) for i in range(self.count)]

    def reset(self):
        """Set every count to 0."""
        cdef Py_ssize_t i
        for i in range(self.count):
            set_hits(&self._counts[i], 0)


@cython.final
@cython.auto_pickle(False)
cdef class Overrides:
    """The overrides of one generation; the networks come first in the counters, the PLMNs behind them.

    A row is (end in microseconds since the epoch, parent) for a network and (end, parent, digits, exact) for a PLMN; it
    holds before its end. Raises ValueError for a parent that is not an earlier row of its kind, for a trie that speaks
    of more overrides than there are rows, and for too few counters.
    """

    def __cinit__(
        self, PrefixTrie networks not None, DigitTrie plmns not None, list network_rows not None, list plmn_rows not None,
        HitCounters counters not None,
    ):
        cdef OverrideRow* row
        self.network_count, self.plmn_count = len(network_rows), len(plmn_rows)
        if networks.value_count > self.network_count + 1 or plmns.missing > self.plmn_count + 1:
            raise ValueError("a trie speaks of an override without a row")
        if counters.count < self.network_count + self.plmn_count:
            raise ValueError("each override needs its counter")
        self._networks, self._plmns, self.counters = networks, plmns, counters
        self._counts = counters._counts
        self._rows = <OverrideRow*>calloc(self.network_count + self.plmn_count + 1, sizeof(OverrideRow))
        if self._rows == NULL:
            raise MemoryError
        for number, (expires_us, parent) in enumerate(network_rows, 1):
            row = &self._rows[<Py_ssize_t>number - 1]
            row.expires_us, row.parent = expires_us, earlier(parent, number)
        for number, (expires_us, parent, digits, exact) in enumerate(plmn_rows, 1):
            row = &self._rows[self.network_count + <Py_ssize_t>number - 1]
            row.expires_us, row.parent = expires_us, earlier(parent, number)
            row.digits, row.exact = digits, exact

    def __dealloc__(self):
        free(self._rows)

    cdef uint32_t find_network(self, const Address* address, int64_t at_us) noexcept nogil:
        cdef uint32_t number
        # Of IPv6 the two addresses :: and ::1 alone share their place in the trie with IPv4, and are of nobody.
        if address.family == 6 and address.hi == 0 and address.lo >> 32 == 0:
            return 0
        number = self._networks.find_value(address)
        while number and self._rows[number - 1].expires_us <= at_us:
            number = self._rows[number - 1].parent
        return number

    cdef uint32_t find_plmn(self, const Plmn* plmn, int64_t at_us, uint8_t* match_length) noexcept nogil:
        cdef const OverrideRow* row
        cdef uint32_t number = self._plmns.longest_match(plmn, match_length)
        while number:
            row = &self._rows[self.network_count + number - 1]
            # The parent of an expired row must pass the rule that the trie knows for the most specific one.
            if at_us < row.expires_us and (
                row.digits != TWO_DIGIT_PREFIX or plmn.length == TWO_DIGIT_PREFIX or not (plmn.mnc_known or row.exact)
            ):
                match_length[0] = row.digits
                return number
            number = row.parent
        match_length[0] = 0
        return 0

    cdef void count_network(self, uint32_t number) noexcept nogil:
        add_hit(&self._counts[number - 1])

    cdef void count_plmn(self, uint32_t number) noexcept nogil:
        add_hit(&self._counts[self.network_count + number - 1])

    def network_at(self, Canonical address not None, int64_t at_us):
        """Return the number of the override that speaks for an address at an instant, 0 without one; counts nothing."""
        return self.find_network(&address._address, at_us)

    def plmn_at(self, ParsedPlmn plmn not None, int64_t at_us):
        """Return (number of the override that speaks for a PLMN at an instant, its digits), (0, 0) without one."""
        cdef uint8_t length = 0
        cdef uint32_t number = self.find_plmn(&plmn.plmn, at_us, &length)
        return number, length


cdef uint32_t earlier(parent, number) except? 0xFFFFFFFF:
    if not 0 <= parent < number:
        raise ValueError(f"the parent of override {number} is not an earlier one")
    return parent
