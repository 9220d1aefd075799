"""A new generation: built aside, opened by every worker beside what it serves, swapped to by all or by none."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
import time
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from regionresolver import Resolver
from regionresolver.errors import ImageError
from regionresolver.resolver.parcel import Parcel, pack, unpack
from regionresolver.service.successor import opened_in_turn
from tests.serve_process import Load, Serve, serve
from tests.test_supervisor import fetch
from tests.worlds import CITY_NETWORKS, city_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from regionresolver.service.state import Generation

RELOADS = 40
LIBC = ctypes.CDLL(None)


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(city_database(tmp_path_factory.mktemp("city") / "city.mmdb"))


# --- a generation as a parcel


def test_a_parcel_answers_as_what_it_was_made_of(city: str) -> None:
    with Resolver.open(city) as resolver, unpack(pack(resolver)) as received:
        for network in CITY_NETWORKS:
            ip = network.partition("/")[0].removesuffix("0") + "1"
            assert received.resolve(ip=ip, serving="25001") == resolver.resolve(ip=ip, serving="25001")
            assert received.records(ip) == resolver.records(ip)
            assert received.decide(ip=ip).verdict == resolver.decide(ip=ip).verdict
            assert received.explain(ip=ip) == resolver.explain(ip=ip)
        assert received.metadata() == resolver.metadata()
        assert received.policy_document() == resolver.policy_document()
        assert received.warnings == resolver.warnings


def test_a_parcel_outlives_its_resolver_and_leaves_no_descriptor(city: str) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with Resolver.open(city) as resolver:
        parcel = pack(resolver)
        passed = [os.dup(descriptor) for descriptor in parcel.descriptors]
    del resolver, parcel
    with unpack(Parcel.received(passed)) as received:
        assert received.lookup("46.0.1.1").subdivision_code == "UA-43"
        assert received.records("46.0.1.1")
    del received
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_not_sealed_is_no_parcel() -> None:
    descriptors = [os.memfd_create("a", os.MFD_ALLOW_SEALING) for _ in range(2)]
    with pytest.raises(ImageError, match="not sealed"):
        Parcel.received(descriptors)
    os.close(descriptors[1])


def test_a_generation_that_nobody_uses_is_freed_without_the_collector(city: str) -> None:
    resolver = unpack(pack(Resolver.open(city)))
    resolver.decide(serving="36801", first_activated_at="2026-01-01T00:00:00Z")
    decision = resolver.decide(serving="36801")
    assert decision.explanation
    gc.collect()
    with collector_off():
        kept = [weakref.ref(part) for part in (resolver, resolver._index, resolver._index._image, resolver._compiled)]
        del resolver
        assert [part() is None for part in kept] == [True, False, False, False], "the decision needs the others"
        del decision
        assert all(part() is None for part in kept)


def test_reloads_leave_nothing_behind(city: str) -> None:
    """What a worker does at each reload, again and again: nothing is left to the collector, and nothing is kept."""
    parcel = pack(Resolver.open(city))

    def reload() -> Generation:
        return opened_in_turn([os.dup(descriptor) for descriptor in parcel.descriptors])

    served = [reload() for _ in range(3)][-1]
    gc.collect()
    with collector_off():
        blocks, in_use, descriptors = sys.getallocatedblocks(), malloc_bytes(), len(os.listdir("/proc/self/fd"))
        for _ in range(RELOADS):
            served = reload()
        assert gc.collect() == 0
        # Behind the collection, which also empties the lists of free tuples and floats.
        assert sys.getallocatedblocks() - blocks < 50 * RELOADS
        # Its caches still fill meanwhile, some 25 KB in all.
        assert malloc_bytes() - in_use < 1024 * RELOADS
        assert len(os.listdir("/proc/self/fd")) == descriptors
    assert served.resolver.generation


@contextmanager
def collector_off() -> Iterator[None]:
    thresholds = gc.get_threshold()
    gc.set_threshold(0)  # not gc.disable(), which who opens a generation ends again
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)


class MallocInfo(ctypes.Structure):
    """struct mallinfo2 of glibc's malloc.h."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    )  # fmt: skip


def malloc_bytes() -> int:
    """The bytes that malloc has given out and not had back; always 0 where the C library does not tell."""
    mallinfo = getattr(LIBC, "mallinfo2", None)
    if mallinfo is None:
        return 0
    mallinfo.restype = MallocInfo
    found = mallinfo()
    given: int = found.uordblks + found.hblkhd
    return given


# --- in the running service


async def reload(running: Serve, outcome: str = "reloaded") -> dict[str, object]:
    running.process.send_signal(signal.SIGHUP)
    return await running.until(outcome)


async def test_workers_swap_without_closing_a_connection(tmp_path: Path) -> None:
    path = city_database(tmp_path / "city.mmdb")
    with serve("--db", str(path), "--workers", "2") as running:
        old = running.workers()
        async with Load(running.port, target="/v1/resolve?ip=84.0.1.1") as load:
            city_database(tmp_path / "new.mmdb", CITY_NETWORKS | {"84.0.0.0/16": ("ES", None)}).rename(path)
            found = await reload(running)
            assert found["data"] == "g2"
            for _ in range(20):
                assert fetch(running.port, "/v1/resolve?ip=84.0.1.1")["region"] == "ES"
                assert fetch(running.port, "/v1/resolve/84.0.1.1")["region"] == "ES"
            assert fetch(running.port, "/v1/metadata")["data"] == "g2"
            await asyncio.sleep(0.1)
        assert sorted(running.workers()) == sorted(old)
        assert (load.failed, load.refused) == (0, 0)
        assert load.connections == load.clients
        os.kill(old[0], signal.SIGKILL)
        await running.until("worker_replaced")
        for _ in range(20):
            assert fetch(running.port, "/v1/resolve?ip=84.0.1.1")["region"] == "ES", "the successor begins with it"


async def test_many_reloads_leave_no_descriptor_and_no_process(city: str) -> None:
    with serve("--db", city, "--workers", "2") as running:
        await reload(running)
        await asyncio.sleep(0.2)
        pids = [running.process.pid, *running.workers()]
        before = [running.descriptors(pid) for pid in pids]
        for number in range(3, 8):
            assert (await reload(running))["data"] == f"g{number}"
        await asyncio.sleep(0.2)
        assert [running.process.pid, *running.workers()] == pids
        assert [running.descriptors(pid) for pid in pids] == before


async def test_a_bad_database_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "city.mmdb"
    city_database(path)
    with serve("--db", str(path), "--workers", "1") as running:
        new = tmp_path / "new.mmdb"
        new.write_bytes(b"nonsense")
        new.rename(path)
        old = running.workers()
        failed = await reload(running, "reload_failed")
        assert str(failed["detail"]).startswith(f"{path}: it is not a MaxMind DB")
        assert running.workers() == old
        assert fetch(running.port, "/v1/resolve?ip=84.0.1.1")["region"] == "CU"
        city_database(path)
        assert (await reload(running))["data"] == "g2"


BUILDER = """
import os, signal, sys, time
from regionresolver.cli import main, options
open_, supervisor = options.Resolver.open, os.getpid()
def fail():
    if sys.argv[1] == "raise": raise ZeroDivisionError("evil words")
    if sys.argv[1] == "crash": os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
def open_or_fail(*arguments, **named):
    if os.getpid() != supervisor and named["serial"] == 2 and os.path.exists(sys.argv[2]): fail()
    return open_(*arguments, **named)
options.Resolver.open = open_or_fail
main(sys.argv[3:], prog_name="regionresolver")
"""


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("raise", "an unexpected error"),
        ("crash", "the process that built it died of SIGSEGV"),
        ("hang", "it was not built in time (reload_timeout_s)"),
    ],
)
async def test_a_builder_that_fails_changes_nothing(city: str, tmp_path: Path, fault: str, detail: str) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    options = ("--db", city, "--workers", "1", "--reload-timeout-s", "1")
    with serve(*options, launcher=("-c", BUILDER, fault, str(flag))) as running:
        old = running.workers()
        failed = await reload(running, "reload_failed")
        assert (failed["detail"], failed["data"]) == (detail, "g1")
        assert failed.get("error") == ("ZeroDivisionError" if fault == "raise" else None)
        assert running.workers() == old
        flag.unlink()
        assert (await reload(running))["data"] == "g2"


async def test_the_supervisor_looks_after_its_workers_while_a_builder_hangs(city: str, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    with serve("--db", city, "--workers", "1", launcher=("-c", BUILDER, "hang", str(flag))) as running:
        running.process.send_signal(signal.SIGHUP)
        await running.until("reloading")
        await asyncio.sleep(0.3)
        (worker, builder) = running.workers()
        began = time.monotonic()
        os.kill(worker, signal.SIGKILL)
        await running.until("worker_replaced")
        assert time.monotonic() - began < 1
        os.kill(builder, signal.SIGKILL)
        assert (await running.until("reload_failed"))["detail"] == "the process that built it died of SIGKILL"


WORKER = """
import os, signal, sys, time
from regionresolver.cli import main
from regionresolver.service import successor
unpack = successor.unpack
def is_first():
    try: open(sys.argv[2], "x").close()
    except FileExistsError: return False
    return True
def unpack_or_fail(parcel):
    resolver = unpack(parcel)
    if resolver.generation == "g2" and (sys.argv[1] != "die-once" or is_first()):
        if sys.argv[1] == "refuse": raise RuntimeError("evil words")
        if sys.argv[1] == "hang": time.sleep(1.3)
        else: os.kill(os.getpid(), signal.SIGKILL)
    return resolver
successor.unpack = unpack_or_fail
main(sys.argv[3:], prog_name="regionresolver")
"""


@pytest.mark.parametrize(
    ("fault", "detail"),
    [
        ("refuse", "worker 0 cannot open the new generation"),
        ("die", "2 workers died while they opened the new generation"),
        ("hang", "not every worker has opened the new generation in time (reload_timeout_s)"),
    ],
)
async def test_a_generation_that_a_worker_cannot_open_is_served_by_none(
    city: str, tmp_path: Path, fault: str, detail: str
) -> None:
    options = ("--db", city, "--workers", "2", "--reload-timeout-s", "1")
    with serve(*options, launcher=("-c", WORKER, fault, str(tmp_path / "flag"))) as running:
        failed = await reload(running, "reload_failed")
        assert failed["detail"].replace("worker 1", "worker 0") == detail  # type: ignore[attr-defined]
        assert {fetch(running.port, "/v1/metadata")["data"] for _ in range(10)} == {"g1"}
        await asyncio.sleep(0.5)  # one that hangs has come to itself
        assert (await reload(running))["data"] == "g3"
        assert {fetch(running.port, "/v1/metadata")["data"] for _ in range(10)} == {"g3"}


async def test_a_worker_that_dies_meanwhile_does_not_stop_a_reload(city: str, tmp_path: Path) -> None:
    with serve("--db", city, "--workers", "2", launcher=("-c", WORKER, "die-once", str(tmp_path / "flag"))) as running:
        assert (await reload(running))["data"] == "g2"
        assert {fetch(running.port, "/v1/metadata")["data"] for _ in range(20)} == {"g2"}


async def test_the_end_during_a_reload(city: str, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    with serve("--db", city, "--workers", "1", launcher=("-c", BUILDER, "hang", str(flag))) as running:
        running.process.send_signal(signal.SIGHUP)
        await running.until("reloading")
        running.process.send_signal(signal.SIGTERM)
        assert [found["event"] for found in await asyncio.to_thread(running.end)] == ["draining", "stopped"]
