"""An index image, open for lookups: the trie, what its values mean, and what it was compiled from."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from _fastpath.prefix_trie import PrefixTrie, is_intact
from _fastpath.prefix_trie import verify as verify_trie
from regionresolver.errors import ImageError
from regionresolver.index.mmdb import Records, Source
from regionresolver.index.sealed import Sealed, private_copy
from regionresolver.index.sections import Origin, SectionError, SourceFacts, decode_origin, decode_values, visible_subdivisions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import Self

    from _typeshed import ReadableBuffer

    from _fastpath.address import Canonical
    from regionresolver.model import Region

_REMEDY = "compile it again from its databases"


class RecordSource(Protocol):
    """An IP database whose raw records an index can show; `regionresolver.index.mmdb.Source` is one, `Records` another."""

    @property
    def name(self) -> str:
        """What evidence calls it."""

    @property
    def sha256(self) -> str:
        """The digest of its bytes in hex."""

    def record(self, canonical: Canonical, /) -> tuple[str, object] | None:
        """Return the network and the whole record that it holds for an address, None without one."""


class Index:
    """What the loaded sources say of every address.

    `trie` finds the value id of an address, 0 when no source knows it. `sha256` is the digest of the image's body in
    hex: equal digests are equal answers.
    """

    def __init__(self, trie: PrefixTrie, image: ReadableBuffer, sources: Sequence[RecordSource], file: str | Path) -> None:
        """Join a trie over an image and the sources of its records; use `open`."""
        self.trie = trie
        self._image: ReadableBuffer | None = image
        self.sha256 = trie.body_sha256.hex()
        self.size_bytes = trie.image_bytes
        self._records = tuple(sources)
        self._file = file

    @classmethod
    def open(
        cls, image: ReadableBuffer, sources: Sequence[RecordSource] = (), *, file: str | Path = "index image", check: bool = True
    ) -> Self:
        """Open an image; `bytes` are first copied into sealed memory, a mapping is served from as it is.

        `sources` are those that it was compiled from, for `records`; without them there are none. `check=False` leaves
        the body unread: only for an image that this process has just compiled or checked. Raises ImageError: foreign,
        truncated, damaged, of a newer version, or compiled from other sources.
        """
        try:
            served = private_copy(image) if isinstance(image, bytes) else image
            index = cls(PrefixTrie(served), served, sources, file)
        except ValueError as error:
            raise ImageError(file, str(error), remedy=_REMEDY) from None
        if check:
            index._check()
        if sources and [source.sha256 for source in sources] != [source.sha256 for source in index._origin.sources]:
            raise ImageError(file, "it was compiled from other databases, or in another order", remedy=_REMEDY)
        return index

    def _check(self) -> None:
        """Refuse a body that was damaged, or that a lookup could leave."""
        try:
            if not is_intact(self.trie):
                raise SectionError("damaged: the checksum of the body is wrong")
            verify_trie(self.trie)
        except ValueError as error:
            raise ImageError(self._file, str(error), remedy=_REMEDY) from None
        # Decoding is the check of the other sections.
        _ = self.values, self.sources

    @cached_property
    def values(self) -> tuple[tuple[Region, ...], ...]:
        """One region a source for each value id, both codes None where that source says nothing; value 0 is all None."""
        try:
            return decode_values(self.trie)
        except SectionError as error:
            raise ImageError(self._file, f"damaged: {error}", remedy=_REMEDY) from None

    @cached_property
    def _origin(self) -> Origin:
        try:
            return decode_origin(self.trie)
        except SectionError as error:
            raise ImageError(self._file, f"damaged: {error}", remedy=_REMEDY) from None

    @cached_property
    def sources(self) -> tuple[SourceFacts, ...]:
        """What it was compiled from, in the order of the answers in a value."""
        visible = visible_subdivisions(self.values)
        return tuple(replace(source, subdivisions=codes) for source, codes in zip(self._origin.sources, visible, strict=True))

    @property
    def catalogue_sha256(self) -> str:
        """The SHA-256 of the region catalogue that the answers were put into codes with."""
        return self._origin.catalogue_sha256

    def records(self, canonical: Canonical) -> list[tuple[str, str, object]]:
        """Return (source name, network, whole record) of each source that holds a record of the address."""
        found = ((source.name, source.record(canonical)) for source in self._records)
        return [(name, *answer) for name, answer in found if answer is not None]

    def handed_over(self) -> tuple[Sealed, tuple[Records, ...]]:
        """Return what another process opens this index from: the image and the records of each source, sealed."""
        if self._image is None:
            raise ValueError("the index is closed")
        image = self._image if isinstance(self._image, Sealed) else private_copy(self._image)
        return image, tuple(source.records for source in self._records if isinstance(source, Source | Records))

    def close(self) -> None:
        """Let go of the sources and of the image; its memory is freed when no lookup holds the trie any more."""
        self._records, self._image = (), None
        vars(self).pop("trie", None)


def verify(image: ReadableBuffer, file: str | Path = "index image") -> Index:
    """Check everything in an image, its SHA-256 too, and return it open. Raises ImageError with the first fault."""
    index = Index.open(image, file=file)
    body = memoryview(image).cast("B")[index.trie.header_bytes :]
    if hashlib.sha256(body).hexdigest() != index.sha256:
        raise ImageError(file, "damaged: the SHA-256 of the body is wrong", remedy=_REMEDY)
    return index
