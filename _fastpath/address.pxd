"""The face in C of addresses: text, packed bytes or integers in, one canonical `Address` out."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum:
    # "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255" is the longest text that can be an address.
    ADDRESS_TEXT_MAX = 45
    # What `parse_padded_unclassed` may read: SIMD_READABLE of address_simd.h.
    ADDRESS_READABLE = 64

# The word of each is in SPECIAL_NAMES; 0 is an address that routes globally and has no word.
cdef enum Special:
    SPECIAL_GLOBAL = 0
    SPECIAL_THIS_NETWORK
    SPECIAL_PRIVATE
    SPECIAL_SHARED
    SPECIAL_LOOPBACK
    SPECIAL_LINK_LOCAL
    SPECIAL_PROTOCOL_ASSIGNMENTS
    SPECIAL_DOCUMENTATION
    SPECIAL_DEPRECATED_6TO4
    SPECIAL_BENCHMARKING
    SPECIAL_MULTICAST
    SPECIAL_RESERVED
    SPECIAL_BROADCAST
    SPECIAL_UNSPECIFIED
    SPECIAL_TRANSLATION
    SPECIAL_DISCARD
    SPECIAL_DUMMY
    SPECIAL_DEPRECATED_ORCHID
    SPECIAL_SRV6_SIDS
    SPECIAL_UNIQUE_LOCAL
    SPECIAL_SITE_LOCAL
    SPECIAL_COUNT

# The IPv6 dress in which an IPv4 address came; the word of each is in CLOTHING_NAMES.
cdef enum Clothing:
    CLOTHING_NONE = 0
    CLOTHING_MAPPED
    CLOTHING_COMPATIBLE
    CLOTHING_SIXTOFOUR
    CLOTHING_TEREDO
    CLOTHING_NAT64
    CLOTHING_COUNT

# Canonical: an IPv4 address, also one that came in clothes, has family 4, `hi` 0 and its 32 bits in `lo`.
cdef struct Address:
    uint64_t hi
    uint64_t lo
    uint8_t family
    uint8_t special
    uint8_t clothing

# 0, or -1 when the text is no address; `out` is then untouched. Never reads outside text[0:length].
cdef int parse_text(const char* text, Py_ssize_t length, Address* out) noexcept nogil
# As `parse_text`, but the special-purpose class is not looked at: `special` is 0. A lookup needs no more, and the class costs
# as much as a tenth of a line.
cdef int parse_text_unclassed(const char* text, Py_ssize_t length, Address* out) noexcept nogil
# The same for a text from whose start on at least ADDRESS_READABLE bytes are readable, however short it is.
cdef int parse_padded_unclassed(const char* text, Py_ssize_t length, Address* out) noexcept nogil
# The first lines of text[0:length], at most `limit`, each into its own `out`: answers how many, and in `consumed` how many
# bytes those are with their newlines. A line that is no address, an empty one or one with a carriage return has family 0
# and all else 0. The last line needs no newline, and a newline at the end begins no further line. Never reads outside.
cdef Py_ssize_t parse_lines_unclassed(
    const char* text, Py_ssize_t length, Address* out, Py_ssize_t limit, Py_ssize_t* consumed) noexcept nogil
# From the two halves of a 128-bit IPv6 address, clothes and all; also without the class.
cdef void undress(uint64_t hi, uint64_t lo, Address* out) noexcept nogil
# Look at the class after all.
cdef void classify(Address* address) noexcept nogil
# The canonical text into text[0:ADDRESS_TEXT_MAX], without a NUL; answers its length in bytes.
cdef int format_text(const Address* address, char* text) noexcept nogil

cpdef str special_name(int special)


@cython.final
cdef class Canonical:
    cdef Address _address
