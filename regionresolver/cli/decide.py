"""`regionresolver decide`: one ping, its region and the decision, as the service would answer it."""

import datetime as dt
from collections.abc import Sequence
from typing import cast

import click
import orjson
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from regionresolver.cli.options import load, open_resolver, paper, settings_options
from regionresolver.model import Effect, Evidence, RuleTrace
from regionresolver.resolver import Decision, parse_instant
from regionresolver.resolver.documents import Explain, decision_document

_COLOURS = {Effect.ALLOW: "green", Effect.DENY: "red", Effect.REVIEW: "yellow"}


class Instant(click.ParamType[dt.datetime]):
    """An instant with its time zone, as RFC 3339 writes it."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        """Read the text; click reports what is wrong, and exits with 2."""
        instant = parse_instant(str(value))
        if instant is None:
            self.fail("not an instant with its time zone, as RFC 3339 writes it (2021-09-01T00:00:00Z)", param, ctx)
        return instant


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
    "--explain", type=click.Choice(["none", "reasons", "full"]), default="none", help="Add evidence; with full, rules too."
)
@settings_options("db", "index", "any_regions", "policy")
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
    as_json: bool,
    **values: object,
) -> None:
    """Decide on one ping. At least one of --ip, --serving and --sim is needed.

    Exit status: 0 for every answer, whatever the decision says.

    \b
    Examples:
      regionresolver decide --serving 36801 --ip 8.8.8.8
      regionresolver decide --serving 250-34 --explain full
      regionresolver decide --sim 368-01 --ip 81.2.69.142 --json
    """
    with open_resolver(load(values).settings) as resolver:
        for warning in resolver.warnings:
            click.echo(f"regionresolver: warning: {warning}", err=True)
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
            trace=explain != "none",
        )
    if as_json:
        click.echo(orjson.dumps(decision_document(decision, cast("Explain", explain))))
        return
    console = paper()
    console.print(_summary(decision))
    if explain != "none":
        console.print(_evidence_tree(decision))
    if explain == "full":
        console.print(_rules_tree(decision.verdict.trace))


def _summary(decision: Decision) -> Table:
    resolution, verdict = decision.resolution, decision.verdict
    table = Table(show_header=False)
    table.add_row("decision", Text(verdict.effect, style=f"bold {_COLOURS[verdict.effect]}"))
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
        ("retry after", f"{verdict.retry_after} s" if verdict.retry_after is not None else None),
        ("shadow", shadow),
        ("warnings", "\n".join(f"{notice.pointer[1:]}: {notice.detail}" for notice in resolution.warnings)),
        ("policy", decision.policy),
        ("data", resolution.data),
    )
    for name, value in rows:
        if value:
            table.add_row(name, Text(value))
    return table


def _evidence_tree(decision: Decision) -> Tree:
    tree = Tree(f"evidence (row {decision.resolution.row} of the fusion table)")
    for evidence in decision.resolution.evidence:
        branch = tree.add(Text(_evidence_line(evidence), style="" if evidence.used else "dim"))
        for answer in evidence.sources:
            branch.add(Text(f"{answer.source}: {answer.subdivision_code or answer.country_code or 'nothing'}"))
    return tree


def _evidence_line(evidence: Evidence) -> str:
    words = [f"{evidence.signal}: {evidence.status}"]
    if evidence.detail:
        words.append(f"({evidence.detail})")
    if evidence.match:
        words.append(f"match {evidence.match}")
    if evidence.candidates:
        words.append(f"says {' or '.join(evidence.candidates)}, weight {evidence.weight:.2f}")
    words.append("used" if evidence.used else "not used")
    return " ".join(words)


def _rules_tree(trace: Sequence[RuleTrace]) -> Tree:
    tree = Tree("rules")
    for rule in trace:
        mark = "matched" if rule.matched else "not matched"
        tree.add(Text(f"{rule.rule} [{rule.mode}] {mark}: {rule.why}", style="bold" if rule.matched else "dim"))
    return tree
