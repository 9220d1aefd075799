# cython: boundscheck=False, wraparound=False
# Earned by `Saying`, in whose bytes there is room for one answer more than SLICE_BYTES, behind which a slice ends; and by
# `Elements._grow`, before every element that is kept.
"""Batches of pings: the lines of a stream, or the elements of an array, answered without an object a ping.

A slice of work is bounded in pings and in bytes of answers, so that whoever calls can share the loop between two. Where a
slice stops, `at` is the place of the next line or element, and a word says why:

    WHOLE    nothing is left: of a piece of a stream, no line that has come whole
    SLICE    there is more, and the loop has been held for long enough
    ODD      what stands here is for Python: it is not of the grammar of _fastpath/ping.pyx, it is too long, or it is
             answered with a notice or an error

An odd one keeps its place: Python answers it, and goes on behind it. What is of the grammar is answered with the text of
_fastpath/texts.pyx, its id in front. So the answers are those of the single path, byte for byte.

An array is read to its end before anything is decided: an element that cannot be told apart from the next one refuses all
of them. `Elements` keeps what was read; of an odd one Python finds the end (regionresolver/service/batch_items.py).

    array    = ws "[" ws [ element *( ws "," ws element ) ] ws "]" ws
    lines    = *( [ ping ] LF )          blanks, tabs and carriage returns alone are no line
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_XDECREF
from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memchr, memcpy

from _fastpath.address cimport Address
from _fastpath.engine cimport now_us
from _fastpath.fusion cimport OK
from _fastpath.ping cimport Ping, ping_at, ping_within
from _fastpath.policy_table cimport ALLOW
from _fastpath.prefix_trie cimport PrefixTrie
from _fastpath.texts cimport LANG_BYTES_MAX, TEXT_BYTES_MAX, Composed, Texts

cdef extern from "Python.h":
    PyObject* new_bytes "PyBytes_FromStringAndSize" (const char* text, Py_ssize_t size) except NULL
    char* bytes_of "PyBytes_AS_STRING" (PyObject* text)
    int _PyBytes_Resize(PyObject** text, Py_ssize_t size) except -1

cdef enum:
    # One call holds the loop for some tenths of a millisecond.
    SLICE_PINGS = 1024
    SLICE_BYTES = 131072
    # A text, `{"id":`, the id in quotes, and what stands around it.
    ANSWER_BYTES_MAX = TEXT_BYTES_MAX + 1024
    FIRST_ELEMENTS = 256
    # Pings that are read side by side, so that the misses of their lookups overlap.
    BLOCK_PINGS = 32
    BLOCK_LINES = 256   # empty ones too

cdef enum Stop:
    STOP_WHOLE = 0
    STOP_SLICE
    STOP_ODD

WHOLE, SLICE, ODD = STOP_WHOLE, STOP_SLICE, STOP_ODD


# What a slice says is written into the bytes object that is given back, which is cut to its size at last.
cdef struct Saying:
    PyObject* text
    char* begin
    char* at


cdef int begin_to_say(Saying* saying) except -1:
    saying.text = new_bytes(NULL, SLICE_BYTES + ANSWER_BYTES_MAX)
    saying.begin = saying.at = bytes_of(saying.text)
    return 0


cdef bytes end_saying(Saying* saying):
    """Give what was said, and forget it."""
    cdef bytes said
    _PyBytes_Resize(&saying.text, saying.at - saying.begin)     # without memory it lets go of the text itself
    said = <bytes>saying.text
    Py_DECREF(said)     # the reference that was ours
    saying.text = NULL
    return said


cdef inline void say(Saying* saying, const Ping* ping, const Composed* composed) noexcept nogil:
    """Put the id in front of the text that goes with it."""
    cdef char* at = saying.at
    memcpy(at, b'{"id":', 6)
    at += 6
    if ping.id == NULL:
        memcpy(at, b"null", 4)
        at += 4
    else:
        at[0] = b'"'
        memcpy(at + 1, ping.id, ping.id_bytes)
        at += ping.id_bytes + 2
        (at - 1)[0] = b'"'
    memcpy(at, composed + 1, composed.size)
    saying.at = at + composed.size


cdef inline void put_byte(Saying* saying, char byte) noexcept nogil:
    saying.at[0] = byte
    saying.at += 1


cdef inline bint is_blank(char byte) noexcept nogil:
    return byte == b" " or byte == b"\t" or byte == b"\r"


cdef inline const char* skip_line_blanks(const char* at, const char* end) noexcept nogil:
    while at < end and is_blank(at[0]):
        at += 1
    return at


cdef inline const char* skip_blanks(const char* at, const char* end) noexcept nogil:
    """Pass over JSON's white space."""
    while at < end and (is_blank(at[0]) or at[0] == b"\n"):
        at += 1
    return at


# Pings of lines: where each ends, and where the first begins.
cdef struct Block:
    Ping[BLOCK_PINGS] pings
    Py_ssize_t[BLOCK_PINGS] ends
    Py_ssize_t begin
    int count


cdef inline void warm(PrefixTrie trie, const Block* block) noexcept nogil:
    """Bring what the lookups of a block will read into the cache: all of them one step at a time is faster than one by one."""
    cdef Address[BLOCK_PINGS] addresses
    cdef uint32_t[BLOCK_PINGS] ignored
    cdef int i, count = 0
    for i in range(block.count):
        if block.pings[i].signals.ip_status == OK:
            addresses[count] = block.pings[i].signals.address
            count += 1
    trie.find_values(addresses, ignored, count)


cdef inline void warm_elements(PrefixTrie trie, const Element* elements, Py_ssize_t there) noexcept nogil:
    """The same for the next elements."""
    cdef Address[BLOCK_PINGS] addresses
    cdef uint32_t[BLOCK_PINGS] ignored
    cdef int i, count = 0
    for i in range(min(there, BLOCK_PINGS)):
        if not elements[i].is_odd and elements[i].ping.signals.ip_status == OK:
            addresses[count] = elements[i].ping.signals.address
            count += 1
    trie.find_values(addresses, ignored, count)


@cython.final
@cython.auto_pickle(False)
cdef class BatchAnswers:
    """The answers to one batch, and the count of what they decided.

    A ping of more than `ping_bytes_max` is ODD. With `minimal` nothing is said of allowed pings.
    """

    def __cinit__(self, Py_ssize_t ping_bytes_max, bint minimal):
        self._ping_bytes_max, self._minimal = ping_bytes_max, minimal

    @property
    def effects(self):
        """How many pings were answered here, by effect: (allow, deny, review)."""
        return self._effects[0], self._effects[1], self._effects[2]

    def lines(self, Texts texts not None, bytes piece not None, Py_ssize_t at):
        """Answer the lines of a piece that begin at `at` or behind it and end in it, a line each.

        Returns (at, stop, said).
        """
        cdef const char* begin = PyBytes_AS_STRING(piece)
        cdef Py_ssize_t pings = 0
        cdef int64_t at_us = now_us()
        cdef int stop = STOP_SLICE, block
        cdef bint is_full
        cdef Saying saying
        cdef Block read
        if not 0 <= at <= PyBytes_GET_SIZE(piece):
            raise ValueError("there is no such place in the piece")
        begin_to_say(&saying)
        try:
            while stop == STOP_SLICE and pings < SLICE_PINGS and saying.at - saying.begin < SLICE_BYTES:
                stop = self._read_lines(begin, PyBytes_GET_SIZE(piece), &at, &read)
                warm(texts.engine._trie, &read)
                for block in range(read.count):
                    is_full = saying.at - saying.begin >= SLICE_BYTES
                    if is_full or not self._answer(texts, &read.pings[block], at_us, False, &saying):
                        at, stop = read.ends[block - 1] if block else read.begin, STOP_SLICE if is_full else STOP_ODD
                        break
                pings += max(read.count, 1)
            return at, stop, end_saying(&saying)
        finally:
            Py_XDECREF(saying.text)

    cdef int _read_lines(self, const char* begin, Py_ssize_t size, Py_ssize_t* at, Block* out) noexcept nogil:
        """Read the pings of the next lines; `at` is then behind the last one that was read, or is to be passed over."""
        cdef const char* end = begin + size
        cdef const char* line
        cdef const char* line_end
        cdef int _line
        out.begin, out.count = at[0], 0
        for _line in range(BLOCK_LINES):
            line = begin + at[0]
            line_end = <const char*>memchr(line, b"\n", end - line)
            if line_end == NULL:
                return STOP_WHOLE
            if skip_line_blanks(line, line_end) != line_end:
                if (
                    line_end - line > self._ping_bytes_max
                    or ping_within(line, line_end - line, end - line, &out.pings[out.count]) != 0
                ):
                    return STOP_ODD
                out.ends[out.count] = line_end + 1 - begin
                out.count += 1
            at[0] = line_end + 1 - begin
            if out.count == BLOCK_PINGS:
                break
        return STOP_SLICE

    def elements(self, Texts texts not None, Elements elements not None, Py_ssize_t at):
        """Answer elements from number `at` on, each with a comma in front unless nothing was said before.

        Returns (at, stop, said).
        """
        cdef int stop = STOP_WHOLE
        cdef Py_ssize_t end = at + SLICE_PINGS
        cdef int64_t at_us = now_us()
        cdef Saying saying
        cdef Element* element
        if not 0 <= at <= elements._count:
            raise ValueError("there is no such element")
        begin_to_say(&saying)
        try:
            while at < elements._count:
                if at == end or saying.at - saying.begin >= SLICE_BYTES:
                    stop = STOP_SLICE
                    break
                if (end - at) % BLOCK_PINGS == 0:
                    warm_elements(texts.engine._trie, &elements._elements[at], elements._count - at)
                element = &elements._elements[at]
                if element.is_odd or not self._answer(texts, &element.ping, at_us, True, &saying):
                    stop = STOP_ODD
                    break
                at += 1
            return at, stop, end_saying(&saying)
        finally:
            Py_XDECREF(saying.text)

    cdef inline bint _answer(self, Texts texts, Ping* ping, int64_t at_us, bint in_array, Saying* saying):
        """Decide on a ping and say it; False where the text is not to be had, and nothing is counted."""
        cdef const Composed* composed
        if ping.lang_bytes > LANG_BYTES_MAX:
            return False
        try:
            composed = texts.decided(ping, at_us)
        except Exception:   # Python answers, and tells what is wrong
            return False
        if composed == NULL:
            return False
        self._effects[composed.key.effect] += 1
        if self._minimal and composed.key.effect == ALLOW:
            return True
        if in_array and self.has_said:
            put_byte(saying, b",")
        self.has_said = True
        say(saying, ping, composed)
        if not in_array:
            put_byte(saying, b"\n")
        return True


@cython.final
@cython.auto_pickle(False)
cdef class Elements:
    """The elements of an array of pings, read from `body` in slices.

    An element of more than `ping_bytes_max` counts as odd. `body` is held, and must not be resized, as long as this lives.
    """

    def __cinit__(self, body not None, Py_ssize_t ping_bytes_max):
        PyObject_GetBuffer(body, &self._body, PyBUF_SIMPLE)
        self._ping_bytes_max = ping_bytes_max

    def __dealloc__(self):
        free(self._elements)
        PyBuffer_Release(&self._body)

    def __len__(self):
        return self._count

    def __getitem__(self, Py_ssize_t number):
        """Where an element begins and ends."""
        if not 0 <= number < self._count:
            raise IndexError("there is no such element")
        return self._elements[number].begin, self._elements[number].end

    def read(self, Py_ssize_t at, Py_ssize_t most):
        """Read elements that begin at `at`, with what parts each from the next, until there are more than `most`.

        Returns (at, stop). ODD is what is not of the grammar, or has neither a comma nor a bracket behind it; behind the
        closing bracket stop is WHOLE.
        """
        cdef const char* begin = <const char*>self._body.buf
        cdef const char* end = begin + self._body.len
        cdef const char* behind
        cdef Py_ssize_t size, pings = 0
        cdef Element* element
        if not 0 <= at <= self._body.len:
            raise ValueError("there is no such place in the body")
        while pings < SLICE_PINGS and self._count <= most:
            behind = begin + at
            if end - behind > SLICE_BYTES:      # a hostile run of blanks is for the walk in steps
                behind = skip_blanks(behind, behind + SLICE_BYTES)
            else:
                behind = skip_blanks(behind, end)
            at = behind - begin
            element = self._new()
            size = ping_at(behind, min(end - behind, self._ping_bytes_max), end - behind, &element.ping)
            if size < 0:
                return at, STOP_ODD
            behind = skip_blanks(behind + size, min(end, behind + size + SLICE_BYTES))
            if behind == end or (behind[0] != b"," and behind[0] != b"]"):
                return at, STOP_ODD
            element.begin, element.end, element.is_odd = at, at + size, False
            self._count += 1
            pings += 1
            at = behind + 1 - begin
            if behind[0] == b"]":
                return at, STOP_WHOLE
        return at, STOP_SLICE

    def add_odd(self, Py_ssize_t begin, Py_ssize_t end):
        """Take an element that was not of the grammar."""
        cdef Element* element = self._new()
        if not 0 <= begin <= end <= self._body.len:
            raise ValueError("there is no such place in the body")
        element.begin, element.end, element.is_odd = begin, end, True
        self._count += 1

    cdef Element* _new(self) except NULL:
        """Give room for the next element."""
        cdef Py_ssize_t room = max(2 * self._room, FIRST_ELEMENTS)
        cdef void* grown
        if self._count == self._room:
            grown = realloc(self._elements, room * sizeof(Element))
            if grown == NULL:
                raise MemoryError
            self._elements, self._room = <Element*>grown, room
        return &self._elements[self._count]
