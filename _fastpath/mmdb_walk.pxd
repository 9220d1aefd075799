"""The face in C of the MaxMind DB walk: one pass over the search tree, every record checked."""

from cpython cimport array
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

# The field types of the specification; the numbers are the file format's.
cdef enum FieldType:
    EXTENDED = 0
    POINTER = 1
    STRING = 2
    DOUBLE = 3
    BYTES = 4
    UINT16 = 5
    UINT32 = 6
    MAP = 7
    INT32 = 8
    UINT64 = 9
    UINT128 = 10
    ARRAY = 11
    DATA_CACHE = 12
    END_MARKER = 13
    BOOLEAN = 14
    FLOAT = 15

# One part of the file that pointers are relative to: the data section, or the metadata.
cdef struct Section:
    const uint8_t* start
    uint64_t size

# A field's control bytes, read: where they begin, where its payload lies (a pointer: `size` is its target) and what follows it.
cdef struct Field:
    uint64_t origin
    uint64_t payload
    uint64_t end
    uint32_t size
    uint8_t type

# What is known of the maps and arrays that pointers lead to: of no concern outside.
cdef struct Known

# What one record, and all of them together, may still cost.
cdef struct Budget:
    int64_t values
    int64_t payload_bytes
    int64_t work

# Where a walk stands between two steps: the record to look at, its depth and its first address.
cdef struct Cursor:
    uint64_t hi
    uint64_t lo
    uint64_t visits
    uint32_t record
    uint32_t depth
    uint32_t last
    uint32_t pending[128]

cdef class Walk:
    cdef const uint8_t[::1] _buffer
    cdef Section _section
    cdef uint64_t* _marks
    cdef uint8_t* _words
    cdef Known* _known
    cdef array.array _offsets
    cdef bint _is_walking
    cdef readonly dict metadata
    cdef readonly uint32_t node_count
    cdef readonly uint32_t record_size
    cdef readonly uint32_t ip_version
    cdef readonly str database_type
    cdef readonly uint64_t build_epoch
    cdef readonly uint32_t leaf_count
    cdef readonly array.array starts_hi
    cdef readonly array.array starts_lo
    cdef readonly array.array leaf
    cdef int _read_metadata(self) except -1
    cdef uint64_t _ipv4_start(self) noexcept nogil
    cdef int _step(self, Cursor* cursor, uint64_t ipv4_start, uint64_t* starts_hi, uint64_t* starts_lo, uint32_t* leaf,
                   uint64_t* used, uint64_t steps) noexcept nogil
    cdef int _run(self, progress) except -1
    cdef int _number_leaves(self, uint32_t* leaf, uint64_t used) except -1
