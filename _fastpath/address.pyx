# cython: autotestdict=False, freethreading_compatible=True
"""Text or packed bytes to one canonical address with its special-purpose class.

In: the text of an IPv4 or IPv6 address, as strict as Python's `ipaddress` since 3.9.5 (no leading zeros in an octet,
no zone, port, prefix length, white space or byte outside ASCII), or its 4 or 16 bytes, or its integer. Out: its 32 or
128 bits, the family, the clothes that it came in and its class in the IANA special-purpose registries. Bad text is
refused in bounded time: nothing longer than 45 bytes is looked at. Nothing on the C path raises or allocates.

The rules:

1. An IPv4 address in IPv6 clothes (mapped, compatible, 6to4, Teredo, NAT64) is undressed once, and then it is that
   IPv4 address: an index without an alias tree answers as for the plain form, and 192.168.1.1 stays private.
2. `::` and `::1` are not compatible addresses (RFC 4291, 2.5.5.1), and the local-use prefix 64:ff9b:1::/48 (RFC 8215)
   is not undressed: only its own network knows where the IPv4 address stands in it.
3. The longest block of the registries that covers an address says its class; a block that is globally reachable has
   none. Outside 2000::/3 whatever no registry names is `reserved`.

The registries are those of 2025-10-09 (iana-ipv4-special-registry, iana-ipv6-special-registry), with multicast
(RFC 5771, RFC 4291) and site-local (RFC 3879) added; tests/reference/addresses.py is their readable form.

Theory of operation: text is read eight bytes at a time as one integer (SWAR). First comes where the separators stand,
as a mask with one bit a byte; then each group is converted at once. The lengths of the groups, which no branch
predictor can know, so become shifts. A sum tests the bytes of a word by carrying into their highest bits; a byte above
0x7f, which could carry into its neighbour, makes the text bad whatever its neighbour is. This scalar parser runs where
the processor has nothing better, and says what address_simd.h has to answer; which one reads is decided at import.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DATA, PyUnicode_DecodeASCII, PyUnicode_GET_LENGTH
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcpy, memset

cdef extern from "Python.h":
    bint PyUnicode_IS_ASCII(object text)

cdef extern from "<endian.h>" nogil:
    uint32_t be32toh(uint32_t word)
    uint64_t be64toh(uint64_t word)
    uint64_t le64toh(uint64_t word)

cdef extern from * nogil:
    ctypedef unsigned long long uint128_t "unsigned __int128"
    int count_trailing_zeros "__builtin_ctzll"(uint64_t word)

cdef extern from "address_simd.h" nogil:
    enum:
        SIMD_NONE
        SIMD_BLOCK_LINES
    ctypedef struct AddressBits:
        uint64_t hi
        uint64_t lo
        int family
    bint simd_is_present(int implementation)
    int simd_start()
    int simd_read(int implementation, const char* text, size_t length, AddressBits* out)
    int simd_read_padded(int implementation, const char* text, size_t length, AddressBits* out)
    size_t simd_read_lines(
        int implementation, const char* text, size_t length, AddressBits* out, size_t limit, size_t* consumed)


cdef enum:
    IPV4_TEXT_MIN = 7
    IPV4_TEXT_MAX = 15
    IPV6_TEXT_MIN = 2
    WORD_BYTES = 8
    GROUPS = 8

SPECIAL_NAMES = (
    None, "this_network", "private", "shared", "loopback", "link_local", "protocol_assignments", "documentation",
    "deprecated_6to4", "benchmarking", "multicast", "reserved", "broadcast", "unspecified", "translation", "discard",
    "dummy", "deprecated_orchid", "srv6_sids", "unique_local", "site_local",
)
CLOTHING_NAMES = (None, "mapped", "compatible", "6to4", "teredo", "nat64")

# The scalar parser and those of address_simd.h, in the order of their numbers.
IMPLEMENTATION_NAMES = ("scalar", "sse4.2", "avx2", "neon")

# The fastest that this processor has; SIMD_NONE is the scalar parser.
cdef int fastest = simd_start()


# Words of bytes. A word has its first byte lowest, as `le64toh` leaves it; a group has its last byte lowest.

cdef inline uint64_t every_byte(uint8_t byte) noexcept nogil:
    return <uint64_t>0x0101010101010101 * byte


cdef inline uint64_t load_word(const char* text) noexcept nogil:
    cdef uint64_t word
    memcpy(&word, text, 8)
    return le64toh(word)


cdef inline uint32_t load_group(const char* text) noexcept nogil:
    cdef uint32_t group
    memcpy(&group, text, 4)
    return be32toh(group)


cdef inline uint64_t gather_highest_bits(uint64_t word) noexcept nogil:
    # The multiplication moves the bit of byte i to bit 56 + i; no two of its terms meet, so nothing carries.
    return (((word >> 7) & every_byte(1)) * <uint64_t>0x0102040810204080) >> 56


cdef inline uint64_t mask_of_dots(uint64_t word) noexcept nogil:
    word ^= every_byte(c".")
    return gather_highest_bits(~(((word & every_byte(0x7f)) + every_byte(0x7f)) | word))


# IPv4: dec-octet "." dec-octet "." dec-octet "." dec-octet, dec-octet = "0" / 1*3DIGIT <= 255 without a leading zero.

cdef inline uint32_t decimal_octet(uint32_t group, uint32_t size) noexcept nogil:
    # The last `size` bytes (1..3) of a group as a number; above 255 when they are no octet.
    cdef uint32_t mask = (<uint32_t>1 << (8 * size)) - 1
    cdef uint32_t digits = (group ^ 0x30303030) & mask
    cdef uint32_t value = (digits & 0xff) + 10 * ((digits >> 8) & 0xff) + 100 * (digits >> 16)
    cdef bint not_decimal = ((digits | (digits + 0x76767676)) & <uint32_t>0x80808080) != 0
    # The mask of the bytes after the first: as digits reach only to 9, less than it means that the first is a zero.
    cdef bint leading_zero = digits < (mask >> 8)
    return value | (<uint32_t>(not_decimal | leading_zero) << 16)


cdef inline int parse_ipv4(const char* text, Py_ssize_t length, uint32_t* out) noexcept nogil:
    cdef uint64_t word = 0, dots, dots_2, dots_3
    cdef uint32_t dot_1, dot_2, dot_3, size_1, size_2, size_3, size_4, octet_1, octet_2, octet_3, octet_4
    if length < IPV4_TEXT_MIN or length > IPV4_TEXT_MAX:
        return -1
    if length == IPV4_TEXT_MIN:
        memcpy(&word, text, 7)
        dots = mask_of_dots(le64toh(word))
    else:
        dots = mask_of_dots(load_word(text)) | (mask_of_dots(load_word(text + length - 8)) << (length - 8))
    dots_2 = dots & (dots - 1)
    dots_3 = dots_2 & (dots_2 - 1)
    if dots_3 == 0 or dots_3 & (dots_3 - 1) != 0:
        return -1
    dot_1 = count_trailing_zeros(dots)
    dot_2 = count_trailing_zeros(dots_2)
    dot_3 = count_trailing_zeros(dots_3)
    size_1, size_2, size_3, size_4 = dot_1, dot_2 - dot_1 - 1, dot_3 - dot_2 - 1, <uint32_t>length - dot_3 - 1
    # An empty octet wraps around to the largest size.
    if size_1 - 1 > 2 or size_2 - 1 > 2 or size_3 - 1 > 2 or size_4 - 1 > 2:
        return -1
    # The second dot stands at 3 or later, so the four bytes that end in it lie in the text, as do the last four.
    octet_1 = decimal_octet(load_group(text) >> (8 * (4 - size_1)), size_1)
    octet_2 = decimal_octet(load_group(text + dot_2 - 3) >> 8, size_2)
    octet_3 = decimal_octet(load_group(text + dot_3 - 3) >> 8, size_3)
    octet_4 = decimal_octet(load_group(text + length - 4), size_4)
    if (octet_1 | octet_2 | octet_3 | octet_4) > 0xff:
        return -1
    out[0] = octet_1 << 24 | octet_2 << 16 | octet_3 << 8 | octet_4
    return 0


# IPv6: eight groups of 1*4HEXDIG between ":"; one "::" may stand for one or more of them, an IPv4 address for the last
# two (RFC 4291, 2.2).

cdef inline int scan_ipv6(const char* text, Py_ssize_t length, uint64_t* colons, bint* has_dot) noexcept nogil:
    # Where the colons are and whether a dot is; -1 when any byte is no part of an address. Reads text[0:length], >= 8.
    cdef Py_ssize_t at = 0
    cdef uint64_t word, lower, colon, dot, decimal_or_colon, letter, bad = 0, any_dot = 0
    colons[0] = 0
    while True:
        word = load_word(text + at)
        lower = word | every_byte(0x20)
        # 0x80 - n keeps the highest bit only for n = 0; the sums reach 0x80 from "0", ";", "a" and "g" on.
        colon = every_byte(0x80) - (word ^ every_byte(c":"))
        dot = every_byte(0x80) - (word ^ every_byte(c"."))
        decimal_or_colon = (word + every_byte(0x80 - 0x30)) & ~(word + every_byte(0x80 - 0x3b))
        letter = (lower + every_byte(0x80 - 0x61)) & ~(lower + every_byte(0x80 - 0x67))
        bad |= word | ~(decimal_or_colon | letter | dot)
        any_dot |= dot
        colons[0] |= gather_highest_bits(colon) << at
        if at == length - WORD_BYTES:
            break
        # The last word overlaps the one before it: the same bits twice.
        at = min(at + WORD_BYTES, length - WORD_BYTES)
    has_dot[0] = (any_dot & every_byte(0x80)) != 0
    return -1 if bad & every_byte(0x80) else 0


cdef inline uint32_t hexadecimal_group(const char* text, Py_ssize_t end, Py_ssize_t size) noexcept nogil:
    # text[end - size:end], 1 to 4 hexadecimal digits, as a number; text[0:4] is readable.
    cdef uint32_t group = load_group(text + end - 4) if end >= 4 else load_group(text) >> (8 * (4 - end))
    group &= <uint32_t>((<uint64_t>1 << (8 * size)) - 1)
    # Bit 6 tells a letter from a digit; the low nibble of "a" is 1.
    group = (group & 0x0f0f0f0f) + 9 * ((group >> 6) & 0x01010101)
    group = (group | (group >> 4)) & 0x00ff00ff
    return (group | (group >> 8)) & 0xffff


cdef int parse_ipv6(const char* text, Py_ssize_t length, uint64_t* hi, uint64_t* lo) noexcept nogil:
    cdef char padded[WORD_BYTES]
    cdef uint64_t colons, doubles, lone
    cdef uint128_t value = 0, head = 0
    cdef uint32_t quad
    cdef Py_ssize_t start = 0, end
    cdef int count = 0, head_count = 0
    cdef bint has_dot
    if length < IPV6_TEXT_MIN or length > ADDRESS_TEXT_MAX:
        return -1
    if length < WORD_BYTES:
        memset(padded, c"0", WORD_BYTES)
        memcpy(padded, text, length)
        text = padded
    if scan_ipv6(text, max(length, WORD_BYTES), &colons, &has_dot) != 0:
        return -1
    # ":::" has two bits here, as have two "::".
    doubles = colons & (colons >> 1)
    lone = colons & ~(doubles | (doubles << 1))
    if doubles & (doubles - 1) != 0 or lone & (<uint64_t>1 | (<uint64_t>1 << (length - 1))) != 0:
        return -1

    while colons != 0:
        end = count_trailing_zeros(colons)
        colons &= colons - 1
        if end == start:
            # The second colon of "::". A "::" in front comes here with both, and nothing has been read then.
            head, head_count, value = value, count, 0
        elif end - start > 4:
            return -1
        else:
            value = (value << 16) | hexadecimal_group(text, end, end - start)
            count += 1
        start = end + 1
    if has_dot:
        if parse_ipv4(text + start, length - start, &quad) != 0 or memchr(text, c".", start) != NULL:
            return -1
        value = (value << 32) | quad
        count += 2
    elif start < length:
        if length - start > 4:
            return -1
        value = (value << 16) | hexadecimal_group(text, length, length - start)
        count += 1

    if doubles == 0:
        if count != GROUPS:
            return -1
    elif count >= GROUPS:
        return -1
    else:
        # Without a head there is nothing to shift, and 128 is no shift.
        value |= head << ((16 * (GROUPS - head_count)) & 127)
    hi[0] = <uint64_t>(value >> 64)
    lo[0] = <uint64_t>value
    return 0


# The registries. A usual address leaves after one look at its first octet or group.

cdef enum:
    # The registries divide this /8.
    LOOK_CLOSER = SPECIAL_COUNT

cdef uint8_t[256] special_of_first
special_of_first[0] = SPECIAL_THIS_NETWORK
special_of_first[10] = SPECIAL_PRIVATE
special_of_first[127] = SPECIAL_LOOPBACK
for _first in range(224, 255):
    special_of_first[_first] = SPECIAL_MULTICAST if _first < 240 else SPECIAL_RESERVED
for _first in (100, 169, 172, 192, 198, 203, 255):
    special_of_first[_first] = LOOK_CLOSER
del _first


cdef inline uint8_t special_of_192(uint32_t value) noexcept nogil:
    if value >> 16 == 0xc0a8:
        return SPECIAL_PRIVATE
    if value >> 8 == 0xc00000:
        # 192.0.0.9 and 192.0.0.10 are the anycast addresses of PCP (RFC 7723) and TURN (RFC 8155).
        return SPECIAL_GLOBAL if 9 <= (value & 0xff) <= 10 else SPECIAL_PROTOCOL_ASSIGNMENTS
    if value >> 8 == 0xc00002:
        return SPECIAL_DOCUMENTATION
    if value >> 8 == 0xc05863:
        return SPECIAL_DEPRECATED_6TO4
    return SPECIAL_GLOBAL


cdef inline uint8_t special_of_198(uint32_t value) noexcept nogil:
    if value >> 17 == 0xc612 >> 1:
        return SPECIAL_BENCHMARKING
    return SPECIAL_DOCUMENTATION if value >> 8 == 0xc63364 else SPECIAL_GLOBAL


cdef inline uint8_t special_of_ipv4(uint32_t value) noexcept nogil:
    cdef uint32_t first = value >> 24
    cdef uint8_t special = special_of_first[first]
    if special != LOOK_CLOSER:
        return special
    elif first == 192:
        return special_of_192(value)
    elif first == 172:
        return SPECIAL_PRIVATE if value >> 20 == 0xac1 else SPECIAL_GLOBAL
    elif first == 100:
        return SPECIAL_SHARED if value >> 22 == 0x6440 >> 6 else SPECIAL_GLOBAL
    elif first == 169:
        return SPECIAL_LINK_LOCAL if value >> 16 == 0xa9fe else SPECIAL_GLOBAL
    elif first == 198:
        return special_of_198(value)
    elif first == 203:
        return SPECIAL_DOCUMENTATION if value >> 8 == 0xcb0071 else SPECIAL_GLOBAL
    return SPECIAL_BROADCAST if value == <uint32_t>0xffffffff else SPECIAL_RESERVED


cdef inline uint8_t special_of_2001(uint64_t hi, uint64_t lo) noexcept nogil:
    # 2001::/23 and its globally reachable blocks, 2001:db8::/32; Teredo has been undressed before.
    cdef uint32_t second = <uint32_t>(hi >> 32) & 0xffff
    if second >= 0x200:
        return SPECIAL_DOCUMENTATION if second == 0xdb8 else SPECIAL_GLOBAL
    if 0x20 <= second < 0x40:
        # ORCHIDv2 (RFC 7343), drone entity tags (RFC 9374).
        return SPECIAL_GLOBAL
    if 0x10 <= second < 0x20:
        return SPECIAL_DEPRECATED_ORCHID
    if second == 1 and hi << 32 == 0 and 1 <= lo <= 3:
        # The anycast addresses of PCP (RFC 7723), TURN (RFC 8155) and DNS-SD registration (RFC 9665).
        return SPECIAL_GLOBAL
    if second == 2 and (hi >> 16) & 0xffff == 0:
        return SPECIAL_BENCHMARKING
    if second == 3 or (second == 4 and (hi >> 16) & 0xffff == 0x112):
        # AMT (RFC 7450), AS112 (RFC 7535).
        return SPECIAL_GLOBAL
    return SPECIAL_PROTOCOL_ASSIGNMENTS


cdef inline uint8_t special_outside_global_unicast(uint64_t hi, uint64_t lo) noexcept nogil:
    # Everything but 2000::/3; what is to be undressed has been.
    cdef uint32_t first = <uint32_t>(hi >> 48)
    if first >= 0xfc00:
        if first < 0xfe00:
            return SPECIAL_UNIQUE_LOCAL
        if first >= 0xff00:
            return SPECIAL_MULTICAST
        if first >= 0xfec0:
            return SPECIAL_SITE_LOCAL
        return SPECIAL_LINK_LOCAL if first >= 0xfe80 else SPECIAL_RESERVED
    if hi == 0 and lo <= 1:
        return SPECIAL_LOOPBACK if lo else SPECIAL_UNSPECIFIED
    if hi >> 16 == <uint64_t>0x0064ff9b0001:
        return SPECIAL_TRANSLATION
    if hi == <uint64_t>0x0100000000000000:
        return SPECIAL_DISCARD
    if hi == <uint64_t>0x0100000000000001:
        return SPECIAL_DUMMY
    return SPECIAL_SRV6_SIDS if first == 0x5f00 else SPECIAL_RESERVED


cdef inline uint8_t clothing_of(uint64_t hi, uint64_t lo, uint32_t* ipv4) noexcept nogil:
    if hi >> 61 == 1:
        if hi >> 48 == 0x2002:
            ipv4[0] = <uint32_t>(hi >> 16)
            return CLOTHING_SIXTOFOUR
        if hi >> 32 == 0x20010000:
            # RFC 4380, 4: the client's address is stored inverted.
            ipv4[0] = ~<uint32_t>lo
            return CLOTHING_TEREDO
        return CLOTHING_NONE
    ipv4[0] = <uint32_t>lo
    if hi == 0:
        if lo >> 32 == 0xffff:
            return CLOTHING_MAPPED
        return CLOTHING_COMPATIBLE if lo >> 32 == 0 and lo > 1 else CLOTHING_NONE
    return CLOTHING_NAT64 if hi == <uint64_t>0x0064ff9b00000000 and lo >> 32 == 0 else CLOTHING_NONE


cdef inline void put_ipv4(uint32_t value, Address* out, bint is_classed) noexcept nogil:
    out.hi, out.lo, out.family = 0, value, 4
    out.special = special_of_ipv4(value) if is_classed else SPECIAL_GLOBAL
    out.clothing = CLOTHING_NONE


cdef inline void put_ipv6(uint64_t hi, uint64_t lo, Address* out, bint is_classed) noexcept nogil:
    cdef uint32_t ipv4 = 0
    cdef uint32_t first = <uint32_t>(hi >> 48)
    cdef uint8_t clothing
    if first >> 13 == 1 and first != 0x2001 and first != 0x2002 and first != 0x3fff:
        out.hi, out.lo, out.family, out.special, out.clothing = hi, lo, 6, SPECIAL_GLOBAL, CLOTHING_NONE
        return
    clothing = clothing_of(hi, lo, &ipv4)
    if clothing != CLOTHING_NONE:
        put_ipv4(ipv4, out, is_classed)
        out.clothing = clothing
        return
    out.hi, out.lo, out.family, out.clothing = hi, lo, 6, CLOTHING_NONE
    if not is_classed:
        out.special = SPECIAL_GLOBAL
    elif hi >> 61 != 1:
        out.special = special_outside_global_unicast(hi, lo)
    elif hi >> 48 == 0x2001:
        out.special = special_of_2001(hi, lo)
    else:
        out.special = SPECIAL_DOCUMENTATION if hi >> 44 == 0x3fff0 else SPECIAL_GLOBAL


cdef void from_ipv4(uint32_t value, Address* out) noexcept nogil:
    put_ipv4(value, out, True)


cdef void canonicalise(uint64_t hi, uint64_t lo, Address* out) noexcept nogil:
    put_ipv6(hi, lo, out, True)


cdef void classify(Address* address) noexcept nogil:
    if address.family == 4:
        address.special = special_of_ipv4(<uint32_t>address.lo)
    else:
        # It has no clothes on any more, so it stays what it is.
        put_ipv6(address.hi, address.lo, address, True)


cdef void undress(uint64_t hi, uint64_t lo, Address* out) noexcept nogil:
    put_ipv6(hi, lo, out, False)


# Text. Each reader answers the family, 0 when the text is no address, and leaves the bits.

cdef int read_scalar(const char* text, Py_ssize_t length, AddressBits* out) noexcept nogil:
    # The lengths are checked at the top of the two parsers, before any byte is read; from there on each load is of bytes
    # below `length`, or of the padded copy of a text that is shorter than a word.
    cdef uint32_t ipv4
    if length <= IPV4_TEXT_MAX and parse_ipv4(text, length, &ipv4) == 0:
        out.lo = ipv4
        return 4
    return 6 if parse_ipv6(text, length, &out.hi, &out.lo) == 0 else 0


cdef size_t read_lines_scalar(
    const char* text, size_t length, AddressBits* out, size_t limit, size_t* consumed
) noexcept nogil:
    cdef size_t start = 0, end, count = 0
    cdef const char* newline
    while count < limit and start < length:
        newline = <const char*>memchr(text + start, c"\n", length - start)
        end = newline - text if newline != NULL else length
        out[count].family = read_scalar(text + start, end - start, &out[count])
        count += 1
        start = end + 1
    consumed[0] = min(start, length)
    return count


cdef inline int finish(int family, const AddressBits* bits, Address* out, bint is_classed) noexcept nogil:
    if family == 4:
        put_ipv4(<uint32_t>bits.lo, out, is_classed)
    elif family == 6:
        put_ipv6(bits.hi, bits.lo, out, is_classed)
    else:
        return -1
    return 0


# By pointer, or the compiler makes the scalar parser part of the short function that calls the others.
ctypedef int (*TextReader)(const char* text, Py_ssize_t length, AddressBits* out) noexcept nogil
cdef TextReader scalar_reader = read_scalar


cdef inline int parse_text_by(
    int implementation, const char* text, Py_ssize_t length, Address* out, bint is_classed
) noexcept nogil:
    cdef AddressBits bits
    if implementation == SIMD_NONE:
        return finish(scalar_reader(text, length, &bits), &bits, out, is_classed)
    return finish(simd_read(implementation, text, length, &bits), &bits, out, is_classed)


cdef inline int parse_padded_by(
    int implementation, const char* text, Py_ssize_t length, Address* out, bint is_classed
) noexcept nogil:
    cdef AddressBits bits
    if implementation == SIMD_NONE:
        return finish(scalar_reader(text, length, &bits), &bits, out, is_classed)
    return finish(simd_read_padded(implementation, text, length, &bits), &bits, out, is_classed)


cdef inline Py_ssize_t parse_lines_by(
    int implementation, const char* text, Py_ssize_t length, Address* out, Py_ssize_t limit, Py_ssize_t* consumed,
    bint is_classed,
) noexcept nogil:
    cdef AddressBits bits[SIMD_BLOCK_LINES]
    cdef Py_ssize_t at = 0, lines = 0, index
    cdef size_t count, used
    while lines < limit and at < length:
        count = min(limit - lines, <Py_ssize_t>SIMD_BLOCK_LINES)
        if implementation == SIMD_NONE:
            count = read_lines_scalar(text + at, length - at, bits, count, &used)
        else:
            count = simd_read_lines(implementation, text + at, length - at, bits, count, &used)
        for index in range(<Py_ssize_t>count):
            if finish(bits[index].family, &bits[index], &out[lines + index], is_classed) != 0:
                memset(&out[lines + index], 0, sizeof(Address))
        lines += <Py_ssize_t>count
        at += <Py_ssize_t>used
    consumed[0] = at
    return lines


cdef int parse_text(const char* text, Py_ssize_t length, Address* out) noexcept nogil:
    return parse_text_by(fastest, text, length, out, True)


cdef int parse_text_unclassed(const char* text, Py_ssize_t length, Address* out) noexcept nogil:
    return parse_text_by(fastest, text, length, out, False)


cdef int parse_padded_unclassed(const char* text, Py_ssize_t length, Address* out) noexcept nogil:
    return parse_padded_by(fastest, text, length, out, False)


cdef Py_ssize_t parse_lines_unclassed(
    const char* text, Py_ssize_t length, Address* out, Py_ssize_t limit, Py_ssize_t* consumed
) noexcept nogil:
    return parse_lines_by(fastest, text, length, out, limit, consumed, False)


cdef inline int format_ipv4(uint32_t value, char* text) noexcept nogil:
    cdef int at = 0, shift
    cdef uint32_t octet
    for shift in range(24, -1, -8):
        octet = (value >> shift) & 0xff
        if octet >= 100:
            text[at] = c"0" + octet // 100
            at += 1
        if octet >= 10:
            text[at] = c"0" + octet // 10 % 10
            at += 1
        text[at] = c"0" + octet % 10
        text[at + 1] = c"."
        at += 2
    return at - 1


cdef inline uint32_t group_at(const Address* address, int index) noexcept nogil:
    cdef uint64_t half = address.hi if index < 4 else address.lo
    return (half >> (48 - 16 * (index & 3))) & 0xffff


cdef inline int longest_zeros(const Address* address, int* first) noexcept nogil:
    # The first of the longest runs of at least two zero groups (RFC 5952, 4.2); 0 without one.
    cdef int index, run = 0, longest = 1
    for index in range(GROUPS):
        run = run + 1 if group_at(address, index) == 0 else 0
        if run > longest:
            longest = run
            first[0] = index - run + 1
    return longest if longest > 1 else 0


cdef inline int format_ipv6(const Address* address, char* text) noexcept nogil:
    cdef int at = 0, index = 0, shift, gap = GROUPS
    cdef int gap_size = longest_zeros(address, &gap)
    cdef uint32_t group
    cdef const char* digits = b"0123456789abcdef"
    while index < GROUPS:
        if index == gap:
            text[at] = c":"
            at += 1
            index += gap_size
            if index == GROUPS:
                text[at] = c":"
                at += 1
            continue
        if index > 0:
            text[at] = c":"
            at += 1
        group = group_at(address, index)
        shift = 12
        while shift > 0 and group >> shift == 0:
            shift -= 4
        while shift >= 0:
            text[at] = digits[(group >> shift) & 15]
            at += 1
            shift -= 4
        index += 1
    return at


cdef int format_text(const Address* address, char* text) noexcept nogil:
    return format_ipv4(<uint32_t>address.lo, text) if address.family == 4 else format_ipv6(address, text)


cdef str text_of(const Address* address):
    cdef char text[ADDRESS_TEXT_MAX]
    return PyUnicode_DecodeASCII(text, format_text(address, text), NULL)


cpdef str special_name(int special):
    """Name a special-purpose class.

    `None` for an address that routes globally (0), and for a number that is no class.
    """
    return SPECIAL_NAMES[special] if 0 <= special < SPECIAL_COUNT else None


@cython.final
@cython.freelist(64)
@cython.auto_pickle(False)
cdef class Canonical:
    """One canonical address, immutable: equal when family and bits are, in whatever clothes it came.

    `str()` is the whole address; `repr()`, which finds its way into logs, is cut to its /24 or /48. It is hashed with
    Python's keyed hash, so that nobody who chooses addresses can make a dict of them slow.
    """

    def __init__(self):
        """Refuse: addresses come from `parse`, `parse_packed` and `from_int`."""
        raise TypeError("a Canonical is made by parse(), parse_packed() or from_int()")

    @property
    def family(self):
        """Return 4 or 6."""
        return self._address.family

    @property
    def value(self):
        """Return the 32 or 128 bits of the address as an integer."""
        if self._address.family == 4:
            return self._address.lo
        return (<object>self._address.hi << 64) | self._address.lo

    @property
    def special(self):
        """Return the special-purpose class, one of `SPECIAL_NAMES`; `None` when the address routes globally."""
        return special_name(self._address.special)

    @property
    def clothing(self):
        """Return the IPv6 dress that this IPv4 address came in, one of `CLOTHING_NAMES`; `None` when it came plain."""
        return CLOTHING_NAMES[self._address.clothing]

    @property
    def text(self):
        """Return the canonical text: dotted quad or RFC 5952."""
        return text_of(&self._address)

    @property
    def network_text(self):
        """Return the /24 or /48 around the address, as text for logs."""
        cdef Address cut = self._address
        if cut.family == 4:
            cut.lo &= <uint32_t>0xffffff00
            return text_of(&cut) + "/24"
        cut.hi &= ~<uint64_t>0xffff
        cut.lo = 0
        return text_of(&cut) + "/48"

    def __str__(self):
        return text_of(&self._address)

    def __repr__(self):
        words = [self.network_text, self.special, self.clothing]
        return f"<Canonical {' '.join([word for word in words if word is not None])}>"

    def __eq__(self, other):
        if not isinstance(other, Canonical):
            return NotImplemented
        cdef Address theirs = (<Canonical>other)._address
        return self._address.hi == theirs.hi and self._address.lo == theirs.lo and self._address.family == theirs.family

    def __hash__(self):
        cdef uint64_t[2] bits
        bits[0], bits[1] = self._address.hi, self._address.lo
        return hash(PyBytes_FromStringAndSize(<char*>bits, sizeof(bits)))


cdef inline Canonical wrap(const Address* address):
    cdef Canonical canonical = Canonical.__new__(Canonical)
    canonical._address = address[0]
    return canonical


def parse(text, /):
    """Return the canonical address of a text, as strict as `ipaddress`.

    `None` when it is no address; other types than str and bytes raise `TypeError`.
    """
    cdef const char* data
    cdef Py_ssize_t length
    cdef Address address
    if isinstance(text, str):
        if not PyUnicode_IS_ASCII(text):
            return None
        data, length = <const char*>PyUnicode_DATA(text), PyUnicode_GET_LENGTH(text)
    elif isinstance(text, bytes):
        data, length = PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)
    else:
        raise TypeError(f"an address is str or bytes, not {type(text).__name__}")
    return wrap(&address) if parse_text(data, length, &address) == 0 else None


def parse_packed(bytes packed not None, /):
    """Return the canonical address of 4 or 16 bytes in network order; `None` for another length."""
    cdef uint32_t ipv4
    cdef uint64_t[2] halves
    cdef Address address
    if PyBytes_GET_SIZE(packed) == 4:
        memcpy(&ipv4, PyBytes_AS_STRING(packed), 4)
        from_ipv4(be32toh(ipv4), &address)
    elif PyBytes_GET_SIZE(packed) == 16:
        memcpy(halves, PyBytes_AS_STRING(packed), 16)
        canonicalise(be64toh(halves[0]), be64toh(halves[1]), &address)
    else:
        return None
    return wrap(&address)


def from_int(value, int family, /):
    """Return the canonical address of 32 (family 4) or 128 bits (family 6).

    `ValueError` for another family and for a value that is negative or too large.
    """
    cdef Address address
    if family == 4 and 0 <= value <= 0xffffffff:
        from_ipv4(<uint32_t>value, &address)
    elif family == 6 and 0 <= value < 1 << 128:
        canonicalise(value >> 64, value & 0xffffffffffffffff, &address)
    else:
        raise ValueError("family must be 4 or 6, and the value 32 or 128 bits wide")
    return wrap(&address)


def implementations():
    """Return the names of the text parsers that this processor has: "scalar" first, the one in use last."""
    return tuple([name for number, name in enumerate(IMPLEMENTATION_NAMES) if number == SIMD_NONE or simd_is_present(number)])


cdef int implementation_of(str name) except -1:
    if name not in implementations():
        raise ValueError(f"this processor has no implementation {name!r}")
    return IMPLEMENTATION_NAMES.index(name)


def parse_with(str implementation not None, text, /):
    """Return the canonical address of a bytes-like text, read by one of `implementations()`.

    `None` when it is no address; `ValueError` for another implementation.
    """
    cdef int number = implementation_of(implementation)
    cdef Py_buffer view
    cdef Address address
    PyObject_GetBuffer(text, &view, PyBUF_SIMPLE)
    try:
        return wrap(&address) if parse_text_by(number, <const char*>view.buf, view.len, &address, True) == 0 else None
    finally:
        PyBuffer_Release(&view)


def parse_padded_with(str implementation not None, text, Py_ssize_t length, /):
    """Return the canonical address of the first bytes of a bytes-like text, read by one of `implementations()`.

    `None` when those are no address; `ValueError` for another implementation, a text of fewer than 64 bytes and a length
    that it does not have.
    """
    cdef int number = implementation_of(implementation)
    cdef Py_buffer view
    cdef Address address
    PyObject_GetBuffer(text, &view, PyBUF_SIMPLE)
    try:
        if view.len < ADDRESS_READABLE or not 0 <= length <= view.len:
            raise ValueError("the text is shorter than what may be read of it")
        return wrap(&address) if parse_padded_by(number, <const char*>view.buf, length, &address, True) == 0 else None
    finally:
        PyBuffer_Release(&view)


def parse_lines_with(str implementation not None, text, Py_ssize_t limit, /):
    """Return the addresses of the first lines of a bytes-like text, and how many bytes those lines are.

    `None` for a line that is no address, an empty one too; at most `limit` lines. `ValueError` for an implementation that
    is none of `implementations()`.
    """
    cdef int number = implementation_of(implementation)
    cdef Py_ssize_t at = 0, count, index, consumed
    cdef Py_buffer view
    cdef Address addresses[SIMD_BLOCK_LINES]
    canonicals = []
    PyObject_GetBuffer(text, &view, PyBUF_SIMPLE)
    try:
        while at < view.len and len(canonicals) < limit:
            count = min(limit - len(canonicals), <Py_ssize_t>SIMD_BLOCK_LINES)
            count = parse_lines_by(number, <const char*>view.buf + at, view.len - at, addresses, count, &consumed, True)
            canonicals += [wrap(&addresses[index]) if addresses[index].family else None for index in range(count)]
            at += consumed
    finally:
        PyBuffer_Release(&view)
    return canonicals, at


def count_lines_with(str implementation not None, text, /):
    """Return how many lines a bytes-like text has, and how many of them are addresses: `parse_lines_with` without objects.

    `ValueError` for an implementation that is none of `implementations()`.
    """
    cdef int number = implementation_of(implementation)
    cdef Py_ssize_t at = 0, lines = 0, good = 0, count, index, consumed
    cdef Py_buffer view
    cdef Address addresses[SIMD_BLOCK_LINES]
    PyObject_GetBuffer(text, &view, PyBUF_SIMPLE)
    while at < view.len:
        count = parse_lines_by(number, <const char*>view.buf + at, view.len - at, addresses, SIMD_BLOCK_LINES, &consumed, True)
        for index in range(count):
            good += addresses[index].family != 0
        lines += count
        at += consumed
    PyBuffer_Release(&view)
    return lines, good
