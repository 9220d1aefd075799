"""A whole decision in process: the order of the calls on the hot path.

`Engine.resolve` is the way of a ping in one function: address and digits (parsed by the caller) - the operator's overrides
where the generation has some, else prefix trie and digit trie - evidence - fusion; `PolicyTable.decide` follows it. It
reads no clock: the instant at which overrides are looked at is its parameter.

`Engine.decide` is the library's entry: it parses plain text fields in place and hands every odd ping (mappings, a date of
activation, `strict`, texts that are not ASCII) to Python, which parses them and comes back through
`Engine.decide_parsed`. Both end in the same two calls.

An answer is a `Decided`: the structs of the hot path, made into words only when somebody asks. It keeps the engine and the
policy table that it was made with, so a later reload changes nothing in it, and what the policy was asked with, so that
the answer can be explained later. Of an IMSI it has the first six digits, like everything behind the parser.
"""

cimport cython
from cpython.object cimport PyObject, PyTypeObject
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t
from libc.string cimport memset
from posix.time cimport CLOCK_REALTIME, clock_gettime, timespec

from _fastpath.address cimport Canonical, parse_text
from _fastpath.digit_trie cimport ParsedPlmn, Plmn, plmn_from_text
from _fastpath.fusion cimport INVALID, NON_GEOGRAPHIC, NOT_FOUND, OK, RESERVED, UNASSIGNED, PlmnFacts
from _fastpath.policy_table cimport NO_RULE
from _fastpath.tally cimport count_decision, count_resolution

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)

cdef enum:
    # Longest text of a field that is echoed or matched (id, device_id, sku ...): far above what back ends send.
    FIELD_CHARACTERS_MAX = 256
    # The values of PLMN rows have 16 bits.
    PLMN_VALUES_MAX = 0x10000

MAX_FIELD_CHARACTERS = FIELD_CHARACTERS_MAX

cdef tuple NO_ARGUMENTS = ()


cdef int64_t now_ns() noexcept nogil:
    """Read the clock: the only place that does. Nanoseconds since the epoch."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


cpdef int64_t now_us() noexcept nogil:
    """Give the present instant in microseconds since the epoch."""
    return now_ns() // 1000


cdef inline bint is_plain(object field) noexcept:
    """Tell whether a field is absent, or a short ASCII text that can be read in place."""
    return field is None or (
        type(field) is str and PyUnicode_IS_ASCII(field) and PyUnicode_GET_LENGTH(field) <= FIELD_CHARACTERS_MAX
    )


cdef inline const char* text_of(object field) noexcept:
    """The bytes of a plain text, NULL without one."""
    return NULL if field is None else <const char*>PyUnicode_DATA(field)


cdef inline uint32_t size_of(object field) noexcept:
    return 0 if field is None else <uint32_t>PyUnicode_GET_LENGTH(field)


cdef inline uint8_t plmn_status(const PlmnFacts* row, uint32_t value) noexcept nogil:
    """Row 8 of the table: what a PLMN is worth before it is weighed."""
    if value == 0:
        return UNASSIGNED
    return OK if row.candidate_count else NON_GEOGRAPHIC


@cython.auto_pickle(False)
cdef class Decided:
    """One answer, in ids; the library's `Decision` derives from it and puts it into words."""

    def __init__(self):
        """Refuse: answers come from an Engine."""
        raise TypeError("an answer is made by an Engine")

    @property
    def words(self):
        """What puts the ids into words, as the engine was given it."""
        return self._engine.words

    @property
    def resolution_ids(self):
        """(region, country, subdivision, conflicts, confidence in hundredths, basis, used, row), as Fusion.resolve."""
        cdef Resolution* found = &self._answer.resolution
        return (
            found.region, found.country, found.subdivision, found.conflicts,
            found.confidence, found.basis, found.used, found.row,
        )

    @property
    def verdict_ids(self):
        """(rule or None, effect, reason, shadow rule or None, shadow effect), as PolicyTable.verdict."""
        cdef Verdict* found = &self._answer.verdict
        return (
            None if found.rule == NO_RULE else found.rule, found.effect, found.reason,
            None if found.shadow_rule == NO_RULE else found.shadow_rule, found.shadow_effect,
        )

    @property
    def asked(self):
        """(sku, sold_in, device_id, first_activated_us or None, at_us): with what the policy was asked, and as of when.

        The texts are as they came: str, or UTF-8 bytes from `decide_parsed`; None where not given.
        """
        return (
            self._sku, self._sold_in, self._device_id, self._first_activated_us if self._is_first_activated else None, self._at_us
        )

    @property
    def effect_id(self):
        """The id of the effect (`policy_table.EFFECT_IDS`)."""
        return self._answer.verdict.effect

    @property
    def region_id(self):
        """The id of the region, 0 for none."""
        return self._answer.resolution.region

    @property
    def confidence(self):
        """How sure the region is, in [0, 1]."""
        return self._answer.resolution.confidence / 100

    @property
    def ip_evidence(self):
        """(status, value of the index, canonical address or None)."""
        cdef Canonical canonical = None
        if self._signals.ip_status == OK:
            canonical = Canonical.__new__(Canonical)
            canonical._address = self._signals.address
        return self._answer.evidence.ip_status, self._answer.evidence.ip_value, canonical

    @property
    def serving_evidence(self):
        """(status, value of the PLMN table, digits that matched)."""
        return self._answer.evidence.serving_status, self._answer.evidence.serving_value, self._matched(
            self._signals.serving.digits, self._answer.serving_length
        )

    @property
    def home_evidence(self):
        """(status, value of the PLMN table, digits that matched)."""
        return self._answer.evidence.home_status, self._answer.evidence.home_value, self._matched(
            self._signals.home.digits, self._answer.home_length
        )

    cdef str _matched(self, const char* digits, uint8_t length):
        return digits[:length].decode("ascii") if length else None

    @property
    def rows(self):
        """The PolicyRows that decided, None without a policy."""
        return None if self._table is None else self._table.rows

    @property
    def standing_notices(self):
        """The notices of the policy's table, which every answer of it carries; none without a policy."""
        return () if self._table is None else self._table.notices

    @property
    def cached_resolution(self):
        """What the library made of the resolution, None before it was asked."""
        return self._resolution

    @cached_resolution.setter
    def cached_resolution(self, value):
        self._resolution = value

    @property
    def cached_verdict(self):
        """What the library made of the verdict, None before it was asked."""
        return self._verdict

    @cached_verdict.setter
    def cached_verdict(self, value):
        self._verdict = value


@cython.final
@cython.auto_pickle(False)
cdef class Engine:
    """One generation on the hot path: index, PLMN table, overrides, fusion, and the policy's table of the present interval.

    `decided` is the class of the answers, a subclass of Decided; `words`, which puts ids into words, is kept for it.
    `table_at(us)` gives the PolicyTable of an instant in microseconds; it is called when the present one has run out.
    `instant_us(at)` gives the microseconds of an instant that a ping is to be decided at. `decide_odd(engine, **fields)` answers
    what is not plain. `tally` counts what is asked as of now, and no replay of a given instant.
    `overrides` (None: there are none) are numbered on behind the values of the index and of the PLMN table.
    """

    def __cinit__(
        self, PrefixTrie trie not None, DigitTrie digits not None, Fusion fusion not None, type decided not None, words,
        table_at, instant_us, decide_odd, Tally tally not None, Overrides overrides=None,
    ):
        cdef uint32_t network_count = 0
        cdef uint32_t plmn_count = 0
        if not issubclass(decided, Decided):
            raise TypeError("answers must derive from Decided")
        if overrides is not None:
            network_count, plmn_count = overrides.network_count, overrides.plmn_count
        # Override 1 has the value behind the last one of its table.
        self._ip_base, self._plmn_base = trie.value_count - 1, digits._malformed - 1
        if fusion.ip_count < trie.value_count + network_count or fusion.plmn_count < digits._malformed + plmn_count:
            raise ValueError("the fusion's tables do not cover the values of the tries and the overrides")
        if fusion.plmn_count > PLMN_VALUES_MAX:
            raise ValueError(f"{fusion.plmn_count} PLMN rows, at most {PLMN_VALUES_MAX} can be told apart")
        self._overrides, self._has_overrides = overrides, overrides is not None
        self._trie, self._digits, self._fusion = trie, digits, fusion
        self._decided, self.words = decided, words
        self._table_at, self._instant_us, self._decide_odd = table_at, instant_us, decide_odd
        self._tally = tally
        self._table = None

    def forget_table(self):
        """Ask `table_at` again at the next decision: the tables that it gives have changed."""
        self._forgotten += 1
        self._table = None

    def decide(
        self, *, ip=None, serving=None, sim=None, sku=None, sold_in=None, device_id=None, first_activated_at=None,
        lang=None, at=None, id=None, bint strict=False,
    ):
        """Decide on a ping of plain texts; anything else goes to `decide_odd` with the same fields."""
        cdef Decided decided
        cdef Signals* signals
        cdef Facts facts
        if (
            strict or first_activated_at is not None
            or not (is_plain(ip) and is_plain(serving) and is_plain(sim))
            or not (is_plain(sku) and is_plain(sold_in) and is_plain(device_id) and is_plain(lang) and is_plain(id))
            or (ip is None and serving is None and sim is None)
        ):
            return self._decide_odd(
                self, ip=ip, serving=serving, sim=sim, sku=sku, sold_in=sold_in, device_id=device_id,
                first_activated_at=first_activated_at, lang=lang, at=at, id=id, strict=strict,
            )
        decided = self._new()
        signals = &decided._signals
        if ip is not None:
            signals.ip_status = OK if parse_text(text_of(ip), size_of(ip), &signals.address) == 0 else INVALID
        if serving is not None:
            signals.serving_status = (
                OK if plmn_from_text(text_of(serving), size_of(serving), False, False, &signals.serving) == 0 else INVALID
            )
        if sim is not None:
            signals.home_status = OK if plmn_from_text(text_of(sim), size_of(sim), True, False, &signals.home) == 0 else INVALID
        memset(&facts, 0, sizeof(Facts))
        facts.sku, facts.sku_bytes = text_of(sku), size_of(sku)
        facts.sold_in, facts.sold_in_bytes = text_of(sold_in), size_of(sold_in)
        facts.device_id, facts.device_id_bytes = text_of(device_id), size_of(device_id)
        decided.id, decided.lang = id, lang
        decided._sku, decided._sold_in, decided._device_id = sku, sold_in, device_id
        decided._at_us = now_us() if at is None else self._instant_us(at)
        self._finish(decided, &facts)
        if at is None:
            self.count(&decided._answer)
        return decided

    def decide_parsed(
        self, Canonical ip, bint ip_is_invalid, ParsedPlmn serving, bint serving_is_invalid, ParsedPlmn home,
        bint home_is_invalid, list notices, *, bytes sku=None, bytes sold_in=None, bytes device_id=None,
        first_activated_us=None, str lang=None, str id=None, at_us=None,
    ):
        """Decide on a ping that Python has parsed, as the policy stands at `at_us` (None: now)."""
        cdef Decided decided = self._parsed(ip, ip_is_invalid, serving, serving_is_invalid, home, home_is_invalid)
        cdef Facts asked
        memset(&asked, 0, sizeof(Facts))
        if sku is not None:
            asked.sku, asked.sku_bytes = sku, len(sku)
        if sold_in is not None:
            asked.sold_in, asked.sold_in_bytes = sold_in, len(sold_in)
        if device_id is not None:
            asked.device_id, asked.device_id_bytes = device_id, len(device_id)
        if first_activated_us is not None:
            asked.is_first_activated, asked.first_activated_us = True, first_activated_us
            decided._is_first_activated, decided._first_activated_us = True, asked.first_activated_us
        decided.id, decided.lang, decided.notices = id, lang, notices
        decided._sku, decided._sold_in, decided._device_id = sku, sold_in, device_id
        decided._at_us = now_us() if at_us is None else at_us
        self._finish(decided, &asked)
        if at_us is None:
            self.count(&decided._answer)
        return decided

    def resolve_parsed(
        self, Canonical ip, bint ip_is_invalid, ParsedPlmn serving, bint serving_is_invalid, ParsedPlmn home,
        bint home_is_invalid, list notices, *, at_us=None,
    ):
        """Resolve a ping that Python has parsed at `at_us` (None: now), without the policy: its verdict is empty."""
        cdef Decided decided = self._parsed(ip, ip_is_invalid, serving, serving_is_invalid, home, home_is_invalid)
        decided.notices = notices
        self.resolve(&decided._signals, now_us() if at_us is None else at_us, &decided._answer)
        if at_us is None:
            count_resolution(self._tally, &decided._answer.evidence, &decided._answer.resolution)
        return decided

    cdef Decided _parsed(
        self, Canonical ip, bint ip_is_invalid, ParsedPlmn serving, bint serving_is_invalid, ParsedPlmn home, bint home_is_invalid
    ):
        cdef Decided decided = self._new()
        cdef Signals* signals = &decided._signals
        if ip is not None:
            signals.ip_status, signals.address = OK, ip._address
        elif ip_is_invalid:
            signals.ip_status = INVALID
        if serving is not None:
            signals.serving_status, signals.serving = OK, serving.plmn
        elif serving_is_invalid:
            signals.serving_status = INVALID
        if home is not None:
            signals.home_status, signals.home = OK, home.plmn
        elif home_is_invalid:
            signals.home_status = INVALID
        return decided

    cdef Decided _new(self):
        """Make an empty answer; the memory of a new object is zero, so every status is ABSENT."""
        cdef Decided decided = <Decided>(<PyTypeObject*>self._decided).tp_new(self._decided, <PyObject*>NO_ARGUMENTS, NULL)
        decided._engine = self
        return decided

    cdef PolicyTable _table_of(self, int64_t at_us):
        """The policy's table of an instant; the present one is kept, so a ping reads no calendar."""
        cdef PolicyTable table = self._table
        cdef uint32_t forgotten
        if table is None or at_us < table.valid_from or (at_us >= table.valid_until and table.valid_until != INT64_MAX):
            forgotten = self._forgotten
            table = self._table_at(at_us)
            # Another thread may have called `forget_table` meanwhile: then this table is good for this one answer only.
            if forgotten == self._forgotten:
                self._table = table
        return table

    cdef int _finish(self, Decided decided, Facts* facts) except -1:
        """Decide by the table of the instant, and keep it."""
        cdef PolicyTable table = self._table_of(decided._at_us)
        decided._table = table
        self.answer(&decided._signals, facts, table, decided._at_us, &decided._answer)
        return 0

    cdef Decided told(self, const Signals* signals, const Answer* answer, PolicyTable table, int64_t at_us, str lang):
        """Make an answer of the structs, for whoever puts it into words."""
        cdef Decided decided = self._new()
        decided._signals, decided._answer = signals[0], answer[0]
        decided._table, decided._at_us, decided.lang = table, at_us, lang
        return decided

    cdef void count(self, const Answer* answer) noexcept nogil:
        count_decision(self._tally, &answer.evidence, &answer.resolution, &answer.verdict)

    cdef void answer(
        self, const Signals* signals, Facts* facts, PolicyTable table, int64_t at_us, Answer* out
    ) noexcept nogil:
        """Resolve, tell the policy what the signals were worth, and let it decide."""
        self.resolve(signals, at_us, out)
        facts.ip_status = out.evidence.ip_status
        facts.serving_status = out.evidence.serving_status
        facts.home_status = out.evidence.home_status
        if out.evidence.home_status == OK:
            facts.home_region = self._fusion._plmns[out.evidence.home_value].candidates[0]
        table.decide(&out.resolution, facts, &out.verdict)

    cdef void resolve(self, const Signals* signals, int64_t at_us, Answer* out) noexcept nogil:
        """The data's way: overrides, tries, evidence, fusion."""
        cdef Evidence* evidence = &out.evidence
        cdef uint32_t override = 0
        evidence.ip_status = signals.ip_status
        evidence.serving_status = signals.serving_status
        evidence.home_status = signals.home_status
        if signals.ip_status == OK:
            if self._has_overrides:
                override = self._overrides.find_network(&signals.address, at_us)
            if override:
                # Also for a special-purpose address: who names such a network in an override means it.
                self._overrides.count_network(override)
                evidence.ip_value = self._ip_base + override
            elif signals.address.special:
                evidence.ip_status = RESERVED
            else:
                # Every value of the index has its place in the fusion's table (Vocabulary makes both).
                evidence.ip_value = self._trie.find_value(&signals.address)
                if self._fusion._ips[evidence.ip_value].country == 0:
                    evidence.ip_status = NOT_FOUND
        if signals.serving_status == OK:
            evidence.serving_value = self._match(&signals.serving, at_us, &out.serving_length)
            evidence.serving_status = plmn_status(&self._fusion._plmns[evidence.serving_value], evidence.serving_value)
        if signals.home_status == OK:
            evidence.home_value = self._match(&signals.home, at_us, &out.home_length)
            evidence.home_status = plmn_status(&self._fusion._plmns[evidence.home_value], evidence.home_value)
        self._fusion.fuse(evidence, &out.resolution)

    cdef inline uint32_t _match(self, const Plmn* plmn, int64_t at_us, uint8_t* match_length) noexcept nogil:
        """The value of the longest prefix of the PLMN table and the overrides; of equal ones the override's."""
        cdef uint32_t value = self._digits.longest_match(plmn, match_length)
        cdef uint32_t override
        cdef uint8_t override_length
        if self._has_overrides:
            override = self._overrides.find_plmn(plmn, at_us, &override_length)
            if override and override_length >= match_length[0]:
                self._overrides.count_plmn(override)
                match_length[0] = override_length
                return self._plmn_base + override
        return value
