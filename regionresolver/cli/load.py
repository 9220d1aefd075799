"""`regionresolver load`: a load test of a deployment, with latencies from the planned send time."""

from __future__ import annotations

import datetime as dt
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from regionresolver.cli.options import paper
from regionresolver.errors import LoadError
from regionresolver.load import Mix, Plan, Report, run
from regionresolver.load.histogram import log_lines
from regionresolver.load.report import JUDGED

if TYPE_CHECKING:
    from regionresolver.load.run import Moment, Recorded

STATUS = {"ok": 0, "errors": 1, "withheld": 3}
NAMES = {"p50": "p50", "p90": "p90", "p99": "p99", "p999": "p99.9", "max": "max", "windowed_p99": "p99, median of 20 ms windows"}
_REFRESH_PER_S = 4


@click.command("load")
@click.argument("target", metavar="URL|unix:PATH")
@click.option("--rate", metavar="N[..M]", default="100", show_default=True, help="Requests a second; N..M goes there in a line.")
@click.option("--poisson", is_flag=True, help="Exponential gaps, as of many independent phones; else even ones.")
@click.option("--closed", is_flag=True, help="No plan: keep every connection busy, to find the capacity.")
@click.option("--duration", "duration_s", metavar="S", type=float, default=10, show_default=True, help="Counted seconds.")
@click.option(
    "--warm-up", "warm_up_s", metavar="S", type=float, default=1, show_default=True, help="Seconds before, not counted."
)
@click.option(
    "--requests", "requests_max", metavar="N", type=int, default=0, help="End after so many requests, if that is earlier."
)
@click.option("--connections", metavar="N", type=int, default=64, show_default=True, help="Connections.")
@click.option("--pipeline", metavar="N", type=int, default=1, show_default=True, help="Requests under way on one, at most.")
@click.option("--no-keep-alive", is_flag=True, help="A connection for each request.")
@click.option(
    "--timeout", "timeout_s", metavar="S", type=float, default=5, show_default=True, help="An answer later than this is an error."
)
@click.option(
    "--mix", metavar="PARTS", default="resolve=1,decisions=1", show_default=True, help="Parts of resolve, decisions, batch."
)
@click.option("--batch-size", metavar="N", type=int, default=100, show_default=True, help="Pings in a batch.")
@click.option(
    "--seed", metavar="N", type=int, default=1, show_default=True, help="The same number makes the same pings and gaps."
)
@click.option(
    "--pings", metavar="FILE", type=click.Path(path_type=Path), help="NDJSON of pings to send in turn, instead of made ones."
)
@click.option(
    "--expect", metavar="FILE", type=click.Path(path_type=Path), help="NDJSON of members that the answers to --pings must have."
)
@click.option("--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="A header to send, such as an API key's.")
@click.option("--core", metavar="N", type=int, help="Processor that the engine stays on.")
@click.option(
    "--self-test",
    "self_test_s",
    metavar="S",
    type=float,
    default=0.5,
    show_default=True,
    help="Seconds to find its own ceiling; 0: none.",
)
@click.option(
    "--json", "json_file", metavar="FILE", type=click.Path(path_type=Path), help="Write the report here; - is standard output."
)
@click.option(
    "--hdr", "hdr_file", metavar="NAME", type=click.Path(path_type=Path), help="Write NAME.hlog and NAME.hgrm: the histograms."
)
def command(
    *,
    target: str,
    rate: str,
    no_keep_alive: bool,
    mix: str,
    batch_size: int,
    json_file: Path | None,
    hdr_file: Path | None,
    **values: object,
) -> None:
    """Load a deployment and tell how long its answers took, from the time at which each request was planned.

    A request that could not be sent in time has waited, and that counts: a server that stands still for a second shows it.
    Latencies that this generator could have caused itself are withheld. docs/load.md tells how to read the report.

    Exit status: 0 good; 1 answers were wrong or missing, or nobody listens; 2 the command line cannot be used; 3 figures were
    withheld. Ctrl-C ends the run and reports what was until then.

    \b
    Examples:
      regionresolver load http://127.0.0.1:8080 --rate 2000 --poisson
      regionresolver load http://127.0.0.1:8080 --rate 100..20000 --duration 60 --json report.json
      regionresolver load unix:/run/regionresolver/http.sock --closed --duration 5
      regionresolver load http://10.0.0.7:8080 --pings yesterday.ndjson --header 'X-Api-Key: ...'
    """
    first, last = _rates(rate)
    plan = Plan(
        target, rate=first, rate_to=last, keep_alive=not no_keep_alive, mix=Mix.parse(mix, batch_size), **values,  # type: ignore[arg-type]
    )  # fmt: skip
    kept: list[Recorded] = []
    to_stdout = json_file is not None and str(json_file) == "-"
    out = Console(stderr=True) if to_stdout else paper()
    report = _run(plan, out, kept)
    if json_file is not None:
        _write(json_file, orjson.dumps(report.document(), option=orjson.OPT_INDENT_2) + b"\n")
    if hdr_file is not None:
        _write_histograms(hdr_file, report, kept[0])
    out.print(summary(report))
    sys.exit(STATUS[report.verdict])


def _rates(text: str) -> tuple[float, float | None]:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(?:\.\.([0-9]+(?:\.[0-9]+)?))?", text)
    if found is None:
        raise LoadError("--rate is a number of requests a second, or two: 100..5000")
    return float(found[1]), None if found[2] is None else float(found[2])


def _run(plan: Plan, out: Console, kept: list[Recorded]) -> Report:
    """Run it, with a live view where somebody looks."""
    if not out.is_terminal:
        return run(plan, keep=kept.append)
    with Live(console=out, auto_refresh=False, transient=True) as live:
        last_s = -1.0

        def watch(moment: Moment) -> None:
            nonlocal last_s
            if moment.elapsed_s - last_s >= 1 / _REFRESH_PER_S:
                last_s = moment.elapsed_s
                live.update(view(plan, moment), refresh=True)

        return run(plan, watch, kept.append)


def view(plan: Plan, moment: Moment) -> Group:
    """Show how it goes."""
    whole_s = plan.warm_up_s + plan.duration_s
    share = min(moment.elapsed_s / whole_s, 1.0)
    filled = int(share * 40)
    bar = Text.assemble(("━" * filled, "green"), ("━" * (40 - filled), "bright_black"))
    totals, errors = moment.totals, sum(moment.errors.values())
    head = Text(f"{plan.whom.shown}  {plan.schedule}  {moment.phase.replace('_', ' ')}  {moment.elapsed_s:.1f} of {whole_s:g} s")
    table = Table.grid(padding=(0, 3))
    for _ in range(5):
        table.add_column(justify="right")
    table.add_row("sent", "answered", "errors", "p50 us", "p99 us", style="bright_black")
    last = moment.interval
    table.add_row(
        f"{totals['sent']:,}", f"{totals['answered']:,}", Text(f"{errors:,}", "red" if errors else ""),
        f"{last.p50_us:,.0f}" if last else "-", f"{last.p99_us:,.0f}" if last else "-",
    )  # fmt: skip
    return Group(head, bar, table)


def summary(report: Report) -> Group:
    """Give the report as people read it."""
    table = Table.grid(padding=(0, 2))
    rates, own = report.rates, report.own
    offered = f" of {rates.offered_per_s:,.0f} offered" if rates.offered_per_s is not None else ""
    early = ", interrupted" if report.interrupted else ""
    table.add_row("target", f"{report.plan.target}, {report.plan.connections} connections, {report.plan.schedule}{early}")
    table.add_row(
        "answered", f"{report.counts.in_time:,} in {report.counted_s:.2f} s: {rates.achieved_per_s:,.0f} a second{offered}"
    )
    table.add_row("errors", ", ".join(f"{count:,} {kind}" for kind, count in report.errors.items() if count) or "none")
    table.add_row("looked at", f"{report.samples.checked:,} answers, {report.samples.wrong:,} wrong" + _first_wrong(report))
    if report.ceiling is not None:
        ceiling = report.ceiling
        table.add_row("ceiling", f"{ceiling.requests_per_s:,.0f} a second against a constant server ({ceiling.over}) here")
    table.add_row(
        "generator",
        f"own delays p50 {own.p50_us:,.0f} us, p99 {own.p99_us:,.0f} us; busy {own.busy_share:.0%}, "
        f"starved {own.starved_share:.1%}",
    )
    table.add_row("latency", f"from the {report.latency_from} time")
    for name, one in report.latency.items():
        shown = f"{one.us:,.1f} us" if one.us is not None else f"withheld: at least {one.at_least_us:,.1f} us"
        table.add_row("", Text(f"{NAMES[name]}: {shown}", "yellow" if one.us is None and name in JUDGED else ""))
    verdict = Text(report.verdict, {"ok": "green", "errors": "red", "withheld": "yellow"}[report.verdict])
    return Group(table, verdict, *(Text(f"- {reason}") for reason in report.reasons))


def _first_wrong(report: Report) -> str:
    return f" ({report.samples.wrong_at[0]})" if report.samples.wrong_at else ""


def _write(path: Path, content: bytes) -> None:
    if str(path) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error


def _write_histograms(name: Path, report: Report, recorded: Recorded) -> None:
    """Write the log (each interval, then the whole by what it is of) and the table of percentiles."""
    started_s = dt.datetime.fromisoformat(report.started_at).timestamp()
    lines = [("interval", at_s, seconds, part) for at_s, seconds, part in recorded.intervals]
    whole = {"latency": recorded.latency, "at_least": recorded.at_least, "own": recorded.own}
    lines += [(tag, 0.0, report.counted_s, histogram) for tag, histogram in whole.items()]
    _write(name.with_name(name.name + ".hlog"), "".join(log_lines(started_s, lines)).encode())
    _write(name.with_name(name.name + ".hgrm"), recorded.latency.hgrm().encode())
