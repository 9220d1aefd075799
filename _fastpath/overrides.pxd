"""The face in C of an operator's overrides: an address or a PLMN and an instant in, the number of an override out."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from _fastpath.address cimport Address
from _fastpath.digit_trie cimport DigitTrie, Plmn
from _fastpath.prefix_trie cimport PrefixTrie
from _fastpath.tally cimport Counters

# One override. `parent` is the number of the next wider one, which speaks when this one has expired; 0 without.
# `place` is that of its counter. `digits` and `exact` are for a PLMN: the length of the prefix, and whether an MNC of two
# digits must be known to be one.
cdef struct OverrideRow:
    int64_t expires_us
    uint32_t parent
    uint32_t place
    uint8_t digits
    uint8_t exact


@cython.final
cdef class Overrides:
    cdef PrefixTrie _networks
    cdef DigitTrie _plmns
    cdef OverrideRow* _rows
    cdef uint64_t* _counts
    cdef readonly Counters counters
    cdef readonly uint32_t network_count
    cdef readonly uint32_t plmn_count
    # The number, from 1, of the override that speaks for an address at an instant; 0 without one. Counts nothing.
    cdef uint32_t find_network(self, const Address* address, int64_t at_us) noexcept nogil
    # The same of a PLMN; `match_length` becomes its number of digits.
    cdef uint32_t find_plmn(self, const Plmn* plmn, int64_t at_us, uint8_t* match_length) noexcept nogil
    # Note that an override was used.
    cdef void count_network(self, uint32_t number) noexcept nogil
    cdef void count_plmn(self, uint32_t number) noexcept nogil
