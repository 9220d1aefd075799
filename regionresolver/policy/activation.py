"""What keeps a candidate from becoming the active policy: each objection with its remedy, and whether --force passes it.

In go the candidate, what is active, what lint found, and the counts of a replay; out come the objections in order. An
operator may force what is a matter of judgement, and gives a reason: the guardrails, and a salt that changes mid-ramp. What
could not be served (an error of the lint, a failed test) or would make two policies of one label cannot be forced.

A guardrail is the stricter of the candidate's and the active policy's, so that a candidate cannot loosen its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regionresolver.model import Effect
from regionresolver.policy.impact import Impact
from regionresolver.policy.lint import Severity
from regionresolver.policy.model import Guardrails, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from regionresolver.policy.generations import Activation
    from regionresolver.policy.lint import Finding
    from regionresolver.policy.model import Policy

# Codes of lint that say that devices would be shuffled, which an operator may mean.
_FORCEABLE: Final = frozenset({"salt-changed"})


@dataclass(frozen=True, slots=True)
class Objection:
    """One reason not to activate: a stable name, a sentence, what to do, and whether --force may pass over it."""

    code: str
    text: str
    remedy: str
    may_force: bool

    def __str__(self) -> str:
        """Write the objection as one line."""
        return f"{self.text} ({self.remedy}) [{self.code}]"


def objections(
    candidate: Policy,
    active: Policy | None,
    chain: Sequence[Activation],
    findings: Sequence[Finding],
    impact: Impact | None,
) -> list[Objection]:
    """Answer every objection to a candidate.

    `chain` is what has been active before, the latest first; `impact` compares the candidate with the active policy, or
    with none at all where nothing is active.
    """
    return [*_of_lint(findings), *_of_labels(candidate, chain), *_of_guardrails(candidate, active, impact)]


def can_deny(policy: Policy) -> bool:
    """Say whether a policy may deny anybody at any instant."""
    rules = any(rule.effect is Effect.DENY and rule.mode is Mode.ENFORCE for rule in policy.rules)
    return rules or Effect.DENY in (policy.defaults.effect, policy.defaults.on_unknown)


def _of_lint(findings: Sequence[Finding]) -> Iterator[Objection]:
    for finding in findings:
        if finding.severity is Severity.ERROR:
            may_force = finding.code in _FORCEABLE
            remedy = "or pass over it: --force --reason TEXT" if may_force else "mend the policy"
            yield Objection(finding.code, f"{finding.where}: {finding.text}", remedy, may_force)


def _of_labels(candidate: Policy, chain: Sequence[Activation]) -> Iterator[Objection]:
    """A version that has been active already, though it is not now: a decision's label must mean one policy for ever.

    That the version is above the active one is for lint to say.
    """
    used = [found.version for found in chain if found.name == candidate.header.name]
    if used and chain[0].name == candidate.header.name and chain[0].version >= candidate.header.version:
        return
    if used and max(used) >= candidate.header.version:
        text = f"policy.version: the version must be above {max(used)}, which has been active"
        yield Objection("version-used", text, f"give it version {max(used) + 1} or more", may_force=False)


def _of_guardrails(candidate: Policy, active: Policy | None, impact: Impact | None) -> Iterator[Objection]:
    """Too few pings replayed, or too many of them denied that were not before; no replay at all is one of no pings."""
    both = [policy.guardrails for policy in (candidate, active) if policy is not None]
    strictest = Guardrails(
        max_newly_denied_share=min(one.max_newly_denied_share for one in both),
        min_replay_sample=max(one.min_replay_sample for one in both) if can_deny(candidate) else 0,
    )
    remedy = "replay recorded pings with --pings LOG, begin in shadow or with a small rollout, or --force --reason TEXT"
    for text in (impact or Impact()).objections(strictest):
        yield Objection("guardrail", f"guardrails: {text}", remedy, may_force=True)
