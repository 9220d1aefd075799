"""The control socket: how `regionresolver reload` and `regionresolver status` reach the supervisor of a service.

A Unix stream socket. The client writes one JSON object and a line's end, `{"do": "reload", "force": false}` or
`{"do": "status"}`, and reads one JSON object up to the end. Its address is the setting `control_socket`, a path; without it
an abstract name made of host and port or of the Unix socket, so that the same settings lead to the same service. Only root
and the user that the service runs as are listened to (SO_PEERCRED), whatever the permissions of a path are.
"""

import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from regionresolver.errors import ServeError
from regionresolver.settings import Settings

REQUEST_BYTES = 4096
WAITING_MAX = 16
ANSWER_S = 1.0
"""How long the supervisor waits for a client that does not read its answer."""

Document = dict[str, object]


def address_of(settings: Settings, port: int | None = None) -> str:
    """Give the address of the control socket that these settings mean, where they leave the port open, with this `port`.

    An abstract one begins with NUL.
    """
    if settings.control_socket is not None:
        return str(settings.control_socket)
    where = settings.unix_socket.absolute() if settings.unix_socket is not None else f"{settings.host}:{settings.port or port}"
    return f"\0regionresolver/{where}"


def spelled(address: str) -> str:
    """Write an address for people."""
    return address.replace("\0", "@")


def ask(settings: Settings, request: Document, timeout_s: float) -> Document:
    """Ask the running service of these settings, and wait for its answer. Raises ServeError."""
    address = address_of(settings)
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout_s)
            client.connect(address)
            client.sendall(orjson.dumps(request) + b"\n")
            answer = b"".join(iter(lambda: client.recv(65_536), b""))
    except TimeoutError:
        raise ServeError(f"the service at {spelled(address)} does not answer (see its log)") from None
    except OSError as error:
        reason = f"no service is reached at {spelled(address)}: {error.strerror}"
        raise ServeError(f"{reason} (give the settings that it was started with: --config, --port, --control-socket)") from None
    if not answer:
        raise ServeError("the service has hung up (only root and its own user are listened to; see its log)")
    document: Document = orjson.loads(answer)
    return document


@dataclass(eq=False, slots=True)
class Asker:
    """A client of the control socket; `request` is what it wants, once it has said so."""

    connection: socket.socket
    request: Document | None = None
    _read: bytearray = field(default_factory=bytearray)

    def hear(self) -> bool:
        """Read on; say whether there may be more. A client that says nothing sensible is left."""
        try:
            piece = self.connection.recv(REQUEST_BYTES)
        except BlockingIOError:
            return True
        except OSError:
            piece = b""
        self._read += piece
        if b"\n" in self._read:
            with suppress(orjson.JSONDecodeError):
                found = orjson.loads(self._read)
                self.request = found if isinstance(found, dict) else None
            return False
        return bool(piece) and len(self._read) < REQUEST_BYTES

    def answer(self, document: Document) -> None:
        """Say it, and hang up; a client that has gone need not know."""
        with self.connection, suppress(OSError):
            self.connection.settimeout(ANSWER_S)
            self.connection.sendall(orjson.dumps(document, default=str))

    def leave(self) -> None:
        """Hang up."""
        self.connection.close()


@dataclass(eq=False, slots=True)
class Control:
    """The supervisor's end."""

    listener: socket.socket
    path: Path | None

    @classmethod
    def open(cls, settings: Settings, port: int | None = None) -> "Control":
        """Listen. Raises ServeError where another service does, or the path cannot be used."""
        address = address_of(settings, port)
        path = settings.control_socket
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if path is not None and path.is_socket() and not _is_answered(address):
                path.unlink()
            listener.bind(address)
            if path is not None:
                path.chmod(0o600)
            listener.listen(WAITING_MAX)
        except OSError as error:
            listener.close()
            reason = f"cannot listen on the control socket {spelled(address)}: {error.strerror}"
            raise ServeError(f"{reason} (choose another with --control-socket)") from None
        return cls(listener, path)

    def accept(self) -> Asker | None:
        """Take a client; None when there is none, or it is nobody's business."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return None
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        if uid not in {0, os.geteuid()}:
            connection.close()
            return None
        connection.setblocking(False)
        return Asker(connection)

    def close(self) -> None:
        """Listen no more."""
        self.listener.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _is_answered(address: str) -> bool:
    """Say whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(address) == 0
