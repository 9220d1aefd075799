"""`regionresolver keys`: make, list and revoke the API keys of the service."""

import datetime as dt
from pathlib import Path

import click
import orjson
from rich.table import Table

from regionresolver.cli.options import Instant, load, paper, settings_options
from regionresolver.errors import SettingsError
from regionresolver.policy.clock import now
from regionresolver.service.access import Key, make_key, read_keys, summary, write_keys


@click.group("keys")
def command() -> None:
    """Make, list and revoke the API keys of the service (docs/access.md).

    A running service takes a changed file within a second.

    \b
    Example:
      regionresolver keys add activation --api-keys keys.json
      regionresolver serve --api-keys keys.json
    """


def _file(values: dict[str, object]) -> Path:
    file = load(values).settings.api_keys
    if file is None:
        raise click.UsageError("give --api-keys FILE, or set api_keys")
    return file


@command.command("add")
@click.argument("name", metavar="NAME")
@click.option("--expires", type=Instant(), metavar="INSTANT", help="When the key holds no more.  [default: never]")
@click.option("--rate", "rate_per_s", type=float, metavar="NUMBER", help="Requests a second, over all workers.  [default: any]")
@click.option("--burst", type=int, metavar="NUMBER", help="Requests at once.  [default: those of a second]")
@settings_options("api_keys")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def add(
    *,
    name: str,
    expires: dt.datetime | None,
    rate_per_s: float | None,
    burst: int | None,
    as_json: bool,
    **values: object,
) -> None:
    """Make a key, and print it: once, for it is kept nowhere. The file is made when it is not there.

    \b
    Examples:
      regionresolver keys add activation --api-keys keys.json
      regionresolver keys add partner --api-keys keys.json --expires 2027-12-31T00:00:00Z --rate 100 --burst 500
    """
    file = _file(values)
    keys = read_keys(file) if file.exists() else ()
    if any(key.name == name for key in keys):
        raise SettingsError(f"{file}: there is a key of this name (revoke it first, or choose another)")
    if burst is not None and rate_per_s is None:
        raise click.UsageError("--burst needs --rate")
    key, text = make_key(name, expires_at=expires, rate_per_s=rate_per_s, burst=burst)
    write_keys(file, (*keys, key))
    if as_json:
        click.echo(orjson.dumps({"name": name, "key": text}))
        return
    click.echo(text)
    click.echo(f"regionresolver: the key of {name} is in {file} as a digest; this is the only time that it is shown", err=True)


@command.command("list")
@settings_options("api_keys")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a key.")
def list_(*, as_json: bool, **values: object) -> None:
    """List the keys: all but their secrets.

    \b
    Example:
      regionresolver keys list --api-keys keys.json
    """
    keys = read_keys(_file(values))
    if as_json:
        for row in summary(keys):
            click.echo(orjson.dumps(row))
        return
    table = Table()
    for heading in ("name", "id", "created", "expires", "a second", "burst"):
        table.add_column(heading)
    for key in keys:
        table.add_row(key.name, key.id, f"{key.created_at:%Y-%m-%d}", _expiry(key), _number(key.rate_per_s), _number(key.burst))
    paper().print(table)


@command.command("revoke")
@click.argument("name", metavar="NAME")
@settings_options("api_keys")
def revoke(*, name: str, **values: object) -> None:
    """Take a key out of the file.

    \b
    Example:
      regionresolver keys revoke partner --api-keys keys.json
    """
    file = _file(values)
    keys = read_keys(file)
    left = tuple(key for key in keys if key.name != name)
    if len(left) == len(keys):
        raise SettingsError(f"{file}: there is no key of this name (regionresolver keys list)")
    write_keys(file, left)


def _expiry(key: Key) -> str:
    if key.expires_at is None:
        return "never"
    return f"{key.expires_at:%Y-%m-%d %H:%M}Z" + (" (expired)" if key.expires_at <= now() else "")


def _number(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"
