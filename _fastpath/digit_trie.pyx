# cython: boundscheck=False, wraparound=False, autotestdict=False, freethreading_compatible=True
# cython: embedsignature=True, embedsignature.format=clinic
# Nothing here indexes a Python sequence. C arrays are indexed by the digits of a Plmn, which the plmn_from_ functions let
# in only from 0 to 9 (or by `match_words`, which puts zeros for what are none), and by an MCC or an MNC made of them.
"""PLMN digits in any form that back ends send, and the longest-prefix match over them.

In: text ("36801", "368-01", "368 01"), a pair of texts, the three octets of TS 24.008 or of S1AP, an IMSI as text or
as EF_IMSI. Out: a `Plmn`, then the value of the longest prefix that a table of rows holds for it. Parsing answers
None (-1 in C) for anything else and never raises: ASCII digits only, no sign, no underscore, no space around.

Of an IMSI only the first six digits are ever kept, in no object and no message more: the digits after the PLMN are
personal data, and six is as long as a PLMN gets.

Where the MNC ends is known for five digits, for a separator, for a pair and for octets with a filler; it is not known
for six digits in a row or an IMSI (310260 may be 310-260, or 310-26 and a subscriber's 0). Matching follows from that:

1. Known: a prefix of five digits speaks for MNCs of two digits only, so 250-331 is not 250-33.
2. Not known: the longest prefix decides, except that an `exact` row of five digits does not match.
3. Without either, the MCC decides.

The trie is a table of the 1000 MCCs and, for the few that have longer prefixes, of every MNC below them in each of the
three cases above, with the prefix that decides filled in: a match is two array accesses, whatever the digits are.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_GET_ITEM
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

from _fastpath.borrowed cimport LISTS_CAN_CHANGE, is_ascii, is_text, items_of, text_size, text_start
from _fastpath.value_ids cimport Ids, drop, new_ids, put_ids, reserve, wrap_ids

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)

cdef extern from "<endian.h>" nogil:
    uint32_t le32toh(uint32_t word)
    uint64_t le64toh(uint64_t word)

cdef extern from * nogil:
    int trailing_zeros "__builtin_ctzll"(uint64_t word)

cdef enum:
    LINES = 64  # matched before their values are written


cdef inline bint read_digits(const char* text, Py_ssize_t count) noexcept nogil:
    """Tell whether all of text[0:count] are ASCII digits."""
    cdef Py_ssize_t i
    for i in range(count):
        if not c'0' <= text[i] <= c'9':
            return False
    return True


cdef inline int digit(const Plmn* plmn, int position) noexcept nogil:
    return plmn.digits[position] - c'0'


cdef int plmn_from_text(const char* text, Py_ssize_t length, bint allow_imsi, bint allow_mcc, Plmn* out) noexcept nogil:
    """5 or 6 digits; 3, a hyphen or space, 2 or 3; an IMSI of 7 to 15; an MCC of 3."""
    if length >= MCC_DIGITS + 3 and (text[MCC_DIGITS] == c'-' or text[MCC_DIGITS] == c' '):
        return plmn_from_pair(text, MCC_DIGITS, text + MCC_DIGITS + 1, length - MCC_DIGITS - 1, out)
    if length == MCC_DIGITS:
        if not allow_mcc:
            return -1
    elif length < 5 or length > (IMSI_DIGITS_MAX if allow_imsi else PLMN_DIGITS_MAX):
        return -1
    if not read_digits(text, length):
        return -1
    out.length = <uint8_t>(length if length < PLMN_DIGITS_MAX else PLMN_DIGITS_MAX)
    memcpy(out.digits, text, out.length)
    out.mnc_known = length == 5
    return 0


cdef int plmn_from_pair(
    const char* mcc, Py_ssize_t mcc_length, const char* mnc, Py_ssize_t mnc_length, Plmn* out
) noexcept nogil:
    if mcc_length != MCC_DIGITS or not 2 <= mnc_length <= 3:
        return -1
    if not (read_digits(mcc, mcc_length) and read_digits(mnc, mnc_length)):
        return -1
    memcpy(out.digits, mcc, MCC_DIGITS)
    memcpy(out.digits + MCC_DIGITS, mnc, mnc_length)
    out.length = <uint8_t>(MCC_DIGITS + mnc_length)
    out.mnc_known = 1
    return 0


cdef enum:
    FILLER = 0xF


cdef inline int plmn_from_nibbles(const unsigned char* nibbles, Plmn* out) noexcept nogil:
    """From MCC1 MCC2 MCC3 MNC1 MNC2 MNC3, where MNC3 is a filler for an MNC of two digits."""
    cdef int i
    cdef int length = PLMN_DIGITS_MAX - 1 if nibbles[5] == FILLER else PLMN_DIGITS_MAX
    for i in range(length):
        if nibbles[i] > 9:
            return -1
    for i in range(length):
        out.digits[i] = c'0' + nibbles[i]
    out.length = length
    out.mnc_known = 1
    return 0


cdef int plmn_from_bcd(const unsigned char* octets, Py_ssize_t length, Plmn* out) noexcept nogil:
    """TS 24.008 10.5.1.3, also MAP and GTP: MCC2|MCC1, MNC3 or filler|MCC3, MNC2|MNC1 (high nibble first)."""
    cdef unsigned char[6] nibbles
    if length != 3:
        return -1
    nibbles[0], nibbles[1] = octets[0] & 0xF, octets[0] >> 4
    nibbles[2], nibbles[5] = octets[1] & 0xF, octets[1] >> 4
    nibbles[3], nibbles[4] = octets[2] & 0xF, octets[2] >> 4
    return plmn_from_nibbles(nibbles, out)


cdef int plmn_from_s1ap(const unsigned char* octets, Py_ssize_t length, Plmn* out) noexcept nogil:
    """TS 36.413 9.2.3.8, also X2AP and NGAP: as TS 24.008 with a filler; without, MCC2|MCC1, MNC1|MCC3, MNC3|MNC2."""
    cdef unsigned char[6] nibbles
    if length != 3:
        return -1
    if octets[1] >> 4 == FILLER:
        return plmn_from_bcd(octets, length, out)
    nibbles[0], nibbles[1] = octets[0] & 0xF, octets[0] >> 4
    nibbles[2], nibbles[3] = octets[1] & 0xF, octets[1] >> 4
    nibbles[4], nibbles[5] = octets[2] & 0xF, octets[2] >> 4
    # A filler in the last place alone would make an MNC of two digits in the form of three.
    return -1 if nibbles[5] == FILLER else plmn_from_nibbles(nibbles, out)


cdef enum:
    IMSI_TYPE = 1
    TYPE_BITS = 7
    ODD_BIT = 8
    EF_IMSI_OCTETS_MAX = 9


cdef inline int ef_imsi_nibble(const unsigned char* octets, int position) noexcept nogil:
    """Digit `position` of the IMSI: the first is the high nibble of octet 2, then low before high."""
    cdef int nibble = position + 3
    return octets[nibble // 2] >> 4 if nibble & 1 else octets[nibble // 2] & 0xF


cdef int plmn_from_ef_imsi(const unsigned char* octets, Py_ssize_t length, Plmn* out) noexcept nogil:
    """TS 31.102 4.2.2: the number of octets that follow, digit 1|odd and type, digits low before high, unused ones F."""
    cdef int i, digits
    if not 2 <= length <= EF_IMSI_OCTETS_MAX or not 4 <= octets[0] <= length - 1 or octets[1] & TYPE_BITS != IMSI_TYPE:
        return -1
    digits = 2 * octets[0] - 1 if octets[1] & ODD_BIT else 2 * octets[0] - 2
    for i in range(2 * <int>length - 3):
        if ef_imsi_nibble(octets, i) > 9 if i < digits else ef_imsi_nibble(octets, i) != FILLER:
            return -1
    for i in range(PLMN_DIGITS_MAX):
        out.digits[i] = <char>(c'0' + ef_imsi_nibble(octets, i))
    out.length = PLMN_DIGITS_MAX
    out.mnc_known = 0
    return 0


@cython.final
@cython.freelist(64)
@cython.auto_pickle(False)
cdef class ParsedPlmn:
    """The leading digits of a PLMN or IMSI, six at most. Made by the parse functions; immutable."""

    def __init__(self):
        """Refuse: PLMNs come from the parse functions."""
        raise TypeError("a ParsedPlmn is made by parse_plmn() and its kin")

    @property
    def digits(self) -> str:
        """All digits kept: an MCC alone (3), or with an MNC (5 or 6)."""
        return self.plmn.digits[:self.plmn.length].decode("ascii")

    @property
    def mcc(self) -> str:
        """The mobile country code."""
        return self.digits[:MCC_DIGITS]

    @property
    def mnc(self) -> str | None:
        """The mobile network code, None where its length is not known."""
        return self.digits[MCC_DIGITS:] if self.plmn.mnc_known else None

    @property
    def text(self) -> str:
        """As people write it: "368-01"; the bare digits where it is not known where the MNC ends."""
        return f"{self.mcc}-{self.mnc}" if self.plmn.mnc_known else self.digits

    def __repr__(self):
        return f"ParsedPlmn({self.text})"

    def __str__(self):
        return self.text

    def __eq__(self, other):
        if not isinstance(other, ParsedPlmn):
            return NotImplemented
        return self.text == (<ParsedPlmn>other).text

    def __hash__(self):
        return hash(self.text)


cdef ParsedPlmn wrapped(int status, const Plmn* plmn):
    cdef ParsedPlmn parsed
    if status != 0:
        return None
    parsed = ParsedPlmn.__new__(ParsedPlmn)
    parsed.plmn = plmn[0]
    return parsed


# An ASCII str holds one byte a character, which is read in place: no copy of an IMSI is made. Other text is refused.
cdef inline const char* ascii_text(str text) noexcept:
    return <const char*>PyUnicode_DATA(text)


def parse_plmn(str text not None, bint allow_imsi=False, bint allow_mcc=False):
    """Read "36801", "368-01" or "368 01"; an IMSI or an MCC alone only where allowed. None for anything else."""
    cdef Plmn plmn
    if not PyUnicode_IS_ASCII(text):
        return None
    return wrapped(plmn_from_text(ascii_text(text), PyUnicode_GET_LENGTH(text), allow_imsi, allow_mcc, &plmn), &plmn)


def parse_pair(str mcc not None, str mnc not None):
    """Read an MCC of three digits and an MNC of two or three. None for anything else."""
    cdef Plmn plmn
    cdef int status
    if not (PyUnicode_IS_ASCII(mcc) and PyUnicode_IS_ASCII(mnc)):
        return None
    status = plmn_from_pair(ascii_text(mcc), PyUnicode_GET_LENGTH(mcc), ascii_text(mnc), PyUnicode_GET_LENGTH(mnc), &plmn)
    return wrapped(status, &plmn)


def parse_bcd(bytes octets not None):
    """Read the three octets of TS 24.008 10.5.1.3 (LAI, TAI, MAP, GTP). None for anything else."""
    cdef Plmn plmn
    return wrapped(plmn_from_bcd(octets, len(octets), &plmn), &plmn)


def parse_s1ap(bytes octets not None):
    """Read the three octets of a PLMN Identity of S1AP, X2AP or NGAP. None for anything else."""
    cdef Plmn plmn
    return wrapped(plmn_from_s1ap(octets, len(octets), &plmn), &plmn)


def parse_ef_imsi(bytes octets not None):
    """Read the file EF_IMSI of a SIM, its length octet included; six digits are kept. None for anything else."""
    cdef Plmn plmn
    return wrapped(plmn_from_ef_imsi(octets, len(octets), &plmn), &plmn)


cdef inline int mcc_index(const Plmn* plmn) noexcept nogil:
    return 100 * digit(plmn, 0) + 10 * digit(plmn, 1) + digit(plmn, 2)


# ---- text to a match without a Plmn: the digits of a text are the bytes of two words, the first one lowest ----

cdef inline uint64_t every_byte(uint8_t byte) noexcept nogil:
    return <uint64_t>0x0101010101010101 * byte


cdef inline uint64_t load_word(const char* text) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, text, sizeof(word))
    return le64toh(word)


cdef inline uint32_t load_half(const char* text) noexcept nogil:
    cdef uint32_t half
    memcpy(&half, text, sizeof(half))
    return le32toh(half)


cdef inline uint64_t first_newline(uint64_t word) noexcept nogil:
    """Answer a word whose lowest set bit is in the first byte that is a newline, 0 without one."""
    word ^= every_byte(c'\n')
    return (word - every_byte(1)) & ~word & every_byte(0x80)


cdef inline Py_ssize_t line_length(uint64_t word, uint64_t rest) noexcept nogil:
    """Answer how many of sixteen bytes come before a newline; -1 without one."""
    cdef uint64_t newlines = first_newline(word)
    if newlines:
        return trailing_zeros(newlines) >> 3
    newlines = first_newline(rest)
    return WORD_DIGITS + (trailing_zeros(newlines) >> 3) if newlines else -1


# Of a word, the first so many bytes: all from eight on.
cdef uint64_t[IMSI_DIGITS_MAX + 1] first_bytes
for _count in range(IMSI_DIGITS_MAX + 1):
    first_bytes[_count] = (1 << 8 * min(_count, 8)) - 1
del _count


cdef inline uint64_t not_digits(uint64_t digits) noexcept nogil:
    """Answer 0 when each byte, a digit less "0", is below 10. A byte above 0x7f, which could carry, is bad itself."""
    return (digits | (digits + every_byte(0x80 - 10))) & every_byte(0x80)


cdef inline uint32_t byte_at(uint64_t word, int position) noexcept nogil:
    return <uint32_t>(word >> (8 * position)) & 0xff


cdef inline uint64_t chosen(bint condition, uint64_t one, uint64_t other) noexcept nogil:
    """Answer `one if condition else other` without a branch, which the compiler is free to make of that."""
    return other ^ ((one ^ other) & -<uint64_t>condition)


cdef inline uint32_t match_words(
    const Mcc* mccs, const Match* matches, uint64_t word, uint64_t rest, Py_ssize_t length, bint allow_imsi, uint32_t malformed
) noexcept nogil:
    """Match a text of `length` bytes, of which `word` and `rest` hold the first sixteen. Forms are mixed: few branches."""
    cdef uint32_t separator = byte_at(word, MCC_DIGITS)
    cdef bint is_parted = (separator == c'-') | (separator == c' ')
    cdef uint64_t joined = (word & 0xffffff) | ((word >> 32) << 24)
    cdef Py_ssize_t count = length - is_parted
    cdef uint64_t digits, pairs, bad
    cdef uint32_t mnc, place, longer
    if count < 5 or (count > PLMN_DIGITS_MAX and (is_parted or not allow_imsi or count > IMSI_DIGITS_MAX)):
        return malformed
    digits = (chosen(is_parted, joined, word) ^ every_byte(c'0')) & first_bytes[count]
    bad = not_digits(digits)
    if count > WORD_DIGITS:
        bad |= not_digits((rest ^ every_byte(c'0')) & first_bytes[count - WORD_DIGITS])
    if bad:
        return malformed
    # Each byte of it is ten times a digit and the digit behind.
    pairs = 10 * digits + (digits >> 8)
    mnc = byte_at(pairs, 3)
    place = 10 * mnc + byte_at(digits, 5) + <uint32_t>chosen(is_parted, THREE_DIGITS, UNKNOWN_DIGITS)
    place = <uint32_t>chosen(count == 5, TWO_DIGITS + mnc, place)
    mccs += 10 * byte_at(pairs, 0) + byte_at(digits, 2)
    longer = mccs.longer
    return matches[longer + place].value if longer else mccs.alone.value


@cython.final
@cython.auto_pickle(False)
cdef class DigitTrie:
    """Longest-prefix match over PLMN digits. Immutable; safe to read from several threads at once.

    Rows are (digits, value, exact): values from 1 to 65534, 0 is for no match. Where text is matched, as in the batches,
    what is no PLMN is None, or in ids `missing`.
    """

    def __cinit__(self, rows):
        cdef list listed = sorted([(len(digits), digits, value, exact) for digits, value, exact in rows])
        cdef Py_ssize_t highest = max([value for _, _, value, _ in listed], default=0)
        self._fill(listed)
        self._numbers = (*range(highest + 1), None)
        self._malformed = <uint16_t>(highest + 1)

    def __dealloc__(self):
        PyMem_Free(self._matches)

    cdef int _fill(self, list rows) except -1:
        """Fill in the matches of each prefix, the short ones first, so that a longer one overwrites what it decides."""
        cdef ParsedPlmn prefix
        cdef Match match
        cdef Mcc* mcc
        cdef Match* longer
        cdef Py_ssize_t size = 1
        cdef int i, mnc
        # Without longer prefixes match 0 is read, and not used.
        self._matches = <Match*>PyMem_Calloc(1 + MATCHES * len({digits[:MCC_DIGITS] for _, digits, _, _ in rows}), sizeof(Match))
        if self._matches == NULL:
            raise MemoryError
        seen = set()
        for _, digits, value, exact in rows:
            prefix = checked_prefix(digits, value, exact)
            if digits in seen:
                raise ValueError(f"{digits} has two rows")
            seen.add(digits)
            match.value, match.length = value, prefix.plmn.length
            mcc = &self._mccs[mcc_index(&prefix.plmn)]
            if prefix.plmn.length == MCC_DIGITS:
                mcc.alone = match
                continue
            if mcc.longer == 0:
                mcc.longer = <uint32_t>size
                size += MATCHES
                for i in range(MATCHES):
                    self._matches[mcc.longer + i] = mcc.alone
            longer = self._matches + mcc.longer
            mnc = 10 * digit(&prefix.plmn, 3) + digit(&prefix.plmn, 4)
            if prefix.plmn.length == 5:
                longer[TWO_DIGITS + mnc] = match
                for i in range(0 if exact else 10):
                    longer[UNKNOWN_DIGITS + 10 * mnc + i] = match
            else:
                mnc = 10 * mnc + digit(&prefix.plmn, 5)
                longer[THREE_DIGITS + mnc] = longer[UNKNOWN_DIGITS + mnc] = match
        return 0

    cdef uint32_t longest_match(self, const Plmn* plmn, uint8_t* match_length) noexcept nogil:
        cdef const Mcc* mcc
        cdef const Match* match
        cdef int mnc
        match_length[0] = 0
        # An empty Plmn holds no digits to index with; every other is filled in by a parse function.
        if plmn.length < MCC_DIGITS:
            return 0
        mcc = &self._mccs[mcc_index(plmn)]
        match = &mcc.alone
        if mcc.longer and plmn.length > MCC_DIGITS:
            match = self._matches + mcc.longer
            mnc = 10 * digit(plmn, 3) + digit(plmn, 4)
            if plmn.length == 5:
                match += TWO_DIGITS + mnc
            else:
                match += (THREE_DIGITS if plmn.mnc_known else UNKNOWN_DIGITS) + 10 * mnc + digit(plmn, 5)
        match_length[0] = match.length
        return match.value

    cdef uint32_t match_span(self, const char* text, Py_ssize_t length, bint allow_imsi) noexcept nogil:
        cdef uint64_t word
        cdef uint64_t rest = 0
        if length < 5 or length > IMSI_DIGITS_MAX:
            return self._malformed
        if length < WORD_DIGITS:
            # The two halves overlap, in the same bytes.
            word = load_half(text) | <uint64_t>load_half(text + length - 4) << (8 * (length - 4))
        else:
            word = load_word(text)
            if length > WORD_DIGITS:
                rest = load_word(text + length - WORD_DIGITS) >> (8 * (2 * WORD_DIGITS - length))
        return match_words(self._mccs, self._matches, word, rest, length, allow_imsi, self._malformed)

    cdef int _add_lines(self, const char* text, Py_ssize_t size, bint allow_imsi, Ids* ids) noexcept nogil:
        cdef char padded[2 * WORD_DIGITS]
        cdef uint32_t[LINES] values
        cdef uint64_t word, rest
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t length
        cdef const char* start
        cdef int count
        while at < size:
            if reserve(ids, LINES) != 0:
                return -1
            count = 0
            while count < LINES and at < size:
                start = text + at
                if size - at < 2 * WORD_DIGITS:
                    memset(padded, c"\n", sizeof(padded))
                    memcpy(padded, start, size - at)
                    start = padded
                word, rest = load_word(start), load_word(start + WORD_DIGITS)
                length = line_length(word, rest)
                if length < 0:
                    # Too long, wherever it ends.
                    start = <const char*>memchr(text + at, c"\n", size - at)
                    length = start - text - at if start != NULL else size - at
                values[count] = match_words(self._mccs, self._matches, word, rest, length, allow_imsi, self._malformed)
                count += 1
                at += length + 1
            put_ids(ids, values, count)
        return 0

    @property
    def missing(self):
        """The id that stands for what is no PLMN in ids; behind the highest value."""
        return self._malformed

    def match(self, ParsedPlmn plmn not None):
        """Return (value of the longest matching prefix, its number of digits); (0, 0) without one."""
        cdef uint8_t length = 0
        cdef uint32_t value = self.longest_match(&plmn.plmn, &length)
        return value, length

    # Without the method object around the C function that costs as much as the parsing.
    @cython.binding(False)
    def match_text(self, str text not None, bint allow_imsi=False, /):
        """Return the value for text that `parse_plmn` reads, 0 without a match; None for what is no PLMN."""
        if not PyUnicode_IS_ASCII(text):
            return None
        return <object>PyTuple_GET_ITEM(
            self._numbers, self.match_span(ascii_text(text), PyUnicode_GET_LENGTH(text), allow_imsi)
        )

    def match_many(self, texts, bint allow_imsi=False, /):
        """Return the value for each text of a list or tuple, as `match_text` does; TypeError for other items."""
        cdef object kept, value
        cdef PyObject** items
        cdef PyObject* text
        cdef Py_ssize_t i, hole
        cdef uint32_t match
        cdef list found
        if not isinstance(texts, (list, tuple)):
            raise TypeError(f"PLMNs come in a list or a tuple, not {type(texts).__name__}")
        # No Python code runs below, so with a GIL nobody changes a list meanwhile.
        kept = tuple(texts) if LISTS_CAN_CHANGE else texts
        found = PyList_New(len(kept))
        items = items_of(kept)
        for i in range(len(kept)):
            text = items[i]
            if not is_text(text):
                # The list must have no holes when somebody else sees it.
                for hole in range(i, len(kept)):
                    Py_INCREF(None)
                    PyList_SET_ITEM(found, hole, None)
                raise TypeError("a PLMN is a str: a number has lost its leading zeros")
            match = self._malformed
            if is_ascii(text):
                match = self.match_span(text_start(text), text_size(text), allow_imsi)
            value = <object>PyTuple_GET_ITEM(self._numbers, match)
            Py_INCREF(value)
            PyList_SET_ITEM(found, i, value)
        return found

    def match_lines(self, text, bint allow_imsi=False, /):
        """Return the values for a bytes-like object of one PLMN a line, as value ids; `missing` for what is no PLMN.

        Lines end in "\\n", the last one need not.
        """
        cdef Py_buffer view
        cdef Ids* ids
        cdef int status
        PyObject_GetBuffer(text, &view, PyBUF_SIMPLE)
        try:
            ids = new_ids(self._malformed, view.len // 6 + LINES)
            if ids == NULL:
                raise MemoryError
            with nogil:
                status = self._add_lines(<const char*>view.buf, view.len, allow_imsi, ids)
        finally:
            PyBuffer_Release(&view)
        if status != 0:
            drop(ids)
            raise MemoryError
        return wrap_ids(ids)


cdef ParsedPlmn checked_prefix(str digits, value, bint exact):
    """Read the digits of a row; ValueError for a row that means nothing."""
    cdef ParsedPlmn prefix = parse_plmn(digits, allow_mcc=True)
    if prefix is None or prefix.plmn.length != len(digits):
        raise ValueError(f"{digits!r} is no prefix: 3, 5 or 6 digits")
    if not 1 <= value <= MATCH_VALUE_MAX:
        raise ValueError(f"value {value} of {digits} is not within 1 to {MATCH_VALUE_MAX}: 0 is for no match")
    if exact and len(digits) != 5:
        raise ValueError(f"{digits} cannot be exact: that is for an MNC of two digits")
    return prefix
