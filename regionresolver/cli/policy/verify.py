"""`regionresolver policy verify`: say whether a policy is signed, by whom, and whether it is what was signed."""

from collections.abc import Sequence

import click
import orjson

from regionresolver.cli.options import load, settings_options
from regionresolver.cli.policy.options import format_option
from regionresolver.errors import SettingsError
from regionresolver.policy.load import file_of
from regionresolver.policy.served import Trust, read_served
from regionresolver.sources.catalogue import Catalogue


@click.command("verify")
@click.argument("file", metavar="FILE")
@click.option(
    "--public-key",
    "keys",
    metavar="KEY",
    multiple=True,
    help="Key that may have signed: PEM file, or base64.  [default: settings]",
)
@settings_options("policy_state")
@format_option
def command(file: str, *, keys: Sequence[str], format_: str, **values: object) -> None:
    """Verify the signature beside a policy: FILE.sig must fit the exact bytes of FILE, its name and its version.

    With --policy-state the version must not be below the highest that was served.

    Exit status: 0 good, 1 refused, 2 usage.

    \b
    Example:
      regionresolver policy verify activation.toml --public-key policy.key.pub
    """
    settings = load(values).settings
    accepted = tuple(keys) or settings.policy_public_keys
    if not accepted:
        raise SettingsError("no key to verify with: give --public-key, or set policy_public_keys")
    served = read_served(file_of(file), Catalogue.load(), Trust.of(accepted, settings.policy_state))
    if format_ == "json":
        click.echo(orjson.dumps({"policy": served.policy.label, "key": served.key, "sha256": served.sha256}))
    else:
        click.echo(f"{file}: {served.policy.label}, signed with key {served.key}")
