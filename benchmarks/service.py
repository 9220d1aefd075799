"""The service under load, and yardsticks in the same run: capacity, then latency at shares of it (layers service, yardstick).

    python -m benchmarks.service                        GET and POST, beside nginx, a bare uvloop protocol and a floor
    python -m benchmarks.service --rounds 5 --seconds 5 --record build/bench/service.jsonl

One core for the server that is asked, another for the generator (`regionresolver.load`). All servers run all the time and take
turns, each round in the opposite order of the one before. A turn is a closed loop, for capacity and for CPU a request; when all
rounds of it are over, a Poisson process at each share of the median capacity of that server, latencies from the planned time.

The yardsticks answer a constant of as many bytes as the service's: nginx, a bare asyncio protocol on uvloop, and `floor`, which
is C on epoll. They do none of the work; ratios against them travel between machines, figures do not. One that is not installed
is left out, and the record says so.

A percentile is given when three quarters of it cannot be the generator's (docs/load.md); others are left out of the record, with
a note. Histograms of all rounds are joined; they are in the record, and as HdrHistogram logs in the folder beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.http.servers import BUILD, CLIENT_CORE, SERVERS, Server, Site, head_of, serve_command, why_not
from benchmarks.record import Condition, Figure, Measurement, append, make_record
from benchmarks.record import Histogram as RecordedHistogram
from regionresolver.load import Mix, Plan
from regionresolver.load.engine import Engine
from regionresolver.load.histogram import Histogram, log_lines
from regionresolver.load.report import PERCENTILES, figure
from regionresolver.load.requests import Requests, made_requests
from regionresolver.resolver import Resolver
from regionresolver.resolver.documents import decision_document

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SHARES: Final = (0.5, 0.7, 0.9)
CONNECTIONS: Final = 64
WARM_UP_S: Final = 0.3
SERVICE: Final = "service"
MIXES: Final = {"resolve": Mix(resolve=1, decisions=0), "decisions": Mix(resolve=0, decisions=1)}
FLOOR: Final = """
import os, socket, sys
from _fastpath.load_floor import serve
answer = sys.stdin.buffer.read()
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=1024)
listener.setblocking(False)
serve(listener.fileno(), os.pipe()[0], answer)
"""


@dataclass(frozen=True)
class Turn:
    """One run against one server: what was answered, what the server used, and the histograms."""

    per_s: float
    cpu_ns: float
    core_share: float
    errors: int
    limited: bool
    latency: Histogram
    at_least: Histogram


@dataclass
class Runs:
    """All turns of one server with one kind of request: in a closed loop, and by share of its capacity."""

    closed: list[Turn] = field(default_factory=list)
    open: dict[float, list[Turn]] = field(default_factory=dict)
    pss_bytes: int = 0

    @property
    def capacity(self) -> float:
        """The median of the closed loops."""
        return statistics.median(turn.per_s for turn in self.closed)


def take_turn(server: Server, requests: Requests, *, seconds: float, rate: float | None, core: int) -> Turn:
    """Load a server once: in a closed loop, or at a rate."""
    plan = Plan(
        f"http://127.0.0.1:{server.address}", rate=rate or 1, poisson=True, closed=rate is None, duration_s=seconds,
        warm_up_s=WARM_UP_S, connections=CONNECTIONS, core=core, self_test_s=0,
    )  # fmt: skip
    engine = Engine(plan, requests)
    before_ns = server.cpu_ns()
    engine.run()
    cpu_ns, totals = server.cpu_ns() - before_ns, engine.client.totals()
    return Turn(
        per_s=totals["in_time"] / seconds,
        cpu_ns=cpu_ns / max(totals["answered"], 1),
        core_share=cpu_ns / 1e9 / engine.whole_s,
        errors=sum(engine.client.errors().values()),
        limited=totals["idle_ns"] / 1e9 / engine.whole_s < 0.03,
        latency=engine.histogram("latency"),
        at_least=engine.histogram("at_least"),
    )


def measure(
    servers: Sequence[Server], requests: Requests, *, rounds: int, seconds: float, core: int, shares: Sequence[float] = SHARES
) -> dict[str, Runs]:
    """Measure all servers by turns."""
    found = {server.name: Runs() for server in servers}

    def by_turns(turn: Callable[[Server], None]) -> None:
        for number in range(rounds):
            for server in servers if number % 2 else servers[::-1]:
                turn(server)

    by_turns(lambda server: found[server.name].closed.append(take_turn(server, requests, seconds=seconds, rate=None, core=core)))
    for share in shares:

        def at_share(server: Server, share: float = share) -> None:
            runs = found[server.name]
            turn = take_turn(server, requests, seconds=seconds, rate=share * runs.capacity, core=core)
            runs.open.setdefault(share, []).append(turn)

        by_turns(at_share)
    for server in servers:
        found[server.name].pss_bytes = pss_bytes(server)
    return found


def measure_build(python: str | Path, *, seconds: float = 1.0, share: float = 0.5, core: int = 1) -> Measurement:
    """Measure the service as an environment's interpreter runs it: capacity, CPU, p50, p99. About 2 * seconds + 2 s."""
    requests = made_requests(Plan("http://127.0.0.1:1", mix=MIXES["decisions"], closed=True))
    with ExitStack() as stack:
        server = start_service(Site(stack), python)
        found = measure([server], requests, rounds=1, seconds=seconds, core=core, shares=[share])
    return measurements(SERVICE, "decisions", found[SERVICE])[-1]


def start_service(site: Site, python: str | Path = sys.executable) -> Server:
    """Start one worker on the embedded database and the default policy."""
    address = site.address(SERVICE)
    return site.run(SERVICE, address, serve_command(address, python=(python,)))


def site_of(stack: ExitStack, folder: Path) -> Site:
    """Make a site whose constant answer is one of the service's, with every member that is looked for."""
    with Resolver.open() as resolver:
        document = decision_document(resolver.decide(ip="1.1.1.1", serving="50501", sim="50501"))
    body = orjson.dumps(document)
    return Site(stack, folder, head_of(body) + body)


def start_all(stack: ExitStack, folder: Path) -> tuple[list[Server], list[str]]:
    """Start the service and every yardstick that there is; also say what is missing."""
    site = site_of(stack, folder)
    servers = [start_service(site), SERVERS["uvloop"]("uvloop", site), start_floor(site)]
    if (reason := why_not("nginx_constant")) is not None:
        return servers, [f"{reason} (apt: nginx-light): that yardstick is missing"]
    return [*servers, SERVERS["nginx_constant"]("nginx", site)], []


def start_floor(site: Site) -> Server:
    """Start the load generator's own constant server."""
    address = site.address("floor")
    return site.run("floor", address, [sys.executable, "-c", FLOOR, address], site.answer)


def pss_bytes(server: Server) -> int:
    """Return the memory of a server's processes, shared pages by their part."""
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines() for pid in server.pids())
    return sum(int(line.split()[1]) * 1024 for lines in rollups for line in lines if line.startswith("Pss:"))


def measurements(name: str, request: str, runs: Runs) -> list[Measurement]:
    """Give a server's measurements: the capacity, then each share of it."""
    layer, stage = ("service", request) if name == SERVICE else ("yardstick", name)
    conditions: dict[str, Condition] = {"request": request, "connections": CONNECTIONS}
    limited = sum(turn.limited for turn in runs.closed)
    found = [
        Measurement(
            layer=layer,
            stage=stage,
            conditions=conditions | {"loop": "closed"},
            figures=(
                figure_of("throughput", "requests/s", [turn.per_s for turn in runs.closed], is_higher_better=True),
                figure_of("cpu", "ns", [turn.cpu_ns for turn in runs.closed]),
                figure_of("core_share", "share", [turn.core_share for turn in runs.closed], is_higher_better=True),
                figure_of("errors", "requests", [float(turn.errors) for turn in runs.closed]),
                figure_of("pss", "bytes", [float(runs.pss_bytes)]),
            ),
            notes=(f"the generator never waited in {limited} of {len(runs.closed)} turns",) if limited else (),
        )
    ]
    for share, turns in runs.open.items():
        offered: dict[str, Condition] = {"loop": "open", "planned": "poisson", "share": share}
        offered["offered_rate"] = round(share * runs.capacity)
        latency, at_least = joined([turn.latency for turn in turns]), joined([turn.at_least for turn in turns])
        figures, notes = latency_figures(latency, at_least, turns)
        figures.append(figure_of("throughput", "requests/s", [turn.per_s for turn in turns], is_higher_better=True))
        figures.append(figure_of("cpu", "ns", [turn.cpu_ns for turn in turns]))
        figures.append(figure_of("errors", "requests", [float(turn.errors) for turn in turns]))
        found.append(
            Measurement(
                layer=layer,
                stage=stage,
                conditions=conditions | offered,
                figures=tuple(figures),
                histograms=(RecordedHistogram(name="latency", counts=latency.bounds(), hdr=latency.encoded()),),
                notes=tuple(notes),
            )
        )
    return found


def latency_figures(latency: Histogram, at_least: Histogram, turns: Sequence[Turn]) -> tuple[list[Figure], list[str]]:
    """Give the percentiles of the joined histograms with the turns' quartiles, and notes on those that are withheld."""
    figures, withheld = [], []
    for name, at in {**PERCENTILES, "max": 100.0}.items():
        value, sure = latency.percentile_ns(at), at_least.percentile_ns(at)
        if figure(value, sure).us is None:
            withheld.append(f"{name} (at least {sure / 1e3:,.0f} us)")
            continue
        low, _, high = quartiles([float(turn.latency.percentile_ns(at)) for turn in turns])
        figures.append(Figure(name=name, value=value, unit="ns", low=low, high=high, rounds=len(turns)))
    note = f"withheld, as the generator may have caused a quarter of it: {', '.join(withheld)}"
    return figures, [note] if withheld else []


def joined(histograms: Sequence[Histogram]) -> Histogram:
    """Add histograms."""
    found = histograms[0]
    for other in histograms[1:]:
        found = found.plus(other)
    return found


def quartiles(values: list[float]) -> list[float]:
    """Give the three quartiles."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def figure_of(name: str, unit: str, values: list[float], *, is_higher_better: bool = False) -> Figure:
    """Give the median of some rounds, with their quartiles."""
    low, middle, high = quartiles(values)
    better = "higher" if is_higher_better else "lower"
    return Figure(name=name, value=middle, unit=unit, low=low, high=high, rounds=len(values), better=better)


def main() -> None:
    """Measure, print tables, write a record and logs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--requests", nargs="+", choices=MIXES, default=list(MIXES))
    parser.add_argument("--core", type=int, default=int(CLIENT_CORE), help="the generator's")
    parser.add_argument("--record", type=Path, default=BUILD / "service.jsonl", help="append the record here")
    options = parser.parse_args()
    # Where it is allowed: other work on the machine then shows less.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    found: list[Measurement] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers, notes = start_all(stack, folder)
        for request in options.requests:
            requests = made_requests(Plan("http://127.0.0.1:1", mix=MIXES[request], closed=True))
            runs = measure(servers, requests, rounds=options.rounds, seconds=options.seconds, core=options.core)
            for name, one in runs.items():
                found += measurements(name, request, one)
                keep_logs(options.record.with_suffix(""), name, request, one)
    record = make_record(found, conditions={"rounds": options.rounds, "seconds": options.seconds}, notes=tuple(notes))
    append(record, options.record)
    show(found, notes)


def keep_logs(folder: Path, name: str, request: str, runs: Runs) -> None:
    """Write an HdrHistogram log of each share, a line a round."""
    folder.mkdir(parents=True, exist_ok=True)
    for share, turns in runs.open.items():
        lines = log_lines(0.0, [("latency", float(number), 1.0, turn.latency) for number, turn in enumerate(turns)])
        (folder / f"{name}-{request}-{round(share * 100)}.hlog").write_text("".join(lines), encoding="utf-8")


def show(found: Sequence[Measurement], notes: Sequence[str]) -> None:
    """Print what was measured, and what is missing."""
    console = Console(highlight=False, width=130)
    for request in MIXES:
        of_request = [one for one in found if one.conditions["request"] == request]
        if not of_request:
            continue
        table = Table(title=request, title_justify="left", box=None)
        for name in (
            "",
            "load",
            "requests/s",
            "ratio",
            "CPU us",
            "core",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "max us",
            "errors",
            "MiB",
        ):
            table.add_column(name, justify="left" if name in {"", "load"} else "right")
        ours = next((one for one in of_request if one.layer == "service"), None)
        for one in of_request:
            table.add_row(*row(one, ours))
        console.print(table)
    for one in found:
        notes = [*notes, *(f"{name_of(one)}, {one.conditions['request']}, {load_of(one)}: {note}" for note in one.notes)]
    for note in notes:
        console.print(f"- {note}")


def name_of(one: Measurement) -> str:
    """Name the server."""
    return one.stage if one.layer == "yardstick" else SERVICE


def load_of(one: Measurement) -> str:
    """Name the load."""
    share = one.conditions.get("share")
    return "closed" if share is None else f"{share:.0%}"


def row(one: Measurement, ours: Measurement | None) -> list[str]:
    """Give a line of the table; the ratio is the service's capacity over this one's."""

    def shown(name: str, scale: float, form: str) -> str:
        figure = one.figure(name)
        return "" if figure is None else format(figure.value / scale, form)

    is_closed = one.conditions["loop"] == "closed"
    rate, our_rate = one.figure("throughput"), ours.figure("throughput") if ours else None
    ratio = f"{our_rate.value / rate.value:.2f}" if is_closed and rate and our_rate and rate.value else ""
    return [
        name_of(one),
        load_of(one),
        shown("throughput", 1, ",.0f"),
        ratio,
        shown("cpu", 1e3, ".2f"),
        shown("core_share", 1, ".2f"),
        *(shown(name, 1e3, ",.0f") or ("" if is_closed else "-") for name in ("p50", "p99", "p999", "max")),
        shown("errors", 1, ",.0f"),
        shown("pss", 1 << 20, ",.1f"),
    ]


if __name__ == "__main__":
    main()
