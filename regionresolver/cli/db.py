"""`regionresolver db info` and `regionresolver db reduce`: look into an IP database, and cut one down."""

import datetime as dt
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import click
import maxminddb
import orjson
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import catalogue_option, paper, progress_bar
from regionresolver.index.mmdb import Networks, Source
from regionresolver.index.reduce import reduce_database
from regionresolver.model import Region
from regionresolver.resolver.extended import open_catalogue
from regionresolver.sources.shapes import read_words

SHAPE_SAMPLE_NETWORKS = 20_000
"""The record shape is told from the first networks: a vendor writes one shape throughout."""


@click.group("db")
def command() -> None:
    """Look into an IP database, or cut one down to countries and named subdivisions."""


@command.command("info")
@click.argument("file", metavar="FILE[,FILE]")
@catalogue_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(file: str, *, catalogue_file: str | None, as_json: bool) -> None:
    """Check an IP database whole, and tell what is in it.

    Shown are its metadata, the shape of its records, and the countries and subdivisions that the service would see in
    it. A database without the subdivision of a rule answers `subdivision_unknown` there. Two files joined by a comma
    are the IPv4 and IPv6 parts of one database.

    \b
    Examples:
      regionresolver db info geolite2-city.mmdb
      regionresolver db info dbip-v4.mmdb,dbip-v6.mmdb --json
    """
    with progress_bar() as progress:
        source = Source.open(file, progress=progress)
        networks = source.networks(open_catalogue(catalogue_file).catalogue)
    facts = describe(source, networks)
    if as_json:
        click.echo(orjson.dumps(facts))
        return
    console = paper()
    console.print(_summary(facts))
    for name in ("countries", "subdivisions"):
        console.print(_seen(name, facts[name]))


@command.command("reduce")
@click.option("--db", "spec", metavar="FILE[,FILE]", required=True, help="The database to cut down.")
@click.option("--out", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file to write.")
@catalogue_option
def reduce(spec: str, *, out: Path, catalogue_file: str | None) -> None:
    """Write a database that knows countries and the region catalogue's subdivisions, and nothing else.

    The same input gives the same bytes. The file is written whole or not at all.

    \b
    Example:
      regionresolver db reduce --db dbip-v4.mmdb,dbip-v6.mmdb --out reduced.mmdb
    """
    with progress_bar() as progress:
        catalogue = open_catalogue(catalogue_file).catalogue
        size_bytes = reduce_database(Source.open(spec, progress=progress), catalogue, out, progress)
    click.echo(f"{out}: {size_bytes} bytes", err=True)


def describe(source: Source, networks: Networks) -> dict[str, object]:
    """Give what a source is and what it sees, as JSON types. Counts are of networks after neighbours are merged."""
    counts = Counter(networks.answers)
    countries, subdivisions = _counted(networks.regions, counts)
    readers = [maxminddb.open_database(file) for file in source.files]
    try:
        shape = shape_of(record for reader in readers for _, record in itertools.islice(reader, SHAPE_SAMPLE_NETWORKS))
    finally:
        for reader in readers:
            reader.close()
    return {
        "name": source.name,
        "files": [file.name for file in source.files],
        "bytes": sum(file.stat().st_size for file in source.files),
        "database_type": source.database_type,
        "built_at": dt.datetime.fromtimestamp(source.build_epoch, dt.UTC).isoformat().replace("+00:00", "Z"),
        "build_epoch": source.build_epoch,
        "sha256": source.sha256,
        "attribution": source.attribution,
        "ip_versions": [found["ip_version"] for found in source.metadata],
        "record_sizes_bits": [found["record_size"] for found in source.metadata],
        "nodes": sum(count for found in source.metadata if isinstance(count := found["node_count"], int)),
        "languages": sorted(
            {str(code) for found in source.metadata if isinstance(codes := found.get("languages"), list) for code in codes}
        ),
        "record_shape": shape,
        "countries": countries,
        "subdivisions": subdivisions,
    }


def shape_of(records: Iterable[object]) -> str:
    """Name the record shape of a database: where it says the country, and how it says a subdivision."""
    country = "unknown"
    subdivision = "no subdivisions"
    for record in records:
        if not isinstance(record, Mapping) or (words := read_words(record)).country is None:
            continue
        country = "nested" if isinstance(record.get("country"), Mapping) else "flat"
        if any(code for code, _ in words.subdivisions):
            return f"{country}, subdivisions by code"
        if words.subdivisions:
            subdivision = "subdivisions by name"
    return f"{country}, {subdivision}"


def _counted(regions: Iterable[Region], counts: Mapping[int, int]) -> tuple[dict[str, int], dict[str, int]]:
    countries: Counter[str] = Counter()
    subdivisions: Counter[str] = Counter()
    for place, region in enumerate(regions):
        if region.country_code:
            countries[region.country_code] += counts[place]
        if region.subdivision_code:
            subdivisions[region.subdivision_code] += counts[place]
    return dict(sorted(countries.items())), dict(sorted(subdivisions.items()))


def _summary(facts: Mapping[str, object]) -> Table:
    table = Table(show_header=False)
    for name, value in facts.items():
        if isinstance(value, dict):
            table.add_row(name, str(len(value)))
        elif value is not None:
            table.add_row(name.replace("_", " "), Text(", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return table


def _seen(name: str, counts: object) -> Text:
    """Give the codes that were seen with their networks, as running text: there may be 250 of them."""
    found = counts if isinstance(counts, dict) else {}
    words = ", ".join(f"{code} {count}" for code, count in found.items())
    return Text(f"{name} (networks): {words or 'none'}")
