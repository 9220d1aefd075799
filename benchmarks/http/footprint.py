"""What a worker costs beside time: memory with a thousand connections, what an idle one takes, from start to ready."""

from __future__ import annotations

import http.client
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.http.requests import get
from benchmarks.http.servers import Server, Site, free_port, serve_command
from regionresolver.resolver import embedded_database

if TYPE_CHECKING:
    from pathlib import Path

CONNECTIONS = 1000
STARTS = 5
REQUEST = get("/v1/resolve?ip=8.8.8.8&sim=310410")


def measure_footprint(site: Site) -> dict[str, float]:
    """Return the figures by name; `start_s` is from the command to the first 200 of /readyz, with a compiled image."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * CONNECTIONS)), hard))
    image = site.folder / "embedded.image"
    build = [sys.executable, "-m", "regionresolver", "index", "build", "--db", str(embedded_database()), "--out", str(image)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    with ExitStack() as stack:
        own = Site(stack, site.folder, site.answer)
        server = own.run("footprint", address := own.address("footprint"), serve_command(address, "--index", str(image)))
        ask(server, stack, 1)
        before = server.memory()
        ask(server, stack, CONNECTIONS)
        after = server.memory()
    return {
        "start_s": statistics.median(start_s(image) for _ in range(STARTS)),
        "worker_private_bytes": after["private_bytes"],
        "worker_rss_bytes": after["rss_bytes"],
        "idle_connection_bytes": (after["private_bytes"] - before["private_bytes"]) / CONNECTIONS,
    }


def ask(server: Server, stack: ExitStack, connections: int) -> None:
    """Open connections, ask once on each, and leave them open."""
    for _ in range(connections):
        client = server.connect()
        stack.callback(client.close)
        client.sendall(REQUEST)
        if not client.recv(4096).startswith(b"HTTP/1.1 200 "):
            sys.exit("bench-http: an idle connection was not answered")


def start_s(image: Path) -> float:
    """Start the service, and return the seconds until it is ready."""
    address = str(free_port())
    started = time.monotonic()
    process = subprocess.Popen(
        serve_command(address, "--index", str(image)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not is_ready(address):
            if process.poll() is not None or time.monotonic() - started > 30:
                sys.exit("bench-http: the service did not become ready")
            time.sleep(0.005)
        return time.monotonic() - started
    finally:
        process.terminate()
        process.wait()


def is_ready(address: str) -> bool:
    """Say whether /readyz is 200."""
    client = http.client.HTTPConnection("127.0.0.1", int(address), timeout=5)
    try:
        client.request("GET", "/readyz")
        return client.getresponse().status == 200
    except OSError:
        return False
    finally:
        client.close()
