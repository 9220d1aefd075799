"""Compare who may own the listening sockets: connections lost over restarts of the workers, and balance between them.

    python -m benchmarks.listeners [--json] [--workers 4] [--seconds 5] [--rounds 3] [design ...]

Designs, each with the same small uvloop worker that answers its process id:

- `owned`: each worker binds a SO_REUSEPORT socket of its own, and closes it when it goes;
- `shared`: the supervisor binds one socket, all workers accept from it;
- `kept`: the supervisor binds a SO_REUSEPORT socket for each worker, keeps it open, and gives it to each successor;
- `gunicorn`: gunicorn's arbiter and aiohttp's uvloop worker, restarted by SIGHUP (only where gunicorn is installed);
- `service`: `regionresolver serve`, restarted by SIGHUP.

Loss: 64 clients connect, ask once and hang up, as fast as they can, while every worker is replaced every 0.4 s, the
successor first; a connection that gets no whole answer within 5 s is lost. Balance: bursts of 64 keep-alive connections,
256 in all; the figure is the fullest worker's share over the mean. Rounds are interleaved; medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.util
import os
import re
import select
import signal
import socket
import statistics
import struct
import sys
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import orjson
import uvloop
from aiohttp import web

from benchmarks.http.servers import Site, free_port, serve_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

HOST = "127.0.0.1"
REQUEST = b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n"
CLIENTS = 64
BALANCED_CONNECTIONS = 256
RESTART_INTERVAL_S = 0.4
LINGER_S = 0.3
PATIENCE_S = 5.0
BACKLOG = 1024
ANSWERED_BY = re.compile(rb'"pid":\s*(\d+)')
DESIGNS = ("owned", "shared", "kept", "gunicorn", "service")


def answer() -> bytes:
    """The bytes of every worker's answer: its process id, in the form of the service's `/livez`."""
    body = orjson.dumps({"pid": os.getpid()})
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


# --- the small server


class Answerer(asyncio.Protocol):
    """Answer every request with the same bytes."""

    def __init__(self, standing: bytes) -> None:
        self.standing = standing
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n") and self.transport is not None:
            self.transport.write(self.standing)


async def work(listener: socket.socket, ready: int) -> None:
    """Serve until SIGTERM; then stop accepting, give clients LINGER_S to hang up, and end."""
    standing, ended = answer(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(lambda: Answerer(standing), sock=listener)
    os.write(ready, b".")
    await ended.wait()
    server.close()
    await asyncio.sleep(LINGER_S)


@dataclass
class SmallServer:
    """A supervisor of small workers, in one of the first three designs."""

    design: str
    workers: int
    port: int = 0
    listeners: list[socket.socket] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)

    def start(self) -> None:
        count = self.workers if self.design == "kept" else 1
        for _ in range(count):
            found = socket.create_server((HOST, self.port), reuse_port=self.design != "shared", backlog=BACKLOG)
            self.port = found.getsockname()[1]
            self.listeners.append(found)
        if self.design == "owned":
            self.listeners.pop().close()  # it only chose the port
        self.pids = [self.fork(number) for number in range(self.workers)]

    def fork(self, number: int) -> int:
        readable, writable = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                if self.design == "owned":
                    listener = socket.create_server((HOST, self.port), reuse_port=True, backlog=BACKLOG)
                else:
                    listener = self.listeners[number % len(self.listeners)]
                uvloop.run(work(listener, writable))
            finally:
                os._exit(0)
        os.close(writable)
        os.read(readable, 1)
        os.close(readable)
        return pid

    def restart(self) -> None:
        for number, pid in enumerate(self.pids):
            self.pids[number] = self.fork(number)
            os.kill(pid, signal.SIGTERM)
            self.gone.append(pid)

    def stop(self) -> None:
        for pid in self.pids:
            os.kill(pid, signal.SIGTERM)
        for pid in self.pids + self.gone:
            os.waitpid(pid, 0)
        for listener in self.listeners:
            listener.close()


async def make_aiohttp_app() -> web.Application:
    """The application that gunicorn's workers serve."""

    async def live(request: web.Request) -> web.Response:  # noqa: ARG001 - a handler's face
        return web.Response(body=orjson.dumps({"pid": os.getpid()}), content_type="application/json")

    app = web.Application()
    app.add_routes([web.get("/livez", live)])
    return app


@contextmanager
def running(design: str, workers: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """Run a design's server; give its port, and what restarts all of its workers."""
    if design not in {"gunicorn", "service"}:
        small = SmallServer(design, workers)
        small.start()
        try:
            yield small.port, small.restart
        finally:
            small.stop()
        return
    address = str(free_port())
    commands: dict[str, Sequence[str | Path]] = {
        "gunicorn": [sys.executable, "-m", "gunicorn", "--worker-class", "aiohttp.GunicornUVLoopWebWorker", "--workers",
                     str(workers), "--bind", f"{HOST}:{address}", "--backlog", str(BACKLOG), "--graceful-timeout", "5",
                     "--log-level", "error", "benchmarks.listeners:make_aiohttp_app"],
        "service": serve_command(address, "--log-level", "error", workers=workers),
    }  # fmt: skip
    with ExitStack() as stack:
        cores = ",".join(map(str, os.sched_getaffinity(0)))
        server = Site(stack, cores=cores).run(design, address, commands[design])
        wait_for_workers(int(address), workers)
        yield int(address), lambda: server.process.send_signal(signal.SIGHUP)


def wait_for_workers(port: int, workers: int) -> None:
    deadline = time.monotonic() + 20
    seen: set[int] = set()
    while len(seen) < workers and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), PATIENCE_S) as client:
            client.sendall(REQUEST)
            if (found := ANSWERED_BY.search(client.recv(4096))) is not None:
                seen.add(int(found[1]))
        time.sleep(0.01)
    if len(seen) < workers:
        raise SystemExit(f"only {len(seen)} of {workers} workers answer")


# --- the clients


class Client:
    """One connection that asks once."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        # Hang up with a reset, so that a minute of new connections does not use up the ports.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.connect_ex((HOST, port))
        self.asked = False
        self.received = b""
        self.deadline = time.monotonic() + PATIENCE_S

    def turn(self) -> int | None:
        """Go a step; give the process id that answered, 0 when the connection is lost, None while it goes on."""
        try:
            if not self.asked:
                self.socket.sendall(REQUEST)
                self.asked = True
                return None
            part = self.socket.recv(4096)
        except BlockingIOError:
            return None
        except OSError:
            return 0
        self.received += part
        found = ANSWERED_BY.search(self.received)
        return int(found[1]) if found else (None if part else 0)


def ask(port: int, total: int | None, until: float, *, hang_up: bool, tick: Callable[[], None] | None = None) -> Counter[int]:
    """Open CLIENTS connections at a time until `total` or `until`; count who answered, the lost ones under 0."""
    poll, clients, kept = select.epoll(), dict[int, Client](), list[Client]()
    counted: Counter[int] = Counter()

    def settle(number: int, pid: int) -> None:
        client = clients.pop(number)
        counted[pid] += 1
        poll.unregister(number)
        if hang_up:
            client.socket.close()
        else:
            kept.append(client)

    opened = 0
    while True:
        more = time.monotonic() < until and (total is None or opened < total)
        if not clients and not more:
            break
        while more and (len(clients) < CLIENTS if hang_up else not clients or opened % CLIENTS):
            client = Client(port)
            clients[client.socket.fileno()] = client
            poll.register(client.socket, select.EPOLLOUT)
            opened += 1
        for number, _ in poll.poll(0.01):
            client = clients[number]
            asked, pid = client.asked, client.turn()
            if pid is not None:
                settle(number, pid)
            elif client.asked and not asked:
                poll.modify(number, select.EPOLLIN)
        now = time.monotonic()
        for number in [number for number, client in clients.items() if now > client.deadline]:
            settle(number, 0)
        if tick is not None:
            tick()
    for client in kept:
        client.socket.close()
    poll.close()
    return counted


def lost(port: int, restart: Callable[[], None], seconds: float) -> tuple[int, int, int]:
    """Give connections, those that were lost, and how many restarts of all workers there were."""
    restarts, next_restart = 0, time.monotonic() + RESTART_INTERVAL_S

    # The restarts run in a process of their own, for the clients must not stand still meanwhile.
    def tick() -> None:
        nonlocal restarts, next_restart
        if time.monotonic() >= next_restart:
            restart()
            restarts += 1
            next_restart = time.monotonic() + RESTART_INTERVAL_S

    counted = ask(port, None, time.monotonic() + seconds, hang_up=True, tick=tick)
    return sum(counted.values()), counted[0], restarts


def imbalance(port: int, workers: int) -> float:
    """Give the fullest worker's connections over the mean."""
    counted = ask(port, BALANCED_CONNECTIONS, time.monotonic() + 30, hang_up=False)
    return max(counted.values()) * workers / sum(counted.values())


def measure(design: str, workers: int, seconds: float) -> dict[str, float]:
    with running(design, workers) as (port, restart):
        ratios = [imbalance(port, workers) for _ in range(5)]
        connections, failed, restarts = lost(port, restart, seconds)
    return {
        "imbalance": statistics.median(ratios),
        "connections": connections,
        "per_second": connections / seconds,
        "lost": failed,
        "restarts": restarts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("designs", nargs="*", choices=[*DESIGNS, []], metavar="design")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    arguments = parser.parse_args()
    designs = arguments.designs or [name for name in DESIGNS if name != "gunicorn" or importlib.util.find_spec(name)]
    found: dict[str, list[dict[str, float]]] = {design: [] for design in designs}
    for _ in range(arguments.rounds):
        for design in designs:
            found[design].append(measure(design, arguments.workers, arguments.seconds))
    if arguments.json:
        print(orjson.dumps({"workers": arguments.workers, "rounds": found}).decode())
        return
    print(f"{arguments.workers} workers, {arguments.rounds} rounds: sums of connections, medians of the rest")
    print(f"{'design':<10}{'connections':>12}{'lost':>8}{'restarts':>10}{'conn./s':>10}{'max/mean':>10}")
    for design, rounds in found.items():
        total, failed, restarts = (sum(int(one[name]) for one in rounds) for name in ("connections", "lost", "restarts"))
        speed, ratio = (statistics.median(one[name] for one in rounds) for name in ("per_second", "imbalance"))
        print(f"{design:<10}{total:>12}{failed:>8}{restarts:>10}{speed:>10.0f}{ratio:>10.2f}")


if __name__ == "__main__":
    main()
