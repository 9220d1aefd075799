"""A tiny, obvious MaxMind DB writer for tests: a table of networks in, the bytes of a database out.

Nothing is shared, merged or guessed: a more specific network wins over a wider one whatever the order of the table,
equal records are stored once, and the same table gives the same bytes.
"""

from __future__ import annotations

import ipaddress
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

METADATA_MARKER = b"\xab\xcd\xefMaxMind.com"
SEPARATOR = bytes(16)


class UInt(int):
    """An integer with the MMDB type that it is to be stored as (a plain `int` becomes uint32, uint64 or int32)."""

    mmdb_type: int

    def __new__(cls, value: int, mmdb_type: int) -> UInt:
        self = super().__new__(cls, value)
        self.mmdb_type = mmdb_type
        return self


def uint16(value: int) -> UInt:
    return UInt(value, 5)


def uint64(value: int) -> UInt:
    return UInt(value, 9)


def encode_control(mmdb_type: int, size: int) -> bytes:
    """The control byte(s) of a field: type and size (bytes, or pairs of a map, or items of an array)."""
    if size < 29:
        low, more = size, b""
    elif size < 285:
        low, more = 29, struct.pack(">B", size - 29)
    elif size < 65_821:
        low, more = 30, struct.pack(">H", size - 285)
    else:
        low, more = 31, (size - 65_821).to_bytes(3, "big")
    extended = mmdb_type > 7
    return bytes([(0 if extended else mmdb_type << 5) | low]) + (bytes([mmdb_type - 7]) if extended else b"") + more


def encode_pointer(offset: int) -> bytes:
    """A pointer in its widest form: four bytes of offset from the start of the data section."""
    return bytes([0b001_11_000]) + struct.pack(">I", offset)


def encode(value: object) -> bytes:
    """One value as a data field, without pointers."""
    if isinstance(value, bool):
        return encode_control(14, int(value))
    if isinstance(value, int):
        if isinstance(value, UInt):
            mmdb_type = value.mmdb_type
        elif value < 0:
            return encode_control(8, 4) + struct.pack(">i", value)
        else:
            mmdb_type = 6 if value < 2**32 else 9 if value < 2**64 else 10
        payload = value.to_bytes((value.bit_length() + 7) // 8, "big")
        return encode_control(mmdb_type, len(payload)) + payload
    if isinstance(value, str):
        return encode_control(2, len(value.encode())) + value.encode()
    if isinstance(value, bytes):
        return encode_control(4, len(value)) + value
    if isinstance(value, float):
        return encode_control(3, 8) + struct.pack(">d", value)
    if isinstance(value, dict):
        return encode_control(7, len(value)) + b"".join(encode(str(key)) + encode(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return encode_control(11, len(value)) + b"".join(map(encode, value))
    raise TypeError(f"no MMDB type for {type(value).__name__}")


def encode_node(left: int, right: int, record_size: int) -> bytes:
    """One node of the search tree."""
    if record_size == 24:
        return left.to_bytes(3, "big") + right.to_bytes(3, "big")
    if record_size == 28:
        middle = (left >> 24 << 4) | (right >> 24)
        return (left & 0xFFFFFF).to_bytes(3, "big") + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3, "big")
    return struct.pack(">II", left, right)


def assemble(nodes: list[tuple[int, int]], record_size: int, section: bytes, metadata: Mapping[str, object]) -> bytes:
    """Join search tree, separator, data section and metadata; the records of `nodes` are final numbers."""
    tree = b"".join(encode_node(left, right, record_size) for left, right in nodes)
    return tree + SEPARATOR + section + METADATA_MARKER + encode(dict(metadata))


def metadata_of(node_count: int, ip_version: int, record_size: int, database_type: str, build_epoch: int) -> dict[str, object]:
    """The metadata map with the types that the specification asks for."""
    return {
        "node_count": UInt(node_count, 6),
        "record_size": uint16(record_size),
        "ip_version": uint16(ip_version),
        "database_type": database_type,
        "languages": ["en"],
        "binary_format_major_version": uint16(2),
        "binary_format_minor_version": uint16(0),
        "build_epoch": uint64(build_epoch),
        "description": {"en": "made by a test"},
    }


def build_mmdb(
    networks: Mapping[str, object],
    ip_version: int = 6,
    record_size: int = 24,
    database_type: str = "test",
    build_epoch: int = 1_700_000_000,
    aliases: tuple[str, ...] = (),
    metadata: Mapping[str, object] | None = None,
) -> bytes:
    """Write a database of `networks` (CIDR text -> record); IPv4 networks lie at ::/96 of an IPv6 tree.

    `aliases` are IPv6 networks that lead to the start of the IPv4 subtree, as MaxMind writes for `::ffff:0:0/96` and
    `2002::/16`. `metadata` overrides or adds metadata keys; a key with the value None is left out.
    """
    section = bytearray()
    offsets: dict[bytes, int] = {}
    children: list[list[int | None]] = [[None, None]]  # None: no data; < 0: -1 - offset into the data section; else a node

    def descend(bits: str) -> int:
        node = 0
        for bit in bits:
            side = int(bit)
            below = children[node][side]
            if below is None or below < 0:
                children.append([below, below])
                children[node][side] = below = len(children) - 1
            node = below
        return node

    def bits_of(text: str) -> str:
        network = ipaddress.ip_network(text)
        width = 32 if network.version == 4 else 128
        if network.version > ip_version:
            raise ValueError("an IPv6 network needs an IPv6 tree")
        bits = f"{int(network.network_address):0{width}b}"[: network.prefixlen]
        return "0" * 96 + bits if network.version < ip_version else bits

    for bits, record in sorted(((bits_of(text), record) for text, record in networks.items()), key=lambda pair: len(pair[0])):
        encoded = encode(record)
        if encoded not in offsets:
            offsets[encoded] = len(section)
            section += encoded
        leaf = -1 - offsets[encoded]
        if bits:
            children[descend(bits[:-1])][int(bits[-1])] = leaf
        else:
            children[0] = [leaf, leaf]
    for alias in aliases:
        start = descend("0" * 96)
        bits = bits_of(alias)
        children[descend(bits[:-1])][int(bits[-1])] = start

    count = len(children)

    def record_of(child: int | None) -> int:
        return count if child is None else count + 16 - 1 - child if child < 0 else child

    nodes = [(record_of(left), record_of(right)) for left, right in children]
    facts = metadata_of(count, ip_version, record_size, database_type, build_epoch) | dict(metadata or {})
    return assemble(nodes, record_size, bytes(section), {key: value for key, value in facts.items() if value is not None})
