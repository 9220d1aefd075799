"""Measure the service over HTTP beside its peers, and print what was to be reached and what was.

    python -m benchmarks.http                                   everything, about six minutes
    python -m benchmarks.http --quick                           a look, no result
    python -m benchmarks.http --scenario get_64 post_64 --rounds 9 --json result.jsonl

One core for the server, another for the generator (`load.c`, which never sleeps). The servers run side by side, idle but for
the one that is asked, and take turns; each round goes through them in the opposite order of the one before (A B B A), so that
a drift of the machine meets all alike. A ratio is taken within each round; the median of the rounds' is printed.

CPU a request comes from /proc/PID/schedstat and holds on a machine that others use too; requests a second only where the
server had its core to itself, so its share of the core is printed beside it, and a ratio is given by both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.http import requests, servers
from benchmarks.http.bench import Bench, Scenario, quick
from benchmarks.http.footprint import measure_footprint
from benchmarks.http.report import record_of, show, targets
from benchmarks.record import append
from regionresolver.resolver import Resolver
from regionresolver.resolver.documents import decision_document

GETTERS = (
    "lane",
    "nginx",
    "haproxy",
    "floor",
    "uvloop",
    "nginx_constant",
    "haproxy_constant",
    "plain",
    "plain_asyncio",
    "no_lane",
)
LOADED = ("lane", "lane_again", "lane_rules", "lane_two_databases")
SCENARIOS = (
    Scenario("get_64", "get", GETTERS),
    Scenario("get_256", "get", ("lane", "nginx", "haproxy", "floor", "plain"), connections=256),
    Scenario("post_64", "post", ("lane", "floor", "uvloop", "plain", "no_lane")),
    Scenario("post_256", "post", ("lane", "floor"), connections=256),
    Scenario("pipelined_16", "get", ("lane", "nginx", "floor"), pipeline=16),
    Scenario("unix_socket", "get", ("lane_unix", "nginx_unix", "floor_unix")),
    Scenario("odd_5_percent", "odd", ("lane", "plain"), beside="get"),
    Scenario("slow_get", "slow_get", ("lane", "no_lane", "plain")),
    Scenario("slow_post", "slow_post", ("lane", "no_lane", "plain")),
    Scenario("more_get", "get", LOADED),
    Scenario("more_post", "post", LOADED),
    Scenario("connection_each", "get", ("lane", "nginx", "floor", "plain"), pipeline=0),
)
OPEN_LOOP = ("lane", "nginx", "haproxy", "plain")


def main() -> None:
    """Measure, print tables, write JSON."""
    options = read_options()
    servers.install()
    chosen = [scenario for scenario in SCENARIOS if not options.scenario or scenario.name in options.scenario]
    with Resolver.open() as resolver:
        sample = json.dumps(decision_document(resolver.decide(ip="8.8.8.8", sim="310410")), separators=(",", ":")).encode()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(servers.Site(stack, folder, servers.head_of(sample) + sample), options.rounds, options.seconds)
        for case, made in requests.cases().items():
            requests.write(made, folder / case)
        for scenario in chosen:
            bench.run(scenario)
        if not options.scenario or "open_loop" in options.scenario:
            bench.run_open_loop(OPEN_LOOP)
        if not options.scenario or "workers" in options.scenario:
            bench.run_workers()
        if not options.scenario or "wrk" in options.scenario:
            bench.run_wrk(("lane", "nginx", "floor"))
        footprint = measure_footprint(bench.site) if not options.scenario or "footprint" in options.scenario else {}
    show(bench.results, bench.left_out)
    reached = targets(bench.results, footprint)
    if options.json:
        append(record_of(bench.results, reached, options), options.json)
        print(f"\nwritten to {options.json}", file=sys.stderr)


def read_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=(__doc__ or "").partition("\n")[0])
    names = [*(scenario.name for scenario in SCENARIOS), "open_loop", "workers", "wrk", "footprint"]
    parser.add_argument("--scenario", nargs="+", choices=names, help="only these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.7, help="of one measurement, behind 0.3 s that do not count")
    parser.add_argument("--quick", action="store_true", help="one short round of each: to see that it runs")
    parser.add_argument("--json", type=Path, help="append the record of the run to this file")
    return quick(parser.parse_args())


if __name__ == "__main__":
    main()
