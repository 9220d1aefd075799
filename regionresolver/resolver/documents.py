"""Pings from JSON values and answers to JSON values: the wire names of both, for the service and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from regionresolver.resolver.extended import written_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regionresolver.model import AppliedOverride, Evidence, Explanation, Notice, Override, Resolution, RuleTrace
    from regionresolver.resolver.decision import Decision
    from regionresolver.resolver.extended import Extended

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
    document: dict[str, object] = {
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
        "date": override.date.isoformat() if override.date else None,
    }


def override_words(override: Override) -> dict[str, object]:
    """Return an override's name, and on whose word and until when it holds; without its prefix, which may be an address."""
    document = override_document(override)
    return {key: document[key] for key in ("id", "owner", "reason", "expires")}


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
        "expires": "never" if override.expires is None else override.expires.isoformat().replace("+00:00", "Z"),
    }


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


def _rule(trace: RuleTrace) -> dict[str, object]:
    return {"rule": trace.rule, "mode": trace.mode, "matched": trace.matched, "why": trace.why}


def _notice(notice: Notice) -> dict[str, str]:
    return {"code": notice.code, "pointer": notice.pointer, "detail": notice.detail}
