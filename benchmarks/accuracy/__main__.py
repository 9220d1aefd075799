"""`python -m benchmarks.accuracy`: how often the service is right, on pings whose place is known.

Reads the file once, whatever the number of databases. Exit status: 0 measured, 1 lines of the file could not be used (each
is named on standard error; the others were measured), 2 the command line cannot be used.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import orjson
from rich.table import Table as RichTable
from rich.text import Text

from benchmarks.accuracy.labelled import Scenario, read_lines, read_scenarios
from benchmarks.accuracy.measure import MAX_SCENARIOS, Run
from benchmarks.accuracy.report import SCHEMA, Table, document_of, markdown, side_by_side, tables_of
from regionresolver.cli.options import Instant, load, open_resolver, paper, progress_bar, settings_options
from regionresolver.errors import FileError, RegionResolverError
from regionresolver.sources.catalogue import Catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from regionresolver.settings import Settings

PINGS = Path(__file__).parents[1] / "data" / "labelled-pings.ndjson"
EMBEDDED = "embedded"
SHOWN = 20
"""Lines that cannot be used and are named; the others are counted."""

TOLD_EVERY = 256
FAILED = 1


class Reading:
    """A file of labelled pings that is being read, line by line: its digest, and what of it can be used."""

    def __init__(self, file: str, stream: BinaryIO) -> None:
        """Begin with nothing read; `file` is for messages."""
        self.file = file
        self.good = 0
        self.bad = 0
        self.bytes_read = 0
        self._stream = stream
        self._sha256 = hashlib.sha256()
        self._scenarios: set[str] = set()

    def readline(self, limit: int, /) -> bytes:
        """Read as `BinaryIO.readline` does."""
        line = self._stream.readline(limit)
        self._sha256.update(line)
        self.bytes_read += len(line)
        return line

    def refuse(self, error: FileError) -> None:
        """Count a line that cannot be used; name the first ones."""
        self.bad += 1
        if self.bad <= SHOWN:
            click.echo(f"accuracy: {error}", err=True)

    def admit(self, scenario: str, line: int) -> None:
        """Take a line's scenario. Raises FileError when there are too many of them: each costs memory."""
        if scenario not in self._scenarios and len(self._scenarios) >= MAX_SCENARIOS:
            reason, remedy = f"is one scenario more than {MAX_SCENARIOS}", "a scenario groups pings: do not write ids there"
            raise FileError(f"{self.file}:{line}", reason, where="scenario", remedy=remedy)
        self._scenarios.add(scenario)

    def document(self) -> dict[str, object]:
        """Return what the report says of the file."""
        return {"file": Path(self.file).name, "sha256": self._sha256.hexdigest(), "good": self.good, "bad": self.bad}


@click.command("accuracy", context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--against",
    multiple=True,
    metavar="DB[+DB...]",
    help="Measure these databases too, in their order, beside the first ones; `embedded` is the shipped one.  [repeatable]",
)
@click.option(
    "--pings",
    "file",
    default=str(PINGS),
    metavar="FILE",
    help="Labelled pings, NDJSON; - is standard input.  [default: the shipped file]",
)
@click.option(
    "--scenarios",
    "shares",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Assumed shares of the scenarios (TOML).  [default: FILE with .toml]",
)
@click.option("--at", type=Instant(), metavar="INSTANT", help="Decide as of this instant.  [default: now]")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write everything as one JSON document."
)
@click.option(
    "--markdown", "markdown_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the tables in Markdown."
)
@settings_options("db", "index", "any_regions", "policy")
def main(
    *,
    against: tuple[str, ...],
    file: str,
    shares: Path | None,
    at: dt.datetime | None,
    json_file: Path | None,
    markdown_file: Path | None,
    **values: object,
) -> None:
    """Measure answers, confidences and decisions on labelled pings.

    \b
    Examples:
      python -m benchmarks.accuracy
      python -m benchmarks.accuracy --db GeoLite2-City.mmdb --against embedded --against GeoLite2-City.mmdb+dbip.mmdb
      python -m benchmarks.accuracy --pings activations.ndjson --policy activation.toml --json accuracy.json
    """
    catalogue = Catalogue.load()
    try:
        scenarios = _scenarios(file, shares)
        with ExitStack() as stack:
            runs = _open_runs(stack, against, values, catalogue, at or dt.datetime.now(dt.UTC))
            stream = sys.stdin.buffer if file == "-" else stack.enter_context(Path(file).open("rb"))
            reading = Reading(file, stream)
            _measure(runs, reading, catalogue, 0 if file == "-" else Path(file).stat().st_size)
            measured = [document_of(run, scenarios) for run in runs]
    except (OSError, RegionResolverError) as error:
        reason = f"{file}: {error.strerror}" if isinstance(error, OSError) else str(error)
        raise click.UsageError(reason) from error
    if reading.bad > SHOWN:
        click.echo(f"accuracy: {reading.bad - SHOWN} more lines cannot be used", err=True)
    if not reading.good:
        click.echo(f"accuracy: {file}: no line could be used (write one labelled ping a line: docs/accuracy.md)", err=True)
        sys.exit(FAILED)
    report = {"schema": SCHEMA, "at": runs[0].at.isoformat(), "pings": reading.document(), "runs": measured}
    _write(report, json_file, markdown_file)
    sys.exit(FAILED if reading.bad else 0)


def _scenarios(file: str, shares: Path | None) -> dict[str, Scenario]:
    beside = Path(file).with_suffix(".toml")
    if shares is None and (file == "-" or not beside.is_file()):
        return {}
    return read_scenarios(shares or beside)


def _open_runs(
    stack: ExitStack, against: Sequence[str], values: dict[str, object], catalogue: Catalogue, at: dt.datetime
) -> list[Run]:
    first = load(values).settings
    further = [first.model_copy(update={"db": _databases(spec), "index": None}) for spec in against]
    return [
        Run(_run_name(settings), stack.enter_context(open_resolver(settings)), catalogue, at) for settings in (first, *further)
    ]


def _databases(spec: str) -> tuple[str, ...]:
    return () if spec == EMBEDDED else tuple(spec.split("+"))


def _run_name(settings: Settings) -> str:
    """Name a run by the first file of each of its databases."""
    specs = (settings.index,) if settings.index else settings.db
    return " + ".join(Path(str(spec).split(",")[0]).stem for spec in specs) or EMBEDDED


def _measure(runs: Sequence[Run], reading: Reading, catalogue: Catalogue, size_bytes: int) -> None:
    """Ask all runs about each line; `size_bytes` is 0 where it is not known, and there is no bar then."""
    with progress_bar() as tell:
        for found in read_lines(reading, reading.file, catalogue):
            try:
                if isinstance(found, FileError):
                    raise found
                reading.admit(found.scenario, found.line)
                for run in runs:
                    run.ask(found, reading.file)
            except FileError as error:
                reading.refuse(error)
                continue
            reading.good += 1
            if size_bytes and reading.good % TOLD_EVERY == 0:
                tell("measuring", reading.bytes_read, size_bytes)


def _write(report: dict[str, Any], json_file: Path | None, markdown_file: Path | None) -> None:
    runs = report["runs"]
    compared = side_by_side(runs) if len(runs) > 1 else []
    if json_file is not None:
        json_file.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if markdown_file is not None:
        markdown_file.write_text(page(report), encoding="utf-8")
    console = paper()
    for run in runs:
        console.rule(Text(run["name"]))
        for table in tables_of(run):
            console.print(_drawn(table))
    if compared:
        console.rule("side by side")
        for table in compared:
            console.print(_drawn(table))


def page(report: dict[str, Any]) -> str:
    """Return the report as a Markdown page; the same report gives the same text."""
    runs, pings = report["runs"], report["pings"]
    file = f"`{pings['file']}` (SHA-256 `{pings['sha256'][:16]}...`)"
    parts = [f"{pings['good']:,} labelled pings of {file}, decided as of {report['at']}.\n"]
    if len(runs) > 1:
        parts += ["## Side by side\n", *map(markdown, side_by_side(runs))]
    for run in runs:
        sources = "; ".join(f"{source['database_type']} of {source['built_at'][:10]}" for source in run["sources"])
        parts += [f"## {run['name']}\n", f"{sources}. Policy `{run['policy']['label']}`.\n", *map(markdown, tables_of(run))]
    return "\n".join(parts)


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(title=table.title, caption=table.notes or None, title_justify="left", caption_justify="left")
    for place, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if place == 0 or table.is_text else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(Text, row))
    return drawn


if __name__ == "__main__":
    main()
