"""`regionresolver policy show`: a policy in words, as it stands at an instant."""

import dataclasses
import datetime as dt

import click
import orjson

from regionresolver.cli.options import Instant, catalogue_option
from regionresolver.cli.policy.options import format_option
from regionresolver.policy import load_policy
from regionresolver.policy.clock import now
from regionresolver.policy.describe import Description, describe, zulu
from regionresolver.resolver.extended import open_catalogue


@click.command("show")
@click.argument("file", metavar="FILE")
@click.option("--at", type=Instant(), metavar="INSTANT", help="Say what is in force at this instant.  [default: now]")
@catalogue_option
@format_option
def command(file: str, *, at: dt.datetime | None, catalogue_file: str | None, format_: str) -> None:
    """Show a policy expanded: each rule as a sentence, its dates, what is in force, and what the calendar changes next.

    Regions are shown with their members. Device ids are counted, not shown.

    Exit status: 0 good, 1 the file is no policy, 2 usage.

    \b
    Examples:
      regionresolver policy show activation.toml
      regionresolver policy show example-2021 --at 2021-09-05T00:00:00Z
    """
    catalogue = open_catalogue(catalogue_file).catalogue
    found = describe(load_policy(file, catalogue), catalogue, at or now())
    if format_ == "json":
        click.echo(orjson.dumps(dataclasses.asdict(found), default=str))
    else:
        _print(found)


def _print(found: Description) -> None:
    """Print a policy for people."""
    click.echo(f"{found.label} at {zulu(found.at)}")
    click.echo("\nrules, the first that is in force and matches decides:")
    for number, rule in enumerate(found.rules, start=1):
        click.echo(f"  {number}. {rule.id}: {rule.standing}")
        for line in (rule.sentence, *rule.calendar):
            click.echo(f"     {line}")
    for title, lines in (
        ("defaults", found.defaults),
        ("next", [f"{zulu(one.at)}  {one.rule}: {one.before} -> {one.after}" for one in found.changes]),
        ("regions", [f"{name}: {', '.join(members)}" for name, members in found.regions.items()]),
        ("restores", found.restores),
        ("messages", [f"{reason}: {', '.join(languages)}" for reason, languages in found.messages.items()]),
        ("guardrails", found.guardrails),
    ):
        if lines:
            click.echo(f"\n{title}:")
        for line in lines:
            click.echo(f"  {line}")
    click.echo(f"\ntests: {found.tests}")
