"""The face in C of PLMNs: digits in any form in, one `Plmn` out; and the longest-prefix match over its digits."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from _fastpath.value_ids cimport Ids

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

# What a PLMN comes to: the value of the prefix that decides and its number of digits; 0 and 0 without one.
cdef struct Match:
    uint16_t value
    uint8_t length

cdef enum:
    # Under an MCC with longer prefixes, one match for each MNC: known to have two digits, known to have three, not known.
    TWO_DIGITS = 0
    THREE_DIGITS = 100
    UNKNOWN_DIGITS = 1100
    MATCHES = 2100
    MATCH_VALUE_MAX = 0xFFFE    # one more stands for what is no PLMN
    WORD_DIGITS = 8

cdef struct Mcc:
    Match alone
    uint32_t longer     # where its MATCHES begin; 0 without longer prefixes

cdef class DigitTrie:
    cdef Mcc _mccs[MCC_COUNT]
    cdef Match* _matches
    cdef tuple _numbers
    cdef uint16_t _malformed
    cdef int _fill(self, list rows) except -1
    # The value of the longest matching prefix, 0 without one; `match_length` becomes its number of digits.
    cdef uint32_t longest_match(self, const Plmn* plmn, uint8_t* match_length) noexcept nogil
    # The same of text, `_malformed` for what is no PLMN (nor, where allowed, an IMSI). Never reads outside.
    cdef uint32_t match_span(self, const char* text, Py_ssize_t length, bint allow_imsi) noexcept nogil
    cdef int _add_lines(self, const char* text, Py_ssize_t size, bint allow_imsi, Ids* ids) noexcept nogil
