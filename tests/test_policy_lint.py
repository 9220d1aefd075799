"""What a policy is warned of, each kind with the smallest policy that has it, and that good policies are left alone."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from regionresolver.errors import NoSignalError
from regionresolver.policy import Finding, Severity, lint, load_policy, run_tests, shipped_policy
from regionresolver.policy.load import SHIPPED
from tests.policies import LISTING, NOON, catalogue, plmns, policy, resolve_by_network

if TYPE_CHECKING:
    from regionresolver.model import Resolution
    from regionresolver.policy.testing import Signals

EVERYTHING = frozenset(catalogue().subdivisions)


def findings(text: str, visible: frozenset[str] = EVERYTHING) -> list[tuple[str, str, str]]:
    return [(finding.severity.value, finding.code, finding.where) for finding in lint(policy(text), catalogue(), visible)]


def rule(name: str, when: str = "{}", more: str = "", effect: str = "review") -> str:
    return f'[[rules]]\nid = "{name}"\nwhen = {when}\neffect = "{effect}"\n{more}\n'


def window(start: str | None, end: str | None) -> str:
    parts = [f"{key} = {value}T00:00:00Z" for key, value in (("from", start), ("until", end)) if value]
    return f"effective = {{ {', '.join(parts)} }}\n"


def ramp(*stages: tuple[str, float], salt: str = "s") -> str:
    listed = ", ".join(f"{{ at = {day}T00:00:00Z, percent = {percent} }}" for day, percent in stages)
    return f'rollout = {{ key = "device_id", salt = "{salt}", stages = [ {listed} ] }}\n'


# Good policies


def test_the_listing_of_the_specification_is_clean() -> None:
    assert lint(policy(LISTING), catalogue(), EVERYTHING, plmns=plmns(), resolve=resolve_by_network) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_policies_are_clean(name: str) -> None:
    shipped = load_policy(shipped_policy(name), catalogue())
    assert lint(shipped, catalogue(), EVERYTHING, plmns=plmns(), at=NOON, resolve=resolve_by_network) == []


# Each check

UNSEEN = ("warning", "subdivision-not-visible", "rules[0].when.region")
ENDLESS = ("error", "deny-without-end", "rules[0]")
SHADOWED = ("error", "rule-shadowed", "rules[1]")
LOWERS = ("error", "stage-lowers", "rules[0].rollout.stages[1].percent")


@pytest.mark.parametrize(
    ("visible", "when", "expected"),
    [
        (set(), "CU", []),
        (set(), "UA", []),
        (set(), "crimea", [UNSEEN]),
        ({"UA-43"}, "crimea", [UNSEEN]),
        ({"UA-43", "UA-40"}, "crimea", []),
        ({"UA-40"}, "UA-43", [UNSEEN]),
        ({"UA-43"}, "RU-CR", []),
    ],
)
def test_a_subdivision_that_no_database_sees(visible: set[str], when: str, expected: list[tuple[str, str, str]]) -> None:
    assert findings(rule("r", f'{{ region = "{when}" }}'), frozenset(visible)) == expected


def test_an_unseen_subdivision_is_named_with_its_country() -> None:
    (finding,) = lint(policy(rule("r", '{ region = "crimea" }')), catalogue(), frozenset())
    assert str(finding) == (
        "warning: rules[0].when.region: no loaded IP database can tell UA-40, UA-43 from the rest of UA: only a PLMN can "
        "[subdivision-not-visible]"
    )


def test_a_region_that_shares_its_mobile_country_code() -> None:
    found = lint(policy(rule("r", '{ region = ["GF"] }')), catalogue(), EVERYTHING, plmns=plmns())
    assert [(finding.severity.value, finding.code) for finding in found] == [("warning", "mcc-shared")]
    assert found[0].text.startswith("MCC 340 of GF also serves GP")

    whole = next(row.candidates for row in plmns().rows if row.prefix == "340")
    listed = ", ".join(f'"{code}"' for code in whole)
    assert lint(policy(rule("r", f"{{ region = [{listed}] }}")), catalogue(), EVERYTHING, plmns=plmns()) == []


@pytest.mark.parametrize(
    "when",
    [
        '{ region = ["CU", "UA-43"], region_not = ["CU", "UA"] }',
        '{ home_region = "CU", home_region_not = "cuba" }',
        '{ sold_in = "CU", sold_in_not = ["SY", "CU"] }',
        '{ sku = "A*", sku_not = ["B*", "A*"] }',
        "{ first_activated_after = 2021-01-01T00:00:00Z, first_activated_before = 2021-01-01T00:00:00Z }",
        "{ confidence_at_least = 0.8, confidence_below = 0.8 }",
    ],
)
def test_conditions_that_exclude_each_other(when: str) -> None:
    assert findings(rule("r", when)) == [("error", "rule-unreachable", "rules[0].when")]


@pytest.mark.parametrize(
    "when",
    [
        '{ region = ["CU", "UA"], region_not = ["CU", "UA-43"] }',
        '{ region = "UA", region_not = "crimea" }',
        "{ first_activated_after = 2021-01-01T00:00:00Z, first_activated_before = 2021-01-02T00:00:00Z }",
        "{ confidence_at_least = 0.8, confidence_below = 0.81 }",
    ],
)
def test_conditions_that_leave_something(when: str) -> None:
    assert findings(rule("r", when)) == []


# An earlier rule, a later one, and whether the later one can still decide.
PAIRS: list[tuple[str, str, bool]] = [
    (rule("a"), rule("b", '{ region = "CU" }'), False),
    (rule("a", '{ region = "CU" }'), rule("b"), True),
    (rule("a", '{ region = "CU" }'), rule("b", '{ region = "CU", sku = "A*" }'), False),
    (rule("a", '{ region = ["CU", "UA"] }'), rule("b", '{ region = ["cuba", "crimea"] }'), False),
    (rule("a", '{ region = "crimea" }'), rule("b", '{ region = "UA" }'), True),
    (rule("a", '{ region = ["UA-43", "UA-40"] }'), rule("b", '{ region = "crimea" }'), False),
    (rule("a", '{ region_not = "CU" }'), rule("b", '{ region_not = ["CU", "SY"] }'), False),
    (rule("a", '{ region_not = ["CU", "SY"] }'), rule("b", '{ region_not = "CU" }'), True),
    (rule("a", '{ region_not = "SY" }'), rule("b", '{ region = "CU" }'), True),
    (rule("a", '{ sku = ["A*", "B*"] }'), rule("b", '{ sku = "A*" }'), False),
    (rule("a", '{ sku = "A*" }'), rule("b", '{ sku = ["A*", "B*"] }'), True),
    (rule("a", '{ sku_not = "A*" }'), rule("b", '{ sku_not = ["A*", "B*"] }'), False),
    (rule("a", '{ conflict = "sim_only" }'), rule("b", '{ conflict = ["sim_only", "home_routed"] }'), True),
    (rule("a", "{ confidence_at_least = 0.5 }"), rule("b", "{ confidence_at_least = 0.6 }"), False),
    (rule("a", "{ confidence_at_least = 0.7 }"), rule("b", "{ confidence_at_least = 0.6 }"), True),
    (rule("a", "{ confidence_below = 0.7 }"), rule("b", "{ confidence_below = 0.6 }"), False),
    (
        rule("a", "{ first_activated_before = 2021-08-31T00:00:00Z }"),
        rule("b", "{ first_activated_before = 2021-08-30T00:00:00Z }"),
        False,
    ),
    (
        rule("a", "{ first_activated_after = 2021-08-31T00:00:00Z }"),
        rule("b", "{ first_activated_after = 2021-08-30T00:00:00Z }"),
        True,
    ),
    (rule("a", '{ device_id = ["h:1", "h:2"] }'), rule("b", '{ device_id = "h:1" }'), False),
    (rule("a", '{ device_id = { ids = "h:1", until = 2027-01-01T00:00:00Z } }'), rule("b", '{ device_id = "h:1" }'), True),
    (
        rule("a", '{ device_id = { ids = "h:1", until = 2027-01-01T00:00:00Z } }'),
        rule("b", '{ device_id = { ids = "h:1", until = 2026-01-01T00:00:00Z } }'),
        False,
    ),
    (rule("a", '{ signal_status = { ip = "reserved" } }'), rule("b", '{ signal_status = { ip = "reserved" } }'), False),
    (rule("a", '{ signal_status = { ip = "reserved" } }'), rule("b", '{ signal_status = { ip = "invalid" } }'), True),
    (rule("a", more='mode = "shadow"'), rule("b"), True),
    (rule("a", more='mode = "off"'), rule("b"), True),
    (rule("a"), rule("b", more='mode = "shadow"'), False),
    (rule("a"), rule("b", more='mode = "off"'), True),
    (rule("a", more=window("2021-01-01", None)), rule("b"), True),
    (rule("a", more=window("2021-01-01", "2022-01-01")), rule("b", more=window("2021-02-01", "2022-01-01")), False),
    (rule("a", more=window("2021-01-01", "2022-01-01")), rule("b", more=window("2021-02-01", None)), True),
    (rule("a", more=window(None, "2022-01-01")), rule("b", more=window(None, "2021-01-01")), False),
    (rule("a", more=window(None, "2022-01-01")), rule("b", more=window("2022-01-01", None)), True),
    (rule("a", more=ramp(("2021-01-01", 100))), rule("b"), True),
    (rule("a", more=ramp(("2021-01-01", 100))), rule("b", more=window("2021-01-01", None)), False),
    (rule("a", more=ramp(("2021-01-01", 5), ("2021-02-01", 100))), rule("b", more=window("2021-01-15", None)), True),
    (rule("a", more=ramp(("2021-01-01", 5), ("2021-02-01", 100))), rule("b", more=window("2021-02-01", None)), False),
]


@pytest.mark.parametrize(("earlier", "later", "reachable"), PAIRS)
def test_a_rule_behind_one_that_always_matches(earlier: str, later: str, reachable: bool) -> None:
    assert findings(earlier + later) == ([] if reachable else [SHADOWED])


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("", [ENDLESS]),
        ('mode = "shadow"', [ENDLESS]),
        ('mode = "off"', []),
        (window("2021-01-01", None), [ENDLESS]),
        (window("2021-01-01", "2022-01-01"), []),
        ("review_by = 2027-01-01", []),
    ],
)
def test_a_denial_needs_an_end_or_a_day_to_look_again(more: str, expected: list[tuple[str, str, str]]) -> None:
    assert findings(rule("r", more=more, effect="deny")) == expected


@pytest.mark.parametrize(
    ("at", "overdue"),
    [("2026-11-22T23:59:59Z", False), ("2026-11-23T00:00:00Z", True), ("2026-11-23T00:30:00+01:00", False)],
)
def test_a_day_to_look_again_that_has_passed(at: str, overdue: bool) -> None:
    found = lint(
        policy(rule("r", more="review_by = 2026-11-22", effect="deny")), catalogue(), EVERYTHING, at=dt.datetime.fromisoformat(at)
    )
    assert [(finding.severity, finding.code) for finding in found] == ([(Severity.WARNING, "review-overdue")] if overdue else [])


@pytest.mark.parametrize(
    ("percents", "expected"),
    [
        ((5, 25, 100), []),
        ((5, 5), []),
        ((25, 5), [LOWERS]),
        ((25, 5, 1), [LOWERS, (*LOWERS[:2], "rules[0].rollout.stages[2].percent")]),
    ],
)
def test_a_stage_must_not_lower_the_percentage(percents: tuple[int, ...], expected: list[tuple[str, str, str]]) -> None:
    stages = [(f"2021-01-0{day}", percent) for day, percent in enumerate(percents, start=1)]
    assert findings(rule("r", more=ramp(*stages))) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[messages.R]\nen = "no"', []),
        ('[messages.R]\nEN = "no"', []),
        ('[messages.R]\nes = "no"', [("error", "message-missing", "messages.R")]),
        ('[messages.OTHER]\nen = "no"', [("error", "message-missing", "rules[0].reason")]),
    ],
)
def test_a_denial_needs_words_in_the_default_language(text: str, expected: list[tuple[str, str, str]]) -> None:
    denial = rule("r", more='reason = "R"\nreview_by = 2027-01-01', effect="deny")
    assert findings(denial + text) == expected


def test_a_review_or_a_shadow_rule_needs_no_words() -> None:
    assert findings(rule("a", '{ region = "CU" }', more='reason = "R"')) == []
    assert findings(rule("b", more='reason = "R"\nreview_by = 2027-01-01\nmode = "shadow"', effect="deny")) == []


# Succession


def header(name: str, version: int) -> str:
    return f'[policy]\nname = "{name}"\nversion = {version}\n'


@pytest.mark.parametrize(("name", "version", "wrong"), [("a", 42, False), ("a", 41, True), ("a", 40, True), ("b", 1, False)])
def test_a_version_must_be_above_the_active_one(name: str, version: int, wrong: bool) -> None:
    found = lint(policy(header(name, version)), catalogue(), EVERYTHING, active=policy(header("a", 41)))
    assert [(finding.code, finding.where) for finding in found] == ([("version-not-above", "policy.version")] if wrong else [])


@pytest.mark.parametrize(
    ("day", "salt", "wrong"),
    [("01", "new", False), ("05", "new", True), ("05", "old", False), ("15", "new", True), ("25", "new", False)],
)
def test_a_salt_must_not_change_in_the_middle_of_a_ramp(day: str, salt: str, wrong: bool) -> None:
    stages = (("2021-01-03", 5), ("2021-01-10", 25), ("2021-01-20", 100))
    active = policy(header("a", 1) + rule("r", more=ramp(*stages, salt="old")))
    candidate = policy(header("a", 2) + rule("r", more=ramp(*stages, salt=salt)))

    found = lint(candidate, catalogue(), EVERYTHING, active=active, at=dt.datetime.fromisoformat(f"2021-01-{day}T00:00:00Z"))

    assert [(finding.code, finding.where) for finding in found] == ([("salt-changed", "rules[0].rollout.salt")] if wrong else [])


# Embedded tests


def embedded(ping: str, expect: str) -> str:
    return f'[[tests]]\nname = "t"\nat = 2026-01-01T00:00:00Z\nping = {{ {ping} }}\nexpect = {{ {expect} }}\n'


DENY_CUBA = rule("r", '{ region = "CU" }', more='reason = "R"\nretry_after = "P1D"\nreview_by = 2027-01-01', effect="deny")


@pytest.mark.parametrize(
    ("ping", "expect", "why"),
    [
        (
            'serving = "36801"',
            'decision = "deny", region = "CU", country = "CU", rule = "r", reason = "R", retry_after = 86400',
            "",
        ),
        ('serving = "36801"', 'shadow = "none"', ""),
        ('serving = "36801"', 'decision = "allow"', "decision: expected allow, got deny"),
        ('serving = "36801"', 'region = "SY", rule = "q"', "region: expected SY, got CU; rule: expected q, got r"),
        (
            'serving = "36801"',
            'retry_after = 1, shadow = "deny"',
            "retry_after: expected 1, got 86400; shadow: expected deny, got none",
        ),
        ('serving = "25033"', 'region = "UA-40", subdivision = "UA-40", country = "UA"', ""),
    ],
)
def test_an_embedded_test_says_what_differs(ping: str, expect: str, why: str) -> None:
    (result,) = run_tests(policy(DENY_CUBA + embedded(ping, expect)), catalogue(), resolve_by_network)
    assert (result.passed, result.why) == (not why, why)


def test_a_failing_test_is_a_finding() -> None:
    text = DENY_CUBA + '[messages.R]\nen = "no"\n' + embedded('serving = "36801"', 'decision = "allow"')
    assert lint(policy(text), catalogue(), EVERYTHING, resolve=resolve_by_network) == [
        Finding(Severity.ERROR, "test-failed", ("tests", 0), "'t': decision: expected allow, got deny")
    ]


def test_a_ping_that_is_refused_fails_its_test() -> None:
    def refuse(_signals: Signals) -> Resolution:
        raise NoSignalError("no signal")

    (result,) = run_tests(policy(embedded('sku = "A"', 'decision = "allow"')), catalogue(), refuse)
    assert str(result) == "t: the ping is refused: no signal"


def test_the_resolver_gets_the_signals_and_the_policy_the_rest() -> None:
    seen: list[Signals] = []

    def resolve(signals: Signals) -> Resolution:
        seen.append(signals)
        return resolve_by_network(signals)

    text = rule("r", '{ sku = "A", sold_in = "DE", device_id = "h:1", first_activated_before = 2021-08-31T00:00:00Z }')
    fields = 'sku = "A", sold_in = "DE", device_id = "h:1", first_activated_at = 2021-01-01T00:00:00Z, lang = "es"'
    ping = 'serving = { mcc = "368", mnc = "01" }, ip = "8.8.8.8", id = "x", ' + fields

    (result,) = run_tests(policy(text + embedded(ping, 'rule = "r"')), catalogue(), resolve)

    assert result.passed
    assert seen == [{"serving": "368-01", "ip": "8.8.8.8", "at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)}]
