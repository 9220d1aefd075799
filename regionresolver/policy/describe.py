"""A policy in words: what each rule says, what is in force at an instant, and what the calendar changes next.

In go a checked policy, the catalogue and an instant; out comes a `Description`, sentences ready to print. `diff` takes its
words from here too. Nothing here decides: a sentence is made from the same conditions that the compiled table asks.
Device ids are counted, never written.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from regionresolver.policy.model import Mode, Policy, Rule
from regionresolver.policy.regions import RegionNames
from regionresolver.policy.rules import BUCKETS, CompiledRule

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Set

    from regionresolver.model import Effect
    from regionresolver.sources.catalogue import Catalogue

_UNITS: Final = (("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))
_PLACES: Final = {
    "region": "it is in {}",
    "region_not": "it is outside {}",
    "home_region": "its SIM is of {}",
    "home_region_not": "its SIM is of a region outside {}",
    "sold_in": "it was sold in {}",
    "sold_in_not": "it was sold outside {}",
}
_VALUES: Final = {
    "sku": "its SKU matches {}",
    "sku_not": "its SKU is known and matches none of {}",
    "first_activated_before": "it was first activated before {}",
    "first_activated_after": "it was first activated at {} or later",
    "conflict": "the evidence has the conflict {}",
    "confidence_at_least": "the confidence is {} or more",
    "confidence_below": "the confidence is below {}",
}


class Ask(NamedTuple):
    """One condition of a rule: its key, what it means (equal for conditions that are equal), and words for it."""

    key: str
    meaning: Hashable
    words: str


@dataclass(frozen=True, slots=True)
class DescribedRule:
    """One rule: what it does, where, since when and for how many (each a part of a sentence), and how it stands."""

    id: str
    mode: Mode
    sentence: str
    calendar: tuple[str, ...]
    standing: str


@dataclass(frozen=True, slots=True)
class CalendarChange:
    """What the calendar changes at one instant: rule, how it stood, how it stands then."""

    at: dt.datetime
    rule: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Description:
    """A policy in words, as of an instant."""

    label: str
    at: dt.datetime
    rules: tuple[DescribedRule, ...]
    defaults: tuple[str, ...]
    regions: dict[str, list[str]]
    changes: tuple[CalendarChange, ...]
    restores: tuple[str, ...]
    messages: dict[str, list[str]]
    guardrails: tuple[str, ...]
    tests: int


def describe(policy: Policy, catalogue: Catalogue, at: dt.datetime) -> Description:
    """Describe a policy as of an instant (with a zone)."""
    names = RegionNames(policy.regions, catalogue)
    rules = [CompiledRule.of(rule, names) for rule in policy.rules]
    used = {word for rule in policy.rules for _, word in _words(rule)}
    expanded = names.expanded()
    return Description(
        label=policy.label,
        at=at,
        rules=tuple(_described(rule, names, at) for rule in rules),
        defaults=tuple(_defaults(policy)),
        regions={name: expanded[name] for name in [*policy.regions, *sorted(used & expanded.keys() - policy.regions.keys())]},
        changes=tuple(_changes(rules, at)),
        restores=tuple(_restores(policy)),
        messages={reason: sorted(texts) for reason, texts in policy.messages.items()},
        guardrails=tuple(_guardrails(policy)),
        tests=len(policy.tests),
    )


def zulu(instant: dt.datetime) -> str:
    """Write an instant in UTC as RFC 3339 does, with a Z."""
    return instant.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def span(length: dt.timedelta) -> str:
    """Write a length of time in its largest units: `1 day`, `1 hour 30 minutes`."""
    left, parts = int(length.total_seconds()), []
    for unit, seconds in _UNITS:
        count, left = divmod(left, seconds)
        if count:
            parts.append(f"{count} {unit}{'s' if count > 1 else ''}")
    return " ".join(parts)


def listed(words: Iterable[str]) -> str:
    """Join words with commas and an `or`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def asks(rule: Rule, names: RegionNames, spelt_out: Set[str] = frozenset()) -> list[Ask]:
    """Answer the conditions of a rule in words; the regions of the names in `spelt_out` are written as their members."""
    found = []
    for key, words in _region_words(rule):
        held = names.expand(words)
        shown = words if spelt_out.isdisjoint(words) else (*sorted(held.countries), *sorted(held.subdivisions))
        found.append(Ask(key, held, _PLACES[key].format(listed(shown))))
    when = rule.when
    for key, sentence in _VALUES.items():
        value = getattr(when, key)
        if value is not None:
            found.append(Ask(key, value, sentence.format(_value(value))))
    if when.device_id is not None:
        ids, until = when.device_id.ids, when.device_id.until
        until_words = f" until {zulu(until)}" if until else ""
        found.append(Ask("device_id", (frozenset(ids), until), f"it is one of {len(ids)} listed devices{until_words}"))
    if when.signal_status is not None:
        for signal, wanted in when.signal_status.model_dump(exclude_none=True).items():
            found.append(Ask(f"signal_status.{signal}", frozenset(wanted), f"its {signal} is {listed(wanted)}"))
    return found


def said(effect: Effect, reason: str | None, retry_after: dt.timedelta | None) -> str:
    """Write what is answered: `deny (REGION_NOT_PERMITTED, ask again after 1 day)`."""
    details = [reason] if reason else []
    if retry_after is not None:
        details.append(f"ask again after {span(retry_after)}")
    return str(effect) + (f" ({', '.join(details)})" if details else "")


def share(limit: int) -> str:
    """Write which share of the devices lies below a bucket."""
    return "all devices" if limit >= BUCKETS else f"{limit * 100 / BUCKETS:g} % of the devices"


def standing(rule: CompiledRule, at: dt.datetime) -> str:
    """Say how a rule stands at an instant: `in force`, `counts only`, `waits until …`, `ended at …`, `is off`."""
    if rule.rule.mode is Mode.OFF:
        return "is off"
    if rule.opens is not None and at < rule.opens:
        return f"waits until {zulu(rule.opens)}"
    if rule.closes is not None and at >= rule.closes:
        return f"ended at {zulu(rule.closes)}"
    if rule.limit(at) == 0:
        first = rule.ramp.stages[-1][0] if rule.ramp is not None else at
        over = any(one.is_over(at) for one in rule.conditions)
        return "its list of devices has ended" if over else f"waits until {zulu(first)}" if first > at else "for no device"
    what = "in force" if rule.rule.mode is Mode.ENFORCE else "counts only"
    return what if rule.ramp is None else f"{what} for {share(rule.limit(at))}"


def _region_words(rule: Rule) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Answer the region conditions of a rule in the order of reading."""
    for key in _PLACES:
        words = getattr(rule.when, key)
        if words is not None:
            yield key, words


def _words(rule: Rule) -> Iterator[tuple[str, str]]:
    """Answer every region word of a rule with its key."""
    return ((key, word) for key, words in _region_words(rule) for word in words)


def _value(value: object) -> str:
    """Write the value of a condition."""
    if isinstance(value, dt.datetime):
        return zulu(value)
    return listed(map(str, value)) if isinstance(value, tuple) else f"{value:.2f}"


def _described(rule: CompiledRule, names: RegionNames, at: dt.datetime) -> DescribedRule:
    """Put one rule into words."""
    found = [ask.words for ask in asks(rule.rule, names)]
    where = f"where {' and '.join(found)}" if found else "for every ping"
    answer = said(rule.rule.effect, rule.rule.reason, rule.rule.retry_after)
    return DescribedRule(rule.rule.id, rule.rule.mode, f"{answer} {where}", tuple(_calendar(rule)), standing(rule, at))


def _calendar(rule: CompiledRule) -> Iterator[str]:
    """Answer the dates of a rule."""
    if rule.opens is not None or rule.closes is not None:
        parts = [f"from {zulu(rule.opens)}" if rule.opens else "", f"until {zulu(rule.closes)}" if rule.closes else ""]
        yield " ".join(filter(None, parts))
    if rule.ramp is not None:
        stages = (f"{share(limit)} from {zulu(since)}" for since, limit in reversed(rule.ramp.stages))
        yield f"rollout by device_id: {', '.join(stages)}"
    if rule.rule.review_by is not None:
        yield f"to be looked at again by {rule.rule.review_by}"


def _defaults(policy: Policy) -> Iterator[str]:
    """Answer what holds where no rule matches."""
    yield f"{policy.defaults.effect} where no rule matches"
    yield f"{policy.defaults.on_unknown} where nothing tells the region"
    yield f"a denial needs a confidence of {policy.defaults.min_confidence_to_deny:.2f}, else it is a review"


def _changes(rules: list[CompiledRule], at: dt.datetime) -> Iterator[CalendarChange]:
    """Answer what the calendar changes after an instant, in order."""
    for instant in sorted({instant for rule in rules for instant in rule.instants() if instant > at}):
        for rule in rules:
            before, after = standing(rule, instant - dt.timedelta(microseconds=1)), standing(rule, instant)
            if before != after:
                yield CalendarChange(instant, rule.rule.id, before, after)


def _restores(policy: Policy) -> Iterator[str]:
    """Answer which stored denials are to be asked again."""
    for restore in policy.restores:
        versions = listed(map(str, restore.versions))
        yield f"from {zulu(restore.since)}: denials of '{restore.rule}' in version {versions} ({restore.reason})"


def _guardrails(policy: Policy) -> Iterator[str]:
    """Answer what a candidate and the running service must keep to."""
    rails = policy.guardrails
    yield f"at most {rails.max_newly_denied_share:.2%} of at least {rails.min_replay_sample:,} replayed pings newly denied"
    if (breaker := rails.runtime_breaker) is not None:
        sample = f"of at least {breaker.min_sample:,} within {span(breaker.window)}"
        yield f"at {breaker.deny_share:.2%} denials {sample}: {breaker.action}"
