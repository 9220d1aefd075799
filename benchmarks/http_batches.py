"""Decisions a second of one core in batches over HTTP: the lane, aiohttp with the same compiled answers, and a loop in Python.

    python -m benchmarks.http_batches                  arrays of 1,000 and of 10,000, and a stream; one worker, one connection
    python -m benchmarks.http_batches --rounds 9 --json result.json

One core for the server, another for the client; servers in turn, forwards and backwards. `lane` is the service, `aiohttp`
the service with `--no-lane`. `loop` is what one writes without either: an aiohttp application on uvloop that parses the
body with orjson, calls `Resolver.decide` for each ping, and dumps the answers with orjson; it answers arrays only.

Bytes to bytes: the figure is the pings answered over the processor's time of the server (/proc/PID/schedstat), kernel and
HTTP included, so it holds on a machine that others use too. Pings are of random addresses and real PLMNs, 124 bytes each;
answers have 300. An answer is checked to be whole, and of the first one each ping's place.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.http import requests
from benchmarks.http.report import median_and_spread
from benchmarks.http.servers import CLIENT_CORE, Server, Site, start_ours

LOOP = """
import sys, uvloop, orjson
from aiohttp import web
from regionresolver import Resolver
from regionresolver.resolver.documents import decision_document
resolver = Resolver.open()
async def decide(request):
    found = [decision_document(resolver.decide(**ping)) for ping in orjson.loads(await request.read())]
    return web.Response(body=orjson.dumps({"results": found}), content_type="application/json")
app = web.Application(client_max_size=1 << 24)
app.router.add_post("/v1/decisions/batch", decide)
async def main():
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    import asyncio
    await asyncio.Event().wait()
uvloop.run(main())
"""
STREAM = "stream"
RECEIVE_BYTES = 1 << 20
SILENCE_S = 10.0
END = b'"complete":true}\n\r\n0\r\n\r\n'


def request(kind: str, length: int) -> bytes:
    head = f"POST /v1/decisions/batch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/{kind}\r\n"
    return f"{head}Content-Length: {length}\r\n\r\n".encode()


class Client:
    """One connection to a server. It never sleeps: of one that does, the server would pay the waking."""

    def __init__(self, server: Server) -> None:
        self._socket = server.connect()
        self._socket.setblocking(False)
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._heard_s = time.monotonic()

    def array(self, elements: list[bytes], count: int) -> bytes:
        """Send an array so many times, one after the other; give the last answer."""
        body = b"[" + b",".join(elements) + b"]"
        raw, answer = memoryview(request("json", len(body)) + body), b""
        self._heard_s = time.monotonic()
        for _ in range(count):
            sent = 0
            while sent < len(raw):
                sent += self._send(raw[sent:])
            answer = self._answer()
        return answer

    def _answer(self) -> bytes:
        begun = b""
        while b"\r\n\r\n" not in begun:
            begun += self._buffer[: self._receive()]
        head, _, body = begun.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            sys.exit(f"http_batches: {head[:40]!r}")
        left = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]) - len(body)
        parts = [body]
        while left:
            if size := self._receive():
                parts.append(bytes(self._buffer[:size]))
                left -= size
        return b"".join(parts)

    def stream(self, lines: bytes, count: int) -> None:
        """Send lines so many times in one stream, and read at the same time."""
        raw = memoryview(request("x-ndjson", len(lines) * count))
        tail = b""
        self._heard_s = time.monotonic()
        while not tail.endswith(END):
            if not raw and count:
                raw, count = memoryview(lines), count - 1
            raw = raw[self._send(raw) :]
            if size := self._receive():
                tail = (tail + bytes(self._buffer[max(size - len(END), 0) : size]))[-len(END) :]

    def _send(self, raw: memoryview) -> int:
        try:
            return self._socket.send(raw) if raw else 0
        except BlockingIOError:
            return 0

    def _receive(self) -> int:
        """Receive what there is, 0 for nothing."""
        try:
            size = self._socket.recv_into(self._buffer)
        except BlockingIOError:
            if time.monotonic() > self._heard_s + SILENCE_S:
                sys.exit(f"http_batches: the server has said nothing for {SILENCE_S:.0f} s")
            return 0
        if size == 0:
            sys.exit("http_batches: the server closed the connection")
        self._heard_s = time.monotonic()
        return size


@dataclass(frozen=True)
class Case:
    """What a client asks in one round: the elements at once, so many times."""

    name: str
    elements: list[bytes]
    count: int

    @property
    def pings(self) -> int:
        return len(self.elements) * self.count

    def ask(self, client: Client) -> None:
        if self.name == STREAM:
            client.stream(b"\n".join(self.elements) + b"\n", self.count)
        else:
            client.array(self.elements, self.count)


def cases(elements: list[bytes], pings_a_round: int) -> list[Case]:
    shapes = (("array of 1,000", 1_000), ("array of 10,000", 10_000), (STREAM, len(elements)))
    return [Case(name, elements[:size], max(pings_a_round // size, 1)) for name, size in shapes]


def start_loop(name: str, site: Site) -> Server:
    address = site.address(name)
    return site.run(name, address, [sys.executable, "-c", LOOP, address])


SERVERS = {"lane": start_ours(), "aiohttp": start_ours("--no-lane"), "loop": start_loop}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pings", type=int, default=200_000, help="in each round; the loop in Python gets a tenth")
    parser.add_argument("--json", type=Path, help="write every round here")
    options = parser.parse_args()
    elements = requests.bodies()
    results: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as stack:
        site = Site(stack)
        servers = [SERVERS[name](name, site) for name in options.servers]
        os.sched_setaffinity(0, {int(CLIENT_CORE)})
        clients = {server.name: Client(server) for server in servers}
        for name, client in clients.items():
            check(name, client.array(elements[:5], 1), elements[:5])
        for number in range(options.rounds + 1):  # the first one warms up
            for server in servers if number % 2 else servers[::-1]:
                share = 10 if server.name == "loop" else 1
                for case in cases(elements, options.pings // share):
                    if server.name == "loop" and case.name == STREAM:
                        continue
                    before_ns, began = server.cpu_ns(), time.perf_counter()
                    case.ask(clients[server.name])
                    cpu_ns, wall_s = server.cpu_ns() - before_ns, time.perf_counter() - began
                    if number:
                        found = results.setdefault(case.name, {})
                        found.setdefault(server.name, []).append(case.pings / cpu_ns * 1e9)
                        found.setdefault(f"{server.name} wall", []).append(case.pings / wall_s)
    show(results, options)
    if options.json:
        options.json.write_text(json.dumps({"rounds": options.rounds, "pings": options.pings, "rates": results}, indent=1))


def check(name: str, body: bytes, elements: list[bytes]) -> None:
    """See that an answer has each ping in its place."""
    found = [answer["id"] for answer in json.loads(body)["results"]]
    if found != [json.loads(ping)["id"] for ping in elements]:
        sys.exit(f"http_batches: {name} answers {found}")


def show(results: dict[str, dict[str, list[float]]], options: argparse.Namespace) -> None:
    print(f"1 connection, {options.rounds} rounds of {options.pings:,} pings; millions of decisions")
    print(f"{'':18}{'server':9}{'a CPU second':>16}{'ns a ping':>11}{'a second':>11}")
    for case, found in results.items():
        for name in options.servers:
            if name in found:
                rate, spread = median_and_spread(found[name])
                wall, _ = median_and_spread(found[f"{name} wall"])
                print(f"{case:18}{name:9}{rate / 1e6:9.2f} ±{spread:4.0%}{1e9 / rate:11.0f}{wall / 1e6:11.2f}")


if __name__ == "__main__":
    main()
