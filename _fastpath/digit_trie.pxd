"""The face in C of PLMNs: digits in any form in, one `Plmn` out; and the longest-prefix match over its digits."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    MCC_DIGITS = 3
    PLMN_DIGITS_MAX = 6
    IMSI_DIGITS_MAX = 15
    MCC_COUNT = 1000

# The leading digits, '0' to '9' each: 3 of them (an MCC alone), 5 or 6. `mnc_known` is 1 when they end where the MNC
# does, 0 when the last one may be a subscriber's. Only the functions below fill one in.
cdef struct Plmn:
    char digits[PLMN_DIGITS_MAX]
    uint8_t length
    uint8_t mnc_known

# Each is 0, or -1 when the input is none; `out` is then untouched. None reads outside the lengths given.
cdef int plmn_from_text(const char* text, Py_ssize_t length, bint allow_imsi, bint allow_mcc, Plmn* out) noexcept nogil
cdef int plmn_from_pair(
    const char* mcc, Py_ssize_t mcc_length, const char* mnc, Py_ssize_t mnc_length, Plmn* out
) noexcept nogil
cdef int plmn_from_bcd(const unsigned char* octets, Py_ssize_t length, Plmn* out) noexcept nogil
cdef int plmn_from_s1ap(const unsigned char* octets, Py_ssize_t length, Plmn* out) noexcept nogil
cdef int plmn_from_ef_imsi(const unsigned char* octets, Py_ssize_t length, Plmn* out) noexcept nogil

cdef class ParsedPlmn:
    cdef Plmn plmn

# One digit further: the value of a prefix that ends here (0 is none) and the node of those that go on (0 is none).
cdef struct Branch:
    uint16_t value
    uint16_t child
    uint8_t exact

cdef struct Node:
    Branch branches[10]

cdef class DigitTrie:
    cdef Branch _mccs[MCC_COUNT]
    cdef Node* _nodes
    cdef Py_ssize_t _node_count
    cdef int _add(self, str digits, Py_ssize_t value, bint exact) except -1
    # The value of the longest matching prefix, 0 without one; `match_length` becomes its number of digits.
    cdef uint32_t longest_match(self, const Plmn* plmn, uint8_t* match_length) noexcept nogil
