"""What the decision log, API keys and the request log cost the lane: POST /v1/decisions, one option at a time.

    python -m benchmarks.http_logging                      a table; --rounds, --seconds, --connections
    python -m benchmarks.http_logging --json result.json

The service runs once for each option, its event loop and its writing thread on one core; they take turns as the servers of
`benchmarks.http` do, whose requests and generator these are. `off` runs twice: what lies between the two is the noise. `denied`
is the share of the pings that the default policy does not allow, which is what `denials` writes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.http import requests
from benchmarks.http.load import load
from benchmarks.http.report import middle
from benchmarks.http.servers import Site, start_ours

WARM_UP_S = 1.0
OPTIONS: dict[str, tuple[str, ...]] = {
    "off": (),
    "off again": (),
    "sampled 1 %": ("--decision-log", "sampled"),
    "denials": ("--decision-log", "denials"),
    "all": ("--decision-log", "all"),
    "api key": ("--api-keys", "KEYS"),
    "requests 1 %": ("--access-log", "--access-log-share", "0.01"),
    "requests": ("--access-log",),
}
KEEP = ("--decision-log-keep-segments", "2")


def flags_of(name: str, folder: Path, keys: Path) -> list[str]:
    """Give the flags of an option, with a folder of its own for its log."""
    flags = [str(keys) if flag == "KEYS" else flag for flag in OPTIONS[name]]
    return [*flags, *KEEP, "--decision-log-dir", str(folder / name.replace(" ", "-"))] if "--decision-log" in flags else flags


def written(folder: Path, name: str) -> tuple[int, int]:
    """Give how many decisions the kept segments of an option have, and how many are missing between them."""
    directory = folder / name.replace(" ", "-")
    found = subprocess.run(
        [sys.executable, "-m", "regionresolver", "log", "verify", str(directory), "--json"], capture_output=True, check=False
    )
    chains = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode == 0, found
    return sum(chain["decisions"] for chain in chains), sum(chain["missing"] for chain in chains)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--pipeline", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every round here")
    options = parser.parse_args()
    asked = requests.cases()["post"]
    rounds: dict[str, list[dict[str, float]]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keys = folder / "keys.json"
        add = [sys.executable, "-m", "regionresolver", "keys", "add", "bench", "--api-keys", str(keys)]
        key = subprocess.run(add, capture_output=True, check=True, text=True).stdout.strip()
        with_key = [one.replace(b"\r\n", f"\r\nAuthorization: Bearer {key}\r\n".encode(), 1) for one in asked]
        for name, content in (("plain", asked), ("with key", with_key)):
            requests.write(content, folder / name)
        site = Site(stack, folder, says_much=True)
        servers = [start_ours(*flags_of(name, folder, keys))(name, site) for name in options.only]
        for number in range(options.rounds):
            for server in servers if number % 2 else servers[::-1]:
                content_of = folder / ("with key" if server.name == "api key" else "plain")
                found = load(
                    server, content_of, seconds=options.seconds, warm_up_s=WARM_UP_S, connections=options.connections,
                    pipeline=options.pipeline,
                )  # fmt: skip
                rounds.setdefault(server.name, []).append(found)
        for server in servers:
            server.process.terminate()
            server.process.wait()
        logs = {name: written(folder, name) for name in options.only if "--decision-log" in OPTIONS[name]}
    show(rounds, logs)
    if options.json:
        options.json.write_text(json.dumps({"rounds": rounds, "logs": logs}, indent=1))


def show(rounds: dict[str, list[dict[str, float]]], logs: dict[str, tuple[int, int]]) -> None:
    """Print medians with their spreads."""
    print(f"{'option':14}{'CPU us/request':>16}{'requests/s':>18}{'core':>6}{'p50 us':>8}{'p99 us':>8}  kept lines, missing")
    for name in (name for name in OPTIONS if name in rounds):
        cpu, cpu_spread = middle(rounds[name], "cpu_us")
        rate, rate_spread = middle(rounds[name], "rate")
        rest = [middle(rounds[name], column)[0] for column in ("core", "p50_us", "p99_us")]
        kept = f"  {logs[name][0]:,}, {logs[name][1]:,}" if name in logs else ""
        columns = f"{rest[0]:6.2f}{rest[1]:8.0f}{rest[2]:8.0f}{kept}"
        print(f"{name:14}{cpu:10.2f} ±{cpu_spread:4.0%}{rate:12,.0f} ±{rate_spread:4.0%}{columns}")


if __name__ == "__main__":
    main()
