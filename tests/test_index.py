"""From databases to answers: compiling, opening, refusing, and serving from memory that nobody can change."""

from __future__ import annotations

import ipaddress
import json
import mmap
import os
import random
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import maxminddb
import pytest

from _fastpath import address, prefix_trie
from regionresolver.errors import ImageError
from regionresolver.index import Index, Source, compile_sources, private_copy, read_image, verify
from regionresolver.model import Region
from regionresolver.sources.catalogue import Catalogue
from tests.mmdb_builder import build_mmdb
from tests.reference.tries import Transitions, longest_match, near, transitions_of

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Mapping

    from _fastpath.address import Canonical

CATALOGUE = Catalogue.load()
EMBEDDED = Path(__file__).parents[1] / "regionresolver" / "data" / "embedded.mmdb"
NOBODY = Region(None, None)
CRIMEA = Region("UA", "UA-43")

FIRST = {"1.0.0.0/24": CRIMEA, "1.0.1.0/24": Region("FR", None), "2a02:10::/32": CRIMEA, "2a02:10::1/128": Region("DE", None)}
SECOND = {"1.0.0.0/25": Region("RU", "UA-43"), "1.0.2.0/24": Region("FR", None), "fc00::/7": Region("CU", None)}


@dataclass
class Networks:
    """What a source answers, in the form that the index takes."""

    starts_hi: array[int]
    starts_lo: array[int]
    answers: array[int]
    regions: tuple[Region, ...]


@dataclass
class FakeSource:
    """A source whose networks are a table."""

    table: Mapping[str, Region]
    name: str = "fake"
    files: tuple[str | Path, ...] = ("/some/where/fake.mmdb",)
    database_type: str = "Fake-City"
    build_epoch: int = 1_780_000_000
    sha256: str = "ab" * 32
    attribution: str | None = None
    regions: tuple[Region, ...] = field(init=False)
    transitions: Transitions = field(init=False)

    def __post_init__(self) -> None:
        self.regions = (NOBODY, *dict.fromkeys(self.table.values()))
        self.numbers = {network: self.regions.index(region) for network, region in self.table.items()}
        self.transitions = transitions_of(self.numbers)

    def networks(self, catalogue: Catalogue) -> Networks:
        return Networks(*self.transitions.arrays(), self.regions)

    def record(self, canonical: Canonical) -> tuple[str, object] | None:
        return None

    def answer(self, canonical: Canonical) -> Region:
        return self.regions[longest_match(self.numbers, canonical.value)]


def canonicals(starts: set[int]) -> list[Canonical]:
    return [address.from_int(number, 4 if number < 2**32 else 6) for number in near(starts)]


def answers_of(index: Index, canonical: Canonical) -> tuple[Region, ...]:
    return index.values[index.trie.find(canonical)]


def opened(*sources: FakeSource) -> Index:
    return Index.open(compile_sources(sources, CATALOGUE), sources)


# ---- compiling ----


def test_the_value_of_a_network_holds_every_source_s_answer() -> None:
    sources = (FakeSource(FIRST, "first"), FakeSource(SECOND, "second"))
    index = opened(*sources)
    for canonical in canonicals({start for source in sources for start in source.transitions.starts}):
        assert answers_of(index, canonical) == tuple(source.answer(canonical) for source in sources), str(canonical)
    assert index.values[0] == (NOBODY, NOBODY)
    assert len(set(index.values)) == len(index.values)
    index.close()


def test_the_order_of_the_sources_is_the_order_of_the_answers() -> None:
    canonical = address.parse("1.0.0.1")
    assert canonical is not None
    first, second = FakeSource(FIRST, "first"), FakeSource(SECOND, "second")
    assert answers_of(opened(first, second), canonical) == (CRIMEA, Region("RU", "UA-43"))
    assert answers_of(opened(second, first), canonical) == (Region("RU", "UA-43"), CRIMEA)


def test_a_source_that_knows_nothing() -> None:
    index = opened(FakeSource({}))
    assert index.values == ((NOBODY,),)
    assert index.sources[0].subdivisions == frozenset()


def test_equal_inputs_give_equal_bytes_wherever_the_files_lie() -> None:
    here = FakeSource(FIRST, files=("/here/city.mmdb",))
    there = FakeSource(FIRST, files=(Path("there") / "city.mmdb",))
    assert compile_sources([here], CATALOGUE) == compile_sources([there], CATALOGUE)
    assert compile_sources([here], CATALOGUE) != compile_sources([FakeSource(SECOND, files=here.files)], CATALOGUE)


def test_what_an_image_says_of_its_sources() -> None:
    attribution = "IP data by Étoile \N{ROCKET}"
    sources = [FakeSource(FIRST, "one", attribution=attribution), FakeSource(SECOND, "two", ("a.mmdb", "b.mmdb"))]
    image = compile_sources(sources, CATALOGUE)
    index = Index.open(image)
    one, two = index.sources
    assert (one.name, one.files, one.database_type, one.build_epoch) == ("one", ("fake.mmdb",), "Fake-City", 1_780_000_000)
    assert (one.sha256, one.attribution, one.subdivisions) == ("ab" * 32, attribution, frozenset({"UA-43"}))
    assert (two.files, two.attribution, two.subdivisions) == (("a.mmdb", "b.mmdb"), None, frozenset({"UA-43"}))
    assert index.catalogue_sha256 == CATALOGUE.sha256
    assert index.size_bytes == len(image)
    assert index.sha256 == verify(image).sha256
    assert index.records(address.from_int(2**24, 4)) == []


def test_progress_is_told_from_nothing_to_everything() -> None:
    told: list[tuple[str, int, int]] = []
    compile_sources([FakeSource(FIRST, "one"), FakeSource(SECOND, "two")], CATALOGUE, lambda *step: told.append(step))
    assert [done for _, done, _ in told] == [0, 1, 2, 3, 4, 5]
    assert {total for _, _, total in told} == {5}
    assert told[1][0] == "two: reading the networks"


@pytest.mark.parametrize("count", [0, 17])
def test_no_sources_and_too_many(count: int) -> None:
    with pytest.raises(ImageError, match="1 to 16 can be merged"):
        compile_sources([FakeSource({})] * count, CATALOGUE)


# ---- with real databases ----


def write_database(path: Path, networks: Mapping[str, object], **options: int) -> Path:
    path.write_bytes(build_mmdb(networks, **options))  # type: ignore[arg-type]
    return path


def test_records_come_from_the_private_copy_of_each_source(tmp_path: Path) -> None:
    nested, flat = {"country": {"iso_code": "FR"}}, {"country_code": "DE"}
    one = write_database(tmp_path / "one.mmdb", {"1.0.0.0/24": nested, "2a00::/16": flat})
    two = write_database(tmp_path / "two.mmdb", {"1.0.0.0/8": {"country_code": "CU", "city": "Havana"}}, ip_version=4)
    sources = [Source.open(one), Source.open(two)]
    index = Index.open(compile_sources(sources, CATALOGUE), sources)
    one.write_bytes(b"nonsense")
    two.unlink()
    texts = ("1.0.0.1", "::ffff:1.2.3.4", "2a00::1", "9.9.9.9")
    found = {text: index.records(canonical) for text in texts if (canonical := address.parse(text))}
    assert found["1.0.0.1"] == [
        ("one", "1.0.0.0/24", nested),
        ("two", "1.0.0.0/8", {"country_code": "CU", "city": "Havana"}),
    ]
    assert found["::ffff:1.2.3.4"] == [("two", "1.0.0.0/8", {"country_code": "CU", "city": "Havana"})]
    assert found["2a00::1"] == [("one", "2a00::/16", flat)]
    assert found["9.9.9.9"] == []
    index.close()


def test_an_image_is_opened_only_with_the_sources_it_was_compiled_from(tmp_path: Path) -> None:
    one = Source.open(write_database(tmp_path / "one.mmdb", {"1.0.0.0/24": {"country_code": "FR"}}))
    two = Source.open(write_database(tmp_path / "two.mmdb", {"1.0.0.0/24": {"country_code": "DE"}}))
    image = compile_sources([one, two], CATALOGUE)
    Index.open(image, [one, two]).close()
    for others in ([two, one], [one], [one, one]):
        with pytest.raises(ImageError, match="compiled from other databases"):
            Index.open(image, others)


@pytest.mark.skipif(not EMBEDDED.exists(), reason="the embedded database is not there")
def test_the_embedded_database_against_maxminddb() -> None:
    source = Source.open(EMBEDDED)
    networks = source.networks(CATALOGUE)
    image = compile_sources([source], CATALOGUE)
    index = Index.open(private_copy(image), [source])
    numbers = random.Random(7)
    places = numbers.sample(range(len(networks.starts_hi)), 4000)
    starts = {networks.starts_hi[place] << 64 | networks.starts_lo[place] for place in places}
    addresses = canonicals(starts) + [address.from_int(numbers.getrandbits(32), 4) for _ in range(4000)]
    answers = [index.values[value][0] for value in index.trie.find_many(addresses)]
    with maxminddb.open_database(EMBEDDED) as reader:
        for canonical, answer in zip(addresses, answers, strict=True):
            ip = (ipaddress.IPv4Address if canonical.family == 4 else ipaddress.IPv6Address)(canonical.value)
            assert answer == told_by(reader.get(ip)), str(ip)
    assert sum(answer != NOBODY for answer in answers) > 4000
    assert sum(answer.subdivision_code is not None for answer in answers) > 5
    index.close()


def told_by(record: object) -> Region:
    """Return the region of a record of the embedded database: the country, and the catalogue's code of its subdivision."""
    if not isinstance(record, dict):
        return NOBODY
    country = record["country"]["iso_code"]
    for row in record.get("subdivisions", ()):
        name = row.get("names", {}).get("en")
        return Region(country, CATALOGUE.canonical(country, row.get("iso_code"), name)[1])
    return Region(country, None)


# ---- refusing ----

IMAGE = compile_sources([FakeSource(FIRST, "first"), FakeSource(SECOND, "second")], CATALOGUE)


def resealed(name: str, change: Callable[[bytes], bytes]) -> bytes:
    """Change one section, with right checksums."""
    trie = prefix_trie.PrefixTrie(IMAGE)
    sections = {section: bytes(trie.section(section)) for section in trie.section_names}
    sections[name] = change(sections[name])
    return prefix_trie.seal(list(sections.values()), trie.source_count, trie.value_count)


def with_header(offset: int, content: bytes) -> bytes:
    header = bytearray(IMAGE[:188])
    header[offset : offset + len(content)] = content
    return bytes(header) + struct.pack("=I", zlib.crc32(header)) + IMAGE[192:]


def sources_as(change: Callable[[dict[str, object]], object]) -> Callable[[bytes], bytes]:
    def changed(section: bytes) -> bytes:
        document = json.loads(section)
        change(document)
        return json.dumps(document).encode()

    return changed


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "truncated: it is empty"),
        (IMAGE[:100], "truncated: shorter than a header"),
        (IMAGE[:-64], "truncated: .* of .* bytes"),
        (b"\xab\xcd\xefMaxMind.com" * 40, "foreign: not an index image"),
        (IMAGE[:8] + IMAGE[8:12][::-1] + IMAGE[12:], "foreign: built on a machine of the other byte order"),
        (with_header(12, struct.pack("=I", 7)), "newer: format version 7"),
        (IMAGE[:30] + bytes([IMAGE[30] ^ 1]) + IMAGE[31:], "damaged: the checksum of the header is wrong"),
        (IMAGE[:-70] + bytes([IMAGE[-70] ^ 1]) + IMAGE[-69:], "damaged: the checksum of the body is wrong"),
        (resealed("direct", lambda section: b"\xff" * len(section)), "damaged: a slot of the direct table"),
        (resealed("values", lambda section: section[:-1] + b"\x7f"), "damaged: a value names a string that does not exist"),
        (resealed("values", lambda section: section[16:32] * (len(section) // 16)), "damaged: value 0 is not 'nobody knows it'"),
        (resealed("strings", lambda _: b""), "damaged: .* string"),
        (resealed("strings", lambda section: b"\xff\xff" + section[2:]), "damaged: the string table is shorter than it says"),
        (resealed("strings", lambda section: section + b"x"), "damaged: the strings do not fill their table"),
        (resealed("strings", lambda section: section[:-1] + b"\xff"), "damaged: a string is not UTF-8"),
        (resealed("sources", lambda _: b"{"), "damaged: the list of sources cannot be read"),
        (resealed("sources", lambda _: b"[" * 100_000), "damaged: the list of sources cannot be read"),
        (resealed("sources", lambda _: b"[]"), "damaged: the list of sources cannot be read"),
        (resealed("sources", sources_as(lambda document: document.update(sources=[]))), "damaged: the list .* not as long"),
        (resealed("sources", sources_as(lambda document: document.pop("catalogue_sha256"))), "damaged: the list .* cannot be"),
        (resealed("sources", sources_as(lambda document: document.update(sources=[{}]))), "damaged: the list .* cannot be"),
    ],
)
def test_an_image_that_cannot_be_used_is_refused_with_its_reason(image: bytes, reason: str) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        Index.open(image)
    assert caught.value.file == "index image"
    assert caught.value.remedy
    if image:
        with pytest.raises(ImageError, match=rf"/cache/image: {reason}"):
            Index.open(memoryview(image), file="/cache/image")


@pytest.mark.parametrize("key", ["name", "files", "database_type", "build_epoch", "sha256", "attribution"])
def test_a_source_of_the_wrong_types_is_refused(key: str) -> None:
    def change(document: dict[str, object]) -> None:
        rows = document["sources"]
        assert isinstance(rows, list)
        rows[0][key] = {}

    with pytest.raises(ImageError, match="list of sources cannot be read"):
        Index.open(resealed("sources", sources_as(change)))


def test_a_wrong_sha256_is_found_by_verify() -> None:
    image = with_header(24, bytes(32))
    Index.open(image).close()
    with pytest.raises(ImageError, match="the SHA-256 of the body is wrong"):
        verify(image)


def test_any_damage_is_refused() -> None:
    numbers = random.Random(4)
    for _ in range(200):
        image = bytearray(IMAGE)
        for _ in range(numbers.choice((1, 2, 8))):
            image[numbers.choice((numbers.randrange(192), numbers.randrange(len(image))))] ^= numbers.randrange(1, 256)
        if image == IMAGE:
            continue
        with pytest.raises(ImageError):
            Index.open(bytes(image))


def test_any_truncation_is_refused() -> None:
    numbers = random.Random(5)
    for size in (*range(0, 200, 7), *(numbers.randrange(len(IMAGE)) for _ in range(50))):
        with pytest.raises(ImageError, match="truncated"):
            Index.open(IMAGE[:size])


# ---- private memory ----


def test_nobody_can_change_a_private_copy() -> None:
    before = set(os.listdir("/proc/self/fd"))
    mapped = private_copy(IMAGE)
    assert mapped[:] == IMAGE
    with pytest.raises(TypeError, match="readonly"):
        mapped[0] = 0
    with pytest.raises(TypeError, match="readonly"):
        mapped.resize(1)
    descriptor = next(
        int(number)
        for number in sorted(set(os.listdir("/proc/self/fd")) - before)
        if "regionresolver-index" in os.path.realpath(f"/proc/self/fd/{number}")
    )
    for change in (
        lambda: os.write(descriptor, b"x"),
        lambda: os.ftruncate(descriptor, 10),
        lambda: os.ftruncate(descriptor, 2 * len(IMAGE)),
        lambda: mmap.mmap(descriptor, 0),
    ):
        with pytest.raises(PermissionError):
            change()
    mapped.close()


def test_an_image_file_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "index.image"
    path.write_bytes(IMAGE)
    mapped = read_image(path)
    path.write_bytes(b"")
    index = Index.open(mapped, file=path)
    assert index.values == Index.open(IMAGE).values
    for missing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(ImageError, match="cannot be read"):
            read_image(missing)


def test_bytes_are_served_from_sealed_memory_and_a_mapping_as_it_is() -> None:
    mapped = private_copy(IMAGE)
    index = Index.open(mapped)
    with pytest.raises(BufferError):
        mapped.close()
    index.close()
    mapped.close()
    before = len(os.listdir("/proc/self/fd"))
    index = Index.open(IMAGE)
    assert len(os.listdir("/proc/self/fd")) == before + 2, "the mapping's own, and one to hand it over"
    index.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_checked_image_is_opened_without_reading_its_body() -> None:
    damaged = resealed("sources", lambda _: b"{")
    index = Index.open(damaged, check=False)
    assert index.trie.find_parts(4, 0, 2**24) != 0
    with pytest.raises(ImageError, match="the list of sources cannot be read"):
        _ = index.sources
    with pytest.raises(ImageError, match="truncated"):
        Index.open(damaged[:-1], check=False)
