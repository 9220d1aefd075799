"""A policy as `_fastpath.policy_table` reads it: rows of rules for every value of every field, and a table for each time.

In go the rules, worked out, and the codes of the regions by their ids; out comes `Timeline`, whose `at` answers the
`PolicyTable` of an instant. Sets of rules are integers here, bit n being the n-th rule that is not off.

- Each condition is asked once for every value that rules can tell apart: every region, every confidence in hundredths,
  every set of conflicts, every listed device. Of instants of activation there is one value for each interval between two
  dates that a rule names; of SKUs, the states of the automata over all globs.
- Windows, stages and exemptions change something at finitely many instants. Between two of them one table holds; tables
  are made when they are first asked for, and the latest are kept.
"""

from __future__ import annotations

import copy
import datetime as dt
from bisect import bisect_right
from functools import reduce
from itertools import product
from operator import or_
from typing import TYPE_CHECKING, Final, Self, TypeVar

from _fastpath.fusion import CONFLICT_BITS, STATUS_IDS
from _fastpath.policy_table import ATTRIBUTE_IDS, EFFECT_IDS, FOREVER, MATCHERS_MAX, PolicyRows, PolicyTable
from regionresolver.errors import PolicyError
from regionresolver.model import Conflict, Effect, Notice, Signal, SignalStatus
from regionresolver.policy import conditions as asked
from regionresolver.policy.conditions import HUNDRED, hundredths
from regionresolver.policy.globs import Automaton, TooManyStatesError, automata
from regionresolver.policy.model import Mode
from regionresolver.policy.rules import BUCKETS, CompiledRule, as_utf8

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from regionresolver.model import PingFacts, Resolution
    from regionresolver.policy.conditions import Condition, Field
    from regionresolver.policy.model import Defaults
    from regionresolver.policy.regions import RegionNames

T = TypeVar("T")

NO_EVIDENCE: Final = "NO_EVIDENCE"
LOW_CONFIDENCE: Final = "LOW_CONFIDENCE"
LATEST_TABLES: Final = 64
BEGINNING: Final = -FOREVER - 1
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_STATUSES_WITH_ROOM: Final = 8
# The order in which the compiled path packs the three statuses.
_SIGNALS: Final = (Signal.IP, Signal.SERVING_PLMN, Signal.HOME_PLMN)


class Timeline:
    """The tables of a policy, by instant. Nothing but what it keeps of them ever changes: threads may share it.

    `rows` are what all tables have in common, `reasons` the texts of the verdicts' reason ids (0 is none), `instants`
    those at which the calendar changes something, in order.
    """

    def __init__(
        self,
        rules: Sequence[CompiledRule],
        defaults: Defaults,
        names: RegionNames,
        codes: Sequence[str | None],
        label: str,
        *,
        denies: bool = True,
    ) -> None:
        """Compile the rules; `codes` are region codes by id, beginning with `None`.

        With `denies` false a default that denies allows instead, and denies in shadow. Raises PolicyError, with `label` as
        its file, where the globs of SKUs are too many.
        """
        self._awake = [(position, rule) for position, rule in enumerate(rules) if rule.rule.mode is not Mode.OFF]
        self._names = names
        self._places = _place_ids(codes, names)
        self.reasons = _reasons(rule for _, rule in self._awake)
        self.rows = _rows(self._awake, _enforced(defaults, denies=denies), defaults, names, self._places, self.reasons, label)
        self.instants = sorted({instant for _, rule in self._awake for instant in rule.instants()})
        self._tables: dict[int, PolicyTable] = {}
        self._notices: tuple[Notice, ...] = ()

    def saying(self, *notices: Notice) -> Self:
        """Answer the same timeline whose every answer carries these notices."""
        twin = copy.copy(self)
        twin.__dict__.update(_tables={}, _notices=notices)
        return twin

    def at(self, at: dt.datetime) -> PolicyTable:
        """Answer the table that holds at an instant."""
        number = bisect_right(self.instants, at)
        table = self._tables.get(number)
        if table is None:
            table = self._table(number)
            for oldest in list(self._tables)[: 1 - LATEST_TABLES]:
                self._tables.pop(oldest, None)
            self._tables[number] = table
        return table

    def verdict(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> tuple[int | None, int, int, int | None, int]:
        """Ask the table of an instant: position of the rule, effect id, reason id, position of the shadow rule, its effect.

        This is `PolicyTable.decide` for a resolution in words; the compiled path has the ids already.
        """
        ip, serving, home = (STATUS_IDS[asked.STATUS[signal].read(resolution, facts) or "absent"] for signal in _SIGNALS)
        return self.at(at).verdict(
            self._place(asked.REGION.read(resolution, facts)),
            sum(CONFLICT_BITS[conflict] for conflict in set(resolution.conflicts)),
            hundredths(resolution.confidence),
            self._place(asked.HOME_REGION.read(resolution, facts)),
            ip,
            serving,
            home,
            None if facts.sku is None else as_utf8(facts.sku),
            None if facts.sold_in is None else as_utf8(facts.sold_in),
            None if facts.device_id is None else as_utf8(facts.device_id),
            None if facts.first_activated_at is None else microseconds(facts.first_activated_at),
        )

    def _place(self, region: str | None) -> int:
        """Answer the id of a region, 0 for none; one that no code and no name means is the last, which lies nowhere."""
        if region is not None and region not in self._places:
            region = self._names.place(region)[0]
        return self._places.get(region, len(self._places))

    def _table(self, number: int) -> PolicyTable:
        """Make the table of the interval that begins with the instant before `number`; the first has no beginning."""
        since = self.instants[number - 1] if number else dt.datetime.min.replace(tzinfo=dt.UTC)
        limits = [rule.limit(since) for _, rule in self._awake]
        return PolicyTable(
            self.rows,
            _set(limit > 0 for limit in limits),
            [limit or BUCKETS for limit in limits],
            microseconds(since) if number else BEGINNING,
            microseconds(self.instants[number]) if number < len(self.instants) else FOREVER,
            self._notices,
        )


def microseconds(instant: dt.datetime) -> int:
    """Answer an instant as microseconds since 1970-01-01T00:00Z, exactly."""
    return (instant - _EPOCH) // _MICROSECOND


def from_microseconds(at_us: int) -> dt.datetime:
    """Answer an instant, in UTC, from microseconds since 1970-01-01T00:00Z."""
    return _EPOCH + at_us * _MICROSECOND


def _place_ids(codes: Sequence[str | None], names: RegionNames) -> dict[str | None, int]:
    """Number all places: the codes as they are, then the names that only this policy knows."""
    ids = {code: number for number, code in enumerate(codes)}
    for region, _, _ in names.spellings.values():
        ids.setdefault(region, len(ids))
    return ids


def _reasons(rules: Iterable[CompiledRule]) -> tuple[str | None, ...]:
    """Number the reasons that a verdict may give, beginning with none."""
    return tuple(dict.fromkeys((None, NO_EVIDENCE, LOW_CONFIDENCE, *(rule.rule.reason for rule in rules))))


def _enforced(defaults: Defaults, *, denies: bool) -> Defaults:
    """Answer the defaults as they are enforced."""
    denials = {} if denies else {key: Effect.ALLOW for key in ("effect", "on_unknown") if getattr(defaults, key) is Effect.DENY}
    return defaults.model_copy(update=denials)


def _rows(
    awake: Sequence[tuple[int, CompiledRule]],
    defaults: Defaults,
    in_shadow: Defaults,
    names: RegionNames,
    places: Mapping[str | None, int],
    reasons: Sequence[str | None],
    label: str,
) -> PolicyRows:
    """Ask every rule for every value."""
    rules = [rule for _, rule in awake]
    salts = list(dict.fromkeys(rule.ramp.salt for rule in rules if rule.ramp is not None))
    cuts = _cuts(rules)
    devices = _devices(rules)
    # Behind the known places comes the one that is given and nowhere.
    words = [*places, ""]
    attributes = {
        "region": _sets(rules, asked.REGION, words),
        "home_region": _sets(rules, asked.HOME_REGION, words),
        "sold_in": _sets(rules, asked.SOLD_IN, words),
        "conflicts": _sets(rules, asked.CONFLICTS, _every_set_of_conflicts()),
        "confidence": _sets(rules, asked.CONFIDENCE, [*range(HUNDRED + 1), None]),
        "statuses": _status_sets(rules),
        "activation": _sets(rules, asked.ACTIVATION, [None, *_between(cuts)]) if cuts else [],
        "device": _sets(rules, asked.DEVICE, [None, "", *devices]),
    }
    return PolicyRows(
        [
            (
                position,
                EFFECT_IDS[rule.rule.effect],
                rule.rule.mode is Mode.SHADOW,
                reasons.index(rule.rule.reason),
                salts.index(rule.ramp.salt) + 1 if rule.ramp is not None else 0,
            )
            for position, rule in awake
        ],
        [as_utf8(salt) for salt in salts],
        (
            EFFECT_IDS[defaults.effect],
            EFFECT_IDS[defaults.on_unknown],
            EFFECT_IDS[in_shadow.effect],
            EFFECT_IDS[in_shadow.on_unknown],
            hundredths(defaults.min_confidence_to_deny),
            reasons.index(NO_EVIDENCE),
            reasons.index(LOW_CONFIDENCE),
        ),
        [attributes[name] for name in ATTRIBUTE_IDS],
        len(words),
        [microseconds(cut) for cut in cuts],
        {as_utf8(word): places[place] for word, (place, _, _) in names.spellings.items()},
        {as_utf8(device): value for value, device in enumerate(devices, 2)},
        [_matcher(automaton, rules) for automaton in _automata(rules, label)],
    )


def _sets(rules: Sequence[CompiledRule], field: Field[T], values: Sequence[T | None]) -> list[int]:
    """Answer, for each value of a field (`None`: the ping does not say), the set of the rules that are content with it.

    Empty where no rule asks.
    """
    asking = {number: found for number, rule in enumerate(rules) if (found := _on(rule, field))}
    if not asking:
        return []
    sets = [_set(number not in asking for number in range(len(rules)))] * len(values)
    for number, found in asking.items():
        content = [(place, value) for place, value in enumerate(values) if value is not None]
        for condition in found:
            content = [(place, value) for place, value in content if condition.holds(value)]
        for place, _ in content:
            sets[place] |= 1 << number
    return sets


def _on(rule: CompiledRule, field: Field[T]) -> list[Condition[T]]:
    """Answer the conditions of a rule on a field."""
    return [condition for condition in rule.conditions if condition.is_on(field)]


def _set(flags: Iterable[bool]) -> int:
    """Answer the set of the rules that are flagged."""
    return sum(1 << number for number, flag in enumerate(flags) if flag)


def _cuts(rules: Iterable[CompiledRule]) -> list[dt.datetime]:
    """Answer the instants of activation that rules tell apart, in order."""
    whens = [rule.rule.when for rule in rules]
    named = {when.first_activated_before for when in whens} | {when.first_activated_after for when in whens}
    return sorted(instant for instant in named if instant is not None)


def _between(cuts: Sequence[dt.datetime]) -> list[dt.datetime]:
    """Answer one instant before the first cut, and then one from each cut on before the next: the cut itself."""
    earliest = dt.datetime.min.replace(tzinfo=dt.UTC)
    return [cuts[0] - _MICROSECOND if cuts[0] > earliest else earliest, *cuts]


def _devices(rules: Iterable[CompiledRule]) -> list[str]:
    """Answer every listed device."""
    lists = [rule.rule.when.device_id.ids for rule in rules if rule.rule.when.device_id is not None]
    return list(dict.fromkeys(device for ids in lists for device in ids))


def _every_set_of_conflicts() -> list[frozenset[Conflict]]:
    """Answer the set of conflicts of each mask that the compiled path may hold."""
    bits = [(CONFLICT_BITS[conflict], conflict) for conflict in Conflict]
    return [frozenset(conflict for bit, conflict in bits if mask & bit) for mask in range(1 << len(bits))]


def _status_sets(rules: Sequence[CompiledRule]) -> list[int]:
    """Answer the set of the rules for each packed triple of statuses."""
    by_number = {number: SignalStatus(name) for name, number in STATUS_IDS.items() if name != "absent"}
    values = [by_number.get(number) for number in range(_STATUSES_WITH_ROOM)]
    everyone = [(1 << len(rules)) - 1] * len(values)
    signals = [_sets(rules, asked.STATUS[signal], values) for signal in _SIGNALS]
    if not any(signals):
        return []
    return [ip & serving & home for ip, serving, home in product(*(sets or everyone for sets in signals))]


def _automata(rules: Sequence[CompiledRule], label: str) -> list[Automaton]:
    """Make automata of all globs. Raises PolicyError for one condition that is too much, or for too many."""
    whens = [(rule.rule.id, globs) for rule in rules for globs in (rule.rule.when.sku, rule.rule.when.sku_not) if globs]
    remedy = "write fewer * and ? in front of what must match"
    try:
        found = automata(list(dict.fromkeys(globs for _, globs in whens)))
    except TooManyStatesError as error:
        rule = next(rule for rule, globs in whens if globs == error.globs)
        raise PolicyError(
            label, f"the globs of the SKUs are too intricate: {error}", where=f"rule '{rule}'", remedy=remedy
        ) from error
    if len(found) > MATCHERS_MAX:
        raise PolicyError(label, f"the globs of all SKUs together are too intricate: {len(found)} automata", remedy=remedy)
    return found


def _matcher(
    automaton: Automaton, rules: Sequence[CompiledRule]
) -> tuple[Sequence[int], Sequence[int], Sequence[int], int, int, Sequence[int], Sequence[int], int]:
    """Answer an automaton with the set of the rules that are content with a SKU that ends in each of its states."""
    numbers = {globs: number for number, globs in enumerate(automaton.conditions)}
    wanting, refusing = [0] * len(numbers), [0] * len(numbers)
    for number, rule in enumerate(rules):
        for globs, sets in ((rule.rule.when.sku, wanting), (rule.rule.when.sku_not, refusing)):
            if globs in numbers:
                sets[numbers[globs]] |= 1 << number
    everyone, all_wanting, all_refusing = (1 << len(rules)) - 1, reduce(or_, wanting), reduce(or_, refusing)
    by_satisfied = {
        satisfied: (everyone & ~all_wanting | reduce(or_, (wanting[number] for number in satisfied), 0))
        & ~reduce(or_, (refusing[number] for number in satisfied), 0)
        for satisfied in set(automaton.satisfied)
    }
    return (
        automaton.ascii,
        automaton.bounds,
        automaton.symbols,
        automaton.symbol_count,
        automaton.first_final,
        automaton.steps,
        [by_satisfied[satisfied] for satisfied in automaton.satisfied],
        everyone & ~all_wanting & ~all_refusing,
    )
