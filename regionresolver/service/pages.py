"""A page of shared memory per worker process: what a worker tells of itself, readable by all and outliving it.

The supervisor makes the pages before it forks; a page belongs to one process at a time, and then to the next that needs
one. Its words are 64-bit, each written by its owner alone, so that no lock is needed. Words that count go on from where
the former owner left them: the sum over all pages never falls when a worker dies.
"""

import mmap
import time
from enum import IntEnum

from regionresolver.resolver import now

PAGE_BYTES = 4096
_WORD_BYTES = 8


class State(IntEnum):
    """What the owner of a page is doing."""

    FREE = 0
    STARTING = 1
    SERVING = 2
    ENDING = 3


class Word(IntEnum):
    """The place of a word in a page."""

    PID = 0
    WORKER = 1
    STATE = 2
    STARTED_US = 3
    HEARTBEAT_NS = 4
    IN_FLIGHT = 5
    RESTARTS = 6


class WorkerPage:
    """The words of one worker process."""

    def __init__(self, words: memoryview) -> None:
        """Read and write `words`, 64-bit unsigned integers."""
        self._words = words

    def take(self, worker: int, restarts: int) -> None:
        """Begin a new owner's life (called by the supervisor just before the fork; `worker` counts from 0)."""
        words = self._words
        words[Word.PID], words[Word.WORKER], words[Word.IN_FLIGHT] = 0, worker, 0
        words[Word.STARTED_US], words[Word.RESTARTS] = round(now().timestamp() * 1e6), restarts
        self.beat()
        self.state = State.STARTING

    def free(self) -> None:
        """End the owner's life (called by the supervisor once the process is gone)."""
        self.state = State.FREE
        self._words[Word.PID] = self._words[Word.IN_FLIGHT] = 0

    def beat(self) -> None:
        """Say that the owner's loop turns."""
        self._words[Word.HEARTBEAT_NS] = time.monotonic_ns()

    def count_in_flight(self, change: int) -> None:
        """Add 1 for a request that has begun, -1 for one that has ended."""
        self._words[Word.IN_FLIGHT] += change

    @property
    def state(self) -> State:
        """What the owner is doing."""
        return State(self._words[Word.STATE])

    @state.setter
    def state(self, state: State) -> None:
        self._words[Word.STATE] = state

    @property
    def pid(self) -> int:
        """The owner's process id, 0 until it runs."""
        return self._words[Word.PID]

    @pid.setter
    def pid(self, pid: int) -> None:
        self._words[Word.PID] = pid

    @property
    def worker(self) -> int:
        """The number of the worker, from 0; its successor has the same."""
        return self._words[Word.WORKER]

    @property
    def started_us(self) -> int:
        """When the owner was started, in microseconds of Unix time."""
        return self._words[Word.STARTED_US]

    @property
    def heartbeat_ns(self) -> int:
        """When the owner's loop last told that it turns, on the monotonic clock."""
        return self._words[Word.HEARTBEAT_NS]

    @property
    def in_flight(self) -> int:
        """How many requests are being answered."""
        return self._words[Word.IN_FLIGHT]

    @property
    def restarts(self) -> int:
        """How often a worker of this number had died before this one."""
        return self._words[Word.RESTARTS]


class Pages:
    """All pages, in one anonymous mapping that forked processes share."""

    def __init__(self, count: int) -> None:
        """Make `count` free pages."""
        words = memoryview(mmap.mmap(-1, count * PAGE_BYTES)).cast("Q")
        length = PAGE_BYTES // _WORD_BYTES
        self.all = tuple(WorkerPage(words[start : start + length]) for start in range(0, count * length, length))

    def take(self, worker: int, restarts: int) -> WorkerPage | None:
        """Give a free page to a new process; None when all have their owners."""
        for page in self.all:
            if page.state is State.FREE:
                page.take(worker, restarts)
                return page
        return None

    def attended(self, worker: int, within_s: float) -> bool:
        """Say whether a process of this number serves, and its loop turned not longer than `within_s` ago."""
        oldest_ns = time.monotonic_ns() - int(within_s * 1e9)
        return any(
            page.worker == worker and page.state is State.SERVING and page.heartbeat_ns >= oldest_ns for page in self.all
        )
