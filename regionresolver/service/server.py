"""Accept connections, serve them, finish them: the part of a worker that has to do with HTTP.

A worker that goes first stops to accept. Each answer from then on ends its connection; a client that is between two
requests gets a while to ask once more, for a bare close could meet its request on the way. Then the requests in hand are
finished.
"""

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from aiohttp import web

from regionresolver.errors import ServeError
from regionresolver.resolver import Resolver
from regionresolver.resolver.recorder import Recorder
from regionresolver.service import breaker, counting, logs, metrics
from regionresolver.service.access import Access, open_access
from regionresolver.service.answering import surround
from regionresolver.service.app import ROUTES
from regionresolver.service.asked import factory
from regionresolver.service.connection import AdminConnection, Connection
from regionresolver.service.decision_log import LogWriter
from regionresolver.service.protocol import Front, Fronts, why_not
from regionresolver.service.routing import Routes
from regionresolver.service.sockets import BACKLOG
from regionresolver.service.state import STATE, ServiceState
from regionresolver.service.tls import Tls, open_tls
from regionresolver.settings import Settings

POLL_S = 0.01

# `_finish` has given the requests in hand their time. What goes on is cut, for which aiohttp waits twice so long.
CUT_S = 0.1

Connect = Callable[[], asyncio.BaseProtocol]

_log = logging.getLogger("regionresolver.service")


@dataclass(slots=True)
class Acceptor:
    """Takes connections from listening sockets for one application.

    `fronts` is what the connections share, where they have a lane. `idle_until`: the instant (`time.monotonic`) until which
    idle connections may live on when the acceptor ends.
    """

    connect: Connect
    fronts: Fronts
    idle_until: float = 0.0
    tls: ssl.SSLContext | None = None
    tls_timeout_s: float | None = None
    _accepting: dict[socket.socket, tuple[asyncio.Server, Connect]] = field(default_factory=dict)

    async def accept_from(self, listener: socket.socket, connect: Connect | None = None) -> None:
        """Take the connections of a listening socket, which stays the caller's; `connect` makes them (None: as all)."""
        if listener in self._accepting:
            return
        loop, copy = asyncio.get_running_loop(), listener.dup()
        make = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        connect = connect or self.connect
        self._accepting[listener] = await make(connect, sock=copy, **self._tls_of(listener, connect)), connect

    def _tls_of(self, listener: socket.socket, connect: Connect) -> dict[str, Any]:
        """Give what asyncio is told of TLS, which is spoken on TCP and not with operators."""
        if self.tls is None or listener.family == socket.AF_UNIX or connect is not self.connect:
            return {}
        return {"ssl": self.tls, "ssl_handshake_timeout": self.tls_timeout_s}

    def accepts_from(self, listener: socket.socket) -> bool:
        """Say whether a listening socket's connections are taken here."""
        return listener in self._accepting

    def leave(self, listener: socket.socket) -> None:
        """Take no more of a socket's connections: what waits in its queue is for others."""
        if (found := self._accepting.pop(listener, None)) is not None:
            found[0].close()

    async def end(self) -> None:
        """Take no more connections but those that the kernel has made already, and close the sockets.

        For these clients the connection stands, and they may have sent their requests: a bare close would reset them.
        """
        loop = asyncio.get_running_loop()
        listeners = {listener: connect for listener, (_, connect) in self._accepting.items()}
        for listener in listeners:
            self.leave(listener)
        waiting = [
            loop.connect_accepted_socket(connect, client, **self._tls_of(listener, connect))
            for listener, connect in listeners.items()
            for client in _close_queue(listener)
        ]
        await asyncio.gather(*waiting, return_exceptions=True)


@asynccontextmanager
async def serving(
    app: web.Application,
    settings: Settings,
    listeners: Iterable[socket.socket],
    admin: Iterable[socket.socket] = (),
    access: Access | None = None,
    tls: Tls | None = None,
) -> AsyncIterator[Acceptor]:
    """Serve `app` on listening sockets while the context lasts; at its end finish what is in hand, and close them.

    `admin` are those for operators. `access` and `tls` are what the settings say, opened here where they are not given. Raises
    ServeError, SettingsError.
    """
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(app, shutdown_timeout=CUT_S)
    await runner.setup()
    server = runner.server
    if server is None:
        raise ServeError("the application did not start")
    state = app[STATE]
    server.request_factory = factory(state, loop, settings.body_limit_bytes)
    server.request_handler = surround(server.request_handler, Routes(ROUTES), state)

    fronts = Fronts(state.resolver, server, settings, loop, state.pressure)
    state.texts = fronts.lane.texts
    without_lane = await why_not(state.resolver, server, settings)
    if without_lane is not None:
        logs.event(_log, logging.WARNING if settings.lane else logging.INFO, "lane_off", why=without_lane)

    def connect() -> Front | Connection:
        return fronts.connect() if without_lane is None else Connection(server, settings, loop, page=state.page)

    state.access = access or open_access(settings)  # now: the lane's self-test shows no key
    if state.access is not None:
        state.access.told = partial(state.page.count, metrics.REFUSED)
    tls = tls or open_tls(settings)
    watching = [loop.create_task(found.reread.keep_looking()) for found in (state.access, tls) if found is not None]
    fronts.lane.keys = None if state.access is None else state.access.ring
    fronts.log_requests()
    log = _begin_log(state, fronts)
    # From here on: what the self-test asked is nobody's.
    counting.learn_routes(state.page, app)
    breaker.adopt(state.page, state.resolver)
    await asyncio.to_thread(breaker.check, state.page, state.resolver)  # a trip holds from the first answer on
    fronts.count_in(state.page)
    fronts.take_batches(state)
    state.lane = partial(_tell_lane, fronts, without_lane)
    state.on_ending = fronts.leave_to_aiohttp

    def use(before: Resolver, resolver: Resolver) -> None:
        breaker.adopt(state.page, resolver, before)
        state.texts = fronts.use(resolver)
        if state.recorder is not None:
            state.recorder.forget()

    state.on_swap.append(use)
    fronts.start()
    state.pressure.start(loop)

    def connect_admin() -> AdminConnection:
        return AdminConnection(server, settings, loop, page=state.page)

    acceptor = Acceptor(connect, fronts, tls=tls.context if tls else None, tls_timeout_s=settings.head_timeout_s)
    for listener in listeners:
        await acceptor.accept_from(listener)
    for listener in admin:
        await acceptor.accept_from(listener, connect_admin)
    try:
        yield acceptor
    finally:
        state.end_connections()
        await acceptor.end()
        await _finish(server, acceptor, settings.shutdown_timeout_s)
        await runner.cleanup()
        fronts.stop()
        state.pressure.stop()
        for task in watching:
            task.cancel()
        if log is not None:
            await asyncio.to_thread(log.end)


def _begin_log(state: ServiceState, fronts: Fronts) -> LogWriter | None:
    """Let decisions be logged from now on, if they are to be; what the lane's self-test decided is not."""
    mode = state.settings.decision_log
    if mode == "off":
        return None
    recorder = Recorder(mode, state.settings.decision_log_share, _power_of_two(state.settings.decision_log_buffer_bytes))
    log = LogWriter(state.settings, lambda: state.resolver, recorder, state.page.worker, counting.LogCounts(state.page).told)
    state.recorder = recorder
    fronts.log_to(recorder)
    log.begin()
    return log


def _power_of_two(size: int) -> int:
    """Give the largest power of two that is not above a size."""
    return 1 << (size.bit_length() - 1)


def _close_queue(listener: socket.socket) -> list[socket.socket]:
    """Close a listening socket that no acceptor reads any more; give the connections that wait in its queue."""
    waiting: list[socket.socket] = []
    with listener:
        listener.setblocking(False)
        for _ in range(BACKLOG):  # where others share the queue it may never be empty
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                break
            except OSError:
                continue  # this client is gone already
            client.setblocking(False)
            waiting.append(client)
    return waiting


async def _finish(server: web.Server, acceptor: Acceptor, timeout_s: float) -> None:
    """Let the requests in hand be answered: aiohttp's own shutdown stops reading, which would lose a body on its way.

    The first sleep lets the loop read what the kernel has already received on connections that seem idle.
    """
    await asyncio.sleep(POLL_S)
    fronts = acceptor.fronts
    while time.monotonic() < acceptor.idle_until and (server.connections or fronts.connections):  # noqa: ASYNC110 - once in a life
        await asyncio.sleep(POLL_S)
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and _any_in_hand(server, fronts):  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


def _any_in_hand(server: web.Server, fronts: Fronts) -> bool:
    return fronts.any_in_hand or any(isinstance(found, Connection) and found.in_hand for found in server.connections)


def _tell_lane(fronts: Fronts, without_lane: str | None) -> dict[str, object]:
    """Say whether there is a lane; how many requests it answered, by route, and left to the slow path, by reason."""
    if without_lane is not None:
        return {"on": False, "why": without_lane}
    answered, declined = fronts.lane.counts()
    return {"on": True, "answered": answered | {"batch": fronts.batches}, "declined": declined}
