"""The gate tested on what it is for: quiet on identical code, loud on a slow stage and on a rare stall, each named.

    python -m benchmarks.gate.selftest                  short, for CI: each once, up to three attempts where a clock is read
    python -m benchmarks.gate.selftest --repeat 50      the false-alarm rate and the power, over so many repetitions

The slow stage is PLANT_SHARE more instructions in `Fusion.fuse`, in a patched copy of the tree that is built beside it. The
stall is STALL_S in every STALL_EVERY_S, done from outside by stopping the worker's process: 2.5 % of the time, so it shows at
the 99th percentile and hardly anywhere else. The product has neither.

What a repetition is. Stages: counts of their own, five fresh layouts of memory for each side, in PROCESSES processes a side
whose environments differ in size; all stages are judged. Service: PILOT and PAIRS pairs drawn without replacement from pools
of fresh pairs (base and base; base and stalled base), each pair's sides exchanged by a coin in what is base and base. Drawn
repetitions share pairs, so a rate of theirs is less sure than one of as many fresh ones.

Exit status: 0 as it should be, 1 a false alarm or a slowness that was not caught (whatever the reason: what could not be tried
is not proven), 2 the harness could not measure.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.gate import instructions, service
from benchmarks.gate.builds import Build, build_here
from benchmarks.gate.decisions import ExitStatus, HarnessError, Limits, Verdict, guarded, judge_instructions
from benchmarks.record import these_versions, this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.gate.decisions import Finding
    from benchmarks.gate.service import Pair

PLANT_SHARE: Final = 0.2
PLANTED_STAGE: Final = "fusion"
UNTOUCHED_STAGES: Final = ("address.ipv4", "trie.ipv4", "digits.match", "ping.json")
PLANT_FILE: Final = "_fastpath/fusion.pyx"
PLANT_AT: Final = "        out.region = out.country = out.subdivision = out.conflicts = 0\n"
PLANT_BEFORE: Final = "cimport cython\n"
PLANT: Final = '''cdef extern from *:
    """
    static inline void planted(void) {{ __asm__ volatile(".rept {count}; nop; .endr"); }}
    """
    void planted() noexcept nogil


'''
STALL_S: Final = 0.005
STALL_EVERY_S: Final = 0.2
PLAN: Final = service.Plan(pairs=8, pilot_pairs=8, closed_s=0.1, open_s=0.5, warm_up_s=0.05)
POOL_PAIRS: Final = 40
STALLED_PAIRS: Final = 24
PROCESSES: Final = 2
ATTEMPTS: Final = 3
SEED: Final = 20261122
LIMITS: Final = Limits()
LOUD: Final = {Verdict.REGRESSION, Verdict.IMPROVEMENT}


@dataclass
class Tally:
    """How often what was said; `named` counts figures."""

    what: str
    expected: str
    repetitions: int = 0
    as_expected: int = 0
    inconclusive: int = 0
    named: dict[str, int] = field(default_factory=dict)

    def add(self, findings: Sequence[Finding], is_right: Callable[[set[str]], bool]) -> None:
        """Count one repetition; `is_right` is asked of what was named."""
        loud = {one.name for one in findings if one.verdict in LOUD}
        self.repetitions += 1
        self.as_expected += is_right(loud)
        self.inconclusive += any(one.verdict is Verdict.INCONCLUSIVE for one in findings)
        for name in loud:
            self.named[name] = self.named.get(name, 0) + 1

    def line(self) -> str:
        """Say it in a line."""
        named = ", ".join(f"{name} {count}" for name, count in sorted(self.named.items())) or "nothing"
        inconclusive = f", {self.inconclusive} with an inconclusive figure" if self.inconclusive else ""
        return f"{self.what}: {self.expected} in {self.as_expected} of {self.repetitions}{inconclusive}; named: {named}"


def plant(tree: Path, count: int) -> None:
    """Put so many instructions into the planted stage of a copy of the tree."""
    path = tree / PLANT_FILE
    source = path.read_text(encoding="utf-8")
    if source.count(PLANT_AT) != 1 or source.count(PLANT_BEFORE) != 1:
        raise HarnessError(f"the place for the planted slowness is not in {PLANT_FILE} any more: name another one in {__file__}")
    source = source.replace(PLANT_AT, f"        planted()\n{PLANT_AT}")
    path.write_text(source.replace(PLANT_BEFORE, PLANT.format(count=count) + PLANT_BEFORE), encoding="utf-8")


def build_planted(cost: float) -> Build:
    """Build a copy of the tree whose planted stage has PLANT_SHARE more instructions than `cost`."""
    return build_here(lambda tree: plant(tree, round(cost * PLANT_SHARE)))


# --- short ---


def once(complain: Callable[[str], None]) -> ExitStatus:
    """Try each once; what is measured by a clock has some attempts, for the machine may be busy."""
    here = build_here()
    stages = [PLANTED_STAGE, *UNTOUCHED_STAGES]
    first, second = instructions.count_both(here, here, stages)
    slow = instructions.count(build_planted(first.least[PLANTED_STAGE]), stages)
    quiet = [one for one in judge_instructions(first.least, second.least, LIMITS) if one.verdict is not Verdict.FINE]
    loud = judge_instructions(first.least, slow.least, LIMITS)
    failures = [f"identical code was called a {one.verdict.value}: {one.name} {one.change:+.2%}" for one in quiet]
    named = {one.name: one.change or 0 for one in loud if one.verdict is Verdict.REGRESSION}
    if set(named) != {PLANTED_STAGE} or not PLANT_SHARE * 0.75 < named[PLANTED_STAGE] < PLANT_SHARE * 1.25:
        failures.append(f"a stage with {PLANT_SHARE:.0%} more instructions was not what was named: {named}")
    print(f"self-test: identical code: {len(first.least)} stages quiet; slower by {PLANT_SHARE:.0%}: named {named}")
    failures += stall_once()
    for failure in failures:
        complain(f"self-test: {failure}")
    return ExitStatus.REGRESSION if failures else ExitStatus.FINE


def stall_once() -> list[str]:
    """Return what was wrong in every attempt at identical services and a stalled one."""
    if (missing := service.why_not()) is not None:
        return [f"the stall was not tried: {missing}"]
    failures: list[str] = []
    for _ in range(ATTEMPTS):
        pools = measure_pools(PLAN.pilot_pairs + PLAN.pairs, PLAN.pairs)
        same = judged(pools, pools.same[PLAN.pilot_pairs :])
        stalled = judged(pools, pools.stalled)
        failures = [f"identical services differ in {one.name}: {one.change:+.1%}" for one in same if one.verdict in LOUD]
        said = {one.name: one for one in stalled}
        if said["p99"].verdict is not Verdict.REGRESSION:
            without_ms = (said["p99"].base or 0) / 1e6
            failures.append(
                f"a stall of {STALL_S * 1e3:.0f} ms was not caught at the p99, which is {said['p99'].verdict.value}; "
                f"without the stall it is {without_ms:.2f} ms: where that is milliseconds, others had the cores, so allow "
                "real time (CAP_SYS_NICE) or run it where nothing else does"
            )
        if said["p50"].verdict is Verdict.REGRESSION:
            failures.append("a rare stall was called a slower p50")
        changes = {one.name: f"{one.change:+.0%} {one.verdict.value}" for one in stalled}
        print(f"self-test: identical services: {failures or 'quiet'}; with stalls: {changes}")
        if not failures:
            return []
    return failures


@dataclass
class Pools:
    """Pairs of base and base, and of base and stalled base, at one rate."""

    rate: float
    same: list[Pair]
    stalled: list[Pair]


def measure_pools(same: int, stalled: int) -> Pools:
    """Measure fresh pairs: two services of one build, then one of them stopped for a moment now and then."""
    here = build_here()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        one, other = (service.start(here, name, stack) for name in ("base", "base again"))
        requests = service.write_requests(folder)
        rate = service.capacity(one, requests, PLAN) * service.RATE_SHARE
        pairs = list(service.measure_pairs(one, other, requests, PLAN, rate, same))
        with service.freezing(service.worker_of(other), STALL_EVERY_S, STALL_S):
            return Pools(rate, pairs, list(service.measure_pairs(one, other, requests, PLAN, rate, stalled)))


def judged(pools: Pools, pairs: Sequence[Pair], pilot: Sequence[Pair] | None = None) -> list[Finding]:
    """Judge latencies, beside a pilot: the runs are too short for more than these."""
    figures = service.Figures(pools.rate, list(pilot or pools.same[: PLAN.pilot_pairs]), list(pairs))
    return [one for one in figures.findings(LIMITS) if one.name in {"p50", "p99"}]


# --- over and over ---


def repeated(repeat: int, layers: Sequence[str], stages: Sequence[str], out: Path | None) -> ExitStatus:
    """Measure the false-alarm rate and the power, print them, write them."""
    tallies: list[Tally] = []
    if "instructions" in layers:
        tallies += repeated_stages(repeat, stages)
    if "service" in layers:
        tallies += repeated_service(repeat)
    for tally in tallies:
        print(tally.line())
    if out is not None:
        document = {
            "schema": "regionresolver.bench-gate-selftest/1",
            "machine": this_machine().model_dump(),
            "versions": these_versions().model_dump(),
            "repetitions": repeat,
            "tallies": [asdict(tally) for tally in tallies],
        }
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return ExitStatus.FINE if all(tally.as_expected >= 0.9 * tally.repetitions for tally in tallies) else ExitStatus.REGRESSION


def repeated_stages(repeat: int, stages: Sequence[str] = ()) -> list[Tally]:
    """Judge stages (all without `stages`) of identical code and of code with a planted slowness, each time by fresh layouts."""
    here = build_here()
    cost = instructions.count(here, [PLANTED_STAGE]).least[PLANTED_STAGE]
    planted = build_planted(cost)
    same = Tally("stages, identical code", "quiet")
    slow = Tally(f"stages, {PLANTED_STAGE} with {PLANT_SHARE:.0%} more instructions", f"{PLANTED_STAGE} named")
    each, group = -(-repeat // PROCESSES), 5
    more = ["--layouts", str(group * each), "--sizes", "50", "250"]
    for process in range(PROCESSES):
        with ThreadPoolExecutor(3) as pool:
            asked = ((here, 331 * process), (here, 331 * process + 97), (planted, 331 * process + 193))
            counting = [pool.submit(instructions.count, build, stages, padding="x" * size, more=more) for build, size in asked]
            counted = [one.result() for one in counting]
        for number in range(min(each, repeat - process * each)):
            part = slice(group * number, group * (number + 1))
            base, again, head = ({name: min(found[part]) for name, found in one.layouts.items()} for one in counted)
            same.add(judge_instructions(base, again, LIMITS), lambda loud: not loud)
            slow.add(judge_instructions(base, head, LIMITS), is_named_alone)
    return [same, slow]


def is_named_alone(loud: set[str]) -> bool:
    """Say whether the planted stage is named, and none that does not call it."""
    return PLANTED_STAGE in loud and not loud & set(UNTOUCHED_STAGES)


def repeated_service(repeat: int) -> list[Tally]:
    """Judge drawn pairs of identical services, and of one that stalls."""
    pools = measure_pools(POOL_PAIRS, STALLED_PAIRS)
    rng = random.Random(SEED)
    same = Tally("service, identical code", "quiet")
    stalled = Tally(f"service, {STALL_S * 1e3:.0f} ms of stall every {STALL_EVERY_S * 1e3:.0f} ms", "p99 named and p50 not")
    for _ in range(repeat):
        drawn = [pair[::-1] if rng.random() < 0.5 else pair for pair in rng.sample(pools.same, PLAN.pilot_pairs + PLAN.pairs)]
        pilot, pairs = drawn[: PLAN.pilot_pairs], drawn[PLAN.pilot_pairs :]
        same.add(judged(pools, pairs, pilot), lambda loud: not loud)
        stalled.add(judged(pools, rng.sample(pools.stalled, PLAN.pairs), pilot), lambda loud: loud == {"p99"})
    return [same, stalled]


def main(arguments: Sequence[str] | None = None) -> ExitStatus:
    """Do what the command line says."""
    parser: Any = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, metavar="N", help="measure the false-alarm rate and the power over N repetitions")
    parser.add_argument("--layers", nargs="+", choices=("instructions", "service"), default=["instructions", "service"])
    parser.add_argument("--stages", nargs="+", default=[], metavar="NAME", help="with --repeat: count these alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="with --repeat: write the counts here")
    options = parser.parse_args(arguments)

    def complain(said: str) -> None:
        print(said, file=sys.stderr)

    if options.repeat:
        return guarded(lambda: repeated(options.repeat, options.layers, options.stages, options.json), complain)
    return guarded(lambda: once(complain), complain)


if __name__ == "__main__":
    sys.exit(main().value)
