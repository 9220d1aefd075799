"""The sections of an index image that Python reads: strings, values and sources (docs/index-format.md).

The trie's own sections are written by `_fastpath.image_builder` and read by `_fastpath.prefix_trie`. Numbers are in the
byte order of the machine: the image's header says which, and an image of the other order is refused.
"""

from __future__ import annotations

import json
from array import array
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

from regionresolver.model import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _fastpath.prefix_trie import PrefixTrie

NOBODY = Region(None, None)
BUILD_EPOCH_LIMIT = 253_402_300_800  # 10000-01-01: no date can be written of a later one


class SectionError(ValueError):
    """A section does not say what it must; the message is the reason."""


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One source of an image. `files` are names without their folders, `build_epoch` is in seconds of Unix time.

    `subdivisions` are the subdivision codes that the source answers with somewhere: it can see no other.
    """

    name: str
    files: tuple[str, ...]
    database_type: str
    build_epoch: int
    sha256: str
    attribution: str | None
    subdivisions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Origin:
    """What an image was compiled from: the sources in their order, and the SHA-256 of the region catalogue."""

    sources: tuple[SourceFacts, ...]
    catalogue_sha256: str


def encode_values(regions: Sequence[Region], answers: array[int]) -> tuple[bytes, bytes]:
    """Return the sections of values and of strings; `answers` are places in `regions`, one a source for each value."""
    codes = {code for region in regions for code in (region.country_code, region.subdivision_code) if code}
    numbers: dict[str | None, int] = {None: 0} | {code: number for number, code in enumerate(sorted(codes), 1)}
    rows = [array("I", (numbers[region.country_code], numbers[region.subdivision_code])).tobytes() for region in regions]
    texts = [code.encode() for code in sorted(codes)]
    ends = array("I", (len(texts), *accumulate(map(len, texts))))
    return b"".join([rows[answer] for answer in answers]), ends.tobytes() + b"".join(texts)


def decode_values(trie: PrefixTrie) -> tuple[tuple[Region, ...], ...]:
    """Return one region a source for each value. Raises SectionError."""
    strings = _decode_strings(trie.section("strings"))
    words = trie.section("values").cast("Q")
    distinct = array("Q", dict.fromkeys(words))
    numbers = memoryview(distinct).cast("B").cast("I")
    if max(numbers) >= len(strings):
        raise SectionError("a value names a string that does not exist")
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    regions = [Region(strings[country], strings[subdivision]) for country, subdivision in pairs]
    answers = map(dict(zip(distinct, regions, strict=True)).__getitem__, words)
    values = tuple(zip(*[answers] * trie.source_count, strict=True))
    if set(values[0]) != {NOBODY}:
        raise SectionError("value 0 is not 'nobody knows it'")
    return values


def visible_subdivisions(values: Iterable[tuple[Region, ...]]) -> list[frozenset[str]]:
    """Return, for each source, the subdivision codes that it answers with somewhere."""
    columns = (set(map(attrgetter("subdivision_code"), column)) for column in zip(*values, strict=True))
    return [frozenset(codes - {None}) for codes in columns]


def _decode_strings(section: memoryview) -> list[str | None]:
    """Return the strings by their number; number 0 is None."""
    count = section[:4].cast("I")[0] if len(section) >= 4 else 0
    if len(section) < 4 + 4 * count:
        raise SectionError("the string table is shorter than it says")
    ends = [0, *section[4 : 4 + 4 * count].cast("I")]
    text = section[4 + 4 * count :]
    if ends != sorted(ends) or ends[-1] != len(text):
        raise SectionError("the strings do not fill their table")
    try:
        return [None, *(str(text[start:end], "utf-8") for start, end in pairwise(ends))]
    except UnicodeDecodeError:
        raise SectionError("a string is not UTF-8") from None


def encode_origin(origin: Origin) -> bytes:
    """Return the section of sources: JSON with sorted keys. The visible subdivisions are not in it, the values say them."""
    rows = [
        {
            "name": source.name,
            "files": source.files,
            "database_type": source.database_type,
            "build_epoch": source.build_epoch,
            "sha256": source.sha256,
            "attribution": source.attribution,
        }
        for source in origin.sources
    ]
    document = {"catalogue_sha256": origin.catalogue_sha256, "sources": rows}
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def decode_origin(trie: PrefixTrie) -> Origin:
    """Return what an image was compiled from, without the visible subdivisions. Raises SectionError."""
    try:
        document = json.loads(bytes(trie.section("sources")))
        origin = Origin(tuple(map(_facts, document["sources"])), str(document["catalogue_sha256"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise SectionError(f"the list of sources cannot be read ({type(error).__name__})") from None
    if len(origin.sources) != trie.source_count:
        raise SectionError("the list of sources is not as long as a value")
    return origin


def _facts(row: dict[str, object]) -> SourceFacts:
    name, files, database_type, sha256 = row["name"], row["files"], row["database_type"], row["sha256"]
    build_epoch, attribution = row["build_epoch"], row["attribution"]
    if not (isinstance(name, str) and isinstance(database_type, str) and isinstance(sha256, str)):
        raise TypeError
    if not isinstance(build_epoch, int) or not isinstance(files, list) or not isinstance(attribution, str | None):
        raise TypeError
    if not 0 <= build_epoch < BUILD_EPOCH_LIMIT:
        raise ValueError
    return SourceFacts(name, tuple(map(str, files)), database_type, build_epoch, sha256, attribution, frozenset())
