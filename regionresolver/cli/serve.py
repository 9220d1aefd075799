"""`regionresolver serve`: the HTTP service."""

import click

from regionresolver.cli.options import load, settings_options
from regionresolver.service.server import run


@click.command("serve")
@settings_options()
def command(**values: object) -> None:
    """Answer pings over HTTP until SIGTERM or SIGINT.

    Every flag is also an environment variable (REGIONRESOLVER_ and its name in capitals) and a line of the settings
    file; `regionresolver config show` tells which value holds, and why.

    \b
    Examples:
      regionresolver serve
      regionresolver serve --port 9000 --db geolite2-city.mmdb --policy policy.toml
      regionresolver serve --db dbip-v4.mmdb,dbip-v6.mmdb --trusted-proxies 10.0.0.0/8
    """
    run(load(values).settings)
