"""`regionresolver log`: the decision log's segments."""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import orjson
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import paper, progress_bar
from regionresolver.resolver.log_chain import Verified, segments, verify

_CHAIN = re.compile(r"[0-9a-fA-F]{64}")


@click.group("log")
def command() -> None:
    """Look after the decision log (docs/decision-log.md).

    \b
    Example:
      regionresolver log verify /var/log/regionresolver
    """


@command.command("verify")
@click.argument("paths", metavar="FOLDER|FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--anchor", "anchors", metavar="CHAIN", multiple=True, help="Chain noted before, which must be met.  [repeatable]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a chain.")
def verify_command(*, paths: Sequence[Path], anchors: Sequence[str], as_json: bool) -> None:
    """Check that no line of the decision log was changed, taken out, put in or moved.

    Each chain of segments is read up to the first line that does not fit, which is named. Half a line at the end of a
    segment whose process was killed is no fault. That the newest lines were taken off shows only against an --anchor: a
    chain that this command, or the service's log, told before.

    Exit status: 0 all is whole, 1 something is not, 2 usage or a file that cannot be read.

    \b
    Examples:
      regionresolver log verify /var/log/regionresolver
      regionresolver log verify decisions-000-00000001.ndjson --json
      regionresolver log verify /var/log/regionresolver --anchor 8d23997c...
    """
    if any(_CHAIN.fullmatch(anchor) is None for anchor in anchors):
        raise click.UsageError("--anchor: a chain has 64 hexadecimal digits")
    try:
        files = [file for path in paths for file in (segments(path) if path.is_dir() else [path])]
        total = sum(file.stat().st_size for file in files)
        with progress_bar() as progress:
            found = list(verify(files, lambda read: progress("verifying", read, total), anchors))
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror or 'it cannot be read'}") from None
    if not found:
        raise click.UsageError("there is no segment of a decision log (decisions-*.ndjson)")
    for one in found:
        if as_json:
            click.echo(orjson.dumps(asdict(one)))
    if not as_json:
        _print(found)
    click.get_current_context().exit(1 if any(one.fault for one in found) else 0)


def _print(found: Sequence[Verified]) -> None:
    table = Table()
    for heading in ("chain", "segments", "decisions", "dropped", "cut", "torn bytes", "last chain", "found"):
        table.add_column(heading, overflow="fold")
    for one in found:
        counts = (one.segments, one.decisions, one.missing, one.cut, one.torn_bytes)
        state = Text("broken", style="bold red") if one.fault else Text("whole", style="green")
        table.add_row("-" if one.chain is None else f"{one.chain:03}", *(f"{count:,}" for count in counts), one.last, state)
    paper().print(table)
    for one in found:
        if one.begins_with is not None:
            click.echo(f"note: {one.begins_with} goes on from a segment that is not here")
        for note in one.notes:
            click.echo(f"note: {note}")
        if one.fault is not None:
            where = f"{one.fault.file}:{one.fault.line}" if one.fault.line else one.fault.file or "the log"
            click.echo(f"broken: {where}: {one.fault.reason}")
