"""`regionresolver config show`: each setting, its value, and where it came from."""

import click
import orjson
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import load, paper, settings_options
from regionresolver.settings import listed


@click.group("config")
def command() -> None:
    """See the settings: flags over environment over a TOML file over defaults."""


@command.command("show")
@settings_options()
@click.option("--json", "as_json", is_flag=True, help="One JSON object: setting to value and origin.")
def show(*, as_json: bool, **values: object) -> None:
    """Show each setting, its value, and where it came from. Takes the flags of `serve`.

    \b
    Examples:
      regionresolver config show
      REGIONRESOLVER_PORT=9000 regionresolver config show --config service.toml
    """
    rows = listed(load(values))
    if as_json:
        click.echo(orjson.dumps({name: {"value": value, "from": whence} for name, value, whence in rows}))
        return
    table = Table("setting", "value", "from")
    for name, value, whence in rows:
        table.add_row(name, Text(_text(value)), Text(whence))
    paper().print(table)


def _text(value: object) -> str:
    """Write a value as the settings file would, an absent one as a dash."""
    return "-" if value is None else orjson.dumps(value).decode()
