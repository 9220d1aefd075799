"""`regionresolver policy impact`: what a candidate would change for recorded pings, counted before anybody is denied."""

import datetime as dt
from collections.abc import Sequence
from typing import BinaryIO

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import Instant, load, paper, settings_options
from regionresolver.cli.policy.options import format_option, open_data, watched
from regionresolver.model import Effect
from regionresolver.policy import Policy, load_policy
from regionresolver.policy.clock import now
from regionresolver.policy.impact import Change, Group, Impact
from regionresolver.resolver.replay import TIME_FIELD, replay

SHOWN_CHANGES = 20
SHOWN_GROUPS = 20


@click.command("impact")
@click.option("--candidate", metavar="FILE", required=True, help="The policy that is to be tried out.")
@click.option(
    "--pings", metavar="FILE", required=True, type=click.File("rb"), help="Recorded pings, NDJSON; - is standard input."
)
@click.option("--baseline", metavar="FILE", help="The policy to compare with.  [default: the one of the settings]")
@click.option("--at", type=Instant(), metavar="INSTANT", help="Decide on all pings as of this instant.")
@click.option(
    "--time-field",
    metavar="NAME",
    default=TIME_FIELD,
    show_default=True,
    help="Field of a ping that says when it came (RFC 3339); without it a ping is decided as of now.",
)
@settings_options("db", "index", "any_regions", "catalogue")
@format_option
def command(
    *,
    candidate: str,
    pings: BinaryIO,
    baseline: str | None,
    at: dt.datetime | None,
    time_field: str,
    format_: str,
    **values: object,
) -> None:
    """Replay recorded pings under two policies, and count what the candidate would change.

    Each line of the log is a ping as POST /v1/decisions takes it, or a line of the decision log, whose evidence is then
    decided on. It is read once, of any size, in bounded memory. The report holds counts and line numbers: no address, no
    device, no SIM. Lines that are no pings are counted with their numbers, and what stands in them is not repeated.

    Exit status: 0 when the candidate keeps to its own [guardrails], 1 when it does not, 2 usage.

    \b
    Examples:
      regionresolver policy impact --candidate next.toml --pings pings.ndjson
      regionresolver policy impact --candidate next.toml --pings pings.ndjson --at 2021-09-08T00:00:00Z
      cat log/decisions-*.ndjson | regionresolver policy impact --candidate next.toml --pings -
      zcat pings.gz | regionresolver policy impact --baseline now.toml --candidate next.toml --pings - --format json
    """
    with open_data(values) as data:
        before = load_policy(baseline or load(values).settings.policy, data.catalogue)
        after = load_policy(candidate, data.catalogue)
        with watched(pings, "replaying") as advance:
            found = replay(data.with_policy(before), after, pings, now(), at=at, time_field=time_field, advance=advance)
    objections = found.objections(after.guardrails)
    if format_ == "json":
        click.echo(orjson.dumps(_document(found, before, after, objections)))
    else:
        _print(found, before, after, objections)
    click.get_current_context().exit(1 if objections else 0)


def _print(found: Impact, before: Policy, after: Policy, objections: Sequence[str]) -> None:
    """Print the report for people."""
    console = paper()
    console.print(f"{after.label} instead of {before.label}: {found.pings:,} pings")
    matrix = _table("", numbers=[f"now {effect}" for effect in Effect])
    for effect, counts in found.matrix().items():
        matrix.add_row(f"was {effect}", *(f"{counts[other]:,}" for other in Effect))
    console.print(matrix)
    for name, count in _newly(found).items():
        share = count / found.pings if found.pings else 0
        console.print(f"{name.replace('_', ' '):14} {count:>12,}  {share:.2%}")
    _print_groups(console, "region", found.by_region())
    _print_groups(console, "rules", [group for group in found.by_rule() if _changed(group)])
    if len(classes := found.by_sku_class()) > 1:
        _print_groups(console, "SKU class", classes)
    _print_changes(console, found.changes())
    if found.refused:
        console.print(f"lines that are no pings: {found.refused:,}")
        for line, reason in found.faults:
            console.print(Text(f"  line {line}: {reason}"))
    for objection in objections:
        console.print(Text(f"guardrail: {objection}"))
    if not objections:
        console.print("guardrails: kept")


def _print_groups(console: Console, title: str, groups: Sequence[Group]) -> None:
    """Print groups as a table, those that change most."""
    if not groups:
        return
    table = _table(title, numbers=["pings", "newly denied", "share", "newly allowed", "newly review", "shadow denied"])
    for group in groups[:SHOWN_GROUPS]:
        counts = (group.newly_allowed, group.newly_review, group.shadow_denied)
        denied = (f"{group.newly_denied:,}", f"{group.newly_denied_share:.2%}")
        table.add_row(Text(group.name), f"{group.pings:,}", *denied, *(f"{count:,}" for count in counts))
    console.print(table)
    if len(groups) > SHOWN_GROUPS:
        console.print(f"and {len(groups) - SHOWN_GROUPS} more; --format json has all")


def _print_changes(console: Console, changes: Sequence[Change]) -> None:
    """Print what is decided otherwise, and where in the log to look."""
    if not changes:
        return
    table = _table("region", "SKU class", "was", "now", numbers=["pings", "first lines"])
    for change in changes[:SHOWN_CHANGES]:
        kind, lines = change.kind, ", ".join(map(str, change.lines))
        was, now_ = _said(kind.before, kind.rule_before), _said(kind.after, kind.rule_after)
        table.add_row(kind.region or "unknown", Text(kind.sku_class), was, now_, f"{change.pings:,}", lines)
    console.print(table)
    if len(changes) > SHOWN_CHANGES:
        console.print(f"and {len(changes) - SHOWN_CHANGES} more; --format json has all")


def _table(*words: str, numbers: Sequence[str]) -> Table:
    """Make a table of columns with words and columns with numbers."""
    table = Table(*words)
    for name in numbers:
        table.add_column(name, justify="right")
    return table


def _said(effect: Effect, rule: str | None) -> str:
    return f"{effect} ({rule or 'no rule'})"


def _changed(group: Group) -> int:
    return group.newly_denied + group.newly_allowed + group.newly_review


def _newly(found: Impact) -> dict[str, int]:
    """Answer the totals under their names."""
    return {
        "newly_denied": found.newly_denied,
        "newly_allowed": found.newly_allowed,
        "newly_review": found.newly_review,
        "shadow_denied": found.shadow_denied,
    }


def _document(found: Impact, before: Policy, after: Policy, objections: Sequence[str]) -> dict[str, object]:
    """Answer the report as JSON types."""
    return {
        "baseline": before.label,
        "candidate": after.label,
        "pings": found.pings,
        **_newly(found),
        "newly_denied_share": found.newly_denied_share,
        "decisions": {str(was): {str(now_): pings for now_, pings in row.items()} for was, row in found.matrix().items()},
        "regions": [_group(group) for group in found.by_region()],
        "rules": [_group(group) for group in found.by_rule()],
        "sku_classes": [_group(group) for group in found.by_sku_class()],
        "changes": [
            {
                "region": change.kind.region,
                "sku_class": change.kind.sku_class,
                "before": {"decision": change.kind.before, "rule": change.kind.rule_before},
                "after": {"decision": change.kind.after, "rule": change.kind.rule_after},
                "pings": change.pings,
                "first_lines": list(change.lines),
            }
            for change in found.changes()
        ],
        "refused_lines": found.refused,
        "first_refused": [{"line": line, "reason": reason} for line, reason in found.faults],
        "guardrails": {
            "max_newly_denied_share": after.guardrails.max_newly_denied_share,
            "min_replay_sample": after.guardrails.min_replay_sample,
            "kept": not objections,
            "objections": list(objections),
        },
    }


def _group(group: Group) -> dict[str, object]:
    return {
        "name": group.name,
        "pings": group.pings,
        "newly_denied": group.newly_denied,
        "newly_denied_share": group.newly_denied_share,
        "newly_allowed": group.newly_allowed,
        "newly_review": group.newly_review,
        "shadow_denied": group.shadow_denied,
    }
