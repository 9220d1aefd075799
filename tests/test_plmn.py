"""The PLMN table: one test for each hard case, every source's word on every MCC, and files that are wrong."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.digit_trie import DigitTrie, parse_plmn
from regionresolver.errors import CatalogueError
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnRow, PlmnTable
from tests.paths import SHARED
from tests.reference import plmn as reference

if TYPE_CHECKING:
    from pathlib import Path

TABLE = PlmnTable.load()
ROWS = TABLE.trie_rows()
TRIE = DigitTrie(ROWS)


def find(text: str) -> PlmnRow | None:
    """Return the row that decides, as the trie, the table and the reference must all say."""
    plmn = parse_plmn(text, allow_imsi=True, allow_mcc=True)
    assert plmn is not None
    known = plmn.mnc is not None
    value, length = TRIE.match(plmn)
    row = TABLE.rows[value - 1] if value else None
    assert TABLE.lookup(plmn.digits, mnc_known=known) == row
    assert reference.longest_prefix(ROWS, plmn.digits, mnc_known=known) == (value, length)
    assert row is None or row.prefix == plmn.digits[:length]
    return row


def candidates(text: str) -> tuple[str, ...]:
    row = find(text)
    assert row is not None, f"{text} is unassigned"
    return row.candidates


# The hard cases: what is read, what it may mean, the default first.
CASES = [
    ("208-01", "FR MC"),
    ("208-10", "FR MC"),
    ("208-20", "FR MC"),
    ("208-15", "FR"),
    ("208-500", "FR"),
    ("212-10", "MC"),
    ("212-01", "MC"),
    ("221-01", "XK"),
    ("228-01", "CH LI"),
    ("228-02", "CH"),
    ("234-03", "JE GG"),
    ("234-50", "JE GG"),
    ("234-55", "GG JE"),
    ("234-36", "IM"),
    ("234-58", "IM"),
    ("234-73", "IM"),
    ("234-10", "GB"),
    ("235-01", "GB"),
    ("250-01", "RU"),
    ("250-32", "crimea"),
    ("250-33", "UA-40"),
    ("250-34", "crimea"),
    ("250-54", "crimea"),
    ("250-60", "crimea"),
    ("250-61", "crimea"),
    ("250-96", "RU"),
    ("250-97", "UA-14"),
    ("250-331", "RU"),
    ("250-811", "RU"),
    ("250-050", "RU"),
    ("255-00", "MD-SN"),
    ("255-06", "UA"),
    ("255-98", "UA-09"),
    ("255-99", "UA-14"),
    ("255-701", "UA"),
    ("255-001", "UA"),
    ("259-15", "MD"),
    ("270-01", "LU"),
    ("270-77", "LU BE"),
    ("274-01", "IS"),
    ("274-02", "IS FO"),
    ("282-01", "GE"),
    ("288-02", "FO"),
    ("289-67", "GE-AB"),
    ("289-88", "GE-AB"),
    ("289-01", "GE"),
    ("293-41", "SI"),
    ("295-01", "LI"),
    ("310-410", "US GU MP PR VI BM"),
    ("310-017", "PR"),
    ("310-032", "GU"),
    ("310-033", "GU"),
    ("310-110", "MP"),
    ("310-120", "US VI"),
    ("310-140", "GU"),
    ("310-260", "US PR VI"),
    ("310-280", "PR US"),
    ("310-370", "GU MP"),
    ("310-400", "GU"),
    ("310-470", "GU"),
    ("310-480", "GU"),
    ("310-59", "BM"),
    ("31059", "BM"),
    ("310-590", "US GU MP PR VI BM"),
    ("310591", "US GU MP PR VI BM"),
    ("310591234567890", "US GU MP PR VI BM"),
    ("310-26", "US GU MP PR VI BM"),
    ("311-480", "US GU VI AS"),
    ("311-120", "GU"),
    ("311-250", "GU"),
    ("311-470", "VI"),
    ("311-780", "AS"),
    ("312-530", "US"),
    ("313-100", "US"),
    ("313-510", "PR"),
    ("313-790", "PR VI"),
    ("316-010", "US"),
    ("330-110", "PR"),
    ("332-01", "VI"),
    ("338-05", "JM KY LC MS"),
    ("338-050", "JM BM TC"),
    ("338050", "JM BM TC"),
    ("338051234567890", "JM KY LC MS"),
    ("338-180", "JM"),
    ("340-01", "GP GF MQ BL MF"),
    ("362-91", "CW BQ SX"),
    ("376-350", "TC"),
    ("406-01", "IN"),
    ("425-01", "IL PS"),
    ("425-05", "PS"),
    ("425-06", "PS"),
    ("430-02", "AE"),
    ("431-02", "AE"),
    ("461-00", "CN"),
    ("470-01", "BD"),
    ("505-01", "AU NF CC CX"),
    ("505-10", "NF"),
    ("542-01", "FJ"),
    ("542-02", "FJ NR"),
    ("536-02", "NR"),
    ("634-01", "SD"),
    ("647-10", "RE YT"),
    ("659-02", "SS"),
    ("714-02", "PA"),
    ("714-020", "PA"),
    ("740-24", "EC"),
    ("742-04", "GF"),
    ("250320123456789", "crimea"),
    ("310410123456789", "US GU MP PR VI BM"),
    ("368011234567890", "CU"),
    ("714020123456789", "PA"),
    ("467193123456789", "KP"),
    ("4321112345", "IR"),
    ("250", "RU"),
]


@pytest.mark.parametrize(("text", "regions"), CASES)
def test_hard_case(text: str, regions: str) -> None:
    assert candidates(text) == tuple(regions.split())


RESTRICTED = {
    "CU": "368-01",
    "SY": "417-01 417-02 417-03 417-09 417-50",
    "SD": "634-01 634-02 634-03 634-05 634-06 634-07 634-09 634-15 634-22 634-99",
    "KP": "467-05 467-06 467-193",
    "IR": (
        "432-01 432-02 432-03 432-04 432-05 432-06 432-07 432-08 432-09 432-10 432-11 432-12 432-13 432-14 432-19 432-20 "
        "432-32 432-35 432-44 432-45 432-46 432-49 432-50 432-51 432-52 432-70 432-71 432-90 432-93 432-99"
    ),
}


@pytest.mark.parametrize(("country", "plmns"), RESTRICTED.items())
def test_the_networks_of_a_restricted_country(country: str, plmns: str) -> None:
    for text in plmns.split():
        row = find(text)
        assert row is not None
        assert (row.candidates, row.kind) == ((country,), "country")


@pytest.mark.parametrize(
    ("text", "sort"),
    [
        ("001-01", "test"),
        ("001-001", "test"),
        ("001010123456789", "test"),
        ("901-40", "international_shared"),
        ("901405000000001", "international_shared"),
        ("902-01", "other_shared"),
        ("991-01", "trial"),
        ("999-99", "private"),
        ("999-999", "private"),
    ],
)
def test_a_code_of_no_country_is_no_evidence(text: str, sort: str) -> None:
    row = find(text)
    assert row is not None
    assert (row.kind, row.sort, row.candidates, row.confidence) == ("non_geographic", sort, (), None)


@pytest.mark.parametrize("mcc", ["423", "534", "535", "995", "000", "100", "300", "166", "990", "998", "903"])
def test_an_unassigned_code_has_no_row(mcc: str) -> None:
    assert find(f"{mcc}-01") is None
    assert find(f"{mcc}-001") is None


def test_how_sure_an_override_is() -> None:
    less_sure = {row.text for row in TABLE.rows if row.confidence == 0.8}
    assert less_sure == {"250-32", "250-54", "250-61", "250-97", "255-99"}
    for row in TABLE.rows:
        sure = row.kind == "override" and len(row.candidates) == 1
        assert row.confidence in ((0.95, 0.8) if sure else (None,)), row.text


def test_the_shared_codes_are_the_documented_ones() -> None:
    shared = {row.prefix: row.candidates for row in TABLE.rows if row.kind == "country" and len(row.candidates) > 1}
    assert shared == {
        "310": ("US", "GU", "MP", "PR", "VI", "BM"),
        "311": ("US", "GU", "VI", "AS"),
        "340": ("GP", "GF", "MQ", "BL", "MF"),
        "362": ("CW", "BQ", "SX"),
        "425": ("IL", "PS"),
        "505": ("AU", "NF", "CC", "CX"),
        "647": ("RE", "YT"),
    }


def test_no_row_changes_nothing() -> None:
    for row in TABLE.rows:
        if row.kind == "override":
            mcc = TABLE.lookup(row.prefix[:3], mnc_known=False)
            assert mcc is not None
            assert mcc.candidates != row.candidates, row.text


def test_only_a_two_digit_override_with_longer_neighbours_is_exact() -> None:
    assert [row.text for row in TABLE.rows if row.exact] == ["310-59"]


def test_every_row_names_a_source_which_has_a_date() -> None:
    assert TABLE.date == max(TABLE.sources[row.source].date for row in TABLE.rows)
    assert all(row.operator for row in TABLE.rows if row.kind == "override")


def test_every_candidate_is_in_the_catalogue() -> None:
    catalogue = Catalogue.load()
    assert all(code in catalogue for row in TABLE.rows for code in row.candidates)
    with pytest.raises(TypeError):
        TABLE.sources["x"] = None  # type: ignore[index]


@given(st.text("0123456789", min_size=5, max_size=15))
def test_any_digits_decide_alike_in_the_trie_the_table_and_the_reference(digits: str) -> None:
    find(digits)
    find(f"{digits[:3]}-{digits[3:6]}")


# Where our default differs from the ITU's own list, and why.
NOT_AS_THE_ITU = {
    "289": "no assignment of the ITU; its networks are real",
    "340": "the ITU names three countries, not one",
    "362": "the ITU names three places, not one",
}


@pytest.mark.skipif(SHARED is None, reason="the folder of shared facts is not beside the repository")
def test_the_defaults_agree_with_the_itu() -> None:
    assert SHARED is not None
    text = (SHARED / "data/plmn/mcc_by_source.md").read_text(encoding="utf-8").partition("# Disagreements")[0]
    itu = dict(re.findall(r"^\| (\d{3}) \|[^|]*\| ?([^|]*?) ?\|", text, re.MULTILINE))
    ours = {row.prefix: row for row in TABLE.rows if row.kind != "override"}
    assert len(itu) > 240
    assert set(ours) <= set(itu)
    differing = set()
    for mcc, country in itu.items():
        row = ours.get(mcc)
        if row is None:
            assert country == "·", f"{mcc} is {country} for the ITU and has no row"
        elif row.kind == "country" and row.candidates[0] != country:
            differing.add(mcc)
        elif row.kind == "non_geographic":
            assert not re.fullmatch("[A-Z]{2}", country)
    assert differing == set(NOT_AS_THE_ITU)


GOOD = """
[sources]
test = { title = "a test", date = 2026-01-01 }

[mcc]
rows = [
  { mcc = "250", regions = ["RU"], source = "test" },
  { mcc = "310", regions = ["US", "GU"], source = "test" },
]

[overrides]
confidence = 0.95
rows = [
  { plmn = "250-32", regions = ["crimea"], confidence = 0.8, operator = "K-Telecom", source = "test" },
  { plmn = "310-59", regions = ["BM"], exact = true, source = "test" },
  { plmn = "310-370", regions = ["GU", "MP"], source = "test" },
]

[non_geographic]
rows = [
  { mcc = "001", sort = "test", source = "test" },
]
"""

# What is wrong: a text of GOOD, what stands there instead, and the place and words of the error.
FAULTS = [
    ('mcc = "250"', "mcc = 250", "mcc.rows[0].mcc: must be a text"),
    ('mcc = "250"', 'mcc = "25"', "mcc.rows[0].mcc: '25' is no MCC"),
    ('mcc = "250"', 'mcc = "25o"', "'25o' is no MCC"),
    ('mcc = "250"', 'mcc = "٢٥٠"', "is no MCC"),
    ('mcc = "250"', 'mcc = "310"', "310 has two rows"),
    ('mcc = "250"', 'mcc = "001"', "001 has two rows"),
    ('["RU"]', '["RUS"]', "mcc.rows[0].regions: names the unknown region 'RUS' (did you mean RU?)"),
    ('["RU"]', '["QQ"]', "names the unknown region 'QQ' (use a code"),
    ('["crimea"]', '["Crimea"]', "did you mean crimea?"),
    ('["RU"]', "[]", "must be an array of texts"),
    ('["US", "GU"]', '["US", "US"]', "names something twice"),
    ('regions = ["RU"], ', "", "mcc.rows[0].regions: is missing"),
    ('["RU"], source = "test"', '["RU"]', "mcc.rows[0].source: is missing"),
    ('["RU"], source = "test"', '["RU"], source = "tests"', "did you mean test?"),
    ('"250-32"', '"25032"', "'25032' is no PLMN"),
    ('"250-32"', '"250-3"', "'250-3' is no PLMN"),
    ('"250-32"', '"250-3333"', "is no PLMN"),
    ('"250-32"', '"250--2"', "is no PLMN"),
    ('"250-32"', '"250-٣٢"', "is no PLMN"),
    ('"250-32"', '"310-59"', "310-59 has two rows"),
    ('"310-59"', '"310-590"', "overrides.rows[1].exact: is for an MNC of two digits"),
    ("exact = true", "exact = 1", "exact: must be true or false"),
    ("exact = true", "exakt = true", "exakt: is not a key of this table (did you mean exact?)"),
    ("confidence = 0.95", "", "overrides.confidence: is missing"),
    ("confidence = 0.95", "confidence = true", "must be a number above 0"),
    ("confidence = 0.8", "confidence = 0.0", "overrides.rows[0].confidence: must be a number above 0"),
    ("confidence = 0.8", "confidence = 1.5", "must be a number above 0"),
    ('["GU", "MP"]', '["GU", "MP"], confidence = 0.8', "confidence: is for one region"),
    ('sort = "test"', 'sort = "tset"', "non_geographic.rows[0].sort: 'tset' is no sort of code"),
    ('sort = "test"', 'sort = "test", regions = ["US"]', "regions: is not a key of this table"),
    ("[non_geographic]", "[non_geographical]", "non_geographic: is missing"),
    ("rows = [\n  { mcc", "rows = [ 7,\n  { mcc", "mcc.rows[0]: must be a table"),
]


def test_the_good_file_is_good(tmp_path: Path) -> None:
    path = tmp_path / "plmn.toml"
    path.write_text(GOOD, encoding="utf-8")
    table = PlmnTable.load(path)
    assert [(row.text, row.kind, row.confidence, row.exact, row.sort) for row in table.rows] == [
        ("250", "country", None, False, None),
        ("310", "country", None, False, None),
        ("250-32", "override", 0.8, False, None),
        ("310-59", "override", 0.95, True, None),
        ("310-370", "override", None, False, None),
        ("001", "non_geographic", None, False, "test"),
    ]
    assert table.trie_rows()[3] == ("31059", 4, True)
    assert table.sha256 != TABLE.sha256


@pytest.mark.parametrize(("good", "bad", "words"), FAULTS)
def test_a_wrong_file_is_refused_with_the_place_and_a_remedy(tmp_path: Path, good: str, bad: str, words: str) -> None:
    assert good in GOOD
    path = tmp_path / "plmn.toml"
    path.write_text(GOOD.replace(good, bad, 1), encoding="utf-8")
    with pytest.raises(CatalogueError) as caught:
        PlmnTable.load(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert words in message
    assert caught.value.remedy
