"""`regionresolver policy sign`: put a detached signature beside a policy."""

from pathlib import Path

import click
import orjson

from regionresolver.cli.policy.options import format_option
from regionresolver.errors import PolicyError
from regionresolver.policy.generations import SIGNATURE_SUFFIX
from regionresolver.policy.load import file_of, parse_policy, read_content
from regionresolver.policy.signatures import private_key, sign_policy
from regionresolver.sources.catalogue import Catalogue


@click.command("sign")
@click.argument("file", metavar="FILE")
@click.option("--key", metavar="KEY", required=True, help="Private key (PEM), as `policy keygen` makes it.")
@click.option(
    "--out", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="The signature.  [default: FILE.sig]"
)
@format_option
def command(file: str, *, key: str, out: Path | None, format_: str) -> None:
    """Sign the exact bytes of a policy, with its name and version; a later change of any of them needs a new signature.

    The policy must be readable; lint and test it first.

    \b
    Example:
      regionresolver policy sign activation.toml --key policy.key
    """
    path = file_of(file)
    content = read_content(path)
    policy = parse_policy(path, content, Catalogue.load()).policy
    target = out or Path(f"{path}{SIGNATURE_SUFFIX}")
    signature = sign_policy(content, policy.header.name, policy.header.version, private_key(key))
    try:
        target.write_bytes(signature)
    except OSError as error:
        raise PolicyError(target, f"cannot be written: {error.strerror}", remedy="choose another name with --out") from None
    if format_ == "json":
        click.echo(orjson.dumps({"policy": policy.label, "signature": str(target)}))
    else:
        click.echo(f"{target}: {policy.label} signed")
