"""Overrides compiled: the two tries and the rows of `_fastpath.overrides`, and the hits of each override.

In: the overrides of an `Extended` catalogue. Out: `OverrideTable`, made once per generation. A generation without any
has none, and its hot path does not look.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from _fastpath.digit_trie import DigitTrie
from _fastpath.image_builder import build
from _fastpath.overrides import Overrides
from _fastpath.prefix_trie import PrefixTrie, seal
from _fastpath.tally import Counters
from regionresolver.model import OverrideHits
from regionresolver.policy.table import microseconds
from regionresolver.resolver.extended import holding, interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regionresolver.model import Override
    from regionresolver.resolver.extended import Extended

NEVER_US = 2**63 - 1
"""The end of an override without one, in microseconds: at this instant none holds."""

_COUNTER_BYTES = 8
_ADDRESSES = 1 << 128
_LOW = (1 << 64) - 1


class OverrideTable:
    """The overrides of one generation, ready to be looked up; `counters` are this process's own."""

    def __init__(self, extended: Extended) -> None:
        """Compile the overrides."""
        self.overrides = extended.overrides
        self.counters = Counters(bytearray(_COUNTER_BYTES * len(self.overrides)))
        networks = zip(extended.networks, holding(extended.networks), strict=True)
        plmns = zip(extended.plmns, holding(extended.plmns), strict=True)
        self.compiled = Overrides(
            _network_trie(extended.networks),
            DigitTrie((one.prefix, number, one.exact) for number, one in enumerate(extended.plmns, 1)),
            [(_end_us(one), parent) for one, parent in networks],
            [(_end_us(one), parent, len(one.prefix), one.exact) for one, parent in plmns],
            self.counters,
        )

    def hits(self) -> tuple[OverrideHits, ...]:
        """Return each override with the number of signals that it has spoken for, in the order of their numbers."""
        return tuple(map(OverrideHits, self.overrides, self.compiled.hits()))


def _end_us(override: Override) -> int:
    return NEVER_US if override.expires is None else microseconds(override.expires)


def _network_trie(networks: Sequence[Override]) -> PrefixTrie:
    """Build the trie whose values are the numbers of the networks; it has no words for them, so those sections are empty."""
    starts = _transitions(networks)
    value_count = len(networks) + 1
    sections = build(
        array("Q", (start >> 64 for start, _ in starts)),
        array("Q", (start & _LOW for start, _ in starts)),
        array("I", (number for _, number in starts)),
        value_count,
    )
    return PrefixTrie(seal([*sections, bytes(8 * value_count), b"", b""], 1, value_count))


def _transitions(networks: Sequence[Override]) -> list[tuple[int, int]]:
    """Return (first address, number of the most specific network from there on), rising; number 0 is for none."""
    found = {0: 0}
    open_: list[tuple[int, int]] = []

    def close(before: int) -> None:
        while open_ and open_[-1][0] < before:
            last, _ = open_.pop()
            found[last + 1] = open_[-1][1] if open_ else 0

    for number, override in enumerate(networks, 1):
        first, last = interval(override.prefix)
        close(first)
        found[first] = number
        open_.append((last, number))
    close(_ADDRESSES)
    found.pop(_ADDRESSES, None)
    # A network may begin where the one before ends, and one may fill another whole: the last word on a start counts.
    kept: list[tuple[int, int]] = []
    for start, number in sorted(found.items()):
        if not kept or kept[-1][1] != number:
            kept.append((start, number))
    return kept
