"""`regionresolver index build`, `index info` and `index verify`: compile databases once, serve them from an image."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import orjson
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import catalogue_option, paper, progress_bar
from regionresolver.errors import ImageError
from regionresolver.index import Index, Progress, Source, read_image, verify
from regionresolver.index.compare import KEPT_DIFFERENCES, Comparison, compare
from regionresolver.index.image_file import check_target, write_image
from regionresolver.model import Region
from regionresolver.resolver.databases import check_vocabulary, compile_databases, open_databases
from regionresolver.resolver.extended import open_catalogue
from regionresolver.sources.catalogue import Catalogue


@click.group("index")
def command() -> None:
    """Compile IP databases into an index image, look into one, or check one.

    \b
    Example:
      regionresolver index build --db geolite2-city.mmdb --out city.image
      regionresolver serve --index city.image
    """


@command.command("build")
@click.option(
    "--db",
    "specs",
    metavar="FILE[,FILE]",
    multiple=True,
    required=True,
    help="IP database, strongest first; a comma joins the IPv4 and IPv6 files of one.  [repeatable]",
)
@click.option("--out", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The image to write.")
@catalogue_option
@click.option("--force", is_flag=True, help="Replace a file that is no index image.")
def build(specs: Sequence[str], *, out: Path, catalogue_file: str | None, force: bool) -> None:
    """Compile IP databases into one index image, which `serve --index` opens in milliseconds.

    The same databases and release give the same bytes. The image is written whole or not at all, and replaces an older
    one at once: a service that opens the file meanwhile reads one of the two.

    \b
    Examples:
      regionresolver index build --db geolite2-city.mmdb --out city.image
      regionresolver index build --db geolite2-city.mmdb --db dbip-v4.mmdb,dbip-v6.mmdb --out both.image
      regionresolver index build --db vendor.mmdb --catalogue catalogue.toml --out vendor.image
    """
    inputs = [part.strip() for spec in specs for part in spec.split(",") if part.strip()]
    target = check_target(out, inputs, force=force)
    with progress_bar() as progress:
        image = compile_databases(open_databases(specs, progress), open_catalogue(catalogue_file).catalogue, progress)
    write_image(image, target)
    index = Index.open(image, check=False)
    click.echo(f"{out}: {len(image)} bytes, {len(index.values)} values, sha256 {index.sha256}", err=True)


@command.command("info")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@catalogue_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def show(file: Path, *, catalogue_file: str | None, as_json: bool) -> None:
    """Check an index image, and tell what is in it and what it was compiled from.

    \b
    Examples:
      regionresolver index info city.image
      regionresolver index info city.image --json
    """
    facts = describe(Index.open(read_image(file), file=file), file, open_catalogue(catalogue_file).catalogue)
    if as_json:
        click.echo(orjson.dumps(facts))
        return
    console = paper()
    console.print(_summary(facts))
    for source in _rows(facts["sources"]):
        console.print(_summary(source))


@command.command("verify")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option(
    "--db",
    "specs",
    metavar="FILE[,FILE]",
    multiple=True,
    help="Compare with the databases that it was compiled from, in their order.  [repeatable]",
)
@click.option(
    "--sample",
    metavar="NUMBER",
    type=click.IntRange(min=1),
    help="Compare at so many network starts instead of all, and do not compile again.",
)
@catalogue_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def check(file: Path, specs: Sequence[str], *, sample: int | None, catalogue_file: str | None, as_json: bool) -> None:
    """Check all of an index image: checksums, SHA-256, and every byte that a lookup relies on.

    With --db the databases are asked too, through maxminddb: at the start of every network, one address before and one
    behind it. Then they are compiled again, which must give the same image.

    Exit status: 0 when nothing was found, 1 with findings.

    \b
    Examples:
      regionresolver index verify city.image
      regionresolver index verify city.image --db geolite2-city.mmdb
      regionresolver index verify city.image --db geolite2-city.mmdb --sample 100000 --json
    """
    if sample is not None and not specs:
        raise click.UsageError("--sample needs the databases: give --db")
    with progress_bar() as progress:
        report = inspect(file, specs, sample, progress, open_catalogue(catalogue_file).catalogue)
    if as_json:
        click.echo(orjson.dumps(report.document()))
    else:
        for finding in report.findings:
            click.echo(f"{file}: {finding}")
        if not report.findings:
            click.echo(f"{file}: good: {report.summary()}")
    click.get_current_context().exit(1 if report.findings else 0)


@dataclass
class Report:
    """What `index verify` did and found; `comparison` is None without databases."""

    file: Path
    findings: list[str] = field(default_factory=list)
    sha256: str | None = None
    comparison: Comparison | None = None
    compiled_again: bool = False

    def summary(self) -> str:
        """Say what was checked, for people."""
        parts = ["structure and checksums"]
        if self.comparison is not None:
            parts.append(f"{self.comparison.addresses} addresses answer like the databases")
        if self.compiled_again:
            parts.append("the databases compile to the same bytes")
        return ", ".join(parts)

    def document(self) -> dict[str, object]:
        """Give the report as JSON types."""
        compared = self.comparison
        return {
            "file": str(self.file),
            "good": not self.findings,
            "findings": self.findings,
            "sha256": self.sha256,
            "network_starts": compared.starts if compared else None,
            "addresses_compared": compared.addresses if compared else None,
            "addresses_different": compared.different if compared else None,
            "compiled_again": self.compiled_again,
        }


def inspect(file: Path, specs: Sequence[str], sample: int | None, progress: Progress, catalogue: Catalogue) -> Report:
    """Check an image file, and compare it with its databases. Raises DatabaseError for one that cannot be used."""
    report = Report(file)
    try:
        image = read_image(file)
        index = verify(image, file)
        report.sha256 = index.sha256
        check_vocabulary(index, catalogue, file)
        if specs:
            sources = open_databases(specs, progress)
            index = Index.open(image, sources, file=file, check=False)
            _compare(report, index, sources, catalogue, sample, progress)
            if sample is None:
                report.compiled_again = True
                if compile_databases(sources, catalogue, progress) != image[:]:
                    report.findings.append("the databases compile to other bytes (compile it again with this release)")
    except ImageError as error:
        report.findings.append(f"{error.reason} ({error.remedy})")
    return report


def _compare(
    report: Report, index: Index, sources: Sequence[Source], catalogue: Catalogue, sample: int | None, progress: Progress
) -> None:
    report.comparison = compare(index, sources, catalogue, sample, progress)
    report.findings += [
        f"{found.address}: the database {found.source} says {_said(found.of_database)}, the image {_said(found.of_image)}"
        for found in report.comparison.differences
    ]
    if report.comparison.different > KEPT_DIFFERENCES:
        report.findings.append(f"and so on: {report.comparison.different} differences at {report.comparison.addresses} addresses")


def _said(region: Region) -> str:
    """Write a region with both codes, for they may differ in either."""
    return " ".join(filter(None, (region.country_code, region.subdivision_code))) or "nothing"


def describe(index: Index, file: Path, catalogue: Catalogue) -> dict[str, object]:
    """Give what an image is and what it was compiled from, as JSON types."""
    trie = index.trie
    return {
        "file": file.name,
        "format_version": trie.version,
        "bytes": index.size_bytes,
        "sha256": index.sha256,
        "values": len(index.values),
        "sections_bytes": {name: len(trie.section(name)) for name in trie.section_names},
        "catalogue_sha256": index.catalogue_sha256,
        "catalogue_is_current": index.catalogue_sha256 == catalogue.sha256,
        "sources": [
            {
                "name": source.name,
                "files": list(source.files),
                "database_type": source.database_type,
                "build_epoch": source.build_epoch,
                "built_at": dt.datetime.fromtimestamp(source.build_epoch, dt.UTC).isoformat().replace("+00:00", "Z"),
                "sha256": source.sha256,
                "attribution": source.attribution,
                "subdivisions": sorted(source.subdivisions),
            }
            for source in index.sources
        ],
    }


def _rows(value: object) -> list[dict[str, object]]:
    return value if isinstance(value, list) else []


def _summary(facts: dict[str, object]) -> Table:
    table = Table(show_header=False)
    for name, value in facts.items():
        if name == "sources":
            continue
        if isinstance(value, dict):
            text = ", ".join(f"{part} {size}" for part, size in value.items())
        elif isinstance(value, list):
            text = ", ".join(map(str, value)) or "none"
        else:
            text = "-" if value is None else str(value)
        table.add_row(name.replace("_", " "), Text(text))
    return table
