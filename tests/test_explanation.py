"""Why an answer is what it is: sentences for every row and conflict, and one explanation behind every face of it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import itertools
import re
from typing import TYPE_CHECKING, cast

import pytest

from _fastpath.fusion import ROW_NAMES
from regionresolver import Conflict, Resolver, Signal
from regionresolver.policy import shipped_policy
from regionresolver.resolver.documents import decision_document, explanation_document
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.plmn import PlmnTable
from tests.paths import ROOT
from tests.test_cli import invoke
from tests.worlds import city_database, country_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regionresolver.model import Explanation

CRIMEA = "46.0.1.1"
CRIMEA_RU = "62.0.1.1"
CUBA = "84.0.1.1"
SPAIN = "80.0.1.1"
GERMANY = "5.0.1.1"

IPS = (None, "nonsense", "10.0.0.1", "93.0.0.1", CRIMEA, CRIMEA_RU, CUBA, SPAIN, "32.0.1.1", "37.0.1.1", "85.0.1.1")
PLMNS = (None, "x", "90140", "42301", "25034", "25033", "25001", "25501", "36801", "21401", "34001", "310260")


@pytest.fixture(scope="module")
def disputing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    """Two databases: one that sees no subdivision, and one that sees them and says otherwise of one network."""
    folder = tmp_path_factory.mktemp("disputing")
    blind = country_database(folder / "blind.mmdb", {"32.0.0.0/16": ("UA", None), "80.0.0.0/16": ("ES", None)})
    seeing = city_database(folder / "city.mmdb")
    other = city_database(folder / "other.mmdb", {"80.0.0.0/16": ("FR", None)})
    with Resolver.open(db=[blind, seeing, other]) as opened:
        yield opened


def sentences(explanation: Explanation) -> list[str]:
    outcome = [] if explanation.outcome is None else [explanation.outcome]
    return [explanation.situation, *(one.detail for one in explanation.conflicts), *outcome]


def test_every_row_and_every_conflict_has_its_sentence(disputing: Resolver) -> None:
    rows: set[str] = set()
    conflicts: set[Conflict] = set()
    for ip, serving, sim in itertools.product(IPS, PLMNS, PLMNS):
        if ip is serving is sim is None:
            continue
        decision = disputing.decide(ip=ip, serving=serving, sim=sim)
        explanation = decision.explanation
        rows.add(explanation.row)
        conflicts.update(one.conflict for one in explanation.conflicts)
        assert tuple(one.conflict for one in explanation.conflicts) == decision.resolution.conflicts
        for sentence in sentences(explanation):
            assert re.fullmatch(r"[A-Z0-9].*[A-Za-z0-9)]\.", sentence), sentence
            assert "no region" not in sentence or explanation.row == "13" or "says no region" in sentence, sentence
            assert "None" not in sentence
            assert "()" not in sentence
        assert explanation.situation == disputing.explain(ip=ip, serving=serving, sim=sim).situation
    assert rows == set(ROW_NAMES.values())
    assert conflicts == set(Conflict)


SITUATIONS = [
    ({"serving": "25034"}, "The serving network 250-34 is known to serve crimea (UA-43 or UA-40): it decides."),
    (
        {"serving": "25034", "ip": CRIMEA},
        (
            "The serving network 250-34 is known to serve crimea (UA-43 or UA-40): it decides, "
            "and the IP narrows it down to Crimea (UA-43)."
        ),
    ),
    ({"serving": "36801"}, "The serving network is of Cuba (CU); nothing else says where the phone is."),
    (
        {"serving": "21401", "sim": "36801"},
        "The serving network is of Spain (ES), the SIM is of Cuba (CU). The phone is where the network is.",
    ),
    (
        {"serving": "21401", "sim": "36801", "ip": CUBA},
        (
            "The serving network is of Spain (ES) and the IP of Cuba (CU), where the SIM is from: home-routed roaming. "
            "The phone is where the network is."
        ),
    ),
    (
        {"serving": "34001", "sim": "74201"},
        "Several regions share the serving network's code 340; the SIM chooses French Guiana (GF).",
    ),
    (
        {"serving": "34001"},
        (
            "Several regions share the serving network's code 340; nothing chooses among them, so the first, Guadeloupe (GP), "
            "is answered."
        ),
    ),
    (
        {"serving": "25001", "ip": CRIMEA},
        "The serving network is of Russian Federation (RU), and the IP lies in Crimea (UA-43), which is filed under it too.",
    ),
    (
        {"serving": "25501", "ip": CRIMEA},
        "The IP lies in Crimea (UA-43), but no operator of Ukraine (UA) serves it: the serving network is evidence against it.",
    ),
    ({"sim": "36801"}, "Only the SIM is known: it was sold in Cuba (CU), which says little of where the phone is."),
    ({"ip": "10.0.0.1"}, "No signal could be used."),
]


@pytest.mark.parametrize(("signals", "situation"), SITUATIONS)
def test_the_situation_is_told_with_this_pings_places(resolver: Resolver, signals: dict[str, str], situation: str) -> None:
    found = resolver.explain(ip=signals.get("ip"), serving=signals.get("serving"), sim=signals.get("sim"))
    assert found.situation == situation
    assert (found.outcome, found.rules) == (None, ())


def test_conflicts_say_who_says_what(disputing: Resolver) -> None:
    def details(**signals: str) -> dict[str, str]:
        found = disputing.explain(ip=signals.get("ip"), serving=signals.get("serving"), sim=signals.get("sim"))
        return {one.conflict: one.detail for one in found.conflicts}

    assert details(ip=SPAIN, serving="36801") == {
        "ip_disagrees": "The IP is of Spain (ES), the serving network of Cuba (CU): a VPN, a relay or a travel SIM. "
        "The IP is not followed.",
        "sources_disagree": "The IP databases name different regions: blind says Spain (ES), city says Spain (ES), "
        "other says France (FR).",
    }
    assert "UA-43, UA-40" in details(ip="32.0.1.1")["subdivision_unknown"]
    assert details(serving="90140", ip="10.0.0.1") == {
        "non_geographic_plmn": "The serving network 901 belongs to no country (international shared).",
        "no_evidence": "No signal could be used: serving_plmn is non_geographic, ip is reserved.",
    }
    filed = details(serving="25001", ip=CRIMEA)["country_alias"]
    assert filed.startswith("Crimea (UA-43) is filed under Ukraine (UA) and Russian Federation (RU)")


def test_overrides_come_with_operator_and_source(resolver: Resolver) -> None:
    serving, home = resolver.explain(serving="25032", sim="250330123456789").overrides
    assert (serving.signal, serving.match, serving.regions, serving.confidence) == (
        Signal.SERVING_PLMN,
        "250-32",
        ("crimea",),
        0.8,
    )
    assert serving.note == "also built in occupied Luhansk"
    assert (home.signal, home.match, home.operator) == (Signal.HOME_PLMN, "250-33", 'Sevtelekom "Sevmobile"')
    table = PlmnTable.load(catalogue=Catalogue.load())
    assert (home.source, home.date) == (table.sources["wikipedia"].title, table.sources["wikipedia"].date)
    assert resolver.explain(serving="36801").overrides == ()


CATALOGUE = """
[[networks]]
id = "lab"
network = "203.0.113.7/32"
region = "UA-43"
owner = "activation@example.com"
reason = "ticket 17"
expires = "never"
[[plmns]]
id = "depot"
plmn = "999-40"
region = "CU"
owner = "activation@example.com"
reason = "ticket 18"
expires = "never"
"""


def test_an_operators_overrides_are_named_with_owner_and_reason(tmp_path: Path) -> None:
    (tmp_path / "catalogue.toml").write_text(CATALOGUE, encoding="utf-8")
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), catalogue=tmp_path / "catalogue.toml") as overridden:
        decision = overridden.decide(ip="203.0.113.7", serving="99940", sim="25034")
    explanation = decision.explanation
    assert [(one.signal, one.match, one.regions, one.note, one.source) for one in explanation.overrides] == [
        ("serving_plmn", "999-40", ("CU",), "ticket 18", "override depot of activation@example.com"),
        ("home_plmn", "250-34", ("crimea",), None, explanation.overrides[1].source),
        ("ip", "203.0.113.0/24", ("UA-43",), "ticket 17", "override lab of activation@example.com"),
    ]
    listed = cast("list[dict[str, object]]", decision_document(decision, "reasons")["overrides"])
    assert [(one["match"], one["confidence"], one["date"] is None) for one in listed] == [
        ("999-40", 0.95, True),
        ("250-34", 0.95, False),
        ("203.0.113.0/24", None, True),
    ]


# The policy's part

POLICY = """
[policy]
name = "trial"
version = 3
default_language = "en"
[[rules]]
id = "spared"
when = { region = ["CU"], sku = ["M2*"], sold_in = ["DE"], first_activated_before = 2021-08-31T00:00:00Z }
effect = "allow"
[[rules]]
id = "listed"
when = { region = ["CU"], device_id = ["h:1"] }
effect = "review"
[[rules]]
id = "cuba"
when = { region = ["CU"] }
effect = "deny"
review_by = 2030-01-01
[[rules]]
id = "measure"
mode = "shadow"
when = { region = ["ES"] }
effect = "deny"
review_by = 2030-01-01
"""


@pytest.fixture(scope="module")
def ruled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Resolver]:
    folder = tmp_path_factory.mktemp("ruled")
    (folder / "trial.toml").write_text(POLICY, encoding="utf-8")
    with Resolver.open(db=city_database(folder / "city.mmdb"), policy=folder / "trial.toml") as opened:
        yield opened


def why(explanation: Explanation) -> dict[str, str]:
    return {rule.rule: rule.why for rule in explanation.rules}


def test_a_plain_decision_knows_later_what_the_policy_was_asked_with(ruled: Resolver) -> None:
    plain = ruled.decide(serving="36801", sku="M2101", sold_in="DE", device_id="h:1")
    assert why(plain.explanation) == {
        "spared": "first_activated_before: not known",
        "listed": "every condition holds",
        "cuba": "every condition holds",
        "measure": "region: CU, asked for ES",
    }
    other = ruled.decide(serving="36801", sku="N", sold_in="FR")
    assert why(other.explanation)["spared"] == "sold_in: FR, asked for DE"
    assert why(other.explanation)["listed"] == "device_id: not known"
    spared = ruled.decide(serving="36801", sku="M2\u00e9", sold_in="DE", first_activated_at="2020-01-01T00:00:00Z")
    assert why(spared.explanation)["spared"] == "every condition holds"
    assert spared.explanation.outcome == "The rule spared says allow."
    half = ruled.decide(serving="36801", sku="\ud800", sold_in="DE")
    assert why(half.explanation)["spared"] == "sku: no match, asked for M2*"


OUTCOMES = [
    ({"serving": "36801"}, "The rule cuba says deny."),
    (
        {"sim": "36801"},
        "The rule cuba says deny, but the confidence 0.40 is below 0.80: review.",
    ),
    ({"ip": GERMANY}, "No rule matches, and the policy's default says allow."),
    ({"ip": "10.0.0.1"}, "Nothing says where the phone is: the policy's on_unknown is allow."),
    (
        {"serving": "21401"},
        (
            "No rule matches, and the policy's default says allow. "
            "Were the shadow rules enforced, the rule measure would decide: deny."
        ),
    ),
]


@pytest.mark.parametrize(("signals", "outcome"), OUTCOMES)
def test_the_outcome_says_how_the_verdict_came_about(ruled: Resolver, signals: dict[str, str], outcome: str) -> None:
    decision = ruled.decide(ip=signals.get("ip"), serving=signals.get("serving"), sim=signals.get("sim"))
    assert decision.explanation.outcome == outcome


def test_rules_are_explained_as_of_the_instant_that_decided(tmp_path: Path) -> None:
    with Resolver.open(db=city_database(tmp_path / "city.mmdb"), policy=shipped_policy("example-2021")) as dated:
        during = dated.decide(serving="36801", device_id="h:1", at=dt.datetime(2021, 9, 10, tzinfo=dt.UTC))
        assert during.effect == "deny"
        assert why(during.explanation)["embargo-six"] == "every condition holds"
        assert "ended at 2021-09-14" in why(dated.decide(serving="36801").explanation)["embargo-six"]


def test_an_explanation_is_made_once_and_cannot_be_changed(ruled: Resolver) -> None:
    decision = ruled.decide(serving="36801")
    assert decision.explanation is decision.explanation
    with pytest.raises(dataclasses.FrozenInstanceError):
        decision.explanation.situation = "x"  # type: ignore[misc]
    assert decision.explanation.resolution == decision.resolution, "without an IP a second look adds nothing"


def test_a_decision_is_explained_after_the_resolver_is_closed(tmp_path: Path) -> None:
    with Resolver.open(db=city_database(tmp_path / "city.mmdb")) as closing:
        open_, late = (closing.decide(serving="36801", ip=CUBA) for _ in range(2))
        assert open_.explanation.evidence[1].match == "84.0.0.0/16"
    assert [found.match for found in late.explanation.evidence] == ["368", None], "its databases are gone"
    assert late.explanation.rules == open_.explanation.rules


# One explanation, three faces


@pytest.mark.parametrize(
    "ping",
    [
        {"serving": "25034", "sim": "25034", "ip": CRIMEA},
        {"serving": "36801"},
        {"serving": "21401", "sim": "36801", "ip": CUBA},
        {"serving": "36801", "sim": "36801", "ip": SPAIN},
        {"serving": "34001"},
        {"ip": "10.0.0.1"},
        {"ip": "93.0.0.1"},
        {"ip": "1.2.3.0/24", "serving": "12", "sim": "x"},
    ],
    ids=["crimea", "cuba", "home routed", "vpn", "ambiguous", "private", "unknown", "invalid"],
)
def test_document_and_tree_show_what_the_library_says(tmp_path: Path, ping: dict[str, str]) -> None:
    database = city_database(tmp_path / "city.mmdb")
    with Resolver.open(db=database) as resolver:
        decision = resolver.decide(ip=ping.get("ip"), serving=ping.get("serving"), sim=ping.get("sim"))
        document = decision_document(decision, "full")
        explanation = decision.explanation
    assert document["row"] == explanation.row
    assert document["situation"] == explanation.situation
    assert document["outcome"] == explanation.outcome
    assert document["conflict_details"] == [dataclasses.asdict(one) for one in explanation.conflicts]
    assert document["rules"] == [dataclasses.asdict(one) for one in explanation.rules]
    evidence = document["evidence"]
    assert isinstance(evidence, list)
    assert [(one["signal"], one["status"], one["match"], one["weight"], one["used"]) for one in evidence] == [
        (one.signal, one.status, one.match, one.weight, one.used) for one in explanation.evidence
    ]
    assert explanation_document(explanation, with_rules=True).items() <= document.items()
    arguments = [word for name, value in ping.items() for word in (f"--{name}", value)]
    tree = invoke("decide", "--db", str(database), *arguments, "--explain", "full").stdout
    words = " ".join(re.sub(r"[\u2500-\u257f]", " ", tree).split())
    for sentence in sentences(explanation):
        assert sentence in words
    for rule in explanation.rules:
        assert f"{rule.rule} [{rule.mode}] {'matched' if rule.matched else 'not matched'}: {rule.why}" in words
    for one in explanation.evidence:
        assert f"{one.signal}: {one.status}" in words
        assert one.match is None or f"match {one.match}" in words
    assert all(len(line) <= 160 for line in tree.splitlines())


# The page


def listings() -> list[tuple[str, str]]:
    """Every command of docs/explain.md with the output that it shows."""
    text = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [
        (found[1], found[2])
        for block in blocks
        for found in re.finditer(r"^\$ regionresolver (.*?)\n(.*?)(?=^\$ |\Z)", block, flags=re.MULTILINE | re.DOTALL)
    ]


@pytest.mark.parametrize(("command", "output"), listings())
@pytest.mark.usefixtures("bare_environment")
def test_the_page_shows_what_the_command_line_says(command: str, output: str) -> None:
    result = invoke(*command.split())
    assert result.exit_code == 0
    assert [line.rstrip() for line in result.stdout.splitlines()] == [line.rstrip() for line in output.splitlines()]


def test_the_library_example_of_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs" / "explain.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    (shown,) = re.findall(r"^```text\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    exec(compile(example, "docs/explain.md", "exec"), {})
    assert capsys.readouterr().out == shown
