"""What the commands on policies share: how they print, the clock that they read, and the data that they ask."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
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


@contextmanager
def open_data(values: Mapping[str, object]) -> Iterator[Resolver]:
    """Open the databases that the flags and the settings name; the resolver's own policy is the shipped default."""
    settings = load(values).settings.model_copy(update={"policy": None})
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


def now() -> dt.datetime:
    """Return the instant at which a command was given; nothing below the command line reads a clock."""
    return dt.datetime.now(dt.UTC)
