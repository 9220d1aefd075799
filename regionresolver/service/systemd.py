"""What systemd and its likes hand to a service, and want to hear of it: sd_listen_fds(3) and sd_notify(3).

Both are a few environment variables and a datagram, so no library is needed. The variables are taken out of the
environment when they are read: they are meant for this process, not for its children.
"""

import os
import socket

from regionresolver.errors import ServeError

FIRST_DESCRIPTOR = 3


def activated_sockets() -> list[socket.socket]:
    """Take over the listening sockets that the service was started with; none when it was not, or not for us.

    Raises ServeError for a descriptor that is no listening stream socket.
    """
    pid, count, _ = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()):
        return []
    if not (count.isascii() and count.isdigit() and len(count) <= 4):
        raise ServeError("LISTEN_FDS: this is no number of sockets (start the service through its socket unit)")
    return [_adopt(descriptor) for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count))]


def _adopt(descriptor: int) -> socket.socket:
    try:
        os.set_inheritable(descriptor, False)
        found = socket.socket(fileno=descriptor)
        listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError:
        raise ServeError(f"LISTEN_FDS: descriptor {descriptor} is no socket (check the socket unit)") from None
    families = {socket.AF_INET, socket.AF_INET6, socket.AF_UNIX}
    if not listens or found.family not in families or found.type is not socket.SOCK_STREAM:
        raise ServeError(f"LISTEN_FDS: descriptor {descriptor} is no listening stream socket (use ListenStream=, Accept=no)")
    found.setblocking(False)
    return found


class Notifier:
    """Tells the service manager how the service is; says nothing where nobody listens."""

    def __init__(self) -> None:
        """Take the address from NOTIFY_SOCKET; a leading @ is an abstract one."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def tell(self, *assignments: str) -> None:
        """Send assignments such as `READY=1` in one datagram; a manager that does not listen is not waited for."""
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
                sender.sendto("\n".join(assignments).encode(), self._address)
        except OSError:
            return
