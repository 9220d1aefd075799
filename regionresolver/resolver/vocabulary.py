"""Region codes as the small integers of the compiled path, and the tables of the fusion built from them.

In: the region catalogue, the PLMN table and the values of an index. Out: `Vocabulary`, whose `codes[id]` is the code
of a region id (0 is none), and the compiled `Fusion`. Made once per generation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from _fastpath.fusion import Fusion

if TYPE_CHECKING:
    from regionresolver.index import Index
    from regionresolver.model import Region
    from regionresolver.sources.catalogue import Catalogue
    from regionresolver.sources.plmn import PlmnRow, PlmnTable

Facts = tuple[int, Sequence[int], Sequence[int], Sequence[int], bool, bool, bool, bool]


class FusedAnswer(NamedTuple):
    """What all sources together say of a network."""

    country: str | None
    subdivision: str | None
    sources_disagree: bool


class Vocabulary:
    """Every region code that a resolution can name, numbered: countries, subdivisions, then named regions."""

    def __init__(self, catalogue: Catalogue, plmns: PlmnTable, index: Index) -> None:
        """Number the regions and compile the fusion's tables."""
        self.catalogue = catalogue
        visible = frozenset[str]().union(*(source.subdivisions for source in index.sources))
        self.answers = tuple(
            fuse_answers(answers, tuple(source.subdivisions for source in index.sources), catalogue) for answers in index.values
        )
        seen = {answer.country for answer in self.answers if answer.country}
        self.codes: tuple[str | None, ...] = (
            None,
            *sorted(seen | set(catalogue.countries)),
            *catalogue.subdivisions,
            *catalogue.regions,
        )
        self._ids = {code: number for number, code in enumerate(self.codes)}
        self.watched = frozenset(country for row in catalogue.subdivisions.values() for country in row.countries)
        self.blind = frozenset(
            country
            for country in self.watched
            if not any(country in row.countries and row.code in visible for row in catalogue.subdivisions.values())
        )
        self.fusion = Fusion(
            [self._facts(code) for code in self.codes],
            [((), False, 0), *(self._plmn(row) for row in plmns.rows)],
            [(self._ids[answer.country], self._ids[answer.subdivision], answer.sources_disagree) for answer in self.answers],
        )

    def _facts(self, code: str | None) -> Facts:
        if code is None:
            return 0, (), (), (), False, False, False, False
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
                False,
            )
        if code in self.catalogue.regions:
            region = self.catalogue.regions[code]
            countries = dict.fromkeys(
                (region.country, *(country for member in region.members for country in self._countries(member)))
            )
            return (
                self._ids[region.country],
                self._all(tuple(countries)),
                self._all(region.members),
                (),
                False,
                True,
                False,
                False,
            )
        return self._ids[code], (self._ids[code],), (), (), False, False, code in self.watched, code in self.blind

    def _countries(self, member: str) -> tuple[str, ...]:
        row = self.catalogue.subdivisions.get(member)
        return row.countries if row else (member,)

    def _plmn(self, row: PlmnRow) -> tuple[Sequence[int], bool, int]:
        return self._all(row.candidates), row.kind == "override", round((row.confidence or 0) * 100)

    def _all(self, codes: Sequence[str]) -> tuple[int, ...]:
        return tuple(self._ids[code] for code in codes)


def fuse_answers(answers: Sequence[Region], subdivisions: Sequence[frozenset[str]], catalogue: Catalogue) -> FusedAnswer:
    """Make one answer of what the sources say, the first that knows the address first (DOMAIN: an ordered list).

    `subdivisions` are the ones that each source can see. A later source may only name a subdivision of the first
    one's country that the first one cannot see; whatever else it says differently is disagreement.
    """
    first = next((number for number, answer in enumerate(answers) if answer.country_code), None)
    if first is None:
        return FusedAnswer(None, None, sources_disagree=False)
    country, subdivision = answers[first].country_code, answers[first].subdivision_code
    disagree = False
    for answer in answers[first + 1 :]:
        if not answer.country_code:
            continue
        other = answer.subdivision_code
        if other is None:
            disagree |= answer.country_code not in _filed_under(country, subdivision, catalogue)
        elif subdivision is None and other not in subdivisions[first] and country in catalogue.subdivisions[other].countries:
            subdivision = other
        else:
            disagree |= other != subdivision
    return FusedAnswer(country, subdivision, disagree)


def _filed_under(country: str | None, subdivision: str | None, catalogue: Catalogue) -> tuple[str | None, ...]:
    return catalogue.subdivisions[subdivision].countries if subdivision else (country,)
