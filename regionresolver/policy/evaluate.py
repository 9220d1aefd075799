"""A policy that answers pings: resolution + facts + instant -> verdict.

In goes a checked `Policy` and the catalogue, once; everything that can be worked out beforehand (region sets, patterns,
hundredths, texts) is. `CompiledPolicy.decide` then asks the rules in order. It reads no clock, does no I/O, keeps no
state and raises nothing for any resolution; instants must have a zone.

The order, as operators know it (docs: "Evaluation"):

1. The first *enforced* rule decides whose conditions all hold, whose window is open and whose rollout has the device.
2. Were shadow rules enforced, the first matching rule of both sorts would decide. Where that changes the effect, the
   verdict names it as its shadow.
3. Without a match the defaults hold: `on_unknown` where there is no region at all, else `effect`.
4. A deny that is less sure than `min_confidence_to_deny` becomes a review, `LOW_CONFIDENCE`. `on_unknown = "deny"` is
   spared: who writes it has already said what no evidence at all is worth.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from regionresolver.errors import PolicyError
from regionresolver.model import Effect, PingFacts, Resolution, RuleTrace, Verdict
from regionresolver.policy.conditions import Condition, conditions, hundredths
from regionresolver.policy.model import Mode, Policy, Rollout, Rule, Window
from regionresolver.policy.regions import RegionNames
from regionresolver.policy.words import wrong_words

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from regionresolver.sources.catalogue import Catalogue

LOW_CONFIDENCE: Final = "LOW_CONFIDENCE"
NO_EVIDENCE: Final = "NO_EVIDENCE"
BUCKETS: Final = 10_000
_BUCKETS_PER_PERCENT: Final = BUCKETS // 100
_LONGEST_LANGUAGE: Final = 35  # RFC 5646, section 4.4.1: no registered tag needs more


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a rule or a default leads to, before the texts."""

    effect: Effect
    rule: str | None
    reason: str | None
    retry_after: int | None


@dataclass(frozen=True, slots=True)
class _Ramp:
    """A rollout in buckets: the stages newest first, each with the bucket below which a device is in."""

    salt: str
    stages: tuple[tuple[dt.datetime, int], ...]

    def limit(self, at: dt.datetime) -> int:
        """Answer the bucket below which a device is in; 0 before the first stage."""
        for since, limit in self.stages:
            if since <= at:
                return limit
        return 0

    def has(self, device_id: str | None, at: dt.datetime) -> bool:
        """Say whether a device is in. At 100 % everyone is, a ping without the key too: the rollout is over."""
        limit = self.limit(at)
        return limit >= BUCKETS or (limit > 0 and device_id is not None and rollout_bucket(self.salt, device_id) < limit)


@dataclass(frozen=True, slots=True)
class _CompiledRule:
    """One rule, ready to be asked."""

    id: str
    mode: Mode
    conditions: tuple[Condition, ...]
    opens: dt.datetime | None
    closes: dt.datetime | None
    ramp: _Ramp | None
    outcome: _Outcome
    unsure: _Outcome
    places: tuple[str, ...]

    def matches(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> bool:
        """Say whether the rule holds for this ping at this instant, whatever its mode."""
        for condition in self.conditions:
            if not condition.holds(resolution, facts, at):
                return False
        return self.is_open(at) and (self.ramp is None or self.ramp.has(facts.device_id, at))

    def is_open(self, at: dt.datetime) -> bool:
        """Say whether the instant lies in the rule's window, which is half-open."""
        return (self.opens is None or self.opens <= at) and (self.closes is None or at < self.closes)

    def traced(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> RuleTrace:
        """Say whether the rule holds, and why (not), in words that hold no device id."""
        why = self._obstacle(resolution, facts, at)
        return RuleTrace(self.id, self.mode.value, why is None, why or "every condition holds")

    def _obstacle(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> str | None:
        """Answer the first thing that keeps the rule from matching, in the order of `matches`."""
        if self.mode is Mode.OFF:
            return "its mode is off"
        for condition in self.conditions:
            if not condition.holds(resolution, facts, at):
                return condition.why_not(resolution, facts)
        if self.opens is not None and at < self.opens:
            return f"effective: not before {self.opens.isoformat()}"
        if self.closes is not None and at >= self.closes:
            return f"effective: ended at {self.closes.isoformat()}"
        if self.ramp is not None and not self.ramp.has(facts.device_id, at):
            share = self.ramp.limit(at) / _BUCKETS_PER_PERCENT
            return "rollout: no device_id" if facts.device_id is None else f"rollout: not among the first {share:g} %"
        return None


class CompiledPolicy:
    """A policy ready to decide: immutable, safe to share between threads."""

    def __init__(self, policy: Policy, catalogue: Catalogue) -> None:
        """Work out all that does not depend on the ping.

        Raises `PolicyError` for a region word that means nothing or a region that contains itself.
        """
        self.policy = policy
        self.label = policy.label
        self.names = RegionNames(policy.regions, catalogue)
        if (complaint := next(wrong_words(policy, self.names), None)) is not None:
            raise PolicyError(self.label, complaint.text, where=complaint.where)
        defaults = policy.defaults
        self._rules = tuple(_compiled(rule, self.names) for rule in policy.rules)
        self._awake = tuple(rule for rule in self._rules if rule.mode is not Mode.OFF)
        self._sure_enough = hundredths(defaults.min_confidence_to_deny)
        self._unmatched = _Outcome(defaults.effect, None, None, None)
        self._unmatched_unsure = _less_sure(self._unmatched)
        self._unknown = _Outcome(defaults.on_unknown, None, NO_EVIDENCE, None)
        self._messages = {
            reason: {language.lower(): text for language, text in texts.items()} for reason, texts in policy.messages.items()
        }
        self._default_language = policy.header.default_language.lower()

    def decide(self, resolution: Resolution, facts: PingFacts, at: dt.datetime, trace: bool = False) -> Verdict:
        """Answer what the policy says of a phone at an instant (with a zone); `trace` adds every rule with its why."""
        decisive: _CompiledRule | None = None
        shadow: _CompiledRule | None = None
        for rule in self._awake:
            if rule.matches(resolution, facts, at):
                if rule.mode is Mode.ENFORCE:
                    decisive = rule
                    break
                shadow = shadow or rule
        outcome = self._outcome(decisive, resolution)
        shadow_outcome = outcome if shadow is None else self._outcome(shadow, resolution)
        differs = shadow_outcome.effect is not outcome.effect
        return Verdict(
            effect=outcome.effect,
            rule=outcome.rule,
            reason=outcome.reason,
            retry_after=outcome.retry_after,
            message=self.message(outcome.reason, facts.lang),
            shadow_effect=shadow_outcome.effect if differs else None,
            shadow_rule=shadow_outcome.rule if differs else None,
            # Every rule is asked, those that rest and those behind the decisive one too.
            trace=tuple(rule.traced(resolution, facts, at) for rule in self._rules) if trace else (),
        )

    def message(self, reason: str | None, lang: str | None) -> str | None:
        """Answer the text for a reason: in `lang`, in what is left of it (`es-MX`, `es`), else in the default language."""
        texts = self._messages.get(reason) if reason else None
        if texts is None:
            return None
        return _in_language(texts, lang) or texts.get(self._default_language)

    @cached_property
    def subdivisions(self) -> frozenset[str]:
        """Answer every subdivision in which a rule places a phone: what a loaded database should be able to see."""
        return self.names.expand(word for rule in self._awake for word in rule.places).subdivisions

    @cached_property
    def sha256(self) -> str:
        """Answer a digest of the policy's meaning: the same for TOML and JSON, whatever the comments and the layout."""
        return hashlib.sha256(self.policy.model_dump_json(by_alias=True).encode()).hexdigest()

    def document(self) -> dict[str, object]:
        """Answer the policy as JSON-ready values, with regions expanded to codes, and device ids only counted."""
        document: dict[str, object] = self.policy.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"tests"})
        for rule, written in zip(self.policy.rules, cast("list[dict[str, Any]]", document["rules"]), strict=True):
            if rule.when.device_id is not None:
                written["when"]["device_id"]["ids"] = len(rule.when.device_id.ids)
        document["regions"] = self.names.expanded()
        return document

    def _outcome(self, rule: _CompiledRule | None, resolution: Resolution) -> _Outcome:
        """Answer what a rule (`None`: no rule matched) leads to for a resolution of this confidence."""
        if rule is None and resolution.region is None:
            return self._unknown
        outcome, unsure = (self._unmatched, self._unmatched_unsure) if rule is None else (rule.outcome, rule.unsure)
        if outcome.effect is Effect.DENY and hundredths(resolution.confidence) < self._sure_enough:
            return unsure
        return outcome


def rollout_bucket(salt: str, key: str) -> int:
    """Answer the bucket, 0 to 9,999, of a device in a rollout: the first 8 bytes of SHA-256(salt ":" key), big-endian."""
    digest = hashlib.sha256(f"{salt}:{key}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % BUCKETS


def _compiled(rule: Rule, names: RegionNames) -> _CompiledRule:
    """Work out one rule."""
    window = rule.effective or Window.model_construct()
    retry_after = None if rule.retry_after is None else int(rule.retry_after.total_seconds())
    outcome = _Outcome(rule.effect, rule.id, rule.reason, retry_after)
    return _CompiledRule(
        id=rule.id,
        mode=rule.mode,
        conditions=conditions(rule.when, names),
        opens=window.from_,
        closes=window.until,
        ramp=None if rule.rollout is None else _ramp(rule.rollout),
        outcome=outcome,
        unsure=_less_sure(outcome),
        places=(*(rule.when.region or ()), *(rule.when.region_not or ())),
    )


def _ramp(rollout: Rollout) -> _Ramp:
    """Turn percents into buckets, the newest stage first."""
    stages = tuple((stage.at, round(stage.percent * _BUCKETS_PER_PERCENT)) for stage in reversed(rollout.stages))
    return _Ramp(rollout.salt, stages)


def _less_sure(outcome: _Outcome) -> _Outcome:
    """Answer what a deny becomes when the resolution is not sure enough."""
    return _Outcome(Effect.REVIEW, outcome.rule, LOW_CONFIDENCE, outcome.retry_after)


def _in_language(texts: Mapping[str, str], lang: str | None) -> str | None:
    """Answer the text in a language or in the closest less specific one, `None` without any."""
    if lang is None or len(lang) > _LONGEST_LANGUAGE:
        return None
    tag = lang.replace("_", "-").lower()
    while tag:
        if tag in texts:
            return texts[tag]
        tag = tag.rpartition("-")[0]
    return None
