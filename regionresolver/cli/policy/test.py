"""`regionresolver policy test`: run the tests that a policy carries, and show what differs."""

import click
import orjson

from regionresolver.cli.options import settings_options
from regionresolver.cli.policy.options import format_option, open_data
from regionresolver.policy import PolicyFile, TestResult, read_policy
from regionresolver.policy.describe import zulu


@click.command("test")
@click.argument("file", metavar="FILE")
@settings_options("db", "index", "any_regions", "catalogue")
@format_option
def command(file: str, *, format_: str, **values: object) -> None:
    """Run the tests that a policy carries, each at its own instant, on the databases of the service.

    Exit status: 0 all passed, 1 one failed or the file is no policy, 2 usage.

    \b
    Examples:
      regionresolver policy test activation.toml
      regionresolver policy test activation.toml --db geolite2-city.mmdb --format json
    """
    with open_data(values) as resolver:
        read = read_policy(file, resolver.catalogue)
        results = resolver.test_policy(read.policy)
    if format_ == "json":
        click.echo(orjson.dumps(_document(file, read, results)))
    else:
        for number, result in enumerate(results):
            _print(result, read.line_of(("tests", number)))
        failed = sum(not result.passed for result in results)
        click.echo(f"{file}: {read.policy.label}: {len(results) - failed} passed, {failed} failed")
    click.get_current_context().exit(0 if all(result.passed for result in results) else 1)


def _print(result: TestResult, line: int | None) -> None:
    """Print one test; below one that failed, each field with what was expected and what came."""
    place = f" (line {line})" if line and not result.passed else ""
    click.echo(f"{'passed' if result.passed else 'FAILED'}  {zulu(result.at)}  {result.name}{place}")
    if result.refusal is not None:
        click.echo(f"        {result.refusal}")
    width = max((len(one.field) for one in result.differences), default=0)
    for one in result.differences:
        click.echo(f"        {one.field:{width}}  expected {_said(one.expected)}")
        click.echo(f"        {'':{width}}  got      {_said(one.got)}")


def _said(value: object) -> str:
    return "nothing" if value is None else str(value)


def _document(file: str, read: PolicyFile, results: list[TestResult]) -> dict[str, object]:
    return {
        "file": file,
        "policy": read.policy.label,
        "good": all(result.passed for result in results),
        "tests": [
            {
                "name": result.name,
                "at": zulu(result.at),
                "line": read.line_of(("tests", number)),
                "passed": result.passed,
                "refusal": result.refusal,
                "differences": [{"field": one.field, "expected": one.expected, "got": one.got} for one in result.differences],
            }
            for number, result in enumerate(results)
        ],
    }
