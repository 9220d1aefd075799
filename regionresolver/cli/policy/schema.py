"""`regionresolver policy schema`: the JSON Schema of a policy file, for editors."""

import click
import orjson

from regionresolver.cli.options import catalogue_option
from regionresolver.policy.schema import policy_schema
from regionresolver.resolver.extended import open_catalogue


@click.command("schema")
@catalogue_option
def command(*, catalogue_file: str | None) -> None:
    """Print the JSON Schema of a policy file: editors complete keys and codes with it, and mark what cannot be.

    Editors with Taplo (Even Better TOML and others) read it when the first line of the policy names it.

    Exit status: 0 good, 2 usage.

    \b
    Examples:
      regionresolver policy schema > policy.schema.json
      sed -i '1i #:schema ./policy.schema.json' activation.toml
    """
    click.echo(orjson.dumps(policy_schema(open_catalogue(catalogue_file).catalogue), option=orjson.OPT_INDENT_2))
