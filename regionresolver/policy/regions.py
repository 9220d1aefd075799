"""Which resolutions a region word of a policy means, and what a region is called.

In go the policy's `[regions]` and the catalogue; out come `RegionSet`s that a rule asks, the name of a region, and
complaints about words that mean nothing. A region word is an ISO 3166-1 alpha-2 code, an ISO 3166-2 code (or another
code that the catalogue knows for the same place, such as RU-CR for UA-43), the name of a region, or another word that
the operator's catalogue file has for one of these.

The meaning of a word, which every condition on a region shares:

- a country matches every resolution in it, those in its subdivisions included;
- a subdivision matches itself only: never its country alone, where the evidence could not see subdivisions;
- a name matches its members, and a resolution that says the name itself (`crimea`, where the evidence cannot tell
  UA-43 from UA-40). A set that is not named so matches that resolution only if it holds all members: UA-43 alone
  does not match `crimea`, UA-43 and UA-40 together do, and so does UA.
"""

from __future__ import annotations

import difflib
import string
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Final
from weakref import proxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from regionresolver.sources.catalogue import Catalogue

_CLOSE: Final = 0.75
_NOT_TOO_FAR: Final = 0.6
_KEPT_PLACES: Final = 4096
_SMALL: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
Place = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class RegionSet:
    """A set of regions, expanded: countries as a whole, single subdivisions, and the names that it holds whole."""

    countries: frozenset[str]
    subdivisions: frozenset[str]
    names: frozenset[str]

    def has(self, region: str | None, country: str | None, subdivision: str | None) -> bool:
        """Say whether a resolution with these codes lies in the set, by the rules at the head of this module."""
        return country in self.countries or subdivision in self.subdivisions or region in self.names

    def covers(self, other: RegionSet) -> bool:
        """Say whether every resolution that lies in `other` lies in this set."""
        return (
            other.countries <= self.countries
            and all(code in self.subdivisions or country_of(code) in self.countries for code in other.subdivisions)
            and other.names <= self.names
        )


def fold(word: str) -> str:
    """Answer a word with its ASCII letters small. Others stay: `str.upper` would make "SS", South Sudan, of "ß"."""
    return word.translate(_SMALL)


def country_of(subdivision: str) -> str:
    """Answer the country part of an ISO 3166-2 code."""
    return subdivision.partition("-")[0]


class RegionNames:
    """The named regions of a policy over those of the catalogue, and every word that a policy may use.

    Built before anything is checked: ask `complaint` about each word and `cycle` about each declared name first;
    the other methods are for words that passed.
    """

    def __init__(self, declared: Mapping[str, tuple[str, ...]], catalogue: Catalogue) -> None:
        """Keep the declared regions, which add to the catalogue's and replace those of the same name."""
        self._catalogue = catalogue
        self._declared = declared
        self._members: dict[str, tuple[str, ...]] = {
            **{name: tuple(row.members) for name, row in catalogue.regions.items()},
            **{word: (meaning,) for word, meaning in catalogue.words.items()},
            **declared,
        }
        self._alias = {alias: row.code for row in catalogue.subdivisions.values() for alias in row.aliases}
        # A table is made by asking every rule about every place: the same few hundred words, a thousand times;
        # and lint asks each rule about all before it. By a proxy: names in a circle with their own memo would keep a
        # generation's catalogue until a collection, which a service between two reloads hardly ever makes.
        asked = proxy(self)
        self.place = lru_cache(_KEPT_PLACES)(partial(RegionNames._place, asked))
        self._expanded = lru_cache(_KEPT_PLACES)(partial(RegionNames._expand, asked))

    def complaint(self, word: str) -> str | None:
        """Say what is wrong with a region word, with a suggestion; `None` if it means something."""
        if word in self._members or self.is_code(word):
            return None
        meant = self._meant_by(word)
        country = country_of(word)
        if country != word and country in self._catalogue.countries and meant not in self._catalogue.subdivisions:
            return f"unknown region '{word}': the catalogue has no such subdivision of {country}"
        return f"unknown region '{word}'" + (f", did you mean '{meant}'?" if meant else "")

    def is_code(self, word: str) -> bool:
        """Say whether a word is an ISO code, or a known alias of one."""
        return word in self._catalogue.countries or self._subdivision(word) is not None

    def cycle(self, name: str) -> tuple[str, ...]:
        """Answer the way from a declared region back to itself (`a`, `b`, `a`), empty if there is none."""
        ways: list[tuple[str, ...]] = [(name,)]
        seen: set[str] = set()
        while ways:
            way = ways.pop()
            for member in self._members.get(way[-1], ()):
                if member == name:
                    return (*way, name)
                if member not in seen:
                    seen.add(member)
                    ways.append((*way, member))
        return ()

    def expand(self, words: Iterable[str]) -> RegionSet:
        """Answer the set that the words mean together."""
        return self._expanded(tuple(words))

    def _expand(self, words: tuple[str, ...]) -> RegionSet:
        """Work the set out."""
        countries, subdivisions, said = self._codes(words)
        whole = {
            name
            for name, (its_countries, its_subdivisions) in self._meanings.items()
            if name in said
            or (
                its_countries <= countries
                and all(code in subdivisions or country_of(code) in countries for code in its_subdivisions)
            )
        }
        return RegionSet(countries, subdivisions, frozenset(whole))

    def _place(self, word: str) -> Place:
        """Answer region, country and subdivision of a word: a resolution's region, a SIM's or a sales region.

        The case of ASCII letters does not matter. A word that is no region (a maker's own market code) is a region of
        that name, nowhere.
        """
        folded = fold(word)
        return self.spellings.get(folded, (folded, None, None))

    @cached_property
    def spellings(self) -> dict[str, Place]:
        """Map every word that lies somewhere, folded, to its place. Of equal words a code counts before a name."""
        owners = {name: row.country for name, row in self._catalogue.regions.items()}
        codes = [(code, code) for code in self._catalogue.subdivisions] + list(self._alias.items())
        places: dict[str, Place] = {
            **{fold(name): (name, owners.get(name), None) for name in self._members},
            **{fold(word): (code, country_of(code), code) for word, code in codes},
            **{fold(code): (code, code, None) for code in self._catalogue.countries},
        }
        further = {fold(word): fold(meaning) for word, meaning in self._catalogue.words.items() if word not in self._declared}
        return places | {word: places[meaning] for word, meaning in further.items()}

    def expanded(self) -> dict[str, list[str]]:
        """Answer every named region with the codes of its members, countries first."""
        names = self._members.keys() - (self._catalogue.words.keys() - self._declared.keys())
        sets = {name: self.expand([name]) for name in names}
        return {name: [*sorted(held.countries), *sorted(held.subdivisions)] for name, held in sorted(sets.items())}

    def name_of(self, region: str | None, country: str | None, subdivision: str | None) -> str | None:
        """Answer the name of the narrowest named region that holds a resolution, `None` without one.

        Narrowest: the fewest whole countries, then the fewest subdivisions; of equals the policy's before the
        catalogue's, then the one written first. So CU is `cuba` though `embargo-six` holds it too, and UA-43 is `crimea`.
        """
        return next((name for name, held in self._by_size if held.has(region, country, subdivision)), None)

    def _codes(self, words: Iterable[str]) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
        """Follow words down to codes: countries, subdivisions, and the names met on the way."""
        pending = list(words)
        met: set[str] = set()
        while pending:
            word = pending.pop()
            if word not in met:
                met.add(word)
                pending.extend(self._members.get(word, ()))
        countries = met & self._catalogue.countries.keys()
        subdivisions = {code for word in met if (code := self._subdivision(word))}
        return frozenset(countries), frozenset(subdivisions), frozenset(met & self._members.keys())

    @cached_property
    def _meanings(self) -> dict[str, tuple[frozenset[str], frozenset[str]]]:
        """Map each name that evidence or a ping may say to its codes: a name of the catalogue means the catalogue's."""
        return {
            name: self._codes(self._catalogue.regions[name].members if name in self._catalogue.regions else [name])[:2]
            for name in self._members
        }

    @cached_property
    def _by_size(self) -> list[tuple[str, RegionSet]]:
        """Order all named regions as `name_of` asks them."""
        names = [*self._declared, *(name for name in self._catalogue.regions if name not in self._declared)]
        sets = [(name, self.expand([name])) for name in names]
        return sorted(sets, key=lambda named: (len(named[1].countries), len(named[1].subdivisions)))

    def _subdivision(self, word: str) -> str | None:
        """Answer the catalogue's own code for an ISO 3166-2 code or an alias of one."""
        return word if word in self._catalogue.subdivisions else self._alias.get(word)

    def _meant_by(self, word: str) -> str | None:
        """Guess the word that was meant: a region of this policy, what the catalogue knows, or any name not too far off."""
        own = difflib.get_close_matches(word.lower(), self._declared, n=1, cutoff=_CLOSE)
        if own:
            return own[0]
        far = difflib.get_close_matches(word.lower(), self._members, n=1, cutoff=_NOT_TOO_FAR)
        return self._catalogue.suggest(word) or next(iter(far), None)
