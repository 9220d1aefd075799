"""The face in C of the composed texts: a ping in, the text of its answer out."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from _fastpath.decision_log cimport DecisionLog
from _fastpath.engine cimport Answer, Engine
from _fastpath.ping cimport Ping
from _fastpath.policy_table cimport PolicyTable

cdef enum:
    # A text that a policy's message makes long; beyond it, the slow path answers.
    TEXT_BYTES_MAX = 16384
    # A longer `lang` is for the slow path.
    LANG_BYTES_MAX = 35
    NO_LANG = 0xFF

# All that an answer's text depends on but the ping's id. Compared as bytes: there is no padding. `epoch` counts the tables
# of the policy that were met, for what every answer of a table carries; it is 0 without one.
cdef struct Key:
    int32_t rule
    int32_t shadow_rule
    uint32_t epoch
    uint16_t region
    uint16_t country
    uint16_t subdivision
    uint16_t conflicts
    uint16_t reason
    uint8_t confidence
    uint8_t basis
    uint8_t invalid
    uint8_t is_decision
    uint8_t effect
    uint8_t shadow_effect
    uint8_t lang_bytes      # NO_LANG without one
    char lang[LANG_BYTES_MAX]

# A text and what it depends on, in one piece of memory: the text lies behind it.
cdef struct Composed:
    Key key
    uint64_t size

cdef struct Place:
    uint64_t hash
    Composed* composed      # NULL in an empty place


@cython.final
cdef class Texts:
    cdef readonly Engine engine
    cdef PolicyTable _table
    cdef uint32_t _epoch
    cdef object _compose
    cdef Place* _places
    cdef readonly uint64_t composed
    cdef public DecisionLog log     # None: decisions are not logged

    # A text holds until the next call. `lang` of the ping must have at most LANG_BYTES_MAX.
    cdef const Composed* resolved(self, const Ping* ping, int64_t at_us)
    cdef const Composed* decided(self, Ping* ping, int64_t at_us)
    cdef const Composed* _text_of(self, Key* key, const Ping* ping, const Answer* answer, PolicyTable table, int64_t at_us)
