"""`regionresolver catalogue lint` and `catalogue show`: an operator's regions, aliases and overrides, before they are used."""

import datetime as dt
from collections.abc import Sequence

import click
import orjson
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import paper, progress_bar
from regionresolver.errors import CatalogueError
from regionresolver.policy import Severity
from regionresolver.policy.clock import now
from regionresolver.resolver.catalogue_lint import CatalogueFinding, error_finding, lint_catalogue
from regionresolver.resolver.databases import embedded_database, open_databases
from regionresolver.resolver.documents import catalogue_document
from regionresolver.resolver.extended import Extended, open_catalogue, written_prefix
from regionresolver.sources.catalogue import Catalogue
from regionresolver.sources.extension import Extension
from regionresolver.sources.plmn import PlmnTable


@click.group("catalogue")
def command() -> None:
    """Look into the region catalogue, or check a file that extends it.

    \b
    Example:
      regionresolver catalogue lint catalogue.toml
      regionresolver serve --catalogue catalogue.toml
    """


@command.command("lint")
@click.argument("file", metavar="FILE")
@click.option(
    "--db",
    "specs",
    metavar="FILE[,FILE]",
    multiple=True,
    help="IP database to compare the overrides with. None: the embedded one.  [repeatable]",
)
@click.option(
    "--soon",
    "soon_days",
    metavar="DAYS",
    type=click.IntRange(min=0, max=36_500),
    default=30,
    show_default=True,
    help="Warn of an override that ends within so many days.",
)
@click.option(
    "--fail-on",
    type=click.Choice([Severity.WARNING.value, Severity.ERROR.value]),
    default=Severity.WARNING.value,
    show_default=True,
    help="Least severity that makes the exit status 1.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def lint(file: str, specs: Sequence[str], *, soon_days: int, fail_on: str, as_json: bool) -> None:
    """Say everything that is to be said against a catalogue file: errors keep it from being used, warnings do not.

    Errors are unknown codes, regions that contain themselves, names that hide a code, and two overrides for one network
    or PLMN. Warnings are overrides that have expired or soon will, that contradict a database or the PLMN table
    everywhere, that lie in each other, or that change nothing.

    Exit status: 0 nothing found, 1 findings, 2 usage.

    \b
    Examples:
      regionresolver catalogue lint catalogue.toml
      regionresolver catalogue lint catalogue.toml --db geolite2-city.mmdb --soon 90
      regionresolver catalogue lint catalogue.toml --fail-on error --json
    """
    found = _findings(file, specs, dt.timedelta(days=soon_days))
    if as_json:
        listed = [{"severity": one.severity, "code": one.code, "where": one.where, "text": one.text} for one in found]
        click.echo(orjson.dumps({"file": file, "good": not found, "findings": listed}))
    else:
        for one in found:
            click.echo(f"{file}: {one.where + ': ' if one.where else ''}{one.severity}: {one.text} [{one.code}]")
        if not found:
            click.echo(f"{file}: good")
    failed = any(fail_on == Severity.WARNING or one.severity is Severity.ERROR for one in found)
    click.get_current_context().exit(1 if failed else 0)


@command.command("show")
@click.argument("file", metavar="[FILE]", required=False)
@click.option("--builtin", is_flag=True, help="Show the shipped catalogue alone.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(file: str | None, *, builtin: bool, as_json: bool) -> None:
    """Show the region catalogue with a file in it, its words as codes: regions, subdivisions, further words, overrides.

    \b
    Examples:
      regionresolver catalogue show --builtin
      regionresolver catalogue show catalogue.toml
      regionresolver catalogue show catalogue.toml --json
    """
    if builtin == (file is not None):
        raise click.UsageError("give a FILE, or --builtin for the shipped catalogue")
    extended = open_catalogue(file)
    if as_json:
        click.echo(orjson.dumps(catalogue_document(extended)))
        return
    console = paper()
    console.print(_regions(extended))
    console.print(_subdivisions(extended.catalogue))
    if extended.catalogue.words:
        console.print(_words(extended.catalogue))
    if extended.overrides:
        console.print(_overrides(extended))


def _findings(file: str, specs: Sequence[str], soon: dt.timedelta) -> list[CatalogueFinding]:
    shipped = Catalogue.load()
    try:
        extension = Extension.read(file)
    except CatalogueError as error:
        return [error_finding(error)]
    with progress_bar() as progress:
        sources = open_databases(specs or [str(embedded_database())], progress) if extension.overrides else []
    return lint_catalogue(extension, shipped, PlmnTable.load(catalogue=shipped), sources, now(), soon)


def _regions(extended: Extended) -> Table:
    table = Table("region", "members", "country", "from")
    for name, region in extended.catalogue.regions.items():
        table.add_row(name, Text(", ".join(region.members)), region.country or "-", Text(region.source.key))
    return table


def _subdivisions(catalogue: Catalogue) -> Table:
    table = Table("subdivision", "name", "filed under", "codes in databases", "names in databases")
    for code, row in catalogue.subdivisions.items():
        cells = (row.name, ", ".join(row.countries), ", ".join(row.aliases) or "-", "; ".join(row.names))
        table.add_row(code, *map(Text, cells))
    return table


def _words(catalogue: Catalogue) -> Table:
    table = Table("word", "means")
    for word, meaning in catalogue.words.items():
        table.add_row(Text(word), meaning)
    return table


def _overrides(extended: Extended) -> Table:
    table = Table("override", "of", "region", "confidence", "owner", "expires", "reason")
    for one in extended.overrides:
        expires = "never" if one.expires is None else f"{one.expires:%Y-%m-%d %H:%M}Z"
        confidence = "-" if one.confidence is None else f"{one.confidence:.2f}"
        prefix = written_prefix(one.kind, one.prefix) + (" exact" if one.exact else "")
        cells = (one.id, prefix, ", ".join(one.regions), confidence, one.owner, expires, one.reason)
        table.add_row(*map(Text, cells))
    return table
