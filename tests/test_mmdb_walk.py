"""The walk over a MaxMind DB: the same networks and records as maxminddb, and no hostile file that crashes or hangs it."""

from __future__ import annotations

import ipaddress
import mmap
import random
import struct
import time
from array import array
from typing import TYPE_CHECKING

import maxminddb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath.mmdb_walk import ForeignFileError, Walk, WalkError, relabel
from tests.mmdb_builder import (
    METADATA_MARKER,
    assemble,
    build_mmdb,
    encode,
    encode_control,
    encode_node,
    encode_pointer,
    metadata_of,
    uint16,
    uint64,
)
from tests.mmdb_files import mmdb_files

IPV4_END = 2**32
SPACE_END = 2**128

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REFUSED = {
    "GeoIP2-City-Test-Broken-Double-Format.mmdb": "a size that its type does not have",
    "GeoIP2-City-Test-Invalid-Node-Count.mmdb": "more than the file has room for",
    "MaxMind-DB-test-broken-pointers-24.mmdb": "past the end of the data section",
    "MaxMind-DB-test-broken-search-tree-24.mmdb": "deeper than an address has bits",
    "MaxMind-DB-test-decode-path-shared-budget.mmdb": "bytes of strings",
    "MaxMind-DB-test-decoder-payload-limit-over.mmdb": "bytes of strings",
    "MaxMind-DB-test-decoder-value-limit-over.mmdb": "more than 65536 values",
    "MaxMind-DB-test-metadata-payload-limit.mmdb": "bytes of strings",
    "MaxMind-DB-test-payload-amplification-dos-string.mmdb": "bytes of strings",
    "MaxMind-DB-test-payload-amplification-dos-worst-case.mmdb": "bytes of strings",
    "MaxMind-DB-test-payload-amplification-dos.mmdb": "bytes of strings",
    "MaxMind-DB-test-pointer-decoder-dos-ipv6.mmdb": "more than 65536 values",
    "MaxMind-DB-test-pointer-decoder-dos.mmdb": "more than 65536 values",
    "libmaxminddb-deep-array-nesting.mmdb": "nested deeper",
    "libmaxminddb-deep-nesting.mmdb": "nested deeper",
    "libmaxminddb-metadata-marker-only.mmdb": "metadata is damaged",
    "libmaxminddb-offset-integer-overflow.mmdb": "a pointer leads out",
    "libmaxminddb-oversized-array.mmdb": "a size that its type does not have",
    "libmaxminddb-oversized-map.mmdb": "a size that its type does not have",
    "libmaxminddb-separator-record-max-left.mmdb": "into the separator",
    "libmaxminddb-separator-record-min-left.mmdb": "into the separator",
    "libmaxminddb-separator-record-min-right.mmdb": "into the separator",
    "libmaxminddb-uint64-max-epoch.mmdb": "which is no time",
    "cyclic-data-structure.mmdb": "metadata is damaged",
    "invalid-bytes-length.mmdb": "metadata is damaged",
    "invalid-data-record-offset.mmdb": "not UTF-8",
    "invalid-map-key-length.mmdb": "metadata is damaged",
    "invalid-string-length.mmdb": "metadata is damaged",
    "metadata-is-an-uint128.mmdb": "metadata is damaged",
    "unexpected-bytes.mmdb": "metadata is damaged",
    "bad-unicode-in-map-key.mmdb": "are not zero",
}
# Among the bad data, but what is wrong with them is nothing that a walk over the whole database can see.
SOUND = {
    "libmaxminddb-corrupt-search-tree.mmdb",
    "libmaxminddb-empty-array-last-in-metadata.mmdb",
    "libmaxminddb-empty-map-last-in-metadata.mmdb",
}
# Its one network is ::/64, which maxminddb cannot write as an IPv4 network.
NOT_ITERABLE = {"MaxMind-DB-no-ipv4-search-tree.mmdb"}

Spans = list[tuple[int, object]]


def walked(content: bytes) -> Walk:
    """Walk and check the whole of a database."""
    walk = Walk(content)
    walk.run()
    walk.check(["country", "ip"])
    return walk


def spans_of(walk: Walk) -> Spans:
    """(first address, record) wherever the record changes, from the walk."""
    records = [None, *(walk.decode(leaf) for leaf in range(1, walk.leaf_count + 1))]
    starts = [hi << 64 | lo for hi, lo in zip(walk.starts_hi, walk.starts_lo, strict=True)]
    assert starts == sorted(set(starts))
    assert starts[0] == 0
    assert all(one != other for one, other in zip(walk.leaf, walk.leaf[1:], strict=False))
    return merged(list(zip(starts, (records[leaf] for leaf in walk.leaf), strict=True)))


def spans_by_maxminddb(path: Path) -> Spans:
    """The same from iterating maxminddb."""
    spans: Spans = []
    position = 0
    with maxminddb.open_database(path) as reader:
        networks = sorted((int(network.network_address), network.num_addresses, record) for network, record in named(reader))
    for start, size, record in networks:
        if start > position:
            spans.append((position, None))
        spans.append((start, record))
        position = start + size
    if position < SPACE_END:
        spans.append((position, None))
    return merged(spans)


def named(reader: maxminddb.Reader) -> list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, object]]:
    return [(network, plain(record)) for network, record in reader]


def plain(value: object) -> object:
    """A record of maxminddb with `bytes` for `bytearray`."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return bytes(value) if isinstance(value, bytearray) else value


def merged(spans: Spans) -> Spans:
    found: Spans = []
    for start, record in spans:
        if not found or found[-1][1] != record:
            found.append((start, record))
    return found


def refusal(content: bytes) -> str | None:
    """Return why a file is refused, None when it is not, and fail when that takes long."""
    started = time.monotonic()
    try:
        walked(content)
    except WalkError as error:
        return str(error)
    finally:
        assert time.monotonic() - started < 2
    return None


# --- MaxMind's own files ----------------------------------------------------------------------------------------------


def test_every_network_of_the_test_databases_is_as_maxminddb_iterates() -> None:
    compared = 0
    for path in mmdb_files("test-data"):
        reason = refusal(path.read_bytes())
        assert (reason is not None) == (path.name in REFUSED), f"{path.name}: {reason}"
        if reason is None and path.name not in NOT_ITERABLE:
            assert spans_of(walked(path.read_bytes())) == spans_by_maxminddb(path), path.name
            compared += 1
    assert compared >= 30


def test_bad_data_is_refused_with_a_reason() -> None:
    for path in [*mmdb_files("test-data"), *mmdb_files("bad-data")]:
        reason = refusal(path.read_bytes())
        if path.name in REFUSED:
            assert reason is not None, path.name
            assert REFUSED[path.name] in reason, path.name
        elif "bad-data" in path.parts:
            assert reason is not None or path.name in SOUND, f"{path.name} is bad, and walked"


def test_a_database_without_an_ipv4_tree() -> None:
    (path,) = (path for path in mmdb_files("test-data") if path.name in NOT_ITERABLE)
    assert spans_of(walked(path.read_bytes())) == [(0, "::/64"), (2**64, None)]


def test_mutations_never_crash_and_agree_with_maxminddb_when_accepted(tmp_path: Path) -> None:
    rng = random.Random(20210911)
    table = {"1.2.3.0/24": {"country": {"iso_code": "UA"}}, "2001:db8::/32": [1, "two", 3.0, True], "::ffff:0:0/97": {"x": b"y"}}
    goods = [
        build_mmdb(table, record_size=24, aliases=("2002::/16",)),
        build_mmdb(table, record_size=28),
        build_mmdb({"0.0.0.0/1": {"ip": "low"}, "10.0.0.0/8": {"ip": [1, 2, {"a": "b"}]}}, ip_version=4, record_size=32),
    ]
    goods += [
        path.read_bytes()
        for path in mmdb_files("test-data")
        if path.stem in {"MaxMind-DB-test-decoder", "MaxMind-DB-test-mixed-28"}
    ]
    accepted, refused = 0, set()
    path = tmp_path / "mutant.mmdb"
    for _ in range(6000):
        mutant = bytearray(rng.choice(goods))
        # Most of a small file is metadata, where most changes are fatal.
        end = len(mutant) if rng.random() < 0.2 else mutant.rindex(METADATA_MARKER)
        for _ in range(rng.choice((1, 1, 2, 8))):
            mutant[rng.randrange(end)] = rng.choice((0, 1, 0x20, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        if rng.random() < 0.1:
            del mutant[rng.randrange(len(mutant)) :]
        if refusal(bytes(mutant)) is not None:
            continue
        path.write_bytes(mutant)
        try:
            expected = spans_by_maxminddb(path)
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            # It reads the types of the metadata more strictly, and cannot write a network above ::/96 as IPv4.
            refused.add(str(error).partition("(")[0])
            continue
        # By text: a mutated double may be a NaN.
        assert repr(spans_of(walked(bytes(mutant)))) == repr(expected)
        accepted += 1
    assert refused <= {"Error opening database file ", ""}
    assert accepted > 500


# --- what a walk says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record_size", [24, 28, 32])
def test_networks_become_transitions(record_size: int) -> None:
    content = build_mmdb(
        {"1.2.3.0/24": {"a": 1}, "1.2.4.0/24": {"a": 1}, "1.2.5.0/24": {"b": 2}, "2001:db8::/32": {"b": 2}},
        record_size=record_size,
    )
    first, second = int(ipaddress.IPv4Address("1.2.3.0")), int(ipaddress.IPv4Address("1.2.5.0"))
    high = int(ipaddress.IPv6Address("2001:db8::"))
    assert spans_of(walked(content)) == [
        (0, None),
        (first, {"a": 1}),
        (second, {"b": 2}),
        (second + 256, None),
        (high, {"b": 2}),
        (high + 2**96, None),
    ]


def test_an_ipv4_database_lies_below_the_ipv6_space() -> None:
    content = build_mmdb({"128.0.0.0/1": {"a": 1}}, ip_version=4)
    assert spans_of(walked(content)) == [(0, None), (2**31, {"a": 1}), (IPV4_END, None)]
    assert list(walked(build_mmdb({"0.0.0.0/1": {"a": 1}}, ip_version=4)).leaf) == [1, 0]


def test_the_end_of_the_address_space_is_reached() -> None:
    assert spans_of(walked(build_mmdb({"::/0": "all"}))) == [(0, "all")]
    assert spans_of(walked(build_mmdb({"ffff::/16": "last"}))) == [(0, None), (0xFFFF << 112, "last")]
    last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"
    assert spans_of(walked(build_mmdb({last: "last"}))) == [(0, None), (SPACE_END - 1, "last")]


def test_aliases_of_the_ipv4_tree_hold_nothing() -> None:
    table = {"1.2.3.0/24": {"a": 1}, "2001:db8::/32": {"b": 2}}
    aliased = build_mmdb(table, aliases=("::ffff:0:0/96", "2002::/16", "2001::/32"))
    assert spans_of(walked(aliased)) == spans_of(walked(build_mmdb(table)))


def test_a_shared_subtree_that_is_no_alias_is_walked() -> None:
    # Both halves of the address space lead to node 1.
    facts = metadata_of(2, 4, 24, "test", 0)
    content = assemble([(1, 1), (2, 2 + 16)], 24, encode("x"), facts)
    assert spans_of(walked(content)) == [(0, None), (2**30, "x"), (2**31, None), (2**31 + 2**30, "x"), (IPV4_END, None)]


def test_records_are_grouped_by_the_wanted_fields() -> None:
    shared = {"iso_code": "UA"}
    content = build_mmdb(
        {
            "1.0.0.0/8": {"country": shared, "city": "Kyiv"},
            "2.0.0.0/8": {"city": "Lviv", "country": shared},
            "3.0.0.0/8": {"country": {"iso_code": "RU"}, "city": "Kyiv"},
            "4.0.0.0/8": {"city": "Kyiv"},
            "5.0.0.0/8": "no map",
            "6.0.0.0/8": {"other": {"country": shared}},
        }
    )
    walk = Walk(content)
    groups, examples = walk.check(["country"])
    of_city = {str(walk.decode(leaf)): groups[leaf] for leaf in range(1, walk.leaf_count + 1)}
    assert groups[0] == examples[0] == 0
    assert list(of_city.values()) == [1, 1, 2, 3, 3, 3]
    assert [groups[leaf] for leaf in examples] == list(range(4))


def test_pointers_to_one_place_are_one_group() -> None:
    section = encode({"iso_code": "UA"}) + encode("RU")
    text = len(encode({"iso_code": "UA"}))
    fields = [
        encode("country") + encode_pointer(0),
        encode("country") + encode_pointer(0) + encode("city") + encode("Kyiv"),
        encode("country") + encode_pointer(text),
        encode("country") + encode("RU"),
    ]
    places = []
    for field in fields:
        places.append(len(section))
        section += encode_control(7, 1 + (b"city" in field)) + field
    content = assemble(
        [(1, 2), *((3 + 16 + one, 3 + 16 + other) for one, other in (places[:2], places[2:]))],
        24,
        section,
        metadata_of(3, 4, 24, "test", 0),
    )
    walk = Walk(content)
    groups, _ = walk.check(["country"])
    assert list(groups) == [0, 1, 1, 2, 2]
    assert walk.decode(2) == {"country": {"iso_code": "UA"}, "city": "Kyiv"}


def test_records_of_a_group_have_equal_fields() -> None:
    wanted = ("country", "registered_country", "subdivisions", "location", "traits", "ip", "map", "autonomous_system_number")
    grouped = 0
    for path in mmdb_files("test-data"):
        if path.name in REFUSED:
            continue
        walk = Walk(path.read_bytes())
        groups, examples = walk.check(wanted)
        for leaf in range(1, walk.leaf_count + 1):
            record, example = walk.decode(leaf), walk.decode(examples[groups[leaf]])
            if isinstance(record, dict) and isinstance(example, dict):
                assert {key: record.get(key) for key in wanted} == {key: example.get(key) for key in wanted}
        grouped += walk.leaf_count + 1 - len(examples)
    assert grouped > 100


def test_progress_is_told_and_may_stop_the_walk() -> None:
    walk = Walk(build_mmdb({"1.0.0.0/8": "x"}))
    seen: list[tuple[int, int]] = []
    walk.check(["x"], lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]

    def stop(done: int, total: int) -> None:
        assert done == total > 100
        raise KeyboardInterrupt

    other = Walk(build_mmdb({"1.0.0.0/8": "x"}))
    with pytest.raises(KeyboardInterrupt):
        other.run(stop)
    other.run()
    assert spans_of(other) == spans_of(walk)


def test_a_walk_is_not_entered_twice() -> None:
    walk = Walk(build_mmdb({"1.0.0.0/8": "x"}))

    def enter(*_: int) -> None:
        walk.run()

    with pytest.raises(RuntimeError, match="being walked"):
        walk.run(enter)
    walk.run()
    assert list(walk.leaf) == [0, 1, 0]


def test_metadata_is_told() -> None:
    walk = Walk(build_mmdb({"1.0.0.0/8": "x"}, record_size=28, database_type="T", build_epoch=1_780_666_922))
    assert (walk.ip_version, walk.record_size, walk.database_type, walk.build_epoch) == (6, 28, "T", 1_780_666_922)
    assert walk.metadata["description"] == {"en": "made by a test"}
    assert walk.node_count == walk.metadata["node_count"] == 104


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_bytes_like_buffer_will_do(wrap: type) -> None:
    assert spans_of(walked(wrap(build_mmdb({"::/0": "x"})))) == [(0, "x")]


def test_a_mapping_will_do(tmp_path: Path) -> None:
    path = tmp_path / "x.mmdb"
    path.write_bytes(build_mmdb({"::/0": "x"}))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapping:
        walk = Walk(mapping)
        walk.run()
        assert spans_of(walk) == [(0, "x")]
        del walk


def test_a_leaf_out_of_range_is_no_leaf() -> None:
    walk = walked(build_mmdb({"::/0": "x"}))
    for leaf in (0, 2, 2**32 - 1):
        with pytest.raises(IndexError):
            walk.decode(leaf)


# --- values -----------------------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**31), 2**128 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=400),
    st.binary(max_size=40),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(max_size=8), inner), max_leaves=60
)


@settings(max_examples=150, deadline=None)
@given(VALUES)
def test_every_value_comes_back(value: object) -> None:
    walk = walked(build_mmdb({"::/0": value}))
    decoded = walk.decode(1)
    assert decoded == value
    assert repr(decoded) == repr(value)


@pytest.mark.parametrize("size", [0, 28, 29, 284, 285, 65820, 65821, 70_000])
def test_every_form_of_size(size: int) -> None:
    assert walked(build_mmdb({"::/0": "x" * size})).decode(1) == "x" * size
    if size < 65536:
        assert walked(build_mmdb({"::/0": [True] * size})).decode(1) == [True] * size


@pytest.mark.parametrize("offset", [0, 2047, 2048, 526_335, 526_336, 600_000])
def test_every_form_of_pointer(offset: int) -> None:
    forms: list[tuple[int, int, Callable[[int], bytes]]] = [
        (0, 2**11, lambda at: bytes([0b001_00_000 | at >> 8]) + (at & 0xFF).to_bytes(1, "big")),
        (2048, 2**19, lambda at: bytes([0b001_01_000 | (at - 2048) >> 16]) + (at - 2048 & 0xFFFF).to_bytes(2, "big")),
        (526_336, 2**27, lambda at: bytes([0b001_10_000 | (at - 526_336) >> 24]) + (at - 526_336 & 0xFFFFFF).to_bytes(3, "big")),
        (0, 2**32, lambda at: bytes([0b001_11_101]) + struct.pack(">I", at)),
    ]
    for base, size, form in forms:
        if not base <= offset < base + size:
            continue
        section = bytes(offset) + encode("target")
        root = len(section)
        section += encode_control(11, 2) + form(offset) + encode("after")
        content = assemble([(1 + 16 + root, 1)], 32, section, metadata_of(1, 4, 32, "test", 0))
        assert walked(content).decode(1) == ["target", "after"]


def leaf_of(field: bytes) -> bytes:
    """A database whose only record is the raw `field`."""
    return assemble([(1 + 16, 1)], 24, field, metadata_of(1, 4, 24, "test", 0))


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        (b"", "past the end of the data section"),
        (b"\x00", "past the end of its section"),
        (b"\x00\x00", "a type that the format does not have"),  # extended, but no extended number
        (b"\x00\x05", "a type that the format does not have"),  # 12, data cache container
        (b"\x00\x06", "a type that the format does not have"),  # 13, end marker
        (b"\x00\x09", "a type that the format does not have"),  # 16
        (b"\x00\xff", "a type that the format does not have"),
        (b"\x00\xfa", "a type that the format does not have"),  # 257, which is a pointer in eight bits
        (b"\x42a", "past the end of its section"),
        (b"\x5d", "past the end of its section"),
        (b"\x5e\x00", "past the end of its section"),
        (b"\x5f\x00\x00", "past the end of its section"),
        (b"\x5f\xff\xff\xffabc", "past the end of its section"),
        (b"\x67" + bytes(7), "a size that its type does not have"),  # double of 7
        (b"\x68" + bytes(7), "past the end of its section"),
        (b"\xa3" + bytes(3), "a size that its type does not have"),  # uint16 of 3
        (b"\xc5" + bytes(5), "a size that its type does not have"),  # uint32 of 5
        (b"\x05\x01" + bytes(5), "a size that its type does not have"),  # int32 of 5
        (b"\x09\x02" + bytes(9), "a size that its type does not have"),  # uint64 of 9
        (b"\x11\x03" + bytes(17), "a size that its type does not have"),  # uint128 of 17
        (b"\x02\x07", "a size that its type does not have"),  # boolean of 2
        (b"\x03\x08" + bytes(3), "a size that its type does not have"),  # float of 3
        (b"\xe1\x41a", "past the end of its section"),
        (b"\xe2\x41a", "a size that its type does not have"),  # a map of two pairs needs four fields
        (b"\x03\x04\xa0\xa0", "a size that its type does not have"),  # an array of three
        (b"\xe1\xa0\xa0", "a key of a map is not a string"),
        (b"\xe1\xe0\xa0", "a key of a map is not a string"),
        (b"\x20\x00", "a pointer leads to a pointer"),
        (b"\x20\x05", "a pointer leads out of its section"),
        (b"\x38\xff\xff\xff\xff", "a pointer leads out of its section"),
        (b"\x38\x00", "past the end of its section"),
        (b"\x01\x04\x20\x00", "nested deeper than 128 levels"),  # an array that holds itself
        (b"\x41\xff", "not UTF-8"),
        (b"\xe1\x41\xc0\xa0", "not UTF-8"),
    ],
)
def test_a_bad_field_is_refused(field: bytes, reason: str) -> None:
    assert reason in (refusal(leaf_of(field)) or "accepted")
    with pytest.raises(WalkError):
        Walk(leaf_of(field)).decode(1)


def test_utf8_is_judged_as_python_does() -> None:
    rng = random.Random(3629)
    pieces = [b"a", b"abcdefgh", "é".encode(), "€".encode(), "𐍈".encode(), b"\x80", b"\xbf", b"\xc0", b"\xc2", b"\xe0\x9f\x80"]
    pieces += [b"\xed\x9f\xbf", b"\xed\xa0\x80", b"\xee\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x90\x80\x80", b"\xf4\x8f\xbf\xbf"]
    pieces += [b"\xf4\x90\x80\x80", b"\xf5", b"\xff", b"\xe2\x82", b"\xf0\x9f\x98"]
    texts = [rng.randbytes(rng.randrange(6)) for _ in range(2000)]
    texts += [b"".join(rng.choices(pieces, k=rng.randrange(5))) for _ in range(2000)]
    for text in texts:
        try:
            expected: object = text.decode()
        except UnicodeDecodeError:
            expected = None
        content = leaf_of(encode_control(2, len(text)) + text)
        reason = refusal(content)
        assert (reason is None) == (expected is not None), text
        if reason is None:
            assert Walk(content).decode(1) == expected


@pytest.mark.parametrize(("depth", "accepted"), [(128, True), (129, False)])
def test_nesting_is_limited(depth: int, accepted: bool) -> None:
    field = encode_control(11, 1) * depth + encode("x")
    assert (refusal(leaf_of(field)) is None) == accepted


def test_pointers_to_pointers_to_arrays_do_not_blow_up() -> None:
    """40 levels of two pointers each to the level below: 2**40 values from 200 bytes."""
    section, below = encode("x"), 0
    for _ in range(40):
        here = len(section)
        section += encode_control(11, 2) + encode_pointer(below) * 2
        below = here
    content = assemble([(1 + 16 + below, 1)], 24, section, metadata_of(1, 4, 24, "test", 0))
    assert refusal(content) == "a record holds more than 65536 values"


def complete_tree(places: list[int], section: bytes) -> bytes:
    """A database whose records lie at `places` of the data section, in a complete tree in order of breadth."""
    count = len(places) - 1
    children = [*range(1, count), *(count + 16 + place for place in places)]
    nodes = list(zip(children[::2], children[1::2], strict=True))
    return assemble(nodes, 24, section, metadata_of(count, 4, 24, "test", 0))


def test_many_records_that_share_a_large_one_cost_it_once() -> None:
    section = encode_control(11, 60_000) + b"\x00\x07" * 60_000
    record = encode_control(11, 1) + encode_pointer(0)
    places = [len(section) + len(record) * number for number in range(20_000)]
    assert refusal(complete_tree(places, section + record * len(places))) is None


@pytest.mark.parametrize("shared", [5_500, 60_000])
def test_a_shared_record_counts_for_each_that_shares_it(shared: int) -> None:
    section = encode_control(11, shared) + b"\x00\x07" * shared
    record = len(section)
    section += encode_control(11, 12) + encode_pointer(0) * 12
    content = complete_tree([0, record], section)
    assert refusal(content) == ("a record holds more than 65536 values" if 12 * shared > 65536 else None)
    text = encode_control(11, 1) + encode("x" * 1_000_000)
    content = leaf_of(text)
    assert refusal(content) is None
    record = len(text)
    content = complete_tree([0, record], text + encode_control(11, 3) + encode_pointer(0) * 3)
    assert refusal(content) == "a record holds more than 2097152 bytes of strings"


@pytest.mark.parametrize(("depth", "accepted"), [(126, True), (127, False)])
def test_a_shared_record_is_nested_where_it_is_shared(depth: int, accepted: bool) -> None:
    section = encode_control(11, 1) * 2 + encode("x")
    shallow = len(section)
    section += encode_control(11, 1) + encode_pointer(0)
    deep = len(section)
    section += encode_control(11, 1) * depth + encode_pointer(0)
    assert (refusal(complete_tree([shallow, deep], section)) is None) == accepted


def test_large_records_that_displace_each_other_do_not_blow_up() -> None:
    """20,000 records that hold in turn one of two arrays of 60,000 values, of which only one can be remembered."""
    large = encode_control(11, 60_000) + b"\x00\x07" * 60_000

    def place_of(origin: int) -> int:
        return (origin * 0x9E3779B97F4A7C15 & 2**64 - 1) >> 48

    second = next(origin for origin in range(len(large), 2**20) if place_of(origin) == place_of(0))
    section = large + bytes(second - len(large)) + large
    records = (encode_control(11, 1) + encode_pointer(0)) + (encode_control(11, 1) + encode_pointer(second))
    places = [len(section) + len(records) // 2 * number for number in range(20_000)]
    content = complete_tree(places, section + records * 10_000)
    assert refusal(content) == "the records refer to each other so often that they cannot be decoded"


# --- trees ------------------------------------------------------------------------------------------------------------


def zero_path(end: int) -> list[tuple[int, int]]:
    """The 96 nodes that lead to ::/96; "no data" is `end`, and the last one leads to node 96."""
    return [(node + 1, end) for node in range(96)]


@pytest.mark.parametrize(
    ("nodes", "ip_version", "reason"),
    [
        ([(0, 0)], 4, "deeper than an address has bits"),
        ([(0, 0)], 6, "leads back to a node"),
        ([(1, 2), (0, 2)], 4, "deeper than an address has bits"),
        ([(1, 2), (0, 2)], 6, "leads back to a node"),
        ([(2, 1), (1, 2)], 6, "deeper than an address has bits"),
        ([*zero_path(98), (97, 98), (96, 98)], 6, "leads back to a node"),  # from inside ::/96 to its start
        ([*zero_path(98), (97, 98), (50, 98)], 6, "deeper than an address has bits"),  # ... to above its start
        ([(1, 1 + 15)], 4, "into the separator"),
        ([(1, 1 + 1)], 4, "into the separator"),
        ([(1, 1 + 16 + 2)], 4, "past the end of the data section"),
        ([(1, 2**24 - 1)], 4, "past the end of the data section"),
        ([(node + 1, node + 1) for node in range(31)] + [(32, 32)], 4, "shares nodes so often"),
        ([(node + 1, node + 1) for node in range(127)] + [(128, 128)], 6, "shares nodes so often"),
    ],
)
def test_a_bad_tree_is_refused(nodes: list[tuple[int, int]], ip_version: int, reason: str) -> None:
    content = assemble(nodes, 24, encode("x"), metadata_of(len(nodes), ip_version, 24, "test", 0))
    assert reason in (refusal(content) or "accepted")


def test_a_tree_of_full_depth_is_walked() -> None:
    content = build_mmdb({f"{'f' * 4}::{'0' * 3}1/128": "deepest", "255.255.255.255/32": "last"})
    assert spans_of(walked(content)) == [
        (0, None),
        (IPV4_END - 1, "last"),
        (IPV4_END, None),
        ((0xFFFF << 112) + 1, "deepest"),
        ((0xFFFF << 112) + 2, None),
    ]


# --- metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ({"node_count": None}, "node_count is missing"),
        ({"node_count": uint16(0)}, "node_count is 0"),
        ({"node_count": 2**32 - 1}, "more than the file has room for"),
        ({"node_count": uint64(2**63)}, "node_count is 9223372036854775808"),
        ({"node_count": "103"}, "node_count is missing, or no number"),
        ({"node_count": True}, "node_count is missing, or no number"),
        ({"node_count": -103}, "node_count is missing, or no number"),
        ({"record_size": uint16(20)}, "record_size is 20"),
        ({"record_size": uint16(26)}, "record_size is 26"),
        ({"record_size": None}, "record_size is missing"),
        ({"ip_version": uint16(5)}, "ip_version is 5"),
        ({"binary_format_major_version": uint16(3)}, "format 3"),
        ({"build_epoch": uint64(2**64 - 1)}, "is no time"),
        ({"build_epoch": None}, "build_epoch is missing"),
        ({"database_type": None}, "database_type is missing"),
        ({"database_type": 7}, "database_type is missing, or no string"),
    ],
)
def test_bad_metadata_is_refused(override: dict[str, object], reason: str) -> None:
    with pytest.raises(WalkError) as caught:
        Walk(build_mmdb({"1.0.0.0/8": "x"}, metadata=override))
    assert reason in str(caught.value)
    assert not isinstance(caught.value, ForeignFileError)


@pytest.mark.parametrize("content", [b"", b"\x00", b"MaxMind.com", b"PK\x03\x04" + bytes(10_000), METADATA_MARKER[:-1]])
def test_a_foreign_file_is_told_apart(content: bytes) -> None:
    with pytest.raises(ForeignFileError):
        Walk(content)


def test_metadata_is_looked_for_at_the_end_only() -> None:
    good = build_mmdb({"::/0": "x"})
    assert walked(build_mmdb({"::/0": METADATA_MARKER})).decode(1) == METADATA_MARKER
    with pytest.raises(ForeignFileError):
        Walk(good + bytes(128 * 1024))
    assert Walk(good + bytes(1000)).database_type == "test"


@pytest.mark.parametrize("metadata", [b"", b"\x42", b"\xa1\x05", encode([1, 2]), encode("text")])
def test_metadata_that_is_no_map_is_refused(metadata: bytes) -> None:
    with pytest.raises(WalkError, match="metadata is damaged"):
        Walk(bytes(100) + METADATA_MARKER + metadata)


def test_a_separator_that_is_not_zero_is_refused() -> None:
    tree = encode_node(1, 1, 24)
    content = assemble([(1, 1)], 24, b"", metadata_of(1, 4, 24, "test", 0))
    assert content.startswith(tree + bytes(16))
    assert list(walked(content).leaf) == [0]
    with pytest.raises(WalkError, match="not zero"):
        Walk(tree + bytes(15) + b"\x01" + content[len(tree) + 16 :])
    with pytest.raises(WalkError, match="more than the file has room for"):
        Walk(content[1:])


def test_every_truncation_of_a_database_is_refused() -> None:
    content = build_mmdb({"1.0.0.0/8": {"a": 1}})
    for size in range(len(content)):
        assert refusal(content[:size]) is not None


# --- relabel ----------------------------------------------------------------------------------------------------------


def test_relabel_merges_neighbours() -> None:
    starts_hi, starts_lo = array("Q", [0, 0, 0, 1, 2]), array("Q", [0, 5, 9, 0, 0])
    leaf = array("I", [0, 1, 2, 3, 0])
    relabel(starts_hi, starts_lo, leaf, array("I", [0, 7, 7, 0]))
    assert (starts_hi.tolist(), starts_lo.tolist(), leaf.tolist()) == ([0, 0, 1], [0, 5, 0], [0, 7, 0])
    relabel(array("Q"), array("Q"), array("I"), array("I"))


@pytest.mark.parametrize(
    "arrays",
    [
        (array("Q", [0]), array("Q", [0]), array("I", [1]), array("I", [0])),
        (array("Q", [0]), array("Q", [0]), array("I", [0]), array("I")),
        (array("Q", [0]), array("Q"), array("I", [0]), array("I", [0])),
        (array("I", [0]), array("Q", [0]), array("I", [0]), array("I", [0])),
        (array("Q", [0]), array("Q", [0]), array("Q", [0]), array("I", [0])),
        (array("Q", [0]), array("Q", [0]), array("I", [0]), array("B", [0])),
    ],
)
def test_relabel_refuses_arrays_that_do_not_fit(arrays: tuple[array[int], array[int], array[int], array[int]]) -> None:
    with pytest.raises(ValueError, match=r"do not fit|no label"):
        relabel(*arrays)
