"""What the commands on policies share: how they print, what they ask for, and the data that they ask."""

import getpass
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

import click

from regionresolver.cli.options import load, open_resolver, progress_bar
from regionresolver.resolver import Resolver

Command = TypeVar("Command", bound=Callable[..., object])


def format_option(command: Command) -> Command:
    """Add `--format text|json`."""
    option = click.option(
        "--format",
        "format_",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="For people, or one JSON document a line.",
    )
    return option(command)


def dir_option(command: Command) -> Command:
    """Add `--dir FOLDER`: where the generations are."""
    folder = click.Path(file_okay=False, path_type=Path)
    return click.option("--dir", "folder", metavar="FOLDER", required=True, type=folder, help="Folder of the generations.")(
        command
    )


def by_option(command: Command) -> Command:
    """Add `--by NAME`: who does it, for the history."""
    help_ = "Who does this, for the history.  [default: the user of this system]"
    return click.option("--by", metavar="NAME", default=_user, help=help_)(command)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"  # a container's user may have no name


@contextmanager
def open_data(values: Mapping[str, object]) -> Iterator[Resolver]:
    """Open the databases that the flags and the settings name; the resolver's own policy is the shipped default."""
    settings = load(values).settings.model_copy(update={"policy": None, "policy_public_keys": (), "policy_state": None})
    with open_resolver(settings) as resolver:
        yield resolver


@contextmanager
def watched(stream: BinaryIO, what: str) -> Iterator[Callable[[int], None]]:
    """Show how much of a stream is read: of how much, where that can be known."""
    size = stream.seek(0, 2) if stream.seekable() else None
    if size is not None:
        stream.seek(0)
    with progress_bar() as progress:
        yield lambda bytes_read: progress(what, bytes_read, size)
