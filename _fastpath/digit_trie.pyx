# cython: boundscheck=False, wraparound=False, autotestdict=False
# Nothing here indexes a Python sequence. C arrays are indexed by the digits of a Plmn, which the plmn_from_ functions let
# in only from 0 to 9, by an MCC made of three of them, and by node numbers that `DigitTrie._add` gave out.
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

The trie is a table of the 1000 MCCs and, under the few that have longer prefixes, nodes of ten branches: at most three
steps of one array access each.
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_GET_LENGTH
from libc.string cimport memcpy

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)


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


cdef inline bint speaks_for(const Branch* branch, int prefix_length, const Plmn* plmn) noexcept nogil:
    """Rules 1 and 2: tell whether a prefix of a two-digit MNC may decide for these digits; any other does."""
    if prefix_length != 5:
        return True
    if plmn.mnc_known:
        return plmn.length == 5
    return branch.exact == 0


@cython.final
@cython.auto_pickle(False)
cdef class DigitTrie:
    """Longest-prefix match over PLMN digits. Immutable; safe to read from several threads at once."""

    def __cinit__(self, rows):
        cdef list listed = list(rows)
        # A prefix adds three nodes at most, one for each digit of its MNC; node 0 is none.
        cdef Py_ssize_t capacity = 1 + 3 * len(listed)
        if capacity > 0xFFFF:
            raise ValueError(f"{len(listed)} rows are too many: at most {(0xFFFF - 1) // 3}")
        self._nodes = <Node*>PyMem_Calloc(capacity, sizeof(Node))
        if self._nodes == NULL:
            raise MemoryError
        self._node_count = 1
        for digits, value, exact in listed:
            self._add(digits, value, exact)

    def __dealloc__(self):
        PyMem_Free(self._nodes)

    cdef int _add(self, str digits, Py_ssize_t value, bint exact) except -1:
        cdef ParsedPlmn prefix = parse_plmn(digits, allow_mcc=True)
        cdef Branch* branch
        cdef int i
        if prefix is None or prefix.plmn.length != len(digits):
            raise ValueError(f"{digits!r} is no prefix: 3, 5 or 6 digits")
        if not 1 <= value <= 0xFFFF:
            raise ValueError(f"value {value} of {digits} is not within 1 to 65535: 0 is for no match")
        if exact and len(digits) != 5:
            raise ValueError(f"{digits} cannot be exact: that is for an MNC of two digits")
        branch = &self._mccs[mcc_index(&prefix.plmn)]
        for i in range(MCC_DIGITS, prefix.plmn.length):
            if branch.child == 0:
                branch.child = <uint16_t>self._node_count
                self._node_count += 1
            branch = &self._nodes[branch.child].branches[digit(&prefix.plmn, i)]
        if branch.value != 0:
            raise ValueError(f"{digits} has two rows")
        branch.value, branch.exact = <uint16_t>value, exact
        return 0

    cdef uint32_t longest_match(self, const Plmn* plmn, uint8_t* match_length) noexcept nogil:
        cdef const Branch* branch
        cdef uint32_t value
        cdef int i
        match_length[0] = 0
        # An empty Plmn holds no digits to index with; every other is filled in by a parse function.
        if plmn.length < MCC_DIGITS:
            return 0
        branch = &self._mccs[mcc_index(plmn)]
        value = branch.value
        if value != 0:
            match_length[0] = MCC_DIGITS
        for i in range(MCC_DIGITS, plmn.length):
            if branch.child == 0:
                break
            branch = &self._nodes[branch.child].branches[digit(plmn, i)]
            if branch.value != 0 and speaks_for(branch, i + 1, plmn):
                value = branch.value
                match_length[0] = <uint8_t>(i + 1)
        return value

    def match(self, ParsedPlmn plmn not None):
        """Return (value of the longest matching prefix, its number of digits); (0, 0) without one."""
        cdef uint8_t length = 0
        cdef uint32_t value = self.longest_match(&plmn.plmn, &length)
        return value, length
