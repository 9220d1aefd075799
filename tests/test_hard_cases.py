"""The hard cases of the evidence, through the whole resolver, with two databases loaded, in both orders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from regionresolver import Resolver
from tests.worlds import CITY_NETWORKS, city_database, country_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# One vendor that sees subdivisions, and one that does not, and disagrees about two networks and knows one alone.
OTHERWISE: dict[str, tuple[str, str | None]] = {
    "90.0.0.0/16": ("CA", None),
    "92.0.0.0/16": ("SY", None),
    "93.0.0.0/16": ("RU", None),
}
SEEN: dict[str, tuple[str, str | None]] = {
    **CITY_NETWORKS,
    "90.0.0.0/16": ("US", None),
    "91.0.0.0/16": ("MC", None),
    "93.0.0.0/16": ("UA", "43"),
    "94.0.0.0/16": ("RU", "CR"),
}
COUNTRY_ONLY = {**CITY_NETWORKS, **OTHERWISE, "94.0.0.0/16": ("UA", None)}


@pytest.fixture(scope="module", params=["seeing first", "blind first"])
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Resolver, bool]]:
    folder = tmp_path_factory.mktemp("two")
    databases = [city_database(folder / "seeing.mmdb", SEEN), country_database(folder / "blind.mmdb", COUNTRY_ONLY)]
    seeing_first = request.param == "seeing first"
    with Resolver.open(db=databases if seeing_first else databases[::-1]) as resolver:
        yield resolver, seeing_first


Said = tuple[str, float, set[str]]
Case = tuple[str, dict[str, Any], str | None, float, set[str], str, dict[str, str]]

ALIKE: list[Case] = [
    ("PLMN of two countries", {"serving": "20801"}, "FR", 0.5, {"ambiguous_mcc"}, "5", {"serving_plmn": "ok"}),
    ("it, and the IP in the second", {"serving": "20801", "ip": "91.0.1.1"}, "MC", 0.9, {"ambiguous_mcc"}, "5", {"ip": "ok"}),
    ("it, and a SIM of the second", {"serving": "20801", "sim": "21201"}, "MC", 0.75, {"ambiguous_mcc"}, "5", {}),
    (
        "it, and the IP in neither",
        {"serving": "20801", "ip": "5.0.1.1"},
        "FR",
        0.5,
        {"ambiguous_mcc", "ip_disagrees"},
        "5",
        {},
    ),
    ("it as the SIM alone", {"sim": "20801"}, "FR", 0.4, {"ambiguous_mcc", "sim_only"}, "17", {}),
    ("MCC of five countries", {"serving": "340011234567890"[:5], "ip": "85.0.1.1"}, "GF", 0.9, {"ambiguous_mcc"}, "5", {}),
    ("MCC 310 without an override", {"serving": "310-410", "ip": "89.0.1.1"}, "GU", 0.9, {"ambiguous_mcc"}, "5", {}),
    ("its override", {"serving": "310-470", "ip": "8.8.8.8"}, "GU", 0.95, {"ip_disagrees"}, "1", {}),
    (
        "international shared",
        {"serving": "90140", "sim": "90140", "ip": "2.0.1.1"},
        "FR",
        0.8,
        {"non_geographic_plmn"},
        "11",
        {"serving_plmn": "non_geographic", "home_plmn": "non_geographic"},
    ),
    (
        "test network, foreign SIM",
        {"serving": "00101", "sim": "36801", "ip": "2.0.1.1"},
        "FR",
        0.6,
        {"non_geographic_plmn", "sim_foreign"},
        "10",
        {"serving_plmn": "non_geographic"},
    ),
    ("private network alone", {"serving": "99940"}, None, 0.0, {"non_geographic_plmn", "no_evidence"}, "13", {}),
    (
        "unassigned, and a SIM",
        {"serving": "42301", "sim": "20815", "ip": "2.0.1.1"},
        "FR",
        0.9,
        set(),
        "9",
        {"serving_plmn": "unassigned"},
    ),
    (
        "invalid network and SIM",
        {"serving": "x", "sim": "12", "ip": "84.0.1.1"},
        "CU",
        0.8,
        set(),
        "11",
        {"serving_plmn": "invalid", "home_plmn": "invalid", "ip": "ok"},
    ),
    ("invalid address", {"serving": "36801", "ip": "84.0.1"}, "CU", 0.9, set(), "2", {"ip": "invalid"}),
    ("reserved address", {"sim": "36801", "ip": "100.64.0.1"}, "CU", 0.4, {"sim_only"}, "17", {"ip": "reserved"}),
    ("reserved in clothes", {"ip": "::ffff:10.0.0.1"}, None, 0.0, {"no_evidence"}, "13", {"ip": "reserved"}),
    ("unknown to both", {"ip": "9.9.9.9", "sim": "36801"}, "CU", 0.4, {"sim_only"}, "17", {"ip": "not_found"}),
    ("known to the blind one alone", {"ip": "92.0.1.1"}, "SY", 0.8, set(), "11", {"ip": "ok"}),
    ("known to the seeing one alone", {"ip": "91.0.1.1"}, "MC", 0.8, set(), "11", {"ip": "ok"}),
    ("a subdivision that one sees", {"ip": "62.0.1.1"}, "UA-43", 0.6, set(), "11", {"ip": "ok"}),
    ("the same, under a Russian network", {"ip": "62.0.1.1", "serving": "25001"}, "UA-43", 0.7, {"country_alias"}, "6", {}),
    ("the same, under a Ukrainian one", {"ip": "46.0.1.1", "serving": "25501"}, "UA", 0.6, {"ip_disagrees"}, "6b", {}),
]


@pytest.mark.parametrize(("_name", "signals", "region", "confidence", "conflicts", "row", "statuses"), ALIKE)
def test_alike_in_both_orders(
    both: tuple[Resolver, bool],
    _name: str,
    signals: dict[str, Any],
    region: str | None,
    confidence: float,
    conflicts: set[str],
    row: str,
    statuses: dict[str, str],
) -> None:
    answer = both[0].resolve(**signals)
    assert (answer.region, answer.confidence, set(answer.conflicts), answer.row) == (region, confidence, conflicts, row)
    assert statuses.items() <= {str(one.signal): str(one.status) for one in answer.evidence}.items()
    decision = both[0].decide(**signals)
    assert decision.resolution == answer


@pytest.mark.parametrize(
    ("ip", "seeing_first", "blind_first"),
    [
        ("90.0.1.1", ("US", 0.8, {"sources_disagree"}), ("CA", 0.8, {"sources_disagree"})),
        # the blind one says Russia: the seeing one adds what only it can see, since Crimea is filed there too
        ("93.0.1.1", ("UA-43", 0.6, set()), ("UA-43", 0.6, set())),
        ("94.0.1.1", ("UA-43", 0.6, set()), ("UA-43", 0.6, set())),
        # one that could have seen Crimea says it is not
        ("37.0.1.1", ("RU", 0.8, set()), ("RU", 0.8, set())),
    ],
)
def test_databases_that_disagree(both: tuple[Resolver, bool], ip: str, seeing_first: Said, blind_first: Said) -> None:
    resolver, is_seeing_first = both
    answer = resolver.explain(ip=ip).resolution
    assert (answer.region, answer.confidence, set(answer.conflicts)) == (seeing_first if is_seeing_first else blind_first)
    assert [one.source for one in answer.evidence[0].sources] == (["seeing", "blind"] if is_seeing_first else ["blind", "seeing"])


def test_no_warning_where_one_database_sees_what_the_policy_names(both: tuple[Resolver, bool]) -> None:
    assert both[0].warnings == ()


def test_two_country_only_databases_are_warned_about_and_never_say_silently_not_crimea(tmp_path: Path) -> None:
    databases = [country_database(tmp_path / f"{name}.mmdb", COUNTRY_ONLY) for name in ("one", "two")]
    with Resolver.open(db=databases) as resolver:
        assert resolver.warnings
        assert all("can tell UA-40, UA-43 from the rest of UA: only a PLMN can" in warning for warning in resolver.warnings)
        cases: list[tuple[dict[str, Any], str, float, str]] = [
            ({"ip": "62.0.1.1"}, "RU", 0.8, "11"),
            ({"ip": "62.0.1.1", "serving": "25001"}, "RU", 0.8, "7"),
            ({"ip": "46.0.1.1", "sim": "25501"}, "UA", 0.8, "9"),
        ]
        for signals, region, confidence, row in cases:
            answer = resolver.resolve(**signals)
            assert (answer.region, answer.confidence, answer.row) == (region, confidence, row)
            assert "subdivision_unknown" in answer.conflicts
        assert resolver.resolve(serving="25033", ip="62.0.1.1").region == "UA-40", "a PLMN still can"
