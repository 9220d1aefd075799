"""An operator's overrides on the compiled path: which one speaks when, what it is worth, and that it is counted."""

from __future__ import annotations

import datetime as dt
import ipaddress
import random
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from _fastpath.address import parse
from _fastpath.digit_trie import DigitTrie, parse_plmn
from _fastpath.overrides import Overrides
from _fastpath.tally import Counters
from regionresolver import Conflict, Resolver, Signal, SignalStatus
from regionresolver.errors import PolicyError
from regionresolver.policy import shipped_policy
from regionresolver.policy.table import microseconds
from regionresolver.resolver.documents import decision_document
from regionresolver.resolver.extended import canonical_network, extend
from regionresolver.resolver.overrides import OverrideTable, _network_trie
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.extension import Extension
from tests.reference import overrides as reference
from tests.worlds import city_database, country_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
SHIPPED = Catalogue.load()


def network(text: str, region: str = "CU", *, id: str | None = None, expires: str = '"never"') -> str:  # noqa: A002
    name = id or "n" + text.replace(":", "-").replace("/", ".")
    return f'[[networks]]\nid = "{name}"\nnetwork = "{text}"\nregion = "{region}"\n{signed(expires)}'


def plmn(text: str, region: str = '"CU"', *, more: str = "", expires: str = '"never"') -> str:
    return f'[[plmns]]\nid = "p{text}"\nplmn = "{text}"\nregion = {region}\n{more}\n{signed(expires)}'


def signed(expires: str) -> str:
    return f'owner = "activation@example.com"\nreason = "ticket 17"\nexpires = {expires}\n'


def written(path: Path, *parts: str) -> Path:
    path.write_text("\n".join(parts), encoding="utf-8")
    return path


def opened(tmp_path: Path, *parts: str) -> Resolver:
    city, country = tmp_path / "city.mmdb", tmp_path / "country.mmdb"
    databases = [city_database(city), country_database(country)]
    return Resolver.open(db=databases, catalogue=written(tmp_path / "catalogue.toml", *parts))


# ---- networks


@pytest.mark.parametrize(
    "clothed",
    ["203.0.113.7", "::ffff:203.0.113.7", "::203.0.113.7", "2002:cb00:7107::1", "64:ff9b::203.0.113.7",
     "2001:0:4136:e378:8000:63bf:34ff:8ef8"],
)  # fmt: skip
@pytest.mark.parametrize(
    "overridden",
    ["203.0.113.0/24", "::ffff:203.0.113.0/120", "::203.0.113.0/120", "2002:cb00:7100::/40", "64:ff9b::203.0.113.0/120",
     "2001:0:4136:e378:8000:63bf:34ff:8e00/120"],
)  # fmt: skip
def test_a_network_in_any_clothes_covers_its_addresses_in_any_clothes(overridden: str, clothed: str, tmp_path: Path) -> None:
    with opened(tmp_path, network(overridden, "UA-43", id="lab")) as resolver:
        answer = resolver.resolve(ip=clothed)
        assert (answer.region, answer.row, answer.confidence) == ("UA-43", "11", 0.8)
        assert resolver.resolve(ip="203.0.112.255").region is None
        assert resolver.resolve(ip="203.0.114.0").region is None


@pytest.mark.parametrize("special", ["10.1.2.3", "100.64.0.9", "192.168.7.7", "2001:db8::9", "fd00::9", "127.0.0.1"])
def test_a_special_purpose_network_can_be_named_on_purpose(special: str, tmp_path: Path) -> None:
    with opened(tmp_path, network(special, "DE", id="lab")) as resolver:
        (evidence,) = resolver.explain(ip=special).evidence
        assert (evidence.status, evidence.candidates, evidence.detail) == (SignalStatus.OK, ("DE",), parse(special).special)  # type: ignore[union-attr]
    with opened(tmp_path) as resolver:
        (evidence,) = resolver.resolve(ip=special).evidence
        assert evidence.status is SignalStatus.RESERVED


def test_every_ipv6_network_leaves_ipv4_alone_and_the_other_way_round(tmp_path: Path) -> None:
    with opened(tmp_path, network("::/0", "DE", id="six")) as resolver:
        assert resolver.resolve(ip="2a02:20::1").region == "DE"
        assert resolver.resolve(ip="84.0.1.1").region == "CU"
        assert resolver.resolve(ip="::ffff:84.0.1.1").region == "CU"
        assert resolver.resolve(ip="::1").region is None
    with opened(tmp_path, network("0.0.0.0/0", "FR", id="four")) as resolver:
        assert resolver.resolve(ip="2a02:20::1").region == "IR"
        assert resolver.resolve(ip="84.0.1.1").region == "FR"
        assert resolver.resolve(ip="255.255.255.255").region == "FR"
        for unspoken in ("::1", "::"):
            assert resolver.resolve(ip=unspoken).evidence[0].status is SignalStatus.RESERVED


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("203.0.113.1/24", "write 203.0.113.0/24"),
        ("203.0.113.0/33", "is no network"),
        ("fe80::%eth0/64", "has a zone"),
        ("", "is no network"),
        ("2001::/40", "write the IPv4 network"),
        ("2002::/16", "write 0.0.0.0/0"),
        ("::ffff:0:0/96", "write 0.0.0.0/0"),
        ("::/96", "that no phone has"),
        ("::1/128", "that no phone has"),
    ],
)
def test_networks_that_mean_nothing(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        canonical_network(text)


def test_a_network_wider_than_a_dress_stays_what_it_is() -> None:
    assert [canonical_network(text) for text in ("2000::/3", "2001::/16", "::/0", "203.0.113.9")] == [
        "2000::/3", "2001::/16", "::/0", "203.0.113.9/32",
    ]  # fmt: skip


def random_network(rng: random.Random) -> str:
    """Draw from few enough networks that they lie in each other, touch, and begin and end together."""
    if rng.random() < 0.5:
        prefix_len = rng.choice((0, 1, 6, 7, 8, 14, 15, 18, 19, 24, 30, 31, 32))
        bits = rng.choice((0, 84 << 24, 84 << 24 | 0xFFFF, 0xCB007107, 0xFFFFFFFF, rng.getrandbits(4)))
        return str(ipaddress.ip_network((bits, prefix_len), strict=False))
    prefix_len = rng.choice((1, 3, 16, 17, 32, 48, 63, 64, 65, 96, 127, 128))
    bits = rng.choice((0x2A02_0020 << 96, (0x2A02_0020 << 96) | 0xFF, (1 << 128) - 1, 1 << 127, 0xFD << 120))
    return str(ipaddress.IPv6Network((bits, prefix_len), strict=False))


@pytest.mark.parametrize("seed", range(8))
def test_agrees_with_the_obvious_form(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    ends = ['"never"', "2026-01-01", "2027-01-01", "2026-11-22T00:00:00.000001Z", "2026-11-22T00:00:00Z"]
    prefixes = {random_network(rng) for _ in range(rng.randrange(60))} - {"::/128"}
    digits = {rng.choice(("250", "25033", "250331", "25034", "999", "99940", "310590", "31059", "001")) for _ in range(seed)}
    parts = [network(text, id=f"n{i}", expires=rng.choice(ends)) for i, text in enumerate(sorted(prefixes))]
    for text in sorted(digits):
        more = "exact = true" if len(text) == 5 and rng.random() < 0.4 else ""
        parts.append(plmn(text, more=more, expires=rng.choice(ends)))
    extended = extend(Extension.read(written(tmp_path / "catalogue.toml", *parts)), SHIPPED)
    compiled = OverrideTable(extended).compiled
    edges = [ipaddress.ip_network(text) for text in prefixes]
    # The first and last addresses of every network, and their neighbours.
    points = {
        int(at) + step
        for one in edges if one.version == 4 for at in (one[0], one[-1]) for step in (-1, 0, 1) if 0 <= int(at) + step < 1 << 32
    }  # fmt: skip
    addresses: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [ipaddress.IPv4Address(point) for point in points]
    addresses += [ipaddress.IPv6Address("::ffff:0:0") + int(address) for address in addresses[:9]]
    for one in edges:
        if isinstance(one, ipaddress.IPv6Network):
            addresses += [ipaddress.IPv6Address(at) for at in {int(one[0]), int(one[-1]), max(int(one[0]), 1) - 1}]
    for at in (
        NOW,
        NOW + dt.timedelta(microseconds=1),
        dt.datetime(2025, 1, 1, tzinfo=dt.UTC),
        dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
    ):
        for address in addresses:
            canonical = parse(str(address))
            assert canonical is not None
            number = compiled.network_at(canonical, microseconds(at))
            expected = reference.of_address(extended.networks, address, at)
            assert (extended.networks[number - 1] if number else None) == expected, (address, at)
        for text in ("25001", "25033", "250-331", "250-33", "250331", "250-340", "999-40", "99940", "999401", "310-590", "00101"):
            one_plmn = parse_plmn(text, allow_imsi=True)
            assert one_plmn is not None
            number, length = compiled.plmn_at(one_plmn, microseconds(at))
            known = len(text) != 6 or "-" in text
            found, expected_length = reference.of_plmn(extended.plmns, text.replace("-", ""), mnc_known=known, at=at)
            assert (extended.plmns[number - 1] if number else None, length) == (found, expected_length), (text, at)


# ---- PLMNs


PLMN_CASES: list[tuple[str, str, dict[str, str], str | None, float, str]] = [
    ("250-96", '"crimea"', {"serving": "25096"}, "crimea", 0.95, "1"),
    ("250-96", '"crimea"', {"serving": "25096", "ip": "62.0.1.1"}, "UA-43", 0.95, "1"),
    ("250-96", '"crimea"', {"serving": "25001"}, "RU", 0.8, "2"),
    ("250-96", '"crimea"', {"sim": "250961234567890"}, "crimea", 0.4, "17"),
    ("001-01", '"DE"', {"serving": "00101"}, "DE", 0.95, "1"),
    ("001", '"DE"', {"serving": "00199"}, "DE", 0.95, "1"),
    ("999-40", '"UA-43"', {"serving": "999-40", "sim": "999-40"}, "UA-43", 0.95, "1"),
    ("999-40", '"UA-43"', {"serving": "999-41"}, None, 0.0, "13"),
    ("999", '["FR", "MC"]', {"serving": "99940"}, "FR", 0.5, "5"),
    ("999", '["FR", "GF"]', {"serving": "99940", "ip": "85.0.1.1"}, "GF", 0.9, "5"),
    ("423", '"CU"', {"serving": "42301"}, "CU", 0.95, "1"),
    # the longest prefix decides, of equal ones the operator's
    ("250", '"RU"', {"serving": "25033"}, "UA-40", 0.95, "1"),
    ("250-33", '"RU"', {"serving": "25033"}, "RU", 0.95, "1"),
    ("250-331", '"RU"', {"serving": "250-331"}, "RU", 0.95, "1"),
    ("250-331", '"RU"', {"serving": "250-33"}, "UA-40", 0.95, "1"),
    ("310-410", '"GU"', {"serving": "310-410"}, "GU", 0.95, "1"),
]


@pytest.mark.parametrize(("overridden", "region", "signals", "expected", "confidence", "row"), PLMN_CASES)
def test_a_plmn(
    overridden: str, region: str, signals: dict[str, Any], expected: str | None, confidence: float, row: str, tmp_path: Path
) -> None:
    with opened(tmp_path, plmn(overridden, region)) as resolver:
        answer = resolver.resolve(**signals)
        assert (answer.region, answer.confidence, answer.row) == (expected, confidence, row)
        decided = resolver.decide(**signals)
        assert (decided.resolution.region, decided.resolution.row) == (expected, row)


def test_a_confidence_of_its_own(tmp_path: Path) -> None:
    with opened(tmp_path, plmn("250-96", '"crimea"', more="confidence = 0.7")) as resolver:
        answer = resolver.resolve(serving="25096")
        assert (answer.region, answer.confidence) == ("crimea", 0.7)
        assert resolver.decide(serving="25096").effect == "review"


def test_an_exact_override_needs_a_known_length(tmp_path: Path) -> None:
    with opened(tmp_path, plmn("310-59", '"GU"', more="exact = true")) as resolver:
        assert resolver.resolve(serving="310-59").region == "GU"
        assert resolver.resolve(sim="310590123456789").region == "US"


# ---- what it is worth


@pytest.mark.parametrize(
    ("region", "signals", "expected", "confidence", "row"),
    [
        ("UA-43", {"serving": "25001"}, "UA-43", 0.8, "6"),
        ("UA-43", {"serving": "25501"}, "UA", 0.6, "6b"),
        ("GE-AB", {"serving": "28201"}, "GE-AB", 0.8, "2"),
        ("UA-43", {"sim": "25501"}, "UA-43", 0.8, "9"),
        ("UA-43", {"sim": "36801"}, "UA-43", 0.6, "10"),
        ("RU", {"serving": "25001"}, "RU", 0.98, "2"),
        ("CU", {"serving": "21401"}, "ES", 0.85, "4"),
        ("GF", {"serving": "34001"}, "GF", 0.9, "5"),
    ],
)
def test_a_network_is_ip_evidence_that_knows_its_subdivision(
    region: str, signals: dict[str, Any], expected: str, confidence: float, row: str, tmp_path: Path
) -> None:
    with opened(tmp_path, network("203.0.113.0/24", region, id="lab")) as resolver:
        answer = resolver.resolve(ip="203.0.113.7", **signals)
        assert (answer.region, answer.confidence, answer.row) == (expected, confidence, row)
        assert Conflict.SUBDIVISION_UNKNOWN not in answer.conflicts


def test_an_override_settles_what_databases_dispute(tmp_path: Path) -> None:
    first = city_database(tmp_path / "first.mmdb", {"1.1.0.0/16": ("US", None)})
    second = city_database(tmp_path / "second.mmdb", {"1.1.0.0/16": ("CA", None)})
    path = written(tmp_path / "catalogue.toml", network("1.1.1.0/24", "CA", id="moved"))
    with Resolver.open(db=[first, second], catalogue=path) as resolver:
        assert resolver.resolve(ip="1.1.2.1").conflicts == (Conflict.SOURCES_DISAGREE,)
        settled = resolver.explain(ip="1.1.1.1").resolution
        assert (settled.region, settled.conflicts) == ("CA", ())
        assert [(one.source, one.country_code) for one in settled.evidence[0].sources] == [
            ("override:moved", "CA"), ("first", "US"), ("second", "CA"),
        ]  # fmt: skip
        assert resolver.lookup("1.1.1.1").country_code == "US", "lookup says what the databases say"


def test_explain_names_the_override(tmp_path: Path) -> None:
    parts = network("203.0.113.7", "UA-43", id="lab"), plmn("999-40", '"CU"', expires="2027-06-30")
    with opened(tmp_path, *parts) as resolver:
        decision = resolver.decide(ip="203.0.113.7", serving="99940", sim="26201")
        evidence: Any = decision_document(decision, "reasons")["evidence"]
    serving, home, ip = evidence
    signed_by = {"owner": "activation@example.com", "reason": "ticket 17"}
    assert serving["override"] == {"id": "p999-40", **signed_by, "expires": "2027-06-30T00:00:00Z"}
    assert (serving["match"], serving["candidates"], serving["weight"]) == ("99940", ["CU"], 0.95)
    assert "override" not in home
    assert ip["override"] == {"id": "lab", **signed_by, "expires": "never"}
    assert ip["match"] == "203.0.113.0/24", "an answer shows no whole address"
    assert "203.0.113.7" not in str(evidence)
    assert ip["detail"] == "documentation"


# ---- time and counters


def test_an_expired_override_gives_way_at_the_pings_own_instant(tmp_path: Path) -> None:
    parts = (
        network("84.0.0.0/16", "DE", id="wide", expires="2026-06-01"),
        network("84.0.1.0/24", "FR", id="narrow", expires="2026-03-01T12:00:00+03:00"),
        plmn("368", '"DE"', expires="2026-06-01"),
        plmn("368-01", '"FR"', expires="2026-03-01"),
    )
    with opened(tmp_path, *parts) as resolver:
        noon = dt.datetime(2026, 3, 1, 9, tzinfo=dt.UTC)
        for at, by_ip, by_plmn in (
            (noon - dt.timedelta(microseconds=1), "FR", "DE"),
            (noon, "DE", "DE"),
            (dt.datetime(2026, 2, 28, 23, 59, 59, tzinfo=dt.UTC), "FR", "FR"),
            (dt.datetime(2026, 6, 1, tzinfo=dt.UTC), "CU", "CU"),
            (None, "CU", "CU"),
        ):
            assert resolver.resolve(ip="84.0.1.1", at=at).region == by_ip
            assert resolver.decide(ip="84.0.1.1", at=at).region == by_ip
            assert resolver.resolve(serving="36801", at=at).region == by_plmn
        assert resolver.decide(ip="84.0.1.1").region == "CU", "the plain path takes the clock's instant"
        assert len([warning for warning in resolver.warnings if "expired on" in warning]) == 4
        with pytest.raises(ValueError, match="time zone"):
            resolver.resolve(ip="84.0.1.1", at=dt.datetime(2026, 1, 1))  # noqa: DTZ001 - what is refused


def test_each_signal_that_it_spoke_for_is_a_hit(tmp_path: Path) -> None:
    parts = network("203.0.113.0/24", "UA-43", id="lab"), network("203.0.113.0/25", "CU", id="half"), plmn("999-40", '"CU"')
    with opened(tmp_path, *parts) as resolver:
        assert {found.override.id: found.hits for found in resolver.overrides} == {"lab": 0, "half": 0, "p999-40": 0}
        for _ in range(3):
            resolver.decide(ip="203.0.113.200", serving="99940", sim="99940")
        resolver.resolve(ip="203.0.113.1")
        resolver.resolve(ip="203.0.114.1", serving="36801")
        resolver.resolve(ip="not an address", serving="99941")
        assert {found.override.id: found.hits for found in resolver.overrides} == {"lab": 3, "half": 1, "p999-40": 6}


def test_the_tests_of_a_policy_are_no_hits_and_run_at_their_own_instants(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[policy]\nname = "p"\nversion = 1\n'
        '[[tests]]\nname = "held"\nat = 2026-01-01T00:00:00Z\nping = { serving = "99940" }\nexpect = { region = "CU" }\n'
        '[[tests]]\nname = "over"\nat = 2026-06-01T00:00:00Z\n'
        'ping = { serving = "99940", ip = "80.0.1.1" }\nexpect = { region = "ES" }\n',
        encoding="utf-8",
    )
    path = written(tmp_path / "catalogue.toml", plmn("999-40", '"CU"', expires="2026-06-01"))
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), policy=policy, catalogue=path) as resolver:
        assert [found.hits for found in resolver.overrides] == [0]


def test_the_shipped_policy_proves_what_is_shipped_and_a_policy_of_ones_own_the_whole(tmp_path: Path) -> None:
    """The default policy's tests ping 10.0.0.1 without evidence: an override of that network must not stop the start."""
    policy = written(tmp_path / "policy.toml", shipped_policy("default").read_text(encoding="utf-8"))
    path = written(tmp_path / "catalogue.toml", network("10.0.0.0/8", "DE", id="office"))
    database = city_database(tmp_path / "city.mmdb")
    with Resolver.open(db=database, catalogue=path) as resolver:
        assert resolver.decide(ip="10.0.0.1").region == "DE"
    with pytest.raises(PolicyError, match="without evidence a phone is allowed"):
        Resolver.open(db=database, catalogue=path, policy=policy)


def test_without_overrides_there_is_nothing_to_read(tmp_path: Path) -> None:
    with opened(tmp_path, '[regions]\ngulf = ["AE", "QA"]') as resolver:
        assert resolver.overrides == ()
        assert resolver.expired_overrides(NOW) == 0


def test_hits_go_on_at_the_places_of_other_memory(tmp_path: Path) -> None:
    with opened(tmp_path, network("203.0.113.0/24", "UA-43", id="lab"), plmn("999-40", '"CU"')) as resolver:
        compiled = resolver._overrides.compiled if resolver._overrides else None
        assert compiled is not None
        words = array("Q", [0, 0, 0, 7])
        compiled.count_in(Counters(words), [3, 1])
        resolver.decide(ip="203.0.113.200", serving="99940")
        assert list(words) == [0, 1, 0, 8]
        assert compiled.hits() == [found.hits for found in resolver.overrides] == [8, 1]
        for places in ([0], [0, 4], [0, -1], [0, 1, 2]):
            with pytest.raises(ValueError, match="needs its counter"):
                compiled.count_in(Counters(words), places)
        compiled.count_in(Counters(words), [2, 2])
        resolver.decide(ip="203.0.113.200", serving="99940")
        assert list(words) == [0, 1, 2, 8]


def test_tables_that_cannot_be_are_refused() -> None:
    digits = DigitTrie([("99940", 1, False)])
    networks = _network_trie(())
    for rows, counters, words in (
        ([], bytearray(8), "without a row"),
        ([(0, 1, 5, False)], bytearray(8), "is not an earlier one"),
        ([(0, -1, 5, False)], bytearray(8), "is not an earlier one"),
        ([(0, 0, 5, False)], bytearray(7), "needs its counter"),
    ):
        with pytest.raises(ValueError, match=words):
            Overrides(networks, digits, [], rows, Counters(counters))


# ---- the hard cases that a country-only database and a policy's own regions add


def test_a_policy_may_speak_of_the_regions_and_words_of_the_file(tmp_path: Path) -> None:
    vocabulary = '[regions]\nislands = ["GP", "GF"]\nwatched = ["islands", "crimea"]\n'
    vocabulary += '[[aliases]]\nregion = "UA-43"\nwords = ["krym"]\n'
    policy = tmp_path / "policy.toml"
    policy.write_text(
        '[policy]\nname = "p"\nversion = 1\n[regions]\nown = ["islands", "krym"]\nislands = ["GF"]\n'
        '[[rules]]\nid = "r"\nwhen = { region = ["own"] }\neffect = "review"\nreason = "LOOK"\n'
        '[[rules]]\nid = "w"\nwhen = { sold_in = ["krym"] }\neffect = "review"\nreason = "SOLD"\n',
        encoding="utf-8",
    )
    path = written(tmp_path / "catalogue.toml", vocabulary)
    with Resolver.open(
        db=city_database(tmp_path / "city.mmdb"), policy=policy, catalogue=path, any_regions=["watched", "krym"]
    ) as resolver:
        assert resolver.decide(ip="85.0.1.1").effect == "review"
        assert resolver.decide(serving="34001").effect == "allow", "the policy's [regions] replaces the file's region"
        assert resolver.decide(ip="46.0.1.1").effect == "review"
        assert resolver.decide(ip="77.0.1.1").effect == "allow"
        assert resolver.decide(ip="2.0.1.1", sold_in="krym").verdict.rule == "w"
        assert resolver.decide(ip="2.0.1.1", sold_in="UA-43").verdict.rule == "w"
        assert resolver.resolve(ip="85.0.1.1").region_name == "islands"
        regions: Any = resolver.policy_document()["regions"]
        assert regions["watched"] == ["GF", "GP", "UA-40", "UA-43"], "a region of the file means what the file says"
        assert "krym" not in regions


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Resolver]:
    with opened(tmp_path) as resolver:
        yield resolver


def test_a_file_that_adds_nothing_changes_nothing(two: Resolver) -> None:
    assert (two.resolve(ip="84.0.1.1").region, two.overrides, two.warnings) == ("CU", (), ())
    assert {evidence.signal for evidence in two.resolve(ip="84.0.1.1").evidence} == {Signal.IP}
