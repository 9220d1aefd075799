"""Damaged index images: an image is refused with an ImageError, or every lookup in it is safe and as the format says.

An image has more than a megabyte, most of it a table, and checksums that no mutation survives. So an input is not an
image but a list of edits to a good one, and each mutant is offered three times: as it is, to `Index.open`; with its
header's checksum mended, to the checks behind that one; and there the body's checksum is passed over, which leaves the
checks of the structure alone between the bytes and the lookups without a check.
"""

from __future__ import annotations

import random
import struct
import sys
import zlib
from array import array
from functools import cache
from typing import TYPE_CHECKING

from _fastpath import image_builder, prefix_trie
from _fastpath.address import from_int
from _fastpath.prefix_trie import PrefixTrie
from regionresolver.errors import ImageError
from regionresolver.index import Index
from regionresolver.index.sections import NOBODY, Origin, SourceFacts, encode_origin, encode_values
from regionresolver.model import Region
from tests.fuzz.engine import Cursor, main
from tests.reference.image import CHILD, HEADER_BYTES, SECTIONS, SECTIONS_OFFSET, SPLIT, WIDE, Image, Section, sections_of
from tests.reference.tries import LAST, Transitions, near, parts, transitions_of

if TYPE_CHECKING:
    from collections.abc import Iterator

EDITS = 16
RANDOM_LOOKUPS = 48
OFFERED_WHOLE = 1 / 8
CRC_OFFSET = HEADER_BYTES - 4
REASONS = {"foreign", "newer", "truncated", "damaged", "misplaced"}

TABLES: tuple[dict[str, int], ...] = (
    {},
    {"1.0.0.0/24": 1, "1.0.1.128/25": 2, "9.9.9.9/32": 3, "2a02:10::/32": 1, "2a02:10:0:1::/64": 2, "fc00::/7": 3},
    {"::/0": 1, "0.0.0.0/0": 2, "2001:db8::1/128": 3, "2001:db8::8000:0:0:0/65": 4, "2001:db8:0:3::/64": 1, "fd00::1/128": 2},
    {f"{length}.0.0.0/{length}": length - 8 for length in range(9, 33)}
    | {f"2{length:03x}::/{length}": length // 4 + 21 for length in range(17, 129, 4)},
)
# More values than 15 bits can number, so that some are wide.
WIDE_VALUES = 0x7FFF + 40


def wide_table() -> Transitions:
    """Many values, of which the rarest do not fit into an entry."""
    starts = [0, *(2**24 + 256 * number for number in range(WIDE_VALUES - 1))]
    return Transitions(tuple(starts), (*range(WIDE_VALUES),))


def sealed(transitions: Transitions) -> bytes:
    """Return the image of transitions with made-up answers of two sources."""
    value_count = max(transitions.values) + 1
    regions = [NOBODY, Region("UA", "UA-43"), Region("FR", None), Region("CU", None)]
    answers = [number % len(regions) if number > 1 else 0 for number in range(2 * value_count)]
    facts = SourceFacts("one", ("one.mmdb",), "City", 1_780_000_000, "ab" * 32, None, frozenset())
    sections = image_builder.build(*transitions.arrays(), value_count)
    origin = Origin((facts, facts), "cd" * 32)
    return prefix_trie.seal([*sections, *encode_values(regions, array("I", answers)), encode_origin(origin)], 2, value_count)


@cache
def base(number: int) -> tuple[bytes, tuple[int, ...]]:
    """Return a good image and the addresses around its boundaries."""
    transitions = transitions_of(TABLES[number]) if number < len(TABLES) else wide_table()
    return sealed(transitions), tuple(near(transitions.starts))


def edited(image: bytes, cursor: Cursor) -> bytearray:
    """Apply the edits that an input asks for: section, place, how, new value."""
    mutant = bytearray(image)
    sections = sections_of(image)
    for _ in range(EDITS):
        if not cursor:
            break
        room, how = cursor.number(1), cursor.number(1)
        at = place(cursor, room, sections)
        if how < 200:
            size = 1 << how % 4
            new, old = cursor.number(size), int.from_bytes(mutant[at : at + size], sys.byteorder)
            if how & 0x10:
                new = (old + new - 8) % (1 << 8 * size)
            elif how & 0x20:
                new = old ^ (1 << new % (8 * size))
            at = min(at, len(mutant) - size)
            mutant[at : at + size] = new.to_bytes(size, sys.byteorder)
        elif how < 230:
            # A value that means something to a lookup.
            value = (SPLIT, CHILD, CHILD | 1, 0xFFFF, 0)[how % 5]
            struct.pack_into("=H", mutant, min(at & ~1, len(mutant) - 2), value)
        elif how < 245:
            other = place(cursor, room, sections)
            length = cursor.number(1)
            mutant[at : at + length] = mutant[other : other + len(mutant[at : at + length])].ljust(len(mutant[at : at + length]))
        elif how < 250:
            struct.pack_into("=I", mutant, min(at & ~3, len(mutant) - 4), WIDE | cursor.number(2))
        else:
            del mutant[at if how < 254 else len(mutant) - 1 - cursor.number(1) :]
            mutant = mutant or bytearray(1)
            if len(mutant) < HEADER_BYTES:
                break
    return mutant


def place(cursor: Cursor, room: int, sections: dict[str, Section]) -> int:
    """Choose a byte of the header or of a section; most sections are tiny, and the records are what matters."""
    if room < 32:
        return cursor.number(1) % HEADER_BYTES
    if room < 64:
        return SECTIONS_OFFSET + cursor.number(1) % (16 * len(SECTIONS) + 8)
    if room < 128:
        name = SECTIONS[room % len(SECTIONS)]
    else:
        name = "records" if room < 208 else "below64" if room < 224 else "outside" if room < 240 else "direct"
    offset, size_bytes = sections[name]
    return offset + cursor.number(3) % max(size_bytes, 1)


def mend_header(mutant: bytearray) -> bytes:
    """Make the checks behind the header's checksum reachable."""
    if len(mutant) >= HEADER_BYTES:
        struct.pack_into("=I", mutant, CRC_OFFSET, zlib.crc32(mutant[:CRC_OFFSET]))
    return bytes(mutant)


def one(content: bytes) -> None:
    """Offer a mutant, and look addresses up in what is accepted."""
    cursor = Cursor(content)
    image, boundaries = base(cursor.number(1) % (len(TABLES) + 1))
    rng = random.Random(cursor.number(2))
    mutant = edited(image, cursor)
    # The checksum is slow where everything is instrumented, and whether it is looked at is soon known.
    if mutant != image and rng.random() < OFFERED_WHOLE:
        assert refusal(memoryview(mutant).toreadonly()), "a damaged image was opened"
    mended = mend_header(mutant)
    trie = accepted(mended)
    if trie is None:
        return
    addresses = [rng.choice(boundaries) for _ in range(RANDOM_LOOKUPS)] + [rng.getrandbits(128) for _ in range(4)]
    addresses += [1 << 125 | rng.getrandbits(125), rng.getrandbits(32), 0, LAST]
    search(mended, trie, addresses)
    tail = sections_of(image)["values"].offset
    if mended[:HEADER_BYTES] != image[:HEADER_BYTES] or mended[tail:] != image[tail:]:
        decode(mended)


def accepted(image: bytes) -> PrefixTrie | None:
    """Return the trie of an image whose structure is sound, whatever its checksum of the body; None for a refusal."""
    try:
        trie = PrefixTrie(image)
        prefix_trie.verify(trie)
    except ValueError as error:
        reason = str(error)
    else:
        return trie
    assert reason.partition(":")[0] in REASONS, reason
    return None


def refusal(image: memoryview) -> str | None:
    """Return why `Index.open` refuses an image, None when it does not."""
    try:
        Index.open(image)
    except ImageError as error:
        return str(error)
    return None


def search(image: bytes, trie: PrefixTrie, addresses: list[int]) -> None:
    """Find addresses one by one and together; the readable form finds the same, and never leaves its sections."""
    reference = Image(image)
    for address in addresses:
        expected = reference.find(address)
        found = trie.find_parts(*parts(address))
        assert found == expected, f"{address:#x}: {found}, and the format says {expected}"
    canonicals = [from_int(address, 4 if address < 2**32 else 6) for address in addresses]
    assert trie.find_many(canonicals) == [trie.find(canonical) for canonical in canonicals]


def decode(image: bytes) -> None:
    """Read the sections that Python reads, in an image whose checksums are in order as far as they are asked for."""
    index = Index.open(memoryview(image), check=False)
    try:
        values, sources = index.values, index.sources
    except ImageError as error:
        reason = str(error)
    else:
        assert len(values) == index.trie.value_count
        assert all(len(row) == len(sources) == index.trie.source_count for row in values)
        return
    assert "damaged" in reason, reason


def seeds() -> Iterator[bytes]:
    """Each image as it is, and edits of each kind to each room."""
    rng = random.Random(7)
    for number in range(len(TABLES) + 1):
        yield bytes([number, 0, 0])
        for how in (0, 1, 2, 3, 0x10, 0x21, 200, 201, 230, 245, 250, 254):
            yield bytes([number, 0, 1]) + b"".join(bytes([rng.randrange(256), how]) + rng.randbytes(6) for _ in range(3))
    for room in range(0, 256, 4):
        yield bytes([room % (len(TABLES) + 1), 0, 2, room, 2]) + rng.randbytes(7)


if __name__ == "__main__":
    main("image", one, seeds, input_bytes=192)
