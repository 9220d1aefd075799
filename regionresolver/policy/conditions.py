"""The conditions of a rule, one function each: from what `when` says to a test of one ping.

In goes `When` with the region words known to be good; out comes a tuple of `Condition`s, all of which must hold. A
condition on a field that the ping does not have does not hold, whichever way it is turned: `region_not` needs a region.
Comparisons of confidences are made in integer hundredths, where 0.8 is 80 and nothing lies a rounding error below it.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from regionresolver.model import PingFacts, Resolution, Signal
from regionresolver.policy.regions import Place, RegionNames

if TYPE_CHECKING:
    from regionresolver.policy.model import Exemption, SignalStatuses, When

Test = Callable[[Resolution, PingFacts, dt.datetime], bool]
Telling = Callable[[Resolution, PingFacts], str | None]
Placing = Callable[[Resolution, PingFacts], Place | None]
_Turned = tuple[str, tuple[str, ...], bool]

HUNDRED: Final = 100


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: its key in `when`, what it asks for in words, the test, and what a ping says to it.

    `said` answers `None` where the ping does not say anything; it never answers a device's id.
    """

    key: str
    asked: str
    holds: Test
    said: Telling

    def why_not(self, resolution: Resolution, facts: PingFacts) -> str:
        """Say why the condition does not hold for this ping."""
        said = self.said(resolution, facts)
        return f"{self.key}: " + ("not known" if said is None else f"{said}, asked for {self.asked}")


def hundredths(confidence: float) -> int:
    """Turn a confidence into integer hundredths."""
    return round(confidence * HUNDRED)


def conditions(when: When, names: RegionNames) -> tuple[Condition, ...]:
    """Answer the conditions of a rule, in the order in which they are asked: the cheap and selective first."""
    return (
        *_on_region(when, names),
        *_on_sales_region(when, names),
        *_on_sku(when),
        *_on_activation(when),
        *_on_confidence(when),
        *_on_conflict(when),
        *_on_home_region(when, names),
        *_on_device(when.device_id),
        *_on_status(when.signal_status),
    )


def home_region(resolution: Resolution) -> str | None:
    """Answer the SIM's region: the default candidate of its PLMN, `None` without a SIM that names a region."""
    for evidence in resolution.evidence:
        if evidence.signal is Signal.HOME_PLMN:
            return evidence.candidates[0] if evidence.candidates else None
    return None


def _both_ways(key: str, words: tuple[str, ...] | None, words_not: tuple[str, ...] | None) -> Iterator[_Turned]:
    """Answer a condition and its opposite, those that are given: key, words, and whether the ping must be among them."""
    if words is not None:
        yield key, words, True
    if words_not is not None:
        yield f"{key}_not", words_not, False


def _on_places(turned: Iterable[_Turned], names: RegionNames, place: Placing, said: Telling) -> Iterator[Condition]:
    """Whether a place lies within regions; `place` answers `None` where the ping does not say."""
    for key, words, wanted in turned:
        held = names.expand(words)

        def holds(
            r: Resolution,
            f: PingFacts,
            _at: dt.datetime,
            has: Callable[[str | None, str | None, str | None], bool] = held.has,
            wanted: bool = wanted,
        ) -> bool:
            found = place(r, f)
            return found is not None and has(*found) is wanted

        yield Condition(key, _listed(words, wanted), holds, said)


def _on_region(when: When, names: RegionNames) -> Iterator[Condition]:
    """Where the phone is."""
    return _on_places(
        _both_ways("region", when.region, when.region_not),
        names,
        lambda r, _f: None if r.region is None else (r.region, r.country, r.subdivision),
        lambda r, _f: r.region,
    )


def _on_sales_region(when: When, names: RegionNames) -> Iterator[Condition]:
    """Where the phone was meant to be sold."""
    return _on_places(
        _both_ways("sold_in", when.sold_in, when.sold_in_not),
        names,
        lambda _r, f: None if f.sold_in is None else names.place(f.sold_in),
        lambda _r, f: f.sold_in,
    )


def _on_home_region(when: When, names: RegionNames) -> Iterator[Condition]:
    """Where the SIM's subscription was sold."""
    return _on_places(
        _both_ways("home_region", when.home_region, when.home_region_not),
        names,
        lambda r, _f: None if (home := home_region(r)) is None else names.place(home),
        lambda r, _f: home_region(r),
    )


def _on_sku(when: When) -> Iterator[Condition]:
    """Which model: shell globs (`*`, `?`, `[...]`) on the whole SKU, upper and lower case told apart."""
    for key, globs, wanted in _both_ways("sku", when.sku, when.sku_not):
        pattern = re.compile("|".join(fnmatch.translate(glob) for glob in globs))

        def holds(
            _r: Resolution,
            f: PingFacts,
            _at: dt.datetime,
            match: Callable[[str], object] = pattern.match,
            wanted: bool = wanted,
        ) -> bool:
            return f.sku is not None and (match(f.sku) is not None) is wanted

        yield Condition(key, _listed(globs, wanted), holds, lambda _r, f: f.sku)


def _on_activation(when: When) -> Iterator[Condition]:
    """When the phone was first activated; the instant itself counts as after."""

    def said(_r: Resolution, f: PingFacts) -> str | None:
        return None if f.first_activated_at is None else f.first_activated_at.isoformat()

    if (before := when.first_activated_before) is not None:
        yield Condition(
            "first_activated_before",
            f"an instant before {before.isoformat()}",
            lambda _r, f, _at: f.first_activated_at is not None and f.first_activated_at < before,
            said,
        )
    if (after := when.first_activated_after) is not None:
        yield Condition(
            "first_activated_after",
            f"{after.isoformat()} or later",
            lambda _r, f, _at: f.first_activated_at is not None and f.first_activated_at >= after,
            said,
        )


def _on_confidence(when: When) -> Iterator[Condition]:
    """How sure the resolution is; without a region there is nothing to be sure of."""

    def said(r: Resolution, _f: PingFacts) -> str | None:
        return None if r.region is None else f"{r.confidence:.2f}"

    if when.confidence_at_least is not None:
        least = hundredths(when.confidence_at_least)
        yield Condition(
            "confidence_at_least",
            f"{when.confidence_at_least:.2f} or more",
            lambda r, _f, _at: r.region is not None and hundredths(r.confidence) >= least,
            said,
        )
    if when.confidence_below is not None:
        bound = hundredths(when.confidence_below)
        yield Condition(
            "confidence_below",
            f"less than {when.confidence_below:.2f}",
            lambda r, _f, _at: r.region is not None and hundredths(r.confidence) < bound,
            said,
        )


def _on_conflict(when: When) -> Iterator[Condition]:
    """Whether one of the listed conflicts was found."""
    if when.conflict is not None:
        listed = frozenset(when.conflict)
        yield Condition(
            "conflict",
            _listed(when.conflict, wanted=True),
            lambda r, _f, _at: not listed.isdisjoint(r.conflicts),
            lambda r, _f: ", ".join(r.conflicts) or "none",
        )


def _on_device(exemption: Exemption | None) -> Iterator[Condition]:
    """Whether the device is on the list, while the list is good. The ids stay out of every text."""
    if exemption is None:
        return
    ids, until = frozenset(exemption.ids), exemption.until
    yield Condition(
        "device_id",
        f"one of {len(ids)} listed" + (f" until {until.isoformat()}" if until else ""),
        lambda _r, f, at: f.device_id in ids and (until is None or at < until),
        lambda _r, f: None if f.device_id is None else "not listed" if f.device_id not in ids else "listed",
    )


def _on_status(statuses: SignalStatuses | None) -> Iterator[Condition]:
    """What became of a signal; a signal that the ping did not have has no status."""
    if statuses is None:
        return
    for signal in Signal:
        wanted = getattr(statuses, signal.value)
        if wanted is None:
            continue

        def said(r: Resolution, _f: PingFacts, signal: Signal = signal) -> str | None:
            return next((evidence.status for evidence in r.evidence if evidence.signal is signal), None)

        def holds(
            r: Resolution, f: PingFacts, _at: dt.datetime, said: Telling = said, listed: frozenset[str] = frozenset(wanted)
        ) -> bool:
            return said(r, f) in listed

        yield Condition(f"signal_status.{signal.value}", _listed(wanted, wanted=True), holds, said)


def _listed(words: Iterable[str], wanted: bool) -> str:
    """Write a list of words as what a condition asks for."""
    return ("" if wanted else "none of ") + " | ".join(words)
