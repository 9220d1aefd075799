"""`regionresolver policy lint`: what is wrong with a policy, with the line where it stands."""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import click
import orjson

from regionresolver.cli.options import Instant, settings_options
from regionresolver.cli.policy.options import format_option, open_data
from regionresolver.errors import PolicyError
from regionresolver.policy import Policy, Severity, load_policy, read_policy
from regionresolver.policy.clock import now
from regionresolver.resolver import Resolver


@dataclass(frozen=True, slots=True)
class Line:
    """One finding as it is printed; `where` begins with the line of the file where that is known."""

    severity: Severity
    code: str
    where: str
    text: str


@click.command("lint")
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@settings_options("db", "index", "catalogue")
@click.option("--active", metavar="FILE", help="The policy that FILE would replace: checks version and running rollouts.")
@click.option("--at", type=Instant(), metavar="INSTANT", help="Check the calendar as of this instant.  [default: now]")
@click.option(
    "--fail-on",
    type=click.Choice([Severity.WARNING.value, Severity.ERROR.value]),
    default=Severity.WARNING.value,
    show_default=True,
    help="Least severity that makes the exit status 1.",
)
@format_option
def command(
    files: Sequence[str], *, active: str | None, at: dt.datetime | None, fail_on: str, format_: str, **values: object
) -> None:
    """Say everything that is to be said against policies: errors keep one from being activated, warnings do not.

    A file that cannot be read as a policy is an error with its line. The embedded tests run too. Which subdivisions a
    rule can see depends on the databases: give those of the service with --db or --index.

    Exit status: 0 nothing found, 1 findings, 2 usage.

    \b
    Examples:
      regionresolver policy lint activation.toml
      regionresolver policy lint next.toml --active activation.toml --db geolite2-city.mmdb
      regionresolver policy lint *.toml --fail-on error --format json
    """
    failed = False
    with open_data(values) as resolver:
        catalogue = resolver.catalogue
        running = load_policy(active, catalogue) if active is not None else None
        for file in files:
            found = list(_findings(file, resolver, running, at or now()))
            failed |= any(fail_on == Severity.WARNING or line.severity is Severity.ERROR for line in found)
            _print(file, found, format_)
    click.get_current_context().exit(1 if failed else 0)


def _findings(file: str, resolver: Resolver, active: Policy | None, at: dt.datetime) -> Iterator[Line]:
    """Answer what is to be said against one file."""
    try:
        read = read_policy(file, resolver.catalogue)
        found = resolver.lint_policy(read.policy, active=active, at=at)
    except PolicyError as error:
        # With several problems the remedy only says how many there are, and here they are.
        remedy = f" ({error.remedy})" if error.remedy and not error.others else ""
        for where, reason in ((error.where, error.reason + remedy), *error.others):
            yield Line(Severity.ERROR, "policy-invalid", where, reason)
        return
    for line, finding in sorted(((read.line_of(finding.path), finding) for finding in found), key=lambda pair: pair[0] or 0):
        yield Line(finding.severity, finding.code, f"line {line}, {finding.where}" if line else finding.where, finding.text)


def _print(file: str, found: Sequence[Line], format_: str) -> None:
    """Print what was found in one file."""
    if format_ == "json":
        listed = [{"severity": line.severity, "code": line.code, "where": line.where, "text": line.text} for line in found]
        click.echo(orjson.dumps({"file": file, "good": not found, "findings": listed}))
        return
    for line in found:
        place = f"{line.where}: " if line.where else ""
        click.echo(f"{file}: {place}{line.severity}: {line.text} [{line.code}]")
    if not found:
        click.echo(f"{file}: good")
