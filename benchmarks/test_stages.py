"""What each stage costs, by pytest-benchmark: the stages of `stages.py`, and what a stage is measured against.

Each is one case with fixed input; each round does OPERATIONS of them, and the figure is the round's.

`maxminddb` returns the whole (small) record as a dict, `lookup` a shared two-field object: that is the difference in work,
and the reason to say so beside a ratio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import maxminddb
import pytest

from benchmarks.stages import AT, STAGES, Stage, each, ipv4, ipv6
from regionresolver import Resolver
from regionresolver.resolver import embedded_database
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_benchmark.fixture import BenchmarkFixture

OPERATIONS = 10_000


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_stage(benchmark: BenchmarkFixture, stage: Stage) -> None:
    benchmark.extra_info["what"] = stage.what
    benchmark.extra_info["operations"] = OPERATIONS
    benchmark(stage.prepare(OPERATIONS))


@pytest.fixture(params=["ipv4", "ipv6"])
def addresses(request: pytest.FixtureRequest) -> list[str]:
    return ipv4(OPERATIONS) if request.param == "ipv4" else ipv6(OPERATIONS)


def test_lookup_by_maxminddb(benchmark: BenchmarkFixture, addresses: list[str]) -> None:
    with maxminddb.open_database(embedded_database(), maxminddb.MODE_MMAP_EXT) as reader:
        benchmark(each(reader.get, addresses))


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
    benchmark(each(lambda ip: two_databases.decide(ip=ip, serving="36801", sim="310410"), addresses))


def test_decide_on_overridden_signals(benchmark: BenchmarkFixture, two_databases: Resolver) -> None:
    """Every signal of these pings is overridden, where there are overrides."""
    addresses = [f"{11 + i % 100}.{i % 100}.0.{i % 256}" for i in range(OPERATIONS)]
    benchmark(each(lambda ip: two_databases.decide(ip=ip, serving="999001", sim="999002"), addresses))


def test_decide_as_of_an_instant(benchmark: BenchmarkFixture, addresses: list[str]) -> None:
    """The odd path: an instant is no plain text, so Python parses the ping before the same tables decide."""
    with Resolver.open() as resolver:
        benchmark(each(lambda ip: resolver.decide(ip=ip, serving="36801", sim="310410", at=AT), addresses))
