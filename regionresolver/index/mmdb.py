"""IP databases: one MaxMind DB file, or an IPv4 and an IPv6 file of one vendor joined as one source.

In: the path(s) an operator gave. Out: a `Source` whose files are read once, private, and sound as a whole: metadata,
every node of the search tree, every data record. The index is compiled from `networks`; `record` answers with the raw
record of one address, from the same private bytes. Everything that is wrong with a file is one DatabaseError.
"""

from __future__ import annotations

import hashlib
import ipaddress
import itertools
import os
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import maxminddb

from _fastpath.mmdb_walk import ForeignFileError, Walk, WalkError, relabel
from regionresolver.errors import DatabaseError
from regionresolver.index.sealed import Sealed, copy_privately
from regionresolver.model import Region
from regionresolver.sources.shapes import COUNTRY_FIELDS, FIELDS, Words, read_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _fastpath.address import Canonical

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

NOBODY = Region(None, None)

_IPV4_ADDRESSES = 2**32

# First bytes of what people give instead of a database.
_WRAPPINGS = {
    b"\x1f\x8b": "it is compressed with gzip: unpack it first, with gunzip or tar xzf",
    b"PK": "it is a ZIP archive: unpack it first",
    b"BZ": "it is compressed with bzip2: unpack it first",
    b"\xfd7": "it is compressed with xz: unpack it first",
    b"7z": "it is a 7-Zip archive: unpack it first",
}

# What a vendor asks to be shown, by the beginning of a file's stem or database_type. A database that this package has
# made says it in its description.
_ATTRIBUTIONS = (
    (re.compile("dbip-(city|country)-(lite|ipv)"), "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0"),
    (re.compile("geolite2-"), "This product includes GeoLite Data created by MaxMind, available from https://www.maxmind.com"),
)
OWN_DATABASE_TYPE = "regionresolver-country-subdivisions"


class Canoniser(Protocol):
    """What of the region catalogue is needed here: a database's words in, (country code, subdivision code) out."""

    def canonical(
        self, country: str | None, subdivision_code: str | None, subdivision_name: str | None
    ) -> tuple[str | None, str | None]:
        """Return the country code as the database says it, and our ISO 3166-2 code of the subdivision or None."""


@dataclass(frozen=True, slots=True)
class Networks:
    """What a source says of every address, sorted: entry i covers start i up to start i + 1, the last one up to the end.

    A start is `starts_hi[i] << 64 | starts_lo[i]` (arrays of uint64), IPv4 lies in ::/96, the first start is 0.
    `answers` (uint32) are places in `regions`; place 0 is "nothing known", and neighbours differ.
    """

    starts_hi: array[int]
    starts_lo: array[int]
    answers: array[int]
    regions: tuple[Region, ...]

    @property
    def subdivisions(self) -> frozenset[str]:
        """The subdivision codes that the source can see."""
        return frozenset(region.subdivision_code for region in self.regions if region.subdivision_code)


@dataclass(frozen=True, slots=True)
class _Walked:
    """The transitions of one file; `groups` are places in `words`, place 0 is "no record"."""

    starts_hi: array[int]
    starts_lo: array[int]
    groups: array[int]
    words: tuple[Words, ...]


class FileRecords:
    """The raw records of one database file, read from its private copy, which was checked before."""

    def __init__(self, copy: Sealed, ip_version: int) -> None:
        """Open a reader. Raises InvalidDatabaseError and OSError as maxminddb does."""
        self.copy, self.ip_version = copy, ip_version
        self.reader = maxminddb.open_database(f"/proc/self/fd/{copy.descriptor}")


class Records:
    """The raw records of one source: `files` are that of its file, or of its IPv4 and IPv6 files, in this order."""

    def __init__(self, name: str, sha256: str, files: Sequence[FileRecords]) -> None:
        """Join the files; `name` and `sha256` are the source's."""
        self.name, self.sha256, self.files = name, sha256, tuple(files)

    @classmethod
    def adopted(cls, name: str, sha256: str, files: Sequence[tuple[Sealed, int]]) -> Records:
        """Open the sealed copies of another process, each with its IP version. Raises DatabaseError."""
        try:
            return cls(name, sha256, [FileRecords(*file) for file in files])
        except (maxminddb.InvalidDatabaseError, OSError):
            raise DatabaseError(name, "its private copy cannot be opened", remedy="mount /proc") from None

    @property
    def records(self) -> Records:
        """These."""
        return self

    def record(self, canonical: Canonical) -> tuple[str, object] | None:
        """Return the network and the whole record that the database holds for an address, None without one."""
        file = self.files[0] if canonical.family == 4 else self.files[-1]
        if canonical.family == 6 and file.ip_version == 4:
            return None
        address = (ipaddress.IPv4Address if canonical.family == 4 else ipaddress.IPv6Address)(canonical.value)
        record, prefix_len = file.reader.get_with_prefix_len(address)
        if record is None:
            return None
        return str(ipaddress.ip_network((address, max(prefix_len, 0)), strict=False)), record


class _File:
    """One database file: its private copy, checked, and a reader of it."""

    def __init__(self, path: Path, *, registered_country: bool, progress: Progress | None) -> None:
        self.path = path
        self._registered_country = registered_country
        self._copy = copy_privately(path)
        self.sha256 = self._copy.sha256
        self._walked: _Walked | None = self._walk(progress)
        self.records = self._open_records()

    def _walk(self, progress: Progress | None) -> _Walked:
        """Walk the tree and check every record once."""
        try:
            walk = Walk(self._copy.content)
            self.ip_version = walk.ip_version
            self.database_type = walk.database_type
            self.build_epoch = walk.build_epoch
            self.metadata = walk.metadata
            walk.run(_labelled(progress, f"{self.path.name}: walking the search tree"))
            groups, examples = walk.check(FIELDS, _labelled(progress, f"{self.path.name}: checking the records"))
            words = tuple(
                read_words(walk.decode(leaf), registered_country=self._registered_country) if leaf else Words(None, ())
                for leaf in examples
            )
        except ForeignFileError as error:
            remedy = _WRAPPINGS.get(self._copy.content[:2], "give a complete file in MaxMind DB format (.mmdb)")
            raise DatabaseError(self.path, f"it is not a MaxMind DB: {error}", remedy=remedy) from None
        except WalkError as error:
            raise DatabaseError(self.path, f"it is corrupt: {error}", remedy="download the database again") from None
        if not any(word.country for word in words):
            raise DatabaseError(
                self.path,
                f"no record names a country: its database_type is {self.database_type!r}, "
                f"and none of the fields {', '.join(COUNTRY_FIELDS)} holds a two-letter code",
                remedy="give a Country, City or Enterprise database",
            )
        relabel(walk.starts_hi, walk.starts_lo, walk.leaf, groups)
        walked = _Walked(walk.starts_hi, walk.starts_lo, walk.leaf, words)
        self.families = _families(walked)
        return walked

    def _open_records(self) -> FileRecords:
        try:
            return FileRecords(self._copy.content, self.ip_version)
        except maxminddb.InvalidDatabaseError:
            # The walk has found it sound; what maxminddb asks for beyond that are types and optional keys of the metadata.
            remedy = "build it with the metadata types of the specification, languages and description among them"
            raise DatabaseError(self.path, "maxminddb refuses its metadata", remedy=remedy) from None
        except OSError as error:
            reason = f"its private copy cannot be opened: {error.strerror}"
            raise DatabaseError(self.path, reason, remedy="mount /proc") from None

    def take_walked(self) -> _Walked:
        """Hand the transitions over: they are large, and needed once. A later call walks again."""
        walked, self._walked = self._walked or self._walk(None), None
        return walked


class Source:
    """An IP database that is loaded: private, checked as a whole, of a known record shape.

    `name` is the stem of its file (of a pair: what both stems begin with), `files` the paths as given, IPv4 first.
    `build_epoch` is in seconds of Unix time, of a pair the older one. `sha256` is the file's, of a pair that of both
    digests in hex, IPv4 first. `attribution` is what the vendor asks to be shown, or None. `metadata` is each file's.
    """

    def __init__(self, files: tuple[_File, ...]) -> None:
        """Join checked files; use `open`."""
        self._files = files
        self.files = tuple(file.path for file in files)
        self.name = joint_name([path.stem for path in self.files])
        self.database_type = " + ".join(dict.fromkeys(file.database_type for file in files))
        self.build_epoch = min(file.build_epoch for file in files)
        self.sha256 = files[0].sha256 if len(files) == 1 else _sha256("".join(file.sha256 for file in files))
        self.attribution = _attribution(files[0])
        self.metadata = tuple(file.metadata for file in files)
        self.records = Records(self.name, self.sha256, [file.records for file in files])

    @classmethod
    def open(cls, spec: str | Path, *, registered_country: bool = False, progress: Progress | None = None) -> Source:
        """Read and check one file, or two (IPv4 and IPv6, in either order) joined by a comma.

        `registered_country`: where a record has no country, take the one that the network is registered in.
        Raises DatabaseError: missing, unreadable, not a MaxMind DB, corrupt, without countries, or no pair.
        """
        paths = [Path(part.strip()) for part in os.fspath(spec).split(",") if part.strip()]
        if not 1 <= len(paths) <= 2:
            raise DatabaseError(
                os.fspath(spec), "this names no database", remedy="give one file, or an IPv4 and an IPv6 file joined by a comma"
            )
        # Copying, hashing and walking let go of the GIL: two files take little longer than one.
        with ThreadPoolExecutor(len(paths)) as threads:
            read = partial(_File, registered_country=registered_country, progress=progress)
            files = list(threads.map(read, paths))
        return cls(_pair(files) if len(files) == 2 else tuple(files))

    def networks(self, catalogue: Canoniser) -> Networks:
        """Return what it says of every address, in the catalogue's codes.

        The first call takes the walk that `open` made; each later one walks again.
        """
        regions = {NOBODY: 0}
        parts = [(file, file.take_walked()) for file in self._files]
        for _, walked in parts:
            labels = array("I", [_place(regions, answer(words, catalogue)) for words in walked.words])
            relabel(walked.starts_hi, walked.starts_lo, walked.groups, labels)
        walked = parts[0][1] if len(parts) == 1 else _join(parts[0][1], parts[1][1])
        return Networks(walked.starts_hi, walked.starts_lo, walked.groups, tuple(regions))

    def record(self, canonical: Canonical) -> tuple[str, object] | None:
        """Return the network and the whole record that the database holds for an address, None without one."""
        return self.records.record(canonical)

    def __repr__(self) -> str:
        """Name the source."""
        return f"<Source {self.name}: {self.database_type}>"


def answer(words: Words, catalogue: Canoniser) -> Region:
    """Turn a record's words into codes; of several subdivisions that the catalogue names, the most specific one."""
    country, found = catalogue.canonical(words.country, None, None)
    if country is None:
        return NOBODY
    for code, name in words.subdivisions:
        found = catalogue.canonical(country, code, name)[1] or found
    return Region(country, found)


def joint_name(stems: list[str]) -> str:
    """Return one name for the files of a source: `dbip-city` for `dbip-city-ipv4` and `dbip-city-ipv6`."""
    if len(stems) == 1:
        return stems[0]
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*stems, strict=False))
    common = "".join(letters[0] for letters in same).rstrip("0123456789")
    for ending in ("ipv", "ip", "v"):
        common = common.removesuffix(ending)
    return common.rstrip("-_. ") or "+".join(stems)


def _families(walked: _Walked) -> frozenset[int]:
    """Return the IP versions that there are records of: an IPv6 tree may hold both, or IPv4 alone."""
    below = walked.groups[: _covering(walked, _IPV4_ADDRESSES - 1) + 1]
    above = walked.groups[_covering(walked, _IPV4_ADDRESSES) :]
    return frozenset(version for version, groups in ((4, below), (6, above)) if any(groups))


def _pair(files: list[_File]) -> tuple[_File, _File]:
    """Put an IPv4 and an IPv6 file into this order. Raises DatabaseError when they are no such pair."""
    first, second = sorted(files, key=lambda file: (file.ip_version, 4 not in file.families))
    both = first.families & second.families
    if first.ip_version < second.ip_version and 6 in second.families:
        # An IPv4 file beside an IPv6 tree is a pair, even when ::/96 has data too: the IPv4 file answers for IPv4.
        both = frozenset()
    if both:
        raise DatabaseError(
            f"{files[0].path},{files[1].path}",
            f"both files hold IPv{max(both)} networks",
            remedy="join the IPv4 and the IPv6 file of one vendor; give two databases as two --db",
        )
    return first, second


def _join(ipv4: _Walked, ipv6: _Walked) -> _Walked:
    """Take ::/96 from one walk and everything above from the other; both have the same labels."""
    end, above = _covering(ipv4, _IPV4_ADDRESSES - 1) + 1, _covering(ipv6, _IPV4_ADDRESSES)
    starts_hi = ipv4.starts_hi[:end] + array("Q", [0]) + ipv6.starts_hi[above + 1 :]
    starts_lo = ipv4.starts_lo[:end] + array("Q", [_IPV4_ADDRESSES]) + ipv6.starts_lo[above + 1 :]
    groups = ipv4.groups[:end] + ipv6.groups[above:]
    if groups[end] == groups[end - 1]:
        del starts_hi[end], starts_lo[end], groups[end]
    return _Walked(starts_hi, starts_lo, groups, ())


def _covering(walked: _Walked, address: int) -> int:
    """Return the entry that an address is in."""
    starts_hi, starts_lo = walked.starts_hi, walked.starts_lo
    return bisect_right(range(len(starts_hi)), address, key=lambda i: starts_hi[i] << 64 | starts_lo[i]) - 1


def _place(regions: dict[Region, int], region: Region) -> int:
    return regions.setdefault(region, len(regions))


def _labelled(progress: Progress | None, what: str) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(what, done, total)


def _attribution(file: _File) -> str | None:
    if file.database_type == OWN_DATABASE_TYPE and isinstance(description := file.metadata.get("description"), dict):
        text = description.get("en")
        return text if isinstance(text, str) else None
    names = (file.path.stem.lower(), file.database_type.lower())
    return next((text for pattern, text in _ATTRIBUTIONS if any(map(pattern.match, names))), None)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
