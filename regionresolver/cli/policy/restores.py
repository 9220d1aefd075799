"""`regionresolver policy restores`: the stored denials that a policy takes back, to ask again."""

import datetime as dt
from collections.abc import Iterator
from typing import BinaryIO

import click
import orjson

from regionresolver.cli.options import Instant, catalogue_option
from regionresolver.cli.policy.options import format_option, watched
from regionresolver.policy import load_policy
from regionresolver.policy.clock import now
from regionresolver.policy.describe import zulu
from regionresolver.policy.restore import RestoreCounts, restores
from regionresolver.resolver import parse_instant
from regionresolver.resolver.extended import open_catalogue
from regionresolver.resolver.log_records import is_frame
from regionresolver.resolver.ndjson import LONGEST_RECORD_BYTES, objects
from regionresolver.resolver.replay import TIME_FIELD

SHOWN_FAULTS = 20


@click.command("restores")
@click.argument("file", metavar="FILE")
@click.option(
    "--log", metavar="FILE", required=True, type=click.File("rb"), help="Stored decisions, NDJSON; - is standard input."
)
@click.option("--at", type=Instant(), metavar="INSTANT", help="Take the restores that are due at this instant.  [default: now]")
@click.option(
    "--time-field", metavar="NAME", default=TIME_FIELD, show_default=True, help="Field that says when a decision was given."
)
@catalogue_option
@format_option
def command(
    file: str, *, log: BinaryIO, at: dt.datetime | None, time_field: str, catalogue_file: str | None, format_: str
) -> None:
    """List the stored denials to ask again: those of the rules and versions that [[restores]] of a policy names.

    Each line of the log is a line of the decision log, or a decision as the service answered it, with the time at which it was
    given, if the log has one. A denial that was given at or after a restore's `since` stays. Standard output gets one id a
    line, with a tab and the reason; what was read and passed over is told on standard error. An id that was denied often is
    listed often.

    Exit status: 0 the log was read, 1 a line was no decision or had no id, 2 usage.

    \b
    Examples:
      regionresolver policy restores activation.toml --log decisions.ndjson
      regionresolver policy restores activation.toml --log decisions.ndjson | cut -f1 | sort -u
      cat decisions-*.ndjson | regionresolver policy restores activation.toml --log -
      zcat decisions.gz | regionresolver policy restores activation.toml --log - --format json
    """
    policy = load_policy(file, open_catalogue(catalogue_file).catalogue)
    counts = RestoreCounts()
    refused = 0

    def refuse(line: int, reason: str) -> None:
        nonlocal refused
        refused += 1
        if refused <= SHOWN_FAULTS:
            click.echo(f"regionresolver: warning: line {line}: {reason}", err=True)

    def decisions() -> Iterator[tuple[dict[str, object], dt.datetime | None]]:
        with watched(log, "reading") as advance:
            for line, document in objects(log, LONGEST_RECORD_BYTES, refuse, advance):
                if is_frame(document):
                    continue
                written = document.get(time_field)
                given = parse_instant(written) if isinstance(written, str) else None
                if written is not None and given is None:
                    refuse(line, f"{time_field}: not an instant with a time zone (RFC 3339)")
                else:
                    yield document, given

    for one in restores(policy, decisions(), at or now(), counts):
        if format_ == "json":
            click.echo(orjson.dumps({"id": one.id, "rule": one.rule, "policy": one.policy, "reason": one.reason}))
        else:
            click.echo(f"{one.id}\t{one.reason}")
    for rule, since in counts.waiting.items():
        click.echo(f"regionresolver: the restore of '{rule}' is due at {zulu(since)}, not before", err=True)
    without_id = f", {counts.without_id:,} of them without an id" if counts.without_id else ""
    total = counts.restored + counts.without_id
    click.echo(
        f"regionresolver: {counts.decisions:,} decisions, {total:,} to ask again{without_id}; {refused:,} lines refused", err=True
    )
    click.get_current_context().exit(1 if refused or counts.without_id else 0)
