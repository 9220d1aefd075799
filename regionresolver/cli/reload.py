"""`regionresolver reload`: a new generation for a running service."""

import click
import orjson

from regionresolver.cli.options import load, settings_options
from regionresolver.service.control import ask

# Beyond its own time: the service may first have to finish another reload.
MARGIN_S = 60.0


@click.command("reload")
@settings_options("host", "port", "unix_socket", "control_socket", "reload_timeout_s")
@click.option("--force", is_flag=True, help="Serve the new databases though they know much less (shrink_limit).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(*, force: bool, as_json: bool, **values: object) -> None:
    """Let a running service build, check and serve a new generation of data and policy, and tell how it went.

    Give the settings that the service was started with: they lead to its control socket. Only root and the user that it
    runs as may ask.

    Exit status: 0 when the new generation is served, 1 when the old one still is, or no service was reached.

    \b
    Examples:
      regionresolver reload
      regionresolver reload --config /etc/regionresolver.toml
      regionresolver reload --port 9000 --json
    """
    settings = load(values).settings
    told = ask(settings, {"do": "reload", "force": force}, 2 * settings.reload_timeout_s + MARGIN_S)
    if as_json:
        click.echo(orjson.dumps(told))
    elif told["outcome"] == "reloaded":
        click.echo(f"reloaded: {told['data']} with policy {told['policy']}, in {told['took_s']} s")
        warnings = told.get("warnings")
        for warning in warnings if isinstance(warnings, list) else []:
            click.echo(f"warning: {warning}", err=True)
    else:
        click.echo(f"not reloaded, {told['data']} is still served: {told['detail']}", err=True)
    click.get_current_context().exit(0 if told["outcome"] == "reloaded" else 1)
