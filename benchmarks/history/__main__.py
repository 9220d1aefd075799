"""Record a run, or show what was recorded.

    python -m benchmarks.history record                              this tree's stages: time and instructions
    python -m benchmarks.service --record benchmarks/history.ndjson  this tree's service, beside yardsticks
    python -m benchmarks.history record --layers instructions --commits HEAD~20..HEAD      stages of past commits, oldest first
    python -m benchmarks.history report                              build/bench/report/report.html and its pictures

A history is a file of records, one line each (benchmarks/record.py); `--history FILE` keeps one outside the tree. The one that
is in the tree, benchmarks/history.ndjson, has the instruction counts of commits, which hold on any machine of the same
architecture with the same versions; times belong to a machine, so a team's are best kept beside its CI.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING, Any

from benchmarks.gate import instructions
from benchmarks.gate.builds import BUILD, Build, build_commit, build_here
from benchmarks.gate.decisions import ExitStatus, HarnessError, guarded
from benchmarks.record import ROOT, Figure, Measurement, Record, append, make_record, read

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HISTORY = ROOT / "benchmarks" / "history.ndjson"
LAYERS = ("micro", "instructions")
COUNTED = ("setup.py", "_fastpath")
"""A commit that touches none of these cannot change what is counted, and is left out."""

TIMED_ROUNDS = 9


def main(arguments: Sequence[str] | None = None) -> ExitStatus:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        prog="bench-history", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="measure, and append a line")
    record.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS))
    record.add_argument("--commits", metavar="RANGE", help="commits that change compiled code, instead of the tree")
    record.add_argument("--peers", type=Path, metavar="FILE", help="take the last record of make bench-http in")
    record.add_argument("--note", action="append", default=[], help="what a reader has to know of this run")
    report = commands.add_parser("report", help="write the page")
    report.add_argument("--out", type=Path, default=BUILD / "report", metavar="FOLDER")
    for command in (record, report):
        command.add_argument("--history", type=Path, action="append", metavar="FILE", help=f"default: {HISTORY.name} in the tree")
    options = parser.parse_args(arguments)
    return guarded(lambda: _run(options), lambda said: print(said, file=sys.stderr))


def _run(options: argparse.Namespace) -> ExitStatus:
    files: list[Path] = options.history or [HISTORY]
    if options.command == "record":
        for build in _builds(options.commits):
            made = measured(build, options.layers, options.peers, options.note)
            append(made, files[0])
            print(f"{made.revision.short} {made.revision.subject}: {len(made.measurements)} measurements", flush=True)
        return ExitStatus.FINE
    # Matplotlib is for the page alone.
    from benchmarks.history.page import write_page  # noqa: PLC0415

    records = sorted((one for path in files for one in read(path)), key=order)
    if not records:
        raise HarnessError(f"there is nothing in {', '.join(map(str, files))}: make bench-record first")
    print(write_page(records, options.out))
    return ExitStatus.FINE


def order(record: Record) -> tuple[float, float]:
    """Sort by what was measured, then by when."""
    return (record.revision.committed_at or record.at).timestamp(), record.at.timestamp()


def _builds(commits: str | None) -> Iterable[Build]:
    if commits is None:
        yield build_here()
        return
    listed = subprocess.run(
        ["git", "-C", ROOT, "rev-list", "--first-parent", "--reverse", commits, "--", *COUNTED],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        raise HarnessError(f"{commits} is no range of commits: {listed.stderr.strip()}")
    for commit in listed.stdout.split():
        try:
            yield build_commit(commit)
        except HarnessError as error:
            print(f"{commit[:9]} is left out: {error}", file=sys.stderr)


def measured(build: Build, layers: Sequence[str], peers: Path | None, notes: Sequence[str]) -> Record:
    """Measure a build into a record."""
    found: list[Measurement] = []
    said = list(notes)
    if "micro" in layers:
        found += timed(build)
    if "instructions" in layers:
        counted = instructions.count(build)
        found += counted.measurements()
        said += [f"{name} was not counted: {why}" for name, why in counted.refused.items()]
    if peers is not None:
        found += peers_of(read(peers)[-1])
    return make_record(found, revision=build.revision, notes=tuple(said))


def timed(build: Build) -> list[Measurement]:
    """Time the stages twice, in two processes: the second is the first one's noise."""
    command: list[str | Path] = [build.python, "-P", instructions.STAGES, "--time", str(TIMED_ROUNDS)]
    runs = [json.loads(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(2)]
    return [
        Measurement(
            layer="micro",
            stage=name,
            conditions={"operations": 5000, "clock": "process CPU time"},
            figures=(_spread("time", "ns", values, noise=abs(median(runs[1][name]) / median(values) - 1)),),
        )
        for name, values in runs[0].items()
        if name in runs[1]
    ]


def _spread(name: str, unit: str, values: Sequence[float], **more: Any) -> Figure:
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return Figure(name=name, value=middle, unit=unit, low=low, high=high, rounds=len(values), **more)


def peers_of(record: Record) -> list[Measurement]:
    """Take what `make bench-http` wrote of each server, as peers: the service too, or its series would have this in them."""
    return [one.model_copy(update={"layer": "peer"}) for one in record.measurements if "server" in one.conditions]


if __name__ == "__main__":
    sys.exit(main().value)
