"""The addresses and PLMNs that the benchmark asks for, drawn with a fixed seed, in every form that a lookup takes.

IPv4 addresses come from the unicast space 1.0.0.0-223.255.255.255, IPv6 addresses from the five registries' /12. `mixed`
streams are 70 % IPv4. Every text is an object of its own, made in the order of the stream,
as a parser of a request or of a file makes them: an address that comes again is another object of the same text.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv6Address, ip_address

from regionresolver.sources.plmn import PlmnTable

SEED = 20261122
HOT = "hot"
DRAWS = ("uniform", "zipf", "sequential")
STREAMS = (HOT, *(f"{draw} {family}" for family in ("v4", "mixed") for draw in DRAWS))
"""One address again and again; then, of IPv4 and mixed: all equally often, a few often, one after the other."""

PLMN_STREAMS = ("hot PLMN", "PLMN", "IMSI")

_HOT_ADDRESS = "8.8.8.8"
_HOT_PLMN = "36801"
_IPV6_SHARE = 0.3
_UNICAST = (1 << 24, 224 << 24)
_SEQUENTIAL_IPV4 = 5 << 24
_SEQUENTIAL_IPV6 = 0x2A001450 << 96
_REGISTRIES = (0x240, 0x260, 0x280, 0x2A0, 0x2C0)
_MAPPED = bytes(10) + b"\xff\xff"

Address = IPv4Address | IPv6Address


@dataclass(frozen=True)
class Stream:
    """One stream of addresses, in each form; a form is made when it is first asked for."""

    name: str
    texts: list[str]

    @property
    def is_ipv4(self) -> bool:
        """Whether it holds IPv4 alone."""
        return not self.name.endswith("mixed")

    @cached_property
    def addresses(self) -> list[Address]:
        """Objects of `ipaddress`."""
        return [ip_address(text) for text in self.texts]

    @cached_property
    def packed(self) -> list[bytes]:
        """4 or 16 bytes each, in network order."""
        return [address.packed for address in self.addresses]

    @cached_property
    def numbers(self) -> list[int]:
        """Integers."""
        return [int(address) for address in self.addresses]

    @cached_property
    def lines(self) -> bytes:
        """The texts, one a line."""
        return "\n".join(self.texts).encode()

    @cached_property
    def packed16(self) -> bytes:
        """16 bytes each, an IPv4 address mapped, one behind the other."""
        return b"".join(each if len(each) == len(_MAPPED) + 4 else _MAPPED + each for each in self.packed)


def stream_of(name: str, count: int) -> Stream:
    """Draw a stream of STREAMS."""
    rng = random.Random(SEED)
    if name == HOT:
        return Stream(name, [_HOT_ADDRESS] * count)
    draw, family = name.split()
    chosen: list[Address] = list(map(IPv4Address, _drawn(draw, [rng.randrange(*_UNICAST) for _ in range(count)], rng)))
    if draw == "sequential":
        chosen = [IPv4Address(_SEQUENTIAL_IPV4 + place) for place in range(count)]
    if family == "mixed":
        pool = [rng.choice(_REGISTRIES) << 116 | rng.getrandbits(116) for _ in range(count)]
        if draw == "sequential":
            pool = [_SEQUENTIAL_IPV6 + (place << 64) for place in range(count)]
        others = map(IPv6Address, _drawn(draw, pool, rng))
        chosen = [six if rng.random() < _IPV6_SHARE else four for four, six in zip(chosen, others, strict=True)]
    return Stream(name, list(map(str, chosen)))


def _drawn(draw: str, pool: list[int], rng: random.Random) -> list[int]:
    """Draw from a pool; of Zipf's law the n-th address of it comes about 1/n as often as the first."""
    if draw != "zipf":
        return pool
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(pool) + 1)))
    return rng.choices(pool, cum_weights=weights, k=len(pool))


def plmns_of(name: str, count: int) -> list[str]:
    """Draw a stream of PLMN_STREAMS: PLMNs in their written forms, or IMSIs, of the countries in the shipped table."""
    if name == "hot PLMN":
        return [_HOT_PLMN] * count
    rng = random.Random(SEED)
    mccs = [row.prefix[:3] for row in PlmnTable.load().rows]
    if name == "IMSI":
        return [f"{rng.choice(mccs)}{rng.randrange(10**12):012}" for _ in range(count)]
    forms = ("{}{:02}", "{}{:03}", "{}-{:02}", "{}-{:03}")
    return [rng.choice(forms).format(rng.choice(mccs), rng.randrange(100)) for _ in range(count)]
