"""The face in C of a whole decision: three parsed signals and a ping's facts in, resolution and verdict out."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t

from _fastpath.address cimport Address, Canonical
from _fastpath.digit_trie cimport DigitTrie, ParsedPlmn, Plmn
from _fastpath.fusion cimport Evidence, Fusion, Resolution
from _fastpath.overrides cimport Overrides
from _fastpath.policy_table cimport Facts, PolicyTable, Verdict
from _fastpath.prefix_trie cimport PrefixTrie
from _fastpath.tally cimport Tally

# What a ping says, parsed: a status of OK tells that the signal's field below it is filled in.
cdef struct Signals:
    Address address
    Plmn serving
    Plmn home
    uint8_t ip_status
    uint8_t serving_status
    uint8_t home_status

# What became of it. `serving_length` and `home_length` are the digits of the prefix that matched.
cdef struct Answer:
    Evidence evidence
    Resolution resolution
    Verdict verdict
    uint8_t serving_length
    uint8_t home_length

cdef int64_t now_ns() noexcept nogil
cpdef int64_t now_us() noexcept nogil


cdef class Decided:
    cdef Engine _engine
    cdef PolicyTable _table
    cdef Signals _signals
    cdef Answer _answer
    cdef readonly str id
    cdef readonly str lang
    cdef readonly list notices
    cdef object _sku
    cdef object _sold_in
    cdef object _device_id
    cdef int64_t _first_activated_us
    cdef int64_t _at_us
    cdef bint _is_first_activated
    cdef object _resolution
    cdef object _verdict
    cdef str _matched(self, const char* digits, uint8_t length)


@cython.final
cdef class Engine:
    cdef PrefixTrie _trie
    cdef DigitTrie _digits
    cdef Fusion _fusion
    cdef readonly object words
    cdef type _decided
    cdef object _table_at
    cdef object _instant_us
    cdef object _decide_odd
    cdef Tally _tally
    cdef PolicyTable _table
    cdef uint32_t _forgotten
    cdef Overrides _overrides
    cdef bint _has_overrides
    cdef uint32_t _ip_base
    cdef uint32_t _plmn_base
    # `out` must be zero before. `at_us`, in microseconds since the epoch, tells which overrides have expired.
    cdef void resolve(self, const Signals* signals, int64_t at_us, Answer* out) noexcept nogil
    cdef uint32_t _match(self, const Plmn* plmn, int64_t at_us, uint8_t* match_length) noexcept nogil
    # The whole way of a ping, as the policy's table of that instant decides: `facts` gets its statuses and home region here.
    cdef void answer(
        self, const Signals* signals, Facts* facts, PolicyTable table, int64_t at_us, Answer* out
    ) noexcept nogil
    # Count a decision as of now that was made by `answer`.
    cdef void count(self, const Answer* answer) noexcept nogil
    # An answer that was made without a Decided, as one.
    cdef Decided told(self, const Signals* signals, const Answer* answer, PolicyTable table, int64_t at_us, str lang)
    cdef PolicyTable _table_of(self, int64_t at_us)
    cdef Decided _new(self)
    cdef Decided _parsed(
        self, Canonical ip, bint ip_is_invalid, ParsedPlmn serving, bint serving_is_invalid, ParsedPlmn home, bint home_is_invalid
    )
    cdef int _finish(self, Decided decided, Facts* facts) except -1
