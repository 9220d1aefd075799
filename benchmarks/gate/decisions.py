"""From measurements to a verdict: the permutation test, the effect size, and the table of verdicts.

Service figures come in pairs: base and head were measured one right after the other, in alternating order. Whether the head
was first or second, and whatever the machine did meanwhile, is the same for both under the hypothesis that nothing changed;
so exchanging base and head within any pair gives a world that is as likely as ours. The test counts how many of all 2^n such
worlds (or of RANDOM_WORLDS of them, with a fixed seed) shift as far as ours did.

    throughput, p50     effect: the median of the pairs' head / base. Tested: the mean of their logarithms
    p99                 effect: the 99th percentile of all requests of the head by that of all requests of the base, which is
                        far steadier than p99s of runs. Tested: by how much the share of requests at or beyond the common 99th
                        percentile is greater in the head. (The effect itself would be a poor test: half of the pairs of a
                        server that stalls, exchanged or not, put the percentile where all of them do.)

A regression is beyond the limit in the effect and at most ALPHA in the test. The same test on a pilot of base against base
says what chance alone does here: `resolution`, the shift that 1 of 100 worlds exceeds. Where that is beyond the limit, or
where the pilot's own two sides differ, a figure that does not stand out is inconclusive and not fine, and it stands out only
beyond the resolution too.

Instruction counts differ by chance by some tenths of a percent (`benchmarks/stages.py` says why): beyond the limit is beyond
the limit.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass, replace
from enum import Enum
from statistics import median
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

ALPHA: Final = 0.01
EXACT_PAIRS_MAX: Final = 12
RANDOM_WORLDS: Final = 4096
SEED: Final = 20261122

Counts = tuple[tuple[int, int], ...]


class Verdict(Enum):
    """What is said of a figure. The order is that of a table: what has to be looked at first stands first."""

    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    IMPROVEMENT = "improvement"
    ACCEPTED = "accepted"
    FINE = "fine"
    ONLY_IN_HEAD = "only in head"
    ONLY_IN_BASE = "only in base"


class ExitStatus(Enum):
    """How the gate ends."""

    FINE = 0
    REGRESSION = 1
    HARNESS = 2
    INCONCLUSIVE = 3
    IMPROVEMENT = 4


@dataclass(frozen=True)
class Limits:
    """What is too much, as a share: 0.01 is 1 %."""

    instructions: float = 0.01
    throughput: float = 0.05
    p50: float = 0.05
    p99: float = 0.15


@dataclass(frozen=True)
class Shift:
    """How the head differs from the base over pairs.

    `effect` and `resolution` are logarithms of ratios head / base; `p_value` is of a shift as far as this in its direction;
    `agreeing` is the share of pairs that shift in the direction of the effect.
    """

    effect: float
    p_value: float
    resolution: float
    agreeing: float
    pairs: int


@dataclass(frozen=True)
class Finding:
    """One figure of both revisions, and what is said of it. `change` is a share: 0.2 is 20 % more in the head."""

    layer: str
    name: str
    unit: str
    base: float | None
    head: float | None
    limit: float
    verdict: Verdict
    change: float | None = None
    p_value: float | None = None
    agreeing: float | None = None
    resolution: float | None = None
    note: str = ""


# --- the test ---


def worlds(pairs: int) -> Iterator[tuple[bool, ...]]:
    """Yield which pairs are exchanged: every way there is, or many drawn ways where there are too many. Ours is the first."""
    if pairs <= EXACT_PAIRS_MAX:
        yield from itertools.product((False, True), repeat=pairs)
        return
    rng = random.Random(SEED)
    yield (False,) * pairs
    for _ in range(RANDOM_WORLDS - 1):
        bits = rng.getrandbits(pairs)
        yield tuple(bool(bits >> place & 1) for place in range(pairs))


def shift_of_logs(logs: Sequence[float]) -> Shift:
    """Test the logarithms of head / base of pairs."""
    shifts = _exchanged_means(logs)
    return _judged(median(logs), shifts, shifts, logs)


def shift_of_quantile(pairs: Sequence[tuple[Counts, Counts]], share: float) -> Shift:
    """Test a quantile of all values of the heads against that of all values of the bases; a pair is (base, head)."""
    bounds = sorted({bound for pair in pairs for counts in pair for bound, _ in counts})
    place = {bound: number for number, bound in enumerate(bounds)}
    differences = [_spread(head, place, 1) for _, head in pairs]
    for difference, (base, _) in zip(differences, pairs, strict=True):
        for at, count in _spread(base, place, -1).items():
            difference[at] = difference.get(at, 0) + count
    heads = [sum(column) for column in zip(*(_dense(head, place) for _, head in pairs), strict=True)]
    bases = [sum(column) for column in zip(*(_dense(base, place) for base, _ in pairs), strict=True)]

    def shift(world: tuple[bool, ...]) -> float:
        head, base = heads.copy(), bases.copy()
        for difference, is_exchanged in zip(differences, world, strict=True):
            if is_exchanged:
                for at, count in difference.items():
                    head[at] -= count
                    base[at] += count
        return math.log(_bound_at(head, bounds, share) / _bound_at(base, bounds, share))

    shifts = [shift(world) for world in worlds(len(pairs))]
    limit = _bound_at([head + base for head, base in zip(heads, bases, strict=True)], bounds, share)
    slower = [_share_from(head, limit) - _share_from(base, limit) for base, head in pairs]
    return _judged(shifts[0], _exchanged_means(slower), shifts, slower)


def _exchanged_means(shifts: Sequence[float]) -> list[float]:
    """Return the mean in every world: what is exchanged shifts the other way."""
    count = len(shifts)
    return [sum(-one if other else one for one, other in zip(shifts, world, strict=True)) / count for world in worlds(count)]


def _share_from(counts: Counts, limit: int) -> float:
    return sum(count for bound, count in counts if bound >= limit) / sum(count for _, count in counts)


def _spread(counts: Counts, place: Mapping[int, int], sign: int) -> dict[int, int]:
    return {place[bound]: sign * count for bound, count in counts}


def _dense(counts: Counts, place: Mapping[int, int]) -> list[int]:
    found = [0] * len(place)
    for bound, count in counts:
        found[place[bound]] = count
    return found


def _bound_at(dense: Sequence[int], bounds: Sequence[int], share: float) -> int:
    """Return what `quantile` does; a walk from the high end, for the quantiles that are asked for are high."""
    total = sum(dense)
    above, most = 0, total - share * total
    for at in range(len(bounds) - 1, -1, -1):
        above += dense[at]
        if above > most:
            return bounds[at]
    return bounds[0]


def _judged(effect: float, tested: Sequence[float], shifts: Sequence[float], pairs: Sequence[float]) -> Shift:
    """Join what was found: `tested` and `shifts` are in every world, ours first; `pairs` are ours, by pair."""
    sign = math.copysign(1, tested[0])
    # Rounding must not make a world that is ours in other words fall short of it.
    p_value = sum(sign * one >= sign * tested[0] - 1e-12 for one in tested) / len(tested)
    if sign * effect < 0:
        p_value = 1.0
    resolution = sorted(map(abs, shifts))[max(math.ceil((1 - ALPHA) * len(shifts)) - 1, 0)]
    agreeing = sum(math.copysign(1, one) == math.copysign(1, effect) for one in pairs) / len(pairs)
    return Shift(effect, p_value, resolution, agreeing, len(pairs))


# --- the verdicts ---


def judge_instructions(
    base: Mapping[str, float], head: Mapping[str, float], limits: Limits, gone: Iterable[str] = ()
) -> list[Finding]:
    """Compare instructions an operation, by stage; `gone` are stages that the base has of its own, and the head has no more."""
    found = []
    for name in dict.fromkeys((*head, *base, *gone)):
        ours, theirs = head.get(name), base.get(name)
        finding = Finding("instructions", name, "instructions", theirs, ours, limits.instructions, Verdict.FINE)
        if theirs is None:
            found.append(replace(finding, verdict=Verdict.ONLY_IN_HEAD if ours is not None else Verdict.ONLY_IN_BASE))
        elif ours is None:
            found.append(replace(finding, verdict=Verdict.ONLY_IN_BASE))
        else:
            found.append(replace(finding, change=ours / theirs - 1, verdict=_by_limit(ours / theirs, limits.instructions)))
    return found


def _by_limit(ratio: float, limit: float) -> Verdict:
    if ratio > 1 + limit:
        return Verdict.REGRESSION
    return Verdict.IMPROVEMENT if ratio < 1 / (1 + limit) else Verdict.FINE


def judge_shift(finding: Finding, shift: Shift, pilot: Shift, *, higher_is_better: bool) -> Finding:
    """Say what pairs of base and head mean, beside a pilot of base and base. The verdict of `finding` is replaced."""
    worse = -shift.effect if higher_is_better else shift.effect
    limit = math.log1p(finding.limit)
    is_biased = pilot.p_value <= ALPHA and abs(pilot.effect) > limit / 2
    is_noisy = pilot.resolution > limit or is_biased
    bar = max(limit, pilot.resolution, abs(pilot.effect)) if is_noisy else limit
    if abs(worse) > bar and shift.p_value <= ALPHA:
        verdict = Verdict.REGRESSION if worse > 0 else Verdict.IMPROVEMENT
    else:
        verdict = Verdict.INCONCLUSIVE if is_noisy else Verdict.FINE
    note = ""
    if verdict is Verdict.INCONCLUSIVE:
        because = "base differs from base" if is_biased else "chance alone does more than the limit"
        note = f"{because}: {math.expm1(max(pilot.resolution, abs(pilot.effect))):.0%} in the pilot"
    return replace(
        finding,
        change=math.expm1(shift.effect),
        p_value=shift.p_value,
        agreeing=shift.agreeing,
        resolution=math.expm1(pilot.resolution),
        verdict=verdict,
        note=note,
    )


def accept(findings: Iterable[Finding], names: Iterable[str]) -> list[Finding]:
    """Let the named figures be slower: somebody has said in a commit's message that they are to be."""
    wanted = set(names)
    return [
        replace(one, verdict=Verdict.ACCEPTED, note="declared by Costs-More")
        if one.verdict is Verdict.REGRESSION and one.name in wanted
        else one
        for one in findings
    ]


def overall(findings: Iterable[Finding], *, strict: bool) -> ExitStatus:
    """Return how the gate ends: the worst that was found. Inconclusive figures fail only where `strict`."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.REGRESSION in verdicts:
        return ExitStatus.REGRESSION
    if strict and Verdict.INCONCLUSIVE in verdicts:
        return ExitStatus.INCONCLUSIVE
    return ExitStatus.IMPROVEMENT if Verdict.IMPROVEMENT in verdicts else ExitStatus.FINE


def guarded(measure: Callable[[], ExitStatus], complain: Callable[[str], None]) -> ExitStatus:
    """Run the gate; what goes wrong in the harness is no verdict on the code."""
    try:
        return measure()
    except HarnessError as error:
        complain(f"bench-gate: {error}")
        return ExitStatus.HARNESS


class HarnessError(Exception):
    """What kept the gate from measuring, and what to do about it."""
