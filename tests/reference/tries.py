"""The obvious form of the index: networks in a dictionary, transitions in a sorted list, lookups by bisection.

An address is one integer of 128 bits; IPv4 lies in ::/96.
"""

from __future__ import annotations

import ipaddress
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

LAST = 2**128 - 1
HALF = 2**64 - 1


class Transitions(NamedTuple):
    """From `starts[i]` on, up to the next start, `values[i]` holds; before the first start 0 does."""

    starts: tuple[int, ...]
    values: tuple[int, ...]

    def at(self, address: int) -> int:
        place = bisect_right(self.starts, address) - 1
        return self.values[place] if place >= 0 else 0

    def arrays(self) -> tuple[array[int], array[int], array[int]]:
        """The form in which `_fastpath.image_builder` takes it."""
        starts_hi = array("Q", [start >> 64 for start in self.starts])
        starts_lo = array("Q", [start & HALF for start in self.starts])
        return starts_hi, starts_lo, array("I", self.values)


def span(network: str) -> tuple[int, int]:
    """The first and the last address of a network."""
    parsed = ipaddress.ip_network(network)
    return int(parsed.network_address), int(parsed.broadcast_address)


def longest_match(networks: Mapping[str, int], address: int) -> int:
    """The value of the longest network that holds an address, 0 without one."""
    found, shortest_span = 0, LAST + 1
    for network, value in networks.items():
        first, last = span(network)
        if first <= address <= last and last - first < shortest_span:
            found, shortest_span = value, last - first
    return found


def transitions_of(networks: Mapping[str, int]) -> Transitions:
    """The transitions of a table of networks, found by asking at each boundary."""
    boundaries = {0}
    for network in networks:
        first, last = span(network)
        boundaries |= {first, last + 1} - {LAST + 1}
    return coalesced((start, longest_match(networks, start)) for start in sorted(boundaries))


def coalesced(pairs: Iterable[tuple[int, int]]) -> Transitions:
    """Leave out the pairs that change nothing; the first is kept."""
    kept: list[tuple[int, int]] = []
    for start, value in pairs:
        if not kept or kept[-1][1] != value:
            kept.append((start, value))
    return Transitions(tuple(start for start, _ in kept), tuple(value for _, value in kept))


def rows_at(lists: Sequence[Transitions], address: int) -> tuple[int, ...]:
    """What several lists say of one address."""
    return tuple(transitions.at(address) for transitions in lists)


def near(starts: Iterable[int]) -> list[int]:
    """Every boundary, and the addresses beside it."""
    wanted = {start + step for start in starts for step in (-1, 0, 1)} | {0, LAST}
    return sorted(address for address in wanted if 0 <= address <= LAST)


def parts(address: int) -> tuple[int, int, int]:
    """The family and the halves of a canonical address."""
    return (4, 0, address) if address < 2**32 else (6, address >> 64, address & HALF)


def xxh64(content: bytes) -> int:
    """XXH64 with seed 0, by its specification, for a multiple of 32 bytes."""
    prime1, prime2, prime3, prime4 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63

    def rotate(word: int, bits: int) -> int:
        return (word << bits | word >> (64 - bits)) & HALF

    lanes = [(prime1 + prime2) & HALF, prime2, 0, -prime1 & HALF]
    for at in range(0, len(content), 8):
        word = int.from_bytes(content[at : at + 8], "little")
        lane = at // 8 % 4
        lanes[lane] = rotate((lanes[lane] + word * prime2) & HALF, 31) * prime1 & HALF
    state = sum(rotate(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & HALF
    for lane in lanes:
        state = ((state ^ rotate(lane * prime2 & HALF, 31) * prime1 & HALF) * prime1 + prime4) & HALF
    state = (state + len(content)) & HALF
    state = (state ^ state >> 33) * prime2 & HALF
    state = (state ^ state >> 29) * prime3 & HALF
    return state ^ state >> 32
