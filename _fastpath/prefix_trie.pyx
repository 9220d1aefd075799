# cython: autotestdict=False, freethreading_compatible=True
"""Longest-prefix match over an index image: a canonical address in, a value id out.

The image is only read, never copied or changed; docs/index-format.md specifies it. Opening one checks its header
and that every section lies inside it. `verify` checks the inside of the sections: every offset that a lookup follows
without looking. An image is safe to search when `verify` has accepted it; `regionresolver.index` sees to that.

Theory of operation. An address becomes a 64-bit key with its bits left-aligned. A direct table is indexed by the first
18 bits of an IPv4 key, or by the 15 bits behind 2000::/3 of an IPv6 key; its slot is the offset of a record. A record
stands for 64 slots of 6 more bits: a bitmap of the slots where another entry than that of the slot before starts, the
entries behind it, the offsets of its children, last first, before it:

    ... child 1 | child 0 | bitmap | entry 0 | entry 1 ...
        u32       u32       u64      u16       u16

The entry of a slot is `entries[popcount(bitmap up to the slot) - 1]`: one or two cache misses a level. Equal records
are stored once, whatever their level and family. What a 64-bit key cannot tell apart lies in two sorted lists.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from _fastpath.address cimport Address, Canonical

from hashlib import sha256
from zlib import crc32

# The compiler's builtin is a library call unless the whole module is built for x86-64-v2, and the instruction is the
# heart of the lookup. arm64 has it in every processor.
cdef extern from *:
    """
    #if defined(__x86_64__) && !defined(__POPCNT__)
    static inline uint64_t trie_popcount(uint64_t word) {
        uint64_t count;
        __asm__("popcnt %1, %0" : "=r"(count) : "r"(word) : "cc");
        return count;
    }
    #  define trie_can_run() (__builtin_cpu_init(), __builtin_cpu_supports("popcnt") != 0)
    #else
    static inline uint64_t trie_popcount(uint64_t word) { return (uint64_t)__builtin_popcountll(word); }
    #  define trie_can_run() 1
    #endif
    #define trie_prefetch(at) __builtin_prefetch(at)
    #define trie_lowest_bit(word) __builtin_ctzll(word)
    """
    uint64_t trie_popcount(uint64_t word) noexcept nogil
    bint trie_can_run() noexcept nogil
    void trie_prefetch(const void* at) noexcept nogil
    int trie_lowest_bit(uint64_t word) noexcept nogil

if not trie_can_run():
    raise ImportError("_fastpath needs a processor of x86-64-v2 or later (POPCNT)")

cdef const uint8_t* MAGIC = b"\x89RRX\r\n\x1a\n"
cdef tuple SECTION_NAMES = ("direct", "records", "below64", "outside", "values", "strings", "sources")


cdef inline uint16_t load16(const uint8_t* at) noexcept nogil:
    cdef uint16_t word
    memcpy(&word, at, sizeof(word))
    return word


cdef inline uint32_t load32(const uint8_t* at) noexcept nogil:
    cdef uint32_t word
    memcpy(&word, at, sizeof(word))
    return word


cdef inline uint64_t load64(const uint8_t* at) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, at, sizeof(word))
    return word


cdef inline uint16_t entry_of(const uint8_t* record, uint64_t key) noexcept nogil:
    """The entry of the slot that the first six bits of `key` name. Slot 0 starts an entry, so the count is at least 1."""
    return load16(record + 6 + 2 * trie_popcount(load64(record) << (63 - (key >> 58))))


cdef inline uint32_t child_of(const uint8_t* record, uint16_t entry) noexcept nogil:
    """The offset of a child, or a wide value id with the bit WIDE_BIT set."""
    return load32(record - 4 - 4 * <Py_ssize_t>(entry & SPLIT))


cdef inline uint32_t walk(const uint8_t* records, uint32_t offset, uint64_t key) noexcept nogil:
    """Follow `key` (the bits behind the direct table's, left-aligned) from the record at `offset` to its value.

    Answers a value id below SPLIT; SPLIT when 64 bits are not enough; or a wide value id with the bit WIDE_BIT set.
    """
    cdef uint16_t entry
    while True:
        entry = entry_of(records + offset, key)
        if not entry & CHILD:
            return entry
        offset = child_of(records + offset, entry)
        if offset >> WIDE_BIT:
            return offset
        key <<= 6


cdef inline bint has_slot(const Address* address, uint32_t* slot, uint64_t* key) noexcept nogil:
    """Find the slot of the direct table and the bits behind it; False for an address outside ::/96 and 2000::/3.

    Without a branch on the family, which in mixed input is random. An address outside gets the slot of another.
    """
    cdef bint is_ipv4 = (address.family == 4) | ((address.hi == 0) & (address.lo >> 32 == 0))
    cdef uint32_t slot_v4 = (address.lo >> 14) & (DIRECT_SLOTS_V4 - 1)
    cdef uint32_t slot_v6 = DIRECT_SLOTS_V4 + ((address.hi >> DIRECT_SHIFT) & (DIRECT_SLOTS_V6 - 1))
    slot[0] = slot_v4 if is_ipv4 else slot_v6
    key[0] = address.lo << 50 if is_ipv4 else address.hi << 18
    return is_ipv4 | (address.hi >> 61 == 1)


cdef inline uint32_t search(const Start* starts, uint64_t count, uint64_t hi, uint64_t lo) noexcept nogil:
    """Find the value of the last start that is not behind (hi, lo); 0 when all are."""
    cdef uint64_t low = 0
    cdef uint64_t high = count
    cdef uint64_t middle
    while low < high:
        middle = (low + high) >> 1
        if starts[middle].hi < hi or (starts[middle].hi == hi and starts[middle].lo <= lo):
            low = middle + 1
        else:
            high = middle
    return starts[low - 1].value if low else 0


cdef inline uint32_t value_of(PrefixTrie trie, uint32_t found, uint64_t hi, uint64_t lo) noexcept nogil:
    """Turn what `walk` found for an address of these halves into its value id."""
    if found < SPLIT:
        return found
    if found == SPLIT:
        return search(trie._below64, trie._below64_count, hi, lo)
    return found & ~(<uint32_t>1 << WIDE_BIT)


cdef inline uint32_t step_down(const uint8_t* records, uint64_t key, int shift, bint has_wide, uint32_t* place) noexcept nogil:
    """Go from the record at offset `place` by the six bits of `key` above `shift`, to a child or to a value.

    Answers 1 for a child and 0 for a value. Which of them comes is random, so nothing branches on it: for a value, the
    word before the record is read and not used. Of the first record, that is the end of the direct table.
    """
    cdef const uint8_t* record = records + place[0]
    cdef uint32_t entry = load16(record + 6 + 2 * trie_popcount(load64(record) << (63 - ((key >> shift) & 63))))
    cdef uint32_t has_child = entry >> 15
    cdef uint32_t child = child_of(record, <uint16_t>(entry & -has_child))
    if has_wide:
        place[0] = child & ~(<uint32_t>1 << WIDE_BIT) if has_child else entry
        return has_child & ~(child >> WIDE_BIT)
    place[0] = child if has_child else entry
    return has_child


cdef inline int walk_block(
    PrefixTrie trie, const uint64_t* keys, uint32_t* places, int count, int levels, bint has_wide, uint8_t* active
) noexcept nogil:
    """Take a block from slots of the direct table to values, all of them one level at a time, so that their misses overlap.

    Both are in `places`, and in between the offsets of records. Answers how many are not done after so many levels,
    with `active` naming them.
    """
    cdef const uint8_t* records = trie._records
    cdef uint32_t goes_on
    cdef int kept = 0
    cdef int i, j, level, active_count
    for i in range(count):
        trie_prefetch(trie._direct + places[i])
    for i in range(count):
        places[i] = trie._direct[places[i]]
        trie_prefetch(records + places[i])
    for i in range(count):
        goes_on = step_down(records, keys[i], FIRST_SHIFT, has_wide, &places[i])
        trie_prefetch(records + (places[i] & -goes_on))
        active[kept] = <uint8_t>i
        kept += goes_on
    for level in range(1, levels):
        active_count = kept
        kept = 0
        for j in range(active_count):
            i = active[j]
            goes_on = step_down(records, keys[i], FIRST_SHIFT - 6 * level, has_wide, &places[i])
            trie_prefetch(records + (places[i] & -goes_on))
            active[kept] = <uint8_t>i
            kept += goes_on
    return kept


cdef inline int walk_together(
    PrefixTrie trie, const uint64_t* keys, uint32_t* places, int count, int levels, uint8_t* active
) noexcept nogil:
    """The same, compiled for each kind of image."""
    if trie._has_wide:
        return walk_block(trie, keys, places, count, levels, True, active)
    return walk_block(trie, keys, places, count, levels, False, active)


@cython.final
@cython.auto_pickle(False)
cdef class PrefixTrie:
    """An index image, opened for lookups. It keeps a reference to the image's buffer, which must be read-only."""

    def __cinit__(self, image):
        PyObject_GetBuffer(image, &self._view, PyBUF_SIMPLE)
        self._is_held = True
        if not self._view.readonly:
            raise ValueError("an index image must lie in memory that cannot be written")
        check_header(<const uint8_t*>self._view.buf, <uint64_t>self._view.len)
        self._header = <const ImageHeader*>self._view.buf
        check_sections(self._header)
        self._direct = <const uint32_t*>self._at(DIRECT)
        self._records = self._at(RECORDS)
        self._below64 = <const Start*>self._at(BELOW64)
        self._outside = <const Start*>self._at(OUTSIDE)
        self._below64_count = self._header.sections[BELOW64].size_bytes // sizeof(Start)
        self._outside_count = self._header.sections[OUTSIDE].size_bytes // sizeof(Start)
        # Below it no value needs the form of a wide one.
        self._has_wide = self._header.value_count > SPLIT

    def __dealloc__(self):
        if self._is_held:
            PyBuffer_Release(&self._view)

    cdef const uint8_t* _at(self, int section) noexcept nogil:
        return <const uint8_t*>self._header + self._header.sections[section].offset

    cdef uint32_t find_value(self, const Address* address) noexcept nogil:
        cdef uint32_t slot
        cdef uint64_t key
        if has_slot(address, &slot, &key):
            return value_of(self, walk(self._records, self._direct[slot], key), address.hi, address.lo)
        return search(self._outside, self._outside_count, address.hi, address.lo)

    cdef void find_values(self, const Address* addresses, uint32_t* values, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t done = 0
        while done < count:
            self._find_block(addresses + done, values + done, <int>min(count - done, <Py_ssize_t>BLOCK_ADDRESSES))
            done += BLOCK_ADDRESSES

    cdef void find_ipv4_values(self, const uint32_t* addresses, uint32_t* values, Py_ssize_t count) noexcept nogil:
        cdef Py_ssize_t done = 0
        while done < count:
            self._find_ipv4_block(addresses + done, values + done, <int>min(count - done, <Py_ssize_t>BLOCK_ADDRESSES))
            done += BLOCK_ADDRESSES

    cdef void _find_block(self, const Address* addresses, uint32_t* values, int count) noexcept nogil:
        cdef uint64_t[BLOCK_ADDRESSES] keys
        cdef uint8_t[BLOCK_ADDRESSES] active
        cdef uint64_t outside = 0
        cdef int i, j, kept
        for i in range(count):
            outside |= <uint64_t>(not has_slot(&addresses[i], &values[i], &keys[i])) << i
        # The last level alone can end in SPLIT. An address outside 2000::/3 walks too, to a value that is then replaced.
        kept = walk_together(self, keys, values, count, RECORD_LEVELS - 1, active)
        for j in range(kept):
            i = active[j]
            values[i] = self._walk_on(values[i], keys[i], RECORD_LEVELS - 1, addresses[i].hi, addresses[i].lo)
        while outside:
            i = trie_lowest_bit(outside)
            values[i] = search(self._outside, self._outside_count, addresses[i].hi, addresses[i].lo)
            outside &= outside - 1

    cdef void _find_ipv4_block(self, const uint32_t* addresses, uint32_t* values, int count) noexcept nogil:
        cdef uint64_t[BLOCK_ADDRESSES] keys
        cdef uint8_t[BLOCK_ADDRESSES] active
        cdef int i, j, kept
        for i in range(count):
            values[i] = addresses[i] >> 14
            keys[i] = <uint64_t>addresses[i] << 50
        kept = walk_together(self, keys, values, count, IPV4_LEVELS, active)
        # The 32 bits end inside the last of these levels. An image with more of them is sound, though no builder makes it.
        for j in range(kept):
            i = active[j]
            values[i] = self._walk_on(values[i], keys[i], IPV4_LEVELS, 0, addresses[i])

    cdef uint32_t _walk_on(self, uint32_t offset, uint64_t key, int level, uint64_t hi, uint64_t lo) noexcept nogil:
        """Find the value of an address that has come to a record at `level`."""
        return value_of(self, walk(self._records, offset, key << 6 * level), hi, lo)

    def find(self, Canonical address not None):
        """Find the value id of an address; 0 when no source knows it."""
        return self.find_value(&address._address)

    def find_many(self, addresses):
        """Find the value ids of a sequence of addresses, as a list; 0 where no source knows one."""
        cdef Address[BLOCK_ADDRESSES] block
        cdef uint32_t[BLOCK_ADDRESSES] values
        cdef int count = 0
        cdef int i
        found = []
        for address in addresses:
            block[count] = (<Canonical?>address)._address
            count += 1
            if count == BLOCK_ADDRESSES:
                self._find_block(block, values, count)
                found += [values[i] for i in range(count)]
                count = 0
        self._find_block(block, values, count)
        found += [values[i] for i in range(count)]
        return found

    def find_parts(self, int family, uint64_t hi, uint64_t lo):
        """Find the value id of the canonical address of these parts; 0 when no source knows it.

        `family` is 4 (then `hi` is 0 and `lo` below 2**32) or 6, else ValueError.
        """
        cdef Address address
        if family != 6 and (family != 4 or hi or lo >> 32):
            raise ValueError("not the parts of a canonical address")
        address.hi = hi
        address.lo = lo
        address.family = <uint8_t>family
        address.special = 0
        address.clothing = 0
        return self.find_value(&address)

    @property
    def version(self):
        """The version of the image's format."""
        return self._header.version

    @property
    def image_bytes(self):
        """The size of the whole image in bytes."""
        return self._header.image_bytes

    @property
    def header_bytes(self):
        """The size of the header in bytes: where the body begins, over which the digest is made."""
        return sizeof(ImageHeader)

    @property
    def body_sha256(self):
        """The SHA-256 that the body must have, 32 bytes."""
        return bytes(self._header.body_sha256[:32])

    @property
    def value_count(self):
        """The number of values; every value id is below it."""
        return self._header.value_count

    @property
    def source_count(self):
        """The number of sources; every value holds one answer of each."""
        return self._header.source_count

    @property
    def section_names(self):
        """The names of the sections, in the order in which they lie in the image."""
        return SECTION_NAMES

    def section(self, str name not None):
        """Answer the bytes of a section as a read-only memoryview on the image; KeyError for another name."""
        if name not in SECTION_NAMES:
            raise KeyError(name)
        cdef const Section* section = &self._header.sections[<int>SECTION_NAMES.index(name)]
        return memoryview(self._view.obj).cast("B")[section.offset:section.offset + section.size_bytes]


def seal(sections, uint32_t source_count, uint32_t value_count):
    """Make an image of its sections, bytes in the order of `section_names`; ValueError for what no image can hold."""
    cdef ImageHeader header
    cdef uint64_t end = sizeof(ImageHeader)
    cdef uint64_t size_bytes
    cdef int i
    if len(sections) != SECTION_COUNT:
        raise ValueError(f"{len(sections)} sections, an image has {SECTION_COUNT}")
    memset(&header, 0, sizeof(header))
    header.byte_order = BYTE_ORDER_MARK
    header.version = FORMAT_VERSION
    header.source_count = source_count
    header.value_count = value_count
    parts = []
    for i in range(SECTION_COUNT):
        size_bytes = len(sections[i])
        header.sections[i].offset = end
        header.sections[i].size_bytes = size_bytes
        end += size_bytes + padding(size_bytes)
        parts += (sections[i], bytes(padding(size_bytes)))
    header.image_bytes = end
    check_sections(&header)
    cdef bytes body = b"".join(parts)
    cdef bytes digest = sha256(body).digest()
    memcpy(header.magic, MAGIC, sizeof(header.magic))
    memcpy(header.body_sha256, <const uint8_t*>digest, sizeof(header.body_sha256))
    header.body_xxh64 = xxh64(<const uint8_t*>body, len(body))
    header.header_crc32 = crc32((<const uint8_t*>&header)[:sizeof(header) - 4])
    return (<const uint8_t*>&header)[:sizeof(header)] + body


def is_intact(PrefixTrie trie not None):
    """Tell whether the body has the checksum that its header states: no accident has changed it since it was built."""
    cdef const uint8_t* body = <const uint8_t*>trie._header + sizeof(ImageHeader)
    cdef bint intact
    with nogil:
        intact = xxh64(body, trie._header.image_bytes - sizeof(ImageHeader)) == trie._header.body_xxh64
    return intact


cdef inline uint64_t padding(uint64_t size_bytes) noexcept nogil:
    """The bytes that fill a section up to where the next begins."""
    return -size_bytes & (SECTION_ALIGNMENT_BYTES - 1)


cdef inline uint64_t rotated(uint64_t word, int bits) noexcept nogil:
    return word << bits | word >> (64 - bits)


cdef uint64_t xxh64(const uint8_t* at, uint64_t size_bytes) noexcept nogil:
    """XXH64 with seed 0 of a multiple of 32 bytes, at least 32: the algorithm's tail is left out.

    https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md. Five to ten times as fast as SHA-256.
    """
    cdef uint64_t prime1 = 0x9E3779B185EBCA87
    cdef uint64_t prime2 = 0xC2B2AE3D27D4EB4F
    cdef uint64_t prime3 = 0x165667B19E3779F9
    cdef uint64_t prime4 = 0x85EBCA77C2B2AE63
    cdef uint64_t[4] lane
    cdef uint64_t state, i
    cdef int j
    lane[0] = prime1 + prime2
    lane[1] = prime2
    lane[2] = 0
    lane[3] = -prime1
    for i in range(size_bytes >> 5):
        for j in range(4):
            lane[j] = rotated(lane[j] + load64(at + 32 * i + 8 * j) * prime2, 31) * prime1
    state = rotated(lane[0], 1) + rotated(lane[1], 7) + rotated(lane[2], 12) + rotated(lane[3], 18)
    for j in range(4):
        state = (state ^ rotated(lane[j] * prime2, 31) * prime1) * prime1 + prime4
    state += size_bytes
    state = (state ^ state >> 33) * prime2
    state = (state ^ state >> 29) * prime3
    return state ^ state >> 32


cdef int check_header(const uint8_t* image, uint64_t size_bytes) except -1:
    """Refuse what is no image of this version and byte order, and what is not as long as it says."""
    cdef const ImageHeader* header = <const ImageHeader*>image
    cdef uint64_t seen_bytes = min(size_bytes, <uint64_t>8)
    if memcmp(image, MAGIC, seen_bytes) != 0:
        raise ValueError("foreign: not an index image")
    if size_bytes < sizeof(ImageHeader):
        raise ValueError("truncated: shorter than a header")
    if <uintptr_t>image % sizeof(uint64_t):
        raise ValueError("misplaced: an image must begin at a multiple of 8 bytes")
    if header.byte_order == BYTE_ORDER_SWAPPED:
        raise ValueError("foreign: built on a machine of the other byte order")
    if header.byte_order != BYTE_ORDER_MARK:
        raise ValueError("damaged: the byte order mark is wrong")
    if header.version > FORMAT_VERSION:
        raise ValueError(f"newer: format version {header.version}, this release reads version {FORMAT_VERSION}")
    if header.version != FORMAT_VERSION:
        raise ValueError(f"damaged: format version {header.version} never existed")
    if header.header_crc32 != crc32(image[:sizeof(ImageHeader) - 4]):
        raise ValueError("damaged: the checksum of the header is wrong")
    if size_bytes < header.image_bytes:
        raise ValueError(f"truncated: {size_bytes} of {header.image_bytes} bytes")
    if size_bytes > header.image_bytes:
        raise ValueError(f"damaged: {size_bytes - header.image_bytes} bytes too long")
    return 0


cdef int check_sections(const ImageHeader* header) except -1:
    """Refuse sections that are not one behind the other inside the image, or of a size that cannot be.

    The sizes are each bounded before they are added, so no sum overflows.
    """
    cdef uint64_t expected = sizeof(ImageHeader)
    cdef uint64_t room_bytes
    cdef int i
    for i in range(SECTION_COUNT):
        room_bytes = header.image_bytes - expected if header.image_bytes > expected else 0
        if header.sections[i].offset != expected or header.sections[i].size_bytes > room_bytes:
            raise ValueError(f"damaged: section {SECTION_NAMES[i]} is not where it must be")
        expected += header.sections[i].size_bytes + padding(header.sections[i].size_bytes)
    if expected != header.image_bytes:
        raise ValueError("damaged: the sections do not fill the image")
    if not 1 <= header.value_count <= MAX_VALUES or not 1 <= header.source_count <= MAX_SOURCES:
        raise ValueError("damaged: an impossible number of values or sources")
    if (
        header.sections[DIRECT].size_bytes != (DIRECT_SLOTS_V4 + DIRECT_SLOTS_V6) * sizeof(uint32_t)
        or header.sections[RECORDS].size_bytes >> WIDE_BIT
        or header.sections[RECORDS].size_bytes % RECORD_ALIGNMENT_BYTES
        or header.sections[BELOW64].size_bytes % sizeof(Start)
        or header.sections[OUTSIDE].size_bytes % sizeof(Start)
        or header.sections[VALUES].size_bytes != <uint64_t>8 * header.value_count * header.source_count
    ):
        raise ValueError("damaged: a section has an impossible size")
    return 0


cdef enum Fault:
    SOUND = 0
    NO_MEMORY
    BAD_DIRECT_SLOT
    BAD_BITMAP
    BAD_ENTRY
    BAD_CHILD
    BAD_BELOW64
    BAD_OUTSIDE

cdef dict FAULTS = {
    BAD_DIRECT_SLOT: "a slot of the direct table does not lead to a record",
    BAD_BITMAP: "the bitmap of a record is impossible",
    BAD_ENTRY: "an entry of a record is no value",
    BAD_CHILD: "a child of a record does not lead to a record before it",
    BAD_BELOW64: "the list of addresses below /64 is not in order",
    BAD_OUTSIDE: "the list of addresses outside 2000::/3 is not in order",
}


def verify(PrefixTrie trie not None):
    """Check every offset and value id that a lookup relies on; ValueError names the first fault.

    Takes time in proportion to the image, whatever its bytes are, and one byte for four of the record section.
    """
    cdef Fault fault
    with nogil:
        fault = check_body(trie)
    if fault == NO_MEMORY:
        raise MemoryError
    if fault != SOUND:
        raise ValueError(f"damaged: {FAULTS[fault]}")


cdef Fault check_body(PrefixTrie trie) noexcept nogil:
    """Check the lists, then each reachable record once.

    A child lies before its parent. So one pass from the last record to the first meets every parent before its
    children; `levels` notes at the place of each record met how deep it lies, 0 for a place that is no record.
    """
    cdef uint64_t records_bytes = trie._header.sections[RECORDS].size_bytes
    cdef uint64_t places = records_bytes // RECORD_ALIGNMENT_BYTES
    cdef uint64_t slots = DIRECT_SLOTS_V4 + DIRECT_SLOTS_V6
    cdef const uint32_t* direct = trie._direct
    cdef uint64_t i
    cdef uint8_t* levels
    cdef Fault fault = check_below64(trie)
    if fault == SOUND:
        fault = check_outside(trie)
    if fault != SOUND:
        return fault
    levels = <uint8_t*>calloc(places + 1, 1)
    if levels == NULL:
        return NO_MEMORY
    for i in range(slots):
        if i and direct[i] == direct[i - 1]:
            continue
        if direct[i] % RECORD_ALIGNMENT_BYTES or direct[i] >= records_bytes:
            fault = BAD_DIRECT_SLOT
            break
        levels[direct[i] // RECORD_ALIGNMENT_BYTES] = 1
    i = places
    while fault == SOUND and i > 0:
        if i % 8 == 0 and load64(levels + i - 8) == 0:
            i -= 8
            continue
        i -= 1
        if levels[i]:
            fault = check_record(trie, i * RECORD_ALIGNMENT_BYTES, levels)
    free(levels)
    return fault


cdef Fault check_record(PrefixTrie trie, uint64_t at, uint8_t* levels) noexcept nogil:
    """Check the record at offset `at` and note its children, one level deeper."""
    cdef uint64_t records_bytes = trie._header.sections[RECORDS].size_bytes
    cdef const uint8_t* record = trie._records + at
    cdef uint8_t level = levels[at // RECORD_ALIGNMENT_BYTES]
    cdef uint64_t bitmap, i, entry_count
    cdef uint32_t entry, child
    cdef uint32_t value_limit = 0
    cdef uint32_t child_limit = CHILD
    cdef bint has_split = False
    if at + 8 > records_bytes:
        return BAD_BITMAP
    bitmap = load64(record)
    entry_count = trie_popcount(bitmap)
    if not bitmap & 1 or at + 8 + 2 * entry_count > records_bytes:
        return BAD_BITMAP
    for i in range(entry_count):
        entry = load16(record + 8 + 2 * i)
        has_split |= entry == SPLIT
        value_limit = max(value_limit, entry + 1 if entry < SPLIT else 0)
        child_limit = max(child_limit, entry + 1)
    child_limit -= CHILD
    if value_limit > trie._header.value_count or (has_split and level != RECORD_LEVELS):
        return BAD_ENTRY
    if 4 * <uint64_t>child_limit > at:
        return BAD_CHILD
    for i in range(child_limit):
        child = load32(record - 4 - 4 * <Py_ssize_t>i)
        if child >> WIDE_BIT:
            # A batch does not look for wide values in an image that has no value for them.
            if not SPLIT <= child & ~(<uint32_t>1 << WIDE_BIT) < trie._header.value_count:
                return BAD_ENTRY
        elif child % RECORD_ALIGNMENT_BYTES or child >= at or level >= RECORD_LEVELS:
            return BAD_CHILD
        elif levels[child // RECORD_ALIGNMENT_BYTES] <= level:
            levels[child // RECORD_ALIGNMENT_BYTES] = level + 1
    return SOUND


cdef inline bint is_behind(const Start* starts, uint64_t i) noexcept nogil:
    """Tell whether start `i` lies behind the one before it."""
    return i == 0 or starts[i - 1].hi < starts[i].hi or (starts[i - 1].hi == starts[i].hi and starts[i - 1].lo < starts[i].lo)


cdef Fault check_below64(PrefixTrie trie) noexcept nogil:
    """Check that the list rises, and covers each /64 that it names from its first address on."""
    cdef const Start* starts = trie._below64
    cdef uint64_t i
    for i in range(trie._below64_count):
        if starts[i].value >= trie._header.value_count or starts[i].reserved or not is_behind(starts, i):
            return BAD_BELOW64
        if starts[i].hi >> 61 != 1 or (starts[i].lo and (i == 0 or starts[i - 1].hi != starts[i].hi)):
            return BAD_BELOW64
    return SOUND


cdef Fault check_outside(PrefixTrie trie) noexcept nogil:
    """Check that the list rises, and covers both sides of 2000::/3 from their first addresses on."""
    cdef const Start* starts = trie._outside
    cdef bint has_upper = False
    cdef uint64_t i
    if not trie._outside_count or starts[0].hi or starts[0].lo != <uint64_t>1 << 32:
        return BAD_OUTSIDE
    for i in range(trie._outside_count):
        if starts[i].value >= trie._header.value_count or starts[i].reserved or not is_behind(starts, i):
            return BAD_OUTSIDE
        if starts[i].hi >> 61 == 1:
            return BAD_OUTSIDE
        has_upper = has_upper or (starts[i].hi == <uint64_t>1 << 62 and starts[i].lo == 0)
    return SOUND if has_upper else BAD_OUTSIDE
