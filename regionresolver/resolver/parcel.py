"""A generation on its way from the process that built it to those that serve it.

In: an open `Resolver`. Out: a `Parcel`, sealed memory that is passed by its descriptors; and from a parcel a resolver of the
same name, in another process, on the same bytes. What is large (the image, the private copies of the databases) is mapped
there and never copied. What is small (catalogue, PLMN table, policy with its exact bytes, warnings) was read and checked
once and comes as a pickle: a parcel is only ever opened from a process's own supervisor, which had it from its own child.
Opening reads no file and checks nothing again; it compiles the policy and the tables of the fusion.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from regionresolver.index import Index, Records, adopt, private_copy
from regionresolver.resolver.engine import Resolver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regionresolver.index import Sealed


@dataclass(frozen=True, slots=True)
class Parcel:
    """The contents, the image, and the files of the sources; the descriptors live as long as the parcel."""

    contents: Sealed
    image: Sealed
    files: tuple[Sealed, ...]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What is passed to another process, in the order that `received` takes."""
        return (self.contents.descriptor, self.image.descriptor, *(file.descriptor for file in self.files))

    @classmethod
    def received(cls, descriptors: Sequence[int]) -> Parcel:
        """Take over descriptors that another process has passed. Raises ImageError where one is not sealed."""
        contents, image, *files = map(adopt, descriptors)
        return cls(contents, image, tuple(files))


def pack(resolver: Resolver) -> Parcel:
    """Make the parcel of an open generation, which may be closed afterwards."""
    image, records = resolver.index.handed_over()
    sources = [(source.name, source.sha256, [file.ip_version for file in source.files]) for source in records]
    written = io.BytesIO()
    _Pickler(written, pickle.HIGHEST_PROTOCOL).dump((sources, resolver.parts))
    files = tuple(file.copy for source in records for file in source.files)
    return Parcel(private_copy(written.getbuffer()), image, files)


def unpack(parcel: Parcel) -> Resolver:
    """Open the generation of a parcel. Raises DatabaseError without a /proc, and what compiling a policy raises."""
    sources, parts = pickle.loads(parcel.contents)  # noqa: S301 - sealed memory from our own supervisor
    files = iter(parcel.files)
    records = [
        Records.adopted(name, sha256, [(next(files), version) for version in versions]) for name, sha256, versions in sources
    ]
    return Resolver.of_parts(Index.open(parcel.image, records, check=False), parts)


class _Pickler(pickle.Pickler):
    """Writes read-only mappings too."""

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, MappingProxyType):
            return _read_only, (dict(value),)
        return NotImplemented


def _read_only(mapping: dict[object, object]) -> MappingProxyType[object, object]:
    return MappingProxyType(mapping)
