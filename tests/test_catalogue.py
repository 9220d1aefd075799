"""The region catalogue: its facts, a database's words for a place, mistyped codes, and files that are wrong."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from regionresolver.errors import CatalogueError
from regionresolver.sources.catalogue import Catalogue, normalise_name

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.load()


def test_every_country_of_iso_3166_and_kosovo(catalogue: Catalogue) -> None:
    assert len(catalogue.countries) == 249 + 1
    assert catalogue.countries["CU"] == "Cuba"
    assert catalogue.countries["XK"] == "Kosovo"
    assert {"HK", "MO", "TW", "PS", "SS", "SD"} <= set(catalogue.countries)
    assert not {"AN", "XX", "ZZ", "EU", "AP", "UK", ""} & set(catalogue.countries)
    assert list(catalogue.countries) == sorted(catalogue.countries)


def test_alpha_3_codes(catalogue: Catalogue) -> None:
    six = {"CUB": "CU", "IRN": "IR", "SYR": "SY", "SDN": "SD", "PRK": "KP", "UKR": "UA"}
    assert {code: catalogue.alpha3[code] for code in six} == six
    assert catalogue.alpha3["SSD"] == "SS"
    assert len(catalogue.alpha3) == len(catalogue.countries)


def test_subdivisions(catalogue: Catalogue) -> None:
    assert set(catalogue.subdivisions) == {"UA-43", "UA-40", "UA-14", "UA-09", "UA-65", "UA-23", "GE-AB", "MD-SN"}
    for code in ("UA-43", "UA-40"):
        row = catalogue.subdivisions[code]
        assert (row.country, row.countries, row.without_service_from) == ("UA", ("UA", "RU"), ("UA",))
    assert catalogue.subdivisions["UA-43"].aliases == ("RU-CR",)
    assert catalogue.subdivisions["UA-40"].aliases == ("RU-SEV",)
    assert catalogue.subdivisions["UA-14"].without_service_from == ()
    assert catalogue.subdivisions["GE-AB"].countries == ("GE",)


def test_named_regions(catalogue: Catalogue) -> None:
    members = {name: (region.members, region.country) for name, region in catalogue.regions.items()}
    assert members == {
        "crimea": (("UA-43", "UA-40"), "UA"),
        "cuba": (("CU",), "CU"),
        "iran": (("IR",), "IR"),
        "syria": (("SY",), "SY"),
        "sudan": (("SD",), "SD"),
        "north-korea": (("KP",), "KP"),
    }


def test_every_row_has_a_source_with_a_date(catalogue: Catalogue) -> None:
    tables = (catalogue.country_rows, catalogue.subdivisions, catalogue.regions)
    for source in [row.source for table in tables for row in table.values()]:
        assert source.title
        assert source.date.year >= 2014
        assert catalogue.sources[source.key] is source


def test_what_may_be_named(catalogue: Catalogue) -> None:
    assert all(code in catalogue for code in ("CU", "UA-43", "crimea", "XK"))
    assert not any(code in catalogue for code in ("RU-CR", "CUB", "UA-30", "Crimea", "", None, 5))
    assert [catalogue.country_of(code) for code in ("CU", "UA-43", "crimea", "GE-AB")] == ["CU", "UA", "UA", "GE"]
    with pytest.raises(KeyError):
        catalogue.country_of("Crimea")


def test_the_catalogue_cannot_be_changed(catalogue: Catalogue) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        catalogue.sha256 = ""  # type: ignore[misc]
    with pytest.raises(TypeError):
        catalogue.countries["XX"] = "Nowhere"  # type: ignore[index]
    with pytest.raises(TypeError):
        del catalogue.regions["crimea"]  # type: ignore[attr-defined]


# What a record says: country, code of the subdivision, name of the subdivision; and what that is in our codes.
WORDS = [
    ("UA", "43", "Crimea", "UA", "UA-43"),
    ("UA", "43", None, "UA", "UA-43"),
    ("UA", "UA-43", None, "UA", "UA-43"),
    ("UA", "ua-43", None, "UA", "UA-43"),
    ("UA", "40", None, "UA", "UA-40"),
    ("UA", None, "Crimea", "UA", "UA-43"),
    ("RU", None, "Crimea", "RU", "UA-43"),
    ("RU", "CR", "Respublika Krym", "RU", "UA-43"),
    ("RU", "RU-CR", None, "RU", "UA-43"),
    ("RU", "SEV", None, "RU", "UA-40"),
    ("RU", "RU-SEV", None, "RU", "UA-40"),
    ("RU", "UA-40", None, "RU", "UA-40"),
    ("RU", None, "Sebastopol City", "RU", "UA-40"),
    ("UA", None, "Sebastopol City", "UA", "UA-40"),
    ("UA", None, "Autonomous Republic of Crimea", "UA", "UA-43"),
    ("UA", None, "Republic of Crimea", "UA", "UA-43"),
    ("UA", None, "Avtonomna Respublika Krym", "UA", "UA-43"),
    ("UA", None, "Sevastopol", "UA", "UA-40"),
    ("RU", None, "Gorod Sevastopol", "RU", "UA-40"),
    ("UA", None, "Misto Sevastopol", "UA", "UA-40"),
    ("UA", None, "Misto Sevastopol'", "UA", "UA-40"),
    ("UA", None, "City of Sevastopol", "UA", "UA-40"),
    ("UA", "14", None, "UA", "UA-14"),
    ("UA", None, "Donetsk", "UA", "UA-14"),
    ("UA", None, "Donetsk Oblast", "UA", "UA-14"),
    ("UA", None, "Donets'ka Oblast'", "UA", "UA-14"),
    ("UA", None, "Donets\u2019ka Oblast\u2019", "UA", "UA-14"),
    ("UA", None, "Luhansk", "UA", "UA-09"),
    ("RU", None, "Luhansk", "RU", "UA-09"),
    ("UA", None, "Luhans'ka Oblast'", "UA", "UA-09"),
    ("UA", None, "Kherson", "UA", "UA-65"),
    ("UA", None, "Kherson Oblast", "UA", "UA-65"),
    ("UA", None, "Khersons'ka Oblast'", "UA", "UA-65"),
    ("UA", None, "Zaporizhia", "UA", "UA-23"),
    ("UA", None, "Zaporizhzhia", "UA", "UA-23"),
    ("UA", None, "Zaporizhzhya Oblast", "UA", "UA-23"),
    ("UA", None, "Zaporiz'ka Oblast'", "UA", "UA-23"),
    ("GE", "AB", None, "GE", "GE-AB"),
    ("GE", None, "Abkhazia", "GE", "GE-AB"),
    ("MD", "SN", None, "MD", "MD-SN"),
    ("MD", None, "Transnistria", "MD", "MD-SN"),
    ("MD", None, "Administrative-Territorial Units of the Left Bank of the Dniester", "MD", "MD-SN"),
    ("MD", None, "Stînga Nistrului, unitatea teritorială din", "MD", "MD-SN"),
    ("MD", None, "Stinga Nistrului unitatea teritoriala din", "MD", "MD-SN"),
    # A code goes before a name, and a name helps where the code does not.
    ("UA", "43", "Sevastopol", "UA", "UA-43"),
    ("UA", "30", "Crimea", "UA", "UA-43"),
    ("RU", "11", "Crimea", "RU", "UA-43"),
    ("ua", "43", None, "UA", "UA-43"),
    (" UA ", " 43 ", None, "UA", "UA-43"),
    ("UA", "", "  CRIMEA ", "UA", "UA-43"),
    (None, "UA-43", None, None, "UA-43"),
    # Subdivisions that the catalogue does not list, however valid they look.
    ("US", "CA", "California", "US", None),
    ("US", "US-CA", None, "US", None),
    ("UA", "30", "Kyiv City", "UA", None),
    ("MD", None, "Bender Municipality", "MD", None),
    ("PS", None, "West Bank", "PS", None),
    ("PS", None, "Gaza Strip", "PS", None),
    ("RU", None, "North Ossetia\u2013Alania", "RU", None),
    ("UA", "", "", "UA", None),
    ("UA", None, None, "UA", None),
    ("UA", "-", "-", "UA", None),
    # Names and codes outside the countries that file them: 43 was Lipetsk's code under RU, FR has a Crimea of its own.
    ("RU", "43", "Lipetsk", "RU", None),
    ("FR", None, "Crimea", "FR", None),
    ("FR", "UA-43", None, "FR", None),
    ("RU", None, "Kherson", "RU", None),
    ("RU", None, "Abkhazia", "RU", None),
    ("UA", None, "Transnistria", "UA", None),
    (None, "43", None, None, None),
    (None, None, "Crimea", None, None),
    # Cities are no subdivisions.
    ("RU", None, "Yalta", "RU", None),
    ("RU", None, "Krym", "RU", None),
    ("RU", None, "Lugansk", "RU", None),
    # What is no country of ISO 3166-1 is unknown, never "", "XX" or "ZZ".
    ("", None, None, None, None),
    ("XX", None, None, None, None),
    ("ZZ", "43", "Crimea", None, None),
    ("EU", None, None, None, None),
    ("AN", None, None, None, None),
    ("USA", None, None, None, None),
    ("XK", None, "Pristina", "XK", None),
    (None, None, None, None, None),
]


@pytest.mark.parametrize(("country", "code", "name", "expected_country", "expected_subdivision"), WORDS)
def test_a_databases_words(
    catalogue: Catalogue,
    country: str | None,
    code: str | None,
    name: str | None,
    expected_country: str | None,
    expected_subdivision: str | None,
) -> None:
    assert catalogue.canonical(country, code, name) == (expected_country, expected_subdivision)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Kharkivs\u2019ka Oblast\u2019", "kharkivska oblast"),
        ("Ivano-Frankivsk", "ivano frankivsk"),
        ("  Stînga   Nistrului,\tunitatea teritorială din ", "stinga nistrului unitatea teritoriala din"),
        ("Straße", "strasse"),
        ("Автономна Республіка Крим", "автономна республіка крим"),
        ("'", ""),
        ("", ""),
    ],
)
def test_normalised_names(name: str, expected: str) -> None:
    assert normalise_name(name) == expected


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("SYR", "SY"),
        ("syr", "SY"),
        ("cu", "CU"),
        ("UK", "GB"),
        ("EL", "GR"),
        ("RU-CR", "UA-43"),
        ("ua-43", "UA-43"),
        ("UA_43", "UA-43"),
        ("Crimea", "crimea"),
        ("Krimea", "crimea"),
        ("North Korea", "north-korea"),
        ("north_korea", "north-korea"),
        ("South Korea", "KR"),
        ("Syrian Arab Republic", "SY"),
        ("Germny", "DE"),
        ("Sebastopol City", "UA-40"),
        ("XX", None),
        ("", None),
        ("somewhere else", None),
    ],
)
def test_did_you_mean(catalogue: Catalogue, word: str, meant: str | None) -> None:
    assert catalogue.suggest(word) == meant


GOOD = """
[sources]
test = { title = "a test", date = 2026-01-01 }

[countries]
source = "test"
rows = [
  { code = "UA", alpha3 = "UKR", name = "Ukraine" },
  { code = "RU", alpha3 = "RUS", name = "Russia", common_name = "Russia" },
  { code = "GB", alpha3 = "GBR", name = "United Kingdom", other_codes = ["UK"] },
]

[[subdivisions]]
code = "UA-43"
name = "Crimea"
country = "UA"
countries = ["UA", "RU"]
aliases = ["RU-CR"]
names = ["Crimea"]
without_service_from = ["UA"]
source = "test"

[[subdivisions]]
code = "UA-40"
name = "Sevastopol"
country = "UA"
countries = ["UA"]
names = ["Sevastopol"]
source = "test"

[regions]
source = "test"
rows = [
  { name = "crimea", members = ["UA-43", "UA-40"], country = "UA" },
]
"""

# What is wrong: a text of GOOD, what stands there instead, and the place and words of the error.
FAULTS = [
    ("[sources]", "[sources", "is not TOML"),
    ('title = "a test", ', "", "sources.test.title: is missing"),
    ("2026-01-01", '"2026-01-01"', "sources.test.date: must be a date"),
    ("2026-01-01", "2026-01-01T00:00:00Z", "sources.test.date: must be a date"),
    ('{ title = "a test", date = 2026-01-01 }', '"a test"', "sources.test: must be a table"),
    ('[countries]\nsource = "test"', '[countries]\nsource = "tset"', "did you mean test?"),
    ('[countries]\nsource = "test"', "[countries]", "countries.source: is missing"),
    ('code = "UA",', 'code = "UKR",', "countries.rows[0].code: must be 2 capital letters"),
    ('alpha3 = "UKR"', 'alpha3 = "ukr"', "countries.rows[0].alpha3: must be 3 capital letters"),
    ('alpha3 = "UKR"', 'alpha3 = "\uff35\uff2b\uff32"', "countries.rows[0].alpha3: must be 3 capital letters"),
    ('code = "RU",', 'code = "UA",', "countries.rows[1].code: repeats UA"),
    ('alpha3 = "RUS"', 'alpha3 = "UKR"', "countries.rows[1].code: repeats UKR"),
    ('other_codes = ["UK"]', 'other_codes = ["RU"]', "countries.rows[2].code: repeats RU"),
    ('name = "Ukraine"', 'name = ""', "countries.rows[0].name: must be a text"),
    ('name = "Ukraine"', 'nmae = "Ukraine"', "countries.rows[0].name: is missing"),
    ("common_name =", "comon_name =", "comon_name: is not a key of this table (did you mean common_name?)"),
    ('code = "UA-43"', 'code = "UA-4343"', "is no ISO 3166-2 code of UA"),
    ('code = "UA-43"', 'code = "ua-43"', "is no ISO 3166-2 code of UA"),
    ('code = "UA-43"', 'code = "RU-43"', "is no ISO 3166-2 code of UA"),
    ('code = "UA-43"', 'code = "UA-"', "is no ISO 3166-2 code of UA"),
    ('code = "UA-43"', 'code = "UA-40"', "subdivisions[1].code: repeats UA-40"),
    ('aliases = ["RU-CR"]', 'aliases = ["UA-40"]', "subdivisions[1].code: repeats UA-40, which is UA-43"),
    ('aliases = ["RU-CR"]', 'aliases = ["CR"]', "aliases: must be whole codes"),
    ('aliases = ["RU-CR"]', 'aliases = ["GB-CR"]', "aliases: must be whole codes"),
    ('aliases = ["RU-CR"]', "aliases = []", "aliases: must be an array of texts"),
    ('aliases = ["RU-CR"]', 'aliases = "RU-CR"', "aliases: must be an array of texts"),
    ('aliases = ["RU-CR"]', "aliases = [7]", "aliases: must be an array of texts"),
    ('aliases = ["RU-CR"]', 'aliases = ["RU-CR", "RU-CR"]', "names something twice"),
    ('country = "UA"\ncountries = ["UA", "RU"]', 'country = "UKR"\ncountries = ["UA"]', "did you mean UA?"),
    ('countries = ["UA", "RU"]', 'countries = ["RU", "UA"]', "countries: must begin with its own country UA"),
    ('countries = ["UA", "RU"]', 'countries = ["UA", "UK"]', "unknown country 'UK' (did you mean GB?)"),
    ('without_service_from = ["UA"]', 'without_service_from = ["QQ"]', "unknown country 'QQ'"),
    ('names = ["Crimea"]\n', "", "subdivisions[0].names: is missing"),
    ('names = ["Crimea"]', 'names = ["SEVASTOPOL"]', "subdivisions[1].names: repeats Sevastopol, which is UA-43"),
    ('names = ["Sevastopol"]\nsource = "test"', 'names = ["Sevastopol"]', "subdivisions[1].source: is missing"),
    ('name = "crimea"', 'name = "Crimea"', "could be taken for a code"),
    ('name = "crimea"', 'name = "ua"', "could be taken for a code"),
    ('"UA-43", "UA-40"]', '"UA-43", "UA-41"]', "regions.rows[0].members: names the unknown code 'UA-41' (did you mean UA-4"),
    ('"UA-43", "UA-40"]', '"UA-43", "RU"]', "regions.rows[0].country: is UA, but RU is in RU"),
    ('"UA-43", "UA-40"]', '"UA-43", "UA-43"]', "names something twice"),
    ("]\n\n[[subdivisions]]", "]\nrow = 1\n\n[[subdivisions]]", "countries.row: is not a key of this table (did you mean rows?)"),
    ("[sources]", "extra = 1\n[sources]", "extra: is not a key of this table"),
    ("[regions]", "[region]", "regions: is missing"),
]


def test_the_good_file_is_good(tmp_path: Path) -> None:
    path = tmp_path / "regions.toml"
    path.write_text(GOOD, encoding="utf-8")
    catalogue = Catalogue.load(path)
    assert catalogue.canonical("RU", "CR", None) == ("RU", "UA-43")
    assert catalogue.canonical("RU", None, "Sevastopol") == ("RU", None)
    assert catalogue.sha256 == Catalogue.load(str(path)).sha256 != Catalogue.load().sha256


@pytest.mark.parametrize(("good", "bad", "words"), FAULTS)
def test_a_wrong_file_is_refused_with_the_place_and_a_remedy(tmp_path: Path, good: str, bad: str, words: str) -> None:
    assert GOOD.count(good) >= 1
    path = tmp_path / "regions.toml"
    path.write_text(GOOD.replace(good, bad, 1), encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        Catalogue.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert words in message
    assert caught.value.remedy


def test_a_repeated_region_is_refused(tmp_path: Path) -> None:
    row = '  { name = "crimea", members = ["UA-43", "UA-40"], country = "UA" },\n'
    path = tmp_path / "regions.toml"
    path.write_text(GOOD.replace(row, row * 2), encoding="utf-8")
    with pytest.raises(CatalogueError, match="repeats crimea"):
        Catalogue.load(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot be read: No such file"):
        Catalogue.load(tmp_path / "absent.toml")
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# \xe9\n")
    with pytest.raises(CatalogueError, match="is not UTF-8"):
        Catalogue.load(path)
