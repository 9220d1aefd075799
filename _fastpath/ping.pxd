"""The face in C of a ping as a client writes it: a query string or a JSON body in, parsed signals and facts out."""

from libc.stdint cimport uint8_t, uint32_t

from _fastpath.engine cimport Signals
from _fastpath.policy_table cimport Facts

cdef enum:
    # What a query's value may have, decoded; the longest address has 45, the longest PLMN or IMSI 15.
    QUERY_VALUE_MAX = 64
    # `lang` and `id` are kept where they are read; a text of more characters than FIELD_CHARACTERS_MAX is declined.
    UNKNOWN_FIELDS_MAX = 8

# The texts of `facts`, `id` and `lang` lie in the body that was read; NULL says not given, which is not an empty text.
# The statuses of `facts` and its home region are the engine's to fill in.
cdef struct Ping:
    Signals signals
    Facts facts
    const char* id
    const char* lang
    uint32_t id_bytes
    uint32_t lang_bytes

# Each is 0, or -1 for whatever is not exactly of the subset: `out` then holds nothing. Neither reads outside the length.
cdef int ping_from_query(const char* text, Py_ssize_t length, Ping* out) noexcept nogil
cdef int ping_from_json(const char* text, Py_ssize_t length, Ping* out) noexcept nogil
# The same where more bytes are readable behind the text, which is faster: `readable` counts them from its beginning on.
cdef int ping_within(const char* text, Py_ssize_t length, Py_ssize_t readable, Ping* out) noexcept nogil
# The same of the object at the beginning: how many bytes it has, or -1. What stands behind it makes no difference.
cdef Py_ssize_t ping_at(const char* text, Py_ssize_t length, Py_ssize_t readable, Ping* out) noexcept nogil
