"""What the supervisor knows of its workers: each process, and the place that it fills."""

import os
import resource
import signal
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from regionresolver.service import channel
from regionresolver.service.channel import Command
from regionresolver.service.pages import WorkerPage

FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 30.0


@dataclass(eq=False, slots=True)
class Process:
    """A worker process. `generation` is the one that it serves, `prepared` the next one that it has opened.

    `kill_at` is when it must be gone.
    """

    pid: int
    slot_number: int
    page: WorkerPage
    channel: socket.socket
    generation: str
    forked_at: float
    prepared: str | None = None
    ready_at: float | None = None
    kill_at: float | None = None
    heartbeat_ns: int = 0
    quiet_s: float = 0.0
    hung: bool = False

    def tell(self, command: Command, descriptors: Sequence[int] = ()) -> None:
        """Send a command; a worker that is gone, or reads nothing, is dealt with elsewhere."""
        channel.send(self.channel, command.value, descriptors)

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def resident_bytes(pid: int) -> int | None:
    """Give the memory that a process has in RAM, shared with others or not; None for one that is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    except (OSError, IndexError):
        return None
    return int(pages) * resource.getpagesize()


@dataclass(eq=False, slots=True)
class Slot:
    """The place of one worker: who serves there, and who is about to."""

    number: int
    current: Process | None = None
    starting: Process | None = None
    restarts: int = 0
    quick_deaths: int = 0
    fill_at: float = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nobody serves there and nobody is about to."""
        return self.current is self.starting is None

    @property
    def delay_s(self) -> float:
        """The seconds before it is filled again: none after one death, doubled with each that follows quickly."""
        if self.quick_deaths <= 1:
            return 0.0
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(self.quick_deaths - 2, 32))

    def postpone(self) -> None:
        """Fill it again after the delay."""
        self.fill_at = time.monotonic() + self.delay_s
