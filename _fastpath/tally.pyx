"""What decisions are counted in: 64-bit words, in the process or in memory that it shares.

The hot path adds (`count_decision`, `count_resolution`), whoever watches reads; nothing is ever subtracted, and nothing
here knows the time. Words in shared memory have one writer: the process that decides. A reader in another process sees
each word whole, and may see a decision before its denial is added. Several threads of one process may lose a count of each
other's, and nothing worse.

Regions and rules are numbered anew by each generation, the words they are counted in are not: a table of places, which
comes with the words, stands between the two.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport UINT16_MAX, uintptr_t
from libc.stdlib cimport calloc, free

TOTAL_WORDS = TOTALS


@cython.final
@cython.auto_pickle(False)
cdef class Counters:
    """64-bit counters in writable memory, one for each whole eight bytes of it; the buffer is held as long as this is.

    Raises BufferError for memory that cannot be written, ValueError for memory that is not aligned to eight bytes.
    """

    def __cinit__(self, memory):
        PyObject_GetBuffer(memory, &self._view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self._is_held = True
        if <uintptr_t>self._view.buf % sizeof(uint64_t):
            raise ValueError("counters must lie at a multiple of eight bytes")
        self._words = <uint64_t*>self._view.buf
        self.count = self._view.len // <Py_ssize_t>sizeof(uint64_t)

    def __dealloc__(self):
        if self._is_held:
            PyBuffer_Release(&self._view)

    def read(self):
        """Return every count, as a list."""
        cdef Py_ssize_t i
        return [word_of(&self._words[i]) for i in range(self.count)]

    def reset(self):
        """Set every count to 0."""
        cdef Py_ssize_t i
        for i in range(self.count):
            set_word(&self._words[i], 0)


@cython.final
@cython.auto_pickle(False)
cdef class Tally:
    """The counts of one deciding process; until `count_in` is called two totals of its own, which begin at 0."""

    def __cinit__(self):
        self._totals = self._own

    def __dealloc__(self):
        free(self._region_places.place_of)
        free(self._rule_places.place_of)

    def read(self):
        """Return (decisions, denials) so far."""
        return word_of(&self._totals[DECIDED]), word_of(&self._totals[DENIED])

    def count_in(
        self, Counters totals not None, Counters signals not None, Counters conflicts not None, Counters regions not None,
        Counters rules not None, Counters shadow_rules not None, region_places, rule_places,
    ):
        """Count in these words from now on, which go on from what they hold.

        `totals`: decisions, denials. `signals`: a word for each signal (IP, serving, SIM) and status. `conflicts`: by bit.
        `regions`: a word for each place and effect; `rules`: by place, the first words for no rule; `shadow_rules` in the
        same way, where what is in shadow would have changed the decision. `region_places` gives the place of each region
        id, `rule_places` that of no rule and then of each position. Raises ValueError for too few words.
        """
        cdef Places region_table, rule_table
        if totals.count < TOTALS or signals.count < SIGNALS * STATUSES or conflicts.count < CONFLICTS:
            raise ValueError("too few words for totals, signals or conflicts")
        places_from(region_places, regions.count // EFFECTS, &region_table)
        try:
            places_from(rule_places, min(rules.count, shadow_rules.count), &rule_table)
        except BaseException:
            free(region_table.place_of)
            raise
        free(self._region_places.place_of)
        free(self._rule_places.place_of)
        self._region_places, self._rule_places = region_table, rule_table
        self._totals, self._signals, self._conflicts = totals._words, signals._words, conflicts._words
        self._regions, self._rules, self._shadow_rules = regions._words, rules._words, shadow_rules._words
        self._held = (totals, signals, conflicts, regions, rules, shadow_rules)

    cdef void count_evidence(self, const Evidence* evidence, const Resolution* resolution) noexcept nogil:
        cdef uint32_t conflicts = resolution.conflicts
        add(&self._signals[evidence.ip_status], 1)
        add(&self._signals[STATUSES + evidence.serving_status], 1)
        add(&self._signals[2 * STATUSES + evidence.home_status], 1)
        while conflicts:
            add(&self._conflicts[lowest_bit(conflicts)], 1)
            conflicts &= conflicts - 1

    cdef void count_verdict(self, const Resolution* resolution, const Verdict* verdict) noexcept nogil:
        add(&self._regions[EFFECTS * place_of(&self._region_places, resolution.region) + verdict.effect], 1)
        add(&self._rules[place_of(&self._rule_places, <uint32_t>(verdict.rule + 1))], 1)
        if verdict.shadow_effect != verdict.effect:
            add(&self._shadow_rules[place_of(&self._rule_places, <uint32_t>(verdict.shadow_rule + 1))], 1)


cdef inline uint32_t place_of(const Places* places, uint32_t number) noexcept nogil:
    return places.place_of[number] if number < places.count else 0


cdef int places_from(numbers, Py_ssize_t words, Places* out) except -1:
    """Copy a table of places, each of which must have its word."""
    cdef uint32_t i
    cdef list listed = list(numbers)
    if words < 1 or not all(0 <= place < min(words, UINT16_MAX) for place in listed):
        raise ValueError("a place without a word")
    out.count = <uint32_t>len(listed)
    out.place_of = <uint16_t*>calloc(out.count + 1, sizeof(uint16_t))
    if out.place_of == NULL:
        raise MemoryError
    for i in range(out.count):
        out.place_of[i] = listed[i]
    return 0
