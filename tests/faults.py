"""Faults that a running service must survive, each for as long as it is told: short in the tests, long in `make soak`.

Each fault is a coroutine that runs a service under load, does something to it, and gives a `Found`: figures, and what was
wrong with them. A generated world answers differently in each generation, so that every answer can be held against the
generation that it names.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from _fastpath.load_client import Client
from regionresolver.load.histogram import Histogram
from regionresolver.service.protocol import TICK_S, early_s
from tests.http_service import LOOPBACK
from tests.serve_process import PATIENCE_S, ROOT, Load, Serve, serve
from tests.worlds import CITY_NETWORKS, city_database

if TYPE_CHECKING:
    from collections.abc import Callable

LEAST = 3
"""How often a thing is done at least, however slow the machine is."""

COUNTRIES = ("CU", "ES", "FR", "DE", "US", "GE", "PS", "GU", "UA", "IR")
POLICY = """
[policy]
name = "world"
version = {version}
default_language = "en"
[[rules]]
id = "rule-{version}"
when = {{ region = ["{country}"] }}
effect = "deny"
review_by = 2100-01-01
reason = "REGION_NOT_PERMITTED"
[messages.REGION_NOT_PERMITTED]
en = "Not here."
"""


@dataclass
class Found:
    """What a fault came to: figures as they are reported, and what is wrong, which is nothing when all is well."""

    name: str
    figures: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def demand(self, is_so: object, words: str) -> None:
        """Take note of what is wrong."""
        if not is_so:
            self.wrong.append(words)


# --- a world whose generations answer differently


class World:
    """A database and a policy on disk, written anew for each generation; `expected` knows what each must answer."""

    def __init__(self, folder: Path) -> None:
        self.db, self.policy = folder / "world.mmdb", folder / "world.toml"
        self.written = 0
        self.write()

    def write(self) -> None:
        """Write the next generation: 84.0.0.0/16 is another country, which another rule denies."""
        self.written += 1
        new = self.db.with_suffix(".new")
        city_database(new, CITY_NETWORKS | {"84.0.0.0/16": (self.country(self.written), None)}).rename(self.db)
        new.write_text(POLICY.format(version=self.written, country=self.country(self.written)))
        new.rename(self.policy)

    @staticmethod
    def country(number: int) -> str:
        return COUNTRIES[number % len(COUNTRIES)]

    def is_right(self, answer: dict[str, object]) -> bool:
        """Say whether a decision on 84.0.1.1 is that of the generation that it names: all three tell the same number."""
        number = int(str(answer["data"])[1:])
        return (answer["country"], answer["policy"], answer["rule"], answer["decision"]) == (
            self.country(number),
            f"world@{number}",
            f"rule-{number}",
            "deny",
        )


@dataclass
class Checked(Load):
    """Clients that hold every decision against a function; half go through the lane, half past it."""

    right: Callable[[dict[str, object]], bool] = lambda _: True
    wrong: int = 0
    generations: set[str] = field(default_factory=set)
    latencies_s: list[float] = field(default_factory=list)
    _turn: int = 0

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self._turn += 1
        body = b'{"ip":"84.0.1.1"}'
        odd = b"Accept-Encoding: identity\r\nX-Odd: \xe9\r\n" if self._turn % 2 else b""
        self.in_flight += 1
        began = time.monotonic()
        try:
            writer.write(b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n%s" % (odd, len(body), body))
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            found = await reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            self.failed += 1
            return False
        finally:
            self.in_flight -= 1
        self.latencies_s.append(time.monotonic() - began)
        self.longest_s = max(self.longest_s, self.latencies_s[-1])
        if not head.startswith(b"HTTP/1.1 200 "):
            self.failed += 1
        else:
            answer = json.loads(found)
            self.answered += 1
            self.generations.add(answer["data"])
            self.wrong += not self.right(answer)
        return b"connection: close" not in head.lower()

    def p99_ms(self) -> float:
        """The 99th percentile of the latencies since it was asked last."""
        found, self.latencies_s = sorted(self.latencies_s), []
        return round(found[int(0.99 * len(found))] * 1e3, 2)


def served(world: World, *arguments: str) -> contextlib.AbstractContextManager[Serve]:
    return serve("--db", str(world.db), "--policy", str(world.policy), "--workers", "2", *arguments)


async def _reload(running: Serve) -> bool:
    running.process.send_signal(signal.SIGHUP)
    while (found := await asyncio.to_thread(running.next_event, 60)) is not None:
        if found["event"] in {"reloaded", "reload_failed"}:
            return found["event"] == "reloaded"
    return False


def own_workers(running: Serve) -> list[int]:
    """The children that live (a dead one may not be reaped yet)."""
    found = []
    for pid in running.workers():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in "ZX":
                found.append(pid)
    return found


# --- the faults


async def reloads_under_load(folder: Path, seconds: float, every_s: float) -> Found:
    """A new database and a new policy again and again; each answer must be right for the generation that it names."""
    found, world = Found(f"reload every {every_s:g} s"), World(folder)
    with served(world) as running:
        pids = sorted(running.workers())
        async with Checked(running.port, right=world.is_right) as load:
            ends, done = time.monotonic() + seconds, 0
            while time.monotonic() < ends or done < LEAST:
                next_at = time.monotonic() + every_s
                world.write()
                found.demand(await _reload(running), "a reload failed")
                done += 1
                await asyncio.sleep(max(0.0, next_at - time.monotonic()))
        found.demand(sorted(own_workers(running)) == pids, "a worker was replaced")
    found.figures = {
        "seconds": seconds, "reloads": done, "answered": load.answered, "wrong": load.wrong, "failed": load.failed,
        "connections": load.connections, "generations_seen": len(load.generations),
        "longest_ms": round(load.longest_s * 1e3, 1),
    }  # fmt: skip
    found.demand(load.wrong == load.failed == load.refused == 0, "answers were wrong or failed")
    found.demand(load.connections == load.clients, "connections were closed")
    found.demand(len(load.generations) >= done, "not every generation answered")
    return found


async def killed_workers(folder: Path, seconds: float, every_s: float) -> Found:
    """SIGKILL to one worker after the other, with reloads in between."""
    found, world = Found(f"kill -9 a worker every {every_s:g} s"), World(folder)
    with served(world) as running:
        async with Checked(running.port, right=world.is_right) as load:
            ends, kills, in_flight, slowest_s = time.monotonic() + seconds, 0, 0, 0.0
            while time.monotonic() < ends or kills < LEAST:
                victim = own_workers(running)[kills % 2]
                in_flight += load.clients
                began = time.monotonic()
                os.kill(victim, signal.SIGKILL)
                await running.until("worker_replaced")
                slowest_s = max(slowest_s, time.monotonic() - began)
                kills += 1
                if kills % 3 == 0:
                    world.write()
                    found.demand(await _reload(running), "a reload failed")
                await asyncio.sleep(max(0.0, every_s - (time.monotonic() - began)))
    found.figures = {
        "seconds": seconds, "kills": kills, "answered": load.answered, "wrong": load.wrong, "failed": load.failed,
        "in_flight_at_kills_at_most": in_flight, "slowest_replacement_s": round(slowest_s, 3),
    }  # fmt: skip
    found.demand(load.wrong == 0, "answers were wrong")
    found.demand(load.failed <= in_flight, "more failed than were in flight")
    return found


async def rolling_restarts(folder: Path, count: int) -> Found:
    """SIGTERM to each worker in turn."""
    found, world = Found("SIGTERM rolling restarts"), World(folder)
    with served(world, "--shutdown-timeout-s", "5") as running:
        async with Checked(running.port, right=world.is_right) as load:
            for _ in range(count):
                for pid in own_workers(running):
                    os.kill(pid, signal.SIGTERM)
                    await running.until("worker_replaced")
                    while pid in own_workers(running):  # noqa: ASYNC110 - it is another process
                        await asyncio.sleep(0.01)
    found.figures = {"restarts": count, "answered": load.answered, "wrong": load.wrong, "failed": load.failed}
    found.demand(load.wrong == load.failed == load.refused == 0, "answers were wrong or failed")
    return found


async def meddled_sources(folder: Path, seconds: float) -> Found:
    """The files that are served from are truncated, overwritten, copied over and deleted while they are."""
    found, world = Found("truncated, overwritten, deleted sources"), World(folder)
    good = world.db.read_bytes()

    def truncate() -> None:
        os.truncate(world.db, 100)

    def overwrite() -> None:
        with world.db.open("r+b") as file:
            file.write(os.urandom(len(good)))

    def copy_over() -> None:
        city_database(folder / "other.mmdb", {"84.0.0.0/16": ("FR", None)})
        world.db.write_bytes((folder / "other.mmdb").read_bytes())

    def delete() -> None:
        world.db.unlink()
        world.policy.unlink()

    with served(world) as running:
        pids = sorted(running.workers())
        refused = 0
        async with Checked(running.port, right=world.is_right) as load:
            ends = time.monotonic() + seconds
            while True:
                for meddle in (truncate, overwrite, copy_over, delete):
                    meddle()
                    await asyncio.sleep(0.05)
                    if meddle is not copy_over:  # which is sound, and would be served
                        refused += not await _reload(running)
                    world.db.write_bytes(good)
                world.policy.write_text(POLICY.format(version=1, country=world.country(1)))
                if time.monotonic() >= ends:
                    break
        found.demand(sorted(own_workers(running)) == pids, "a worker crashed")
        found.demand(load.generations == {"g1"}, "another generation answered")
    found.figures = {"answered": load.answered, "wrong": load.wrong, "failed": load.failed, "reloads_refused": refused}
    found.demand(load.wrong == load.failed == 0, "answers were wrong or failed")
    found.demand(refused >= 3, "a broken source was not refused")
    return found


OVERLOAD_CONNECTIONS = 256
ODD_GET = b"GET /v1/resolve/84.0.1.1 HTTP/1.1\r\nHost: a\r\n\r\n"  # which the lane leaves


@dataclass
class Offered:
    """What became of requests at a constant rate (0: as many as come back): latencies from the planned time, of 200 alone."""

    admitted: int
    refused: int
    others: int
    seconds: float
    p99_ms: float


async def offer(port: int, rate_per_s: float, seconds: float, connections: int) -> Offered:
    client = Client(
        socket.AF_INET, LOOPBACK.encode(), port, [ODD_GET], bytes(1), [(200, [b'"region":"'])],
        connections=connections, pipeline=1, timeout_s=10.0,
    )  # fmt: skip
    planned = {"from_per_s": rate_per_s, "to_per_s": rate_per_s, "poisson": True} if rate_per_s else {"closed": True}

    def run() -> None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # of this thread: it never waits, and not where the service runs
        client.run(seconds=seconds, warm_up_s=seconds / 4, **planned)

    thread = threading.Thread(target=run)
    thread.start()
    while thread.is_alive():  # noqa: ASYNC110 - it is another thread
        await asyncio.sleep(0.05)
    statuses = client.statuses()
    admitted, refused = statuses.get(200, 0), statuses.get(503, 0)
    others = sum(statuses.values()) - admitted - refused + sum(client.errors().values()) - refused
    p99_ns = Histogram(client.counts("latency")).percentile_ns(99)
    return Offered(admitted, refused, others, (client.finished_ns - client.started_ns) / 1e9, round(p99_ns / 1e6, 2))


async def overload(folder: Path, seconds: float) -> Found:
    """Twice as many odd requests as can be answered: those that are admitted must not wait, and the others get 503."""
    found, world = Found("2 x overload of the slow path"), World(folder)
    with serve("--db", str(world.db), "--policy", str(world.policy), "--workers", "1") as running:
        for pid in running.workers():
            os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
        whole = await offer(running.port, 0, seconds, 32)
        capacity = whole.admitted / whole.seconds
        usual = await offer(running.port, 0.7 * capacity, seconds, OVERLOAD_CONNECTIONS)
        twice = await offer(running.port, 2 * capacity, seconds, OVERLOAD_CONNECTIONS)
        await asyncio.sleep(0.3)
        after = await offer(running.port, 0.1 * capacity, seconds, 32)
    found.figures = {
        "capacity_per_s": round(capacity), "p99_ms_at_70_percent": usual.p99_ms, "p99_ms_of_the_admitted": twice.p99_ms,
        "admitted_per_s": round(twice.admitted / twice.seconds), "refused_per_s": round(twice.refused / twice.seconds),
        "refused_at_70_percent": usual.refused, "refused_afterwards": after.refused,
    }  # fmt: skip
    found.demand(whole.others == usual.others == twice.others == after.others == 0, "requests got neither 200 nor 503")
    found.demand(whole.refused == 0, "requests were refused with 32 under way")
    found.demand(twice.refused > twice.admitted / 2, "less was refused than is too much")
    found.demand(twice.p99_ms < 3 * usual.p99_ms, "those that were admitted waited")
    found.demand(twice.admitted / twice.seconds > capacity / 4, "refusing leaves no time to answer")
    found.demand(after.refused == 0, "requests are still refused when the load is gone")
    return found


STARTED_S = 0.7
"""A process that is to be slow clients gets so long to begin."""

SLOW_HEAD = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nX-Slow: "
SLOW_BODY = b"POST /v1/decisions HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n{"


async def slow_clients(folder: Path, count: int, head_s: int, body_s: int) -> Found:
    """So many clients that send a byte of a header each second, and as many that send one of a body, beside quick ones."""
    found, world = Found(f"{count} slow headers and {count} slow bodies"), World(folder)
    with served(world, "--head-timeout-s", str(head_s), "--body-timeout-s", str(body_s)) as running:
        async with Checked(running.port, right=world.is_right) as load:
            await asyncio.sleep(1)
            load.p99_ms()  # the first answers are composed
            await asyncio.sleep(head_s)
            before_ms = load.p99_ms()
            slow = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tests.faults", str(running.port), str(count), cwd=ROOT, stdout=subprocess.PIPE
            )
            await asyncio.sleep(STARTED_S + 1.5)
            load.p99_ms()  # they connect
            await asyncio.sleep(head_s - 2)
            during_ms = load.p99_ms()
            out, _ = await slow.communicate()
    headers_s, bodies_s = json.loads(out)
    found.figures = {
        "clients": 2 * count, "answered": load.answered, "wrong": load.wrong, "failed": load.failed,
        "p99_ms_before": before_ms, "p99_ms_beside": during_ms,
        "slow_header_ended_s": round(max(headers_s), 2), "slow_body_ended_s": round(max(bodies_s), 2),
    }  # fmt: skip
    found.demand(load.wrong == load.failed == load.refused == 0, "answers were wrong or failed")
    found.demand(max(headers_s) <= _at_the_latest_s(head_s), "a slow header was not ended in time")
    found.demand(max(bodies_s) <= _at_the_latest_s(body_s), "a slow body was not ended in time")
    found.demand(len(headers_s) == len(bodies_s) == count, "a slow client is missing")
    found.demand(min(*headers_s, *bodies_s) > 0.5 * head_s, "a slow client was ended at once")
    return found


def _at_the_latest_s(timeout_s: float) -> float:
    """When a time-out has ended a client: there is a sweep a tick, and a moment to hear of it."""
    return timeout_s - early_s(timeout_s) + TICK_S + 0.3


async def trickle_all(port: int, count: int) -> None:
    """Be so many slow clients of each kind, and print how long each was let. In a process of their own: they cost one a lot."""
    kinds = [[trickle(port, one) for _ in range(count)] for one in (SLOW_HEAD, SLOW_BODY)]
    ended_s = await asyncio.gather(*(asyncio.gather(*kind) for kind in kinds))
    sys.stdout.write(json.dumps(ended_s))


async def trickle(port: int, beginning: bytes) -> float:
    """Send a beginning, and a byte each second; give how long it took the service to end that."""
    await asyncio.sleep(random.random())  # they do not all send at once
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    began = time.monotonic()
    ended = asyncio.ensure_future(reader.read())
    writer.write(beginning)
    while not ended.done():
        await asyncio.wait([ended], timeout=1)
        with contextlib.suppress(OSError):
            writer.write(b"x")
    with contextlib.suppress(OSError):
        await ended
    took_s = time.monotonic() - began
    writer.close()
    return took_s


async def full_disk(folder: Path, seconds: float) -> Found:
    """Every line of the log meets a full disk (/dev/full), a line a request: the service answers on, in the same memory."""
    found, world = Found("full disk for the log"), World(folder)
    port = free_port()
    process = _with_its_log_on_a_full_disk(world, port)
    try:
        await answering(port)
        async with Checked(port, right=world.is_right) as load:
            await asyncio.sleep(seconds / 2)
            (worker,) = Serve(process).workers()
            before = _private_bytes(worker)
            await asyncio.sleep(seconds / 2)
            grown = _private_bytes(worker) - before
        process.send_signal(signal.SIGTERM)
        ended = await asyncio.to_thread(process.wait, 30)
    finally:
        process.kill()
        process.wait()
    found.figures = {"answered": load.answered, "wrong": load.wrong, "failed": load.failed, "grown_kib": grown // 1024}
    found.demand(load.answered > 0 and load.wrong == load.failed == 0, "answers were wrong or failed")
    found.demand(grown < 2 << 20, "what could not be written is kept")
    found.demand(ended in {0, 120}, "it did not end")  # 120: Python could not flush its standard error
    return found


def _with_its_log_on_a_full_disk(world: World, port: int) -> subprocess.Popen[str]:
    command = ["-m", "regionresolver", "serve", "--port", str(port), "--workers", "1", "--access-log"]
    with Path("/dev/full").open("w") as full:
        return subprocess.Popen(
            [sys.executable, *command, "--db", str(world.db), "--policy", str(world.policy)], cwd=ROOT, stderr=full, text=True
        )


def free_port() -> int:
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        port: int = found.getsockname()[1]
        return port


async def answering(port: int) -> None:
    """Wait until the service answers."""
    ends = time.monotonic() + PATIENCE_S
    while True:
        try:
            assert (await health(port))["status"] == "ready"
        except OSError:
            assert time.monotonic() < ends, "it does not answer"
            await asyncio.sleep(0.05)
        else:
            return


async def soak(folder: Path, minutes: float, reloads: int) -> Found:
    """Load and reloads for long; memory and descriptors must not grow after the warm-up, which is the first quarter."""
    found, world = Found("soak"), World(folder)
    with served(world) as running:
        pids = [running.process.pid, *running.workers()]
        samples: dict[int, list[tuple[float, float]]] = {pid: [] for pid in pids}
        async with Checked(running.port, right=world.is_right, clients=4, pause_s=0.01) as load:
            began, ends = time.monotonic(), time.monotonic() + 60 * minutes
            descriptors: list[int] = []
            done = 0
            while time.monotonic() < ends:
                world.write()
                found.demand(await _reload(running), "a reload failed")
                done += 1
                await asyncio.sleep(max(0.0, began + done * 60 * minutes / reloads - time.monotonic()))
                for pid, taken in samples.items():
                    taken.append((time.monotonic() - began, _resident_bytes(pid)))
                descriptors.append(sum(map(running.descriptors, pids)))
    slopes = {pid: _slope([sample for sample in taken if sample[0] > 60 * minutes / 4]) for pid, taken in samples.items()}
    supervisor, *workers = (round(slope * 3600 / (1 << 20), 3) for slope in slopes.values())
    quarter = len(descriptors) // 4
    found.figures = {
        "minutes": minutes, "reloads": done, "answered": load.answered, "wrong": load.wrong, "failed": load.failed,
        "mib_of_a_worker_at_the_end": round(samples[pids[-1]][-1][1] / (1 << 20), 2),
        "mib_per_hour_supervisor": supervisor, "mib_per_hour_worker_at_most": max(workers),
        "descriptors_first": descriptors[quarter], "descriptors_last": descriptors[-1],
    }  # fmt: skip
    found.demand(load.wrong == load.failed == 0, "answers were wrong or failed")
    found.demand(max(descriptors[quarter:]) <= max(descriptors[: quarter + 1]) + load.clients, "descriptors grow")
    return found


def _resident_bytes(pid: int) -> int:
    """What a process has in memory besides its programs: shared pages too, so that a write of another one changes nothing."""
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    return sum(1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith(("RssAnon:", "RssShmem:")))


def _private_bytes(pid: int) -> float:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    return sum(1024 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith(("Private_Clean", "Private_Dirty")))


def _slope(samples: list[tuple[float, float]]) -> float:
    """The least squares slope, in units a second."""
    n = len(samples)
    if n < 2:
        return 0.0
    mean_x, mean_y = sum(x for x, _ in samples) / n, sum(y for _, y in samples) / n
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / sum((x - mean_x) ** 2 for x, _ in samples)


async def health(port: int) -> dict[str, object]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    found: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


if __name__ == "__main__":
    asyncio.run(trickle_all(*map(int, sys.argv[1:])))
