"""The gate's own logic, on made measurements: the permutation test, the table of verdicts, exit statuses, the report.

Nothing here depends on how fast anything is.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import re
import shlex
import subprocess
from dataclasses import replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.gate import __main__ as gate
from benchmarks.gate import builds, instructions, report, selftest, service
from benchmarks.gate.decisions import (
    ALPHA,
    RANDOM_WORLDS,
    ExitStatus,
    Finding,
    HarnessError,
    Limits,
    Shift,
    Verdict,
    accept,
    judge_instructions,
    judge_shift,
    overall,
    shift_of_logs,
    shift_of_quantile,
    worlds,
)
from benchmarks.record import ROOT, Revision, quantile, read

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.gate.decisions import Counts

QUIET = Shift(effect=0.001, p_value=0.5, resolution=0.01, agreeing=0.5, pairs=8)
NOISY = replace(QUIET, resolution=0.3)
BIASED = replace(QUIET, effect=0.04, p_value=0.001)
FINDING = Finding("service", "p50", "ns", 100.0, 100.0, 0.05, Verdict.FINE)


def counts_of(values: list[int]) -> Counts:
    return tuple((bound, len(list(group))) for bound, group in itertools.groupby(sorted(values)))


# ---- the permutation test ----


def test_worlds_are_all_or_many_and_ours_is_the_first() -> None:
    assert sorted(worlds(3)) == sorted(itertools.product((False, True), repeat=3))
    drawn = list(worlds(20))
    assert len(drawn) == RANDOM_WORLDS
    assert drawn == list(worlds(20)), "drawn with a fixed seed"
    assert not any(next(iter(worlds(20)))) and not any(next(iter(worlds(3))))  # noqa: PT018


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("drift", [0.0, 0.03, -0.2])
def test_the_test_of_pairs_is_scipys(seed: int, drift: float) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed: it comes with the extra `bench`")
    rng = random.Random(seed)
    logs = [rng.gauss(drift, 0.05) for _ in range(9)]
    ours = shift_of_logs(logs)
    theirs = stats.permutation_test(
        (logs,), fmean, permutation_type="samples", alternative="greater" if fmean(logs) > 0 else "less", n_resamples=math.inf
    )
    if median(logs) * fmean(logs) > 0:
        assert ours.p_value == pytest.approx(theirs.pvalue)
    else:
        assert ours.p_value == 1.0, "the effect is not in the direction of what was tested"
    assert ours.resolution == pytest.approx(sorted(map(abs, theirs.null_distribution))[math.ceil(0.99 * 512) - 1])


def test_a_shift_of_every_pair_is_the_rarest_world() -> None:
    found = shift_of_logs([0.1] * 8)
    assert (found.p_value, found.agreeing) == (1 / 256, 1.0)
    assert found.effect == pytest.approx(0.1)
    assert shift_of_logs([0.1, -0.1] * 4).p_value >= 0.5


def test_one_wild_pair_moves_neither_effect_nor_p_value() -> None:
    found = shift_of_logs([0.001, -0.002, 0.001, 0.0, -0.001, 0.002, -0.001, 3.0])
    assert abs(found.effect) < 0.01
    assert found.p_value > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_a_quantile_of_all_is_that_of_the_worlds_written_out(seed: int) -> None:
    rng = random.Random(seed)
    pairs = [tuple(counts_of([rng.randrange(1, 400) for _ in range(rng.randrange(50, 90))]) for _ in range(2)) for _ in range(5)]

    def joined(picked: list[Counts]) -> Counts:
        return counts_of([bound for counts in picked for bound, count in counts for _ in range(count)])

    def shift(world: tuple[bool, ...]) -> float:
        bases = [pair[int(is_exchanged)] for pair, is_exchanged in zip(pairs, world, strict=True)]
        heads = [pair[int(not is_exchanged)] for pair, is_exchanged in zip(pairs, world, strict=True)]
        return math.log(quantile(joined(heads), 0.9) / quantile(joined(bases), 0.9))

    shifts = [shift(world) for world in worlds(5)]
    found = shift_of_quantile(pairs, 0.9)  # type: ignore[arg-type]
    assert found.effect == pytest.approx(shifts[0])
    assert found.resolution == max(map(abs, shifts))


def test_a_rare_stall_moves_the_p99_and_not_the_median() -> None:
    rng = random.Random(1)

    def run(*, is_stalling: bool) -> Counts:
        values = [rng.randrange(80, 120) for _ in range(2000)]
        return counts_of([5000 if is_stalling and rng.random() < 0.02 else value for value in values])

    pairs = [(run(is_stalling=False), run(is_stalling=True)) for _ in range(8)]
    assert shift_of_quantile(pairs, 0.99).p_value <= ALPHA
    assert shift_of_quantile(pairs, 0.99).effect > 1
    assert abs(shift_of_quantile(pairs, 0.5).effect) < 0.05


@pytest.mark.parametrize("seed", range(5))
def test_the_test_of_a_quantile_is_scipys(seed: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed: it comes with the extra `bench`")
    rng = random.Random(seed)
    pairs = [tuple(counts_of([rng.randrange(1, 400) for _ in range(64)]) for _ in range(2)) for _ in range(6)]
    found = shift_of_quantile(pairs, 0.9)  # type: ignore[arg-type]
    everything = counts_of([bound for pair in pairs for counts in pair for bound, count in counts for _ in range(count)])
    limit = quantile(everything, 0.9)
    shares = [[sum(count for bound, count in counts if bound >= limit) / 64 for counts in pair] for pair in pairs]
    slower = [head - base for base, head in shares]
    side = "greater" if fmean(slower) > 0 else "less"
    theirs = stats.permutation_test((slower,), fmean, permutation_type="samples", alternative=side, n_resamples=math.inf)
    assert found.p_value in (1.0, pytest.approx(theirs.pvalue)), "1.0 where the quantiles shift the other way"


def test_identical_code_is_rarely_called_another() -> None:
    """The test's own promise, on normal noise three times as large as the limit needs: at most ALPHA, and its error."""
    rng = random.Random(7)
    alarms = sum(shift_of_logs([rng.gauss(0, 0.1) for _ in range(8)]).p_value <= ALPHA for _ in range(300))
    assert alarms <= 14, "twice ALPHA is expected, one for each direction: 6 of 300"


# ---- the table of verdicts ----


@pytest.mark.parametrize(
    ("effect", "p_value", "pilot", "verdict"),
    [
        (0.00, 0.50, QUIET, Verdict.FINE),
        (0.04, 0.001, QUIET, Verdict.FINE),  # sure, and within the limit
        (0.10, 0.20, QUIET, Verdict.FINE),  # beyond the limit, and by chance
        (0.10, 0.001, QUIET, Verdict.REGRESSION),
        (-0.10, 0.001, QUIET, Verdict.IMPROVEMENT),
        (0.00, 0.50, NOISY, Verdict.INCONCLUSIVE),
        (0.10, 0.001, NOISY, Verdict.INCONCLUSIVE),  # the pilot shows as much without a reason
        (0.50, 0.001, NOISY, Verdict.REGRESSION),
        (-0.50, 0.001, NOISY, Verdict.IMPROVEMENT),
        (0.50, 0.02, NOISY, Verdict.INCONCLUSIVE),
        (0.00, 0.50, BIASED, Verdict.INCONCLUSIVE),  # base differs from base
        (0.10, 0.001, BIASED, Verdict.REGRESSION),
    ],
)
@pytest.mark.parametrize("higher_is_better", [False, True])
def test_verdicts_of_pairs(effect: float, p_value: float, pilot: Shift, verdict: Verdict, higher_is_better: bool) -> None:
    shift = replace(QUIET, effect=-effect if higher_is_better else effect, p_value=p_value)
    found = judge_shift(FINDING, shift, pilot, higher_is_better=higher_is_better)
    assert found.verdict is verdict
    assert bool(found.note) == (verdict is Verdict.INCONCLUSIVE)
    assert found.change == pytest.approx(math.expm1(shift.effect))


def test_verdicts_of_instructions() -> None:
    base = {"same": 100.0, "a little": 100.0, "slow": 100.0, "fast": 100.0, "was": 100.0}
    head = {"same": 100.0, "a little": 100.9, "slow": 101.1, "fast": 98.0, "new": 100.0}
    found = {one.name: one.verdict for one in judge_instructions(base, head, Limits(), gone=["of old"])}
    assert found == {
        "same": Verdict.FINE,
        "a little": Verdict.FINE,
        "slow": Verdict.REGRESSION,
        "fast": Verdict.IMPROVEMENT,
        "new": Verdict.ONLY_IN_HEAD,
        "was": Verdict.ONLY_IN_BASE,
        "of old": Verdict.ONLY_IN_BASE,
    }


def test_a_declared_cost_is_accepted_by_its_name(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    first = commit(tmp_path, "first\n\nCosts-More: of before")
    commit(tmp_path, "second\n\nA reason.\n\nCosts-More: fusion, p50")
    commit(tmp_path, "third\n\nCosts-More: lane.get")
    names = gate.declared(tmp_path, first, "HEAD")
    assert sorted(names) == ["fusion", "lane.get", "p50"]
    assert gate.declared(tmp_path, None, "HEAD") == []
    slow = [replace(FINDING, name=name, verdict=Verdict.REGRESSION) for name in ("fusion", "trie")]
    assert [one.verdict for one in accept(slow, names)] == [Verdict.ACCEPTED, Verdict.REGRESSION]


@pytest.mark.parametrize(
    ("verdicts", "strict", "status"),
    [
        ([], False, 0),
        ([Verdict.FINE, Verdict.ONLY_IN_HEAD, Verdict.ONLY_IN_BASE, Verdict.ACCEPTED], True, 0),
        ([Verdict.FINE, Verdict.INCONCLUSIVE], False, 0),
        ([Verdict.FINE, Verdict.INCONCLUSIVE], True, 3),
        ([Verdict.IMPROVEMENT, Verdict.FINE], False, 4),
        ([Verdict.IMPROVEMENT, Verdict.INCONCLUSIVE], False, 4),
        ([Verdict.IMPROVEMENT, Verdict.INCONCLUSIVE], True, 3),
        ([Verdict.IMPROVEMENT, Verdict.INCONCLUSIVE, Verdict.REGRESSION], True, 1),
    ],
)
def test_exit_statuses(verdicts: list[Verdict], strict: bool, status: int) -> None:
    assert overall([replace(FINDING, verdict=verdict) for verdict in verdicts], strict=strict).value == status


# ---- callgrind's files ----


def test_the_slope_is_what_the_operations_cost() -> None:
    def dump(name: str, size: int, layout: int, instructions: int) -> str:
        return f"desc: Trigger: Client Request: {name}={size}={layout}\n\nevents: Ir\nsummary: {instructions}\n\ntotals: 1\n"

    found = instructions.slopes(
        [dump("trie", 1200, 0, 8400), dump("trie", 200, 0, 1400), dump("trie", 200, 1, 1000), dump("trie", 1200, 1, 6000), "none"]
    )
    assert found == {"trie": [7.0, 5.0]}
    counted = instructions.Counted(found, {})
    assert counted.least == {"trie": 5.0}
    (measurement,) = counted.measurements()
    assert measurement.figures[0].value == 5.0


# ---- the whole, with made measurements ----


def loaded(rng: random.Random, slowness: float, stall_share: float = 0.0) -> service.Loaded:
    values = [int(1000 * slowness * rng.lognormvariate(0, 0.2)) for _ in range(500)]
    stalled = [5_000_000 if rng.random() < stall_share else value for value in values]
    noise = rng.lognormvariate(0, 0.005)
    return service.Loaded(50_000 / slowness * noise, 8000 * slowness * noise, counts_of(stalled))


def figures(slowness: float = 1.0, stall_share: float = 0.0) -> service.Figures:
    rng = random.Random(3)
    found = service.Figures(20_000)
    found.pilot = [(loaded(rng, 1), loaded(rng, 1)) for _ in range(8)]
    found.pairs = [(loaded(rng, 1), loaded(rng, slowness, stall_share)) for _ in range(8)]
    return found


@pytest.mark.parametrize(("stall_share", "is_caught"), [(0.025, True), (0.0, False)])
def test_a_stall_that_is_not_caught_fails_the_self_test(
    monkeypatch: pytest.MonkeyPatch, stall_share: float, *, is_caught: bool
) -> None:
    rng = random.Random(3)
    same = [(loaded(rng, 1), loaded(rng, 1)) for _ in range(16)]
    stalled = [(loaded(rng, 1), loaded(rng, 1, stall_share)) for _ in range(8)]
    monkeypatch.setattr(service, "why_not", lambda: None)
    monkeypatch.setattr(selftest, "measure_pools", lambda *_: selftest.Pools(1000, same, stalled))
    failures = selftest.stall_once()
    assert any("was not caught at the p99" in one for one in failures) is not is_caught
    assert bool(failures) is not is_caught, failures


def test_a_stall_that_cannot_be_tried_fails_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "why_not", lambda: "there is one core")
    assert selftest.stall_once() == ["the stall was not tried: there is one core"]


def test_a_plan_has_no_run_that_the_kernel_would_interrupt() -> None:
    with pytest.raises(ValueError, match="plan more pairs of shorter ones"):
        service.Plan(pairs=8, pilot_pairs=8, closed_s=0.2, open_s=1.0, warm_up_s=0.1)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the gate on made measurements."""
    monkeypatch.setattr(service, "why_not", lambda: None)

    def with_measurements(base: dict[str, float], head: dict[str, float], served: service.Figures, *arguments: str) -> ExitStatus:
        made = builds.Build(Revision(), tmp_path, tmp_path)
        counted = [instructions.Counted({name: [one] for name, one in of.items()}, {}) for of in (base, head)]
        monkeypatch.setattr(gate, "build_here", lambda: made)
        monkeypatch.setattr(gate, "build_commit", lambda _: made)
        monkeypatch.setattr(instructions, "count_both", lambda *_: counted)
        monkeypatch.setattr(gate, "measure_service", lambda *_: served)
        return gate.main(["--base", "HEAD", "--out", str(tmp_path / "out"), *arguments])

    return with_measurements


@pytest.mark.parametrize(
    ("head", "served", "status", "named"),
    [
        ({"fusion": 100.0, "trie": 50.0}, figures(), 0, []),
        ({"fusion": 120.0, "trie": 50.0}, figures(), 1, ["instructions: fusion"]),
        ({"fusion": 100.0, "trie": 40.0}, figures(), 4, ["instructions: trie"]),
        ({"fusion": 100.0, "trie": 50.0}, figures(stall_share=0.02), 1, ["service: p99"]),
        (
            {"fusion": 100.0, "trie": 50.0},
            figures(1.3),
            1,
            ["service: throughput", "service: cpu", "service: p50", "service: p99"],
        ),
    ],
)
def test_the_gate_names_what_is_slower(
    run: Any, head: dict[str, float], served: service.Figures, status: int, named: list[str], tmp_path: Path
) -> None:
    assert run({"fusion": 100.0, "trie": 50.0}, head, served, "--strict").value == status
    document = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert document["exit_status"] == status
    bold = {Verdict.REGRESSION.value, Verdict.IMPROVEMENT.value}
    assert [f"{one['layer']}: {one['name']}" for one in document["findings"] if one["verdict"] in bold] == named
    table = (tmp_path / "out" / "gate.md").read_text()
    assert report.WORDS[ExitStatus(status)] in table.splitlines()[0]
    assert [line.split(" | ")[0][2:] for line in table.splitlines() if "**" in line] == named
    records = read(tmp_path / "out" / "gate.ndjson")
    assert [len(list(record.find("instructions"))) for record in records] == [2, 2]
    assert [len(list(record.find("service"))) for record in records] == [1, 1]


def test_a_stage_of_one_side_is_said_and_not_failed(run: Any, tmp_path: Path) -> None:
    assert run({"was": 1.0}, {"is": 1.0}, figures()).value == 0
    table = (tmp_path / "out" / "gate.md").read_text()
    assert "only in head" in table
    assert "only in base" in table


def test_what_cannot_be_measured_is_no_verdict(
    run: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise HarnessError("there is no valgrind: install it")

    run({"a": 1.0}, {"a": 1.0}, figures())
    monkeypatch.setattr(instructions, "count_both", refuse)
    assert gate.main(["--layers", "instructions", "--base", "HEAD"]) is ExitStatus.HARNESS
    assert "bench-gate: there is no valgrind: install it" in capsys.readouterr().err


def test_no_commit_is_told_with_its_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    assert gate.main(["--base", "no-such-revision"]) is ExitStatus.HARNESS
    assert "no-such-revision is no commit here: fetch it" in capsys.readouterr().err


# ---- what to compare with ----


def git(tree: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", "-C", tree, *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(tree: Path, subject: str) -> str:
    git(tree, "commit", "-q", "--allow-empty", "-m", subject)
    return git(tree, "rev-parse", "HEAD")


def test_the_base_is_where_the_branch_began_or_the_commit_before(tmp_path: Path) -> None:
    assert gate.default_base(tmp_path)[0] is None, "no repository"
    git(tmp_path, "init", "-q")
    first = commit(tmp_path, "first")
    assert gate.default_base(tmp_path) == (None, [gate.default_base(tmp_path)[1][0]]), "one commit"
    second = commit(tmp_path, "second")
    assert gate.default_base(tmp_path)[0] == first
    git(tmp_path, "checkout", "-q", "-b", "feature")
    commit(tmp_path, "third")
    commit(tmp_path, "fourth")
    assert gate.default_base(tmp_path) == (second, ["Base: where this branch left main."])
    git(tmp_path, "checkout", "-q", "main")
    (tmp_path / "regionresolver").mkdir()
    (tmp_path / "regionresolver" / "changed.py").touch()
    assert gate.default_base(tmp_path)[0] == second, "the tree has changes: against the last commit"


def test_the_commands_of_the_docs_are_taken() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"-m benchmarks\.gate((?: +(?:--?)?(?:\"[^\"]*\"|[\w.-]+))*)", text)
    assert len(found) >= 3
    for arguments in found:
        gate.parser().parse_args(shlex.split(arguments))
