"""Pings from JSON values and answers to JSON values: the wire names of both, for the service and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regionresolver.model import AppliedOverride, Evidence, Explanation, Notice, Resolution, RuleTrace
    from regionresolver.resolver.decision import Decision

Explain = Literal["none", "reasons", "full"]

SIGNAL_FIELDS = ("ip", "serving", "sim")
FACT_FIELDS = ("sku", "sold_in", "device_id", "first_activated_at", "lang", "id")


def signal_arguments(document: Mapping[str, object]) -> dict[str, object]:
    """Return the keyword arguments of `Resolver.resolve` that a ping holds; `null` means absent, other fields are left."""
    arguments = {field: document[field] for field in SIGNAL_FIELDS if document.get(field) is not None}
    if not isinstance(arguments.get("ip", ""), str):
        # The library takes integers as addresses, a ping does not: no text is an invalid one.
        arguments["ip"] = ""
    return arguments


def ping_arguments(document: Mapping[str, object]) -> dict[str, object]:
    """Return the keyword arguments of `Resolver.decide` that a ping holds; `null` means absent, other fields are left."""
    facts = {field: document[field] for field in FACT_FIELDS if document.get(field) is not None}
    return {**signal_arguments(document), **facts}


def resolution_document(resolution: Resolution, explanation: Explanation | None = None) -> dict[str, object]:
    """Return the answer of `/v1/resolve`, with its explanation where there is one."""
    return {
        "region": resolution.region,
        "country": resolution.country,
        "subdivision": resolution.subdivision,
        "region_name": resolution.region_name,
        "confidence": resolution.confidence,
        "basis": resolution.basis,
        "conflicts": list(resolution.conflicts),
        "warnings": [_notice(notice) for notice in resolution.warnings],
        "data": resolution.data,
        **({} if explanation is None else explanation_document(explanation)),
    }


def decision_document(decision: Decision, explain: Explain = "none") -> dict[str, object]:
    """Return the answer of `/v1/decisions`."""
    resolution, verdict = decision.resolution, decision.verdict
    document: dict[str, object] = {
        "id": decision.id,
        "decision": verdict.effect,
        "region": resolution.region,
        "country": resolution.country,
        "subdivision": resolution.subdivision,
        "region_name": resolution.region_name,
        "confidence": resolution.confidence,
        "basis": resolution.basis,
        "conflicts": list(resolution.conflicts),
        "rule": verdict.rule,
        "reason": verdict.reason,
        "retry_after": verdict.retry_after,
    }
    if verdict.message is not None:
        document["message"] = verdict.message
    if verdict.shadow_effect is not None:
        document["shadow"] = {"decision": verdict.shadow_effect, "rule": verdict.shadow_rule}
    document["warnings"] = [_notice(notice) for notice in resolution.warnings]
    document["policy"] = decision.policy
    document["data"] = resolution.data
    if explain != "none":
        document.update(explanation_document(decision.explanation, with_rules=explain == "full"))
    return document


def explanation_document(explanation: Explanation, *, with_rules: bool = False) -> dict[str, object]:
    """Return the members that `explain` adds to an answer; `outcome` and the rules only where a policy was asked."""
    document: dict[str, object] = {
        "row": explanation.row,
        "situation": explanation.situation,
        "evidence": [_evidence(evidence) for evidence in explanation.evidence],
        "conflict_details": [{"conflict": one.conflict, "detail": one.detail} for one in explanation.conflicts],
        "overrides": [_override(override) for override in explanation.overrides],
    }
    if explanation.outcome is not None:
        document["outcome"] = explanation.outcome
    if with_rules:
        document["rules"] = [_rule(trace) for trace in explanation.rules]
    return document


def _evidence(evidence: Evidence) -> dict[str, object]:
    return {
        "signal": evidence.signal,
        "status": evidence.status,
        "match": evidence.match,
        "candidates": list(evidence.candidates),
        "weight": evidence.weight,
        "used": evidence.used,
        "detail": evidence.detail,
        "sources": source_documents(evidence),
    }


def source_documents(evidence: Evidence) -> list[dict[str, object]]:
    """Return what each database says of an address."""
    return [
        {"source": answer.source, "country": answer.country_code, "subdivision": answer.subdivision_code}
        for answer in evidence.sources
    ]


def _override(override: AppliedOverride) -> dict[str, object]:
    return {
        "signal": override.signal,
        "match": override.match,
        "regions": list(override.regions),
        "confidence": override.confidence,
        "operator": override.operator,
        "note": override.note,
        "source": override.source,
        "date": override.date.isoformat(),
    }


def _rule(trace: RuleTrace) -> dict[str, object]:
    return {"rule": trace.rule, "mode": trace.mode, "matched": trace.matched, "why": trace.why}


def _notice(notice: Notice) -> dict[str, str]:
    return {"code": notice.code, "pointer": notice.pointer, "detail": notice.detail}
