"""The supervisor: opens the sockets and the data once, forks the workers, and sees to it that there are enough of them.

It is a plain loop without asyncio and without threads, for it forks: wait for a signal, a message or the next deadline,
then look at everything. A signal only wakes it (`signal.set_wakeup_fd`); every child is then asked whether it has ended,
so that no order of signals loses one.

    start        a worker is `starting` until it reports READY; then it is the slot's worker, and its predecessor retires
    death        the slot is filled again at once; after deaths in quick succession later and later (`_delay_s`)
    hang         a worker whose heartbeat stands still for `watchdog_timeout_s` is killed, which is a death
    SIGHUP       open data and policy anew; then fill slot after slot with a successor. Is the new generation refused, or
                 does not even one worker start with it, the old one stays
    SIGTERM      tell every worker to drain, wait for them; a second one, or SIGINT: without the delay; a third: kill

The ports are taken before the data is opened, so that a busy port is told at once.
"""

import gc
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from math import ceil
from pathlib import Path

from regionresolver.errors import RegionResolverError
from regionresolver.resolver import Resolver
from regionresolver.service import logs
from regionresolver.service.decision_log import check_directory
from regionresolver.service.pages import Pages, WorkerPage
from regionresolver.service.sockets import Listeners, listening
from regionresolver.service.systemd import Notifier
from regionresolver.service.worker import IDLE_GRACE_S, MESSAGE_BYTES, Command, Report, Worker
from regionresolver.settings import Settings

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

TICK_S = 0.25

# A worker that served for so long was no failed start. Short, so that one that is killed every second is still replaced
# at once; what dies faster would cost the machine more than it serves.
HEALTHY_S = 0.5
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0

# What a worker may take to exit beyond the time that its connections get.
EXIT_MARGIN_S = 5.0

_log = logging.getLogger("regionresolver.service")


def run(settings: Settings, open_generation: Callable[[], Resolver]) -> None:
    """Serve until a signal ends it. Raises ServeError, DatabaseError and PolicyError before the first answer.

    `open_generation` opens data and policy: once at the start, and again at each reload.
    """
    logs.configure(settings.log_level, settings.log_format, access=settings.access_log)
    check_directory(settings)
    notifier = Notifier()
    workers = worker_count(settings)
    with listening(settings, workers) as listeners:
        Supervisor(settings, listeners, workers, notifier, open_generation).run()


def worker_count(settings: Settings) -> int:
    """Give the number of workers; `auto` is one for each CPU that this process may use, by affinity and by cgroup."""
    if settings.workers != "auto":
        return settings.workers
    return max(1, min(len(os.sched_getaffinity(0)), _cgroup_cpus()))


def _cgroup_cpus(file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Give the CPUs' worth of time that a container may use, rounded up; all where nothing limits it."""
    try:
        quota_us, period_us = map(int, file.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # no cgroup v2 here, or "max"
        return os.cpu_count() or 1
    return ceil(quota_us / period_us)


@dataclass(eq=False, slots=True)
class Process:
    """A worker process. `generation` is the one that it serves; `kill_at` is when it must be gone."""

    pid: int
    slot_number: int
    page: WorkerPage
    channel: socket.socket
    generation: str
    forked_at: float
    ready_at: float | None = None
    kill_at: float | None = None
    heartbeat_ns: int = 0
    quiet_s: float = 0.0
    hung: bool = False

    def tell(self, command: Command) -> None:
        """Send a command; a worker that is gone, or reads nothing, is dealt with elsewhere."""
        with suppress(OSError):
            self.channel.send(command.value)


@dataclass(eq=False, slots=True)
class Slot:
    """The place of one worker: who serves there, and who is about to."""

    number: int
    current: Process | None = None
    starting: Process | None = None
    restarts: int = 0
    quick_deaths: int = 0
    fill_at: float = 0.0


def _noted(number: int, frame: object) -> None:
    """Do nothing: the signal's byte wakes the loop."""


def _has_terminal() -> bool:
    """Say whether the process has a controlling terminal: SIGHUP from one that was closed ends a service in the foreground."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _discard(resolver: Resolver) -> None:
    """Close a generation that nobody asks any more, and free its memory now.

    Its parts refer to each other, and the collector has been told not to look at them (`gc.freeze`).
    """
    resolver.close()
    vars(resolver).clear()


def _channel() -> tuple[socket.socket, socket.socket]:
    """Make the two ends over which supervisor and worker send each other packets. Raises OSError."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def _fork_or_close(channel: socket.socket) -> int:
    """Fork; where that fails, close our end of the channel. Raises OSError."""
    try:
        return os.fork()
    except OSError:
        channel.close()
        raise


def _reason(status: int) -> str:
    """Say how a process ended, from its exit code as `os.waitstatus_to_exitcode` gives it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-status}"


@dataclass(eq=False, slots=True)
class Supervisor:
    """Keeps the workers of one service; see the module."""

    settings: Settings
    listeners: Listeners
    workers: int
    notifier: Notifier
    open_generation: Callable[[], Resolver]
    resolver: Resolver = field(init=False)
    pages: Pages = field(init=False)
    slots: list[Slot] = field(init=False)
    processes: list[Process] = field(default_factory=list)
    _selector: selectors.BaseSelector = field(default_factory=selectors.PollSelector)  # epoll's would be shared by a fork
    _wake: tuple[socket.socket, socket.socket] = field(init=False)
    _had_terminal: bool = field(default_factory=_has_terminal)
    _serving: bool = False
    _ending: bool = False
    _hurried: bool = False
    _reload_wanted: bool = False
    _to_replace: list[Slot] = field(default_factory=list)
    _replacing: Slot | None = None
    _former: Resolver | None = None  # until the first worker serves the new generation: what to go back to
    _reload_began: float | None = None
    _looked_at: float = 0.0

    def __post_init__(self) -> None:
        """Make a page for every worker and for the successor that it may have while it finishes."""
        self.pages = Pages(2 * self.workers)
        self.slots = [Slot(number) for number in range(self.workers)]

    def run(self) -> None:
        """Open the data, and keep the workers until a signal has ended the service and all of them are gone."""
        self.resolver = self._open()
        try:
            with self._signals():
                self._share_memory()
                self._looked_at = time.monotonic()
                while not self._ending or self.processes:
                    self._look()
                    for key, _ in self._selector.select(self._until_next()):
                        key.data()
        finally:
            self._selector.close()
            self.resolver.close()
        logs.event(_log, logging.INFO, "stopped")

    # --- what wakes the loop

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into bytes that wake the loop."""
        hearing, waking = self._wake = socket.socketpair()
        hearing.setblocking(False)
        waking.setblocking(False)
        handlers = {number: signal.signal(number, _noted) for number in SIGNALS}
        former = signal.set_wakeup_fd(waking.fileno(), warn_on_full_buffer=False)
        self._selector.register(hearing, selectors.EVENT_READ, self._hear_signals)
        try:
            yield
        finally:
            signal.set_wakeup_fd(former)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            hearing.close()
            waking.close()

    def _hear_signals(self) -> None:
        try:
            received = self._wake[0].recv(4096)
        except BlockingIOError:
            return
        for number in received:
            if number in {signal.SIGTERM, signal.SIGINT}:
                self._end(signal.Signals(number))
            elif number == signal.SIGHUP:
                if self._had_terminal and not _has_terminal():
                    self._end(signal.SIGHUP)
                else:
                    self._reload_wanted = True

    def _hear(self, process: Process) -> None:
        """Read a worker's report."""
        try:
            message = process.channel.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._selector.unregister(process.channel)  # it is ending, and is reaped when it has
            return
        slot = self.slots[process.slot_number]
        match Report(message):
            case Report.READY if process is slot.starting:
                self._promote(slot, process)
            case Report.REPLACE if process is slot.current and slot not in self._to_replace:
                self._to_replace.append(slot)

    def _until_next(self) -> float:
        """Give the seconds to the next thing to do without being woken."""
        soon = [slot.fill_at for slot in self.slots if slot.current is slot.starting is None] if not self._ending else []
        soon += [process.kill_at for process in self.processes if process.kill_at is not None]
        return max(0.0, min([TICK_S, *(instant - time.monotonic() for instant in soon)]))

    # --- what is looked at on every turn

    def _look(self) -> None:
        self._reap()
        self._watch()
        if self._ending:
            return
        for slot in self.slots:
            if slot.current is slot.starting is None and time.monotonic() >= slot.fill_at:
                self._fork(slot)
        if self._reload_wanted and not self._to_replace and self._replacing is None:
            self._reload_wanted = False
            self._reload()
        if self._replacing is None and self._to_replace:
            self._replace_next()

    def _reap(self) -> None:
        for process in list(self.processes):
            pid, status = os.waitpid(process.pid, os.WNOHANG)
            if pid:
                self._bury(process, os.waitstatus_to_exitcode(status))

    def _watch(self) -> None:
        """Kill who has had its time, and who hangs. A standstill of the supervisor itself counts as one tick."""
        now = time.monotonic()
        passed_s, self._looked_at = min(now - self._looked_at, TICK_S), now
        for process in self.processes:
            heartbeat_ns = process.page.heartbeat_ns
            process.quiet_s = process.quiet_s + passed_s if heartbeat_ns == process.heartbeat_ns else 0.0
            process.heartbeat_ns = heartbeat_ns
            if process.quiet_s > self.settings.watchdog_timeout_s and not process.hung:
                process.hung = True
                self._tell(logging.ERROR, "worker_hung", process, quiet_s=round(process.quiet_s, 1))
                os.kill(process.pid, signal.SIGKILL)
            elif process.kill_at is not None and now >= process.kill_at:
                process.kill_at = None
                self._tell(logging.WARNING, "worker_killed", process, reason="it did not end in its time")
                os.kill(process.pid, signal.SIGKILL)

    # --- the life of a worker

    def _fork(self, slot: Slot) -> None:
        """Start a process in a slot; when there is no page for it, or the system has no process, try again later."""
        page = self.pages.take(slot.number, slot.restarts)
        if page is None:
            slot.fill_at = time.monotonic() + TICK_S
            return
        # Between the fork and its own handlers the child still has ours, which would wake us in its stead.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            ours, theirs = _channel()
            with theirs:
                if (pid := _fork_or_close(ours)) == 0:
                    self._become_worker(page, ours, theirs)
        except OSError as error:
            page.free()
            slot.quick_deaths += 1
            self._postpone(slot)
            logs.event(_log, logging.ERROR, "fork_failed", error, worker=slot.number, again_s=self._delay_s(slot))
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        page.pid = pid
        process = Process(pid, slot.number, page, ours, self.resolver.generation, time.monotonic())
        slot.starting = process
        self.processes.append(process)
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(process))

    def _become_worker(self, page: WorkerPage, ours: socket.socket, theirs: socket.socket) -> None:
        """Be the child: keep nothing of the supervisor's, serve, exit. Never returns."""
        status = 1
        try:
            page.pid = os.getpid()
            worker = Worker(self.resolver, self.settings, self.listeners, self.pages, page, theirs)
            # A copy of another worker's channel would hide the supervisor's end from it.
            for end in (ours, *self._wake, *(process.channel for process in self.processes)):
                end.close()
            self._former_is_past()
            status = worker.run()
        finally:
            os._exit(status)

    def _promote(self, slot: Slot, process: Process) -> None:
        """Let a process that serves take its place in the slot, and its predecessor retire."""
        process.ready_at = time.monotonic()
        predecessor, slot.current, slot.starting = slot.current, process, None
        if self._ending:
            return
        if predecessor is not None:
            predecessor.tell(Command.RETIRE)
            predecessor.kill_at = time.monotonic() + 2 * self.settings.shutdown_timeout_s + EXIT_MARGIN_S
        if slot.restarts or predecessor is not None:
            self._tell(logging.INFO, "worker_replaced", process, started_s=round(process.ready_at - process.forked_at, 3))
        if process.generation == self.resolver.generation:
            self._former_is_past()
        if self._replacing is slot:
            self._replacing = None
            if not self._to_replace:
                self._reloaded()
        if not self._serving and all(found.current for found in self.slots):
            self._serving = True
            facts = {"version": version("regionresolver"), "pid": os.getpid(), "workers": self.workers}
            logs.event(_log, logging.INFO, "serving", None, urls=self.listeners.urls, **facts)
            self.notifier.tell("READY=1", f"MAINPID={os.getpid()}", f"STATUS=serving with {self.workers} workers")

    def _bury(self, process: Process, status: int) -> None:
        """Take note of the end of a process: either it was asked for, or its slot needs another."""
        self.processes.remove(process)
        with suppress(KeyError):
            self._selector.unregister(process.channel)
        process.channel.close()
        process.page.free()
        slot = self.slots[process.slot_number]
        if process not in {slot.current, slot.starting}:
            return
        was_successor = process is slot.starting
        slot.current, slot.starting = (slot.current, None) if was_successor else (None, slot.starting)
        if self._ending:
            return
        slot.restarts += 1
        lived_s = time.monotonic() - process.ready_at if process.ready_at is not None else 0.0
        slot.quick_deaths = slot.quick_deaths + 1 if lived_s < HEALTHY_S else 0
        self._postpone(slot)
        self._tell(
            logging.ERROR,
            "worker_died",
            process,
            reason=_reason(status),
            while_starting=process.ready_at is None,
            lived_s=round(lived_s, 3),
            again_s=self._delay_s(slot),
        )
        if was_successor and self._replacing is slot:
            self._successor_failed(slot)

    def _postpone(self, slot: Slot) -> None:
        slot.fill_at = time.monotonic() + self._delay_s(slot)

    @staticmethod
    def _delay_s(slot: Slot) -> float:
        """Give the seconds before a slot is filled again: none after one death, doubled with each that follows quickly."""
        if slot.quick_deaths <= 1:
            return 0.0
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(slot.quick_deaths - 2, 32))

    # --- a new generation

    def _reload(self) -> None:
        """Open data and policy anew, and plan a successor for every worker; a refusal changes nothing but the log."""
        began = time.monotonic()
        self.notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        logs.event(_log, logging.INFO, "reloading")
        try:
            resolver = self._open()
        except RegionResolverError as error:
            self._reload_failed(str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the old generation serves on
            self._reload_failed("an unexpected error", error)
            return
        self._former, self.resolver, self._reload_began = self.resolver, resolver, began
        self._share_memory()
        self._to_replace = list(self.slots)

    def _open(self) -> Resolver:
        resolver = self.open_generation()
        for warning in resolver.warnings:
            logs.event(_log, logging.WARNING, "generation_warning", data=resolver.generation, detail=warning)
        return resolver

    def _replace_next(self) -> None:
        """Start the next successor, when there is a page for it; one that starts with the generation anyway will do."""
        slot = self._to_replace[0]
        if slot.starting is None and time.monotonic() >= slot.fill_at:
            self._fork(slot)
        if slot.starting is not None and slot.starting.generation == self.resolver.generation:
            self._replacing = self._to_replace.pop(0)

    def _successor_failed(self, slot: Slot) -> None:
        """Go back to the former generation when no worker has served the new one; else try again."""
        self._replacing = None
        if self._former is None:
            self._to_replace.insert(0, slot)
            return
        refused, self.resolver, self._former = self.resolver, self._former, None
        self._to_replace.clear()
        for process in self.processes:
            if process.generation == refused.generation:  # in the place of one that died meanwhile
                os.kill(process.pid, signal.SIGKILL)
        _discard(refused)
        self._reload_failed("no worker starts with the new generation")

    def _former_is_past(self) -> None:
        if self._former is not None:
            _discard(self._former)
            self._former = None

    def _reloaded(self) -> None:
        if self._reload_began is None:  # one worker was replaced at its own wish
            return
        took_s, self._reload_began = round(time.monotonic() - self._reload_began, 3), None
        logs.event(_log, logging.INFO, "reloaded", data=self.resolver.generation, took_s=took_s)
        self.notifier.tell("READY=1", f"STATUS=serving generation {self.resolver.generation}")

    def _reload_failed(self, detail: str, error: Exception | None = None) -> None:
        self._reload_began = None
        logs.event(_log, logging.ERROR, "reload_failed", error, detail=detail, data=self.resolver.generation)
        self.notifier.tell("READY=1", f"STATUS=reload failed, still serving generation {self.resolver.generation}")

    # --- the end

    def _end(self, received: signal.Signals) -> None:
        """Begin to end, or be quicker about it."""
        settings = self.settings
        if self._hurried:
            for process in self.processes:
                process.kill_at = time.monotonic()
            return
        self._hurried = self._ending or received is not signal.SIGTERM
        delay_s = 0.0 if self._hurried else settings.drain_delay_s
        if not self._ending:
            self._ending = True
            logs.event(_log, logging.INFO, "draining", signal=received.name, delay_s=delay_s)
            self.notifier.tell("STOPPING=1", f"STATUS=draining for {delay_s:g} s")
            self.listeners.close()  # the workers hold theirs; the last to close each queue must be one that reads it
        command = Command.HURRY if self._hurried else Command.DRAIN
        for process in self.processes:
            process.tell(command)
            process.kill_at = time.monotonic() + delay_s + IDLE_GRACE_S + 2 * settings.shutdown_timeout_s + EXIT_MARGIN_S

    def _share_memory(self) -> None:
        """Put what there is where the collector does not look: looking would copy the pages that the workers share."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    @staticmethod
    def _tell(level: int, name: str, process: Process, **fields: object) -> None:
        logs.event(_log, level, name, None, worker=process.slot_number, pid=process.pid, **fields)
