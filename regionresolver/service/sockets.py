"""Listening sockets: bound once by the supervisor, handed to every worker, never owned by one.

A TCP address gets one SO_REUSEPORT socket for each worker, which the supervisor keeps open over the worker's restarts
and gives to its successor: the kernel spreads connections over them evenly, and what waits in the queue of a dead worker
is answered by the next (docs/adr/0001-supervisor.md has the figures). Unix sockets, and sockets that a service manager
hands over, are one each, from which all workers accept.
"""

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from regionresolver.errors import ServeError
from regionresolver.service.systemd import activated_sockets
from regionresolver.settings import Settings

BACKLOG = 1024

_REMEDIES = {
    errno.EADDRINUSE: "the address is in use (stop the other service, or choose another with --port)",
    errno.EACCES: "this user may not bind the port (choose one above 1023 with --port)",
    errno.EADDRNOTAVAIL: "no interface of this machine has the address (choose another with --host)",
}
_UNIX_REMEDIES = {
    errno.ENOENT: "its directory does not exist (make it, or choose another path)",
    errno.EACCES: "this user may not make it there (choose a directory that it may write)",
    errno.EADDRINUSE: "another service listens on it (stop that one, or choose another path)",
}


@dataclass(frozen=True, slots=True)
class Listeners:
    """The listening sockets: those that all workers share, and for each worker those that are its own.

    `admin` are shared as well, and answer what only operators ask. `tls`: TCP speaks TLS, but for `admin`.
    """

    shared: Sequence[socket.socket] = ()
    own: Sequence[Sequence[socket.socket]] = field(default=())
    admin: Sequence[socket.socket] = ()
    tls: bool = False

    def of(self, worker: int) -> list[socket.socket]:
        """Give the sockets that a worker accepts from."""
        return [*self.shared, *(self.own[worker] if self.own else ())]

    @property
    def urls(self) -> list[str]:
        """Where the service listens, for people."""
        return [_url(found, tls=self.tls) for found in self.of(0)]

    @property
    def admin_urls(self) -> list[str]:
        """Where operators ask."""
        return [_url(found) for found in self.admin]

    @property
    def exposed(self) -> list[str]:
        """The main listener's addresses that other machines may reach."""
        tcp = [found for found in self.of(0) if found.family != socket.AF_UNIX]
        return [_url(found, tls=self.tls) for found in tcp if not ip_address(found.getsockname()[0]).is_loopback]

    @property
    def port(self) -> int | None:
        """The port of the first TCP socket, None without one."""
        return next((found.getsockname()[1] for found in self.of(0) if found.family != socket.AF_UNIX), None)

    def close(self) -> None:
        """Close this process's copies."""
        for found in [*self.shared, *self.admin, *(one for sockets in self.own for one in sockets)]:
            found.close()


@contextmanager
def listening(settings: Settings, workers: int) -> Iterator[Listeners]:
    """Listen where the settings say, or on the sockets that the service was started with, while the context lasts.

    Raises ServeError, in one line with the remedy.
    """
    if activated := activated_sockets():
        listeners, path = Listeners(shared=activated), None
    elif settings.unix_socket is not None:
        path = settings.unix_socket
        listeners = Listeners(shared=[listen_unix(path, int(settings.unix_socket_mode, 8))])
    else:
        listeners, path = Listeners(own=listen_tcp(settings.host, settings.port, workers)), None
    try:
        with _cleaned(path), _admin(settings) as admin:
            listeners = replace(listeners, admin=admin, tls=settings.tls_certificate is not None)
            yield listeners
    finally:
        listeners.close()


@contextmanager
def _admin(settings: Settings) -> Iterator[list[socket.socket]]:
    """Listen for operators, where that is asked for. Raises ServeError."""
    path = settings.admin_unix_socket
    if path is not None and settings.admin_port is not None:
        raise ServeError("give admin_port or admin_unix_socket, not both")
    if path is not None:
        found = [listen_unix(path, int(settings.unix_socket_mode, 8))]
    elif settings.admin_port is not None:
        (found,) = listen_tcp(settings.admin_host, settings.admin_port)
    else:
        found = []
    with _cleaned(path):
        yield found


@contextmanager
def _cleaned(path: Path | None) -> Iterator[None]:
    """Remove our Unix socket at the end."""
    identity = _identity(path)
    try:
        yield
    finally:
        if path is not None:
            _unlink(path, identity)


def listen_tcp(host: str, port: int, workers: int = 1) -> list[list[socket.socket]]:
    """Take the port on every address that `host` names, with a socket for each worker. Raises ServeError."""
    sockets: list[list[socket.socket]] = [[] for _ in range(workers)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, address in dict.fromkeys((row[0], row[4]) for row in found):
            for own, listener in zip(sockets, _sharing_port(family, address[:2], workers), strict=True):
                own.append(listener)
    except OSError as error:
        Listeners(own=sockets).close()
        reason = _REMEDIES.get(error.errno or 0) or error.strerror or "the address cannot be bound"
        raise ServeError(f"cannot listen on {_location(host, port)}: {reason}") from None
    except (UnicodeError, ValueError):
        raise ServeError(f"cannot listen on {host!r}: this is no host name or address") from None
    return sockets


def _sharing_port(family: int, address: tuple[object, ...], count: int) -> list[socket.socket]:
    """Make `count` listening sockets on one address.

    The first listens before it allows others beside it: with SO_REUSEPORT from the start, a second service of the same
    user would take half of the connections without an error.
    """
    first = socket.create_server(address, family=family, backlog=BACKLOG)
    sockets = [first]
    try:
        if count > 1:
            first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        while len(sockets) < count:
            sockets.append(socket.create_server(first.getsockname()[:2], family=family, backlog=BACKLOG, reuse_port=True))
    except OSError:
        for found in sockets:
            found.close()
        raise
    return sockets


def listen_unix(path: Path, mode: int) -> socket.socket:
    """Listen on a Unix socket with the permissions `mode`, in the place of one that nobody listens on any more.

    Raises ServeError when something else is there, or somebody listens on it.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _directory_lock(path):
            _remove_stale(path)
            # Made without any permission: nobody connects before the mode is right and somebody listens.
            mask = os.umask(0o777)
            try:
                listener.bind(os.fspath(path))
            finally:
                os.umask(mask)
            listener.listen(BACKLOG)
            path.chmod(mode)
    except OSError as error:
        listener.close()
        reason = _UNIX_REMEDIES.get(error.errno or 0) or error.strerror or str(error)
        raise ServeError(f"cannot listen on the Unix socket {path}: {reason}") from None
    except ValueError as error:
        listener.close()
        raise ServeError(f"cannot listen on the Unix socket {path}: {error}") from None
    except ServeError:
        listener.close()
        raise
    return listener


@contextmanager
def _directory_lock(path: Path) -> Iterator[None]:
    """Keep other services from taking a path in the same directory meanwhile: what looks stale may just be starting."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove a Unix socket that nobody listens on. Raises ServeError for anything else, OSError EADDRINUSE when in use."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ServeError(f"cannot listen on the Unix socket {path}: there is something else (choose another path)")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        result = probe.connect_ex(os.fspath(path))
    if result != errno.ECONNREFUSED:  # connected, or its queue is full, or it is not ours to ask
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink()


def _identity(path: Path | None) -> tuple[int, int] | None:
    """Tell one file of a name from the next; None where there is none."""
    try:
        found = path.lstat() if path is not None else None
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if found else None


def _unlink(path: Path, identity: tuple[int, int] | None) -> None:
    """Remove our own Unix socket, not the one that another service has put in its place."""
    try:
        with _directory_lock(path):
            if _identity(path) == identity:
                path.unlink(missing_ok=True)
    except OSError:
        return  # the directory is gone, or closed to us by now: the next start removes what is left


def _url(found: socket.socket, *, tls: bool = False) -> str:
    if found.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(found.getsockname())}"
    return f"{'https' if tls else 'http'}://{_location(*found.getsockname()[:2])}"


def _location(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
