"""The servers that benchmarks ask: how each is started on its core, and what it has cost so far.

`floor` is C on epoll with a constant answer of as many bytes as ours: what the kernel takes for the same traffic. nginx with
its geoip2 module and HAProxy with a map of the same database look the country up, and do nothing else of the service's work;
`nginx_constant` and `haproxy_constant` do not even that. `plain` is the work in a plain aiohttp application.
A name that ends in `_unix` listens on a Unix socket. `lane_rules` has a policy of RULES rules, `lane_two_databases` the
embedded database before MaxMind's GeoLite2-City of 2018, `lane_again` is `lane` once more: the noise beside them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import maxminddb

from benchmarks.made_policies import policy_document
from regionresolver.resolver import embedded_database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import ExitStack

    Start = Callable[[str, "Site"], "Server"]

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "bench"
SERVER_CORE, CLIENT_CORE = "0", "1"
START_S, STOP_S = 60.0, 10.0
SAID_BYTES = 2000
RULES = 1000
SECOND_DATABASE = BUILD.parent / "geolite2-2018/maxminddb-geolite2-2018.703/_maxminddb_geolite2/GeoLite2-City.mmdb"
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
{module}
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {country}
  server {{
    listen {listen} backlog=1024; default_type application/json; add_header Cache-Control no-store;
    location / {{ return 200 '{document}'; }}
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


class ServerError(SystemExit):
    """A server that does not start, or fails under load. It need not be caught: it ends a benchmark with its message."""


@dataclass
class Server:
    """A running server: its address is a port, or the path of a Unix socket."""

    name: str
    address: str
    process: subprocess.Popen[bytes]

    def pids(self) -> list[int]:
        """Return the processes of the server, its own first."""
        main = self.process.pid
        return [main, *map(int, Path(f"/proc/{main}/task/{main}/children").read_text().split())]

    def cpu_ns(self) -> int:
        """Return what the threads of the processes have run so far."""
        tasks = [Path(f"/proc/{pid}/task") for pid in self.pids()]
        return sum(int((task / "schedstat").read_text().split()[0]) for found in tasks for task in found.iterdir())

    def memory(self) -> dict[str, int]:
        """Return the resident and the private bytes of the last process: of ours, a worker."""
        rollup = Path(f"/proc/{self.pids()[-1]}/smaps_rollup").read_text().splitlines()
        kib = {line.split(":")[0]: int(line.split()[1]) for line in rollup[1:]}
        return {"rss_bytes": kib["Rss"] * 1024, "private_bytes": (kib["Private_Clean"] + kib["Private_Dirty"]) * 1024}

    def connect(self) -> socket.socket:
        """Open a connection. Raises OSError."""
        if self.address.isdigit():
            return socket.create_connection(("127.0.0.1", int(self.address)), 5)
        found = socket.socket(socket.AF_UNIX)
        found.settimeout(5)
        try:
            found.connect(self.address)
        except OSError:
            found.close()
            raise
        return found

    def answers(self) -> bool:
        """Ask once, and say whether there was an answer, whatever it says."""
        try:
            with self.connect() as client:
                client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                return bool(client.recv(4096))
        except OSError:
            return False


def build(name: str) -> Path:
    """Compile a C program of this folder into build/bench, when it is newer."""
    source, program = HERE / f"{name}.c", BUILD / name
    BUILD.mkdir(parents=True, exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run([os.environ.get("CC", "gcc"), "-O2", "-o", program, source, "-lm"], check=True)
    return program


@dataclass
class Site:
    """Where servers are started, to end with a stack: a folder of their own, and the answer that constant ones give.

    What a server says on standard error is kept for when it does not start, unless it `says_much`: a file costs a server more
    than nowhere does.
    """

    stack: ExitStack
    folder: Path = Path()
    answer: bytes = b""
    cores: str = SERVER_CORE
    says_much: bool = False

    def address(self, name: str) -> str:
        """Find an address for a server."""
        return str(self.folder / f"{name}.sock") if name.endswith("_unix") else str(free_port())

    def run(self, name: str, address: str, command: Sequence[str | Path], stdin: bytes = b"") -> Server:
        """Start a server on its cores, and wait until it answers. Raises ServerError, at once where it ends instead."""
        said = self.stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        process = subprocess.Popen(
            ["taskset", "-c", self.cores, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if self.says_much else said,
        )
        self.stack.callback(stop, process)
        assert process.stdin is not None
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(stdin)
        server = Server(name, address, process)
        deadline = time.monotonic() + START_S
        while process.poll() is None and time.monotonic() < deadline:
            if server.answers():
                return server
            time.sleep(0.05)
        is_late = process.returncode is None
        what = f"does not answer within {START_S:.0f} s" if is_late else f"ended with status {process.returncode}"
        said.seek(max(said.seek(0, os.SEEK_END) - SAID_BYTES, 0))
        words = said.read().decode(errors="replace").strip() or "it said nothing"
        raise ServerError(f"{name} {what}: {' '.join(map(str, command))}\n{words}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a server."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def serve_command(
    address: str, *flags: str, workers: int = 1, python: Sequence[str | Path] = (sys.executable,)
) -> list[str | Path]:
    """Give the command that starts the service on an address."""
    where = ["--port", address] if address.isdigit() else ["--unix-socket", address]
    return [*python, "-m", "regionresolver", "serve", *where, "--workers", str(workers), *flags]


def start_ours(*flags: str) -> Start:
    def start(name: str, site: Site) -> Server:
        address = site.address(name)
        return site.run(name, address, serve_command(address, *flags))

    return start


def start_with_rules(name: str, site: Site) -> Server:
    policy = site.folder / "rules.json"
    document = policy_document(RULES)
    for number, rule in enumerate(document["rules"]):
        rule["when"]["sku"] = [f"M{number:04}*"]  # else rules hide others, and such a policy is refused
        rule["review_by"] = "2099-01-01"  # nor may one deny without an end
    policy.write_text(json.dumps(document, default=str))
    return start_ours("--policy", str(policy))(name, site)


def start_floor(name: str, site: Site) -> Server:
    address = site.address(name)
    return site.run(name, address, [build("floor"), address, str(len(site.answer))])


def start_constant(name: str, site: Site) -> Server:
    address = site.address(name)
    return site.run(name, address, [sys.executable, "-c", CONSTANT, address], site.answer)


def start_plain(loop: str) -> Start:
    def start(name: str, site: Site) -> Server:
        address = site.address(name)
        return site.run(name, address, [sys.executable, "-m", "benchmarks.http.plain_aiohttp", address, loop])

    return start


def start_nginx(name: str, site: Site, *, constant: bool = False) -> Server:
    address = site.address(name)
    # The constant is a text in nginx's own quotes, where these mean something.
    document = site.answer.partition(b"\r\n\r\n")[2].decode().translate(str.maketrans("'$\\", "   "))
    listen = f"127.0.0.1:{address}" if address.isdigit() else f"unix:{address}"
    module = country = ""
    if not constant:
        module = "load_module modules/ngx_http_geoip2_module.so;"
        country = f"geoip2 {embedded_database()} {{ $found_country source=$arg_ip country iso_code; }}"
        rest = document.partition('"subdivision"')[2]
        document = f'{{"id":null,"region":"$found_country","country":"$found_country","subdivision"{rest}'
    folder = site.folder / name
    folder.mkdir()
    content = NGINX.format(folder=folder, listen=listen, module=module, country=country, document=document)
    (folder / "nginx.conf").write_text(content)
    return site.run(name, address, ["nginx", "-p", "/usr/share/nginx", "-c", folder / "nginx.conf"])


def start_nginx_constant(name: str, site: Site) -> Server:
    return start_nginx(name, site, constant=True)


def start_haproxy(name: str, site: Site) -> Server:
    address = site.address(name)
    folder = site.folder / name
    folder.mkdir()
    found = "US"
    if "constant" not in name:
        write_countries(folder / "countries")
        found = f"%[url_param(ip),map_ip({folder}/countries)]"
    rest = site.answer.partition(b'"subdivision"')[2].decode()
    (folder / "answer").write_text(f'{{"id":null,"region":"{found}","country":"{found}","subdivision"{rest}')
    (folder / "haproxy.cfg").write_text(HAPROXY.format(folder=folder, port=address))
    return site.run(name, address, ["haproxy", "-db", "-f", folder / "haproxy.cfg"])


def write_countries(path: Path) -> None:
    """Write the IPv4 networks of the embedded database with their countries, as HAProxy's maps have them."""
    with maxminddb.open_database(str(embedded_database())) as database, path.open("w") as out:
        for network, record in database:
            if network.version == 4 and isinstance(record, dict) and isinstance(country := record.get("country"), dict):
                out.write(f"{network} {country['iso_code']}\n")


SERVERS: dict[str, Start] = {
    "lane": start_ours(),
    "lane_again": start_ours(),
    "lane_rules": start_with_rules,
    "lane_two_databases": start_ours("--db", str(embedded_database()), "--db", str(SECOND_DATABASE)),
    "lane_unix": start_ours(),
    "no_lane": start_ours("--no-lane"),
    "plain": start_plain("uvloop"),
    "plain_asyncio": start_plain("asyncio"),
    "uvloop": start_constant,
    "floor": start_floor,
    "floor_unix": start_floor,
    "nginx": start_nginx,
    "nginx_constant": start_nginx_constant,
    "nginx_unix": start_nginx,
    "haproxy": start_haproxy,
    "haproxy_constant": start_haproxy,
}

PROGRAMS = {"nginx": "nginx", "haproxy": "haproxy"}
PACKAGES = ("nginx", "libnginx-mod-http-geoip2", "haproxy", "wrk")
GEOIP2_MODULE = Path("/usr/lib/nginx/modules/ngx_http_geoip2_module.so")


def install() -> None:
    """Install Debian's packages of the peers where this is root on Debian; else say what to install."""
    if shutil.which("nginx") and shutil.which("haproxy") and shutil.which("wrk") and GEOIP2_MODULE.exists():
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"bench-http: peers are left out: install {' '.join(PACKAGES)} (apt-get install, as root)", file=sys.stderr)
        return
    get = ["apt-get", "-o", "DPkg::Lock::Timeout=300", "-qq"]
    subprocess.run([*get, "update"], check=True, stdout=subprocess.DEVNULL)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = [*get, "install", "--no-install-recommends", *PACKAGES]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)


def why_not(name: str) -> str | None:
    """Say why a server cannot take part; None when it can."""
    program = PROGRAMS.get(name.partition("_")[0])
    if program is not None and shutil.which(program) is None:
        return f"{program} is not installed"
    if program == "nginx" and "constant" not in name and not GEOIP2_MODULE.exists():
        return "nginx's geoip2 module is not installed"
    if name == "lane_two_databases" and not SECOND_DATABASE.exists():
        return "the second database is not here: make build/geolite2-2018/.fetched"
    return None


def head_of(body: bytes) -> bytes:
    """Give the head of an answer as long as ours."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nDate: {'x' * 29}\r\n"
    return f"{head}Server: regionresolver\r\nX-Request-Id: {'0' * 32}\r\nCache-Control: no-store\r\n\r\n".encode()
