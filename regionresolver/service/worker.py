"""One worker: a forked process that serves until its supervisor tells it how to end, or is gone.

It reports to its supervisor, and does what that commands, over a `channel`. A worker ignores the signals that a terminal
sends to all processes in the foreground: what they mean is the supervisor's to decide. SIGTERM, sent to one worker alone,
asks the supervisor for a successor.
"""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson
import uvloop

from regionresolver.resolver import Resolver
from regionresolver.service import channel, logs
from regionresolver.service.access import Access
from regionresolver.service.app import make_app
from regionresolver.service.channel import Command, Report
from regionresolver.service.pages import Pages, State, WorkerPage
from regionresolver.service.server import Acceptor, serving
from regionresolver.service.sockets import Listeners
from regionresolver.service.state import STATE, ServiceState
from regionresolver.service.successor import Successor
from regionresolver.service.tls import Tls
from regionresolver.settings import Settings

HEARTBEAT_S = 0.5

# A worker whose loop has not turned for so long gets help: its siblings take the connections in its queue.
ATTENDED_S = 2.0

# A worker that hangs and has lost its supervisor, which would kill it, is ended by the kernel: SIGALRM, so much later than
# twice the supervisor's own patience.
ALONE_MARGIN_S = 5.0

# How long a client between two requests gets to ask once more when the service ends without a drain delay.
IDLE_GRACE_S = 1.0

_log = logging.getLogger("regionresolver.service")


@dataclass(eq=False, slots=True)
class Worker:
    """What a worker is made of; all of it from before the fork. `resolver` is its first generation, until it serves."""

    resolver: Resolver
    settings: Settings
    listeners: Listeners
    pages: Pages
    page: WorkerPage
    channel: socket.socket
    latest_reload: Mapping[str, object] | None = None
    access: Access | None = None
    tls: Tls | None = None

    def run(self) -> int:
        """Serve, in the forked process; give its exit status. The signals are blocked when this is called."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGCHLD, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        try:
            uvloop.run(self.serve())
        except Exception as error:  # noqa: BLE001 - the last one to tell it
            logs.event(_log, logging.ERROR, "worker_failed", error, worker=self.page.worker, pid=self.page.pid)
            return 1
        return 0

    async def serve(self) -> None:
        """Serve until the supervisor tells otherwise."""
        app = make_app(self.resolver, self.settings, self.page)
        state = app[STATE]
        state.siblings, state.latest_reload = self.pages.alive, self.latest_reload
        self.page.generation = self.resolver.serial
        del self.resolver  # a later generation takes its place, and then nothing may hold it
        loop = asyncio.get_running_loop()
        sockets = self.listeners.of(self.page.worker)
        async with serving(app, self.settings, sockets, self.listeners.admin, self.access, self.tls) as acceptor:
            beating = loop.create_task(self._beat())
            attending = loop.create_task(self._attend_queues(acceptor))
            hearing = _Hearing(self, _End(self, state, acceptor, attending, asyncio.Event()), Successor(state, self._report))
            loop.add_reader(self.channel, hearing.hear)
            loop.add_signal_handler(signal.SIGTERM, self._report, Report.REPLACE)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self.page.state = State.SERVING
            self._report(Report.READY)
            await hearing.end.come.wait()
        beating.cancel()

    def _report(self, report: Report, generation: str = "") -> None:
        channel.send(self.channel, f"{report.value.decode()} {generation}".rstrip().encode())

    async def _beat(self) -> None:
        """Say that the loop turns: to the supervisor, and to the kernel, which else ends a worker that nobody watches."""
        alone_s = 2 * self.settings.watchdog_timeout_s + ALONE_MARGIN_S
        while True:
            self.page.beat()
            signal.setitimer(signal.ITIMER_REAL, alone_s)
            await asyncio.sleep(HEARTBEAT_S)

    async def _attend_queues(self, acceptor: Acceptor) -> None:
        """Take the connections that wait for a worker that is dead or hangs, until its successor does."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            for worker, sockets in enumerate(self.listeners.own):
                if worker == self.page.worker:
                    continue
                attended = self.pages.attended(worker, ATTENDED_S)
                for listener in sockets:
                    if attended:
                        acceptor.leave(listener)
                    else:
                        with suppress(OSError):  # no descriptor is free now: the next turn tries again
                            await acceptor.accept_from(listener)


@dataclass(slots=True)
class _Hearing:
    """Does what the supervisor says."""

    worker: Worker
    end: "_End"
    successor: Successor

    def hear(self) -> None:
        """Read the channel; without a supervisor, end soon: the next one needs the port."""
        found = channel.receive(self.worker.channel)
        if found is None:
            return
        message, descriptors = found
        word, _, told = message.partition(b" ")
        match Command(word) if word else None:
            case None:
                asyncio.get_running_loop().remove_reader(self.worker.channel)
                page = self.worker.page
                logs.event(_log, logging.ERROR, "supervisor_gone", worker=page.worker, pid=page.pid)
                self.end.begin(Command.HURRY)
            case Command.PREPARE:
                self.successor.prepare(descriptors)
            case Command.SWAP:
                self.successor.swap()
            case Command.FORGET:
                self.successor.forget()
            case Command.TOLD:
                self.end.state.latest_reload = orjson.loads(told)
            case command:
                self.end.begin(command)


@dataclass(slots=True)
class _End:
    """How a worker ends. `come` is set when it shall take no more connections."""

    worker: Worker
    state: ServiceState
    acceptor: Acceptor
    attending: asyncio.Task[None]
    come: asyncio.Event

    def begin(self, command: Command) -> None:
        """Begin to end, or be quicker about it."""
        settings, now = self.worker.settings, time.monotonic()
        self.state.end_connections()
        self.state.page.state = State.ENDING
        self._let_go_of_queues()
        if command is Command.RETIRE:
            self.acceptor.idle_until = now + settings.shutdown_timeout_s
            self.come.set()
            return
        self.state.draining = True
        if command is Command.DRAIN and not self.come.is_set():
            self.acceptor.idle_until = now + max(settings.drain_delay_s, IDLE_GRACE_S)
            asyncio.get_running_loop().call_later(settings.drain_delay_s, self.come.set)
        else:
            self.acceptor.idle_until = now
            self.come.set()

    def _let_go_of_queues(self) -> None:
        """Close the queues of others, so that the last one to read each is also the last to hold it open."""
        self.attending.cancel()
        for listener in (found for sockets in self.worker.listeners.own for found in sockets):
            if not self.acceptor.accepts_from(listener):
                listener.close()
