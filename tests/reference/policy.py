"""A policy in its readable form: the rules in order, each asked in full, everything worked out again for every ping.

Written from the description of the policy file; of the package it uses the types and the catalogue's rows. The compiled
form is `_fastpath.policy_table`.
"""

from __future__ import annotations

import fnmatch
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regionresolver.model import Effect, PingFacts, Resolution, Signal
from regionresolver.policy.model import Mode, Policy, Rule, When

if TYPE_CHECKING:
    import datetime as dt

    from regionresolver.sources.catalogue import Catalogue


@dataclass(frozen=True)
class Answer:
    """A verdict without its texts, and the ids of all the rules that match, of whatever mode but off."""

    effect: Effect
    rule: str | None
    reason: str | None
    shadow_effect: Effect | None
    shadow_rule: str | None
    matching: tuple[str, ...]


def decide(policy: Policy, catalogue: Catalogue, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> Answer:
    """Apply a policy to a ping at an instant."""
    world = World(policy, catalogue)
    matching = [rule for rule in policy.rules if rule.mode is not Mode.OFF and matches(rule, world, resolution, facts, at)]
    decisive = next((rule for rule in matching if rule.mode is Mode.ENFORCE), None)
    as_if_enforced = next(iter(matching), None)
    effect, reason = outcome(policy, decisive, resolution)
    shadow_effect, _ = outcome(policy, as_if_enforced, resolution)
    differs = shadow_effect is not effect
    return Answer(
        effect,
        decisive.id if decisive else None,
        reason,
        shadow_effect if differs else None,
        as_if_enforced.id if differs and as_if_enforced else None,
        tuple(rule.id for rule in matching),
    )


def outcome(policy: Policy, rule: Rule | None, resolution: Resolution) -> tuple[Effect, str | None]:
    """Return effect and reason of a rule, or of the defaults."""
    if rule is None and resolution.region is None:
        return policy.defaults.on_unknown, "NO_EVIDENCE"
    effect, reason = (rule.effect, rule.reason) if rule else (policy.defaults.effect, None)
    if effect is Effect.DENY and round(resolution.confidence * 100) < round(policy.defaults.min_confidence_to_deny * 100):
        return Effect.REVIEW, "LOW_CONFIDENCE"
    return effect, reason


def matches(rule: Rule, world: World, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> bool:
    """Tell whether everything that a rule asks for is so."""
    return holds(rule.when, world, resolution, facts, at) and in_window(rule, at) and in_rollout(rule, facts.device_id, at)


def in_window(rule: Rule, at: dt.datetime) -> bool:
    """Tell whether an instant lies in a rule's half-open window."""
    if rule.effective is None:
        return True
    if rule.effective.from_ is not None and at < rule.effective.from_:
        return False
    return rule.effective.until is None or at < rule.effective.until


def in_rollout(rule: Rule, device_id: str | None, at: dt.datetime) -> bool:
    """Tell whether a rule has reached a device."""
    if rule.rollout is None:
        return True
    percent = 0.0
    for stage in rule.rollout.stages:
        if stage.at <= at:
            percent = stage.percent
    if percent == 100:
        return True
    if device_id is None:
        return False
    digest = hashlib.sha256(f"{rule.rollout.salt}:{device_id}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % 10_000 < round(percent * 100)


def holds(when: When, world: World, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> bool:
    """Tell whether every given condition holds; none does on a field that is missing."""
    home = next((evidence for evidence in resolution.evidence if evidence.signal is Signal.HOME_PLMN), None)
    home_region = home.candidates[0] if home and home.candidates else None
    for place, words, words_not in (
        (resolution.region, when.region, when.region_not),
        (home_region, when.home_region, when.home_region_not),
        (facts.sold_in, when.sold_in, when.sold_in_not),
    ):
        if words is not None and (place is None or not world.lies_in(place, words)):
            return False
        if words_not is not None and (place is None or world.lies_in(place, words_not)):
            return False
    if when.sku is not None and (facts.sku is None or not any(fnmatch.fnmatchcase(facts.sku, glob) for glob in when.sku)):
        return False
    if when.sku_not is not None and (facts.sku is None or any(fnmatch.fnmatchcase(facts.sku, glob) for glob in when.sku_not)):
        return False
    activated = facts.first_activated_at
    if when.first_activated_before is not None and (activated is None or activated >= when.first_activated_before):
        return False
    if when.first_activated_after is not None and (activated is None or activated < when.first_activated_after):
        return False
    confidence = None if resolution.region is None else round(resolution.confidence * 100)
    if when.confidence_at_least is not None and (confidence is None or confidence < round(when.confidence_at_least * 100)):
        return False
    if when.confidence_below is not None and (confidence is None or confidence >= round(when.confidence_below * 100)):
        return False
    if when.conflict is not None and not set(when.conflict) & set(resolution.conflicts):
        return False
    if when.device_id is not None:
        if facts.device_id not in when.device_id.ids:
            return False
        if when.device_id.until is not None and at >= when.device_id.until:
            return False
    if when.signal_status is not None:
        statuses = {evidence.signal: evidence.status for evidence in resolution.evidence}
        for signal in Signal:
            wanted = getattr(when.signal_status, signal.value)
            if wanted is not None and statuses.get(signal) not in wanted:
                return False
    return True


class World:
    """What region words mean, in the policy and the catalogue."""

    def __init__(self, policy: Policy, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.members = {name: row.members for name, row in catalogue.regions.items()} | dict(policy.regions)
        self.aliases = {alias: row.code for row in catalogue.subdivisions.values() for alias in row.aliases}

    def lies_in(self, place: str, words: tuple[str, ...]) -> bool:
        """Tell whether a place, as a ping writes it, lies in what the words mean together."""
        said = self.follow(words)
        code = self.aliases.get(place.upper(), place.upper()) if place.isascii() else place
        if code in self.catalogue.countries:
            return code in said
        if code in self.catalogue.subdivisions:
            return code in said or code[:2] in said
        name = place.lower() if place.isascii() else place
        if name in self.catalogue.regions and self.catalogue.regions[name].country in said:
            return True
        if name in said:
            return True
        if name not in self.members:
            return False
        # A catalogue's name means the catalogue's members, also where the policy gives the name to something else.
        means = self.catalogue.regions[name].members if name in self.catalogue.regions else self.members[name]
        codes = {word for word in self.follow(means) if word not in self.members}
        return all(word in said or word[:2] in said for word in codes)

    def follow(self, words: tuple[str, ...]) -> set[str]:
        """Return every word that is met from these words on, aliases written as the codes they stand for."""
        met: set[str] = set()
        for word in words:
            met.add(self.aliases.get(word, word))
            if word in self.members:
                met |= self.follow(self.members[word])
        return met
