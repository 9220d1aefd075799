"""What changes between two policies, for which regions, SKUs and times: in words, without a single ping.

In go two checked policies and the catalogue; out comes a `Difference`. How it is found:

1. Regions that no rule of either policy tells apart are one cell, and within it SKU classes likewise. A cell is cut
   further at every instant at which the calendar changes one of its rules.
2. In a cell what is left of a policy is a *course*: the rules that can match there, in order, each with the conditions that
   neither region nor SKU answered, up to the first that always decides; then the default.
3. Cells whose two courses say the same are left out, the others are joined again where they say the same.

Courses are compared as written: two that decide alike and say it in another order are reported. What is not reported
decides alike, for every ping.
"""

from __future__ import annotations

import datetime as dt
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from regionresolver.model import Effect
from regionresolver.policy import conditions as asked
from regionresolver.policy.describe import asks, said, share
from regionresolver.policy.evaluate import CompiledPolicy
from regionresolver.policy.model import Mode
from regionresolver.policy.regions import RegionNames
from regionresolver.policy.rules import BUCKETS
from regionresolver.policy.skus import SkuClasses

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Set

    from regionresolver.policy.describe import Ask
    from regionresolver.policy.model import Policy, When
    from regionresolver.policy.rules import CompiledRule
    from regionresolver.policy.skus import SkuClass
    from regionresolver.sources.catalogue import Catalogue

K = TypeVar("K", bound="Hashable")
T = TypeVar("T")

UNKNOWN: Final = "unknown region"
_NAMED_NOTES: Final = 5
_ANSWERED: Final = ("region", "region_not", "sku", "sku_not")


class Step(NamedTuple):
    """One rule of a course, or the default: what it means (steps that mean the same are equal), and words for it."""

    meaning: Hashable
    words: str


Course = tuple[Step, ...]


class Stretch(NamedTuple):
    """A half-open interval (None: open) and the courses of both policies in it."""

    since: dt.datetime | None
    until: dt.datetime | None
    before: Course
    after: Course

    @property
    def differs(self) -> bool:
        """Tell whether the two courses mean different things."""
        return [step.meaning for step in self.before] != [step.meaning for step in self.after]


@dataclass(frozen=True, slots=True)
class Changed:
    """One change: where, for which SKU classes, in which half-open interval (None: open), and the courses in words."""

    regions: tuple[str, ...]
    sku_classes: tuple[str, ...]
    since: dt.datetime | None
    until: dt.datetime | None
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """All that two policies do not have in common but name and version.

    `regions` are all that were compared; `notes` are of what decides nothing: texts, guardrails, names.
    """

    regions: tuple[str, ...]
    changes: tuple[Changed, ...]
    notes: tuple[str, ...]

    def __bool__(self) -> bool:
        """Tell whether there is any difference."""
        return bool(self.changes or self.notes)


def diff(before: Policy, after: Policy, catalogue: Catalogue) -> Difference:
    """Compare two policies. Raises PolicyError where one can't be compiled, or its SKUs compared."""
    compare = _Comparison(before, after, catalogue)
    # A resolution says the name of a region only where the evidence can't tell its members apart.
    names = (name for name, row in catalogue.regions.items() if len(row.members) > 1)
    places = [*catalogue.countries, *catalogue.subdivisions, *names, None]
    regions: dict[tuple[tuple[str, ...], Stretch], list[str]] = {}
    for (is_known, cell), members in _grouped(places, lambda place: (place is not None, compare.cell(place))).items():
        for sku_classes, stretch in compare.stretches(cell, is_known=is_known):
            regions.setdefault((sku_classes, stretch), []).extend(place or UNKNOWN for place in members)
    changes = [
        Changed(tuple(sorted(found)), sku_classes, stretch.since, stretch.until, _words(stretch.before), _words(stretch.after))
        for (sku_classes, stretch), found in regions.items()
    ]
    changes.sort(key=lambda one: (one.since or _EARLIEST, one.regions, one.sku_classes))
    return Difference(tuple(place or UNKNOWN for place in places), tuple(changes), tuple(_notes(before, after)))


_EARLIEST: Final = dt.datetime.min.replace(tzinfo=dt.UTC)
Cell = tuple[tuple[int, ...], ...]
"""For each of the two policies the rules that can match, by position."""


class _Side:
    """One of the two policies, asked about cells."""

    def __init__(self, policy: Policy, catalogue: Catalogue, spelt_out: Set[str], *, is_threshold_told: bool) -> None:
        compiled = CompiledPolicy(policy, catalogue)
        self._rules = [rule for rule in compiled.rules if rule.rule.mode is not Mode.OFF]
        self._asks = [
            [ask for ask in asks(rule.rule, compiled.names, spelt_out) if ask.key not in _ANSWERED] for rule in self._rules
        ]
        self._defaults = policy.defaults
        self._is_threshold_told = is_threshold_told

    def in_place(self, place: str | None) -> tuple[int, ...]:
        """Answer the rules that a region leaves; without a region, none that asks for it or for its confidence."""
        return tuple(
            number
            for number, rule in enumerate(self._rules)
            if all(
                place is not None and (one.is_on(asked.CONFIDENCE) or one.holds(place))
                for one in rule.conditions
                if one.is_on(asked.REGION) or one.is_on(asked.CONFIDENCE)
            )
        )

    def in_class(self, rules: tuple[int, ...], sku_class: SkuClass) -> tuple[int, ...]:
        """Answer those of the rules that a SKU class leaves."""
        return tuple(number for number in rules if _lets_pass(self._rules[number].rule.when, sku_class))

    def instants(self, rules: tuple[int, ...]) -> set[dt.datetime]:
        """Answer every instant at which the calendar changes one of the rules."""
        return {instant for number in rules for instant in self._rules[number].instants()}

    def course(self, rules: tuple[int, ...], at: dt.datetime, *, is_known: bool) -> Course:
        """Answer what is left of the policy for a cell at an instant."""
        steps = []
        for number in rules:
            rule, left = self._rules[number], self._asks[number]
            limit = rule.limit(at)
            if limit == 0:
                continue
            steps.append(self._step(rule, left, limit))
            if not left and limit >= BUCKETS and rule.rule.mode is Mode.ENFORCE:
                return tuple(steps)
        effect = self._defaults.effect if is_known else self._defaults.on_unknown
        # A denial for want of evidence is not asked how sure it is.
        return (
            *steps,
            Step((effect, self._threshold(effect) if is_known else None), self._said(effect, str(effect), is_told=is_known)),
        )

    def _step(self, rule: CompiledRule, left: Sequence[Ask], limit: int) -> Step:
        """Write one rule as a step."""
        written = rule.rule
        ramp = (rule.ramp.salt, limit) if rule.ramp is not None and limit < BUCKETS else None
        meaning = (
            written.mode, written.effect, written.reason, written.retry_after, ramp,
            frozenset((ask.key, ask.meaning) for ask in left), self._threshold(written.effect),
        )  # fmt: skip
        words = self._said(written.effect, said(written.effect, written.reason, written.retry_after), is_told=True)
        if written.mode is Mode.SHADOW:
            words = f"only counted: {words}"
        if ramp is not None:
            words += f" for {share(limit)} (salt '{ramp[0]}')"
        if left:
            words += f" if {' and '.join(ask.words for ask in left)}"
        return Step(meaning, words)

    def _threshold(self, effect: Effect) -> float | None:
        """Answer how sure an effect must be."""
        return self._defaults.min_confidence_to_deny if effect is Effect.DENY else None

    def _said(self, effect: Effect, words: str, *, is_told: bool) -> str:
        """Add to a denial how sure it must be, where the policies differ in that."""
        threshold = self._threshold(effect)
        if threshold is None or not (self._is_threshold_told and is_told):
            return words
        return f"{words}, if less sure than {threshold:.2f} review,"


class _Comparison:
    """Both policies, asked about cells together."""

    def __init__(self, before: Policy, after: Policy, catalogue: Catalogue) -> None:
        self._classes = SkuClasses([before, after])
        self._every = self._classes.every()
        meanings = [RegionNames(policy.regions, catalogue).expanded() for policy in (before, after)]
        # A name that means two things says nothing in words.
        spelt_out = {
            name for name, codes in (meanings[0] | meanings[1]).items() if any(one.get(name) != codes for one in meanings)
        }
        told = before.defaults.min_confidence_to_deny != after.defaults.min_confidence_to_deny
        self._sides = [_Side(policy, catalogue, spelt_out, is_threshold_told=told) for policy in (before, after)]

    def cell(self, place: str | None) -> Cell:
        """Answer the rules that a region leaves of both policies."""
        return tuple(side.in_place(place) for side in self._sides)

    def stretches(self, cell: Cell, *, is_known: bool) -> Iterator[tuple[tuple[str, ...], Stretch]]:
        """Answer where the courses differ in a cell of regions: SKU classes, and a stretch of time with both courses."""
        every = self._classes.every()
        cells = _grouped(
            every, lambda one: tuple(side.in_class(rules, one) for side, rules in zip(self._sides, cell, strict=True))
        )
        names: dict[Stretch, list[str]] = {}
        for narrower, members in cells.items():
            for stretch in self._over_time(narrower, is_known=is_known):
                names.setdefault(stretch, []).extend(map(self._classes.name, members))
        for stretch, found in names.items():
            yield ("any SKU",) if len(found) == len(self._every) else tuple(found), stretch

    def _over_time(self, cell: Cell, *, is_known: bool) -> Iterator[Stretch]:
        """Answer the stretches of time in which the courses differ, as long as they can be."""
        instants = sorted(set().union(*(side.instants(rules) for side, rules in zip(self._sides, cell, strict=True))))
        latest: Stretch | None = None
        for since, until in itertools.pairwise([None, *instants, None]):
            courses = (
                side.course(rules, since or _EARLIEST, is_known=is_known) for side, rules in zip(self._sides, cell, strict=True)
            )
            stretch = Stretch(since, until, *courses)
            if latest is not None and (latest.before, latest.after) == (stretch.before, stretch.after):
                latest = latest._replace(until=until)
                continue
            if latest is not None and latest.differs:
                yield latest
            latest = stretch
        if latest is not None and latest.differs:
            yield latest


def _lets_pass(when: When, sku_class: SkuClass) -> bool:
    """Say whether a SKU class meets the conditions on the SKU."""
    if sku_class is None:
        return when.sku is None and when.sku_not is None
    return (when.sku is None or when.sku in sku_class) and (when.sku_not is None or when.sku_not not in sku_class)


def _grouped(values: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Gather values by a key, in the order in which they come."""
    groups: dict[K, list[T]] = {}
    for value in values:
        groups.setdefault(key(value), []).append(value)
    return groups


def _words(course: Course) -> tuple[str, ...]:
    return tuple(step.words for step in course)


def _notes(before: Policy, after: Policy) -> Iterator[str]:
    """Answer what differs besides the decisions."""
    for name, one, other in (
        ("rules", {rule.id: rule.review_by for rule in before.rules}, {rule.id: rule.review_by for rule in after.rules}),
        ("messages", _texts(before), _texts(after)),
        ("tests", {test.name: test for test in before.tests}, {test.name: test for test in after.tests}),
    ):
        yield from _named(name, "gone", one.keys() - other.keys())
        yield from _named(name, "new", other.keys() - one.keys())
        yield from _named(
            name, "to be looked at again on another day" if name == "rules" else "changed",
            {key for key in one.keys() & other.keys() if one[key] != other[key]},
        )  # fmt: skip
    if before.header.default_language != after.header.default_language:
        yield f"the default language is '{after.header.default_language}', not '{before.header.default_language}'"
    if before.guardrails != after.guardrails:
        yield "the guardrails differ"
    if before.restores != after.restores:
        yield "the restores differ"


def _named(kind: str, how: str, found: Iterable[str]) -> Iterator[str]:
    """Name the things of one kind to which the same happened; of many only their number."""
    names = sorted(found)
    if names:
        yield f"{kind} {how}: " + (", ".join(names) if len(names) <= _NAMED_NOTES else str(len(names)))


def _texts(policy: Policy) -> dict[str, str]:
    """Answer every message by reason and language."""
    return {f"{reason}.{language}": text for reason, texts in policy.messages.items() for language, text in texts.items()}
