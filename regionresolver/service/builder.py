"""The process that builds a generation: a child of the supervisor, which serves on and is not touched by what happens there.

The child opens databases and policy as the start of the service does, checks them, and sends a parcel of sealed memory, or
the reason why there is none. It may crash, hang or be killed: then there is no new generation, and that is all. Its time is
`reload_timeout_s`; the kernel ends it a little later (SIGALRM) where its supervisor is gone. It runs at a lower priority,
so that it takes the processor time that answers leave.
"""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

import orjson

from regionresolver.errors import RegionResolverError
from regionresolver.resolver import Resolver
from regionresolver.resolver.parcel import Parcel, pack
from regionresolver.service import channel, logs

NICENESS = 5
ORPHAN_S = 5
"""How much longer than its time a builder lives that nobody kills."""

_DETAIL_CHARACTERS = 1000
_log = logging.getLogger("regionresolver.service")

Build = Callable[[], Resolver]
"""Opens and checks the generation. Raises RegionResolverError for what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no new generation; `error` and `at` describe what was not expected."""

    detail: str
    error: str | None = None
    at: tuple[str, ...] = ()

    @property
    def described(self) -> dict[str, object]:
        """What a log line says of an error that was not expected."""
        return {} if self.error is None else {"error": self.error, "at": self.at}


@dataclass(eq=False, slots=True)
class Builder:
    """A build that runs. `outcome` is None until it has ended."""

    pid: int
    end: socket.socket
    kill_at: float
    outcome: Parcel | Refusal | None = None

    def hear(self) -> bool:
        """Read what the child sends; say whether there may be more."""
        found = channel.receive(self.end)
        if found is None:
            return True
        message, descriptors = found
        if not message:
            return False  # it ends, and is reaped when it has
        if descriptors:
            self.outcome = _received(descriptors)
        else:
            told = orjson.loads(message)
            self.outcome = Refusal(told["detail"], told["error"], tuple(told["at"]))
        return True

    def has_ended(self) -> bool:
        """Reap the child; say whether it is gone. One that is over its time is killed."""
        if self.kill_at <= time.monotonic() and self.outcome is None:
            self.outcome = Refusal("it was not built in time (reload_timeout_s)")
            self.kill()
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return False
        self.hear()
        if self.outcome is None:
            self.outcome = Refusal(f"the process that built it died of {reason(os.waitstatus_to_exitcode(status))}")
        return True

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def start(build: Build, timeout_s: float, inherited: Iterable[socket.socket]) -> Builder:
    """Start the child; the signals are blocked when this is called. `inherited` are channels that it must not hold open.

    Raises OSError where the system has no process for it.
    """
    ours, theirs = channel.pair()
    with theirs:
        if (pid := channel.fork_or_close(ours)) == 0:
            _be_the_child(build, timeout_s, theirs, (ours, *inherited))
    return Builder(pid, ours, time.monotonic() + timeout_s)


def reason(status: int) -> str:
    """Say how a process ended, from its exit code as `os.waitstatus_to_exitcode` gives it."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-status}"


def _received(descriptors: list[int]) -> Parcel | Refusal:
    try:
        return Parcel.received(descriptors)
    except RegionResolverError as error:
        return Refusal(str(error))


def _be_the_child(build: Build, timeout_s: float, end: socket.socket, inherited: Iterable[socket.socket]) -> None:
    """Build, send, exit. Never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # the supervisor kills it
        signal.setitimer(signal.ITIMER_REAL, timeout_s + ORPHAN_S)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for other in inherited:
            other.close()
        os.nice(NICENESS)
        end.setblocking(True)
        _send_outcome(build, end)
        status = 0
    finally:
        os._exit(status)


def _send_outcome(build: Build, end: socket.socket) -> None:
    try:
        resolver = build()
        parcel = pack(resolver)
    except RegionResolverError as error:
        refusal = Refusal(str(error)[:_DETAIL_CHARACTERS])
    except Exception as error:  # noqa: BLE001 - whatever it is, the old generation serves on
        refusal = Refusal("an unexpected error", type(error).__name__, tuple(logs.places(error.__traceback__)))
    else:
        channel.send(end, b"built", parcel.descriptors)
        return
    channel.send(end, orjson.dumps({"detail": refusal.detail, "error": refusal.error, "at": refusal.at}))
