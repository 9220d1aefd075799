"""The databases of the benchmark: their files, the images compiled from them, and the peers that read the files.

Two images are compiled from each. `regions` is the product's: countries and the subdivisions of the shipped region
catalogue. `every name` keeps every subdivision that the database names, as much as two fields of `get_path` tell.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import maxminddb

from _fastpath.lookup import Lookup
from regionresolver.index import Index, Source, compile_sources
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.shapes import read_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from regionresolver.model import Region

REGIONS = "regions"
EVERY_NAME = "every name"
IMAGES = (REGIONS, EVERY_NAME)

# Where a schema has the country and the subdivision.
_PATHS: dict[str, tuple[tuple[str | int, ...], ...]] = {
    "nested": (("country", "iso_code"), ("subdivisions", 0, "iso_code")),
    "flat": (("country_code",), ("state1",)),
}

_COUNTRY_FIELDS = {"country", "country_code"}


class EveryName(Catalogue):
    """A catalogue that lets every subdivision through, under the code or the name that the database has for it."""

    def canonical(
        self, country: str | None, subdivision_code: str | None, subdivision_name: str | None
    ) -> tuple[str | None, str | None]:
        """Turn a database's words into codes, or leave them words."""
        return super().canonical(country, None, None)[0], subdivision_code or subdivision_name


_CATALOGUES: dict[str, type[Catalogue]] = {REGIONS: Catalogue, EVERY_NAME: EveryName}


def compiled(spec: str, image: str) -> bytes:
    """Compile a database to an image of IMAGES."""
    return compile_sources([Source.open(spec)], _CATALOGUES[image].load())


@cache
def optional(package: str) -> Any | None:
    """Import a peer or a client, None when it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError:
        return None


@dataclass(frozen=True)
class Peer:
    """The readers of a package by IP version; of one file for both, the same reader twice."""

    readers: dict[int, Any]
    paths: tuple[tuple[str | int, ...], ...]

    def parts(self, texts: list[str]) -> list[tuple[Any, list[str]]]:
        """Give each reader the addresses that its file holds, which spares the peers the choice."""
        if self.readers[4] is self.readers[6]:
            return [(self.readers[4], texts)]
        four, six = ([text for text in texts if (":" in text) is wanted] for wanted in (False, True))
        return [(reader, part) for reader, part in ((self.readers[4], four), (self.readers[6], six)) if part]

    def record(self, text: str) -> object:
        """Return the whole record of an address."""
        return self.readers[6 if ":" in text else 4].get(text)


@dataclass(frozen=True)
class Database:
    """A database of the benchmark. `spec` is a file, or an IPv4 and an IPv6 file joined by a comma."""

    name: str
    spec: str

    @property
    def files(self) -> list[str]:
        """Its files."""
        return self.spec.split(",")

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(Path(file).stat().st_size for file in self.files)

    @cached_property
    def by_version(self) -> dict[int, str]:
        """The file that answers for each IP version."""
        found = {}
        for file in self.files:
            with maxminddb.open_database(file) as reader:
                found[reader.metadata().ip_version] = file
        return {version: found.get(version) or found[10 - version] for version in (4, 6)}

    @cached_property
    def facts(self) -> dict[str, object]:
        """What the report says of it."""
        metadata = [reader.metadata() for reader in dict.fromkeys(self.maxminddb.readers.values())]
        return {
            "files": [Path(file).name for file in self.files],
            "schema": self.schema,
            "database_type": metadata[0].database_type,
            "build_epoch": metadata[0].build_epoch,
            "node_count": sum(each.node_count for each in metadata),
            "bytes": self.size_bytes,
        }

    def _opened(self, open_database: Callable[[str], Any]) -> Peer:
        readers = {file: open_database(file) for file in dict.fromkeys(self.by_version.values())}
        return Peer({version: readers[file] for version, file in self.by_version.items()}, _PATHS[self.schema])

    @cached_property
    def schema(self) -> str:
        """`nested`: records of objects, as MaxMind's. `flat`: records of texts."""
        with maxminddb.open_database(self.by_version[4]) as reader:
            first = next((record for _, record in reader if isinstance(record, dict) and record.keys() & _COUNTRY_FIELDS), {})
            return "nested" if isinstance(first.get("country"), dict) else "flat"

    @cached_property
    def maxminddb(self) -> Peer:
        """The C extension: the mode refuses to fall back to Python."""
        return self._opened(lambda file: maxminddb.open_database(file, maxminddb.MODE_MMAP_EXT))

    @cached_property
    def rust(self) -> Peer | None:
        """`maxminddb-rust`, None when it is not installed."""
        package = optional("maxminddb_rust")
        return self._opened(package.open_database) if package else None

    @cached_property
    def lookups(self) -> dict[str, Lookup[Region]]:
        """A lookup in each of IMAGES."""
        found = {}
        for image in IMAGES:
            index = Index.open(compiled(self.spec, image))
            found[image] = Lookup(index.trie, [regions[0] for regions in index.values], ValueError)
        return found

    def check(self, texts: list[str]) -> None:
        """Raise AssertionError where an image has another country than `maxminddb`, of these addresses."""
        catalogue = Catalogue.load()
        for text in texts:
            record = self.maxminddb.record(text)
            country = catalogue.canonical(read_words(record).country, None, None)[0] if isinstance(record, dict) else None
            for image, lookup in self.lookups.items():
                found = lookup.lookup(text).country_code
                assert found == country, f"{self.name}, {image}: {text}: maxminddb {country}, index {found}"
