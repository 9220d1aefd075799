"""Why an answer is what it is, in sentences about this very ping.

In: a resolution with its whole evidence, the overrides that spoke for its signals, and what the policy made of it. Out:
an `Explanation`, which the HTTP document, the tree of `decide --explain` and the library all show. The rows and the
conflicts are those of docs/fusion.md; no sentence holds anything of the ping but what the evidence holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from regionresolver.model import (
    AppliedOverride,
    Conflict,
    Evidence,
    ExplainedConflict,
    Explanation,
    Resolution,
    RuleTrace,
    Signal,
    SignalStatus,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from regionresolver.sources.catalogue import Catalogue


def explain(
    resolution: Resolution,
    overrides: tuple[AppliedOverride, ...],
    catalogue: Catalogue,
    outcome: str | None = None,
    rules: tuple[RuleTrace, ...] = (),
) -> Explanation:
    """Explain a resolution; `outcome` and `rules` are the policy's part, left out where no policy was asked."""
    case = _Case(resolution, catalogue)
    conflicts = tuple(ExplainedConflict(conflict, _CONFLICTS[conflict](case)) for conflict in resolution.conflicts)
    return Explanation(resolution, _SITUATIONS[resolution.row](case), conflicts, overrides, outcome, rules)


def name_of(code: str, catalogue: Catalogue) -> str:
    """Give the everyday name of a country or subdivision; a named region is its own."""
    if code in catalogue.subdivisions:
        return catalogue.subdivisions[code].name
    country = catalogue.country_rows.get(code)
    return country.common_name or country.name if country else code


def named(code: str, catalogue: Catalogue) -> str:
    """Give a code with its name: "Cuba (CU)", "Crimea (UA-43)", "crimea (UA-43 or UA-40)"."""
    if code in catalogue.regions:
        return f"{code} ({' or '.join(catalogue.regions[code].members)})"
    return f"{name_of(code, catalogue)} ({code})"


def listed(words: Iterable[str]) -> str:
    """Write words as a sentence lists them: "a, b and c"."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


class _Case:
    """One resolution, with its places in words; the signals are those that name a region."""

    def __init__(self, resolution: Resolution, catalogue: Catalogue) -> None:
        found = {evidence.signal: evidence for evidence in resolution.evidence}
        self.resolution = resolution
        self.catalogue = catalogue
        self.given = found
        self.ip, self.serving, self.home = (
            evidence if (evidence := found.get(signal)) and evidence.status is SignalStatus.OK else None
            for signal in (Signal.IP, Signal.SERVING_PLMN, Signal.HOME_PLMN)
        )

    @property
    def where(self) -> str:
        """The region that is answered."""
        return self.name(self.resolution.region)

    @property
    def country(self) -> str:
        """The country that is answered."""
        return self.name(self.resolution.country)

    def name(self, code: str | None) -> str:
        return "no region" if code is None else named(code, self.catalogue)

    def places(self, evidence: Evidence | None) -> str:
        """What a signal says, every candidate of it."""
        return " or ".join(self.name(code) for code in evidence.candidates) if evidence else "no region"

    def prefix(self, signal: Signal) -> str:
        """The digits of a PLMN that decided, as people write them."""
        match = found.match if (found := self.given.get(signal)) else None
        return "" if match is None else match if len(match) == 3 else f"{match[:3]}-{match[3:]}"

    def is_used(self, evidence: Evidence | None) -> bool:
        return evidence is not None and evidence.used


def _override(case: _Case) -> str:
    operator = f"The serving network {case.prefix(Signal.SERVING_PLMN)} is known to serve {case.places(case.serving)}: it decides"
    narrowed = case.serving is not None and case.resolution.region not in case.serving.candidates
    return f"{operator}, and the IP narrows it down to {case.where}." if narrowed else f"{operator}."


def _serving_country(case: _Case) -> str:
    if case.is_used(case.ip):
        if case.resolution.subdivision:
            return f"The serving network is of {case.country}, and the IP lies in its subdivision {case.where}."
        return f"The serving network and the IP are of {case.country}."
    if case.is_used(case.home):
        return f"The serving network and the SIM are of {case.country}; there is no usable IP."
    return f"The serving network is of {case.country}; nothing else says where the phone is."


def _home_routed(case: _Case) -> str:
    return (
        f"The serving network is of {case.country} and the IP of {case.places(case.ip)}, where the SIM is from: "
        "home-routed roaming. The phone is where the network is."
    )


def _third_country(case: _Case) -> str:
    return (
        f"The serving network is of {case.country} and the IP of {case.places(case.ip)}, which is not the SIM's country either. "
        "The phone is where the network is."
        if case.home
        else f"The serving network is of {case.country} and the IP of {case.places(case.ip)}. The phone is where the network is."
    )


def _shared(case: _Case) -> str:
    shared = f"Several regions share the serving network's code {case.prefix(Signal.SERVING_PLMN)}"
    if case.is_used(case.ip):
        return f"{shared}; the IP chooses {case.where}."
    common = [code for code in (case.serving.candidates if case.serving else ()) if case.home and code in case.home.candidates]
    if common == [case.resolution.region]:
        return f"{shared}; the SIM chooses {case.where}."
    return f"{shared}; nothing chooses among them, so the first, {case.where}, is answered."


def _alias(case: _Case) -> str:
    return f"The serving network is of {case.places(case.serving)}, and the IP lies in {case.where}, which is filed under it too."


def _deserted(case: _Case) -> str:
    return (
        f"The IP lies in {case.places(case.ip)}, but no operator of {case.country} serves it: "
        "the serving network is evidence against it."
    )


def _blind(case: _Case) -> str:
    return f"The serving network and the IP are of {case.country}; which part of it, no database in question could have told."


def _ip_and_sim(case: _Case) -> str:
    return f"There is no usable serving network; the IP lies in {case.where}, and the SIM agrees with it."


def _ip_not_sim(case: _Case) -> str:
    return (
        f"There is no usable serving network; the IP lies in {case.where} and the SIM is of {case.places(case.home)}: "
        "the phone is most likely on Wi-Fi where the IP is."
    )


def _only_ip(case: _Case) -> str:
    return f"Only the IP says where the phone is: {case.where}."


def _nothing(_case: _Case) -> str:
    return "No signal could be used."


def _foreign_sim(case: _Case) -> str:
    who = "The serving network and the IP are" if case.is_used(case.ip) else "The serving network is"
    return f"{who} of {case.places(case.serving)}, the SIM is of {case.places(case.home)}. The phone is where the network is."


def _only_sim(case: _Case) -> str:
    return f"Only the SIM is known: it was sold in {case.places(case.home)}, which says little of where the phone is."


_SITUATIONS: Final[dict[str, Callable[[_Case], str]]] = {
    "1": _override,
    "2": _serving_country,
    "3": _home_routed,
    "4": _third_country,
    "5": _shared,
    "6": _alias,
    "6b": _deserted,
    "7": _blind,
    "9": _ip_and_sim,
    "10": _ip_not_sim,
    "11": _only_ip,
    "13": _nothing,
    "16": _foreign_sim,
    "17": _only_sim,
}


def _ip_routed_home(case: _Case) -> str:
    return f"The IP is of {case.places(case.ip)}, the SIM's country: how roaming usually works, and not suspicious."


def _ip_disagrees(case: _Case) -> str:
    if case.resolution.row == "6b":
        return f"The IP says {case.places(case.ip)}, where no operator of {case.country} is."
    return (
        f"The IP is of {case.places(case.ip)}, the serving network of {case.places(case.serving)}: "
        "a VPN, a relay or a travel SIM. The IP is not followed."
    )


def _ambiguous(case: _Case) -> str:
    signal, evidence = (
        (Signal.SERVING_PLMN, case.serving)
        if case.serving and len(case.serving.candidates) > 1
        else (Signal.HOME_PLMN, case.home)
    )
    return f"{case.prefix(signal)} is shared by {_all_of(case, evidence)}."


def _country_alias(case: _Case) -> str:
    subdivision = case.catalogue.subdivisions.get(case.resolution.subdivision or "")
    if subdivision is None:
        return f"The signals agree on {case.where} only as another country files it."
    filed = " and ".join(case.name(code) for code in subdivision.countries)
    return f"{case.where} is filed under {filed}; here a signal names another of them than the region's own."


def _subdivision_unknown(case: _Case) -> str:
    parts = ", ".join(row.code for row in case.catalogue.subdivisions.values() if case.resolution.country in row.countries)
    return f"{case.country} is answered, but nothing could have told whether it is one of {parts}: that it is not, is not known."


def _non_geographic(case: _Case) -> str:
    serving = case.given.get(Signal.SERVING_PLMN)
    sort = f" ({serving.detail.replace('_', ' ')})" if serving and serving.detail else ""
    return f"The serving network {case.prefix(Signal.SERVING_PLMN)} belongs to no country{sort}."


def _sim_foreign(case: _Case) -> str:
    return f"The SIM is of {case.places(case.home)}, the phone is in {case.where}: a traveller, or a subscription bought abroad."


def _sim_only(case: _Case) -> str:
    return f"Nothing but the SIM, of {case.places(case.home)}, could be used."


def _sources_disagree(case: _Case) -> str:
    sources = case.ip.sources if case.ip else ()
    said = ", ".join(f"{one.source} says {case.name(one.subdivision_code or one.country_code)}" for one in sources)
    return f"The IP databases name different regions: {said}."


def _no_evidence(case: _Case) -> str:
    said = ", ".join(f"{evidence.signal} is {evidence.status}" for evidence in case.resolution.evidence)
    return f"No signal could be used: {said}."


_CONFLICTS: Final[dict[Conflict, Callable[[_Case], str]]] = {
    Conflict.HOME_ROUTED: _ip_routed_home,
    Conflict.IP_DISAGREES: _ip_disagrees,
    Conflict.AMBIGUOUS_MCC: _ambiguous,
    Conflict.COUNTRY_ALIAS: _country_alias,
    Conflict.SUBDIVISION_UNKNOWN: _subdivision_unknown,
    Conflict.NON_GEOGRAPHIC_PLMN: _non_geographic,
    Conflict.SIM_FOREIGN: _sim_foreign,
    Conflict.SIM_ONLY: _sim_only,
    Conflict.SOURCES_DISAGREE: _sources_disagree,
    Conflict.NO_EVIDENCE: _no_evidence,
}


def _all_of(case: _Case, evidence: Evidence | None) -> str:
    return listed(case.name(code) for code in (evidence.candidates if evidence else ()))
