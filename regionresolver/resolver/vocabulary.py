"""Region codes as the small integers of the compiled path, and the tables of the fusion built from them.

In: the region catalogue with an operator's overrides, the PLMN table and the values of an index. Out: `Vocabulary`, whose
`codes[id]` is the code of a region id (0 is none), and the compiled `Fusion`. Made once per generation. The overrides
of networks have values behind those of the index, those of PLMNs behind the rows of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from _fastpath.fusion import Fusion
from regionresolver.errors import SettingsError

if TYPE_CHECKING:
    from regionresolver.index import Index
    from regionresolver.model import Region
    from regionresolver.resolver.extended import Extended
    from regionresolver.sources.catalogue import Catalogue
    from regionresolver.sources.plmn import PlmnTable

Facts = tuple[int, Sequence[int], Sequence[int], Sequence[int], bool, bool, bool]


class FusedAnswer(NamedTuple):
    """What all sources together say of a network.

    `is_blind`: they name a country whose subdivisions matter, and none of those that say so could have told them apart.
    """

    country: str | None
    subdivision: str | None
    sources_disagree: bool
    is_blind: bool = False


class Vocabulary:
    """Every region code that a resolution can name, numbered: countries, subdivisions, then named regions."""

    def __init__(self, extended: Extended, plmns: PlmnTable, index: Index, any_regions: Sequence[str] = ()) -> None:
        """Number the regions and compile the fusion's tables.

        `any_regions` are the region words of `fuse_answers`' `listed`. Raises SettingsError for one that is unknown.
        """
        catalogue = extended.catalogue
        self.catalogue = catalogue
        self.any_regions = tuple(any_regions)
        self.listed = listed_codes(any_regions, catalogue)
        subdivisions = tuple(source.subdivisions for source in index.sources)
        unseen = frozenset[str]().union(*self.listed).intersection(catalogue.subdivisions).difference(*subdivisions)
        self.warnings = tuple(f"any_regions names {code}, and no loaded database can see it" for code in sorted(unseen))
        self.answers = tuple(fuse_answers(answers, subdivisions, catalogue, self.listed) for answers in index.values)
        seen = {answer.country for answer in self.answers if answer.country}
        self.codes: tuple[str | None, ...] = (
            None,
            *sorted(seen | set(catalogue.countries)),
            *catalogue.subdivisions,
            *(name for name, region in catalogue.regions.items() if region.country is not None),
        )
        self._ids = {code: number for number, code in enumerate(self.codes)}
        self.watched = frozenset(country for row in catalogue.subdivisions.values() for country in row.countries)
        self.region_facts = [self._facts(code) for code in self.codes]
        self.fusion = Fusion(
            self.region_facts,
            [
                ((), False, 0),
                *(self._plmn(row.candidates, row.kind == "override", row.confidence) for row in plmns.rows),
                *(self._plmn(override.regions, True, override.confidence) for override in extended.plmns),
            ],
            [
                *(
                    (self._ids[answer.country], self._ids[answer.subdivision], answer.sources_disagree, answer.is_blind, False)
                    for answer in self.answers
                ),
                *(self._network(override.regions[0]) for override in extended.networks),
            ],
        )

    def _facts(self, code: str | None) -> Facts:
        if code is None:
            return 0, (), (), (), False, False, False
        if code in self.catalogue.subdivisions:
            row = self.catalogue.subdivisions[code]
            return (
                self._ids[row.country],
                self._all(row.countries),
                (),
                self._all(row.without_service_from),
                True,
                False,
                False,
            )
        if code in self.catalogue.regions:
            region = self.catalogue.regions[code]
            filed = (country for member in region.members for country in self._countries(member))
            countries = dict.fromkeys((self.catalogue.country_of(code), *filed))
            return (
                self._ids[region.country],
                self._all(tuple(countries)),
                self._all(region.members),
                (),
                False,
                True,
                False,
            )
        return self._ids[code], (self._ids[code],), (), (), False, False, code in self.watched

    def _countries(self, member: str) -> tuple[str, ...]:
        row = self.catalogue.subdivisions.get(member)
        return row.countries if row else (member,)

    def _plmn(self, candidates: Sequence[str], is_override: bool, confidence: float | None) -> tuple[Sequence[int], bool, int]:
        return self._all(candidates), is_override, round((confidence or 0) * 100)

    def _network(self, code: str) -> tuple[int, int, bool, bool, bool]:
        """An overridden network: nobody disagrees with the operator, and a country without more means just that."""
        subdivision = code if code in self.catalogue.subdivisions else None
        return self._ids[self.catalogue.country_of(code)], self._ids[subdivision], False, False, True

    def _all(self, codes: Sequence[str | None]) -> tuple[int, ...]:
        return tuple(self._ids[code] for code in codes)


def listed_codes(any_regions: Sequence[str], catalogue: Catalogue) -> tuple[frozenset[str], ...]:
    """Expand each region word to its codes of countries and subdivisions. Raises SettingsError for an unknown word."""
    words = [catalogue.words.get(word, word) for word in any_regions]
    for word in words:
        if word not in catalogue:
            meant = catalogue.suggest(word)
            hint = f"did you mean {meant!r}?" if meant else "give a code or a named region of the region catalogue"
            raise SettingsError(f"any_regions: unknown region {word!r} ({hint})")
    return tuple(frozenset(catalogue.regions[word].members if word in catalogue.regions else (word,)) for word in words)


def fuse_answers(
    answers: Sequence[Region],
    subdivisions: Sequence[frozenset[str]],
    catalogue: Catalogue,
    listed: Sequence[frozenset[str]] = (),
) -> FusedAnswer:
    """Make one answer of what the sources say (DOMAIN: an ordered list; `any` for listed regions).

    `listed` are regions as sets of codes: for the first of them that any source places the address in, the first such
    source decides; without one the first that knows the address. `subdivisions` are the ones that each source can see.
    Another source may only name a subdivision of the deciding one's country that the deciding one cannot see; whatever
    else it says differently is disagreement.
    """
    known = [number for number, answer in enumerate(answers) if answer.country_code]
    if not known:
        return FusedAnswer(None, None, sources_disagree=False, is_blind=False)
    claims = (number for codes in listed for number in known if _lies_in(answers[number], codes, catalogue))
    deciding = next(claims, known[0])
    country, subdivision = answers[deciding].country_code, answers[deciding].subdivision_code
    if subdivision is None:
        named = (answers[number].subdivision_code for number in known)
        unseen = (code for code in named if code and code not in subdivisions[deciding])
        subdivision = next((code for code in unseen if country in catalogue.subdivisions[code].countries), None)
    disagree = any(
        not _agrees(answers[number], subdivisions[number], country, subdivision, catalogue)
        for number in known
        if number != deciding
    )
    return FusedAnswer(
        country, subdivision, disagree, subdivision is None and _is_blind(country, answers, subdivisions, catalogue)
    )


def _is_blind(
    country: str | None, answers: Sequence[Region], subdivisions: Sequence[frozenset[str]], catalogue: Catalogue
) -> bool:
    """Tell whether some subdivision filed under the country could not have been seen by any source that names it."""
    watched = {row.code for row in catalogue.subdivisions.values() if country in row.countries}
    seen = {code for answer, codes in zip(answers, subdivisions, strict=True) if answer.country_code == country for code in codes}
    return not watched <= seen


def _lies_in(answer: Region, codes: frozenset[str], catalogue: Catalogue) -> bool:
    """Say whether an answer places the address in a region, as a policy's rule on the region would understand it."""
    subdivision = answer.subdivision_code
    country = catalogue.subdivisions[subdivision].country if subdivision else answer.country_code
    return subdivision in codes or country in codes


def _agrees(answer: Region, visible: frozenset[str], country: str | None, subdivision: str | None, catalogue: Catalogue) -> bool:
    """Say whether a source's answer fits the one that is given; a source that cannot see a subdivision may leave it out."""
    if answer.subdivision_code or subdivision is None:
        return (answer.subdivision_code or answer.country_code) == (subdivision or country)
    return answer.country_code in catalogue.subdivisions[subdivision].countries and subdivision not in visible
