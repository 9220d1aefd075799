"""Every text, every dress and every block of the registries, against `ipaddress` and the readable list.

Every text is read by every implementation that this processor has; `read` is the one test body for all of them.
"""

from __future__ import annotations

import copy
import ctypes
import ipaddress
import itertools
import mmap
import pickle
import random
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath import address
from tests.reference import addresses as oracle

if TYPE_CHECKING:
    from collections.abc import Iterator

IPV4 = st.integers(0, 2**32 - 1)
GROUP = st.one_of(st.just(0), st.integers(0, 0xFFFF))
IPV6 = st.lists(GROUP, min_size=8, max_size=8).map(lambda groups: int("".join(f"{group:04x}" for group in groups), 16))

BAD = [
    ("", "empty"),
    (" ", "white space alone"),
    (" 1.2.3.4", "white space in front"),
    ("1.2.3.4 ", "white space behind"),
    ("1.2.3.4\n", "a line end"),
    ("::1\t", "a tab"),
    ("1.2.3", "three octets"),
    ("1.2.3.4.5", "five octets"),
    ("1.2.3.", "the last octet is empty"),
    (".1.2.3.4", "a dot in front"),
    ("1..2.3.4", "two dots"),
    ("1..2.34", "an empty octet between three dots"),
    ("1.2.3.4.", "a dot behind"),
    ("...", "dots alone"),
    (".......", "seven dots"),
    ("01.2.3.4", "a leading zero"),
    ("1.2.3.00", "zero twice"),
    ("1.2.010.4", "octal"),
    ("1.2.3.256", "an octet above 255"),
    ("1.2.3.999", "an octet above 255"),
    ("1000.2.3.4", "four digits"),
    ("1.2.3.0004", "four digits"),
    ("0x1.2.3.4", "hexadecimal"),
    ("16909060", "one integer"),
    ("1.2.772", "the two last octets in one"),
    ("-1.2.3.4", "a sign"),
    ("+1.2.3.4", "a sign"),
    ("1.2.3.4/24", "a prefix length"),
    ("1.2.3.4:80", "a port"),
    ("1.2.3.a", "a letter"),
    ("1.2.3./", "the byte below 0"),
    ("1.2.3.:", "the byte above 9"),
    ("1.2.3.4\0", "a NUL behind"),
    ("1.2.3\x004", "a NUL within"),
    ("\0.2.3.44", "a NUL in front"),
    (":", "one colon"),
    (":::", "three colons"),
    ("::::", "four colons"),
    ("1:::2", "three colons between"),
    ("::1::", "two gaps"),
    ("1::2::3", "two gaps"),
    (":1:2:3:4:5:6:7", "a colon in front"),
    ("1:2:3:4:5:6:7:", "a colon behind"),
    (":1::2", "a colon in front of a gapped address"),
    ("1::2:", "a colon behind a gapped address"),
    ("1:2:3:4:5:6:7", "seven groups"),
    ("1:2:3:4:5:6:7:8:9", "nine groups"),
    ("1:2:3:4::5:6:7:8", "a gap for no group"),
    ("::1:2:3:4:5:6:7:8", "a gap for no group in front"),
    ("1:2:3:4:5:6:7:8::", "a gap for no group behind"),
    ("12345::", "five digits"),
    ("::00001", "five digits"),
    ("1:2:3:4:5:6:7:00008", "five digits in the last group"),
    ("::g", "a letter that is no digit"),
    ("::/", "the byte below 0"),
    ("::;", "the byte above the colon"),
    ("::@", "the byte below A"),
    ("::`", "the byte below a"),
    ("::G", "the byte above F"),
    ("fe80::1%eth0", "a zone"),
    ("fe80::1%", "an empty zone"),
    ("[::1]", "brackets"),
    ("[::1]:80", "brackets and a port"),
    ("::1/128", "a prefix length"),
    ("::1\0", "a NUL behind"),
    ("::\x001", "a NUL within"),
    ("1.2.3.4::", "a quad in front"),
    ("::1.2.3.4:5", "a quad within"),
    ("::1.2.3", "a quad of three octets"),
    ("::1.2.3.4.5", "a quad of five octets"),
    ("::01.2.3.4", "a leading zero in a quad"),
    ("::1.2.3.256", "an octet of a quad above 255"),
    ("::1.2:1.2.3.4", "a dot before the quad"),
    ("1:2:3:4:5:6:7:1.2.3.4", "a quad as the eighth group"),
    ("1:2:3:4:5:6:7::1.2.3.4", "a gap and no room for the quad"),
    ("1:2:3:4:5:6::1.2.3.4", "a gap for no group before a quad"),
    ("1:2:3:4:5:1.2.3.4", "a quad as the sixth group"),
    (":1.2.3.4", "a colon and a quad"),
    ("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.2555", "one byte more than an address has"),
    ("0" * 46, "46 digits"),
    ("1.2.3.4" + "0" * 1_000_000, "a million digits"),
    (":" * 1_000_000, "a million colons"),
    ("::" + "\0" * 1_000_000, "a million NULs"),
    ("localhost", "a name"),
    ("unknown", "a word of X-Forwarded-For"),
]

GOOD = [
    "0.0.0.0",
    "1.2.3.4",
    "9.10.99.100",
    "255.255.255.255",
    "192.168.100.1",
    "::",
    "::1",
    "1::",
    "::2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7::",
    "1:2:3:4:5:6:7:8",
    "0:0:0:0:0:0:0:0",
    "1:2:3::5:6:7:8",
    "2001:db8::1",
    "FE80::ABCD:eF01",
    "2a02:6b8:0:1::242",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::1.2.3.4",
    "1::1.2.3.4",
    "1:2:3:4:5::1.2.3.4",
    "1:2:3:4:5:6:1.2.3.4",
    "::ffff:255.255.255.255",
    "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
]


def facts(canonical: address.Canonical | None) -> oracle.Expected | None:
    if canonical is None:
        return None
    return oracle.Expected(canonical.family, canonical.value, canonical.special, canonical.clothing)


def encoded(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def read(text: str | bytes) -> oracle.Expected | None:
    """What `parse` and all implementations answer: the same."""
    answer = facts(address.parse(text))
    for implementation in address.implementations():
        assert facts(address.parse_with(implementation, encoded(text))) == answer, (implementation, text)
    return answer


def read_in_place(text: memoryview) -> oracle.Expected | None:
    """What all implementations answer for a text that stays where it is in memory."""
    answers = {facts(address.parse_with(implementation, text)) for implementation in address.implementations()}
    assert len(answers) == 1, (bytes(text), answers)
    return answers.pop()


def parsed(text: str | bytes) -> address.Canonical:
    canonical = address.parse(text)
    assert canonical is not None
    return canonical


def spellings(value: int) -> Iterator[str]:
    """Every way to write an IPv6 address that `ipaddress` and RFC 4291 know."""
    plain = ipaddress.IPv6Address(value)
    groups = [f"{value >> shift & 0xFFFF:x}" for shift in range(112, -1, -16)]
    quad = str(ipaddress.IPv4Address(value & 0xFFFFFFFF))
    yield str(plain)
    yield plain.exploded
    yield ":".join(groups)
    yield ":".join([*groups[:6], quad])
    for first, last in itertools.combinations(range(9), 2):
        if all(group == "0" for group in groups[first:last]):
            yield f"{':'.join(groups[:first])}::{':'.join(groups[last:])}"
            if last <= 6:
                yield f"{':'.join(groups[:first])}::{':'.join([*groups[last:6], quad])}"


@pytest.mark.parametrize(("text", "why"), BAD, ids=[f"{index}-{why.replace(' ', '-')}" for index, (_, why) in enumerate(BAD)])
def test_refuses_what_is_no_address(text: str, why: str) -> None:
    assert oracle.parse(text) is None, why
    assert read(text) is None
    assert read(text.encode()) is None


@pytest.mark.parametrize("text", ["１.2.3.4", "1.2.3.٤", "::１", "::é", "1.2.3.4é", "\udc80", "1.2.3.\U0001d7d2"])  # noqa: RUF001
def test_refuses_text_outside_ascii(text: str) -> None:
    assert read(text) is None
    assert read(encoded(text)) is None


@pytest.mark.parametrize("text", GOOD)
def test_any_one_byte_changed_is_judged_as_ipaddress_judges(text: str) -> None:
    data = text.encode()
    for index in range(len(data)):
        for byte in range(256):
            changed = data[:index] + bytes([byte]) + data[index + 1 :]
            assert read(changed) == oracle.parse(changed), changed
        shorter, longer = data[:index] + data[index + 1 :], data[:index] + data[index : index + 1] + data[index:]
        assert read(shorter) == oracle.parse(shorter), shorter
        assert read(longer) == oracle.parse(longer), longer


def test_every_short_text_of_separators_and_a_digit_is_judged_as_ipaddress_judges() -> None:
    for length in range(10):
        for letters in itertools.product("1:.", repeat=length):
            text = "".join(letters)
            assert read(text) == oracle.parse(text), text


def test_every_text_of_dots_and_a_digit_as_long_as_an_ipv4_address_is_judged_as_ipaddress_judges() -> None:
    for length in range(7, 16):
        for letters in itertools.product("1.", repeat=length):
            text = "".join(letters)
            if text.count(".") == 3:
                assert read(text) == oracle.parse(text), text
            else:
                assert read(text) is None, text


def test_every_octet_of_up_to_four_digits_is_judged_as_ipaddress_judges() -> None:
    octets = [f"{value:0{size}}" for size in range(1, 5) for value in range(10 ** min(size, 3))]
    for place in range(4):
        for octet in octets:
            text = ".".join([*("25", "1", "109")[:place], octet, *("5", "31", "250")[place:]])
            assert read(text) == oracle.parse(text), text


def test_every_shape_of_an_ipv4_address_is_judged_as_ipaddress_judges() -> None:
    octets = ["0", "9", "00", "05", "10", "99", "000", "099", "100", "255", "256", "300"]
    for quad in itertools.product(octets, repeat=4):
        text = ".".join(quad)
        assert read(text) == oracle.parse(text), text


def test_every_shape_of_an_ipv6_address_is_judged_as_ipaddress_judges() -> None:
    dice = random.Random(4291)

    def groups(count: int) -> list[str]:
        sizes = dice.choices([1, 2, 3, 4, 5], [9, 9, 9, 27, 1], k=count)
        return [f"{dice.getrandbits(20):05x}"[-size:] for size in sizes]

    for _ in range(100):
        for head, tail in itertools.product(range(9), repeat=2):
            last = dice.choice(["", "", "", ":1.2.3.4", ":250.0.10.255", ":1.2.3.256"])
            for gap in ("::", ":"):
                text = ":".join(groups(head)) + gap + ":".join(groups(tail)) + last
                assert read(text) == oracle.parse(text), text


@pytest.mark.parametrize("text", GOOD)
def test_reads_the_same_from_str_and_bytes(text: str) -> None:
    class Text(str):
        __slots__ = ()

    expected = oracle.parse(text)
    assert [read(form) for form in (text, text.encode(), Text(text))] == [expected] * 3


@given(IPV4)
def test_ipv4_is_read_and_written_as_ipaddress_does(value: int) -> None:
    expected = ipaddress.IPv4Address(value)
    canonical = parsed(str(expected))
    assert facts(canonical) == read(str(expected)) == oracle.canonical(expected)
    assert canonical.text == str(canonical) == str(expected)
    assert canonical.network_text == str(ipaddress.ip_network((value, 24), strict=False))
    assert canonical == address.from_int(value, 4) == address.parse_packed(expected.packed)


@given(IPV6)
def test_ipv6_is_read_from_every_spelling_and_written_as_ipaddress_does(value: int) -> None:
    expected = oracle.canonical(ipaddress.IPv6Address(value))
    canonical = address.from_int(value, 6)
    assert facts(canonical) == expected
    for text in spellings(value):
        assert read(text) == read(text.upper()) == expected, text
    assert facts(address.parse_packed(value.to_bytes(16, "big"))) == expected
    plain = ipaddress.ip_address(expected.value) if expected.family == 4 else ipaddress.IPv6Address(expected.value)
    assert canonical.text == str(canonical) == str(plain)
    prefix_len = 24 if plain.version == 4 else 48
    assert canonical.network_text == str(ipaddress.ip_network(f"{plain}/{prefix_len}", strict=False))


ALPHABET = "0123456789abcdefABCDEF:.%/ \x00g"
PIECES = [":", "::", ".", "0", "00", "1", "9", "01", "255", "256", "1000", "f", "ffff", "FFFF", "12345", "1.2.3.4", "%", "/"]


@settings(max_examples=1000)
@given(st.one_of(st.text(ALPHABET, max_size=48), st.lists(st.sampled_from(PIECES), max_size=20).map("".join)))
def test_text_like_an_address_is_judged_as_ipaddress_judges(text: str) -> None:
    assert read(text) == read(text.encode()) == oracle.parse(text)


@settings(max_examples=1000)
@given(st.lists(st.sampled_from(["0", "1", "ab", "FFFF", ""]), min_size=2, max_size=9), st.sampled_from(["", ":1.2.3.4"]))
def test_groups_and_gaps_are_counted_as_ipaddress_counts(groups: list[str], quad: str) -> None:
    text = ":".join(groups) + quad
    assert read(text) == oracle.parse(text)


@given(st.one_of(st.binary(max_size=64), st.text(max_size=64)))
def test_arbitrary_text_is_judged_as_ipaddress_judges(text: str | bytes) -> None:
    assert read(text) == oracle.parse(text)


TEXTS = [*GOOD, *(text for text, _ in BAD if len(text) <= 64)]


@pytest.mark.parametrize("text", TEXTS)
def test_what_stands_around_a_text_changes_nothing(text: str) -> None:
    data, expected = text.encode(), oracle.parse(text)
    for around in (b"0", b"1", b"9", b"f", b".", b":", b"::1", b"1.2.3.4", b"\n", b"\0", b"\xff", b"%"):
        before, behind = (around * 64)[-64:], (around * 64)[:64]
        for start in range(64, 64 + 17):
            memory = memoryview(bytes(start - 64) + before + data + behind)
            assert read_in_place(memory[start : start + len(data)]) == expected, (around, start)
            for implementation in address.implementations():
                canonical = address.parse_padded_with(implementation, memory[start:], len(data))
                assert facts(canonical) == expected, (implementation, around, start)


@pytest.mark.parametrize(("text", "length"), [(b"", 0), (b"::1" + bytes(60), 3), (b"::1" + bytes(61), 65), (bytes(64), -1)])
def test_a_padded_text_has_all_that_may_be_read(text: bytes, length: int) -> None:
    with pytest.raises(ValueError, match="shorter than what may be read"):
        address.parse_padded_with("scalar", text, length)


@pytest.fixture(scope="module")
def page() -> Iterator[memoryview]:
    """A page of memory between two that end the process when they are touched."""
    size, prot_none = mmap.PAGESIZE, 0
    libc = ctypes.CDLL(None, use_errno=True)
    pages = mmap.mmap(-1, 3 * size)
    anchor = ctypes.c_char.from_buffer(pages)
    start = ctypes.addressof(anchor)
    del anchor
    for guard in (start, start + 2 * size):
        assert libc.mprotect(ctypes.c_void_p(guard), ctypes.c_size_t(size), prot_none) == 0, ctypes.get_errno()
    with memoryview(pages) as whole, whole[size : 2 * size] as middle:
        yield middle
    pages.close()


@pytest.mark.parametrize("filler", [b"\0", b"1", b":"])
def test_no_byte_outside_a_text_has_to_be_readable(page: memoryview, filler: bytes) -> None:
    for text in TEXTS:
        data, expected = text.encode(), oracle.parse(text)
        # At the start of the page, and where it ends up to a few bytes, or a whole load, before the end of the page.
        for start in (0, *(len(page) - len(data) - rest for rest in (0, 1, 2, 3, 4, 5, 8, 15, 16, 31, 32, 63, 64))):
            page[:] = filler * len(page)
            page[start : start + len(data)] = data
            with page[start : start + len(data)] as place:
                assert read_in_place(place) == expected, (text, start)


def expected_lines(text: bytes, limit: int) -> tuple[list[oracle.Expected | None], int]:
    lines = text.removesuffix(b"\n").split(b"\n") if text else []
    consumed = sum(len(line) + 1 for line in lines[:limit])
    return [oracle.parse(line) for line in lines[:limit]], min(consumed, len(text))


def read_lines(text: bytes | memoryview, limit: int) -> tuple[list[oracle.Expected | None], int]:
    """What all implementations answer for the lines of a text."""
    answers = []
    for implementation in address.implementations():
        canonicals, consumed = address.parse_lines_with(implementation, text, limit)
        answers.append(([facts(canonical) for canonical in canonicals], consumed))
    for answer in answers[1:]:
        assert answer == answers[0]
    return answers[0]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", 0),
        (b"\n", 1),
        (b"\n\n", 2),
        (b"1.2.3.4", 1),
        (b"1.2.3.4\n", 1),
        (b"1.2.3.4\n\n", 2),
        (b"\n1.2.3.4", 2),
        (b"1.2.3.4\r\n::1\r\n", 2),
        (b"1.2.3.4\n::1\n", 2),
        (b"1.2.3.4\n ::1\n::1 \nx", 4),
        (b"\n" * 64, 64),
        (b"\n" * 1000, 1000),
        (b"::\n" * 1000, 1000),
        (b"1.2.3.4" + b"0" * 1000 + b"\n::1", 2),
        (b"x" * 64 + b"\n", 1),
        (b"x" * 63 + b"\n", 1),
        (b"x" * 10_000, 1),
        (b"::1\0\n::1", 2),
    ],
)
def test_lines_are_read_as_split_and_ipaddress_read_them(text: bytes, lines: int) -> None:
    addresses, consumed = read_lines(text, 1 << 40)
    assert (addresses, consumed) == expected_lines(text, 1 << 40)
    assert (len(addresses), consumed) == (lines, len(text))


ADDRESSES = st.one_of(IPV4.map(ipaddress.IPv4Address), IPV6.map(ipaddress.IPv6Address)).map(str)
LINES = st.lists(st.one_of(ADDRESSES, st.sampled_from([*TEXTS, "", "", ""])))


@given(LINES, st.sampled_from(["", "\n", "\n\n"]), st.one_of(st.just(1 << 40), st.integers(0, 200)))
def test_any_lines_are_read_as_split_and_ipaddress_read_them(lines: list[str], end: str, limit: int) -> None:
    text = ("\n".join(lines) + end).encode()
    assert read_lines(text, limit) == expected_lines(text, limit)


@settings(max_examples=1000)
@given(st.text("1\n.:\r", max_size=200), st.integers(0, 200))
def test_dense_lines_are_read_as_split_and_ipaddress_read_them(text: str, limit: int) -> None:
    data = text.encode()
    assert read_lines(data, limit) == expected_lines(data, limit)


def test_lines_of_every_length_at_the_end_of_a_page_are_read_without_touching_the_next(page: memoryview) -> None:
    dice = random.Random(64)
    texts = [text for text in TEXTS if "\n" not in text]
    for size in range(1, 300):
        lines = "\n".join(dice.choices(texts, k=40)).encode()[-size:]
        with page[-len(lines) :] as place:
            place[:] = lines
            assert read_lines(place, 1 << 40) == expected_lines(lines, 1 << 40)
        with page[: len(lines)] as place:
            place[:] = lines
            assert read_lines(place, 1 << 40) == expected_lines(lines, 1 << 40)


def test_blocks_of_lines_join_without_a_seam() -> None:
    dice = random.Random(1000)
    texts = [str(ipaddress.IPv4Address(dice.getrandbits(32))) for _ in range(900)]
    texts += [str(ipaddress.IPv6Address(dice.getrandbits(128))) for _ in range(300)]
    dice.shuffle(texts)
    text = "\n".join(texts).encode()
    assert read_lines(text, 1 << 40) == expected_lines(text, 1 << 40)
    for implementation in address.implementations():
        assert address.count_lines_with(implementation, text) == (len(texts), len(texts))
        at, lines = 0, 0
        while at < len(text):
            addresses, consumed = address.parse_lines_with(implementation, memoryview(text)[at:], 7)
            at, lines = at + consumed, lines + len(addresses)
            assert None not in addresses
        assert lines == len(texts)


def test_lines_that_are_no_addresses_are_counted_but_not_as_addresses() -> None:
    for implementation in address.implementations():
        assert address.count_lines_with(implementation, b"1.2.3.4\n\n::1\r\n::1\nx") == (5, 2)
        assert address.count_lines_with(implementation, b"") == (0, 0)


def test_the_implementations_are_named() -> None:
    present = address.implementations()
    assert present[0] == "scalar"
    assert set(present) <= set(address.IMPLEMENTATION_NAMES)
    assert len(address.IMPLEMENTATION_NAMES) == len(set(address.IMPLEMENTATION_NAMES))


@pytest.mark.parametrize("name", ["", "SCALAR", "sse9"])
def test_an_implementation_that_does_not_exist_is_an_error_of_the_caller(name: str) -> None:
    with pytest.raises(ValueError, match="no implementation"):
        address.parse_with(name, b"1.2.3.4")
    with pytest.raises(ValueError, match="no implementation"):
        address.parse_padded_with(name, bytes(64), 7)
    with pytest.raises(ValueError, match="no implementation"):
        address.parse_lines_with(name, b"1.2.3.4", 1)
    with pytest.raises(ValueError, match="no implementation"):
        address.count_lines_with(name, b"1.2.3.4")


@pytest.mark.parametrize(
    ("text", "clothing"),
    [
        ("{quad}", None),
        ("::ffff:{quad}", "mapped"),
        ("::{quad}", "compatible"),
        ("2002:{hexa}::", "6to4"),
        ("2002:{hexa}:1:2:3:4:5", "6to4"),
        ("2001:0:4136:e378:8000:63bf:{inverted}", "teredo"),
        ("64:ff9b::{quad}", "nat64"),
    ],
)
@pytest.mark.parametrize("quad", ["8.8.8.8", "192.168.1.1", "5.255.255.80", "0.0.0.2", "255.255.255.255", "192.0.0.9"])
def test_an_address_is_the_same_in_all_its_clothes(text: str, clothing: str | None, quad: str) -> None:
    value = int(ipaddress.IPv4Address(quad))
    hexa, inverted = (f"{bits >> 16:x}:{bits & 0xFFFF:x}" for bits in (value, value ^ 0xFFFFFFFF))
    canonical, plain = parsed(text.format(quad=quad, hexa=hexa, inverted=inverted)), parsed(quad)
    assert (canonical.family, canonical.text, canonical.clothing) == (4, quad, clothing)
    assert canonical.special == plain.special
    assert canonical == plain
    assert hash(canonical) == hash(plain)


@pytest.mark.parametrize(
    ("text", "special"),
    [
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("64:ff9b:1::8.8.8.8", "translation"),
        ("64:ff9b:0:1::8.8.8.8", "reserved"),
        ("64:ff9b::1:808:808", "reserved"),
        ("::fffe:8.8.8.8", "reserved"),
        ("::ffff:0:8.8.8.8", "reserved"),
        ("0:0:0:1::8.8.8.8", "reserved"),
        ("2001:1::8.8.8.8", "protocol_assignments"),
        ("2003::808:808", None),
    ],
)
def test_what_only_looks_dressed_stays_as_it_is(text: str, special: str | None) -> None:
    canonical = parsed(text)
    assert (canonical.family, canonical.special, canonical.clothing) == (6, special, None)


def test_an_address_is_undressed_once() -> None:
    # 6to4 of 32.2.8.8 begins with the bits 2002:2002, which would be 6to4 again if they were looked at as IPv6.
    assert parsed("2002:2002:808::").text == "32.2.8.8"


@pytest.mark.parametrize("network", oracle.NETWORKS, ids=str)
def test_every_block_of_the_registries_ends_where_it_should(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    first, last = int(network.network_address), int(network.broadcast_address)
    for value in {first - 1, first, first + 1, (first + last) // 2, last - 1, last, last + 1}:
        if 0 <= value < 1 << network.max_prefixlen:
            plain = ipaddress.IPv4Address(value) if network.version == 4 else ipaddress.IPv6Address(value)
            expected = oracle.canonical(plain)
            assert facts(address.parse(str(plain))) == facts(address.from_int(value, network.version)) == expected, plain


def test_200_000_random_addresses_have_the_class_that_the_registries_say() -> None:
    dice = random.Random(20251009)
    for version, bits in ((4, 32), (6, 128)):
        starts = [int(network.network_address) for network in oracle.NETWORKS if network.version == version]
        for _ in range(100_000):
            # Half anywhere, half beside a block: its bits with some of the lower ones thrown anew.
            value = dice.getrandbits(bits)
            if value & 1:
                value = dice.choice(starts) ^ dice.getrandbits(bits) >> dice.randrange(bits)
            canonical = address.from_int(value, version)
            if canonical.clothing is None:
                assert (canonical.family, canonical.value) == (version, value)
                assert canonical.special == oracle.special(version, value), canonical.text
            else:
                assert facts(canonical) == oracle.canonical(ipaddress.IPv6Address(value))


def test_every_special_name_is_said_of_some_address() -> None:
    said = {special for _, special in oracle.BLOCKS}
    assert said == set(address.SPECIAL_NAMES)
    assert len(address.SPECIAL_NAMES) == len(said)
    assert set(address.CLOTHING_NAMES) == {None, *(clothing for _, clothing in oracle.CLOTHES)}


def test_special_name_names_the_classes_of_the_c_face() -> None:
    assert tuple(address.special_name(number) for number in range(len(address.SPECIAL_NAMES))) == address.SPECIAL_NAMES
    assert address.special_name(0) is None
    assert address.special_name(-1) is None
    assert address.special_name(len(address.SPECIAL_NAMES)) is None


@pytest.mark.parametrize("packed", [b"", b"1", b"123", b"12345", bytes(15), bytes(17), bytes(1000)])
def test_packed_bytes_of_another_length_are_refused(packed: bytes) -> None:
    assert address.parse_packed(packed) is None


@pytest.mark.parametrize(("value", "family"), [(-1, 4), (2**32, 4), (-1, 6), (2**128, 6), (1, 5), (1, 0), (2**200, 6)])
def test_integers_that_are_no_address_are_refused(value: int, family: int) -> None:
    with pytest.raises(ValueError, match="family must be 4 or 6"):
        address.from_int(value, family)


@pytest.mark.parametrize("text", [None, 1, 1.5, bytearray(b"1.2.3.4"), memoryview(b"1.2.3.4"), ipaddress.IPv4Address(1)])
def test_other_types_than_text_are_an_error_of_the_caller(text: object) -> None:
    with pytest.raises(TypeError):
        address.parse(cast("str", text))
    with pytest.raises(TypeError):
        address.parse_packed(cast("bytes", text))


def test_repr_shows_no_more_than_the_network() -> None:
    assert repr(parsed("8.8.4.4")) == "<Canonical 8.8.4.0/24>"
    assert repr(parsed("::ffff:192.168.1.77")) == "<Canonical 192.168.1.0/24 private mapped>"
    assert repr(parsed("2001:db8:aaaa:bbbb:cccc::1")) == "<Canonical 2001:db8:aaaa::/48 documentation>"


def test_addresses_compare_by_family_and_bits() -> None:
    assert parsed("0.0.0.1") != parsed("::1")
    assert parsed("1.2.3.4") != parsed("1.2.3.5")
    assert parsed("2001:db8::1") != parsed("2001:db9::1")
    assert parsed("1.2.3.4") != "1.2.3.4"
    assert len({parsed("2001:DB8::1"), parsed("2001:db8:0::1"), parsed("1.2.3.4"), parsed("::1.2.3.4")}) == 2


def test_a_canonical_is_made_by_the_parsers_alone_and_never_changes() -> None:
    canonical = parsed("1.2.3.4")
    with pytest.raises(TypeError, match="made by parse"):
        address.Canonical()
    with pytest.raises(AttributeError):
        canonical.value = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        type("Child", (address.Canonical,), {})
    with pytest.raises(TypeError):
        pickle.dumps(canonical)
    with pytest.raises(TypeError):
        copy.copy(canonical)
