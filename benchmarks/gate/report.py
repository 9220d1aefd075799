"""The report of a gate: one JSON document for machines, and a Markdown table of it for a pull request."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from benchmarks.gate.decisions import ExitStatus, Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.record import Record

SCHEMA: Final = "regionresolver.bench-gate/1"
ORDER: Final = tuple(verdict.value for verdict in Verdict)
WORDS: Final = {
    ExitStatus.FINE: "nothing is slower",
    ExitStatus.REGRESSION: "the head is slower",
    ExitStatus.INCONCLUSIVE: "this machine is too noisy to tell",
    ExitStatus.IMPROVEMENT: "the head is faster, which is worth a note",
}


def document(
    records: Sequence[Record], findings: Sequence[Finding], status: ExitStatus, notes: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Join what was found; `records` are those of base and head."""
    base, head = (record.model_dump(mode="json", by_alias=True) for record in records)
    return {
        "schema": SCHEMA,
        "verdict": WORDS[status],
        "exit_status": status.value,
        "base": base["revision"],
        "head": head["revision"],
        "at": head["at"],
        "machine": head["machine"],
        "versions": head["versions"],
        "seconds": round(seconds, 1),
        "notes": list(notes),
        "findings": [asdict(one) | {"verdict": one.verdict.value} for one in findings],
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Write the document as a table, what has to be looked at first."""
    base, head = (_revision(found[side]) for side in ("base", "head"))
    lines = [f"### bench-gate: {found['verdict']}", "", f"{head} against {base}, {found['seconds']:.0f} s on"]
    machine = found["machine"]
    lines[-1] += f" {machine['cores']} cores of {machine['processor']}, Python {found['versions']['python']}."
    lines += [f"{note}" for note in found["notes"]]
    lines += [
        "",
        "| figure | base | head | change | limit | p | chance alone | verdict |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    lines += [_row(one) for one in sorted(found["findings"], key=lambda one: ORDER.index(one["verdict"]))]
    return "\n".join(lines)


def _revision(revision: Mapping[str, Any]) -> str:
    name = (revision["commit"] or revision["digest"] or "unknown")[:9]
    return f"`{name}`{' with changes' if revision['is_dirty'] else ''}"


def _row(one: Mapping[str, Any]) -> str:
    verdict = one["verdict"]
    if verdict in {Verdict.REGRESSION.value, Verdict.IMPROVEMENT.value}:
        verdict = f"**{verdict}**"
    if one["note"]:
        verdict += f" ({one['note']})"
    cells = (
        f"{one['layer']}: {one['name']}",
        _number(one["base"], one["unit"]),
        _number(one["head"], one["unit"]),
        "" if one["change"] is None else f"{one['change']:+.2%}",
        f"{one['limit']:.0%}",
        "" if one["p_value"] is None else f"{one['p_value']:.3f}",
        "" if one["resolution"] is None else f"{one['resolution']:.1%}",
        verdict,
    )
    return f"| {' | '.join(cells)} |"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return "-"
    if unit.startswith("ns"):
        return f"{value / 1e3:,.1f} us"
    return f"{value:,.0f}/s" if unit == "requests/s" else f"{value:,.1f}"
