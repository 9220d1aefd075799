"""Compare two revisions, and say by the exit status whether the head is slower.

    python -m benchmarks.gate                           the tree as it is against what it came from
    python -m benchmarks.gate --base v0.1.0 --strict    against a revision; an inconclusive figure fails too
    python -m benchmarks.gate --quick                   what CI runs: about two minutes on two cores, one more for a cold build

Without --base: from a branch the merge base with `main`; on `main`, or where the tree is that merge base, the commit before
(the merge base itself when the tree has changes of its own). Where there is no commit before, as in a clone of one commit,
the tree is compared with itself, which tests the harness and nothing else, and the report says so.

A slowness that is wanted is declared at the end of its commit's message, by figure: "Costs-More: lane.get, p50".

Exit status: 0 nothing is slower, 1 a regression, 2 the harness could not measure, 3 inconclusive (only with --strict),
4 an improvement beyond the limit, to be noted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.gate import instructions, report, service
from benchmarks.gate.builds import BUILD, Build, build_commit, build_here
from benchmarks.gate.decisions import ExitStatus, Limits, accept, guarded, judge_instructions, overall
from benchmarks.record import ROOT, append, make_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.gate.decisions import Finding
    from benchmarks.record import Measurement, Record

LAYERS = ("instructions", "service")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    limits = Limits()
    found = argparse.ArgumentParser(prog="bench-gate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--base", metavar="REV", help="the revision to compare with")
    found.add_argument("--head", metavar="REV", help="the revision to judge, instead of the tree as it is")
    found.add_argument("--quick", action="store_true", help="shorter runs of the service")
    found.add_argument("--strict", action="store_true", help="let an inconclusive figure fail (exit status 3)")
    found.add_argument("--layers", nargs="+", choices=LAYERS, default=list(LAYERS), help="measure these alone")
    found.add_argument("--stages", nargs="+", default=[], metavar="NAME", help="count these stages alone")
    found.add_argument("--limit-instructions", type=_share, default=limits.instructions, metavar="SHARE", help="0.01 is 1 %%")
    found.add_argument("--limit-throughput", type=_share, default=limits.throughput, metavar="SHARE")
    found.add_argument("--limit-p50", type=_share, default=limits.p50, metavar="SHARE")
    found.add_argument("--limit-p99", type=_share, default=limits.p99, metavar="SHARE")
    found.add_argument("--out", type=Path, default=BUILD / "gate", metavar="FOLDER", help="gate.md, gate.json, gate.ndjson")
    return found


def _share(text: str) -> float:
    found = float(text)
    if not 0 < found < 1:
        raise argparse.ArgumentTypeError(f"{text}: a share between 0 and 1, such as 0.05 for 5 %")
    return found


def main(arguments: Sequence[str] | None = None) -> ExitStatus:
    """Compare, print the table, write the files."""
    options = parser().parse_args(arguments)
    return guarded(lambda: compare(options), lambda said: print(said, file=sys.stderr))


def compare(options: argparse.Namespace) -> ExitStatus:
    """Build both, measure what was asked for, report. Raises HarnessError."""
    began = time.monotonic()
    commit, notes = (options.base, []) if options.base else default_base(ROOT)
    known = build_commit(commit) if commit else None  # first: a revision that is none here is told at once
    head = build_commit(options.head) if options.head else build_here()
    base = known or head
    if base.revision.digest == head.revision.digest:
        notes.append("Base and head are built from the same sources: this run compares the code with itself.")
    limits = Limits(options.limit_instructions, options.limit_throughput, options.limit_p50, options.limit_p99)
    findings: list[Finding] = []
    measured: tuple[list[Measurement], list[Measurement]] = ([], [])
    if "instructions" in options.layers:
        counted = instructions.count_both(base, head, options.stages)
        gone = set(instructions.own_stages(base)) - set(instructions.own_stages(head)) if not options.stages else set()
        found = judge_instructions(counted[0].least, counted[1].least, limits, sorted(gone))
        refused = counted[0].refused, counted[1].refused
        findings += [replace(one, note=refused[0].get(one.name, refused[1].get(one.name, ""))) for one in found]
        for side in (0, 1):
            measured[side].extend(counted[side].measurements())
    if "service" in options.layers:
        missing = service.why_not()
        if missing is not None:
            notes.append(missing)
        else:
            figures = measure_service(base, head, service.QUICK if options.quick else service.WHOLE)
            findings += figures.findings(limits)
            for side in (0, 1):
                measured[side].append(figures.measurement(side))
    findings = accept(findings, declared(ROOT, base.revision.commit, options.head or "HEAD"))
    status = overall(findings, strict=options.strict)
    records = [
        make_record(measurements, revision=build.revision, notes=tuple(notes))
        for build, measurements in ((base, measured[0]), (head, measured[1]))
    ]
    document = report.document(records, findings, status, notes, time.monotonic() - began)
    write(document, records, options.out)
    print(report.markdown(document))
    return status


def declared(tree: Path, base: str | None, head: str) -> list[str]:
    """Return the figures that the commits between say cost more: `Costs-More: lane.get, decide` at the end of a message."""
    if base is None:
        return []
    command = [
        "git",
        "-C",
        str(tree),
        "log",
        "--format=%(trailers:key=Costs-More,valueonly,separator=%x2C)",
        f"{base}..{head}",
        "--",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [name.strip() for name in done.stdout.replace("\n", ",").split(",") if name.strip()]


def measure_service(base: Build, head: Build, plan: service.Plan) -> service.Figures:
    """Start the base twice and the head once, and load them by turns."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        servers = [service.start(build, name, stack) for build, name in ((base, "base"), (base, "base again"), (head, "head"))]
        return service.compare(servers[0], (servers[1], servers[2]), service.write_requests(folder), plan)


def write(document: dict[str, object], records: Sequence[Record], folder: Path) -> None:
    """Write the report for people, for machines, and the records."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gate.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    (folder / "gate.md").write_text(report.markdown(document) + "\n", encoding="utf-8")
    (folder / "gate.ndjson").unlink(missing_ok=True)
    for record in records:
        append(record, folder / "gate.ndjson")


def default_base(tree: Path) -> tuple[str | None, list[str]]:
    """Choose what to compare with, and say why. None: there is nothing but this."""

    def git(*arguments: str) -> str | None:
        done = subprocess.run(["git", "-C", tree, *arguments], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "HEAD")
    if head is None:
        return None, ["There is no repository here, so no other revision."]
    for main_branch in ("main", "origin/main"):
        fork = git("merge-base", main_branch, "HEAD")
        if fork is not None and fork != head:
            return fork, [f"Base: where this branch left {main_branch}."]
    if git("status", "--porcelain", "--", "_fastpath", "regionresolver", "setup.py", "pyproject.toml"):
        return head, ["Base: the last commit; the head is the tree with its changes."]
    before = git("rev-parse", "--verify", "--quiet", "HEAD~1")
    if before is not None:
        return before, ["Base: the commit before."]
    return None, ["This is a repository of one commit (a shallow clone?), so there is no other revision."]


if __name__ == "__main__":
    sys.exit(main().value)
