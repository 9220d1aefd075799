"""The benchmark of the service: turns, what is withheld, and that its record holds the one schema."""

from __future__ import annotations

import json
import os
import shutil
import sys
from array import array
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from _fastpath.load_client import histogram_places
from benchmarks import service
from benchmarks.http import servers
from benchmarks.http.servers import Site
from benchmarks.record import SCHEMA_FILE, make_record
from regionresolver.load import Plan
from regionresolver.load.floor import constant_answer
from regionresolver.load.histogram import Histogram
from regionresolver.load.requests import made_requests

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("taskset") is None, reason="taskset is not installed: apt-get install util-linux")
CORE = max(os.sched_getaffinity(0))


def histogram(values: list[int]) -> Histogram:
    words = array("q", bytes(8 * 33 * 1024))
    for place in histogram_places(values):
        words[place] += 1
    return Histogram(words.tobytes())


@pytest.mark.skipif(servers.why_not("nginx_constant") is not None, reason="nginx is not installed")
@pytest.mark.parametrize("case", ["resolve", "decisions"])
def test_a_constant_answers_as_is_expected_of_the_service(tmp_path: Path, case: str) -> None:
    requests = made_requests(Plan("http://127.0.0.1:1", mix=service.MIXES[case], rate=10))
    with ExitStack() as stack:
        server = servers.SERVERS["nginx_constant"]("nginx", service.site_of(stack, tmp_path))
        found = service.measure([server], requests, rounds=1, seconds=0.15, core=CORE, shares=[0.5])["nginx"]
    assert all(turn.errors == 0 for turn in found.closed)
    assert found.capacity > 100


def test_a_run_gives_a_record_of_the_one_schema(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="needs the extra `test`")
    requests = made_requests(Plan("http://127.0.0.1:1", mix=service.MIXES["resolve"], rate=10))
    with ExitStack() as stack:
        server = service.start_floor(Site(stack, answer=constant_answer()))
        found = service.measure([server], requests, rounds=2, seconds=0.15, core=CORE, shares=[0.5])["floor"]
    assert len(found.closed) == len(found.open[0.5]) == 2
    assert found.capacity > 100
    assert found.pss_bytes > 1 << 20
    assert all(turn.errors == 0 and turn.cpu_ns > 0 for turn in found.closed)
    measured = service.measurements("floor", "resolve", found)
    assert [one.layer for one in measured] == ["yardstick", "yardstick"]
    throughput = measured[0].figure("throughput")
    assert throughput is not None
    assert throughput.value == found.capacity
    histograms = measured[1].histograms
    assert histograms[0].total == sum(turn.latency.total for turn in found.open[0.5])
    record = make_record(measured, command="python -m benchmarks.service")
    jsonschema.validate(json.loads(record.line()), json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    service.keep_logs(tmp_path, "floor", "resolve", found)
    assert (tmp_path / "floor-resolve-50.hlog").read_text(encoding="utf-8").count("Tag=latency") == 2
    service.show(measured, ["a note"])


def test_a_build_is_measured_by_its_interpreter() -> None:
    found = service.measure_build(sys.executable, seconds=0.3, core=CORE)
    assert (found.layer, found.stage, found.conditions["share"]) == ("service", "decisions", 0.5)
    errors, cpu = found.figure("errors"), found.figure("cpu")
    assert errors is not None
    assert errors.value == 0
    assert cpu is not None
    assert cpu.value > 100


def test_what_may_be_the_generators_is_left_out_and_noted() -> None:
    values = [1000] * 990 + [100_000] * 10
    sure = histogram([900] * 990 + [10_000] * 10)
    turn = service.Turn(1.0, 1.0, 1.0, 0, limited=False, latency=histogram(values), at_least=sure)
    figures, notes = service.latency_figures(turn.latency, sure, [turn])
    assert [one.name for one in figures] == ["p50", "p90", "p99"]
    assert len(notes) == 1
    assert "p999 (at least 10 us)" in notes[0]


def test_histograms_are_joined() -> None:
    one, other = histogram([5, 10**6]), histogram([5, 7])
    both = service.joined([one, other])
    assert both.bounds() == histogram([5, 5, 7, 10**6]).bounds()
    assert both.total == 4
