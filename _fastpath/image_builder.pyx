# cython: autotestdict=False, freethreading_compatible=True
"""Lists of transitions in, the sections of an index image out: the offline half of `prefix_trie`.

A transition (starts_hi, starts_lo, leaf) says: from this 128-bit address on, up to the next transition, this leaf holds.
IPv4 lies in ::/96. A list rises strictly; before its first transition leaf 0 holds, which is "unknown". `merge` makes
one list of several whose values are numbered rows of one region a source; `build` makes the trie of such a list.
Both run without the GIL, in time and memory in proportion to their input, and give equal bytes for equal input. They
share nothing with another call; the buffers of their input must not change meanwhile.

Theory of operation. `build` reads its transitions once, in order, with one cursor. A slot in which no transition lies
is uniform; any other becomes a record, filled by recursion, whose children are thus written before it. A finished
record is looked up by its bytes: offsets are absolute, so equal bytes are equal subtrees, and one copy serves all.
"""

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from _fastpath.prefix_trie cimport (
    CHILD, DIRECT_SHIFT, DIRECT_SLOTS_V4, DIRECT_SLOTS_V6, MAX_SOURCES, MAX_VALUES, RECORD_ALIGNMENT_BYTES, SPLIT, WIDE_BIT,
    Start,
)

from array import array as new_array

cdef enum:
    # A record's buffer in words of 32 bits: children downwards from the bitmap, entries upwards.
    BITMAP_WORD = 64
    ENTRY_WORD = 66
    BUFFER_WORDS = 98
    RECORD_BITS = 6
    UNIFORM_RECORD_BYTES = 12
    # The slots of a last-level record are single /64s: 4 bits of the address are left of the 6.
    LAST_SHIFT = -2
    # A slot of a hash table holds its number plus 1.
    FREE_SLOT = 0


cdef inline int reserve(Bytes* pool, uint64_t more_bytes) noexcept nogil:
    """Make room for `more_bytes` at the end; -1 without memory."""
    cdef uint64_t capacity = pool.capacity
    cdef void* grown
    if pool.size + more_bytes <= capacity:
        return 0
    while capacity < pool.size + more_bytes:
        capacity = capacity + capacity // 2 + 65536
    grown = realloc(pool.at, capacity)
    if grown == NULL:
        return -1
    pool.at = <uint8_t*>grown
    pool.capacity = capacity
    return 0


cdef inline int append(Bytes* pool, const void* item, uint64_t size_bytes) noexcept nogil:
    if reserve(pool, size_bytes) < 0:
        return -1
    memcpy(pool.at + pool.size, item, size_bytes)
    pool.size += size_bytes
    return 0


cdef inline uint32_t hash_words(const uint32_t* words, uint64_t count) noexcept nogil:
    cdef uint64_t state = count
    cdef uint64_t i
    for i in range(count):
        state = (state ^ words[i]) * <uint64_t>0x9E3779B97F4A7C15
        state ^= state >> 29
    return <uint32_t>(state >> 32)


cdef int grow(Table* table) noexcept nogil:
    """Keep the table at most half full; -1 without memory."""
    cdef uint64_t capacity, i, at
    cdef uint64_t* slots
    if table.slots != NULL and 2 * (table.count + 1) <= table.mask + 1:
        return 0
    capacity = 2 * (table.mask + 1) if table.slots != NULL else 4096
    slots = <uint64_t*>calloc(capacity, sizeof(uint64_t))
    if slots == NULL:
        return -1
    if table.slots != NULL:
        for i in range(table.mask + 1):
            if table.slots[i] != FREE_SLOT:
                at = (table.slots[i] >> 32) & (capacity - 1)
                while slots[at] != FREE_SLOT:
                    at = (at + 1) & (capacity - 1)
                slots[at] = table.slots[i]
        free(table.slots)
    table.slots = slots
    table.mask = capacity - 1
    return 0


cdef inline int64_t intern_row(Rows* rows, const uint32_t* row) noexcept nogil:
    """Find the number of a row, a new one if it was never seen; -1 without memory."""
    cdef uint64_t size_bytes = rows.width * sizeof(uint32_t)
    cdef uint32_t hashed = hash_words(row, rows.width)
    cdef uint32_t unused = 0
    cdef uint64_t at, number
    if grow(&rows.table) < 0:
        return -1
    at = hashed & rows.table.mask
    while rows.table.slots[at] != FREE_SLOT:
        number = <uint32_t>rows.table.slots[at] - 1
        if rows.table.slots[at] >> 32 == hashed and memcmp(rows.words.at + number * size_bytes, row, size_bytes) == 0:
            return <int64_t>number
        at = (at + 1) & rows.table.mask
    number = rows.table.count
    if append(&rows.words, row, size_bytes) < 0 or append(&rows.uses, &unused, sizeof(unused)) < 0:
        return -1
    rows.table.slots[at] = (<uint64_t>hashed << 32) | (number + 1)
    rows.table.count += 1
    return <int64_t>number


cdef enum SweepFault:
    SWEPT = 0
    SWEEP_NO_MEMORY
    SWEEP_NOT_RISING
    SWEEP_LEAF_UNKNOWN
    SWEEP_TOO_MANY_VALUES


cdef inline bint is_before(const Stream* a, const Stream* b) noexcept nogil:
    """Tell whether the next transition of `a` lies before that of `b`; one that is at its end lies behind all."""
    if a.next == a.count or b.next == b.count:
        return b.next == b.count and a.next < a.count
    return a.hi[a.next] < b.hi[b.next] or (a.hi[a.next] == b.hi[b.next] and a.lo[a.next] < b.lo[b.next])


cdef inline SweepFault take(Stream* stream, uint64_t hi, uint64_t lo, uint32_t* region, bint* has_changed) noexcept nogil:
    """Take the transition of `stream` at (hi, lo), if its next one lies there."""
    cdef Py_ssize_t i = stream.next
    cdef uint32_t taken
    if i == stream.count or stream.hi[i] != hi or stream.lo[i] != lo:
        return SWEPT
    if stream.leaf[i] >= <uint64_t>stream.leaf_count:
        return SWEEP_LEAF_UNKNOWN
    taken = stream.region[stream.leaf[i]]
    has_changed[0] |= taken != region[0]
    region[0] = taken
    stream.next = i = i + 1
    if i < stream.count and (stream.hi[i] < hi or (stream.hi[i] == hi and stream.lo[i] <= lo)):
        return SWEEP_NOT_RISING
    return SWEPT


cdef SweepFault sweep(
    Stream* streams, Rows* rows, uint64_t* starts_hi, uint64_t* starts_lo, uint32_t* values, Py_ssize_t* made
) noexcept nogil:
    """Read all streams side by side in the order of their addresses, and write where the row of their regions changes.

    The outputs have room for one transition more than the streams have together.
    """
    cdef uint32_t[MAX_SOURCES] row
    cdef uint64_t hi = 0
    cdef uint64_t lo = 0
    cdef bint has_changed = True
    cdef Py_ssize_t count = 0
    cdef SweepFault fault
    cdef int64_t number
    cdef int i, nearest
    memset(row, 0, sizeof(row))
    if intern_row(rows, row) < 0:
        return SWEEP_NO_MEMORY
    while True:
        for i in range(rows.width):
            fault = take(&streams[i], hi, lo, &row[i], &has_changed)
            if fault != SWEPT:
                return fault
        if has_changed:
            number = intern_row(rows, row)
            if number < 0:
                return SWEEP_NO_MEMORY
            if number >= MAX_VALUES:
                return SWEEP_TOO_MANY_VALUES
            starts_hi[count] = hi
            starts_lo[count] = lo
            values[count] = <uint32_t>number
            (<uint32_t*>rows.uses.at)[number] += 1
            count += 1
            has_changed = False
        nearest = 0
        for i in range(1, rows.width):
            if is_before(&streams[i], &streams[nearest]):
                nearest = i
        if streams[nearest].next == streams[nearest].count:
            made[0] = count
            return SWEPT
        hi = streams[nearest].hi[streams[nearest].next]
        lo = streams[nearest].lo[streams[nearest].next]


cdef dict SWEEP_FAULTS = {
    SWEEP_NOT_RISING: "transitions do not rise strictly",
    SWEEP_LEAF_UNKNOWN: "a transition has a leaf that the table of leaves does not know",
    SWEEP_TOO_MANY_VALUES: f"the sources together have more than {MAX_VALUES} different answers",
}


cdef array.array room(str typecode, Py_ssize_t count):
    return array.clone(new_array(typecode), count, zero=False)


def merge(streams):
    """Merge the transitions of several sources into one list of values.

    `streams` is a sequence of (starts_hi, starts_lo, leaf, regions) buffers, at most MAX_SOURCES: uint64, uint64,
    uint32, and uint32 region ids indexed by leaf, where 0 is "unknown". Answers (starts_hi, starts_lo, values, answers)
    as arrays: `answers` holds the rows of the values one behind the other, one region id a source. Value 0 is the row of
    zeros; the others are numbered from the most used on. Each transition changes the value, and the first is at ::.
    ValueError for lists that do not rise, leaves without a region, too many sources or too many values.
    """
    if not 1 <= len(streams) <= MAX_SOURCES:
        raise ValueError(f"{len(streams)} sources, 1 to {MAX_SOURCES} can be merged")
    cdef Stream[MAX_SOURCES] raw
    cdef Rows rows
    cdef Py_ssize_t total = 1
    cdef Py_ssize_t made = 0
    cdef SweepFault fault
    held = []
    memset(&rows, 0, sizeof(rows))
    rows.width = len(streams)
    for i, (hi, lo, leaf, regions) in enumerate(streams):
        held.append(open_stream(&raw[i], hi, lo, leaf, regions))
        total += raw[i].count
    cdef array.array starts_hi = room("Q", total)
    cdef array.array starts_lo = room("Q", total)
    cdef array.array values = room("I", total)
    try:
        with nogil:
            fault = sweep(
                raw, &rows, <uint64_t*>starts_hi.data.as_ulonglongs, <uint64_t*>starts_lo.data.as_ulonglongs,
                values.data.as_uints, &made
            )
        if fault == SWEEP_NO_MEMORY:
            raise MemoryError
        if fault != SWEPT:
            raise ValueError(SWEEP_FAULTS[fault])
        array.resize(starts_hi, made)
        array.resize(starts_lo, made)
        array.resize(values, made)
        return starts_hi, starts_lo, values, by_use(&rows, values)
    finally:
        free(rows.words.at)
        free(rows.uses.at)
        free(rows.table.slots)


cdef tuple open_stream(
    Stream* stream, const uint64_t[::1] starts_hi, const uint64_t[::1] starts_lo, const uint32_t[::1] leaf,
    const uint32_t[::1] regions
):
    """Point `stream` at the buffers; answers the views that hold them. An empty buffer has no first item to point at."""
    if not starts_hi.shape[0] == starts_lo.shape[0] == leaf.shape[0]:
        raise ValueError("transitions whose buffers differ in length")
    stream.next = 0
    stream.count = leaf.shape[0]
    stream.leaf_count = regions.shape[0]
    stream.hi = &starts_hi[0] if stream.count else NULL
    stream.lo = &starts_lo[0] if stream.count else NULL
    stream.leaf = &leaf[0] if stream.count else NULL
    stream.region = &regions[0] if stream.leaf_count else NULL
    return starts_hi, starts_lo, leaf, regions


cdef array.array by_use(Rows* rows, array.array values):
    """Renumber the rows, the most used first (equals keep their order), in place in `values`; answers the rows.

    A record holds a number below SPLIT in 2 bytes, any other in 6.
    """
    cdef uint32_t count = <uint32_t>rows.table.count
    cdef const uint32_t* uses = <const uint32_t*>rows.uses.at
    cdef array.array number_of = room("I", count)
    cdef array.array answers = room("I", count * rows.width)
    cdef uint64_t row_bytes = rows.width * sizeof(uint32_t)
    cdef uint32_t* value = values.data.as_uints
    cdef uint32_t old
    cdef uint32_t new = 0
    cdef Py_ssize_t i
    weights = [uses[old] for old in range(count)]
    for old in [0, *sorted(range(1, count), key=weights.__getitem__, reverse=True)]:
        number_of.data.as_uints[old] = new
        memcpy(answers.data.as_uints + <uint64_t>new * rows.width, rows.words.at + old * row_bytes, row_bytes)
        new += 1
    for i in range(len(values)):
        value[i] = number_of.data.as_uints[value[i]]
    return answers


cdef inline uint64_t next_key(const Builder* builder) noexcept nogil:
    """The left-aligned key of the next transition."""
    return builder.lo[builder.next] << 32 if builder.is_ipv4 else builder.hi[builder.next]


cdef inline bint is_uniform(Builder* builder, uint64_t first, uint64_t last) noexcept nogil:
    """Enter the keys [first, last]: take a transition at their very start; tell whether there is no other in them."""
    cdef Py_ssize_t i = builder.next
    if i < builder.end and next_key(builder) == first and (builder.is_ipv4 or builder.lo[i] == 0):
        builder.current = builder.value[i]
        builder.next = i + 1
    return builder.next == builder.end or next_key(builder) > last


cdef uint32_t intern_record(Builder* builder, const uint32_t* words, int child_count, int entry_count) noexcept nogil:
    """Store a record unless an equal one is there; answers its offset.

    `words` is the buffer that `fill_record` describes. A candidate whose bitmap and entries are equal has equally many
    children, so what is compared lies inside the pool.
    """
    cdef Bytes* pool = &builder.records
    cdef Table* table = &builder.table
    cdef uint64_t before = 4 * child_count
    cdef uint64_t behind = (8 + 2 * entry_count + RECORD_ALIGNMENT_BYTES - 1) & ~<uint64_t>(RECORD_ALIGNMENT_BYTES - 1)
    cdef const uint32_t* first = words + BITMAP_WORD - child_count
    cdef uint32_t hashed = hash_words(first, (before + behind) // 4)
    cdef uint64_t at, offset
    if builder.has_failed or grow(table) < 0:
        builder.has_failed = True
        return 0
    at = hashed & table.mask
    while table.slots[at] != FREE_SLOT:
        offset = <uint32_t>table.slots[at] - 1
        if (
            table.slots[at] >> 32 == hashed
            and offset >= before
            and offset + behind <= pool.size
            and memcmp(pool.at + offset - before, first, before + behind) == 0
        ):
            return <uint32_t>offset
        at = (at + 1) & table.mask
    offset = pool.size + before
    if append(pool, first, before + behind) < 0 or pool.size >> WIDE_BIT:
        builder.has_failed = True
        return 0
    table.slots[at] = (<uint64_t>hashed << 32) | (offset + 1)
    table.count += 1
    return <uint32_t>offset


cdef inline uint32_t number_child(uint32_t* words, int* child_count, uint32_t child) noexcept nogil:
    """The number of a child in the record that is being filled; equal children share one."""
    cdef int i
    for i in range(child_count[0]):
        if words[BITMAP_WORD - 1 - i] == child:
            return i
    words[BITMAP_WORD - 1 - child_count[0]] = child
    child_count[0] += 1
    return child_count[0] - 1


cdef uint32_t fill_record(Builder* builder, uint64_t base, int shift) noexcept nogil:
    """Make the record whose 64 slots of 2**shift keys each begin at `base`; answers its offset.

    `words` holds the children downwards from BITMAP_WORD, the bitmap there, the entries as 16 bits from ENTRY_WORD on.
    The loop goes from one slot that a transition lies in to the next: what is between repeats the entry before.
    """
    cdef uint32_t[BUFFER_WORDS] words
    cdef uint16_t* entries = <uint16_t*>&words[ENTRY_WORD]
    cdef int key_shift = shift if shift >= 0 else 0
    cdef int slot_shift = key_shift - shift
    cdef uint64_t bitmap = 0
    cdef uint64_t first, next_slot
    cdef uint64_t slot = 0
    cdef uint64_t end = <uint64_t>1 << RECORD_BITS
    cdef uint32_t entry
    cdef int child_count = 0
    cdef int entry_count = 0
    while slot < end:
        first = base + (slot >> slot_shift << key_shift)
        next_slot = slot + (1 << slot_shift)
        if is_uniform(builder, first, first + (<uint64_t>1 << key_shift) - 1):
            entry = builder.current
            if entry >= SPLIT:
                entry = CHILD | number_child(words, &child_count, entry | (<uint32_t>1 << WIDE_BIT))
            next_slot = end
            if builder.next < builder.end and (next_key(builder) - base) >> key_shift < end >> slot_shift:
                next_slot = (next_key(builder) - base) >> key_shift << slot_shift
        elif shift < 0:
            split(builder, first)
            entry = SPLIT
        else:
            entry = CHILD | number_child(words, &child_count, fill_record(builder, first, shift - RECORD_BITS))
        if entry_count == 0 or entries[entry_count - 1] != entry:
            bitmap |= <uint64_t>1 << slot
            entries[entry_count] = <uint16_t>entry
            entry_count += 1
        slot = next_slot
    if entry_count & 1:
        entries[entry_count] = 0
    memcpy(&words[BITMAP_WORD], &bitmap, sizeof(bitmap))
    return intern_record(builder, words, child_count, entry_count)


cdef void split(Builder* builder, uint64_t hi) noexcept nogil:
    """Move the transitions inside one /64 to the list below /64, behind the value that holds at its start."""
    append_start(builder, hi, 0)
    while builder.next < builder.end and builder.hi[builder.next] == hi:
        builder.current = builder.value[builder.next]
        append_start(builder, hi, builder.lo[builder.next])
        builder.next += 1


cdef void append_start(Builder* builder, uint64_t hi, uint64_t lo) noexcept nogil:
    """Append to the list below /64 that the current value holds from (hi, lo) on."""
    cdef Start start
    start.hi = hi
    start.lo = lo
    start.value = builder.current
    start.reserved = 0
    if append(&builder.below64, &start, sizeof(start)) < 0:
        builder.has_failed = True


cdef void fill_direct(Builder* builder, uint32_t* direct, uint64_t base, uint64_t slots) noexcept nogil:
    """Write the part of the direct table whose slots begin at the key `base`."""
    cdef uint64_t slot, first
    for slot in range(slots):
        first = base + (slot << DIRECT_SHIFT)
        if not is_uniform(builder, first, first + (<uint64_t>1 << DIRECT_SHIFT) - 1):
            direct[slot] = fill_record(builder, first, DIRECT_SHIFT - RECORD_BITS)
        else:
            direct[slot] = uniform_record(builder, builder.current)


cdef uint32_t uniform_record(Builder* builder, uint32_t value) noexcept nogil:
    """The offset of the record of one value. Those of values below SPLIT are the first of all, in the order of the ids."""
    cdef uint32_t[BUFFER_WORDS] words
    if value < SPLIT and builder.records.size > value * UNIFORM_RECORD_BYTES:
        return value * UNIFORM_RECORD_BYTES
    words[BITMAP_WORD] = 1
    words[BITMAP_WORD + 1] = 0
    words[BITMAP_WORD - 1] = value | (<uint32_t>1 << WIDE_BIT)
    words[ENTRY_WORD] = value if value < SPLIT else CHILD
    return intern_record(builder, words, value >= SPLIT, 1)


cdef void list_outside(Builder* builder, Bytes* outside, uint64_t hi, uint64_t lo) noexcept nogil:
    """Append the transitions up to the builder's end to `outside`, behind the value that holds at (hi, lo)."""
    cdef Start start
    cdef Py_ssize_t i = builder.next
    start.hi = hi
    start.lo = lo
    start.value = builder.current
    start.reserved = 0
    if i == builder.end or builder.hi[i] != hi or builder.lo[i] != lo:
        if append(outside, &start, sizeof(start)) < 0:
            builder.has_failed = True
    for i in range(builder.next, builder.end):
        start.hi = builder.hi[i]
        start.lo = builder.lo[i]
        start.value = builder.current = builder.value[i]
        if append(outside, &start, sizeof(start)) < 0:
            builder.has_failed = True
    builder.next = builder.end


cdef Py_ssize_t first_from(const Builder* builder, Py_ssize_t count, uint64_t hi, uint64_t lo) noexcept nogil:
    """The number of the first transition at (hi, lo) or behind it."""
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t high = count
    cdef Py_ssize_t middle
    while low < high:
        middle = (low + high) >> 1
        if builder.hi[middle] < hi or (builder.hi[middle] == hi and builder.lo[middle] < lo):
            low = middle + 1
        else:
            high = middle
    return low


cdef void build_sections(
    Builder* builder, Bytes* direct, Bytes* outside, Py_ssize_t count, uint32_t value_count
) noexcept nogil:
    """Read all transitions once, in four parts: IPv4, below 2000::/3, inside it, above it."""
    cdef uint32_t value
    cdef uint32_t* table
    direct.size = (DIRECT_SLOTS_V4 + DIRECT_SLOTS_V6) * sizeof(uint32_t)
    direct.at = <uint8_t*>malloc(direct.size)
    if direct.at == NULL:
        builder.has_failed = True
        return
    table = <uint32_t*>direct.at
    for value in range(min(value_count, <uint32_t>SPLIT)):
        uniform_record(builder, value)
    builder.is_ipv4 = True
    builder.end = first_from(builder, count, 0, <uint64_t>1 << 32)
    fill_direct(builder, table, 0, DIRECT_SLOTS_V4)
    builder.is_ipv4 = False
    builder.end = first_from(builder, count, <uint64_t>1 << 61, 0)
    list_outside(builder, outside, 0, <uint64_t>1 << 32)
    builder.end = first_from(builder, count, <uint64_t>1 << 62, 0)
    fill_direct(builder, table + DIRECT_SLOTS_V4, <uint64_t>1 << 61, DIRECT_SLOTS_V6)
    builder.end = count
    list_outside(builder, outside, <uint64_t>1 << 62, 0)


def build(
    const uint64_t[::1] starts_hi not None, const uint64_t[::1] starts_lo not None, const uint32_t[::1] values not None,
    uint32_t value_count
):
    """Build the trie of a list of transitions that begins at ::, rises strictly and changes the value each time.

    Answers the sections (direct, records, below64, outside) as bytes. ValueError for another list, for value ids that
    are not below `value_count`, and for more than 2**31 bytes of records.
    """
    cdef Builder builder
    cdef Bytes direct
    cdef Bytes outside
    check_starts(starts_hi, starts_lo, values, value_count)
    memset(&builder, 0, sizeof(builder))
    memset(&direct, 0, sizeof(direct))
    memset(&outside, 0, sizeof(outside))
    builder.hi = &starts_hi[0]
    builder.lo = &starts_lo[0]
    builder.value = &values[0]
    try:
        with nogil:
            build_sections(&builder, &direct, &outside, values.shape[0], value_count)
        if builder.records.size >> WIDE_BIT:
            raise ValueError("the trie needs more than 2**31 bytes")
        if builder.has_failed:
            raise MemoryError
        return to_bytes(&direct), to_bytes(&builder.records), to_bytes(&builder.below64), to_bytes(&outside)
    finally:
        free(direct.at)
        free(outside.at)
        free(builder.records.at)
        free(builder.below64.at)
        free(builder.table.slots)


cdef bytes to_bytes(const Bytes* pool):
    return PyBytes_FromStringAndSize(<const char*>pool.at, pool.size)


@cython.boundscheck(False)  # the lengths are compared first, and every index is below them
@cython.wraparound(False)
cdef int check_starts(
    const uint64_t[::1] starts_hi, const uint64_t[::1] starts_lo, const uint32_t[::1] values, uint32_t value_count
) except -1:
    """Refuse a list that `build` cannot read; behind this its loops do no checks."""
    cdef Py_ssize_t i
    if not starts_hi.shape[0] == starts_lo.shape[0] == values.shape[0]:
        raise ValueError("transitions whose buffers differ in length")
    if value_count > MAX_VALUES:
        raise ValueError(f"{value_count} values, an image holds {MAX_VALUES}")
    if values.shape[0] == 0 or starts_hi[0] or starts_lo[0]:
        raise ValueError("transitions that do not begin at the first address")
    for i in range(values.shape[0]):
        if values[i] >= value_count:
            raise ValueError("a transition has a value that does not exist")
        if i == 0:
            continue
        if starts_hi[i] < starts_hi[i - 1] or (starts_hi[i] == starts_hi[i - 1] and starts_lo[i] <= starts_lo[i - 1]):
            raise ValueError("transitions do not rise strictly")
        if values[i] == values[i - 1]:
            raise ValueError("a transition changes nothing")
    return 0
