# cython: boundscheck=False, wraparound=False
# Earned by `Cursor`: every read is behind a comparison of `at` with `end`, and the tables are indexed with one byte.
"""A ping as clients really write it, read in place: the first stage of the lane.

Two grammars, both subsets of what the service takes (regionresolver/service/pings.py):

    query  = pair *( "&" pair )         pair  = ( "ip" / "serving" / "sim" ) "=" *value, each name once
    value  = ALPHA / DIGIT / ":" / "." / "-" / "_" / "~" / "+" / "%" HEXDIG HEXDIG, of visible ASCII and blanks
    body   = one JSON object of at most one level below it, in ASCII without an escape, no key twice
    field  = a string, or null; `serving` and `sim` also {"mcc": string, "mnc": string}
    other  = a field whose name is not known: a string, a short number, true, false or null

Whatever is not of the subset, and what is but needs an error (no signal, a value that is too long), is *declined*: -1,
and Python reads the request again from its first byte. So a wrong "no" costs time and a wrong "yes" would be a wrong
answer: where a rule is in doubt this stage says no. A value that is of the grammar and no address or PLMN is no reason to
decline: the signal is INVALID, as in Python. The oracle of both is the service's own reading (tests/test_ping.py).
"""

from typing import NamedTuple

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memset

from _fastpath.address cimport Canonical, parse_text
from _fastpath.digit_trie cimport ParsedPlmn, Plmn, plmn_from_pair, plmn_from_text
from _fastpath.fusion cimport ABSENT, INVALID, OK

# Where a string ends is asked ten times a ping: of sixteen bytes at once where every processor of the kind can (SSE2 is
# part of x86-64). As signed numbers, control characters and bytes from 0x80 on are all that is smaller than the blank.
cdef extern from *:
    """
    #if defined(__SSE2__)
    #include <emmintrin.h>
    #endif
    static inline const char *ping_plain_end(
        const char *at, const char *end, const char *readable, const unsigned char *plain)
    {
    #if defined(__SSE2__)
        const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\\\');
        const __m128i blank = _mm_set1_epi8(' '), rubout = _mm_set1_epi8(0x7F);
        while (readable - at >= 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)at);
            __m128i ends = _mm_or_si128(
                _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)),
                _mm_or_si128(_mm_cmplt_epi8(bytes, blank), _mm_cmpeq_epi8(bytes, rubout)));
            unsigned found = (unsigned)_mm_movemask_epi8(ends);
            if (found) {
                at += __builtin_ctz(found);
                return at < end ? at : end;
            }
            at += 16;
            if (at >= end)
                return end;
        }
    #else
        (void)readable;
    #endif
        while (at < end && plain[(unsigned char)*at])
            at++;
        return at;
    }

    /* Of 64 bytes, which are quotes, and which may not stand in a plain string: a bit a byte. 0 where that is not known. */
    static inline int ping_marks(const char *at, uint64_t *quotes, uint64_t *bad)
    {
    #if defined(__SSE2__)
        const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\\\');
        const __m128i blank = _mm_set1_epi8(' '), rubout = _mm_set1_epi8(0x7F);
        uint64_t found = 0, others = 0;
        for (int i = 0; i < 64; i += 16) {
            __m128i bytes = _mm_loadu_si128((const __m128i *)(at + i));
            __m128i unfit = _mm_or_si128(
                _mm_cmpeq_epi8(bytes, backslash), _mm_or_si128(_mm_cmplt_epi8(bytes, blank), _mm_cmpeq_epi8(bytes, rubout)));
            found |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, quote)) << i;
            others |= (uint64_t)(unsigned)_mm_movemask_epi8(unfit) << i;
        }
        *quotes = found;
        *bad = others;
        return 1;
    #else
        (void)at; (void)quotes; (void)bad;
        return 0;
    #endif
    }
    #define ping_lowest_bit(word) __builtin_ctzll(word)
    """
    # Passes over plain bytes up to `end`. Up to `readable`, which is no less, bytes may be looked at and do not count.
    const char* ping_plain_end(
        const char* at, const char* end, const char* readable, const uint8_t* plain
    ) noexcept nogil
    bint ping_marks(const char* at, uint64_t* quotes, uint64_t* bad) noexcept nogil
    int ping_lowest_bit(uint64_t word) noexcept nogil

cdef enum:
    # As `engine.MAX_FIELD_CHARACTERS`; every text here is ASCII, so bytes are characters.
    TEXT_MAX = 256
    # Integers and decimals of so few digits are numbers to every reader of JSON; exponents are declined.
    NUMBER_DIGITS_MAX = 15
    MICROSECOND_DIGITS = 6
    # Bytes whose quotes are found together, and how many more behind them may be looked at.
    BLOCK_BYTES = 64
    BEHIND_QUOTE = 3
    SECONDS_OF_DAY = 86400

# Bits of the fields that were seen.
cdef enum:
    FIELD_IP = 1
    FIELD_SERVING = 2
    FIELD_SIM = 4
    FIELD_SKU = 8
    FIELD_SOLD_IN = 16
    FIELD_DEVICE_ID = 32
    FIELD_FIRST_ACTIVATED_AT = 64
    FIELD_LANG = 128
    FIELD_ID = 256

# A piece of the input.
cdef struct Span:
    const char* text
    Py_ssize_t size

# Where the reading stands. Nothing at or behind `end` counts, and no read happens at or behind `readable`.
cdef struct Cursor:
    const char* at
    const char* end
    const char* readable

# The quotes of a text, block by block: those of the block at `block` that were not met yet, and its bytes that no plain
# string has.
cdef struct Quotes:
    const char* block
    const char* readable
    uint64_t quotes
    uint64_t bad

# 1 for a byte that stands for itself between the quotes of a JSON string: visible ASCII and the blank, not " and \.
cdef uint8_t[256] plain
# 1 for a byte that stands for itself in a value of the query.
cdef uint8_t[256] literal
# The value of a hexadecimal digit, 0xFF for any other byte.
cdef uint8_t[256] hexadecimal


cdef void fill_tables() noexcept:
    cdef int byte
    for byte in range(256):
        plain[byte] = 0x20 <= byte <= 0x7E and byte not in b'"\\'
        literal[byte] = byte < 0x80 and (chr(byte).isalnum() or byte in b":.-_~")
        hexadecimal[byte] = int(chr(byte), 16) if byte in b"0123456789abcdefABCDEF" else 0xFF


fill_tables()


# --- the signals, once their text is known

cdef inline void take_ip(const Span* value, Ping* out) noexcept nogil:
    out.signals.ip_status = OK if parse_text(value.text, value.size, &out.signals.address) == 0 else INVALID


cdef inline void take_plmn(const Span* value, bint is_sim, Ping* out) noexcept nogil:
    cdef Plmn* plmn = &out.signals.home if is_sim else &out.signals.serving
    take_status(plmn_from_text(value.text, value.size, is_sim, False, plmn), is_sim, out)


cdef inline void take_status(int fault, bint is_sim, Ping* out) noexcept nogil:
    cdef uint8_t status = OK if fault == 0 else INVALID
    if is_sim:
        out.signals.home_status = status
    else:
        out.signals.serving_status = status


cdef inline bint has_signal(const Ping* ping) noexcept nogil:
    return ping.signals.ip_status != ABSENT or ping.signals.serving_status != ABSENT or ping.signals.home_status != ABSENT


# --- the query

cdef int ping_from_query(const char* text, Py_ssize_t length, Ping* out) noexcept nogil:
    """Read `ip=...&serving=...&sim=...`; an empty value counts as not given."""
    cdef Cursor cursor
    cdef uint32_t seen = 0, field
    cdef char[QUERY_VALUE_MAX] decoded
    cdef Span value
    memset(out, 0, sizeof(Ping))
    cursor.at, cursor.end = text, text + length
    while True:
        field = query_name(&cursor)
        if field == 0 or seen & field or query_value(&cursor, decoded, &value) != 0:
            return -1
        seen |= field
        if value.size == 0:
            pass
        elif field == FIELD_IP:
            take_ip(&value, out)
        else:
            take_plmn(&value, field == FIELD_SIM, out)
        if cursor.at == cursor.end:
            break
        cursor.at += 1      # the "&" that ended the value
    return 0 if has_signal(out) else -1


cdef inline uint32_t query_name(Cursor* cursor) noexcept nogil:
    """Read a name that is known and its "="; answers the field, 0 for any other name."""
    cdef Py_ssize_t left = cursor.end - cursor.at
    if left >= 3 and memcmp(cursor.at, b"ip=", 3) == 0:
        cursor.at += 3
        return FIELD_IP
    if left >= 8 and memcmp(cursor.at, b"serving=", 8) == 0:
        cursor.at += 8
        return FIELD_SERVING
    if left >= 4 and memcmp(cursor.at, b"sim=", 4) == 0:
        cursor.at += 4
        return FIELD_SIM
    return 0


cdef int query_value(Cursor* cursor, char* decoded, Span* value) noexcept nogil:
    """Read a value up to the "&" or the end; `value` is where it lies, in `decoded` when it had to be decoded."""
    cdef const char* start = cursor.at
    while cursor.at < cursor.end and literal[<uint8_t>cursor.at[0]]:
        cursor.at += 1
    value.text, value.size = start, cursor.at - start
    if cursor.at == cursor.end or cursor.at[0] == b"&":
        return 0 if value.size <= QUERY_VALUE_MAX else -1
    cursor.at = start
    return decode_value(cursor, decoded, value)


cdef int decode_value(Cursor* cursor, char* decoded, Span* value) noexcept nogil:
    """Read a value with "%XX" or "+" in it into `decoded`."""
    cdef Py_ssize_t size = 0
    cdef uint8_t byte, high, low
    while cursor.at < cursor.end and cursor.at[0] != b"&":
        byte = <uint8_t>cursor.at[0]
        if size == QUERY_VALUE_MAX:
            return -1
        if byte == b"%":
            if cursor.end - cursor.at < 3:
                return -1
            high, low = hexadecimal[<uint8_t>cursor.at[1]], hexadecimal[<uint8_t>cursor.at[2]]
            if high > 7 or low > 15:
                return -1
            byte = high << 4 | low
            if byte < 0x20 or byte == 0x7F:
                return -1
            cursor.at += 2
        elif byte == b"+":
            byte = b" "
        elif not literal[byte]:
            return -1
        decoded[size] = <char>byte
        size += 1
        cursor.at += 1
    value.text, value.size = decoded, size
    return 0


# --- the body

cdef int ping_from_json(const char* text, Py_ssize_t length, Ping* out) noexcept nogil:
    return ping_within(text, length, length, out)


cdef int ping_within(const char* text, Py_ssize_t length, Py_ssize_t readable, Ping* out) noexcept nogil:
    """Read one object of plain fields, and nothing but blanks around it."""
    cdef Cursor cursor
    cursor.at, cursor.end, cursor.readable = text, text + length, text + readable
    if read_ping(&cursor, out) != 0:
        return -1
    skip_blanks(&cursor)
    return 0 if cursor.at == cursor.end else -1


cdef Py_ssize_t ping_at(const char* text, Py_ssize_t length, Py_ssize_t readable, Ping* out) noexcept nogil:
    """Read the object that begins here, whatever stands behind it."""
    cdef Cursor cursor
    cursor.at, cursor.end, cursor.readable = text, text + length, text + readable
    return cursor.at - text if read_ping(&cursor, out) == 0 else -1


cdef int read_ping(Cursor* cursor, Ping* out) noexcept nogil:
    """Read one object of plain fields, up to its last bracket."""
    if read_compact(cursor, out) != 0 and read_any(cursor, out) != 0:
        return -1
    return 0 if has_signal(out) else -1


cdef inline const char* next_quote(Quotes* quotes) noexcept nogil:
    """Find the next quote; NULL where there is none before the end, or a byte before it that no plain string has."""
    cdef const char* found
    while quotes.quotes == 0:
        quotes.block += BLOCK_BYTES
        if quotes.bad or quotes.readable - quotes.block < BLOCK_BYTES + BEHIND_QUOTE:
            return NULL
        ping_marks(quotes.block, &quotes.quotes, &quotes.bad)
    found = quotes.block + ping_lowest_bit(quotes.quotes)
    quotes.quotes &= quotes.quotes - 1
    return found


cdef inline const char* next_string(Quotes* quotes, const char* behind, Span* out) noexcept nogil:
    """Read the string that begins at `behind`, or one blank behind it; give its closing quote, NULL where there is none."""
    cdef const char* first = next_quote(quotes)
    cdef const char* last
    if first == NULL or (first != behind and (first != behind + 1 or behind[0] != b" ")):
        return NULL
    last = next_quote(quotes)
    out.text, out.size = first + 1, last - first - 1
    return last


cdef int read_compact(Cursor* cursor, Ping* out) noexcept nogil:
    """Read an object whose values are strings, without blanks but one behind a colon or comma; -1 for any other.

    Where each string begins and ends is told by the quotes of 64 bytes at once, so one string need not be read for the
    next one to be found. The object is of the grammar; and it is read again by `read_any` when it is not of this form.
    """
    cdef Span[UNKNOWN_FIELDS_MAX] unknown
    cdef Span key, value
    cdef Quotes quotes
    cdef const char* last = cursor.at
    cdef uint32_t seen = 0, field
    cdef int unknown_count = 0
    memset(out, 0, sizeof(Ping))
    quotes.block, quotes.readable = cursor.at, cursor.readable
    if cursor.readable - cursor.at < BLOCK_BYTES + BEHIND_QUOTE or last[0] != b"{":
        return -1
    if not ping_marks(quotes.block, &quotes.quotes, &quotes.bad):
        return -1
    while True:
        last = next_string(&quotes, last + 1, &key)
        if last == NULL or last[1] != b":":
            return -1
        last = next_string(&quotes, last + 2, &value)
        if last == NULL:
            return -1
        field = field_of(&key)
        if field == 0:
            if unknown_count == UNKNOWN_FIELDS_MAX or is_among(&key, unknown, unknown_count):
                return -1
            unknown[unknown_count] = key
            unknown_count += 1
        elif seen & field or take_text(&value, field, out) != 0:
            return -1
        seen |= field
        last += 1
        if last[0] != b",":
            break
    if last[0] != b"}" or last >= cursor.end or quotes.bad & bits_before(last - quotes.block):
        return -1
    cursor.at = last + 1
    return 0


cdef inline uint64_t bits_before(Py_ssize_t count) noexcept nogil:
    """The lowest bits of a word."""
    return ~<uint64_t>0 if count >= BLOCK_BYTES else (<uint64_t>1 << count) - 1


cdef int read_any(Cursor* cursor, Ping* out) noexcept nogil:
    """Read an object of plain fields, whatever blanks are in it."""
    cdef Span[UNKNOWN_FIELDS_MAX] unknown
    cdef Span key
    cdef uint32_t seen = 0, field
    cdef int unknown_count = 0
    memset(out, 0, sizeof(Ping))
    if not took(cursor, b"{"):
        return -1
    while True:
        if read_string(cursor, &key) != 0 or not took(cursor, b":"):
            return -1
        field = field_of(&key)
        if field == 0:
            if unknown_count == UNKNOWN_FIELDS_MAX or is_among(&key, unknown, unknown_count) or skip_value(cursor) != 0:
                return -1
            unknown[unknown_count] = key
            unknown_count += 1
        elif seen & field or take_field(cursor, field, out) != 0:
            return -1
        seen |= field
        if took(cursor, b","):
            continue
        break
    return 0 if took(cursor, b"}") else -1


cdef inline void skip_blanks(Cursor* cursor) noexcept nogil:
    """Pass over JSON's white space: there is seldom any, so one comparison has to tell."""
    while cursor.at < cursor.end and <uint8_t>cursor.at[0] <= b" " and (
        cursor.at[0] == b" " or cursor.at[0] == b"\n" or cursor.at[0] == b"\t" or cursor.at[0] == b"\r"
    ):
        cursor.at += 1


cdef inline bint took(Cursor* cursor, char wanted) noexcept nogil:
    """Pass over blanks and then over one byte if it is the wanted one."""
    skip_blanks(cursor)
    if cursor.at < cursor.end and cursor.at[0] == wanted:
        cursor.at += 1
        return True
    return False


cdef inline int read_string(Cursor* cursor, Span* out) noexcept nogil:
    """Read a string without escapes; `out` is what stands between its quotes."""
    if not took(cursor, b'"'):
        return -1
    out.text = cursor.at
    cursor.at = ping_plain_end(cursor.at, cursor.end, cursor.readable, plain)
    out.size = cursor.at - out.text
    if cursor.at == cursor.end or cursor.at[0] != b'"':
        return -1
    cursor.at += 1
    return 0


cdef inline bint took_word(Cursor* cursor, const char* word, Py_ssize_t size) noexcept nogil:
    skip_blanks(cursor)
    if cursor.end - cursor.at >= size and memcmp(cursor.at, word, size) == 0:
        cursor.at += size
        return True
    return False


cdef inline bint is_text(const Span* key, const char* text, Py_ssize_t size) noexcept nogil:
    return key.size == size and memcmp(key.text, text, size) == 0


cdef inline bint is_among(const Span* key, const Span* keys, int count) noexcept nogil:
    cdef int i
    for i in range(count):
        if is_text(key, keys[i].text, keys[i].size):
            return True
    return False


cdef inline uint32_t field_of(const Span* key) noexcept nogil:
    """Answer the field that a key names, 0 for an unknown one; their lengths tell most of them apart."""
    if key.size == 2:
        return FIELD_IP if is_text(key, b"ip", 2) else FIELD_ID if is_text(key, b"id", 2) else 0
    if key.size == 3:
        return FIELD_SIM if is_text(key, b"sim", 3) else FIELD_SKU if is_text(key, b"sku", 3) else 0
    if key.size == 4:
        return FIELD_LANG if is_text(key, b"lang", 4) else 0
    if key.size == 7:
        return FIELD_SERVING if is_text(key, b"serving", 7) else FIELD_SOLD_IN if is_text(key, b"sold_in", 7) else 0
    if key.size == 9:
        return FIELD_DEVICE_ID if is_text(key, b"device_id", 9) else 0
    if key.size == 18:
        return FIELD_FIRST_ACTIVATED_AT if is_text(key, b"first_activated_at", 18) else 0
    return 0


cdef int take_field(Cursor* cursor, uint32_t field, Ping* out) noexcept nogil:
    """Read the value of a known field into the ping; null is as if the field were not there."""
    cdef Span value
    skip_blanks(cursor)
    if cursor.at == cursor.end:
        return -1
    if cursor.at[0] == b"n":
        return 0 if took_word(cursor, b"null", 4) else -1
    if cursor.at[0] == b"{":
        return take_pair(cursor, field, out)
    return -1 if read_string(cursor, &value) != 0 else take_text(&value, field, out)


cdef inline int take_text(const Span* value, uint32_t field, Ping* out) noexcept nogil:
    """Take a text as the value of a known field."""
    if value.size > TEXT_MAX:
        return -1
    if field == FIELD_IP:
        take_ip(value, out)
    elif field == FIELD_SERVING or field == FIELD_SIM:
        take_plmn(value, field == FIELD_SIM, out)
    elif field == FIELD_SKU:
        out.facts.sku, out.facts.sku_bytes = value.text, <uint32_t>value.size
    elif field == FIELD_SOLD_IN:
        out.facts.sold_in, out.facts.sold_in_bytes = value.text, <uint32_t>value.size
    elif field == FIELD_DEVICE_ID:
        out.facts.device_id, out.facts.device_id_bytes = value.text, <uint32_t>value.size
    elif field == FIELD_LANG:
        out.lang, out.lang_bytes = value.text, <uint32_t>value.size
    elif field == FIELD_ID:
        out.id, out.id_bytes = value.text, <uint32_t>value.size
    else:
        out.facts.is_first_activated = True
        return read_instant(value, &out.facts.first_activated_us)
    return 0


cdef int take_pair(Cursor* cursor, uint32_t field, Ping* out) noexcept nogil:
    """Read {"mcc": string, "mnc": string}, in either order and with nothing else in it."""
    cdef Span key, mcc, mnc
    cdef Span* value
    if field != FIELD_SERVING and field != FIELD_SIM:
        return -1
    mcc.text = mnc.text = NULL
    mcc.size = mnc.size = 0
    cursor.at += 1
    while True:
        if read_string(cursor, &key) != 0 or not took(cursor, b":"):
            return -1
        value = &mcc if is_text(&key, b"mcc", 3) else &mnc if is_text(&key, b"mnc", 3) else NULL
        if value == NULL or value.text != NULL or read_string(cursor, value) != 0:
            return -1
        if not took(cursor, b","):
            break
    if not took(cursor, b"}") or mcc.text == NULL or mnc.text == NULL:
        return -1
    take_status(
        plmn_from_pair(
            mcc.text, mcc.size, mnc.text, mnc.size, &out.signals.home if field == FIELD_SIM else &out.signals.serving
        ),
        field == FIELD_SIM, out,
    )
    return 0


cdef int skip_value(Cursor* cursor) noexcept nogil:
    """Pass over the value of an unknown field: a string, a short number without an exponent, or a word."""
    cdef Span ignored
    skip_blanks(cursor)
    if cursor.at == cursor.end:
        return -1
    if cursor.at[0] == b'"':
        return read_string(cursor, &ignored)
    if took_word(cursor, b"null", 4) or took_word(cursor, b"true", 4) or took_word(cursor, b"false", 5):
        return 0
    return skip_number(cursor)


cdef int skip_number(Cursor* cursor) noexcept nogil:
    """Pass over [ "-" ] ( "0" / digits without a leading 0 ) [ "." digits ]; what may follow is the caller's to judge."""
    cdef Py_ssize_t whole, fraction = 0
    cdef const char* start
    if cursor.at[0] == b"-":
        cursor.at += 1
    start = cursor.at
    whole = skip_digits(cursor)
    if whole == 0 or (start[0] == b"0" and whole > 1):
        return -1
    if cursor.at < cursor.end and cursor.at[0] == b".":
        cursor.at += 1
        fraction = skip_digits(cursor)
        if fraction == 0:
            return -1
    return 0 if whole + fraction <= NUMBER_DIGITS_MAX else -1


cdef inline Py_ssize_t skip_digits(Cursor* cursor) noexcept nogil:
    cdef const char* start = cursor.at
    while cursor.at < cursor.end and b"0" <= cursor.at[0] <= b"9":
        cursor.at += 1
    return cursor.at - start


# --- an instant

cdef inline int number_at(const char* text, int digits) noexcept nogil:
    """Read so many digits as a number, -1 where one is none."""
    cdef int i, number = 0
    for i in range(digits):
        if not b"0" <= text[i] <= b"9":
            return -1
        number = number * 10 + (text[i] - <char>b"0")
    return number


cdef int read_instant(const Span* value, int64_t* out_us) noexcept nogil:
    """Read RFC 3339 in UTC with a "Z", to microseconds: YYYY-MM-DDTHH:MM:SS[.f]Z with at most six digits of a fraction."""
    cdef const char* text = value.text
    cdef Py_ssize_t digits = value.size - 21
    cdef int year, month, day, hour, minute, second, fraction = 0
    if value.size != 20 and (value.size < 22 or digits > MICROSECOND_DIGITS or text[19] != b"."):
        return -1
    if (text[4] != b"-" or text[7] != b"-" or text[10] != b"T" or text[13] != b":" or text[16] != b":"
            or text[value.size - 1] != b"Z"):
        return -1
    year, month, day = number_at(text, 4), number_at(text + 5, 2), number_at(text + 8, 2)
    hour, minute, second = number_at(text + 11, 2), number_at(text + 14, 2), number_at(text + 17, 2)
    if value.size > 20:
        fraction = number_at(text + 20, <int>digits)
        if fraction < 0:
            return -1
        while digits < MICROSECOND_DIGITS:
            fraction *= 10
            digits += 1
    if (year < 1 or not 1 <= month <= 12 or not 1 <= day <= days_of(year, month)
            or not 0 <= hour <= 23 or not 0 <= minute <= 59 or not 0 <= second <= 59):
        return -1
    out_us[0] = (
        (days_since_epoch(year, month, day) * SECONDS_OF_DAY + hour * 3600 + minute * 60 + second) * <int64_t>1000000 + fraction
    )
    return 0


cdef inline int days_of(int year, int month) noexcept nogil:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


cdef inline int64_t days_since_epoch(int year, int month, int day) noexcept nogil:
    """Count the days since 1970-01-01 in the proleptic Gregorian calendar, with years that begin in March."""
    cdef int64_t y = year - (month <= 2)
    cdef int64_t day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 365 * y + y // 4 - y // 100 + y // 400 + day_of_year - 719468


# --- for the service's own reading

def keys_written(bytes body not None):
    """Count the keys in the text of one valid JSON document, at every level and duplicates included (RFC 8259, section 4).

    A string that a colon follows is a key, and every other one is a value.
    """
    cdef const char* at = PyBytes_AS_STRING(body)
    cdef const char* end = at + PyBytes_GET_SIZE(body)
    cdef Py_ssize_t count = 0
    while at < end:
        at += 1
        if at[-1] != b'"':
            continue
        while at < end and at[0] != b'"':
            at += 2 if at[0] == b"\\" else 1
        at += 1
        while at < end and (at[0] == b" " or at[0] == b"\t" or at[0] == b"\r" or at[0] == b"\n"):
            at += 1
        if at < end and at[0] == b":":
            count += 1
    return count


# --- the face in Python, for tests

class Read(NamedTuple):
    """A ping as it was read; None for what is not given."""

    ip: Canonical
    ip_is_invalid: bool
    serving: ParsedPlmn
    serving_is_invalid: bool
    home: ParsedPlmn
    home_is_invalid: bool
    sku: bytes
    sold_in: bytes
    device_id: bytes
    first_activated_us: int
    lang: bytes
    id: bytes


def read_query(bytes query not None):
    """Read a query string (what stands behind the "?"); None where it is declined."""
    cdef Ping ping
    return as_read(&ping) if ping_from_query(PyBytes_AS_STRING(query), PyBytes_GET_SIZE(query), &ping) == 0 else None


def read_json(bytes body not None, bytes behind not None=b""):
    """Read a body; None where it is declined. `behind` is what stands behind it in the same piece of memory."""
    cdef Ping ping
    cdef bytes piece = body + behind
    if ping_within(PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(body), PyBytes_GET_SIZE(piece), &ping) != 0:
        return None
    return as_read(&ping)


cdef object as_read(const Ping* ping):
    cdef Canonical canonical = None
    if ping.signals.ip_status == OK:
        canonical = Canonical.__new__(Canonical)
        canonical._address = ping.signals.address
    return Read(
        canonical, ping.signals.ip_status == INVALID,
        as_plmn(&ping.signals.serving, ping.signals.serving_status), ping.signals.serving_status == INVALID,
        as_plmn(&ping.signals.home, ping.signals.home_status), ping.signals.home_status == INVALID,
        as_bytes(ping.facts.sku, ping.facts.sku_bytes), as_bytes(ping.facts.sold_in, ping.facts.sold_in_bytes),
        as_bytes(ping.facts.device_id, ping.facts.device_id_bytes),
        ping.facts.first_activated_us if ping.facts.is_first_activated else None,
        as_bytes(ping.lang, ping.lang_bytes), as_bytes(ping.id, ping.id_bytes),
    )


cdef ParsedPlmn as_plmn(const Plmn* plmn, uint8_t status):
    cdef ParsedPlmn parsed = None
    if status == OK:
        parsed = ParsedPlmn.__new__(ParsedPlmn)
        parsed.plmn = plmn[0]
    return parsed


cdef bytes as_bytes(const char* text, uint32_t size):
    return None if text == NULL else text[:size]
