"""`regionresolver plmn`: what the table knows of a network, in every form that a network is written in."""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from regionresolver import Resolver
from regionresolver.resolver.extended import open_catalogue
from regionresolver.resolver.plmns import KnownPlmns, find_plmn, read_plmn
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnTable
from tests.paths import SHARED
from tests.test_cli import invoke

if TYPE_CHECKING:
    from pathlib import Path

CATALOGUE = Catalogue.load()
TABLE = PlmnTable.load(catalogue=CATALOGUE)


def documents(*arguments: str) -> list[dict[str, Any]]:
    result = invoke("plmn", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_an_override_with_everything_that_is_known() -> None:
    (document,) = documents("25032")
    source = TABLE.sources["wikipedia"]
    assert document == {
        "plmn": "250-32",
        "mcc": "250",
        "mnc": "32",
        "status": "ok",
        "match": "25032",
        "kind": "override",
        "regions": [{"code": "crimea", "name": "crimea"}],
        "confidence": 0.8,
        "operator": 'K-Telecom "Win mobile"',
        "note": "also built in occupied Luhansk",
        "sort": None,
        "exact": False,
        "source": {"key": "wikipedia", "title": source.title, "date": source.date.isoformat()},
        "override": None,
        "fallback": {
            "plmn": "250",
            "match": "250",
            "kind": "country",
            "regions": [{"code": "RU", "name": "Russian Federation"}],
            "confidence": None,
            "operator": None,
            "note": None,
            "sort": None,
            "exact": False,
            "source": {
                "key": "itu-mcc",
                "title": TABLE.sources["itu-mcc"].title,
                "date": TABLE.sources["itu-mcc"].date.isoformat(),
            },
            "override": None,
        },
        "notes": [],
    }


@pytest.mark.parametrize(
    ("arguments", "plmns"),
    [
        (["25033"], ["250-33"]),
        (["250-33", "250 34", "310260", "901", "340"], ["250-33", "250-34", "310260", "901", "340"]),
        (["--imsi-prefix", "25033"], ["250-33"]),
        (["--imsi-prefix", "2503312"], ["250-33"]),
        (["--imsi-prefix", "250991234567890"], ["250"]),
        (["--imsi-prefix", "423010000000000"], ["423"]),
        (["--bcd", "52f033", "--bcd", "52 F0 43", "--bcd", "13:00:14"], ["250-33", "250-34", "310-410"]),
        (["--s1ap", "134001"], ["310-410"]),
        (["--ef-imsi", "08 29 05 23 10 32 54 76 98"], ["250-32"]),
        (["36801", "--bcd", "52f033", "--imsi-prefix", "36801"], ["368-01", "368-01", "250-33"]),
    ],
)
def test_every_form_of_a_plmn(arguments: list[str], plmns: list[str]) -> None:
    assert [document["plmn"] for document in documents(*arguments)] == plmns


@pytest.mark.skipif(SHARED is None, reason="the test vectors lie beside the repository")
def test_the_vectors_of_the_encodings() -> None:
    assert SHARED is not None
    text = (SHARED / "data" / "plmn" / "test_vectors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d{3}-\d{2,3}) \| ((?:[0-9a-f]{2} ?){3}) \| ((?:[0-9a-f]{2} ?){3}) \|", text, flags=re.MULTILINE)
    assert len(rows) == 33
    plain = documents(*(plmn for plmn, _, _ in rows))
    assert [document["plmn"] for document in plain] == [plmn for plmn, _, _ in rows]
    assert documents(*(word for _, octets, _ in rows for word in ("--bcd", octets.strip()))) == plain
    assert documents(*(word for _, _, octets in rows for word in ("--s1ap", octets.strip()))) == plain
    imsis = re.findall(r"^\| (\d{10,15}) \|.*\| ((?:[0-9a-f]{2} ?)+) \|", text, flags=re.MULTILINE)
    assert len(imsis) == 8
    by_text = documents(*(word for imsi, _ in imsis for word in ("--imsi-prefix", imsi)))
    assert documents(*(word for _, octets in imsis for word in ("--ef-imsi", octets.strip()))) == by_text
    assert all(imsi[6:] not in json.dumps(by_text) for imsi, _ in imsis)


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["423"], "unassigned", "The MCC 423 is assigned to nobody"),
        (["42301"], "unassigned", "assigned to nobody"),
        (["901-40"], "non_geographic", "belongs to no country (international networks"),
        (["00101"], "non_geographic", "(test networks)"),
        (["24001"], "ok", "It has no row of its own: the MCC 240 decides. The table does not say whether such a network exists."),
        (["340"], "ok", "Several regions share it"),
        (["310-59"], "ok", "only where the MNC is known to have two digits"),
        (["310590"], "ok", "and it matters: with two it is Bermuda (BM), with three United States (US), Guam (GU)"),
        (["--imsi-prefix", "2503312"], "ok", "with two it is Sevastopol (UA-40), with three Russian Federation (RU)."),
        (["--imsi-prefix", "36801123"], "ok", "not known from these; here both mean the same."),
        (["338-05"], "ok", "338-050 is Jamaica (JM), Bermuda (BM) and Turks and Caicos Islands (TC)."),
        (["250-331"], "ok", "250-331 is not 250-33, which has a row for an MNC of two digits: Sevastopol (UA-40)."),
    ],
)
def test_what_the_digits_leave_open_is_said(arguments: list[str], status: str, words: str) -> None:
    (document,) = documents(*arguments)
    assert document["status"] == status
    assert words in " ".join(document["notes"])
    table = invoke("plmn", *arguments)
    assert table.exit_code == 0
    assert status in table.stdout
    assert words in " ".join(re.sub(r"[\u2500-\u257f]", " ", table.stdout).split())


def test_every_row_of_an_mcc() -> None:
    (document,) = documents("--mcc", "250")
    assert [row["plmn"] for row in document["rows"]] == [row.text for row in TABLE.rows if row.prefix.startswith("250")]
    table = invoke("plmn", "--mcc", "250").stdout
    assert all(row["plmn"] in table for row in document["rows"])
    assert TABLE.sources["itu-mcc"].title in " ".join(table.split())
    assert documents("--mcc", "423") == [{"mcc": "423", "rows": []}]
    assert invoke("plmn", "--mcc", "423").stdout == "423: unassigned\n"


def test_every_row_of_the_table_is_found_by_its_own_digits() -> None:
    plmns = [row.text for row in TABLE.rows]
    for row, document in zip(TABLE.rows, documents(*plmns), strict=True):
        assert (document["plmn"], document["match"], document["kind"]) == (row.text, row.prefix, row.kind)
        assert [region["code"] for region in document["regions"]] == list(row.candidates)
        assert (document["fallback"] is not None) == (row.kind == "override")


OVERRIDES = [
    ("campus", "999-40", '"DE"', '"never"'),
    ("russia", "250", '"DE"', "2099-12-31"),
    ("ended", "250-33", '"FR"', "2020-12-31"),
    ("exact", "250-34", '["FR", "ES"]', "2099-12-31\nexact = true"),
    ("three", "250-341", '"AT"', "2099-12-31"),
    ("named", "250-60", '"crimea"', "2099-12-31"),
]


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    file = tmp_path / "catalogue.toml"
    file.write_text(
        "".join(
            f'[[plmns]]\nid = "{name}"\nplmn = "{plmn}"\nregion = {region}\n'
            f'owner = "radio@example.com"\nreason = "ticket [b]17[/b]"\nexpires = {end}\n'
            for name, plmn, region, end in OVERRIDES
        ),
        encoding="utf-8",
    )
    return str(file)


def test_an_operators_override_is_named_with_owner_reason_and_end(catalogue: str) -> None:
    (campus,) = documents("--catalogue", catalogue, "999-40")
    said = {"id": "campus", "owner": "radio@example.com", "reason": "ticket [b]17[/b]", "expires": "never"}
    assert (campus["status"], campus["kind"], campus["override"], campus["source"]) == ("ok", "override", said, None)
    assert (campus["fallback"]["sort"], campus["fallback"]["override"]) == ("private", None)
    shown = invoke("plmn", "--catalogue", catalogue, "999-40", "--mcc", "250")
    assert (shown.exit_code, shown.stderr) == (0, "")
    text = " ".join(shown.stdout.split())
    assert "override campus of radio@example.com, for ever: ticket [b]17[/b]" in text
    assert "override russia of radio@example.com, until 2099-12-31 00:00Z" in text
    assert "ended" not in text
    assert documents("999-40") != [campus], "without the file it is a private network"


def test_the_setting_of_the_environment_counts(catalogue: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGIONRESOLVER_CATALOGUE", catalogue)
    assert documents("999-40")[0]["override"]["id"] == "campus"


def test_without_an_override_the_next_wider_one_speaks(catalogue: str) -> None:
    found = documents("--catalogue", catalogue, "250-33", "250-01", "250-34", "250341", "250-342")
    assert [(one["match"], one["override"] and one["override"]["id"]) for one in found] == [
        ("25033", None), ("250", "russia"), ("25034", "exact"), ("250341", "three"), ("250", "russia"),
    ]  # fmt: skip
    assert [(one["fallback"]["match"], one["fallback"]["override"] and one["fallback"]["override"]["id"]) for one in found] == [
        ("250", "russia"), ("250", None), ("25034", None), ("25034", None), ("250", None),
    ]  # fmt: skip


def test_what_is_told_is_what_decides(catalogue: str) -> None:
    extended = open_catalogue(catalogue)
    known = KnownPlmns(PlmnTable.load(catalogue=extended.catalogue), extended, dt.datetime.now(dt.UTC))
    with Resolver.open(catalogue=catalogue) as resolver:
        for row in known.rows(""):
            tried = {(row.prefix + tail)[:6] for tail in ("", "00", "01", "1", "9")}
            for digits in (one for one in tried if len(one) > 4):
                for is_imsi, resolution in ((False, resolver.resolve(serving=digits)), (True, resolver.resolve(sim=digits))):
                    (evidence,) = resolution.evidence
                    parsed = read_plmn(digits, "imsi" if is_imsi else "plmn")
                    assert parsed is not None
                    finding = find_plmn(parsed, known, is_imsi=is_imsi)
                    assert finding.row is not None
                    assert (finding.row.prefix, finding.row.candidates) == (evidence.match, evidence.candidates)
                    override = known.override_of(finding.row)
                    assert (override and override.id) == (evidence.override and evidence.override.id)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give a PLMN, or one of --imsi-prefix"),
        (["1"], "not a PLMN"),
        (["36801", "3680"], r"PLMN \(number 2\): not a PLMN"),
        (["250330123456789"], "an IMSI with --imsi-prefix"),
        (["--imsi-prefix", "250"], "5 to 15 digits"),
        (["--imsi-prefix", "2503301234567890"], "5 to 15 digits"),
        (["--bcd", "52f0"], "write three"),
        (["--bcd", "52f0zz"], "write three"),
        (["--bcd", "ffffff"], "TS 24.008"),
        (["--s1ap", "5"], "S1AP"),
        (["--ef-imsi", "0829"], "EF_IMSI"),
        (["--mcc", "25"], "not an MCC"),
        (["--mcc", "25033"], "not an MCC"),
    ],
)
def test_what_is_no_plmn_is_a_usage_error(arguments: list[str], words: str) -> None:
    result = invoke("plmn", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert re.search(words, result.stderr)
    assert not re.search("[0-9]{7}", result.stderr)
