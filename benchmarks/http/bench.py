"""The measurements: scenarios, their rounds, and what came out of each."""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.http import requests
from benchmarks.http.load import load
from benchmarks.http.servers import CLIENT_CORE, SERVERS, Server, ServerError, Site, serve_command, why_not

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

WARM_UP_S = 0.3
SHARES = (0.3, 0.5, 0.7)
PAUSE_S = 0.02
BATCH = 1000
# Of answers to a batch only what is not allowed, so that the client has little to read.
BATCH_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Prefer"] = "return=minimal"
wrk.body = [=[%s]=]
"""

Round = dict[str, float]
"""What one measurement gave: rate, core (the server's share of its core), cpu_us, p50_us, p99_us, p999_us, windowed_p99_us."""


@dataclass(frozen=True)
class Scenario:
    """What is asked of which servers, and how. A `pipeline` of 0: a connection for each request.

    `beside` is a case that the first server is asked for as well in each round, for what the case of the scenario costs it.
    """

    name: str
    case: str
    servers: tuple[str, ...]
    connections: int = 64
    pipeline: int = 1
    beside: str | None = None


@dataclass
class Bench:
    """Starts servers on first need, and keeps what was measured: by scenario, then by server."""

    site: Site
    rounds: int
    seconds: float
    results: dict[str, dict[str, list[Round]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    _running: dict[str, Server] = field(default_factory=dict)

    def server(self, name: str) -> Server | None:
        """Return a running server; None for one that cannot take part."""
        if name not in self._running:
            if (reason := why_not(name)) is not None:
                self.left_out[name] = reason
                return None
            self._running[name] = SERVERS[name](name, self.site)
        return self._running[name]

    def run(self, scenario: Scenario) -> None:
        """Run the rounds of a scenario, forwards and backwards."""
        found = self.results.setdefault(scenario.name, {})
        asked = [server for name in scenario.servers if (server := self.server(name)) is not None]
        for number in range(self.rounds):
            for server in asked if number % 2 else asked[::-1]:
                measured = self.measure(server, scenario.case, scenario.connections, scenario.pipeline)
                found.setdefault(server.name, []).append(measured)
                if scenario.beside is not None and server is asked[0]:
                    measured = self.measure(server, scenario.beside, scenario.connections, scenario.pipeline)
                    found.setdefault(f"{server.name}_{scenario.beside}", []).append(measured)
        tell(scenario.name)

    def run_open_loop(self, names: Sequence[str]) -> None:
        """Offer each server shares of its own capacity, and ours the rates of nginx as well; latency from the planned time."""
        if "get_64" not in self.results:
            self.run(Scenario("get_64", "get", tuple(names)))
        capacity = {name: statistics.median(one["rate"] for one in found) for name, found in self.results["get_64"].items()}
        plan = [(name, f"open_{share:.0%}", share * capacity[name]) for share in SHARES for name in names if name in capacity]
        plan += [("lane", f"open_nginx_{share:.0%}", share * capacity["nginx"]) for share in SHARES if "nginx" in capacity]
        for number in range(self.rounds):
            for name, scenario, rate in plan if number % 2 else plan[::-1]:
                measured = self.measure(self._running[name], "get", 64, 1, rate)
                self.results.setdefault(scenario, {}).setdefault(name, []).append(measured | {"offered": rate})
        tell("open_loop")

    def run_workers(self) -> None:
        """Compare one worker and two on all cores, the client beside them: requests for a CPU second of the servers.

        Of single requests, which a client that never sleeps disturbs most, and of batches, from one that sleeps (wrk).
        """
        site = Site(self.site.stack, self.site.folder, self.site.answer, cores="0-1")
        started, names = {}, ("workers_1", "workers_2")
        for count, name in enumerate(names, 1):
            for kind in ("_unix", ""):
                address = site.address(name + kind)
                started[name + kind] = site.run(name + kind, address, serve_command(address, workers=count))
        script = self.site.folder / "batch.lua"
        script.write_text(BATCH_SCRIPT % json.dumps([*map(json.loads, requests.bodies()[:BATCH])]), "utf-8")
        for number in range(self.rounds):
            for name in names if number % 2 else names[::-1]:
                measured = self.measure(started[name + "_unix"], "get", 64, 1, core="0-1")
                self.results.setdefault("workers", {}).setdefault(name, []).append(measured)
                if shutil.which("wrk") is not None:
                    measured = self.wrk(started[name], "/v1/decisions/batch", "-c8", "-s", str(script), core="0-1")
                    self.results.setdefault("workers_batch", {}).setdefault(name, []).append(measured)
        tell("workers")

    def run_wrk(self, names: Iterable[str]) -> None:
        """Ask with wrk as well: another's generator, one target, and its own warm-up."""
        if shutil.which("wrk") is None:
            self.left_out["wrk"] = "wrk is not installed"
            return
        found = self.results.setdefault("wrk", {})
        target = "/v1/resolve?ip=8.8.8.8&sim=310410"
        for _ in range(min(self.rounds, 2)):
            for name in names:
                if (server := self.server(name)) is None:
                    continue
                found.setdefault(name, []).append(self.wrk(server, target, "-c64"))
        tell("wrk")

    def wrk(self, server: Server, target: str, *options: str, core: str = CLIENT_CORE) -> Round:
        """Load a server on a port once with wrk. Raises ServerError when it fails a request."""
        before_ns, started = server.cpu_ns(), time.monotonic()
        command = ["wrk", "-t1", f"-d{max(round(self.seconds), 1)}s", "--latency", *options]
        out = subprocess.run(
            ["taskset", "-c", core, *command, f"http://127.0.0.1:{server.address}{target}"],
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        elapsed_s, cpu_s = time.monotonic() - started, (server.cpu_ns() - before_ns) / 1e9
        count = float(re.findall(r"(\d+) requests in", out)[0])
        if count == 0 or "Non-2xx" in out or "Socket errors" in out:
            raise ServerError(f"{server.name}: wrk says\n{out}")
        rate = float(re.findall(r"Requests/sec:\s+([\d.]+)", out)[0])
        return {"rate": rate, "cpu_us": cpu_s * 1e6 / count, "core": cpu_s / elapsed_s}

    def measure(
        self, server: Server, case: str, connections: int, pipeline: int, rate: float = 0, core: str = CLIENT_CORE
    ) -> Round:
        """Load a server once. Raises ServerError when it fails a request."""
        time.sleep(PAUSE_S)
        return load(
            server, self.site.folder / case, seconds=self.seconds, warm_up_s=WARM_UP_S, connections=connections,
            pipeline=pipeline, rate=rate, core=core,
        )  # fmt: skip


def quick(options: argparse.Namespace) -> argparse.Namespace:
    """Cut a run down to a look, where that was asked for."""
    if options.quick:
        options.rounds, options.seconds = 1, 0.2
    return options


def tell(name: str) -> None:
    """Tell who waits that something is done."""
    print(f"bench-http: {name}", file=sys.stderr)
