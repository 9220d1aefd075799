# cython: autotestdict=False
"""One pass over the search tree of a MaxMind DB, every record of it checked once (offline: not on the request path).

In: the bytes of a whole file, which nobody may change or truncate while a `Walk` lives. Out: the address space as
sorted transitions, the distinct data records, and a `WalkError` with the reason for every file that is not sound.

The rules (the format's specification is "MaxMind DB File Format Specification" 2.0):

1. A record of the tree below `node_count` is a node, `node_count` itself is "no data", and `node_count + 16 + n` is the
   data field at byte n of the data section. Anything else is corruption: in the 16 zero bytes of the separator, or past
   the section.
2. A walk goes from the lowest address to the highest. After a leaf of prefix length p the next address is
   `start + 2**(128-p)`; the position of its lowest set bit is the depth at which the path turns right, so the records
   still to visit are one per depth, and there is no recursion. An IPv4 tree is the subtree ::/96: same code, depth 96.
3. MaxMind's writer lets ::ffff:0:0/96, 2002::/16 and other networks lead to the node of ::/96, so that dressed IPv4
   addresses find their data. Addresses are unwrapped before they are looked up here: such an alias is "no data". A
   node that is reached again from below itself is a cycle. Any other sharing of nodes is walked, within a bound on the
   number of visits: a chain of n nodes that all point twice to the next one has 2**n leaves.
4. Records are checked with an explicit stack and with budgets (values, payload bytes and depth of one record; work of
   all): arrays of pointers to arrays of pointers blow up in the same way. The budgets of one record are those of
   libmaxminddb, so that what is accepted here can be decoded by `maxminddb`. What a map or array costs is kept for the
   next pointer to it: records share most of their parts (GeoLite2-City: checked in a third of the time).

Every byte is read through `read_field` or through a node number below `node_count`, both of which are checked against
the file's size; this is what earns the bare pointers below.
"""

cimport cython
from cpython cimport array
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

import array as array_module

cdef extern from *:
    int count_trailing_zeros "__builtin_ctzll" (unsigned long long) noexcept nogil
    int count_ones "__builtin_popcountll" (unsigned long long) noexcept nogil

cdef enum Limit:
    SEPARATOR_BYTES = 16
    METADATA_BYTES = 128 * 1024  # the specification's maximum, marker included
    MARKER_BYTES = 14
    RECORD_VALUES = 1 << 16  # libmaxminddb's budgets of one record
    RECORD_PAYLOAD_BYTES = 1 << 21
    RECORD_DEPTH = 128  # libmaxminddb: 512, and there a pointer counts as a level too
    NODE_VISITS = 4  # times node_count
    NODE_VISITS_AT_LEAST = 128  # so that a small cycle is found by its depth
    WORK_PER_DATA_BYTE = 16  # GeoLite2-City, DB-IP City and MaxMind's test files need less than 1
    WORK_AT_LEAST = 1 << 20
    STEPS_BETWEEN_SIGNALS = 1 << 20
    RECORDS_BETWEEN_SIGNALS = 1 << 14
    WANTED_FIELDS = 64
    KNOWN_PLACES = 1 << 16  # 1 MiB
    WORDS_PER_VALUE = 21  # bytes that `check` may note of a value beside its text: type, size, at most 16 of payload

cdef uint64_t LAST_EPOCH = 253_402_300_799  # 9999-12-31T23:59:59Z: what datetime and log readers can still show
cdef uint64_t NO_NODE = 0xFFFF_FFFF_FFFF_FFFF
cdef uint64_t HERE = 0xFFFF_FFFF_FFFF_FFFF
cdef bytes MARKER = b"\xab\xcd\xefMaxMind.com"
cdef array.array QUADS = array_module.array("Q")
cdef array.array WORDS = array_module.array("I")

cdef enum Status:
    OK = 0
    DONE
    IN_SEPARATOR
    PAST_DATA
    TOO_DEEP
    CYCLE
    TOO_MANY_VISITS
    TRUNCATED
    BAD_TYPE
    BAD_SIZE
    BAD_POINTER
    POINTER_TO_POINTER
    BAD_KEY
    BAD_UTF8
    TOO_NESTED
    TOO_MANY_VALUES
    TOO_MUCH_PAYLOAD
    TOO_MUCH_WORK

cdef dict REASONS = {
    IN_SEPARATOR: "a record of the search tree points into the separator before the data section",
    PAST_DATA: "a record of the search tree points past the end of the data section",
    TOO_DEEP: "the search tree is deeper than an address has bits",
    CYCLE: "the search tree leads back to a node from below that node",
    TOO_MANY_VISITS: "the search tree shares nodes so often that it cannot be walked",
    TRUNCATED: "a data field reaches past the end of its section",
    BAD_TYPE: "a data field has a type that the format does not have",
    BAD_SIZE: "a data field has a size that its type does not have",
    BAD_POINTER: "a pointer leads out of its section",
    POINTER_TO_POINTER: "a pointer leads to a pointer",
    BAD_KEY: "a key of a map is not a string",
    BAD_UTF8: "a string is not UTF-8",
    TOO_NESTED: f"a record is nested deeper than {RECORD_DEPTH} levels",
    TOO_MANY_VALUES: f"a record holds more than {RECORD_VALUES} values",
    TOO_MUCH_PAYLOAD: f"a record holds more than {RECORD_PAYLOAD_BYTES} bytes of strings",
    TOO_MUCH_WORK: "the records refer to each other so often that they cannot be decoded",
}

# A map or array that is being read: fields still to come (a map has two a pair), levels of the deepest part of it so far,
# and where to go on after it: HERE, or behind the pointer that led to it. The rest is for `Known`.
cdef struct Frame:
    uint64_t left
    uint64_t resume
    uint64_t origin
    int64_t values_before
    int64_t payload_before
    uint32_t levels
    bint is_map
    bint was_noting

# What a map or array that a pointer led to costs below itself. A table of these has one place for each hash of an
# origin; the newest stays. `origin` is plus one: 0 is an empty place.
cdef struct Known:
    uint32_t origin
    uint32_t values
    uint32_t payload_bytes
    uint32_t levels

# Top-level fields that `check` compares records by.
cdef struct Wanted:
    int count
    const char* names[WANTED_FIELDS]
    Py_ssize_t sizes[WANTED_FIELDS]


class WalkError(ValueError):
    """The file is no sound MaxMind DB; the message says what is wrong with it."""


class ForeignFileError(WalkError):
    """The file has no metadata of a MaxMind DB at all: it is something else, or its end is missing."""


# --- data fields ------------------------------------------------------------------------------------------------------


cdef inline uint64_t read_big_endian(const uint8_t* at, uint32_t size) noexcept nogil:
    cdef uint64_t value = 0
    cdef uint32_t i
    for i in range(size):
        value = value << 8 | at[i]
    return value


cdef inline Status read_field(const Section* section, uint64_t at, Field* out) noexcept nogil:
    """Read the control bytes at `at`; on OK `payload` and `end` lie in the section."""
    cdef uint64_t left, more
    cdef uint8_t control
    if at >= section.size:
        return TRUNCATED
    out.origin = at
    control = section.start[at]
    at += 1
    left = section.size - at
    out.type = control >> 5
    if out.type == POINTER:
        more = (control >> 3 & 3) + 1
        if more > left:
            return TRUNCATED
        out.payload = at
        out.end = at + more
        out.size = <uint32_t>read_big_endian(section.start + at, <uint32_t>more)
        if more == 1:
            out.size += (control & 7) << 8
        elif more == 2:
            out.size += ((control & 7) << 16) + 2048
        elif more == 3:
            out.size += (<uint32_t>(control & 7) << 24) + 526336
        return OK
    if out.type == EXTENDED:
        if left == 0:
            return TRUNCATED
        out.type = section.start[at] + 7 if section.start[at] <= FLOAT - 7 else EXTENDED
        at += 1
        left -= 1
        if out.type < INT32:
            return BAD_TYPE
    out.size = control & 31
    if out.size >= 29:
        more = out.size - 28
        if more > left:
            return TRUNCATED
        out.size = <uint32_t>read_big_endian(section.start + at, <uint32_t>more)
        out.size += 29 if more == 1 else 285 if more == 2 else 65821
        at += more
        left -= more
    out.payload = at
    out.end = at
    # Sizes first by type, then against what is left: the payload of every type but a container is `size` bytes.
    if out.type == STRING or out.type == BYTES:
        pass
    elif out.type == MAP:
        return OK if out.size <= left // 2 else BAD_SIZE
    elif out.type == ARRAY:
        return OK if out.size <= left else BAD_SIZE
    elif out.type == BOOLEAN:
        return OK if out.size <= 1 else BAD_SIZE
    elif out.type == DOUBLE:
        if out.size != 8:
            return BAD_SIZE
    elif out.type == FLOAT or out.type == INT32 or out.type == UINT32:
        if out.size > 4 or (out.type == FLOAT and out.size != 4):
            return BAD_SIZE
    elif out.type == UINT16:
        if out.size > 2:
            return BAD_SIZE
    elif out.type == UINT64:
        if out.size > 8:
            return BAD_SIZE
    elif out.type == UINT128:
        if out.size > 16:
            return BAD_SIZE
    else:
        return BAD_TYPE
    if out.size > left:
        return TRUNCATED
    out.end = at + out.size
    return OK


cdef inline Status follow(const Section* section, uint64_t at, Field* out, uint64_t* resume) noexcept nogil:
    """Read the field at `at`, through one pointer if it is one; `resume` is HERE or what follows that pointer."""
    cdef Status status = read_field(section, at, out)
    resume[0] = HERE
    if status != OK or out.type != POINTER:
        return status
    resume[0] = out.end
    if out.size >= section.size:
        return BAD_POINTER
    status = read_field(section, out.size, out)
    return POINTER_TO_POINTER if status == OK and out.type == POINTER else status


cdef bint is_utf8(const uint8_t* text, uint64_t size) noexcept nogil:
    """True for well-formed UTF-8 (Unicode table 3-7): no overlong form, no surrogate, nothing past U+10FFFF."""
    cdef uint64_t at = 0, block
    cdef uint32_t more, i
    cdef uint8_t lead, low, high
    while at < size:
        if size - at >= 8:
            memcpy(&block, text + at, 8)
            if not block & 0x8080808080808080ULL:
                at += 8
                continue
        lead = text[at]
        if lead < 0x80:
            at += 1
            continue
        more = 1 if lead < 0xE0 else 2 if lead < 0xF0 else 3
        if lead < 0xC2 or lead > 0xF4 or size - at <= more:
            return False
        low = 0xA0 if lead == 0xE0 else 0x90 if lead == 0xF0 else 0x80
        high = 0x9F if lead == 0xED else 0x8F if lead == 0xF4 else 0xBF
        if text[at + 1] < low or text[at + 1] > high:
            return False
        for i in range(2, more + 1):
            if text[at + i] & 0xC0 != 0x80:
                return False
        at += more + 1
    return True


cdef inline uint64_t note(uint8_t* words, uint64_t used, const Section* section, const Field* field,
                          bint by_place) noexcept nogil:
    """Append `field` to `words`, its type, size and payload or its place, and return the new length."""
    words[used] = POINTER if by_place else field.type
    if by_place:
        memcpy(words + used + 1, &field.origin, 8)
        return used + 9
    memcpy(words + used + 1, &field.size, 4)
    memcpy(words + used + 5, section.start + field.payload, <size_t>(field.end - field.payload))
    return used + 5 + (field.end - field.payload)


cdef inline Known* place_of(Known* known, uint64_t origin) noexcept nogil:
    return &known[(origin * 0x9E3779B97F4A7C15ULL) >> 48]


cdef inline bint is_wanted(const Wanted* wanted, const char* name, uint32_t size) noexcept nogil:
    cdef int i
    for i in range(wanted.count):
        if <Py_ssize_t>size == wanted.sizes[i] and memcmp(name, wanted.names[i], size) == 0:
            return True
    return False


cdef Status check_value(const Section* section, uint64_t at, Budget* budget, const Wanted* wanted, uint8_t* words,
                        uint64_t* words_used, Known* known) noexcept nogil:
    """Check the value at `at` and all that it leads to, and write its `wanted` top-level fields to `words`.

    `words` is NULL when they are not asked for, `known` (KNOWN_PLACES, zero at first) when nothing is to be kept. Equal
    words mean equal fields: scalars are written with their value, maps and arrays behind a pointer with their place.
    The room of `words` is RECORD_PAYLOAD_BYTES + RECORD_VALUES * WORDS_PER_VALUE, and the budget, which is checked
    first, keeps them inside it.
    """
    cdef Frame stack[RECORD_DEPTH]
    cdef Field field
    cdef Frame* top
    cdef Known* place
    cdef uint64_t resume, used = 0
    cdef uint32_t depth = 0, levels
    cdef Status status
    cdef bint noting = False, is_container
    while True:
        status = follow(section, at, &field, &resume)
        if status != OK:
            return status
        budget.values -= 1
        budget.work -= 1
        if field.type == STRING or field.type == BYTES:
            budget.payload_bytes -= field.size
            budget.work -= field.size >> 4
            if field.type == STRING and budget.payload_bytes >= 0 and not is_utf8(section.start + field.payload, field.size):
                return BAD_UTF8
        is_container = (field.type == MAP or field.type == ARRAY) and field.size > 0
        place = NULL
        if is_container and resume != HERE and known != NULL and depth > 0:
            place = place_of(known, field.origin)
            if place.origin != <uint32_t>field.origin + 1:
                place = NULL
            else:
                budget.values -= place.values
                budget.payload_bytes -= place.payload_bytes
        if budget.values < 0:
            return TOO_MANY_VALUES
        if budget.payload_bytes < 0:
            return TOO_MUCH_PAYLOAD
        if budget.work < 0:
            return TOO_MUCH_WORK
        if depth > 0 and stack[depth - 1].is_map and stack[depth - 1].left & 1 == 0:
            if field.type != STRING:
                return BAD_KEY
            if depth == 1 and words != NULL:
                noting = is_wanted(wanted, <const char*>section.start + field.payload, field.size)
        if noting:
            used = note(words, used, section, &field, is_container and resume != HERE)
        levels = place.levels if place != NULL else <uint32_t>is_container
        if depth + levels > RECORD_DEPTH:
            return TOO_NESTED
        if is_container and place == NULL:
            top = &stack[depth]
            top.is_map = field.type == MAP
            top.left = <uint64_t>field.size << top.is_map
            top.resume = resume
            top.origin = field.origin
            top.values_before = budget.values
            top.payload_before = budget.payload_bytes
            top.levels = 1
            top.was_noting = noting
            if resume != HERE:
                noting = False
            depth += 1
            at = field.end
            continue
        at = field.end if resume == HERE else resume
        while depth > 0:
            top = &stack[depth - 1]
            top.levels = max(top.levels, levels + 1)
            top.left -= 1
            if top.left > 0:
                break
            levels = top.levels
            if top.resume != HERE:
                at = top.resume
                noting = top.was_noting
                if known != NULL:
                    place = place_of(known, top.origin)
                    place.origin = <uint32_t>top.origin + 1
                    place.values = <uint32_t>(top.values_before - budget.values)
                    place.payload_bytes = <uint32_t>(top.payload_before - budget.payload_bytes)
                    place.levels = levels
            depth -= 1
        if depth == 0:
            if words_used != NULL:
                words_used[0] = used
            return OK


cdef object build_value(const Section* section, uint64_t* at):
    """Build the Python value at `at`, which `check_value` has accepted, and move `at` behind it.

    Recursive, but never deeper than RECORD_DEPTH. Every field is still read through `read_field`.
    """
    cdef Field field
    cdef uint64_t resume, inner
    cdef object value
    cdef dict mapping
    cdef list items
    cdef Status status = follow(section, at[0], &field, &resume)
    if status != OK:
        raise WalkError(REASONS[status])
    inner = field.end
    if field.type == STRING:
        value = PyUnicode_DecodeUTF8(<const char*>section.start + field.payload, field.size, NULL)
    elif field.type == MAP:
        mapping = {}
        for _ in range(field.size):
            value = build_value(section, &inner)
            mapping[value] = build_value(section, &inner)
        value = mapping
    elif field.type == ARRAY:
        items = []
        for _ in range(field.size):
            items.append(build_value(section, &inner))
        value = items
    elif field.type == BOOLEAN:
        value = field.size == 1
    elif field.type == DOUBLE:
        value = as_double(read_big_endian(section.start + field.payload, 8))
    elif field.type == FLOAT:
        value = as_float(<uint32_t>read_big_endian(section.start + field.payload, 4))
    elif field.type == BYTES:
        value = PyBytes_FromStringAndSize(<const char*>section.start + field.payload, field.size)
    elif field.type == INT32:
        value = <int32_t>read_big_endian(section.start + field.payload, field.size)
    elif field.type == UINT128:
        value = int.from_bytes(section.start[field.payload:field.payload + field.size], "big")
    else:
        value = read_big_endian(section.start + field.payload, field.size)
    at[0] = inner if resume == HERE else resume
    return value


cdef inline double as_double(uint64_t bits) noexcept nogil:
    cdef double value
    memcpy(&value, &bits, 8)
    return value


cdef inline double as_float(uint32_t bits) noexcept nogil:
    cdef float value
    memcpy(&value, &bits, 4)
    return value


# --- the search tree --------------------------------------------------------------------------------------------------


cdef inline void read_node(const uint8_t* node, uint32_t record_size, uint32_t* left, uint32_t* right) noexcept nogil:
    if record_size == 24:
        left[0] = <uint32_t>node[0] << 16 | <uint32_t>node[1] << 8 | node[2]
        right[0] = <uint32_t>node[3] << 16 | <uint32_t>node[4] << 8 | node[5]
    elif record_size == 28:
        left[0] = <uint32_t>(node[3] & 0xF0) << 20 | <uint32_t>node[0] << 16 | <uint32_t>node[1] << 8 | node[2]
        right[0] = <uint32_t>(node[3] & 0x0F) << 24 | <uint32_t>node[4] << 16 | <uint32_t>node[5] << 8 | node[6]
    else:
        left[0] = <uint32_t>node[0] << 24 | <uint32_t>node[1] << 16 | <uint32_t>node[2] << 8 | node[3]
        right[0] = <uint32_t>node[4] << 24 | <uint32_t>node[5] << 16 | <uint32_t>node[6] << 8 | node[7]


@cython.final
@cython.auto_pickle(False)
cdef class Walk:
    """Walk the search tree of the MaxMind DB in `buffer` and decode its records.

    `buffer` is bytes-like and is kept; it must not change. Opening checks the metadata, the sizes and the separator, in
    microseconds. `run` fills `starts_hi`, `starts_lo` (uint64) and `leaf` (uint32): the addresses from start i up to
    start i + 1 (the last: up to the end of the address space) have the record `leaf[i]`, 0 for none; neighbours differ.
    An IPv4 database lies in ::/96, and all above is "none". The arrays are the caller's to change.
    Raises WalkError, from every method, when the file is not sound.
    """

    def __cinit__(self, const uint8_t[::1] buffer not None):
        self._buffer = buffer
        self._words = <uint8_t*>malloc(RECORD_PAYLOAD_BYTES + RECORD_VALUES * WORDS_PER_VALUE)
        if self._words == NULL:
            raise MemoryError
        self._known = <Known*>calloc(KNOWN_PLACES, sizeof(Known))
        if self._known == NULL:
            raise MemoryError
        self.starts_hi = array.clone(QUADS, 0, False)
        self.starts_lo = array.clone(QUADS, 0, False)
        self.leaf = array.clone(WORDS, 0, False)
        self._read_metadata()

    def __dealloc__(self):
        free(self._marks)
        free(self._words)
        free(self._known)

    cdef int _read_metadata(self) except -1:
        cdef Section section
        cdef Budget budget = Budget(RECORD_VALUES, RECORD_PAYLOAD_BYTES, WORK_AT_LEAST)
        cdef uint64_t size = self._buffer.shape[0], at = 0, tree_bytes
        cdef Status status
        if size == 0:
            raise ForeignFileError("it is empty")
        found = bytes(self._buffer[size - min(size, <uint64_t>METADATA_BYTES):]).rfind(MARKER)
        if found < 0:
            raise ForeignFileError("it has no metadata of a MaxMind DB in its last 128 KiB")
        at = size - min(size, <uint64_t>METADATA_BYTES) + <uint64_t>found
        section.start = &self._buffer[0] + at + MARKER_BYTES
        section.size = size - at - MARKER_BYTES
        self._section.size = at
        status = check_value(&section, 0, &budget, NULL, NULL, NULL, NULL)
        if status != OK:
            raise WalkError(f"its metadata is damaged: {REASONS[status]}")
        at = 0
        metadata = build_value(&section, &at)
        if not isinstance(metadata, dict):
            raise WalkError("its metadata is damaged: it is not a map")
        self.metadata = metadata
        if unsigned(metadata, "binary_format_major_version") != 2:
            raise WalkError(f"it is of format {metadata['binary_format_major_version']}, and only format 2 can be read")
        if unsigned(metadata, "record_size") not in (24, 28, 32):
            raise WalkError(f"its metadata is damaged: record_size is {metadata['record_size']}, not 24, 28 or 32")
        if unsigned(metadata, "ip_version") not in (4, 6):
            raise WalkError(f"its metadata is damaged: ip_version is {metadata['ip_version']}, not 4 or 6")
        if not 0 < unsigned(metadata, "node_count") < 2**32:
            raise WalkError(f"its metadata is damaged: node_count is {metadata['node_count']}")
        if unsigned(metadata, "build_epoch") > LAST_EPOCH:
            raise WalkError(f"its metadata is damaged: build_epoch is {metadata['build_epoch']}, which is no time")
        if not isinstance(metadata.get("database_type"), str):
            raise WalkError("its metadata is damaged: database_type is missing, or no string")
        self.node_count = metadata["node_count"]
        self.record_size = metadata["record_size"]
        self.ip_version = metadata["ip_version"]
        self.build_epoch = metadata["build_epoch"]
        self.database_type = metadata["database_type"]
        tree_bytes = <uint64_t>self.node_count * (self.record_size >> 2)
        if tree_bytes + SEPARATOR_BYTES > self._section.size:
            raise WalkError(f"node_count is {self.node_count}, more than the file has room for")
        if bytes(self._buffer[tree_bytes:tree_bytes + SEPARATOR_BYTES]) != bytes(SEPARATOR_BYTES):
            raise WalkError("the 16 bytes between search tree and data section are not zero")
        self._section.start = &self._buffer[0] + tree_bytes + SEPARATOR_BYTES
        self._section.size -= tree_bytes + SEPARATOR_BYTES
        if self._section.size > 0xFFFF_FFFF - SEPARATOR_BYTES:
            raise WalkError("its data section is larger than 4 GiB")
        return 0

    cdef uint64_t _ipv4_start(self) noexcept nogil:
        """Return the node of ::/96 in an IPv6 tree, or NO_NODE."""
        cdef uint64_t record = 0
        cdef uint32_t left, right
        if self.ip_version == 4:
            return NO_NODE
        for _ in range(96):
            read_node(&self._buffer[0] + record * (self.record_size >> 2), self.record_size, &left, &right)
            if left >= self.node_count:
                return NO_NODE
            record = left
        return record

    # Earned by _read_metadata (the tree lies in the buffer), by the test against node_count before every read_node, and
    # by `run`, which gives the outputs room for `steps` entries more.
    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef int _step(self, Cursor* cursor, uint64_t ipv4_start, uint64_t* starts_hi, uint64_t* starts_lo, uint32_t* leaf,
                   uint64_t* used, uint64_t steps) noexcept nogil:
        """Look at `steps` more records; return OK, DONE after the last one, or what is wrong.

        `leaf` gets the place in the data section plus one; `_number_leaves` turns it into the number of the record.
        """
        cdef const uint8_t* tree = &self._buffer[0]
        cdef uint64_t count = used[0], end_lo = 0 if self.ip_version == 6 else <uint64_t>1 << 32
        cdef uint32_t node_count = self.node_count, record_size = self.record_size, node_bytes = self.record_size >> 2
        cdef uint32_t record = cursor.record, depth = cursor.depth, right, here, zeros
        cdef uint64_t limit = <uint64_t>NODE_VISITS * node_count + NODE_VISITS_AT_LEAST
        cdef Status status = OK
        while steps > 0:
            steps -= 1
            here = 0
            if record < node_count:
                if record == ipv4_start and not (depth == 96 and cursor.hi == 0 and cursor.lo == 0):
                    if cursor.hi == 0 and cursor.lo >> 32 == 0:
                        status = CYCLE
                        break
                else:
                    if depth == 128:
                        status = TOO_DEEP
                        break
                    if cursor.visits == limit:
                        status = TOO_MANY_VISITS
                        break
                    cursor.visits += 1
                    read_node(tree + <uint64_t>record * node_bytes, record_size, &record, &right)
                    cursor.pending[depth] = right
                    depth += 1
                    continue
            elif record > node_count:
                here = record - node_count
                if here < SEPARATOR_BYTES:
                    status = IN_SEPARATOR
                    break
                here -= SEPARATOR_BYTES
                if here >= self._section.size:
                    status = PAST_DATA
                    break
                self._marks[here >> 6] |= <uint64_t>1 << (here & 63)
                here += 1
            if here != cursor.last or count == 0:
                starts_hi[count] = cursor.hi
                starts_lo[count] = cursor.lo
                leaf[count] = here
                cursor.last = here
                count += 1
            if depth <= 64:
                cursor.hi += <uint64_t>1 << (64 - depth)
            else:
                cursor.lo += <uint64_t>1 << (128 - depth)
                if cursor.lo == 0:
                    cursor.hi += 1
            if cursor.hi == 0 and cursor.lo == end_lo:
                status = DONE
                break
            zeros = count_trailing_zeros(cursor.lo) if cursor.lo else 64 + count_trailing_zeros(cursor.hi)
            depth = 128 - zeros
            record = cursor.pending[depth - 1]
        cursor.record = record
        cursor.depth = depth
        used[0] = count
        return status

    def run(self, progress=None) -> None:
        """Walk the whole tree once. `progress(nodes, node_count)` is called now and then. A second call does nothing.

        Raises RuntimeError while another thread, or `progress`, is in it.
        """
        if self._offsets is not None:
            return
        if self._is_walking:
            raise RuntimeError("it is being walked")
        self._is_walking = True
        try:
            self._run(progress)
        finally:
            self._is_walking = False

    cdef int _run(self, progress) except -1:
        cdef Cursor cursor
        cdef uint64_t ipv4_start = self._ipv4_start(), used = 0, steps
        cdef array.array starts_hi = array.clone(QUADS, 0, False), starts_lo = array.clone(QUADS, 0, False)
        cdef array.array leaf = array.clone(WORDS, 0, False)
        cdef uint64_t* hi
        cdef uint64_t* lo
        cdef uint32_t* places
        cdef int status = OK
        if ipv4_start == 0:
            raise WalkError(REASONS[CYCLE])
        if self._marks == NULL:
            self._marks = <uint64_t*>calloc((self._section.size >> 6) + 1, sizeof(uint64_t))
            if self._marks == NULL:
                raise MemoryError
        cursor.hi = cursor.lo = cursor.visits = 0
        cursor.record = cursor.last = 0
        cursor.depth = 0 if self.ip_version == 6 else 96
        # A step visits a node or places a leaf, so this many do for a small tree; memory not written to costs nothing.
        steps = min(<uint64_t>STEPS_BETWEEN_SIGNALS, 2 * (NODE_VISITS * <uint64_t>self.node_count + NODE_VISITS_AT_LEAST))
        while status == OK:
            # One more than the steps can fill: the end of an IPv4 database.
            for column in (starts_hi, starts_lo, leaf):
                array.resize(column, used + steps + 1)
            hi, lo, places = <uint64_t*>starts_hi.data.as_ulonglongs, <uint64_t*>starts_lo.data.as_ulonglongs, leaf.data.as_uints
            with nogil:
                status = self._step(&cursor, ipv4_start, hi, lo, places, &used, steps)
            PyErr_CheckSignals()
            if progress is not None:
                progress(min(cursor.visits, self.node_count), self.node_count)
        if status != DONE:
            raise WalkError(REASONS[status])
        if self.ip_version == 4 and cursor.last != 0:
            hi[used], lo[used], places[used] = 0, <uint64_t>1 << 32, 0
            used += 1
        for column in (starts_hi, starts_lo, leaf):
            array.resize(column, used)
        self._number_leaves(leaf.data.as_uints, used)
        self.starts_hi, self.starts_lo, self.leaf = starts_hi, starts_lo, leaf
        return 0

    # Earned by _step, which has checked every place that it marked and noted against the size of the data section.
    @cython.boundscheck(False)
    @cython.wraparound(False)
    cdef int _number_leaves(self, uint32_t* leaf, uint64_t used) except -1:
        """Number the distinct data records 1, 2, ... in the order of the data section, and put the numbers into `leaf`."""
        cdef uint64_t words = (self._section.size >> 6) + 1, word, bits, i
        cdef uint32_t count = 0, place
        cdef uint32_t* offsets
        cdef uint32_t* before = <uint32_t*>malloc(words * sizeof(uint32_t))
        if before == NULL:
            raise MemoryError
        with nogil:
            for word in range(words):
                before[word] = count
                count += count_ones(self._marks[word])
            for i in range(used):
                if leaf[i] != 0:
                    place = leaf[i] - 1
                    bits = self._marks[place >> 6] & ((<uint64_t>2 << (place & 63)) - 1)
                    leaf[i] = before[place >> 6] + count_ones(bits)
        free(before)
        self._offsets = array.clone(WORDS, count + 1, True)
        offsets = <uint32_t*>self._offsets.data.as_uints
        self.leaf_count = count
        count = 0
        for word in range(words):
            bits = self._marks[word]
            while bits:
                count += 1
                offsets[count] = <uint32_t>(word << 6 | count_trailing_zeros(bits))
                bits &= bits - 1
        free(self._marks)
        self._marks = NULL
        return 0

    def check(self, wanted, progress=None) -> tuple:
        """Check every data record, and group records: those of one group have equal `wanted` top-level fields.

        Return two arrays of uint32: the group of each leaf (leaf 0 is group 0), and of each group one leaf that has it.
        A record that is no map, or has none of the fields, is in a group too. Fields that are stored twice, or in
        another order, may make two groups of equal ones. `progress(records, leaf_count)`.
        """
        cdef Wanted fields
        cdef Budget budget
        cdef uint64_t used = 0
        cdef uint32_t number
        cdef Status status
        cdef list names = [name.encode() for name in wanted]
        cdef dict known = {}
        cdef array.array groups, examples = array.clone(WORDS, 0, False)
        cdef object key, group
        if len(names) > WANTED_FIELDS:
            raise ValueError(f"at most {WANTED_FIELDS} fields can be compared")
        fields.count = <int>len(names)
        for i in range(fields.count):
            fields.names[i] = names[i]
            fields.sizes[i] = len(names[i])
        self.run()
        groups = array.clone(WORDS, self.leaf_count + 1, True)
        examples.append(0)
        budget.work = <int64_t>(WORK_PER_DATA_BYTE * self._section.size) + WORK_AT_LEAST
        for number in range(1, self.leaf_count + 1):
            budget.values = RECORD_VALUES
            budget.payload_bytes = RECORD_PAYLOAD_BYTES
            status = check_value(&self._section, self._offsets.data.as_uints[number], &budget, &fields, self._words, &used,
                                 self._known)
            if status != OK:
                raise WalkError(REASONS[status])
            key = PyBytes_FromStringAndSize(<const char*>self._words, used)
            group = known.get(key)
            if group is None:
                group = known[key] = len(examples)
                examples.append(number)
            groups.data.as_uints[number] = group
            if number % RECORDS_BETWEEN_SIGNALS == 0:
                PyErr_CheckSignals()
                if progress is not None:
                    progress(number, self.leaf_count)
        if progress is not None:
            progress(self.leaf_count, self.leaf_count)
        return groups, examples

    def decode(self, uint32_t leaf) -> object:
        """Decode the whole record of `leaf` (1 to `leaf_count`), strictly. Raises IndexError for another number."""
        cdef Budget budget = Budget(RECORD_VALUES, RECORD_PAYLOAD_BYTES, WORK_AT_LEAST)
        cdef uint64_t at
        cdef Status status
        self.run()
        if not 0 < leaf <= self.leaf_count:
            raise IndexError("no such leaf")
        at = self._offsets.data.as_uints[leaf]
        status = check_value(&self._section, at, &budget, NULL, NULL, NULL, NULL)
        if status != OK:
            raise WalkError(REASONS[status])
        return build_value(&self._section, &at)


cdef object unsigned(dict metadata, str key):
    """Return a number of the metadata, or raise WalkError."""
    value = metadata.get(key)
    if type(value) is not int or value < 0:
        raise WalkError(f"its metadata is damaged: {key} is missing, or no number")
    return value


def relabel(array.array starts_hi not None, array.array starts_lo not None, array.array leaf not None,
            array.array labels not None) -> None:
    """Replace each `leaf[i]` by `labels[leaf[i]]` and drop the entries that then equal the one before, in place.

    Types as in Walk, `labels` uint32. Raises ValueError when the arrays do not fit each other.
    """
    cdef Py_ssize_t count = len(leaf), used = 0, i
    cdef uint32_t size = <uint32_t>len(labels), label
    cdef uint64_t* hi = <uint64_t*>starts_hi.data.as_ulonglongs
    cdef uint64_t* lo = <uint64_t*>starts_lo.data.as_ulonglongs
    cdef uint32_t* numbers = <uint32_t*>leaf.data.as_uints
    cdef uint32_t* names = <uint32_t*>labels.data.as_uints
    if (starts_hi.ob_descr.typecode != b"Q" or starts_lo.ob_descr.typecode != b"Q" or leaf.ob_descr.typecode != b"I"
            or labels.ob_descr.typecode != b"I" or len(starts_hi) != count or len(starts_lo) != count):
        raise ValueError("the arrays do not fit each other")
    for i in range(count):
        if numbers[i] >= size:
            raise ValueError("a leaf has no label")
    with nogil:
        for i in range(count):
            label = names[numbers[i]]
            if used == 0 or label != numbers[used - 1]:
                hi[used] = hi[i]
                lo[used] = lo[i]
                numbers[used] = label
                used += 1
    array.resize(starts_hi, used)
    array.resize(starts_lo, used)
    array.resize(leaf, used)
