"""Every form of a lookup against `maxminddb` and `maxminddb-rust`, on one database in one run.

REGIONRESOLVER_BENCH_DB names the database: a file, or "v4.mmdb,v6.mmdb"; without it the embedded one is taken. Four
streams of `COUNT` addresses, drawn with a fixed seed: uniform over the IPv4 unicast space, Zipf (a few addresses come
often), sequential, and mixed (Zipf, 30 % IPv6). A round is the whole stream; groups are streams, so the ratios in the
table are those of the same addresses. `call` is what Python needs to call a C function that does nothing.

The work differs. `get` makes the whole record, `get_path` one or two of its fields, and a lookup here answers with a
shared object of two fields, or its number. Of a pair of files a peer gets each address for the one it has it in.
"""

from __future__ import annotations

import ipaddress
import itertools
import os
import random
from array import array
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import maxminddb
import pytest

from _fastpath.digit_trie import DigitTrie
from _fastpath.lookup import Lookup
from regionresolver.index import Index, Source, compile_sources
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

    from regionresolver.model import Region

COUNT = 50_000
SEED = 20261122
DATABASE = os.environ.get("REGIONRESOLVER_BENCH_DB") or str(files("regionresolver.data") / "embedded.mmdb")
IPV6_TOPS = (0x2001, 0x2400, 0x2600, 0x2800, 0x2A00)
STREAMS = ("uniform", "zipf", "sequential", "mixed")
HOT = "8.8.8.8"

# Where a database's schema has the country and the subdivision.
PATHS: dict[bool, tuple[tuple[str | int, ...], ...]] = {
    True: (("country", "iso_code"), ("subdivisions", 0, "iso_code")),
    False: (("country_code",), ("state1",)),
}


def zipf(rng: random.Random, pool: list[str]) -> list[str]:
    """Draw from a pool so that the n-th address of it comes about 1/n as often as the first."""
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(pool) + 1)))
    return rng.choices(pool, cum_weights=weights, k=COUNT)


def addresses_of(stream: str) -> list[str]:
    rng = random.Random(SEED)
    if stream == "sequential":
        return [str(ipaddress.IPv4Address((5 << 24) + number)) for number in range(COUNT)]
    ipv4 = [str(ipaddress.IPv4Address(rng.randrange(1 << 24, 224 << 24))) for _ in range(COUNT)]
    if stream == "uniform":
        return ipv4
    if stream == "zipf":
        return zipf(rng, ipv4)
    ipv6 = [
        str(ipaddress.IPv6Address((rng.choice(IPV6_TOPS) + rng.randrange(16)) << 112 | rng.getrandbits(112)))
        for _ in range(COUNT)
    ]
    return [six if rng.random() < 0.3 else four for four, six in zip(zipf(rng, ipv4), zipf(rng, ipv6), strict=True)]


class Stream(NamedTuple):
    """One stream in each form; `packed` is the buffer of integers, or of 16 bytes an address where some are IPv6."""

    name: str
    texts: list[str]
    lines: bytes
    packed: array[int] | memoryview


@pytest.fixture(scope="module", params=STREAMS)
def stream(request: pytest.FixtureRequest) -> Stream:
    texts = addresses_of(request.param)
    parsed = [ipaddress.ip_address(text) for text in texts]
    packed: array[int] | memoryview = array("I", map(int, parsed)) if request.param != "mixed" else array("I")
    if not packed:
        raw = b"".join(ip.packed if ip.version == 6 else b"\0" * 10 + b"\xff\xff" + ip.packed for ip in parsed)
        packed = memoryview(raw).cast("B", [COUNT, 16])
    return Stream(request.param, texts, "\n".join(texts).encode(), packed)


@pytest.fixture(scope="module")
def lookup() -> Iterator[Lookup[Region]]:
    image = compile_sources([Source.open(DATABASE)], Catalogue.load())
    index = Index.open(image)
    yield Lookup(index.trie, [regions[0] for regions in index.values], ValueError)
    print(f"\nimage of {DATABASE}: {len(image):,} bytes, {index.trie.value_count} values")
    index.close()


class Peer(NamedTuple):
    """The readers of a package, each with the addresses of the stream that its file holds, and the paths of two fields."""

    parts: list[tuple[Any, list[str]]]
    paths: tuple[tuple[str | int, ...], ...]


def opened(package: Any, stream: Stream) -> Peer:
    readers = [package.open_database(path) for path in DATABASE.split(",")]
    if len(readers) == 1:
        parts = [(readers[0], stream.texts)]
    else:
        versions = {reader.metadata().ip_version: reader for reader in readers}
        parts = [(versions[4], [text for text in stream.texts if ":" not in text])]
        parts += [(versions[6], [text for text in stream.texts if ":" in text])]
    record = next(filter(None, (reader.get(text) for reader, texts in parts for text in texts[:100])))
    return Peer(parts, PATHS[isinstance(record.get("country"), dict)])


@pytest.fixture
def rust(stream: Stream) -> Peer:
    return opened(pytest.importorskip("maxminddb_rust"), stream)


def for_each(function: Callable[[str], object], items: Iterable[str]) -> None:
    for item in items:
        function(item)


def get_each(peer: Peer) -> None:
    for reader, texts in peer.parts:
        for_each(reader.get, texts)


# ---- one at a time ----


def test_call(benchmark: BenchmarkFixture, stream: Stream) -> None:
    benchmark.group = stream.name
    benchmark(for_each, callable, stream.texts)


def test_lookup(benchmark: BenchmarkFixture, stream: Stream, lookup: Lookup[Region]) -> None:
    benchmark.group = stream.name
    benchmark(for_each, lookup.lookup, stream.texts)


def test_maxminddb_get(benchmark: BenchmarkFixture, stream: Stream) -> None:
    benchmark.group = stream.name
    benchmark(get_each, opened(maxminddb, stream))


def test_rust_get(benchmark: BenchmarkFixture, stream: Stream, rust: Peer) -> None:
    benchmark.group = stream.name
    benchmark(get_each, rust)


@pytest.mark.parametrize("fields", [1, 2])
def test_rust_get_path(benchmark: BenchmarkFixture, stream: Stream, rust: Peer, fields: int) -> None:
    benchmark.group = stream.name
    paths = rust.paths[:fields]

    def run() -> None:
        for reader, texts in rust.parts:
            get_path = reader.get_path
            for text in texts:
                for path in paths:
                    get_path(text, path)

    benchmark(run)


# ---- many at a time ----


def test_lookup_many(benchmark: BenchmarkFixture, stream: Stream, lookup: Lookup[Region]) -> None:
    benchmark.group = stream.name
    benchmark(lookup.lookup_many, stream.texts)


def test_lookup_lines(benchmark: BenchmarkFixture, stream: Stream, lookup: Lookup[Region]) -> None:
    benchmark.group = stream.name
    benchmark(lookup.lookup_lines, stream.lines)


def test_lookup_packed(benchmark: BenchmarkFixture, stream: Stream, lookup: Lookup[Region]) -> None:
    benchmark.group = stream.name
    benchmark(lookup.lookup_packed, stream.packed)


def test_lookup_arrow(benchmark: BenchmarkFixture, stream: Stream, lookup: Lookup[Region]) -> None:
    pa = pytest.importorskip("pyarrow")
    benchmark.group = stream.name
    benchmark(lookup.lookup_arrow, pa.array(stream.texts))


def test_lookup_polars(benchmark: BenchmarkFixture, stream: Stream, lookup: Lookup[Region]) -> None:
    pl = pytest.importorskip("polars")
    benchmark.group = stream.name
    benchmark(lookup.lookup_arrow, pl.Series("ip", stream.texts))


@pytest.mark.parametrize("fields", [1, 2])
def test_rust_get_many_path(benchmark: BenchmarkFixture, stream: Stream, rust: Peer, fields: int) -> None:
    benchmark.group = stream.name
    benchmark(
        lambda: [reader.get_many_path(texts, path) for reader, texts in rust.parts for path in rust.paths[:fields]],
    )


# ---- the floor of a call ----


def test_hot_call(benchmark: BenchmarkFixture) -> None:
    benchmark.group = "hot"
    benchmark(for_each, callable, [HOT] * COUNT)


def test_hot_lookup(benchmark: BenchmarkFixture, lookup: Lookup[Region]) -> None:
    benchmark.group = "hot"
    benchmark(for_each, lookup.lookup, [HOT] * COUNT)


# ---- PLMNs ----


@pytest.fixture(scope="module")
def digits() -> DigitTrie:
    return DigitTrie(PlmnTable.load().trie_rows())


def plmns_of(kind: str) -> list[str]:
    rng = random.Random(SEED)
    mccs = [row.prefix[:3] for row in PlmnTable.load().rows]
    forms: dict[str, Callable[[], str]] = {
        "plmn": lambda: rng.choice(("{:02}", "{:03}", "-{:02}", "-{:03}")).format(rng.randrange(100)),
        "imsi": lambda: f"{rng.randrange(10**12):012}",
    }
    return [rng.choice(mccs) + forms[kind]() for _ in range(COUNT)]


@pytest.fixture(scope="module", params=["plmn", "imsi"])
def plmns(request: pytest.FixtureRequest) -> tuple[str, list[str], bool]:
    return request.param, plmns_of(request.param), request.param == "imsi"


def test_plmn_call(benchmark: BenchmarkFixture, plmns: tuple[str, list[str], bool]) -> None:
    benchmark.group, texts, _ = plmns
    benchmark(for_each, callable, texts)


def test_match_text(benchmark: BenchmarkFixture, plmns: tuple[str, list[str], bool], digits: DigitTrie) -> None:
    benchmark.group, texts, allow_imsi = plmns

    def run() -> None:
        match_text = digits.match_text
        for text in texts:
            match_text(text, allow_imsi)

    benchmark(run)


def test_match_many(benchmark: BenchmarkFixture, plmns: tuple[str, list[str], bool], digits: DigitTrie) -> None:
    benchmark.group, texts, allow_imsi = plmns
    benchmark(digits.match_many, texts, allow_imsi)


def test_match_lines(benchmark: BenchmarkFixture, plmns: tuple[str, list[str], bool], digits: DigitTrie) -> None:
    benchmark.group, texts, allow_imsi = plmns
    benchmark(digits.match_lines, "\n".join(texts).encode(), allow_imsi)
