"""`regionresolver serve`: the HTTP service."""

import click

from regionresolver.cli.options import load, open_resolver, settings_options
from regionresolver.service.supervisor import run


@click.command("serve")
@settings_options()
def command(**values: object) -> None:
    """Answer pings over HTTP until SIGTERM or SIGINT.

    A supervisor opens the data once and forks the workers, which share it. It replaces a worker that dies or hangs; on
    SIGHUP a new generation of data and policy is built and checked aside, and every worker swaps to it between two
    requests. SIGTERM drains, a second one does not wait. docs/operations.md has the details.

    Every flag is also an environment variable (REGIONRESOLVER_ and its name in capitals) and a line of the settings
    file; `regionresolver config show` tells which value holds, and why.

    \b
    Examples:
      regionresolver serve
      regionresolver serve --port 9000 --db geolite2-city.mmdb --policy policy.toml
      regionresolver serve --db dbip-v4.mmdb,dbip-v6.mmdb --trusted-proxies 10.0.0.0/8
      regionresolver serve --workers 4 --drain-delay-s 10
      regionresolver serve --unix-socket /run/regionresolver/http.sock
      regionresolver serve --policy policies --policy-public-key policy.key.pub
    """
    settings = load(values).settings
    run(settings, lambda serial: open_resolver(settings, serial, remember=False))
