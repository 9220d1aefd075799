"""The face in C of a compiled policy: a resolution and a ping's facts in, one verdict out."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from _fastpath.fusion cimport Resolution

cdef enum:
    NO_RULE = -1
    BUCKETS = 10000
    ATTRIBUTES = 8
    MAX_MATCHERS = 16

cdef enum EffectId:
    ALLOW = 0
    DENY = 1
    REVIEW = 2

# What of a ping a policy may ask beside the resolution. Texts are UTF-8, of any length; NULL says not given, which is
# not the same as an empty text. `home_region` is the default candidate of the SIM's PLMN, 0 without one.
cdef struct Facts:
    const char* sku
    const char* sold_in
    const char* device_id
    uint32_t sku_bytes
    uint32_t sold_in_bytes
    uint32_t device_id_bytes
    uint16_t home_region
    uint8_t ip_status
    uint8_t serving_status
    uint8_t home_status
    uint8_t is_first_activated
    int64_t first_activated_us

# `rule` and `shadow_rule` are positions in the policy's file, NO_RULE for a default. `shadow_effect` is `effect` where
# nothing in shadow changes anything; `shadow_rule` is NO_RULE then. `reason` is an id that the compiler of the rows gave
# out.
cdef struct Verdict:
    int32_t rule
    int32_t shadow_rule
    uint16_t reason
    uint8_t effect
    uint8_t shadow_effect
    uint8_t is_low_confidence

# What holds where no rule matches: with a region, and without any.
cdef struct Default:
    uint8_t effect
    uint8_t on_unknown

cdef struct RuleFacts:
    int32_t position
    uint32_t salt
    uint16_t reason
    uint8_t effect
    uint8_t is_shadow

cdef struct Salt:
    const char* text
    uint32_t size_bytes

cdef struct TextSlot:
    uint64_t hash
    const char* text
    uint32_t size_bytes
    uint32_t value

# Texts to small integers, by open addressing; `not_found` is the value of every other text.
cdef struct TextMap:
    TextSlot* slots
    uint64_t mask
    uint32_t longest
    uint32_t not_found
    uint8_t folds_case

# A deterministic automaton over symbols, a symbol being a class of code points that no glob tells apart. A state is the
# offset of its cells: where each symbol leads, and in the last one its row. From `first_final` on, states lead to
# themselves.
cdef struct SkuMatcher:
    uint32_t* cells
    uint32_t* bounds
    uint16_t* symbols
    uint32_t bound_count
    uint32_t stride
    uint32_t first_final
    uint32_t missing_row
    uint16_t ascii[128]

# A row is a set of rules: a word of summary, in which a bit stands for 2**shift rules, then `fine_words` words with a
# bit for each rule. Up to 64 rules the summary is the set.
cdef struct Compiled:
    uint64_t* words
    uint32_t* row_of[ATTRIBUTES]
    uint32_t stride
    uint32_t fine_words
    uint32_t shift
    uint32_t enforced_row
    uint32_t place_count
    uint32_t cut_count
    uint32_t matcher_count
    int64_t* cuts_us
    RuleFacts* rules
    Salt* salts
    TextMap spellings
    TextMap devices
    SkuMatcher matchers[MAX_MATCHERS]
    uint16_t no_evidence
    uint16_t low_confidence
    Default enforced
    Default shadow
    uint8_t sure_enough

cdef struct Interval:
    const Compiled* compiled
    uint64_t* active
    uint64_t* steady
    uint16_t* limits

cdef class PolicyRows:
    cdef Compiled _compiled
    cdef list _kept
    cdef readonly Py_ssize_t rule_count
    cdef readonly Py_ssize_t place_count
    cdef int _read_attributes(self, dict numbers, attributes) except -1
    cdef int _read_matchers(self, dict numbers, matchers) except -1
    cdef int _read_rules(self, rules, salts) except -1
    cdef int _read_texts(self, TextMap* texts, mapping, uint32_t limit, uint32_t not_found, bint folds_case) except -1
    cdef int _write_row(self, uint64_t* row, members) except -1

cdef class PolicyTable:
    cdef Interval _interval
    cdef readonly PolicyRows rows
    cdef readonly int64_t valid_from
    cdef readonly int64_t valid_until
    cdef readonly tuple notices
    cdef void decide(self, const Resolution* resolution, const Facts* facts, Verdict* out) noexcept nogil
