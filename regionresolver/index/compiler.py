"""Compile IP databases into an index image: sources in, bytes out; the same sources and catalogue give the same bytes.

The way of the bytes: each source says which region it has from which address on; `merge` lays these lists side by side
and numbers the different rows of answers; `build` makes the trie of the numbers; `seal` joins the sections.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from _fastpath.image_builder import build, merge
from _fastpath.prefix_trie import PrefixTrie, seal, verify
from regionresolver.errors import ImageError
from regionresolver.index.sections import NOBODY, Origin, SourceFacts, encode_origin, encode_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _fastpath.address import Canonical
    from regionresolver.model import Region
    from regionresolver.sources.catalogue import Catalogue

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how many steps are done, and how many there are."""


class SourceNetworks(Protocol):
    """What a source says of every address: from start i on, the region at place `answers[i]` holds.

    The starts rise strictly; before the first one place 0 holds. IPv4 lies in ::/96.
    """

    @property
    def starts_hi(self) -> array[int]:
        """The upper halves of the 128-bit starts, uint64."""

    @property
    def starts_lo(self) -> array[int]:
        """The lower halves, uint64."""

    @property
    def answers(self) -> array[int]:
        """Places in `regions`, uint32."""

    @property
    def regions(self) -> tuple[Region, ...]:
        """What there is to answer; place 0 is Region(None, None)."""


class IndexedSource(Protocol):
    """An IP database as the index needs it; `regionresolver.index.mmdb.Source` is one."""

    @property
    def name(self) -> str:
        """What evidence calls it."""

    @property
    def files(self) -> Sequence[str | Path]:
        """The files that it was read from."""

    @property
    def database_type(self) -> str:
        """The vendor's word for it."""

    @property
    def build_epoch(self) -> int:
        """When the vendor built it, in seconds of Unix time."""

    @property
    def sha256(self) -> str:
        """The digest of its bytes in hex."""

    @property
    def attribution(self) -> str | None:
        """What the vendor asks to be shown, None for nothing."""

    def networks(self, catalogue: Catalogue, /) -> SourceNetworks:
        """Return what it says of every address, in the catalogue's codes."""

    def record(self, canonical: Canonical, /) -> tuple[str, object] | None:
        """Return the network and the whole record that it holds for an address, None without one."""


def compile_sources(sources: Sequence[IndexedSource], catalogue: Catalogue, progress: Progress | None = None) -> bytes:
    """Compile sources, in their order, into an index image; every value of it holds one answer of each.

    Raises ImageError when they are none, more than an image can hold, or have too many different answers together.
    """
    steps = len(sources) + 3
    report = progress or (lambda _what, _done, _total: None)
    regions: dict[Region, int] = {NOBODY: 0}
    streams = []
    for done, source in enumerate(sources):
        report(f"{source.name}: reading the networks", done, steps)
        networks = source.networks(catalogue)
        places = array("I", [regions.setdefault(region, len(regions)) for region in networks.regions])
        streams.append((networks.starts_hi, networks.starts_lo, networks.answers, places))
        del networks
    try:
        report("merging the sources", steps - 3, steps)
        starts_hi, starts_lo, values, answers = merge(streams)
        # The lists are large, and copied by now.
        streams.clear()
        value_count = len(answers) // len(sources)
        report("building the trie", steps - 2, steps)
        trie_sections = build(starts_hi, starts_lo, values, value_count)
        report("sealing the image", steps - 1, steps)
        origin = Origin(tuple(map(_facts, sources)), catalogue.sha256)
        image = seal([*trie_sections, *encode_values(list(regions), answers), encode_origin(origin)], len(sources), value_count)
        verify(PrefixTrie(image))
    except ValueError as error:
        raise ImageError("index image", str(error), remedy="compile fewer databases together") from None
    report("sealing the image", steps, steps)
    return image


def _facts(source: IndexedSource) -> SourceFacts:
    """Return what an image notes of a source; the folders of its files would make equal inputs give other bytes."""
    files = tuple(Path(file).name for file in source.files)
    attribution = source.attribution
    return SourceFacts(source.name, files, source.database_type, source.build_epoch, source.sha256, attribution, frozenset())
