# cython: boundscheck=False, wraparound=False
# Earned by `scan`, which compares before every read, with indices of tables that are one byte; by `Lane._write`, behind
# whose `_used` there is room for the longest answer; and by the sizes that Lane.__cinit__ checks.
"""The lane: complete, canonical requests of two paths are answered here, and everything else is left untouched.

Of a third path, that of batches, a canonical head is read here; the protocol answers it (regionresolver/service/
batch_lane.py).

The grammar is far narrower than RFC 9112, so that every parser reads what is accepted alike:

    request   = ( "GET /v1/resolve?" query / "POST /v1/decisions" [ "/batch" ] ) " HTTP/1.1" CRLF *( line CRLF ) CRLF [ body ]
    line      = name ":" OWS value OWS          name = 1*( ALPHA / DIGIT / "-" )      value = *( visible ASCII / SP / HTAB )
    Host      exactly one, of letters, digits, ".", "-" and "_", or an IPv6 address in brackets, with or without a port
    Content-Length      not with GET; exactly one with POST, of 1 to 19 digits without a leading 0
    Content-Type        with POST none, or application/json, in no charset or in UTF-8; with a batch also application/x-ndjson
    Prefer              with a batch none, or return=minimal; otherwise whatever there is
    X-Request-Id        none, or one of 1 to 128 visible characters
    Connection          none, or keep-alive
    User-Agent          none or one, of any content

`scan` reads a head once and says one of four things: MORE to come, CANONICAL, ODD (the head is of the grammar above in a
wider sense, so the end of the request is beyond doubt, but it is for somebody else to answer) or FOREIGN (Transfer-Encoding,
Expect, Upgrade, HTTP/1.0, bytes that are no HTTP: the slow path has to find out itself). What it says depends on the bytes
alone, never on the segments in which they came: a beginning of a request is MORE or what the whole will be.

An answer is a head with four holes and a text that was composed once (_fastpath/texts.pyx). The ping's own id is the first
member of every document, and is put in front of the text.

`Lane` belongs to one event loop. `LaneConnection` is the base of an asyncio protocol (regionresolver/service/protocol.py):
it offers what is received to the lane, sends the answers of a segment together, and hands what is left to its subclass.

A connection all of whose last segment was answered here is read here from then on: its transport stops reading, and its
socket joins a set of the lane's own (epoll), which the loop watches as one. What is ready there is received, answered and
sent in one call from the loop. As soon as anybody else has a say in how the connection is read, the transport reads again.
"""

cimport cython
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset

from _fastpath.access cimport KeyRing, are_equal
from _fastpath.engine cimport now_ns, now_us
from _fastpath.ping cimport Ping, ping_from_json, ping_from_query
from _fastpath.tally cimport Counters, add
from _fastpath.texts cimport LANG_BYTES_MAX

cdef extern from "<sys/socket.h>" nogil:
    int MSG_DONTWAIT, MSG_MORE, MSG_NOSIGNAL

cdef extern from "<sys/syscall.h>" nogil:
    long SYS_recvfrom, SYS_sendto

cdef extern from "<sys/epoll.h>" nogil:
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CTL_MOD
    uint32_t EPOLLET, EPOLLIN, EPOLLRDHUP
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int poll, int operation, int descriptor, epoll_event* event)
    int epoll_wait(int poll, epoll_event* events, int events_max, int timeout_ms)

cdef extern from "<unistd.h>" nogil:
    int close(int descriptor)
    long syscall(long number, ...)

cdef enum:
    METHOD_CHARACTERS_MAX = 16
    CONTENT_LENGTH_DIGITS_MAX = 19
    # What one answer may need: a text of TEXT_BYTES_MAX, the holes' contents and the head around them.
    ANSWER_BYTES_MAX = 20480
    OUT_BYTES = 131072
    IN_BYTES = 65536
    RANDOM_SEED_BYTES = 32
    LONGEST_S = 60
    REQUEST_ID_DIGITS = 32

# How far a part of a head could be read.
cdef enum Step:
    STEP_DONE = 0
    STEP_SHORT      # the bytes end within it
    STEP_BAD        # it is none

# Headers that may come once.
cdef enum:
    SEEN_HOST = 1
    SEEN_TYPE = 2
    SEEN_REQUEST_ID = 4
    SEEN_PREFER = 8
    SEEN_USER_AGENT = 16

# Each change is told once, which saves the kernel a second look at every connection.
cdef uint32_t READ_EVENTS = EPOLLIN | EPOLLRDHUP | EPOLLET

# What `LaneConnection.left_over` is told beside an Outcome.
cdef enum:
    PAUSED = 4
    BATCHED = 5
    CHUNK_HEAD_BYTES = 10   # eight hexadecimal digits and CRLF

MORE_TO_COME, ODD_REQUEST, FOREIGN_BYTES, WRITING_PAUSED, BATCH_REQUEST = MORE, ODD, FOREIGN, PAUSED, BATCHED
OUTCOME_WORDS = {MORE: "more", CANONICAL: "canonical", ODD: "odd", FOREIGN: "foreign"}
ROUTE_WORDS = ("resolve", "decisions")
REASON_WORDS = (
    "", "other_path", "host", "connection", "header", "length", "framing", "limit", "ping", "draining", "fault", "access",
)
BODY_LIMIT_BYTES = BODY_BYTES_MAX

cdef const char* HEAD_TO_ID = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nServer: regionresolver\r\nX-Request-Id: "
)
cdef const char* ID_TO_LENGTH = b"\r\nCache-Control: no-store\r\nContent-Length: "
cdef const char* LENGTH_TO_DATE = b"\r\nDate: "
cdef const char* DATE_TO_BODY = b'\r\n\r\n{"id":'
cdef const char* DIGITS = b"0123456789abcdef"

# 1 for the bytes of a header's name that the lane takes, 2 for the other characters of a token (RFC 9110, section 5.6.2).
cdef uint8_t[256] token
# 1 for visible ASCII, the blank and the tab: what a header's value may have.
cdef uint8_t[256] field
# 1 for visible ASCII.
cdef uint8_t[256] visible
# 1 for what the name in a Host may have.
cdef uint8_t[256] host_name


cdef void fill_tables() noexcept:
    cdef int byte
    for byte in range(256):
        letter_or_digit = byte < 0x80 and chr(byte).isalnum()
        token[byte] = 1 if letter_or_digit or byte == b"-"[0] else 2 if byte in b"!#$%&'*+.^_`|~" else 0
        visible[byte] = 0x21 <= byte <= 0x7E
        field[byte] = visible[byte] or byte in b" \t"
        host_name[byte] = letter_or_digit or byte in b".-_"


fill_tables()


# The system calls themselves: around each, libc's own lets the thread be cancelled, which costs as much as the scanner.

cdef inline Py_ssize_t receive(int socket, char* bytes, size_t size) noexcept nogil:
    return syscall(SYS_recvfrom, socket, bytes, size, MSG_DONTWAIT, NULL, NULL)


cdef inline Py_ssize_t send(int socket, const char* bytes, size_t size, int flags) noexcept nogil:
    return syscall(SYS_sendto, socket, bytes, size, flags | MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0)


# --- the scanner

cdef int scan(const char* text, Py_ssize_t length, Head* out) noexcept nogil:
    """Read the head of the request that begins here, as far as it is there."""
    cdef const char* at = text
    cdef const char* end = text + (length if length < HEAD_BYTES_MAX else HEAD_BYTES_MAX)
    cdef uint32_t seen = 0
    cdef int step, _line
    memset(out, 0, sizeof(Head))
    step = request_line(&at, end, out)
    for _line in range(HEAD_LINES_MAX + 1):
        if step != STEP_DONE:
            break
        if at < end and at[0] == b"\r":
            step = line_end(&at, end)
            break
        step = header_line(&at, end, &seen, out)
    else:
        return foreign(LIMIT, out)
    if step == STEP_BAD:
        return foreign(FRAMING, out)
    if step == STEP_SHORT:
        return MORE if length < HEAD_BYTES_MAX else foreign(LIMIT, out)
    if not seen & SEEN_HOST:
        note_bad_host(out)
    if (out.route == DECIDE or out.route == BATCH) and not out.has_length or out.route == RESOLVE and out.has_length:
        note(LENGTH, out)
    out.head_bytes = at - text
    return CANONICAL if out.reason == PLAIN else ODD


cdef inline int foreign(uint8_t reason, Head* out) noexcept nogil:
    out.reason = reason
    return FOREIGN


cdef inline void note(uint8_t reason, Head* out) noexcept nogil:
    """Keep the first reason against answering here."""
    if out.reason == PLAIN:
        out.reason = reason


cdef inline void note_bad_host(Head* out) noexcept nogil:
    note(HOST, out)
    out.has_bad_host = True


cdef inline int line_end(const char** at, const char* end) noexcept nogil:
    """Read CRLF."""
    return expected(at, end, b"\r\n", 2)


cdef inline int expected(const char** at, const char* end, const char* wanted, Py_ssize_t size) noexcept nogil:
    """Read exactly these bytes."""
    cdef Py_ssize_t there = end - at[0] if end - at[0] < size else size
    if memcmp(at[0], wanted, there) != 0:
        return STEP_BAD
    if there < size:
        return STEP_SHORT
    at[0] += size
    return STEP_DONE


cdef int request_line(const char** at, const char* end, Head* out) noexcept nogil:
    """Read method, target and version; `at` is then behind the line."""
    cdef const char* target
    if end - at[0] >= 16 and memcmp(at[0], b"GET /v1/resolve?", 16) == 0:
        at[0] += 16
        out.route, out.query = RESOLVE, at[0]
        skip(at, end, visible)
        out.query_bytes = at[0] - out.query
    elif end - at[0] >= 19 and memcmp(at[0], b"POST /v1/decisions ", 19) == 0:
        at[0] += 18
        out.route = DECIDE
    elif end - at[0] >= 25 and memcmp(at[0], b"POST /v1/decisions/batch ", 25) == 0:
        at[0] += 24
        out.route = BATCH
    else:
        out.route = ROUTES
        note(OTHER_PATH, out)
        if read_method(at, end) != STEP_DONE:
            return STEP_BAD if at[0] < end else STEP_SHORT
        target = at[0]
        skip(at, end, visible)
        if at[0] < end and at[0] == target:
            return STEP_BAD
    return expected(at, end, b" HTTP/1.1\r\n", 11)


cdef inline void skip(const char** at, const char* end, const uint8_t* table) noexcept nogil:
    """Pass over the bytes that a table marks."""
    cdef const char* here = at[0]
    while here < end and table[<uint8_t>here[0]]:
        here += 1
    at[0] = here


cdef int read_method(const char** at, const char* end) noexcept nogil:
    """Read a method and the blank behind it; `at` is at the end where the bytes are too few. CONNECT makes a tunnel."""
    cdef const char* start = at[0]
    while at[0] < end and (b"A" <= at[0][0] <= b"Z" or at[0][0] == b"-"):
        if at[0] - start == METHOD_CHARACTERS_MAX:
            return STEP_BAD
        at[0] += 1
    if at[0] == end:
        return STEP_SHORT
    if at[0][0] != b" " or at[0] == start or is_word(start, at[0] - start, b"connect", 7):
        return STEP_BAD
    at[0] += 1
    return STEP_DONE


cdef inline int header_line(const char** at, const char* end, uint32_t* seen, Head* out) noexcept nogil:
    """Read one header with its CRLF, and note what it says."""
    cdef const char* name = at[0]
    cdef const char* value
    cdef const char* value_end
    cdef Py_ssize_t name_bytes
    cdef int step
    skip(at, end, token)
    name_bytes = at[0] - name
    if at[0] == end:
        return STEP_SHORT
    if name_bytes == 0 or at[0][0] != b":":
        return STEP_BAD
    at[0] += 1
    while at[0] < end and (at[0][0] == b" " or at[0][0] == b"\t"):
        at[0] += 1
    value = at[0]
    skip(at, end, field)
    value_end = at[0]
    while value_end > value and ((value_end - 1)[0] == b" " or (value_end - 1)[0] == b"\t"):
        value_end -= 1
    step = line_end(at, end)
    if step == STEP_DONE:
        step = note_header(name, name_bytes, value, value_end - value, seen, out)
    return step


cdef inline bint is_word(const char* text, Py_ssize_t size, const char* word, Py_ssize_t word_size) noexcept nogil:
    """Compare with a word in lower case, whatever the case of the text.

    What the bit makes a "-", "/", "=" or digit of are control characters, which no text has that comes here.
    """
    cdef Py_ssize_t i
    if size != word_size:
        return False
    for i in range(size):
        if (text[i] | 0x20) != word[i]:
            return False
    return True


cdef int note_header(
    const char* name, Py_ssize_t name_bytes, const char* value, Py_ssize_t value_bytes, uint32_t* seen, Head* out
) noexcept nogil:
    """Act on the headers that say where a request ends, and on those that its answer depends on."""
    cdef Py_ssize_t i
    for i in range(name_bytes):
        if token[<uint8_t>name[i]] != 1:
            note(HEADER, out)
    if name_bytes == 4 and is_word(name, name_bytes, b"host", 4):
        if seen[0] & SEEN_HOST or not is_host(value, value_bytes):
            note_bad_host(out)
        seen[0] |= SEEN_HOST
    elif name_bytes == 10 and is_word(name, name_bytes, b"connection", 10):
        if is_word(value, value_bytes, b"close", 5):
            note(CONNECTION, out)
        elif not is_word(value, value_bytes, b"keep-alive", 10):
            return STEP_BAD
    elif name_bytes == 10 and is_word(name, name_bytes, b"user-agent", 10):
        if seen[0] & SEEN_USER_AGENT:
            note(HEADER, out)
        seen[0] |= SEEN_USER_AGENT
    elif name_bytes == 12 and is_word(name, name_bytes, b"content-type", 12):
        out.is_stream = out.route == BATCH and is_media_type(value, value_bytes, b"application/x-ndjson", 20)
        if seen[0] & SEEN_TYPE or (out.route == DECIDE or out.route == BATCH) and not (
            out.is_stream or is_media_type(value, value_bytes, b"application/json", 16)
        ):
            note(HEADER, out)
        seen[0] |= SEEN_TYPE
    elif name_bytes == 12 and is_word(name, name_bytes, b"x-request-id", 12):
        if seen[0] & SEEN_REQUEST_ID or not is_request_id(value, value_bytes):
            note(HEADER, out)
        seen[0] |= SEEN_REQUEST_ID
        out.request_id, out.request_id_bytes = value, <uint32_t>value_bytes
    elif name_bytes == 13 and is_word(name, name_bytes, b"authorization", 13):
        if out.key != NULL:
            note(HEADER, out)
        out.key, out.key_bytes = value, <uint32_t>value_bytes
    elif name_bytes == 14 and is_word(name, name_bytes, b"content-length", 14):
        if out.has_length or not read_length(value, value_bytes, &out.body_bytes):
            return STEP_BAD
        out.has_length = True
    elif out.route == BATCH and name_bytes == 6 and is_word(name, name_bytes, b"prefer", 6):
        if seen[0] & SEEN_PREFER or not is_word(value, value_bytes, b"return=minimal", 14):
            note(HEADER, out)
        seen[0] |= SEEN_PREFER
        out.is_minimal = True
    elif (
        name_bytes == 16 and is_word(name, name_bytes, b"content-encoding", 16)
        or name_bytes == 7 and is_word(name, name_bytes, b"trailer", 7)
        # aiohttp refuses each of these when it comes twice, and no client of ours sends one.
        or name_bytes == 4 and is_word(name, name_bytes, b"etag", 4)
        or name_bytes == 6 and is_word(name, name_bytes, b"server", 6)
        or name_bytes == 12 and is_word(name, name_bytes, b"max-forwards", 12)
        or name_bytes == 13 and is_word(name, name_bytes, b"content-range", 13)
        or name_bytes == 16 and is_word(name, name_bytes, b"content-location", 16)
    ):
        note(HEADER, out)
    elif (
        name_bytes == 17 and is_word(name, name_bytes, b"transfer-encoding", 17)
        or name_bytes == 6 and is_word(name, name_bytes, b"expect", 6)
        or name_bytes == 7 and is_word(name, name_bytes, b"upgrade", 7)
        or name_bytes == 16 and is_word(name, name_bytes, b"proxy-connection", 16)
    ):
        return STEP_BAD
    return STEP_DONE


cdef bint is_host(const char* value, Py_ssize_t size) noexcept nogil:
    """Tell whether a value is a name or an IPv6 address in brackets, with or without a port of at most five digits."""
    cdef const char* at = value
    cdef const char* end = value + size
    cdef const char* port
    if size and value[0] == b"[":
        at += 1
        while at < end and (b"0" <= at[0] <= b"9" or b"a" <= (at[0] | 0x20) <= b"f" or at[0] == b":"):
            at += 1
        if at == end or at[0] != b"]" or at == value + 1:
            return False
        at += 1
    else:
        skip(&at, end, host_name)
        if at == value:
            return False
    if at == end:
        return True
    if at[0] != b":":
        return False
    port = at + 1
    at = port
    while at < end and b"0" <= at[0] <= b"9":
        at += 1
    return at == end and 1 <= at - port <= 5


cdef bint is_media_type(const char* value, Py_ssize_t size, const char* word, Py_ssize_t word_size) noexcept nogil:
    """Tell whether a media type is a certain one, in UTF-8 if it says in what."""
    cdef const char* behind = value + word_size + 1
    return is_word(value, size, word, word_size) or (
        word_size < size and value[word_size] == b";" and is_word(value, word_size, word, word_size) and (
            is_word(behind, size - word_size - 1, b"charset=utf-8", 13)
            or size > word_size + 1 and behind[0] == b" " and is_word(behind + 1, size - word_size - 2, b"charset=utf-8", 13)
        )
    )


cdef bint is_request_id(const char* value, Py_ssize_t size) noexcept nogil:
    cdef const char* at = value
    skip(&at, value + size, visible)
    return 0 < size <= REQUEST_ID_MAX and at == value + size


cdef bint read_length(const char* value, Py_ssize_t size, uint64_t* out) noexcept nogil:
    """Read a length; 19 digits fit into 64 bits, and with a head before it what is accepted fits into 63."""
    cdef Py_ssize_t i
    if not 0 < size <= CONTENT_LENGTH_DIGITS_MAX or value[0] == b"0" and size > 1:
        return False
    out[0] = 0
    for i in range(size):
        if not b"0" <= value[i] <= b"9":
            return False
        out[0] = out[0] * 10 + <uint64_t>(value[i] - <char>b"0")
    return out[0] <= INT64_MAX - HEAD_BYTES_MAX


# --- the answers

cdef inline uint64_t rotated(uint64_t word, int by) noexcept nogil:
    return word << by | word >> (64 - by)


cdef uint64_t next_random(uint64_t* state) noexcept nogil:
    """xoshiro256++ (Blackman and Vigna, 2019): request ids have to differ, not to be secret."""
    cdef uint64_t result = rotated(state[0] + state[3], 23) + state[0]
    cdef uint64_t shifted = state[1] << 17
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = rotated(state[3], 45)
    return result


cdef void put_identity(char* at, uint64_t* state) noexcept nogil:
    """Write a new request id: 32 hexadecimal digits."""
    cdef uint64_t[2] random
    cdef int i
    random[0], random[1] = next_random(state), next_random(state)
    for i in range(REQUEST_ID_DIGITS):
        at[i] = DIGITS[random[i >> 4] >> (4 * (i & 15)) & 15]


cdef inline char* put(char* at, const void* text, Py_ssize_t size) noexcept nogil:
    memcpy(at, text, size)
    return at + size


cdef inline char* put_number(char* at, uint64_t number) noexcept nogil:
    cdef char[20] digits
    cdef int first = 20
    while True:
        first -= 1
        digits[first] = DIGITS[number % 10]
        number //= 10
        if number == 0:
            break
    return put(at, &digits[first], 20 - first)


@cython.final
@cython.auto_pickle(False)
cdef class Lane:
    """The answers of one event loop's connections, by the generation that `use` was given last.

    `texts` are those of the generation that answers; `seed` are 32 random bytes.
    A POST with more than `body_limit_bytes` is left to the slow path. While `is_draining` everything is.
    `waiting` is how many requests wait for the slow path, as the connections say; from `refuse_from` on what would be left to
    it whole is refused. `refused` and `left` count those, as far as they came whole.
    """

    def __cinit__(self, Texts texts not None, bytes seed not None, Py_ssize_t body_limit_bytes):
        self._poll = -1     # first: `__dealloc__` closes what it finds, also of a lane that is refused
        if len(seed) != RANDOM_SEED_BYTES or not any(seed):
            raise ValueError(f"a seed of {RANDOM_SEED_BYTES} bytes that are not all 0 is needed")
        memcpy(self._random, PyBytes_AS_STRING(seed), RANDOM_SEED_BYTES)
        self.texts = texts
        self._body_limit = min(max(body_limit_bytes, 0), BODY_BYTES_MAX)
        self._out = <char*>malloc(OUT_BYTES)
        self._in = <char*>malloc(IN_BYTES)
        if self._out == NULL or self._in == NULL:
            raise MemoryError
        memset(self._date, b" "[0], DATE_BYTES)
        self.array_bytes_max = -1
        self.refuse_from = INT64_MAX

    def __dealloc__(self):
        if self._poll >= 0:
            close(self._poll)
        free(self._readers)
        free(self._in)
        free(self._out)

    def open(self):
        """Read connections here from now on; give the descriptor to watch, which is readable when `answer_ready` is due.

        Raises OSError.
        """
        if self._poll < 0:
            self._poll = epoll_create1(EPOLL_CLOEXEC)
            if self._poll < 0:
                raise OSError(errno, "no epoll descriptor to read connections with")
        return self._poll

    @property
    def is_open(self):
        """Whether connections are read here."""
        return self._poll >= 0

    def close(self):
        """Leave every connection to its transport, and read none here any more."""
        cdef int descriptor
        for descriptor in range(self._readers_size):
            if self._readers[descriptor] != NULL:
                (<LaneConnection>self._readers[descriptor]).leave_to_transport()
        if self._poll >= 0:
            close(self._poll)
            self._poll = -1

    def answer_ready(self):
        """Answer what has come on the connections that are read here: all is received and looked up, then all is sent."""
        cdef epoll_event[READY_MAX] events
        cdef LaneConnection connection
        cdef Py_ssize_t size
        cdef int count = epoll_wait(self._poll, events, READY_MAX, 0), i
        self._began_ns, self._used = now_ns(), 0
        for i in range(count):
            if events[i].data.fd >= self._readers_size or self._readers[events[i].data.fd] == NULL:
                continue    # it was ended for another one's sake
            connection = <LaneConnection>self._readers[events[i].data.fd]
            size = receive(events[i].data.fd, self._in, IN_BYTES)
            if size > 0:
                try:
                    connection._received_here(self._in, size)
                except Exception as error:
                    connection._break_off(error)
                if size == IN_BYTES or events[i].events != EPOLLIN:
                    connection._look_again(events[i].events)
            elif size < 0 and errno == EINTR:
                connection._look_again(EPOLLIN)
            elif size == 0 or errno != EAGAIN:
                connection.leave_to_transport()     # it finds the same, and knows what to do
        self._send_waiting()

    cdef int _send_waiting(self) except -1:
        """Send what answers wait for the end of a pass, and count them."""
        cdef Waiting* waiting
        cdef LaneConnection connection
        cdef int i, count = self._waiting_count
        if count == 0:
            return 0
        self._waiting_count = 0
        for i in range(count):
            waiting = &self._waiting[i]
            if self._readers[waiting.descriptor] == NULL:
                continue    # it was ended meanwhile
            connection = <LaneConnection>self._readers[waiting.descriptor]
            try:
                connection._send(self._out + waiting.begin, waiting.end - waiting.begin, 0)
            except Exception as error:
                connection._break_off(error)
        self._used = 0
        self._count_answers(self._began_ns)
        return 0

    cdef int _add_reader(self, int descriptor, LaneConnection connection) except -1:
        """Read a connection here; it is kept until `_drop_reader`."""
        cdef epoll_event event
        cdef PyObject** readers
        cdef Py_ssize_t size = self._readers_size
        if descriptor >= size:
            size = 2 * descriptor + 64
            readers = <PyObject**>realloc(self._readers, size * sizeof(PyObject*))
            if readers == NULL:
                raise MemoryError
            memset(readers + self._readers_size, 0, (size - self._readers_size) * sizeof(PyObject*))
            self._readers, self._readers_size = readers, size
        event.events, event.data.fd = READ_EVENTS, descriptor
        if epoll_ctl(self._poll, EPOLL_CTL_ADD, descriptor, &event) != 0:
            raise OSError(errno, "a connection cannot be watched")
        Py_INCREF(connection)
        self._readers[descriptor] = <PyObject*>connection
        return 0

    cdef int _drop_reader(self, int descriptor) except -1:
        """Read a connection here no more."""
        connection = <LaneConnection>self._readers[descriptor]
        epoll_ctl(self._poll, EPOLL_CTL_DEL, descriptor, NULL)
        self._readers[descriptor] = NULL
        Py_DECREF(connection)
        return 0

    def use(self, Texts texts not None):
        """Answer with the texts of another generation from the next request on."""
        self.texts = texts

    @property
    def batch(self):
        """(head bytes, body bytes, whether it is a stream, whether it is minimal, request id) of the BATCH_REQUEST just left."""
        return (
            self._batch.head_bytes, self._batch.body_bytes, bool(self._batch.is_stream), bool(self._batch.is_minimal),
            self._batch_id,
        )

    @property
    def date(self):
        """The Date of the answers now."""
        return self._date[:DATE_BYTES]

    def set_date(self, bytes date not None):
        """Set the Date of the answers from now on, 29 bytes of RFC 9110's IMF-fixdate."""
        if len(date) != DATE_BYTES:
            raise ValueError("a date has 29 bytes")
        memcpy(self._date, PyBytes_AS_STRING(date), DATE_BYTES)

    def count_in(self, answered, requests, histograms, Counters declined not None, edges_ns):
        """Count in these words too from now on, which go on from what they hold.

        `answered`, `requests` and `histograms` have Counters for each of ROUTE_WORDS: one word, one word, and a histogram
        over the edges, in nanoseconds; `declined` has a word for each of REASON_WORDS but the first. Raises ValueError for too
        few words, or too many edges.
        """
        cdef LaneCounters counters
        cdef Counters words
        cdef list edges = list(edges_ns)
        cdef int i
        memset(&counters, 0, sizeof(LaneCounters))
        held = (*answered, *requests, *histograms, declined)
        least = (*(1,) * (2 * ROUTES), *(len(edges) + 2,) * ROUTES, REASONS - 1)
        if len(edges) > EDGES_MAX or len(held) != len(least):
            raise ValueError("too many edges, or not every route has its words")
        for i in range(len(held)):
            words = held[i]
            if words.count < <Py_ssize_t>least[i]:
                raise ValueError("too few words to count in")
            if i < ROUTES:
                counters.answered[i] = words._words
            elif i < 2 * ROUTES:
                counters.requests[i - ROUTES] = words._words
            elif i < 3 * ROUTES:
                counters.histograms[i - 2 * ROUTES] = words._words
            else:
                counters.declined = words._words
        counters.edge_count = <uint32_t>len(edges)
        for i in range(len(edges)):
            counters.edges_ns[i] = edges[i]
        self._counters, self._held = counters, held

    cdef void _count_answers(self, int64_t began_ns) noexcept nogil:
        """Count what a segment was answered with; each of its answers took as long as all of them.

        The clock is the calendar's, which was read already for the decisions: when it was set meanwhile, no time has passed.
        """
        cdef int64_t took_ns = now_ns() - began_ns if self._counters.declined != NULL else 0
        cdef uint64_t count
        cdef uint32_t edge = 0
        cdef int i
        if not 0 <= took_ns < <int64_t>LONGEST_S * 1000000000:
            took_ns = 0
        while edge < self._counters.edge_count and self._counters.edges_ns[edge] < <uint64_t>took_ns:
            edge += 1
        for i in range(ROUTES):
            count = self._fresh[i]
            if count == 0:
                continue
            self._fresh[i] = 0
            self._answered[i] += count
            if self._counters.declined != NULL:
                add(self._counters.answered[i], count)
                add(self._counters.requests[i], count)
                add(&self._counters.histograms[i][edge], count)
                add(&self._counters.histograms[i][self._counters.edge_count + 1], count * <uint64_t>took_ns)

    cdef void _count_declined(self, uint8_t reason) noexcept nogil:
        self._declined[reason] += 1
        if self._counters.declined != NULL and reason != PLAIN:
            add(&self._counters.declined[reason - 1], 1)

    def log_requests(self, tell, double share):
        """Call `tell(route, id, whether the client gave it, microseconds)` for a share of the answered requests."""
        self._tell = tell
        self._told_below = 0xFFFFFFFFFFFFFFFF if share >= 1.0 else <uint64_t>(share * 18446744073709551616.0)

    cdef int _tell_answered(self, const Head* head, int64_t at_us) except -1:
        """Tell of the request that was answered just now, if it is one of the share."""
        cdef Py_ssize_t size = REQUEST_ID_DIGITS if head.request_id == NULL else <Py_ssize_t>head.request_id_bytes
        if next_random(self._random) <= self._told_below:
            try:
                self._tell(ROUTE_WORDS[head.route], self._told_id[:size], head.request_id != NULL, now_us() - at_us)
            except Exception:  # nothing may fail an answer
                return 0
        return 0

    def counts(self):
        """Return how many requests this lane has answered, by route, and how many declined, by reason."""
        cdef int i
        answered = {ROUTE_WORDS[i]: self._answered[i] for i in range(ROUTES)}
        return answered, {REASON_WORDS[i]: self._declined[i] for i in range(1, REASONS)}

    cdef int _keep_batch(self, const Head* head) except -1:
        """Keep what the protocol has to know of a batch; the texts of its head are not there for long."""
        self._batch = head[0]
        self._batch_id = None if head.request_id == NULL else head.request_id[:head.request_id_bytes]
        return 0

    cdef int _scan(self, const char* text, Py_ssize_t length, Head* out) noexcept nogil:
        """Scan a head; of lines that are those of the request before, byte for byte, what they come to is known.

        Lines with a request id do not come twice. What lines come to depends on the route and on nothing else before
        them, and where they end on themselves alone.
        """
        cdef Remembered* last = &self._remembered
        cdef const char* at = text
        cdef int outcome
        memset(out, 0, sizeof(Head))
        if request_line(&at, text + length, out) == STEP_DONE and out.route == last.head.route and (
            0 < last.size <= length - (at - text) and at - text + last.size <= HEAD_BYTES_MAX
            and memcmp(at, last.text, last.size) == 0
        ):
            out.head_bytes = at - text + last.size
            out.body_bytes, out.has_length = last.head.body_bytes, last.head.has_length
            out.is_stream, out.is_minimal = last.head.is_stream, last.head.is_minimal
            return CANONICAL
        outcome = scan(text, length, out)
        # Where keys are asked for, lines with one are not compared: how long that takes would tell of another's key.
        if outcome == CANONICAL and out.request_id == NULL and (self.keys is None or out.key == NULL) and (
            out.head_bytes - (at - text) <= REMEMBERED_BYTES_MAX
        ):
            last.size, last.head = out.head_bytes - (at - text), out[0]
            memcpy(last.text, at, last.size)
        return outcome

    cdef int _answer_one(self, const Head* head, const char* body, int64_t at_us):
        """Answer a canonical request into the output, as of an instant; else say why not."""
        cdef Ping ping
        cdef const Composed* composed
        if head.route == RESOLVE:
            if ping_from_query(head.query, head.query_bytes, &ping) != 0:
                return PING
            composed = self.texts.resolved(&ping, at_us)
        else:
            if ping_from_json(body, <Py_ssize_t>head.body_bytes, &ping) != 0 or ping.lang_bytes > LANG_BYTES_MAX:
                return PING
            composed = self.texts.decided(&ping, at_us)
        if composed == NULL:
            return FAULT
        self._write(head, &ping, composed)
        self._fresh[head.route] += 1
        return PLAIN

    def set_refusal(self, parts, spared):
        """Set the answer to what is refused: three `parts`, with a request id between each two; the head ends in the second.

        A request that begins as one of `spared` never is. Raises ValueError for an answer that is too long.
        """
        cdef tuple taken = tuple(bytes(part) for part in parts)
        if len(taken) != 3 or sum(map(len, taken)) + 2 * REQUEST_ID_DIGITS > ANSWER_BYTES_MAX or b"\r\n\r\n" not in taken[1]:
            raise ValueError("a refusal has three parts, the end of a head in the second, and the length of an answer at most")
        head_end = taken[1][:taken[1].index(b"\r\n\r\n") + 4]
        self._refusal, self._bare_refusal = taken, (taken[0], head_end)
        self._spared = tuple(bytes(start) for start in spared)

    cdef bint _refuses(self, const char* request, Py_ssize_t size):
        """Answer a whole request that would be left with the refusal, if too many wait already."""
        cdef bytes start, part
        cdef tuple parts
        cdef char* at
        cdef char[REQUEST_ID_DIGITS] identity
        cdef int i
        if self.waiting < self.refuse_from or self.is_draining or self._refusal is None:
            return False
        for start in self._spared:
            if PyBytes_GET_SIZE(start) <= size and memcmp(request, PyBytes_AS_STRING(start), PyBytes_GET_SIZE(start)) == 0:
                return False
        put_identity(identity, self._random)
        at = self._out + self._used
        parts = self._bare_refusal if size > 5 and memcmp(request, b"HEAD ", 5) == 0 else self._refusal
        for i in range(len(parts)):
            if i:
                at = put(at, identity, REQUEST_ID_DIGITS)
            part = <bytes>parts[i]
            at = put(at, PyBytes_AS_STRING(part), PyBytes_GET_SIZE(part))
        self._used = at - self._out
        self.refused += 1
        return True

    cdef void _write(self, const Head* head, const Ping* ping, const Composed* composed) noexcept nogil:
        """Write head and document behind what is written already."""
        cdef char* at = self._out + self._used
        cdef uint64_t id_bytes = 4 if ping.id == NULL else 2 + ping.id_bytes
        at = put(at, HEAD_TO_ID, 87)
        self._told_id = at
        if head.request_id != NULL:
            at = put(at, head.request_id, head.request_id_bytes)
        else:
            put_identity(at, self._random)
            at += REQUEST_ID_DIGITS
        at = put(at, ID_TO_LENGTH, 43)
        at = put_number(at, 6 + id_bytes + composed.size)
        at = put(at, LENGTH_TO_DATE, 8)
        at = put(at, self._date, DATE_BYTES)
        at = put(at, DATE_TO_BODY, 10)
        if ping.id == NULL:
            at = put(at, b"null", 4)
        else:
            at[0] = b'"'
            at = put(at + 1, ping.id, ping.id_bytes)
            at[0] = b'"'
            at += 1
        at = put(at, composed + 1, <Py_ssize_t>composed.size)
        self._used = at - self._out


@cython.auto_pickle(False)
cdef class LaneConnection:
    """A connection whose bytes are offered to the lane first. A subclass defines:

    `received_elsewhere(received)`, for what comes while `is_elsewhere`, and `left_over(rest, is_behind, outcome, size,
    is_vetted)`, for what the lane leaves, which stands behind answered requests or not: a request of `size` bytes that is
    ODD_REQUEST, a BATCH_REQUEST whose head has `size` bytes (`lane.batch` tells of it), the beginning of a request that is
    MORE_TO_COME (`size` is 0 until its head is whole), FOREIGN_BYTES, or anything at all while WRITING_PAUSED. The head of an
    ODD_REQUEST that `is_vetted` holds to all that the service's guard asks for.
    `failed(error)` is told of a fault in the middle of what `lane.answer_ready` does, and ends the connection.
    A subclass that leaves the lane, or pauses reading, calls `leave_to_transport` or `stop_reading_here` before.
    `deadline` is in the loop's seconds. Set `may_be_queued` after a write to the transport that was not the lane's.
    """

    def __cinit__(self, Lane lane not None, *arguments):
        self.lane = lane
        self._socket = -1

    def connection_made(self, transport):
        """Take the transport, and its socket: as long as nothing waits in the transport, answers are sent directly."""
        self.transport = transport
        found = transport.get_extra_info("socket")
        # Under TLS the socket carries what the transport makes of the answers.
        is_bare = found is not None and transport.get_extra_info("sslcontext") is None
        self._socket = found.fileno() if is_bare else -1

    def data_received(self, bytes received not None):
        """Answer what the lane can answer, in one write; the subclass gets the rest."""
        if self.is_read_here:   # somebody let the transport read on
            self.stop_reading_here()
        if self.is_elsewhere:
            self.received_elsewhere(received)
        else:
            self.offer(received)
            if self.lane._poll >= 0 and self._socket >= 0 and not self.is_elsewhere and not self.may_be_queued:
                self._read_here()

    cpdef int offer(self, bytes received) except -1:
        """Answer the canonical requests at the beginning of the bytes; the subclass gets the rest."""
        self.lane._began_ns, self.lane._used = now_ns(), 0
        return self._offer(PyBytes_AS_STRING(received), PyBytes_GET_SIZE(received), received)

    cdef int _received_here(self, const char* text, Py_ssize_t size) except -1:
        """Take bytes that were received here."""
        if not self.is_elsewhere:
            return self._offer(text, size, None)
        self.lane._send_waiting()
        self.received_elsewhere(PyBytes_FromStringAndSize(text, size))
        self.lane._began_ns = now_ns()
        return 0

    cdef int _offer(self, const char* text, Py_ssize_t size, bytes received) except -1:
        """Answer requests as of the lane's instant; `received` are the bytes where there is an object of them.

        Where there is none the answers wait for the end of the pass, unless the subclass is to get a rest.
        """
        cdef Lane lane = self.lane
        cdef Py_ssize_t at = 0, whole = 0, begin = lane._used
        cdef int outcome = MORE
        cdef int64_t at_us = lane._began_ns // 1000
        cdef Head head
        while at < size:
            whole = 0
            outcome = lane._scan(text + at, size - at, &head)
            if outcome == CANONICAL:
                whole = head.head_bytes + <Py_ssize_t>head.body_bytes
                if lane.is_draining:
                    head.reason = DRAINING
                elif lane.keys is not None and not self._may_ask(lane.keys, &head, at_us):
                    head.reason = ACCESS
                elif head.route == BATCH:   # what every request has to fulfil is asked above: this one leaves here
                    if lane.array_bytes_max < 0:
                        head.reason = OTHER_PATH
                    elif not head.is_stream and head.body_bytes > <uint64_t>lane.array_bytes_max:
                        head.reason = LENGTH
                    else:
                        if lane.keys is not None:
                            lane.keys.spend(self._key_row)
                        lane._keep_batch(&head)
                        outcome, whole = BATCHED, head.head_bytes
                        break
                elif head.body_bytes > <uint64_t>lane._body_limit:
                    head.reason = LENGTH
                elif size - at < whole:
                    outcome = MORE
                    break
                else:
                    head.reason = lane._answer_one(&head, text + at + head.head_bytes, at_us)
                    if lane.keys is not None and head.reason == PLAIN:
                        lane.keys.spend(self._key_row)
                    if lane._tell is not None and head.reason == PLAIN:
                        lane._tell_answered(&head, at_us)
                if head.reason != PLAIN:
                    outcome = ODD
            if outcome == ODD:
                whole = head.head_bytes + <Py_ssize_t>head.body_bytes
                if whole <= size - at and lane._refuses(text + at, whole):
                    outcome = CANONICAL
                elif whole <= size - at:
                    lane.left += 1
            if outcome == CANONICAL:    # and answered
                at += whole
                if lane._used <= OUT_BYTES - ANSWER_BYTES_MAX:
                    continue
                self._flush(begin)
                begin = 0
                if not self.is_writing_paused:
                    continue
                outcome = PAUSED
                break
            if outcome != MORE:     # a BATCHED one has broken out before
                lane._count_declined(head.reason)
            break
        if at:
            self.has_asked = True
            self.deadline = lane.idle_deadline
        if at == size and received is None and lane._waiting_count < READY_MAX:
            if lane._used > begin:
                lane._waiting[lane._waiting_count] = Waiting(begin, lane._used, self._socket)
                lane._waiting_count += 1
            return 0
        if at:
            self._flush(begin)
        if at < size:
            lane._send_waiting()
            self.left_over(
                received if received is not None and at == 0 else PyBytes_FromStringAndSize(text + at, size - at),
                at != 0, outcome, whole, not head.has_bad_host,
            )
            lane._began_ns = now_ns()
        return 0

    cdef bint _may_ask(self, KeyRing keys, const Head* head, int64_t at_us):
        """Tell whether a request shows a key that may ask now; the slow path tells clients why not."""
        cdef bytes shown
        cdef Py_ssize_t row
        if head.key == NULL:
            return False
        if self._key is None or self._key_epoch != keys.epoch or PyBytes_GET_SIZE(self._key) != <Py_ssize_t>head.key_bytes or (
            not are_equal(PyBytes_AS_STRING(self._key), head.key, head.key_bytes)
        ):
            shown = head.key[:head.key_bytes]
            try:
                row = keys.look_up(shown)
            except Exception:  # the slow path tells
                return False
            if row < 0:
                return False
            self._key, self._key_epoch, self._key_row = shown, keys.epoch, row
        return keys.may_ask(self._key_row, at_us)

    cdef int _flush(self, Py_ssize_t begin) except -1:
        """Send the answers that are written: those that wait, and this connection's, which begin there."""
        cdef Lane lane = self.lane
        cdef Py_ssize_t size = lane._used - begin
        if lane._waiting_count:
            lane._send_waiting()
        lane._used = 0
        if size:
            self._send(lane._out + begin, size, 0)
        lane._count_answers(lane._began_ns)
        return 0

    cdef int _read_here(self) except -1:
        """Read the connection in the lane's own set from now on."""
        if not self.transport.is_closing():
            self.transport.pause_reading()
            self.lane._add_reader(self._socket, self)
            self.is_read_here = True
        return 0

    cpdef int stop_reading_here(self) except -1:
        """Read the connection here no more; nobody reads it then."""
        if self.is_read_here:
            self.is_read_here = False
            self.lane._drop_reader(self._socket)
        return 0

    cpdef int leave_to_transport(self) except -1:
        """Let the transport read the connection, if it was read here."""
        if self.is_read_here:
            self.stop_reading_here()
            if not self.transport.is_closing():
                self.transport.resume_reading()
        return 0

    cdef int _look_again(self, uint32_t events) except -1:
        """Take care of what is not told twice: that there is more to receive, or that the client sends no more."""
        cdef epoll_event event
        if not self.is_read_here:
            return 0
        if events != EPOLLIN:
            self.lane._send_waiting()
            return self.leave_to_transport()
        event.events, event.data.fd = READ_EVENTS, self._socket
        epoll_ctl(self.lane._poll, EPOLL_CTL_MOD, self._socket, &event)
        return 0

    cdef int _break_off(self, error) except -1:
        """End the connection for a fault of ours, as a transport does when its protocol raises."""
        self.stop_reading_here()
        self.failed(error)
        return 0

    cpdef int send_part(self, bytes part, bint as_chunk) except -1:
        """Send a part of an answer, as it is or as a chunk of chunked coding."""
        cdef char[CHUNK_HEAD_BYTES] head
        cdef Py_ssize_t size = PyBytes_GET_SIZE(part), digits = CHUNK_HEAD_BYTES - 2, left = size
        if not as_chunk:
            return self._send(PyBytes_AS_STRING(part), size, 0)
        head[CHUNK_HEAD_BYTES - 2], head[CHUNK_HEAD_BYTES - 1] = b"\r", b"\n"
        while left:
            digits -= 1
            head[digits] = DIGITS[left & 15]
            left >>= 4
        self._send(&head[digits], CHUNK_HEAD_BYTES - digits, MSG_MORE)
        self._send(PyBytes_AS_STRING(part), size, MSG_MORE)
        return self._send(b"\r\n", 2, 0)

    cdef int _send(self, const char* text, Py_ssize_t size, int flags) except -1:
        """Send bytes; what the socket does not take at once goes to the transport."""
        cdef Py_ssize_t sent = 0
        if self.may_be_queued and self.transport.get_write_buffer_size() == 0:
            self.may_be_queued = False
        if self._socket >= 0 and not self.may_be_queued:
            sent = send(self._socket, text, size, flags)
            if sent == size:
                return 0
            if sent < 0:
                sent = 0    # full, or gone: the transport finds out
        self.may_be_queued = True
        self.transport.write(PyBytes_FromStringAndSize(text + sent, size - sent))
        return 0


# --- the face in Python, for tests

def scan_head(bytes text not None):
    """Scan the head at the beginning of some bytes.

    Returns (outcome, reason, route or None, head bytes, body bytes, query or None, request id or None) in words.
    """
    cdef Head head
    cdef int outcome = scan(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &head)
    if outcome == MORE or outcome == FOREIGN:
        return OUTCOME_WORDS[outcome], REASON_WORDS[head.reason], None, 0, 0, None, None
    return (
        OUTCOME_WORDS[outcome], REASON_WORDS[head.reason],
        None if head.route == ROUTES else "batch" if head.route == BATCH else ROUTE_WORDS[head.route],
        head.head_bytes, head.body_bytes, None if head.query == NULL else head.query[:head.query_bytes],
        None if head.request_id == NULL else head.request_id[:head.request_id_bytes],
    )


def is_vetted(bytes text not None):
    """Tell whether a head that is CANONICAL or ODD holds to all that the service's guard asks for."""
    cdef Head head
    cdef int outcome = scan(PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text), &head)
    return (outcome == CANONICAL or outcome == ODD) and not head.has_bad_host
