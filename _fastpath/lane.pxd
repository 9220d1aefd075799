"""The face in C of the lane: the scanner of a request's head, and the answers of one generation."""

cimport cython
from cpython.ref cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from _fastpath.access cimport KeyRing
from _fastpath.ping cimport Ping
from _fastpath.texts cimport Composed, Texts

cdef enum:
    HEAD_BYTES_MAX = 8192
    HEAD_LINES_MAX = 64
    REQUEST_ID_MAX = 128
    # A body that the lane waits for; larger ones are streamed by the slow path.
    BODY_BYTES_MAX = 16384
    REMEMBERED_BYTES_MAX = 1024
    DATE_BYTES = 29
    EDGES_MAX = 32
    # How many connections one pass over the ready ones serves.
    READY_MAX = 256

# What the scanner says of the bytes from a request's first one on.
cdef enum Outcome:
    MORE = 0        # a beginning of an ODD or CANONICAL head
    CANONICAL       # every parser reads the head alike, and it asks for what the lane answers
    ODD             # its end is beyond doubt, but it is not the lane's to answer
    FOREIGN         # its end, or whether it has one, is for the slow path to say

cdef enum Route:
    RESOLVE = 0
    DECIDE
    ROUTES          # any other
    BATCH           # its head is read here, its pings elsewhere

# Why a request is not answered here; `REASON_WORDS` has the word of each.
cdef enum Reason:
    PLAIN = 0
    OTHER_PATH
    HOST
    CONNECTION
    HEADER
    LENGTH
    FRAMING
    LIMIT
    PING
    DRAINING
    FAULT
    ACCESS
    REASONS

# A head in place: `request_id`, `query` and `key` (the value of Authorization) lie in it.
# Only `head_bytes`, `body_bytes` and `has_bad_host` are set for an ODD one.
cdef struct Head:
    const char* query
    const char* request_id
    const char* key
    Py_ssize_t query_bytes
    Py_ssize_t head_bytes
    uint64_t body_bytes
    uint32_t request_id_bytes
    uint32_t key_bytes
    uint8_t route
    uint8_t reason
    uint8_t has_length
    uint8_t is_stream       # of a BATCH: lines, not an array
    uint8_t is_minimal      # of a BATCH: nothing is to be said of allowed pings
    uint8_t has_bad_host    # none, more than one, or one that is not of the lane's grammar

# Outside text[0:length] nothing is read.
cdef int scan(const char* text, Py_ssize_t length, Head* out) noexcept nogil

# The header lines that came last, up to and with the blank line: clients repeat theirs. What they come to is kept too.
cdef struct Remembered:
    char text[REMEMBERED_BYTES_MAX]
    Py_ssize_t size         # 0 without any
    Head head

# What requests are counted in beside the lane's own counts; NULL until there is shared memory for it. A histogram is a word
# for each edge, how many took at most so long and longer than the edge before; one for all longer ones; one for the
# nanoseconds of all.
cdef struct LaneCounters:
    uint64_t* answered[ROUTES]
    uint64_t* requests[ROUTES]
    uint64_t* histograms[ROUTES]
    uint64_t* declined
    uint64_t edges_ns[EDGES_MAX]
    uint32_t edge_count


# Answers in the lane's output that wait for the end of a pass.
cdef struct Waiting:
    Py_ssize_t begin
    Py_ssize_t end
    int descriptor


@cython.final
cdef class Lane:
    cdef readonly Texts texts
    cdef int _poll                      # an epoll descriptor, -1 where no connection is read here
    cdef PyObject** _readers            # by descriptor: the connections that are read here, each with a reference
    cdef Py_ssize_t _readers_size
    cdef char* _in
    cdef int64_t _began_ns              # when the segment, or the pass, began that is in hand
    cdef Waiting[READY_MAX] _waiting
    cdef int _waiting_count
    cdef char* _out
    cdef Py_ssize_t _used
    cdef Py_ssize_t _body_limit
    cdef Remembered _remembered
    cdef uint64_t[4] _random
    cdef uint64_t[ROUTES] _fresh        # answered and not counted yet
    cdef uint64_t[ROUTES] _answered
    cdef uint64_t[REASONS] _declined
    cdef LaneCounters _counters
    cdef char[DATE_BYTES] _date
    cdef tuple _held
    cdef public double idle_deadline
    cdef public bint is_draining
    # The longest array of pings that is taken here, -1 where batches are not.
    cdef public Py_ssize_t array_bytes_max
    cdef public Py_ssize_t waiting, refuse_from
    cdef readonly uint64_t refused, left
    cdef tuple _refusal, _bare_refusal, _spared
    cdef Head _batch
    cdef bytes _batch_id

    cdef int _keep_batch(self, const Head* head) except -1
    cdef public KeyRing keys     # None: who may connect may ask
    cdef object _tell            # is told of answered requests, those of a share; None: of none
    cdef uint64_t _told_below
    cdef const char* _told_id    # the request id in the answer that was written last

    cdef int _send_waiting(self) except -1
    cdef int _add_reader(self, int descriptor, LaneConnection connection) except -1
    cdef int _drop_reader(self, int descriptor) except -1
    cdef int _tell_answered(self, const Head* head, int64_t at_us) except -1
    cdef bint _refuses(self, const char* request, Py_ssize_t size)
    cdef int _scan(self, const char* text, Py_ssize_t length, Head* out) noexcept nogil
    cdef int _answer_one(self, const Head* head, const char* body, int64_t at_us)
    cdef void _count_answers(self, int64_t began_ns) noexcept nogil
    cdef void _count_declined(self, uint8_t reason) noexcept nogil
    cdef void _write(self, const Head* head, const Ping* ping, const Composed* composed) noexcept nogil


cdef class LaneConnection:
    cdef readonly Lane lane
    cdef public object transport
    cdef public double deadline
    cdef public bint is_elsewhere
    cdef public bint is_writing_paused
    cdef public bint may_be_queued
    cdef public bint has_asked
    cdef readonly bint is_read_here
    cdef int _socket
    cdef bytes _key              # what was shown last and is a key, with its row in the ring of that epoch
    cdef uint64_t _key_epoch
    cdef Py_ssize_t _key_row

    cdef bint _may_ask(self, KeyRing keys, const Head* head, int64_t at_us)
    cdef int _received_here(self, const char* text, Py_ssize_t size) except -1
    cdef int _offer(self, const char* text, Py_ssize_t size, bytes received) except -1
    cdef int _flush(self, Py_ssize_t begin) except -1
    cdef int _read_here(self) except -1
    cpdef int stop_reading_here(self) except -1
    cpdef int leave_to_transport(self) except -1
    cdef int _look_again(self, uint32_t events) except -1
    cdef int _break_off(self, error) except -1
    cdef int _send(self, const char* text, Py_ssize_t size, int flags) except -1
    cpdef int send_part(self, bytes part, bint as_chunk) except -1
    cpdef int offer(self, bytes received) except -1
