"""`regionresolver decide`: one ping, its region and the decision, as the service would answer it."""

import datetime as dt
from collections.abc import Sequence
from typing import cast

import click
import orjson
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from regionresolver.cli.decide_from_log import decide_from_log
from regionresolver.cli.options import Instant, load, open_resolver, paper, settings_options
from regionresolver.model import AppliedOverride, Effect, Evidence, Explanation, Resolution
from regionresolver.resolver import Decision
from regionresolver.resolver.documents import Explain, decision_document

_COLOURS = {Effect.ALLOW: "green", Effect.DENY: "red", Effect.REVIEW: "yellow"}


@click.command("decide")
@click.option("--ip", metavar="ADDRESS", help="IP address of the phone.")
@click.option("--serving", metavar="PLMN", help="PLMN of the network that serves the phone: 36801 or 368-01.")
@click.option("--sim", metavar="PLMN", help="PLMN of the SIM, or its IMSI.")
@click.option("--sku", metavar="TEXT", help="Model of the phone.")
@click.option("--sold-in", metavar="REGION", help="Region that the phone was sold in.")
@click.option("--device-id", metavar="TEXT", help="The phone's (hashed) name, for rollouts and exemptions.")
@click.option("--first-activated-at", metavar="INSTANT", help="When the phone was first activated.")
@click.option("--lang", metavar="TAG", help="Language of the message.")
@click.option("--id", "id_", metavar="TEXT", help="The ping's own name, echoed.")
@click.option("--at", type=Instant(), metavar="INSTANT", help="Decide as of this instant.  [default: now]")
@click.option("--strict", is_flag=True, help="Refuse a malformed value (exit 2) instead of deciding without it.")
@click.option(
    "--explain",
    is_flag=False,
    flag_value="reasons",
    default="none",
    type=click.Choice(["none", "reasons", "full"]),
    help="Say why: the evidence and what the policy made of it; with full, each rule too.  [bare: reasons]",
)
@click.option(
    "--from-log",
    metavar="LINE",
    help="Decide again what the decision log has: FILE:NUMBER, a line itself, or - for standard input.",
)
@settings_options("db", "index", "any_regions", "catalogue", "policy")
@click.option("--json", "as_json", is_flag=True, help="One JSON object, as POST /v1/decisions answers.")
def command(
    *,
    ip: str | None,
    serving: str | None,
    sim: str | None,
    sku: str | None,
    sold_in: str | None,
    device_id: str | None,
    first_activated_at: str | None,
    lang: str | None,
    id_: str | None,
    at: dt.datetime | None,
    strict: bool,
    explain: str,
    from_log: str | None,
    as_json: bool,
    **values: object,
) -> None:
    """Decide on one ping. At least one of --ip, --serving and --sim is needed, or --from-log alone.

    With --from-log the evidence is that of the line, which has no address; what is decided again is compared with what was
    decided, and what may explain a difference is told.

    Exit status: 0 for every answer, whatever the decision says; with --from-log 1 where it differs from the line's.

    \b
    Examples:
      regionresolver decide --serving 36801 --ip 8.8.8.8
      regionresolver decide --serving 250-34 --ip 8.8.8.8 --explain
      regionresolver decide --serving 36801 --explain full
      regionresolver decide --sim 368-01 --ip 81.2.69.142 --json
      regionresolver decide --from-log decisions-000-00000001.ndjson:17
    """
    with open_resolver(load(values).settings) as resolver:
        for warning in resolver.warnings:
            click.echo(f"regionresolver: warning: {warning}", err=True)
        if from_log is not None:
            if any(field is not None for field in (ip, serving, sim, sku, sold_in, device_id, first_activated_at, lang, id_)):
                raise click.UsageError("--from-log takes the ping from the log: leave the other fields out")
            decide_from_log(resolver, from_log, at, as_json=as_json)
            return
        decision = resolver.decide(
            ip=ip,
            serving=serving,
            sim=sim,
            sku=sku,
            sold_in=sold_in,
            device_id=device_id,
            first_activated_at=first_activated_at,
            lang=lang,
            at=at,
            id=id_,
            strict=strict,
        )
        if as_json:
            click.echo(orjson.dumps(decision_document(decision, cast("Explain", explain))))
        elif explain == "none":
            paper().print(_summary(decision))
        else:
            paper().print(_tree(decision, with_rules=explain == "full"))


def _warnings(decision: Decision) -> list[str]:
    return [": ".join(filter(None, (notice.pointer[1:], notice.detail))) for notice in decision.resolution.warnings]


def _retry_after(decision: Decision) -> str | None:
    seconds = decision.verdict.retry_after
    return None if seconds is None else f"{seconds} s"


def _summary(decision: Decision) -> Table:
    resolution, verdict = decision.resolution, decision.verdict
    table = Table(show_header=False)
    table.add_row("decision", _effect(verdict.effect))
    shadow = f"{verdict.shadow_effect} ({verdict.shadow_rule})" if verdict.shadow_effect else None
    rows = (
        ("region", resolution.region or "unknown"),
        ("region name", resolution.region_name),
        ("confidence", f"{resolution.confidence:.2f}"),
        ("basis", resolution.basis),
        ("conflicts", ", ".join(resolution.conflicts)),
        ("rule", verdict.rule),
        ("reason", verdict.reason),
        ("message", verdict.message),
        ("retry after", _retry_after(decision)),
        ("shadow", shadow),
        ("warnings", "\n".join(_warnings(decision))),
        ("policy", decision.policy),
        ("data", resolution.data),
    )
    for name, value in rows:
        if value:
            table.add_row(name, Text(value))
    return table


def _effect(effect: Effect) -> Text:
    return Text(effect, style=f"bold {_COLOURS[effect]}")


def _tree(decision: Decision, *, with_rules: bool) -> Tree:
    """Draw why the answer is what it is: the region from its evidence, then the policy."""
    explanation = decision.explanation
    tree = Tree(Text.assemble(_effect(decision.verdict.effect), " ", _place(explanation.resolution)))
    _add_region(tree, explanation)
    _add_policy(tree, decision)
    if with_rules:
        rules = tree.add("rules, in their order")
        for rule in explanation.rules:
            state = "matched" if rule.matched else "not matched"
            rules.add(Text(f"{rule.rule} [{rule.mode}] {state}: {rule.why}", style="" if rule.matched else "dim"))
    _add_all(tree, "warnings", _warnings(decision))
    return tree


def _place(resolution: Resolution) -> str:
    if resolution.region is None:
        return "in an unknown region"
    name = f" ({resolution.region_name})" if resolution.region_name not in (None, resolution.region) else ""
    return f"in {resolution.region}{name}, confidence {resolution.confidence:.2f}, by {resolution.basis}"


def _add_region(tree: Tree, explanation: Explanation) -> None:
    tree.add(Text(f"situation, row {explanation.row}: {explanation.situation}"))
    _add_all(tree, "conflicts", [f"{one.conflict}: {one.detail}" for one in explanation.conflicts])
    branch = tree.add("evidence")
    for evidence in explanation.evidence:
        leaf = branch.add(Text(_evidence_line(evidence), style="" if evidence.used else "dim"))
        for override in explanation.overrides:
            if override.signal is evidence.signal:
                leaf.add(Text(_override_line(override)))
        for answer in evidence.sources:
            leaf.add(Text(f"{answer.source}: {answer.subdivision_code or answer.country_code or 'nothing'}"))


def _add_policy(tree: Tree, decision: Decision) -> None:
    verdict = decision.verdict
    branch = tree.add(Text(f"policy {decision.policy}: {decision.explanation.outcome}"))
    rows = (("reason", verdict.reason), ("message", verdict.message), ("retry after", _retry_after(decision)))
    for name, value in rows:
        if value:
            branch.add(Text(f"{name}: {value}"))


def _add_all(tree: Tree, title: str, lines: Sequence[str]) -> None:
    if lines:
        branch = tree.add(title)
        for line in lines:
            branch.add(Text(line))


def _evidence_line(evidence: Evidence) -> str:
    detail = f" ({evidence.detail.replace('_', ' ')})" if evidence.detail else ""
    words = [f"{evidence.signal}: {evidence.status}{detail}"]
    if evidence.match:
        words.append(f"match {evidence.match}")
    if evidence.candidates:
        words.append(f"says {' or '.join(evidence.candidates)}, weight {evidence.weight:.2f}")
    words.append("used" if evidence.used else "not used")
    return ", ".join(words)


def _override_line(override: AppliedOverride) -> str:
    note = f"; {override.note}" if override.note else ""
    return f"{override.match} is {override.operator or 'a network'} in {' or '.join(override.regions)}{note} ({override.source})"
