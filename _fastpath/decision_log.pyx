# cython: boundscheck=False, wraparound=False
# Earned by `_fragment`, which compares every id with its table; by `_format`, before which there is room for the longest
# line; and by the ring, whose records lie in one piece each.
"""The decision log's hot half: what was decided goes into a ring, and comes out as chained lines of JSON.

    deciding thread   wants - note -> a Record and its texts in the ring (no lock, no allocation, no clock)
    writing thread    take -> lines: words for ids, the instant as RFC 3339, and the chain

One thread decides and one writes; each has its own position in the ring, which the other only reads. A record that finds no
room is dropped and counted, and its number is missing from the lines: whoever decides never waits for a disk.

The words of a generation and of a policy's table are a `LogWords`: fragments of JSON by id, made in Python when an id is
first met and kept. So a line is put together in C, without the GIL; what follows with it is the chain.

The chain: every line ends in `"chain":"<64 hexadecimal digits>"}`, the SHA-256 of the 32 bytes of the line before it and of
all that stands in the line before `,"chain"`. regionresolver/resolver/log_chain.py reads it, and has the words on it.

What is left out cannot leak: an address is cut to /24 or /48 before it is put into the ring; of an IMSI a line shows the
prefix that matched, or five digits, unless the length of the MNC was given.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset

from _fastpath.address cimport Address, format_text
from _fastpath.engine cimport Answer, Decided, Engine, Signals
from _fastpath.fusion cimport OK
from _fastpath.policy_table cimport ALLOW, Facts, NO_RULE, PolicyTable, Verdict

cdef extern from * nogil:
    """
    #define position_of(word) __atomic_load_n((word), __ATOMIC_ACQUIRE)
    #define set_position(word, value) __atomic_store_n((word), (value), __ATOMIC_RELEASE)
    """
    uint64_t position_of(uint64_t* word)
    void set_position(uint64_t* word, uint64_t value)

cdef enum:
    RING_BYTES_MIN = 1 << 16
    # Everything of a line but its texts and the fragments: names, numbers, the instant, statuses, the chain.
    LINE_FRAME_BYTES = 2048
    CHAIN_BYTES = 32
    CHAIN_DIGITS = 64
    CHAIN_MEMBER_BYTES = 76     # ,"chain":"<64>"}
    TAKE_BYTES = 1 << 16
    SMALL_WORDS = 1024
    PLMN_SHORT = 5

MODES = {"all": EVERY, "denials": NOT_ALLOWED, "sampled": SAMPLED}
KIND_NAMES = ("region", "rule", "reason", "network", "plmn")

cdef const char* HEXADECIMAL = b"0123456789abcdef"
cdef const char* TEXT_NAMES[TEXTS]
TEXT_NAMES[ID] = b'"id":'
TEXT_NAMES[DEVICE_ID] = b'"device_id":'
TEXT_NAMES[SKU] = b'"sku":'
TEXT_NAMES[SOLD_IN] = b'"sold_in":'
TEXT_NAMES[LANG] = b'"lang":'

# Words that no generation changes, as JSON; NULL for what is no id.
cdef list fixed_words = []
cdef Fragment[8] effects
cdef Fragment[8] statuses
cdef Fragment[8] signals_by_bit
cdef Fragment[64] rows
cdef Fragment[16] conflicts
cdef Fragment[64] specials


cdef void fill(Fragment* table, int size, dict words):
    cdef bytes text
    for number, word in words.items():
        if not 0 <= number < size:
            raise AssertionError(f"no room for the word {word!r} at {number}")
        text = b"null" if word is None else b'"%s"' % word.encode("ascii")
        fixed_words.append(text)
        table[<int>number].text, table[<int>number].size = PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)


cdef void fill_fixed():
    from _fastpath.address import SPECIAL_NAMES
    from _fastpath.fusion import CONFLICT_BITS, ROW_NAMES, SIGNAL_BITS, STATUS_IDS
    from _fastpath.policy_table import EFFECT_IDS

    memset(effects, 0, sizeof(effects))
    memset(statuses, 0, sizeof(statuses))
    memset(signals_by_bit, 0, sizeof(signals_by_bit))
    memset(rows, 0, sizeof(rows))
    memset(conflicts, 0, sizeof(conflicts))
    memset(specials, 0, sizeof(specials))
    fill(effects, 8, {number: word for word, number in EFFECT_IDS.items()})
    fill(statuses, 8, {number: word for word, number in STATUS_IDS.items()})
    fill(signals_by_bit, 8, {number: word for word, number in SIGNAL_BITS.items()} | {0: None})
    fill(rows, 64, ROW_NAMES)
    fill(conflicts, 16, {bit.bit_length() - 1: word for word, bit in CONFLICT_BITS.items()})
    fill(specials, 64, dict(enumerate(SPECIAL_NAMES)))


fill_fixed()


# --- writing text

cdef inline char* put(char* at, const void* text, Py_ssize_t size) noexcept nogil:
    memcpy(at, text, size)
    return at + size


cdef inline char* put_word(char* at, const Fragment* word) noexcept nogil:
    """Write a word, null where there is none."""
    if word == NULL or word.text == NULL:
        return put(at, b"null", 4)
    return put(at, word.text, word.size)


cdef char* put_number(char* at, uint64_t number) noexcept nogil:
    cdef char[20] digits
    cdef int first = 20
    while True:
        first -= 1
        digits[first] = HEXADECIMAL[number % 10]
        number //= 10
        if number == 0:
            break
    return put(at, &digits[first], 20 - first)


cdef inline char* put_padded(char* at, uint64_t number, int width) noexcept nogil:
    cdef int i
    for i in range(width - 1, -1, -1):
        at[i] = HEXADECIMAL[number % 10]
        number //= 10
    return at + width


cdef char* put_instant(char* at, int64_t at_us) noexcept nogil:
    """Write an instant between the years 1 and 9999 as RFC 3339 in UTC with microseconds and its quotes."""
    cdef int64_t us = at_us % 1000000
    cdef int64_t seconds, days, era, day_of_era, year_of_era, day_of_year, month, year
    if us < 0:
        us += 1000000
    seconds = (at_us - us) // 1000000
    days = seconds // 86400
    seconds -= days * 86400
    if seconds < 0:
        seconds, days = seconds + 86400, days - 1
    # Days to the civil calendar, with years that begin in March (Hinnant, chrono-Compatible Low-Level Date Algorithms).
    days += 719468
    era = (days if days >= 0 else days - 146096) // 146097
    day_of_era = days - era * 146097
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36524 - day_of_era // 146096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month = (5 * day_of_year + 2) // 153
    year = year_of_era + era * 400 + (month >= 10)
    at[0] = b'"'
    at = put_padded(at + 1, year, 4)
    at[0] = b"-"
    at = put_padded(at + 1, month + 3 if month < 10 else month - 9, 2)
    at[0] = b"-"
    at = put_padded(at + 1, day_of_year - (153 * month + 2) // 5 + 1, 2)
    at[0] = b"T"
    at = put_padded(at + 1, seconds // 3600, 2)
    at[0] = b":"
    at = put_padded(at + 1, seconds % 3600 // 60, 2)
    at[0] = b":"
    at = put_padded(at + 1, seconds % 60, 2)
    at[0] = b"."
    at = put_padded(at + 1, us, 6)
    return put(at, b'Z"', 2)


# --- words

@cython.final
@cython.auto_pickle(False)
cdef class LogWords:
    """What the ids of one generation and one table of its policy mean, as JSON.

    `head` are the members that every line of it has, with a comma behind each. `sizes` are how many ids there are of each
    of KIND_NAMES; `render(kind, id)` gives the fragment of one: a value for a region, rule or reason, members for a network
    or PLMN.
    """

    def __cinit__(self, bytes head not None, sizes, render):
        cdef int kind
        self.head, self._render, self._kept = head, render, []
        self._head.text, self._head.size = PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head)
        if len(sizes) != KINDS:
            raise ValueError(f"{KINDS} sizes are needed, one for each of KIND_NAMES")
        for kind in range(KINDS):
            self._sizes[kind] = sizes[kind]
            self._fragments[kind] = <Fragment*>calloc(max(self._sizes[kind], 1), sizeof(Fragment))
            if self._fragments[kind] == NULL:
                raise MemoryError

    def __dealloc__(self):
        cdef int kind
        for kind in range(KINDS):
            free(self._fragments[kind])

    cdef int _make(self, int kind, uint32_t id) except -1:
        cdef bytes text = self._render(kind, id)
        self._kept.append(text)
        self._fragments[kind][id].text, self._fragments[kind][id].size = PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
        return 0


# --- the ring and the lines

@cython.final
@cython.auto_pickle(False)
cdef class DecisionLog:
    """The decisions of one process that are to be logged.

    `words_of(words, table)` gives the LogWords of an engine's words and a policy's table; it is called when either changes.
    `mode` is a key of MODES; `share`, in [0, 1], is what `sampled` takes. `ring_bytes` is a power of two.
    """

    def __cinit__(
        self, words_of, str mode not None, double share=1.0, uint64_t ring_bytes=1 << 23, uint64_t seed=0x9E3779B97F4A7C15
    ):
        if ring_bytes < RING_BYTES_MIN or ring_bytes & (ring_bytes - 1):
            raise ValueError(f"a ring has a power of two of bytes, at least {RING_BYTES_MIN}")
        if not 0.0 <= share <= 1.0:
            raise ValueError("a share lies between 0 and 1")
        self._words_of, self._mode, self._contexts = words_of, MODES[mode], {}
        self._mask = ring_bytes - 1
        self._threshold = 0xFFFFFFFFFFFFFFFF if share == 1.0 else <uint64_t>(share * 18446744073709551616.0)
        self._random = seed or 1
        self._ring = <char*>malloc(ring_bytes)
        self._out_room = TAKE_BYTES * 2
        self._out = <char*>malloc(self._out_room)
        if self._ring == NULL or self._out == NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self._ring)
        free(self._out)

    @property
    def noted(self):
        """How many decisions were to be logged, those that were dropped among them."""
        return position_of(&self._number)

    @property
    def dropped(self):
        """How many of them found no room in the ring."""
        return position_of(&self._dropped)

    @property
    def waiting_bytes(self):
        """How much of the ring is in use."""
        return position_of(&self._written) - position_of(&self._read)

    cdef bint wants(self, const Verdict* verdict) noexcept nogil:
        if self._mode == NOT_ALLOWED:
            return verdict.effect != ALLOW
        if self._mode == SAMPLED:
            # xorshift64 (Marsaglia, 2003): which decisions are taken must not depend on what they say.
            self._random ^= self._random << 13
            self._random ^= self._random >> 7
            self._random ^= self._random << 17
            return self._random <= self._threshold and self._threshold != 0
        return True

    cdef void note(
        self, Engine engine, PolicyTable table, const Signals* signals, const Facts* facts, const Answer* answer,
        const char* id, uint32_t id_bytes, const char* lang, uint32_t lang_bytes, int64_t at_us
    ) noexcept:
        cdef const char* texts[TEXTS]
        cdef uint32_t[TEXTS] sizes
        cdef uint64_t written = self._written, ring_bytes = self._mask + 1, left, size
        cdef Record* record
        cdef char* at
        cdef int i
        set_position(&self._number, self._number + 1)
        texts[ID], sizes[ID] = id, id_bytes
        texts[DEVICE_ID], sizes[DEVICE_ID] = facts.device_id, facts.device_id_bytes
        texts[SKU], sizes[SKU] = facts.sku, facts.sku_bytes
        texts[SOLD_IN], sizes[SOLD_IN] = facts.sold_in, facts.sold_in_bytes
        texts[LANG], sizes[LANG] = lang, lang_bytes
        size = sizeof(Record)
        for i in range(TEXTS):
            if texts[i] != NULL:
                size += sizes[i]
        size = size + 7 & ~<uint64_t>7
        # A record lies in one piece: where the end of the ring is too near, the rest of it is passed over.
        left = ring_bytes - (written & self._mask)
        if size > left:
            left += size
        else:
            left = size
        if written + left - position_of(&self._read) > ring_bytes:
            set_position(&self._dropped, self._dropped + 1)
            return
        if table is not self._table:
            try:
                self._enter(engine, table)
            except Exception:  # nothing may fail an answer
                set_position(&self._dropped, self._dropped + 1)
                return
        if left != size:
            if left - size >= sizeof(Record):
                (<Record*>(self._ring + (written & self._mask))).size = 0
            written += left - size
        record = <Record*>(self._ring + (written & self._mask))
        record.number, record.at_us, record.context, record.size = self._number, at_us, self._context, <uint32_t>size
        record.first_activated_us, record.is_first_activated = facts.first_activated_us, facts.is_first_activated
        record.evidence, record.resolution, record.verdict = answer.evidence, answer.resolution, answer.verdict
        record.serving, record.home = signals.serving, signals.home
        record.serving_length, record.home_length = answer.serving_length, answer.home_length
        memset(&record.network, 0, sizeof(Address))
        if signals.ip_status == OK:
            record.network = signals.address
            if signals.address.family == 4:
                record.network.lo &= <uint64_t>0xFFFFFF00
            else:
                record.network.hi &= <uint64_t>0xFFFFFFFFFFFF0000
                record.network.lo = 0
        at = <char*>(record + 1)
        for i in range(TEXTS):
            if texts[i] == NULL:
                record.text_bytes[i] = TEXT_NOT_GIVEN
            else:
                record.text_bytes[i] = <uint16_t>sizes[i]
                at = put(at, texts[i], sizes[i])
        set_position(&self._written, written + size)

    cdef int _enter(self, Engine engine, PolicyTable table) except -1:
        """Have the words of another table at hand."""
        words = self._words_of(engine.words, table)
        self._contexts[self._context + 1] = words
        self._context += 1
        self._table = table
        return 0

    def note_decided(self, Decided decided not None, as_json):
        """Keep an answer of `Engine.decide`, if it is to be logged; `as_json` gives a text as JSON without its quotes."""
        cdef Facts facts
        cdef bytes id, lang, sku, sold_in, device_id
        if decided._table is None or not self.wants(&decided._answer.verdict):
            return
        memset(&facts, 0, sizeof(Facts))
        id, lang, sku, sold_in, device_id = [
            None if text is None else as_json(text)
            for text in (decided.id, decided.lang, decided._sku, decided._sold_in, decided._device_id)
        ]
        facts.sku, facts.sku_bytes = bytes_of(sku), size_of(sku)
        facts.sold_in, facts.sold_in_bytes = bytes_of(sold_in), size_of(sold_in)
        facts.device_id, facts.device_id_bytes = bytes_of(device_id), size_of(device_id)
        facts.is_first_activated, facts.first_activated_us = decided._is_first_activated, decided._first_activated_us
        self.note(
            decided._engine, decided._table, &decided._signals, &facts, &decided._answer,
            bytes_of(id), size_of(id), bytes_of(lang), size_of(lang), decided._at_us,
        )

    def forget(self):
        """Let go of the last words and table once the ring is empty: they keep a whole generation of data."""
        self._table = None

    def take(self, bytes chain not None, sha256):
        """Take lines out of the ring, some 64 KiB at most: (lines, how many, the last one's number, the chain behind it).

        `chain` are the 32 bytes of the line before; `sha256` is hashlib's. Only one thread may call this.
        """
        cdef Record* record
        cdef uint64_t at = self._read, number = 0
        cdef Py_ssize_t count = 0, begin, end
        cdef bytes hashed
        cdef int missing
        if len(chain) != CHAIN_BYTES:
            raise ValueError("a chain has 32 bytes")
        self._out_used = 0
        with nogil:
            while self._out_used < TAKE_BYTES and at != position_of(&self._written):
                if self._mask + 1 - (at & self._mask) < sizeof(Record):
                    at += self._mask + 1 - (at & self._mask)
                    continue
                record = <Record*>(self._ring + (at & self._mask))
                if record.size == 0:
                    at += self._mask + 1 - (at & self._mask)
                    continue
                missing = self._next(record)
                if missing < 0:
                    with gil:
                        raise MemoryError
                number = record.number
                at += record.size
                count += 1
            set_position(&self._read, at)
        if self._table is None and at == position_of(&self._written):
            # Nothing is left that would need these words, and the next record comes with others.
            self._words, self._writing = None, 0
            self._contexts.clear()
        begin = 0
        while begin < self._out_used:
            end = begin
            while self._out[end] != b"\n":
                end += 1
            # The chain's digits come last.
            hashed = PyBytes_FromStringAndSize(NULL, CHAIN_BYTES + end - CHAIN_MEMBER_BYTES - begin)
            memcpy(PyBytes_AS_STRING(hashed), PyBytes_AS_STRING(chain), CHAIN_BYTES)
            memcpy(PyBytes_AS_STRING(hashed) + CHAIN_BYTES, self._out + begin, end - CHAIN_MEMBER_BYTES - begin)
            chain = sha256(hashed).digest()
            put_digits(self._out + end - 2 - CHAIN_DIGITS, chain)
            begin = end + 1
        return PyBytes_FromStringAndSize(self._out, self._out_used), count, number, chain

    cdef int _next(self, Record* record) noexcept nogil:
        """Write one record's line behind the others; -1 without memory."""
        cdef const char* texts = <const char*>(record + 1)
        if record.context != self._writing:
            with gil:
                self._turn_to(record.context)
        return self._format(record, texts)

    cdef void _turn_to(self, uint32_t context):
        """Write with other words. Records come in their order, so those from before are not needed any more."""
        self._words = self._contexts[context]
        for number in [found for found in self._contexts if found < context]:
            del self._contexts[number]
        self._writing = context

    cdef Fragment* _fragment(self, int kind, uint32_t id) noexcept nogil:
        """The words of an id, made when they are first needed; NULL (null) for what has none."""
        cdef Fragment* found
        if <Py_ssize_t>id >= self._words._sizes[kind]:
            return NULL
        found = &self._words._fragments[kind][id]
        if found.text == NULL:
            with gil:
                try:
                    self._words._make(kind, id)
                except Exception:
                    return NULL
        return found

    cdef int _format(self, const Record* record, const char* texts) noexcept nogil:
        cdef const Resolution* resolution = &record.resolution
        cdef const Verdict* verdict = &record.verdict
        cdef Fragment* rule = NULL
        cdef Fragment* shadow_rule = NULL
        cdef Fragment* network = NULL
        cdef Fragment* serving = NULL
        cdef Fragment* home = NULL
        cdef Fragment* region = self._fragment(REGION, resolution.region)
        cdef Fragment* country = self._fragment(REGION, resolution.country)
        cdef Fragment* subdivision = self._fragment(REGION, resolution.subdivision)
        cdef Fragment* reason = self._fragment(REASON, verdict.reason)
        cdef Py_ssize_t room
        cdef char* at
        cdef char* grown
        cdef bint is_first
        cdef int i
        if verdict.rule != NO_RULE:
            rule = self._fragment(RULE, <uint32_t>verdict.rule)
        if verdict.shadow_rule != NO_RULE:
            shadow_rule = self._fragment(RULE, <uint32_t>verdict.shadow_rule)
        if record.evidence.ip_status == OK:
            network = self._fragment(NETWORK, record.evidence.ip_value)
        if record.evidence.serving_value:
            serving = self._fragment(PLMN, record.evidence.serving_value)
        if record.evidence.home_value:
            home = self._fragment(PLMN, record.evidence.home_value)
        room = (
            LINE_FRAME_BYTES + record.size + self._words._head.size + size_in(region) + size_in(country)
            + size_in(subdivision) + size_in(reason) + size_in(rule) + size_in(shadow_rule) + size_in(network)
            + size_in(serving) + size_in(home)
        )
        if self._out_room - self._out_used < room:
            grown = <char*>realloc(self._out, self._out_room + room + TAKE_BYTES)
            if grown == NULL:
                return -1
            self._out, self._out_room = grown, self._out_room + room + TAKE_BYTES
        at = self._out + self._out_used
        at = put_number(put(at, b'{"number":', 10), record.number)
        at = put_instant(put(at, b',"at":', 6), record.at_us)
        at = put(at, b",", 1)
        at = put(at, self._words._head.text, self._words._head.size)
        at = put_text(at, ID, record.text_bytes[ID], &texts)
        at = put_word(put(at, b',"decision":', 12), &effects[verdict.effect & 7])
        at = put_word(put(at, b',"region":', 10), region)
        at = put_word(put(at, b',"country":', 11), country)
        at = put_word(put(at, b',"subdivision":', 15), subdivision)
        at = put_hundredths(put(at, b',"confidence":', 14), resolution.confidence)
        at = put_word(put(at, b',"basis":', 9), &signals_by_bit[resolution.basis & 7])
        at = put_word(put(at, b',"row":', 7), &rows[resolution.row & 63])
        at = put(at, b',"conflicts":[', 14)
        is_first = True
        for i in range(16):
            if resolution.conflicts >> i & 1:
                if not is_first:
                    at = put(at, b",", 1)
                at = put_word(at, &conflicts[i])
                is_first = False
        at = put_word(put(at, b'],"rule":', 9), rule)
        at = put_word(put(at, b',"reason":', 10), reason)
        if verdict.shadow_effect == verdict.effect:
            at = put(at, b',"shadow":null', 14)
        else:
            at = put_word(put(at, b',"shadow":{"decision":', 22), &effects[verdict.shadow_effect & 7])
            at = put_word(put(at, b',"rule":', 8), shadow_rule)
            at = put(at, b"}", 1)
        at = put(at, b',"evidence":{"serving":', 23)
        at = put_plmn(at, record.evidence.serving_status, &record.serving, record.serving_length, serving)
        at = put(at, b',"sim":', 7)
        at = put_plmn(at, record.evidence.home_status, &record.home, record.home_length, home)
        at = put(at, b',"ip":', 6)
        at = put_network(at, record.evidence.ip_status, &record.network, network)
        at = put(at, b"},", 2)
        for i in range(DEVICE_ID, TEXTS):
            at = put_text(at, i, record.text_bytes[i], &texts)
            at = put(at, b",", 1)
        at = put(at, b'"first_activated_at":', 21)
        at = put_instant(at, record.first_activated_us) if record.is_first_activated else put(at, b"null", 4)
        at = put(at, b',"chain":"', 10)
        memset(at, b"0"[0], CHAIN_DIGITS)
        at = put(at + CHAIN_DIGITS, b'"}\n', 3)
        self._out_used = at - self._out
        return 0


cdef inline Py_ssize_t size_in(const Fragment* fragment) noexcept nogil:
    return 0 if fragment == NULL else fragment.size


cdef inline const char* bytes_of(bytes text):
    return NULL if text is None else PyBytes_AS_STRING(text)


cdef inline uint32_t size_of(bytes text):
    return 0 if text is None else <uint32_t>PyBytes_GET_SIZE(text)


cdef void put_digits(char* at, bytes digest):
    cdef const uint8_t* octets = <const uint8_t*>PyBytes_AS_STRING(digest)
    cdef int i
    for i in range(CHAIN_BYTES):
        at[2 * i], at[2 * i + 1] = HEXADECIMAL[octets[i] >> 4], HEXADECIMAL[octets[i] & 15]


cdef char* put_text(char* at, int text, uint16_t size, const char** texts) noexcept nogil:
    """Write one of the ping's texts with its name, null where it was not given."""
    cdef const char* name = TEXT_NAMES[text]
    while name[0]:
        at[0] = name[0]
        at, name = at + 1, name + 1
    if size == TEXT_NOT_GIVEN:
        return put(at, b"null", 4)
    at[0] = b'"'
    at = put(at + 1, texts[0], size)
    at[0] = b'"'
    texts[0] += size
    return at + 1


cdef char* put_hundredths(char* at, uint8_t hundredths) noexcept nogil:
    """Write a confidence as Python and JSON write the number: 0.98, 0.6, 0.0, 1.0."""
    at = put_number(at, hundredths // 100)
    at[0] = b"."
    at[1] = HEXADECIMAL[hundredths % 100 // 10]
    at += 2
    if hundredths % 10:
        at[0] = HEXADECIMAL[hundredths % 10]
        at += 1
    return at


cdef char* put_plmn(char* at, uint8_t status, const Plmn* plmn, uint8_t match_length, const Fragment* fragment) noexcept nogil:
    """Write what a PLMN was and was worth; where its length is not known, a digit that may be the subscriber's is left out."""
    cdef uint8_t shown = plmn.length
    if status == 0:
        return put(at, b"null", 4)
    at = put_word(put(at, b'{"status":', 10), &statuses[status & 7])
    if plmn.length:
        if not plmn.mnc_known and shown > PLMN_SHORT:
            shown = match_length if match_length > PLMN_SHORT else PLMN_SHORT
        at = put(put(at, b',"plmn":"', 9), plmn.digits, shown)
        at = put(put(at, b'","match":"', 11), plmn.digits, match_length)
        at = put(at, b'"', 1)
    if fragment != NULL and fragment.text != NULL:
        at = put(put(at, b",", 1), fragment.text, fragment.size)
    return put(at, b"}", 1)


cdef char* put_network(char* at, uint8_t status, const Address* network, const Fragment* fragment) noexcept nogil:
    """Write what an address was worth, with the network that it is cut to."""
    if status == 0:
        return put(at, b"null", 4)
    at = put_word(put(at, b'{"status":', 10), &statuses[status & 7])
    if network.family:
        at = put(at, b',"network":"', 12)
        at += format_text(network, at)
        at = put(at, b"/24" if network.family == 4 else b"/48", 3)
        at = put_word(put(at, b'","special":', 12), &specials[network.special & 63])
    if fragment != NULL and fragment.text != NULL:
        at = put(put(at, b",", 1), fragment.text, fragment.size)
    return put(at, b"}", 1)
