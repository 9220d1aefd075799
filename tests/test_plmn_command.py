"""`regionresolver plmn`: what the table knows of a network, in every form that a network is written in."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnTable
from tests.paths import SHARED
from tests.test_cli import invoke

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
