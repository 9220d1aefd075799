"""The conditions of a rule, one function each: from what `when` says to a test of one field of a ping.

In goes `When` with the region words known to be good; out comes a tuple of `Condition`s, all of which must hold. A
condition on a field that the ping does not have does not hold, whichever way it is turned: `region_not` needs a region.
Comparisons of confidences are made in integer hundredths, where 0.8 is 80 and nothing lies a rounding error below it.

A condition asks one `Field`, and tests its value and nothing else. That is what lets `table` ask it beforehand for every
value that rules can tell apart; `explain=full` asks it for the value of one ping, to say why a rule does not match.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeGuard, TypeVar

from regionresolver.model import Conflict, PingFacts, Resolution, Signal, SignalStatus
from regionresolver.policy.regions import fold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from regionresolver.policy.model import Exemption, SignalStatuses, When
    from regionresolver.policy.regions import RegionNames

T = TypeVar("T")
U = TypeVar("U")
_Turned = tuple[str, tuple[str, ...], bool]

HUNDRED: Final = 100


@dataclass(frozen=True, eq=False)
class Field(Generic[T]):
    """One thing that a policy may ask of a ping. `read` answers `None` where the ping does not say."""

    name: str
    read: Callable[[Resolution, PingFacts], T | None]


@dataclass(frozen=True, slots=True)
class Condition(Generic[T]):
    """One condition: its key in `when`, what it asks for in words, the field, and the test of what the field says.

    From `until` on it never holds. `said` writes a value for a trace; it never writes a text of the ping, which may be
    anything: an IMSI in the field of the SKU, or a device's id.
    """

    key: str
    asked: str
    field: Field[T]
    holds: Callable[[T], bool]
    said: Callable[[T], str]
    until: dt.datetime | None = None

    def met(self, resolution: Resolution, facts: PingFacts, at: dt.datetime) -> bool:
        """Say whether the condition holds for this ping at this instant."""
        value = self.field.read(resolution, facts)
        return value is not None and not self.is_over(at) and self.holds(value)

    def is_over(self, at: dt.datetime) -> bool:
        """Say whether the condition has ended."""
        return self.until is not None and at >= self.until

    def why_not(self, resolution: Resolution, facts: PingFacts) -> str:
        """Say why the condition does not hold for this ping."""
        value = self.field.read(resolution, facts)
        return f"{self.key}: " + ("not known" if value is None else f"{self.said(value)}, asked for {self.asked}")

    def is_on(self, field: Field[U]) -> TypeGuard[Condition[U]]:
        """Say whether the condition asks this field."""
        return self.field is field


def hundredths(confidence: float) -> int:
    """Turn a confidence into integer hundredths."""
    return round(confidence * HUNDRED)


def status_of(signal: Signal, resolution: Resolution) -> SignalStatus | None:
    """Answer what became of a signal, `None` where the ping did not have it."""
    return next((evidence.status for evidence in resolution.evidence if evidence.signal is signal), None)


def _home_region(resolution: Resolution, _facts: PingFacts) -> str | None:
    """Answer the SIM's region: the default candidate of its PLMN, `None` without a SIM that names a region."""
    for evidence in resolution.evidence:
        if evidence.signal is Signal.HOME_PLMN:
            return evidence.candidates[0] if evidence.candidates else None
    return None


def _status_field(signal: Signal) -> Field[SignalStatus]:
    return Field(f"signal_status.{signal.value}", lambda r, _f: status_of(signal, r))


REGION: Final = Field[str]("region", lambda r, _f: r.region)
HOME_REGION: Final = Field[str]("home_region", _home_region)
SOLD_IN: Final = Field[str]("sold_in", lambda _r, f: f.sold_in)
SKU: Final = Field[str]("sku", lambda _r, f: f.sku)
ACTIVATION: Final = Field[dt.datetime]("first_activated_at", lambda _r, f: f.first_activated_at)
# Without a region there is nothing to be sure of.
CONFIDENCE: Final = Field[int]("confidence", lambda r, _f: None if r.region is None else hundredths(r.confidence))
CONFLICTS: Final = Field[frozenset[Conflict]]("conflict", lambda r, _f: frozenset(r.conflicts))
DEVICE: Final = Field[str]("device_id", lambda _r, f: f.device_id)
STATUS: Final = {signal: _status_field(signal) for signal in Signal}


def conditions(when: When, names: RegionNames) -> tuple[Condition[Any], ...]:
    """Answer the conditions of a rule, in the order in which a trace asks them: the telling ones first."""
    return (
        *_on_places(REGION, _both_ways("region", when.region, when.region_not), names),
        *_on_places(SOLD_IN, _both_ways("sold_in", when.sold_in, when.sold_in_not), names),
        *_on_sku(when),
        *_on_activation(when),
        *_on_confidence(when),
        *_on_conflict(when),
        *_on_places(HOME_REGION, _both_ways("home_region", when.home_region, when.home_region_not), names),
        *_on_device(when.device_id),
        *_on_status(when.signal_status),
    )


def _both_ways(key: str, words: tuple[str, ...] | None, words_not: tuple[str, ...] | None) -> Iterator[_Turned]:
    """Answer a condition and its opposite, those that are given: key, words, and whether the ping must be among them."""
    if words is not None:
        yield key, words, True
    if words_not is not None:
        yield f"{key}_not", words_not, False


def _on_places(field: Field[str], turned: Iterable[_Turned], names: RegionNames) -> Iterator[Condition[str]]:
    """Whether a place lies within regions: where the phone is, was meant to be sold, or its SIM comes from."""
    for key, words, wanted in turned:
        held = names.expand(words)

        def holds(word: str, has: Callable[[str | None, str | None, str | None], bool] = held.has, wanted: bool = wanted) -> bool:
            return has(*names.place(word)) is wanted

        yield Condition(key, _listed(words, wanted), field, holds, _place_said(names))


def _place_said(names: RegionNames) -> Callable[[str], str]:
    """Answer what writes a place by its code or its name, and does not repeat a word that is neither."""

    def said(word: str) -> str:
        known = names.spellings.get(fold(word))
        return "no known region" if known is None else known[0]

    return said


def _matches(_sku: str) -> str:
    return "a match"


def _matches_not(_sku: str) -> str:
    return "no match"


def _on_sku(when: When) -> Iterator[Condition[str]]:
    """Which model: shell globs (`*`, `?`, `[...]`) on the whole SKU, upper and lower case told apart."""
    for key, globs, wanted in _both_ways("sku", when.sku, when.sku_not):
        pattern = re.compile("|".join(fnmatch.translate(glob) for glob in globs))

        def holds(sku: str, match: Callable[[str], object] = pattern.match, wanted: bool = wanted) -> bool:
            return (match(sku) is not None) is wanted

        yield Condition(key, _listed(globs, wanted), SKU, holds, _matches_not if wanted else _matches)


def _on_activation(when: When) -> Iterator[Condition[dt.datetime]]:
    """When the phone was first activated; the instant itself counts as after."""
    if (before := when.first_activated_before) is not None:
        asked = f"an instant before {before.isoformat()}"
        yield Condition("first_activated_before", asked, ACTIVATION, lambda instant: instant < before, _instant_said)
    if (after := when.first_activated_after) is not None:
        asked = f"{after.isoformat()} or later"
        yield Condition("first_activated_after", asked, ACTIVATION, lambda instant: instant >= after, _instant_said)


def _instant_said(instant: dt.datetime) -> str:
    """Write an instant to the second: its fraction is free text of a kind."""
    return instant.isoformat(timespec="seconds")


def _on_confidence(when: When) -> Iterator[Condition[int]]:
    """How sure the resolution is."""

    def said(confidence: int) -> str:
        return f"{confidence / HUNDRED:.2f}"

    if when.confidence_at_least is not None:
        least = hundredths(when.confidence_at_least)
        yield Condition("confidence_at_least", f"{said(least)} or more", CONFIDENCE, lambda value: value >= least, said)
    if when.confidence_below is not None:
        bound = hundredths(when.confidence_below)
        yield Condition("confidence_below", f"less than {said(bound)}", CONFIDENCE, lambda value: value < bound, said)


def _on_conflict(when: When) -> Iterator[Condition[frozenset[Conflict]]]:
    """Whether one of the listed conflicts was found."""
    if when.conflict is not None:
        listed = frozenset(when.conflict)
        yield Condition(
            "conflict",
            _listed(when.conflict, wanted=True),
            CONFLICTS,
            lambda found: not listed.isdisjoint(found),
            lambda found: ", ".join(conflict for conflict in Conflict if conflict in found) or "none",
        )


def _on_device(exemption: Exemption | None) -> Iterator[Condition[str]]:
    """Whether the device is on the list, while the list is good. The ids stay out of every text."""
    if exemption is not None:
        ids, until = frozenset(exemption.ids), exemption.until
        asked = f"one of {len(ids)} listed" + (f" until {until.isoformat()}" if until else "")
        yield Condition(
            "device_id", asked, DEVICE, ids.__contains__, lambda device: "listed" if device in ids else "not listed", until
        )


def _on_status(statuses: SignalStatuses | None) -> Iterator[Condition[SignalStatus]]:
    """What became of a signal; a signal that the ping did not have has no status."""
    for signal, field in STATUS.items() if statuses is not None else ():
        wanted: tuple[SignalStatus, ...] | None = getattr(statuses, signal.value)
        if wanted is not None:
            yield Condition(field.name, _listed(wanted, wanted=True), field, frozenset(wanted).__contains__, str)


def _listed(words: Iterable[str], wanted: bool) -> str:
    """Write a list of words as what a condition asks for."""
    return ("" if wanted else "none of ") + " | ".join(words)
