"""What changes between two policies: each kind of change in words, and that what is not reported decides alike."""

from __future__ import annotations

import datetime as dt
import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from regionresolver.errors import PolicyError
from regionresolver.policy import CompiledPolicy, Policy, load_policy
from regionresolver.policy.diff import UNKNOWN, Changed, Difference, diff
from regionresolver.policy.skus import SkuClasses
from tests.policies import LISTING, catalogue, policy
from tests.reference import policy as reference
from tests.test_policy_table import DAYS, made, pings, policies, rules

PAIRS = 40
PINGS = 40


def compared(before: str, after: str) -> Difference:
    return diff(policy(before), policy(after), catalogue())


def rule(when: str = "", effect: str = "deny", more: str = "", name: str = "r") -> str:
    return f'[[rules]]\nid = "{name}"\nwhen = {{ {when} }}\neffect = "{effect}"\n{more}\n'


@pytest.mark.parametrize("name", ["default", "example-2021", "observe-only"])
def test_a_policy_does_not_differ_from_itself(name: str) -> None:
    shipped = load_policy(name, catalogue())
    assert not diff(shipped, shipped, catalogue())


def test_name_and_version_do_not_count() -> None:
    assert not compared(LISTING, LISTING.replace("version = 41", "version = 42").replace('"activation"', '"other"'))


def test_a_new_rule_changes_its_regions_and_no_others() -> None:
    (change,) = compared("", rule('region = ["CU", "crimea"]')).changes
    assert change.regions == ("CU", "UA-40", "UA-43", "crimea")
    assert change.sku_classes == ("any SKU",)
    assert (change.since, change.until) == (None, None)
    assert (change.before, change.after) == (("allow",), ("deny",))


def test_a_rule_behind_one_that_always_decides_changes_nothing() -> None:
    first = rule('region = "CU"', "allow", name="first")
    assert compared(first, first + rule('region = "CU"')).changes == ()


def test_what_region_and_sku_leave_open_is_told() -> None:
    (change,) = compared("", rule('region = "CU", sold_in_not = ["CU", "SY"], confidence_at_least = 0.9', "review")).changes
    assert change.after == ("review if it was sold outside CU or SY and the confidence is 0.90 or more", "allow")


def test_a_change_of_the_sku_names_the_classes_concerned() -> None:
    found = compared(rule('region = "CU", sku = "A*"'), rule('region = "CU", sku = ["A*", "B*"]')).changes
    assert [(change.sku_classes, change.before, change.after) for change in found] == [(("A* | B*",), ("allow",), ("deny",))]


def test_a_change_of_dates_names_the_stretch_between_them() -> None:
    before, after = (f"effective = {{ until = 2021-09-{day:02}T00:00:00Z }}" for day in (7, 14))
    (change,) = compared(rule('region = "CU"', more=before), rule('region = "CU"', more=after)).changes
    assert (change.since, change.until) == tuple(dt.datetime(2021, 9, day, tzinfo=dt.UTC) for day in (7, 14))


def test_a_change_of_the_ramp_names_both_shares() -> None:
    def ramp(percent: int) -> str:
        stages = f"{{ at = 2021-09-01T00:00:00Z, percent = {percent} }}, {{ at = 2021-09-08T00:00:00Z, percent = 100 }}"
        return f'rollout = {{ key = "device_id", salt = "s", stages = [ {stages} ] }}'

    (change,) = compared(rule('region = "CU"', more=ramp(5)), rule('region = "CU"', more=ramp(25))).changes
    assert change.before == ("deny for 5 % of the devices (salt 's')", "allow")
    assert change.after == ("deny for 25 % of the devices (salt 's')", "allow")
    assert change.until == dt.datetime(2021, 9, 8, tzinfo=dt.UTC)


def test_a_shadow_rule_is_told_as_one() -> None:
    (change,) = compared("", rule('region = "CU"', more='mode = "shadow"')).changes
    assert change.after == ("only counted: deny", "allow")


def test_a_changed_default_concerns_every_region_that_no_rule_decides() -> None:
    found = compared(rule('region = "CU"'), rule('region = "CU"') + '[defaults]\neffect = "review"\n')
    (change,) = found.changes
    assert set(found.regions) - set(change.regions) == {"CU", UNKNOWN}
    (unknown,) = compared("", '[defaults]\non_unknown = "deny"\n').changes
    assert (unknown.regions, unknown.before, unknown.after) == ((UNKNOWN,), ("allow",), ("deny",))


def test_a_changed_threshold_is_told_where_something_is_denied() -> None:
    (change,) = compared(rule('region = "CU"'), rule('region = "CU"') + "[defaults]\nmin_confidence_to_deny = 0.9\n").changes
    assert change.regions == ("CU",)
    assert change.before[0].startswith("deny, if less sure than 0.80 review")
    assert change.after[0].startswith("deny, if less sure than 0.90 review")


def test_a_list_of_devices_is_compared_and_never_shown() -> None:
    before, after = (rule(f'region = "CU", device_id = ["h:secret{number}"]', "allow") for number in (1, 2))
    (change,) = compared(before, after).changes
    assert change.before == change.after == ("allow if it is one of 1 listed devices", "allow")


def test_a_region_that_means_something_else_under_its_name() -> None:
    before, after = (f"[regions]\nours = [{words}]\n" + rule('region = "ours"') for words in ('"CU"', '"CU", "SY"'))
    assert [change.regions for change in compared(before, after).changes] == [("SY",)]
    # Also where only the place of sale is meant.
    sold = [text.replace('region = "ours"', 'sold_in = "ours"') for text in (before, after)]
    (change,) = compared(*sold).changes
    assert change.before == ("deny if it was sold in CU", "allow")
    assert change.after == ("deny if it was sold in CU or SY", "allow")


def test_globs_with_too_many_classes_are_refused_with_a_remedy() -> None:
    rows = "".join(rule(f'sku = "*{letter}*"', name=f"r{letter}") for letter in "abcdefghijklmnopqrstuvwx")
    with pytest.raises(
        PolicyError, match=r"test@1: the globs of the SKUs are too intricate to compare: .* classes \(write fewer"
    ):
        compared(rows, "")


def test_what_decides_nothing_is_a_note() -> None:
    after = (
        LISTING.replace('es = "…"', 'es = "?"\nfr = "…"')
        .replace("0.02", "0.03")
        .replace("versions = [41]", "versions = [40, 41]")
    )
    after = after.replace('id = "embargo-six-measure"', 'id = "embargo-six-counted"').replace("2021-12-31   ", "2022-01-31   ")
    after = after.replace("a VPN does not lift a denial", "another name")
    found = compared(LISTING, after.replace('default_language = "en"', 'default_language = "es"'))
    assert found.changes == ()
    assert found.notes == (
        "rules gone: embargo-six-measure",
        "rules new: embargo-six-counted",
        "rules to be looked at again on another day: embargo-six",
        "messages new: REGION_NOT_PERMITTED.fr",
        "messages changed: REGION_NOT_PERMITTED.es",
        "tests gone: a VPN does not lift a denial",
        "tests new: another name",
        "the default language is 'es', not 'en'",
        "the guardrails differ",
        "the restores differ",
    )


def test_many_tests_are_only_counted() -> None:
    found = diff(load_policy("observe-only", catalogue()), load_policy("default", catalogue()), catalogue())
    assert "tests new: 17" in found.notes


# --- what is not reported decides alike


def concerns(change: Changed, region: str | None, sku_class: str, at: dt.datetime) -> bool:
    """Tell whether a change speaks of a ping."""
    return (
        (region or UNKNOWN) in change.regions
        and (change.sku_classes == ("any SKU",) or sku_class in change.sku_classes)
        and (change.since is None or change.since <= at)
        and (change.until is None or at < change.until)
    )


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Policy, Policy]:
    """Draw two policies that have much in common: one, and one with a rule more, less, moved or another."""
    before = draw(policies)
    rows = [row.model_dump(by_alias=True, exclude_unset=True, exclude={"id"}) for row in before.rules]
    place = draw(st.integers(0, len(rows)))
    match draw(st.sampled_from(["add", "drop", "swap", "other"])):
        case "add":
            rows.insert(place, draw(rules))
        case "drop":
            del rows[place : place + 1]
        case "swap":
            rows[place : place + 2] = reversed(rows[place : place + 2])
        case "other":
            return before, draw(policies)
    defaults = before.defaults.model_dump(exclude_unset=True)
    return before, made(rows, defaults, {name: list(words) for name, words in before.regions.items()})


@settings(max_examples=PAIRS, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(pairs(), st.integers(0, 2**32))
def test_what_is_not_reported_decides_alike(pair: tuple[Policy, Policy], seed: int) -> None:
    found = diff(*pair, catalogue())
    classes = SkuClasses(pair)
    compiled = [CompiledPolicy(one, catalogue()) for one in pair]
    reached = 0
    for resolution, facts, at in itertools.islice(pings(random.Random(seed), DAYS), PINGS):
        before, after = (one.decide(resolution, facts, at) for one in compiled)
        said = [(one.effect, one.reason, one.shadow_effect) for one in (before, after)]
        assert reference.decide(pair[0], catalogue(), resolution, facts, at).effect is before.effect
        if said[0] != said[1]:
            reached += 1
            sku_class = classes.name(classes.of(facts.sku))
            assert any(concerns(change, resolution.region, sku_class, at) for change in found.changes), (said, resolution.region)
    assert not reached or found
