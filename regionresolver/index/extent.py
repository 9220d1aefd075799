"""How much an index knows, in three numbers that two generations of it can be compared by.

Counted are the places of a fixed grid that any source knows: each /20 of IPv4, and of IPv6 each /32 of 2001::/16 and each
/29 of what the registries give out in large blocks. With them goes the size of the trie, which grows and falls with the
networks. Half a second for any image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from regionresolver.index.opened import Index

_IPV4_STEP: Final = 1 << 12
_IPV6_BLOCKS: Final = (
    (0x2001 << 48, 1 << 16, 1 << 32),
    *((first << 48, 1 << 17, 1 << 35) for first in (0x2400, 0x2600, 0x2800, 0x2A00, 0x2A10, 0x2C00)),
)
"""First address, number and distance of the places, in the upper 64 bits."""


class Extent(NamedTuple):
    """Places of the grid that are known, and the bytes of the trie."""

    ipv4_places: int
    ipv6_places: int
    trie_bytes: int

    @classmethod
    def of(cls, index: Index) -> Extent:
        """Measure an open index."""
        find = index.trie.find_parts
        return cls(
            sum(find(4, 0, low) != 0 for low in range(0, 1 << 32, _IPV4_STEP)),
            sum(find(6, high, 0) != 0 for high in _ipv6_grid()),
            sum(len(index.trie.section(name)) for name in ("records", "below64", "outside")),
        )

    def shrunk(self, former: Extent, limit: float) -> str | None:
        """Say in words what has fallen by more than a share of the former extent, None when nothing has."""
        for name, now, before in zip(("IPv4 addresses", "IPv6 addresses", "networks"), self, former, strict=True):
            if now < before * (1 - limit):
                return f"the known {name} fall by {1 - now / before:.0%}"
        return None


def _ipv6_grid() -> Iterator[int]:
    for first, count, step in _IPV6_BLOCKS:
        yield from range(first, first + count * step, step)
