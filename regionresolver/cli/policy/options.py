"""What the commands on policies share: how they print, the clock that they read, and the data that they ask."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import click

from regionresolver.cli.options import load, open_resolver
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


def now() -> dt.datetime:
    """Return the instant at which a command was given; nothing below the command line reads a clock."""
    return dt.datetime.now(dt.UTC)


def zulu(instant: dt.datetime) -> str:
    """Write an instant as RFC 3339 in UTC, with a Z."""
    return instant.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
