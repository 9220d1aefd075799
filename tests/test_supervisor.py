"""The supervisor and its workers as real processes: deaths, restarts, ends, and every kind of socket."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.request
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from regionresolver.errors import ServeError
from regionresolver.service import metrics
from regionresolver.service.builder import reason
from regionresolver.service.pages import Pages, State
from regionresolver.service.sockets import listen_tcp, listen_unix, listening
from regionresolver.service.supervisor import _cgroup_cpus, worker_count
from regionresolver.service.systemd import Notifier, activated_sockets
from regionresolver.settings import Settings
from tests.http_service import LOOPBACK
from tests.serve_process import PATIENCE_S, ROOT, Load, Serve, serve
from tests.worlds import city_database

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(city_database(tmp_path_factory.mktemp("city") / "city.mmdb"))


@pytest.fixture(scope="module")
def pair(city: str) -> Iterator[Serve]:
    """A service with two workers, which the tests that use it leave with two."""
    with serve("--db", city, "--workers", "2", "--watchdog-timeout-s", "3", "--shutdown-timeout-s", "3") as running:
        yield running


def fetch(port: int, path: str) -> dict[str, object]:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{path}", timeout=PATIENCE_S) as response:
        document = json.load(response)
        assert isinstance(document, dict)
        return document


def ask_unix(path: Path) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_S)
        client.connect(str(path))
        client.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return client.recv(4096)


def gone(pid: int) -> bool:
    """Say whether a process has ended (one that nobody has reaped yet has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or before it was read
        return True


def wait_until_gone(pids: list[int], patience_s: float) -> float:
    began = time.monotonic()
    while not all(gone(pid) for pid in pids):
        assert time.monotonic() - began < patience_s, f"still there after {patience_s} s"
        time.sleep(0.01)
    return time.monotonic() - began


# --- deaths


async def test_a_killed_worker_loses_what_it_had_in_hand_and_is_replaced_within_a_second(pair: Serve) -> None:
    async with Load(pair.port) as load:
        await asyncio.sleep(0.2)
        victim = pair.workers()[0]
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        died = await pair.until("worker_died")
        replaced = await pair.until("worker_replaced")
        took_s = time.monotonic() - began
        await asyncio.sleep(0.2)
    assert (died["pid"], died["reason"], died["again_s"]) == (victim, "SIGKILL", 0)
    assert replaced["worker"] == died["worker"]
    assert took_s < 1
    assert load.failed <= load.clients, "each has one request in flight, so none may fail twice"
    assert load.answered > 50
    assert load.refused == 0
    assert len(pair.workers()) == 2


async def test_a_worker_that_is_asked_to_go_is_replaced_without_a_loss(pair: Serve) -> None:
    async with Load(pair.port) as load:
        await asyncio.sleep(0.1)
        old = pair.workers()[0]
        os.kill(old, signal.SIGTERM)
        replaced = await pair.until("worker_replaced")
        await asyncio.to_thread(wait_until_gone, [old], 5)
    assert replaced["pid"] != old
    assert (load.failed, load.refused) == (0, 0)
    assert len(pair.workers()) == 2


async def test_ten_rolling_restarts_lose_nothing_and_leak_no_descriptor(pair: Serve) -> None:
    """Every worker is replaced ten times."""
    await asyncio.sleep(0.2)  # the clients of other tests are gone by now
    before = {pid: pair.descriptors(pid) for pid in (pair.process.pid, *pair.workers())}
    async with Load(pair.port) as load:
        for _ in range(10):
            for pid in [found for found in pair.workers() if not gone(found)]:
                os.kill(pid, signal.SIGTERM)
                await pair.until("worker_replaced")
                await asyncio.to_thread(wait_until_gone, [pid], 10)
        await asyncio.sleep(0.1)
    assert (load.failed, load.refused) == (0, 0)
    assert load.answered > 200
    assert len(pair.workers()) == 2
    assert pair.descriptors(pair.process.pid) == before[pair.process.pid]
    await asyncio.sleep(0.2)
    assert max(map(pair.descriptors, pair.workers())) <= max(before.values())


async def test_the_queue_of_a_worker_that_hangs_is_attended_and_the_worker_replaced(pair: Serve) -> None:
    victim = pair.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    began = time.monotonic()
    answers = await asyncio.gather(*(asyncio.to_thread(fetch, pair.port, "/livez") for _ in range(20)))
    attended_s = time.monotonic() - began
    assert victim not in {answer["worker"]["pid"] for answer in answers}  # type: ignore[index]
    hung = await pair.until("worker_hung")
    died = await pair.until("worker_died")
    assert hung["pid"] == died["pid"] == victim
    await pair.until("worker_replaced")
    assert attended_s < 3, "its sibling took them before it was killed"
    assert len(pair.workers()) == 2


def test_a_second_service_cannot_take_a_share_of_the_port(pair: Serve, city: str) -> None:
    """Both listen with SO_REUSEPORT in the end, which must not let the second one in."""
    command = [sys.executable, "-m", "regionresolver", "serve", "--db", city, "--workers", "2", "--port", str(pair.port)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"regionresolver: error: cannot listen on 127.0.0.1:{pair.port}: the address is in use")
    assert len(finished.stderr.splitlines()) == 1


def test_every_worker_answers_under_its_number(pair: Serve) -> None:
    found = {}
    for _ in range(200):
        for path in ("/livez", "/readyz", "/v1/metadata"):
            worker = fetch(pair.port, path)["worker"]
            assert isinstance(worker, dict)
            found[worker["index"]] = worker["pid"]
        if len(found) == 2:
            break
    assert sorted(found) == [0, 1]
    assert set(found.values()) == set(pair.workers())


FAULTY = """
import sys
from regionresolver.service import worker
from regionresolver.cli import main
make_app, generations = worker.make_app, sys.argv.pop(1).split(",")
def make_or_fail(resolver, settings, page):
    if resolver.generation in generations:
        raise RuntimeError("evil words")
    return make_app(resolver, settings, page)
worker.make_app = make_or_fail
main(prog_name="regionresolver")
"""


def test_a_crash_loop_slows_down_and_is_never_given_up(city: str, tmp_path: Path) -> None:
    """The workers die while they start; the supervisor says so each time, waits longer each time, and still ends well."""
    command = [sys.executable, "-c", FAULTY, "g1", "serve", "--db", city, "--workers", "1", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        delays: list[object] = []
        for line in process.stderr:
            assert "evil" not in line
            found = json.loads(line)
            if found["event"] == "worker_died":
                assert (found["while_starting"], found["reason"]) == (True, "exit status 1")
                delays.append(found["again_s"])
            if len(delays) == 5:
                break
        process.send_signal(signal.SIGTERM)
        assert json.loads(process.stderr.readlines()[-1])["event"] == "stopped"
        assert process.wait(PATIENCE_S) == 0
    assert delays == [0, 0.1, 0.2, 0.4, 0.8]


NO_PROCESS = """
import os
from regionresolver.cli import main
fork, forks = os.fork, []
def fork_or_fail():
    forks.append(1)
    if len(forks) <= 3:
        raise BlockingIOError("no process is free")
    return fork()
os.fork = fork_or_fail
main(prog_name="regionresolver")
"""


def test_a_system_without_a_free_process_is_survived(city: str) -> None:
    with serve("--db", city, "--workers", "1", launcher=("-c", NO_PROCESS)) as running:
        assert [found["again_s"] for found in running.skipped] == [0, 0.1, 0.2]


# --- a loop that stands still


BLOCKED = """
import re
from regionresolver.service import health
show_version = health.show_version
async def show_or_hang(request):
    if request.query_string == "hang":
        re.match("(a+)+$", "a" * 64 + "b")  # to the end of time, and it holds the interpreter
    return await show_version(request)
health.show_version = show_or_hang
from regionresolver.service import worker
worker.ALONE_MARGIN_S = 0.5
from regionresolver.cli import main
main(prog_name="regionresolver")
"""


@contextmanager
def blocked(city: str) -> Iterator[tuple[Serve, int]]:
    """A service whose only worker has just begun to hang in a handler, and that worker."""
    with serve("--db", city, "--workers", "1", "--watchdog-timeout-s", "2", launcher=("-c", BLOCKED)) as running:
        (victim,) = running.workers()
        with socket.create_connection((LOOPBACK, running.port), PATIENCE_S) as client:
            client.sendall(b"GET /version?hang HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(0.2)
            yield running, victim


def is_free(port: int) -> bool:
    try:
        socket.create_server((LOOPBACK, port)).close()
    except OSError:
        return False
    return True


async def test_the_only_worker_is_replaced_in_bounded_time_when_its_loop_is_blocked(city: str) -> None:
    """One worker has a supervisor too. Who asks meanwhile waits for the successor, for the queue is the supervisor's."""
    with blocked(city) as (running, victim):
        began = time.monotonic()
        answer = await asyncio.to_thread(fetch, running.port, "/livez")
        took_s = time.monotonic() - began
        hung, died = running.wait_for("worker_hung"), running.wait_for("worker_died")
        replaced = running.wait_for("worker_replaced")
        assert (hung["pid"], died["pid"], died["reason"]) == (victim, victim, "SIGKILL")
        assert 1 < took_s < 6, "the two seconds of the watchdog, and a start"
        assert answer["worker"]["pid"] == replaced["pid"] != victim  # type: ignore[index]


def test_a_worker_whose_loop_is_blocked_ends_in_bounded_time_when_nobody_is_there_to_kill_it(city: str) -> None:
    """It cannot see that its supervisor is gone; the kernel ends it, and the port is free for the next service."""
    with blocked(city) as (running, victim):
        running.process.kill()
        assert 1 < wait_until_gone([victim], 7) < 7, "4.5 s after its last beat"
        began = time.monotonic()
        while not is_free(running.port):  # its other threads may still be there for a moment
            assert time.monotonic() - began < 2
            time.sleep(0.01)


# --- the end


@pytest.mark.parametrize("delay_s", [0, 0.5])
async def test_the_end_under_load_loses_nothing(city: str, delay_s: float) -> None:
    with serve("--db", city, "--workers", "2", "--drain-delay-s", str(delay_s)) as running:
        async with Load(running.port, pause_s=0.02) as load:
            await asyncio.sleep(0.2)
            began = time.monotonic()
            running.process.send_signal(signal.SIGTERM)
            if delay_s:
                await asyncio.sleep(delay_s / 2)
                assert load.refused == 0, "the service still accepts"
            events = await asyncio.to_thread(running.end)
            took_s = time.monotonic() - began
        assert [found["event"] for found in events] == ["draining", "stopped"]
        assert load.failed == 0
        assert delay_s <= took_s < delay_s + 3
        assert load.refused > 0, "the port is closed"


async def test_a_second_signal_ends_the_delay(city: str) -> None:
    with serve("--db", city, "--workers", "2", "--drain-delay-s", "60") as running:
        running.process.send_signal(signal.SIGTERM)
        running.wait_for("draining")
        running.process.send_signal(signal.SIGINT)
        assert [found["event"] for found in running.end()] == ["stopped"]


def test_control_c_reaches_every_process_and_ends_the_service_once(city: str) -> None:
    with serve("--db", city, "--workers", "2", "--drain-delay-s", "60") as running:
        os.killpg(running.process.pid, signal.SIGINT)
        assert [found["event"] for found in running.end()] == ["draining", "stopped"]


def test_workers_end_when_their_supervisor_is_killed(city: str) -> None:
    with serve("--db", city, "--workers", "2", "--drain-delay-s", "60") as running:
        workers, port = running.workers(), running.port
        running.process.kill()
        assert wait_until_gone(workers, 5) < 5
        socket.create_server((LOOPBACK, port)).close()
        events = [running.wait_for("supervisor_gone") for _ in workers]
        assert {found["pid"] for found in events} == set(workers)


def test_a_terminal_that_is_closed_ends_the_service(city: str) -> None:
    ours, theirs = os.openpty()
    launcher = (
        f"import fcntl, os, termios; fcntl.ioctl({theirs}, termios.TIOCSCTTY, 0); os.close({theirs}); "
        "from regionresolver.cli import main; main(prog_name='regionresolver')"
    )
    with serve("--db", city, "--workers", "1", launcher=("-c", launcher), pass_fds=(theirs,)) as running:
        os.close(theirs)
        os.close(ours)
        assert running.wait_for("draining")["signal"] == "SIGHUP"
        assert [found["event"] for found in running.end()] == ["stopped"]


# --- sockets


def test_a_unix_socket(city: str, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        stale.listen()
    with serve("--db", city, "--workers", "2", "--unix-socket", str(path), "--unix-socket-mode", "0600", port=None) as running:
        assert running.urls == [f"unix:{path}"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert ask_unix(path).startswith(b"HTTP/1.1 200 ")
        with pytest.raises(ServeError, match="another service listens on it"):
            listen_unix(path, 0o600)
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("reloaded")
        assert ask_unix(path).startswith(b"HTTP/1.1 200 ")
        running.process.terminate()
        running.end()
    assert not path.exists()


def test_something_else_in_the_place_of_a_unix_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("precious")
    with pytest.raises(ServeError, match="there is something else"):
        listen_unix(path, 0o600)
    assert path.read_text() == "precious"
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(ServeError, match="there is something else"):
        listen_unix(link, 0o600)


@pytest.mark.parametrize(
    ("name", "words"), [("none/http.sock", "its directory does not exist"), ("x" * 120, "too long"), ("a\0b", "null")]
)
def test_a_unix_socket_that_cannot_be_made(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(ServeError, match=words) as caught:
        listen_unix(tmp_path / name, 0o600)
    assert str(caught.value).startswith("cannot listen on the Unix socket ")


def test_a_unix_socket_of_another_service_is_not_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with listening(Settings(unix_socket=path), 1):
        path.unlink()
        other = listen_unix(path, 0o600)
    assert path.exists()
    other.close()


def test_sockets_of_one_port_are_spread_evenly_and_shared_with_nobody() -> None:
    sockets = listen_tcp(LOOPBACK, 0, workers=2)
    first, second = (found for (found,) in sockets)
    assert first.getsockname() == second.getsockname()
    with pytest.raises(ServeError, match="the address is in use"):
        listen_tcp(LOOPBACK, first.getsockname()[1], workers=2)
    clients = [socket.create_connection(first.getsockname()) for _ in range(100)]
    queued = []
    for listener in (first, second):
        listener.setblocking(False)
        accepted = []
        try:
            while True:
                accepted.append(listener.accept()[0])
        except BlockingIOError:
            queued.append(len(accepted))
        for client in [*accepted, listener]:
            client.close()
    for client in clients:
        client.close()
    assert sum(queued) == 100
    assert min(queued) > 20


ACTIVATE = """
import os, sys
for place, descriptor in enumerate(map(int, sys.argv.pop(1).split(",")), start=3):
    os.dup2(descriptor, place)
os.environ |= {"LISTEN_FDS": str(place - 2), "LISTEN_PID": str(os.getpid())}
from regionresolver.cli import main
main(prog_name="regionresolver")
"""


def test_sockets_that_a_service_manager_hands_over(city: str, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.create_server((LOOPBACK, 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        # Beyond the places that they are put to, or the second would overwrite the first.
        handed = [fcntl.fcntl(found, fcntl.F_DUPFD, 50) for found in (tcp, unix)]
        port = tcp.getsockname()[1]
        launcher = ("-c", ACTIVATE, ",".join(map(str, handed)))
        with serve("--db", city, "--workers", "2", port=None, launcher=launcher, pass_fds=handed) as running:
            for descriptor in handed:
                os.close(descriptor)
            assert running.urls == [f"http://{LOOPBACK}:{port}", f"unix:{path}"]
            assert fetch(port, "/livez")["status"] == "ok"
            assert ask_unix(path).startswith(b"HTTP/1.1 200 ")
            running.process.terminate()
            running.end()
        assert path.exists(), "it belongs to the service manager"


def test_sockets_for_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert activated_sockets() == []
    assert "LISTEN_FDS" not in os.environ, "children must not see it either"


@pytest.mark.parametrize("count", ["", "-1", "1_0", "x", "99999"])
def test_a_bad_number_of_sockets_is_refused(monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setenv("LISTEN_FDS", count)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    with pytest.raises(ServeError, match="LISTEN_FDS: this is no number"):
        activated_sockets()


# --- systemd


def test_the_service_manager_hears_of_every_state(city: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with serve("--db", city, "--workers", "1", environment=environment) as running:
            assert manager.recv(1024).decode().splitlines()[:2] == ["READY=1", f"MAINPID={running.process.pid}"]
            running.process.send_signal(signal.SIGHUP)
            reloading, since = manager.recv(1024).decode().split("\n")
            assert reloading == "RELOADING=1"
            assert since.startswith("MONOTONIC_USEC=")
            assert manager.recv(1024).startswith(b"READY=1\n")
            running.process.terminate()
            assert manager.recv(1024).startswith(b"STOPPING=1\n")
            running.end()


def test_no_service_manager_is_no_trouble(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "nobody"))
    Notifier().tell("READY=1")
    assert "NOTIFY_SOCKET" not in os.environ


def test_an_abstract_notify_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"regionresolver-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)
        Notifier().tell("READY=1", "STATUS=well")
        assert manager.recv(100) == b"READY=1\nSTATUS=well"


# --- parts


def test_pages_have_one_owner_at_a_time_and_outlive_it() -> None:
    pages = Pages(2)
    first, second = pages.take(0, 0), pages.take(1, 3)
    assert first is not None
    assert second is not None
    assert pages.take(2, 0) is None
    assert (second.worker, second.restarts, second.state) == (1, 3, State.STARTING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the threads of other tests: the child needs none of their locks
        pid = os.fork()
    if pid == 0:
        first.pid = os.getpid()
        first.state = State.SERVING
        first.count(metrics.IN_FLIGHT, by=2)
        first.count(metrics.IN_FLIGHT, by=-1)
        first.count(metrics.RELOADS, "failed")
        os._exit(0)
    os.waitpid(pid, 0)
    assert (first.pid, first.state, first.in_flight) == (pid, State.SERVING, 1)
    assert pages.attended(0, 1.0)
    assert not pages.attended(0, -1.0), "its heartbeat is too old"
    assert not pages.attended(1, 1.0), "it only starts"
    first.free()
    assert (first.pid, first.in_flight) == (0, 0)
    assert pages.take(2, 0) is first
    first.count(metrics.RELOADS, "failed")
    assert list(pages.sums(metrics.RELOADS)) == [0, 2], "counts go on from the former owner's"
    assert time.time() * 1e6 - first.started_us < 10**7


@pytest.mark.parametrize(("status", "words"), [(0, "exit status 0"), (-9, "SIGKILL"), (-40, "signal 40")])
def test_the_reason_of_a_death(status: int, words: str) -> None:
    assert reason(status) == words


@pytest.mark.parametrize(
    ("text", "cpus"), [("150000 100000", 2), ("50000 100000", 1), ("max 100000", os.cpu_count()), ("", os.cpu_count())]
)
def test_the_cpus_of_a_container(tmp_path: Path, text: str, cpus: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(text)
    assert _cgroup_cpus(file) == cpus
    assert _cgroup_cpus(tmp_path / "none") == os.cpu_count()


def test_the_number_of_workers() -> None:
    assert worker_count(Settings(workers=3)) == 3
    assert 1 <= worker_count(Settings(workers="auto")) <= len(os.sched_getaffinity(0))
