"""What a candidate policy would change for recorded pings: a count, in one pass and bounded memory.

In go two functions that decide (the baseline's and the candidate's) and numbered pings; out comes an `Impact`. Counted is
by what the two said, not by ping: the memory is that of the different outcomes, of which there are at most regions times
rules. Nothing of a ping is kept but the numbers of a few lines, so a report can be shown to anybody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from regionresolver.errors import PingError
from regionresolver.model import Effect

if TYPE_CHECKING:
    from regionresolver.policy.model import Guardrails

KEPT_EXAMPLES: Final = 3
KEPT_FAULTS: Final = 20

P = TypeVar("P")


class Outcome(NamedTuple):
    """What one policy says of a ping; `rule` is None for a default, `shadow_effect` where shadow rules change nothing."""

    region: str | None
    effect: Effect
    rule: str | None
    shadow_effect: Effect | None


Decide = Callable[[P], Outcome]
"""A ping to an outcome; may raise PingError."""


class Kind(NamedTuple):
    """What pings that are decided otherwise have in common: where, which SKUs, and effect and rule before and after."""

    region: str | None
    sku_class: str
    before: Effect
    rule_before: str | None
    after: Effect
    rule_after: str | None


@dataclass(frozen=True, slots=True)
class Group:
    """The pings that have something in common, and how many of them are decided otherwise by the candidate.

    `shadow_denied` are those that it would deny besides, were its shadow rules enforced.
    """

    name: str
    pings: int
    newly_denied: int
    newly_allowed: int
    newly_review: int
    shadow_denied: int

    @property
    def newly_denied_share(self) -> float:
        """Answer the share of the group that is newly denied, 0 of no pings."""
        return self.newly_denied / self.pings if self.pings else 0.0


@dataclass(frozen=True, slots=True)
class Change:
    """Pings of one region and SKU class that two rules decide differently; `lines` are the first of them."""

    kind: Kind
    pings: int
    lines: tuple[int, ...]


@dataclass
class Impact:
    """The counts of a replay. `faults` are the first lines that were no pings, `refused` how many there were."""

    tally: Counter[tuple[Outcome, Outcome, str]] = field(default_factory=Counter)
    refused: int = 0
    faults: list[tuple[int, str]] = field(default_factory=list)
    _changes: Counter[Kind] = field(default_factory=Counter)
    _lines: dict[Kind, list[int]] = field(default_factory=dict)

    def count(self, line: int, before: Outcome, after: Outcome, sku_class: str) -> None:
        """Count one ping."""
        self.tally[before, after, sku_class] += 1
        if before.effect is not after.effect:
            kind = Kind(after.region, sku_class, before.effect, before.rule, after.effect, after.rule)
            self._changes[kind] += 1
            lines = self._lines.setdefault(kind, [])
            if len(lines) < KEPT_EXAMPLES:
                lines.append(line)

    def refuse(self, line: int, reason: str) -> None:
        """Count a line that is no ping; the reason must not hold anything of it."""
        self.refused += 1
        if len(self.faults) < KEPT_FAULTS:
            self.faults.append((line, reason))

    @property
    def pings(self) -> int:
        """Answer how many pings both policies decided."""
        return self.tally.total()

    @property
    def newly_denied(self) -> int:
        """Answer how many pings only the candidate denies."""
        return self._newly(Effect.DENY)

    @property
    def newly_allowed(self) -> int:
        """Answer how many pings only the candidate allows."""
        return self._newly(Effect.ALLOW)

    @property
    def newly_review(self) -> int:
        """Answer how many pings only the candidate sends to review."""
        return self._newly(Effect.REVIEW)

    @property
    def newly_denied_share(self) -> float:
        """Answer the share of all pings that only the candidate denies, 0 of no pings."""
        return self.newly_denied / self.pings if self.pings else 0.0

    @property
    def shadow_denied(self) -> int:
        """Answer how many pings the candidate would deny were its shadow rules enforced, and does not as it is."""
        return sum(pings for (_, after, _), pings in self.tally.items() if after.shadow_effect is Effect.DENY)

    def matrix(self) -> dict[Effect, dict[Effect, int]]:
        """Answer the counts by effect before, then after."""
        counts = {before: dict.fromkeys(Effect, 0) for before in Effect}
        for (before, after, _), pings in self.tally.items():
            counts[before.effect][after.effect] += pings
        return counts

    def by_region(self) -> list[Group]:
        """Answer the pings by region, those with the most newly denied first; "unknown" is a region too."""
        return self._grouped(lambda _before, after, _sku: after.region or "unknown")

    def by_sku_class(self) -> list[Group]:
        """Answer the pings by SKU class."""
        return self._grouped(lambda _before, _after, sku: sku)

    def by_rule(self) -> list[Group]:
        """Answer the pings by the rules that decide them before and after."""
        return self._grouped(lambda before, after, _sku: f"{before.rule or 'no rule'} -> {after.rule or 'no rule'}")

    def changes(self) -> list[Change]:
        """Answer what is decided otherwise, the most pings first."""
        return [Change(kind, pings, tuple(self._lines[kind])) for kind, pings in self._changes.most_common()]

    def objections(self, guardrails: Guardrails) -> list[str]:
        """Say why the candidate must not be activated on this replay; empty where nothing speaks against it."""
        found = []
        if self.pings < guardrails.min_replay_sample:
            found.append(f"{self.pings:,} pings were replayed, min_replay_sample asks for {guardrails.min_replay_sample:,}")
        if self.newly_denied_share > guardrails.max_newly_denied_share:
            found.append(
                f"{self.newly_denied_share:.2%} of the pings are newly denied, "
                f"max_newly_denied_share is {guardrails.max_newly_denied_share:.2%}"
            )
        return found

    def _newly(self, effect: Effect) -> int:
        """Answer how many pings have the effect after and not before."""
        return sum(
            pings for (before, after, _), pings in self.tally.items() if after.effect is effect and before.effect is not effect
        )

    def _grouped(self, name: Callable[[Outcome, Outcome, str], str]) -> list[Group]:
        """Sum the counts of equal names up; the hardest hit first."""
        pings: Counter[str] = Counter()
        newly: Counter[tuple[str, Effect]] = Counter()
        shadow: Counter[str] = Counter()
        for (before, after, sku_class), count in self.tally.items():
            group = name(before, after, sku_class)
            pings[group] += count
            if before.effect is not after.effect:
                newly[group, after.effect] += count
            if after.shadow_effect is Effect.DENY:
                shadow[group] += count
        groups = [
            Group(
                key,
                pings=pings[key],
                newly_denied=newly[key, Effect.DENY],
                newly_allowed=newly[key, Effect.ALLOW],
                newly_review=newly[key, Effect.REVIEW],
                shadow_denied=shadow[key],
            )
            for key in pings
        ]
        return sorted(groups, key=lambda one: (-one.newly_denied, -one.shadow_denied, -one.newly_review, -one.pings, one.name))


def impact(
    baseline: Decide[P],
    candidate: Decide[P],
    pings: Iterable[tuple[int, P]],
    sku_class: Callable[[P], str],
    found: Impact | None = None,
) -> Impact:
    """Ask both policies about every (line, ping) and count; into `found`, where whoever reads the pings refuses lines."""
    found = found or Impact()
    for line, ping in pings:
        try:
            before, after = baseline(ping), candidate(ping)
        except PingError as error:
            found.refuse(line, error.detail)
        else:
            found.count(line, before, after, sku_class(ping))
    return found
