# cython: autotestdict=False
"""An operator's overrides: which one speaks for an address or for a PLMN at an instant, and how often it did.

In: two small tries, of the overridden networks and of the overridden PLMN prefixes, whose values number the overrides
from 1 on, each kind for itself; and a row for each with its end and the next wider override. Out: the number of the
most specific override that has not expired at the instant that the caller names. No clock is read here.

A trie is built once and knows nothing of time. So a search ends at the most specific override and goes on to its parent
while the one at hand has expired; rows stand behind their parents, so that way ends.

The hits lie in `Counters` (`_fastpath/tally`), of which each override has its place: overrides are numbered anew by each
generation, and their words go on. Several threads at once may lose a hit of each other's, and nothing worse. All else never
changes once it is made.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free

from _fastpath.address cimport Address, Canonical
from _fastpath.digit_trie cimport ParsedPlmn
from _fastpath.tally cimport Counters, add, word_of

cdef enum:
    TWO_DIGIT_PREFIX = 5    # an MCC and an MNC of two digits


@cython.final
@cython.auto_pickle(False)
cdef class Overrides:
    """The overrides of one generation; in the counters the networks come first, the PLMNs behind them, until `count_in`.

    A row is (end in microseconds since the epoch, parent) for a network and (end, parent, digits, exact) for a PLMN; it
    holds before its end. Raises ValueError for a parent that is not an earlier row of its kind, for a trie that speaks
    of more overrides than there are rows, and for too few counters.
    """

    def __cinit__(
        self, PrefixTrie networks not None, DigitTrie plmns not None, list network_rows not None, list plmn_rows not None,
        Counters counters not None,
    ):
        cdef OverrideRow* row
        self.network_count, self.plmn_count = len(network_rows), len(plmn_rows)
        if networks.value_count > self.network_count + 1 or plmns.missing > self.plmn_count + 1:
            raise ValueError("a trie speaks of an override without a row")
        self._networks, self._plmns = networks, plmns
        self._rows = <OverrideRow*>calloc(self.network_count + self.plmn_count + 1, sizeof(OverrideRow))
        if self._rows == NULL:
            raise MemoryError
        self.count_in(counters, range(self.network_count + self.plmn_count))
        for number, (expires_us, parent) in enumerate(network_rows, 1):
            row = &self._rows[<Py_ssize_t>number - 1]
            row.expires_us, row.parent = expires_us, earlier(parent, number)
        for number, (expires_us, parent, digits, exact) in enumerate(plmn_rows, 1):
            row = &self._rows[self.network_count + <Py_ssize_t>number - 1]
            row.expires_us, row.parent = expires_us, earlier(parent, number)
            row.digits, row.exact = digits, exact

    def __dealloc__(self):
        free(self._rows)

    def count_in(self, Counters counters not None, places):
        """Count in these words from now on, each override in the word at its place. Raises ValueError for too few of either."""
        cdef list listed = list(places)
        cdef Py_ssize_t i
        if len(listed) != self.network_count + self.plmn_count or not all(0 <= place < counters.count for place in listed):
            raise ValueError("each override needs its counter")
        for i in range(len(listed)):
            self._rows[i].place = listed[i]
        self.counters, self._counts = counters, counters._words

    def hits(self):
        """Return the hits of every override, in the order of their numbers."""
        cdef uint32_t i
        return [word_of(&self._counts[self._rows[i].place]) for i in range(self.network_count + self.plmn_count)]

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
        add(&self._counts[self._rows[number - 1].place], 1)

    cdef void count_plmn(self, uint32_t number) noexcept nogil:
        add(&self._counts[self._rows[self.network_count + number - 1].place], 1)

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
