"""The supervisor: opens the sockets and the data once, forks the workers, and sees to it that there are enough of them.

It is a plain loop without asyncio and without threads, for it forks: wait for a signal, a message or the next deadline,
then look at everything. A signal only wakes it (`signal.set_wakeup_fd`); every child is then asked whether it has ended,
so that no order of signals loses one.

    start        a worker is `starting` until it reports READY; then it is the slot's worker, and its predecessor retires
    death        the slot is filled again at once; after deaths in quick succession later and later (`_delay_s`)
    hang         a worker whose heartbeat stands still for `watchdog_timeout_s` is killed, which is a death
    SIGHUP       a new generation of data and policy is built aside, and every worker swaps to it (`rollover`); is it
                 refused, nothing changes
    control      SIGHUP for people who want to know the outcome, and how the service is (`control`)
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from math import ceil
from pathlib import Path

import orjson

from regionresolver.errors import PolicyError, ServeError
from regionresolver.resolver import Resolver, now
from regionresolver.resolver.parcel import Parcel, unpack
from regionresolver.service import channel, logs, metrics
from regionresolver.service.access import Access, open_access
from regionresolver.service.builder import Builder, reason, start
from regionresolver.service.channel import Command, Report
from regionresolver.service.checks import check_generation
from regionresolver.service.control import Asker, Control
from regionresolver.service.decision_log import check_directory
from regionresolver.service.pages import Pages, WorkerPage
from regionresolver.service.processes import Process, Slot, resident_bytes
from regionresolver.service.rollover import Rollover
from regionresolver.service.sockets import Listeners, listening
from regionresolver.service.systemd import Notifier
from regionresolver.service.tls import Tls, open_tls
from regionresolver.service.watch import Watcher, start_watcher, watched_files
from regionresolver.service.worker import IDLE_GRACE_S, Worker
from regionresolver.settings import Settings

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

TICK_S = 0.25

# A worker that served for so long was no failed start. Short, so that one that is killed every second is still replaced
# at once; what dies faster would cost the machine more than it serves.
HEALTHY_S = 0.5
WATCHER_DELAY_S = 5.0

# What a worker may take to exit beyond the time that its connections get.
EXIT_MARGIN_S = 5.0

_log = logging.getLogger("regionresolver.service")


OpenGeneration = Callable[[int], Resolver]
"""Opens data and policy as the generation of a number. Raises RegionResolverError."""


def run(settings: Settings, open_generation: OpenGeneration) -> None:
    """Serve until a signal ends it. Raises ServeError, DatabaseError and PolicyError before the first answer.

    `open_generation` opens data and policy: here once, at the start, and then in a child at each reload.
    """
    logs.configure(settings.log_level, settings.log_format, access=settings.access_log, share=settings.access_log_share)
    check_directory(settings)
    notifier = Notifier()
    workers = worker_count(settings)
    settings = settings.model_copy(update={"workers": workers})
    with listening(settings, workers) as listeners, _controlled(settings, listeners) as control:
        _warn_exposed(settings, listeners)
        # Read here: what cannot be used is told now, and a file that breaks later keeps no worker from being replaced.
        access, tls = open_access(settings), open_tls(settings)
        Supervisor(settings, listeners, workers, notifier, open_generation, control, access, tls).run()


@contextmanager
def _controlled(settings: Settings, listeners: Listeners) -> Iterator[Control | None]:
    """Listen for commands; without a socket that was asked for by name, the service does without. Raises ServeError."""
    try:
        control = Control.open(settings, listeners.port)
    except ServeError as error:
        if settings.control_socket is not None:
            raise
        logs.event(_log, logging.WARNING, "control_off", None, detail=str(error))
        yield None
        return
    try:
        yield control
    finally:
        control.close()


def _warn_exposed(settings: Settings, listeners: Listeners) -> None:
    """Say so where other machines may ask without a key, or in the clear."""
    without = [
        name for name, value in (("api_keys", settings.api_keys), ("tls_certificate", settings.tls_certificate)) if value is None
    ]
    if without and listeners.exposed:
        logs.event(_log, logging.WARNING, "exposed", None, urls=listeners.exposed, without=without)


def _admin_urls(listeners: Listeners) -> dict[str, object]:
    return {"admin_urls": listeners.admin_urls} if listeners.admin else {}


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


def _noted(number: int, frame: object) -> None:
    """Do nothing: the signal's byte wakes the loop."""


def _has_terminal() -> bool:
    """Say whether the process has a controlling terminal: SIGHUP from one that was closed ends a service in the foreground."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


@dataclass(eq=False, slots=True)
class Supervisor:
    """Keeps the workers of one service; see the module."""

    settings: Settings
    listeners: Listeners
    workers: int
    notifier: Notifier
    open_generation: OpenGeneration
    control: Control | None
    access: Access | None = None
    tls: Tls | None = None
    resolver: Resolver = field(init=False)  # the generation that workers are forked with
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
    _is_forced: bool = False
    _askers: list[Asker] = field(default_factory=list)  # who is yet to say what it wants, and who waits for the next reload
    _latest_reload: dict[str, object] | None = None
    _watcher: Watcher | None = None
    _serial: int = 1  # of the latest generation that was built
    _rollover: Rollover | None = None
    _to_replace: list[Slot] = field(default_factory=list)
    _looked_at: float = 0.0
    _watch_from: float = 0.0

    def __post_init__(self) -> None:
        """Make a page for every worker and for the successor that it may have while it finishes."""
        self.pages = Pages(2 * self.workers, self.workers)
        self.slots = [Slot(number) for number in range(self.workers)]

    def run(self) -> None:
        """Open the data, and keep the workers until a signal has ended the service and all of them are gone."""
        self.resolver = self.open_generation(1)
        check_generation(self.resolver, self.settings)
        self.resolver.remember_policy(self.settings.policy_state)
        self._tell_warnings(self.resolver)
        try:
            with self._signals():
                self._share_memory()
                if self.control is not None:
                    self._selector.register(self.control.listener, selectors.EVENT_READ, self._hear_control)
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
        found = channel.receive(process.channel)
        if found is None:
            return
        if not found[0]:
            self._selector.unregister(process.channel)  # it is ending, and is reaped when it has
            return
        word, _, generation = found[0].decode("ascii").partition(" ")
        slot, rollover = self.slots[process.slot_number], self._rollover
        match Report(word.encode("ascii")):
            case Report.READY if process is slot.starting:
                self._promote(slot, process)
            case Report.REPLACE if process is slot.current and slot not in self._to_replace:
                self._to_replace.append(slot)
            case Report.PREPARED if rollover is not None:
                rollover.prepared(process, generation)
            case Report.REFUSED if rollover is not None and process in rollover.preparing and not rollover.is_decided:
                self._reload_failed(f"worker {process.slot_number} cannot open the new generation")
            case Report.SWAPPED:
                process.generation = generation

    def _hear_control(self) -> None:
        if self.control is not None and (asker := self.control.accept()) is not None:
            self._askers.append(asker)
            self._selector.register(asker.connection, selectors.EVENT_READ, lambda: self._hear_asker(asker))

    def _hear_asker(self, asker: Asker) -> None:
        """Read what a client of the control socket wants."""
        if asker.hear():
            return
        self._selector.unregister(asker.connection)
        match asker.request:
            case {"do": "reload", **further} if not self._ending:
                self._reload_wanted, self._is_forced = True, self._is_forced or further.get("force") is True
                return
            case {"do": "status"}:
                asker.answer(self._status())
            case _:
                asker.leave()
        self._askers.remove(asker)

    def _until_next(self) -> float:
        """Give the seconds to the next thing to do without being woken."""
        soon = [slot.fill_at for slot in self.slots if slot.is_empty] if not self._ending else []
        soon += [process.kill_at for process in self.processes if process.kill_at is not None]
        return max(0.0, min([TICK_S, *(instant - time.monotonic() for instant in soon)]))

    # --- what is looked at on every turn

    def _look(self) -> None:
        self._reap()
        self._watch()
        if self._ending:
            return
        if self.settings.watch and self._serving:
            self._see_to_the_watcher()
        for slot in self.slots:
            if slot.is_empty and time.monotonic() >= slot.fill_at:
                self._fork(slot)
        if self._rollover is not None:
            self._go_on(self._rollover)
        elif self._reload_wanted and self._serving:
            self._reload_wanted = False
            self._reload()
        for slot in [found for found in self._to_replace if found.starting is None and time.monotonic() >= found.fill_at]:
            self._fork(slot)
            if slot.starting is not None:
                self._to_replace.remove(slot)

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
                process.kill()
            elif process.kill_at is not None and now >= process.kill_at:
                process.kill_at = None
                self._tell(logging.WARNING, "worker_killed", process, reason="it did not end in its time")
                process.kill()

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
            ours, theirs = channel.pair()
            with theirs:
                if (pid := channel.fork_or_close(ours)) == 0:
                    self._become_worker(page, ours, theirs)
        except OSError as error:
            page.free()
            slot.quick_deaths += 1
            slot.postpone()
            logs.event(_log, logging.ERROR, "fork_failed", error, worker=slot.number, again_s=slot.delay_s)
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
            for found in (self.access, self.tls):
                if found is not None:
                    found.reread.look()
            worker = Worker(
                self.resolver, self.settings, self.listeners, self.pages, page, theirs, self._latest_reload, self.access, self.tls
            )
            # A copy of another worker's channel would hide the supervisor's end from it.
            for end in (ours, *self._ends()):
                end.close()
            self._rollover = None
            del self.resolver
            status = worker.run()
        finally:
            os._exit(status)

    def _ends(self) -> list[socket.socket]:
        """Give the sockets of the supervisor alone, which no child may hold open."""
        found = [*self._wake, *(process.channel for process in self.processes), *(asker.connection for asker in self._askers)]
        if self._rollover is not None:
            found += [self._rollover.builder.end, *(asker.connection for asker in self._rollover.askers)]
        if self._watcher is not None:
            found.append(self._watcher.end)
        if self.control is not None:
            found.append(self.control.listener)
        return found

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
        if self._rollover is not None:
            self._rollover.ask(process)
        if not self._serving and all(found.current for found in self.slots):
            self._serving = True
            facts = {"version": version("regionresolver"), "pid": os.getpid(), "workers": self.workers}
            logs.event(_log, logging.INFO, "serving", None, urls=self.listeners.urls, **facts, **_admin_urls(self.listeners))
            self.notifier.tell("READY=1", f"MAINPID={os.getpid()}", f"STATUS=serving with {self.workers} workers")

    def _bury(self, process: Process, status: int) -> None:
        """Take note of the end of a process: either it was asked for, or its slot needs another."""
        self.processes.remove(process)
        with suppress(KeyError):
            self._selector.unregister(process.channel)
        process.channel.close()
        process.page.free()
        if self._rollover is not None:
            self._rollover.died(process)
        slot = self.slots[process.slot_number]
        if process not in {slot.current, slot.starting}:
            return
        if process is slot.current and slot in self._to_replace:
            self._to_replace.remove(slot)
        was_successor = process is slot.starting
        slot.current, slot.starting = (slot.current, None) if was_successor else (None, slot.starting)
        if self._ending:
            return
        slot.restarts += 1
        self.pages.supervisor.count(metrics.WORKER_RESTARTS)
        lived_s = time.monotonic() - process.ready_at if process.ready_at is not None else 0.0
        slot.quick_deaths = slot.quick_deaths + 1 if lived_s < HEALTHY_S else 0
        slot.postpone()
        self._tell(
            logging.ERROR,
            "worker_died",
            process,
            reason=reason(status),
            while_starting=process.ready_at is None,
            lived_s=round(lived_s, 3),
            again_s=slot.delay_s,
        )
        if was_successor and slot.current is not None:
            self._to_replace.append(slot)  # its predecessor was asked to go

    # --- a new generation

    def _reload(self) -> None:
        """Begin to build a new generation."""
        serial, served = self._serial + 1, None if self._is_forced else self.resolver
        askers = [asker for asker in self._askers if asker.request is not None]
        self._askers = [asker for asker in self._askers if asker.request is None]
        self._is_forced = False
        self.notifier.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        logs.event(_log, logging.INFO, "reloading")
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            timeout_s = self.settings.reload_timeout_s
            builder = start(lambda: self._build(serial, served), timeout_s, [*self._ends(), *(one.connection for one in askers)])
        except OSError as error:
            self._reload_failed("the system has no process to build it in", logs.describe(error), askers)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._rollover = Rollover(builder, builder.kill_at, askers)
        self._selector.register(builder.end, selectors.EVENT_READ, lambda: self._hear_builder(builder))

    def _build(self, serial: int, served: Resolver | None) -> Resolver:
        """Open and check a generation; called in the builder."""
        resolver = self.open_generation(serial)
        check_generation(resolver, self.settings, served)
        resolver.follow(self.resolver)
        return resolver

    def _hear_builder(self, builder: Builder) -> None:
        if not builder.hear():
            self._selector.unregister(builder.end)

    def _go_on(self, rollover: Rollover) -> None:
        """Take the next step, when it is time for it."""
        if rollover.resolver is None:
            if rollover.builder.has_ended():
                self._built(rollover, rollover.builder)
        elif rollover.fault is not None:
            self._reload_failed(rollover.fault)
        elif not rollover.is_decided:
            name = rollover.resolver.generation
            if all(slot.current is not None and slot.current.prepared == name for slot in self.slots):
                self._decide(rollover, rollover.resolver)
        elif all(found.generation == self.resolver.generation for found in self._lasting):
            self._reloaded(rollover)
        elif time.monotonic() > rollover.deadline:
            for process in self._lasting:
                if process.generation != self.resolver.generation:
                    process.kill()

    @property
    def _lasting(self) -> list[Process]:
        """Who serves, and who is about to; without those who only finish what they have in hand."""
        return [process for slot in self.slots for process in (slot.current, slot.starting) if process is not None]

    def _built(self, rollover: Rollover, builder: Builder) -> None:
        """Take what the builder has made: open it here, for the workers to come, and let those there are open it."""
        with suppress(KeyError):
            self._selector.unregister(builder.end)
        builder.end.close()
        outcome = builder.outcome
        if not isinstance(outcome, Parcel):
            if outcome is not None:
                self._reload_failed(outcome.detail, outcome.described)
            return
        try:
            resolver = unpack(outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, the old generation serves on
            self._reload_failed("the new generation cannot be opened", logs.describe(error))
            return
        self._serial = resolver.serial
        self._tell_warnings(resolver)
        rollover.prepare(resolver, outcome, [slot.current for slot in self.slots if slot.current is not None])

    def _decide(self, rollover: Rollover, resolver: Resolver) -> None:
        """Make the new generation that of the service, unless the version of its policy cannot be remembered."""
        try:
            resolver.remember_policy(self.settings.policy_state)
        except PolicyError as error:
            self._reload_failed(str(error), logs.describe(error))
            return
        self.resolver = resolver
        rollover.decide(self.processes)
        self._share_memory()

    def _reloaded(self, rollover: Rollover) -> None:
        took_s, self._rollover = round(time.monotonic() - rollover.began, 3), None
        logs.event(_log, logging.INFO, "reloaded", data=self.resolver.generation, took_s=took_s)
        told = {"outcome": "reloaded", "data": self.resolver.generation, "policy": self.resolver.policy.label, "took_s": took_s}
        self._tell_outcome(told | {"warnings": list(self.resolver.warnings)}, rollover.askers)
        self.notifier.tell("READY=1", f"STATUS=serving generation {self.resolver.generation}")

    def _reload_failed(self, detail: str, described: Mapping[str, object] | None = None, askers: Sequence[Asker] = ()) -> None:
        if self._rollover is not None:
            self._rollover.give_up(self.processes)
            askers, self._rollover = self._rollover.askers, None
        fields = {"detail": detail, "data": self.resolver.generation} | dict(described or {})
        _log.error("reload_failed", extra={"fields": fields})
        self._tell_outcome({"outcome": "failed", "detail": detail, "data": self.resolver.generation}, askers)
        self.notifier.tell("READY=1", f"STATUS=reload failed, still serving generation {self.resolver.generation}")

    def _tell_outcome(self, told: dict[str, object], askers: Sequence[Asker]) -> None:
        """Tell how a reload ended: who waits for it, and every worker, for /readyz."""
        for asker in askers:
            asker.answer(told)
        self.pages.supervisor.count(metrics.RELOADS, "succeeded" if told["outcome"] == "reloaded" else "failed")
        self._latest_reload = {key: value for key, value in told.items() if key != "warnings"} | {"at": now().isoformat()}
        for process in self.processes:
            channel.send(process.channel, Command.TOLD.value + b" " + orjson.dumps(self._latest_reload))

    def _see_to_the_watcher(self) -> None:
        """Start the watcher, and again when it has died; one that has died says so in the log."""
        if self._watcher is not None and self._watcher.has_ended():
            with suppress(KeyError):
                self._selector.unregister(self._watcher.end)
            self._watcher.end.close()
            logs.event(_log, logging.ERROR, "watcher_died", pid=self._watcher.pid, again_s=WATCHER_DELAY_S)
            self._watcher, self._watch_from = None, time.monotonic() + WATCHER_DELAY_S
            self._reload_wanted = True  # what has changed meanwhile was not seen
        files = watched_files(self.settings)
        if self._watcher is not None or not files or time.monotonic() < self._watch_from:
            return
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            watcher = self._watcher = start_watcher(files, self._ends())
        except OSError as error:
            logs.event(_log, logging.ERROR, "fork_failed", error)
            self._watch_from = time.monotonic() + WATCHER_DELAY_S
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._selector.register(watcher.end, selectors.EVENT_READ, lambda: self._hear_watcher(watcher))

    def _hear_watcher(self, watcher: Watcher) -> None:
        found = channel.receive(watcher.end)
        if found is not None and found[0]:
            logs.event(_log, logging.INFO, "files_changed")
            self._reload_wanted = True
        elif found is not None:
            self._selector.unregister(watcher.end)

    def _status(self) -> dict[str, object]:
        """Say how the service is, as the command `status` shows it."""
        return {
            "version": version("regionresolver"),
            "pid": os.getpid(),
            "urls": list(self.listeners.urls),
            "state": "draining" if self._ending else "serving" if self._serving else "starting",
            "data": self.resolver.generation,
            "policy": self.resolver.policy.label,
            "sources": [{"name": one.name, "build_epoch": one.build_epoch} for one in self.resolver.index.sources],
            "reloading": self._rollover is not None,
            "latest_reload": self._latest_reload,
            "workers": [self._told_of(process) for process in self.processes],
        }

    def _told_of(self, process: Process) -> dict[str, object]:
        slot, page = self.slots[process.slot_number], process.page
        return {
            "index": process.slot_number,
            "pid": process.pid,
            "state": page.state.name.lower(),
            "retires": process is not slot.current and process is not slot.starting,
            "data": process.generation,
            "restarts": page.restarts,
            "up_s": round(time.monotonic() - process.forked_at, 1),
            "heartbeat_s": round((time.monotonic_ns() - page.heartbeat_ns) / 1e9, 2),
            "in_flight": page.in_flight,
            "rss_bytes": resident_bytes(process.pid),
        }

    @staticmethod
    def _tell_warnings(resolver: Resolver) -> None:
        for warning in resolver.warnings:
            logs.event(_log, logging.WARNING, "generation_warning", data=resolver.generation, detail=warning)

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
            self._leave_aside()
            logs.event(_log, logging.INFO, "draining", signal=received.name, delay_s=delay_s)
            self.notifier.tell("STOPPING=1", f"STATUS=draining for {delay_s:g} s")
            self.listeners.close()  # the workers hold theirs; the last to close each queue must be one that reads it
        command = Command.HURRY if self._hurried else Command.DRAIN
        for process in self.processes:
            process.tell(command)
            process.kill_at = time.monotonic() + delay_s + IDLE_GRACE_S + 2 * settings.shutdown_timeout_s + EXIT_MARGIN_S

    def _leave_aside(self) -> None:
        """End what is not needed for the end."""
        askers, self._askers = self._askers, []
        if self._rollover is not None:
            self._rollover.builder.kill()
            askers += self._rollover.askers
        for asker in askers:
            with suppress(KeyError):
                self._selector.unregister(asker.connection)
            asker.answer({"outcome": "failed", "detail": "the service ends", "data": self.resolver.generation})
        if self._watcher is not None:
            self._watcher.kill()

    def _share_memory(self) -> None:
        """Put what there is where the collector does not look: looking would copy the pages that the workers share."""
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    @staticmethod
    def _tell(level: int, name: str, process: Process, **fields: object) -> None:
        logs.event(_log, level, name, None, worker=process.slot_number, pid=process.pid, **fields)
