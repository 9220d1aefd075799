"""The list of stages that the benchmarks time and count: each can be run here, and works on what it says."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import stages
from benchmarks.gate import instructions
from benchmarks.gate.builds import Build
from benchmarks.record import ROOT, Revision
from benchmarks.stages import STAGES, Stage

COUNT = 30


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_runs_again_and_again(stage: Stage) -> None:
    run = stage.prepare(COUNT)
    run()
    run()


def test_names_are_unique_and_shorter_runs_begin_longer_ones() -> None:
    assert len({stage.name for stage in STAGES}) == len(STAGES)
    for draw in (stages.ipv4, stages.ipv6, stages.plmns, stages.pings):
        assert draw(COUNT) == draw(2 * COUNT)[:COUNT]


def test_every_drawn_request_is_for_the_compiled_path() -> None:
    """What the lane or the batch would leave to Python raises in the stage."""
    for name in ("lane.get", "lane.post", "batch.row"):
        next(stage for stage in STAGES if stage.name == name).prepare(1000)()


def test_the_program_lists_and_times() -> None:
    program = [sys.executable, "-P", str(instructions.STAGES)]
    listed = subprocess.run([*program, "--list"], capture_output=True, check=True, cwd=ROOT)
    assert json.loads(listed.stdout) == [stage.name for stage in STAGES]
    timed = json.loads(
        subprocess.run([*program, "--time", "2", "digits.parse"], capture_output=True, check=True, cwd=ROOT).stdout
    )
    assert list(timed) == ["digits.parse"]
    assert len(timed["digits.parse"]) == 2


def test_callgrind_counts_the_same_twice() -> None:
    reason = instructions.why_not()
    if reason is not None:
        pytest.skip(reason)
    here = Build(Revision(), ROOT, ROOT / sys.executable)
    first, second = instructions.count_both(here, here, ["digits.parse", "no such stage"])
    assert list(first.least) == list(second.least) == ["digits.parse"]
    assert 50 < first.least["digits.parse"] < 5000
    assert first.least["digits.parse"] == pytest.approx(second.least["digits.parse"], rel=0.005)
