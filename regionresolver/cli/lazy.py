"""Groups of commands that are loaded when they are asked for: one module a command, whose `command` it is."""

import importlib
from collections.abc import Sequence

import click


class LazyGroup(click.Group):
    """A group whose commands are modules of one package; `--help` imports all of them, a command only its own."""

    def __init__(self, *arguments: object, package: str, names: Sequence[str], **more: object) -> None:
        """Keep the package and the names of its commands, in the order in which help lists them."""
        super().__init__(*arguments, **more)  # type: ignore[arg-type]
        self._package = package
        self._names = names

    def list_commands(self, ctx: click.Context) -> Sequence[str]:  # type: ignore[override]  # noqa: ARG002
        """Give the names of the commands, in the order of a first visit."""
        return self._names

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command by its name; `None` when there is none of it."""
        if cmd_name not in self._names:
            return None
        command = importlib.import_module(f"{self._package}.{cmd_name}").command
        return command if isinstance(command, click.Command) else None
