/* The text of an address to its bits, sixteen or thirty-two bytes at a time.

In: text[0:length], or lines. Out: the same bits as from the scalar parser of address.pyx, which is the readable form of
every rule here. Nothing allocates. The readers below load from text[0:SIMD_READABLE] whatever the length is; their callers
see to it that those bytes are readable, or bring a copy.

x86-64 has two implementations: one source, compiled for SSE4.2 with POPCNT (x86-64-v2) and for AVX2 with BMI1 and BMI2
(x86-64-v3), of which `simd_start` takes what the processor has. arm64 has one, NEON, always. Elsewhere there is none.

Theory of operation, IPv4. Its three dots and its end are a mask of 16 bits, one of 81. A multiplication hashes it to a
slot of two tables: the mask itself (is it one of the 81?) and the shuffle that brings the digits of every octet to the
same places, with zeros for those that it lacks. A multiply-add makes four numbers of them.

IPv6. The colons are a mask of 48 bits, the text between two of them is a part. A gap is an empty part, if the outer colon
of one at either end of the text is not counted; so there are at most eight parts, and just one is empty or just eight are
full. The four bytes before the end of a part hold its digits, and what is not its own among them ends in a colon: that is
cleared in all parts at once, and all digits are converted at once. A last shuffle puts the parts in their places, the
empty one in all those of the gap. The lengths, which no branch predictor can know, decide no branch. */

#ifndef REGIONRESOLVER_ADDRESS_SIMD_H
#define REGIONRESOLVER_ADDRESS_SIMD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Implementations; the name of each is in address.pyx: IMPLEMENTATION_NAMES. */
enum {
    SIMD_NONE,
    SIMD_SSE42,
    SIMD_AVX2,
    SIMD_NEON,
};

enum {
    SIMD_READABLE = 64,
    SIMD_BLOCK_LINES = 64,
};

/* Family 4 has its 32 bits in `lo`, and `hi` is undefined; so are both with family 0, which is no address. */
typedef struct {
    uint64_t hi;
    uint64_t lo;
    int family;
} AddressBits;

#if defined(__x86_64__)
#include <immintrin.h>
/* SIMD_CODE becomes part of either implementation, and is then compiled for that one. */
#define SIMD_TARGET_SSE42 target("sse4.2,popcnt")
#define SIMD_TARGET_AVX2 target("avx2,bmi,bmi2,popcnt")
#define SIMD_CODE static inline __attribute__((always_inline, SIMD_TARGET_SSE42))
#elif defined(__aarch64__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#include <arm_neon.h>
#define SIMD_TARGET_NEON
#define SIMD_CODE static inline __attribute__((always_inline))
#endif

#ifdef SIMD_CODE

typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint32_t words4 __attribute__((vector_size(16)));

enum {
    IPV4_MIN = 7,
    IPV4_MAX = 15,
    IPV6_MIN = 2,
    /* Of digits and colons alone; with an IPv4 address at the end. */
    IPV6_MAX = 39,
    QUAD_MAX = 45,
    PARTS = 8,
    SHAPES = 81,
    SHAPE_SLOT_BITS = 8,
    SHAPE_SLOTS = 1 << SHAPE_SLOT_BITS,
};

/* Found by trial: no two of the 81 shapes meet in a slot. */
static const uint32_t SHAPE_MULTIPLIER = 0x34f4af57;

/* Filled by `simd_start`, and never written again. The repeated bytes are here because GCC makes each constant of them by
   three instructions, two of them for the busiest port; what it does not know it has to load. */
static struct {
    bytes16 newline, dot, colon, zero, above_decimal;
    bytes16 decimal_end, six, nibble_end, no_case, letter_start, ten;
    bytes16 octet_weights, octet_least, octet_most, nibble_weights;
    /* For the slot of a shape: the shape (0 is none), and where the digits of its octets are, as `place_octet` says. */
    uint16_t shape_of_slot[SHAPE_SLOTS];
    bytes16 octets_of_slot[SHAPE_SLOTS];
    /* For the part that is the gap and the number of parts less one: where the bytes of `hi`, lowest first, stand in the
       values of the parts, and then those of `lo`. */
    bytes16 halves_of_gap[PARTS][PARTS];
} known;

static inline uint32_t slot_of_shape(uint32_t shape)
{
    return (shape * SHAPE_MULTIPLIER) >> (32 - SHAPE_SLOT_BITS);
}

/* Octet `index` (3 comes first in the text) has its tens and ones in one pair of bytes and its hundreds in another. A
   place above 0x7f brings a zero; the one before the hundreds also says how small an octet of that size may be. */
static inline void place_octet(bytes16 *places, int index, int end, int size)
{
    const uint8_t least[] = {0, 0, 10, 100};
    (*places)[2 * index] = size >= 2 ? (uint8_t)(end - 2) : 0x80;
    (*places)[2 * index + 1] = (uint8_t)(end - 1);
    (*places)[8 + 2 * index] = 0x80 | least[size];
    (*places)[8 + 2 * index + 1] = size == 3 ? (uint8_t)(end - 3) : 0x80;
}

static void fill_shapes(void)
{
    for (int sizes = 0; sizes < SHAPES; sizes++) {
        bytes16 places = {0};
        uint32_t shape = 0;
        int end = -1;
        for (int index = 3, rest = sizes; index >= 0; index--, rest /= 3) {
            int size = 1 + rest % 3;
            end += 1 + size;
            shape |= (uint32_t)1 << end;
            place_octet(&places, index, end, size);
        }
        known.shape_of_slot[slot_of_shape(shape)] = (uint16_t)shape;
        known.octets_of_slot[slot_of_shape(shape)] = places;
    }
}

static void fill_gaps(void)
{
    for (int gap = 0; gap < PARTS; gap++)
        for (int count = 1; count <= PARTS; count++)
            for (int index = 0; index < 16; index++) {
                int place = index ^ 7, group = place / 2, more = PARTS - count;
                int part = group < gap ? group : group - more < gap ? gap : group - more;
                known.halves_of_gap[gap][count - 1][index] = (uint8_t)(2 * part + place % 2);
            }
}

static void fill_known(void)
{
    const bytes16 none = {0};
    known.newline = none + '\n';
    known.dot = none + '.';
    known.colon = none + ':';
    known.zero = none + '0';
    known.above_decimal = none + (0x80 - 10);
    known.decimal_end = none + (0xff - '9');
    known.six = none + 6;
    known.nibble_end = none + 0xf0;
    known.no_case = none + 0xdf;
    known.letter_start = none + 'A';
    known.ten = none + 10;
    known.octet_weights = (bytes16){10, 1, 10, 1, 10, 1, 10, 1, 0, 100, 0, 100, 0, 100, 0, 100};
    known.octet_least = (bytes16){0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 0, 0x7f, 0, 0x7f, 0, 0x7f, 0};
    known.octet_most = (bytes16){255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0};
    known.nibble_weights = (bytes16){16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1, 16, 1};
    fill_shapes();
    fill_gaps();
}

/* What the architectures call differently. */

#ifdef __x86_64__

/* Bit i is the highest bit of byte i. */
SIMD_CODE uint64_t highest_bits(bytes16 bytes)
{
    return (uint32_t)_mm_movemask_epi8((__m128i)bytes);
}

/* Bit i: is word i zero? */
SIMD_CODE uint32_t zero_words(words4 words)
{
    return (uint32_t)_mm_movemask_ps((__m128)(words == 0));
}

SIMD_CODE bytes16 shuffled(bytes16 bytes, bytes16 places)
{
    return (bytes16)_mm_shuffle_epi8((__m128i)bytes, (__m128i)places);
}

SIMD_CODE bytes16 saturating_sum(bytes16 a, bytes16 b)
{
    return (bytes16)_mm_adds_epu8((__m128i)a, (__m128i)b);
}

SIMD_CODE bytes16 saturating_difference(bytes16 a, bytes16 b)
{
    return (bytes16)_mm_subs_epu8((__m128i)a, (__m128i)b);
}

SIMD_CODE bytes16 smaller(bytes16 a, bytes16 b)
{
    return (bytes16)_mm_min_epu8((__m128i)a, (__m128i)b);
}

/* The octets whose digits stand at those places; nonzero when one of them is none. Bytes that are no digits make no sum
   above 28305. */
SIMD_CODE uint64_t octets_of(bytes16 digits, bytes16 places, uint32_t *value)
{
    __m128i halves = _mm_maddubs_epi16((__m128i)digits, (__m128i)known.octet_weights);
    __m128i octets = _mm_add_epi16(halves, _mm_shuffle_epi32(halves, 0x4e));
    __m128i least = _mm_and_si128((__m128i)places, (__m128i)known.octet_least);
    __m128i bad = _mm_or_si128(_mm_cmpgt_epi16(least, octets), _mm_cmpgt_epi16(octets, (__m128i)known.octet_most));
    *value = (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(octets, octets));
    return highest_bits((bytes16)bad | saturating_sum(digits, known.above_decimal));
}

/* Pairs of nibbles to bytes. */
SIMD_CODE bytes16 joined(bytes16 first, bytes16 second)
{
    __m128i weights = (__m128i)known.nibble_weights;
    return (bytes16)_mm_packus_epi16(_mm_maddubs_epi16((__m128i)first, weights), _mm_maddubs_epi16((__m128i)second, weights));
}

#else

SIMD_CODE uint64_t highest_bits(bytes16 bytes)
{
    const bytes16 weights = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t bits = (uint8x16_t)((bytes16)(bytes > 0x7f) & weights);
    bits = vpaddq_u8(bits, bits);
    bits = vpaddq_u8(bits, bits);
    bits = vpaddq_u8(bits, bits);
    return vgetq_lane_u16((uint16x8_t)bits, 0);
}

SIMD_CODE uint32_t zero_words(words4 words)
{
    const words4 weights = {1, 2, 4, 8};
    return vaddvq_u32((uint32x4_t)((words4)(words == 0) & weights));
}

SIMD_CODE bytes16 shuffled(bytes16 bytes, bytes16 places)
{
    return (bytes16)vqtbl1q_u8((uint8x16_t)bytes, (uint8x16_t)places);
}

SIMD_CODE bytes16 saturating_sum(bytes16 a, bytes16 b)
{
    return (bytes16)vqaddq_u8((uint8x16_t)a, (uint8x16_t)b);
}

SIMD_CODE bytes16 saturating_difference(bytes16 a, bytes16 b)
{
    return (bytes16)vqsubq_u8((uint8x16_t)a, (uint8x16_t)b);
}

SIMD_CODE bytes16 smaller(bytes16 a, bytes16 b)
{
    return (bytes16)vminq_u8((uint8x16_t)a, (uint8x16_t)b);
}

SIMD_CODE uint64_t octets_of(bytes16 digits, bytes16 places, uint32_t *value)
{
    uint8x16_t weights = (uint8x16_t)known.octet_weights;
    uint16x8_t low = vmull_u8(vget_low_u8((uint8x16_t)digits), vget_low_u8(weights));
    uint16x8_t halves = vpaddq_u16(low, vmull_high_u8((uint8x16_t)digits, weights));
    uint16x8_t octets = vaddq_u16(halves, vextq_u16(halves, halves, 4));
    uint16x8_t least = (uint16x8_t)(places & known.octet_least);
    uint16x8_t bad = vorrq_u16(vcgtq_u16(least, octets), vcgtq_u16(octets, (uint16x8_t)known.octet_most));
    *value = vget_lane_u32((uint32x2_t)vmovn_u16(octets), 0);
    return vmaxvq_u8((uint8x16_t)bad | (uint8x16_t)(digits > 9));
}

SIMD_CODE uint8x8_t joined_half(uint16x8_t nibbles)
{
    return vmovn_u16(vorrq_u16(vshlq_n_u16(nibbles, 4), vshrq_n_u16(nibbles, 8)));
}

SIMD_CODE bytes16 joined(bytes16 first, bytes16 second)
{
    return (bytes16)vcombine_u8(joined_half((uint16x8_t)first), joined_half((uint16x8_t)second));
}

#endif

/* Bytes and masks. */

/* Memory is mapped by pages of at least 4096 bytes: what is read from behind a text in the page of its first byte can not
   fault, and changes no answer. Sanitizers and tagged memory know narrower limits than the page's; they get a copy. */
SIMD_CODE int is_readable_behind(const char *text)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_HWADDRESS__) || defined(__ARM_FEATURE_MEMORY_TAGGING)
    return 0;
#endif
#ifdef __has_feature
#if __has_feature(address_sanitizer) || __has_feature(hwaddress_sanitizer) || __has_feature(memory_sanitizer)
    return 0;
#endif
#endif
    return ((uintptr_t)text & 4095) <= 4096 - SIMD_READABLE;
}

/* The start of a text, all of it when it may be an address, where SIMD_READABLE bytes are readable. */
SIMD_CODE const char *copied(const char *text, size_t length, char *copy)
{
    memset(copy, 0, SIMD_READABLE);
    return memcpy(copy, text, length < SIMD_READABLE ? length : SIMD_READABLE);
}

SIMD_CODE bytes16 load_bytes(const char *text)
{
    bytes16 bytes;
    memcpy(&bytes, text, sizeof(bytes));
    return bytes;
}

SIMD_CODE uint32_t load_word(const char *text)
{
    uint32_t word;
    memcpy(&word, text, sizeof(word));
    return word;
}

SIMD_CODE uint64_t places_of(bytes16 byte, bytes16 bytes)
{
    return highest_bits((bytes16)(bytes == byte));
}

SIMD_CODE uint64_t colons_of(const char *text)
{
    uint64_t colons = places_of(known.colon, load_bytes(text)) | places_of(known.colon, load_bytes(text + 16)) << 16;
    return colons | places_of(known.colon, load_bytes(text + 32)) << 32;
}

SIMD_CODE uint64_t newlines_of(const char *text)
{
    uint64_t first = places_of(known.newline, load_bytes(text)) | places_of(known.newline, load_bytes(text + 16)) << 16;
    uint64_t last = places_of(known.newline, load_bytes(text + 32)) | places_of(known.newline, load_bytes(text + 48)) << 16;
    return first | last << 32;
}

SIMD_CODE uint64_t bit(size_t place)
{
    return (uint64_t)1 << place;
}

/* Takes the lowest bit out of a mask; what is left of none is none, at place 63. */
SIMD_CODE size_t next_place(uint64_t *mask)
{
    size_t place = (size_t)__builtin_ctzll(*mask | bit(63));
    *mask &= *mask - 1;
    return place;
}

/* IPv4 */

/* `bytes` are the text, IPV4_MIN to IPV4_MAX of them, and what follows; `dots` are the dots of them all. Nonzero when the
   text is no address. Every byte of a shape that is no dot is a digit's, so the others need not be looked at. */
SIMD_CODE uint64_t read_ipv4(bytes16 bytes, uint64_t dots, size_t length, uint32_t *value)
{
    uint32_t end = (uint32_t)bit(length);
    uint32_t shape = ((uint32_t)dots & (end - 1)) | end;
    uint32_t slot = slot_of_shape(shape);
    bytes16 places = known.octets_of_slot[slot];
    return octets_of(shuffled(bytes - known.zero, places), places, value) | (known.shape_of_slot[slot] ^ shape);
}

/* IPv6 */

/* The values of hexadecimal digits; above 15 for what is none (W. Mula, Parsing hex numbers with validation, 2022). */
SIMD_CODE bytes16 nibbles_of(bytes16 bytes)
{
    bytes16 decimal = saturating_difference(bytes + known.decimal_end, known.six) - known.nibble_end;
    bytes16 letter = saturating_sum((bytes & known.no_case) - known.letter_start, known.ten);
    return smaller(decimal, letter);
}

/* All bits of every byte of a word that is a colon or in front of one. */
SIMD_CODE words4 not_of_part(words4 words)
{
    words4 colons = (words4)((bytes16)words == known.colon);
    colons |= colons >> 8;
    return colons | colons >> 16;
}

/* The 16 bits of eight parts; bit i of `bad` says that part i has a byte that is no digit. */
SIMD_CODE bytes16 values_of_parts(const uint32_t *parts, uint32_t *bad)
{
    words4 first = {parts[0], parts[1], parts[2], parts[3]}, last = {parts[4], parts[5], parts[6], parts[7]};
    first = (words4)nibbles_of((bytes16)first) & ~not_of_part(first);
    last = (words4)nibbles_of((bytes16)last) & ~not_of_part(last);
    *bad = ~(zero_words(first & (words4)known.nibble_end) | zero_words(last & (words4)known.nibble_end) << 4);
    return joined((bytes16)first, (bytes16)last);
}

#ifdef __x86_64__

/* The same with all parts in one register: a quarter less time for an IPv6 address. */
#define TWICE(name) _mm256_broadcastsi128_si256((__m128i)known.name)

static inline __attribute__((always_inline, SIMD_TARGET_AVX2)) bytes16 values_of_parts_avx2(const uint32_t *parts, uint32_t *bad)
{
    __m256i words = _mm256_setr_epi32((int)parts[0], (int)parts[1], (int)parts[2], (int)parts[3],
                                      (int)parts[4], (int)parts[5], (int)parts[6], (int)parts[7]);
    __m256i decimal = _mm256_subs_epu8(_mm256_add_epi8(words, TWICE(decimal_end)), TWICE(six));
    __m256i letter = _mm256_sub_epi8(_mm256_and_si256(words, TWICE(no_case)), TWICE(letter_start));
    __m256i colons = _mm256_cmpeq_epi8(words, TWICE(colon));
    decimal = _mm256_sub_epi8(decimal, TWICE(nibble_end));
    letter = _mm256_adds_epu8(letter, TWICE(ten));
    colons = _mm256_or_si256(colons, _mm256_srli_epi32(colons, 8));
    colons = _mm256_or_si256(colons, _mm256_srli_epi32(colons, 16));
    __m256i nibbles = _mm256_andnot_si256(colons, _mm256_min_epu8(decimal, letter));
    __m256i good = _mm256_cmpeq_epi32(_mm256_and_si256(nibbles, TWICE(nibble_end)), _mm256_setzero_si256());
    *bad = ~(uint32_t)_mm256_movemask_ps((__m256)good);
    __m256i bytes = _mm256_maddubs_epi16(nibbles, TWICE(nibble_weights));
    return (bytes16)_mm_packus_epi16(_mm256_castsi256_si128(bytes), _mm256_extracti128_si256(bytes, 1));
}

#undef TWICE
#endif

typedef bytes16 values_reader(const uint32_t *parts, uint32_t *bad);

/* The text with those colons, and `digits` where all else is that has to be a digit. `quads` is 1 when the last part is an
   IPv4 address, which is left undefined, and else 0. */
SIMD_CODE int read_parts(
    const char *text, uint64_t colons, uint64_t digits, size_t length, uint32_t quads, values_reader *values_of, AddressBits *out)
{
    uint64_t end = bit(length), last = end >> 1;
    /* ":::" has two bits here, as have two "::". */
    uint64_t doubles = colons & (colons >> 1);
    uint64_t inner = colons & ~(doubles & 1) & ~((doubles << 1) & last);
    uint64_t pairs = digits & (digits >> 1), fives = pairs & (pairs >> 2) & (digits >> 4);
    uint32_t full = (uint32_t)__builtin_popcountll(inner) + 1 - quads, count = full + 2 * quads;
    uint64_t bad_colons = (doubles & (doubles - 1)) | (inner & (1 | last));
    if (((fives | bad_colons) != 0) | (count > PARTS) | ((doubles == 0) & (count != PARTS)))
        return 0;

    /* A part that does not exist ends at one of the last places, where reading does no harm. */
    uint64_t ends = inner | end | (uint64_t)0xff << (SIMD_READABLE - PARTS);
    uint32_t parts[PARTS], bad;
    size_t first = next_place(&ends), second = next_place(&ends);
    parts[0] = (uint32_t)(((uint64_t)load_word(text) << 32 | 0x30303030) >> (8 * first));
    /* Only in texts like "1::" does the second part end before the fourth byte, and its colon then clears the zero bytes in
       front; no later part can. */
    parts[1] = __builtin_expect(second < 4, 0) ? load_word(text) << (8 * (4 - second)) : load_word(text + second - 4);
    for (int index = 2; index < PARTS; index++)
        parts[index] = load_word(text + next_place(&ends) - 4);

    bytes16 values = values_of(parts, &bad);
    uint32_t gap = (uint32_t)__builtin_popcountll(inner & (doubles ^ (doubles - 1)));
    values = shuffled(values, known.halves_of_gap[gap][count - 1]);
    memcpy(&out->hi, &values, 8);
    memcpy(&out->lo, (const char *)&values + 8, 8);
    return (bad & (uint32_t)(bit(full) - 1)) == 0 ? 6 : 0;
}

/* The last two groups as an IPv4 address. */
SIMD_CODE int read_ipv6_with_quad(const char *text, size_t length, values_reader *values_of, AddressBits *out)
{
    if (length > QUAD_MAX)
        return 0;
    uint64_t colons = colons_of(text) & (bit(length) - 1);
    size_t start = colons == 0 ? 0 : 64 - (size_t)__builtin_clzll(colons);
    if (start == 0 || length - start < IPV4_MIN || length - start > IPV4_MAX)
        return 0;
    /* It has at least seven bytes: it starts at 38 or before, and what is read ends at 54. */
    bytes16 bytes = load_bytes(text + start);
    uint32_t quad;
    if (read_ipv4(bytes, places_of(known.dot, bytes), length - start, &quad) != 0)
        return 0;
    if (read_parts(text, colons, ~colons & (bit(start) - 1), length, 1, values_of, out) == 0)
        return 0;
    out->lo = (out->lo & ~(uint64_t)0xffffffff) | quad;
    return 6;
}

typedef int longer_reader(const char *text, size_t length, AddressBits *out);

SIMD_CODE int read_ipv6(
    const char *text, size_t length, values_reader *values_of, longer_reader *read_with_quad, AddressBits *out)
{
    if (length >= IPV6_MIN && length <= IPV6_MAX) {
        uint64_t inside = bit(length) - 1, colons = colons_of(text) & inside;
        if (read_parts(text, colons, ~colons & inside, length, 0, values_of, out) != 0)
            return 6;
    }
    return read_with_quad(text, length, out);
}

SIMD_CODE int read_address(const char *text, size_t length, longer_reader *read_longer, AddressBits *out)
{
    bytes16 bytes = load_bytes(text);
    uint64_t dots = places_of(known.dot, bytes);
    /* Where the first octet of an IPv4 address ends. "::1.2.3.4" has a dot there too. */
    if ((dots & 0xe) != 0 && length >= IPV4_MIN && length <= IPV4_MAX) {
        uint32_t value;
        if (read_ipv4(bytes, dots, length, &value) == 0) {
            out->lo = value;
            return 4;
        }
    }
    return read_longer(text, length, out);
}

/* Lines */

SIMD_CODE void add_end(size_t **ends, size_t at, uint64_t *newlines)
{
    *(*ends)++ = at + next_place(newlines);
}

/* Where the first lines of a text of at least one byte end: at newlines, and the last one at the end of the text if that is
   no newline. At least `wanted`, which SIMD_BLOCK_LINES limits, if the text has so many, and less than 64 more. */
SIMD_CODE size_t find_line_ends(const char *text, size_t length, size_t *ends, size_t wanted)
{
    size_t found = 0;
    for (size_t at = 0; at <= length && found < wanted; at += 64) {
        uint64_t newlines;
        if (length - at >= 64) {
            newlines = newlines_of(text + at);
        } else {
            char copy[SIMD_READABLE];
            newlines = newlines_of(copied(text + at, length - at, copy));
            newlines |= text[length - 1] == '\n' ? 0 : bit(length - at);
        }
        /* Six at once without a branch: more are rare in 64 bytes. */
        size_t count = (size_t)__builtin_popcountll(newlines);
        size_t *next = ends + found;
        add_end(&next, at, &newlines);
        add_end(&next, at, &newlines);
        add_end(&next, at, &newlines);
        add_end(&next, at, &newlines);
        add_end(&next, at, &newlines);
        add_end(&next, at, &newlines);
        while (__builtin_expect(newlines != 0, 0))
            add_end(&next, at, &newlines);
        found += count;
    }
    return found;
}

SIMD_CODE size_t read_lines(
    const char *text, size_t length, AddressBits *out, size_t limit, size_t *consumed, longer_reader *read_longer)
{
    size_t ends[SIMD_BLOCK_LINES + 64], start = 0;
    size_t wanted = limit < SIMD_BLOCK_LINES ? limit : SIMD_BLOCK_LINES;
    size_t found = find_line_ends(text, length, ends, wanted), count = found < wanted ? found : wanted;
    for (size_t index = 0; index < count; index++) {
        char copy[SIMD_READABLE];
        const char *line = text + start;
        size_t line_length = ends[index] - start;
        if (length - start < SIMD_READABLE)
            line = copied(line, line_length, copy);
        out[index].family = read_address(line, line_length, read_longer, &out[index]);
        start = ends[index] + 1;
    }
    *consumed = start < length ? start : length;
    return count;
}

/* One function for each way in and for each that is seldom taken or long. An empty text is refused before anything else: it
   may begin where no memory is. */
#define SIMD_IMPLEMENTATION(name, required, values_of) \
    static __attribute__((noinline, cold, required)) int read_ipv6_with_quad_##name( \
        const char *text, size_t length, AddressBits *out) \
    { \
        return read_ipv6_with_quad(text, length, values_of, out); \
    } \
    static __attribute__((noinline, required)) int read_ipv6_##name(const char *text, size_t length, AddressBits *out) \
    { \
        return read_ipv6(text, length, values_of, read_ipv6_with_quad_##name, out); \
    } \
    static __attribute__((noinline, required)) int read_padded_##name(const char *text, size_t length, AddressBits *out) \
    { \
        return read_address(text, length, read_ipv6_##name, out); \
    } \
    static __attribute__((noinline, cold, required)) int read_copied_##name(const char *text, size_t length, AddressBits *out) \
    { \
        char copy[SIMD_READABLE]; \
        return read_padded_##name(copied(text, length, copy), length, out); \
    } \
    static __attribute__((noinline, required)) int read_text_##name(const char *text, size_t length, AddressBits *out) \
    { \
        if (length == 0 || length > QUAD_MAX) \
            return 0; \
        if (!is_readable_behind(text)) \
            return read_copied_##name(text, length, out); \
        return read_address(text, length, read_ipv6_##name, out); \
    } \
    static __attribute__((noinline, required)) size_t read_lines_##name( \
        const char *text, size_t length, AddressBits *out, size_t limit, size_t *consumed) \
    { \
        return read_lines(text, length, out, limit, consumed, read_ipv6_##name); \
    }

#ifdef __x86_64__
SIMD_IMPLEMENTATION(sse42, SIMD_TARGET_SSE42, values_of_parts)
SIMD_IMPLEMENTATION(avx2, SIMD_TARGET_AVX2, values_of_parts_avx2)
#else
SIMD_IMPLEMENTATION(neon, SIMD_TARGET_NEON, values_of_parts)
#endif

#endif

/* The face. */

static inline int simd_is_present(int implementation)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    int v2 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("popcnt");
    if (implementation == SIMD_AVX2)
        return v2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
    return v2 && implementation == SIMD_SSE42;
#elif defined(SIMD_CODE)
    return implementation == SIMD_NEON;
#else
    (void)implementation;
    return 0;
#endif
}

/* Once, before anything is read; answers the fastest implementation that is present. */
static inline int simd_start(void)
{
#ifdef SIMD_CODE
    fill_known();
#endif
    for (int implementation = SIMD_NEON; implementation > SIMD_NONE; implementation--)
        if (simd_is_present(implementation))
            return implementation;
    return SIMD_NONE;
}

/* The family of the address that text[0:length] is; 0 when it is none. A branch that is always the same costs less than a
   call by pointer. */
static inline int simd_read(int implementation, const char *text, size_t length, AddressBits *out)
{
#if defined(__x86_64__)
    return implementation == SIMD_AVX2 ? read_text_avx2(text, length, out) : read_text_sse42(text, length, out);
#elif defined(SIMD_CODE)
    (void)implementation;
    return read_text_neon(text, length, out);
#else
    (void)implementation, (void)text, (void)length, (void)out;
    return 0;
#endif
}

/* The same, with SIMD_READABLE readable bytes from `text` on. */
static inline int simd_read_padded(int implementation, const char *text, size_t length, AddressBits *out)
{
#if defined(__x86_64__)
    return implementation == SIMD_AVX2 ? read_padded_avx2(text, length, out) : read_padded_sse42(text, length, out);
#elif defined(SIMD_CODE)
    (void)implementation;
    return read_padded_neon(text, length, out);
#else
    (void)implementation, (void)text, (void)length, (void)out;
    return 0;
#endif
}

/* The first lines of a text of at least one byte, at most `limit` and SIMD_BLOCK_LINES; answers how many, and in `consumed`
   how many bytes those are with their newlines. */
static inline size_t simd_read_lines(
    int implementation, const char *text, size_t length, AddressBits *out, size_t limit, size_t *consumed)
{
#if defined(__x86_64__)
    return implementation == SIMD_AVX2 ? read_lines_avx2(text, length, out, limit, consumed)
                                       : read_lines_sse42(text, length, out, limit, consumed);
#elif defined(SIMD_CODE)
    (void)implementation;
    return read_lines_neon(text, length, out, limit, consumed);
#else
    (void)implementation, (void)text, (void)length, (void)out, (void)limit, (void)consumed;
    return 0;
#endif
}

#endif
