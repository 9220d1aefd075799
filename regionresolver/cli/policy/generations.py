"""`regionresolver policy generations`: which policies were active in a folder, when, by whom and why."""

from pathlib import Path

import click
import orjson
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import paper
from regionresolver.cli.policy.options import dir_option, format_option
from regionresolver.errors import PolicyError
from regionresolver.policy.describe import zulu
from regionresolver.policy.generations import Activation, Generations

DIGEST_DIGITS = 12


@click.command("generations")
@dir_option
@click.option("--history", is_flag=True, help="Every event instead: activations, rollbacks, trips and resets of the breaker.")
@format_option
def command(*, folder: Path, history: bool, format_: str) -> None:
    """List the generations of a folder, and check that each is what was activated.

    Exit status: 0 good, 1 when one has been altered or is gone, or the pointer is damaged, 2 usage.

    \b
    Examples:
      regionresolver policy generations --dir policies
      regionresolver policy generations --dir policies --history --format json
    """
    if not folder.is_dir():
        raise PolicyError(folder, "is no folder", remedy="make one: regionresolver policy activate FILE --dir FOLDER")
    generations = Generations(folder)
    rows = _events(generations) if history else _rows(generations)
    if format_ == "json":
        for row in rows:
            click.echo(orjson.dumps(row))
    else:
        _print(rows)
    click.get_current_context().exit(1 if any(row.get("state") in {"altered", "gone"} for row in rows) else 0)


def _rows(generations: Generations) -> list[dict[str, object]]:
    """Answer one row a generation, by number; of one that was active more than once its latest activation."""
    chain, files = generations.chain(), generations.files()
    latest = {activation.generation: activation for activation in reversed(chain)}
    return [
        _row(generations, number, latest.get(number), is_active=bool(chain) and chain[0].generation == number)
        for number in sorted({*files, *latest})
    ]


def _row(generations: Generations, number: int, activation: Activation | None, *, is_active: bool) -> dict[str, object]:
    if activation is None:
        return {"generation": number, "state": "never active"}
    return {
        "generation": number,
        "state": _state(generations, activation) or ("active" if is_active else "was active"),
        "policy": activation.label,
        "sha256": activation.sha256,
        "event": activation.event,
        "at": zulu(activation.at),
        "by": activation.by,
        "reason": activation.reason,
        "overridden": list(activation.overridden),
        "key": activation.key,
    }


def _state(generations: Generations, activation: Activation) -> str | None:
    """Say what is wrong with the file of a generation."""
    try:
        generations.content(activation)
    except PolicyError:
        return "altered" if activation.generation in generations.files() else "gone"
    return None


def _events(generations: Generations) -> list[dict[str, object]]:
    """Answer every event that held, in order; lines of activations that were cut off are left out."""
    held = {activation.sequence for activation in generations.chain()}
    events = [event for event in generations.history() if not isinstance(event, Activation) or event.sequence in held]
    return [event.model_dump(mode="json", exclude_none=True) for event in events]


def _print(rows: list[dict[str, object]]) -> None:
    """Print rows as a table of what any of them has."""
    columns = [
        name
        for name in ("sequence", "generation", "state", "policy", "event", "at", "by", "reason", "sha256", "key")
        if any(row.get(name) for row in rows)
    ]
    table = Table(*columns)
    for row in rows:
        cells = (str(row.get(name) or "") for name in columns)
        table.add_row(
            *(Text(cell[:DIGEST_DIGITS] if name == "sha256" else cell) for name, cell in zip(columns, cells, strict=True))
        )
    paper().print(table)
