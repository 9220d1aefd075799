"""The trie against a sorted list: every kind of table, every boundary, every damage."""

from __future__ import annotations

import gc
import hashlib
import random
import struct
import sys
import zlib
from array import array
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath import address, image_builder, prefix_trie
from _fastpath.lookup import Lookup
from _fastpath.prefix_trie import PrefixTrie
from tests.reference.tries import LAST, Transitions, coalesced, near, parts, rows_at, transitions_of, xxh64

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER_BYTES = 192
CRC_OFFSET = HEADER_BYTES - 4
SECTIONS_OFFSET = 72
DIRECT_BYTES = 4 * (2**18 + 2**15)
IPV4_END = 2**32

WORLDS: dict[str, dict[str, int]] = {
    "empty": {},
    "everything equal": {"::/0": 1},
    "IPv4 default route": {"0.0.0.0/0": 1},
    "IPv6 default route with IPv4 inside": {"::/0": 1, "0.0.0.0/0": 2},
    "global unicast as a whole": {"2000::/3": 1},
    "one host": {"8.8.8.8/32": 1},
    "first and last host": {"0.0.0.0/32": 1, "255.255.255.255/32": 2, "::1:0:0/128": 3, f"{'ffff:' * 7}ffff/128": 4},
    "edges of 2000::/3": {
        "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128": 1,
        "2000::/128": 2,
        "3fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128": 3,
        "4000::/128": 4,
    },
    "edges of a direct slot": {"1.0.0.0/18": 1, "1.0.64.0/18": 2, "1.0.63.255/32": 3, "1.0.64.0/32": 4},
    "dense hosts": {f"10.1.2.{host}/32": 1 + host % 3 for host in range(256)},
    "dense /64s": {f"2a02:10:0:{number:x}::/64": 1 + number % 5 for number in range(70)},
    "one network a level": {f"2a00::/{length}": length - 15 for length in range(16, 129, 3)},
    "splits below /64": {
        "2001:db8::/64": 1,
        "2001:db8::1/128": 2,
        "2001:db8::8000:0:0:0/65": 3,
        "2001:db8:0:1::/127": 4,
        "2001:db8:0:3:ffff:ffff:ffff:ffff/128": 5,
    },
    "a run across a /64": {"2001:db8:0:1:ffff:ffff:ffff:fffe/127": 1, "2001:db8:0:2::/127": 1},
    "outside 2000::/3": {"::ffff:0:0/96": 1, "64:ff9b::/96": 2, "fc00::/7": 3, "fe80::/10": 4, "fd00::1/128": 5, "8000::/1": 6},
    "Teredo and 6to4": {"2001::/32": 1, "2002::/16": 2, "2002:808:808::/48": 3},
    "nested": {
        "11.0.0.0/8": 1,
        "11.128.0.0/9": 2,
        "11.128.0.0/16": 1,
        "11.128.0.0/24": 3,
        "11.128.0.128/25": 1,
        "11.128.0.129/32": 2,
    },
    "same subtree twice": {
        network: value
        for base in ("20.0", "90.64")
        for network, value in {f"{base}.1.0/24": 1, f"{base}.3.7/32": 2, f"{base}.40.0/21": 3}.items()
    },
}


def image_of(transitions: Transitions, value_count: int | None = None) -> bytes:
    """Return an image with empty answers: what the values mean is the next room's business."""
    count = value_count or max(transitions.values) + 1
    sections = image_builder.build(*transitions.arrays(), count)
    return prefix_trie.seal([*sections, bytes(8 * count), b"", b""], 1, count)


def found(trie: PrefixTrie, number: int) -> int:
    return trie.find_parts(*parts(number))


def check(transitions: Transitions, extra: list[int] | None = None) -> None:
    trie = PrefixTrie(image_of(transitions))
    prefix_trie.verify(trie)
    assert prefix_trie.is_intact(trie)
    for number in near(transitions.starts) + (extra or []):
        assert found(trie, number) == transitions.at(number), f"{number:#x}"


# ---- right answers ----


@pytest.mark.parametrize("world", WORLDS)
def test_each_boundary_of_each_world(world: str) -> None:
    transitions = transitions_of(WORLDS[world])
    numbers = random.Random(world)
    check(transitions, [numbers.getrandbits(numbers.choice((32, 64, 96, 125, 126, 128))) for _ in range(500)])


@pytest.mark.parametrize("world", WORLDS)
def test_all_forms_of_a_lookup_agree(world: str) -> None:
    transitions = transitions_of(WORLDS[world])
    trie = PrefixTrie(image_of(transitions))
    numbers = [number for number in near(transitions.starts) if number < IPV4_END or number >> 125 == 1]
    addresses = [address.from_int(number, 4 if number < IPV4_END else 6) for number in numbers]
    # Some of the IPv6 addresses are IPv4 in clothes: what is looked up is what they are canonically.
    expected = [transitions.at(canonical.value) for canonical in addresses]
    assert [trie.find(canonical) for canonical in addresses] == expected
    assert trie.find_many(addresses) == expected
    assert trie.find_many(addresses * 3) == expected * 3


def test_many_addresses_at_once_of_all_kinds_in_one_block() -> None:
    networks = {key: value for world in WORLDS.values() for key, value in world.items()}
    transitions = transitions_of(networks)
    trie = PrefixTrie(image_of(transitions))
    addresses = [address.from_int(number, 4 if number < IPV4_END else 6) for number in near(transitions.starts)]
    random.Random(1).shuffle(addresses)
    for count in (0, 1, 63, 64, 65, 128, len(addresses)):
        expected = [transitions.at(canonical.value) for canonical in addresses[:count]]
        assert trie.find_many(addresses[:count]) == expected


def test_ipv4_in_an_ipv6_tree_is_looked_up_without_its_clothes() -> None:
    trie = PrefixTrie(image_of(transitions_of({"8.8.8.0/24": 1, "::ffff:0:0/96": 2, "2002::/16": 3})))
    for text in ("8.8.8.8", "::ffff:8.8.8.8", "2002:808:808::1", "64:ff9b::8.8.8.8"):
        canonical = address.parse(text)
        assert canonical is not None
        assert trie.find(canonical) == 1


def test_ids_of_values_that_need_more_than_15_bits() -> None:
    count = 0x8010
    ipv4 = [2**24 + 256 * number for number in range(1, count)]
    ipv6 = [1 << 125 | number << 64 for number in range(1, count)]
    transitions = Transitions((0, *ipv4, IPV4_END, *ipv6), (0, *range(1, count), 0, *range(count - 1, 0, -1)))
    trie = PrefixTrie(image_of(transitions))
    prefix_trie.verify(trie)
    assert trie.value_count == count
    for number in near(transitions.starts[:3] + transitions.starts[0x7FF0:0x8020] + transitions.starts[-40:]):
        assert found(trie, number) == transitions.at(number), f"{number:#x}"
    addresses = [address.from_int(start, 4) for start in transitions.starts[:count]]
    assert trie.find_many(addresses) == list(transitions.values[:count])


def test_a_wide_value_may_fill_direct_slots_and_splits() -> None:
    count = 0x8002
    wide = count - 1
    hosts = Transitions(tuple(range(count)), tuple(range(count)))
    split = 0x2001 << 112
    starts = (*hosts.starts, 2**26, 2**28, IPV4_END, split, split + 1, split + 2)
    check(Transitions(starts, (*hosts.values, 0, wide, 0, wide, 0x7FFF, wide)), [2**27, 2**28 + 2**20, split + 2**64])


VALUES = st.integers(0, 3) | st.integers(0, 300)
FEW_64S = st.integers(0x20010DB8 << 32, (0x20010DB8 << 32) + 3)
POSITIONS = st.one_of(
    st.integers(0, IPV4_END - 1),
    st.integers(2**24, 2**24 + 600),
    st.integers(0, LAST),
    st.integers(2**61, 2**62 - 1).map(lambda hi: hi << 64),
    st.integers(0x20010DB8 << 32, (0x20010DB8 << 32) + 300).map(lambda hi: hi << 64),
    st.tuples(FEW_64S, st.integers(0, 2**64 - 1)).map(lambda pair: pair[0] << 64 | pair[1]),
    st.sampled_from([IPV4_END - 1, IPV4_END, 2**125 - 1, 2**125, 2**126 - 1, 2**126, LAST]),
)
TRANSITIONS = st.dictionaries(POSITIONS, VALUES, max_size=60).map(lambda table: coalesced(sorted(({0: 0} | table).items())))


@settings(max_examples=150, deadline=None)
@given(TRANSITIONS, st.lists(POSITIONS, max_size=50))
def test_any_transitions(transitions: Transitions, extra: list[int]) -> None:
    check(transitions, extra)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.tuples(st.integers(0, 2**16 - 1), st.integers(8, 32)), st.integers(1, 6), max_size=40))
def test_any_nested_ipv4_networks(table: dict[tuple[int, int], int]) -> None:
    networks = {}
    for (bits, length), value in table.items():
        number = 10 << 24 | (bits * 0x101) & 0xFFFFFF
        first = number >> (32 - length) << (32 - length)
        networks[f"{first >> 24}.{first >> 16 & 255}.{first >> 8 & 255}.{first & 255}/{length}"] = value
    check(transitions_of(networks))


# ---- the builder ----


def test_the_same_transitions_give_the_same_bytes() -> None:
    for world in WORLDS.values():
        transitions = transitions_of(world)
        assert image_of(transitions) == image_of(transitions)


def records_bytes(networks: dict[str, int]) -> int:
    return len(PrefixTrie(image_of(transitions_of(networks), 8)).section("records"))


def test_equal_subtrees_are_stored_once_in_one_family_and_across_both() -> None:
    once = {"20.0.1.0/24": 1, "20.0.3.7/32": 2, "20.0.40.0/21": 3}
    twice = once | {network.replace("20.0", "90.64"): value for network, value in once.items()}
    assert records_bytes(twice) == records_bytes(once)
    # The direct table takes 18 bits of either; the next three are 101 in both.
    ipv6 = {"2a02:2800::/21": 3}
    ipv4 = {"20.0.40.0/21": 3}
    assert records_bytes(ipv6) == records_bytes(ipv4) == records_bytes(ipv4 | ipv6)


def test_uniform_slots_share_one_record_a_value() -> None:
    assert records_bytes({}) == records_bytes({"0.0.0.0/1": 1, "16.0.0.0/6": 2, "2a00::/16": 3}) == 12 * 8


def built(starts: list[int], values: list[int], value_count: int = 4) -> object:
    return image_builder.build(*Transitions(tuple(starts), tuple(values)).arrays(), value_count)


@pytest.mark.parametrize(
    ("starts", "values", "reason"),
    [
        ([], [], "do not begin at the first address"),
        ([1], [0], "do not begin at the first address"),
        ([1 << 64], [0], "do not begin at the first address"),
        ([0, 5, 5], [0, 1, 2], "do not rise strictly"),
        ([0, 5, 4], [0, 1, 2], "do not rise strictly"),
        ([0, 2 << 64, 1 << 64], [0, 1, 2], "do not rise strictly"),
        ([0, 5], [1, 1], "changes nothing"),
        ([0, 5], [0, 4], "has a value that does not exist"),
    ],
)
def test_the_builder_refuses_other_lists(starts: list[int], values: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        built(starts, values)


def test_the_builder_refuses_buffers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        image_builder.build(array("Q", [0]), array("Q", [0, 1]), array("I", [0]), 1)
    with pytest.raises(ValueError, match="an image holds 16777216"):
        built([0], [0], 2**24 + 1)
    with pytest.raises(ValueError, match="Buffer dtype mismatch"):
        image_builder.build(array("I", [0]), array("Q", [0]), array("I", [0]), 1)


# ---- merging ----


def merged(lists: list[Transitions], regions: list[list[int]]) -> tuple[Transitions, list[tuple[int, ...]]]:
    starts_hi, starts_lo, values, answers = image_builder.merge(
        [(*transitions.arrays(), array("I", table)) for transitions, table in zip(lists, regions, strict=True)]
    )
    starts = tuple(hi << 64 | lo for hi, lo in zip(starts_hi, starts_lo, strict=True))
    rows = [tuple(answers[at : at + len(lists)]) for at in range(0, len(answers), len(lists))]
    return Transitions(starts, tuple(values)), rows


LEAVES = [0, 7, 8, 7, 9, 0]
LISTS = st.lists(
    st.dictionaries(POSITIONS | st.integers(0, 40), st.integers(0, len(LEAVES) - 1), max_size=30).map(
        lambda table: Transitions(tuple(sorted(table)), tuple(table[start] for start in sorted(table)))
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=200, deadline=None)
@given(LISTS)
def test_merging_any_lists(lists: list[Transitions]) -> None:
    result, rows = merged(lists, [LEAVES] * len(lists))
    assert rows[0] == (0,) * len(lists)
    assert len(set(rows)) == len(rows)
    assert result.starts[0] == 0
    assert list(result.starts) == sorted(set(result.starts))
    assert all(one != other for one, other in zip(result.values, result.values[1:], strict=False))
    for number in near(start for transitions in lists for start in transitions.starts):
        assert rows[result.at(number)] == tuple(LEAVES[leaf] for leaf in rows_at(lists, number))
    uses = [result.values.count(value) for value in range(1, len(rows))]
    assert uses == sorted(uses, reverse=True)
    check(result)


def test_merging_nothing_known_gives_one_value() -> None:
    nothing = Transitions((), ())
    assert merged([nothing], [[]]) == (Transitions((0,), (0,)), [(0,)])
    assert merged([nothing, nothing], [[0], []]) == (Transitions((0,), (0,)), [(0, 0)])


def test_values_are_numbered_by_use_and_equals_by_address() -> None:
    transitions = Transitions((0, 1, 2, 3, 4, 5, 6), (1, 2, 3, 2, 3, 4, 0))
    result, rows = merged([transitions], [[0, 10, 20, 30, 40]])
    assert rows == [(0,), (20,), (30,), (10,), (40,)]
    assert result.values == (3, 1, 2, 1, 2, 4, 0)


@pytest.mark.parametrize(
    ("starts", "leaf", "regions", "reason"),
    [
        ([3, 3], [1, 2], [0, 1, 2], "do not rise strictly"),
        ([3, 2], [1, 2], [0, 1, 2], "do not rise strictly"),
        ([1 << 64, 5], [1, 2], [0, 1, 2], "do not rise strictly"),
        ([0], [3], [0, 1, 2], "leaf that the table of leaves does not know"),
        ([0], [0], [], "leaf that the table of leaves does not know"),
    ],
)
def test_merging_refuses(starts: list[int], leaf: list[int], regions: list[int], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        merged([Transitions((0,), (0,)), Transitions(tuple(starts), tuple(leaf))], [[0], regions])


@pytest.mark.parametrize("count", [0, 17])
def test_merging_refuses_too_few_and_too_many_sources(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 16 can be merged"):
        merged([Transitions((), ())] * count, [[]] * count)


def test_merging_refuses_buffers_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        image_builder.merge([(array("Q", [0]), array("Q"), array("I", [0]), array("I", [0]))])


# ---- opening ----

WORLD = transitions_of(WORLDS["splits below /64"] | WORLDS["outside 2000::/3"] | WORLDS["dense hosts"])
IMAGE = image_of(WORLD)


def with_header(change: Callable[[bytearray], object]) -> bytes:
    """Change the header, and let its checksum agree with that."""
    image = bytearray(IMAGE)
    change(image)
    image[CRC_OFFSET:HEADER_BYTES] = struct.pack("=I", zlib.crc32(image[:CRC_OFFSET]))
    return bytes(image)


def section_field(number: int, field: int) -> int:
    return SECTIONS_OFFSET + 16 * number + 8 * field


def poke(form: str, offset: int, value: int) -> Callable[[bytearray], object]:
    return lambda image: struct.pack_into("=" + form, image, offset, value)


def test_what_an_image_says_of_itself() -> None:
    trie = PrefixTrie(IMAGE)
    assert trie.version == 1
    assert trie.image_bytes == len(IMAGE)
    assert trie.header_bytes == HEADER_BYTES
    assert trie.body_sha256 == hashlib.sha256(IMAGE[HEADER_BYTES:]).digest()
    assert trie.value_count == max(WORLD.values) + 1
    assert trie.source_count == 1
    assert trie.section_names == ("direct", "records", "below64", "outside", "values", "strings", "sources")
    assert len(trie.section("direct")) == DIRECT_BYTES
    assert trie.section("records").readonly
    with pytest.raises(KeyError):
        trie.section("nothing")
    with pytest.raises(TypeError):
        trie.find(None)  # type: ignore[arg-type]


def test_the_checksum_of_the_body_is_xxh64() -> None:
    for size in (64, 128, 1024):
        content = random.Random(size).randbytes(size)
        assert struct.unpack_from("=Q", _sealed(content), 56)[0] == xxh64(_sealed(content)[HEADER_BYTES:])
    # The worked examples of the specification have lengths that no body has; these are of the reference program.
    assert xxh64(bytes(32)) == 0xF6E9BE5D70632CF5
    assert xxh64(bytes(range(64))) == 0xF7C67301DB6713F0


def _sealed(strings: bytes) -> bytes:
    """An image that need not be sound: only its sizes are checked when it is sealed."""
    return prefix_trie.seal([bytes(DIRECT_BYTES), b"", b"", b"", bytes(8), strings, b""], 1, 1)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "truncated: shorter than a header"),
        (IMAGE[:4], "truncated: shorter than a header"),
        (IMAGE[: HEADER_BYTES - 1], "truncated: shorter than a header"),
        (IMAGE[:HEADER_BYTES], f"truncated: 192 of {len(IMAGE)} bytes"),
        (IMAGE[:-1], f"truncated: {len(IMAGE) - 1} of {len(IMAGE)} bytes"),
        (IMAGE + b"\0", "damaged: 1 bytes too long"),
        (b"\xab\xcd\xefMaxMind.com" + bytes(500), "foreign: not an index image"),
        (b"PK", "foreign: not an index image"),
        (IMAGE.replace(b"\r\n", b"\n", 1), "foreign: not an index image"),
        (IMAGE[:8] + IMAGE[8:12][::-1] + IMAGE[12:], "foreign: built on a machine of the other byte order"),
        (IMAGE[:8] + b"abcd" + IMAGE[12:], "damaged: the byte order mark is wrong"),
        (with_header(poke("I", 12, 2)), "newer: format version 2, this release reads version 1"),
        (with_header(poke("I", 12, 0)), "damaged: format version 0 never existed"),
        (with_header(poke("Q", 16, 2**40)), f"truncated: {len(IMAGE)} of {2**40} bytes"),
        (with_header(poke("I", 64, 0)), "an impossible number of values or sources"),
        (with_header(poke("I", 64, 17)), "an impossible number of values or sources"),
        (with_header(poke("I", 64, 2)), "a section has an impossible size"),
        (with_header(poke("I", 68, 0)), "an impossible number of values or sources"),
        (with_header(poke("I", 68, 2**24 + 1)), "an impossible number of values or sources"),
        (with_header(poke("I", 68, 3)), "a section has an impossible size"),
        (with_header(poke("Q", section_field(0, 0), 0)), "section direct is not where it must be"),
        (with_header(poke("Q", section_field(0, 1), 2**64 - 1)), "section direct is not where it must be"),
        (with_header(poke("Q", section_field(0, 1), DIRECT_BYTES - 4)), "a section has an impossible size"),
        (with_header(poke("Q", section_field(0, 1), DIRECT_BYTES - 64)), "section records is not where it must be"),
        (with_header(poke("Q", section_field(1, 1), 2**64 - 64)), "section records is not where it must be"),
        (with_header(poke("Q", section_field(6, 0), 8)), "section sources is not where it must be"),
        (with_header(poke("Q", section_field(6, 1), 1)), "section sources is not where it must be"),
    ],
)
def test_an_image_that_is_not_whole_is_refused_with_its_reason(image: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PrefixTrie(image)


def test_every_changed_byte_of_the_header_is_refused() -> None:
    for offset in range(HEADER_BYTES):
        for mask in (0x01, 0x80, 0xFF):
            image = bytearray(IMAGE)
            image[offset] ^= mask
            with pytest.raises(ValueError, match=r"foreign|damaged|newer|truncated"):
                PrefixTrie(bytes(image))


def test_every_changed_byte_of_the_body_breaks_the_checksum() -> None:
    numbers = random.Random(3)
    for _ in range(200):
        image = bytearray(IMAGE)
        image[numbers.randrange(HEADER_BYTES, len(IMAGE))] ^= 1 << numbers.randrange(8)
        assert not prefix_trie.is_intact(PrefixTrie(bytes(image)))
    assert prefix_trie.is_intact(PrefixTrie(IMAGE))


@pytest.mark.parametrize(
    ("section", "offset", "form", "value", "reason"),
    [
        ("direct", 0, "I", 2**32 - 4, "direct table does not lead to a record"),
        ("direct", DIRECT_BYTES - 4, "I", 2, "direct table does not lead to a record"),
        ("records", 0, "Q", 0, "the bitmap of a record is impossible"),
        ("records", 0, "Q", 2**64 - 2, "the bitmap of a record is impossible"),
        ("records", 8, "H", 9, "an entry of a record is no value"),
        ("records", 8, "H", 0x7FFF, "an entry of a record is no value"),
        ("records", 8, "H", 0x8000, "a child of a record does not lead to a record before it"),
        ("below64", 0, "Q", 0, "below /64 is not in order"),
        ("below64", 8, "Q", 1, "below /64 is not in order"),
        ("below64", 16, "I", 9, "below /64 is not in order"),
        ("below64", 20, "I", 1, "below /64 is not in order"),
        ("outside", 8, "Q", 0, r"outside 2000::/3 is not in order"),
        ("outside", 16, "I", 9, r"outside 2000::/3 is not in order"),
        ("outside", 24, "Q", 2**61, r"outside 2000::/3 is not in order"),
    ],
)
def test_verify_names_the_fault(section: str, offset: int, form: str, value: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        prefix_trie.verify(PrefixTrie(resealed({(section, offset): struct.pack("=" + form, value)})))


def resealed(changes: dict[tuple[str, int], bytes]) -> bytes:
    """Change sections behind the back of the checksums: as if the builder had written it so."""
    trie = PrefixTrie(IMAGE)
    sections = {name: bytearray(trie.section(name)) for name in trie.section_names}
    for (name, offset), content in changes.items():
        sections[name][offset : offset + len(content)] = content
    return prefix_trie.seal([bytes(section) for section in sections.values()], 1, trie.value_count)


def last_record(trie: PrefixTrie) -> int:
    return max(memoryview(trie.section("direct")).cast("I"))


def test_verify_refuses_a_record_that_the_end_cuts_off() -> None:
    trie = PrefixTrie(IMAGE)
    end = len(trie.section("records"))
    for offset in (end - 4, end - 8):
        image = resealed({("direct", 0): struct.pack("=I", offset), ("records", end - 8): b"\1" + bytes(7)})
        with pytest.raises(ValueError, match="bitmap of a record is impossible"):
            prefix_trie.verify(PrefixTrie(image))


def test_verify_refuses_children_that_lead_anywhere_but_back() -> None:
    offset = last_record(PrefixTrie(IMAGE))
    # The last two are wide values: one that does not exist, and one that an entry has room for.
    for child in (offset, offset + 4, offset - 2, 2**31 - 4, 0x80000000 | 9, 0x80000000 | 1):
        with pytest.raises(ValueError, match=r"damaged: (a child|an entry|the bitmap)"):
            prefix_trie.verify(PrefixTrie(resealed({("records", offset - 4): struct.pack("=I", child)})))


def test_verify_refuses_a_chain_of_records_that_is_too_deep() -> None:
    """Each record leads to the one before it: without a bound on the depth a lookup would visit them all."""
    chain = b"".join(struct.pack("=IQHH", 16 * (number - 1) + 4, 1, 0x8000, 0) for number in range(1, 20))
    records = struct.pack("=IQHH", 0, 1, 0, 0) + chain
    for level, is_sound in ((7, True), (8, False), (19, False)):
        direct = array("I", [16 * level + 4]) * (DIRECT_BYTES // 4)
        outside = struct.pack("=QQII", 0, IPV4_END, 0, 0) + struct.pack("=QQII", 1 << 62, 0, 0, 0)
        trie = PrefixTrie(prefix_trie.seal([direct.tobytes(), records, b"", outside, bytes(8), b"", b""], 1, 1))
        if is_sound:
            prefix_trie.verify(trie)
            assert trie.find_parts(4, 0, 1) == 0
            # No builder writes so many levels below an IPv4 slot, but what is sound must be safe, side by side too.
            addresses = [address.from_int(number, 4) for number in range(100)] + [address.from_int(1 << 125, 6)]
            assert trie.find_many(addresses) == [0] * 101
            assert list(Lookup(trie, [None], ValueError).lookup_packed(array("I", range(100)))) == [0] * 100
        else:
            with pytest.raises(ValueError, match="a child of a record"):
                prefix_trie.verify(trie)


def test_what_verify_accepts_can_be_searched_whatever_its_bytes() -> None:
    numbers = random.Random(2)
    trie = PrefixTrie(IMAGE)
    sizes = {name: len(trie.section(name)) for name in ("records", "below64", "outside", "direct")}
    wanted = [parts(number) for number in near(WORLD.starts)]
    accepted = 0
    for _ in range(250):
        changes = {}
        for _ in range(numbers.choice((1, 1, 2, 5))):
            name = numbers.choice(["records", "records", "records", "below64", "outside", "direct"])
            offset = numbers.randrange(sizes[name] - 4) & ~1
            lengths = (numbers.randbytes(1), numbers.randbytes(4))
            changes[name, offset] = numbers.choice((*lengths, bytes(2), b"\xff\xff", b"\x00\x80"))
        mutant = PrefixTrie(resealed(changes))
        try:
            prefix_trie.verify(mutant)
        except ValueError:
            continue
        accepted += 1
        assert all(mutant.find_parts(*address_parts) < mutant.value_count for address_parts in wanted)
    assert 0 < accepted < 250


@pytest.mark.parametrize(
    ("sections", "source_count", "value_count", "reason"),
    [
        ([b""] * 6, 1, 1, "6 sections, an image has 7"),
        ([b""] * 7, 1, 1, "impossible size"),
        ([bytes(DIRECT_BYTES), bytes(6), b"", b"", bytes(8), b"", b""], 1, 1, "impossible size"),
        ([bytes(DIRECT_BYTES), b"", bytes(23), b"", bytes(8), b"", b""], 1, 1, "impossible size"),
        ([bytes(DIRECT_BYTES), b"", b"", bytes(25), bytes(8), b"", b""], 1, 1, "impossible size"),
        ([bytes(DIRECT_BYTES), b"", b"", b"", bytes(8), b"", b""], 2, 1, "impossible size"),
        ([bytes(DIRECT_BYTES), b"", b"", b"", bytes(8), b"", b""], 0, 1, "impossible number"),
    ],
)
def test_sections_that_make_no_image(sections: list[bytes], source_count: int, value_count: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        prefix_trie.seal(sections, source_count, value_count)


@pytest.mark.parametrize(("family", "hi", "lo"), [(5, 0, 0), (0, 0, 0), (4, 1, 0), (4, 0, 2**32), (-6, 0, 0)])
def test_parts_of_no_canonical_address(family: int, hi: int, lo: int) -> None:
    with pytest.raises(ValueError, match="not the parts of a canonical address"):
        PrefixTrie(IMAGE).find_parts(family, hi, lo)


def test_memory_that_could_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="memory that cannot be written"):
        PrefixTrie(bytearray(IMAGE))
    with pytest.raises(TypeError, match="bytes-like"):
        PrefixTrie("image")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="multiple of 8 bytes"):
        PrefixTrie(memoryview(b"\0" + IMAGE)[1:])


def test_the_trie_keeps_its_image_and_lets_go_of_it() -> None:
    image = bytes(bytearray(IMAGE))
    count = sys.getrefcount(image)
    trie = PrefixTrie(memoryview(image))
    view = trie.section("outside")
    assert sys.getrefcount(image) > count
    assert found(trie, WORLD.starts[-1]) == WORLD.values[-1]
    del trie
    assert bytes(view[:8]) == bytes(8)
    del view
    gc.collect()
    assert sys.getrefcount(image) == count
