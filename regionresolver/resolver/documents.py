"""Pings from JSON values and answers to JSON values, as `wire` has their types, for the service and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from regionresolver.resolver.extended import written_prefix
from regionresolver.resolver.wire import Explain, FactFields, SignalFields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regionresolver.model import AppliedOverride, Evidence, Explanation, Notice, Override, Resolution, RuleTrace
    from regionresolver.resolver.decision import Decision
    from regionresolver.resolver.extended import Extended
    from regionresolver.resolver.wire import (
        AppliedOverrideDocument,
        DecisionDocument,
        EvidenceDocument,
        ExplanationMembers,
        NoticeDocument,
        OverrideWordsDocument,
        ResolvedDocument,
        RuleDocument,
        SaidMembers,
        SourceDocument,
    )

__all__ = ["Explain"]

SIGNAL_FIELDS = tuple(SignalFields.__annotations__)
FACT_FIELDS = tuple(FactFields.__annotations__)


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


def resolution_document(resolution: Resolution, explanation: Explanation | None = None) -> ResolvedDocument:
    """Return the answer of `/v1/resolve`, with its explanation where there is one."""
    explained: ExplanationMembers = {} if explanation is None else explanation_document(explanation)
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
        **explained,
    }


def decision_document(decision: Decision, explain: Explain = "none") -> DecisionDocument:
    """Return the answer of `/v1/decisions`."""
    resolution, verdict = decision.resolution, decision.verdict
    said: SaidMembers = {}
    if verdict.message is not None:
        said["message"] = verdict.message
    if verdict.shadow_effect is not None:
        said["shadow"] = {"decision": verdict.shadow_effect, "rule": verdict.shadow_rule}
    explained: ExplanationMembers = {}
    if explain != "none":
        explained = explanation_document(decision.explanation, with_rules=explain == "full")
    return {
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
        **said,
        "warnings": [_notice(notice) for notice in resolution.warnings],
        "policy": decision.policy,
        "data": resolution.data,
        **explained,
    }


def explanation_document(explanation: Explanation, *, with_rules: bool = False) -> ExplanationMembers:
    """Return the members that `explain` adds to an answer; `outcome` and the rules only where a policy was asked."""
    document: ExplanationMembers = {
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


def _evidence(evidence: Evidence) -> EvidenceDocument:
    document: EvidenceDocument = {
        "signal": evidence.signal,
        "status": evidence.status,
        "match": evidence.match,
        "candidates": list(evidence.candidates),
        "weight": evidence.weight,
        "used": evidence.used,
        "detail": evidence.detail,
        "sources": source_documents(evidence),
    }
    if evidence.override is not None:
        document["override"] = override_words(evidence.override)
    return document


def source_documents(evidence: Evidence) -> list[SourceDocument]:
    """Return what each database says of an address."""
    return [
        {"source": answer.source, "country": answer.country_code, "subdivision": answer.subdivision_code}
        for answer in evidence.sources
    ]


def _override(override: AppliedOverride) -> AppliedOverrideDocument:
    return {
        "signal": override.signal,
        "match": override.match,
        "regions": list(override.regions),
        "confidence": override.confidence,
        "operator": override.operator,
        "note": override.note,
        "source": override.source,
        "date": override.date.isoformat() if override.date else None,
    }


def override_words(override: Override) -> OverrideWordsDocument:
    """Return an override's name, and on whose word and until when it holds; without its prefix, which may be an address."""
    return {"id": override.id, "owner": override.owner, "reason": override.reason, "expires": _expiry(override)}


def override_document(override: Override) -> dict[str, object]:
    """Return an override as JSON types, with its end as RFC 3339 writes it, or "never"."""
    return {
        "id": override.id,
        "kind": override.kind,
        "prefix": written_prefix(override.kind, override.prefix),
        "regions": list(override.regions),
        "confidence": override.confidence,
        "exact": override.exact,
        "owner": override.owner,
        "reason": override.reason,
        "expires": _expiry(override),
    }


def _expiry(override: Override) -> str:
    return "never" if override.expires is None else override.expires.isoformat().replace("+00:00", "Z")


def catalogue_document(extended: Extended) -> dict[str, object]:
    """Return a catalogue as JSON types: the codes and names that may be written, and the overrides in codes."""
    catalogue = extended.catalogue
    return {
        "sha256": catalogue.sha256,
        "file": extended.file,
        "file_sha256": extended.sha256,
        "countries": dict(catalogue.countries),
        "subdivisions": {
            code: {"name": row.name, "countries": list(row.countries), "codes": list(row.aliases), "names": list(row.names)}
            for code, row in catalogue.subdivisions.items()
        },
        "regions": {
            name: {"members": list(region.members), "country": region.country, "source": region.source.key}
            for name, region in catalogue.regions.items()
        },
        "words": dict(catalogue.words),
        "overrides": [override_document(override) for override in extended.overrides],
    }


def _rule(trace: RuleTrace) -> RuleDocument:
    return {"rule": trace.rule, "mode": trace.mode, "matched": trace.matched, "why": trace.why}


def _notice(notice: Notice) -> NoticeDocument:
    return {"code": notice.code, "pointer": notice.pointer, "detail": notice.detail}
