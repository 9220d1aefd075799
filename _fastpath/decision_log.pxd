"""The face in C of the decision log: an answered ping in, its reduced record in a ring; later, lines of JSON out."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from _fastpath.address cimport Address
from _fastpath.digit_trie cimport Plmn
from _fastpath.engine cimport Answer, Decided, Engine, Signals
from _fastpath.fusion cimport Evidence, Resolution
from _fastpath.policy_table cimport ALLOW, Facts, PolicyTable, Verdict

# Which answers are logged.
cdef enum:
    EVERY = 0
    NOT_ALLOWED     # denials and reviews
    SAMPLED         # a share of all, by chance

# The texts of a record, in their order behind it, each as JSON writes it between its quotes.
cdef enum:
    ID = 0
    DEVICE_ID
    SKU
    SOLD_IN
    LANG
    TEXTS

cdef enum:
    TEXT_NOT_GIVEN = 0xFFFF

# An answered ping without what is personal: the address is cut to /24 or /48 (`network.family` 0: there is none), of an
# IMSI there are the digits that a `Plmn` has. `size` is that of the whole record in the ring, a multiple of 8.
cdef struct Record:
    uint64_t number
    int64_t at_us
    int64_t first_activated_us
    Address network
    Evidence evidence
    Resolution resolution
    Verdict verdict
    Plmn serving
    Plmn home
    uint32_t size
    uint32_t context
    uint16_t[TEXTS] text_bytes
    uint8_t serving_length
    uint8_t home_length
    uint8_t is_first_activated

# A fragment of JSON, made when it is first needed.
cdef struct Fragment:
    const char* text
    Py_ssize_t size

# What ids mean: a table of fragments for each kind of them.
cdef enum:
    REGION = 0
    RULE
    REASON
    NETWORK
    PLMN
    KINDS


@cython.final
cdef class LogWords:
    cdef readonly bytes head
    cdef Fragment _head
    cdef object _render
    cdef list _kept
    cdef Fragment* _fragments[KINDS]
    cdef Py_ssize_t[KINDS] _sizes
    cdef int _make(self, int kind, uint32_t id) except -1


@cython.final
cdef class DecisionLog:
    cdef char* _ring
    cdef char* _out
    cdef Py_ssize_t _out_room
    cdef Py_ssize_t _out_used
    cdef uint64_t _mask
    cdef uint64_t _written      # bytes that were ever put in; only the deciding thread changes it
    cdef uint64_t _read         # bytes that were ever taken out; only the writing thread does
    cdef uint64_t _number
    cdef uint64_t _dropped
    cdef uint64_t _threshold
    cdef uint64_t _random
    cdef int _mode
    cdef object _words_of
    cdef PolicyTable _table
    cdef uint32_t _context
    cdef dict _contexts
    cdef uint32_t _writing
    cdef LogWords _words
    # Whether an answer is to be logged. Cheap enough for every answer.
    cdef bint wants(self, const Verdict* verdict) noexcept nogil
    # Keep an answered ping; a full ring, or words that cannot be made, drop it and count it. `facts` hold the texts as JSON.
    cdef void note(
        self, Engine engine, PolicyTable table, const Signals* signals, const Facts* facts, const Answer* answer,
        const char* id, uint32_t id_bytes, const char* lang, uint32_t lang_bytes, int64_t at_us
    ) noexcept
    cdef int _enter(self, Engine engine, PolicyTable table) except -1
    cdef void _turn_to(self, uint32_t context)
    cdef int _next(self, Record* record) noexcept nogil
    cdef int _format(self, const Record* record, const char* texts) noexcept nogil
    cdef Fragment* _fragment(self, int kind, uint32_t id) noexcept nogil
