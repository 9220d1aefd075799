"""Base and head as services, side by side, loaded by turns: throughput, CPU a request, and latency from the planned send time.

Both servers run all the time on one core, idle but for the one that is asked; the generator (`benchmarks.http`'s, which
never sleeps) has another core. A run is a closed loop for throughput and CPU, then a fixed rate for latency: RATE_SHARE of what
the base can do, requests planned as a Poisson process, each latency counted from when its request was due. So a server that
stands still for a while is late for all who came meanwhile, not for one.

Server and generator run in the real-time class where that is allowed, so that other work on the machine cannot keep them from
their cores: of the fair class, even with the highest priority, a server that shares its core answers some milliseconds late,
and a rare stall of 5 ms does not show. What starves for most of a second is given its turn by the kernel, at the cost of a
pause of 50 ms in a measurement. So no run of the generator is longer than RUN_S_MAX, and a rest follows each.

Runs come in pairs, A B B A A B ...: the second of a pair is measured within seconds of the first.
"""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any, Final

from benchmarks.gate.decisions import Finding, HarnessError, Limits, Verdict, judge_shift, shift_of_logs, shift_of_quantile
from benchmarks.http.load import load
from benchmarks.http.requests import cases, write
from benchmarks.http.servers import ServerError, Site, serve_command
from benchmarks.record import Figure, Histogram, Measurement, quantile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from benchmarks.gate.builds import Build
    from benchmarks.gate.decisions import Counts
    from benchmarks.http.servers import Server

REAL_TIME_PRIORITY: Final = 10
RUN_S_MAX: Final = 0.8
REST_S: Final = 0.15
SETTLE_S: Final = 1.0
TRIES: Final = 3
CONNECTIONS: Final = 64
RATE_SHARE: Final = 0.25
STAGE: Final = "decisions"


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    pairs: int
    pilot_pairs: int
    closed_s: float
    open_s: float
    warm_up_s: float

    def __post_init__(self) -> None:
        if self.warm_up_s + max(self.closed_s, self.open_s) > RUN_S_MAX:
            raise ValueError(f"a run of the generator is longer than {RUN_S_MAX} s: plan more pairs of shorter ones")


QUICK: Final = Plan(pairs=8, pilot_pairs=8, closed_s=0.25, open_s=0.6, warm_up_s=0.1)
WHOLE: Final = Plan(pairs=24, pilot_pairs=24, closed_s=0.5, open_s=0.6, warm_up_s=0.1)


@dataclass(frozen=True)
class Loaded:
    """What one run of one server gave; `latencies` are those of the fixed rate, in nanoseconds."""

    per_second: float
    cpu_ns: float
    latencies: Counts


Pair = tuple[Loaded, Loaded]
"""Base and head, whichever was first."""


@dataclass
class Figures:
    """All pairs of a comparison, beside those of its pilot."""

    rate: float
    pilot: list[Pair] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)

    def findings(self, limits: Limits) -> list[Finding]:
        """Judge every figure of the service."""
        return [
            self._of("throughput", "requests/s", limits.throughput, lambda run: run.per_second, higher_is_better=True),
            self._of("cpu", "ns a request", limits.throughput, lambda run: run.cpu_ns),
            self._of("p50", "ns", limits.p50, lambda run: quantile(run.latencies, 0.5)),
            self._p99(limits.p99),
        ]

    def _of(
        self, name: str, unit: str, limit: float, read: Callable[[Loaded], float], *, higher_is_better: bool = False
    ) -> Finding:
        base, head = (median(read(pair[side]) for pair in self.pairs) for side in (0, 1))
        shift, pilot = (
            shift_of_logs([math.log(read(head) / read(base)) for base, head in pairs]) for pairs in (self.pairs, self.pilot)
        )
        finding = Finding("service", name, unit, base, head, limit, Verdict.FINE)
        return judge_shift(finding, shift, pilot, higher_is_better=higher_is_better)

    def _p99(self, limit: float) -> Finding:
        base, head = (quantile(self.latencies(side), 0.99) for side in (0, 1))
        shift, pilot = (
            shift_of_quantile([(base.latencies, head.latencies) for base, head in pairs], 0.99)
            for pairs in (self.pairs, self.pilot)
        )
        finding = Finding("service", "p99", "ns", base, head, limit, Verdict.FINE)
        return judge_shift(finding, shift, pilot, higher_is_better=False)

    def latencies(self, side: int) -> Counts:
        """Join the latencies of one side: 0 is the base, 1 the head."""
        found: dict[int, int] = {}
        for pair in self.pairs:
            for bound, count in pair[side].latencies:
                found[bound] = found.get(bound, 0) + count
        return tuple(sorted(found.items()))

    def measurement(self, side: int) -> Measurement:
        """Return one side for a record, with the pilot's differences as the noise."""
        runs = [pair[side] for pair in self.pairs]

        def figure(name: str, unit: str, read: Callable[[Loaded], float], *, is_higher_better: bool = False) -> Figure:
            values = [read(run) for run in runs]
            low, _, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
            noise = median(abs(read(head) / read(base) - 1) for base, head in self.pilot) if self.pilot else None
            better = "higher" if is_higher_better else "lower"
            return Figure(
                name=name, value=median(values), unit=unit, low=low, high=high, rounds=len(values), noise=noise, better=better
            )

        return Measurement(
            layer="service",
            stage=STAGE,
            conditions={"offered_rate": round(self.rate), "connections": CONNECTIONS, "planned": "poisson", "workers": 1},
            figures=(
                figure("throughput", "requests/s", lambda run: run.per_second, is_higher_better=True),
                figure("cpu", "ns", lambda run: run.cpu_ns),
                figure("p50", "ns", lambda run: quantile(run.latencies, 0.5)),
                figure("p99", "ns", lambda run: quantile(run.latencies, 0.99)),
                figure("p999", "ns", lambda run: quantile(run.latencies, 0.999)),
            ),
            histograms=(Histogram(name="latency", counts=self.latencies(side)),),
        )


def why_not() -> str | None:
    """Say why a service cannot be measured here, None if it can."""
    cores = len(os.sched_getaffinity(0))
    return None if cores > 1 else "the service was not measured: server and generator need a core each, and there is one"


@cache
def urgent(above: int = 0) -> tuple[str, ...]:
    """Return what to start a command with, so that it comes before other work: real time, or else the highest priority.

    Where neither is allowed, `nice` runs it as it is. `above` puts it before what else is urgent.
    """
    real_time = ("chrt", "--fifo", str(REAL_TIME_PRIORITY + above))
    is_allowed = subprocess.run([*real_time, "true"], capture_output=True, check=False).returncode == 0
    return real_time if is_allowed else ("nice", "-n", "-20")


def start(build: Build, name: str, stack: ExitStack) -> Server:
    """Start the service of a build, with one worker; it ends with the stack."""
    site = Site(stack)
    address = site.address(name)
    try:
        server = site.run(name, address, serve_command(address, python=(*urgent(), build.python, "-P")))
    except ServerError as error:
        raise HarnessError(f"the service of {name} ({build.revision.short}) does not start: {error}") from None
    # What else it does when it starts would keep its core from the others: of one priority, real time does not share.
    time.sleep(SETTLE_S)
    return server


def write_requests(folder: Path) -> Path:
    """Write the requests of a run: decisions on made pings, with what okhttp sends."""
    content = folder / "requests"
    write(cases()["post"], content)
    return content


def compare(base: Server, heads: tuple[Server, Server], requests: Path, plan: Plan) -> Figures:
    """Measure a pilot, base against the first of `heads` (the base again), then base against the second of them."""
    again, head = heads
    figures = Figures(capacity(base, requests, plan) * RATE_SHARE)
    for pairs, other, count in ((figures.pilot, again, plan.pilot_pairs), (figures.pairs, head, plan.pairs)):
        pairs.extend(measure_pairs(base, other, requests, plan, figures.rate, count))
    return figures


def capacity(server: Server, requests: Path, plan: Plan) -> float:
    """Return how many requests a second a server can answer, as nearly as a rate has to be chosen."""
    rates: list[float] = [_load(server, requests, 0, plan.closed_s, plan.warm_up_s)["rate"] for _ in range(3)]
    return median(rates)


def measure_pairs(base: Server, head: Server, requests: Path, plan: Plan, rate: float, count: int) -> Iterator[Pair]:
    """Yield pairs of runs, the base first in every other one."""
    for number in range(count):
        if number % 2 == 0:
            first = run(base, requests, plan, rate)
            yield first, run(head, requests, plan, rate)
        else:
            second = run(head, requests, plan, rate)
            yield run(base, requests, plan, rate), second


def run(server: Server, requests: Path, plan: Plan, rate: float) -> Loaded:
    """Load a server once: as fast as it goes, then at the rate."""
    closed = _load(server, requests, 0, plan.closed_s, plan.warm_up_s)
    latencies = _load(server, requests, rate, plan.open_s, plan.warm_up_s)["latency_ns"]
    return Loaded(closed["rate"], closed["cpu_us"] * 1e3, tuple((bound, count) for bound, count in latencies))


def _load(server: Server, requests: Path, rate: float, seconds: float, warm_up_s: float) -> dict[str, Any]:
    for _ in range(TRIES):
        try:
            found = load(
                server, requests, seconds=seconds, warm_up_s=warm_up_s, connections=CONNECTIONS, rate=rate,
                prefix=urgent(), histogram=True,
            )  # fmt: skip
        except ServerError as error:
            raise HarnessError(str(error)) from None
        time.sleep(REST_S)
        # No answer at all is no latency: on a busy machine a run now and then gets none, and the next is as ever.
        if found["requests"]:
            return found
    raise HarnessError(f"{server.name} answered nothing in {TRIES} runs")


@contextmanager
def freezing(pid: int, every_s: float, for_s: float) -> Iterator[None]:
    """Stop a process for a moment, again and again, from outside: what a rare stall looks like to its clients."""
    script = (
        "import os, signal, sys, time\n"
        "pid, every, pause = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])\n"
        "while True:\n"
        "    time.sleep(every - pause)\n"
        "    os.kill(pid, signal.SIGSTOP)\n"
        "    time.sleep(pause)\n"
        "    os.kill(pid, signal.SIGCONT)\n"
    )
    process = subprocess.Popen([*urgent(1), sys.executable, "-S", "-c", script, str(pid), str(every_s), str(for_s)])
    try:
        yield
    finally:
        process.kill()
        process.wait()
        os.kill(pid, signal.SIGCONT)


def worker_of(server: Server) -> int:
    """Return the process that answers: the supervisor's one worker."""
    _, *workers = server.pids()
    if len(workers) != 1:
        raise HarnessError(f"{server.name} has {len(workers)} workers, not one")
    return workers[0]
