"""`regionresolver lookup`: what the IP databases say of addresses."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import click
import orjson
from rich.json import JSON
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import load, open_resolver, paper, settings_options
from regionresolver.model import Evidence, Resolution, SignalStatus
from regionresolver.resolver import Resolver
from regionresolver.resolver.documents import source_documents
from regionresolver.resolver.wire import RecordDocument
from regionresolver.service.records import record_documents

STANDARD_INPUT = "-"


@dataclass(frozen=True, slots=True)
class Answer:
    """One address as it was written, its resolution, and the databases' records where they were asked for."""

    text: str
    resolution: Resolution
    records: list[RecordDocument]

    @property
    def evidence(self) -> Evidence:
        """Give the address's evidence: the only signal that there is."""
        return self.resolution.evidence[0]

    def document(self, *, record: bool) -> dict[str, object]:
        """Give the answer as JSON types."""
        found = self.resolution
        document: dict[str, object] = {
            "ip": self.text,
            "status": self.evidence.status,
            "region": found.region,
            "country": found.country,
            "subdivision": found.subdivision,
            "region_name": found.region_name,
            "detail": self.evidence.detail,
            "match": self.evidence.match,
            "sources": source_documents(self.evidence),
        }
        return document | ({"records": self.records} if record else {})


@click.command("lookup")
@click.argument("addresses", metavar="IP...", nargs=-1, required=True)
@settings_options("db", "index", "any_regions", "catalogue", "policy")
@click.option("--record", is_flag=True, help="Add the databases' own records.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(addresses: Sequence[str], *, record: bool, as_json: bool, **values: object) -> None:
    """Tell the region of each IP address; `-` reads addresses from standard input, one a line.

    Exit status: 0 when a region was found and every text was an address, else 1.

    \b
    Examples:
      regionresolver lookup 203.0.113.7 2001:db8::1
      regionresolver lookup --db geolite2-city.mmdb --record 81.2.69.142
      regionresolver lookup --index city.image --any-region crimea 81.2.69.142
      cut -d' ' -f1 access.log | regionresolver lookup --json -
    """
    settings = load(values).settings
    if record and settings.index and not settings.db:
        click.echo("regionresolver: warning: an index image holds no records: give its databases too, with --db", err=True)
    with open_resolver(settings) as resolver:
        answers = _answers(resolver, _texts(addresses), record=record)
        statuses = _print_lines(answers, record=record) if as_json else _print_table(list(answers), record=record)
    sys.exit(0 if SignalStatus.OK in statuses and SignalStatus.INVALID not in statuses else 1)


def _texts(addresses: Iterable[str]) -> Iterator[str]:
    for address in addresses:
        if address == STANDARD_INPUT:
            lines = click.open_file(STANDARD_INPUT, errors="replace")
            yield from (line.strip() for line in lines if line.strip())
        else:
            yield address


def _answers(resolver: Resolver, texts: Iterable[str], *, record: bool) -> Iterator[Answer]:
    for text in texts:
        resolution = resolver.explain(ip=text).resolution
        is_address = resolution.evidence[0].status is not SignalStatus.INVALID
        yield Answer(text, resolution, record_documents(resolver.records(text)) if record and is_address else [])


def _print_lines(answers: Iterable[Answer], *, record: bool) -> set[SignalStatus]:
    statuses = set()
    for answer in answers:
        statuses.add(answer.evidence.status)
        click.echo(orjson.dumps(answer.document(record=record)))
    return statuses


def _print_table(answers: Sequence[Answer], *, record: bool) -> set[SignalStatus]:
    table = Table("address", "region", "country", "subdivision", "name", "status", "network", "sources")
    for answer in answers:
        found, evidence = answer.resolution, answer.evidence
        cells = (found.region, found.country, found.subdivision, found.region_name, _status(evidence), evidence.match)
        table.add_row(Text(answer.text), *(Text(cell or "-") for cell in cells), Text(_sources(evidence) or "-"))
    console = paper()
    console.print(table)
    if record:
        for answer in answers:
            for found_record in answer.records:
                console.print(Text(f"{answer.text}  {found_record['source']}  {found_record['network']}"))
                console.print(JSON.from_data(found_record["record"]))
    return {answer.evidence.status for answer in answers}


def _status(evidence: Evidence) -> str:
    return f"{evidence.status} ({evidence.detail})" if evidence.detail else evidence.status


def _sources(evidence: Evidence) -> str:
    """Give each database's own answer in words: `name: region`."""
    return ", ".join(f"{s.source}: {s.subdivision_code or s.country_code or '-'}" for s in evidence.sources)
