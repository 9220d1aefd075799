"""The command line: one file a command, loaded when it is asked for.

Exit status: 0 good; 1 something was found or failed (one line on standard error says what); 2 the command line or the
settings cannot be used. Tables are for people; `--json` writes one JSON document a line.
"""

import importlib
from collections.abc import Sequence

import click

from regionresolver.errors import PingError, RegionResolverError, SettingsError

FAILED = 1
USAGE = 2

COMMANDS = ("serve", "lookup", "decide", "plmn", "db", "index", "config")


class CommandLine(click.Group):
    """A group that imports a command when it is used, and tells errors of ours in one line."""

    def list_commands(self, ctx: click.Context) -> Sequence[str]:  # type: ignore[override]  # noqa: ARG002
        """Give the names of the commands, in the order of a first visit."""
        return COMMANDS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command by its name; `None` when there is none of it."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; an error that we raised on purpose becomes one line and an exit status."""
        try:
            return super().invoke(ctx)
        except RegionResolverError as error:
            click.echo(f"regionresolver: error: {' '.join(str(error).split())}", err=True)
            ctx.exit(USAGE if isinstance(error, SettingsError | PingError) else FAILED)


@click.group(cls=CommandLine, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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
