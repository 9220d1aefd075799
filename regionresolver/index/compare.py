"""Whether an index image answers like the databases that it was compiled from.

The image is asked through its trie, the databases through `maxminddb`, record by record: of what made the image only
the list of network starts is used, to know where to ask. Asked are each start, the address before and the one behind.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from _fastpath.address import from_int
from regionresolver.index.mmdb import answer
from regionresolver.index.sections import NOBODY
from regionresolver.sources.shapes import read_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from _fastpath.address import Canonical
    from regionresolver.index.compiler import IndexedSource, Progress
    from regionresolver.index.opened import Index
    from regionresolver.model import Region
    from regionresolver.sources.catalogue import Catalogue

KEPT_DIFFERENCES = 10
"""One wrong value differs at thousands of addresses: the first few tell which, the count tells how many."""

_IPV4_END = 1 << 32
_END = 1 << 128
_STEPS_BETWEEN_REPORTS = 4096


@dataclass(frozen=True, slots=True)
class Difference:
    """An address, as text, for which the image holds another region of a source than the source itself."""

    address: str
    source: str
    of_image: Region
    of_database: Region


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many network starts there are and how many addresses were asked for; how many differ, and the first of them."""

    starts: int
    addresses: int
    different: int
    differences: tuple[Difference, ...]


def compare(
    index: Index,
    sources: Sequence[IndexedSource],
    catalogue: Catalogue,
    sample: int | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Ask an image and its sources, in their order, for the addresses at all network starts of the sources.

    `sample` takes that many of the starts at random, always the same ones of the same image. Costs about 20 µs for an
    address and source.
    """
    starts = sorted({start for source in sources for start in _starts(source, catalogue)})
    chosen = starts
    if sample is not None and sample < len(starts):
        chosen = sorted(random.Random(index.sha256).sample(starts, sample))  # noqa: S311 - places to look at, no secret
    asked = different = 0
    kept: list[Difference] = []
    for canonical in _around(chosen):
        if progress is not None and asked % _STEPS_BETWEEN_REPORTS == 0:
            progress("comparing with the databases", asked, 3 * len(chosen))
        asked += 1
        for source, of_image in zip(sources, index.values[index.trie.find(canonical)], strict=True):
            of_database = _told_by(source, canonical, catalogue)
            if of_image != of_database:
                different += 1
                if len(kept) < KEPT_DIFFERENCES:
                    kept.append(Difference(str(canonical), source.name, of_image, of_database))
    return Comparison(len(starts), asked, different, tuple(kept))


def _starts(source: IndexedSource, catalogue: Catalogue) -> Iterator[int]:
    networks = source.networks(catalogue)
    return (hi << 64 | lo for hi, lo in zip(networks.starts_hi, networks.starts_lo, strict=True))


def _around(starts: Iterable[int]) -> Iterator[Canonical]:
    """Yield the address before each start, the start and the one behind, each once; `starts` are sorted."""
    last = -1
    for start in starts:
        for number in range(max(start - 1, last + 1), min(start + 2, _END)):
            yield from_int(number, 4 if number < _IPV4_END else 6)
            last = number


def _told_by(source: IndexedSource, canonical: Canonical, catalogue: Catalogue) -> Region:
    found = source.record(canonical)
    return NOBODY if found is None else answer(read_words(found[1]), catalogue)
