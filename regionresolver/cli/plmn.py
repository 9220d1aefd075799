"""`regionresolver plmn`: what the PLMN table, or an operator's override, knows of a network, and on whose word."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import click
import orjson
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import load, paper, settings_options
from regionresolver.policy.clock import now
from regionresolver.resolver.explanation import named
from regionresolver.resolver.extended import open_catalogue
from regionresolver.resolver.plmns import (
    KnownPlmns,
    PlmnFinding,
    PlmnForm,
    find_plmn,
    finding_document,
    read_plmn,
    row_document,
)
from regionresolver.sources.plmn import PlmnRow, PlmnTable

_REMEDIES: Final[Mapping[PlmnForm, str]] = {
    "plmn": "not a PLMN: write 36801 or 368-01, an MCC as 368, an IMSI with --imsi-prefix",
    "imsi": "not the beginning of an IMSI: 5 to 15 digits",
    "bcd": "not a PLMN in the octets of TS 24.008: write three, as 52f033",
    "s1ap": "not a PLMN in the octets of S1AP: write three, as 134001",
    "ef_imsi": "not the file EF_IMSI of a SIM: write its octets, the one of its length first",
    "mcc": "not an MCC: write three digits, as 250",
}


@click.command("plmn")
@click.argument("plmns", metavar="[PLMN]...", nargs=-1)
@click.option("--imsi-prefix", "imsi", metavar="DIGITS", multiple=True, help="An IMSI, or its beginning: six digits are read.")
@click.option("--bcd", metavar="OCTETS", multiple=True, help="Three octets of TS 24.008 (LAI, TAI, MAP, GTP), hexadecimal.")
@click.option("--s1ap", metavar="OCTETS", multiple=True, help="Three octets of S1AP, X2AP or NGAP, hexadecimal.")
@click.option("--ef-imsi", metavar="OCTETS", multiple=True, help="The file EF_IMSI of a SIM, hexadecimal: six digits are read.")
@click.option("--mcc", metavar="MCC", multiple=True, help="Every row of a mobile country code.")
@settings_options("catalogue")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def command(
    *,
    plmns: Sequence[str],
    imsi: Sequence[str],
    bcd: Sequence[str],
    s1ap: Sequence[str],
    ef_imsi: Sequence[str],
    mcc: Sequence[str],
    as_json: bool,
    **values: object,
) -> None:
    """Tell what is known of networks: region, operator, source and date, or the override in force of a catalogue file.

    Nothing of an IMSI beyond its first six digits is kept or printed. An unassigned code is an answer like any other:
    exit status 0.

    \b
    Examples:
      regionresolver plmn 25033 310-260 901
      regionresolver plmn --imsi-prefix 2503312
      regionresolver plmn --bcd 52f033 --bcd 52:f0:43 --json
      regionresolver plmn --mcc 250
      regionresolver plmn --catalogue catalogue.toml 999-40
    """
    extended = open_catalogue(load(values).settings.catalogue)
    known = KnownPlmns(PlmnTable.load(catalogue=extended.catalogue), extended, now())
    forms: dict[PlmnForm, Sequence[str]] = {"plmn": plmns, "imsi": imsi, "bcd": bcd, "s1ap": s1ap, "ef_imsi": ef_imsi}
    found = [finding for form, texts in forms.items() for finding in _findings(form, texts, known)]
    listed = [finding.mcc for finding in _findings("mcc", mcc, known)]
    if not found and not listed:
        raise click.UsageError("give a PLMN, or one of --imsi-prefix, --bcd, --s1ap, --ef-imsi and --mcc")
    for finding in found:
        if as_json:
            click.echo(orjson.dumps(finding_document(finding, known)))
        else:
            paper().print(_finding(finding, known))
    for code in listed:
        rows = known.rows(code)
        if as_json:
            click.echo(orjson.dumps({"mcc": code, "rows": [row_document(row, known) for row in rows]}))
        else:
            paper().print(_rows(rows, known) if rows else f"{code}: unassigned")


def _findings(form: PlmnForm, texts: Sequence[str], known: KnownPlmns) -> Iterator[PlmnFinding]:
    """Read and look up; a malformed text is a usage error that does not repeat it, for it may be an IMSI."""
    for number, text in enumerate(texts, 1):
        parsed = read_plmn(text, form)
        if parsed is None:
            hint = "PLMN" if form == "plmn" else "--imsi-prefix" if form == "imsi" else f"--{form.replace('_', '-')}"
            raise click.BadParameter(_REMEDIES[form], param_hint=f"{hint} (number {number})" if len(texts) > 1 else hint)
        yield find_plmn(parsed, known, is_imsi=form in ("imsi", "ef_imsi"))


def _finding(finding: PlmnFinding, known: KnownPlmns) -> Table:
    row = finding.row
    facts: list[tuple[str, str | None]] = [("PLMN", finding.plmn), ("status", finding.status)]
    if row is not None:
        facts += [
            ("match", f"{row.text} ({row.kind.replace('_', ' ')})"),
            ("regions", _regions(row, known)),
            ("confidence", _confidence(row)),
            ("operator", row.operator),
            ("note", row.note),
            ("source", _source(row, known)),
        ]
    if finding.fallback is not None:
        facts.append(("without it", f"{finding.fallback.text}: {_regions(finding.fallback, known)}"))
    grid = Table(show_header=False)
    for name, value in (*facts, *(("", note) for note in finding.notes)):
        if value:
            grid.add_row(name, Text(value))
    return grid


def _rows(rows: Sequence[PlmnRow], known: KnownPlmns) -> Table:
    grid = Table("PLMN", "regions", "confidence", "operator", "note", "source")
    for row in rows:
        cells = (row.text, _regions(row, known), _confidence(row), row.operator, row.note, row.source)
        grid.add_row(*(Text(cell or "-") for cell in cells))
    grid.caption = "; ".join(dict.fromkeys(f"{row.source}: {_source(row, known)}" for row in rows))
    return grid


def _regions(row: PlmnRow, known: KnownPlmns) -> str:
    words = [named(code, known.catalogue) for code in row.candidates]
    return ", ".join(words) if words else f"no country: {(row.sort or '').replace('_', ' ')}"


def _confidence(row: PlmnRow) -> str | None:
    return None if row.confidence is None else f"{row.confidence:.2f}"


def _source(row: PlmnRow, known: KnownPlmns) -> str:
    if (override := known.override_of(row)) is not None:
        until = "for ever" if override.expires is None else f"until {override.expires:%Y-%m-%d %H:%M}Z"
        return f"override {override.id} of {override.owner}, {until}: {override.reason}"
    source = known.table.sources[row.source]
    return f"{source.title}, {source.date.isoformat()}"
