"""A policy that answers pings: resolution + facts + instant -> verdict.

In goes a checked `Policy` and the catalogue, once; out come verdicts with their texts. What is decided, and nothing else
decides it, stands in the compiled table of the instant (`table`, `_fastpath.policy_table`); here are the words around
it. Nothing reads a clock, does I/O or raises for any resolution; instants must have a zone.

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
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from _fastpath.policy_table import EFFECT_IDS
from regionresolver.errors import PolicyError
from regionresolver.model import Effect, PingFacts, Resolution, RuleTrace, Verdict
from regionresolver.policy.model import Mode, Policy
from regionresolver.policy.regions import RegionNames
from regionresolver.policy.rules import CompiledRule
from regionresolver.policy.table import LOW_CONFIDENCE, Timeline
from regionresolver.policy.words import wrong_words

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from regionresolver.sources.catalogue import Catalogue

_EFFECTS: Final = {number: Effect(name) for name, number in EFFECT_IDS.items()}
_LONGEST_LANGUAGE: Final = 35  # RFC 5646, section 4.4.1: no registered tag needs more


class CompiledPolicy:
    """A policy ready to decide: immutable, safe to share between threads."""

    def __init__(
        self, policy: Policy, catalogue: Catalogue, codes: Sequence[str | None] | None = None, *, denies: bool = True
    ) -> None:
        """Work out all that does not depend on the ping.

        `codes` are the region codes by the ids that a compiled caller will ask with, beginning with `None`; without them
        the ids are of this policy's own making. With `denies` false its defaults deny in shadow only. Raises
        `PolicyError` for a region word that means nothing, a region that contains itself, or globs of SKUs that would
        take too many states.
        """
        self.policy = policy
        self.label = policy.label
        self._catalogue, self._codes = catalogue, codes or (None,)
        self.names = RegionNames(policy.regions, catalogue)
        if (complaint := next(wrong_words(policy, self.names), None)) is not None:
            raise PolicyError(self.label, complaint.text, where=complaint.where)
        self.rules = tuple(CompiledRule.of(rule, self.names) for rule in policy.rules)
        self.timeline = Timeline(self.rules, policy.defaults, self.names, self._codes, self.label, denies=denies)
        self._messages = {
            reason: {language.lower(): text for language, text in texts.items()} for reason, texts in policy.messages.items()
        }
        self._default_language = policy.header.default_language.lower()

    def decide(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> Verdict:
        """Answer what the policy says of a phone at an instant (with a zone)."""
        return self.worded(self.timeline.verdict(resolution, facts, at), facts.lang)

    def traces(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> tuple[RuleTrace, ...]:
        """Answer why each rule matches or not, also of those that rest and those behind the decisive one."""
        return tuple(one.traced(resolution, facts, at) for one in self.rules)

    def outcome(self, verdict: Verdict, resolution: Resolution) -> str:
        """Answer in a sentence how a verdict came about."""
        limit = self.policy.defaults.min_confidence_to_deny
        if verdict.rule is None and resolution.region is None:
            said = f"Nothing says where the phone is: the policy's on_unknown is {verdict.effect}."
        else:
            who = "No rule matches, and the policy's default" if verdict.rule is None else f"The rule {verdict.rule}"
            said = (
                f"{who} says deny, but the confidence {resolution.confidence:.2f} is below {limit:.2f}: {verdict.effect}."
                if verdict.reason == LOW_CONFIDENCE and verdict.effect is Effect.REVIEW
                else f"{who} says {verdict.effect}."
            )
        if verdict.shadow_effect is None:
            return said
        who = "no rule" if verdict.shadow_rule is None else f"the rule {verdict.shadow_rule}"
        return f"{said} Were the shadow rules enforced, {who} would decide: {verdict.shadow_effect}."

    def worded(self, found: tuple[int | None, int, int, int | None, int], lang: str | None) -> Verdict:
        """Put a verdict of the compiled table into words: rule, effect, reason, shadow rule and its effect, in ids."""
        position, effect, reason_id, shadow, shadow_effect = found
        rule = None if position is None else self.policy.rules[position]
        reason = self.timeline.reasons[reason_id]
        return Verdict(
            effect=_EFFECTS[effect],
            rule=None if rule is None else rule.id,
            reason=reason,
            retry_after=None if rule is None or rule.retry_after is None else int(rule.retry_after.total_seconds()),
            message=self.message(reason, lang),
            shadow_effect=None if shadow_effect == effect else _EFFECTS[shadow_effect],
            shadow_rule=None if shadow is None else self.policy.rules[shadow].id,
        )

    def message(self, reason: str | None, lang: str | None) -> str | None:
        """Answer the text for a reason: in `lang`, in what is left of it (`es-MX`, `es`), else in the default language."""
        texts = self._messages.get(reason) if reason else None
        if texts is None:
            return None
        return _in_language(texts, lang) or texts.get(self._default_language)

    @cached_property
    def standing_back(self) -> CompiledPolicy:
        """Answer the policy with every denial in shadow, of rules and of defaults: it denies nobody, and says whom it would.

        Ids of rules and reasons are the same: `worded` of either puts a verdict of the other into words.
        """
        rules = tuple(
            rule.model_copy(update={"mode": Mode.SHADOW}) if rule.effect is Effect.DENY and rule.mode is Mode.ENFORCE else rule
            for rule in self.policy.rules
        )
        return CompiledPolicy(self.policy.model_copy(update={"rules": rules}), self._catalogue, self._codes, denies=False)

    @cached_property
    def subdivisions(self) -> frozenset[str]:
        """Answer every subdivision in which a rule places a phone: what a loaded database should be able to see."""
        whens = [rule.when for rule in self.policy.rules if rule.mode is not Mode.OFF]
        return self.names.expand(word for when in whens for word in (*(when.region or ()), *(when.region_not or ()))).subdivisions

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
