"""The command line: one file a command, loaded when it is asked for.

Exit status: 0 good; 1 something was found or failed (one line on standard error says what); 2 the command line or the
settings cannot be used. Tables are for people; `--json` (`--format json` for policies) writes one JSON document a line.
"""

import re

import click

from regionresolver.cli.lazy import LazyGroup
from regionresolver.errors import LoadError, PingError, RegionResolverError, SettingsError

FAILED = 1
USAGE = 2

COMMANDS = (
    *("serve", "reload", "status", "keys", "load"),
    *("lookup", "decide", "log", "plmn", "policy", "catalogue", "db", "index", "config"),
)


# An IMSI, or the part of one behind a separator: click repeats what it does not understand.
_LONG_NUMBER = re.compile(r"[0-9]{7,}")


class CommandLine(LazyGroup):
    """The group of all commands, which tells errors of ours in one line."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error that we raised on purpose becomes one line and an exit status."""
        try:
            return super().invoke(ctx)
        except RegionResolverError as error:
            click.echo(f"regionresolver: error: {' '.join(str(error).split())}", err=True)
            ctx.exit(USAGE if isinstance(error, SettingsError | PingError | LoadError) else FAILED)
        except click.UsageError as error:
            raise click.UsageError(_LONG_NUMBER.sub("[digits]", error.format_message()), error.ctx) from None


@click.group(
    cls=CommandLine,
    package=__name__,
    names=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="regionresolver")
def main() -> None:
    """Tell in which region a phone is, and whether it may be activated there.

    \b
    Examples:
      regionresolver serve --port 8080
      regionresolver decide --serving 36801
      regionresolver lookup 203.0.113.7 2001:db8::1
      regionresolver plmn 250-33
    """
