"""Lookups from Python: every form of one address and of many against the parser and the table that are plainly right."""

from __future__ import annotations

import ctypes
import gc
import ipaddress
import random
import re
import struct
import sys
import threading
import time
import types
import weakref
from array import array
from contextlib import contextmanager
from importlib.resources import files
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import maxminddb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from _fastpath import image_builder, prefix_trie
from _fastpath.lookup import Lookup
from _fastpath.prefix_trie import PrefixTrie
from _fastpath.value_ids import ValueIds
from regionresolver import Resolver
from regionresolver.errors import InvalidAddressError
from regionresolver.index import Index, Source, compile_sources, private_copy
from regionresolver.model import Region
from regionresolver.sources.catalogue import Catalogue
from tests.paths import ROOT
from tests.reference import addresses as reference
from tests.reference.tries import Transitions, transitions_of
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from _typeshed import ReadableBuffer

DESIGN = ROOT / "docs" / "design.md"
EMBEDDED = Path(str(files("regionresolver.data") / "embedded.mmdb"))
WORLD = transitions_of(
    {
        "1.0.0.0/8": 1,
        "1.2.3.4/32": 2,
        "8.8.0.0/16": 3,
        "8.8.8.0/24": 4,
        "8.8.8.8/31": 5,
        "200.0.0.0/5": 6,
        "255.255.255.255/32": 7,
        "2001:db8::/32": 1,
        "2001:db8:0:1::/64": 2,
        "2001:db8:0:1:8000::/65": 3,
        "2001:db8:0:1:ffff:ffff:ffff:ffff/128": 4,
        "2a02::/16": 5,
        "2a02:10::/48": 6,
        "fc00::/7": 7,
        "fe80::1/128": 1,
    }
)
TEXTS = [
    "0.0.0.0",
    "1.2.3.4",
    "1.2.3.5",
    "8.8.7.255",
    "8.8.8.7",
    "8.8.8.8",
    "8.8.8.9",
    "9.9.9.9",
    "203.0.113.77",
    "255.255.255.255",
    "::",
    "::1",
    "2001:db8::",
    "2001:db8:0:1::1",
    "2001:db8:0:1:8000::",
    "2001:db8:0:1:ffff:ffff:ffff:ffff",
    "2001:0db8:0000:0001:ffff:ffff:ffff:fffe",
    "2a02:10::5",
    "2A02:20::",
    "fd00::1",
    "fe80::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255",
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "2002:808:808::1",
    "64:ff9b::8.8.8.8",
    "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
]
BAD_TEXTS = ["", " ", "1.2.3", "1.2.3.4 ", "01.2.3.4", "1.2.3.256", "1.2.3.4\r", "1.2.3.4/32", "::g", "fe80::1%eth0", "8" * 100]
BAD_OTHERS: list[object] = [None, True, 1.5, -1, 2**128, b"", b"12345", b"1.2.3.4", IPv6Address("fe80::1%1"), [], "1.2.3.4\u0660"]

ADDRESSES = st.one_of(
    st.sampled_from(TEXTS),
    st.integers(0, 2**32 - 1).map(lambda number: str(IPv4Address(number))),
    st.integers(0, 2**128 - 1).map(lambda number: str(IPv6Address(number))),
    st.integers(0, 2**96 - 1).map(lambda number: str(IPv6Address(0x20010DB8 << 96 | number))),
)
LINES = ADDRESSES | st.sampled_from(BAD_TEXTS) | st.text("0123456789abcdef:.", max_size=50)


class RefusedError(ValueError):
    """What these lookups raise."""


class Answer:
    """What a value id stands for: any object does."""


def image_of(transitions: Transitions, count: int) -> bytes:
    sections = image_builder.build(*transitions.arrays(), count)
    return prefix_trie.seal([*sections, bytes(8 * count), b"", b""], 1, count)


def lookup_in(transitions: Transitions, count: int) -> Lookup[Answer]:
    trie = PrefixTrie(image_of(transitions, count))
    prefix_trie.verify(trie)
    return Lookup(trie, [Answer() for _ in range(count)], RefusedError)


SMALL = lookup_in(WORLD, 8)
WIDE = lookup_in(WORLD, 0x10000)
"""With one value more than ids of two bytes can tell from what is missing."""


@pytest.fixture(params=[SMALL, WIDE], ids=["ids of two bytes", "ids of four bytes"])
def lookup(request: pytest.FixtureRequest) -> Lookup[Answer]:
    found: Lookup[Answer] = request.param
    return found


def expected_id(text: str, lookup: Lookup[Answer]) -> int:
    """The value id of a text, the one behind the last for what is no address."""
    parsed = reference.parse(text)
    return len(lookup.values) - 1 if parsed is None else WORLD.at(parsed.value)


def expected_ids(texts: Sequence[str], lookup: Lookup[Answer]) -> list[int]:
    return [expected_id(text, lookup) for text in texts]


def packed(text: str) -> bytes:
    """The 16 bytes of an address, an IPv4 one mapped."""
    address = ipaddress.ip_address(text)
    return address.packed if len(address.packed) == 16 else bytes(10) + b"\xff\xff" + address.packed


# ---- one ----


@pytest.mark.parametrize("text", TEXTS)
def test_one_address_in_every_form(text: str, lookup: Lookup[Answer]) -> None:
    answer = lookup.values[expected_id(text, lookup)]
    address = ipaddress.ip_address(text)
    for form in (text, address.packed, address):
        assert lookup.lookup(form) is answer
    assert lookup.lookup(packed(text)) is answer
    if isinstance(address, IPv4Address) or int(address) >= 2**32:
        assert lookup.lookup(int(address)) is answer


def test_subclasses_are_what_they_are_classes_of() -> None:
    class Text(str):
        __slots__ = ()

    class Number(int):
        pass

    interface = ipaddress.ip_interface("8.8.8.8/16")
    for form in (Text("8.8.8.8"), Number(0x08080808), interface):
        assert SMALL.lookup(form) is SMALL.lookup("8.8.8.8")


@pytest.mark.parametrize("bad", [*BAD_TEXTS, *BAD_OTHERS], ids=repr)
def test_what_is_no_address_raises_what_was_asked_for(bad: Any) -> None:
    with pytest.raises(RefusedError):
        SMALL.lookup(bad)


def test_an_error_of_an_object_is_its_own() -> None:
    class Broken(IPv4Address):
        @property
        def packed(self) -> bytes:
            raise LookupError("broken")

    with pytest.raises(LookupError, match="broken"):
        SMALL.lookup(Broken("8.8.8.8"))
    with pytest.raises(LookupError, match="broken"):
        SMALL.lookup_many(["8.8.8.8", Broken("8.8.8.8")])


@given(LINES)
def test_any_text(text: str) -> None:
    place = expected_id(text, SMALL)
    if SMALL.values[place] is None:
        with pytest.raises(RefusedError):
            SMALL.lookup(text)
    else:
        assert SMALL.lookup(text) is SMALL.values[place]


# ---- lists ----


@settings(max_examples=200)
@given(st.lists(LINES, max_size=200))
def test_any_list(texts: list[str]) -> None:
    expected = [SMALL.values[place] for place in expected_ids(texts, SMALL)]
    assert SMALL.lookup_many(texts) == expected
    assert SMALL.lookup_many(tuple(texts)) == expected


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 128, 1000])
def test_lists_of_every_form(count: int, lookup: Lookup[Answer]) -> None:
    forms: list[object] = [*TEXTS, *BAD_TEXTS, *BAD_OTHERS, *map(packed, TEXTS), *map(ipaddress.ip_address, TEXTS), 2**32]
    mixed = random.Random(count).choices(forms, k=count)

    def one(form: Any) -> Answer | None:
        try:
            return lookup.lookup(form)
        except RefusedError:
            return None

    assert lookup.lookup_many(mixed) == [one(form) for form in mixed]


@pytest.mark.parametrize("place", [0, 1, 62, 63, 64, 127, 129])
@pytest.mark.parametrize("bad", ["", None, "1.2.3.4.5"])
def test_a_bad_entry_spoils_no_other(place: int, bad: str | None) -> None:
    texts: list[str | None] = ["8.8.8.8"] * 130
    texts[place] = bad
    answers = SMALL.lookup_many(texts)
    assert answers.pop(place) is None
    assert set(answers) == {SMALL.lookup("8.8.8.8")}


def test_a_list_may_change_while_its_own_items_are_asked() -> None:
    class Clearing(IPv4Address):
        @property
        def packed(self) -> bytes:
            addresses.clear()
            gc.collect()
            return b"\x08\x08\x08\x08"

    addresses: list[object] = [*[f"8.8.8.{number}" for number in range(100)], Clearing(0), *["9.9.9.9"] * 100]
    answers = SMALL.lookup_many(addresses)
    assert addresses == []
    assert len(answers) == 201
    assert answers[100] is SMALL.lookup("8.8.8.8")


@pytest.mark.parametrize("wrong", ["1.2.3.4", iter(["1.2.3.4"]), {"1.2.3.4"}, b"1.2.3.4", None, 7], ids=repr)
def test_only_lists_and_tuples_are_lists(wrong: Any) -> None:
    with pytest.raises(TypeError, match="a list or a tuple"):
        SMALL.lookup_many(wrong)


# ---- lines ----


@settings(max_examples=200)
@given(st.lists(LINES, max_size=200), st.booleans())
def test_any_lines(texts: list[str], ends: bool) -> None:
    texts = [text for text in texts if "\n" not in text]
    text = "\n".join(texts) + "\n" * (ends or texts[-1:] == [""])
    assert list(SMALL.lookup_lines(text.encode())) == expected_ids(text.removesuffix("\n").split("\n") if text else [], SMALL)


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_lines_in_any_buffer(buffer: Callable[[bytes], ReadableBuffer], count: int, lookup: Lookup[Answer]) -> None:
    texts = random.Random(count).choices(TEXTS + BAD_TEXTS, k=count)
    text = "".join(f"{text}\n" for text in texts).encode()
    assert list(lookup.lookup_lines(buffer(text))) == expected_ids(texts, lookup)


@pytest.mark.parametrize(
    ("text", "count"),
    [(b"", 0), (b"\n", 1), (b"\n\n", 2), (b"\n" * 1000, 1000), (b"x" * 1000, 1), (b"\r\n", 1), (b"\x00", 1), (b"\xff\n\xfe", 2)],
)
def test_lines_that_are_no_address(text: bytes, count: int) -> None:
    assert list(SMALL.lookup_lines(text)) == [8] * count


def test_lines_must_be_bytes_in_a_row() -> None:
    with pytest.raises(TypeError):
        SMALL.lookup_lines("1.2.3.4")  # type: ignore[arg-type]
    with pytest.raises(BufferError, match="contiguous"):
        SMALL.lookup_lines(memoryview(b"11..22")[::2])


# ---- packed ----


IPV4_TEXTS = [text for text in TEXTS if ":" not in text] * 20
IPV4_NUMBERS = [int(IPv4Address(text)) for text in IPV4_TEXTS]
PACKED_TEXTS = TEXTS * 9


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 150])
def test_packed_ipv4(count: int, lookup: Lookup[Answer]) -> None:
    numbers = array("I", IPV4_NUMBERS[:count])
    expected = expected_ids(IPV4_TEXTS[:count], lookup)
    assert list(lookup.lookup_packed(numbers)) == expected
    assert list(lookup.lookup_packed(memoryview(numbers))) == expected
    shifted = bytearray(b"x" + numbers.tobytes())
    assert list(lookup.lookup_packed(memoryview(shifted)[1:].cast("I"))) == expected, "not at a multiple of four"


@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_packed_ipv6(count: int, lookup: Lookup[Answer]) -> None:
    raw = b"".join(map(packed, PACKED_TEXTS[:count]))
    ids = lookup.lookup_packed(memoryview(raw).cast("B", [count, 16]))
    assert list(ids) == expected_ids(PACKED_TEXTS[:count], lookup)


@pytest.mark.parametrize(
    "wrong",
    [
        b"\x08\x08\x08\x08",
        array("i", [1]),
        array("H", [1]),
        array("Q", [1]),
        array("f", [1.0]),
        memoryview(bytes(32)).cast("B", [4, 8]),
        memoryview(bytes(32)).cast("B", [2, 4, 4]),
        memoryview(bytes(32)).cast("b", [2, 16]),
        memoryview(bytes(64)).cast("I", [4, 4]),
    ],
    ids=lambda wrong: f"{memoryview(wrong).format}{memoryview(wrong).shape}",
)
def test_other_buffers_are_refused(wrong: ReadableBuffer) -> None:
    with pytest.raises(TypeError, match="uint32 of the shape"):
        SMALL.lookup_packed(wrong)


def test_buffers_with_gaps_are_refused() -> None:
    with pytest.raises(ValueError, match="contiguous"):
        SMALL.lookup_packed(memoryview(array("I", range(10)))[::2])


def test_numpy_arrays_in_and_out(lookup: Lookup[Answer]) -> None:
    numpy = pytest.importorskip("numpy")
    numbers = numpy.array(IPV4_NUMBERS, dtype=numpy.uint32)
    found = numpy.asarray(lookup.lookup_packed(numbers))
    assert found.dtype == (numpy.uint16 if lookup is SMALL else numpy.uint32)
    assert found.tolist() == expected_ids(IPV4_TEXTS, lookup)
    names = numpy.array([f"name {place}" for place in range(len(lookup.values))])
    assert names[found].tolist() == [f"name {place}" for place in found]
    raw = numpy.frombuffer(b"".join(map(packed, PACKED_TEXTS)), dtype=numpy.uint8).reshape(-1, 16)
    assert numpy.asarray(lookup.lookup_packed(raw)).tolist() == expected_ids(PACKED_TEXTS, lookup)
    assert len(lookup.lookup_packed(numpy.empty((0, 16), numpy.uint8))) == 0
    assert len(lookup.lookup_packed(numpy.empty(0, numpy.uint32))) == 0
    for gaps in (numbers[::2], raw[::2], raw[:, ::-1], numpy.asfortranarray(raw)):
        with pytest.raises(ValueError, match="contiguous"):
            lookup.lookup_packed(gaps)
    for order, refused in (("<", sys.byteorder == "big"), (">", sys.byteorder == "little")):
        swapped = numbers.astype(f"{order}u4")
        if refused:
            with pytest.raises(TypeError, match="uint32 of the shape"):
                lookup.lookup_packed(swapped)
        else:
            assert list(lookup.lookup_packed(swapped)) == expected_ids(IPV4_TEXTS, lookup)


# ---- ids ----


def test_ids_are_a_sequence_and_a_read_only_buffer() -> None:
    ids = SMALL.lookup_lines(b"8.8.8.8\n9.9.9.9\nx\n")
    assert (len(ids), list(ids), ids[0], ids[-1], list(ids[1:])) == (3, [5, 0, 8], 5, 8, [0, 8])
    assert ids.missing == 8 == len(SMALL.values) - 1
    assert SMALL.values[ids.missing] is None
    assert repr(ids) == "<3 value ids of 2 bytes>"
    view = memoryview(ids)
    assert (view.format, view.itemsize, view.shape, view.readonly) == ("H", 2, (3,), True)
    assert memoryview(WIDE.lookup_lines(b"x")).tolist() == [0x10000]
    with pytest.raises(IndexError):
        ids[3]
    with pytest.raises(TypeError):
        view[0] = 1
    with pytest.raises((BufferError, TypeError)):
        struct.pack_into("H", ids, 0, 1)


def test_ids_live_as_long_as_their_views() -> None:
    view = memoryview(SMALL.lookup_lines(b"8.8.8.8\n" * 10_000))
    gc.collect()
    assert view.tolist() == [5] * 10_000


def test_ids_come_from_lookups_only() -> None:
    with pytest.raises(TypeError, match="made by a batch"):
        ValueIds()
    kind: Any = ValueIds
    empty = kind.__new__(kind)
    assert list(empty) == []
    assert empty.__arrow_c_array__() is not None


# ---- the lookup itself ----


def test_there_must_be_one_value_for_each_id() -> None:
    trie = PrefixTrie(image_of(WORLD, 8))
    for count in (0, 7, 9):
        with pytest.raises(ValueError, match=f"{count} values for the 8 value ids"):
            Lookup(trie, [None] * count, RefusedError)
    assert Lookup(trie, range(8), RefusedError).lookup("8.8.8.8") == 5


def test_references_are_counted() -> None:
    answers = [Answer() for _ in range(8)]
    lookup = Lookup(PrefixTrie(image_of(WORLD, 8)), answers, RefusedError)
    before = [sys.getrefcount(answer) for answer in answers]
    for _ in range(100):
        lookup.lookup("8.8.8.8")
        lookup.lookup_many(["8.8.8.8", "9.9.9.9", None])
    assert [sys.getrefcount(answer) for answer in answers] == before
    kept = lookup.lookup_many(["8.8.8.8"] * 70)
    assert sys.getrefcount(answers[5]) == before[5] + 70
    del kept, lookup
    gc.collect()
    assert [sys.getrefcount(answer) for answer in answers] == [count - 1 for count in before]


class Generation:
    """A lookup in sealed memory of its own, whose answers say whose they are."""

    def __init__(self, number: int) -> None:
        self.number = number
        content = private_copy(IMAGES[number % 2])
        self.mapping = weakref.ref(content)
        self.lookup: Lookup[tuple[int, int]] = Lookup(PrefixTrie(content), [(number, place) for place in range(8)], RefusedError)

    def expected(self, places: Sequence[int]) -> list[tuple[int, int] | None]:
        """The answers for value ids of the even generations; the odd ones have the ids the other way round."""
        own = [place if place == 8 or self.number % 2 == 0 else 7 - place for place in places]
        return [None if place == 8 else (self.number, place) for place in own]


IMAGES = [image_of(WORLD, 8), image_of(Transitions(WORLD.starts, tuple(7 - value for value in WORLD.values)), 8)]


@contextmanager
def threads_of(
    read: Callable[[], object], count: int, failures: list[str], switch_s: float = 1e-4
) -> Iterator[Callable[[], int]]:
    """Run `read` again and again in some threads that change often; yields what tells the turns of the slowest one."""
    turns = [0] * count
    stop = threading.Event()

    def repeat(number: int) -> None:
        try:
            while not stop.is_set():
                read()
                turns[number] += 1
        except BaseException as error:  # noqa: BLE001 - a thread that dies must fail the test
            failures.append(repr(error))

    threads = [threading.Thread(target=repeat, args=(number,)) for number in range(count)]
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(switch_s)
    try:
        for thread in threads:
            thread.start()
        yield lambda: min(turns)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(usual_s)


def test_threads_look_up_while_the_index_is_swapped_and_freed() -> None:
    """Every answer, of every form, is the right one of the generation that was asked; what nobody asks any more is freed."""
    texts = (TEXTS + BAD_TEXTS) * 5
    lines = "\n".join(texts).encode()
    places = expected_ids(texts, SMALL)
    ipv4_places = expected_ids(IPV4_TEXTS, SMALL)
    numbers = array("I", IPV4_NUMBERS)
    current = [Generation(0)]
    mappings = [current[0].mapping]
    failures: list[str] = []

    def read() -> None:
        generation = current[0]
        lookup = generation.lookup
        found = {
            "list": lookup.lookup_many(texts),
            "lines": [lookup.values[place] for place in lookup.lookup_lines(lines)],
            "one": [lookup.lookup(text) if place != 8 else None for text, place in zip(texts, places, strict=True)],
        }
        failures.extend(form for form, answers in found.items() if answers != generation.expected(places))
        packed_answers = [lookup.values[place] for place in lookup.lookup_packed(numbers)]
        if packed_answers != generation.expected(ipv4_places):
            failures.append("packed")

    with threads_of(read, 6, failures) as slowest:
        deadline = time.monotonic() + 60
        while not failures and (len(mappings) < 100 or slowest() < 5) and time.monotonic() < deadline:
            current[0] = Generation(len(mappings))
            mappings.append(current[0].mapping)
            time.sleep(0.001)
        assert slowest() >= 5
    assert failures == []
    gc.collect()
    assert [number for number, mapping in enumerate(mappings) if mapping() is not None] == [current[0].number]


def test_threads_ask_resolvers_that_are_swapped_and_closed(tmp_path: Path) -> None:
    """The library's way of a reload: `close` while others still ask the old one."""
    city = str(city_database(tmp_path / "city.mmdb"))
    current = [Resolver.open()]
    regions = {current[0].generation: current[0].lookup("62.0.0.1")}
    failures: list[str] = []

    def read() -> None:
        resolver = current[0]
        wanted = regions[resolver.generation]
        answers = [resolver.lookup("62.0.0.1"), *resolver.lookup_many(["62.0.0.1"] * 100)]
        said_by = resolver.decide(ip="62.0.0.1").resolution.data
        if set(answers) != {wanted} or said_by != resolver.generation:
            failures.append(f"{resolver.generation}: {answers[0]}, said by {said_by}")

    with threads_of(read, 4, failures) as slowest:
        for turn in range(6):
            fresh = Resolver.open() if turn % 2 else Resolver.open(city)
            regions[fresh.generation] = fresh.lookup("62.0.0.1")
            old, current[0] = current[0], fresh
            old.close()
            wanted_turns = slowest() + 1
            while not failures and slowest() < wanted_turns:
                time.sleep(0.001)
    assert failures == []
    assert len(set(regions.values())) == 2
    current[0].close()


def test_what_needs_no_gil_uses_nothing_that_needs_one_and_is_told_of() -> None:
    """One module that does not say so turns the GIL of a free-threaded build on again, for all."""
    sources = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "_fastpath").glob("*.pyx")}
    marked = {name for name, source in sources.items() if "freethreading_compatible=True" in source.partition("\n")[0]}
    for name in marked:
        used = set(re.findall(r"^from _fastpath\.(\w+) c?import", sources[name], re.MULTILINE)) & set(sources)
        assert used <= marked, name
    text = DESIGN.read_text(encoding="utf-8")
    told = re.search(r"^Free-threaded builds(.*?) say that they need no GIL.*?\n\n", text, re.MULTILINE | re.DOTALL)
    assert told
    assert set(re.findall(r"`(\w+)`", told[1])) == marked
    assert set(sources) - marked == {
        "access", "batch", "decision_log", "engine", "lane", "load_client", "load_floor", "mmdb_walk", "overrides", "ping",
        "tally", "texts",
    }  # fmt: skip
    assert all(f"`{name}`" in told[0] for name in sources)


# ---- the embedded database ----


@pytest.fixture(scope="module")
def embedded() -> tuple[Lookup[Any], list[str]]:
    with maxminddb.open_database(EMBEDDED) as reader:
        rng = random.Random(3)
        texts = [str(IPv4Address(rng.getrandbits(32))) for _ in range(2000)]
        texts += [
            str(IPv6Address(rng.choice((0x2001, 0x2400, 0x2600, 0x2A00)) << 112 | rng.getrandbits(112))) for _ in range(2000)
        ]
        for text in tuple(texts):
            _, prefix_len = reader.get_with_prefix_len(text)
            network = ipaddress.ip_network(f"{text}/{prefix_len}", strict=False)
            texts += [str(network[0]), str(network[-1])]
    index = Index.open(compile_sources([Source.open(EMBEDDED)], Catalogue.load()))
    return Lookup(index.trie, [regions[0] for regions in index.values], RefusedError), texts


def test_the_embedded_database_as_maxminddb_reads_it(embedded: tuple[Lookup[Any], list[str]]) -> None:
    lookup, texts = embedded
    answers = lookup.lookup_many(texts)
    assert [lookup.values[place] for place in lookup.lookup_lines("\n".join(texts).encode())] == answers
    assert [lookup.lookup(text) for text in texts] == answers
    with maxminddb.open_database(EMBEDDED) as reader:
        for text, answer in zip(texts, answers, strict=True):
            parsed = reference.parse(text)
            assert parsed is not None
            record: Any = reader.get(ipaddress.ip_address(parsed.value) if parsed.family == 4 else text)
            assert answer.country_code == ((record or {}).get("country") or {}).get("iso_code"), text


# ---- Arrow ----


def columns_of(pa: Any) -> dict[str, Callable[[list[str | None]], Any]]:
    """Arrow arrays of the texts, None for a null; packed ones hold five bytes for what is no address."""

    def packs(texts: list[str | None]) -> list[bytes | None]:
        return [None if text is None else packed(text) if reference.parse(text) else b"wrong" for text in texts]

    return {
        "utf8": lambda texts: pa.array(texts, pa.string()),
        "large utf8": lambda texts: pa.array(texts, pa.large_string()),
        "utf8 view": lambda texts: pa.array(texts, pa.string_view()),
        "binary": lambda texts: pa.array(packs(texts), pa.binary()),
        "large binary": lambda texts: pa.array(packs(texts), pa.large_binary()),
        "binary view": lambda texts: pa.array(packs(texts), pa.binary_view()),
    }


COLUMNS = ["utf8", "large utf8", "utf8 view", "binary", "large binary", "binary view"]
ARROW_TEXTS: list[str | None] = [text for one in TEXTS for text in (one, "9.9.9.9", None, "bad", "8.8.8.8")]


def nulled(texts: Sequence[str | None], lookup: Lookup[Answer]) -> list[int | None]:
    """The ids with None for what is missing, as Arrow has them."""
    places = [None if text is None else expected_id(text, lookup) for text in texts]
    return [None if place == len(lookup.values) - 1 else place for place in places]


@pytest.mark.parametrize("kind", COLUMNS)
def test_arrow_arrays_whole_sliced_and_chunked(kind: str, lookup: Lookup[Answer]) -> None:
    pa = pytest.importorskip("pyarrow")
    column = columns_of(pa)[kind](ARROW_TEXTS)
    expected = nulled(ARROW_TEXTS, lookup)
    ids = pa.array(lookup.lookup_arrow(column))
    assert ids.type == (pa.uint16() if lookup is SMALL else pa.uint32())
    ids.validate(full=True)
    assert ids.to_pylist() == expected
    assert ids.null_count == expected.count(None)
    for first, count in ((0, 0), (1, 1), (3, 70), (64, 64), (7, 1000), (len(expected), 0)):
        part = pa.array(lookup.lookup_arrow(column.slice(first, count)))
        assert part.to_pylist() == expected[first : first + count]
    chunks = [column.slice(0, 5), column.slice(5, 0), column.slice(5, 60), column.slice(65)]
    chunked = pa.chunked_array(lookup.lookup_arrow(pa.chunked_array(chunks)))
    chunked.validate(full=True)
    assert chunked.to_pylist() == expected
    assert len(lookup.lookup_arrow(pa.chunked_array([], column.type))) == 0


@pytest.mark.parametrize("width", [4, 16])
def test_arrow_fixed_size_binary(width: int, lookup: Lookup[Answer]) -> None:
    pa = pytest.importorskip("pyarrow")
    texts = [text for text in TEXTS if width == 16 or ":" not in text]
    values = [IPv4Address(text).packed if width == 4 else packed(text) for text in texts]
    column = pa.array([*values, None, *values] * 4, pa.binary(width))
    expected = nulled([*texts, None, *texts] * 4, lookup)
    assert pa.array(lookup.lookup_arrow(column)).to_pylist() == expected
    assert pa.array(lookup.lookup_arrow(column.slice(5))).to_pylist() == expected[5:]


def test_arrow_numbers_and_nothing(lookup: Lookup[Answer]) -> None:
    pa = pytest.importorskip("pyarrow")
    column = pa.array([*IPV4_NUMBERS, None], pa.uint32())
    assert pa.array(lookup.lookup_arrow(column)).to_pylist() == nulled([*IPV4_TEXTS, None], lookup)
    assert pa.array(lookup.lookup_arrow(column.slice(3, 70))).to_pylist() == nulled(IPV4_TEXTS[3:73], lookup)
    assert pa.array(lookup.lookup_arrow(pa.nulls(100))).to_pylist() == [None] * 100
    assert len(lookup.lookup_arrow(pa.array([]))) == 0


def test_arrow_without_anything_missing_has_no_bitmap() -> None:
    pa = pytest.importorskip("pyarrow")
    ids = pa.array(SMALL.lookup_arrow(pa.array(TEXTS)))
    assert (ids.null_count, ids.buffers()[0]) == (0, None)
    assert ids.to_pylist() == expected_ids(TEXTS, SMALL)


def test_arrow_shares_the_memory_and_outlives_its_ids() -> None:
    pa = pytest.importorskip("pyarrow")
    ids = SMALL.lookup_lines(b"8.8.8.8\nx\n" * 1000)
    first, second, view = pa.array(ids), pa.array(ids), memoryview(ids)
    assert first.buffers()[1].address == second.buffers()[1].address
    del ids, second
    gc.collect()
    assert first.to_pylist() == [5, None] * 1000
    assert view.tolist() == [5, 8] * 1000


def test_arrow_names_by_take() -> None:
    pa = pytest.importorskip("pyarrow")
    names = pa.array([f"name {place}" for place in range(8)])
    ids = pa.array(SMALL.lookup_arrow(pa.array(["8.8.8.8", "bad", None, "9.9.9.9"])))
    assert names.take(ids).to_pylist() == ["name 5", None, None, "name 0"]


@settings(max_examples=100, deadline=None)
@given(st.lists(LINES | st.none(), max_size=150), st.integers(0, 150), st.sampled_from(COLUMNS))
def test_any_arrow_column(texts: list[str | None], first: int, kind: str) -> None:
    pa = pytest.importorskip("pyarrow")
    column = columns_of(pa)[kind](texts).slice(first)
    assert pa.array(SMALL.lookup_arrow(column)).to_pylist() == nulled(texts, SMALL)[first:]


def test_polars_in_and_out(lookup: Lookup[Answer]) -> None:
    pl = pytest.importorskip("polars")
    series = pl.Series("ip", ARROW_TEXTS)
    expected = nulled(ARROW_TEXTS, lookup)
    ids = pl.Series("id", lookup.lookup_arrow(series))
    assert ids.dtype == (pl.UInt16 if lookup is SMALL else pl.UInt32)
    assert ids.to_list() == expected
    assert pl.Series(lookup.lookup_arrow(series[7:90])).to_list() == expected[7:90]
    assert pl.Series(lookup.lookup_arrow(pl.concat([series[:50], series[50:]], rechunk=False))).to_list() == expected
    assert pl.Series(lookup.lookup_arrow(pl.Series("ip", [], pl.String))).to_list() == []
    assert pl.Series(lookup.lookup_arrow(pl.Series([packed(text) for text in TEXTS]))).to_list() == nulled(TEXTS, lookup)
    assert pl.Series(lookup.lookup_arrow(pl.Series(IPV4_NUMBERS, dtype=pl.UInt32))).to_list() == nulled(IPV4_TEXTS, lookup)


def test_other_arrow_columns_are_refused() -> None:
    pa = pytest.importorskip("pyarrow")
    wrong = [
        pa.array([1], pa.int64()),
        pa.array([b"12345678"], pa.binary(8)),
        pa.array([["1.2.3.4"]]),
        pa.record_batch({"ip": ["1.2.3.4"]}),
        pa.chunked_array([[1.5]]),
        pa.table({"ip": ["1.2.3.4"]}),
    ]
    for column in wrong:
        with pytest.raises(TypeError, match="holds no addresses"):
            SMALL.lookup_arrow(column)
    with pytest.raises(TypeError, match="dictionary-encoded"):
        SMALL.lookup_arrow(pa.array(["1.2.3.4"]).dictionary_encode())
    for no_column in (["1.2.3.4"], "1.2.3.4", None):
        with pytest.raises(TypeError, match="is no Arrow array"):
            SMALL.lookup_arrow(no_column)  # type: ignore[arg-type]


class CSchema(ctypes.Structure):
    _fields_ = (
        ("format", ctypes.c_char_p),
        *((name, ctypes.c_void_p) for name in ("name", "metadata")),
        *((name, ctypes.c_int64) for name in ("flags", "n_children")),
        *((name, ctypes.c_void_p) for name in ("children", "dictionary", "release", "private_data")),
    )


class CStream(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_void_p) for name in ("get_schema", "get_next", "get_last_error", "release", "private_data"))


class FailingStream:
    """An Arrow stream of text that fails at `step` (schema or next) with errno 5 and a reason."""

    def __init__(self, step: str, reason: bytes | None) -> None:
        self.releases: list[str] = []
        self.text = ctypes.create_string_buffer(reason or b"")
        self.reason: int | None = ctypes.addressof(self.text) if reason else None
        released = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _pointer: self.releases.append("schema"))

        def schema(_stream: object, out: Any) -> int:
            out[0] = CSchema(format=b"u", release=ctypes.cast(released, ctypes.c_void_p))
            return 5 if step == "schema" else 0

        self.callbacks = (
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(CSchema))(schema),
            ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(lambda _stream, _out: 5),
            ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(lambda _stream: self.reason),
            released,
        )
        self.stream = CStream(*(ctypes.cast(callback, ctypes.c_void_p) for callback in self.callbacks))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        make = ctypes.pythonapi.PyCapsule_New
        make.restype = ctypes.py_object
        make.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
        found: object = make(ctypes.addressof(self.stream), b"arrow_array_stream", None)
        return found


@pytest.mark.parametrize("step", ["schema", "next"])
@pytest.mark.parametrize("reason", [b"the wire was cut", None])
def test_a_stream_that_fails_says_why(step: str, reason: bytes | None) -> None:
    stream = FailingStream(step, reason)
    with pytest.raises(OSError, match="the wire was cut" if reason else "no reason given") as caught:
        SMALL.lookup_arrow(stream)
    assert caught.value.errno == 5
    assert stream.releases == ([] if step == "schema" else ["schema"])


class Capsules:
    """An Arrow array whose capsules are given."""

    def __init__(self, *capsules: object) -> None:
        self.capsules = capsules

    def __arrow_c_array__(self, requested_schema: object = None) -> Any:
        return self.capsules


def test_capsules_of_another_kind_are_refused() -> None:
    pa = pytest.importorskip("pyarrow")
    schema, values = pa.array(TEXTS).__arrow_c_array__()
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        SMALL.lookup_arrow(Capsules(values, schema))
    with pytest.raises(ValueError, match="unpack"):
        SMALL.lookup_arrow(Capsules(values))
    with pytest.raises(ValueError, match="PyCapsule_GetPointer"):
        SMALL.lookup_arrow(Capsules(schema, None))


def test_capsules_that_were_consumed_are_refused() -> None:
    pa = pytest.importorskip("pyarrow")
    capsules = pa.array(TEXTS).__arrow_c_array__()
    pa.array(Capsules(*capsules))
    with pytest.raises(ValueError, match="released"):
        SMALL.lookup_arrow(Capsules(*capsules))


def test_threads_share_ids() -> None:
    pa = pytest.importorskip("pyarrow")
    ids = SMALL.lookup_lines(b"8.8.8.8\nx\n" * 500)
    failures: list[object] = []

    def read() -> None:
        for _ in range(200):
            found = pa.array(ids)
            if found.null_count != 500 or pa.chunked_array(ids).length() != 1000:
                failures.append(found)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


# ---- the library's face ----


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    with Resolver.open(city_database(tmp_path_factory.mktemp("lookup") / "city.mmdb")) as opened:
        yield opened


def test_the_resolver_has_the_compiled_method_itself(resolver: Resolver) -> None:
    assert isinstance(resolver.lookup, types.BuiltinMethodType)
    assert resolver.lookup("46.0.0.1") is resolver.lookup("46.0.0.2")
    assert resolver.lookup("46.0.0.1") == Resolver.lookup(resolver, "46.0.0.1") == Region("UA", "UA-43")


@pytest.mark.parametrize("bad", ["", "1.2.3", -1, b"123", None])
def test_the_resolver_names_the_field_of_what_is_no_address(resolver: Resolver, bad: Any) -> None:
    with pytest.raises(InvalidAddressError) as caught:
        resolver.lookup(bad)
    assert (caught.value.pointer, str(caught.value)) == ("/ip", "ip: not an IPv4 or IPv6 address")


def test_the_resolver_in_every_form_of_many(resolver: Resolver) -> None:
    texts = ["46.0.0.1", "2a02:20::1", "9.9.9.9", "bad", "::ffff:62.0.0.1"]
    expected = [Region("UA", "UA-43"), Region("IR", None), Region(None, None), None, Region("RU", "UA-43")]
    assert resolver.lookup_many(texts) == expected
    assert [resolver.regions[place] for place in resolver.lookup_lines("\n".join(texts).encode())] == expected
    assert [resolver.regions[place] for place in resolver.lookup_packed(array("I", [46 << 24]))] == expected[:1]
    pa = pytest.importorskip("pyarrow")
    ids = pa.array(resolver.lookup_arrow(pa.array([*texts, None])))
    countries = pa.array([region and region.country_code for region in resolver.regions])
    assert countries.take(ids).to_pylist() == ["UA", "IR", None, None, "RU", None]
