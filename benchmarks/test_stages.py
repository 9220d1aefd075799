"""What each stage costs, and one lookup against `maxminddb` on the same file in the same run.

Fixed input: addresses drawn with a fixed seed from the networks of the embedded database; each round walks the whole
list, so the figure is the list's. `maxminddb` returns the whole (small) record as a dict, `lookup` a shared two-field
object: that is the difference in work, and the reason to say so beside a ratio.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import random
from typing import TYPE_CHECKING

import maxminddb
import pytest

from _fastpath import address, digit_trie
from regionresolver import Resolver
from regionresolver.resolver import embedded_database
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

ADDRESSES = 10_000
AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def resolver() -> Iterator[Resolver]:
    with Resolver.open() as opened:
        yield opened


@pytest.fixture(scope="module", params=["ipv4", "ipv6"])
def addresses(request: pytest.FixtureRequest) -> list[str]:
    """Random addresses: IPv4 uniform over the routable space, IPv6 uniform over 2000::/3's allocated /12s."""
    rng = random.Random(20261122)
    if request.param == "ipv4":
        return [str(ipaddress.IPv4Address(rng.randrange(1 << 24, 224 << 24))) for _ in range(ADDRESSES)]
    tops = [0x2001, 0x2400, 0x2600, 0x2800, 0x2A00]
    return [
        str(ipaddress.IPv6Address(((rng.choice(tops) + rng.randrange(16)) << 112) | rng.getrandbits(112)))
        for _ in range(ADDRESSES)
    ]


def for_each(function: Callable[[str], object], items: list[str]) -> None:
    for item in items:
        function(item)


def test_lookup(benchmark: BenchmarkFixture, resolver: Resolver, addresses: list[str]) -> None:
    benchmark(for_each, resolver.lookup, addresses)


def test_lookup_by_maxminddb(benchmark: BenchmarkFixture, addresses: list[str]) -> None:
    with maxminddb.open_database(embedded_database(), maxminddb.MODE_MMAP_EXT) as reader:
        benchmark(for_each, reader.get, addresses)


def test_parse_address(benchmark: BenchmarkFixture, addresses: list[str]) -> None:
    benchmark(for_each, address.parse, addresses)


def test_parse_plmn(benchmark: BenchmarkFixture) -> None:
    benchmark(for_each, digit_trie.parse_plmn, ["36801", "25033", "310-410", "20815"] * (ADDRESSES // 4))


def test_resolve_three_signals(benchmark: BenchmarkFixture, resolver: Resolver, addresses: list[str]) -> None:
    benchmark(for_each, lambda ip: resolver.resolve(ip=ip, serving="25001", sim="310410"), addresses)


def test_decide_three_signals(benchmark: BenchmarkFixture, resolver: Resolver, addresses: list[str]) -> None:
    benchmark(for_each, lambda ip: resolver.decide(ip=ip, serving="36801", sim="310410"), addresses)


@pytest.fixture(scope="module", params=["no overrides", "overrides"])
def two_databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    """The embedded database before a small one; with overrides of 100 networks and 20 PLMNs, or with none."""
    folder = tmp_path_factory.mktemp("two")
    catalogue = None
    if request.param == "overrides":
        catalogue = folder / "catalogue.toml"
        signed = 'owner = "o"\nreason = "r"\nexpires = "never"\n'
        networks = (f'id = "n{i}"\nnetwork = "{11 + i}.{i}.0.0/24"\nregion = "DE"\n{signed}' for i in range(100))
        plmns = (f'id = "p{i}"\nplmn = "999{i:03}"\nregion = "FR"\n{signed}' for i in range(20))
        rows = [*(f"[[networks]]\n{row}" for row in networks), *(f"[[plmns]]\n{row}" for row in plmns)]
        catalogue.write_text("".join(rows), encoding="utf-8")
    databases = [embedded_database(), city_database(folder / "city.mmdb")]
    with Resolver.open(db=databases, catalogue=catalogue) as opened:
        yield opened


def test_decide_with_two_databases(benchmark: BenchmarkFixture, two_databases: Resolver, addresses: list[str]) -> None:
    benchmark(for_each, lambda ip: two_databases.decide(ip=ip, serving="36801", sim="310410"), addresses)


def test_decide_on_overridden_signals(benchmark: BenchmarkFixture, two_databases: Resolver) -> None:
    """Every signal of these pings is overridden, where there are overrides."""
    addresses = [f"{11 + i % 100}.{i % 100}.0.{i % 256}" for i in range(ADDRESSES)]
    benchmark(for_each, lambda ip: two_databases.decide(ip=ip, serving="999001", sim="999002"), addresses)


def test_decide_as_of_an_instant(benchmark: BenchmarkFixture, resolver: Resolver, addresses: list[str]) -> None:
    """The odd path: an instant is no plain text, so Python parses the ping before the same tables decide."""
    benchmark(for_each, lambda ip: resolver.decide(ip=ip, serving="36801", sim="310410", at=AT), addresses)
