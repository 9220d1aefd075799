"""Bind, serve, drain: the life of one serving process.

The port is taken before the databases are read, so that a busy port is told at once and nobody is refused while they
load. On SIGTERM the service says that it is not ready, still accepts for `drain_delay_s` (a load balancer needs that
long to look away), takes what waits in the listener's queue, closes it, lets the requests in hand finish and exits;
SIGINT skips the delay, and so does a second signal.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import uvloop
from aiohttp import web

from regionresolver.errors import ServeError
from regionresolver.resolver import Resolver
from regionresolver.service import logs
from regionresolver.service.app import make_app
from regionresolver.service.connection import Connection, answer_in_http11
from regionresolver.service.state import STATE
from regionresolver.settings import Settings

BACKLOG = 1024
FINISH_POLL_S = 0.01

_log = logging.getLogger("regionresolver.service")

_REMEDIES = {
    errno.EADDRINUSE: "the address is in use (stop the other service, or choose another with --port)",
    errno.EACCES: "this user may not bind the port (choose one above 1023 with --port)",
    errno.EADDRNOTAVAIL: "no interface of this machine has the address (choose another with --host)",
}


def run(settings: Settings) -> None:
    """Serve until a signal ends it. Raises ServeError, DatabaseError and PolicyError before the first answer."""
    logs.configure(settings.log_level, settings.log_format, access=settings.access_log)
    listeners = listen(settings.host, settings.port)
    try:
        with Resolver.open(
            settings.db or None,
            settings.policy,
            index=settings.index,
            any_regions=settings.any_regions,
            catalogue=settings.catalogue,
        ) as resolver:
            for warning in resolver.warnings:
                logs.event(_log, logging.WARNING, "start_warning", detail=warning)
            uvloop.run(_serve_until_signal(make_app(resolver, settings), settings, listeners))
    finally:
        for listener in listeners:
            listener.close()


def listen(host: str, port: int) -> list[socket.socket]:
    """Take the port on every address that `host` names. Raises ServeError, in one line with the remedy."""
    listeners: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((row[0], row[4]) for row in found):
            listeners.append(socket.create_server(address[:2], family=family, backlog=BACKLOG))
    except OSError as error:
        for listener in listeners:
            listener.close()
        reason = _REMEDIES.get(error.errno or 0) or error.strerror or "the address cannot be bound"
        raise ServeError(f"cannot listen on {_location(host, port)}: {reason}") from None
    except (UnicodeError, ValueError):
        raise ServeError(f"cannot listen on {host!r}: this is no host name or address") from None
    return listeners


@asynccontextmanager
async def serving(app: web.Application, settings: Settings, listeners: Sequence[socket.socket]) -> AsyncIterator[None]:
    """Serve `app` on listening sockets while the context lasts; at its end finish the requests in hand."""
    loop = asyncio.get_running_loop()
    runner = web.AppRunner(app, shutdown_timeout=settings.shutdown_timeout_s)
    await runner.setup()
    server = runner.server
    if server is None:
        raise ServeError("the application did not start")
    server.request_factory = answer_in_http11(server.request_factory)

    def connect() -> Connection:
        return Connection(server, settings, loop)

    queues = [found.dup() for found in listeners]  # keeps the queue of a listener alive that its acceptor closes
    accepting = [await loop.create_server(connect, sock=found) for found in listeners]
    try:
        yield
    finally:
        app[STATE].draining = True
        for acceptor in accepting:
            acceptor.close()
        waiting = [client for queue in queues for client in _close_queue(queue)]
        await asyncio.gather(*(loop.connect_accepted_socket(connect, client) for client in waiting), return_exceptions=True)
        await _finish(server, settings.shutdown_timeout_s)
        await runner.cleanup()


async def _serve_until_signal(app: web.Application, settings: Settings, listeners: Sequence[socket.socket]) -> None:
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    async with serving(app, settings, listeners):
        urls = [f"http://{_location(*found.getsockname()[:2])}" for found in listeners]
        logs.event(_log, logging.INFO, "serving", urls=urls, version=app[STATE].version, pid=os.getpid())
        received = await signals.get()
        app[STATE].draining = True
        logs.event(_log, logging.INFO, "draining", signal=received.name, delay_s=settings.drain_delay_s)
        if received is signal.SIGTERM and settings.drain_delay_s:
            await _either(signals, settings.drain_delay_s)
    logs.event(_log, logging.INFO, "stopped")


def _close_queue(queue: socket.socket) -> list[socket.socket]:
    """Close a listening socket that no acceptor reads any more; give the connections that the kernel had made for it.

    For these clients the connection stands, and they may have sent their requests: a bare close would reset them.
    """
    waiting: list[socket.socket] = []
    with queue:
        queue.setblocking(False)
        for _ in range(BACKLOG):  # where others share the queue it may never be empty
            try:
                client, _ = queue.accept()
            except BlockingIOError:
                break
            except OSError:
                continue  # this client is gone already
            client.setblocking(False)
            waiting.append(client)
    return waiting


async def _finish(server: web.Server, timeout_s: float) -> None:
    """Let the requests in hand be answered: aiohttp's own shutdown stops reading, which would lose a body on its way.

    The first sleep lets the loop read what the kernel has already received on connections that seem idle.
    """
    deadline = time.monotonic() + timeout_s
    await asyncio.sleep(FINISH_POLL_S)
    while time.monotonic() < deadline and _any_in_hand(server):  # noqa: ASYNC110 - once in a process's life
        await asyncio.sleep(FINISH_POLL_S)


def _any_in_hand(server: web.Server) -> bool:
    return any(isinstance(found, Connection) and found.in_hand for found in server.connections)


async def _either(signals: asyncio.Queue[signal.Signals], delay_s: float) -> None:
    """Wait for the delay or the next signal, whichever comes first."""
    try:
        await asyncio.wait_for(signals.get(), delay_s)
    except TimeoutError:
        return


def _location(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
