"""Find what is legal in a policy and yet not wise: findings, each with a severity, a place and a remedy.

In goes a policy that `load` accepted (so every region word means something); out come findings, check after check.
An error says that the policy can't do what its author meant, and keeps it from being activated; a warning says where
the evidence is weaker than the rule. One check is one function, in the order of the list in `lint`.
"""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from regionresolver.model import Effect
from regionresolver.policy.model import Mode, Policy, Rollout, Rule, When, Window
from regionresolver.policy.regions import RegionNames, country_of
from regionresolver.policy.testing import Resolve, run_tests
from regionresolver.policy.words import region_words
from regionresolver.sources.locate import Path, dotted

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

    from regionresolver.sources.catalogue import Catalogue
    from regionresolver.sources.plmn import PlmnTable

_ALL: Final = 100


class Severity(StrEnum):
    """Whether a finding keeps a policy from being activated."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at: how bad, its stable name, the path of keys, and a sentence."""

    severity: Severity
    code: str
    path: Path
    text: str

    @property
    def where(self) -> str:
        """Answer the place as `rules[2].effective`."""
        return dotted(self.path)

    def __str__(self) -> str:
        """Write the finding as one line."""
        return f"{self.severity}: {self.where}: {self.text} [{self.code}]"


def lint(
    policy: Policy,
    catalogue: Catalogue,
    visible_subdivisions: Set[str],
    *,
    plmns: PlmnTable | None = None,
    active: Policy | None = None,
    at: dt.datetime | None = None,
    resolve: Resolve | None = None,
) -> list[Finding]:
    """Answer everything that is to be said against a policy; an empty list where nothing is.

    `visible_subdivisions` are the codes that some loaded database can see. The rest adds checks where given: `plmns`
    those on shared MCCs, `active` (the policy that runs now) those on succession, `at` (an instant with a zone; no clock
    is read) those on the calendar, `resolve` the embedded tests.
    """
    names = RegionNames(policy.regions, catalogue)
    return [
        *_unseen_subdivisions(policy, names, visible_subdivisions),
        *(_shared_mccs(policy, names, plmns) if plmns is not None else ()),
        *_unreachable(policy, names),
        *_endless_denials(policy, at),
        *_falling_stages(policy),
        *_missing_messages(policy),
        *(_succession(policy, active, at) if active is not None else ()),
        *(_failing_tests(policy, catalogue, resolve) if resolve is not None else ()),
    ]


def _error(code: str, path: Path, text: str) -> Finding:
    return Finding(Severity.ERROR, code, path, text)


def _warning(code: str, path: Path, text: str) -> Finding:
    return Finding(Severity.WARNING, code, path, text)


def _awake(policy: Policy) -> Iterator[tuple[int, Rule]]:
    """Answer the rules that are not off, with their positions."""
    return ((index, rule) for index, rule in enumerate(policy.rules) if rule.mode is not Mode.OFF)


def _unseen_subdivisions(policy: Policy, names: RegionNames, visible: Set[str]) -> Iterator[Finding]:
    """A subdivision that no loaded database can see: only a PLMN can still tell it from its country."""
    for index, rule in _awake(policy):
        for key, words in region_words(rule):
            unseen = sorted(names.expand(words).subdivisions - visible)
            if key in {"region", "region_not"} and unseen:
                countries = ", ".join(sorted({country_of(code) for code in unseen}))
                text = f"no loaded IP database can tell {', '.join(unseen)} from the rest of {countries}: only a PLMN can"
                yield _warning("subdivision-not-visible", ("rules", index, "when", key), text)


def _shared_mccs(policy: Policy, names: RegionNames, plmns: PlmnTable) -> Iterator[Finding]:
    """A region whose mobile country code other regions share, so that a PLMN alone can't tell them apart."""
    shared = [row for row in plmns.rows if row.kind == "country" and len(row.candidates) > 1]
    for index, rule in _awake(policy):
        if rule.when.region is None:
            continue
        held = names.expand(rule.when.region)
        for row in shared:
            inside = [code for code in row.candidates if held.has(*names.place(code))]
            if inside and len(inside) < len(row.candidates):
                outside = [code for code in row.candidates if code not in inside]
                text = f"MCC {row.prefix} of {', '.join(inside)} also serves {', '.join(outside)}: a PLMN alone may be either"
                yield _warning("mcc-shared", ("rules", index, "when", "region"), text)


def _unreachable(policy: Policy, names: RegionNames) -> Iterator[Finding]:
    """A rule whose conditions exclude each other, or that an earlier enforced rule always forestalls."""
    for index, rule in _awake(policy):
        if reason := _contradiction(rule.when, names):
            yield _error("rule-unreachable", ("rules", index, "when"), f"rule '{rule.id}' can never match: {reason}")
            continue
        for earlier_index, earlier in _awake(policy):
            if earlier_index < index and earlier.mode is Mode.ENFORCE and _forestalls(earlier, rule, names):
                text = f"rule '{rule.id}' can never decide: rules[{earlier_index}] '{earlier.id}' matches wherever it does"
                yield _error("rule-shadowed", ("rules", index), text)
                break


def _contradiction(when: When, names: RegionNames) -> str | None:
    """Say which two conditions of one rule can't hold together."""
    for key, key_not in (("region", "region_not"), ("home_region", "home_region_not"), ("sold_in", "sold_in_not")):
        words, words_not = getattr(when, key), getattr(when, key_not)
        if words and words_not and names.expand(words_not).covers(names.expand(words)):
            return f"{key_not} takes away all that {key} lists"
    if when.sku and when.sku_not and set(when.sku) <= set(when.sku_not):
        return "sku_not takes away all that sku lists"
    before, after = when.first_activated_before, when.first_activated_after
    if before and after and before <= after:
        return "first_activated_before is not later than first_activated_after"
    least, below = when.confidence_at_least, when.confidence_below
    if least is not None and below is not None and below <= least:
        return "confidence_below is not above confidence_at_least"
    return None


def _forestalls(earlier: Rule, rule: Rule, names: RegionNames) -> bool:
    """Say whether an earlier rule matches every ping, at every instant, that this one matches."""
    return (
        all(_implied(key, earlier.when, rule.when, names) for key in earlier.when.model_fields_set)
        and _holds_window(earlier.effective, rule.effective)
        and (earlier.rollout is None or _rollout_is_over(earlier.rollout, rule.effective))
    )


def _implied(key: str, earlier: When, when: When, names: RegionNames) -> bool:
    """Say whether one condition of the earlier rule holds wherever the same condition of this one does."""
    theirs, ours = getattr(earlier, key), getattr(when, key)
    if theirs is None or ours is None:
        return theirs is None
    match key:
        case "region" | "home_region" | "sold_in":
            return names.expand(theirs).covers(names.expand(ours))
        case "region_not" | "home_region_not" | "sold_in_not":
            return names.expand(ours).covers(names.expand(theirs))
        case "sku" | "conflict":
            return set(ours) <= set(theirs)
        case "sku_not":
            return set(theirs) <= set(ours)
        case "first_activated_before" | "confidence_below":
            return bool(ours <= theirs)
        case "first_activated_after" | "confidence_at_least":
            return bool(ours >= theirs)
        case "device_id":
            return set(ours.ids) <= set(theirs.ids) and _not_earlier(theirs.until, ours.until)
    return bool(ours == theirs)


def _not_earlier(end: dt.datetime | None, other: dt.datetime | None) -> bool:
    """Say whether one end (`None`: never) lies at or after another."""
    return end is None or (other is not None and end >= other)


def _holds_window(outer: Window | None, inner: Window | None) -> bool:
    """Say whether the outer window is open whenever the inner one is; `None` is always open."""
    if outer is None:
        return True
    starts = outer.from_ is None or (inner is not None and inner.from_ is not None and outer.from_ <= inner.from_)
    return starts and _not_earlier(outer.until, inner.until if inner is not None else None)


def _rollout_is_over(rollout: Rollout, window: Window | None) -> bool:
    """Say whether a rollout has every device at every instant of a window."""
    since = window.from_ if window is not None else None
    stages = [stage for stage in rollout.stages if since is None or stage.at > since]
    return since is not None and rollout.percent_at(since) == _ALL and all(stage.percent == _ALL for stage in stages)


def _endless_denials(policy: Policy, at: dt.datetime | None) -> Iterator[Finding]:
    """A denial that nobody will look at again."""
    for index, rule in _awake(policy):
        ends = rule.effective is not None and rule.effective.until is not None
        if rule.effect is Effect.DENY and not ends and rule.review_by is None:
            text = f"rule '{rule.id}' denies without an end: give it effective.until, or review_by"
            yield _error("deny-without-end", ("rules", index), text)
        if at is not None and rule.review_by is not None and not ends and rule.review_by < at.astimezone(dt.UTC).date():
            text = f"rule '{rule.id}' was to be looked at again by {rule.review_by}"
            yield _warning("review-overdue", ("rules", index, "review_by"), text)


def _falling_stages(policy: Policy) -> Iterator[Finding]:
    """A stage that lets devices out again: who was denied under the stage before would not be any more."""
    for index, rule in _awake(policy):
        stages = rule.rollout.stages if rule.rollout is not None else ()
        for number, (before, after) in enumerate(itertools.pairwise(stages), start=1):
            if after.percent < before.percent:
                text = f"the stage lowers the percentage from {before.percent:g} to {after.percent:g}"
                yield _error("stage-lowers", ("rules", index, "rollout", "stages", number, "percent"), text)


def _missing_messages(policy: Policy) -> Iterator[Finding]:
    """A denial without words, or with words that the default language lacks."""
    default = policy.header.default_language
    for reason, texts in policy.messages.items():
        if default.lower() not in {language.lower() for language in texts}:
            yield _error("message-missing", ("messages", reason), f"the message lacks the default language '{default}'")
    for index, rule in _awake(policy):
        enforced_denial = rule.effect is Effect.DENY and rule.mode is Mode.ENFORCE
        if enforced_denial and rule.reason is not None and rule.reason not in policy.messages:
            text = f'the denial has no message: add [messages.{rule.reason}] with {default} = "…"'
            yield _error("message-missing", ("rules", index, "reason"), text)


def _succession(policy: Policy, active: Policy, at: dt.datetime | None) -> Iterator[Finding]:
    """A candidate that is not newer than the active policy, or that shuffles the devices in the middle of a ramp."""
    if policy.header.name == active.header.name and policy.header.version <= active.header.version:
        text = f"the version must be above the active {active.header.version}"
        yield _error("version-not-above", ("policy", "version"), text)
    running = {rule.id: rule.rollout for rule in active.rules if rule.rollout is not None}
    for index, rule in _awake(policy):
        before = running.get(rule.id)
        if at is None or before is None or rule.rollout is None or before.salt == rule.rollout.salt:
            continue
        if 0 < before.percent_at(at) < _ALL:
            text = f"the salt changes at {before.percent_at(at):g} %: other devices would be in; keep '{before.salt}' until 100 %"
            yield _error("salt-changed", ("rules", index, "rollout", "salt"), text)


def _failing_tests(policy: Policy, catalogue: Catalogue, resolve: Resolve) -> Iterator[Finding]:
    """An embedded test that does not hold."""
    for index, result in enumerate(run_tests(policy, catalogue, resolve)):
        if not result.passed:
            yield _error("test-failed", ("tests", index), f"'{result.name}': {result.why}")
