"""Options made from the settings' model, so that a flag, its help and its default cannot drift from it."""

import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar, get_args, get_origin

import click
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.progress import Progress, TaskID

from regionresolver.resolver import Resolver, parse_instant
from regionresolver.settings import CONFIG_VARIABLE, LoadedSettings, Settings, flag_name, load_settings

Command = TypeVar("Command", bound=Callable[..., object])

PIPE_COLUMNS = 160

LONG_S = 0.5
"""What takes longer than this shows a progress bar."""

_REFRESH_S = 0.1

_METAVARS = {
    "host": "ADDRESS",
    "port": "PORT",
    "unix_socket": "PATH",
    "unix_socket_mode": "MODE",
    "workers": "NUMBER|auto",
    "db": "FILE[,FILE]",
    "index": "FILE",
    "any_regions": "REGION",
    "canaries": "FILE",
    "catalogue": "FILE",
    "control_socket": "PATH",
    "policy": "FILE|FOLDER",
    "policy_public_keys": "KEY",
    "policy_state": "FILE",
    "trusted_proxies": "NETWORK",
    "decision_log_dir": "FOLDER",
    "api_keys": "FILE",
    "tls_certificate": "FILE",
    "tls_key": "FILE",
    "admin_host": "ADDRESS",
    "admin_port": "PORT",
    "admin_unix_socket": "PATH",
}
_OTHER_FLAGS = {"any_regions": ("--any-region",), "policy_public_keys": ("--policy-public-key",)}


class Instant(click.ParamType[dt.datetime]):
    """An instant with its time zone, as RFC 3339 writes it."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        """Read the text; click reports what is wrong, and exits with 2."""
        instant = parse_instant(str(value))
        if instant is None:
            self.fail("not an instant with its time zone, as RFC 3339 writes it (2021-09-01T00:00:00Z)", param, ctx)
        return instant


def settings_options(*names: str) -> Callable[[Command], Command]:
    """Add the flags of the named settings (all without names) and `--config`; see `load`."""

    def decorate(command: Command) -> Command:
        for name in reversed(names or tuple(Settings.model_fields)):
            command = _option(name, Settings.model_fields[name])(command)
        config = click.option("--config", metavar="FILE", help=f"Settings file (TOML); also {CONFIG_VARIABLE}.")
        return config(command)

    return decorate


def catalogue_option(command: Command) -> Command:
    """Add `--catalogue` to a command that needs no other setting: a file whose words for subdivisions count as well."""
    option = click.option("--catalogue", "catalogue_file", metavar="FILE", help="File that extends the region catalogue.")
    return option(command)


def load(values: Mapping[str, object]) -> LoadedSettings:
    """Load the settings from what click parsed for `settings_options`. Raises SettingsError."""
    flags = {name: value for name, value in values.items() if name in Settings.model_fields and value not in (None, ())}
    config = values.get("config")
    return load_settings(flags, config if isinstance(config, str | Path) else None)


def open_resolver(settings: Settings, serial: int | None = None, *, remember: bool = True) -> Resolver:
    """Open the databases or the image, and the policy; with a progress bar when it takes long, on a terminal.

    `serial` numbers the generation; without `remember` the policy is not served yet. See `Resolver.open`.
    """
    with progress_bar() as progress:
        return Resolver.open(
            settings.db or None,
            settings.policy,
            progress,
            index=settings.index,
            any_regions=settings.any_regions,
            catalogue=settings.catalogue,
            policy_public_keys=settings.policy_public_keys,
            policy_state=settings.policy_state,
            remember=remember,
            serial=serial,
        )


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show bars on standard error while the context lasts, on a terminal and not before LONG_S; give what moves them.

    The function takes what is being done, how much of it is done, and how much there is (None: nobody knows); each task
    has its own bar.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _what, _done, _total: None
        return
    # Without its thread: the service forks its workers after this.
    bars = Progress(console=console, transient=True, auto_refresh=False)
    tasks: dict[str, TaskID] = {}
    drawn_at = time.monotonic()

    def advance(what: str, done: int, total: int | None) -> None:
        nonlocal drawn_at
        if what not in tasks:
            tasks[what] = bars.add_task(what)
        bars.update(tasks[what], completed=done, total=total)
        if time.monotonic() - drawn_at > _REFRESH_S:
            drawn_at = time.monotonic()
            bars.refresh()

    # A step that tells nothing for a while must not delay the first bar.
    start = threading.Timer(LONG_S, bars.start)
    start.start()
    try:
        yield advance
    finally:
        start.cancel()
        start.join()
        if bars.live.is_started:
            bars.stop()


def paper() -> Console:
    """Make the console for tables: as wide as the terminal; wide enough for every column where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_COLUMNS)


def _option(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    help_ = field.description or ""
    if field.default not in (None, ()) and field.default is not False:
        help_ += f"  [default: {field.default}]"
    if field.annotation is bool:
        return click.option(f"{flag_name(name)}/{flag_name('no_' + name)}", name, default=None, help=help_)
    if get_origin(field.annotation) is Literal:
        return click.option(flag_name(name), name, type=click.Choice(get_args(field.annotation)), help=help_)
    if get_origin(field.annotation) is tuple:
        flags = (flag_name(name), *_OTHER_FLAGS.get(name, ()))
        return click.option(*flags, name, multiple=True, metavar=_METAVARS[name], help=help_ + "  [repeatable]")
    return click.option(flag_name(name), name, metavar=_METAVARS.get(name, "NUMBER"), help=help_)
