"""What a decision costs with 1, 10, 100 and 1,000 rules: the bound of `_fastpath.policy_table`, as a series.

Fixed input, one name a case. The call is `PolicyTable.verdict`, which takes its arguments from Python: the difference to
one rule is the rules' share, the rest is the call. `decide` in C alone is a few nanoseconds up to 64 rules.
"""

from __future__ import annotations

import datetime as dt
import random
from functools import cache
from typing import TYPE_CHECKING

import pytest

from benchmarks.made_policies import catalogue, policy_document
from regionresolver.policy import CompiledPolicy, Policy, load_policy

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

    from _fastpath.policy_table import PolicyTable

PINGS = 2000
AT = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
ACTIVATIONS_US = (None, 1_600_000_000_000_000, 1_640_000_000_000_000)
Ping = tuple[int, int, int, int, int, int, int, bytes, bytes | None, bytes, int | None]


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


def policy(count: int) -> Policy:
    return Policy.model_validate(policy_document(count))


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
