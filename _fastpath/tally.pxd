"""The face in C of the counts: words in shared memory, and what a decision adds to them; no lock, no clock."""

cimport cython
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from _fastpath.fusion cimport Evidence, Resolution
from _fastpath.policy_table cimport DENY, Verdict

cdef extern from * nogil:
    """
    /* A load and a store of their own: one writer, and readers that see each word whole. */
    #define word_of(word) __atomic_load_n((word), __ATOMIC_RELAXED)
    #define set_word(word, number) __atomic_store_n((word), (number), __ATOMIC_RELAXED)
    #define lowest_bit(bits) __builtin_ctz(bits)
    """
    uint64_t word_of(uint64_t* word)
    void set_word(uint64_t* word, uint64_t number)
    int lowest_bit(uint32_t bits)

cdef enum:
    SIGNALS = 3
    STATUSES = 7
    CONFLICTS = 10
    EFFECTS = 3

# The places of the two totals.
cdef enum:
    DECIDED = 0
    DENIED
    TOTALS


cdef inline void add(uint64_t* word, uint64_t number) noexcept nogil:
    set_word(word, word_of(word) + number)


@cython.final
cdef class Counters:
    cdef Py_buffer _view
    cdef bint _is_held
    cdef uint64_t* _words
    cdef readonly Py_ssize_t count


# Where each id of a generation is counted; an id that is not listed is counted at place 0.
cdef struct Places:
    uint16_t* place_of
    uint32_t count


# `_signals` and what follows it are NULL until `count_in` was called.
@cython.final
cdef class Tally:
    cdef uint64_t[TOTALS] _own
    cdef uint64_t* _totals
    cdef uint64_t* _signals
    cdef uint64_t* _conflicts
    cdef uint64_t* _regions
    cdef uint64_t* _rules
    cdef uint64_t* _shadow_rules
    cdef Places _region_places
    cdef Places _rule_places
    cdef tuple _held
    # Add what was found out of the signals: of a decision, and of a resolution that no policy was asked about.
    cdef void count_evidence(self, const Evidence* evidence, const Resolution* resolution) noexcept nogil
    cdef void count_verdict(self, const Resolution* resolution, const Verdict* verdict) noexcept nogil


cdef inline void count_resolution(Tally tally, const Evidence* evidence, const Resolution* resolution) noexcept nogil:
    """Add one resolution that no policy was asked about."""
    if tally._signals != NULL:
        tally.count_evidence(evidence, resolution)


cdef inline void count_decision(
    Tally tally, const Evidence* evidence, const Resolution* resolution, const Verdict* verdict
) noexcept nogil:
    """Add one decision."""
    add(&tally._totals[DECIDED], 1)
    add(&tally._totals[DENIED], verdict.effect == DENY)
    if tally._signals != NULL:
        tally.count_evidence(evidence, resolution)
        tally.count_verdict(resolution, verdict)
