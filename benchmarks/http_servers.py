"""Requests a second and CPU a request: the service with and without its lane, and the servers that it is measured against.

    python -m benchmarks.http_servers                      every server that is installed, GET and POST, 64 connections
    python -m benchmarks.http_servers --rounds 9 --servers lane aiohttp floor --json result.json

One core for the server, another for the generator (`http_load.c`, which never sleeps). The servers run side by side, idle
but for the one that is asked, and take turns; each round goes through them in the opposite order of the one before, so that
a drift of the machine meets all alike. Requests are of random addresses and real PLMNs, with the headers that okhttp sends.
`floor` is C on epoll with a constant answer of as many bytes as ours: what the kernel takes for the same traffic. nginx with
its geoip2 module and HAProxy with a map of the same database look the country up, and do nothing else of the service's work.

CPU a request comes from /proc/PID/schedstat and holds on a machine that others use too; requests a second only where the
server had its core to itself, so its share of the core is printed beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import maxminddb

from regionresolver.resolver import Resolver, embedded_database
from regionresolver.resolver.documents import decision_document

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
BUILD = HERE.parent / "build" / "bench"
SERVER_CORE, CLIENT_CORE = "0", "1"
REQUESTS = 20_000
HEADERS = "Host: 127.0.0.1:8080\r\nConnection: Keep-Alive\r\nAccept-Encoding: gzip\r\nUser-Agent: okhttp/4.12.0\r\n"
PLMNS = ("26201", "20801", "36801", "25001", "25034", "310410", "46000", "40410", "72405", "62120", "43211", "41701")
DEVICES = 1 << 20
CONSTANT = """
import asyncio, sys, uvloop
answer = sys.stdin.buffer.read()
class Constant(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, received):
        self.transport.write(answer * received.count(b"\\r\\n\\r\\n"))
async def main():
    await (await asyncio.get_running_loop().create_server(Constant, "127.0.0.1", int(sys.argv[1]))).serve_forever()
uvloop.run(main())
"""
NGINX = """
load_module modules/ngx_http_geoip2_module.so;
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  geoip2 {database} {{ $found_country source=$arg_ip country iso_code; }}
  server {{
    listen 127.0.0.1:{port} backlog=1024; default_type application/json; add_header Cache-Control no-store;
    location /v1/resolve {{ return 200 '{{"id":null,"region":"$found_country","country":"$found_country",{rest}}}'; }}
  }}
}}
"""
HAPROXY = """
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
frontend in
  bind 127.0.0.1:{port}
  http-request return status 200 content-type application/json hdr Cache-Control no-store lf-file {folder}/answer
"""


@dataclass
class Server:
    """A running server, and what was measured of it."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    rounds: dict[str, list[dict[str, float]]] = field(default_factory=dict)

    def cpu_ns(self) -> int:
        """Return what the threads of the process and its children have run so far."""
        main = Path(f"/proc/{self.process.pid}/task/{self.process.pid}")
        tasks = [Path(f"/proc/{pid}/task") for pid in (self.process.pid, *(main / "children").read_text().split())]
        return sum(int((task / "schedstat").read_text().split()[0]) for found in tasks for task in found.iterdir())


def build(name: str) -> Path:
    """Compile a C program of this folder into build/bench, when it is newer."""
    source, program = HERE / f"{name}.c", BUILD / name
    BUILD.mkdir(parents=True, exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([os.environ.get("CC", "gcc"), "-O2", "-o", program, source, "-lm"], check=True)
    return program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def pings(rng: random.Random) -> list[dict[str, str]]:
    """Make pings of random global IPv4 addresses, half of them with a serving network, most with a SIM."""
    found: list[dict[str, str]] = []
    while len(found) < REQUESTS:
        octets = [rng.randrange(1, 224), *(rng.randrange(256) for _ in range(3))]
        if octets[0] in {10, 127}:
            continue
        ping = {"ip": ".".join(map(str, octets)), "sim": rng.choice(PLMNS)}
        if rng.random() < 0.5:
            ping["serving"] = ping["sim"] if rng.random() < 0.8 else rng.choice(PLMNS)
        found.append(ping)
    return found


def gets(made: list[dict[str, str]], rng: random.Random, odd: float) -> list[bytes]:
    targets = ("/v1/resolve?" + "&".join(f"{name}={value}" for name, value in ping.items()) for ping in made)
    asked = ("/version" if rng.random() < odd else target for target in targets)
    return [f"GET {target} HTTP/1.1\r\n{HEADERS}\r\n".encode() for target in asked]


def posts(made: list[dict[str, str]], rng: random.Random) -> list[bytes]:
    found = []
    for ping in made:
        facts = {"id": f"{rng.getrandbits(64):016x}", "device_id": f"h:{rng.randrange(DEVICES):08x}", "sku": "M2101K7AG"}
        body = json.dumps(facts | ping | {"lang": "es"}, separators=(",", ":")).encode()
        lines = f"{HEADERS}Content-Type: application/json; charset=utf-8\r\nContent-Length: {len(body)}\r\n"
        found.append(f"POST /v1/decisions HTTP/1.1\r\n{lines}\r\n".encode() + body)
    return found


def run(name: str, command: list[str | Path], stack: ExitStack, port: int, stdin: bytes = b"") -> Server:
    """Start a server on its core, and wait until it listens."""
    process = subprocess.Popen(
        ["taskset", "-c", SERVER_CORE, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    assert process.stdin is not None
    process.stdin.write(stdin)
    process.stdin.close()
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except ConnectionRefusedError:
            time.sleep(0.1)
        else:
            return Server(name, port, process)
    sys.exit(f"http_servers: {name} does not listen")


def start_ours(*flags: str) -> Callable[[str, ExitStack, Path, bytes], Server | None]:
    def start(name: str, stack: ExitStack, _: Path, __: bytes) -> Server:
        port = free_port()
        serve: list[str | Path] = [sys.executable, "-m", "regionresolver", "serve", "--workers", "1"]
        return run(name, [*serve, "--port", str(port), *flags], stack, port)

    return start


def start_floor(name: str, stack: ExitStack, _: Path, answer: bytes) -> Server:
    port = free_port()
    return run(name, [build("http_floor"), str(port), str(len(answer))], stack, port)


def start_constant(name: str, stack: ExitStack, _: Path, answer: bytes) -> Server:
    port = free_port()
    return run(name, [sys.executable, "-c", CONSTANT, str(port)], stack, port, answer)


def start_nginx(name: str, stack: ExitStack, folder: Path, answer: bytes) -> Server | None:
    port = free_port()
    if shutil.which("nginx") is None:
        return None
    rest = answer.partition(b'"subdivision"')[2].decode().rstrip("}")
    content = NGINX.format(folder=folder, port=port, database=embedded_database(), rest='"subdivision"' + rest)
    (folder / "nginx.conf").write_text(content)
    return run(name, ["nginx", "-p", "/usr/share/nginx", "-c", folder / "nginx.conf"], stack, port)


def start_haproxy(name: str, stack: ExitStack, folder: Path, answer: bytes) -> Server | None:
    port = free_port()
    if shutil.which("haproxy") is None:
        return None
    with maxminddb.open_database(str(embedded_database())) as database, (folder / "countries").open("w") as out:
        for network, record in database:
            if network.version == 4 and isinstance(record, dict) and isinstance(country := record.get("country"), dict):
                out.write(f"{network} {country['iso_code']}\n")
    rest = answer.partition(b'"subdivision"')[2].decode()
    found = f"%[url_param(ip),map_ip({folder}/countries)]"
    (folder / "answer").write_text(f'{{"id":null,"region":"{found}","country":"{found}","subdivision"{rest}')
    (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, port=port))
    return run(name, ["haproxy", "-db", "-f", folder / "haproxy.cfg"], stack, port)


SERVERS: dict[str, Callable[[str, ExitStack, Path, bytes], Server | None]] = {
    "lane": start_ours(),
    "aiohttp": start_ours("--no-lane"),
    "uvloop": start_constant,
    "floor": start_floor,
    "nginx": start_nginx,
    "haproxy": start_haproxy,
}
ONLY_GET = {"nginx", "haproxy"}


def measure(server: Server, requests: Path, options: argparse.Namespace) -> dict[str, float]:
    """Load a server once."""
    numbers = (server.port, options.connections, options.seconds, options.pipeline, 0)
    command = [str(build("http_load")), *map(str, numbers)]
    before_ns, started = server.cpu_ns(), time.monotonic()
    with requests.open("rb") as content:
        client = subprocess.Popen(["taskset", "-c", CLIENT_CORE, *command], stdin=content, stdout=subprocess.PIPE)
        out, _ = client.communicate()
    elapsed_s, cpu_ns = time.monotonic() - started, server.cpu_ns() - before_ns
    found: dict[str, float] = json.loads(out)
    if found["failures"]:
        sys.exit(f"http_servers: {server.name} failed {found['failures']} requests")
    # The warm-up second is in the CPU's time and not in the count; the generator's start is a few milliseconds.
    served = found["rate"] * (options.seconds + 1)
    return found | {"cpu_us": cpu_ns / 1e3 / served, "core": cpu_ns / 1e9 / min(elapsed_s, options.seconds + 1)}


def median_and_spread(values: list[float]) -> tuple[float, float]:
    """Give the median, and half of the range of the middle half of the values over it."""
    middle = statistics.median(values)
    quarters = statistics.quantiles(values, n=4) if len(values) > 1 else [middle] * 3
    return middle, (quarters[2] - quarters[0]) / 2 / middle


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--pipeline", type=int, default=1)
    parser.add_argument("--odd", type=float, default=0, help="share of the GETs that the lane has to leave")
    parser.add_argument("--json", type=Path, help="write every round here")
    options = parser.parse_args()
    rng = random.Random(1)
    made = pings(rng)
    cases = {"GET": gets(made, rng, options.odd), "POST": posts(made, rng)}
    with Resolver.open() as resolver:
        sample = json.dumps(decision_document(resolver.decide(**made[0])), separators=(",", ":")).encode()  # type: ignore[arg-type]
    results: dict[str, dict[str, list[dict[str, float]]]] = {case: {} for case in cases}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        started = (SERVERS[name](name, stack, folder, head_of(sample) + sample) for name in options.servers)
        servers = [server for server in started if server is not None]
        for case, requests in cases.items():
            content = folder / case
            content.write_bytes(b"".join(struct.pack("=I", len(request)) + request for request in requests))
            asked = [server for server in servers if case == "GET" or server.name not in ONLY_GET]
            for number in range(options.rounds):
                for server in asked if number % 2 else asked[::-1]:
                    results[case].setdefault(server.name, []).append(measure(server, content, options))
    show(results, options)
    if options.json:
        options.json.write_text(json.dumps({"options": vars(options) | {"json": None}, "rounds": results}, indent=1))


def head_of(body: bytes) -> bytes:
    """Give the head of an answer as long as ours."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nDate: {'x' * 29}\r\n"
    return f"{head}Server: regionresolver\r\nX-Request-Id: {'0' * 32}\r\nCache-Control: no-store\r\n\r\n".encode()


def show(results: dict[str, dict[str, list[dict[str, float]]]], options: argparse.Namespace) -> None:
    """Print medians with their spreads, and the CPU a request against the floor's."""
    print(f"{options.connections} connections, {options.pipeline} requests on each, {options.rounds} x {options.seconds:g} s")
    print(f"{'':6}{'server':9}{'CPU us/request':>15}{'floor/it':>10}{'requests/s':>16}{'core':>6}{'p50 us':>8}{'p99 us':>8}")
    for case, found in results.items():
        floor = statistics.median(one["cpu_us"] for one in found["floor"]) if "floor" in found else None
        for name, rounds in found.items():
            cpu, cpu_spread = median_and_spread([one["cpu_us"] for one in rounds])
            rate, rate_spread = median_and_spread([one["rate"] for one in rounds])
            columns = ("core", "p50_us", "p99_us")
            rest = [statistics.median(one[column] for one in rounds) for column in columns]
            share = "" if floor is None else f"{floor / cpu:.2f}"
            print(
                f"{case:6}{name:9}{cpu:9.2f} ±{cpu_spread:4.0%}{share:>10}{rate:10,.0f} ±{rate_spread:4.0%}"
                f"{rest[0]:6.2f}{rest[1]:8.0f}{rest[2]:8.0f}"
            )


if __name__ == "__main__":
    main()
