"""The compiled load generator: planned times, histograms, framings, and what it says of servers that misbehave.

Oracles: sums and moments for the schedule, h11 for framings, HdrHistogram's own package and sorted lists for counts.
"""

from __future__ import annotations

import itertools
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from _fastpath.load_client import ERROR_WORDS, HISTOGRAM_WORDS, PHASE_WORDS, Client, histogram_places, planned_ns, read_answer
from _fastpath.load_floor import serve
from regionresolver.load.floor import Floor, constant_answer
from regionresolver.load.histogram import Histogram
from tests.scripted_server import GOOD, ScriptedServer, answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GET = b"GET /v1/resolve?ip=1.1.1.1 HTTP/1.1\r\nHost: x\r\n\r\n"
MEMBERS = (b'"region":', b'"confidence":')
S = 1_000_000_000


def client(url: str, *, connections: int = 2, pipeline: int = 1, timeout_s: float = 2, **more: Any) -> Client:
    host, _, port = url.removeprefix("http://").partition(":")
    if url.startswith("unix:"):
        family, host, port = socket.AF_UNIX, url.removeprefix("unix:"), "0"
    else:
        family = socket.AF_INET
    return Client(
        family, host.encode(), int(port), [GET], b"\0", [(200, MEMBERS)],
        connections=connections, pipeline=pipeline, timeout_s=timeout_s, **more,
    )  # fmt: skip


def wrong(found: Client) -> dict[str, int]:
    return {word: count for word, count in found.errors().items() if count}


# --- When requests are due ---


def test_a_constant_rate_has_even_gaps_and_does_not_drift() -> None:
    due = planned_ns(1000, 1000, 1, 9, False, 1, 1 << 20)
    assert len(due) == 10_000
    assert all(abs(at - n * 1_000_000) <= 1 for n, at in enumerate(due))


def test_a_ramp_reaches_its_rates() -> None:
    due = planned_ns(100, 1100, 2, 10, False, 1, 1 << 20)
    in_warm_up = [at for at in due if at < 2 * S]
    assert len(in_warm_up) == pytest.approx(200, abs=1)
    assert len(due) - len(in_warm_up) == pytest.approx(6000, abs=2)  # (100 + 1100) / 2 * 10
    for second in range(10):
        count = sum(1 for at in due if (2 + second) * S <= at < (3 + second) * S)
        assert count == pytest.approx(150 + 100 * second, abs=2)


def test_a_falling_ramp_ends_at_nothing() -> None:
    due = planned_ns(1000, 0, 0, 2, False, 1, 1 << 20)
    assert len(due) == pytest.approx(1000, abs=2)
    assert due == sorted(due)
    assert due[-1] < 2 * S


def test_a_ramp_from_nothing_begins() -> None:
    assert len(planned_ns(0, 1000, 1, 2, False, 1, 1 << 20)) == pytest.approx(1000, abs=2)


def test_a_poisson_process_has_exponential_gaps() -> None:
    due = planned_ns(10_000, 10_000, 0, 10, True, 7, 1 << 20)
    gaps = [(b - a) / 1e9 for a, b in itertools.pairwise(due)]
    # Mean and deviation of 100,000 exponential gaps of 100 us; five standard errors.
    assert statistics.fmean(gaps) == pytest.approx(1e-4, rel=5 / len(gaps) ** 0.5)
    assert statistics.pstdev(gaps) == pytest.approx(1e-4, rel=5 * 2**0.5 / len(gaps) ** 0.5)
    assert sum(gap > 1e-4 for gap in gaps) / len(gaps) == pytest.approx(0.3679, abs=0.01)
    # Counts of disjoint windows: variance and mean are the same.
    counts = [0] * 1000
    for at in due:
        counts[at // 10_000_000] += 1
    assert statistics.pvariance(counts) / statistics.fmean(counts) == pytest.approx(1, abs=0.25)


def test_a_poisson_ramp_has_the_ramps_mean() -> None:
    due = planned_ns(1000, 9000, 0, 10, True, 3, 1 << 20)
    assert len(due) == pytest.approx(50_000, abs=5 * 50_000**0.5)
    first = sum(at < 5 * S for at in due)
    assert first == pytest.approx(15_000, abs=5 * 15_000**0.5)


def test_the_same_seed_makes_the_same_gaps() -> None:
    one, same, other = (planned_ns(1000, 1000, 0, 1, True, seed, 500) for seed in (5, 5, 6))
    assert one == same != other


# --- Histograms ---


@given(st.lists(st.integers(0, 3_600 * S), min_size=1, max_size=300))
def test_places_are_those_of_hdrhistogram(values: list[int]) -> None:
    hdrh = pytest.importorskip("hdrh.histogram", reason="hdrhistogram is not installed: it comes with the extra `test`")
    theirs = hdrh.HdrHistogram(1, 3_600 * S, 3)
    assert [theirs._counts_index_for(value) for value in values] == histogram_places(values)


def test_values_out_of_bounds_are_counted_at_the_bounds() -> None:
    assert histogram_places([-5, 0, 3_600 * S, 2**62]) == [0, 0, *histogram_places([3_600 * S]) * 2]


# --- Framings ---


def h11_reads(received: bytes, *, is_end: bool) -> tuple[int, bytes] | None:
    """What h11 makes of one answer; raises h11.RemoteProtocolError."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(received)
    if is_end:
        connection.receive_data(b"")
    status, body = 0, b""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return status, body
        elif event is h11.NEED_DATA:
            return None


FRAMED = [
    answer(),
    answer(b""),
    answer(head=b"Connection: close\r\n"),
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\ncontent-length:2\r\n\r\n{}",
    b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{\"\r\n3;x=y\r\na\":\r\n2\r\n1}\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
]  # fmt: skip


@pytest.mark.parametrize("received", FRAMED)
def test_framings_are_read_as_h11_reads_them(received: bytes) -> None:
    expected = h11_reads(received, is_end=True)
    found = read_answer(received, True)
    assert found is not None
    assert found[:2] == expected
    # 304 has no body, whatever its length says of the one that it spares.
    assert found[2] == len(received)
    for cut in range(len(received)):
        part = read_answer(received[:cut], False)
        assert part is None or part[0] in {204, 304}, f"cut at {cut}"


@pytest.mark.parametrize(
    "received",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 2000\r\nContent-Length: 0\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\nA: b\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_what_is_no_answer_is_refused(received: bytes) -> None:
    with pytest.raises(ValueError, match="not an HTTP/1 answer"):
        read_answer(received, True)


def mutated(rng: random.Random) -> bytes:
    found = bytearray(rng.choice(FRAMED))
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(found) + 1)
        what = rng.choice((b"\r\n", b":", b" ", b"0", b"chunked", b"Content-Length: 3\r\n", bytes([rng.randrange(256)])))
        found[at : at + rng.randrange(3)] = what
    return bytes(found)


def test_mutated_answers_are_read_alike_or_refused() -> None:
    """Whatever h11 and we both read, we read alike; and no bytes make the scanner read elsewhere (the sanitizers' run)."""
    rng = random.Random(1)
    both = 0
    for _ in range(8_000):
        received = mutated(rng)
        try:
            found = read_answer(received, True)
        except ValueError:
            continue
        try:
            expected = h11_reads(received, is_end=True)
        except h11.RemoteProtocolError:
            continue
        if found is None or expected is None or found[0] in {204, 304}:
            continue
        assert found[:2] == expected, received
        both += 1
    assert both > 400


@given(st.binary(max_size=200))
def test_noise_is_read_without_harm(noise: bytes) -> None:
    for received in (noise, b"HTTP/1.1 200 OK\r\n" + noise, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + noise):
        try:
            found = read_answer(received, False)
        except ValueError:
            continue
        assert found is None or found[2] <= len(received)


# --- Runs ---


@pytest.fixture(scope="module")
def floor() -> Iterator[Floor]:
    with Floor() as found:
        yield found


@pytest.mark.parametrize(("connections", "pipeline"), [(1, 1), (8, 1), (3, 16)])
def test_an_open_loop_sends_what_is_planned(floor: Floor, connections: int, pipeline: int) -> None:
    found = client(floor.target, connections=connections, pipeline=pipeline)
    assert found.phase == "new"
    found.run(seconds=0.3, warm_up_s=0.1, from_per_s=2000, to_per_s=2000)
    totals = found.totals()
    assert found.phase == "done"
    assert totals["planned"] == totals["sent"] == totals["answered"] == 800
    assert totals["counted"] == totals["counted_planned"] == 600
    assert found.statuses() == {200: 800}
    assert found.answered_by_kind() == [800]
    assert wrong(found) == {}
    assert totals["under_way"] == totals["unfinished"] == 0
    for name in HISTOGRAM_WORDS:
        assert Histogram(found.counts(name)).total == 600
    assert totals["received_bytes"] == 800 * len(constant_answer())
    assert totals["sent_bytes"] == 800 * len(GET)


@pytest.mark.parametrize("pipeline", [1, 4])
def test_a_closed_loop_keeps_every_connection_busy(floor: Floor, pipeline: int) -> None:
    found = client(floor.target, connections=4, pipeline=pipeline)
    found.run(seconds=0.2, closed=True)
    totals = found.totals()
    assert wrong(found) == {}
    assert totals["answered"] == totals["sent"] > 500
    assert totals["counted"] >= totals["in_time"] > 0


def test_a_run_ends_after_its_requests(floor: Floor) -> None:
    for closed in (True, False):
        found = client(floor.target, connections=3, pipeline=4)
        found.run(seconds=60, from_per_s=5000, to_per_s=5000, closed=closed, requests_max=101)
        assert found.totals()["answered"] == 101
        assert found.counted_until_ns == found.finished_ns


def test_samples_are_bodies_of_good_answers(floor: Floor) -> None:
    found = client(floor.target)
    found.run(seconds=0.2, from_per_s=1000, to_per_s=1000)
    samples = found.take_samples()
    body = constant_answer().partition(b"\r\n\r\n")[2]
    assert 10 < len(samples) <= 64
    assert set(samples) == {(0, body)}
    assert found.take_samples() == []


def test_a_stopped_run_has_unfinished_requests_and_no_errors() -> None:
    silent = threading.Event()

    def script(number: int) -> bytes | None:
        silent.wait(5)
        return None

    with ScriptedServer(script) as server:
        found = client(server.url, timeout_s=10)
        thread = threading.Thread(target=lambda: found.run(seconds=60, from_per_s=100, to_per_s=100))
        thread.start()
        deadline = time.monotonic() + 5
        while found.totals()["sent"] < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert found.phase == "counting"
        found.stop()
        thread.join(5)
        silent.set()
    assert not thread.is_alive()
    assert wrong(found) == {}
    totals = found.totals()
    assert totals["unfinished"] >= 2
    assert totals["planned"] == totals["sent"] - totals["answered"] + totals["unfinished"] - totals["under_way"]


def scripted(script: Callable[[int], bytes | None], requests: int = 10, **more: Any) -> Client:
    server_more = {name: more.pop(name) for name in ("reset", "then_close") if name in more}
    with ScriptedServer(script, **server_more) as server:
        found = client(server.url, **more)
        found.run(seconds=3, from_per_s=1000, to_per_s=1000, requests_max=requests)
    return found


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (answer(status="503 Service Unavailable"), "status"),
        (answer(b"[]"), "body"),
        (answer(b""), "body"),
        (answer(b'{"region":"DE"}'), "body"),
        (answer(GOOD[:-1]), "body"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}", "framing"),
        (b"SSH-2.0-OpenSSH\r\n", "framing"),
        (answer() + answer(), "framing"),  # the second is an answer that nobody asked for
    ],
)
def test_a_wrong_answer_is_an_error_of_its_kind(bad: bytes, kind: str) -> None:
    found = scripted(lambda number: bad if number == 4 else answer(), connections=1)
    errors = wrong(found)
    assert errors.get(kind) == 1, errors
    assert sum(errors.values()) <= 2  # what was under way behind broken framing is `closed`
    assert found.totals()["planned"] == 10


def test_a_connection_that_ends_without_an_answer_is_closed() -> None:
    found = scripted(lambda number: None if number == 4 else answer(), connections=1)
    assert wrong(found) == {"closed": 1}
    assert found.totals()["answered"] == 9
    assert found.totals()["opened"] == 2


def test_a_connection_that_breaks_is_reset() -> None:
    found = scripted(lambda number: None if number == 4 else answer(), connections=1, reset=True)
    assert wrong(found) == {"reset": 1}


def test_an_answer_that_is_cut_off_is_truncated() -> None:
    with ScriptedServer(lambda _: answer()[:-5], then_close=True) as server:
        found = client(server.url, connections=1)
        found.run(seconds=1, from_per_s=1000, to_per_s=1000, requests_max=3)
    assert wrong(found) == {"truncated": 3}


def test_chunked_answers_are_put_together() -> None:
    half = len(GOOD) // 2
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (half, GOOD[:half], len(GOOD) - half, GOOD[half:])
    found = scripted(lambda _: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert wrong(found) == {}
    assert {body for _, body in found.take_samples()} == {GOOD}


@pytest.mark.parametrize("head", [b"Connection: close\r\n", b""])
def test_a_server_that_closes_behind_each_answer_is_asked_again(head: bytes) -> None:
    found = scripted(lambda _: answer(head=head), requests=20, then_close=True)
    # Without the header the end may meet the next request on its way.
    assert wrong(found).keys() <= (set() if head else {"closed", "reset"})
    assert found.totals()["opened"] >= found.totals()["answered"]


def test_an_answer_until_the_end_of_the_connection_is_whole() -> None:
    found = scripted(lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + GOOD, requests=5, then_close=True)
    assert wrong(found) == {}
    assert found.totals()["answered"] == 5


def test_no_answer_in_time_is_an_error_and_its_age_is_recorded() -> None:
    hold = threading.Event()

    def script(number: int) -> bytes | None:
        if number == 0:
            hold.wait(5)
        return answer()

    with ScriptedServer(script) as server:
        found = client(server.url, connections=1, timeout_s=0.2)
        found.run(seconds=0.5, from_per_s=20, to_per_s=20)
        hold.set()
    assert found.errors()["timeout"] == 1
    # The first waited 200 ms; those behind it until there was a connection again.
    assert found.totals()["latency_max_ns"] > 190_000_000
    recorded = Histogram(found.counts("latency")).total
    assert recorded == found.totals()["counted"] + found.errors()["timeout"] + found.errors()["not_sent"]
    assert found.totals()["planned"] == found.totals()["answered"] + found.errors()["timeout"] + found.errors()["not_sent"]


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = client(f"http://127.0.0.1:{port}")
    with pytest.raises(ConnectionRefusedError):
        found.run(seconds=1, from_per_s=10, to_per_s=10)
    with pytest.raises(ValueError, match="runs once"):
        found.run(seconds=1, from_per_s=10, to_per_s=10)


def test_a_server_that_goes_away_is_connect_errors_and_not_sent() -> None:
    server = ScriptedServer(lambda number: answer() if number < 3 else None)
    found = client(server.url, connections=2, timeout_s=0.1)
    closing = threading.Timer(0.05, server.close)
    closing.start()
    found.run(seconds=0.6, from_per_s=100, to_per_s=100)
    closing.join()
    errors = wrong(found)
    assert errors["connect"] > 0
    assert errors["not_sent"] > 0
    assert found.totals()["planned"] == found.totals()["answered"] + sum(errors.values()) - errors["connect"]


def test_a_large_request_goes_out_in_parts() -> None:
    """More than a socket takes at once: the rest waits for room, and a second request behind it."""
    body = b"x" * 3_000_000
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with Floor() as floor:
        port = int(floor.target.rpartition(":")[2])
        found = Client(
            socket.AF_INET, b"127.0.0.1", port, [request], b"\0", [(200, MEMBERS)], connections=2, pipeline=2, timeout_s=5
        )
        found.run(seconds=5, closed=True, requests_max=8)
    assert wrong(found) == {}
    assert found.totals()["answered"] == 8


def test_a_large_answer_is_read_in_parts() -> None:
    large = b'{"region":"DE","confidence":1,"rest":"' + b"x" * 700_000 + b'"}'
    found = scripted(lambda _: answer(large), requests=4)
    assert wrong(found) == {}
    assert found.totals()["answered"] == 4


def test_a_unix_socket() -> None:
    with Floor(unix=True) as floor:
        found = client(floor.target, connections=4)
        found.run(seconds=0.1, from_per_s=1000, to_per_s=1000)
    assert found.totals()["answered"] == 100
    assert wrong(found) == {}


# --- Honest latencies ---


def test_a_frozen_server_shows_its_second_from_the_planned_time() -> None:
    with Floor() as floor:
        found = client(floor.target, connections=8, timeout_s=4)
        frozen = [
            threading.Timer(0.5, os.kill, (floor.pid, signal.SIGSTOP)),
            threading.Timer(1.5, os.kill, (floor.pid, signal.SIGCONT)),
        ]
        for timer in frozen:
            timer.start()
        found.run(seconds=2.5, from_per_s=1000, to_per_s=1000)
        for timer in frozen:
            timer.join()
    latency, at_least = Histogram(found.counts("latency")), Histogram(found.counts("at_least"))
    assert wrong(found) == {}
    assert latency.total == 2500
    # Of 2,500 requests 1,000 were planned in that second: the slowest 25 waited nearly all of it.
    assert 0.93 * S < latency.percentile_ns(99) < 1.2 * S
    assert 0.4 * S < latency.percentile_ns(80) < 0.7 * S
    # And it was not the generator, which knew of no free connection.
    assert at_least.percentile_ns(99) > 0.9 * latency.percentile_ns(99)


FROZEN_GENERATOR = """
import threading, time
from tests.test_load_client import client
from regionresolver.load.floor import Floor
from regionresolver.load.histogram import Histogram
with Floor() as floor:
    found = client(floor.target, connections=8)
    thread = threading.Thread(target=lambda: found.run(seconds=2, from_per_s=1000, to_per_s=1000))
    thread.start()
    while found.phase != "counting" and thread.is_alive():
        time.sleep(0.001)
    print("running", flush=True)
    thread.join()
latency, at_least, own = (Histogram(found.counts(name)) for name in ("latency", "at_least", "own"))
print(latency.percentile_ns(99), at_least.percentile_ns(99), own.percentile_ns(99))
"""


def test_a_frozen_generator_claims_no_latency_of_its_own() -> None:
    """Stopped for half a second, it sees 500 requests late: none of that may be laid at the server's door."""
    command = [sys.executable, "-c", FROZEN_GENERATOR]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)
    latency, at_least, own = map(int, process.communicate(timeout=20)[0].split())
    assert latency > 0.4 * S
    assert own > 0.4 * S
    assert at_least < 0.2 * S


def test_what_is_sure_is_never_more_than_the_latency(floor: Floor) -> None:
    found = client(floor.target, connections=16)
    found.run(seconds=0.4, from_per_s=5000, to_per_s=5000, poisson=True)
    latency, at_least = Histogram(found.counts("latency")), Histogram(found.counts("at_least"))
    for percent in (10, 50, 90, 99, 100):
        assert at_least.percentile_ns(percent) <= latency.percentile_ns(percent)
    windows = found.window_p99s_ns()
    assert windows  # a hundred answers in 20 ms
    assert all(0 <= sure <= whole for whole, sure in windows)
    # A window's percentile lies among its latencies, to one part in 128.
    assert max(whole for whole, _ in windows) <= 1.01 * latency.percentile_ns(100)


# --- What cannot be run ---


@pytest.mark.parametrize(
    "more",
    [
        {"connections": 0}, {"connections": 70_000}, {"pipeline": 0}, {"pipeline": 2000}, {"timeout_s": 0}, {"timeout_s": 1e9},
        {"timeout_s": float("nan")},
    ],
)  # fmt: skip
def test_numbers_out_of_bounds_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"connections|time-out"):
        client("http://127.0.0.1:1", **more)


@pytest.mark.parametrize(
    ("family", "host", "port"),
    [(socket.AF_INET, b"localhost", 80),
     (socket.AF_INET, b"::1", 80), (socket.AF_INET6, b"1.1.1.1", 80), (socket.AF_UNIX, b"", 0),
     (socket.AF_UNIX, b"x" * 200, 0), (99, b"127.0.0.1", 80), (socket.AF_INET, b"127.0.0.1", 70_000)],
)  # fmt: skip
def test_addresses_that_are_none_are_refused(family: int, host: bytes, port: int) -> None:
    with pytest.raises(ValueError, match=r"address|port"):
        Client(family, host, port, [GET], b"\0", [(200, ())], connections=1, pipeline=1, timeout_s=1)


@pytest.mark.parametrize(
    ("requests", "kinds", "expected"),
    [([], b"", [(200, ())]),
     ([GET], b"", [(200, ())]), ([GET], b"\1", [(200, ())]), ([GET], b"\0", []), ([GET], b"\0", [(99, ())]),
     ([GET], b"\0", [(200, (b"x",) * 9)])],
)  # fmt: skip
def test_requests_without_an_expectation_are_refused(requests: Any, kinds: bytes, expected: Any) -> None:
    with pytest.raises(ValueError, match=r"kind|expected"):
        Client(socket.AF_INET, b"127.0.0.1", 80, requests, kinds, expected, connections=1, pipeline=1, timeout_s=1)


@pytest.mark.parametrize(
    "more",
    [{"seconds": 0}, {"seconds": 1}, {"seconds": 1, "from_per_s": -1, "to_per_s": 5}, {"seconds": float("nan"), "from_per_s": 1}],
)
def test_plans_that_cannot_be_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"duration|rate"):
        client("http://127.0.0.1:1").run(**more)


def test_there_are_only_the_named_histograms(floor: Floor) -> None:
    found = client(floor.target)
    with pytest.raises(ValueError, match="no such histogram"):
        found.counts("p99")
    with pytest.raises(ValueError, match="not over"):
        found.window_p99s_ns()
    assert len(ERROR_WORDS) == len(found.errors())
    assert PHASE_WORDS[0] == "new"


def test_the_constant_server_ends_with_its_pipe() -> None:
    reading, writing = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        thread = threading.Thread(
            target=serve, args=(listener.fileno(), reading, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        )
        thread.start()
        with socket.create_connection(listener.getsockname()) as caller:
            # Heads and bodies in pieces, and two requests at once.
            for part in (
                b"POST / HTTP/1.1\r\nContent-Le",
                b"ngth: 4\r\n\r\nab",
                b"cdGET / HTTP/1.1\r",
                b"\n\r\nGET / HTTP/1.1\r\n\r\n",
            ):
                caller.sendall(part)
                time.sleep(0.02)
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < 3:
                answers += caller.recv(4096)
            os.close(writing)
            thread.join(5)
            assert not thread.is_alive()
            assert caller.recv(1) == b""
    os.close(reading)


def test_the_constant_server_needs_no_standard_descriptors() -> None:
    """Of a process without a standard input the next descriptor is 0, which is not to be a listener's in its child."""
    script = """
import os
os.close(0)
from regionresolver.load.floor import Floor
from tests.test_load_client import client
with Floor() as floor:
    found = client(floor.target, connections=2)
    found.run(seconds=0.2, from_per_s=100, to_per_s=100)
print(sum(found.counts("latency")) > 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
