"""Hostile MaxMind DBs: the walk refuses a file with a WalkError, or maxminddb finds the same records in it.

The bytes are the file. A mutation rarely survives in the metadata, so an input may also stand for tree and data alone
(first byte below 0x80), and gets good metadata whose numbers it chooses.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

import maxminddb

from _fastpath.mmdb_walk import Walk, WalkError
from tests.fuzz.engine import Cursor, main
from tests.mmdb_builder import METADATA_MARKER, SEPARATOR, build_mmdb, encode, encode_pointer, metadata_of, uint16, uint64
from tests.test_mmdb_walk import plain, spans_by_maxminddb, spans_of

if TYPE_CHECKING:
    from collections.abc import Iterator

WANTED = ("country", "country_code", "registered_country", "subdivisions", "state1", "region", "region_code")
BARE = 0x80
RECORD_SIZES = (24, 28, 32)


def database(content: bytes) -> bytes:
    """Return the file that an input stands for."""
    if not content or content[0] >= BARE:
        return content[1:]
    cursor = Cursor(content)
    form, node_count = cursor.number(1), 1 + cursor.number(1)
    record_size = RECORD_SIZES[form % 3]
    tree = cursor.take(node_count * record_size // 4)
    metadata = metadata_of(node_count, 4 if form & 0x40 else 6, record_size, "fuzz", 1_700_000_000)
    return tree + SEPARATOR + cursor.rest() + METADATA_MARKER + encode(metadata)


def one(content: bytes) -> None:
    """Walk the file; compare what is accepted."""
    file = database(content)
    try:
        walk = Walk(file)
        walk.run()
        groups, examples = walk.check(WANTED)
        records = [None, *(walk.decode(leaf) for leaf in range(1, walk.leaf_count + 1))]
    except WalkError:
        return
    check_groups(records, list(groups), list(examples))
    with_maxminddb(walk, records, file)


def check_groups(records: list[object], groups: list[int], examples: list[int]) -> None:
    """Records of one group have equal wanted fields."""
    assert len(groups) == len(records)
    for leaf, group in enumerate(groups):
        # By text, here and below: a NaN equals nothing.
        assert repr(wanted(records[leaf])) == repr(wanted(records[examples[group]])), f"leaf {leaf} of group {group}"


def wanted(record: object) -> dict[str, object]:
    return {key: record[key] for key in WANTED if key in record} if isinstance(record, dict) else {}


def with_maxminddb(walk: Walk, records: list[object], file: bytes) -> None:
    """Look the edges of the spans up with maxminddb, and iterate it."""
    descriptor = os.memfd_create("fuzz")
    try:
        os.write(descriptor, file)
        path = Path(f"/proc/self/fd/{descriptor}")
        try:
            reader = maxminddb.open_database(path)
        except maxminddb.InvalidDatabaseError:
            # It also reads the types of metadata that a walk has no use for.
            return
        with reader:
            starts = [hi << 64 | lo for hi, lo in zip(walk.starts_hi, walk.starts_lo, strict=True)]
            ends = [*(start - 1 for start in starts[1:]), 2**128 - 1]
            for start, end, leaf in zip(starts, ends, walk.leaf, strict=True):
                for address in (start, end):
                    compare(reader, walk.ip_version, address, records[leaf])
        try:
            expected = spans_by_maxminddb(path)
        except ValueError:
            # It cannot write a network that begins above ::/96, and holds it, as IPv4.
            return
        assert repr(spans_of(walk)) == repr(expected)
    finally:
        os.close(descriptor)


def compare(reader: maxminddb.Reader, ip_version: int, address: int, record: object) -> None:
    """Compare one address. Networks that only lead back to the IPv4 tree hold nothing for the walk, IPv4 data for maxminddb."""
    if address >= 2**32 and (ip_version == 4 or record is None):
        return
    text = IPv4Address(address) if address < 2**32 else IPv6Address(address)
    found = plain(reader.get(text))
    assert repr(found) == repr(record), f"{text}: the walk says {record!r}, maxminddb {found!r}"


def seeds() -> Iterator[bytes]:
    record = {"country": {"iso_code": "UA"}, "subdivisions": [{"iso_code": "43", "names": {"en": "Крим"}}]}
    table = {"1.2.3.0/24": record, "2001:db8::/32": [1, "two", 3.0, True, -4, 2**100], "fc00::/7": {"x": b"y", "n": uint16(7)}}
    flat = {"1.0.0.0/8": {"country_code": "FR", "state1": "Corse"}, "2.0.0.0/9": {"country_code": "XX"}, "2.128.0.0/9": {}}
    for record_size in RECORD_SIZES:
        yield b"\x80" + build_mmdb(table, record_size=record_size, aliases=("::ffff:0:0/96", "2002::/16"))
        yield b"\x80" + build_mmdb(flat, ip_version=4, record_size=record_size)
    yield b"\x80" + build_mmdb({"::/0": "everywhere"})
    yield b"\x80" + METADATA_MARKER
    data = encode(record) + encode_pointer(0) + encode([uint64(1), {"a": {"b": ["c"]}}]) + encode("x" * 300)
    for form, record_bytes in ((0x40, 6), (0x41, 7), (0x42, 8), (0, 6), (2, 8)):
        # Two nodes: the root leads to the second one and to a record, the second to a record and to nothing.
        size = record_bytes * 4
        left, right = 1, 2 + 16
        nodes = [(left, right), (2 + 16 + len(encode(record)), 2)]
        bits = b"".join(
            (left << size | right).to_bytes(record_bytes, "big")
            if size != 28
            else bytes([*left.to_bytes(3, "big"), 0, *right.to_bytes(3, "big")])
            for left, right in nodes
        )
        yield bytes([form, 1]) + bits + data


WORDS = (
    METADATA_MARKER,
    *(b"\xe0", b"\xe1", b"\x20\x00", b"\x28", b"\x30", b"\x38", b"\x1f\xff\xff\xff"),
    *(b"\x00\x04", b"\x01\x07", b"\x04\x0a", b"\x08\x07", b"\x01\x00"),
    *(b"\x42iso_code", b"Ccountry", b"node_count", b"record_size", b"ip_version"),
)

if __name__ == "__main__":
    main("walk", one, seeds, input_bytes=2048, words=WORDS)
