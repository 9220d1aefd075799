"""Which database decides: the order, and `any` for listed regions, against a form that reads like the rule."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest

from regionresolver import Conflict, Region, Resolver
from regionresolver.errors import SettingsError
from regionresolver.resolver.vocabulary import fuse_answers, listed_codes
from regionresolver.sources.catalogue import Catalogue
from tests.worlds import city_database, country_database

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Fused = tuple[str | None, str | None, bool]
"""Country, subdivision, and whether the sources disagree."""

CATALOGUE = Catalogue.load()
NOTHING = Region(None, None)

ANSWERS = [
    NOTHING,
    Region("UA", None),
    Region("RU", None),
    Region("CU", None),
    Region("UA", "UA-43"),
    Region("RU", "UA-43"),
    Region("UA", "UA-40"),
    Region("GE", "GE-AB"),
]
SIGHTS = [frozenset[str](), frozenset({"UA-43", "UA-40"}), frozenset({"UA-43", "UA-40", "GE-AB"})]
LISTS: list[list[str]] = [[], ["crimea"], ["UA"], ["RU"], ["CU", "UA-43"], ["UA", "UA-43"], ["GE-AB", "crimea"]]


# ---- the reference ----


def own_country(answer: Region) -> str | None:
    return CATALOGUE.country_of(answer.subdivision_code) if answer.subdivision_code else answer.country_code


def is_in(answer: Region, code: str) -> bool:
    return code in (answer.subdivision_code, own_country(answer))


def filed_under(subdivision: str) -> tuple[str, ...]:
    return CATALOGUE.subdivisions[subdivision].countries


def reference(answers: Sequence[Region], sights: Sequence[frozenset[str]], words: Sequence[str]) -> Fused:
    """The rule in the words of docs/fusion.md."""
    knowing = [number for number, answer in enumerate(answers) if answer.country_code]
    if not knowing:
        return None, None, False
    decider = knowing[0]
    for word in words:
        members = CATALOGUE.regions[word].members if word in CATALOGUE.regions else (word,)
        claims = [number for number in knowing if any(is_in(answers[number], member) for member in members)]
        if claims:
            decider = claims[0]
            break
    country, subdivision = answers[decider].country_code, answers[decider].subdivision_code
    if subdivision is None:
        for number in knowing:
            other = answers[number].subdivision_code
            if other and other not in sights[decider] and country in filed_under(other):
                subdivision = other
                break
    disagree = False
    for number in knowing:
        answer = answers[number]
        if number == decider:
            continue
        if answer.subdivision_code and answer.subdivision_code != subdivision:
            disagree = True  # names another subdivision, or one that the decider could have named and did not
        elif not answer.subdivision_code and subdivision and subdivision in sights[number]:
            disagree = True  # could have named it and did not
        elif not answer.subdivision_code and answer.country_code not in (filed_under(subdivision) if subdivision else (country,)):
            disagree = True
    return country, subdivision, disagree


def fused(answers: Sequence[Region], sights: Sequence[frozenset[str]], listed: Sequence[frozenset[str]]) -> Fused:
    """Without what the resolver notes about blindness: that has tests of its own."""
    return fuse_answers(answers, sights, CATALOGUE, listed)[:3]


def possible(answer: Region, sees: frozenset[str]) -> bool:
    return answer.subdivision_code is None or answer.subdivision_code in sees


@pytest.mark.parametrize("words", LISTS, ids=",".join)
def test_two_sources_on_the_whole_product(words: list[str]) -> None:
    listed = listed_codes(words, CATALOGUE)
    columns = [(answer, sees) for answer in ANSWERS for sees in SIGHTS if possible(answer, sees)]
    for first, second in itertools.product(columns, repeat=2):
        answers, sights = (first[0], second[0]), (first[1], second[1])
        assert fused(answers, sights, listed) == reference(answers, sights, words), (answers, sights)


@pytest.mark.parametrize("words", LISTS, ids=",".join)
def test_three_to_five_sources_at_random(words: list[str]) -> None:
    numbers = random.Random(11)
    listed = listed_codes(words, CATALOGUE)
    columns = [(answer, sees) for answer in ANSWERS for sees in SIGHTS if possible(answer, sees)]
    for _ in range(3000):
        chosen = numbers.choices(columns, k=numbers.randrange(3, 6))
        answers, sights = tuple(answer for answer, _ in chosen), tuple(sees for _, sees in chosen)
        assert fused(answers, sights, listed) == reference(answers, sights, words), (answers, sights)


def test_a_listed_region_that_some_source_names_is_always_the_answer() -> None:
    for answers in itertools.product(ANSWERS, repeat=3):
        _, subdivision, _ = fused(answers, [SIGHTS[2]] * 3, listed_codes(["crimea"], CATALOGUE))
        named = any(answer.subdivision_code in ("UA-43", "UA-40") for answer in answers)
        assert (subdivision in ("UA-43", "UA-40")) == named, answers


@pytest.mark.parametrize(
    ("answers", "words", "expected"),
    [
        ([Region("UA", None), Region("RU", "UA-43")], [], ("UA", None, True)),
        ([Region("UA", None), Region("RU", "UA-43")], ["crimea"], ("RU", "UA-43", True)),
        ([Region("US", None), Region("CU", None)], ["CU"], ("CU", None, True)),
        ([Region("US", None), Region("CU", None)], ["cuba"], ("CU", None, True)),
        ([Region("US", None), NOTHING, Region("CU", None)], ["SY"], ("US", None, True)),
        # the order of the list decides between two claims, then the order of the sources
        ([Region("CU", None), Region("UA", "UA-43")], ["crimea", "CU"], ("UA", "UA-43", True)),
        ([Region("CU", None), Region("UA", "UA-43")], ["CU", "crimea"], ("CU", None, True)),
        ([Region("UA", "UA-40"), Region("UA", "UA-43")], ["crimea"], ("UA", "UA-40", True)),
        ([Region("UA", "UA-40"), Region("UA", "UA-40")], ["crimea"], ("UA", "UA-40", False)),
        # Crimea filed under RU is in UA, and not in RU
        ([Region("DE", None), Region("RU", "UA-43")], ["UA"], ("RU", "UA-43", True)),
        ([Region("DE", None), Region("RU", "UA-43")], ["RU"], ("DE", None, True)),
        # a source that can see Crimea and says Ukraine contradicts one that says Crimea, in whatever order
        ([Region("UA", "UA-43"), Region("UA", None)], [], ("UA", "UA-43", True)),
    ],
)
def test_examples(answers: list[Region], words: list[str], expected: Fused) -> None:
    assert fused(answers, [SIGHTS[2]] * len(answers), listed_codes(words, CATALOGUE)) == expected


def test_a_country_database_does_not_contradict_what_it_cannot_see() -> None:
    answers = [Region("RU", None), Region("UA", "UA-43"), Region("UA", None)]
    listed = listed_codes(["UA-43"], CATALOGUE)
    assert fused(answers, [frozenset(), SIGHTS[1], frozenset()], listed) == ("UA", "UA-43", False)


@pytest.mark.parametrize(
    ("word", "hint"),
    [("krim", "give a code|did you mean"), ("RU-CR", "did you mean 'UA-43'"), ("Crimea", "did you mean"), ("", "give a code")],
)
def test_an_unknown_region_is_refused_with_a_hint(word: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=f"any_regions: unknown region .*{hint}"):
        listed_codes(["CU", word], CATALOGUE)


# ---- through the resolver ----


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("precedence")
    first = {"1.0.0.0/16": ("UA", None), "1.1.0.0/16": ("US", None), "1.2.0.0/16": ("DE", None), "9.0.0.0/16": ("UA", "43")}
    second = {"1.0.0.0/16": ("RU", "CR"), "1.1.0.0/16": ("CU", None), "1.2.0.0/16": ("DE", None)}
    return [city_database(folder / "first.mmdb", first), city_database(folder / "second.mmdb", second)]


def test_the_order_decides_by_default(databases: list[Path]) -> None:
    with Resolver.open(db=databases) as resolver:
        answer = resolver.resolve(ip="1.0.0.1")
        assert answer.region == "UA"
        assert Conflict.SOURCES_DISAGREE in answer.conflicts
        assert resolver.metadata()["precedence"] == {"order": "first", "any_regions": []}


def test_any_source_may_claim_an_address_for_a_listed_region(databases: list[Path]) -> None:
    with Resolver.open(db=databases, any_regions=["crimea"]) as resolver:
        answer = resolver.explain(ip="1.0.0.1").resolution
        assert (answer.region, answer.country, answer.conflicts) == ("UA-43", "UA", (Conflict.SOURCES_DISAGREE,))
        said = {source.source: source.subdivision_code or source.country_code for source in answer.evidence[0].sources}
        assert said == {"first": "UA", "second": "UA-43"}
        assert resolver.lookup("1.0.0.1") == Region("RU", "UA-43")
        assert resolver.resolve(ip="1.1.0.1").region == "US", "a region that is not listed keeps to the order"
        assert resolver.resolve(ip="1.2.0.1").conflicts == ()
        assert resolver.decide(ip="1.0.0.1").resolution.region_name == "crimea"
        assert resolver.metadata()["precedence"] == {"order": "first", "any_regions": ["crimea"]}


def test_a_listed_region_that_no_database_can_see_is_warned_about(tmp_path: Path) -> None:
    with Resolver.open(db=country_database(tmp_path / "country.mmdb"), any_regions=["crimea", "CU"]) as resolver:
        found = [warning for warning in resolver.warnings if warning.startswith("any_regions")]
    assert found == [f"any_regions names {code}, and no loaded database can see it" for code in ("UA-40", "UA-43")]


def test_the_resolver_refuses_an_unknown_region(databases: list[Path]) -> None:
    with pytest.raises(SettingsError, match="unknown region 'krym'"):
        Resolver.open(db=databases, any_regions=["krym"])
