"""`regionresolver policy diff`: what changes between two policies, in words."""

import datetime as dt
from collections.abc import Sequence

import click
import orjson

from regionresolver.cli import USAGE
from regionresolver.cli.options import catalogue_option
from regionresolver.cli.policy.options import format_option
from regionresolver.errors import PolicyError
from regionresolver.policy import load_policy
from regionresolver.policy.describe import zulu
from regionresolver.policy.diff import Changed, Difference, diff
from regionresolver.resolver.extended import open_catalogue

SHOWN_REGIONS = 20


@click.command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@catalogue_option
@format_option
def command(before: str, after: str, *, catalogue_file: str | None, format_: str) -> None:
    """Say what changes from policy A to policy B: for which regions, SKUs and times, and what was and will be decided.

    Regions are ISO codes, and names of the catalogue for phones of which no more is known. What is not listed is
    decided alike for every ping. Name and version do not count.

    Exit status, as of diff(1): 0 no difference, 1 differences, 2 usage or a file that is no policy.

    \b
    Examples:
      regionresolver policy diff activation.toml next.toml
      regionresolver policy diff observe-only default --format json
    """
    context = click.get_current_context()
    catalogue = open_catalogue(catalogue_file).catalogue
    try:
        a, b = load_policy(before, catalogue), load_policy(after, catalogue)
        found = diff(a, b, catalogue)
    except PolicyError as error:
        click.echo(f"regionresolver: error: {error}", err=True)
        context.exit(USAGE)
    if format_ == "json":
        click.echo(orjson.dumps({"before": a.label, "after": b.label, **_document(found)}))
    else:
        _print(found, a.label, b.label)
    context.exit(1 if found else 0)


def _print(found: Difference, before: str, after: str) -> None:
    """Print the differences for people."""
    click.echo(f"{before} -> {after}" + ("" if found else ": no difference"))
    for change in found.changes:
        click.echo(f"\n{_where(change.regions, found.regions)}; {', '.join(change.sku_classes)}; {_when(change)}")
        for title, course in (("was", change.before), ("now", change.after)):
            for number, step in enumerate(course):
                click.echo(f"  {title if number == 0 else '':3}  {'else ' if number else ''}{step}")
    if found.notes:
        click.echo()
    for note in found.notes:
        click.echo(f"also: {note}")


def _where(regions: Sequence[str], every: Sequence[str]) -> str:
    """Write regions as a list, or as all but some."""
    others = [region for region in every if region not in regions]
    if len(others) < len(regions):
        return f"everywhere but {', '.join(sorted(others))}" if others else "everywhere"
    more = len(regions) - SHOWN_REGIONS
    return ", ".join(regions[:SHOWN_REGIONS]) + (f" and {more} more" if more > 0 else "")


def _when(change: Changed) -> str:
    """Write an interval."""
    parts = [f"from {zulu(change.since)}" if change.since else "", f"until {zulu(change.until)}" if change.until else ""]
    return " ".join(filter(None, parts)) or "always"


def _instant(instant: dt.datetime | None) -> str | None:
    return None if instant is None else zulu(instant)


def _document(found: Difference) -> dict[str, object]:
    return {
        "different": bool(found),
        "changes": [
            {
                "regions": change.regions,
                "sku_classes": change.sku_classes,
                "since": _instant(change.since),
                "until": _instant(change.until),
                "before": change.before,
                "after": change.after,
            }
            for change in found.changes
        ],
        "notes": found.notes,
    }
