"""The report of a run: one JSON document, and tables of it for a terminal or a Markdown file.

The document is all that is kept of a run: the tables are made from it alone. Its layout is in docs/benchmarks.md; a
change that a reader could trip over raises SCHEMA.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks.lookup.databases import IMAGES, REGIONS
from benchmarks.lookup.figures import Key, Spread, Target, Timings, call_ns
from benchmarks.lookup.forms import ARROW, BARE_WALK, GET, LINES, MANY, PACKED, RUST_GET, RUST_MANY, RUST_PATH, TEXT
from benchmarks.lookup.plan import PLMNS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

SCHEMA = "regionresolver.bench-lookup/1"

PAIRS = (
    *((form, TEXT) for form in (BARE_WALK, GET, RUST_GET, *RUST_PATH.values())),
    *((form, ours) for ours in (MANY, LINES, ARROW) for form in RUST_MANY.values()),
)
"""(slower, faster): the ratios that are reported."""

_CAVEAT = (
    "get builds the whole record as a dict; get_path builds one or two of its fields; lookup answers with a shared object "
    "of two fields, or with its number. The work is not the same."
)


def document(
    run: Mapping[str, Any],
    timings: Timings,
    databases: Mapping[str, Mapping[str, Any]],
    memory: Mapping[str, Any],
    targets: Sequence[Target],
) -> dict[str, Any]:
    """Join the parts of a report; `run` has the machine, the versions, the conditions and the notes."""
    call = call_ns(timings)
    return {
        "schema": SCHEMA,
        **run,
        "call_ns": call,
        "databases": dict(databases),
        "timings": [{**key._asdict(), **_spread("ns", timings.ns(key))} for key in timings],
        "ratios": list(_ratios(timings)),
        "memory": dict(memory),
        "targets": [target.document(call) for target in targets],
    }


def _spread(name: str, spread: Spread | None) -> dict[str, Any]:
    if spread is None:
        return {}
    told = asdict(spread)
    return {name: told.pop("median"), **told}


def _ratios(timings: Timings) -> Iterator[dict[str, Any]]:
    groups = dict.fromkeys((key.database, key.stream) for key in timings)
    for database, stream in groups:
        for slower, faster in PAIRS:
            for image in IMAGES:
                ratio = timings.ratio(Key(database, stream, slower), Key(database, stream, faster, image))
                if ratio:
                    told = {"database": database, "stream": stream, "slower": slower, "faster": faster, "image": image}
                    yield {**told, **_spread("ratio", ratio)}


# ---- tables ----


@dataclass(frozen=True)
class Sheet:
    """A table of texts: the first column names the row, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def show(self, console: Console) -> None:
        """Print it."""
        table = Table(title=self.title, caption=self.note or None, title_justify="left", caption_justify="left")
        for place, column in enumerate(self.columns):
            table.add_column(column, justify="right" if place else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        console.print(table)

    def markdown(self) -> str:
        """Return it as Markdown."""
        lines = [self.columns, ["---", *["---:"] * (len(self.columns) - 1)], *self.rows]
        table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
        return f"### {self.title}\n\n{table}\n" + (f"\n{self.note}\n" if self.note else "")


def sheets(report: Mapping[str, Any]) -> list[Sheet]:
    """Make the tables of a report."""
    made = [_conditions(report)]
    for name, facts in report["databases"].items():
        made += [_single(report, name, facts), _batches(report, name, facts), _forms(report, name)]
    made += [_forms(report, PLMNS.name), _memory(report), _targets(report)]
    return [sheet for sheet in made if sheet.rows]


def _conditions(report: Mapping[str, Any]) -> Sheet:
    machine, conditions = report["machine"], report["conditions"]
    rows = [
        ["processor", f"{machine['processor']}, {machine['cores']} cores; pinned to core {conditions['core']}"],
        ["load when it began / ended", f"{conditions['load_before']:.2f} / {conditions['load_after']:.2f}"],
        ["system", f"{machine['system']}; {machine['compiler']}"],
        ["versions", ", ".join(f"{name} {version}" for name, version in report["versions"].items())],
        ["addresses a stream, rounds", f"{conditions['count']:,}, {conditions['rounds']}"],
        ["time", f"{conditions['started']}, {conditions['seconds']:.0f} s"],
    ]
    for name, facts in report["databases"].items():
        images = report["memory"].get(name, {})
        sizes = "".join(f", {_mib(each['image_bytes'])} as an image ({image})" for image, each in images.items())
        rows.append([name, f"{facts['schema']} schema, {facts['database_type']}, {_mib(facts['bytes'])}{sizes}"])
    rows += [["note", note] for note in report["notes"]]
    return Sheet("Conditions", ["", "of this run"], rows)


def _mib(size: float) -> str:
    return f"{size / (1 << 20):,.1f} MiB"


def _streams(report: Mapping[str, Any], database: str) -> list[str]:
    return list(dict.fromkeys(each["stream"] for each in report["timings"] if each["database"] == database))


def _time(report: Mapping[str, Any], database: str, stream: str, form: str, image: str | None) -> str:
    for each in report["timings"]:
        if (each["database"], each["stream"], each["form"], each["image"]) == (database, stream, form, image):
            return f"{_figure(each['ns'])} ({_figure(each['low'])}-{_figure(each['high'])})"
    return "-"


def _ratio(report: Mapping[str, Any], database: str, stream: str, slower: str, faster: str) -> str:
    found = {
        each["image"]: each
        for each in report["ratios"]
        if (each["database"], each["stream"], each["slower"], each["faster"]) == (database, stream, slower, faster)
    }
    return " / ".join(f"{_figure(found[image]['ratio'])} x" for image in IMAGES if image in found) or "-"


def _figure(value: float) -> str:
    """Write three digits, or all in front of the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _note(database: str, facts: Mapping[str, Any]) -> str:
    return f"{' / '.join(IMAGES)} image. {database} has the {facts['schema']} schema. {_CAVEAT}"


def _single(report: Mapping[str, Any], database: str, facts: Mapping[str, Any]) -> Sheet:
    peers = [slower for slower, faster in PAIRS if faster == TEXT]
    rows = [
        [
            stream,
            *(_time(report, database, stream, TEXT, image) for image in IMAGES),
            *(_ratio(report, database, stream, peer, TEXT) for peer in peers),
        ]
        for stream in _streams(report, database)
    ]
    columns = ["stream", *(f"lookup(str) ns, {image}" for image in IMAGES), *peers]
    note = f"Ratios: what a peer takes by what lookup(str) takes, {_note(database, facts)}"
    return Sheet(f"One address: {database}", columns, rows, note)


def _batches(report: Mapping[str, Any], database: str, facts: Mapping[str, Any]) -> Sheet:
    forms = (MANY, LINES, ARROW, PACKED)
    pairs = [(slower, faster) for slower, faster in PAIRS if faster != TEXT]
    rows = [
        [
            stream,
            *(_time(report, database, stream, form, REGIONS) for form in forms),
            *(_ratio(report, database, stream, *pair) for pair in pairs),
        ]
        for stream in _streams(report, database)
        if _ratio(report, database, stream, *pairs[0]) != "-"
    ]
    peers = [f"{slower.removeprefix('maxminddb-rust ')} by {faster.partition(',')[0]}" for slower, faster in pairs]
    columns = ["stream", *(f"{form} ns" for form in forms), *peers]
    note = f"ns: {REGIONS} image. Ratios: what get_many_path takes by what ours takes, {_note(database, facts)}"
    return Sheet(f"Many addresses: {database}", columns, rows, note)


def _forms(report: Mapping[str, Any], database: str) -> Sheet:
    streams = _streams(report, database)
    names = dict.fromkeys((each["form"], each["image"]) for each in report["timings"] if each["database"] == database)
    rows = [
        [form if image is None else f"{form}, {image}", *(_time(report, database, stream, form, image) for stream in streams)]
        for form, image in names
    ]
    return Sheet(f"Every form: {database}, ns an item (quartiles of the rounds)", ["form", *streams], rows)


def _memory(report: Mapping[str, Any]) -> Sheet:
    rows = []
    for database, images in report["memory"].items():
        for image, figures in images.items():
            opening = {key: median(values) for key, values in figures["open"].items()}
            seconds, cpu_seconds = median(figures["compile_seconds"]), median(figures["compile_cpu_seconds"])
            process = figures.get("process")
            rows.append(
                [
                    f"{database}, {image}",
                    f"{_mib(figures['image_bytes'])}, 1/{report['databases'][database]['bytes'] / figures['image_bytes']:.1f}",
                    f"{seconds:.2f} s ({cpu_seconds:.2f})",
                    f"{figures['compile_peak_rss_bytes'] / 1e6:.0f} MB",
                    f"{opening['header_seconds'] * 1e6:.0f} / {opening['header_cold_seconds'] * 1e6:.0f} us",
                    f"{opening['verified_seconds'] * 1e3:.1f} / {opening['verified_cold_seconds'] * 1e3:.1f} ms",
                    f"{opening['served_seconds'] * 1e3:.1f} ms",
                    _process(process["looked_up"]) if process else "-",
                    _process(process["forked"]) if process else "-",
                ]
            )
    columns = [
        "image",
        "size, share of the MMDB",
        "compile (CPU)",
        "peak memory",
        "open, hot / cold",
        "verified, hot / cold",
        "into sealed memory and verified",
        "first process: RSS, private",
        "each further worker: RSS, private",
    ]
    return Sheet("Image and memory", columns, rows, "A process here has a resolver open and has looked 200,000 addresses up.")


def _process(memory: Mapping[str, Any]) -> str:
    return f"{_mib(memory['rss_bytes'])}, {_mib(memory['private_bytes'])}"


def _targets(report: Mapping[str, Any]) -> Sheet:
    rows = [
        [
            each["id"],
            each["figure"],
            f"{'>=' if each['at_least'] else '<='} {each['limit']:g} {each['unit']}",
            f"{_figure(each['reached'])} {each['unit']} ({_figure(each['low'])}-{_figure(each['high'])})",
            "-" if each["normalised"] is None else f"{_figure(each['normalised'])} {each['unit']}",
            "reached" if each["passes"] else "SHORT",
        ]
        for each in report["targets"]
    ]
    call = report["call_ns"]
    note = (
        f"Normalised: as if all speed were that of a C no-op call, {_figure(call)} ns here and 8.3 ns on the machine that "
        "the targets were set on. A hint, not a measurement."
        if call
        else ""
    )
    return Sheet("Targets A1-A6", ["", "figure", "target", "here (quartiles)", "normalised", ""], rows, note)


def markdown(report: Mapping[str, Any]) -> str:
    """Return the whole report as Markdown."""
    return "## Lookup benchmark\n\n" + "\n".join(sheet.markdown() for sheet in sheets(report))
