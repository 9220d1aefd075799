"""What an image costs in memory and time: each figure from a process of its own.

    python -m benchmarks.lookup.memory compile SPEC IMAGE OUT | open FILE | worker FILE

Each command prints one JSON object. `measured` runs them all. Peak memory is VmHWM: what `getrusage` says of a child
begins with what its parent had. Private memory is Private_Clean + Private_Dirty of smaps_rollup: pages that no other
process has mapped, so what one more process costs.
"""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.lookup.databases import IMAGES, REGIONS, compiled
from benchmarks.lookup.streams import stream_of
from regionresolver import Resolver
from regionresolver.index import Index, read_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.lookup.databases import Database

LOOKED_UP = 200_000
_HOT_OPENS = 200
_SERVED_OPENS = 50
_ROOT = Path(__file__).parents[2]


def memory_bytes() -> dict[str, int]:
    """Return this process's resident, private, proportional and peak memory."""
    fields = dict.fromkeys(("Rss", "Pss", "Private_Clean", "Private_Dirty", "VmHWM"), 0)
    text = Path("/proc/self/smaps_rollup").read_text() + Path("/proc/self/status").read_text()
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        if name in fields:
            fields[name] = int(rest.split()[0]) << 10
    return {
        "rss_bytes": fields["Rss"],
        "private_bytes": fields["Private_Clean"] + fields["Private_Dirty"],
        "pss_bytes": fields["Pss"],
        "peak_rss_bytes": fields["VmHWM"],
    }


def compile_once(spec: str, image: str, out: str) -> dict[str, Any]:
    """Compile a database and write the image."""
    started, started_cpu = time.perf_counter(), time.process_time()
    built = compiled(spec, image)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    peak = memory_bytes()["peak_rss_bytes"]
    Path(out).write_bytes(built)
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_rss_bytes": peak, "image_bytes": len(built)}


def _mapped(file: str) -> mmap.mmap:
    with open(file, "rb") as opened:
        return mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    kept = function()
    seconds = time.perf_counter() - started
    del kept
    return seconds


def open_often(file: str) -> dict[str, Any]:
    """Open an image: first of all from a file that was pushed out of memory, then again and again.

    `header`: map the file and check its header. `verified`: check the whole body as well. `served`: the way of the
    service, which first reads the file into sealed memory.
    """
    descriptor = os.open(file, os.O_RDONLY)
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)

    def header() -> Index:
        return Index.open(_mapped(file), check=False)

    def verified() -> Index:
        return Index.open(_mapped(file))

    def served() -> Index:
        return Index.open(read_image(file))

    found = {"header_cold_seconds": _seconds(header), "verified_cold_seconds": _seconds(verified)}
    found["header_seconds"] = median(_seconds(header) for _ in range(_HOT_OPENS))
    found["verified_seconds"] = median(_seconds(verified) for _ in range(_SERVED_OPENS))
    found["served_seconds"] = median(_seconds(served) for _ in range(_SERVED_OPENS))
    return found


def worker(file: str) -> dict[str, Any]:
    """Open a resolver on an image, fork a second process, and look addresses up in both."""
    lines = stream_of("zipf mixed", LOOKED_UP).lines
    before = memory_bytes()
    resolver = Resolver.open(index=file)
    opened = memory_bytes()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        resolver.lookup_lines(lines)
        os.write(writing, json.dumps(memory_bytes()).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        forked = json.loads(answer.read())
    os.waitpid(child, 0)
    resolver.lookup_lines(lines)
    return {"before": before, "opened": opened, "looked_up": memory_bytes(), "forked": forked}


def _child(*arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.lookup.memory", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=_ROOT)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measured(database: Database, folder: Path, rounds: int) -> dict[str, Any]:
    """Measure all of it for each image of a database; the medians of `rounds` compilations and openings."""
    found = {}
    for image in IMAGES:
        file = str(folder / f"{image}.rrx")
        compilations = [_child("compile", database.spec, image, file) for _ in range(rounds)]
        openings = [_child("open", file) for _ in range(rounds)]
        found[image] = {
            "image_bytes": compilations[0]["image_bytes"],
            "compile_seconds": [each["seconds"] for each in compilations],
            "compile_cpu_seconds": [each["cpu_seconds"] for each in compilations],
            "compile_peak_rss_bytes": max(each["peak_rss_bytes"] for each in compilations),
            "open": {key: [each[key] for each in openings] for key in openings[0]},
        }
        if image == REGIONS:
            found[image]["process"] = _child("worker", file)
    return found


_COMMANDS: dict[str, Callable[..., dict[str, Any]]] = {"compile": compile_once, "open": open_often, "worker": worker}

if __name__ == "__main__":
    print(json.dumps(_COMMANDS[sys.argv[1]](*sys.argv[2:])))
