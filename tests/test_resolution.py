"""The whole way from text to region on small known databases: one test per row of the table, then the wider rules."""

from __future__ import annotations

import datetime as dt
import ipaddress
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from regionresolver import Conflict, Region, Resolver, Signal, SignalStatus
from regionresolver.errors import (
    InvalidAddressError,
    InvalidPlmnError,
    NoSignalError,
    PlmnNotStringError,
    PolicyError,
)
from regionresolver.policy import shipped_policy
from tests.worlds import city_database, country_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FR, DE, US, UA, RU, ES = "2.0.1.1", "5.0.1.1", "8.8.8.8", "31.0.1.1", "37.0.1.1", "80.0.1.1"
CU, GF, GE, PS, GU = "84.0.1.1", "85.0.1.1", "87.0.1.1", "88.0.1.1", "89.0.1.1"
CRIMEA_UA, CRIMEA_RU, SEVASTOPOL, DONETSK, ABKHAZIA = "46.0.1.1", "62.0.1.1", "77.0.1.1", "78.0.1.1", "86.0.1.1"


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    with Resolver.open(db=city_database(tmp_path_factory.mktemp("city") / "city.mmdb")) as resolver:
        yield resolver


@pytest.fixture(scope="module")
def country_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    with Resolver.open(db=country_database(tmp_path_factory.mktemp("country") / "country.mmdb")) as resolver:
        yield resolver


Signals = dict[str, str]
Row = tuple[str, Signals, str | None, float, set[str], str | None]

ROWS: list[Row] = [
    ("1", {"serving": "25033", "ip": SEVASTOPOL, "sim": "25033"}, "UA-40", 0.95, set(), "serving_plmn"),
    ("1", {"serving": "25033"}, "UA-40", 0.95, set(), "serving_plmn"),
    ("1", {"serving": "25033", "ip": RU, "sim": "25501"}, "UA-40", 0.95, set(), "serving_plmn"),
    ("1", {"serving": "25033", "ip": DE, "sim": "26201"}, "UA-40", 0.95, {"home_routed"}, "serving_plmn"),
    ("1", {"serving": "25033", "ip": DE, "sim": "25001"}, "UA-40", 0.95, {"ip_disagrees"}, "serving_plmn"),
    ("1", {"serving": "25033", "sim": "26201"}, "UA-40", 0.95, {"sim_foreign"}, "serving_plmn"),
    ("1", {"serving": "25034"}, "crimea", 0.95, set(), "serving_plmn"),
    ("1", {"serving": "25034", "ip": CRIMEA_RU}, "UA-43", 0.95, set(), "serving_plmn"),
    ("1", {"serving": "25032"}, "crimea", 0.8, set(), "serving_plmn"),
    ("1", {"serving": "23458"}, "IM", 0.95, set(), "serving_plmn"),
    ("1", {"serving": "310470", "ip": US}, "GU", 0.95, {"ip_disagrees"}, "serving_plmn"),
    ("2", {"serving": "20815", "ip": FR}, "FR", 0.98, set(), "serving_plmn"),
    ("2", {"serving": "36801", "ip": CU, "sim": "36801"}, "CU", 0.98, set(), "serving_plmn"),
    ("2", {"serving": "28201", "ip": ABKHAZIA}, "GE-AB", 0.6, set(), "serving_plmn"),
    ("2", {"serving": "36801", "sim": "36801", "ip": "203.0.113.7"}, "CU", 0.98, set(), "serving_plmn"),
    ("2", {"serving": "36801"}, "CU", 0.9, set(), "serving_plmn"),
    ("3", {"serving": "20815", "ip": DE, "sim": "26201"}, "FR", 0.9, {"home_routed"}, "serving_plmn"),
    ("4", {"serving": "20815", "ip": US}, "FR", 0.85, {"ip_disagrees"}, "serving_plmn"),
    ("4", {"serving": "20815", "ip": US, "sim": "20815"}, "FR", 0.85, {"ip_disagrees"}, "serving_plmn"),
    ("5", {"serving": "34001", "ip": GF}, "GF", 0.9, {"ambiguous_mcc"}, "serving_plmn"),
    ("5", {"serving": "34001", "sim": "74201"}, "GF", 0.75, {"ambiguous_mcc"}, "serving_plmn"),
    ("5", {"serving": "34001"}, "GP", 0.5, {"ambiguous_mcc"}, "serving_plmn"),
    ("5", {"serving": "34001", "sim": "34001"}, "GP", 0.5, {"ambiguous_mcc"}, "serving_plmn"),
    ("5", {"serving": "42501", "ip": PS}, "PS", 0.9, {"ambiguous_mcc"}, "serving_plmn"),
    ("5", {"serving": "310410", "ip": US}, "US", 0.9, {"ambiguous_mcc"}, "serving_plmn"),
    ("5", {"serving": "310370", "ip": GU}, "GU", 0.9, {"ambiguous_mcc"}, "serving_plmn"),
    ("6", {"serving": "25001", "ip": CRIMEA_UA}, "UA-43", 0.7, {"country_alias"}, "serving_plmn"),
    ("6", {"serving": "25001", "ip": CRIMEA_RU}, "UA-43", 0.7, {"country_alias"}, "serving_plmn"),
    ("6", {"serving": "25001", "ip": SEVASTOPOL}, "UA-40", 0.7, {"country_alias"}, "serving_plmn"),
    ("6b", {"serving": "25501", "ip": CRIMEA_UA}, "UA", 0.6, {"ip_disagrees"}, "serving_plmn"),
    ("6b", {"serving": "25501", "ip": CRIMEA_RU}, "UA", 0.6, {"ip_disagrees"}, "serving_plmn"),
    ("11", {"serving": "00101", "ip": FR}, "FR", 0.8, {"non_geographic_plmn"}, "ip"),
    ("11", {"serving": "90140", "ip": FR}, "FR", 0.8, {"non_geographic_plmn"}, "ip"),
    ("11", {"serving": "42301", "ip": FR}, "FR", 0.8, set(), "ip"),
    ("13", {"serving": "99999"}, None, 0.0, {"non_geographic_plmn", "no_evidence"}, None),
    ("9", {"sim": "20815", "ip": FR}, "FR", 0.9, set(), "ip"),
    ("9", {"sim": "25501", "ip": CRIMEA_UA}, "UA-43", 0.6, set(), "ip"),
    ("9", {"sim": "25001", "ip": CRIMEA_UA}, "UA-43", 0.6, {"country_alias"}, "ip"),
    ("9", {"sim": "25033", "ip": SEVASTOPOL}, "UA-40", 0.9, set(), "ip"),
    ("10", {"sim": "36801", "ip": ES}, "ES", 0.6, {"sim_foreign"}, "ip"),
    ("10", {"sim": "25033", "ip": RU}, "RU", 0.6, {"sim_foreign"}, "ip"),
    ("11", {"ip": US}, "US", 0.8, set(), "ip"),
    ("11", {"ip": CRIMEA_RU}, "UA-43", 0.6, set(), "ip"),
    ("13", {"ip": "10.1.2.3"}, None, 0.0, {"no_evidence"}, None),
    ("13", {"ip": "203.0.113.7"}, None, 0.0, {"no_evidence"}, None),
    ("13", {"ip": "100.64.0.1"}, None, 0.0, {"no_evidence"}, None),
    ("13", {"ip": "9.9.9.9"}, None, 0.0, {"no_evidence"}, None),
    # row 14: the serving network is restricted, everything else says not
    ("4", {"serving": "36801", "ip": US, "sim": "21401"}, "CU", 0.85, {"ip_disagrees", "sim_foreign"}, "serving_plmn"),
    ("4", {"serving": "36801", "ip": US}, "CU", 0.85, {"ip_disagrees"}, "serving_plmn"),
    # row 15: the IP is restricted, the serving network is elsewhere
    ("4", {"serving": "21401", "ip": CU}, "ES", 0.85, {"ip_disagrees"}, "serving_plmn"),
    # row 16: the SIM is restricted, a Cuban traveller in Spain
    ("16", {"serving": "21401", "sim": "36801", "ip": ES}, "ES", 0.9, {"sim_foreign"}, "serving_plmn"),
    ("16", {"serving": "21401", "sim": "36801"}, "ES", 0.9, {"sim_foreign"}, "serving_plmn"),
    ("3", {"serving": "21401", "sim": "36801", "ip": CU}, "ES", 0.9, {"home_routed"}, "serving_plmn"),
    ("17", {"sim": "36801"}, "CU", 0.4, {"sim_only"}, "home_plmn"),
    ("17", {"sim": "368011234567890"}, "CU", 0.4, {"sim_only"}, "home_plmn"),
    ("17", {"sim": "34001"}, "GP", 0.4, {"sim_only", "ambiguous_mcc"}, "home_plmn"),
]


@pytest.mark.parametrize(("row", "signals", "region", "confidence", "conflicts", "basis"), ROWS)
def test_row(
    city: Resolver, row: str, signals: Signals, region: str | None, confidence: float, conflicts: set[str], basis: str | None
) -> None:
    answer = city.resolve(ip=signals.get("ip"), serving=signals.get("serving"), sim=signals.get("sim"))
    assert (answer.row, answer.region, answer.confidence, set(answer.conflicts), answer.basis) == (
        row,
        region,
        confidence,
        conflicts,
        basis,
    )


@pytest.mark.parametrize(
    ("row", "signals", "region", "confidence", "conflicts"),
    [
        ("7", {"serving": "25001", "ip": CRIMEA_RU}, "RU", 0.8, {"subdivision_unknown"}),
        ("7", {"serving": "25001", "ip": RU}, "RU", 0.8, {"subdivision_unknown"}),
        ("7", {"serving": "25501", "ip": CRIMEA_UA}, "UA", 0.8, {"subdivision_unknown"}),
        ("4", {"serving": "25001", "ip": UA}, "RU", 0.85, {"ip_disagrees"}),
        ("11", {"ip": CRIMEA_RU}, "RU", 0.8, {"subdivision_unknown"}),
        ("9", {"ip": CRIMEA_UA, "sim": "25501"}, "UA", 0.8, {"subdivision_unknown"}),
        ("10", {"ip": CRIMEA_UA, "sim": "36801"}, "UA", 0.6, {"subdivision_unknown", "sim_foreign"}),
        ("2", {"serving": "25001"}, "RU", 0.8, {"subdivision_unknown"}),
        ("2", {"serving": "20815", "ip": FR}, "FR", 0.98, set()),
        ("1", {"serving": "25033", "ip": RU}, "UA-40", 0.95, set()),
    ],
)
def test_a_country_only_database_never_says_silently_not_crimea(
    country_only: Resolver, row: str, signals: Signals, region: str, confidence: float, conflicts: set[str]
) -> None:
    answer = country_only.resolve(ip=signals.get("ip"), serving=signals.get("serving"), sim=signals.get("sim"))
    assert (answer.row, answer.region, answer.confidence, set(answer.conflicts)) == (row, region, confidence, conflicts)


def test_a_country_only_database_is_warned_about_at_start(city: Resolver, country_only: Resolver) -> None:
    assert city.warnings == ()
    assert any("UA-43" in warning for warning in country_only.warnings)


@pytest.mark.parametrize(
    "clothed",
    [
        "62.0.1.1",
        "::ffff:62.0.1.1",
        "::62.0.1.1",
        "::ffff:3e00:101",
        "2002:3e00:101::1",
        "2001:0:4136:e378:8000:63bf:c1ff:fefe",
        "64:ff9b::62.0.1.1",
    ],
)
def test_every_clothing_of_an_ipv4_reaches_the_same_answer(city: Resolver, clothed: str) -> None:
    assert city.lookup(clothed) == Region("RU", "UA-43")
    assert city.resolve(ip=clothed).region == "UA-43"


def test_lookup_takes_every_form_of_an_address(city: Resolver) -> None:
    expected = Region("IR", None)
    text = "2a02:20::1"
    packed = ipaddress.ip_address(text)
    assert city.lookup(text) == city.lookup(packed) == city.lookup(packed.packed) == city.lookup(int(packed)) == expected
    assert city.lookup(ipaddress.ip_address(US)) == city.lookup(int(ipaddress.ip_address(US))) == Region("US", None)
    assert city.lookup("9.9.9.9") == Region(None, None)
    assert city.lookup(US) is city.lookup(US), "regions are shared objects"


@pytest.mark.parametrize(
    "bad", ["", "1.2.3", "1.2.3.4/24", "1.2.3.4:80", "fe80::1%eth0", " 1.2.3.4", "01.2.3.4", b"1", -1, 1 << 128, True]
)
def test_lookup_refuses_what_is_no_address(city: Resolver, bad: str | bytes | int) -> None:
    with pytest.raises(InvalidAddressError):
        city.lookup(bad)


def test_a_malformed_value_spoils_its_own_signal_only(city: Resolver) -> None:
    answer = city.resolve(ip="not an address", serving="36801", sim="12")
    assert answer.region == "CU"
    assert {(notice.code, notice.pointer) for notice in answer.warnings} == {("IP_INVALID", "/ip"), ("PLMN_INVALID", "/sim")}
    statuses = {evidence.signal: evidence.status for evidence in answer.evidence}
    assert statuses == {
        Signal.IP: SignalStatus.INVALID,
        Signal.HOME_PLMN: SignalStatus.INVALID,
        Signal.SERVING_PLMN: SignalStatus.OK,
    }


def test_only_malformed_values_are_no_evidence_and_no_error(city: Resolver) -> None:
    answer = city.resolve(ip="x", serving="x", sim="x")
    assert answer.region is None
    assert answer.conflicts == (Conflict.NO_EVIDENCE,)


def test_strict_refuses_a_malformed_value(city: Resolver) -> None:
    with pytest.raises(InvalidAddressError):
        city.resolve(ip="x", serving="36801", strict=True)
    with pytest.raises(InvalidPlmnError):
        city.resolve(serving="3680", strict=True)
    with pytest.raises(InvalidPlmnError):
        city.resolve(serving="368011234567890", strict=True)


def test_a_ping_needs_a_signal(city: Resolver) -> None:
    with pytest.raises(NoSignalError):
        city.resolve()
    with pytest.raises(NoSignalError):
        city.decide(sku="M2101K7AG")


def test_a_number_is_no_plmn(city: Resolver) -> None:
    for arguments in ({"serving": 36801}, {"sim": {"mcc": "368", "mnc": 1}}, {"sim": 36801.0}):
        with pytest.raises(PlmnNotStringError):
            city.resolve(**arguments)


@pytest.mark.parametrize("plmn", ["36801", "368-01", "368 01", ("368", "01"), {"mcc": "368", "mnc": "01"}])
def test_every_form_of_a_plmn(city: Resolver, plmn: str | tuple[str, str] | dict[str, object]) -> None:
    assert city.resolve(serving=plmn).region == "CU"
    assert city.resolve(sim=plmn).region == "CU"


def test_region_names(city: Resolver) -> None:
    assert city.resolve(ip=CU).region_name == "cuba"
    assert city.resolve(ip=SEVASTOPOL).region_name == "crimea"
    assert city.resolve(serving="25034").region_name == "crimea"
    assert city.resolve(ip=US).region_name is None


def test_an_answer_about_crimea_names_its_own_country(city: Resolver) -> None:
    for signals in ({"ip": CRIMEA_RU}, {"ip": CRIMEA_UA}, {"serving": "25034", "ip": CRIMEA_RU}):
        answer = city.resolve(ip=signals["ip"], serving=signals.get("serving"))
        assert (answer.region, answer.country, answer.subdivision) == ("UA-43", "UA", "UA-43")
    answer = city.resolve(serving="25034")
    assert (answer.region, answer.country, answer.subdivision) == ("crimea", "UA", None)


def test_evidence_names_what_each_signal_says(city: Resolver) -> None:
    answer = city.explain(ip=US, serving="36801", sim="214015556667778").resolution
    by_signal = {evidence.signal: evidence for evidence in answer.evidence}
    assert by_signal[Signal.SERVING_PLMN].match == "368"
    assert by_signal[Signal.SERVING_PLMN].candidates == ("CU",)
    assert by_signal[Signal.SERVING_PLMN].used
    assert by_signal[Signal.IP].match == "8.8.8.0/24"
    assert by_signal[Signal.IP].candidates == ("US",)
    assert not by_signal[Signal.IP].used
    assert [(source.country_code, source.subdivision_code) for source in by_signal[Signal.IP].sources] == [("US", None)]
    assert "5556667778" not in repr(answer)


def test_several_sources_report_their_disagreement(tmp_path: Path) -> None:
    first = city_database(
        tmp_path / "first.mmdb", {"1.0.0.0/16": ("UA", "43"), "1.1.0.0/16": ("US", None), "1.3.0.0/16": ("RU", None)}
    )
    second = city_database(
        tmp_path / "second.mmdb",
        {"1.0.0.0/16": ("RU", "CR"), "1.1.0.0/16": ("CA", None), "1.2.0.0/16": ("DE", None), "1.3.0.0/16": ("RU", "CR")},
    )
    with Resolver.open(db=[first, second]) as both:
        assert both.resolve(ip="1.0.0.1").conflicts == (), "two spellings of one region are no disagreement"
        disputed = both.explain(ip="1.1.0.1").resolution
        assert (disputed.region, disputed.conflicts) == ("US", (Conflict.SOURCES_DISAGREE,))
        assert [answer.country_code for answer in disputed.evidence[0].sources] == ["US", "CA"]
        assert both.lookup("1.2.0.1") == Region("DE", None)
        seen_by_second_only = both.resolve(ip="1.3.0.1")
        assert seen_by_second_only.region == "RU"
        assert set(seen_by_second_only.conflicts) == {Conflict.SOURCES_DISAGREE, Conflict.SUBDIVISION_UNKNOWN}
    with Resolver.open(db=[country_database(tmp_path / "blind.mmdb", {"1.3.0.0/16": ("RU", None)}), second]) as blind_first:
        added = blind_first.resolve(ip="1.3.0.1")
        assert (added.region, added.conflicts) == ("UA-43", ()), "a source that sees no subdivision cannot disagree about one"


def test_an_instant_does_not_leave_the_compiled_path(tmp_path: Path) -> None:
    class Plain(Resolver):
        def _decide_odd(self, **fields: object) -> NoReturn:
            raise AssertionError(f"{sorted(name for name, value in fields.items() if value)} are odd")

    with Plain.open(db=city_database(tmp_path / "city.mmdb"), policy="example-2021") as resolver:
        during, long_ago, at_last = "2021-09-10T01:30:00+02:00", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
        for text, effect in ((during, "deny"), (long_ago, "allow"), (at_last, "allow")):
            at = dt.datetime.fromisoformat(text)
            decision = resolver.decide(ip=CU, serving="36801", sim="368-01", sku="x", id="ping-1", at=at)
            assert decision.effect == effect, text
            assert decision.asked[-1] == (at - dt.datetime.fromtimestamp(0, dt.UTC)) // dt.timedelta(microseconds=1)
        with pytest.raises(ValueError, match="time zone"):
            resolver.decide(ip=CU, at=dt.datetime(2021, 9, 10))  # noqa: DTZ001 - what is refused


def test_decide_takes_the_instant_that_it_is_given(tmp_path: Path) -> None:
    policy = shipped_policy("example-2021")
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), policy=policy) as resolver:
        during = dt.datetime(2021, 9, 10, tzinfo=dt.UTC)
        assert resolver.decide(serving="36801", at=during).effect == "deny"
        assert resolver.decide(serving="36801").effect == "allow", "the ban of the example ended long ago"
        assert resolver.decide(serving="36801", at=during).effect == "deny"
        with pytest.raises(ValueError, match="time zone"):
            resolver.decide(serving="36801", at=dt.datetime(2021, 9, 10))  # noqa: DTZ001 - what is refused


ODD_AND_PLAIN: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"serving": {"mcc": "368", "mnc": "01"}}, {"serving": "368-01"}),
    ({"serving": ("250", "33"), "ip": ipaddress.ip_address(SEVASTOPOL)}, {"serving": "250-33", "ip": SEVASTOPOL}),
    ({"ip": ipaddress.ip_address(CU).packed, "sim": "36801"}, {"ip": CU, "sim": "36801"}),
    ({"ip": "nonsense", "serving": ["368", "01"]}, {"ip": "nonsense", "serving": "x"}),
    ({"serving": "36801", "sold_in": "DE", "strict": True}, {"serving": "36801", "sold_in": "DE"}),
    ({"serving": "36801", "sku": "\u00e9"}, {"serving": "36801", "sku": "e"}),
    ({"ip": "10.0.0.1", "serving": "90140", "sim": {"mcc": "1", "mnc": "1"}}, {"ip": "10.0.0.1", "serving": "90140", "sim": "1"}),
]


@pytest.mark.parametrize(("odd", "plain"), ODD_AND_PLAIN)
def test_odd_and_plain_pings_are_decided_alike(city: Resolver, odd: dict[str, Any], plain: dict[str, Any]) -> None:
    """The compiled entry parses plain texts, Python everything else: both must end in the same answer."""
    one, other = city.decide(**odd), city.decide(**plain)
    assert one.resolution == other.resolution
    assert one.verdict == other.verdict
    assert one.explanation == other.explanation
    assert (one.effect, one.region, one.policy) == (other.effect, other.region, other.policy)
    resolved = {name: value for name, value in plain.items() if name in {"ip", "serving", "sim"}}
    assert city.resolve(**resolved) == other.resolution


def test_an_answer_does_not_show_the_ping(city: Resolver) -> None:
    decision = city.decide(ip="37.0.1.1", sim="250015556667778", id="ping-1")
    for text in (repr(decision), repr(decision.resolution), repr(decision.verdict)):
        assert "37.0.1.1" not in text
        assert "5556667778" not in text


def test_a_fact_that_cannot_be_used_counts_as_missing_and_is_named(city: Resolver) -> None:
    decision = city.decide(serving="36801", first_activated_at="yesterday", sku="x" * 300, id="ping-1")
    assert decision.verdict.effect == "deny"
    assert decision.id == "ping-1"
    assert {notice.pointer for notice in decision.resolution.warnings} == {"/first_activated_at", "/sku"}


def test_not_in_crimea_is_never_said_by_a_source_that_could_not_see_it(tmp_path: Path) -> None:
    """Another source that sees Crimea elsewhere does not make the one that answered see it."""
    blind = country_database(tmp_path / "country.mmdb", {"37.0.0.0/16": ("RU", None)})
    seeing = city_database(tmp_path / "city.mmdb", {"46.0.0.0/16": ("UA", "43"), "5.0.0.0/16": ("DE", None)})
    with Resolver.open(db=[blind, seeing]) as both:
        for signals in ({"ip": RU}, {"ip": RU, "serving": "25001"}):
            answer = both.resolve(ip=signals["ip"], serving=signals.get("serving"))
            assert (answer.region, answer.confidence) == ("RU", 0.8)
            assert Conflict.SUBDIVISION_UNKNOWN in answer.conflicts
    with Resolver.open(
        db=city_database(tmp_path / "partly.mmdb", {"37.0.0.0/16": ("RU", None), "78.0.0.0/16": ("UA", "14")})
    ) as partly:
        assert Conflict.SUBDIVISION_UNKNOWN in partly.resolve(ip=RU).conflicts, "it sees Donetsk, but not Crimea"
        assert any("UA-43" in warning for warning in partly.warnings)


def test_a_policy_that_fails_its_own_tests_is_refused(tmp_path: Path) -> None:
    text = shipped_policy("default").read_text(encoding="utf-8")
    failing = tmp_path / "failing.toml"
    failing.write_text(text.replace('decision = "deny"', 'decision = "allow"', 1), encoding="utf-8")
    with pytest.raises(PolicyError, match=r"failing\.toml.*Cuba is denied"):
        Resolver.open(db=city_database(tmp_path / "city.mmdb"), policy=failing)


def test_a_policy_that_lint_refuses_is_not_served(tmp_path: Path) -> None:
    text = shipped_policy("default").read_text(encoding="utf-8")
    endless = tmp_path / "endless.toml"
    endless.write_text("\n".join(line for line in text.splitlines() if not line.startswith("review_by")), encoding="utf-8")
    with pytest.raises(PolicyError, match=r"endless\.toml.*review_by"):
        Resolver.open(db=city_database(tmp_path / "city.mmdb"), policy=endless)
