"""`regionresolver policy breaker`: see whether the runtime breaker has tripped, and reset it."""

from pathlib import Path

import click
import orjson

from regionresolver.cli.policy.options import by_option, dir_option, format_option
from regionresolver.errors import PolicyError
from regionresolver.policy.breaker import Trip
from regionresolver.policy.clock import now
from regionresolver.policy.generations import Generations


@click.group("breaker")
def command() -> None:
    """See whether the runtime breaker has tripped, and reset it.

    \b
    Examples:
      regionresolver policy breaker show --dir policies
      regionresolver policy breaker reset --dir policies --reason "it was a load test"
    """


@command.command("show")
@dir_option
@format_option
def show(*, folder: Path, format_: str) -> None:
    """Say whether the breaker has tripped on the active policy of a folder.

    Exit status: 0 it has not, 1 it has, 2 usage.

    \b
    Example:
      regionresolver policy breaker show --dir policies
    """
    generations = Generations(folder)
    active = generations.active()
    if active is None:
        raise PolicyError(folder, "has no active policy", remedy=f"regionresolver policy activate FILE --dir {folder}")
    mark = generations.breaker_mark(active)
    trip = mark if isinstance(mark, Trip) else None
    if format_ == "json":
        document = (
            None if trip is None else {"at": trip.since, "action": trip.action, "decided": trip.decided, "denied": trip.denied}
        )
        click.echo(orjson.dumps({"policy": active.label, "generation": active.generation, "tripped": document}))
    else:
        click.echo(f"{folder}: {active.label}: {'the runtime breaker has not tripped' if trip is None else trip}")
    click.get_current_context().exit(0 if trip is None else 1)


@command.command("reset")
@dir_option
@click.option("--reason", metavar="TEXT", required=True, help="Why, for the history.")
@by_option
def reset(*, folder: Path, reason: str, by: str) -> None:
    """Let the policy speak again: a service that serves the folder resets its breaker within about a second.

    The window begins empty, so the breaker trips again when the denials go on. Another activation resets it, too.

    \b
    Example:
      regionresolver policy breaker reset --dir policies --reason "it was a load test"
    """
    Generations(folder).reset_breaker(at=now(), by=by, reason=reason)
    click.echo(f"{folder}: the breaker is reset")
