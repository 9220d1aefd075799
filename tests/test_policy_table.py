"""`_fastpath.policy_table` against the readable evaluator: generated policies, pings and instants.

REGIONRESOLVER_CASES is the number of cases (a policy, a ping, an instant); a few thousand without it.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import hashlib
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from _fastpath.fusion import CONFLICT_BITS, STATUS_IDS
from _fastpath.policy_table import ATTRIBUTE_IDS, EFFECT_IDS, FOREVER, PolicyRows, PolicyTable, rollout_bucket
from regionresolver.errors import PolicyError
from regionresolver.model import Conflict, Evidence, PingFacts, Resolution, Signal, SignalStatus
from regionresolver.policy import CompiledPolicy, globs, load_policy, shipped_policy
from regionresolver.policy.model import Policy
from regionresolver.policy.table import LATEST_TABLES, microseconds
from tests.policies import LISTING, NOON, catalogue, compiled, decide, one_rule, policy, resolved
from tests.reference import policy as reference

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = int(os.environ.get("REGIONRESOLVER_CASES", "6000"))
# Hypothesis keeps every example that it drew: of a million cases more are pings, so that it has room.
POLICIES = max(min(CASES // 40, 5000), 1)
MICROSECOND = dt.timedelta(microseconds=1)

WORDS = ["CU", "SY", "UA", "RU", "DE", "UA-43", "UA-40", "RU-CR", "crimea", "own", "nested"]
REGIONS = {"own": ["CU", "crimea"], "nested": ["own", "SY", "UA-43"]}
PLACES = [None, "CU", "SY", "UA", "RU", "DE", "ES", "UA-43", "UA-40", "UA-14", "crimea"]
SOLD_IN = [*PLACES, "cu", "ru-cr", "Own", "NESTED", "Crimea", "MI", "", "ß", "\u0131R", "DE\0", "D", "x" * 256, "\ud800", "é"]
GLOBS = ["*", "A*", "*-X", "A?B", "AB", "*B*", "[AB]*", "[!A]*", "é?", "[à-ü]*", "[B-A]", "[!B-A]", "[", "[]A]", "A[*]", "?"]
GLOBS += ["\0*", "x*"]
SKUS = [None, "", "A", "AB", "AxB", "A-X", "B-X", "é-X", "éB", "\0", "A\0B", "A\n", "[", "]", "A*", "x" * 256, "A" * 255 + "B"]
SKUS += ["\ud800", "😀", "A😀B", "€-X"]
DEVICES = [None, "", "h:1", "h:2", "h:3", "ü", "\ud800", "d" * 300]
DAYS = [dt.datetime(2021, 8, day, tzinfo=dt.UTC) for day in (1, 5, 9, 13)]


# What policies may say

days = st.sampled_from(DAYS)
words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3)
patterns = st.lists(st.sampled_from(GLOBS), min_size=1, max_size=3)
shares = st.sampled_from([0, 0.3, 0.5, 0.8, 0.81, 1])
statuses = st.lists(st.sampled_from(list(SignalStatus)), min_size=1, max_size=3)
whens = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("region", "region_not", "home_region", "home_region_not", "sold_in", "sold_in_not"), words),
        **dict.fromkeys(("sku", "sku_not"), patterns),
        **dict.fromkeys(("first_activated_before", "first_activated_after"), days),
        **dict.fromkeys(("confidence_at_least", "confidence_below"), shares),
        "conflict": st.lists(st.sampled_from(list(Conflict)), min_size=1, max_size=3),
        "device_id": st.fixed_dictionaries(
            {"ids": st.lists(st.sampled_from(["h:1", "h:2", "ü"]), min_size=1, max_size=2)}, optional={"until": days}
        ),
        "signal_status": st.sampled_from(list(Signal)).flatmap(lambda signal: st.fixed_dictionaries({signal.value: statuses})),
    },
)
windows = st.lists(days, min_size=2, max_size=2, unique=True).map(sorted)
effectives = windows.map(lambda pair: {"from": pair[0], "until": pair[1]}) | days.map(lambda day: {"from": day})
effectives |= days.map(lambda day: {"until": day})
percents = st.sampled_from([0, 0.07, 25, 50, 99.99, 100])
ramps = st.builds(
    lambda salt, at, percent: {
        "key": "device_id",
        "salt": salt,
        "stages": [{"at": at, "percent": percent} for at, percent in zip(at, percent, strict=False)],
    },
    st.sampled_from(["s", "ü", "x" * 200]),
    st.lists(days, min_size=3, max_size=3, unique=True).map(sorted),
    st.lists(percents, min_size=1, max_size=3),
)
effects = st.sampled_from(["allow", "deny", "review"])
rules = st.fixed_dictionaries(
    {"when": whens, "effect": effects},
    optional={
        "mode": st.sampled_from(["enforce", "enforce", "shadow", "shadow", "off"]),
        "reason": st.sampled_from(["A", "B", "LOW_CONFIDENCE"]),
        "effective": effectives,
        "rollout": ramps,
    },
)
defaults = st.fixed_dictionaries({}, optional={"effect": effects, "on_unknown": effects, "min_confidence_to_deny": shares})


def made(rows: list[dict[str, Any]], default: dict[str, Any] | None = None, more: dict[str, Any] | None = None) -> Policy:
    """Make a policy of rules without ids."""
    return Policy.model_validate(
        {
            "policy": {"name": "made", "version": 1},
            "defaults": default or {},
            "regions": REGIONS | (more or {}),
            "rules": [{"id": f"r{number}", **row} for number, row in enumerate(rows)],
        }
    )


policies = st.builds(
    made, st.lists(rules, max_size=8), defaults, st.sampled_from([None, {"crimea": ["UA-40", "DE"]}, {"sudan": ["RU", "crimea"]}])
)


def pings(rng: random.Random, edges: list[dt.datetime]) -> Iterator[tuple[Resolution, PingFacts, dt.datetime]]:
    """Draw pings without end; instants lie on the edges of time, a microsecond beside them, and anywhere."""
    near = [edge + step * MICROSECOND for edge in edges for step in (-1, 0, 1)] + [NOON, dt.datetime(1999, 1, 1, tzinfo=dt.UTC)]
    while True:
        region = rng.choice(PLACES)
        home = rng.choice(PLACES)
        evidence = [Evidence(Signal.HOME_PLMN, SignalStatus.OK, None, (home, "DE"), 0.4, used=False)] if home else []
        evidence += [
            Evidence(signal, rng.choice(list(SignalStatus)), None, (), 0.0, used=False)
            for signal in Signal
            if rng.random() < 0.5 and not (home and signal is Signal.HOME_PLMN)
        ]
        resolution = resolved(
            region,
            confidence=rng.choice([0, 0.3, 0.5, 0.79, 0.1 + 0.7, 0.98, 1]),
            conflicts=tuple(conflict for conflict in Conflict if rng.random() < 0.3),
            evidence=tuple(evidence),
        )
        facts = PingFacts(
            sku=rng.choice(SKUS),
            sold_in=rng.choice(SOLD_IN),
            device_id=rng.choice(DEVICES),
            first_activated_at=rng.choice([None, *near]),
        )
        yield resolution, facts, rng.choice(near)


def check(rules: CompiledPolicy, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> None:
    """Hold a verdict and its trace against the readable evaluator."""
    expected = reference.decide(rules.policy, catalogue(), resolution, facts, at)
    verdict = rules.decide(resolution, facts, at)
    found = reference.Answer(
        verdict.effect,
        verdict.rule,
        verdict.reason,
        verdict.shadow_effect,
        verdict.shadow_rule,
        tuple(trace.rule for trace in rules.traces(resolution, facts, at) if trace.matched),
    )
    assert found == expected, (resolution, facts, at)


@settings(max_examples=POLICIES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
@given(policies, st.integers(0, 2**32))
def test_agrees_with_the_readable_evaluator(policy: Policy, seed: int) -> None:
    rules = CompiledPolicy(policy, catalogue())
    drawn = pings(random.Random(seed), DAYS)
    for _ in range(CASES // POLICIES):
        check(rules, *next(drawn))


# Many rules


PLACE_WORDS = [*WORDS, *sorted(catalogue().countries)]


def many(count: int, seed: int) -> Policy:
    """Make a policy of many rules, each of one to four conditions of every kind."""
    rng = random.Random(seed)

    def some(values: list[Any], most: int = 3) -> list[Any]:
        return rng.sample(values, rng.randint(1, most))

    kinds: list[Any] = [
        *[(key, lambda: some(PLACE_WORDS)) for key in ("region", "region_not", "sold_in", "home_region")],
        ("sku", lambda: [rng.choice("AB") + str(rng.randrange(1000)) + "*", *some(GLOBS)]),
        ("sku_not", lambda: ["*-" + str(rng.randrange(1000))]),
        ("first_activated_before", lambda: rng.choice(DAYS) + rng.randrange(10**9) * MICROSECOND),
        ("conflict", lambda: some(list(Conflict))),
        ("confidence_at_least", lambda: rng.randrange(100) / 100),
        ("device_id", lambda: ["h:1", f"h:{rng.randrange(1000)}"]),
        ("signal_status", lambda: {"ip": some(list(SignalStatus))}),
    ]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for number in range(count):
        row: dict[str, Any] = {
            "when": {key: make() for key, make in rng.sample(kinds, rng.randint(1, 4))},
            "effect": rng.choice(["allow", "deny", "review"]),
            "mode": rng.choice(["enforce", "shadow", "shadow", "off"]),
        }
        if number % 5 == 0:
            row["effective"] = {"from": rng.choice(DAYS)}
        if number % 7 == 0:
            row["rollout"] = {"key": "device_id", "salt": f"s{number % 3}", "stages": [{"at": rng.choice(DAYS), "percent": 40}]}
        rows.append(row)
    return made(rows)


@pytest.mark.parametrize("count", [63, 64, 65, 66, 128, 129, 1000])
def test_agrees_with_the_readable_evaluator_on_many_rules(count: int) -> None:
    policy = many(count, seed=count)
    rules = CompiledPolicy(policy, catalogue())
    drawn = pings(random.Random(count), DAYS)
    for _ in range(max(CASES // 300, 1) if count > 200 else 100):
        check(rules, *next(drawn))


@pytest.mark.parametrize("count", [1, 64, 65, 1000, 4097])
def test_the_last_of_many_rules_is_found(count: int) -> None:
    rows = [{"when": {"sku": [f"M{number}"]}, "effect": "deny"} for number in range(count)]
    rules = CompiledPolicy(made(rows), catalogue())
    for number in {0, count // 2, count - 1}:
        assert decide(rules, "CU", PingFacts(sku=f"M{number}")).rule == f"r{number}"
    assert decide(rules, "CU", PingFacts(sku=f"M{count}")).rule is None


def test_only_the_first_of_many_shadow_rules_is_named() -> None:
    rows = [{"when": {}, "effect": "deny", "mode": "shadow"}] * 700
    rules = CompiledPolicy(made([*rows, {"when": {}, "effect": "review"}, *rows]), catalogue())
    verdict = decide(rules, "CU")
    assert (verdict.rule, verdict.shadow_rule) == ("r700", "r0")


# Time


def test_a_year_of_a_policy_takes_less_than_a_second() -> None:
    rules = CompiledPolicy(load_policy(shipped_policy("example-2021"), catalogue()), catalogue())
    began = time.process_time()
    at, seen = dt.datetime(2021, 1, 1, tzinfo=dt.UTC), []
    while at.year == 2021:
        verdict = rules.decide(resolved("CU"), PingFacts(device_id="h:0001"), at)
        seen.append((verdict.effect, verdict.shadow_effect))
        at += dt.timedelta(hours=1)
    assert time.process_time() - began < 1
    assert len(dict.fromkeys(seen)) > 2


def test_a_table_says_how_long_it_holds() -> None:
    rules = compiled(LISTING)
    starts = [dt.datetime.min.replace(tzinfo=dt.UTC), *rules.timeline.instants]
    ends = [*(microseconds(instant) for instant in rules.timeline.instants), FOREVER]
    assert len(ends) == 6
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        table = rules.timeline.at(start)
        assert table.valid_until == end
        assert table.valid_from == (microseconds(start) if number else -FOREVER - 1)
        if number:
            assert rules.timeline.at(start - MICROSECOND).valid_until == microseconds(start)
            assert rules.timeline.at(start.astimezone(dt.timezone(dt.timedelta(hours=9)))) is table


def test_only_the_latest_tables_are_kept() -> None:
    first = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
    rows = [
        {
            "when": {},
            "effect": "deny",
            "effective": {"from": first + number * MICROSECOND, "until": first + (number + 1) * MICROSECOND},
        }
        for number in range(500)
    ]
    rules = CompiledPolicy(made(rows), catalogue())
    for number in [*range(500), 3, 499]:
        assert decide(rules, "CU", at=first + number * MICROSECOND).rule == f"r{number}"
    assert len(rules.timeline._tables) == LATEST_TABLES


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00+00:00", "9999-12-31T23:59:59.999999+00:00"])
def test_the_ends_of_time_are_instants_like_others(edge: str) -> None:
    rules = one_rule(f"first_activated_after = {edge}", more=f"effective = {{ from = {edge} }}\n")
    at = dt.datetime.fromisoformat(edge)
    check(rules, resolved("CU"), PingFacts(first_activated_at=at), at)
    check(rules, resolved("CU"), PingFacts(first_activated_at=NOON), at)


def test_threads_may_share_a_policy() -> None:
    rules = CompiledPolicy(many(300, seed=1), catalogue())
    drawn = pings(random.Random(1), DAYS)
    cases = [next(drawn) for _ in range(200)]
    alone = [rules.decide(*case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(lambda _: [rules.decide(*case) for case in cases], range(8)):
            assert answers == alone


# Texts

hostile = st.text(st.sampled_from("AB-X[]!*?^\\é€😀\0\n\ud800à") | st.characters(), max_size=12)
brackets = st.text(st.sampled_from("AB!-]^\\à"), max_size=5).map(lambda inner: f"[{inner}]")
generated = st.lists(st.sampled_from(["*", "?", "A", "B", "-X", "é", "😀", "\0", "["]) | brackets, max_size=6).map("".join)


@settings(max_examples=max(min(CASES // 60, 5000), 1), derandomize=True, deadline=None)
@given(st.lists(generated.filter(bool), min_size=1, max_size=4), st.lists(hostile, min_size=1, max_size=6))
@example(["[!]", "[]", "[", "[]]", "[!]]", "[a-]", "[-a]", "[--a]", "[a-c-e]"], ["]", "[", "!", "-", "b", "d", "[]"])
def test_globs_mean_what_fnmatch_says(patterns: list[str], texts: list[str]) -> None:
    rules = CompiledPolicy(
        made([{"when": {"sku": [glob]}, "effect": "deny", "mode": "shadow"} for glob in patterns]), catalogue()
    )
    alone = [CompiledPolicy(made([{"when": {"sku": [glob]}, "effect": "deny"}]), catalogue()) for glob in patterns]
    for text in texts:
        wanted = [fnmatch.fnmatchcase(text, glob) for glob in patterns]
        assert [decide(rule, "CU", PingFacts(sku=text)).rule is not None for rule in alone] == wanted
        first = next((f"r{number}" for number, matched in enumerate(wanted) if matched), None)
        assert decide(rules, "CU", PingFacts(sku=text)).shadow_rule == first


@pytest.mark.parametrize(
    ("sku", "rule"),
    [
        (b"A\xff", "r0"),
        (b"A\xc3", "r0"),
        (b"A\xc1\x81", None),
        (b"A\xe2\x82", None),
        (b"A\xe2\x82\xac", "r0"),
        (b"A\xf0\x9f\x98\x80", "r0"),
        (b"A\xf4\x90\x80\x80", None),
        (b"A\xed\xa0\x80", "r0"),
        (b"A\x80", "r0"),
        (b"A", None),
    ],
)
def test_bytes_that_are_no_utf8_are_characters_of_their_own(sku: bytes, rule: str | None) -> None:
    table = CompiledPolicy(made([{"when": {"sku": ["A?"]}, "effect": "deny"}]), catalogue()).timeline.at(NOON)
    position = table.verdict(0, 0, 0, 0, 0, 0, 0, sku, None, None, None)[0]
    assert position == (0 if rule else None)


def test_globs_that_would_double_the_states_are_spread_over_automata(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(globs, "STATES_MAX", 40)
    conditions = [(f"*{letter}*", f"{letter}?") for letter in "ABCDEFGH"]
    built = globs.automata(conditions)
    assert 1 < len(built) <= 8
    rules = CompiledPolicy(
        made([{"when": {"sku": pair, "sku_not": conditions[0]}, "effect": "deny"} for pair in conditions]), catalogue()
    )
    for sku in ("B", "xCx", "AB", "FG", "x", "", None, "éH"):
        check(rules, resolved("CU"), PingFacts(sku=sku), NOON)


def test_globs_that_are_too_intricate_are_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PolicyError, match=r"rule 'r0': the globs of the SKUs are too intricate.*fewer"):
        CompiledPolicy(made([{"when": {"sku": ["*A" + "?" * 30]}, "effect": "deny"}]), catalogue())
    monkeypatch.setattr(globs, "STATES_MAX", 4)
    with pytest.raises(PolicyError, match="all SKUs together"):
        CompiledPolicy(made([{"when": {"sku": [f"*{chr(65 + n)}*"]}, "effect": "deny"} for n in range(50)]), catalogue())


@pytest.mark.parametrize("size", [*range(52, 70), 118, 119, 120, 127, 128, 1000])
def test_the_bucket_is_sha_256(size: int) -> None:
    for salt in (b"", b"s", bytes(range(64))):
        key = bytes(number % 251 for number in range(size))
        digest = hashlib.sha256(salt + b":" + key).digest()
        assert rollout_bucket(salt, key) == int.from_bytes(digest[:8], "big") % 10_000


# Ids


def test_region_ids_are_those_of_the_caller() -> None:
    codes = [None, *sorted(catalogue().countries, reverse=True), *catalogue().subdivisions, *catalogue().regions]
    written = '[[rules]]\nid = "r"\nwhen = { region = ["CU", "crimea"] }\neffect = "deny"\n'
    table = CompiledPolicy(policy(written), catalogue(), codes).timeline.at(NOON)
    for number, code in enumerate(codes):
        rule = table.verdict(number, 0, 98, 0, 0, 0, 0, None, None, None, None)[0]
        assert (rule is not None) == (code in {"CU", "cuba", "UA-43", "UA-40", "crimea"}), code


def test_an_id_that_nobody_gave_out_lies_nowhere() -> None:
    for when, rule in (('region_not = ["CU"]', 0), ('region = ["CU"]', None)):
        table = one_rule(when).timeline.at(NOON)
        assert table.verdict(0xFFFF, 0xFFFF, 255, 0xFFFF, 255, 255, 255, None, None, None, None)[0] == rule


def rows(**changes: Any) -> PolicyRows:
    """Make rows of one rule on the region, with these arguments changed."""
    arguments: dict[str, Any] = {
        "rules": [(0, EFFECT_IDS["deny"], False, 0, 0)],
        "salts": [],
        "defaults": (0, 0, 0, 0, 80, 1, 2),
        "attributes": [[0, 1, 0] if name == "region" else [] for name in ATTRIBUTE_IDS],
        "place_count": 3,
        "cuts_us": [],
        "spellings": {b"cu": 1},
        "devices": {},
        "matchers": [],
    }
    return PolicyRows(**(arguments | changes))


MATCHER: tuple[Any, ...] = ([0] * 128, [0], [0], 1, 1, [0], [1], 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"attributes": [[0, 1]] + [[]] * 7},
        {"attributes": [[0, 2, 0]] + [[]] * 7},
        {"attributes": [[0, -1, 0]] + [[]] * 7},
        {"attributes": [[0, 1, 0]]},
        {"attributes": [[]] * 5 + [[0, 1]] + [[]] * 2},
        {"place_count": 1},
        {"place_count": 1 << 16},
        {"cuts_us": [2, 1]},
        {"spellings": {b"cu": 3}},
        {"devices": {b"h": 2}},
        {"rules": [(0, 1, False, 0, 1)]},
        {"matchers": [MATCHER] * 17},
        {"matchers": [([0] * 127, *MATCHER[1:])]},
        {"matchers": [([1] * 128, *MATCHER[1:])]},
        {"matchers": [(*MATCHER[:5], [1], [1], 0)]},
        {"matchers": [(*MATCHER[:5], [], [], 0)]},
        {"matchers": [(*MATCHER[:6], [2], 0)]},
    ],
)
def test_refuses_numbers_that_do_not_fit_together(changes: dict[str, Any]) -> None:
    rows()
    rows(matchers=[MATCHER])
    with pytest.raises(ValueError, match=r"\w"):
        rows(**changes)


@pytest.mark.parametrize(("active", "limits"), [(2, [10_000]), (1, []), (1, [10_001]), (1, [-1]), (1, [5])])
def test_refuses_a_table_that_does_not_fit_its_rows(active: int, limits: list[int]) -> None:
    assert PolicyTable(rows(), 1, [10_000], 0, 1).verdict(1, 0, 98, 0, 0, 0, 0, None, None, None, None)[0] == 0
    with pytest.raises(ValueError, match=r"\w"):
        PolicyTable(rows(), active, limits, 0, 1)


def test_the_ids_of_the_fusion_are_those_that_the_rows_are_made_for() -> None:
    assert sorted(CONFLICT_BITS.values()) == [1 << number for number in range(10)]
    assert set(STATUS_IDS) == {"absent", *SignalStatus}
    assert STATUS_IDS["absent"] == 0
    assert max(STATUS_IDS.values()) < 8
