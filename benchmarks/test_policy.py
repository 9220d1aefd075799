"""What a decision costs with 1, 10, 100 and 1,000 rules: the bound of `_fastpath.policy_table`, as a series.

Fixed input, one name a case. The call is `PolicyTable.verdict`, which takes its arguments from Python: the difference to
one rule is the rules' share, the rest is the call. `decide` in C alone is a few nanoseconds up to 64 rules.
"""

from __future__ import annotations

import datetime as dt
import random
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from regionresolver.policy import CompiledPolicy, Policy, load_policy
from regionresolver.sources.catalogue import Catalogue

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from _fastpath.policy_table import PolicyTable

PINGS = 2000
AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
ACTIVATIONS_US = (None, 1_600_000_000_000_000, 1_640_000_000_000_000)
Ping = tuple[int, int, int, int, int, int, int, bytes, bytes | None, bytes, int | None]


@cache
def catalogue() -> Catalogue:
    return Catalogue.load()


def codes() -> list[str | None]:
    return [None, *sorted(catalogue().countries), *catalogue().subdivisions, *catalogue().regions]


@cache
def pings() -> list[Ping]:
    rng = random.Random(20261122)
    return [
        (
            rng.randrange(1, len(codes())),
            rng.choice((0, 0, 0, 1, 64)),
            rng.choice((80, 90, 98)),
            rng.choice((0, 10)),
            1,
            1,
            rng.choice((0, 1)),
            rng.choice((b"M2101K7AG", b"M2012K11AG-EU", b"22041219NY")),
            rng.choice((None, b"DE", b"CU", b"MI")),
            b"h:%032x" % rng.getrandbits(128),
            rng.choice(ACTIVATIONS_US),
        )
        for _ in range(PINGS)
    ]


def rule(number: int, rng: random.Random) -> dict[str, Any]:
    """Make a rule on some countries, with further conditions as a large maker might write them."""
    countries = sorted(catalogue().countries)
    when: dict[str, Any] = {"region": rng.sample(countries, rng.randint(1, 6))}
    if number % 2:
        when["sku"] = [f"M{rng.randrange(1000)}*"]
    if number % 3 == 0:
        when["sold_in_not"] = rng.sample(countries, 3)
    if number % 4 == 0:
        when["first_activated_before"] = dt.datetime(2015 + rng.randrange(10), 1, 1 + rng.randrange(28), tzinfo=dt.UTC)
    if number % 5 == 0:
        when["conflict"] = ["ip_disagrees"]
    if number % 6 == 0:
        when["confidence_below"] = 0.9
    if number % 7 == 0:
        when["home_region_not"] = rng.sample(countries, 2)
    mode = rng.choice(("enforce", "enforce", "shadow"))
    return {"id": f"r{number}", "when": when, "effect": rng.choice(("allow", "deny", "review")), "mode": mode}


def policy(count: int) -> Policy:
    rng = random.Random(count)
    return Policy.model_validate(
        {"policy": {"name": "bench", "version": 1}, "rules": [rule(number, rng) for number in range(count)]}
    )


def table(count: int) -> PolicyTable:
    return CompiledPolicy(policy(count), catalogue(), codes()).timeline.at(AT)


def ask_all(asked: PolicyTable) -> None:
    for ping in pings():
        asked.verdict(*ping)


@pytest.mark.parametrize("count", [1, 10, 100, 1000])
def test_decide_with_rules(benchmark: BenchmarkFixture, count: int) -> None:
    benchmark(ask_all, table(count))


def test_decide_by_the_default_policy(benchmark: BenchmarkFixture) -> None:
    benchmark(ask_all, CompiledPolicy(load_policy(None, catalogue()), catalogue(), codes()).timeline.at(AT))


def test_compile_100_rules(benchmark: BenchmarkFixture) -> None:
    benchmark(table, 100)
