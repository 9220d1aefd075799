# cython: boundscheck=False, wraparound=False, freethreading_compatible=True
# Earned by PolicyRows.__cinit__ and PolicyTable.__cinit__, which ask each sequence for its length before they index it,
# and copy into arrays of known sizes with every number checked; `decide` indexes with those, with region ids that
# `place` bounds, and with masked or clamped small integers.
"""A policy compiled: which rules hold for a ping, as a few ANDs of bit rows, and the first of them.

In: a resolution, the facts of a ping. Out: the verdict of the first enforced rule that matches, with the first shadow
rule before it. Nothing in `decide` raises, allocates, takes a lock, reads a clock or needs the interpreter.

Theory of operation (the bit vectors of Lakshman and Stiliadis, SIGCOMM 1998, with the aggregates of Baboescu and
Varghese, SIGCOMM 2001):

1. Each attribute of a ping (its region, its SKU, the conflicts of its resolution...) takes one of finitely many values
   that rules can tell apart, and each value has a row: the set of the rules that are content with it. A missing field
   is a value too, which only rules without a condition on it are content with.
2. The rules that match are the AND of one row for each attribute, and of the row of the rules that the interval of time
   leaves active. Attributes that no rule asks for are not looked at.
3. The first word of a row summarises it. A ping that no rule is for, which is nearly every ping, is done after ANDing
   summaries; else only those words are ANDed that the summary names.
4. Rows hang on the policy alone (`PolicyRows`); the calendar picks active rules and limits of rollouts (`PolicyTable`,
   good from `valid_from` until before `valid_until`).

Bound: an index operation for each attribute (a bisection among the dates of activation that the rules name, one step a
character of the SKU for each automaton), then at most one AND for each attribute and 64 rules, so 16 for 1,000 rules.
Only a rollout below 100 % that everything else lets in costs a SHA-256, one for each salt.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset

from _fastpath.fusion cimport Resolution

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* FIPS 180-4, section 4.2.2. */
    static const uint32_t sha256_constants[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2
    };
    """
    const uint32_t sha256_constants[64]
    int trailing_zeros "__builtin_ctzll"(unsigned long long word) nogil


# The order is the one in which `may_match` asks: what a table lookup answers first, texts last.
cdef enum Attribute:
    REGION = 0
    CONFLICTS = 1
    CONFIDENCE = 2
    STATUSES = 3
    HOME_REGION = 4
    ACTIVATION = 5
    SOLD_IN = 6
    DEVICE = 7

cdef enum Values:
    CONFLICT_VALUES = 1024
    NO_REGION = 101  # hundredths of a confidence end at 100
    CONFIDENCE_VALUES = 102
    STATUS_BITS = 3
    STATUS_VALUES = 512
    NOT_ACTIVATED = 0
    NO_DEVICE = 0
    UNLISTED_DEVICE = 1

cdef enum:
    MAX_ROWS = 2 + ATTRIBUTES + MAX_MATCHERS
    NO_SALT = 0
    REPLACEMENT = 0xFFFD

ATTRIBUTE_IDS = {
    "region": REGION, "conflicts": CONFLICTS, "confidence": CONFIDENCE, "statuses": STATUSES,
    "home_region": HOME_REGION, "activation": ACTIVATION, "sold_in": SOLD_IN, "device": DEVICE,
}
EFFECT_IDS = {"allow": ALLOW, "deny": DENY, "review": REVIEW}
MATCHERS_MAX = MAX_MATCHERS
FOREVER = INT64_MAX


# Everything that one decision keeps: the rows met so far, the AND of their summaries, and what was found.
cdef struct Search:
    const uint64_t* rows[MAX_ROWS]
    int count
    uint64_t summary
    int32_t decisive
    int32_t shadow
    uint32_t salt
    uint32_t bucket


cdef struct Sha256:
    uint32_t state[8]
    uint8_t block[64]
    uint32_t filled
    uint64_t size_bytes


cdef inline uint32_t rotated(uint32_t word, int count) noexcept nogil:
    return (word >> count) | (word << (32 - count))


cdef inline void sha256_round(
    uint32_t a, uint32_t b, uint32_t c, uint32_t* d, uint32_t e, uint32_t f, uint32_t g, uint32_t* h, uint32_t word
) noexcept nogil:
    """One round. The callers rename the eight words instead of moving them."""
    cdef uint32_t sum = h[0] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + (g ^ (e & (f ^ g))) + word
    d[0] += sum
    h[0] = sum + (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) | (c & (a | b)))


cdef void sha256_block(Sha256* sha) noexcept nogil:
    """Mix one full block into the state (FIPS 180-4, section 6.2.2)."""
    cdef uint32_t words[64]
    cdef uint32_t a = sha.state[0], b = sha.state[1], c = sha.state[2], d = sha.state[3]
    cdef uint32_t e = sha.state[4], f = sha.state[5], g = sha.state[6], h = sha.state[7]
    cdef uint32_t early, late
    cdef int t
    for t in range(16):
        words[t] = (
            (<uint32_t>sha.block[4 * t] << 24) | (<uint32_t>sha.block[4 * t + 1] << 16)
            | (<uint32_t>sha.block[4 * t + 2] << 8) | sha.block[4 * t + 3]
        )
    for t in range(16, 64):
        early = words[t - 15]
        late = words[t - 2]
        words[t] = (
            (rotated(late, 17) ^ rotated(late, 19) ^ (late >> 10)) + words[t - 7]
            + (rotated(early, 7) ^ rotated(early, 18) ^ (early >> 3)) + words[t - 16]
        )
    for t in range(0, 64, 8):
        sha256_round(a, b, c, &d, e, f, g, &h, words[t] + sha256_constants[t])
        sha256_round(h, a, b, &c, d, e, f, &g, words[t + 1] + sha256_constants[t + 1])
        sha256_round(g, h, a, &b, c, d, e, &f, words[t + 2] + sha256_constants[t + 2])
        sha256_round(f, g, h, &a, b, c, d, &e, words[t + 3] + sha256_constants[t + 3])
        sha256_round(e, f, g, &h, a, b, c, &d, words[t + 4] + sha256_constants[t + 4])
        sha256_round(d, e, f, &g, h, a, b, &c, words[t + 5] + sha256_constants[t + 5])
        sha256_round(c, d, e, &f, g, h, a, &b, words[t + 6] + sha256_constants[t + 6])
        sha256_round(b, c, d, &e, f, g, h, &a, words[t + 7] + sha256_constants[t + 7])
    sha.state[0] += a
    sha.state[1] += b
    sha.state[2] += c
    sha.state[3] += d
    sha.state[4] += e
    sha.state[5] += f
    sha.state[6] += g
    sha.state[7] += h


cdef void sha256_begin(Sha256* sha) noexcept nogil:
    sha.state[0], sha.state[1], sha.state[2], sha.state[3] = 0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A
    sha.state[4], sha.state[5], sha.state[6], sha.state[7] = 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19
    sha.filled = 0
    sha.size_bytes = 0


cdef void sha256_add(Sha256* sha, const char* text, uint32_t size_bytes) noexcept nogil:
    cdef uint32_t taken
    sha.size_bytes += size_bytes
    while size_bytes:
        taken = 64 - sha.filled
        if taken > size_bytes:
            taken = size_bytes
        memcpy(sha.block + sha.filled, text, taken)
        sha.filled += taken
        text += taken
        size_bytes -= taken
        if sha.filled == 64:
            sha256_block(sha)
            sha.filled = 0


cdef uint64_t sha256_first_8_bytes(Sha256* sha) noexcept nogil:
    """Pad and finish; answer the first 8 bytes of the digest, big-endian."""
    cdef uint64_t size_bits = sha.size_bytes * 8
    cdef int i
    sha.block[sha.filled] = 0x80
    sha.filled += 1
    if sha.filled > 56:
        memset(sha.block + sha.filled, 0, 64 - sha.filled)
        sha256_block(sha)
        sha.filled = 0
    memset(sha.block + sha.filled, 0, 56 - sha.filled)
    for i in range(8):
        sha.block[63 - i] = <uint8_t>(size_bits >> (8 * i))
    sha256_block(sha)
    return (<uint64_t>sha.state[0] << 32) | sha.state[1]


cdef uint32_t bucket_of(const Salt* salt, const char* key, uint32_t size_bytes) noexcept nogil:
    """Answer the bucket of a key: SHA-256(salt ":" key), its first 8 bytes big-endian, modulo BUCKETS."""
    cdef Sha256 sha
    sha256_begin(&sha)
    sha256_add(&sha, salt.text, salt.size_bytes)
    sha256_add(&sha, b":", 1)
    sha256_add(&sha, key, size_bytes)
    return <uint32_t>(sha256_first_8_bytes(&sha) % BUCKETS)


cdef inline char lower(char letter) noexcept nogil:
    return letter + 32 if c"A" <= letter <= c"Z" else letter


cdef inline uint64_t text_hash(const char* text, uint32_t size_bytes, bint folds_case) noexcept nogil:
    """FNV-1a of 64 bits, over the text in lower case if `folds_case` (ASCII letters only)."""
    cdef uint64_t hash = 0xCBF29CE484222325u
    cdef uint32_t i
    for i in range(size_bytes):
        hash = (hash ^ <uint8_t>(lower(text[i]) if folds_case else text[i])) * 0x100000001B3u
    return hash


cdef inline bint same_text(const char* key, const char* text, uint32_t size_bytes, bint folds_case) noexcept nogil:
    cdef uint32_t i
    if not folds_case:
        return memcmp(key, text, size_bytes) == 0
    for i in range(size_bytes):
        if key[i] != lower(text[i]):
            return False
    return True


cdef uint32_t value_of(const TextMap* texts, const char* text, uint32_t size_bytes) noexcept nogil:
    """Look a text up. What is looked for is hostile, what is stored is not: no probe is longer than its longest run."""
    cdef uint64_t hash, place
    cdef const TextSlot* slot
    if size_bytes > texts.longest:
        return texts.not_found
    hash = text_hash(text, size_bytes, texts.folds_case)
    place = hash & texts.mask
    while texts.slots[place].text != NULL:
        slot = &texts.slots[place]
        if slot.hash == hash and slot.size_bytes == size_bytes and same_text(slot.text, text, size_bytes, texts.folds_case):
            return slot.value
        place = (place + 1) & texts.mask
    return texts.not_found


cdef inline uint32_t after_continuation(uint32_t code, uint8_t byte, bint* is_good) noexcept nogil:
    is_good[0] = is_good[0] and (byte & 0xC0) == 0x80
    return (code << 6) | (byte & 0x3F)


cdef uint32_t next_code_point(const uint8_t** cursor, const uint8_t* end) noexcept nogil:
    """Read one code point of more than one byte and step behind it; what is no UTF-8 reads as U+FFFD, byte by byte.

    Surrogates pass: JSON can write one alone, and Python's str can hold it.
    """
    cdef const uint8_t* text = cursor[0]
    cdef uint8_t head = text[0]
    cdef int length = 2 if head < 0xE0 else 3 if head < 0xF0 else 4
    cdef uint32_t least = 0x80 if length == 2 else 0x800 if length == 3 else 0x10000
    cdef uint32_t code = head & (0xFF >> (length + 1))
    cdef bint is_good = 0xC2 <= head < 0xF5 and end - text >= length
    cdef int i
    if is_good:
        for i in range(1, length):
            code = after_continuation(code, text[i], &is_good)
    if not is_good or not least <= code <= 0x10FFFF:
        cursor[0] = text + 1
        return REPLACEMENT
    cursor[0] = text + length
    return code


cdef inline uint16_t symbol_of(const SkuMatcher* matcher, uint32_t code) noexcept nogil:
    """Find the last bound that is not above a code point; bounds[0] is 0."""
    cdef uint32_t low = 0, high = matcher.bound_count, middle
    while high - low > 1:
        middle = (low + high) >> 1
        if matcher.bounds[middle] <= code:
            low = middle
        else:
            high = middle
    return matcher.symbols[low]


cdef uint32_t sku_row(const SkuMatcher* matcher, const char* sku, uint32_t size_bytes) noexcept nogil:
    """Run a SKU through the automaton, a step a character; answer its row."""
    cdef const uint8_t* cursor = <const uint8_t*>sku
    cdef const uint8_t* end
    cdef uint32_t state = 0
    cdef uint16_t symbol
    if sku == NULL:
        return matcher.missing_row
    end = cursor + size_bytes
    while cursor < end and state < matcher.first_final:
        if cursor[0] < 0x80:
            symbol = matcher.ascii[cursor[0]]
            cursor += 1
        else:
            symbol = symbol_of(matcher, next_code_point(&cursor, end))
        state = matcher.cells[state + symbol]
    return matcher.cells[state + matcher.stride - 1]


cdef inline uint32_t place(const Compiled* c, uint16_t region) noexcept nogil:
    """Answer a region id, or the last place, which lies nowhere, for an id that the rows were not made for."""
    return region if region < c.place_count else c.place_count - 1


cdef inline uint32_t activation_value(const Compiled* c, const Facts* facts) noexcept nogil:
    """Answer 0 without an instant, else one more than the number of cuts at or before it."""
    cdef uint32_t low = 0, length = c.cut_count, half
    if not facts.is_first_activated:
        return NOT_ACTIVATED
    while length > 1:
        half = length >> 1
        low += half if c.cuts_us[low + half - 1] <= facts.first_activated_us else 0
        length -= half
    return low + 1 + (c.cuts_us[low] <= facts.first_activated_us)


cdef inline uint32_t sold_in_value(const Compiled* c, const Facts* facts) noexcept nogil:
    return 0 if facts.sold_in == NULL else value_of(&c.spellings, facts.sold_in, facts.sold_in_bytes)


cdef inline uint32_t device_value(const Compiled* c, const Facts* facts) noexcept nogil:
    return NO_DEVICE if facts.device_id == NULL else value_of(&c.devices, facts.device_id, facts.device_id_bytes)


cdef inline uint32_t status_value(const Facts* facts) noexcept nogil:
    return (
        ((facts.ip_status & 7) << (2 * STATUS_BITS)) | ((facts.serving_status & 7) << STATUS_BITS) | (facts.home_status & 7)
    )


cdef inline uint32_t confidence_value(const Resolution* resolution) noexcept nogil:
    if resolution.region == 0:
        return NO_REGION
    return resolution.confidence if resolution.confidence <= 100 else 100


cdef inline bint narrow(Search* search, const uint64_t* row) noexcept nogil:
    """Add a row; tell whether any rule is left that may match."""
    search.rows[search.count] = row
    search.count += 1
    search.summary &= row[0]
    return search.summary != 0


cdef inline const uint64_t* row_for(const Compiled* c, Attribute attribute, uint32_t value) noexcept nogil:
    return c.words + c.row_of[<int>attribute][value]


cdef bint may_match(const Compiled* c, const Resolution* resolution, const Facts* facts, Search* s) noexcept nogil:
    """Collect the rows of a ping; stop as soon as no rule is content with all of them."""
    cdef uint32_t i
    if c.row_of[<int>REGION] != NULL and not narrow(s, row_for(c, REGION, place(c, resolution.region))):
        return False
    if c.row_of[<int>CONFLICTS] != NULL:
        if not narrow(s, row_for(c, CONFLICTS, resolution.conflicts & (CONFLICT_VALUES - 1))):
            return False
    if c.row_of[<int>CONFIDENCE] != NULL and not narrow(s, row_for(c, CONFIDENCE, confidence_value(resolution))):
        return False
    if c.row_of[<int>STATUSES] != NULL and not narrow(s, row_for(c, STATUSES, status_value(facts))):
        return False
    if c.row_of[<int>HOME_REGION] != NULL and not narrow(s, row_for(c, HOME_REGION, place(c, facts.home_region))):
        return False
    if c.row_of[<int>ACTIVATION] != NULL and not narrow(s, row_for(c, ACTIVATION, activation_value(c, facts))):
        return False
    if c.row_of[<int>SOLD_IN] != NULL and not narrow(s, row_for(c, SOLD_IN, sold_in_value(c, facts))):
        return False
    if c.row_of[<int>DEVICE] != NULL and not narrow(s, row_for(c, DEVICE, device_value(c, facts))):
        return False
    for i in range(c.matcher_count):
        if not narrow(s, c.words + sku_row(&c.matchers[i], facts.sku, facts.sku_bytes)):
            return False
    return True


cdef inline bint is_rolled_out(const Interval* t, const Facts* facts, Search* s, uint32_t rule) noexcept nogil:
    """Tell whether the device is in the rule's rollout; one without a key never comes here, by the row `steady`."""
    cdef uint32_t salt
    if t.limits[rule] == BUCKETS:
        return True
    salt = t.compiled.rules[rule].salt
    if s.salt != salt:
        s.salt = salt
        s.bucket = bucket_of(&t.compiled.salts[salt], facts.device_id, facts.device_id_bytes)
    return s.bucket < t.limits[rule]


cdef inline bint decides(const Interval* t, const Facts* facts, Search* s, uint32_t rule) noexcept nogil:
    """Weigh a rule whose conditions hold: tell whether it decides. Behind a first shadow rule only enforced ones count."""
    if not is_rolled_out(t, facts, s, rule):
        return False
    if not t.compiled.rules[rule].is_shadow:
        s.decisive = <int32_t>rule
        return True
    if s.shadow == NO_RULE:
        s.shadow = <int32_t>rule
        narrow(s, t.compiled.words + t.compiled.enforced_row)
    return False


cdef bint decides_in_word(
    const Interval* t, const Facts* facts, Search* s, uint32_t word, uint64_t wanted
) noexcept nogil:
    """Weigh, in order, the rules of one fine word that all rows have; tell whether one decides."""
    cdef uint64_t bits = wanted
    cdef int i
    for i in range(s.count):
        bits &= s.rows[i][1 + word]
    while bits:
        if decides(t, facts, s, word * 64 + trailing_zeros(bits)):
            return True
        bits &= bits - 1
        if s.shadow != NO_RULE:
            bits &= t.compiled.words[t.compiled.enforced_row + 1 + word]
    return False


cdef void find_first(const Interval* t, const Facts* facts, Search* s) noexcept nogil:
    """Walk the rules that match, in order, until one decides."""
    cdef const Compiled* c = t.compiled
    cdef uint32_t chunk, word, last
    cdef uint64_t wanted
    while s.summary:
        chunk = trailing_zeros(s.summary)
        s.summary &= s.summary - 1
        if c.fine_words == 0:
            if decides(t, facts, s, chunk):
                return
        elif c.shift < 6:
            wanted = ((<uint64_t>1 << (1 << c.shift)) - 1) << ((chunk << c.shift) & 63)
            if decides_in_word(t, facts, s, (chunk << c.shift) >> 6, wanted):
                return
        else:
            last = (chunk + 1) << (c.shift - 6)
            for word in range(chunk << (c.shift - 6), last if last < c.fine_words else c.fine_words):
                if decides_in_word(t, facts, s, word, ~<uint64_t>0):
                    return


cdef inline uint8_t sure_effect(const Compiled* c, uint8_t effect, const Resolution* resolution) noexcept nogil:
    """Answer an effect, or a review instead of a denial for which the resolution is not sure enough."""
    return REVIEW if effect == DENY and resolution.confidence < c.sure_enough else effect


cdef inline uint8_t default_effect(const Compiled* c, const Default* said, const Resolution* resolution) noexcept nogil:
    """Answer what the defaults lead to."""
    return said.on_unknown if resolution.region == 0 else sure_effect(c, said.effect, resolution)


cdef inline uint8_t rule_effect(const Compiled* c, int32_t rule, const Resolution* resolution) noexcept nogil:
    """Answer what a rule leads to for a resolution of this confidence."""
    return sure_effect(c, c.rules[rule].effect, resolution)


cdef void write(const Compiled* c, const Search* s, const Resolution* resolution, Verdict* out) noexcept nogil:
    """Write the verdict for the rules that were found."""
    cdef bint is_default = s.decisive == NO_RULE
    cdef bint is_unknown = is_default and resolution.region == 0
    cdef uint8_t said = c.enforced.effect if is_default else c.rules[s.decisive].effect
    out.effect = default_effect(c, &c.enforced, resolution) if is_default else rule_effect(c, s.decisive, resolution)
    out.rule = NO_RULE if is_default else c.rules[s.decisive].position
    out.is_low_confidence = not is_unknown and out.effect != said
    if out.is_low_confidence:
        out.reason = c.low_confidence
    elif is_unknown:
        out.reason = c.no_evidence
    else:
        out.reason = 0 if is_default else c.rules[s.decisive].reason
    if s.shadow != NO_RULE:
        out.shadow_effect = rule_effect(c, s.shadow, resolution)
    else:
        out.shadow_effect = default_effect(c, &c.shadow, resolution) if is_default else out.effect
    out.shadow_rule = NO_RULE if s.shadow == NO_RULE or out.shadow_effect == out.effect else c.rules[s.shadow].position


cdef void* zeroed(Py_ssize_t count, size_t size) except NULL:
    """Allocate `count` things, at least one, and clear them."""
    cdef void* memory = calloc(max(count, 1), size)
    if memory == NULL:
        raise MemoryError
    return memory


cdef uint32_t checked(value, Py_ssize_t limit) except? 0xFFFFFFFF:
    if not 0 <= value < limit:
        raise ValueError(f"{value} is outside a table of {limit}")
    return <uint32_t>value


cdef object set_of(list flags):
    """Answer the set of the positions that are flagged, as an integer."""
    cdef bytearray little = bytearray((len(flags) + 7) // 8)
    cdef Py_ssize_t i
    for i in range(len(flags)):
        if flags[i]:
            little[i >> 3] |= 1 << (i & 7)
    return int.from_bytes(little, "little")


cdef uint32_t numbered(dict numbers, members) except? 0xFFFFFFFF:
    """Answer the number of a row, the next one for a set of rules that has none yet."""
    return numbers.setdefault(members, len(numbers))


@cython.auto_pickle(False)
@cython.final
cdef class PolicyRows:
    """What hangs on the policy alone: rows of rules for every value of every attribute. Sets of rules are integers.

    `rules`: (position in the file, effect id, is it a shadow rule, reason id, number of its salt or 0) a rule.
    `defaults`: (effect, on_unknown, both again as they are when shadow rules count, hundredths below which a deny is a
    review, reason ids of no evidence and of low confidence). `attributes`: by ATTRIBUTE_IDS the sets of the rules that
    are content with each value, empty if no rule asks. `cuts_us`: ascending instants of activation that rules tell apart.
    `spellings`: places by lower-case text; `devices`: values by device id. `matchers`: (128 symbols of ASCII, bounds of
    code points, their symbols, number of symbols, first final state, next states, sets by state, set without a SKU) an
    automaton over SKUs.
    Raises ValueError for numbers that do not fit together.
    """

    def __cinit__(
        self, rules, salts, defaults, attributes, Py_ssize_t place_count, cuts_us, spellings, devices, matchers
    ):
        cdef Compiled* c = &self._compiled
        cdef dict numbers = {}
        cdef Py_ssize_t i
        self._kept = []
        self.rule_count, self.place_count = len(rules), place_count
        if not 2 <= place_count <= 0xFFFF or self.rule_count >= 1 << 24:
            raise ValueError("too many or too few places, or too many rules")
        if len(attributes) != ATTRIBUTES:
            raise ValueError("an attribute is missing")
        while self.rule_count > 64 << c.shift:
            c.shift += 1
        c.fine_words = 0 if c.shift == 0 else (self.rule_count + 63) // 64
        c.stride = 1 + c.fine_words
        c.place_count = place_count
        c.enforced.effect, c.enforced.on_unknown, c.shadow.effect, c.shadow.on_unknown = defaults[:4]
        c.sure_enough, c.no_evidence, c.low_confidence = defaults[4:]
        c.cut_count = len(cuts_us)
        c.cuts_us = <int64_t*>zeroed(c.cut_count, sizeof(int64_t))
        for i in range(c.cut_count):
            c.cuts_us[i] = cuts_us[i]
            if i and c.cuts_us[i] <= c.cuts_us[i - 1]:
                raise ValueError("the cuts must ascend")
        self._read_rules(rules, salts)
        self._read_attributes(numbers, attributes)
        self._read_texts(&c.spellings, spellings, place_count, place_count - 1, True)
        self._read_texts(&c.devices, devices, max(len(attributes[<int>DEVICE]), 2), UNLISTED_DEVICE, False)
        self._read_matchers(numbers, matchers)
        c.enforced_row = c.stride * numbered(numbers, set_of([not is_shadow for _, _, is_shadow, _, _ in rules]))
        if len(numbers) * c.stride > 0xFFFFFFFF:
            raise ValueError("too many rows")
        c.words = <uint64_t*>zeroed(len(numbers) * c.stride, sizeof(uint64_t))
        for members, i in numbers.items():
            self._write_row(c.words + i * c.stride, members)

    def __dealloc__(self):
        cdef Compiled* c = &self._compiled
        cdef int i
        free(c.words)
        free(c.cuts_us)
        free(c.rules)
        free(c.salts)
        free(c.spellings.slots)
        free(c.devices.slots)
        for i in range(ATTRIBUTES):
            free(c.row_of[i])
        for i in range(MAX_MATCHERS):
            free(c.matchers[i].cells)
            free(c.matchers[i].bounds)
            free(c.matchers[i].symbols)

    cdef int _read_rules(self, rules, salts) except -1:
        cdef Compiled* c = &self._compiled
        cdef Py_ssize_t i
        c.rules = <RuleFacts*>zeroed(self.rule_count, sizeof(RuleFacts))
        c.salts = <Salt*>zeroed(len(salts) + 1, sizeof(Salt))
        for i, (position, effect, is_shadow, reason, salt) in enumerate(rules):
            c.rules[i].position, c.rules[i].reason = position, reason
            c.rules[i].effect, c.rules[i].is_shadow = effect, is_shadow
            c.rules[i].salt = checked(salt, len(salts) + 1)
        for i, text in enumerate(salts, 1):
            self._kept.append(text)
            c.salts[i].text = PyBytes_AS_STRING(text)
            c.salts[i].size_bytes = PyBytes_GET_SIZE(text)
        return 0

    cdef int _read_attributes(self, dict numbers, attributes) except -1:
        cdef Compiled* c = &self._compiled
        cdef Py_ssize_t attribute, value
        cdef uint32_t[ATTRIBUTES] sizes
        for attribute in (REGION, HOME_REGION, SOLD_IN):
            sizes[attribute] = self.place_count
        sizes[<int>CONFLICTS], sizes[<int>CONFIDENCE] = CONFLICT_VALUES, CONFIDENCE_VALUES
        sizes[<int>STATUSES], sizes[<int>ACTIVATION] = STATUS_VALUES, c.cut_count + 2
        sizes[<int>DEVICE] = max(len(attributes[<int>DEVICE]), 2)
        if attributes[<int>ACTIVATION] and c.cut_count == 0:
            raise ValueError("values of activation without a cut")
        for attribute, sets in enumerate(attributes):
            if not sets:
                continue
            if len(sets) != sizes[attribute]:
                raise ValueError(f"attribute {attribute} has {len(sets)} values, not {sizes[attribute]}")
            c.row_of[attribute] = <uint32_t*>zeroed(len(sets), sizeof(uint32_t))
            for value, members in enumerate(sets):
                c.row_of[attribute][value] = c.stride * numbered(numbers, members)
        return 0

    cdef int _read_texts(self, TextMap* texts, mapping, uint32_t limit, uint32_t not_found, bint folds_case) except -1:
        cdef uint64_t slot
        cdef const char* text
        texts.mask = 1
        while texts.mask < <uint64_t>(2 * len(mapping)):
            texts.mask = 2 * texts.mask + 1
        texts.not_found, texts.folds_case = not_found, folds_case
        texts.slots = <TextSlot*>zeroed(texts.mask + 1, sizeof(TextSlot))
        for key, value in mapping.items():
            self._kept.append(key)
            text = PyBytes_AS_STRING(key)
            slot = text_hash(text, PyBytes_GET_SIZE(key), False) & texts.mask
            while texts.slots[slot].text != NULL:
                slot = (slot + 1) & texts.mask
            texts.slots[slot].hash = text_hash(text, PyBytes_GET_SIZE(key), False)
            texts.slots[slot].text = text
            texts.slots[slot].size_bytes = PyBytes_GET_SIZE(key)
            texts.slots[slot].value = checked(value, limit)
            texts.longest = max(texts.longest, PyBytes_GET_SIZE(key))
        return 0

    cdef int _read_matchers(self, dict numbers, matchers) except -1:
        cdef Compiled* c = &self._compiled
        cdef SkuMatcher* matcher
        cdef Py_ssize_t i, symbol_count, state, state_count
        if len(matchers) > MAX_MATCHERS:
            raise ValueError("too many matchers")
        for number, (ascii_symbols, bounds, symbols, symbol_count, first_final, steps, sets, missing) in enumerate(matchers):
            matcher = &c.matchers[c.matcher_count]
            c.matcher_count += 1
            state_count = len(sets)
            if (len(ascii_symbols) != 128 or not bounds or bounds[0] != 0 or len(symbols) != len(bounds)
                    or not 0 < symbol_count <= 0xFFFF or len(steps) != state_count * symbol_count or not sets):
                raise ValueError(f"matcher {number} does not hang together")
            matcher.stride = symbol_count + 1
            matcher.first_final = matcher.stride * checked(first_final, state_count + 1)
            matcher.missing_row = c.stride * numbered(numbers, missing)
            matcher.bound_count = len(bounds)
            matcher.bounds = <uint32_t*>zeroed(len(bounds), sizeof(uint32_t))
            matcher.symbols = <uint16_t*>zeroed(len(bounds), sizeof(uint16_t))
            matcher.cells = <uint32_t*>zeroed(state_count * matcher.stride, sizeof(uint32_t))
            for i in range(128):
                matcher.ascii[i] = checked(ascii_symbols[i], symbol_count)
            for i in range(len(bounds)):
                matcher.bounds[i], matcher.symbols[i] = bounds[i], checked(symbols[i], symbol_count)
            for state in range(state_count):
                for i in range(symbol_count):
                    matcher.cells[state * matcher.stride + i] = (
                        matcher.stride * checked(steps[state * symbol_count + i], state_count)
                    )
                matcher.cells[state * matcher.stride + symbol_count] = c.stride * numbered(numbers, sets[state])
        return 0

    cdef int _write_row(self, uint64_t* row, members) except -1:
        """Write a set of rules as a row; `row` is clear."""
        cdef Compiled* c = &self._compiled
        cdef uint32_t word, part
        cdef uint64_t bits
        cdef bytes little
        if members < 0 or members >> self.rule_count:
            raise ValueError("a set has a rule that is not there")
        little = members.to_bytes(8 * max(c.fine_words, 1), "little")
        if c.fine_words == 0:
            memcpy(row, PyBytes_AS_STRING(little), 8)
            return 0
        memcpy(row + 1, PyBytes_AS_STRING(little), 8 * c.fine_words)
        for word in range(c.fine_words):
            bits = row[1 + word]
            for part in range(64):
                if (bits >> part) & 1:
                    row[0] |= <uint64_t>1 << ((word * 64 + part) >> c.shift)
        return 0


@cython.auto_pickle(False)
@cython.final
cdef class PolicyTable:
    """A policy between two instants at which the calendar changes something: [valid_from, valid_until), microseconds.

    `active` is the set of the rules whose window is open, whose exemptions hold and whose rollout has begun; `limits`
    has for each rule the bucket below which a device is in, BUCKETS for every ping. `notices` are kept for whoever words
    the answers: each of them carries these. Raises ValueError for sets and limits of other sizes than the rows.
    """

    def __cinit__(self, PolicyRows rows not None, active, limits, valid_from, valid_until, tuple notices not None=()):
        cdef Interval* t = &self._interval
        cdef Py_ssize_t i
        if len(limits) != rows.rule_count:
            raise ValueError("a limit for each rule is needed")
        self.rows, self.valid_from, self.valid_until, self.notices = rows, valid_from, valid_until, notices
        t.compiled = &rows._compiled
        t.limits = <uint16_t*>zeroed(rows.rule_count, sizeof(uint16_t))
        for i in range(rows.rule_count):
            t.limits[i] = checked(limits[i], BUCKETS + 1)
            if t.limits[i] < BUCKETS and t.compiled.rules[i].salt == NO_SALT:
                raise ValueError(f"rule {i} has a limit and no salt")
        t.active = <uint64_t*>zeroed(t.compiled.stride, sizeof(uint64_t))
        t.steady = <uint64_t*>zeroed(t.compiled.stride, sizeof(uint64_t))
        rows._write_row(t.active, active)
        rows._write_row(t.steady, active & set_of([limit == BUCKETS for limit in limits]))

    def __dealloc__(self):
        free(self._interval.limits)
        free(self._interval.active)
        free(self._interval.steady)

    cdef void decide(self, const Resolution* resolution, const Facts* facts, Verdict* out) noexcept nogil:
        """Find the first enforced rule that matches and the first shadow rule before it; write what follows."""
        cdef Search search
        cdef const uint64_t* candidates = self._interval.steady if facts.device_id == NULL else self._interval.active
        search.count = 0
        search.summary = ~<uint64_t>0
        search.decisive = search.shadow = NO_RULE
        search.salt = NO_SALT
        if narrow(&search, candidates) and may_match(self._interval.compiled, resolution, facts, &search):
            find_first(&self._interval, facts, &search)
        write(self._interval.compiled, &search, resolution, out)

    def verdict(
        self,
        uint16_t region,
        uint16_t conflicts,
        uint8_t confidence,
        uint16_t home_region,
        uint8_t ip_status,
        uint8_t serving_status,
        uint8_t home_status,
        bytes sku,
        bytes sold_in,
        bytes device_id,
        first_activated_us,
    ):
        """Decide on a ping: regions, conflicts and statuses as in `fusion`, texts in UTF-8, an instant; None: not given.

        Returns (rule or None, effect, reason, shadow rule or None, shadow effect): positions in the file and ids. A
        shadow effect that is not the effect comes from a shadow rule, or, without one, from the defaults.
        """
        cdef Resolution resolution
        cdef Facts facts
        cdef Verdict out
        memset(&resolution, 0, sizeof(resolution))
        memset(&facts, 0, sizeof(facts))
        resolution.region, resolution.conflicts, resolution.confidence = region, conflicts, confidence
        facts.home_region = home_region
        facts.ip_status, facts.serving_status, facts.home_status = ip_status, serving_status, home_status
        if sku is not None:
            facts.sku, facts.sku_bytes = PyBytes_AS_STRING(sku), <uint32_t>PyBytes_GET_SIZE(sku)
        if sold_in is not None:
            facts.sold_in, facts.sold_in_bytes = PyBytes_AS_STRING(sold_in), <uint32_t>PyBytes_GET_SIZE(sold_in)
        if device_id is not None:
            facts.device_id, facts.device_id_bytes = PyBytes_AS_STRING(device_id), <uint32_t>PyBytes_GET_SIZE(device_id)
        if first_activated_us is not None:
            facts.is_first_activated, facts.first_activated_us = True, first_activated_us
        self.decide(&resolution, &facts, &out)
        return (
            None if out.rule == NO_RULE else out.rule,
            out.effect,
            out.reason,
            None if out.shadow_rule == NO_RULE else out.shadow_rule,
            out.shadow_effect,
        )


def rollout_bucket(bytes salt not None, bytes key not None):
    """Return the bucket, 0 to 9,999, of a key: the first 8 bytes of SHA-256(salt ":" key), big-endian, modulo 10,000."""
    cdef Salt text
    text.text, text.size_bytes = PyBytes_AS_STRING(salt), <uint32_t>PyBytes_GET_SIZE(salt)
    return bucket_of(&text, PyBytes_AS_STRING(key), <uint32_t>PyBytes_GET_SIZE(key))
