"""The face in C of the index image: its layout (docs/index-format.md) and the lookup of one address."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from _fastpath.address cimport Address

cdef enum:
    FORMAT_VERSION = 1
    BYTE_ORDER_MARK = 0x01020304
    BYTE_ORDER_SWAPPED = 0x04030201
    SECTION_ALIGNMENT_BYTES = 64
    RECORD_ALIGNMENT_BYTES = 4

    # The direct table: one slot for each value of the first bits of an address.
    DIRECT_SHIFT = 46           # of a left-aligned 64-bit key; 18 bits lie above it
    DIRECT_SLOTS_V4 = 0x40000   # 18 bits
    DIRECT_SLOTS_V6 = 0x8000    # 15 bits behind 2000::/3
    RECORD_LEVELS = 8           # 18 + 8 * 6 bits >= 64
    IPV4_LEVELS = 3             # 18 + 3 * 6 bits >= 32
    FIRST_SHIFT = 58            # of the bits behind the direct table's, left-aligned: six lie above it
    BLOCK_ADDRESSES = 64        # looked up side by side

    # The entries of a record, 16 bits each: a value id, or the number of a child. A value id that needs more bits is
    # written where a child's offset would be, with the bit above all offsets set.
    SPLIT = 0x7FFF
    CHILD = 0x8000
    WIDE_BIT = 31
    MAX_VALUES = 0x1000000
    MAX_SOURCES = 16

# In the order in which they lie in the image.
cdef enum:
    DIRECT = 0
    RECORDS
    BELOW64
    OUTSIDE
    VALUES
    STRINGS
    SOURCES
    SECTION_COUNT

cdef struct Section:
    uint64_t offset
    uint64_t size_bytes

# 192 bytes without padding; `header_crc32` covers all bytes before it.
cdef struct ImageHeader:
    uint8_t magic[8]
    uint32_t byte_order
    uint32_t version
    uint64_t image_bytes
    uint8_t body_sha256[32]
    uint64_t body_xxh64
    uint32_t source_count
    uint32_t value_count
    Section sections[7]
    uint8_t reserved[4]
    uint32_t header_crc32

# An address from which on `value` holds, in the two lists that are searched by bisection.
cdef struct Start:
    uint64_t hi
    uint64_t lo
    uint32_t value
    uint32_t reserved


cdef class PrefixTrie:
    cdef Py_buffer _view
    cdef bint _is_held
    cdef const ImageHeader* _header
    cdef const uint8_t* _records
    cdef const uint32_t* _direct
    cdef const Start* _below64
    cdef const Start* _outside
    cdef uint64_t _below64_count
    cdef uint64_t _outside_count
    cdef bint _has_wide
    cdef const uint8_t* _at(self, int section) noexcept nogil

    # The value id of an address, 0 when no source knows it. The address must be canonical.
    cdef uint32_t find_value(self, const Address* address) noexcept nogil
    # The same of many, several times as fast as one by one.
    cdef void find_values(self, const Address* addresses, uint32_t* values, Py_ssize_t count) noexcept nogil
    # The same of IPv4 addresses as numbers.
    cdef void find_ipv4_values(self, const uint32_t* addresses, uint32_t* values, Py_ssize_t count) noexcept nogil
    cdef void _find_block(self, const Address* addresses, uint32_t* values, int count) noexcept nogil
    cdef void _find_ipv4_block(self, const uint32_t* addresses, uint32_t* values, int count) noexcept nogil
    cdef uint32_t _walk_on(self, uint32_t offset, uint64_t key, int level, uint64_t hi, uint64_t lo) noexcept nogil
