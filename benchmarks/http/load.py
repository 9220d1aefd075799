"""One run of the load generator, `load.c`, which never sleeps, against a server."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

from benchmarks.http.servers import CLIENT_CORE, ServerError, build

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.http.servers import Server

PATIENCE_S = 60


def load(
    server: Server,
    requests: Path,
    *,
    seconds: float,
    warm_up_s: float,
    connections: int = 64,
    pipeline: int = 1,
    rate: float = 0,
    core: str = CLIENT_CORE,
    prefix: Sequence[str] = (),
    histogram: bool = False,
) -> dict[str, Any]:
    """Load a server once, by a generator that is started with a prefix on a core. Raises ServerError, also for one failure.

    Gives what the generator says (see there), `cpu_us` (of the server, for a request) and `core` (what it had of its core).
    """
    if (status := server.process.poll()) is not None:
        raise ServerError(f"{server.name} has ended with status {status}")
    numbers = (connections, seconds, pipeline, rate, warm_up_s)
    command = ["taskset", "-c", core, *prefix, str(build("load")), server.address, *map(str, numbers)]
    command += ["histogram"] if histogram else []
    loaded_s = seconds + warm_up_s
    before_ns, started = server.cpu_ns(), time.monotonic()
    with requests.open("rb") as content:
        ran = subprocess.run(command, stdin=content, capture_output=True, check=False, timeout=loaded_s + PATIENCE_S)
    elapsed_s = time.monotonic() - started
    if ran.returncode:
        raise ServerError(f"the load on {server.name} broke off: {ran.stderr.decode().strip()}")
    cpu_ns = server.cpu_ns() - before_ns
    found: dict[str, Any] = json.loads(ran.stdout)
    if found["failures"]:
        raise ServerError(f"{server.name} failed {found['failures']} of {found['requests']} requests")
    return found | {"cpu_us": cpu_ns / 1e3 / max(found["asked"], 1), "core": cpu_ns / 1e9 / min(elapsed_s, loaded_s)}
