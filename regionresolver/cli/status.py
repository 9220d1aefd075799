"""`regionresolver status`: how a running service and its workers are."""

from typing import cast

import click
import orjson
from rich.table import Table

from regionresolver.cli.options import load, paper, settings_options
from regionresolver.resolver import now
from regionresolver.service.control import Document, ask

TIMEOUT_S = 10.0
DAY_S = 86_400
MEBIBYTE = 1 << 20


@click.command("status")
@settings_options("host", "port", "unix_socket", "control_socket")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(*, as_json: bool, **values: object) -> None:
    """Show the workers of a running service, what each serves, and how the latest reload ended.

    Give the settings that the service was started with: they lead to its control socket. Only root and the user that it
    runs as may ask.

    Exit status: 0 when every worker serves the generation of the service, 1 otherwise, or when no service was reached.

    \b
    Examples:
      regionresolver status
      regionresolver status --config /etc/regionresolver.toml --json
    """
    told = ask(load(values).settings, {"do": "status"}, TIMEOUT_S)
    workers = cast("list[dict[str, object]]", told["workers"])
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        _show(told, workers)
    lasting = [worker for worker in workers if not worker["retires"]]
    is_well = told["state"] == "serving" and all((one["state"], one["data"]) == ("serving", told["data"]) for one in lasting)
    click.get_current_context().exit(0 if is_well else 1)


def _show(told: Document, workers: list[dict[str, object]]) -> None:
    console = paper()
    urls = ", ".join(cast("list[str]", told["urls"]))
    console.print(f"{told['state']} at {urls}, process {told['pid']}, version {told['version']}", soft_wrap=True)
    sources = cast("list[dict[str, object]]", told["sources"])
    ages = ", ".join(
        f"{one['name']} (built {(now().timestamp() - cast('int', one['build_epoch'])) / DAY_S:.0f} days ago)" for one in sources
    )
    console.print(f"generation {told['data']}: policy {told['policy']}, {ages}", soft_wrap=True)
    latest = cast("dict[str, object] | None", told["latest_reload"])
    if told["reloading"]:
        console.print("a reload is under way")
    if latest is not None:
        what = "succeeded" if latest["outcome"] == "reloaded" else f"failed: {latest['detail']}"
        console.print(f"latest reload, at {latest['at']}: {what}", soft_wrap=True)
    table = Table("worker", "pid", "state", "generation", "restarts", "up", "heartbeat", "in flight", "resident")
    for one in workers:
        rss_bytes = one["rss_bytes"]
        table.add_row(
            str(one["index"]),
            str(one["pid"]),
            f"{one['state']}{', retires' if one['retires'] else ''}",
            str(one["data"]),
            str(one["restarts"]),
            f"{one['up_s']} s",
            f"{one['heartbeat_s']} s ago",
            str(one["in_flight"]),
            "-" if not isinstance(rss_bytes, int) else f"{rss_bytes / MEBIBYTE:.1f} MiB",
        )
    console.print(table)
