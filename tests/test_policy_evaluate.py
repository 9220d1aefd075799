"""What a policy decides: every condition, windows, rollouts, shadow rules, defaults, messages, and why."""

from __future__ import annotations

import datetime as dt
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regionresolver.model import Conflict, Effect, PingFacts, Resolution, Signal, SignalStatus, Verdict
from regionresolver.policy import BUCKETS, CompiledPolicy, rollout_bucket
from tests.policies import LISTING, NOON, catalogue, compiled, decide, evidence, one_rule, policy, resolved

SECOND = dt.timedelta(seconds=1)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC)


CROSSING = utc("2021-08-31T00:00:00Z")
CUBAN_SIM = evidence(Signal.HOME_PLMN, "CU")
SHARED_SIM = evidence(Signal.HOME_PLMN, "GP", "GF", "MQ")
CRIMEAN_SIM = evidence(Signal.HOME_PLMN, "crimea")
BAD_SIM = evidence(Signal.HOME_PLMN, status=SignalStatus.INVALID)
RESERVED_IP = evidence(Signal.IP, status=SignalStatus.RESERVED)
TWO_BAD = (RESERVED_IP, BAD_SIM)

# Conditions: what `when` says, the region or resolution, the facts, and whether the rule holds.
CONDITIONS: list[tuple[str, str | Resolution | None, PingFacts, bool]] = [
    ("", "CU", PingFacts(), True),
    ("", None, PingFacts(), True),
    ('region = ["CU"]', "CU", PingFacts(), True),
    ('region = ["CU"]', "SY", PingFacts(), False),
    ('region = ["CU", "SY"]', "SY", PingFacts(), True),
    ('region = ["CU"]', None, PingFacts(), False),
    ('region = ["UA-43"]', "UA", PingFacts(), False),
    ('region = ["UA-43"]', "RU", PingFacts(), False),
    ('region = ["UA-43"]', "crimea", PingFacts(), False),
    ('region = ["UA-43", "UA-40"]', "crimea", PingFacts(), True),
    ('region = ["crimea"]', "UA-40", PingFacts(), True),
    ('region = ["UA"]', "UA-40", PingFacts(), True),
    ('region_not = ["CU"]', "SY", PingFacts(), True),
    ('region_not = ["CU"]', "CU", PingFacts(), False),
    ('region_not = ["CU"]', None, PingFacts(), False),
    ('home_region = ["CU"]', resolved("ES", evidence=(CUBAN_SIM,)), PingFacts(), True),
    ('home_region = ["CU"]', resolved("CU"), PingFacts(), False),
    ('home_region = ["CU"]', resolved("ES", evidence=(BAD_SIM,)), PingFacts(), False),
    ('home_region = ["GP"]', resolved("ES", evidence=(SHARED_SIM,)), PingFacts(), True),
    ('home_region = ["GF"]', resolved("ES", evidence=(SHARED_SIM,)), PingFacts(), False),
    ('home_region = ["crimea"]', resolved("ES", evidence=(CRIMEAN_SIM,)), PingFacts(), True),
    ('home_region = ["UA"]', resolved("ES", evidence=(CRIMEAN_SIM,)), PingFacts(), True),
    ('home_region = ["RU"]', resolved("ES", evidence=(CRIMEAN_SIM,)), PingFacts(), False),
    ('home_region_not = ["CU"]', resolved("CU", evidence=(CUBAN_SIM,)), PingFacts(), False),
    ('home_region_not = ["ES"]', resolved("CU", evidence=(CUBAN_SIM,)), PingFacts(), True),
    ('home_region_not = ["ES"]', resolved("CU"), PingFacts(), False),
    ('sold_in = ["DE"]', "CU", PingFacts(sold_in="DE"), True),
    ('sold_in = ["DE"]', "CU", PingFacts(sold_in="de"), True),
    ('sold_in = ["UA"]', "CU", PingFacts(sold_in="UA-43"), True),
    ('sold_in = ["DE"]', "CU", PingFacts(), False),
    ('sold_in_not = ["crimea"]', "CU", PingFacts(sold_in="ru-cr"), False),
    ('sold_in_not = ["CU"]', "CU", PingFacts(sold_in="cu"), False),
    ('sold_in_not = ["CU"]', "CU", PingFacts(sold_in="DE"), True),
    ('sold_in_not = ["CU"]', "CU", PingFacts(sold_in="MI"), True),
    ('sold_in_not = ["CU"]', "CU", PingFacts(), False),
    ('sku = ["M2*"]', "CU", PingFacts(sku="M2101K7AG"), True),
    ('sku = ["M2*"]', "CU", PingFacts(sku="XM2101K7AG"), False),
    ('sku = ["M2101K7A?"]', "CU", PingFacts(sku="M2101K7AG"), True),
    ('sku = ["M2101K7A?"]', "CU", PingFacts(sku="M2101K7A"), False),
    ('sku = ["M2[0-1]*"]', "CU", PingFacts(sku="M2101K7AG"), True),
    ('sku = ["A", "M2*"]', "CU", PingFacts(sku="M2101K7AG"), True),
    ('sku = ["m2*"]', "CU", PingFacts(sku="M2101K7AG"), False),
    ('sku = ["M2."]', "CU", PingFacts(sku="M2X"), False),
    ('sku = ["*"]', "CU", PingFacts(sku="a\nb"), True),
    ('sku = ["*"]', "CU", PingFacts(), False),
    ('sku_not = ["*-X"]', "CU", PingFacts(sku="M2-X"), False),
    ('sku_not = ["*-X"]', "CU", PingFacts(sku="M2"), True),
    ('sku_not = ["*-X"]', "CU", PingFacts(), False),
    ("first_activated_before = 2021-08-31T00:00:00Z", "CU", PingFacts(first_activated_at=CROSSING - SECOND), True),
    ("first_activated_before = 2021-08-31T00:00:00Z", "CU", PingFacts(first_activated_at=CROSSING), False),
    ("first_activated_before = 2021-08-31T00:00:00Z", "CU", PingFacts(), False),
    ("first_activated_after = 2021-08-31T00:00:00Z", "CU", PingFacts(first_activated_at=CROSSING - SECOND), False),
    ("first_activated_after = 2021-08-31T00:00:00Z", "CU", PingFacts(first_activated_at=CROSSING), True),
    ("first_activated_after = 2021-08-31T02:00:00+02:00", "CU", PingFacts(first_activated_at=CROSSING), True),
    ("first_activated_after = 2021-08-31T00:00:00Z", "CU", PingFacts(), False),
    ('conflict = ["ip_disagrees"]', resolved("CU", conflicts=(Conflict.SIM_FOREIGN, Conflict.IP_DISAGREES)), PingFacts(), True),
    ('conflict = ["ip_disagrees"]', resolved("CU", conflicts=(Conflict.SIM_FOREIGN,)), PingFacts(), False),
    ('conflict = ["ip_disagrees"]', "CU", PingFacts(), False),
    ("confidence_at_least = 0.8", resolved("CU", confidence=0.8), PingFacts(), True),
    ("confidence_at_least = 0.8", resolved("CU", confidence=0.1 + 0.7), PingFacts(), True),
    ("confidence_at_least = 0.8", resolved("CU", confidence=0.79), PingFacts(), False),
    ("confidence_at_least = 0", None, PingFacts(), False),
    ("confidence_below = 0.8", resolved("CU", confidence=0.79), PingFacts(), True),
    ("confidence_below = 0.8", resolved("CU", confidence=0.1 + 0.7), PingFacts(), False),
    ("confidence_below = 0.8", None, PingFacts(), False),
    ('device_id = ["h:1", "h:2"]', "CU", PingFacts(device_id="h:2"), True),
    ('device_id = ["h:1", "h:2"]', "CU", PingFacts(device_id="h:3"), False),
    ('device_id = ["h:1"]', "CU", PingFacts(), False),
    ('device_id = { ids = ["h:1"], until = 2026-11-22T12:00:01Z }', "CU", PingFacts(device_id="h:1"), True),
    ('device_id = { ids = ["h:1"], until = 2026-11-22T12:00:00Z }', "CU", PingFacts(device_id="h:1"), False),
    ('signal_status = { ip = "reserved" }', resolved("CU", evidence=(RESERVED_IP,)), PingFacts(), True),
    ('signal_status = { ip = "reserved" }', resolved(None, evidence=(RESERVED_IP,)), PingFacts(), True),
    ('signal_status = { ip = "not_found" }', resolved("CU", evidence=(RESERVED_IP,)), PingFacts(), False),
    ('signal_status = { ip = ["not_found", "reserved"] }', resolved("CU", evidence=(RESERVED_IP,)), PingFacts(), True),
    ('signal_status = { ip = "reserved" }', "CU", PingFacts(), False),
    ('signal_status = { ip = "reserved", home_plmn = "invalid" }', resolved("CU", evidence=(RESERVED_IP,)), PingFacts(), False),
    ('signal_status = { ip = "reserved", home_plmn = "invalid" }', resolved("CU", evidence=TWO_BAD), PingFacts(), True),
    ('region = ["CU"], sku = ["M2*"]', "CU", PingFacts(sku="M2"), True),
    ('region = ["CU"], sku = ["M2*"]', "SY", PingFacts(sku="M2"), False),
    ('region = ["CU"], sku = ["M2*"]', "CU", PingFacts(sku="N2"), False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("when", "region", "facts", "holds"), CONDITIONS, ids=[f"{n}-{row[0]}" for n, row in enumerate(CONDITIONS)]
)
def test_a_condition_holds(when: str, region: str | Resolution | None, facts: PingFacts, holds: bool) -> None:
    rules = one_rule(when, effect="review")
    resolution = region if isinstance(region, Resolution) else resolved(region)

    (trace,) = rules.traces(resolution, facts, NOON)

    assert (rules.decide(resolution, facts, NOON).rule == "rule") is holds
    assert trace.matched is holds
    assert (trace.why == "every condition holds") is holds


# Order, modes and shadow

THREE = """
[[rules]]
id = "first"
mode = "{first}"
when = {{ region = ["CU"] }}
effect = "review"

[[rules]]
id = "second"
mode = "{second}"
when = {{ region = ["CU", "SY"] }}
effect = "deny"

[[rules]]
id = "third"
when = {{ region = ["SY"], sku = ["A"] }}
effect = "review"
"""


def shadow(verdict: Verdict) -> tuple[str, str | None, str | None, str | None]:
    return verdict.effect.value, verdict.rule, verdict.shadow_effect and verdict.shadow_effect.value, verdict.shadow_rule


@pytest.mark.parametrize(
    ("first", "second", "region", "sku", "expected"),
    [
        ("enforce", "enforce", "CU", None, ("review", "first", None, None)),
        ("enforce", "enforce", "SY", "A", ("deny", "second", None, None)),
        ("enforce", "shadow", "CU", None, ("review", "first", None, None)),
        ("enforce", "shadow", "SY", None, ("allow", None, "deny", "second")),
        ("enforce", "shadow", "SY", "A", ("review", "third", "deny", "second")),
        ("shadow", "enforce", "CU", None, ("deny", "second", "review", "first")),
        ("shadow", "shadow", "CU", None, ("allow", None, "review", "first")),
        ("off", "enforce", "CU", None, ("deny", "second", None, None)),
        ("off", "off", "CU", None, ("allow", None, None, None)),
        ("off", "off", "SY", "A", ("review", "third", None, None)),
    ],
)
def test_the_first_enforced_rule_decides_and_shadow_rules_say_what_they_would(
    first: str, second: str, region: str, sku: str | None, expected: tuple[str, str | None, str | None, str | None]
) -> None:
    rules = compiled(THREE.format(first=first, second=second))
    assert shadow(decide(rules, region, PingFacts(sku=sku))) == expected


def test_a_shadow_rule_that_changes_nothing_is_not_named() -> None:
    rules = compiled(
        '[[rules]]\nid = "s"\nmode = "shadow"\nwhen = {}\neffect = "deny"\n[[rules]]\nid = "e"\nwhen = {}\neffect = "deny"\n'
    )
    assert shadow(decide(rules, "CU")) == ("deny", "e", None, None)


def test_a_shadow_deny_that_is_not_sure_enough_would_be_a_review() -> None:
    rules = compiled('[[rules]]\nid = "s"\nmode = "shadow"\nwhen = {}\neffect = "deny"\n')
    assert shadow(decide(rules, resolved("CU", confidence=0.5))) == ("allow", None, "review", "s")


# Confidence and defaults


@pytest.mark.parametrize(
    ("confidence", "effect", "reason"),
    [
        (0.98, Effect.DENY, "R"),
        (0.8, Effect.DENY, "R"),
        (0.1 + 0.7, Effect.DENY, "R"),
        (0.79, Effect.REVIEW, "LOW_CONFIDENCE"),
        (0.6, Effect.REVIEW, "LOW_CONFIDENCE"),
    ],
)
def test_a_deny_must_be_sure_enough(confidence: float, effect: Effect, reason: str) -> None:
    verdict = decide(
        one_rule('region = ["CU"]', more='reason = "R"\nretry_after = "P1D"\n'), resolved("CU", confidence=confidence)
    )
    assert (verdict.effect, verdict.reason, verdict.rule, verdict.retry_after) == (effect, reason, "rule", 86400)


def test_only_a_deny_must_be_sure() -> None:
    assert (
        decide(one_rule('region = ["CU"]', effect="review", more='reason = "R"\n'), resolved("CU", confidence=0.1)).reason == "R"
    )


@pytest.mark.parametrize(
    ("defaults", "region", "confidence", "expected"),
    [
        ("", "ES", 0.9, (Effect.ALLOW, None)),
        ("", None, 0.0, (Effect.ALLOW, "NO_EVIDENCE")),
        ('on_unknown = "review"', None, 0.0, (Effect.REVIEW, "NO_EVIDENCE")),
        ('on_unknown = "deny"', None, 0.0, (Effect.DENY, "NO_EVIDENCE")),
        ('on_unknown = "deny"', "ES", 0.9, (Effect.ALLOW, None)),
        ('effect = "deny"', "ES", 0.9, (Effect.DENY, None)),
        ('effect = "deny"', "ES", 0.5, (Effect.REVIEW, "LOW_CONFIDENCE")),
        ('effect = "deny"', None, 0.0, (Effect.ALLOW, "NO_EVIDENCE")),
        ('effect = "deny"\nmin_confidence_to_deny = 0', "ES", 0.1, (Effect.DENY, None)),
    ],
)
def test_defaults(defaults: str, region: str | None, confidence: float, expected: tuple[Effect, str | None]) -> None:
    verdict = decide(compiled(f"[defaults]\n{defaults}"), resolved(region, confidence=confidence))
    assert (verdict.effect, verdict.reason) == expected
    assert verdict.rule is None


def test_a_rule_may_match_without_evidence() -> None:
    rules = one_rule('signal_status = { ip = "reserved" }', effect="review")
    assert decide(rules, resolved(None, evidence=(RESERVED_IP,))).rule == "rule"


# Windows

WINDOW = "effective = { from = 2021-08-31T00:00:00Z, until = 2021-09-14T08:00:00Z }\n"


@pytest.mark.parametrize(
    ("window", "at", "holds"),
    [
        (WINDOW, "2021-08-30T23:59:59.999999Z", False),
        (WINDOW, "2021-08-31T00:00:00Z", True),
        (WINDOW, "2021-08-31T02:00:00+02:00", True),
        (WINDOW, "2021-09-14T07:59:59.999999Z", True),
        (WINDOW, "2021-09-14T08:00:00Z", False),
        ("effective = { from = 2021-08-31T00:00:00Z }\n", "2999-01-01T00:00:00Z", True),
        ("effective = { from = 2021-08-31T00:00:00Z }\n", "2021-08-30T00:00:00Z", False),
        ("effective = { until = 2021-08-31T00:00:00Z }\n", "1999-01-01T00:00:00Z", True),
        ("effective = { until = 2021-08-31T00:00:00Z }\n", "2021-08-31T00:00:00Z", False),
    ],
)
def test_a_window_is_half_open(window: str, at: str, holds: bool) -> None:
    assert (decide(one_rule("", more=window), "CU", at=dt.datetime.fromisoformat(at)).rule == "rule") is holds


instants = st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2040, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001


@given(st.lists(instants, min_size=2, max_size=2, unique=True).map(sorted), instants)
def test_two_windows_that_meet_leave_no_gap_and_no_overlap(edges: list[dt.datetime], at: dt.datetime) -> None:
    start, middle = edges
    rules = [
        one_rule("", more=f"effective = {{ from = {start.isoformat()}, until = {middle.isoformat()} }}\n"),
        one_rule("", more=f"effective = {{ from = {middle.isoformat()} }}\n"),
        one_rule("", more=f"effective = {{ until = {start.isoformat()} }}\n"),
    ]
    for instant in (at, start, middle):
        assert sum(decide(rule, "CU", at=instant).rule == "rule" for rule in rules) == 1


# Rollouts

RAMP = """
rollout = { key = "device_id", salt = "s", stages = [
  { at = 2021-08-31T00:00:00Z, percent = 5 }, { at = 2021-09-03T00:00:00Z, percent = 25 },
  { at = 2021-09-08T00:00:00Z, percent = 100 } ] }
"""
RAMPED = one_rule("", more=RAMP)
STAGES = [
    (utc("2021-08-30T23:59:59Z"), 0),
    (utc("2021-08-31T00:00:00Z"), 5),
    (utc("2021-09-03T00:00:00Z"), 25),
    (utc("2021-09-08T00:00:00Z"), 100),
    (utc("2031-09-08T00:00:00Z"), 100),
]


def is_in(device_id: str | None, at: dt.datetime, rules: CompiledPolicy = RAMPED) -> bool:
    return decide(rules, "CU", PingFacts(device_id=device_id), at).rule == "rule"


def test_the_bucket_is_the_one_of_the_specification() -> None:
    for device in ("h:0000", "h:9c1e", "ü", ""):
        digest = hashlib.sha256(b"embargo-2021-08:" + device.encode()).digest()
        assert rollout_bucket("embargo-2021-08", device) == int(digest[:8].hex(), 16) % 10_000
    assert [rollout_bucket("embargo-2021-08", device) for device in ("h:0000", "h:0003", "h:0001")] == [206, 566, 7087]


@given(st.text())
def test_a_rollout_is_monotone_and_sticky(device_id: str) -> None:
    inside = [is_in(device_id, at) for at, _ in STAGES]

    assert inside == sorted(inside)
    assert inside == [rollout_bucket("s", device_id) < percent * 100 for _, percent in STAGES]


def test_a_rollout_has_about_the_share_that_it_says() -> None:
    for at, percent in STAGES:
        share = sum(is_in(f"h:{number:04x}", at) for number in range(2000)) / 2000
        assert abs(share - percent / 100) < 0.03


def test_a_ping_without_the_key_is_out_until_the_rollout_is_over() -> None:
    assert [is_in(None, at) for at, _ in STAGES] == [False, False, False, True, True]


def test_a_share_may_be_a_hundredth_of_a_per_cent() -> None:
    stages = "stages = [ { at = 2021-08-31T00:00:00Z, percent = 0.07 } ]"
    rules = one_rule("", more=f'rollout = {{ key = "device_id", salt = "s", {stages} }}\n')
    for number in range(3000):
        assert is_in(f"{number}", NOON, rules) is (rollout_bucket("s", f"{number}") < 7)


def test_another_salt_chooses_other_devices() -> None:
    devices = [f"h:{number}" for number in range(200)]
    assert [rollout_bucket("a", device) for device in devices] != [rollout_bucket("b", device) for device in devices]


def test_a_device_id_of_any_text_has_a_bucket() -> None:
    assert 0 <= rollout_bucket("s", "\ud800") < BUCKETS


# Messages

TEXTS = """
[policy]
name = "test"
version = 1
default_language = "en"

[[rules]]
id = "rule"
when = { region = ["CU"] }
effect = "deny"
reason = "R"

[[rules]]
id = "silent"
when = { region = ["SY"] }
effect = "deny"
reason = "S"

[messages.R]
en = "no"
es = "no, por favor"
pt-BR = "não"
zh-Hant = "不"

[messages.LOW_CONFIDENCE]
en = "wait"
"""


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        (None, "no"),
        ("en", "no"),
        ("es", "no, por favor"),
        ("ES", "no, por favor"),
        ("es-MX", "no, por favor"),
        ("es_MX", "no, por favor"),
        ("pt-br", "não"),
        ("pt", "no"),
        ("zh-Hant-TW", "不"),
        ("zh-Hans", "no"),
        ("xx", "no"),
        ("", "no"),
        ("-", "no"),
        ("es-" + "x" * 100, "no"),
        ("-" * 20_000, "no"),
    ],
)
def test_the_message_is_in_the_closest_language(lang: str | None, text: str) -> None:
    assert decide(compiled(TEXTS), "CU", PingFacts(lang=lang)).message == text


def test_no_message_without_a_text_for_the_reason() -> None:
    assert decide(compiled(TEXTS), "SY").message is None
    assert decide(compiled(TEXTS), "ES").message is None
    assert decide(compiled(TEXTS), resolved("SY", confidence=0.1)).message == "wait"


def test_a_message_without_the_default_language_is_no_error_when_it_is_asked_for() -> None:
    rules = one_rule("", more='reason = "R"\n[messages.R]\nes = "no"\n')
    assert decide(rules, "CU").message is None
    assert decide(rules, "CU", PingFacts(lang="es")).message == "no"


# Why

WHY: list[tuple[str, str | Resolution | None, PingFacts, str]] = [
    ('region = ["CU", "crimea"]', "ES", PingFacts(), "region: ES, asked for CU | crimea"),
    ('region = ["CU"]', None, PingFacts(), "region: not known"),
    ('region_not = ["CU"]', "CU", PingFacts(), "region_not: CU, asked for none of CU"),
    ('home_region = ["CU"]', "CU", PingFacts(), "home_region: not known"),
    ('sku = ["M2*"]', "CU", PingFacts(sku="N"), "sku: no match, asked for M2*"),
    ('sku_not = ["M2*"]', "CU", PingFacts(sku="M2X"), "sku_not: a match, asked for none of M2*"),
    ('sold_in = ["CU"]', "CU", PingFacts(sold_in="ru-cr"), "sold_in: UA-43, asked for CU"),
    ('sold_in = ["CU"]', "CU", PingFacts(sold_in="MI"), "sold_in: no known region, asked for CU"),
    ("first_activated_before = 2021-08-31T00:00:00Z", "CU", PingFacts(), "first_activated_before: not known"),
    (
        "confidence_at_least = 0.9",
        resolved("CU", confidence=0.8),
        PingFacts(),
        "confidence_at_least: 0.80, asked for 0.90 or more",
    ),
    ('conflict = ["sim_only"]', "CU", PingFacts(), "conflict: none, asked for sim_only"),
    ('device_id = ["h:secret"]', "CU", PingFacts(device_id="h:other"), "device_id: not listed, asked for one of 1 listed"),
    ('signal_status = { ip = "reserved" }', "CU", PingFacts(), "signal_status.ip: not known"),
]


@pytest.mark.parametrize(("when", "region", "facts", "why"), WHY, ids=[row[3] for row in WHY])
def test_a_trace_says_why_a_rule_did_not_match(when: str, region: str | Resolution | None, facts: PingFacts, why: str) -> None:
    resolution = region if isinstance(region, Resolution) else resolved(region)
    (trace,) = one_rule(when).traces(resolution, facts, NOON)
    assert (trace.rule, trace.mode, trace.matched, trace.why) == ("rule", "enforce", False, why)


@pytest.mark.parametrize(
    ("more", "at", "why"),
    [
        (WINDOW, "2021-08-01T00:00:00Z", "effective: not before 2021-08-31T00:00:00+00:00"),
        (WINDOW, "2022-08-01T00:00:00Z", "effective: ended at 2021-09-14T08:00:00+00:00"),
        (RAMP, "2021-08-31T00:00:00Z", "rollout: no device_id"),
        ('mode = "off"\n', "2021-08-31T00:00:00Z", "its mode is off"),
    ],
)
def test_a_trace_says_why_a_rule_rests(more: str, at: str, why: str) -> None:
    assert one_rule("", more=more).traces(resolved("CU"), PingFacts(), utc(at))[0].why == why


def test_a_trace_says_how_far_a_rollout_is() -> None:
    out = next(f"h:{number}" for number in range(100) if rollout_bucket("s", f"h:{number}") > 500)
    (trace,) = RAMPED.traces(resolved("CU"), PingFacts(device_id=out), STAGES[1][0])
    assert trace.why == "rollout: not among the first 5 %"


def test_a_trace_has_every_rule_in_order() -> None:
    rules = compiled(THREE.format(first="shadow", second="off"))
    assert [(trace.rule, trace.mode, trace.matched) for trace in rules.traces(resolved("CU"), PingFacts(), NOON)] == [
        ("first", "shadow", True),
        ("second", "off", False),
        ("third", "enforce", False),
    ]


# The whole

regions = st.sampled_from([None, "CU", "SY", "ES", "UA", "RU", "UA-43", "UA-40", "crimea"])
facts = st.builds(
    PingFacts,
    sku=st.none() | st.sampled_from(["M2101K7AG", "X-SMUGGLED"]),
    sold_in=st.none() | st.sampled_from(["DE", "CU", "MI", "crimea"]),
    device_id=st.none() | st.text(max_size=8),
    first_activated_at=st.none() | instants,
    lang=st.none() | st.text(max_size=8),
)


@given(regions, st.integers(1, 100), facts, instants)
def test_any_ping_gets_an_answer_that_hangs_together(
    region: str | None, hundredths: int, facts: PingFacts, at: dt.datetime
) -> None:
    rules = compiled(LISTING)
    resolution = resolved(region, confidence=hundredths / 100)
    verdict = rules.decide(resolution, facts, at)

    traces = rules.traces(resolution, facts, at)
    matched = [trace.rule for trace in traces if trace.matched and trace.mode == "enforce"]
    assert verdict.rule == (matched[0] if matched else None)
    assert (verdict.shadow_effect is None) == (verdict.shadow_rule is None)
    assert verdict.shadow_effect is not verdict.effect
    if verdict.effect is Effect.DENY:
        assert hundredths >= 80
        assert region in {"CU", "SY", "UA-43", "UA-40", "crimea"}
        assert verdict.retry_after == 86400


def test_the_label_is_name_and_version() -> None:
    assert CompiledPolicy(policy(LISTING), catalogue()).label == "activation@41"
