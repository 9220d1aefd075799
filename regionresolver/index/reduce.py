"""Cut an IP database down to what this service reads: countries, and the subdivisions of the region catalogue.

In: a checked `Source`. Out: one MaxMind DB of the nested shape, IPv4 and IPv6 in one tree, small enough to ship:
neighbours that say the same are merged, each distinct record is stored once. The same source and catalogue give the
same bytes: nothing depends on the clock, the build epoch is the source's.

A record holds the country *as the source says it* (`country.iso_code`) and, for a subdivision of the catalogue, its code
under that country: UA-43 is `43` under UA and `CR` under RU, by the catalogue's alias RU-CR. Where the catalogue has no
code under that country the English name stands alone, and is read by name. Every record is read back before it is used.

The tree is written here and not by PyPI's `mmdb-writer` (0.2.7): it stamps the current time into the file, with no public
way to say another, so that no two builds are the same bytes; and it takes a `netaddr` set per network (36 us each, 1.3
million of them) where the transitions, sorted and merged already, are one recursive split of 128 bits (2 s in all).
"""

from __future__ import annotations

import os
import tempfile
from array import array
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from regionresolver.errors import DatabaseError
from regionresolver.index.mmdb import OWN_DATABASE_TYPE, Networks, Progress, Source, answer
from regionresolver.sources.shapes import read_words

if TYPE_CHECKING:
    from regionresolver.model import Region
    from regionresolver.sources.catalogue import Catalogue

_CHANGED = "reduced to the country and to the subdivisions that the region catalogue names"
_MARKER = b"\xab\xcd\xefMaxMind.com"
_SEPARATOR = bytes(16)
_ADDRESS_BITS = 128
_STRING, _UINT16, _UINT32, _MAP, _UINT64, _ARRAY = 2, 5, 6, 7, 9, 11
_LEAF = 1 << 31
"""Marks a record of the tree that is a place in the regions while the tree is built; nodes are counted from 0."""


@dataclass(frozen=True, slots=True)
class Number:
    """An unsigned number with the type that readers ask for: the format has one type a width."""

    kind: int
    value: int


def reduce_database(source: Source, catalogue: Catalogue, out_path: str | Path, progress: Progress | None = None) -> int:
    """Write the reduced database to `out_path`, all or nothing, and return its size in bytes.

    Its description is the source's attribution and what was changed. Raises DatabaseError when it cannot be written.
    """
    description = f"{source.attribution or source.database_type}; {_CHANGED}"
    content = reduced(source.networks(catalogue), catalogue, source.build_epoch, description, progress)
    out_path = Path(out_path)
    try:
        with tempfile.NamedTemporaryFile(dir=out_path.parent, prefix=f".{out_path.name}.", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
                os.replace(file.name, out_path)
            except BaseException:
                os.unlink(file.name)
                raise
    except OSError as error:
        raise DatabaseError(out_path, f"it cannot be written: {error.strerror}", remedy="check the path and the disk") from None
    return len(content)


def reduced(
    networks: Networks, catalogue: Catalogue, build_epoch: int, description: str, progress: Progress | None = None
) -> bytes:
    """Return the bytes of the reduced database."""
    records = split_into_nodes(networks, progress)
    node_count = len(records) // 2
    section = bytearray()
    pointers = [node_count]  # a node record that says "no data"
    for region in networks.regions[1:]:
        pointers.append(node_count + len(_SEPARATOR) + len(section))
        section += encode(record_of(region, catalogue))
    record_bytes = 3 if max(node_count, *pointers) < 1 << 24 else 4
    final = array("I", (pointers[record - _LEAF] if record >= _LEAF else record for record in records))
    metadata = {
        "node_count": Number(_UINT32, node_count),
        "record_size": Number(_UINT16, 8 * record_bytes),
        "ip_version": Number(_UINT16, 6),
        "database_type": OWN_DATABASE_TYPE,
        "languages": ["en"],
        "binary_format_major_version": Number(_UINT16, 2),
        "binary_format_minor_version": Number(_UINT16, 0),
        "build_epoch": Number(_UINT64, build_epoch),
        "description": {"en": description},
    }
    return _big_endian(final, record_bytes) + _SEPARATOR + bytes(section) + _MARKER + encode(metadata)


def record_of(region: Region, catalogue: Catalogue) -> dict[str, object]:
    """Return the record that is read back as `region`. Raises ValueError when there is none."""
    record: dict[str, object] = {"country": {"iso_code": region.country_code}}
    if region.subdivision_code is not None:
        row = catalogue.subdivisions[region.subdivision_code]
        codes = [code for code in (row.code, *row.aliases) if code.startswith(f"{region.country_code}-")]
        code = {"iso_code": codes[0].partition("-")[2]} if codes else {}
        record["subdivisions"] = [code | {"names": {"en": row.name}}]
    if answer(read_words(record), catalogue) != region:
        raise ValueError(f"the catalogue does not read {region} back from its own words")
    return record


def split_into_nodes(networks: Networks, progress: Progress | None = None) -> array[int]:
    """Return the smallest search tree: two records a node, the root first, children numbered in preorder.

    A record below _LEAF is a node, else _LEAF + a place in the regions.
    """
    starts = [hi << 64 | lo for hi, lo in zip(networks.starts_hi, networks.starts_lo, strict=True)]
    answers, records, count = networks.answers, array("I"), len(starts)

    def split(start: int, bits: int, first: int, end: int) -> int:
        """Return the record for the 2**bits addresses from `start` on; entries first to end - 1 lie there."""
        if end - first == 1:
            return _LEAF + answers[first]
        node = len(records) // 2
        records.extend((0, 0))
        middle = start + (1 << (bits - 1))
        at = bisect_left(starts, middle, first + 1, end)
        records[2 * node] = split(start, bits - 1, first, at)
        if at == end or starts[at] > middle:
            at -= 1
        records[2 * node + 1] = split(middle, bits - 1, at, end)
        if progress is not None and node % 65536 == 0:
            progress("building the search tree", at, count)
        return node

    if count == 1:
        records.extend((_LEAF + answers[0],) * 2)
    else:
        split(0, _ADDRESS_BITS, 0, count)
    if progress is not None:
        progress("building the search tree", count, count)
    return records


def encode(value: object) -> bytes:
    """Return a data field of the MaxMind DB format, without pointers: text, numbers, maps and arrays of them."""
    if isinstance(value, str):
        text = value.encode()
        return _control(_STRING, len(text)) + text
    if isinstance(value, Number):
        number = value.value.to_bytes((value.value.bit_length() + 7) // 8, "big")
        return _control(value.kind, len(number)) + number
    if isinstance(value, dict):
        return _control(_MAP, len(value)) + b"".join(encode(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return _control(_ARRAY, len(value)) + b"".join(map(encode, value))
    raise TypeError(f"{type(value).__name__} is not written")


def _control(kind: int, size: int) -> bytes:
    """Return the control bytes of a field of up to 65820 bytes, pairs or items."""
    low, more = (size, b"") if size < 29 else (29, bytes([size - 29])) if size < 285 else (30, (size - 285).to_bytes(2, "big"))
    return (bytes([low, kind - 7]) if kind > 7 else bytes([kind << 5 | low])) + more


def _big_endian(records: array[int], record_bytes: int) -> bytes:
    """Return every number in its last `record_bytes` bytes, highest first."""
    numbers = array("I", records)
    if numbers.itemsize != 4:
        raise RuntimeError("this platform's unsigned int has no 32 bits")
    if int.from_bytes(array("I", [1]).tobytes(), "little") == 1:
        numbers.byteswap()
    wide = numbers.tobytes()
    packed = bytearray(len(records) * record_bytes)
    for place in range(record_bytes):
        packed[place::record_bytes] = wide[4 - record_bytes + place :: 4]
    return bytes(packed)
