# cython: boundscheck=False, wraparound=False, cdivision=True
# Earned by `scan_answer`, which compares before every read, and by rings whose indices are taken modulo their sizes. Divisors
# are sizes that Client.__cinit__ checks, and rates that `run` does.
"""The load generator: requests over many connections at planned times, and how long each took from its planned time.

It is the one module here that does I/O. A `Client` owns one thread while it runs: that thread never sleeps and never takes
the GIL, so neither Python nor a wake-up is in a latency. Other threads may read totals and copies meanwhile, and stop it.

**Planned times.** Request n is due when the integral of the rate reaches n (constant, ramped), or the n-th sum of exponential
gaps (Poisson). It is sent on the connection that was free longest as soon as it is due and one is free; what it waits for a
free one counts, since a phone would have waited too. `closed` has no plan: each connection has `pipeline` requests under way.

**What the generator may have caused.** For each request a bound of its own delay is kept, in three parts:

    late      from the later of its planned time and the time since when a connection was surely free, to its sending
    unseen    from the last time that epoll was asked, and knew nothing of the answer, to its reading
    felt      a stall of the generator makes a burst afterwards. In a server that works in the order of arrival a request
              ends later by at most the longest delay of those before it (D = max(A, D of the one before) + S is monotone in
              A). So the longest `late` stays in force until nothing waits for a connection, and as few requests are under
              way as before it.

Latency less the bound is `at_least`: what somebody else caused, beyond doubt. Two histograms are kept, and a third of the
bound; whoever reports a percentile compares the first two (regionresolver/load/report.py).

**Answers.** RFC 9112's framings: Content-Length, chunked, until the end of the connection. Every answer's status is compared,
its body must begin and end as a JSON object does and hold the members that were named; some bodies are copied for closer
checks in Python. A request that got no answer in `timeout_s`, or could not be sent for so long, is an error, and its age then
is recorded: leaving it out would flatter the server. Requests are never sent twice.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINPROGRESS, EINTR, errno
from libc.math cimport log, sqrt
from libc.stdint cimport INT64_MAX, UINT64_MAX
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcpy, memmove, memset

cdef extern from * nogil:
    """
    #include <arpa/inet.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <stdint.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/un.h>
    #include <time.h>
    #include <unistd.h>

    static int64_t load_clock_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    }

    static int load_leading_zeros(uint64_t value) { return __builtin_clzll(value); }
    static uint64_t load_acquire(const uint64_t *from) { return __atomic_load_n(from, __ATOMIC_ACQUIRE); }
    static void load_release(uint64_t *to, uint64_t value) { __atomic_store_n(to, value, __ATOMIC_RELEASE); }

    /* Cython knows no member of a union. */
    static int load_epoll_control(int epoll, int operation, int socket, uint32_t events, uint32_t index) {
        struct epoll_event event = {.events = events, .data.u32 = index};
        return epoll_ctl(epoll, operation, socket, &event);
    }

    static uint32_t load_event_index(const struct epoll_event *event) { return event->data.u32; }

    /* The bytes of an address; 0 when the text is none of its family. */
    static uint32_t load_address(char *into, int family, const char *host, size_t host_bytes, int port) {
        struct sockaddr_in *v4 = (struct sockaddr_in *)into;
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)into;
        struct sockaddr_un *local = (struct sockaddr_un *)into;
        memset(into, 0, 128);
        if (family == AF_INET) {
            v4->sin_family = AF_INET;
            v4->sin_port = htons((uint16_t)port);
            return inet_pton(AF_INET, host, &v4->sin_addr) == 1 ? sizeof *v4 : 0;
        }
        if (family == AF_INET6) {
            v6->sin6_family = AF_INET6;
            v6->sin6_port = htons((uint16_t)port);
            return inet_pton(AF_INET6, host, &v6->sin6_addr) == 1 ? sizeof *v6 : 0;
        }
        if (family != AF_UNIX || host_bytes == 0 || host_bytes >= sizeof local->sun_path) return 0;
        local->sun_family = AF_UNIX;
        memcpy(local->sun_path, host, host_bytes);
        return sizeof *local;
    }

    static int load_connect(int socket, const char *address, uint32_t bytes) {
        return connect(socket, (const struct sockaddr *)address, bytes);
    }

    static void load_no_delay(int socket) {
        int one = 1;
        setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    }

    static int load_socket_error(int from) {
        int found = 0;
        socklen_t bytes = sizeof found;
        return getsockopt(from, SOL_SOCKET, SO_ERROR, &found, &bytes) ? errno : found;
    }
    """
    int64_t load_clock_ns()
    int load_leading_zeros(uint64_t value)
    uint64_t load_acquire(const uint64_t* at)
    void load_release(uint64_t* to, uint64_t value)
    int load_epoll_control(int epoll, int operation, int socket, uint32_t events, uint32_t index)
    uint32_t load_event_index(const epoll_event* event)
    uint32_t load_address(char* into, int family, const char* host, size_t host_bytes, int port)
    int load_connect(int socket, const char* address, uint32_t bytes)
    void load_no_delay(int socket)
    int load_socket_error(int socket)
    int AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC, MSG_NOSIGNAL
    int EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLLIN, EPOLLOUT
    struct epoll_event:
        uint32_t events
    int epoll_create1(int flags)
    int epoll_wait(int epoll, epoll_event* events, int events_max, int timeout_ms)
    int socket(int family, int sort, int protocol)
    Py_ssize_t send(int socket, const void* bytes, size_t size, int flags)
    Py_ssize_t recv(int socket, void* bytes, size_t size, int flags)
    int close(int fd)
    void* memmem(const void* within, size_t size, const void* what, size_t what_size)

cdef enum:
    CONNECTIONS_MAX = 65536
    PIPELINE_MAX = 1024
    EVENTS = 1024
    BUFFER_BYTES = 16384
    HEAD_BYTES_MAX = 65536
    SWEPT_AT_ONCE = 64
    WINDOW_LEAST = 100
    WINDOW_BITS = 7
    CONTENT_LENGTH_DIGITS_MAX = 15
    CHUNK_DIGITS_MAX = 12

cdef int64_t SECOND_NS = 1000000000
cdef int64_t SWEEP_NS = 1000000
cdef int64_t WINDOW_NS = 20000000
cdef int64_t SAMPLE_EVERY_NS = 1000000
cdef int64_t BACKOFF_NS = 10000000
cdef int64_t BACKOFF_MAX_NS = 1000000000
# A turn takes microseconds; a longer one was somebody else's.
cdef int64_t IDLE_TURN_MAX_NS = 20000
cdef int64_t LATENCY_MAX_NS = 3600 * SECOND_NS

# What can go wrong.
cdef enum:
    CONNECT = 0         # no connection could be made
    RESET               # the connection broke
    CLOSED              # the server ended it without an answer
    TRUNCATED           # or within one
    TIMEOUT             # no answer in time
    NOT_SENT            # no connection was free in time
    FRAMING             # bytes that are no HTTP/1 answer, or that nobody asked for
    STATUS              # another status than expected
    BODY                # another body

cdef enum Phase:
    NEW = 0
    CONNECTING
    WARMING_UP
    COUNTING
    DRAINING
    DONE

cdef enum Found:
    SHORT = 0           # the bytes end within it
    WHOLE
    BROKEN

ERROR_WORDS = ("connect", "reset", "closed", "truncated", "timeout", "not_sent", "framing", "status", "body")
PHASE_WORDS = ("new", "connecting", "warming_up", "counting", "draining", "done")
HISTOGRAM_WORDS = ("latency", "at_least", "own")


# --- When requests are due ------------------------------------------------------------------------------------------------

cdef inline double _random(uint64_t* state) noexcept nogil:
    """Give a number of (0, 1], by splitmix64."""
    state[0] += <uint64_t>0x9E3779B97F4A7C15
    cdef uint64_t x = state[0]
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return <double>(((x ^ (x >> 31)) >> 11) + 1) / 9007199254740992.0


cdef int64_t _next_due_ns(Schedule* s) noexcept nogil:
    """Give when the next request is due, from the start; INT64_MAX when it would be behind the end.

    The integral of the rate is from_per_s * t in the warm-up, and from_per_s * t + slope / 2 * t ** 2 behind it; the root is
    written so that nothing cancels out, and a slope of 0 needs no case.
    """
    cdef double passed = s.passed, slope = (s.to_per_s - s.from_per_s) / s.seconds, warm = s.from_per_s * s.warm_up_s
    cdef double at_s, root
    if s.is_poisson:
        passed -= log(_random(&s.random))
        s.passed = passed
    else:
        s.passed = passed + 1
    if passed < warm:
        return <int64_t>(passed / s.from_per_s * 1e9)
    passed -= warm
    root = s.from_per_s * s.from_per_s + 2 * slope * passed
    if root < 0:
        return INT64_MAX
    root = s.from_per_s + sqrt(root)
    at_s = 2 * passed / root if root > 0 else 0
    return INT64_MAX if at_s >= s.seconds else <int64_t>((s.warm_up_s + at_s) * 1e9)


cdef Schedule _schedule(double from_per_s, double to_per_s, double warm_up_s, double seconds, bint poisson, uint64_t seed):
    cdef Schedule s
    s.from_per_s, s.to_per_s, s.warm_up_s, s.seconds = from_per_s, to_per_s, warm_up_s, seconds
    s.passed, s.random, s.is_poisson = 0, seed, poisson
    return s


def planned_ns(
    double from_per_s, double to_per_s, double warm_up_s, double seconds, bint poisson, uint64_t seed, Py_ssize_t most
):
    """Return when the first `most` requests would be due, in ns from the start."""
    cdef Schedule s = _schedule(from_per_s, to_per_s, warm_up_s, seconds, poisson, seed)
    cdef int64_t due_ns
    found = []
    while len(found) < most:
        due_ns = _next_due_ns(&s)
        if due_ns == INT64_MAX:
            break
        found.append(due_ns)
    return found


# --- Histograms -----------------------------------------------------------------------------------------------------------

cdef inline int _place(uint64_t value) noexcept nogil:
    """Give the index of a value in HdrHistogram's counts: 11 bits of it, and how far they were shifted."""
    cdef int bucket = 53 - load_leading_zeros(value | 2047)
    return ((bucket + 1) << 10) + <int>(value >> bucket) - 1024


cdef inline int _window_place(uint64_t value) noexcept nogil:
    cdef int bucket
    if value < (1 << WINDOW_BITS):
        return <int>value
    bucket = 63 - load_leading_zeros(value) - WINDOW_BITS
    return ((bucket + 1) << WINDOW_BITS) + <int>(value >> bucket) - (1 << WINDOW_BITS)


cdef inline int64_t _window_value(int place) noexcept nogil:
    """Give the middle of what falls into a place."""
    cdef int bucket = (place >> WINDOW_BITS) - 1
    if bucket < 0:
        return place
    return ((<int64_t>((place & ((1 << WINDOW_BITS) - 1)) + (1 << WINDOW_BITS)) << bucket) + ((<int64_t>1 << bucket) >> 1))


cdef int64_t _window_p99(const uint32_t* counts, uint32_t total) noexcept nogil:
    """Give the 99th percentile, looking from above, where its hundredth part is."""
    cdef uint32_t above = 0
    cdef int place = WINDOW_PLACES
    while place > 0 and above <= total // 100:
        place -= 1
        above += counts[place]
    return _window_value(place)


def histogram_places(values):
    """Return the index of each value in the counts of a histogram."""
    return [_place(min(max(value, 0), LATENCY_MAX_NS)) for value in values]


# --- Answers --------------------------------------------------------------------------------------------------------------

cdef inline bint _is_name(const char* at, size_t size, const char* name, size_t name_size) noexcept nogil:
    """Compare a header's name with one in lower case; `| 0x20` maps no other character of a token onto a letter or '-'."""
    cdef size_t i
    if size != name_size:
        return False
    for i in range(size):
        if (at[i] | 0x20) != name[i]:
            return False
    return True


cdef inline bint _is_token(const char* at, const char* end) noexcept nogil:
    """Tell whether every character could stand in a name: no blank and no control character."""
    while at < end:
        if <uint8_t>at[0] <= 0x20:
            return False
        at += 1
    return True


cdef bint _has_token(const char* at, const char* end, const char* token, size_t size) noexcept nogil:
    """Tell whether a list of tokens has one, in whatever case."""
    cdef const char* begin
    while at < end:
        while at < end and (at[0] == b" " or at[0] == b"\t" or at[0] == b","):
            at += 1
        begin = at
        while at < end and at[0] != b" " and at[0] != b"\t" and at[0] != b",":
            at += 1
        if _is_name(begin, at - begin, token, size):
            return True
    return False


cdef inline int _digit(char digit) noexcept nogil:
    return digit - 0x30


cdef int64_t _content_length(const char* at, const char* end) noexcept nogil:
    """Read a length, -1 for what is none."""
    cdef int64_t found = 0
    if at == end or end - at > CONTENT_LENGTH_DIGITS_MAX:
        return -1
    while at < end:
        if at[0] < b"0" or at[0] > b"9":
            return -1
        found = found * 10 + _digit(at[0])
        at += 1
    return found


cdef int _hex_value(char digit) noexcept nogil:
    if b"0" <= digit <= b"9":
        return digit - 0x30
    digit |= 0x20
    return digit - 0x61 + 10 if b"a" <= digit <= b"f" else -1


cdef int _scan_chunks(char* begin, char* end, size_t body_bytes_max, bint join, Answer* answer) noexcept nogil:
    """Find the end of a chunked body. With `join` its parts are moved together, so only once it is known to be whole."""
    cdef char* at = begin
    cdef char* line_end
    cdef char* into = begin
    cdef int64_t size
    cdef int digits
    while True:
        size, digits = 0, 0
        while at < end and _hex_value(at[0]) >= 0:
            digits += 1
            if digits > CHUNK_DIGITS_MAX:
                return BROKEN
            size = size * 16 + _hex_value(at[0])
            at += 1
        line_end = <char*>memmem(at, end - at, b"\r\n", 2)
        if line_end == NULL:
            return BROKEN if end - at > HEAD_BYTES_MAX or (at < end and digits == 0) else SHORT
        if digits == 0 or (at < line_end and at[0] != b";" and at[0] != b" " and at[0] != b"\t"):
            return BROKEN
        at = line_end + 2
        if size == 0:
            break
        if <size_t>size > body_bytes_max or <size_t>(into - begin) + <size_t>size > body_bytes_max:
            return BROKEN
        if end - at < size + 2:
            if end - at > size and at[size] != b"\r":
                return BROKEN
            return SHORT
        if at[size] != b"\r" or at[size + 1] != b"\n":
            return BROKEN
        if join:
            memmove(into, at, size)
        into += size
        at += size + 2
    # Trailers, and the empty line behind them.
    while True:
        line_end = <char*>memmem(at, end - at, b"\r\n", 2)
        if line_end == NULL:
            return BROKEN if end - at > HEAD_BYTES_MAX else SHORT
        if line_end == at:
            break
        at = line_end + 2
    answer.body_bytes = into - begin
    answer.used = at + 2 - begin
    return WHOLE


cdef int scan_answer(char* begin, char* end, bint is_end, size_t body_bytes_max, Answer* answer) noexcept nogil:
    """Find the answer at `begin`, behind interim ones. `is_end`: no more bytes will come.

    The body of a chunked answer is put together in place. Lines end in CRLF; a line without a colon or with a blank before
    it is refused, as is a bare line feed, as is an answer with two lengths that differ, or with a length and chunks.
    """
    cdef char* at = begin
    cdef char* head_end
    cdef char* line_end
    cdef char* colon
    cdef char* value
    cdef char* value_end
    cdef int64_t length, one
    cdef bint is_chunked, is_11
    cdef int found
    while True:
        head_end = <char*>memmem(at, end - at, b"\r\n\r\n", 4)
        if head_end == NULL:
            if end - at > HEAD_BYTES_MAX or (end - at >= 5 and at[0] != b"H"):
                return BROKEN
            return SHORT
        # "HTTP/1.1 200" is 12 characters; the end of the head lies behind what is read here.
        if head_end - at < 12 or at[0] != b"H" or at[1] != b"T" or at[2] != b"T" or at[3] != b"P" or at[4] != b"/":
            return BROKEN
        if at[5] != b"1" or at[6] != b"." or (at[7] != b"1" and at[7] != b"0") or at[8] != b" ":
            return BROKEN
        if not (b"1" <= at[9] <= b"9" and b"0" <= at[10] <= b"9" and b"0" <= at[11] <= b"9"):
            return BROKEN
        if head_end - at > 12 and at[12] != b" " and at[12] != b"\r":
            return BROKEN
        answer.status = _digit(at[9]) * 100 + _digit(at[10]) * 10 + _digit(at[11])
        is_11, length, is_chunked = at[7] == b"1", -1, False
        answer.closes = not is_11
        # The head ends in a line feed, so there is one in front of every place but the last.
        line_end = <char*>memchr(at, b"\n", head_end + 2 - at) - 1
        if line_end[0] != b"\r":
            return BROKEN
        while line_end < head_end:
            at = line_end + 2
            line_end = <char*>memchr(at, b"\n", head_end + 2 - at) - 1
            if line_end < at or line_end[0] != b"\r":
                return BROKEN
            colon = <char*>memchr(at, b":", line_end - at)
            if colon == NULL or colon == at or not _is_token(at, colon):
                return BROKEN
            value, value_end = colon + 1, line_end
            while value < value_end and (value[0] == b" " or value[0] == b"\t"):
                value += 1
            while value_end > value and ((value_end - 1)[0] == b" " or (value_end - 1)[0] == b"\t"):
                value_end -= 1
            if _is_name(at, colon - at, b"content-length", 14):
                one = _content_length(value, value_end)
                if one < 0 or (length >= 0 and length != one):
                    return BROKEN
                length = one
            elif _is_name(at, colon - at, b"connection", 10):
                if _has_token(value, value_end, b"close", 5):
                    answer.closes = True
                elif not is_11 and _has_token(value, value_end, b"keep-alive", 10):
                    answer.closes = False
            elif _is_name(at, colon - at, b"transfer-encoding", 17):
                if is_chunked or not _is_name(value, value_end - value, b"chunked", 7):
                    return BROKEN
                is_chunked = True
        at = head_end + 4
        if answer.status >= 200:
            break
        if answer.status == 101 or length > 0 or is_chunked:
            return BROKEN
    answer.body = at
    if is_chunked:
        if length >= 0:
            return BROKEN
        found = _scan_chunks(at, end, body_bytes_max, False, answer)
        if found == WHOLE:
            _scan_chunks(at, end, body_bytes_max, True, answer)
            answer.used += at - begin
        return found
    if answer.status == 204 or answer.status == 304:
        length = 0
    if length < 0:
        # Until the end of the connection.
        answer.closes = True
        if <size_t>(end - at) > body_bytes_max:
            return BROKEN
        if not is_end:
            return SHORT
        length = end - at
    if <size_t>length > body_bytes_max:
        return BROKEN
    if end - at < length:
        return SHORT
    answer.body_bytes = length
    answer.used = at + length - begin
    return WHOLE


def read_answer(bytes received, bint is_end, size_t body_bytes_max=1 << 20):
    """Read the answer at the begin of some bytes: (status, body, bytes used, the connection ends), None when it is short.

    Raises ValueError for what is no answer.
    """
    cdef Answer answer
    cdef size_t size = PyBytes_GET_SIZE(received)
    # Of exactly this size, so that a sanitizer sees a read behind the end.
    cdef char* copy = <char*>malloc(size or 1)
    if copy == NULL:
        raise MemoryError
    try:
        memcpy(copy, PyBytes_AS_STRING(received), size)
        found = scan_answer(copy, copy + size, is_end, body_bytes_max, &answer)
        if found == BROKEN:
            raise ValueError("not an HTTP/1 answer")
        if found == SHORT:
            return None
        return answer.status, answer.body[:answer.body_bytes], answer.used, answer.closes
    finally:
        free(copy)


# --- The engine -----------------------------------------------------------------------------------------------------------

@cython.final
@cython.auto_pickle(False)
cdef class Client:
    """One run of load: made, run once by one thread, read by any.

    `family`, `host` and `port` are a numeric address; for a Unix socket `host` is its path. `requests` are the bytes of each
    request, sent in turn, and `kinds` says for each which of `expected` (status, members that the body must hold) its answer
    is compared with. Raises ValueError for what cannot be run, MemoryError, OSError.
    """

    def __cinit__(
        self, int family, bytes host, int port, requests, bytes kinds, expected, *,
        int connections, int pipeline, double timeout_s, size_t answer_bytes_max=1 << 20,
    ):
        cdef int i
        self._epoll = -1
        if not 1 <= connections <= CONNECTIONS_MAX or not 1 <= pipeline <= PIPELINE_MAX:
            raise ValueError(f"1 to {CONNECTIONS_MAX} connections, each with 1 to {PIPELINE_MAX} requests under way")
        if not requests or len(kinds) != len(requests) or not 1 <= len(expected) <= KINDS_MAX or max(kinds) >= len(expected):
            raise ValueError("every request needs a kind, and every kind an expectation")
        if not 0 < timeout_s <= 3600:
            raise ValueError("a time-out is of up to an hour")
        self._set_address(family, host, port)
        self._kept = ([bytes(request) for request in requests], [(status, [bytes(m) for m in ms]) for status, ms in expected])
        self._count, self._pipeline, self._requests = connections, pipeline, len(requests)
        self._timeout_ns, self._answer_bytes_max = <int64_t>(timeout_s * 1e9), answer_bytes_max
        self._request = <const char**>calloc(self._requests, sizeof(char*))
        self._request_bytes = <uint32_t*>calloc(self._requests, sizeof(uint32_t))
        self._request_kind = <uint8_t*>calloc(self._requests, 1)
        self._connections = <Connection*>calloc(connections, sizeof(Connection))
        self._ring = <int*>calloc(connections, sizeof(int))
        self._latency = <int64_t*>calloc(HISTOGRAM_PLACES, sizeof(int64_t))
        self._at_least = <int64_t*>calloc(HISTOGRAM_PLACES, sizeof(int64_t))
        self._own = <int64_t*>calloc(HISTOGRAM_PLACES, sizeof(int64_t))
        self._window = <uint32_t*>calloc(2 * WINDOW_PLACES, sizeof(uint32_t))
        self._samples = <Sample*>calloc(SAMPLES, sizeof(Sample))
        if (
            not self._request or not self._request_bytes or not self._request_kind or not self._connections or not self._ring
            or not self._latency or not self._at_least or not self._own or not self._window or not self._samples
        ):
            raise MemoryError
        for i in range(connections):
            self._connections[i].socket = -1
        for i in range(connections):
            self._connections[i].asked = <Asked*>calloc(pipeline, sizeof(Asked))
            self._connections[i].buffer = <char*>malloc(BUFFER_BYTES)
            if not self._connections[i].asked or not self._connections[i].buffer:
                raise MemoryError
            self._connections[i].room = BUFFER_BYTES
        for i in range(<int>self._requests):
            self._request[i] = PyBytes_AS_STRING(self._kept[0][i])
            self._request_bytes[i] = PyBytes_GET_SIZE(self._kept[0][i])
            self._request_kind[i] = kinds[i]
        self._set_expected()
        self._epoll = epoll_create1(0)
        if self._epoll < 0:
            raise OSError(errno, "epoll_create1")

    cdef bint _set_address(self, int family, bytes host, int port) except False:
        if not 0 <= port <= 65535:
            raise ValueError("a port is of 0 to 65535")
        self._family = family
        self._address_bytes = load_address(self._address, family, host, len(host), port)
        if self._address_bytes == 0:
            raise ValueError("not a numeric address of this family, or a path that is too long")
        return True

    def _set_expected(self):
        cdef int i, j
        for i, (status, members) in enumerate(self._kept[1]):
            if not 200 <= status < 600 or len(members) > MEMBERS_MAX:
                raise ValueError(f"a status of 200 to 599 and at most {MEMBERS_MAX} members can be expected")
            self._expected[i].status, self._expected[i].members = status, len(members)
            for j in range(self._expected[i].members):
                self._expected[i].member[j] = PyBytes_AS_STRING(members[j])
                self._expected[i].member_bytes[j] = PyBytes_GET_SIZE(members[j])

    def __dealloc__(self):
        cdef int i
        if self._connections != NULL:
            for i in range(self._count):
                if self._connections[i].socket >= 0:
                    close(self._connections[i].socket)
                free(self._connections[i].asked)
                free(self._connections[i].buffer)
                free(self._connections[i].unsent)
        if self._epoll >= 0:
            close(self._epoll)
        free(self._connections)
        free(self._request)
        free(self._request_bytes)
        free(self._request_kind)
        free(self._ring)
        free(self._latency)
        free(self._at_least)
        free(self._own)
        free(self._window)
        free(self._window_p99_ns)
        free(self._samples)

    def run(
        self, *, double seconds, double warm_up_s=0.0, double from_per_s=0.0, double to_per_s=0.0, bint poisson=False,
        bint closed=False, uint64_t seed=1, uint64_t requests_max=0,
    ):
        """Load for `warm_up_s` and then `seconds`, wait for the last answers, return; the GIL is free meanwhile.

        Ends earlier behind `requests_max` requests (0: no bound), the warm-up's among them, and after `stop`. Raises OSError
        when not one connection could be made, ValueError for a plan that cannot be, or a second run.
        """
        if self._phase != NEW:
            raise ValueError("a Client runs once")
        if not 0 < seconds <= 1e6 or not 0 <= warm_up_s <= 1e6:
            raise ValueError("a run needs a duration")
        if not closed and not (0 <= from_per_s <= 1e8 and 0 <= to_per_s <= 1e8 and from_per_s + to_per_s > 0):
            raise ValueError("an open loop needs a rate")
        self._schedule = _schedule(from_per_s, to_per_s, warm_up_s, seconds, poisson, seed)
        self._is_closed_loop, self._requests_max = closed, requests_max or UINT64_MAX
        cdef int failed
        with nogil:
            failed = self._run()
        if failed:
            raise OSError(failed, "no connection could be made")

    def stop(self):
        """Make the run end now; what is under way then is `unfinished`, and no error."""
        self._is_stopped = 1

    @property
    def phase(self):
        """Which of PHASE_WORDS the run is in."""
        return PHASE_WORDS[self._phase]

    @property
    def started_ns(self):
        """When the plan began, by the monotonic clock, with its warm-up; 0 before."""
        return self._start_ns

    @property
    def finished_ns(self):
        """When the last answer was read; 0 before."""
        return self._finish_ns

    @property
    def counting_since_ns(self):
        """When the warm-up ends, by the monotonic clock; 0 before the run."""
        return self._count_from_ns

    @property
    def counted_until_ns(self):
        """When the plan ends; of a run that was stopped, or bounded by its requests, when that ended."""
        is_early = self._is_stopped or self._totals.planned >= self._requests_max
        return min(self._finish_ns, self._end_ns) if is_early and self._finish_ns else self._end_ns

    def totals(self):
        """Return what was counted so far, by name."""
        cdef Totals* t = &self._totals
        return {
            "planned": t.planned, "counted_planned": t.counted_planned, "sent": t.sent, "answered": t.answered,
            "counted": t.counted, "in_time": t.in_time, "unfinished": t.unfinished, "opened": t.opened,
            "closed_idle": t.closed_idle, "sent_bytes": t.sent_bytes, "received_bytes": t.received_bytes, "turns": t.turns,
            "idle_ns": t.idle_ns, "sum_ns": t.sum_ns, "latency_max_ns": t.latency_max_ns,
            "at_least_max_ns": t.at_least_max_ns, "own_max_ns": t.own_max_ns, "open": self._open, "under_way": self._under_way,
        }

    def errors(self):
        """Return how many requests went wrong, by ERROR_WORDS, and for `connect` how many attempts."""
        return {word: self._totals.errors[i] for i, word in enumerate(ERROR_WORDS)}

    def statuses(self):
        """Return how many answers had which status."""
        return {status: self._totals.statuses[status] for status in range(STATUS_END) if self._totals.statuses[status]}

    def answered_by_kind(self):
        """Return how many answers there were, by the index of their expectation."""
        return [self._totals.kinds[i] for i in range(len(self._kept[1]))]

    def counts(self, str histogram):
        """Return a copy of one of HISTOGRAM_WORDS: 64-bit counts in HdrHistogram's order, ns."""
        cdef int64_t* found
        if histogram == "latency":
            found = self._latency
        elif histogram == "at_least":
            found = self._at_least
        elif histogram == "own":
            found = self._own
        else:
            raise ValueError("there is no such histogram")
        return PyBytes_FromStringAndSize(<char*>found, HISTOGRAM_PLACES * sizeof(int64_t))

    def window_p99s_ns(self):
        """Return the 99th percentiles of (latency, at_least) of each window of 20 ms with 100 answers; only behind the run."""
        if self._phase != DONE:
            raise ValueError("the run is not over")
        return [(self._window_p99_ns[2 * i], self._window_p99_ns[2 * i + 1]) for i in range(<Py_ssize_t>self._windows)]

    def take_samples(self):
        """Return (index of the request, body) of answers that were as expected, and make room for further ones."""
        cdef uint64_t head = load_acquire(&self._sample_head)
        cdef Sample* sample
        found = []
        while self._sample_tail < head:
            sample = &self._samples[self._sample_tail % SAMPLES]
            found.append((sample.request, sample.body[:sample.bytes]))
            load_release(&self._sample_tail, self._sample_tail + 1)
        return found

    cdef int _run(self) noexcept nogil:
        """Take turns until the plan is over: send what is due, read what has come, look after the connections."""
        cdef epoll_event events[EVENTS]
        cdef int64_t now_ns, before_ns, due_ns = INT64_MAX, sweep_ns, asked_ns
        cdef int ready, i
        cdef bint has_worked = True
        cdef Connection* c
        self._connect_all()
        if self._open == 0:
            self._phase = DONE
            return self._connect_errno or EAGAIN
        self._start_ns = before_ns = sweep_ns = self._polled_ns = load_clock_ns()
        self._count_from_ns = self._start_ns + <int64_t>(self._schedule.warm_up_s * 1e9)
        self._end_ns = self._count_from_ns + <int64_t>(self._schedule.seconds * 1e9)
        self._window_end_ns = self._count_from_ns + WINDOW_NS
        self._phase = WARMING_UP if self._schedule.warm_up_s > 0 else COUNTING
        if self._is_closed_loop:
            for i in range(self._count):
                if self._connections[i].is_open:
                    self._ask(&self._connections[i], self._pipeline, 0, load_clock_ns())
        else:
            due_ns = _next_due_ns(&self._schedule)
            due_ns = self._start_ns + due_ns if due_ns != INT64_MAX else INT64_MAX
        while not self._is_stopped:
            now_ns = load_clock_ns()
            self._totals.turns += 1
            if not has_worked:
                self._totals.idle_ns += min(now_ns - before_ns, IDLE_TURN_MAX_NS)
            before_ns, has_worked = now_ns, False
            while due_ns <= now_ns:
                c = self._take()
                if c == NULL:
                    if now_ns - due_ns <= self._timeout_ns:
                        break
                    self._totals.errors[NOT_SENT] += 1
                    self._give_up(due_ns, now_ns)
                else:
                    self._ask(c, 1, due_ns, load_clock_ns())
                has_worked = True
                self._totals.planned += 1
                self._totals.counted_planned += due_ns >= self._count_from_ns
                due_ns = _next_due_ns(&self._schedule)
                if due_ns == INT64_MAX or self._totals.planned >= self._requests_max:
                    due_ns = INT64_MAX
                    break
                due_ns += self._start_ns
            asked_ns = load_clock_ns() if has_worked else now_ns
            ready = epoll_wait(self._epoll, events, EVENTS, 0)
            for i in range(ready):
                has_worked = True
                c = &self._connections[load_event_index(&events[i])]
                if not c.is_open:
                    self._opened(c, load_clock_ns())
                    continue
                if events[i].events & <uint32_t>EPOLLOUT:
                    self._flush(c, load_clock_ns())
                if c.is_open and events[i].events & ~<uint32_t>EPOLLOUT:
                    self._hear(c)
            if ready < EVENTS:
                self._polled_ns = asked_ns
            if self._under_way <= self._worst_level and due_ns > now_ns:
                self._worst_ns = 0
            if now_ns >= sweep_ns:
                sweep_ns = now_ns + SWEEP_NS
                self._sweep(now_ns)
                if self._phase == DRAINING and (now_ns > self._end_ns + self._timeout_ns + SECOND_NS):
                    break
            if due_ns == INT64_MAX and self._under_way == 0 and (
                not self._is_closed_loop or now_ns >= self._end_ns or self._totals.planned >= self._requests_max
            ):
                break
        self._finish_ns = load_clock_ns()
        self._close_window()
        self._totals.unfinished += self._under_way
        # What was planned until now, and not sent: it waited for a connection.
        while due_ns <= self._finish_ns:
            self._totals.unfinished += 1
            self._totals.planned += 1
            self._totals.counted_planned += due_ns >= self._count_from_ns
            due_ns = _next_due_ns(&self._schedule)
            due_ns = self._start_ns + due_ns if due_ns != INT64_MAX else INT64_MAX
        self._phase = DONE
        return 0

    cdef void _connect_all(self) noexcept nogil:
        """Open every connection, or find out that it cannot be had, before the plan begins."""
        cdef epoll_event events[EVENTS]
        cdef int64_t begin_ns = load_clock_ns(), now_ns = begin_ns
        cdef int i, ready
        cdef bint is_waiting = True
        self._phase = CONNECTING
        while is_waiting and not self._is_stopped and now_ns - begin_ns < self._timeout_ns:
            is_waiting = False
            for i in range(self._count):
                if self._connections[i].socket < 0 and self._connections[i].retry_ns <= now_ns:
                    # A refusal of the first is one of all: the server is not there.
                    if self._connect_errno and self._open == 0:
                        return
                    self._connect(&self._connections[i], now_ns)
                is_waiting |= not self._connections[i].is_open
            ready = epoll_wait(self._epoll, events, EVENTS, 1)
            now_ns = load_clock_ns()
            for i in range(ready):
                if not self._connections[load_event_index(&events[i])].is_open:
                    self._opened(&self._connections[load_event_index(&events[i])], now_ns)

    cdef void _connect(self, Connection* c, int64_t now_ns) noexcept nogil:
        """Begin to connect; epoll tells when it is done. A Unix socket whose queue is full is asked again, without an error."""
        cdef int found = socket(self._family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
        cdef int failed
        if found < 0:
            c.retry_ns = now_ns + BACKOFF_MAX_NS
            self._connect_errno = errno
            self._totals.errors[CONNECT] += 1
            return
        c.socket = found
        if self._family != AF_UNIX:
            load_no_delay(found)
        if load_connect(found, self._address, self._address_bytes) == 0:
            self._watch(c, EPOLL_CTL_ADD)
            self._opened(c, now_ns)
            return
        failed = errno
        if failed == EINPROGRESS:
            load_epoll_control(self._epoll, EPOLL_CTL_ADD, found, EPOLLOUT, <uint32_t>(c - self._connections))
            return
        if failed == EAGAIN:
            close(found)
            c.socket = -1
            c.retry_ns = now_ns + SWEEP_NS
            return
        self._connect_errno = failed
        self._drop(c, CONNECT, CONNECT, now_ns)

    cdef void _opened(self, Connection* c, int64_t now_ns) noexcept nogil:
        """A connection is there, or could not be made."""
        cdef int failed = load_socket_error(c.socket)
        if failed:
            self._connect_errno = failed
            self._drop(c, CONNECT, CONNECT, now_ns)
            return
        c.is_open, c.have, c.unsent_bytes, c.under_way, c.first = True, 0, 0, 0, 0
        c.wants_room = c.has_carried = False
        c.free_since_ns = self._polled_ns
        self._watch(c, EPOLL_CTL_MOD)
        self._open += 1
        self._totals.opened += 1
        if not self._is_closed_loop:
            self._offer(c)
        elif self._phase >= WARMING_UP and now_ns < self._end_ns:
            self._ask(c, self._pipeline, 0, now_ns)

    cdef void _drop(self, Connection* c, int first, int others, int64_t now_ns) noexcept nogil:
        """End a connection: its first request under way failed as `first`, the rest as `others`. Connect again.

        At once, but for a refusal, and for a connection that ended without having carried an answer: then after a while.
        """
        cdef int i
        cdef Asked* asked
        if first == CONNECT:
            self._totals.errors[CONNECT] += 1
        for i in range(c.under_way):
            asked = &c.asked[(c.first + i) % self._pipeline]
            self._totals.errors[others if i else first] += 1
            if first == TIMEOUT:
                self._give_up(asked.planned_ns, now_ns)
        self._under_way -= c.under_way
        self._open -= c.is_open
        if c.socket >= 0:
            close(c.socket)     # epoll forgets it
        c.socket, c.is_open, c.under_way = -1, False, 0
        if first != CONNECT and c.has_carried:
            c.retry_ns = now_ns
            if self._phase < DRAINING:
                self._connect(c, now_ns)
            return
        c.backoff_ns = min(max(2 * c.backoff_ns, BACKOFF_NS), BACKOFF_MAX_NS)
        c.retry_ns = now_ns + c.backoff_ns

    cdef void _give_up(self, int64_t planned_ns, int64_t now_ns) noexcept nogil:
        """Record the age of a request that nobody waits for any longer. Nothing of it can be the generator's but a turn."""
        if planned_ns >= self._count_from_ns:
            self._record(planned_ns, now_ns - self._polled_ns, now_ns)

    cdef void _offer(self, Connection* c) noexcept nogil:
        """Put a connection behind those that can take a request."""
        if c.in_ring:
            return
        c.in_ring = True
        self._ring[(self._ring_begin + self._ring_used) % self._count] = <int>(c - self._connections)
        self._ring_used += 1

    cdef Connection* _take(self) noexcept nogil:
        """Give the connection that could take a request for the longest time, NULL when there is none."""
        cdef Connection* c
        while self._ring_used:
            c = &self._connections[self._ring[self._ring_begin]]
            self._ring_begin = (self._ring_begin + 1) % self._count
            self._ring_used -= 1
            c.in_ring = False
            if c.is_open and c.under_way < self._pipeline:
                return c
        return NULL

    cdef void _ask(self, Connection* c, int count, int64_t planned_ns, int64_t now_ns) noexcept nogil:
        """Send the next `count` requests; without a plan (0) they are planned now.

        `free_since_ns` is the last time that epoll was asked in vain before the answer that made room: had the generator
        been quicker, it could have known from then on, and not earlier.
        """
        cdef char out[65536]
        cdef size_t size = 0
        cdef int _nth
        cdef uint32_t request
        cdef Asked* asked
        cdef int64_t late_ns = 0
        if planned_ns:
            late_ns = now_ns - max(planned_ns, c.free_since_ns)
            if late_ns > self._worst_ns:
                if self._worst_ns == 0:
                    self._worst_level = self._under_way
                self._worst_ns = late_ns
        else:
            planned_ns = now_ns
            count = <int>min(<uint64_t>count, self._requests_max - self._totals.planned)
            self._totals.planned += count
            self._totals.counted_planned += count if now_ns >= self._count_from_ns else 0
        for _nth in range(count):
            request = self._next_request
            self._next_request = request + 1 if request + 1 < self._requests else 0
            asked = &c.asked[(c.first + c.under_way) % self._pipeline]
            asked.planned_ns, asked.sent_ns, asked.own_ns, asked.request = planned_ns, now_ns, self._worst_ns, request
            c.under_way += 1
            self._under_way += 1
            self._totals.sent += 1
            if count == 1 and size == 0:
                self._transmit(c, self._request[request], self._request_bytes[request], now_ns)
                break
            if size + self._request_bytes[request] > sizeof(out):
                if not self._transmit(c, out, size, now_ns):
                    return
                size = 0
            if self._request_bytes[request] > sizeof(out):
                if not self._transmit(c, self._request[request], self._request_bytes[request], now_ns):
                    return
            else:
                memcpy(out + size, self._request[request], self._request_bytes[request])
                size += self._request_bytes[request]
        if size and not self._transmit(c, out, size, now_ns):
            return
        if not self._is_closed_loop and c.under_way < self._pipeline and c.is_open:
            self._offer(c)

    cdef bint _transmit(self, Connection* c, const char* begin, size_t size, int64_t now_ns) noexcept nogil:
        """Send bytes, or keep what the socket does not take. False when the connection is gone."""
        cdef Py_ssize_t done = 0
        self._totals.sent_bytes += size
        if c.unsent_bytes == 0:
            done = send(c.socket, begin, size, MSG_NOSIGNAL)
            if done == <Py_ssize_t>size:
                return True
            if done < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._drop(c, RESET, RESET, now_ns)
                    return False
                done = 0
        if self._keep_unsent(c, begin + done, size - done):
            return True
        self._drop(c, RESET, RESET, now_ns)
        return False

    cdef bint _keep_unsent(self, Connection* c, const char* begin, size_t size) noexcept nogil:
        """Keep bytes until the socket takes them. False without memory."""
        cdef char* grown
        if c.unsent_bytes + size > c.unsent_room:
            grown = <char*>realloc(c.unsent, 2 * (c.unsent_bytes + size))
            if grown == NULL:
                return False
            c.unsent, c.unsent_room = grown, 2 * (c.unsent_bytes + size)
        memcpy(c.unsent + c.unsent_bytes, begin, size)
        c.unsent_bytes += size
        if not c.wants_room:
            c.wants_room = True
            self._watch(c, EPOLL_CTL_MOD)
        return True

    cdef void _watch(self, Connection* c, int operation) noexcept nogil:
        cdef uint32_t events = EPOLLIN | (EPOLLOUT if c.wants_room else 0)
        load_epoll_control(self._epoll, operation, c.socket, events, <uint32_t>(c - self._connections))

    cdef void _flush(self, Connection* c, int64_t now_ns) noexcept nogil:
        """The socket takes bytes again."""
        cdef Py_ssize_t done
        if c.unsent_bytes:
            done = send(c.socket, c.unsent, c.unsent_bytes, MSG_NOSIGNAL)
            if done < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._drop(c, RESET, RESET, now_ns)
                return
            c.unsent_bytes -= done
            memmove(c.unsent, c.unsent + done, c.unsent_bytes)
        if c.unsent_bytes == 0:
            c.wants_room = False
            self._watch(c, EPOLL_CTL_MOD)

    cdef void _hear(self, Connection* c) noexcept nogil:
        """Read what is there, count what is whole, and in a closed loop ask as much again."""
        cdef Py_ssize_t got
        cdef size_t room
        cdef int64_t at_ns
        cdef int answers
        cdef char* grown
        while True:
            if c.have == c.room:
                # Heads and bodies are bounded: more than both is no answer.
                grown = NULL
                if c.room <= 3 * (self._answer_bytes_max + HEAD_BYTES_MAX):
                    grown = <char*>realloc(c.buffer, 2 * c.room)
                if grown == NULL:
                    self._drop(c, FRAMING, CLOSED, load_clock_ns())
                    return
                c.buffer, c.room = grown, 2 * c.room
            room = c.room - c.have
            got = recv(c.socket, c.buffer + c.have, room, 0)
            at_ns = load_clock_ns()
            if got < 0:
                if errno != EAGAIN and errno != EINTR:
                    self._drop(c, RESET, RESET, at_ns)
                return
            c.have += got
            self._totals.received_bytes += got
            answers = self._read_answers(c, got == 0, at_ns)
            if answers < 0:
                return
            if answers and not self._is_closed_loop:
                c.free_since_ns = self._polled_ns
                self._offer(c)
            elif answers and at_ns < self._end_ns:
                self._ask(c, answers, 0, at_ns)
                if not c.is_open:
                    return
            if <size_t>got < room:
                return

    cdef int _read_answers(self, Connection* c, bint is_end, int64_t at_ns) noexcept nogil:
        """Count the whole answers of a connection; -1 when it ended meanwhile."""
        cdef Answer answer
        cdef Asked* asked
        cdef size_t begin = 0
        cdef int found, wrong, answers = 0
        answer.closes = False
        while c.under_way and not answer.closes:
            found = scan_answer(c.buffer + begin, c.buffer + c.have, is_end, self._answer_bytes_max, &answer)
            if found == BROKEN:
                self._drop(c, FRAMING, CLOSED, at_ns)
                return -1
            if found == SHORT:
                answer.closes = False
                break
            asked = &c.asked[c.first]
            c.first = (c.first + 1) % self._pipeline
            c.under_way -= 1
            self._under_way -= 1
            answers += 1
            c.has_carried, c.backoff_ns = True, 0
            begin += answer.used
            wrong = self._check(&answer, asked.request)
            self._totals.answered += 1
            self._totals.statuses[answer.status] += 1
            self._totals.kinds[self._request_kind[asked.request]] += 1
            if wrong >= 0:
                self._totals.errors[wrong] += 1
            elif asked.planned_ns >= self._count_from_ns:
                self._totals.counted += 1
                self._totals.in_time += at_ns <= self._end_ns
                self._record(asked.planned_ns, max(asked.own_ns, self._worst_ns) + at_ns - self._polled_ns, at_ns)
                self._sample(&answer, asked.request, at_ns)
        c.have -= begin
        if c.have and begin:
            memmove(c.buffer, c.buffer + begin, c.have)
        if answer.closes or is_end:
            if c.under_way == 0 and answers == 0:
                self._totals.closed_idle += 1
            self._drop(c, TRUNCATED if c.have and not answer.closes else CLOSED, CLOSED, at_ns)
            return -1
        if c.have and c.under_way == 0:
            # Nobody asked for these bytes.
            self._totals.errors[FRAMING] += 1
            self._drop(c, FRAMING, CLOSED, at_ns)
            return -1
        return answers

    cdef int _check(self, const Answer* answer, uint32_t request) noexcept nogil:
        """Compare an answer with what was expected: -1, or the error."""
        cdef const Expected* expected = &self._expected[self._request_kind[request]]
        cdef const char* begin = answer.body
        cdef const char* end = answer.body + answer.body_bytes
        cdef int i
        if answer.status != expected.status:
            return STATUS
        if expected.members == 0:
            return -1
        while end > begin and ((end - 1)[0] == b"\n" or (end - 1)[0] == b"\r" or (end - 1)[0] == b" "):
            end -= 1
        if end - begin < 2 or begin[0] != b"{" or (end - 1)[0] != b"}":
            return BODY
        for i in range(expected.members):
            if memmem(begin, end - begin, expected.member[i], expected.member_bytes[i]) == NULL:
                return BODY
        return -1

    cdef void _sample(self, const Answer* answer, uint32_t request, int64_t at_ns) noexcept nogil:
        """Copy a body now and then, when there is room."""
        cdef Sample* sample
        if at_ns < self._sample_after_ns or answer.body_bytes > SAMPLE_BYTES_MAX:
            return
        if self._sample_head - load_acquire(&self._sample_tail) >= SAMPLES:
            return
        self._sample_after_ns = at_ns + SAMPLE_EVERY_NS
        sample = &self._samples[self._sample_head % SAMPLES]
        sample.request, sample.bytes = request, <uint32_t>answer.body_bytes
        memcpy(sample.body, answer.body, answer.body_bytes)
        load_release(&self._sample_head, self._sample_head + 1)

    cdef void _record(self, int64_t planned_ns, int64_t own_ns, int64_t at_ns) noexcept nogil:
        """Count a latency, the bound of the generator's share in it, and what is left without it."""
        cdef int64_t latency_ns = min(max(at_ns - planned_ns, 0), LATENCY_MAX_NS)
        cdef int64_t at_least_ns
        own_ns = min(max(own_ns, 0), LATENCY_MAX_NS)
        at_least_ns = max(latency_ns - own_ns, 0)
        self._latency[_place(latency_ns)] += 1
        self._at_least[_place(at_least_ns)] += 1
        self._own[_place(own_ns)] += 1
        self._totals.sum_ns += latency_ns
        self._totals.latency_max_ns = max(self._totals.latency_max_ns, latency_ns)
        self._totals.at_least_max_ns = max(self._totals.at_least_max_ns, at_least_ns)
        self._totals.own_max_ns = max(self._totals.own_max_ns, own_ns)
        if at_ns >= self._window_end_ns:
            self._close_window()
            self._window_end_ns = at_ns - (at_ns - self._window_end_ns) % WINDOW_NS + WINDOW_NS
        self._window[_window_place(latency_ns)] += 1
        self._window[WINDOW_PLACES + _window_place(at_least_ns)] += 1
        self._window_count += 1

    cdef void _close_window(self) noexcept nogil:
        """Keep the 99th percentiles of the window that ends, if it says anything."""
        cdef int64_t* grown
        if self._window_count == 0:
            return
        if self._window_count >= WINDOW_LEAST:
            if self._windows == self._windows_room:
                grown = <int64_t*>realloc(self._window_p99_ns, 2 * (2 * self._windows + 1024) * sizeof(int64_t))
                if grown == NULL:
                    return
                self._window_p99_ns, self._windows_room = grown, 2 * self._windows + 1024
            self._window_p99_ns[2 * self._windows] = _window_p99(self._window, self._window_count)
            self._window_p99_ns[2 * self._windows + 1] = _window_p99(self._window + WINDOW_PLACES, self._window_count)
            self._windows += 1
        memset(self._window, 0, 2 * WINDOW_PLACES * sizeof(uint32_t))
        self._window_count = 0

    cdef void _sweep(self, int64_t now_ns) noexcept nogil:
        """Tell the phase; of some connections, those without: connect again, and those that wait too long: give up."""
        cdef int _nth
        cdef Connection* c
        if now_ns >= self._end_ns or self._totals.planned >= self._requests_max:
            self._phase = DRAINING
        elif now_ns >= self._count_from_ns:
            self._phase = COUNTING
        for _nth in range(min(self._count, SWEPT_AT_ONCE)):
            c = &self._connections[self._swept]
            self._swept = (self._swept + 1) % self._count
            if c.socket < 0:
                if c.retry_ns <= now_ns and self._phase < DRAINING:
                    self._connect(c, now_ns)
            elif c.under_way and now_ns - c.asked[c.first].sent_ns > self._timeout_ns:
                self._drop(c, TIMEOUT, TIMEOUT, now_ns)
