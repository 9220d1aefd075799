"""The face in C of the load generator: nobody but Python calls it."""

cimport cython
from libc.stddef cimport size_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef enum:
    # HdrHistogram's layout for 1 ns to one hour in three significant digits: 32 buckets of 2,048 places, of which the
    # lower half of each but the first is the bucket before it.
    HISTOGRAM_PLACES = 33 * 1024
    # Powers of two in 128 parts each: what a window needs, small enough to be cleared every 20 ms.
    WINDOW_PLACES = 40 * 128
    STATUS_END = 1000
    KINDS_MAX = 8
    MEMBERS_MAX = 8
    SAMPLES = 64
    SAMPLE_BYTES_MAX = 16384
    ERRORS = 9

# When requests are due: `from_per_s` during the warm-up, then a straight line to `to_per_s` at the end.
cdef struct Schedule:
    double from_per_s
    double to_per_s
    double warm_up_s
    double seconds
    double passed           # how many requests, of a stream of one a unit, until now
    uint64_t random
    bint is_poisson

# A request under way.
cdef struct Asked:
    int64_t planned_ns
    int64_t sent_ns
    int64_t own_ns          # the longest delay by the generator that may have met it
    uint32_t request

cdef struct Connection:
    int socket              # -1: none
    bint is_open
    bint wants_room         # epoll is to tell when the socket takes bytes
    bint in_ring
    bint has_carried        # an answer
    int under_way
    int first               # of `asked`, a ring
    int64_t free_since_ns   # at the latest; see `Client._ask`
    int64_t retry_ns
    int64_t backoff_ns
    Asked* asked
    char* buffer
    size_t have
    size_t room
    char* unsent
    size_t unsent_bytes
    size_t unsent_room

# What stands at the begin of some bytes.
cdef struct Answer:
    int status
    size_t used             # with interim answers before it
    char* body
    size_t body_bytes
    bint closes

cdef struct Expected:
    int status
    int members
    const char* member[MEMBERS_MAX]
    size_t member_bytes[MEMBERS_MAX]

# Single producer (the engine), single consumer (whoever holds the GIL).
cdef struct Sample:
    uint32_t request
    uint32_t bytes
    char body[SAMPLE_BYTES_MAX]

# Growing totals with one writer; aligned words, so a reader sees each of them whole.
cdef struct Totals:
    uint64_t planned
    uint64_t counted_planned    # behind the warm-up
    uint64_t sent
    uint64_t answered
    uint64_t counted        # of the answered as expected: planned behind the warm-up
    uint64_t in_time        # of those: before the plan's end
    uint64_t unfinished
    uint64_t opened         # connections
    uint64_t closed_idle
    uint64_t sent_bytes
    uint64_t received_bytes
    uint64_t turns
    uint64_t idle_ns        # in turns that found nothing to do
    uint64_t errors[ERRORS]
    uint64_t statuses[STATUS_END]
    uint64_t kinds[KINDS_MAX]
    int64_t sum_ns
    int64_t latency_max_ns
    int64_t at_least_max_ns
    int64_t own_max_ns


@cython.final
cdef class Client:
    cdef object _kept
    cdef const char** _request
    cdef uint32_t* _request_bytes
    cdef uint8_t* _request_kind
    cdef uint32_t _requests
    cdef uint32_t _next_request
    cdef Expected _expected[KINDS_MAX]
    cdef char _address[128]
    cdef uint32_t _address_bytes
    cdef int _family
    cdef int _epoll
    cdef Connection* _connections
    cdef int _count
    cdef int _pipeline
    cdef int* _ring
    cdef int _ring_begin
    cdef int _ring_used
    cdef int _open
    cdef int64_t _under_way
    cdef Schedule _schedule
    cdef bint _is_closed_loop
    cdef uint64_t _requests_max
    cdef int64_t _timeout_ns
    cdef size_t _answer_bytes_max
    cdef volatile int _is_stopped
    cdef volatile int _phase
    cdef int _connect_errno
    cdef int64_t _start_ns
    cdef int64_t _count_from_ns
    cdef int64_t _end_ns
    cdef int64_t _finish_ns
    cdef int64_t _polled_ns     # when epoll was last asked and told of everything
    cdef int64_t _worst_ns      # the longest own delay that may still be felt
    cdef int64_t _worst_level   # of requests under way: below it, it is over
    cdef int64_t* _latency
    cdef int64_t* _at_least
    cdef int64_t* _own
    cdef uint32_t* _window      # of latencies, and behind them of what is sure of them
    cdef uint32_t _window_count
    cdef int64_t _window_end_ns
    cdef int64_t* _window_p99_ns    # pairs of the same
    cdef size_t _windows
    cdef size_t _windows_room
    cdef Sample* _samples
    cdef uint64_t _sample_head
    cdef uint64_t _sample_tail
    cdef int64_t _sample_after_ns
    cdef int _swept
    cdef Totals _totals

    cdef bint _set_address(self, int family, bytes host, int port) except False
    cdef int _run(self) noexcept nogil
    cdef void _connect_all(self) noexcept nogil
    cdef void _connect(self, Connection* c, int64_t now_ns) noexcept nogil
    cdef void _opened(self, Connection* c, int64_t now_ns) noexcept nogil
    cdef void _drop(self, Connection* c, int first, int others, int64_t now_ns) noexcept nogil
    cdef void _give_up(self, int64_t planned_ns, int64_t now_ns) noexcept nogil
    cdef void _offer(self, Connection* c) noexcept nogil
    cdef Connection* _take(self) noexcept nogil
    cdef void _ask(self, Connection* c, int count, int64_t planned_ns, int64_t now_ns) noexcept nogil
    cdef bint _transmit(self, Connection* c, const char* begin, size_t size, int64_t now_ns) noexcept nogil
    cdef bint _keep_unsent(self, Connection* c, const char* begin, size_t size) noexcept nogil
    cdef void _watch(self, Connection* c, int operation) noexcept nogil
    cdef void _flush(self, Connection* c, int64_t now_ns) noexcept nogil
    cdef void _hear(self, Connection* c) noexcept nogil
    cdef int _read_answers(self, Connection* c, bint is_end, int64_t at_ns) noexcept nogil
    cdef int _check(self, const Answer* answer, uint32_t request) noexcept nogil
    cdef void _sample(self, const Answer* answer, uint32_t request, int64_t at_ns) noexcept nogil
    cdef void _record(self, int64_t planned_ns, int64_t own_ns, int64_t at_ns) noexcept nogil
    cdef void _close_window(self) noexcept nogil
    cdef void _sweep(self, int64_t now_ns) noexcept nogil
