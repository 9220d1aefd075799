"""`regionresolver policy`: check, read, compare, try out, and put policies into force; one file a command.

A policy is a TOML or JSON file, or the name of a shipped one. Exit status: 0 good, 1 findings, 2 usage.
"""

import click

from regionresolver.cli.lazy import LazyGroup

COMMANDS = (
    "lint",
    "test",
    "show",
    "diff",
    "impact",
    "activate",
    "rollback",
    "generations",
    "breaker",
    "restores",
    "keygen",
    "sign",
    "verify",
    "schema",
)


@click.group("policy", cls=LazyGroup, package=__name__, names=COMMANDS)
def command() -> None:
    """Check, read, compare and try out policies before they decide on anybody; put them into force, and take them back.

    FILE is a policy in TOML or JSON, or the name of a shipped one: default, example-2021, observe-only.

    \b
    Examples:
      regionresolver policy lint activation.toml
      regionresolver policy test activation.toml
      regionresolver policy activate activation.toml --dir policies --pings pings.ndjson
    """
