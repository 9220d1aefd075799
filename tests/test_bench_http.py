"""What the benchmarks of HTTP share: servers that are started on a core, and the generator."""

from __future__ import annotations

import os
import shutil
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from benchmarks.http.load import load
from benchmarks.http.requests import get, write
from benchmarks.http.servers import SERVERS, Server, ServerError, Site, head_of, start_ours

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needed = [program for program in ("taskset", os.environ.get("CC", "gcc")) if shutil.which(program) is None]
pytestmark = pytest.mark.skipif(bool(needed), reason=f"not installed: {', '.join(needed)}")
CORES = sorted(os.sched_getaffinity(0))
FIRST, LAST = str(CORES[0]), str(CORES[-1])
BODY = b'{"decision":"allow"}' + b" " * 100


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(stack, tmp_path, head_of(BODY) + BODY, FIRST)


@pytest.fixture(params=["floor", "floor_unix"])
def floor(request: pytest.FixtureRequest, site: Site) -> Server:
    return SERVERS[request.param](request.param, site)


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    write([get("/"), get("/v1/resolve?ip=8.8.8.8")], tmp_path / "requests")
    return tmp_path / "requests"


@pytest.mark.parametrize("stdin", [b"", b"x" * (1 << 20)], ids=["no input", "more input than it reads"])
def test_a_server_that_ends_at_once_is_told_at_once(site: Site, stdin: bytes) -> None:
    script = "import sys; print('early', 'x' * 5000, file=sys.stderr); sys.exit('the address is taken')"
    began = time.monotonic()
    with pytest.raises(ServerError, match=r"^it ended with status 1: .*\n(?s:.*)\nthe address is taken$") as caught:
        site.run("it", site.address("it"), [sys.executable, "-S", "-c", script], stdin)
    assert time.monotonic() - began < 10
    assert "early" not in str(caught.value).partition("\n")[2], "only the end of what it said"


def test_a_server_that_listens_and_then_ends_is_told(site: Site) -> None:
    script = (
        "import socket, sys, time\nlistener = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "time.sleep(0.5)\nsys.exit('no database')"
    )
    address = site.address("it")
    with pytest.raises(ServerError, match=r"ended with status 1: (?s:.*)no database"):
        site.run("it", address, [sys.executable, "-S", "-c", script, address])


def test_a_server_that_is_killed_and_says_nothing(site: Site) -> None:
    with pytest.raises(ServerError, match=r"ended with status -9: (?s:.*)it said nothing"):
        site.run("it", site.address("it"), ["sh", "-c", "kill -9 $$"])


def test_the_service_says_why_it_does_not_start(site: Site) -> None:
    with pytest.raises(ServerError, match=r"ended with status (?s:.*)no-such\.mmdb"):
        start_ours("--db", "no-such.mmdb")("lane", site)


@pytest.mark.parametrize(("pipeline", "rate"), [(1, 0), (4, 0), (0, 0), (1, 1000)])
def test_a_load_counts_what_it_asks(floor: Server, requests: Path, pipeline: int, rate: float) -> None:
    found = load(
        floor, requests, seconds=0.2, warm_up_s=0.1, connections=8, pipeline=pipeline, rate=rate, core=LAST, histogram=True
    )
    assert found["failures"] == 0
    assert found["seconds"] == 0.2
    assert 0 < found["requests"] < found["asked"]
    assert found["cpu_us"] > 0
    assert found["core"] > 0
    bounds = [bound for bound, _ in found["latency_ns"]]
    assert bounds == sorted(set(bounds))
    assert sum(count for _, count in found["latency_ns"]) == found["requests"]


def test_without_a_histogram_there_is_none(site: Site, requests: Path) -> None:
    found = load(SERVERS["floor"]("floor", site), requests, seconds=0.1, warm_up_s=0, connections=1, core=LAST)
    assert "latency_ns" not in found


def test_a_failed_request_and_a_lost_server_end_a_load(site: Site, requests: Path) -> None:
    refusing = Site(site.stack, site.folder, site.answer.replace(b" 200 OK", b" 503 No"), FIRST)
    server = SERVERS["uvloop"]("uvloop", refusing)
    with pytest.raises(ServerError, match=r"uvloop failed \d+ of \d+ requests"):
        load(server, requests, seconds=0.1, warm_up_s=0, core=LAST)
    server.process.kill()
    server.process.wait()
    with pytest.raises(ServerError, match="uvloop has ended with status -9"):
        load(server, requests, seconds=0.1, warm_up_s=0, core=LAST)
