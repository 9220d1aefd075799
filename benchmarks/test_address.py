"""What it costs to read the text of an address, by each implementation that this processor has.

Fixed input: addresses drawn with a fixed seed, IPv4 uniform, IPv6 with all groups or with a gap, and IPv4 in the dress
that a dual-stack socket puts on it. A figure is for `LINES` lines of one buffer, classes of the registries included,
without an object of Python's.
"""

from __future__ import annotations

import ipaddress
import random
from typing import TYPE_CHECKING

import pytest

from _fastpath import address

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

LINES = 10_000


def with_gap(rng: random.Random) -> int:
    zeros = rng.randrange(1, 6) * 16
    return 0x2A02 << 112 | rng.getrandbits(16) << 96 | rng.getrandbits(80) >> zeros << zeros | rng.getrandbits(8)


@pytest.fixture(scope="module", params=["ipv4", "ipv6", "ipv6_gap", "mapped", "mixed"])
def lines(request: pytest.FixtureRequest) -> bytes:
    rng = random.Random(20261122)
    ipv4 = [str(ipaddress.IPv4Address(rng.getrandbits(32))) for _ in range(LINES)]
    gap = [str(ipaddress.IPv6Address(with_gap(rng))) for _ in range(LINES)]
    texts = {
        "ipv4": ipv4,
        "ipv6": [str(ipaddress.IPv6Address(0x2A02 << 112 | rng.getrandbits(112))) for _ in range(LINES)],
        "ipv6_gap": gap,
        "mapped": [f"::ffff:{text}" for text in ipv4],
        "mixed": [four if rng.random() < 0.7 else six for four, six in zip(ipv4, gap, strict=True)],
    }
    return "\n".join(texts[request.param]).encode()


@pytest.mark.parametrize("implementation", address.implementations())
def test_read_lines(benchmark: BenchmarkFixture, lines: bytes, implementation: str) -> None:
    assert benchmark(address.count_lines_with, implementation, lines) == (LINES, LINES)
