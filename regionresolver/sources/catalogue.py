"""The region catalogue: one vocabulary for what databases, networks and policies call a place.

In: data/regions.toml, and what an operator's own file adds to it (`regionresolver.sources.extension`). Out: an
immutable `Catalogue`, which
- knows every code and named region, with its name and source;
- turns a database's words for a place into our codes (`canonical`), by code first, then by the name of the
  *subdivision* within the countries that file it, never by a city's name;
- says what a mistyped code was meant to be (`suggest`).

A code that is unknown is None, never "", "XX" or "ZZ". The rules of the file stand at its top.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from regionresolver.sources.tables import Row, Source, did_you_mean, read_sources, read_table, source_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Deleted, not replaced: Donets'ka and Donetska are one name. With the letter and the prime that stand in for one.
_APOSTROPHES = dict.fromkeys(map(ord, "'\u2018\u2019\u02bc\u02b9\u02c8`\u00b4\u2032"))


@lru_cache(maxsize=4096)
def normalise_name(name: str) -> str:
    """Return a name without case, accents, apostrophes, hyphens and other marks, its words apart by one space."""
    letters = unicodedata.normalize("NFKD", name.translate(_APOSTROPHES).casefold())
    kept = ("" if unicodedata.combining(letter) else letter if letter.isalnum() else " " for letter in letters)
    return " ".join("".join(kept).split())


@dataclass(frozen=True, slots=True)
class CountryRow:
    """A country code of ISO 3166-1 (or the user-assigned XK), its English short name and its other codes."""

    code: str
    alpha3: str
    name: str
    common_name: str | None
    other_codes: tuple[str, ...]
    source: Source


@dataclass(frozen=True, slots=True)
class SubdivisionRow:
    """A subdivision of ISO 3166-2 that policies need and databases can tell apart.

    `countries` are its own first, then those under which databases or networks also file it. `without_service_from` are
    countries none of whose operators serve it.
    """

    code: str
    name: str
    country: str
    countries: tuple[str, ...]
    aliases: tuple[str, ...]
    names: tuple[str, ...]
    without_service_from: tuple[str, ...]
    source: Source


@dataclass(frozen=True, slots=True)
class NamedRegion:
    """A name for one or several codes; `country` is answered when the evidence cannot tell the members apart.

    It is None for members of several countries: no evidence speaks of such a region, policies do.
    """

    name: str
    members: tuple[str, ...]
    country: str | None
    source: Source


@dataclass(frozen=True, slots=True)
class Addition:
    """What an operator's file adds to a catalogue, checked and in codes.

    `names` and `codes` are what databases also write for a subdivision, by its code. `words` are what policies and
    settings may also write, each with the code or the named region that it means.
    """

    regions: Mapping[str, NamedRegion]
    names: Mapping[str, tuple[str, ...]]
    codes: Mapping[str, tuple[str, ...]]
    words: Mapping[str, str]


@dataclass(frozen=True)
class Catalogue:
    """Every region that this service can speak of. Nothing in it can be changed.

    `country_rows` and `subdivisions` are by code, `regions` by name, all in the order of the file; `words` are an
    operator's further words for them. Equal `sha256`, in hex, mean that the words of databases come to the same codes.
    """

    country_rows: Mapping[str, CountryRow]
    subdivisions: Mapping[str, SubdivisionRow]
    regions: Mapping[str, NamedRegion]
    sources: Mapping[str, Source]
    sha256: str
    words: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path | None = None) -> Catalogue:
        """Read a catalogue file, the shipped one without a path. Raises CatalogueError."""
        root, sha256 = read_table(path, "regions.toml")
        sources = read_sources(root)
        countries = _read_countries(root.table("countries"), sources)
        subdivisions = _read_subdivisions(root.rows("subdivisions"), sources, countries)
        regions = _read_regions(root.table("regions"), sources, countries, subdivisions)
        root.finish()
        return cls(
            MappingProxyType(countries),
            MappingProxyType(subdivisions),
            MappingProxyType(regions),
            MappingProxyType(sources),
            sha256,
        )

    def extended(self, addition: Addition) -> Catalogue:
        """Return this catalogue with what an operator's file adds; the digest changes only where databases read otherwise."""
        subdivisions = {
            code: replace(
                row,
                names=tuple(dict.fromkeys((*row.names, *addition.names.get(code, ())))),
                aliases=tuple(dict.fromkeys((*row.aliases, *addition.codes.get(code, ())))),
            )
            for code, row in self.subdivisions.items()
        }
        sha256 = self.sha256
        if addition.names or addition.codes:
            read = json.dumps([self.sha256, _sorted(addition.names), _sorted(addition.codes)], ensure_ascii=True)
            sha256 = hashlib.sha256(read.encode("ascii")).hexdigest()
        return replace(
            self,
            subdivisions=MappingProxyType(subdivisions),
            regions=MappingProxyType({**self.regions, **addition.regions}),
            sha256=sha256,
            words=MappingProxyType(dict(addition.words)),
        )

    @cached_property
    def countries(self) -> Mapping[str, str]:
        """The English short name of each country code."""
        return MappingProxyType({code: row.name for code, row in self.country_rows.items()})

    @cached_property
    def alpha3(self) -> Mapping[str, str]:
        """The alpha-2 code of each alpha-3 code: SYR is SY."""
        return MappingProxyType({row.alpha3: code for code, row in self.country_rows.items()})

    def __contains__(self, code: object) -> bool:
        """Tell whether a policy or a PLMN row may name it: a country, a subdivision or a named region."""
        return code in self.country_rows or code in self.subdivisions or code in self.regions

    def country_of(self, code: str) -> str | None:
        """Return the country that is answered for a country, a subdivision or a named region. Raises KeyError.

        None for a named region of several countries, which is never answered.
        """
        if code in self.country_rows:
            return code
        return self.subdivisions[code].country if code in self.subdivisions else self.regions[code].country

    def canonical(
        self, country: str | None, subdivision_code: str | None, subdivision_name: str | None
    ) -> tuple[str | None, str | None]:
        """Turn a database's words for a place into codes: (the country that it says, our code of the subdivision).

        `subdivision_code` is a whole code ("UA-43", "RU-CR") or its second part ("43"). A country that ISO does not
        know, and a subdivision that this catalogue does not list under that country, is None.
        """
        code = country.strip().upper() if country else None
        if code not in self.country_rows:
            code = None
        return code, self._subdivision_by_code(code, subdivision_code) or self._subdivision_by_name(code, subdivision_name)

    def suggest(self, word: str) -> str | None:
        """Return the code or region name that a mistyped word was meant to be, None without a good guess.

        Knows alpha-3 codes, other codes in use (UK), aliases (RU-CR), names in any spelling and near misses.
        """
        wanted = normalise_name(word)
        if wanted in self._meant:
            return self._meant[wanted]
        # Two letters are near to too many others for a guess to help.
        near = get_close_matches(wanted, self._meant, n=1, cutoff=0.75) if len(wanted) > 2 else []
        return self._meant[near[0]] if near else None

    @cached_property
    def _by_code(self) -> dict[str, SubdivisionRow]:
        return {code: row for row in self.subdivisions.values() for code in (row.code, *row.aliases)}

    @cached_property
    def _by_name(self) -> dict[str, dict[str, str]]:
        """The code of each normalised name, under each country that files it."""
        found: dict[str, dict[str, str]] = {}
        for row in self.subdivisions.values():
            for country in row.countries:
                found.setdefault(country, {}).update(dict.fromkeys(map(normalise_name, row.names), row.code))
        return found

    @cached_property
    def _meant(self) -> dict[str, str]:
        """What each normalised word means; of two meanings of one word the later one counts."""
        return {normalise_name(word): meaning for word, meaning in _meanings(self)}

    def _subdivision_by_code(self, country: str | None, code: str | None) -> str | None:
        """Read a bare code as the record's country's, so that Lipetsk's old RU-43 never becomes UA-43."""
        if not code:
            return None
        whole = code.strip().upper()
        row = self._by_code.get(whole if "-" in whole else f"{country}-{whole}")
        return row.code if row is not None and (country is None or country in row.countries) else None

    def _subdivision_by_name(self, country: str | None, name: str | None) -> str | None:
        """Look among the names under that country only: most countries have none, and cost no normalisation."""
        names = self._by_name.get(country) if country and name else None
        return names.get(normalise_name(name)) if names and name else None


def _sorted(words: Mapping[str, tuple[str, ...]]) -> list[tuple[str, list[str]]]:
    return sorted((code, sorted(listed)) for code, listed in words.items())


def _meanings(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    """Yield (a word, what it means), the surest meanings last."""
    for country in catalogue.country_rows.values():
        for word in (country.name, country.common_name, country.alpha3, *country.other_codes):
            if word is not None:
                yield word, country.code
    for row in catalogue.subdivisions.values():
        for word in (row.name, *row.names, *row.aliases, row.code):
            yield word, row.code
    for name in (*catalogue.regions, *catalogue.country_rows):
        yield name, name
    yield from catalogue.words.items()


def _is_upper(code: str, length: int) -> bool:
    return len(code) == length and code.isascii() and code.isalpha() and code.isupper()


def _known_country(row: Row, key: str, code: str, countries: Mapping[str, CountryRow]) -> str:
    if code not in countries:
        meant = {other: known for known, country in countries.items() for other in (country.alpha3, *country.other_codes)}
        remedy = f"did you mean {meant[code]}?" if code in meant else "use a code of the table countries"
        raise row.fault(key, f"names the unknown country {code!r}", remedy)
    return code


def _read_countries(table: Row, sources: Mapping[str, Source]) -> dict[str, CountryRow]:
    section = source_of(table, sources)
    found: dict[str, CountryRow] = {}
    taken: set[str] = set()
    for row in table.rows("rows"):
        code, alpha3, other_codes = row.text("code"), row.text("alpha3"), row.texts("other_codes")
        for key, value, length in (("code", code, 2), ("alpha3", alpha3, 3)):
            if not _is_upper(value, length):
                raise row.fault(key, f"must be {length} capital letters", "write it as ISO 3166-1 does")
        for word in (code, alpha3, *other_codes):
            if word in taken:
                raise row.fault("code", f"repeats {word}, which another row has", "delete one of the two rows")
            taken.add(word)
        source = source_of(row, sources, section)
        found[code] = CountryRow(code, alpha3, row.text("name"), row.optional_text("common_name"), other_codes, source)
        row.finish()
    table.finish()
    return found


def _read_subdivisions(
    rows: list[Row], sources: Mapping[str, Source], countries: Mapping[str, CountryRow]
) -> dict[str, SubdivisionRow]:
    found: dict[str, SubdivisionRow] = {}
    taken: dict[str, str] = {}
    for row in rows:
        entry = _read_subdivision(row, sources, countries)
        claims = [("code", word, word) for word in (entry.code, *entry.aliases)]
        for country in entry.countries:
            claims += [("names", name, f"{country} {normalise_name(name)}") for name in entry.names]
        for key, word, claim in claims:
            if claim in taken:
                raise row.fault(key, f"repeats {word}, which is {taken[claim]}", "delete one of the two")
            taken[claim] = entry.code
        found[entry.code] = entry
        row.finish()
    return found


def _read_subdivision(row: Row, sources: Mapping[str, Source], countries: Mapping[str, CountryRow]) -> SubdivisionRow:
    code, country = row.text("code"), _known_country(row, "country", row.text("country"), countries)
    listed = {key: row.texts(key) for key in ("countries", "aliases", "without_service_from")}
    for key in ("countries", "without_service_from"):
        for name in listed[key]:
            _known_country(row, key, name, countries)
    if not code.startswith(f"{country}-") or not code[3:].isalnum() or len(code) > len("UA-XXX") or code != code.upper():
        raise row.fault("code", f"{code!r} is no ISO 3166-2 code of {country}", f"write {country}- and 1 to 3 letters or digits")
    if not listed["countries"] or listed["countries"][0] != country:
        raise row.fault("countries", f"must begin with its own country {country}", f'write countries = ["{country}", ...]')
    if any(alias[2:3] != "-" or alias[:2] not in listed["countries"] for alias in listed["aliases"]):
        raise row.fault("aliases", "must be whole codes of its countries", 'write aliases = ["RU-CR"], and list RU in countries')
    return SubdivisionRow(
        code, row.text("name"), country, listed["countries"], listed["aliases"], row.texts("names", required=True),
        listed["without_service_from"], source_of(row, sources),
    )  # fmt: skip


def _read_regions(
    table: Row,
    sources: Mapping[str, Source],
    countries: Mapping[str, CountryRow],
    subdivisions: Mapping[str, SubdivisionRow],
) -> dict[str, NamedRegion]:
    section = source_of(table, sources)
    owners = {code: row.country for code, row in subdivisions.items()} | {code: code for code in countries}
    found: dict[str, NamedRegion] = {}
    for row in table.rows("rows"):
        name, members, country = row.text("name"), row.texts("members", required=True), row.text("country")
        if name != normalise_name(name).replace(" ", "-") or name.upper() in owners:
            raise row.fault("name", f"{name!r} could be taken for a code", "write small letters with hyphens, and no code")
        if name in found:
            raise row.fault("name", f"repeats {name}", "delete one of the two rows")
        for member in members:
            if member not in owners:
                raise row.fault("members", f"names the unknown code {member!r}", did_you_mean(member, owners, "add its row"))
            if owners[member] != country:
                raise row.fault("country", f"is {country}, but {member} is in {owners[member]}", "make one region per country")
        found[name] = NamedRegion(name, members, country, source_of(row, sources, section))
        row.finish()
    table.finish()
    return found
