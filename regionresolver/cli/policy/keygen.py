"""`regionresolver policy keygen`: make a pair of keys for signing policies."""

from pathlib import Path

import click
import orjson

from regionresolver.cli.policy.options import format_option
from regionresolver.policy.signatures import generate_key


@click.command("keygen")
@click.option(
    "--out", metavar="KEY", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The private key to write."
)
@format_option
def command(*, out: Path, format_: str) -> None:
    """Make an Ed25519 key that signs policies: KEY, for its owner's eyes alone, and KEY.pub, for the service's settings.

    Neither replaces a file that is there. Keep the private key away from the hosts that serve.

    \b
    Example:
      regionresolver policy keygen --out policy.key
    """
    key = generate_key(out)
    if format_ == "json":
        click.echo(orjson.dumps({"private": str(out), "public": f"{out}.pub", "key": key.id, "base64": key.text}))
    else:
        click.echo(f"{out}.pub: key {key.id}, as a setting {key.text}")
