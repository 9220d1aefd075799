"""Asks a resolver about labelled pings and counts what came of it.

An answer is

- `right`: it names the region where the phone is, or a named region that holds it (`crimea` for UA-43);
- `coarse`: it names only the country, while the phone is in a subdivision of it that has a code of its own;
- `wrong`: it names another region;
- `unanswered`: it names none;
- `unjudged`: the label names a country, the answer a subdivision of it that the label does not speak of.

Of a *decision* the effect is compared with what the same policy says of the same ping once the region is known for
certain: that, not the region, is what a phone's owner feels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from regionresolver.errors import FileError, PingError
from regionresolver.model import Effect, PingFacts
from regionresolver.policy import CompiledPolicy
from regionresolver.resolver.documents import ping_arguments
from regionresolver.resolver.pings import Fields

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    from benchmarks.accuracy.labelled import Label, LabelledPing
    from regionresolver import Resolver
    from regionresolver.model import Resolution
    from regionresolver.resolver import Decision
    from regionresolver.sources.catalogue import Catalogue

MAX_SCENARIOS = 1_000
MAX_REASONS = 32
"""Reasons that are told apart in a scenario; others are counted together."""

ELSEWHERE = "elsewhere"
OTHER_SUBDIVISION = "other subdivision"
NO_REGION = "none"


class Outcome(StrEnum):
    """What an answer is worth, by the label."""

    RIGHT = "right"
    COARSE = "coarse"
    WRONG = "wrong"
    UNANSWERED = "unanswered"
    UNJUDGED = "unjudged"


JUDGED = (Outcome.RIGHT, Outcome.COARSE, Outcome.WRONG)
"""The outcomes that a confidence is measured on."""


class Answer(NamedTuple):
    """What answers are counted by; `confidence` in hundredths."""

    scenario: str
    row: str
    basis: str
    confidence: int
    outcome: Outcome


class Decided(NamedTuple):
    """What decisions are counted by: the effect with the region known, and the one that was given."""

    scenario: str
    row: str
    expected: Effect
    given: Effect


class Membership(NamedTuple):
    """What regions of the policy are counted by: was the phone in it, did the answer say so."""

    scenario: str
    word: str
    is_in: bool
    is_said: bool


class Fault(NamedTuple):
    """What answers that are not right are counted by."""

    row: str
    reason: str
    outcome: Outcome


@dataclass
class Scores:
    """The counts of one resolver."""

    answers: Counter[Answer] = field(default_factory=Counter)
    decisions: Counter[Decided] = field(default_factory=Counter)
    regions: Counter[Membership] = field(default_factory=Counter)
    confusion: Counter[tuple[str, str, Outcome]] = field(default_factory=Counter)
    silent: Counter[str] = field(default_factory=Counter)
    """Wrong or coarse answers without a single conflict, by scenario."""
    faults: dict[str, Counter[Fault]] = field(default_factory=dict)
    first_lines: dict[tuple[str, Fault], int] = field(default_factory=dict)


class Judge:
    """Knows the regions and the policy: what is right, and what ought to have been decided."""

    def __init__(self, policy: CompiledPolicy, catalogue: Catalogue, at: dt.datetime) -> None:
        """Work out the regions that the policy names."""
        self._policy = policy
        self._catalogue = catalogue
        self._at = at
        self._codes = {name: frozenset(row.members) for name, row in catalogue.regions.items()}
        self._watched = {country for row in catalogue.subdivisions.values() for country in row.countries}
        self.words = tuple(_named_words(policy))
        self._sets = {word: policy.names.expand([word]) for word in self.words}
        # There are as many regions as codes and names of them, however many pings.
        self.members = cache(self._members)
        self.group = cache(self._group)

    def codes(self, region: str) -> frozenset[str]:
        """Return the codes of a region: a named region's members, else its own."""
        return self._codes.get(region) or frozenset((region,))

    def outcome(self, label: Label, region: str | None) -> Outcome:
        """Judge an answered region by a label."""
        if region is None:
            return Outcome.UNANSWERED
        truth, said = self.codes(label.region), self.codes(region)
        if truth & said:
            return Outcome.RIGHT
        rows = self._catalogue.subdivisions
        if any(code in rows and region in rows[code].countries for code in truth):
            return Outcome.COARSE
        if all(code in rows and label.region in rows[code].countries for code in said):
            return Outcome.WRONG if any(self.codes(word) & said for word in label.outside) else Outcome.UNJUDGED
        return Outcome.WRONG

    def expected(self, label: Label, resolution: Resolution, facts: PingFacts) -> Effect:
        """Return what the policy says of the ping with its region known for certain."""
        region = label.region
        known = replace(
            resolution,
            region=region,
            country=self._catalogue.country_of(region),
            subdivision=region if region in self._catalogue.subdivisions else None,
            confidence=1.0,
            conflicts=(),
        )
        return self._policy.decide(known, facts, self._at).effect

    def _members(self, region: str | None) -> frozenset[str]:
        """Return the regions that the policy names and that hold this one."""
        if region is None:
            return frozenset()
        place = self._policy.names.place(region)
        return frozenset(word for word, held in self._sets.items() if held.has(*place))

    def _group(self, region: str | None) -> str:
        """Return the row or column of the confusion table: what the policy names, countries near to it, all others."""
        if region is None:
            return NO_REGION
        named = self.members(region)
        if named:
            return next(word for word in self.words if word in named)
        if region in self._watched:
            return region
        return OTHER_SUBDIVISION if region in self._catalogue.subdivisions else ELSEWHERE

    @property
    def groups(self) -> tuple[str, ...]:
        """Every row of the confusion table, in order."""
        return (*self.words, *sorted(self._watched.difference(self.words)), OTHER_SUBDIVISION, ELSEWHERE)


def _named_words(policy: CompiledPolicy) -> Iterator[str]:
    """Yield the words that the rules place phones in, the policy's own sets taken apart, each once."""
    declared: Mapping[str, tuple[str, ...]] = policy.policy.regions
    pending = [word for rule in policy.policy.rules for word in rule.when.region or ()]
    seen: set[str] = set()
    while pending:
        word = pending.pop(0)
        if word not in seen:
            seen.add(word)
            pending[:0] = declared.get(word, ())
            if word not in declared:
                yield word


class Run:
    """One resolver under measurement."""

    def __init__(self, name: str, resolver: Resolver, catalogue: Catalogue, at: dt.datetime) -> None:
        """Get ready; `at` is the instant that decisions are made as of."""
        self.name = name
        self.resolver = resolver
        self.at = at
        self.judge = Judge(CompiledPolicy(resolver.policy, catalogue), catalogue, at)
        self.scores = Scores()

    def ask(self, labelled: LabelledPing, file: str) -> None:
        """Decide on a ping and count the answer. Raises FileError for a ping that the service would refuse."""
        try:
            decision = self.resolver.decide(**ping_arguments(labelled.ping), at=self.at)  # type: ignore[arg-type]
        except PingError as error:
            where = (error.pointer or "/")[1:].replace("/", ".")
            raise FileError(
                f"{file}:{labelled.line}", f"would be refused: {error.code}", where=f"ping.{where}".rstrip("."),
                remedy="write it as POST /v1/decisions takes it",
            ) from None  # fmt: skip
        self.count(labelled, decision)

    def count(self, labelled: LabelledPing, decision: Decision) -> None:
        """Count one answer."""
        resolution, label, scenario, scores = decision.resolution, labelled.label, labelled.scenario, self.scores
        outcome = self.judge.outcome(label, resolution.region)
        answer = Answer(scenario, resolution.row, resolution.basis or NO_REGION, round(resolution.confidence * 100), outcome)
        scores.answers[answer] += 1
        scores.confusion[self.judge.group(label.region), self.judge.group(resolution.region), outcome] += 1
        if outcome is Outcome.UNJUDGED:
            return
        expected = self.judge.expected(label, resolution, _facts(labelled.ping))
        scores.decisions[Decided(scenario, resolution.row, expected, decision.verdict.effect)] += 1
        truth, said = self.judge.members(label.region), self.judge.members(resolution.region)
        for word in truth | said:
            scores.regions[Membership(scenario, word, word in truth, word in said)] += 1
        if outcome is not Outcome.RIGHT:
            self._blame(labelled, Fault(resolution.row, labelled.reason, outcome))
            scores.silent[scenario] += outcome is not Outcome.UNANSWERED and not resolution.conflicts

    def _blame(self, labelled: LabelledPing, fault: Fault) -> None:
        faults = self.scores.faults.setdefault(labelled.scenario, Counter())
        if fault not in faults and len(faults) >= MAX_REASONS:
            fault = Fault("", "other reasons", Outcome.WRONG)
        faults[fault] += 1
        self.scores.first_lines.setdefault((labelled.scenario, fault), labelled.line)


def _facts(ping: Mapping[str, object]) -> PingFacts:
    fields = Fields()
    sku, sold_in, device_id, lang = (fields.text(name, ping.get(name)) for name in ("sku", "sold_in", "device_id", "lang"))
    activated = fields.instant("first_activated_at", ping.get("first_activated_at"))
    return PingFacts(sku, sold_in, device_id, activated, lang)
