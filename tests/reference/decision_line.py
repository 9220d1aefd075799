"""A line of the decision log, put together from a decision in words: what the compiled half must write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from regionresolver.model import Evidence, Signal

if TYPE_CHECKING:
    from regionresolver import Decision

SIGNALS = {"serving": Signal.SERVING_PLMN, "sim": Signal.HOME_PLMN, "ip": Signal.IP}


def expected_line(decision: Decision, network: str | None) -> dict[str, Any]:
    """Give the members that a decision's line has, without numbers, instants, digests, and what only tables know.

    `network` is the one that the ping's address is cut to, None without an address.
    """
    resolution, verdict = decision.resolution, decision.verdict
    evidence = {found.signal: found for found in resolution.evidence}
    return {
        "data": resolution.data,
        "policy": decision.policy,
        "id": decision.id,
        "decision": str(verdict.effect),
        "region": resolution.region,
        "country": resolution.country,
        "subdivision": resolution.subdivision,
        "confidence": resolution.confidence,
        "basis": resolution.basis and str(resolution.basis),
        "row": resolution.row,
        "conflicts": [str(conflict) for conflict in resolution.conflicts],
        "rule": verdict.rule,
        "reason": verdict.reason,
        "shadow": verdict.shadow_effect and {"decision": str(verdict.shadow_effect), "rule": verdict.shadow_rule},
        "evidence": {name: _signal(evidence.get(signal), network) for name, signal in SIGNALS.items()},
        "lang": decision.lang,
    }


def _signal(found: Evidence | None, network: str | None) -> dict[str, Any] | None:
    if found is None:
        return None
    said: dict[str, Any] = {"status": str(found.status)}
    if found.override is not None:
        said["override"] = found.override.id
    if found.signal is Signal.IP:
        if network is not None and found.status != "invalid":
            said["network"] = network
        if found.status == "ok" and found.override is None:
            said["said"] = found.candidates[0]
        return said
    if found.match:
        said |= {"match": found.match, "candidates": list(found.candidates)}
    return said
