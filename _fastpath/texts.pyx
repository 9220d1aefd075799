# cython: boundscheck=False, wraparound=False
# Earned by `_places`, whose sets are a power of two and are numbered modulo that; and by the size of Key, which is checked.
"""The texts of answers: composed once for each distinct set of ids that the compiled engine gives.

They are composed by the same Python that answers on the slow path, so the compiled path and that one cannot differ. The
ping's own id is the first member of every document, and is put in front of the text by whoever writes the answer.

`Texts` belongs to one generation of data and policy and to one event loop: the lane and the batches share it.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memmove, memset

from _fastpath.fusion cimport INVALID
from _fastpath.tally cimport count_resolution

cdef extern from *:
    """
    static inline uint64_t texts_folded(uint64_t a, uint64_t b)
    {
        unsigned __int128 product = (unsigned __int128)a * b;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t texts_folded(uint64_t a, uint64_t b) noexcept nogil

cdef enum:
    # Texts that are kept: sets, a power of two of them, of so many places each that common texts do not push each other
    # out of one. About 80 bytes a text, and what it has.
    COMPOSED_SETS = 512
    SET_PLACES = 8
    KEY_WORDS = 8

# The members that stand before every text, in JSON; `id` is null where the ping has none.
cdef bytes NO_ID = b'{"id":null'


cdef inline uint64_t hash_of(const Key* key) noexcept nogil:
    """Mix the eight words of a key, two by two and side by side, by the halves of their products (as wyhash does)."""
    cdef uint64_t[KEY_WORDS] words
    memcpy(words, key, sizeof(words))
    return (
        texts_folded(words[0] ^ <uint64_t>0x9E3779B97F4A7C15, words[1] ^ <uint64_t>0xBF58476D1CE4E5B9)
        ^ texts_folded(words[2] ^ <uint64_t>0x94D049BB133111EB, words[3] ^ <uint64_t>0xD6E8FEB86659FD93)
        ^ texts_folded(words[4] ^ <uint64_t>0xA0761D6478BD642F, words[5] ^ <uint64_t>0xE7037ED1A0B428DB)
        ^ texts_folded(words[6] ^ <uint64_t>0x8EBC6AF09C88C6E3, words[7] ^ <uint64_t>0x589965CC75374CC3)
    )


cdef inline bint is_kept(const Place* place, uint64_t hash, const Key* key) noexcept nogil:
    """Tell whether a place has the text of a key; where the hashes are equal, the keys decide."""
    return place.composed != NULL and place.hash == hash and memcmp(&place.composed.key, key, sizeof(Key)) == 0


@cython.final
@cython.auto_pickle(False)
cdef class Texts:
    """The texts of an engine's answers; `compose(decided, is_decision)` gives an answer's JSON with `"id":null` first."""

    def __cinit__(self, Engine engine not None, compose):
        if sizeof(Key) != 8 * KEY_WORDS:
            raise AssertionError("the key has padding, which is compared")
        self.engine, self._table, self._compose = engine, None, compose
        self._places = <Place*>calloc(COMPOSED_SETS * SET_PLACES, sizeof(Place))
        if self._places == NULL:
            raise MemoryError

    def __dealloc__(self):
        cdef int i
        if self._places != NULL:
            for i in range(COMPOSED_SETS * SET_PLACES):
                free(self._places[i].composed)
        free(self._places)

    cdef const Composed* resolved(self, const Ping* ping, int64_t at_us):
        """Resolve a ping, count the resolution, and find the answer's text; NULL, and uncounted, when that failed."""
        cdef Answer answer
        cdef Key key
        cdef const Composed* composed
        memset(&answer, 0, sizeof(Answer))
        memset(&key, 0, sizeof(Key))
        self.engine.resolve(&ping.signals, at_us, &answer)
        composed = self._text_of(&key, ping, &answer, None, at_us)
        if composed != NULL:
            count_resolution(self.engine._tally, &answer.evidence, &answer.resolution)
        return composed

    cdef const Composed* decided(self, Ping* ping, int64_t at_us):
        """Decide on a ping, count the decision, log it, and find the answer's text; NULL, and nothing of it, when that failed."""
        cdef Answer answer
        cdef Key key
        cdef const Composed* composed
        cdef PolicyTable table = self.engine._table_of(at_us)
        memset(&answer, 0, sizeof(Answer))
        memset(&key, 0, sizeof(Key))
        if table is not self._table:
            self._table = table
            self._epoch += 1
        self.engine.answer(&ping.signals, &ping.facts, table, at_us, &answer)
        key.is_decision, key.epoch = True, self._epoch
        key.rule, key.effect, key.reason = answer.verdict.rule, answer.verdict.effect, answer.verdict.reason
        key.shadow_rule, key.shadow_effect = answer.verdict.shadow_rule, answer.verdict.shadow_effect
        key.lang_bytes = NO_LANG
        if ping.lang != NULL:
            key.lang_bytes = <uint8_t>ping.lang_bytes
            memcpy(key.lang, ping.lang, ping.lang_bytes)
        composed = self._text_of(&key, ping, &answer, table, at_us)
        if composed != NULL:
            self.engine.count(&answer)
            if self.log is not None and self.log.wants(&answer.verdict):
                # The ping's texts are JSON as they are: they have no escapes, and nothing that would need one.
                self.log.note(
                    self.engine, table, &ping.signals, &ping.facts, &answer,
                    ping.id, ping.id_bytes, ping.lang, ping.lang_bytes, at_us,
                )
        return composed

    cdef const Composed* _text_of(self, Key* key, const Ping* ping, const Answer* answer, PolicyTable table, int64_t at_us):
        """Complete the key, and find its text, composing it when it is not kept; NULL when that failed."""
        cdef uint64_t hash
        cdef Place* places
        cdef int i
        cdef Composed* composed
        cdef Py_ssize_t size
        cdef bytes text
        key.region, key.country, key.subdivision = (
            answer.resolution.region, answer.resolution.country, answer.resolution.subdivision
        )
        key.conflicts, key.confidence, key.basis = (
            answer.resolution.conflicts, answer.resolution.confidence, answer.resolution.basis
        )
        key.invalid = (
            (ping.signals.ip_status == INVALID) | (ping.signals.serving_status == INVALID) << 1
            | (ping.signals.home_status == INVALID) << 2
        )
        hash = hash_of(key)
        places = &self._places[(hash & (COMPOSED_SETS - 1)) * SET_PLACES]
        for i in range(SET_PLACES):
            if is_kept(&places[i], hash, key):
                return places[i].composed
        lang = None if ping.lang == NULL else ping.lang[:ping.lang_bytes].decode("ascii")
        try:
            text = self._compose(self.engine.told(&ping.signals, answer, table, at_us, lang), key.is_decision)
        except Exception:  # the slow path answers, and tells what is wrong
            return NULL
        if not text.startswith(NO_ID) or len(text) > TEXT_BYTES_MAX:
            return NULL
        size = len(text) - len(NO_ID)
        composed = <Composed*>malloc(sizeof(Composed) + size)
        if composed == NULL:
            return NULL
        composed.key, composed.size = key[0], <uint64_t>size
        memcpy(<char*>(composed + 1), PyBytes_AS_STRING(text) + len(NO_ID), size)
        # The newest goes to the front of its set, and the oldest goes.
        free(places[SET_PLACES - 1].composed)
        memmove(&places[1], places, (SET_PLACES - 1) * sizeof(Place))
        places.hash, places.composed = hash, composed
        self.composed += 1
        return composed
