"""How the service's processes talk: pairs of connected sockets, a message a packet, descriptors beside it.

A channel's end tells each side that the other has gone. Nobody waits on one: a message to a process that reads nothing is
dropped, which is noticed elsewhere (a worker that hangs is killed, a reload has its time). Supervisor and worker send
each other `Command`s and `Report`s.
"""

import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from enum import Enum

MESSAGE_BYTES = 4096
DESCRIPTORS_MAX = 64
"""Of a message: contents, image, and the files of at most 16 sources."""


class Command(Enum):
    """What a supervisor tells a worker."""

    RETIRE = b"retire"
    """A successor serves: take no more connections, finish, exit."""
    DRAIN = b"drain"
    """The service ends: not ready any more, serve for the drain delay, then finish and exit."""
    HURRY = b"hurry"
    """The same without the delay."""
    PREPARE = b"prepare"
    """Open the generation whose parcel comes with this, beside the one that is served."""
    SWAP = b"swap"
    """Serve it from now on."""
    FORGET = b"forget"
    """It will not be served."""
    TOLD = b"told"
    """How the latest reload ended, as JSON behind a blank."""


class Report(Enum):
    """What a worker tells its supervisor."""

    READY = b"ready"
    """It serves."""
    REPLACE = b"replace"
    """It was asked to go."""
    PREPARED = b"prepared"
    """It has opened a new generation, which the message names behind a blank."""
    REFUSED = b"refused"
    """It cannot open the new generation."""
    SWAPPED = b"swapped"
    """It serves the generation that the message names."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Make the two ends of a channel. Raises OSError."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(False)
    return ends


def fork_or_close(end: socket.socket) -> int:
    """Fork; where that fails, close our end of the channel. Raises OSError."""
    try:
        return os.fork()
    except OSError:
        end.close()
        raise


def send(end: socket.socket, message: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send a message, and descriptors with it; nothing happens when the other side is gone."""
    with suppress(OSError):
        socket.send_fds(end, [message], descriptors)


def receive(end: socket.socket) -> tuple[bytes, list[int]] | None:
    """Read a message and its descriptors; empty when the other side is gone, None when there is nothing to read yet."""
    try:
        message, descriptors, _, _ = socket.recv_fds(end, MESSAGE_BYTES, DESCRIPTORS_MAX)
    except BlockingIOError:
        return None
    except OSError:
        return b"", []
    return message, descriptors
