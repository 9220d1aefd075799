"""What `regionresolver decide --from-log` does: a line of the decision log, decided again and compared."""

import datetime as dt
import sys
from pathlib import Path
from typing import BinaryIO

import click
import orjson
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import paper
from regionresolver.errors import RecordError
from regionresolver.resolver import Resolver
from regionresolver.resolver.log_records import MEMBERS, Again, Recorded
from regionresolver.resolver.ndjson import LONGEST_RECORD_BYTES


def decide_from_log(resolver: Resolver, line: str, at: dt.datetime | None, *, as_json: bool) -> None:
    """Decide again, print both decisions, and exit with 1 where they differ. Raises RecordError, click.UsageError."""
    recorded = Recorded.of(_read(line))
    again = Again(resolver)
    then, now = recorded.said, again.said(again.decide(recorded, at))
    different = [name for name in MEMBERS if then[name] != now[name]]
    why = again.why_different(recorded)
    if at is not None and at != recorded.at:
        why.append("another instant was asked for")
    if different and not why:
        why.append("nothing that is known explains it: the line was changed (see log verify), or this release decides otherwise")
    if as_json:
        document = {"same": not different, "different": different, "why": why, "then": then, "now": now}
        click.echo(orjson.dumps(document))
    else:
        paper().print(_table(then, now, different))
        click.echo("the same" if not different else f"different: {', '.join(different)}")
        for reason in why:
            click.echo(f"note: {reason}")
    click.get_current_context().exit(1 if different else 0)


def _table(then: dict[str, object], now: dict[str, object], different: list[str]) -> Table:
    table = Table()
    for heading in ("", "then", "now"):
        table.add_column(heading)
    for name in MEMBERS:
        style = "bold red" if name in different else ""
        table.add_row(name, Text(_shown(then[name])), Text(_shown(now[name]), style=style))
    return table


def _shown(value: object) -> str:
    return "-" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()


def _read(line: str) -> dict[str, object]:
    """Read the line itself, standard input, or a line of a file."""
    if line == "-":
        text = sys.stdin.buffer.readline(LONGEST_RECORD_BYTES + 1)
    elif line.lstrip().startswith("{"):
        text = line.encode()
    else:
        text = _line_of(line)
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise RecordError("the line is not JSON") from None
    if not isinstance(document, dict):
        raise RecordError("the line is no JSON object")
    return document


def _line_of(place: str) -> bytes:
    name, _, number = place.rpartition(":")
    if not (name and number.isascii() and number.isdigit() and int(number) > 0):
        raise click.UsageError("--from-log: give FILE:NUMBER, a line of the log, or -")
    try:
        with Path(name).open("rb") as stream:
            return _numbered(stream, int(number))
    except OSError as error:
        raise click.UsageError(f"--from-log: {name}: {error.strerror or 'it cannot be read'}") from None


def _numbered(stream: BinaryIO, wanted: int) -> bytes:
    for number, line in enumerate(stream, start=1):
        if number == wanted:
            return line
    raise click.UsageError(f"--from-log: the file has no line {wanted}")
